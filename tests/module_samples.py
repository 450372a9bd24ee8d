# SPDX-License-Identifier: Apache-2.0
"""Go modules for tests: a module proxy in a directory, machines that build with it, and packs."""

import base64
import hashlib
import io
import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from golang_support import go_env, the_go
from wherry.gocache.module_listing import Listings
from wherry.gocache.module_names import ModuleVersion
from wherry.gocache.module_sums import read_sums, sum_files
from wherry.gocache.module_tree import ModuleTree, StagedTree, plan_tree
from wherry.gocache.module_use import Question, on_tree, unresolved
from wherry.gocache.modules import Choice, ModuleCache, choose, private_patterns
from wherry.gocache.pack import unpack, write_pack
from wherry.gocache.table import Row, Table
from wherry.golang.facts import query_go
from wherry.golang.packages import Package, list_packages
from wherry.process.cancel import CancelToken

FLAGS = ("-trimpath",)


def escaped(text: str) -> str:
    return "".join("!" + letter.lower() if letter.isupper() else letter for letter in text)


def h1(files: Mapping[str, bytes]) -> str:
    """Go's hash, written apart from the product."""
    lines = "".join(
        f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)
    )
    return "h1:" + base64.b64encode(hashlib.sha256(lines.encode()).digest()).decode()


@dataclass
class Proxy:
    """A module proxy as a directory; `sums` are the lines of go.sum for what it has."""

    root: Path
    sums: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"file://{self.root}"

    def add(self, path: str, version: str, files: Mapping[str, str | bytes]) -> None:
        """Add a module; a go.mod is made where none is given."""
        given = {"go.mod": f"module {path}\n\ngo 1.21\n", **files}
        content = {
            name: text.encode() if isinstance(text, str) else text for name, text in given.items()
        }
        place = self.root / escaped(path) / "@v"
        place.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(place / f"{escaped(version)}.zip", "w", zipfile.ZIP_DEFLATED) as file:
            for name, data in content.items():
                file.writestr(f"{path}@{version}/{name}", data)
        (place / f"{escaped(version)}.mod").write_bytes(content["go.mod"])
        info = {"Version": version, "Time": "2024-01-02T03:04:05Z"}
        (place / f"{escaped(version)}.info").write_text(json.dumps(info))
        with (place / "list").open("a") as file:
            file.write(f"{version}\n")
        prefix = f"{path}@{version}/"
        self.sums[path, version] = h1({prefix + name: data for name, data in content.items()})
        self.sums[path, f"{version}/go.mod"] = h1({"go.mod": content["go.mod"]})

    def go_sum(self) -> str:
        return "".join(f"{path} {version} {sum}\n" for (path, version), sum in self.sums.items())


