# SPDX-License-Identifier: Apache-2.0
"""A command line of kaniko's executor, read as Go's pflag reads it.

`--flag=value` and `--flag value`, `-fvalue`, `-f=value` and `-f value`; a switch takes its value
after `=` only. What comes last counts, where a flag does not take several. No word that may be a
value is told in an error: it may hold a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from wherry.cli.kaniko_flags import BY_LETTER, BY_NAME, KanikoFlag
from wherry.errors import UsageError, near

# strconv.ParseBool.
_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "FALSE", "false", "False"})
# strconv.ParseInt with base 0, of what fits into 64 bits.
_NUMBER: Final = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]{1,15}|0[bB][01]{1,62}|[0-9]{1,18})")
# time.ParseDuration.
_DURATION: Final = re.compile(
    r"[+-]?(?:0|(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+)"
)
# Words that kaniko's verbs and wherry's own flags have, and what does it here.
_VERBS: Final = {
    "completion": "see: wherry completion --help",
    "help": "see: wherry kaniko --help",
    "login": "wherry login REGISTRY",
    "push": "wherry push IMAGE",
    "version": "wherry --version",
}
_ELSEWHERE: Final = {
    "ca": "name the file as --registry-certificate HOST=FILE",
    "cache-from": "name the repository as --cache=true --cache-repo NAME",
    "cache-to": "name the repository as --cache=true --cache-repo NAME",
    "file": "name it as --dockerfile FILE",
    "load": "leave it out, and run: wherry build --load",
    "output": "write --tar-path FILE or --oci-layout-path DIR",
    "platform": "name it as --custom-platform OS/ARCH",
    "progress": "write --log-format=text, color or json",
    "push": "leave it out: each --destination is pushed to",
    "quiet": "write --verbosity=error",
    "store": "set WHERRY_STORE",
    "tag": "name it as --destination NAME:TAG",
}
_SEE: Final = "see: wherry kaniko --help"


class Given(NamedTuple):
    """The flags of one command line in their order, each with its value as it was written."""

    values: tuple[tuple[KanikoFlag, str], ...] = ()
    wants_help: bool = False

    def texts(self, name: str) -> tuple[str, ...]:
        """All values of a flag."""
        return tuple(value for flag, value in self.values if flag.name == name)

    def text(self, name: str, default: str = "") -> str:
        """The last value of a flag."""
        return (self.texts(name) or (default,))[-1]

    def switch(self, name: str) -> bool | None:
        """What a switch says; None where it is not there."""
        values = self.texts(name)
        return values[-1] in _TRUE if values else None


def read_words(words: Sequence[str]) -> Given:
    """Read the words behind `executor`; raises `UsageError` for what is no flag of kaniko's."""
    values: list[tuple[KanikoFlag, str]] = []
    wants_help = False
    rest = enumerate(words, 1)
    before = ""
    for number, word in rest:
        if word == "--" or not word.startswith("-") or word == "-":
            raise _no_flag(number, word, words, before)
        name, value = _split(word)
        if name in ("help", "h"):
            wants_help |= read_switch("help", "true" if value is None else value)
            continue
        flag = _known(name, is_long=word.startswith("--"))
        if value is None:
            value = "true" if flag.takes == "switch" else _next(flag, rest)
        _check(flag, value)
        values.append((flag, value))
        before = f"--{flag.name}"
    return Given(tuple(values), wants_help)


def read_switch(name: str, value: str) -> bool:
    """A truth value in any of Go's words; raises `UsageError`, `name` is what had it."""
    if value not in _TRUE | _FALSE:
        raise UsageError(f"{name} is neither true nor false", hint=f"write {name}=true")
    return value in _TRUE


def _split(word: str) -> tuple[str, str | None]:
    """The flag's name or letter, and the value in the same word; None where there is none."""
    if word.startswith("--"):
        name, equals, value = word[2:].partition("=")
        return name, value if equals else None
    name = word[1:].partition("=")[0]
    if len(name) > 1 and name in BY_NAME:
        # pflag would take the rest for the value of a letter, which nobody means.
        raise UsageError(f"-{name} is no flag", hint=f"write --{name}")
    letter, rest = word[1], word[2:]
    return letter, rest.removeprefix("=") if rest else None


def _known(name: str, *, is_long: bool) -> KanikoFlag:
    flag = BY_NAME.get(name) if is_long else BY_LETTER.get(name)
    if flag is None:
        shown = f"--{name}" if is_long else f"-{name}"
        hint = _ELSEWHERE.get(name, "")
        if not hint and is_long and (meant := near(name, tuple(BY_NAME))):
            hint = meant.replace("'", "'--", 1)
        raise UsageError(f"kaniko has no flag {shown}", hint=hint or _SEE)
    return flag


def _next(flag: KanikoFlag, rest: Iterator[tuple[int, str]]) -> str:
    for _, word in rest:
        return word
    raise UsageError(f"--{flag.name} has no value", hint=f"write --{flag.name}={flag.metavar}")


def _check(flag: KanikoFlag, value: str) -> None:
    """Raise `UsageError` for a value of the wrong kind."""
    if "\0" in value:
        raise UsageError(f"--{flag.name} holds a NUL character")
    match flag.takes:
        case "switch":
            read_switch(f"--{flag.name}", value)
        case "number" if not _NUMBER.fullmatch(value):
            raise UsageError(f"--{flag.name} is no number", hint=f"write --{flag.name}=3")
        case "duration" if not _DURATION.fullmatch(value):
            raise UsageError(f"--{flag.name} is no duration", hint=f"write --{flag.name}=24h")
        case "choice" if _word(value) not in flag.choices:
            choices = ", ".join(flag.choices)
            raise UsageError(f"--{flag.name} is none of its words",
                             hint=near(value, flag.choices) or f"one of: {choices}")  # fmt: skip


def _word(value: str) -> str:
    """logrus has two words for warnings, in any case."""
    word = value.lower()
    return "warn" if word == "warning" else word


def _no_flag(number: int, word: str, words: Sequence[str], before: str) -> UsageError:
    if word == "--":
        return UsageError("-- stands before nothing: kaniko takes flags only", hint="leave it out")
    if number == 1 and word in _VERBS:
        return UsageError(f"kaniko's verb {word} is not part of this", hint=_VERBS[word])
    hint = f"the build context is --context; {_SEE}"
    if before and word in _TRUE | _FALSE and words[number - 2] == before:
        hint = f"write {before}={word}"
    where = f", behind {before}," if before else ""
    # Not the word itself: it may be half of a value.
    return UsageError(f"word {number}{where} is no flag, and kaniko takes flags only", hint=hint)
