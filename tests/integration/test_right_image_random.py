# SPDX-License-Identifier: Apache-2.0
"""Random edits of a small module: after each, the image holds what a plain `go build` makes.

`make test` runs a fixed sample, `make soak` many from a seed of the day. A failure names its seed
and the edits before it. WHERRY_SOAK_EDITS and WHERRY_SOAK_SEED choose others.
"""

import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wherry.api.library import prune_store
from wherry.errors import WherryError
from wherry_fixtures import Project

MAIN = """package main

import (
	"embed"

	"example.com/dep"
	"example.com/m/a"
	"example.com/m/b"
)

//go:embed static one*/*.txt
var files embed.FS

func main() {
	text, _ := files.ReadFile("static/first.txt")
	println(a.Word, b.Word, dep.Word, string(text), "%s")
}
"""
MOD = """module example.com/m

go %s

require example.com/dep v0.0.0

replace example.com/dep => %s
"""
DEP_MOD = "module example.com/dep\n\ngo 1.21\n"
WORK = "go 1.23\n\nuse (\n\t./mod\n\t./%s\n)\n"
VENDORED = """# example.com/dep v0.0.0 => %s
## explicit; go 1.21
example.com/dep
# example.com/dep => %s
"""
PACKAGES = ("a", "b", "a/inner", "../dep", "../dep2")
TREES = ("static", "static/deep", "static/deep/er", "one1", "one2", "one2/more", "other")
TAGS = ("linux", "!linux", "special", "!special", "ignore", "windows || linux")
PLACES = ("main-found", "closure-gathered", "go-built", "layer-stored", "record-unwritten")


