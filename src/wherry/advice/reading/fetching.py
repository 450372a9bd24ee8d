# SPDX-License-Identifier: Apache-2.0
"""Which go commands fetch modules, and which files of the build context they read for that.

Source: the Go Modules Reference, sections "go.mod files", "Workspaces" and "Module cache".
"""

from __future__ import annotations

import os
import posixpath
from typing import TYPE_CHECKING, Final

from wherry.golang.modfile import local_directories, module_path, replaced_modules
from wherry.golang.requirements import read_requirements

if TYPE_CHECKING:
    from wherry.advice.context import Context
    from wherry.advice.reading.go_commands import GoCommand

_FETCH: Final = frozenset(
    ("build", "install", "run", "test", "vet", "mod download", "mod tidy", "mod vendor")
)


def fetches(command: GoCommand) -> bool:
    """Whether a command fetches what the go.mod at hand requires, where that is not there yet."""
    if command.verb not in _FETCH and not _gets_own(command):
        return False
    if any("@" in word.value for word in command.arguments):
        return False
    if command.environment.get("GO111MODULE") == "off":
        return False
    return command.flag("mod") != "vendor"


def _gets_own(command: GoCommand) -> bool:
    """`go get ./...` and its like: it fetches what the module's own packages need."""
    own = all(word.fixed and word.value.startswith(".") for word in command.arguments)
    return command.verb == "get" and own and command.flag("u") is None


def is_given(context: Context, path: str) -> bool:
    """Whether a build gets the file of this path in the build context."""
    return context.has(path) and not context.hides(path)


def module_above(context: Context, path: str, top: str = "") -> str | None:
    """The nearest directory with a go.mod at or above `path`, not above `top`; both relative.

    Empty for the context itself; None where no go.mod is given.
    """
    here = path
    while True:
        if is_given(context, posixpath.join(here, "go.mod")):
            return here
        if here in ("", top):
            return None
        here = posixpath.dirname(here)


def is_vendored(context: Context, module: str) -> bool:
    """Whether what a module requires lies in its vendor directory."""
    return is_given(context, posixpath.join(module, "vendor/modules.txt"))


def has_modules_to_fetch(context: Context, module: str) -> bool:
    """Whether a go.mod requires anything that no directory replaces, and no workspace has.

    A module of the workspace that is required brings what its own go.mod requires.
    """
    path = _place(context, module, "go.mod")
    required = {name for name, _ in read_requirements(path).modules}
    required -= {name for name, _ in replaced_modules(path)}
    workspace = workspace_above(context, module) if required else None
    if workspace is None:
        return bool(required)
    work = _place(context, workspace, "go.work")
    own = {
        module_path(gomod): gomod
        for gomod in (posixpath.join(place, "go.mod") for place in local_directories(work))
    }
    local = {name for name, _ in replaced_modules(work)} | set(own)
    brought = {
        name
        for one in required & set(own)
        for name, _ in read_requirements(own[one]).modules
    }  # fmt: skip
    return not (required | brought) <= local


def module_files(context: Context, module: str) -> tuple[str, ...] | None:
    """What `go mod download` reads for a module: go.mod, go.sum, and go.mod of replacements.

    Paths in the build context. Of the replacements those count whose modules are required. None
    where one of them is not given, or lies outside.
    """
    path = _place(context, module, "go.mod")
    required = {name for name, _ in read_requirements(path).modules}
    directories = [
        directory for name, directory in replaced_modules(path) if name in required
    ]  # fmt: skip
    replacing = _module_files_of(context, directories)
    if replacing is None:
        return None
    own = posixpath.join(module, "go.mod")
    return tuple(dict.fromkeys((own, *_sums(context, module, "go.sum"), *replacing)))


def workspace_above(context: Context, module: str) -> str | None:
    """The directory with the go.work that uses a module, at or above it; None without one."""
    here = module
    while True:
        if is_given(context, posixpath.join(here, "go.work")):
            used = local_directories(_place(context, here, "go.work"))
            return here if _place(context, module) in used else None
        if not here:
            return None
        here = posixpath.dirname(here)


def workspace_files(context: Context, workspace: str) -> tuple[str, ...] | None:
    """What `go mod download` reads for a workspace; as `module_files`.

    Its own directory's files come first.
    """
    path = _place(context, workspace, "go.work")
    used = local_directories(path)
    wanted = _module_files_of(context, used)
    if wanted is None:
        return None
    found = [posixpath.join(workspace, "go.work"), *_sums(context, workspace, "go.work.sum")]
    for gomod in wanted:
        more = module_files(context, posixpath.dirname(gomod))
        if more is None:
            return None
        found += more
    top = [name for name in found if posixpath.dirname(name) == workspace]
    order = ("go.mod", "go.sum", "go.work", "go.work.sum")
    top.sort(key=lambda name: order.index(posixpath.basename(name)))
    return tuple(dict.fromkeys((*top, *found)))


def _module_files_of(
    context: Context, directories: list[str] | tuple[str, ...]
) -> list[str] | None:
    """The go.mod of each directory, given as a whole path."""
    found: list[str] = []
    for directory in directories:
        inside = os.path.relpath(directory, _place(context))
        path = posixpath.normpath(posixpath.join(inside, "go.mod"))
        if path.startswith("../") or not is_given(context, path):
            return None
        found.append(path)
    return found


def _sums(context: Context, directory: str, name: str) -> tuple[str, ...]:
    path = posixpath.join(directory, name)
    return (path,) if is_given(context, path) else ()


def _place(context: Context, *names: str) -> str:
    return os.path.normpath(os.path.join(os.path.abspath(context.directory), *names))