@dataclass
class Machine:
    """A user's machine: caches below `root`, and the module to build in `root/src`.

    GOCACHE is the one of the test run unless `own_cache`: nothing that is tested needs a cold one.
    """

    root: Path
    proxy: Proxy
    more: dict[str, str] = field(default_factory=dict)
    cgo: bool = False

    @property
    def source(self) -> Path:
        return self.root / "src"

    @property
    def modcache(self) -> Path:
        return self.root / "gomodcache"

    @property
    def trees(self) -> str:
        return str(self.root / "trees")

    def env(self, *, online: bool = True, **more: str) -> dict[str, str]:
        settings = {
            "GOMODCACHE": str(self.modcache),
            "GOPROXY": self.proxy.url if online else "off",
            "GONOSUMDB": "",
            "GOSUMDB": "off",
            **self.more,
            **more,
        }
        return go_env(self.source, cgo=self.cgo, **settings)

    def write(self, files: Mapping[str, str], requires: Sequence[str] = ()) -> None:
        """Write the module: `requires` are `PATH VERSION` lines; go.sum is the proxy's."""
        lines = "".join(f"require {line}\n" for line in requires)
        given = {"go.mod": f"module example.com/m\n\ngo 1.21\n\n{lines}", **files}
        given.setdefault("go.sum", self.proxy.go_sum())
        for name, text in given.items():
            path = self.source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def go(
        self, *args: str, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [the_go().path, *args], cwd=self.source, env=dict(env or self.env()),
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def build(self, name: str, env: Mapping[str, str] | None = None, *flags: str) -> bytes:
        """The program, built at once; a failure fails the test."""
        out = self.root / name
        done = self.go(
            "build", "-trimpath", "-buildvcs=false", *flags, "-o", str(out), ".", env=env
        )
        assert done.returncode == 0, done.stderr
        return out.read_bytes()

    def packages(
        self, tree: ModuleTree | None = None, *, online: bool = True, flags: Sequence[str] = FLAGS
    ) -> tuple[Package, ...]:
        env = self.env(online=online) if tree is None else self.tree_env(tree, online=online)
        return list_packages(the_go(), str(self.source), (".",), tuple(flags), env, CancelToken())

    def tree_env(self, tree: ModuleTree, *, online: bool = True) -> dict[str, str]:
        env = self.env(online=online)
        facts = query_go(the_go(), str(self.source), env, CancelToken())
        return {**env, **dict(on_tree(the_go(), facts, env, tree.path).env)}

    def cache(self, root: str = "", *, private: bool = False) -> ModuleCache:
        facts = query_go(the_go(), str(self.source), self.env(), CancelToken())
        return ModuleCache(
            root or facts.gomodcache,
            read_sums(sum_files(facts, FLAGS, str(self.source))),
            "" if private else private_patterns(facts),
            Listings(str(self.root / "listings")),
        )

    def chosen(
        self, packages: Iterable[Package] | None = None, *, root: str = "", private: bool = False
    ) -> Choice:
        found = self.packages() if packages is None else packages
        return choose(found, self.cache(root, private=private), CancelToken())

    def fault(
        self, packages: Iterable[Package], tree: ModuleTree, flags: Sequence[str] = FLAGS
    ) -> str:
        facts = query_go(the_go(), str(self.source), self.env(), CancelToken())
        return unresolved(packages, tree, facts, Question(str(self.source), flags, (".",)))

    def restored(self, *packs: tuple[Table, bytes]) -> ModuleTree:
        tree, refused = self.restored_with_refused(*packs)
        assert not refused
        return tree

    def restored_with_refused(
        self, *packs: tuple[Table, bytes]
    ) -> tuple[ModuleTree, dict[ModuleVersion, str]]:
        plan = plan_tree([row for table, _ in packs for row in table.rows], self.cache().sums)
        with StagedTree(self.trees, plan) as staged:
            for table, data in packs:
                unpack(table, io.BytesIO(data), plan.contents, staged.place, CancelToken())
            return staged.finish()


def packed(choice: Choice, keep: Callable[[Row], bool] = lambda _row: True) -> tuple[Table, bytes]:
    """A pack of the rows of a choice that `keep` lets pass."""
    out = io.BytesIO()
    rows = filter(keep, choice.rows)
    written = write_pack("modules", rows, choice.open, out.write, CancelToken())
    assert not written.lost
    return written.table, out.getvalue()


def pack_of(files: Mapping[str, bytes]) -> tuple[Table, bytes]:
    """A pack of these contents by their keys, right or not."""
    rows = [Row(key, hashlib.sha256(data).hexdigest(), len(data)) for key, data in files.items()]
    out = io.BytesIO()
    written = write_pack(
        "modules", rows, lambda row: io.BytesIO(files[row.key]), out.write, CancelToken()
    )
    return written.table, out.getvalue()


def contents_of(choice: Choice) -> dict[str, bytes]:
    """What a choice would pack, by its keys."""
    found = {}
    for row in choice.rows:
        with choice.open(row) as file:
            found[row.key] = file.read()
    return found


def tree_state(root: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below `root` with its mode and content, lock files aside."""
    return {
        str(path.relative_to(root)): (path.stat().st_mode, path.read_bytes())
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix != ".lock" and path.name != "lock"
    }


def remove(path: Path) -> None:
    """Remove a tree that Go made read-only."""
    for directory, _, _ in os.walk(path):
        Path(directory).chmod(0o755)
    shutil.rmtree(path)
