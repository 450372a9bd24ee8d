# SPDX-License-Identifier: Apache-2.0
"""Where a Dockerfile and its files may come from, and what goes into and out of the command."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from dockerfile_builds import Builds, builds, plain_env
from fault_registry import FaultRegistry
from git_server import git, git_server
from registry_samples import layer
from transport_servers import Reply, Seen, answering
from wherry.golang.toolchain import GoCommand
from wherry.oci.platform import host_platform

__all__ = ["builds", "plain_env"]

ONE = "FROM scratch\nCOPY f /f\n"


def packed(files: Mapping[str, str]) -> bytes:
    """A tar of these files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(text.encode()), 0o644
            archive.addfile(member, io.BytesIO(text.encode()))
    return stream.getvalue()


# --- stdin --------------------------------------------------------------------------------------


def test_a_dockerfile_on_stdin_with_a_directory(builds: Builds) -> None:
    builds.files(Dockerfile="FROM scratch\nCOPY other /\n", f="f\n")
    ran = builds.build("-f", "-", stdin=ONE.encode())
    assert builds.text(ran, "f") == "f\n"
    told = builds.refused(1, "stdin:3", "3 | COPY nosuch /", args=("-f", "-"),
                          stdin=b"FROM scratch\n\nCOPY nosuch /\n")  # fmt: skip
    assert "Dockerfile" not in told


def test_a_dockerfile_alone_on_stdin(builds: Builds) -> None:
    text = b"FROM scratch\nCOPY <<EOF /f\ntext\nEOF\n"
    ran = builds.build(source="-", stdin=text)
    assert builds.text(ran, "f") == "text\n"
    assert ran.result["tags"] == ["image:latest"]
    assert builds.build(source="-", stdin=text).ran == []
    builds.files(f="of the directory, which is no context")
    builds.refused(1, "stdin:2: /f is not there", source="-", stdin=ONE.encode())


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_a_tar_on_stdin(builds: Builds, compress: type[bytes]) -> None:
    files = {"Dockerfile": ONE, "f": "f\n", "sub/own.Dockerfile": "FROM scratch\nCOPY . /all/\n"}
    stdin = compress(packed(files))
    assert builds.text(builds.build(source="-", stdin=stdin), "f") == "f\n"
    assert builds.build(source="-", stdin=stdin).ran == []
    inside = builds.build("-f", "sub/own.Dockerfile", source="-", stdin=stdin)
    assert "all/sub/own.Dockerfile" in builds.tree(inside)
    builds.refused(2, "has no other", args=("-f", "other"), source="-", stdin=stdin)
    builds.refused(2, "has no Dockerfile", source="-", stdin=compress(packed({"f": "f"})))


def test_both_cannot_be_on_stdin(builds: Builds) -> None:
    builds.refused(2, "both -", args=("-f", "-"), source="-", stdin=b"x")


def test_nothing_on_stdin(builds: Builds) -> None:
    builds.refused(2, "stdin:1", "no instructions", source="-")
    closed = builds.start(source="-", prefix=["sh", "-c", 'exec "$@" <&-', "-"])
    assert closed.returncode == 2, closed.stderr
    assert "stdin" in closed.stderr


# --- names and places ---------------------------------------------------------------------------


def test_a_dockerfile_outside_of_the_context(builds: Builds, tmp_path: Path) -> None:
    builds.files(f="f\n")
    builds.write("../elsewhere/build.me", ONE)
    ran = builds.build("-f", "../elsewhere/build.me")
    assert builds.text(ran, "f") == "f\n"
    assert ran.result["tags"] == ["app:latest"]
    absolute = tmp_path / "elsewhere/build.me"
    assert builds.build("-f", absolute, cwd=tmp_path, source="app").digest == ran.digest


def test_a_relative_file_is_seen_from_the_current_directory(builds: Builds, tmp_path: Path) -> None:
    builds.files(Dockerfile=ONE, f="f\n")
    builds.write("sub/Dockerfile", "FROM scratch\nCOPY f /of-sub\n")
    ran = builds.build("-f", "Dockerfile", cwd=builds.root / "sub", source="..")
    assert list(builds.tree(ran)) == ["of-sub"]
    builds.refused(2, "there is no Dockerfile", "seen from the current directory",
                   "--file app/sub/Dockerfile", args=("-f", "sub/Dockerfile"), cwd=tmp_path,
                   source="app")  # fmt: skip
    builds.refused(2, "there is no Dockerfile", "did you mean 'Dockerfile'?",
                   args=("-f", "Dockerfil"))  # fmt: skip


