# SPDX-License-Identifier: Apache-2.0
"""What git knows about a module's directory: the facts that `--stamp` may put into an image.

Git is asked with plumbing commands only, and never changes anything (no index refresh, no prompt).
Whatever git cannot tell degrades to one line: a stamp is no reason to fail a build.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from wherry.errors import MachineError
from wherry.process.cancel import CancelToken
from wherry.process.spawn import Command, run
from wherry.vcs.remote import public_url
from wherry.vcs.version import go_base, go_tag, pseudo_version, release_tag, tag_version

_SHALLOW = "a shallow clone may lack the tag that names this version"
_NO_CHANGES = ("-c", "core.fsmonitor=false")
# Every tag of HEAD and of the commits before it: tag's or commit's id, the commit's behind an
# annotated tag, the name.
_TAGS = (
    "for-each-ref",
    "--merged=HEAD",
    "--format=%(objectname) %(*objectname) %(refname:strip=2)",
    "refs/tags",
)
_NO_FACTS = "no version-control facts"
_NO_GIT = f"{_NO_FACTS}: git is not installed"
# Marks of the other systems that Go knows, as directories or files.
_FOREIGN = (".hg", ".svn", ".bzr", ".fslckout", "_FOSSIL_")
_QUIET_ENV = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", "LANGUAGE": ""}


class GitFacts(NamedTuple):
    """The commit that a directory is at.

    `revision` is the whole commit id, `time` the committer's time in RFC 3339 as UTC, `dirty`
    whether anything in the work tree differs, untracked files included. `version` is a tag or
    Go's pseudo-version, with `+dirty`. `source` is the remote's URL without credentials, and empty
    where there is none that others could reach. `note` is one line for people, mostly empty.
    `digest` tells repositories apart by what only Go's own stamp looks at (older tags, which files
    differ); empty where there is nothing of it. `go_version` is the version that Go's own stamp
    gives the module, empty where it gives none; `hidden` whether only files differ that the user's
    settings of git hide from Go. `prefix` is the directory below the repository's root, as `api/`.
    """

    revision: str
    time: str
    dirty: bool
    version: str
    source: str
    note: str = ""
    digest: str = ""
    go_version: str = ""
    hidden: bool = False
    prefix: str = ""


class Degraded(NamedTuple):
    """Why there are no facts, in one line."""

    reason: str


class _Refused(Exception):
    """Git could not answer."""


class RefFacts(NamedTuple):
    """How git names HEAD: `branch` is HEAD where none is checked out, `tag` the last one up to
    HEAD and empty where there is none, `short` the commit's id as git abbreviates it.
    """

    branch: str
    tag: str
    short: str


def git_facts(
    directory: str, env: Mapping[str, str], cancel: CancelToken, major: str = ""
) -> GitFacts | Degraded:
    """Ask git about `directory`; `env` is the whole environment of the commands.

    `major` is the major version that the module's path ends with, as `v2`. Raises `Cancelled` only.
    """
    git = _Git(directory, {**env, **_QUIET_ENV}, cancel)
    try:
        return _gather(git, major)
    except MachineError:
        return Degraded(_NO_GIT)
    except _Refused as refusal:
        return Degraded(f"{_NO_FACTS}: {refusal}")


def ref_facts(directory: str, env: Mapping[str, str], cancel: CancelToken) -> RefFacts | Degraded:
    """Ask git how it names HEAD in `directory`; as `git_facts`."""
    git = _Git(directory, {**env, **_QUIET_ENV}, cancel)
    try:
        return RefFacts(
            branch=git.ask("rev-parse", "--abbrev-ref", "HEAD").strip(),
            tag=git.ask_quietly("describe", "--tags", "--abbrev=0", "HEAD").strip(),
            short=git.ask("rev-parse", "--short", "HEAD").strip(),
        )
    except MachineError:
        return Degraded(_NO_GIT)
    except _Refused as refusal:
        return Degraded(f"{_NO_FACTS}: {refusal}")


class GoPlace(NamedTuple):
    """Where `go build -buildvcs=true` looks for a repository from some directory.

    `found` says whether there is a `.git`; `linked` whether the nearest is a file, as in a worktree
    or submodule, which Go takes since 1.27 and passes by before; `around` whether a directory
    `.git` lies further up, which an older Go takes instead. `foreign` is the mark of another
    version-control system beside git's; Go refuses two.
    """

    found: bool = False
    linked: bool = False
    around: bool = False
    foreign: str = ""


def go_place(directory: str) -> GoPlace:
    """Look from `directory` up to the root, as Go does; starts no program."""
    place, path = GoPlace(), os.path.abspath(directory)
    while True:
        marker = os.path.join(path, ".git")
        if os.path.isdir(marker):
            place = place._replace(found=True, around=place.linked)
        elif not place.found and os.path.lexists(marker):
            place = place._replace(found=True, linked=True)
        others = (name for name in _FOREIGN if os.path.exists(os.path.join(path, name)))
        place = place._replace(foreign=place.foreign or next(others, ""))
        parent = os.path.dirname(path)
        if parent == path:
            return place
        path = parent


class _Git(NamedTuple):
    directory: str
    env: Mapping[str, str]
    cancel: CancelToken

    def ask(self, *arguments: str) -> str:
        """The command's stdout; raises `_Refused` unless it succeeds."""
        finished = self._run(arguments)
        if finished is None:
            raise _Refused(f"git {arguments[0]} failed")
        return finished

    def ask_quietly(self, *arguments: str) -> str:
        """Like `ask`, with no output where git fails."""
        return self._run(arguments) or ""

    def _run(self, arguments: tuple[str, ...]) -> str | None:
        command = Command(("git", *_NO_CHANGES, *arguments), self.directory, self.env)
        finished = run(command, self.cancel)
        if finished.returncode:
            reason = _known_reason(finished.stderr.decode("utf-8", "replace"))
            if reason:
                raise _Refused(reason)
            return None
        return finished.stdout.decode("utf-8", "replace")


