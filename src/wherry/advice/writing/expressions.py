# SPDX-License-Identifier: Apache-2.0
"""What a Go expression is worth, as far as the sources say so plainly: texts, and names for them.

Only what has one value counts. A variable of the environment stands for its default, a flag too. A
name that is given two different values, or one that cannot be read, has none. Names are looked for
in the function around first, then in the package.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from wherry.advice.reading.go_source import GoFile

_DEEPEST: Final = 8
_TEXT: Final = re.compile(r'"((?:[^"\\\n]|\\.)*)"|`([^`]*)`')
_NUMBER: Final = re.compile(r"\d{1,5}")
_NAME: Final = re.compile(r"[*&]?([A-Za-z_]\w*)")
_CALL: Final = re.compile(r"([A-Za-z_][\w.]*)\s*\(")
_CONVERSION: Final = frozenset(("string", "strconv.Itoa", "int", "strings.TrimSpace"))
_ENVIRONMENT: Final = frozenset(("os.Getenv", "os.LookupEnv", "syscall.Getenv"))
_FLAGS: Final = frozenset(("flag.String", "flag.Int", "flag.Uint", "pflag.String", "pflag.Int"))
# The default is the third word; the first is the variable.
_FLAG_VARIABLES: Final = r"(?:\w+\.)?(?:StringVar|IntVar|UintVar)\s*\(\s*&\s*{name}\s*,"
_OPEN: Final = {"(": ")", "[": "]", "{": "}"}
_ASKS: Final = re.compile(r"\bos\s*\.\s*(?:Getenv|LookupEnv)\s*\(")


class Unread(Exception):
    """An expression whose value the sources do not say."""


class Place(NamedTuple):
    """Where an expression stands: the file, and how far into it."""

    file: GoFile
    at: int


class Values:
    """The names of one package: `files` are its sources."""

    def __init__(self, files: Iterable[GoFile]) -> None:
        self._files = tuple(files)

    def text_of(self, expression: str, place: Place, depth: int = 0) -> str:
        """The value of an expression; empty for a variable of the environment alone.

        Raises `Unread`.
        """
        expression = _bare(expression)
        if depth > _DEEPEST or not expression:
            raise Unread
        parts = split(expression, "+")
        if len(parts) > 1:
            return "".join(self.text_of(part, place, depth + 1) for part in parts)
        if found := _TEXT.fullmatch(expression):
            return found[1] if found[1] is not None else found[2]
        if _NUMBER.fullmatch(expression):
            return expression
        if found := _NAME.fullmatch(expression):
            return self._named(found[1], place, depth + 1)
        if (found := _CALL.match(expression)) and closing(expression, found.end() - 1) == len(
            expression
        ):
            words = split(expression[found.end() : -1], ",")
            return self._called(found[1], words, place, depth + 1)
        raise Unread

    def _named(self, name: str, place: Place, depth: int) -> str:
        # An empty value is that of a variable without a default: `if port == "" { port = "80" }`.
        found = self._definitions(name, place)
        values = {self.text_of(item, where, depth) for item, where in found}
        if len(values - {""}) > 1 or not values:
            raise Unread
        return max(values)

    def _called(self, function: str, words: list[str], place: Place, depth: int) -> str:
        if function in _ENVIRONMENT:
            return ""
        if function in _CONVERSION and len(words) == 1:
            return self.text_of(words[0], place, depth)
        if function in _FLAGS and len(words) == 3:
            return self.text_of(words[1], place, depth)
        if function == "fmt.Sprintf":
            return self._formatted(words, place, depth)
        if function == "net.JoinHostPort" and len(words) == 2:
            return f"{self.text_of(words[0], place, depth)}:{self.text_of(words[1], place, depth)}"
        if function == "cmp.Or":
            return next(filter(None, (self.text_of(word, place, depth) for word in words)), "")
        if len(words) == 2 and function in self._askers and _TEXT.fullmatch(_bare(words[0])):
            return self.text_of(words[1], place, depth)
        raise Unread

    def _formatted(self, words: list[str], place: Place, depth: int) -> str:
        form = _TEXT.fullmatch(_bare(words[0])) if words else None
        if form is None:
            raise Unread
        values = iter([self.text_of(word, place, depth) for word in words[1:]])
        whole = form[1] if form[1] is not None else form[2]
        if len(re.findall(r"%[sdv]", whole)) != len(words) - 1 or re.search(r"%[^sdv]", whole):
            raise Unread
        return re.sub(r"%[sdv]", lambda _: next(values), whole)

    def _definitions(self, name: str, place: Place) -> list[tuple[str, Place]]:
        """The expressions that a name is given: in the function around, else in the package."""
        begin, body, end = _function(place)
        if re.search(rf"\b{name}\b", place.file.code[begin:body]):
            # A word of the function's own: its callers know.
            raise Unread
        local = [item for item in self._given(place.file, name) if begin <= item[1].at < end]
        if any(_declares(name, where) for _, where in local):
            return local
        return [
            item for file in self._files for item in self._given(file, name)
            if _is_shared(name, item[1])
        ]  # fmt: skip

    def _given(self, file: GoFile, name: str) -> Iterator[tuple[str, Place]]:
        given = re.compile(
            rf"(?<![\w.]){name}\b(?:\s*,\s*\w+)?(?:[ \t]+[\w.*]+)?[ \t]*"
            r"(?P<more>[-+*/%&|^]|<<|>>|&\^)?:?=(?!=)"
        )
        for found in given.finditer(file.code):
            place = Place(file, found.end())
            # What is added to a value (`+=`) makes one that no text here says.
            value = file.text[found.end() : _end(file.code, found.end())]
            yield "" if found["more"] else value, place
        for found in re.finditer(_FLAG_VARIABLES.format(name=name), file.code):
            bracket = file.code.index("(", found.start())
            words = split(file.text[found.end() : closing(file.code, bracket) - 1], ",")
            # Whose variable it is does not matter: a flag's is set once.
            yield words[1] if len(words) > 1 else "", Place(file, found.end())

    @cached_property
    def _askers(self) -> frozenset[str]:
        """Functions of two words that ask for a variable of the environment, and may give the
        second instead.
        """
        found = set()
        function = re.compile(r"^func\s+(\w+)\s*\(\s*\w+\s*,\s*(\w+)\s+string\s*\)\s*string\s*\{",
                              re.MULTILINE)  # fmt: skip
        long = re.compile(r"^func\s+(\w+)\s*\(\s*\w+\s+string\s*,\s*(\w+)\s+string\s*\)\s*string"
                          r"\s*\{", re.MULTILINE)  # fmt: skip
        for file in self._files:
            for match in (*function.finditer(file.code), *long.finditer(file.code)):
                body = file.code[match.end() : closing(file.code, match.end() - 1)]
                if _ASKS.search(body) and re.search(rf"\breturn\s+{match[2]}\b", body):
                    found.add(match[1])
        return frozenset(found)


def split(text: str, mark: str) -> list[str]:
    """The parts between marks that stand in no string and no bracket, without blanks around."""
    parts, depth, begin, at = [], 0, 0, 0
    while at < len(text):
        letter = text[at]
        if letter in "\"`'":
            at = _after_string(text, at)
            continue
        depth += (letter in "([{") - (letter in ")]}")
        if letter == mark and not depth:
            parts.append(text[begin:at].strip())
            begin = at + 1
        at += 1
    last = text[begin:].strip()
    return [*parts, last] if last or parts else []


def closing(text: str, at: int) -> int:
    """Behind the bracket that closes the one at a place; the text's end where none does."""
    depth = 0
    while at < len(text):
        letter = text[at]
        if letter in "\"`'":
            at = _after_string(text, at)
            continue
        depth += (letter in "([{") - (letter in ")]}")
        at += 1
        if not depth:
            return at
    return len(text)


