# SPDX-License-Identifier: Apache-2.0
"""Words of a Dockerfile: quotes, escapes and variables (Dockerfile reference, "Environment
replacement"), as BuildKit's shell.Lex reads them.

Forms: `$name`, `${name}`, `${name:-word}`, `${name-word}`, `${name:+word}`, `${name+word}`,
`${name:?word}`, `${name?word}`, `${name#pattern}`, `##`, `%`, `%%`, `${name/pattern/replacement}`
and `//`. What stands inside is expanded whether it is used or not, so that its errors always show.

Nesting has no limit. Two differences to BuildKit: bytes that are not UTF-8 stay as they are (as
surrogate escapes), where there each becomes U+FFFD; and which characters are letters of a name is
decided by this Python's edition of Unicode.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from wherry.frontends.dockerfile.expansion import Expansion, Manner, WordError, plain_text

__all__ = ["Expanded", "WordError", "expand", "expand_heredoc", "expand_words"]


class Expanded(NamedTuple):
    """A word's meaning, the variables it used, and those that it names but nobody set."""

    text: str
    used: frozenset[str]
    unmatched: frozenset[str]


def expand(
    word: str,
    variables: Mapping[str, str],
    escape: str = "\\",
    *,
    raw_quotes: bool = False,
    raw_escapes: bool = False,
    keep_unset: bool = False,
) -> Expanded:
    """Take a word's quotes and escapes away and put values in for its variables.

    `raw_quotes` and `raw_escapes` leave those characters where they are, `keep_unset` leaves
    variables that are not set as they are written. Raises `WordError`.
    """
    if plain_text("", escape, True, False).fullmatch(word):
        return Expanded(word.removeprefix("\ufeff"), frozenset(), frozenset())
    run = Expansion(word, variables, Manner(escape, raw_quotes, raw_escapes, keep_unset))
    text = run.text()
    return Expanded(text, frozenset(run.used), frozenset(run.unmatched))


def expand_words(
    text: str,
    variables: Mapping[str, str],
    escape: str = "\\",
    *,
    raw_quotes: bool = False,
    raw_escapes: bool = False,
    keep_unset: bool = False,
) -> tuple[str, ...]:
    """Expand a text, then split it at white space outside quotes; raises `WordError`.

    White space in a variable's value splits as well, except in double quotes. As in BuildKit, a
    word is dropped as far as it has come where a `${name:-word}` or another form with an operand
    begins: `a${b:-c}d` is `cd`.
    """
    manner = Manner(escape, raw_quotes, raw_escapes, keep_unset, splits=True)
    return Expansion(text, variables, manner).words()


def expand_heredoc(text: str, variables: Mapping[str, str]) -> Expanded:
    """Put values in for the variables of a heredoc's body; raises `WordError`.

    Quotes are ordinary there, and the backslash escapes whatever the file's escape is.
    """
    run = Expansion(text, variables, Manner("\\", quotes=False))
    expanded = run.text()
    return Expanded(expanded, frozenset(run.used), frozenset(run.unmatched))
