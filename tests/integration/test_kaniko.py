# SPDX-License-Identifier: Apache-2.0
"""`wherry kaniko`: calls as pipelines make them, from contexts of all kinds to registries."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import signal
import sqlite3
import ssl
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from certificates import Authority, Pair
from dockerfile_builds import Builds, builds, layer_files, plain_env
from fault_registry import FaultRegistry
from git_server import GitServer, git, git_server
from registry_samples import image, layer
from transport_servers import Reply, Seen, answering
from wherry.cli import main
from wherry.fstree import live_tree, scan
from wherry.oci.platform import host_platform

__all__ = ["builds", "plain_env"]

ONE = "FROM scratch\nCOPY . /all/\n"
TOKEN = "token of the tests"


@pytest.fixture
def registry() -> Iterator[FaultRegistry]:
    with FaultRegistry() as running:
        yield running


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def server_certificate(authority: Authority) -> Pair:
    return authority.issue("server", hosts=("127.0.0.1", "localhost"))


class Done(NamedTuple):
    """What a call gave."""

    returncode: int
    stdout: str
    stderr: str


class Stdin(io.TextIOWrapper):
    """A pipe that holds some bytes."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))


def call(
    builds: Builds,
    *words: str | Path,
    cwd: Path | None = None,
    stdin: bytes = b"",
    more: Mapping[str, str] | None = None,
) -> Done:
    """A call in this process, which spares its start: streams, environment and directory differ."""
    out, told = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        around = {"WHERRY_STORE": str(builds.store), **builds.env, **(more or {})}
        patch.setattr(os, "environ", around)
        patch.chdir(cwd or builds.root)
        for name, stream in (("stdin", Stdin(stdin)), ("stdout", out), ("stderr", told)):
            patch.setattr(sys, name, stream)
        code = main._run(["kaniko", *map(str, words)])
    return Done(code, out.getvalue(), told.getvalue())


def kaniko(builds: Builds, *words: str | Path, **around: Any) -> Done:
    """A call that has to work."""
    done = call(builds, *words, **around)
    assert done.returncode == 0, done.stderr
    return done


def refused(builds: Builds, code: int, *words: str | Path, **around: Any) -> str:
    """What a call tells that has to fail."""
    done = call(builds, *words, **around)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


def digest_of(done: Done) -> str:
    """The digest that stdout tells, which is all that it tells."""
    (line,) = done.stdout.splitlines()
    return line.partition("@")[2]


def files_of(builds: Builds, digest: str) -> dict[str, str]:
    """The files of an image in the store, with their texts."""
    manifest = json.loads(builds.blob(digest))
    found = {}
    for item in manifest["layers"]:
        found |= layer_files(builds.blob(item["digest"]))
    return {name: node.content.decode() for name, node in found.items() if node.kind != "5"}


