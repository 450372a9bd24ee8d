# SPDX-License-Identifier: Apache-2.0
"""How a Go command is run on a tree of pruned modules, and when it must not be.

Go takes a module's directory for all of it. So a tree is used by commands that only build, that
leave go.mod alone and that write no paths of the module cache into the program; it is never seen by
Go's module index, which GOCACHE would keep for good. After `go list -deps` the tree has to hold all
that the packages are made of, as their modules' listings name it; where it does not, or where Go
could not resolve an import that the whole modules might have, the build goes on without the tree.
What the listings show the whole modules would not have either is the user's own mistake.
"""

from __future__ import annotations

import os
import posixpath
import re
from typing import TYPE_CHECKING, NamedTuple

from wherry.gocache.module_includes import included
from wherry.gocache.module_listing import Listing
from wherry.gocache.module_names import ModuleVersion, glob_expression
from wherry.gocache.modules import is_kept, module_of, needs_whole, parents_of
from wherry.golang.flagfiles import flag_files
from wherry.golang.flags import flag_value
from wherry.golang.modfile import local_directories

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from wherry.gocache.module_tree import ModuleTree
    from wherry.golang.packages import Package
    from wherry.golang.toolchain import GoCommand, GoFacts
    from wherry.oci.image import Pairs

_REPLACED = re.compile(r"=>\s*[\"`]?([^\s\"`]+)[\"`]?\s+[\"`]?(v[^\s\"`]+)")
_ABSENT = re.compile(
    r"no required module provides package |package \S+ is not in std\b|missing go\.sum entry "
)


class Question(NamedTuple):
    """What Go is asked: in which directory, with which flags, for which package patterns.

    `flags` include those of GOFLAGS (`wherry.golang.reach.World.flags`).
    """

    directory: str
    flags: Sequence[str]
    patterns: Sequence[str]


class OnTree(NamedTuple):
    """How to start Go on a tree: which command, and what to set on top of all else."""

    go: GoCommand
    env: Pairs


def is_vendored(facts: GoFacts, flags: Sequence[str]) -> bool:
    """Whether Go takes all packages from vendor/, so that a build needs no module cache."""
    mode = flag_value(flags, "mod")
    if mode in (None, ""):
        root = os.path.dirname(facts.gowork or facts.gomod)
        return bool(root) and os.path.isfile(os.path.join(root, "vendor", "modules.txt"))
    return mode == "vendor"


def refusal(facts: GoFacts, question: Question) -> str:
    """Why Go must not be run on pruned modules for this question; empty where it may."""
    flags = question.flags
    if not facts.gomod and not facts.gowork:
        return "there is no module"
    if flag_value(flags, "mod") == "mod":
        return "-mod=mod lets Go change go.mod"
    if flag_value(flags, "trimpath") not in ("true", "1", "t", "T", "TRUE", "True"):
        return "without -trimpath the program names the module cache"
    if flag_value(flags, "overlay"):
        return "-overlay names files by their paths"
    if flag_value(flags, "compiler") not in (None, "gc"):
        return "-compiler is another one than Go's own"
    if f"{question.directory}/".startswith(facts.gomodcache.rstrip("/") + "/"):
        return "the module is in the module cache itself"
    if any(map(_is_open, question.patterns)):
        return "a pattern matches packages of other modules"
    return ""


def on_tree(go: GoCommand, facts: GoFacts, user_env: Mapping[str, str], path: str) -> OnTree:
    """How to run Go with the tree at `path` as its GOMODCACHE.

    A toolchain that Go itself fetched lies in the user's module cache, and is started from there.
    """
    debug = ",".join(filter(None, (user_env.get("GODEBUG", ""), "goindex=0")))
    env = [("GODEBUG", debug), ("GOMODCACHE", path)]
    inside = facts.gomodcache.rstrip("/") + "/"
    if facts.goroot.startswith(inside):
        command = os.path.join(facts.goroot, "bin", "go")
        env += [("GOROOT", facts.goroot), ("GOTOOLCHAIN", "local")]
        go = go._replace(path=command, real_path=os.path.realpath(command))
    return OnTree(go, tuple(sorted(env)))


def unresolved(
    packages: Iterable[Package], tree: ModuleTree, facts: GoFacts, question: Question
) -> str:
    """Why the build must go on without the tree; empty where it is as good as the whole modules.

    `packages` are what `go list -deps` said on the tree. `facts.gomodcache` does not matter.
    """
    pruned = tree.pruned()
    replaced = _replaced(facts, question)
    module = next((module for module in pruned if module in replaced), None)
    if module is not None:
        return f"{module} is pruned, and replaces another module here"
    if not all(listing.files for listing in pruned.values()):
        return "a module's listing was changed"
    judge = _Judge(tree.path, pruned)
    return next(filter(None, map(judge.fault, packages)), "")


