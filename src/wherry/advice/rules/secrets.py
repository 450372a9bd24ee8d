# SPDX-License-Identifier: Apache-2.0
"""Rules about secrets in the Dockerfile itself, and about tokens that git or Go leave in a layer.

A value is never told again: a message names what it looks like, the place says where it is.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.advice.model import Finding, Range, Rule, Severity
from wherry.advice.reading.destinations import VARIABLE
from wherry.advice.reading.secret_values import secrets_in
from wherry.frontends.dockerfile.advice import is_secret
from wherry.frontends.dockerfile.instructions import Arg, Env, Run
from wherry.frontends.dockerfile.source import Position

if TYPE_CHECKING:
    from wherry.advice.reading.shell_words import Command, Word
    from wherry.advice.subject import Subject
    from wherry.advice.views import Line
    from wherry.frontends.dockerfile.nodes import Node

_NAME_BEFORE: Final = re.compile(r"(?:^|\s)([A-Za-z_]\w*)=\S*\Z")
_HINT: Final = "revoke it; give the new one to the RUN that needs it: --mount=type=secret,id=NAME"

# The part of an address before the host, with a variable in it.
_USERINFO: Final = re.compile(r"https?://(?=[^/\s@$]*\$)(?P<info>[^/\s@]+)@")
_SUBSTITUTED: Final = re.compile(r"https?://(?>[^\s/@]*?(?:\$\(|`))[^@]*@")
_USER_NAME: Final = re.compile(r"user|login|name|\Aorg", re.IGNORECASE)
_CREDENTIAL_FILES: Final = frozenset(
    (".netrc", "_netrc", ".git-credentials", "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519")
)
_WRITTEN: Final = re.compile(r">\s*(\S*(?:[._]netrc|\.git-credentials))(?=\s|\Z)")
_MOUNT_HINT: Final = (
    "mount it for this RUN alone: --mount=type=secret,id=netrc,target=/root/.netrc,"
    " or --mount=type=ssh with an address of git@"
)


def _in_file(subject: Subject, rule: Rule) -> Iterator[Finding]:
    first = next((node.range for node in subject.parsed.nodes if node.keyword == "FROM"), None)
    for node in subject.parsed.nodes:
        # Before the first FROM, BuildKit's check of names does not look.
        named = first is not None and node.range.start > first.start
        for text in _texts(subject, node):
            for what, start, end in secrets_in(text.text):
                if named and _has_secret_name(node, text.text, start):
                    continue
                message = f"{what} stands here, for everyone with the file, the image or its cache"
                yield rule.find(text.place(subject, start, end), message, _HINT)


class _Text(NamedTuple):
    """A text of an instruction: its logical line, or (`offset` of the file) what is in heredocs."""

    text: str
    node: Node
    offset: int = -1

    def place(self, subject: Subject, start: int, end: int) -> Range:
        if self.offset >= 0:
            position = subject.text.position
            return Range(position(self.offset + start), position(self.offset + end))
        logical = subject.text.logical(self.node.range)
        return (
            subject.text.first_line(self.node.range)
            if logical is None
            else (logical.range(start, end))
        )


def _texts(subject: Subject, node: Node) -> Iterator[_Text]:
    logical = subject.text.logical(node.range)
    if logical is None:
        return
    yield _Text(logical.text, node)
    if node.heredocs:
        begins = Position(logical.last + 1, 0)
        bodies = subject.text.slice(Range(begins, node.range.end))
        yield _Text(bodies, node, subject.text.offset(begins))


def _has_secret_name(node: Node, text: str, start: int) -> bool:
    """Whether an ARG or ENV has a name that BuildKit's own check speaks of."""
    if node.keyword not in ("ARG", "ENV"):
        return False
    found = _NAME_BEFORE.search(text[:start])
    name = found[1] if found else node.arguments[0] if node.arguments else ""
    return is_secret(name)


def _in_layer(subject: Subject, rule: Rule) -> Iterator[Finding]:
    for line in subject.lines:
        if isinstance(line.instruction, Run):
            yield from _of_run(line, rule)
        elif isinstance(line.instruction, Env):
            yield from _of_env(line, line.instruction, rule)


def _of_run(line: Line, rule: Rule) -> Iterator[Finding]:
    declared = _declared(line)
    yield from _of_heredoc(line, declared, rule)
    for number, command in enumerate(line.commands):
        for word in _candidates(command):
            name = _token(word.value, declared)
            if name:
                yield _kept(line, rule, line.place(word.start, word.end), declared[name], name)
                break
            if _is_url_of_git(command, word) and _stays(line, number):
                yield rule.find(
                    line.place(word.start, word.end),
                    "git's configuration keeps the token in a layer of the image", _MOUNT_HINT,
                )  # fmt: skip
                break
        else:
            yield from _written(line, command, declared, rule)


