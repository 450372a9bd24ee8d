# SPDX-License-Identifier: Apache-2.0
"""What Go said of a program's packages, written down so that Go need not be asked again.

An answer holds as long as what it was read from does: go.mod and its kind, the names of the Go
files in the module's own packages and the files themselves, by what stat says of them. Packages of
the module cache do not change: they have to be there. A refusal also depends on what is not there,
such as a module that was not fetched: it holds for a minute, and only for those who cannot wait.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, Protocol

from wherry.golang.packages import Module, Package
from wherry.golang.signature import signature, signature_of
from wherry.golang.toolchain import GoCommand
from wherry.process.clock import RACY_NS

_FORMAT: Final = "1"
_REFUSAL_SECONDS: Final = 60
# Besides what begins with GO and CGO_.
_VARIABLES: Final = frozenset(("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "CC", "CXX"))
_FILES: Final = ("go.mod", "go.sum", "vendor/modules.txt")
_WORKSPACE: Final = ("go.work", "go.work.sum")


class Answers(Protocol):
    """Keeps texts by key; what it cannot keep or find is as if it were not there.

    `refusals` says whether those count that are younger than a minute.
    """

    refusals: bool

    def get(self, key: str) -> bytes | None:
        """What was kept."""

    def put(self, key: str, value: bytes) -> None:
        """Keep a value."""


class Question(NamedTuple):
    """What Go is asked: about `pattern`, in `directory`, under `env`."""

    go: GoCommand
    directory: str
    pattern: str
    flags: tuple[str, ...]
    env: Mapping[str, str]

    @property
    def key(self) -> str:
        """A digest of all that the question is made of, the Go program by its stat."""
        home = self.env.get("HOME", "")
        config = self.env.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
        goenv = self.env.get("GOENV") or os.path.join(config, "go/env")
        variables = sorted(
            (name, value)
            for name, value in self.env.items()
            if name.startswith(("GO", "CGO_")) or name in _VARIABLES
        )
        parts = (
            _FORMAT, *self.go[:2], signature_of(self.go.real_path), signature_of(goenv),
            self.directory, self.pattern, self.flags, variables,
        )  # fmt: skip
        return hashlib.sha256(repr(parts).encode("utf-8", "surrogateescape")).hexdigest()


def encoded(question: Question, answer: tuple[Package, ...] | str, began: float) -> bytes | None:
    """An answer to a question that was asked at `began` (seconds since 1970), as bytes.

    None where something changed so shortly before that it may have changed meanwhile.
    """
    packages = () if isinstance(answer, str) else answer
    refused = isinstance(answer, str) or any(package.errors for package in packages)
    watched, newest = _watched(question.directory, packages)
    if newest > began * 1e9 - RACY_NS or "..." in question.pattern:
        return None
    value = {
        "until": began + _REFUSAL_SECONDS if refused else None,
        "watched": watched,
        "text": answer if isinstance(answer, str) else "",
        "packages": [_shortened(package) for package in packages],
    }
    return json.dumps(value, separators=(",", ":")).encode()


def decoded(data: bytes, now: float, *, refusals: bool) -> tuple[Package, ...] | str | None:
    """The answer, where it still holds at `now`; None where it does not, or is damaged."""
    try:
        value: dict[str, Any] = json.loads(data)
        until = value["until"]
        if until is not None and not (refusals and 0 <= until - now <= _REFUSAL_SECONDS):
            return None
        if any(_state(path)[0] != state for path, state in value["watched"].items()):
            return None
        if value["text"]:
            return str(value["text"])
        return tuple(_package(row) for row in value["packages"])
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _watched(directory: str, packages: Iterable[Package]) -> tuple[dict[str, str], int]:
    """States by path, and the latest change among what people edit; in ns since 1970."""
    paths = {os.path.join(directory, name): True for name in _FILES}
    above = directory
    while True:
        paths.update((os.path.join(above, name), True) for name in _WORKSPACE)
        if above == os.path.dirname(above):
            break
        above = os.path.dirname(above)
    for package in packages:
        module = package.module
        if package.standard or not package.dir:
            continue
        if module is not None and module.dir and not module.main and not module.replace_dir:
            paths[module.gomod or module.dir] = False
            continue
        if module is not None and module.gomod:
            paths[module.gomod] = True
        paths[f"{package.dir}/"] = True
        paths.update((os.path.join(package.dir, name), True) for name in package.files())
        embedded = {os.path.dirname(name) for name in package.embed_files}
        paths.update((f"{os.path.join(package.dir, name)}/", True) for name in embedded if name)
    found = {path: _state(path) for path in paths}
    newest = max((found[path][1] for path, edited in paths.items() if edited), default=0)
    return {path: state for path, (state, _) in found.items()}, newest


def _state(path: str) -> tuple[str, int]:
    """What tells that a file, or the Go files in a directory (`path/`), changed; and when it did.

    Of a directory only names count: editors and builds put other files there all the time.
    """
    try:
        if path.endswith("/"):
            names = sorted(name for name in os.listdir(path) if name.endswith(".go"))
            return hashlib.sha256("\0".join(names).encode("utf-8", "replace")).hexdigest(), 0
        status = os.stat(path)
    except OSError:
        return "", 0
    return signature(status), max(status.st_mtime_ns, status.st_ctime_ns)


def _shortened(package: Package) -> list[object]:
    """A package as JSON has it; of one of Go's own no more than its name and whether C is in it."""
    if package.standard:
        return [package.import_path, package.name, list(package.cgo_files)]
    return list(package)


def _package(row: list[Any]) -> Package:
    if len(row) != len(Package._fields):
        path, name, cgo = row
        rest: list[Any] = [()] * (len(Package._fields) - 9)
        return Package(path, name, "", True, None, (), False, (), tuple(cgo), *rest)
    values: list[Any] = [tuple(item) if isinstance(item, list) else item for item in row]
    module = row[4]
    values[4] = None if module is None else Module(*module)
    return Package(*values)