def test_a_dockerfile_in_lower_case(builds: Builds) -> None:
    builds.write("dockerfile", ONE)
    builds.files(f="f\n")
    assert builds.text(builds.build(), "f") == "f\n"
    builds.files(Dockerfile="FROM scratch\nCOPY f /upper\n")
    assert list(builds.tree(builds.build())) == ["upper"]


def test_the_ignore_file_of_a_dockerfile_is_preferred(builds: Builds) -> None:
    builds.files(Dockerfile="FROM scratch\nCOPY . /all/\n", a="a", b="b")
    builds.write("web.Dockerfile", "FROM scratch\nCOPY . /all/\n")
    builds.write(".dockerignore", "a\n*ockerfile*\n.dockerignore\n")
    builds.write("web.Dockerfile.dockerignore", "b\n*ockerfile*\n.dockerignore\n")
    assert sorted(builds.tree(builds.build())) == ["all", "all/b"]
    assert sorted(builds.tree(builds.build("-f", "web.Dockerfile"))) == ["all", "all/a"]
    builds.write("web.Dockerfile", "FROM scratch\nCOPY b /b\n")
    builds.refused(1, "web.Dockerfile:2: /b is not there to be copied", "2 | COPY b /b",
                   "the rule 'b' of web.Dockerfile.dockerignore leaves it out",
                   args=("-f", "web.Dockerfile"))  # fmt: skip


def test_dockerfile_and_ignore_file_may_hide_themselves(builds: Builds) -> None:
    builds.files(Dockerfile="FROM scratch\nCOPY . /all/\n", f="f")
    builds.write(".dockerignore", "*\n!f\n")
    assert sorted(builds.tree(builds.build())) == ["all", "all/f"]


# --- git and URLs -------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[str]:
    """The URL of a repository with a Dockerfile at the top and one in sub/, tag v1, branch dev."""
    if shutil.which("git") is None:
        pytest.skip("no git on PATH")
    work, served = tmp_path / "work", tmp_path / "served"
    (work / "sub").mkdir(parents=True)
    served.mkdir()
    git(work, "init", "--quiet")
    (work / "Dockerfile").write_text(ONE)
    (work / "f").write_text("one\n")
    (work / "sub/Dockerfile").write_text("FROM scratch\nCOPY . /sub/\n")
    git(work, "add", ".")
    git(work, "commit", "--quiet", "-m", "1")
    git(work, "tag", "v1")
    git(work, "checkout", "--quiet", "-b", "dev")
    (work / "f").write_text("dev\n")
    git(work, "commit", "--quiet", "-am", "2")
    git(work, "checkout", "--quiet", "main")
    git(tmp_path, "clone", "--quiet", "--bare", str(work), str(served / "shop.git"))
    with git_server(served) as server:
        yield f"{server.url}/shop.git"


def test_a_git_url_as_context(builds: Builds, repository: str) -> None:
    ran = builds.build(source=repository)
    assert builds.text(ran, "f") == "one\n"
    assert ran.result["tags"] == ["shop:latest"]
    assert builds.build(source=repository).ran == []
    assert builds.text(builds.build(source=f"{repository}#dev"), "f") == "dev\n"
    assert builds.build(source=f"{repository}#v1").digest == ran.digest
    below = builds.build(source=f"{repository}#main:sub")
    assert sorted(builds.tree(below)) == ["sub", "sub/Dockerfile"]
    named = builds.build("-f", "sub/Dockerfile", source=f"{repository}?branch=dev")
    assert builds.text(named, "sub/f") == "dev\n"
    builds.refused(2, "has no nosuch", args=("-f", "nosuch"), source=repository)


def test_git_urls_that_lead_nowhere(builds: Builds, repository: str) -> None:
    builds.refused(1, "has no nosuch", source=f"{repository}#nosuch")
    builds.refused(1, "nosuch", source=f"{repository}#main:nosuch")
    builds.refused(4, "cannot", source="http://127.0.0.1:1/shop.git")


