# SPDX-License-Identifier: Apache-2.0
"""wherry's images in the hands of other programs: skopeo, umoci, crane and a registry."""

import hashlib
import json
import os
import stat
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

import wherry
from registry_servers import Server
from registry_tools import needs_skopeo, needs_umoci, output_of
from wherry_fixtures import write_module


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


def test_crane_pushes_and_validates(
    crane: Path,
    ggcr_registry: Server,
    repository_name: str,
    made: Made,
    tmp_path: Path,
    go_env: dict[str, str],
    store: Path,
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
    name = f"{ggcr_registry.host}/{repository_name}:1.4"
    assert output_of(crane, "push", layout, name).strip().endswith(made.digest)
    assert "PASS" in output_of(crane, "validate", "--remote", name)
    assert output_of(crane, "digest", name).strip() == made.digest
    assert digest_of(output_of(crane, "config", name)) == made.config_digest
    assert json.loads(output_of(crane, "manifest", name))["annotations"]["wherry.base"] == "static"


@needs_skopeo
def test_skopeo_pushes_what_crane_then_finds_valid(
    crane: Path, ggcr_registry: Server, repository_name: str, made: Made
) -> None:
    name = f"{ggcr_registry.host}/{repository_name}:1.4"
    words = ("--quiet", "--preserve-digests", "--insecure-policy", "--dest-tls-verify=false")
    output_of("skopeo", "copy", *words, f"oci-archive:{made.archive}:1.4", f"docker://{name}")
    assert "PASS" in output_of(crane, "validate", "--remote", name)
    assert output_of(crane, "digest", name).strip() == made.digest
