# SPDX-License-Identifier: Apache-2.0
"""The table of a pack: what is in it, small enough to be read before the pack itself.

A table is zstd-compressed JSON. It comes from a registry that others may write to, so every number
in it is checked against limits before anything is allocated by it.

JSON form, version 1:
  {"v": 1, "kind": "build", "modules", "zips" or "indexes",
   "contents": [[sha256 hex, size], ...]     in the order of the pack
   "frames": [[compressed size, number of contents], ...]
   "rows": [[key, number of its content, extra, name, cost], ...]}
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from wherry.errors import NetworkError

KINDS = ("build", "modules", "zips", "indexes")
TABLE_LIMIT = 32 << 20
"""The most bytes of JSON that a table may have."""
_MOST_ROWS = 1_000_000
# Empty lists and objects take twenty times of their text in memory; real ones have a name in them.
_LEAST_IN_LIST = 16
CONTENT_LIMIT = 256 << 20
"""The most bytes that one content may have."""
_MOST_BYTES = 64 << 30
_HEX = re.compile(r"[0-9a-f]{64}")


class BadPack(NetworkError):
    """A pack or table is broken, truncated, foreign or made to harm: it is not used."""


class Content(NamedTuple):
    """Bytes in a pack: their sha256 as hex, and how many they are."""

    digest: str
    size: int


class Frame(NamedTuple):
    """One zstd frame of a pack: its size there, and the contents in it, one after the other."""

    size: int
    contents: tuple[Content, ...]

    @property
    def content(self) -> int:
        """The bytes of its contents."""
        return sum(content.size for content in self.contents)


class Row(NamedTuple):
    """One thing that a pack holds.

    `key` is an action's id as hex (`build`, `indexes`) or a path below GOMODCACHE; `content` is
    the sha256 of its bytes as hex and `size` their number. `extra` is the entry's time in
    nanoseconds (`build`, `indexes`), or 1 for an executable file (`modules`). `name` is the file's
    name where the output of a build entry is a directory with one file.
    """

    key: str
    content: str
    size: int
    extra: int = 0
    name: str = ""
    cost: int = 0


class Table(NamedTuple):
    """All rows of a pack, and the frames that hold their contents."""

    kind: str
    rows: tuple[Row, ...]
    frames: tuple[Frame, ...]

    @property
    def size(self) -> int:
        """The bytes of all contents, each counted once."""
        return sum(frame.content for frame in self.frames)


def encode_table(table: Table) -> bytes:
    """The JSON of a table, zstd-compressed."""
    import zstandard  # noqa: PLC0415 - a compiled library

    contents = [content for frame in table.frames for content in frame.contents]
    places = {content.digest: number for number, content in enumerate(contents)}
    value = {
        "v": 1,
        "kind": table.kind,
        "contents": contents,
        "frames": [[frame.size, len(frame.contents)] for frame in table.frames],
        "rows": [
            [row.key, places[row.content], row.extra, row.name, row.cost] for row in table.rows
        ],
    }
    text = json.dumps(value, separators=(",", ":")).encode("ascii")
    return bytes(zstandard.ZstdCompressor(level=9, write_checksum=True).compress(text))


def read_table(data: bytes) -> Table:
    """A table from its bytes; raises `BadPack` for everything that is not one."""
    try:
        return _table(json.loads(_text(data)))
    except BadPack:
        raise
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError) as error:
        raise BadPack("the table of a pack is malformed", why=str(error)) from error


def _text(data: bytes) -> bytes:
    import zstandard  # noqa: PLC0415 - a compiled library

    try:
        with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(data) as reader:
            text: bytes = reader.read(TABLE_LIMIT + 1)
    except zstandard.ZstdError as error:
        raise BadPack("the table of a pack cannot be decompressed", why=str(error)) from error
    if len(text) > TABLE_LIMIT:
        raise BadPack("the table of a pack is too large", why=f"more than {TABLE_LIMIT} bytes")
    if (text.count(b"[") + text.count(b"{")) * _LEAST_IN_LIST > len(text) + 1000:
        raise BadPack("the table of a pack is malformed", why="it holds nothing but lists")
    return text


def _table(value: Any) -> Table:  # noqa: ANN401 - a stranger's JSON, checked here
    if value["v"] != 1 or value["kind"] not in KINDS:
        raise BadPack("the table of a pack is of another kind",
                      why=f"version {value['v']!r}, kind {value['kind']!r}")  # fmt: skip
    contents = [_content(*item) for item in value["contents"]]
    if len(contents) > _MOST_ROWS or len(value["rows"]) > _MOST_ROWS:
        raise BadPack("a pack has too many entries", why=f"more than {_MOST_ROWS}")
    if sum(content.size for content in contents) > _MOST_BYTES:
        raise BadPack("a pack is too large", why=f"more than {_MOST_BYTES} bytes")
    if len({content.digest for content in contents}) != len(contents):
        raise BadPack("a pack holds a content twice")
    frames: list[Frame] = []
    begin = 0
    for size, count in value["frames"]:
        if _count(count) == 0:
            raise BadPack("a frame of a pack is empty")
        frame = Frame(_count(size), tuple(contents[begin : begin + count]))
        if frame.content > CONTENT_LIMIT:
            # Whoever reads a frame holds it in memory.
            raise BadPack("a frame of a pack is too large", why=f"{frame.content} bytes")
        frames.append(frame)
        begin += count
    if begin != len(contents):
        raise BadPack("a pack's frames and contents do not match")
    rows = tuple(_row(item, contents) for item in value["rows"])
    if len({row.key for row in rows}) != len(rows):
        raise BadPack("a pack names an entry twice")
    return Table(value["kind"], rows, tuple(frames))


def _row(item: Any, contents: list[Content]) -> Row:  # noqa: ANN401 - as above
    key, number, extra, name, cost = item
    content = contents[_count(number)]
    texts = _text_of(key), _text_of(name)
    return Row(texts[0], content.digest, content.size, _count(extra), texts[1], _count(cost))


def _content(digest: Any, size: Any) -> Content:  # noqa: ANN401 - as above
    if not isinstance(digest, str) or not _HEX.fullmatch(digest):
        raise BadPack("a pack names a content that is no sha256", why=repr(digest)[:80])
    if _count(size) > CONTENT_LIMIT:
        raise BadPack("a pack holds a content that is too large", why=f"{size} bytes")
    return Content(digest, size)


def _text_of(value: Any) -> str:  # noqa: ANN401 - as above
    if not isinstance(value, str):
        raise BadPack("the table of a pack is malformed", why=f"not a text: {value!r}"[:80])
    return value


def _count(value: Any) -> int:  # noqa: ANN401 - as above
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
        raise BadPack("the table of a pack is malformed", why=f"not a number: {value!r}"[:80])
    return value
