# SPDX-License-Identifier: Apache-2.0
"""Two machines for travelling records: one that builds, others that are asked.

A machine is a directory with a checkout, a HOME and a module cache of its own. The repository has a
module `svc` with two programs, a local replacement beside it and a module that comes from a proxy.
"""

import io
import json
import os
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from git_commands import git
from wherry.api.building import build_images
from wherry.api.recorded import BuildRecord
from wherry.api.request import BuildRequest
from wherry.api.travelling_records import TravelledRecord, holds, travel
from wherry.api.unchanged import ask_records
from wherry.events import discard
from wherry.oci.digest import parse_digest
from wherry.process.cancel import CancelToken
from wherry.process.clock import next_file_clock_ns
from wherry.store.store import open_store

MAIN = """package main

import (
	"embed"
	"os"

	"example.com/Cached/word"
	"example.com/lib"
)

//go:embed text
var text embed.FS

func main() {
	content, _ := text.ReadFile("text/a.txt")
	os.Stdout.WriteString(word.Word + lib.Word + special + string(content))
}
"""
REPOSITORY = {
    "svc/go.mod": (
        "module example.com/svc\n\ngo 1.21\n\n"
        "require example.com/lib v0.0.0\n\nrequire example.com/Cached v1.2.0\n\n"
        "replace example.com/lib => ../lib\n"
    ),
    "svc/cmd/api/main.go": MAIN,
    "svc/cmd/api/plain.go": '//go:build !special\n\npackage main\n\nconst special = "no"\n',
    "svc/cmd/api/special.go": '//go:build special\n\npackage main\n\nconst special = "yes"\n',
    "svc/cmd/api/text/a.txt": "a",
    "svc/cmd/api/kodata/page.html": "<p>",
    "svc/cmd/two/main.go": 'package main\n\nfunc main() { println("two") }\n',
    "svc/internal/none/none.go": "package none\n",
    "svc/web/run.sh": "run",
    "svc/README.md": "text",
    "lib/go.mod": "module example.com/lib\n\ngo 1.21\n",
    "lib/lib.go": 'package lib\n\nconst Word = "lib"\n',
}
CACHED = {
    "go.mod": "module example.com/Cached\n\ngo 1.21\n",
    "word/word.go": 'package word\n\nimport _ "embed"\n\n//go:embed data/w.txt\nvar Word string\n',
    "word/word_test.go": "package word\n",
    "word/data/w.txt": "cached",
    "other/other.go": "package other\n",
    # Assembly that includes a file from beside its package.
    "asm/asm.go": "package asm\n\nfunc Five() int\n",
    "asm/asm_amd64.s": '#include "../include/five.h"\n\n'
    "TEXT ·Five(SB),4,$0-8\n\tMOVQ $FIVE, ret+0(FP)\n\tRET\n",
    "asm/asm_arm64.s": '#include "../include/five.h"\n\n'
    "TEXT ·Five(SB),4,$0-8\n\tMOVD $FIVE, R0\n\tMOVD R0, ret+0(FP)\n\tRET\n",
    "include/five.h": "#define FIVE 5\n",
}
QUIET = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}


