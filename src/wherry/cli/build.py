# SPDX-License-Identifier: Apache-2.0
"""`wherry build` as click sees it: help, and every command line that is not a plain one."""

from __future__ import annotations

import click

from wherry.cli.builder import run_build
from wherry.cli.flags import BUILD_FLAGS, BuildFlags, Flag

_HELP = """Build SOURCE, a Go module or package, or a Dockerfile's directory or URL, into an image.

The image stays in the local store under its name, ready to run. stdout gets its reference,
NAME:TAG@sha256:..., and nothing else.
"""
_EPILOG = """\b
Examples:
  wherry build                            the main package of this directory
  wherry build ./cmd/api -t shop/api:1.2  one of several
  wherry build ./...                      every program, an image each
  wherry build --target api --target web  two images of wherry.toml
  wherry build --platform linux/amd64,linux/arm64   an image for both
  wherry build --base debian:12-slim .    on another base
  wherry build -f Dockerfile --target web .    a stage of a Dockerfile
  wherry build --secret id=key,env=KEY .   for RUN --mount=type=secret,id=key
  wherry build -o type=oci,dest=api.tar   an OCI archive as well
  wherry run $(wherry build .)            build, then start
"""


def _option(flag: Flag) -> click.Option:
    names = [flag.field, f"--{flag.name}", *([f"-{flag.short}"] if flag.short else [])]
    match flag.takes:
        case "nothing":
            return click.Option(names, is_flag=True, help=flag.help)
        case "number":
            kind = click.IntRange(min=1)
            return click.Option(names, type=kind, metavar=flag.metavar, help=flag.help)
        case "choice":
            choice = click.Choice(flag.choices)
            return click.Option(names, type=choice, default=flag.default or None, help=flag.help)
        case "texts":
            return click.Option(names, multiple=True, metavar=flag.metavar, help=flag.help)
        case _:
            return click.Option(names, metavar=flag.metavar, help=flag.help)


def _run(**values: object) -> int:
    given = {name: value for name, value in values.items() if value is not None}
    return run_build(BuildFlags(**given))  # type: ignore[arg-type] # click checked each kind


_SOURCES = click.Argument(["sources"], nargs=-1, metavar="[SOURCE]...")
command = click.Command(
    "build",
    callback=_run,
    params=[_SOURCES, *map(_option, BUILD_FLAGS)],
    help=_HELP,
    epilog=_EPILOG,
    short_help="build a Go module or a Dockerfile into an image",
)
