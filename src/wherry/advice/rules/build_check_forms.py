# SPDX-License-Identifier: Apache-2.0
"""BuildKit's build checks of writing: letters, empty lines, old forms, ports.

None of what they say changes the image, so that every mend is safe; MAINTAINER alone becomes a
label, which is what tools read today. As in BuildKit's dockerfile2llb and parser (v0.33.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from wherry.advice.model import Edit, Finding, Fix, Position, Range, Rule
from wherry.advice.reading.word_places import rest_at
from wherry.advice.rules.build_check_places import (
    Written,
    characters,
    keyword_of,
    words_of,
)
from wherry.frontends.dockerfile.instructions import Env, Expose, Label, Maintainer
from wherry.frontends.dockerfile.refusals import SPACES, BadValue
from wherry.frontends.dockerfile.split import split_words
from wherry.frontends.dockerfile.words import WordError, expand_words

if TYPE_CHECKING:
    from wherry.advice.subject import Subject
    from wherry.advice.views import Line
    from wherry.frontends.dockerfile.nodes import Node

AUTHORS: Final = "org.opencontainers.image.authors"
_OLD_FORM: Final = re.compile(r"([^\t\v\f\r ]+)([\t\v\f\r ]+)")
_PROTOCOLS: Final = frozenset(("tcp", "udp", "sctp"))


def consistent_casing(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """Keywords all in upper case or all in lower case, whichever most of them are."""
    nodes = [stage.node for stage in subject.stages] + [line.node for line in subject.lines]
    keywords = [keyword_of(node) for node in nodes]
    lower = sum(keyword.text == keyword.text.lower() for keyword in keywords)
    upper = sum(keyword.text == keyword.text.upper() for keyword in keywords)
    case, shown = (str.lower, "lower") if lower > upper else (str.upper, "upper")
    for node, keyword in zip(nodes, keywords, strict=True):
        wanted = case(keyword.text)
        if keyword.text == wanted:
            continue
        edits = _recased(subject, node, keyword, wanted)
        fix = Fix(f"write {wanted}", edits) if edits else None
        message = f"{keyword.text} is not in {shown} case, as most instructions here are"
        yield rule.find(keyword.range, message, f"write {wanted}", fix)


def _recased(subject: Subject, node: Node, keyword: Written, wanted: str) -> tuple[Edit, ...]:
    if subject.text.slice(keyword.range) != keyword.text:
        return ()
    edits = [keyword.edit(wanted)]
    if node.keyword == "FROM":
        words = words_of(subject, node)
        if len(words) > 1 and words[1].whole:
            # Named even where it is right, so that no other mend turns it the other way meanwhile.
            edits.append(words[1].edit("as" if wanted == "from" else "AS"))
    return tuple(edits)


def no_empty_continuation(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """Empty lines between the lines of one instruction."""
    for warning in subject.parsed.warnings:
        number = warning.range.start.line
        if not _is_empty(subject, number):
            continue
        empty = _empty_lines(subject, number)
        fix = None
        if empty:
            edits = tuple(Edit(_whole_line(line), "") for line in empty)
            fix = Fix("remove the empty lines" if len(empty) > 1 else "remove the line", edits)
        message = "an empty line inside an instruction will be an error in a later Dockerfile"
        yield rule.find(warning.range, message, "remove it, or put # there", fix)


def _is_empty(subject: Subject, number: int) -> bool:
    lines = subject.text.lines
    return 0 < number <= len(lines) and not lines[number - 1].strip(SPACES)


def _empty_lines(subject: Subject, number: int) -> list[int]:
    """All empty lines of the instruction around a line; none where it could not be read."""
    for node in reversed(subject.parsed.nodes):
        if node.range.start.line < number:
            logical = subject.text.logical(node.range)
            if logical is None or number > logical.last:
                return []
            inside = range(logical.first, logical.last + 1)
            return [line for line in inside if _is_empty(subject, line)]
    return []


def _whole_line(number: int) -> Range:
    return Range(Position(number, 0), Position(number + 1, 0))


def maintainer_deprecated(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """MAINTAINER, which a label has replaced."""
    for line in subject.lines:
        typed = line.instruction
        if not isinstance(typed, Maintainer):
            continue
        name = typed.name
        if len(name) > 1 and name[0] == name[-1] and name[0] in "\"'":
            name = name[1:-1]
        keyword = keyword_of(line.node)
        label = "label" if keyword.text.islower() else "LABEL"
        text = f"{label} {AUTHORS}={_quoted(name, subject.parsed.escape)}"
        fix = None
        if not _labels_authors(line) and "\n" not in subject.text.slice(line.range):
            fix = Fix("write it as a label", (Edit(line.range, text),))
        yield rule.find(line.head, "MAINTAINER is deprecated", f"write {text}", fix)


def _quoted(value: str, escape: str) -> str:
    """A value as LABEL and ENV take it whole: in double quotes, nothing in it special."""
    special = {'"', "$", escape}
    return f'"{"".join(escape + letter if letter in special else letter for letter in value)}"'


def _labels_authors(line: Line) -> bool:
    return any(
        label.name.strip("\"'") == AUTHORS
        for other in line.stage.all_lines
        if isinstance(other.instruction, Label)
        for label in other.instruction.labels
    )


def legacy_key_value(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """`ENV NAME VALUE` and `LABEL NAME VALUE`, without `=`."""
    for line in subject.lines:
        typed = line.instruction
        if not isinstance(typed, Env | Label) or not typed.old_form:
            continue
        name = (typed.variables if isinstance(typed, Env) else typed.labels)[0].name
        keyword = line.node.keyword
        message = f"{keyword} without = is an old form"
        yield rule.find(line.head, message, f"write {keyword} {name}=VALUE", _modern(line))


def _modern(line: Line) -> Fix | None:
    """`NAME VALUE` to `NAME=VALUE`, in quotes where the value has blanks.

    The value counts for the same in both: variables are worked in inside double quotes too. One
    with blanks and quotes or escapes of its own is left to whoever knows what it means.
    """
    node, subject = line.node, line.subject
    found = _OLD_FORM.match(node.rest)
    if found is None:
        return None
    value, offset = node.rest[found.end() :], rest_at(node)
    one = split_words(value, subject.parsed.escape) == (value,)
    if not one and any(mark in value for mark in ('"', "'", subject.parsed.escape)):
        return None
    quote = "" if one else '"'
    gap = characters(subject, node, offset + found.start(2), offset + found.end(2))
    last = characters(subject, node, offset + found.end(), offset + len(node.rest))
    if not gap.whole or subject.text.slice(gap.range) != gap.text:
        return None
    edits = [gap.edit(f"={quote}")]
    if quote:
        edits.append(Edit(Range(last.range.end, last.range.end), quote))
    return Fix("write it with =", tuple(edits))


def expose_proto_casing(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """`EXPOSE 80/TCP`: protocols are written in lower case."""
    for line, written in _exposed(subject):
        for port in _ports(line, written.text):
            _, slash, protocol = port.rpartition(":")[2].partition("/")
            if not slash or protocol == protocol.lower() or protocol.lower() not in _PROTOCOLS:
                continue
            mended = written.text[: -len(protocol)] + protocol.lower()
            fix = None
            if written.whole and written.text.endswith(f"/{protocol}"):
                fix = Fix(f"write {protocol.lower()}", (written.edit(mended),))
            message = f"the protocol of {port} has upper case letters"
            yield rule.find(written.range, message, f"write {protocol.lower()}", fix)


def expose_invalid_format(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """`EXPOSE 127.0.0.1:8080:80`: an image says its own port alone."""
    for line, written in _exposed(subject):
        for port in _ports(line, written.text):
            before, _, own = port.rpartition(":")
            if not before.strip(":") or not own:
                continue
            fix = None
            if written.whole and written.text == port:
                fix = Fix(f"write {own}", (written.edit(own),))
            message = f"{port}: what stands before the image's own port has no meaning here"
            yield rule.find(written.range, message, f"write {own}", fix)


def _exposed(subject: Subject) -> Iterator[tuple[Line, Written]]:
    for line in subject.lines:
        if isinstance(line.instruction, Expose):
            for written in words_of(subject, line.node):
                yield line, written


def _ports(line: Line, word: str) -> tuple[str, ...]:
    """What a word of EXPOSE becomes: one of variables may be several ports, or none."""
    try:
        return expand_words(word, line.state.variables, line.subject.parsed.escape)
    except (WordError, BadValue):
        return ()
