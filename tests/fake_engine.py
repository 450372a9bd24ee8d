# SPDX-License-Identifier: Apache-2.0
"""An engine on a unix socket that knows as much of Docker's Engine API as loading asks for.

It takes archives as Docker's own image store does (layers that it has may be missing) or as one
that wants all of them, and misbehaves as told.
"""

from __future__ import annotations

import hashlib
import io
import json
import socketserver
import ssl
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from wherry.fstree.decompress import decompressed
from wherry.oci.image import LAYER_TAR


class FakeEngine:
    """What the engine is, has and was asked; all attributes may be changed at will.

    `prefix` is where a podman puts short names that it loads; it looks below `localhost/` first.

    `fault` is one of: `refuse` (500 to a load), `error` (an error line), `hang` (no sign from the
    middle of a load on, and none to a ping), `slow` (silent for a while, but it lives), `hang-up`,
    `garbage`, `endless` (a line that does not end), `forget` (says that it has loaded), `early`
    (refuses before it has got everything), `lost-layers` (layers went after they were listed).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.port = 0
        self.kind = "docker"
        self.prefix = "localhost/"
        self.architecture = "amd64"
        self.fault = ""
        self.images: dict[str, list[str]] = {}
        self.names: dict[str, str] = {}
        self.loads: list[list[str]] = []
        self.requests: list[str] = []
        self.woken = threading.Event()
        self.is_hanging = False

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}" if self.port else f"unix://{self.path}"

    def named(self, name: str) -> str:
        """The image's ID by any of its names."""
        if name in self.images:
            return name
        short = name if ":" in name.rpartition("/")[2] else f"{name}:latest"
        found = (f"{prefix}{short}" for prefix in ("", "localhost/", "docker.io/library/"))
        return next((self.names[name] for name in found if name in self.names), "")

    def take(self, data: bytes) -> str:
        """Load an archive; what went wrong, or nothing."""
        files: dict[str, bytes] = {}
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                if member.isfile():
                    file = archive.extractfile(member)
                    assert file is not None
                    files[member.name] = file.read()
        self.loads.append(sorted(files))
        if self.fault == "lost-layers":
            self.images.clear()
            self.fault = ""
        if self.kind == "containerd" and "manifest.json" not in files:
            return self._keep_layout(files)
        known = {tuple(layers[: count + 1]) for layers in self.images.values()
                 for count in range(len(layers))}  # fmt: skip
        for image in json.loads(files["manifest.json"]):
            config = files[image["Config"]]
            diff_ids = json.loads(config)["rootfs"]["diff_ids"]
            for count, (layer, diff_id) in enumerate(zip(image["Layers"], diff_ids, strict=True)):
                if layer not in files:
                    if self.kind == "docker" and tuple(diff_ids[: count + 1]) in known:
                        continue
                    return f"open {layer}: no such file or directory"
                tar = decompressed(io.BytesIO(files[layer]), LAYER_TAR).read()
                if diff_id != f"sha256:{hashlib.sha256(tar).hexdigest()}":
                    return f"invalid diffID for layer {count}"
            self._keep(image, files, config, diff_ids)
        return ""

    def _keep_layout(self, files: dict[str, bytes]) -> str:
        """Take a layout as containerd does: by its roots, whatever is below them."""
        for entry in json.loads(files["index.json"])["manifests"]:
            if f"blobs/sha256/{entry['digest'].removeprefix('sha256:')}" not in files:
                return f"content {entry['digest']}: not found"
            self.images[entry["digest"]] = []
            full = entry["annotations"]["io.containerd.image.name"]
            self.names[full.removeprefix("docker.io/library/")] = entry["digest"]
        return ""

    def _keep(
        self, image: dict[str, object], files: dict[str, bytes], config: bytes, diff_ids: list[str]
    ) -> None:
        identity = f"sha256:{hashlib.sha256(config).hexdigest()}"
        if self.kind == "containerd":
            identity = json.loads(files["index.json"])["manifests"][0]["digest"]
        if self.fault == "forget":
            return
        self.images[identity] = diff_ids
        names = image["RepoTags"]
        assert isinstance(names, list)
        for name in names:
            host, slash, _ = name.partition("/")
            is_short = not slash or ("." not in host and host != "localhost")
            own = f"{self.prefix}{name}" if self.kind == "podman" and is_short else name
            self.names[own] = identity


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_args: object) -> None:
        pass

    def do_GET(self) -> None:
        engine = self.server.engine
        path = urlsplit(self.path).path
        engine.requests.append(f"GET {path}")
        if engine.is_hanging:
            engine.woken.wait(30)
            return
        if engine.fault == "no-engine":
            self._answer(200, b"<html>hello</html>")
        elif path == "/_ping":
            self._answer(200, b"OK")
        elif path == "/version":
            components = [{"Name": "Podman Engine" if engine.kind == "podman" else "Engine"}]
            self._json({"Version": "1.2.3", "Arch": engine.architecture, "Os": "linux",
                        "Components": components})  # fmt: skip
        elif path == "/info":
            status = [["driver-type", "io.containerd.snapshotter.v1"]]
            self._json({"DriverStatus": status if engine.kind == "containerd" else []})
        elif path == "/images/json":
            self._json([{"Id": identity, "Created": 1} for identity in engine.images])
        else:
            self._image(unquote(path.removeprefix("/images/").removesuffix("/json")))

    def _image(self, name: str) -> None:
        engine = self.server.engine
        identity = engine.named(name)
        if not identity:
            self._json({"message": f"No such image: {name}"}, 404)
            return
        names = [name for name, meant in engine.names.items() if meant == identity]
        layers = {"Type": "layers", "Layers": engine.images[identity]}
        self._json({"Id": identity, "RepoTags": names, "RootFS": layers})

    def do_POST(self) -> None:
        engine = self.server.engine
        parts = urlsplit(self.path)
        engine.requests.append(f"POST {parts.path}")
        if parts.path.endswith("/tag"):
            query = parse_qs(parts.query)
            identity = engine.named(unquote(parts.path.split("/")[2]))
            engine.names[f"{query['repo'][0]}:{query['tag'][0]}"] = identity
            self._answer(201, b"")
            return
        fault = engine.fault
        if fault == "early":
            self.rfile.read(10)
            self._json({"message": "no space left on device"}, 500)
            self.close_connection = True
            return
        if fault in ("hang", "hang-up"):
            self._misbehave(fault)
            return
        self._loaded(self._body())

    def _misbehave(self, fault: str) -> None:
        engine = self.server.engine
        self.rfile.read(10)
        self.close_connection = True
        if fault == "hang":
            engine.is_hanging = True
            engine.woken.wait(30)

    def _loaded(self, data: bytes) -> None:
        engine, fault = self.server.engine, self.server.engine.fault
        if fault == "refuse":
            self._json({"message": "storage driver \x1b[31mexploded"}, 500)
            return
        if fault == "slow":
            engine.woken.wait(1.0)
        problem = engine.take(data)
        if fault == "error":
            problem = "Error processing tar file"
        line: dict[str, object] = {"stream": "Loaded image: something\n"}
        if problem:
            line = {"errorDetail": {"message": problem}, "error": problem}
        body = json.dumps(line).encode() + b"\r\n"
        if fault == "garbage":
            body = b"\x00\xffnothing that anybody knows\n"
        elif fault == "endless":
            body = b'"' + b"x" * (2 << 20)
        self._answer(200, body)

    def _body(self) -> bytes:
        assert self.headers["Transfer-Encoding"] == "chunked"
        data = bytearray()
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return bytes(data)

    def _json(self, value: object, status: int = 200) -> None:
        self._answer(status, json.dumps(value).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    engine: FakeEngine

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are part of the tests."""


class _TlsServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    block_on_close = False
    engine: FakeEngine

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.socket = context.wrap_socket(self.socket, server_side=True)

    def handle_error(self, request: object, client_address: object) -> None:
        """As above."""


@contextmanager
def fake_engine(directory: Path, tls: ssl.SSLContext | None = None) -> Iterator[FakeEngine]:
    """An engine, listening below `directory` or with TLS on a port for the time of the block."""
    engine = FakeEngine(directory / "engine.sock")
    made = _Server(str(engine.path), _Handler) if tls is None else _TlsServer(tls)
    with made as server:
        server.engine = engine
        if isinstance(server, _TlsServer):
            engine.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield engine
        finally:
            engine.woken.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    """An engine of a test's own; its socket's path is short enough."""
    with (
        tempfile.TemporaryDirectory(prefix="engine-") as directory,
        fake_engine(Path(directory)) as made,
    ):
        yield made