class Machine(NamedTuple):
    """A checkout at `repository`, and the environment of its user."""

    place: Path
    env: dict[str, str]

    @property
    def repository(self) -> Path:
        """Where the checkout lies."""
        return self.place / "src" / "repository"

    @property
    def module(self) -> Path:
        """The main module."""
        return self.repository / "svc"

    @property
    def module_cache(self) -> Path:
        """GOMODCACHE, by its usual place."""
        return self.place / "user-xyzzy" / "go" / "pkg" / "mod"

    def write(self, name: str, content: str) -> Path:
        """Write a file of the repository."""
        path = self.repository / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    def request(self, **asked: object) -> BuildRequest:
        """A request of this machine's user, for the program `api` where nothing else is said."""
        store = str(self.place / "store")
        request = BuildRequest("./cmd/api", str(self.module), dict(self.env), store)
        return request._replace(**asked)  # type: ignore[arg-type]

    def asked(self, data: bytes, **asked: object) -> TravelledRecord | str:
        """What a record says here."""
        return holds(data, self.request(**asked), CancelToken())

    def record(self, **asked: object) -> BuildRecord:
        """Build; the record that was stored."""
        # An edit in the tick of the build's start would be one during the build.
        next_file_clock_ns()
        request = self.request(**asked)
        made = build_images(request, discard, CancelToken())
        assert not made.failures
        with open_store(request.store) as store:
            verdict = ask_records(request, store, CancelToken())
        assert verdict.record is not None, verdict.reason
        return verdict.record

    def exported(self, record: BuildRecord, **asked: object) -> bytes | str:
        """The record for other machines, or why it stays."""
        request = self.request(**asked)
        with open_store(request.store) as store:
            return travel(record, request, lambda digest: store.blobs.read(parse_digest(digest)))

    def built(self, **asked: object) -> bytes:
        """Build, and give the travelling record."""
        data = self.exported(self.record(**asked), **asked)
        assert isinstance(data, bytes), data
        return data

    def go(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """Run go in the module."""
        env = {**self.env, "CGO_ENABLED": "0", "PWD": str(self.module)}
        return subprocess.run(
            ["go", *words], cwd=self.module, env=env, capture_output=True, check=False
        )


def make_proxy(place: Path) -> Path:
    """A module proxy in a directory (Go Modules Reference, "Module proxies"), with one module."""
    versions = place / "example.com" / "!cached" / "@v"
    versions.mkdir(parents=True)
    (versions / "list").write_text("v1.2.0\n")
    (versions / "v1.2.0.info").write_text(json.dumps({"Version": "v1.2.0"}))
    (versions / "v1.2.0.mod").write_text(CACHED["go.mod"])
    with zipfile.ZipFile(versions / "v1.2.0.zip", "w") as archive:
        for name, text in CACHED.items():
            archive.writestr(f"example.com/Cached@v1.2.0/{name}", text)
    return place


def make_repository(place: Path, env: Mapping[str, str], settings: str = "") -> Path:
    """The repository as it is committed, its go.sum filled."""
    for name, text in {**REPOSITORY, **({"svc/wherry.toml": settings} if settings else {})}.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    tidy = subprocess.run(
        ["go", "mod", "tidy"], cwd=place / "svc", env=dict(env), capture_output=True, check=False
    )
    assert tidy.returncode == 0, tidy.stderr
    git(place, "init", "--quiet", "--initial-branch=main")
    git(place, "add", ".")
    git(place, "commit", "--quiet", "--message=first")
    return place


def make_machine(
    place: Path, repository: Path | None, base: Mapping[str, str], goroot: Path
) -> Machine:
    """A machine at `place` with a copy of the repository and an empty module cache.

    `base` is what all machines' environments share; `goroot` is where its Go lies.
    """
    home = place / "user-xyzzy"
    telemetry = home / ".config" / "go" / "telemetry"
    telemetry.mkdir(parents=True)
    (telemetry / "mode").write_text("off")
    env = {**base, **QUIET, "HOME": str(home), "PATH": f"{goroot}/bin:/usr/bin:/bin"}
    machine = Machine(place, env)
    if repository is not None:
        shutil.copytree(repository, machine.repository, symlinks=True)
    return machine


def copy_goroot(source: Path, target: Path) -> Path:
    """What a travelling record asks of a toolchain, at another place: it cannot build."""
    for name in ("VERSION", "go.env", "bin/go"):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / name, target / name)
    for tool in (source / "pkg" / "tool").glob("*/*"):
        if tool.name in ("asm", "compile", "link"):
            (target / tool.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(tool, target / tool.relative_to(source))
    return target


def program_of(machine: Machine, record: BuildRecord) -> bytes:
    """The program in the image of a record, which is in the machine's store."""
    (output,) = record.outputs
    with open_store(str(machine.place / "store")) as store:
        manifest = json.loads(store.blobs.read(parse_digest(output.manifest)))
        layer = store.blobs.read(parse_digest(manifest["layers"][-1]["digest"]))
    with tarfile.open(fileobj=io.BytesIO(layer), mode="r:gz") as archive:
        file = archive.extractfile(output.binaries[0].path.lstrip("/"))
        assert file is not None
        return file.read()


def goroot_of(path: str) -> Path:
    """Where the Go on a PATH lies."""
    found = shutil.which("go", path=path)
    assert found is not None
    return Path(os.path.realpath(found)).parent.parent
