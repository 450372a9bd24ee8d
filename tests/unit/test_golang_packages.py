# SPDX-License-Identifier: Apache-2.0
"""What go list names, and which packages lose their cgo files."""

from pathlib import Path

import pytest

from golang_support import MAIN, go_env, needs_go, the_go, write_files
from wherry.errors import MachineError, WherryError
from wherry.golang.cgo import cgo_left_out
from wherry.golang.packages import Package, list_packages
from wherry.oci.platform import host_platform
from wherry.process.cancel import CancelToken

pytestmark = needs_go


def listed(
    root: Path, *patterns: str, flags: tuple[str, ...] = (), **env: str
) -> tuple[Package, ...]:
    where = go_env(root, **env)
    return list_packages(the_go(), str(root), patterns or (".",), flags, where, CancelToken())


def by_path(packages: tuple[Package, ...]) -> dict[str, Package]:
    return {package.import_path: package for package in packages}


def test_every_file_of_a_package_is_listed_by_its_kind(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "main.go": 'package main\n\nimport "embed"\n\n//go:embed page.html data\n'
            "var s embed.FS\n\nfunc main() {}\n",
            "page.html": "x",
            "data/a.txt": "x",
            "data/sub/b.txt": "x",
            "win_windows.go": "package main\n",
            "tagged.go": "//go:build special\n\npackage main\n",
            "asm_windows.s": "",
            "head.h": "",
            "code_amd64.s": "",
            "code_arm64.s": "",
            "main_test.go": "package main\n",
        },
    )
    main = by_path(listed(tmp_path))["example.com/m"]
    assert (main.name, main.dir, main.standard, main.errors) == ("main", str(tmp_path), False, ())
    assert main.go_files == ("main.go",)
    assert main.ignored_go_files == ("tagged.go", "win_windows.go")
    assert main.embed_patterns == ("data", "page.html")
    assert main.embed_files == ("data/a.txt", "data/sub/b.txt", "page.html")
    assert main.h_files == ("head.h",)
    everything = {
        "main.go", "tagged.go", "win_windows.go", "asm_windows.s", "head.h", "code_amd64.s",
        "code_arm64.s", "data/a.txt", "data/sub/b.txt", "page.html",
    }  # fmt: skip
    assert set(main.files()) == everything
    tagged = by_path(listed(tmp_path, flags=("-tags=special",)))["example.com/m"]
    assert tagged.go_files == ("main.go", "tagged.go")


def test_dependencies_come_first_and_know_their_modules(tmp_path: Path) -> None:
    write_files(
        tmp_path / "app",
        {
            "go.mod": "module example.com/m\n\ngo 1.21\n\nrequire example.com/lib v1.2.3\n\n"
            "replace example.com/lib => ../lib\n",
            "main.go": 'package main\n\nimport "example.com/lib"\n\nfunc main() { lib.F() }\n',
        },
    )
    write_files(
        tmp_path / "lib",
        {"go.mod": "module example.com/lib\n\ngo 1.21\n", "lib.go": "package lib\n\nfunc F() {}\n"},
    )
    packages = listed(tmp_path / "app")
    assert packages[-1].import_path == "example.com/m"
    library, main = by_path(packages)["example.com/lib"], packages[-1]
    assert library.module is not None
    assert main.module is not None
    assert (library.module.main, library.module.version) == (False, "v1.2.3")
    assert library.module.replace_dir == library.module.dir == str(tmp_path / "lib")
    assert (main.module.main, main.module.gomod) == (True, str(tmp_path / "app" / "go.mod"))
    assert main.module.replace_dir == ""
    runtime = by_path(packages)["runtime"]
    assert runtime.standard
    assert runtime.module is None


def test_a_broken_package_is_listed_with_gos_words(tmp_path: Path) -> None:
    source = 'package main\n\nimport _ "example.com/m/gone"\n\nfunc main() {}\n'
    write_files(tmp_path, {"main.go": source})
    packages = by_path(listed(tmp_path))
    (text,) = packages["example.com/m/gone"].errors
    assert text.startswith("main.go:3:8: ")
    assert packages["example.com/m"].incomplete
    assert packages["example.com/m"].errors == ()


def test_a_failure_of_no_package_is_raised(tmp_path: Path) -> None:
    write_files(tmp_path, {"go.mod": "module m\n\ngo 1.98\n", "main.go": MAIN})
    with pytest.raises(MachineError) as caught:
        listed(tmp_path)
    assert "go.mod requires go >= 1.98" in caught.value.why
    (tmp_path / "go.mod").write_text("modul m\n")
    with pytest.raises(WherryError, match=r"go\.mod cannot be read"):
        listed(tmp_path)


def test_names_that_are_no_ascii_come_through(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "main.go": 'package main\n\nimport "embed"\n\n//go:embed *.txt\nvar f embed.FS\n'
            "func main() { _ = f }\n",
            "grüße an alle.txt": "",
        },
    )
    assert by_path(listed(tmp_path))["example.com/m"].embed_files == ("grüße an alle.txt",)


CGO = 'package {0}\n\n// int one() {{ return 1; }}\nimport "C"\n\nfunc One() int {{ return 1 }}\n'


def test_cgo_files_left_out_are_told_from_files_of_other_constraints(tmp_path: Path) -> None:
    imports = "".join(f'import _ "example.com/m/{name}"\n' for name in ("a", "b", "c", "d", "e"))
    other = "arm64" if host_platform().architecture != "arm64" else "amd64"
    write_files(
        tmp_path,
        {
            "main.go": f"package main\n\n{imports}import _ \"net\"\n\nfunc main() {{}}\n",
            # Loses its C part, and has a plain one beside it.
            "a/plain.go": "package a\n",
            "a/native.go": CGO.format("a"),
            # Loses all.
            "b/native.go": CGO.format("b"),
            # Never for this build: another system, another architecture, a tag, no build at all.
            "c/c.go": "package c\n",
            "c/c_windows.go": CGO.format("c"),
            f"c/c_{other}.go": CGO.format("c"),
            "c/tagged.go": "//go:build special\n\n" + CGO.format("c"),
            "c/gen.go": "//go:build ignore\n\n" + CGO.format("main"),
            # "C" is a string here.
            "d/d.go": "package d\n",
            "d/d_tag.go": '//go:build special\n\npackage d\n\nvar X = "C"\n',
            # In a block of imports.
            "e/e.go": "package e\n",
            "e/native.go": 'package e\n\n// #include <errno.h>\nimport (\n\t"C"\n)\n',
        },
    )  # fmt: skip
    env = go_env(tmp_path)
    packages = listed(tmp_path)
    names = cgo_left_out(packages, the_go(), str(tmp_path), (), env, CancelToken())
    assert set(names) == {"example.com/m/a", "example.com/m/b", "example.com/m/e"}
    flags = ("-tags=special",)
    packages = listed(tmp_path, flags=flags)
    names = cgo_left_out(packages, the_go(), str(tmp_path), flags, env, CancelToken())
    assert "example.com/m/c" in names
