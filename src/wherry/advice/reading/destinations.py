# SPDX-License-Identifier: Apache-2.0
"""Where a COPY goes: its destination as a path of the root, as far as the file tells."""

from __future__ import annotations

import re
from collections.abc import Sized
from typing import TYPE_CHECKING, Final

from wherry.frontends.dockerfile.instructions import Copy, Workdir

if TYPE_CHECKING:
    from wherry.advice.views import Line

VARIABLE: Final = re.compile(r"\$\{?([A-Za-z_]\w*)")
WILD: Final = re.compile(r"[*?\[]")


def is_known(line: Line, word: str) -> bool:
    """Whether every variable of a word has a value where the instruction stands."""
    return all(line.state.variables.get(name) for name in VARIABLE.findall(word))


def knows_directory(line: Line) -> bool:
    """Whether the working directory of an instruction can be told from the file."""
    return all(
        is_known(before, before.instruction.path)
        for before in line.stage.all_lines
        if isinstance(before.instruction, Workdir)
    )


def target_of(line: Line) -> str | None:
    """The absolute path that a COPY's destination means; None where it is not known."""
    typed = line.instruction
    if not isinstance(typed, Copy) or not is_known(line, typed.destination):
        return None
    destination = line.expand(typed.destination)
    if not destination.startswith("/") and not knows_directory(line):
        return None
    return line.state.path(destination)


def goes_into(line: Line) -> bool:
    """Whether what is written makes a COPY's destination a directory that it copies into."""
    typed = line.instruction
    return isinstance(typed, Copy) and is_into(line.expand(typed.destination), typed.sources)


def is_into(destination: str, sources: Sized) -> bool:
    """As `goes_into`, of a destination whose variables are worked in."""
    return len(sources) > 1 or destination.endswith(("/", "/.")) or destination in (".", "..")