class Shelf(Project):
    """The module under edit, with its neighbours in the directory above it.

    A state is every file and link of that directory by name; going back to one writes only what
    differs, as a switched branch does.
    """

    def __init__(self, project: Project, chance: random.Random) -> None:
        super().__init__(project.root, project.env, project.store, project._go)
        self.chance = chance
        self.home = self.root.parent
        # Whether the files count as stamped by another machine's clock.
        self.far = False
        self.settings = Path(self.env["HOME"]) / ".config/go/env"
        self.kept: list[dict[str, bytes | str]] = []
        self.edits: list[Callable[[], str]] = [
            self.edit, self.edit, self.edit_keeping_time, self.edit_keeping_time, self.touch,
            self.add_file, self.add_file, self.remove_file, self.rename_file, self.constrain,
            self.embed_file, self.embed_file, self.edit_embedded, self.remove_embedded,
            self.replace_module, self.change_version, self.shift_time, self.break_syntax,
            self.turn_into_link, self.move_directory, self.toggle_workspace, self.toggle_vendor,
            self.toggle_profile, self.toggle_nested_module, self.toggle_tag_in_settings,
            self.toggle_tag_in_environment, self.add_noise, self.link_package,
            self.go_back, self.go_back, self.go_back, self.swap_directory,
        ]  # fmt: skip

    def plant(self) -> None:
        """The first state."""
        self.write("go.mod", MOD % ("1.21", "../dep"))
        self.write("main.go", MAIN % "x")
        for name in PACKAGES:
            package = Path(name).name.rstrip("2")
            self.write(f"{name}/{package}.go", self.library(package, "start"))
        for name in ("dep", "dep2"):
            self.write(f"../{name}/go.mod", DEP_MOD)
        self.write("a/uses.go", 'package a\n\nimport _ "example.com/m/a/inner"\n')
        self.write("static/first.txt", "first")
        self.write("one1/x.txt", "x")

    def library(self, package: str, word: str) -> str:
        return f'package {package}\n\nconst Word = "{word}"\n'

    def word(self) -> str:
        """One of few words of equal length, so that equal states come again."""
        return self.chance.choice(("red", "tan", "sky", "jet", "bay"))

    # States

    def state(self) -> dict[str, bytes | str]:
        found: dict[str, bytes | str] = {}
        for top in ("mod", "dep", "dep2", "go.work"):
            found.update(self._below(self.home / top, top))
        return found

    def _below(self, path: Path, name: str) -> Iterator[tuple[str, bytes | str]]:
        if path.is_symlink():
            yield name, str(path.readlink())
        elif path.is_file():
            yield name, path.read_bytes()
        elif path.is_dir():
            for child in sorted(path.iterdir()):
                yield from self._below(child, f"{name}/{child.name}")

    def restore(self, wanted: dict[str, bytes | str]) -> None:
        now = self.state()
        for name in now:
            if wanted.get(name) != now[name]:
                (self.home / name).unlink()
        for name, content in wanted.items():
            if now.get(name) == content:
                continue
            path = self.home / name
            self._make_room(path)
            if isinstance(content, str):
                path.symlink_to(content)
            else:
                path.write_bytes(content)
        self._drop_empty()

    def _make_room(self, path: Path) -> None:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        for parent in path.parents:
            if parent.is_symlink() or parent.is_file():
                parent.unlink()
        path.parent.mkdir(parents=True, exist_ok=True)

    def _drop_empty(self) -> None:
        for top in ("mod", "dep", "dep2"):
            for directory, _, _ in os.walk(self.home / top, topdown=False):
                if not os.listdir(directory):
                    os.rmdir(directory)

    # Edits: each does one thing and says what

    def files(self, *suffixes: str) -> list[Path]:
        return [
            self.home / name
            for name, content in self.state().items()
            if name.endswith(suffixes) and isinstance(content, bytes) and "/vendor/" not in name
        ]

    def pick(self, *suffixes: str) -> Path:
        found = self.files(*suffixes)
        return self.chance.choice(found) if found else self.root / "main.go"

    def rewrite(self, path: Path) -> None:
        """Other words of the same length in a file."""
        text = path.read_text()
        for old in ("red", "tan", "sky", "jet", "bay", "start"):
            if f'"{old}"' in text:
                path.write_text(text.replace(f'"{old}"', f'"{self.word()}"'))
                return
        path.write_text(text + "\n// more\n" if path.suffix == ".go" else self.word())

    def edit(self) -> str:
        path = self.pick(".go")
        self.rewrite(path)
        return f"edit {path}"

    def edit_keeping_time(self) -> str:
        path = self.pick(".go", ".txt")
        status = path.stat()
        self.rewrite(path)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        return f"edit {path}, keep its time"

    def touch(self) -> str:
        path = self.pick(".go", ".txt", "go.mod")
        os.utime(path)
        return f"touch {path}"

    def shift_time(self) -> str:
        path = self.pick(".go", ".txt", "go.mod")
        when = self.chance.choice((1, 10**9, int(time.time()) + 10**6))
        if self.chance.random() < 0.7:
            self.rewrite(path) if path.suffix != ".mod" else None
        os.utime(path, (when, when))
        return f"set the time of {path} to {when}"

    def package_of(self, directory: str) -> str:
        return "main" if directory in ("", ".") else Path(directory).name.rstrip("2")

    def add_file(self) -> str:
        directory = self.chance.choice((".", *PACKAGES))
        ending = self.chance.choice(("", "", "_linux", "_windows", "_test"))
        name = f"{directory}/n{self.chance.randrange(3)}{ending}.go"
        if (self.root / directory).is_dir():
            package = self.package_of(directory)
            self.write(name, f'package {package}\n\nfunc init() {{ println("{self.word()}") }}\n')
        return f"add {name}"

    def remove_file(self) -> str:
        found = [path for path in self.files(".go") if path.name.startswith("n")]
        if not found:
            return self.add_file()
        path = self.chance.choice(found)
        path.unlink()
        return f"remove {path}"

    def rename_file(self) -> str:
        path = self.pick(".go", ".txt")
        stem = self.chance.choice(("r1", "r2", "_r3", "r4_windows", "r5_linux", "r6_test"))
        path.rename(path.with_name(stem + path.suffix))
        return f"rename {path} to {stem}"

    def constrain(self) -> str:
        path = self.pick(".go")
        lines = path.read_text().splitlines(keepends=True)
        if lines and lines[0].startswith("//go:build"):
            lines = lines[2:]
        tag = self.chance.choice((*TAGS, ""))
        head = f"//go:build {tag}\n\n" if tag else ""
        path.write_text(head + "".join(lines))
        return f"constrain {path} by {tag!r}"

    def embed_file(self) -> str:
        name = f"{self.chance.choice(TREES)}/{self.chance.choice(('x', 'y', '.h', '_u'))}.txt"
        parent = (self.root / name).parent
        if not any(path.is_file() for path in (parent, *parent.parents)):
            self.write(name, self.word())
        return f"write {name}"

    def edit_embedded(self) -> str:
        path = self.pick(".txt")
        if path.suffix == ".txt":
            path.write_text(self.word())
        return f"write {path}"

    def remove_embedded(self) -> str:
        path = self.pick(".txt")
        if path.suffix == ".txt":
            path.unlink()
            self._drop_empty()
        return f"remove {path}"

    def replace_module(self) -> str:
        target = self.chance.choice(("../dep", "../dep2"))
        path = self.root / "go.mod"
        text = path.read_text()
        if self.chance.random() < 0.5:
            status = path.stat()
            path.write_text(MOD % ("1.21", target))
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        else:
            path.write_text(
                text.replace("=> ../dep2", "=> ../dep").replace("=> ../dep", f"=> {target}")
            )
        return f"replace by {target}"

    def change_version(self) -> str:
        version = self.chance.choice(("1.20", "1.21", "1.22"))
        self.write("go.mod", MOD % (version, "../dep"))
        return f"go {version}"

    def break_syntax(self) -> str:
        path = self.pick(".go", "go.mod")
        path.write_text(path.read_text() + "\n}}}\n")
        return f"break {path}"

    def turn_into_link(self) -> str:
        path, other = self.pick(".go", ".txt"), self.pick(".go", ".txt")
        if path != other and path.suffix == other.suffix and path.parent != other.parent:
            content = path.read_bytes()
            beside = path.with_suffix(".kept")
            beside.write_bytes(content if self.chance.random() < 0.5 else other.read_bytes())
            path.unlink()
            path.symlink_to(beside.name)
        return f"make {path} a link"

    def move_directory(self) -> str:
        name = self.chance.choice(("a/inner", "static/deep", "one1", "one2", "b"))
        path, aside = self.root / name, self.root / f"{name}.aside"
        if path.is_dir() and not aside.exists():
            path.rename(aside)
        elif aside.is_dir() and not path.exists():
            aside.rename(path)
        return f"move {name}"

    def swap_directory(self) -> str:
        """The neighbours trade places: every file behind their names is another, and old."""
        one, two = self.home / "dep", self.home / "dep2"
        if one.is_dir() and two.is_dir():
            one.rename(self.home / "third")
            two.rename(one)
            (self.home / "third").rename(two)
        return "swap dep and dep2"

    def link_package(self) -> str:
        path = self.root / "b"
        if path.is_symlink():
            path.unlink()
            path.symlink_to(self.chance.choice(("b.real", "b.other")))
        elif path.is_dir() and not (self.root / "b.real").exists():
            path.rename(self.root / "b.real")
            self.write("b.other/b.go", self.library("b", self.word()))
            path.symlink_to("b.real")
        return "turn the link b"

    def toggle(self, path: Path, content: str) -> str:
        if path.exists():
            path.unlink()
            return f"remove {path}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return f"write {path}"

    def toggle_workspace(self) -> str:
        return self.toggle(self.home / "go.work", WORK % self.chance.choice(("dep", "dep2")))

    def toggle_vendor(self) -> str:
        path = self.root / "vendor"
        if path.is_dir():
            shutil.rmtree(path)
            return "remove vendor"
        target = "../dep2" if "=> ../dep2" in (self.root / "go.mod").read_text() else "../dep"
        self.write("vendor/modules.txt", VENDORED % (target, target))
        self.write("vendor/example.com/dep/dep.go", self.library("dep", self.word()))
        return "write vendor"

    def toggle_profile(self) -> str:
        return self.toggle(self.root / "default.pgo", "")

    def toggle_nested_module(self) -> str:
        name = self.chance.choice(("a", "a/inner", "static", "static/deep", "other"))
        if not (self.root / name).is_dir():
            return "nothing"
        return self.toggle(self.root / name / "go.mod", f"module example.com/m/{name}\n")

    def toggle_tag_in_settings(self) -> str:
        return self.toggle(self.settings, "GOFLAGS=-tags=special\n")

    def toggle_tag_in_environment(self) -> str:
        self.env["GOFLAGS"] = "" if self.env.get("GOFLAGS") else "-tags=special"
        return f"GOFLAGS={self.env['GOFLAGS']}"

    def add_noise(self) -> str:
        name = self.chance.choice(("README", "a/notes.md", ".git/HEAD", "b/testdata/x.go"))
        self.write(name, self.word())
        return f"write {name}"

    def go_back(self) -> str:
        if not self.kept:
            return self.edit()
        self.restore(self.chance.choice(self.kept))
        return "go back to an earlier state"


