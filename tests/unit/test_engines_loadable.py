# SPDX-License-Identifier: Apache-2.0
"""Which bases run a dynamic program: what is said is compared with what really happens there."""

from __future__ import annotations

import os
import struct
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golang_support import go_env, needs_go, the_go, write_files
from loader_bases import (
    LIBC,
    LOADER,
    MUSL_LOADER,
    DiskFiles,
    compile_c,
    glibc_base,
    least,
    linkage,
    musl_base,
    needs_gcc,
    needs_musl,
    put,
    read,
    runs,
)
from tree_samples import MemoryFiles, file, link
from wherry.engines.local import loadable
from wherry.engines.local.layer_indexes import LayerIndexes
from wherry.engines.local.loadable import Problem, Program, check_loadable, problems, refusal
from wherry.engines.local.roots import Roots
from wherry.engines.local.storage import LayerSettings, store_layer
from wherry.errors import BuildError
from wherry.fstree.compression import Compression
from wherry.fstree.contents import open_content
from wherry.fstree.limits import Limits
from wherry.fstree.tree import File, Unread, make_tree
from wherry.golang.binary import read_binary
from wherry.golang.elf_versions import VersionNeed
from wherry.golang.linkage import Linkage
from wherry.oci.image import Layer
from wherry.process.cancel import CancelToken
from wherry.store.store import Store, open_store

HELLO = "int main(void) { return 0; }\n"
CALLS_OUTER = "int outer(void); int main(void) { return outer(); }\n"
OUTER = "int inner(void); int outer(void) { return inner(); }\n"
INNER = "int inner(void) { return 0; }\n"


def told(root: Path, place: str = "app/hello", library_path: str = "") -> tuple[Problem, ...]:
    program = Program(place, linkage(root / place), library_path)
    return problems(program, DiskFiles(root), read)


