# SPDX-License-Identifier: Apache-2.0
"""What the world serves: files over HTTP with their headers, a git repository, OCI layouts."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from differential.bases import Image, images, made
from differential.debian import make_packages, mirror
from differential.model import directory, packed, regular, symlink, tar_bytes

_MODIFIED = "Fri, 14 Jul 2017 02:40:00 GMT"
_HEADERS = {
    "named": {"Content-Disposition": 'attachment; filename="from-header.txt"'},
    "odd-name": {"Content-Disposition": 'attachment; filename="../up.txt"'},
}
_REDIRECTS = {"moved": "/plain.txt"}


def make_files(root: Path) -> dict[str, str]:
    """The files behind %HTTP%; gives their digests as names (SUM_PLAIN, ...)."""
    (root / "dir").mkdir(parents=True)
    members = (
        ("top", directory(0o750, 11, 12)), ("top/file", regular("from the archive", 0o640, 11, 12)),
        ("top/link", symlink("file")),
    )  # fmt: skip
    files = {
        "plain.txt": b"plain\n",
        "dir/other.txt": b"other\n",
        "named": b"named\n",
        "odd-name": b"odd\n",
        "archive.tar": tar_bytes(members),
        "archive.tar.gz": packed(tar_bytes(members), "gz"),
    }
    for name, data in files.items():
        (root / name).write_bytes(data)
    make_packages(root / "apt")
    return {
        "SUM_PLAIN": hashlib.sha256(files["plain.txt"]).hexdigest(),
        "SUM_TGZ": hashlib.sha256(files["archive.tar.gz"]).hexdigest(),
    }


# --- git ----------------------------------------------------------------------------------------


def make_repository(root: Path, env: Mapping[str, str]) -> Path:
    """A bare repository `project.git` with two commits, a tag, a branch; gives its path."""
    work = root / "work"
    work.mkdir(parents=True)
    bare = root / "served" / "project.git"
    _git(work, env, "init", "-q", "-b", "main")
    (work / "first").write_text("first\n")
    (work / "tool").write_text("#!tool\n")
    (work / "tool").chmod(0o755)
    _commit(work, env, "one")
    _git(work, env, "tag", "v1")
    (work / "sub" / "deeper").mkdir(parents=True)
    (work / "sub" / "in-sub").write_text("in sub\n")
    (work / "sub" / "deeper" / "leaf").write_text("leaf\n")
    (work / "sub" / "Dockerfile").write_text("FROM scratch\nCOPY in-sub /\n")
    (work / "Dockerfile").write_text("FROM scratch\nCOPY . /all/\n")
    (work / "to-first").symlink_to("first")
    _commit(work, env, "two")
    _git(work, env, "tag", "-a", "v2", "-m", "annotated")
    _git(work, env, "branch", "side", "v1")
    _git(root, env, "clone", "-q", "--bare", str(work), str(bare))
    _git(bare, env, "config", "uploadpack.allowReachableSHA1InWant", "true")
    _git(bare, env, "update-server-info")
    return bare


def commits(repository: Path, env: Mapping[str, str]) -> dict[str, str]:
    """The names of the commits: COMMIT_ONE, COMMIT_TWO."""
    return {
        "COMMIT_ONE": _git(repository, env, "rev-parse", "v1^{commit}").strip(),
        "COMMIT_TWO": _git(repository, env, "rev-parse", "v2^{commit}").strip(),
    }


def _commit(work: Path, env: Mapping[str, str], message: str) -> None:
    _git(work, env, "add", "-A")
    _git(work, env, "commit", "-q", "-m", message)


def _git(place: Path, env: Mapping[str, str], *words: str) -> str:
    someone = {
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (
            ("NAME", "Someone"), ("EMAIL", "someone@example.com"), ("DATE", "1500000000 +0000"),
        )
    }  # fmt: skip
    done = subprocess.run(
        ["git", *words], cwd=place, env={**os.environ, **env, **someone}, capture_output=True,
        text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- HTTP ---------------------------------------------------------------------------------------


def _mirrored(name: str) -> tuple[int, bytes]:
    """A file of the machine's Debian mirror; those that never change are kept."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    kept = cache / "wherry-tests" / "mirror" / hashlib.sha256(name.encode()).hexdigest()
    if kept.exists():
        return 200, kept.read_bytes()
    try:
        with urllib.request.urlopen(f"{mirror()}/{name}", timeout=60) as reply:
            data = reply.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, b""
    except OSError:
        return 502, b""
    if "/by-hash/" in name or name.startswith("pool/"):
        kept.parent.mkdir(parents=True, exist_ok=True)
        staged = kept.with_suffix(f".{threading.get_ident()}")
        staged.write_bytes(data)
        staged.rename(kept)
    return 200, data