def _declared(line: Line) -> dict[str, Line]:
    """The ARGs and ENVs that a RUN gets and does not set itself, each with its line."""
    found: dict[str, Line] = {}
    for other in line.stage.all_lines:
        if other is line:
            break
        match other.instruction:
            case Arg(arguments=pairs):
                found |= {name: other for name, _ in pairs}
            case Env(variables=variables):
                found |= {pair.name: other for pair in variables}
            case _:
                pass
    typed = line.instruction
    if isinstance(typed, Run):
        for mount in typed.mounts:
            found.pop(mount.env, None)
    for command in line.commands:
        for name, _ in command.assignments:
            found.pop(name, None)
    return found


def _candidates(command: Command) -> Iterator[Word]:
    """The words that may hold an address with a token which git or Go use."""
    for name, word in command.assignments:
        if name == "GOPROXY":
            yield word
    if command.program == "git" or command.arguments[:2] == ("env", "-w"):
        yield from command.words[1:]


def _token(text: str, declared: dict[str, Line]) -> str:
    """The declared variable that is the secret part of an address in the text, or nothing."""
    found = _USERINFO.search(text)
    if not found:
        return ""
    user, colon, password = found["info"].partition(":")
    names = VARIABLE.findall(password if colon and "$" in password else user)
    for name in names:
        if name in declared and (is_secret(name) or not _USER_NAME.search(name)):
            return str(name)
    return ""


def _is_url_of_git(command: Command, word: Word) -> bool:
    """Whether this is `git config url."https://TOKEN@host".insteadOf`, the token from anywhere."""
    if command.program != "git" or command.arguments[:1] != ("config",):
        return False
    if not word.value.lower().endswith(".insteadof"):
        return False
    found = _USERINFO.search(word.value)
    if found and VARIABLE.search(found["info"]):
        names = VARIABLE.findall(found["info"])
        return not all(_USER_NAME.search(name) and not is_secret(name) for name in names)
    return _SUBSTITUTED.search(word.value) is not None


def _stays(line: Line, number: int) -> bool:
    """Whether what a command configures is in an image: exported, and not undone in the RUN."""
    if line.stage.number not in line.subject.exported:
        return False
    for command in line.commands[number + 1 :]:
        words = command.arguments
        if command.program == "rm" and any(".gitconfig" in word for word in words):
            return False
        if command.program == "git" and any(
            word.startswith(("--unset", "--remove-section", "unset")) for word in words
        ):
            return False
    return True


def _written(
    line: Line, command: Command, declared: dict[str, Line], rule: Rule
) -> Iterator[Finding]:
    """A .netrc, a key of ssh or the like that is written from a variable."""
    target = next(
        (
            item.target
            for item in command.redirects
            if item.operator.startswith(">")
            and posixpath.basename(item.target.value) in _CREDENTIAL_FILES
        ),
        None,
    )
    if target is None:
        return
    texts = [word.value for word in command.words[1:]]
    for name in VARIABLE.findall(" ".join(texts)):
        if name in declared and (is_secret(name) or not _USER_NAME.search(name)):
            yield _kept(line, rule, line.place(target.start, target.end), declared[name], name)
            return


def _of_heredoc(line: Line, declared: dict[str, Line], rule: Rule) -> Iterator[Finding]:
    """The same from a heredoc of the Dockerfile, which no shell reads as its commands."""
    found = _WRITTEN.search(line.node.rest) if line.node.heredocs else None
    if found is None:
        return
    content = "".join(item.content for item in line.node.heredocs if item.expand)
    for name in VARIABLE.findall(content):
        if name in declared and (is_secret(name) or not _USER_NAME.search(name)):
            yield _kept(line, rule, line.place(*found.span(1)), declared[name], name)
            return


def _of_env(line: Line, typed: Env, rule: Rule) -> Iterator[Finding]:
    declared = _declared(line)
    for pair in typed.variables:
        name = _token(pair.value, declared) if pair.name == "GOPROXY" else ""
        if name:
            yield _kept(line, rule, line.head, declared[name], name)


def _kept(line: Line, rule: Rule, place: Range, declaration: Line, name: str) -> Finding:
    kind = "ENV" if isinstance(declaration.instruction, Env) else "ARG"
    kept = "image and its history" if line.stage.number in line.subject.exported else "build cache"
    return rule.find(
        place, f"the value of {kind} {name} stays in the {kept}", _MOUNT_HINT,
        related=((declaration.head, f"{name} is declared there"),),
    )  # fmt: skip


RULES: Final = (
    Rule("GO302", "secret-in-image", Severity.ERROR,
         "a key, token or password that is written in the file", _in_file),
    Rule("GO303", "private-module-token-in-layer", Severity.WARNING,
         "a token for private modules that stays in a layer", _in_layer),
)  # fmt: skip
"""In the order of their ids."""
