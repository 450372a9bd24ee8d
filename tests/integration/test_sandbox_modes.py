# SPDX-License-Identifier: Apache-2.0
"""Every mode of RUN, in a machine made for it: users, containers, limits; and what doctor says."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sandbox_runs import Runner, make_runner

TESTS = Path(__file__).parents[1]
DRIVER = str(TESTS / "mode_driver.py")
CONTAINER = (sys.executable, str(TESTS / "in_container.py"))
# 0xa80425fb are Docker's capabilities, without CAP_MKNOD (bit 27).
CAPABILITIES = "00000000a00425fb"
HOLD = ":grep -E '^(CapEff|Seccomp):' /proc/self/status; ls /proc/1/ | grep -c '^exe$'"
PROCESSES = ":ls /proc 2>/dev/null | grep -c '^[0-9]'"
CHOWN = ":chown 1000 /home && stat -c %u /home"
OWNER = ":stat -c %u:%g /home/ada; cat /home/ada"
USER = "ada:id -u; cat /home/ada"


@pytest.fixture(scope="module")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = shutil.which("busybox")
    if found is None:
        pytest.skip("busybox is missing: steps have no shell")
    kind = subprocess.run([found, "true"], env={}, check=False)
    assert kind.returncode == 0
    # Where any user can read it.
    copy = tmp_path_factory.mktemp("busybox") / "busybox"
    shutil.copy(found, copy)
    return copy


@pytest.fixture(scope="module", params=("root", "ranges", "one"))
def runner(request: pytest.FixtureRequest) -> Iterator[Runner]:
    with make_runner(request.param, b"no program") as runner:
        yield runner


def ask(runner: Runner, busybox: Path, *scripts: str, words: Sequence[str] = ()) -> dict[str, Any]:
    """What the driver answers as the runner's user, `words` before all of it."""
    shared = runner.home / "busybox"
    if not shared.exists():
        shutil.copy(busybox, shared)
        shutil.copy(DRIVER, runner.home / "driver.py")
        shared.chmod(0o755)
    driver = (runner.python, "-P", str(runner.home / "driver.py"))
    return started(
        runner, (*words, *runner.words, *driver, str(runner.store), str(shared)), scripts
    )


