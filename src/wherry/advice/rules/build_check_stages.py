# SPDX-License-Identifier: Apache-2.0
"""BuildKit's build checks of FROM: names of stages, platforms, and images named by ARGs.

What each says is as in BuildKit's dockerfile2llb and instructions (v0.33.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from wherry.advice.model import Edit, Finding, Fix, Position, Range, Rule
from wherry.advice.rules.build_check_places import (
    Written,
    flag_value,
    keyword_of,
    variable_of,
    words_of,
)
from wherry.advice.subject import DEFAULT_PLATFORM
from wherry.errors import UsageError, near
from wherry.frontends.dockerfile.refusals import lower_case
from wherry.frontends.dockerfile.words import Expanded, WordError, expand
from wherry.oci.platform import Platform, parse_platform
from wherry.oci.reference import parse_reference

if TYPE_CHECKING:
    from wherry.advice.subject import Subject
    from wherry.frontends.dockerfile.nodes import Flag, Node

_RESERVED: Final = frozenset(("context", "scratch"))
_TARGET: Final = "TARGETPLATFORM"
_MOUNT_FROM: Final = re.compile(r"(?:=|,)(?i:from)=([^,]+)(?=,|\Z)")


def stage_name_casing(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """Names of stages in lower case: that is how they count, whatever is written."""
    for stage in subject.stages:
        words = words_of(subject, stage.node)
        if len(words) != 3:
            continue
        written, lower = words[2], lower_case(words[2].text)
        if written.text == lower:
            continue
        fix = None
        if written.whole:
            edits = (written.edit(lower), *_uses(subject, lower))
            fix = Fix(f"write {lower}, where it is used too", edits)
        message = f"the stage's name {written.text} has upper case letters, which do not count"
        yield rule.find(written.range, message, f"write {lower}", fix)


def _uses(subject: Subject, lower: str) -> Iterator[Edit]:
    """Where COPY, ADD and mounts name a stage in other letters; FROM cannot."""
    for line in subject.lines:
        for flag in line.node.flags:
            for found in _named_in(subject, flag):
                if found.text != lower and lower_case(found.text) == lower and found.whole:
                    yield found.edit(lower)


def _named_in(subject: Subject, flag: Flag) -> Iterator[Written]:
    source = flag_value(subject, flag, "from")
    if source is not None:
        yield source
    elif flag.text.startswith("--mount=") and subject.text.slice(flag.range) == flag.text:
        line, column = flag.range.start
        for found in _MOUNT_FROM.finditer(flag.text):
            start, end = found.span(1)
            place = Range(Position(line, column + start), Position(line, column + end))
            yield Written(found[1], place)


def from_as_casing(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """`AS` in the letters of `FROM`; a FROM of mixed letters is for another check."""
    for stage in subject.stages:
        keyword, words = keyword_of(stage.node), words_of(subject, stage.node)
        if len(words) < 3 or keyword.text not in ("from", "FROM"):
            continue
        wanted = "as" if keyword.text == "from" else "AS"
        written = words[1]
        if written.text == wanted:
            continue
        fix = Fix(f"write {wanted}", (written.edit(wanted),)) if written.whole else None
        message = f"{written.text} is not written as {keyword.text} is"
        yield rule.find(written.range, message, f"write {wanted}", fix)


def duplicate_stage_name(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """A name that a stage before has: whoever names it then gets the later one."""
    seen: dict[str, Range] = {}
    for stage in subject.stages:
        if not stage.name:
            continue
        place = _name_place(subject, stage.node)
        if stage.name in seen:
            message = f"there is a stage {stage.name} already"
            related = ((seen[stage.name], "the other one"),)
            yield rule.find(place, message, "give it another name", related=related)
        seen[stage.name] = place


def reserved_stage_name(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """`scratch` and `context` mean something already."""
    for stage in subject.stages:
        if stage.name in _RESERVED:
            message = f"the stage's name {stage.name} is a word of the language"
            yield rule.find(_name_place(subject, stage.node), message, "give it another name")


def _name_place(subject: Subject, node: Node) -> Range:
    words = words_of(subject, node)
    return words[2].range if len(words) > 2 else subject.text.first_line(node.range)


def redundant_target_platform(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """`--platform=$TARGETPLATFORM`: a stage is for that platform anyway."""
    if _sets_target(subject):
        return
    for stage in subject.stages:
        written = stage.stage.base.platform
        meant = _meant(subject, written) if written else None
        if meant is None or meant.used != {_TARGET} or meant.unmatched:
            continue
        if meant.text != subject.globals.get(_TARGET):
            continue
        flag = _platform_flag(stage.node)
        place = flag.range if flag else subject.text.first_line(stage.node.range)
        message = f"--platform={written} says what is so without it"
        fix = _without(subject, flag) if flag else None
        yield rule.find(place, message, "leave --platform out", fix)


def _sets_target(subject: Subject) -> bool:
    """Whether an ARG gives the automatic variable a value of its own, so that it may differ."""
    return any(
        name == _TARGET and default is not None
        for item in subject.dockerfile.arguments
        for name, default in item.arguments
    )


def _without(subject: Subject, flag: Flag) -> Fix | None:
    """Remove a flag and the blanks after it, where more stands behind it on its line."""
    start, end = flag.range
    if start.line != end.line:
        return None
    after = subject.text.lines[end.line - 1].rstrip("\r")[end.column :]
    rest = after.lstrip(" \t")
    if len(rest) == len(after) or rest in ("", subject.parsed.escape):
        return None
    until = Position(end.line, end.column + len(after) - len(rest))
    return Fix("remove --platform", (Edit(Range(start, until), ""),))


def from_platform_flag_const(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """A fixed platform, in a stage whose name does not say that it is for that one."""
    for stage in subject.stages:
        written = stage.stage.base.platform
        meant = _meant(subject, written) if written else None
        if meant is None or meant.used or meant.unmatched:
            continue
        platform = _platform(meant.text)
        if platform is None:
            continue
        if platform.os in stage.name or platform.architecture in stage.name:
            continue
        flag = _platform_flag(stage.node)
        place = flag.range if flag else subject.text.first_line(stage.node.range)
        message = f"--platform={meant.text} holds the stage to one platform"
        hint = (
            "write --platform=$BUILDPLATFORM for a stage that cross-compiles, else leave it out; "
            f"or name the stage after its platform, such as build-{platform.architecture}"
        )
        yield rule.find(place, message, hint)


def _platform_flag(node: Node) -> Flag | None:
    return next((flag for flag in node.flags if flag.text.startswith("--platform=")), None)


def _platform(text: str) -> Platform | None:
    if text.lower() == DEFAULT_PLATFORM.os:
        return DEFAULT_PLATFORM
    try:
        return parse_platform(text)
    except UsageError:
        return None


def undefined_arg_in_from(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """A variable of FROM that no ARG before the first FROM declares."""
    known = {name for item in subject.dockerfile.arguments for name, _ in item.arguments}
    known.update(subject.globals)
    for stage in subject.stages:
        for word in (stage.stage.base.base, stage.stage.base.platform):
            meant = _meant(subject, word)
            for name in sorted(meant.unmatched - known) if meant else ():
                place = variable_of(subject, stage.node, name)
                guess = near(name, tuple(sorted(known)))
                hint = guess or f"declare it before the first FROM: ARG {name}=DEFAULT"
                yield rule.find(place, f"no ARG before the first FROM declares {name}", hint)


def invalid_default_arg_in_from(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """A base that is no image's name unless somebody gives its ARGs a value."""
    for stage in subject.stages:
        written = stage.stage.base.base
        meant = _meant(subject, written) if "$" in written else None
        if meant is None or _is_reference(meant.text) or meant.text in _names(subject):
            continue
        words = words_of(subject, stage.node)
        place = words[0].range if words else subject.text.first_line(stage.node.range)
        shown = f"which gives {meant.text!r}" if meant.text else "which gives nothing"
        message = f"{written} is no image's name with the defaults of its ARGs, {shown}"
        yield rule.find(place, message, "give the ARG a default: ARG NAME=VALUE")


def _names(subject: Subject) -> set[str]:
    return {stage.name for stage in subject.stages if stage.name}


def _is_reference(text: str) -> bool:
    try:
        parse_reference(text)
    except UsageError:
        return False
    return bool(text)


def _meant(subject: Subject, word: str) -> Expanded | None:
    """A word of a FROM with its variables worked in; None for one that is wrong."""
    try:
        return expand(word, subject.globals, subject.parsed.escape)
    except WordError:
        return None
