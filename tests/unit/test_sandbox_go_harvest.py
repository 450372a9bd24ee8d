# SPDX-License-Identifier: Apache-2.0
"""What a step added to its Go caches: what is taken out of its change, and what has to stay."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from wherry.golang.go_sum import hash_files
from wherry.process.cancel import Cancelled, CancelToken
from wherry.sandbox.go_harvest import Harvested, harvest, has_loose_modules
from wherry.sandbox.step_spec import StepGoCache

OPAQUE = "user.wherry.opaque"
BUILD = "/root/.cache/go-build"
MODULES = "/go/pkg/mod"
OBJECT = b"go object linux amd64 go1.26.8\n!\n"


def archive(*members: tuple[str, bytes]) -> bytes:
    """A package as the compiler leaves it, with further members."""
    data = b"!<arch>\n"
    for name, content in (("__.PKGDEF", OBJECT), ("_go_.o", OBJECT), *members):
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{644:<8}{len(content):<10}`\n"
        data += header.encode() + content + b"\0" * (len(content) % 2)
    return data


@dataclass
class Step:
    """A step's upper directory, its root before, and the cache below that."""

    upper: Path
    below: Path
    cache: StepGoCache

    @property
    def top(self) -> Path:
        return self.upper / self.cache.path[1:]

    @property
    def kept(self) -> Path:
        return Path(self.cache.lower) / "fs" / self.cache.path[1:]

    def end(self) -> tuple[str, ...]:
        step = Harvested(str(self.upper), str(self.below), OPAQUE)
        return harvest(self.cache, step, ("/usr/local/go",), CancelToken())

    def add(self, data: bytes, key: bytes = b"key", *, digest: str = "", size: int = -1) -> str:
        """An entry as Go writes it; its action's id."""
        identity = hashlib.sha256(key).hexdigest()
        output = digest or hashlib.sha256(data).hexdigest()
        length = len(data) if size < 0 else size
        self.write(f"{output[:2]}/{output}-d", data)
        line = f"v1 {identity} {output} {length:20d} {time.time_ns():20d}\n"
        self.write(f"{identity[:2]}/{identity}-a", line.encode())
        return identity

    def write(self, name: str, data: bytes, mode: int = 0o644) -> Path:
        path = self.top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(mode)
        return path

    def files(self) -> set[str]:
        return {str(p.relative_to(self.top)) for p in self.top.rglob("*") if p.is_file()}

    def taken(self) -> set[str]:
        return {str(p.relative_to(self.kept)) for p in self.kept.rglob("*") if p.is_file()}


def step_of(tmp_path: Path, kind: str, path: str) -> Step:
    cache = StepGoCache(kind, path, str(tmp_path / "pool"), seen=(LINE,))
    step = Step(tmp_path / "upper", tmp_path / "below", cache)
    step.top.mkdir(parents=True)
    step.kept.mkdir(parents=True)
    # Its root shows the cache before the step begins.
    (step.below / path[1:]).mkdir(parents=True)
    for number in range(256 if kind == "build" else 0):
        (step.kept / f"{number:02x}").mkdir()
        (step.below / path[1:] / f"{number:02x}").mkdir()
    return step


@pytest.fixture
def build(tmp_path: Path) -> Step:
    return step_of(tmp_path, "build", BUILD)


@pytest.fixture
def modules(tmp_path: Path) -> Step:
    return step_of(tmp_path, "modules", MODULES)


def test_a_compiled_package_is_taken(build: Step) -> None:
    identity = build.add(archive())
    assert build.end() == (identity,)
    assert build.files() == set()
    assert len(build.taken()) == 2


def test_times_tell_what_is_used_and_let_no_output_be_copied(build: Step) -> None:
    identity = build.add(archive())
    build.end()
    (output,) = build.kept.rglob("*-d")
    action = build.kept / identity[:2] / f"{identity}-a"
    assert action.stat().st_mtime < time.time() - 3600
    assert output.stat().st_mtime > time.time()


def test_a_renewed_action_counts_as_used_and_leaves_the_change(build: Step) -> None:
    identity = build.add(archive())
    build.end()
    data = (build.kept / identity[:2] / f"{identity}-a").read_bytes()
    build.write(f"{identity[:2]}/{identity}-a", data)
    assert build.end() == (identity,)
    assert build.files() == set()


def test_a_copied_output_leaves_the_change(build: Step) -> None:
    build.add(archive())
    build.end()
    (output,) = build.kept.rglob("*-d")
    build.write(f"{output.parent.name}/{output.name}", output.read_bytes())
    build.end()
    assert build.files() == set()


ASSEMBLED = OBJECT + b"\0/src/app/asm_amd64.s\0"


