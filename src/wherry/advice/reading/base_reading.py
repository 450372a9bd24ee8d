# SPDX-License-Identifier: Apache-2.0
"""Reads an image's files for what rules ask of it: users, programs, certificates, Go, its libc.

Only names are looked at, and a few small files; nothing is unpacked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from wherry.advice.reading.base_contents import Contents
from wherry.advice.reading.paths import DEFAULT_PATH
from wherry.errors import UsageError
from wherry.fstree.files import Files
from wherry.fstree.resolve import resolve
from wherry.fstree.tree import Directory, Entry, File
from wherry.oci.run_config import RunConfig

ReadSmall = Callable[[Iterable[File]], Mapping[str, bytes]]
"""The contents of small files, by their paths."""

_PROGRAMS: Final = ("curl", "wget", "nc", "netcat", "ncat", "git", "gcc", "make")
_MANAGERS: Final = {
    "apt-get": "apt", "apk": "apk", "dnf": "dnf", "microdnf": "dnf", "yum": "dnf",
    "zypper": "", "pacman": "", "opkg": "", "emerge": "", "xbps-install": "",
}  # fmt: skip
# Where Go looks (crypto/x509/root_linux.go, time/zoneinfo_unix.go), as most programs do.
_BUNDLES: Final = (
    "etc/ssl/certs/ca-certificates.crt", "etc/pki/tls/certs/ca-bundle.crt",
    "etc/ssl/ca-bundle.pem", "etc/pki/tls/cacert.pem",
    "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "etc/ssl/cert.pem",
)  # fmt: skip
_CERTIFICATES: Final = ("etc/ssl/certs", "etc/pki/tls/certs")
_ZONES: Final = ("usr/share/zoneinfo", "usr/share/lib/zoneinfo", "usr/lib/locale/TZ",
                 "etc/zoneinfo")  # fmt: skip
_LOADERS: Final = ("lib", "lib64", "lib32", "libx32")
_GLIBC: Final = re.compile(r"ld-linux[-.]|ld64\.so\.")
_OTHER_LIBC: Final = re.compile(r"ld(?:64)?-uClibc")
_GO_ROOTS: Final = ("usr/local/go", "usr/lib/go", "usr/lib/golang")
_GO: Final = re.compile(rb"go(\d+\.\d+(?:\.\d+)?(?:rc\d+|beta\d+)?)\b")
_LONGEST: Final = 1 << 20
_DEBIAN: Final = {"8": "jessie", "9": "stretch", "10": "buster"}
_KINDS: Final = {
    "alpine": "alpine", "ubuntu": "ubuntu", "fedora": "fedora", "centos": "centos", "rhel": "ubi",
    "rocky": "rockylinux", "almalinux": "almalinux", "amzn": "amazonlinux", "ol": "oraclelinux",
}  # fmt: skip


def read_contents(files: Files, run: RunConfig, size: int, read: ReadSmall) -> Contents:
    """Look through an image's files; `size` is their sum in bytes.

    Raises what `files` and `read` raise.
    """
    look = _Look(files)
    go_roots = [root for root in _GO_ROOTS if look.is_file(f"{root}/bin/go")]
    texts = look.texts(
        ("etc/passwd", "etc/os-release", *(f"{root}/VERSION" for root in go_roots)), read
    )
    path = next((line[5:] for line in run.env if line.startswith("PATH=")), "") or DEFAULT_PATH
    directories = [item for item in path.split(":") if item]
    version = next((_GO.match(texts.get(f"{root}/VERSION", b"")) for root in go_roots), None)
    return Contents(
        libc=look.libc(),
        shell=look.is_file("bin/sh"),
        packages=next((kind for name, kind in _MANAGERS.items()
                       if look.has_program(name, DEFAULT_PATH.split(":"))), "none"),
        programs=tuple(name for name in _PROGRAMS if look.has_program(name, directories)),
        ca=any(map(look.is_file, _BUNDLES)) or any(map(look.names, _CERTIFICATES)),
        zones=any(map(look.names, _ZONES)),
        tmp=isinstance(look.entry("tmp"), Directory),
        users=_users(texts.get("etc/passwd", b"")),
        go=version[1].decode() if version else "",
        has_go=bool(go_roots) or look.has_program("go", directories),
        release=_release(texts.get("etc/os-release", b"")),
        size=size,
    )  # fmt: skip


class _Look:
    """Looks at paths of a tree with their links followed; at the end of a circle is nothing."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def entry(self, path: str) -> Entry | None:
        try:
            return self._files.entry(resolve(self._files, path))
        except UsageError:
            return None

    def names(self, path: str) -> tuple[str, ...]:
        try:
            return self._files.names(resolve(self._files, path))
        except UsageError:
            return ()

    def is_file(self, path: str) -> bool:
        return isinstance(self.entry(path), File)

    def has_program(self, name: str, directories: Iterable[str]) -> bool:
        return any(self.is_file(f"{directory}/{name}") for directory in directories)

    def libc(self) -> str:
        """The libc that has a loader here; empty for another one, or several."""
        names = [name for place in _LOADERS for name in self.names(place)]
        found = set()
        if any(map(_GLIBC.match, names)):
            found.add("glibc")
        if any(name.startswith("ld-musl-") for name in names):
            found.add("musl")
        if any(map(_OTHER_LIBC.match, names)) or len(found) > 1:
            return ""
        return found.pop() if found else "none"

    def texts(self, paths: Iterable[str], read: ReadSmall) -> dict[str, bytes]:
        wanted: dict[str, File] = {}
        for path in paths:
            entry = self.entry(path)
            if isinstance(entry, File) and entry.content.size <= _LONGEST:
                wanted[path] = entry
        texts = read(wanted.values()) if wanted else {}
        return {path: texts[entry.path] for path, entry in wanted.items() if entry.path in texts}


def _users(passwd: bytes) -> tuple[str, ...]:
    lines = (line.partition(b":") for line in passwd.split(b"\n"))
    names = {name.strip() for name, colon, _ in lines if colon}
    return tuple(sorted(name.decode("utf-8", "replace") for name in names if name))


def _release(text: bytes) -> str:
    """What `end_of_life` asks for, from os-release(5); empty for what it does not know."""
    pairs = (line.partition("=")[::2] for line in text.decode("utf-8", "replace").splitlines())
    values = {name.strip(): value.strip().strip("\"'") for name, value in pairs}
    kind, version = values.get("ID", ""), values.get("VERSION_ID", "")
    if kind == "debian":
        name = values.get("VERSION_CODENAME") or _DEBIAN.get(version, "")
        return f"debian {name}" if name else ""
    if kind not in _KINDS or not version:
        return ""
    parts = version.split(".")
    short = ".".join(parts[:2]) if kind in ("alpine", "ubuntu") else parts[0]
    return f"{_KINDS[kind]} {short}"
