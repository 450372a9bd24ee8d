# SPDX-License-Identifier: Apache-2.0
"""Go's indexes of modules: kept with what they were made of, and seen where that is the same."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import time
from pathlib import Path

import pytest

from golang_support import needs_go
from module_samples import Machine, Proxy
from wherry.golang.build_entries import INDEX
from wherry.process.cancel import CancelToken
from wherry.sandbox.go_caches import Chosen, choose
from wherry.sandbox.go_harvest import Harvested, harvest
from wherry.sandbox.go_indexes import KeptLines, forget_lines, index_ids
from wherry.sandbox.step_spec import StepGoCache, StepSpec

OPAQUE = "user.wherry.opaque"
BUILD = "/root/.cache/go-build"
MODULES = "/go/pkg/mod"
LINE = f"example.com/Lib v1.0.0 h1:{'A' * 43}="
OTHER = LINE.replace("A=", "B=")
TREE = "example.com/!lib@v1.0.0"
GO = "/usr/local/go"


def go_of(root: Path, version: str) -> None:
    path = root / GO[1:]
    (path / "bin").mkdir(parents=True, exist_ok=True)
    (path / "bin/go").touch()
    (path / "VERSION").write_text(f"{version}\ntime 2026-01-01T00:00:00Z\n")


# --- their names -----------------------------------------------------------------------------


@needs_go
def test_the_names_are_those_that_go_gives_them(tmp_path: Path) -> None:
    proxy = Proxy(tmp_path / "proxy")
    proxy.add(
        "example.com/Lib", "v1.0.0", {"go.mod": "module example.com/Lib\n", "l.go": "package l\n"}
    )
    machine = Machine(tmp_path, proxy, {"GOCACHE": str(tmp_path / "gocache")})
    main = 'package main\n\nimport _ "example.com/Lib"\n\nfunc main() {}\n'
    machine.write({"main.go": main}, ["example.com/Lib v1.0.0"])
    assert machine.go("list", "-deps", ".").returncode == 0
    root = machine.go("env", "GOROOT").stdout.strip()
    found = index_ids("", [root], str(machine.modcache), [LINE, LINE.replace(" h1", "/go.mod h1")])
    (identity,) = found
    assert found == {identity: LINE}
    cache = Path(machine.go("env", "GOCACHE").stdout.strip())
    output = (cache / identity[:2] / f"{identity}-a").read_text().split()[2]
    assert (cache / output[:2] / f"{output}-d").read_bytes().startswith(INDEX)


def test_a_go_that_is_no_release_has_none(tmp_path: Path) -> None:
    for version in ("go1.26.8", "go1.27rc1", "go1.21.0"):
        go_of(tmp_path, version)
        assert set(index_ids(str(tmp_path), [GO], MODULES, [LINE]).values()) == {LINE}
    for version in ("devel go1.27-abc", "go1.26.8-acme", "", "\0"):
        go_of(tmp_path, version)
        assert index_ids(str(tmp_path), [GO], MODULES, [LINE]) == {}
    assert index_ids(str(tmp_path), ["/nowhere"], MODULES, [LINE]) == {}


# --- what a step leaves ----------------------------------------------------------------------


def entry(top: Path, identity: str, data: bytes) -> None:
    output = hashlib.sha256(data).hexdigest()
    line = f"v1 {identity} {output} {len(data):20d} {time.time_ns():20d}\n"
    for name, content in ((f"{output}-d", data), (f"{identity}-a", line.encode())):
        path = top / name[:2] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def test_an_index_is_kept_with_its_line_and_used_with_it(tmp_path: Path) -> None:
    known, strange = "ab" * 32, "cd" * 32
    cache = StepGoCache("build", BUILD, str(tmp_path / "pool"))
    top, kept = tmp_path / "upper" / BUILD[1:], tmp_path / "pool/fs" / BUILD[1:]
    for number in range(256):
        (kept / f"{number:02x}").mkdir(parents=True)
    (tmp_path / "below" / BUILD[1:]).mkdir(parents=True)
    entry(top, known, INDEX + b"2\nknown")
    entry(top, strange, INDEX + b"2\nof a directory")
    step = Harvested(str(tmp_path / "upper"), str(tmp_path / "below"), OPAQUE, MODULES,
                     indexes={known: LINE})  # fmt: skip
    taken = harvest(cache, step, (), CancelToken())
    assert (taken.used, taken.failure) == ((f"{known} {LINE}",), "")
    assert sorted(path.name[:2] for path in kept.rglob("*-a")) == ["ab"]
    assert len(list(kept.rglob("*-d"))) == 1
    assert not [path for path in top.rglob("*") if path.is_file()]
    assert (tmp_path / "pool/indexes" / known).read_text() == LINE
    # Where nobody knows what the modules are, none is kept.
    again = "ef" * 32
    entry(top, again, INDEX + b"2\nagain")
    assert harvest(cache, step._replace(indexes={}), (), CancelToken()).used == ()
    assert sorted(path.name[:2] for path in kept.rglob("*-a")) == ["ab"]
    (kept / "ab" / f"{known}-a").unlink()
    forget_lines(cache)
    assert not list((tmp_path / "pool/indexes").iterdir())


def test_an_index_of_a_directory_is_not_taken_for_its_output_being_there(tmp_path: Path) -> None:
    cache = StepGoCache("build", BUILD, str(tmp_path / "pool"))
    top, kept = tmp_path / "upper" / BUILD[1:], tmp_path / "pool/fs" / BUILD[1:]
    (tmp_path / "below" / BUILD[1:]).mkdir(parents=True)
    data = INDEX + b"2\nempty"
    entry(kept, "ab" * 32, data)
    entry(top, "cd" * 32, data)
    for output in top.rglob("*-d"):
        output.unlink()
    step = Harvested(str(tmp_path / "upper"), str(tmp_path / "below"), OPAQUE, MODULES)
    taken = harvest(cache, step, (), CancelToken())
    assert (taken.used, taken.failure) == ((), "")
    assert sorted(path.name[:2] for path in kept.rglob("*-a")) == ["ab"]
    assert not list(top.rglob("*-a"))


def test_an_index_goes_before_its_line_becomes_another(tmp_path: Path) -> None:
    """Whoever is killed in between leaves no index beside a line that it was not made of."""
    cache = StepGoCache("build", BUILD, str(tmp_path / "pool"))
    kept = tmp_path / "pool/fs" / BUILD[1:]
    entry(kept, "ab" * 32, INDEX + b"2\n")
    KeptLines(cache).keep("ab" * 32, LINE)
    KeptLines(cache).keep("ab" * 32, LINE)
    assert list(kept.rglob("*-a"))
    KeptLines(cache).keep("ab" * 32, OTHER)
    assert not list(kept.rglob("*-a"))
    assert KeptLines(cache).find("ab" * 32) == OTHER


# --- what a step sees ------------------------------------------------------------------------


class Ground:
    """A root with a module in /src, its two caches, and an index with `line`."""

    def __init__(self, top: Path, line: str) -> None:
        self.top = top
        (top / "root/src").mkdir(parents=True)
        (top / "modules/fs").mkdir(parents=True)
        self.go = top / "root/usr/local/go/bin/go"
        self.go.parent.mkdir(parents=True)
        self.go.write_bytes(b"\x7fELF of Go")
        (top / "root/usr/local/go/VERSION").write_text("go1.26.8\n")
        (top / "root/src/go.sum").write_text(f"{LINE}\n")
        self.identity = "ab" * 32
        self.build = StepGoCache("build", BUILD, str(top / "build"))
        entry(top / "build/fs" / BUILD[1:], self.identity, INDEX + b"2\n")
        KeptLines(self.build).keep(self.identity, line)
        self.modules = StepGoCache("modules", MODULES, str(top / "modules"),
                                   snapshots=(str(top / "snapshot"),))  # fmt: skip

    def chosen(
        self,
        script: str = "go build -trimpath -o /out/app .",
        shell: str = "/bin/sh",
        path: str = "/bin:/usr/local/go/bin",
    ) -> Chosen:
        spec = StepSpec((shell, "-c", script), env=("HOME=/root", f"PATH={path}"),
                        cwd="/src", user=f"{os.getuid()}:{os.getgid()}",
                        go_caches=(self.modules, self.build))  # fmt: skip
        return choose(spec, str(self.top / "root"), tempfile.mkdtemp(dir=self.top))

    def is_hidden(self, chosen: Chosen) -> bool:
        name = f"{BUILD[1:]}/{self.identity[:2]}/{self.identity}-a"
        found = [path for mask in chosen.masks if (path := Path(mask) / "fs" / name).exists()]
        return bool(found) and stat.S_ISCHR(found[0].lstat().st_mode)


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root makes overlay's marks")


@needs_root
def test_an_index_is_seen_where_its_line_is(tmp_path: Path) -> None:
    ground = Ground(tmp_path, LINE)
    assert not ground.is_hidden(ground.chosen())
    assert not ground.is_hidden(ground.chosen("CGO_ENABLED=0 go build . && mkdir /x"))


@needs_root
def test_an_index_of_other_files_is_hidden(tmp_path: Path) -> None:
    ground = Ground(tmp_path, OTHER)
    assert ground.is_hidden(ground.chosen())


@needs_root
@pytest.mark.parametrize(
    "script", ["make", "./patch.sh && go build .", "go generate ./... && go build .",
               "patch -d $(go list -m -f '{{.Dir}}' example.com/Lib) && go build ."]
)  # fmt: skip
def test_who_may_change_a_module_first_sees_none(tmp_path: Path, script: str) -> None:
    ground = Ground(tmp_path, LINE)
    assert ground.is_hidden(ground.chosen(script))


@needs_root
def test_what_is_no_go_of_gos_sees_none(tmp_path: Path) -> None:
    ground = Ground(tmp_path, LINE)
    assert ground.is_hidden(ground.chosen(shell="/x/sh"))
    assert ground.is_hidden(ground.chosen(path=".:/usr/local/go/bin"))
    assert ground.is_hidden(ground.chosen("go vet -vettool=/x/v . && go build ."))
    (tmp_path / "root/bin").mkdir()
    (tmp_path / "root/bin/go").write_bytes(b"\x7fELF of somebody's")
    assert ground.is_hidden(ground.chosen())
    (tmp_path / "root/bin/go").unlink()
    assert not ground.is_hidden(ground.chosen())
    ground.go.write_text("#!/bin/sh\n")
    assert ground.is_hidden(ground.chosen())


@needs_root
def test_a_module_that_an_earlier_step_changed_hides_them(tmp_path: Path) -> None:
    ground = Ground(tmp_path, LINE)
    (tmp_path / "snapshot/fs" / MODULES[1:] / TREE).mkdir(parents=True)
    assert ground.is_hidden(ground.chosen())


@needs_root
def test_without_modules_nobody_knows(tmp_path: Path) -> None:
    ground = Ground(tmp_path, LINE)
    ground.modules = ground.build
    assert ground.is_hidden(ground.chosen())
