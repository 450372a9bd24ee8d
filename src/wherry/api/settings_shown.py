# SPDX-License-Identifier: Apache-2.0
"""`--print-settings`: what holds for each image of a build, and where each value comes from."""

from __future__ import annotations

from typing import Any

from wherry.api.asked import chosen_images, targets
from wherry.api.project_settings import settings_of
from wherry.api.request import BuildRequest
from wherry.golang.mains import locate
from wherry.oci.platform import host_platform
from wherry.settings.sources import Told, explain, render

_UNNAMED = "image"


def shown_settings(request: BuildRequest) -> str:
    """The settings in force as TOML, each line with its source as a comment.

    Templates stand as they were written. Raises what reading the settings raises.
    """
    place = locate(request.cwd, request.source)
    settings, _, _ = settings_of(place.directory, request.env)
    images = chosen_images(settings, targets(request)) or settings.images
    names = [image.name for image in images] or [_UNNAMED]
    flags = _flags(request)
    if not images:
        flags["packages"] = Told((place.pattern,), "SOURCE")
    defaults = {"platforms": (str(host_platform()),), "base": "static", "stamp": "off"}
    parts = [render(explain(settings, name, flags, defaults=defaults)) for name in names]
    return "\n".join(part.rstrip("\n") for part in parts) + "\n"


def _flags(request: BuildRequest) -> dict[str, Any]:
    """What the command line says, by the file's keys."""
    found: dict[str, Any] = {}
    if request.base:
        found["base"] = request.base
    if request.platform:
        found["platforms"] = tuple(request.platform.split(","))
    if request.stamp:
        found["stamp"] = request.stamp
    if request.tags:
        found["tags"] = request.tags
    if request.labels:
        found["labels"] = dict(request.labels)
    if request.annotations:
        found["annotations"] = dict(request.annotations)
    return found
