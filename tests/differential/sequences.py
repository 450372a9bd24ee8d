# SPDX-License-Identifier: Apache-2.0
"""Builds one after another of a changing context: which steps run again, by both builders."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from differential.answers import Answer
from differential.builders import Built, Place, by_buildkit, by_wherry, lay_out
from differential.compare import differences
from differential.model import EPOCH, Build, Case, Node, Sequence
from differential.world import World, with_case_name


class WrongCase(Exception):
    """BuildKit runs other steps than the case says."""


def compare_sequence(
    sequence: Sequence, work: Path, world: World, place: Place | None
) -> tuple[Answer, Answer | None, tuple[str, ...]]:
    """The last answers of BuildKit and of wherry, and all differences, each with its build.

    Without a place BuildKit builds alone.
    """
    unique = with_case_name(world)
    found: list[str] = []
    wrong: list[str] = []
    buildkit, wherry = Built(Answer({})), None
    laid_out: dict[str, int] = {}
    for number, (build, case) in enumerate(zip(sequence.builds, _cases(sequence), strict=True), 1):
        _lay_out(build, case, work, unique, place, laid_out, number)
        buildkit = by_buildkit(case, work, unique)
        if not _is_as_said(build, buildkit):
            wrong.append(f"build {number} runs {list(buildkit.ran)}")
        if place is None:
            continue
        wherry = by_wherry(case, work, unique, place, "json")
        found += [f"build {number}: {line}" for line in _compare(sequence, buildkit, wherry)]
    if wrong:
        raise WrongCase("; ".join(wrong))
    return buildkit.answer, wherry.answer if wherry else None, tuple(found)


def _cases(sequence: Sequence) -> Iterator[Case]:
    """Each build with all that the ones before have left."""
    dockerfile, files = "", {}
    for build in sequence.builds:
        dockerfile = build.dockerfile or dockerfile
        files = {name: node for name, node in files.items() if name not in build.gone}
        files |= build.files
        yield Case(
            sequence.name, dockerfile, dict(files), args=build.args, target=build.target,
            around=build.around,
        )  # fmt: skip


def _lay_out(
    build: Build, case: Case, work: Path, world: World, place: Place | None,
    written: dict[str, int], number: int,
) -> None:  # fmt: skip
    """Change what is there; what is not named keeps its time, unless `later`."""
    context = work / "context"
    for name in build.gone:
        (context / name).unlink()
        written.pop(name)
    changed: Mapping[str, Node] = {**build.files, **({} if written else case.files)}
    only = case._replace(files=changed)
    lay_out(only, work, world, place.user if place else None)
    for name in case.files:
        if name in changed or build.later:
            written[name] = number
    for path in [context, *context.rglob("*")]:
        name = path.relative_to(context).as_posix()
        # Another for each run: BuildKit knows files of others by path, size and time.
        moment = EPOCH + int(world.names["CASE"][1:], 16) % 100_000_000 + written.get(name, number)
        os.utime(path, (moment, moment), follow_symlinks=False)


def _is_as_said(build: Build, built: Built) -> bool:
    return len(build.ran) == len(built.ran) and all(
        ran.startswith(said) for said, ran in zip(sorted(build.ran), built.ran, strict=True)
    )


def _compare(sequence: Sequence, buildkit: Built, wherry: Built) -> Iterator[str]:
    theirs, ours = set(buildkit.ran), set(wherry.ran)
    yield from (f"only BuildKit runs {step}" for step in sorted(theirs - ours))
    yield from (f"only wherry runs {step}" for step in sorted(ours - theirs))
    if sequence.same_images:
        yield from differences(buildkit.answer, wherry.answer)
