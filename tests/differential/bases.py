# SPDX-License-Identifier: Apache-2.0
"""Base images made on the spot, and put into a registry by its plain HTTP interface.

Each has what some instruction has to respect: owners and groups with names, links of all kinds, odd
modes, attributes and devices (`tree`), whiteouts in several layers (`layers`), triggers
(`onbuild`), a config with everything in it (`full`), several platforms (`two`), nothing at all to
go by (`bare`). Those for RUN have a busybox: `acting` with all its names and the program `act`,
`homely` with the files of `tree` but its devices, `devices` with them, `run-layers`, `deep`,
`run-full`, `volumes`, `onbuild-run`.
"""

from __future__ import annotations

import functools
import hashlib
import http.client
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from differential.acting import program
from differential.model import (
    Member,
    directory,
    hard_link,
    packed,
    regular,
    symlink,
    tar_bytes,
)

Layer = tuple[tuple[str, Member], ...]
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_TIME = "2020-02-02T02:02:02Z"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BUSYBOX = Path("/bin/busybox")

# The attribute security.capability of a program that may bind low ports.
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
PASSWD = """\
root:x:0:0:root:/root:/bin/sh
app:x:1000:1000:App,,,:/home/app:/bin/sh
svc:x:200:300::/srv:/bin/false
odd:x:77:88::/:/bin/false
# a comment
broken line
1234:x:4321:4322::/:/bin/false
"""
GROUP = """\
root:x:0:
app:x:1000:
staff:x:50:app,svc
svc:x:300:
wheel:x:10:root
"""
_ETC: Layer = (
    ("etc", directory()),
    ("etc/passwd", regular(PASSWD)),
    ("etc/group", regular(GROUP)),
)
TREE: Layer = (
    *_ETC,
    ("bin", directory()),
    ("bin/tool", regular("#!tool", 0o4755)),
    ("bin/group-tool", regular("#!tool", 0o2755, 0, 50)),
    ("home", directory()),
    ("home/app", directory(0o700, 1000, 1000)),
    ("home/app/.profile", regular("profile", 0o600, 1000, 1000)),
    ("srv", directory(0o750, 200, 300)),
    ("srv/data", directory(0o2775, 1000, 50)),
    ("srv/data/one", regular("one", 0o640, 1000, 50)),
    ("srv/data/two", regular("two", 0o664, 200, 300)),
    ("srv/data/sub", directory(0o700, 1000, 1000)),
    ("srv/data/sub/deep", regular("deep", 0o600, 1000, 1000)),
    ("srv/closed", directory(0o000)),
    ("tmp", directory(0o1777)),
    ("file", regular("file")),
    ("hard1", regular("hard", 0o640, 5, 6)),
    ("hard2", hard_link("hard1", 0o640, 5, 6)),
    ("link", symlink("srv/data")),
    ("abs", symlink("/srv/data")),
    ("etc/up", symlink("../../../../srv/data")),
    ("dangling", symlink("/nowhere/there")),
    ("loop", symlink("loop")),
    ("to-file", symlink("file", 1000, 1000)),
    ("to-etc", symlink("/etc")),
    ("empty", directory()),
    ("with space", regular("space")),
    ("h\u00e9llo", regular("unicode")),
    ("noted", Member(content=b"noted", xattrs=(("user.note", b"kept\xff\x00"),))),
    ("capable", Member(
        content=b"caps", mode=0o755,
        xattrs=(("security.capability", CAPABILITY),),
    )),
    ("noted-dir", Member(tarfile.DIRTYPE, mode=0o755, xattrs=(("user.dir", b"d"),))),
    ("pipe", Member(tarfile.FIFOTYPE, mode=0o622)),
    ("null", Member(tarfile.CHRTYPE, mode=0o666, device=(1, 3))),
    ("disk", Member(tarfile.BLKTYPE, mode=0o660, gid=6, device=(7, 1))),
)  # fmt: skip
_LAYERS: tuple[Layer, ...] = (
    (
        ("a", directory(0o711, 1, 2)), ("a/one", regular("1")), ("a/two", regular("2")),
        ("b", directory()), ("b/x", regular("x")), ("b/sub", directory()),
        ("b/sub/y", regular("y")),
        ("c", regular("c is a file")), ("d", directory()), ("d/e", regular("e")),
        ("hard", regular("hard")), ("hard-too", hard_link("hard")),
    ),
    (
        ("a", directory(0o755, 3, 4)), ("a/.wh.one", regular("", 0)), ("a/three", regular("3")),
        ("b", directory()), ("b/.wh..wh..opq", regular("", 0)), ("b/z", regular("z")),
        (".wh.c", regular("", 0)),
    ),
    (
        ("c", directory()), ("c/inside", regular("now a directory")),
        ("d", regular("now a file")), (".wh.hard", regular("", 0)),
    ),
)  # fmt: skip
_FULL: dict[str, Any] = {
    "User": "app:staff",
    "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
    "Env": [_PATH, "COLOR=blue", "EMPTY=", "SPACED=a b", "TWICE=1"],
    "Entrypoint": ["/bin/tool", "--base"],
    "Cmd": ["run", "it"],
    "Volumes": {"/data": {}, "/cache": {}},
    "WorkingDir": "/srv/data",
    "Labels": {"base.label": "from base", "kept": "yes"},
    "StopSignal": "SIGUSR1",
    "Healthcheck": {
        "Test": ["CMD-SHELL", "check"], "Interval": 10_000_000_000, "Timeout": 2_000_000_000,
        "Retries": 4,
    },
    "Shell": ["/bin/bash", "-o", "pipefail", "-c"],
}  # fmt: skip
_TRIGGERS = [
    "COPY trigger.txt /triggered/",
    "ENV TRIGGERED=yes FROM_ARG=$WHO",
    "LABEL triggered=1",
    "WORKDIR /triggered/deeper",
    'CMD ["triggered"]',
]


