# SPDX-License-Identifier: Apache-2.0
"""What a user may want to hear of a Dockerfile that is right: build checks, by BuildKit's names.

Here are only those that can be seen without expanding anything. Each may be switched off by its
name (`wherry.frontends.dockerfile.checks`), which its hint ends with; so may the ones that only
wherry has, by `skip=all`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from wherry.frontends.dockerfile.checks import Checks, read_checks, with_comments
from wherry.frontends.dockerfile.instructions import Arg, Env, Label, Maintainer
from wherry.frontends.dockerfile.readers import read_node
from wherry.frontends.dockerfile.refusals import BadValue
from wherry.frontends.dockerfile.source import Problem, Problems

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry.frontends.dockerfile.instructions import Dockerfile, Instruction
    from wherry.frontends.dockerfile.nodes import Node, Parsed
    from wherry.frontends.dockerfile.source import Range

_SECRET = re.compile(
    r"(?:_|^)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|\Z)",
    re.IGNORECASE,
)
_HARMLESS = re.compile(r"(?:_|^)(?:public|file|version)(?:_|\Z)", re.IGNORECASE)
_RESERVED = frozenset({"context", "scratch"})


class _Advice(NamedTuple):
    check: str
    range: Range
    message: str
    hint: str


def warnings_of(dockerfile: Dockerfile, parsed: Parsed) -> tuple[Problem, ...]:
    """All warnings of a file, in the order of its lines; `dockerfile` was made from `parsed`."""
    checks = checks_of(parsed)
    comments = {node.range: node.comments for node in parsed.nodes if node.comments}
    found = [*_of_stages(dockerfile), *_of_instructions(dockerfile), *_of_nodes(parsed)]
    problems = []
    for advice in sorted(found, key=lambda item: item.range.start):
        here = with_comments(checks, comments.get(advice.range, ()))
        if here.allows(advice.check):
            hint = f"{advice.hint} (check {advice.check})" if advice.check else advice.hint
            problems.append(Problem(advice.message, advice.range, hint))
    return tuple(problems)


def checks_of(parsed: Parsed) -> Checks:
    """What the file's `check` directive says; nothing where it is wrong: that is a problem."""
    try:
        value = parsed.directive("check")
        return read_checks(value) if value else Checks()
    except BadValue:
        return Checks()


def is_secret(name: str) -> bool:
    """Whether a variable's name sounds as if its value were secret (`SecretsUsedInArgOrEnv`)."""
    return bool(_SECRET.search(name)) and not _HARMLESS.search(name)


def _of_stages(dockerfile: Dockerfile) -> Iterator[_Advice]:
    seen = set()
    for stage in dockerfile.stages:
        name, place = stage.base.name, stage.base.source.range
        if name in _RESERVED:
            message = f"the stage's name {name} is a word of the language"
            yield _Advice("ReservedStageName", place, message, "give it another name")
        if name and name in seen:
            message = f"there is a stage {name} already"
            yield _Advice("DuplicateStageName", place, message, "give it another name")
        seen.add(name)


def _of_instructions(dockerfile: Dockerfile) -> Iterator[_Advice]:
    # ARGs before the first FROM reach no image by themselves.
    for stage in dockerfile.stages:
        for instruction in stage.instructions:
            yield from _of_instruction(instruction)


def _of_instruction(instruction: Instruction) -> Iterator[_Advice]:
    place = instruction.source.range
    match instruction:
        case Arg(arguments=pairs):
            yield from _of_secrets("ARG", (name for name, _ in pairs), place)
        case Env(variables=variables, old_form=old):
            if old:
                yield _old_form("ENV", variables[0].name, place)
            yield from _of_secrets("ENV", (name for name, _ in variables), place)
        case Label(labels=labels, old_form=True):
            yield _old_form("LABEL", labels[0].name, place)
        case Maintainer(name=name):
            hint = f'write LABEL org.opencontainers.image.authors="{name}"'
            yield _Advice("MaintainerDeprecated", place, "MAINTAINER is deprecated", hint)
        case _:
            pass


def _old_form(keyword: str, name: str, place: Range) -> _Advice:
    message = f"{keyword} without = is an old form"
    return _Advice("LegacyKeyValueFormat", place, message, f"write {keyword} {name}=VALUE")


def _of_secrets(keyword: str, names: Iterator[str], place: Range) -> Iterator[_Advice]:
    for name in names:
        bare = name.strip("\"'")
        if is_secret(bare):
            message = f"{keyword} {bare} looks like a secret, which anyone with the image can read"
            hint = "give it to the RUN that needs it: RUN --mount=type=secret,id=NAME,env=NAME"
            yield _Advice("SecretsUsedInArgOrEnv", place, message, hint)


def _of_nodes(parsed: Parsed) -> Iterator[_Advice]:
    for node in parsed.nodes:
        if node.flags and _ignores_flags(node):
            name = node.flags[0].text.partition("=")[0]
            message = f"{node.keyword} takes no flags here, and ignores {name}"
            yield _Advice("", node.range, message, "remove it")
        if node.child is not None:
            yield from _of_trigger(node.child, node.range, parsed.escape)


def _ignores_flags(node: Node) -> bool:
    if node.keyword == "HEALTHCHECK":
        return bool(node.arguments) and node.arguments[0].upper() == "NONE"
    return node.keyword in {"ARG", "STOPSIGNAL"}


def _of_trigger(child: Node, place: Range, escape: str) -> Iterator[_Advice]:
    try:
        read_node(child, escape)
    except Problems as wrong:
        for problem in wrong.problems:
            message = f"this trigger will fail where it is used: {problem.message}"
            yield _Advice("", place, message, problem.hint)
