# SPDX-License-Identifier: Apache-2.0
"""Cache mounts between a build and its places: which is fetched, which is given, what is told."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, ClassVar

import pytest

from wherry.api import cached_mounts
from wherry.api.cache_patience import TooSlow
from wherry.api.cached_mounts import CachedMounts
from wherry.api.mount_departure import MetMount, Packed
from wherry.engines.local.mount_files import NewMount
from wherry.errors import MachineError, NetworkError, UsageError, WherryError
from wherry.events import discard
from wherry.gocache.mount_records import MOUNT_TYPE, MountRecord, Top, mount_key
from wherry.gocache.pack_set import PackSet
from wherry.gocache.places import Damaged
from wherry.gocache.spec import CacheSpec
from wherry.gocache.table import BadPack
from wherry.graph.build import BuildGraph, Vertex
from wherry.graph.ops import ExecMount, ExecOp, MountKind
from wherry.oci.digest import Digest, sha256
from wherry.oci.image import Descriptor
from wherry.oci.platform import host_platform
from wherry.process.cancel import CancelToken
from wherry.sandbox.mount_archives import MountArchive
from wherry.solver.model import Step

KEY = mount_key("cc")


def record(data: bytes = b"data", *, tree: str = "tree", tar: int = 10240) -> MountRecord:
    blob = Descriptor(MOUNT_TYPE, sha256(data), len(data))
    return MountRecord(blob, sha256(b"tar"), sha256(tree.encode()), tar, 1, Top(), 1)


class Holding:
    """A place's blobs by digest; an error in place of one is raised."""

    def __init__(self, *blobs: bytes) -> None:
        self.blobs: dict[Digest, bytes | WherryError] = {sha256(data): data for data in blobs}
        self.after: PackSet | None = None
        self.opened: list[Digest] = []

    def open_blob(self, blob: Descriptor) -> BinaryIO:
        self.opened.append(blob.digest)
        found = self.blobs.get(blob.digest, Damaged("gone"))
        if isinstance(found, WherryError):
            raise found
        return io.BytesIO(found)

    def load(self) -> PackSet | None:
        return self.after


