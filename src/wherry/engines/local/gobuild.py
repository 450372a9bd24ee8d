# SPDX-License-Identifier: Apache-2.0
"""The executor of GoBuildOp: go build, its closure, the binary's facts, its layer.

`go list` runs beside `go build`. The closure it gives is compared with the files once the build
has ended: what changed meanwhile voids the run, which is done again once. Where another machine's
clock stamps the files, `go list` runs before the build and once more after it. The output lies
always at the same path, so that Go can skip a link that would give the same; the directory is
locked, and Go's own processes keep the lock if wherry is killed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from wherry.engines.local.results import Binary, Built, Result
from wherry.engines.local.storage import LayerSettings, Storage, WorkDirectory, store_next_layer
from wherry.engines.local.survey import Question, Survey
from wherry.errors import BuildError
from wherry.fstree.tree import File, Unread, make_tree
from wherry.golang.binary import BinaryFacts, read_binary
from wherry.golang.build import BuildCall, build_binary
from wherry.golang.closure import (
    Closure,
    Movement,
    World,
    changed_since,
    first_difference,
)
from wherry.golang.signature import signature_of
from wherry.graph.build import Vertex
from wherry.graph.keys import CacheKey, encode
from wherry.graph.ops import GoBuildOp
from wherry.oci.canonical import canonical_json
from wherry.oci.digest import Digest, sha256
from wherry.process.cancel import CancelToken
from wherry.process.clock import file_clock_ns, is_local
from wherry.solver.model import Operation, Step

_ATTEMPTS = 2


class _Attempt(NamedTuple):
    """One run of go: the program, what was learned of its closure, what moved meanwhile."""

    output: str
    survey: Survey
    moved: Movement


@dataclass(frozen=True, slots=True)
class GoExecutors:
    """The executors of a Go module's build; `mtime` stamps the binaries, in seconds."""

    world: World
    mtime: int
    storage: Storage
    settings: LayerSettings
    trace: Callable[[str], None]

    def operation(self, vertex: Vertex) -> Operation[Result] | None:
        """The executor of a GoBuildOp."""
        op = vertex.op
        if not isinstance(op, GoBuildOp):
            return None
        return GoBuildOperation(op, self.world, self.mtime, self.storage, self.settings, self.trace)

    def settled(self, built: Built, _cancel: CancelToken) -> Built:
        """The result itself: these ops give layers."""
        return built

    def require(self) -> None:
        """Nothing: no op of these runs in a root."""

    def prepare(self, base: Built, step: Step) -> None:
        """Nothing, as above."""


