# SPDX-License-Identifier: Apache-2.0
"""What a hostile step leaves behind must not mislead wherry, later steps or whoever reads along."""

from __future__ import annotations

import errno
import io
import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from step_builds import make_builds
from step_runs import Done, Steps, run_steps
from wherry.engines.local.snapshot_files import _Opening, _SnapshotFile
from wherry.engines.local.step_output import StepOutput
from wherry.errors import BuildError
from wherry.oci.digest import sha256
from wherry.sandbox import rootpath
from wherry.sandbox.rootpath import resolve
from wherry.sandbox.step_spec import StepMount, StepSpec
from wherry.sandbox.streams import Pipes

# Sends a descriptor of the path given to the socket given: 0 to read, 1 to write.
SENDER = """
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
int main(int argc, char **argv) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    union { char space[CMSG_SPACE(sizeof(int))]; struct cmsghdr header; } control = {0};
    struct iovec piece = {"x", 1};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof control};
    int end = socket(AF_UNIX, SOCK_STREAM, 0);
    int file = open(argv[2], argc > 3 ? O_WRONLY | O_CREAT : O_RDONLY, 0644);
    strcpy(address.sun_path, argv[1]);
    control.header = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.header), &file, sizeof file);
    return file < 0 || connect(end, (struct sockaddr *)&address, sizeof address) != 0 ||
           sendmsg(end, &message, 0) != 1;
}
"""


@pytest.fixture(scope="module", params=("root", "root-plain"))
def steps(request: pytest.FixtureRequest) -> Iterator[Steps]:
    with run_steps(request.param) as running:
        yield running


