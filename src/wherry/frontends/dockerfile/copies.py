# SPDX-License-Identifier: Apache-2.0
"""COPY and ADD: sources, destination, heredocs and flags (Dockerfile reference, "ADD", "COPY").

A source that is a heredoc's marker is a file written in place. In JSON a marker has no heredoc
behind it, as no lines are read for it: its file is empty, as with BuildKit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.frontends.dockerfile.flags import read_flags
from wherry.frontends.dockerfile.heredoc import parse_marker
from wherry.frontends.dockerfile.instructions import Copy
from wherry.frontends.dockerfile.nodes import Heredoc
from wherry.frontends.dockerfile.refusals import BadValue, refuse

if TYPE_CHECKING:
    from wherry.frontends.dockerfile.heredoc import Marker
    from wherry.frontends.dockerfile.instructions import Source
    from wherry.frontends.dockerfile.nodes import Node


def read_copy(node: Node, source: Source, _escape: str) -> Copy:
    """COPY or ADD, by the node's keyword."""
    sources, destination, heredocs = _read_paths(node)
    add = node.keyword == "ADD"
    if not node.flags:
        return Copy(source, add, sources, destination, heredocs)
    given = read_flags(node)
    return Copy(
        source,
        add,
        sources,
        destination,
        heredocs,
        from_=given.text("from"),
        owner=given.text("chown"),
        mode=given.text("chmod"),
        link=bool(given.switch("link")),
        parents=bool(given.switch("parents")),
        excludes=given.texts("exclude"),
        checksum=given.text("checksum"),
        keep_git_dir=given.switch("keep-git-dir"),
        unpack=given.switch("unpack"),
    )


def _read_paths(node: Node) -> tuple[tuple[str, ...], str, tuple[Heredoc, ...]]:
    words = node.arguments
    example = f"write {node.keyword} SOURCE ... DESTINATION"
    if not words:
        raise refuse(node.range, f"{node.keyword} has neither source nor destination", example)
    if len(words) == 1:
        raise refuse(
            node.range, f"{node.keyword} has one path only: the destination is missing", example
        )
    sources, destination = words[:-1], words[-1]
    if _marker(destination) is not None:
        raise refuse(
            node.range,
            f"the destination of {node.keyword} is a heredoc, {destination}",
            f"write the destination last: {node.keyword} {destination} /PATH",
        )
    if not any("<<" in word for word in sources):
        return sources, destination, ()
    paths, heredocs = _with_heredocs(node, sources)
    return paths, destination, heredocs


def _with_heredocs(
    node: Node, sources: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[Heredoc, ...]]:
    # Of several heredocs with one name, the last counts for all.
    contents = {heredoc.name: heredoc.content for heredoc in node.heredocs}
    paths: list[str] = []
    heredocs: list[Heredoc] = []
    for word in sources:
        marker = _marker(word)
        if marker is None:
            paths.append(word)
            continue
        paths.append(f"<<{marker.name}")
        heredocs.append(Heredoc(marker.name, contents.get(marker.name, ""), *marker[1:]))
    return tuple(paths), tuple(heredocs)


def _marker(word: str) -> Marker | None:
    """A word that is nearly a marker is a path."""
    try:
        return parse_marker(word) if "<<" in word else None
    except BadValue:
        return None
