# SPDX-License-Identifier: Apache-2.0
"""The base `static`: what a static Go program asks its surroundings for, and nothing to run.

It is composed offline from data that comes with wherry's own installation: the CA bundle of
certifi and the time zones of tzdata. Equal data gives an equal tree; the data's versions are inputs
of every image that stands on it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Final, NoReturn

from wherry.bases.etc import NONROOT, etc_entries
from wherry.errors import MachineError
from wherry.fstree.tree import Directory, Entry, File, HardLink, Inline, Symlink, Tree, make_tree
from wherry.oci.digest import Digest, sha256

CA_BUNDLE: Final = "etc/ssl/certs/ca-certificates.crt"
ZONES: Final = "usr/share/zoneinfo"


def static_tree() -> Tree:
    """The tree of the base; raises `MachineError` where certifi or tzdata cannot be read."""
    return make_tree((*_directories(), *etc_entries(), *_zone_entries(), _ca_bundle()))


def static_data_versions() -> tuple[tuple[str, str], ...]:
    """(name, version) of the data the tree is made from.

    A certifi that hands out the system's bundle (some distributions patch it so) has the bundle's
    digest in its version, because its own number says nothing about it.
    """
    directory = package_directory("certifi")
    certifi = _assigned(directory, "__version__")
    if _own_bundle(directory) is None:
        certifi += f"+{sha256(_read(_foreign_bundle())).short}"
    return (
        ("certifi", certifi),
        ("tzdata", _assigned(package_directory("tzdata"), "IANA_VERSION")),
    )


def _directories() -> tuple[Entry, ...]:
    return (
        Directory("home"),
        Directory("home/nonroot", 0o700, NONROOT, NONROOT),
        Directory("root", 0o700),
        Directory("run"),
        Directory("tmp", 0o1777),
        Directory("var"),
        # Relative, so that it also holds where the tree is unpacked below another directory.
        Symlink("var/run", "../run"),
        Directory("var/tmp", 0o1777),
    )


def bundle_path() -> str:
    """The CA bundle that goes into the base: certifi's file, or the one that certifi names."""
    return _own_bundle(package_directory("certifi")) or _foreign_bundle()


def _ca_bundle() -> File:
    return File(CA_BUNDLE, Inline(_read(bundle_path())))


def _own_bundle(directory: str) -> str | None:
    path = os.path.join(directory, "cacert.pem")
    return path if os.path.isfile(path) and not os.path.islink(path) else None


def _foreign_bundle() -> str:
    # Lazy: certifi's import costs 25 ms and is needed only where distributions patch it.
    from certifi import where  # noqa: PLC0415

    return where()


def _zone_entries() -> Iterator[Entry]:
    """Zones in the tree's order; equal ones are links to the first, which stands before them."""
    first: dict[Digest, str] = {}
    directory = os.path.join(package_directory("tzdata"), "zoneinfo")
    for name in sorted(_file_names(directory), key=lambda name: name.split("/")):
        content = Inline(_read(os.path.join(directory, name)))
        path = f"{ZONES}/{name}"
        if (target := first.setdefault(content.digest, path)) == path:
            yield File(path, content)
        else:
            yield HardLink(path, target)


def _file_names(directory: str) -> Iterator[str]:
    """Data files below a package directory, relative to it, without Python's own."""

    def fail(error: OSError) -> NoReturn:
        raise _incomplete(directory, str(error.strerror)) from error

    for parent, _, names in os.walk(directory, onerror=fail):
        if os.path.basename(parent) == "__pycache__":
            continue
        for name in names:
            if not name.endswith((".py", ".pyc")):
                yield os.path.relpath(os.path.join(parent, name), directory)


def package_directory(name: str) -> str:
    """The directory of an installed package, found without importing it."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise _incomplete(name, "it is not installed")
    return os.path.dirname(spec.origin)


def _assigned(directory: str, name: str) -> str:
    """The string that a package's `__init__.py` assigns to `name`, without running it."""
    for line in _read(os.path.join(directory, "__init__.py")).decode().splitlines():
        left, _, right = line.partition("=")
        if left.strip() == name:
            return right.strip().strip("\"'")
    raise _incomplete(os.path.basename(directory), f"it does not say its {name}")


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise _incomplete(path, str(error.strerror)) from error


def _incomplete(name: str, why: str) -> MachineError:
    return MachineError(
        f"the data for the base 'static' is not complete: {name}",
        why=why,
        hint="install wherry again: pip install --force-reinstall wherry certifi tzdata",
    )
