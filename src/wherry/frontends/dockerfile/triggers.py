# SPDX-License-Identifier: Apache-2.0
"""Triggers: instructions that a base holds for the stages on top of it (ONBUILD).

They run right after FROM, and stand, for messages, in its line. Their text is read with the
backslash as escape, whatever the file says.
"""

from __future__ import annotations

from collections.abc import Iterable

from wherry.frontends.dockerfile.instructions import Instruction, Onbuild, Source, Stage
from wherry.frontends.dockerfile.notes import Notes
from wherry.frontends.dockerfile.parse import parse_instruction
from wherry.frontends.dockerfile.source import Problem, Problems, Range
from wherry.frontends.dockerfile.typed import read_instruction


def triggers_of(stage: Stage) -> tuple[str, ...]:
    """What a stage of the same file holds for those on top of it."""
    return tuple(
        instruction.expression
        for instruction in stage.instructions
        if isinstance(instruction, Onbuild)
    )


def read_triggers(
    texts: Iterable[str], place: Range, escape: str, notes: Notes
) -> list[Instruction]:
    """The instructions of a base's triggers, as if they stood at `place`."""
    found: list[Instruction] = []
    for text in texts:
        try:
            instruction = read_instruction(parse_instruction(text, "\\"), escape)
        except Problems as wrong:
            for problem in wrong.problems:
                message = f"the base's ONBUILD {_first_line(text)}: {problem.message}"
                notes.fail(Problem(message, place, problem.hint))
            continue
        found.append(instruction._replace(source=Source(place, instruction.source.text)))
    return found


def _first_line(text: str) -> str:
    line = text.partition("\n")[0]
    return line if len(line) <= 80 else f"{line[:77]}..."
