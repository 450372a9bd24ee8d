# SPDX-License-Identifier: Apache-2.0
"""Go's build information inside a binary: what `go version -m` prints.

Sources: the documentation of Go's packages debug/buildinfo and runtime/debug (BuildInfo). A
32-byte header, aligned to 16, lies in the section .go.buildinfo: 14 bytes of magic, the size of a
pointer, flags. Since Go 1.18 two strings follow, each with its length as a varint in front; before,
the header holds the addresses of two Go string headers.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

MAGIC = b"\xff Go buildinf:"
ALIGNMENT = 16
HEADER_SIZE = 32
_BIG_ENDIAN, _INLINE = 1, 2
# Go puts 16 bytes of sentinel before and after the module text.
_SENTINEL = 16

# Reads up to (address, size) bytes of the loaded program; shorter where a segment ends.
ReadMemory = Callable[[int, int], bytes]


class BuildModule(NamedTuple):
    """A module linked into a binary; `replaced_by` is what stood in for it."""

    path: str
    version: str
    sum: str = ""
    replaced_by: BuildModule | None = None


class BuildInfo(NamedTuple):
    """What a binary was made from; `settings` are flags and variables such as GOARCH."""

    go_version: str
    path: str = ""
    main: BuildModule | None = None
    modules: tuple[BuildModule, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()

    def setting(self, name: str) -> str:
        """A setting's value, or the empty string."""
        return dict(self.settings).get(name, "")


def decode_build_info(read: ReadMemory, address: int) -> BuildInfo | None:
    """The build information whose header lies at `address`; None if it is damaged."""
    header = read(address, HEADER_SIZE)
    if len(header) < HEADER_SIZE or not header.startswith(MAGIC):
        return None
    if header[15] & _INLINE:
        version, after = _inline_string(read, address + HEADER_SIZE)
        text, _ = _inline_string(read, after)
    else:
        version, text = _pointed_strings(read, header)
    if not version or not version.isascii():
        return None
    return parse_module_text(version.decode(), _without_sentinels(text))


def parse_module_text(go_version: str, text: str) -> BuildInfo:
    """The tab-separated lines that Go embeds, as values; unknown lines are passed over."""
    info = BuildInfo(go_version)
    modules: list[BuildModule] = []
    settings: list[tuple[str, str]] = []
    for line in text.splitlines():
        kind, _, rest = line.partition("\t")
        if kind == "path":
            info = info._replace(path=rest)
        elif kind == "mod":
            info = info._replace(main=_module(rest))
        elif kind == "dep":
            modules.append(_module(rest))
        elif kind == "=>" and modules:
            modules[-1] = modules[-1]._replace(replaced_by=_module(rest))
        elif kind == "=>" and info.main:
            info = info._replace(main=info.main._replace(replaced_by=_module(rest)))
        elif kind == "build":
            settings.append(_setting(rest))
    return info._replace(modules=tuple(modules), settings=tuple(settings))


def _module(columns: str) -> BuildModule:
    path, version, digest = [*columns.split("\t"), "", ""][:3]
    return BuildModule(path, version, digest)


def _setting(text: str) -> tuple[str, str]:
    if text.startswith(('"', "`")):
        end = text.find(text[0] + "=", 1) + 1
        return _unquoted(text[:end]), _unquoted(text[end + 1 :])
    name, _, value = text.partition("=")
    return name, _unquoted(value)


def _unquoted(text: str) -> str:
    if len(text) < 2 or text[0] not in '"`' or text[-1] != text[0]:
        return text
    if text[0] == "`" or "\\" not in text:
        return text[1:-1]
    import ast  # noqa: PLC0415 - only for the rare escaped value

    try:
        return str(ast.literal_eval(text))
    except (SyntaxError, ValueError):
        return text[1:-1]


def _without_sentinels(text: bytes) -> str:
    if len(text) <= 2 * _SENTINEL or text[-_SENTINEL - 1 : -_SENTINEL] != b"\n":
        return ""
    return text[_SENTINEL:-_SENTINEL].decode("utf-8", "replace")


def _inline_string(read: ReadMemory, address: int) -> tuple[bytes, int]:
    size = shift = used = 0
    for byte in read(address, 10):
        used += 1
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    value = read(address + used, size)
    return (value, address + used + size) if used and len(value) == size else (b"", address)


def _pointed_strings(read: ReadMemory, header: bytes) -> tuple[bytes, bytes]:
    size = header[14]
    if size not in (4, 8):
        return b"", b""
    pair = (">" if header[15] & _BIG_ENDIAN else "<") + ("II" if size == 4 else "QQ")
    width = 2 * size

    def string_at(address: int) -> bytes:
        place = read(address, width)
        if len(place) < width:
            return b""
        start, length = struct.unpack(pair, place)
        value = read(start, length)
        return value if len(value) == length else b""

    version, text = struct.unpack(pair, header[16 : 16 + width])
    return string_at(version), string_at(text)
