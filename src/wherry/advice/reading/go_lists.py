# SPDX-License-Identifier: Apache-2.0
"""The packages of a module's programs: asked of the Go that is installed, offline, once.

Each start of Go takes a tenth of a second: the first program is asked for alone, and with the
second one all others of the module, for whoever has two Dockerfiles has one for each. What Go said
is kept for the next time where there is a place for it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Final

from wherry.advice.reading.go_answers import Answers, Question, decoded, encoded
from wherry.errors import MachineError, WherryError
from wherry.golang.environment import build_environment, overlay
from wherry.golang.packages import Package, list_imports, list_packages
from wherry.golang.toolchain import GoCommand, find_go
from wherry.oci.platform import Platform
from wherry.process.cancel import Cancelled, time_limit

_PLATFORM: Final = Platform("linux", "amd64")
_OFFLINE: Final = {"GOPROXY": "off", "GOTOOLCHAIN": "local", "GOSUMDB": "off", "GO111MODULE": "on"}
# Programs of one module that are asked for at once; more are mostly examples.
_MOST_PROGRAMS: Final = 100
# Go waits for ever for a pipe that is called go.mod, or for a network disk that is gone.
_MOST_SECONDS: Final = 120.0

Listed = tuple[Package, ...] | str
"""Packages, or why Go cannot say."""


class GoLists:
    """What Go says of the packages that patterns in `directory` need.

    `env` is the whole environment that Go is asked in; `programs` gives the patterns of the
    module's programs, for asking ahead.
    """

    def __init__(
        self,
        directory: str,
        env: Mapping[str, str],
        programs: Callable[[], tuple[str, ...]],
        answers: Answers | None = None,
    ) -> None:
        self._directory = directory
        self._env = env
        self._programs = programs
        self._answers = answers
        self._lists: dict[tuple[str, bool, str], Listed] = {}
        self._asked: set[tuple[bool, str]] = set()
        self._silent = ""

    def listed(self, pattern: str, *, cgo: bool, tags: str, vendored: bool) -> Listed:
        """The packages that a pattern such as `./cmd/api` needs on Linux."""
        key = pattern, cgo, tags
        if key not in self._lists:
            self._lists[key] = self._found(pattern, cgo=cgo, tags=tags, vendored=vendored)
        return self._lists[key]

    def _found(self, pattern: str, *, cgo: bool, tags: str, vendored: bool) -> Listed:
        go = self._go
        if isinstance(go, str):
            return go
        # With vendor/, Go takes it by itself, and -mod=readonly would pass it by.
        modules = {"GOFLAGS": "" if vendored else "-mod=readonly"}
        on_top = overlay(go, _PLATFORM, cgo=cgo)
        env = build_environment({**self._env, **_OFFLINE, **modules}, on_top, self._directory)
        flags = ("-buildvcs=false", *((f"-tags={tags}",) if tags else ()))
        question = Question(go, self._directory, pattern, flags, env)
        kept = self._kept(question)
        if kept is not None:
            return kept
        if (cgo, tags) in self._asked and not self._silent:
            self._ask_ahead(question, cgo=cgo, tags=tags)
            if (pattern, cgo, tags) in self._lists:
                return self._lists[pattern, cgo, tags]
        self._asked.add((cgo, tags))
        if self._silent:
            return self._silent
        began = time.time()
        try:
            answer = _ask(question)
        except Cancelled:
            # Not asked again for the module's other programs, and not kept.
            self._silent = f"go list gave no answer within {_MOST_SECONDS:g} seconds"
            return self._silent
        self._keep(question, answer, began)
        return answer

    def _ask_ahead(self, question: Question, *, cgo: bool, tags: str) -> None:
        """Ask for all programs that were not asked for, where the pattern is one of them."""
        left = tuple(
            name for name in self._programs()[:_MOST_PROGRAMS]
            if (name, cgo, tags) not in self._lists
        )  # fmt: skip
        if question.pattern not in left or len(left) == 1:
            return
        began = time.time()
        try:
            with time_limit(_MOST_SECONDS) as limit:
                rows = list_imports(
                    question.go, self._directory, left, question.flags, question.env, limit
                )
        except (WherryError, Cancelled):
            return
        packages = {package.import_path: package for package, _ in rows}
        imports = {package.import_path: names for package, names in rows}
        for name in left:
            # Go does not say which package a pattern meant, but in which directory it is.
            directory = os.path.normpath(os.path.join(self._directory, name))
            starts = [path for path, package in packages.items() if package.dir == directory]
            if len(starts) == 1:
                answer = tuple(packages[path] for path in _reached(starts[0], imports))
                self._lists[name, cgo, tags] = answer
                self._keep(question._replace(pattern=name), answer, began)

    def _kept(self, question: Question) -> Listed | None:
        answers = self._answers
        data = None if answers is None else answers.get(question.key)
        if answers is None or data is None:
            return None
        return decoded(data, time.time(), refusals=answers.refusals)

    def _keep(self, question: Question, answer: Listed, began: float) -> None:
        if self._answers is not None:
            data = encoded(question, answer, began)
            if data is not None:
                self._answers.put(question.key, data)

    @cached_property
    def _go(self) -> GoCommand | str:
        try:
            return find_go(self._env)
        except MachineError as error:
            return error.what


def first_line(text: str) -> str:
    """The first line that is not blank."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def _ask(question: Question) -> Listed:
    try:
        with time_limit(_MOST_SECONDS) as limit:
            return list_packages(
                question.go, question.directory, (question.pattern,), question.flags,
                question.env, limit,
            )  # fmt: skip
    except WherryError as error:
        return first_line(error.why) or error.what


def _reached(start: str, imports: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """A package and all that it imports, over others too, dependencies in no order."""
    seen = {start: None}
    todo = [start]
    while todo:
        for name in imports[todo.pop()]:
            if name in imports and name not in seen:
                seen[name] = None
                todo.append(name)
    return tuple(seen)
