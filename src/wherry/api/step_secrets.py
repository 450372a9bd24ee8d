# SPDX-License-Identifier: Apache-2.0
"""`--secret`: where a secret of RUN comes from, and its value once a step asks for it.

The forms and their meaning are those of `docker buildx build --secret`. What is wrong with a place
is told before the build; the value is read when it is first asked for, and held in memory alone. No
text of an error and no `repr` holds a value, nor a field that might be one by mistake.
"""

from __future__ import annotations

import csv
import os
import stat
import threading
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from wherry.errors import UsageError, near

# BuildKit's limit ("MaxSecretSize"), in bytes.
_LARGEST: Final = 500 << 10
_KEYS: Final = ("id", "src", "source", "env", "type")
_TYPES: Final = ("file", "env")
_HINT: Final = "write it as --secret id=token,src=FILE or --secret id=token,env=VARIABLE"


class Secret:
    """A secret's name and its value; thread-safe, read once."""

    __slots__ = ("_lock", "_read", "_value", "id")

    def __init__(self, id: str, read: Callable[[], bytes]) -> None:
        self.id = id
        self._read = read
        self._lock = threading.Lock()
        self._value: bytes | None = None

    def value(self) -> bytes:
        """The value; raises `UsageError` where its file cannot be read, or holds too much."""
        with self._lock:
            if self._value is None:
                self._value = self._read()
            return self._value

    def __repr__(self) -> str:
        """Without the value."""
        return f"Secret({self.id!r})"


class _Place(NamedTuple):
    """What one `--secret` says; empty where it does not."""

    id: str
    file: str
    variable: str
    type: str


def read_secret(text: str, cwd: str, env: Mapping[str, str]) -> tuple[Secret, str]:
    """The secret that a `--secret` names, and a warning or an empty text.

    Paths are seen from `cwd`. Without a file or variable it is the variable of its own name, or if
    that is not set the file. Raises `UsageError`.
    """
    place = _place(text)
    variable = place.variable
    if not variable and not place.file and place.type != "file":
        variable = place.id if place.type == "env" or place.id in env else ""
    if variable:
        return _of_variable(place.id, variable, env)
    path = os.path.join(cwd, place.file or place.id)
    _check_file(place, path)
    return Secret(place.id, lambda: _content(place.id, path)), ""


def _place(text: str) -> _Place:
    given: dict[str, str] = {}
    for number, field in enumerate(_fields(text), 1):
        key, equals, value = field.partition("=")
        key = key.strip().lower()
        if not equals:
            # The field itself is not shown: it may be the secret.
            raise UsageError(f"field {number} of a --secret is not KEY=VALUE", hint=_HINT)
        if key not in _KEYS:
            hint = near(key, _KEYS) or f"known are: {', '.join(_KEYS)}"
            raise UsageError(f"--secret does not know {key!r}", hint=hint)
        given["src" if key == "source" else key] = value
    name, kind = given.get("id", ""), given.get("type", "")
    if not name:
        raise UsageError("a --secret has no id", hint=_HINT)
    if kind and kind not in _TYPES:
        hint = near(kind, _TYPES) or "type is file or env"
        raise UsageError(f"--secret id={name}: no type is called {kind!r}", hint=hint)
    return _checked(_Place(name, given.get("src", ""), given.get("env", ""), kind))


def _checked(place: _Place) -> _Place:
    """The place, with `src` of type `env` as the variable that it is."""
    if place.file and place.variable:
        raise UsageError(f"--secret id={place.id} names a file and a variable",
                         hint="leave one of src= and env= out")  # fmt: skip
    if place.variable and place.type == "file":
        raise UsageError(f"--secret id={place.id}: type=file has no env=",
                         hint="name the file with src=, or leave type= out")  # fmt: skip
    if place.type == "env" and not place.variable:
        return place._replace(variable=place.file, file="")
    return place


def _fields(text: str) -> list[str]:
    try:
        records = list(csv.reader([text], strict=True))
    except csv.Error:
        raise UsageError("a --secret is not one CSV record", hint=_HINT) from None
    if len(records) != 1 or not any(records[0]):
        raise UsageError("a --secret is empty", hint=_HINT)
    return records[0]


def _of_variable(name: str, variable: str, env: Mapping[str, str]) -> tuple[Secret, str]:
    value = os.fsencode(env.get(variable, ""))
    _check_size(name, len(value))
    warning = ""
    if variable not in env:
        # As buildx has it, which says nothing.
        warning = f"--secret id={name}: the variable {variable} is not set: the secret is empty"
    return Secret(name, lambda: value), warning


def _check_file(place: _Place, path: str) -> None:
    """Raise `UsageError` for a file that certainly cannot be read later."""
    what = f"--secret id={place.id}"
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise UsageError(f"{what}: {path} is a directory", hint="name a file")
        if stat.S_ISREG(status.st_mode):
            # A pipe is opened once, when its content is asked for.
            with open(path, "rb"):
                _check_size(place.id, status.st_size)
    except (FileNotFoundError, NotADirectoryError):
        raise _missing(place, path) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        hint = "name a file that you may read"
        raise UsageError(f"{what}: {path} cannot be read", why=why, hint=hint) from None


def _missing(place: _Place, path: str) -> UsageError:
    what = f"--secret id={place.id}"
    if not place.file and not place.type:
        return UsageError(
            f"{what}: there is no variable {place.id} and no file {path}",
            hint="name one: src=FILE or env=VARIABLE",
        )
    hint = tilde_hint(place.file) or near(os.path.basename(path), _names_beside(path))
    return UsageError(f"{what}: there is no file {path}", hint=hint or "check its name")


def tilde_hint(path: str) -> str:
    """What to do about a `~` that the shell left as it is, which it does in the middle of words."""
    return "the shell leaves ~ alone here: write $HOME" if path.startswith("~") else ""


def _names_beside(path: str) -> tuple[str, ...]:
    try:
        return tuple(os.listdir(os.path.dirname(path)))
    except OSError:
        return ()


def _content(name: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            value = file.read(_LARGEST + 1)
    except OSError as error:
        raise UsageError(f"the secret {name} cannot be read", why=error.strerror or "",
                         hint=f"check the file {path}") from None  # fmt: skip
    _check_size(name, len(value))
    return value


def _check_size(name: str, size: int) -> None:
    if size > _LARGEST:
        raise UsageError(f"the secret {name} is larger than {_LARGEST >> 10} KiB",
                         hint="give RUN large files by --build-context")  # fmt: skip
