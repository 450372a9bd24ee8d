# SPDX-License-Identifier: Apache-2.0
"""Go builds on bases from registries: what is fetched, what is inherited, what stays lazy."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fault_registry import FaultRegistry
from registry_samples import artifact, image, index, layer
from wherry.errors import BuildError, NetworkError, UsageError
from wherry.oci.platform import host_platform
from wherry_fixtures import Finished, Project

MANIFEST_PATH, BLOB_PATH = r"/manifests/", r"/blobs/"
SETTINGS = {
    "Env": ["PATH=/usr/bin:/bin", "LANG=C.UTF-8"],
    "User": "1000:1000",
    "WorkingDir": "/srv",
    "Cmd": ["bash"],
    "Labels": {"maintainer": "somebody"},
    "Volumes": {"/data": {}},
    "StopSignal": "SIGQUIT",
    "Healthcheck": {"Test": ["CMD", "/bin/true"]},
}
BIG = 300_000


@pytest.fixture
def registry():
    with FaultRegistry() as served:
        yield served


def put_base(registry: FaultRegistry, tag: str = "12", **asked: object) -> str:
    asked = {"settings": SETTINGS, "platform": str(host_platform()), **asked}
    layers = [layer({"etc/os-release": f"ID={tag}\n"}), layer(size=BIG)]
    return registry.put_image("base/debian", tag, layers, **asked)


def manifest_of(project: Project, digest: str) -> dict:
    return json.loads(project.blob(digest))


def config_of(project: Project, digest: str) -> dict:
    return json.loads(project.blob(manifest_of(project, digest)["config"]["digest"]))


def test_a_build_takes_manifest_and_config_and_inherits_what_docker_would(project, registry):
    base = put_base(registry)
    here = project()
    reference = f"{registry.host}/base/debian:12"
    result = here.build(base=reference)
    assert registry.count("GET", BLOB_PATH) == 1, "more than the config was fetched"
    assert sum(seen.sent for seen in registry.requests) < 100_000
    config = config_of(here, result.digest)
    run = config["config"]
    assert run["Env"] == ["PATH=/usr/bin:/bin:/app", "LANG=C.UTF-8"]
    assert (run["User"], run["WorkingDir"], run["StopSignal"]) == ("1000:1000", "/srv", "SIGQUIT")
    assert run["Entrypoint"] == ["/app/m"]
    assert "Cmd" not in run
    assert run["Labels"]["maintainer"] == "somebody"
    assert run["Volumes"] == {"/data": {}}
    assert run["Healthcheck"] == {"Test": ["CMD", "/bin/true"]}
    assert [line["created_by"] for line in config["history"]] == [
        "layer 0", "layer 1", "wherry go build example.com/m",
    ]  # fmt: skip
    manifest = manifest_of(here, result.digest)
    base_layers = json.loads(registry.manifest("base/debian", "12"))["layers"]
    assert [item["digest"] for item in manifest["layers"][:2]] == [
        item["digest"] for item in base_layers
    ]
    assert manifest["annotations"]["org.opencontainers.image.base.name"] == reference
    assert manifest["annotations"]["org.opencontainers.image.base.digest"] == base
    assert result.unpacked is None
    assert result.size > BIG


def test_an_unchanged_build_asks_no_registry_until_pull(project, registry):
    put_base(registry)
    here = project()
    asked = {"base": f"{registry.host}/base/debian:12"}
    first = here.build(**asked)
    registry.forget_requests()
    second = here.build(**asked)
    assert second.reused
    assert second.digest == first.digest
    assert registry.requests == []
    here.write("main.go", 'package main\n\nfunc main() { println("y") }\n')
    assert not here.build(**asked).reused
    assert registry.requests == [], "what the name means is remembered"
    pulled = here.build(**asked, pull=True)
    registry.forget_requests()
    again = here.build(**asked, pull=True)
    assert again.reused
    assert again.digest == pulled.digest
    assert [seen.method for seen in registry.requests] == ["HEAD"]


def test_a_base_that_moved_is_seen_with_pull_and_then_without(project, registry):
    put_base(registry)
    here = project()
    asked = {"base": f"{registry.host}/base/debian:12"}
    before = here.build(**asked)
    moved = put_base(registry, settings={**SETTINGS, "User": "2000"})
    assert here.build(**asked).digest == before.digest
    after = here.build(**asked, pull=True)
    assert (
        manifest_of(here, after.digest)["annotations"]["org.opencontainers.image.base.digest"]
        == moved
    )
    # What --pull learned holds for everybody who uses the store.
    assert here.build(**asked).digest == after.digest


def test_the_platform_is_chosen_from_an_index(project, registry):
    images = [
        image([layer({"arch": name})], platform=name)
        for name in ("linux/amd64", "linux/arm64", "linux/arm/v7")
    ]
    registry.put_sample("base/multi", "1", index(images))
    here = project()
    base = f"{registry.host}/base/multi:1"
    result = here.build(base=base, platform="linux/arm64")
    assert config_of(here, result.digest)["architecture"] == "arm64"
    layers = manifest_of(here, result.digest)["layers"]
    assert layers[0]["digest"] == json.loads(images[1].data)["layers"][0]["digest"]
    with pytest.raises(UsageError, match="s390x") as caught:
        here.build(base=base, platform="linux/s390x")
    assert "linux/arm64" in str(caught.value)


def test_a_single_image_for_another_platform_is_refused(project, registry):
    put_base(registry, platform="linux/s390x")
    with pytest.raises(UsageError, match="is not for linux/amd64") as caught:
        project().build(base=f"{registry.host}/base/debian:12", platform="linux/amd64")
    assert "linux/s390x" in str(caught.value)


def test_an_image_that_names_no_platform_is_refused_in_whole_sentences(project, registry):
    # As `crane append` makes them.
    put_base(registry, platform="/")
    with pytest.raises(UsageError, match="is not for linux/amd64") as caught:
        project().build(base=f"{registry.host}/base/debian:12", platform="linux/amd64")
    assert caught.value.why == "it does not say for which"
    assert caught.value.hint == "name a base for linux/amd64"


def test_docker_s_media_types_become_the_oci_s(project, registry):
    put_base(registry, docker_media_types=True)
    here = project()
    result = here.build(base=f"{registry.host}/base/debian:12")
    types = {item["mediaType"] for item in manifest_of(here, result.digest)["layers"]}
    assert types == {"application/vnd.oci.image.layer.v1.tar+gzip"}


def test_a_base_by_digest_is_never_asked_again(project, registry):
    digest = put_base(registry)
    here = project()
    asked = {"base": f"{registry.host}/base/debian:12@{digest}"}
    here.build(**asked)
    registry.forget_requests()
    assert here.build(**asked, pull=True).digest == here.build(**asked).digest
    assert registry.requests == []


def test_outputs_with_bytes_fetch_the_layers_once(project, registry, tmp_path):
    put_base(registry)
    here = project()
    asked = {"base": f"{registry.host}/base/debian:12"}
    here.build(**asked)
    registry.forget_requests()
    here.build(**asked, outputs=(f"type=local,dest={tmp_path / 'out'}",))
    assert (tmp_path / "out" / "etc" / "os-release").read_text() == "ID=12\n"
    assert (tmp_path / "out" / "app" / "m").exists()
    assert registry.count("GET", BLOB_PATH) == 2
    registry.forget_requests()
    here.build(**asked, outputs=(f"type=oci,dest={tmp_path / 'image.tar'}",))
    assert registry.requests == []


def c_library() -> dict[str, bytes]:
    """This machine's C library and its loader, where programs that are built here look for them."""
    found = subprocess.run(["ldd", "/bin/sh"], capture_output=True, text=True, check=False).stdout
    paths = [word for word in found.split() if word.startswith("/")]
    if not any("libc.so.6" in path for path in paths):
        pytest.skip("no C library of GNU's here")
    return {path.lstrip("/"): Path(path).read_bytes() for path in paths}