@dataclass(frozen=True, slots=True)
class GoBuildOperation:
    """Builds one main package; `world.tool` is the go command."""

    op: GoBuildOp
    world: World
    mtime: int
    storage: Storage
    settings: LayerSettings
    trace: Callable[[str], None]

    def definition(self, _inputs: tuple[Digest, ...]) -> CacheKey | None:
        """None: what a Go build reads is known by its closure only."""
        return None

    def content(self, _inputs: tuple[Result, ...]) -> CacheKey | None:
        """None: the build record is looked up before there is a graph."""
        return None

    def run(self, _inputs: tuple[Result, ...], step: Step) -> Result:
        """Build until the sources held still, at most twice."""
        key = sha256(canonical_json([self.op.KIND, encode(self.op)])).hex
        with self.storage.work(key, step.cancel.check) as work:
            for _ in range(_ATTEMPTS):
                attempt = self._attempt(work, step)
                changed, restless = attempt.moved
                if not changed and not restless:
                    return self._package(attempt, step)
                step.output(f"{changed or restless} changed while the build ran: building again")
            if not changed:
                # Names that mean nothing to Go come and go there: good enough to use, too unsure
                # to be remembered.
                return self._package(attempt, step)
        raise BuildError(
            f"the sources of {self.op.packages[0]} keep changing while they are built",
            why=f"changed last: {changed}",
            hint="stop what writes there and build again",
        )

    def _attempt(self, work: WorkDirectory, step: Step) -> _Attempt:
        directory = self.op.directory
        local, place, began = is_local(directory), _identity(directory), file_clock_ns()
        survey = Survey(self._question(), step)
        if not local:
            survey.wait()
        output = os.path.join(work.path, self.op.names[0])
        _drop_unfinished(output)
        self._compile(output, work, survey, step)
        self.trace("go-built")
        survey.wait()
        closure = survey.closure
        if closure is None:
            # What go build could read, go list could not a moment later.
            return _Attempt(output, survey, Movement("", directory))
        if local and not all(map(is_local, closure.places())):
            # A replaced module, say, on a network file system: now build after the gathering.
            local = False
            self._compile(output, work, survey, step)
        moved = changed_since(closure, began if local else None)
        if _identity(directory) != place:
            moved = moved._replace(changed=directory)
        if not local and not moved.changed:
            moved = moved._replace(changed=self._second_look(closure, step))
        return _Attempt(output, survey, moved)

    def _question(self) -> Question:
        return Question(self.op, self.world, self.storage, self.settings.reuse, self.trace)

    def _second_look(self, closure: Closure, step: Step) -> str:
        """What differs when gathered again: contents tell of an edit before signatures do."""
        again = Survey(self._question(), step)
        again.wait()
        if again.closure is None:
            return self.op.directory
        return first_difference(closure, again.closure)

    def _compile(self, output: str, work: WorkDirectory, survey: Survey, step: Step) -> None:
        compiled = 0

        def on_package(import_path: str) -> None:
            nonlocal compiled
            compiled += 1
            survey.begin()
            step.progress(compiled, survey.total, "packages", import_path)

        call = BuildCall(
            self.op.directory,
            self.op.packages[0],
            output,
            self.op.flags,
            self.world.tool.env,
            (work.fd,),
        )
        try:
            build_binary(self.world.tool.go, call, step.cancel, on_package, step.output)
        except BuildError as error:
            raise survey.explained(error) from error
        except BaseException:
            survey.stop()
            raise

    def _package(self, attempt: _Attempt, step: Step) -> Built:
        output, survey = attempt.output, attempt.survey
        facts = read_binary(output)
        self._check_base(facts)
        name = self.op.names[0]
        path = f"{self.op.image_directory}/{name}"
        tree = make_tree([File(path, Unread(output, facts.size), 0o755)])
        stored = store_next_layer(
            self.storage, tree, self.mtime, self.settings, step.cancel, f"{output}.pieces"
        )
        _note_finished(output)
        self.trace("layer-stored")
        step.remark(_megabytes(facts.size))
        go_version = facts.build_info.go_version if facts.build_info else ""
        closure = survey.closure
        known = closure is not None and not closure.unclear and not any(attempt.moved)
        return Built(
            stored.layers,
            stored.unpacked,
            None,
            (Binary(name, f"/{path}", facts.size, go_version, not facts.is_static),),
            closure.inputs if closure is not None and known else None,
            survey.warnings,
        )

    def _check_base(self, facts: BinaryFacts) -> None:
        if facts.is_static or self.op.dynamic_allowed:
            return
        libraries = ", ".join(facts.needed) or "none named"
        raise BuildError(
            f"{self.op.names[0]} is dynamically linked, and its base has no C library",
            why=f"libraries it needs: {libraries}\nloader: {facts.interpreter or 'none'}",
            hint=(
                'name a base that has them: libc-base = "debian:12-slim" in wherry.toml; or leave '
                "out `cgo = true`, -buildmode=pie and external linking, or link statically: "
                'ldflags = ["-linkmode external", "-extldflags=-static"]'
            ),
        )


def _identity(directory: str) -> tuple[int, int] | None:
    """Which directory a path leads to: another one once a link on the way was turned."""
    try:
        status = os.stat(directory)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _drop_unfinished(output: str) -> None:
    """Remove a program that is not just as the last finished build left it, and that build's note.

    Go takes the program at `output` for its own by the build id inside, which a copy that was cut
    short, or a file that somebody changed, has too.
    """
    with suppress(FileNotFoundError):
        if _state_of(output) != _finished_state(output):
            os.unlink(output)
    with suppress(FileNotFoundError):
        os.unlink(f"{output}.finished")


def _note_finished(output: str) -> None:
    # A note lost costs a link, so neither fsync nor error matter here.
    with suppress(OSError), open(f"{output}.finished", "w", encoding="ascii") as file:
        file.write(_state_of(output))


def _finished_state(output: str) -> str:
    try:
        with open(f"{output}.finished", encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _state_of(output: str) -> str:
    """The file's signature, in this run of the machine: a crash may lose data that it described."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
    except OSError:
        boot = ""
    return f"{boot} {signature_of(output)}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
