# SPDX-License-Identifier: Apache-2.0
"""BuildKit's build checks by BuildKit and by wherry: the same names at the same instructions.

BuildKit is asked by `frontend.lint`, which builds nothing; the Dockerfiles stand on scratch, so
that no registry is asked either. What is compared is the instruction that a finding is about:
BuildKit names its lines, wherry the words in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from differential.world import World, shared_world
from wherry.advice.context import Context
from wherry.advice.rules.build_checks import EXPERIMENTAL, RULES
from wherry.advice.subject import Subject
from wherry.advice.switches import Switches
from wherry.golang.toolchain import GoCommand

# The first who asks for the world builds BuildKit, and waits for a download where that is needed.
pytestmark = pytest.mark.timeout(1800)

_WARNING = re.compile(r"^WARNING: (\w+)")
_MARKED = re.compile(r"^ +(\d+) \| >>>")
ALL = "# check=experimental=all\n"

# Dockerfiles, with what has to be in the ignore file.
CASES = {
    "stage names": ("FROM scratch AS Build\nFROM scratch AS build\nFROM scratch AS context\n", ""),
    "reserved": ("FROM scratch AS scratch\n", ""),
    "as": ("FROM scratch as a\nfrom scratch AS b\nFrom scratch As c\nFROM scratch AS d\n", ""),
    "empty lines": (
        "FROM scratch\nLABEL a=1 \\\n\n  b=2 \\\n\n  c=3\nLABEL d=4\nCOPY <<EOF /x\n\n\nEOF\n", ""
    ),
    "upper case": ("FROM scratch\nlabel a=1\nLabel b=2\nLABEL c=3\nonbuild RUN x\n", ""),
    "lower case": ("ARG A\nFROM scratch\nlabel a=1\nlabel b=2\nlabel c=3\nLABEL d=4\n", ""),
    "as many of both": ("FROM scratch\nlabel a=1\n", ""),
    "shell forms": (
        'FROM scratch\nCMD a b\nENTRYPOINT c\nFROM scratch\nCMD ["a"]\nENTRYPOINT ["b"]\n'
        'FROM scratch AS s\nSHELL ["/sh"]\nCMD a\nFROM s\nENTRYPOINT a\nHEALTHCHECK CMD a\n', ""
    ),
    "an empty command": ("FROM scratch\nCMD\n", ""),
    "maintainers": ("FROM scratch\nMAINTAINER Ann\nLABEL maintainer=Ann\n", ""),
    "FROM's variables": (
        "ARG A=scratch\nFROM $A\nFROM ${B:-scratch}\nFROM --platform=${C:-linux/$TARGETARCH} $A\n"
        "FROM --platform=$BUILDPLATFORM scratch\n", ""
    ),
    "directories": (
        "FROM scratch AS a\nWORKDIR b\nWORKDIR c\nFROM scratch\nWORKDIR /d\nWORKDIR e\nFROM a\n"
        "WORKDIR f\nFROM scratch\nENV G=/g\nWORKDIR $G\n", ""
    ),
    "variables": (
        "ARG OUT=1\nFROM scratch AS a\nARG IN\nENV A=$IN B=$OUT C=$A\nLABEL a=$PATH b=${X} c=$C\n"
        "ENV X=$Y Z='$Y' Q=\\$Y\nARG R=$S\nFROM a\nUSER $IN\nWORKDIR /$T\nVOLUME /$X /$U\n"
        "STOPSIGNAL SIG${V}TERM\nEXPOSE 80$W\nENV old $OLD form\n", ""
    ),
    "variables of files": (
        "FROM scratch\nARG TARGETARCH\nCOPY x-$TARGETARCH /$TO\nADD --chown=$WHO y /y\n"
        "COPY <<EOF <<'END' /z/\n$EXPANDED\nEOF\n$NOT\nEND\n"
        "RUN --mount=type=cache,target=/c,id=$ID echo $NOT\nCMD [\"$NOT\"]\n", ""
    ),
    "variables of triggers": (
        "FROM scratch AS a\nONBUILD ENV A=1\nONBUILD LABEL b=$B\nFROM a\nLABEL a=$A c=$C\n", ""
    ),
    "many of one": (
        'FROM scratch\nCMD ["a"]\nCMD ["b"]\nCMD ["c"]\nENTRYPOINT ["a"]\nHEALTHCHECK NONE\n'
        'ENTRYPOINT ["b"]\nHEALTHCHECK CMD a\nFROM scratch\nCMD ["d"]\n', ""
    ),
    "old forms": (
        "FROM scratch\nENV A b\nENV A b c\nENV A=b C=d\nLABEL a b\nLABEL a=\"b c\"\nENV A =b\n", ""
    ),
    "platforms": (
        "FROM --platform=$TARGETPLATFORM scratch\nFROM --platform=${TARGETPLATFORM} scratch\n"
        "FROM --platform=linux/$TARGETARCH scratch\nFROM --platform=linux/arm64 scratch\n"
        "FROM --platform=linux/arm64 scratch AS b-arm64\nFROM --platform=linux scratch AS linux-x\n"
        "FROM --platform=arm64 scratch AS amd64\n", ""
    ),
    "secrets": (
        "ARG TOKEN\nFROM scratch\nARG TOKEN=1\nARG A API_KEY=2\nENV PUBLIC_KEY=3 passwd=4\n"
        "ENV auth_x 5\nENV KEYBOARD=6 AUTHOR=7 TOKEN_FILE=8 KEY_VERSION=9\n", ""
    ),
    "no default": ("ARG TAG\nFROM alpine:$TAG\n", ""),
    "ignored files": (
        "FROM scratch AS a\nFROM scratch\nCOPY bin/server ./README.md /\nADD README.md cmd /x/\n"
        "COPY --from=a bin /\nCOPY . /\nCOPY *.md /\nADD https://example.com/bin /bin\n",
        "bin\n*.md\n",
    ),
    "all is ignored": ("FROM scratch\nCOPY . /\nCOPY x /\n", "*\n"),
    "some is taken back": ("FROM scratch\nCOPY . /\nENV A b\n", "*\n!release/\n"),
    "ports": (
        "FROM scratch\nEXPOSE 80 81/TCP\nEXPOSE 127.0.0.1:80:80\nEXPOSE 8080:80/Udp\nEXPOSE :80\n"
        "ENV P=80/TCP\nEXPOSE $P\nEXPOSE 80-90/tcp [::1]::80\n", ""
    ),
    "descriptions": (
        f"{ALL}# of A\nARG A\n# A is\nARG A\n# x\n# B is\nARG A B\n# base\nFROM scratch AS base\n"
        "# other\nFROM scratch\n# text\n#\nARG C\n# text\n\nARG D\n", ""
    ),
    "several are skipped": (
        "# check=skip=LegacyKeyValueFormat,MaintainerDeprecated\nFROM scratch\nENV A b\n"
        "MAINTAINER Ann\nCMD a\n", ""
    ),
    "all are skipped at one": ("FROM scratch\n# check=skip=all\nENV A b\nENV C d\n", ""),
    "other letters are skipped": (
        "# check=skip=legacykeyvalueformat\nFROM scratch\nENV A b\nCMD a\n", ""
    ),
    "all is well": (
        'ARG V=1\nFROM scratch AS build\nARG V\nLABEL v=$V\nFROM build\nWORKDIR /x\n'
        'CMD ["/x/y"]\n', ""
    ),
    "skipped": (
        "# check=skip=LegacyKeyValueFormat\nFROM scratch\nENV A b\n"
        "# check=skip=MaintainerDeprecated\nMAINTAINER Ann\nMAINTAINER Ann\n", ""
    ),
}  # fmt: skip


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, go: GoCommand) -> Iterator[World]:
    """The world of the differential suite, shared with it; skipped where BuildKit cannot run."""
    with shared_world(tmp_path_factory) as world:
        yield world


@pytest.mark.parametrize("name", CASES)
def test_wherry_finds_what_buildkit_finds(name: str, world: World, tmp_path: Path) -> None:
    text, ignore = CASES[name]
    (tmp_path / "Dockerfile").write_text(text)
    (tmp_path / ".dockerignore").write_text(ignore)
    theirs = _by_buildkit(world, tmp_path)
    if name not in ("all is well", "skipped"):
        assert theirs, "BuildKit finds nothing: what is compared?"
    assert _by_wherry(text, tmp_path) == _by_instruction(text, theirs)


def _by_buildkit(world: World, directory: Path) -> set[tuple[str, int]]:
    """Names of checks with the first line of what each is about."""
    assert world.buildkit is not None
    words = ["--opt", "requestid=frontend.lint", "--local", f"context={directory}",
             "--local", f"dockerfile={directory}"]  # fmt: skip
    done = world.buildkit.build(words, {})
    assert done.returncode == 0, done.stderr
    found: set[tuple[str, int]] = set()
    check = ""
    for line in done.stdout.splitlines():
        warning, marked = _WARNING.match(line), _MARKED.match(line)
        if warning:
            check = warning[1]
        elif marked and check:
            found.add((check, int(marked[1])))
            check = ""
    return found


def _by_wherry(text: str, directory: Path) -> set[tuple[str, int]]:
    subject = Subject("Dockerfile", text, Context(str(directory)))
    rules = (*RULES, *(EXPERIMENTAL if text.startswith(ALL) else ()))
    switches = Switches(subject, {})
    starts = _starts(text)
    return {
        (rule.id, max(start for start in starts if start <= finding.range.start.line))
        for rule in rules
        for finding in rule.look(subject, rule)
        if not switches.hides(rule.id, rule.name, finding.range, starts)
    }


def _by_instruction(text: str, found: set[tuple[str, int]]) -> set[tuple[str, int]]:
    starts = _starts(text)
    return {(name, max(start for start in starts if start <= line)) for name, line in found}


def _starts(text: str) -> tuple[int, ...]:
    """The first lines of the file's instructions."""
    return tuple(node.range.start.line for node in Subject("", text).parsed.nodes)
