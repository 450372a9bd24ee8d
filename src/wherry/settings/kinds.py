# SPDX-License-Identifier: Apache-2.0
"""What a value in `wherry.toml` may be: each kind has a name for people and a parser.

A parser takes the value as TOML gives it and returns the frozen value of the settings; it raises
`UsageError`, to which the reader adds the key and the line.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from wherry.errors import SeveralErrors, UsageError, near
from wherry.oci.image import Pairs
from wherry.oci.reference import parse_reference
from wherry.settings.declaration import EntryError

BASES = ("static", "scratch")
STAMPS = ("off", "labels", "full")

_T = TypeVar("_T")

_GO_RELEASE = re.compile(r"1\.(\d+)(\.\d+)?((?:rc|beta)\d+)?", re.ASCII)
_BUILD_TAG = re.compile(r"[\w.]+")
_PORT = re.compile(r"(\d{1,5})(?:/(tcp|udp|sctp))?")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?::[A-Za-z0-9_][A-Za-z0-9_.-]*)?")
# The first release whose first version is written 1.N.0.
_FIRST_WITH_ZERO = 21


def parse_text(value: object) -> str:
    """Any string without NUL."""
    if not isinstance(value, str):
        hint = f'put it in quotes: "{value}"' if isinstance(value, int | float) else ""
        raise UsageError(f"wants a string, not {noun(value)}", hint=hint)
    if "\0" in value:
        raise UsageError("holds a NUL character")
    return value


def parse_flag(value: object) -> bool:
    """`true` or `false`."""
    if not isinstance(value, bool):
        raise UsageError(f"wants true or false, not {noun(value)}")
    return value


def parse_texts(value: object) -> tuple[str, ...]:
    """A list of strings."""
    return tuple(parse_text(item) for item in items_of(value))


def parse_pairs(value: object) -> Pairs:
    """A table of strings, in the order of the file."""
    if not isinstance(value, dict):
        raise UsageError(f"wants a table of strings, not {noun(value)}")
    return tuple((key, _named(key, item)) for key, item in value.items())


def parse_environment(value: object) -> Pairs:
    """A table of environment variables."""
    variables = parse_pairs(value)
    for name, _ in variables:
        if not name or "=" in name:
            raise UsageError(f"{name!r} is no name of an environment variable")
    return variables


def one_of(choices: tuple[str, ...]) -> Callable[[object], str]:
    """A parser for one of `choices`."""

    def parse(value: object) -> str:
        text = parse_text(value)
        if text not in choices:
            why = f"it is one of {', '.join(choices)}"
            raise UsageError(f"does not know {text!r}", why=why, hint=near(text, choices))
        return text

    return parse


def parse_base(value: object) -> str:
    """`static`, `scratch`, or an image reference as the file writes it."""
    text = parse_text(value)
    if text not in BASES:
        if meant := _misspelt_base(text):
            raise UsageError(
                f"does not know {text!r}",
                why=f"it is one of {', '.join(BASES)}, or an image reference",
                hint=f"did you mean '{meant}'? the image is docker.io/library/{text.lower()}",
            )
        _check_image(text)
    return text


def parse_libc_base(value: object) -> str:
    """An image reference; the composed bases hold no C library."""
    text = parse_text(value)
    if text in BASES:
        hint = 'name an image with one, for example "docker.io/library/debian:12-slim"'
        raise UsageError(f"{text!r} holds no C library", hint=hint)
    _check_image(text)
    return text


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
    return tuple(dict.fromkeys(_parse_port(item) for item in items_of(value)))


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


def parse_entries(value: object, parse: Callable[[str, object], _T]) -> list[tuple[str, _T]]:
    """The entries of a table, each by `parse(name, item)`.

    What is wrong with them is raised at once, as `SeveralErrors` of `EntryError`.
    """
    if not isinstance(value, dict):
        raise UsageError(f"wants a table, not {noun(value)}")
    found: list[tuple[str, _T]] = []
    errors: list[EntryError] = []
    for name, item in value.items():
        try:
            found.append((name, parse(name, item)))
        except UsageError as error:
            errors.append(EntryError(name, error))
    if errors:
        raise SeveralErrors(tuple(errors))
    return found


def items_of(value: object) -> list[object]:
    """The items of a list."""
    if not isinstance(value, list):
        raise UsageError(f"wants a list, not {noun(value)}")
    return value


def _named(key: str, item: object) -> str:
    try:
        return parse_text(item)
    except UsageError as error:
        raise UsageError(f"{key} {error.what}", hint=error.hint) from error


def _check_image(text: str) -> None:
    _refuse_template(text)
    parse_reference(text)


def _misspelt_base(word: str) -> str:
    """The composed base that a plain word almost is; only then it is more likely than an image."""
    if any(mark in word for mark in "/:.@"):
        return ""
    import difflib  # noqa: PLC0415 - only for files that name a base by reference

    return next(iter(difflib.get_close_matches(word, BASES, n=1, cutoff=0.8)), "")


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


def noun(value: object) -> str:
    """What people call a value of TOML: `a string`."""
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
