# SPDX-License-Identifier: Apache-2.0
"""`wherry init`: writes the files that a Go project begins with, or wherry.toml from ko's."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from wherry.cli.options import Common, around, registry_options, tell
from wherry.cli.place import working_directory
from wherry.errors import UsageError

if TYPE_CHECKING:
    from wherry.api.starting_files import StartFile

_EPILOG = """\b
Examples:
  wherry init                 Dockerfile and .dockerignore for the module here
  wherry init --base slim services/api
  wherry init --ci github     with a workflow for GitHub
  wherry init --print         show the files, write none
  wherry init --explain       why each line is there; --lang zh in Chinese
  wherry init --from-ko       write wherry.toml from .ko.yaml
"""
_BASES: Final = ("static", "scratch", "slim", "alpine", "debug")
_CI: Final = ("github", "gitlab", "none")
_LANGUAGES: Final = ("en", "zh")


class InitFlags(NamedTuple):
    """The values of one command line."""

    directory: str
    base: str | None
    ci: str | None
    pin: bool
    print_files: bool
    force: bool
    explain: bool
    lang: str | None
    from_ko: bool


@click.command("init", epilog=_EPILOG, short_help="write Dockerfile and the like for a Go program")
@click.argument("directory", default=".", metavar="[DIR]")
@click.option("--base", type=click.Choice(_BASES),
              help="What the image stands on.  [default: static; slim where the program needs "
              "cgo]")  # fmt: skip
@click.option("--ci", type=click.Choice(_CI),
              help="For which CI a recipe is written.  [default: what DIR has .github or "
              ".gitlab-ci.yml for]")  # fmt: skip
@click.option("--pin", is_flag=True,
              help="Ask the registries for the bases' digests, and write them.")  # fmt: skip
@click.option("--print", "print_files", is_flag=True, help="Print the files; write nothing.")
@click.option("--force", is_flag=True, help="Replace files that have other content.")
@click.option("--explain", is_flag=True,
              help="Say why each line is there, and which base when; write nothing.")  # fmt: skip
@click.option("--lang", type=click.Choice(_LANGUAGES),
              help="The language of --explain: English or Chinese.  [default: en]")  # fmt: skip
@click.option("--from-ko", "from_ko", is_flag=True,
              help="Write wherry.toml alone, from .ko.yaml and the KO_ variables.")  # fmt: skip
@registry_options
def command(common: Common, **values: object) -> int:
    """Write the files that the Go module in DIR begins with.

    Dockerfile and .dockerignore are made of what its code says: programs, what they embed, ports,
    what they need to run; wherry.toml where a default does not fit, and a recipe for CI. A file
    that is there with other content stays, its difference is shown, and the exit code is 1. No
    registry is asked without --pin. stdout gets the paths of the files that were written.
    """
    flags = InitFlags(**values)  # type: ignore[arg-type] # click checked each kind
    _refuse_contradictions(flags, as_json=common.as_json)
    return _from_ko(flags, common) if flags.from_ko else _start(flags, common)


def _refuse_contradictions(flags: InitFlags, *, as_json: bool) -> None:
    given = [
        name for name, is_given in (
            ("--base", flags.base), ("--ci", flags.ci), ("--pin", flags.pin),
            ("--print", flags.print_files), ("--explain", flags.explain),
        ) if is_given
    ]  # fmt: skip
    if flags.from_ko and given:
        raise UsageError(f"--from-ko writes wherry.toml alone, and does not go with {given[0]}",
                         hint="leave one of them out")  # fmt: skip
    if flags.lang and not flags.explain:
        raise UsageError("--lang is the language of --explain", hint="add --explain")
    if flags.explain and flags.print_files:
        raise UsageError("--explain and --print", hint="say one of them")
    if flags.explain and as_json:
        raise UsageError("--explain and --json", hint="say one of them: reasons are for people")


def _start(flags: InitFlags, common: Common) -> int:
    from wherry.api.starting_files import (  # noqa: PLC0415 - not for --help
        StartRequest,
        files_of,
        plan_start,
        write_files,
    )

    with around(common) as surroundings:
        request = StartRequest(
            flags.directory, surroundings, flags.base or "", flags.ci or "", flags.pin
        )
        start = plan_start(request)
    if flags.explain:
        from wherry.advice.writing.explained import explained  # noqa: PLC0415 - only for this

        _put(explained(start.plan, flags.lang or "en"))
        return 0
    if common.tells:
        tell(*start.notes)
    if flags.print_files:
        if common.as_json:
            texts = [{"path": name, "text": text} for name, text in start.texts]
            click.echo(json.dumps({"files": texts, "notes": list(start.notes)}))
            return 0
        _put("\n".join(f"==> {name} <==\n{text}" for name, text in start.texts))
        return 0
    files = files_of(start)
    left = () if flags.force else tuple(file for file in files if file.differs)
    _tell_differences(left)
    written = write_files(files, force=flags.force)
    if common.tells:
        tell(*_withheld(files, written, left))
    told = {
        "written": [file.place for file in written],
        "same": [file.place for file in files if file.before == file.after],
        "different": [file.place for file in left],
        "notes": list(start.notes),
    }
    if common.as_json:
        click.echo(json.dumps(told))
        return int(bool(left))
    for file in written:
        click.echo(file.place)
    if not written and not left and common.tells:
        tell("all files are there already, as they would be written")
    return int(bool(left))


def _tell_differences(files: tuple[StartFile, ...]) -> None:
    from wherry.advice.reading.secret_values import hidden  # noqa: PLC0415 - only to tell
    from wherry.advice.reports.diff import render_diff  # noqa: PLC0415 - as above
    from wherry.advice.reports.text import shown  # noqa: PLC0415 - as above

    for file in files:
        diff = render_diff(file.name, file.before, file.after).decode("utf-8", "replace")
        tell(*(shown(line.removesuffix("\r")) for line in hidden(diff).rstrip("\n").split("\n")))
    if files:
        names = ", ".join(file.name for file in files)
        kept, it = ("it is", "it") if len(files) == 1 else ("they are", "them")
        tell(f"left as {kept}: {names}; --force replaces {it} with the lines after +")


def _withheld(
    files: tuple[StartFile, ...], written: tuple[StartFile, ...], left: tuple[StartFile, ...]
) -> tuple[str, ...]:
    return tuple(
        f"no {file.name} beside your own Dockerfile, which may copy what it would hide"
        for file in files
        if file.before is None and file not in written and file not in left
    )


def _put(text: str) -> None:
    """Text on stdout; letters that a terminal's encoding has not are no reason to fail."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode(sys.stdout.encoding or "utf-8", "replace"))
    sys.stdout.buffer.flush()


def _from_ko(flags: InitFlags, common: Common) -> int:
    from wherry.api.ko_migration import migrate_ko  # noqa: PLC0415 - see above

    directory = flags.directory
    place = os.path.normpath(os.path.join(working_directory(), directory))
    if not os.path.isdir(place):
        raise UsageError(f"{directory} is no directory", hint="name the one with the .ko.yaml")
    migrated = migrate_ko(place, os.environ, force=flags.force)
    tell(*migrated.notes)
    if common.as_json:
        click.echo(json.dumps(migrated._asdict()))
    else:
        click.echo(migrated.path)
    return 0
