# SPDX-License-Identifier: Apache-2.0
"""What a shell would run: the simple commands of a RUN's text, with their words and places.

The text is read as POSIX shell and bash are (tree-sitter's grammar of bash), so that commands in
`&&` lists, groups, conditions, loops and substitutions are all found. What cannot be read is left
out: whoever asks learns less, never something wrong.
"""

from __future__ import annotations

import posixpath
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.advice.views import POSIX_SHELLS

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

_ASSIGNMENTS: Final = "variable_assignment"
_NESTED: Final = frozenset(("command_substitution", "process_substitution"))
# Nobody writes more; what asks about each command in the light of all others would take too long.
_LONGEST: Final = 100_000
_MOST_COMMANDS: Final = 2_000
_MOST_WRAPPERS: Final = 20
# Substitutions in one another are parts of many words.
_MOST_LETTERS: Final = 1 << 20
# Programs that run the rest of their words as a command, and their options that take a word.
_WRAPPERS: Final[dict[str, str]] = {
    "command": "", "exec": "a", "env": "uCS", "nice": "n", "nohup": "", "sudo": "ugpCh",
    "time": "fo", "timeout": "ks", "xargs": "IdEeLnPs", "setarch": "", "stdbuf": "ioe",
}  # fmt: skip


class Word(NamedTuple):
    """A word of a command: `raw` as written, `value` without quotes; where it is in the text.

    `fixed` says that no variable or substitution is in it, so that `value` is what the program
    gets; otherwise variables stand in `value` as they are written.
    """

    raw: str
    value: str
    fixed: bool
    start: int
    end: int


class Redirect(NamedTuple):
    """Output or input that goes to a file: the operator and the file."""

    operator: str
    target: Word


class Command(NamedTuple):
    """A simple command.

    `words` holds the program first; `assignments` are the variables set for it alone, or for what
    follows where there is no program. `wrapped` are the words of programs before it that run it
    (`env`, `sudo`, `time`). `nested` says that it is in a substitution, whose output becomes text.
    `depth` counts the groups, conditions, loops and subshells around it; `shell` is a number that
    commands of one shell share: `cd` and `export` count there alone. `negated` or `either` says
    that its failure does not stop the list (`cmd || true`, `! cmd`, conditions).
    """

    words: tuple[Word, ...]
    assignments: tuple[tuple[str, Word], ...]
    redirects: tuple[Redirect, ...]
    wrapped: tuple[Word, ...]
    start: int
    end: int
    nested: bool
    depth: int
    shell: int
    either: bool

    @property
    def program(self) -> str:
        """The program's name without its directory, empty where it is not known."""
        if not self.words or not self.words[0].fixed:
            return ""
        return posixpath.basename(self.words[0].value)

    @property
    def arguments(self) -> tuple[str, ...]:
        """The values of the words behind the program."""
        return tuple(word.value for word in self.words[1:])

    def environment(self) -> dict[str, str]:
        """What its own assignments say, variables as written."""
        return {name: word.value for name, word in self.assignments}


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
        yield from _unwrapped(own)

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
        value, fixed = _unquoted(raw)
        return Word(raw, value, fixed, self._at(node.start_byte), self._at(node.end_byte))

    def _slice(self, node: Node) -> str:
        return self._text[self._at(node.start_byte) : self._at(node.end_byte)]

    def _at(self, offset: int) -> int:
        """The character at a byte."""
        return bisect_right(self._starts, offset) - 1 if self._starts else offset


def _unwrapped(command: Command) -> Iterator[Command]:
    """The command itself, or what `env`, `sudo` and their like, or `sh -c`, run."""
    for _ in range(_MOST_WRAPPERS):
        inner = _wrapped(command)
        if inner is None:
            break
        command = inner
    script = _script(command) if command.program in POSIX_SHELLS else None
    if script is None:
        yield command
    else:
        yield from _shifted(script, command)


def _wrapped(command: Command) -> Command | None:
    """What a command's program runs; None where it is none that runs others."""
    program = command.program
    if program not in _WRAPPERS:
        return None
    words, assignments = list(command.words), list(command.assignments)
    takes = _WRAPPERS[program]
    at = 1
    while at < len(words):
        text = words[at].value
        if text == "--":
            at += 1
            break
        if text.startswith("-") and len(text) > 1:
            at += 2 if len(text) == 2 and text[1] in takes else 1
        elif program == "env" and "=" in text:
            name, _, value = text.partition("=")
            assignments.append((name, words[at]._replace(value=value)))
            at += 1
        else:
            break
    if program == "timeout":
        at += 1
    if at >= len(words):
        return None
    wrapped = (*command.wrapped, *words[:at])
    return command._replace(
        words=tuple(words[at:]), assignments=tuple(assignments), wrapped=wrapped
    )


def _script(command: Command) -> Word | None:
    for at, word in enumerate(command.words[1:-1], 1):
        text = word.value
        if text.startswith("-") and not text.startswith("--") and "c" in text:
            following = command.words[at + 1]
            return following if following.fixed and following.raw[:1] in "'\"" else None
        if not text.startswith(("-", "+")):
            return None
    return None


def _shifted(script: Word, outer: Command) -> Iterator[Command]:
    """The commands of a quoted script, placed inside the quotes; the shell, if none is read."""
    exact = script.value == script.raw[1:-1]
    found = read_commands(script.value)
    if not found:
        yield outer
    by = script.start + 1
    for inner in found:
        yield inner._replace(
            words=tuple(_moved(word, by, script, exact) for word in inner.words),
            assignments=(
                *outer.assignments,
                *((name, _moved(word, by, script, exact)) for name, word in inner.assignments),
            ),
            redirects=tuple(
                Redirect(item.operator, _moved(item.target, by, script, exact))
                for item in inner.redirects
            ),
            start=inner.start + by if exact else outer.start,
            end=inner.end + by if exact else outer.end,
            nested=inner.nested or outer.nested,
            depth=inner.depth + outer.depth + 1,
            shell=-1 - inner.shell - outer.start,
            either=inner.either or outer.either,
        )


def _moved(word: Word, by: int, script: Word, exact: bool) -> Word:
    if exact:
        return word._replace(start=word.start + by, end=word.end + by)
    return word._replace(start=script.start, end=script.end)


def _unquoted(raw: str) -> tuple[str, bool]:
    """A word without its quotes, and whether it holds nothing that a shell works in."""
    if not any(mark in raw for mark in "'\"\\$`*?[~{"):
        return raw, True
    value: list[str] = []
    fixed = True
    at, quote = 0, ""
    while at < len(raw):
        letter = raw[at]
        if quote == "'":
            if letter == "'":
                quote = ""
            else:
                value.append(letter)
        elif letter == "\\" and at + 1 < len(raw):
            following = raw[at + 1]
            if quote and following not in '"\\$`\n':
                value.append(letter)
            if following != "\n":
                value.append(following)
            at += 1
        elif letter == '"':
            quote = "" if quote else '"'
        elif letter == "'" and not quote:
            quote = "'"
        else:
            fixed = fixed and letter not in "$`" and (bool(quote) or letter not in "*?[~{")
            value.append(letter)
        at += 1
    return "".join(value), fixed
