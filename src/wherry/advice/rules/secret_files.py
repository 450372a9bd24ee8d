# SPDX-License-Identifier: Apache-2.0
"""Rules about files that do not belong into an image: keys, passwords, the history of the sources.

Files are told by their names. Only of keys, whose names say little, the first bytes are read.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from wherry.advice.model import Edit, Finding, Fix, Need, Range, Rule, Severity
from wherry.advice.reading.file_contents import read_file
from wherry.advice.reading.secret_content import is_harmless
from wherry.advice.reading.whole_lines import added_lines
from wherry.advice.reading.word_places import value_of, word_places
from wherry.frontends.dockerfile.instructions import Copy

if TYPE_CHECKING:
    from wherry.advice.context import Context
    from wherry.advice.subject import Subject
    from wherry.advice.views import Line, StageView

_NAMES: Final = frozenset(
    ("id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", ".netrc", "_netrc", ".git-credentials",
     ".pgpass", ".vault-token", "kubeconfig")
)  # fmt: skip
_ENVIRONMENT: Final = re.compile(r"\.env(?:\.(?:local|prod|production|staging))?")
_DIRECTORIES: Final = frozenset((".aws", ".ssh", ".kube", ".gnupg"))
# In those directories, by name.
_INSIDE: Final = {
    ".aws": frozenset(("credentials",)),
    ".kube": frozenset(("config",)),
    ".docker": frozenset(("config.json",)),
}
_KEY_ENDINGS: Final = (".pem", ".key")
_KEY_MARK: Final = b"PRIVATE KEY"
_KEY_HEAD: Final = 200
_MOST_KEYS: Final = 20
_MOST_SHOWN: Final = 3
# Directories whose keys are made up, or somebody else's.
_MADE_UP: Final = re.compile(
    r"(?:^|[-_./])(?:test|tests|testdata|testing|fixtures?|examples?|samples?|mocks?|dummy|fake|"
    r"demo|e2e|integration|suites?|vendor|node_modules|third_party|docs?|snakeoil|localhost)(?:[-_./]|\Z)",
    re.IGNORECASE,
)
_WILD: Final = frozenset("*?[")
# From here on a history in a stage that is not shipped costs time that people notice.
_BIG_HISTORY: Final = 50_000_000
_HISTORY_READERS: Final = frozenset(
    ("git", "make", "mage", "task", "just", "goreleaser", "sh", "bash", "bazel", "promu", "ko")
)  # fmt: skip


def _copied(subject: Subject, rule: Rule) -> Iterator[Finding]:
    for line, typed, index, place in _sources(subject):
        exported = line.stage.number in subject.exported
        source = value_of(line, typed.sources[index])
        if source is None or any(mark in source for mark in _WILD):
            continue
        path = posixpath.normpath(source.lstrip("/") or ".")
        counted = rule if exported else rule._replace(severity=Severity.INFO)
        if _is_named(subject.context, path, bool(typed.from_)):
            if exported or not typed.from_:
                yield counted.find(
                    place, f"{path} holds secrets as a rule, and this puts it into the"
                    f" {_where(exported)}", _hint(exported),
                )  # fmt: skip
        elif not typed.from_ and not typed.excludes and subject.context is not None:
            found = _below(subject.context, path)
            if found:
                fix = Fix("leave them out of the build context",
                          (_ignore(subject.context, found),), safe=False)  # fmt: skip
                yield counted.find(
                    place, f"{_shown(found)} would go into the {_where(exported)}",
                    "name it in .dockerignore, or copy only what the build needs", fix,
                )  # fmt: skip


def _history(subject: Subject, rule: Rule) -> Iterator[Finding]:
    context = subject.context
    if context is None or not context.is_directory(".git"):
        return
    if context.hides(".git") or context.hides(".git/objects") or context.hides(".git/HEAD"):
        return
    for line, typed, index, place in _sources(subject):
        source = value_of(line, typed.sources[index])
        if source is None or typed.from_ or typed.excludes:
            continue
        if posixpath.normpath(source.lstrip("/") or ".") != ".":
            continue
        if line.stage.number in subject.exported:
            message = ".git goes into the image, with all that was ever committed"
        elif _size(context) >= _BIG_HISTORY and not _reads_history(line.stage):
            message = f".git goes into the build cache: {_size(context) // 1_000_000} MB"
        else:
            continue
        fix = Fix("leave .git out of the build context", (_ignore(context, (".git",)),), safe=False)
        yield rule.find(
            place, message,
            "name it in .dockerignore; where the build stamps the commit, copy directories by name"
            " and mount it: RUN --mount=type=bind,source=.git,target=.git",
            fix,
        )  # fmt: skip


def _sources(subject: Subject) -> Iterator[tuple[Line, Copy, int, Range]]:
    """The sources of all COPY and ADD, by their number, with their places."""
    for line in subject.lines:
        typed = line.instruction
        if not isinstance(typed, Copy):
            continue
        places = word_places(subject, line.node)
        for index, source in enumerate(typed.sources):
            if not source.startswith("<<") and "://" not in source:
                yield line, typed, index, places[index] if index < len(places) else line.head


def _is_named(context: Context | None, path: str, foreign: bool) -> bool:
    """Whether the name of a source tells that it is secret, or it is a private key."""
    name = posixpath.basename(path)
    if name in _DIRECTORIES:
        return True
    if _is_secret(path):
        return foreign or context is None or not is_harmless(context, path)
    if foreign or context is None or not name.endswith(_KEY_ENDINGS):
        return False
    return not _MADE_UP.search(path) and _is_private_key(context, path)


def _is_secret(path: str) -> bool:
    directory, name = posixpath.split(path)
    if name in _NAMES or _ENVIRONMENT.fullmatch(name):
        return True
    return name in _INSIDE.get(posixpath.basename(directory), frozenset())


@lru_cache(maxsize=64)
def _below(context: Context, directory: str) -> tuple[str, ...]:
    """The secret files that a build gets in a directory of the build context."""
    if not context.is_directory(directory):
        return ()
    prefix = "" if directory == "." else f"{directory}/"
    found: list[str] = []
    keys = 0
    for path in context.names:
        inner = path.removeprefix(prefix)
        if not path.startswith(prefix) or path.startswith(".git/") or _MADE_UP.search(path):
            continue
        name = posixpath.basename(path)
        if _ENVIRONMENT.fullmatch(name):
            # Those of front ends, further down, hold what browsers get to see.
            if inner == name and not is_harmless(context, path):
                found.append(path)
        elif _is_secret(path):
            if not is_harmless(context, path):
                found.append(path)
        elif name.endswith(_KEY_ENDINGS) and keys < _MOST_KEYS:
            keys += 1
            if _is_private_key(context, path):
                found.append(path)
    return tuple(found)


def _is_private_key(context: Context, path: str) -> bool:
    return _KEY_MARK in (read_file(os.path.join(context.directory, path), _KEY_HEAD) or b"")


def _ignore(context: Context, paths: tuple[str, ...]) -> Edit:
    """The edit that adds paths to the end of the ignore file."""
    return added_lines(map(_escaped, paths), context.ignore_file or ".dockerignore")


def _escaped(path: str) -> str:
    """A path as a rule that hides it and nothing else."""
    return re.sub(r"([*?\[\]\\])", r"\\\1", path)


def _size(context: Context) -> int:
    """The bytes of the packs that a history is kept in."""
    try:
        with os.scandir(os.path.join(context.directory, ".git", "objects", "pack")) as entries:
            return sum(entry.stat(follow_symlinks=False).st_size for entry in entries)
    except OSError:
        return 0


def _reads_history(stage: StageView) -> bool:
    return any(
        command.program in _HISTORY_READERS or command.program.endswith(".sh")
        for line in stage.all_lines
        for command in line.commands
    )


def _where(exported: bool) -> str:
    return "image" if exported else "build cache"


def _hint(exported: bool) -> str:
    if exported:
        return "give it to the container when it starts, and name it in .dockerignore"
    return "mount it for the RUN that needs it: --mount=type=secret,id=NAME,target=PATH"


def _shown(paths: tuple[str, ...]) -> str:
    listed = ", ".join(paths[:_MOST_SHOWN])
    more = len(paths) - _MOST_SHOWN
    return f"{listed} and {more} more" if more > 0 else listed


RULES: Final = (
    Rule("GO304", "secret-copied", Severity.WARNING,
         "a file with secrets that is copied", _copied, mends=True),
    Rule("GO305", "git-copied", Severity.INFO,
         "the history of the sources in the image", _history, frozenset((Need.CONTEXT,)),
         mends=True),
)  # fmt: skip
"""In the order of their ids."""
