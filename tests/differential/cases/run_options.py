# SPDX-License-Identifier: Apache-2.0
"""What a build gives all its steps: networks, hosts, limits, rights; what a step sees of them."""

from differential.model import Around, Case, Meant

_BOX = "FROM %REGISTRY%/acting\n"
_NO_MKNOD = Meant("no step may make devices (CAP_MKNOD is not given)", "^/f content: ")
_DEV_STAYS = Meant(
    "the mount point /dev is in each step's layer; in BuildKit's not if something is below it",
    "^/dev: |^layer of RUN 1, /dev/: ",
)
_HOSTS_SYS = Meant("an ordinary user's steps see the host's /sys, names of interfaces included",
                   "^/f content: ")  # fmt: skip
_HOSTS_DEVICES = Meant("an ordinary user's devices are the host's own, bound one by one",
                       "^/f content: ")  # fmt: skip
_TWO_RANGES = Meant("root is the user, the other ids a range of subordinate ones",
                    "^/f content: ")  # fmt: skip
_NOT_ROOT = Meant("only root may ask for security.insecure")
_ALL_RIGHTS = Around(allow=("network.host", "security.insecure"))


def _case(name: str, lines: str, **more: object) -> Case:
    return Case(name, _BOX + lines, **more)  # type: ignore[arg-type]


def _around(
    name: str,
    run: str,
    *,
    refused: bool = False,
    sample: bool = False,
    meant: Meant | None = None,
    **around: object,
) -> Case:
    given = Around(**around)  # type: ignore[arg-type]
    lines = f"{_BOX}RUN {run}\n"
    return Case(name, lines, refused=refused, sample=sample, meant=meant, around=given)


