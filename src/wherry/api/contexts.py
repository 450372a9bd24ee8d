# SPDX-License-Identifier: Apache-2.0
"""Build contexts: where the files that a Dockerfile copies come from, and the Dockerfile itself.

The main context is a directory, a git tree, a URL or a tar on standard input; named contexts
(`--build-context`) are directories, images, git trees or URLs. `.dockerignore` rules hold for
directories only, as in BuildKit: what comes from elsewhere was chosen by whoever made it. Cache
directories of the build are left out of directories, too (`wherry.api.caches_in_context`).
"""

from __future__ import annotations

import io
import os
import posixpath
import select
import stat
from collections.abc import Collection
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import BinaryIO, Final, NamedTuple

from wherry.api.caches_in_context import cache_directories, paths_below
from wherry.api.fetching import Fetching
from wherry.api.request import DOCKERFILES, BuildRequest, is_remote
from wherry.engines.local.results import Held
from wherry.errors import MachineError, UsageError, near
from wherry.fstree.contents import open_content
from wherry.fstree.directory import DirectoryFiles
from wherry.fstree.files import Files
from wherry.fstree.ignore import IgnoreRules, read_rules
from wherry.fstree.memo import FileMemo, NoMemo
from wherry.fstree.resolve import resolve
from wherry.fstree.tree import File
from wherry.oci.digest import sha256
from wherry.process.cancel import CancelToken
from wherry.store.store import Store

STDIN: Final = "-"
_IGNORE: Final = ".dockerignore"
# BuildKit reads no more of a Dockerfile or ignore file; more is no Dockerfile.
_LARGEST: Final = 16 << 20
_MEMO: Final = "contextfiles/1"
_PIECE: Final = 1 << 20
# Milliseconds after which a wait looks whether the build was stopped.
_GLANCE: Final = 100


class Dockerfile(NamedTuple):
    """A Dockerfile's bytes, what it is called in messages, and the rules that stand beside it.

    `ignore_file` is what the file with the rules is called, where it is not the context's own.
    """

    data: bytes
    name: str
    ignore: tuple[str, ...]
    ignore_file: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """The main context: `name` is what an image without a tag is called after, `held` its files."""

    name: str
    place: str
    held: Held


class Inputs(NamedTuple):
    """What a Dockerfile build begins with."""

    context: Context
    dockerfile: Dockerfile


