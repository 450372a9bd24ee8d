# SPDX-License-Identifier: Apache-2.0
"""The reference page of `wherry.toml`, written from the declarations of its keys."""

from __future__ import annotations

from dataclasses import Field, fields

from wherry.settings.model import BuildSettings, ImageDefaults, ImageSettings, key_of

_HEAD = """\
# wherry.toml

`wherry.toml` lies at the root of a Go module and holds what flags would repeat. It may be left
out, and so may every key except `packages`. Flags on the command line win over it, and it wins
over GOFLAGS. An unknown key is an error, and all errors are told at once with their lines.

This page is written from the declarations in `src/wherry/settings/model.py`.
"""
_BUILD = """\
## `[build]`

How Go builds, and what holds for every image.
"""
_IMAGE = """\
## `[image.NAME]`

One image; NAME is what `--target` takes. Of the keys that `[build]` knows too, tables (`env`,
`labels`, `annotations`) are merged, the image's own value winning; the others replace the common
value.
"""


def render_reference() -> str:
    """The whole page, as `docs/reference/wherry-toml.md` holds it."""
    parts = [_HEAD, _BUILD, _table(BuildSettings), _IMAGE, _table(ImageSettings), _example()]
    return "\n".join(parts)


def render_example() -> str:
    """A file with every key, each once in each table that knows it."""
    lines = ["[build]", *_lines(BuildSettings), "", "[image.api]", *_lines(ImageSettings)]
    return "\n".join(lines) + "\n"


def _example() -> str:
    return f"## Every key\n\n```toml\n{render_example()}```\n"


def _table(owner: type[ImageDefaults]) -> str:
    rows = [
        f"| `{key_of(item.name)}` | {item.metadata['kind'].name} | {item.metadata['doc']} |"
        for item in _own_first(owner)
    ]
    return "\n".join(["| key | value | meaning |", "|---|---|---|", *rows, ""])


def _lines(owner: type[ImageDefaults]) -> list[str]:
    return [f"{key_of(item.name)} = {item.metadata['kind'].example}" for item in _own_first(owner)]


def _own_first(owner: type[ImageDefaults]) -> list[Field[object]]:
    common = {item.name for item in fields(ImageDefaults)}
    declared = [item for item in fields(owner) if "kind" in item.metadata]
    return sorted(declared, key=lambda item: item.name in common)
