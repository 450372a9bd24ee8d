# SPDX-License-Identifier: Apache-2.0
"""What a travelling record may call its images, and which bases it may have wherry ask for.

Tags decide where `--push` goes with the user's credentials, and names of bases whom wherry asks
over the network. A record may come from anywhere: its names have to be those that the request and
the settings here give.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from wherry.api.asked import targets
from wherry.api.naming import repository_name
from wherry.api.project_settings import settings_of
from wherry.api.recorded import Output
from wherry.api.rendering import rendered, templates_of
from wherry.api.request import BuildRequest
from wherry.api.template_values import inputs_of, template_facts
from wherry.golang.modfile import module_path
from wherry.golang.package_trees import package_tree
from wherry.oci.reference import parse_reference
from wherry.process.cancel import CancelToken
from wherry.settings.model import ImageSettings, Settings
from wherry.settings.sources import told_at


class _Named(NamedTuple):
    """What one source may mean: settings of its module at `root`, names of its programs."""

    settings: Settings
    root: str
    programs: frozenset[str]


def misnamed(outputs: Sequence[Output], request: BuildRequest, cancel: CancelToken) -> str:
    """Why the images of a record cannot be those of this request; empty where they can.

    Raises `WherryError` for settings that cannot be read, `Cancelled`.
    """
    sources = tuple(_sources(request))
    for output in outputs:
        if not any(_may_be(output, source, request, cancel) for source in sources):
            return "the record names its images otherwise than the settings here"
    return ""


def _may_be(output: Output, source: _Named, request: BuildRequest, cancel: CancelToken) -> bool:
    image = next((one for one in source.settings.images if one.name == output.name), None)
    chosen = targets(request)
    if image is None and (chosen or output.name not in source.programs):
        return False
    if image is not None and chosen and output.name not in chosen:
        return False
    resolved = source.settings.resolved(image or ImageSettings(name=""))
    bases = (request.base, resolved.base or "", resolved.libc_base or "")
    return (
        output.default_tag == f"{repository_name(output.name)}:latest"
        and {base.name for base in output.bases} <= set(_references(bases))
        and output.tags == _rendered(resolved, source, request, cancel).tags
    )


def _rendered(
    resolved: ImageSettings, source: _Named, request: BuildRequest, cancel: CancelToken
) -> ImageSettings:
    templates = templates_of(resolved)
    if not templates:
        return resolved
    facts = template_facts(inputs_of(templates), source.root, request.env, cancel)
    return rendered(resolved, facts.values, partial(told_at, source.settings, resolved.name))


def _references(names: Sequence[str]) -> Iterator[str]:
    """The full names of those that are references, and no composed bases."""
    return (parse_reference(name).full for name in names if name)


def _sources(request: BuildRequest) -> Iterator[_Named]:
    from wherry.golang.mains import (  # noqa: PLC0415 - it can start Go, which asking does not
        binary_name,
        locate,
    )

    for source in (request.source, *request.more_sources):
        directory, pattern = locate(request.cwd, source)
        settings, root, _ = settings_of(directory, request.env)
        module = module_path(os.path.join(root, "go.mod"))
        if pattern == "all" or not pattern.startswith("."):
            several = (root,) if "..." in pattern or pattern == "all" else ()
            paths = {pattern} - {"all"}
        else:
            top = os.path.normpath(os.path.join(directory, pattern.partition("...")[0]))
            several, paths = (top,), set[str]()
            if "..." not in pattern:
                several, paths = (), {_import_path(module, root, top)}
        for top in several:
            paths |= {_import_path(module, root, path) for path in package_tree(top)}
        yield _Named(settings, root, frozenset(map(binary_name, paths)))


def _import_path(module: str, root: str, directory: str) -> str:
    below = os.path.relpath(directory, root)
    return module if below == "." else f"{module}/{below}"
