# SPDX-License-Identifier: Apache-2.0
"""BuildKit's build checks of variables: those that nothing sets, secret ones, their descriptions.

Which words of which instruction are expanded, and what an ARG without a value means, is as in
BuildKit's dockerfile2llb (v0.33.1). What a base sets is known of the common ones alone: below any
other every name may be set.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Final

from wherry.advice.model import Finding, Range, Rule
from wherry.advice.rules.build_check_places import name_of, variable_of
from wherry.errors import near
from wherry.frontends.dockerfile.advice import is_secret
from wherry.frontends.dockerfile.checks import Checks
from wherry.frontends.dockerfile.instructions import (
    Arg,
    Copy,
    Env,
    Instruction,
    Label,
    Run,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from wherry.frontends.dockerfile.mounts import parse_mount
from wherry.frontends.dockerfile.notes import Notes
from wherry.frontends.dockerfile.source import Problems
from wherry.frontends.dockerfile.stages import SCRATCH
from wherry.frontends.dockerfile.triggers import read_triggers, triggers_of
from wherry.frontends.dockerfile.words import WordError, expand, expand_heredoc

if TYPE_CHECKING:
    from wherry.advice.subject import Subject
    from wherry.advice.views import StageView

# Bases whose environment is PATH and what the table has.
_PLAIN_FAMILIES: Final = frozenset(("alpine", "busybox", "debian", "ubuntu"))
_DISTROLESS: Final = re.compile(r"gcr\.io/distroless/(?:static|base|cc)(?:-|:|@|\Z)")
# Of one instruction as many are told of.
_MOST_NAMES: Final = 20
_LONGEST: Final = 256
_CERTIFICATES: Final = "SSL_CERT_FILE"
# Known to the scanner of BuildKit; older images of Go set more than they do now.
_NEVER: Final = ("BUILDKIT_SBOM_SCAN_", "GOLANG_")


def undefined_var(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """A variable that no ARG, no ENV and no base sets, where nothing says what to do without it."""
    walks: dict[int, _Walk] = {}
    hints: dict[str, str] = {}
    for stage in subject.stages:
        walk = _begun(subject, stage, walks)
        if walk is None:
            continue
        walks[stage.number] = walk
        for typed in _instructions(subject, stage):
            node = subject.node_at(typed.source.range)
            for name in islice(sorted(walk.follow(typed)), _MOST_NAMES):
                if name not in hints:
                    is_one_of_few = len(hints) < _MOST_NAMES
                    hints[name] = near(name, tuple(walk.variables)) if is_one_of_few else ""
                hint = hints[name] or f"set it before, or declare ARG {name}"
                message = f"nothing sets the variable {name}"
                yield rule.find(variable_of(subject, node, name), message, hint)


def _begun(subject: Subject, stage: StageView, walks: Mapping[int, _Walk]) -> _Walk | None:
    """What is set where the stage begins; None where its base may set anything."""
    if stage.below is not None:
        below = walks.get(stage.below.number)
        return None if below is None else _Walk(subject, below.variables, below.arguments)
    facts = stage.facts
    variables = {"PATH": "", **dict(facts.environment)}
    if _DISTROLESS.match(stage.image):
        variables[_CERTIFICATES] = ""
    elif not (facts.family in _PLAIN_FAMILIES or facts.environment or _on_nothing(subject, stage)):
        return None
    return _Walk(subject, variables, frozenset())


def _on_nothing(subject: Subject, stage: StageView) -> bool:
    """Whether its FROM says `scratch`: one that is wrong counts as such elsewhere."""
    with suppress(WordError):
        base = stage.stage.base.base
        return expand(base, subject.globals, subject.parsed.escape).text == SCRATCH
    return False


def _instructions(subject: Subject, stage: StageView) -> Iterator[Instruction]:
    """The triggers of the stage below, which stand in the FROM, then the stage's own lines."""
    if stage.below is not None:
        notes = Notes(Checks())
        texts = triggers_of(stage.below.stage)
        yield from read_triggers(texts, stage.range, subject.parsed.escape, notes)
    yield from stage.stage.instructions


