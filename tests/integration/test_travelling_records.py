# SPDX-License-Identifier: Apache-2.0
"""A build record that travelled holds on a fresh machine, and on no machine where anything counts.

Fresh: another directory, HOME, place of Go, and no module in the cache.
"""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from git_commands import git
from travelling_machines import (
    Machine,
    copy_goroot,
    goroot_of,
    make_machine,
    make_proxy,
    make_repository,
)
from wherry.api.recorded import BaseName
from wherry.api.travelling_records import TravelledRecord
from wherry.golang.toolchain import GoCommand
from wherry.process.clock import RACY_NS

Fresh = Callable[..., Machine]


class Origin:
    """The machine that built, what it built from, and the record."""

    def __init__(self, place: Path, go_cache: str) -> None:
        self.place = place
        proxy = make_proxy(place / "proxy")
        self.goroot = goroot_of(os.environ["PATH"])
        self.base = {
            "GOPROXY": f"file://{proxy}",
            "GOSUMDB": "off",
            "GOFLAGS": "-modcacherw",
            "GOCACHE": go_cache,
            "LC_ALL": "C.UTF-8",
        }
        self.machine = make_machine(place / "first", None, self.base, self.goroot)
        self.repository = make_repository(place / "committed", self.machine.env)
        shutil.copytree(self.repository, self.machine.repository, symlinks=True)
        self.data = self.machine.built()
        self.other_goroot = copy_goroot(self.goroot, place / "opt" / "go-elsewhere")


@pytest.fixture(scope="module")
def origin(
    tmp_path_factory: pytest.TempPathFactory, go: GoCommand, go_caches: dict[str, str]
) -> Origin:
    assert not go.env, "these tests want a Go of its own on PATH"
    return Origin(tmp_path_factory.mktemp("travelling"), go_caches["GOCACHE"])


@pytest.fixture
def fresh(origin: Origin, tmp_path: Path) -> Fresh:
    def make(name: str = "other", goroot: Path | None = None) -> Machine:
        place = tmp_path / name / "deep"
        return make_machine(place, origin.repository, origin.base, goroot or origin.other_goroot)

    return make


def test_it_holds_on_a_fresh_machine(origin: Origin, fresh: Fresh) -> None:
    found = fresh().asked(origin.data)
    assert isinstance(found, TravelledRecord), found
    assert found.outputs[0].name == "api"
    assert found.bases == {}
    (image,) = found.images
    assert str(image.digest) == found.outputs[0].manifest


def test_no_place_and_no_value_of_the_machine_is_in_it(origin: Origin, go: GoCommand) -> None:
    text = origin.data.decode()
    env = origin.machine.env
    values = [value for name, value in env.items() if len(value) > 4 and name not in ("HOME",)]
    for word in (str(origin.place), "user-xyzzy", "/tmp/", os.uname().nodename, *values):
        assert word not in text, word
    assert os.path.dirname(go.real_path) not in text
    everything = json.loads(text)
    assert not [name for name in everything[4][8] if name.startswith("/")]


def edit(name: str, text: str = "// more\n") -> Callable[[Machine], object]:
    """Append to a file of the repository, or make it."""

    def change(machine: Machine) -> None:
        path = machine.repository / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((path.read_text() if path.exists() else "") + text)

    return change


def remove(name: str) -> Callable[[Machine], object]:
    return lambda machine: (machine.repository / name).unlink()


def link(name: str, target: str) -> Callable[[Machine], object]:
    def change(machine: Machine) -> None:
        path = machine.repository / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.symlink_to(target)

    return change


def variable(name: str, value: str) -> Callable[[Machine], object]:
    return lambda machine: machine.env.update({name: value})


def go_env(text: str) -> Callable[[Machine], object]:
    """As `go env -w` writes it."""

    def change(machine: Machine) -> None:
        (Path(machine.env["HOME"]) / ".config" / "go" / "env").write_text(text)

    return change


