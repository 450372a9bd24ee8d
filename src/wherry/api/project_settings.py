# SPDX-License-Identifier: Apache-2.0
"""The settings of the project around a directory: its `wherry.toml`, else ko's file.

Whatever speaks to a registry asks, too: nothing is imported here for a file that is not there.
"""

from __future__ import annotations

from collections.abc import Mapping

from wherry.api.recorded import directory_of
from wherry.api.request import BuildRequest, is_remote
from wherry.golang.root import module_root as nearest_module
from wherry.settings.ko_files import find_ko
from wherry.settings.load import load_settings
from wherry.settings.model import Settings


def module_root(directory: str) -> str:
    """The nearest directory at or above with a go.mod; `directory` itself where there is none."""
    return nearest_module(directory) or directory


def settings_of(directory: str, env: Mapping[str, str]) -> tuple[Settings, str, tuple[str, ...]]:
    """The settings of the module around `directory`, its root, and lines for the user.

    Without a `wherry.toml` a `.ko.yaml` there counts. Raises `UsageError` or `SeveralErrors`.
    """
    root = module_root(directory)
    settings = load_settings(root)
    if settings.path is None and find_ko(root, env):
        from wherry.api.ko_migration import load_ko  # noqa: PLC0415 - few modules have such a file

        loaded = load_ko(root, env)
        if loaded is not None:
            return loaded[0], root, loaded[1]
    return settings, root, ()


def settings_beside(request: BuildRequest) -> Settings:
    """The settings of a build context; one that comes from elsewhere has no say."""
    if request.foreign or request.source == "-" or is_remote(request.source, request.cwd):
        return Settings()
    return settings_of(directory_of(request)[0], request.env)[0]
