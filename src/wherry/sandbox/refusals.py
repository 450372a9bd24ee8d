# SPDX-License-Identifier: Apache-2.0
"""What is said where user namespaces are refused: the cause, and the command that mends it.

The causes look alike from inside, mostly `Operation not permitted`. What the machine's files tell
(`wherry.sandbox.host_facts`) and the words of the program that failed choose the remedy.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from wherry.errors import MachineError
from wherry.sandbox.host_facts import Container, HostFacts

_LIMIT: Final = "as root: sysctl -w user.max_user_namespaces=15000"
_UTIL_LINUX: Final = "apt-get install util-linux (Alpine: apk add util-linux)"


class Purpose(StrEnum):
    """What the namespaces are wanted for; with the way around that is left without them."""

    IMAGES = "run images"
    STEPS = "run RUN steps"


_AROUND: Final = {
    Purpose.IMAGES: (
        "without it, export the files with "
        "`wherry build -o type=local,dest=out` and start the program in out/app"
    ),
    Purpose.STEPS: "Go modules and Dockerfiles without RUN build without it",
}


def refusal(facts: HostFacts, why: str, purpose: Purpose = Purpose.IMAGES) -> MachineError:
    """The error for a machine on which no mapping works, with what would mend it.

    `why` holds the words of what was tried.
    """
    what = f"cannot {purpose}: this machine refuses user namespaces"
    if not facts.unshare:
        what = f"cannot {purpose}: the program unshare is missing"
    return MachineError(what, why=why, hint=f"{remedy(facts, why)}; {_AROUND[purpose]}")


def certain_refusal(facts: HostFacts, purpose: Purpose) -> MachineError | None:
    """The error where files alone tell that no mapping can work; nothing is started to find out."""
    if not facts.unshare:
        return refusal(facts, "there is no program `unshare`", purpose)
    if facts.powerful:
        return None
    if facts.max_user_namespaces == 0:
        return refusal(facts, "user.max_user_namespaces is 0", purpose)
    if facts.clone_refused:
        return refusal(facts, "kernel.unprivileged_userns_clone is 0", purpose)
    if not facts.rooted:
        return refusal(facts, "the root directory is no mount point", purpose)
    return None


def remedy(facts: HostFacts, why: str) -> str:
    """What to do about refused namespaces; `why` holds the words of what was tried."""
    if not facts.unshare:
        return f"install util-linux, which holds unshare: {_UTIL_LINUX}"
    if "nrecognized option" in why:
        return f"this unshare is too old or BusyBox's: {_UTIL_LINUX}"
    if facts.max_user_namespaces == 0:
        return _outside(facts, _LIMIT)
    if facts.clone_refused and not facts.powerful:
        return _outside(facts, "as root: sysctl -w kernel.unprivileged_userns_clone=1")
    if "No space left on device" in why:
        return _outside(facts, f"too many user namespaces are in use; {_LIMIT}")
    if "unshare failed: Invalid argument" in why:
        return "boot a kernel that has user namespaces (CONFIG_USER_NS)"
    if not facts.rooted:
        return "run it outside the chroot: the kernel makes no user namespace in one"
    return _by_policy(facts)


def _outside(facts: HostFacts, command: str) -> str:
    return f"on the container's host, {command}" if facts.container else command


def _by_policy(facts: HostFacts) -> str:
    ubuntu = (
        "as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, "
        "or add an AppArmor profile that lets unshare use `userns`"
    )
    if facts.container or facts.filtered:
        inside = _by_container(facts)
        return f"{inside}; and {_outside(facts, ubuntu)}" if facts.apparmor_restricts else inside
    if facts.apparmor_restricts:
        return ubuntu
    return (
        "run it outside a chroot or container, or let the container use user namespaces "
        "(seccomp and AppArmor profiles; hostUsers in Kubernetes)"
    )


def _by_container(facts: HostFacts) -> str:
    match facts.container:
        case Container.KUBERNETES:
            return (
                "in the pod, set the container's securityContext to "
                "seccompProfile: {type: Unconfined}, appArmorProfile: {type: Unconfined} "
                "(with hostUsers: false in the pod's spec its root is nobody on the node, "
                "and procMount: Unmasked is allowed)"
            )
        case Container.DOCKER | Container.PODMAN as engine:
            flags = "--security-opt seccomp=unconfined"
            if facts.label or engine is Container.DOCKER:
                flags += " --security-opt apparmor=unconfined"
            return f"start the container with: {engine.lower()} run {flags}"
        case Container.OTHER | Container.NONE:
            return (
                "a seccomp filter or AppArmor profile around wherry refuses it: let unshare, "
                "clone and mount through (in Docker: --security-opt seccomp=unconfined "
                "--security-opt apparmor=unconfined)"
            )
