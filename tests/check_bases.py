# SPDX-License-Identifier: Apache-2.0
"""Bases in a store under the names that Dockerfiles have for them, so that no registry is asked.

`golang:…` is this machine's Go tree with a shell (`go_step_bases`) and a module proxy in `/modules`
with what the example needs; `alpine:…`, `debian:…` and distroless are a busybox with Alpine's
usual users.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

import go_step_bases
from step_builds import base_layer
from wherry.oci.digest import Digest
from wherry.oci.image import Descriptor
from wherry.oci.reference import parse_reference
from wherry.store.store import Store, open_store

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_SMALL = {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]}


def tag_go(store: Path, *names: str, modules: Path | None = None) -> None:
    """Put a base with Go under these names; `modules` is a directory that a GOPROXY may be."""
    try:
        kept = go_step_bases._kept("go-std")
    except go_step_bases.NoBase as error:
        pytest.skip(str(error))
    settings = dict(go_step_bases._CONFIGS["go-std"])
    layers = [(kept.archive.read_bytes(), kept.diff_id)]
    if modules is not None:
        settings["Env"] = [*(item for item in settings["Env"] if not item.startswith("GOPROXY=")),
                           "GOPROXY=file:///modules"]  # fmt: skip
        layers.append(_layer(_packed(modules)))
    _tag(store, layers, settings, names)


def tag_small(
    store: Path, *names: str, more: Mapping[str, bytes] | None = None, without: str = ""
) -> None:
    """Put a base with a shell and no user but root and app under these names.

    `more` are further files; the file `without` is left out.
    """
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("busybox is missing: no root to run in")
    layers = [_layer(base_layer(Path(busybox)))]
    changes = {**(more or {})}
    if without:
        directory, _, name = without.rpartition("/")
        changes[f"{directory}/.wh.{name}"] = b""
    if changes:
        layers.append(_layer(_tar(changes)))
    _tag(store, layers, _SMALL, names)


def _packed(modules: Path) -> bytes:
    files = (path for path in modules.rglob("*") if path.is_file())
    return _tar({f"modules/{path.relative_to(modules)}": path.read_bytes() for path in files})


def _tar(files: Mapping[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in sorted(files.items()):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o644
            archive.addfile(info, io.BytesIO(data))
    return made.getvalue()


def _layer(tar: bytes) -> tuple[bytes, str]:
    return gzip.compress(tar, 1, mtime=0), f"sha256:{hashlib.sha256(tar).hexdigest()}"


def _tag(
    store: Path, layers: list[tuple[bytes, str]], settings: Mapping[str, object],
    names: tuple[str, ...],
) -> None:  # fmt: skip
    with open_store(str(store)) as opened:
        config = {
            "architecture": "amd64", "os": "linux", "config": settings,
            "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in layers]},
        }  # fmt: skip
        manifest = {
            "schemaVersion": 2, "mediaType": _MANIFEST,
            "config": _blob(opened, _CONFIG, json.dumps(config).encode()),
            "layers": [_blob(opened, _LAYER, data) for data, _ in layers],
        }  # fmt: skip
        data = json.dumps(manifest).encode()
        digest = opened.blobs.put(data)
        for name in names:
            found = Descriptor(_MANIFEST, digest, len(data))
            opened.images.tag(parse_reference(name), found, time.time())


def _blob(store: Store, media_type: str, data: bytes) -> dict[str, object]:
    digest: Digest = store.blobs.put(data)
    return {"mediaType": media_type, "digest": str(digest), "size": len(data)}
