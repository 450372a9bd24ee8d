# SPDX-License-Identifier: Apache-2.0
"""Which program of the module in the build context a `go build` makes."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Final

from wherry.advice.reading.copied_files import placed_by

if TYPE_CHECKING:
    from wherry.advice.reading.go_commands import GoCommand

_VERSION: Final = re.compile(r"v[0-9]+\Z")


def main_of(command: GoCommand) -> str | None:
    """The program that is built, as `GoModule` names packages: `.` or `./cmd/api`.

    None where that cannot be told, or where it is several or none of the module's own.
    """
    module = command.line.subject.module
    if module is None or len(command.arguments) > 1:
        return None
    package = "."
    if command.arguments:
        word = command.arguments[0]
        package = word.value if word.fixed else "..."
    if "..." in package or "@" in package:
        return None
    if package.endswith(".go"):
        package = posixpath.dirname(package) or "."
    if module.path and (package == module.path or package.startswith(f"{module.path}/")):
        inside = posixpath.normpath(package[len(module.path) + 1 :] or ".")
    elif package.startswith((".", "/")) or _is_file(command):
        source = _source_of(command, package)
        if source is None:
            return None
        inside = posixpath.relpath(source or ".", module.root)
    else:
        # The path of somebody's package, or one of the standard library.
        return None
    if inside not in module.mains():
        return None
    return inside if inside == "." else f"./{inside}"


def _is_file(command: GoCommand) -> bool:
    return bool(command.arguments) and command.arguments[0].value.endswith(".go")


def _source_of(command: GoCommand, package: str) -> str | None:
    """The directory of the build context that stands where a package's is built."""
    if not command.directory and not package.startswith("/"):
        return None
    path = posixpath.normpath(posixpath.join(command.directory or "/", package))
    lines = command.line.stage.all_lines
    here = lines.index(command.line)
    for line in (command.line, *reversed(lines[:here])):
        # What cannot be told may have brought other sources.
        placed = placed_by(line)
        if placed is None:
            return None
        for item in reversed(placed):
            source = item.source_of(path) if item.directory else None
            if source is not None:
                return source
    return None


def tags_of(command: GoCommand) -> str:
    """The tags of a build, empty without any or where they cannot be told."""
    value = command.flag("tags") or ""
    return "" if "$" in value else value


def name_built(command: GoCommand) -> str:
    """The name that Go gives a program itself; empty where it cannot be told."""
    if command.arguments and command.arguments[0].value.endswith(".go"):
        return posixpath.basename(command.arguments[0].value).removesuffix(".go")
    if not command.arguments or command.arguments[0].value in (".", "./"):
        module, main = command.line.subject.module, main_of(command)
        if module is None or main is None:
            return ""
        return _last(module.path if main == "." else posixpath.join(module.path, main))
    if len(command.arguments) != 1 or not command.arguments[0].fixed:
        return ""
    package = command.arguments[0].value.partition("@")[0]
    return "" if "..." in package or ".." in package else _last(package)


def _last(path: str) -> str:
    """The last part of an import path that is not its major version."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if len(parts) > 1 and _VERSION.match(parts[-1]):
        parts.pop()
    return parts[-1] if parts else ""
