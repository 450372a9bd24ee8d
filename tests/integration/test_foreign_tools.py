# SPDX-License-Identifier: Apache-2.0
"""wherry's images in the hands of other programs: skopeo, umoci, crane and a registry."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import wherry
from wherry.golang.toolchain import GoCommand
from wherry_fixtures import write_module

_CRANE = "github.com/google/go-containerregistry/cmd/crane@v0.21.9"
# Words of Go's where the module proxy cannot be reached, or may not be asked.
_UNREACHABLE = re.compile(
    r"dial tcp|i/o timeout|no such host|TLS handshake|proxyconnect|connection (?:refused|reset)"
    r"|disabled by GOPROXY|unexpected EOF|requires go >="
)

needs_skopeo = pytest.mark.skipif(shutil.which("skopeo") is None, reason="no skopeo on PATH")
needs_umoci = pytest.mark.skipif(shutil.which("umoci") is None, reason="no umoci on PATH")


class Made(NamedTuple):
    """One image as wherry wrote it, once as a layout's directory and once as an archive."""

    digest: str
    config_digest: str
    layout: Path
    archive: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, go_caches: dict[str, str]) -> Made:
    """A tiny program with everything that a configuration can say, under two names."""
    work = tmp_path_factory.mktemp("made")
    settings = (
        '[image.hello]\npackages = ["."]\nports = [8000, "53/udp"]\nargs = ["--loud"]\n'
        'workdir = "/tmp"\nenv = { LOG_FORMAT = "json" }\nlabels = { team = "shop" }\n'
    )
    program = (
        'package main\n\nimport "os"\n\n'
        'func main() { println("hello", os.Getenv("LOG_FORMAT"), len(os.Args)) }\n'
    )
    module = write_module(work / "mod", {"main.go": program, "wherry.toml": settings})
    env = {"PATH": os.environ["PATH"], **go_caches, "HOME": str(work), "GOPROXY": "off"}
    layout, archive = work / "layout", work / "image.tar"
    result = wherry.build(
        module,
        ["registry.example.com/shop/hello:1.4", "hello:newest"],
        [f"type=oci,tar=false,dest={layout}", f"type=oci,dest={archive}"],
        store=work / "store",
        surroundings=wherry.Surroundings(cwd=str(work), env=env),
    )
    return Made(result.digest, result.config_digest, layout, archive)


def output_of(*words: str | Path) -> str:
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, f"{words}: {done.stderr}{done.stdout}"
    return done.stdout


def digest_of(data: str | bytes) -> str:
    data = data.encode() if isinstance(data, str) else data
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


# --- skopeo -------------------------------------------------------------------------------------


@needs_skopeo
@pytest.mark.parametrize("tag", ["1.4", "newest"])
def test_skopeo_reads_directory_and_archive_by_each_tag(made: Made, tag: str) -> None:
    for name in (f"oci:{made.layout}:{tag}", f"oci-archive:{made.archive}:{tag}"):
        seen = json.loads(output_of("skopeo", "inspect", name))
        assert seen["Digest"] == made.digest
        assert seen["Labels"]["org.opencontainers.image.title"] == "hello"
        assert len(seen["Layers"]) == 2
        assert digest_of(output_of("skopeo", "inspect", "--raw", name)) == made.digest


@needs_skopeo
def test_skopeo_shows_a_config_that_reads_well(made: Made) -> None:
    name = f"oci:{made.layout}:1.4"
    raw = output_of("skopeo", "inspect", "--config", "--raw", name)
    assert digest_of(raw) == made.config_digest
    config = json.loads(output_of("skopeo", "inspect", "--config", name))
    assert config["config"] == {
        "User": "65532:65532",
        "ExposedPorts": {"53/udp": {}, "8000/tcp": {}},
        "Env": [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/app",
            "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
            "LOG_FORMAT=json",
        ],
        "Entrypoint": ["/app/m"],
        "Cmd": ["--loud"],
        "WorkingDir": "/tmp",
        "Labels": {"org.opencontainers.image.title": "hello", "team": "shop"},
    }
    assert [line["created_by"] for line in config["history"]] == [
        "wherry base static",
        "wherry go build example.com/m",
    ]


@needs_skopeo
def test_skopeo_copies_there_and_back_without_a_changed_byte(made: Made, tmp_path: Path) -> None:
    copy = ("skopeo", "copy", "--quiet", "--preserve-digests", "--insecure-policy")
    output_of(*copy, f"oci-archive:{made.archive}:1.4", f"dir:{tmp_path / 'dir'}")
    output_of(*copy, f"dir:{tmp_path / 'dir'}", f"oci:{tmp_path / 'back'}:again")
    for blob in (made.layout / "blobs" / "sha256").iterdir():
        copied = tmp_path / "back" / "blobs" / "sha256" / blob.name
        assert copied.read_bytes() == blob.read_bytes()


