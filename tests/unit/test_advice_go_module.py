# SPDX-License-Identifier: Apache-2.0
"""The Go module in a build context: files, packages, and what its programs need at run time."""

import os
from pathlib import Path

import pytest

from golang_support import needs_go
from wherry.advice.reading import go_module
from wherry.advice.reading.go_module import GoModule, Needs
from wherry.advice.reading.go_needs import needs_of
from wherry.advice.reading.go_source import GoFile, go_files, holds, read_go_file

MOD = "module example.com/m\n\ngo 1.21\n"
MAIN = "package main\n\nfunc main() {}\n"


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def module(root: Path, files: dict[str, str], **env: str) -> GoModule:
    write(root, {"go.mod": MOD, **files})
    found = GoModule.found(str(root), {**os.environ, "GOFLAGS": "", **env})
    assert found is not None
    return found


def source(root: Path, text: str, name: str = "a.go") -> GoFile:
    write(root, {name: text})
    found = read_go_file(str(root / name))
    assert found is not None
    return found


# Where a module is


def test_the_module_at_the_top_counts(tmp_path: Path) -> None:
    found = module(tmp_path, {"sub/go.mod": "module other\n"})
    assert (found.root, found.directory, found.path) == (".", str(tmp_path), "example.com/m")
    assert (found.go, found.toolchain, found.wanted) == ("1.21", "", "1.21")
    assert found.inside("go.sum") == "go.sum"


def test_else_the_only_one_right_below(tmp_path: Path) -> None:
    write(tmp_path, {"api/go.mod": "module api\n\ngo 1.21\n\ntoolchain go1.22.1\n", "web/x": ""})
    found = GoModule.found(str(tmp_path), {})
    assert found is not None
    assert (found.root, found.path, found.wanted) == ("api", "api", "1.22.1")
    assert found.inside("go.sum") == "api/go.sum"
    write(tmp_path, {"web/go.mod": "module web\n"})
    assert GoModule.found(str(tmp_path), {}) is None


def test_no_module(tmp_path: Path) -> None:
    assert GoModule.found(str(tmp_path), {}) is None
    assert GoModule.found(str(tmp_path / "missing"), {}) is None


def test_requirements_and_neighbours(tmp_path: Path) -> None:
    text = f"{MOD}\nrequire example.com/d v1.0.0\n\nreplace example.com/d => ./d\n"
    found = module(tmp_path, {"go.mod": text, "go.sum": "", "vendor/modules.txt": ""})
    assert found.modules == (("example.com/d", "v1.0.0"),)
    assert found.local_directories == ("d",)
    assert found.has_sum
    assert found.vendored
    assert found.work == ""


def test_a_workspace(tmp_path: Path) -> None:
    files = {
        "go.work": "go 1.22\n\nuse (\n\t./api\n\t./lib\n)\n",
        "api/go.mod": "module api\n",
        "api/main.go": MAIN,
        "lib/go.mod": "module lib\n",
        "lib/lib.go": "package lib\n",
    }
    write(tmp_path, files)
    found = GoModule.found(str(tmp_path), {})
    assert found is not None
    assert (found.path, found.go, found.work) == ("", "1.22", "go.work")
    assert found.local_directories == ("api", "lib")
    assert found.mains() == ("api",)


# Programs, by their package clauses


def test_programs_are_found_without_go(tmp_path: Path) -> None:
    found = module(
        tmp_path,
        {
            "main.go": f"// package foo\n/* package bar */ {MAIN}",
            "cmd/api/main.go": f"//go:build linux\n\n{MAIN}",
            "cmd/api/x_test.go": "package main_test\n",
            "cmd/win/main_windows.go": MAIN,
            "cmd/gen/gen.go": f"//go:build ignore\n\n{MAIN}",
            "lib/lib.go": 'package lib\n\nvar s = "package main"\n',
            "testdata/main.go": MAIN,
            "vendor/d/main.go": MAIN,
            "_old/main.go": MAIN,
            "nested/go.mod": "module nested\n",
            "nested/main.go": MAIN,
            "only/main_test.go": "package main\n",
        },
    )
    assert found.mains() == (".", "cmd/api")


# What only Go knows


@needs_go
def test_the_closure(tmp_path: Path) -> None:
    found = module(
        tmp_path,
        {
            "main.go": 'package main\n\nimport _ "net"\n\nfunc main() {}\n',
            "lib/b.go": "package lib\n",
        },
    )
    assert found.problem(".") == ""
    assert {"net", "example.com/m"} <= found.imports(".")
    assert "example.com/m/lib" not in found.imports(".")
    assert found.uses_cgo(".", on=False) == ()
    assert "net" in found.uses_cgo(".", on=True)
    assert "net" not in found.uses_cgo(".", on=True, tags="netgo")
    assert "runtime/cgo" not in found.uses_cgo(".", on=True)


