# SPDX-License-Identifier: Apache-2.0
"""Large programs from the Go module proxy: how ko would be told to build each, and a smoke test.

A smoke test starts the program in its image by runc, from a bundle that umoci wrote, on the host's
network, and gives what it saw: ko's image and wherry's have to show the same.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from registry_tools import output_of

TAG = "v9.8.7"
USER = 65532
_WAIT = 90.0
_RUNC = shutil.which("runc", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or "runc"


class Bundle:
    """An image as umoci unpacks it, for runc; `add` puts a file of the program's user into it."""

    def __init__(self, layout: Path, work: Path) -> None:
        """`layout` holds one image, whatever it is tagged."""
        self._work = work
        copy = work / "layout"
        shutil.copytree(layout, copy)
        index = json.loads((copy / "index.json").read_bytes())
        index["manifests"][0]["annotations"] = {"org.opencontainers.image.ref.name": "one"}
        (copy / "index.json").write_text(json.dumps(index))
        output_of("umoci", "unpack", "--image", f"{copy}:one", work / "bundle")
        self.root = work / "bundle" / "rootfs"
        self._config: dict[str, Any] = json.loads((work / "bundle" / "config.json").read_bytes())

    def add(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        for place in (path, path.parent):
            os.chown(place, USER, USER)

    def run(self, *words: str, stdin: str = "") -> str:
        """What the entrypoint with these words prints on stdout; it has to end well."""
        argv = self._argv(words, {})
        done = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, timeout=_WAIT, check=False
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def serving(self, *words: str, env: Mapping[str, str] | None = None) -> Iterator[Path]:
        """The entrypoint with these words, while the block runs; gives its log."""
        log = self._work / "log"
        with log.open("wb") as file:
            argv = self._argv(words, env or {})
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        try:
            yield log
        finally:
            state = ("--root", str(self._work / "state"))
            subprocess.run([_RUNC, *state, "kill", argv[-1], "KILL"], check=False, timeout=60)
            process.wait(60)

    def _argv(self, words: tuple[str, ...], env: Mapping[str, str]) -> list[str]:
        config = json.loads(json.dumps(self._config))
        process, linux = config["process"], config["linux"]
        process["terminal"] = False
        process["args"] += words
        process["env"] += [f"{name}={value}" for name, value in env.items()]
        linux["namespaces"] = [one for one in linux["namespaces"] if one["type"] != "network"]
        linux["cgroupsPath"] = f"/wherry-tests/{uuid.uuid4().hex}"
        (self._work / "bundle" / "config.json").write_text(json.dumps(config))
        name = f"real-{uuid.uuid4().hex[:12]}"
        return [_RUNC, "--root", str(self._work / "state"), "run",
                "-b", str(self._work / "bundle"), name]  # fmt: skip


def free_port() -> int:
    """A port of the loopback that nobody uses now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def answer(url: str, log: Path) -> str:
    """What a program that is starting answers at last."""
    deadline = time.monotonic() + _WAIT
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return str(response.read(100_000).decode())
        except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            text = log.read_text(errors="replace")[-3000:]
            assert time.monotonic() < deadline, f"{url}: {error}\n{text}"
            time.sleep(0.2)


# --- what each program has to do ----------------------------------------------------------------


def _caddy(bundle: Bundle) -> str:
    """Serves a file of the base."""
    port = free_port()
    words = ("file-server", "--listen", f"127.0.0.1:{port}", "--root", "/etc")
    with bundle.serving(*words) as log:
        served = answer(f"http://127.0.0.1:{port}/nsswitch.conf", log)
    assert served == "hosts: files dns\n"
    # Behind the version ko's program has the commit, which is not asked of wherry here.
    return served + bundle.run("version").split()[0]


def _fzf(bundle: Bundle) -> str:
    """Filters lines, and knows the version that the linker was told."""
    found = bundle.run("--filter=bt", stdin="alpha\nbeta\nbattle\ngamma\n")
    assert set(found.split()) == {"beta", "battle"}
    version = bundle.run("--version")
    assert version.startswith(f"{TAG} (")
    return found + version


def _prometheus(bundle: Bundle) -> str:
    """Gets ready, and knows the version that the linker was told."""
    port = free_port()
    bundle.add("etc/prometheus/prometheus.yml", "global: {scrape_interval: 15s}\n")
    words = ("--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/tmp/data",
             f"--web.listen-address=127.0.0.1:{port}")  # fmt: skip
    with bundle.serving(*words) as log:
        ready = answer(f"http://127.0.0.1:{port}/-/ready", log)
        told = json.loads(answer(f"http://127.0.0.1:{port}/api/v1/status/buildinfo", log))
    assert "Ready" in ready
    assert told["data"]["version"] == TAG
    return ready + json.dumps(told["data"], sort_keys=True)


def _k6(bundle: Bundle) -> str:
    """Runs a tiny script."""
    bundle.add("tmp/k6/script.js", "export default () => { console.log('sum ' + (20 + 22)) }\n")
    told = bundle.run(
        "run", "--quiet", "--no-usage-report", "--log-output=stdout", "--log-format=raw",
        "--summary-mode=disabled", "--address=", "--iterations=1", "/tmp/k6/script.js",
    )  # fmt: skip
    assert told.strip() == "sum 42"
    return told


def _gitea(bundle: Bundle) -> str:
    """Its web port answers with a file that the tag bindata put into the program."""
    port = free_port()
    env = {"GITEA_WORK_DIR": "/tmp/gitea", "GITEA__server__HTTP_ADDR": "127.0.0.1"}
    version = bundle.run("--version")
    assert TAG in version
    with bundle.serving("web", "--port", str(port), env=env) as log:
        return answer(f"http://127.0.0.1:{port}/assets/img/logo.svg", log) + version


def _hugo(bundle: Bundle) -> str:
    """Builds a tiny site."""
    bundle.add("tmp/site/hugo.toml", "baseURL = 'https://example.com/'\ntitle = 'Tiny'\n")
    bundle.add("tmp/site/layouts/home.html", "<h1>{{ .Title }}</h1>{{ .Content }}\n")
    bundle.add("tmp/site/content/_index.md", "---\ntitle: Home\n---\nIt *works*.\n")
    bundle.run("--source=/tmp/site", "--destination=/tmp/out", "--quiet", "--noBuildLock")
    page = (bundle.root / "tmp/out/index.html").read_text()
    assert "<em>works</em>" in page
    return page


class Program(NamedTuple):
    """A program, and what ko has to know of it.

    `generate` are directories for `go generate` with the tags. Where the proxy has not yet what
    go.mod asks for, versions of `older` take its place, and then the program's version `instead`.
    """

    name: str
    module: str
    package: str
    ko: str
    smoke: Callable[[Bundle], str]
    env: Mapping[str, str] = {}
    generate: tuple[str, ...] = ()
    older: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()


_CADDY = """\
builds:
- id: caddy
  main: ./cmd/caddy
  env: [CGO_ENABLED=0, CHANNEL=smoke]
  flags: [-trimpath, "-tags=nobadger,nomysql,nopgx"]
  ldflags:
  - -s -w
  - -X github.com/caddyserver/caddy/v2.CustomVersion={{.Git.Tag}}-{{.Env.CHANNEL}}
"""
_FZF = """\
builds:
- id: fzf
  dir: .
  ldflags: ["-s -w -X main.version={{.Git.Tag}} -X main.revision={{.Git.ShortCommit}}"]
"""
_PROMETHEUS = """\
defaultFlags: [-tags, netgo]
defaultEnv: [GOWORK=off]
builds:
- id: prometheus
  dir: .
  main: ./cmd/prometheus
  ldflags:
  - -s
  - -w
  - -X github.com/prometheus/common/version.Version={{.Git.Tag}}
  - -X github.com/prometheus/common/version.Revision={{.Git.FullCommit}}
  - -X github.com/prometheus/common/version.Branch={{if index .Env "BRANCH"}}{{.Env.BRANCH}}{{end}}
- id: promtool
  main: ./cmd/promtool
"""
_K6 = """\
defaultLdflags: [-s, -w]
"""
_GITEA = """\
builds:
- id: gitea
  dir: .
  main: main.go
  flags: ["-tags", "bindata timetzdata"]
  ldflags:
  - -s -w
  - -X "main.Version={{.Git.Tag}}"
  - -X "main.Tags=bindata timetzdata"
"""
_HUGO = """\
builds:
- id: hugo
  flags: -v
  ldflags: ["-s -w -X github.com/gohugoio/hugo/common/hugo.vendorInfo=ko"]
"""

PROGRAMS = (
    Program("fzf", "github.com/junegunn/fzf@v0.65.2", ".", _FZF, _fzf),
    Program("caddy", "github.com/caddyserver/caddy/v2@v2.11.9", "./cmd/caddy", _CADDY, _caddy),
    Program("k6", "go.k6.io/k6@v1.8.1", ".", _K6, _k6),
    Program("prometheus", "github.com/prometheus/prometheus@v0.315.0", "./cmd/prometheus",
            _PROMETHEUS, _prometheus, {"GOWORK": "off"}),
    Program("gitea", "code.gitea.io/gitea@v1.26.1", ".", _GITEA, _gitea,
            generate=tuple(f"./modules/{name}" for name in
                           ("options", "public", "templates", "migration"))),
    Program("hugo", "github.com/gohugoio/hugo@v0.169.0", ".", _HUGO, _hugo,
            {"GOTOOLCHAIN": "auto"},
            older=("github.com/spf13/fsync@v0.10.1",),
            instead=("github.com/gohugoio/hugo@v0.167.0",)),
)  # fmt: skip
