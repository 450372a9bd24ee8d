# SPDX-License-Identifier: Apache-2.0
"""Dockerfile builds under attack: by contexts, archives, bases, servers, and other processes."""

import gzip
import os
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from attacks import WHERRY, descendants_alive, finish, spawn
from dockerfile_attacks import (
    SECRET,
    Attack,
    Member,
    Outcome,
    bomb,
    compressed,
    many,
    packed,
    without_rights,
)
from fault_registry import FaultRegistry
from git_server import git, git_server
from registry_samples import image, index, layer, write_layout
from registry_servers import Server
from registry_tools import Skopeo
from store_samples import faults
from transport_servers import saying

ALL = "FROM scratch\nCOPY . /in/\n"
ADD = "FROM scratch\nADD archive /in/\n"
HARD, SOFT, DIRECTORY = tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE


@pytest.fixture
def attack(tmp_path: Path, go_env: dict[str, str]) -> Attack:
    return Attack(tmp_path, go_env)


@pytest.fixture
def fault_registry() -> Iterator[FaultRegistry]:
    with FaultRegistry() as registry:
        yield registry


# --- links and names in the context ---------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "COPY ../outside/secret /",
        "COPY /../outside/secret /",
        "COPY up/secret /",
        "COPY far /",
        "COPY near /",
        "COPY d/up/secret /",
        "COPY */secret /",
        "COPY up/* /",
        "COPY --parents up/secret /",
        "COPY --parents ../outside/./secret /",
        "COPY --link up /x",
        "ADD up/secret /",
        "ADD far /",
        "COPY --from=other out/secret /",
        "COPY --from=other ../outside/secret /",
        "COPY round /",
    ],
)
def test_no_name_leads_out_of_a_context(attack: Attack, line: str) -> None:
    attack.write("d/keep")
    (attack.root / "up").symlink_to("../outside")
    (attack.root / "d/up").symlink_to("../../outside")
    (attack.root / "near").symlink_to("../outside/secret")
    (attack.root / "far").symlink_to(attack.outside / "secret")
    (attack.root / "round").symlink_to("round")
    other = attack.place / "other"
    other.mkdir()
    (other / "out").symlink_to(attack.outside)
    built = attack.build(f"FROM scratch\n{line}\n", "--build-context", f"other={other}")
    # A wildcard that matches nothing is no error.
    assert built.code or not built.contents


def test_links_in_a_directory_are_copied_as_links(attack: Attack) -> None:
    (attack.root / "far").symlink_to(attack.outside / "secret")
    (attack.root / "etc").symlink_to("/etc")
    files = attack.build(ALL).files
    assert files["in/far"].issym()
    assert files["in/etc"].linkname == "/etc"


def test_links_in_an_image_stay_in_it(attack: Attack) -> None:
    attack.write("a", "A")
    (attack.root / "l").symlink_to(attack.outside)
    built = attack.build("FROM scratch\nCOPY . /d/\nCOPY a /d/l/x/\nCOPY a /d/l/secret")
    inside = str(attack.outside).lstrip("/")
    assert built.contents[f"{inside}/secret"] == b"A"
    assert (attack.outside / "secret").read_text() == SECRET


def test_the_dockerfile_may_not_be_a_pipe_without_a_writer(attack: Attack) -> None:
    os.mkfifo(attack.root / "Dockerfile")
    attack.build(None, "--frontend", "dockerfile").refused(code=2)


def test_the_ignore_file_may_not_be_a_pipe_without_a_writer(attack: Attack) -> None:
    os.mkfifo(attack.root / ".dockerignore")
    attack.build(ALL).refused(code=2)


def test_the_dockerfile_may_be_an_open_pipe(attack: Attack) -> None:
    attack.write("a")
    reader, writer = os.pipe()
    os.write(writer, ALL.encode())
    os.close(writer)
    argv = [sys.executable, "-m", "wherry", "build", "-f", f"/dev/fd/{reader}", "."]
    done = subprocess.run(
        argv, cwd=attack.root, env=attack.env, pass_fds=(reader,), capture_output=True, text=True,
        timeout=20, check=False,
    )  # fmt: skip
    os.close(reader)
    assert "in/a" in attack.judged(done.returncode, done.stdout, done.stderr).files


def test_an_endless_dockerfile(attack: Attack) -> None:
    attack.build(None, "-f", "/dev/zero").refused(code=2)


