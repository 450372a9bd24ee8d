# SPDX-License-Identifier: Apache-2.0
"""Servers on loopback, each for the time of a block, on a port that it chooses itself."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.failure import BenchError

_CONFIG = """\
version: 0.1
log: {{level: info, accesslog: {{disabled: {is_silent}}}}}
storage:
  filesystem: {{rootdirectory: '{storage}'}}
  maintenance: {{uploadpurging: {{enabled: false}}}}
http: {{addr: '127.0.0.1:{port}', secret: bench}}
"""
# Python's own server with answers that do not wait for acknowledgements: that may cost 40 ms each.
_FILE_SERVER = """\
import functools, http.server, sys

class Files(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_words):
        pass

handler = functools.partial(Files, directory=sys.argv[1])
with http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), handler) as server:
    print("listening on port", server.server_port)
    server.serve_forever()
"""
_LISTENING = r"listening on 127\.0\.0\.1:(\d+)"


@contextmanager
def memory_registry(crane: Path, work: Path, env: Mapping[str, str]) -> Iterator[str]:
    """go-containerregistry's registry, which keeps everything in memory; gives its host:port."""
    argv = (str(crane), "registry", "serve", "--address", "127.0.0.1:0")
    with _serving(argv, r"serving on port (\d+)", work / "registry.log", env) as host:
        yield host


@contextmanager
def docker_registry(work: Path, env: Mapping[str, str]) -> Iterator[str]:
    """Debian's docker-registry, empty, with its storage below `work`; gives its host:port."""
    program = _docker_registry_program(env)
    directory = work / "docker-registry"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    config = directory / "config.yml"
    config.write_text(_CONFIG.format(storage=directory / "storage", port=0, is_silent="true"))
    try:
        argv = (program, "serve", str(config))
        with _serving(argv, _LISTENING, directory / "log", env) as host:
            yield host
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def kept_registry(storage: Path, log: Path, env: Mapping[str, str], port: int) -> Iterator[str]:
    """Debian's docker-registry with what lies in `storage`; its log has a line for each request."""
    storage.mkdir(parents=True, exist_ok=True)
    config = log.with_suffix(".yml")
    config.write_text(_CONFIG.format(storage=storage, port=port, is_silent="false"))
    argv = (_docker_registry_program(env), "serve", str(config))
    with _serving(argv, _LISTENING, log, env) as host:
        yield host


def _docker_registry_program(env: Mapping[str, str]) -> str:
    program = shutil.which("docker-registry", path=env["PATH"])
    if program is None:
        raise BenchError("docker-registry is not there: apt-get install docker-registry")
    return program


@contextmanager
def file_server(directory: Path, log: Path, env: Mapping[str, str], port: int = 0) -> Iterator[str]:
    """The files below `directory` over HTTP for the time of the block; gives the URL."""
    argv = (sys.executable, "-u", "-c", _FILE_SERVER, str(directory), str(port))
    with _serving(argv, r"listening on port (\d+)", log, env) as host:
        yield f"http://{host}"


@contextmanager
def _serving(
    argv: Sequence[str], announcement: str, log: Path, env: Mapping[str, str]
) -> Iterator[str]:
    with (
        log.open("wb") as output,
        subprocess.Popen(
            argv, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        ) as server,
    ):
        try:
            yield f"127.0.0.1:{_port(server, announcement, log)}"
        finally:
            server.terminate()


def _port(server: subprocess.Popen[bytes], announcement: str, log: Path) -> int:
    for _ in range(500):
        match = re.search(announcement, log.read_text())
        if match is not None:
            return int(match.group(1))
        if server.poll() is not None:
            break
        time.sleep(0.02)
    raise BenchError(f"the registry did not start: {log.read_text().strip()}")
