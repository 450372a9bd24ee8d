# SPDX-License-Identifier: Apache-2.0
"""What states and records of a context must see, and what must not end or hold up a build."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from dockerfile_builds import Builds, builds, plain_env
from transport_servers import Reply, Seen, answering
from wherry.fstree.state import directory_state
from wherry.process.cancel import CancelToken

__all__ = ["builds", "plain_env"]


def aged(*paths: Path) -> None:
    """Wait until the files' times prove something."""
    newest = max(os.stat(path).st_ctime for path in paths)
    time.sleep(max(0.0, newest + 2.2 - time.time()))


def test_parents_take_the_modes_on_the_way(builds: Builds) -> None:
    builds.write("dir/sub/x", "x")
    builds.files(Dockerfile="FROM scratch\nCOPY --parents dir/sub/x /out/\n")
    aged(builds.root / "dir/sub/x")
    before = builds.build()
    (builds.root / "dir").chmod(0o700)
    aged(builds.root / "dir")
    after = builds.build()
    assert builds.tree(before)["out/dir"].mode == 0o755
    assert builds.tree(after)["out/dir"].mode == 0o700


def test_a_link_that_makes_its_own_path_longer_does_not_hang(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("a/b")
    (tmp_path / "c").symlink_to("c")
    aged_until = os.lstat(tmp_path / "c").st_ctime + 2.2
    time.sleep(max(0.0, aged_until - time.time()))
    for prefix in ("a/r", "c/r"):
        began = time.monotonic()
        directory_state(str(tmp_path), (), (prefix,), CancelToken())
        assert time.monotonic() - began < 5


def test_the_state_of_a_directory_is_none_while_it_proves_nothing(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("f")
    assert directory_state(str(tmp_path), (), ("",), CancelToken()) is None
    assert directory_state(str(tmp_path / "gone"), (), ("",), CancelToken()) is None


@pytest.mark.parametrize("text", ["", "# nothing\n"])
def test_an_ignore_file_beside_the_dockerfile_counts_where_it_hides_nothing(
    builds: Builds, text: str
) -> None:
    builds.write("f", "f")
    builds.write(".dockerignore", "f\n")
    builds.write("Dockerfile.dockerignore", text)
    builds.files(Dockerfile="FROM scratch\nCOPY f /\n")
    assert builds.text(builds.build(), "f") == "f"


def test_a_directory_with_a_name_like_a_remote_is_a_directory(builds: Builds) -> None:
    builds.write("me@corp:x/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")
    assert "Dockerfile" in builds.tree(builds.build(source="me@corp:x"))


def test_a_damaged_index_of_a_layer_is_made_again(builds: Builds) -> None:
    builds.write("f", "f")
    builds.files(Dockerfile="FROM scratch\nCOPY f /\nCOPY f /g\n")
    first = builds.build()
    known = {layer["digest"] for layer in builds.manifest(first)["layers"]}
    for path in (builds.store / "blobs" / "sha256").iterdir():
        data = path.read_bytes()
        if f"sha256:{path.name}" not in known and not data.startswith(b"{"):
            path.write_bytes(data[:-2] + b"\0\0")
    builds.files(Dockerfile="FROM scratch\nCOPY f /\nCOPY f /h\n")
    assert builds.text(builds.build(), "h") == "f"


def test_a_failed_step_does_not_wait_for_a_download(builds: Builds) -> None:
    def slow(_seen: Seen) -> Reply:
        time.sleep(20)
        return Reply(200, body=b"late")

    with answering(slow) as server:
        builds.files(
            Dockerfile=f"FROM scratch AS a\nADD {server.url}/f /\n"
            "FROM scratch\nCOPY --from=a /f /f\nFROM scratch\nCOPY missing /\n"
            "COPY --from=a /f /g\n"
        )
        began = time.monotonic()
        failed = builds.start()
        assert failed.returncode == 1
        assert "missing" in failed.stderr
        assert time.monotonic() - began < 12


def test_the_epoch_of_the_environment_reaches_its_argument(builds: Builds) -> None:
    builds.files(Dockerfile="FROM scratch\nARG SOURCE_DATE_EPOCH\nENV E=$SOURCE_DATE_EPOCH\n")
    ran = builds.build(more={"SOURCE_DATE_EPOCH": "1700000000"})
    assert "E=1700000000" in builds.config(ran)["config"]["Env"]


def test_rules_hide_from_the_state_too(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("k")
    (tmp_path / "hidden").write_text("h")
    aged(tmp_path / "kept", tmp_path / "hidden", tmp_path)
    before = directory_state(str(tmp_path), ("hidden",), ("",), CancelToken())
    assert before is not None
    (tmp_path / "hidden").write_text("changed")
    after = directory_state(str(tmp_path), ("hidden",), ("",), CancelToken())
    assert after == before
