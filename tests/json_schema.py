# SPDX-License-Identifier: Apache-2.0
"""A small validator for JSON Schema, draft 2020-12: the keywords that wherry's own schema has.

An unknown keyword is a failure, so that nothing in a schema goes unread.
"""

import re
from collections.abc import Callable, Mapping

# What only people and editors read.
_WORDS = {"$schema", "$comment", "title", "description", "default"}


def accepts(schema: Mapping, value: object) -> bool:
    """Whether `value`, as TOML or JSON gives it, is what `schema` describes."""
    unknown = schema.keys() - _WORDS - _KEYWORDS.keys()
    assert not unknown, unknown
    return all(_KEYWORDS[word](schema, value) for word in schema if word in _KEYWORDS)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def says_more(schema: object) -> bool:
    """Whether a `$comment` in it names what only wherry's parser checks."""
    if isinstance(schema, Mapping):
        return "$comment" in schema or any(map(says_more, schema.values()))
    return isinstance(schema, list) and any(map(says_more, schema))


_TYPES: Mapping[str, Callable[[object], bool]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    # 1.0 is an integer, too (validation vocabulary, section 6.1.1).
    "integer": lambda value: _is_number(value) and float(value).is_integer(),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


def _matches(pattern: str, text: str) -> bool:
    # In ECMA 262, without its flag m, $ is the end of the text and not of a last line.
    return re.search(re.sub(r"\$$", r"\\Z", pattern), text) is not None


def _properties(schema: Mapping, value: object) -> bool:
    known = schema["properties"]
    return not isinstance(value, dict) or all(
        accepts(known[name], item) for name, item in value.items() if name in known
    )


def _others(schema: Mapping, value: object) -> bool:
    if not isinstance(value, dict):
        return True
    rule, known = schema["additionalProperties"], schema.get("properties", {})
    others = [item for name, item in value.items() if name not in known]
    return not others if rule is False else all(accepts(rule, item) for item in others)


_KEYWORDS: Mapping[str, Callable[[Mapping, object], bool]] = {
    "type": lambda schema, value: _TYPES[schema["type"]](value),
    "enum": lambda schema, value: any(
        value == word and type(value) is type(word) for word in schema["enum"]
    ),
    "pattern": lambda schema, value: (
        not isinstance(value, str) or _matches(schema["pattern"], value)
    ),
    "minimum": lambda schema, value: not _is_number(value) or value >= schema["minimum"],
    "maximum": lambda schema, value: not _is_number(value) or value <= schema["maximum"],
    "minItems": lambda schema, value: (
        not isinstance(value, list) or len(value) >= schema["minItems"]
    ),
    "items": lambda schema, value: (
        not isinstance(value, list) or all(accepts(schema["items"], item) for item in value)
    ),
    "anyOf": lambda schema, value: any(accepts(one, value) for one in schema["anyOf"]),
    "not": lambda schema, value: not accepts(schema["not"], value),
    "required": lambda schema, value: (
        not isinstance(value, dict) or all(name in value for name in schema["required"])
    ),
    "propertyNames": lambda schema, value: (
        not isinstance(value, dict) or all(accepts(schema["propertyNames"], name) for name in value)
    ),
    "properties": _properties,
    "additionalProperties": _others,
}
