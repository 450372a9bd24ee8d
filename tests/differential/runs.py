# SPDX-License-Identifier: Apache-2.0
"""Builds cases by both builders and tells how the answers compare, one line a case."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from differential.answers import Answer, BadImage, Tree
from differential.bases import TREE
from differential.builders import CannotTell, by_buildkit, by_wherry, lay_out
from differential.compare import differences
from differential.model import Case, put_names, tar_bytes
from differential.world import World


class Result(NamedTuple):
    """A case, what BuildKit and wherry made of it, and in what these differ.

    `broken` says that a builder gave no answer at all, or one that cannot be read.
    """

    name: str
    case: Case
    buildkit: Answer | None = None
    wherry: Answer | None = None
    differences: tuple[str, ...] = ()
    broken: str = ""

    @property
    def is_bad(self) -> bool:
        """Not what it should be: different without a reason, or equal though it is to differ."""
        return self.verdict in ("broken", "DIFFERS", "EQUAL NOW")

    @property
    def _is_meant(self) -> bool:
        meant = self.case.meant
        return meant is not None and all(re.search(meant.lines, line) for line in self.differences)

    @property
    def verdict(self) -> str:
        """One word or three for the table."""
        if self.broken:
            return "broken"
        if self.differences:
            return "meant" if self._is_meant else "DIFFERS"
        if self.case.meant:
            return "EQUAL NOW"
        return "both refuse" if self.buildkit and self.buildkit.refusal else "equal"


def run(
    cases: Mapping[str, Case], world: World, work: Path, jobs: int, *, wherry: bool = True
) -> list[Result]:
    """Build all cases, `jobs` at once, in directories of their own below `work`."""
    with ThreadPoolExecutor(jobs) as pool:
        futures = [
            pool.submit(run_one, name, case, world, work / str(number), wherry=wherry)
            for number, (name, case) in enumerate(cases.items())
        ]
        return [future.result() for future in futures]


def run_one(name: str, case: Case, world: World, work: Path, *, wherry: bool = True) -> Result:
    """Build one case by BuildKit and by wherry; nothing is left below `work`."""
    work.mkdir(parents=True)
    result = Result(name, case)
    try:
        lay_out(case, work, world)
        expected = by_buildkit(case, work, world)
        result = result._replace(buildkit=expected)
        if bool(expected.refusal) != case.refused:
            said = expected.refusal or "it builds an image"
            return result._replace(broken=f"the case is wrong of BuildKit: {said}")
        if not wherry:
            return result
        got = by_wherry(case, work, world, work / "store")
        return result._replace(wherry=got, differences=tuple(differences(expected, got)))
    except (CannotTell, BadImage) as error:
        who = "BuildKit" if result.buildkit is None else "wherry"
        return result._replace(broken=f"{who}: {error}")
    finally:
        shutil.rmtree(work, ignore_errors=True)


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
    return f": {result.case.meant.why}" if result.case.meant else ""


def shown(results: Iterable[Result]) -> str:
    """What BuildKit alone makes of the cases, in full."""
    lines = []
    for result in results:
        lines.append(f"== {result.name}{'  !! ' + result.broken if result.broken else ''}")
        text = result.case.dockerfile
        lines.append("   | " + repr(text if len(text) < 500 else text[:100]))
        answer = result.buildkit or Answer({})
        if answer.refusal:
            lines.append(f"   refused: {answer.refusal}")
        for platform, image in answer.images.items():
            lines.append(f"   {platform}: {json.dumps(image['config'])} layers={image['layers']}")
            lines += [f"   history {json.dumps(line)}" for line in image["history"]]
            lines += [f"   {line}" for line in _changes(image["tree"], result.case)]
    return "\n".join(lines)


def _changes(tree: Mapping[str, dict[str, object]], case: Case) -> Iterator[str]:
    """The entries; of a tree on the base `tree` only what that has not."""
    base = Tree()
    if b"/tree\n" in put_names(case.dockerfile, {}):
        base.apply(tar_bytes(TREE))
    known = base.facts()
    for path in sorted(tree.keys() | known.keys()):
        if path not in tree:
            yield f"{path} is gone"
        elif tree[path] != known.get(path) or path == "/":
            yield f"{path} {_told(tree[path])}"


def _told(facts: Mapping[str, object]) -> str:
    return " ".join(f"{key}={value}" for key, value in facts.items())
