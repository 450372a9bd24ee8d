# SPDX-License-Identifier: Apache-2.0
"""The base `static`: what is in it, what readers make of it, what it weighs."""

from __future__ import annotations

import io
import ssl
import sys
from pathlib import Path
from zoneinfo import ZoneInfo

import certifi
import pytest
import tzdata

from wherry.bases import static
from wherry.bases.static import static_data_versions, static_tree
from wherry.errors import MachineError
from wherry.fstree.layer import Compression, CompressionKind, Writing, write_layer
from wherry.fstree.tree import Directory, File, HardLink, Inline, OnDisk, Symlink, Tree
from wherry.fstree.unpack import Ownership, unpack_layer
from wherry.process.cancel import CancelToken


@pytest.fixture(scope="module")
def tree() -> Tree:
    return static_tree()


def content(tree: Tree, path: str) -> bytes:
    by_path = {entry.path: entry for entry in tree.entries}
    entry = by_path[path]
    if isinstance(entry, HardLink):
        entry = by_path[entry.target]
    assert isinstance(entry, File)
    assert isinstance(entry.content, Inline)
    return entry.content.data


def lines(tree: Tree, path: str) -> list[list[str]]:
    return [line.split() for line in content(tree, path).decode("ascii").splitlines()]


def test_two_calls_give_one_digest(tree: Tree) -> None:
    assert static_tree().digest == tree.digest


def test_it_weighs_less_than_a_megabyte_with_hard_links_once(tree: Tree) -> None:
    assert 400_000 < tree.size <= 1_000_000
    assert any(isinstance(entry, HardLink) for entry in tree.entries)
    zones = [entry for entry in tree.entries if entry.path.startswith("usr/share/zoneinfo/")]
    contents = [entry.content.digest for entry in zones if isinstance(entry, File)]
    assert len(set(contents)) == len(contents)


def test_tls_accepts_the_bundle(tree: Tree) -> None:
    bundle = content(tree, "etc/ssl/certs/ca-certificates.crt")
    context = ssl.create_default_context(cadata=bundle.decode("ascii"))
    assert len(context.get_ca_certs()) > 100
    assert bundle == Path(certifi.where()).read_bytes()


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "GB"])
def test_zones_read_as_the_packages_own(tree: Tree, zone: str) -> None:
    data = content(tree, f"usr/share/zoneinfo/{zone}")
    assert data.startswith(b"TZif")
    read = ZoneInfo.from_file(io.BytesIO(data), key=zone)
    assert read.key == zone


def test_every_zone_of_the_package_is_there_and_no_python(tree: Tree) -> None:
    names = {entry.path.removeprefix("usr/share/zoneinfo/") for entry in tree.entries}
    listed = Path(tzdata.__file__).with_name("zones").read_text("ascii").split()
    assert len(listed) > 500
    assert set(listed) <= names
    assert {"tzdata.zi", "zone1970.tab", "iso3166.tab", "leapseconds"} <= names
    assert not [name for name in names if "__" in name or name.endswith((".py", ".pyc"))]


def test_accounts(tree: Tree) -> None:
    accounts = [line[0].split(":") for line in lines(tree, "etc/passwd")]
    assert [(line[0], line[2], line[3], line[5], line[6]) for line in accounts] == [
        ("root", "0", "0", "/root", "/sbin/nologin"),
        ("nobody", "65534", "65534", "/nonexistent", "/sbin/nologin"),
        ("nonroot", "65532", "65532", "/home/nonroot", "/sbin/nologin"),
    ]
    groups = [line[0].split(":") for line in lines(tree, "etc/group")]
    assert [(line[0], line[2]) for line in groups] == [
        ("root", "0"), ("nobody", "65534"), ("nonroot", "65532"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "port"),
    [("http", "80/tcp"), ("https", "443/tcp"), ("ssh", "22/tcp"), ("domain", "53/udp"),
     ("smtp", "25/tcp"), ("imap", "143/tcp"), ("ldap", "389/tcp"), ("postgres", "5432/tcp"),
     ("postgresql", "5432/tcp"), ("ntp", "123/udp"), ("imaps", "993/tcp")],
)  # fmt: skip
def test_ports_have_names(tree: Tree, name: str, port: str) -> None:
    assert [line for line in lines(tree, "etc/services")
            if line[1] == port and name in (line[0], *line[2:])]  # fmt: skip


