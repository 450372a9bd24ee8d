# SPDX-License-Identifier: Apache-2.0
"""The other tools, and the base that ko cannot do without.

ko takes its base from a registry. So that no network is measured, one runs on loopback and holds
an empty base; ko's image is then the binary alone.
"""

from __future__ import annotations

import re
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.failure import BenchError, read_output
from bench.servers import memory_registry

_MODULES = {
    "ko": ("github.com/google/ko", ""),
    "crane": ("github.com/google/go-containerregistry", "/cmd/crane"),
}


class Peer(NamedTuple):
    """An installed program."""

    program: Path
    version: str


def install(name: str, go: str, directory: Path, env: Mapping[str, str]) -> Peer:
    """Installs ko or crane in `directory` unless it is there, from the Go module proxy."""
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / name
    if not program.exists():
        module, package = _MODULES[name]
        _install(go, module, package, {**env, "GOBIN": str(directory)})
    build_info = read_output((go, "version", "-m", str(program)), directory, env)
    version = re.search(r"^\tmod\t\S+\t(\S+)", build_info, re.MULTILINE)
    return Peer(program, version.group(1) if version else "unknown")


def skopeo(work: Path, env: Mapping[str, str]) -> Peer:
    """The skopeo on PATH."""
    program = shutil.which("skopeo", path=env["PATH"])
    if program is None:
        raise BenchError("skopeo is not there: apt-get install skopeo")
    return Peer(Path(program), read_output((program, "--version"), work, env).split()[-1])


def _install(go: str, module: str, package: str, env: Mapping[str, str]) -> None:
    directory = Path(env["GOBIN"])
    try:
        read_output((go, "install", f"{module}{package}@latest"), directory, env)
    except BenchError:
        # A proxy may hold back the newest release for some days: take the one before.
        versions = read_output((go, "list", "-m", "-versions", module), directory, env).split()
        releases = [version for version in versions[1:] if "-" not in version]
        if len(releases) < 2:
            raise
        read_output((go, "install", f"{module}{package}@{releases[-2]}"), directory, env)


@contextmanager
def base_registry(crane: Path, platform: str, work: Path, env: Mapping[str, str]) -> Iterator[str]:
    """A registry on loopback for the time of the block, holding `base`; gives its host:port."""
    with memory_registry(crane, work, env) as host:
        push_empty_base(crane, f"{host}/base", platform, work, env)
        yield host


def push_empty_base(
    crane: Path, reference: str, platform: str, work: Path, env: Mapping[str, str]
) -> None:
    """Puts an image with one layer that has no files into a registry."""
    empty = work / "empty.tar"
    with tarfile.open(empty, "w"):
        pass
    read_output((str(crane), "append", "-f", str(empty), "-t", reference), work, env)
    argv = (str(crane), "mutate", "--set-platform", platform, "-t", reference, reference)
    read_output(argv, work, env)
