# SPDX-License-Identifier: Apache-2.0
"""Reading a text with quotes, escapes and variables from left to right.

Nesting has no limit: what is open lies on a stack of our own. Pieces of text are joined once, at
the end, so that long words take time in proportion to their length.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Final, NamedTuple

from wherry.frontends.dockerfile.forms import (
    FormError,
    Piece,
    check_operator,
    evaluated,
    joined,
    name_end,
    with_replaced,
)
from wherry.frontends.dockerfile.shell_pattern import LONGEST

_SHOWN: Final = 80  # characters of a word in a message


class WordError(Exception):
    """A word that cannot be expanded; the message says which, and what is wrong in it."""


class Manner(NamedTuple):
    """How to expand, see `wherry.frontends.dockerfile.words`.

    `quotes` is False where quotes are ordinary, `splits` is True where words are wanted.
    """

    escape: str
    raw_quotes: bool = False
    raw_escapes: bool = False
    keep_unset: bool = False
    quotes: bool = True
    splits: bool = False


class _Open(NamedTuple):
    """Something whose end is not reached yet: the word, a quotation, or an operand.

    `stop` ends it (empty: the end of the word), `raw` keeps escapes in it, `plain` matches what
    means nothing special there, and `finish` is called with the pieces once it is complete.
    """

    stop: str
    raw: bool
    plain: re.Pattern[str]
    finish: Callable[[list[Piece]], None]
    pieces: list[Piece]


class Expansion:
    """The expansion of one text; ask for its `text` or for its `words`, once."""

    def __init__(self, text: str, variables: Mapping[str, str], manner: Manner) -> None:
        self.used: set[str] = set()
        self.unmatched: set[str] = set()
        self._whole = text
        self._text = text.removeprefix("\ufeff")
        self._at = 0
        self._variables = variables
        self._manner = manner
        self._pieces: list[Piece] = []
        self._words: list[str] = []
        self._word: list[str] = []  # what is read of the word that is not complete yet
        self._stack: list[_Open] = []
        self._length = 0

    def text(self) -> str:
        """The whole text, expanded."""
        self._run()
        return joined(self._pieces)

    def words(self) -> tuple[str, ...]:
        """The expanded text's words."""
        self._run()
        self._end_word()
        return tuple(self._words)

    def _run(self) -> None:
        self._open("", self._manner.raw_escapes, self._pieces.append)
        try:
            self._read()
        except FormError as error:
            raise self._error(str(error)) from None

    def _read(self) -> None:
        while self._stack:
            top = self._stack[-1]
            plain = top.plain.match(self._text, self._at)
            if plain and plain.end() > self._at:
                self._at = plain.end()
                self._give(plain[0], splits=True)
            if self._at < len(self._text):
                self._special(top, self._text[self._at])
            elif top.stop:
                raise self._error(_UNCLOSED[top.stop])
            else:
                self._stack.pop()
                top.finish(top.pieces)

    def _special(self, top: _Open, character: str) -> None:
        """Read one character that may mean something, and what belongs to it."""
        if character == top.stop:
            self._at += 1
            self._stack.pop()
            top.finish(top.pieces)
        elif character == "$":
            self._at += 1
            self._dollar()
        elif character == self._manner.escape:
            self._at += 1
            (self._escape_in_quotes if top.stop == '"' else self._escape)(top)
        elif character == "'":
            self._single_quotes()
        elif character == '"':
            self._at += 1
            self._open('"', top.raw, self._end_quotes)
        else:
            # The white space after `<<` splits no words: `<< EOF` begins a heredoc.
            arrows = _ARROWS.match(self._text, self._at)
            self._at = arrows.end() if arrows else self._at + 1
            self._give(arrows[0] if arrows else character, splits=False)

    def _open(self, stop: str, raw: bool, finish: Callable[[list[Piece]], None]) -> None:
        manner = self._manner
        plain = plain_text(stop, manner.escape, manner.quotes, not self._stack and manner.splits)
        self._stack.append(_Open(stop, raw, plain, finish, []))

    def _give(self, piece: Piece, *, splits: bool) -> None:
        """Add to what is open; `splits` says that white space in it may end a word."""
        if isinstance(piece, str):
            self._length += len(piece)
            if self._length > max(LONGEST, 2 * len(self._whole)):
                raise FormError(f"it expands to more than {LONGEST >> 20} MiB")
        if len(self._stack) > 1 or not self._manner.splits:
            self._stack[-1].pieces.append(piece)
        elif not splits:
            self._word.append(joined([piece]))
        else:
            first, *others = _SPACES.split(joined([piece]))
            self._word.append(first)
            for other in others:
                self._end_word()
                self._word.append(other)

    def _end_word(self) -> None:
        word = "".join(self._word)
        self._word.clear()
        if word:
            self._words.append(word)

    def _escape(self, top: _Open) -> None:
        kept = self._manner.escape if top.raw else ""
        self._give(kept + self._text[self._at : self._at + 1], splits=False)
        self._at = min(self._at + 1, len(self._text))

    def _escape_in_quotes(self, top: _Open) -> None:
        escape = self._manner.escape
        kept = escape if top.raw else ""
        following = self._text[self._at : self._at + 1]
        if following and following in ('"', "$", escape):
            self._at += 1
        else:
            following = escape
        self._give(kept + following, splits=False)

    def _single_quotes(self) -> None:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            raise self._error(_UNCLOSED["'"])
        raw = self._manner.raw_quotes
        self._give(
            self._text[self._at : end + 1] if raw else self._text[self._at + 1 : end], splits=False
        )
        self._at = end + 1

    def _end_quotes(self, pieces: list[Piece]) -> None:
        quote = '"' if self._manner.raw_quotes else ""
        self._give([quote, pieces, quote], splits=False)

    def _dollar(self) -> None:
        if not self._text.startswith("{", self._at):
            name = self._name()
            value = self._value(name) if name else "$"
            if value is None:
                value = f"${name}" if self._manner.keep_unset else ""
            self._give(value, splits=True)
            return
        self._at += 1
        if self._text[self._at : self._at + 1] in ("{", "}", ":"):
            raise self._error("'${' must be followed by a variable's name")
        name = self._name()
        operator = self._operator()
        if operator == "}":
            value = self._value(name)
            if value is None:
                value = f"${{{name}}}" if self._manner.keep_unset else ""
            self._give(value, splits=True)
        elif operator == "/":
            everywhere = self._text.startswith("/", self._at)
            self._at += everywhere
            self._operand("/", True, partial(self._pattern_read, name, everywhere))
        else:
            # Others with a colon are wrong only if the variable's value is asked for.
            if operator in (":#", ":%") or operator[0] != ":":
                check_operator(operator)
            self._operand("}", operator in "#%", partial(self._operand_read, name, operator))

    def _operator(self) -> str:
        """The character after a name in braces, two if the first is a colon."""
        length = 2 if self._text.startswith(":", self._at) else 1
        operator = self._text[self._at : self._at + length]
        if len(operator) < length:
            raise self._error(_UNCLOSED["}"])
        self._at += length
        return operator

    def _operand(self, stop: str, raw: bool, finish: Callable[[list[Piece]], None]) -> None:
        self._word.clear()  # see words.expand_words
        self._open(stop, raw, finish)

    def _operand_read(self, name: str, operator: str, operand: list[Piece]) -> None:
        value = self._value(name)
        if value is None and self._manner.keep_unset:
            self._give([f"${{{name}{operator}", operand, "}"], splits=True)
            return
        self._give(evaluated(name, operator, value, operand), splits=True)

    def _pattern_read(self, name: str, everywhere: bool, pattern: list[Piece]) -> None:
        finish = partial(self._replacement_read, name, everywhere, joined(pattern))
        self._operand("}", True, finish)

    def _replacement_read(
        self, name: str, everywhere: bool, pattern: str, replacement: list[Piece]
    ) -> None:
        value = self._value(name)
        if value is None and self._manner.keep_unset:
            self._give([f"${{{name}/{pattern}/", replacement, "}"], splits=True)
            return
        text = with_replaced(value or "", pattern, joined(replacement), everywhere=everywhere)
        self._give(text, splits=True)

    def _value(self, name: str) -> str | None:
        value = self._variables.get(name)
        (self.unmatched if value is None else self.used).add(name)
        return value

    def _name(self) -> str:
        start = self._at
        self._at = name_end(self._text, start)
        return self._text[start : self._at]

    def _error(self, what: str) -> WordError:
        shown = self._whole if len(self._whole) <= _SHOWN else f"{self._whole[:_SHOWN]}..."
        return WordError(f"cannot expand {shown!r}: {what}")


_UNCLOSED: Final = {
    "}": "a '${' has no '}'",
    "/": "a '/' is missing between pattern and replacement in '${name/pattern/replacement}'",
    '"': "a double quote is not closed",
    "'": "a single quote is not closed",
}
_ARROWS: Final = re.compile(r"<<[\t\r ]*")
_SPACES: Final = re.compile(
    "[\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+"
)


@lru_cache(maxsize=32)
def plain_text(stop: str, escape: str, quotes: bool, arrows: bool) -> re.Pattern[str]:
    """What matches a run of text that means nothing special."""
    special = "$" + escape + stop
    if quotes and stop != '"':
        special += "'\""
    if arrows:
        special += "<"
    return re.compile(f"[^{re.escape(special)}]*")
