# SPDX-License-Identifier: Apache-2.0
"""A copy of a build context in which a line of the program can be changed.

The user's files are never touched. Only what a build may get is copied; modes and times stay.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from wherry.advice.reading.go_commands import stage_commands
from wherry.advice.reading.main_packages import main_of
from wherry.errors import MachineError
from wherry.fstree.ignore import IgnoreRules
from wherry.settings.files import FILE_NAME, LOCK_NAME

if TYPE_CHECKING:
    from wherry.advice.subject import Subject
    from wherry.process.cancel import CancelToken

# More is no context of a program: its copy would take longer than what it is made for.
_MOST_BYTES: Final = 4 << 30
_IS_MAIN: Final = re.compile(rb"^package\s+main\b", re.MULTILINE)
_CONDITION: Final = re.compile(rb"^//\s*(?:go:build|\+build)\b", re.MULTILINE)


class EditedContext:
    """The copy in `directory`, which must not be there yet, of what some rules do not hide.

    Raises `MachineError` where a file cannot be read or written, or where it is too much.
    """

    def __init__(
        self, source: str, directory: str, rules: Iterable[IgnoreRules], cancel: CancelToken
    ) -> None:
        self.directory = directory
        self._source = source
        self._rules = tuple(rules)
        self._cancel = cancel
        try:
            self._names = frozenset(self._copied())
        except OSError as error:
            raise MachineError("the build context cannot be copied", hint="see its modes, and df",
                               why=error.strerror or str(error)) from error  # fmt: skip

    def source_of(self, subject: Subject) -> str:
        """A Go file of the program that a Dockerfile builds; empty where none can be told."""
        module = subject.module
        if module is None:
            return ""
        mains = [
            main
            for stage in subject.stages
            for command in stage_commands(stage)
            if command.builds and (main := main_of(command)) is not None
        ]
        for main in dict.fromkeys((*mains, *module.mains())):
            found = self._main_file(posixpath.normpath(module.inside(main)))
            if found:
                return found
        return ""

    def edit(self, name: str, mark: str) -> None:
        """Add a line with `mark`, letters and digits, to a Go file; the last mark is gone then."""
        with open(os.path.join(self._source, name), "rb") as file:
            data = file.read()
        # A variable: a comment would give the same object file, and nothing to link.
        line = f'\nvar wherry{mark} = "{mark}"\n'
        path = os.path.join(self.directory, name)
        os.unlink(path)
        with open(path, "xb") as file:
            file.write(data + line.encode())
        os.chmod(path, stat.S_IMODE(os.stat(os.path.join(self._source, name)).st_mode))

    def _main_file(self, directory: str) -> str:
        inside = "" if directory == "." else directory
        names = sorted(
            (name for name in self._names if posixpath.dirname(name) == inside
             and name.endswith(".go") and not name.endswith("_test.go")),
            key=lambda name: (posixpath.basename(name) != "main.go", name),
        )  # fmt: skip
        for name in names:
            with open(os.path.join(self.directory, name), "rb") as file:
                data = file.read()
            if _IS_MAIN.search(data) and not _CONDITION.search(data):
                return name
        return ""

    def _copied(self) -> Iterator[str]:
        os.mkdir(self.directory, 0o700)
        total = 0
        for name in self._visible():
            self._cancel.check()
            place = os.path.join(self._source, name)
            status = os.lstat(place)
            target = os.path.join(self.directory, name)
            if stat.S_ISDIR(status.st_mode):
                os.makedirs(target, exist_ok=True)
                continue
            if not stat.S_ISREG(status.st_mode) and not stat.S_ISLNK(status.st_mode):
                continue
            total += status.st_size
            if total > _MOST_BYTES:
                raise MachineError("the build context is too large to be copied",
                                   hint="hide what no build needs by .dockerignore")  # fmt: skip
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy2(place, target, follow_symlinks=False)
            yield name
        self._keep_modes()

    def _visible(self) -> Iterator[str]:
        for directory, below, files in os.walk(self._source, onerror=_raise):
            relative = os.path.relpath(directory, self._source)
            prefix = "" if relative == "." else f"{relative}/"
            links = [name for name in below if os.path.islink(os.path.join(directory, name))]
            below[:] = sorted(
                name for name in below if name not in links and self._is_entered(prefix + name)
            )
            for name in (*below, *files, *links):
                if self._is_wanted(prefix + name):
                    yield prefix + name

    def _is_wanted(self, path: str) -> bool:
        # What these say counts, even where no build gets the files themselves.
        if path in (FILE_NAME, LOCK_NAME):
            return True
        return any(not rules.hides(path) for rules in self._rules)

    def _is_entered(self, path: str) -> bool:
        return any(not rules.hides(path) or rules.may_hold_included(path) for rules in self._rules)

    def _keep_modes(self) -> None:
        """Directories get their modes and times once all is in them; they stay writable."""
        for directory, _, _ in os.walk(self.directory, topdown=False):
            status = os.stat(os.path.join(self._source, os.path.relpath(directory, self.directory)))
            os.chmod(directory, stat.S_IMODE(status.st_mode) | stat.S_IRWXU)
            os.utime(directory, ns=(status.st_atime_ns, status.st_mtime_ns))


def _raise(error: OSError) -> None:
    raise error
