# SPDX-License-Identifier: Apache-2.0
"""Which reader reads which instruction.

A reader takes a node, its source and the escape character, and raises `Problems` for everything
that is wrong with that one instruction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.frontends.dockerfile.bases import read_from
from wherry.frontends.dockerfile.commands import (
    read_cmd,
    read_entrypoint,
    read_healthcheck,
    read_shell,
)
from wherry.frontends.dockerfile.copies import read_copy
from wherry.frontends.dockerfile.instructions import From, Instruction, Source
from wherry.frontends.dockerfile.names import read_arg, read_env, read_label
from wherry.frontends.dockerfile.plain import (
    read_expose,
    read_maintainer,
    read_onbuild,
    read_stopsignal,
    read_user,
    read_volume,
    read_workdir,
)
from wherry.frontends.dockerfile.refusals import SPACES, choices, refuse
from wherry.frontends.dockerfile.runs import read_run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wherry.frontends.dockerfile.nodes import Node
    from wherry.frontends.dockerfile.source import Problems

READERS: Mapping[str, Callable[[Node, Source, str], Instruction | From]] = {
    "FROM": read_from,
    "ARG": read_arg,
    "ENV": read_env,
    "LABEL": read_label,
    "RUN": read_run,
    "COPY": read_copy,
    "ADD": read_copy,
    "WORKDIR": read_workdir,
    "USER": read_user,
    "CMD": read_cmd,
    "ENTRYPOINT": read_entrypoint,
    "SHELL": read_shell,
    "EXPOSE": read_expose,
    "VOLUME": read_volume,
    "STOPSIGNAL": read_stopsignal,
    "HEALTHCHECK": read_healthcheck,
    "ONBUILD": read_onbuild,
    "MAINTAINER": read_maintainer,
}


def read_node(node: Node, escape: str) -> Instruction | From:
    """One instruction of any kind; raises `Problems`."""
    reader = READERS.get(node.keyword)
    if reader is None:
        raise _unknown(node, escape)
    return reader(node, Source(node.range, node.original.strip(SPACES)), escape)


def _unknown(node: Node, escape: str) -> Problems:
    hint = choices(node.keyword, READERS, "the instructions are")
    if not hint.startswith("did you mean"):
        hint = f"if the line belongs to the one above, end that with {escape}; {hint}"
    written = (node.original.split(None, 1) or [node.keyword])[0]
    shown = written if len(written) <= 40 else f"{written[:40]}..."
    return refuse(node.range, f"unknown instruction {shown}", hint)
