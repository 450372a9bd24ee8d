# SPDX-License-Identifier: Apache-2.0
"""RUN by the command line: what it leaves, what is reused, what happens when it fails."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pty
import select
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from dockerfile_builds import Builds, builds, plain_env
from layer_samples import descriptor
from registry_samples import image, write_layout
from wherry.api.building import build_images
from wherry.api.request import BuildRequest
from wherry.engines.local import roots
from wherry.engines.local.step_output import StepOutput
from wherry.errors import UsageError
from wherry.fstree.layer_index import LayerIndex, decode_index
from wherry.oci.digest import parse_digest
from wherry.oci.image import Layer
from wherry.process.cancel import CancelToken
from wherry.store.store import open_store

__all__ = ["builds", "plain_env"]

_PASSWD = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n"
_BASE = "FROM scratch AS base\nADD base.tar /\n"


@pytest.fixture
def boxed(builds: Builds) -> Builds:
    """Builds whose context holds base.tar, a small root with busybox."""
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("busybox is missing: no root to run in")
    probe = ["unshare", "--user", "--map-root-user", "--mount", "true"]
    if os.geteuid() and subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("this machine refuses user namespaces")
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        _add(archive, "bin/busybox", Path(busybox).read_bytes(), 0o755)
        for name in ("sh", "ls", "cat", "rm", "mkdir", "sleep", "touch", "chown", "mv", "stat",
                     "id", "env", "ln", "dd", "echo", "head", "date", "true", "find"):  # fmt: skip
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
        for name in ("dev", "proc", "sys"):
            # Mount points that a root lacks are left there, as by BuildKit.
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(directory)
        _add(archive, "etc/passwd", _PASSWD.encode())
        _add(archive, "etc/group", b"root:x:0:\napp:x:1000:\n")
        _add(archive, "old/kept", b"kept")
        _add(archive, "old/gone", b"gone")
    builds.write("base.tar", data.getvalue())
    return builds


def _add(archive: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), mode
    archive.addfile(member, io.BytesIO(data))


def _dockerfile(builds: Builds, text: str) -> None:
    builds.files(Dockerfile=_BASE + text)


def test_a_layer_is_exactly_what_the_command_changed(boxed: Builds) -> None:
    _dockerfile(
        boxed,
        "RUN rm /old/gone && mkdir -p /new/deep && echo hi > /new/deep/f && chown 3:4 /new"
        " && ln /new/deep/f /new/same && ln -s deep/f /new/link\n",
    )
    ran = boxed.build()
    (_, layer) = boxed.layers(ran)
    with tarfile.open(fileobj=io.BytesIO(boxed.blob(layer))) as archive:
        names = {member.name.strip("/"): member for member in archive}
    assert set(names) == {
        "new", "new/deep", "new/deep/f", "new/same", "new/link", "old", "old/.wh.gone"
    }  # fmt: skip
    assert (names["new"].uid, names["new"].gid) == (3, 4)
    assert names["new/same"].islnk()
    assert names["new/link"].linkname == "deep/f"
    assert names["new/deep/f"].mtime > time.time() - 600


def test_a_step_that_ran_is_copied_from_and_built_on(boxed: Builds) -> None:
    _dockerfile(
        boxed,
        "RUN mkdir /out && echo one > /out/a && echo two > /out/b\nCOPY f /out/c\n"
        "RUN cat /out/* > /out/all\nFROM scratch\nCOPY --from=base /out/all /out/a /\n",
    )
    boxed.write("f", "three\n")
    ran = boxed.build()
    assert boxed.text(ran, "all") == "one\ntwo\nthree\n"
    assert boxed.text(ran, "a") == "one\n"


def test_a_base_that_was_unpacked_is_not_read_again(
    tmp_path: Path, boxed: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, where it can be seen who reads a layer."""
    layer = (boxed.root / "base.tar").read_bytes()
    layout = write_layout(image((layer,)), tmp_path / "layout")
    boxed.files(Dockerfile="FROM base\nRUN echo one > /old/made\nCOPY f /old/\n", f="three\n")
    request = BuildRequest(
        ".",
        str(boxed.root),
        boxed.env,
        str(boxed.store),
        build_contexts=(("base", f"oci-layout://{layout}"),),
    )
    read: list[Layer] = []

    def read_layer(_storage: object, layer: Layer, *_limits: object) -> LayerIndex:
        read.append(layer)
        raise UsageError("the layer is read once more")

    monkeypatch.setattr(roots, "_read", read_layer)
    (built,) = build_images(request, lambda _event: None, CancelToken()).images
    assert read == []
    (base, *_) = json.loads(boxed.blob(built.digest))["layers"]
    with tarfile.open(fileobj=io.BytesIO(boxed.blob(base["digest"]))) as archive:
        assert "old/kept" in archive.getnames()
    # Nor by a later build.
    boxed.files(Dockerfile="FROM base\nCOPY f /etc/\n")
    build_images(request, lambda _event: None, CancelToken())
    assert read == []
    with open_store(boxed.store) as store:
        kept = store.records.get("layerindex/1", hashlib.sha256(layer).hexdigest())
        assert kept is not None
        index = decode_index(store.blobs.read(parse_digest(kept.decode())), descriptor(layer))
    assert index is not None
    assert "old/kept" in {entry.path for entry in index.entries}


