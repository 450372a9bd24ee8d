# SPDX-License-Identifier: Apache-2.0
"""How large the store may become: `[store] size` of the user's file, else of the project's.

Files are read where the cap is first asked for, so that a build in which nothing changed reads
none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class SizeInForce(NamedTuple):
    """A cap in bytes, None for the default, and who says so: `default` or FILE:LINE."""

    size: int | None
    source: str


class StoreLimit:
    """The cap for a store that is used in `directory`; to be called, for `open_store`.

    `directory` is where the project is; empty where there is none, and then only the user's file
    counts.
    """

    def __init__(self, directory: str, env: Mapping[str, str]) -> None:
        self._directory = directory
        self._env = env
        self._found: SizeInForce | None = None

    def __call__(self) -> int | None:
        """The cap in bytes; None where no file names one. Raises `UsageError` for a bad file."""
        return self.found.size

    @property
    def found(self) -> SizeInForce:
        """The cap and who says so; raises as a call does."""
        if self._found is None:
            self._found = self._read()
        return self._found

    def _read(self) -> SizeInForce:
        from wherry.golang.root import module_root  # noqa: PLC0415 - see the module's docstring
        from wherry.settings.load import load_settings  # noqa: PLC0415 - as above
        from wherry.settings.model import FILE_NAME, USER_FILE_NAME  # noqa: PLC0415 - as above
        from wherry.settings.store import StoreSettings, merged_store  # noqa: PLC0415 - as above
        from wherry.settings.user import load_user_file  # noqa: PLC0415 - as above

        user = load_user_file(self._env)
        name, lines, theirs = USER_FILE_NAME, user.lines, StoreSettings()
        if self._directory:
            project = load_settings(module_root(self._directory) or self._directory)
            theirs = project.store
            if user.store.size is None:
                name, lines = FILE_NAME, project.lines
        size = merged_store(user.store, theirs).size
        if size is None:
            return SizeInForce(None, "default")
        return SizeInForce(size, f"{name}:{lines[('store', 'size')]}")
