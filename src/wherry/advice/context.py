# SPDX-License-Identifier: Apache-2.0
"""The build context as rules see it: which files there are, and which of them a build gets."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING

from wherry.advice.reading.file_contents import read_file
from wherry.errors import WherryError

if TYPE_CHECKING:
    from wherry.fstree.ignore import IgnoreRules

# Where a walk stops: contexts of a build hold fewer, and a mistaken one may be a whole disk.
_MOST_NAMES = 50_000
# Far more than an ignore file has; a larger one counts for nothing, as one that is wrong.
_MOST_BYTES = 1 << 20
_MOST_RULES = 5_000

Walked = dict[tuple[str, tuple[str, ...]], tuple[str, ...]]
"""The files of contexts by directory and ignore rules."""


class Context:
    """A directory that is built from, with its ignore rules.

    `ignore_file` is the path of the file that the rules are from, relative to the directory; empty
    where there is none. A rule that is wrong counts for nothing here. `walked` is shared by those
    whose directories may be the same: each is walked through once.
    """

    def __init__(self, directory: str, dockerfile: str = "", walked: Walked | None = None) -> None:
        self.directory = directory
        self._walked: Walked = {} if walked is None else walked
        self.ignore_file = ""
        self._rules: tuple[str, ...] = ()
        own = os.path.relpath(f"{dockerfile}.dockerignore", directory) if dockerfile else ""
        for name in (own, ".dockerignore"):
            text = self._read(name) if name and not name.startswith("..") else None
            if text is not None:
                self.ignore_file = name
                self._rules = _sound(text)
                break

    @cached_property
    def rules(self) -> IgnoreRules:
        """The ignore rules."""
        from wherry.fstree.ignore import IgnoreRules  # noqa: PLC0415 - many contexts have none

        return IgnoreRules(self._rules)

    def _read(self, name: str) -> bytes | None:
        data = read_file(os.path.join(self.directory, name), _MOST_BYTES + 1)
        # What is cut off would hide other files than the whole does.
        return b"" if data is not None and len(data) > _MOST_BYTES else data

    def has(self, path: str) -> bool:
        """Whether the file or directory is there, hidden by rules or not."""
        return os.path.lexists(os.path.join(self.directory, path))

    def is_directory(self, path: str) -> bool:
        """Whether it is a directory."""
        return os.path.isdir(os.path.join(self.directory, path))

    def hides(self, path: str) -> bool:
        """Whether the ignore rules keep the path from the build."""
        from wherry.fstree.ignore import TOP  # noqa: PLC0415 - as above

        hidden, state = False, TOP
        # Step by step, as a walk goes: the rules have a short cut for what none of them is about.
        ends = [at for at, letter in enumerate(path) if letter == "/"] if self._rules else []
        for end in [*ends, len(path)]:
            hidden, state = self._step(path[:end], state)
        return hidden

    def deciding_rule(self, path: str) -> str:
        """The rule that hides the path; empty where none does."""
        return self.rules.deciding_rule(path)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All files that a build gets, relative paths, sorted; cut off where there are too many."""
        key = self.directory, self._rules
        if key not in self._walked:
            self._walked[key] = self._walk()
        return self._walked[key]

    def _walk(self) -> tuple[str, ...]:
        from wherry.fstree.ignore import TOP  # noqa: PLC0415 - as above

        found: list[str] = []
        # What was found of each directory: the rules about those above it are asked once.
        states = {"": TOP}
        for directory, below, files in os.walk(self.directory):
            relative = os.path.relpath(directory, self.directory)
            prefix = "" if relative == "." else f"{relative}/"
            above = states.pop(prefix)
            kept: list[str] = []
            for name in sorted(below):
                hidden, state = self._step(prefix + name, above)
                if not hidden or self.rules.may_hold_included(prefix + name):
                    kept.append(name)
                    states[f"{prefix}{name}/"] = state
            below[:] = kept
            found.extend(prefix + name for name in files if not self._step(prefix + name, above)[0])
            if len(found) > _MOST_NAMES:
                break
        return tuple(sorted(found))

    def _step(self, path: str, above: int) -> tuple[bool, int]:
        return self.rules.step(path, above) if self._rules else (False, above)


def _sound(text: bytes) -> tuple[str, ...]:
    from wherry.fstree.ignore import IgnoreRules, read_rules  # noqa: PLC0415 - as above

    try:
        rules = read_rules(text)
        IgnoreRules(rules)
    except WherryError:
        return ()
    return rules if len(rules) <= _MOST_RULES else ()
