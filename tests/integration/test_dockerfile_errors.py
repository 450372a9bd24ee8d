# SPDX-License-Identifier: Apache-2.0
"""What people are told when a Dockerfile or its build is wrong: place, lines, reason, remedy.

Exit codes: 2 for a Dockerfile or command line that says nothing that can be done, 1 for a step that
fails (a file that is not there, another checksum), 3 and 4 for machine and network.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from dockerfile_builds import Builds, builds, plain_env
from fault_registry import FaultRegistry
from transport_servers import Reply, Seen, answering

__all__ = ["builds", "plain_env"]


# --- files that are not there -------------------------------------------------------------------


def test_a_missing_file_with_a_near_name(builds: Builds) -> None:
    builds.files(Dockerfile="FROM scratch\n\nCOPY servr.go /srv/\n")
    builds.write("server.go")
    told = builds.refused(
        1,
        "error: Dockerfile:3: /servr.go is not there to be copied",
        "\n3 | COPY servr.go /srv/\n",
        "hint: did you mean 'server.go'?",
    )
    assert told.count("error: ") == 1


@pytest.mark.parametrize(
    ("copy", "words"),
    [
        ("COPY dir/filee /", ("/dir/filee is not there", "did you mean 'file'?")),
        ("COPY dirr/file /", ("/dirr/file is not there", "/dirr is not there", "mean 'dir'?")),
        ("COPY dir/file/x /", ("/dir/file/x is not there", "/dir/file is a file")),
        ("COPY broken /", ("/broken is not there", "it is a link to nowhere")),
        ("COPY outside /", ("/outside is not there", "it is a link to ../../etc/passwd")),
        ("COPY empty/x /", ("/empty/x is not there", "/empty is empty")),
        ("COPY --parents dir/nosuch /", ("/dir/nosuch is not there",)),
        ("COPY loop /", ("cannot follow the links in /loop", "in a circle")),
        ("ADD nosuch.tar.gz /", ("/nosuch.tar.gz is not there",)),
    ],
)
def test_paths_that_lead_nowhere(builds: Builds, copy: str, words: tuple[str, ...]) -> None:
    builds.write("dir/file")
    (builds.root / "empty").mkdir()
    for name, target in (("broken", "nowhere"), ("loop", "loop"), ("outside", "../../etc/passwd")):
        (builds.root / name).symlink_to(target)
    builds.files(Dockerfile=f"FROM scratch\n{copy}\n")
    builds.refused(1, "Dockerfile:2: ", words[0], f"2 | {copy}", *words[1:])


@pytest.mark.parametrize(
    ("rules", "path", "rule"),
    [
        ("*.key\n", "top.key", "*.key"),
        ("# none\n\n  dir  \n", "dir/file", "dir"),
        ("*\n!dir\ndir/file\n", "dir/file", "dir/file"),
        ("**/file\n", "dir/file", "**/file"),
        ("/dir/\n", "dir", "dir"),
        ("dir\n", "link", "dir"),
    ],
)
def test_a_file_that_an_ignore_rule_hides(builds: Builds, rules: str, path: str, rule: str) -> None:
    builds.write("dir/file")
    builds.write("top.key")
    (builds.root / "link").symlink_to("dir/file")
    builds.write(".dockerignore", rules)
    builds.files(Dockerfile=f"FROM scratch\nCOPY {path} /\n")
    builds.refused(1, f"Dockerfile:2: /{path} is not there to be copied", f"2 | COPY {path} /",
                   f"the rule '{rule}' of .dockerignore leaves it out",
                   "hint: add !")  # fmt: skip
    # With nothing remembered, too.
    builds.refused(1, f"the rule '{rule}'", args=("--no-cache",))


def test_what_is_neither_there_nor_hidden_blames_no_rule(builds: Builds) -> None:
    builds.write(".dockerignore", "*\n")
    builds.files(Dockerfile="FROM scratch\nCOPY nosuch /\n")
    assert "rule" not in builds.refused(1, "/nosuch is not there")


def test_a_file_that_is_not_in_another_stage(builds: Builds) -> None:
    builds.files(
        Dockerfile="FROM scratch AS builder\nCOPY app /bin/app\nFROM scratch\n"
        "COPY --from=builder \\\n  /bin/ap \\\n  /\n",
        app="x",
    )
    builds.refused(1, "Dockerfile:4: /bin/ap is not there", "4 | COPY --from=builder \\",
                   "5 |   /bin/ap \\", "6 |   /", "did you mean 'app'?")  # fmt: skip


def test_a_file_that_cannot_be_read(builds: Builds) -> None:
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("root reads everything, and there is no setpriv")
    builds.files(Dockerfile="FROM scratch\nCOPY f /f\n")
    builds.write("f", "f", 0o000)
    # Root without the right to pass modes over.
    drop = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", "--"]
    prefix = drop if os.geteuid() == 0 else []
    if prefix and builds.start("-f", "-", stdin=b"FROM scratch\n", prefix=prefix).returncode:
        pytest.skip("capabilities cannot be dropped here")
    builds.refused(1, "Dockerfile:2", "f", prefix=prefix)


# --- steps that fail ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("COPY f /x\nCOPY f /x/y\n", ("Dockerfile:3", "/x is a file")),
        ("COPY d /x\nCOPY --chmod=644 f /f\nCOPY d /f\n", ("Dockerfile:4", "COPY d /f")),
        ("COPY --chown=joe f /x\n", ("Dockerfile:2", "'joe'", "--chown=1000:1000")),
        ("COPY f /x\nWORKDIR /x\n", ("Dockerfile:3", "3 | WORKDIR /x", "/x is a file")),
        ("ADD cut.tar /x/\n", ("Dockerfile:2", "2 | ADD cut.tar /x/")),
    ],
)
def test_copies_that_cannot_be_done(builds: Builds, lines: str, words: tuple[str, ...]) -> None:
    builds.files(Dockerfile=f"FROM scratch\n{lines}", f="f")
    builds.write("d/x/y")
    shutil.make_archive(str(builds.root / "cut"), "tar", builds.root / "d")
    with (builds.root / "cut.tar").open("r+b") as file:
        file.truncate(700)
    builds.refused(1, *words)


def test_a_failed_build_leaves_no_image(builds: Builds) -> None:
    builds.files(Dockerfile="FROM scratch\nCOPY f /f\nCOPY nosuch /\n", f="f")
    builds.refused(1, args=("-t", "some:1", "--iidfile", "id", "--metadata-file", "meta"))
    assert "some" not in builds.start(verb="images").stdout
    assert not (builds.root / "id").exists()
    assert not (builds.root / "meta").exists()
    builds.write("nosuch", "there now")
    assert builds.build().ran == ["COPY nosuch /"], "what went well is kept"


# --- the network --------------------------------------------------------------------------------


def test_downloads_that_fail(builds: Builds) -> None:
    def answer(seen: Seen) -> Reply:
        return Reply(404 if seen.target == "/none" else 200, (), b"body")

    with answering(answer) as served:
        builds.files(Dockerfile=f"FROM scratch\nADD {served.url}/none /x\n")
        builds.refused(4, "Dockerfile:2: there is nothing at", "2 | ADD", "404", "check the URL")
        wrong = "0" * 64
        builds.files(Dockerfile=f"FROM scratch\nADD --checksum=sha256:{wrong} {served.url}/x /x\n")
        builds.refused(1, "Dockerfile:2", "2 | ADD --checksum", wrong)


def test_what_a_url_must_not_tell(builds: Builds) -> None:
    """Neither the progress nor the error says passwords and queries, which may be signatures."""
    with answering(lambda _seen: Reply(404)) as served:
        url = served.url.replace("://", "://joe:hunter2@")
        builds.files(Dockerfile=f"FROM scratch\nADD {url}/x?sig=s1gned&x=1 /x\n")
        builds.refused(4, "Dockerfile:2", "2 | ADD http://****@localhost", "/x?**** /x")
        told = builds.start("--progress", "plain").stderr
        assert "hunter2" not in told
        assert "s1gned" not in told
    builds.files(Dockerfile=f"FROM scratch\nADD --nosuch {url}/x?sig=s1gned /x\n")
    told = builds.refused(2, "Dockerfile:2: ADD has no flag --nosuch", "2 | ADD --nosuch")
    assert "hunter2" not in told
    assert "s1gned" not in told


def test_servers_that_are_not_there(builds: Builds) -> None:
    builds.files(
        Dockerfile="FROM scratch AS add\nADD http://127.0.0.1:1/x /x\n"
        "FROM 127.0.0.1:1/team/base:1 AS base\n"
    )
    builds.refused(4, "Dockerfile:3", "127.0.0.1:1", "3 | FROM 127.0.0.1:1/team/base:1 AS base")
    builds.refused(4, "Dockerfile:2: cannot reach 127.0.0.1:1", "2 | ADD", "hint: check",
                   args=("--target", "add"))  # fmt: skip


def test_a_base_that_is_not_in_its_registry(builds: Builds) -> None:
    with FaultRegistry() as registry:
        builds.files(Dockerfile=f"ARG TAG=1\nFROM {registry.host}/team/base:${{TAG}}\n")
        builds.refused(4, "Dockerfile:2", "2 | FROM", args=("--build-arg", "TAG=nosuch"))


# --- the text -----------------------------------------------------------------------------------


def test_all_errors_in_the_order_of_their_lines(builds: Builds) -> None:
    builds.files(
        Dockerfile='FROM scratch\nCOPPY a b\nCOPY --form=x a b\nSHELL ["a"\nWORKDIR\n'
        "HEALTHCHECK --intervall=1s CMD x\nENV A\n"
    )
    told = builds.refused(
        2,
        "Dockerfile:2: unknown instruction COPPY", "2 | COPPY a b", "did you mean 'COPY'?",
        "Dockerfile:3: COPY has no flag --form", "^^^^^^^^", "did you mean '--from'?",
        "Dockerfile:4: SHELL takes a JSON array",
        "Dockerfile:5: WORKDIR takes",
        "Dockerfile:6: ", "did you mean '--interval'?",
        "Dockerfile:7: ",
    )  # fmt: skip
    assert told.count("error: ") == 6
    assert not builds.store.exists() or not list(builds.store.glob("blobs/sha256/*"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("FROM scratch AS one\nFROM scratch\nCOPY --from=2 a /\n", ("Dockerfile:3",)),
        ("FROM scratch\nCOPY --from=0 a /\n", ("Dockerfile:2: stage 0 needs itself",)),
        ("FROM scratch\nARG A\nCOPY ${A:?say what} /\n", ("Dockerfile:3", "say what")),
        ("FROM scratch\nEXPOSE 99999\n", ("Dockerfile:2", "99999")),
        ("FROM --platform=linux/amd46 scratch\n", ("Dockerfile:1", "amd46")),
        ("FROM scratch\nADD --checksum=md5:00 http://127.0.0.1:1/x /\n", ("Dockerfile:2", "md5")),
        ("FROM scratch\nCOPY --chmod=999 a /\n", ("Dockerfile:2", "999")),
        ("FROM Upper/Case\n", ("Dockerfile:1", "Upper/Case", "lower case")),
        ("FROM scratch\nCOPY <<EOF /f\nnever ends\n", ("Dockerfile:2", "EOF")),
        ("RUN x\nFROM scratch\n", ("Dockerfile:1",)),
        ("# syntax=example.com/other/frontend\nFROM scratch\n", ("Dockerfile:1", "other/frontend")),
        ("", ("Dockerfile:1: file with no instructions",)),
        ("# comment\n\n", ("Dockerfile:1", "no instructions")),
        ("\x7fELF\x02\x01\x00\x00", ("Dockerfile:1", "is not text", "NUL")),
        ("FROM scratch\nCOPY a\u0000b /\n", ("Dockerfile:2", "NUL")),
    ],
)
def test_a_text_that_says_nothing_to_do(builds: Builds, text: str, words: tuple[str, ...]) -> None:
    builds.files(Dockerfile=text)
    builds.refused(2, *words)


def test_control_characters_do_not_reach_the_terminal(builds: Builds) -> None:
    builds.files(Dockerfile="FROM scratch\nCOPY \x1b[31mred\x07 /\n")
    told = builds.refused(1, "Dockerfile:2")
    assert "\x1b" not in told
    assert "\x07" not in told


def test_bytes_that_are_no_utf_8(builds: Builds) -> None:
    builds.write("Dockerfile", b"FROM scratch\nCOPY \xff\xfe /\n")
    builds.refused(1, "Dockerfile:2")
    builds.write("Dockerfile", b"FROM scratch\n\xff\xfe\n")
    builds.refused(2, "Dockerfile:2: unknown instruction")


def test_windows_line_ends_and_a_byte_order_mark(builds: Builds) -> None:
    builds.write("Dockerfile", b"\xef\xbb\xbfFROM scratch\r\nCOPY f \\\r\n  /f\r\n")
    builds.files(f="f")
    assert builds.text(builds.build(), "f") == "f"
    builds.write("Dockerfile", b"\xef\xbb\xbfFROM scratch\r\nCOPPY f /f\r\n")
    told = builds.refused(2, "Dockerfile:2: unknown instruction COPPY", "2 | COPPY f /f\n")
    assert "\r" not in told


def test_large_files(builds: Builds) -> None:
    line = "x" * 250 + "\n"
    builds.files(Dockerfile=f"FROM scratch\nCOPY <<EOF /f\n{line * 20_000}EOF\n")
    assert (builds.root / "Dockerfile").stat().st_size > 5_000_000
    assert builds.text(builds.build(), "f") == line * 20_000
    comments = f"# {line}" * 20_000
    builds.files(Dockerfile=f"FROM scratch\n{comments}COPPY a b\n")
    builds.refused(2, "Dockerfile:20002: unknown instruction COPPY", "20002 | COPPY a b")
    builds.files(Dockerfile="#" * (5 << 20))
    assert len(builds.refused(2, "Dockerfile:1: the line is longer than")) < 1000
    builds.files(Dockerfile="#" * (17 << 20))
    builds.refused(2, "too large")


def test_a_dockerfile_that_is_something_else(builds: Builds) -> None:
    (builds.root / "Dockerfile").mkdir()
    builds.refused(2, "is a directory", args=("-f", "Dockerfile"))
    builds.write("f")
    builds.refused(2, args=("-f", "f/x"))
    (builds.root / "pointing").symlink_to("nowhere")
    builds.refused(2, "there is no Dockerfile", args=("-f", "pointing"))


# --- stages and flags ---------------------------------------------------------------------------


def test_names_of_stages(builds: Builds) -> None:
    builds.files(Dockerfile="FROM scratch AS builder\nFROM scratch AS web\n")
    builds.refused(2, "there is no stage 'bilder'", "did you mean 'builder'?", "builder, web",
                   args=("--target", "bilder"))  # fmt: skip
    # A name that is no stage is an image: what was meant is told all the same.
    builds.files(
        Dockerfile="FROM scratch AS builder\nFROM scratch\nCOPY --from=127.0.0.1:1/bilder a /\n"
    )
    builds.refused(4, "Dockerfile:3", "127.0.0.1:1")


def test_a_command_that_the_root_lacks_is_told_with_its_lines(builds: Builds) -> None:
    builds.files(
        Dockerfile="FROM scratch AS tools\nCOPY f /f\nRUN make \\\n  tools\n"
        "FROM scratch AS plain\nCOPY f /f\nFROM tools\n",
        f="f",
    )
    builds.refused(1, "Dockerfile:3", "3 | RUN make \\", "4 |   tools", "/bin/sh")
    assert builds.text(builds.build("--target", "plain"), "f") == "f"


def test_what_is_odd_is_warned_of(builds: Builds) -> None:
    builds.files(
        Dockerfile="FROM scratch\nARG DB_PASSWORD=hunter2\nENV API_TOKEN=abcdef\nARG GOOD\n"
        "MAINTAINER me\nCOPY f /f\n",
        f="f",
    )
    words = ("--build-arg", "GOODD=1", "--build-arg", "HTTP_PROXY=http://x")
    messages = builds.build(*words).messages
    assert any("Dockerfile:2: ARG DB_PASSWORD looks like a secret" in text for text in messages)
    assert any("Dockerfile:3: ENV API_TOKEN looks like a secret" in text for text in messages)
    assert any("--build-arg GOODD" in text and "'GOOD'" in text for text in messages)
    assert any("Dockerfile:5" in text and "MAINTAINER" in text for text in messages)
    assert not any("HTTP_PROXY" in text for text in messages)
    assert not any("hunter2" in text or "abcdef" in text for text in messages)
    # They are said each time, and cost nothing.
    again = builds.build(*words)
    assert again.messages == messages
    assert again.ran == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--base", "debian:12"), "--base is for Go modules"),
        (("--stamp", "full"), "--stamp is for Go modules"),
        (("--unpack-limit", "many"), "many"),
        (("--build-context", "x"), "NAME=PLACE"),
        (("--locked",), "wherry.lock"),
    ],
)
def test_flags_that_do_not_fit(builds: Builds, words: tuple[str, ...], told: str) -> None:
    builds.files(Dockerfile="FROM scratch\n")
    code = 1 if words == ("--locked",) else 2
    builds.refused(code, told, args=words)


def test_contexts_that_are_none(builds: Builds, tmp_path: Path) -> None:
    builds.files(Dockerfile="FROM scratch\n")
    builds.refused(2, "nosuch is not there", args=("-f", "Dockerfile"), source="nosuch")
    builds.refused(2, "is no directory", args=("-f", "Dockerfile"), source="Dockerfile")
    empty = tmp_path / "empty"
    empty.mkdir()
    builds.refused(2, "there is no Dockerfile", args=("--frontend", "dockerfile"), source=empty)


def test_a_bad_ignore_file(builds: Builds) -> None:
    builds.files(Dockerfile="FROM scratch\nCOPY f /f\n", f="f")
    builds.write(".dockerignore", "ok\n[\n")
    builds.refused(2, "'['")


def test_an_archive_over_the_limit(builds: Builds) -> None:
    builds.files(Dockerfile="FROM scratch\nADD big.tar /big/\n")
    builds.write("d/zeros", b"\0" * 300_000)
    shutil.make_archive(str(builds.root / "big"), "tar", builds.root / "d")
    builds.refused(1, "Dockerfile:2", "--unpack-limit", args=("--unpack-limit", "100k"))
    builds.build("--unpack-limit", "1M")


@pytest.mark.parametrize("line", [b"LABEL x=\xff", b"ENV X=\xff", b'CMD ["\xff"]'])
def test_a_configuration_that_is_no_text_is_refused(builds: Builds, line: bytes) -> None:
    builds.write("Dockerfile", b"FROM scratch\n" + line + b"\n")
    refused = builds.start()
    assert refused.returncode == 2
    assert "Dockerfile:2: the image's configuration would not be UTF-8" in refused.stderr


def test_a_name_that_is_no_text_leaves_the_history_readable(builds: Builds) -> None:
    builds.write("f", "f")
    builds.write("Dockerfile", b"FROM scratch\nCOPY f /\xff\n")
    ran = builds.build()
    assert "\ufffd" in builds.config(ran)["history"][0]["created_by"]