def test_a_dynamic_program_moves_to_the_base_of_libc(project, registry):
    layers = [layer({"etc/os-release": "ID=12\n", **c_library()}), layer(size=BIG)]
    platform = str(host_platform())
    registry.put_image("base/debian", "12", layers, settings=SETTINGS, platform=platform)
    put_base(registry, "empty")
    here = project(
        {
            "main.go": 'package main\n\nimport "C"\n\nfunc main() { println("x") }\n',
            "wherry.toml": f'[build]\ncgo = true\nlibc-base = "{registry.host}/base/debian:12"\n',
        }
    )
    result = here.build(base="")
    assert result.binaries[0].dynamic
    layers = manifest_of(here, result.digest)["layers"]
    assert len(layers) == 3
    toml = (here.root / "wherry.toml").read_text()
    here.write("wherry.toml", toml.replace(":12", ":empty"))
    with pytest.raises(BuildError, match="dynamically linked, and cannot run"):
        here.build(base="")
    here.write("main.go", 'package main\n\nfunc main() { println("static") }\n')
    static = here.build(base="")
    assert not static.binaries[0].dynamic
    assert "base.name" not in json.dumps(manifest_of(here, static.digest))


def test_a_dynamic_program_without_such_a_base_names_the_key(project):
    here = project(
        {
            "main.go": 'package main\n\nimport "C"\n\nfunc main() { println("x") }\n',
            "wherry.toml": "[build]\ncgo = true\n",
        }
    )
    with pytest.raises(BuildError, match="dynamically linked") as caught:
        here.build(base="")
    assert "libc-base" in caught.value.hint
    assert "libc.so" in caught.value.why