@needs_go
def test_cgo_of_the_module_s_own(tmp_path: Path) -> None:
    found = module(tmp_path, {"main.go": MAIN, "c.go": 'package main\n\nimport "C"\n'})
    assert found.uses_cgo(".", on=False) == ("example.com/m",)


@needs_go
@pytest.mark.parametrize(
    "files",
    [
        {"main.go": 'package main\n\nimport _ "example.com/missing"\n\nfunc main() {}\n'},
        {"main.go": "package main\n\nfunc main() {\n", "b.go": "package other\n"},
        {"go.mod": "no module\n", "main.go": MAIN},
        {"go.mod": "module m\n\ngo 1.999\n", "main.go": MAIN},
    ],
)
def test_a_module_that_does_not_list(tmp_path: Path, files: dict[str, str]) -> None:
    found = module(tmp_path, files)
    assert found.problem(".")
    assert "\n" not in found.problem(".")
    assert found.unanswered == found.problem(".")
    assert found.needs(".") == Needs()


@needs_go
def test_one_sound_program_is_enough(tmp_path: Path) -> None:
    broken = 'package main\n\nimport _ "example.com/missing"\n\nfunc main() {}\n'
    found = module(tmp_path, {"main.go": broken, "cmd/api/main.go": MAIN})
    assert not found.problem("./cmd/api")
    assert found.unanswered == ""
    assert found.problem(".")


def test_no_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wherry.golang.toolchain._interpreter_sites", list)
    found = module(tmp_path, {"main.go": MAIN}, PATH="/nowhere")
    assert found.problem(".") == "no Go toolchain found"
    assert found.imports(".") == frozenset()
    assert found.mains() == (".",)


@needs_go
def test_needs_of_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = (
        'package main\n\nimport (\n\t"net/http"\n\t"os"\n\t"os/user"\n\t"time"\n)\n\n'
        'func main() {\n\thttp.Get("https://example.com")\n\ttime.LoadLocation("Europe/Paris")\n'
        '\tos.CreateTemp("", "x")\n\tuser.Current()\n}\n'
    )
    server = (
        'package main\n\nimport "net/http"\n\nfunc main() { http.ListenAndServe(":80", nil) }\n'
    )
    found = module(tmp_path, {"main.go": client, "server/main.go": server})
    expected = Needs("http.Get", "time.LoadLocation", "os.CreateTemp", "user.Current")
    assert found.needs(".") == expected
    assert found.needs(".", tags="timetzdata").zones == ""
    assert found.needs("./server") == Needs()
    monkeypatch.setattr(go_module, "_MOST_PARTS", 0)
    assert found.needs(".") == Needs()


TLS = frozenset(("crypto/tls", "net/http"))


@pytest.mark.parametrize(
    ("imports", "body", "words"),
    [
        ('"net/http"', "http.Get(url)", "http.Get"),
        ('web "net/http"', "c := web.Client{}", "http.Client"),
        ('. "net/http"', "Post(url)", "http.Post"),
        ('"net/http"', 'http.Get("http://a"); s := "https://b"', "http.Get"),
        ('"crypto/tls"', 'tls.Dial("tcp", a, nil)', "tls.Dial"),
        ('"golang.org/x/oauth2"', "", "golang.org/x/oauth2"),
        ('"google.golang.org/grpc/credentials"', 'credentials.NewClientTLSFromCert(nil, "")',
         "credentials.NewClientTLSFromCert"),
        ('"net/http"', 'http.Get("https://b/" + url)', "http.Get"),
        ('"github.com/mymmrac/telego"', "", "github.com/mymmrac/telego"),
        ('"crypto/tls"', 'tls.DialWithDialer(d, "tcp", a, &tls.Config{})', "tls.Dial"),
        # With a configuration of somebody's: an option.
        ('"crypto/tls"', 'tls.DialWithDialer(d, "tcp", a, c.tls)', ""),
        # Where it is told where to go, and all that the code names is in plain text.
        ('"net/http"', 'http.Get(url); s := "http://a and more at https://b"', ""),
        # A server, a health check in plain text, somebody's own certificates, comments, strings.
        ('"net/http"', "http.ListenAndServe(a, nil)", ""),
        ('"net/http"', 'http.Get("http://localhost:8080/health")', ""),
        ('"net/http"; "crypto/x509"', "x509.NewCertPool(); http.Get(url)", ""),
        ('"net/http"', "// http.Get(url)", ""),
        ('"net/http"', 's := "http.Get(url)"', ""),
        ('"net/http"', "x.http.Get(url)", ""),
        ('"example.com/http"', "http.Get(url)", ""),
    ],
)  # fmt: skip
def test_certificates(tmp_path: Path, imports: str, body: str, words: str) -> None:
    file = source(tmp_path, f"package main\n\nimport ({imports})\n\nfunc f() {{\n{body}\n}}\n")
    assert needs_of((file,), TLS).certificates == words
    assert needs_of((file,), frozenset()).certificates == ""
    assert needs_of((file,), TLS | {"github.com/breml/rootcerts"}).certificates == ""


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("time.LoadLocation(name)", "time.LoadLocation"),
        ('time.LoadLocation("UTC"); time.LoadLocation("Asia/Tokyo")', "time.LoadLocation"),
        ('time.LoadLocation("UTC")', ""),
        ('time.LoadLocation("Local")', ""),
        ("time.LoadLocationFromTZData(n, d)", ""),
    ],
)
def test_zones(tmp_path: Path, body: str, words: str) -> None:
    file = source(tmp_path, f'package main\n\nimport "time"\n\nfunc f() {{ {body} }}\n')
    assert needs_of((file,), frozenset()).zones == words
    assert needs_of((file,), frozenset(("time/tzdata",))).zones == ""


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('os.CreateTemp("", "x")', "os.CreateTemp"),
        ("os.MkdirTemp(os.TempDir(), p)", "os.TempDir"),
        ('ioutil.TempFile("", p)', "ioutil.TempFile"),
        ('os.CreateTemp("/data", "x")', ""),
        ("os.CreateTemp(dir, p)", ""),
        ("os.Create(p)", ""),
    ],
)
def test_temporary_files(tmp_path: Path, body: str, words: str) -> None:
    text = f'package main\n\nimport (\n"os"\n"io/ioutil"\n)\n\nfunc f() {{ {body} }}\n'
    assert needs_of((source(tmp_path, text),), frozenset()).temporary == words


