# SPDX-License-Identifier: Apache-2.0
"""Git repositories on a loopback port: `git http-backend` behind a small HTTP server."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from git_commands import ENV

IDENTITY = {**ENV, "GIT_ALLOW_PROTOCOL": "file:http"}


def git(directory: Path, *arguments: str) -> str:
    """git's output in `directory`."""
    shown = subprocess.run(
        ["git", "-c", "init.defaultBranch=main", *arguments],
        cwd=directory, env=IDENTITY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return shown.stdout.strip()


class GitServer(ThreadingHTTPServer):
    """Serves the repositories below `root`; keeps the Authorization headers that came.

    With `wanted` set, a request without that header's value is turned away. With `old_protocol`
    single commits are given only if a ref names them.
    """

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        self.root = root
        self.wanted = ""
        self.old_protocol = False
        self.authorizations: list[str] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        """http://127.0.0.1:PORT."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: GitServer

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            pieces = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            self._answer(b"".join(pieces))
        else:
            self._answer(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

    def _answer(self, body: bytes) -> None:
        authorization = self.headers.get("Authorization", "")
        self.server.authorizations.append(authorization)
        if self.server.wanted and authorization != self.server.wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="test"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        parts = urlsplit(self.path)
        env = {
            **IDENTITY,
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": parts.path,
            "QUERY_STRING": parts.query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": ""
            if self.server.old_protocol
            else self.headers.get("Git-Protocol", ""),
            "REMOTE_ADDR": "127.0.0.1",
        }
        done = subprocess.run(
            ["git", "http-backend"], input=body, env=env, capture_output=True, check=False
        )
        head, _, data = done.stdout.partition(b"\r\n\r\n")
        headers = [line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line]
        status = next((value for name, value in headers if name == "Status"), "200 OK")
        self.send_response(int(status.split(" ")[0]))
        for name, value in headers:
            if name != "Status":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def git_server(root: Path) -> Iterator[GitServer]:
    """A running server."""
    with GitServer(root) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
