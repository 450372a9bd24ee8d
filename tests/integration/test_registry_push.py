# SPDX-License-Identifier: Apache-2.0
"""Pushing what was built and what the store holds: mounts, streams, unchanged tags, names."""

import json
from pathlib import Path

import pytest

from fault_registry import FaultRegistry
from registry_samples import layer
from wherry.api.locking import LockRequest, write_lock
from wherry.api.pulling import complete_images, pull_image
from wherry.api.pushing import push_image
from wherry.api.registries import RegistryAround
from wherry.errors import BuildError, NetworkError, UsageError
from wherry.events import discard
from wherry.oci.platform import host_platform
from wherry.process.cancel import CancelToken
from wherry_fixtures import Project

BLOB_GET = r"/blobs/sha256"
BIG = 3_000_000


@pytest.fixture
def registry():
    with FaultRegistry() as served:
        yield served


@pytest.fixture
def other():
    with FaultRegistry() as served:
        yield served


def put_base(registry: FaultRegistry, seed: str = "a") -> str:
    layers = [layer({"etc/os-release": seed}), layer(size=BIG)]
    return registry.put_image("base/debian", "12", layers, platform=str(host_platform()))


def around(project: Project, **more: object) -> RegistryAround:
    made = RegistryAround(
        str(project.store), project.env, str(project.root), (), discard, CancelToken()
    )
    return made._replace(**more)


def uploads(registry: FaultRegistry) -> int:
    return sum(seen.received for seen in registry.requests)


def test_build_and_push_then_unchanged_is_one_request_a_tag(project, registry):
    here = project()
    tags = (f"{registry.host}/shop/api:1.0", f"{registry.host}/shop/api:latest")
    first = here.build(tags=tags, push=True)
    assert registry.tags("shop/api") == {"1.0": first.digest, "latest": first.digest}
    assert first.reference == f"{registry.host}/shop/api:1.0@{first.digest}"
    assert [item.unchanged for item in first.pushed] == [False, False]
    registry.forget_requests()
    second = here.build(tags=tags, push=True)
    assert second.reused
    assert [(seen.method, seen.status) for seen in registry.requests] == [("HEAD", 200)] * 2
    assert [item.unchanged for item in second.pushed] == [True, True]


def test_a_lazy_base_is_mounted_within_its_registry(project, registry):
    put_base(registry)
    here = project()
    here.build(
        base=f"{registry.host}/base/debian:12", tags=(f"{registry.host}/shop/api:1",), push=True
    )
    assert registry.count("GET", BLOB_GET) == 1, "only the base's config was read"
    assert registry.count("POST", r"mount=.*from=base") == 2
    assert uploads(registry) < BIG
    assert "1" in registry.tags("shop/api")


def test_a_lazy_base_streams_to_another_registry_and_not_through_the_disk(project, registry, other):
    put_base(registry)
    here = project()
    result = here.build(
        base=f"{registry.host}/base/debian:12", tags=(f"{other.host}/shop/api:1",), push=True
    )
    assert uploads(other) > BIG
    manifest = json.loads(other.manifest("shop/api", "1"))
    for item in manifest["layers"]:
        assert len(other.blob(item["digest"])) == item["size"]
    lazy = [item["digest"] for item in manifest["layers"][:2]]
    for digest in lazy:
        assert not (here.store / "blobs" / "sha256" / digest.removeprefix("sha256:")).exists()
    assert result.digest == other.tags("shop/api")["1"]


def test_a_mount_that_is_refused_becomes_a_stream(project, registry):
    put_base(registry)
    registry.rule("POST", r"mount=", mount_refused=True)
    here = project()
    here.build(
        base=f"{registry.host}/base/debian:12", tags=(f"{registry.host}/shop/api:1",), push=True
    )
    assert uploads(registry) > BIG
    assert "1" in registry.tags("shop/api")


def test_a_source_that_is_gone_is_named(project, registry, other):
    put_base(registry)
    here = project()
    asked = {"base": f"{registry.host}/base/debian:12"}
    here.build(**asked)
    registry.rule("", BLOB_GET, status=404)
    with pytest.raises(NetworkError) as caught:
        here.build(**asked, tags=(f"{other.host}/shop/api:1",), push=True)
    assert f"{registry.host}/base/debian" in str(caught.value)
    assert other.tags("shop/api") == {}


def test_nothing_is_pushed_to_a_name_that_nobody_gave(project, registry):
    here = project()
    with pytest.raises(UsageError, match="no name to push to"):
        here.build(push=True)
    assert not (here.store / "blobs").exists() or not any((here.store / "work").iterdir())


def test_the_default_registry_holds_for_push_and_base(project, registry):
    put_base(registry)
    settings = f'[registry]\ndefault = "{registry.host}/base"\n'
    here = project({"main.go": "package main\n\nfunc main() {}\n", "wherry.toml": settings})
    result = here.build(base="debian:12", push=True)
    assert registry.tags("base/m") == {"latest": result.digest}
    assert result.reference == f"{registry.host}/base/m:latest@{result.digest}"


