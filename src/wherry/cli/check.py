# SPDX-License-Identifier: Apache-2.0
"""`wherry check`: finds what is slow, fat or wrong in Dockerfiles of Go programs, and mends it."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from wherry.advice.reports.report import FORMATS, renderer_of
from wherry.advice.reports.text import render
from wherry.cli.check_proof import (
    named_context,
    proof_text,
    proved,
    tell_proofs,
    with_proofs,
)
from wherry.cli.check_words import (
    diffs_of,
    empty_lines,
    headlines,
    mended_lines,
    skipped_lines,
    summary_line,
)
from wherry.cli.options import Common, around, default_store, store_option, surroundings, tell
from wherry.cli.place import working_directory
from wherry.cli.progress.select import use_color
from wherry.cli.stopping import ending
from wherry.errors import MachineError, SeveralErrors, UsageError, WherryError
from wherry.events import discard
from wherry.process.cancel import CancelToken

if TYPE_CHECKING:
    from wherry.api.check_proving import Proof
    from wherry.api.checking import Checked, Checker, CheckRequest
    from wherry.api.registries import RegistryAround

_EPILOG: Final = """\b
Examples:
  wherry check                      the Dockerfiles here and below
  wherry check --fix services/api   mend what can be mended without a change
  wherry check --diff               show it, change nothing
  wherry check --fix --prove        build before and after, and compare
  wherry check --ignore GO301,unpinned-base --fail-on error
  wherry check --format github      notes at the lines of a pull request
  wherry check --stdin --format json < Dockerfile
  wherry check --list               all rules