class ContextReader:
    """Reads the contexts of one build; what it opens is closed with `closing`."""

    def __init__(
        self, request: BuildRequest, store: Store, fetching: Fetching, closing: ExitStack
    ) -> None:
        self._closing = closing
        self._request = request
        self._store = store
        self._fetching = fetching
        self._cancel = fetching.cancel
        self._caches = cache_directories(request)

    def main(self) -> Inputs:
        """The main context and the Dockerfile.

        Raises `UsageError` where there is no Dockerfile or no such context, and what reading and
        fetching raise.
        """
        request = self._request
        if request.source == STDIN:
            return self._from_stdin()
        if is_remote(request.source, request.cwd):
            return self._from_url()
        return self._from_directory()

    def directory(self, place: str, ignore: tuple[str, ...], ignore_file: str) -> Held:
        """A directory's files, less those that the rules of `ignore_file` hide, and less caches."""
        rules = IgnoreRules(ignore)
        caches = paths_below(place, self._caches)
        hidden_by = _Hiding(place, rules, ignore_file, caches, self._cancel)
        if self._request.foreign:
            # Made for this build alone: nothing would ever ask for what is remembered of it.
            files = self._opened(place, rules, NoMemo(), caches)
            return Held(files, lambda _paths: None, hidden_by, files.seen)
        files = self._opened(place, rules, _Memo(self._store, place), caches)
        return Held(files, files.signature, hidden_by, files.seen)

    def named_directory(self, name: str, place: str) -> tuple[Held, tuple[str, ...]]:
        """A named context's files, and the rules of its own `.dockerignore`."""
        if not os.path.isdir(place):
            raise UsageError(f"--build-context {name}={place}: there is no such directory",
                             hint="name a directory, docker-image://REF, oci-layout://DIR "
                             "or a URL")  # fmt: skip
        ignore_file = os.path.join(place, _IGNORE)
        rules = _rules(_ignore_file(ignore_file))
        return self.directory(place, rules, ignore_file), rules

    def _opened(
        self, place: str, rules: IgnoreRules, memo: FileMemo, without: Collection[str] = ()
    ) -> DirectoryFiles:
        files = DirectoryFiles(place, rules, memo, self._cancel, without)
        return self._closing.enter_context(files)

    def _from_directory(self) -> Inputs:
        request = self._request
        place = os.path.normpath(os.path.join(request.cwd, request.source))
        if not os.path.isdir(place):
            what = "is no directory" if os.path.lexists(place) else "is not there"
            raise UsageError(f"the build context {place} {what}",
                             hint="SOURCE is a directory, a git URL, or - for stdin")  # fmt: skip
        dockerfile = self._local_dockerfile(place)
        own = _ignore_file(os.path.join(place, _IGNORE))
        # A file of its own counts even where it hides nothing.
        rules = dockerfile.ignore if dockerfile.ignore_file else _rules(own)
        held = self.directory(place, rules, dockerfile.ignore_file or _IGNORE)
        context = Context(os.path.basename(place) or "image", place, held)
        return Inputs(context, dockerfile._replace(ignore=rules))

    def _local_dockerfile(self, place: str) -> Dockerfile:
        request = self._request
        if request.file == STDIN:
            return Dockerfile(self._stdin_bytes(), "stdin", ())
        if request.file and _is_url(request.file):
            with open(self._fetching.downloaded(request.file), "rb") as stream:
                data = _bounded(stream.read(_LARGEST + 1), "the Dockerfile")
            return Dockerfile(data, "Dockerfile", ())
        path = os.path.join(request.cwd, request.file) if request.file else _found(place)
        text = _read_file(path, may_be_pipe=bool(request.file))
        if text is None:
            raise _no_dockerfile(path, place, request)
        beside = _ignore_file(f"{path}.dockerignore")
        name = os.path.relpath(path, place) if _below(path, place) else path
        ignore_file = "" if beside is None else f"{name}{_IGNORE}"
        return Dockerfile(text, name, _rules(beside), ignore_file)

    def _from_stdin(self) -> Inputs:
        if self._request.file == STDIN:
            raise UsageError("SOURCE and --file are both -",
                             why="stdin holds one of them only",
                             hint="give the directory, or the Dockerfile, by its path")  # fmt: skip
        from wherry.fstree.archive_files import HEAD, is_archive  # noqa: PLC0415 - few builds

        stream = io.BufferedReader(self._stdin(), HEAD)
        head = stream.peek(HEAD)[:HEAD]
        if is_archive(head):
            return self._archived(stream, "stdin")
        data = stream.read(_LARGEST + 1)
        return self._alone(_bounded(data, "stdin"), "stdin")

    def _from_url(self) -> Inputs:
        from wherry.fstree.archive_files import HEAD, is_archive  # noqa: PLC0415 - few builds
        from wherry.vcs.git_url import parse_git_url  # noqa: PLC0415 - as above

        request, fetching = self._request, self._fetching
        source = parse_git_url(request.source)
        if source is not None:
            name = posixpath.basename(source.remote.rstrip("/")).removesuffix(".git")
            return self._inside(fetching.checked_out(source), name)
        with open(fetching.downloaded(request.source), "rb") as stream:
            if is_archive(stream.read(HEAD)):
                stream.seek(0)
                return self._archived(stream, "image")
            stream.seek(0)
            return self._alone(_bounded(stream.read(_LARGEST + 1), "the Dockerfile"), "Dockerfile")

    def _archived(self, stream: BinaryIO, name: str) -> Inputs:
        from wherry.fstree.archive_files import ArchiveFiles  # noqa: PLC0415 - few builds

        limits = self._fetching.limits
        files = ArchiveFiles(stream, self._store.scratch(), limits, self._cancel)
        return self._inside(Held(files, lambda _paths: None), name)

    def _alone(self, data: bytes, name: str) -> Inputs:
        """A Dockerfile without a context."""
        files = self._opened(self._store.scratch(), IgnoreRules(()), NoMemo())
        context = Context("image", "", Held(files, lambda _paths: "empty"))
        return Inputs(context, Dockerfile(data, name, ()))

    def _inside(self, held: Held, name: str) -> Inputs:
        """A context that brings its Dockerfile."""
        wanted = self._request.file
        if wanted == STDIN:
            dockerfile = Dockerfile(self._stdin_bytes(), "stdin", ())
        else:
            names = (wanted,) if wanted else DOCKERFILES
            dockerfile = _first_of(names, held.files)
        context = Context(name, "", held)
        return Inputs(context, dockerfile)

    def _stdin(self) -> _Stoppable:
        if self._request.stdin is None:
            raise UsageError("nothing was given to read from stdin",
                             hint="set BuildRequest.stdin")  # fmt: skip
        return _Stoppable(self._request.stdin, self._cancel)

    def _stdin_bytes(self) -> bytes:
        stream = io.BufferedReader(self._stdin(), _LARGEST + 1)
        return _bounded(stream.read(_LARGEST + 1), "stdin")


class _Memo:
    """What is remembered of a directory's files between builds."""

    def __init__(self, store: Store, place: str) -> None:
        self._store = store
        self._key = sha256(os.fsencode(place)).hex

    def load(self) -> bytes | None:
        return self._store.records.get(_MEMO, self._key)

    def save(self, data: bytes) -> None:
        self._store.records.put(_MEMO, self._key, data, ())


