# SPDX-License-Identifier: Apache-2.0
"""Finding the Dockerfiles in a folder, reading them, and the directory that each is built from."""

from __future__ import annotations

import errno
import glob
import os
import posixpath
import re
import stat
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from wherry.errors import MachineError, UsageError
from wherry.frontends.dockerfile.parse import parse_leniently
from wherry.frontends.dockerfile.source import Problems
from wherry.process.cancel import Cancelled, time_limit
from wherry.process.spawn import Command, run

_NAMES: Final = frozenset(("Dockerfile", "dockerfile", "Containerfile", "containerfile"))
_BEGINNINGS: Final = ("Dockerfile.", "Containerfile.")
_ENDINGS: Final = (".dockerfile", ".containerfile")
# What such names may end with and is no Dockerfile: rules, templates, notes, copies of editors.
_OTHER_KINDS: Final = frozenset(
    ("dockerignore", "tmpl", "template", "tpl", "gotmpl", "j2", "jinja", "jinja2", "p2", "in",
     "erb", "hbs", "mustache", "md", "orig", "bak", "rej", "swp", "json", "yaml", "yml", "sha256",
     "sig", "asc")
)  # fmt: skip
_PASSED_BY: Final = frozenset(("node_modules", "vendor", "testdata"))
# Far more than a Dockerfile has: whoever names a disk image by mistake is told so.
_MOST_BYTES: Final = 1 << 20
# As many words as every system takes in one command.
_MOST_WORDS: Final = 500
# A git that does not answer is as none.
_MOST_SECONDS: Final = 30.0
_CHECK_IGNORE: Final = (
    "git",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.quotePath=off",
    "check-ignore",
    "--",
)
_RUNS_GO: Final = re.compile(rb"\bgo\s+(?:build|install|test|mod\s+(?:download|vendor|tidy))\b")


class Found(NamedTuple):
    """The Dockerfiles in a folder, whole paths, sorted; directories that could not be read."""

    paths: tuple[str, ...]
    unreadable: tuple[OSError, ...] = ()


def is_dockerfile(name: str) -> bool:
    """Whether a file of this name is taken for a Dockerfile where nobody named it."""
    if name in _NAMES:
        return True
    lower = name.lower()
    if name.startswith(".") or lower.rpartition(".")[2] in _OTHER_KINDS:
        return False
    return name.startswith(_BEGINNINGS) or lower.endswith(_ENDINGS)


def find_dockerfiles(folder: str, env: Mapping[str, str]) -> Found:
    """The Dockerfiles in a folder (a whole path) and below.

    Hidden directories, `node_modules`, `vendor` and `testdata` are passed by, and so is what git
    ignores; a file that has two names comes once. Where git cannot be asked nothing is ignored.
    """
    unreadable: list[OSError] = []
    by_repository: dict[str, list[str]] = {}
    repositories = {folder: _repository(folder)}
    for directory, below, files in os.walk(folder, onerror=unreadable.append):
        repository = repositories.pop(directory)
        if ".git" in below or ".git" in files:
            repository = directory
        below[:] = [name for name in below if name[0] != "." and name not in _PASSED_BY]
        repositories.update((os.path.join(directory, name), repository) for name in below)
        for name in files:
            path = os.path.join(directory, name)
            if is_dockerfile(name) and os.path.isfile(path):
                by_repository.setdefault(repository, []).append(path)
    paths = [
        path
        for repository, members in by_repository.items()
        for path in _not_ignored(repository, members, env)
    ]
    return Found(_once(paths), tuple(unreadable))


def _repository(directory: str) -> str:
    """The nearest directory at or above that git keeps; empty where there is none."""
    while not os.path.lexists(os.path.join(directory, ".git")):
        parent = os.path.dirname(directory)
        if parent == directory:
            return ""
        directory = parent
    return directory


