# SPDX-License-Identifier: Apache-2.0
"""The mounts of a step: what it sees of the kernel, files of ours, and `RUN --mount`.

One plan serves an OCI runtime and `wherry.sandbox.enter`. Options are BuildKit's; parents come
before what lies below them, and of two mounts on one place the later one wins. Secrets are files
in the step's bundle, which is on a tmpfs of the worker's own.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Final

from wherry.errors import InternalError
from wherry.sandbox import syscalls
from wherry.sandbox.agent import AgentRelay
from wherry.sandbox.hosts_files import host_mounts
from wherry.sandbox.mapping import Mapping
from wherry.sandbox.mounts import Mount, bind, system_mounts
from wherry.sandbox.request import RunError
from wherry.sandbox.rootpath import resolve, told_inside
from wherry.sandbox.step_spec import StepMount, StepSpec, Surroundings
from wherry.sandbox.stubs import Stubs

_PIPES: Final = "/dev/pipes"
_SAFE: Final = ("nosuid", "noexec", "nodev")
_TRIES: Final = 10


def plan_mounts(
    stack: ExitStack, surroundings: Surroundings, spec: StepSpec, root: str, bundle: str
) -> tuple[Mount, ...]:
    """All mounts of the step, in order; what they need lasts as long as `stack`.

    `root` is the step's own, `bundle` its private directory. Raises `RunError`, `OSError`.
    """
    making = _Making(stack, surroundings, root, bundle)
    user = sorted(
        (making.mount(number, mount) for number, mount in enumerate(spec.mounts)),
        key=lambda mount: mount.target,
    )
    return _distinct(
        (
            *_kernel_mounts(surroundings, spec),
            *host_mounts(spec, root, bundle),
            *making.pipes(spec.pipes),
            *user,
        )
    )


def make_mount_points(stubs: Stubs, root: str, mounts: tuple[Mount, ...]) -> None:
    """Make the places of `mounts` that lie in the root itself and not in another mount.

    What the kernel is mounted on stays, as with BuildKit, so the runtime makes that. Raises
    `RunError` where the image has something else there, `OSError`.
    """
    covered: list[str] = []
    for mount in mounts:
        with told_inside(root, f"mount anything at {mount.target}"):
            real = resolve(root, mount.target)
        if not any(real.startswith(place + "/") for place in covered) and not _is_kernel(mount):
            is_directory = mount.kind != "bind" or os.path.isdir(mount.source)
            # Runtimes give a tmpfs the mode of its mount point; BuildKit's, which find none, leave
            # it the kernel's own.
            mode = 0o1777 if mount.kind == "tmpfs" else 0o755
            with told_inside(root, f"mount anything at {mount.target}"):
                stubs.make(mount.target, is_directory=is_directory, mode=mode)
                _check_kind(real, is_directory)
        covered.append(real)


def _check_kind(place: str, is_directory: bool) -> None:
    """As the kernel: only a directory is mounted on a directory."""
    if os.path.isdir(place) != is_directory:
        number = errno.ENOTDIR if is_directory else errno.EISDIR
        raise OSError(number, os.strerror(number), place)


def _is_kernel(mount: Mount) -> bool:
    return mount.target in ("/proc", "/dev", "/sys")


def _kernel_mounts(surroundings: Surroundings, spec: StepSpec) -> Iterable[Mount]:
    initial = surroundings.facts.initial
    is_root = surroundings.mapping is Mapping.ROOT and initial
    for mount in system_mounts(surroundings.mapping, initial, surroundings.own_proc):
        if mount.target == "/dev/shm" and spec.shm_size:  # noqa: S108 - the step's own
            options = ("nosuid", "mode=1777", f"size={spec.shm_size}")
            yield Mount(mount.target, "tmpfs", "shm", options)
            yield Mount("/dev/mqueue", "mqueue", "mqueue", _SAFE)
        elif mount.target == "/dev/shm":  # noqa: S108 - the step's own
            yield mount
            yield Mount("/dev/mqueue", "mqueue", "mqueue", _SAFE)
        elif mount.target == "/sys" and is_root and (spec.insecure or spec.network == "none"):
            # A bound /sys shows the devices of the network namespace that it was mounted in.
            yield Mount("/sys", "sysfs", "sysfs", (*_SAFE, *(() if spec.insecure else ("ro",))))
        else:
            yield mount


def _distinct(mounts: Iterable[Mount]) -> tuple[Mount, ...]:
    # A dict keeps the place of the first and the value of the last.
    return tuple({mount.target: mount for mount in mounts}.values())


class _Making:
    """Makes what is mounted: trees, files of secrets, relays of agents."""

    def __init__(
        self, stack: ExitStack, surroundings: Surroundings, root: str, bundle: str
    ) -> None:
        self._stack = stack
        self._surroundings = surroundings
        self._root = root
        self._bundle = bundle

    def pipes(self, files: tuple[tuple[str, str], ...]) -> list[Mount]:
        """Heredocs that are run as programs."""
        mounts = []
        for number, (name, text) in enumerate(files):
            path = self._path("pipe", number)
            with open(path, "x", encoding="utf-8", newline="") as file:
                file.write(text)
                os.fchmod(file.fileno(), 0o755)
            mounts.append(Mount(f"{_PIPES}/{name}", "bind", path, ("bind", "rprivate", "ro")))
        return mounts

    def mount(self, number: int, mount: StepMount) -> Mount:
        """The mount, whose `number` tells it from the others."""
        target = "/" + os.path.normpath(mount.target).strip("/")
        match mount.kind:
            case "tmpfs":
                return _tmpfs(mount, target, self._root)
            case "secret":
                return self._secret(number, mount, target)
            case "ssh":
                return self._agent(number, mount, target)
            case "bind" | "cache":
                return self._tree(number, mount, target)
            case _:
                raise InternalError(f"no kind of mount: {mount.kind}")

    def _tree(self, number: int, mount: StepMount, target: str) -> Mount:
        """A cache mount, files of the build context, or a root of another stage or image."""
        source = mount.directory
        if not source:
            trees = self._surroundings.trees
            tree = trees.tree(mount.lowers, writable=not mount.read_only)
            source = self._stack.enter_context(tree)
        if mount.selector.strip("/"):
            source = self._selected(number, source, mount.selector)
        found = bind(source, target, readonly=mount.read_only, recursive=True)
        return found._replace(options=(*dict.fromkeys((*found.options, "nodev")),))

    def _selected(self, number: int, top: str, selector: str) -> str:
        """`selector` inside of `top`, mounted at a place of its own.

        Another step may write to the same cache mount and put a link in the way at any moment: what
        is mounted is what was opened, and what was opened lies inside.
        """
        descriptor = _open_inside(top, selector)
        try:
            place = self._path("selected", number)
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                os.mkdir(place, 0o755)
            else:
                os.close(os.open(place, os.O_CREAT | os.O_EXCL, 0o600))
            flags = syscalls.MS_BIND | syscalls.MS_REC
            syscalls.mount(f"/proc/self/fd/{descriptor}", place, flags=flags)
        finally:
            os.close(descriptor)
        self._stack.callback(syscalls.unmount, place)
        return place

    def _secret(self, number: int, mount: StepMount, target: str) -> Mount:
        path = self._path("secret", number)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(mount.data)
        _give(path, mount)
        is_program = mount.mode & 0o111
        options = ("bind", "rprivate", "nodev", "nosuid", *(() if is_program else ("noexec",)))
        return Mount(target, "bind", path, (*options, "ro"))

    def _agent(self, number: int, mount: StepMount, target: str) -> Mount:
        path = self._path("agent", number)
        self._stack.enter_context(AgentRelay(path, mount.socket))
        _give(path, mount)
        return Mount(target, "bind", path, ("bind", "rprivate"))

    def _path(self, kind: str, number: int) -> str:
        return os.path.join(self._bundle, f"{kind}-{number}")


def _tmpfs(mount: StepMount, target: str, root: str) -> Mount:
    """As runtimes do: with the mode of the directory in its place, or the kernel's own."""
    try:
        mode = stat.S_IMODE(os.stat(resolve(root, target)).st_mode)
    except OSError:
        mode = 0o1777
    options = ["nosuid", f"mode={mode:o}"]
    if mount.read_only:
        options.append("ro")
    if mount.size:
        options.append(f"size={mount.size}")
    return Mount(target, "tmpfs", "tmpfs", tuple(options))


def _give(path: str, mount: StepMount) -> None:
    """Set owner and mode. Raises `RunError` for an owner that does not exist here."""
    try:
        os.chown(path, mount.uid, mount.gid)
    except OSError as error:
        raise RunError(
            f"cannot give {mount.target} to {mount.uid}:{mount.gid}",
            why=f"{error.strerror}: only mapped ids can own files",
            hint="`wherry doctor` tells how to get subordinate id ranges",
        ) from error
    # Afterwards: a change of owner takes set-id bits away.
    os.chmod(path, mount.mode & 0o777)


def _open_inside(top: str, selector: str) -> int:
    """Open `selector` of the tree `top` as a mere place; the caller closes it."""
    base = os.path.realpath(top)
    for _ in range(_TRIES):
        with told_inside(base, f"mount {selector}"):
            path = resolve(base, selector)
        try:
            with told_inside(base, f"mount {selector}", errno.ELOOP, errno.ENAMETOOLONG):
                descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise RunError(f'"{selector}": not found', why="there is nothing to mount") from error
        if os.readlink(f"/proc/self/fd/{descriptor}") == path:
            return descriptor
        os.close(descriptor)
    raise RunError(f"cannot mount {selector}", why="links in its path change all the time")