_NAMES = "awk -F: 'NR > 2 {print $1}' /proc/net/dev > /f"
_GET = "busybox wget -q -O /f http://%HTTP%/plain.txt"
CASES = [
    # networks
    _case("network-default-reaches-host", f"RUN {_GET}\n"),
    _case("network-default-said", f"RUN --network=default {_GET}\n"),
    _case("network-none", f"RUN --network=none {_NAMES}\n", sample=True),
    _case("network-none-by-sysfs", "RUN --network=none ls /sys/class/net > /f\n",
          as_user=_HOSTS_SYS),
    _case("network-none-reaches-nobody", f"RUN --network=none {_GET}\n", refused=True),
    _case("network-none-loopback-up", "RUN --network=none ping -c 1 -W 1 127.0.0.1 > /dev/null; "
          "echo $? > /f; ip addr show lo | grep -c 'inet 127' >> /f\n"),
    _case("network-none-then-default", f"RUN --network=none true\nRUN {_GET}\n"),
    _case("network-none-resolv", "RUN --network=none cat /etc/hosts > /f\n"),
    _case("network-host-not-allowed", "RUN --network=host true\n", refused=True, sample=True),
    _case("network-host-allowed", f"RUN --network=host {_GET}\n",
          around=Around(allow=("network.host",))),
    _case("network-host-hostname", "RUN --network=host hostname > /f\n",
          around=Around(allow=("network.host",))),
    _case("network-bad", "RUN --network=bridge true\n", refused=True),
    _case("network-empty", "RUN --network= true\n", refused=True),
    _case("network-variable", "ARG N=none\nRUN --network=$N true\n", refused=True),
    _around("network-none-for-all", _NAMES, network="none"),
    _around("network-none-for-all-but-default", f"--network=default {_GET}", network="none",
            refused=True),
    _around("network-host-for-all", _GET, network="host"),
    _around("network-none-said-too", f"--network=none {_NAMES}", network="host"),
    # security
    _case("security-insecure-not-allowed", "RUN --security=insecure true\n", refused=True),
    _case("security-sandbox", "RUN --security=sandbox grep ^CapEff /proc/self/status > /f\n",
          meant=_NO_MKNOD),
    _case("security-bad", "RUN --security=open true\n", refused=True),
    _case("security-insecure", "RUN --security=insecure mount -t tmpfs x /tmp && echo ok > /f\n",
          around=_ALL_RIGHTS, as_user=_NOT_ROOT),
    _case("security-insecure-capabilities", "RUN --security=insecure grep ^CapEff "
         "/proc/self/status "
          "> /f; grep ^Seccomp: /proc/self/status >> /f\n", around=_ALL_RIGHTS, as_user=_NOT_ROOT),
    _case("security-insecure-devices", "RUN --security=insecure mknod /d c 1 3 && ls -l /d | cut "
         "-c1 "
          "> /f\n", around=_ALL_RIGHTS, as_user=_NOT_ROOT),
    _case("security-mount-refused", "RUN mount -t tmpfs x /tmp\n", refused=True),
    _case("security-unshare-refused", "RUN busybox unshare -m true || echo no > /f\n"),
    _case("security-chroot", "RUN mkdir /r && cp /bin/busybox /r/ && chroot /r /busybox true && "
          "echo ok > /f\n"),
    _case("security-capabilities", "RUN grep ^Cap /proc/self/status > /f\n", meant=_NO_MKNOD),
    _case("security-seccomp", "RUN grep ^Seccomp: /proc/self/status > /f\n", sample=True),
    _case("security-no-new-privileges", "RUN grep ^NoNewPrivs /proc/self/status > /f\n"),
    _case("security-kernel-files", "RUN (cat /proc/kcore /proc/keys /proc/timer_list | head -c 1; "
          "ls /sys/firmware /proc/acpi /proc/scsi) > /f 2>&1; echo x > /proc/sysrq-trigger || "
          "echo no >> /f\n"),
    _case("security-sys-read-only", "RUN echo 1 > /sys/kernel/x || mkdir /sys/fs/x || echo no > "
         "/f\n"),
    _case("security-hostname-refused", "RUN hostname other || echo no > /f\n"),
    _case("security-time-refused", "RUN date -s @0 || echo no > /f\n"),
    _case("security-ptrace-own", "RUN sleep 0.2 & ls -l /proc/$!/exe > /dev/null && echo ok > "
         "/f\n"),
    # hosts, names
    _around("hosts", "grep example /etc/hosts > /f", hosts={"a.example": "10.1.2.3"}, sample=True),
    _around("hosts-several", "grep -c example /etc/hosts > /f; grep -E 'a.example|six' /etc/hosts "
            "| sort >> /f", hosts={"a.example": "10.1.2.3", "b.example": "10.1.2.4",
                                   "six.example": "fd00::5"}),
    _around("hosts-whole", "cat /etc/hosts > /f", hosts={"a.example": "10.1.2.3"}),
    _around("hosts-localhost", "grep localhost /etc/hosts > /f", hosts={"localhost": "10.1.2.3"}),
    _around("hosts-bad", "true", hosts={"a.example": "not-an-address"}, refused=True),
    _case("hosts-plain", "RUN cat /etc/hosts > /f\n"),
    _case("hosts-writable", "RUN echo >> /etc/hosts || echo no > /f\n"),
    _case("hostname", "RUN hostname > /f; uname -n >> /f; cat /etc/hostname >> /f || true\n"),
    _case("hostname-argument", "RUN hostname > "
         "/f\n", args={"BUILDKIT_SANDBOX_HOSTNAME": "own-name"}),
    _case("hostname-in-hosts", "RUN grep -c $(hostname) /etc/hosts > /f || true\n",
          args={"BUILDKIT_SANDBOX_HOSTNAME": "own-name"}),
    _case("resolv-conf", "RUN grep nameserver /etc/resolv.conf > /f || true\n"),
    # limits
    _around("shm", "act free /dev/shm > /f", shm=100 << 20,
            meant=_DEV_STAYS),
    _case("shm-default", "RUN act free /dev/shm > /f; ls -ld /dev/shm | cut -c1-10 >> /f\n"),
    _around("shm-full", "dd if=/dev/zero of=/dev/shm/x bs=1M count=3", shm=1 << 20, refused=True),
    _around("ulimit", "ulimit -n > /f; ulimit -Hn >> /f", ulimits=("nofile=1000:2000",),
            sample=True),
    _around("ulimit-several", "act limit 7 > /f; act limit 4 >> /f; act limit 1 >> /f",
            ulimits=("nofile=512:1024", "core=0:0", "fsize=1000000:2000000")),
    _around("ulimit-holds", "dd if=/dev/zero of=/x bs=1k count=5", ulimits=("fsize=1000:1000",),
            refused=True),
    _around("ulimit-unknown", "true", ulimits=("nothing=1:2",), refused=True),
    _case("pids", "RUN n=0; while [ $n -lt 300 ]; do sleep 0.3 & n=$((n+1)); done; wait; echo $n "
         "> /f\n"),
    # what is there
    _case("devices", "RUN ls -1 /dev | grep -v otel | sort > /f; ls -ln /dev | "
          "awk '/^c/ {print $1, $3, $4, $5, $6, $10}' | sort >> /f\n", as_user=_HOSTS_DEVICES),
    _case("device-links", "RUN ls -ln /dev | awk '/^l/ {print $9, $10, $11}' | sort > /f\n"),
    _case("device-nodes-work", "RUN head -c 4 /dev/urandom | wc -c > /f; echo x > /dev/full || "
          "echo full >> /f; (echo > /dev/tty) 2>/dev/null || echo none >> /f\n"),
    _case("no-terminal", "RUN test -t 0 || echo 0 >> /f; test -t 1 || echo 1 >> /f; tty >> /f || "
         "true\n"),
    _case("stdin-empty", "RUN wc -c > /f; readlink /proc/self/fd/0 | cut -c1-5 >> /f\n"),
    _case("descriptors", "RUN ls /proc/self/fd | wc -l > /f\n"),
    _case("processes", "RUN ps -o pid,args | grep -v ps > /f; ls -d /proc/[0-9]* | wc -l >> /f\n"),
    _case("mounts", "RUN awk '{print $2, $3}' /proc/mounts | grep -v -E 'resolv|hosts|^/ "
         "|^/proc/|^/sys"
          "|kcore|otel' | sort > /f\n", as_user=_HOSTS_DEVICES),
    _case("mount-root-writable", "RUN awk '$2 == \"/\" {print $3}' /proc/mounts > /f; df / > "
         "/dev/null\n"),
    _case("ids-mapped", "RUN id -u > /f; awk '{print $1}' /proc/self/uid_map >> /f\n",
          as_user=_TWO_RANGES),
    _case("session", "RUN awk '{print $4, $5, $6}' /proc/self/stat > /dev/null; ps -o "
         "pid,ppid,pgid | "
          "head -2 | tail -1 > /f\n"),
    _case("signals-not-ignored", "RUN grep -E '^Sig(Ign|Blk)' /proc/self/status > /f\n"),
    _case("oom-and-nice", "RUN cat /proc/self/oom_score_adj > /f; awk '{print $19}' "
         "/proc/self/stat >> /f\n"),
    _case("time-zone-and-locale", "RUN date +%Z > /f; ls /etc/localtime >> /f 2>/dev/null || "
         "true\n"),
    _case("ca-not-in-image", "RUN env | grep -c CERT > /dev/null; ls /etc > /f; test ! -e "
          "/etc/ssl/certs/ca-certificates.crt\n", around=Around(ca=True)),
]  # fmt: skip
