# SPDX-License-Identifier: Apache-2.0
"""Go's build cache as files, for tests of what wherry relies on: read it, age it, copy parts.

Written apart from `wherry.gocache`, so that these tests speak about Go and not about wherry.
"""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from golang_support import the_go, write_files

HOUR = 3600.0
MARK_AGE = 3 * HOUR
ACTION = re.compile(rb"v1 ([0-9a-f]{64}) ([0-9a-f]{64}) ( *[0-9]+) ( *[0-9]+)\n")

# Two packages of its own, few of the standard library: a full build takes about two seconds.
SMALL = {
    "go.mod": "module example.com/m\n\ngo 1.21\n",
    "main.go": (
        'package main\n\nimport "example.com/m/inner"\n\nfunc main() { println(inner.Add(1, 2)) }\n'
    ),
    "inner/inner.go": "package inner\n\nfunc Add(a, b int) int { return a + b }\n",
}


class Action(NamedTuple):
    """One `-a` file: the action's id, the output it names, that one's size, when it was made."""

    id: str
    output: str
    size: int
    made: int


def entry_path(cache: Path, key: str, kind: str) -> Path:
    return cache / key[:2] / f"{key}-{kind}"


def read_action(path: Path) -> Action:
    """One `-a` file; an ill-formed one fails the test that reads it."""
    match = ACTION.fullmatch(path.read_bytes())
    assert match, f"{path}: not an action as Go 1.21 to 1.27 write them"
    ident, output, size, made = (part.decode() for part in match.groups())
    assert len(size) == len(made) == 20
    assert path.name == f"{ident}-a"
    return Action(ident, output, int(size), int(made))


def actions(cache: Path) -> dict[str, Action]:
    """Every action of a cache."""
    found = map(read_action, cache.glob("[0-9a-f][0-9a-f]/*-a"))
    return {action.id: action for action in found}


def prefix_of(action_id: str) -> str:
    """The hex digits of a `-a` file's name that an ActionID of an action graph stands for."""
    return base64.urlsafe_b64decode(action_id).hex()


def subkey(ident: str, name: str) -> str:
    """The id of an entry that belongs to another one, such as what the compiler printed."""
    return hashlib.sha256(b"subkey:" + bytes.fromhex(ident) + name.encode()).hexdigest()


def graph_entries(cache: Path, nodes: list[dict[str, object]]) -> dict[str, Action]:
    """The entries that an action graph names: compiles, and what the tools printed."""
    found = {}
    for prefix in {prefix_of(str(node["ActionID"])) for node in nodes if "ActionID" in node}:
        for path in (cache / prefix[:2]).glob(f"{prefix}*-a"):
            compiled = read_action(path)
            printed = (subkey(compiled.id, name) for name in ("stdout", "link-stdout"))
            paths = [path for path in (entry_path(cache, i, "a") for i in printed) if path.exists()]
            found |= {action.id: action for action in (compiled, *map(read_action, paths))}
    return found


def output_bytes(cache: Path, action: Action) -> bytes:
    """The bytes of an action's output, the single file's where it is a directory."""
    path = entry_path(cache, action.output, "d")
    if path.is_dir():
        (path,) = path.iterdir()
    return path.read_bytes()


def age(path: Path, seconds: float) -> None:
    """Set a file's time to `seconds` ago (ahead where negative)."""
    then = time.time() - seconds
    os.utime(path, (then, then))


def age_actions(cache: Path, seconds: float = MARK_AGE) -> None:
    for path in cache.glob("[0-9a-f][0-9a-f]/*-a"):
        age(path, seconds)


def age_all(cache: Path, seconds: float = MARK_AGE) -> None:
    for path in cache.glob("[0-9a-f][0-9a-f]/*-[ad]"):
        age(path, seconds)


def is_fresh(path: Path, within: float = HOUR / 2) -> bool:
    """Whether a file's time lies within the last half hour: so Go touched it since it was aged."""
    return abs(time.time() - path.stat().st_mtime) < within


def used(cache: Path) -> dict[str, Action]:
    """The actions whose files are fresh."""
    return {i: a for i, a in actions(cache).items() if is_fresh(entry_path(cache, i, "a"))}


def restore(source: Path, target: Path, wanted: dict[str, Action], seconds: float = 0) -> None:
    """Copy actions and the outputs that they name, all with one time `seconds` ago."""
    for action in wanted.values():
        for key, kind in ((action.output, "d"), (action.id, "a")):
            origin, goal = entry_path(source, key, kind), entry_path(target, key, kind)
            if goal.exists():
                continue
            goal.parent.mkdir(parents=True, exist_ok=True)
            if origin.is_dir():
                shutil.copytree(origin, goal)
            else:
                goal.write_bytes(origin.read_bytes())
            age(goal, seconds)


def go_settings(cache: Path, home: Path) -> dict[str, str]:
    """An environment for Go: offline, with no setting of the machine but PATH."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "GOCACHE": str(cache),
        "GOENV": "off",
        "GOFLAGS": "",
        "GOPROXY": "off",
        "GOTOOLCHAIN": "local",
        "GOTELEMETRY": "off",
        "CGO_ENABLED": "0",
        "LC_ALL": "C",
    }


@dataclass(frozen=True)
class Project:
    """A module's directory, the caches it is built with, and the Go that builds it."""

    root: Path
    cache: Path
    go: str = ""
    home: Path | None = None
    environment: tuple[tuple[str, str], ...] = ()

    def run(self, *args: str, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
        """Run Go in the module's directory; `check`: fail the test where Go fails."""
        program = self.go or str(the_go().path)
        home = self.home or Path(os.environ.get("HOME", "/"))
        env = go_settings(self.cache, home) | dict(self.environment) | more
        done = subprocess.run(
            [program, *args], cwd=self.root, env=env, capture_output=True, text=True, timeout=600
        )
        if check:
            assert done.returncode == 0, f"go {' '.join(args)}: {done.stdout}{done.stderr}"
        return done

    def build(self, *flags: str, output: str = "", **more: str) -> list[str]:
        """Build into a fresh place (or `output`); the packages that were compiled, in order."""
        goal = output or str(self.root / "out.bin")
        if not output:
            Path(goal).unlink(missing_ok=True)
        done = self.run("build", "-v", "-buildvcs=false", *flags, "-o", goal, ".", **more)
        return done.stderr.split()

    def graph(self, *flags: str, **more: str) -> list[dict[str, object]]:
        """The actions of a build as `-debug-actiongraph` reports them."""
        file = self.root.parent / f"{self.root.name}.actions.json"
        self.build(f"-debug-actiongraph={file}", *flags, **more)
        nodes: list[dict[str, object]] = json.loads(file.read_text())
        return nodes


def small_project(directory: Path, go: str = "") -> Project:
    """SMALL in `directory`/m, with an empty cache in `directory`/gocache."""
    return Project(write_files(directory / "m", SMALL), directory / "gocache", go)
