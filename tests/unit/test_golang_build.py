# SPDX-License-Identifier: Apache-2.0
"""go build: what it makes, what it tells while it runs, and how it fails."""

import os
import uuid
import zipfile
from pathlib import Path
from threading import Timer

import pytest

from golang_support import MAIN, go_env, needs_go, the_go, write_files
from wherry.errors import BuildError, MachineError, NetworkError, UsageError, WherryError
from wherry.golang.binary import read_binary
from wherry.golang.build import BuildCall, build_binary
from wherry.golang.flags import FlagSettings, build_flags
from wherry.process.cancel import Cancelled, CancelToken

pytestmark = needs_go
FLAGS = build_flags("", FlagSettings())


class Heard:
    """What a build told while it ran."""

    def __init__(self) -> None:
        self.packages: list[str] = []
        self.lines: list[str] = []


def build(
    root: Path, package: str = ".", flags: tuple[str, ...] = FLAGS, cgo: bool = False, **env: str
) -> Heard:
    heard = Heard()
    output = str(root / "bin" / "out")
    call = BuildCall(str(root), package, output, flags, go_env(root, cgo=cgo, **env))
    build_binary(the_go(), call, CancelToken(), heard.packages.append, heard.lines.append)
    return heard


def test_a_build_tells_the_packages_it_compiles(tmp_path: Path) -> None:
    source = 'package main\n\nimport "example.com/m/lib"\n\nfunc main() { lib.F() }\n'
    # A text of its own, so that no earlier run left the package in Go's cache.
    library = f'package lib\n\nfunc F() {{ println("{uuid.uuid4()}") }}\n'
    write_files(tmp_path, {"main.go": source, "lib/lib.go": library})
    heard = build(tmp_path)
    assert heard.packages[-2:] == ["example.com/m/lib", "example.com/m"]
    assert heard.lines == []
    assert read_binary(str(tmp_path / "bin" / "out")).is_static


def test_an_equal_output_is_not_linked_again(tmp_path: Path) -> None:
    write_files(tmp_path, {"main.go": MAIN})
    build(tmp_path)
    output = tmp_path / "bin" / "out"
    with output.open("ab") as file:
        # Go compares build IDs, not contents: what is appended stays if it does not link.
        file.write(b"mark")
    assert build(tmp_path).packages == []
    assert output.read_bytes().endswith(b"mark")


@pytest.mark.parametrize(
    ("source", "why", "where"),
    [
        (
            "package main\n\nfunc main() {\n\tx := \n}\n",
            "# example.com/m\n./main.go:5:1: syntax error: unexpected }, expected expression",
            "main.go:5",
        ),
        (
            'package main\n\nfunc main() {\n\tvar s string = 1\n\tprint(s, t)\n}\n',
            "# example.com/m\n"
            "./main.go:4:17: cannot use 1 (untyped int constant) as string value in variable "
            "declaration\n./main.go:5:11: undefined: t",
            "main.go:4",
        ),
    ],
)  # fmt: skip
def test_compile_errors_are_gos_own_words_once(
    tmp_path: Path, source: str, why: str, where: str
) -> None:
    write_files(tmp_path, {"main.go": source})
    with pytest.raises(BuildError) as caught:
        build(tmp_path)
    assert caught.value.why == why
    assert caught.value.where == where
    assert caught.value.hint
    assert not (tmp_path / "bin").exists()


def fails(root: Path, files: dict[str, str], **env: str) -> WherryError:
    write_files(root, files)
    with pytest.raises(WherryError) as caught:
        build(root, **env)
    return caught.value


def test_errors_before_compiling(tmp_path: Path) -> None:
    error = fails(tmp_path / "a", {"main.go": 'package main\n\nimport _ "example.com/gone"\n'})
    assert type(error) is BuildError
    assert error.where == "main.go:3"
    assert "go mod tidy" in error.hint
    error = fails(tmp_path / "b", {"main.go": MAIN, "go.mod": "module m\n\ngo 1.21\n\nrequir x\n"})
    assert type(error) is UsageError
    assert error.where == "go.mod:5"
    error = fails(tmp_path / "c", {"main.go": MAIN}, GOFLAGS="-nosuch")
    assert (type(error), error.what) == (UsageError, "GOFLAGS cannot be read")
    error = fails(tmp_path / "d", {"main.go": MAIN, "go.mod": "module m\n\ngo 1.98\n"})
    assert type(error) is MachineError
    assert error.why == "go: go.mod requires go >= 1.98 " + error.why.partition(">= 1.98 ")[2]
    assert "GOTOOLCHAIN=auto" in error.hint


def test_a_missing_c_compiler(tmp_path: Path) -> None:
    source = 'package main\n\n// int one() { return 1; }\nimport "C"\n\nfunc main() { C.one() }\n'
    write_files(tmp_path, {"main.go": source})
    with pytest.raises(MachineError, match="C compiler"):
        build(tmp_path, cgo=True, CC="no-such-compiler")
    with pytest.raises(BuildError) as caught:
        build(tmp_path)
    assert "cgo" in caught.value.hint