class _Judge:
    def __init__(self, root: str, pruned: Mapping[ModuleVersion, Listing]) -> None:
        self._root = root
        self._pruned = pruned
        self._names: dict[ModuleVersion, dict[str, list[str]]] = {}
        self._by_path: dict[str, list[ModuleVersion]] = {}
        for module in pruned:
            self._by_path.setdefault(module.path, []).append(module)

    def fault(self, package: Package) -> str:
        """What is wrong with one package, or the empty text."""
        if package.standard:
            return ""
        place = module_of(package, self._root)
        own = place[0] if place else None
        for module in self._providers(package.import_path):
            # Of one path a build has one version: another one is of an older go.mod.
            if own is None or module.path != own.path:
                return f"{module} has files of {package.import_path}"
        if package.errors:
            return self._blamed(package, own)
        if place is None or place[0] not in self._pruned:
            return ""
        lacking = self._lacking(package, *place)
        return f"{place[0]} lacks {lacking}" if lacking else ""

    def _providers(self, import_path: str) -> list[ModuleVersion]:
        """The pruned modules that hold Go files in the directory of a package, as whole modules."""
        return [
            module
            for parent in parents_of(import_path)
            for module in self._by_path.get(parent, ())
            if any(
                name.endswith(".go")
                for name in self._directory(module, import_path[len(parent) + 1 :])
            )
        ]

    def _directory(self, module: ModuleVersion, directory: str) -> list[str]:
        if module not in self._names:
            self._names[module] = self._pruned[module].directories()
        return self._names[module].get(directory, [])

    def _blamed(self, package: Package, own: ModuleVersion | None) -> str:
        """Whether a package's error may be the tree's: no pruned module has other files of it."""
        text = package.errors[0]
        # Go may name its path from where it was started.
        if own is not None or os.path.basename(self._root) in text:
            return f"{package.import_path}: {text}"
        if package.dir or _ABSENT.search(text):
            # In a package that the user edits, or one that no module has.
            return ""
        return f"{package.import_path}: {text}"

    def _lacking(self, package: Package, module: ModuleVersion, directory: str) -> str:
        """A file that the package may be made of and that the tree has not got."""
        if needs_whole(package):
            return "files that only the C compiler knows"
        listing = self._pruned[module]
        needed = {
            posixpath.join(directory, name)
            for name in self._directory(module, directory)
            if is_kept(name)
        }
        needed |= included(package, directory, listing.files)
        for pattern in package.embed_patterns:
            needed |= embedded(pattern, directory, listing)
        top = os.path.join(self._root, module.directory)
        return next((name for name in sorted(needed) if not _is_file(f"{top}/{name}")), "")


def embedded(pattern: str, directory: str, listing: Listing) -> set[str]:
    """The files that `//go:embed PATTERN` takes in a directory of a module, by its listing.

    Rather too many. Source: the documentation of Go's package embed.
    """
    elements = [part for part in pattern.removeprefix("all:").split("/") if part not in ("", ".")]
    expressions = [glob_expression(element) for element in elements]
    base = directory.split("/") if directory else []
    found: set[str] = set()
    for name in listing.files:
        parts = name.split("/")
        rest = parts[len(base) :]
        if parts[: len(base)] != base or len(rest) < len(elements):
            continue
        if all(
            expression is None or expression.fullmatch(part)
            for expression, part in zip(expressions, rest, strict=False)
        ) and (pattern.startswith("all:") or not _is_hidden(rest[len(elements) :])):
            found.add(name)
    return found


def _is_hidden(parts: Sequence[str]) -> bool:
    return any(part.startswith((".", "_")) for part in parts)


def _is_open(pattern: str) -> bool:
    """Whether what a pattern matches depends on which directories other modules have."""
    is_local = pattern in (".", "..") or pattern.startswith(("./", "../", "/"))
    return (not is_local and "..." in pattern) or pattern == "all"


def _is_file(path: str) -> bool:
    return os.path.isfile(path) and not os.path.islink(path)


def _replaced(facts: GoFacts, question: Question) -> set[ModuleVersion]:
    """The modules that go.mod or go.work put in the place of others."""
    roots = {os.path.dirname(path) for path in (facts.gomod, facts.gowork) if path}
    roots.update(local_directories(facts.gowork) if facts.gowork else ())
    modfile = flag_files(question.flags, question.directory).modfile
    paths = [facts.gowork, modfile, *(os.path.join(root, "go.mod") for root in roots)]
    return {
        ModuleVersion(match[1], match[2])
        for path in filter(None, paths)
        for match in _REPLACED.finditer(_text(path))
    }


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