class Around:
    """Stands for the traffic of a build, its store and its worker."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.places: list[Any] = []
        self.registries = SimpleNamespace(around=SimpleNamespace(sink=discard))
        self.told: list[str] = []
        self.filled: list[tuple[str, bytes]] = []
        self.removed: list[str] = []
        self.refused: WherryError | None = None
        self.current_set: PackSet | None = None
        self.numbers = iter(range(100))

    # The traffic.

    @contextmanager
    def within(self, spec: CacheSpec, seconds: float | None) -> Iterator[None]:
        yield

    def warn(self, text: str) -> None:
        self.told.append(text)

    def current(self, spec: CacheSpec) -> PackSet | None:
        return self.current_set

    # The store.

    def scratch(self) -> str:
        path = os.path.join(self.path, f"scratch-{next(self.numbers)}")
        os.mkdir(path)
        return path

    # The worker.

    def fill_mount(
        self, target: str, archive: MountArchive, blob: BinaryIO, cancel: CancelToken
    ) -> tuple[str, ...]:
        if self.refused is not None:
            Path(target, "half").touch()
            raise self.refused
        self.filled.append((target, blob.read()))
        return ()

    def remove(self, paths: tuple[str, ...]) -> None:
        for path in paths:
            for file in Path(path).iterdir():
                file.unlink()
            os.rmdir(path)
            self.removed.append(path)

    # What a test adds.

    def add_place(self, held: MountRecord, holding: Holding, **said: Any) -> CacheSpec:
        spec = CacheSpec(f"reg/{len(self.places)}", is_directory=False, **said)
        current = PackSet(mounts={KEY: held})
        self.places.append(SimpleNamespace(spec=spec, holding=holding, current=current))
        return spec

    def begin(self, mounts: CachedMounts, name: str = "cc") -> bool:
        """Let a step begin with the mount."""
        path = os.path.join(self.path, f"mount-{next(self.numbers)}")
        os.mkdir(path, 0o700)
        new = NewMount(mount(name), name, path)
        step = Step(1, "RUN", discard, CancelToken())
        done = mounts.fill(new, self, step)  # type: ignore[arg-type] # stands for the worker
        assert os.listdir(path) == []
        return done


def mount(name: str, **fields: Any) -> ExecMount:
    return ExecMount(MountKind.CACHE, f"/{name}", id=name, sharing="shared", **fields)


@pytest.fixture
def around(tmp_path: Path) -> Around:
    return Around(tmp_path)


def mounts_of(around: Around, *ids: str) -> CachedMounts:
    return CachedMounts(ids, around, around)  # type: ignore[arg-type] # stands for both


def test_a_mount_comes_from_the_first_place_that_can_give_it(around: Around) -> None:
    around.add_place(record(b"gone"), Holding())
    around.add_place(record(b"data"), Holding(b"data"))
    never = Holding(b"more")
    around.add_place(record(b"more"), never)
    mounts = mounts_of(around, "cc")
    assert around.begin(mounts)
    assert [data for _, data in around.filled] == [b"data"]
    (line,) = around.told
    assert "cc" in line
    assert "reg/0" in line
    assert never.opened == []


def test_only_mounts_that_are_named_come(around: Around) -> None:
    holding = Holding(b"data")
    around.add_place(record(), holding)
    mounts = mounts_of(around, "other")
    assert not around.begin(mounts)
    assert holding.opened == around.told == []
    # A name that no place knows needs no word.
    assert not around.begin(mounts, "other")
    assert holding.opened == around.told == []


def test_two_steps_fetch_one_archive(around: Around) -> None:
    holding = Holding(b"data")
    around.add_place(record(), holding)
    mounts = mounts_of(around, "cc")
    assert around.begin(mounts)
    assert around.begin(mounts)
    assert len(holding.opened) == 1
    assert len(around.filled) == 2


def test_what_was_replaced_meanwhile_is_looked_for_again(around: Around) -> None:
    holding = Holding(b"new")
    holding.after = PackSet(mounts={KEY: record(b"new")})
    around.add_place(record(b"old"), holding)
    assert around.begin(mounts_of(around, "cc"))
    assert [data for _, data in around.filled] == [b"new"]
    assert around.told == []


@pytest.mark.parametrize("error", [UsageError("hostile"), MachineError("no such id")])
def test_what_cannot_be_unpacked_leaves_the_mount_new(around: Around, error: WherryError) -> None:
    around.add_place(record(), Holding(b"data"))
    around.refused = error
    assert not around.begin(mounts_of(around, "cc"))
    assert len(around.removed) == 1
    assert around.told == [f"the cache mount cc does not begin with what reg/0 holds: {error.what}"]


def test_what_needs_more_room_than_there_is_stays_there(around: Around) -> None:
    holding = Holding(b"data")
    around.add_place(record(tar=1 << 49), holding)
    assert not around.begin(mounts_of(around, "cc"))
    assert "no room" in around.told[0]
    assert holding.opened == []


def test_a_place_may_insist(around: Around) -> None:
    around.add_place(record(b"gone"), Holding(), ignore_error=False)
    with pytest.raises(Damaged):
        around.begin(mounts_of(around, "cc"))


# --- giving -----------------------------------------------------------------------------------


class Departure:
    """Stands for what packs; counts how often it is asked."""

    here: ClassVar[dict[str, Packed | WherryError | None]] = {}
    asked: ClassVar[list[tuple[str, Digest | None]]] = []

    def __init__(self, *_args: object) -> None:
        Departure.asked = []

    def is_here(self, met: MetMount) -> bool:
        return met.id in self.here

    def packed(self, met: MetMount, known: Digest | None) -> Packed | None:
        self.asked.append((met.id, known))
        found = self.here[met.id]
        if isinstance(found, WherryError):
            raise found
        if found is not None and found.tree == known:
            return Packed(found.tree)
        return found

    def close(self) -> None:
        """Nothing to end."""


@pytest.fixture
def departure(monkeypatch: pytest.MonkeyPatch) -> type[Departure]:
    monkeypatch.setattr(cached_mounts, "MountDeparture", Departure)
    monkeypatch.setattr(Departure, "here", {})
    return Departure


def packed(data: bytes, tree: str) -> Packed:
    return Packed(sha256(tree.encode()), record(data, tree=tree), f"/scratch/{tree}")


def graph(*mounts: ExecMount) -> BuildGraph:
    op = ExecOp(("true",), (), "/", "", mounts, "default", "sandbox", host_platform())
    return BuildGraph((Vertex(op, (), "RUN"),), ())


def test_what_steps_had_is_given_where_it_differs(
    around: Around, departure: type[Departure]
) -> None:
    departure.here |= {"cc": packed(b"one", "new"), "dd": packed(b"two", "same")}
    mounts = mounts_of(around, "cc", "dd", "ee")
    for name in ("cc", "dd", "unnamed"):
        mounts.used(mount(name), name)
    around.current_set = PackSet(
        mounts={KEY: record(tree="old"), mount_key("dd"): record(tree="same")}
    )
    change, blobs = mounts.offered(CacheSpec("reg/x", is_directory=False))
    assert {key: one.tree for key, one in change.written.items()} == {KEY: sha256(b"new")}
    assert change.used == {mount_key("dd")}
    assert [blob.descriptor.digest for blob in blobs] == [sha256(b"one")]
    # Another place has none of it: what is packed is not packed again.
    around.current_set = None
    change, blobs = mounts.offered(CacheSpec("reg/y", is_directory=False))
    assert set(change.written) == {KEY, mount_key("dd")}
    assert len(departure.asked) == 3
    assert {*departure.asked} == {("cc", sha256(b"old")), ("dd", sha256(b"same")), ("dd", None)}
    assert around.told == []


def test_what_is_here_and_nowhere_else_is_given_though_no_step_ran(
    around: Around, departure: type[Departure]
) -> None:
    departure.here |= {"cc": packed(b"one", "new")}
    mounts = mounts_of(around, "cc", "dd")
    mounts.meet(graph(mount("cc"), mount("dd")))
    around.current_set = PackSet()
    spec = CacheSpec("reg/x", is_directory=False)
    assert set(mounts.offered(spec).change.written) == {KEY}
    # A place that has it is not given another one.
    around.current_set = PackSet(mounts={KEY: record(tree="theirs")})
    assert mounts.offered(spec).change.written == {}
    assert mounts.lacks({})
    assert mounts.lacks({KEY: record()})
    assert not mounts.lacks({KEY: record(), mount_key("dd"): record()})


def test_what_does_not_fit_or_cannot_be_read_stays(
    around: Around, departure: type[Departure]
) -> None:
    departure.here |= {"cc": packed(b"large", "new"), "dd": MachineError("busy", why="a\nb")}
    mounts = mounts_of(around, "cc", "dd")
    for name in ("cc", "dd"):
        mounts.used(mount(name), name)
    spec = CacheSpec("reg/x", is_directory=False, max_size=3)
    for _ in range(2):
        assert mounts.offered(spec).change.written == {}
    assert [line for line in around.told if " dd " in line] == [
        "the cache mount dd stays here: busy: a"
    ]
    assert any("max-size" in line for line in around.told)
    insisting = mounts_of(around, "dd")
    insisting.used(mount("dd"), "dd")
    with pytest.raises(MachineError):
        insisting.offered(spec._replace(ignore_error=False))


@pytest.mark.parametrize(
    ("error", "given"),
    [(NetworkError("down"), False), (TooSlow("slow"), False), (BadPack("broken"), True),
     (Damaged("gone"), True)],
)  # fmt: skip
def test_a_mount_that_could_not_be_had_is_not_replaced_by_less(
    around: Around, departure: type[Departure], error: WherryError, given: bool
) -> None:
    holding = Holding()
    holding.blobs[sha256(b"data")] = error
    spec = around.add_place(record(), holding)
    departure.here |= {"cc": packed(b"less", "less")}
    mounts = mounts_of(around, "cc")
    assert not around.begin(mounts)
    mounts.used(mount("cc"), "cc")
    around.current_set = around.places[0].current
    assert (KEY in mounts.offered(spec).change.written) == given
    # Elsewhere there is nothing to lose.
    around.current_set = None
    assert KEY in mounts.offered(CacheSpec("reg/9", is_directory=False)).change.written


def test_names_are_known_without_their_namespace(
    around: Around, departure: type[Departure]
) -> None:
    mounts = mounts_of(around, "cc", "team/dd", "/e", "ff\n")
    mounts.meet(graph(mount("team/cc"), mount("team/dd"), mount("team//e")), "team")
    assert around.told == ["--cache-mounts 'ff\\n': no RUN of this build has such a cache mount"]
    mounts = mounts_of(around, "cargo")
    mounts.meet(graph(mount("team/carg")), "team")
    assert around.told[1].endswith("did you mean 'carg'?")
