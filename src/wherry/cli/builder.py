# SPDX-License-Identifier: Apache-2.0
"""`wherry build`: flags to a request, the result to stdout, everything else to stderr.

On the no-change path: click is not imported here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from wherry.api.building import build_images
from wherry.api.places import default_store
from wherry.api.request import BuildOutcome, BuildRequest
from wherry.cli.build_summary import summary_of
from wherry.cli.flags import BuildFlags
from wherry.cli.listening import listening, raise_failures
from wherry.cli.place import working_directory
from wherry.cli.progress.select import Mode, Renderer, picture_width, use_color
from wherry.cli.progress.summary import render_summary
from wherry.errors import UsageError, code_of


def run_build(flags: BuildFlags) -> int:
    """Build and print the result; raises what the build raises."""
    mode = cast("Mode", "quiet" if flags.quiet else flags.progress)
    request = _request(flags)
    if flags.print_settings:
        from wherry.api.settings_shown import shown_settings  # noqa: PLC0415 - only where asked

        sys.stdout.write(shown_settings(request))
        return 0
    if flags.dry_run:
        from wherry.cli.plan import print_plan  # noqa: PLC0415 - only where asked

        return print_plan(request, mode, as_json=flags.as_json)
    outcome: BuildOutcome | None = None
    results = _Results(mode, as_json=flags.as_json)
    try:
        with listening(mode) as (sink, token):
            request = request._replace(delivered=lambda done: results.print_above(done, sink))
            if flags.on_error and sys.stdin is not None and sys.stdin.isatty():
                request = request._replace(shell=lambda run: _open_shell(run, sink))  # noqa: S604 - no command
            outcome = build_images(request, sink, token)
            raise_failures(outcome.failures)
    finally:
        # What there is comes first: errors are the last words.
        if outcome is not None:
            results.print(outcome)
    return 0


class _Results:
    """What a build gave, printed once: when it is delivered, or at the end."""

    def __init__(self, mode: Mode, *, as_json: bool) -> None:
        self._mode = mode
        self._as_json = as_json
        self._printed = False
        self._refused: OSError | None = None

    def print(self, outcome: BuildOutcome) -> None:
        """Print it, where that was not done; raises what stdout had against it."""
        if not self._printed:
            self._printed = True
            _print(outcome, self._mode, as_json=self._as_json)
        if self._refused is not None:
            raise self._refused

    def print_above(self, outcome: BuildOutcome, sink: Renderer) -> None:
        """Print it above what `sink` has still to tell; raises nothing: work goes on."""
        sink.leave()
        try:
            self.print(outcome)
        except OSError as error:
            self._refused = error
        sink.come_back()


def _print(outcome: BuildOutcome, mode: Mode, *, as_json: bool) -> None:
    """The summary to stderr, the results to stdout."""
    if mode not in ("quiet", "json"):
        # As all progress: a stderr that takes nothing fails no build.
        with suppress(OSError):
            color = use_color(sys.stderr, os.environ)
            sys.stderr.write(_summaries(outcome, color, as_json=as_json) + "\n")
    # An archive on stdout keeps stdout to itself.
    taken = any("-" in result.outputs for result in outcome.images)
    stream = sys.stderr if taken else sys.stdout
    if as_json:
        stream.write(_as_json(outcome) + "\n")
    else:
        for result in outcome.images:
            stream.writelines(f"{name}\n" for name in result.loaded[:1] or (result.reference,))
    # Where both streams are one log, errors stand below; what fails here fails again at the end.
    with suppress(OSError):
        stream.flush()


def _summaries(outcome: BuildOutcome, color: bool, *, as_json: bool) -> str:
    """The last words of the build."""
    width = picture_width(sys.stderr, os.environ)
    summaries = [summary_of(result) for result in outcome.images]
    if len(summaries) == 1 and not outcome.failures:
        # Where people look at stdout the reference follows, which ends with the digest.
        digest = "" if width and sys.stdout.isatty() and not as_json else summaries[0].digest
        return render_summary(summaries[0]._replace(digest=digest), color, width)
    from wherry.cli.progress.summary import render_summaries  # noqa: PLC0415 - as above

    failed = tuple(failure.name for failure in outcome.failures)
    return render_summaries(summaries, failed, outcome.seconds, color, width)


def _open_shell(run: Callable[[tuple[int, int, int]], int], sink: Renderer) -> None:
    """Give the terminal to a shell in the root of a step that failed."""
    # The view of the build would draw over it.
    sink.leave()
    sys.stderr.write("the step failed: a shell in its root (exit ends it)\n")
    sys.stderr.flush()
    from wherry.sandbox.terminal import raw_mode  # noqa: PLC0415 - only here

    terminal = sys.stdin.fileno()
    # Keys go to the shell as they are, Ctrl-C too: its own terminal makes something of them.
    with raw_mode(terminal):
        run((terminal, terminal, terminal))


def _request(flags: BuildFlags) -> BuildRequest:
    return BuildRequest(
        source=flags.source,
        cwd=working_directory(),
        env=os.environ,
        store=os.path.abspath(flags.store) if flags.store else default_store(os.environ),
        frontend=flags.frontend,
        more_sources=flags.sources[1:],
        target=",".join(flags.targets),
        tags=flags.tags,
        platform=flags.platform,
        base=flags.base,
        stamp=flags.stamp,
        labels=_pairs("--label", flags.labels),
        annotations=_pairs("--annotation", flags.annotations),
        outputs=flags.outputs,
        push=flags.push,
        load=flags.load,
        pull=flags.pull,
        locked=flags.locked,
        ca=flags.ca,
        metadata_file=flags.metadata_file,
        iidfile=flags.iidfile,
        no_cache=flags.no_cache,
        jobs=flags.jobs,
        file=flags.file,
        build_args=_build_args(flags.build_args),
        build_contexts=_pairs("--build-context", flags.build_contexts),
        no_cache_filter=tuple(
            name for text in flags.no_cache_filter for name in text.split(",") if name
        ),
        unpack_limit=_size(flags.unpack_limit),
        secrets=flags.secrets,
        ssh=flags.ssh,
        network=flags.network,
        allow=flags.allow,
        add_hosts=flags.add_hosts,
        shm_size=flags.shm_size,
        ulimits=flags.ulimits,
        on_error=flags.on_error,
        go_cache=flags.go_cache,
        cache_from=flags.cache_from,
        cache_to=flags.cache_to,
        cache_mounts=flags.cache_mounts,
        cache_key=flags.cache_key,
        # None where it was closed.
        stdin=sys.stdin.buffer if sys.stdin else None,
        stdout=sys.stdout.buffer,
    )


def _build_args(texts: tuple[str, ...]) -> tuple[tuple[str, str | None], ...]:
    """The last of a name counts; a name without a value means the environment's."""
    found: dict[str, str | None] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name:
            raise UsageError(f"--build-arg {text!r} has no name",
                             hint="write it as --build-arg VERSION=1.2")  # fmt: skip
        found[name] = value if equals else None
    return tuple(sorted(found.items()))


