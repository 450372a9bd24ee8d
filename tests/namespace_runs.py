# SPDX-License-Identifier: Apache-2.0
"""Starts the namespace worker as root and as users made for the test; calls go to a driver."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from layer_samples import Piece, packed
from sandbox_runs import Runner, make_user

DRIVER = Path(__file__).parent / "namespace_driver.py"


class Refused(Exception):
    """What a call raised; `kind` is the exception's class."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind
        self.text = text


class Call:
    """A call under way."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.answer: dict[str, Any] = {}

    def result(self, seconds: float = 60) -> Any:
        assert self.done.wait(seconds), "no answer"
        if "error" in self.answer:
            raise Refused(self.answer["error"], self.answer["text"])
        return self.answer["result"]


class Driven:
    """A driver process with a `Namespace` of its own; a context manager.

    `prefix` is put before all names of snapshots, so that tests can share a driver.
    """

    prefix = ""

    def __init__(self, runner: Runner, home: Path, kind: str) -> None:
        self.home = home
        self.kind = kind
        self._numbers = itertools.count()
        self._calls: dict[int, Call] = {}
        self.process = subprocess.Popen(
            [*runner.words, runner.python, "-P", str(runner.home / DRIVER.name), str(home), kind],
            env=runner.env(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Driven:
        return self

    def __exit__(self, *_error: object) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.wait(60)
        self._reader.join()
        self.process.stdout.close()

    def start(self, do: str, **fields: Any) -> Call:
        for key in ("name", "lowers", "names"):
            if key in fields:
                fields[key] = self._prefixed(fields[key])
        number = next(self._numbers)
        call = self._calls[number] = Call()
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"number": number, "do": do, **fields}) + "\n")
        self.process.stdin.flush()
        return call

    def call(self, do: str, **fields: Any) -> Any:
        return self.start(do, **fields).result()

    def unpack(self, lowers: list[str], name: str, pieces: Iterable[Piece], **fields: Any) -> Any:
        """Unpack a layer of these pieces as the snapshot `name`."""
        tar = self.home / f"{name}.tar"
        tar.write_bytes(packed(pieces))
        tar.chmod(0o644)
        return self.call("unpack", lowers=lowers, name=name, tar=str(tar), **fields)

    def scan(self, name: str) -> dict[str, dict[str, Any]]:
        """The rows by path; their order is checked."""
        rows = self.call("scan", name=name)
        paths = [row["path"].split("/") for row in rows]
        assert paths == sorted(paths)
        return {row["path"]: row for row in rows}

    def path(self, name: str) -> Path:
        """Where the snapshot `name` is."""
        return self.home / "snapshots" / self._prefixed(name)

    def output(self, name: str) -> bytes:
        """What the step that made `name` has written so far."""
        out = self.home / f"{self._prefixed(name)}.out"
        return out.read_bytes() if out.exists() else b""

    def _prefixed(self, names: Any) -> Any:
        if isinstance(names, list):
            return [self._prefixed(name) for name in names]
        return f"{self.prefix}{names}"

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            answer = json.loads(line)
            call = self._calls.pop(answer.pop("number"))
            call.answer = answer
            call.done.set()


class Users(NamedTuple):
    """Who to start drivers as."""

    runner: Runner

    @contextmanager
    def drive(self, kind: str) -> Iterator[Driven]:
        """A driver whose snapshots are of this kind, in a directory of its own."""
        with self.directory() as home, Driven(self.runner, home, kind) as driven:
            yield driven

    @contextmanager
    def directory(self) -> Iterator[Path]:
        home = Path(tempfile.mkdtemp(dir=self.runner.home))
        if self.runner.user:
            shutil.chown(home, self.runner.user, self.runner.user)
        try:
            yield home
        finally:
            shutil.rmtree(home)


@contextmanager
def make_users(kind: str) -> Iterator[Users]:
    """A user of this kind (root, ranges, one); skips where that cannot be."""
    with make_user(kind) as runner:
        for script in (DRIVER, DRIVER.with_name("trees_driver.py")):
            shutil.copy(script, runner.home)
        yield Users(runner)
