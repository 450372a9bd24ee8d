# SPDX-License-Identifier: Apache-2.0
"""Whether what was built may become an image: asked before its manifest is written.

Binary and labels have to tell one commit, and the base has to be able to run the program.
"""

from __future__ import annotations

from wherry.api.base_files import BaseReader
from wherry.api.ground import Ground
from wherry.api.stamp import check_binary
from wherry.engines.local.engine import Solved
from wherry.engines.local.loadable import Program, check_loadable
from wherry.graph.ops import RegistryBase
from wherry.oci.image import Pairs
from wherry.oci.reference import parse_reference
from wherry.store.store import Store


def check_stamp(solved: Solved, stamped: Pairs, own: Pairs) -> None:
    """Raise `BuildError` where a binary tells another commit than the labels.

    `stamped` are the labels that git gave, `own` the user's, who may say what they like.
    """
    if not stamped or dict(own).keys() & dict(stamped).keys():
        return
    for layer in solved.layers:
        for binary in layer.binaries:
            if binary.facts.build_info is not None:
                check_binary(binary.facts.build_info, stamped, binary.name)


def check_base(solved: Solved, ground: Ground, bases: BaseReader, store: Store) -> None:
    """Raise `BuildError` where the base lacks what a dynamically linked program needs.

    Reads the base's layers for that, which may have to be fetched.
    """
    binaries = [binary for layer in solved.layers for binary in layer.binaries]
    if not isinstance(ground.base, RegistryBase) or not any(one.dynamic for one in binaries):
        return
    layers = tuple(layer for built in solved.layers if not built.binaries for layer in built.layers)
    variables = dict(text.partition("=")[::2] for text in solved.image.config.run.env)
    library_path = variables.get("LD_LIBRARY_PATH", "")
    name = parse_reference(ground.base.reference).familiar
    for binary in binaries:
        program = Program(binary.path.lstrip("/"), binary.facts.linkage, library_path)
        check_loadable(program, layers, name, bases.roots, store.records)
