# SPDX-License-Identifier: Apache-2.0
"""The mount plan of a run, as values: what the program sees beside the image's own files.

One plan serves both an OCI runtime and `wherry.sandbox.enter`. The network is the host's, so are
resolv.conf and hosts. In a user namespace /sys cannot be mounted anew and is bound read-only.
"""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from wherry.oci.canonical import Json
from wherry.sandbox.mapping import Mapping
from wherry.sandbox.request import RunError, RunRequest, Volume

HOST_FILES: Final = ("/etc/resolv.conf", "/etc/hosts")
MASKED: Final = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
    "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
    "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
)  # fmt: skip
READ_ONLY: Final = (
    "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
)  # fmt: skip
_SAFE: Final = ("nosuid", "noexec", "nodev")
# statvfs(3) on Linux; other systems, which only get told that they cannot run, lack the names.
_LOCKED: Final = (("nosuid", 2), ("nodev", 4), ("noexec", 8))


class Mount(NamedTuple):
    """One mount, in the words of the OCI runtime specification (config.md, "Mounts")."""

    target: str
    kind: str
    source: str
    options: tuple[str, ...] = ()

    def describe(self) -> str:
        """A line for people."""
        options = f" ({','.join(self.options)})" if self.options else ""
        return f"mount {self.kind} {self.source} on {self.target}{options}"

    def as_json(self) -> dict[str, Json]:
        """The mount as the specification writes it."""
        return {
            "destination": self.target,
            "type": self.kind,
            "source": self.source,
            "options": list(self.options),
        }


def plan_mounts(
    request: RunRequest, mapping: Mapping, *, initial: bool, own_proc: bool
) -> tuple[Mount, ...]:
    """All mounts in order; raises `RunError` for a volume whose source is not there.

    `initial` and `own_proc` are as in `system_mounts`.
    """
    volumes = [_bind_volume(volume) for volume in request.volumes]
    taken = {mount.target for mount in volumes}
    host = [
        bind(path, path, readonly=True)
        for path in HOST_FILES
        if path not in taken and os.path.isfile(path)
    ]
    return (*system_mounts(mapping, initial, own_proc), *host, *volumes)


def bind(source: str, target: str, *, readonly: bool, recursive: bool = False) -> Mount:
    """A bind mount that keeps the flags of its source.

    Inside a user namespace the kernel refuses to drop nosuid, nodev and noexec.
    """
    flags = os.statvfs(source).f_flag
    kept = [name for name, flag in _LOCKED if flags & flag]
    words = ["rbind" if recursive else "bind", "rprivate", *kept, *(["ro"] if readonly else [])]
    return Mount(target, "bind", source, tuple(words))


def system_mounts(mapping: Mapping, initial: bool, own_proc: bool) -> tuple[Mount, ...]:
    """What every run sees of the kernel.

    `initial` says that no user namespace lies around; `own_proc` that /proc can be mounted anew,
    else the outer one is bound.
    """
    proc = Mount("/proc", "proc", "proc", _SAFE)
    if not own_proc:
        proc = Mount("/proc", "bind", "/proc", ("rbind", "rprivate", *_SAFE))
    # Locked mounts below /sys force a recursive bind in a user namespace; real root takes the bare
    # file system, so that no writable cgroup, debug or EFI tree comes along.
    whole = mapping is not Mapping.ROOT or not initial
    tty_group = () if mapping is Mapping.ONE else ("gid=5",)
    return (
        proc,
        Mount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
        Mount(
            "/dev/pts",
            "devpts",
            "devpts",
            ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", *tty_group),
        ),
        Mount("/dev/shm", "tmpfs", "shm", (*_SAFE, "mode=1777", "size=65536k")),  # noqa: S108 - the program's
        Mount("/sys", "bind", "/sys", ("rbind" if whole else "bind", "rprivate", *_SAFE, "ro")),
    )


def _bind_volume(volume: Volume) -> Mount:
    source = volume.source
    if not os.path.exists(source):
        raise RunError(
            f"cannot mount {source} on {volume.target}",
            why="there is no such file or directory here",
            hint=f"create it first: mkdir -p {source}",
        )
    target = os.path.normpath(volume.target)
    return bind(source, target, readonly=volume.readonly, recursive=True)
