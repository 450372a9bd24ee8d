# SPDX-License-Identifier: Apache-2.0
"""Verbs that start a program of the user's: what fails before that has docker's exit codes."""

from __future__ import annotations

import click

from wherry.errors import WherryError


def docker_command(error: type[WherryError]) -> type[click.Command]:
    """A command whose wrong usage is `error`, which exits with 125; all else is the program's."""

    class DockerCommand(click.Command):
        def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
            try:
                return super().parse_args(ctx, args)
            except click.UsageError as wrong:
                what = wrong.format_message().rstrip(".")
                raise error(what, hint=f"see: {ctx.command_path} --help") from wrong

    return DockerCommand
