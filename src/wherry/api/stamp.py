# SPDX-License-Identifier: Apache-2.0
"""Version-control facts as labels (OCI image specification, annotations.md, "Pre-Defined").

The labels tell what git says of the module's directory. What `--stamp full` puts into the binary
is found by Go itself, which passes worktrees and submodules by; that is told, and known to the
build record.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import NamedTuple

from wherry.api.asked import module_root
from wherry.api.epoch import source_date_epoch
from wherry.api.recorded import directory_of
from wherry.api.request import BuildRequest
from wherry.oci.image import Pairs, pairs
from wherry.process.cancel import CancelToken
from wherry.vcs.git import Degraded, GitFacts, facts_of_go, git_facts

_PREFIX = "org.opencontainers.image."


class Stamp(NamedTuple):
    """Labels to add, the commit's time (RFC 3339, empty if unknown), a line for the user, and all
    facts as one text, by which a build record knows them again.

    `go_stamps` is False where `go build -buildvcs=true` would fail for the repository it finds;
    `binary_note` is a line for those who want the facts in the binary, and will not get these.
    """

    labels: Pairs
    created: str
    note: str
    words: str
    go_stamps: bool = True
    binary_note: str = ""


NO_STAMP = Stamp((), "", "", "")


def read_stamp(directory: str, env: Mapping[str, str], cancel: CancelToken) -> Stamp:
    """Ask git about the module around `directory`; never fails, a missing fact is a line in `note`.

    The `created` label is SOURCE_DATE_EPOCH where that is set, as in the image config.
    """
    root = module_root(directory)
    facts = git_facts(root, env, cancel)
    for_go = facts_of_go(root, facts, env, cancel)
    words = json.dumps([facts, for_go])
    if isinstance(facts, Degraded):
        return Stamp((), "", facts.reason, words, go_stamps=False)
    epoch = source_date_epoch(env)
    labels = {
        "revision": facts.revision,
        "version": facts.version,
        "created": facts.time if epoch is None else _rfc3339(epoch),
        "source": facts.source,
    }
    named = pairs({_PREFIX + key: value for key, value in labels.items() if value})
    return Stamp(
        named,
        facts.time,
        facts.note,
        words,
        go_stamps=not isinstance(for_go, Degraded),
        binary_note=_binary_note(facts, for_go),
    )


def version_control_words(request: BuildRequest, cancel: CancelToken) -> str:
    """What git says now, to compare with a record's facts."""
    directory, _ = directory_of(request)
    return read_stamp(directory, request.env, cancel).words


def _binary_note(facts: GitFacts, for_go: GitFacts | Degraded | None) -> str:
    if for_go is None:
        return "Go does not stamp a worktree or submodule before 1.27: there only the labels tell"
    if isinstance(for_go, Degraded):
        return f"the binary is not stamped, only the labels: {for_go.reason}"
    if for_go.revision != facts.revision:
        return "before 1.27 Go stamps the binary with the commit of the repository around this one"
    return ""


def _rfc3339(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
