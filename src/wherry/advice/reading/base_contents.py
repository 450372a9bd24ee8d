# SPDX-License-Identifier: Apache-2.0
"""What an image says itself: its config and its files, instead of what the table has of it.

The facts that files give are small and never change for one image; `Contents` is written down as
JSON so that the layers need not be read again (`wherry.advice.reading.base_reading` reads them).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from wherry.advice.reading.base_facts import BaseFacts
    from wherry.oci.run_config import RunConfig


class Contents(NamedTuple):
    """The facts that files give, named as those of `BaseFacts`; `users` sorted."""

    libc: str
    shell: bool
    packages: str
    programs: tuple[str, ...]
    ca: bool
    zones: bool
    tmp: bool
    users: tuple[str, ...]
    go: str
    has_go: bool
    release: str
    size: int

    def encoded(self) -> bytes:
        """As JSON."""
        return json.dumps(self._asdict(), separators=(",", ":")).encode()


def decoded(data: bytes) -> Contents | None:
    """What `encoded` wrote; None where it is of another release, or damaged."""
    try:
        value: dict[str, Any] = json.loads(data)
        lists = {name: tuple(value[name]) for name in ("programs", "users")}
        return Contents(**{**value, **lists})
    except (ValueError, TypeError, KeyError):
        return None


def with_config(table: BaseFacts, run: RunConfig) -> BaseFacts:
    """The facts with what the image's config says."""
    pairs = (line.partition("=")[::2] for line in run.env)
    return table._replace(
        directory=run.working_dir or "/",
        user=run.user or "root",
        environment=tuple((name, value) for name, value in pairs),
        shell_form=run.shell,
        entrypoint=run.entrypoint,
    )


def with_contents(facts: BaseFacts, found: Contents) -> BaseFacts:
    """The facts with what the image's files say."""
    # These families are told apart by other releases than that of the distribution in them.
    release = facts.release if facts.family in ("golang", "distroless") else found.release
    return facts._replace(
        libc=found.libc,
        shell=found.shell,
        packages=found.packages,
        programs=frozenset(found.programs),
        ca=found.ca,
        zones=found.zones,
        tmp=found.tmp,
        users=frozenset(found.users),
        go=found.go or facts.go,
        has_go=found.has_go,
        release=release,
        size=found.size,
    )
