# SPDX-License-Identifier: Apache-2.0
"""Variables: what `$NAME` means at each line, ARG and ENV, automatic and predefined arguments.

Dockerfile reference, "Environment replacement", "ARG", "Automatic platform ARGs in the global
scope", "Predefined ARGs". Before the first FROM there is one global scope; each stage has its own,
which begins as a copy of its base's. Whatever was set last counts, be it by ARG or by ENV.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from wherry.errors import near
from wherry.frontends.dockerfile.advice import is_secret
from wherry.frontends.dockerfile.instructions import Arg, Dockerfile
from wherry.frontends.dockerfile.notes import Notes
from wherry.frontends.dockerfile.quick import quick
from wherry.frontends.dockerfile.refusals import BadValue
from wherry.frontends.dockerfile.request import Request
from wherry.frontends.dockerfile.source import Range
from wherry.frontends.dockerfile.words import WordError, expand, expand_heredoc, expand_words
from wherry.oci.platform import Platform

if TYPE_CHECKING:
    from wherry.oci.image import Pairs

# Known to BuildKit's scanner, and never to a RUN.
_NOT_VARIABLES: Final = ("BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE")
_PROXIES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
_AUTOMATIC: Final = (
    "BUILDPLATFORM", "BUILDOS", "BUILDOSVERSION", "BUILDARCH", "BUILDVARIANT",
    "TARGETPLATFORM", "TARGETOS", "TARGETOSVERSION", "TARGETARCH", "TARGETVARIANT", "TARGETSTAGE",
)  # fmt: skip
_ONE_WORD: Final = re.compile(r"[0-9A-Za-z/:.-]+")
# For how many names that nothing sets a near one is looked for.
_HINTS: Final = 20
_SPECIAL: Final = re.compile("[$'\"\\\\`\ufeff]")


def is_plain(word: str) -> bool:
    """Whether a word means itself, whatever the escape is: no quote, variable or escape in it."""
    return _SPECIAL.search(word) is None


class Scope:
    """The variables of a stage, or of the part before the first FROM.

    `variables` are those that `$NAME` finds and that a RUN gets, in the order in which they were
    last set. `arguments` are the ARGs declared so far, with values, by first declaration. Names
    that nothing sets are noted as `check`. `secrets` are the variables whose names sound secret.
    """

    __slots__ = ("_check", "_notes", "arguments", "escape", "secrets", "variables")

    def __init__(self, escape: str, notes: Notes, check: str = "UndefinedVar") -> None:
        self.escape = escape
        self.variables: dict[str, str] = {}
        self.arguments: dict[str, str] = {}
        self.secrets: set[str] = set()
        self._notes = notes
        self._check = check

    def copy(self) -> Scope:
        """The same, to be changed apart."""
        scope = Scope(self.escape, self._notes, self._check)
        scope.variables = dict(self.variables)
        scope.arguments = dict(self.arguments)
        scope.secrets = set(self.secrets)
        return scope

    def set(self, name: str, value: str) -> None:
        """Set a variable; it becomes the last."""
        if self.variables.pop(name, None) is None and is_secret(name):
            self.secrets.add(name)
        self.variables[name] = value

    def environment(self) -> tuple[str, ...]:
        """`NAME=value` of all variables."""
        return tuple([f"{name}={value}" for name, value in self.variables.items()])

    def expand(self, word: str, place: Range) -> str:
        """A word with variables, quotes and escapes worked in; raises `BadValue`."""
        if is_plain(word):
            return word
        try:
            expanded = quick(word, self.variables) or expand(word, self.variables, self.escape)
        except WordError as error:
            raise BadValue(str(error)) from None
        if expanded.unmatched:
            self._undefined(expanded.unmatched, place)
        return expanded.text

    def expand_all(self, words: Iterable[str], place: Range) -> list[str]:
        """Each word by itself."""
        return [self.expand(word, place) for word in words]

    def expand_words(self, text: str) -> tuple[str, ...]:
        """The words that a text becomes, if it is split where a variable brought blanks."""
        if _ONE_WORD.fullmatch(text):
            return (text,)
        try:
            return expand_words(text, self.variables, self.escape)
        except WordError as error:
            raise BadValue(str(error)) from None

    def expand_content(self, text: str, place: Range) -> str:
        """A heredoc's content: variables only, quotes stay. The escape is always a backslash."""
        try:
            # Without quotes a text is a word like any other.
            easy = None if '"' in text or "'" in text else quick(text, self.variables)
            expanded = easy or expand_heredoc(text, self.variables)
        except WordError as error:
            raise BadValue(str(error)) from None
        if expanded.unmatched:
            self._undefined(expanded.unmatched, place)
        return expanded.text

    def _undefined(self, names: Iterable[str], place: Range) -> None:
        for name in sorted(names):
            if name not in self.arguments and name not in _NOT_VARIABLES:
                hints = self._notes.hints
                if name not in hints and len(hints) < _HINTS:
                    hints[name] = near(name, tuple(self.variables))
                message = f"the variable {name} is not set"
                self._notes.warn(self._check, message, place, hints.get(name, ""))


