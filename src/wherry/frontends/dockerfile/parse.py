# SPDX-License-Identifier: Apache-2.0
"""From the text of a Dockerfile to its instructions as written (Dockerfile reference, "Format").

Each line is read by itself, so that all errors of a file are told at once. How an instruction's
arguments are split depends on its keyword:

    ENV LABEL              name, value, "=" again and again; "" instead of "=" for the old form
    ARG                    words, each NAME or NAME=VALUE, with quotes and escapes
    ADD COPY VOLUME        the strings of a JSON array, or words between spaces
    CMD ENTRYPOINT RUN SHELL   the strings of a JSON array, or one text
    HEALTHCHECK            its type, then as for CMD
    EXPOSE FROM            words between spaces
    ONBUILD                none: its instruction is the node's child
    all others             one text, none if it is empty
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from wherry.frontends.dockerfile.directives import read_head
from wherry.frontends.dockerfile.lines import LineReader, Logical, long_lines, split_lines
from wherry.frontends.dockerfile.nodes import Flag, Heredoc, Node, Parsed
from wherry.frontends.dockerfile.refusals import SPACES, BadValue, lower_case, refuse
from wherry.frontends.dockerfile.source import Position, Problem, Problems, Range
from wherry.frontends.dockerfile.split import (
    split_first,
    split_instruction,
    split_json,
    split_list,
    split_pairs,
    split_words,
)

_HEREDOCS: Final = frozenset(("ADD", "COPY", "RUN"))
# ONBUILD may not hold another one, which is for others to say; a chain of them is not followed.
_DEEPEST_CHILD: Final = 8
_TOP: Final = Range(Position(1, 0), Position(1, 0))
_EMPTY_LINE: Final = "an empty line inside an instruction"


# The words of an instruction, and whether they are the strings of a JSON array.
_Arguments = tuple[tuple[str, ...], bool]


def parse(text: str | bytes) -> Parsed:
    """Parse a Dockerfile. Raises `Problems` with all that is wrong with it.

    Bytes that are not UTF-8 are kept as surrogate escapes.
    """
    parsed, problems = parse_leniently(text)
    if problems:
        raise Problems(problems)
    return parsed


def parse_leniently(text: str | bytes) -> tuple[Parsed, tuple[Problem, ...]]:
    """Parse a Dockerfile as far as it goes: the instructions that could be read, the problems.

    For whoever tells what is wrong with those instructions as well.
    """
    lines = split_lines(_decoded(text))
    head = read_head(lines)
    parser = _Parser(LineReader(lines, head.escape, head.lines), head.escape)
    parser.problems += (*long_lines(lines), *head.problems)
    parser.run()
    problems = sorted(parser.problems, key=lambda problem: problem.range)
    if not parser.nodes and not problems:
        empty = refuse(_TOP, "file with no instructions", "begin with FROM and an image's name")
        problems.extend(empty.problems)
    warnings = tuple(parser.warnings)
    parsed = Parsed(tuple(parser.nodes), head.directives, head.escape, warnings)
    return parsed, tuple(problems)


def parse_instruction(text: str, escape: str) -> Node:
    """Parse a single instruction, such as an ONBUILD trigger of a base. Raises `Problems`."""
    lines = split_lines(text)
    parser = _Parser(LineReader(lines, escape), escape)
    parser.run()
    if parser.problems:
        raise Problems(tuple(parser.problems))
    if len(parser.nodes) != 1:
        raise refuse(_TOP, "not a single instruction", "an ONBUILD trigger is one instruction")
    return parser.nodes[0]


def _decoded(text: str | bytes) -> str:
    """The text without its byte order mark. Raises `Problems` for what is no text."""
    if isinstance(text, bytes):
        if text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise refuse(_TOP, "the file is UTF-16 text", "save it as UTF-8")
        text = text.decode("utf-8", "surrogateescape")
    text = text.removeprefix("\ufeff")
    before, nul, _ = text.partition("\0")
    if nul:
        line = before.rpartition("\n")[2]
        place = Position(before.count("\n") + 1, len(line))
        place_after = Position(place.line, place.column + 1)
        hint = "a Dockerfile is text: is this the right file?"
        raise refuse(Range(place, place_after), "the file is not text: it holds a NUL byte", hint)
    return text


class _Parser:
    def __init__(self, reader: LineReader, escape: str) -> None:
        self._reader = reader
        self._escape = escape
        self.nodes: list[Node] = []
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

    def run(self) -> None:
        """Read all that is left; an instruction that is wrong is told and passed over."""
        while (line := self._reader.logical()) is not None:
            if line.empty:
                place = Range(Position(line.empty, 0), self._reader.end_of(line.empty))
                hint = "remove it: such lines will be errors in a later version of the language"
                self.warnings.append(Problem(_EMPTY_LINE, place, hint))
            whole = Range(line.start, self._reader.end_of(line.last))
            try:
                self.nodes.append(self._node(line, whole))
            except BadValue as error:
                self.problems.append(error.at(whole))

    def _node(self, line: Logical, whole: Range) -> Node:
        node = self._instruction(line, 0, whole)
        if "<<" not in line.text or not _may_hold_heredocs(node):
            return node
        from wherry.frontends.dockerfile.heredoc import (  # noqa: PLC0415 - few files need it
            find_markers,
            read_bodies,
        )

        markers = find_markers(line.text)
        if not markers:
            return node
        heredocs = read_bodies(self._reader, markers)
        return _with_heredocs(node, heredocs, self._reader.end_of(self._reader.at))

    def _instruction(self, line: Logical, start: int, whole: Range, depth: int = 0) -> Node:
        """The instruction that begins at `start` of the line and ends with it."""
        original = line.text[start:].rstrip(SPACES) if depth else line.text
        split = split_instruction(original, self._escape)
        keyword = split.keyword
        if keyword not in _READERS:
            keyword = _known(keyword)
        arguments: _Arguments = ((), False)
        child = None
        if keyword != "ONBUILD":
            arguments = _READERS.get(keyword, _text)(split.rest, self._escape, keyword)
        elif split.rest and depth < _DEEPEST_CHILD:
            at = start + split.rest_at
            inner = Range(line.range(at, at).start, whole.end)
            child = self._instruction(line, at, inner, depth + 1)
        flags: tuple[Flag, ...] = ()
        if split.flags:
            places = (line.range(start + flag.start, start + flag.end) for flag in split.flags)
            flags = tuple(map(Flag, (flag.text for flag in split.flags), places))
        return Node(
            keyword, original, split.rest, arguments[0], flags, arguments[1], (), whole,
            () if depth else line.comments, child,
        )  # fmt: skip


def _known(keyword: str) -> str:
    """A keyword in upper case; one of other letters, which is nobody's, as it is written."""
    # Letters compare by their lower case, in which those of other alphabets may be ASCII's.
    lower = lower_case(keyword)
    return lower.upper() if lower.isascii() else keyword