def test_a_url_as_context(builds: Builds) -> None:
    archive = packed({"Dockerfile": ONE, "f": "f\n"})
    answers = {
        "/context.tar": archive,
        "/context.tar.gz": gzip.compress(archive),
        "/some.Dockerfile": b"FROM scratch\nCOPY <<EOF /f\nalone\nEOF\n",
    }

    def answer(seen: Seen) -> Reply:
        body = answers.get(seen.target.partition("?")[0])
        return Reply(404) if body is None else Reply(200, (), body)

    with answering(answer) as served:
        for name in ("/context.tar", "/context.tar.gz"):
            assert builds.text(builds.build(source=served.url + name), "f") == "f\n"
        alone = builds.build(source=f"{served.url}/some.Dockerfile")
        assert builds.text(alone, "f") == "alone\n"
        builds.files(f="local\n", Dockerfile="FROM scratch\n")
        answers["/build"] = ONE.encode()
        assert builds.text(builds.build("-f", f"{served.url}/build"), "f") == "local\n"
        told = builds.refused(4, "404", source=f"{served.url}/none?sig=s3cret")
        assert "s3cret" not in told


# --- named contexts -----------------------------------------------------------------------------

NAMED = "FROM scratch\nCOPY --from=extra etc/name /name\n"


def test_a_directory_by_name(builds: Builds, tmp_path: Path) -> None:
    builds.files(Dockerfile=NAMED)
    builds.write("../more/etc/name", "directory\n")
    named = f"extra={tmp_path / 'more'}"
    first = builds.build("--build-context", named)
    assert builds.text(first, "name") == "directory\n"
    assert builds.build("--build-context", "extra=../more").ran == []
    builds.write("../more/etc/name", "changed\n")
    assert builds.build("--build-context", named).ran == ["COPY --from=extra etc/name /name"]
    builds.write("../more/.dockerignore", "etc\n")
    told = builds.refused(1, "/etc/name is not there", "the rule 'etc' of",
                          args=("--build-context", named))  # fmt: skip
    assert str(tmp_path / "more/.dockerignore") in told
    builds.refused(2, "there is no such directory", args=("--build-context", "extra=nosuch"))
    unused = builds.build("--build-context", named, "--build-context", "spare=.",
                          "-f", "-", stdin=b"FROM scratch\n")  # fmt: skip
    assert any("--build-context spare" in text for text in unused.messages)


def test_an_image_by_name(builds: Builds) -> None:
    builds.files(Dockerfile=NAMED)
    with FaultRegistry() as registry:
        platform = str(host_platform())
        registry.put_image("team/x", "1", [layer({"etc/name": "image\n"})], platform=platform)
        word = f"extra=docker-image://{registry.host}/team/x:1"
        assert builds.text(builds.build("--build-context", word), "name") == "image\n"
        # A name of an image is replaced, too.
        builds.files(Dockerfile="FROM debian:12\nCOPY f /f\n", f="f")
        word = f"debian:12=docker-image://{registry.host}/team/x:1"
        assert builds.text(builds.build("--build-context", word), "etc/name") == "image\n"


def test_an_oci_layout_by_name(builds: Builds, tmp_path: Path) -> None:
    builds.files(Dockerfile="FROM scratch\nCOPY name /etc/name\nENV FROM_BASE=1\n", name="n\n")
    layout = tmp_path / "layout"
    builds.build("-t", "base:1", "-o", f"type=oci,tar=false,dest={layout}")
    assert (layout / "index.json").exists()
    other = Builds(tmp_path / "other", tmp_path / "other-store", builds.env)
    other.files(Dockerfile=NAMED)
    word = f"extra=oci-layout://{layout}"
    assert other.text(other.build("--build-context", word), "name") == "n\n"
    other.files(Dockerfile="FROM extra\nCOPY f /f\n", f="f")
    based = other.build("--build-context", f"{word}:1")
    assert sorted(other.tree(based)) == ["etc", "etc/name", "f"]
    assert "FROM_BASE=1" in other.config(based)["config"]["Env"]
    other.refused(2, "no image 'nosuch'", args=("--build-context", f"{word}:nosuch"))
    other.refused(2, "is no OCI layout", args=("--build-context", "extra=oci-layout://nosuch"))


def test_git_and_urls_by_name(builds: Builds, repository: str) -> None:
    builds.files(Dockerfile="FROM scratch\nCOPY --from=extra f /f\n")
    git_words = ("--build-context", f"extra={repository}#dev")
    assert builds.text(builds.build(*git_words), "f") == "dev\n"
    assert builds.build(*git_words).ran == []
    builds.files(Dockerfile="FROM scratch\nCOPY --from=extra context /got\n")
    with answering(lambda _seen: Reply(200, (), b"by url\n")) as served:
        ran = builds.build("--build-context", f"extra={served.url}/x.bin")
    assert builds.text(ran, "got") == "by url\n"
    builds.refused(2, "of no known kind", args=("--build-context", "extra=docker-imag://x"))


