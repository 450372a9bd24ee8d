# SPDX-License-Identifier: Apache-2.0
"""A Debian base made on the spot by debootstrap, and the packages that are installed in it.

The base is kept in the user's cache directory, and pushed into the world's registry by the first
who has a case on it. The packages are small ones of our own with all that maintainer scripts do
(users, set-id programs, alternatives, diversions); a few cases install from the machine's mirror.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

SUITE = "bookworm"
_MIRROR = "http://deb.debian.org/debian"
_ENV = {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]}
# What no base of the distribution ships: devices, what was downloaded, this machine's names.
_LEFT_OUT = ("./dev/*", "./proc/*", "./sys/*", "./var/cache/apt/*", "./var/lib/apt/lists/*",
             "./var/log/*", "./etc/resolv.conf", "./etc/hostname")  # fmt: skip


def why_not() -> str:
    """Why there can be no such base here, or nothing."""
    for program in ("debootstrap", "dpkg-deb"):
        if shutil.which(program) is None:
            return f"no Debian base without {program}, which is not on PATH"
    return "" if os.getuid() == 0 else "debootstrap needs root"


def mirror() -> str:
    """The mirror that this machine installs from."""
    for file in sorted(Path("/etc/apt").glob("sources.list*")) + sorted(
        Path("/etc/apt/sources.list.d").glob("*.sources")
    ):
        text = file.read_text(errors="replace") if file.is_file() else ""
        if found := re.search(r"https?://\S+/debian/?(?=\s|$)", text, re.MULTILINE):
            return found[0].rstrip("/")
    return _MIRROR


def push(registry: str, place: Path) -> None:
    """Put the base into the registry as `debian`, once for the world whose directory `place` is."""
    from differential.bases import Pusher

    with (place / "debian.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (place / "debian.pushed").exists():
            return
        archive, diff_id = _base()
        pusher = Pusher(registry)
        pusher.push_tar("debian", archive.read_bytes(), diff_id, {**_ENV, "Cmd": ["bash"]})
        pusher.close()
        (place / "debian.pushed").touch()


def _base() -> tuple[Path, str]:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wherry-tests"
    cache.mkdir(parents=True, exist_ok=True)
    archive, facts = cache / f"{SUITE}.tar.gz", cache / f"{SUITE}.json"
    with (cache / ".debian-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not facts.exists():
            with tempfile.TemporaryDirectory(prefix="wherry-debian-") as made:
                tar = _bootstrapped(Path(made, "root"))
            archive.write_bytes(gzip.compress(tar, 1, mtime=0))
            facts.write_text(json.dumps("sha256:" + hashlib.sha256(tar).hexdigest()))
    return archive, json.loads(facts.read_text())


def _bootstrapped(root: Path) -> bytes:
    words = ["debootstrap", "--variant=minbase", SUITE, str(root), mirror()]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (root / "var/cache/ldconfig/aux-cache").unlink(missing_ok=True)
    left_out = [f"--exclude={name}" for name in _LEFT_OUT]
    packing = ["tar", "-c", "--sort=name", "--numeric-owner", "--xattrs", *left_out, "."]
    return subprocess.run(packing, cwd=root, stdout=subprocess.PIPE, check=True).stdout


# --- packages -----------------------------------------------------------------------------------


class _Package(NamedTuple):
    """Files by path with their modes, maintainer scripts by name, fields of `control`."""

    files: Mapping[str, tuple[str, int]]
    scripts: Mapping[str, str] = {}
    fields: Mapping[str, str] = {}


_PACKAGES = {
    "wh-hello": _Package({"usr/bin/wh-hello": ("#!/bin/sh\necho hello\n", 0o755)}),
    "wh-lib": _Package(
        {"usr/lib/wh/libwh.so.1.2": ("no library", 0o644)},
        {"postinst": "ln -sf libwh.so.1.2 /usr/lib/wh/libwh.so.1"},
    ),
    "wh-daemon": _Package(
        {"usr/sbin/whd": ("#!/bin/sh\n", 0o4755), "etc/whd.conf": ("port=1\n", 0o640)},
        {
            "preinst": "adduser --system --group --home /var/lib/whd --quiet whd",
            "postinst": "chown root:whd /etc/whd.conf\ninstall -d -o whd -g whd -m 2750 "
            "/var/lib/whd/spool\nchgrp whd /usr/sbin/whd\nchmod 2755 /usr/sbin/whd",
            "prerm": "true",
            "postrm": 'if [ "$1" = purge ]; then deluser --quiet --system whd; '
            "rm -rf /var/lib/whd; fi",
            "conffiles": "/etc/whd.conf",
        },
        {"Depends": "wh-lib, adduser"},
    ),
    "wh-alt": _Package(
        {"usr/bin/wh-editor": ("#!/bin/sh\n", 0o755), "usr/bin/wh-pager": ("ours\n", 0o755)},
        {
            "preinst": "dpkg-divert --package wh-alt --rename --divert /usr/bin/wh-hello.real"
            " --add /usr/bin/wh-hello",
            "postinst": "update-alternatives --install /usr/bin/wh-edit wh-edit "
            "/usr/bin/wh-editor 50",
        },
    ),
    "wh-broken": _Package({"usr/share/wh-broken": ("x", 0o644)}, {"postinst": "exit 7"}),
}


def make_packages(root: Path) -> None:
    """A flat archive of the packages: `deb [trusted=yes] http://%HTTP%/apt ./`."""
    root.mkdir(parents=True)
    if shutil.which("dpkg-deb") is None:
        return
    (root / "Packages").write_text(
        "\n".join(_make(root, name, package) for name, package in _PACKAGES.items())
    )


def _make(root: Path, name: str, package: _Package) -> str:
    fields = {
        "Package": name, "Version": "1.0", "Architecture": "all", "Maintainer": "Tests <t@e.com>",
        "Description": f"{name} of the tests", **package.fields,
    }  # fmt: skip
    control = "".join(f"{key}: {value}\n" for key, value in fields.items())
    with tempfile.TemporaryDirectory() as staged:
        tree = Path(staged, "tree")
        tree.mkdir()
        Path(staged).chmod(0o755)
        tree.chmod(0o755)
        for path, (content, mode) in package.files.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(content)
            (tree / path).chmod(mode)
        (tree / "DEBIAN").mkdir()
        (tree / "DEBIAN" / "control").write_text(control)
        for script, text in package.scripts.items():
            file = tree / "DEBIAN" / script
            is_script = script != "conffiles"
            file.write_text(f"#!/bin/sh\nset -e\n{text}\n" if is_script else f"{text}\n")
            file.chmod(0o755 if is_script else 0o644)
        made = root / f"{name}.deb"
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-Zgzip", "-b", str(tree), str(made)],
            check=True, capture_output=True, env={**os.environ, "SOURCE_DATE_EPOCH": "1500000000"},
        )  # fmt: skip
    data = made.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    return f"{control}Filename: ./{name}.deb\nSize: {len(data)}\nSHA256: {digest}\n"
