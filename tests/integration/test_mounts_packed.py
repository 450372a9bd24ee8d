# SPDX-License-Identifier: Apache-2.0
"""Packing a cache mount of a store: held as a step holds it, and read again where it changes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from wherry.api import mount_departure
from wherry.api.mount_departure import MetMount, MountDeparture
from wherry.api.registries import RegistryAround
from wherry.engines.local.mount_files import MountTree, stored_name
from wherry.engines.local.storage import Sharing
from wherry.errors import MachineError, UsageError
from wherry.events import discard
from wherry.fstree.layer import LayerSink, WrittenLayer
from wherry.gocache.mount_records import mount_key
from wherry.process.cancel import CancelToken
from wherry.store.store import Store, open_store


class Here:
    """A store with cache mounts, and what packs them."""

    def __init__(self, store: Store) -> None:
        around = RegistryAround(
            store.path, dict(os.environ), store.path, (), discard, CancelToken()
        )
        self.store = store
        self.departure = MountDeparture(store, around)

    def met(self, sharing: Sharing = "shared") -> MetMount:
        return MetMount("cc", "cc", mount_key("cc"), sharing)

    @contextmanager
    def hold(self, sharing: Sharing = "shared") -> Iterator[Path]:
        """Hold the mount as a step does."""
        name = stored_name("cc", self.departure._worker().place)
        with self.store.mounts.hold(name, sharing) as held:
            yield Path(held.path)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    if os.geteuid() != 0:
        pytest.skip("only root can write into the store's mounts from here")
    with open_store(str(tmp_path / "store")) as store:
        made = Here(store)
        yield made
        made.departure.close()


def test_what_is_not_here_is_not_made(here: Here) -> None:
    assert not here.departure.is_here(here.met())
    assert here.departure.packed(here.met(), None) is None
    assert here.store.mounts.names() == ()


def test_equal_trees_need_no_archive(here: Here) -> None:
    with here.hold() as path:
        (path / "f").write_text("text")
    assert here.departure.is_here(here.met())
    first = here.departure.packed(here.met(), None)
    assert first is not None
    assert first.record is not None
    assert first.record.entries == 1
    assert Path(first.path).stat().st_size == first.record.blob.size
    with here.hold() as path:
        # Times alone are no difference, so that using a cache uploads nothing.
        os.utime(path / "f", (1, 1))
    again = here.departure.packed(here.met(), first.tree)
    assert again == (first.tree, None, "")
    for change in (lambda path: (path / "f").chmod(0o600), lambda path: os.chown(path, 5, 6)):
        with here.hold() as path:
            change(path)
        other = here.departure.packed(here.met(), first.tree)
        assert other is not None
        assert other.record is not None
        first = other


def test_what_changes_while_it_is_read_is_read_again(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    with here.hold() as path:
        (path / "f").write_text("text")
    write = MountTree.write
    times: list[int] = []

    def changing(
        self: MountTree, sink: LayerSink, workers: int, cancel: CancelToken
    ) -> WrittenLayer:
        times.append(1)
        if len(times) <= most:
            # Another step has it, too.
            with here.hold() as path, (path / "f").open("a") as file:
                file.write("more")
        return write(self, sink, workers, cancel)

    monkeypatch.setattr(MountTree, "write", changing)
    most = 1
    packed = here.departure.packed(here.met(), None)
    assert packed is not None
    assert packed.record is not None
    assert len(times) == 2
    # What goes on changing stays here.
    most = 99
    with pytest.raises(MachineError) as caught:
        here.departure.packed(here.met(), packed.tree._replace(hex="0" * 64))
    assert "cannot be packed" in caught.value.what
    # Nothing half-written is left of it.
    assert list((Path(here.store.path) / "tmp").rglob("mount")) == [Path(packed.path)]


def test_it_is_held_as_a_step_holds_it(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mount_departure, "_PATIENCE_SECONDS", 0.2)
    with here.hold("locked") as path:
        (path / "f").write_text("text")
        for sharing in ("locked", "private", "shared"):
            with pytest.raises(MachineError, match="another build"):
                here.departure.packed(here.met(sharing), None)
    with here.hold("shared"):
        assert here.departure.packed(here.met("shared"), None) is not None
        with pytest.raises(MachineError, match="another build"):
            here.departure.packed(here.met("locked"), None)
    assert here.departure.packed(here.met("private"), None) is not None
    # No directory was made for it.
    assert len(os.listdir(Path(here.store.path) / "mounts")) == 1


def test_a_name_that_no_archive_holds_is_told(here: Here) -> None:
    with here.hold() as path:
        (path / ".wh.f").write_text("text")
    with pytest.raises(UsageError, match="wh"):
        here.departure.packed(here.met(), None)
