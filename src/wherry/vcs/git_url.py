# SPDX-License-Identifier: Apache-2.0
"""URLs of git repositories as the Dockerfile language takes them: for ADD and as build contexts.

`https://HOST/PATH.git`, `http://`, `ssh://`, `git://`, `USER@HOST:PATH` and, for contexts only,
`github.com/OWNER/NAME`; behind it `#REF:DIRECTORY`, or `?KEY=VALUE&...` (Dockerfile reference,
"Adding files from a Git repository"; Docker's documentation of build contexts, "URL queries").
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, quote, unquote

from wherry.errors import UsageError, near
from wherry.vcs.remote import public_url

_SCHEME: Final = re.compile(r"([A-Za-z0-9]+)://(.*)", re.DOTALL)
_SCHEMES: Final = ("https", "http", "ssh", "git")
_WEB: Final = ("https", "http")
# git's short form of an ssh URL; the group of what is looked for ends at the first `?` and `#`.
_SHORT: Final = re.compile(
    r"([A-Za-z0-9_-]+)@([A-Za-z0-9.-]+):([^\n]*?)(?:\?([^\n]*?))?(?:#([^\n]*))?"
)
_PARTS: Final = re.compile(r"([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)
_HOST: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s\[\]<>\"\\:@]*)(?::[0-9]*)?")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_TRUE: Final = ("1", "t", "T", "TRUE", "true", "True")
_FALSE: Final = ("0", "f", "F", "FALSE", "false", "False")
_SWITCHES: Final = ("keep-git-dir", "submodules", "fetch-by-commit")
_VALUES: Final = ("ref", "tag", "branch", "subdir", "checksum", "commit", "mtime")


@dataclass(frozen=True, slots=True)
class GitSource:
    """A part of a git repository.

    `remote` is what git is asked for, and may hold credentials: `shown` is for people. `ref` is a
    branch, tag, `refs/...` or whole commit id; empty: the remote's HEAD. `directory` is relative
    and normal; empty: all. `checksum` is a commit id, or its beginning, that must be found.
    `keep_git_dir` and `submodules` are None where the URL does not say. `times` is `commit`,
    `checkout` or empty. `fetch_by_commit`: fetch `checksum`, and call it `ref`. `is_ambiguous`: it
    has the form of a local path, and counts as a URL only as a build context.
    """

    remote: str = field(repr=False)
    ref: str = ""
    directory: str = ""
    checksum: str = ""
    keep_git_dir: bool | None = None
    submodules: bool | None = None
    times: str = ""
    fetch_by_commit: bool = False
    is_ambiguous: bool = False

    @property
    def shown(self) -> str:
        """The repository without credentials and query."""
        return public_url(self.remote) or "a git repository"


def parse_git_url(text: str) -> GitSource | None:
    """Read a git URL; None for what is none (a path, a URL of a file, an unknown protocol).

    Raises `UsageError` for a git URL with a query that is wrong or contradicts it, or with a part
    that git must not be given.
    """
    if text.startswith(("./", "../")) or _CONTROL.search(text):
        return None
    found = _split(text)
    if found is None:
        return None
    remote, query, fragment, is_ambiguous = found
    ref, _, directory = fragment.partition(":")
    source = GitSource(remote, ref, _inner(directory), is_ambiguous=is_ambiguous)
    source = _with_query(source, query) if query else source
    check_source(source)
    return source


def check_source(source: GitSource, *, allow_local: bool = False) -> None:
    """Raise `UsageError` unless every part of `source` is safe to give to git.

    Only https, http, ssh and git; `allow_local` adds file:// URLs and absolute paths.
    """
    remote = source.remote
    if not (_is_remote(remote) or (allow_local and remote.startswith(("file:///", "/")))):
        raise UsageError(
            f"not the URL of a git repository: {source.shown}",
            hint="use https://, ssh://, git:// or USER@HOST:PATH",
        )
    if source.ref and not _is_ref(source.ref):
        raise UsageError(
            f"not a git branch, tag or commit: {source.ref!r}",
            hint="write it behind # in the URL, as in https://HOST/PATH.git#main",
        )
    if source.checksum and not re.fullmatch(r"[0-9A-Fa-f]{1,64}", source.checksum):
        raise UsageError(
            f"not the checksum of a git commit: {source.checksum!r}",
            hint="for a git source it is the commit's id, in hexadecimal digits",
        )
    if source.directory != _inner(source.directory):
        raise UsageError(f"not a directory in a git repository: {source.directory!r}")


def is_commit(text: str) -> bool:
    """Whether `text` is a whole commit id (SHA-1 or SHA-256), in lower case as git prints them."""
    return re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", text) is not None


def _split(text: str) -> tuple[str, list[tuple[str, str]], str, bool] | None:
    """Remote, query, fragment, and whether it could be a path; None for what is no git URL."""
    if text.startswith("github.com/"):
        found = _split_url("https", text)
        return (*found, True) if found else None
    match = _SCHEME.fullmatch(text)
    if match:
        scheme = match[1].lower()
        found = _split_url(scheme, match[2]) if scheme in _SCHEMES else None
        is_repository = found is not None and (
            scheme not in _WEB or unquote(found[0], errors="surrogateescape").endswith(".git")
        )
        return (*found, False) if found and is_repository else None
    short = _SHORT.fullmatch(text)
    if short is None or (short[4] and not _is_query(short[4])):
        return None
    return f"{short[1]}@{short[2]}:{short[3]}", _query(short[4] or ""), short[5] or "", False


def _split_url(scheme: str, rest: str) -> tuple[str, list[tuple[str, str]], str] | None:
    match = _PARTS.fullmatch(rest)
    if match is None or _BAD_ESCAPE.search(f"{match[2]} {match[4] or ''}"):
        return None
    authority, path, query, fragment = match.groups()
    user, at, host = authority.rpartition("@")
    if not _HOST.fullmatch(host) or re.search(r"[\s/\\\"<>\[\]]", user):
        return None
    if re.search(r"[^A-Za-z0-9!$&'()*+,;=:@\[\]/%._~-]", path):
        path = quote(
            unquote(path, errors="surrogateescape"),
            safe="/!$&'()*+,;=:@",
            errors="surrogateescape",
        )
    return (
        f"{scheme}://{user}{at}{host}{path}",
        _query(query or ""),
        unquote(fragment or "", errors="surrogateescape"),
    )


def _query(text: str) -> list[tuple[str, str]]:
    """The pairs of a query; broken ones do not count, as in Go's net/url."""
    kept = "&".join(pair for pair in text.split("&") if _is_query(pair))
    return parse_qsl(kept, keep_blank_values=True, errors="surrogateescape")


