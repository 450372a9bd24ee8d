# SPDX-License-Identifier: Apache-2.0
"""`wherry completion`: what a shell asks when TAB is pressed, and the scripts that ask it.

The scripts know nothing of wherry: they pass the words of the line on and offer what they are
told, so that a new flag is completed without a new script. The first line of an answer says what
the shell adds by itself (`files`, `directories`, nothing) and whether a space follows (`open`: it
does not); each further line is a word and, after a tab, what it means.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final, NamedTuple

import click

from wherry.cli.completion_scripts import SCRIPTS
from wherry.cli.completion_values import images, known_values, places, registries
from wherry.errors import WherryError

_EPILOG: Final = """\b
Examples:
  source <(wherry completion bash)     now; in ~/.bashrc for every shell
  source <(wherry completion zsh)      the same in ~/.zshrc
  wherry completion fish > ~/.config/fish/completions/wherry.fish
"""
# What shells call; no word for people.
_ASK: Final = "words"


class Word(NamedTuple):
    """One word to offer, and what it means."""

    text: str
    help: str = ""


class Answer(NamedTuple):
    """What may stand at the end of the line: words, and `files` or `directories` of the shell.

    `is_open`: a word offered is to be typed on, no space follows.
    """

    words: tuple[Word, ...] = ()
    places: str = ""
    is_open: bool = False

    def lines(self) -> Iterator[str]:
        """The answer as shells read it."""
        yield " ".join(filter(None, (self.places, "open" if self.is_open else ""))) or "none"
        for word in self.words:
            if "\n" not in word.text and "\t" not in word.text:
                yield f"{word.text}\t{word.help}"


@click.command("completion", epilog=_EPILOG, short_help="write the completion script of a shell")
@click.argument("shell", metavar="bash|zsh|fish", type=click.Choice([*SCRIPTS, _ASK]))
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="")
def command(shell: str, words: tuple[str, ...]) -> None:
    """Write a script that teaches a shell to complete wherry's command lines.

    Verbs, flags and their values are completed, the names of images in the store, the targets of
    wherry.toml and the stages of a Dockerfile.
    """
    if shell == _ASK:
        # Whatever is wrong with what was typed so far, it is not told under the user's cursor.
        with suppress(WherryError, OSError, click.ClickException):
            for line in answer(words).lines():
                click.echo(line)
        return
    click.echo(SCRIPTS[shell], nl=False)


def answer(words: Iterable[str]) -> Answer:
    """What may stand in place of the last of `words`, which follow `wherry` on the line."""
    *before, current = [*words] or [""]
    from wherry.cli.verbs import VERBS, verb_named  # noqa: PLC0415 - that module names this one

    if not before:
        named = VERBS if not current.startswith("-") else {"--version": "", "--help": ""}
        return Answer(_beginning(current, (Word(name, what) for name, what in named.items())))
    verb, path = verb_named(before[0]), before[0]
    rest = before[1:]
    if isinstance(verb, click.Group):
        if not rest:
            inner = (Word(name, item.short_help or "") for name, item in verb.commands.items())
            named_help = (Word("--help", ""),) if current.startswith("-") else ()
            return Answer(_beginning(current, (*inner, *named_help)))
        verb, path, rest = verb.commands.get(rest[0]), f"{path} {rest[0]}", rest[1:]
    return Answer() if verb is None else _Line(verb, path, rest).complete(current)


class _Line:
    """The words between a verb and the one to complete, read as click would read them."""

    def __init__(self, verb: click.Command, path: str, words: list[str]) -> None:
        self._path = path
        self._options = [
            param for param in verb.params if isinstance(param, click.Option) and not param.hidden
        ]
        self._by_name = {name: option for option in self._options for name in option.opts}
        # The option whose value comes next, and the values of those that came.
        self._open: click.Option | None = None
        self._given: dict[str, list[str]] = {}
        self._positional: list[str] = []
        self._only_positional = False
        self._is_program = not verb.context_settings.get("allow_interspersed_args", True)
        for word in words:
            self._read(word)

    def _read(self, word: str) -> None:
        if self._open is not None:
            self._take(self._open, word)
            self._open = None
        elif self._only_positional or not word.startswith("-") or word == "-":
            self._positional.append(word)
            # What follows belongs to the program.
            self._only_positional |= self._is_program
        elif word == "--":
            self._only_positional = True
        else:
            name, equals, value = word.partition("=")
            option = self._by_name.get(name)
            if option is None:
                return
            if option.is_flag or equals:
                self._take(option, value)
            else:
                self._open = option

    def _take(self, option: click.Option, value: str) -> None:
        self._given.setdefault(option.opts[0], []).append(value)

    def complete(self, current: str) -> Answer:
        """What may stand in place of `current`."""
        if self._open is not None:
            return self._value(self._open, current, "")
        if self._only_positional or not current.startswith("-"):
            return self._place(current)
        name, equals, value = current.partition("=")
        if equals:
            option = self._by_name.get(name)
            return self._value(option, value, f"{name}=") if option else Answer()
        return Answer(_beginning(current, self._names()))

    def _names(self) -> Iterator[Word]:
        for option in self._options:
            if option.multiple or option.opts[0] not in self._given:
                long = next((name for name in option.opts if name.startswith("--")), option.opts[0])
                yield Word(long, _first_sentence(option.help or ""))
        yield Word("--help", "Show this message and exit")

    def _value(self, option: click.Option, typed: str, head: str) -> Answer:
        if isinstance(option.type, click.Choice):
            return _offered((str(choice) for choice in option.type.choices), typed, head)
        name = option.opts[0]
        # A working directory is one of the image.
        if option.metavar in ("FILE", "DIR") and "--workdir" not in option.opts:
            return Answer((), "directories" if option.metavar == "DIR" else "files")
        found = known_values(name, typed, self._positional, self._given)
        answer = _offered(found.words, found.typed, head + found.head)
        return answer._replace(places=found.places, is_open=found.is_open)

    def _place(self, current: str) -> Answer:
        kind = places(self._path, len(self._positional))
        if kind == "images":
            store = self._given.get("--store", [""])[-1]
            return _offered(images(store), current, "")
        if kind == "registries":
            return _offered(registries(), current, "")
        if kind in ("files", "directories"):
            return Answer((), kind)
        return _offered(kind.split(), current, "")


def _offered(words: Iterable[str], typed: str, head: str) -> Answer:
    return Answer(tuple(Word(head + word) for word in words if word.startswith(typed)))


def _beginning(typed: str, words: Iterable[Word]) -> tuple[Word, ...]:
    return tuple(word for word in words if word.text.startswith(typed))


def _first_sentence(text: str) -> str:
    """Short enough to stand beside a flag in a list."""
    return text.partition(".  [")[0].partition("; ")[0].rstrip(".")
