# SPDX-License-Identifier: Apache-2.0
"""What tests of the whole command share: an environment, a module, a store, a way to start it.

Every test has a HOME and a store of its own. Go's two caches are the ones of the user who runs the
tests, so that the standard library is compiled once and not once a test.
"""

import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from wherry.api.building import build_image
from wherry.api.request import BuildRequest, BuildResult
from wherry.errors import MachineError
from wherry.events import discard
from wherry.golang.toolchain import GoCommand, find_go
from wherry.oci.platform import host_platform
from wherry.process.cancel import CancelToken
from wherry.process.clock import next_file_clock_ns

GO_MOD = "module example.com/m\n\ngo 1.21\n"
MAIN = 'package main\n\nfunc main() { println("x") }\n'
# What reaches a test from the machine; all else of its environment stays out.
_KEPT = ("PATH", "GOTOOLCHAIN", "GOPROXY", "GOSUMDB", "GONOSUMDB", "TMPDIR", "SSL_CERT_FILE",
         "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy",
         "no_proxy", "XDG_RUNTIME_DIR")  # fmt: skip

Files = Mapping[str, str | bytes]
Finished = subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def go() -> GoCommand:
    """The Go that wherry would use; tests that need one are skipped where there is none."""
    try:
        return find_go(os.environ)
    except MachineError as error:
        pytest.skip(f"no Go here: {error}")


@pytest.fixture(scope="session")
def go_caches(go: GoCommand) -> dict[str, str]:
    """Go's caches of the user who runs the tests."""
    asked = subprocess.run(
        [go.path, "env", "-json", "GOCACHE", "GOMODCACHE"],
        env={**os.environ, **dict(go.env)},
        cwd="/",
        check=True,
        capture_output=True,
    )
    return dict(json.loads(asked.stdout))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home directory with nothing in it but Go's telemetry turned off."""
    telemetry = tmp_path / "home" / ".config" / "go" / "telemetry"
    telemetry.mkdir(parents=True)
    (telemetry / "mode").write_text("off")
    return tmp_path / "home"


@pytest.fixture
def go_env(home: Path, go_caches: dict[str, str]) -> dict[str, str]:
    """A whole environment: empty HOME, no GOFLAGS, the user's Go caches and PATH."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, **go_caches, "HOME": str(home), "LC_ALL": "C.UTF-8"}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Where this test's store will be."""
    return tmp_path / "store"


def write_module(root: Path, files: Files) -> Path:
    """Write `files` (relative name: text or bytes) below `root`; go.mod and main.go by default."""
    for name, content in {"go.mod": GO_MOD, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content)
    return root


class Project:
    """A Go module, the store its images go to, and what a plain `go build` makes of it.

    `root` is where the commands run, `env` their environment; both may be changed at will.
    """

    # What wherry passes to `go build` where GOFLAGS says nothing of it.
    FLAGS = ("-trimpath", "-ldflags=-s -w", "-buildvcs=false")

    def __init__(self, root: Path, env: dict[str, str], store: Path, go: GoCommand) -> None:
        self.root = root
        self.env = env
        self.store = store
        self.source = "."
        self._go = go

    def write(self, name: str, content: str | bytes = "") -> Path:
        """Write a file below the root, with its directories."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def build(self, **asked: object) -> BuildResult:
        """Build with records, on an empty base unless another is asked for."""
        request = BuildRequest(
            self.source, str(self.root), dict(self.env), str(self.store), base="scratch"
        )
        return build_image(request._replace(**asked), discard, CancelToken())  # type: ignore[arg-type]

    def program(self, result: BuildResult) -> bytes:
        """The program in an image of the store."""
        manifest = json.loads(self.blob(result.digest))
        layer = gzip.decompress(self.blob(manifest["layers"][-1]["digest"]))
        with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
            file = archive.extractfile(result.binaries[0].path.lstrip("/"))
            assert file is not None
            return file.read()

    def blob(self, digest: str) -> bytes:
        """The bytes of a blob of the store."""
        return (self.store / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()

    def go(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """Run go at the root, for the platform that images are for."""
        platform = host_platform()
        on_top = {"CGO_ENABLED": "0", "GOOS": "linux", "GOARCH": platform.architecture}
        return subprocess.run(
            [self._go.path, *words],
            cwd=self.root,
            env={**self.env, **dict(self._go.env), **on_top, "PWD": str(self.root)},
            capture_output=True,
            check=False,
        )

    def plain(self, flags: tuple[str, ...] = FLAGS) -> bytes | None:
        """What `go build` makes, None where it fails."""
        output = self.store.parent / "plain"
        ran = self.go("build", *flags, "-o", str(output), self.source)
        return output.read_bytes() if ran.returncode == 0 else None

    def right(self, flags: tuple[str, ...] = FLAGS, **asked: object) -> BuildResult:
        """Build, and make sure that the image holds just what `go build` makes."""
        result = self.build(**asked)
        assert self.program(result) == self.plain(flags), "another program than go build makes"
        return result

    def settled(self) -> BuildResult:
        """Build twice: the second build is answered by the record of the first."""
        first = self.right()
        assert not first.reused
        second = self.build()
        assert second.reused, "an unchanged build ran go again"
        assert second.digest == first.digest
        return first


@pytest.fixture
def project(
    module: Callable[..., Path], go_env: dict[str, str], store: Path, go: GoCommand
) -> Callable[..., Project]:
    """`project({name: text})`: a `Project` in tmp_path/"mod"."""

    def make(files: Files | None = None) -> Project:
        return Project(module(files), dict(go_env), store, go)

    return make


@pytest.fixture
def module(tmp_path: Path) -> Callable[..., Path]:
    """`module()`: a smallest program in tmp_path/"mod"; `module({name: text}, "other")`: more."""

    def make(files: Files | None = None, name: str = "mod") -> Path:
        root = write_module(tmp_path / name, {"main.go": MAIN} if files is None else files)
        # A build takes what was written in the very tick of its start for an edit during it.
        next_file_clock_ns()
        return root

    return make


@pytest.fixture
def wherry(go_env: dict[str, str], store: Path, tmp_path: Path) -> Callable[..., Finished]:
    """`wherry("build", ".", cwd=…)`: run the command in this test's environment and store.

    `env` replaces the environment whole (WHERRY_STORE is added), `more` adds to it.
    """

    def start(
        *words: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        more: Mapping[str, str] | None = None,
        timeout: float = 240,
    ) -> Finished:
        around = {"WHERRY_STORE": str(store), **(go_env if env is None else env), **(more or {})}
        return subprocess.run(
            [sys.executable, "-m", "wherry", *map(str, words)],
            cwd=cwd or tmp_path,
            env=around,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return start