# --- flags --------------------------------------------------------------------------------------


def test_target_chooses_a_stage(builds: Builds) -> None:
    builds.files(
        Dockerfile="FROM scratch AS one\nCOPY f /one\nFROM scratch AS Two\nCOPY f /two\n"
        "FROM scratch\nCOPY f /last\n",
        f="f",
    )
    for target, expected in (("one", "one"), ("tWO", "two"), ("", "last")):
        words = ("--target", target) if target else ()
        assert list(builds.tree(builds.build(*words))) == [expected]


def test_build_arguments_and_their_environment(builds: Builds) -> None:
    builds.files(Dockerfile="FROM scratch\nARG A=default\nARG B\nLABEL a=$A b=$B\n")
    words = ("--build-arg", "A", "--build-arg", "B=1=2", "--build-arg", "NOT_SET")
    labels = builds.config(builds.build(*words, more={"A": "of the environment"}))["config"]
    assert labels["Labels"] == {"a": "of the environment", "b": "1=2"}
    unset = builds.config(builds.build("--build-arg", "A"))["config"]
    assert unset["Labels"] == {"a": "default", "b": ""}
    last = builds.build("--build-arg", "A=1", "--build-arg", "A=2")
    assert builds.config(last)["config"]["Labels"]["a"] == "2"
    builds.refused(2, "has no name", args=("--build-arg", "=x"))


def test_labels_annotations_tags_and_files(builds: Builds, tmp_path: Path) -> None:
    builds.files(Dockerfile="FROM scratch\nLABEL a=file b=file\n")
    ran = builds.build(
        "--label", "a=flag", "--annotation", "org.example.x=y", "-t", "shop/web:1.2",
        "-t", "shop/web:latest", "--iidfile", tmp_path / "id", "--metadata-file",
        tmp_path / "meta.json",
    )  # fmt: skip
    assert builds.config(ran)["config"]["Labels"] == {"a": "flag", "b": "file"}
    assert builds.manifest(ran)["annotations"]["org.example.x"] == "y"
    assert ran.result["tags"] == ["shop/web:1.2", "shop/web:latest"]
    assert (tmp_path / "id").read_text().strip() == ran.digest
    meta = json.loads((tmp_path / "meta.json").read_text())
    assert meta["containerimage.digest"] == ran.digest
    images = builds.start(verb="images").stdout
    assert "shop/web:1.2" in images
    assert "shop/web:latest" in images


def test_the_name_without_a_tag_is_the_directorys(builds: Builds, tmp_path: Path) -> None:
    builds.files(Dockerfile="FROM scratch\n")
    assert builds.build().result["tags"] == ["app:latest"]
    odd = Builds(tmp_path / "My App (2)", builds.store, builds.env)
    odd.files(Dockerfile="FROM scratch\n")
    (tag,) = odd.build().result["tags"]
    assert tag.endswith(":latest")
    assert tag.split(":")[0] in builds.start(verb="images").stdout


def test_platform(builds: Builds) -> None:
    builds.files(
        Dockerfile="FROM scratch\nARG TARGETPLATFORM\nARG TARGETARCH\nARG TARGETVARIANT\n"
        "LABEL p=$TARGETPLATFORM a=$TARGETARCH v=$TARGETVARIANT\n"
    )
    ran = builds.build("--platform", "linux/arm/v7")
    config = builds.config(ran)
    assert (config["architecture"], config["variant"]) == ("arm", "v7")
    assert config["config"]["Labels"] == {"p": "linux/arm/v7", "a": "arm", "v": "v7"}
    assert ran.result["platform"] == "linux/arm/v7"
    builds.refused(2, "did you mean 'amd64'?", args=("--platform", "linux/amd46"))


