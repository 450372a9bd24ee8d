# SPDX-License-Identifier: Apache-2.0
"""Base images made on this machine, so that rows with RUN steps download nothing.

`busybox` is one static program, `debian` what debootstrap calls minbase, `golang` that with the
host's Go tree (as the official image has it, without a C compiler), `static` what a static binary
wants beside it. Their packed layers, and the Debian packages that a step installs, are kept in one
directory; remove it to have newer ones.
"""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.failure import BenchError, read_output
from bench.layouts import Layer, blob_path, layer_writer, write_layout

SUITE = "bookworm"
# What the measured step installs: some thirty packages with all that they need.
INSTALLED = ("git", "ca-certificates")

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_GO_PARTS = ("VERSION", "go.env", "bin", "lib", "pkg", "src")
_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
_LEVEL = 6


@dataclass(frozen=True)
class Bases:
    """Makes what is not yet in `directory`; `env` is what its commands run in."""

    directory: Path
    platform: str
    env: Mapping[str, str]

    def __post_init__(self) -> None:
        (self.directory / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)

    @property
    def packages(self) -> Path:
        """A directory that apt takes for a repository (`deb [trusted=yes] URL ./`)."""
        self._debian_layer()
        return self.directory / "packages"

    def push_busybox(self, crane: Path, host: str) -> None:
        """Puts `busybox:1` into a registry."""
        self._push(crane, f"{host}/busybox:1", [self._busybox_layer()], {"Env": [f"PATH={_PATH}"]})

    def push_debian(self, crane: Path, host: str) -> None:
        """Puts `debian:1` into a registry."""
        self._push(crane, f"{host}/debian:1", [self._debian_layer()], {"Env": [f"PATH={_PATH}"]})

    def push_golang(self, crane: Path, host: str, go: str, proxy: str) -> None:
        """Puts `golang:1` and `static:1` into a registry; Go's modules are taken from `proxy`."""
        env = [
            f"PATH=/go/bin:/usr/local/go/bin:{_PATH}", "GOPATH=/go", "GOTOOLCHAIN=local",
            f"GOPROXY={proxy}", "GOSUMDB=off", "CGO_ENABLED=0",
        ]  # fmt: skip
        layers = [self._debian_layer(), self._go_layer(go)]
        self._push(crane, f"{host}/golang:1", layers, {"Env": env, "WorkingDir": "/go"})
        config = {"Env": [f"PATH={_PATH}"], "User": "65532", "WorkingDir": "/home/nonroot"}
        self._push(crane, f"{host}/static:1", [self._static_layer()], config)

    def _push(
        self, crane: Path, reference: str, layers: Sequence[Layer], config: dict[str, Any]
    ) -> None:
        with tempfile.TemporaryDirectory(dir=self.directory) as staged:
            image = write_layout(Path(staged), layers, self.platform, config)
            for layer in layers:
                os.link(
                    blob_path(self.directory, layer.digest), blob_path(image.path, layer.digest)
                )
            read_output((str(crane), "push", staged, reference), self.directory, self.env)

    # --- the layers -----------------------------------------------------------------------------

    def _busybox_layer(self) -> Layer:
        program = shutil.which("busybox", path=self.env["PATH"])
        if program is None:
            raise BenchError("busybox is not there: apt-get install busybox-static")

        def fill(tar: tarfile.TarFile) -> None:
            for name in ("bin", "etc", "tmp"):
                tar.addfile(_directory(name))
            _add(tar, Path(program).resolve(), "bin/busybox")
            words = read_output((program, "--list"), self.directory, self.env).split()
            for word in sorted({*words} - {"busybox"}):
                member = tarfile.TarInfo(f"bin/{word}")
                member.type, member.linkname, member.mode = tarfile.LNKTYPE, "bin/busybox", 0o755
                tar.addfile(member)

        return self._kept("busybox", fill)

    def _static_layer(self) -> Layer:
        def fill(tar: tarfile.TarFile) -> None:
            for name in ("etc", "etc/ssl", "etc/ssl/certs", "home", "home/nonroot", "tmp"):
                tar.addfile(_directory(name))
            if _BUNDLE.exists():
                _add(tar, _BUNDLE.resolve(), str(_BUNDLE).lstrip("/"))

        return self._kept("static", fill)

    def _go_layer(self, go: str) -> Layer:
        root = Path(read_output((go, "env", "GOROOT"), self.directory, self.env).strip())
        version = (root / "VERSION").read_text().split()[0]

        def fill(tar: tarfile.TarFile) -> None:
            for name in ("go", "usr/local/go"):
                tar.addfile(_directory(name))
            for part in _GO_PARTS:
                if (root / part).exists():
                    tar.add(root / part, f"usr/local/go/{part}", filter=_plain)

        return self._kept(version, fill)

    def _debian_layer(self) -> Layer:
        def fill(tar: tarfile.TarFile) -> None:
            with self._debian_tree() as root:
                tar.add(root, ".", filter=_without_devices)
                self._fetch_packages(root)

        return self._kept(f"debian-{SUITE}", fill)

    @contextmanager
    def _debian_tree(self) -> Iterator[Path]:
        program = shutil.which("debootstrap", path=self.env["PATH"])
        if program is None or os.getuid() != 0:
            raise BenchError(
                "a Debian base needs root and debootstrap: apt-get install debootstrap"
            )
        with tempfile.TemporaryDirectory(dir=self.directory) as staged:
            root = Path(staged) / "root"
            read_output((program, "--variant=minbase", SUITE, str(root)), self.directory, self.env)
            read_output(("chroot", str(root), "apt-get", "clean"), self.directory, self.env)
            for used in (root / "var/lib/apt/lists").iterdir():
                shutil.rmtree(used) if used.is_dir() else used.unlink()
            yield root

    def _fetch_packages(self, root: Path) -> None:
        """Has the tree's own apt download what the step will install, and lists it for apt."""
        target = self.directory / "packages"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        fetch = ("install", "-y", "--download-only", "--no-install-recommends", *INSTALLED)
        for words in (("update",), fetch):
            read_output(("chroot", str(root), "apt-get", *words), self.directory, self.env)
        for found in sorted((root / "var/cache/apt/archives").glob("*.deb")):
            shutil.copyfile(found, target / found.name.replace("%3a", "-"))
        entries = []
        for package in sorted(target.glob("*.deb")):
            about = read_output(("dpkg-deb", "-f", str(package)), target, self.env).rstrip()
            digest = read_output(("sha256sum", str(package)), target, self.env).split()[0]
            size = package.stat().st_size
            entries.append(f"{about}\nFilename: ./{package.name}\nSize: {size}\nSHA256: {digest}\n")
        (target / "Packages").write_text("\n".join(entries))

    def _kept(self, name: str, fill: Callable[[tarfile.TarFile], None]) -> Layer:
        """The layer of that name, filled by the first who asks."""
        facts = self.directory / f"{name}.json"
        if facts.exists():
            return Layer(**json.loads(facts.read_text()))
        staged = self.directory / f"{name}.staged"
        with layer_writer(staged, _LEVEL) as (tar, written):
            fill(tar)
        (layer,) = written
        staged.rename(blob_path(self.directory, layer.digest))
        facts.write_text(json.dumps(layer._asdict()))
        return layer


def _directory(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
    return member


def _add(tar: tarfile.TarFile, file: Path, name: str) -> None:
    with file.open("rb") as stream:
        tar.addfile(_plain(tar.gettarinfo(name=str(file), arcname=name, fileobj=stream)), stream)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _without_devices(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    member.uname = member.gname = ""
    return None if member.isdev() else member
