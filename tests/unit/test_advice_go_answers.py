# SPDX-License-Identifier: Apache-2.0
"""What Go said of packages is kept as long as it holds, and asked for in as few goes as can be."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from golang_support import needs_go
from wherry.advice.reading import go_lists
from wherry.advice.reading.go_answers import Question, decoded, encoded
from wherry.advice.reading.go_module import GoModule
from wherry.golang.packages import Module, Package
from wherry.golang.toolchain import GoCommand

MAIN = 'package main\n\nimport _ "example.com/m/lib"\n\nfunc main() {}\n'
OTHER = 'package main\n\nimport _ "os"\n\nfunc main() {}\n'
MISSING = 'package main\n\nimport _ "example.com/missing"\n\nfunc main() {}\n'


class Shelf(dict[str, bytes]):
    """Answers in memory."""

    def __init__(self, *, refusals: bool = False) -> None:
        super().__init__()
        self.refusals = refusals

    def put(self, key: str, value: bytes) -> None:
        self[key] = value


def write(root: Path, files: dict[str, str]) -> None:
    """Files that were there for a while: what was written just now proves nothing."""
    old = time.time() - 100
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (old, old))


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the clock forward: change times of files cannot be set back."""
    real = time.time

    def forward(seconds: float) -> None:
        monkeypatch.setattr("wherry.advice.reading.go_lists.time.time", lambda: real() + seconds)

    forward(10)
    return forward


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The patterns of each start of Go."""
    seen: list[tuple[str, ...]] = []
    for name in ("list_packages", "list_imports"):
        real = getattr(go_lists, name)

        def spy(
            go: GoCommand, directory: str, patterns: tuple[str, ...], *rest: object,
            real: Callable[..., object] = real,
        ) -> object:  # fmt: skip
            seen.append(patterns)
            return real(go, directory, patterns, *rest)

        monkeypatch.setattr(go_lists, name, spy)
    return seen


def module(root: Path, shelf: Shelf | None = None, **env: str) -> GoModule:
    found = GoModule.found(str(root), {**os.environ, "GOFLAGS": "", **env}, shelf)
    assert found is not None
    return found


def services(root: Path) -> None:
    write(root, {
        "go.mod": "module example.com/m\n\ngo 1.21\n", "lib/lib.go": "package lib\n",
        "a/main.go": MAIN, "b/main.go": OTHER, "c/main.go": MISSING,
    })  # fmt: skip


@needs_go
def test_the_second_program_brings_all_others(tmp_path: Path, asked: list[tuple[str, ...]]) -> None:
    services(tmp_path)
    found = module(tmp_path)
    assert "example.com/m/lib" in found.imports("./a")
    assert "example.com/m/lib" not in found.imports("./b")
    assert {"example.com/m/b", "os"} <= found.imports("./b")
    assert found.problem("./c")
    assert not found.problem("./a") + found.problem("./b")
    assert asked == [("./a",), ("./b", "./c")]
    # Other tags are another question.
    found.imports("./a", tags="x")
    assert asked[2:] == [("./a",)]


@needs_go
def test_asked_ahead_is_what_go_says_alone(tmp_path: Path) -> None:
    services(tmp_path)
    together, alone = module(tmp_path), module(tmp_path)
    together.packages("./a")
    for package in together.packages("./b"):
        assert package in alone.packages("./b")
    own = {item.import_path for item in together.packages("./b") if not item.standard}
    assert own == {"example.com/m/b"}


@needs_go
@pytest.mark.usefixtures("later")
def test_an_answer_is_asked_for_once(tmp_path: Path, asked: list[tuple[str, ...]]) -> None:
    services(tmp_path)
    shelf = Shelf()
    first = module(tmp_path, shelf)
    needed = first.imports("./a")
    again = module(tmp_path, shelf)
    assert again.imports("./a") == needed
    own = [item for item in first.packages("./a") if not item.standard]
    assert [item for item in again.packages("./a") if not item.standard] == own
    assert len(asked) == 1


@needs_go
@pytest.mark.usefixtures("later")
@pytest.mark.parametrize(
    "change",
    [
        {"a/main.go": OTHER},
        {"a/more.go": "package main\n\nimport _ \"os\"\n"},
        {"go.mod": "module example.com/m\n\ngo 1.22\n"},
        {"go.sum": "\n"},
        {"go.work": "go 1.22\n\nuse .\n"},
        {"lib/lib.go": "package lib\n\nimport _ \"os\"\n"},
    ],
)  # fmt: skip
def test_a_change_voids_it(
    tmp_path: Path, asked: list[tuple[str, ...]], change: dict[str, str]
) -> None:
    services(tmp_path)
    shelf = Shelf()
    module(tmp_path, shelf).imports("./a")
    write(tmp_path, change)
    module(tmp_path, shelf).imports("./a")
    assert len(asked) == 2


@needs_go
@pytest.mark.usefixtures("later")
def test_what_go_does_not_read_changes_nothing(
    tmp_path: Path, asked: list[tuple[str, ...]]
) -> None:
    services(tmp_path)
    shelf = Shelf()
    module(tmp_path, shelf).imports("./a")
    write(tmp_path, {"a/Dockerfile": "FROM x\n", "a/.main.go.swp": "", "b/main.go": MAIN})
    module(tmp_path, shelf).imports("./a")
    assert len(asked) == 1
    module(tmp_path, shelf, GOEXPERIMENT="none").imports("./a")
    assert len(asked) == 2


@needs_go
def test_what_was_written_just_now_is_not_kept(tmp_path: Path) -> None:
    services(tmp_path)
    shelf = Shelf()
    module(tmp_path, shelf).imports("./a")
    assert shelf == {}


@needs_go
def test_a_refusal_holds_for_a_minute_for_those_in_haste(
    tmp_path: Path, asked: list[tuple[str, ...]], later: Callable[[float], None]
) -> None:
    services(tmp_path)
    shelf = Shelf(refusals=True)
    told = module(tmp_path, shelf).problem("./c")
    assert module(tmp_path, shelf).problem("./c") == told
    assert len(asked) == 1
    shelf.refusals = False
    module(tmp_path, shelf).problem("./c")
    assert len(asked) == 2
    shelf.refusals = True
    later(100)
    module(tmp_path, shelf).problem("./c")
    assert len(asked) == 3


def package(**fields: object) -> Package:
    empty = {name: () for name in Package._fields}
    texts = {"import_path": "m", "name": "main", "dir": "", "module": None}
    flags = {"standard": False, "incomplete": False}
    return Package(**{**empty, **texts, **flags, **fields})  # type: ignore[arg-type]


def question(root: Path, pattern: str = ".", **env: str) -> Question:
    return Question(GoCommand("/go", "/go"), str(root), pattern, (), env)


def test_packages_are_written_down(tmp_path: Path) -> None:
    own = package(
        dir=str(tmp_path), module=Module("m", main=True, dir=str(tmp_path)), go_files=("a.go",),
        embed_files=("web/x",),
    )  # fmt: skip
    net = package(import_path="net", standard=True, cgo_files=("c.go",))
    data = encoded(question(tmp_path), (own, net), time.time() + 10)
    assert data is not None
    found = decoded(data, time.time(), refusals=False)
    assert found == (own, net)


def test_a_module_of_the_cache_has_to_be_there(tmp_path: Path) -> None:
    cached = tmp_path / "d@v1"
    cached.mkdir()
    other = package(dir=str(cached / "x"), module=Module("d", "v1", dir=str(cached)))
    data = encoded(question(tmp_path), (other,), time.time() + 10)
    assert data is not None
    assert decoded(data, 0, refusals=False) == (other,)
    cached.rmdir()
    assert decoded(data, 0, refusals=False) is None


def test_patterns_of_many_packages_are_not_kept(tmp_path: Path) -> None:
    assert encoded(question(tmp_path, "./..."), (), time.time() + 10) is None


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"until":null,"watched":[],"text":""}'])
def test_damaged_answers_are_none(data: bytes) -> None:
    assert decoded(data, 0, refusals=True) is None


def test_the_key_heeds_what_go_does(tmp_path: Path) -> None:
    plain = question(tmp_path).key
    assert question(tmp_path, TERM="x").key == plain
    keys = {
        question(tmp_path, GOEXPERIMENT="x").key, question(tmp_path, "./a").key,
        question(tmp_path / "b").key, question(tmp_path)._replace(flags=("-tags=x",)).key,
    }  # fmt: skip
    assert len(keys | {plain}) == 5
    config = tmp_path / "go" / "env"
    before = question(tmp_path, XDG_CONFIG_HOME=str(tmp_path)).key
    write(tmp_path, {"go/env": "GOFLAGS=-x\n"})
    assert config.exists()
    assert question(tmp_path, XDG_CONFIG_HOME=str(tmp_path)).key != before
