# SPDX-License-Identifier: Apache-2.0
"""A tree out of a git repository: which commit is meant, its files, and what of `.git` stays.

As BuildKit does it: a branch, tag or `refs/...` is fetched without history, a commit likewise where
the server gives single commits, else out of the whole history. Submodules come along. Everything
happens in a directory that belongs to this fetch alone; the files get modes that no umask changes,
and the commit's time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from wherry.errors import BuildError
from wherry.vcs.checkout import settle
from wherry.vcs.git_command import GitAccess, GitCommand, Refused, explained
from wherry.vcs.git_url import GitSource, check_source, is_commit

__all__ = ["Checkout", "GitAccess", "Resolved", "fetch_tree", "resolve_commit"]

# What servers say that give branches and tags only, and those that do not know shallow fetches.
_WHOLE_ONLY: Final = re.compile(r"not our ref|unadvertised object|couldn't find remote ref")
_NO_DEPTH: Final = re.compile(r"--depth|shallow")
_HERE: Final = "refs/wherry/fetched"


class Resolved(NamedTuple):
    """What a source means at the moment.

    `commit` is the commit's id. `ref` is the full name at the remote, empty where the source names
    a commit; `name` is what the user, or the remote's HEAD, calls it. `target` is the id that the
    ref has: of an annotated tag, or the commit.
    """

    commit: str
    ref: str
    name: str
    target: str


class Checkout(NamedTuple):
    """A fetched tree: its commit, and the directory that holds it."""

    commit: str
    root: str


def resolve_commit(source: GitSource, work: str, access: GitAccess) -> Resolved:
    """Ask the remote which commit `source` means; one that names a commit is not asked for.

    `work` is a directory for this alone. Raises `UsageError` for what git must not be given,
    `BuildError` where the ref is not there or the checksum is another, `NetworkError`,
    `MachineError` where git is missing, `Cancelled`.
    """
    return _Fetch(source, work, access).resolve()


def fetch_tree(
    source: GitSource, work: str, access: GitAccess, resolved: Resolved | None = None
) -> Checkout:
    """Fetch and check out; `resolved` is what `resolve_commit` gave for the source, if asked.

    The tree lies below `work`, whose owner removes it. Raises as `resolve_commit` does, and
    `BuildError` where there is no such directory or commit in the repository.
    """
    fetch = _Fetch(source, work, access)
    return fetch.check_out(resolved or fetch.resolve())


class _Fetch:
    def __init__(self, source: GitSource, work: str, access: GitAccess) -> None:
        check_source(source, allow_local=access.allow_local)
        self._source = source
        self._work = work
        self._repository = ""
        self._tree = os.path.join(work, "tree")
        # `git submodule` runs in a work tree only.
        self._git = GitCommand(source.remote, self._tree, access)
        os.makedirs(self._tree, mode=0o700, exist_ok=True)
        # Without a work tree git would look for one around the directory it runs in.
        self._place = {
            "GIT_WORK_TREE": self._tree,
            "GIT_TEMPLATE_DIR": "",
        }

    def resolve(self) -> Resolved:
        source, ref = self._source, self._source.ref
        if is_commit(ref):
            self._check((ref,))
            return Resolved(ref, "", ref, ref)
        if source.fetch_by_commit:
            commit = source.checksum
            if not is_commit(commit):
                raise BuildError(
                    f"fetch-by-commit of {source.shown} needs a whole commit id",
                    hint="add checksum=COMMIT to the URL",
                )
            return Resolved(commit, "", _as_branch(ref) if ref else commit, commit)
        self._init("sha1")
        found = self._ask("ls-remote", "--symref", "--", self._git.url,
                          *((ref, f"{ref}^{{}}") if ref else ("HEAD",)))  # fmt: skip
        ids, head = _parse_refs(found)
        resolved = _choose(ref, ids) if ref else _head(head, ids)
        if resolved is None:
            raise BuildError(
                f"{source.shown} has no {ref or 'default branch'}",
                hint="name a branch, a tag or a whole commit id",
            )
        self._check((resolved.target, resolved.commit))
        return resolved

    def check_out(self, resolved: Resolved) -> Checkout:
        self._init("sha1" if len(resolved.commit) == 40 else "sha256")
        self._fetch(resolved)
        commit = self._ask("rev-parse", "--verify", f"{resolved.target}^{{commit}}").strip()
        self._check((resolved.target, commit))
        keeps = bool(self._source.keep_git_dir) and not self._source.directory
        if keeps:
            self._clone(resolved)
        elif self._ask("ls-tree", commit):
            self._ask("checkout", "--quiet", "--no-overlay", commit, "--", ".")
        if self._source.submodules is not False:
            self._submodules()
        time = int(self._ask("log", "-1", "--format=%ct", commit).strip() or "0")
        root = settle(self._tree, self._source.directory, max(time, 0), keeps_git=keeps)
        return Checkout(commit, root)

    def _init(self, algorithm: str) -> None:
        self._repository = os.path.join(self._work, algorithm)
        self._place["GIT_DIR"] = self._repository
        if not os.path.isdir(self._repository):
            self._ask("init", "--quiet", f"--object-format={algorithm}")
            self._ask("remote", "add", "origin", self._git.url)

    def _fetch(self, resolved: Resolved) -> None:
        if resolved.ref:
            self._shallow(f"+{resolved.ref}:{_HERE}")
            found = self._ask("rev-parse", "--verify", _HERE).strip()
            if found == resolved.target:
                return
        # A commit, or what a ref was when it was asked for.
        try:
            self._shallow(resolved.target)
        except _WholeOnly:
            self._ask("fetch", "--quiet", "--tags", "--no-recurse-submodules", "origin")
            try:
                self._run("cat-file", "-e", f"{resolved.target}^{{commit}}")
            except Refused:
                raise BuildError(
                    f"{self._source.shown} has no commit {resolved.target}",
                    hint="the server gives single commits of branches and tags only",
                ) from None

    def _shallow(self, refspec: str) -> None:
        depth = ["--depth=1"]
        while True:
            try:
                self._run("fetch", "--quiet", *depth, "--no-tags", "--no-recurse-submodules",
                          "--no-write-fetch-head", "origin", refspec)  # fmt: skip
            except Refused as refused:
                if _WHOLE_ONLY.search(str(refused)) and not refspec.startswith("+"):
                    raise _WholeOnly from None
                if not depth or not _NO_DEPTH.search(str(refused)):
                    raise explained(refused, self._source.shown) from None
                depth = []
            else:
                return

    def _clone(self, resolved: Resolved) -> None:
        """A repository of its own in the tree, with the names that BuildKit leaves there."""
        names = _names_to_keep(resolved, self._ask("cat-file", "-t", resolved.target).strip())
        for name in names.here:
            self._ask("update-ref", name, resolved.target)
        origin = f"file://{self._repository}"
        self._place = {
            "GIT_DIR": os.path.join(self._tree, ".git"),
            "GIT_WORK_TREE": self._tree,
            # Nothing of this machine's templates.
            "GIT_TEMPLATE_DIR": "",
        }
        algorithm = os.path.basename(self._repository)
        self._ask("init", "--quiet", f"--object-format={algorithm}")
        self._ask("remote", "add", "origin", origin)
        self._ask("fetch", "--quiet", "-u", "--depth=1", "--", "origin", names.refspec, local=True)
        self._ask("checkout", "--quiet", "FETCH_HEAD")
        self._ask("remote", "set-url", "origin", self._git.url)
        self._ask("reflog", "expire", "--all", "--expire=now")
        os.unlink(os.path.join(self._tree, ".git", "FETCH_HEAD"))

    def _submodules(self) -> None:
        if os.path.lexists(os.path.join(self._tree, ".gitmodules")):
            self._ask("submodule", "--quiet", "update", "--init", "--recursive", "--depth=1")

    def _check(self, ids: tuple[str, ...]) -> None:
        wanted = self._source.checksum
        if wanted and not any(found.startswith(wanted.lower()) for found in ids):
            raise BuildError(
                f"{self._source.shown} is at another commit than its checksum says",
                why=f"wanted {wanted}, found {' or '.join(dict.fromkeys(ids))}",
                hint="if the change is wanted, write the new commit as the checksum",
            )

    def _ask(self, *arguments: str, local: bool = False) -> str:
        try:
            return self._run(*arguments, local=local)
        except Refused as refused:
            raise explained(refused, self._source.shown) from None

    def _run(self, *arguments: str, local: bool = False) -> str:
        return self._git.run(*arguments, place=self._place, local=local)


class _WholeOnly(Exception):
    """The server does not give single commits."""


class _Names(NamedTuple):
    """Refs that the fetched repository gets, and what is fetched from it into the kept one."""

    here: tuple[str, ...]
    refspec: str


def _names_to_keep(resolved: Resolved, kind: str) -> _Names:
    name = resolved.name
    if is_commit(name):
        return _Names((_HERE,), _HERE)
    tag = f"refs/tags/{name.removeprefix('refs/tags/')}"
    if kind == "tag":
        return _Names((tag,), f"{tag}:{tag}")
    if not resolved.ref:
        return _Names((_HERE,), f"{_HERE}:{name}")
    return _Names((tag,), f"{tag}:{_as_branch(name)}")


def _as_branch(name: str) -> str:
    return name if name.startswith("refs/") else f"refs/heads/{name}"


def _parse_refs(text: str) -> tuple[Mapping[str, str], str]:
    """The ids by ref of `git ls-remote --symref`, and the ref that HEAD stands for."""
    ids: dict[str, str] = {}
    head = ""
    for line in text.splitlines():
        first, _, ref = line.partition("\t")
        if first.startswith("ref: ") and ref == "HEAD":
            head = first.removeprefix("ref: ")
        elif is_commit(first):
            ids[ref] = first
    return ids, head


def _choose(name: str, ids: Mapping[str, str]) -> Resolved | None:
    """What `name` means: a path below `refs`, else a branch, else a tag."""
    for ref in (
        f"refs/{name.removeprefix('refs/')}",
        f"refs/heads/{name.removeprefix('refs/heads/')}",
        f"refs/tags/{name.removeprefix('refs/tags/')}",
    ):
        if ref in ids:
            return Resolved(ids.get(f"{ref}^{{}}", ids[ref]), ref, name, ids[ref])
    return None


def _head(head: str, ids: Mapping[str, str]) -> Resolved | None:
    commit = ids.get("HEAD")
    if commit is None:
        return None
    if not head.startswith("refs/heads/"):
        return Resolved(commit, "", commit, commit)
    return Resolved(commit, head, head.removeprefix("refs/heads/"), commit)
