# SPDX-License-Identifier: Apache-2.0
"""What `wherry cache run` gives to places of what its command left in Go's build cache."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wherry.api import cached_commands
from wherry.api.cached_commands import CommandRequest, cached_command
from wherry.gocache.exporting import Offer
from wherry.gocache.spec import CacheSpec
from wherry.golang.build_entries import Action, encode_action
from wherry.process.cancel import CancelToken

OPEN = "example.org/open@v1.0.0/a.go"
OWN = "corp.example.com/shop/main.go"
TOOL = "corp.example.com/tool@v1.0.0/a.go"
KIT = "/src/vendor/corp.example.com/kit/a.go"
SPEC = CacheSpec("./place", is_directory=True, modules="off")

Kept = Callable[[CacheSpec], set[str]]


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kept:
    """Which of the texts in its entries a command gives to a place."""
    cache = tmp_path / "gocache"
    (tmp_path / "go.mod").write_text("module corp.example.com/shop\n")
    (tmp_path / "go.sum").write_text(f"corp.example.com/kit v1.0.0 h1:{'A' * 43}=\n")
    facts = SimpleNamespace(
        all={"GOPRIVATE": "corp.example.com"}, goflags="", gowork="", gocache=str(cache),
        gomodcache=str(tmp_path / "mod"), gomod=str(tmp_path / "go.mod"),
    )  # fmt: skip
    monkeypatch.setattr(cached_commands, "find_go", lambda _env: SimpleNamespace(env=()))
    monkeypatch.setattr(cached_commands, "query_go", lambda *_rest: facts)
    offers: list[Offer] = []

    def export(_spec: CacheSpec, offer: Offer, _scratch: str) -> None:
        offers.append(offer)

    def run(spec: CacheSpec) -> set[str]:
        around = SimpleNamespace(cancel=CancelToken())
        traffic: Any = SimpleNamespace(
            registries=SimpleNamespace(around=around), targets=(spec,), zips=[], export=export,
            restore_builds=lambda _path: None, restore_zips=lambda *_rest: None,
            passing_over=lambda *_rest: nullcontext(), tell=lambda _used: None, warn=print,
        )  # fmt: skip
        request = CommandRequest(("go",), str(tmp_path), {}, str(tmp_path), str(tmp_path))
        for number in range(256):
            (cache / f"{number:02x}").mkdir(parents=True, exist_ok=True)
        with cached_command(request, traffic):
            for text in (OPEN, OWN, TOOL, KIT):
                put(cache, text)
        material = offers[-1].materials["build"]
        names = set()
        for row in material.rows:
            with material.read(row) as file:
                names.add(file.read().decode())
        return names

    return run


def put(cache: Path, text: str) -> None:
    data, key = text.encode(), hashlib.sha256(f"key {text}".encode()).hexdigest()
    output = hashlib.sha256(data).hexdigest()
    (cache / output[:2] / f"{output}-d").write_bytes(data)
    action = encode_action(Action(key, output, len(data), 1))
    (cache / key[:2] / f"{key}-a").write_bytes(action)


def test_what_is_compiled_of_private_modules_stays_also_of_those_without_go_sum(
    kept: Kept,
) -> None:
    assert kept(SPEC) == {OPEN, OWN}


def test_it_travels_where_the_place_says_so(kept: Kept) -> None:
    assert kept(SPEC._replace(private=True)) == {OPEN, OWN, TOOL, KIT}
