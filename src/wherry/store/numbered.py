# SPDX-License-Identifier: Apache-2.0
"""Directories with short names, each spoken of by a row of state.db with the same number.

A name is a number in base 36, for overlayfs takes the names of all its layers on one page. The
database counts upwards and never back, so a name means one directory for ever. A directory gets its
name by one rename, inside the transaction that writes its row: a process that is killed leaves
either a staged directory or one without a row, and both are garbage to everybody else.
"""

from __future__ import annotations

import errno
import os
from typing import Final, NamedTuple

from wherry.store.database import Database, Value
from wherry.store.errors import machine_error
from wherry.store.session import Session

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST)


def name_of(number: int) -> str:
    """The name of directory `number`, which is not negative."""
    text = ""
    while True:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
        if not number:
            return text


def number_of(name: str) -> int | None:
    """The number that `name` stands for, or None where it is no such name."""
    if not name or name.strip(_DIGITS) or len(name) > 12 or (name[0] == "0" and name != "0"):
        return None
    return int(name, 36)


def numbers_in(directory: str) -> tuple[int, ...]:
    """The numbers of all directories there are, in order."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return ()
    found = (number_of(name) for name in names)
    return tuple(sorted(number for number in found if number is not None))


class Table(NamedTuple):
    """A table of state.db and its directory in the store, both of one name.

    `insert` takes the number, or None for the next one, and then the other columns.
    """

    name: str
    insert: str
    delete: str
    find: str


SNAPSHOTS: Final = Table(
    "snapshots",
    "INSERT INTO snapshots (id, key, size, boot) VALUES (?, ?, ?, ?)",
    "DELETE FROM snapshots WHERE id = ?",
    "SELECT 1 FROM snapshots WHERE id = ?",
)
MOUNTS: Final = Table(
    "mounts",
    "INSERT INTO mounts (id, key) VALUES (?, ?)",
    "DELETE FROM mounts WHERE id = ?",
    "SELECT 1 FROM mounts WHERE id = ?",
)


class NumberedTrees:
    """The rows of a table and their directories."""

    def __init__(self, session: Session, database: Database, table: Table) -> None:
        self._database = database
        self._table = table
        self.directory = f"{session.root}/{table.name}"

    def path(self, number: int) -> str:
        """Where directory `number` is, if it is there."""
        return f"{self.directory}/{name_of(number)}"

    def forget(self, number: int) -> None:
        """Delete the row; a directory that still has it is garbage then."""
        self._database.rows(self._table.delete, number)

    def place(self, staged: str, *fields: Value) -> int:
        """Write a row and give the staged directory, which is not empty, its name; the number.

        For the holder of the gate and of a transaction. Raises `MachineError`.
        """
        try:
            number = self._inserted(None, fields)
            if not self._renamed(staged, number):
                # The database was begun anew, or a power failure took its last rows.
                self.forget(number)
                number = self._inserted(max(numbers_in(self.directory)) + 1, fields)
                if not self._renamed(staged, number):
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        except OSError as error:
            raise machine_error(error, self.directory) from error
        return number

    def _inserted(self, number: int | None, fields: tuple[Value, ...]) -> int:
        self._database.rows(self._table.insert, number, *fields)
        row = self._database.row("SELECT last_insert_rowid()")
        return int(str(row[0])) if row else 0

    def _renamed(self, staged: str, number: int) -> bool:
        """Whether the directory has its name now; False where another has it."""
        try:
            os.rename(staged, self.path(number))
        except FileNotFoundError:
            os.makedirs(self.directory, 0o700, exist_ok=True)
            os.rename(staged, self.path(number))
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
            return False
        return True
