# SPDX-License-Identifier: Apache-2.0
"""The state of a part of a live directory, without its contents: what an unchanged build compares.

On the no-change path: nothing here makes entries, reads contents or loads what does.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable

from wherry.errors import WherryError
from wherry.fstree.ignore import IgnoreRules
from wherry.fstree.safe_open import OpenRoot
from wherry.fstree.scan import Scan
from wherry.fstree.signature import signature
from wherry.process.cancel import CancelToken


def directory_state(
    place: str,
    rules: Iterable[str],
    prefixes: Iterable[str],
    cancel: CancelToken,
    without: Collection[str] = (),
) -> str | None:
    """A text that is the same only if all that can be seen at and below `prefixes` is.

    `rules` are those of `.dockerignore`, `without` paths that count as not there. None where times
    prove nothing, or something cannot be looked at.
    """
    try:
        root = OpenRoot(place)
    except WherryError:
        return None
    try:
        scan = Scan(root, IgnoreRules(rules), cancel, without)
        return signature(scan, prefixes, lambda path: _link(root, path))
    except (WherryError, OSError):
        return None
    finally:
        root.close()


def _link(root: OpenRoot, path: str) -> str:
    parent, _, name = path.rpartition("/")
    with root.directory(parent) as place:
        return os.readlink(name, dir_fd=place)
