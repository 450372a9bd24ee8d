# SPDX-License-Identifier: Apache-2.0
"""The command `wherry`: verbs loaded when called, errors rendered, exit codes chosen.

This is the only place that prints errors or ends the process. stdout carries results only.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import NoReturn

import click

from wherry._version import __version__
from wherry.errors import UsageError, code_of, near

_VERBS = {
    "build": "build a Go module into a small image",
    "run": "run a built image, unprivileged",
    "images": "list the images of the local store",
    "tag": "give an image another name",
    "rmi": "remove names of images",
    "cache": "show and prune the local store",
}


class _Verbs(click.Group):
    """Imports a verb's module only when that verb is called or asked for help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        module = importlib.import_module(f"wherry.cli.{cmd_name}")
        command = module.command
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _VERBS and not args[0].startswith("-"):
            raise UsageError(f"wherry has no verb {args[0]!r}",
                             hint=near(args[0], tuple(_VERBS)) or "see: wherry --help")  # fmt: skip
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(_VERBS.items()))


@click.group(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 the build failed, 2 wrong usage, 3 this machine lacks something, "
    "4 network or registry, 5 a fault in wherry.",
)
@click.version_option(__version__, "--version", message="wherry %(version)s")
def cli() -> None:
    """Small, safe container images for Go programs, without a daemon and without root."""


def main() -> NoReturn:
    """Run the command line of this process and exit."""
    code = _run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader went away, as in `wherry images | head -1`; Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    try:
        outcome = cli.main(arguments, prog_name="wherry", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        return 0
    except click.ClickException as error:
        return _report(UsageError(error.format_message(), hint=_usage(error)))
    except Exception as error:  # noqa: BLE001 - the outermost border: rendered, with traceback
        return _report(error)
    return outcome if isinstance(outcome, int) else 0


def _usage(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if isinstance(context, click.Context) else "wherry"
    return f"see: {path} --help"


def _report(error: BaseException) -> int:
    from wherry.cli.errors import render_error  # noqa: PLC0415 - only when something failed

    stream = sys.stderr
    color = stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    click.echo(render_error(error, color), file=stream, color=color)
    return code_of(error)