def _is_query(text: str) -> bool:
    return ";" not in text and not _BAD_ESCAPE.search(text)


def _with_query(source: GitSource, query: list[tuple[str, str]]) -> GitSource:
    values = dict(query)
    for name, value in query:
        if sum(other == name for other, _ in query) > 1:
            raise UsageError(f"the git URL has several values for {name!r}")
        if name not in _VALUES + _SWITCHES:
            raise UsageError(
                f"the git URL has the unknown query {name!r}", hint=near(name, _VALUES + _SWITCHES)
            )
        if not value and name in _VALUES:
            raise UsageError(f"the git URL has no value for {name!r}")
    if values.get("mtime", "commit") not in ("commit", "checkout"):
        raise UsageError(f"mtime={values['mtime']} in a git URL must be commit or checkout")
    directory = source.directory
    if "subdir" in values:
        if directory not in ("", values["subdir"]):
            raise _conflict("directories", directory, values["subdir"])
        directory = _inner(values["subdir"])
    return GitSource(
        remote=source.remote,
        ref=_ref(source.ref, values),
        directory=directory,
        checksum=_one_of(values, "checksum", "commit"),
        keep_git_dir=_switch(values, "keep-git-dir"),
        submodules=_switch(values, "submodules"),
        times=values.get("mtime", ""),
        fetch_by_commit=_switch(values, "fetch-by-commit") or False,
        is_ambiguous=source.is_ambiguous,
    )


def _ref(ref: str, values: dict[str, str]) -> str:
    """The one ref that fragment and query speak of."""
    if "tag" in values and "branch" in values:
        raise UsageError("the git URL names both a tag and a branch")
    for name, prefix in (("ref", ""), ("tag", "refs/tags/"), ("branch", "refs/heads/")):
        if name in values:
            wanted = prefix + values[name].removeprefix(prefix)
            if ref not in ("", wanted):
                raise _conflict("refs", ref, wanted)
            ref = wanted
    return ref


def _one_of(values: dict[str, str], first: str, second: str) -> str:
    found = {values[name] for name in (first, second) if name in values}
    if len(found) > 1:
        raise _conflict("commits", values[first], values[second])
    return found.pop() if found else ""


def _switch(values: dict[str, str], name: str) -> bool | None:
    value = values.get(name)
    if value is None:
        return None
    if value not in ("", *_TRUE, *_FALSE):
        raise UsageError(f"{name}={value} in a git URL must be true or false")
    return value not in _FALSE


def _conflict(what: str, first: str, second: str) -> UsageError:
    return UsageError(f"the git URL names two {what}: {first!r} and {second!r}")


def _inner(directory: str) -> str:
    """`directory` as a relative, normal path; raises `UsageError` where it leads out."""
    path = posixpath.normpath(directory.strip("/") or ".")
    if path == ".." or path.startswith("../") or "\0" in path:
        raise UsageError(
            f"the directory {directory!r} of a git URL leads out of the repository",
            hint="write it from the repository's top",
        )
    return "" if path == "." else path


def _is_remote(remote: str) -> bool:
    """Whether it is of a kind that leads to another machine, with nothing to be taken as options.

    git itself hands host and path of ssh URLs to a shell command.
    """
    if _CONTROL.search(remote):
        return False
    match = _SCHEME.fullmatch(remote)
    if match:
        authority = match[2].partition("/")[0]
        host = authority.rpartition("@")[2]
        return (
            match[1] in _SCHEMES
            and bool(host)
            and not authority.startswith("-")
            and (not host.startswith(("-", ":")))
        )
    short = _SHORT.fullmatch(remote)
    if short is None:
        return False
    user, host, path = short.group(1, 2, 3)
    return not (user.startswith("-") or host.startswith("-") or path.startswith(("-", ":"))) and (
        bool(path)
    )


def _is_ref(ref: str) -> bool:
    """git-check-ref-format(1), and no leading dash."""
    return not (
        ref.startswith(("-", "/", "."))
        or ref.endswith(("/", "."))
        or re.search(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)", ref)
        or ref == "@"
    )
