# SPDX-License-Identifier: Apache-2.0
"""The build record: what the result of one Go build depended on, and whether that still holds.

A record is written after a build whose inputs did not change meanwhile (`wherry.golang.closure`).
`first_change` answers without starting Go: it reads the files that a user edits, and asks `stat`
about the module cache and the toolchain. Anything unclear counts as a change. On the fast path:
nothing is imported that a no-change build does not need.

JSON form, version 2 (paths absolute, NUL-joined name lists):
  files      {path: sha256 hex}             read and compared
  large      {path: signature}              beyond the first 64 MB: compared by signature
  modules    {directory: [names, digest]}   module cache: compared by the digest of signatures
  tools      {path: signature}              go command, bin/go, data packages
  absent     [path]                         must not exist
  go_names   {directory: names}             names that Go looks at
  all_names  {directory: names}             every name (below embed patterns)
  lookups    {program: path}                what PATH gives ("" for nothing)
  environment {name: value or salted digest or null}
  plain      [path]                         must not be a symbolic link
  trees      {directory: signature}         below patterns: which packages there are
  marks      {path: mark}                   files of the image: executable, or where a link leads
  leads      {path: real path}              where paths of the settings lead
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from wherry.golang.listing import all_names, go_names
from wherry.golang.marks import first_turned
from wherry.golang.package_trees import package_tree, tree_signature
from wherry.golang.signature import module_signature, signature_of

FORMAT = 2
# In a name or a value: rather a digest too many than a credential in the store.
_SECRET_WORDS = ("auth", "token", "password", "passwd", "secret", "credential", "apikey", "api_key")


# Proxies' addresses, and commands, may hold credentials in any form.
_SEALED = frozenset(("GOPROXY", "GOAUTH", "GOCACHEPROG", "GOFLAGS", "GOVCS", "GOSUMDB"))


class Inputs(NamedTuple):
    """Everything one build depended on; mappings are not changed once made."""

    files: Mapping[str, str]
    large: Mapping[str, str]
    modules: Mapping[str, list[str]]
    tools: Mapping[str, str]
    absent: list[str]
    go_names: Mapping[str, str]
    all_names: Mapping[str, str]
    lookups: Mapping[str, str]
    environment: Mapping[str, str | None]
    plain: Sequence[str] = ()
    trees: Mapping[str, str] = {}
    marks: Mapping[str, str] = {}
    leads: Mapping[str, str] = {}


def merged(several: Sequence[Inputs]) -> Inputs | None:
    """What builds of one moment depended on together; None where they saw a thing differently."""
    fields: list[Any] = []
    for name, values in zip(Inputs._fields, zip(*several, strict=True), strict=True):
        if isinstance(values[0], Mapping):
            together: dict[str, Any] = {}
            for value in values:
                for key, what in value.items():
                    # Salted digests of one value differ.
                    if together.setdefault(key, what) != what and name != "environment":
                        return None
            fields.append(together)
        else:
            fields.append(sorted({item for value in values for item in value}))
    found = Inputs(*fields)
    return None if {*found.absent} & {*found.files} else found


class Memo:
    """Digests of files read in this process: several records share most of their files."""

    def __init__(self) -> None:
        self._digests: dict[str, str] = {}

    def digest(self, path: str) -> str:
        """sha256 of the file's content as hex, or the empty string where it cannot be read."""
        found = self._digests.get(path)
        if found is None:
            found = self._digests[path] = file_digest(path)
        return found


def file_digest(path: str) -> str:
    """sha256 of a file's content as hex, or the empty string where it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        first = os.read(descriptor, 1 << 18)
        hasher = hashlib.sha256(first)
        while first:
            first = os.read(descriptor, 1 << 20)
            hasher.update(first)
        return hasher.hexdigest()
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def first_change(inputs: Inputs, env: Mapping[str, str], memo: Memo) -> str:
    """What differs from the record, in words for people; the empty string where all holds."""
    checks: tuple[Callable[[], str], ...] = (
        lambda: _changed_environment(inputs, env),
        lambda: _changed_lookup(inputs, env),
        lambda: _first(inputs.tools, signature_of, "the toolchain changed: {}"),
        lambda: next((f"new: {path}" for path in inputs.absent if os.path.lexists(path)), ""),
        lambda: next((f"changed: {path}" for path in inputs.plain if os.path.islink(path)), ""),
        lambda: _first(inputs.go_names, go_names, "files were added or removed in {}"),
        lambda: _first(inputs.all_names, all_names, "files were added or removed in {}"),
        lambda: _first(inputs.large, signature_of, "changed: {}"),
        lambda: _first(inputs.files, memo.digest, "changed: {}"),
        lambda: _changed_module(inputs),
        lambda: _changed_tree(inputs),
        lambda: first_turned(inputs.marks, inputs.leads),
    )
    for check in checks:
        found = check()
        if found:
            return found
    return ""


def sealed(name: str, value: str | None, salt: str) -> str | None:
    """A variable's value as a record keeps it: a salted digest where it may hold a credential."""
    if value is None or not _may_be_secret(name, value):
        return value
    data = f"{salt}\0{name}\0{value}".encode("utf-8", "surrogateescape")
    return f"salted:{salt}:{hashlib.sha256(data).hexdigest()}"


def look_up(program: str, path: str) -> str:
    """The first executable `program` on a PATH text, or the empty string.

    As `wherry.golang.toolchain.find_go` and Go itself: never from a relative directory.
    """
    for directory in path.split(os.pathsep):
        candidate = os.path.join(directory, program)
        if os.path.isabs(directory) and os.access(candidate, os.X_OK) and os.path.isfile(candidate):
            return candidate
    return ""


def _may_be_secret(name: str, value: str) -> bool:
    if name in _SEALED:
        return True
    text = f"{name}={value}".lower()
    return ("://" in value and "@" in value) or any(word in text for word in _SECRET_WORDS)


def _changed_environment(inputs: Inputs, env: Mapping[str, str]) -> str:
    for name, value in inputs.environment.items():
        now = env.get(name)
        if now == value:
            continue
        salt = value.split(":")[1] if value and value.startswith("salted:") else ""
        if not salt or sealed(name, now, salt) != value:
            return f"the environment variable {name} changed"
    return ""


def _changed_lookup(inputs: Inputs, env: Mapping[str, str]) -> str:
    path = env.get("PATH", "")
    for program, found in inputs.lookups.items():
        if look_up(program, path) != found:
            return f"PATH gives another {program}"
    return ""


def _first(expected: Mapping[str, str], actual: Callable[[str], str], words: str) -> str:
    for path, value in expected.items():
        if actual(path) != value:
            return words.format(path)
    return ""


def _changed_tree(inputs: Inputs) -> str:
    for root, expected in inputs.trees.items():
        if tree_signature(package_tree(root), inputs.go_names) != expected:
            return f"packages may have changed below {root}"
    return ""


def _changed_module(inputs: Inputs) -> str:
    for directory, (names, digest) in inputs.modules.items():
        if module_signature(directory, names) != digest or not digest:
            return f"the module cache changed: {directory}"
    return ""
