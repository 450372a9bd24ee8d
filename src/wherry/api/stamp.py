# SPDX-License-Identifier: Apache-2.0
"""Version-control facts as labels (OCI image specification, annotations.md, "Pre-Defined").

The labels tell what git says of the module's directory. What `--stamp full` puts into the binary
is found by Go itself, which asks another way: where it would tell another commit, version or state
than the labels, either the labels follow or the binary is not stamped, and one line says so.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from typing import NamedTuple

from wherry.api.epoch import source_date_epoch
from wherry.api.project_settings import module_root
from wherry.errors import BuildError
from wherry.golang.buildinfo import BuildInfo
from wherry.golang.modfile import module_path
from wherry.oci.image import Pairs, pairs
from wherry.process.cancel import CancelToken
from wherry.vcs.git import Degraded, GitFacts, GoPlace, git_facts, go_place
from wherry.vcs.version import path_major

_PREFIX = "org.opencontainers.image."
_VERSION, _REVISION = _PREFIX + "version", _PREFIX + "revision"
_ONLY_LABELS = "the binary is not stamped, only the labels"
# The first releases that put the module's version into a binary, that do so for every module, and
# that know linked worktrees.
_WITH_VERSION, _WITH_ALL_VERSIONS, _WITH_LINKS = (1, 24), (1, 25), (1, 27)


class Stamp(NamedTuple):
    """Labels to add, the commit's time (RFC 3339, empty if unknown), a line for the user, and all
    facts as one text, by which a build record knows them again.

    `go_stamps` is False where `go build -buildvcs=true` would fail or tell something else than the
    labels; `binary_note` is a line for those who want the facts in the binary, and will not get
    these. `facts`, `place` and `major` are what all that was made from.
    """

    labels: Pairs
    created: str
    note: str
    words: str
    go_stamps: bool = True
    binary_note: str = ""
    facts: GitFacts | None = None
    place: GoPlace = GoPlace()
    major: str = ""

    @property
    def version(self) -> str:
        """The version that the labels tell; empty where there is none."""
        return dict(self.labels).get(_VERSION, "")

    def for_binary(self, go_version: str) -> Stamp:
        """This stamp for `--stamp full` with the Go `go_version`, as `go1.26.8`.

        Where Go puts a version into the binary, the labels have the same.
        """
        if self.facts is None:
            return self
        release = _release(go_version)
        reason = _refusal(self.facts, self.place, release)
        if _WITH_VERSION <= release < _WITH_ALL_VERSIONS and (self.facts.prefix or self.major):
            reason = "Go 1.24 gets the version wrong below the root or of a later major version"
        if reason:
            return self._replace(go_stamps=False, binary_note=f"{_ONLY_LABELS}: {reason}")
        if release < _WITH_VERSION or not self.facts.go_version:
            return self._replace(go_stamps=True, binary_note="")
        told = self.facts.go_version
        note = ""
        if told != self.version:
            note = f"Go takes {told} for the version, not {self.version}: so do the labels"
        labels = pairs({**dict(self.labels), _VERSION: told})
        return self._replace(labels=labels, go_stamps=True, binary_note=note)


NO_STAMP = Stamp((), "", "", "")


def read_stamp(directory: str, env: Mapping[str, str], cancel: CancelToken) -> Stamp:
    """Ask git about the module around `directory`; never fails, a missing fact is a line in `note`.

    The `created` label is SOURCE_DATE_EPOCH where that is set, as in the image config. The result
    is for `--stamp labels`; see `Stamp.for_binary`.
    """
    root = module_root(directory)
    major = path_major(module_path(os.path.join(root, "go.mod")))
    facts, place = git_facts(root, env, cancel, major), go_place(root)
    words = json.dumps([facts, place])
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
    reason = _refusal(facts, place, (0, 0))
    return Stamp(
        named,
        facts.time,
        facts.note,
        words,
        go_stamps=not reason,
        binary_note=f"{_ONLY_LABELS}: {reason}" if reason else "",
        facts=facts,
        place=place,
        major=major,
    )


def check_binary(info: BuildInfo, labels: Pairs, name: str) -> None:
    """Raise `BuildError` where the program `name` and its image tell different commits.

    A program that says nothing of its commit contradicts nothing.
    """
    told = dict(labels)
    main = info.main.version if info.main else ""
    for what, in_binary, in_labels in (
        ("commit", info.setting("vcs.revision"), told.get(_REVISION, "")),
        ("version", "" if main == "(devel)" else main, told.get(_VERSION, "")),
    ):
        if in_binary and in_labels and in_binary != in_labels:
            raise BuildError(
                f"{name} tells another {what} than its image",
                why=f"Go put {in_binary} into the binary, the labels have {in_labels}",
                hint="--stamp labels leaves the binary unstamped; or set the label yourself",
            )


def _refusal(facts: GitFacts, place: GoPlace, release: tuple[int, int]) -> str:
    """Why the binary is not stamped by a Go of this release; empty where it is."""
    if place.foreign:
        return f"Go refuses two version-control systems, and here is {place.foreign} beside git's"
    if facts.hidden:
        return "git hides untracked files from Go here (status.showUntrackedFiles)"
    if not place.found:
        return "Go finds no .git above the module"
    if place.linked and release < _WITH_LINKS:
        if place.around:
            return "before 1.27 Go would tell the commit of the repository around this one"
        return "Go does not stamp a worktree or submodule before 1.27"
    return ""


def _release(go_version: str) -> tuple[int, int]:
    match = re.match(r"(?:go)?(\d+)\.(\d+)", go_version)
    # A Go built from its own repository is a new one.
    return (int(match[1]), int(match[2])) if match else _WITH_LINKS


def _rfc3339(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
