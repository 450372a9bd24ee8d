# SPDX-License-Identifier: Apache-2.0
"""Which compiled packages may serve another build, by the sources that their objects name."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from go_archives import OBJECT, archive, assembled
from golang_support import go_env, needs_go, the_go, write_files
from wherry.golang.build_archive import SettledSources, may_serve

MODULE = b"/go/pkg/mod/example.com/m@v1.2.3/asm_amd64.s"


@pytest.fixture
def sources(tmp_path: Path) -> SettledSources:
    """Those of a tree of Go's with one source, and of modules."""
    for name in ("math/exp_amd64.s", "math/exp.go"):
        path = tmp_path / "go/src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return SettledSources([str(tmp_path / "go")], modules="/go/pkg/mod")


def serves(tmp_path: Path, sources: SettledSources, data: bytes) -> bool:
    path = tmp_path / "package"
    path.write_bytes(data)
    with path.open("rb") as file:
        return may_serve(file, sources)


@pytest.mark.parametrize(
    ("name", "settled"),
    [
        (b"math/exp_amd64.s", True),
        (b"$GOROOT/src/math/exp_amd64.s", True),
        (b"math/exp.go", False),
        (b"fastmath/exp_amd64.s", False),
        (b"/src/app/fastmath/exp_amd64.s", False),
        (b"/src/app/math/exp_amd64.s", False),
        (b"example.com/app/math/exp_amd64.s", False),
        (b"/src/tool@v1/math/exp_amd64.s", False),
        (MODULE, True),
        (b"/go/pkg/mod/example.com/m@v1.2.3/d/e/asm_amd64.s", True),
        # With -trimpath: the sources may be those of a directory that replaces the module.
        (b"example.com/m@v1.2.3/asm_amd64.s", False),
        (b"/src/vendor/example.com/m/asm_amd64.s", False),
        (b"/go/pkg/mod/example.com/m/asm_amd64.s", False),
        (b"/go/pkg/mod/example.com/m@main/asm_amd64.s", False),
        (b"/go/pkg/modern/example.com/m@v1.2.3/asm_amd64.s", False),
        (b"/elsewhere/go/pkg/mod/example.com/m@v1.2.3/asm_amd64.s", False),
    ],
)
def test_sources_that_cannot_change(sources: SettledSources, name: bytes, settled: bool) -> None:
    assert sources.hold(name) == settled


def test_all_sources_of_a_package_have_to_be_settled(
    tmp_path: Path, sources: SettledSources
) -> None:
    objects = {
        "one": assembled(MODULE),
        "empty": assembled(),
        "other": assembled(b"/src/app/asm_amd64.s"),
        "both": assembled(MODULE, b"/src/app/asm_amd64.s"),
    }
    taken = {
        name: serves(tmp_path, sources, archive((name, data))) for name, data in objects.items()
    }
    assert taken == {"one": True, "empty": False, "other": False, "both": False}
    one, empty, other = (("x.o", objects[name]) for name in ("one", "empty", "other"))
    assert serves(tmp_path, sources, archive(one, empty))
    assert not serves(tmp_path, sources, archive(one, other))


@pytest.mark.parametrize(
    "member",
    [
        b"\x7fELF" + assembled(MODULE),
        OBJECT,
        OBJECT + MODULE,
        assembled(MODULE).replace(b"go120ld", b"go999ld"),
        assembled(MODULE)[:60],
        assembled(MODULE)[:-3],
        assembled(MODULE).replace(b"\x2c\0\0\0", b"\xff\0\0\0"),
    ],
)
def test_an_object_that_cannot_be_read(
    tmp_path: Path, sources: SettledSources, member: bytes
) -> None:
    assert not serves(tmp_path, sources, archive(("x.o", member)))


def test_without_modules_that_nobody_changed(tmp_path: Path) -> None:
    assert not serves(tmp_path, SettledSources(), archive(("x.o", assembled(MODULE))))
    assert serves(tmp_path, SettledSources(), archive())


