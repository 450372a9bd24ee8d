# SPDX-License-Identifier: Apache-2.0
"""A `.ko.yaml` while it is read: values as ko's reader takes them, errors and notes with lines."""

from __future__ import annotations

from collections.abc import Iterator

from wherry.errors import SeveralErrors, UsageError, WherryError
from wherry.settings.yaml_text import Listing, Table, Text, Value

# What the parsers of single values raise.
BAD_VALUES = (UsageError, SeveralErrors)
# A value of the environment stands in no file.
_NO_LINE = 0


class KoFile:
    """Collects what is wrong with the file `shown`, and what has no counterpart."""

    def __init__(self, shown: str) -> None:
        self._shown = shown
        self._variables: dict[int, str] = {}
        self.errors: list[WherryError] = []
        self.notes: list[str] = []

    def from_variable(self, name: str, text: str) -> Value:
        """The value of an environment variable as one of the file."""
        line = _NO_LINE - len(self._variables)
        self._variables[line] = name
        return Text(text, line)

    def wrong(self, value: Value | None, error: WherryError) -> None:
        """Note `error`, which may be several, at the line of `value`."""
        for one in error.errors if isinstance(error, SeveralErrors) else (error,):
            one.where = self._place(value)
            self.errors.append(one)

    def note(self, value: Value | None, line: str) -> None:
        """Say something about `value`."""
        self.notes.append(f"{self._place(value)}: {line}")

    def say(self, line: str) -> None:
        """Say something that has no place in the file."""
        self.notes.append(line)

    def is_null(self, value: Value | None) -> bool:
        """Whether nothing stands there."""
        return value is None or (isinstance(value, Text) and value.text is None)

    def text(self, name: str, value: Value | None) -> str:
        """A text, empty where nothing stands there."""
        if isinstance(value, Listing | Table):
            self.wrong(value, UsageError(f"{name} wants a text", hint="write it on one line"))
            return ""
        text = (value.text or "") if value else ""
        if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
            self.wrong(value, UsageError(f"{name} holds what is no text", hint="mend the escape"))
            return ""
        return text

    def items(self, name: str, value: Value | None) -> tuple[Value, ...]:
        """A list; nothing is an empty one."""
        if isinstance(value, Listing):
            return value.items
        if not self.is_null(value):
            self.wrong(value, UsageError(f"{name} wants a list", hint="write - before each item"))
        return ()

    def _place(self, value: Value | None) -> str:
        line = value.line if value else 1
        return self._variables.get(line) or f"{self._shown}:{line}"


def words_of(
    file: KoFile, name: str, value: Value | None, *, split: bool = True
) -> Iterator[tuple[str, Value]]:
    """A list of texts, each with its place; a single text is split at blanks, or is one item."""
    if isinstance(value, Text) and value.text is not None:
        text = file.text(name, value)
        for word in text.split() if split else filter(None, [text]):
            yield word, value
        return
    for item in file.items(name, value):
        text = file.text(name, item)
        if text:
            yield text, item