def packed(files: Mapping[str, str], *more: tarfile.TarInfo) -> bytes:
    """A tar of these files and further members."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(text.encode()), 0o640, 1_600_000_000
            archive.addfile(member, io.BytesIO(text.encode()))
        for member in more:
            archive.addfile(member)
    return stream.getvalue()


# --- a directory, pushed ------------------------------------------------------------------------


def test_the_usual_call(builds: Builds, registry: FaultRegistry, tmp_path: Path) -> None:
    builds.files(Dockerfile="FROM scratch\nARG A\nLABEL a=$A\nCOPY f /f\n", f="f\n")
    out = tmp_path / "out"
    first, second = f"{registry.host}/team/app:1", f"{registry.host}/team/other"
    done = kaniko(
        builds, f"--context=dir://{builds.root}", "--dockerfile=Dockerfile",
        f"--destination={first}", "-d", second, "--build-arg", "A=of the call",
        "--snapshot-mode=redo", "--single-snapshot", "--cleanup", "--force", "--label", "team=shop",
        f"--digest-file={out}/deep/digest", f"--image-name-with-digest-file={out}/names",
        f"--image-name-tag-with-digest-file={out}/tags", cwd=tmp_path,
        more={"BUILDER_OUTPUT": str(out)},
    )  # fmt: skip
    digest = registry.tags("team/app")["1"]
    assert registry.tags("team/other") == {"latest": digest}
    assert done.stdout == f"{first}@{digest}\n"
    told = "ignored: --snapshot-mode, --single-snapshot, --cleanup, --force: wherry has no need of"
    assert done.stderr.count("ignored") == done.stderr.count(f"{told} them\n") == 1
    assert f"pushed to {first}" in done.stderr
    assert (out / "deep/digest").read_text() == digest
    host = registry.host
    assert (out / "names").read_text() == (
        f"{host}/team/app@{digest}\n{host}/team/other@{digest}\n"
    )
    assert (out / "tags").read_text() == (
        f"{host}/team/app:1@{digest}\n{host}/team/other:latest@{digest}\n"
    )
    assert [json.loads(line) for line in (out / "images").read_text().splitlines()] == [
        {"name": first, "digest": digest}, {"name": second, "digest": digest},
    ]  # fmt: skip
    config = json.loads(builds.blob(json.loads(builds.blob(digest))["config"]["digest"]))
    assert config["config"]["Labels"] == {"a": "of the call", "team": "shop"}
    plain = builds.build("--build-arg", "A=of the call", "--label", "team=shop")
    assert plain.digest == digest
    # As a command.
    piped = builds.start("-c=tar://stdin", "--no-push", verb="kaniko", stdin=packed(
        {"Dockerfile": "FROM scratch\nCOPY f /f\n", "f": "f\n"}), cwd=out)  # fmt: skip
    assert piped.returncode == 0, piped.stderr
    assert files_of(builds, piped.stdout.strip().partition("@")[2]) == {"f": "f\n"}


def test_words_as_people_type_them(builds: Builds, tmp_path: Path) -> None:
    builds.files(Dockerfile="FROM scratch\n", f="f\n")
    builds.write("web.Dockerfile", "FROM scratch AS a\nCOPY f /a\nFROM scratch\nCOPY f /b\n")
    done = kaniko(builds, "-c", ".", "-fweb.Dockerfile", "-d=app:1", "--no-push", "--target", "a")
    assert files_of(builds, digest_of(done)) == {"a": "f\n"}
    assert done.stdout.startswith("app:1@sha256:")
    # Seen from here first, then from the context.
    builds.write("../Dockerfile", "FROM scratch\nCOPY f /here\n")
    done = kaniko(builds, "-c=app", "-d=app:1", cwd=tmp_path, more={"KANIKO_NO_PUSH": "1"})
    assert files_of(builds, digest_of(done)) == {"here": "f\n"}
    done = kaniko(builds, "-c=app", "-f=web.Dockerfile", "--no-push", cwd=tmp_path)
    assert done.stdout.startswith("app:latest@sha256:")
    below = kaniko(builds, "-c=dir://.", "--context-sub-path=app", "--no-push", cwd=tmp_path)
    assert files_of(builds, digest_of(below)) == {"here": "f\n"}


def test_what_is_told_and_where(builds: Builds) -> None:
    builds.files(Dockerfile=ONE)
    words = ("-c=.", "-d=app", "--no-push", "--cleanup")
    quiet = kaniko(builds, *words, "--verbosity=error")
    assert quiet.stderr == ""
    assert quiet.stdout.startswith("app:latest@sha256:")
    events = kaniko(builds, *words, "--log-format=json").stderr.splitlines()
    texts = [json.loads(line).get("text") for line in events]
    assert "ignored: --cleanup: wherry has no need of it" in texts
    plan = kaniko(builds, *words, "--dryrun")
    assert plan.stdout.startswith("image docker.io/library/app:latest for linux/")
    builds.files(f="f")
    assert "COPY . /all/" in kaniko(builds, *words, "--dryrun").stdout


def test_a_plan_builds_nothing(builds: Builds, registry: FaultRegistry) -> None:
    builds.files(Dockerfile=ONE)
    kaniko(builds, "-c=.", f"-d={registry.host}/a", "--dryrun", "--digest-file=digest")
    assert registry.requests == []
    assert not (builds.root / "digest").exists()


def test_mistakes(builds: Builds, tmp_path: Path) -> None:
    builds.files(Dockerfile="FROM scratch\nCOPY nosuch /\n")
    told = refused(builds, 2, "-c=.", "-d=app", "--materialize", "--insecure-pull")
    assert told.count("cannot be done") == told.count("hint: ") == 2
    assert "did you mean '--destination'" in refused(builds, 2, "-c=.", "--destinatio=a")
    assert "nosuch" in refused(builds, 1, "-c=.", "--no-push")
    assert "is not there" in refused(builds, 2, "-c=/no/such", "-f=x", "--no-push")
    assert "there is no Dockerfile" in refused(builds, 2, "-c=.", "-f=other", "--no-push")
    builds.files(D="FROM scratch\n", file="")
    assert "127.0.0.1:1" in refused(builds, 4, "-c=.", "-fD", "-d", "127.0.0.1:1/a")
    place = builds.root / "file/below/digest"
    failed = call(builds, "-c=.", "-fD", "-d=a", "--no-push", f"--digest-file={place}")
    assert failed.returncode == 3
    # The image is there all the same.
    assert failed.stdout.startswith("a:latest@sha256:")


def test_a_file_that_cannot_be_replaced_is_written_into(builds: Builds, tmp_path: Path) -> None:
    """As Kubernetes' termination log, which is mounted."""
    builds.files(Dockerfile="FROM scratch\n")
    log = tmp_path / "log"
    log.write_text("old and longer than a digest " * 5)
    before = log.stat().st_ino
    done = kaniko(builds, "-c=.", "--no-push", f"--digest-file={log}")
    assert log.read_text() == digest_of(done)
    assert log.stat().st_ino == before


