# SPDX-License-Identifier: Apache-2.0
"""kaniko's build contexts, brought into a directory, and the Dockerfile for them.

`dir://` and a bare path are directories as they are; tars (`tar://`, `https://`) are unpacked and
repositories (`git://`) checked out into a temporary directory first, so that `.dockerignore`,
--context-sub-path and a Dockerfile from here mean what they mean for kaniko.
"""

from __future__ import annotations

import base64
import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import BinaryIO, Final, NamedTuple

from wherry.api.registries import RegistryAround
from wherry.cli.kaniko_place import temporary_directory
from wherry.cli.kaniko_words import Given, read_switch
from wherry.errors import UsageError, near
from wherry.events import Level, Message
from wherry.vcs.git_url import GitSource, check_source, is_commit
from wherry.vcs.remote import public_url

_DEFAULT: Final = "/workspace"
_SCHEMES: Final = ("dir", "tar", "git", "https")
_CLOUDS: Final = ("gs", "s3")
_GIT: Final = ("git", "git+https", "git+http")
_GIT_KEYS: Final = ("branch", "single-branch", "depth", "recurse-submodules", "insecure-skip-tls")
_COMMIT: Final = re.compile(r"[0-9a-fA-F]{40}|[0-9a-fA-F]{64}")
_URL: Final = re.compile(r"https?://")


class GitContext(NamedTuple):
    """A commit of a repository; `authorization` is a header's value, a secret or empty."""

    source: GitSource
    authorization: str = ""

    def __repr__(self) -> str:
        """Without the secret."""
        return f"GitContext({self.source!r})"


class KanikoContext(NamedTuple):
    """A context that is not there yet.

    One of `directory`, `tar` (a path, or `-` for stdin), `url` and `git` is set; paths are
    absolute. `below` is the directory in it that is built. `dockerfile` is as it was written,
    `cwd` where it is looked for first.
    """

    dockerfile: str
    cwd: str
    directory: str = ""
    tar: str = ""
    url: str = ""
    git: GitContext | None = None
    below: str = ""


class Placed(NamedTuple):
    """A context that is there: its directory, and the Dockerfile's path or URL.

    `is_foreign`: the directory is a temporary one, with what came from elsewhere.
    """

    directory: str
    dockerfile: str
    is_foreign: bool


def read_context(given: Given, env: Mapping[str, str], cwd: str) -> KanikoContext:
    """What --context and its kind say; raises `UsageError`. Nothing is fetched or opened."""
    text = given.text("context", _DEFAULT)
    scheme, mark, rest = text.partition("://")
    found = KanikoContext(given.text("dockerfile", "Dockerfile"), cwd,
                          below=given.text("context-sub-path"))  # fmt: skip
    if not text or not found.dockerfile:
        name = "dockerfile" if text else "context"
        raise UsageError(f"--{name} is empty", hint="is a variable of the script not set?")
    if not mark:
        if found.below:
            raise UsageError("--context-sub-path does not count for a context without a scheme",
                             why="kaniko passes over it there",
                             hint="write --context dir://DIR, or leave it out")  # fmt: skip
        return found._replace(directory=os.path.normpath(os.path.join(cwd, text)))
    if scheme in _GIT:
        return found._replace(git=_read_git(given, env, scheme, rest))
    if not rest:
        raise UsageError(f"--context {scheme}:// names nothing",
                         hint=f"write --context {scheme}://PLACE")  # fmt: skip
    match scheme:
        case "dir":
            return found._replace(directory=os.path.normpath(os.path.join(cwd, rest)))
        case "tar":
            return found._replace(tar="-" if rest == "stdin" else os.path.join(cwd, rest))
        case "https" if not _is_azure(rest, env):
            return found._replace(url=text)
    raise _no_scheme(scheme)


def _is_azure(rest: str, env: Mapping[str, str]) -> bool:
    """Whether only Azure's own client could fetch it; a signed URL is as good as any other."""
    host = rest.partition("/")[0]
    return ".blob." in host and bool(env.get("AZURE_STORAGE_ACCESS_KEY")) and "?" not in rest


def _no_scheme(scheme: str) -> UsageError:
    if scheme in (*_CLOUDS, "https"):
        return UsageError("the context lies in a cloud's storage",
                          why="wherry does not speak to clouds' storage",
                          hint="download the tar first: --context tar://FILE")  # fmt: skip
    known = ", ".join(f"{name}://" for name in _SCHEMES)
    # What stands before :// may be anything, a password, too.
    shown = f" {scheme}://" if re.fullmatch(r"[a-z0-9+.-]{1,12}", scheme) else ""
    return UsageError(f"no context is written so:{shown}" if shown else "no context is written so",
                      hint=near(scheme, _SCHEMES) or f"a directory, or one of {known}")  # fmt: skip


# --- repositories -------------------------------------------------------------------------------


def _read_git(given: Given, env: Mapping[str, str], scheme: str, rest: str) -> GitContext:
    """`HOST/PATH[#REF[#COMMIT]]`; a REF that is a commit counts as one."""
    options = _git_options(given)
    place, *refs = rest.split("#")
    ref, commit = (*refs, "", "")[:2]
    if not commit and _COMMIT.fullmatch(ref):
        commit = ref
    if commit and not is_commit(commit.lower()):
        raise UsageError("not a whole commit id behind the second # of the git context",
                         hint="write all of its 40 digits")  # fmt: skip
    method = scheme.removeprefix("git+")
    if scheme == "git":
        asked = env.get("GIT_PULL_METHOD", "")
        method = asked if asked in ("https", "http") else "https"
    source = GitSource(
        f"{method}://{place}",
        commit.lower() or options.get("branch") or ref,
        keep_git_dir=True,
        submodules=_git_switch(options, "recurse-submodules"),
    )
    if not place.strip("/"):
        raise UsageError("--context git:// names no repository",
                         hint="write --context git://HOST/PATH.git#refs/heads/main")  # fmt: skip
    check_source(source)
    return GitContext(source, _authorization(env))


