# SPDX-License-Identifier: Apache-2.0
"""Which system calls a step may make: Docker's default profile, as its documentation describes it.

A list of what is allowed; everything else fails with EPERM. Some calls are allowed only with a
capability or on an architecture, some only with certain arguments. The words of the result are
those of the OCI runtime specification 1.2 (config-linux.md, "Seccomp"). Names that a runtime's
libseccomp does not know are left out by the runtime.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterator
from typing import Final

from wherry.oci.canonical import Json

_ALWAYS: Final = """
    accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32
    clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2
    dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
    epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64
    fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat
    fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64
    fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64
    futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu getcwd
    getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32
    getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32
    getresuid getresuid32 getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday
    getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init inotify_init1
    inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup
    io_submit ioctl ioprio_get ioprio_set ipc kill landlock_add_rule landlock_create_ruleset
    landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listmount listxattr
    listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 madvise
    map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock
    mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive
    mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget
    msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat _newselect
    open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free
    pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease
    process_vm_readv process_vm_writev pselect6 pselect6_time64 ptrace pwrite64 pwritev pwritev2
    read readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg
    remap_file_pages removexattr removexattrat rename renameat renameat2 restart_syscall
    riscv_hwprobe rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
    rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max
    sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
    sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr
    sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop
    semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list
    set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32
    setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid setresgid32
    setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid setuid32 setxattr
    setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 sigprocmask
    sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statmount statx symlink
    symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete
    timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create
    timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate
    truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64
    utimes vfork vmsplice wait4 waitid waitpid write writev
"""
_WITH_CAPABILITY: Final = {
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_SYS_ADMIN": (
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie "
        "lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount "
        "open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog "
        "umount umount2 unshare"
    ),
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_RAWIO": "ioperm iopl",
    "CAP_SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYSLOG": "syslog",
    "CAP_BPF": "bpf",
    "CAP_PERFMON": "perf_event_open",
}
# By uname(2)'s machine: the architectures that the kernel runs. Docker's list has x32 too, which
# the kernels of distributions do not run; each one makes every step begin 10 ms later.
_ARCHITECTURES: Final = {
    "x86_64": ("X86_64", "X86"),
    "aarch64": ("AARCH64", "ARM"),
    "armv7l": ("ARM",),
    "i686": ("X86",),
    "mips64": ("MIPS", "MIPS64", "MIPS64N32"),
    "mips64el": ("MIPSEL", "MIPSEL64", "MIPSEL64N32"),
    "ppc64le": ("PPC64LE",),
    "s390x": ("S390X", "S390"),
    "riscv64": ("RISCV64",),
    "loongarch64": ("LOONGARCH64",),
}
_ARM: Final = "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2"
_ON_MACHINE: Final = {
    "x86_64": "arch_prctl modify_ldt",
    "i686": "modify_ldt",
    "aarch64": _ARM,
    "armv7l": _ARM,
    "ppc64le": "swapcontext sync_file_range2",
    "s390x": "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
    "riscv64": "riscv_flush_icache",
}
# personality(2): the own one, UNAME26, PER_LINUX32 and both; all bits set only asks.
_PERSONALITIES: Final = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
# socket(2): anything but AF_ALG and AF_VSOCK, which reach past every namespace.
_AF_ALG: Final = 38
_AF_VSOCK: Final = 40
# clone(2): all flags that make a namespace.
_NAMESPACE_FLAGS: Final = 0x7E020000


def profile(machine: str, capabilities: Collection[str]) -> dict[str, Json] | None:
    """The `linux.seccomp` object for steps with `capabilities` on `machine` (uname(2)).

    None where the architecture has none.
    """
    architectures = _ARCHITECTURES.get(machine)
    if architectures is None:
        return None
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": errno.EPERM,
        "architectures": [f"SCMP_ARCH_{name}" for name in architectures],
        "syscalls": [*_rules(machine, capabilities)],
    }


def _rules(machine: str, capabilities: Collection[str]) -> Iterator[Json]:
    names = set(_ALWAYS.split()) | set(_ON_MACHINE.get(machine, "").split())
    for capability, more in _WITH_CAPABILITY.items():
        if capability in capabilities:
            names |= set(more.split())
    yield _allow(sorted(names))
    for value in _PERSONALITIES:
        yield _allow(["personality"], _argument(0, value, "SCMP_CMP_EQ"))
    yield _allow(["socket"], _argument(0, _AF_ALG, "SCMP_CMP_LT"))
    yield _allow(["socket"], _argument(0, _AF_ALG + 1, "SCMP_CMP_EQ"))
    yield _allow(["socket"], _argument(0, _AF_VSOCK, "SCMP_CMP_GT"))
    if "CAP_SYS_ADMIN" not in capabilities:
        # s390 has clone's flags second.
        index = 1 if machine == "s390x" else 0
        yield _allow(["clone"], _argument(index, _NAMESPACE_FLAGS, "SCMP_CMP_MASKED_EQ"))
        # Its flags lie in memory, where no filter can look; "not there" makes libraries use clone.
        yield {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS}


def _allow(names: list[str], *arguments: dict[str, Json]) -> dict[str, Json]:
    rule: dict[str, Json] = {"names": [*names], "action": "SCMP_ACT_ALLOW"}
    if arguments:
        rule["args"] = [*arguments]
    return rule


def _argument(index: int, value: int, comparison: str) -> dict[str, Json]:
    # A masked comparison has the mask as its value and the wanted result as the second one.
    return {"index": index, "value": value, "valueTwo": 0, "op": comparison}
