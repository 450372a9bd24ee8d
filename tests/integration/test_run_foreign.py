# SPDX-License-Identifier: Apache-2.0
"""`wherry run` of images that other tools made, and of such that are not what they say."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator

import pytest
import zstandard

from sandbox_runs import Runner, compile_probe, make_runner
from wherry.oci import media
from wherry.oci.digest import Digest, sha256
from wherry.oci.image import Descriptor, Image, ImageConfig, Manifest, RunConfig, load_image
from wherry.oci.platform import host_platform
from wherry.oci.reference import parse_reference
from wherry.store.store import open_store


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return compile_probe(tmp_path_factory.mktemp("probe"))


@pytest.fixture(scope="module")
def runner(probe: bytes) -> Iterator[Runner]:
    with make_runner("root", probe) as runner:
        yield runner


def tar_of(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def tag(runner: Runner, name: str, *layers: tuple[str, bytes, Digest]) -> None:
    """An image of Docker's own types with these layers (media type, blob, diff ID)."""
    run = RunConfig(entrypoint=("/probe",))
    diff_ids = tuple(diff_id for _, _, diff_id in layers)
    config = ImageConfig(host_platform(), "1970-01-01T00:00:00Z", run, diff_ids, ()).encoded()
    manifest = Manifest(
        Descriptor(media.DOCKER_CONFIG, sha256(config), len(config)),
        tuple(Descriptor(kind, sha256(data), len(data)) for kind, data, _ in layers),
        media_type=media.DOCKER_MANIFEST,
    )
    image: Image = load_image(manifest.encoded(), config)
    with open_store(runner.store) as store:
        for data in (*(data for _, data, _ in layers), config, image.manifest_bytes):
            store.blobs.put(data)
        store.images.tag(parse_reference(name), image.descriptor, 0.0)


def test_zstd_layers_and_docker_s_types(runner: Runner, probe: bytes) -> None:
    lower, upper = tar_of(probe=b"replaced", other=b""), tar_of(probe=probe)
    compress = zstandard.ZstdCompressor().compress
    tag(
        runner,
        "zstd",
        (media.DOCKER_LAYER_GZIP, gzip.compress(lower, 1), sha256(lower)),
        (media.LAYER_ZSTD, compress(upper[:512]) + compress(upper[512:]), sha256(upper)),
        # As some tools wrote them: the bytes are not what the type says.
        (media.DOCKER_LAYER_GZIP, compress(lower[-1024:]), sha256(lower[-1024:])),
    )
    done = runner.run("zstd", "exit", "7")
    assert done.returncode == 7, done.stderr
    assert runner.leftovers() == []


def test_an_image_whose_config_lies_about_a_layer_is_refused(runner: Runner, probe: bytes) -> None:
    tar = tar_of(probe=probe)
    tag(runner, "liar", (media.LAYER_ZSTD, zstandard.compress(tar), sha256(b"another")))
    done = runner.run("liar", "exit", "0")
    assert done.returncode == 125
    assert str(sha256(b"another")) in done.stderr.decode()
    assert runner.leftovers() == []


def test_a_layer_cut_short_is_refused(runner: Runner, probe: bytes) -> None:
    tar = tar_of(probe=probe)
    for name, blob in (("gzip", gzip.compress(tar, 1)), ("zstd", zstandard.compress(tar))):
        tag(runner, f"cut-{name}", (media.LAYER_ZSTD, blob[: len(blob) // 2], sha256(tar)))
        done = runner.run(f"cut-{name}", "exit", "0")
        assert done.returncode == 125
        assert f"{name} data are cut short" in done.stderr.decode()
    assert runner.leftovers() == []


def test_what_is_no_layer_is_refused_before_anything_starts(runner: Runner, probe: bytes) -> None:
    tar = tar_of(probe=probe)
    tag(
        runner,
        "attested",
        (media.LAYER_TAR, tar, sha256(tar)),
        ("application/vnd.in-toto+json", b"{}", sha256(b"{}")),
    )
    done = runner.run("attested", "exit", "0")
    assert done.returncode == 125
    assert "application/vnd.in-toto+json" in done.stderr.decode()
    assert runner.leftovers() == []