def _git_options(given: Given) -> dict[str, str]:
    options: dict[str, str] = {}
    for text in given.texts("git"):
        key, equals, value = text.partition("=")
        if not equals or key not in _GIT_KEYS:
            hint = near(key, _GIT_KEYS) or f"known are: {', '.join(_GIT_KEYS)}"
            raise UsageError("--git is not KEY=VALUE of a key that it has", hint=hint)
        options[key] = value
    for key in ("single-branch", "recurse-submodules"):
        _git_switch(options, key)
    if not re.fullmatch(r"[+-]?[0-9]{1,9}", options.get("depth", "0")):
        raise UsageError("--git depth= is no number", hint="leave it out")
    if _git_switch(options, "insecure-skip-tls"):
        raise UsageError("--git insecure-skip-tls cannot be done",
                         why="certificates are always verified",
                         hint="trust the server's own: set SSL_CERT_FILE")  # fmt: skip
    return options


def _git_switch(options: Mapping[str, str], key: str) -> bool:
    return key in options and read_switch(f"--git {key}", options[key])


def _authorization(env: Mapping[str, str]) -> str:
    """The header for GIT_TOKEN, or GIT_USERNAME and GIT_PASSWORD, as kaniko sends them."""
    user, password = env.get("GIT_USERNAME", ""), env.get("GIT_PASSWORD", "")
    if env.get("GIT_TOKEN"):
        user, password = env["GIT_TOKEN"], ""
    if not user and not password:
        return ""
    pair = f"{user}:{password}".encode("utf-8", "surrogateescape")
    return f"Basic {base64.b64encode(pair).decode()}"


# --- bringing them here -------------------------------------------------------------------------


@contextmanager
def placed(
    context: KanikoContext, stdin: BinaryIO | None, around: RegistryAround
) -> Iterator[Placed]:
    """The context as a directory, for the time of the block; see `wherry.api.unpacked_context`.

    Raises what fetching and unpacking raise, `UsageError` for a context that is not there.
    """
    if context.directory:
        directory = os.path.join(context.directory, context.below.lstrip("/"))
        yield Placed(os.path.normpath(directory), _dockerfile(context, directory), False)
        return
    from wherry.api.unpacked_context import inside  # noqa: PLC0415 - archives and git only

    with temporary_directory() as place:
        scratch = os.path.join(place, "scratch")
        os.mkdir(scratch, 0o700)
        # What an image without a name is called after.
        root = os.path.join(place, "context", _name(context))
        os.mkdir(os.path.dirname(root), 0o700)
        _fetch(context, root, scratch, stdin, around)
        directory = inside(root, context.below)
        if not os.path.isdir(directory):
            raise UsageError(f"the build context has no directory {context.below}",
                             hint="check --context-sub-path")  # fmt: skip
        if not _is_here(context):
            # A link in it must not lead to a file of this machine.
            inside(root, os.path.join(context.below, context.dockerfile.lstrip("/")))
        yield Placed(directory, _dockerfile(context, directory), True)


def _fetch(
    context: KanikoContext, root: str, scratch: str, stdin: BinaryIO | None, around: RegistryAround
) -> None:
    """Bring it into `root`, which is not there yet."""
    from wherry.api.unpacked_context import (  # noqa: PLC0415 - archives and git only
        check_out,
        unpack_tar,
        unpack_url,
    )

    if context.git is not None:
        source = context.git.source
        commit = check_out(source, root, scratch, around, context.git.authorization)
        around.sink(Message(Level.INFO, f"the build context is {source.shown} at {commit}"))
        return
    os.mkdir(root, 0o700)
    if context.url:
        unpack_url(context.url, root, scratch, around)
    elif context.tar == "-":
        if stdin is None or stdin.isatty():
            raise UsageError("nothing comes from stdin",
                             hint="pipe a tar into it: tar -czf - . | wherry kaniko ...; in "
                                  "containers with -i")  # fmt: skip
        unpack_tar(stdin, root, scratch, around.cancel)
    else:
        with _opened(context.tar) as stream:
            unpack_tar(stream, root, scratch, around.cancel)


def _opened(path: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise UsageError(f"the build context {path} cannot be read",
                         why=error.strerror or str(error),
                         hint="name the tar: --context tar://FILE") from error  # fmt: skip


def _name(context: KanikoContext) -> str:
    """The repository's name where it is one for images, else `image`."""
    if context.git is None:
        return "image"
    url = public_url(context.git.source.remote)
    name = posixpath.basename(url.rstrip("/")).removesuffix(".git").lower()
    return name if re.fullmatch(r"[a-z0-9]+(?:[._-][a-z0-9]+)*", name) else "image"


def _dockerfile(context: KanikoContext, directory: str) -> str:
    """kaniko looks here first, then in the context."""
    if _is_here(context):
        name = context.dockerfile
        return name if _URL.match(name) else os.path.join(context.cwd, name)
    return os.path.join(directory, context.dockerfile.lstrip("/"))


def _is_here(context: KanikoContext) -> bool:
    """Whether the Dockerfile is a URL, or a file of this directory."""
    name = context.dockerfile
    return bool(_URL.match(name)) or os.path.lexists(os.path.join(context.cwd, name))
