# SPDX-License-Identifier: Apache-2.0
"""Under which name a request's travelling record is found, on every machine.

As `wherry.api.recorded.request_key`, with the main module's path and places in it instead of
directories of this machine. Cheap: go.mod is read, Go is not asked.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys

from wherry._version import __version__
from wherry.api.recorded import asked_values, codec, directory_of
from wherry.api.request import BuildRequest
from wherry.golang.modfile import module_path
from wherry.golang.record import FORMAT
from wherry.golang.root import module_root

TRAVELLING_FORMAT = 1


def travelling_root(request: BuildRequest) -> str:
    """The root of the main module that a request means; empty where there is none."""
    return module_root(directory_of(request)[0])


def travelling_key(request: BuildRequest) -> str:
    """Key of all in a request that the image's bytes depend on; empty where no module is meant.

    Equal in two checkouts of a repository, another one for each of its programs.
    """
    root = travelling_root(request)
    path = module_path(os.path.join(root, "go.mod")) if root else ""
    if not path:
        return ""
    directory, _ = directory_of(request)
    cwd = _inside(request.cwd, root)
    # As in `request_key`: where Go runs in the current directory, that counts.
    holds = f"{directory}/".startswith(f"{request.cwd.rstrip('/')}/")
    asked = [
        TRAVELLING_FORMAT,
        FORMAT,
        __version__,
        codec(),
        sys.platform,
        os.uname().machine,
        path,
        [_source(source, request.cwd, root) for source in (request.source, *request.more_sources)],
        cwd if holds or request.more_sources else "",
        *asked_values(request),
    ]
    return hashlib.sha256(json.dumps(asked, ensure_ascii=True).encode()).hexdigest()


def _source(source: str, cwd: str, root: str) -> list[str]:
    """A directory by its place in the module, other patterns by where they are seen from."""
    path = os.path.normpath(os.path.join(cwd, source))
    if os.path.isdir(path):
        return ["directory", _inside(path, root)]
    if os.path.isabs(source):
        return ["pattern", _inside(path, root), ""]
    return ["pattern", source, _inside(cwd, root)]


def _inside(path: str, root: str) -> str:
    """A path seen from the module; where it lies beside it, the way there is part of the name."""
    return os.path.relpath(path, root)
