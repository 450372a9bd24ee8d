# SPDX-License-Identifier: Apache-2.0
"""Chosen files and file capabilities in the hands of other programs: umoci, skopeo, the kernel."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry_tools import needs_skopeo, needs_umoci, output_of
from wherry.fstree.capabilities import XATTR, parse, read, xattr
from wherry.fstree.chosen import Wanted, choose
from wherry.fstree.layer import Writing, write_layer
from wherry.fstree.placed import placed
from wherry.fstree.tree import Directory, File, OnDisk, Tree, make_tree
from wherry.fstree.tree_files import TreeFiles
from wherry.oci.digest import Digest, sha256
from wherry.oci.image import Descriptor, ImageConfig, Layer, RunConfig, make_image
from wherry.oci.platform import host_platform
from wherry.process.cancel import CancelToken

_CAPABILITIES = parse(["CAP_NET_BIND_SERVICE", "sys_nice"])
_PROGRAM = (
    'package main\n\nimport ("fmt"; "net"; "os")\n\nfunc main() {\n'
    '\tl, err := net.Listen("tcp4", "127.0.0.1:" + os.Args[1])\n'
    '\tif err != nil { fmt.Println(err); os.Exit(1) }\n\tl.Close()\n\tfmt.Println("bound")\n}\n'
)


def write_layout(place: Path, trees: tuple[Tree, ...]) -> None:
    """An OCI layout with one image, tagged `one`."""
    blobs = place / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes) -> Digest:
        digest = sha256(data)
        (blobs / digest.hex).write_bytes(data)
        return digest

    layers: list[Layer] = []
    for tree in trees:
        out = io.BytesIO()
        written = write_layer(tree, out, 0, Writing(), CancelToken())
        put(out.getvalue())
        descriptor = Descriptor(written.media_type, written.digest, written.size)
        layers.append(Layer(descriptor, written.diff_id))
    config = ImageConfig(
        host_platform(), "1970-01-01T00:00:00Z", RunConfig(entrypoint=("/app/bind",)),
        tuple(layer.diff_id for layer in layers), (),
    )  # fmt: skip
    image = make_image(tuple(layers), config)
    put(image.config_bytes)
    manifest = put(image.manifest_bytes)
    name = {"org.opencontainers.image.ref.name": "one"}
    entry = {"mediaType": image.descriptor.media_type, "digest": str(manifest),
             "size": len(image.manifest_bytes), "annotations": name}  # fmt: skip
    index = {"schemaVersion": 2, "manifests": [entry]}
    (place / "index.json").write_text(json.dumps(index))
    (place / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def tree_of(program: Path, data: Path) -> tuple[Tree, ...]:
    content = OnDisk(str(program), sha256(program.read_bytes()), program.stat().st_size)
    file = File("app/bind", content, 0o755, xattrs=((XATTR, xattr(_CAPABILITIES)),))
    chosen = choose(str(data), (Wanted("d", "/srv/d", owner="7:8", mode=0o640),))
    base = TreeFiles(make_tree((Directory("srv", 0o711, 3, 4),)))
    return (placed(chosen, base, lambda _text: (7, 8)), make_tree((file,)))


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    program = tmp_path / "program"
    program.write_bytes(b"program")
    data = tmp_path / "data"
    for name in ("plain", "new\nline", "sub/two"):
        (data / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (data / "d" / name).write_text(name)
    Path(os.fsdecode(os.fsencode(data / "d") + b"/caf\xe9")).write_text("latin")
    (data / "d/link").symlink_to("sub/two")
    place = tmp_path / "layout"
    write_layout(place, tree_of(program, data))
    return place


def members(layout: Path) -> dict[bytes, tarfile.TarInfo]:
    """All entries of the layout's image, by name."""
    index = json.loads((layout / "index.json").read_text())
    found: dict[bytes, tarfile.TarInfo] = {}

    def blob(descriptor: dict[str, str]) -> bytes:
        return (layout / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes()

    for descriptor in json.loads(blob(index["manifests"][0]))["layers"]:
        tar = gzip.decompress(blob(descriptor))
        with tarfile.open(fileobj=io.BytesIO(tar), errors="surrogateescape") as archive:
            found |= {os.fsencode(member.name): member for member in archive}
    return found


def attribute(member: tarfile.TarInfo) -> bytes:
    return os.fsencode(member.pax_headers[f"SCHILY.xattr.{XATTR}"])


def test_the_layer_says_what_was_asked(layout: Path) -> None:
    found = members(layout)
    assert read(attribute(found[b"app/bind"])) == ("net_bind_service", "sys_nice")
    assert {b"srv/d/new\nline", b"srv/d/caf\xe9"} <= set(found)
    plain = found[b"srv/d/plain"]
    assert (plain.uid, plain.gid, plain.mode) == (7, 8, 0o640)
    assert (found[b"srv/d/sub"].mode, found[b"srv"].mode, found[b"srv"].uid) == (0o750, 0o711, 3)
    assert found[b"srv/d/link"].linkname == "sub/two"


@needs_skopeo
def test_skopeo_keeps_capabilities_when_it_compresses_anew(layout: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    # Another compression: the tar is taken apart into blobs anew.
    output_of("skopeo", "copy", "--dest-compress-format", "gzip", "--dest-compress-level", "9",
              f"oci:{layout}:one", f"dir:{tmp_path / 'dir'}")  # fmt: skip
    output_of("skopeo", "copy", f"dir:{tmp_path / 'dir'}", f"oci:{copied}:one")
    assert attribute(members(copied)[b"app/bind"]) == xattr(_CAPABILITIES)


@needs_umoci
def test_umoci_unpacks_files_owners_and_capabilities(layout: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gets owners and capabilities unpacked")
    bundle = tmp_path / "bundle"
    output_of("umoci", "unpack", "--image", f"{layout}:one", bundle)
    root = bundle / "rootfs"
    assert read(os.getxattr(root / "app/bind", XATTR)) == ("net_bind_service", "sys_nice")
    status = (root / "srv/d/sub/two").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (7, 8, 0o640)
    assert (root / "srv/d/new\nline").read_text() == "new\nline"
    assert os.path.exists(os.fsencode(root) + b"/srv/d/caf\xe9")
    assert os.readlink(root / "srv/d/link") == "sub/two"


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that a plain user can pass; pytest's own is closed."""
    place = Path(tempfile.mkdtemp(prefix="wherry-files-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv: apt install util-linux")
@needs_umoci
def test_a_plain_user_binds_a_low_port_with_it_and_not_without(
    tmp_path: Path, open_place: Path, go_caches: dict[str, str]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root unpacks file capabilities and becomes another user")
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) < 1000:
        pytest.skip("low ports are everybody's here: net.ipv4.ip_unprivileged_port_start")
    source = tmp_path / "main.go"
    source.write_text(_PROGRAM)
    program = tmp_path / "bind"
    env = {"PATH": os.environ["PATH"], **go_caches, "HOME": str(tmp_path), "CGO_ENABLED": "0"}
    subprocess.run(["go", "build", "-o", program, source], env=env, check=True, cwd=tmp_path)
    (tmp_path / "data/d").mkdir(parents=True)
    layout = tmp_path / "layout"
    write_layout(layout, tree_of(program, tmp_path / "data"))
    bundle = open_place / "bundle"
    output_of("umoci", "unpack", "--image", f"{layout}:one", bundle)
    bundle.chmod(0o755)
    unpacked = bundle / "rootfs/app/bind"
    bare = open_place / "bare"
    shutil.copyfile(unpacked, bare)
    bare.chmod(0o755)
    port = str(_free_low_port())
    words = ("setpriv", "--reuid=65532", "--regid=65532", "--clear-groups")
    assert output_of(*words, unpacked, port) == "bound\n"
    refused = subprocess.run([*words, bare, port], capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "permission denied" in refused.stdout
    # As Kubernetes does it where privileges must not grow: the right is not given.
    alone = ("setpriv", "--no-new-privs")
    narrowed = subprocess.run(
        [*words, *alone, unpacked, port], capture_output=True, text=True, check=False
    )
    assert "permission denied" in narrowed.stdout


def _free_low_port() -> int:
    for port in range(1000, 600, -1):
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port below 1000 is free")
