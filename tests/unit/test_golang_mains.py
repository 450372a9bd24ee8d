# SPDX-License-Identifier: Apache-2.0
"""From what the user names to main packages."""

import os
import subprocess
from pathlib import Path

import pytest

from golang_support import MAIN, go_env, needs_go, the_go, write_files
from wherry.errors import BuildError, UsageError
from wherry.golang.mains import MainPackage, Place, binary_name, find_mains, locate, one_main
from wherry.process.cancel import CancelToken


def mains(directory: Path, pattern: str, **env: str) -> tuple[MainPackage, ...]:
    return find_mains(
        the_go(), str(directory), pattern, (), go_env(directory, **env), CancelToken()
    )


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return write_files(
        tmp_path,
        {
            "go.mod": "module example.com/shop/v2\n\ngo 1.21\n",
            "shop.go": "package shop\n",
            "cmd/api/main.go": MAIN,
            "cmd/migrate/main.go": MAIN,
            "internal/db/db.go": "package db\n",
            "mixed/a.go": "package a\n",
            "mixed/b.go": "package b\n",
            "windows/w.go": "//go:build windows\n\n" + MAIN,
            "docs/readme.txt": "",
        },
    )


@needs_go
def test_a_main_package_by_directory_and_by_path(shop: Path) -> None:
    api = MainPackage("example.com/shop/v2/cmd/api", "api", str(shop / "cmd" / "api"))
    assert mains(shop, "./cmd/api") == (api,)
    assert mains(shop, "example.com/shop/v2/cmd/api") == (api,)
    assert mains(shop / "cmd" / "api", ".") == (api,)
    assert one_main((api,), ".") is api


@needs_go
def test_a_pattern_gives_all_and_one_main_lists_them(shop: Path) -> None:
    found = mains(shop, "./...")
    assert [main.name for main in found] == ["api", "migrate"]
    with pytest.raises(UsageError) as caught:
        one_main(found, "./...")
    assert caught.value.why.split() == [main.import_path for main in found]


@needs_go
@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        (".", "package shop, a library"),
        ("./internal/db", "package db, a library"),
        ("./cmd", "no Go files in"),
        ("./docs", "no Go files in"),
        ("./gone", "directory not found"),
        ("example.com/other/cmd", "no required module provides package"),
        ("nothing/...", ""),
    ],
)
def test_without_a_main_package_those_there_are_are_named(
    shop: Path, pattern: str, why: str
) -> None:
    with pytest.raises(UsageError) as caught:
        mains(shop, pattern)
    assert why in caught.value.why
    assert "./cmd/api, ./cmd/migrate" in caught.value.hint


@needs_go
def test_a_module_without_any_main_package(tmp_path: Path) -> None:
    write_files(tmp_path, {"lib.go": "package lib\n"})
    with pytest.raises(UsageError) as caught:
        mains(tmp_path, ".")
    assert "package main" in caught.value.hint


@needs_go
@pytest.mark.parametrize("pattern", ["./mixed", "./windows"])
def test_a_broken_package_is_told_as_a_build_tells_it(shop: Path, pattern: str) -> None:
    with pytest.raises(BuildError) as caught:
        mains(shop, pattern)
    assert str(shop / pattern[2:]) in caught.value.why


@needs_go
@pytest.mark.parametrize("pattern", [".", "./..."])
def test_outside_of_a_module(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "main.go").write_text(MAIN)
    with pytest.raises(UsageError) as caught:
        mains(tmp_path, pattern)
    assert caught.value.what == "no Go module here"
    assert "go mod init" in caught.value.hint


@needs_go
def test_gopath_mode_and_files_are_refused(shop: Path) -> None:
    with pytest.raises(UsageError, match="GO111MODULE"):
        mains(shop, ".", GO111MODULE="off")
    with pytest.raises(UsageError) as caught:
        mains(shop, "cmd/api/main.go")
    assert "cmd/api" in caught.value.hint


