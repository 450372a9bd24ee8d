# SPDX-License-Identifier: Apache-2.0
"""Texts in XML 1.0, all of them ASCII: what no document may hold is replaced."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

HEAD: Final = '<?xml version="1.0" encoding="UTF-8"?>'

# XML 1.0, "Characters": no reference may stand for any other either.
_ILLEGAL: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# Blanks but the plain one would be made plain ones in an attribute.
_ESCAPES: Final = str.maketrans({
    "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;",
    "\r": "&#13;",
})  # fmt: skip


def escaped(text: str) -> str:
    """A text as an attribute or an element may hold it."""
    legal = _ILLEGAL.sub("\ufffd", text).translate(_ESCAPES)
    return legal.encode("ascii", "xmlcharrefreplace").decode("ascii")


def element(name: str, attributes: Mapping[str, object], inner: Iterable[str] = ()) -> list[str]:
    """The lines of an element; `inner` are the lines in it, which are indented."""
    given = "".join(f' {key}="{escaped(str(value))}"' for key, value in attributes.items())
    lines = [f"  {line}" for line in inner]
    return [f"<{name}{given}>", *lines, f"</{name}>"] if lines else [f"<{name}{given}/>"]
