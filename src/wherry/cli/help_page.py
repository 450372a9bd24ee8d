# SPDX-License-Identifier: Apache-2.0
"""Help pages: options under headings, and examples for every verb.

click draws a page from a command's own declarations; what is added here stands beside the verbs,
not in them: which heading an option belongs to, and examples where a verb brings none of its own.
The reference pages in `docs/reference` are written from the same facts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, TypeVar

import click

from wherry.cli.flags import BUILD_FLAGS

T = TypeVar("T")

_OPTIONS: Final = "Options"
_COMMON: Final = "Common options"
_COLUMN: Final = 28
# What most verbs take, below what a verb alone takes.
_SHARED: Final = frozenset({"--store", "--ca", "--progress", "--quiet", "--json"})

EXAMPLES: Final = {
    "images": """
      wherry images                 names, digests, platforms, sizes
      wherry images --json          the same for programs
      wherry rmi $(wherry images -q)    all of them, removed by digest
    """,
    "tag": """
      wherry tag api:latest api:1.2
      wherry tag api registry.example.com/shop/api:1.2   then: wherry push
    """,
    "rmi": """
      wherry rmi api:1.1            this name; the image stays under others
      wherry rmi -f sha256:1f0c...  the image with all its names
    """,
    "logout": """
      wherry logout                        of Docker Hub
      wherry logout registry.example.com
    """,
    "inspect": """
      wherry inspect --raw debian:12-slim              its index or manifest
      wherry inspect --raw --platform linux/arm64 debian:12-slim
      wherry inspect --raw debian:12-slim | sha256sum  its digest
    """,
    "cache": """
      wherry cache du                       how much room, by kind
      wherry cache prune                    what nobody needs
      wherry cache prune --keep-storage 5GB
      wherry cache inspect ./go-cache       a Go cache that travels
      wherry cache run --cache-from ./go-cache -- go test ./...
    """,
    "cache du": """
      wherry cache du          by kind, in all
      wherry cache du --json   in bytes
    """,
    "cache inspect": """
      wherry cache inspect registry.example.com/shop/cache:main
      wherry cache inspect ./go-cache --cache-key cache.pub   and who signed it
      wherry cache inspect ./go-cache --json                  for programs
    """,
    "cache ls": """
      wherry cache ls              what goes first stands first
      wherry cache ls --json       for programs
    """,
    "cache prune": """
      wherry cache prune                      what nobody needs
      wherry cache prune --dry-run --all      what would go
      wherry cache prune --keep-storage 5GB   the least recently used first
    """,
    "doctor": """
      wherry doctor          what works here, what does not, what to do
      wherry doctor --json   for programs
    """,
}


def dressed(command: click.Command, path: str) -> click.Command:
    """`command`, whose page has headings and examples; `path` is its name without `wherry`."""
    command.context_class = HelpContext
    if not command.epilog and path in EXAMPLES:
        command.epilog = f"\b\nExamples:\n{_dedented(EXAMPLES[path])}\n"
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            dressed(inner, f"{path} {name}")
    return command


def heading_of(path: str, option: str, *, alone: bool = False) -> str:
    """The heading that a long option (`--tag`) of a verb stands under.

    `alone`: the verb has no option that others have not, and so one heading is enough.
    """
    if path == "build":
        return _BUILD_HEADINGS.get(option, _BUILD_LAST)
    return _COMMON if option in {*_SHARED, "--help"} and not alone else _OPTIONS


class HelpContext(click.Context):
    """A call of a verb, whose help page is a `HelpPage`."""

    def make_formatter(self) -> click.HelpFormatter:
        """A page that knows which verb it is of."""
        path = self.command_path.partition(" ")[2]
        return HelpPage(path, self.terminal_width, self.max_content_width)


class HelpPage(click.HelpFormatter):
    """click's page, with options under several headings instead of one."""

    def __init__(self, path: str, width: int | None, max_width: int | None) -> None:
        super().__init__(width=width, max_width=max_width)
        self._path = path

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """A heading with what is below it; that of the options is left to `write_dl`."""
        if name == _OPTIONS:
            yield
            return
        with super().section(name):
            yield

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        """A table; one of options is written as one for each heading."""
        rows = list(rows)
        if not all(first.startswith("-") for first, _ in rows):
            super().write_dl(rows, col_max, col_spacing)
            return
        # One column for all headings; what is wider stands on a line of its own.
        column = min(max(len(first) for first, _ in rows), _COLUMN)
        padded = {_long(first): (first.ljust(column), second) for first, second in rows}
        for heading, members in grouped(self._path, padded).items():
            with super().section(heading):
                super().write_dl(members, column, col_spacing)


def grouped(path: str, rows: Mapping[str, T]) -> dict[str, list[T]]:
    """What belongs to long options by heading, in the order in which headings come first."""
    alone = _SHARED.union({"--help"}).issuperset(rows)
    found: dict[str, list[T]] = {}
    for option, row in rows.items():
        found.setdefault(heading_of(path, option, alone=alone), []).append(row)
    return found


def _long(first: str) -> str:
    found = re.search(r"--[a-z][a-z-]*", first)
    return found[0] if found else first


def _dedented(text: str) -> str:
    lines = text.strip("\n").rstrip().splitlines()
    return "\n".join(f"  {line.strip()}" for line in lines)


_BUILD_HEADINGS: Final = {f"--{flag.name}": flag.group for flag in BUILD_FLAGS}
_BUILD_LAST: Final = BUILD_FLAGS[-1].group
