# SPDX-License-Identifier: Apache-2.0
"""Which files of GOMODCACHE a build needs: modules pruned to the packages that it uses.

Of a used package all files of its directory stay but tests, what it embeds from below and what its
assembly includes from beside; of its module's root the go.mod. Modules that use cgo stay whole, as
only the C compiler knows what it reads, and so do those that replace another one. A module without
a used package stays as a bare go.mod where an import could be meant for it: Go looks into each such
module before it believes that an import has one meaning only. Every module comes with its listing;
one that go.sum does not vouch for stays out.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from wherry.gocache.module_includes import included
from wherry.gocache.module_listing import (
    Listing,
    Listings,
    encode_listing,
    file_sha256,
    list_directory,
    load_listing,
)
from wherry.gocache.module_names import TOOLCHAIN, ModuleVersion, is_private
from wherry.gocache.module_sums import (
    Sums,
    agreed,
    agreed_gomod,
    gomod_modules,
    hash_gomod,
    source_modules,
)
from wherry.gocache.table import CONTENT_LIMIT, Row

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence

    from wherry.golang.packages import Package
    from wherry.golang.toolchain import GoFacts
    from wherry.process.cancel import CancelToken


class ModuleCache(NamedTuple):
    """The module cache that a build used.

    `root` is its GOMODCACHE, the user's or a tree of wherry's; `sums` are those in force;
    `private` are patterns (`private_patterns`) of modules that stay out, empty for none;
    `listings` keeps the listings that were made.
    """

    root: str
    sums: Sums
    private: str
    listings: Listings


class Choice(NamedTuple):
    """The rows of a pack's table, and what makes their contents.

    `made` holds contents that are no file's; `left_out` says of modules that the build used why
    they are not among the rows.
    """

    rows: tuple[Row, ...]
    root: str
    made: dict[str, bytes]
    left_out: dict[ModuleVersion, str]

    def open(self, row: Row) -> BinaryIO:
        """The bytes of a row; raises `OSError` where they are gone."""
        data = self.made.get(row.key)
        if data is not None:
            return io.BytesIO(data)
        return open(os.path.join(self.root, row.key), "rb")

    def at_hand(self, row: Row) -> bool:
        """Whether the bytes of a row, also of one that another build used, can be read here."""
        if row.key in self.made:
            return True
        try:
            return os.path.getsize(os.path.join(self.root, row.key)) == row.size
        except OSError:
            return False


def private_patterns(facts: GoFacts) -> str:
    """The patterns of modules that the user does not want to be seen, joined by commas."""
    names = ("GOPRIVATE", "GONOPROXY", "GONOSUMDB")
    return ",".join(filter(None, (facts.all.get(name, "") for name in names)))


def choose(packages: Iterable[Package], cache: ModuleCache, cancel: CancelToken) -> Choice:
    """The module files that a build of `packages` (`go list -deps`) needs.

    The listing of a module that was not seen before costs reading it whole. Raises `Cancelled`.
    """
    with ThreadPoolExecutor(2, thread_name_prefix="modules") as pool:
        chooser = _Chooser(cache, pool, cancel)
        used = _used(packages, cache.root)
        for module, its in used.items():
            chooser.add(module, its)
        for module in _rivals(used, cache):
            chooser.add(module, [])
        chooser.add_graph()
        rows = tuple(sorted(chooser.rows.values()))
    return Choice(rows, cache.root, chooser.made, chooser.left_out)


def needs_whole(package: Package) -> bool:
    """Whether a package may read files of its module beyond its own directory when compiled."""
    foreign = (
        package.cgo_files, package.c_files, package.cxx_files, package.m_files, package.f_files,
        package.swig_files, package.swigcxx_files,
    )  # fmt: skip
    module = package.module
    return any(foreign) or bool(module and module.replace_path)


def is_kept(name: str) -> bool:
    """Whether the file of this name stays in the directory of a used package."""
    return not name.endswith("_test.go")


def module_of(package: Package, root: str) -> tuple[ModuleVersion, str] | None:
    """The module of a package that lies below GOMODCACHE `root`, and its directory there.

    The directory is relative to the module's root and empty for the root itself. None for all
    other packages.
    """
    module = package.module
    if package.standard or module is None or module.main or not package.dir:
        return None
    found = ModuleVersion(
        module.replace_path or module.path, module.replace_version or module.version
    )
    top = os.path.join(root, found.directory)
    if module.replace_dir or not f"{package.dir}/".startswith(f"{top}/"):
        return None
    return found, package.dir[len(top) + 1 :]


def parents_of(import_path: str) -> Iterable[str]:
    """The paths of modules that could hold a package, its own first."""
    path = import_path
    while path:
        yield path
        path = path.rpartition("/")[0]


class _Chooser:
    def __init__(self, cache: ModuleCache, pool: ThreadPoolExecutor, cancel: CancelToken) -> None:
        self.rows: dict[str, Row] = {}
        self.made: dict[str, bytes] = {}
        self.left_out: dict[ModuleVersion, str] = {}
        self._cache = cache
        self._pool = pool
        self._cancel = cancel

    def add(self, module: ModuleVersion, packages: Sequence[tuple[Package, str]]) -> None:
        """Take the files of one module that these of its packages need, with their directories."""
        self._cancel.check()
        why = unfit(module, self._cache)
        if not why:
            listing, is_new = self._listing(module)
            rows = self._files(module, packages, listing) if listing else None
            if listing is None or rows is None or not (is_new or self._are_right(rows)):
                why = "its files are not those that go.sum vouches for"
            else:
                self.rows.update((row.key, row) for row in rows)
                self._make(module.listing, encode_listing(listing))
                self._make(
                    module.download("ziphash"), agreed(self._cache.sums, module).encode("ascii")
                )
        if why:
            self.left_out[module] = why

    def add_graph(self) -> None:
        """Take the go.mod of every module of the graph, and the dates of those with files."""
        for key, data in graph_files(self._cache, self.left_out):
            self._make(key, data)

    def _listing(self, module: ModuleVersion) -> tuple[Listing | None, bool]:
        """The listing, and whether all files were read for it just now."""
        cache, h1 = self._cache, agreed(self._cache.sums, module)
        known = cache.listings.get(module, h1)
        # Where the build ran on a tree, its modules are no longer whole.
        known = known or load_listing(os.path.join(cache.root, module.listing), module, h1)
        if known is not None:
            return known, False
        top = os.path.join(cache.root, module.directory)
        listing = list_directory(top, self._pool, self._cancel)
        if listing is None or listing.sum(module) != h1:
            return None, True
        cache.listings.put(module, h1, listing)
        return listing, True

    def _files(
        self, module: ModuleVersion, packages: Sequence[tuple[Package, str]], listing: Listing
    ) -> list[Row] | None:
        """The rows of the module's own files; None where one is not there."""
        rows: list[Row] = []
        for name in sorted(_names(packages, listing)):
            key = f"{module.directory}/{name}"
            try:
                size = os.lstat(os.path.join(self._cache.root, key)).st_size
            except OSError:
                return None
            if size > CONTENT_LIMIT:
                return None
            rows.append(Row(key, listing.files[name], size))
        return rows

    def _are_right(self, rows: list[Row]) -> bool:
        """Whether the files have the digests that a listing made before gives them."""
        root = self._cache.root
        try:
            return all(
                file_sha256(os.path.join(root, row.key)) == row.content for row in rows
            )  # fmt: skip
        except OSError:
            return False

    def _make(self, key: str, data: bytes) -> None:
        self.made[key] = data
        self.rows[key] = made_row(key, data)