def test_no_service_is_listed_twice_and_all_are_in_order(tree: Tree) -> None:
    ports = [line[1] for line in lines(tree, "etc/services")]
    assert len(set(ports)) == len(ports)
    numbers = [int(port.split("/")[0]) for port in ports]
    assert numbers == sorted(numbers)


@pytest.mark.parametrize(("name", "number"), [("tcp", "6"), ("udp", "17"), ("icmp", "1")])
def test_protocols_have_names(tree: Tree, name: str, number: str) -> None:
    assert [name, number, name.upper()] in lines(tree, "etc/protocols")


def test_names_are_looked_up_in_files_first(tree: Tree) -> None:
    assert content(tree, "etc/nsswitch.conf") == b"hosts: files dns\n"


def test_directories_that_programs_expect(tree: Tree) -> None:
    entries = set(tree.entries)
    assert {
        Directory("tmp", 0o1777),
        Directory("var/tmp", 0o1777),
        Directory("root", 0o700),
        Directory("home/nonroot", 0o700, 65532, 65532),
        Directory("run"),
        Symlink("var/run", "../run"),
    } <= entries
    owned = [entry.path for entry in tree.entries if not isinstance(entry, HardLink) and entry.uid]
    assert owned == ["home/nonroot"]


def test_nothing_can_be_run_in_it(tree: Tree) -> None:
    assert not [entry for entry in tree.entries if isinstance(entry, File) and entry.mode & 0o7111]


def test_no_path_of_this_machine_is_in_it(tree: Tree) -> None:
    home = str(Path(certifi.__file__).parent.parent).encode()
    for entry in tree.entries:
        if isinstance(entry, File):
            assert isinstance(entry.content, Inline), entry.path
            assert not isinstance(entry.content, OnDisk)
            assert home not in entry.content.data
    out = io.BytesIO()
    plain = Compression(CompressionKind.UNCOMPRESSED)
    write_layer(tree, out, 0, Writing(plain, 1), CancelToken())
    assert home not in out.getvalue()
    assert sys.prefix.encode() not in out.getvalue()


def test_it_unpacks_for_a_plain_user(tree: Tree, tmp_path: Path) -> None:
    out = io.BytesIO()
    write_layer(tree, out, 0, Writing(Compression(CompressionKind.UNCOMPRESSED), 1), CancelToken())
    out.seek(0)
    assert unpack_layer(out, str(tmp_path), Ownership.IGNORE) == ()
    assert (tmp_path / "var/run").resolve() == (tmp_path / "run").resolve()
    berlin = tmp_path / "usr/share/zoneinfo/Europe/Berlin"
    assert berlin.read_bytes() == content(tree, "usr/share/zoneinfo/Europe/Berlin")


def test_versions_are_those_of_the_packages() -> None:
    assert static_data_versions() == (
        ("certifi", certifi.__version__),
        ("tzdata", tzdata.IANA_VERSION),
    )


def test_a_system_bundle_is_known_by_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "system.crt"
    monkeypatch.setattr(static, "_own_bundle", lambda _directory: None)
    monkeypatch.setattr(certifi, "where", lambda: str(bundle))
    seen = []
    for text in (b"one", b"two"):
        bundle.write_bytes(text)
        seen.append(dict(static_data_versions())["certifi"])
        assert content(static_tree(), "etc/ssl/certs/ca-certificates.crt") == text
    assert seen[0] != seen[1]
    assert all(version.startswith(f"{certifi.__version__}+") for version in seen)


@pytest.mark.parametrize("package", ["certifi", "tzdata"])
def test_a_broken_installation_is_told(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = static.find_spec
    monkeypatch.setattr(static, "find_spec", lambda name: None if name == package else find(name))
    with pytest.raises(MachineError, match=package) as caught:
        static_tree()
    assert "pip install" in caught.value.hint


def test_data_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static, "package_directory", lambda name: str(tmp_path / name))
    for call in (static_tree, static_data_versions):
        with pytest.raises(MachineError):
            call()
