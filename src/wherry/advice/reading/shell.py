# SPDX-License-Identifier: Apache-2.0
"""What a shell would run: the simple commands of a RUN's text, with their words and places.

The text is read as POSIX shell and bash are (tree-sitter's grammar of bash), so that commands in
`&&` lists, groups, conditions, loops and substitutions are all found. What cannot be read is left
out: whoever asks learns less, never something wrong.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.advice.reading.shell_words import Command, Redirect, Word, unquoted
from wherry.advice.reading.shell_wrappers import unwrapped

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

_ASSIGNMENTS: Final = "variable_assignment"
_NESTED: Final = frozenset(("command_substitution", "process_substitution"))
# Nobody writes more; what asks about each command in the light of all others would take too long.
_LONGEST: Final = 100_000
_MOST_COMMANDS: Final = 2_000
# Substitutions in one another are parts of many words.
_MOST_LETTERS: Final = 1 << 20


class _TooLong(Exception):
    """The words of a text are, all together, longer than anybody writes."""


@lru_cache(maxsize=2048)
def read_commands(text: str) -> tuple[Command, ...]:
    """The simple commands of a shell text in the order in which they stand.

    None of a text that is far too long to be written by anybody.
    """
    if len(text) > _LONGEST:
        return ()
    encoded = text.encode("utf-8", "replace")
    tree = _parser().parse(encoded)
    reader = _Reader(text, encoded)
    try:
        found = tuple(islice(reader.read(tree.root_node), _MOST_COMMANDS + 1))
    except _TooLong:
        return ()
    return found if len(found) <= _MOST_COMMANDS else ()


@lru_cache(maxsize=1)
def _parser() -> Parser:
    import tree_sitter_bash  # noqa: PLC0415 - nothing but advice needs it
    from tree_sitter import Language, Parser  # noqa: PLC0415

    return Parser(Language(tree_sitter_bash.language()))


class _State(NamedTuple):
    depth: int
    shell: int
    nested: bool
    either: bool


def _last_command(body: Node | None) -> Node | None:
    """Of `a && b`, whose redirection the grammar gives to both, the command that has it: `b`."""
    while body is not None and body.type in ("list", "pipeline"):
        body = body.named_children[-1] if body.named_children else None
    return body if body is not None and body.type == "command" else None


class _Reader:
    def __init__(self, text: str, encoded: bytes) -> None:
        self._text = text
        # At which byte each character begins, where they are not all one byte.
        self._starts: list[int] = []
        if len(text) != len(encoded):
            sizes = (len(letter.encode("utf-8", "replace")) for letter in text)
            self._starts = list(accumulate(sizes, initial=0))
        self._shells = 0
        self._letters = 0
        self._later: dict[int, tuple[Redirect, ...]] = {}

    def read(self, root: Node) -> Iterator[Command]:
        yield from self._walk(root, _State(0, 0, nested=False, either=False))

    def _walk(self, root: Node, first: _State) -> Iterator[Command]:
        # Without recursion: a text may nest as deeply as it likes.
        waiting: list[tuple[Node, _State]] = [(root, first)]
        while waiting:
            node, state = waiting.pop()
            kind = node.type
            if kind == "ERROR":
                continue
            redirects: tuple[Redirect, ...] = ()
            if kind == "redirected_statement":
                redirects = tuple(self._redirects(node))
                body = node.child_by_field_name("body")
                if body is not None and body.type == "command":
                    yield from self._command(body, state, redirects)
                    waiting.extend(self._substitutions(node, state, besides=body))
                    waiting.extend(self._substitutions(body, state))
                    continue
                last = _last_command(body)
                if last is not None:
                    self._later[last.id] = redirects
            if kind == "command":
                yield from self._command(node, state, self._later.pop(node.id, ()))
                waiting.extend(self._substitutions(node, state))
                continue
            if kind in (_ASSIGNMENTS, "variable_assignments"):
                nodes = [node] if kind == _ASSIGNMENTS else node.named_children
                pairs = tuple(self._assignment(item) for item in nodes)
                yield Command((), pairs, (), (), self._at(node.start_byte), self._at(node.end_byte),
                              state.nested, state.depth, state.shell, state.either)  # fmt: skip
                waiting.extend(self._substitutions(node, state))
                continue
            if kind == "declaration_command":
                yield self._declaration(node, state)
                waiting.extend(self._substitutions(node, state))
                continue
            waiting.extend(self._inner(node, state))

    def _inner(self, node: Node, state: _State) -> list[tuple[Node, _State]]:
        """The parts of a compound, last first, each with what is true in it."""
        kind = node.type
        if kind == "subshell" or kind in _NESTED:
            self._shells += 1
            state = state._replace(
                depth=state.depth + 1, shell=self._shells, nested=state.nested or kind in _NESTED
            )
        elif kind in ("compound_statement", "do_group", "if_statement", "while_statement",
                      "for_statement", "case_statement", "function_definition"):  # fmt: skip
            state = state._replace(depth=state.depth + 1)
        elif kind == "negated_command":
            state = state._replace(either=True)
        parts: list[tuple[Node, _State]] = []
        either = kind == "list" and any(child.type == "||" for child in node.children)
        condition = node.child_by_field_name("condition")
        for child in node.named_children:
            inner = state
            if either or (condition is not None and child == condition):
                inner = state._replace(either=True)
            parts.append((child, inner))
        parts.reverse()
        return parts

    def _substitutions(
        self, node: Node, state: _State, besides: Node | None = None
    ) -> list[tuple[Node, _State]]:
        found: list[tuple[Node, _State]] = []
        waiting = [child for child in node.named_children if child != besides]
        while waiting:
            child = waiting.pop()
            if child.type in _NESTED:
                found.append((child, state))
            else:
                waiting.extend(child.named_children)
        found.sort(key=lambda item: -item[0].start_byte)
        return found

    def _command(
        self, node: Node, state: _State, redirects: tuple[Redirect, ...]
    ) -> Iterator[Command]:
        words: list[Word] = []
        assignments: list[tuple[str, Word]] = []
        for child in node.named_children:
            if child.type == _ASSIGNMENTS:
                assignments.append(self._assignment(child))
            elif child.type == "command_name":
                words.extend(self._word(part) for part in child.named_children[:1])
            elif child.type in ("file_redirect", "herestring_redirect", "heredoc_redirect"):
                redirects = (*redirects, *self._redirect(child))
            elif child.type != "comment":
                words.append(self._word(child))
        start, end = self._at(node.start_byte), self._at(node.end_byte)
        own = Command(tuple(words), tuple(assignments), redirects, (), start, end, state.nested,
                      state.depth, state.shell, state.either)  # fmt: skip
        yield from unwrapped(own, read_commands)

    def _declaration(self, node: Node, state: _State) -> Command:
        """`export A=1 B`: its assignments count for what follows, as plain ones do."""
        pairs = tuple(
            self._assignment(child) for child in node.named_children if child.type == _ASSIGNMENTS
        )
        start, end = self._at(node.start_byte), self._at(node.end_byte)
        return Command((), pairs, (), (), start, end, state.nested, state.depth, state.shell,
                       state.either)  # fmt: skip

    def _assignment(self, node: Node) -> tuple[str, Word]:
        name = node.child_by_field_name("name")
        value = node.child_by_field_name("value")
        end = self._at(node.end_byte)
        empty = Word("", "", fixed=True, start=end, end=end)
        text = "" if name is None else self._slice(name)
        return text, empty if value is None else self._word(value)

    def _redirects(self, node: Node) -> Iterator[Redirect]:
        for child in node.named_children:
            yield from self._redirect(child)

    def _redirect(self, node: Node) -> Iterator[Redirect]:
        target = node.child_by_field_name("destination")
        if node.type == "file_redirect" and target is not None:
            operator = next((part.type for part in node.children if not part.is_named), ">")
            yield Redirect(operator, self._word(target))

    def _word(self, node: Node) -> Word:
        raw = self._slice(node)
        self._letters += len(raw)
        if self._letters > _MOST_LETTERS:
            raise _TooLong
        value, fixed = unquoted(raw)
        return Word(raw, value, fixed, self._at(node.start_byte), self._at(node.end_byte))

    def _slice(self, node: Node) -> str:
        return self._text[self._at(node.start_byte) : self._at(node.end_byte)]

    def _at(self, offset: int) -> int:
        """The character at a byte."""
        return bisect_right(self._starts, offset) - 1 if self._starts else offset