class _Walk:
    """What is set, and what is declared, from one instruction of a stage to the next."""

    def __init__(
        self, subject: Subject, variables: Mapping[str, str], arguments: Iterable[str]
    ) -> None:
        self.variables = dict(variables)
        self.arguments = set(arguments)
        self._escape = subject.parsed.escape
        self._globals = subject.globals

    def follow(self, typed: Instruction) -> set[str]:
        """Do what an instruction does to variables; gives the names in it that nothing sets."""
        match typed:
            case Arg(arguments=arguments):
                return self._declare(arguments)
            case Env(variables=pairs):
                words = [word for pair in pairs for word in pair]
                unset = self._unset(words)
                values = [self._value(word) for word in words]
                self.variables.update(zip(values[0::2], values[1::2], strict=True))
                return unset
            case Copy():
                return self._unset(_copied(typed)) | self._unset_in_heredocs(typed)
            case Run(mount_texts=texts):
                return self._unset(self._mounted(texts))
            case _:
                return self._unset(_plain(typed))

    def _declare(self, arguments: tuple[tuple[str, str | None], ...]) -> set[str]:
        unset: set[str] = set()
        for name, default in arguments:
            value = self._globals.get(name)
            if default is not None:
                unset |= self._unset([default])
                value = self._value(default)
            if value is not None:
                self.variables[name] = value
            self.arguments.add(name)
        return unset

    def _value(self, word: str) -> str:
        try:
            # What a value is hardly counts here, and those made of one another may be very long.
            return expand(word, self.variables, self._escape).text[:_LONGEST]
        except WordError:
            return word

    def _unset(self, words: Iterable[str]) -> set[str]:
        unset: set[str] = set()
        for word in words:
            if "$" in word:
                with suppress(WordError):
                    names = expand(word, self.variables, self._escape).unmatched
                    unset.update(self._told(names, word))
        return unset

    def _unset_in_heredocs(self, copy: Copy) -> set[str]:
        unset: set[str] = set()
        for heredoc in copy.heredocs:
            if heredoc.expand and "$" in heredoc.content:
                with suppress(WordError):
                    names = expand_heredoc(heredoc.content, self.variables).unmatched
                    unset.update(self._told(names, heredoc.content))
        return unset

    def _mounted(self, texts: Iterable[str]) -> list[str]:
        words: list[str] = []

        def keep(word: str) -> str:
            words.append(word)
            return self._value(word)

        for text in texts:
            # What a wrong one holds is read as far as it goes.
            with suppress(Problems):
                parse_mount(text, keep)
        return words

    def _told(self, names: Iterable[str], word: str) -> Iterator[str]:
        for name in names:
            if name in self.arguments or name.startswith(_NEVER):
                continue
            # `${NAME:-text}` and `${NAME:+text}` say what to do without it.
            if not re.search(rf"\$\{{{re.escape(name)}:?[-+?]", word):
                yield name


def _copied(copy: Copy) -> list[str]:
    markers = {f"<<{heredoc.name}" for heredoc in copy.heredocs}
    paths = [path for path in copy.sources if path not in markers]
    return [*paths, copy.destination, copy.owner, copy.mode, copy.checksum]


def _plain(typed: Instruction) -> Iterable[str]:
    """The words that are expanded of instructions that set no variable."""
    match typed:
        case Label(labels=labels):
            return [word for label in labels for word in label]
        case Workdir(path=word) | User(user=word) | StopSignal(signal=word):
            return [word]
        case Volume(paths=words):
            return words
        case _:
            return []


def secrets_used(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """ARG and ENV whose names sound as if their values were secret: both stay in the image."""
    for line in subject.lines:
        typed = line.instruction
        if isinstance(typed, Arg):
            keyword, names = "ARG", [name for name, _ in typed.arguments]
        elif isinstance(typed, Env):
            keyword, names = "ENV", [name for name, _ in typed.variables]
        else:
            continue
        for name in names[:_MOST_NAMES]:
            if is_secret(name.strip("\"'")):
                message = f"{keyword} {name}: whoever has the image can read its value"
                hint = "give it to the RUN that needs it: RUN --mount=type=secret,id=ID,env=NAME"
                yield rule.find(name_of(subject, line.node, name), message, hint)


def invalid_description(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """A comment right above an ARG or a named stage that does not begin with its name."""
    for item in subject.dockerfile.arguments:
        yield from _described(subject, rule, item.source.range, _argument_names(item))
    for stage in subject.stages:
        if stage.name:
            yield from _described(subject, rule, stage.range, [stage.name])
        for line in stage.lines:
            if isinstance(line.instruction, Arg):
                yield from _described(subject, rule, line.range, _argument_names(line.instruction))


def _argument_names(item: Arg) -> list[str]:
    return [name for name, _ in item.arguments]


def _described(subject: Subject, rule: Rule, place: Range, names: list[str]) -> Iterator[Finding]:
    node = subject.node_at(place)
    if not node.comments or node.comments[-1].split(" ")[0] in names:
        return
    shown = names[0] if len(names) == 1 else "NAME"
    message = f"the comment above is read as a description of {names[0]}, and is none"
    hint = f"write # {shown} TEXT, or put a line with # alone below the comment"
    yield rule.find(subject.text.first_line(place), message, hint)