def unfit(module: ModuleVersion, cache: ModuleCache) -> str:
    """Why the files of a module cannot be in a pack; empty where they can."""
    if _is_kept_back(module, cache):
        return "it is private"
    h1 = agreed(cache.sums, module)
    if not h1:
        return "go.sum does not name it"
    data = _small_file(os.path.join(cache.root, module.download("ziphash")))
    if data is None or data.decode("ascii", "replace").strip() != h1:
        return "Go's note of its hash is not what go.sum says"
    return ""


def graph_files(
    cache: ModuleCache, left_out: Container[ModuleVersion]
) -> Iterator[tuple[str, bytes]]:
    """The go.mod of every module of the graph and the `.info` of those with files, by their keys.

    Not of private modules, and no `.info` of those that are left out.
    """
    for module in gomod_modules(cache.sums):
        data = _small_file(os.path.join(cache.root, module.download("mod")))
        is_right = data is not None and hash_gomod(data) == agreed_gomod(cache.sums, module)
        if data is not None and is_right and not _is_kept_back(module, cache):
            yield module.download("mod"), data
    for module in source_modules(cache.sums):
        if module not in left_out and not _is_kept_back(module, cache):
            path = os.path.join(cache.root, module.download("info"))
            data = clean_info(_small_file(path), module)
            if data is not None:
                yield module.download("info"), data


def made_row(key: str, data: bytes) -> Row:
    """The row of a content that is no file's."""
    return Row(key, hashlib.sha256(data).hexdigest(), len(data))


def clean_info(data: bytes | None, module: ModuleVersion) -> bytes | None:
    """A `.info` file with version and time alone; None where it is not this module's.

    Go believes what it says of the version (`go help goproxy`). Where it came from stays out.
    """
    try:
        value = json.loads(data or b"")
        version, time = value["Version"], value.get("Time", "")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    if version != module.version or not re.fullmatch(r"[0-9TZ:.+-]{0,40}", str(time)):
        return None
    # The order that Go writes.
    clean = {"Version": version, "Time": time} if time else {"Version": version}
    return json.dumps(clean, separators=(",", ":")).encode("ascii", "backslashreplace")


def _is_kept_back(module: ModuleVersion, cache: ModuleCache) -> bool:
    return module.path == TOOLCHAIN or is_private(module.path, cache.private)


def _used(packages: Iterable[Package], root: str) -> dict[ModuleVersion, list[tuple[Package, str]]]:
    found: dict[ModuleVersion, list[tuple[Package, str]]] = {}
    for package in packages:
        place = module_of(package, root)
        if place is not None:
            found.setdefault(place[0], []).append((package, place[1]))
    return found


def _rivals(
    used: dict[ModuleVersion, list[tuple[Package, str]]], cache: ModuleCache
) -> list[ModuleVersion]:
    """Modules without a used package whose path leads to one all the same."""
    paths = {
        parent
        for packages in used.values()
        for package, _ in packages
        for parent in parents_of(package.import_path)
    }
    return [
        module
        for module in source_modules(cache.sums)
        if module.path in paths
        and module not in used
        and os.path.isdir(os.path.join(cache.root, module.directory))
    ]


def _names(packages: Sequence[tuple[Package, str]], listing: Listing) -> set[str]:
    if any(needs_whole(package) for package, _ in packages):
        return set(listing.files)
    found = {"go.mod"} & set(listing.files)
    below = listing.directories()
    for package, directory in packages:
        prefix = f"{directory}/" if directory else ""
        found.update(prefix + name for name in below.get(directory, ()) if is_kept(name))
        found.update({prefix + name for name in package.embed_files} & set(listing.files))
        found.update(included(package, directory, listing.files))
    return found


def _small_file(path: str, limit: int = 16 << 20) -> bytes | None:
    """The bytes of a file; None where it cannot be read, or is larger than such a file is."""
    try:
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except OSError:
        return None
    return data if len(data) <= limit else None