def global_scope(request: Request, notes: Notes) -> Scope:
    """The scope that FROM lines see: automatic arguments, then the ARGs before the first FROM."""
    dockerfile = request.dockerfile
    scope = Scope(dockerfile.escape, notes, "UndefinedArgInFrom")
    for name, automatic in zip(_AUTOMATIC, _automatic_values(request), strict=True):
        scope.variables[name] = request.build_args.get(name, automatic)
    for instruction in dockerfile.arguments:
        for name, default in instruction.arguments:
            value = request.build_args.get(name)
            if value is None and default is not None:
                try:
                    value = scope.expand(default, instruction.source.range)
                except BadValue as wrong:
                    notes.fail(wrong.at(instruction.source.range))
            scope.arguments[name] = value or ""
            if value is not None:
                scope.set(name, value)
    return scope


def declare(
    scope: Scope, instruction: Arg, given: Mapping[str, str], outer: Mapping[str, str]
) -> list[str]:
    """An ARG of a stage; gives `NAME[=value]` of each argument. Raises `BadValue`.

    A value given by the user beats the default, and the default beats the global scope's.
    """
    lines = []
    for name, default in instruction.arguments:
        value = given.get(name)
        if value is None:
            if default is not None:
                value = scope.expand(default, instruction.source.range)
            else:
                value = outer.get(name)
        if value is not None and name not in _NOT_VARIABLES:
            scope.set(name, value)
        scope.arguments[name] = value or ""
        lines.append(name if value is None else f"{name}={value}")
    return lines


def proxies(build_args: Mapping[str, str]) -> Pairs:
    """The proxy variables that a RUN gets, in both spellings, from predefined arguments.

    Of two spellings of one the lower case counts.
    """
    values: dict[str, str] = {}
    for name in sorted(build_args):
        if name.upper() in _PROXIES:
            values[name.upper()] = build_args[name]
    return tuple(
        (spelling, values[name])
        for name in _PROXIES
        if values.get(name)
        for spelling in (name, name.lower())
    )


def unused_arguments(build_args: Mapping[str, str], declared: Iterable[str]) -> tuple[str, ...]:
    """The given arguments that no ARG takes and that mean nothing by themselves."""
    known = {*declared, *_AUTOMATIC}
    return tuple(
        name
        for name in sorted(build_args)
        if name not in known
        and name.upper() not in _PROXIES
        and not name.startswith("BUILDKIT_")
        and name != "SOURCE_DATE_EPOCH"
    )


def declared_arguments(dockerfile: Dockerfile) -> set[str]:
    """The names of all ARGs of a file."""
    stages = (item for stage in dockerfile.stages for item in stage.instructions)
    return {
        name
        for instruction in (*dockerfile.arguments, *stages)
        if isinstance(instruction, Arg)
        for name, _ in instruction.arguments
    }


def normal_platform(platform: Platform) -> Platform:
    """The platform with the variant that its architecture alone means: arm is arm/v7."""
    if platform.architecture == "arm" and not platform.variant:
        return platform._replace(variant="v7")
    if (platform.architecture, platform.variant) in (("arm64", "v8"), ("amd64", "v1")):
        return platform._replace(variant="")
    return platform


def _automatic_values(request: Request) -> tuple[str, ...]:
    build, target = normal_platform(request.build_platform), normal_platform(request.platform)
    stages = request.dockerfile.stages
    stage = request.target or (stages[-1].base.name if stages else "")
    return (
        str(build), build.os, "", build.architecture, build.variant,
        str(target), target.os, "", target.architecture, target.variant, stage or "default",
    )  # fmt: skip
