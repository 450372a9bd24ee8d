# SPDX-License-Identifier: Apache-2.0
"""The program `act` of some bases: what busybox has no word for, as attributes, holes, exchanges.

Built by the machine's Go for no system but Linux itself, and kept in the user's cache directory
under a name that its source decides.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
from pathlib import Path

from wherry.golang.toolchain import find_go

_SOURCES = Path(__file__).parent / "act"


def program() -> bytes:
    """The program, built by the first who asks (some seconds)."""
    source = (_SOURCES / "main.go").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = cache / "wherry-tests" / "bin"
    directory.mkdir(parents=True, exist_ok=True)
    built = directory / f"act-{hashlib.sha256(source).hexdigest()[:12]}"
    with (directory / ".act-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            _build(built)
    return built.read_bytes()


def _build(program: Path) -> None:
    go = find_go(os.environ)
    part = program.with_suffix(".part")
    done = subprocess.run(
        [go.path, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", part, "."],
        env={**os.environ, **dict(go.env), "GOFLAGS": "", "CGO_ENABLED": "0", "GOWORK": "off"},
        cwd=_SOURCES, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    part.rename(program)
