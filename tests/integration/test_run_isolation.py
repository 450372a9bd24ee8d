# SPDX-License-Identifier: Apache-2.0
"""What a RUN step can reach, and where its secrets go.

A step sees its own root, its own mounts and its own processes. A secret exists in memory, for its
step, while this runs: it is looked for in every file of the store, in the image and its history,
in caches, logs and messages, and in the arguments and environments of all processes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import signal
import socket
import tarfile
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from step_builds import (
    StepBuilds,
    descendants,
    facts,
    files_with,
    finish,
    make_builds,
    processes_with,
)

# `make test` has the ordinary user, `make soak` all.
KINDS = tuple(
    pytest.param(kind, marks=() if kind == "ranges" else pytest.mark.soak)
    for kind in ("ranges", "root", "one")
)
_BY_FILE, _BY_VARIABLE = "file-secret-", "variable-secret-"


@pytest.fixture(scope="module", params=KINDS)
def builds(request: pytest.FixtureRequest) -> Iterator[StepBuilds]:
    with make_builds(request.param) as made:
        yield made


@pytest.fixture(autouse=True)
def _nothing_left(builds: StepBuilds) -> Iterator[None]:
    yield
    assert builds.strays() == []


@pytest.fixture
def secrets(builds: StepBuilds) -> Iterator[dict[str, str]]:
    """Two secrets that nothing else holds; the first one's file is outside all that is searched."""
    words = {"file": _BY_FILE + uuid.uuid4().hex, "variable": _BY_VARIABLE + uuid.uuid4().hex}
    place = Path("/dev/shm") / f"wherry-{builds.marker}"
    place.write_text(words["file"])
    if builds.users:
        os.chown(place, *2 * (builds.users[0][0],))
    place.chmod(0o600)
    yield words
    place.unlink()


def flags(builds: StepBuilds) -> tuple[str, ...]:
    source = Path("/dev/shm") / f"wherry-{builds.marker}"
    return ("--secret", f"id=file,src={source}", "--secret", "id=variable,env=PASSED")


def searched(builds: StepBuilds) -> list[Path]:
    """Everything that a build may write to."""
    return [builds.store, builds.scratch, builds.context, builds.runner.home / "layout"]


# The sums show that each step has what it asked for, and no more.
SECRET_STEPS = """\
FROM start AS with
RUN --mount=type=secret,id=file --mount=type=secret,id=variable,env=WORD \\
    --mount=type=secret,id=variable,target=/etc/own,mode=0444 \\
    --mount=type=cache,target=/cache \\
    sha256sum </run/secrets/file >/sums && printf %s "$WORD" | sha256sum >>/sums \\
    && sha256sum </etc/own >>/sums && touch /cache/used \\
    && stat -c %a:%u /run/secrets/file /etc/own >/modes \\
    && stat -f -c %T /run/secrets/file /etc/own | sort -u >/kinds
RUN find /run /etc >/found 2>&1; env >/env; cat /proc/self/mountinfo >/mounts; \\
    cat /proc/*/environ /proc/*/cmdline >/processes 2>/dev/null; cat /etc/own >/own 2>&1; true
FROM start
COPY --from=with /sums /modes /kinds /found /env /mounts /processes /own /
"""


def test_secrets_are_their_steps_alone(builds: StepBuilds, secrets: dict[str, str]) -> None:
    builds.write(SECRET_STEPS)
    archive, metadata = builds.scratch / "secrets.tar", builds.scratch / "metadata.json"
    words = ("-o", f"type=oci,dest={archive}", "--metadata-file", str(metadata), *flags(builds))
    ended = builds.run(*words, PASSED=secrets["variable"])
    assert ended.returncode == 0, ended.stderr
    tree = facts(archive)["tree"]
    assert text_of(archive, "/sums") == sums_of(secrets)
    assert tree["/modes"]["content"] == repr("400:0\n444:0\n")
    assert tree["/kinds"]["content"] in (repr("tmpfs\n"), repr("ramfs\n"))
    assert "No such file" in text_of(archive, "/own")
    for path in ("/found", "/mounts"):
        listed = text_of(archive, path)
        assert "secrets" not in listed
        assert "/etc/own" not in listed
    hold_nothing(builds, secrets, ended.stdout + ended.stderr)
    # What is no secret is found: in the packed layer, and in the step's own files.
    known = files_with({"sum": sums_of(secrets)[:64]}, *searched(builds))
    assert len(known) > 1, known