def test_output_type_registry_pushes_under_its_own_name(project, registry, tmp_path):
    here = project()
    result = here.build(
        outputs=(
            f"type=registry,name={registry.host}/shop/api:out",
            f"type=oci,dest={tmp_path / 'image.tar'}",
        )
    )
    assert registry.tags("shop/api") == {"out": result.digest}
    assert result.outputs == (str(tmp_path / "image.tar"),)


def test_pull_then_push_elsewhere_keeps_the_bytes(project, registry, other):
    digest = put_base(registry)
    here = project()
    pulled = pull_image(f"{registry.host}/base/debian:12", around(here))
    assert pulled.digest == digest
    assert pulled.downloaded > BIG
    registry.forget_requests()
    assert pull_image(f"{registry.host}/base/debian:12", around(here)).downloaded == 0
    assert registry.count("GET", BLOB_GET) == 0
    results = push_image(
        f"{registry.host}/base/debian:12",
        (f"{other.host}/copy/one:1", f"{other.host}/copy/two:2", f"{registry.host}/copy/three:3"),
        around(here),
    )
    assert [item.digest for item in results] == [digest] * 3
    assert other.tags("copy/one") == {"1": digest}
    assert other.tags("copy/two") == {"2": digest}
    assert registry.tags("copy/three") == {"3": digest}
    assert registry.count("POST", r"mount=.*from=base") >= 2
    assert uploads(registry) < BIG
    assert uploads(other) < 2 * BIG


def test_a_tag_pulled_by_digest_only_is_there_by_digest(project, registry):
    digest = put_base(registry)
    here = project()
    pull_image(f"{registry.host}/base/debian@{digest}", around(here))
    (result,) = push_image(f"{registry.host}/base/debian@{digest}",
                           (f"{registry.host}/copy:1",), around(here))  # fmt: skip
    assert result.digest == digest
    with pytest.raises(UsageError, match="no tag"):
        push_image(f"{registry.host}/base/debian@{digest}", (), around(here))


def test_completing_asks_for_no_newer_image(project, registry):
    put_base(registry)
    here = project()
    here.build(base=f"{registry.host}/base/debian:12", tags=("app",))
    put_base(registry, "moved")
    registry.forget_requests()
    (result,) = complete_images((), around(here))
    assert result.reference.startswith("app:latest@")
    assert result.downloaded > BIG
    assert registry.count("", r"/manifests/") == 0
    assert complete_images((), around(here)) == ()


def lock(project: Project, **more: object):
    request = LockRequest(
        ".", str(project.root), project.env, str(project.store), False, (), (), discard,
        CancelToken(),
    )  # fmt: skip
    return write_lock(request._replace(**more))


def lockable(project, registry: FaultRegistry) -> Project:
    return project(
        {
            "main.go": "package main\n\nfunc main() {}\n",
            "wherry.toml": f'[build]\nbase = "{registry.host}/base/debian:12"\n',
        }
    )


def test_a_locked_base_stays_until_the_lock_is_updated(project, registry):
    digest = put_base(registry)
    here = lockable(project, registry)
    with pytest.raises(BuildError, match=r"no wherry\.lock"):
        here.build(base="", locked=True)
    written = lock(here)
    assert Path(written.path).name == "wherry.lock"
    assert digest in Path(written.path).read_text()
    first = here.build(base="", locked=True)
    moved = put_base(registry, "moved")
    assert here.build(base="", locked=True, pull=True).digest == first.digest
    assert here.build(base="").digest == first.digest
    assert lock(here).changed == ()
    updated = lock(here, update=True, names=(f"{registry.host}/base/debian:12",))
    assert len(updated.changed) == 1
    assert moved in Path(written.path).read_text()
    again = here.build(base="", locked=True)
    assert again.digest != first.digest
    assert not again.reused


def test_locked_refuses_what_the_file_does_not_hold(project, registry):
    put_base(registry)
    here = lockable(project, registry)
    lock(here)
    registry.put_image("base/other", "1", [layer({"a": "b"})], platform=str(host_platform()))
    with pytest.raises(BuildError, match="does not hold the base") as caught:
        here.build(base=f"{registry.host}/base/other:1", locked=True)
    assert caught.value.exit_code == 1
    path = here.root / "wherry.lock"
    path.write_text(path.read_text().replace('certifi = "', 'certifi = "0'))
    with pytest.raises(BuildError, match="certifi"):
        here.build(base="static", locked=True)
    assert here.build(base="static").digest


def test_an_unknown_name_to_update_is_told_with_a_near_one(project, registry):
    put_base(registry)
    here = lockable(project, registry)
    with pytest.raises(UsageError, match="goes by the name") as caught:
        lock(here, update=True, names=(f"{registry.host}/base/debain:12",))
    assert "debian:12" in caught.value.hint
