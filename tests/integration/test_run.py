# SPDX-License-Identifier: Apache-2.0
"""`wherry run`, started for real: as root, as a user with id ranges, as a user with one id."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sandbox_runs import Runner, compile_probe, descendants, make_runner, wait_gone

# What does not depend on the kind of user is tried as root only.
KINDS = ("root", "ranges", "one")
# The kernel's default set for Docker but CAP_MKNOD: 0xa80425fb without bit 27.
DOCKER_CAPABILITIES = 0xA00425FB


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return compile_probe(tmp_path_factory.mktemp("probe"))


@pytest.fixture(scope="module", params=KINDS)
def runner(request: pytest.FixtureRequest, probe: bytes) -> Iterator[Runner]:
    with make_runner(request.param, probe) as runner:
        yield runner


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "runner" in request.fixturenames:
        assert request.getfixturevalue("runner").leftovers() == []


def facts(output: bytes) -> dict[str, str]:
    lines = output.decode().splitlines()
    found = dict(line.split("=", 1) for line in lines if "=" in line and " " not in line[:4])
    found |= dict(line.split(":\t", 1) for line in lines if line.startswith("Cap"))
    found |= {
        f"${line[4:].split('=', 1)[0]}": line.split("=", 1)[1]
        for line in lines
        if line.startswith("env ")
    }
    return found


def test_program_sees_the_images_user_and_settings(runner: Runner) -> None:
    done = runner.run("probe")
    seen = facts(done.stdout)
    assert done.returncode == 0, done.stderr
    assert (seen["uid"], seen["gid"], seen["cwd"]) == ("65532", "65532", "/work/here")
    assert (seen["$A"], seen["$PATH"], seen["$HOME"]) == ("image", "/app", "/home/nonroot")
    assert seen["pid"] == "1"
    assert not [name for name in seen if name in ("$WHERRY_STORE", "$PYTHONPATH", "$TERM")]


def test_isolation_is_told_in_one_line_where_it_is_less(runner: Runner) -> None:
    lines = runner.run("probe", "exit", "0").stderr.decode().splitlines()
    assert len(lines) == (1 if runner.kind == "one" else 0), lines
    assert all("less isolation" in line for line in lines)


def test_plain_user_holds_no_capability(runner: Runner) -> None:
    seen = facts(runner.run("probe").stdout)
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(seen[name], 16) == 0, name
    assert int(seen["CapBnd"], 16) == DOCKER_CAPABILITIES


def test_root_holds_dockers_capabilities_at_most(runner: Runner) -> None:
    seen = facts(runner.run("-u", "0", "probe").stdout)
    assert (seen["uid"], seen["gid"], seen["$HOME"]) == ("0", "0", "/root")
    for name in ("CapPrm", "CapEff", "CapBnd"):
        assert int(seen[name], 16) == DOCKER_CAPABILITIES, name
    assert int(seen["CapInh"], 16) == 0


def test_named_user_with_groups_and_home(runner: Runner) -> None:
    seen = facts(runner.run("-u", "app", "probe").stdout)
    assert (seen["uid"], seen["gid"], seen["$HOME"]) == ("1000", "1001", "/home/app")
    if runner.kind != "one":
        assert "2000" in seen["groups"].split()


@pytest.mark.parametrize("runner", ["root"], indirect=True)
def test_unknown_user_is_refused(runner: Runner) -> None:
    done = runner.run("-u", "nobody-here", "probe")
    assert done.returncode == 125
    assert b"unable to find user nobody-here" in done.stderr


@pytest.mark.parametrize("runner", ["root"], indirect=True)
def test_environment_and_directory_flags(runner: Runner) -> None:
    flags = ("-e", "A=flag", "-e", "FROM_CALLER", "-e", "B", "-e", "NOT_SET", "-w", "/tmp/new")
    seen = facts(runner.run(*flags, "probe", FROM_CALLER="yes").stdout)
    assert (seen["$A"], seen["$FROM_CALLER"], seen["cwd"]) == ("flag", "yes", "/tmp/new")
    assert "$B" not in seen
    assert "$NOT_SET" not in seen


@pytest.mark.parametrize("runner", ["root"], indirect=True)
def test_arguments_replace_the_command(runner: Runner) -> None:
    done = runner.run("probe", "echo", "--rm")
    assert done.stdout == b"--rm\n"


@pytest.mark.parametrize("runner", ["root"], indirect=True)
def test_entrypoint_replaces_both(runner: Runner) -> None:
    done = runner.run("--entrypoint", "probe", "probe", "echo", "found in PATH")
    assert done.stdout == b"found in PATH\n"
    assert runner.run("--entrypoint", "", "probe").returncode == 125


@pytest.mark.parametrize("code", [7, 255])
def test_exit_code_is_the_programs(runner: Runner, code: int) -> None:
    assert runner.run("probe", "exit", str(code)).returncode == code


def test_death_by_signal_is_128_and_its_number(runner: Runner) -> None:
    assert runner.run("probe", "die").returncode == 128 + signal.SIGSEGV


@pytest.mark.parametrize(
    ("program", "code", "words"),
    [
        ("/app/absent", 127, "no such program"),
        ("absent", 127, "in $PATH (/app)"),
        ("/app/script", 127, "interpreter /bin/absent"),
        ("/app/plain", 126, "Permission denied"),
        ("/app", 126, "Permission denied"),
        ("/app/text", 126, "exec format error"),
        ("/app/foreign", 126, "another architecture"),
    ],
)
def test_what_cannot_run_has_dockers_code(
    runner: Runner, program: str, code: int, words: str
) -> None:
    done = runner.run("--entrypoint", program, "probe")
    assert done.returncode == code, done.stderr
    assert words in done.stderr.decode()
    assert done.stdout == b""


@pytest.mark.parametrize("runner", ["root"], indirect=True)
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("no-such-image",), "there is no image"),
        (("--no-such-flag", "probe"), "--no-such-flag"),
        (("-v", "/absent-here:/x", "probe"), "/absent-here"),
        (("-v", "name:/x", "probe"), "named volumes"),
        (("-w", "relative", "probe"), "not absolute"),
        (("-p", "x", "probe"), "cannot publish"),
        (("-it", "probe"), "not a TTY"),
    ],
)
def test_wherrys_own_failures_are_125(runner: Runner, flags: tuple[str, ...], words: str) -> None:
    done = runner.run(*flags)
    assert done.returncode == 125
    assert words in done.stderr.decode()


def test_layers_are_applied_with_owners_and_whiteouts(runner: Runner) -> None:
    assert runner.run("probe", "read", "/data/private").stdout == b"for 65532 only"
    assert runner.run("probe", "read", "/gone").returncode == 2
    denied = runner.run("-u", "1000", "probe", "read", "/data/private").returncode
    # With one id every file is that id's.
    assert denied == (0 if runner.kind == "one" else 13)


def test_root_tree_is_fresh_writable_or_read_only(runner: Runner) -> None:
    assert runner.run("-u", "0", "probe", "write", "/new").returncode == 0
    assert runner.run("-u", "0", "probe", "read", "/new").returncode == 2
    assert runner.run("-u", "0", "--read-only", "probe", "write", "/new").returncode == 30
    assert runner.run("-u", "0", "--read-only", "probe", "write", "/dev/shm/new").returncode == 0


def test_volumes(runner: Runner) -> None:
    shared = runner.home / "shared"
    shared.mkdir(exist_ok=True)
    shared.chmod(0o777)
    (shared / "file").write_text("from outside")
    assert runner.run("-v", f"{shared}:/in", "probe", "read", "/in/file").stdout == b"from outside"
    assert runner.run("-v", f"{shared}:/in", "probe", "write", "/in/made").returncode == 0
    assert (shared / "made").read_text() == "written"
    readonly = runner.run("-u", "0", "-v", "./shared:/in:ro", "probe", "write", "/in/x")
    assert readonly.returncode == 30
    single = runner.run("-v", f"{shared}/file:/work/one.txt:ro", "probe", "read", "/work/one.txt")
    assert single.stdout == b"from outside"
    assert (shared / "file").exists()


def test_program_may_lie_in_a_volume(runner: Runner, probe: bytes) -> None:
    program = runner.home / "tool"
    program.write_bytes(probe)
    program.chmod(0o755)
    flags = ("-v", f"{program}:/tool", "--entrypoint")
    assert runner.run(*flags, "/tool", "probe", "echo", "there").stdout == b"there\n"
    assert runner.run(*flags, "/other", "probe").returncode == 127


def test_host_files_and_system_paths(runner: Runner) -> None:
    if Path("/etc/hosts").exists():
        found = runner.run("probe", "read", "/etc/hosts").stdout
        assert found == Path("/etc/hosts").read_bytes()
        assert runner.run("-u", "0", "probe", "write", "/etc/hosts").returncode == 30
    assert runner.run("probe", "read", "/proc/kcore").stdout == b""
    assert runner.run("-u", "0", "probe", "write", "/proc/sys/kernel/domainname").returncode == 30
    assert runner.run("-u", "0", "probe", "write", "/sys/kernel/x").returncode in (13, 30)
    assert runner.run("probe", "write", "/dev/null").returncode == 0
    assert runner.run("probe", "read", "/dev/sda").returncode == 2


def test_stdin_goes_through_only_when_asked(runner: Runner) -> None:
    data = os.urandom(1 << 20)
    assert runner.run("-i", "probe", "cat", stdin=data).stdout == data
    assert runner.run("probe", "cat", stdin=b"not for it").stdout == b""


def test_a_reader_that_goes_away_ends_the_program(runner: Runner) -> None:
    words = runner.command("probe", "read", "/dev/zero")
    with subprocess.Popen(words, env=runner.env(), cwd=runner.home, stdout=subprocess.PIPE) as run:
        assert run.stdout is not None
        run.stdout.read(4096)
        run.stdout.close()
        # Process 1 of a pid namespace is not killed by SIGPIPE; its write fails.
        assert run.wait(20) == 1


def test_the_callers_files_keep_their_owner(runner: Runner) -> None:
    output = runner.home / "output"
    owner = runner.home.stat().st_uid
    with output.open("wb") as file:
        os.fchown(file.fileno(), owner, -1)
        words = runner.command("probe", "echo", "kept")
        subprocess.run(words, env=runner.env(), cwd=runner.home, stdout=file, check=True)
    assert output.read_text() == "kept\n"
    assert output.stat().st_uid == owner


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"])
def test_signals_reach_the_program(runner: Runner, name: str) -> None:
    number = signal.Signals[name]
    with runner.start("probe", "wait") as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"ready\n"
        run.send_signal(number)
        assert run.stdout.readline().startswith(f"signal {number} ".encode())
        if name not in ("SIGTERM", "SIGINT"):
            run.send_signal(signal.SIGTERM)
            run.stdout.readline()
            number = signal.SIGTERM
        assert run.wait(10) == 40 + number


def test_three_signals_end_a_deaf_program(runner: Runner) -> None:
    with runner.start("probe", "deaf") as run:
        assert run.stdout is not None
        run.stdout.readline()
        for _ in range(3):
            run.send_signal(signal.SIGINT)
            time.sleep(0.1)
        assert run.wait(10) == 128 + signal.SIGKILL


def test_killed_wherry_leaves_nothing(runner: Runner) -> None:
    with runner.start("probe", "deaf") as run:
        assert run.stdout is not None
        run.stdout.readline()
        below = descendants(run.pid)
        assert len(below) >= 3
        assert runner.leftovers()
        run.kill()
        assert wait_gone(below) == []
    directories = [name for name in runner.leftovers() if name.startswith("run-")]
    assert directories == []
    # The lock's file goes with the next run.
    assert runner.run("probe", "exit", "0").returncode == 0


def test_what_a_killed_worker_leaves_the_next_run_removes(runner: Runner) -> None:
    with runner.start("probe", "deaf") as run:
        assert run.stdout is not None
        run.stdout.readline()
        below = descendants(run.pid)
        run.send_signal(signal.SIGSTOP)
        for pid in below:
            # The first one's end may take the others along.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        run.kill()
        assert wait_gone(below) == []
    assert [name for name in runner.leftovers() if name.startswith("run-")]
    assert runner.run("probe", "exit", "0").returncode == 0


def test_a_running_runs_directory_is_left_alone(runner: Runner) -> None:
    with runner.start("probe", "wait") as run:
        assert run.stdout is not None
        run.stdout.readline()
        before = runner.leftovers()
        assert runner.run("probe", "exit", "3").returncode == 3
        assert runner.leftovers() == before
        run.terminate()
        assert run.wait(10) == 40 + signal.SIGTERM


def test_signal_before_the_program_interrupts(runner: Runner) -> None:
    with runner.start("probe", "wait") as run:
        # As soon as the worker is there, handlers are; the program is not yet.
        end = time.monotonic() + 10
        while len(descendants(run.pid)) < 1 and time.monotonic() < end:
            time.sleep(0.002)
        run.send_signal(signal.SIGTERM)
        try:
            assert run.wait(5) == 128 + signal.SIGTERM
        except subprocess.TimeoutExpired:
            # The program was there already, but did not take signals yet: process 1 loses such.
            run.send_signal(signal.SIGTERM)
            assert run.wait(20) == 40 + signal.SIGTERM


class TestTerminal:
    """With `-it` the program has a terminal of its own, joined to the caller's."""

    def start(self, runner: Runner, *args: str) -> tuple[subprocess.Popen[bytes], int]:
        main, inner = pty.openpty()
        fcntl.ioctl(main, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
        run = subprocess.Popen(
            runner.command("-it", "probe", *args),
            env=runner.env(TERM="vt220"),
            cwd=runner.home,
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
        )
        os.close(inner)
        return run, main

    def read_until(self, main: int, words: bytes) -> bytes:
        data = b""
        end = time.monotonic() + 20
        while words not in data and time.monotonic() < end:
            if select.select([main], [], [], 0.2)[0]:
                try:
                    data += os.read(main, 4096)
                except OSError:
                    break
        assert words in data, data
        return data

    def test_is_a_terminal(self, runner: Runner) -> None:
        run, main = self.start(runner, "info")
        with run:
            data = self.read_until(main, b"CapAmb").replace(b"\r\n", b"\n")
            assert b"tty=111" in data
            assert b"env TERM=vt220" in data
            assert run.wait(10) == 0
        os.close(main)

    def test_without_input_needs_no_terminal(self, runner: Runner) -> None:
        done = runner.run("-t", "probe", "info", stdin=b"not for it")
        assert done.returncode == 0, done.stderr
        assert b"tty=111\r\n" in done.stdout
        assert b"env TERM=xterm\r\n" in done.stdout

    def test_control_c_and_window_size(self, runner: Runner) -> None:
        run, main = self.start(runner, "wait")
        with run:
            self.read_until(main, b"ready")
            # Raw mode comes just after the program's start.
            time.sleep(0.3)
            fcntl.ioctl(main, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
            run.send_signal(signal.SIGWINCH)
            self.read_until(main, b"signal 28 window 40x100")
            os.write(main, b"\x03")
            self.read_until(main, b"signal 2 ")
            assert run.wait(10) == 40 + signal.SIGINT
        os.close(main)

    def test_modes_of_the_callers_terminal_come_back(self, runner: Runner) -> None:
        main, inner = pty.openpty()
        before = termios.tcgetattr(inner)
        words = runner.command("-it", "probe", "echo", "hello")
        done = subprocess.run(
            words, env=runner.env(), cwd=runner.home, stdin=inner, stdout=inner, check=False
        )
        assert done.returncode == 0
        assert termios.tcgetattr(inner) == before
        assert b"hello" in self.read_until(main, b"hello")
        os.close(main)
        os.close(inner)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("", 0))
        return int(found.getsockname()[1])


def _ask(port: int) -> bytes:
    end = time.monotonic() + 10
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
                return client.recv(64)
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def test_port_is_the_programs_own(runner: Runner) -> None:
    port = _free_port()
    with runner.start("-p", f"{port}:{port}", "probe", "listen", str(port)) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"ready\n"
        assert _ask(port) == b"hello\n"
        assert run.wait(10) == 0


@pytest.mark.parametrize("runner", ["root"], indirect=True)
def test_another_port_is_relayed(runner: Runner) -> None:
    outer, port = _free_port(), _free_port()
    with runner.start("-p", f"127.0.0.1:{outer}:{port}", "probe", "listen", str(port)) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"ready\n"
        assert _ask(outer) == b"hello\n"
        assert run.wait(10) == 0


@pytest.mark.parametrize("runner", ["root"], indirect=True)
def test_taken_port_is_refused_before_anything_starts(runner: Runner) -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        done = runner.run("-p", f"{port}:{port}", "probe", "echo", "started")
    assert (done.returncode, done.stdout) == (125, b"")
    assert f"port {port} is already in use" in done.stderr.decode()


def test_refused_user_namespaces_are_3_with_the_remedy(probe: bytes) -> None:
    with make_runner("one", probe) as runner:
        script = Path(__file__).parents[1] / "without_namespaces.py"
        limited = runner._replace(words=(sys.executable, str(script), *runner.words))
        done = limited.run("probe", "echo", "started")
        assert (done.returncode, done.stdout) == (3, b""), done.stderr
        text = done.stderr.decode()
        assert "sysctl -w user.max_user_namespaces" in text
        assert "-o type=local" in text
        assert runner.leftovers() == []


@pytest.mark.parametrize("kind", ["root", "ranges"])
def test_without_a_runtime_that_works(kind: str, probe: bytes) -> None:
    with make_runner(kind, probe) as runner:
        # A runtime that fails whatever it is asked stands for those that this kernel refuses.
        tools = runner.home / "tools"
        tools.mkdir()
        for name in ("runc", "crun"):
            (tools / name).write_text("#!/bin/sh\nexit 1\n")
            (tools / name).chmod(0o755)
        path = f"{tools}:/usr/bin:/bin"
        done = runner.run("probe", PATH=path)
        seen = facts(done.stdout)
        assert done.returncode == 0, done.stderr
        assert (seen["uid"], seen["gid"], seen["pid"]) == ("65532", "65532", "1")
        assert int(seen["CapEff"], 16) == 0
        assert b"no OCI runtime works here (runc: it ended with status 1" in done.stderr
        seen = facts(runner.run("-u", "app", "probe", PATH=path).stdout)
        assert seen["groups"].split() == ["2000"]
        seen = facts(runner.run("-u", "0", "probe", PATH=path).stdout)
        assert int(seen["CapEff"], 16) == DOCKER_CAPABILITIES
        for program, code in (("/app/absent", 127), ("/app/plain", 126)):
            done = runner.run("--entrypoint", program, "probe", PATH=path)
            assert done.returncode == code
        volume = f"{runner.home}/tools:/tools"
        done = runner.run("-v", volume, "--entrypoint", "/tools/x", "probe", PATH=path)
        assert done.returncode == 127
        assert runner.leftovers() == []


@pytest.mark.parametrize("kind", ["ranges", "one"])
def test_where_proc_cannot_be_mounted(kind: str, probe: bytes) -> None:
    """As inside containers: a covered part of /proc forbids to mount another."""
    with make_runner(kind, probe) as runner:
        cover = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /proc/fs && exec "$@"', "-")
        inside = runner._replace(words=(*cover, *runner.words))
        done = inside.run("probe")
        seen = facts(done.stdout)
        assert done.returncode == 0, done.stderr
        assert (seen["uid"], seen["pid"]) == ("65532", "1")
        assert runner.leftovers() == []


def test_root_of_a_namespace_with_one_id(probe: bytes) -> None:
    with make_runner("one", probe) as runner:
        root = runner._replace(words=(*runner.words, "unshare", "--user", "--map-root-user"))
        done = root.run("probe")
        assert done.returncode == 0, done.stderr
        assert facts(done.stdout)["uid"] == "65532"
        assert b"only one user id" in done.stderr
        assert runner.leftovers() == []