def above(name: str, text: str) -> Callable[[Machine], object]:
    """A file in a directory above the repository."""
    return lambda machine: (machine.place / name).write_text(text)


def own_go(name: str, data: bytes) -> Callable[[Machine], object]:
    """Another Go: one file of it has `data` at its end."""

    def change(machine: Machine) -> None:
        before = Path(machine.env["PATH"].split(":")[0]).parent
        root = copy_goroot(before, machine.place / "changed-go")
        path = root / name
        path.chmod(0o755)
        with path.open("ab") as file:
            file.write(data)
        machine.env["PATH"] = f"{root}/bin:/usr/bin:/bin"

    return change


def version_on_path(machine: Machine) -> None:
    version = (Path(machine.env["PATH"].split(":")[0]).parent / "VERSION").read_text().split()[0]
    program = machine.place / "bin" / version
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    machine.env["PATH"] += f":{program.parent}"


def wrapped_go(machine: Machine) -> None:
    root = Path(machine.env["PATH"].split(":")[0])
    program = machine.place / "wrapped" / "bin" / "go"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {root}/go "$@"\n')
    program.chmod(0o755)
    shutil.copy(root.parent / "VERSION", program.parent.parent / "VERSION")
    machine.env["PATH"] = f"{program.parent}:{machine.env['PATH']}"


def workspace_between(machine: Machine) -> None:
    (machine.repository.parent / "go.work").write_text("go 1.21\n\nuse ./repository/lib\n")


def fetched(machine: Machine) -> Path:
    """The module cache, filled as Go does it; the module's directory."""
    real = machine.env["PATH"]
    machine.env["PATH"] = os.environ["PATH"]
    ran = machine.go("mod", "download", "example.com/Cached")
    assert ran.returncode == 0, ran.stderr
    machine.env["PATH"] = real
    return machine.module_cache / "example.com" / "!cached@v1.2.0"


def edited_module(machine: Machine) -> None:
    (fetched(machine) / "word" / "word.go").write_text('package word\n\nvar Word = "other"\n')


def edited_embedded_file(machine: Machine) -> None:
    (fetched(machine) / "word" / "data" / "w.txt").write_text("other")


def file_in_module(machine: Machine) -> None:
    (fetched(machine) / "word" / "init.go").write_text("package word\n\nfunc init() {}\n")


def file_gone_from_module(machine: Machine) -> None:
    (fetched(machine) / "word" / "word.go").unlink()


def module_in_module(machine: Machine) -> None:
    """Between a package and the root of its module."""
    (fetched(machine) / "word" / "go.mod").write_text("module example.com/other\n")


def lost_root(machine: Machine) -> None:
    file = fetched(machine) / "go.mod"
    file.unlink()
    file.symlink_to("go.mod")


