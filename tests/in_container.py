# SPDX-License-Identifier: Apache-2.0
"""`in_container.py [OPTION...] -- COMMAND...`: runs a command as an unprivileged Docker would.

For root only, by runc. The container's files are the machine's own, /proc has the covered parts
and read-only parts that Docker gives it, the capabilities are Docker's, and a seccomp filter
refuses what Docker's refuses of namespaces and mounts. Options: `--user UID:GID`, `--share PATH`
(also seen inside), `--replace FILE=OTHER` (FILE is OTHER's content), `--unconfined` (no filter),
`--unmasked` (nothing covered), `--no-new-privileges`, `--remap FIRST` (in a user namespace of
65,536 ids).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

CAPABILITIES = [
    f"CAP_{name}"
    for name in (
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD",
        "NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    )
]  # fmt: skip
MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
    "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
    "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
)  # fmt: skip
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
CLONE_NEWUSER = 0x10000000
ERRNO_EPERM = 1
OWN = ("dev", "proc", "run", "sys", "tmp", "lost+found")


def main(arguments: list[str]) -> int:
    split = arguments.index("--")
    parser = argparse.ArgumentParser()
    parser.add_argument("--user", default="0:0")
    parser.add_argument("--share", action="append", default=[])
    parser.add_argument("--replace", action="append", default=[])
    parser.add_argument("--unconfined", action="store_true")
    parser.add_argument("--unmasked", action="store_true")
    parser.add_argument("--no-new-privileges", action="store_true")
    parser.add_argument("--remap", type=int, default=0)
    options = parser.parse_args(arguments[:split])
    with tempfile.TemporaryDirectory(prefix="container-") as bundle:
        Path(bundle).chmod(0o755)
        root = Path(bundle, "rootfs")
        root.mkdir()
        (root / ".dockerenv").touch()
        config = configuration(options, arguments[split + 1 :], root)
        Path(bundle, "config.json").write_text(json.dumps(config))
        # "rootless" does without cgroups, which a test has no use for.
        runc = ("runc", "--root", f"{bundle}/state", "--rootless=true")
        command = (*runc, "run", "--bundle", bundle, Path(bundle).name)
        return subprocess.run(command, check=False).returncode


def configuration(options: argparse.Namespace, args: list[str], root: Path) -> dict:
    uid, gid = map(int, options.user.split(":"))
    held = CAPABILITIES if uid == 0 else []
    linux = {
        "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")],
        "maskedPaths": [] if options.unmasked else list(MASKED),
        "readonlyPaths": [] if options.unmasked else list(READ_ONLY),
        "rootfsPropagation": "rprivate",
    }
    if not options.unconfined:
        linux["seccomp"] = seccomp()
    if options.remap:
        linux["namespaces"].append({"type": "user"})
        size = {"containerID": 0, "hostID": options.remap, "size": 65536}
        linux |= {"uidMappings": [size], "gidMappings": [size]}
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": uid, "gid": gid},
            "args": args,
            "env": [f"{name}={value}" for name, value in os.environ.items()],
            "cwd": str(Path.cwd()),
            "capabilities": {
                "bounding": CAPABILITIES,
                "effective": held,
                "permitted": held,
            },
            "noNewPrivileges": options.no_new_privileges,
        },
        "root": {"path": "rootfs"},
        "mounts": mounts(options, root),
        "linux": linux,
    }


def mounts(options: argparse.Namespace, root: Path) -> list[dict]:
    safe = ["nosuid", "noexec", "nodev"]
    found = [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": safe},
        tmpfs("/dev", "mode=755"),
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
        tmpfs("/dev/shm", "mode=1777"),
        {"destination": "/sys", "type": "bind", "source": "/sys", "options": ["rbind", "ro"]},
        tmpfs("/tmp", "mode=1777"),
        tmpfs("/run", "mode=755"),
    ]  # fmt: skip
    for path in sorted(Path("/").iterdir()):
        if path.name in OWN:
            continue
        if path.is_symlink():
            (root / path.name).symlink_to(path.readlink())
        elif path.is_dir():
            found.append(bind(str(path)))
    # Where the checkout or its Python lie below a directory that the container has of its own.
    own = {str(Path(__file__).resolve().parents[1]), sys.prefix, sys.base_prefix}
    hidden = [path for path in sorted(own) if Path(path).parts[1] in OWN]
    found += [bind(path) for path in (*hidden, *options.share)]
    pairs = (pair.split("=", 1) for pair in options.replace)
    return [*found, *(bind(source, target) for target, source in pairs)]


def tmpfs(target: str, mode: str) -> dict:
    options = ["nosuid", mode]
    return {"destination": target, "type": "tmpfs", "source": "tmpfs", "options": options}


def bind(source: str, target: str = "") -> dict:
    place = target or source
    return {"destination": place, "type": "bind", "source": source, "options": ["rbind"]}


def seccomp() -> dict:
    """Docker's filter, as far as it is about namespaces and mounts."""
    refused = ["unshare", "setns", "mount", "umount2", "pivot_root", "open_tree", "move_mount",
               "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "bpf",
               "keyctl", "add_key", "request_key", "userfaultfd"]  # fmt: skip
    deny = {"action": "SCMP_ACT_ERRNO", "errnoRet": ERRNO_EPERM}
    new_user = {"index": 0, "value": CLONE_NEWUSER, "valueTwo": CLONE_NEWUSER,
                "op": "SCMP_CMP_MASKED_EQ"}  # fmt: skip
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [
            {"names": refused, **deny},
            {"names": ["clone"], "args": [new_user], **deny},
            # Its flags lie in memory, where no filter looks: the caller falls back to clone.
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
        ],
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
