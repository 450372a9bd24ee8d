# SPDX-License-Identifier: Apache-2.0
"""Images at work: the example over HTTP, and what the base `static` gives a Go program."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import wherry
from wherry.errors import NetworkError
from wherry_fixtures import Finished

Module = Callable[..., Path]
Wherry = Callable[..., Finished]

MOVIES = Path(__file__).parents[2] / "examples" / "movies"
MACHINE_LACKS = 3


class Built(NamedTuple):
    """The example's image, its store, and a layout of it."""

    result: wherry.BuildResult
    store: Path
    layout: Path
    env: Mapping[str, str]


@pytest.fixture(scope="module")
def movies(tmp_path_factory: pytest.TempPathFactory, go_caches: dict[str, str]) -> Built:
    """The example, built from a copy; its one dependency comes from the Go module proxy."""
    work = tmp_path_factory.mktemp("movies")
    shutil.copytree(MOVIES, work / "movies")
    kept = ("PATH", "GOPROXY", "GOSUMDB", "GOTOOLCHAIN", "HTTPS_PROXY", "SSL_CERT_FILE")
    env = {name: os.environ[name] for name in kept if name in os.environ}
    env |= {**go_caches, "HOME": str(work)}
    try:
        result = wherry.build(
            "movies",
            outputs=[f"type=oci,tar=false,dest={work / 'layout'}"],
            store=work / "store",
            surroundings=wherry.Surroundings(cwd=str(work), env=env),
        )
    except NetworkError as error:
        pytest.skip(f"the Go module proxy cannot be reached: {error.what}")
    return Built(result, work / "store", work / "layout", env)


@contextmanager
def serving(argv: list[str], env: Mapping[str, str], log: Path) -> Iterator[str]:
    """The example, started with PORT=0, as the URL that it says it listens on."""
    with (
        log.open("wb") as stderr,
        subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stderr=stderr) as server,
    ):
        try:
            yield f"http://127.0.0.1:{_port(server, log)}"
            server.send_signal(signal.SIGTERM)
            assert server.wait(20) == 0, log.read_text()
            assert "stopped" in log.read_text()
        finally:
            server.kill()