@pytest.mark.parametrize(
    ("data", "is_taken"),
    [
        (archive(("asm_amd64.o", OBJECT + b"x/y@v1.2.3/asm_amd64.s")), True),
        (archive(("asm_amd64.o", ASSEMBLED)), False),
        (archive(("_x001.o", b"\x7fELF x@v1.0.0")), False),
        (archive(("x.o", b"\x7fELF"), ("y.o", OBJECT + b"x@v1.2.3/y.s")), False),
        (archive()[:-3], False),
        (archive()[:70], False),
        (b"!<arch>\n", False),
        (b"ok  \texample.com/x\t0.1s\n", False),
        (b"", False),
    ],
)
def test_only_what_the_key_tells_whole(build: Step, data: bytes, is_taken: bool) -> None:
    build.add(data)
    build.end()
    assert bool(build.taken()) == is_taken
    assert bool(build.files()) != is_taken


def test_an_index_of_a_directory_is_for_nobody(build: Step) -> None:
    build.add(b"go index v2\nand more")
    assert build.end() == ()
    assert build.taken() == build.files() == set()


def test_assembler_sources_of_modules_that_somebody_may_have_changed(build: Step) -> None:
    build.add(archive(("asm_amd64.o", OBJECT + b"x/y@v1.2.3/asm_amd64.s")))
    step = Harvested(str(build.upper), str(build.below), OPAQUE, loose=True)
    assert harvest(build.cache, step, (), CancelToken()) == ()
    assert build.taken() == set()


def test_assembler_sources_of_go_itself(build: Step) -> None:
    source = build.below / "usr/local/go/src/internal/cpu/cpu_x86.s"
    source.parent.mkdir(parents=True)
    source.write_bytes(b"")
    names = (b"$GOROOT/src/", b"/usr/local/go/src/", b"/src/app/", b"example.com/app/")
    for number, name in enumerate(names):
        data = archive(("cpu_x86.o", OBJECT + name + b"internal/cpu/cpu_x86.s"))
        build.add(data, bytes([number]))
    build.end()
    assert len(build.taken()) == 4


@pytest.mark.parametrize("spoil", ["digest", "size", "cut", "name", "garbage", "link"])
def test_what_is_not_an_entry_stays(build: Step, spoil: str) -> None:
    data = archive()
    identity = hashlib.sha256(b"key").hexdigest()
    match spoil:
        case "digest":
            build.add(data, digest="ab" * 32)
        case "size":
            build.add(data, size=len(data) + 1)
        case "cut":
            build.add(data)
            path = build.top / identity[:2] / f"{identity}-a"
            path.write_bytes(path.read_bytes()[:-1])
        case "name":
            build.add(data)
            path = build.top / identity[:2] / f"{identity}-a"
            path.rename(path.with_name(f"{identity[:2]}{'0' * 62}-a"))
        case "garbage":
            build.add(data)
            (build.top / identity[:2] / f"{identity}-a").write_bytes(b"x" * 175)
        case _:
            build.add(data)
            path = build.top / identity[:2] / f"{identity}-a"
            path.rename(build.upper / "elsewhere")
            path.symlink_to(build.upper / "elsewhere")
    assert build.end() == ()
    assert build.taken() == set()
    assert build.files()


def test_nothing_is_taken_from_a_cache_in_which_something_was_removed(build: Step) -> None:
    build.add(archive())
    os.mknod(build.top / "00-removed", stat.S_IFCHR, 0)
    assert build.end() == ()
    assert build.taken() == set()


def test_nothing_is_taken_from_a_cache_that_was_replaced(build: Step) -> None:
    build.add(archive())
    os.setxattr(build.top, OPAQUE, b"y")
    assert build.end() == ()
    assert build.taken() == set()


def test_no_link_leads_to_a_cache(build: Step, tmp_path: Path) -> None:
    build.add(archive())
    build.top.rename(tmp_path / "elsewhere")
    build.top.symlink_to(tmp_path / "elsewhere")
    assert build.end() == ()
    assert build.taken() == set()


def test_it_can_be_cancelled(build: Step) -> None:
    build.add(archive())
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        harvest(build.cache, Harvested(str(build.upper), str(build.below), OPAQUE), (), token)


# --- modules ------------------------------------------------------------------------------------

FILES = {"go.mod": b"module example.com/Up\n", "a.go": b"package a\n", "d/b.go": b"package d\n"}
DOWNLOAD = "cache/download/example.com/!up/@v/v1.0.0"
TREE = "example.com/!up@v1.0.0"
H1 = hash_files(
    (f"example.com/Up@v1.0.0/{name}", hashlib.sha256(text).hexdigest())
    for name, text in FILES.items()
)
LINE = f"example.com/Up v1.0.0 {H1}"


