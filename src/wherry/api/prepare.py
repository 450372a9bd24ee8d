# SPDX-License-Identifier: Apache-2.0
"""Before a Go build: find the toolchain, ask it, choose flags."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from wherry.golang.mains import MainPackage
from wherry.golang.record import Memo, first_change
from wherry.golang.toolchain import GoFacts, find_go
from wherry.oci.image import Pairs
from wherry.oci.platform import Platform
from wherry.process.cancel import CancelToken

OnFacts = Callable[[GoTool, GoFacts, Sequence[str]], tuple[GoTool, GoFacts]]
"""Takes the go command, its facts and the package patterns; gives command and facts in force."""


class GoInForce(NamedTuple):
    """The toolchain in force for one image and platform."""

    tool: GoTool
    facts: GoFacts
    flags: tuple[str, ...]
    overlay: Pairs


class Toolchains:
    """The toolchains in force for the images of one build; each is asked once.

    `on_facts` hears what each says of itself, and says how to go on asking it.
    """

    def __init__(
        self,
        request: BuildRequest,
        sink: Sink,
        cancel: CancelToken,
        on_facts: OnFacts | None = None,
    ) -> None:
        self._request = request
        self._sink = sink
        self._cancel = cancel
        self._on_facts = on_facts
        self._facts: dict[tuple[object, ...], tuple[GoTool, GoFacts, Pairs]] = {}

    def of(self, asked: Asked, platform: Platform, directory: str) -> GoInForce:
        """What builds an image for `platform` in `directory`."""
        key = (directory, platform, asked.cgo, asked.go_version)
        if key not in self._facts:
            self._facts[key] = self._asked(asked, platform, directory)
        tool, facts, on_top = self._facts[key]
        settings = FlagSettings(asked.stamp, asked.ldflags, asked.build_tags, asked.gcflags)
        return GoInForce(tool, facts, build_flags(facts.goflags, settings), on_top)

    def _asked(
        self, asked: Asked, platform: Platform, directory: str
    ) -> tuple[GoTool, GoFacts, Pairs]:
        """Find and ask Go; a toolchain that it fetches is told as a message."""

        def on_line(line: str) -> None:
            self._sink(Message(Level.INFO, line))

        request, cancel = self._request, self._cancel
        command = find_go(request.env)
        on_top = overlay(command, platform, cgo=asked.cgo)
        tool = GoTool(command, directory, build_environment(request.env, on_top, directory))
        facts = query_go(command, directory, tool.env, cancel, on_line)
        if asked.go_version:
            wanted = require_version(facts, asked.go_version)
            on_top = overlay(command, platform, cgo=asked.cgo, toolchain=wanted)
            tool = tool._replace(env=build_environment(request.env, on_top, directory))
            facts = query_go(command, directory, tool.env, cancel, on_line)
        _refuse_libraries(facts.goflags)
        request.trace("go-asked")
        if self._on_facts is not None:
            patterns = (request.source, *request.more_sources, *asked.packages)
            tool, facts = self._on_facts(tool, facts, patterns)
        return tool, facts, on_top


def _refuse_libraries(goflags: str) -> None:
    mode = flag_value(split_goflags(goflags), "buildmode")
    if mode in ("archive", "c-archive", "c-shared", "plugin", "shared"):
        raise UsageError(f"-buildmode={mode} makes no program", why="it is set in GOFLAGS",
                         hint="take it out for this build: go env GOFLAGS")  # fmt: skip


def known_mains(verdict: Verdict, env: Mapping[str, str]) -> dict[tuple[str, str], MainPackage]:
    """The main packages of the last build by directory and pattern.

    None of them where more changed than the text of Go files.
    """
    if not verdict.records:
        return {}
    last = verdict.records[0]
    # go.mod, go.work, wherry.toml and the flags all have a say in which package is meant.
    others = {path: now for path, now in last.inputs.files.items() if not path.endswith(".go")}
    inputs = last.inputs._replace(files=others, large={}, modules={}, all_names={})
    if first_change(inputs, env, Memo()):
        return {}
    return {
        (main.directory, main.pattern): MainPackage(main.import_path, main.name, main.path)
        for main in last.mains
    }
