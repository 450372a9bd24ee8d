# SPDX-License-Identifier: Apache-2.0
"""Go's own trees in a root: whether their headers are those that a build cache was made with.

Go's keys of packages with assembler sources do not know the headers of Go's own tree that these
include (`wherry.golang.build_archive`). So a build cache keeps, for each version of Go, the digest
of the headers that the first step had, and no step sees it whose Go has others. Go may be started
in more ways than can be foreseen: every Go of the root counts, where PATH, GOROOT or the command
name it and where a step has made one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Final, NamedTuple

from wherry.sandbox.go_shadows import hides_lower, reached
from wherry.sandbox.rootpath import read_bytes, resolve
from wherry.sandbox.step_spec import StepGoCache, StepMount

# What the standard library and modules include from elsewhere than their own directories.
_INCLUDED: Final = ("pkg/include", "src/runtime")
_PLACES: Final = ("/pkg/include", "/src/runtime", "/src/runtime/cgo")
_HEADERS: Final = frozenset(
    ("textflag.h", "funcdata.h", "go_tls.h", "tls_arm64.h", "time_windows.h", "asm_amd64.h",
     "asm_ppc64x.h", "asm_riscv64.h", "abi_amd64.h", "abi_arm64.h", "abi_loong64.h",
     "abi_ppc64x.h")
)  # fmt: skip
_KEPT: Final = "headers"
_LARGEST: Final = 1 << 20


def why_no_build_cache(
    cache: StepGoCache, root: str, trees: Collection[str], mounts: Iterable[StepMount]
) -> str:
    """Why a step with these trees must not see a build cache; empty where it may.

    The cache then knows their headers. `trees` are paths in `root`, `mounts` are the step's. Raises
    `OSError`.
    """
    found: dict[str, _Headers] = {}
    for path in trees:
        version, digest = _read(root, path)
        if not version:
            return f"there is a part of Go's own tree in {path}"
        if found.setdefault(version, _Headers(digest, path)).digest != digest:
            return f"there is another {version} in {path}"
    for mount in mounts:
        if _reaches(mount, trees) or _brings_go(mount):
            return f"something of Go's is mounted at {mount.target}"
    return _compare(cache, found)


def made_trees(tops: Iterable[str]) -> tuple[str, ...]:
    """Where these trees have Go's own tree or parts of it: paths in the root. Raises `OSError`."""
    return tuple(sorted({path for top in tops for path in _trees_in(top)}))


def is_tree_of_go(root: str, path: str) -> bool:
    """Whether a root has a Go there, and not only a program of that name."""
    return os.path.lexists(f"{root}{path}/VERSION")


def touches(top: str, root: str, goroots: Iterable[str]) -> bool:
    """Whether a step's change `top` has anything of a Go: of these, of the root, or of its own.

    Raises `OSError`.
    """
    return bool(_walk(top)) or any(
        _is_in(top, place) for goroot in goroots for place in _places(root, goroot)
    )


class _Headers(NamedTuple):
    """The digest of the headers of a version of Go, and the tree that has them."""

    digest: str
    path: str


def _compare(cache: StepGoCache, found: dict[str, _Headers]) -> str:
    """Why the headers of these versions are not those that the cache knows; it learns new ones."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    descriptor = os.open(f"{cache.lower}/{_KEPT}", flags, 0o600)
    with open(descriptor, "r+", encoding="utf-8", errors="replace") as file:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        known = dict(line.rstrip("\n").partition("\t")[::2] for line in file if line.endswith("\n"))
        for version, (digest, path) in found.items():
            if known.get(version, digest) != digest:
                return f"the headers of {version} in {path} are not those of earlier builds"
        if found.keys() - known.keys():
            known.update((version, headers.digest) for version, headers in found.items())
            file.seek(0)
            file.writelines(f"{version}\t{digest}\n" for version, digest in known.items())
            file.truncate()
    return ""


def _read(root: str, path: str) -> tuple[str, str]:
    """The version that a tree says, and the digest of its headers; empty for a part of one."""
    try:
        text = read_bytes(root, f"{path}/VERSION", _LARGEST).decode("utf-8", "replace")
    except OSError:
        return "", ""
    version = " ".join(text.split("\n", 1)[0].split())
    hasher = hashlib.sha256()
    for included in _INCLUDED:
        # A link in a circle leads to nothing.
        with suppress(OSError):
            top = resolve(root, f"{path}/{included}")
            for name in sorted(_headers_below(top)):
                digest = _digest(root, f"{top.removeprefix(root)}/{name}")
                hasher.update(f"{digest} {included}/{name}\n".encode("utf-8", "surrogateescape"))
    return version, hasher.hexdigest()


def _digest(root: str, path: str) -> str:
    """That of a file's content; empty for what cannot be read, as where a link leads nowhere."""
    try:
        return hashlib.sha256(read_bytes(root, path, _LARGEST)).hexdigest()
    except OSError:
        return ""


def _headers_below(top: str) -> Iterator[str]:
    for directory, _, files in os.walk(top):
        for name in files:
            if name.endswith(".h"):
                yield os.path.relpath(f"{directory}/{name}", top)


def _reaches(mount: StepMount, trees: Iterable[str]) -> bool:
    """Whether a mount lies at, above or below one of the trees."""
    target = f"{os.path.normpath(mount.target)}/"
    return any(target.startswith(f"{tree}/") or f"{tree}/".startswith(target) for tree in trees)


def _brings_go(mount: StepMount) -> bool:
    """Whether what is mounted has a Go at its top or right below it."""
    inner = mount.selector.strip("/")
    tops = [f"{lower}/fs" for lower in mount.lowers] or [mount.directory]
    for top in (f"{top}/{inner}" for top in tops if top):
        with suppress(OSError), os.scandir(top) as entries:
            places = [top, *(entry.path for entry in entries if entry.is_dir())]
            if any(os.path.lexists(f"{place}/pkg/include") for place in places):
                return True
    return False


def _places(root: str, goroot: str) -> Iterator[str]:
    """Where the files of a tree really are: Debian's packages keep some behind links."""
    for part in ("", "/src", "/pkg", "/pkg/include"):
        # A link in a circle leads to nothing.
        with suppress(OSError):
            yield resolve(root, goroot + part).removeprefix(root)


def _is_in(top: str, path: str) -> bool:
    """Whether a change has anything but directories at or below a path, or something in its place.

    A directory that was made anew counts: it hides what was there.
    """
    found = reached(top, path)
    if found is None:
        return False
    here, mode = found
    return not stat.S_ISDIR(mode) or any(
        files
        or any(os.path.islink(f"{directory}/{name}") for name in names)
        or hides_lower(directory)
        for directory, names, files in os.walk(here)
    )


@lru_cache(maxsize=1024)
def _trees_in(top: str) -> tuple[str, ...]:
    """As `_walk`, of a snapshot: what is in one never changes."""
    return _walk(top)


def _walk(top: str) -> tuple[str, ...]:
    """The directories of a tree, as paths below it, that have headers of Go's in their places."""
    found = set()
    for directory, names, files in os.walk(top):
        for place in _PLACES:
            # A link may stand for the directory or the file.
            if directory.endswith(place) and not _HEADERS.isdisjoint((*files, *names)):
                found.add(directory.removeprefix(top).removesuffix(place))
        if directory.endswith("/pkg") and os.path.islink(f"{directory}/include"):
            found.add(directory.removeprefix(top).removesuffix("/pkg"))
    return tuple(sorted(path for path in found if path))
