# SPDX-License-Identifier: Apache-2.0
"""Directories that the text of a command copies, packs or searches with all that lies in them.

Only what is written is seen: paths, variables of the step, `cd`. A script that is called may sweep
anything, and nobody can tell.
"""

from __future__ import annotations

import fnmatch
import itertools
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

# `\` at a line's end, and quotes, whatever they enclose: a text within a text is read as well.
_QUOTING: Final = re.compile(r"\\\n|[\"']")
_REDIRECTION: Final = re.compile(r"(?<!\d)\d*(?:>>?|<)&?\s*[^\s;|&)]*")
_HERE: Final = re.compile(r"\$\(pwd\)|`pwd`|\$\{PWD\}|\$PWD\b")
_VARIABLE: Final = re.compile(r"\$\(go env (\w+)\)|`go env (\w+)`|\$\{(\w+)\}|\$(\w+)")
_PIECE: Final = re.compile(r"[()]|[^;|&\n()`]+")
# What stands before the name of a program.
_BEFORE: Final = re.compile(
    r"-.*|\w+=.*|[!{]|pipefail|(.*/)?(sh|bash|ash|dash|env)|"
    r"sudo|time|exec|eval|command|xargs|nice|if|then|else|elif|while|until|do"
)
_BUNDLE: Final = re.compile(r"-?[a-zA-Z]*")
_MAKES_ARCHIVE: Final = frozenset(("--create", "--append", "--update"))
_CHANGES_DIRECTORY: Final = re.compile(r"-?[a-zA-Z]*C|--directory")
_SEARCH_OPTIONS: Final = ("-H", "-L", "-P")
# Longer paths are no paths, and a variable may stand a thousand times in a text.
_LONGEST: Final = 1024


def swept(text: str, cwd: str, env: Mapping[str, str]) -> Iterator[str]:
    """The directories, and files, that a text's commands read whole: absolute, with wildcards.

    `cwd` is where it begins; `env` has HOME and GOPATH.
    """
    outer: list[str] = []
    for piece in _PIECE.findall(_plain(text, env)):
        if piece == "(":
            outer.append(cwd)
        elif piece == ")":
            cwd = outer.pop() if outer else cwd
        else:
            words = list(itertools.dropwhile(_BEFORE.fullmatch, piece.split()))
            words = [_with_home(word, env) for word in words]
            if words[:1] == ["cd"]:
                cwd = _changed(cwd, words[1] if len(words) > 1 else env.get("HOME", "/"))
            elif words:
                program, operands = posixpath.basename(words[0]), words[1:]
                yield from _read(program, operands, cwd)


def meets(pattern: str, path: str) -> bool:
    """Whether a path with wildcards may be another path, or one above or below it."""
    parts = zip(_parts(pattern), _parts(path), strict=False)
    return all(_matches(wanted, part) for wanted, part in parts)


def _plain(text: str, env: Mapping[str, str]) -> str:
    """A text without quotes and redirections, with the values of variables."""

    def value(found: re.Match[str]) -> str:
        name = next(filter(None, found.groups()))
        known = env.get(name, found[0])
        return known if len(known) <= _LONGEST else found[0]

    plain = _HERE.sub(".", _QUOTING.sub("", text))
    return _REDIRECTION.sub(" ", _VARIABLE.sub(value, plain))


def _with_home(word: str, env: Mapping[str, str]) -> str:
    if word == "~" or word.startswith("~/"):
        return env.get("HOME", "~") + word[1:]
    return word


def _read(program: str, words: list[str], cwd: str) -> Iterable[str]:
    match program:
        case "cp" | "mv" | "rsync":
            found = [word for word in words if not word.startswith("-")]
            last_too = program != "rsync" and any(_is_target(word) for word in words)
            return _all(cwd, found if last_too else found[:-1])
        case "zip":
            return _all(cwd, (word for word in words if not word.startswith("-")))
        case "du":
            return _all(cwd, [word for word in words if not word.startswith("-")] or ["."])
        case "find":
            return _all(cwd, _searched(words))
        case "tar":
            return _packed(words, cwd)
        case _:
            return ()


def _is_target(word: str) -> bool:
    return word == "-t" or word.startswith("--target-directory")


def _searched(words: list[str]) -> list[str]:
    """What `find` begins with: all before its first condition."""
    found = []
    for word in words:
        if word in _SEARCH_OPTIONS:
            continue
        if word.startswith(("-", "!", "\\")):
            break
        found.append(word)
    return found or ["."]


def _packed(words: list[str], cwd: str) -> Iterator[str]:
    """What `tar` packs, if it does not unpack."""
    bundle = words[:1] if words and not words[0].startswith("-") else []
    options = [*bundle, *(word for word in words if word.startswith("-"))]
    if not any(map(_makes_archive, options)):
        return
    places = iter(words)
    for word in places:
        if word.startswith("--directory="):
            cwd = _changed(cwd, word.partition("=")[2])
        elif word.startswith("-") or word in bundle:
            if _CHANGES_DIRECTORY.fullmatch(word):
                cwd = _changed(cwd, next(places, "."))
        else:
            yield _joined(cwd, word)


def _makes_archive(option: str) -> bool:
    if _BUNDLE.fullmatch(option):
        return not {"c", "r", "u"}.isdisjoint(option)
    return option in _MAKES_ARCHIVE


def _all(cwd: str, words: Iterable[str]) -> Iterator[str]:
    return (_joined(cwd, word) for word in words)


def _changed(cwd: str, path: str) -> str:
    """The directory that a command changes to, unless it could not."""
    there = _joined(cwd, path)
    return there if len(there) <= _LONGEST else cwd


def _joined(cwd: str, path: str) -> str:
    return posixpath.normpath("/" + posixpath.join(cwd, path).lstrip("/"))


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


def _matches(pattern: str, part: str) -> bool:
    if pattern == part:
        return True
    # A wildcard finds no hidden names.
    if part.startswith(".") and not pattern.startswith((".", "[", "\\")):
        return False
    return fnmatch.fnmatchcase(part, pattern)
