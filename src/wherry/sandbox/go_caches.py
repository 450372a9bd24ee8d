# SPDX-License-Identifier: Apache-2.0
"""The Go caches of a RUN step: kept beside its root, shown to it below everything else.

A cache is the lowest layer of the step's overlay and no mount: it can be removed, renamed, copied
and given to somebody else like any other directory of the root, and whatever the step does to it
stays in the step's own change. Only what Go has added, and what can be proven to be what it says,
is taken out of the change and into the cache (`wherry.sandbox.go_harvest`); the rest stays, so that
the next step of the root finds exactly what this one left.

The rules that only the files of the root can tell are here; for the others see
`wherry.frontends.dockerfile.go_caches`. A step has a cache only (4) where the image and the steps
that had none left nothing in its place, and nothing has removed that, which would hide the cache,
(5) where its user's home and Go's own settings file leave it in that place, and a build cache only
(7) where every Go of its root has the headers that the cache knows (`wherry.sandbox.go_trees`).
What another user has left there it sees, and leaves nothing.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from wherry.sandbox.go_copies import only_builds
from wherry.sandbox.go_harvest import has_loose_modules
from wherry.sandbox.go_indexes import forget_lines, stale_indexes
from wherry.sandbox.go_modules import (
    has_files,
    has_tree,
    hide,
    hide_files,
    lend,
    read_start,
    vouched,
)
from wherry.sandbox.go_shadows import Shadows, reached
from wherry.sandbox.go_trees import is_tree_of_go, made_trees, why_no_build_cache
from wherry.sandbox.rootpath import read_bytes, resolve
from wherry.sandbox.spec import DEFAULT_PATH
from wherry.sandbox.step_program import step_user
from wherry.sandbox.step_spec import StepGoCache, StepSpec
from wherry.sandbox.users import User

# What `go env -w` can write that moves a cache, or fills it with what is not for others.
_MOVED: Final = re.compile(
    rb"^(GOCACHE|GOMODCACHE|GOPATH|GOCACHEPROG)=|toolexec|modcacherw|pgoprofile|asmflags",
    re.MULTILINE,
)
_LARGEST_FILE: Final = 1 << 20
# As in GOROOT=/opt/go, PATH=/opt/go/bin:$PATH and /opt/go/bin/go.
_PATHS: Final = re.compile(r"(?<![\w$}])/[\w.+@/-]+")
_TRIMMED: Final = "trim.txt"
# As Go does with its own.
_DAY_SECONDS: Final = 24 * 3600
_UNUSED_DAYS: Final = 5
# An output comes shortly before the action that names it.
_YOUNG_SECONDS: Final = 3600


class Chosen(NamedTuple):
    """The caches that a step sees, and why it does not see the others.

    `goroots` are where the root has Go's own trees, `masks` what hides things in the caches. With
    `is_plain` the step runs Go's own commands and the plainest others.
    """

    caches: tuple[StepGoCache, ...]
    refused: str
    goroots: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    is_plain: bool = False

    @property
    def lowers(self) -> tuple[str, ...]:
        """Their directories, as the lowest of a root's."""
        return (*(cache.lower for cache in self.caches), *self.masks)

    @property
    def seen(self) -> tuple[str, ...]:
        """The modules that the step may have found or left, as lines of go.sum; asked afterwards.

        Of a line there may be files in the cache; else nobody has seen any. Raises `OSError`.
        """
        return tuple(
            line
            for cache in self.caches
            for line in cache.seen
            if has_files(f"{cache.lower}/fs{cache.path}", line)
        )

    @property
    def kept(self) -> tuple[str, ...]:
        """The modules whose trees the cache has as a go.sum vouches for them, as its lines.

        What the step saw of any other may have been its own. Raises `OSError`.
        """
        return tuple(
            line
            for cache in self.caches
            if cache.kind == "modules"
            for line in cache.seen
            if has_tree(f"{cache.lower}/fs{cache.path}", line)
        )

    @property
    def filled(self) -> tuple[StepGoCache, ...]:
        """Those into which the step's work goes."""
        return tuple(cache for cache in self.caches if cache.shown)


