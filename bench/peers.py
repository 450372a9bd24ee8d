# SPDX-License-Identifier: Apache-2.0
"""ko, and the registry that it cannot do without.

ko takes its base from a registry. So that no network is measured, one runs on loopback and holds
an empty base; ko's image is then the binary alone.
"""

from __future__ import annotations

import re
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.failure import BenchError, read_output

_MODULES = {
    "ko": ("github.com/google/ko", ""),
    "crane": ("github.com/google/go-containerregistry", "/cmd/crane"),
}


@dataclass(frozen=True)
class Peers:
    """The installed programs."""

    ko: Path
    crane: Path
    ko_version: str


def install(go: str, directory: Path, env: Mapping[str, str]) -> Peers:
    """Installs what is missing in `directory`, newest releases, from the Go module proxy."""
    directory.mkdir(parents=True, exist_ok=True)
    for program, (module, package) in _MODULES.items():
        if not (directory / program).exists():
            _install(go, module, package, {**env, "GOBIN": str(directory)})
    build_info = read_output((go, "version", "-m", str(directory / "ko")), directory, env)
    version = re.search(r"^\tmod\t\S+\t(\S+)", build_info, re.MULTILINE)
    return Peers(
        ko=directory / "ko",
        crane=directory / "crane",
        ko_version=version.group(1) if version else "unknown",
    )


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
def registry(crane: Path, platform: str, work: Path, env: Mapping[str, str]) -> Iterator[str]:
    """A registry on loopback for the time of the block, holding `base`; gives its host:port."""
    log = work / "registry.log"
    argv = (str(crane), "registry", "serve", "--address", "127.0.0.1:0")
    with (
        log.open("wb") as stderr,
        subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stderr=stderr) as server,
    ):
        try:
            host = f"127.0.0.1:{_port(server, log)}"
            _push_empty_base(crane, f"{host}/base", platform, work, env)
            yield host
        finally:
            server.terminate()


def _port(server: subprocess.Popen[bytes], log: Path) -> int:
    for _ in range(100):
        match = re.search(r"serving on port (\d+)", log.read_text())
        if match is not None:
            return int(match.group(1))
        if server.poll() is not None:
            break
        time.sleep(0.1)
    raise BenchError(f"the registry did not start: {log.read_text().strip()}")


def _push_empty_base(
    crane: Path, reference: str, platform: str, work: Path, env: Mapping[str, str]
) -> None:
    empty = work / "empty.tar"
    with tarfile.open(empty, "w"):
        pass
    read_output((str(crane), "append", "-f", str(empty), "-t", reference), work, env)
    argv = (str(crane), "mutate", "--set-platform", platform, "-t", reference, reference)
    read_output(argv, work, env)
