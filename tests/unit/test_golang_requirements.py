# SPDX-License-Identifier: Apache-2.0
"""What go.mod asks for, and Go's patterns for private modules."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.golang.requirements import (
    Requirements,
    is_matched,
    read_requirements,
    version_order,
)

GO_MOD = """\
module example.com/app // the module

go 1.26 // at least
toolchain go1.27.2

require example.com/one v1.0.0
require (
\t"example.com/two" v2.0.0 // indirect
\texample.com/three v0.0.0-20240101000000-abcdefabcdef

)
replace example.com/two => ../two
exclude ( example.com/four v1.0.0
)
"""


def test_a_go_mod(tmp_path: Path) -> None:
    path = tmp_path / "go.mod"
    path.write_text(GO_MOD)
    found = read_requirements(str(path))
    assert (found.go, found.toolchain, found.newest) == ("1.26", "go1.27.2", "1.27.2")
    assert [name for name, _ in found.modules] == [
        "example.com/one", "example.com/two", "example.com/three",
    ]  # fmt: skip
    assert found.modules[1] == ("example.com/two", "v2.0.0")


def test_no_go_mod(tmp_path: Path) -> None:
    assert read_requirements(str(tmp_path / "go.mod")) == Requirements()
    assert Requirements().newest == ""
    assert Requirements("1.21", "default").newest == "1.21"


@given(text=st.text())
def test_any_text_is_read(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / f"any-{random.random()}.mod"
    path.write_text(text, encoding="utf-8", errors="replace")
    assert all(name for name, _ in read_requirements(str(path)).modules) or '""' in text
    path.unlink()


def test_versions_in_order() -> None:
    order = ["", "1.9", "1.21", "1.27", "1.27beta1", "1.27rc1", "1.27rc2", "1.27.0", "1.27.10"]
    shuffled = random.Random(7).sample(order, len(order))
    assert sorted(shuffled, key=version_order) == order
    assert version_order("go1.26.8 X:nodwarf5") == version_order("1.26.8")


@pytest.mark.parametrize(
    ("patterns", "path", "expected"),
    [
        ("", "example.com/a", False),
        ("example.com", "example.com/a/b", True),
        ("example.com/a", "example.com/a", True),
        ("example.com/a/b", "example.com/a", False),
        ("*.corp.example", "git.corp.example/x", True),
        ("*.corp.example", "corp.example/x", False),
        ("github.com/*/private", "github.com/me/private/v2", True),
        ("github.com/*", "github.com/me/other", True),
        ("a.example,  b.example/ ", "b.example/x", True),
        ("example.[^c]om", "example.dom/x", True),
        ("[", "example.com", False),
        ("*", "anything.example/x", True),
    ],
)
def test_patterns(patterns: str, path: str, expected: bool) -> None:
    assert is_matched(patterns, path) == expected