def _may_hold_heredocs(node: Node) -> bool:
    if node.keyword == "ONBUILD" and node.child is not None:
        node = node.child
    return node.keyword in _HEREDOCS and not node.json


def _with_heredocs(node: Node, heredocs: tuple[Heredoc, ...], end: Position) -> Node:
    """The node with its heredocs; those of an ONBUILD are its child's too."""
    child = None if node.child is None else _with_heredocs(node.child, heredocs, end)
    whole = Range(node.range.start, end)
    return replace(node, heredocs=heredocs, range=whole, child=child)


def _text(rest: str, _escape: str, _keyword: str) -> _Arguments:
    return ((rest,) if rest else ()), False


def _list(rest: str, _escape: str, _keyword: str) -> _Arguments:
    return split_list(rest), False


def _words(rest: str, escape: str, _keyword: str) -> _Arguments:
    return split_words(rest, escape), False


def _json_or_text(rest: str, _escape: str, _keyword: str) -> _Arguments:
    strings = split_json(rest)
    return (((rest,) if rest else ()), False) if strings is None else (strings, True)


def _json_or_list(rest: str, _escape: str, _keyword: str) -> _Arguments:
    strings = split_json(rest)
    return (split_list(rest), False) if strings is None else (strings, True)


def _health(rest: str, escape: str, keyword: str) -> _Arguments:
    if not rest:
        return (), False
    kind, command = split_first(rest)
    words, json = _json_or_text(command, escape, keyword)
    return (kind, *words), json


def _pairs(rest: str, escape: str, keyword: str) -> _Arguments:
    return split_pairs(rest, escape, keyword), False


_READERS: Final[dict[str, Callable[[str, str, str], _Arguments]]] = {
    "ADD": _json_or_list, "ARG": _words, "CMD": _json_or_text, "COPY": _json_or_list,
    "ENTRYPOINT": _json_or_text, "ENV": _pairs, "EXPOSE": _list, "FROM": _list,
    "HEALTHCHECK": _health, "LABEL": _pairs, "MAINTAINER": _text, "ONBUILD": _text,
    "RUN": _json_or_text, "SHELL": _json_or_text, "STOPSIGNAL": _text, "USER": _text,
    "VOLUME": _json_or_list, "WORKDIR": _text,
}  # fmt: skip
