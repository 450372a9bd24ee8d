# SPDX-License-Identifier: Apache-2.0
"""Which entries of Go's build cache are kept back for the private modules in them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from wherry.gocache.build_cache import BuildCache
from wherry.gocache.module_sums import parse_sums
from wherry.gocache.private_entries import PrivateEntries
from wherry.gocache.table import Row

SUMS = parse_sums([f"corp.example.com/kit v1.0.0 h1:{'A' * 43}=\n"])


def holds(path: Path, patterns: str, data: bytes, *, sums: bool = False) -> bool:
    digest = hashlib.sha256(data).hexdigest()
    place = path / digest[:2] / f"{digest}-d"
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(data)
    entries = PrivateEntries(patterns, SUMS if sums else {})
    return entries.hold(BuildCache(str(path)), Row("0" * 64, digest, len(data)))


@pytest.mark.parametrize(
    ("patterns", "text"),
    [
        ("corp.example.com", "Unwrapcorp.example.com/kit@v1.0.0/a.goEa"),
        ("corp.example.com", "x/go/pkg/mod/corp.example.com/kit/v2@v2.0.0/a.go"),
        ("corp.example.com/", "corp.example.com@v1.0.0/a.go"),
        ("*.example.com", "corp.example.com/kit@v1.0.0/a.go"),
        ("example.org,github.com/*/secret", "github.com/acme/secret/deep@v0.1.0/a.go"),
        ("github.com/acme-*", "github.com/acme-one/x.go@v0.0.0-2026/a.go"),
        ("github.com/Acme", "github.com/Acme/x@v1.0.0/a.go"),
        ("github.com/Acme", "/mods/github.com/!acme/x@v1.0.0/a.go"),
        ("*", "example.com/any@v1.0.0/a.go"),
        ("[", "example.com/any@v1.0.0/a.go"),
    ],
)
def test_a_private_modules_own_files_keep_an_entry_back(
    tmp_path: Path, patterns: str, text: str
) -> None:
    assert holds(tmp_path, patterns, b"go object\0" + text.encode() + b"\0")


@pytest.mark.parametrize(
    ("patterns", "text"),
    [
        ("", "corp.example.com/kit@v1.0.0/a.go"),
        ("corp.example.com", "github.com/open/lib@v1.0.0/a.go"),
        # The main module has no version, whatever stands beside its files.
        ("corp.example.com", "corp.example.com/shop/main.gogithub.com/open/lib@v1.0.0/a.go"),
        ("corp.example.com", "corp.example.com/shop imports corp.example.com/kit/"),
        ("github.com/acme/secret", "github.com/acme/secrets@v1.0.0/a.go"),
        ("github.com/*/secret", "github.com/a/b/secret@v1.0.0/a.go"),
        ("*", "fmtstringsgo.shape.int"),
    ],
)
def test_all_else_travels(tmp_path: Path, patterns: str, text: str) -> None:
    assert not holds(tmp_path, patterns, text.encode())


def test_a_private_module_of_go_sum_is_found_by_its_path_alone(tmp_path: Path) -> None:
    text = b"/src/vendor/corp.example.com/kit/a.go"
    assert holds(tmp_path, "corp.example.com", text, sums=True)
    assert not holds(tmp_path, "corp.example.com", text)
    assert not holds(tmp_path, "other.example.com", text, sums=True)


def test_what_cannot_be_read_stays(tmp_path: Path) -> None:
    row = Row("0" * 64, "1" * 64, 1)
    assert PrivateEntries("corp.example.com", {}).hold(BuildCache(str(tmp_path)), row)
    assert not PrivateEntries("", {}).hold(BuildCache(str(tmp_path)), row)
