# SPDX-License-Identifier: Apache-2.0
"""The namespace worker as the rest of wherry sees it: started when first needed, asked by calls.

Unprivileged, the files of snapshots belong to mapped ids that the plain user can neither read nor
remove. So one process in namespaces of its own (`wherry.sandbox.namespace_worker`) unpacks, runs,
scans and removes. A build that finds everything in the cache never starts it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol, Self

from wherry.errors import InternalError, MachineError
from wherry.oci.image import Layer
from wherry.process.cancel import CancelToken
from wherry.sandbox.exchange import Place, Scanned, Unpacked
from wherry.sandbox.host_facts import HostFacts
from wherry.sandbox.step_spec import Executed, StepSpec

if TYPE_CHECKING:
    from wherry.fstree.limits import Limits
    from wherry.sandbox.mount_archives import MountArchive
    from wherry.sandbox.namespace_link import Started


class Memory(Protocol):
    """Remembers one text between builds, such as which OCI runtime was proved to work."""

    def load(self) -> str:
        """What was saved last, empty for nothing."""
        ...

    def save(self, text: str) -> None:
        """Remember `text`; may fail silently."""
        ...


class NamespaceOptions(NamedTuple):
    """How to start the worker.

    `search_path` is the user's PATH. `directory` is for the worker alone, on the store's file
    system, and gone when it ends; `lock` a descriptor that it keeps open as long as it lives.
    `say` takes lines for the user. With `overlay` off trees are copied, as where overlayfs is
    refused.
    """

    search_path: str
    directory: str
    lock: int
    say: Callable[[str], None] = lambda _line: None
    probed: Memory | None = None
    overlay: bool = True


class Namespace:
    """The namespace worker of one build; safe for threads; a context manager.

    Snapshots and staged directories are absolute paths; `lowers` go from the lowest up. All calls
    start the worker if it does not run, and raise `MachineError` where this machine refuses
    (before any work) or the disk is full, `Cancelled` where `cancel` was meanwhile.
    """

    def __init__(self, options: NamespaceOptions) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._started: Started | None = None
        self._refused: MachineError | None = None
        self._closed = False
        self._told = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def place(self) -> Place:
        """Where snapshots made here are of use."""
        return self._start().place

    @property
    def runtime(self) -> str:
        """The path of the OCI runtime that works here; empty for none."""
        return self._start().found.runtime

    @property
    def facts(self) -> HostFacts:
        """What files of this machine say about namespaces."""
        return self._start().facts

    @property
    def own_proc(self) -> bool:
        """Whether steps have a /proc of their own."""
        return self._start().own_proc

    @property
    def seccomp(self) -> bool:
        """Whether the runtime filters system calls."""
        return self._start().found.seccomp

    @property
    def problems(self) -> tuple[str, ...]:
        """Why OCI runtimes that are installed do not work here, and better mappings do not."""
        started = self._start()
        return (*started.reasons, *started.found.problems)

    def unpack(
        self,
        lowers: tuple[str, ...],
        staged: str,
        layer: Layer,
        blob: BinaryIO,
        cancel: CancelToken,
        index_limits: Limits | None = None,
    ) -> Unpacked:
        """Make `staged`/fs what `layer` changes in the root `lowers`; `blob` is read to its end.

        With `index_limits` the layer's index is made along the way, where they allow it. Also
        raises `UsageError` for a damaged layer or one with a wrong diff ID.
        """
        fields = {
            "lowers": lowers,
            "staged": staged,
            "layer": layer.descriptor.as_json(),
            "diff_id": str(layer.diff_id),
            "limits": index_limits,
        }
        from wherry.sandbox.blob_files import as_file  # noqa: PLC0415 - as above, builds need none

        file: IO[bytes] = as_file(blob)
        try:
            with open(os.memfd_create("wherry-index"), "r+b") as index:
                descriptors = (file.fileno(), index.fileno())
                answer = self._ask("unpack a layer", "unpack", fields, descriptors, cancel)
                index.seek(0)
                return Unpacked(answer["size"], tuple(answer["skipped"]), index.read())
        finally:
            if file is not blob:
                file.close()

    def execute(
        self,
        lowers: tuple[str, ...],
        staged: str,
        step: StepSpec,
        streams: tuple[int, int, int],
        cancel: CancelToken,
    ) -> Executed:
        """Run `step` in the root `lowers` to its end; `staged`/fs is then what it changed.

        `streams` are its stdin, stdout and stderr, and stay the caller's. A cancelled step is
        killed. Also raises `RunError` where the step's surroundings cannot be made.
        """
        self._explain()
        fields = {"lowers": lowers, "staged": staged, "step": step.as_json()}
        answer = self._ask("run the step", "execute", fields, streams, cancel)
        rows = {name: tuple(answer[name]) for name in ("notes", "outside", "seen", "used")}
        return Executed(**{**answer, **rows})

    def scan(self, snapshot: str) -> Iterator[Scanned]:
        """What the slab in `snapshot` changes: parents before what they hold, sorted."""
        link = self._start().link
        reading, writing = os.pipe()
        try:
            waiting = link.ask("scan", {"snapshot": snapshot}, (writing,))
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        with open(reading, "rb") as rows:
            for row in rows:
                yield Scanned.parse(row)
        link.wait(waiting, "read what a step changed")

    def open(self, snapshot: str, path: str) -> BinaryIO:
        """The regular file `path` in the `fs` of `snapshot`, never through links.

        Raises `UsageError` for what is no regular file, `MachineError` where nothing is.
        """
        link = self._start().link
        waiting = link.ask("open", {"snapshot": snapshot, "path": path})
        message = link.wait(waiting, f"open /{path}")
        return open(message.descriptors[0], "rb")

    def copy_out(
        self, lowers: tuple[str, ...], selector: str, target: str, owner: tuple[int, int, int]
    ) -> None:
        """Copy what the directory `selector` of a root holds to the empty directory `target`.

        `owner` is user id, group id and mode of `target` itself. Raises `UsageError` where there
        is no such directory.
        """
        uid, gid, mode = owner
        fields = {"lowers": lowers, "selector": selector, "target": target,
                  "uid": uid, "gid": gid, "mode": mode}  # fmt: skip
        self._ask(f"copy {selector}", "copy_out", fields)

    def make_directory(self, target: str, uid: int, gid: int, mode: int) -> None:
        """Make the directory `target` where it is missing, with this owner and mode."""
        fields = {"target": target, "uid": uid, "gid": gid, "mode": mode}
        self._ask(f"make {target}", "make_directory", fields)

    def fill_mount(
        self, target: str, archive: MountArchive, blob: BinaryIO, cancel: CancelToken
    ) -> tuple[str, ...]:
        """Unpack the archive in the file `blob` into the empty directory of a cache mount.

        Returns a few words on what was left out. Raises `UsageError` for an archive that is
        damaged, or other than was said; then `target` holds a part.
        """
        fields = {"target": target, **archive.as_json()}
        answer = self._ask("unpack a cache mount", "fill_mount", fields, (blob.fileno(),), cancel)
        return tuple(answer["skipped"])

    def status(self, path: str) -> tuple[int, int, int]:
        """Mode, user and group of a directory; raises `UsageError` for what is none."""
        answer = self._ask(f"look at {path}", "status", {"path": path})
        return answer["mode"], answer["uid"], answer["gid"]

    def remove(self, paths: tuple[str, ...]) -> None:
        """Remove trees, whoever their files belong to; what is not there is fine."""
        self._ask("remove a snapshot", "remove", {"paths": paths})

    def close(self) -> None:
        """End the worker and all that it runs; waits for that. Nothing can be asked afterwards."""
        with self._lock:
            self._closed = True
            started, self._started = self._started, None
        if started is not None:
            started.link.close()

    def _ask(
        self,
        what: str,
        kind: str,
        fields: dict[str, Any],
        descriptors: tuple[int, ...] = (),
        cancel: CancelToken | None = None,
    ) -> dict[str, Any]:
        if cancel is not None:
            cancel.check()
        link = self._start().link
        waiting = link.ask(kind, fields, descriptors)
        return link.wait(waiting, what, cancel).fields

    def _start(self) -> Started:
        with self._lock:
            if self._closed:
                raise InternalError("the namespace worker has ended already")
            if self._refused is not None:
                raise self._refused
            if self._started is None:
                from wherry.sandbox.namespace_link import (  # noqa: PLC0415 - most builds need none
                    start_link,
                )

                try:
                    self._started = start_link(self._options)
                except MachineError as error:
                    # Asked again, it would be refused again.
                    self._refused = error
                    raise
                if self._options.overlay and self._started.place.kind == "whole":
                    self._options.say(
                        "overlayfs is refused here: each step copies the files of its root"
                    )
            return self._started

    def _explain(self) -> None:
        """One line, once, where steps are held less tightly than a container."""
        started = self._start()
        with self._lock:
            told, self._told = self._told, True
        if told or started.found.runtime:
            return
        if started.found.problems:
            why = f"no OCI runtime works here ({'; '.join(started.found.problems)})"
        else:
            why = "there is no OCI runtime here (runc or crun)"
        self._options.say(f"{why}: steps run in a plain namespace, with less isolation")
