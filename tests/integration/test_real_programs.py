# SPDX-License-Identifier: Apache-2.0
"""Large programs, whole: built by ko and by wherry from one .ko.yaml, compared, and started.

About an hour on two cores where nothing is compiled yet, and 6 GB of Go's build cache. The
sizes that docs/real-programs.md names are printed (`pytest -rA`).
"""

from __future__ import annotations

import difflib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import NamedTuple

import pytest

from ko_images import Image, ko, read_images
from real_programs import PROGRAMS, TAG, Bundle, Program
from registry_servers import Server
from wherry.golang.toolchain import GoCommand
from wherry.oci.platform import host_platform
from wherry_fixtures import Finished

__all__ = ["ko"]

pytestmark = [pytest.mark.soak, pytest.mark.timeout(5400)]

_BUILD = 5000
_UNREACHABLE = re.compile(
    r"dial tcp|i/o timeout|no such host|proxyconnect|disabled by GOPROXY|is not available"
    r"|toolchain not available"
)
_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Where a program differs in nothing but these, it is the same: the commit, which wherry leaves out
# unless it is asked for, and what it makes of the main module's version.
_STAMPS = re.compile(r"\t(?:mod|build\tvcs(?:\.\w+)?=|build\t-ldflags=)")


class Made(NamedTuple):
    """One program: its checkout, the environment of its builds, and the layouts they wrote."""

    program: Program
    root: Path
    env: dict[str, str]
    store: Path
    ko: Path
    wherry: Path
    written: Path

    def build(self, *words: str, more: dict[str, str] | None = None) -> Finished:
        """`wherry build` in the checkout."""
        return _run((sys.executable, "-m", "wherry", "build", *words), self.root,
                    {**self.env, "WHERRY_STORE": str(self.store), **(more or {})})  # fmt: skip


def _run(words: tuple[str | Path, ...], root: Path, env: dict[str, str]) -> Finished:
    return subprocess.run(
        [*map(str, words)], cwd=root, env=env, capture_output=True, text=True, timeout=_BUILD,
        check=False,
    )  # fmt: skip


