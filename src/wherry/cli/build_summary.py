# SPDX-License-Identifier: Apache-2.0
"""One image of a build, as the summary at its end has it."""

from __future__ import annotations

from wherry.api.request import BuildResult
from wherry.cli.progress.summary import Part, Summary


def summary_of(result: BuildResult) -> Summary:
    """What the last words of a build say of an image."""
    binary = result.binaries[0] if result.binaries else None
    return Summary(
        name=result.tags[0],
        digest=result.digest,
        # Where the base's layers were not fetched, nobody knows what is in them.
        size=result.size if result.unpacked is None else result.unpacked,
        binary_name=binary.name if binary else "",
        binary_size=binary.size if binary else 0,
        seconds=result.seconds,
        fresh=not result.reused,
        outputs=_places(result),
        compressed=result.unpacked is None,
        pushed=result.pushed,
        loaded=result.loaded,
        parts=tuple(Part(*part) for part in result.parts),
    )


def _places(result: BuildResult) -> tuple[str, ...]:
    """Where outputs went, in words; with the digest that an image has only there."""
    digests = dict(result.converted)
    names = ((dest, "stdout" if dest == "-" else dest) for dest in result.outputs)
    return tuple(f"{name} ({digests[dest]})" if dest in digests else name for dest, name in names)
