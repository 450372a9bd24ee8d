# SPDX-License-Identifier: Apache-2.0
"""`--print-settings`: what holds for each image of a build, and where each value comes from.

Go is not asked: a pattern such as `./...` shows all images of the settings file, though it may mean
some of them, and programs besides.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from wherry.api.asked import ask, chosen_images, targets
from wherry.api.asked_caches import asked_caches
from wherry.api.asked_mounts import asked_mounts
from wherry.api.building import check_request
from wherry.api.planning import meant, path_of, whole_module
from wherry.api.project_settings import settings_of
from wherry.api.request import BuildRequest
from wherry.api.store_limit import StoreLimit
from wherry.golang.mains import MainPackage, Place, binary_name, locate
from wherry.golang.modfile import module_path
from wherry.oci.platform import host_platform
from wherry.settings.model import ImageSettings, Settings
from wherry.settings.sources import Line, Told, explain, explain_cache, render
from wherry.settings.store import size_text
from wherry.store.store import default_limit

_DOCKERFILE = "# The Dockerfile says what its image is; of these settings it heeds:\n\n"


def shown_settings(request: BuildRequest) -> str:
    """The settings in force as TOML, each line with its source as a comment.

    Templates stand as they were written. Raises what reading the request and settings raises.
    """
    store = _store_size(request, locate(request.cwd, request.source).directory)
    if check_request(request) == "dockerfile":
        return _DOCKERFILE + render([store])
    # What is common to several images is told once.
    return render(dict.fromkeys((*_image_lines(request), store, *_cache_lines(request))))


def _image_lines(request: BuildRequest) -> Iterator[Line]:
    defaults = {"platforms": (str(host_platform()),), "base": "static", "stamp": "off"}
    for source in (request.source, *request.more_sources):
        place = locate(request.cwd, source)
        settings, root, _ = settings_of(place.directory, request.env)
        flags = _flags(request)
        names = _names(request, settings, place, root)
        if not names:
            main = _main(place, root)
            # An image of that name may be another one.
            taken = any(image.name == main.name for image in settings.images)
            names = (main.import_path if taken else main.name,)
            flags["packages"] = Told((place.pattern,), "SOURCE")
        images = {image.name: image for image in settings.images}
        for name in names:
            # What a build would refuse, flags among it, is no setting in force.
            asked = images.get(name) or ImageSettings(name=name)
            ask(request, settings, root, settings.resolved(asked))
            yield from explain(settings, name, flags, defaults=defaults)


def _names(request: BuildRequest, settings: Settings, place: Place, root: str) -> tuple[str, ...]:
    """The images of the settings file that a source means; none for a program by itself."""
    images = chosen_images(settings, targets(request))
    is_pattern = "..." in place.pattern or place.pattern == "all"
    if not images and (is_pattern or whole_module(place, root) is not None):
        images = settings.images
    elif not images:
        mains = (_main(place, root),)
        images = tuple(
            image for image in settings.images if meant(image.packages[0], root, mains) is not None
        )
    return tuple(image.name for image in images)


def _main(place: Place, root: str) -> MainPackage:
    """The program that a source names, by its path alone."""
    module = module_path(os.path.join(root, "go.mod"))
    path = path_of(place)
    if os.path.isdir(path):
        below = os.path.relpath(os.path.realpath(path), os.path.realpath(root))
        import_path = module if below == "." else f"{module}/{below}"
    else:
        import_path = place.pattern
        path = root + import_path.removeprefix(module)
    return MainPackage(import_path, binary_name(import_path), path)


def _store_size(request: BuildRequest, directory: str) -> Line:
    """The store's cap, which is no image's."""
    size, source = StoreLimit(directory, request.env).found
    size = default_limit(request.store) if size is None else size
    return Line("store", "size", size_text(size), source)


def _cache_lines(request: BuildRequest) -> tuple[Line, ...]:
    """The Go caches, which are those of a build, not of an image."""
    settings, _, _ = settings_of(locate(request.cwd, request.source).directory, request.env)
    asked = asked_caches(request, settings)
    flags: dict[str, Any] = {}
    # An empty one leaves out what the file says.
    if request.cache_from:
        flags["from"] = tuple(filter(None, request.cache_from))
    if request.cache_to:
        flags["to"] = tuple(filter(None, request.cache_to))
    if request.cache_mounts:
        flags["mounts"] = asked_mounts(request, settings)
    if request.cache_key:
        flags["key"] = request.cache_key
    remarks: dict[str, str] = {}
    for key, texts in (("from", settings.cache.from_), ("to", settings.cache.to)):
        places = [
            spec.place
            for spec in asked.untrusted
            if key not in flags and any(spec.place in text for text in texts or ())
        ]
        if places:
            names = ", ".join(places)
            remarks[key] = f"not used, since config.toml does not trust it: {names}"
    return explain_cache(settings, flags, remarks)


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