def sums_of(secrets: dict[str, str]) -> str:
    return "".join(
        hashlib.sha256(secrets[name].encode()).hexdigest() + "  -\n"
        for name in ("file", "variable", "variable")
    )


def hold_nothing(builds: StepBuilds, secrets: dict[str, str], told: str) -> None:
    """No secret in what was told, in any file, in any process."""
    assert [name for name, word in secrets.items() if word in told] == []
    assert files_with(secrets, *searched(builds)) == []
    assert [line for _, line in processes_with(secrets)] == []
    for words in (("cache", "du", "--json"), ("images", "--json")):
        asked = builds.run(*words[1:], verb=words[0])
        assert asked.returncode == 0, asked.stderr
        assert not [word for word in secrets.values() if word in asked.stdout]


def text_of(archive: Path, path: str) -> str:
    """A file of the image, from the only layer that holds it."""
    with tarfile.open(archive) as members:
        for member in members:
            data = members.extractfile(member)
            packed = data.read() if data else b""
            if packed[:2] != b"\x1f\x8b":
                continue
            with tarfile.open(fileobj=io.BytesIO(gzip.decompress(packed))) as layer:
                for name in (path.strip("/"), "./" + path.strip("/")):
                    if name in layer.getnames():
                        file = layer.extractfile(name)
                        assert file is not None
                        return file.read().decode(errors="replace")
    raise AssertionError(f"no layer holds {path}")


def test_a_missing_secret_is_no_secret_unless_it_is_required(builds: StepBuilds) -> None:
    builds.write(
        "FROM start\nRUN --mount=type=secret,id=none test ! -e /run/secrets/none && echo y >/y\n"
    )
    assert builds.build()["tree"]["/y"]["content"] == repr("y\n")
    builds.write("FROM start\nRUN --mount=type=secret,id=none,required true\n")
    ended = builds.run()
    assert ended.returncode in (1, 2), ended.stderr
    assert "none" in ended.stderr[ended.stderr.index("error: ") :]
    assert "Traceback" not in ended.stderr


# Each step says its name to the test and waits for the end of the connection.
HOLDING = """\
FROM start AS holder
RUN --mount=type=secret,id=file --mount=type=secret,id=variable,env=WORD \\
    echo holder | nc 127.0.0.1 {port}
FROM start AS beside
RUN echo beside | nc 127.0.0.1 {port}; \\
    ls /proc | grep -c '^[0-9]' >/count; cat /proc/*/environ /proc/*/cmdline >/seen 2>/dev/null; \\
    for root in /proc/[0-9]*/root; do ls $root/run/secrets; done >/roots 2>&1; \\
    cat /proc/*/mountinfo >/mounts; echo looked | nc 127.0.0.1 {port}
FROM start
COPY --from=holder /etc/passwd /held
COPY --from=beside /count /seen /roots /mounts /
"""


