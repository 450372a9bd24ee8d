# SPDX-License-Identifier: Apache-2.0
"""What people have to know that the files cannot say: what was not seen, what is left to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wherry.advice.writing.plan import Plan

_SHOWN = 4


def notes_of(plan: Plan) -> tuple[str, ...]:
    """A line each."""
    return tuple(_notes(plan))


def _notes(plan: Plan) -> Iterator[str]:
    found = plan.found
    yield from found.unseen
    if any(program.needs is None for program in found.programs):
        yield "what the program needs at run time is not known: the image gets all that could be"
        if not plan.cgo:
            yield "whether it needs cgo is not known: CGO_ENABLED=0 is written"
    if plan.reason == "cgo":
        names = _listed(name for program in found.programs for name in program.cgo)
        yield f"cgo is on, for {names}: the base is {plan.image}, which has a C library"
    if plan.base == "alpine":
        yield ("Alpine's C library is musl: name lookup and threads' stacks differ from glibc's"
               + ("" if plan.cgo else "; a static program does not use it"))  # fmt: skip
    if plan.cgo and found.libraries:
        yield (f"cgo asks for {_listed(found.libraries)}: install what is missing, in the build"
               " stage to compile and in the image to run")  # fmt: skip
    if found.generates:
        yield ("go generate is not run in the image: what it writes has to be among the sources"
               f" ({_listed(found.generates)})")  # fmt: skip
    if found.missing:
        yield (f"go:embed names {_listed(found.missing)}, and no such file is there: make it before"
               " the image is built")  # fmt: skip
    if found.aside:
        yield f"no image for {_listed(found.aside)}: taken for helpers, by the directory"
    if len(found.programs) > 1:
        yield (f"{len(found.programs)} programs: without --target, the image is that of"
               f" {plan.main.name}, whose stage is the last")  # fmt: skip
    if found.private:
        yield (f"private modules ({', '.join(found.private)}) are fetched with the secret netrc:"
               " wherry build --secret id=netrc,src=$HOME/.netrc")  # fmt: skip
    yield from _ports(plan)


def _ports(plan: Plan) -> Iterator[str]:
    for program in plan.found.programs:
        listening = program.listening
        if listening.unread:
            yield (f"no EXPOSE for {_listed(listening.unread)}: the address is not plain in the"
                   " sources")  # fmt: skip
        low = [str(port) for port in listening.ports if port < 1024]
        if low:
            yield (f"port {', '.join(low)} is below 1024, and {program.name} does not run as root:"
                   " some hosts refuse it; 8080 is always allowed")  # fmt: skip


def _listed(names: Iterable[str]) -> str:
    found = list(dict.fromkeys(names))
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more