def test_pipes_and_sockets_are_not_waited_for(attack: Attack) -> None:
    os.mkfifo(attack.root / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        # Its path may be short only.
        here = os.open(attack.root, os.O_PATH)
        listening.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
        listening.listen()
        files = attack.build(ALL).files
        assert files["in/pipe"].isfifo()
        assert files["in/socket"].isfile()
        again = attack.build("FROM scratch\nADD pipe /p\nADD socket /\n").files
    assert again["p"].isfifo()


def test_unreadable_files_are_named(attack: Attack) -> None:
    if os.geteuid() == 0 and subprocess.run([*without_rights(), "true"], check=False).returncode:
        pytest.skip("setpriv cannot take root's rights away here")
    prefix = without_rights() if os.geteuid() == 0 else ()
    attack.write("fine")
    attack.write("locked").chmod(0)
    attack.build(ALL, prefix=prefix).refused("locked", "Permission denied", code=1)
    attack.write(".dockerignore", "locked")
    assert "in/fine" in attack.build(ALL, prefix=prefix).files
    attack.write("shut/inside")
    (attack.root / "shut").chmod(0)
    attack.build(ALL, prefix=prefix).refused("shut", code=1)
    (attack.root / "shut").chmod(0o755)
    (attack.root / "Dockerfile").chmod(0)
    attack.build(prefix=prefix).refused("Dockerfile", "Permission denied", code=3)


def test_strange_names_arrive_as_they_are(attack: Attack) -> None:
    root = os.fsencode(attack.root)
    names = [b"new\nline", b"\xff\xfe", b"n" * 255, "\u202etxt".encode(), b"\x1b[31m", b"-rf", b"*"]
    for name in names:
        Path(os.fsdecode(root + b"/" + name)).write_bytes(b"x")
    files = attack.build(ALL).files
    for name in names:
        assert os.fsdecode(b"in/" + name) in files
    attack.build(b"FROM scratch\nCOPY \xff\xfe /\xfe\n")
    attack.build("FROM scratch\nCOPY " + "n" * 256 + " /\n").refused(code=1)


def test_deep_paths(attack: Attack) -> None:
    here = os.open(attack.root, os.O_RDONLY)
    for _ in range(40):
        os.mkdir("d" * 100, dir_fd=here)
        inner = os.open("d" * 100, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(os.open("f", os.O_WRONLY | os.O_CREAT, dir_fd=here))
    os.close(here)
    path = "/".join(["d" * 100] * 40)
    assert f"in/{path}/f" in attack.build(ALL).files
    assert "to/f" in attack.build(f"FROM scratch\nCOPY {path}/ /to/\n").files


def test_a_directory_that_is_too_deep_is_refused(attack: Attack) -> None:
    here = os.open(attack.root, os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    try:
        attack.build(ALL).refused("nested deeper", code=1)
    finally:
        # Python's own way to remove a directory, which pytest uses, cannot.
        subprocess.run(["rm", "-rf", attack.root / "d"], check=True)


# --- another process changes the context ----------------------------------------------------------


@contextmanager
def meanwhile(step: Callable[[], None]) -> Iterator[None]:
    """Do `step` again and again while the block runs."""
    end = threading.Event()

    def loop() -> None:
        while not end.is_set():
            step()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def test_a_directory_that_becomes_a_link_outwards(attack: Attack) -> None:
    """`secret` is there under both names of `d`, and is only ever read in the context."""
    attack.write("d/secret", "harmless")
    (attack.outside / "far").symlink_to(attack.outside)
    inside, aside = attack.root / "d", attack.place / "aside"

    def swap() -> None:
        inside.rename(aside)
        inside.symlink_to(attack.outside)
        time.sleep(0.0003)
        inside.unlink()
        aside.rename(inside)
        time.sleep(0.0003)

    codes = set()
    with meanwhile(swap):
        for number in range(12):
            line = ("COPY . /", "COPY d/secret /", "COPY d /d/", "ADD d/sec* /")[number % 4]
            codes.add(attack.build(f"FROM scratch\n{line}\n", "--no-cache").code)
    assert codes <= {0, 1}


def test_a_file_that_becomes_a_link_or_a_pipe(attack: Attack) -> None:
    path = attack.write("f", "harmless")

    def swap() -> None:
        for make in (lambda: path.symlink_to(attack.outside / "secret"), lambda: os.mkfifo(path)):
            path.unlink()
            make()
            time.sleep(0.0003)
            path.unlink()
            path.write_text("harmless")
            time.sleep(0.0003)

    with meanwhile(swap):
        for _ in range(8):
            attack.build("FROM scratch\nCOPY f /\nADD f /g\n", "--no-cache")


def test_files_that_grow_shrink_and_vanish(attack: Attack) -> None:
    """A file that is copied is whole in one state, or the build says that it changed."""
    path = attack.write("f", b"a" * 300_000)
    attack.write("g", "g")
    states = [b"a" * 300_000, b"b" * 300_000, b"c" * 900_000, b"d", b""]

    def change() -> None:
        for state in states:
            new = path.with_name("new")
            new.write_bytes(state)
            new.rename(path)
            with path.open("ab") as file:
                file.write(state[:1] * 10)
            time.sleep(0.0003)
            path.unlink()

    with meanwhile(change):
        for _ in range(10):
            built = attack.build("FROM scratch\nCOPY f* g /in/\n", "--no-cache")
            if built.code:
                assert built.code == 1
                continue
            content = built.contents.get("in/f", b"")
            assert len(set(content)) <= 1
            assert len(content) in {len(state) + more for state in states for more in (0, 10)}


def test_a_file_that_grows_without_end(attack: Attack) -> None:
    path = attack.write("log", b"x" * 100_000)

    def grow() -> None:
        with path.open("ab") as file:
            file.write(b"y" * 5000)
        time.sleep(0.0003)

    with meanwhile(grow):
        for _ in range(3):
            attack.build(ALL, "--no-cache", timeout=20)


# --- archives -------------------------------------------------------------------------------------

HOSTILE = {
    "absolute": [Member("/abs", b"A"), Member("//abs2", b"A")],
    "up": [Member("../up", b"A"), Member("a/../../../up2", b"A")],
    "through a link": [
        Member("l", kind=SOFT, link="/outside"), Member("l/secret", b"A"),
    ],
    "through a relative link": [
        Member("l", kind=SOFT, link="../../../../../.."), Member("l/escaped", b"A"),
    ],
    "link chain": [
        Member("a", kind=SOFT, link="b"), Member("b", kind=SOFT, link="a"), Member("a/x", b"A"),
    ],
    "hard link outwards": [Member("h", kind=HARD, link="../../outside/secret")],
    "hard link to an absolute name": [Member("h", kind=HARD, link="/etc/passwd")],
    "hard link through a link": [
        Member("l", kind=SOFT, link="/etc"), Member("h", kind=HARD, link="l/passwd"),
    ],
    "hard link to itself": [Member("h", kind=HARD, link="h")],
    "hard link to a directory": [Member("d", kind=DIRECTORY), Member("h", kind=HARD, link="d")],
    "devices": [Member("null", kind=tarfile.CHRTYPE), Member("sda", kind=tarfile.BLKTYPE)],
    "pipe": [Member("fifo", kind=tarfile.FIFOTYPE)],
    "the root as a link": [Member("./", kind=SOFT, link="/outside"), Member("secret", b"A")],
    "file and directory": [Member("x", b"A"), Member("x/y", b"A")],
    "whiteouts": [Member(".wh..wh..opq"), Member(".wh.x"), Member(".wh..."), Member(".wh.")],
    "strange names": [Member("a\nb", b"A"), Member("n" * 300, b"A"), Member("/".join("d" * 2000))],
    "no name": [Member("", b"A"), Member(".", b"A"), Member("..", b"A")],
    "long link": [Member("l", kind=SOFT, link="x" * 70_000)],
    "empty link": [Member("l", kind=SOFT, link="")],
}  # fmt: skip


def outside_of(place: str, names: object) -> list[str]:
    return [name for name in names if name != place and not f"{name}/".startswith(f"{place}/")]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", HOSTILE)
def test_archives_stay_where_they_are_unpacked(attack: Attack, name: str) -> None:
    data = packed(HOSTILE[name])
    attack.write("archive", data)
    built = attack.build(ADD)
    assert not outside_of("in", built.files)
    # The same as a context: a Dockerfile that copies all of it.
    whole = packed([*HOSTILE[name], Member("Dockerfile", ALL.encode())])
    assert not outside_of("in", attack.build(source="-", stdin=whole).files)
    assert (attack.outside / "secret").read_text() == SECRET


def test_links_of_archives_as_contexts_lead_nowhere(attack: Attack) -> None:
    members = [Member("l", kind=SOFT, link=str(attack.outside)),
               Member("Dockerfile", b"FROM scratch\nCOPY l/secret /\n")]  # fmt: skip
    attack.build(source="-", stdin=packed(members)).refused(code=1)
    members[1] = Member("Dockerfile", kind=SOFT, link=str(attack.outside / "secret"))
    attack.build(source="-", stdin=packed(members)).refused(code=2)
    members[1] = Member("Dockerfile", kind=SOFT, link="Dockerfile")
    attack.build(source="-", stdin=packed(members)).refused(code=2)


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "xz", "zstd"])
def test_bombs(attack: Attack, compression: str) -> None:
    data = bomb(compression, 20_000_000)
    assert len(data) < 100_000
    attack.write("archive", data)
    attack.build(ADD, "--unpack-limit", "10M").refused("--unpack-limit", code=1)
    assert attack.build(ADD, "--unpack-limit", "30M").files["in/zeros"].size == 20_000_000
    # Not unpacked, nothing to limit.
    copied = attack.build("FROM scratch\nCOPY archive /\n", "--unpack-limit", "10M")
    assert copied.files["archive"].size == len(data)
    attack.build(None, "--unpack-limit", "10M", source="-", stdin=data).refused(
        "--unpack-limit", code=2
    )


@pytest.mark.soak
def test_a_bomb_is_known_by_its_ratio(attack: Attack) -> None:
    """Above 1 GiB a ratio counts, so that 100 GB of zeros are not written first."""
    piece = compressed(bytes(1 << 24), "zstd")
    info = tarfile.TarInfo("zeros")
    info.size = 1 << 34
    head = compressed(info.tobuf(tarfile.GNU_FORMAT), "zstd")
    attack.write("archive", head + piece * 1024)
    attack.build(ADD, timeout=30).refused("200 times", "--unpack-limit", code=1)


@pytest.mark.soak
def test_more_entries_than_are_allowed(attack: Attack) -> None:
    attack.write("archive", compressed(many(1_000_001), "zstd"))
    attack.build(ADD, timeout=60).refused("--unpack-limit", code=1)


@pytest.mark.parametrize("compression", ["plain", "gzip", "bzip2", "xz", "zstd"])
def test_cut_and_damaged_archives(attack: Attack, compression: str) -> None:
    data = compressed(packed([Member("a", os.urandom(40_000)), Member("b", b"B")]), compression)
    for cut in (len(data) // 2, len(data) - (20_000 if compression == "plain" else 3)):
        attack.write("archive", data[:cut])
        attack.build(ADD).refused(code=1)
    attack.build(None, source="-", stdin=data[: len(data) // 2]).refused(code=2)
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 0xFF
    attack.write("archive", bytes(flipped))
    # Not every compression notices; where the beginning is damaged, it is no archive.
    attack.build(ADD)


def test_headers_that_lie(attack: Attack) -> None:
    info = tarfile.TarInfo("f")
    info.size = 1 << 50
    heads = [info.tobuf(tarfile.GNU_FORMAT)]
    for kind in (b"x", b"g", b"L", b"K"):
        for size in (1 << 50, 1 << 21, 10):
            long = tarfile.TarInfo("f")
            long.type, long.size = kind, size
            heads.append(long.tobuf(tarfile.GNU_FORMAT) + b"999999 a=b" + bytes(502))
    negative = bytearray(heads[0])
    negative[124:136] = b"\xff" * 12
    sum_ = sum(negative[:148]) + 8 * 32 + sum(negative[156:])
    negative[148:156] = b"%06o\0 " % sum_
    heads.append(bytes(negative))
    for number, head in enumerate(heads):
        attack.write(f"archive{number}", head + bytes(1024))
    for number in range(len(heads)):
        attack.build(f"FROM scratch\nADD archive{number} /in/\n").refused(code=1)


# --- Dockerfiles ----------------------------------------------------------------------------------

LONG = "x" * 5_000_000
DEEP = "${A:-" * 20_000 + "}" * 20_000
QUOTED = '${A:-"' * 2000 + '"}' * 2000
DOCKERFILES: dict[str, tuple[str | bytes, int | None]] = {
    "binary": (bytes(range(256)) * 100, 2),
    "a program": (b"\x7fELF" + bytes(1000), 2),
    "NULs": (b"FROM scratch\nCOPY a\0b /\n", 2),
    "UTF-16": ("FROM scratch\n".encode("utf-16"), 2),
    "no UTF-8": (b"FROM scratch\nLABEL a=\xff\xfe\n", None),
    "empty": (b"", 2),
    "5 MB of comments": ("# comment\n" * 500_000, 2),
    "5 MB of LABEL": ("FROM scratch\n" + "LABEL a=b\n" * 20_000, None),
    "one line of 5 MB": (LONG, 2),
    "one argument of 5 MB": (f"FROM scratch\nCOPY {LONG} /\n", None),
    "one value of 5 MB": (f"FROM scratch\nENV A={LONG}\n", None),
    "a line continued for 5 MB": ("FROM scratch\nENV A=" + "x\\\n" * 1_000_000 + "y\n", None),
    "more than 16 MiB": ("#" * (17 << 20), 2),
    "10,000 stages": ("".join(f"FROM scratch AS s{n}\n" for n in range(10_000)), 0),
    "10,000 stages, each on the last": (
        "FROM scratch AS s0\n" + "".join(f"FROM s{n} AS s{n + 1}\n" for n in range(10_000)), None,
    ),
    "2,000 stages that copy from the last": (
        "FROM scratch AS s0\nCOPY f /f\n"
        + "".join(f"FROM scratch AS s{n + 1}\nCOPY --from=s{n} /f /f\n" for n in range(2000)),
        None,
    ),
    "a cycle": (
        "FROM scratch AS a\nCOPY --from=b / /\nFROM scratch AS b\nCOPY --from=a / /\n", 2,
    ),
    "a stage on itself": ("FROM a AS a\n", None),
    "copy from itself": ("FROM scratch AS a\nCOPY --from=a / /\n", 2),
    "nested words": (f"FROM scratch\nENV A={DEEP}\n", None),
    "nested words in quotes": (f'FROM scratch\nENV A="{QUOTED}"\n', None),
    "slow pattern": (
        "FROM scratch\nARG A=" + "a" * 30_000 + "\nENV B=${A##*a*a*a*a*a*a*b}\n", None,
    ),
    "slow replacement": ("FROM scratch\nARG A=" + "a" * 5_000 + "\nENV B=${A//*a*a*a*b/c}\n", None),
    "nested JSON": (f"FROM scratch\nCMD {'[' * 100_000}\n", None),
    "a heredoc without an end": ("FROM scratch\nCOPY <<E /f\n" + "line\n" * 100_000, 2),
    "1,000 heredocs": (
        "FROM scratch\nCOPY " + " ".join(f"<<E{n}" for n in range(1000)) + " /d/\n"
        + "".join(f"{n}\nE{n}\n" for n in range(1000)), 0,
    ),
    "a heredoc that names a path": ("FROM scratch\nCOPY <<../../x /\nA\n../../x\n", 2),
    "wildcards": (f"FROM scratch\nCOPY {'*a' * 200}b /\n", None),
    "a number too long": (f"FROM scratch\nCOPY --chown={'9' * 5000} f /\n", None),
    "a long mode": (f"FROM scratch\nCOPY --chmod={'7' * 5000} f /\n", 2),
    "a long time": (f"FROM scratch\nHEALTHCHECK --interval={'9' * 5000}h CMD x\n", 2),
    "a port too long": (f"FROM scratch\nEXPOSE {'9' * 5000}\n", 2),
    "wide ports": ("FROM scratch\n" + "EXPOSE 1-65535\n" * 20, None),
    "another front end": ("# syntax=evil.invalid/x\nFROM scratch\n", 2),
}  # fmt: skip


@pytest.mark.parametrize("name", DOCKERFILES)
def test_dockerfiles_of_every_monstrous_kind(attack: Attack, name: str) -> None:
    data, code = DOCKERFILES[name]
    attack.write("f", "F")
    attack.write("a" * 200, "A")
    built = attack.build(data)
    assert code is None or built.code == code, built.stderr[-2000:]
    assert len(built.stderr) < 2_000_000


def test_values_that_double(attack: Attack) -> None:
    attack.build(
        "FROM scratch\nENV A=xxxxxxxx\n" + "ENV A=$A$A\n" * 40,
        prefix=("prlimit", "--as=2000000000"),
    )


@pytest.mark.parametrize(
    "rule",
    ["*a" * 100 + "b", "**/" * 100 + "b", "[a-" * 50, "!" * 1000, "\\", "[^", "**" * 500 + "z",
     "../" * 1000 + "etc", "/" * 10_000, "x" * 1_000_000, "(a+)+$", "a{1,99999}", "\xff\xfe"],
)  # fmt: skip
def test_pathological_ignore_rules(attack: Attack, rule: str) -> None:
    for number in range(50):
        attack.write("a" * (200 + number % 50), "A")
        attack.write(f"d{number}/" + "/".join("a" * 100) + "/a", "A")
    attack.write(".dockerignore", f"{rule}\n!{rule}x\n".encode("latin-1"))
    attack.build(ALL)


def test_many_ignore_rules(attack: Attack) -> None:
    attack.write("a", "A")
    attack.write(".dockerignore", "".join(f"**/x{n}*\n!**/y{n}\n" for n in range(5_000)))
    assert "in/a" in attack.build(ALL).files


# --- killed, interrupted, out of room, twice at once ----------------------------------------------

DRIVER = Path(__file__).parents[1] / "dockerfile_kill_driver.py"
STEPS = (
    "FROM scratch AS a\nCOPY a /a\nADD archive /in/\nFROM scratch\nCOPY --from=a / /\nCOPY d /d\n"
)
POINTS = (
    ("lowered", 1), ("image-stored", 1), ("before-delivery", 1), ("tag-before", 1),
    ("tag-after", 1), ("blob-staged", 1), ("blob-staged", 3), ("blob-synced", 2),
    ("blob-renamed", 2), ("blob-renamed", 4), ("record-before", 1), ("record-before", 4),
    ("record-after", 2),
)  # fmt: skip


def write_steps(attack: Attack) -> str:
    """A context of a few steps; the digest of an undisturbed build."""
    attack.write("a", os.urandom(100_000))
    attack.write("archive", compressed(packed([Member("b", os.urandom(100_000))]), "gzip"))
    attack.write("d/c", "C")
    attack.write("Dockerfile", STEPS)
    words = ("build", "-q", "-f", "Dockerfile", ".", "--store", attack.place / "undisturbed")
    return finish(spawn(*words, cwd=attack.root, env=attack.env)).stdout.strip().rpartition("@")[2]


@pytest.mark.parametrize(("point", "occurrence"), POINTS)
def test_killed_at_a_step_boundary(attack: Attack, point: str, occurrence: int) -> None:
    right = write_steps(attack)
    words = [attack.root, attack.store, point, occurrence, int(signal.SIGKILL)]
    killed = subprocess.run(
        [sys.executable, str(DRIVER), *map(str, words)], cwd=attack.root, env=attack.env,
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed
    assert faults(attack.store) == []
    pruned = subprocess.run(
        [*WHERRY, "cache", "prune"], env=attack.env, capture_output=True, text=True, timeout=20,
        check=False,
    )  # fmt: skip
    assert pruned.returncode == 0, pruned.stderr
    assert attack.build().digest == right
    attack.assert_whole()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(attack: Attack, number: signal.Signals) -> None:
    """While an archive comes in by a pipe, and while one is unpacked."""
    attack.write("Dockerfile", ADD)
    attack.write("archive", bomb("zstd", 1_500_000_000))
    attack.env["TEST_MARKER"] = marker = uuid.uuid4().hex
    runs = (("-f", "Dockerfile", "."), ("-",))
    for words in runs:
        process = spawn("build", "--unpack-limit", "9G", *words, cwd=attack.root, env=attack.env,
                        stdin=subprocess.PIPE)  # fmt: skip
        time.sleep(0.8)
        process.send_signal(number)
        process.wait(10)
        ended = finish(process, 10)
        assert ended.returncode == 128 + number, ended
        assert "Traceback" not in ended.stderr
        assert not descendants_alive(marker)
        attack.assert_whole()
        assert not list((attack.store / "tmp").iterdir())


@pytest.mark.parametrize("size", ["200k", "700k", "1500k"])
def test_a_full_disk(attack: Attack, size: str) -> None:
    flags = ["--mount"] if os.geteuid() == 0 else ["--mount", "--user", "--map-root-user"]
    disk = attack.place / "disk"
    disk.mkdir()
    script = f'mount -t tmpfs -o size={size} wherry-test "$0" && exec "$@"'
    prefix = ["unshare", *flags, "sh", "-c", script, str(disk)]
    tried = subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no private mount namespace here: {tried.stderr.strip()}")
    left = """
    "$@"; code=$?
    for file in $(find "$0" -path '*/blobs/sha256/*' -type f); do
      test "$(sha256sum <"$file" | cut -c1-64)" = "${file##*/}" || echo DAMAGED
    done
    test -z "$(ls -A "$0/store/tmp" 2>&-)" || echo LEFTOVER
    exit $code
    """
    attack.write("big", os.urandom(2_000_000))
    attack.write("archive", packed([Member("b", os.urandom(2_000_000))]))
    for dockerfile in (ALL, ADD):
        built = attack.build(
            dockerfile, "--store", disk / "store", prefix=[*prefix, "sh", "-c", left, str(disk)]
        )
        built.refused("No space left", code=3)


@pytest.mark.parametrize("same", [True, False])
def test_two_builds_of_one_store_at_once(attack: Attack, same: bool) -> None:
    contexts = ["c0", "c0" if same else "c1"]
    for context in contexts:
        attack.write(f"{context}/own", os.urandom(500_000))
        attack.write(f"{context}/Dockerfile", ALL)

    def start(context: str, *more: str | Path) -> subprocess.Popen[str]:
        words = ("build", "-q", "-f", f"{context}/Dockerfile", context, *more)
        return spawn(*words, cwd=attack.root, env=attack.env)

    alone = [finish(start(context, "--store", attack.place / "alone")) for context in contexts]
    running = [start(context) for context in (*contexts, *contexts)]
    for process, right in zip(running, (*alone, *alone), strict=True):
        ended = finish(process, 20)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout == right.stdout
    attack.assert_whole()


# --- bases, layouts, servers, repositories --------------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE)
def test_layers_of_bases_stay_in_the_root(
    attack: Attack, fault_registry: FaultRegistry, name: str
) -> None:
    members = HOSTILE[name]
    fault_registry.put_sample("evil/base", "1", image([packed(members)]))
    attack.write("f", "F")
    reference = f"{fault_registry.host}/evil/base:1"
    attack.build(f"FROM {reference}\nCOPY f /l/f\nCOPY f /d/f\nWORKDIR /a/w\n")
    for line in (
        "COPY --from=x / /in/",
        "COPY --from=x /l/secret /h /in/",
        "COPY --from=x /* /in/",
    ):
        built = attack.build(f"FROM {reference} AS x\nFROM scratch\n{line}\n")
        assert not outside_of("in", built.files)


def test_a_base_in_a_real_registry(
    attack: Attack, docker_registry: Server, repository_name: str
) -> None:
    """As what FROM names, and what COPY --from names."""
    layout = write_layout(image([packed(HOSTILE["through a link"])]), attack.place / "layout")
    tools = Skopeo(docker_registry, attack.place / "skopeo")
    tools.push(f"oci:{layout}:1", repository_name)
    attack.write("secret", "A")
    reference = f"{docker_registry.host}/{repository_name}"
    for text in (
        f"FROM {reference}\nCOPY secret /l/\n",
        f"FROM scratch\nCOPY --from={reference} / /in/\n",
    ):
        attack.build(text)
    assert (attack.outside / "secret").read_text() == SECRET


def test_layers_that_are_bombs(attack: Attack, fault_registry: FaultRegistry) -> None:
    info = tarfile.TarInfo("zeros")
    info.size = 20_000_000
    layer = info.tobuf() + bytes(info.size + -info.size % 512 + 1024)
    fault_registry.put_sample("evil/bomb", "1", image([layer]))
    text = f"FROM scratch\nCOPY --from={fault_registry.host}/evil/bomb:1 /zeros /\n"
    attack.build(text, "--unpack-limit", "10M").refused("--unpack-limit")
    assert attack.build(text, "--unpack-limit", "30M").files["zeros"].size == 20_000_000


def test_a_base_with_many_triggers(attack: Attack, fault_registry: FaultRegistry) -> None:
    kinds: dict[str, object] = {
        "many": ["ENV A=b"] * 5000,
        "copies": ["COPY ../outside/secret /"],
        "loop": ["ONBUILD ENV A=b"],
        "from": ["FROM scratch"],
        "wrong": ["NOPE", "", "\0", "COPY <<E /f\nx\nE"],
        "nolist": "ENV",
    }
    for name, triggers in kinds.items():
        sample = image([layer({"f": "F"})], settings={"OnBuild": triggers})
        fault_registry.put_sample(f"evil/{name}", "1", sample)
        attack.build(f"FROM {fault_registry.host}/evil/{name}:1\n")


def test_hostile_layouts(attack: Attack) -> None:
    sample = image([layer({"f": "F"})])

    def build(name: str, reference: str = "") -> Outcome:
        place = f"x=oci-layout://{attack.place / name}{reference}"
        return attack.build("FROM scratch\nCOPY --from=x /f /\n", "--build-context", place)

    write_layout(sample, attack.place / "right")
    assert build("right").contents["f"] == b"F"
    for reference in ("@sha256:../../x", "@sha256:" + "0" * 64, "@md5:x", ":../../etc", ":nope",
                      "/../right/blobs", "\n", "@", ":", "/" + "x" * 5000):  # fmt: skip
        build("right", reference).refused()
    wrong = write_layout(sample, attack.place / "wrong")
    for blob in (wrong / "blobs/sha256").iterdir():
        whole = blob.read_bytes()
        for lie in (whole[:-1], whole + b"x", bytes(len(whole)), b""):
            blob.write_bytes(lie)
            built = build("wrong")
            # A layer that the store has by its digest is not asked for again.
            assert built.code or built.contents["f"] == b"F"
        blob.unlink()
        blob.symlink_to(attack.outside / "secret")
        built = build("wrong")
        assert built.code or built.contents["f"] == b"F"
        blob.unlink()
        os.mkfifo(blob)
        built = build("wrong")
        assert built.code or built.contents["f"] == b"F"
        blob.unlink()
        blob.write_bytes(whole)
    inner = index([sample])
    for _ in range(20):
        inner = index([inner._replace(platform="linux/amd64")])
    write_layout(inner, attack.place / "nested")
    build("nested").refused()
    endless = attack.place / "endless"
    endless.mkdir()
    for target in ("/dev/zero", str(attack.outside / "secret"), "index.json"):
        (endless / "index.json").unlink(missing_ok=True)
        (endless / "index.json").symlink_to(target)
        build("endless").refused()
    (endless / "index.json").unlink()
    os.mkfifo(endless / "index.json")
    build("endless").refused()


def ok(body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers, "Connection: close"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def redirect(place: str) -> bytes:
    return f"HTTP/1.1 302 X\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode()


BAD_ANSWERS = {
    "redirect to a file": redirect("file:///etc/passwd"),
    "redirect to ftp": redirect("ftp://127.0.0.1/x"),
    "redirect to itself": redirect("/x"),
    "redirect nowhere": redirect(""),
    "too short": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nabc",
    "no number": b"HTTP/1.1 200 OK\r\nContent-Length: x\r\nConnection: close\r\n\r\nabc",
    "bad chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc",
    "no HTTP": b"\0\1\2\r\n\r\n",
    "not found": b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n",
    "304 to a question without condition": b"HTTP/1.1 304 X\r\n\r\n",
    "damaged gzip": ok(b"\x1f\x8b\x08nonsense", "Content-Encoding: gzip"),
    "endless headers": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100_000,
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_servers_that_answer_wrongly(attack: Attack, name: str) -> None:
    with saying(BAD_ANSWERS[name]) as server:
        built = attack.build(f"FROM scratch\nADD {server.url}/x /\n", timeout=40)
        assert built.code == 4 or name in ("a negative length", "no number"), built.stderr


def test_downloads_that_are_too_large(attack: Attack) -> None:
    squeezed = gzip.compress(bytes(20_000_000))
    with saying(ok(squeezed, "Content-Encoding: gzip")) as server:
        text = f"FROM scratch\nADD {server.url}/x /\n"
        attack.build(text, "--unpack-limit", "10M").refused("--unpack-limit")
        assert attack.build(text, "--unpack-limit", "30M").files["x"].size == 20_000_000
    with FaultRegistry() as registry:
        registry.rule("GET", "/v2/", endless=True)
        text = f"FROM scratch\nADD http://{registry.host}/v2/ /x\n"
        attack.build(text, "--unpack-limit", "3M").refused("--unpack-limit")


def test_a_checksum_that_does_not_hold(attack: Attack) -> None:
    with saying(ok(b"content", 'ETag: "a"')) as server:
        wrong = "sha256:" + "0" * 64
        for _ in range(2):
            attack.build(f"FROM scratch\nADD --checksum={wrong} {server.url}/x /\n").refused(code=1)
        assert attack.build(f"FROM scratch\nADD {server.url}/x /\n").contents["x"] == b"content"
        attack.build(f"FROM scratch\nADD --checksum={wrong} {server.url}/x /\n").refused(code=1)


def test_names_from_urls_stay_in_their_directory(attack: Attack) -> None:
    evil = 'Content-Disposition: attachment; filename="../../evil"'
    with saying(ok(b"x", evil)) as server:
        for path in ("..%2f..%2fevil", "%2e%2e", "a%00b", "%2fetc%2fpasswd", "a/../../b", "%0a"):
            built = attack.build(f"FROM scratch\nADD {server.url}/{path} /in/\n")
            assert not outside_of("in", built.files)
        attack.build("FROM scratch\nCOPY --from=x / /in/\n", "--build-context", f"x={server.url}/y")


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "file:///etc/.git", "ext::sh -c id", "ext::sh%20-c%20id",
     "git://-oProxyCommand=id/x.git", "ssh://-oProxyCommand=id/x.git", "-oProxyCommand=x@y:z.git",
     "git@-oProxyCommand=id:x.git", "https://127.0.0.1:1/x.git#--upload-pack=id",
     "https://127.0.0.1:1/x.git#main:../../etc", "https://127.0.0.1:1/x.git?ref=-x",
     "https://127.0.0.1:1/x.git?subdir=../..", "git@127.0.0.1:-x.git", "data:text/plain,x",
     "ftp://127.0.0.1/x", "gopher://127.0.0.1/x", "http://[::1", "http:///x", "https://:@:1/x"],
)  # fmt: skip
def test_urls_that_are_no_sources(attack: Attack, url: str) -> None:
    marker = attack.place / "ran"
    attack.build(
        f"FROM scratch\nADD {url.replace('id', f'touch${{IFS}}{marker}')} /in/\n"
    ).refused()
    attack.build(f'FROM scratch\nADD ["{url}", "/in/"]\n').refused()
    attack.build(None, source=url).refused()
    attack.build("FROM x\n", "--build-context", f"x={url}").refused()
    assert not marker.exists()


def test_repositories_run_nothing_and_hold_what_is_theirs(attack: Attack) -> None:
    repositories = attack.place / "git"
    evil = repositories / "evil.git"
    evil.mkdir(parents=True)
    ran = attack.place / "ran"
    git(evil, "init", "--quiet", ".")
    (evil / "out").symlink_to(attack.outside)
    (evil / "near").symlink_to("../../../outside/secret")
    (evil / "Dockerfile").write_text("FROM scratch\nCOPY out/secret near /in/\n")
    (evil / ".gitattributes").write_text("* filter=evil diff=evil merge=evil\n*.x ident\n")
    (evil / "file").write_text("content")
    (evil / ".lfsconfig").write_text(f"[lfs]\n\tcustomtransfer.x.path = touch {ran}\n")
    git(evil, "add", ".")
    git(evil, "commit", "--quiet", "-m", "x")
    for hook in ("post-checkout", "post-upload-pack", "pre-receive"):
        (evil / ".git/hooks").mkdir(exist_ok=True)
        (evil / ".git/hooks" / hook).write_text(f"#!/bin/sh\ntouch {ran}\n")
        (evil / ".git/hooks" / hook).chmod(0o755)
    git(evil, "config", "filter.evil.smudge", f"touch {ran}")
    attack.env["GIT_CONFIG_GLOBAL"] = str(attack.place / "gitconfig")
    (attack.place / "gitconfig").write_text(f'[filter "evil"]\n\tsmudge = touch {ran}; cat\n')
    with git_server(repositories) as server:
        url = f"{server.url}/evil.git"
        built = attack.build(f"FROM scratch\nADD {url} /in/\n")
        assert built.contents["in/file"] == b"content"
        assert built.files["in/out"].issym()
        attack.build(f"FROM scratch\nADD {url}#:out /in/\n").refused()
        attack.build(None, source=url).refused(code=1)
        kept = attack.build(f"FROM scratch\nADD --keep-git-dir=true {url} /in/\n")
        assert not [name for name in kept.files if "/hooks/" in name]
        outwards = [
            str(attack.outside),
            f"file://{attack.outside}",
            f"ext::sh -c 'touch {ran}'",
            "-u",
        ]
        for target in outwards:
            (evil / ".gitmodules").write_text(
                f'[submodule "s"]\n\tpath = s\n\turl = "{target}"\n\tupdate = !touch {ran}\n'
            )
            git(evil, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},s")
            git(evil, "add", ".gitmodules")
            git(evil, "commit", "--quiet", "-m", "x")
            attack.build(f"FROM scratch\nADD {url} /in/\n").refused()
    assert not ran.exists()
