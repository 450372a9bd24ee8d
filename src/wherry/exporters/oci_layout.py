# SPDX-License-Identifier: Apache-2.0
"""An OCI image layout as a directory (OCI image specification, image-layout.md).

A layout that is there already keeps its other images, as with buildx's `tar=false`; a name that it
knows moves to the new image. `index.json` is replaced last and in one step, so that readers see
the layout before or after, never between. A lock on the directory lets one export in at a time.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from wherry.errors import UsageError
from wherry.exporters.archive import LAYOUT_FILE
from wherry.exporters.archive_writer import HeldBlob, blob_path, held_blobs
from wherry.exporters.blobs import ExportedImage
from wherry.exporters.directories import make_directory, undone_on_error
from wherry.exporters.names import IMAGE_NAME, REF_NAME, index_entries
from wherry.exporters.staging import explained, staged_file, write_file
from wherry.oci.canonical import Json
from wherry.oci.image import INDEX
from wherry.process.cancel import CancelToken

# An index.json as JSON gives it: what other tools wrote is carried along as it is.
_RawIndex = dict[str, Any]


def write_oci_directory(images: tuple[ExportedImage, ...], dest: str, cancel: CancelToken) -> None:
    """Add the images to the layout in `dest`, which is made where it is missing.

    Raises `MachineError` where `dest` cannot be written or a blob is damaged, `UsageError` where
    something else lies there, `Cancelled`. A failed export leaves the layout as it was.
    """
    undo: list[str] = []
    with explained(dest), undone_on_error(undo):
        make_directory(dest, undo)
        with _locked(dest, cancel):
            index = _read_index(dest)
            for held in held_blobs(images):
                _add_blob(held, dest, undo, cancel)
            if not os.path.exists(f"{dest}/oci-layout"):
                undo.append(f"{dest}/oci-layout")
                write_file(f"{dest}/oci-layout", LAYOUT_FILE)
            _merge(index, index_entries(images))
            write_file(f"{dest}/index.json", json.dumps(index, separators=(",", ":")).encode())
            undo.clear()


@contextmanager
def _locked(dest: str, cancel: CancelToken) -> Iterator[None]:
    descriptor = os.open(dest, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # A wait for the lock itself would not end where somebody cancels.
        while not _is_locked_now(descriptor):
            cancel.check()
            time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def _is_locked_now(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_index(dest: str) -> _RawIndex:
    _check_layout(dest)
    try:
        with open(f"{dest}/index.json", "rb") as file:
            index = json.loads(file.read())
    except FileNotFoundError:
        return {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
    except ValueError as error:
        raise _not_a_layout(dest, f"index.json is not JSON: {error}") from error
    manifests = index.get("manifests") if isinstance(index, dict) else None
    if not isinstance(manifests, list) or not all(isinstance(item, dict) for item in manifests):
        raise _not_a_layout(dest, "index.json is no image index")
    found: _RawIndex = index
    return found


def _check_layout(dest: str) -> None:
    try:
        with open(f"{dest}/oci-layout", "rb") as file:
            layout = json.loads(file.read())
    except FileNotFoundError:
        return
    except ValueError as error:
        raise _not_a_layout(dest, f"oci-layout is not JSON: {error}") from error
    version = layout.get("imageLayoutVersion") if isinstance(layout, dict) else None
    if version != "1.0.0":
        raise _not_a_layout(dest, f"its version is {version!r}, and wherry knows 1.0.0")


def _not_a_layout(dest: str, why: str) -> UsageError:
    return UsageError(f"{dest} is no OCI layout to add to", why=why, hint="name a new directory")


def _add_blob(held: HeldBlob, dest: str, undo: list[str], cancel: CancelToken) -> None:
    path = f"{dest}/{blob_path(held.descriptor)}"
    directory = os.path.dirname(path)
    with suppress(FileNotFoundError):
        if os.stat(path).st_size == held.descriptor.size:
            return
    make_directory(directory, undo)
    if not os.path.lexists(path):
        undo.append(path)
    with staged_file(path) as file:
        held.image.copy(held.descriptor, file.write, cancel)


def _merge(index: _RawIndex, entries: list[dict[str, Json]]) -> None:
    """Put `entries` into `index`; an entry of the same name goes."""
    kept = [old for old in index["manifests"] if not any(_replaces(new, old) for new in entries)]
    index["manifests"] = [*kept, *entries]


def _replaces(new: _RawIndex, old: _RawIndex) -> bool:
    new_names, old_names = _annotations(new), _annotations(old)
    if IMAGE_NAME in new_names and IMAGE_NAME in old_names:
        return bool(new_names[IMAGE_NAME] == old_names[IMAGE_NAME])
    if REF_NAME in new_names and REF_NAME in old_names:
        return bool(new_names[REF_NAME] == old_names[REF_NAME])
    unnamed = not (old_names.keys() | new_names.keys()) & {REF_NAME, IMAGE_NAME}
    return unnamed and bool(new["digest"] == old.get("digest"))


def _annotations(entry: _RawIndex) -> _RawIndex:
    annotations = entry.get("annotations")
    return annotations if isinstance(annotations, dict) else {}