def test_only_what_a_change_reaches_runs_again(boxed: Builds) -> None:
    _dockerfile(boxed, "RUN echo first > /1\nCOPY f /f\nRUN cat /f > /2\nRUN echo last > /3\n")
    boxed.write("f", "a")
    first = boxed.build()
    assert [name for name in first.ran if name.startswith("RUN")] != []
    assert boxed.build().ran == []
    boxed.write("f", "b")
    second = boxed.build()
    assert second.ran == ["COPY f /f", "RUN cat /f > /2", "RUN echo last > /3"]
    assert boxed.text(second, "2") == "b"
    boxed.write("f", "a")
    assert boxed.build().digest == first.digest


def test_a_command_that_changes_nothing_cuts_the_rebuild_off(boxed: Builds) -> None:
    _dockerfile(
        boxed,
        "FROM base AS checked\nCOPY f /f\nRUN cat /f\nFROM base\nCOPY --from=checked /etc /copied\n"
        "RUN echo after > /after\n",
    )
    boxed.write("f", "a")
    boxed.build()
    boxed.write("f", "b")
    assert "RUN echo after > /after" not in boxed.build().ran


def test_mounts_of_the_context_show_what_ignore_rules_leave(boxed: Builds) -> None:
    boxed.write(".dockerignore", "secret\n")
    boxed.write("src/a", "A")
    boxed.write("secret", "no")
    _dockerfile(
        boxed,
        "RUN --mount=type=bind,target=/ctx ls /ctx > /seen; ! cat /ctx/secret 2>/dev/null\n"
        "RUN --mount=type=bind,source=src,target=/s,rw cat /s/a > /a && echo x > /s/new\n"
        "RUN --mount=type=bind,target=/ctx ls /ctx/src > /after\n",
    )
    ran = boxed.build()
    assert boxed.text(ran, "seen").split() == ["Dockerfile", "base.tar", "src"]
    assert boxed.text(ran, "a") == "A"
    assert boxed.text(ran, "after").split() == ["a"]
    boxed.write("secret", "other")
    assert boxed.build().ran == []


def test_a_mounted_file_that_changes_runs_the_step_again(boxed: Builds) -> None:
    _dockerfile(boxed, "RUN --mount=type=bind,source=a,target=/a cat /a > /b\n")
    boxed.write("a", "1")
    boxed.write("other", "1")
    assert boxed.text(boxed.build(), "b") == "1"
    boxed.write("other", "2")
    assert boxed.build().ran == []
    boxed.write("a", "2")
    assert boxed.text(boxed.build(), "b") == "2"


