# SPDX-License-Identifier: Apache-2.0
"""Random changes on the other machine: where the record holds, `go build` gives its program."""

import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from travelling_machines import (
    Machine,
    goroot_of,
    make_machine,
    make_proxy,
    make_repository,
    program_of,
)
from wherry.golang.toolchain import GoCommand
from wherry_fixtures import Project

DIRECTORIES = (
    ".", "svc", "svc/cmd", "svc/cmd/api", "svc/cmd/api/text", "svc/cmd/api/text/deep",
    "svc/cmd/api/kodata", "svc/cmd/two", "svc/internal/none", "svc/web", "svc/vendor", "lib",
    "lib/sub", "other", "..", "svc/testdata", "svc/cmd/api/_x", "svc/cmd/api/.x",
    "MODULES/word", "MODULES/word/data", "MODULES/other", "MODULES",
)  # fmt: skip
NAMES = (
    "main.go", "lib.go", "plain.go", "special.go", "x.go", "x_test.go", "x_windows.go", "_x.go",
    ".x.go", "x.s", "x.h", "x.c", "x.syso", "a.txt", "b.txt", ".hidden", "go.mod", "go.sum",
    "go.work", "go.work.sum", "vendor", "modules.txt", "default.pgo", "README.md", "wherry.toml",
    "wherry.lock", "word.go", "w.txt", "page.html", "run.sh", "none.go", ".gitignore",
)  # fmt: skip
CONTENTS = (
    "", "text\n", "package main\n", "package lib\n\nconst Word = \"other\"\n", "package lib\n",
    "package word\n\nvar Word = \"other\"\n", "package word\n", "//go:build ignore\n\npackage x\n",
    "package main\n\nfunc init() { println(1) }\n", "go 1.21\n\nuse ./svc\n", "go 1.21\n",
    "module example.com/other\n\ngo 1.21\n", "module example.com/lib\n\ngo 1.20\n", "[build]\n",
)  # fmt: skip
VARIABLES = (
    ("GOAMD64", ("v1", "v2")), ("GOFLAGS", ("", "-tags=special", "-mod=mod", "-trimpath=false")),
    ("GODEBUG", ("", "panicnil=1")), ("GOWORK", ("off", "auto")), ("CGO_ENABLED", ("0", "1")),
    ("GOEXPERIMENT", ("", "nogreenteagc")), ("GO111MODULE", ("on", "auto")), ("CC", ("false",)),
    ("GOPRIVATE", ("example.com",)), ("UNRELATED", ("1",)), ("GOARCH", ("arm64",)),
    ("GONOSUMDB", ("*",)), ("GOTELEMETRY", ("off",)), ("GOENV", ("off",)), ("CGO_CFLAGS", ("-O0",)),
)  # fmt: skip
LINES = (
    "GOAMD64=v2", "GOFLAGS=-tags=special", "GOPRIVATE=example.com", "GOFLAGS=", "#x", "CC=false",
    "GODEBUG=panicnil=1", "GOEXPERIMENT=nogreenteagc", "GOWORK=off",
)  # fmt: skip

Edit = Callable[[Machine], object]
places = st.tuples(st.sampled_from(DIRECTORIES), st.sampled_from(NAMES)).map("/".join)
known = st.sampled_from(
    (
        "svc/cmd/api/main.go", "svc/cmd/api/plain.go", "svc/cmd/api/text/a.txt", "lib/lib.go",
        "svc/go.mod", "svc/go.sum", "MODULES/word/word.go", "MODULES/word/data/w.txt", "lib/go.mod",
        "svc/internal/none/none.go", "svc/README.md", "svc/cmd/two/main.go",
    )
)  # fmt: skip


def at(machine: Machine, name: str) -> Path:
    """A file of the repository, or of the module in the cache, which is filled for it."""
    if name.startswith("MODULES"):
        root = machine.module_cache / "example.com" / "!cached@v1.2.0"
        if not root.exists():
            # As Go left it on the machine that built (`Origin.machine`).
            filled = machine._replace(place=machine.place.parents[2] / "second").module_cache
            shutil.copytree(filled, machine.module_cache)
        return root / name.removeprefix("MODULES/")
    return machine.repository / name


