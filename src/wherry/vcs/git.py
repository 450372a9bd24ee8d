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
from wherry.vcs.version import pseudo_version, release_tag, tag_version

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
_QUIET_ENV = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", "LANGUAGE": ""}


class GitFacts(NamedTuple):
    """The commit that a directory is at.

    `revision` is the whole commit id, `time` the committer's time in RFC 3339 as UTC, `dirty`
    whether anything in the work tree differs, untracked files included. `version` is a tag or
    Go's pseudo-version, with `+dirty`. `source` is the remote's URL without credentials, and empty
    where there is none that others could reach. `note` is one line for people, mostly empty.
    `digest` tells repositories apart by what only Go's own stamp looks at (older tags, which files
    differ); empty where there is nothing of it.
    """

    revision: str
    time: str
    dirty: bool
    version: str
    source: str
    note: str = ""
    digest: str = ""


class Degraded(NamedTuple):
    """Why there are no facts, in one line."""

    reason: str


class _Refused(Exception):
    """Git could not answer."""


def git_facts(directory: str, env: Mapping[str, str], cancel: CancelToken) -> GitFacts | Degraded:
    """Ask git about `directory`; `env` is the whole environment of the commands.

    Raises `Cancelled` only.
    """
    git = _Git(directory, {**env, **_QUIET_ENV}, cancel)
    try:
        return _gather(git)
    except MachineError:
        return Degraded("no version-control facts: git is not installed")
    except _Refused as refusal:
        return Degraded(f"no version-control facts: {refusal}")


def facts_of_go(
    directory: str, facts: GitFacts | Degraded, env: Mapping[str, str], cancel: CancelToken
) -> GitFacts | Degraded | None:
    """The facts that `go build -buildvcs=true` puts into a binary, where git says `facts`.

    Go takes the nearest directory that holds `.git` as a directory. In a worktree or submodule
    `.git` is a file, which Go passes by, up to a repository around it or to none (None).
    """
    path, passed_by = os.path.abspath(directory), False
    while not os.path.isdir(os.path.join(path, ".git")):
        passed_by = passed_by or os.path.lexists(os.path.join(path, ".git"))
        parent = os.path.dirname(path)
        if parent == path:
            return None
        path = parent
    return git_facts(path, env, cancel) if passed_by else facts


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


def _gather(git: _Git) -> GitFacts:
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
    tag, base = _tags(merged, revision, prefix)
    version = tag or pseudo_version(when, revision, base)
    seen = changes + merged
    return GitFacts(
        revision=revision,
        time=when.strftime("%Y-%m-%dT%H:%M:%SZ"),
        dirty=bool(changes),
        version=f"{version}+dirty" if changes else version,
        source=_source(git),
        note=_SHALLOW if shallow == "true" and not tag else "",
        digest=hashlib.sha256(seen.encode("utf-8", "replace")).hexdigest() if seen else "",
    )


def _tags(merged: str, revision: str, prefix: str) -> tuple[str, str]:
    """The tag that names HEAD, and the highest release up to it; empty where there is none."""
    here, before = [], []
    for line in merged.splitlines():
        own, behind, name = line.split(" ", 2)
        before.append(name)
        if revision in (own, behind):
            here.append(name)
    return tag_version(here, prefix), release_tag(before, prefix)


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


def _source(git: _Git) -> str:
    """`origin`'s URL, or the only remote's."""
    pairs = git.ask_quietly("config", "--null", "--get-regexp", r"^remote\..*\.url$")
    urls: dict[str, str] = {}
    for pair in pairs.split("\0"):
        key, _, url = pair.partition("\n")
        urls.setdefault(key, url)
    urls.pop("", None)
    if "remote.origin.url" in urls:
        return public_url(urls["remote.origin.url"])
    return public_url(next(iter(urls.values()))) if len(urls) == 1 else ""
