# SPDX-License-Identifier: Apache-2.0
"""The templates of one image's settings, rendered.

What they look at is an input of the build, and nothing else of git or the environment is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from wherry.errors import SeveralErrors, UsageError, shortened
from wherry.oci.image import Pairs
from wherry.oci.reference import parse_reference
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


def rendered(
    image: ImageSettings, values: Values, place: Callable[[str, str | int], str]
) -> ImageSettings:
    """The settings with all templates rendered.

    `place(key, entry)` says where the file has a text, for people. Raises `UsageError` where a fact
    is missing, `SeveralErrors` where several are.
    """
    errors: list[UsageError] = []

    def one(key: str, entry: str | int, text: str) -> str:
        if _MARK not in text:
            return text
        try:
            return _reference(text, values) if key == "tags" else parse(text).render(values)
        except UsageError as error:
            what = f"{place(key, entry)}: {error.what}"
            errors.append(UsageError(what, why=error.why, hint=error.hint))
            return text

    def listed(key: str) -> tuple[str, ...] | None:
        texts: tuple[str, ...] | None = getattr(image, key)
        if texts is None:
            return None
        return tuple(one(key, number, text) for number, text in enumerate(texts))

    def table(key: str) -> Pairs:
        pairs: Pairs = getattr(image, key)
        return tuple((name, one(key, name, text)) for name, text in pairs)

    found = replace(
        image,
        tags=listed("tags") or (),
        ldflags=listed("ldflags"),
        gcflags=listed("gcflags"),
        args=listed("args"),
        labels=table("labels"),
        annotations=table("annotations"),
        env=table("env"),
    )
    if errors:
        raise errors[0] if len(errors) == 1 else SeveralErrors(tuple(errors))
    return found


def _reference(text: str, values: Values) -> str:
    """A tag whose values may be such that no registry takes it: to be told before the build."""
    rendered = parse(text).render_reference(values)
    try:
        parse_reference(rendered)
    except UsageError as error:
        what = f"{shortened(text)} becomes {shortened(rendered)!r}, which is no image reference"
        raise UsageError(what, why=shortened(error.why), hint=error.hint) from error
    return rendered
