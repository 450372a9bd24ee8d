# SPDX-License-Identifier: Apache-2.0
"""Files that a step sees and no image holds."""

from __future__ import annotations

from pathlib import Path

from wherry.sandbox.hosts_files import bundle, host_mounts, hosts
from wherry.sandbox.step_spec import StepSpec


def test_hosts() -> None:
    assert hosts(StepSpec(("x",))) == (
        "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n"
    )
    step = StepSpec(("x",), hostname="me", hosts=(("a", "192.0.2.1"), ("b", "2001:db8::1")))
    assert hosts(step).splitlines() == [
        "127.0.0.1\tlocalhost me",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "192.0.2.1\ta",
        "2001:db8::1\tb",
    ]


def test_the_roots_own_certificates_come_first(tmp_path: Path) -> None:
    assert bundle(str(tmp_path), b"ours\n") == b"ours\n"
    fedora = tmp_path / "etc/pki/tls/certs"
    fedora.mkdir(parents=True)
    (fedora / "ca-bundle.crt").symlink_to("/real.pem")
    assert bundle(str(tmp_path), b"ours\n") == b"ours\n"
    (tmp_path / "real.pem").write_bytes(b"theirs")
    assert bundle(str(tmp_path), b"ours\n") == b"theirs\nours\n"
    debian = tmp_path / "etc/ssl/certs"
    debian.mkdir(parents=True)
    (debian / "ca-certificates.crt").write_bytes(b"debian\n\n")
    assert bundle(str(tmp_path), b"ours\n") == b"debian\nours\n"


def test_files_are_bound_read_only(tmp_path: Path) -> None:
    root, place = tmp_path / "root", tmp_path / "bundle"
    root.mkdir()
    place.mkdir()
    mounts = host_mounts(StepSpec(("x",), certificates=b"ours"), str(root), str(place))
    assert [mount.target for mount in mounts] == [
        "/etc/resolv.conf", "/etc/hosts", "/dev/ca-certificates.pem",
    ]  # fmt: skip
    for mount in mounts:
        assert {"bind", "ro", "nosuid", "nodev", "noexec"} <= set(mount.options)
        assert Path(mount.source).stat().st_mode & 0o777 == 0o644
    assert list(root.iterdir()) == []
