# SPDX-License-Identifier: Apache-2.0
"""Which platforms' programs run on this machine: its own, 32-bit relatives, emulated ones.

Linux hands a program of another architecture to the emulator that binfmt_misc names for its first
bytes (the kernel's admin-guide/binfmt-misc.rst). In an image's root that works only with the flag
F: the emulator was opened when it was registered, and need not exist in that root. Where
binfmt_misc cannot be read, as in containers, a program that does nothing is started instead.
"""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from wherry.oci.platform import Platform, host_platform
from wherry.sandbox.foreign_programs import PROGRAMS, least_program

_ENTRIES: Final = "proc/sys/fs/binfmt_misc"
REGISTER: Final = (
    "as root, apt-get install qemu-user-static; or on a container's host, "
    "docker run --privileged --rm tonistiigi/binfmt --install all"
)
_START_SECONDS: Final = 20.0
# Debian's name of the emulator where it is not the architecture's.
_EMULATORS: Final = {
    "386": "i386", "amd64": "x86_64", "arm64": "aarch64", "loong64": "loongarch64",
    "mipsle": "mipsel", "mips64le": "mips64el",
}  # fmt: skip
_RELATIVES: Final = {"amd64": "386", "arm64": "arm", "mips64": "mips", "mips64le": "mipsle"}
# The x86-64 psABI's levels, by the names of /proc/cpuinfo.
_LEVELS: Final = {
    "v2": frozenset({"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"}),
    "v3": frozenset({"abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"}),
    "v4": frozenset({"avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"}),
}


class Entry(NamedTuple):
    """One entry of binfmt_misc that goes by magic bytes; `fixed` is its flag F."""

    name: str
    enabled: bool
    interpreter: str
    fixed: bool
    offset: int
    magic: bytes
    mask: bytes

    def matches(self, head: bytes) -> bool:
        """Whether a program that begins with `head` is this entry's."""
        part = head[self.offset : self.offset + len(self.magic)]
        return len(part) == len(self.magic) and all(
            have & mask == want & mask
            for have, want, mask in zip(part, self.magic, self.mask, strict=True)
        )


class Way(NamedTuple):
    """How a platform's programs run here; `problem` with its remedy tells why they do not."""

    platform: Platform
    by: str = ""
    problem: str = ""
    remedy: str = ""


Start = Callable[[bytes], bool]


def runnable(platform: Platform, root: Path = Path("/")) -> str:
    """Empty where the platform's programs run here, else why not and what would change it."""
    way = way_to_run(platform, root)
    return f"{way.problem}; {way.remedy}" if way.problem else ""


def platforms(root: Path = Path("/")) -> tuple[Way, ...]:
    """How each platform that runs here does; this machine's own is the first."""
    host = host_platform()
    others = (Platform("linux", name) for name in sorted(PROGRAMS) if name != host.architecture)
    ways = (way_to_run(platform, root) for platform in (host, *others))
    return tuple(way for way in ways if not way.problem)


def way_to_run(platform: Platform, root: Path = Path("/"), start: Start | None = None) -> Way:
    """How the platform's programs run on this machine.

    `root` is another tree and `start` another way to try a program only in tests.
    """
    host = host_platform()
    if platform.os != host.os:
        return Way(platform, problem=f"{platform} is no Linux", remedy="name a linux platform")
    if platform.architecture == host.architecture:
        return _native(platform, host, root)
    program = least_program(platform.architecture)
    entry = find_entry(program, root)
    if entry is not None and entry.enabled:
        return _emulated(platform, entry)
    start = start or starts
    if start(program):
        related = _RELATIVES.get(host.architecture) == platform.architecture
        return Way(platform, by=f"the {host.architecture} processor" if related else "an emulator")
    if entry is not None:
        return _emulated(platform, entry)
    remedy = f"register an emulator: {_install(platform.architecture)}"
    return Way(platform, problem=f"this machine cannot run {platform} programs", remedy=remedy)


def find_entry(program: bytes, root: Path = Path("/")) -> Entry | None:
    """The entry for a program, an enabled one before others; None where none can be read."""
    found = [entry for entry in read_entries(root) if entry.matches(program)]
    return min(found, key=lambda entry: not entry.enabled, default=None)