def test_push_and_outputs(builds: Builds, tmp_path: Path) -> None:
    builds.files(Dockerfile='FROM scratch\nCOPY f /d/f\nCMD ["/d/f"]\n', f="f\n")
    with FaultRegistry() as registry:
        name = f"{registry.host}/team/app"
        ran = builds.build("-t", f"{name}:1", "-t", f"{name}:2", "--push")
        assert registry.manifest("team/app", "1") == builds.blob(ran.digest)
        assert set(registry.tags("team/app").values()) == {ran.digest}
        assert len(ran.result["pushed"]) == 2
    builds.build("-o", "type=local,dest=out", "-o", "type=oci,dest=image.tar")
    assert (builds.root / "out/d/f").read_text() == "f\n"
    with tarfile.open(builds.root / "image.tar") as archive:
        assert f"blobs/sha256/{ran.digest[7:]}" in archive.getnames()
    builds.refused(2, "tar", args=("-o", "type=tarr,dest=x"))


@pytest.mark.parametrize("words", [(), ("-q",), ("--progress", "plain"), ("--progress", "json")])
def test_stdout_carries_the_reference_only(builds: Builds, words: tuple[str, ...]) -> None:
    builds.files(Dockerfile=ONE, f="f\n")
    for _ in range(2):
        ran = builds.start(*words)
        assert ran.returncode == 0
        assert ran.stdout.startswith("app:latest@sha256:")
        assert ran.stdout.count("\n") == 1
        assert (ran.stderr == "") == (words == ("-q",))


def test_an_archive_on_stdout_keeps_stdout_to_itself(builds: Builds) -> None:
    builds.files(Dockerfile=ONE, f="f\n")
    ran = subprocess.run(
        ["env", "-i", *(f"{key}={value}" for key, value in builds.env.items()),
         f"WHERRY_STORE={builds.store}", sys.executable, "-m", "wherry", "build", "-o",
         "type=oci,dest=-", "."],
        cwd=builds.root, capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    with tarfile.open(fileobj=io.BytesIO(ran.stdout)) as archive:
        assert "index.json" in archive.getnames()
    assert b"app:latest@sha256:" in ran.stderr


def test_paths_with_spaces_quotes_and_other_letters(builds: Builds) -> None:
    builds.write("a b/ü 'x", "odd\n")
    builds.write("-dash", "dash\n")
    builds.files(
        Dockerfile='FROM scratch\nCOPY ["a b/ü \\\\\'x", "/to here/"]\nCOPY -- -dash /dash\n'
    )
    tree = builds.tree(builds.build())
    assert tree["to here/ü 'x"].content == b"odd\n"
    assert tree["dash"].content == b"dash\n"


# --- run ----------------------------------------------------------------------------------------


_GREETER = """\
package main

import (
	"fmt"
	"os"
)

func main() {
	text, err := os.ReadFile(os.Args[1])
	place, _ := os.Getwd()
	fmt.Print(string(text), place, " ", os.Getenv("WHO"), "\\n")
	if err != nil {
		os.Exit(7)
	}
}
"""


def test_what_was_built_runs(builds: Builds, go: GoCommand, go_env: dict[str, str]) -> None:
    builds.write("go.mod", "module example.com/greet\n\ngo 1.21\n")
    builds.write("main.go", _GREETER)
    env = {**go_env, **dict(go.env), "CGO_ENABLED": "0"}
    subprocess.run([go.path, "build", "-o", "greet", "."], cwd=builds.root, env=env, check=True)
    builds.files(
        Dockerfile="FROM scratch\nCOPY --chmod=755 greet /bin/\n"
        "COPY --chown=7:8 greeting /srv/\nWORKDIR /srv\nENV WHO=you\n"
        'ENTRYPOINT ["greet"]\nCMD ["greeting"]\n',
        greeting="hello\n",
    )
    reference = builds.start("-q").stdout.strip()
    ran = builds.start(reference, verb="run")
    assert (ran.returncode, ran.stdout) == (0, "hello\n/srv you\n"), ran.stderr
    told = builds.start(reference, "nosuch", verb="run")
    assert (told.returncode, told.stdout) == (7, "/srv you\n"), told.stderr


def test_a_checksum_of_what_is_downloaded(builds: Builds) -> None:
    body = b"data\n"
    right = hashlib.sha256(body).hexdigest()
    builds.files(Dockerfile="FROM scratch\nARG SUM\nARG URL\nADD --checksum=sha256:$SUM $URL /x\n")
    with answering(lambda _seen: Reply(200, (), body)) as served:
        words = ("--build-arg", f"URL={served.url}/x", "--build-arg")
        assert builds.text(builds.build(*words, f"SUM={right}"), "x") == "data\n"
        builds.refused(1, "Dockerfile:4", "4 | ADD", right, args=(*words, f"SUM={'0' * 64}"))
