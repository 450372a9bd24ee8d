# SPDX-License-Identifier: Apache-2.0
"""An entry of `builds` in `.ko.yaml`, and the defaults that hold where it says nothing.

Both come down to the same few facts about one `go build`; an image's settings say where an entry's
facts differ from the defaults', which `[build]` says.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from wherry.errors import UsageError
from wherry.settings.go_values import parse_go_version
from wherry.settings.image_values import parse_capabilities
from wherry.settings.ko_flags import GoFlags, map_flags
from wherry.settings.ko_words import BAD_VALUES, KoFile, words_of
from wherry.settings.model import ImageSettings
from wherry.settings.templates import Name, literal, parse
from wherry.settings.yaml_text import Table, Value

_KEYS: Final = ("id", "dir", "main", "env", "flags", "ldflags", "linux_capabilities")
# Variables that other facts of wherry's decide.
_PLATFORM: Final = ("GOOS", "GOARCH", "GOARM", "GOAMD64", "GOARM64", "GO386")
# What ko's users write for a variable that may be unset; the one condition that is understood.
_IF_SET: Final = re.compile(
    r"\{\{\s*if\s+\(?\s*index\s+\.Env\s+[\"`](\w+)[\"`]\s*\)?\s*\}\}"
    r"\{\{\s*\.Env\.\1\s*\}\}\{\{\s*end\s*\}\}",
    re.ASCII,
)
_UNDERSTOOD: Final = ("CGO_ENABLED", "GOFLAGS", "GOTOOLCHAIN")
_TRUE: Final = ("1", "true")

Variables = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Defaults:
    """What one `go build` is told; `env` are variables of it, which may be secrets."""

    ldflags: tuple[str, ...] = ()
    gcflags: tuple[str, ...] = ()
    build_tags: tuple[str, ...] = ()
    stamp: str = "off"
    cgo: bool = False
    go: str = ""
    env: Variables = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Build:
    """One entry: its name, empty where it has none, its package's directory, and its settings.

    `image` has neither name nor packages yet; `source` is where the entry stands.
    """

    name: str
    package: str
    image: ImageSettings
    source: Value


@dataclass(frozen=True, slots=True)
class _Said:
    """The parts of one build as the file has them; None is not said."""

    env: Value | None
    flags: Value | None
    ldflags: Value | None


def read_defaults(file: KoFile, tables: Mapping[str, Value], env: Mapping[str, str]) -> Defaults:
    """`defaultEnv`, `defaultFlags` and `defaultLdflags`; `env` is the environment around ko."""
    said = _Said(*(tables.get(f"default{name}") for name in ("env", "flags", "ldflags")))
    if not env.get("KO_DEFAULTLDFLAGS"):
        return _facts(file, said)
    return _facts(file, said, split=True)


def read_build(file: KoFile, entry: Table, defaults: Defaults) -> Build:
    """An entry, with what it says besides `defaults`."""
    values = {key.lower(): value for key, value in entry.entries}
    for key, value in entry.entries:
        if key.lower() not in _KEYS:
            file.note(value, f"builds: {key} is left out: ko does not read it either")
    said = {name: values.get(name) for name in ("env", "flags", "ldflags")}
    facts = _over(file, said, defaults)
    changed: dict[str, Any] = {
        name: getattr(facts, name)
        for name in ("ldflags", "gcflags", "build_tags", "stamp", "cgo")
        if getattr(facts, name) != getattr(defaults, name)
    }
    if facts.go not in ("", defaults.go):
        file.note(
            entry, "builds: GOTOOLCHAIN of one image is left out: [build] go names it for all"
        )
    capabilities = _capabilities(file, values.get("linux_capabilities"))
    package = _package(file.text("dir", values.get("dir")), file.text("main", values.get("main")))
    image = ImageSettings(name="", capabilities=capabilities or None, **changed)
    return Build(file.text("id", values.get("id")), package, image, entry)


def _over(file: KoFile, said: dict[str, Value | None], defaults: Defaults) -> Defaults:
    """The facts of an entry: what it says of env, flags and ldflags, each replaces the default."""
    own = _facts(file, _Said(**said), defaults.env if _is_empty(file, said["env"]) else ())
    if _is_empty(file, said["env"]):
        own = replace(own, cgo=defaults.cgo, go=defaults.go)
    if _is_empty(file, said["flags"]):
        tags = own.build_tags or defaults.build_tags
        gcflags, stamp = own.gcflags or defaults.gcflags, defaults.stamp
        own = replace(own, build_tags=tags, gcflags=gcflags, stamp=stamp)
    return own if own.ldflags else replace(own, ldflags=defaults.ldflags)


def _is_empty(file: KoFile, value: Value | None) -> bool:
    return file.is_null(value) or getattr(value, "items", True) == ()


def _package(directory: str, main: str) -> str:
    """The package's directory; `main` may name a file in it."""
    if main.endswith(".go"):
        main = posixpath.dirname(main) or "."
    return posixpath.normpath(posixpath.join(directory or ".", main or "."))