# --- outputs ------------------------------------------------------------------------------------


def test_archives_instead_of_a_push(builds: Builds, registry: FaultRegistry) -> None:
    builds.files(Dockerfile="FROM scratch\nCOPY f /f\n", f="f\n")
    name = f"{registry.host}/team/app:1"
    done = kaniko(builds, "-c=.", "-d", name, "--no-push", "--tarPath=a.tar",
                  "--oci-layout-path=layout", "--digest-file=digest")  # fmt: skip
    assert registry.requests == []
    with tarfile.open(builds.root / "a.tar") as archive:
        member = archive.extractfile("manifest.json")
        assert member is not None
        (item,) = json.load(member)
    assert item["RepoTags"] == [name]
    (described,) = json.loads((builds.root / "layout/index.json").read_bytes())["manifests"]
    assert described["digest"] == digest_of(done) == (builds.root / "digest").read_text()
    nameless = kaniko(builds, "-c=.", "--no-push", "--tar-path", "b.tar")
    assert nameless.stdout.startswith("app:latest@")
    assert (builds.root / "b.tar").exists()


def test_compression(builds: Builds, registry: FaultRegistry) -> None:
    builds.files(Dockerfile="FROM scratch\nCOPY f /f\n", f="f\n" * 1000)
    done = kaniko(builds, "-c=.", "-d", f"{registry.host}/app:1", "--compression=zstd",
                  "--compression-level=7", "--digest-file=digest")  # fmt: skip
    manifest = json.loads(registry.manifest("app", "1"))
    assert [item["mediaType"].rpartition("+")[2] for item in manifest["layers"]] == ["zstd"]
    assert (builds.root / "digest").read_text() == registry.tags("app")["1"] == digest_of(done)
    kaniko(builds, "-c=.", "--no-push", "--oci-layout-path=layout", "--compression=zstd",
           "--digest-file=digest")  # fmt: skip
    (described,) = json.loads((builds.root / "layout/index.json").read_bytes())["manifests"]
    assert described["digest"] == (builds.root / "digest").read_text()


