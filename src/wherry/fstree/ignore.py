# SPDX-License-Identifier: Apache-2.0
"""Ignore rules: which files of a build context do not take part (.dockerignore).

The rules are those of moby (github.com/moby/patternmatcher and its ignorefile; Dockerfile
reference, ".dockerignore file"): the last rule that matches a path, or a directory above it,
decides; `!` takes a path back in; `*` and `?` stay within a name, `**` is any directories.

There are two readings of "or a directory above it". `excludes` asks every rule about every
directory above. A walk (`step`) hands down what was found above, as BuildKit's transfer of a
context does; a rule that could not change the verdict on a directory was not asked there, so what
it would have matched is not handed down. They differ for rules such as `a/b`, `!a`: `excludes`
takes a/b back in, for a walk it is hidden. What a build sees of its context is the walk's verdict.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final

from wherry.errors import UsageError
from wherry.fstree.expression_syntax import BadExpression
from wherry.fstree.rule_expression import ANY_DIRECTORIES, read_expression, rule_expression
from wherry.fstree.wildcard import WildcardError, match

TOP: Final = 0
"""The state of a walk at the top of the context, see `IgnoreRules.step`."""

# White space as Go's strings.TrimSpace knows it; Python's strip() takes more.
_SPACE: Final = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
# Longer lines than this stop BuildKit (Go's bufio.Scanner), so no file in use has them.
_LONGEST_LINE: Final = 2**16 - 1


def read_rules(text: str | bytes) -> tuple[str, ...]:
    """The rules of a .dockerignore file, in order: no comments, no blank lines, normal paths.

    Bytes are UTF-8 with surrogate escapes. Raises `UsageError` for a line beyond 65,535 bytes.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    rules: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) * 4 > _LONGEST_LINE:
            _check_length(line, number)
        rule = line.removeprefix("\ufeff") if number == 1 else line
        # Only a "#" at the very start makes a comment.
        if rule.startswith("#") or not (rule := rule.strip(_SPACE)):
            continue
        kept = rule.startswith("!")
        rule = rule[kept:].strip(_SPACE) if kept else rule
        if rule:
            rule = _normal(rule)
        if len(rule) > 1:
            rule = rule.removeprefix("/")
        rules.append(f"!{rule}" if kept else rule)
    return tuple(rules)


def _check_length(line: str, number: int) -> None:
    if len(_encoded(line)) > _LONGEST_LINE:
        raise UsageError(
            f"line {number} of the ignore rules is too long",
            why=f"a line holds at most {_LONGEST_LINE:,} bytes",
        )


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _normal(path: str) -> str:
    """The shortest spelling of a path, as Go's filepath.Clean: `a//b/../c/` is `a/c`."""
    rooted = path.startswith("/")
    parts: list[str] = []
    for part in path.split("/"):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part not in ("", ".") and not (part == ".." and rooted):
            parts.append(part)
    return ("/" if rooted else "") + "/".join(parts) or "."


class IgnoreRules:
    """Ignore rules, ready to be asked; not changed by being asked.

    Paths are relative and normal. Raises `UsageError` for a rule that is no pattern, naming it;
    where moby sees that only once the rule is tried, so do the methods that try it.
    """

    def __init__(self, rules: Iterable[str]) -> None:
        self._rules = tuple(_read_rule(rule) for rule in rules if rule.strip(_SPACE))
        self._only_hides = all(rule.hides for rule in self._rules)
        self._hits = tuple(
            (1 << index, rule.hides, rule.matches) for index, rule in enumerate(self._rules)
        )
        self._any = _matches_any(self._rules)

    def __bool__(self) -> bool:
        """Whether there is any rule."""
        return bool(self._rules)

    @property
    def takes_back(self) -> bool:
        """Whether one of them is a `!` rule."""
        return not self._only_hides

    def excludes(self, path: str) -> bool:
        """Whether the path is hidden; moby's `MatchesOrParentMatches`."""
        paths = [path, *(path[:index] for index, letter in enumerate(path) if letter == "/")]
        if self._any is not None and path.isascii() and "\n" not in path:
            found = any(map(self._any, paths))
            if not found or self._only_hides:
                return found
        hidden = False
        for rule in self._rules:
            # Else it could not change anything.
            if rule.hides != hidden and any(map(rule.matches, paths)):
                hidden = rule.hides
        return hidden

    def step(self, path: str, above: int = TOP) -> tuple[bool, int]:
        """Whether a walk hides the path, and the state for what lies below it.

        `above` is the state of the directory that holds it, `TOP` for the context itself; moby's
        `MatchesUsingParentResults`.
        """
        if not above:
            # Nearly every path of a context: one look says that no rule is about it.
            if self._any is not None and path.isascii() and "\n" not in path:
                found = self._any(path) is not None
                if not found or self._only_hides:
                    return found, int(found)
        elif self._only_hides:
            return True, above
        hidden, state = False, 0
        for bit, hides, matches in self._hits:
            if above & bit or (hides != hidden and matches(path)):
                state |= bit
                hidden = hides
        return hidden, state

    def hides(self, path: str) -> bool:
        """Whether a walk from the top of the context hides the path."""
        return self._decision(path) >= 0

    def may_hold_included(self, directory: str) -> bool:
        """Whether a `!` rule could take anything back in below a hidden directory.

        Where it is False, a walk need not go there.
        """
        if self._only_hides:
            return False
        return any(rule.may_match_below(directory) for rule in self._rules if not rule.hides)

    def deciding_rule(self, path: str) -> str:
        """The rule that makes a walk hide the path, for messages; empty if it is not hidden."""
        index = self._decision(path)
        return self._rules[index].text if index >= 0 else ""

    def _decision(self, path: str) -> int:
        """Which rule hides the path in a walk, or -1."""
        state = TOP
        hidden = False
        for index in [*(at for at, letter in enumerate(path) if letter == "/"), len(path)]:
            # Not `step` with its short cuts: the state shall name the rules.
            hidden, below = False, 0
            for bit, hides, matches in self._hits:
                if state & bit or (hides != hidden and matches(path[:index])):
                    below |= bit
                    hidden = hides
            state = below
        return state.bit_length() - 1 if hidden else -1


