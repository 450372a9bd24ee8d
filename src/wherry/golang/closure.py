# SPDX-License-Identifier: Apache-2.0
"""The closure: every file and setting that one Go build depends on, gathered after `go list`.

Three kinds of packages: those of the toolchain stand for by its version; those in the module cache
by stat (Go itself keeps them unchanged); all others (main module, workspace, local replacements,
vendor) by content. What go would look for and does not find belongs to the closure too.

The build runs beside the gathering, so the closure also knows what to look at afterwards: a file
that changed since the build began makes it void.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from wherry.golang import listing
from wherry.golang.packages import Package
from wherry.golang.reach import Reach, World
from wherry.golang.record import Inputs, file_digest, look_up, sealed
from wherry.golang.signature import module_state, signature, signature_of
from wherry.process.clock import RACY_NS

__all__ = [
    "Closure", "Movement", "World", "changed_since", "first_difference", "gather", "touched_since",
]  # fmt: skip

# Contents are read up to this sum; what is beyond is compared by signature.
READ_LIMIT = 64 << 20
# Variables that matter though `go env` does not list them, or older releases do not. The last line
# is read by Go's compiler and linker.
_MORE_VARIABLES = (
    "HOME", "XDG_CONFIG_HOME", "SOURCE_DATE_EPOCH", "GODEBUG", "GOAUTH", "GOCACHEPROG", "GOFIPS140",
    "GOEXPERIMENT", "GOTOOLCHAIN",
    "GO_EXTLINK_ENABLED", "GOCLOBBERDEADHASH", "GOCOMPILEDEBUG", "GOSSAFUNC", "GOSSADIR",
)  # fmt: skip


class Closure(NamedTuple):
    """The inputs, and what to watch until the build has ended.

    `watched` maps the paths that a user edits, and the toolchain's, to their signatures when
    gathered. `cached` holds (module's root, package directory, latest change time) of the module
    cache. `roots` are the directories of the local modules. `others` are paths that Go does not
    read but its caller did, before: they are the caller's to watch. `unclear` says why no record
    may be written.
    """

    inputs: Inputs
    watched: Mapping[str, str]
    cached: tuple[tuple[str, str, int], ...]
    roots: tuple[str, ...]
    others: frozenset[str]
    unclear: str

    def places(self) -> set[str]:
        """One watched path of each file system, the toolchain's aside."""
        by_device = {
            value.rpartition(":")[2]: path
            for path, value in self.watched.items()
            if value and path not in self.inputs.tools
        }
        return set(by_device.values())


class Movement(NamedTuple):
    """What moved while a build ran, as paths, empty where nothing did.

    `changed` matters. `restless` is a directory where names came or went that Go does not look at;
    others may have come and gone again.
    """

    changed: str
    restless: str = ""


def gather(packages: Iterable[Package], world: World, salt: str) -> Closure:
    """Gather the closure of `packages` (all dependencies of the mains, mains included)."""
    found = Reach(world)
    for package in packages:
        found.add_package(package)
    found.add_surroundings()
    # Signatures first, names and contents second: an edit between shows when compared again.
    watched = _signatures({*found.directories, *found.embedded})
    go_names = {path: listing.go_names(path) for path in sorted(found.directories)}
    for directory, names in go_names.items():
        # All names, not just files: a directory or a dead link may become one.
        found.files.update(os.path.join(directory, name) for name in names.split("\0") if name)
    watched |= _signatures(found.files | found.tools)
    files, large = _split(found.files)
    modules = {
        path: _module_package(path, found.embedded_modules.get(path, set()))
        for path in sorted(found.modules)
    }
    inputs = Inputs(
        files=files,
        large=large,
        modules={path: [names, state] for path, (names, state, _) in modules.items()},
        tools={path: watched[path] for path in sorted(found.tools)},
        absent=sorted(found.absent),
        go_names=go_names,
        all_names={path: listing.all_names(path) for path in sorted(found.embedded)},
        lookups=_lookups(world),
        environment={
            name: sealed(name, world.user_env.get(name), salt)
            for name in sorted({*world.facts.all, *_MORE_VARIABLES})
        },
        plain=sorted(found.plain),
    )
    cached = tuple((found.modules[path], path, latest) for path, (_, _, latest) in modules.items())
    others = frozenset((*world.extra_files, *world.extra_absent))
    return Closure(inputs, watched, cached, tuple(sorted(found.roots)), others, found.unclear)


def changed_since(closure: Closure, began_ns: int | None) -> Movement:
    """What changed while the build ran.

    `began_ns` is the file system's clock when the build began; None where that clock is another
    machine's, so that only the signatures taken before the build count.
    """
    absent = set(closure.inputs.absent) - closure.others
    moved = [path for path in sorted(absent) if os.path.lexists(path)]
    restless: list[str] = []
    for path, before in closure.watched.items():
        if path in closure.others:
            continue
        if signature_of(path) != before or (began_ns is not None and _stamp(before) >= began_ns):
            (restless if _lists_the_same(closure.inputs, path) else moved).append(path)
    if began_ns is not None:
        moved += _edited_modules(closure, began_ns)
        moved += _turned_links(closure.roots, began_ns)
    return Movement(next(iter(moved), ""), next(iter(restless), ""))


def touched_since(paths: Iterable[str], began_ns: int) -> str:
    """The first of `paths` that was written since `began_ns`, or the empty string."""
    return next((path for path in paths if _stamp(signature_of(path)) >= began_ns), "")


def first_difference(one: Closure, other: Closure) -> str:
    """The path in which two closures of one build differ, or the empty string."""
    pairs: tuple[tuple[Mapping[str, object], Mapping[str, object]], ...] = (
        (one.watched, other.watched),
        (one.inputs.files, other.inputs.files),
        (one.inputs.go_names, other.inputs.go_names),
        (one.inputs.all_names, other.inputs.all_names),
        (one.inputs.modules, other.inputs.modules),
    )
    for before, now in pairs:
        for path in {**before, **now}:
            if before.get(path) != now.get(path):
                return path
    return min({*one.inputs.absent} ^ {*other.inputs.absent}, default="")


def _lists_the_same(inputs: Inputs, path: str) -> bool:
    """Whether a path is a watched directory whose names are as they were."""
    known = [
        (inputs.go_names.get(path), listing.go_names),
        (inputs.all_names.get(path), listing.all_names),
    ]
    named = [(before, names) for before, names in known if before is not None]
    return (
        bool(named)
        and path not in inputs.files
        and all(names(path) == before for before, names in named)
    )


def _edited_modules(closure: Closure, began_ns: int) -> list[str]:
    """Modules in the cache that were edited, not downloaded: those are new as a whole."""
    return [
        directory
        for root, directory, latest in closure.cached
        if latest >= began_ns and _stamp(signature_of(root)) < began_ns
    ]


def _turned_links(roots: Iterable[str], began_ns: int) -> list[str]:
    """Symbolic links above `roots` that were made after `began_ns`: they may have led elsewhere."""
    above: set[str] = set()
    for root in roots:
        path = root
        while path not in above:
            above.add(path)
            path = os.path.dirname(path)
    links = filter(os.path.islink, sorted(above))
    return [path for path in links if os.lstat(path).st_ctime_ns >= began_ns]


def _module_package(directory: str, embedded: set[str]) -> tuple[str, str, int]:
    """What a build reads of a module-cache package: names joined by NUL, state, latest change."""
    try:
        with os.scandir(directory) as entries:
            names = [
                entry.name
                for entry in entries
                if (entry.name in embedded or _is_compiled(entry.name)) and not entry.is_dir()
            ]
    except OSError:
        return "", "", 0
    joined = "\0".join(sorted(names))
    return joined, *module_state(directory, joined)


def _is_compiled(name: str) -> bool:
    return listing.is_go_name(name) and not name.endswith("_test.go")


def _lookups(world: World) -> dict[str, str]:
    """What PATH gave for go, and what it gives for the name by which go looks for this version."""
    version = world.facts.version.partition(" ")[0]
    named = look_up(version, world.user_env.get("PATH", ""))
    return {"go": world.tool.go.found, version: named}


def _split(paths: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Files read by content up to the limit; larger sums by signature where that proves a thing."""
    files: dict[str, str] = {}
    large: dict[str, str] = {}
    budget = READ_LIMIT
    now = time.time_ns()
    for path in sorted(paths):
        try:
            status = os.stat(path)
        except OSError:
            files[path] = ""
            continue
        racy = now - max(status.st_mtime_ns, status.st_ctime_ns) < RACY_NS
        if racy or status.st_size <= budget:
            # A file that does not fit leaves the room to those after it.
            files[path] = file_digest(path)
            budget -= min(status.st_size, budget)
        else:
            large[path] = signature(status)
    return files, large


def _signatures(paths: Iterable[str]) -> dict[str, str]:
    return {path: signature_of(path) for path in sorted(set(paths))}


def _stamp(text: str) -> int:
    """The change time in a signature."""
    return int(text.split(":")[2]) if text else 0