def test_reproducible(builds: Builds) -> None:
    builds.files(Dockerfile="FROM scratch\nCOPY f /f\n", f="f\n")
    done = kaniko(builds, "-c=.", "-d=app", "--no-push", "--reproducible")
    manifest = json.loads(builds.blob(digest_of(done)))
    (layer_of_f,) = manifest["layers"]
    assert layer_files(builds.blob(layer_of_f["digest"]))["f"].mtime == 0
    config = json.loads(builds.blob(manifest["config"]["digest"]))
    assert config["created"] == "1970-01-01T00:00:00Z"


# --- tars ---------------------------------------------------------------------------------------

CONTEXT = {
    "Dockerfile": ONE, "f": "f\n", "secret": "s", "sub/Dockerfile": "FROM scratch\nCOPY . /sub/\n",
    "sub/g": "g\n", ".dockerignore": "secret\n.dockerignore\n**/Dockerfile\n",
}  # fmt: skip


@pytest.mark.parametrize("compress", [gzip.compress, bytes])
def test_a_tar_is_unpacked(builds: Builds, tmp_path: Path, compress: type[bytes]) -> None:
    data = compress(packed(CONTEXT))
    (tmp_path / "c.tgz").write_bytes(data)
    found = kaniko(builds, "-c=tar://c.tgz", "-d=app", "--no-push", cwd=tmp_path)
    assert files_of(builds, digest_of(found)) == {"all/f": "f\n", "all/sub/g": "g\n"}
    piped = kaniko(builds, "-c=tar://stdin", "--no-push", stdin=data, cwd=tmp_path)
    assert digest_of(piped) == digest_of(found)
    assert piped.stdout.startswith("image:latest@")
    below = kaniko(builds, f"-c=tar://{tmp_path}/c.tgz", "--context-sub-path=sub/", "--no-push")
    assert files_of(builds, digest_of(below)) == {"sub/g": "g\n", "sub/Dockerfile": ONE.replace(
        "all", "sub")}  # fmt: skip
    inside = kaniko(builds, f"-c=tar://{tmp_path}/c.tgz", "-fsub/Dockerfile", "--no-push")
    assert "sub/f" in files_of(builds, digest_of(inside))
    # A Dockerfile from here is taken first.
    builds.files(Dockerfile="FROM scratch\nCOPY f /here\n")
    here = kaniko(builds, "-c=tar://stdin", "--no-push", stdin=data)
    assert files_of(builds, digest_of(here)) == {"here": "f\n"}


