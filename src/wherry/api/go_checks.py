# SPDX-License-Identifier: Apache-2.0
"""What `wherry doctor` says about Go builds: toolchains, git, the store."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from wherry.api.checks import Check, State
from wherry.errors import MachineError, WherryError
from wherry.golang.environment import build_environment
from wherry.golang.facts import query_go
from wherry.golang.toolchain import GoCommand, GoFacts, find_go
from wherry.process.cancel import CancelToken
from wherry.process.spawn import Command, run
from wherry.store.store import open_store

# Where Go keeps the toolchains that go.mod files asked for (go.dev/doc/toolchain).
_FETCHED = re.compile(r"toolchain@v0\.0\.1-go([0-9][0-9a-z.]*)\.")
_LITTLE_ROOM = 1 << 30


def go_check(env: Mapping[str, str], cancel: CancelToken) -> Check:
    """The Go that builds use, and which others are here.

    Nothing is fetched: what a go.mod might ask for is not looked at.
    """
    try:
        command = find_go(env)
        own = (*command.env, ("GOTOOLCHAIN", "local"))
        facts = query_go(command, "/", build_environment(env, own, "/"), cancel)
    except WherryError as error:
        return Check("Go", State.MISSING, error.what, tuple(error.why.splitlines()), error.hint)
    return Check("Go", State.OK, f"{facts.version} ({command.path})", _others(env, command, facts))


def git_check(env: Mapping[str, str], cancel: CancelToken) -> Check:
    """Git, which only stamps and sources from git need."""
    try:
        done = run(Command(("git", "--version"), "/", {**env, "LC_ALL": "C"}), cancel)
    except MachineError:
        done = None
    if done is None or done.returncode:
        return Check("git", State.LIMITED, "not found: no --stamp, no git URLs as sources",
                     remedy="apt-get install git")  # fmt: skip
    version = done.stdout.decode("utf-8", "replace").strip()
    return Check("git", State.OK, version.removeprefix("git version "))


def store_check(store: str) -> tuple[Check, int, int]:
    """The store at `store`, its size and the free room in bytes; -1 where it cannot be used."""
    try:
        with open_store(store) as opened:
            path, size, limit = opened.path, opened.usage().total, opened.size_limit
            status = os.statvfs(path)
    except WherryError as error:
        why = tuple(error.why.splitlines())
        return Check("store", State.MISSING, error.what, why, error.hint), -1, -1
    free = status.f_frsize * status.f_bavail
    found = f"{path}: {_gigabytes(size)} of at most {_gigabytes(limit)}, {_gigabytes(free)} free"
    if free >= _LITTLE_ROOM:
        return Check("store", State.OK, found), size, free
    remedy = "wherry cache prune, or another place with --store"
    return Check("store", State.LIMITED, found, ("there is little room",), remedy), size, free


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


def _others(env: Mapping[str, str], used: GoCommand, facts: GoFacts) -> tuple[str, ...]:
    """Other Go programs on PATH, and toolchains that Go itself fetched."""
    found = []
    for directory in dict.fromkeys(env.get("PATH", "").split(os.pathsep)):
        path = os.path.join(directory, "go")
        other = os.path.isabs(directory) and path not in (used.path, used.found)
        if other and os.path.isfile(path) and os.access(path, os.X_OK):
            found.append(f"also on PATH: {path}")
    versions = _fetched(os.path.join(facts.gomodcache, "golang.org"))
    if versions:
        found.append(f"fetched by Go before: {', '.join(versions)}")
    return tuple(found)


def _fetched(directory: str) -> tuple[str, ...]:
    try:
        names = os.listdir(directory)
    except OSError:
        return ()
    matches = (_FETCHED.match(name) for name in names)
    versions = {match[1] for match in matches if match}
    return tuple(sorted(versions, key=lambda text: [int(n) for n in re.findall(r"\d+", text)]))