class Image(NamedTuple):
    """Layers and the `config` part of a config; `more` is beside it (author, variant, ...)."""

    layers: tuple[Layer, ...]
    config: dict[str, Any]
    architecture: str = "amd64"
    more: Mapping[str, Any] = MappingProxyType({})


class Made(NamedTuple):
    """A layer as it is shipped."""

    diff_id: str
    blob: bytes


@functools.cache
def made(layer: Layer) -> Made:
    """The layer packed; most bases share theirs."""
    tar = tar_bytes(layer)
    return Made("sha256:" + hashlib.sha256(tar).hexdigest(), packed(tar, "gz"))


@functools.cache
def _busybox() -> Layer:
    busybox = BUSYBOX.read_bytes() if BUSYBOX.exists() else b"no busybox on this machine"
    return (
        *_ETC,
        ("bin", directory()),
        ("bin/busybox", regular(busybox, 0o755)),
        *((f"bin/{name}", hard_link("bin/busybox", 0o755)) for name in ("sh", "cat", "ls", "id")),
        ("root", directory(0o700)),
        ("tmp", directory(0o1777)),
    )


@functools.cache
def _more_names() -> Layer:
    """Other names of busybox, for steps without a shell, and `act`."""
    names = (
        "awk", "chmod", "chown", "cp", "cut", "date", "dd", "df", "du", "echo", "egrep", "env",
        "expr", "false", "find", "grep", "gunzip", "gzip", "head", "hexdump", "hostname", "ln",
        "md5sum", "mkdir", "mkfifo", "mknod", "mount", "mv", "nproc", "od", "printf", "ps", "pwd",
        "readlink", "realpath", "rm", "rmdir", "sed", "sha256sum", "sleep", "sort", "stat", "su",
        "sync", "tail", "tar", "tee", "test", "touch", "tr", "true", "umount", "uname", "uniq",
        "wc", "wget", "whoami", "xargs",
    )  # fmt: skip
    return (
        ("bin", directory()),
        *((f"bin/{name}", symlink("busybox")) for name in names),
        ("bin/act", regular(program(), 0o755)),
    )


def _seventy() -> tuple[Layer, ...]:
    return tuple((("deep", directory()), (f"deep/{n}", regular(str(n)))) for n in range(70))


def _running() -> dict[str, Image]:
    """The bases of which every one has a shell."""
    env = {"Env": [_PATH]}
    busybox, names = _busybox(), _more_names()
    devices = tuple((name, node) for name, node in TREE if not name.startswith("etc/"))
    files = tuple((name, node) for name, node in devices if name not in ("null", "disk"))
    return {
        "busybox": Image((busybox,), {**env, "Cmd": ["sh"]}),
        "acting": Image((busybox, names), env),
        "homely": Image((busybox, names, files), env),
        "devices": Image((busybox, devices), env),
        "run-layers": Image((busybox, *_LAYERS), env),
        "deep": Image((busybox, *_seventy()), env),
        "run-full": Image((busybox, names, files), {
            **_FULL, "Shell": ["/bin/sh", "-e", "-c"], "Env": [*_FULL["Env"], "HOME=/own/home"],
        }),
        "volumes": Image(
            (busybox, (("data", directory(0o750, 7, 8)), ("data/kept", regular("kept")))),
            {**env, "Volumes": {"/data": {}, "/not/there": {}}},
        ),
        "onbuild-run": Image((busybox,), {**env, "OnBuild": [
            "ARG WHO=nobody", "RUN echo triggered > /triggered", "RUN echo $WHO > /who",
            "COPY trigger.txt /t/", 'RUN ["/bin/cat", "/t/trigger.txt"]',
        ]}),
    }  # fmt: skip