def test_a_base_that_is_no_image_is_refused_by_its_type(project, registry):
    registry.put_sample("base/debian", "12", artifact("application/x.test"))
    with pytest.raises(NetworkError, match="artifact"):
        project().build(base=f"{registry.host}/base/debian:12")


def test_an_unknown_tag_names_a_near_one(project, registry):
    put_base(registry, "12-slim")
    with pytest.raises(NetworkError, match="12-slmi") as caught:
        project().build(base=f"{registry.host}/base/debian:12-slmi")
    assert "12-slim" in caught.value.hint
    assert caught.value.exit_code == 4


def test_run_fetches_what_is_lazy_or_exits_4_naming_the_source(
    project, registry, wherry: Callable[..., Finished]
):
    put_base(registry)
    here = project()
    base = f"{registry.host}/base/debian:12"
    wherry("build", ".", "--base", base, "-t", "lazy", cwd=here.root)
    listed = wherry("images", "--json")
    (row,) = json.loads(listed.stdout)
    assert row["missing"] > BIG
    registry.rule("", BLOB_PATH, status=404)
    ran = wherry("run", "lazy")
    assert ran.returncode == 4
    assert f"{registry.host}/base/debian" in ran.stderr
    registry.forget_rules()
    completed = wherry("pull", "--full")
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout.startswith("lazy:latest@sha256:")
    assert json.loads(wherry("images", "--json").stdout)[0]["missing"] == 0


def test_an_unchanged_build_on_a_registry_base_loads_no_http(project, registry):
    put_base(registry)
    here = project()
    base = f"{registry.host}/base/debian:12"
    here.build(base=base)
    script = (
        "import sys; from wherry.api.building import build_image\n"
        "from wherry.api.request import BuildRequest\n"
        "from wherry.events import discard; from wherry.process.cancel import CancelToken\n"
        "import os; env = dict(os.environ)\n"
        "request = BuildRequest('.', sys.argv[1], env, sys.argv[2], base=sys.argv[3])\n"
        "assert build_image(request, discard, CancelToken()).reused\n"
        "print([n for n in ('urllib3', 'ssl', 'http.client', 'rich', 'zstandard', 'subprocess')"
        " if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(here.root), str(here.store), base],
        env=here.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_the_store_s_own_tag_follows_what_pull_finds(
    project, registry, wherry: Callable[..., Finished]
):
    put_base(registry)
    here = project()
    name = f"{registry.host}/base/debian:12"
    assert wherry("pull", "-q", name).returncode == 0
    before = here.build(base=name)
    moved = put_base(registry, settings={**SETTINGS, "User": "2000"})
    assert here.build(base=name).digest == before.digest
    after = here.build(base=name, pull=True)
    assert after.digest != before.digest
    assert here.build(base=name).digest == after.digest
    assert f"{name}@{moved}" in wherry("tag", name, "again").stdout.replace("again:latest", name)
    other = "arm64" if host_platform().architecture != "arm64" else "amd64"
    put_base(registry, platform=f"linux/{other}")
    here.build(base=name, pull=True, platform=f"linux/{other}")
    assert here.build(base=name).digest == after.digest, "another platform's image took the tag"