def write(name: str, text: str) -> Edit:
    def edit(machine: Machine) -> None:
        path = at(machine, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return edit


def drop(name: str) -> Edit:
    return lambda machine: at(machine, name).unlink()


def link(name: str, target: str) -> Edit:
    def edit(machine: Machine) -> None:
        path = at(machine, name)
        path.unlink(missing_ok=True)
        path.symlink_to(os.path.relpath(at(machine, target), path.parent))

    return edit


def chmod(name: str, mode: int) -> Edit:
    return lambda machine: at(machine, name).chmod(mode)


def set_variable(name: str, value: str) -> Edit:
    return lambda machine: machine.env.update({name: value})


def go_env(lines: list[str]) -> Edit:
    def edit(machine: Machine) -> None:
        path = Path(machine.env["HOME"], ".config", "go", "env")
        path.write_text("".join(f"{line}\n" for line in lines))

    return edit


edits = st.one_of(
    st.builds(write, places, st.sampled_from(CONTENTS)),
    st.builds(write, known, st.sampled_from(CONTENTS)),
    st.builds(drop, known),
    st.builds(link, st.one_of(known, places), st.one_of(known, places)),
    st.builds(chmod, known, st.sampled_from((0o600, 0o755))),
    st.sampled_from(VARIABLES).flatmap(
        lambda pair: st.builds(set_variable, st.just(pair[0]), st.sampled_from(pair[1]))
    ),
    st.builds(go_env, st.lists(st.sampled_from(LINES), max_size=3)),
)


class Origin:
    """What was built, and how machines like the one that built are made."""

    def __init__(self, place: Path, go_cache: str) -> None:
        self.place = place
        self._goroot = goroot_of(os.environ["PATH"])
        proxy = make_proxy(place / "proxy")
        self._base = {
            "GOPROXY": f"file://{proxy}", "GOSUMDB": "off", "GOCACHE": go_cache,
            # What is private comes from the proxy all the same.
            "GONOPROXY": "none",
        }  # fmt: skip
        first = make_machine(place / "first", None, self._base, self._goroot)
        self._repository = make_repository(place / "committed", first.env)
        machine = self.machine(place / "second")
        record = machine.record()
        data = machine.exported(record)
        assert isinstance(data, bytes), data
        self.data, self.program = data, program_of(machine, record)

    def machine(self, place: Path) -> Machine:
        """A fresh one."""
        return make_machine(place, self._repository, self._base, self._goroot)


@pytest.fixture(scope="module")
def origin(
    tmp_path_factory: pytest.TempPathFactory, go: GoCommand, go_caches: dict[str, str]
) -> Origin:
    assert not go.env, "these tests want a Go of its own on PATH"
    return Origin(tmp_path_factory.mktemp("random"), go_caches["GOCACHE"])


def check(origin: Origin, changed: list[Edit]) -> bool:
    """Whether the record holds after these changes; then `go build` must give its program."""
    with tempfile.TemporaryDirectory(dir=origin.place) as place:
        machine = origin.machine(Path(place, "deep", "down"))
        for edit in changed:
            with suppress(OSError):
                edit(machine)
        found = machine.asked(origin.data)
        # What Go fetched is read-only.
        try:
            if isinstance(found, str):
                return False
            output = Path(place, "program")
            ran = machine.go("build", *Project.FLAGS, "-o", str(output), "./cmd/api")
            assert ran.returncode == 0, ran.stderr
            assert output.read_bytes() == origin.program
            return True
        finally:
            for at_, _, _ in os.walk(machine.module_cache):
                Path(at_).chmod(0o755)


def test_nothing_changed(origin: Origin) -> None:
    assert check(origin, [])


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(changed=st.lists(edits, min_size=1, max_size=3))
def test_random_changes(origin: Origin, changed: list[Edit]) -> None:
    check(origin, changed)


@pytest.mark.soak
@pytest.mark.timeout(3000)
def test_many_random_changes(origin: Origin) -> None:
    held = 0

    @settings(max_examples=1500, suppress_health_check=list(HealthCheck))
    @given(changed=st.lists(edits, min_size=1, max_size=5))
    def many(changed: list[Edit]) -> None:
        nonlocal held
        held += check(origin, changed)

    many()
    assert held > 100
    shutil.rmtree(origin.place, ignore_errors=True)