def _send(steps: Steps, *words: str) -> tuple[Done, int]:
    """Run a step that sends a descriptor away; what became of it, and the descriptor."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("gcc is missing: the program that sends a descriptor cannot be made")
    place = Path(steps.make("sender"))
    if not (place / "send").exists():
        command = [compiler, "-static", "-O1", "-xc", "-", "-o", place / "send"]
        subprocess.run(command, input=SENDER.encode(), check=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        path = place / "socket"
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(20)
        mount = StepMount("bind", "/s", directory=str(place))
        number = steps.start(StepSpec(("/s/send", "/s/socket", *words), mounts=(mount,)))
        peer, _ = listener.accept()
        with peer:
            _, descriptors, _, _ = socket.recv_fds(peer, 1, 1)
    return steps.wait(number), descriptors[0]


def test_a_directory_sent_to_another_process_is_final_with_the_step(steps: Steps) -> None:
    done, descriptor = _send(steps, "/data")
    try:
        assert (done.code, done.error) == (0, "")
        with pytest.raises(OSError) as caught:
            os.open("late", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor)
        assert caught.value.errno == errno.EROFS
    finally:
        os.close(descriptor)
    assert not [path for path in Path(done.staged).rglob("*") if path.name == "late"]


def test_a_file_that_another_process_can_still_write_fails_the_step(steps: Steps) -> None:
    done, descriptor = _send(steps, "/data/new", "w")
    os.close(descriptor)
    assert done.error == "RunError"
    assert done.what == "what the step wrote is not final"


def test_what_was_keyed_by_one_content_is_not_recorded_with_another() -> None:
    class Changing:
        def open(self, _path: str) -> BinaryIO:
            return io.BytesIO(b"first")

    file = _SnapshotFile(cast(_Opening, Changing()), "app/program")
    file.note(file.digest())
    with pytest.raises(BuildError, match="/app/program changed after a RUN had made it"):
        file.note(sha256(b"second"))


def test_programs_with_broken_headers(steps: Steps) -> None:
    # Three program headers of no size at the very end of the file.
    fields = (2, 62, 1, 0, 64, 0, 0, 64, 0, 60000, 0, 0, 0)
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack("<HHIQQQIHHHHHH", *fields)
    octal = "".join(f"\\{byte:03o}" for byte in head + b"\x01\x01\x01")
    made = steps.sh(f"printf '{octal}' > /broken; chmod 755 /broken")
    done = steps.run(StepSpec(("/broken",)), steps.base, made.staged)
    assert done.error == ""
    assert done.code != 0
    assert "exec format error" in done.err.lower()


def test_a_program_with_a_zero_byte_in_its_name(steps: Steps) -> None:
    done = steps.run(StepSpec(("/bin/s\0h", "-c", "true")))
    assert (done.code, done.error) == (127, "")


def test_a_root_without_proc_is_no_missing_program(steps: Steps) -> None:
    done = steps.sh("echo ran", StepMount("tmpfs", "/proc"))
    if steps.has_runtime:
        assert (done.error, done.out) == ("RunError", "")
        assert "/proc" in done.why
    else:
        assert done.out == "ran\n"


def test_user_files_that_nobody_can_read_to_the_end(steps: Steps) -> None:
    made = steps.sh("rm /etc/group; mkfifo /etc/group")
    began = time.monotonic()
    done = steps.run(StepSpec(("/bin/true",)), steps.base, made.staged)
    assert done.error == "RunError"
    assert "/etc/group is a named pipe" in done.what
    assert time.monotonic() - began < 10


def test_a_huge_sparse_file_that_was_only_touched(steps: Steps) -> None:
    made = steps.sh("truncate -s 200G /sparse; echo end >> /sparse; touch -d @1000000000 /sparse")
    assert made.changed == ("sparse",)
    began = time.monotonic()
    lowers = (steps.base, made.staged)
    touch = "touch /sparse; touch -d @1000000000 /sparse"
    assert steps.run(StepSpec(("/bin/sh", "-c", touch)), *lowers).empty
    other = f"printf E | dd of=/sparse bs=1 seek=200G conv=notrunc 2> /dev/null; {touch}"
    assert steps.run(StepSpec(("/bin/sh", "-c", other)), *lowers).changed == ("sparse",)
    hole = f"printf x | dd of=/sparse bs=1 seek=99G conv=notrunc 2> /dev/null; {touch}"
    assert steps.run(StepSpec(("/bin/sh", "-c", hole)), *lowers).changed == ("sparse",)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("is_directory", [True, False])
def test_mount_points_are_never_made_through_links_that_appear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_directory: bool
) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "cache" / "inner").mkdir(parents=True)
    outside.mkdir()

    def resolved(top: str, path: str) -> str:
        found = resolve(top, path)
        # Another step with the same cache mount is as quick as this.
        (root / "cache" / "inner").rmdir()
        (root / "cache" / "inner").symlink_to(outside)
        return found

    monkeypatch.setattr(rootpath, "resolve", resolved)
    with pytest.raises(OSError):
        rootpath.make_mount_point(str(root), "/cache/inner/new", is_directory)
    assert not list(outside.iterdir())


def test_a_cache_mount_for_ids_that_do_not_exist() -> None:
    with make_builds("ranges") as builds:
        mount = "type=cache,target=/c,uid=1234,gid=99999999"
        builds.write(f"RUN --mount={mount} true\n")
        done = builds.run()
    assert done.returncode == 3
    assert "cannot give a cache mount to 1234:99999999" in done.stderr
    assert "subordinate id ranges" in done.stderr


def test_both_outputs_of_a_step_keep_their_common_order() -> None:
    script = "i=0; while [ $i -lt 500 ]; do echo o$i; echo e$i >&2; i=$((i+1)); done"
    reading, writing = os.pipe()
    null = os.open(os.devnull, os.O_RDONLY)
    pipes = Pipes((null, writing, os.dup(writing)), None)
    stdin, stdout, stderr = pipes.inner
    with subprocess.Popen(["sh", "-c", script], stdin=stdin, stdout=stdout, stderr=stderr):
        pipes.start()
        with open(reading, encoding="ascii") as file:
            lines = file.read().split()
    pipes.finish()
    assert lines == [f"{name}{number}" for number in range(500) for name in "oe"]


def _output(*pieces: bytes, secrets: tuple[bytes, ...] = ()) -> tuple[list[str], list[str]]:
    """The lines that were told, and those that were kept; each piece is read on its own."""
    told: list[str] = []
    with StepOutput(told.append, secrets) as output:
        for piece in pieces:
            os.write(output.end, piece)
            time.sleep(0.1)
    return told, list(output.last)


@pytest.mark.parametrize("cut", [1, 8, 15])
def test_a_secret_that_is_read_in_two_pieces_of_a_long_line(cut: int) -> None:
    secret = b"v3ry-s3cret-word"
    first = b"y" * (65536 - cut) + secret[:cut]
    told, kept = _output(b"begun", first, secret[cut:] + b"z" * 70000 + b"\n", secrets=(secret,))
    text = "".join(told)
    assert text == "begun" + "y" * (65536 - cut) + "***" + "z" * 70000
    assert all(secret[cut:].decode() not in line for line in kept)


def test_a_secret_longer_than_a_line_may_be() -> None:
    secret = os.urandom(50000).hex().encode()
    pieces = (secret[:40000], secret[40000:80000], secret[80000:] + b"!\n")
    told, _ = _output(*pieces, secrets=(secret,))
    assert told == ["***!"]


def test_kept_lines_have_no_terminal_controls_and_an_end() -> None:
    text = b"a\tb\x1b[31mred\x1b]0;title\x07 \x1bPq\x1b\\c\xc2\x9b2J \x1b]52;open"
    told, kept = _output(text + b"\n", b"w" * 9000 + b"\n")
    assert told == [text.decode(), "w" * 9000]
    assert kept == ["a\tbred c2J ", "w" * 2000 + " ..."]
