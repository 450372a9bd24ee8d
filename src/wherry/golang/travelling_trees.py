# SPDX-License-Identifier: Apache-2.0
"""What a pattern such as `./...` depends on, told so that another machine can compare it.

As `wherry.golang.package_trees`, with names relative to the module and contents instead of
signatures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from wherry.golang.enclosure import Enclosure
from wherry.golang.package_trees import package_tree


def tree_digest(enclosure: Enclosure, name: str, known: Collection[str]) -> str:
    """One text for the directories at and below the directory `name`, as hex.

    Of the directories in `known`, whose files somebody else compares, only the names count. Raises
    `OutsideError` where something lies outside of the enclosure.
    """
    hasher = hashlib.sha256()
    for directory, files in sorted(package_tree(enclosure.place(name)).items()):
        inside = enclosure.relative(directory)
        parts = [inside]
        for file in files:
            parts.append(file)
            if inside not in known:
                parts.append(enclosure.digest(enclosure.relative(f"{directory}/{file}")))
        hasher.update("\0".join((*parts, "\n")).encode("utf-8", "surrogateescape"))
    return hasher.hexdigest()[:32]
