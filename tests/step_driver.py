# SPDX-License-Identifier: Apache-2.0
"""`step_driver DIRECTORY RUNTIME`: a namespace worker whose steps come on stdin, one JSON a line.

Runs as the user whose rights are tried. Each line holds a number, the root's snapshots and a step;
an answer with the same number comes back on stdout once the step has ended. A line with `cancel`
stops the step of that number. Streams lie in files of DIRECTORY, named by the number. RUNTIME `-`
hides the OCI runtimes that this machine has.
"""

from __future__ import annotations

import json
import os
import sys
import termios
import threading
from contextlib import suppress
from typing import Any, BinaryIO

from wherry.errors import WherryError
from wherry.process.cancel import Cancelled, CancelToken
from wherry.sandbox import namespace_link
from wherry.sandbox.namespace import Namespace, NamespaceOptions
from wherry.sandbox.step_spec import StepSpec

Fields = dict[str, Any]


class Driver:
    def __init__(self, directory: str, namespace: Namespace) -> None:
        self._directory = directory
        self._namespace = namespace
        self._tokens: dict[int, CancelToken] = {}
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def answer(self, fields: Fields) -> None:
        number = fields["number"]
        result: Fields
        try:
            result = self._run(number, fields)
        except WherryError as error:
            result = {
                "error": type(error).__name__, "what": error.what, "why": error.why,
                "hint": error.hint, "code": error.exit_code,
            }  # fmt: skip
        except Cancelled:
            result = {"error": "Cancelled", "what": "", "why": "", "hint": "", "code": -1}
        self.tell({"number": number, **result})

    def tell(self, fields: Fields) -> None:
        with self._lock:
            print(json.dumps(fields), flush=True)

    def begin(self, fields: Fields) -> None:
        self._tokens[fields["number"]] = CancelToken()
        thread = threading.Thread(target=self.answer, args=(fields,))
        self._threads.append(thread)
        thread.start()

    def finish(self) -> None:
        for thread in self._threads:
            thread.join()

    def cancel(self, number: int) -> None:
        self._tokens[number].cancel()

    def _run(self, number: int, fields: Fields) -> Fields:
        staged = os.path.join(self._directory, "snapshots", str(number))
        os.mkdir(staged, 0o700)
        step = StepSpec.parse(fields["step"])
        out, err = (os.path.join(self._directory, f"{number}.{name}") for name in ("out", "err"))
        with open(os.devnull, "rb") as stdin, open(out, "wb") as output, open(err, "wb") as errors:
            streams = (stdin.fileno(), output.fileno(), errors.fileno())
            if step.terminal:
                main, inner = os.openpty()
                termios.tcsetwinsize(inner, (33, 99))
                streams = (inner, inner, inner)
                typing = threading.Thread(
                    target=_type, args=(main, fields["typed"].encode(), output)
                )
                typing.start()
            done = self._namespace.execute(
                tuple(fields["lowers"]), staged, step, streams, self._tokens[number]
            )
            if step.terminal:
                os.close(inner)
                typing.join()
        changed = [row._asdict() for row in self._namespace.scan(staged)]
        return {"code": done.code, "empty": done.empty, "staged": staged, "changed": changed}


def _type(main: int, typed: bytes, output: BinaryIO) -> None:
    """Type when the program shows a prompt; keep what the terminal shows."""
    with suppress(OSError):
        while data := os.read(main, 4096):
            output.write(data)
            if typed and b"?" in data:
                os.write(main, typed)
                typed = b""
    os.close(main)


def main(directory: str, runtime: str) -> None:
    if runtime == "-":
        namespace_link.installed_runtimes = lambda _path: ()
    lock = os.open(os.path.join(directory, "lock"), os.O_CREAT | os.O_RDWR)
    options = NamespaceOptions(
        search_path=os.environ["PATH"],
        directory=os.path.join(directory, "worker"),
        lock=lock,
        say=lambda line: driver.tell({"said": line}),
    )
    with Namespace(options) as namespace:
        driver = Driver(directory, namespace)
        place = namespace.place
        driver.tell(
            {"runtime": namespace.runtime, "place": place.name, "seccomp": namespace.seccomp}
        )
        for line in sys.stdin:
            fields = json.loads(line)
            if "cancel" in fields:
                driver.cancel(fields["cancel"])
            else:
                driver.begin(fields)
        driver.finish()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
