# SPDX-License-Identifier: Apache-2.0
"""Modules that travel are a part of the store, and count against its size."""

import os
from pathlib import Path

import pytest

from golang_support import needs_go
from module_samples import Proxy
from store_samples import put_modules
from travelling import Machine
from wherry.errors import WherryError
from wherry.gocache.module_tree import trees
from wherry.store.store import open_store

pytestmark = needs_go

LIB = "example.com/lib"
MAIN = 'package main\n\nimport "example.com/lib/used"\n\nfunc main() { println(used.Word) }\n'


@pytest.fixture
def proxy(tmp_path: Path) -> Proxy:
    found = Proxy(tmp_path / "proxy")
    used = 'package used\n\nconst Word = "word"\n' + "// a long comment\n" * 4000
    found.add(LIB, "v1.0.0", {"used/used.go": used, "LICENSE": "free\n"})
    return found


def machine(root: Path, proxy: Proxy, env: dict[str, str], warm: str) -> Machine:
    made = Machine(root, {**env, "GOPROXY": proxy.url, "GOSUMDB": "off", "GOFLAGS": "-modcacherw"})
    made.env["GOCACHE"] = warm
    made.write("go.mod", f"module example.com/m\n\ngo 1.21\n\nrequire {LIB} v1.0.0\n")
    made.write("go.sum", proxy.go_sum())
    made.write("main.go", MAIN)
    made.write("wherry.toml", '[store]\nsize = "100MB"\n')
    return made


def test_a_restored_tree_makes_the_store_look_at_its_size(
    tmp_path: Path, proxy: Proxy, go_env: dict[str, str], go_caches: dict[str, str]
) -> None:
    place = tmp_path / "cache"
    machine(tmp_path / "first", proxy, go_env, go_caches["GOCACHE"]).build(place)
    second = machine(tmp_path / "second", proxy, go_env, go_caches["GOCACHE"])
    second.env["GOPROXY"] = "off"
    with open_store(second.store) as store:
        old = put_modules(store, "a", used_at=1.0)
        with open(old / "big", "wb") as file:
            os.posix_fallocate(file.fileno(), 0, 101_000_000)
    # It fails, and so the modules are all that it puts into the store.
    second.write("main.go", MAIN.replace("used.Word", "used.None"))
    with pytest.raises(WherryError, match="None"):
        second.build(place)
    assert not old.exists()
    ((digest, _),) = trees(f"{second.store}/gocache/modules")
    with open_store(second.store) as store:
        (item,) = (item for item in store.survey().modules if item.name == digest)
    assert 72_000 < item.size < 200_000
