# SPDX-License-Identifier: Apache-2.0
"""`files`: what of the module's directory lies in the image beside the program, where and whose.

Here only the words are read; which files they mean is looked up when the image is made.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from wherry.errors import SeveralErrors, UsageError, WherryError, near
from wherry.settings.declaration import EntryError
from wherry.settings.image_values import PATH, USER, parse_path, parse_user
from wherry.settings.kinds import noun, parse_items, parse_text, refuse_twice

_GREATEST_MODE = 0o7777
_MODE = re.compile("0?[0-7]{3,4}")
# Modes that people write without 0o: TOML then reads another number, which nobody means.
_DECIMAL: Final = (
    400, 440, 444, 500, 550, 555, 600, 640, 644, 660, 664, 666, 700, 711, 744, 750, 751, 755, 770,
    771, 775, 777, 1777, 2755, 2775,
)  # fmt: skip
_SOURCE_PATTERN = "^(?!/)(?!(?:[^\\u0000]*/)?\\.\\.(?:/|$))[^\\u0000]+$"

FILES: Final[dict[str, Any]] = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["from", "to"],
        "additionalProperties": False,
        "properties": {
            "from": {
                "type": "string",
                "pattern": _SOURCE_PATTERN,
                "description": "A file, directory or pattern below the module's root",
            },
            "to": {**PATH, "description": "Where it lies in the image"},
            "owner": {**USER, "description": "`user` or `user:group`, by default root"},
            "mode": {
                "anyOf": [
                    {
                        "type": "integer",
                        "minimum": 0,
                        "maximum": _GREATEST_MODE,
                        "not": {"enum": list(_DECIMAL)},
                    },
                    {"type": "string", "pattern": "^0?[0-7]{3,4}$"},
                ],
                "description": 'The mode of files, such as 0o640 or "0640"',
            },
        },
    },
    "$comment": "wherry refuses one entry twice",
}


class FileEntry(NamedTuple):
    """One entry of `files`, as written.

    `source` is a path or a pattern, relative to the module's root. `target` is absolute; a slash
    at its end says that it is a directory. `owner` is `user` or `user:group`, names or numbers,
    empty where the entry says none. `mode` is None for 0755 (directories and executables) or 0644.
    """

    source: str
    target: str
    owner: str = ""
    mode: int | None = None


def parse_files(value: object) -> tuple[FileEntry, ...]:
    """A list of `{ from, to, owner, mode }`."""
    if isinstance(value, dict):
        raise UsageError("wants a list of tables, not a table",
                         hint="its header wants two brackets, as in [[build.files]]")  # fmt: skip
    entries = parse_items(value, _parse_entry)
    refuse_twice(entries, lambda entry: f"{entry.source} for {entry.target}")
    return entries


def _parse_entry(item: object) -> FileEntry:
    if not isinstance(item, dict):
        hint = 'write it as { from = "web/dist", to = "/srv/www" }'
        raise UsageError(f"wants a list of tables, not of {noun(item)}", hint=hint)
    found: dict[str, Any] = {}
    errors: list[WherryError] = [_unknown(key) for key in item if key not in _KEYS]
    for key, (field, parse) in _KEYS.items():
        if key in item:
            try:
                found[field] = parse(item[key])
            except UsageError as error:
                errors.append(EntryError(key, error))
        elif key in _NEEDED:
            errors.append(UsageError(f"an entry names no {key!r}", hint=f"add {_NEEDED[key]}"))
    if errors:
        raise SeveralErrors(tuple(errors))
    return FileEntry(**found)


def _unknown(key: str) -> UsageError:
    hint = near(key, tuple(_KEYS)) or f"known here: {', '.join(_KEYS)}"
    return EntryError(key, UsageError("unknown key", hint=hint))


def _parse_source(value: object) -> str:
    text = parse_text(value)
    if not text:
        raise UsageError("holds an empty path", hint='write "." for the whole module')
    if text.startswith("/") or ".." in text.split("/"):
        raise UsageError(f"{text!r} is not below the module's root",
                         hint="name what lies there, without / before it and ..")  # fmt: skip
    return text


def _parse_target(value: object) -> str:
    path = parse_path(value)
    says_directory = isinstance(value, str) and value.endswith("/") and path != "/"
    return f"{path}/" if says_directory else path


def _parse_mode(value: object) -> int:
    if isinstance(value, str) and _MODE.fullmatch(value):
        return int(value, 8)
    if type(value) is int and value in _DECIMAL:
        raise UsageError(f"{value} is a decimal number, the mode 0{value:o}",
                         hint=f'write 0o{value} or "0{value}"')  # fmt: skip
    if type(value) is not int or not 0 <= value <= _GREATEST_MODE:
        raise UsageError("wants a mode", hint='write it as 0o640 or "0640"')
    return value


_KEYS: Final[dict[str, tuple[str, Callable[[object], Any]]]] = {
    "from": ("source", _parse_source),
    "to": ("target", _parse_target),
    "owner": ("owner", parse_user),
    "mode": ("mode", _parse_mode),
}
_NEEDED: Final = {"from": 'from = "web/dist"', "to": 'to = "/srv/www"'}
