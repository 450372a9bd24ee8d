# SPDX-License-Identifier: Apache-2.0
"""`go list` beside `go build`: the closure, and which packages lose their cgo files.

Both commands begin by reading every package. Side by side they would slow each other down, so `go
list` waits until `go build` compiles, or for so long that it cannot have to.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable
from typing import NamedTuple

from wherry.engines.local.listening import GoListener
from wherry.engines.local.storage import Storage
from wherry.errors import BuildError, WherryError
from wherry.golang.cgo import cgo_left_out
from wherry.golang.closure import Closure, World, gather
from wherry.golang.packages import Package, list_packages
from wherry.golang.record import file_digest
from wherry.graph.keys import encode
from wherry.graph.ops import GoBuildOp
from wherry.oci.canonical import Json, canonical_json
from wherry.oci.digest import sha256
from wherry.process.cancel import Cancelled, CancelToken
from wherry.solver.model import Step

_CGO_KIND = "cgo/1"
_HEAD_START_SECONDS = 1.0


class Question(NamedTuple):
    """What to survey: the op in its world; `reuse` allows answers that the store remembers."""

    op: GoBuildOp
    world: World
    storage: Storage
    reuse: bool
    trace: Callable[[str], None]
    listener: GoListener | None = None


class Survey:
    """`go list` and the gathering of the closure, in a thread beside the build."""

    def __init__(self, question: Question, step: Step) -> None:
        self.total = 0
        self.closure: Closure | None = None
        self.warnings: tuple[str, ...] = ()
        self._left_out: tuple[str, ...] = ()
        self._question = question
        self._cancel = CancelToken()
        self._outer = step.cancel
        self._fault: BaseException | None = None
        self._begin = threading.Event()
        self._thread = threading.Thread(target=self._run, name="go list", daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """Begin now; without this it begins by itself a moment later."""
        self._begin.set()

    def wait(self) -> None:
        """Wait for the end; raises only what is a fault of wherry itself, or `Cancelled`."""
        self.begin()
        self._thread.join()
        if self._outer.cancelled:
            raise Cancelled
        if self._fault is not None:
            raise self._fault

    def stop(self) -> None:
        """End it without a result."""
        self._cancel.cancel()
        self.begin()
        self._thread.join()

    def explained(self, error: WherryError) -> WherryError:
        """The build's error, with the packages whose cgo files were left out, if any."""
        self.begin()
        self._thread.join()
        if not self._left_out or not isinstance(error, BuildError):
            return error
        names = ", ".join(self._left_out)
        hint = f"without cgo these packages lose their C part: {names}"
        both = f"{error.hint}; {hint}" if error.hint else hint
        return BuildError(error.what, why=error.why, hint=both, where=error.where)

    def _run(self) -> None:
        with self._outer.on_cancel(self._stop_waiting):
            try:
                self._begin.wait(_HEAD_START_SECONDS)
                self._cancel.check()
                self._gather()
            except (WherryError, Cancelled):
                # go build tells the same failure, and tells it better: no closure, no record.
                self.closure = None
            except BaseException as error:  # noqa: BLE001 - a thread's border, raised by wait()
                self._fault = error

    def _stop_waiting(self) -> None:
        self._cancel.cancel()
        self._begin.set()

    def _gather(self) -> None:
        question = self._question
        op, world = question.op, question.world
        tool = world.tool
        packages = list_packages(
            tool.go, op.directory, op.packages, op.flags, tool.env, self._cancel
        )
        self.total = len(packages)
        if question.listener is not None:
            question.listener.listed(packages)
        self._note_cgo(packages)
        if all(not package.errors for package in packages):
            self.closure = gather(packages, world, secrets.token_hex(8))
        question.trace("closure-gathered")

    def _remembered(
        self, packages: tuple[Package, ...], ask: Callable[[], tuple[str, ...]]
    ) -> tuple[str, ...]:
        """What `ask` says, or said before of the same packages."""
        question = self._question
        world = question.world
        cache = world.facts.gomodcache.rstrip("/") + "/"
        asked: list[Json] = []
        for package in packages:
            if package.standard or not (package.ignored_go_files or package.swig_files):
                continue
            files = package.ignored_go_files
            if not package.dir.startswith(cache):
                # What a user edits is named by its content.
                files = tuple(file_digest(os.path.join(package.dir, name)) for name in files)
            asked.append([package.import_path, package.dir, *files])
        preimage: list[Json] = [world.facts.version, list(world.flags), asked]
        key = sha256(canonical_json([_CGO_KIND, encode(question.op.platform), preimage])).hex
        known = question.storage.records.get("cgo", key) if question.reuse else None
        if known is not None:
            return tuple(filter(None, known.decode().split("\n")))
        found = ask()
        question.storage.records.put("cgo", key, "\n".join(found).encode(), ())
        return found

    def _note_cgo(self, packages: tuple[Package, ...]) -> None:
        op, tool = self._question.op, self._question.world.tool
        if tool.env.get("CGO_ENABLED") == "1":
            return
        self._left_out = self._remembered(
            packages,
            lambda: cgo_left_out(packages, tool.go, op.directory, op.flags, tool.env, self._cancel),
        )
        self.warnings = tuple(
            f"{path} has cgo files that CGO_ENABLED=0 leaves out" for path in self._left_out
        )
