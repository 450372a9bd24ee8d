# SPDX-License-Identifier: Apache-2.0
"""Which user ids exist for the program, and which command makes the namespaces that hold them.

Three mappings, best first: root needs none; a user with subordinate id ranges has 65,536 ids; any
other user has one. Each is proved by starting it, never believed; the facts of the machine
(`wherry.sandbox.host_facts`) only order the tries.
"""

from __future__ import annotations

from enum import StrEnum

from wherry.sandbox.host_facts import HostFacts, read_facts
from wherry.sandbox.refusals import Purpose, refusal

__all__ = [
    "HostFacts", "Mapping", "Purpose", "candidates", "is_mapped", "is_proc_covered",
    "namespace_command", "read_facts", "refusal",
]  # fmt: skip


class Mapping(StrEnum):
    """How ids inside relate to ids outside."""

    ROOT = "root"
    RANGES = "user namespace with id ranges"
    ONE = "user namespace with one id"


def candidates(facts: HostFacts) -> tuple[Mapping, ...]:
    """The mappings worth trying, best first."""
    ranges = (Mapping.RANGES,) if facts.ranges else ()
    # Root of a namespace with one id has nothing to give the image's files to.
    root = (Mapping.ROOT,) if facts.uid == 0 and facts.ids > 1 else ()
    # Ranges are for root, too: in most containers root may not mount anything.
    return (*root, *ranges, Mapping.ONE)


def is_mapped(ids: frozenset[int], mapping: Mapping, facts: HostFacts) -> bool:
    """Whether all of `ids` exist inside without a further namespace."""
    match mapping:
        case Mapping.ROOT:
            return max(ids) < facts.ids
        case Mapping.RANGES:
            return max(ids) < facts.ranges
        case Mapping.ONE:
            return ids == {0}


def is_proc_covered(mapping: Mapping, facts: HostFacts) -> bool:
    """Whether the kernel will refuse another /proc: parts of this one are covered.

    The initial namespace's root may uncover them all the same.
    """
    return bool(facts.masked) and not (mapping is Mapping.ROOT and facts.initial)


def namespace_command(
    mapping: Mapping, unshare: str, *, own_processes: bool = True
) -> tuple[str, ...]:
    """The words before a program that start it as root of its own mounts and processes.

    The program is process 1 there: when it ends, everything that it started ends with it. That is
    not so without `own_processes`, which is for where only the outer /proc can be seen: an OCI
    runtime looks what it started up there, and would find another process by that number.
    """
    users = {
        Mapping.ROOT: (),
        Mapping.RANGES: ("--user", "--map-root-user", "--map-auto"),
        Mapping.ONE: ("--user", "--map-root-user"),
    }
    processes = ("--pid",) if own_processes else ()
    own = ("--mount", *processes, "--fork", "--kill-child=SIGKILL", "--")
    return (unshare, *users[mapping], *own)