def test_waiting_for_a_tar_can_be_stopped(builds: Builds, tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    words = [sys.executable, "-m", "wherry", "kaniko", "-c=tar://stdin", "--no-push", "--cleanup"]
    around = {**builds.env, "WHERRY_STORE": str(builds.store),
              "TMPDIR": str(tmp_path / "temporary")}  # fmt: skip
    with subprocess.Popen(words, env=around, cwd=tmp_path, stdin=subprocess.PIPE,
                          stderr=subprocess.PIPE) as waiting:  # fmt: skip
        assert waiting.stderr is not None
        assert b"ignored: --cleanup" in waiting.stderr.readline()
        waiting.send_signal(signal.SIGTERM)
        assert waiting.wait(30) == 143
        assert b"interrupted" in waiting.stderr.read()
    assert list((tmp_path / "temporary").iterdir()) == []


def test_modes_times_and_links_of_a_tar(builds: Builds, tmp_path: Path) -> None:
    link, hard, closed = (tarfile.TarInfo(name) for name in ("link", "hard", "closed"))
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    hard.type, hard.linkname = tarfile.LNKTYPE, "f"
    closed.type, closed.mode = tarfile.DIRTYPE, 0o555
    pipe = tarfile.TarInfo("pipe")
    pipe.type = tarfile.FIFOTYPE
    below = tarfile.TarInfo("closed/below")
    below.mode = 0o4755
    data = packed({"Dockerfile": ONE, "f": "f\n"}, link, hard, closed, pipe, below)
    done = kaniko(builds, "-c=tar://stdin", "--no-push", stdin=data, cwd=tmp_path)
    (one,) = json.loads(builds.blob(digest_of(done)))["layers"]
    found = layer_files(builds.blob(one["digest"]))
    assert (found["all/f"].mode, found["all/f"].mtime) == (0o640, 1_600_000_000)
    assert (found["all/link"].kind, found["all/link"].content) == ("2", b"/etc/passwd")
    assert found["all/closed"].mode == 0o555
    assert found["all/closed/below"].mode == 0o4755
    assert "all/hard" in found
    assert "all/pipe" not in found


def test_tars_that_do_harm_or_are_none(
    builds: Builds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "Dockerfile").write_text("FROM scratch\nLABEL private=1\n")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))

    def told(data: bytes, *words: str) -> str:
        return refused(builds, 2, "-c=tar://stdin", "--no-push", *words, stdin=data, cwd=tmp_path)

    out, file = tarfile.TarInfo("out"), tarfile.TarInfo("Dockerfile")
    out.type, out.linkname = tarfile.SYMTYPE, str(tmp_path / "private")
    file.type, file.linkname = tarfile.SYMTYPE, str(tmp_path / "private" / "Dockerfile")
    assert "leads out of" in told(packed({}, out), "--context-sub-path=out")
    assert "leads out of" in told(packed({}, file))
    assert "leads out of" in told(packed({}, out), "-fout/Dockerfile")
    assert "leads out of" in told(packed({"f": ""}), "--context-sub-path=../..")
    assert "has no directory f" in told(packed({"f": ""}), "--context-sub-path=f")
    up, through = tarfile.TarInfo("../up"), tarfile.TarInfo("out/written")
    assert "unpack" in told(packed({}, up))
    done = call(builds, "-c=tar://stdin", "--no-push", cwd=tmp_path,
                stdin=packed({"Dockerfile": "FROM scratch\n"}, out, through))  # fmt: skip
    assert done.returncode in (0, 2)
    assert not (tmp_path / "private" / "written").exists()
    assert not (tmp_path / "up").exists()
    assert "is no tar" in told(b"FROM scratch\n")
    assert "is no tar" in told(b"")
    assert "cannot unpack" in told(gzip.compress(packed({"f": "x" * 9000}))[:-40])
    assert "cannot be read" in refused(builds, 2, "-c=tar://none.tgz", "--no-push")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "no such"))
    told_now = refused(builds, 3, "-c=tar://stdin", "--no-push", stdin=packed({}, out))
    assert "set TMPDIR" in told_now
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    left = [path.name for path in (tmp_path / "temporary").iterdir()]
    assert left == []


def test_a_tar_of_a_server(builds: Builds, authority: Authority, server_certificate: Pair) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server_certificate.certificate, server_certificate.key)
    answers = {"/c.tgz": gzip.compress(packed(CONTEXT)), "/text": b"FROM scratch\n"}

    def answer(seen: Seen) -> Reply:
        body = answers.get(seen.target.partition("?")[0])
        return Reply(404) if body is None else Reply(200, (), body)

    trusting = {"SSL_CERT_FILE": authority.file}
    with answering(answer, context) as served:
        done = kaniko(builds, f"-c={served.url}/c.tgz?sig={TOKEN[:5]}", "--no-push", more=trusting)
        assert files_of(builds, digest_of(done)) == {"all/f": "f\n", "all/sub/g": "g\n"}
        told = refused(builds, 2, f"-c={served.url}/text", "--no-push", more=trusting)
        assert "is no tar" in told
        told = refused(builds, 4, f"-c={served.url}/none?sig=s3cret", "--no-push", more=trusting)
        assert "404" in told
        assert "s3cret" not in told


# --- repositories -------------------------------------------------------------------------------


