# SPDX-License-Identifier: Apache-2.0
"""Where outputs are to lie: no two at one place, and each place such that it can be one.

Asked before anything is built: nobody should wait for a build whose result has no place. The disk
may look different when the output is written, which asks again.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from typing import NamedTuple

from wherry.errors import UsageError
from wherry.exporters.spec import STDOUT, OutputKind, OutputSpec
from wherry.exporters.staging import output_error, refuse_directory


class Place(NamedTuple):
    """An absolute path, or `-` for stdout; `is_shared`: others of that kind may write there."""

    path: str
    is_directory: bool = False
    is_shared: bool = False


def places_of(specs: Iterable[OutputSpec]) -> tuple[Place, ...]:
    """The places of outputs that have one."""
    return tuple(
        Place(spec.dest, spec.kind is OutputKind.LOCAL or not spec.tar, not spec.tar)
        for spec in specs
        if spec.dest
    )


def check_places(places: tuple[Place, ...]) -> None:
    """Raise where an output has no place: `UsageError` where something else lies there already.

    Also as `refuse_same`; `MachineError` for a directory that is not there.
    """
    refuse_same(places)
    for place in places:
        if place.path != STDOUT:
            _check(place, os.path.realpath(place.path))


def refuse_same(places: Iterable[Place]) -> None:
    """Raise `UsageError` where two want one place; a layout takes several images."""
    known: dict[str, Place] = {}
    for place in places:
        real = place.path if place.path == STDOUT else os.path.realpath(place.path)
        other = known.setdefault(real, place)
        if other is not place and not (other.is_shared and place.is_shared):
            shown = "stdout" if place.path == STDOUT else place.path
            raise UsageError(f"two outputs want {shown}",
                             hint="give each a place of its own")  # fmt: skip


def _check(place: Place, real: str) -> None:
    if not place.is_directory:
        refuse_directory(real)
        above = os.path.dirname(real)
        if not os.path.isdir(above):
            _refuse_missing(above, place)
        return
    if os.path.lexists(real) and not os.path.isdir(real):
        raise UsageError(f"cannot write {place.path}", why="it is a file",
                         hint="name a directory, or a type= that is a file")  # fmt: skip
    # What is missing is made.
    while not os.path.lexists(real):
        real = os.path.dirname(real)
    if not os.path.isdir(real):
        _refuse_missing(real, place)


def _refuse_missing(above: str, place: Place) -> None:
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    code = errno.ENOENT if os.path.isdir(above) else errno.ENOTDIR
    raise output_error(OSError(code, os.strerror(code)), place.path)
