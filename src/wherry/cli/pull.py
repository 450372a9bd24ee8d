# SPDX-License-Identifier: Apache-2.0
"""`wherry pull`: images from registries into the local store, whole."""

from __future__ import annotations

import json

import click

from wherry.api.pulling import PullResult, complete_images, pull_image
from wherry.cli.options import Common, around, registry_options
from wherry.errors import UsageError
from wherry.oci.reference import parse_reference

_EPILOG = """\b
Examples:
  wherry pull debian:12-slim                     for this machine's platform
  wherry pull --all-platforms golang:1.26        all that its index lists
  wherry pull registry.example.com/shop/api:1.2
  wherry pull --full                             what lazy images still lack
"""


@click.command("pull", epilog=_EPILOG, short_help="fetch images from registries")
@click.argument("names", nargs=-1, metavar="REF...")
@click.option("--platform", default="", metavar="OS/ARCH[/VARIANT]",
              help="The platform to fetch.  [default: linux on this architecture]")  # fmt: skip
@click.option("--all-platforms", is_flag=True, help="Fetch every platform of an index.")
@click.option("--full", is_flag=True,
              help="Fetch the missing layers of these images of the store (of all, without a REF), "
                   "and ask for nothing newer.")  # fmt: skip
@registry_options
def command(
    names: tuple[str, ...], platform: str, all_platforms: bool, full: bool, common: Common
) -> None:
    """Fetch images into the local store.

    Every byte is verified, an interrupted download resumes, and what the store has is not fetched
    again. stdout gets NAME:TAG@sha256:... for each image: the digest of this platform's manifest,
    or with --all-platforms of the index.
    """
    _check(names, platform, all_platforms=all_platforms, full=full)
    results: list[PullResult] = []
    is_done = False
    try:
        with around(common) as surroundings:
            if full:
                results.extend(complete_images(names, surroundings))
            for name in () if full else dict.fromkeys(names):
                results.append(  # noqa: PERF401 - what was pulled counts though the next one fails
                    pull_image(name, surroundings, platform=platform, all_platforms=all_platforms)
                )
        is_done = True
    finally:
        # Once the live view has left the terminal.
        if results or is_done:
            _print(results, common)


def _check(names: tuple[str, ...], platform: str, *, all_platforms: bool, full: bool) -> None:
    if full and (platform or all_platforms):
        raise UsageError("--full completes images as they are in the store",
                         why="it goes with neither --platform nor --all-platforms",
                         hint="leave out --full to pull another platform")  # fmt: skip
    if platform and all_platforms:
        raise UsageError("--platform and --all-platforms exclude each other",
                         hint="leave out one of them")  # fmt: skip
    if not names and not full:
        raise UsageError("no image is named",
                         hint="name one, as in: wherry pull debian:12-slim; or complete "
                              "the images of the store: wherry pull --full")  # fmt: skip
    if not full:
        for name in names:
            # A wrong name is told before the first is fetched.
            parse_reference(name)


def _print(results: list[PullResult], common: Common) -> None:
    if common.as_json:
        click.echo(json.dumps([result._asdict() for result in results]))
        return
    for result in results:
        click.echo(result.reference)