# Sources


def test_comments_and_strings_are_told_apart(tmp_path: Path) -> None:
    text = (
        "// Copyright\n\n//go:build linux && !special\n\n/* package x */\npackage a // b\n\n"
        'import "fmt"\nimport (\n\tx "y/z" // import "no"\n\t_ `raw`\n)\n\n'
        "var s = `func no() {}\nfunc neither() {}` + "
        '"\\" // no" + string(\'"\')\n\nfunc Yes() {}\n'
    )
    file = source(tmp_path, text)
    assert (file.package, file.constraint) == ("a", "linux && !special")
    assert file.imports == (("", "fmt"), ("x", "y/z"), ("_", "raw"))
    assert file.functions() == {"Yes"}
    assert len(file.code) == len(text)


def test_names_of_a_file(tmp_path: Path) -> None:
    text = (
        "package a\n\ntype T struct {\n\tf int\n}\n\ntype (\n\tU int\n\tV[K any] []K\n)\n\n"
        "func (t *T) m() {}\n\nfunc (V[K]) n() {}\n\nfunc G[K any]() {}\n\nfunc init() {}\n"
    )
    file = source(tmp_path, text)
    assert file.types() >= {"T", "U"}
    assert file.methods() == (("T", "m"), ("V", "n"))
    assert file.functions() == {"G"}
    assert not file.has_main


@pytest.mark.parametrize(
    ("expression", "tags", "value"),
    [
        ("linux", "linux", True),
        ("!linux", "linux", False),
        ("linux && (amd64 || arm64)", "linux arm64", True),
        ("linux && !(amd64 || arm64)", "linux arm64", False),
        ("a || b && c", "a", True),
        ("(a || b) && c", "a", False),
        ("go1.18 && !x", "", True),
        ("a &&", "a", False),
        ("(a", "a", False),
        ("", "a", False),
    ],
)
def test_constraints(expression: str, tags: str, value: bool) -> None:
    assert holds(expression, frozenset(tags.split())) is value


@pytest.mark.parametrize(
    ("name", "head", "built"),
    [
        ("a.go", "", (True, True)),
        ("a_linux.go", "", (True, True)),
        ("linux.go", "", (True, True)),
        ("windows.go", "", (True, True)),
        ("a_windows.go", "", (False, False)),
        ("a_amd64.go", "", (False, True)),
        ("a_linux_arm64.go", "", (False, True)),
        ("a_unix.go", "", (True, True)),
        ("a.go", "//go:build cgo\n\n", (False, True)),
        ("a.go", "// +build linux,!x darwin\n\n", (True, True)),
        ("a.go", "// +build !linux\n\n", (False, False)),
        ("a.go", "//go:build special\n\n", (False, False)),
    ],
)
def test_which_files_are_built(
    tmp_path: Path, name: str, head: str, built: tuple[bool, bool]
) -> None:
    assert source(tmp_path, f"{head}package a\n", name).is_built() == built


def test_tags_bring_files_in(tmp_path: Path) -> None:
    file = source(tmp_path, "//go:build special\n\npackage a\n")
    assert file.is_built(frozenset(("special",))) == (True, True)


def test_files_that_are_none(tmp_path: Path) -> None:
    write(tmp_path, {"a.go": "", "b.go": "\0\1", "c.txt": "package c\n", "d_test.go": "package d\n",
                     "_e.go": "package e\n", "f.go": "package f\n"})  # fmt: skip
    (tmp_path / "g.go").mkdir()
    assert [file.name for file in go_files(str(tmp_path))] == ["f.go"]
    assert go_files(str(tmp_path / "missing")) == ()
