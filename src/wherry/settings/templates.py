# SPDX-License-Identifier: Apache-2.0
"""Templates in settings: `v{{.Version}}`, wherry's names and ko's, in Go's notation.

A strict little language: names between `{{` and `}}`, and nothing that computes. What Go's
text/template has beyond that is refused by its name, and a name without a value is an error where
it is rendered: a template never becomes an empty text by itself. `{{"{{"}}` stands for `{{`, and
`{{index .Env "NAME"}}` for a variable that may be unset, as ko's users write it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from wherry.errors import UsageError, near

OWN_NAMES: Final = ("Version", "Commit", "Date", "Timestamp")
GIT_NAMES: Final = (
    "Git.Branch", "Git.Tag", "Git.ShortCommit", "Git.FullCommit", "Git.CommitDate",
    "Git.CommitTimestamp", "Git.IsDirty", "Git.IsClean", "Git.TreeState",
)  # fmt: skip
# Known without git where SOURCE_DATE_EPOCH is set.
_TIMES: Final = ("Date", "Timestamp")
_NAMES: Final = OWN_NAMES + GIT_NAMES
_ENV: Final = "Env."

_QUOTED = r'"[^"\\\n]*"|`[^`]*`'
_NAME: Final = re.compile(r"\.(\w+(?:\.\w+)*)", re.ASCII)
_TEXT: Final = re.compile(_QUOTED)
# Up to the `}}` behind any quoted text.
_INSIDE: Final = re.compile(rf"((?:{_QUOTED}|(?!\}}\}}).)*?)\}}\}}", re.DOTALL)
_INDEX: Final = re.compile(r'index\s+\.Env\s+(?:"(\w+)"|`(\w+)`)', re.ASCII)
_KEYWORDS: Final = frozenset(
    "if else end range with define template block break continue".split()  # noqa: SIM905 - words
)
_ESCAPE: Final = '{{"{{"}}'
_NO_TAG: Final = re.compile(r"[^A-Za-z0-9_.-]")
# How goreleaser, a relative of ko's, calls what ko and wherry have under other names.
_ELSEWHERE: Final = {
    "Tag": ".Git.Tag",
    "Branch": ".Git.Branch",
    "ShortCommit": ".Git.ShortCommit",
    "FullCommit": ".Git.FullCommit",
    "CommitDate": ".Git.CommitDate",
    "CommitTimestamp": ".Git.CommitTimestamp",
    "IsGitDirty": ".Git.IsDirty",
    "IsGitClean": ".Git.IsClean",
    "GitTreeState": ".Git.TreeState",
    "Git.Commit": ".Git.FullCommit",
    "Git.Version": ".Version",
}


@dataclass(frozen=True, slots=True)
class Values:
    """What names stand for: `facts` by name as in `OWN_NAMES` and `GIT_NAMES`, `env` by variable.

    `missing` says in one line why a fact is not among them.
    """

    facts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Name:
    """One `{{.NAME}}`; `column` counts characters of the template from 1.

    `optional`: without a value it is empty.
    """

    name: str
    column: int
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed text: literal pieces and names, in order."""

    text: str
    parts: tuple[str | Name, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Every name in it, without the leading dot."""
        return tuple(part.name for part in self.parts if isinstance(part, Name))

    @property
    def uses_git(self) -> bool:
        """Whether a commit is an input; a date is one unless SOURCE_DATE_EPOCH tells it."""
        return any(name in _NAMES and name not in _TIMES for name in self.names)

    @property
    def uses_date(self) -> bool:
        """Whether `{{.Date}}` or `{{.Timestamp}}` is in it."""
        return any(name in _TIMES for name in self.names)

    @property
    def uses_env(self) -> tuple[str, ...]:
        """The environment variables that are inputs, each once, in order."""
        names = (name.removeprefix(_ENV) for name in self.names if name.startswith(_ENV))
        return tuple(dict.fromkeys(names))

    def render(self, values: Values) -> str:
        """The text with the values in it; raises `UsageError` where one is missing."""
        return self._rendered(values, lambda _, value: value)

    def render_reference(self, values: Values) -> str:
        """`render` for an image reference: values behind its colon are made fit for a tag.

        `+dirty` becomes `-dirty`, the branch `fix/1` becomes `fix-1`.
        """

        def fit(before: str, value: str) -> str:
            return tag_text(value) if ":" in before.rpartition("/")[2] else value

        return self._rendered(values, fit)

    def _rendered(self, values: Values, fit: Callable[[str, str], str]) -> str:
        text = ""
        for part in self.parts:
            text += part if isinstance(part, str) else fit(text, self._value(part, values))
        return text

    def _value(self, name: Name, values: Values) -> str:
        variable = name.name.removeprefix(_ENV)
        known = values.facts if variable is name.name else values.env
        value = known.get(variable)
        if value is not None or name.optional:
            return value or ""
        what = f"{{{{.{name.name}}}}} has no value{_at(self.text, name.column)}"
        if known is values.env:
            hint = f"set it for this build, {variable}=... wherry build, or write the value itself"
            raise UsageError(what, why=f"{variable} is not set", hint=hint)
        if name.name == "Git.Tag" and not values.missing:
            why = "no commit up to this one has a tag"
            raise UsageError(
                what, why=why, hint="{{.Version}} always has a value; or: git tag v0.1.0"
            )
        hint = "build it in a git repository with a commit, or write the value itself"
        if name.name in _TIMES:
            hint = "set SOURCE_DATE_EPOCH, or build in a git repository with a commit"
        raise UsageError(what, why=values.missing or "git does not tell it", hint=hint)


def parse(text: str) -> Template:
    """Read `text`; raises `UsageError` for what is no template of wherry's."""
    parts: list[str | Name] = []
    position = 0
    while (start := text.find("{{", position)) >= 0:
        parts.append(text[position:start])
        inside = _INSIDE.match(text, start + 2)
        if inside is None:
            hint = f"close it, or write {_ESCAPE} for the braces themselves"
            raise UsageError(f"'{{{{' without '}}}}'{_at(text, start + 1)}", hint=hint)
        parts.append(_action(text, inside[1], start + 1))
        position = inside.end()
    parts.append(text[position:])
    return Template(text, tuple(part for part in parts if part != ""))


def literal(text: str) -> str:
    """A template that renders as `text` itself."""
    text = text.replace("{{", _ESCAPE)
    # The last brace would begin an action together with what follows.
    return f'{text[:-1]}{{{{"{{"}}}}' if text.endswith("{") else text


def tag_text(text: str) -> str:
    """`text` with `-` for every character that an image's tag cannot hold."""
    return _NO_TAG.sub("-", text)


def _action(text: str, inside: str, column: int) -> str | Name:
    words = inside.strip()
    if _TEXT.fullmatch(words):
        return words[1:-1]
    if index := _INDEX.fullmatch(words):
        variable = f"{_ENV}{index[1] or index[2]}"
        _check(text, variable, column)
        return Name(variable, column, optional=True)
    name = _NAME.fullmatch(words)
    if name is None:
        raise _refused(text, words, column)
    _check(text, name[1], column)
    return Name(name[1], column)


def _check(text: str, name: str, column: int) -> None:
    if name in _NAMES or re.fullmatch(r"Env\.[A-Za-z_]\w*", name):
        return
    if name == "GoEnv" or name.startswith("GoEnv."):
        hint = "ko alone has it; a program asks Go's package runtime, as runtime.Version()"
    else:
        hint = _meant(name)
    raise UsageError(f"templates do not know {{{{.{name}}}}}{_at(text, column)}", hint=hint)


def _meant(name: str) -> str:
    if name in _ELSEWHERE:
        return f"here it is {{{{{_ELSEWHERE[name]}}}}}"
    if name == "Env":
        return "name a variable: {{.Env.NAME}}"
    same = [known for known in _NAMES if known.lower() == name.lower()]
    if same:
        return f"did you mean '.{same[0]}'?"
    if meant := near(name, _NAMES):
        return meant.replace("'", "'.", 1)
    return f"known: {', '.join('.' + known for known in _NAMES)}, .Env.NAME"


def _refused(text: str, words: str, column: int) -> UsageError:
    first = re.match(r"[A-Za-z_]\w*", words)
    hint = "only names are known, such as {{.Version}} or {{.Env.NAME}}"
    if not words:
        reason = "nothing between the braces"
    elif words.startswith(("/*", "- /*")):
        reason = "comments"
    elif words.startswith("-") or words.endswith("-"):
        reason = "'-' that trims blanks"
    elif "|" in words:
        reason = "pipes"
    elif "$" in words:
        reason = "variables"
    elif first and first[0] in _KEYWORDS:
        reason = f"'{first[0]}'"
    elif first and first[0] in (*OWN_NAMES, "Env", "Git"):
        reason, hint = f"'{first[0]}' without a dot", f"write {{{{.{words}}}}}"
    elif first:
        reason = f"functions such as '{first[0]}'"
    elif words.startswith(".") and re.search(r"\s", words):
        reason = "arguments behind a name"
    else:
        reason = "this"
    return UsageError(f"templates do not know {reason}{_at(text, column)}",
                      why=f"{{{{{words}}}}} is more of Go's text/template than wherry has",
                      hint=hint)  # fmt: skip


def _at(text: str, column: int) -> str:
    return f" in {text!r}" + (f", character {column}" if column > 1 else "")
