# SPDX-License-Identifier: Apache-2.0
"""The filter of system calls, as Docker's documentation has it."""

from __future__ import annotations

from typing import Any

import pytest

from wherry.sandbox.seccomp import profile
from wherry.sandbox.spec import CAPABILITIES

# "Significant syscalls blocked by the default profile" of Docker's documentation.
BLOCKED = """
    acct add_key bpf clock_adjtime clock_settime create_module delete_module finit_module
    get_kernel_syms get_mempolicy init_module ioperm iopl kcmp kexec_file_load kexec_load keyctl
    lookup_dcookie mbind mount move_pages nfsservctl open_by_handle_at perf_event_open pivot_root
    quotactl query_module reboot request_key set_mempolicy setns settimeofday stime swapon swapoff
    sysfs _sysctl umount umount2 unshare uselib userfaultfd ustat vm86 vm86old io_uring_setup
"""


def rules(machine: str = "x86_64", *more: str) -> list[dict[str, Any]]:
    found: Any = profile(machine, (*CAPABILITIES, *more))
    assert found["defaultAction"] == "SCMP_ACT_ERRNO"
    assert found["defaultErrnoRet"] == 1
    return list(found["syscalls"])


def always(found: list[dict[str, Any]]) -> set[str]:
    return {
        name
        for rule in found
        if rule["action"] == "SCMP_ACT_ALLOW" and "args" not in rule
        for name in rule["names"]
    }


def test_what_the_documentation_calls_blocked_is() -> None:
    # Adjusting the clock asks, too; the kernel refuses the rest without CAP_SYS_TIME.
    assert always(rules()) & set(BLOCKED.split()) == {"clock_adjtime"}
    assert {"chroot", "ptrace", "openat", "execve", "landlock_add_rule"} <= always(rules())
    assert not {"clone", "clone3", "personality", "socket"} & always(rules())


def test_no_call_makes_a_namespace() -> None:
    (clone,) = (rule for rule in rules() if rule["names"] == ["clone"])
    flags = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
    assert clone["args"] == [
        {"index": 0, "value": flags, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
    ]
    (clone3,) = (rule for rule in rules() if rule["names"] == ["clone3"])
    assert (clone3["action"], clone3["errnoRet"]) == ("SCMP_ACT_ERRNO", 38)
    (swapped,) = (rule for rule in rules("s390x") if rule["names"] == ["clone"])
    assert swapped["args"][0]["index"] == 1


def test_capabilities_bring_their_calls() -> None:
    admin = rules("x86_64", "CAP_SYS_ADMIN")
    assert {"mount", "clone", "clone3", "unshare"} <= always(admin)
    assert not [rule for rule in admin if rule["names"] == ["clone3"]]
    assert "reboot" in always(rules("x86_64", "CAP_SYS_BOOT"))
    assert "open_by_handle_at" in always(rules("x86_64", "CAP_DAC_READ_SEARCH"))


@pytest.mark.parametrize(
    ("machine", "architectures", "own"),
    [
        ("x86_64", ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"], "arch_prctl"),
        ("aarch64", ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"], "cacheflush"),
        ("s390x", ["SCMP_ARCH_S390X", "SCMP_ARCH_S390"], "s390_runtime_instr"),
        ("riscv64", ["SCMP_ARCH_RISCV64"], "riscv_flush_icache"),
    ],
)
def test_architectures(machine: str, architectures: list[str], own: str) -> None:
    found = profile(machine, CAPABILITIES)
    assert found is not None
    assert found["architectures"] == architectures
    assert own in always(rules(machine))


def test_an_unknown_machine_has_no_profile() -> None:
    assert profile("pdp11", CAPABILITIES) is None
