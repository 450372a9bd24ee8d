# SPDX-License-Identifier: Apache-2.0
"""Which files build flags name, and which flags bring in what no record can know."""

import json
from pathlib import Path

import pytest

from wherry.golang.flagfiles import FlagFiles, flag_files


@pytest.mark.parametrize(
    "flag",
    [
        "-trimpath", "-tags=a,b", "-ldflags=-s -w -X=main.x=1", "-gcflags=all=-N -l", "-pgo=auto",
        "-pgo=off", "-compiler=gc", "-mod=vendor", "-race", "-modfile=", "-overlay=",
        "-ldflags=-linkmode=internal", "-ldflags=-X=main.Lib=x",
    ],
)  # fmt: skip
def test_flags_that_bring_in_nothing(flag: str) -> None:
    assert flag_files([flag], "/m") == FlagFiles()


@pytest.mark.parametrize(
    ("flag", "name"),
    [
        ("-toolexec=/bin/time", "toolexec"),
        ("--toolexec=/bin/time", "toolexec"),
        ("-compiler=gccgo", "compiler"),
        ("-gccgoflags=-O2", "gccgoflags"),
        ("-pkgdir=/x", "pkgdir"),
        ("-asmflags=-I=inc", "asmflags"),
        ("-linkshared", "linkshared"),
        ("-gcflags=all=-pgoprofile=x.pgo", "gcflags"),
        ("-gcflags=-I /x", "gcflags"),
        ("-ldflags=-linkmode external", "ldflags"),
        ("-ldflags=-s -linkmode=external", "ldflags"),
        ("-ldflags=-extld=/opt/ld", "ldflags"),
        ("-ldflags=-L /opt/lib", "ldflags"),
    ],
)
def test_flags_that_bring_in_the_unknown(flag: str, name: str) -> None:
    assert f"-{name}" in flag_files(["-trimpath", flag, "-tags=x"], "/m").unclear


def test_files_are_named_from_where_go_runs() -> None:
    found = flag_files(["-pgo=cpu.pgo", "-modfile=alt/other.mod", "-pgo=/abs.pgo"], "/m")
    assert found.files == ("/m/cpu.pgo", "/m/alt/other.mod", "/m/alt/other.sum", "/abs.pgo")
    assert found.modfile == "/m/alt/other.mod"
    assert found.unclear == ""


@pytest.mark.parametrize("key", ["Replace", "replace", "REPLACE"])
def test_an_overlay_names_its_targets(tmp_path: Path, key: str) -> None:
    replaced = {"/m/a.go": "/x/a.go", "b.go": "c.txt", "/m/gone.go": ""}
    (tmp_path / "o.json").write_text(json.dumps({key: replaced}))
    found = flag_files(["-overlay=o.json"], str(tmp_path))
    assert found.files == (f"{tmp_path}/o.json", "/x/a.go", f"{tmp_path}/c.txt")
    assert found.unclear == ""


@pytest.mark.parametrize(
    "text",
    [
        "", "nonsense", "[]", '{"Replace": 1}', '{"Replace": {"a.go": 1}}',
        '{"Replace": {"/m/go.mod": "/x"}}', '{"Replace": {"go.work": "/x"}}',
        '{"Replace": {"/m/vendor/modules.txt": ""}}',
    ],
)  # fmt: skip
def test_an_overlay_that_cannot_be_followed(tmp_path: Path, text: str) -> None:
    (tmp_path / "o.json").write_text(text)
    found = flag_files(["-overlay=o.json"], str(tmp_path))
    assert found.unclear
    assert found.files == (f"{tmp_path}/o.json",)


def test_an_overlay_that_is_not_there(tmp_path: Path) -> None:
    assert flag_files(["-overlay=o.json"], str(tmp_path)).unclear
