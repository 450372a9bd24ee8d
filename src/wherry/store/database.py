# SPDX-License-Identifier: Apache-2.0
"""state.db: one SQLite connection for each open store, used by one thread at a time.

What SQLite reports about the disk becomes a `MachineError`. A file that is no database is moved
aside and a new one begun: blobs stay, tags and records are lost, and the user is told.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from wherry.errors import MachineError
from wherry.store.errors import FULL_HINT, machine_error
from wherry.store.locks import acquire

if TYPE_CHECKING:
    from wherry.events import Event

Value = str | bytes | float | int | None
Row = tuple[Value, ...]

_BUSY_SECONDS = 60.0
_LOG_INDEX = 32 * 1024
_SCHEMA_VERSION = 3
_SOURCES = (
    "CREATE TABLE IF NOT EXISTS sources (digest TEXT NOT NULL, repository TEXT NOT NULL,"
    " noted_at REAL NOT NULL, used_at REAL NOT NULL, PRIMARY KEY (digest, repository))"
    " WITHOUT ROWID"
)
# Numbers are never used twice: a name that was read before a removal means nothing after it.
_TREES = (
    "CREATE TABLE IF NOT EXISTS snapshots (id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " key TEXT NOT NULL UNIQUE, size INTEGER NOT NULL, boot TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS unsettled ON snapshots (boot) WHERE boot <> ''",
    "CREATE TABLE IF NOT EXISTS mounts (id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS mount_keys ON mounts (key)",
)
_SCHEMA = (
    "CREATE TABLE records (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, key TEXT NOT NULL,"
    " value BLOB NOT NULL, used_at REAL NOT NULL, UNIQUE (kind, key))",
    "CREATE TABLE pins (record INTEGER NOT NULL REFERENCES records ON DELETE CASCADE,"
    " digest TEXT NOT NULL, PRIMARY KEY (record, digest)) WITHOUT ROWID",
    "CREATE TABLE tags (name TEXT PRIMARY KEY, digest TEXT NOT NULL, created_at REAL NOT NULL)",
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value REAL NOT NULL)",
    _SOURCES,
    *_TREES,
    f"PRAGMA user_version = {_SCHEMA_VERSION}",
)
# What a state.db of an earlier release lacks: additions only, so that such a release can go on.
_ADDITIONS = (_SOURCES, *_TREES, f"PRAGMA user_version = {_SCHEMA_VERSION}")
_DAMAGED = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
_REASONS = {
    sqlite3.SQLITE_FULL: "No space left on device",
    sqlite3.SQLITE_READONLY: "the file cannot be written",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened",
    sqlite3.SQLITE_IOERR: "the disk reports an error; it may be full",
    sqlite3.SQLITE_BUSY: f"another process has kept it locked for {_BUSY_SECONDS:.0f} s",
}


class Database:
    """Statements and transactions; safe for threads, and raises `MachineError` only."""

    def __init__(self, root: str, sink: Callable[[Event], None] | None) -> None:
        self._root = root
        self._path = f"{os.path.abspath(root)}/state.db"
        self._lock = threading.RLock()
        try:
            self._connection = self._open()
        except sqlite3.DatabaseError as error:
            if _code(error) not in _DAMAGED:
                raise self._told(error) from error
            self._begin_anew()
            if sink is not None:
                sink(_begun_anew(self._path))
            try:
                self._connection = self._open()
            except sqlite3.Error as again:
                raise self._told(again) from again

    def rows(self, statement: str, *values: Value) -> list[Row]:
        """Run one statement and give all its rows."""
        with self._lock:
            try:
                return self._connection.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise self._told(error) from error

    def row(self, statement: str, *values: Value) -> Row | None:
        """Run one statement and give its first row, if there is one."""
        found = self.rows(statement, *values)
        return found[0] if found else None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside becomes visible at once, or nothing does."""
        with self._lock:
            self.rows("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                # SQLite rolls back by itself where the disk is full.
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise
            try:
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise self._told(error) from error

    def shrink(self) -> None:
        """Give the room of deleted rows back to the disk."""
        self.rows("PRAGMA incremental_vacuum")
        self.rows("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the connection; the last one of all processes folds the log into the file."""
        with self._lock, suppress(sqlite3.Error):
            self._connection.close()

    def _open(self) -> sqlite3.Connection:
        # SQLite makes a missing database in several steps, and takes the log of one that it finds
        # empty for an old one, to be deleted: so none is opened but whole.
        if self._size() == 0:
            self._create()
        # Asked before the file is read: what turns out to be damaged is this one or an older one.
        self._inode = self._file_inode()
        try:
            connection = _connect(self._path)
        except sqlite3.Error:
            if self._size() > 0:
                raise
            # Another process is replacing it, and holds the lock meanwhile.
            self._create()
            connection = _connect(self._path)
        try:
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA foreign_keys = ON")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version < _SCHEMA_VERSION:
                for statement in _ADDITIONS:
                    connection.execute(statement)
        except BaseException:
            connection.close()
            raise
        return connection

    def _create(self) -> None:
        with self._creating():
            if self._size() == 0:
                self._put_new()

    def _put_new(self) -> None:
        """Make a database beside its place and rename it; the creation lock is held."""
        staged = f"{self._path}.new"
        for leftover in (staged, f"{staged}-wal", f"{staged}-shm", f"{staged}-journal"):
            with suppress(FileNotFoundError):
                os.unlink(leftover)
        # SQLite gives its log files the mode of the database, which it would create 0644.
        os.close(os.open(staged, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = _connect(staged)
        try:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute("COMMIT")
            # Last: closing a database with a log says nothing of a log that found no room.
            connection.execute("PRAGMA journal_mode = WAL")
        finally:
            connection.close()
        if os.path.exists(f"{staged}-wal"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), staged)
        # The log of a database that is gone would be replayed into the new one.
        for suffix in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.unlink(f"{self._path}{suffix}")
        os.replace(staged, self._path)

    def _begin_anew(self) -> None:
        """Replace the files, unless another process has done so already."""
        with self._creating():
            if self._inode == self._file_inode():
                # The database goes first: SQLite deletes a log that it finds without one.
                for suffix in ("", "-wal", "-shm"):
                    with suppress(FileNotFoundError):
                        os.replace(f"{self._path}{suffix}", f"{self._path}.damaged{suffix}")
                self._put_new()

    @contextmanager
    def _creating(self) -> Iterator[None]:
        """Nobody else creates or replaces the files meanwhile; what the disk says is told."""
        path = f"{self._root}/locks/database"
        try:
            fd = acquire(path)
        except OSError as error:
            raise machine_error(error, path) from error
        try:
            yield
        except OSError as error:
            raise machine_error(error, self._path) from error
        finally:
            os.close(fd)

    def _size(self) -> int:
        try:
            return os.stat(self._path).st_size
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise machine_error(error, self._path) from error

    def _file_inode(self) -> int:
        try:
            return os.stat(self._path).st_ino
        except OSError:
            return 0

    def _told(self, error: sqlite3.Error) -> MachineError:
        code = _code(error)
        if code in _DAMAGED:
            self._begin_anew()
            return MachineError(f"{self._path} is damaged", why=str(error),
                                hint="run the command again: it begins a new one; "
                                     "blobs are kept, tags and records are lost")  # fmt: skip
        hint = FULL_HINT
        if code == sqlite3.SQLITE_BUSY:
            hint = "end the process that holds it, or name another store with --store"
        elif code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
            hint = "check the rights there, or name another store with --store"
        why = _REASONS.get(code, str(error))
        if code == sqlite3.SQLITE_IOERR and self._is_disk_full():
            why = _REASONS[sqlite3.SQLITE_FULL]
        return MachineError(f"cannot use {self._path}", why=why, hint=hint)

    def _is_disk_full(self) -> bool:
        # SQLite says "disk I/O error" where there is no room for the index of its log.
        with suppress(OSError):
            room = os.statvfs(self._root)
            return room.f_bavail * room.f_frsize < _LOG_INDEX
        return False


def _connect(path: str) -> sqlite3.Connection:
    """Open a file that is there: a name without one would be made an empty database."""
    escaped = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return sqlite3.connect(
        f"file://{escaped}?mode=rw",
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        uri=True,
    )


def _code(error: sqlite3.Error) -> int:
    # The low byte is the primary code; the rest tells details. Absent for errors of the module.
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _begun_anew(path: str) -> Event:
    # Late, for speed: hardly any store is ever damaged.
    from wherry.events import Level, Message  # noqa: PLC0415

    text = f"{path} was no database and has been moved aside: tags and records are lost, blobs kept"
    return Message(Level.WARNING, text)
