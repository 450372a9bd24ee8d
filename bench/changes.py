# SPDX-License-Identifier: Apache-2.0
"""What happens to a large module between two builds: edits, bumps, one more service.

A *state* is a source tree as it comes out of version control: it is copied to a new directory for
each build, so that nothing holds by a path or a time of a file.
"""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.failure import BenchError, read_output
from bench.projects import Project, values

MAIN = "./cmd/caddy"
SERVICE = "./cmd/second"

BUMPED = "github.com/klauspost/compress@v1.20.3"
# For many builds one after the other; each only upward, each compiles.
BUMPS = (
    "github.com/yuin/goldmark@v1.8.7", "github.com/klauspost/compress@v1.20.2",
    "golang.org/x/sync@v0.24.0", "github.com/go-chi/chi/v5@v5.5.0", BUMPED,
    "github.com/quic-go/quic-go@v0.64.0",
)  # fmt: skip

# A service of three packages of its own, which has an HTTP server of caddy's with most modules and
# some packages that the first program has not.
_SERVICE_MAIN = """package main

import (
	"log"
	"net/rpc"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/cmd/second/notes"
	"github.com/caddyserver/caddy/v2/cmd/second/pages"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/standard"
)

func main() {
	if err := rpc.Register(new(notes.Store)); err != nil {
		log.Fatal(err)
	}
	log.Print(pages.Heading(), caddy.Run(new(caddy.Config)))
	select {}
}
"""
_SERVICE_NOTES = """// Package notes keeps notes.
package notes

import "sync"

// Store has all notes.
type Store struct {
	mutex sync.Mutex
	notes []string
}

// Add keeps one more.
func (s *Store) Add(note string, count *int) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.notes = append(s.notes, note)
	*count = len(s.notes)
	return nil
}
"""
_SERVICE_PAGES = """// Package pages draws.
package pages

import (
	"bytes"
	"image"
	"image/png"
	"text/tabwriter"
)

// Heading is a picture and a line.
func Heading() string {
	var drawn bytes.Buffer
	_ = png.Encode(&drawn, image.NewGray(image.Rect(0, 0, 8, 8)))
	writer := tabwriter.NewWriter(&drawn, 0, 8, 1, ' ', 0)
	_, _ = writer.Write([]byte("notes\\tall\\n"))
	_ = writer.Flush()
	return drawn.String()
}
"""


@dataclass(frozen=True)
class State:
    """A source tree, the main package that is built, and what has to happen to the tree first."""

    template: Path
    package: str = MAIN
    change: Callable[[Path], None] = lambda _: None

    def check_out(self, directory: Path) -> Path:
        """Writes it to a directory that is not there."""
        shutil.copytree(self.template, directory, copy_function=shutil.copyfile)
        self.change(directory)
        return directory


@dataclass(frozen=True)
class States:
    """All states of one module; `template` is edited by nobody but this class."""

    project: Project
    go: str
    env: Mapping[str, str]
    _values: Iterator[str] = field(default_factory=values)

    @property
    def template(self) -> Path:
        return self.project.directory

    def seed(self) -> State:
        """What was built before."""
        return State(self.template)

    def one_line(self) -> State:
        """A statement in `main` with a value that was never compiled."""
        name = self.project.file.relative_to(self.template)
        text = self.project.before + next(self._values) + self.project.after
        return State(self.template, change=lambda tree: _write(tree / name, text))

    def deep_line(self) -> State:
        """The same in the package that most others of the module import."""
        value = next(self._values)

        def change(tree: Path) -> None:
            _append(tree / "caddy.go", f'\n// Measured is new.\nvar Measured = "{value}"\n')

        return State(self.template, change=change)

    def bumped(self, module: str) -> State:
        """One dependency of another version; go.mod and go.sum say so, and it can be had."""
        wanted = self._requirements(self.template, module)

        def change(tree: Path) -> None:
            for name, text in wanted.items():
                _write(tree / name, text)

        return State(self.template, change=change)

    def service(self) -> State:
        """One more program of the module, which was never built."""

        def change(tree: Path) -> None:
            place = tree / SERVICE
            _write(place / "main.go", _SERVICE_MAIN)
            _write(place / "notes" / "notes.go", _SERVICE_NOTES)
            _write(place / "pages" / "pages.go", _SERVICE_PAGES)

        return State(self.template, SERVICE, change)

    def fetch(self) -> None:
        """Has the machine's own module cache hold all that any state needs."""
        read_output((self.go, "mod", "download"), self.template, self.env)
        for module in BUMPS:
            self._requirements(self.template, module)

    def bump(self, tree: Path, module: str) -> None:
        """Changes a tree in place."""
        for name, text in self._requirements(tree, module).items():
            _write(tree / name, text)

    def edited_files(self) -> list[Path]:
        """A file of each package of the module that the program has, relative to the tree."""
        form = "{{if .Module}}{{if .Module.Main}}{{.Dir}}/{{index .GoFiles 0}}{{end}}{{end}}"
        words = (self.go, "list", "-deps", "-f", form, MAIN)
        lines = read_output(words, self.template, self.env).split()
        return sorted(Path(line).relative_to(self.template) for line in lines)

    def _requirements(self, tree: Path, module: str) -> dict[str, str]:
        """go.mod and go.sum after a bump; downloaded once."""
        staged = self.template.with_name("bumped")
        shutil.rmtree(staged, ignore_errors=True)
        shutil.copytree(tree, staged, copy_function=shutil.copyfile)
        try:
            for words in (("get", module), ("mod", "download")):
                read_output((self.go, *words), staged, self.env)
            found = {name: (staged / name).read_text() for name in ("go.mod", "go.sum")}
        finally:
            shutil.rmtree(staged)
        if found["go.mod"] == (tree / "go.mod").read_text():
            raise BenchError(f"{module} is what the module requires already")
        return found


@dataclass
class Commits:
    """Commits without end on one tree: random edits, and now and then a bump."""

    states: States
    tree: Path
    files: Sequence[Path]
    random: random.Random
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _bumps: list[str] = field(default_factory=lambda: list(BUMPS))

    def next(self) -> str:
        """Changes the tree; says how."""
        number = next(self._numbers)
        if self._bumps and self.random.random() < 0.2:
            module = self._bumps.pop(0)
            self.states.bump(self.tree, module)
            return f"bump of {module}"
        file = self.random.choice(self.files)
        _append(
            self.tree / file, f"\n// Measured{number} is new.\nvar Measured{number} = {number}\n"
        )
        return f"edit of {file}"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)
