# SPDX-License-Identifier: Apache-2.0
"""What a RUN step must not see or do: this machine, other steps, secrets of others."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from step_runs import Steps, run_steps
from wherry.sandbox.step_spec import StepMount, StepSpec

KINDS = ("root", "ranges", "one", "root-plain")
TRIES = Path(__file__).parent / "tries.c"
SECRET = b"v3ry-s3cret-value"


@pytest.fixture(scope="module", params=KINDS)
def steps(request: pytest.FixtureRequest) -> Iterator[Steps]:
    with run_steps(request.param) as running:
        yield running


@pytest.fixture(scope="module")
def tries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("gcc is missing: the program that tries system calls cannot be made")
    target = tmp_path_factory.mktemp("tries") / "tries"
    subprocess.run([compiler, "-static", "-O1", "-s", "-o", target, TRIES], check=True)
    return target


def test_nothing_but_its_own_root_can_be_reached(steps: Steps) -> None:
    outside = steps.directory / "outside"
    outside.write_text("of this machine")
    outside.chmod(0o666)
    up = "../" * 12
    done = steps.sh(
        f"ls -A / | xargs; cat {outside} {up}{outside} /proc/1/root{outside}"
        f" /proc/self/root/{up}{outside} /proc/*/root{outside} /proc/*/cwd/{up}{outside};"
        f" ls -A /proc/1/root | xargs; ls {steps.directory} {steps.base}; mount -o remount,rw /sys"
    )
    own = "bin data dev etc home proc root sys tmp"
    assert done.out.splitlines() == [own, own]
    assert "of this machine" not in done.out + done.err


def test_no_descriptor_of_the_worker_comes_along(steps: Steps) -> None:
    done = steps.sh("ls -l /proc/self/fd | grep -o '[0-9]* -> .*' | grep -v /proc/ | sort")
    names = [line.split(" -> ") for line in done.out.splitlines()]
    assert [name for name, _ in names] == ["0", "1", "2"]
    assert all(target.startswith("pipe:[") for _, target in names)


def test_steps_do_not_see_each_others_processes(steps: Steps) -> None:
    first = steps.start(StepSpec(("/bin/sh", "-c", "echo begun; exec sleep 97")))
    while not steps.output(first):
        time.sleep(0.01)
    second = steps.sh(
        "ls -d /proc/[0-9]* | wc -l; cat /proc/*/cmdline | tr '\\0' ' ' | grep -c 'sleep 9[7]';"
        " kill -9 -1; echo unhurt"
    )
    assert second.out == "2\n0\nunhurt\n" or second.out == "3\n0\nunhurt\n"
    steps.cancel(first)
    assert steps.wait(first).error == "Cancelled"


def test_the_kernels_files_cannot_be_written(steps: Steps) -> None:
    done = steps.sh(
        "for f in /proc/sys/kernel/hostname /proc/sys/vm/drop_caches /proc/sysrq-trigger"
        " /proc/irq/default_smp_affinity /sys/kernel/uevent_helper /sys/kernel/mm/ksm/run"
        " /sys/power/state /proc/sys/kernel/core_pattern; do"
        " (echo 0 > $f) 2>/dev/null && echo wrote $f; done;"
        " mkdir /sys/fs/cgroup/x /sys/fs/cgroup/*/x 2>/dev/null && echo made;"
        " head -c1 /proc/kcore /proc/keys /proc/timer_list /proc/latency_stats 2>/dev/null | wc -c;"
        " ls -A /proc/acpi /proc/scsi /sys/firmware 2>/dev/null | grep -v :"
    )
    assert [line for line in done.out.split() if line.startswith(("wrote", "made"))] == []


def test_devices_can_neither_be_made_nor_opened(steps: Steps) -> None:
    done = steps.sh(
        "mknod /tmp/d b 8 0; mknod /tmp/m c 1 1; mknod /dev/d b 8 0; ls /tmp /dev/d;"
        " cat /dev/mem /dev/vda /dev/sda /dev/kmsg"
    )
    assert done.out == "/tmp:\n" or done.out == ""
    assert done.err.count("Operation not permitted") == 3


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the program knows x86-64's calls")
def test_system_calls_that_reach_out_are_refused(steps: Steps, tries: Path) -> None:
    place = steps.make("tries")
    shutil.copy(tries, place)
    mount = StepMount("bind", "/t", directory=place, read_only=True)
    done = steps.run(StepSpec(("/t/tries",), mounts=(mount,)))
    answers = dict(line.split() for line in done.out.splitlines())
    allowed = {"af_unix", "chroot", "ptrace"}
    assert {name for name in allowed if answers.pop(name) == "ok"} == allowed
    if steps.has_runtime:
        assert answers.pop("clone3") == "ENOSYS"
        assert {name: what for name, what in answers.items() if what != "EPERM"} == {}
        plain = steps.run(StepSpec(("/t/tries",), mounts=(mount,), user="0:0"))
        assert plain.out == done.out
    else:
        # Without a filter it is rights alone that hold; no call of these may need more.
        for name in ("mount", "umount", "init_module", "reboot", "acct", "sethostname"):
            assert answers[name] in ("EPERM", "ENOSYS"), name


def test_capabilities_are_dockers_without_device_nodes(steps: Steps) -> None:
    done = steps.sh("grep -E 'Cap(Prm|Eff|Bnd|Amb|Inh)|NoNewPrivs' /proc/self/status")
    seen = dict(line.split() for line in done.out.splitlines())
    docker = 0xA80425FB & ~(1 << 27)
    assert {int(seen[name], 16) for name in ("CapPrm:", "CapEff:", "CapBnd:")} == {docker}
    assert {int(seen[name], 16) for name in ("CapInh:", "CapAmb:")} == {0}
    assert seen["NoNewPrivs:"] == "0"
    if steps.kind != "one":
        plain = steps.sh("grep -E 'Cap(Prm|Bnd)' /proc/self/status", user="bob").out.split()
        assert (int(plain[1], 16), int(plain[3], 16)) == (0, docker)


def test_an_agent_lists_and_signs_and_nothing_else(steps: Steps, tries: Path) -> None:
    """A request for keys (11) reaches the agent; one to remove them (19) is refused on the way."""
    upstream = steps.directory / f"agent-{steps.kind}"
    heard: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(upstream))
        upstream.chmod(0o666)
        listener.listen()
        listener.settimeout(10)

        def serve() -> None:
            with suppress(TimeoutError):
                peer, _ = listener.accept()
            with peer:
                while data := peer.recv(100):
                    heard.append(data)
                    peer.sendall(b"\0\0\0\2\x0c!")

        thread = threading.Thread(target=serve)
        thread.start()
        owner = {} if steps.kind == "one" else {"uid": 1000, "gid": 1001}
        place = steps.make("tries")
        shutil.copy(tries, place)
        mounts = (
            StepMount("bind", "/t", directory=place, read_only=True),
            StepMount("ssh", "/run/agent", socket=str(upstream), mode=0o600, **owner),
        )
        script = "stat -c '%a %u:%g' /run/agent; /t/tries /run/agent"
        done = steps.sh(script, *mounts, user="bob" if owner else "")
        thread.join()
    assert done.out == f"600 {'1000:1001' if owner else '0:0'}\n0000000105000000020c21\n"
    assert heard == [b"\0\0\0\1\x0b"]
    assert done.empty


def test_secrets_lie_in_memory_and_end_with_their_step(steps: Steps) -> None:
    secret = StepMount("secret", "/run/secrets/token", data=SECRET, mode=0o400)
    program = StepMount("secret", "/run/tool", data=b"#!/bin/sh\necho ran\n", mode=0o500)
    script = (
        "cat /run/secrets/token; echo; echo $WORD; stat -c '%a %u:%g' /run/secrets/token;"
        " mount | grep -E '/run/(secrets|tool)' | cut -d' ' -f3,5 ; /run/tool;"
        " echo x > /run/secrets/token; echo ready; read line"
    )
    step = StepSpec(
        ("/bin/sh", "-c", script + " < /gate; true"),
        mounts=(secret, program),
        secret_env=(("WORD", SECRET + b"-in-a-variable"),),
    )
    number = steps.start(
        step._replace(args=("/bin/sh", "-c", "mkfifo /gate; (" + script + ") <>/gate"))
    )
    while "ready" not in steps.output(number):
        time.sleep(0.01)
        assert "error" not in steps.output(number, "err")
    assert _places(steps.directory) == []
    assert _processes() == []
    # Another step at the same time sees nothing of it.
    other = steps.sh(f"ls -A /run; cat /proc/*/environ | grep -c {SECRET.decode()}")
    assert other.out == "0\n"
    steps.cancel(number)
    assert steps.wait(number).error == "Cancelled"
    lines = steps.output(number).splitlines()
    assert lines[:3] == [SECRET.decode(), SECRET.decode() + "-in-a-variable", "400 0:0"]
    assert lines[3:6] == ["/run/secrets/token tmpfs", "/run/tool tmpfs", "ran"]
    assert "Read-only file system" in steps.output(number, "err")
    (steps.directory / f"{number}.out").unlink()
    assert _places(steps.directory) == []


def _places(directory: Path) -> list[Path]:
    """Files below `directory`, as root sees this machine, that hold the secret.

    What the step itself printed lies there too.
    """
    found = []
    for path in directory.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.suffix != ".out":
            try:
                data = path.read_bytes()
            except OSError:
                continue
            if SECRET in data:
                found.append(path)
    return found


def _processes() -> list[bytes]:
    """Command lines that hold the secret."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if SECRET in words:
            found.append(words)
    return found
