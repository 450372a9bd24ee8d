# SPDX-License-Identifier: Apache-2.0
"""Which rules `wherry check` asks: what flags say, else the `[check]` of a `wherry.toml`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from wherry.advice.model import Severity
from wherry.advice.run import Choice, rule_named
from wherry.errors import SeveralErrors, UsageError, WherryError
from wherry.golang.root import module_root
from wherry.settings.files import FILE_NAME

if TYPE_CHECKING:
    from wherry.settings.model import Settings


class Choices:
    """The choice for each build context; every file of settings is read once.

    What flags say (`ignore`, `only`; None where they do not) replaces the settings. Raises
    `UsageError` where a flag names a rule that there is not. Settings that are wrong are as if they
    were not there, and told in `errors`, each with its file.
    """

    def __init__(
        self, cwd: str, ignore: tuple[str, ...] | None, only: tuple[str, ...] | None
    ) -> None:
        self.errors: list[tuple[str, WherryError]] = []
        self._cwd = cwd
        self._ignored = None if ignore is None else _ids(ignore)
        self._only = None if only is None else _ids(only)
        self._settings: dict[str, Settings | None] = {}
        self._found: dict[str, tuple[Choice, str]] = {}

    def of(self, directory: str) -> tuple[Choice, str]:
        """The rules for what is built from a directory, and the severity that the file names."""
        root = module_root(directory) or directory
        if root not in self._found:
            settings = self._load(root)
            if settings is None:
                # Without a file of its own, that of where the user is counts.
                settings = self._load(module_root(self._cwd) or self._cwd)
            self._found[root] = self._read(settings)
        return self._found[root]

    def _read(self, settings: Settings | None) -> tuple[Choice, str]:
        said = None if settings is None else settings.check
        if settings is None or said is None:
            return Choice(self._ignored or frozenset(), self._only or frozenset()), ""
        ignored, only = self._ignored, self._only
        if ignored is None:
            ignored = self._named(settings, "ignore", said.ignore or ())
        if only is None:
            only = self._named(settings, "only", said.only or ())
        severities = {
            name: Severity(word)
            for rule, word in said.severity
            for name in self._named(settings, "severity", (rule,))
        }
        return Choice(ignored, only, severities), said.fail_on or ""

    def _named(self, settings: Settings, key: str, names: tuple[str, ...]) -> frozenset[str]:
        found: frozenset[str] = frozenset()
        for name in names:
            try:
                found |= _ids((name,))
            except UsageError as error:
                from wherry.settings.lines import line_of  # noqa: PLC0415 - only to tell of it

                path = self._shown(settings.path or FILE_NAME)
                error.where = f"{path}:{line_of(settings.lines, ('check', key))}"
                self.errors.append((path, error))
        return found

    def _load(self, root: str) -> Settings | None:
        """The settings in a directory; None without a file, or for a wrong one."""
        if root not in self._settings:
            self._settings[root] = None
            if not os.path.lexists(os.path.join(root, FILE_NAME)):
                return None
            from wherry.settings.load import load_settings  # noqa: PLC0415 - where there is one

            try:
                self._settings[root] = load_settings(root)
            except SeveralErrors as several:
                path = self._shown(os.path.join(root, FILE_NAME))
                self.errors.extend((path, error) for error in several.errors)
            except WherryError as error:
                self.errors.append((self._shown(os.path.join(root, FILE_NAME)), error))
        return self._settings[root]

    def _shown(self, path: str) -> str:
        return os.path.relpath(path, self._cwd)


def _ids(names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(rule_named(name).id for name in names)
