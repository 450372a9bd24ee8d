# SPDX-License-Identifier: Apache-2.0
"""Builds a case of Go steps: by wherry cold, warm and once more, by BuildKit each from nothing.

BuildKit's two answers are made once and kept (`Expectations`), so that wherry can be compared with
them in several modes: with and without Go caches, as root and as a user, in a store of its own and
in one that all cases share.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import go_step_bases
import wherry
from differential import builders
from differential.answers import Answer, BadImage, read_images, with_tokens
from differential.builders import CannotTell, Place, by_buildkit, lay_out
from differential.compare import differences
from differential.model import Case
from differential.world import World, with_case_name
from go_step_model import GoCase


class Mode(NamedTuple):
    """How wherry builds."""

    place: Place
    go_cache: str = ""  # auto, off; without it as wherry does by itself
    words: tuple[str, ...] = ()  # more options


class Outcome(NamedTuple):
    """In what wherry differs, each line with its build, and how long the builds took in seconds."""

    name: str
    lines: tuple[str, ...]
    seconds: Mapping[str, float]
    told: str = ""  # what wherry said of Go caches, with the builds

    @property
    def text(self) -> str:
        times = " ".join(f"{build} {spent:.1f}" for build, spent in self.seconds.items())
        found = "".join(f"\n   {line}" for line in self.lines)
        return f"{'DIFFERS' if self.lines else 'equal':<8} {self.name}  [{times}]{found}"


class Expected(NamedTuple):
    """What BuildKit makes of both states, and the seconds for it."""

    answers: tuple[Answer, Answer]
    seconds: tuple[float, float]


def states(case: GoCase) -> tuple[Case, Case]:
    """Both builds as cases of the differential suite."""
    kept = {name: node for name, node in case.files.items() if name not in case.gone}
    first = Case(
        case.name, case.dockerfile, case.files, case.fails[0], case.args[0],
        target=case.target[0], platform=case.platform, around=case.around,
    )  # fmt: skip
    second = first._replace(
        dockerfile=case.then or case.dockerfile, files={**kept, **case.after},
        refused=case.fails[1], args=case.args[1], target=case.target[1],
    )  # fmt: skip
    return first, second


def why_not(case: GoCase, world: World) -> str:
    """Why the case cannot be built on this machine, or nothing; pushes the bases that it needs."""
    wanted = set(re.findall(r"%REGISTRY%/(go(?:-cgo|-std)?)\b", case.dockerfile + case.then))
    try:
        for name in wanted:
            go_step_bases.push(name, world)
    except go_step_bases.NoBase as reason:
        return str(reason)
    return ""


class WrongCase(AssertionError):
    """The case is not what it says: of BuildKit."""


class Expectations:
    """BuildKit's answers, each case built when it is first asked for."""

    def __init__(self, world: World, work: Path) -> None:
        self._world = world
        self._work = work
        self._known: dict[str, Expected] = {}

    def of(self, case: GoCase) -> Expected:
        if case.name not in self._known:
            self._known[case.name] = self._build(case)
        return self._known[case.name]

    def _build(self, case: GoCase) -> Expected:
        answers, seconds = [], []
        for number, state in enumerate(states(case), 1):
            world = with_case_name(self._world)  # cache mounts of this name are empty
            fresh = state._replace(around=state.around._replace(no_cache=""))
            work = self._work / "buildkit"
            lay_out(state, work, world)  # the times of files are the same for wherry
            began = time.monotonic()
            answer = by_buildkit(fresh, work, world).answer
            seconds.append(time.monotonic() - began)
            shutil.rmtree(work)
            if bool(answer.refusal) != state.refused:
                said = answer.refusal or "it builds an image"
                raise WrongCase(f"{case.name}, state {number} is wrong of BuildKit: {said}")
            answers.append(answer)
        if not any(case.fails) and case.same == bool(differences(*answers)):
            word = "other images" if case.same else "one image"
            raise WrongCase(f"{case.name} is wrong of BuildKit: both states give {word}")
        return Expected((answers[0], answers[1]), (seconds[0], seconds[1]))


