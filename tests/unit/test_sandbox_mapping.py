# SPDX-License-Identifier: Apache-2.0
"""Which mappings are tried, in which order, by which command."""

from __future__ import annotations

import pytest

from wherry.sandbox.mapping import (
    HostFacts,
    Mapping,
    candidates,
    is_mapped,
    is_proc_covered,
    namespace_command,
)


def facts(**changes: object) -> HostFacts:
    return HostFacts(uid=1000, unshare="/usr/bin/unshare")._replace(**changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"uid": 0}, (Mapping.ROOT, Mapping.ONE)),
        ({"uid": 0, "ids": 1}, (Mapping.ONE,)),
        ({"uid": 0, "ranges": 65536}, (Mapping.ROOT, Mapping.RANGES, Mapping.ONE)),
        ({"ranges": 65536}, (Mapping.RANGES, Mapping.ONE)),
        ({}, (Mapping.ONE,)),
    ],
)
def test_best_mapping_first(changes: dict[str, int], expected: tuple[Mapping, ...]) -> None:
    assert candidates(facts(**changes)) == expected


@pytest.mark.parametrize(
    ("mapping", "ids", "expected"),
    [
        (Mapping.ROOT, {0, 70000}, True),
        (Mapping.RANGES, {65532}, True),
        (Mapping.RANGES, {65536}, False),
        (Mapping.ONE, {0}, True),
        (Mapping.ONE, {0, 65532}, False),
    ],
)
def test_which_ids_exist(mapping: Mapping, ids: set[int], expected: bool) -> None:
    assert is_mapped(frozenset(ids), mapping, facts(ranges=65536)) is expected


def test_a_namespaces_root_has_only_its_ids() -> None:
    inside = facts(uid=0, ids=65537)
    assert not inside.initial
    assert is_mapped(frozenset({65532}), Mapping.ROOT, inside)
    assert not is_mapped(frozenset({70000}), Mapping.ROOT, inside)


@pytest.mark.parametrize("mapping", list(Mapping))
def test_everything_dies_with_the_namespaces_first_process(mapping: Mapping) -> None:
    words = namespace_command(mapping, "unshare")
    assert {"--pid", "--fork", "--mount", "--kill-child=SIGKILL"} <= set(words)
    assert ("--user" in words) == (mapping is not Mapping.ROOT)
    assert ("--map-auto" in words) == (mapping is Mapping.RANGES)
    assert words[-1] == "--"


@pytest.mark.parametrize("mapping", list(Mapping))
def test_without_processes_of_its_own_the_worker_still_ends_with_unshare(mapping: Mapping) -> None:
    words = namespace_command(mapping, "unshare", own_processes=False)
    assert "--pid" not in words
    assert "--kill-child=SIGKILL" in words


@pytest.mark.parametrize(
    ("mapping", "changes", "expected"),
    [
        (Mapping.ONE, {}, False),
        (Mapping.ONE, {"masked": ("/proc/kcore",)}, True),
        (Mapping.ROOT, {"masked": ("/proc/kcore",)}, False),
        (Mapping.ROOT, {"masked": ("/proc/kcore",), "ids": 65536}, True),
    ],
)
def test_a_covered_proc_refuses_another(
    mapping: Mapping, changes: dict[str, object], expected: bool
) -> None:
    assert is_proc_covered(mapping, facts(**changes)) is expected
