# SPDX-License-Identifier: Apache-2.0
"""File capabilities: their names, their bytes, and what the kernel's own tools make of them."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import UsageError
from wherry.fstree import capabilities
from wherry.fstree.capabilities import NAMES, parse, read, unusual, xattr

_HEADER = Path("/usr/include/linux/capability.h")


@pytest.mark.skipif(not _HEADER.exists(), reason=f"no {_HEADER} on this machine")
def test_numbers_are_the_kernels() -> None:
    found = dict(re.findall(r"#define CAP_([A-Z_]+)\s+(\d+)\s", _HEADER.read_text()))
    numbers = {name.lower(): int(number) for name, number in found.items() if name != "LAST_CAP"}
    # A kernel's header may know more or fewer than this release.
    assert {name: NAMES.index(name) for name in numbers if name in NAMES} == {
        name: number for name, number in numbers.items() if name in NAMES
    }
    assert set(numbers) - set(NAMES) == set()


@pytest.mark.parametrize(
    "text", ["net_bind_service", "NET_BIND_SERVICE", "CAP_NET_BIND_SERVICE", "cap_net_bind_service"]
)
def test_every_spelling_means_one_name(text: str) -> None:
    assert parse([text]) == ("net_bind_service",)


def test_names_come_once_and_in_the_kernels_order() -> None:
    assert parse(["sys_nice", "CAP_CHOWN", "chown", "net_raw"]) == ("chown", "net_raw", "sys_nice")
    assert parse([]) == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("net_bind", "did you mean 'net_admin'?"),
        ("net_bind_servce", "did you mean 'net_bind_service'?"),
        ("CAP_SYSNICE", "did you mean 'sys_nice'?"),
        ("", "it is empty"),
        ("qqq", "capabilities(7)"),
        ("ALL", "name those that the program needs"),
        ("10", "capabilities(7)"),
        ("cap_net_raw=ep", "did you mean 'net_raw'?"),
    ],
)
def test_unknown_names_are_errors_with_a_near_one(text: str, words: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse([text])
    assert words in str(raised.value)
    assert repr(text) in raised.value.what


def test_the_bytes_are_those_of_the_header() -> None:
    # magic and flag, permitted 0-31, inheritable, permitted 32-63, inheritable
    assert xattr(["net_bind_service"]).hex() == "01000002" + "00040000" + "00000000" * 3
    assert xattr(["chown", "checkpoint_restore"]) == struct.pack("<5I", 0x2000001, 1, 0, 256, 0)


@given(st.sets(st.sampled_from(NAMES)))
def test_what_is_written_reads_back(names: set[str]) -> None:
    assert read(xattr(names)) == parse(names)


def test_other_revisions_read_too() -> None:
    assert read(struct.pack("<3I", 0x01000000, 1 << 10, 0)) == ("net_bind_service",)
    assert read(struct.pack("<6I", 0x03000001, 1, 0, 1 << 31, 0, 1000)) == ("chown", "cap_63")


@pytest.mark.parametrize("data", [b"", b"\0" * 20, b"\x01\0\0\x02" + bytes(12), bytes(3)])
def test_other_bytes_are_no_capabilities(data: bytes) -> None:
    with pytest.raises(UsageError, match=capabilities.XATTR):
        read(data)


def test_what_containers_lack_by_default_is_told() -> None:
    assert unusual(["net_bind_service", "net_raw", "sys_nice", "net_admin"]) == (
        "net_raw", "sys_nice", "net_admin",
    )  # fmt: skip


# --- the kernel and its tools -------------------------------------------------------------------


def _set(path: Path, names: tuple[str, ...]) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root sets file capabilities")
    try:
        os.setxattr(path, capabilities.XATTR, xattr(names))
    except OSError as error:
        pytest.skip(f"this file system takes no file capabilities: {error}")


@pytest.mark.skipif(shutil.which("getcap", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None,
                    reason="no getcap: apt install libcap2-bin")  # fmt: skip
@pytest.mark.parametrize(
    "names", [("net_bind_service",), ("chown", "net_raw", "sys_nice"), ("bpf",), NAMES]
)
def test_getcap_reads_them(tmp_path: Path, names: tuple[str, ...]) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"")
    _set(program, names)
    getcap = shutil.which("getcap", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    done = subprocess.run([str(getcap), program], capture_output=True, text=True, check=True)
    said = done.stdout.strip().rpartition(" ")[2]
    expected = "=ep" if names == NAMES else ",".join(f"cap_{name}" for name in names) + "=ep"
    assert said == expected
    # The kernel checked the bytes when it took them.
    assert read(os.getxattr(program, capabilities.XATTR)) == names


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv: apt install util-linux")
def test_a_plain_user_gets_them_by_starting_the_program(tmp_path: Path) -> None:
    """What the kernel gives a process of a user without any right."""
    cat = shutil.which("cat")
    assert cat is not None
    # pytest's directory is closed to others.
    place = Path(tempfile.mkdtemp(prefix="wherry-capabilities-"))
    place.chmod(0o755)
    try:
        program = place / "cat"
        shutil.copy(cat, program)
        program.chmod(0o755)
        _set(program, ("net_bind_service", "checkpoint_restore"))
        done = subprocess.run(
            ["setpriv", "--reuid=65532", "--regid=65532", "--clear-groups",
             program, "/proc/self/status"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    finally:
        shutil.rmtree(place)
    effective = re.search(r"^CapEff:\s*([0-9a-f]+)$", done.stdout, re.MULTILINE)
    assert effective is not None
    assert int(effective[1], 16) == 1 << 10 | 1 << 40
