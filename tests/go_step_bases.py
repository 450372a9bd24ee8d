# SPDX-License-Identifier: Apache-2.0
"""Base images with a Go tree, made of this machine's own programs, for the world's registry.

`go` has busybox, users, a module proxy in `/proxy` that GOPROXY names, and of the machine's Go tree
just what compiles packages that import nothing; its environment is that of the official image.
`go-std` has the standard library and the other tools beside, `go-cgo` this machine's gcc too. The
archives are kept in the user's cache directory, under names that their
contents decide.
"""

from __future__ import annotations

import fcntl
import functools
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from differential.bases import Pusher
from differential.model import EPOCH
from differential.world import World
from go_step_model import MODULES, proxy_files
from wherry.golang.toolchain import find_go

_PATH = "/go/bin:/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENV = [f"PATH={_PATH}", "GOPATH=/go", "GOTOOLCHAIN=local", "GOPROXY=file:///proxy", "GOSUMDB=off"]
_CONFIGS = {
    "go": {"Env": [*_ENV, "CGO_ENABLED=0"], "WorkingDir": "/go"},
    "go-std": {"Env": [*_ENV, "CGO_ENABLED=0"], "WorkingDir": "/go"},
    "go-cgo": {"Env": _ENV, "WorkingDir": "/go"},
}
_PASSWD = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:App:/home/app:/bin/sh\n"
_GROUP = "root:x:0:\napp:x:1000:\n"
_DIRECTORIES = (
    ("bin", 0o755, 0), ("etc", 0o755, 0), ("go", 0o1777, 0), ("go/bin", 0o1777, 0),
    ("go/src", 0o1777, 0), ("home", 0o755, 0), ("home/app", 0o755, 1000), ("root", 0o700, 0),
    ("tmp", 0o1777, 0), ("usr", 0o755, 0), ("usr/local", 0o755, 0),
    ("root/.config", 0o755, 0), ("root/.config/go", 0o755, 0),
    ("root/.config/go/telemetry", 0o755, 0),
)  # fmt: skip
# What the Go command writes below HOME by itself is another in each build.
_FILES = {"etc/passwd": _PASSWD, "etc/group": _GROUP, "root/.config/go/telemetry/mode": "off"}
_SMALL = ("asm", "compile")
_TOOLS = (*_SMALL, "cgo", "cover", "link", "preprofile", "vet")
_SMALL_STD = ("src/unsafe/", "src/unicode/utf8/")
_NO_PACKAGES = re.compile(r"lib(a|l|t|ub)san|libgomp|libitm|libquadmath|libtirpc|libnsl|"
                          r"libcrypt-dev|rpcsvc|manpages|debconf")  # fmt: skip


class NoBase(Exception):
    """Such a base cannot be made here; the text says why, for the reason of a skip."""


class _Made(NamedTuple):
    archive: Path
    diff_id: str