@dataclass(frozen=True, slots=True)
class _Hiding:
    """What hides a path of a directory that is there; see `Held`."""

    place: str
    rules: IgnoreRules
    file: str
    caches: Collection[str]
    cancel: CancelToken

    def __call__(self, path: str) -> tuple[str, str] | None:
        with DirectoryFiles(self.place, IgnoreRules(()), NoMemo(), self.cancel) as everything:
            try:
                there = resolve(everything, path)
            except UsageError:
                return None
            if everything.entry(there) is None:
                return None
        for cache in self.caches:
            if f"{there}/".startswith(f"{cache}/"):
                return f"/{cache} is a cache of this build, which leaves it out", ""
        rule = self.rules.deciding_rule(there)
        return (rule, self.file) if rule else None


class _Stoppable(io.RawIOBase):
    """A stream that belongs to someone else; waiting for it ends with `Cancelled`, too."""

    def __init__(self, stream: BinaryIO, cancel: CancelToken) -> None:
        self._read = getattr(stream, "read1", stream.read)
        self._cancel = cancel
        self._waiting: select.poll | None = None
        # What has no descriptor is in memory, and not waited for.
        with suppress(AttributeError, OSError, ValueError):
            descriptor = stream.fileno()
            self._waiting = select.poll()
            self._waiting.register(descriptor, select.POLLIN)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # narrower than typeshed
        self._cancel.check()
        while self._waiting is not None and not self._waiting.poll(_GLANCE):
            self._cancel.check()
        data = self._read(min(len(buffer), _PIECE))
        buffer[: len(data)] = data
        return len(data)


def _ignore_file(path: str) -> bytes | None:
    """A `.dockerignore`'s bytes; a directory of that name is none."""
    return None if os.path.isdir(path) else _read_file(path, may_be_pipe=False)


def _rules(data: bytes | None) -> tuple[str, ...]:
    return read_rules(data) if data else ()


def _read_file(path: str, *, may_be_pipe: bool) -> bytes | None:
    """A file's bytes, None where there is none; raises `UsageError` for one that cannot be read.

    A pipe is waited for only where the user named it: one that just lies there has no writer.
    """
    flags = 0 if may_be_pipe else os.O_NONBLOCK | os.O_NOCTTY
    try:
        with open(path, "rb", opener=lambda name, more: os.open(name, more | flags)) as file:
            if not may_be_pipe and stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
                raise UsageError(f"{path} is a pipe", hint="write a file in its place")
            # A terminal has nothing at once.
            return _bounded(file.read(_LARGEST + 1) or b"", path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except IsADirectoryError as error:
        raise UsageError(f"{path} is a directory", hint="name a file") from error
    except OSError as error:
        raise MachineError(f"cannot read {path}", why=error.strerror or str(error),
                           hint="check its mode and who owns it") from error  # fmt: skip


def _bounded(data: bytes, name: str) -> bytes:
    if len(data) > _LARGEST:
        raise UsageError(f"{name} is too large for a Dockerfile",
                         why=f"it has more than {_LARGEST >> 20} MiB")  # fmt: skip
    return data


def _found(place: str) -> str:
    paths = [os.path.join(place, name) for name in DOCKERFILES]
    return next((path for path in paths if os.path.isfile(path)), paths[0])


def _no_dockerfile(path: str, place: str, request: BuildRequest) -> UsageError:
    named = request.file
    inside = os.path.join(place, named)
    if named and os.path.isfile(inside):
        near_by = _below(inside, request.cwd)
        shown = os.path.relpath(inside, request.cwd) if near_by else inside
        return UsageError(f"there is no Dockerfile {path}",
                          why="--file is seen from the current directory",
                          hint=f"name it as --file {shown}")  # fmt: skip
    hint = "name it with --file, or write one"
    if named:
        hint = near(os.path.basename(path), _names_in(os.path.dirname(path))) or hint
    return UsageError(f"there is no Dockerfile {path}", hint=hint)


def _names_in(place: str) -> tuple[str, ...]:
    try:
        return tuple(sorted(os.listdir(place)))
    except OSError:
        return ()


def _first_of(names: tuple[str, ...], files: Files) -> Dockerfile:
    for name in names:
        path = resolve(files, name.strip("/"))
        entry = files.entry(path)
        if isinstance(entry, File):
            with open_content(entry.content) as stream:
                return Dockerfile(_bounded(stream.read(_LARGEST + 1), name), name, ())
    raise UsageError(f"the build context has no {names[0]}",
                     hint="name the Dockerfile in it with --file")  # fmt: skip


def _below(path: str, place: str) -> bool:
    return os.path.abspath(path).startswith(f"{place.rstrip('/')}/")


def _is_url(text: str) -> bool:
    return text.startswith(("https://", "http://"))
