# SPDX-License-Identifier: Apache-2.0
"""Random Dockerfiles through wherry's parser and BuildKit's: both must make the same of them."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from dockerfile_comparison import differences
from dockerfile_grammar import dockerfile, mutated
from oracle_program import Oracle


def texts(seed: int, count: int) -> list[str]:
    """Half of them by the grammar alone, half mutated."""
    random = Random(seed)
    made = [dockerfile(random) for _ in range(count)]
    return [text if index % 2 else mutated(random, text) for index, text in enumerate(made)]


def check(oracle: Oracle, seed: int, count: int) -> Counter[str]:
    """Compare `count` files; gives how often each explanation was needed."""
    found = differences(oracle, texts(seed, count))
    unexplained = [each for each in found if not each[2]]
    for text, difference, _ in unexplained[:5]:
        print(f"{text!r}\n  {difference.what}\n  ours:   {difference.ours}")
        print(f"  theirs: {difference.theirs}\n")
    assert not unexplained, f"{len(unexplained)} of {count} files are read otherwise"
    return Counter(name for _, _, name in found)


def test_random_files_are_read_as_by_buildkit(oracle: Oracle) -> None:
    explained = check(oracle, 1, 300)
    # Were more than a few left out, the comparison would not say much.
    assert explained.total() < 60, explained


@pytest.mark.soak
def test_many_random_files_are_read_as_by_buildkit(oracle: Oracle) -> None:
    explained = Counter[str]()
    for seed in range(2, 22):
        explained += check(oracle, seed, 1000)
    print(f"20,000 files, explained differences: {dict(explained)}")
    assert explained.total() < 4000, explained