def _after_string(text: str, at: int) -> int:
    quote = text[at]
    at += 1
    while at < len(text) and text[at] != quote:
        at += 2 if text[at] == "\\" and quote != "`" else 1
    return at + 1


def _function(place: Place) -> tuple[int, int, int]:
    """Where the function around a place begins, its body and its end; nowhere outside of all."""
    code = place.file.code
    nowhere = place.at, place.at, place.at
    begin = 0 if code.startswith("func ") else code.rfind("\nfunc ", 0, place.at) + 1
    if not code.startswith("func ", begin):
        return nowhere
    body = _body(code, begin)
    end = closing(code, body)
    return (begin, body, end) if end > place.at else nowhere


def _body(code: str, begin: int) -> int:
    """The bracket that a function's body begins with: not those of `interface{}`."""
    at = code.find("(", begin)
    while 0 <= at < len(code):
        if code[at] == "{" and not code[:at].rstrip().endswith(("interface", "struct")):
            return at
        at = closing(code, at) if code[at] in "([{" else at + 1
    return len(code)


def _declares(name: str, place: Place) -> bool:
    """Whether a value is given to a name that is new there."""
    line = place.file.code[place.file.code.rfind("\n", 0, place.at) + 1 : place.at]
    return line.endswith(":=") or re.search(rf"\b(?:var|const)\s+{name}\b", line) is not None


def _is_shared(name: str, place: Place) -> bool:
    """Whether what is given there is the package's own: not another function's variable."""
    begin, _, end = _function(place)
    return begin == end or not _declares(name, place)


def _end(code: str, at: int) -> int:
    """The end of an expression: of its line, or of what it opens; `{` and `;` end it, too."""
    depth = 0
    for place in range(at, len(code)):
        letter = code[place]
        if not depth and letter in "\n;{)":
            return place
        depth += (letter in "([{") - (letter in ")]}")
    return len(code)


def _bare(text: str) -> str:
    text = text.strip()
    while text.startswith("(") and closing(text, 0) == len(text):
        text = text[1:-1].strip()
    return text