def compare(case: GoCase, expected: Expected, world: World, work: Path, mode: Mode) -> Outcome:
    """Build by wherry: the first state, the second, and the second again without step cache.

    The last has a Go cache with all that the second left, and has to be the same image.
    """
    first, second = states(case)
    again = second._replace(around=second.around._replace(no_cache=""))
    world = with_case_name(world)
    lines: list[str] = []
    said: list[str] = []
    names = ("BuildKit", "BuildKit then")
    seconds: dict[str, float] = dict(zip(names, expected.seconds, strict=True))
    builds = (
        ("cold", first, expected.answers[0]),
        ("warm", second, expected.answers[1]),
        ("again", second, expected.answers[1]),
    )
    try:
        for name, state, answer in builds:
            shutil.rmtree(work / "context", ignore_errors=True)
            lay_out(state, work, world, mode.place.user)
            began = time.monotonic()
            asked = again if name == "again" else state
            got, told = by_wherry(asked, work, world, mode)
            seconds[name] = time.monotonic() - began
            said += [f"{name}: {line}" for line in told]
            lines += [f"{name}: {line}" for line in differences(answer, got)]
            if name == "cold" and case.between:
                _run(case.between, work, mode)
    except (CannotTell, BadImage, subprocess.TimeoutExpired) as error:
        lines.append(f"broken: {error}")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    left = tuple(line for line in lines if not _is_meant(case, line))
    return Outcome(case.name, left, seconds, "\n".join(said))


def _is_meant(case: GoCase, line: str) -> bool:
    return case.meant is not None and re.search(case.meant.lines, line) is not None


def by_wherry(case: Case, work: Path, world: World, mode: Mode) -> tuple[Answer, list[str]]:
    """What `wherry build` makes of the case laid out below `work`; what it says of Go caches."""
    archive = work / "wherry.tar"
    archive.unlink(missing_ok=True)
    user = mode.place.user
    options = builders._wherry_options(case, work, world, user.agent if user else world.agent)
    done = subprocess.run(
        [
            *_python(mode.place), "build", "-f", str(work / "context" / case.file),
            str(work / "context"), "-o", f"type=oci,dest={archive}",
            "--store", str(mode.place.store), "--progress", "plain", *options,
            *([f"--go-cache={mode.go_cache}"] if mode.go_cache else []), *mode.words,
        ],
        env=_env(work, mode.place) | case.around.secret_env,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300,
        cwd=work, errors="replace",
    )  # fmt: skip
    if "Traceback (most recent call last)" in done.stderr or done.returncode not in range(5):
        raise CannotTell(f"wherry exits with {done.returncode}: {done.stderr}")
    told = [line for line in done.stderr.splitlines() if "Go cache" in line]
    if done.returncode == 0:
        return Answer(read_images(archive, world.names)), told
    if done.returncode != 1:  # no case asks for what the machine lacks, or is wrong to write
        raise CannotTell(f"wherry exits with {done.returncode}: {done.stderr}")
    message = builders._first_error(done.stderr, r"^error: (.*)") or done.stderr[-500:]
    return Answer({}, f"{with_tokens(message, world.names)} (exit {done.returncode})"), told


def _python(place: Place) -> list[str]:
    user = place.user
    python = [*user.words, user.python, "-P"] if user else [sys.executable]
    return [*python, "-m", "wherry"]


def _env(work: Path, place: Place) -> dict[str, str]:
    """That of a user with nothing of his own; the wherry that the tests import is started."""
    packages = {"PYTHONPATH": str(Path(wherry.__file__).parent.parent)}
    return packages | builders._plain(os.environ, work, place.user)


def _run(words: Iterable[str], work: Path, mode: Mode) -> None:
    """A wherry command between two builds; it has to succeed."""
    env = {**_env(work, mode.place), "WHERRY_STORE": str(mode.place.store)}
    done = subprocess.run(
        [*_python(mode.place), *words], env=env, cwd=work, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    if done.returncode != 0:
        raise CannotTell(f"{' '.join(words)} exits with {done.returncode}: {done.stderr}")