def started(runner: Runner, command: Sequence[str], scripts: Sequence[str]) -> dict[str, Any]:
    done = subprocess.run(
        (*command, *scripts),
        cwd=runner.home,
        env=runner.env(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["left"] == []
    return answer


def doctor(runner: Runner, words: Sequence[str] = ()) -> tuple[int, dict[str, Any]]:
    """The exit code and the answer of `wherry doctor --json`."""
    main = "from wherry.cli.main import main; main()"
    command = (*words, *runner.words, runner.python, "-P", "-c", main, "doctor", "--json")
    done = subprocess.run(
        command,
        cwd=runner.home,
        env=runner.env(PATH=f"{os.environ['PATH']}:/usr/sbin"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.stdout, done.stderr.decode()
    answer: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, answer


def container(runner: Runner, *options: str) -> tuple[str, ...]:
    """The words that make an unprivileged Docker container around the runner's home."""
    return (*CONTAINER, "--share", str(runner.home), *options, "--")


def mapping_tools(runner: Runner) -> tuple[str, ...]:
    """The container's options that give newuidmap and newgidmap file capabilities."""
    options = []
    for name, capability in (("newuidmap", 7), ("newgidmap", 6)):
        path = shutil.which(name)
        if path is None:
            return ()
        copy = runner.home / name
        shutil.copy(path, copy)
        copy.chmod(0o755)
        # The kernel's vfs_cap_data, revision 2, effective: linux/capability.h.
        data = struct.pack("<5I", 0x02000001, 1 << capability, 0, 0, 0)
        os.setxattr(copy, "security.capability", data)
        options += ["--replace", f"{path}={copy}"]
    return tuple(options)


def check_of(answer: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(check for check in answer["checks"] if check["name"] == name)
    return found


MODES = {
    "root": ("overlay-root", "root"),
    "ranges": ("overlay-ranges-", "user namespace with id ranges"),
    "one": ("overlay-one", "user namespace with one id"),
}


def test_each_user_has_a_mode(runner: Runner, busybox: Path) -> None:
    answer = ask(runner, busybox, HOLD, PROCESSES, CHOWN, OWNER)
    place, mode = MODES[runner.kind]
    assert answer["place"].startswith(place)
    assert answer["mode"] == mode
    held, processes, chown, owner = answer["steps"]
    assert held == [0, f"CapEff:\t{CAPABILITIES}\nSeccomp:\t2\n1\n"]
    # Their own: the shell and what it starts.
    assert processes[0] == 0
    assert int(processes[1]) <= 4
    assert answer["told"] == []
    assert answer["snapshots"] == []
    if runner.kind == "one":
        assert chown[0] != 0
        assert "usermod --add-subuids" in answer["owners"]
        assert owner == [0, "0:0\nhers"]
    else:
        assert chown == [0, "1000\n"]
        assert owner == [0, "1000:1000\nhers"]
        assert answer["lacks"] == []
        assert ask(runner, busybox, USER)["steps"] == [[0, "1000\nhers"]]


def test_doctor_names_the_mode(runner: Runner) -> None:
    code, answer = doctor(runner)
    assert answer["run_steps"]
    assert answer["mode"] == MODES[runner.kind][1]
    assert code == (0 if answer["go_builds"] else 3)
    state = check_of(answer, "RUN")["state"]
    assert state == ("limited" if runner.kind == "one" else "ok")
    remedies = " ".join(check["remedy"] for check in answer["checks"])
    assert ("usermod --add-subuids" in remedies) is (runner.kind == "one")
    assert check_of(answer, "OCI runtime")["state"] == "ok"


def test_in_a_container_with_covered_proc(runner: Runner, busybox: Path) -> None:
    uid = runner.home.stat().st_uid
    words = container(runner, "--unconfined", *mapping_tools(runner))
    answer = ask(runner, busybox, HOLD, PROCESSES, CHOWN, words=words)
    # Root lacks the right to mount, and has no ranges.
    expected = MODES["ranges" if runner.kind == "ranges" else "one"][1]
    assert answer["mode"] == f"{expected}, /proc bound from outside"
    held, processes, chown = answer["steps"]
    assert held[1].startswith(f"CapEff:\t{CAPABILITIES}\nSeccomp:\t2\n")
    # The container's first process and wherry itself are seen beside the step's.
    assert int(processes[1]) > 4
    assert (chown[0] == 0) is (runner.kind == "ranges")
    assert any("/proc/acpi" in lack for lack in answer["lacks"])
    assert uid == runner.home.stat().st_uid


def test_doctor_knows_the_container(runner: Runner) -> None:
    _, answer = doctor(runner, container(runner, "--unconfined"))
    assert answer["mode"].endswith("/proc bound from outside")
    remedies = " ".join(check["remedy"] for check in answer["checks"])
    assert "--security-opt systempaths=unconfined" in remedies
    assert answer["run_steps"]


def test_a_container_that_covers_nothing(runner: Runner, busybox: Path) -> None:
    words = container(runner, "--unconfined", "--unmasked", *mapping_tools(runner))
    answer = ask(runner, busybox, PROCESSES, words=words)
    assert answer["mode"] == MODES["ranges" if runner.kind == "ranges" else "one"][1], answer
    assert int(answer["steps"][0][1]) <= 4


@pytest.mark.parametrize(("count", "name"), [(65536, "700000"), (4096, "700000+4095")])
@pytest.mark.parametrize("runner", ["root"], indirect=True)
def test_root_of_a_container_may_have_ranges(
    runner: Runner, busybox: Path, tmp_path: Path, count: int, name: str
) -> None:
    lines = tmp_path / "subids"
    lines.write_text(f"root:700000:{count}\n")
    replaced = [f"--replace={file}={lines}" for file in ("/etc/subuid", "/etc/subgid")]
    words = container(runner, "--unconfined", *replaced)
    answer = ask(runner, busybox, CHOWN, USER, words=words)
    assert answer["place"] == f"overlay-ranges-{name}"
    assert [code for code, _ in answer["steps"]] == [0, 0]


@pytest.mark.parametrize("runner", ["one"], indirect=True)
@pytest.mark.parametrize("options", [("--unconfined",), ("--unconfined", "--unmasked")])
def test_without_a_runtime_that_works(
    runner: Runner, busybox: Path, options: tuple[str, ...]
) -> None:
    tools = runner.home / "tools"
    tools.mkdir(exist_ok=True)
    for name in ("runc", "crun"):
        (tools / name).write_text("#!/bin/sh\nexit 1\n")
        (tools / name).chmod(0o755)
    words = (*container(runner, *options), "env", f"PATH={tools}:/usr/bin:/bin")
    answer = ask(runner, busybox, HOLD, words=words)
    assert (answer["runtime"], answer["seccomp"]) == ("", False)
    assert answer["steps"] == [[0, f"CapEff:\t{CAPABILITIES}\nSeccomp:\t0\n1\n"]]
    assert "less isolation" in answer["told"][0]


@pytest.mark.parametrize("runner", ["ranges"], indirect=True)
def test_set_user_id_tools_do_not_map_in_a_container(runner: Runner, busybox: Path) -> None:
    answer = ask(runner, busybox, OWNER, words=container(runner, "--unconfined"))
    assert answer["place"] == "overlay-one"
    assert "setcap cap_setuid=ep" in answer["owners"]


@pytest.mark.parametrize("runner", ["ranges"], indirect=True)
def test_without_set_user_id_programs_one_id_is_left(runner: Runner, busybox: Path) -> None:
    words = container(runner, "--unconfined", "--no-new-privileges")
    answer = ask(runner, busybox, OWNER, words=words)
    assert answer["place"] == "overlay-one"
    assert "newuidmap" in answer["problems"]
    assert "allowPrivilegeEscalation: true" in answer["owners"]


def test_a_containers_seccomp_filter_refuses(runner: Runner, busybox: Path) -> None:
    words = container(runner)
    answer = ask(runner, busybox, HOLD, words=words)
    assert "cannot run RUN steps" in answer["what"]
    assert "Operation not permitted" in answer["why"]
    assert "docker run --security-opt seccomp=unconfined" in answer["hint"]
    code, told = doctor(runner, words)
    assert code == 3
    assert (told["run_steps"], told["mode"]) == (False, "none")
    assert "seccomp=unconfined" in check_of(told, "RUN")["remedy"]


@pytest.mark.parametrize("runner", ["ranges", "one"], indirect=True)
def test_without_user_namespaces(runner: Runner, busybox: Path) -> None:
    words = (sys.executable, str(TESTS / "without_namespaces.py"))
    answer = ask(runner, busybox, HOLD, words=words)
    assert "sysctl -w user.max_user_namespaces" in answer["hint"]
    code, told = doctor(runner, words)
    assert code == 3
    assert "sysctl -w user.max_user_namespaces" in check_of(told, "RUN")["remedy"]


@pytest.mark.parametrize("runner", ["one"], indirect=True)
def test_in_a_chroot(runner: Runner, busybox: Path) -> None:
    """The root directory is no mount point there, and the kernel makes no user namespace."""
    script = (
        'mkdir -p "$0" && for name in bin lib lib64 usr etc proc dev tmp root work var; do '
        'test -e "/$name" && { test -L "/$name" && cp -P "/$name" "$0/" || '
        '{ mkdir -p "$0/$name" && mount --rbind "/$name" "$0/$name"; }; }; done; '
        'exec chroot "$0" "$@"'
    )
    root = runner.home / "chroot"
    words = ("unshare", "--mount", "sh", "-c", script, str(root), "env", f"--chdir={runner.home}")
    answer = ask(runner, busybox, HOLD, words=words)
    assert "outside the chroot" in answer["hint"], answer


# Starts the driver on a step that sleeps, kills whom it is told to, prints what still sleeps.
KILLER = """
import os, pathlib, signal, subprocess, sys, time

def running(words):
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\\0", b" ").decode()
        except OSError:
            continue
        if line.startswith(words[0]) and words[1] in line:
            found.append(int(path.parent.name))
    return found

def wait(there):
    end = time.monotonic() + 20
    while bool(running(STEP)) is not there and time.monotonic() < end:
        time.sleep(0.02)
    return running(STEP)

STEP = ("/bin/busybox sleep", "4242")
with subprocess.Popen(sys.argv[2:], stdout=subprocess.DEVNULL) as driver:
    assert wait(there=True), "the step did not start"
    worker = "sandbox.namespace_worker"
    targets = {"main": [driver.pid], "worker": running((sys.executable, worker)),
               "unshare": running(("/usr/bin/unshare", worker))}[sys.argv[1]]
    assert targets
    for pid in targets:
        os.kill(pid, signal.SIGKILL)
    print(wait(there=False))
"""


@pytest.mark.parametrize("runner", ["ranges", "one"], indirect=True)
@pytest.mark.parametrize("killed", ["main", "worker", "unshare"])
def test_a_kill_leaves_no_step_where_proc_is_covered(
    runner: Runner, busybox: Path, killed: str
) -> None:
    words = container(runner, "--unconfined", *mapping_tools(runner))
    ask(runner, busybox, words=words)
    python = (*words, *runner.words, runner.python)
    driver = (runner.python, "-P", "driver.py", str(runner.store), "busybox")
    done = subprocess.run(
        (*python, "-c", KILLER, killed, *driver, ":exec /bin/busybox sleep 4242"),
        cwd=runner.home,
        env=runner.env(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == b"[]\n", done.stderr.decode()


# The entry's name, kind, offset, magic, mask, emulator, flag: s390x programs of any ELF type.
REGISTER = (
    r":wherry-test:M:0:\x7fELF\x02\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x16"
    r":\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff"
)
BINFMT = "/proc/sys/fs/binfmt_misc"
OWN_BINFMT = (
    "unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc",
    "sh", "-c", f'mount -t binfmt_misc none {BINFMT} && $0 && exec "$@"',
)  # fmt: skip


@pytest.mark.parametrize("runner", ["root"], indirect=True)
@pytest.mark.parametrize("flags", ["F", "none", "unregistered"])
def test_programs_of_another_platform(runner: Runner, busybox: Path, flags: str) -> None:
    """In a user namespace with emulators of its own, so that the machine's are left alone."""
    if subprocess.run((*OWN_BINFMT, "true", "true"), capture_output=True, check=False).returncode:
        pytest.skip("this kernel has one binfmt_misc for all, which tests leave alone")
    # It goes by its name, and so ends with 0 whatever it is to emulate.
    emulator = runner.home / "true"
    shutil.copy(busybox, emulator)
    emulator.chmod(0o755)
    register = runner.home / f"register-{flags}"
    flag = "F" if flags == "F" else ""
    register.write_text(f"#!/bin/sh\necho '{REGISTER}:{emulator}:{flag}' > {BINFMT}/register\n")
    register.chmod(0o755)
    words = (*OWN_BINFMT, "true" if flags == "unregistered" else str(register))
    code, output = ask(runner, busybox, ":exec /bin/foreign", words=words)["steps"][0]
    platforms = check_of(doctor(runner, words)[1], "platforms")
    if flags == "F":
        assert (code, output) == (0, "")
        assert "linux/s390x (the emulator true)" in platforms["found"]
    else:
        assert code != 0
        assert "s390x" not in platforms["found"]
    assert ("exec format error" in output) is (flags == "unregistered")
