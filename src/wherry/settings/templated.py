# SPDX-License-Identifier: Apache-2.0
"""Texts that may hold templates: their syntax is checked where the file is read.

What stands in their place is known only when the build knows its commit.
"""

from __future__ import annotations

from typing import Any, Final

from wherry.oci.image import Pairs
from wherry.settings import kinds

TEXT: Final = {**kinds.TEXT, "$comment": "wherry also reads the templates in it"}
TEXTS: Final = {"type": "array", "items": TEXT}
PAIRS: Final[dict[str, Any]] = {**kinds.PAIRS, "additionalProperties": TEXT}

_OPENING: Final = "{{"
# What stands for a value where only the form of a text is of interest: a digit may be part of a
# name, a tag, a host and a port.
_ANY_VALUE: Final = "1"


def parse_templated(value: object) -> str:
    """A string; raises `UsageError` for a template in it that cannot be read."""
    text = kinds.parse_text(value)
    shape(text)
    return text


def parse_templated_texts(value: object) -> tuple[str, ...]:
    """A list of strings."""
    return kinds.parse_items(value, parse_templated)


def parse_templated_pairs(value: object) -> Pairs:
    """A table of strings, whose names hold no templates."""
    return kinds.parse_pairs(value, parse_templated)


def shape(text: str) -> tuple[str, tuple[str, ...]]:
    """`text` with a digit for each template, and their names; raises as `parse_templated`."""
    if _OPENING not in text:
        return text, ()
    # Most files hold no template.
    from wherry.settings.templates import parse  # noqa: PLC0415 - see above

    template = parse(text)
    parts = (part if isinstance(part, str) else _ANY_VALUE for part in template.parts)
    return "".join(parts), template.names