"""
# What is read from stdin at most; more is told as such.
_MOST_BYTES: Final = 1 << 20
_COLLECT_AFTER: Final = 100_000
_THRESHOLDS: Final = ("error", "warning", "info", "never")
# Formats beside which lines for people may stand on stderr.
_FOR_PEOPLE: Final = frozenset(("text", "github"))


class CheckFlags(NamedTuple):
    """The values of one command line."""

    paths: tuple[str, ...]
    fix: bool
    unsafe_fixes: bool
    diff: bool
    stage_split: bool
    prove: bool
    store: str | None
    build_contexts: tuple[str, ...]
    format: str
    fail_on: str | None
    ignore: tuple[str, ...]
    only: tuple[str, ...]
    stdin: bool
    stdin_name: str | None
    context: str | None
    build_args: tuple[str, ...]
    list_rules: bool
    pull: bool


@click.command("check", epilog=_EPILOG, short_help="find and mend what is wrong in Dockerfiles")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--fix", is_flag=True, help="Mend what can be mended without changing the image.")
@click.option("--unsafe-fixes", is_flag=True,
              help="With --fix or --diff: also what may change what the image does.")  # fmt: skip
@click.option("--diff", is_flag=True, help="Show what --fix would do; write nothing.")
@click.option("--stage-split", is_flag=True,
              help="With --fix or --diff: give a Dockerfile with one stage a second one, for the "
              "image.")  # fmt: skip
@click.option("--prove", is_flag=True,
              help="With --fix or --diff: build before and after, and tell how images and "
              "rebuilds differ.")  # fmt: skip
@store_option
@click.option("--build-context", "build_contexts", multiple=True, metavar="NAME=PLACE",
              help="For --prove: a further context, as of `wherry build`; "
              "repeatable.")  # fmt: skip
@click.option("--format", type=click.Choice(FORMATS), default="text",
              help="How findings are written.")  # fmt: skip
@click.option("--fail-on", type=click.Choice(_THRESHOLDS),
              help="From which severity on the exit code is 1.  [default: warning]")  # fmt: skip
@click.option("--ignore", multiple=True, metavar="RULE[,RULE]",
              help="Do not ask these rules; repeatable.")  # fmt: skip
@click.option("--only", multiple=True, metavar="RULE[,RULE]",
              help="Ask no other rules; repeatable.")  # fmt: skip
@click.option("--stdin", is_flag=True, help="Check the text on stdin.")
@click.option("--stdin-name", metavar="FILE",
              help="What --stdin would be called as a file.  [default: Dockerfile]")  # fmt: skip
@click.option("--context", metavar="DIR",
              help="The build context.  [default: the Dockerfile's directory, or one above with "
              "the go.mod and the files that it copies]")  # fmt: skip
@click.option("--build-arg", "build_args", multiple=True, metavar="NAME[=VALUE]",
              help="The value of an ARG; NAME alone takes it from the environment; "
              "repeatable.")  # fmt: skip
@click.option("--pull", is_flag=True,
              help="Ask registries for the bases, fetch them and look into them.  [default: what "
              "the store has of them, and a table]")  # fmt: skip
@click.option("--list", "list_rules", is_flag=True, help="List all rules.")
def command(**values: object) -> int:
    """Find what is slow, fat or wrong in Dockerfiles of Go programs, and mend it.

    PATH is a Dockerfile, or a folder that is searched for them; without one it is this directory.
    Dockerfile, Go code and bases are looked at together. No registry is asked without --pull or
    --prove. The exit code is 1 where something was found.
    """
    flags = CheckFlags(**values)  # type: ignore[arg-type] # click checked each kind
    _refuse_contradictions(flags)
    if flags.list_rules:
        from wherry.cli.check_list import rules_text  # noqa: PLC0415 - only for this

        click.echo(rules_text(as_json=flags.format == "json"), nl=False)
        return 0
    return _check(flags)


def _refuse_contradictions(flags: CheckFlags) -> None:
    mends = flags.fix or flags.diff
    if (flags.unsafe_fixes or flags.stage_split) and not mends:
        given = "--unsafe-fixes" if flags.unsafe_fixes else "--stage-split"
        raise UsageError(f"{given} mends nothing by itself", hint="add --fix, or --diff to see it")
    if flags.prove and not mends:
        raise UsageError("--prove has nothing to prove", hint="add --fix, or --diff to see it")
    if flags.prove and flags.stdin:
        raise UsageError("--prove and --stdin", hint="name the file: it is built")
    if flags.build_contexts and not flags.prove:
        raise UsageError("--build-context is for --prove", hint="add --prove, or leave it out")
    if flags.stdin and flags.paths:
        raise UsageError("--stdin and a PATH", hint="--stdin-name says what stdin is called")
    if flags.stdin_name and not flags.stdin:
        raise UsageError("--stdin-name without --stdin", hint="add --stdin")
    if flags.list_rules and flags.format not in ("text", "json"):
        raise UsageError(f"there is no list of rules as {flags.format}",
                         hint="leave --format out, or say --format json")  # fmt: skip


def _check(flags: CheckFlags) -> int:
    # Neither rules and parsers nor fewer searches for cycles in what they make are for `--help`.
    gc.set_threshold(_COLLECT_AFTER)
    from wherry.api.checking import Checker  # noqa: PLC0415 - see above

    with ending(), _surroundings(flags) as around:
        request = _request(flags)._replace(around=around, pull=flags.pull)
        with Checker(request) as checker:
            checked = checker.check()
            if flags.format in _FOR_PEOPLE:
                tell(*empty_lines(checked.empty), *skipped_lines(checked.files))
            if flags.fix or flags.diff:
                return _mend(flags, checker, checked)
    _write_report(flags, checked)
    _raise([error for _, error in checked.errors])
    return int(checked.fails)


@contextmanager
def _surroundings(flags: CheckFlags) -> Iterator[RegistryAround | None]:
    """The store, and with --pull what asking registries takes; None where there is no place."""
    if flags.pull:
        quiet = flags.format not in _FOR_PEOPLE
        with around(Common(store=flags.store, quiet=quiet)) as found:
            yield found
        return
    try:
        place = _store(flags)
    except MachineError:
        yield None
        return
    yield surroundings(Common(store=place), discard, CancelToken())


def _mend(flags: CheckFlags, checker: Checker, checked: Checked) -> int:
    from wherry.api.check_mending import (  # noqa: PLC0415 - only where something is mended
        Allowed,
        mend_files,
        write_mending,
    )

    wanted = Allowed(flags.unsafe_fixes, flags.stage_split)
    mending = mend_files(checker, checked, wanted)
    proofs: tuple[Proof, ...] = ()
    if flags.prove:
        # Before anything is written: what does not build is not.
        place = (_store(flags), tuple(map(named_context, flags.build_contexts)))
        proofs = proved(checker, _request(flags), place, checked, mending, wanted)
    after = checked._replace(files=mending.files)
    errors = [error for _, error in checked.errors]
    if flags.diff:
        _put(diffs_of(mending.changes, exact=not sys.stdout.isatty()))
        tell_proofs(proofs)
        tell(*headlines(after), *mended_lines(mending, after, "would be"))
    elif flags.stdin:
        # An editor's formatter takes the text from stdout.
        _put(b"".join(file.data for file in after.files))
        tell(*headlines(after), *mended_lines(mending, after, ""))
    else:
        mending, failed = write_mending(mending, checked)
        after, errors = checked._replace(files=mending.files), [*errors, *failed]
        _write_report(flags, after, proofs)
        tell(*mended_lines(mending, after, ""))
    _raise(errors)
    return int(checked.fails if flags.diff else after.fails)


def _write_report(flags: CheckFlags, checked: Checked, proofs: tuple[Proof, ...] = ()) -> None:
    report = checked.report()
    if flags.format == "text":
        text = render(report, color=use_color(sys.stdout, os.environ)) + proof_text(proofs)
    else:
        text = renderer_of(flags.format)(report)
        if flags.prove and flags.format == "json":
            text = with_proofs(text, proofs)
        else:
            tell_proofs(proofs)
    # Letters that a terminal's encoding has not are no reason to fail.
    _put(text.encode(sys.stdout.encoding or "utf-8", "replace"))
    if flags.format in _FOR_PEOPLE:
        tell(summary_line(report))


def _put(data: bytes) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _raise(errors: list[WherryError]) -> None:
    """What could not be looked at, or not be written, comes last and decides the exit code."""
    if errors:
        raise errors[0] if len(errors) == 1 else SeveralErrors(tuple(errors))


def _request(flags: CheckFlags) -> CheckRequest:
    from wherry.api.checking import CheckRequest  # noqa: PLC0415 - as in `_check`

    return CheckRequest(
        cwd=working_directory(),
        env=os.environ,
        paths=flags.paths,
        text=_stdin() if flags.stdin else None,
        name=flags.stdin_name or "",
        context=flags.context or "",
        build_args=tuple(map(_build_arg, flags.build_args)),
        ignore=_rules(flags.ignore),
        only=_rules(flags.only),
        fail_on=flags.fail_on or "",
    )


def _store(flags: CheckFlags) -> str:
    return os.path.abspath(flags.store) if flags.store else default_store(os.environ)


def _stdin() -> bytes:
    # None where it was closed.
    data = sys.stdin.buffer.read(_MOST_BYTES + 1) if sys.stdin else b""
    if len(data) > _MOST_BYTES:
        raise UsageError("stdin is too large for a Dockerfile",
                         why=f"{_MOST_BYTES >> 20} MiB are read",
                         hint="is it the right text?")  # fmt: skip
    return data


def _build_arg(text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    if not name:
        raise UsageError(f"--build-arg {text!r} has no name",
                         hint="write it as --build-arg VERSION=1.2")  # fmt: skip
    return name, value if equals else None


def _rules(texts: tuple[str, ...]) -> tuple[str, ...] | None:
    """The rules that a flag names; None where it is not given: then the settings count."""
    if not texts:
        return None
    return tuple(name for text in texts for word in text.split(",") if (name := word.strip()))
