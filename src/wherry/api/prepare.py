# SPDX-License-Identifier: Apache-2.0
"""Before a Go build: find the toolchain, ask it, choose flags, find the main package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from wherry.api.asked import Asked
from wherry.api.request import BuildRequest
from wherry.api.unchanged import Verdict
from wherry.errors import UsageError
from wherry.events import Level, Message, Sink
from wherry.golang.command import GoTool
from wherry.golang.environment import build_environment, overlay
from wherry.golang.facts import query_go, require_version
from wherry.golang.flags import FlagSettings, build_flags, flag_value, split_goflags
from wherry.golang.mains import MainPackage, Place, find_mains, one_main
from wherry.golang.record import Memo, first_change
from wherry.golang.toolchain import GoFacts, find_go
from wherry.oci.image import Pairs
from wherry.process.cancel import CancelToken


class GoInForce(NamedTuple):
    """The toolchain in force for one build."""

    tool: GoTool
    facts: GoFacts
    flags: tuple[str, ...]
    overlay: Pairs


def prepare_go(
    request: BuildRequest, asked: Asked, place: Place, sink: Sink, cancel: CancelToken
) -> GoInForce:
    """Find and ask Go; a toolchain that it fetches is told as a message."""

    def on_line(line: str) -> None:
        sink(Message(Level.INFO, line))

    command = find_go(request.env)
    on_top = overlay(command, asked.platform, cgo=asked.cgo)
    tool = GoTool(command, place.directory, _environment(request.env, on_top, place))
    facts = query_go(command, place.directory, tool.env, cancel, on_line)
    if asked.go_version:
        wanted = require_version(facts, asked.go_version)
        on_top = overlay(command, asked.platform, cgo=asked.cgo, toolchain=wanted)
        tool = tool._replace(env=_environment(request.env, on_top, place))
        facts = query_go(command, place.directory, tool.env, cancel, on_line)
    _refuse_libraries(facts.goflags)
    flags = build_flags(facts.goflags, FlagSettings(asked.stamp, asked.ldflags, asked.build_tags))
    request.trace("go-asked")
    return GoInForce(tool, facts, flags, on_top)


def _refuse_libraries(goflags: str) -> None:
    mode = flag_value(split_goflags(goflags), "buildmode")
    if mode in ("archive", "c-archive", "c-shared", "plugin", "shared"):
        raise UsageError(f"-buildmode={mode} makes no program", why="it is set in GOFLAGS",
                         hint="take it out for this build: go env GOFLAGS")  # fmt: skip


def _environment(env: Mapping[str, str], on_top: Pairs, place: Place) -> dict[str, str]:
    return build_environment(env, on_top, place.directory)


def known_main(verdict: Verdict, env: Mapping[str, str]) -> MainPackage | None:
    """The main package of the last build, if nothing changed but the text of Go files."""
    if not verdict.records:
        return None
    last = verdict.records[0]
    # go.mod, go.work, wherry.toml and the flags all have a say in which package is meant.
    others = {path: now for path, now in last.inputs.files.items() if not path.endswith(".go")}
    inputs = last.inputs._replace(files=others, large={}, modules={}, all_names={})
    if first_change(inputs, env, Memo()):
        return None
    return MainPackage(last.package, last.output.binaries[0].name, "")


def find_main(go: GoInForce, place: Place, cancel: CancelToken) -> MainPackage:
    """The one main package that `place` means; raises `UsageError` that lists several."""
    found = find_mains(go.tool.go, place.directory, place.pattern, go.flags, go.tool.env, cancel)
    return one_main(found, place.pattern)
