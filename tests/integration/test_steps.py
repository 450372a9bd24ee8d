# SPDX-License-Identifier: Apache-2.0
"""One RUN step at a time in a real namespace worker: surroundings, mounts, what is left of it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from step_runs import OPEN_FILES, Steps, run_steps
from wherry.sandbox.step_spec import StepMount, StepSpec

KINDS = ("root", "ranges", "ranges-plain")


@pytest.fixture(scope="module", params=KINDS)
def steps(request: pytest.FixtureRequest) -> Iterator[Steps]:
    with run_steps(request.param) as running:
        yield running


@pytest.fixture(scope="module")
def alone() -> Iterator[Steps]:
    """A user to whom one id is mapped."""
    with run_steps("one") as running:
        yield running


def test_surroundings_are_buildkits(steps: Steps) -> None:
    done = steps.sh("id; env | sort | grep -v SHLVL; pwd; hostname; cat /etc/hosts; umask; ls /dev")
    assert done.err == ""
    lines = done.out.splitlines()
    assert lines[:9] == [
        "uid=0(root) gid=0(root) groups=0(root)",
        "HOME=/root",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PWD=/",
        "/",
        "buildkitsandbox",
        "127.0.0.1\tlocalhost buildkitsandbox",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "0022",
    ]
    expected = "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"
    assert lines[9:] == expected.split()
    assert (done.code, done.changed, done.empty) == (0, (), True)
    assert steps.has_runtime != steps.kind.endswith("plain")
    assert len(steps.said) == (0 if steps.has_runtime else 1)


def test_users_own_what_they_make(steps: Steps) -> None:
    done = steps.sh(
        "id; echo $HOME; stat -c '%u:%g %a' . ..; echo out > /dev/stdout; echo err > /dev/stderr;"
        " touch here; exit 7",
        user="bob",
        cwd="/w/x",
    )
    assert done.out.splitlines() == [
        "uid=1000(bob) gid=1001(bob) groups=10(wheel),1001(bob)",
        "/home/bob",
        "1000:1001 755",
        "1000:1001 755",
        "out",
    ]
    assert (done.err, done.code) == ("err\n", 7)
    assert done.changed == ("w", "w/x", "w/x/here")
    assert steps.sh("id", user="77:88").out == "uid=77 gid=88 groups=88\n"
    assert steps.sh("id -u; echo $HOME", user="root:88").out == "0\n/root\n"
    assert "unable to find user nobody" in steps.sh("id", user="nobody").what


def test_mounts_of_every_kind_and_no_trace_of_them(steps: Steps) -> None:
    cache = steps.make("cache")
    files = Path(steps.make("files"))
    (files / "inner").mkdir(exist_ok=True)
    (files / "inner" / "f").write_text("of the context\n")
    mounts = (
        StepMount("bind", "/b/base", lowers=(steps.base,)),
        StepMount("bind", "/b/ro", lowers=(steps.base,), selector="/data", read_only=True),
        StepMount("bind", "/one", lowers=(steps.base,), selector="data/link", read_only=True),
        StepMount("bind", "/context", directory=str(files), selector="inner", read_only=True),
        StepMount("bind", "/none"),
        StepMount("cache", "/root/.cache/deep", directory=cache),
        StepMount("tmpfs", "/scratch", size=1 << 20),
        StepMount("tmpfs", "/data"),
    )
    script = """
        cat /b/ro/file /one /context/f; ls -A /none /data
        touch /b/base/new /none/new /scratch/new /data/new
        touch /b/ro/new /context/new
        echo kept >> /root/.cache/deep/log; cat /root/.cache/deep/log
        stat -c '%a' /scratch /data; df /scratch | tail -1 | tr -s ' ' | cut -d' ' -f2
    """
    for kept in (1, 2):
        done = steps.sh(script, *mounts)
        assert done.out.splitlines() == [
            *("of the base", "of the base", "of the context", "/data:", "", "/none:"),
            *("kept",) * kept,
            *("1777", "755", "1024"),
        ]
        assert done.err.count("Read-only file system") == 2
        assert (done.code, done.changed, done.empty) == (0, (), True)
    assert not os.path.lexists(f"{steps.base}/fs/new")


def test_nested_mounts_come_in_the_order_of_their_places(steps: Steps) -> None:
    cache = steps.make("outer")
    done = steps.sh(
        "cat /c/deep/file; ls -A /c",
        StepMount("bind", "/c/deep", lowers=(steps.base,), selector="data"),
        StepMount("cache", "/c", directory=cache),
    )
    assert done.out == "of the base\ndeep\n"
    assert done.empty
    assert os.listdir(cache) == ["deep"]


def test_of_two_mounts_on_one_place_the_later_wins(steps: Steps) -> None:
    done = steps.sh(
        "cat /etc/hosts; df /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2",
        StepMount("bind", "/etc/hosts", lowers=(steps.base,), selector="data/file"),
        shm_size=2 << 20,
    )
    assert done.out == "of the base\n2048\n"
    assert done.empty


def test_what_a_step_leaves_at_a_mount_point_stays(steps: Steps) -> None:
    done = steps.sh(
        "mkdir /k/more; echo x > /k/more/x; rm -r /k/more; cp -a /home /h2; mv /etc /e2;"
        "ln -s /data /etc",
        StepMount("tmpfs", "/k/inner"),
    )
    assert done.code == 0
    # What lay at /etc when the step began was moved, so its mount points are not found again.
    assert set(done.changed) >= {"e2", "e2/passwd", "etc", "h2", "h2/bob"}
    assert "k" not in done.changed
    assert "data" not in done.changed


def test_heredocs_certificates_and_variables(steps: Steps) -> None:
    done = steps.sh(
        "/dev/pipes/EOF; cat $SSL_CERT_FILE; echo $CURL_CA_BUNDLE $GIT_SSL_CAINFO;"
        "echo $HTTP_PROXY $A; tail -1 /etc/hosts; hostname",
        env=("A=first", "PATH=/bin", "GIT_SSL_CAINFO=/own"),
        pipes=(("EOF", "#!/bin/sh\necho piped $PATH\n"),),
        proxy=(("HTTP_PROXY", "http://proxy:1"),),
        certificates=b"-----OURS\n",
        hosts=(("added", "192.0.2.1"),),
        hostname="named",
    )
    assert done.out.splitlines() == [
        *("piped /bin", "-----OURS", "/dev/ca-certificates.pem /own", "http://proxy:1 first"),
        *("192.0.2.1\tadded", "named"),
    ]
    assert done.empty


def test_limits(steps: Steps) -> None:
    done = steps.sh(
        "ulimit -n; ulimit -Hn; ulimit -c", ulimits=(("nofile", 64, 128), ("core", 0, 0))
    )
    assert done.out == "64\n128\n0\n"


def test_no_network_but_a_loopback_device(steps: Steps) -> None:
    script = "ip -o link | cut -d: -f2; ping -c1 -W1 127.0.0.1 | grep -c ' 0% packet loss'"
    assert steps.sh(script, network="none").out == " lo\n1\n"
    assert int(steps.sh("ls /proc/sys/net/ipv4/conf | wc -l").out) > 3


@pytest.mark.parametrize("mount", [(), (StepMount("tmpfs", "/t"),)], ids=["checked", "tried"])
def test_programs_that_cannot_be_executed(steps: Steps, mount: tuple[StepMount, ...]) -> None:
    missing = steps.run(StepSpec(("absent", "x"), mounts=mount))
    assert missing.code == 127
    assert missing.err.startswith('exec: "absent": ')
    plain = steps.run(StepSpec(("/etc/passwd",), mounts=mount))
    assert plain.code == 126
    assert plain.err.lower().strip() == 'exec: "/etc/passwd": permission denied'
    assert plain.empty


def test_surroundings_that_cannot_be_made(steps: Steps) -> None:
    absent = steps.sh("true", StepMount("bind", "/a", lowers=(steps.base,), selector="/absent"))
    assert (absent.error, absent.what) == ("RunError", '"/absent": not found')
    assert "working directory" in steps.sh("true", cwd="/etc/passwd/x").what
    assert steps.sh("true", cwd="/etc/passwd").error == "RunError"


def test_a_cancelled_step_ends_at_once(steps: Steps) -> None:
    number = steps.start(StepSpec(("/bin/sh", "-c", "sleep 98 & echo begun; wait")))
    while not steps.output(number):
        time.sleep(0.01)
    began = time.monotonic()
    steps.cancel(number)
    assert steps.wait(number).error == "Cancelled"
    assert time.monotonic() - began < 5
    words = Path("/proc").glob("[0-9]*/cmdline")
    assert not [path for path in words if _content(path) == b"sleep\x0098\x00"]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_signal_is_told_as_a_shell_does(steps: Steps) -> None:
    # Process 1 has no default actions, so a child of it is killed.
    assert steps.sh("sh -c 'kill -9 $$'; exit $?").code == 137


def test_a_terminal_of_its_own(steps: Steps) -> None:
    step = StepSpec(("/bin/sh", "-c", "tty; stty size; read -p 'name? ' a; echo [$a]; exit 3"))
    done = steps.run(step._replace(terminal=True), typed="me\n")
    assert done.code == 3
    assert "[me]" in done.out
    assert "33 99" in done.out


def test_insecure_steps_are_for_root(steps: Steps) -> None:
    done = steps.sh("mount -t tmpfs none /tmp && grep CapEff /proc/self/status", insecure=True)
    if steps.kind.startswith("root"):
        assert done.code == 0, done.err
        assert int(done.out.split()[1], 16) & 1 << 21
    else:
        assert (done.error, done.code) == ("MachineError", 3)


def test_with_one_id_other_users_are_refused(alone: Steps) -> None:
    assert alone.sh("id -u; touch /mine").changed == ("mine",)
    refused = alone.sh("id", user="bob")
    assert (refused.error, refused.what) == ("MachineError", "cannot run a step as user 1000:1001")
    given = alone.sh("true", StepMount("secret", "/s", data=b"x", mode=0o400, uid=1000))
    assert given.what == "cannot give /s to 1000:0"
    assert alone.sh("chown 1 /data").code == 1


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("cache", "/bin/busybox/x"),
        ("cache", "/bin/busybox"),
        ("tmpfs", "/bin/busybox"),
        ("secret", "/home/bob"),
        ("cache", f"/{'n' * 300}"),
        ("cache", "/round/x"),
    ],
)
def test_places_where_nothing_can_be_mounted(steps: Steps, kind: str, target: str) -> None:
    directory = steps.make("cache") if kind == "cache" else ""
    round = Path(steps.base) / "fs" / "round"
    if not round.is_symlink():
        round.symlink_to("round")
    done = steps.sh("true", StepMount(kind, target, directory=directory, data=b"x", mode=0o400))
    assert (done.error, done.what) == ("RunError", f"cannot mount anything at {target}")
    assert str(steps.directory) not in done.why
    assert "root-" not in done.why


def test_deep_trees_leave_the_limits_of_later_steps_alone(steps: Steps) -> None:
    deep = "; ".join(["for i in $(seq 120)", "do mkdir d && cd d", "done"])
    assert steps.sh(f"cd /tmp; {deep}").code == 0
    assert steps.sh("ulimit -n").out == f"{OPEN_FILES}\n"
