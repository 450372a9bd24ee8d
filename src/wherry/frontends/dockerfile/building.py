# SPDX-License-Identifier: Apache-2.0
"""A stage while it is lowered: its root so far, configuration, variables, layers and steps."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from wherry.frontends.dockerfile.configure import DEFAULT_PATH, Config
from wherry.frontends.dockerfile.paths import working_directory
from wherry.frontends.dockerfile.quick import quick
from wherry.frontends.dockerfile.scope import Scope, is_plain
from wherry.frontends.dockerfile.source import Range
from wherry.frontends.dockerfile.words import WordError, expand
from wherry.graph.build import LayerOutput, Lines, Vertex
from wherry.graph.ops import ComposedBase, ImageOp, Op
from wherry.oci.platform import Platform

COMMENT: Final = "wherry.dockerfile"
# What BuildKit puts after the lines of RUN, COPY and ADD, with our name.
_MARK: Final = " # wherry"
_USER_OF_URL: Final = re.compile(r"(?<=://)[^/\s]*@")
# The same in a step's name; before the `@` of a layout's digest stands its name.
_USER_SHOWN: Final = re.compile(r"(?<!oci-layout://)" + _USER_OF_URL.pattern)
_QUERY_OF_URL: Final = re.compile(r"(https?://[^\s?#]+)\?[^\s#]+")
_MASK: Final = "****"


class Vertices:
    """The vertices of the graph; what was added twice is there once."""

    __slots__ = ("_numbers", "_vertices")

    def __init__(self) -> None:
        self._vertices: list[Vertex] = []
        self._numbers: dict[tuple[Op, tuple[int, ...], bool], int] = {}

    def add(self, vertex: Vertex) -> int:
        """The number of this vertex, or of one that does the same."""
        key = (vertex.op, vertex.inputs, vertex.fresh)
        new = len(self._vertices)
        found = self._numbers.setdefault(key, new)
        if found == new:
            self._vertices.append(vertex)
        return found

    def all(self) -> tuple[Vertex, ...]:
        """All of them, inputs before users."""
        return tuple(self._vertices)

    def scratch(self, platform: Platform) -> int:
        """The empty root."""
        return self.add(Vertex(ImageOp(ComposedBase.SCRATCH, (), platform), (), "FROM scratch"))


class Building:
    """One stage.

    `root` is the vertex that its files come from, None while there are none. `cmd_given` says that
    the stage itself has a CMD. `fresh` is for `--no-cache`. `steps` is how many steps the user will
    see, `triggered` whether the instruction at hand is a base's trigger.
    """

    def __init__(
        self, name: str, config: Config, scope: Scope, vertices: Vertices, platform: Platform
    ) -> None:
        self.name = name
        self.config = config
        self.scope = scope
        self.vertices = vertices
        self.platform = platform
        self.root: int | None = None
        self.directory = "/"
        self.layers: list[LayerOutput] = []
        self.cmd_given = False
        self.fresh = False
        self.steps = 0
        self.triggered = False
        self._step = 0

    def child(self, name: str) -> Building:
        """A stage on top of this one."""
        scope = self.scope.copy()
        child = Building(name, self.config.child(), scope, self.vertices, self.platform)
        child.root = self.root
        child.directory = self.directory
        child.layers = list(self.layers)
        return child

    def begin(self) -> None:
        """What is done before the first instruction: PATH is there, and so are the base's ENVs."""
        config, scope = self.config, self.scope
        if "PATH" not in config.env:
            config.env["PATH"] = f"PATH={DEFAULT_PATH}"
        for name, item in config.env.items():
            scope.set(name, item[len(name) + 1 :])
        if config.working_dir:
            self.directory = config.working_dir = working_directory(
                config.working_dir, config.working_dir
            )

    def root_vertex(self) -> int:
        """The root as a vertex, the empty one where there are no files yet."""
        return self.vertices.scratch(self.platform) if self.root is None else self.root

    def add(self, op: Op, inputs: Iterable[int], name: str, place: Range) -> int:
        """Add a vertex of this stage."""
        lines = Lines(*place.lines)
        return self.vertices.add(Vertex(op, tuple(inputs), name, lines, self.fresh))

    def change(self, vertex: int, line: str) -> None:
        """`vertex` is the root from here on; what it changed is a layer."""
        self.root = vertex
        self.layers.append(LayerOutput(vertex, line, COMMENT))

    def mark(self, line: str) -> str:
        """The history's line of RUN, COPY and ADD; names and passwords in URLs stay out of it."""
        return _USER_OF_URL.sub("", line) + _MARK if "://" in line else line + _MARK

    def note(self, line: str) -> None:
        """A line of the history that made no layer."""
        self.layers.append(LayerOutput(None, line, COMMENT))

    def step_name(self, text: str, *, raw: bool = False, hidden: Iterable[str] = ()) -> str:
        """The name of the next step: `[builder 2/5] COPY go.mod ./`, with variables worked in.

        `raw` keeps quotes, and variables that are not set. Values that seem to be secret, and those
        of `hidden`, are masked.
        """
        self._step += 1
        count = str(self.steps)
        stage = f"{self.name} " if self.name else ""
        trigger = "ONBUILD " if self.triggered else ""
        keyword, blank, rest = self._shown(text, raw, hidden).partition(" ")
        number = f"{self._step:>{len(count)}}/{count}"
        return f"[{stage}{number}] {trigger}{keyword.upper()}{blank}{rest}"

    def _shown(self, text: str, raw: bool, hidden: Iterable[str]) -> str:
        variables = self.scope.variables
        if "$" in text:
            masked = {*self.scope.secrets, *hidden}
            if masked:
                variables = {**variables, **dict.fromkeys(masked, _MASK)}
        # If a word is wrong in earnest, its instruction will say so.
        if not is_plain(text):
            with suppress(WordError):
                escape = self.scope.escape
                found = quick(text, variables, raw=raw) or expand(
                    text, variables, escape, raw_quotes=raw, keep_unset=raw
                )
                text = found.text
        if "://" in text:
            text = _QUERY_OF_URL.sub(rf"\1?{_MASK}", _USER_SHOWN.sub(f"{_MASK}@", text))
        return text
