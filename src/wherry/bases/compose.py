# SPDX-License-Identifier: Apache-2.0
"""The composed bases: their trees, and what they mean for an image's configuration."""

from __future__ import annotations

from typing import Final, assert_never

from wherry.bases.etc import NONROOT
from wherry.bases.static import CA_BUNDLE, static_tree
from wherry.fstree.tree import Tree, make_tree
from wherry.graph.ops import ComposedBase
from wherry.oci.image import Pairs

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def base_tree(base: ComposedBase) -> Tree:
    """The files of `base`; an empty tree means that the image has no layer for it."""
    match base:
        case ComposedBase.STATIC:
            return static_tree()
        case ComposedBase.SCRATCH:
            return make_tree(())
        case _:
            assert_never(base)


def base_user(_base: ComposedBase) -> str:
    """`UID:GID` that programs run as: nobody's root, on both bases, by number."""
    return f"{NONROOT}:{NONROOT}"


def base_environment(base: ComposedBase) -> Pairs:
    """Variables that images on `base` begin with, as sorted pairs."""
    match base:
        case ComposedBase.STATIC:
            # Go finds the bundle by itself; programs beside it that bring OpenSSL do not.
            return (("PATH", _PATH), ("SSL_CERT_FILE", f"/{CA_BUNDLE}"))
        case ComposedBase.SCRATCH:
            return (("PATH", _PATH),)
        case _:
            assert_never(base)
