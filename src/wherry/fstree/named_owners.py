# SPDX-License-Identifier: Apache-2.0
"""Owners of chosen files: `USER[:GROUP]`, numbers or names of the base's passwd and group files.

As with `COPY --chown` a number alone is user and group at once, and a name brings its primary group
along. Unlike there a name that the base does not know is an error, not root.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from wherry.errors import UsageError, near
from wherry.fstree.owners import GROUP, PASSWD
from wherry.fstree.tree import LAST_ID

ReadFile = Callable[[str], bytes | None]
"""The content of a small file of the base by its path, None where it is missing."""

_LONGEST_ID: Final = 10


def owner_ids(text: str, read: ReadFile) -> tuple[int, int]:
    """The uid and gid of `text`; `read` is called only where a name asks for it.

    Raises `UsageError` for a name that is not there and a number that is no id.
    """
    user, colon, group = text.partition(":")
    if not user or (colon and not group):
        raise UsageError(
            f"{text!r} is no owner",
            why="an owner is `user` or `user:group`",
            hint="write names of the base, or numbers, such as 65532:65532",
        )
    uid = _number(user, text)
    gid = _number(group, text) if group else uid
    if uid is None:
        fields = _row(user, PASSWD, "user", read)
        uid = _field(fields, 2, PASSWD)
        gid = _field(fields, 3, PASSWD) if not group else gid
    if gid is None:
        gid = _field(_row(group, GROUP, "group", read), 2, GROUP)
    return uid, gid


def _number(text: str, owner: str) -> int | None:
    """An id, or None for a name."""
    if not (text.isascii() and text.isdigit()):
        return None
    if len(text) > _LONGEST_ID or int(text) > LAST_ID:
        raise UsageError(
            f"{owner!r} is no owner", why=f"ids are 0 to {LAST_ID}", hint="choose another id"
        )
    return int(text)


def _row(name: str, path: str, noun: str, read: ReadFile) -> list[bytes]:
    data = read(path)
    rows = [line.strip().split(b":") for line in (data or b"").split(b"\n")]
    wanted = name.encode("utf-8", "surrogateescape")
    for row in rows:
        if row[0] == wanted:
            return row
    names = tuple(row[0].decode("utf-8", "replace") for row in rows if row[0])
    why = f"/{path} has no such name" if data is not None else f"the base has no /{path}"
    hint = near(name, names) or f"give the {noun} as a number, such as 65532"
    raise UsageError(f"the base knows no {noun} {name!r}", why=why, hint=hint)


def _field(row: list[bytes], index: int, path: str) -> int:
    text = row[index].decode("ascii", "replace") if index < len(row) else ""
    if not (text.isascii() and text.isdigit()) or len(text) > _LONGEST_ID or int(text) > LAST_ID:
        raise UsageError(
            f"/{path} of the base is damaged",
            why=f"the line of {row[0].decode('utf-8', 'replace')!r} holds no id",
            hint="give the owner as numbers, such as 65532:65532",
        )
    return int(text)