def _well(done: Finished) -> Finished:
    if done.returncode and _UNREACHABLE.search(done.stderr):
        pytest.skip(f"cannot be had here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr[-4000:]
    return done


# --- what is built ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(docker_registry: Server, crane: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a static program wants, for two architectures: an index in a registry."""
    work = tmp_path_factory.mktemp("base")
    _write_base(work / "base.tar")
    name, ones = f"{docker_registry.host}/real/base", []
    for architecture in ("amd64", "arm64"):
        one = f"{name}:{architecture}"
        ones += ["-m", one]
        config = ("--set-platform", f"linux/{architecture}", "--user", "65532:65532", "--workdir",
                  "/home/nonroot", "--env", f"PATH={_PATH}", "-t", one, one)  # fmt: skip
        for words in (("append", "--oci-empty-base", "-f", "base.tar", "-t", one),
                      ("mutate", *config)):  # fmt: skip
            _well(_run((crane, *words, "--insecure"), work, dict(os.environ)))
    _well(_run((crane, "index", "append", *ones, "-t", f"{name}:1", "--insecure"), work,
               dict(os.environ)))  # fmt: skip
    return f"{name}:1"


def _write_base(file: Path) -> None:
    texts = {
        "etc/passwd": "root:x:0:0::/root:/sbin/nologin\n"
        "nonroot:x:65532:65532::/home/nonroot:/sbin/nologin\n",
        "etc/group": "root:x:0:\nnonroot:x:65532:\n",
        "etc/nsswitch.conf": "hosts: files dns\n",
    }
    plain = ("etc", "etc/ssl", "etc/ssl/certs", "home", "usr", "usr/share", "var")
    directories = {name: (0o755, 0) for name in plain}
    directories |= {"home/nonroot": (0o700, 65532), "tmp": (0o1777, 0), "var/tmp": (0o1777, 0)}
    zones = Path("/usr/share/zoneinfo")
    with tarfile.open(file, "w") as archive:
        for name, (mode, owner) in directories.items():
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.uid, member.gid = tarfile.DIRTYPE, mode, owner, owner
            archive.addfile(member)
        for name, text in texts.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
        for path in (_BUNDLE, *(zones / name for name in ("UTC", "Europe/Berlin"))):
            if path.exists():
                archive.add(path.resolve(), str(path).lstrip("/"))


@pytest.fixture(scope="module", params=PROGRAMS, ids=lambda program: program.name)
def made(
    request: pytest.FixtureRequest,
    go: GoCommand,
    ko: Path,
    base: str,
    go_caches: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Made:
    """A program, built by ko, by wherry from the same file, and from what `init` makes of it."""
    program: Program = request.param
    work = tmp_path_factory.mktemp(program.name)
    kept = ("PATH", "GOPROXY", "GOSUMDB", "GOTOOLCHAIN", "HTTPS_PROXY", "SSL_CERT_FILE")
    env = {name: os.environ[name] for name in kept if name in os.environ}
    env |= {**go_caches, "HOME": str(work), "GOENV": "off", "GOFLAGS": "", "CGO_ENABLED": "0"}
    env |= {**dict(go.env), **program.env}
    root = work / "checkout"
    _check_out(program, go, root, env)
    (root / ".ko.yaml").write_text(f"defaultBaseImage: {base}\n{program.ko}")
    _commit(root, env)
    found = Made(program, root, env, work / "store", work / "ko", work / "wherry", work / "written")
    ko_env = {**env, "KO_DOCKER_REPO": "localhost/ko"}
    platform = f"--platform={host_platform()}"
    _well(_run((ko, "build", "--push=false", "--sbom=none", platform,
                f"--oci-layout-path={found.ko}", program.package), root, ko_env))  # fmt: skip
    _well(found.build(*_words(found), f"--output=type=oci,tar=false,dest={found.wherry}"))
    notes = _well(_run((sys.executable, "-m", "wherry", "init", "--from-ko"), root, env))
    print(notes.stderr)
    _well(found.build(*_words(found), f"--output=type=oci,tar=false,dest={found.written}"))
    return found


def _words(made: Made) -> tuple[str, ...]:
    """k6 has no entry of `builds`, and a Dockerfile lies there."""
    named = "builds:" in made.program.ko
    return ("--target", made.program.name) if named else ("--frontend=gomodule",)


def _check_out(program: Program, go: GoCommand, root: Path, env: dict[str, str]) -> None:
    """A writable copy of the module, as a clone has it, with all that it imports at hand."""
    for module in (program.module, *program.instead):
        shutil.rmtree(root, ignore_errors=True)
        reason = _try_out(program, module, go, root, env)
        if not reason:
            break
        print(f"{module}: {reason}")
    else:
        pytest.skip(f"{program.name} cannot be had here: {reason}")
    if program.generate:
        _well(_run((go.path, "generate", "-tags=bindata", *program.generate), root, env))


def _try_out(program: Program, module: str, go: GoCommand, root: Path, env: dict[str, str]) -> str:
    """Why this version of the module cannot be built here; empty where it can."""
    told = _run((go.path, "mod", "download", "-json", module), root.parent, env)
    if told.returncode:
        return told.stdout[-500:] + told.stderr[-500:]
    source = Path(json.loads(told.stdout)["Dir"])
    shutil.copytree(source, root, copy_function=shutil.copyfile)
    for directory, _, _ in os.walk(root):
        os.chmod(directory, 0o755)
    for older in program.older:
        name = older.partition("@")[0]
        if _run((go.path, "mod", "download", name), root, env).returncode:
            print(f"{module}: {older} takes the place of the version that it asks for")
            _well(_run((go.path, "mod", "edit", f"-replace={name}={older}"), root, env))
    if program.generate:
        return ""
    listed = _run((go.path, "list", "-deps", "-mod=mod", program.package), root, env)
    return listed.stderr[-500:] if listed.returncode else ""


def _commit(root: Path, env: dict[str, str]) -> None:
    git = ("git", "-c", "user.name=T", "-c", "user.email=t@example.com")
    for words in (("init", "-q"), ("add", "-A", "-f"), ("commit", "-q", "-m", "one"), ("tag", TAG)):
        _well(_run((*git, *words), root, env))


# --- beside ko ----------------------------------------------------------------------------------


def test_the_image_is_ko_s(made: Made) -> None:
    """The same files with the same owners; the same program, entrypoint, user and environment."""
    (ko_image,), (image,) = (
        read_images(layout).values() for layout in (made.ko, made.wherry)
    )  # fmt: skip
    name = made.program.name
    assert set(ko_image.below("/ko-app/")) == set(image.below("/app/")) == {name}
    for path in (*ko_image.files, *image.files):
        if path not in (f"/ko-app/{name}", f"/app/{name}"):
            assert ko_image.files[path] == image.files[path], path
            assert ko_image.owners[path] == image.owners[path] == (0, 0), path
    assert image.owners[f"/app/{name}"] == ko_image.owners[f"/ko-app/{name}"] == (0, 0)
    assert image.modes[f"/app/{name}"] & 0o555 == ko_image.modes[f"/ko-app/{name}"] == 0o555
    _same_config(ko_image, image, name)
    _same_program(made, ko_image.files[f"/ko-app/{name}"], image.files[f"/app/{name}"])
    print(f"{name}: ko {ko_image.size} bytes, wherry {image.size} bytes")
    assert image.size <= ko_image.size * 1.02


def _same_config(ko_image: Image, image: Image, name: str) -> None:
    theirs, ours = ko_image.config, image.config
    assert (theirs["Entrypoint"], ours["Entrypoint"]) == ([f"/ko-app/{name}"], [f"/app/{name}"])
    for key in ("User", "WorkingDir", "Cmd", "ExposedPorts", "Volumes"):
        assert theirs.get(key) == ours.get(key), key
    # ko names the directory also where there is nothing in it.
    changed = [text.replace("/ko-app", "/app") for text in theirs["Env"]]
    expected = [text for text in changed if not text.startswith("KO_DATA_PATH=")]
    assert sorted(expected) == sorted(ours["Env"])


def _same_program(made: Made, theirs: bytes, ours: bytes) -> None:
    """What Go says of both, but for stamps; all packages and settings are in there."""
    told = []
    for name, data in (("theirs", theirs), ("ours", ours)):
        file = made.root.parent / name
        file.write_bytes(data)
        asked = _well(_run(("go", "version", "-m", file), made.root, made.env)).stdout
        told.append([line for line in asked.splitlines()[1:] if not _STAMPS.match(line)])
    assert told[0] == told[1], "\n".join(difflib.unified_diff(*told, "ko", "wherry"))
    assert len(told[0]) > 5
    # Nothing but the build ID and the version of the main module is of another length.
    assert abs(len(theirs) - len(ours)) < 8192


def test_the_written_settings_make_the_same_image(made: Made) -> None:
    read, written = (
        json.loads((layout / "index.json").read_bytes())["manifests"][0]["digest"]
        for layout in (made.wherry, made.written)
    )
    assert read == written
    assert 'base = "' in (made.root / "wherry.toml").read_text()


def test_ko_s_image_and_ours_do_the_same(made: Made, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("runc is started as root only")
    for program in ("umoci", "runc"):
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None:
            pytest.skip(f"no {program} on PATH")
    seen = []
    for layout in (made.ko, made.wherry):
        work = tmp_path / layout.name
        work.mkdir()
        seen.append(made.program.smoke(Bundle(layout, work)))
    assert seen[0] == seen[1]


def test_without_a_change_no_go_runs(made: Made) -> None:
    """The answer comes from the build record."""
    done = _well(made.build(*_words(made)))
    assert "unchanged" in done.stderr
    written = json.loads((made.written / "index.json").read_bytes())["manifests"][0]["digest"]
    assert done.stdout.strip().endswith(f"@{written}")


# --- what is special about one of them ----------------------------------------------------------


def test_another_architecture_starts_under_qemu(made: Made, tmp_path: Path) -> None:
    if made.program.name not in ("fzf", "caddy"):
        pytest.skip("fzf and caddy stand for all")
    emulator = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    tree = tmp_path / "tree"
    _well(made.build(*_words(made), "--platform=linux/arm64", f"--output=type=local,dest={tree}"))
    program = tree / "app" / made.program.name
    assert program.read_bytes()[18:20] == (183).to_bytes(2, "little")
    if emulator is None:
        pytest.skip("no qemu-aarch64 (Debian: qemu-user): built, and not started")
    word = "version" if made.program.name == "caddy" else "--version"
    told = _well(_run((emulator, program, word), tree, {"HOME": str(tmp_path)})).stdout
    assert TAG in told


def test_a_workspace_without_its_modules(made: Made) -> None:
    """The module zip of prometheus has a go.work, and not the modules that this names."""
    if made.program.name != "prometheus":
        pytest.skip("only prometheus has such a go.work")
    done = made.build(*_words(made), "--no-cache", more={"GOWORK": ""})
    assert done.returncode == 2
    assert "go.work names a module that is not here" in done.stderr
    assert "GOWORK=off" in done.stderr


def test_a_module_that_asks_for_a_newer_go(made: Made, go: GoCommand) -> None:
    if made.program.name != "hugo":
        pytest.skip("only hugo asks for Go 1.27")
    version = _well(_run((go.path, "env", "GOVERSION"), Path("/"), {**made.env, **_LOCAL})).stdout
    if version.strip() >= "go1.27":
        pytest.skip(f"{version.strip()} is new enough")
    done = made.build(*_words(made), "--no-cache", more=_LOCAL)
    assert done.returncode == 3
    assert "this Go is too old for the module" in done.stderr
    assert "GOTOOLCHAIN=auto" in done.stderr


_LOCAL = {"GOTOOLCHAIN": "local"}
