# SPDX-License-Identifier: Apache-2.0
"""The templates of one image's settings, rendered.

What they look at is an input of the build, and nothing else of git or the environment is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from wherry.errors import UsageError
from wherry.oci.image import Pairs
from wherry.settings.model import ImageSettings
from wherry.settings.templates import Template, Values, parse

_LISTS: Final = ("ldflags", "gcflags", "args")
_TABLES: Final = ("labels", "annotations", "env")
_MARK: Final = "{{"


def templates_of(image: ImageSettings) -> tuple[Template, ...]:
    """All templates in the settings of an image; texts without `{{` are none."""
    texts = [*image.tags]
    for name in _LISTS:
        texts += getattr(image, name) or ()
    for name in _TABLES:
        texts += [value for _, value in getattr(image, name)]
    return tuple(parse(text) for text in texts if _MARK in text)


def rendered(image: ImageSettings, values: Values) -> ImageSettings:
    """The settings with all templates rendered.

    Raises `UsageError` that names the key where a fact is missing.
    """

    def one(key: str, text: str) -> str:
        return _told(key, lambda: parse(text).render(values)) if _MARK in text else text

    def listed(key: str) -> tuple[str, ...] | None:
        texts: tuple[str, ...] | None = getattr(image, key)
        return None if texts is None else tuple(one(key, text) for text in texts)

    def table(key: str) -> Pairs:
        pairs: Pairs = getattr(image, key)
        return tuple((name, one(f"{key}.{name}", text)) for name, text in pairs)

    tags = tuple(
        _told("tags", lambda text=text: parse(text).render_reference(values))  # type: ignore[misc] # the default binds it
        if _MARK in text
        else text
        for text in image.tags
    )
    return replace(
        image,
        tags=tags,
        ldflags=listed("ldflags"),
        gcflags=listed("gcflags"),
        args=listed("args"),
        labels=table("labels"),
        annotations=table("annotations"),
        env=table("env"),
    )


def _told(key: str, render: Callable[[], str]) -> str:
    try:
        return render()
    except UsageError as error:
        raise UsageError(f"{key}: {error.what}", why=error.why, hint=error.hint) from error
