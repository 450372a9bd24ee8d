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
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from wherry.engines.local.chosen_files import FilesOperation
from wherry.engines.local.listening import GoListener, PrunedModules
from wherry.engines.local.results import Binary, Built, Result
from wherry.engines.local.storage import (
    KnownPieces,
    LayerSettings,
    Storage,
    WorkDirectory,
    store_next_layer,
)
from wherry.engines.local.survey import Question, Survey
from wherry.errors import BuildError, WherryError
from wherry.fstree.capabilities import XATTR, xattr
from wherry.fstree.tree import Directory, File, Unread, make_tree
from wherry.golang.action_graph import FLAG
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
from wherry.graph.ops import FilesOp, GoBuildOp
from wherry.oci.canonical import canonical_json
from wherry.oci.digest import Digest, sha256
from wherry.oci.image import Layer
from wherry.process.cancel import CancelToken
from wherry.process.clock import file_clock_ns, is_local, next_file_clock_ns
from wherry.solver.model import Operation, Step

if TYPE_CHECKING:
    from wherry.fstree.pieces import SiblingPieces

_ATTEMPTS = 2


class _Attempt(NamedTuple):
    """One run of go: why programs could not be built, what was learned of the closure of all, what
    moved meanwhile."""

    failures: tuple[tuple[str, WherryError], ...]
    survey: Survey
    moved: Movement


@dataclass(frozen=True, slots=True)
class GoExecutors:
    """The executors of a Go module's build; `world` is what surrounds an op."""

    world: Callable[[GoBuildOp], World]
    storage: Storage
    settings: LayerSettings
    trace: Callable[[str], None]
    listener: GoListener | None = None

    def operation(self, vertex: Vertex) -> Operation[Result] | None:
        """The executor of a GoBuildOp or FilesOp."""
        op = vertex.op
        if isinstance(op, FilesOp):
            return FilesOperation(op, self.storage, self.settings)
        if not isinstance(op, GoBuildOp):
            return None
        world = self.world(op)
        return GoBuildOperation(op, world, self.storage, self.settings, self.trace, self.listener)

    def settled(self, built: Built, _cancel: CancelToken) -> Built:
        """The result itself: these ops give layers."""
        return built

    def require(self) -> None:
        """Nothing: no op of these runs in a root."""

    def prepare(self, base: Built, step: Step) -> None:
        """Nothing, as above."""


