# SPDX-License-Identifier: Apache-2.0
"""`wherry doctor`: what this machine can do, what is missing, how to get it."""

from __future__ import annotations

import json
import os
import sys

import click

from wherry.api.doctoring import Check, Diagnosis, State, diagnose
from wherry.cli.options import default_store, json_option, store_option
from wherry.cli.place import working_directory
from wherry.cli.progress.select import use_color
from wherry.cli.stopping import stopping
from wherry.errors import WherryError

_COLORS = {State.OK: "32", State.LIMITED: "33", State.MISSING: "31", State.NOTE: "2"}
_INDENT = " " * 10


@click.command("doctor", short_help="say what this machine can do and what it lacks")
@json_option
@store_option
def command(as_json: bool, store: str | None) -> int:
    """Say what this machine can do, what is missing and how to get it.

    How RUN steps work is proved by starting what a build would start; the Go module proxy, private
    modules that the go.mod here requires and container engines are asked, each for some seconds.
    The exit code is 0 where Go builds and RUN work, 3 where one of them does not.
    """
    with stopping() as token:
        found = diagnose(_store(store), os.environ, token, _directory())
    if as_json:
        click.echo(json.dumps(found.as_json(), ensure_ascii=False))
    else:
        color = use_color(sys.stdout, os.environ)
        for check in found.checks:
            click.echo("\n".join(_lines(check, color=color)), color=color)
        click.echo(f"\n{_summary(found)}")
    return found.exit_code


def _store(named: str | None) -> str | WherryError:
    """The store's directory, or why there is none: that is a finding as well."""
    if named and os.path.isabs(named):
        return named
    try:
        return os.path.join(working_directory(), named) if named else default_store(os.environ)
    except WherryError as error:
        return error


def _directory() -> str:
    try:
        return working_directory()
    except WherryError:
        # The directory is gone: what can be said without a module is said.
        return "/"


def _lines(check: Check, *, color: bool) -> list[str]:
    word = f"{check.state:<8}"
    if color:
        word = f"\x1b[{_COLORS[check.state]}m{word}\x1b[0m"
    head = f"{check.name}: {check.found}" if check.name else check.found
    lines = [f"{word}  {head}", *(f"{_INDENT}{line}" for line in check.details)]
    return [*lines, f"{_INDENT}hint: {check.remedy}"] if check.remedy else lines


def _summary(found: Diagnosis) -> str:
    builds = "work" if found.go_builds else "do not work"
    steps = f"work ({found.mode})" if found.run_steps else "are refused"
    return f"Go builds {builds} here; RUN steps {steps}."