class Meeting:
    """Where steps come to wait: each has a name, and goes on when it is let go."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(60)
        self._waiting: dict[str, socket.socket] = {}
        self.port = self._server.getsockname()[1]

    def await_step(self, name: str) -> None:
        while name not in self._waiting:
            connection, _ = self._server.accept()
            connection.settimeout(10)
            self._waiting[connection.makefile().readline().strip()] = connection

    def let_go(self, name: str) -> None:
        self._waiting.pop(name).close()

    def close(self) -> None:
        for connection in (*self._waiting.values(), self._server):
            connection.close()


@pytest.fixture
def meeting() -> Iterator[Meeting]:
    made = Meeting()
    yield made
    made.close()


def test_while_a_step_runs_its_secrets_are_in_memory_and_in_it(
    builds: StepBuilds, secrets: dict[str, str], meeting: Meeting
) -> None:
    """The step waits; meanwhile every file and every process of the machine is looked at."""
    builds.write(HOLDING.format(port=meeting.port))
    archive = builds.scratch / "held.tar"
    words = ("-o", f"type=oci,dest={archive}", *flags(builds))
    with builds.start(*words, PASSED=secrets["variable"]) as process:
        try:
            meeting.await_step("holder")
            meeting.await_step("beside")
            found = processes_with(secrets)
            assert [line for _, line in found if "cmdline" in line] == []
            # The user's command was given one of them, and the step that asked has it.
            own = {process.pid, *running_steps(process.pid)}
            assert {pid for pid, _ in found} >= {process.pid}
            assert len({pid for pid, _ in found}) > 1, "the step's environment is not seen"
            assert [line for pid, line in found if pid not in own] == []
            assert files_with(secrets, *searched(builds)) == []
            meeting.let_go("beside")
            meeting.await_step("looked")  # while the holder is still there
            meeting.let_go("looked")
            meeting.let_go("holder")
            ended = finish(process)
        finally:
            process.kill()
    assert ended.returncode == 0, ended.stderr
    for path in ("/seen", "/roots", "/mounts"):
        seen = text_of(archive, path)
        assert not [name for name, word in secrets.items() if word in seen], path
    assert "/run/secrets/" not in text_of(archive, "/mounts")
    assert int(text_of(archive, "/count")) <= 5, "processes of another step are seen"
    hold_nothing(builds, secrets, ended.stdout + ended.stderr)


def running_steps(ancestor: int) -> set[int]:
    """The processes whose program is the base's."""
    found = set()
    for pid in descendants(ancestor):
        with suppress(OSError):
            if os.readlink(f"/proc/{pid}/exe").endswith("/busybox"):
                found.add(pid)
    return found


@pytest.mark.parametrize(
    "ending",
    [
        "fails",
        pytest.param("is killed", marks=pytest.mark.soak),
        pytest.param("is interrupted", marks=pytest.mark.soak),
    ],
)
def test_a_secret_is_gone_however_the_step_ends(
    builds: StepBuilds, secrets: dict[str, str], meeting: Meeting, ending: str
) -> None:
    builds.write(
        "FROM start\n"
        "RUN --mount=type=secret,id=file --mount=type=secret,id=variable,env=WORD "
        f"echo step | nc 127.0.0.1 {meeting.port}; test -z $WORD\n"
    )
    # Without a terminal the root of the step that failed is kept.
    words = ("--on-error", "shell", *flags(builds))
    with builds.start(*words, PASSED=secrets["variable"]) as process:
        meeting.await_step("step")
        if ending == "fails":
            meeting.let_go("step")
        else:
            process.send_signal(signal.SIGKILL if ending == "is killed" else signal.SIGINT)
        ended = finish(process)
    assert ended.returncode == {"fails": 1, "is killed": -9, "is interrupted": 130}[ending]
    assert "Traceback" not in ended.stderr
    assert builds.strays() == []
    hold_nothing(builds, secrets, ended.stdout + ended.stderr)


def test_an_agent_is_its_steps_alone(builds: StepBuilds) -> None:
    builds.write(
        "FROM start\n"
        'RUN --mount=type=ssh test -S "$SSH_AUTH_SOCK" && echo $SSH_AUTH_SOCK >/where\n'
        'RUN echo "agent=$SSH_AUTH_SOCK" >/none; ls $(cat /where) >/gone 2>&1; true\n'
    )
    place = builds.scratch / "agent"
    archive = builds.scratch / "agent.tar"
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(place))
        agent.listen()
        if builds.users:
            os.chown(place, *2 * (builds.users[0][0],))
        ended = builds.run("-o", f"type=oci,dest={archive}", "--ssh", f"default={place}")
    place.unlink()
    assert ended.returncode == 0, ended.stderr
    assert str(place) not in text_of(archive, "/where")
    assert text_of(archive, "/none") == "agent=\n"
    assert "No such file" in text_of(archive, "/gone")


# --- the machine ------------------------------------------------------------------------------

