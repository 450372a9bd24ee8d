# SPDX-License-Identifier: Apache-2.0
"""The process of a step: its user, variables and directory, by the rules of BuildKit.

Users are looked up in the root as it is when the step begins. A pair of numbers needs no files and
has no other groups; without any user, root needs none either. HOME is what the root's passwd file
has for the user's number, unless the step sets it.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import Final

from wherry.sandbox.hosts_files import certificate_variables
from wherry.sandbox.request import RunError
from wherry.sandbox.rootpath import read_bytes, resolve, told_inside
from wherry.sandbox.spec import DEFAULT_PATH, Program
from wherry.sandbox.step_spec import StepSpec
from wherry.sandbox.users import User, find_user

_LARGEST_ID: Final = (1 << 32) - 2
_LARGEST_FILE: Final = 10 << 20


def step_program(spec: StepSpec, root: str) -> Program:
    """The program of the step; raises `RunError` for an unknown user."""
    user = step_user(root, spec.user)
    return Program(
        args=spec.args,
        env=environment(spec, user.home),
        cwd=os.path.normpath("/" + spec.cwd.lstrip("/")),
        user=user,
        terminal=spec.terminal,
    )


def step_user(root: str, text: str) -> User:
    """The user that USER's `text` means in `root`. Raises `RunError`."""
    # Both, also where we need but one: a runtime reads them anyway.
    passwd, group = _text(root, "/etc/passwd"), _text(root, "/etc/group")
    user = _numbers(text)
    if user is None:
        user = _looked_up(text, passwd, group)
    groups = user.groups if user.gid in user.groups else (user.gid, *user.groups)
    return user._replace(groups=groups, home=_home(passwd, user.uid))


def _text(root: str, path: str) -> str:
    with suppress(OSError):
        if stat.S_ISFIFO(os.stat(resolve(root, path)).st_mode):
            # A runtime would wait for a writer.
            raise RunError(f"cannot find out who runs the step: {path} is a named pipe")
    return read_bytes(root, path, _LARGEST_FILE).decode("utf-8", "replace")


def _looked_up(text: str, passwd: str, group: str) -> User:
    try:
        return find_user(text, passwd, group)
    except RunError:
        # Files that nobody can read matter only to who asks for a user.
        if text:
            raise
        return User(0, 0)


def environment(spec: StepSpec, home: str) -> tuple[str, ...]:
    """The step's variables and what is added to them; a name has its last value.

    Raises `RunError` for a secret that no variable can hold.
    """
    given = (item.partition("=")[::2] for item in spec.env if "=" in item)
    values = {"PATH": DEFAULT_PATH, **dict(given), **dict(spec.proxy)}
    if spec.terminal:
        values.setdefault("TERM", "xterm")
    values |= {name: _secret_text(name, value) for name, value in spec.secret_env}
    if spec.certificates:
        for name, path in certificate_variables():
            values.setdefault(name, path)
    if not values.get("HOME"):
        values["HOME"] = home
    return tuple(f"{name}={value}" for name, value in values.items())


def _secret_text(name: str, value: bytes) -> str:
    """The config of a runtime is JSON: runc puts other characters for bytes that are no UTF-8."""
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise RunError(
            f"the secret for the variable {name} cannot be one",
            why="it is not UTF-8 text, or holds a zero byte",
            hint="mount it as a file: leave out env= in RUN --mount=type=secret",
        )
    return text


def make_working_directory(root: str, program: Program) -> None:
    """Make the directory, and those above it, for the program's user if it is missing.

    Raises `RunError` where that is no directory.
    """
    missing = []
    with told_inside(root, f"make the working directory {program.cwd}"):
        place = resolve(root, program.cwd)
        while not os.path.lexists(place):
            missing.append(place)
            place = os.path.dirname(place)
        for path in reversed(missing):
            os.mkdir(path, 0o755)
            # Whatever the umask is here.
            os.chmod(path, 0o755)  # noqa: S103 - as any directory of an image
            os.chown(path, program.user.uid, program.user.gid)


def _numbers(text: str) -> User | None:
    """The user of `UID:GID`; None where files have to be asked."""
    uid, gid = (_number(word) for word in text.partition(":")[::2])
    return None if uid is None or gid is None else User(uid, gid)


def _number(word: str) -> int | None:
    if word == "root":
        return 0
    if not (word.isascii() and word.isdigit() and len(word) <= 20):
        return None
    return int(word) if int(word) <= _LARGEST_ID else None


def _home(passwd: str, uid: int) -> str:
    for line in passwd.splitlines():
        # What a line lacks at its end is empty, as for moby.
        row = [*line.split(":"), "", "", "", ""]
        if len(row) > 6 and row[2].isdecimal() and int(row[2]) == uid:
            return row[5]
    return "/"