@needs_go
def test_a_main_package_of_another_module_in_the_build_list(tmp_path: Path) -> None:
    write_files(
        tmp_path / "app",
        {
            "go.mod": "module example.com/m\n\ngo 1.21\n\nrequire example.com/tool v1.0.0\n"
            "replace example.com/tool => ../tool\n",
            "lib.go": "package m\n",
        },
    )
    write_files(
        tmp_path / "tool",
        {"go.mod": "module example.com/tool\n\ngo 1.21\n", "cmd/gen/main.go": MAIN},
    )
    (main,) = mains(tmp_path / "app", "example.com/tool/cmd/gen")
    assert main == ("example.com/tool/cmd/gen", "gen", str(tmp_path / "tool" / "cmd" / "gen"))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("example.com/m", "m"), ("example.com/m/v2", "m"), ("example.com/m/v10", "m"),
        ("m", "m"), ("v2", "v2"), ("example.com/v3/v2", "v3"), ("example.com/m/v1", "v1"),
        ("example.com/m/v0", "v0"), ("example.com/m/v02", "v02"), ("example.com/m/v", "v"),
        ("gopkg.in/yaml.v3", "yaml.v3"), ("example.com/m/v2x", "v2x"),
    ],
)  # fmt: skip
def test_names_of_binaries(path: str, name: str) -> None:
    assert binary_name(path) == name


@needs_go
@pytest.mark.parametrize("directory", [".", "v2", "cmd/v3/v2", "cmd/v1", "cmd/v02", "cmd/x.v3"])
def test_names_are_those_that_go_build_gives(tmp_path: Path, directory: str) -> None:
    module = write_files(
        tmp_path / "src",
        {"go.mod": "module example.com/tool/v2\n\ngo 1.21\n", f"{directory}/main.go": MAIN},
    )
    out = tmp_path / "out"
    out.mkdir()
    (main,) = mains(module, f"./{directory}")
    subprocess.run(
        [the_go().path, "build", "-o", f"{out}/", f"./{directory}"],
        cwd=module, env=go_env(module), check=True,
    )  # fmt: skip
    assert os.listdir(out) == [main.name]


def test_where_go_runs_for_what_the_user_named(tmp_path: Path) -> None:
    write_files(tmp_path / "a", {"cmd/api/main.go": MAIN})
    write_files(tmp_path / "b", {"cmd/x/main.go": MAIN})
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    assert locate(a, ".") == Place(a, ".")
    assert locate(a, "./cmd/api") == locate(a, "cmd/api") == Place(a, "./cmd/api")
    assert locate(a, f"{a}/cmd/api/") == Place(a, "./cmd/api")
    assert locate(a, "./cmd/...") == Place(a, "./cmd/...")
    assert locate(a, "./...") == Place(a, "./...")
    assert locate(a, "./cmd/a...") == Place(a, "./cmd/a...")
    assert locate(a, "../b") == Place(b, ".")
    assert locate(a, "../b/cmd/...") == Place(f"{b}/cmd", "./...")
    assert locate(f"{a}/cmd/api", "..") == Place(f"{a}/cmd", ".")
    assert locate(a, "example.com/m/cmd/...") == Place(a, "example.com/m/cmd/...")
    assert locate(a, "example.com/x") == Place(a, "example.com/x")
    assert locate(a, "./gone") == Place(a, "./gone")


@needs_go
def test_a_symlinked_directory_is_a_module_of_its_own(tmp_path: Path) -> None:
    write_files(tmp_path / "real", {"main.go": MAIN, "cmd/x/main.go": MAIN})
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real")
    place = locate(str(tmp_path), "link")
    assert place == Place(str(link), ".")
    (main,) = mains(Path(place.directory), place.pattern)
    assert main.dir == str(link)
    (link / "main.go").write_text("package lib\n")
    with pytest.raises(UsageError) as caught:
        mains(link, ".")
    assert "./cmd/x" in caught.value.hint
