# SPDX-License-Identifier: Apache-2.0
"""What is decided: the base, the Go that builds, what an image gets beside its program.

Everything that texts are made of is in the plan, so that the files and what is said about them
cannot differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from wherry.advice.reading.base_ends import GO_RELEASES, is_old_go
from wherry.advice.writing.found import Found
from wherry.advice.writing.programs import Program
from wherry.errors import UsageError
from wherry.golang.requirements import version_order

BASES: Final = ("static", "scratch", "slim", "alpine", "debug")
"""What `--base` takes, smallest first but for the default."""

DEBIAN: Final = "trixie"
_DISTROLESS: Final = "gcr.io/distroless/{kind}-debian13:{tag}"
_ALPINE: Final = "alpine:3.24"
_RELEASE: Final = re.compile(r"1\.\d+\.\d+")
_USER: Final = "65532:65532"


class Plan(NamedTuple):
    """`base` is a word of `BASES`, `image` its reference, `builder` that of the build stage.

    References have their digest where it is known. `wanted` says what the image needs of
    `certificates`, `zones`, `temporary`, `users` and does not have by itself. `user` is empty where
    the base's own is right. `moves` says that the base has no tag that stays, and no digest.
    """

    found: Found
    base: str
    image: str
    builder: str
    cgo: bool
    wanted: tuple[str, ...]
    user: str
    moves: bool
    reason: str
    """Why the base was chosen: `default`, `asked` or `cgo`."""

    @property
    def crosses(self) -> bool:
        """Whether Go builds for other machines by itself, without emulation."""
        return not self.cgo

    @property
    def main(self) -> Program:
        """The program whose stage comes last."""
        return self.found.programs[-1]


Pin = Callable[[str], str]
"""The digest of a reference, `sha256:...`; empty where it is not known."""


def make_plan(found: Found, base: str, go: Mapping[str, str], pin: Pin) -> Plan:
    """Decide.

    `base` is empty where nobody asked for one. `go` has the version that is wished for (`exact`)
    and that of the Go which is here (`installed`), either maybe empty.

    Raises `UsageError` for a base that the program cannot run on.
    """
    cgo = any(program.cgo for program in found.programs)
    reason = "asked" if base else "cgo" if cgo else "default"
    base = base or ("slim" if cgo else "static")
    if cgo and base in ("static", "scratch"):
        names = tuple(name for program in found.programs for name in program.cgo)
        raise UsageError(f"--base {base} has no C library, which {names[0]} needs",
                         why="it is compiled with cgo",
                         hint="say --base slim, alpine or debug; or leave --base out")  # fmt: skip
    cxx = any(program.cxx for program in found.programs)
    name = _image(base, cgo=cgo, cxx=cxx)
    tag = go_version(found.go, go.get("exact", ""), go.get("installed", ""))
    builder = f"golang:{tag}{_variant(base) if cgo else ''}"
    image, pinned = _with_digest(name, pin)
    return Plan(
        found, base, image, _with_digest(builder, pin)[0], cgo, _wanted(found, base),
        "" if base in ("static", "debug") else _USER,
        base in ("static", "debug") and not pinned, reason,
    )  # fmt: skip


def go_version(wanted: str, exact: str, installed: str) -> str:
    """The tag of the Go image: an exact version, or a release line that gets its fixes.

    `wanted` is what go.mod asks for at least. The Go that is here serves where it is a release that
    is new enough and still maintained: the image's program is then the one that it builds.
    """
    if exact:
        return exact
    fits = version_order(installed) >= version_order(wanted)
    if _RELEASE.fullmatch(installed) and fits and not is_old_go(installed):
        return installed
    line = ".".join(wanted.split(".")[:2]) if re.match(r"\d+\.\d+", wanted) else ""
    line = re.sub(r"(?:rc|beta)\d+", "", line)
    return line if line and not is_old_go(line) else GO_RELEASES[-1]


def needs_of(plan: Plan, program: Program) -> tuple[str, ...]:
    """What one program's image gets beside it."""
    if program.needs is None:
        return plan.wanted
    return tuple(name for name in plan.wanted if getattr(program.needs, name))


def _wanted(found: Found, base: str) -> tuple[str, ...]:
    lacks = {
        "scratch": ("certificates", "zones", "temporary", "users"), "slim": ("certificates",),
        "alpine": ("zones",),
    }.get(base, ())  # fmt: skip
    return tuple(
        name for name in lacks
        if any(item.needs is None or getattr(item.needs, name) for item in found.programs)
    )  # fmt: skip


def base_of(reference: str) -> str:
    """The word of `BASES` that a base of wherry.toml is; empty for another, and for none."""
    images = {_image(word, cgo=False, cxx=False): word for word in BASES}
    return reference if reference in ("static", "scratch") else images.get(reference, "")


def _image(base: str, *, cgo: bool, cxx: bool) -> str:
    match base:
        case "scratch":
            return "scratch"
        case "slim":
            return f"debian:{DEBIAN}-slim"
        case "alpine":
            return _ALPINE
        case "debug":
            kind = "cc" if cxx else "base" if cgo else "static"
            return _DISTROLESS.format(kind=kind, tag="debug-nonroot")
        case _:
            return _DISTROLESS.format(kind="static", tag="nonroot")


def _variant(base: str) -> str:
    """Cgo's programs run with the C library that they were linked with."""
    return "-alpine" if base == "alpine" else f"-{DEBIAN}"


def _with_digest(reference: str, pin: Pin) -> tuple[str, bool]:
    digest = pin(reference) if reference != "scratch" else ""
    return (f"{reference}@{digest}", True) if digest else (reference, False)