@functools.cache
def images() -> dict[str, Image | tuple[Image, ...]]:
    """All bases by name; a tuple is an index of platforms."""
    env = {"Env": [_PATH]}
    return {
        **_running(),
        "tree": Image((TREE,), env),
        "layers": Image(_LAYERS, env),
        "onbuild": Image((_ETC,), {**env, "OnBuild": _TRIGGERS}),
        "onbuild-bad": Image((_ETC,), {**env, "OnBuild": ["COPY nothing /", "FROBNICATE x"]}),
        "onbuild-stage": Image((_ETC,), {**env, "OnBuild": ["COPY --from=made /made /got"]}),
        "full": Image((TREE,), _FULL, more={"author": "The Base <base@example.com>"}),
        "bare": Image((_ETC,), {}),
        "empty": Image((), {}),
        "two": tuple(
            Image((_ETC, (("arch", regular(name)),)), env, name, {"variant": v} if v else {})
            for name, v in (("amd64", ""), ("arm64", "v8"), ("arm", "v7"))
        ),
        "arm-only": (Image((_ETC,), env, "arm64"),),
    }


# --- the registry's interface -------------------------------------------------------------------


class Pusher:
    """Puts images into a registry that is open to all, by plain HTTP."""

    def __init__(self, host: str) -> None:
        self._connection = http.client.HTTPConnection(host, timeout=30)

    def close(self) -> None:
        self._connection.close()

    def push_all(self) -> dict[str, str]:
        """Push every base as NAME:latest; gives the digests by name."""
        return {name: self._push(name, image) for name, image in images().items()}

    def push_tar(self, name: str, layer: bytes, diff_id: str, config: dict[str, Any]) -> None:
        """Push an image of one layer that is compressed already."""
        document = _json({
            "architecture": "amd64", "os": "linux", "created": _TIME, "config": config,
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created": _TIME, "created_by": "layer 1"}],
        })  # fmt: skip
        self._put_manifest(name, "latest", _MANIFEST, _json({
            "schemaVersion": 2, "mediaType": _MANIFEST,
            "config": self._blob(name, _CONFIG, document),
            "layers": [self._blob(name, _LAYER, layer)],
        }))  # fmt: skip

    def _push(self, name: str, image: Image | tuple[Image, ...]) -> str:
        if isinstance(image, Image):
            return self._put_manifest(name, "latest", _MANIFEST, self._manifest(name, image))[
                "digest"
            ]
        entries = []
        for one in image:
            document = self._manifest(name, one)
            digest = "sha256:" + hashlib.sha256(document).hexdigest()
            entry = self._put_manifest(name, digest, _MANIFEST, document)
            platform = {"os": "linux", "architecture": one.architecture, **_variant(one)}
            entries.append({**entry, "platform": platform})
        index = _json({"schemaVersion": 2, "mediaType": _INDEX, "manifests": entries})
        return self._put_manifest(name, "latest", _INDEX, index)["digest"]

    def _manifest(self, name: str, image: Image) -> bytes:
        layers = [made(layer) for layer in image.layers]
        config = _json({
            "architecture": image.architecture, "os": "linux", "created": _TIME, **image.more,
            "config": image.config,
            "rootfs": {
                "type": "layers",
                "diff_ids": [layer.diff_id for layer in layers],
            },
            "history": [
                *({"created": _TIME, "created_by": f"layer {n + 1}"} for n in range(len(layers))),
                {"created": _TIME, "created_by": "config", "empty_layer": True, "author": "base"},
            ],
        })  # fmt: skip
        return _json({
            "schemaVersion": 2, "mediaType": _MANIFEST, "config": self._blob(name, _CONFIG, config),
            "layers": [self._blob(name, _LAYER, layer.blob) for layer in layers],
        })  # fmt: skip

    def _blob(self, name: str, media: str, data: bytes) -> dict[str, Any]:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        place = self._ask("POST", f"/v2/{name}/blobs/uploads/", 202)
        self._ask("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", 201, data)
        return {"mediaType": media, "digest": digest, "size": len(data)}

    def _put_manifest(self, name: str, tag: str, media: str, data: bytes) -> dict[str, Any]:
        self._ask("PUT", f"/v2/{name}/manifests/{tag}", 201, data, media)
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        return {"mediaType": media, "digest": digest, "size": len(data)}

    def _ask(
        self, method: str, path: str, expected: int, data: bytes = b"", media: str = ""
    ) -> str:
        headers = {"Content-Type": media or "application/octet-stream"}
        self._connection.request(method, path, body=data, headers=headers)
        reply = self._connection.getresponse()
        body = reply.read()
        assert reply.status == expected, f"{method} {path}: {reply.status} {body!r}"
        return reply.headers.get("Location", "")


def _variant(image: Image) -> dict[str, str]:
    return {"variant": image.more["variant"]} if "variant" in image.more else {}


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
