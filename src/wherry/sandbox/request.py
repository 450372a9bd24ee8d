# SPDX-License-Identifier: Apache-2.0
"""What somebody asks of one run: the words of `docker run` as frozen values.

The parsers take one command-line word each and refuse what wherry cannot do by name. Failures of
the run itself carry docker's exit codes: 125 for the runner, 126 for a program that cannot be
executed, 127 for one that is not there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from wherry.errors import WherryError

_PORT = re.compile(
    r"(?:(?P<address>\[[0-9a-fA-F:]+\]|[0-9]+(?:\.[0-9]+){3}):)?(?:(?P<host>[0-9]+):)?(?P<program>[0-9]+)"
    r"(?:/(?P<protocol>[a-z]+))?"
)


class RunError(WherryError):
    """The run could not be started; `code` is docker's: 125, 126 or 127."""

    exit_code = 125


class CannotExecute(RunError):
    """The program is there and cannot be executed."""

    exit_code = 126


class ProgramNotFound(RunError):
    """The image holds no such program."""

    exit_code = 127


class Volume(NamedTuple):
    """A file or directory of this machine seen at `target` by the program; absolute paths."""

    source: str
    target: str
    readonly: bool = False


class Port(NamedTuple):
    """`host` is what clients connect to, `program` what the program listens on."""

    host: int
    program: int
    address: str = ""
    protocol: str = "tcp"


@dataclass(frozen=True, slots=True)
class RunRequest:
    """Everything that a run can be told.

    `entrypoint` None keeps the image's, and an empty one means none; `env` holds `NAME=VALUE`, or
    `NAME` for the caller's own value.
    """

    args: tuple[str, ...] = ()
    entrypoint: str | None = None
    env: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    volumes: tuple[Volume, ...] = ()
    ports: tuple[Port, ...] = ()
    terminal: bool = False
    interactive: bool = False
    readonly: bool = False


class Caller(NamedTuple):
    """The streams of whoever asks for the run.

    `signals` is a descriptor from which each byte read is the number of a signal to pass on (what
    `signal.set_wakeup_fd` writes), or -1; `say` takes a line for the user.
    """

    stdin: int
    stdout: int
    stderr: int
    signals: int
    say: Callable[[str], None]


def parse_volume(text: str, cwd: str) -> Volume:
    """Parse `SRC:DST[:ro]`; raises `RunError`.

    SRC may be relative to `cwd` where it begins with a dot.
    """
    source, _, rest = text.partition(":")
    target, _, options = rest.partition(":")
    words = set(options.split(",")) - {""}
    if not target:
        raise _bad_volume(text, "anonymous volumes do not exist here")
    if not source.startswith(("/", ".")):
        raise _bad_volume(text, "named volumes do not exist here: the source is a path")
    if not target.startswith("/"):
        raise _bad_volume(text, "the path in the image must be absolute")
    # z and Z relabel for SELinux, which has no say over a process of the user's own.
    if unknown := words - {"ro", "rw", "z", "Z"}:
        raise _bad_volume(text, f"unknown option {sorted(unknown)[0]!r}")
    return Volume(os.path.normpath(os.path.join(cwd, source)), target, "ro" in words)


def _bad_volume(text: str, why: str) -> RunError:
    return RunError(
        f"cannot mount {text!r}",
        why=why,
        hint="write -v /path/here:/path/in/image or -v /path/here:/path/in/image:ro",
    )


def parse_port(text: str) -> Port:
    """Parse `[ADDRESS:][HOST:]PORT[/tcp|udp]`; raises `RunError`."""
    match = _PORT.fullmatch(text)
    hint = "write -p 8080:8000, or -p 127.0.0.1:8080:8000"
    if match is None:
        raise RunError(f"cannot publish port {text!r}", hint=hint)
    program = int(match["program"])
    host = int(match["host"] or program)
    protocol = match["protocol"] or "tcp"
    if not (0 < host < 65536 and 0 < program < 65536):
        raise RunError(f"cannot publish port {text!r}", why="ports are 1 to 65535", hint=hint)
    if protocol not in ("tcp", "udp") or (protocol == "udp" and host != program):
        why = "the network is the host's; only tcp is relayed from one port to another"
        raise RunError(f"cannot publish port {text!r}", why=why, hint=hint)
    return Port(host, program, (match["address"] or "").strip("[]"), protocol)