@pytest.fixture
def served(tmp_path: Path) -> Iterator[GitServer]:
    """A server of shop.git: main has a Dockerfile, dev another f; both have sub/."""
    work, place = tmp_path / "work", tmp_path / "served"
    (work / "sub").mkdir(parents=True)
    place.mkdir()
    git(work, "init", "--quiet")
    for name, text in CONTEXT.items():
        (work / name).write_text(text)
    (work / ".dockerignore").write_text("secret\n.dockerignore\n**/Dockerfile\n.git\n")
    git(work, "add", ".")
    git(work, "commit", "--quiet", "-m", "1")
    git(work, "checkout", "--quiet", "-b", "dev")
    (work / "f").write_text("dev\n")
    git(work, "commit", "--quiet", "-am", "2")
    git(work, "checkout", "--quiet", "main")
    git(tmp_path, "clone", "--quiet", "--bare", str(work), str(place / "shop.git"))
    with git_server(place) as server:
        yield server


def test_a_repository(builds: Builds, served: GitServer) -> None:
    builds.env["GIT_PULL_METHOD"] = "http"
    url = f"git://{served.url.removeprefix('http://')}/shop.git"
    first = kaniko(builds, f"-c={url}", "--no-push")
    assert files_of(builds, digest_of(first)) == {"all/f": "f\n", "all/sub/g": "g\n"}
    assert first.stdout.startswith("shop:latest@")
    assert "shop.git at " in first.stderr
    dev = git(served.root / "shop.git", "rev-parse", "dev")
    for words in ((f"-c={url}#refs/heads/dev",), (f"-c={url}#dev",), (f"-c={url}#main#{dev}",),
                  (f"-c={url}#{dev}",), (f"-c={url}", "--git=branch=dev")):  # fmt: skip
        done = kaniko(builds, *words, "--no-push")
        assert files_of(builds, digest_of(done))["all/f"] == "dev\n", words
    below = kaniko(builds, f"-c={url}", "--context-sub-path", "sub", "--no-push")
    assert sorted(files_of(builds, digest_of(below))) == ["sub/Dockerfile", "sub/g"]
    builds.write("Dockerfile", "FROM scratch\nCOPY .git/HEAD /HEAD\n")
    builds.write("Dockerfile.dockerignore")
    whole = kaniko(builds, f"-c={url}", "--no-push")
    assert list(files_of(builds, digest_of(whole))) == ["HEAD"]
    assert "has no nosuch" in refused(builds, 1, f"-c={url}#nosuch", "--no-push")


def test_a_private_repository(builds: Builds, served: GitServer, tmp_path: Path) -> None:
    pair = base64.b64encode(f"{TOKEN}:".encode()).decode()
    served.wanted = f"Basic {pair}"
    url = f"git+http://{served.url.removeprefix('http://')}/shop.git"
    told = refused(builds, 4, f"-c={url}", "--no-push", more={"GIT_TOKEN": "wrong one"})
    assert "wrong one" not in told
    done = kaniko(builds, f"-c={url}", "--no-push", more={"GIT_TOKEN": TOKEN})
    assert TOKEN not in done.stderr + done.stdout
    assert pair not in done.stderr
    for path in builds.store.rglob("*"):
        if path.is_file():
            assert TOKEN.encode() not in path.read_bytes(), path


# --- the step cache -----------------------------------------------------------------------------


def test_a_cache_between_machines(builds: Builds, registry: FaultRegistry, tmp_path: Path) -> None:
    builds.files(Dockerfile="FROM scratch\nCOPY f /f\nCOPY g /g\n", f="f\n", g="g\n")
    name = f"{registry.host}/team/app:1"
    words = ("-c=.", "-d", name, "--cache=true", "--cache-ttl=24h", "--cache-copy-layers")
    first = kaniko(builds, *words)
    assert registry.tags("team/app/cache").keys() == {"wherry"}
    assert "ignored: --cache-copy-layers: wherry has no need of it\n" in first.stderr
    assert "ignored: --cache-ttl: no step expires by its age; --build-arg" in first.stderr
    builds.store = tmp_path / "other store"
    registry.forget_requests()
    second = kaniko(builds, *words, "--no-push", "--no-push-cache")
    assert digest_of(second) == digest_of(first)
    assert "COPY f /f ... cached" in second.stderr
    assert {seen.method for seen in registry.requests} <= {"GET", "HEAD"}
    builds.store = tmp_path / "third store"
    repository = f"--cache-repo={registry.host}/mine"
    kaniko(builds, "-c=.", "--no-push", "--cache", repository)
    assert registry.tags("mine").keys() == {"wherry"}
    anew = kaniko(builds, "-c=.", "--no-push", "--cache=false", repository)
    assert " ... cached" not in anew.stderr


