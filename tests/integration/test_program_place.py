# SPDX-License-Identifier: Apache-2.0
"""`/app` of a base, or of `files`, keeps its mode and owner below the programs' layer."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fault_registry import FaultRegistry
from wherry.api.program_place import names_directory, program_place
from wherry.errors import UsageError
from wherry.frontends.gomodule.lower import Place
from wherry.fstree.tree import Directory, File, Inline, Symlink, make_tree
from wherry.fstree.tree_files import TreeFiles
from wherry.graph.ops import Parent
from wherry.oci.platform import host_platform
from wherry_fixtures import MAIN, Project

Make = Callable[..., Project]

_BLOBS = r"/blobs/"


@pytest.fixture
def registry() -> Iterator[FaultRegistry]:
    with FaultRegistry() as served:
        yield served


def _base(registry: FaultRegistry, tag: str, *entries: tarfile.TarInfo, path: str = "") -> str:
    """A base whose layer has these entries; `path` is its PATH, where it may name a directory."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for entry in entries:
            archive.addfile(entry)
    settings = {"Env": [f"PATH={path or '/usr/bin:/bin'}"]}
    registry.put_image(
        "base/app", tag, [packed.getvalue()], settings=settings, platform=str(host_platform())
    )
    return f"{registry.host}/base/app:{tag}"


def _directory(name: str, mode: int = 0o2750, owner: int = 1000) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.uid, entry.gid = tarfile.DIRTYPE, mode, owner, owner
    return entry


def _listed(made: Project, tmp_path: Path, **asked: object) -> dict[str, tuple[int, int, int]]:
    """Mode, uid and gid of everything in the image's root, as GNU tar reads them."""
    out = tmp_path / "root.tar"
    made.build(outputs=(f"type=tar,dest={out}",), **asked)
    with tarfile.open(out) as archive:
        return {item.name: (item.mode, item.uid, item.gid) for item in archive.getmembers()}


def test_a_directory_of_the_base_keeps_mode_and_owner(
    project: Make, registry: FaultRegistry, tmp_path: Path
) -> None:
    base = _base(registry, "1", _directory("app"), path="/bin:/app")
    found = _listed(project(), tmp_path, base=base)
    assert found["app"] == (0o2750, 1000, 1000)
    assert found["app/m"] == (0o755, 0, 0)


def test_a_base_without_it_gets_the_usual_one(
    project: Make, registry: FaultRegistry, tmp_path: Path
) -> None:
    base = _base(registry, "1", _directory("usr"), path="/bin:/app")
    assert _listed(project(), tmp_path, base=base)["app"] == (0o755, 0, 0)


def test_a_base_that_does_not_speak_of_it_is_not_fetched(
    project: Make, registry: FaultRegistry, tmp_path: Path
) -> None:
    """And gives the same image on a machine that has its layers."""
    base = _base(registry, "1", _directory("app"))
    made = project()
    first = made.build(base=base)
    assert registry.count("GET", _BLOBS) == 1, "more than the config was fetched"
    fetched = Project(made.root, made.env, tmp_path / "other", made._go)
    found = _listed(fetched, tmp_path, base=base)
    assert found["app"] == (0o755, 0, 0)
    assert fetched.build(base=base, no_cache=True).digest == first.digest


def test_a_link_of_the_base_is_followed(
    project: Make, registry: FaultRegistry, tmp_path: Path
) -> None:
    link = tarfile.TarInfo("app")
    link.type, link.linkname = tarfile.SYMTYPE, "srv/programs"
    base = _base(registry, "1", _directory("srv/programs"), link, path="/app")
    made = project()
    found = _listed(made, tmp_path, base=base)
    assert found["srv/programs"] == (0o2750, 1000, 1000)
    assert found["srv/programs/m"] == (0o755, 0, 0)
    assert "app/m" not in found
    image = made.build(base=base)
    config = json.loads(made.blob(image.config_digest))
    assert config["config"]["Entrypoint"] == ["/app/m"]


def test_a_file_in_its_place_is_an_error(project: Make, registry: FaultRegistry) -> None:
    base = _base(registry, "1", tarfile.TarInfo("app"), path="/app")
    with pytest.raises(UsageError, match="/app") as caught:
        project().build(base=base)
    assert "of the base is no directory" in caught.value.why


@pytest.mark.parametrize("base", ["static", "scratch"])
def test_files_say_what_it_is_like(project: Make, tmp_path: Path, base: str) -> None:
    toml = (
        '[image.m]\npackages = ["."]\n'
        'files = [{ from = "conf", to = "/app", owner = "7:8", mode = 0o640 }]\n'
    )
    made = project({"main.go": MAIN, "wherry.toml": toml, "conf/a.conf": "a\n"})
    found = _listed(made, tmp_path, base=base)
    assert found["app"] == (0o750, 7, 8)
    assert found["app/a.conf"] == (0o640, 7, 8)
    assert found["app/m"] == (0o755, 0, 0)


def test_docker_s_copy_leaves_it_the_same(
    project: Make, registry: FaultRegistry, tmp_path: Path
) -> None:
    """A Dockerfile's COPY into the directory and the Go build agree."""
    base = _base(registry, "1", _directory("app"), path="/app")
    made = project({"main.go": MAIN, "Dockerfile": f"FROM {base}\nCOPY main.go /app/m\n"})
    ours = _listed(made, tmp_path, base=base, frontend="gomodule")
    theirs = _listed(made, tmp_path, base="", frontend="dockerfile")
    assert ours["app"] == theirs["app"]


def test_which_configs_speak_of_it() -> None:
    for text in ("WORKDIR /app", "COPY x app/ # buildkit", 'PATH=/bin:/app"', "chown 7 /app/x"):
        assert names_directory(text.encode()), text
    for text in ("/usr/app", "/application", "/app.d", "adduser app", "/home/app/", "/app-x"):
        assert not names_directory(text.encode()), text


def test_places() -> None:
    base = TreeFiles(
        make_tree(
            [Directory("srv", 0o711), Symlink("app", "/srv/a"), Directory("srv/a", uid=5),
             File("note", Inline(b""))]
        )
    )  # fmt: skip
    found = program_place(base)
    assert found == Place("srv/a", (Parent("srv", 0o711), Parent("srv/a", uid=5)))
    assert program_place(TreeFiles(make_tree([Directory("app")]))) == Place()
    with pytest.raises(UsageError, match="/app"):
        program_place(TreeFiles(make_tree([])), make_tree([Symlink("app", "x")]))


def test_gnu_tar_reads_the_same(project: Make, registry: FaultRegistry, tmp_path: Path) -> None:
    base = _base(registry, "1", _directory("app"), path="/app")
    _listed(project(), tmp_path, base=base)
    lines = subprocess.run(
        ["tar", "--numeric-owner", "-tvf", tmp_path / "root.tar"],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert any(line.startswith("drwxr-s--- 1000/1000") for line in lines), lines
