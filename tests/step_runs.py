# SPDX-License-Identifier: Apache-2.0
"""Runs single steps in a real namespace worker, as root and as users made for the test."""

from __future__ import annotations

import itertools
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sandbox_runs import _copy_packages, _interpreter, _user
from wherry.sandbox.step_spec import StepMount, StepSpec

DRIVER = Path(__file__).parent / "step_driver.py"
PASSWD = "root:x:0:0:root:/root:/bin/sh\nbob:x:1000:1001::/home/bob:/bin/sh\n"
GROUP = "root:x:0:\nbob:x:1001:\nwheel:x:10:bob\n"
OPEN_FILES = 1000
_TIMEOUT_SECONDS = 30


class Done(NamedTuple):
    """What became of a step; `error` names the exception instead of an exit code."""

    code: int
    out: str
    err: str
    empty: bool
    changed: tuple[str, ...]
    staged: str
    error: str
    what: str
    why: str


class Steps:
    """A running driver: `directory` is its own, `base` a snapshot with busybox in it."""

    def __init__(self, kind: str, process: subprocess.Popen[str], directory: Path) -> None:
        self.kind = kind
        self.directory = directory
        self.base = str(directory / "snapshots" / "base")
        self.ready: dict[str, Any] = {}
        self.said: list[str] = []
        self._process = process
        self._numbers = itertools.count()
        self._answers: dict[int, queue.Queue[dict[str, Any]]] = {}
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._begun = threading.Event()
        self._thread.start()
        assert self._begun.wait(_TIMEOUT_SECONDS), "the driver did not begin"

    @property
    def has_runtime(self) -> bool:
        return bool(self.ready["runtime"])

    def sh(self, script: str, *mounts: StepMount, **changes: Any) -> Done:
        """Run a shell script to its end."""
        return self.run(StepSpec(("/bin/sh", "-c", script), mounts=mounts, **changes))

    def run(self, step: StepSpec, *lowers: str, typed: str = "") -> Done:
        return self.wait(self.start(step, *lowers, typed=typed))

    def start(self, step: StepSpec, *lowers: str, typed: str = "") -> int:
        """Begin a step; returns its number."""
        number = next(self._numbers)
        self._answers[number] = queue.Queue()
        fields = {"number": number, "lowers": lowers or (self.base,), "step": step.as_json()}
        self._send({**fields, "typed": typed})
        return number

    def cancel(self, number: int) -> None:
        self._send({"cancel": number})

    def output(self, number: int, name: str = "out") -> str:
        """What the step wrote so far."""
        path = self.directory / f"{number}.{name}"
        return path.read_text() if path.exists() else ""

    def wait(self, number: int) -> Done:
        answer = self._answers[number].get(timeout=_TIMEOUT_SECONDS)
        return Done(
            code=answer["code"],
            out=self.output(number),
            err=self.output(number, "err"),
            empty=answer.get("empty", False),
            changed=tuple(row["path"] for row in answer.get("changed", ())),
            staged=answer.get("staged", ""),
            error=answer.get("error", ""),
            what=answer.get("what", ""),
            why=answer.get("why", ""),
        )

    def make(self, name: str, mode: int = 0o755) -> str:
        """An empty directory of the driver's user, as a prepared cache mount."""
        path = self.directory / name
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(mode)
        owner = self.directory.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
        return str(path)

    def _send(self, fields: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(fields) + "\n")
        self._process.stdin.flush()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            if "number" in answer:
                self._answers[answer["number"]].put(answer)
            elif "said" in answer:
                self.said.append(answer["said"])
            else:
                self.ready = answer
                self._begun.set()


@contextmanager
def run_steps(kind: str) -> Iterator[Steps]:
    """A driver for `kind`: root, ranges or one, with `-plain` for no OCI runtime."""
    user, _, plain = kind.partition("-")
    busybox = shutil.which("busybox")
    if os.geteuid() != 0:
        pytest.skip("only root can make users to run as")
    if busybox is None or shutil.which("ldd") is None or _is_dynamic(busybox):
        pytest.skip("a static busybox is missing: steps need a root")
    if user == "ranges" and shutil.which("newuidmap") is None:
        pytest.skip("newuidmap is missing: no user has id ranges")
    home = Path(tempfile.mkdtemp(prefix="wherry-run-"))
    home.chmod(0o755)
    try:
        with _user(user, home) as words:
            packages = _copy_packages(home)
            _make_base(home / "snapshots" / "base" / "fs", busybox)
            shutil.copy(DRIVER, home / "driver.py")
            if words:
                owner = home.name.replace("wherry-run-", "w").lower()
                subprocess.run(["chown", "-R", f"{owner}:", home], check=True)
            command = [*words, _interpreter(words, packages), "-P", str(home / "driver.py")]
            # Less than the most, so that whoever raises it is seen.
            limited = ["sh", "-c", f'ulimit -Sn {OPEN_FILES} && exec "$0" "$@"', *command]
            yield from _driven(kind, [*limited, str(home), "-" if plain else "any"], home)
    finally:
        shutil.rmtree(home)


def _driven(kind: str, command: list[str], home: Path) -> Iterator[Steps]:
    env = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(home),
        "PYTHONPATH": str(home / "packages"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    with subprocess.Popen(
        command, cwd=home, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            yield Steps(kind, process, home)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(_TIMEOUT_SECONDS)
            finally:
                process.kill()


def _is_dynamic(program: str) -> bool:
    done = subprocess.run(["ldd", program], capture_output=True, check=False)
    return done.returncode == 0


def _make_base(root: Path, busybox: str) -> None:
    for name in ("bin", "etc", "proc", "dev", "sys", "root", "home/bob", "data"):
        (root / name).mkdir(parents=True)
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    shutil.copy(busybox, root / "bin" / "busybox")
    names = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    for name in set(names.stdout.split()) - {"busybox"}:
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc" / "passwd").write_text(PASSWD)
    (root / "etc" / "group").write_text(GROUP)
    (root / "data" / "file").write_text("of the base\n")
    (root / "data" / "link").symlink_to("/data/file")