def _size(text: str) -> int:
    if not text:
        return 0
    from wherry.cli.options import parse_size  # noqa: PLC0415 - click is imported there

    return parse_size(text)


def _as_json(outcome: BuildOutcome) -> str:
    """One image as an object, and what could have been several as a list of such."""
    import json  # noqa: PLC0415 - only for --json

    images = [
        result._asdict()
        | {
            "binaries": [item._asdict() for item in result.binaries],
            "converted": [{"output": dest, "digest": root} for dest, root in result.converted],
            "parts": [item._asdict() for item in result.parts],
            "pushed": [item._asdict() for item in result.pushed],
        }
        for result in outcome.images
    ]
    value: object = images[0] if images and not outcome.plural else {
        "images": images,
        "failures": [
            {
                "name": failure.name,
                "what": failure.error.what,
                "where": failure.error.where,
                "why": failure.error.why,
                "hint": failure.error.hint,
                "code": code_of(failure.error),
            }
            for failure in outcome.failures
        ],
        "seconds": outcome.seconds,
    }  # fmt: skip
    # ASCII: a path may hold bytes that no encoding of stdout has.
    return json.dumps(value)


_FORMS = {"--build-context": "NAME=PLACE"}
_EXAMPLES = {"--build-context": "lib=../lib"}


def _pairs(flag: str, texts: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise UsageError(
                f"{flag} {text!r} is not {_FORMS.get(flag, 'KEY=VALUE')}",
                hint=f"write it as {flag} {_EXAMPLES.get(flag, 'team=shop')}",
            )
        found[key] = value
    return tuple(sorted(found.items()))
