# SPDX-License-Identifier: Apache-2.0
"""The proof of how RUN works on this machine: a namespace worker, started and asked.

What files say about a machine only words the refusal; that mounts, mappings and the OCI runtime
work is known once they did.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from wherry.errors import MachineError
from wherry.sandbox.host_facts import HostFacts, read_facts
from wherry.sandbox.mapping import Mapping as Kind
from wherry.sandbox.modes import Mode
from wherry.sandbox.namespace import Namespace, NamespaceOptions
from wherry.sandbox.rundir import Workplace, run_directory
from wherry.store.store import open_store


class Proof(NamedTuple):
    """What a worker showed.

    `snapshots` is "overlay" or "whole", `runtime` a path; both are empty where they are not there.
    `refused` tell why better mappings failed, `problems` why runtimes did, `error` why all
    mappings did.
    """

    facts: HostFacts
    mode: Mode = Mode()
    runtime: str = ""
    seccomp: bool = False
    snapshots: str = ""
    refused: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    error: MachineError | None = None


def prove(store: str, env: Mapping[str, str]) -> Proof:
    """Start a worker as a build does and end it again; its directory is in the store's.

    Raises `MachineError` for a store that cannot be used, and off Linux.
    """
    search_path = env.get("PATH", os.defpath)
    facts = read_facts(search_path)
    with open_store(store) as opened:
        place = Workplace(os.path.join(opened.path, "tmp"), os.path.join(opened.path, "locks"))
    with run_directory(place) as directory:
        options = NamespaceOptions(search_path, directory.path, directory.lock)
        with Namespace(options) as namespace:
            try:
                found = namespace.place
            except MachineError as error:
                return Proof(facts, error=error)
            refused = tuple(text for text in namespace.problems if _is_mappings(text))
            return Proof(
                facts,
                Mode(found.mapping, namespace.own_proc),
                namespace.runtime,
                namespace.seccomp,
                found.kind,
                refused,
                tuple(text for text in namespace.problems if text not in refused),
            )


def _is_mappings(problem: str) -> bool:
    return problem.startswith(tuple(f"{mapping}: " for mapping in Kind))