def test_a_cache_mount_stays_and_is_in_no_layer(boxed: Builds) -> None:
    line = "RUN --mount=type=cache,target=/c,id=one echo {0} >> /c/log; cat /c/log > /{0}\n"
    _dockerfile(boxed, line.format("a"))
    boxed.build()
    _dockerfile(boxed, line.format("a") + line.format("b"))
    ran = boxed.build()
    assert boxed.text(ran, "b") == "a\nb\n"
    assert "c/log" not in boxed.tree(ran)


def test_independent_steps_run_side_by_side_and_no_more_than_jobs(boxed: Builds) -> None:
    stages = "".join(
        f"FROM base AS s{number}\n"
        f"RUN --mount=type=cache,target=/c touch /c/{number}; sleep 1; ls /c | head -9 > /n; "
        f"rm /c/{number}\n"
        for number in range(3)
    )
    copies = "".join(f"COPY --from=s{number} /n /n{number}\n" for number in range(3))
    _dockerfile(boxed, f"{stages}FROM scratch\n{copies}")
    seen = boxed.tree(boxed.build())
    assert max(len(seen[f"n{number}"].content.split()) for number in range(3)) > 1
    alone = boxed.tree(boxed.build("--no-cache", "--jobs", "1"))
    assert [len(alone[f"n{number}"].content.split()) for number in range(3)] == [1, 1, 1]


