# SPDX-License-Identifier: Apache-2.0
"""Small Go modules for tests, and an environment that no setting of the machine reaches."""

import os
import shutil
from pathlib import Path

import pytest

from wherry.golang.environment import build_environment, overlay
from wherry.golang.toolchain import GoCommand, find_go
from wherry.oci.platform import Platform, host_platform

needs_go = pytest.mark.skipif(shutil.which("go") is None, reason="no go on PATH")

MAIN = "package main\n\nfunc main() { println(1) }\n"


def write_files(root: Path, files: dict[str, str]) -> Path:
    """Write `files` (relative name -> text) below `root`; a go.mod is added where none is given."""
    for name, text in {"go.mod": "module example.com/m\n\ngo 1.21\n", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def the_go() -> GoCommand:
    return find_go(os.environ)


def go_env(
    directory: Path | str, platform: Platform | None = None, *, cgo: bool = False, **more: str
) -> dict[str, str]:
    """Offline, without the user's Go settings, with the user's build cache."""
    user = {name: value for name, value in os.environ.items() if not name.startswith("GO")}
    user |= {"GOENV": "off", "GOPROXY": "off", "GOTOOLCHAIN": "local", "GOFLAGS": "", **more}
    for name in ("GOCACHE", "GOMODCACHE", "GOPATH"):
        if name in os.environ and name not in more:
            user[name] = os.environ[name]
    return build_environment(
        user, overlay(the_go(), platform or host_platform(), cgo=cgo), str(directory)
    )
