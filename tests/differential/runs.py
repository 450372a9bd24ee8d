# SPDX-License-Identifier: Apache-2.0
"""Builds cases by both builders and tells how the answers compare, one line a case."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from differential import debian
from differential.answers import Answer, BadImage, Tree
from differential.bases import Image, images
from differential.builders import CannotTell, Place, by_buildkit, by_wherry, lay_out
from differential.compare import differences
from differential.model import Case, Meant, Sequence, put_names, tar_bytes
from differential.sequences import WrongCase, compare_sequence
from differential.user import User
from differential.world import World, with_case_name


class Result(NamedTuple):
    """A case, what BuildKit and wherry made of it, and in what these differ.

    `broken` says that a builder gave no answer at all, or one that cannot be read; `skipped` why
    the case cannot be built here.
    """

    name: str
    case: Case | Sequence
    buildkit: Answer | None = None
    wherry: Answer | None = None
    differences: tuple[str, ...] = ()
    broken: str = ""
    skipped: str = ""
    as_user: bool = False

    @property
    def is_bad(self) -> bool:
        """Not what it should be: different without a reason, or equal though it is to differ."""
        return self.verdict in ("broken", "DIFFERS", "EQUAL NOW")

    @property
    def meant(self) -> Meant | None:
        """What differs by intent, for the one as whom wherry ran."""
        return (self.case.as_user if self.as_user else None) or self.case.meant

    @property
    def _is_meant(self) -> bool:
        meant = self.meant
        return meant is not None and all(re.search(meant.lines, line) for line in self.differences)

    @property
    def verdict(self) -> str:
        """One word or three for the table."""
        if self.skipped:
            return "skipped"
        if self.broken:
            return "broken"
        if self.differences:
            return "meant" if self._is_meant else "DIFFERS"
        if self.meant:
            return "EQUAL NOW"
        return "both refuse" if self.buildkit and self.buildkit.refusal else "equal"


def run(
    cases: Mapping[str, Case | Sequence],
    world: World,
    work: Path,
    jobs: int,
    *,
    wherry: bool = True,
    user: User | None = None,
    told: Callable[[Result], object] = lambda _: None,
) -> list[Result]:
    """Build all cases, `jobs` at once, in directories of their own below `work`.

    wherry runs as `user`; as root without, with the rights of root only where a case has a RUN.
    `told` is called with each result as it comes, by the thread that has it.
    """

    def one(number: int, name: str, case: Case | Sequence) -> Result:
        result = run_one(name, case, world, work / str(number), wherry=wherry, user=user)
        told(result)
        return result

    work.mkdir(parents=True, exist_ok=True)
    for directory in (work, *work.parents)[:4]:
        directory.chmod(directory.stat().st_mode | 0o111)  # for the user
    with ThreadPoolExecutor(jobs) as pool:
        futures = [
            pool.submit(one, number, name, case)
            for number, (name, case) in enumerate(cases.items())
        ]
        results = [future.result() for future in futures]
    shutil.rmtree(work / _SHARED, ignore_errors=True)
    return results


def run_one(
    name: str,
    case: Case | Sequence,
    world: World,
    work: Path,
    *,
    wherry: bool = True,
    user: User | None = None,
) -> Result:
    """Build one case by BuildKit and by wherry; nothing is left below `work`."""
    result = Result(name, case, as_user=user is not None)
    if skipped := _why_not(case, world):
        return result._replace(skipped=skipped)
    work.mkdir(parents=True)
    try:
        place = Place(_store(case, work, user), user) if wherry else None
        if user:
            os.chown(work, *user.owner)
        if isinstance(case, Sequence):
            buildkit, got, found = compare_sequence(case, work, world, place)
            return result._replace(buildkit=buildkit, wherry=got, differences=found)
        world = with_case_name(world)
        lay_out(case, work, world, user)
        expected = by_buildkit(case, work, world).answer
        result = result._replace(buildkit=expected)
        if bool(expected.refusal) != case.refused:
            said = expected.refusal or "it builds an image"
            return result._replace(broken=f"the case is wrong of BuildKit: {said}")
        if place is None:
            return result
        got = by_wherry(case, work, world, place).answer
        return result._replace(wherry=got, differences=tuple(differences(expected, got)))
    except WrongCase as error:
        return result._replace(broken=f"the case is wrong of BuildKit: {error}")
    except (CannotTell, BadImage, subprocess.TimeoutExpired) as error:
        is_sequence = isinstance(case, Sequence)
        who = "one" if is_sequence else "BuildKit" if result.buildkit is None else "wherry"
        return result._replace(broken=f"{who}: {error}")
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _why_not(case: Case | Sequence, world: World) -> str:
    """Why the case cannot be built on this machine, or nothing; pushes the large base it needs."""
    text = put_names(_texts(case), {})
    if b"/debian" in text:
        if reason := debian.why_not():
            return reason
        debian.push(world.names["REGISTRY"], Path(world.layouts).parent)
    if b"type=ssh" in text and not world.agent:
        return "no ssh-agent here"
    return ""


def _texts(case: Case | Sequence) -> str | bytes:
    if isinstance(case, Sequence):
        return "".join(build.dockerfile for build in case.builds)
    return case.dockerfile


_SHARED = "shared-store"


def _store(case: Case | Sequence, work: Path, user: User | None) -> Path:
    """A store of its own; those on the large base share one, for it takes long to unpack."""
    if b"/debian" not in put_names(_texts(case), {}):
        return work / "store"
    shared = work.parent / _SHARED
    shared.mkdir(exist_ok=True)
    if user:
        os.chown(shared, *user.owner)
    return shared / "store"


def table(results: Iterable[Result], *, why: bool = True) -> str:
    """One line a case, then the differences, then the sums."""
    results = list(results)
    lines = [f"{result.verdict:<12} {result.name}{_remark(result)}" for result in results]
    if why:
        for result in results:
            if result.differences or result.broken:
                lines += [
                    "",
                    f"== {result.name}: {result.verdict}",
                ]
                lines += [result.broken] if result.broken else []
                lines += [f"   {line}" for line in result.differences]
    counts = Counter(result.verdict for result in results)
    lines += ["", f"{len(results)} cases: " + ", ".join(f"{n} {v}" for v, n in counts.items())]
    topics = Counter((result.case.topic, result.verdict) for result in results)
    lines += [f"  {topic:<12} {verdict:<12} {n}" for (topic, verdict), n in sorted(topics.items())]
    return "\n".join(lines)


def _remark(result: Result) -> str:
    if result.verdict == "both refuse" and result.buildkit and result.wherry:
        said = (result.buildkit.refusal, result.wherry.refusal)
        return f"\n{'':13}BuildKit: {said[0]}\n{'':13}wherry:   {said[1]}"
    if result.skipped:
        return f": {result.skipped}"
    return f": {result.meant.why}" if result.meant else ""


def shown(results: Iterable[Result]) -> str:
    """What BuildKit alone makes of the cases, in full."""
    lines = []
    for result in results:
        lines.append(f"== {result.name}{'  !! ' + result.broken if result.broken else ''}")
        text = _texts(result.case)
        lines.append("   | " + repr(text if len(text) < 500 else text[:100]))
        answer = result.buildkit or Answer({})
        if answer.refusal:
            lines.append(f"   refused: {answer.refusal}")
        for platform, image in answer.images.items():
            lines.append(f"   {platform}: {json.dumps(image['config'])} layers={image['layers']}")
            lines += [f"   history {json.dumps(line)}" for line in image["history"]]
            lines += [f"   {line}" for line in _changes(image["tree"], text)]
    return "\n".join(lines)


def _changes(tree: Mapping[str, dict[str, object]], text: str | bytes) -> Iterator[str]:
    """The entries; of a tree on a base that is known only what that has not."""
    base = Tree()
    found = re.search(rb"%REGISTRY%/([\w-]+)(?![\s\S]*^FROM)", put_names(text, {}), re.MULTILINE)
    image = images().get(found[1].decode()) if found else None
    for layer in image.layers if isinstance(image, Image) else ():
        base.apply(tar_bytes(layer))
    known = base.facts()
    for path in sorted(tree.keys() | known.keys()):
        if path not in tree:
            yield f"{path} is gone"
        elif tree[path] != known.get(path) or path == "/":
            yield f"{path} {_told(tree[path])}"


def _told(facts: Mapping[str, object]) -> str:
    return " ".join(f"{key}={value}" for key, value in facts.items())
