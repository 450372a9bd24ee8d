# SPDX-License-Identifier: Apache-2.0
"""The Dockerfile: blocks of lines, each under the name by which its reason is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final, NamedTuple

from wherry.advice.writing.plan import Plan, needs_of
from wherry.advice.writing.programs import Program

_MODULES: Final = "--mount=type=cache,target=/go/pkg/mod"
_BUILDS: Final = "--mount=type=cache,target=/root/.cache/go-build"
_NETRC: Final = "--mount=type=secret,id=netrc,target=/root/.netrc"
_BUNDLE: Final = "/etc/ssl/certs/ca-certificates.crt"
_ZONES: Final = "/usr/share/zoneinfo"
_LOW: Final = 1024


class Block(NamedTuple):
    """Lines with one reason; `reason` is a key of the explanations.

    `note` is a comment above them; `gap` says that a blank line stands before.
    """

    reason: str
    text: str
    note: str = ""
    gap: bool = False


def dockerfile(plan: Plan) -> str:
    """The text of the file."""
    parts = [
        "# Written by `wherry init`; yours to change. `wherry init --explain` tells each line.\n"
    ]
    for block in blocks(plan):
        parts.append("\n" if block.gap else "")
        parts.extend(f"# {line}\n" for line in block.note.splitlines())
        parts.append(f"{block.text}\n")
    return "".join(parts)


def blocks(plan: Plan) -> Iterator[Block]:
    """The parts of the file, in order."""
    yield from _source(plan)
    if plan.found.tested:
        yield from _tests(plan)
    for program in plan.found.programs:
        yield from _build(plan, program)
        yield from _image(plan, program)


def _source(plan: Plan) -> Iterator[Block]:
    found = plan.found
    if plan.crosses:
        yield Block("from-cross", f"FROM --platform=$BUILDPLATFORM {plan.builder} AS source",
                    gap=True)  # fmt: skip
    else:
        yield Block("from-cgo", f"FROM {plan.builder} AS source", gap=True)
    if plan.cgo and plan.base == "alpine":
        yield Block("compiler", "RUN apk add --no-cache build-base")
    yield from _root_files(plan)
    yield Block("workdir", "WORKDIR /src")
    yield Block("cgo" if plan.cgo else "no-cgo", f"ENV CGO_ENABLED={int(plan.cgo)}")
    if found.private:
        yield Block("private", f"ENV GOPRIVATE={','.join(found.private)}")
    if found.has_modules and not found.vendored:
        for place, names in found.early:
            prefix = "" if place == "." else f"{place}/"
            words = [*(prefix + name for name in names), "./" if place == "." else f"{place}/"]
            yield Block("early", f"COPY {' '.join(words[:-1])} {words[-1]}")
        yield Block("download", f"{_run(plan, _MODULES)}    go mod download")
    yield Block("copy", "COPY . .")


def _root_files(plan: Plan) -> Iterator[Block]:
    """What scratch gets that no image has in the right form."""
    if plan.base != "scratch" or not {"temporary", "users"} & set(plan.wanted):
        return
    commands = ["mkdir -p /image/etc"]
    if "temporary" in plan.wanted:
        commands.append("mkdir -m 1777 /image/tmp")
    if "users" in plan.wanted:
        commands.append("echo 'nonroot:x:65532:65532:nonroot:/:/sbin/nologin' > /image/etc/passwd")
    yield Block("root-files", "RUN " + " && \\\n    ".join(commands))


def _tests(plan: Plan) -> Iterator[Block]:
    patterns = " ".join(plan.found.tested)
    yield Block("test-stage", "FROM source AS test",
                "The tests, for those who ask: wherry build --target test", gap=True)  # fmt: skip
    yield Block("test", f"{_run(plan, _MODULES, _BUILDS)}    go test {patterns}")


def _build(plan: Plan, program: Program) -> Iterator[Block]:
    yield Block("build-stage", f"FROM source AS {_stage(plan, program)}", gap=True)
    target = ""
    if plan.crosses:
        yield Block("target", "ARG TARGETOS TARGETARCH TARGETVARIANT")
        target = "GOOS=$TARGETOS GOARCH=$TARGETARCH GOARM=${TARGETVARIANT#v} \\\n    "
    command = (
        f'go build -trimpath -buildvcs=false -ldflags="-s -w" '
        f"-o /out/{program.name} {program.package}"
    )
    yield Block("build", f"{_run(plan, _MODULES, _BUILDS)}    {target}{command}")


def _image(plan: Plan, program: Program) -> Iterator[Block]:
    several = len(plan.found.programs) > 1
    name = f" AS {program.stage}" if several else ""
    note = ""
    if several:
        note = f"The image of {program.name}: wherry build --target {program.stage}"
        if program is plan.main:
            note += ", or without a target"
    if plan.base == "slim" and not plan.cgo:
        note += "\n" if note else ""
        note += "As asked: nothing in the code needs more than --base static.\nwherry: ignore=GO107"
    if plan.moves:
        note += "\n" if note else ""
        note += (
            "Its publisher gives it no tag that stays; `wherry init --pin` writes the digest.\n"
            "wherry: ignore=GO306"
        )
    yield Block(f"image-{plan.base}", f"FROM {plan.image}{name}", note, gap=True)
    if plan.cgo and plan.base == "alpine" and any(item.cxx for item in plan.found.programs):
        yield Block("libraries", "RUN apk add --no-cache libstdc++")
    yield from _brought(plan, program)
    yield Block("program",
                f"COPY --from={_stage(plan, program)} /out/{program.name}"
                f" /app/{program.name}")  # fmt: skip
    if plan.user:
        yield Block("user", f"USER {plan.user}")
    ports = program.listening.ports
    if ports:
        low = "wherry: ignore=GO231" if min(ports) < _LOW else ""
        yield Block("expose", f"EXPOSE {' '.join(map(str, ports))}", low)
    yield Block("entrypoint", f"ENTRYPOINT {json.dumps([f'/app/{program.name}'])}")


def _brought(plan: Plan, program: Program) -> Iterator[Block]:
    wanted = needs_of(plan, program)
    if "certificates" in wanted:
        yield Block("certificates", f"COPY --from=source {_BUNDLE} /etc/ssl/certs/")
    if "zones" in wanted:
        if plan.cgo:
            # The build stage is Alpine as well, which has none.
            yield Block("zones", "RUN apk add --no-cache tzdata")
        else:
            yield Block("zones", f"COPY --from=source {_ZONES} {_ZONES}")
    if {"temporary", "users"} & set(wanted):
        yield Block("root-copy", "COPY --from=source /image/ /")


def _stage(plan: Plan, program: Program) -> str:
    return f"build-{program.stage}" if len(plan.found.programs) > 1 else "build"


def _run(plan: Plan, *mounts: str) -> str:
    """The begin of a RUN with its mounts, a line each."""
    if plan.found.private:
        mounts = (*mounts, _NETRC)
    if plan.found.vendored:
        mounts = tuple(mount for mount in mounts if mount not in (_MODULES, _NETRC))
    elif not plan.found.has_modules:
        mounts = tuple(mount for mount in mounts if mount != _MODULES)
    return (
        "RUN " + "".join(f"{mount} \\\n    " for mount in mounts).rstrip(" ") if mounts else "RUN "
    )
