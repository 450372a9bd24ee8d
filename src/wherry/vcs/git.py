# SPDX-License-Identifier: Apache-2.0
"""What git knows about a module's directory: the facts that `--stamp` may put into an image.

Git is asked with plumbing commands only, and never changes anything (no index refresh, no prompt).
Whatever git cannot tell degrades to one line: a stamp is no reason to fail a build.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from wherry.errors import MachineError
from wherry.process.cancel import CancelToken
from wherry.process.spawn import Command, run
from wherry.vcs.remote import public_url
from wherry.vcs.version import pseudo_version, tag_version

_NO_CHANGES = ("-c", "core.fsmonitor=false")
_QUIET_ENV = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", "LANGUAGE": ""}


class GitFacts(NamedTuple):
    """The commit that a directory is at.

    `revision` is the whole commit id, `time` the committer's time in RFC 3339 as UTC, `dirty`
    whether anything in the work tree differs, untracked files included. `version` is a tag or
    Go's pseudo-version, with `+dirty`. `source` is the remote's URL without credentials, and empty
    where there is none that others could reach. `note` is one line for people, mostly empty.
    """

    revision: str
    time: str
    dirty: bool
    version: str
    source: str
    note: str = ""


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
    tags = git.ask_quietly("tag", "--points-at", "HEAD").splitlines()
    tag = tag_version(tags, rest[0] if rest else "")
    version = tag or pseudo_version(when, revision)
    lost_tags = shallow == "true" and not tag
    return GitFacts(
        revision=revision,
        time=when.strftime("%Y-%m-%dT%H:%M:%SZ"),
        dirty=bool(changes),
        version=f"{version}+dirty" if changes else version,
        source=_source(git),
        note="a shallow clone may lack the tag that names this version" if lost_tags else "",
    )


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