MODULE = {
    "go.mod": "module example.com/m\n\ngo 1.21\n\nrequire example.com/dep v1.0.0\n",
    "main.go": 'package main\n\nimport "example.com/dep"\n\nfunc main() { dep.F() }\n',
    "go.sum": "example.com/dep v1.0.0 h1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
    "example.com/dep v1.0.0/go.mod h1:BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB=\n",
}


@pytest.fixture
def proxy(tmp_path: Path) -> str:
    """A module proxy in a directory, with one module."""
    directory = tmp_path / "proxy" / "example.com" / "dep" / "@v"
    directory.mkdir(parents=True)
    gomod = "module example.com/dep\n\ngo 1.21\n"
    (directory / "list").write_text("v1.0.0\n")
    (directory / "v1.0.0.info").write_text('{"Version": "v1.0.0"}')
    (directory / "v1.0.0.mod").write_text(gomod)
    with zipfile.ZipFile(directory / "v1.0.0.zip", "w") as archive:
        archive.writestr("example.com/dep@v1.0.0/go.mod", gomod)
        archive.writestr("example.com/dep@v1.0.0/dep.go", "package dep\n\nfunc F() {}\n")
    return f"file://{tmp_path}/proxy"


def test_a_download_is_told_and_a_changed_module_refused(tmp_path: Path, proxy: str) -> None:
    env = {
        "GOPROXY": proxy,
        "GOMODCACHE": f"{tmp_path}/mc",
        "GONOSUMDB": "*",
        "GOFLAGS": "-modcacherw",
    }
    root = write_files(tmp_path / "src", {**MODULE, "go.sum": ""})
    heard = build(root, flags=(*FLAGS, "-mod=mod"), **env)
    assert heard.lines == ["go: downloading example.com/dep v1.0.0"]
    error = fails(tmp_path / "src", MODULE, **env)
    assert type(error) is BuildError
    assert "go.sum" in error.what
    assert error.why.count("SECURITY ERROR") == 1
    assert "downloading" not in error.why


@pytest.mark.parametrize(
    ("proxy_url", "words"),
    [
        ("http://127.0.0.1:1", "cannot download a Go module from 127.0.0.1:1"),
        ("https://me:hunter2@127.0.0.1:1", "cannot download a Go module from 127.0.0.1:1"),
        ("off", "GOPROXY=off"),
        ("http://me:hunter2@127.0.0.1:1", "credentials over plain http"),
    ],
)
def test_an_unreachable_proxy(tmp_path: Path, proxy_url: str, words: str) -> None:
    env = {"GOPROXY": proxy_url, "GOMODCACHE": f"{tmp_path}/mc", "GOFLAGS": "-modcacherw"}
    error = fails(tmp_path / "src", MODULE, **env)
    assert type(error) is NetworkError
    assert words in error.what
    assert "hunter2" not in str(error)


def test_git_that_fails_under_full_stamps(tmp_path: Path) -> None:
    write_files(tmp_path, {"main.go": MAIN, ".git/HEAD": "broken"})
    with pytest.raises(MachineError) as caught:
        build(tmp_path, flags=build_flags("", FlagSettings(stamp="full")))
    assert "--stamp off" in caught.value.hint


def test_goflags_that_would_hide_the_result_are_switched_off(tmp_path: Path) -> None:
    write_files(tmp_path, {"main.go": MAIN})
    build(tmp_path, flags=build_flags("-n", FlagSettings()), GOFLAGS="-n")
    assert (tmp_path / "bin" / "out").exists()


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    write_files(tmp_path, {"main.go": MAIN, "bin/out/keep.txt": ""})
    (tmp_path / "bin" / "out" / "m").mkdir()
    with pytest.raises(WherryError) as caught:
        build(tmp_path)
    assert "bin/out/m" in caught.value.why


def test_cancelling_ends_go(tmp_path: Path) -> None:
    write_files(tmp_path, {"main.go": 'package main\n\nimport _ "net/http"\n\nfunc main() {}\n'})
    cancel = CancelToken()
    env = go_env(tmp_path, GOCACHE=str(tmp_path / "cache"))
    call = BuildCall(str(tmp_path), ".", str(tmp_path / "out"), FLAGS, env)
    timer = Timer(0.3, cancel.cancel)
    timer.start()
    with pytest.raises(Cancelled):
        build_binary(the_go(), call, cancel, lambda _: None, lambda _: None)
    assert not (tmp_path / "out").exists()


def test_a_descriptor_stays_open_in_go(tmp_path: Path) -> None:
    root = write_files(tmp_path, {"main.go": MAIN})
    script = tmp_path / "go"
    script.write_text("#!/bin/sh\nreadlink /proc/self/fd/$KEPT >&2; exit 1\n")
    script.chmod(0o755)
    held = os.open(tmp_path / "main.go", os.O_RDONLY)
    try:
        env = {**go_env(root), "KEPT": str(held)}
        call = BuildCall(str(root), ".", str(root / "out"), (), env, (held,))
        with pytest.raises(BuildError) as caught:
            go = the_go()._replace(path=str(script))
            build_binary(go, call, CancelToken(), lambda _: None, lambda _: None)
        assert caught.value.why.endswith("main.go")
    finally:
        os.close(held)