def push(name: str, world: World) -> None:
    """Put `go`, `go-std` or `go-cgo` into the registry, once for a world."""
    place = Path(world.layouts).parent
    with (place / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (place / f"{name}.pushed").exists():
            return
        made = _kept(name)
        pusher = Pusher(world.names["REGISTRY"])
        pusher.push_tar(name, made.archive.read_bytes(), made.diff_id, _CONFIGS[name])
        pusher.close()
        (place / f"{name}.pushed").touch()


def _kept(name: str) -> _Made:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wherry-tests"
    cache.mkdir(parents=True, exist_ok=True)
    source = Path(__file__).read_bytes() + repr(MODULES).encode() + _go_root()[1].encode()
    key = hashlib.sha256(source).hexdigest()[:12]
    archive, facts = cache / f"{name}-{key}.tar.gz", cache / f"{name}-{key}.json"
    with (cache / f".{name}-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not facts.exists():
            for old in (*cache.glob(f"{name}-????????????.tar.gz"),
                        *cache.glob(f"{name}-????????????.json")):  # fmt: skip
                old.unlink()
            tar = _root(with_std=name != "go", with_compiler=name == "go-cgo")
            archive.write_bytes(gzip.compress(tar, 1, mtime=0))
            facts.write_text(json.dumps("sha256:" + hashlib.sha256(tar).hexdigest()))
    return _Made(archive, json.loads(facts.read_text()))


@functools.cache
def _go_root() -> tuple[Path, str]:
    """Where the machine's Go tree is, and its version."""
    go = find_go(os.environ)
    env = {**os.environ, **dict(go.env)}
    asked = subprocess.run(
        [go.path, "env", "GOROOT", "GOVERSION"], env=env, cwd="/", check=True, capture_output=True,
        text=True,
    )  # fmt: skip
    root, version = asked.stdout.splitlines()
    return Path(root), version


# --- the archive --------------------------------------------------------------------------------


def _root(*, with_std: bool, with_compiler: bool) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        root = _Root(archive)
        for name, mode, owner in _DIRECTORIES:
            root.directory(name, mode, owner)
        for name, text in _FILES.items():
            root.data(name, text.encode())
        _put_busybox(root)
        for name, data in proxy_files(MODULES).items():
            root.data(name, data)
        _put_go(root, _TOOLS if with_std else _SMALL, "src/" if with_std else _SMALL_STD)
        if with_compiler:
            _put_compiler(root)
    return made.getvalue()


class _Root:
    """Puts each name into the archive once, its directories first; times are fixed."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._known: set[str] = set()

    def directory(self, name: str, mode: int = 0o755, owner: int = 0) -> None:
        if name and name not in self._known:
            self.directory(name.rpartition("/")[0])
            self._put(name, tarfile.DIRTYPE, mode, owner=owner)

    def data(self, name: str, data: bytes, mode: int = 0o644) -> None:
        self.directory(name.rpartition("/")[0])
        self._put(name, tarfile.REGTYPE, mode, data)

    def link(self, name: str, target: str) -> None:
        self.directory(name.rpartition("/")[0])
        self._put(name, tarfile.SYMTYPE, 0o777, target=target)

    def copy(self, path: Path, name: str) -> None:
        if path.is_symlink():
            self.link(name, os.readlink(path))
        elif path.is_file():
            self.data(name, path.read_bytes(), 0o755 if path.stat().st_mode & 0o100 else 0o644)

    def _put(
        self, name: str, kind: bytes, mode: int, data: bytes = b"", *, target: str = "",
        owner: int = 0,
    ) -> None:  # fmt: skip
        if name in self._known:
            return
        self._known.add(name)
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.linkname = kind, mode, target
        info.uid = info.gid = owner
        info.mtime, info.size = EPOCH, len(data)
        self._archive.addfile(info, io.BytesIO(data))


def _put_busybox(root: _Root) -> None:
    busybox = shutil.which("busybox")
    if busybox is None:
        raise NoBase("busybox is missing: no root to run in")
    asked = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True)
    root.data("bin/busybox", Path(busybox).read_bytes(), 0o755)
    for word in sorted({*asked.stdout.split()} - {"busybox"}):
        root.link(f"bin/{word}", "busybox")


def _put_go(root: _Root, tools: tuple[str, ...], packages: str | tuple[str, ...]) -> None:
    """What building, vetting and testing read of a Go tree: not its own tests and commands."""
    tree = _go_root()[0]

    def put(directory: str, is_wanted: Callable[[str], bool]) -> None:
        for path in sorted((tree / directory).rglob("*")):
            inside = path.relative_to(tree).as_posix()
            if is_wanted(inside):
                root.copy(path, f"usr/local/go/{inside}")

    for name in ("VERSION", "go.env", "bin/go"):
        root.copy(tree / name, f"usr/local/go/{name}")
    put("pkg/include", lambda name: True)
    put("pkg/tool", lambda name: name.rpartition("/")[2] in tools)
    root.copy(tree / "src/go.mod", "usr/local/go/src/go.mod")
    put("src", lambda name: name.startswith(packages) and not name.startswith("src/cmd/")
        and "/testdata/" not in name and not name.endswith("_test.go"))  # fmt: skip


def _put_compiler(root: _Root) -> None:
    """gcc, binutils and the C library of this machine, as dpkg lists them."""
    if shutil.which("dpkg-query") is None or shutil.which("gcc") is None:
        raise NoBase("gcc or dpkg-query is missing: no compiler to put into a base")
    root.link("lib", "usr/lib")
    root.link("lib64", "usr/lib64")
    asked = subprocess.run(
        ["dpkg-query", "-L", *sorted(_closure("gcc", "libc6-dev"))], check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    for line in sorted({*asked.stdout.splitlines()}):
        path = Path(line)
        if line.startswith("/") and not path.is_dir() and "/share/" not in line:
            real = Path(os.path.realpath(path.parent)) / path.name  # /lib is a link to /usr/lib
            root.copy(path, real.as_posix().lstrip("/"))


def _closure(*names: str) -> set[str]:
    asked = subprocess.run(
        ["dpkg-query", "-W", "-f", "${binary:Package}\t${Depends}\n"], check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    depends = {
        name.partition(":")[0]: needed
        for name, _, needed in (line.partition("\t") for line in asked.stdout.splitlines())
    }
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in depends and name not in found and not _NO_PACKAGES.match(name):
            found.add(name)
            waiting += _names(depends[name])
    return found


def _names(needed: str) -> Iterator[str]:
    for alternatives in needed.split(","):
        for one in alternatives.split("|"):
            if match := re.match(r"\s*([a-z0-9.+-]+)", one):
                yield match[1]
