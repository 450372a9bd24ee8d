# SPDX-License-Identifier: Apache-2.0
"""What values about Go may be: its version, packages, build tags (go.dev/ref/mod, `go help build`).

Parsers as in `kinds`; beside each stands what JSON Schema can say of the value.
"""

from __future__ import annotations

import posixpath
import re
from typing import Any, Final

from wherry.errors import UsageError
from wherry.settings.kinds import list_of, parse_items, parse_text, refuse_twice

# The first release that wherry works with, and whose first version is written 1.N.0.
_FIRST = 21
_NUMBER = "(?:0|[1-9][0-9]*)"
_GO_RELEASE = re.compile(rf"1\.({_NUMBER})(\.{_NUMBER})?((?:rc|beta)[0-9]+)?")
_BUILD_TAG = re.compile(r"[\w.]+")
_PACKAGE = re.compile(r"(?![-/])[^\x00-\x20\x7f]+")
_SEVERAL = "..."

GO_VERSION: Final = {
    "type": "string",
    "pattern": (
        rf"^1\.(?:2[1-9]|[3-9][0-9]|[1-9][0-9][0-9]+)"
        rf"(?:\.{_NUMBER}(?:(?:rc|beta)[0-9]+)?|(?:rc|beta)[0-9]+)$"
    ),
}
BUILD_TAGS: Final = list_of(
    {"type": "string", "pattern": "^[^\\u0000-\\u0020,]+$"},
    "wherry takes letters, digits, _ and . of any script",
)
PACKAGES: Final[dict[str, Any]] = {
    **list_of(
        {
            "type": "string",
            "pattern": "^(?![-/])(?![^\\u0000]*\\.\\.\\.)[^\\u0000-\\u0020\\u007f]+$",
        }
    ),
    "minItems": 1,
    "$comment": "wherry refuses one package twice, however it is written",
}


def parse_go_version(value: object) -> str:
    """An exact Go release such as `1.26.8`."""
    text = parse_text(value)
    match = _GO_RELEASE.fullmatch(text)
    if match is None:
        hint = f'write "{text[2:]}"' if text.startswith("go1") else 'write it as "1.26.8"'
        raise UsageError(f"wants an exact Go version, not {text!r}", hint=hint)
    if int(match[1]) < _FIRST:
        raise UsageError(f"wants Go 1.{_FIRST} or newer, not {text!r}",
                         why="an older Go does not know toolchains",
                         hint='write a newer one, such as "1.26.8"')  # fmt: skip
    if not match[2] and not match[3]:
        raise UsageError(
            f"wants an exact Go version, not {text!r}",
            why="since Go 1.21 two numbers name a language version, three a release",
            hint=f'write the release, for example "{text}.0"',
        )
    return text


def parse_build_tags(value: object) -> tuple[str, ...]:
    """A list of Go build tags."""
    return parse_items(value, _parse_build_tag)


def parse_packages(value: object) -> tuple[str, ...]:
    """Main packages, one or more: import paths or `./` paths."""
    packages = parse_items(value, _parse_package)
    if not packages:
        raise UsageError("names no package", hint='name one, for example ["./cmd/api"]')
    refuse_twice(packages, posixpath.normpath)
    return packages


def _parse_build_tag(item: object) -> str:
    tag = parse_text(item)
    if _BUILD_TAG.fullmatch(tag) is None:
        raise UsageError(f"{tag!r} is no build tag", hint="one tag for each item of the list")
    return tag


def _parse_package(item: object) -> str:
    package = parse_text(item)
    if _PACKAGE.fullmatch(package) is None:
        raise UsageError(f"{package!r} is no package", hint='write it as "./cmd/api"')
    if _SEVERAL in package:
        raise UsageError(f"{package!r} is a pattern", why="an image says which packages it holds",
                         hint="name each package; patterns are for the command line")  # fmt: skip
    return package