def choose(spec: StepSpec, root: str, scratch: str) -> Chosen:
    """Which caches the step sees; `root` is its root without them.

    What hides modules from it is made in `scratch`, a new directory. Raises `OSError`, `RunError`.
    """
    if not spec.go_caches:
        return Chosen((), "")
    user = step_user(root, spec.user)
    env = dict(item.partition("=")[::2] for item in spec.env)
    home = env.get("HOME") or user.home
    goroots = _goroots(spec, env, root)
    chosen: list[StepGoCache] = []
    refused: list[str] = []
    masks: list[str] = []
    for cache in spec.go_caches:
        if not _is_place(cache):
            # As nobody who asks for a cache says it: a damaged or hostile record of a step does.
            refused.append(f"{cache.path} is no place of a Go cache")
            continue
        other = _why_other(cache, spec, goroots, root) if cache.kind == "build" else ""
        if other:
            # Not that of earlier steps either: it only saves time.
            refused.append(other)
            continue
        why = _why_not(cache, home, env, root) or _why_hidden(cache, user)
        if why:
            refused.append(why)
        if not why or cache.left:
            cache = cache._replace(shown=cache.shown and not why)  # noqa: PLW2901 - the same one
            if cache.shown:
                _begin(cache, user)
            if cache.kind == "modules":
                visible = vouched(root, spec.cwd) | frozenset(cache.seen)
                cache = cache._replace(seen=tuple(sorted(visible)))  # noqa: PLW2901 - as above
                mask = f"{scratch}/{len(masks)}"
                os.makedirs(f"{mask}/fs")
                if user.uid != 0:
                    lend(cache.lower, mask, cache.path, (user.uid, user.gid))
                hide(cache.lower, mask, cache.path, visible)
                masks.append(mask)
            chosen.append(cache)
    is_plain = only_builds(spec) and _is_go(env, root)
    masks += _hidden_indexes(is_plain, chosen, f"{scratch}/{len(masks)}")
    told = ", ".join(dict.fromkeys(refused))
    return Chosen(tuple(chosen), told, goroots, tuple(masks), is_plain)


def _is_go(env: dict[str, str], root: str) -> bool:
    """Whether the `go` that a shell would find is a program of Go's tree, and no script."""
    if not all(directory.startswith("/") for directory in _search_path(env)):
        # Then it also looks where the command runs.
        return False
    real = next(_programs(env, root), "")
    return real != "" and is_tree_of_go(root, _goroot(real, root)) and _is_binary(real)


def _is_binary(path: str) -> bool:
    return read_start(path, 4) == b"\x7fELF"


def _search_path(env: dict[str, str]) -> list[str]:
    return (env.get("PATH") or DEFAULT_PATH).split(":")


def _programs(env: dict[str, str], root: str) -> Iterator[str]:
    """The programs `go` in the directories of PATH, in their order, links followed in the root."""
    for directory in _search_path(env):
        if directory.startswith("/"):
            with suppress(OSError):
                real = resolve(root, f"{directory}/go")
                if os.path.isfile(real):
                    yield real


def _goroot(program: str, root: str) -> str:
    """The directory that a program `go` is two below, as a path in the root."""
    return os.path.dirname(os.path.dirname(program)).removeprefix(root)


def _hidden_indexes(is_plain: bool, chosen: list[StepGoCache], mask: str) -> list[str]:
    """A layer that hides those of Go's indexes that may not fit the modules of the root.

    All of them from a step that may change a module before Go looks at it: without an index of
    another build Go would make its own then.
    """
    lines: frozenset[str] = frozenset()
    for cache in chosen if is_plain else ():
        tops = (f"{snapshot}/fs" for snapshot in cache.snapshots)
        if cache.kind == "modules" and not has_loose_modules(cache, tops):
            lines = frozenset(cache.seen)
    for cache in chosen:
        names = stale_indexes(cache, lines) if cache.kind == "build" else []
        if names:
            os.makedirs(f"{mask}/fs")
            hide_files(cache.lower, mask, cache.path, names)
            return [mask]
    return []


def _is_place(cache: StepGoCache) -> bool:
    """Whether the cache's directory certainly lies in the directory that keeps it."""
    path = cache.path
    is_path = path.startswith("/") and path.strip("/") != "" and os.path.normpath(path) == path
    return cache.kind in ("build", "modules") and is_path and "\0" not in path


def _why_not(cache: StepGoCache, home: str, env: dict[str, str], root: str) -> str:
    if cache.home and os.path.normpath(home) != cache.home:
        return f"the user's home is {home}"
    for stranger in cache.strangers:
        if _holds(f"{stranger}/fs", cache.path):
            left = "an earlier step has left" if stranger in cache.changes else "the image has"
            return f"{left} files in {cache.path}"
    settings = env.get("GOENV", "")
    if settings != "off":
        config = env.get("XDG_CONFIG_HOME") or f"{home}/.config"
        path = settings or f"{config}/go/env"
        with suppress(OSError):
            if _MOVED.search(read_bytes(root, path, _LARGEST_FILE)):
                return f"{path} changes Go's settings"
    return ""


def _why_hidden(cache: StepGoCache, user: User) -> str:
    """Why what a step leaves in the cache may be of no use to the next step of its root."""
    if Shadows((f"{lower}/fs" for lower in cache.snapshots), cache.path).hide_all:
        return f"{cache.path} was removed or replaced before"
    try:
        status = os.lstat(f"{cache.lower}/fs{cache.path}")
    except FileNotFoundError:
        return ""
    # Users of one name have different ids in different images.
    if cache.shown and (status.st_uid, status.st_gid) != (user.uid, user.gid):
        return f"the cache of {cache.path} belongs to {status.st_uid}:{status.st_gid}"
    return ""