@dataclass(frozen=True, slots=True)
class GoBuildOperation:
    """Builds main packages; `world.tool` is the go command.

    Several are one `go build`, which compiles what they share once. Where it fails each is built by
    itself: what can be built is, and each of the others has its own error. A program that cannot be
    built is part of the result, as another image may need none of those that fail.
    """

    op: GoBuildOp
    world: World
    storage: Storage
    settings: LayerSettings
    trace: Callable[[str], None]
    listener: GoListener | None = None

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
            began = file_clock_ns()
            for _ in range(_ATTEMPTS):
                attempt = self._attempt(work, step, began)
                changed, restless = attempt.moved
                if not changed and not restless:
                    return self._packaged(attempt, work, step)
                step.output(f"{changed or restless} changed while the build ran: building again")
                began = next_file_clock_ns()
            if not changed:
                # Names that mean nothing to Go come and go there: good enough to use, too unsure
                # to be remembered.
                return self._packaged(attempt, work, step)
        raise BuildError(
            f"the sources of {', '.join(self.op.packages)} keep changing while they are built",
            why=f"changed last: {changed}",
            hint="stop what writes there and build again",
        )

    def _attempt(self, work: WorkDirectory, step: Step, began: int) -> _Attempt:
        """One run; what changed not before `began`, by the clock of files, may be in it or not."""
        directory = self.op.directory
        local, place = is_local(directory), _identity(directory)
        survey = Survey(self._question(), step)
        pruned = self.listener is not None and self.listener.is_pruned
        if not local or pruned:
            survey.wait()
        if pruned and survey.closure is None:
            raise PrunedModules("the pruned modules do not hold all that this build needs")
        for name in self.op.names:
            _drop_unfinished(os.path.join(work.path, name))
        failures = self._compile(work, survey, step)
        if pruned:
            self._refuse_foreign(failures)
        self.trace("go-built")
        survey.wait()
        closure = survey.closure
        if closure is None:
            # What go build could read, go list could not a moment later; or some failed.
            return _Attempt(failures, survey, Movement("", "" if failures else directory))
        if local and not all(map(is_local, closure.places())):
            # A replaced module, say, on a network file system: now build after the gathering.
            local = False
            failures = self._compile(work, survey, step)
        moved = changed_since(closure, began if local else None)
        if _identity(directory) != place:
            moved = moved._replace(changed=directory)
        if not local and not moved.changed:
            moved = moved._replace(changed=self._second_look(closure, step))
        return _Attempt(failures, survey, moved)

    def _refuse_foreign(self, failures: Sequence[tuple[str, WherryError]]) -> None:
        """Raise where a failure on pruned modules may be one of theirs."""
        for _, error in failures:
            place = os.path.join(self.op.directory, error.where.partition(":")[0])
            inside = os.path.realpath(place).startswith(
                os.path.realpath(self.world.facts.gomodcache) + os.sep
            )
            if not error.where or inside or not os.path.isfile(place):
                raise PrunedModules(error.what, why=error.headline)

    def _question(self) -> Question:
        return Question(
            self.op, self.world, self.storage, self.settings.reuse, self.trace, self.listener
        )

    def _second_look(self, closure: Closure, step: Step) -> str:
        """What differs when gathered again: contents tell of an edit before signatures do."""
        again = Survey(self._question(), step)
        again.wait()
        if again.closure is None:
            return self.op.directory
        return first_difference(closure, again.closure)

    def _compile(
        self, work: WorkDirectory, survey: Survey, step: Step
    ) -> tuple[tuple[str, WherryError], ...]:
        """Build all programs; the names of those that could not be built, with the reasons."""
        packages, names = self.op.packages, self.op.names
        # With its file as output a program alone may have a name that a directory has not.
        output = os.path.join(work.path, names[0]) if len(names) == 1 else work.path + os.sep
        compiled = 0

        def on_package(import_path: str) -> None:
            nonlocal compiled
            compiled += 1
            survey.begin()
            step.progress(compiled, survey.total, "packages", import_path)

        try:
            self._build(packages, output, work, on_package, step)
        except WherryError as error:
            explained = survey.explained(error)
            if len(packages) == 1:
                return ((names[0], explained),)
        except BaseException:
            survey.stop()
            raise
        else:
            return ()
        failures: list[tuple[str, WherryError]] = []
        for number, (package, name) in enumerate(zip(packages, names, strict=True)):
            step.progress(number, len(names), "programs", name)
            try:
                output = os.path.join(work.path, name)
                self._build((package,), output, work, lambda _: survey.begin(), step)
            except WherryError as error:
                failures.append((name, survey.explained(error)))
        if len(failures) == len(names) and len({str(error) for _, error in failures}) == 1:
            return tuple((name, explained) for name in names)
        return tuple(failures)

    def _build(
        self,
        packages: tuple[str, ...],
        output: str,
        work: WorkDirectory,
        on_package: Callable[[str], None],
        step: Step,
    ) -> None:
        tool, listener, flags = self.world.tool, self.listener, self.op.flags
        graph = os.path.join(work.path, "actions.json")
        if listener is not None:
            listener.wait(step.cancel)
            flags = (*flags, f"{FLAG}{graph}")
        call = BuildCall(self.op.directory, packages, output, flags, tool.env, (work.fd,))
        build_binary(tool.go, call, step.cancel, on_package, step.output)
        if listener is not None:
            with suppress(OSError), open(graph, "rb") as file:
                listener.built(file.read(), self.op.flags)

    def _packaged(self, attempt: _Attempt, work: WorkDirectory, step: Step) -> Built:
        """The programs, each with its layer."""
        failures = dict(attempt.failures)
        layers: list[Layer] = []
        binaries: list[Binary] = []
        capabilities = self.op.capabilities or ((),) * len(self.op.names)
        count = len(self.op.names)
        siblings = _siblings() if count > 1 else None
        for number, (name, granted) in enumerate(zip(self.op.names, capabilities, strict=True)):
            if name in failures:
                continue
            if count > 1:
                step.progress(number, count, "layers", name)
            try:
                output = os.path.join(work.path, name)
                pieces = KnownPieces(f"{output}.pieces", siblings)
                binary, layer = self._layer(output, granted, pieces, step)
            except BuildError as error:
                failures[name] = error
                continue
            binaries.append(binary)
            layers.append(layer)
        self.trace("layer-stored")
        sizes = sum(binary.size for binary in binaries)
        if failures:
            step.fall_short()
        # What failed of one program alone is told at the end.
        if count > 1 or not failures:
            built = f"{len(binaries)} of {count} built, " if failures else ""
            step.remark(f"{built}{_megabytes(sizes)}")
        closure = attempt.survey.closure
        known = closure is not None and not closure.unclear and not any(attempt.moved)
        return Built(
            tuple(layers),
            sizes,
            None,
            tuple(binaries),
            closure.inputs if closure is not None and known and not failures else None,
            attempt.survey.warnings,
            failures=tuple(failures.items()),
        )

    def _layer(
        self, output: str, capabilities: tuple[str, ...], known: KnownPieces, step: Step
    ) -> tuple[Binary, Layer]:
        name = os.path.basename(output)
        facts = read_binary(output)
        self._check_base(facts, name)
        path = f"{self.op.image_directory}/{name}"
        xattrs = ((XATTR, xattr(capabilities)),) if capabilities else ()
        parents = [Directory(one.path, one.mode, one.uid, one.gid, one.xattrs)
                   for one in self.op.parents]  # fmt: skip
        program = File(path, Unread(output, facts.size), 0o755, xattrs=xattrs)
        tree = make_tree([*parents, program])
        stored = store_next_layer(
            self.storage, tree, self.op.mtime, self.settings, step.cancel, known
        )
        _note_finished(output)
        binary = Binary(name, f"/{path}", facts)
        return binary, stored.layers[0]

    def _check_base(self, facts: BinaryFacts, name: str) -> None:
        if facts.is_static or self.op.dynamic_allowed:
            return
        libraries = ", ".join(facts.needed) or "none named"
        raise BuildError(
            f"{name} is dynamically linked, and its base has no C library",
            why=f"libraries it needs: {libraries}\nloader: {facts.interpreter or 'none'}",
            hint=(
                'name a base that has them: libc-base = "debian:12-slim" in wherry.toml; or leave '
                "out `cgo = true`, -buildmode=pie and external linking, or link statically: "
                'ldflags = ["-linkmode external", "-extldflags=-static"]'
            ),
        )


def _siblings() -> SiblingPieces:
    from wherry.fstree.pieces import SiblingPieces  # noqa: PLC0415 - not where nothing changed

    return SiblingPieces()


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