def fetch(step: Step) -> None:
    """A module as Go leaves it."""
    prefix = "example.com/Up@v1.0.0/"
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        for name, content in FILES.items():
            file.writestr(prefix + name, content)
            step.write(f"{TREE}/{name}", content, 0o444)
    for directory in (step.top / TREE / "d", step.top / TREE):
        directory.chmod(0o555)
    step.write(f"{DOWNLOAD}.zip", data.getvalue())
    step.write(f"{DOWNLOAD}.mod", FILES["go.mod"])
    step.write(f"{DOWNLOAD}.info", b'{"Version":"v1.0.0","Time":"2026-01-01T00:00:00Z"}')
    step.write(f"{DOWNLOAD}.ziphash", H1.encode())
    step.write(f"{DOWNLOAD}.lock", b"")
    step.write("cache/download/example.com/!up/@v/list", b"v1.0.0\n")


def test_a_module_is_taken_whole(modules: Step) -> None:
    fetch(modules)
    modules.end()
    assert modules.files() == {f"{DOWNLOAD}.lock", "cache/download/example.com/!up/@v/list"}
    assert {f"{TREE}/d/b.go", f"{DOWNLOAD}.zip", f"{DOWNLOAD}.info"} <= modules.taken()
    assert stat.S_IMODE((modules.kept / TREE).stat().st_mode) == 0o555


def test_new_directories_of_the_change_do_not_hide_those_of_the_cache(modules: Step) -> None:
    fetch(modules)
    os.setxattr(modules.top / "cache", OPAQUE, b"y")
    modules.end()
    assert OPAQUE not in os.listxattr(modules.top / "cache")
    assert modules.taken()


def test_a_module_that_no_go_sum_names_stays(modules: Step) -> None:
    fetch(modules)
    modules.cache = modules.cache._replace(seen=(LINE.replace("v1.0.0", "v1.0.1"),))
    modules.end()
    assert modules.taken() == set()


def test_what_is_hidden_from_a_step_stays_hidden_by_what_it_made(modules: Step) -> None:
    fetch(modules)
    (modules.kept / TREE).mkdir(parents=True)
    (modules.top / TREE).chmod(0o755)
    os.setxattr(modules.top / TREE, OPAQUE, b"y")
    modules.end()
    assert OPAQUE in os.listxattr(modules.top / TREE)


def test_what_is_left_of_modules_is_loose(modules: Step) -> None:
    assert not has_loose_modules(modules.cache, [str(modules.upper)])
    fetch(modules)
    assert has_loose_modules(modules.cache, [str(modules.below), str(modules.upper)])
    modules.end()
    assert not has_loose_modules(modules.cache, [str(modules.below), str(modules.upper)])


def test_a_module_that_the_cache_has_stays_where_it_is(modules: Step) -> None:
    fetch(modules)
    (modules.kept / TREE).mkdir(parents=True)
    modules.end()
    assert modules.taken() == set()


@pytest.mark.parametrize(
    ("name", "data", "mode"),
    [
        (f"{TREE}/a.go", b"package evil\n", 0o444),
        (f"{TREE}/new.go", b"package a\n", 0o444),
        (f"{TREE}/a.go", FILES["a.go"], 0o644),
        (f"{TREE}/a.go", FILES["a.go"], 0o4444),
        (f"{DOWNLOAD}.mod", b"module other\n", 0o644),
        (f"{DOWNLOAD}.zip", b"PK", 0o644),
        (f"{DOWNLOAD}.zip", b"", 0o644),
        (f"{DOWNLOAD}.info", b"garbage", 0o644),
        (f"{DOWNLOAD}.info", b'{"Version":"v1.0.1"}', 0o644),
        (f"{DOWNLOAD}.info", b"[]", 0o644),
        (f"{DOWNLOAD}.ziphash", b"h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", 0o644),
        (f"{DOWNLOAD}.ziphash", b"\xff", 0o644),
    ],
)
def test_a_module_that_is_not_what_it_says_stays(
    modules: Step, name: str, data: bytes, mode: int
) -> None:
    fetch(modules)
    (modules.top / TREE).chmod(0o755)
    path = modules.top / name
    if path.exists():
        path.chmod(0o644)
    modules.write(name, data, mode)
    (modules.top / TREE).chmod(0o555)
    modules.end()
    assert modules.taken() == set()


def test_writable_directories_stay(modules: Step) -> None:
    fetch(modules)
    (modules.top / TREE / "d").chmod(0o755)
    modules.end()
    assert modules.taken() == set()


def test_a_link_in_a_module_stays(modules: Step) -> None:
    fetch(modules)
    (modules.top / TREE).chmod(0o755)
    (modules.top / TREE / "link").symlink_to("d")
    (modules.top / TREE).chmod(0o555)
    modules.end()
    assert modules.taken() == set()