def _not_ignored(repository: str, paths: Sequence[str], env: Mapping[str, str]) -> list[str]:
    if not repository:
        return list(paths)
    relative = {os.path.relpath(path, repository): path for path in paths}
    words = list(relative)
    for start in range(0, len(words), _MOST_WORDS):
        command = Command((*_CHECK_IGNORE, *words[start : start + _MOST_WORDS]), repository, env)
        try:
            with time_limit(_MOST_SECONDS) as limit:
                finished = run(command, limit)
        except (MachineError, Cancelled):
            break
        if finished.returncode == 0:
            # A name with a quote or a newline comes quoted, and stays.
            for name in os.fsdecode(finished.stdout).split("\n"):
                relative.pop(name, None)
    return list(relative.values())


def _once(paths: Sequence[str]) -> tuple[str, ...]:
    """Each file by one of its names: one that is no link, where there is such."""
    kept: dict[str, str] = {}
    for path in sorted(paths, key=lambda path: (os.path.islink(path), path)):
        kept.setdefault(os.path.realpath(path), path)
    return tuple(sorted(kept.values()))


def read_dockerfile(path: str, shown: str) -> bytes:
    """The bytes of a file that the user calls `shown`; raises `UsageError`."""
    try:
        # Opening a pipe must not wait for somebody who writes into it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UsageError(f"{shown} is no file", why="it is a pipe, socket or device",
                                 hint="check a text from elsewhere with --stdin")  # fmt: skip
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        hint = "name a Dockerfile or a folder" if missing else "make it a file that you may read"
        raise UsageError(f"cannot read {shown}", why=error.strerror or str(error),
                         hint=hint) from error  # fmt: skip
    if len(data) > _MOST_BYTES:
        raise UsageError(f"{shown} is too large for a Dockerfile",
                         why=f"{_MOST_BYTES >> 20} MiB are read",
                         hint="name another file")  # fmt: skip
    return data


def context_directory(path: str, top: str, text: bytes) -> str:
    """The directory that a Dockerfile (a whole path) is built from, at most `top`.

    It is the file's own, unless what the file copies lies elsewhere. With a go.mod or go.work in
    its own, a directory above with one, too, from which all that is copied by name is there, and
    not all from its own. Without one, the nearest such directory from which something is there
    that its own has not; and where nothing is copied by name but all (`COPY . .`) and Go builds
    it, the nearest one, for then there has to be a module.
    """
    own = os.path.dirname(path)
    above = [directory for directory in _above(own, top) if _is_module(directory)]
    if not above:
        return own
    names, whole = _copied(text)
    missing = [name for name in names if not _is_there(own, name)]
    if not missing:
        blind = whole and not names and not _is_module(own) and _RUNS_GO.search(text)
        return above[0] if blind else own
    for directory in above:
        there = [_is_there(directory, name) for name in (names if _is_module(own) else missing)]
        if all(there) or (any(there) and not _is_module(own)):
            return directory
    return own


def _above(directory: str, top: str) -> list[str]:
    """The directories above, up to `top`; none where that is no directory above."""
    if os.path.commonpath((directory, top)) != top:
        return []
    found = []
    while directory != top:
        directory = os.path.dirname(directory)
        found.append(directory)
    return found


def _is_module(directory: str) -> bool:
    return any(os.path.isfile(os.path.join(directory, name)) for name in ("go.mod", "go.work"))


def _copied(text: bytes) -> tuple[list[str], bool]:
    """What a file's COPY and ADD take from the build context by name; whether one takes all."""
    try:
        nodes = parse_leniently(text)[0].nodes
    except Problems:
        return [], False
    names: dict[str, None] = {}
    whole = False
    for node in nodes:
        if node.keyword not in ("COPY", "ADD"):
            continue
        if any(flag.text.startswith("--from") for flag in node.flags):
            continue
        for source in node.arguments[:-1]:
            if source.startswith("<<") or "$" in source or "://" in source or "@" in source:
                continue
            # Nothing lies above the build context, whatever a path says.
            name = posixpath.normpath(f"/{source}").lstrip("/")
            whole = whole or not name
            if name:
                names[name] = None
    return list(names), whole


def _is_there(directory: str, name: str) -> bool:
    if any(mark in name for mark in "*?["):
        return bool(glob.glob(os.path.join(glob.escape(directory), name)))
    return os.path.lexists(os.path.join(directory, name))
