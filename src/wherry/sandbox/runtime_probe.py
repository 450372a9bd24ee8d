# SPDX-License-Identifier: Apache-2.0
"""Finds the OCI runtime that works in the worker's namespaces, by starting a program with each."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Final, NamedTuple

from wherry.fstree.removal import remove_tree
from wherry.sandbox import oci_runtime
from wherry.sandbox.mounts import Mount

_TIMEOUT_SECONDS: Final = 20.0


class Found(NamedTuple):
    """A runtime's path, empty for none, whether it filters system calls, and why others failed."""

    runtime: str = ""
    seccomp: bool = False
    problems: tuple[str, ...] = ()


def installed_runtimes(search_path: str) -> tuple[str, ...]:
    """The paths of the runtimes that this machine has, best first."""
    # A plain user's PATH often leaves out where distributions put them.
    where = f"{search_path}:/usr/sbin:/sbin"
    found = (shutil.which(name, path=where) for name in oci_runtime.NAMES)
    return tuple(path for path in found if path)


def find_runtime(runtimes: tuple[str, ...], directory: str, mounts: tuple[Mount, ...]) -> Found:
    """The first of `runtimes` that works with `mounts`; `directory` is for what they need."""
    problems: list[str] = []
    for runtime in runtimes:
        problem = probe_runtime(runtime, directory, mounts)
        if not problem:
            return Found(runtime, _filters_calls(runtime), tuple(problems))
        problems.append(f"{os.path.basename(runtime)}: {problem}")
    return Found(problems=tuple(problems))


def probe_runtime(runtime: str, directory: str, mounts: tuple[Mount, ...]) -> str:
    """Why `runtime` does not work here; empty where it does."""
    program = shutil.which("true", path="/bin:/usr/bin")
    if program is None:
        return "no program `true` to try it with"
    bundle = os.path.join(directory, "probe")
    os.mkdir(bundle, 0o755)
    try:
        return oci_runtime.probe(runtime, bundle, mounts, program)
    finally:
        remove_tree(bundle)


def _filters_calls(runtime: str) -> bool:
    """Whether the runtime was built with libseccomp, as its version says."""
    try:
        done = subprocess.run(
            [runtime, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    words = done.stdout.decode("utf-8", "replace").lower()
    # runc: "libseccomp: 2.5.4"; crun: "+SECCOMP" among its features.
    return "libseccomp:" in words or "+seccomp" in words
