# SPDX-License-Identifier: Apache-2.0
"""skopeo, crane and umoci against one registry: credentials and certificates are seen to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from registry_servers import Server

needs_skopeo = pytest.mark.skipif(shutil.which("skopeo") is None, reason="no skopeo on PATH")
needs_umoci = pytest.mark.skipif(shutil.which("umoci") is None, reason="no umoci on PATH")


def output_of(*words: str | Path, env: Mapping[str, str] | None = None) -> str:
    """What the command prints; AssertionError with its words where it fails."""
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, check=False, timeout=120, env=env
    )
    assert done.returncode == 0, f"{words}: {done.stderr}{done.stdout}"
    return done.stdout


class Skopeo:
    """skopeo; names are `repository:tag` or `repository@digest` within the server."""

    def __init__(self, server: Server, work: Path) -> None:
        self._server = server
        self._auth = ("--authfile", str(server.docker_config(work / "docker") / "config.json"))
        self._certificates = work / "skopeo-certificates"
        self._certificates.mkdir(parents=True, exist_ok=True)
        if server.ca_file:
            shutil.copy(server.ca_file, self._certificates / "ca.crt")

    def name(self, name: str) -> str:
        return f"docker://{self._server.host}/{name}"

    def push(self, source: str, name: str, *more: str) -> None:
        """Copy `oci:PATH:TAG`, `dir:PATH`, ... to the registry."""
        self._copy("dest", source, self.name(name), *more)

    def pull(self, name: str, target: str, *more: str) -> None:
        """Copy from the registry to `oci:PATH:TAG`, `dir:PATH`, ..."""
        self._copy("src", self.name(name), target, *more)

    def inspect(self, name: str, *more: str) -> dict[str, object]:
        """What `skopeo inspect` says."""
        return dict(json.loads(self._inspect(name, *more)))

    def raw(self, name: str) -> bytes:
        """The exact bytes of the manifest."""
        return self._inspect(name, "--raw").encode()

    def _inspect(self, name: str, *more: str) -> str:
        reach = self._reach("")
        return output_of("skopeo", "inspect", *reach, *self._auth, *more, self.name(name))

    def _copy(self, side: str, *words: str) -> None:
        always = ("--quiet", "--insecure-policy", *self._auth, *self._reach(f"{side}-"))
        output_of("skopeo", "copy", *always, *words)

    def _reach(self, prefix: str) -> tuple[str, ...]:
        if self._server.ca_file:
            return (f"--{prefix}cert-dir", str(self._certificates))
        return (f"--{prefix}tls-verify=false",)


class Crane:
    """crane; names as with `Skopeo`."""

    def __init__(self, program: Path, server: Server, work: Path) -> None:
        self._program = program
        self._server = server
        self._env = {**os.environ, "DOCKER_CONFIG": str(server.docker_config(work / "docker"))}
        if server.ca_file:
            self._env["SSL_CERT_FILE"] = server.ca_file

    def name(self, name: str) -> str:
        return f"{self._server.host}/{name}"

    def push(self, source: Path, name: str, *more: str) -> str:
        """Push a layout or a Docker archive; the digest that crane tells."""
        return self._run("push", *more, str(source), self.name(name)).strip().rpartition("@")[2]

    def pull(self, name: str, target: Path, *more: str) -> None:
        """Pull into a Docker archive, or with `--format=oci` into a layout."""
        self._run("pull", *more, self.name(name), str(target))

    def validate(self, name: str, *, fast: bool = False) -> None:
        """Read everything and check every digest; AssertionError where one is wrong.

        `fast`: leave out the layers' bytes, of which crane can check those in gzip only.
        """
        words = ("--fast",) if fast else ()
        assert "PASS" in self._run("validate", *words, "--remote", self.name(name))

    def manifest(self, name: str) -> bytes:
        """The exact bytes of the manifest."""
        return self._run("manifest", self.name(name)).encode()

    def digest(self, name: str) -> str:
        return self._run("digest", self.name(name)).strip()

    def config(self, name: str) -> bytes:
        return self._run("config", self.name(name)).encode()

    def copy(self, source: str, target: str) -> None:
        self._run("copy", self.name(source), self.name(target))

    def _run(self, *words: str) -> str:
        return output_of(self._program, *words, env=self._env)


def umoci_unpack(layout: Path, tag: str, bundle: Path) -> Path:
    """Unpack an image of a layout; gives the root file system."""
    output_of("umoci", "unpack", "--rootless", "--image", f"{layout}:{tag}", bundle)
    return bundle / "rootfs"
