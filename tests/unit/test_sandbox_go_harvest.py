# SPDX-License-Identifier: Apache-2.0
"""What a step added to its Go caches: what is taken out of its change, and what has to stay."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import stat
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from go_archives import archive, assembled
from wherry.fstree.removal import remove_tree
from wherry.golang.go_sum import hash_files
from wherry.process.cancel import Cancelled, CancelToken
from wherry.sandbox import syscalls
from wherry.sandbox.go_harvest import Harvested, Taken, harvest, has_loose_modules
from wherry.sandbox.go_modules import PARTS, Module, hash_of, modules_in
from wherry.sandbox.settling import settle_overlay
from wherry.sandbox.step_spec import StepGoCache

OPAQUE = "user.wherry.opaque"
BUILD = "/root/.cache/go-build"
MODULES = "/go/pkg/mod"
ASSEMBLED = assembled(b"/go/pkg/mod/x/y@v1.2.3/asm_amd64.s")


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

    def end(self, modules: str = MODULES) -> tuple[str, ...]:
        """What it used; nothing failed."""
        taken = self.harvest(modules)
        assert taken.failure == ""
        return taken.used

    def harvest(self, modules: str = "") -> Taken:
        step = Harvested(str(self.upper), str(self.below), OPAQUE, modules)
        return harvest(self.cache, step, ("/usr/local/go",), CancelToken())

    def add(
        self,
        data: bytes,
        key: bytes = b"key",
        *,
        digest: str = "",
        size: int = -1,
        identity: str = "",
    ) -> str:
        """An entry as Go writes it; its action's id."""
        identity = identity or hashlib.sha256(key).hexdigest()
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