@needs_skopeo
def test_skopeo_makes_a_docker_archive_of_it(made: Made, tmp_path: Path) -> None:
    target = f"docker-archive:{tmp_path / 'docker.tar'}:hello:1"
    words = ("skopeo", "copy", "--quiet", "--insecure-policy")
    output_of(*words, f"oci:{made.layout}:1.4", target)
    seen = json.loads(output_of("skopeo", "inspect", f"docker-archive:{tmp_path / 'docker.tar'}"))
    assert seen["Os"] == "linux"
    assert len(seen["Layers"]) == 2


# --- umoci --------------------------------------------------------------------------------------


@needs_umoci
def test_umoci_lists_and_describes_the_image(made: Made) -> None:
    tags = output_of("umoci", "ls", "--layout", made.layout).split()
    assert sorted(tags) == ["1.4", "newest"]
    seen = json.loads(output_of("umoci", "stat", "--json", "--image", f"{made.layout}:1.4"))
    layers = [entry for entry in seen["history"] if not entry.get("empty_layer")]
    assert [entry["layer"]["mediaType"].rpartition("+")[2] for entry in layers] == ["gzip", "gzip"]


@needs_umoci
def test_umoci_unpacks_a_bundle_whose_program_runs(made: Made, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    words = ("umoci", "unpack", "--rootless", "--image", f"{made.layout}:newest", bundle)
    output_of(*words)
    process = json.loads((bundle / "config.json").read_text())["process"]
    assert process["args"] == ["/app/m", "--loud"]
    assert process["cwd"] == "/tmp"
    assert (process["user"]["uid"], process["user"]["gid"]) == (65532, 65532)
    root = bundle / "rootfs"
    done = subprocess.run(
        [root / "app" / "m"], env={"LOG_FORMAT": "json"}, capture_output=True, text=True, check=True
    )
    assert done.stderr == "hello json 1\n"
    modes = {name: stat.S_IMODE((root / name).stat().st_mode) for name in ("tmp", "root", "app")}
    assert modes == {"tmp": 0o1777, "root": 0o700, "app": 0o755}
    assert os.readlink(root / "var" / "run") == "../run"
    assert "nonroot:x:65532:" in (root / "etc" / "passwd").read_text()
    berlin = root / "usr" / "share" / "zoneinfo" / "Europe" / "Berlin"
    assert berlin.read_bytes().startswith(b"TZif")


# --- crane and a registry -----------------------------------------------------------------------


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


@pytest.fixture
def registry(crane: Path, tmp_path: Path) -> Iterator[str]:
    """A registry on loopback; gives its HOST:PORT."""
    log = tmp_path / "registry.log"
    argv = [str(crane), "registry", "serve", "--address", "127.0.0.1:0"]
    with log.open("wb") as stderr, subprocess.Popen(argv, stderr=stderr) as server:
        try:
            yield f"127.0.0.1:{_port(server, log)}"
        finally:
            server.terminate()


def _port(server: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and server.poll() is None:
        match = re.search(r"serving on port (\d+)", log.read_text())
        if match is not None:
            return int(match[1])
        time.sleep(0.05)
    raise AssertionError(f"the registry did not start: {log.read_text()}")


def test_crane_pushes_and_validates(
    crane: Path, registry: str, made: Made, tmp_path: Path, go_env: dict[str, str], store: Path
) -> None:
    # crane pushes what lies alone in a layout as an image; with two names it would be an index.
    layout = tmp_path / "alone"
    result = wherry.build(
        made.layout.parent / "mod",
        ["hello:1.4"],
        [f"type=oci,tar=false,dest={layout}"],
        store=store,
        surroundings=wherry.Surroundings(cwd=str(tmp_path), env=go_env),
    )
    assert result.digest == made.digest
    name = f"{registry}/shop/hello:1.4"
    assert output_of(crane, "push", layout, name).strip().endswith(made.digest)
    assert "PASS" in output_of(crane, "validate", "--remote", name)
    assert output_of(crane, "digest", name).strip() == made.digest
    assert digest_of(output_of(crane, "config", name)) == made.config_digest
    assert json.loads(output_of(crane, "manifest", name))["annotations"]["wherry.base"] == "static"


@needs_skopeo
def test_skopeo_pushes_what_crane_then_finds_valid(crane: Path, registry: str, made: Made) -> None:
    name = f"{registry}/shop/hello:1.4"
    words = ("--quiet", "--preserve-digests", "--insecure-policy", "--dest-tls-verify=false")
    output_of("skopeo", "copy", *words, f"oci-archive:{made.archive}:1.4", f"docker://{name}")
    assert "PASS" in output_of(crane, "validate", "--remote", name)
    assert output_of(crane, "digest", name).strip() == made.digest
