# SPDX-License-Identifier: Apache-2.0
"""`wherry kaniko`: the call that people give kaniko's executor, done by `wherry build`.

The command line is read by `kaniko_words`, not by click: pflag takes other forms. click has the
flags for the help page, for completion and for the reference page.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import click

from wherry.api.building import build_images
from wherry.api.registries import RegistryAround
from wherry.api.request import BuildOutcome, BuildRequest, BuildResult
from wherry.cli.build_summary import summary_of
from wherry.cli.kaniko_context import placed
from wherry.cli.kaniko_fates import ignored_lines
from wherry.cli.kaniko_flags import FLAGS, Fate, KanikoFlag
from wherry.cli.kaniko_request import Translation, translate
from wherry.cli.kaniko_words import Given, read_words
from wherry.cli.listening import listening, raise_failures
from wherry.cli.place import working_directory
from wherry.cli.progress.select import Mode, Renderer, picture_width, use_color
from wherry.cli.progress.summary import render_summary
from wherry.events import Level, Message

if TYPE_CHECKING:
    from wherry.events import Sink
    from wherry.process.cancel import CancelToken

_HELP: Final = """Build a Dockerfile as kaniko's executor is asked to.

Behind `wherry kaniko` stands what stood behind /kaniko/executor: --flag=VALUE or --flag VALUE. It
needs no container of its own and leaves the file system around it alone. stdout gets the image's
reference, NAME:TAG@sha256:..., and nothing else; exit codes are wherry's. Flags that change nothing
here are passed over with one line, what cannot be done is refused: docs/kaniko.md has them all.
"""
_EPILOG: Final = """\b
Examples:
  wherry kaniko --context=dir:///src --destination=registry.example.com/app:1
  wherry kaniko -c . -d registry.example.com/app --cache=true
  wherry kaniko -c tar://stdin --no-push --tar-path=app.tar < context.tar.gz
  wherry kaniko -c git://example.com/shop/app.git#main -d app --no-push
"""


class _Executor(click.Command):
    """A command whose words are read as kaniko reads them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = read_words(args)
        if given.wants_help:
            click.echo(ctx.get_help(), color=ctx.color)
            ctx.exit()
        ctx.params = {"given": given}
        return []


def _option(flag: KanikoFlag) -> click.Option:
    """The flag as click shows it. What is passed over or refused has no place on the help page."""
    names = [f"--{flag.name}", *([f"-{flag.short}"] if flag.short else [])]
    hidden = flag.fate is not Fate.USED
    if flag.takes == "switch":
        return click.Option(names, is_flag=True, help=flag.told, hidden=hidden)
    kind = click.Choice(flag.choices) if flag.choices else None
    return click.Option(names, type=kind, multiple=flag.takes == "texts", hidden=hidden,
                        metavar=None if kind else flag.metavar, help=flag.told)  # fmt: skip


def run_kaniko(given: Given) -> int:
    """Do what a call asks for and print the image's reference; raises what a build raises."""
    call = translate(given, os.environ, working_directory())
    return _plan(call) if call.is_dry else _build(call)


def _build(call: Translation) -> int:
    refused: list[OSError] = []

    def deliver(outcome: BuildOutcome, sink: Renderer) -> None:
        try:
            for image in outcome.images:
                call.files.write(_digest(image), call.destinations)
        finally:
            # What there is comes first: what is still to be told stands below.
            sink.leave()
            try:
                for image in outcome.images:
                    _print(image, call.mode)
            except OSError as error:
                # The cache is written all the same.
                refused.append(error)
            sink.come_back()

    with (
        listening(call.mode) as (sink, token),
        _asked(call, sink, token) as request,
    ):
        build_images(
            request._replace(delivered=lambda outcome: deliver(outcome, sink)), sink, token
        )
    if refused:
        raise refused[0]
    return 0


def _plan(call: Translation) -> int:
    from wherry.api.dry_run import plan_build  # noqa: PLC0415 - only where asked
    from wherry.cli.plan import render_plan  # noqa: PLC0415 - as above

    with (
        listening(call.mode) as (sink, token),
        _asked(call, sink, token) as request,
    ):
        plan = plan_build(request, sink, token)
        raise_failures(plan.failures)
    sys.stdout.write(render_plan(plan))
    return 0


@contextmanager
def _asked(call: Translation, sink: Sink, token: CancelToken) -> Iterator[BuildRequest]:
    """The whole request, for the time of the block: its context may be a temporary directory."""
    for line in ignored_lines(call.ignored):
        sink(Message(Level.INFO, line))
    request = call.request
    around = RegistryAround(
        request.store, request.env, request.cwd, request.ca, sink, token, request.registries
    )
    stdin = sys.stdin.buffer if sys.stdin else None
    with placed(call.context, stdin, around) as context:
        yield request._replace(
            source=context.directory, file=context.dockerfile, foreign=context.is_foreign
        )


def _digest(image: BuildResult) -> str:
    """What the image is where it went; without a push that may be an output."""
    if image.pushed or not image.converted:
        return image.digest
    return image.converted[0][1]


def _print(image: BuildResult, mode: Mode) -> None:
    """The summary to stderr, the reference to stdout."""
    if mode not in ("quiet", "json"):
        width = picture_width(sys.stderr, os.environ)
        # As all progress: a stderr that takes nothing fails no build.
        with suppress(OSError):
            color = use_color(sys.stderr, os.environ)
            sys.stderr.write(render_summary(summary_of(image), color, width) + "\n")
    sys.stdout.write(f"{image.reference}\n")
    # Where both streams are one log it stands here; what fails now fails again at the end.
    with suppress(OSError):
        sys.stdout.flush()


command = _Executor(
    "kaniko",
    callback=run_kaniko,
    params=[_option(flag) for flag in FLAGS],
    help=_HELP,
    epilog=_EPILOG,
    short_help="build as kaniko's executor is asked to",
)