def _port(server: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and server.poll() is None:
        match = re.search(r"listening on \S*:(\d+)", log.read_text())
        if match is not None:
            return int(match[1])
        time.sleep(0.02)
    if server.poll() == MACHINE_LACKS:
        pytest.skip(f"wherry run: {log.read_text().strip().splitlines()[0]}")
    raise AssertionError(f"the example does not serve: {log.read_text()}")


def ask(method: str, url: str, body: object = None) -> tuple[int, Any]:
    """Status and JSON of the answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    # No proxy of the machine's for what runs on loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=20) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def exercise(url: str) -> None:
    """Everything that the example promises."""
    status, listed = ask("GET", f"{url}/movies")
    assert (status, len(listed)) == (200, 3)
    status, made = ask("POST", f"{url}/movies", {"title": "Playtime", "year": 1967})
    assert (status, made["title"]) == (201, "Playtime")
    one = f"{url}/movies/{made['id']}"
    assert ask("GET", one) == (200, made)
    status, changed = ask("PUT", one, {"title": "Play Time", "year": 1967})
    assert (status, changed["title"], changed["id"]) == (200, "Play Time", made["id"])
    assert ask("GET", one) == (200, changed)
    assert ask("DELETE", one) == (204, None)
    assert ask("GET", one)[0] == 404
    assert ask("PATCH", f"{url}/movies")[0] == 405
    assert len(ask("GET", f"{url}/movies")[1]) == 3


def test_the_image_started_by_wherry_run_answers(movies: Built, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "wherry", "run", "--store", str(movies.store)]
    argv += ["-e", "PORT=0", "--read-only", movies.result.reference]
    with serving(argv, movies.env, tmp_path / "log") as url:
        exercise(url)


@pytest.mark.skipif(shutil.which("umoci") is None, reason="no umoci on PATH")
def test_the_program_that_umoci_unpacks_answers(movies: Built, tmp_path: Path) -> None:
    words = ("umoci", "unpack", "--rootless", "--image", f"{movies.layout}:latest")
    subprocess.run([*words, str(tmp_path / "bundle")], check=True, capture_output=True)
    program = tmp_path / "bundle" / "rootfs" / "app" / "movies"
    with serving([str(program)], {"PORT": "0"}, tmp_path / "log") as url:
        exercise(url)


def test_run_of_what_build_prints(
    module: Module, go_env: dict[str, str], store: Path, tmp_path: Path
) -> None:
    directory = module(
        {"main.go": 'package main\n\nimport "os"\n\nfunc main() { println("ran"); os.Exit(7) }\n'}
    )
    wherry_command = shlex.join([sys.executable, "-m", "wherry"])
    done = subprocess.run(
        ["sh", "-c", f"{wherry_command} run $({wherry_command} build .)"],
        cwd=directory,
        env={**go_env, "WHERRY_STORE": str(store)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode == MACHINE_LACKS:
        pytest.skip(f"wherry run: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 7, done.stderr
    assert done.stdout == ""
    assert done.stderr.endswith("ran\n")


# What a program asks its surroundings for, told as JSON.
SURVEY = """package main

import (
	"crypto/x509"
	"encoding/json"
	"mime"
	"net"
	"os"
	"os/exec"
	"os/user"
	"time"
)

type answer struct {
	Roots                                            int
	Berlin, User, Home, OnPath, Temp, Other, Shell string
	HTTPS, UDP                                       int
	Errors                                           []string
}

var found answer

func check(err error) {
	if err != nil {
		found.Errors = append(found.Errors, err.Error())
	}
}

func main() {
	pool, err := x509.SystemCertPool()
	check(err)
	found.Roots = len(pool.Subjects())

	berlin, err := time.LoadLocation("Europe/Berlin")
	check(err)
	if err == nil {
		found.Berlin = time.Unix(0, 0).In(berlin).Format(time.RFC3339)
	}

	current, err := user.Current()
	check(err)
	if err == nil {
		found.User = current.Username + ":" + current.Uid + ":" + current.HomeDir
	}
	other, err := user.Lookup("nobody")
	check(err)
	if err == nil {
		found.Other = other.Uid
	}
	_, err = user.LookupGroup("nonroot")
	check(err)

	found.HTTPS, err = net.LookupPort("tcp", "https")
	check(err)
	found.UDP, err = net.LookupPort("udp", "domain")
	check(err)
	_, err = net.LookupHost("localhost")
	check(err)

	file, err := os.CreateTemp("", "made-*")
	check(err)
	if err == nil {
		found.Temp = file.Name()
		file.Close()
	}
	found.Home, err = os.UserHomeDir()
	check(err)
	check(os.WriteFile(found.Home+"/note", []byte("x"), 0o600))
	_, err = os.UserCacheDir()
	check(err)
	check(mime.AddExtensionType(".wherry", "text/plain"))
	if _, err := exec.LookPath("sh"); err != nil {
		found.Shell = "none"
	}
	if self, err := exec.LookPath("m"); err == nil {
		found.OnPath = self
	}
	json.NewEncoder(os.Stdout).Encode(found)
}
"""


def test_the_base_gives_a_program_what_go_asks_for(module: Module, wherry: Wherry) -> None:
    directory = module({"main.go": SURVEY})
    built = wherry("build", "-q", ".", cwd=directory)
    assert built.returncode == 0, built.stderr
    done = wherry("run", built.stdout.strip())
    if done.returncode == MACHINE_LACKS:
        pytest.skip(f"wherry run: {done.stderr.strip().splitlines()[0]}")
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["Errors"] is None
    assert seen["Roots"] > 100
    assert seen["Berlin"] == "1970-01-01T01:00:00+01:00"
    assert seen["User"] == "nonroot:65532:/home/nonroot"
    assert seen["Home"] == "/home/nonroot"
    assert seen["Other"] == "65534"
    assert (seen["HTTPS"], seen["UDP"]) == (443, 53)
    assert seen["Temp"].startswith("/tmp/made-")
    assert seen["Shell"] == "none"
    assert seen["OnPath"] == "/app/m"