class Tally(Counter[str]):
    """What became of the edits; `told` are the last of them, for whoever looks for a fault."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []


def meddle(shelf: Shelf, tally: Tally) -> Callable[[str], None]:
    """Mostly nothing; sometimes one more edit at a named point of the build."""
    if shelf.chance.random() > 0.1:
        return lambda _point: None
    point, left = shelf.chance.choice(PLACES), [True]

    def act(reached: str) -> None:
        if reached == point and left:
            left.clear()
            tally["edits inside a build"] += 1
            tally.told.append(f"at {point}: {shelf.edit()}")

    return act


def check(shelf: Shelf, tally: Tally) -> bool:
    """Build both ways and compare; whether there was a program."""
    expected = shelf.plain()
    try:
        result = shelf.build()
    except WherryError as error:
        assert expected is None, f"wherry failed where go build does not: {error}"
        tally["failed both ways"] += 1
        return False
    assert expected is not None, "wherry gave an image where go build fails"
    assert shelf.program(result) == expected, "another program than go build makes"
    tally["answered by a record" if result.reused else "go ran"] += 1
    return True


def run_edits(shelf: Shelf, count: int) -> Tally:
    """Edit and compare `count` times; a failure is told with the edits that led to it."""
    tally = Tally()
    shelf.plant()
    assert check(shelf, tally)
    shelf.kept = [shelf.state()]
    broken = 0
    for number in range(count):
        edit = shelf.go_back if broken > 2 else shelf.chance.choice(shelf.edits)
        shelf.far = shelf.chance.random() < 0.2
        try:
            tally.told = [*tally.told[-30:], f"{number}: {edit()}"]
            trace = meddle(shelf, tally)
            if trace.__name__ == "act":
                try:
                    shelf.build(trace=trace)
                except WherryError:
                    tally["failed with an edit inside"] += 1
            sound = check(shelf, tally)
        except Exception as error:
            error.add_note("\n".join(tally.told))
            raise
        tally["edits"] += 1
        broken = 0 if sound else broken + 1
        if sound and number % 5 == 0:
            shelf.kept = [*shelf.kept[-7:], shelf.state()]
        if number % 250 == 249:
            prune_store(str(shelf.store), {}, target=100 << 20)
    return tally


@pytest.fixture
def shelf(project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch) -> Shelf:
    made = Shelf(project({}), random.Random(7))
    monkeypatch.setattr("wherry.engines.local.gobuild.is_local", lambda _directory: not made.far)
    return made


def test_a_fixed_sample_of_edits(shelf: Shelf) -> None:
    tally = run_edits(shelf, 25)
    assert tally["edits"] == 25
    assert min(tally["go ran"], tally["answered by a record"], tally["failed both ways"]) > 0


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_very_many_edits(shelf: Shelf, tmp_path: Path) -> None:
    count = int(os.environ.get("WHERRY_SOAK_EDITS", "10000"))
    seed = int(os.environ.get("WHERRY_SOAK_SEED", "0")) or random.SystemRandom().getrandbits(32)
    shelf.chance.seed(seed)
    # A cache of its own: ten thousand small packages are of no use to anybody else.
    shelf.env["GOCACHE"] = str(tmp_path / "go-cache")
    print(f"seed {seed}, {count} edits")
    tally = run_edits(shelf, count)
    print(", ".join(f"{name}: {number}" for name, number in sorted(tally.items())))
    assert tally["edits"] == count
