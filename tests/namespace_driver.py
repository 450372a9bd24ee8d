# SPDX-License-Identifier: Apache-2.0
"""The library side of namespace tests, started as the user to test: calls come as JSON lines.

`namespace_driver.py DIRECTORY OVERLAY`; each call has its own thread, so that calls run side by
side. Answers are JSON lines with the call's number.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from wherry.errors import MachineError, WherryError
from wherry.fstree.limits import Limits
from wherry.oci.digest import parse_digest, sha256
from wherry.oci.image import LAYER_TAR, Descriptor, Layer
from wherry.process.cancel import Cancelled, CancelToken
from wherry.sandbox.namespace import Namespace, NamespaceOptions
from wherry.sandbox.step_spec import StepSpec


class Remembered:
    """Keeps the proof of the runtime in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> str:
        return self._path.read_text() if self._path.exists() else ""

    def save(self, text: str) -> None:
        self._path.write_text(text)


class Driver:
    def __init__(self, home: Path, overlay: bool) -> None:
        self.snapshots = home / "snapshots"
        self.scratch = home / "scratch"
        for path in (self.snapshots, self.scratch):
            path.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT)
        options = NamespaceOptions(
            os.environ["PATH"],
            str(self.scratch),
            lock,
            say=said.append,
            probed=Remembered(home / "proved"),
            overlay=overlay,
        )
        self.namespace = Namespace(options)
        self._copies = itertools.count()
        self.tokens: dict[str, CancelToken] = {}

    def _paths(self, names: list[str]) -> tuple[str, ...]:
        return tuple(str(self.snapshots / name) for name in names)

    def _stage(self, name: str) -> str:
        path = self.snapshots / name
        path.mkdir(mode=0o700)
        return str(path)

    def place(self) -> Any:
        began = time.monotonic()
        name = self.namespace.place.name
        taken = time.monotonic() - began
        return {
            "name": name,
            "runtime": self.namespace.runtime,
            "own_proc": self.namespace.own_proc,
            "seconds": taken,
            "said": said,
        }

    def unpack(
        self,
        lowers: list[str],
        name: str,
        tar: str,
        diff_id: str = "",
        limits: list[int] | None = None,
    ) -> Any:
        """`limits` are those of an index, which the answer has in hexadecimal."""
        data = Path(tar).read_bytes()
        digest = sha256(data)
        wrong = parse_digest(diff_id) if diff_id else digest
        layer = Layer(Descriptor(LAYER_TAR, digest, len(data)), wrong)
        with open(tar, "rb") as blob:
            done = self.namespace.unpack(
                self._paths(lowers),
                self._stage(name),
                layer,
                blob,
                CancelToken(),
                Limits(*limits) if limits is not None else None,
            )
        return {"size": done.size, "skipped": done.skipped, "index": done.layer_index.hex()}

    def execute(self, lowers: list[str], name: str, args: list[str], cancel: str = "") -> Any:
        token = self.tokens.setdefault(cancel, CancelToken()) if cancel else CancelToken()
        null = os.open(os.devnull, os.O_RDWR)
        out = os.open(self.scratch.parent / f"{name}.out", os.O_RDWR | os.O_CREAT, 0o600)
        step = StepSpec(tuple(args))
        done = self.namespace.execute(
            self._paths(lowers), self._stage(name), step, (null, out, out), token
        )
        os.close(out)
        os.close(null)
        return done

    def cancel(self, cancel: str) -> Any:
        self.tokens.setdefault(cancel, CancelToken()).cancel()

    def scan(self, name: str) -> Any:
        rows = list(self.namespace.scan(str(self.snapshots / name)))
        return [
            row._replace(xattrs=[[key, value.hex()] for key, value in row.xattrs])._asdict()  # type: ignore[arg-type]
            for row in rows
        ]

    def open(self, name: str, path: str) -> Any:
        with self.namespace.open(str(self.snapshots / name), path) as file:
            return file.read().decode()

    def read(self, lowers: list[str], path: str) -> Any:
        """What a file of a root holds, None for no file: copied out with its directory."""
        directory, _, name = path.rpartition("/")
        staged = self._stage(f"read-{next(self._copies)}")
        os.mkdir(f"{staged}/fs")
        try:
            self.namespace.copy_out(
                self._paths(lowers), directory or "/", f"{staged}/fs", (0, 0, 0o755)
            )
            with self.namespace.open(staged, name) as file:
                return file.read().decode()
        except MachineError as error:
            if not error.why.startswith(os.strerror(errno.ENOENT)):
                raise
            return None
        finally:
            with suppress(MachineError):
                self.namespace.remove((staged,))

    def copy_out(self, lowers: list[str], selector: str, name: str) -> Any:
        owner = (0, 0, 0o750)
        self.namespace.copy_out(self._paths(lowers), selector, self._stage(name), owner)

    def make_directory(self, name: str, uid: int, gid: int, mode: int) -> Any:
        self.namespace.make_directory(str(self.snapshots / name), uid, gid, mode)

    def remove(self, names: list[str]) -> Any:
        self.namespace.remove(self._paths(names))

    def close(self) -> Any:
        self.namespace.close()


said: list[str] = []
_printing = threading.Lock()


def answer(number: int, **fields: Any) -> None:
    with _printing:
        print(json.dumps({"number": number, **fields}), flush=True)


def serve(driver: Driver, number: int, do: str, fields: dict[str, Any]) -> None:
    try:
        result = getattr(driver, do)(**fields)
        if hasattr(result, "_asdict"):
            result = result._asdict()
        answer(number, result=result)
    except Cancelled:
        answer(number, error="Cancelled", text="")
    except (WherryError, OSError) as error:
        answer(number, error=type(error).__name__, text=str(error))


def main() -> None:
    driver = Driver(Path(sys.argv[1]), sys.argv[2] == "overlay")
    for line in sys.stdin:
        call = json.loads(line)
        arguments = (driver, call.pop("number"), call.pop("do"), call)
        threading.Thread(target=serve, args=arguments, daemon=True).start()
    driver.namespace.close()


if __name__ == "__main__":
    main()
