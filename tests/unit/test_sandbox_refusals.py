# SPDX-License-Identifier: Apache-2.0
"""What is said where namespaces are refused, and where a mode lacks something: the remedies."""

from __future__ import annotations

import pytest

from wherry.errors import MachineError
from wherry.sandbox.host_facts import Container, HostFacts, Range
from wherry.sandbox.mapping import Mapping
from wherry.sandbox.modes import Mode, lacks, owners_hint
from wherry.sandbox.refusals import Purpose, refusal, remedy

DENIED = "user namespace with one id: unshare: unshare failed: Operation not permitted"
FACTS = HostFacts(uid=1000, name="ada", unshare="/usr/bin/unshare", max_user_namespaces=9)
FULL = Range(100000, 65536)


def facts(**changes: object) -> HostFacts:
    return FACTS._replace(**changes)


@pytest.mark.parametrize(
    ("changes", "why", "expected"),
    [
        ({"unshare": ""}, "", "apt-get install util-linux"),
        ({}, "unshare: unrecognized option: kill-child=SIGKILL", "BusyBox"),
        ({"max_user_namespaces": 0}, "", "as root: sysctl -w user.max_user_namespaces=15000"),
        (
            {"max_user_namespaces": 0, "container": Container.DOCKER},
            "",
            "on the container's host, as root: sysctl -w user.max_user_namespaces",
        ),
        ({"clone_refused": True}, DENIED, "sysctl -w kernel.unprivileged_userns_clone=1"),
        ({}, "unshare failed: No space left on device", "too many user namespaces"),
        ({}, "unshare: unshare failed: Invalid argument", "CONFIG_USER_NS"),
        ({"rooted": False}, DENIED, "outside the chroot"),
        ({"apparmor_restricts": True}, DENIED, "kernel.apparmor_restrict_unprivileged_userns=0"),
        ({"filtered": True}, DENIED, "a seccomp filter or AppArmor profile"),
        (
            {"filtered": True, "container": Container.DOCKER},
            DENIED,
            "docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined",
        ),
        (
            {"filtered": True, "container": Container.PODMAN},
            DENIED,
            "podman run --security-opt seccomp=unconfined",
        ),
        (
            {"filtered": True, "container": Container.KUBERNETES},
            DENIED,
            "seccompProfile: {type: Unconfined}",
        ),
        (
            {"container": Container.KUBERNETES},
            DENIED,
            "hostUsers: false",
        ),
        (
            {"filtered": True, "container": Container.DOCKER, "apparmor_restricts": True},
            DENIED,
            "and on the container's host, as root: sysctl -w kernel.apparmor_restrict",
        ),
        ({}, DENIED, "outside a chroot or container"),
    ],
)
def test_each_cause_has_its_remedy(changes: dict[str, object], why: str, expected: str) -> None:
    assert expected in remedy(facts(**changes), why)


def test_a_sysctl_that_is_not_for_root_is_not_blamed() -> None:
    powerful = facts(uid=0, powerful=True, clone_refused=True, filtered=True)
    assert "unprivileged_userns_clone" not in remedy(powerful, DENIED)


@pytest.mark.parametrize(
    ("purpose", "what", "around"),
    [
        (Purpose.IMAGES, "cannot run images", "-o type=local"),
        (Purpose.STEPS, "cannot run RUN steps", "Dockerfiles without RUN"),
    ],
)
def test_refusal_says_what_is_left(purpose: Purpose, what: str, around: str) -> None:
    error = refusal(facts(max_user_namespaces=0), DENIED, purpose)
    assert isinstance(error, MachineError)
    assert error.exit_code == 3
    assert what in error.what
    assert error.why == DENIED
    assert "user.max_user_namespaces" in error.hint
    assert around in error.hint


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        (Mode(), "none"),
        (Mode(Mapping.ROOT), "root"),
        (Mode(Mapping.RANGES), "user namespace with id ranges"),
        (Mode(Mapping.ONE, own_proc=False), "user namespace with one id, /proc bound from outside"),
    ],
)
def test_modes_have_names(mode: Mode, name: str) -> None:
    assert str(mode) == name


@pytest.mark.parametrize("mapping", [Mapping.ROOT, Mapping.RANGES])
def test_a_whole_mode_lacks_nothing(mapping: Mapping) -> None:
    assert lacks(Mode(mapping), facts()) == ()
    assert lacks(Mode(), facts()) == ()


@pytest.mark.parametrize(
    ("changes", "refused", "cause", "expected"),
    [
        (
            {"missing_tools": ("newuidmap", "newgidmap"), "users": FULL, "groups": FULL},
            "",
            "newuidmap and newgidmap not found",
            "as root: apt-get install uidmap (Fedora: shadow-utils; Alpine: shadow-uidmap)",
        ),
        (
            {},
            "",
            "no line for ada in /etc/subuid and /etc/subgid",
            "as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ada",
        ),
        (
            {"users": FULL, "free": Range(300000, 65536)},
            "",
            "no line for ada in /etc/subgid",
            "usermod --del-subuids 100000-165535 --add-subuids 300000-365535 "
            "--add-subgids 300000-365535 ada",
        ),
        (
            {"users": Range(7, 10), "groups": Range(7, 10), "ranges": 10},
            "",
            "cannot be mapped",
            "usermod --del-subuids 7-16 --del-subgids 7-16 --add-subuids 100000-165535",
        ),
        (
            {"ids": 1, "free": Range(1, 0)},
            "",
            "no more than 1 exist",
            "outside of this user namespace",
        ),
        (
            {"name": ""},
            "",
            "no line for NAME",
            "give user id 1000 a name in /etc/passwd, and then usermod --add-subuids",
        ),
        (
            {"users": FULL, "groups": FULL, "ranges": 65536, "no_new_privileges": True},
            "newuidmap: write to uid_map failed: Operation not permitted",
            "newuidmap: write to uid_map failed",
            "allowPrivilegeEscalation: true",
        ),
        (
            {"users": FULL, "groups": FULL, "ranges": 65536},
            "unshare: unrecognized option '--map-auto'",
            "--map-auto",
            "util-linux 2.38 or later",
        ),
        (
            {"users": FULL, "groups": FULL, "ranges": 65536},
            "newuidmap: write to uid_map failed: Operation not permitted",
            "newuidmap: write to uid_map failed",
            "setcap cap_setuid=ep /usr/bin/newuidmap",
        ),
        (
            {"users": FULL, "groups": FULL, "ranges": 65536},
            "newuidmap: uid range [1-65536) -> [100000-165535) not allowed",
            "not allowed",
            "as file capabilities",
        ),
    ],
)
def test_one_id_is_explained(
    changes: dict[str, object], refused: str, cause: str, expected: str
) -> None:
    (lack,) = lacks(Mode(Mapping.ONE), facts(**changes), refused)
    assert cause in lack.what
    assert "chown" in lack.means
    assert expected in lack.remedy
    assert expected in owners_hint(facts(**changes), refused)


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        (Container.DOCKER, "docker run --security-opt systempaths=unconfined"),
        (Container.PODMAN, "podman run --security-opt unmask=ALL"),
        (Container.KUBERNETES, "procMount: Unmasked"),
        (Container.NONE, "systempaths=unconfined"),
    ],
)
def test_a_bound_proc_is_explained(container: Container, expected: str) -> None:
    masked = ("/proc/kcore", "/proc/keys", "/proc/timer_list")
    (lack,) = lacks(Mode(Mapping.ROOT, own_proc=False), facts(container=container, masked=masked))
    assert "/proc/kcore, /proc/keys, ..." in lack.what
    assert expected in lack.remedy