# --- settings -----------------------------------------------------------------------------------

# Flags under which the call names no place to write to.
WITHOUT_PLACES = [(), ("--cache=false",), ("--no-push-cache",), ("--cache", "--no-push-cache")]
CI = {"CI": "true"}


@pytest.mark.parametrize("words", WITHOUT_PLACES, ids=" ".join)
def test_a_wherry_toml_names_no_caches(
    builds: Builds, registry: FaultRegistry, words: tuple[str, ...]
) -> None:
    place = f"{registry.host}/of-the-file/cache"
    files = {
        "Dockerfile": "FROM scratch\nCOPY f /f\n", "f": "f\n",
        "wherry.toml": f'[cache]\nto = ["{place}"]\nfrom = ["{place}"]\n',
    }  # fmt: skip
    name = f"-d={registry.host}/team/app"
    kaniko(builds, "-c=tar://stdin", name, *words, stdin=packed(files), more=CI)
    builds.files(**files)
    kaniko(builds, "-c=.", name, *words, more=CI)
    assert registry.tags("team/app").keys() == {"latest"}
    assert registry.count(path="/of-the-file/") == 0


@pytest.mark.parametrize("words", [(), ("--cache", "--cache-repo=oci:cache")], ids=" ".join)
def test_a_wherry_toml_from_elsewhere_has_no_say(
    builds: Builds, registry: FaultRegistry, words: tuple[str, ...]
) -> None:
    files = {"Dockerfile": ONE, "f": "f\n", ".dockerignore": "*\n!f\n", "wherry.toml": "no TOML"}
    done = kaniko(builds, "-c=tar://stdin", "--no-push", *words, stdin=packed(files))
    assert files_of(builds, digest_of(done)) == {"all/f": "f\n"}
    # Such a mirror would be asked for the base.
    files["Dockerfile"] = "FROM 127.0.0.1:1/base\n"
    files["wherry.toml"] = f'[registry.mirrors]\n"127.0.0.1:1" = ["{registry.host}"]\n'
    for more in ((), ("--dryrun",)):
        refused(builds, 4, "-c=tar://stdin", "--no-push", *words, *more, stdin=packed(files))
    assert registry.requests == []
    # A directory of one's own may say it.
    builds.files(**files)
    refused(builds, 4, "-c=.", "--no-push", *words)
    assert registry.requests != []


def test_a_wherry_toml_from_elsewhere_does_not_say_how_large_the_store_is(
    builds: Builds, tmp_path: Path
) -> None:
    builds.files(Dockerfile="FROM scratch\nCOPY f /f\n", f="f" * 100_000)
    mine = kaniko(builds, "-c=.", "--no-push")
    files = {"Dockerfile": "FROM scratch\n", "wherry.toml": '[store]\nsize = "1KB"\n'}
    kaniko(builds, "-c=tar://stdin", "--no-push", stdin=packed(files), cwd=tmp_path)
    assert files_of(builds, digest_of(mine)) == {"f": "f" * 100_000}


def test_an_unchanged_build_is_answered_by_its_record(builds: Builds) -> None:
    builds.files(Dockerfile="FROM scratch\nLABEL a=b\n")
    words = ("-c=.", "-d=app", "--no-push", "--registry-mirror=mirror.example.com",
             "--insecure-registry=registry.example.com")  # fmt: skip
    kaniko(builds, *words)
    unchanged = "nothing changed since the last build"
    assert unchanged in kaniko(builds, *words, "--dryrun").stdout
    other = kaniko(builds, *words, "--registry-mirror=other.example.com", "--dryrun")
    assert unchanged not in other.stdout


