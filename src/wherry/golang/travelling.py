# SPDX-License-Identifier: Apache-2.0
"""What a build depended on, told so that another machine can ask whether that holds there.

`travelling_inputs` makes it of a build record's `Inputs` on the machine that built. All paths
become names relative to the main module, the toolchain and Go's settings become digests, values of
variables salted digests. What falls in none of the places that another machine has, too, does not
travel: a wrong answer there would be worse than none.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Collection, Mapping
from functools import partial
from typing import NamedTuple

from wherry.errors import UsageError
from wherry.golang.cached_modules import UnprovenError
from wherry.golang.departing_modules import DepartingModules, beside, cached_name
from wherry.golang.enclosure import DIRECTORY, Enclosure, OutsideError
from wherry.golang.go_sum import read_sums
from wherry.golang.included_files import includes_others
from wherry.golang.modfile import local_directories
from wherry.golang.package_trees import package_tree, tree_signature
from wherry.golang.record import Inputs, file_digest
from wherry.golang.settings_file import GoSettings, read_go_settings, read_regular
from wherry.golang.signature import signature_of
from wherry.golang.travelling_toolchain import (
    SWITCHED,
    Launcher,
    find_launcher,
    toolchain_digest,
)
from wherry.golang.travelling_trees import tree_digest
from wherry.golang.travelling_variables import compared, settings_digest, unclear_setting
from wherry.golang.workspace_search import find_workspace

_SALT_BYTES = 16
# More than any `../..` goes up.
_DEEP = 200


class DoesNotTravelError(Exception):
    """Why a build record says nothing on another machine, in one line."""


class Origin(NamedTuple):
    """The machine that built.

    `root` is the main module's directory, `directories` those that Go ran in; `module_caches` are
    what served as GOMODCACHE besides the user's own, those in `proven` filled by wherry with
    contents that were compared with go.sum. `others`
    are paths outside of the module that the caller compares by itself.
    """

    env: Mapping[str, str]
    root: str
    directories: tuple[str, ...]
    module_caches: tuple[str, ...]
    proven: Collection[str] = ()
    others: Collection[str] = ()


class TravellingInputs(NamedTuple):
    """What a build depended on, without a path or value of the machine that built.

    Keys are names (`wherry.golang.enclosure`), `modules` and `switched` are seen from the module
    cache. `launcher` is the Go on PATH, `goroot` that of GOROOT where it is set, `switched` the
    directory and digest of the one that Go fetched for itself, each as `toolchain_digest`;
    `versions` are programs that Go would rather take from PATH. `settings` is a digest of Go's
    settings file. `workspaces` are the go.work that count in each directory where Go ran (empty:
    none, None: Go does not look). A file's digest is `/` for a directory. `whole` are modules, by
    their hash as in go.sum, that count with all their files.
    """

    salt: str
    launcher: str
    goroot: str
    switched: Mapping[str, str]
    versions: tuple[str, ...]
    settings: str
    environment: Mapping[str, str | None]
    workspaces: Mapping[str, str | None]
    files: Mapping[str, str]
    absent: tuple[str, ...]
    go_names: Mapping[str, str]
    all_names: Mapping[str, str]
    plain: tuple[str, ...]
    trees: Mapping[str, str]
    marks: Mapping[str, str]
    leads: Mapping[str, str]
    modules: Mapping[str, tuple[str, str]]
    whole: Mapping[str, str]


def travelling_inputs(inputs: Inputs, origin: Origin) -> TravellingInputs:
    """What another machine asks; raises `DoesNotTravelError` for everything unclear.

    Reads what the record knows by signature only, and compares the signature after that.
    """
    found = find_launcher(origin.env)
    if isinstance(found, str):
        raise DoesNotTravelError(found)
    settings = read_go_settings(origin.env, found.home)
    try:
        if reason := unclear_setting(settings):
            raise DoesNotTravelError(reason)
        return _Departure(inputs, origin, found, settings).inputs()
    except OutsideError as error:
        raise DoesNotTravelError(
            f"{error} is neither in the module's repository nor a place of Go"
        ) from error
    except (UnprovenError, UsageError) as error:
        raise DoesNotTravelError(str(error)) from error


class _Departure:
    """Maps the inputs of one record."""

    def __init__(
        self, inputs: Inputs, origin: Origin, launcher: Launcher, settings: GoSettings
    ) -> None:
        self._inputs = inputs
        self._origin = origin
        self._launcher = launcher
        self._settings = settings
        caches = (settings.module_cache, *origin.module_caches)
        self._caches = tuple(dict.fromkeys(cache.rstrip("/") for cache in caches if cache))
        self._modules = DepartingModules(self._caches, origin.proven, self._sums())
        self._enclosure = Enclosure(origin.root)
        self._roots = self._toolchains()
        self._searched = _searched(origin.directories, settings)
        self._salt = secrets.token_hex(_SALT_BYTES)

    def inputs(self) -> TravellingInputs:
        """All of it."""
        inputs, salt = self._inputs, self._salt
        name = self._enclosure.relative
        launcher, goroot, switched = self._known_toolchains()
        self._refuse_inclusions()
        workspaces = self._workspaces()
        go_names = {name(path): names for path, names in inputs.go_names.items()}
        return TravellingInputs(
            salt=salt,
            launcher=launcher,
            goroot=goroot,
            switched=switched,
            versions=self._versions(),
            settings=settings_digest(self._settings, salt),
            environment=compared(inputs.environment, self._origin.env, salt),
            workspaces=workspaces,
            files=self._files(),
            absent=tuple(name(path) for path in inputs.absent if not self._is_elsewhere(path)),
            go_names=go_names,
            all_names={name(path): names for path, names in inputs.all_names.items()},
            plain=tuple(map(name, inputs.plain)),
            trees={name(root): self._tree(root, go_names) for root in inputs.trees},
            marks={name(path): self._mark(mark) for path, mark in inputs.marks.items()},
            leads={name(path): self._lead(real) for path, real in inputs.leads.items()},
            modules=self._modules.packages(inputs.modules),
            whole=self._modules.whole(),
        )

    def _toolchains(self) -> set[str]:
        """The directories of all toolchains that the record knows."""
        known = {*self._inputs.files, *self._inputs.large}
        homes = {
            os.path.dirname(os.path.dirname(path))
            for path in self._inputs.tools
            if path.endswith("/bin/go")
        }
        return {home for home in homes if os.path.join(home, "VERSION") in known}

    def _known_toolchains(self) -> tuple[str, str, dict[str, str]]:
        """Digests of the launcher, of GOROOT's toolchain, of one that Go fetched."""
        goroot = self._origin.env.get("GOROOT", "")
        switched: dict[str, str] = {}
        for root in sorted(self._roots - {self._launcher.home, goroot}):
            if os.path.realpath(root) == os.path.realpath(self._launcher.home):
                continue
            _, name = cached_name(self._caches, root)
            if not name.startswith(SWITCHED) or self._settings.value("GOPROXY").startswith("file:"):
                raise DoesNotTravelError(f"the Go in {root} is at a place of this machine")
            switched[name] = self._toolchain(root)
        if self._launcher.home not in self._roots:
            raise DoesNotTravelError("PATH gives another go than built")
        digests = (self._toolchain(self._launcher.home), self._toolchain(goroot) if goroot else "")
        # After all was read: nothing of it is newer than the record.
        others = {*self._launcher.paths, *self._origin.others}
        others |= {os.path.join(root, "bin", "go") for root in self._roots}
        for path, signature in self._inputs.tools.items():
            if path not in others:
                raise OutsideError(path)
            if signature_of(path) != signature:
                raise DoesNotTravelError(f"{path} changed since the build")
        return (*digests, switched)

    def _toolchain(self, root: str) -> str:
        digest = toolchain_digest(root)
        if not digest:
            raise DoesNotTravelError(f"the Go in {root} is no released one")
        for name in ("VERSION", "go.env"):
            path = os.path.join(root, name)
            if path in self._inputs.files and file_digest(path) != self._inputs.files[path]:
                raise DoesNotTravelError(f"{path} changed since the build")
        return digest

    def _versions(self) -> tuple[str, ...]:
        lookups = dict(self._inputs.lookups)
        if lookups.pop("go", None) != self._launcher.found:
            raise DoesNotTravelError("PATH gives another go than built")
        for program, path in lookups.items():
            if path:
                raise DoesNotTravelError(f"PATH has a {program}, which Go may take")
        return tuple(sorted(lookups))

    def _workspaces(self) -> dict[str, str | None]:
        found: dict[str, str | None] = {}
        for directory in sorted(set(self._origin.directories)):
            path = find_workspace(directory, self._settings)
            if path and path not in self._inputs.files:
                raise DoesNotTravelError(f"{path} came after the build")
            found[self._enclosure.relative(directory)] = (
                self._enclosure.relative(path) if path else path
            )
        return found

    def _is_elsewhere(self, path: str) -> bool:
        """Whether a path outside the module is compared in another way than by its name."""
        if path == self._settings.path or path in self._origin.others:
            return True
        home, base = os.path.split(path)
        if base in ("VERSION", "go.env") and home in self._roots:
            return True
        # `workspaces` stands for go.work in all directories above.
        return base == "go.work" and home in self._searched and not self._is_below_top(path)

    def _is_below_top(self, path: str) -> bool:
        top = self._enclosure.top.rstrip("/")
        return path.startswith(f"{top}/")

    def _files(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for path, digest in self._inputs.files.items():
            if self._is_elsewhere(path):
                continue
            name = self._enclosure.relative(path)
            if not digest and self._enclosure.digest(name) != DIRECTORY:
                raise DoesNotTravelError(f"{path} could not be read")
            found[name] = digest or DIRECTORY
            if path.endswith((".mod", "go.work")) and _names_absolute(path):
                # There another machine has something else, wherever its checkout lies.
                raise DoesNotTravelError(f"{path} names a directory by an absolute path")
        for path, signature in self._inputs.large.items():
            name = self._enclosure.relative(path)
            found[name] = self._enclosure.digest(name)
            if not found[name] or signature_of(path) != signature:
                raise DoesNotTravelError(f"{path} changed since the build")
        return found

    def _tree(self, root: str, go_names: Mapping[str, str]) -> str:
        digest = tree_digest(self._enclosure, self._enclosure.relative(root), go_names)
        now = tree_signature(package_tree(root), self._inputs.go_names)
        if now != self._inputs.trees[root]:
            raise DoesNotTravelError(f"packages may have changed below {root}")
        return digest

    def _mark(self, mark: str) -> str:
        target = mark.removeprefix("@")
        if target != mark and os.path.isabs(target) and self._is_of_here(target):
            raise DoesNotTravelError(f"a link leads to {target}")
        return mark

    def _is_of_here(self, path: str) -> bool:
        """Whether a path tells where this machine has the user's things."""
        places = (self._enclosure.top, self._origin.env.get("HOME", ""))
        return any(path == place or path.startswith(f"{place}/") for place in places if place)

    def _lead(self, real: str) -> str:
        return self._enclosure.real_relative(real) if real else ""

    def _refuse_inclusions(self) -> None:
        """Raise where the user's own assembly includes what nobody looks at."""
        for directory, names in self._inputs.go_names.items():
            listed = names.split("\0")
            if includes_others(listed, partial(self._own, directory), beside(directory)):
                raise DoesNotTravelError(f"assembly in {directory} includes files from elsewhere")

    def _own(self, directory: str, name: str) -> bytes | None:
        """The content of one of the user's files, if it is still the one that was built from."""
        path = os.path.join(directory, name)
        data = read_regular(path)
        if data is None or hashlib.sha256(data).hexdigest() != self._inputs.files.get(path):
            return None
        return data

    def _sums(self) -> dict[tuple[str, str], frozenset[str]]:
        """What the record's go.sum files say; they are as they were when it was made."""
        texts: list[str] = []
        for path, digest in self._inputs.files.items():
            if path.endswith(".sum") and digest == file_digest(path):
                with open(path, encoding="utf-8", errors="replace") as file:
                    texts.append(file.read())
        return read_sums(texts)


def _names_absolute(path: str) -> bool:
    """Whether a go.mod or go.work names a local directory by an absolute path."""
    # What is relative depends on where the file lies.
    one, other = (local_directories(path, home) for home in ("/a" * _DEEP, "/b" * _DEEP))
    return bool({*one} & {*other})


def _searched(directories: Collection[str], settings: GoSettings) -> set[str]:
    """Directories in which Go looks for go.work when it runs in these."""
    found: set[str] = set()
    if settings.value("GOWORK") in ("", "auto"):
        for directory in directories:
            path = directory
            while path not in found:
                found.add(path)
                path = os.path.dirname(path)
    return found
