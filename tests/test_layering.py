# SPDX-License-Identifier: Apache-2.0
"""The layers as data: a room imports only from lower layers; the environment enters at the edge."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCES = Path(__file__).resolve().parent.parent / "src" / "wherry"
MODULES = sorted(SOURCES.rglob("*.py"))

# Layer by room; `docs/architecture.md` says what each room is for.
LAYERS = {
    "errors": 1, "events": 1, "_version": 1,
    "oci": 2, "process": 2,
    # Between two layers: its waits end with the tokens of `process`.
    "transport": 2.5,
    "graph": 3, "golang": 3, "fstree": 3, "settings": 3, "vcs": 3, "registry": 3,
    "bases": 4, "sandbox": 4, "frontends": 4, "gocache": 4, "solver": 4, "store": 4,
    "advice": 5, "engines": 5, "exporters": 5,
    "api": 6,
    "cli": 7,
}  # fmt: skip
# The package's own front door and `python -m wherry` stand above all rooms.
DOORS = {"__init__", "__main__"}
# Where the process's environment, directory and arguments are read.
EDGES = {"cli", "api/public.py"}
# Programs of their own, started by command inside a namespace: no part of the main process.
PROGRAMS = {
    "sandbox/enter.py", "sandbox/namespace_worker.py", "sandbox/syscalls.py", "sandbox/worker.py",
}  # fmt: skip


def room_of(path: Path) -> str:
    first = path.relative_to(SOURCES).parts[0]
    return first.removesuffix(".py")


def imported_rooms(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            names = [node.module or ""]
            if node.module == "wherry":
                names = [f"wherry.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "wherry" and len(parts) > 1:
                yield node.lineno, parts[1]


def test_every_room_has_a_layer() -> None:
    rooms = {room_of(path) for path in MODULES} - DOORS
    assert rooms == set(LAYERS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCES)))
def test_a_room_imports_from_lower_layers_only(path: Path) -> None:
    room = room_of(path)
    if room in DOORS:
        return
    wrong = [
        f"{path.relative_to(SOURCES)}:{line} imports {other}"
        for line, other in imported_rooms(path)
        if other not in (room, "__version__") and LAYERS.get(other, 9) >= LAYERS[room]
    ]
    assert wrong == []


def test_the_environment_is_read_at_the_edge_only() -> None:
    wrong = []
    for path in MODULES:
        relative = path.relative_to(SOURCES)
        if relative.parts[0] in EDGES or str(relative) in EDGES | PROGRAMS:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Attribute)
                and node.attr in ("environ", "getenv", "chdir", "umask", "fork", "putenv")
                and isinstance(node.value, ast.Name)
                and node.value.id == "os"
            ):
                wrong.append(f"{relative}:{node.lineno} uses os.{node.attr}")
    assert wrong == []


def test_nothing_below_the_command_line_prints_or_exits() -> None:
    wrong = []
    for path in MODULES:
        relative = path.relative_to(SOURCES)
        if relative.parts[0] == "cli":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Name) and called.id in ("print", "exit", "quit", "input"):
                wrong.append(f"{relative}:{node.lineno} calls {called.id}")
    assert wrong == []


LINUX_ONLY_MODULES = {"spwd"}
# The rooms on the way of a Go build, which also runs on macOS.
GO_BUILD_ROOMS = set(LAYERS) - {"sandbox", "cli"}
LINUX_ONLY_CALLS = {
    "os.sched_getaffinity", "os.setns", "os.unshare", "os.memfd_create", "os.copy_file_range",
    "os.posix_fadvise", "os.splice", "os.eventfd", "os.getrandom", "os.setxattr", "os.getxattr",
    "os.O_PATH", "os.O_TMPFILE", "select.epoll", "signal.sigtimedwait", "fcntl.F_OFD_SETLK",
    "socket.AF_NETLINK",
}  # fmt: skip


def test_the_go_build_path_uses_nothing_that_only_linux_has() -> None:
    """Go builds run on macOS, where these tests do not: a call must be asked for by name first."""
    wrong = []
    for path in MODULES:
        relative = path.relative_to(SOURCES)
        if room_of(path) not in GO_BUILD_ROOMS or relative.name == "running.py":
            continue
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                names = LINUX_ONLY_MODULES & {alias.name for alias in node.names}
                wrong += [f"{relative}:{node.lineno} imports {name}" for name in names]
            if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)):
                continue
            name = f"{node.value.id}.{node.attr}"
            if name not in LINUX_ONLY_CALLS:
                continue
            # Asked for by name first, or its absence caught.
            if f'hasattr(os, "{node.attr}")' not in text and "AttributeError" not in text:
                wrong.append(f"{relative}:{node.lineno} {name}")
    assert wrong == []
