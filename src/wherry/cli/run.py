# SPDX-License-Identifier: Apache-2.0
"""`wherry run`: docker's flags to a request, this process's signals and streams to the program."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

from wherry.api.running import fetch_missing, is_lazy, run
from wherry.cli.options import Common, around, default_store, known, store_option
from wherry.cli.place import working_directory
from wherry.cli.starting import docker_command
from wherry.sandbox.request import Caller, RunError, RunRequest, parse_port, parse_volume

_PASSED_ON: Final = (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
    signal.SIGWINCH,
)  # fmt: skip
_EPILOG = """\b
Examples:
  wherry run movies                       run what `wherry build` made
  wherry run $(wherry build .)            build, then run
  wherry run -p 8080:8000 movies          reach its port 8000 as 8080
  wherry run -it --entrypoint sh IMAGE    a shell, where the image has one

Exit codes: the program's own (128 + n for signal n); 125 wherry cannot start it, 126 it cannot be
executed, 127 it is not there, 3 this machine refuses user namespaces, 4 layers of its base cannot
be fetched.
"""


@click.command("run", cls=docker_command(RunError), epilog=_EPILOG,
               context_settings={"allow_interspersed_args": False},
               short_help="run a built image, unprivileged")  # fmt: skip
@click.argument("image")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option("-e", "--env", "variables", multiple=True, metavar="NAME[=VALUE]",
              help="Set a variable, or pass the caller's own; repeatable.")  # fmt: skip
@click.option("-v", "--volume", "volumes", multiple=True, metavar="SRC:DST[:ro]",
              help="Show a file or directory of this machine at DST.")  # fmt: skip
@click.option("-p", "--publish", "ports", multiple=True, metavar="[[ADDRESS:]M:]N",
              help="Check that port N is free; relay M to it where they differ. "
                   "The network is the host's.")  # fmt: skip
@click.option("-u", "--user", default="", metavar="USER[:GROUP]",
              help="Run as this user, by name or number.  [default: the image's]")  # fmt: skip
@click.option("-w", "--workdir", default="", metavar="DIR",
              help="Start in this directory.  [default: the image's]")  # fmt: skip
@click.option("-i", "--interactive", is_flag=True, help="Pass stdin on.")
@click.option("-t", "--tty", "terminal", is_flag=True, help="Give the program a terminal.")
@click.option("--entrypoint", default=None, metavar="PROGRAM",
              help="Run this instead of the image's entrypoint and command.")  # fmt: skip
@click.option("--read-only", "readonly", is_flag=True, help="Make the root tree read-only.")
@click.option("--rm", is_flag=True, help="Accepted for docker's sake: nothing is ever kept.")
@store_option
def command(  # noqa: PLR0913, PLR0917 - one parameter a flag, as click calls it
    image: str,
    args: tuple[str, ...],
    variables: tuple[str, ...],
    volumes: tuple[str, ...],
    ports: tuple[str, ...],
    user: str,
    workdir: str,
    interactive: bool,
    terminal: bool,
    entrypoint: str | None,
    readonly: bool,
    rm: bool,  # noqa: ARG001 - always so
    store: str | None,
) -> int:
    """Run IMAGE, a name or digest of the local store, with ARGS instead of its own command.

    Needs neither root nor a daemon. Signals, terminal and exit code go through.
    """
    cwd = working_directory()
    request = RunRequest(
        args=args,
        entrypoint=entrypoint,
        env=variables,
        user=user,
        working_dir=workdir,
        volumes=tuple(parse_volume(text, cwd) for text in volumes),
        ports=tuple(parse_port(text) for text in ports),
        terminal=terminal,
        interactive=interactive,
        readonly=readonly,
    )
    directory = store or default_store(os.environ)
    image = known(image, directory)
    if is_lazy(image, directory):
        # Before the program has the signals: Ctrl-C ends the download.
        with around(Common(store=directory)) as surroundings:
            fetch_missing(image, surroundings)
    with _received_signals() as signals:
        caller = Caller(0, 1, 2, signals, lambda line: click.echo(f"wherry: {line}", err=True))
        return run(image, request, directory, os.environ, caller)


@contextmanager
def _received_signals() -> Iterator[int]:
    """A descriptor that gives a byte for each signal received inside the block."""
    received, wake = os.pipe()
    os.set_blocking(wake, False)
    # What was ignored from the start (nohup, a shell's background job) stays ignored.
    passed_on = [number for number in _PASSED_ON if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, lambda *_: None) for number in passed_on}
    outer = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    try:
        yield received
    finally:
        signal.set_wakeup_fd(outer)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(received)
        os.close(wake)