def _holds(top: str, path: str) -> bool:
    """Whether a snapshot has anything in a directory, or leads elsewhere on the way to it."""
    found = reached(top, path)
    if found is None:
        return False
    here, mode = found
    if not stat.S_ISDIR(mode):
        # What was removed is absent; a link or a file is something of the image's.
        return not stat.S_ISCHR(mode)
    return bool(os.listdir(here))


def _why_other(cache: StepGoCache, spec: StepSpec, goroots: tuple[str, ...], root: str) -> str:
    """Why the compiled packages in a build cache may not be of the Go that the step runs."""
    trees = [path for path in goroots if is_tree_of_go(root, path)]
    made = made_trees(f"{change}/fs" for change in cache.changes)
    # What a later step has removed is nobody's.
    trees += [path for path in made if os.path.lexists(f"{root}{path}")]
    return why_no_build_cache(cache, root, dict.fromkeys(trees), spec.mounts)


def _goroots(spec: StepSpec, env: dict[str, str], root: str) -> tuple[str, ...]:
    """Where Go's own tree is in the root, also where only the command's text names it."""
    found = []
    if env.get("GOROOT", "").startswith("/"):
        with suppress(OSError):
            found.append(resolve(root, env["GOROOT"]).removeprefix(root))
    found += [_goroot(program, root) for program in _programs(env, root)]
    texts = (*spec.args, *(text for _, text in spec.pipes))
    named = {path for text in texts for path in _PATHS.findall(text)}
    above = {os.path.dirname(path) for path in named}
    for path in sorted(named | above | {os.path.dirname(path) for path in above}):
        with suppress(OSError):
            real = resolve(root, path).removeprefix(root)
            if is_tree_of_go(root, real) and os.path.lexists(f"{root}{real}/bin/go"):
                found.append(real)
    return tuple(dict.fromkeys(os.path.normpath(path) for path in found if path.strip("/")))


def _begin(cache: StepGoCache, user: User) -> None:
    """Make the directories of a cache, and have Go leave them alone for a day."""
    owner = (user.uid, user.gid)
    here = f"{cache.lower}/fs"
    for part in cache.path.strip("/").split("/"):
        here = f"{here}/{part}"
        _make(here, owner)
    if cache.kind != "build":
        return
    for number in range(256):
        _make(f"{here}/{number:02x}", owner)
    # Go would remove what it has not used for days by times that mean something else here.
    if _is_due(f"{here}/{_TRIMMED}"):
        _trim(here)
        forget_lines(cache)
    staged = f"{here}/{_TRIMMED}.{os.getpid()}-{time.monotonic_ns()}"
    with open(staged, "x", encoding="ascii") as file:
        file.write(str(int(time.time())))
    _give(staged, owner)
    os.replace(staged, f"{here}/{_TRIMMED}")


def _is_due(path: str) -> bool:
    try:
        return os.lstat(path).st_mtime < time.time() - _DAY_SECONDS
    except FileNotFoundError:
        return False


def _trim(top: str) -> None:
    """Remove actions that no step has used for days, and outputs that none of the others names.

    Others may trim the cache and add to it meanwhile.
    """
    began = time.time()
    oldest = began - _UNUSED_DAYS * _DAY_SECONDS
    named = set()
    for number in range(256):
        with os.scandir(f"{top}/{number:02x}") as entries:
            for entry in entries:
                if entry.name.endswith("-a"):
                    with suppress(FileNotFoundError):
                        named.add(_named(entry, oldest))
    for number in range(256):
        with os.scandir(f"{top}/{number:02x}") as entries:
            for entry in entries:
                if entry.name.endswith("-d") and entry.name[:-2] not in named:
                    with suppress(FileNotFoundError):
                        # When it came; its other times say nothing of that.
                        if entry.stat(follow_symlinks=False).st_ctime < began - _YOUNG_SECONDS:
                            os.unlink(entry.path)


def _named(action: os.DirEntry[str], oldest: float) -> str:
    """The output that an action names; empty for one that was too old, which is removed."""
    if action.stat(follow_symlinks=False).st_mtime < oldest:
        os.unlink(action.path)
        return ""
    with open(action.path, "rb", buffering=0) as file:
        return file.read(132)[68:].decode("ascii", "replace")


def _make(path: str, owner: tuple[int, int]) -> None:
    try:
        os.mkdir(path)
    except FileExistsError:
        return
    os.chmod(path, 0o755)  # noqa: S103 - as Go makes them
    _give(path, owner)


def _give(path: str, owner: tuple[int, int]) -> None:
    # Where there is but one id, everything is its own.
    with suppress(OSError):
        os.chown(path, *owner, follow_symlinks=False)
