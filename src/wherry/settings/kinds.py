# SPDX-License-Identifier: Apache-2.0
"""What a value in `wherry.toml` may be: each kind has a name for people and a parser.

A parser takes the value as TOML gives it and returns the frozen value of the settings; it raises
`UsageError`, to which the reader adds the key and the line.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from wherry.errors import UsageError, near
from wherry.oci.image import Pairs
from wherry.oci.reference import parse_reference

BASES = ("static", "scratch")
STAMPS = ("off", "labels", "full")

_GO_RELEASE = re.compile(r"1\.(\d+)(\.\d+)?((?:rc|beta)\d+)?", re.ASCII)
_BUILD_TAG = re.compile(r"[\w.]+")
_PORT = re.compile(r"(\d{1,5})(?:/(tcp|udp|sctp))?")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?::[A-Za-z0-9_][A-Za-z0-9_.-]*)?")
# The first release whose first version is written 1.N.0.
_FIRST_WITH_ZERO = 21


class Kind(NamedTuple):
    """A kind of value; `example` is TOML text for the reference."""

    name: str
    parse: Callable[[object], object]
    example: str


def parse_text(value: object) -> str:
    """Any string without NUL."""
    if not isinstance(value, str):
        hint = f'put it in quotes: "{value}"' if isinstance(value, int | float) else ""
        raise UsageError(f"wants a string, not {_noun(value)}", hint=hint)
    if "\0" in value:
        raise UsageError("holds a NUL character")
    return value


def parse_flag(value: object) -> bool:
    """`true` or `false`."""
    if not isinstance(value, bool):
        raise UsageError(f"wants true or false, not {_noun(value)}")
    return value


def parse_texts(value: object) -> tuple[str, ...]:
    """A list of strings."""
    return tuple(parse_text(item) for item in _items(value))


def parse_pairs(value: object) -> Pairs:
    """A table of strings, in the order of the file."""
    if not isinstance(value, dict):
        raise UsageError(f"wants a table of strings, not {_noun(value)}")
    return tuple((key, _named(key, item)) for key, item in value.items())


def parse_environment(value: object) -> Pairs:
    """A table of environment variables."""
    variables = parse_pairs(value)
    for name, _ in variables:
        if not name or "=" in name:
            raise UsageError(f"{name!r} is no name of an environment variable")
    return variables


def one_of(choices: tuple[str, ...], later: str = "") -> Callable[[object], str]:
    """A parser for one of `choices`; `later` says what other words will mean."""

    def parse(value: object) -> str:
        text = parse_text(value)
        if text not in choices:
            why = f"it is one of {', '.join(choices)}"
            raise UsageError(f"does not know {text!r}", why=why, hint=near(text, choices) or later)
        return text

    return parse


def parse_go_version(value: object) -> str:
    """An exact Go release such as `1.26.8`."""
    text = parse_text(value)
    match = _GO_RELEASE.fullmatch(text)
    if match is None:
        hint = f'write "{text[2:]}"' if text.startswith("go1") else 'write it as "1.26.8"'
        raise UsageError(f"wants an exact Go version, not {text!r}", hint=hint)
    if not match[2] and not match[3] and int(match[1]) >= _FIRST_WITH_ZERO:
        raise UsageError(
            f"wants an exact Go version, not {text!r}",
            why="since Go 1.21 two numbers name a language version, three a release",
            hint=f'write the release, for example "{text}.0"',
        )
    return text


def parse_build_tags(value: object) -> tuple[str, ...]:
    """A list of Go build tags."""
    tags = parse_texts(value)
    for tag in tags:
        if _BUILD_TAG.fullmatch(tag) is None:
            raise UsageError(f"{tag!r} is no build tag", hint="one tag for each item of the list")
    return tags


def parse_linker_flags(value: object) -> tuple[str, ...]:
    """A list of flags for Go's linker."""
    flags = parse_texts(value)
    for flag in flags:
        _refuse_template(flag)
    return flags


def parse_level(value: object) -> int:
    """A gzip level."""
    if type(value) is not int or not 0 <= value <= 9:
        raise UsageError(f"wants a number from 0 to 9, not {value!r}")
    return value


def parse_ports(value: object) -> tuple[str, ...]:
    """A list of ports, each a number or `"8000/udp"`; gives `8000/tcp`."""
    return tuple(dict.fromkeys(_parse_port(item) for item in _items(value)))


def parse_user(value: object) -> str:
    """`user` or `user:group`, names or numbers."""
    text = parse_text(value)
    if _USER.fullmatch(text) is None:
        raise UsageError(f"{text!r} is no user", hint='write it as "65532" or "65532:65532"')
    return text


def parse_directory(value: object) -> str:
    """An absolute, normal path inside the image."""
    text = parse_text(value)
    if not text.startswith("/") or any(part in (".", "..") for part in text.split("/")):
        raise UsageError(f"{text!r} is no absolute path", hint="begin it with / and leave .. out")
    return text


def parse_packages(value: object) -> tuple[str, ...]:
    """Exactly one main package: an import path or a `./` path."""
    packages = parse_texts(value)
    if len(packages) != 1:
        raise UsageError(
            f"names {len(packages)} packages",
            why="an image holds exactly one main package in this release",
            hint='name one, for example ["./cmd/api"]',
        )
    package = packages[0]
    if not package or package.startswith(("-", "/")) or package != package.strip():
        raise UsageError(f"{package!r} is no package", hint='write it as "./cmd/api"')
    return packages


def parse_tags(value: object) -> tuple[str, ...]:
    """A list of image references."""
    tags = parse_texts(value)
    for tag in tags:
        _refuse_template(tag)
        if parse_reference(tag).digest is not None:
            raise UsageError(f"{tag!r} names a digest", hint="leave everything from @ out")
    return tags


def _items(value: object) -> list[object]:
    if not isinstance(value, list):
        raise UsageError(f"wants a list, not {_noun(value)}")
    return value


def _named(key: str, item: object) -> str:
    try:
        return parse_text(item)
    except UsageError as error:
        raise UsageError(f"{key} {error.what}", hint=error.hint) from error


def _parse_port(item: object) -> str:
    text = str(item) if type(item) is int else item
    match = _PORT.fullmatch(text) if isinstance(text, str) else None
    if match is None or not 1 <= int(match[1]) <= 65535:
        raise UsageError(f"{item!r} is no port", hint='write it as 8000 or "8000/udp"')
    return f"{int(match[1])}/{match[2] or 'tcp'}"


def _refuse_template(text: str) -> None:
    if "{{" in text:
        raise UsageError(f"{text!r} is a template", why="templates are not in this release",
                         hint="write the value itself, or give it as a flag")  # fmt: skip


def _noun(value: object) -> str:
    match value:
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return "a date or time"
