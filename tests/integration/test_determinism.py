# SPDX-License-Identifier: Apache-2.0
"""Same inputs, same bytes; and nothing of the machine or of its secrets in them.

Each build here has a store of its own, so that nothing is answered from a record.
"""

import gzip
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import pytest

from wherry.golang.toolchain import GoCommand
from wherry_fixtures import Finished, write_module

Module = Callable[..., Path]

# Two packages, an embedded file and a local replacement: what Go could put paths of.
FILES = {
    "go.mod": (
        "module example.com/m\n\ngo 1.21\n\n"
        "require example.com/lib v0.0.0\n\nreplace example.com/lib => ./lib\n"
    ),
    "main.go": (
        'package main\n\nimport (\n\t_ "embed"\n\n\t"example.com/lib"\n)\n\n'
        "//go:embed words.txt\nvar words string\n\nfunc main() { println(lib.Name(), words) }\n"
    ),
    "words.txt": "words\n",
    "lib/go.mod": "module example.com/lib\n\ngo 1.21\n",
    "lib/lib.go": "package lib\n\nfunc Name() string { panic(`here`) }\n",
}
SECRET = "hunter2-hunter2"


class Case(NamedTuple):
    """One way to build the same: variables, umask, flags, and where the module lies."""

    more: Mapping[str, str] = {}
    umask: int = 0o022
    flags: tuple[str, ...] = ()
    place: str = "mod"
    prepare: Callable[[Path], object] = lambda _path: None


def _touch(root: Path) -> None:
    """Other modes and times, as another checkout would give them."""
    for number, path in enumerate(sorted(root.rglob("*"))):
        if path.is_file():
            path.chmod(0o600 if number % 2 else 0o755)
        os.utime(path, (1_000_000_000 + number, 1_000_000_000 + number))


def _behind_a_link(root: Path) -> None:
    root.rename(root.with_name("elsewhere"))
    root.symlink_to("elsewhere")


CASES = {
    "another directory": Case(place="a/b c/größer"),
    "umask 077": Case(umask=0o077),
    "umask 000": Case(umask=0),
    "time zone and locale": Case({"TZ": "Asia/Kathmandu", "LC_ALL": "de_DE.UTF-8", "LANG": "C"}),
    "no locale": Case({"LC_ALL": "POSIX", "PYTHONUTF8": "0"}),
    "one job": Case({"GOMAXPROCS": "1", "PYTHONHASHSEED": "1"}, flags=("--jobs", "1")),
    "eight jobs": Case({"PYTHONHASHSEED": "2"}, flags=("--jobs", "8")),
    "other modes and times": Case(prepare=_touch),
    "behind a link": Case(prepare=_behind_a_link),
    "another user": Case({"USER": "somebody", "LOGNAME": "somebody", "HOSTNAME": "elsewhere"}),
    "GOOS and GOARCH of the environment": Case({"GOOS": "windows", "GOARCH": "arm", "GOARM": "5"}),
    "cgo in the environment": Case({"CGO_ENABLED": "1", "CC": "no-such-compiler"}),
}


AS_IT_IS = Case()