# What a step that means harm would try, short of what would hurt if it worked.
HARM = """\
found() { echo "FOUND $*"; }
find / -xdev -name 'canary-*' | grep . && found canary
grep -l canary- /proc/[0-9]*/environ /proc/[0-9]*/cmdline && found processes
for place in /proc/[0-9]*/root /proc/[0-9]*/cwd; do
    ls $place$HOME_OF_TEST && found $place
    ls $place$STORE_OF_TEST && found store
done
mknod /tmp/disk b 254 0 && dd if=/tmp/disk count=1 bs=1 && found disk
mount -t tmpfs none /mnt && found mount
mount -o remount,rw /sys && found remount
umount /proc/kcore && found unmasked
test -n "$(head -c 1 /proc/kcore)" && found kcore
for file in sysrq-trigger sys/kernel/panic sys/kernel/core_pattern; do
    (: >>/proc/$file) && found $file
done
mkdir /sys/fs/cgroup/made && found cgroup
chroot /proc/1/root ls $STORE_OF_TEST && found chroot
test $(ls /proc | grep -c '^[0-9]') -le 6 || found others
true
"""


def test_a_step_reaches_nothing_of_the_machine(builds: StepBuilds) -> None:
    (builds.runner.home / f"canary-{builds.marker}").write_text("canary")
    builds.write(
        "FROM start\n"
        f"ENV HOME_OF_TEST={builds.runner.home} STORE_OF_TEST={builds.store}\n"
        "RUN --mount=type=bind,target=/context sh /context/harm.sh 2>/dev/null\n"
        "RUN ls -A /dev >/devices; grep -E 'Cap(Eff|Bnd)|Seccomp:' /proc/self/status >/rights\n",
        **{"harm.sh": HARM},
    )
    archive = builds.scratch / "harm.tar"
    ended = builds.run("-o", f"type=oci,dest={archive}")
    assert ended.returncode == 0, ended.stderr
    assert "FOUND" not in ended.stderr
    devices = text_of(archive, "/devices").split()
    assert "null" in devices
    assert not [name for name in devices if name.startswith(("vd", "sd", "nvme", "loop", "mem"))]
    rights = text_of(archive, "/rights")
    for name in ("CapEff", "CapBnd"):
        held = int(rights.partition(f"{name}:\t")[2].split()[0], 16)
        assert held & ~0xA00425FB == 0, rights  # Docker's set without CAP_MKNOD


def test_a_step_leaves_nothing_for_the_next_but_its_files(builds: StepBuilds) -> None:
    """Processes end with their step; shared memory, /tmp mounts and /dev entries are its own."""
    builds.write(
        "FROM start\n"
        "RUN (sleep 1234 >/dev/null 2>&1 &) ; echo x >/dev/shm/x; touch /dev/y; "
        "echo z >/proc/self/comm; echo file >/file\n"
        "RUN ls -A /dev/shm >/shm; ls /dev/y >/device 2>&1; "
        "ls /proc | grep -c '^[0-9]' >/count; ps >/processes; true\n"
    )
    archive = builds.scratch / "leaves.tar"
    ended = builds.run("-o", f"type=oci,dest={archive}")
    assert ended.returncode == 0, ended.stderr
    assert text_of(archive, "/shm") == ""
    assert "No such file" in text_of(archive, "/device")
    assert "sleep 1234" not in text_of(archive, "/processes")
    assert int(text_of(archive, "/count")) <= 5
    assert text_of(archive, "/file") == "file\n"
    assert [path for path in facts(archive)["tree"] if path.startswith("/dev/")] == []
    assert builds.strays() == []


def test_without_a_network_there_is_none(builds: StepBuilds, meeting: Meeting) -> None:
    builds.write(
        f"FROM start\nRUN --network=none nc -w 1 127.0.0.1 {meeting.port} || echo no >/no; "
        "ls /sys/class/net >/links; true\n"
    )
    archive = builds.scratch / "network.tar"
    ended = builds.run("-o", f"type=oci,dest={archive}")
    assert ended.returncode == 0, ended.stderr
    assert text_of(archive, "/no") == "no\n"


def test_what_a_step_may_not_ask_for_is_refused_before_any_step(builds: StepBuilds) -> None:
    builds.write("FROM start\nRUN touch /ran\nRUN --security=insecure true\n")
    ended = builds.run()
    assert ended.returncode == 2, ended.stderr
    assert "security.insecure" in ended.stderr[ended.stderr.index("error: ") :]
    builds.write("FROM start\nRUN --network=host true\n")
    ended = builds.run()
    assert ended.returncode == 2, ended.stderr
    assert "network.host" in ended.stderr[ended.stderr.index("error: ") :]
