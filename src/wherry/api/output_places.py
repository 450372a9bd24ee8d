# SPDX-License-Identifier: Apache-2.0
"""Where a request's outputs and the files about its images are to lie, asked before the build."""

from __future__ import annotations

import os

from wherry.api.request import BuildRequest
from wherry.exporters.places import Place, check_places, places_of
from wherry.exporters.spec import parse_outputs


def check_output_places(request: BuildRequest) -> None:
    """Raise what `parse_outputs` and `check_places` raise."""
    specs = parse_outputs(request.outputs, request.cwd, load=request.load)
    files = (request.metadata_file, request.iidfile)
    check_places(
        (*places_of(specs), *(Place(absolute(request, path)) for path in files if path)),
    )


def absolute(request: BuildRequest, path: str) -> str:
    """A path of the command line, seen from the request's directory."""
    return os.path.normpath(os.path.join(request.cwd, path))
