# SPDX-License-Identifier: Apache-2.0
"""`wherry.schema.json`: what JSON Schema (draft 2020-12) can say of `wherry.toml`, for editors.

Written from the declarations of the keys. It takes every file that wherry takes; where it takes
more, a `$comment` says what else wherry checks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import Field
from importlib.resources import files
from typing import Any

from wherry.settings.cache import CacheSettings
from wherry.settings.check import CheckSettings
from wherry.settings.declaration import declared, key_of
from wherry.settings.model import BuildSettings, ImageSettings
from wherry.settings.reading import IMAGE_NAME
from wherry.settings.registry import RegistrySettings
from wherry.settings.store import StoreSettings

SCHEMA_NAME = "wherry.schema.json"
_NEEDED = ("packages",)
_TOGETHER = "wherry also refuses keys that contradict each other"


def schema() -> dict[str, Any]:
    """The schema as a value."""
    image = _table(declared(ImageSettings), "One image; its name is what --target takes.")
    named = {
        "type": "object",
        "description": "One table for each image.",
        "propertyNames": {"pattern": f"^{IMAGE_NAME.pattern}$"},
        "additionalProperties": {**image, "required": list(_NEEDED)},
        "$comment": "wherry refuses names that differ only in case, and one tag for two images",
    }
    registry = [item for item in declared(RegistrySettings) if not item.metadata["users"]]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "wherry.toml",
        "description": "How wherry builds the images of a Go module.",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "build": _table(
                declared(BuildSettings), "How Go builds, and what holds for every image."
            ),
            "image": named,
            "registry": _table(registry, "Where images come from and go to."),
            "store": _table(declared(StoreSettings), "The local store."),
            "cache": _table(declared(CacheSettings), "Go caches that travel between machines."),
            "check": _table(declared(CheckSettings), "Which rules `wherry check` asks."),
        },
        "$comment": _TOGETHER,
    }


def render_schema() -> str:
    """The schema as the text of the file in the package."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def packaged_schema() -> str:
    """The text of the file that lies in the package."""
    return files("wherry.settings").joinpath(SCHEMA_NAME).read_text("utf-8")


def _table(keys: Iterable[Field[Any]], description: str) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "additionalProperties": False,
        "properties": {key_of(item.name): _key(item) for item in keys},
    }


def _key(item: Field[Any]) -> dict[str, Any]:
    kind, unsaid = item.metadata["kind"], item.metadata["unsaid"]
    described = {"description": f"{item.metadata['doc']}.", **(kind.schema or {})}
    return described if unsaid is None else {**described, "default": unsaid}
