# SPDX-License-Identifier: Apache-2.0
"""Comma-separated fields of `RUN --mount` and `RUN --device`: one record of CSV (RFC 4180).

A field that begins with a double quote ends with one, and holds commas; a quote inside it is
written twice. A quote anywhere else is wrong.
"""

from __future__ import annotations

import re

from wherry.frontends.dockerfile.refusals import BadValue

_QUOTED = re.compile(r'"((?:[^"]|"")*)"(,|\Z)')
_PLAIN = re.compile(r'([^,"]*)(,|\Z)')


def split_fields(text: str) -> tuple[str, ...]:
    """The fields, at least one; raises `BadValue` where quotes do not pair or `text` is empty."""
    if not text:
        raise BadValue("it is empty", "write key=value pairs, joined by commas")
    if '"' not in text:
        return tuple(text.split(","))
    fields = []
    position = 0
    more = ","
    while more:
        quoted = text.startswith('"', position)
        found = (_QUOTED if quoted else _PLAIN).match(text, position)
        if not found:
            raise BadValue(
                f"the quotes in {text!r} do not pair",
                'quote whole fields ("target=/a,b"), and write a quote inside one twice',
            )
        fields.append(found[1].replace('""', '"') if quoted else found[1])
        more = found[2]
        position = found.end()
    return tuple(fields)
