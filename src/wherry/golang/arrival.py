# SPDX-License-Identifier: Apache-2.0
"""Whether what a travelling record depends on is so on this machine.

Only files are read: no program is started, and Go least of all. The record may come from anywhere:
its names are followed inside the user's repository and the module cache only
(`wherry.golang.enclosure`). Anything unclear counts as another state of things.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from wherry.errors import UsageError
from wherry.golang.cached_modules import (
    UnprovenError,
    directory_hash,
    module_root_of,
    package_digest,
)
from wherry.golang.enclosure import Enclosure, OutsideError
from wherry.golang.listing import all_names, go_names
from wherry.golang.marks import mark_of, real_path
from wherry.golang.record import look_up
from wherry.golang.settings_file import (
    GoSettings,
    read_go_settings,
    read_regular,
)
from wherry.golang.travelling import TravellingInputs
from wherry.golang.travelling_toolchain import SWITCHED, find_launcher, toolchain_digest
from wherry.golang.travelling_trees import tree_digest
from wherry.golang.travelling_variables import first_other, settings_digest, unclear_setting
from wherry.golang.workspace_search import find_workspace

_FEW = 64
# Of the module cache: many times what a large program is made from.
_READ_LIMIT = 1 << 30


def first_difference(inputs: TravellingInputs, root: str, env: Mapping[str, str]) -> str:
    """What is otherwise here than the record says, for people; the empty string where all holds.

    `root` is the main module's directory here.
    """
    launcher = find_launcher(env)
    if isinstance(launcher, str):
        return launcher
    settings = read_go_settings(env, launcher.home)
    try:
        return unclear_setting(settings) or _Arrival(inputs, root, settings).first(launcher.home)
    except (OutsideError, UnprovenError):
        return "the record names what is not in this repository"
    except UsageError as error:
        # GOFLAGS that Go cannot read either.
        return str(error.what)


class _Arrival:
    def __init__(self, inputs: TravellingInputs, root: str, settings: GoSettings) -> None:
        self._inputs = inputs
        self._settings = settings
        self._enclosure = Enclosure(root)
        # Directories of the module cache, by whether their go.mod is as it has to be.
        self._whole_above: dict[str, bool] = {}

    def first(self, home: str) -> str:
        """The first difference, what is cheap to ask first; `home` is the launcher's directory."""
        checks: tuple[Callable[[], str], ...] = (
            self._variables,
            lambda: self._toolchains(home),
            self._workspaces,
            self._absences,
            self._names,
            self._files,
            self._trees,
            self._marks,
            self._modules,
        )
        return next(filter(None, (check() for check in checks)), "")

    def _variables(self) -> str:
        inputs = self._inputs
        other = first_other(inputs.environment, self._settings.env, inputs.salt)
        if other:
            return f"another environment: {other}"
        if settings_digest(self._settings, inputs.salt) != inputs.settings:
            return f"Go's settings are others: {self._settings.path or 'no file'}"
        return ""

    def _toolchains(self, home: str) -> str:
        inputs, env = self._inputs, self._settings.env
        goroot = env.get("GOROOT", "")
        if not inputs.launcher or toolchain_digest(home) != inputs.launcher:
            return f"another Go: {home}"
        if bool(goroot) != bool(inputs.goroot):
            return "another environment: GOROOT"
        if goroot and toolchain_digest(goroot) != inputs.goroot:
            return f"another Go: {goroot}"
        for version in inputs.versions:
            if look_up(version, env.get("PATH", "")):
                return f"PATH has a {version}, which Go may take"
        for name, digest in inputs.switched.items():
            if not name.startswith(SWITCHED) or "/" in name.removeprefix(SWITCHED):
                raise OutsideError(name)
            path = os.path.join(self._settings.module_cache, name)
            if os.path.lexists(path) and toolchain_digest(path) != digest:
                return f"another Go: {path}"
        return ""

    def _workspaces(self) -> str:
        place = self._enclosure.place
        for name, expected in self._inputs.workspaces.items():
            if not os.path.isdir(place(name)):
                return f"no directory: {name}"
            found = find_workspace(place(name), self._settings)
            wanted = place(expected) if expected else expected
            if found != wanted:
                return f"new: {found}" if found else "another go.work counts here"
        return ""

    def _absences(self) -> str:
        for name in self._inputs.absent:
            if os.path.lexists(self._enclosure.place(name)):
                return f"new: {name}"
        for name in self._inputs.plain:
            if os.path.islink(self._enclosure.place(name)):
                return f"changed: {name}"
        return ""

    def _names(self) -> str:
        for known, names in (
            (self._inputs.go_names, go_names),
            (self._inputs.all_names, all_names),
        ):
            for name, expected in known.items():
                if names(self._enclosure.place(name)) != expected:
                    return f"files were added or removed in {name}"
        return ""

    def _files(self) -> str:
        for name, digest in self._inputs.files.items():
            if not digest or self._enclosure.digest(name) != digest:
                return f"changed: {name}"
        return ""

    def _trees(self) -> str:
        if len(self._inputs.trees) > _FEW:
            return "the record names too many directories"
        for name, digest in self._inputs.trees.items():
            if tree_digest(self._enclosure, name, self._inputs.go_names) != digest:
                return f"packages may have changed below {name}"
        return ""

    def _marks(self) -> str:
        enclosure = self._enclosure
        for name, mark in self._inputs.marks.items():
            if mark_of(enclosure.place(name)) != mark:
                return f"changed: {name}"
        for name, lead in self._inputs.leads.items():
            real = real_path(enclosure.place(name))
            if real != (enclosure.real_place(lead) if lead else ""):
                return f"it leads elsewhere: {name}"
        return ""

    def _is_of_module(self, cache: str, name: str, root: str) -> bool:
        """Whether Go takes a package for one of its module: no other module begins in between."""
        path = name
        while path != root:
            path = os.path.dirname(path)
            if path not in self._whole_above:
                file = os.path.join(cache, path, "go.mod")
                # A module may have no go.mod; Go reads one that it has.
                self._whole_above[path] = not os.path.lexists(file) or (
                    path == root and read_regular(file) is not None
                )
            if not self._whole_above[path]:
                return False
        return True

    def _modules(self) -> str:
        cache = self._settings.module_cache
        if not cache:
            return "no directory for modules is known" if self._inputs.modules else ""
        there: dict[str, bool] = {}
        left = _READ_LIMIT

        def read(path: str) -> bytes | None:
            nonlocal left
            data = read_regular(path, left)
            left -= len(data or b"")
            return data if left > 0 else None

        for name, (names, digest) in self._inputs.modules.items():
            root = module_root_of(name)
            if root not in there:
                there[root] = os.path.lexists(os.path.join(cache, root))
            # What is not there is fetched, and compared with go.sum, by whoever runs Go.
            if there[root]:
                directory = os.path.join(cache, name)
                own = digest and package_digest(directory, names, read) == digest
                if not own or not self._is_of_module(cache, name, root):
                    return f"edited in the module cache: {directory}"
        for root, digest in self._inputs.whole.items():
            if root not in there:
                raise OutsideError(root)
            place = os.path.join(cache, root)
            if there[root] and (not digest or directory_hash(place, root) != digest):
                return f"edited in the module cache: {place}"
        return ""