def _facts(file: KoFile, said: _Said, env: Variables = (), *, split: bool = False) -> Defaults:
    variables = _variables(file, said.env)
    around = dict(variables or env)
    filler = _Filler(file, around)
    goflags = _flags(file, tuple(around.get("GOFLAGS", "").split()), said.env, None)
    words = tuple(filler.filled(*word) for word in words_of(file, "flags", said.flags))
    flags = _flags(file, words, said.flags, goflags)
    linker = words_of(file, "ldflags", said.ldflags, split=split)
    ldflags = tuple(filler.filled(*word) for word in linker)
    _note_variables(file, said.env, [name for name, _ in variables if name not in filler.used])
    if filler.has_date:
        file.say("{{.Date}} and {{.Timestamp}} are SOURCE_DATE_EPOCH or the commit's time, not now")
    return Defaults(
        ldflags=ldflags or flags.ldflags,
        gcflags=flags.gcflags,
        build_tags=flags.build_tags,
        stamp=flags.stamp,
        cgo=dict(variables).get("CGO_ENABLED", "") in _TRUE,
        go=_toolchain(file, said.env, dict(variables).get("GOTOOLCHAIN", "")),
        env=variables,
    )


def _flags(
    file: KoFile, words: tuple[str, ...], place: Value | None, before: GoFlags | None
) -> GoFlags:
    try:
        found = map_flags(words, before)
    except BAD_VALUES as error:
        file.wrong(place, error)
        return before or GoFlags()
    for line in found.unknown:
        file.note(place, line)
    return replace(found, unknown=())


def _variables(file: KoFile, value: Value | None) -> Variables:
    found: dict[str, str] = {}
    for word, place in words_of(file, "env", value):
        name, equals, text = word.partition("=")
        if equals and name:
            found[name] = text
        else:
            # Somebody may have written the value alone, and it may be a secret.
            file.wrong(place, UsageError("env: an entry has no '='", hint="write NAME=VALUE"))
    return tuple(found.items())


def _note_variables(file: KoFile, place: Value | None, unread: list[str]) -> None:
    """One line for variables that only go reads; those of templates stand in these by now."""
    others = [name for name in unread if name not in (*_UNDERSTOOD, *_PLATFORM)]
    if others:
        line = f"env: set for the build itself, not in wherry.toml: {', '.join(others)}"
        file.note(place, line)
    decided = [name for name in unread if name in _PLATFORM and name != "GOOS"]
    if decided:
        line = f"env: left out, platforms decide, as linux/amd64/v3: {', '.join(decided)}"
        file.note(place, line)


def _toolchain(file: KoFile, place: Value | None, text: str) -> str:
    if not text:
        return ""
    try:
        return parse_go_version(text.removeprefix("go"))
    except BAD_VALUES:
        file.note(place, "env: GOTOOLCHAIN is left out: go = names an exact version, or go.mod one")
        return ""


class _Filler:
    """Puts what an entry's own env says in place of `{{.Env.NAME}}`; `used` are those names."""

    def __init__(self, file: KoFile, variables: Mapping[str, str]) -> None:
        self._file = file
        self._variables = variables
        self.used: set[str] = set()
        self.has_date = False

    def filled(self, text: str, place: Value) -> str:
        try:
            template = parse(_IF_SET.sub(r'{{index .Env "\1"}}', text))
            filled = "".join(map(self._part, template.parts))
        except BAD_VALUES as error:
            self._file.wrong(place, error)
            return text
        self.has_date = self.has_date or template.uses_date
        return filled

    def _part(self, part: str | Name) -> str:
        if not isinstance(part, Name):
            return literal(part)
        variable = part.name.removeprefix("Env.")
        if variable in ("GOOS", "GOARCH") and variable not in self._variables:
            raise UsageError(
                f"templates do not know {{{{.Env.{variable}}}}} here",
                why="for ko it is that of the platform",
                hint=f"a program asks Go's package runtime: runtime.{variable}",
            )
        if variable == part.name or variable not in self._variables:
            return f'{{{{index .Env "{variable}"}}}}' if part.optional else f"{{{{.{part.name}}}}}"
        self.used.add(variable)
        return literal(self._variables[variable])


def _capabilities(file: KoFile, value: Value | None) -> tuple[str, ...]:
    """Names, or clauses such as `net_admin,net_raw=ep`; wherry's are permitted and effective."""
    found: list[str] = []
    for word, place in words_of(file, "linux_capabilities", value):
        clause = re.fullmatch(r"([A-Za-z0-9_,]+)(?:[=+]([pie]+))?", word)
        actions = clause[2] if clause else ""
        if clause is None or (actions and "p" not in actions) or clause[1].lower() == "all":
            file.note(place, f"linux_capabilities: {word!r} is left out: name the capabilities")
            continue
        try:
            found += parse_capabilities([name for name in clause[1].split(",") if name])
        except BAD_VALUES as error:
            file.wrong(place, error)
            continue
        if "e" not in (actions or ""):
            file.note(place, "linux_capabilities: wherry makes them effective from the start")
        if "i" in (actions or ""):
            file.note(place, "linux_capabilities: wherry makes none inheritable")
    return tuple(dict.fromkeys(found))