def start(env: Mapping[str, str], cwd: Path, *words: str | Path, umask: int = 0o022) -> Finished:
    return subprocess.run(
        [sys.executable, "-m", "wherry", *map(str, words)],
        cwd=cwd, env=env, umask=umask, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip


def build(env: Mapping[str, str], directory: Path, work: Path, case: Case = AS_IT_IS) -> bytes:
    """The image of the module in `directory` as an archive; every run has a store of its own."""
    work.mkdir(parents=True)
    archive = work / "image.tar"
    words = ("build", "-q", "--store", work / "store", "-o", f"type=oci,dest={archive}", ".")
    finished = start({**env, **case.more}, directory, *words, *case.flags, umask=case.umask)
    assert finished.returncode == 0, finished.stderr
    return archive.read_bytes()


@pytest.fixture(scope="module")
def expected(
    tmp_path_factory: pytest.TempPathFactory, go_caches: dict[str, str]
) -> tuple[bytes, dict[str, str]]:
    """The archive that every other build has to give, and the environment it was built in."""
    work = tmp_path_factory.mktemp("expected")
    env = {"PATH": os.environ["PATH"], **go_caches, "HOME": str(work / "home"), "GOPROXY": "off"}
    return build(env, write_module(work / "mod", FILES), work / "out"), env


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_one_module_gives_one_archive(
    expected: tuple[bytes, dict[str, str]], go_env: dict[str, str], tmp_path: Path, case: Case
) -> None:
    directory = write_module(tmp_path / case.place, FILES)
    case.prepare(directory)
    assert build({**go_env, "GOPROXY": "off"}, directory, tmp_path / "work", case) == expected[0]


@pytest.mark.soak
def test_another_goroot_and_an_empty_go_cache_give_the_same_archive(
    expected: tuple[bytes, dict[str, str]], go_env: dict[str, str], go: GoCommand, tmp_path: Path
) -> None:
    asked = subprocess.run([go.path, "env", "GOROOT"], env={**go_env, **dict(go.env)}, check=True,
                           capture_output=True, text=True)  # fmt: skip
    root = tmp_path / "another" / "go"
    shutil.copytree(asked.stdout.strip(), root, symlinks=True)
    env = {
        **go_env,
        "GOPROXY": "off",
        "GOTOOLCHAIN": "local",
        "GOCACHE": str(tmp_path / "cache"),
        "PATH": f"{root / 'bin'}:{go_env['PATH']}",
    }
    directory = write_module(tmp_path / "mod", FILES)
    assert build(env, directory, tmp_path / "work") == expected[0]


def test_the_binary_is_what_go_build_gives(
    go: GoCommand, go_env: dict[str, str], tmp_path: Path
) -> None:
    directory = write_module(tmp_path / "mod", FILES)
    plain = {**go_env, **dict(go.env), "CGO_ENABLED": "0", "GOOS": "linux", "GOPROXY": "off"}
    flags = ("-trimpath", "-ldflags=-s -w", "-buildvcs=false")
    argv = (go.path, "build", *flags, "-o", str(tmp_path / "plain"), ".")
    subprocess.run(argv, cwd=directory, env=plain, check=True)
    out = tmp_path / "out"
    words = ("build", "-q", "--store", tmp_path / "store", "-o", out, ".")
    finished = start({**go_env, "GOPROXY": "off"}, directory, *words)
    assert finished.returncode == 0, finished.stderr
    assert (out / "app" / "m").read_bytes() == (tmp_path / "plain").read_bytes()


def test_nothing_of_the_machine_is_in_the_image(
    expected: tuple[bytes, dict[str, str]], go: GoCommand
) -> None:
    archive, env = expected
    asked = subprocess.run(
        [go.path, "env", "-json", "GOROOT", "GOCACHE", "GOMODCACHE", "GOPATH"],
        env={**env, **dict(go.env)}, check=True, capture_output=True,
    )  # fmt: skip
    words = [*json.loads(asked.stdout).values(), env["HOME"], str(Path(env["HOME"]).parent)]
    # A short host name could be a word of any program.
    words += [name for name in (socket.gethostname(),) if len(name) > 7]
    for name, content in contents(archive):
        for word in words:
            assert word.encode() not in content, f"{word} is in {name}"


def test_tar_headers_tell_nothing_of_the_machine(expected: tuple[bytes, dict[str, str]]) -> None:
    members = list(layer_members(expected[0]))
    assert members
    for member in members:
        assert (member.uname, member.gname, member.mtime) == ("", "", 0), member.name
        assert (member.uid, member.gid) in ((0, 0), (65532, 65532)), member.name
        assert not set(member.pax_headers) - {"path", "linkpath"}, member.name


def contents(archive: bytes) -> Iterator[tuple[str, bytes]]:
    """Everything in an archive: blobs as they are, layers also without their compression."""
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        for member in tar.getmembers():
            file = tar.extractfile(member)
            data = file.read() if file is not None else b""
            yield member.name, member.name.encode() + data
            if data.startswith(b"\x1f\x8b"):
                yield f"{member.name} (unpacked)", gzip.decompress(data)


def layer_members(archive: bytes) -> Iterator[tarfile.TarInfo]:
    for name, data in contents(archive):
        if name.endswith("(unpacked)"):
            with tarfile.open(fileobj=BytesIO(data)) as tar:
                yield from tar.getmembers()


# --- Secrets ------------------------------------------------------------------------------------

CREDENTIALS = {
    "GOPROXY": f"https://somebody:{SECRET}@127.0.0.1:1,off",
    "GOSUMDB": "off",
    "GOVCS": "*:off",
    "GOAUTH": f"command --password={SECRET}",
    "HTTPS_PROXY": f"http://somebody:{SECRET}@127.0.0.1:1",
    "GITHUB_TOKEN": SECRET,
}


def everything_below(directory: Path) -> Iterator[tuple[Path, bytes]]:
    for path in directory.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            yield path, data
            if data.startswith(b"\x1f\x8b"):
                yield path, gzip.decompress(data)


def test_credentials_of_the_environment_stay_out_of_store_image_and_output(
    go_env: dict[str, str], module: Module, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    env = {**go_env, **CREDENTIALS}
    for mode in ("plain", "json"):
        words = ("build", "--store", store, "--json", "--no-cache", "--progress", mode, ".")
        finished = start(env, module(), *words)
        assert finished.returncode == 0, finished.stderr
        assert SECRET not in finished.stdout + finished.stderr
    assert json.loads(finished.stdout)["digest"]
    for path, data in everything_below(store):
        assert SECRET.encode() not in data, path
    changed = {**env, "GOPROXY": CREDENTIALS["GOPROXY"].replace("hunter2", "hunter3")}
    again = start(changed, tmp_path / "mod", "build", "--store", store, "--json", "-q", ".")
    assert json.loads(again.stdout)["reason"] == "the environment variable GOPROXY changed"
    assert (store / "state.db").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("mode", ["plain", "json", "quiet"])
def test_credentials_stay_out_of_errors(
    go_env: dict[str, str], module: Module, tmp_path: Path, mode: str
) -> None:
    directory = module(
        {
            "go.mod": "module example.com/m\n\ngo 1.21\n\nrequire example.com/far v1.0.0\n",
            "go.sum": "".join(
                f"example.com/far v1.0.0{kind} h1:{'A' * 43}=\n" for kind in ("", "/go.mod")
            ),
            "main.go": 'package main\n\nimport _ "example.com/far"\n\nfunc main() {}\n',
        }
    )
    flags = ("--quiet",) if mode == "quiet" else ("--progress", mode)
    env = {**go_env, **CREDENTIALS, "GOAUTH": "off", "GOMODCACHE": str(tmp_path / "modcache")}
    finished = start(env, directory, "build", "--store", tmp_path / "store", *flags, ".")
    assert finished.returncode == 4, finished.stderr
    assert "example.com/far" in finished.stderr
    assert SECRET not in finished.stdout + finished.stderr
