# SPDX-License-Identifier: Apache-2.0
"""BuildKit's and moby's own packages as an oracle: what they make of a Dockerfile's text.

The program is tests/oracle/dockerfile, built once from the Go module proxy and kept in the user's
cache directory under a name that its sources decide. Operations and their fields, as keywords:

`parse(text)`: `nodes` (keyword, flags, words, json, heredocs, start, end, original, comments,
child), `escape`, `warnings`. `syntax(text)`: what BuildKit takes for the file's syntax (`found`,
`value`, `whole`, `lines`), and `check_error`. `instructions(text)`: `stages` and `arguments`.
`expand(text, env, escape, words, raw_quotes, raw_escapes, keep_unset, keep_quotes)`: `text`,
`used`, `unmatched`, or with words=True `words`. `ignore(text or rules, paths)`: `rules`,
`excluded`. `match(pattern, name)`: `matches`. Any answer may be `error` (and `lines`) instead, or
`panic` where the package itself broke. Texts with bytes that are not UTF-8 are strings with
surrogate escapes, both ways.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import re
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from wherry.errors import MachineError
from wherry.golang.toolchain import find_go

_SOURCES = Path(__file__).parent / "oracle" / "dockerfile"
# Words of Go's where the module proxy cannot be reached, or may not be asked.
_UNREACHABLE = re.compile(
    r"dial tcp|i/o timeout|no such host|TLS handshake|proxyconnect|connection (?:refused|reset)"
    r"|disabled by GOPROXY|unexpected EOF|requires go >="
)

Answer = dict[str, Any]


class Oracle:
    """The running program; one process, which several threads may ask."""

    def __init__(self, program: Path) -> None:
        self._program = program
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # remarks on texts that are not UTF-8
            cwd="/", env={},
        )  # fmt: skip

    def __enter__(self) -> Oracle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the program."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(30)

    def ask(self, op: str, **fields: object) -> Answer:
        """The answer to one question."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(_line(op, fields))
            self._process.stdin.flush()
            return _answer(self._process.stdout.readline())

    def ask_all(self, op: str, questions: Iterable[Mapping[str, object]]) -> list[Answer]:
        """The answers to many questions, in order; much quicker than one at a time."""
        lines = [_line(op, fields) for fields in questions]
        done = subprocess.run(
            [self._program], input=b"".join(lines), capture_output=True, check=True,
            timeout=280, cwd="/", env={},
        )  # fmt: skip
        answers = [_answer(line) for line in done.stdout.splitlines()]
        assert len(answers) == len(lines)
        return answers


@pytest.fixture(scope="session")
def oracle_program() -> Path:
    """The oracle's path; its tests are skipped where it cannot be built for want of a network."""
    return build_oracle()


@pytest.fixture(scope="session")
def oracle(oracle_program: Path) -> Iterator[Oracle]:
    """The oracle, one for each worker of pytest-xdist."""
    with Oracle(oracle_program) as running:
        yield running


def build_oracle() -> Path:
    """Build the program unless it is there already; gives its path."""
    names = ("go.mod", "go.sum", "main.go")
    sources = hashlib.sha256(b"".join((_SOURCES / name).read_bytes() for name in names))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = cache / "wherry-tests" / "bin"
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / f"dockerfile-oracle-{sources.hexdigest()[:12]}"
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            _build(program)
    return program


def _build(program: Path) -> None:
    try:
        go = find_go(os.environ)
    except MachineError as error:
        pytest.skip(f"no Go here: {error}")
    part = program.with_suffix(".part")
    env = {**os.environ, **dict(go.env), "GOFLAGS": "", "CGO_ENABLED": "0", "GOWORK": "off"}
    done = subprocess.run(
        [go.path, "build", "-trimpath", "-buildvcs=false", "-o", part, "."],
        env=env, cwd=_SOURCES, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    if done.returncode != 0 and _UNREACHABLE.search(done.stderr):
        pytest.skip(f"the oracle cannot be had: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    part.rename(program)


def _line(op: str, fields: Mapping[str, object]) -> bytes:
    return json.dumps({"op": op, **_packed(fields)}).encode() + b"\n"


def _packed(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raw = value.encode("utf-8", "surrogateescape")
            return {"base64": base64.b64encode(raw).decode()}
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, Mapping):
        return {name: _packed(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_packed(item) for item in value]
    return value


def _answer(line: bytes) -> Answer:
    answer = json.loads(line, object_hook=_unpacked)
    assert "fault" not in answer, answer["fault"]
    return dict(answer)


def _unpacked(value: Answer) -> Any:
    if value.keys() == {"base64"}:
        return base64.b64decode(value["base64"]).decode("utf-8", "surrogateescape")
    return value