def _known_reason(stderr: str) -> str:
    if "dubious ownership" in stderr or "unsafe repository" in stderr:
        return (
            "the repository belongs to another user, and git refuses it "
            "(git config --global --add safe.directory DIRECTORY trusts it)"
        )
    if "not a git repository" in stderr:
        return "this is no git repository"
    return ""


def _gather(git: _Git, major: str) -> GitFacts:
    inside, shallow, *rest = git.ask(
        "rev-parse", "--is-inside-work-tree", "--is-shallow-repository", "--show-prefix"
    ).splitlines()
    if inside != "true":
        raise _Refused("this is a bare repository")
    stamp, _, revision = _head(git).partition(" ")
    when = _utc(stamp)
    changes = git.ask("status", "--porcelain=v1", "-z", "--untracked-files=normal")
    merged = git.ask_quietly(*_TAGS)
    prefix = rest[0] if rest else ""
    tags = _tags(merged, revision)
    tag = tag_version(tags.here, prefix)
    base = go_base(tags.before, prefix, major) or release_tag(tags.before, prefix)
    settings = _settings(git)
    seen = changes + merged
    return GitFacts(
        revision=revision,
        time=when.strftime("%Y-%m-%dT%H:%M:%SZ"),
        dirty=bool(changes),
        version=_marked(tag or pseudo_version(when, revision, base, major), changes),
        source=_source(settings),
        note=_SHALLOW if shallow == "true" and not tag else "",
        digest=hashlib.sha256(seen.encode("utf-8", "replace")).hexdigest() if seen else "",
        go_version=_marked(_go_version(git, tags, _Commit(when, revision, prefix, major)), changes),
        hidden=_hides(settings) and _is_only_untracked(changes),
        prefix=prefix,
    )


class _Tags(NamedTuple):
    """The names of HEAD's tags, and of those up to it."""

    here: list[str]
    before: list[str]


class _Commit(NamedTuple):
    when: datetime
    revision: str
    prefix: str
    major: str


def _tags(merged: str, revision: str) -> _Tags:
    found = _Tags([], [])
    for line in merged.splitlines():
        own, behind, name = line.split(" ", 2)
        found.before.append(name)
        if revision in (own, behind):
            found.here.append(name)
    return found


def _go_version(git: _Git, tags: _Tags, commit: _Commit) -> str:
    """Go gives a version only where the repository's root is a module, too."""
    top = git.directory
    for _ in commit.prefix.strip("/").split("/") if commit.prefix else ():
        top = os.path.dirname(top)
    if not os.path.isfile(os.path.join(top, "go.mod")):
        return ""
    here = go_tag(tags.here, commit.prefix, commit.major)
    base = go_base(tags.before, commit.prefix, commit.major)
    return here or pseudo_version(commit.when, commit.revision, base, commit.major)


def _marked(version: str, changes: str) -> str:
    return f"{version}+dirty" if version and changes else version


def _is_only_untracked(changes: str) -> bool:
    return bool(changes) and all(entry.startswith("?? ") for entry in changes.split("\0") if entry)


def _head(git: _Git) -> str:
    found = git.ask_quietly("rev-list", "--timestamp", "--max-count=1", "HEAD").strip()
    if not found:
        raise _Refused("the repository has no commit yet")
    return found


def _utc(stamp: str) -> datetime:
    try:
        return datetime.fromtimestamp(int(stamp), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise _Refused("the commit has no usable time") from error


def _settings(git: _Git) -> dict[str, str]:
    """Git's settings that matter here; of one that is said twice the first URL, the last word."""
    asked = r"^(remote\..*\.url|status\.showuntrackedfiles)$"
    found: dict[str, str] = {}
    for pair in git.ask_quietly("config", "--null", "--get-regexp", asked).split("\0"):
        key, _, value = pair.partition("\n")
        if key.startswith("status.") or key not in found:
            found[key] = value
    found.pop("", None)
    return found


def _hides(settings: Mapping[str, str]) -> bool:
    value = settings.get("status.showuntrackedfiles", "")
    return value.lower() in ("no", "false", "off", "0")


def _source(settings: Mapping[str, str]) -> str:
    """`origin`'s URL, or the only remote's."""
    urls = {key: value for key, value in settings.items() if key.startswith("remote.")}
    if "remote.origin.url" in urls:
        return public_url(urls["remote.origin.url"])
    return public_url(next(iter(urls.values()))) if len(urls) == 1 else ""
