# SPDX-License-Identifier: Apache-2.0
"""Instructions that give names a value: ARG, ENV and LABEL.

Values may be secret, and are in no message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.frontends.dockerfile.flags import read_flags
from wherry.frontends.dockerfile.instructions import Arg, Env, Label, NameValue
from wherry.frontends.dockerfile.refusals import refuse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry.frontends.dockerfile.instructions import Source
    from wherry.frontends.dockerfile.nodes import Node


def description(comments: Sequence[str], name: str) -> str:
    """The text of the comment `# NAME text` right above an instruction, or the empty string."""
    if name:
        for line in comments:
            if line.startswith(f"{name} "):
                return line[len(name) + 1 :]
    return ""


def read_arg(node: Node, source: Source, _escape: str) -> Arg:
    """ARG; its flags are ignored, as BuildKit does."""
    if not node.arguments:
        raise refuse(node.range, "ARG names no argument", "write ARG NAME or ARG NAME=DEFAULT")
    arguments: list[tuple[str, str | None]] = []
    for word in node.arguments:
        name, equals, default = word.partition("=")
        if equals and not name:
            raise refuse(
                node.range, "ARG has a default without a name before =", "write ARG NAME=DEFAULT"
            )
        arguments.append((name, default if equals else None))
    comment = description(node.comments, arguments[0][0]) if node.comments else ""
    return Arg(source, tuple(arguments), comment)


def read_env(node: Node, source: Source, _escape: str) -> Env:
    """ENV, in the form with `=` or the old one."""
    pairs, old_form = _read_pairs(node)
    return Env(source, pairs, old_form)


def read_label(node: Node, source: Source, _escape: str) -> Label:
    """LABEL, in the form with `=` or the old one."""
    pairs, old_form = _read_pairs(node)
    return Label(source, pairs, old_form)


def _read_pairs(node: Node) -> tuple[tuple[NameValue, ...], bool]:
    read_flags(node)
    words = node.arguments
    if not words:
        raise refuse(node.range, f"{node.keyword} sets nothing", f"write {node.keyword} NAME=VALUE")
    pairs = tuple(map(NameValue, words[0::3], words[1::3]))
    for name, _ in pairs:
        if not name:
            raise refuse(
                node.range,
                f"{node.keyword} has a value without a name before =",
                f"write {node.keyword} NAME=VALUE",
            )
    return pairs, not words[2]