def test_an_equal_step_of_two_builds_at_once_runs_once(boxed: Builds) -> None:
    _dockerfile(boxed, "RUN --mount=type=cache,target=/c echo run >> /c/log; sleep 1; date > /d\n"
                       "RUN --mount=type=cache,target=/c cat /c/log > /log\n")  # fmt: skip
    command = [sys.executable, "-m", "wherry", "build", "--json", "--quiet", "."]
    around = {**boxed.env, "WHERRY_STORE": str(boxed.store)}
    started = [
        subprocess.Popen(command, cwd=boxed.root, env=around, stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    answers = [json.loads(process.communicate(timeout=60)[0]) for process in started]
    assert len({answer["digest"] for answer in answers}) == 1
    assert boxed.text(boxed.build(), "log") == "run\n"


def test_a_failing_command_is_told_with_its_lines_and_last_words(boxed: Builds) -> None:
    _dockerfile(boxed, "WORKDIR /src\nENV A='b c'\nRUN echo one; \\\n  echo two >&2; exit 7\n")
    told = boxed.refused(
        1, "Dockerfile:5: the command failed with exit code 7", "5 | RUN echo one",
        "6 |   echo two", "one\ntwo\n", "what ran: cd /src && /bin/sh -c",
    )  # fmt: skip
    assert "wherry-failed" not in told


def test_a_user_that_the_root_lacks_is_the_builds_own_mistake(boxed: Builds) -> None:
    _dockerfile(boxed, "USER nosuch\nRUN true\n")
    boxed.refused(1, "Dockerfile:4", "nosuch", "4 | RUN true", "USER 65532:65532")


def test_finished_steps_count_though_a_later_one_failed(boxed: Builds) -> None:
    _dockerfile(boxed, "RUN echo one > /1\nRUN exit 1\n")
    boxed.refused(1, "exit code 1")
    _dockerfile(boxed, "RUN echo one > /1\nRUN exit 0\n")
    assert boxed.build().ran == ["RUN exit 0"]


def test_without_a_terminal_the_failed_root_is_kept_as_an_image(boxed: Builds) -> None:
    _dockerfile(boxed, "RUN echo before > /1\nRUN echo left > /left; exit 3\n")
    boxed.refused(1, "exit code 3", "wherry run -it --entrypoint /bin/sh wherry-failed/app",
                  args=("--on-error", "shell"))  # fmt: skip
    seen = boxed.start("--entrypoint", "/bin/cat", "wherry-failed/app", "/1", "/left", verb="run")
    assert seen.stdout == "before\nleft\n", seen.stderr


def test_at_a_terminal_a_shell_opens_in_the_failed_root(boxed: Builds) -> None:
    _dockerfile(boxed, "WORKDIR /w\nRUN echo left > /left; exit 3\n")
    outer, inner = pty.openpty()
    command = [sys.executable, "-m", "wherry", "build", "--on-error", "shell", "."]
    around = {**boxed.env, "WHERRY_STORE": str(boxed.store), "TERM": "dumb"}
    with subprocess.Popen(
        command, cwd=boxed.root, env=around, stdin=inner, stdout=inner, stderr=inner
    ) as process:
        os.close(inner)
        said, is_asked = b"", False
        while select.select([outer], [], [], 30)[0]:
            try:
                said += os.read(outer, 4096)
            except OSError:
                break
            if not is_asked and b"/w # " in said:
                is_asked = True
                os.write(outer, b"cat /left; echo at-$PWD; exit\r")
        else:
            process.kill()
        assert process.wait(30) == 1
    os.close(outer)
    assert b"left\r\n" in said
    assert b"at-/w" in said
    assert b"exit code 3" in said


def test_values_of_secrets_are_hidden_in_the_output(boxed: Builds) -> None:
    _dockerfile(boxed, "RUN --mount=type=secret,id=tok,env=TOK echo got $TOK; false\n")
    told = boxed.refused(1, "got ***", args=("--secret", "id=tok,env=TOK"),
                         more={"TOK": "hunter2hunter2"})  # fmt: skip
    assert "hunter2" not in told


def test_a_secret_that_must_be_given_is_asked_for(boxed: Builds) -> None:
    _dockerfile(boxed, "RUN --mount=type=secret,id=token,required true\n")
    boxed.refused(1, "Dockerfile:3", "token", "--secret id=token")
    _dockerfile(boxed, "RUN --mount=type=secret,id=token ls /run/secrets/token; echo $? > /code\n")
    assert boxed.text(boxed.build(), "code") != "0\n"


def test_a_times_limit_holds_for_what_commands_make(boxed: Builds) -> None:
    _dockerfile(boxed, "RUN echo hi > /f\n")
    epoch = {"SOURCE_DATE_EPOCH": "1000000000"}
    first = boxed.build(more=epoch)
    assert boxed.tree(first)["f"].mtime == 1_000_000_000
    assert boxed.build(more=epoch).digest == first.digest
    assert boxed.tree(boxed.build())["f"].mtime > 1_000_000_000


def test_what_commands_left_is_exported_like_the_rest(boxed: Builds) -> None:
    _dockerfile(boxed, "RUN rm -r /old && mkdir /old && echo new > /old/file\n")
    boxed.build("-o", "type=local,dest=out")
    old = boxed.root / "out" / "old"
    assert sorted(path.name for path in old.iterdir()) == ["file"]


def test_pruned_snapshots_are_made_again(boxed: Builds) -> None:
    _dockerfile(boxed, "RUN echo one > /1\nCOPY f /f\nRUN cat /f > /2\n")
    boxed.write("f", "a")
    boxed.build()
    done = boxed.start("prune", "--all", verb="cache")
    assert done.returncode == 0, done.stderr
    assert not list((boxed.store / "snapshots").iterdir())
    boxed.write("f", "b")
    assert boxed.text(boxed.build(), "2") == "b"


# --- found by review ------------------------------------------------------------------------------


def test_a_file_edited_during_the_build_is_seen_by_the_next_one(boxed: Builds) -> None:
    _dockerfile(
        boxed,
        "RUN --mount=type=bind,source=src,target=/s cat /s/f > /one; sleep 2\n"
        "RUN --mount=type=bind,source=src,target=/s cat /s/f > /two\n",
    )
    path = boxed.write("src/f", "old")
    os.utime(path, (time.time() - 100,) * 2)
    command = [sys.executable, "-m", "wherry", "build", "--progress", "plain", "."]
    around = {**boxed.env, "WHERRY_STORE": str(boxed.store)}
    with subprocess.Popen(
        command, cwd=boxed.root, env=around, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        for line in process.stderr:
            if "cat /s/f > /one" in line:
                break
        time.sleep(0.5)
        path.write_text("new")
        process.stderr.read()
    time.sleep(2.1)
    assert boxed.text(boxed.build(), "two") == "new"


def test_empty_sources_of_mounts_are_told_apart(boxed: Builds) -> None:
    run = (
        "RUN --mount=type=bind,from=a,target=/a --mount=type=bind,from=b,target=/b"
        " ls /a > /in-a; ls /b > /in-b\n"
    )
    filled, empty = "FROM scratch AS {}\nCOPY f /f\n", "FROM scratch AS {}\n"
    boxed.write("f", "x")
    _dockerfile(boxed, f"{filled.format('a')}{empty.format('b')}FROM base\n{run}")
    assert boxed.text(boxed.build(), "in-a") == "f\n"
    _dockerfile(boxed, f"{empty.format('a')}{filled.format('b')}FROM base\n{run}")
    ran = boxed.build()
    assert (boxed.text(ran, "in-a"), boxed.text(ran, "in-b")) == ("", "f\n")


def test_a_lost_snapshot_is_made_again_for_other_times(boxed: Builds) -> None:
    _dockerfile(boxed, "RUN echo one > /1\n")
    boxed.build()
    for path in (boxed.store / "snapshots").iterdir():
        shutil.rmtree(path)
    ran = boxed.build(more={"SOURCE_DATE_EPOCH": "1000000000"})
    assert boxed.tree(ran)["1"].mtime == 1_000_000_000


def test_a_lost_snapshot_of_a_stage_is_made_again(boxed: Builds) -> None:
    _dockerfile(boxed, "RUN echo one > /1\nFROM base\nRUN cat /1 > /2\nCOPY f /f\n")
    boxed.write("f", "a")
    boxed.build()
    for path in (boxed.store / "snapshots").iterdir():
        shutil.rmtree(path)
    _dockerfile(boxed, "RUN echo one > /1\nFROM base\nRUN cat /1 > /2; echo 3 > /3\nCOPY f /f\n")
    assert boxed.text(boxed.build(), "2") == "one\n"


def test_values_of_variables_are_not_in_the_hint_of_a_failure(boxed: Builds) -> None:
    _dockerfile(boxed, "ARG API_TOKEN\nRUN false\n")
    told = boxed.refused(1, "what ran: cd / && /bin/sh -c",
                         args=("--build-arg", "API_TOKEN=hunter2hunter2"))  # fmt: skip
    assert "hunter2" not in told


def test_steps_that_lock_the_same_caches_do_not_wait_for_each_other(boxed: Builds) -> None:
    locked = "--mount=type=cache,sharing=locked,id={},target=/{} "
    stages = ""
    for number in range(4):
        first, second = ("p", "q") if number % 2 else ("q", "p")
        mounts = locked.format(first, "a") + locked.format(second, "b")
        stages += f"FROM base AS s{number}\nRUN {mounts} echo {number} > /n\n"
    copies = "".join(f"COPY --from=s{number} /n /n{number}\n" for number in range(4))
    _dockerfile(boxed, f"{stages}FROM scratch\n{copies}")
    assert len(boxed.tree(boxed.build())) == 4


def test_line_ends_that_are_cut_in_two_are_one() -> None:
    lines: list[str] = []
    with StepOutput(lines.append, ()) as output:
        for piece in (b"one\r", b"\ntwo\rthree\r", b"four\r\n"):
            os.write(output.end, piece)
            time.sleep(0.05)
    assert lines == ["one", "two", "three", "four"]
