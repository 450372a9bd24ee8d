# SPDX-License-Identifier: Apache-2.0
"""Version-control facts as labels (OCI image specification, annotations.md, "Pre-Defined")."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from wherry.api.recorded import directory_of
from wherry.api.request import BuildRequest
from wherry.oci.image import Pairs, pairs
from wherry.process.cancel import CancelToken
from wherry.vcs.git import Degraded, git_facts

_PREFIX = "org.opencontainers.image."


class Stamp(NamedTuple):
    """Labels to add, the commit's time (RFC 3339, empty if unknown), a line for the user, and all
    facts as one text, by which a build record knows them again."""

    labels: Pairs
    created: str
    note: str
    words: str


NO_STAMP = Stamp((), "", "", "")


def read_stamp(directory: str, env: Mapping[str, str], cancel: CancelToken) -> Stamp:
    """Ask git; never fails, a missing fact is a line in `note`."""
    facts = git_facts(directory, env, cancel)
    words = json.dumps(facts)
    if isinstance(facts, Degraded):
        return Stamp((), "", facts.reason, words)
    labels = {
        "revision": facts.revision,
        "version": facts.version,
        "created": facts.time,
        "source": facts.source,
    }
    named = pairs({_PREFIX + key: value for key, value in labels.items() if value})
    return Stamp(named, facts.time, facts.note, words)


def version_control_words(request: BuildRequest) -> str:
    """What git says now, to compare with a record's facts."""
    directory, _ = directory_of(request)
    return read_stamp(directory, request.env, CancelToken()).words
