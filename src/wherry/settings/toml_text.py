# SPDX-License-Identifier: Apache-2.0
"""Values as TOML 1.0.0 writes them, on one line."""

from __future__ import annotations

import re

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SHORT = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
_UNQUOTED = re.compile(r'[\x00-\x1f"\\\x7f]')


def toml_key(text: str) -> str:
    """`text` as a key, in quotes where it needs them."""
    return text if _BARE_KEY.fullmatch(text) else toml_value(text)


def toml_value(value: object) -> str:
    """A text, number, truth value, list or table; anything else is written as its text."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case tuple() | list():
            return f"[{', '.join(map(toml_value, value))}]"
        case dict():
            entries = (f"{toml_key(key)} = {toml_value(item)}" for key, item in value.items())
            return f"{{ {', '.join(entries)} }}"
        case _:
            return f'"{_UNQUOTED.sub(_escaped, str(value))}"'


def _escaped(match: re.Match[str]) -> str:
    return _SHORT.get(match[0]) or f"\\u{ord(match[0]):04x}"
