# SPDX-License-Identifier: Apache-2.0
"""Owners of `--chown`: numbers, or names looked up in the passwd and group files of an image.

The rules are BuildKit's. A number without a group is user and group at once; a user by name brings
the primary group along. A name that the image does not know is root: nothing is refused. passwd
has no comments (`#joe` is a name), group does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from wherry.errors import UsageError

PASSWD: Final = "etc/passwd"  # noqa: S105 - the name of a file
GROUP: Final = "etc/group"
# The kernel's "leave it as it is", and what BuildKit passes on for -1.
UNCHANGED: Final = 2**32 - 1

_NUMBER = re.compile(r"[+-]?[0-9]+\Z", re.ASCII)
_LEAST, _MOST = -(2**31), 2**31 - 1
_LARGEST_FILE: Final = 10 << 20

ReadFile = Callable[[], bytes | None]
"""Gives a file's content, or None where it is missing."""


class _User(NamedTuple):
    uid: int
    gid: int


def find_owner(
    text: str, read_passwd: ReadFile | None, read_group: ReadFile | None
) -> tuple[int, int]:
    """The uid and gid for `USER[:GROUP]`; either may be `UNCHANGED`.

    The files are read only where a name asks for them. None instead of a reader says that there is
    no image to look into: then a name raises `UsageError`, and so does a file of over 10 MiB.
    """
    user_text, colon, group_text = text.partition(":")
    user = _number(user_text)
    found = _User(user or 0, user or 0)
    if user is None:
        found = _user_named(user_text, _read(read_passwd, text, PASSWD)) or found
    if not colon:
        return found
    group = _number(group_text)
    if group is None:
        group = _group_named(group_text, _read(read_group, text, GROUP))
    # A group that nobody knows leaves the user's own.
    return found.uid, found.gid if group is None else group


def _number(text: str) -> int | None:
    """The id that `text` is, as 32 bits; None for a name. Root and the empty text are 0."""
    if text in ("", "root"):
        return 0
    if not _NUMBER.match(text) or not _LEAST <= int(text[:24]) <= _MOST:
        return None
    return int(text) & UNCHANGED


def _read(reader: ReadFile | None, text: str, path: str) -> bytes:
    if reader is None:
        raise UsageError(
            f"cannot look up the owner {text!r}",
            why=f"the step stands on an empty root, in which there is no /{path}",
            hint="give the user and the group as numbers, such as --chown=1000:1000",
        )
    data = reader() or b""
    if len(data) > _LARGEST_FILE:
        raise UsageError(f"/{path} is larger than {_LARGEST_FILE >> 20} MiB")
    return data


def _user_named(name: str, passwd: bytes) -> _User | None:
    for fields in _rows(name, passwd):
        return _User(_field(fields, 2), _field(fields, 3))
    return None


def _group_named(name: str, group: bytes) -> int | None:
    if name.startswith("#"):
        return None
    for fields in _rows(name, group):
        return _field(fields, 2)
    return None


def _rows(name: str, table: bytes) -> Iterator[list[bytes]]:
    """The rows whose first field is `name`."""
    wanted = name.encode("utf-8", "surrogateescape")
    for line in table.split(b"\n"):
        fields = line.strip().split(b":")
        if fields[0] == wanted:
            yield fields


def _field(fields: list[bytes], index: int) -> int:
    """A number of a row; 0 where it is missing or none."""
    text = fields[index].decode("ascii", "replace") if index < len(fields) else ""
    return int(text) & UNCHANGED if _NUMBER.match(text) and len(text) < 20 else 0