def exported(where: Path, package: str, *flags: str) -> bytes:
    """A package as Go compiles it, with an empty cache."""
    env = go_env(where, GOCACHE=str(where / ".cache"))
    args = [the_go().path, "list", *flags, "-export", "-f", "{{.Export}}", package]
    told = subprocess.run(args, cwd=where, env=env, capture_output=True, text=True, check=True)
    return Path(told.stdout.strip()).read_bytes()


@needs_go
@pytest.mark.parametrize("flags", [(), ("-trimpath",)])
def test_what_go_makes_of_its_own_sources(tmp_path: Path, flags: tuple[str, ...]) -> None:
    args = [the_go().path, "env", "GOROOT"]
    root = subprocess.run(args, capture_output=True, text=True, check=True).stdout.strip()
    # The assembler source of the second one is empty, and its object names none.
    for package in ("internal/cpu", "internal/reflectlite", "os/signal", "runtime/debug"):
        data = exported(tmp_path, package, *flags)
        assert serves(tmp_path, SettledSources([root]), data), package
        assert not serves(tmp_path, SettledSources(), data), package


@needs_go
@pytest.mark.parametrize("flags", [(), ("-trimpath",)])
@pytest.mark.parametrize(
    "source", ["func F() int { return 1 }", "var V = bits.Len(3)", "const C = 1"]
)
def test_an_empty_assembler_source_elsewhere(
    tmp_path: Path, flags: tuple[str, ...], source: str
) -> None:
    """A header beside it may fill it for the next build, and is not in Go's key."""
    args = [the_go().path, "env", "GOROOT"]
    root = subprocess.run(args, capture_output=True, text=True, check=True).stdout.strip()
    used = 'import "math/bits"\n\n' if "bits" in source else ""
    files = {
        "go.mod": "module example.com/app\n",
        "d/a.go": f"package d\n\n{used}{source}\n",
        "d/a.s": '#include "../x.h"\n',
        "x.h": "",
    }
    write_files(tmp_path, files)
    data = exported(tmp_path, "example.com/app/d", *flags)
    assert not serves(tmp_path, SettledSources([root], modules="/go/pkg/mod"), data)


@needs_go
@pytest.mark.parametrize("flags", [(), ("-trimpath",)])
def test_what_go_makes_of_a_directory_in_the_place_of_a_module(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    files = {
        "go.mod": "module app\nrequire example.com/m v1.2.3\nreplace example.com/m => ./m\n",
        "m/go.mod": "module example.com/m\n",
        "m/d/a.go": "package d\n\nfunc F()\n",
        "m/d/a.s": '#include "../x.h"\nTEXT \u00b7F(SB), 4, $0\n\tRET\n',
        "m/x.h": "",
    }
    write_files(tmp_path, files)
    data = exported(tmp_path, "example.com/m/d", *flags)
    assert not serves(tmp_path, SettledSources(modules="/go/pkg/mod"), data)


def test_trimmed_names_mean_modules_where_the_caller_knows(tmp_path: Path) -> None:
    asked: list[int] = []

    def trimmed() -> frozenset[bytes]:
        asked.append(1)
        return frozenset((b"example.com/m@v1.2.3",))

    sources = SettledSources([str(tmp_path)], modules="/go/pkg/mod", trimmed=trimmed)
    assert sources.hold(MODULE)
    assert not asked
    assert sources.hold(b"example.com/m@v1.2.3/asm_amd64.s")
    assert sources.hold(b"example.com/m@v1.2.3/d/asm_amd64.s")
    assert not sources.hold(b"example.com/m@v1.2.4/asm_amd64.s")
    assert not sources.hold(b"/src/example.com/m@v1.2.3/asm_amd64.s")
    assert asked == [1]
    # Not where somebody may have changed what is in the cache.
    loose = SettledSources([str(tmp_path)], trimmed=trimmed)
    assert not loose.hold(b"example.com/m@v1.2.3/asm_amd64.s")
