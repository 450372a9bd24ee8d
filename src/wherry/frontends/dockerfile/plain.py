# SPDX-License-Identifier: Apache-2.0
"""Instructions without a structure of their own.

WORKDIR, USER, STOPSIGNAL and MAINTAINER take one text, EXPOSE and VOLUME words, and ONBUILD another
instruction, which is looked at when it is triggered.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from wherry.frontends.dockerfile.flags import read_flags
from wherry.frontends.dockerfile.instructions import (
    Expose,
    Maintainer,
    Onbuild,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from wherry.frontends.dockerfile.refusals import SPACES, refuse

if TYPE_CHECKING:
    from wherry.frontends.dockerfile.instructions import Source
    from wherry.frontends.dockerfile.nodes import Node

_ONBUILD = re.compile(r"[\t\n\f\r ]*onbuild[\t\n\f\r ]*", re.IGNORECASE)


def _only_argument(node: Node, example: str) -> str:
    if len(node.arguments) == 1:
        return node.arguments[0]
    found = "none" if not node.arguments else str(len(node.arguments))
    raise refuse(node.range, f"{node.keyword} takes one argument, not {found}", f"write {example}")


def read_workdir(node: Node, source: Source, _escape: str) -> Workdir:
    """WORKDIR."""
    path = _only_argument(node, "WORKDIR /PATH")
    read_flags(node)
    return Workdir(source, path)


def read_user(node: Node, source: Source, _escape: str) -> User:
    """USER."""
    user = _only_argument(node, "USER NAME or USER NAME:GROUP")
    read_flags(node)
    return User(source, user)


def read_maintainer(node: Node, source: Source, _escape: str) -> Maintainer:
    """MAINTAINER."""
    name = _only_argument(node, 'LABEL org.opencontainers.image.authors="NAME"')
    read_flags(node)
    return Maintainer(source, name)


def read_stopsignal(node: Node, source: Source, _escape: str) -> StopSignal:
    """STOPSIGNAL; its flags are ignored, as BuildKit does."""
    return StopSignal(source, _only_argument(node, "STOPSIGNAL SIGTERM"))


def read_expose(node: Node, source: Source, _escape: str) -> Expose:
    """EXPOSE; the ports are in the order of their bytes, which is how the history has them."""
    if not node.arguments:
        raise refuse(node.range, "EXPOSE names no port", "write EXPOSE 8080 or EXPOSE 53/udp")
    read_flags(node)
    ports = sorted(node.arguments, key=lambda port: port.encode("utf-8", "surrogateescape"))
    return Expose(source, tuple(ports))


def read_volume(node: Node, source: Source, _escape: str) -> Volume:
    """VOLUME, in JSON or as words."""
    if not node.arguments:
        raise refuse(node.range, "VOLUME names no path", "write VOLUME /PATH")
    read_flags(node)
    paths = tuple(path.strip(SPACES) for path in node.arguments)
    if "" in paths:
        raise refuse(node.range, "VOLUME has an empty path", "write VOLUME /PATH")
    return Volume(source, paths)


def read_onbuild(node: Node, source: Source, _escape: str) -> Onbuild:
    """ONBUILD; its expression holds the trigger's heredocs with their end markers."""
    if node.child is None:
        raise refuse(node.range, "ONBUILD has no instruction", "write ONBUILD COPY . /src")
    read_flags(node)
    keyword = node.child.keyword
    if keyword == "ONBUILD":
        raise refuse(node.range, "ONBUILD does not trigger ONBUILD", "remove one ONBUILD")
    if keyword in {"FROM", "MAINTAINER"}:
        raise refuse(node.range, f"ONBUILD does not trigger {keyword}", "remove the line")
    before = _ONBUILD.match(node.original)
    expression = node.original[before.end() :] if before else node.original
    for heredoc in node.heredocs or node.child.heredocs:
        expression += f"\n{heredoc.content}{heredoc.name}"
    return Onbuild(source, expression)
