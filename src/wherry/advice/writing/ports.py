# SPDX-License-Identifier: Apache-2.0
"""The ports that a program listens on, where its sources say them plainly.

Calls that listen are looked for in the main module's own packages; the address has to be a text, or
a name with one value (`wherry.advice.writing.expressions`). What cannot be read is told of, never
guessed. An address of this machine alone (127.0.0.1) is no port of an image.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.advice.writing.expressions import Place, Unread, Values, closing, split

if TYPE_CHECKING:
    from wherry.advice.reading.go_source import GoFile


class Listening(NamedTuple):
    """Ports, sorted, and the calls (`http.ListenAndServe in main.go`) whose address is not read."""

    ports: tuple[int, ...] = ()
    unread: tuple[str, ...] = ()


class _Call(NamedTuple):
    """A function of a package: which of its words is the address."""

    path: str
    name: str
    word: int


_CALLS: Final = (
    _Call("net/http", "ListenAndServe", 0),
    _Call("net/http", "ListenAndServeTLS", 0),
    _Call("net", "Listen", 1),
)
# Servers that have the address as a method's only word, by their module.
_METHODS: Final = (
    ("github.com/gin-gonic/gin", "Run"), ("github.com/labstack/echo", "Start"),
    ("github.com/gofiber/fiber", "Listen"),
)  # fmt: skip
_SERVER: Final = re.compile(r"\bServer\s*\{")
_ADDRESS: Final = re.compile(r"(?:0\.0\.0\.0|\[?::\]?)?:([0-9]{1,5})")
_HERE: Final = re.compile(r"(?:localhost|127\.[0-9.]+|\[?::1\]?):[0-9]*")
_NAMED: Final = {":http": 80, ":https": 443}
_HIGHEST: Final = 65535


def ports_of(packages: Iterable[tuple[GoFile, ...]]) -> Listening:
    """What the files of these packages, a tuple each, listen on."""
    ports: set[int] = set()
    unread: dict[str, None] = {}
    for files in packages:
        values = Values(files)
        for file in files:
            for shown, expression, at in _addresses(file):
                try:
                    found = _port(values.text_of(expression, Place(file, at)))
                except Unread:
                    unread[f"{shown} in {file.name}"] = None
                    continue
                if found:
                    ports.add(found)
    return Listening(tuple(sorted(ports)), tuple(unread))


def _port(address: str) -> int:
    """A port for others; 0 for one of this machine alone. Raises `Unread`."""
    if found := _ADDRESS.fullmatch(address):
        number = int(found[1])
        # Port 0 is any that is free.
        return number if number <= _HIGHEST else 0
    if address in _NAMED:
        return _NAMED[address]
    if _HERE.fullmatch(address):
        return 0
    raise Unread


def _addresses(file: GoFile) -> Iterable[tuple[str, str, int]]:
    """The calls that listen as they are shown, the expression of each address, its place."""
    for call in _CALLS:
        if not file.uses(call.path, call.name):
            continue
        front = call.path.rpartition("/")[2]
        for words, at in _words(file, rf"\b{_local(file, call.path)}\s*\.\s*{call.name}\s*\("):
            if call.path == "net" and words and '"tcp' not in words[0]:
                continue
            if len(words) > call.word:
                yield f"{front}.{call.name}", words[call.word], at
    if file.uses("net/http", "Server"):
        yield from _servers(file)
    for module, name in _METHODS:
        if any(path == module or path.startswith(f"{module}/v") for _, path in file.imports):
            for words, at in _words(file, rf"\.\s*{name}\s*\("):
                if len(words) == 1:
                    yield f"{module.rpartition('/')[2]}'s {name}", words[0], at


def _servers(file: GoFile) -> Iterable[tuple[str, str, int]]:
    for found in _SERVER.finditer(file.code):
        end = closing(file.code, found.end() - 1) - 1
        for field in split(file.text[found.end() : end], ","):
            name, colon, value = field.partition(":")
            if colon and name.strip() == "Addr":
                yield "http.Server", value, found.end()


def _local(file: GoFile, path: str) -> str:
    names = (name for name, imported in file.imports if imported == path)
    return next(names, "") or path.rpartition("/")[2]


def _words(file: GoFile, pattern: str) -> Iterable[tuple[list[str], int]]:
    for found in re.finditer(pattern, file.code):
        end = closing(file.code, found.end() - 1) - 1
        yield split(file.text[found.end() : end], ","), found.end()