def handler(
    files: Path, repositories: Path, env: Mapping[str, str]
) -> type[http.server.BaseHTTPRequestHandler]:
    """Serves `files`, and the repositories below `/git/` by git's own program."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            name = self.path.partition("?")[0].strip("/")
            path = files / name
            if name.startswith("git/"):
                self._git(b"")
            elif name.startswith("mirror/"):
                self._reply(*_mirrored(name.removeprefix("mirror/")), {})
            elif name in _REDIRECTS:
                self._reply(302, b"", {"Location": _REDIRECTS[name]})
            elif name and ".." not in name and path.is_file():
                data = path.read_bytes()
                tag = hashlib.sha256(data).hexdigest()[:12]
                headers = {"ETag": f'"{tag}"', "Last-Modified": _MODIFIED}
                self._reply(200, data, {**headers, **_HEADERS.get(name, {})})
            else:
                self._reply(404, b"not here\n", {})

        def do_POST(self) -> None:
            if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                self._git(self._chunks())
            else:
                self._git(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

        def _chunks(self) -> bytes:
            data = b""
            while size := int(self.rfile.readline().strip() or b"0", 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data

        def _git(self, body: bytes) -> None:
            path, _, query = self.path.partition("?")
            asked = {
                "GIT_PROJECT_ROOT": str(repositories), "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path.removeprefix("/git"), "QUERY_STRING": query,
                "REQUEST_METHOD": self.command, "REMOTE_ADDR": "127.0.0.1",
                "CONTENT_TYPE": self.headers.get("Content-Type") or "",
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding") or "",
                "GIT_PROTOCOL": self.headers.get("Git-Protocol") or "",
            }  # fmt: skip
            done = subprocess.run(
                ["git", "http-backend"], env={**os.environ, **env, **asked}, input=body,
                capture_output=True, check=False, timeout=60,
            )  # fmt: skip
            head, _, data = done.stdout.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
            self._reply(int(headers.pop("Status", "200 OK")[:3]), data, headers)

        def _reply(self, status: int, data: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


# --- layouts ------------------------------------------------------------------------------------


def make_layouts(root: Path) -> None:
    """The one-platform bases as OCI layouts, for named contexts: ROOT/NAME, tag `latest`."""
    for name, image in images().items():
        if isinstance(image, Image):
            _Layout(root / name).write(image)


class _Layout:
    def __init__(self, root: Path) -> None:
        self._root = root
        (root / "blobs" / "sha256").mkdir(parents=True)

    def write(self, image: Image) -> None:
        made_layers = [made(layer) for layer in image.layers]
        diff_ids = [layer.diff_id for layer in made_layers]
        config = {
            "architecture": image.architecture, "os": "linux", **image.more,
            "config": image.config, "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [{"created_by": f"layer {n + 1}"} for n in range(len(diff_ids))],
        }  # fmt: skip
        kind = "application/vnd.oci.image"
        layers = [self._blob(f"{kind}.layer.v1.tar+gzip", layer.blob) for layer in made_layers]
        manifest = {
            "schemaVersion": 2, "mediaType": f"{kind}.manifest.v1+json",
            "config": self._blob(f"{kind}.config.v1+json", _json(config)), "layers": layers,
        }  # fmt: skip
        entry = self._blob(f"{kind}.manifest.v1+json", _json(manifest))
        entry["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
        index = {"schemaVersion": 2, "manifests": [entry]}
        (self._root / "index.json").write_bytes(_json(index))
        (self._root / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))

    def _blob(self, media: str, data: bytes) -> dict[str, Any]:
        value = hashlib.sha256(data).hexdigest()
        (self._root / "blobs" / "sha256" / value).write_bytes(data)
        return {"mediaType": media, "digest": f"sha256:{value}", "size": len(data)}


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
