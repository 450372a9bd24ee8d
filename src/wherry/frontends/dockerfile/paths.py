# SPDX-License-Identifier: Apache-2.0
"""Paths as instructions write them, made absolute: of the working directory, and of copies."""

from __future__ import annotations

import posixpath


def clean(path: str) -> str:
    """The shortest path that means the same, by its text alone; absolute ones stay so."""
    cleaned = posixpath.normpath(path)
    # POSIX gives a meaning of its own to two leading slashes, and to two only; here they have none.
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def join(directory: str, path: str) -> str:
    """`path` below `directory`, clean."""
    return clean(f"{directory}/{path}")


def working_directory(current: str, path: str) -> str:
    """Where WORKDIR leads: an absolute path is kept as it is written."""
    if path.startswith("/"):
        return path
    parent = current if current.startswith("/") else clean(f"/{current}")
    return join(parent, path) if path else parent


def destination(directory: str, path: str) -> str:
    """Where COPY and ADD write to; a trailing slash, or `/.`, says that it is a directory."""
    if path in ("", "."):
        path = "./"
    target = clean(path) if path.startswith("/") else join(directory, path)
    if path.endswith(("/", "/.")) and not target.endswith("/"):
        return f"{target}/"
    return target


def source(path: str) -> str:
    """What a COPY or ADD reads, from its context's root."""
    return clean(f"/{path}")


def source_with_parents(path: str) -> str:
    """As `source`, with the pivot `/./` kept: what stands after it is made at the destination."""
    parent, pivot, rest = path.partition("/./")
    if not pivot:
        return source(path)
    rest = source(rest).removeprefix("/")
    return f"{source(parent)}/./{rest}" if source(parent) != "/" else f"/./{rest}"
