# SPDX-License-Identifier: Apache-2.0
"""Real registries as fixtures: Debian's docker-registry in three forms, go-containerregistry's.

Each worker of pytest-xdist has its own servers, on ports that the servers choose themselves; they
live as long as the worker and die with it. Tests that share one keep to repositories of their own
(`repository_name`). Where a program is missing, its tests are skipped by name.
"""

from __future__ import annotations

import base64
import fcntl
import http.client
import json
import os
import re
import shutil
import ssl
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from certificates import Authority, Pair
from wherry.golang.toolchain import GoCommand

USER, PASSWORD = "boatman", "the password of the tests"
_CRANE = "github.com/google/go-containerregistry/cmd/crane@v0.21.9"
# Words of Go's where the module proxy cannot be reached, or may not be asked.
_UNREACHABLE = re.compile(
    r"dial tcp|i/o timeout|no such host|TLS handshake|proxyconnect|connection (?:refused|reset)"
    r"|disabled by GOPROXY|unexpected EOF|requires go >="
)
_CONFIG = """\
version: 0.1
log: {level: info, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: %(root)s}
  delete: {enabled: true}
  maintenance: {uploadpurging: {enabled: false}}
validation: {manifests: {urls: {allow: ['^https://layers[.]invalid/']}}}
http:
  addr: 127.0.0.1:0
  secret: of the tests
"""


class Server(NamedTuple):
    """A running registry: `host` as it stands in references, and what one needs to get in."""

    host: str
    ca_file: str = ""
    user: str = ""
    password: str = ""

    @property
    def scheme(self) -> str:
        return "https" if self.ca_file else "http"

    def docker_config(self, directory: Path) -> Path:
        """Write the credentials as `config.json` there: a DOCKER_CONFIG, or skopeo's authfile."""
        auths = {}
        if self.user:
            pair = f"{self.user}:{self.password}".encode()
            auths[self.host] = {"auth": base64.b64encode(pair).decode()}
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "config.json").write_text(json.dumps({"auths": auths}))
        return directory


# --- starting and ending ------------------------------------------------------------------------


@contextmanager
def running(
    words: list[str], log: Path, announcement: str, env: Mapping[str, str] | None = None
) -> Iterator[int]:
    """A server for the time of the block; gives the port, the first group of `announcement`.

    It is ended by its process id, and by the kernel should this process be killed.
    """
    setpriv = shutil.which("setpriv")
    tied = [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*tied, *words], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            env={**os.environ, "GOMAXPROCS": "2", "GOMEMLIMIT": "128MiB", **(env or {})},
        )  # fmt: skip
    try:
        yield _announced(server, log, announcement)
    finally:
        server.terminate()
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(5)


def _announced(server: subprocess.Popen[bytes], log: Path, announcement: str) -> int:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and server.poll() is None:
        match = re.search(announcement, log.read_text(errors="replace"))
        if match is not None:
            return int(match[1])
        time.sleep(0.02)
    raise AssertionError(f"the registry did not start: {log.read_text(errors='replace')}")


def _wait_for_answer(server: Server) -> None:
    """Until GET /v2/ is answered, by whatever status."""
    deadline = time.monotonic() + 30
    while True:
        if server.ca_file:
            context = ssl.create_default_context(cafile=server.ca_file)
            asking = http.client.HTTPSConnection(server.host, timeout=10, context=context)
        else:
            asking = http.client.HTTPConnection(server.host, timeout=10)
        try:
            asking.request("GET", "/v2/")
            asking.getresponse().read()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
        finally:
            asking.close()