def read_entries(root: Path = Path("/")) -> tuple[Entry, ...]:
    """The machine's entries by name; none where binfmt_misc is not mounted or not readable."""
    directory = root / _ENTRIES
    try:
        names = sorted(os.listdir(directory))
        all_enabled = (directory / "status").read_text() != "disabled\n"
    except OSError:
        return ()
    entries = []
    for name in names:
        if name not in ("register", "status"):
            entry = _read_entry(directory / name)
            if entry is not None:
                entries.append(entry._replace(enabled=entry.enabled and all_enabled))
    return tuple(entries)


def starts(program: bytes) -> bool:
    """Whether the kernel runs a program that exits with 0 at once."""
    descriptor = os.memfd_create("program", 0)
    try:
        os.write(descriptor, program)
        path = f"/proc/self/fd/{descriptor}"
        done = subprocess.run(
            (path,),
            pass_fds=(descriptor,),
            env={},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_START_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    finally:
        os.close(descriptor)
    return done.returncode == 0


def starts_like(head: bytes) -> bool:
    """Whether programs of the kind that `head`, the beginning of an ELF file, tells start here."""
    if len(head) < 20:
        return False
    for name, kind in PROGRAMS.items():
        bits, order = 32 * head[4], "<" if head[5] == 1 else ">"
        machine = struct.unpack_from(f"{order}H", head, 18)[0]
        if (bits, order, machine) == (kind.bits, kind.order, kind.machine):
            return starts(least_program(name))
    return False


def _native(platform: Platform, host: Platform, root: Path) -> Way:
    if host.variant and platform.variant > host.variant:
        return Way(
            platform,
            problem=f"this machine is {host}, too old for {platform}",
            remedy=f"build for --platform {host}",
        )
    if platform.architecture == "amd64" and platform.variant:
        lacks = _lacking(platform.variant, root)
        if lacks:
            return Way(
                platform,
                problem=f"this machine's processor lacks {', '.join(lacks)} of {platform}",
                remedy="build for --platform linux/amd64",
            )
    return Way(platform, by="this machine")


def _lacking(variant: str, root: Path) -> tuple[str, ...]:
    try:
        text = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    line = next((line for line in text.splitlines() if line.startswith("flags")), "")
    present = frozenset(line.partition(":")[2].split())
    needed = (flags for level, flags in _LEVELS.items() if level <= variant)
    return tuple(sorted(frozenset().union(*needed) - present))


def _emulated(platform: Platform, entry: Entry) -> Way:
    by = os.path.basename(entry.interpreter)
    if not entry.enabled:
        return Way(
            platform,
            problem=f"the emulator for {platform} ({by}) is switched off",
            remedy=f"as root: echo 1 | tee /{_ENTRIES}/status /{_ENTRIES}/{entry.name}",
        )
    if not entry.fixed:
        return Way(
            platform,
            problem=f"the emulator for {platform} ({by}) is registered without the flag F, "
            "so that it is not found in an image's root",
            remedy=f"register a static one: {_install(platform.architecture)}",
        )
    return Way(platform, by=f"the emulator {by}")


def _install(architecture: str) -> str:
    name = _EMULATORS.get(architecture, architecture)
    return f"{REGISTER} (for this one, qemu-{name}-static)"


def _read_entry(path: Path) -> Entry | None:
    """An entry's file: `enabled`, then `interpreter PATH`, `flags: OCF`, `offset 0`, `magic 7f…`.

    None for one that goes by a file name's extension.
    """
    try:
        first, *lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        values = dict(line.split(" ", 1) for line in lines if " " in line)
        magic = bytes.fromhex(values["magic"])
        mask = bytes.fromhex(values["mask"]) if "mask" in values else b"\xff" * len(magic)
        offset = int(values.get("offset", "0"))
    except (OSError, ValueError, KeyError):
        return None
    if len(mask) != len(magic):
        return None
    fixed = "F" in values.get("flags:", "")
    return Entry(
        path.name, first == "enabled", values.get("interpreter", ""), fixed, offset, magic, mask
    )
