# SPDX-License-Identifier: Apache-2.0
"""The modes in which RUN works, and what would make a lesser one better.

Five, best first: as root; in a user namespace with id ranges; in one with a single id; these
without a /proc of their own, the outer one bound; none. Which it is was proved by starting a
worker; here the result gets its name, and each thing it lacks gets the command that mends it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from wherry.sandbox.host_facts import Container, HostFacts
from wherry.sandbox.mapping import Mapping

_USUAL: Final = 65536


class Mode(NamedTuple):
    """How RUN works here; without a mapping it does not.

    `own_proc`: the steps have a /proc of their own, else they see the outer one.
    """

    mapping: Mapping | None = None
    own_proc: bool = True

    def __str__(self) -> str:
        if self.mapping is None:
            return "none"
        return str(self.mapping) if self.own_proc else f"{self.mapping}, /proc bound from outside"


class Lack(NamedTuple):
    """What a mode is short of, what that means, and the command that mends it."""

    what: str
    means: str
    remedy: str


def lacks(mode: Mode, facts: HostFacts, refused: str = "") -> tuple[Lack, ...]:
    """What `mode` is short of on a machine with these facts.

    `refused` holds the words with which better mappings failed, if they were tried.
    """
    found = []
    if mode.mapping is Mapping.ONE:
        found.append(_lacks_ranges(facts, refused))
    if mode.mapping is not None and not mode.own_proc:
        found.append(_lacks_proc(facts))
    return tuple(found)


def owners_hint(facts: HostFacts, refused: str = "") -> str:
    """What to do where a step failed because just one user id exists."""
    return f"{_ranges_remedy(facts, refused)}; or build as root"


def _lacks_ranges(facts: HostFacts, refused: str) -> Lack:
    return Lack(
        _ranges_cause(facts, refused),
        "steps that change owners or users fail (chown, apt-get, USER)",
        _ranges_remedy(facts, refused),
    )


def _ranges_cause(facts: HostFacts, refused: str) -> str:
    if _is_narrow(facts):
        return f"only one user id: no more than {facts.ids} exist where wherry runs"
    if facts.missing_tools:
        return f"only one user id: {' and '.join(facts.missing_tools)} not found"
    if not facts.ranges:
        files = [
            file
            for file, found in (("/etc/subuid", facts.users), ("/etc/subgid", facts.groups))
            if not found.length
        ]
        return f"only one user id: no line for {_who(facts)} in {' and '.join(files)}"
    return "only one user id: the id ranges cannot be mapped" + (f" ({refused})" if refused else "")


def _is_narrow(facts: HostFacts) -> bool:
    """Whether the user namespace around has no ids to map."""
    return not facts.ranges and not facts.free.length


def _ranges_remedy(facts: HostFacts, refused: str) -> str:
    if _is_narrow(facts):
        return "run wherry where more user ids exist: outside of this user namespace"
    steps = []
    if facts.missing_tools:
        steps.append("apt-get install uidmap (Fedora: shadow-utils; Alpine: shadow-uidmap)")
    if command := _usermod(facts):
        steps.append(command)
    if facts.no_new_privileges:
        steps.append(
            "let wherry start set-user-id programs "
            "(Kubernetes: allowPrivilegeEscalation: true; Docker: no --security-opt "
            "no-new-privileges)"
        )
    elif "_map failed: Operation not permitted" in refused:
        # As set-user-id programs they are not the namespace's owner, which then needs a right
        # over all users that containers do not have.
        steps.append(
            "chmod u-s /usr/bin/newuidmap /usr/bin/newgidmap; "
            "setcap cap_setuid=ep /usr/bin/newuidmap; setcap cap_setgid=ep /usr/bin/newgidmap"
        )
    elif "nrecognized option" in refused:
        steps.append("install util-linux 2.38 or later: its unshare knows --map-auto")
    if not steps:
        steps.append(
            "give newuidmap CAP_SETUID and newgidmap CAP_SETGID as file capabilities, and check "
            "that the ids exist here (/proc/self/uid_map)"
        )
    return f"as root: {'; '.join(steps)}"


def _usermod(facts: HostFacts) -> str:
    """The command that gives the user ranges; empty where there are large enough ones."""
    if min(facts.users.length, facts.groups.length) >= min(_USUAL, facts.free.length or _USUAL):
        return ""
    # The first line of a file is the one that counts, so a small range has to go.
    words = ["usermod"]
    for name, own in (("uids", facts.users), ("gids", facts.groups)):
        if own.length:
            words.append(f"--del-sub{name} {own}")
    words += [f"--add-subuids {facts.free} --add-subgids {facts.free}", _who(facts)]
    command = " ".join(words)
    if facts.name:
        return command
    return f"give user id {facts.uid} a name in /etc/passwd, and then {command}"


def _who(facts: HostFacts) -> str:
    return facts.name or "NAME"


def _lacks_proc(facts: HostFacts) -> Lack:
    remedies = {
        Container.DOCKER: "docker run --security-opt systempaths=unconfined",
        Container.PODMAN: "podman run --security-opt unmask=ALL",
        Container.KUBERNETES: "in the pod, hostUsers: false and procMount: Unmasked",
    }
    covered = f" ({', '.join(facts.masked[:2])}, ...)" if facts.masked else ""
    usual = "run it where nothing is mounted over parts of /proc (in Docker: --security-opt "
    return Lack(
        f"no /proc of their own for steps: parts of /proc are covered here{covered}",
        "steps see, and as the same user can signal, the processes of this container",
        remedies.get(facts.container, f"{usual}systempaths=unconfined)"),
    )