@pytest.mark.parametrize(
    ("data", "is_taken"),
    [
        (archive(("asm_amd64.o", ASSEMBLED)), True),
        (archive(("asm_amd64.o", assembled(b"/src/app/asm_amd64.s"))), False),
        (archive(("_x001.o", b"\x7fELF x@v1.0.0")), False),
        (archive(("x.o", b"\x7fELF"), ("y.o", ASSEMBLED)), False),
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
    build.add(archive(("asm_amd64.o", ASSEMBLED)))
    assert build.end(modules="") == ()
    assert build.taken() == set()


def test_assembler_sources_of_go_itself(build: Step) -> None:
    source = build.below / "usr/local/go/src/internal/cpu/cpu_x86.s"
    source.parent.mkdir(parents=True)
    source.write_bytes(b"")
    for number, name in enumerate((b"", b"$GOROOT/src/", b"/src/app/")):
        data = archive(("cpu_x86.o", assembled(name + b"internal/cpu/cpu_x86.s")))
        build.add(data, bytes([number]))
    build.end()
    assert len(build.taken()) == 4


def test_a_package_of_which_the_compiler_told_something_stays(build: Step) -> None:
    loud, quiet = (build.add(archive(), name) for name in (b"loud", b"quiet"))
    for identity, text in ((loud, b"./a.go:3:6: can inline F\n"), (quiet, b"")):
        key = hashlib.sha256(b"subkey:" + bytes.fromhex(identity) + b"stdout")
        build.add(text, identity=key.hexdigest())
    assert build.end() == (quiet,)
    assert build.end() == ()
    assert f"{loud[:2]}/{loud}-a" in build.files()


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


def test_no_link_leads_out_of_a_cache(build: Step, tmp_path: Path) -> None:
    other = step_of(tmp_path / "other", "build", BUILD)
    identity = other.add(archive())
    before = other.files()
    for number in range(256):
        (build.top / f"{number:02x}").symlink_to(other.top / f"{number:02x}")
    assert build.end() == ()
    assert build.taken() == set()
    assert other.files() == before
    assert len(before) == 2
    assert stat.S_ISREG((other.top / identity[:2] / f"{identity}-a").lstat().st_mode)


@pytest.mark.parametrize("kind", ["fifo", "device", "socket", "link"])
def test_nothing_is_taken_beside_what_is_no_file(
    build: Step, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    build.add(archive())
    name = hashlib.sha256(b"other").hexdigest()
    path = build.top / name[:2] / f"{name}-a"
    path.parent.mkdir(exist_ok=True)
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "device":
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
        case "socket":
            os.mknod(path, stat.S_IFSOCK | 0o600)
        case _:
            path.symlink_to("nowhere")
    opened: list[str] = []
    monkeypatch.setattr(os, "open", _telling(os.open, opened))
    assert build.end() == ()
    assert build.taken() == set()
    assert str(path) not in opened


def _telling(real: Callable[..., int], opened: list[str]) -> Callable[..., int]:
    def tell(path: Any, *args: Any, **words: Any) -> int:
        opened.append(str(path))
        return real(path, *args, **words)

    return tell


def test_a_file_with_another_name_stays_as_it_is(build: Step) -> None:
    build.add(archive())
    (output,) = build.top.rglob("*-d")
    output.chmod(0o755)
    keep = build.upper / "keep"
    keep.hardlink_to(output)
    before = keep.stat()
    assert build.end() == ()
    assert build.taken() == set()
    assert keep.stat() == before


def test_what_cannot_be_taken_stops_nothing_else(build: Step) -> None:
    identities = [build.add(archive(), bytes([number])) for number in range(8)]
    first, *others = sorted(identities)
    # The cache has something else there.
    (build.kept / first[:2] / f"{first}-a").mkdir()
    taken = build.harvest()
    assert taken.used == tuple(others)
    assert taken.failure == "Is a directory"


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


def hash_of_files(files: dict[str, bytes]) -> str:
    return hash_files(
        (f"example.com/Up@v1.0.0/{name}", hashlib.sha256(text).hexdigest())
        for name, text in files.items()
    )


H1 = hash_of_files(FILES)
LINE = f"example.com/Up v1.0.0 {H1}"


def fetch(step: Step, files: dict[str, bytes] = FILES) -> None:
    """A module as Go leaves it."""
    prefix = "example.com/Up@v1.0.0/"
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        for name, content in files.items():
            file.writestr(prefix + name, content)
            step.write(f"{TREE}/{name}", content, 0o444)
    for directory in [
        step.top / name for name in (f"{TREE}/d", TREE) if (step.top / name).exists()
    ]:
        directory.chmod(0o555)
    step.write(f"{DOWNLOAD}.zip", data.getvalue())
    step.write(f"{DOWNLOAD}.mod", FILES["go.mod"])
    step.write(f"{DOWNLOAD}.info", b'{"Version":"v1.0.0","Time":"2026-01-01T00:00:00Z"}')
    step.write(f"{DOWNLOAD}.ziphash", hash_of_files(files).encode())
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


def test_a_tree_that_stays_hides_what_the_cache_gets(modules: Step) -> None:
    fetch(modules)
    (modules.top / TREE / "d").chmod(0o755)
    for name in ("example.com", "cache", TREE):
        os.setxattr(modules.top / name, OPAQUE, b"y")
    modules.end()
    assert modules.taken() == set()
    assert OPAQUE in os.listxattr(modules.top / TREE)
    assert OPAQUE not in os.listxattr(modules.top / "example.com")
    assert OPAQUE not in os.listxattr(modules.top / "cache")


def test_a_tree_that_was_below_a_new_directory_hides_what_the_cache_gets(modules: Step) -> None:
    fetch(modules)
    (modules.top / TREE / "d").chmod(0o755)
    os.setxattr(modules.top / "example.com", OPAQUE, b"y")
    modules.end()
    assert OPAQUE in os.listxattr(modules.top / TREE)


def test_a_tree_in_the_cache_hides_nothing(modules: Step) -> None:
    fetch(modules)
    os.setxattr(modules.top / TREE, OPAQUE, b"y")
    modules.end()
    assert OPAQUE not in os.listxattr(modules.kept / TREE)


def test_what_is_closed_hides_what_comes_later(modules: Step) -> None:
    fetch(modules)
    os.setxattr(modules.top / "example.com", OPAQUE, b"y")
    closed = f"{MODULES}/{TREE}"
    settle_overlay(str(modules.upper), str(modules.below), OPAQUE, lambda path: path == closed)
    assert OPAQUE in os.listxattr(modules.top / TREE)
    assert OPAQUE not in os.listxattr(modules.top / "example.com")
    # What lower directories had before stays visible.
    (modules.below / closed[1:] / "more").mkdir(parents=True)
    os.removexattr(modules.top / TREE, OPAQUE)
    settle_overlay(str(modules.upper), str(modules.below), OPAQUE, lambda path: path == closed)
    assert OPAQUE not in os.listxattr(modules.top / TREE)


def test_what_is_left_of_modules_is_loose(modules: Step) -> None:
    assert not has_loose_modules(modules.cache, [str(modules.upper)])
    fetch(modules)
    assert has_loose_modules(modules.cache, [str(modules.below), str(modules.upper)])
    modules.end()
    assert not has_loose_modules(modules.cache, [str(modules.below), str(modules.upper)])


@pytest.mark.skipif(os.getuid() != 0, reason="only root makes overlay's marks")
@pytest.mark.parametrize("name", [TREE, "example.com", "cache"])
def test_what_was_removed_of_modules_is_loose(modules: Step, name: str) -> None:
    """It may have been changed before."""
    (modules.top / name).parent.mkdir(parents=True, exist_ok=True)
    os.mknod(modules.top / name, stat.S_IFCHR, 0)
    assert has_loose_modules(modules.cache, [str(modules.below), str(modules.upper)])


def test_links_that_may_lead_to_modules_are_loose(modules: Step, tmp_path: Path) -> None:
    fetch(modules)
    (modules.top / "example.com").rename(tmp_path / "elsewhere")
    (modules.top / "example.com").symlink_to("/elsewhere")
    assert has_loose_modules(modules.cache, [str(modules.upper)])
    modules.top.rename(tmp_path / "mod")
    modules.top.symlink_to(tmp_path / "mod/cache")
    assert has_loose_modules(modules.cache, [str(modules.upper)])


def test_no_link_leads_out_of_a_module_cache(modules: Step, tmp_path: Path) -> None:
    other = step_of(tmp_path / "other", "modules", MODULES)
    fetch(other)
    before = other.files()
    for name in ("cache", "example.com"):
        (modules.top / name).symlink_to(other.top / name)
    modules.end()
    assert modules.taken() == set()
    assert other.files() == before


def test_a_zip_that_is_a_link(modules: Step, tmp_path: Path) -> None:
    fetch(modules)
    path = modules.top / f"{DOWNLOAD}.zip"
    path.chmod(0o600)
    path.rename(tmp_path / "zip")
    path.symlink_to(tmp_path / "zip")
    modules.end()
    assert modules.taken() == set()
    assert stat.S_IMODE((tmp_path / "zip").stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFCHR])
def test_a_hash_is_read_from_a_file_alone(
    modules: Step, kind: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = modules.write(f"{DOWNLOAD}.ziphash", b"")
    path.unlink()
    os.mknod(path, kind | 0o600, os.makedev(1, 5))
    (module,) = modules_in(str(modules.top))
    opened: list[str] = []
    monkeypatch.setattr(os, "open", _telling(os.open, opened))
    assert hash_of(str(modules.top), module) == ""
    assert opened == []


def test_a_file_of_a_module_with_another_name(modules: Step) -> None:
    fetch(modules)
    (modules.upper / "keep.go").hardlink_to(modules.top / TREE / "a.go")
    modules.end()
    assert modules.taken() == set()


def test_a_module_that_the_cache_has_stays_where_it_is(modules: Step) -> None:
    fetch(modules)
    (modules.kept / TREE).mkdir(parents=True)
    kept = modules.kept / f"{DOWNLOAD}.ziphash"
    kept.parent.mkdir(parents=True)
    kept.write_text(H1)
    modules.end()
    assert modules.taken() == {f"{DOWNLOAD}.ziphash"}


def test_the_place_of_a_module_belongs_to_its_first_hash(modules: Step) -> None:
    fetch(modules)
    kept = modules.kept / f"{DOWNLOAD}.ziphash"
    kept.parent.mkdir(parents=True)
    kept.write_text("h1:" + "A" * 43 + "=")
    modules.end()
    assert modules.taken() == {f"{DOWNLOAD}.ziphash"}
    assert f"{TREE}/a.go" in modules.files()


@pytest.mark.parametrize("killed", ["ziphash", "mod", TREE])
def test_what_a_killed_build_left_in_the_cache_is_completed(
    modules: Step, killed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(modules)
    real = os.rename

    def rename(old: str, new: str) -> None:
        if new.endswith(killed):
            raise KeyboardInterrupt
        real(old, new)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", rename)
        if killed == "ziphash":
            patched.setattr(os, "unlink", lambda _: rename("", killed))
        with pytest.raises(KeyboardInterrupt):
            modules.end()
    assert not (modules.kept / TREE).exists()
    assert hash_of(str(modules.kept), Module("example.com/!up", "v1.0.0")) == H1
    remove_tree(str(modules.top))
    fetch(modules)
    modules.end()
    assert {f"{TREE}/a.go", *(f"{DOWNLOAD}.{part}" for part in PARTS)} <= modules.taken()
    assert f"{TREE}/a.go" not in modules.files()


def test_a_tree_without_a_hash_gives_way(modules: Step) -> None:
    fetch(modules)
    (modules.kept / TREE).mkdir(parents=True)
    (modules.kept / TREE / "half.go").write_text("package a\n")
    modules.end()
    assert f"{TREE}/half.go" not in modules.taken()
    assert f"{TREE}/a.go" in modules.taken()


def test_a_module_that_another_build_brings_at_the_same_time(
    modules: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(modules)
    real = os.rename

    def rename(old: str, new: str) -> None:
        if new.endswith(TREE):
            shutil.copytree(old, new)
        real(old, new)

    monkeypatch.setattr(os, "rename", rename)
    modules.end()
    assert f"{TREE}/a.go" in modules.taken() & modules.files()
    assert (modules.kept / f"{DOWNLOAD}.ziphash").stat().st_nlink == 1


def test_a_module_is_on_the_disk_before_it_is_in_the_cache(
    modules: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[set[str]] = []
    monkeypatch.setattr(syscalls, "write_out", lambda _: taken.append(modules.taken()))
    modules.end()
    assert taken == []
    fetch(modules)
    modules.end()
    assert taken == [set()]
    assert modules.taken()
    remove_tree(str(modules.top))
    fetch(modules)
    modules.end()
    assert len(taken) == 1


def test_the_disk_is_asked_to_write() -> None:
    syscalls.write_out("/")
    with pytest.raises(NotADirectoryError):
        syscalls.write_out("/dev/null")


def test_a_module_that_cannot_be_taken_stops_no_other(
    modules: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(modules)
    modules.write(f"{DOWNLOAD.replace('v1.0.0', 'v0.9.0')}.ziphash", H1.encode())
    real = os.path.lexists

    def is_there(path: str) -> bool:
        if path.endswith("v0.9.0.zip"):
            raise OSError(errno.EIO, "Input/output error")
        return real(path)

    monkeypatch.setattr(os.path, "lexists", is_there)
    assert modules.harvest() == Taken(failure="Input/output error")
    assert f"{TREE}/a.go" in modules.taken()


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
        (f"{DOWNLOAD}.info", b"[" * 100_000, 0o644),
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


@pytest.mark.parametrize(
    ("text", "is_taken"),
    [
        (b"module example.com/Up\n", True),
        (b"module example.com/Up\n\nrequire example.com/evil v1.0.0\n", False),
        (b"module example.com/other\n", False),
        (b"", False),
    ],
)
def test_the_mod_file_of_a_module_without_one(modules: Step, text: bytes, is_taken: bool) -> None:
    files = {"a.go": b"package a\n"}
    line = f"example.com/Up v1.0.0 {hash_of_files(files)}"
    modules.cache = modules.cache._replace(seen=(line,))
    fetch(modules, files)
    modules.write(f"{DOWNLOAD}.mod", text)
    modules.end()
    assert bool(modules.taken()) == is_taken


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


def remove_before(step: Step, name: str) -> None:
    """Have an earlier step of the root remove what the cache shows by that name."""
    snapshot = step.upper.parent / "snapshot"
    gone = snapshot / "fs" / step.cache.path[1:] / name
    gone.parent.mkdir(parents=True)
    os.mknod(gone, stat.S_IFCHR, 0)
    step.cache = step.cache._replace(snapshots=(str(snapshot),))


@pytest.mark.parametrize(
    "name", ["example.com", TREE, "cache", "cache/download/example.com/!up/@v", f"{DOWNLOAD}.zip"]
)
def test_a_module_that_the_cache_could_not_show_stays(modules: Step, name: str) -> None:
    remove_before(modules, name)
    fetch(modules)
    before = modules.files()
    modules.end()
    assert modules.taken() == set()
    assert modules.files() == before


def test_a_removal_of_another_module_is_nothing_to_this_one(modules: Step) -> None:
    remove_before(modules, "example.com/other@v1.0.0")
    fetch(modules)
    modules.end()
    assert f"{TREE}/a.go" in modules.taken()


@pytest.mark.parametrize("name", ["go", "go/pkg", "go/pkg/mod", "go/pkg/mod/example.com"])
def test_what_a_step_makes_anew_itself_stays(modules: Step, name: str) -> None:
    fetch(modules)
    os.setxattr(modules.upper / name, OPAQUE, b"y")
    # Another build has made it at the same time.
    (modules.kept / "example.com").mkdir()
    modules.end()
    assert modules.taken() == set()


def test_an_entry_that_the_cache_could_not_show_stays(build: Step) -> None:
    data = archive()
    identity = hashlib.sha256(b"key").hexdigest()
    output = hashlib.sha256(data).hexdigest()
    for name in (f"{identity[:2]}/{identity}-a", identity[:2], f"{output[:2]}/{output}-d"):
        build.add(data)
        before = build.files()
        remove_before(build, name)
        assert build.end() == ()
        assert build.taken() == set()
        assert build.files() == before
        shutil.rmtree(build.upper.parent / "snapshot")


def test_an_entry_stays_over_one_that_an_earlier_step_spoilt(build: Step) -> None:
    build.add(archive())
    build.end()
    # As in the cache, which the root does not show.
    identity = build.add(archive())
    action = build.kept / identity[:2] / f"{identity}-a"
    build.write(f"{identity[:2]}/{identity}-a", action.read_bytes())
    remove_before(build, identity[:2])
    (output,) = build.kept.rglob("*-d")
    name = f"{output.parent.name}/{output.name}"
    other = Path(build.cache.snapshots[0]) / "fs" / BUILD[1:] / name
    other.parent.mkdir(parents=True, exist_ok=True)
    other.write_bytes(b"rubbish")
    before = build.files()
    assert build.end() == ()
    assert build.files() == before


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("name", [f"{TREE}/a.go", f"{TREE}/d", TREE, f"{DOWNLOAD}.zip"])
def test_a_module_of_another_owner_stays(modules: Step, name: str) -> None:
    fetch(modules)
    os.chown(modules.top / name, 1000, 1000)
    modules.end()
    assert modules.taken() == set()


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_a_module_keeps_its_owner(modules: Step) -> None:
    fetch(modules)
    for path in (modules.kept, modules.top, *modules.top.rglob("*")):
        os.chown(path, 1000, 1001)
    modules.end()
    assert f"{TREE}/a.go" in modules.taken()
    kept = [path.stat() for path in modules.kept.rglob("*")]
    assert {(found.st_uid, found.st_gid) for found in kept} == {(1000, 1001)}
    shared = (modules.kept / name for name in ("example.com", f"{DOWNLOAD}.zip/.."))
    assert {stat.S_IMODE(os.stat(os.path.normpath(path)).st_mode) for path in shared} == {0o755}
