# SPDX-License-Identifier: Apache-2.0
"""`wherry login`: check a user and a password at a registry and keep them.

The password comes from standard input or from the terminal without echo, never from an argument:
those are seen by every user of the machine and stay in the shell's history. No text of an error
repeats what was given.
"""

from __future__ import annotations

import os
import select
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

import click

from wherry.api.signing_in import log_in, registry_named
from wherry.cli.options import Common, around, ca_option, quiet_option, tell
from wherry.cli.stopping import stopping
from wherry.errors import UsageError
from wherry.oci.reference import DEFAULT_REGISTRY
from wherry.process.cancel import CancelToken

# Longer than any key file that is a password somewhere; what is no password at all ends here.
_MOST_BYTES: Final = 1 << 16
_LOOK_SECONDS: Final = 0.2
_EPILOG = """\b
Examples:
  wherry login registry.example.com                            asks for both
  wherry login -u me --password-stdin localhost:5000 < token   for scripts
"""


def _refuse_password(_context: object, _parameter: object, value: str | None) -> None:
    if value is not None:
        raise UsageError(
            "--password is not taken",
            why="arguments are seen by every user of this machine and kept by the shell",
            hint="type it when asked, or pipe it in: wherry login -u USER --password-stdin < FILE",
        )


@click.command("login", epilog=_EPILOG, short_help="sign in to a registry")
@click.argument("registries", nargs=-1, metavar="[REGISTRY]")
@click.option("-u", "--username", default="", metavar="USER",
              help="The user.  [default: asked for]")  # fmt: skip
@click.option("--password-stdin", "from_stdin", is_flag=True,
              help="Read the password (or token) from standard input.")  # fmt: skip
@click.option("-p", "--password", hidden=True, expose_value=False, is_eager=True, is_flag=False,
              flag_value="", callback=_refuse_password)  # fmt: skip
@ca_option
@quiet_option
def command(
    registries: tuple[str, ...],
    username: str,
    from_stdin: bool,
    ca: tuple[str, ...],
    quiet: bool,
) -> None:
    """Sign in to REGISTRY (default: docker.io).

    The registry is asked whether it takes user and password; they are kept where docker keeps
    them: by the credential helper that its config.json names, else in that file.
    """
    registry = one_registry(registries, "login")
    username, password = _asked(username, from_stdin=from_stdin)
    with around(Common(ca=ca, quiet=quiet)) as surroundings:
        kept = log_in(registry, username, password, surroundings)
    if not quiet:
        tell(f"signed in to {registry} as {username}; kept in {kept}")


def one_registry(words: tuple[str, ...], verb: str) -> str:
    """The registry of the command line, or the default; a slip is not repeated in the error."""
    if len(words) > 1:
        # The second word is likely a password.
        raise UsageError(f"{verb} takes one registry", hint=f"see: wherry {verb} --help")
    if words and "@" in words[0]:
        raise UsageError(f"{verb}: that is not a registry",
                         why="neither user nor password belong into its name",
                         hint="name it as host or host:port")  # fmt: skip
    return registry_named(words[0]) if words else DEFAULT_REGISTRY


def _asked(username: str, *, from_stdin: bool) -> tuple[str, str]:
    at_terminal = sys.stdin is not None and sys.stdin.isatty()
    if from_stdin and not username:
        raise UsageError("--password-stdin needs a user", hint="name it: -u USER")
    if not from_stdin and not at_terminal:
        raise _no_terminal()
    if not at_terminal:
        return username, _from_stdin()
    with stopping() as token:
        username = username or _typed("user: ", token, echo=True).strip()
        if not username:
            raise UsageError("no user was given", hint="name it: -u USER")
        password = _typed("password: ", token, echo=False)
    if not password:
        _refuse_empty()
    return username, password


def _no_terminal(why: str = "") -> UsageError:
    hint = "pipe it in: wherry login -u USER --password-stdin < FILE"
    return UsageError("there is no terminal to ask for the password", why=why, hint=hint)


def _from_stdin() -> str:
    data = b"" if sys.stdin is None else sys.stdin.buffer.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise UsageError(f"no password is longer than {_MOST_BYTES} bytes",
                         hint="pipe just the password into --password-stdin")  # fmt: skip
    # What `echo`, editors and Windows put behind a line; all else may be part of a password.
    password = _decoded(data.removesuffix(b"\n").removesuffix(b"\r"))
    if not password:
        _refuse_empty()
    return password


def _refuse_empty() -> NoReturn:
    raise UsageError("the password is empty", hint="look at what it comes from: is it set?")


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        # The cause would show the bytes.
        raise UsageError("the password is not UTF-8", hint="write it in UTF-8") from None


def _typed(prompt: str, token: CancelToken, *, echo: bool) -> str:
    """A line from the terminal itself, whatever stdout and stderr are."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise _no_terminal(error.strerror or str(error)) from error
    try:
        with _echo(terminal, on=echo):
            os.write(terminal, prompt.encode())
            return _decoded(_line(terminal, token))
    finally:
        os.close(terminal)


@contextmanager
def _echo(terminal: int, *, on: bool) -> Iterator[None]:
    """Let the terminal show what is typed, or not; as before afterwards, also when cancelled."""
    if on:
        yield
        return
    before = termios.tcgetattr(terminal)
    silent = list(before)
    silent[3] &= ~termios.ECHO
    try:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, silent)
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
        os.write(terminal, b"\n")


def _line(terminal: int, token: CancelToken) -> bytes:
    """The next line without its newline; what was typed before the end, at the end of input."""
    line = b""
    while not line.endswith(b"\n"):
        # A signal only cancels the token: the wait ends now and then to look at it.
        ready = select.select([terminal], [], [], _LOOK_SECONDS)[0]
        token.check()
        if ready:
            piece = os.read(terminal, 1024)
            if not piece:
                break
            line += piece
    return line.removesuffix(b"\n")