def texts(found: tuple[Problem, ...]) -> str:
    return "\n".join(f"{problem.what} ({problem.remedies})" for problem in found)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs and libraries that several tests copy."""
    there = tmp_path_factory.mktemp("built")
    compile_c(there / "hello", HELLO)
    compile_c(there / "libinner.so.1", INNER, "-shared", "-Wl,-soname,libinner.so.1")
    inner = str(there / "libinner.so.1")
    compile_c(there / "libouter.so.1", OUTER, "-shared", "-Wl,-soname,libouter.so.1", inner)
    outer = str(there / "libouter.so.1")
    further = f"-Wl,-rpath-link,{there}"
    for name, flags in {
        "plain": (),
        "rpath": ("-Wl,--disable-new-dtags,-rpath,/opt/lib",),
        "runpath": ("-Wl,--enable-new-dtags,-rpath,/opt/lib",),
        "origin": ("-Wl,--disable-new-dtags,-rpath,$ORIGIN/../${LIB}:$ORIGIN",),
    }.items():
        compile_c(there / name, CALLS_OUTER, outer, further, *flags)
    return there


@needs_gcc
class TestGlibc:
    """`runs` starts the program in the base; the answer has to be the same."""

    def test_a_whole_base(self, tmp_path: Path, built: Path) -> None:
        root = glibc_base(tmp_path)
        put(root, str(built / "hello"), "app/hello")
        assert told(root) == ()
        assert runs(root, "/app/hello")

    def test_no_libc(self, tmp_path: Path, built: Path) -> None:
        put(tmp_path, LOADER)
        put(tmp_path, str(built / "hello"), "app/hello")
        (problem,) = told(tmp_path)
        assert problem.what == "libc.so.6 is not there"
        assert not runs(tmp_path, "/app/hello")

    def test_no_loader(self, tmp_path: Path, built: Path) -> None:
        put(tmp_path, LIBC)
        put(tmp_path, str(built / "hello"), "app/hello")
        (problem,) = told(tmp_path)
        assert "no C library at all" in problem.what
        assert "libc-base" in str(problem.remedies)
        assert not runs(tmp_path, "/app/hello")

    def test_a_loader_that_is_not_executable(self, tmp_path: Path, built: Path) -> None:
        root = glibc_base(tmp_path)
        (root / LOADER[1:]).chmod(0o644)
        put(root, str(built / "hello"), "app/hello")
        assert "not executable" in texts(told(root))
        assert not runs(root, "/app/hello")

    @pytest.mark.parametrize(
        ("program", "inner", "outer", "works"),
        [
            ("plain", "usr/lib", "lib/x86_64-linux-gnu", True),
            ("plain", "lib64", "usr/lib64", False),
            ("plain", "opt/lib", "opt/lib", False),
            # Whoever has an RPATH lends it to the libraries that it needs, a RUNPATH not.
            ("rpath", "opt/lib", "opt/lib", True),
            ("runpath", "opt/lib", "opt/lib", False),
            ("runpath", "usr/lib", "opt/lib", True),
            ("origin", "app", "app", True),
            ("origin", "lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", True),
        ],
    )
    def test_where_libraries_lie(
        self, tmp_path: Path, built: Path, program: str, inner: str, outer: str, works: bool
    ) -> None:
        root = glibc_base(tmp_path)
        put(root, str(built / program), "app/hello")
        put(root, str(built / "libinner.so.1"), f"{inner}/libinner.so.1")
        put(root, str(built / "libouter.so.1"), f"{outer}/libouter.so.1")
        really = runs(root, "/app/hello")
        if inner == "lib64":
            # Debian's loader knows no lib64, others' do: not to be refused for that.
            assert told(root) == ()
            return
        assert really == works
        assert (told(root) == ()) == works, texts(told(root))

    def test_who_needs_what_is_missing_is_named(self, tmp_path: Path, built: Path) -> None:
        root = glibc_base(tmp_path)
        put(root, str(built / "plain"), "app/hello")
        put(root, str(built / "libouter.so.1"), "usr/lib/libouter.so.1")
        (problem,) = told(root)
        assert problem.what == "libinner.so.1 is not there (libouter.so.1 needs it)"
        assert not runs(root, "/app/hello")

    def test_a_library_that_only_the_cache_knows(self, tmp_path: Path, built: Path) -> None:
        root = glibc_base(tmp_path)
        put(root, str(built / "plain"), "app/hello")
        for name in ("libinner.so.1", "libouter.so.1"):
            put(root, str(built / name), f"usr/local/lib/{name}")
        (root / "etc/ld.so.conf.d").mkdir(parents=True)
        (root / "etc/ld.so.conf").write_text("include /etc/ld.so.conf.d/*.conf\n")
        (root / "etc/ld.so.conf.d/local.conf").write_text("# ours\n/usr/local/lib\n")
        (problem,) = told(root)
        assert "lies at /usr/local/lib/libouter.so.1" in problem.what
        assert problem.remedies == ("run ldconfig in the base",)
        assert not runs(root, "/app/hello")
        subprocess.run(["/sbin/ldconfig", "-r", str(root)], check=True, timeout=20)
        assert told(root) == ()
        assert runs(root, "/app/hello")

    def test_the_image_s_library_path(self, tmp_path: Path, built: Path) -> None:
        root = glibc_base(tmp_path)
        put(root, str(built / "plain"), "app/hello")
        for name in ("libinner.so.1", "libouter.so.1"):
            put(root, str(built / name), f"srv/{name}")
        assert told(root) != ()
        assert told(root, library_path="/none:/srv") == ()
        assert runs(root, "/app/hello", LD_LIBRARY_PATH="/none:/srv")

    def test_links_inside_the_base(self, tmp_path: Path, built: Path) -> None:
        root = glibc_base(tmp_path)
        put(root, str(built / "plain"), "app/hello")
        put(root, str(built / "libinner.so.1"), "usr/share/inner")
        put(root, str(built / "libouter.so.1"), "usr/share/outer")
        (root / "etc").mkdir()
        (root / "etc/inner").symlink_to("/usr/share/inner")
        (root / "lib/libinner.so.1").symlink_to("/etc/inner")
        (root / "lib/libouter.so.1").symlink_to("../../../usr/share/outer")
        assert told(root) == ()
        assert runs(root, "/app/hello")
        (root / "etc/inner").unlink()
        (root / "etc/inner").symlink_to("inner")
        assert "libinner.so.1 is not there" in texts(told(root))
        assert not runs(root, "/app/hello")

    def test_a_library_for_another_architecture_is_passed_over(
        self, tmp_path: Path, built: Path
    ) -> None:
        root = glibc_base(tmp_path)
        put(root, str(built / "plain"), "app/hello")
        put(root, str(built / "libouter.so.1"), "usr/lib/libouter.so.1")
        foreign = bytearray((built / "libinner.so.1").read_bytes())
        struct.pack_into("<H", foreign, 18, 183)
        early = root / "lib/x86_64-linux-gnu/libinner.so.1"
        early.write_bytes(foreign)
        assert "libinner.so.1 of the base is for arm64, the program for amd64" in texts(told(root))
        assert not runs(root, "/app/hello")
        put(root, str(built / "libinner.so.1"), "usr/lib/libinner.so.1")
        assert told(root) == ()
        assert runs(root, "/app/hello")

    def test_what_is_no_library(self, tmp_path: Path, built: Path) -> None:
        root = glibc_base(tmp_path)
        put(root, str(built / "hello"), "app/hello")
        (root / LIBC[1:]).write_text("/* GNU ld script */\n")
        assert "is no library" in texts(told(root))
        assert not runs(root, "/app/hello")

    def test_versions(self, tmp_path: Path) -> None:
        root = glibc_base(tmp_path / "root")
        new, old = tmp_path / "new.map", tmp_path / "old.map"
        new.write_text("W_1.2 { global: a; }; W_1.10 { global: outer; } W_1.2;\n")
        old.write_text("W_1.2 { global: a; };\n")
        both = "#include <stdio.h>\nint a(void) { return 0; }\n"
        both += 'int outer(void) { return puts("") < 0; }\n'
        named = "-Wl,-soname,libw.so.1"
        library = compile_c(
            tmp_path / "libw.so.1", both, "-shared", named, f"-Wl,--version-script={new}"
        )
        compile_c(root / "app/hello", CALLS_OUTER, str(library))
        place = root / "usr/lib/libw.so.1"
        put(root, str(library), "usr/lib/libw.so.1")
        assert told(root) == ()
        assert runs(root, "/app/hello")
        compile_c(place, both, "-shared", named, f"-Wl,--version-script={old}")
        (problem,) = told(root)
        assert problem.what == (
            "libw.so.1 is too old: hello needs W_1.10, that of the base goes up to W_1.2"
        )
        assert not runs(root, "/app/hello")
        # Of a library that defines no versions glibc's loader only warns.
        compile_c(place, both, "-shared", named)
        assert told(root) == ()
        assert runs(root, "/app/hello")

    def test_an_older_glibc(self, tmp_path: Path, built: Path) -> None:
        root = glibc_base(tmp_path)
        needs = (VersionNeed("libc.so.6", ("GLIBC_2.4", "GLIBC_2.999", "GLIBC_2.998")),)
        program = Program("app/api", linkage(built / "hello")._replace(needs=needs))
        (problem,) = problems(program, DiskFiles(root), read)
        assert "api needs GLIBC_2.999, that of the base goes up to GLIBC_2." in problem.what
        assert "a later Debian" in str(problem.remedies)
        assert "build on a distribution as old as the base" in problem.remedies
        assert "-extldflags=-static" in str(problem.remedies)

    def test_a_static_program_needs_nothing(self, tmp_path: Path) -> None:
        compile_c(tmp_path / "app/hello", HELLO, "-static")
        assert told(tmp_path) == ()
        assert runs(tmp_path, "/app/hello")


@needs_gcc
@needs_musl
class TestMusl:
    def test_a_whole_base(self, tmp_path: Path) -> None:
        root = musl_base(tmp_path)
        compile_c(root / "app/hello", HELLO, compiler="musl-gcc")
        assert told(root) == ()
        assert runs(root, "/app/hello")

    def test_a_program_of_musl_on_glibc(self, tmp_path: Path) -> None:
        root = glibc_base(tmp_path)
        compile_c(root / "app/hello", HELLO, compiler="musl-gcc")
        (problem,) = told(root)
        assert problem.what == "the program is linked with musl, the base has glibc"
        assert "alpine" in str(problem.remedies)
        assert not runs(root, "/app/hello")

    def test_a_program_of_glibc_on_musl(self, tmp_path: Path, built: Path) -> None:
        root = musl_base(tmp_path)
        put(root, str(built / "hello"), "app/hello")
        (problem,) = told(root)
        assert problem.what == "the program is linked with glibc, the base has musl"
        assert "debian" in str(problem.remedies)
        assert not runs(root, "/app/hello")

    @pytest.mark.parametrize(
        ("directory", "path_file", "works"),
        [
            ("usr/local/lib", None, True),
            ("opt/lib", None, False),
            ("opt/lib", "/lib\n/opt/lib\n", True),
            ("opt/lib", "/lib:/opt/lib", True),
            ("usr/local/lib", "/lib\n", False),
        ],
    )
    def test_its_path_file(
        self, tmp_path: Path, directory: str, path_file: str | None, works: bool
    ) -> None:
        root = musl_base(tmp_path)
        library = root / directory / "libouter.so"
        text = "int outer(void) { return 0; }"
        compile_c(library, text, "-shared", compiler="musl-gcc")
        place = ("-L", str(library.parent), "-louter")
        compile_c(root / "app/hello", CALLS_OUTER, *place, compiler="musl-gcc")
        if path_file is not None:
            (root / "etc").mkdir()
            (root / "etc/ld-musl-x86_64.path").write_text(path_file)
        assert (told(root) == ()) == works, texts(told(root))
        assert runs(root, "/app/hello") == works

    def test_a_library_of_glibc_in_its_base(self, tmp_path: Path) -> None:
        root = musl_base(tmp_path)
        text = '#include <stdio.h>\nint outer(void) { return puts("") < 0; }\n'
        library = root / "lib/libouter.so"
        compile_c(library, text, "-shared")
        place = ("-L", str(library.parent), "-louter")
        compile_c(root / "app/hello", CALLS_OUTER, *place, compiler="musl-gcc")
        assert "libouter.so is linked with glibc, the base has musl" in texts(told(root))


@needs_gcc
@needs_go
def test_a_program_of_go(tmp_path: Path) -> None:
    source = 'package main\n\n// #include <math.h>\n// #cgo LDFLAGS: -lm\nimport "C"\n\n' \
             "func main() { if C.cbrt(8) != 2 { panic(1) } }\n"  # fmt: skip
    module = write_files(tmp_path / "module", {"main.go": source})
    root = glibc_base(tmp_path / "root")
    output = root / "app/api"
    subprocess.run(
        [the_go().path, "build", "-o", str(output), "."],
        cwd=module, env=go_env(module, cgo=True), check=True, timeout=200,
    )  # fmt: skip
    facts = read_binary(str(output))
    program = Program("app/api", facts.linkage)
    assert "libm.so.6 is not there" in texts(problems(program, DiskFiles(root), read))
    assert not runs(root, "/app/api")
    put(root, os.path.join(os.path.dirname(LIBC), "libm.so.6"))
    put(root, os.path.join(os.path.dirname(LIBC), "libresolv.so.2"))
    put(root, os.path.join(os.path.dirname(LIBC), "libpthread.so.0"))
    assert problems(program, DiskFiles(root), read) == ()
    assert runs(root, "/app/api")


def memory_read(files: object) -> tuple[bytes, ...]:
    contents = []
    for item in files:  # type: ignore[attr-defined] # files
        with open_content(item.content) as stream:
            contents.append(stream.read())
    return tuple(contents)


DYNAMIC = Linkage("amd64", LOADER, needed=("libc.so.6", "liba.so"), rpath=("$ORIGIN", "/${LIB}/x"))


@settings(max_examples=150, deadline=2000)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    "lib64/ld-linux-x86-64.so.2",
                    "etc/ld.so.cache",
                    "etc/ld.so.conf",
                    "lib/libc.so.6",
                    "usr/lib/liba.so",
                    "etc/ld.so.conf.d/x.conf",
                    "lib/ld-musl-x86_64.so.1",
                ]
            ),
            st.one_of(
                st.binary(max_size=200),
                st.binary(max_size=80).map(lambda data: b"glibc-ld.so.cache1.1" + data),
                st.binary(max_size=120).map(lambda data: b"\x7fELF\2\1\1" + data),
                st.sampled_from([b"include /etc/ld.so.conf\ninclude ld.so.conf.d/*\n/lib\n" * 3]),
            ),
        ),
        max_size=7,
    ),
    st.sampled_from([LOADER, MUSL_LOADER, "", "/", "..", "lib"]),
)
def test_hostile_bases_end_in_an_answer(files: list[tuple[str, bytes]], interpreter: str) -> None:
    view = MemoryFiles(file(path, data, 0o755) for path, data in dict(files).items())
    program = Program("app/x", DYNAMIC._replace(interpreter=interpreter))
    for problem in problems(program, view, memory_read):
        assert problem.what
        assert problem.remedies


def test_links_in_a_circle_are_nothing() -> None:
    view = MemoryFiles([link("lib64", "/lib64"), link("lib", "usr/lib"), link("usr/lib", "/lib")])
    assert "no C library" in texts(problems(Program("a", DYNAMIC), view, memory_read))


def test_another_architecture_s_loader() -> None:
    view = MemoryFiles([file("lib/ld-linux-aarch64.so.1", "x", 0o755)])
    (problem,) = problems(Program("a", DYNAMIC), view, memory_read)
    assert "another architecture" in problem.what
    assert "same platform" in str(problem.remedies)


@needs_gcc
def test_compatible_loaders_are_taken_at_their_word(tmp_path: Path, built: Path) -> None:
    root = musl_base(tmp_path) if os.path.exists(MUSL_LOADER) else tmp_path
    put(root, LOADER)
    put(root, str(built / "hello"), "app/hello")
    assert told(root) != ()
    (root / "lib").mkdir(exist_ok=True)
    (root / "lib/libgcompat.so.0").touch()
    assert told(root) == ()


def test_the_refusal_tells_each_remedy_once() -> None:
    found = [
        Problem(f"lib{number}.so is not there", ("install it", "wait")) for number in range(20)
    ]
    error = refusal(Program("app/api", DYNAMIC), "debian:12-slim", found)
    assert error.what == "api is dynamically linked, and cannot run on debian:12-slim"
    assert error.hint == "install it; or wait"
    assert error.why.endswith("and 8 more")


class FakeRecords:
    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], bytes] = {}

    def get(self, kind: str, key: str) -> bytes | None:
        return self.kept.get((kind, key))

    def put(self, kind: str, key: str, value: bytes, blobs: object) -> None:
        self.kept[kind, key] = value


def test_what_was_let_pass_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Program] = []
    answers: list[tuple[Problem, ...]] = [(Problem("no", ("mend it",)),), ()]

    def answer(program: Program, _view: object, _read: object) -> tuple[Problem, ...]:
        seen.append(program)
        return answers[len(seen) - 1]

    class NoRoots(Roots):
        def __init__(self) -> None:
            return

        def view(self, slabs: object) -> MemoryFiles:  # type: ignore[override]
            return MemoryFiles()

    monkeypatch.setattr(loadable, "problems", answer)
    records, program, roots = FakeRecords(), Program("app/api", DYNAMIC), NoRoots()
    with pytest.raises(BuildError):
        check_loadable(program, (), "base", roots, records)
    check_loadable(program, (), "base", roots, records)
    check_loadable(program, (), "base", roots, records)
    assert len(seen) == 2
    other = program._replace(library_path="/x")
    with pytest.raises(IndexError):
        check_loadable(other, (), "base", roots, records)
    check_loadable(Program("app/api", Linkage("amd64")), (), "base", roots, records)
    assert len(seen) == 3


def test_a_search_without_end_is_given_up() -> None:
    places = tuple(f"/{number}" for number in range(200))
    names = tuple(f"lib{number}.so" for number in range(900))
    library = Linkage("amd64", needed=names, rpath=places)
    view = MemoryFiles([file("lib64/ld-linux-x86-64.so.2", least(), 0o755)])
    began = time.monotonic()
    assert problems(Program("a", library._replace(interpreter=LOADER)), view, memory_read) == ()
    assert time.monotonic() - began < 10


@needs_gcc
def test_layers_of_a_store(tmp_path: Path, built: Path) -> None:
    """Two layers, the upper one with a newer library: contents are taken out of both."""

    def layer(store: Store, *places: str) -> Layer:
        entries = [
            File(place.lstrip("/"), Unread(place, os.path.getsize(place)), 0o755)
            for place in places
        ]
        rules = LayerSettings(Compression(), 1, "zlib")
        (found,) = store_layer(store, make_tree(entries), 0, rules, CancelToken()).layers
        return found

    program = Program("app/hello", linkage(built / "hello"))
    fetched: list[Layer] = []
    with open_store(tmp_path / "store") as store:
        roots = Roots(store, fetched.extend, LayerIndexes(store, Limits()), CancelToken())
        lower, upper = layer(store, LOADER), layer(store, LIBC)
        with pytest.raises(BuildError) as caught:
            check_loadable(program, (lower,), "a base", roots, store.records)
        assert "libc.so.6 is not there" in caught.value.why
        check_loadable(program, (lower, upper), "a base", roots, store.records)
        again = Roots(store, fetched.extend, LayerIndexes(store, Limits()), CancelToken())
        fetched.clear()
        check_loadable(program, (lower, upper), "a base", again, store.records)
        assert fetched == []
