# SPDX-License-Identifier: Apache-2.0
"""Who the program runs as: the image's user looked up in the image's own passwd and group files.

The rules are those of Docker and runc: a name must be there, a number need not; without a group
the passwd entry's group counts, or 0; supplementary groups count only where no group was named.
"""

from __future__ import annotations

from typing import NamedTuple

from wherry.sandbox.request import RunError

_LARGEST = (1 << 31) - 1


class User(NamedTuple):
    """Numeric ids, supplementary groups and the home directory."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str = "/"

    @property
    def ids(self) -> frozenset[int]:
        """Every id that has to exist where the program runs."""
        return frozenset((self.uid, self.gid, *self.groups))


class _Account(NamedTuple):
    name: str
    uid: int
    gid: int
    home: str


class _Group(NamedTuple):
    name: str
    gid: int
    members: tuple[str, ...]


def find_user(text: str, passwd: str, group: str) -> User:
    """The user that `UID|NAME[:GID|GROUP]` means; empty means 0. Raises `RunError`."""
    wanted, _, wanted_group = text.partition(":")
    account = _find_account(wanted or "0", _accounts(passwd))
    groups = _groups(group)
    if wanted_group:
        return User(account.uid, _find_gid(wanted_group, groups), (), account.home)
    member_of = tuple(item.gid for item in groups if account.name and account.name in item.members)
    return User(account.uid, account.gid, member_of, account.home)


def _find_account(wanted: str, accounts: tuple[_Account, ...]) -> _Account:
    # A number is one, also where a name looks the same.
    uid = _number(wanted)
    for account in accounts:
        if uid is None and account.name == wanted:
            return account
    if uid is None:
        raise RunError(
            f"unable to find user {wanted}",
            why="the image's /etc/passwd has no such name",
            hint="name the user by number, for example -u 65532:65532",
        )
    for account in accounts:
        if account.uid == uid:
            return account
    return _Account("", uid, 0, "/")


def _find_gid(wanted: str, groups: tuple[_Group, ...]) -> int:
    gid = _number(wanted)
    for item in groups:
        if gid is None and item.name == wanted:
            return item.gid
    if gid is None:
        raise RunError(
            f"unable to find group {wanted}",
            why="the image's /etc/group has no such name",
            hint="name the group by number",
        )
    return gid


def _number(text: str) -> int | None:
    if not _is_number(text):
        return None
    if int(text) > _LARGEST:
        raise RunError(f"user and group ids are 0 to {_LARGEST}: {text}", hint="choose another id")
    return int(text)


def _is_number(text: str) -> bool:
    # Longer ones are no ids, and Python would refuse to read thousands of digits.
    return text.isascii() and text.isdigit() and len(text) <= 20


def _accounts(text: str) -> tuple[_Account, ...]:
    # What a line lacks at its end is 0 or empty, as for moby.
    rows = ([*line.split(":"), "", "", "", ""] for line in text.splitlines())
    return tuple(
        _Account(row[0], int(row[2]), int(row[3] or 0), row[5] or "/")
        for row in rows
        if _is_number(row[2]) and (not row[3] or _is_number(row[3]))
    )


def _groups(text: str) -> tuple[_Group, ...]:
    rows = (line.split(":") for line in text.splitlines())
    return tuple(
        _Group(row[0], int(row[2]), tuple(name for name in row[3].split(",") if name))
        for row in rows
        if len(row) >= 4 and _is_number(row[2])
    )
