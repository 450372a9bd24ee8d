# SPDX-License-Identifier: Apache-2.0
"""`wherry build`: flags to a request, the result to stdout, everything else to stderr."""

from __future__ import annotations

import os
import sys

import click

from wherry.api.request import BuildRequest, BuildResult
from wherry.cli.options import default_store, store_option
from wherry.cli.progress.select import Mode, make_sink, use_color
from wherry.cli.progress.summary import Summary, render_summary
from wherry.cli.stopping import stopping
from wherry.errors import UsageError

_EPILOG = """\b
Examples:
  wherry build                            the main package of this directory
  wherry build ./cmd/api -t shop/api:1.2  one of several
  wherry build -o type=oci,dest=api.tar   an OCI archive as well
  wherry run $(wherry build .)            build, then start
"""


@click.command("build", epilog=_EPILOG, short_help="build a Go module into a small image")
@click.argument("source", default=".")
@click.option(
    "-t",
    "--tag",
    "tags",
    multiple=True,
    metavar="NAME[:TAG]",
    help="Name the image; repeatable.  [default: the program's name, :latest]",
)
@click.option(
    "--platform",
    default="",
    metavar="OS/ARCH[/VARIANT]",
    help="What to build for.  [default: linux on this architecture]",
)
@click.option(
    "--base",
    default="",
    metavar="static|scratch",
    help="What the program stands on.  [default: static]",
)
@click.option("--target", default="", metavar="NAME", help="The [image.NAME] of wherry.toml.")
@click.option(
    "--frontend",
    type=click.Choice(["auto", "gomodule", "dockerfile"]),
    default="auto",
    help="Force how SOURCE is read.",
)
@click.option(
    "--stamp",
    type=click.Choice(["off", "labels", "full"]),
    default=None,
    help="Put version-control facts into labels, or into the binary too.  [default: off]",
)
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Add a label.")
@click.option(
    "--annotation",
    "annotations",
    multiple=True,
    metavar="KEY=VALUE",
    help="Add a manifest annotation.",
)
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    metavar="type=TYPE,dest=PATH",
    help="Write the image elsewhere too: oci (tar=false for a directory), local.",
)
@click.option("--metadata-file", default="", metavar="FILE", help="Write the result as JSON.")
@click.option("--iidfile", default="", metavar="FILE", help="Write the image's digest.")
@click.option("--no-cache", is_flag=True, help="Use no build record and no cache record.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=None,
    metavar="N",
    help="Work of wherry's own at once.  [default: the cores]",
)
@click.option(
    "--progress",
    type=click.Choice(["auto", "tty", "plain", "json"]),
    default="auto",
    help="How to tell what happens, on stderr.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no summary.")
@store_option
def command(  # noqa: PLR0913 - one parameter a flag, as click calls it
    source: str,
    tags: tuple[str, ...],
    platform: str,
    base: str,
    target: str,
    frontend: str,
    stamp: str | None,
    labels: tuple[str, ...],
    annotations: tuple[str, ...],
    outputs: tuple[str, ...],
    metadata_file: str,
    iidfile: str,
    no_cache: bool,
    jobs: int | None,
    progress: Mode,
    as_json: bool,
    quiet: bool,
    store: str | None,
) -> None:
    """Build SOURCE, a directory or Go package path, into a small image.

    The image stays in the local store under its name, ready to run. stdout gets its reference,
    NAME:TAG@sha256:..., and nothing else.
    """
    request = BuildRequest(
        source=source,
        cwd=_working_directory(),
        env=os.environ,
        store=store or default_store(os.environ),
        frontend=frontend,
        target=target,
        tags=tags,
        platform=platform,
        base=base,
        stamp=stamp or "",
        labels=_pairs("--label", labels),
        annotations=_pairs("--annotation", annotations),
        outputs=outputs,
        metadata_file=metadata_file,
        iidfile=iidfile,
        no_cache=no_cache,
        jobs=jobs or 0,
    )
    result = _build(request, "quiet" if quiet else progress)
    if not quiet and progress != "json":
        _summarize(result)
    to_stdout = any(item in ("-", "dest=-") for text in outputs for item in text.split(","))
    print(_as_json(result) if as_json else result.reference,
          file=sys.stderr if to_stdout else sys.stdout)  # fmt: skip


def _build(request: BuildRequest, mode: Mode) -> BuildResult:
    from wherry.api.building import build_image  # noqa: PLC0415 - kept beside the fast path

    with stopping() as token, make_sink(mode, sys.stderr, os.environ) as sink:
        return build_image(request, sink, token)


def _summarize(result: BuildResult) -> None:
    binary = result.binaries[0]
    summary = Summary(
        name=result.tags[0],
        digest=result.digest,
        size=result.unpacked,
        binary_name=binary.name,
        binary_size=binary.size,
        seconds=result.seconds,
        fresh=not result.reused,
        outputs=result.outputs,
    )
    color = use_color(sys.stderr, os.environ)
    click.echo(render_summary(summary, color), err=True, color=color)


def _as_json(result: BuildResult) -> str:
    import json  # noqa: PLC0415 - only for --json

    value = result._asdict() | {"binaries": [item._asdict() for item in result.binaries]}
    return json.dumps(value, ensure_ascii=False)


def _pairs(flag: str, texts: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise UsageError(f"{flag} {text!r} is not KEY=VALUE")
        found[key] = value
    return tuple(sorted(found.items()))


def _working_directory() -> str:
    """The directory as the user's shell writes it: `go` looks for go.work along that path."""
    try:
        real = os.getcwd()
    except OSError as error:
        raise UsageError("the current directory is gone", hint="change to another one") from error
    logical = os.environ.get("PWD", "")
    try:
        if os.path.isabs(logical) and os.path.samefile(logical, real):
            return logical
    except OSError:
        pass
    return real