@contextmanager
def docker_registry_server(
    directory: Path, *, with_password: bool = False, authority: Authority | None = None
) -> Iterator[Server]:
    """Debian's docker-registry for the time of the block, with its storage below `directory`."""
    if shutil.which("docker-registry") is None:
        pytest.skip("no docker-registry on PATH")
    directory.mkdir(parents=True, exist_ok=True)
    text = _CONFIG % {"root": directory / "storage"}
    if authority is not None:
        pair = authority.issue("registry")
        text += f"  tls: {{certificate: {pair.certificate}, key: {pair.key}}}\n"
    if with_password:
        text += f"auth: {{htpasswd: {{realm: tests, path: {_htpasswd(directory)}}}}}\n"
    (directory / "config.yml").write_text(text)
    words = ["docker-registry", "serve", str(directory / "config.yml")]
    with running(words, directory / "log", r"listening on 127\.0\.0\.1:(\d+)") as port:
        server = Server(
            f"127.0.0.1:{port}",
            authority.file if authority else "",
            *((USER, PASSWORD) if with_password else ()),
        )
        _wait_for_answer(server)
        yield server


def _htpasswd(directory: Path) -> Path:
    if shutil.which("htpasswd") is None:
        pytest.skip("no htpasswd on PATH")
    made = subprocess.run(
        ["htpasswd", "-niB", "-C", "4", USER], input=PASSWORD, capture_output=True, text=True,
        check=True, timeout=60,
    )  # fmt: skip
    path = directory / "htpasswd"
    path.write_text(made.stdout)
    return path


@contextmanager
def crane_registry_server(crane: Path, directory: Path) -> Iterator[Server]:
    """go-containerregistry's registry in memory, for the time of the block."""
    directory.mkdir(parents=True, exist_ok=True)
    words = [str(crane), "registry", "serve", "--address", "127.0.0.1:0"]
    with running(words, directory / "log", r"serving on port (\d+)") as port:
        server = Server(f"127.0.0.1:{port}")
        _wait_for_answer(server)
        yield server


# --- fixtures -----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority that no machine trusts."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on PATH")
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def server_certificate(authority: Authority) -> Pair:
    """A certificate of it for 127.0.0.1 and localhost, for `FaultRegistry(tls=...)`."""
    return authority.issue("server")


@pytest.fixture(scope="session")
def docker_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Debian's docker-registry by plain HTTP, open to all."""
    with docker_registry_server(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture(scope="session")
def docker_registry_htpasswd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same, for `USER` with `PASSWORD` only."""
    directory = tmp_path_factory.mktemp("registry-htpasswd")
    with docker_registry_server(directory, with_password=True) as server:
        yield server


@pytest.fixture(scope="session")
def docker_registry_tls(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[Server]:
    """The same, open to all, by HTTPS with a certificate of `authority`."""
    directory = tmp_path_factory.mktemp("registry-tls")
    with docker_registry_server(directory, authority=authority) as server:
        yield server


@pytest.fixture(scope="session")
def ggcr_registry(crane: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """go-containerregistry's registry by plain HTTP."""
    with crane_registry_server(crane, tmp_path_factory.mktemp("ggcr")) as server:
        yield server


@pytest.fixture
def repository_name() -> str:
    """The name of a repository that no other test uses."""
    return f"test-{uuid.uuid4().hex[:12]}/app"


@pytest.fixture(scope="session")
def crane(go: GoCommand) -> Path:
    """crane, built once from the Go module proxy and kept in the user's cache directory."""
    found = shutil.which("crane")
    if found is not None:
        return Path(found)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = cache / "wherry-tests" / "bin"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / "crane").exists():
            _install_crane(go, directory)
    return directory / "crane"


def _install_crane(go: GoCommand, directory: Path) -> None:
    env = {**os.environ, **dict(go.env), "GOBIN": str(directory), "GOFLAGS": "", "CGO_ENABLED": "0"}
    done = subprocess.run(
        [go.path, "install", _CRANE], env=env, cwd=directory, capture_output=True, text=True,
        check=False, timeout=280,
    )  # fmt: skip
    if done.returncode != 0 and _UNREACHABLE.search(done.stderr):
        pytest.skip(f"crane cannot be had: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
