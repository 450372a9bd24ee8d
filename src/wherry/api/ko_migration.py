# SPDX-License-Identifier: Apache-2.0
"""A project of ko's, built by wherry: its `.ko.yaml` as settings, or written as `wherry.toml`."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from typing import NamedTuple

from wherry.errors import MachineError, UsageError
from wherry.golang.modfile import module_path
from wherry.settings.files import read_text
from wherry.settings.ko import KoPlace, parse_ko
from wherry.settings.ko_files import KO_NAMES, find_ko
from wherry.settings.model import FILE_NAME, Settings

__all__ = ["Migrated", "find_ko", "load_ko", "migrate_ko"]


# What file systems without hard links say.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


class Migrated(NamedTuple):
    """The file that was written, the one that was read, and a line for each thing left to say."""

    path: str
    source: str
    notes: tuple[str, ...]


def load_ko(directory: str, env: Mapping[str, str]) -> tuple[Settings, tuple[str, ...]] | None:
    """The settings that ko's file in `directory` amounts to, and a note for each thing they lack.

    None where there is no such file. Their `path` is that file's. Raises `UsageError`, or
    `SeveralErrors` for more than one, each with its line.
    """
    path = find_ko(directory, env)
    shown = os.path.basename(path)
    text = read_text(path, shown) if path else None
    if text is None:
        return None
    place = KoPlace(
        module=module_path(os.path.join(directory, "go.mod")),
        env=env,
        is_module=lambda below: os.path.isfile(os.path.join(directory, below, "go.mod")),
    )
    settings, notes = parse_ko(text, shown, place)
    return _at(settings, path), notes


def migrate_ko(directory: str, env: Mapping[str, str], *, force: bool = False) -> Migrated:
    """Write `wherry.toml` into `directory` from ko's file there, whole or not at all.

    Raises `UsageError` where there is no file of ko's, where a `wherry.toml` exists and `force` is
    not given, and as `load_ko`; `MachineError` where it cannot be written.
    """
    path = os.path.join(directory, FILE_NAME)
    loaded = load_ko(directory, env)
    if loaded is None:
        raise UsageError(f"no {KO_NAMES[0]} in {directory}",
                         hint="name the directory: wherry init --from-ko DIR")  # fmt: skip
    settings, notes = loaded
    from wherry.settings.writing import write_settings  # noqa: PLC0415 - not for builds

    _write(path, write_settings(settings), force=force)
    return Migrated(path, settings.path or "", notes)


def _at(settings: Settings, path: str) -> Settings:
    import dataclasses  # noqa: PLC0415 - not for builds without such a file

    return dataclasses.replace(settings, path=path)


def _write(path: str, text: str, *, force: bool) -> None:
    """Beside the file first, then under its name: nobody reads a half."""
    if not force and os.path.lexists(path):
        raise _exists()
    staged = f"{path}.{os.getpid()}.tmp"
    try:
        with open(staged, "x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        _take_place(staged, path, force=force)
    except OSError as error:
        raise MachineError(f"cannot write {FILE_NAME}", why=f"{path}: {error.strerror}",
                           hint="make room, or make the directory writable") from error  # fmt: skip
    finally:
        if os.path.lexists(staged):
            os.unlink(staged)


def _take_place(staged: str, path: str, *, force: bool) -> None:
    if not force:
        try:
            # Unlike a rename, a link fails where somebody took the name meanwhile.
            os.link(staged, path)
        except FileExistsError as error:
            raise _exists() from error
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
        else:
            return
    os.replace(staged, path)


def _exists() -> UsageError:
    return UsageError(f"{FILE_NAME} exists", hint="--force replaces it")
