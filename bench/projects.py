# SPDX-License-Identifier: Apache-2.0
"""The Go modules that are built: copies that the benchmark may edit.

The edit of a project is one statement inside `main`, in the package that is linked: a change that
reaches the binary. After a comment alone Go keeps the linked binary. Only the main package is
compiled again, which leaves the least work to hide a tool's own cost behind.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.failure import BenchError, read_output

TWENTY = "twenty"
CADDY = "github.com/caddyserver/caddy/v2@v2.11.9"
PROMETHEUS = "github.com/prometheus/prometheus@v0.315.0"


def values() -> Iterator[str]:
    """Texts without end that no build has seen, not even one of an earlier run."""
    start = format(time.time_ns(), "016x")
    return (f"{start}-{number:06}" for number in itertools.count())


@dataclass(frozen=True)
class Project:
    """A main package in a writable module; `before` and `after` stand around the edited value.

    `package` may be a pattern, for several programs.
    """

    name: str
    title: str
    directory: Path
    package: str
    file: Path
    before: str
    after: str
    values: Iterator[str] = field(default_factory=values)

    @property
    def is_plural(self) -> bool:
        """Whether there are several programs."""
        return self.package.endswith("...")

    def edit(self) -> None:
        """Changes one code line to a value that no build has seen."""
        self.file.write_text(self.before + next(self.values) + self.after)


def _project(name: str, title: str, directory: Path, main: str, change: tuple[str, str]) -> Project:
    file = directory / main
    line, edited = change
    before, found, after = file.read_text().partition(line)
    if not found:
        raise BenchError(f"{file}: the line to edit is not there: {line.strip()}")
    head, _, tail = edited.partition("VALUE")
    package = "./" + str(Path(main).parent) if "/" in main else "."
    return Project(name, title, directory, package, file, before + head, tail + after)


def movies(repository: Path, work: Path) -> Project:
    """The project's running example."""
    directory = _copy(repository / "examples" / "movies", work / "movies")
    change = ('\tlog.Print("stopped")\n', '\tlog.Print("stopped VALUE")\n')
    return _project("movies", "examples/movies", directory, "main.go", change)


def caddy(go: str, work: Path, env: Mapping[str, str]) -> Project:
    """A large module, from the Go module proxy: some thousand packages."""
    directory = _copy(_downloaded(go, CADDY, work, env), work / "caddy")
    change = ("\tcaddycmd.Main()\n", '\tprintln("VALUE")\n\tcaddycmd.Main()\n')
    return _project("caddy", "caddy v2.11.9", directory, "cmd/caddy/main.go", change)


def prometheus(go: str, work: Path, env: Mapping[str, str]) -> Project:
    """A larger one. Its go.work names modules that the proxy does not give with it: GOWORK=off."""
    directory = _copy(_downloaded(go, PROMETHEUS, work, env), work / "prometheus")
    change = ("\nfunc main() {\n", '\nfunc main() {\n\tprintln("VALUE")\n')
    title = "prometheus v0.315.0"
    return _project("prometheus", title, directory, "cmd/prometheus/main.go", change)


def _downloaded(go: str, module: str, work: Path, env: Mapping[str, str]) -> Path:
    found: str = json.loads(read_output((go, "mod", "download", "-json", module), work, env))["Dir"]
    return Path(found)


# What each command uses beyond the shared package, as those of one repository do.
_USED = (
    "archive/tar", "archive/zip", "compress/bzip2", "container/heap", "crypto/ecdsa",
    "database/sql", "debug/elf", "encoding/csv", "encoding/xml", "go/parser", "html/template",
    "image/png", "index/suffixarray", "math/big", "net/mail", "net/rpc", "net/smtp",
    "regexp", "text/tabwriter", "text/template",
)  # fmt: skip
_SHARED = """package shared

import (
	"encoding/json"
	"log"
	"net/http"
)

const value = "VALUE"

// Serve answers on address, for the command with that name.
func Serve(address, name string) {
	http.HandleFunc("/", func(answer http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(answer).Encode(map[string]string{"name": name, "value": value})
	})
	log.Fatal(http.ListenAndServe(address, nil))
}
"""
_COMMAND = """package main

import (
	_ "USED"

	"example.com/twenty/shared"
)

func main() { shared.Serve(":8080", "NAME") }
"""


def twenty(work: Path) -> Project:
    """Twenty servers of one module; the edited line is in the package that all of them share."""
    directory = work / TWENTY
    shutil.rmtree(directory, ignore_errors=True)
    shared = directory / "shared" / "shared.go"
    shared.parent.mkdir(parents=True)
    (directory / "go.mod").write_text("module example.com/twenty\n\ngo 1.24\n")
    for number, used in enumerate(_USED):
        name = f"command{number:02}"
        file = directory / "cmd" / name / "main.go"
        file.parent.mkdir(parents=True)
        file.write_text(_COMMAND.replace("USED", used).replace("NAME", name))
    before, _, after = _SHARED.partition("VALUE")
    title = f"{len(_USED)} commands of one module"
    project = Project(TWENTY, title, directory, "./cmd/...", shared, before, after)
    project.edit()
    return project


def _copy(source: Path, target: Path) -> Path:
    """A fresh writable copy; the module cache is read-only."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, copy_function=shutil.copyfile)
    for directory, _, _ in os.walk(target):
        os.chmod(directory, 0o755)
    return target