@pytest.mark.parametrize("dockerfile", [ONE, "FROM scratch\nLABEL a=b\n"])
def test_a_build_from_elsewhere_leaves_no_record(
    builds: Builds, monkeypatch: pytest.MonkeyPatch, dockerfile: str
) -> None:
    # Times prove something at once, as they do of a context that takes its time to come.
    for module in (live_tree, scan):
        monkeypatch.setattr(module, "RACY_NS", -(10**12))
    data = packed({"Dockerfile": dockerfile, "f": "f\n"})
    kaniko(builds, "-c=tar://stdin", "--no-push", stdin=data)
    before = records(builds)
    kaniko(builds, "-c=tar://stdin", "--no-push", stdin=data)
    assert records(builds) == before
    # A directory that stays leaves some.
    builds.files(Dockerfile=dockerfile)
    kaniko(builds, "-c=.", "--no-push")
    assert records(builds) > before


def records(builds: Builds) -> set[tuple[str, str]]:
    """Kind and key of everything that the store remembers."""
    with sqlite3.connect(builds.store / "state.db") as connection:
        return set(connection.execute("SELECT kind, key FROM records"))


# --- registries ---------------------------------------------------------------------------------


def test_plain_http_to_another_machine(builds: Builds) -> None:
    """0.0.0.0 is this machine, and not taken for it: without the flag TLS is spoken."""
    builds.files(Dockerfile="FROM scratch\nCOPY f /f\n", f="f\n")
    with FaultRegistry(basic=("boatman", "password of the tests")) as registry:
        host = f"0.0.0.0:{registry.port}"
        pair = base64.b64encode(b"boatman:password of the tests").decode()
        builds.write(".docker/config.json", json.dumps({"auths": {host: {"auth": pair}}}))
        words = ("-c=.", "-d", f"{host}/team/app:1", f"--kaniko-dir={builds.root}")
        refused(builds, 4, *words)
        assert registry.tags("team/app") == {}
        done = kaniko(builds, *words, "--insecure", "--skip-tls-verify")
        assert registry.tags("team/app") == {"1": digest_of(done)}
        assert "ignored: --kaniko" not in done.stderr
        assert "ignored: --skip-tls-verify: " in done.stderr
        kaniko(builds, "-c=.", "-d", f"{host}/team/app:2", f"--kaniko-dir={builds.root}",
               "--insecure-registry", host)  # fmt: skip
        assert registry.tags("team/app").keys() == {"1", "2"}


def test_certificates_of_a_registry(
    builds: Builds, authority: Authority, server_certificate: Pair
) -> None:
    builds.files(Dockerfile="FROM scratch\n")
    mine = authority.issue("client", hosts=("client.test",))
    with FaultRegistry(tls=server_certificate, client_ca=authority.file) as registry:
        host = registry.host
        words = ("-c=.", f"-d={host}/app:1", f"--registry-certificate={host}={authority.file}")
        refused(builds, 4, *words)
        pair = f"{host}={mine.certificate},{mine.key}"
        done = kaniko(builds, *words, "--registry-client-cert", pair)
        assert registry.tags("app") == {"1": digest_of(done)}


def test_bases_by_a_mirror(builds: Builds, registry: FaultRegistry) -> None:
    sample = image([layer({"etc/base": "of the mirror"})], platform=str(host_platform()))
    registry.put_sample("hub/library/base", "1", sample)
    registry.put_sample("quay/team/base", "1", sample)
    builds.files(Dockerfile="FROM base:1 AS a\nFROM quay.io/team/base:1\n"
                            "COPY --from=a /etc/base /f\n")  # fmt: skip
    done = kaniko(builds, "-c=.", "--no-push", f"--registry-mirror={registry.host}/hub",
                  more={"KANIKO_REGISTRY_MAP": f"quay.io={registry.host}/quay"})  # fmt: skip
    manifest = json.loads(builds.blob(digest_of(done)))
    assert layer_files(builds.blob(manifest["layers"][-1]["digest"]))["f"].content == (
        b"of the mirror"
    )
    assert registry.count("GET", "/hub/library/base/") > 0
    assert registry.count("GET", "/quay/team/base/") > 0
