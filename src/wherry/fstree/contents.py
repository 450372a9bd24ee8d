# SPDX-License-Identifier: Apache-2.0
"""Reading a file's content, wherever it lies."""

from __future__ import annotations

import io
from typing import BinaryIO, assert_never

from wherry.errors import InternalError
from wherry.fstree.tree import Content, InLayer, Inline, InSnapshot, OnDisk, Opened, Unread


def open_content(content: Content) -> BinaryIO:
    """The content for reading, to be closed; not verified. Raises `OSError`.

    One that lies in a layer has to be extracted first (`wherry.fstree.extract`): `InternalError`.
    """
    match content:
        case Inline():
            return io.BytesIO(content.data)
        case OnDisk() | Unread():
            return open(content.path, "rb")
        case Opened():
            return content.opener()
        case InSnapshot():
            return content.file.open()
        case InLayer():
            raise InternalError(f"a content of the layer {content.blob.short} was not extracted")
        case _:
            assert_never(content)
