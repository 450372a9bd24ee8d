# SPDX-License-Identifier: Apache-2.0
"""An image on its way into an engine: which layers are needed, the engine says."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from wherry.exporters.blobs import ExportedImage
from wherry.oci.digest import Digest


class Loadable(NamedTuple):
    """An image under all names that the engine shall know.

    `ready` gives the image of one platform with those layers here whose diff IDs are asked for.
    """

    image: ExportedImage
    ready: Callable[[ExportedImage, frozenset[Digest]], ExportedImage]