class _Rule:
    """One rule: `hides` is False for a `!` rule, whose `!` is not part of `pattern`."""

    __slots__ = ("_matches", "expression", "hides", "pattern", "text")

    def __init__(self, text: str, pattern: str, hides: bool) -> None:
        self.text = text
        self.pattern = pattern
        self.hides = hides
        self.expression = rule_expression(pattern)
        self._matches: Callable[[str], bool] | None = None

    def matches(self, path: str) -> bool:
        """Whether the rule matches this very path; raises `UsageError` for a bad expression."""
        if self._matches is None:
            self._matches = self._matcher()
        return self._matches(path)

    def _matcher(self) -> Callable[[str], bool]:
        pattern = self.pattern
        if self.expression is not None:
            try:
                return read_expression(self.expression).matches
            except BadExpression as error:
                raise _bad_rule(self.text, str(error)) from None
        # Bytes, as a rule may hold a part of a character.
        if pattern.startswith("**"):
            ending = _encoded(pattern[2:])
            # `**/name` is a name at any depth, the top included.
            name = ending[1:] if ending.startswith(b"/") else None
            return lambda path: _encoded(path).endswith(ending) or _encoded(path) == name
        if pattern.endswith("**"):
            beginning = _encoded(pattern[:-2])
            return lambda path: _encoded(path).startswith(beginning)
        return lambda path: path == pattern

    def source(self) -> str | None:
        """For `re.fullmatch` on a path in one line of ASCII characters; None: ask `matches`."""
        if self.expression is not None:
            try:
                return read_expression(self.expression).source
            except BadExpression:
                return None
        if self.pattern.startswith("**"):
            ending = re.escape(self.pattern[2:])
            return f"{ANY_DIRECTORIES}{ending[1:]}" if ending.startswith("/") else f".*{ending}"
        if self.pattern.endswith("**"):
            return re.escape(self.pattern[:-2]) + ".*"
        return re.escape(self.pattern)

    def may_match_below(self, directory: str) -> bool:
        """Whether any path below the directory may match; True where that is not plain."""
        if self.expression is not None and _CHOICE_OR_TIMES.search(self.pattern):
            return True
        start = _PLAIN_START.match(self.pattern)
        assert start is not None  # noqa: S101 - the expression matches nothing as well
        below = f"{directory}/"
        if start.end() == len(self.pattern):
            return self.pattern.startswith(below)
        return start[0].startswith(below) or below.startswith(start[0])


# What every path that a rule matches begins with. A backslash, `^` or byte order mark says nothing.
_PLAIN_START: Final = re.compile("[^*?\\[\\]\\\\^\ufeff\ufffd\udc80-\udcff]*")

_CHOICE_OR_TIMES: Final = re.compile("[|{]")


def _bad_rule(text: str, why: str) -> UsageError:
    return UsageError(f"the ignore rule {text!r} is not a pattern", why=why)


@lru_cache(maxsize=1024)
def _read_rule(text: str) -> _Rule:
    pattern = _normal(text.strip(_SPACE))
    hides = not pattern.startswith("!")
    if not hides:
        pattern = pattern[1:]
        if not pattern:
            raise UsageError(
                f"the ignore rule {text!r} names nothing",
                hint="write the path to take back in after the '!'",
            )
    try:
        match(pattern, ".")
    except WildcardError as error:
        raise _bad_rule(text, error.why) from None
    return _Rule(text, pattern, hides)


def _matches_any(rules: tuple[_Rule, ...]) -> Callable[[str], re.Match[str] | None] | None:
    """One expression for whether any rule matches, or None where there can be none."""
    sources = [rule.source() for rule in rules]
    if not sources or None in sources:
        return None
    # What is looked for at any depth is looked for in one go.
    anywhere: list[str] = []
    elsewhere: list[str] = []
    for source in filter(None, sources):
        (anywhere if source.startswith(ANY_DIRECTORIES) else elsewhere).append(source)
    if anywhere:
        tails = "|".join(source.removeprefix(ANY_DIRECTORIES) for source in anywhere)
        elsewhere.append(f"{ANY_DIRECTORIES}(?:{tails})")
    return re.compile("|".join(elsewhere), re.DOTALL).fullmatch