OTHERWISE: dict[str, Callable[[Machine], object]] = {
    "main.go": edit("svc/cmd/api/main.go"),
    "a file that tags leave out": edit("svc/cmd/api/special.go"),
    "a new Go file": edit("svc/cmd/api/more.go", "package main\n"),
    "a new test": edit("svc/cmd/api/main_test.go", "package main\n"),
    "a Go file goes": remove("svc/cmd/api/plain.go"),
    "an embedded file": edit("svc/cmd/api/text/a.txt"),
    "a new embedded file": edit("svc/cmd/api/text/b.txt"),
    "an embedded directory": edit("svc/cmd/api/text/deep/b.txt"),
    "an embedded file is a link": link("svc/cmd/api/text/a.txt", "../main.go"),
    "the embedded directory is a link": link("svc/cmd/api/text", "../../web"),
    "a module in the embedded directory": edit("svc/cmd/api/text/go.mod", "module x\n"),
    "go.mod": edit("svc/go.mod"),
    "go.sum": edit("svc/go.sum", "\n"),
    "go.sum goes": remove("svc/go.sum"),
    "a nested module": edit("svc/cmd/go.mod", "module example.com/nested\n"),
    "vendor": edit("svc/vendor/modules.txt", "# nothing\n"),
    "the replaced module": edit("lib/lib.go"),
    "a new file of the replaced module": edit("lib/more.go", "package lib\n"),
    "the replaced module's go.mod": edit("lib/go.mod"),
    "the replaced module goes": lambda machine: shutil.rmtree(machine.repository / "lib"),
    "a rival of the replaced module": link("lib", "svc/internal/none"),
    "a workspace in the module": edit("svc/go.work", "go 1.21\n\nuse .\n"),
    "a workspace in the repository": edit("go.work", "go 1.21\n\nuse ./svc\n"),
    "a workspace around the repository": workspace_between,
    "a workspace far above": above("go.work", "go 1.21\n"),
    "a workspace's directory": lambda machine: (machine.place / "go.work").mkdir(),
    "default.pgo": edit("svc/cmd/api/default.pgo", "no profile"),
    "kodata": edit("svc/cmd/api/kodata/page.html"),
    "a new file of kodata": edit("svc/cmd/api/kodata/new.html"),
    "kodata is executable": lambda machine: (
        machine.repository / "svc/cmd/api/kodata/page.html"
    ).chmod(0o755),
    "kodata is a link": link("svc/cmd/api/kodata/page.html", "../text/a.txt"),
    "settings": edit("svc/wherry.toml", "[build]\n"),
    "a lock file": edit("svc/wherry.lock", "version = 1\n"),
    "ko's file": edit("svc/.ko.yaml", "builds: []\n"),
    "a Dockerfile": edit("svc/cmd/api/Dockerfile", "FROM scratch\n"),
    "main.go leads out": link("svc/cmd/api/main.go", "/etc/passwd"),
    "a file is a directory": link("svc/cmd/api/main.go", "."),
    "a file leads to itself": link("svc/cmd/api/main.go", "main.go"),
    "the program's directory leads out": link("svc/cmd/api", "/usr"),
    "no repository": lambda machine: shutil.rmtree(machine.repository / ".git"),
    "GOFLAGS": variable("GOFLAGS", "-tags=special"),
    "GOFLAGS without trimpath": variable("GOFLAGS", "-trimpath=false"),
    "GOFLAGS that nobody can read": variable("GOFLAGS", "'-tags"),
    "GOAMD64": variable("GOAMD64", "v3"),
    "GODEBUG": variable("GODEBUG", "panicnil=1"),
    "GOEXPERIMENT": variable("GOEXPERIMENT", "nogreenteagc"),
    "GOTOOLCHAIN": variable("GOTOOLCHAIN", "go1.21.0"),
    "GOWORK": variable("GOWORK", "off"),
    "GOWORK=FILE": variable("GOWORK", "/proc/nonexistent"),
    "GO111MODULE": variable("GO111MODULE", "off"),
    "GOROOT": variable("GOROOT", "/proc/nonexistent"),
    "SOURCE_DATE_EPOCH": variable("SOURCE_DATE_EPOCH", "86400"),
    "KO_DEFAULTPLATFORMS": variable("KO_DEFAULTPLATFORMS", "linux/arm64"),
    "go env -w GOAMD64": go_env("GOAMD64=v3\n"),
    "go env -w GOFLAGS": go_env("GOFLAGS=-tags=special\n"),
    "go env -w GOTOOLCHAIN": go_env("GOTOOLCHAIN=go1.21.0\n"),
    "go env -w GOROOT": go_env("GOROOT=/proc/nonexistent\n"),
    "no HOME": lambda machine: machine.env.pop("HOME"),
    "another VERSION": own_go("VERSION", b"patched"),
    "another go.env": own_go("go.env", b"GOAMD64=v3\n"),
    "another go": own_go("bin/go", b"\0"),
    "another compiler": own_go("pkg/tool/linux_amd64/compile", b"\0"),
    "a script that starts go": wrapped_go,
    "a toolchain on PATH": version_on_path,
    "no go": variable("PATH", "/proc/nonexistent"),
    "an edited module": edited_module,
    "an edited file that a module embeds": edited_embedded_file,
    "a new file in a module": file_in_module,
    "a file is gone from a module": file_gone_from_module,
    "a module in a module": module_in_module,
    "a module's go.mod cannot be read": lost_root,
}
ALIKE: dict[str, Callable[[Machine], object]] = {
    "a text": edit("svc/README.md"),
    "a package that nothing imports": edit("svc/internal/none/none.go"),
    "another program": edit("svc/cmd/two/main.go"),
    "a file beside the modules": edit("NOTES", "x"),
    "a module in the cache": fetched,
    "GOPROXY": variable("GOPROXY", "https://proxy.example.com,direct"),
    "GOPRIVATE": variable("GOPRIVATE", "example.com"),
    "GOSUMDB": variable("GOSUMDB", "sum.golang.org"),
    "GOCACHE": variable("GOCACHE", "/proc/nonexistent"),
    "GOMODCACHE": variable("GOMODCACHE", "/proc/nonexistent"),
    "GOPATH": variable("GOPATH", "/proc/nonexistent/a:/proc/nonexistent/b"),
    "TMPDIR": variable("TMPDIR", "/proc/nonexistent"),
    "CGO_ENABLED": variable("CGO_ENABLED", "0"),
    "CC": variable("CC", "clang"),
    "GOENV": variable("GOENV", "off"),
    "XDG_CONFIG_HOME": variable("XDG_CONFIG_HOME", "/proc/nonexistent"),
    "an unrelated variable": variable("CI", "true"),
    "go env -w GOPROXY": go_env("GOPROXY=https://proxy.example.com\n# GOAMD64=v3\n"),
    "a commit": lambda machine: git(
        machine.repository, "commit", "--quiet", "--allow-empty", "--message=second"
    ),
    "a file is touched": lambda machine: os.utime(machine.module / "cmd/api/main.go"),
    "no right for others": lambda machine: (machine.module / "cmd/api/main.go").chmod(0o600),
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_it_does_not_hold_where_anything_is_otherwise(
    origin: Origin, fresh: Fresh, name: str
) -> None:
    machine = fresh()
    OTHERWISE[name](machine)
    assert isinstance(machine.asked(origin.data), str), name


@pytest.mark.parametrize("name", ALIKE)
def test_it_holds_where_nothing_counts(origin: Origin, fresh: Fresh, name: str) -> None:
    machine = fresh()
    ALIKE[name](machine)
    assert isinstance(machine.asked(origin.data), TravelledRecord), machine.asked(origin.data)


@pytest.mark.parametrize(
    "asked",
    [
        {"source": "./cmd/two"},
        {"source": "./..."},
        {"platform": "linux/arm64"},
        {"base": "scratch"},
        {"stamp": "labels"},
        {"labels": (("a", "b"),)},
        {"annotations": (("a", "b"),)},
        {"locked": True},
        {"target": "api"},
        {"more_sources": ("./cmd/two",)},
        {"frontend": "gomodule"},
    ],
    ids=str,
)
def test_it_answers_no_other_request(
    origin: Origin, fresh: Fresh, asked: dict[str, object]
) -> None:
    found = fresh().asked(origin.data, **asked)
    assert found == "the record is of another request"


@pytest.fixture
def second(origin: Origin, tmp_path: Path) -> Callable[..., Machine]:
    """A machine that can build, `settings` in the repository's module."""

    def make(settings: str = "") -> Machine:
        place = tmp_path / "second"
        machine = make_machine(place, origin.repository, origin.base, origin.goroot)
        if settings:
            machine.write("svc/wherry.toml", settings)
            git(machine.repository, "add", ".")
            git(machine.repository, "commit", "--quiet", "--message=settings")
        return machine

    return make


def cloned(machine: Machine, other: Machine) -> Machine:
    """`other` with a fresh clone of the machine's repository."""
    shutil.rmtree(other.repository)
    git(other.place, "clone", "--quiet", str(machine.repository), str(other.repository))
    return other


@pytest.mark.parametrize(
    ("source", "cwd"), [(".", "svc/cmd/api"), ("{}/svc/cmd/api", "lib"), ("./...", "svc/cmd")]
)
def test_a_source_may_be_named_from_anywhere(
    second: Callable[..., Machine], fresh: Fresh, source: str, cwd: str
) -> None:
    def asked(machine: Machine) -> dict[str, object]:
        cwd_there = str(machine.repository / cwd)
        return {"source": source.format(machine.repository), "cwd": cwd_there}

    machine, other = second(), fresh()
    data = machine.built(**asked(machine))
    found = other.asked(data, **asked(other))
    assert isinstance(found, TravelledRecord), found
    assert isinstance(other.asked(data), str)


def test_a_pattern_sees_programs_come(second: Callable[..., Machine], fresh: Fresh) -> None:
    machine = second()
    # Of files that a pattern passes by, times prove nothing until they are older.
    time.sleep(RACY_NS / 1e9 + 0.1)
    data = machine.built(source="./...")
    found = fresh().asked(data, source="./...")
    assert isinstance(found, TravelledRecord), found
    assert [output.name for output in found.outputs] == ["api", "two"]
    for number, (name, text) in enumerate(
        (
            ("svc/cmd/two/main.go", "// more\n"),
            ("svc/internal/none/none.go", "// may be package main\n"),
            ("svc/cmd/three/main.go", "package main\n\nfunc main() {}\n"),
        )
    ):
        machine = fresh(f"changed{number}")
        edit(name, text)(machine)
        assert isinstance(machine.asked(data, source="./..."), str), name


def test_a_stamp_is_asked_of_git_again(second: Callable[..., Machine], fresh: Fresh) -> None:
    machine = second()
    for stamp in ("labels", "full"):
        data = machine.built(stamp=stamp)
        other = cloned(machine, fresh(stamp))
        found = other.asked(data, stamp=stamp)
        assert isinstance(found, TravelledRecord), found
        git(other.repository, "commit", "--quiet", "--allow-empty", "--message=second")
        assert other.asked(data, stamp=stamp) == "version control says otherwise"


TEMPLATES = """[build]
ldflags = ["-X main.word={{.Env.WHO}} -X main.commit={{.Commit}}"]
files = [{ from = "web/**", to = "/srv/" }]
"""


def test_what_templates_look_at_is_compared_and_not_told(
    second: Callable[..., Machine], fresh: Fresh
) -> None:
    machine = second(TEMPLATES)
    machine.env["WHO"] = "hunter2-of-the-user"
    data = machine.built()
    assert b"hunter2" not in data
    other = cloned(machine, fresh())
    other.env["WHO"] = machine.env["WHO"]
    assert isinstance(other.asked(data), TravelledRecord), other.asked(data)
    other.env["WHO"] = "hunter3"
    assert other.asked(data) == "what the templates look at is another"
    other.env["WHO"] = machine.env["WHO"]
    (other.module / "web" / "run.sh").chmod(0o755)
    assert other.asked(data) == "changed: web/run.sh"


def outside_the_repository(machine: Machine) -> None:
    shutil.move(machine.repository / "lib", machine.place / "src" / "lib")
    path = machine.module / "go.mod"
    path.write_text(path.read_text().replace("../lib", "../../lib"))


def absolute_replacement(machine: Machine) -> None:
    path = machine.module / "go.mod"
    path.write_text(path.read_text().replace("../lib", str(machine.repository / "lib")))


def overlay(machine: Machine) -> None:
    machine.write("svc/x.txt", "package main\n")
    machine.write("svc/o.json", json.dumps({"Replace": {"cmd/api/x.go": "x.txt"}}))
    machine.env["GOFLAGS"] = "-modcacherw -overlay=o.json"


def sources_behind_a_link(machine: Machine) -> None:
    shutil.move(machine.repository / "lib", machine.place / "lib")
    (machine.repository / "lib").symlink_to(machine.place / "lib")


def other_module_file(machine: Machine) -> None:
    shutil.copy(machine.module / "go.mod", machine.place / "other.mod")
    shutil.copy(machine.module / "go.sum", machine.place / "other.sum")
    machine.env["GOFLAGS"] = f"-modcacherw -modfile={machine.place}/other.mod"


def module_file_of_the_repository(machine: Machine) -> None:
    """By an absolute path: another checkout's Go would look here, too."""
    shutil.copy(machine.module / "go.mod", machine.module / "other.mod")
    shutil.copy(machine.module / "go.sum", machine.module / "other.sum")
    machine.env["GOFLAGS"] = f"-modcacherw -modfile={machine.module}/other.mod"


STAYS: dict[str, tuple[Callable[[Machine], object], str]] = {
    "a module beside the repository": (outside_the_repository, "neither in the module's"),
    "an absolute replacement": (absolute_replacement, "an absolute path"),
    "an overlay": (overlay, "-overlay"),
    "sources elsewhere": (sources_behind_a_link, "neither in the module's"),
    "a module file elsewhere": (other_module_file, "absolute path"),
    "a module file by its path": (module_file_of_the_repository, "absolute path"),
    "paths in the program": (variable("GOFLAGS", "-modcacherw -trimpath=false"), "trimpath"),
    "a linker's choice": (variable("GOFLAGS", "-modcacherw -buildmode=exe"), "-buildmode"),
    "an edited module": (edited_module, "edited"),
    "a file in a module": (file_in_module, "edited"),
    "cgo": (edit("svc/wherry.toml", "[build]\ncgo = true\n"), "cgo"),
    "a flag with a path": (
        edit("svc/wherry.toml", '[build]\ngcflags = ["-trimpath=/x"]\n'),
        "flags",
    ),
}


@pytest.mark.parametrize("name", STAYS)
def test_what_is_unclear_does_not_travel(second: Callable[..., Machine], name: str) -> None:
    machine = second()
    change, words = STAYS[name]
    change(machine)
    found = machine.exported(machine.record())
    assert isinstance(found, str)
    assert words in found


def test_a_program_for_a_loader_does_not_travel(second: Callable[..., Machine]) -> None:
    machine = second()
    record = machine.record()
    (output,) = record.outputs
    dynamic = output._replace(binaries=(output.binaries[0]._replace(dynamic=True),))
    found = machine.exported(record._replace(outputs=(dynamic,)))
    assert isinstance(found, str)
    assert "dynamically linked" in found


def test_what_changed_since_the_build_does_not_travel(second: Callable[..., Machine]) -> None:
    machine = second()
    record = machine.record()
    assert isinstance(machine.exported(record), bytes)
    (machine.module_cache / "example.com/!cached@v1.2.0/word/word.go").write_text("package word\n")
    assert isinstance(machine.exported(record), str)


def test_a_module_without_its_zip_is_proven_by_its_directory(
    second: Callable[..., Machine],
) -> None:
    machine = second()
    record = machine.record()
    zips = machine.module_cache / "cache/download/example.com/!cached/@v"
    (zips / "v1.2.0.zip").unlink()
    assert isinstance(machine.exported(record), bytes)
    (machine.module_cache / "example.com/!cached@v1.2.0/other/other.go").write_text("package o\n")
    found = machine.exported(record)
    assert isinstance(found, str)
    assert "go.sum" in found


def test_a_workspace_of_the_repository_travels(
    second: Callable[..., Machine], fresh: Fresh
) -> None:
    workspace = "go 1.21\n\nuse ./svc\n\nuse ./lib\n"
    machine, other = second(), fresh()
    for one in (machine, other):
        one.write("go.work", workspace)
    data = machine.built()
    assert isinstance(other.asked(data), TravelledRecord), other.asked(data)
    other.write("go.work", f"{workspace}\n// more\n")
    assert other.asked(data) == "changed: ../go.work"
    other.write("go.work", workspace)
    other.write("svc/go.work", workspace)
    assert isinstance(other.asked(data), str)
    (other.module / "go.work").unlink()
    other.write("go.work.sum", "x\n")
    assert isinstance(other.asked(data), str)
    (other.repository / "go.work.sum").unlink()
    (other.repository / "go.work").unlink()
    assert isinstance(other.asked(data), str)


def test_a_checkout_may_lie_behind_a_link(origin: Origin, fresh: Fresh, tmp_path: Path) -> None:
    machine = fresh()
    (tmp_path / "link").symlink_to(machine.repository)
    found = machine.asked(origin.data, cwd=str(tmp_path / "link" / "svc"))
    assert isinstance(found, TravelledRecord), found


def test_images_of_the_settings_travel(second: Callable[..., Machine], fresh: Fresh) -> None:
    """Two images, of which the other one needs a C toolchain."""
    text = '[image.api]\npackages = ["./cmd/api"]\n\n[image.two]\npackages = ["./cmd/two"]\n'
    machine = second(text + "cgo = true\n")
    data = machine.built(source=".", target="api")
    other = cloned(machine, fresh())
    found = other.asked(data, source=".", target="api")
    assert isinstance(found, TravelledRecord), found
    assert isinstance(other.asked(data, source=".", target="two"), str)
    found = machine.exported(machine.record(source=".", target="two"), source=".", target="two")
    assert isinstance(found, str)
    assert "cgo" in found


def test_several_images_and_platforms_travel(second: Callable[..., Machine], fresh: Fresh) -> None:
    asked: dict[str, object] = {
        "source": "./cmd/api",
        "more_sources": ("./cmd/two",),
        "platform": "linux/amd64,linux/arm64",
    }
    data = second().built(**asked)
    found = fresh().asked(data, **asked)
    assert isinstance(found, TravelledRecord), found
    assert [output.name for output in found.outputs] == ["api", "two"]
    assert len(found.images) == 4


def test_layers_of_zstd_want_the_same_compressor(
    second: Callable[..., Machine], fresh: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = second('[build]\ncompression = "zstd"\n')
    data = machine.built()
    other = cloned(machine, fresh())
    assert isinstance(other.asked(data), TravelledRecord), other.asked(data)
    monkeypatch.setattr("wherry.fstree.zstd_writer.library", lambda: "zstd 0")
    assert other.asked(data) == "another compressor"


def test_other_data_of_the_base_is_another_image(
    origin: Origin, fresh: Fresh, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = fresh()
    bundle = tmp_path / "cacert.pem"
    bundle.write_text("no certificates\n")
    monkeypatch.setattr("wherry.api.base_data.bundle_path", lambda: str(bundle))
    assert other.asked(origin.data) == "the data of composed bases is another"


def test_another_umask_changes_nothing(origin: Origin, fresh: Fresh) -> None:
    machine = fresh()
    for path in sorted(machine.repository.rglob("*")):
        if not path.is_symlink() and ".git" not in path.parts:
            path.chmod(0o700 if path.is_dir() else 0o600)
    assert isinstance(machine.asked(origin.data), TravelledRecord), machine.asked(origin.data)


def test_a_file_that_assembly_includes_is_compared(
    second: Callable[..., Machine], fresh: Fresh
) -> None:
    text = (
        'package main\n\nimport "example.com/Cached/asm"\n\nfunc init() { println(asm.Five()) }\n'
    )
    machine = second()
    machine.write("svc/cmd/api/asm.go", text)
    record = machine.record()
    data = machine.exported(record)
    assert isinstance(data, bytes), data
    other = fresh()
    other.write("svc/cmd/api/asm.go", text)
    assert isinstance(other.asked(data), TravelledRecord), other.asked(data)
    header = fetched(other) / "include" / "five.h"
    assert isinstance(other.asked(data), TravelledRecord), other.asked(data)
    header.write_text("#define FIVE 6\n")
    assert isinstance(other.asked(data), str)
    header = machine.module_cache / header.relative_to(other.module_cache)
    header.write_text("#define FIVE 6\n")
    assert isinstance(machine.exported(record), str)


def test_a_file_that_ones_own_assembly_includes_is_not_known(
    second: Callable[..., Machine],
) -> None:
    machine = second()
    machine.write("svc/include/x.h", "#define X 1\n")
    machine.write("svc/cmd/api/a.go", "package main\n\nfunc x()\n")
    include = '#include "../../include/x.h"\n\n'
    machine.write("svc/cmd/api/a.s", f"{include}TEXT ·x(SB),4,$0\n\tRET\n")
    found = machine.exported(machine.record())
    assert isinstance(found, str)
    assert "includes files from elsewhere" in found


def test_what_names_of_bases_have_to_mean(second: Callable[..., Machine], fresh: Fresh) -> None:
    machine = second()
    record = machine.record()
    (output,) = record.outputs
    digest, other_digest = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"
    name = "registry.example.com/team/base:1"

    def exported(*bases: BaseName) -> bytes | str:
        with_bases = record._replace(outputs=(output._replace(bases=bases),))
        return machine.exported(with_bases, base=name)

    data = exported(BaseName(name, "", digest))
    assert isinstance(data, bytes), data
    found = fresh().asked(data, base=name)
    assert isinstance(found, TravelledRecord), found
    assert found.bases == {name: digest}
    assert isinstance(exported(BaseName(name, digest, digest)), bytes)
    for tagged, resolved in ((digest, ""), (digest, other_digest)):
        stays = exported(BaseName(name, tagged, resolved))
        assert isinstance(stays, str)
        assert "this machine's store" in stays


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_toolchain_that_go_fetched_travels(
    second: Callable[..., Machine], fresh: Fresh, go_caches: dict[str, str]
) -> None:
    cache = Path(go_caches["GOMODCACHE"], "golang.org")
    there = [path for path in cache.glob("toolchain@*-go1.27*") if (path / "VERSION").exists()]
    if not there:
        pytest.skip("no Go 1.27 in the module cache: go install would have to fetch it")
    version = there[0].name.split("-")[1].removesuffix(".linux")
    machine, other = second(), fresh()
    for one in (machine, other):
        (one.module / "go.mod").write_text(
            (one.module / "go.mod").read_text().replace("go 1.21", f"go {version[2:]}")
        )
        one.env.update(GOTOOLCHAIN="auto", GOSUMDB="sum.golang.org")
        # The proxy of these tests has no toolchains, and says so by a name of its own.
        one.env["GOPROXY"] = f"off,{one.env['GOPROXY']}"
    target = machine.module_cache / "golang.org" / there[0].name
    target.parent.mkdir(parents=True)
    target.symlink_to(there[0])
    downloads = machine.module_cache / "cache" / "download"
    downloads.mkdir(parents=True)
    for name in ("golang.org", "sumdb"):
        (downloads / name).symlink_to(Path(go_caches["GOMODCACHE"], "cache", "download", name))
    latest = Path(go_caches["GOMODCACHE"]).parent / "sumdb"
    shutil.copytree(latest, machine.module_cache.parent / "sumdb")
    shutil.copytree(fetched(fresh("filled")).parents[1], machine.module_cache, dirs_exist_ok=True)
    data = machine.built()
    assert json.loads(data)[4][3]
    found = other.asked(data)
    assert isinstance(found, TravelledRecord), found
    assert found.outputs[0].binaries[0].go_version == version
    # The very one may be there already, or another under its name.
    there_too = other.module_cache / "golang.org" / there[0].name
    copy_goroot(there[0], there_too)
    assert isinstance(other.asked(data), TravelledRecord)
    (there_too / "VERSION").chmod(0o600)
    (there_too / "VERSION").write_text("go1.27.99\n")
    assert isinstance(other.asked(data), str)
