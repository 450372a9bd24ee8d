# SPDX-License-Identifier: Apache-2.0
"""An image's files: kodata, owners of the base, what a build record holds of them; warnings."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wherry.api.image_files import ImageFiles, choose_image_files
from wherry.api.port_warnings import low_ports, rare_capabilities
from wherry.engines.local.chosen_files import FilesOperation, tree_digest
from wherry.engines.local.results import Built
from wherry.engines.local.storage import CacheRecords, LayerSettings
from wherry.errors import BuildError, SeveralErrors, UsageError
from wherry.events import discard
from wherry.fstree.compression import Compression
from wherry.fstree.contents import open_content
from wherry.fstree.tree import Directory, File, Inline, Tree, make_tree
from wherry.fstree.tree_files import TreeFiles
from wherry.golang.listing import all_names
from wherry.golang.marks import first_turned, mark_of, names_text
from wherry.golang.record import Inputs, Memo, first_change
from wherry.graph.ops import FilesOp
from wherry.oci.run_config import RunConfig
from wherry.process.cancel import CancelToken
from wherry.settings.file_entries import FileEntry
from wherry.solver.model import Step
from wherry.store.store import Store, open_store

_PASSWD = b"root:x:0:0::/root:\napp:x:1000:1001::/:\n"
_BASE = TreeFiles(make_tree((File("etc/passwd", Inline(_PASSWD)), Directory("tmp", 0o1777))))
_NOTHING = TreeFiles(make_tree(()))


def read(file: File) -> bytes:
    with open_content(file.content) as content:
        return content.read()


@pytest.fixture
def module(tmp_path: Path) -> Path:
    root = tmp_path / "module"
    for path in ("go.mod", "web/index.html", "web/run.sh", "cmd/a/kodata/one", "cmd/b/main.go"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)
    (root / "web/run.sh").chmod(0o755)
    (root / "web/link").symlink_to("index.html")
    return root


def chosen(module: Path, *entries: FileEntry, mains: tuple[str, ...] = ()) -> ImageFiles:
    return choose_image_files(entries, str(module), [str(module / main) for main in mains])


def paths(tree: Tree) -> list[str]:
    return [entry.path for entry in tree.entries if not isinstance(entry, Directory)]


# --- what is taken ------------------------------------------------------------------------------


def test_no_entry_and_no_kodata_is_nothing(module: Path) -> None:
    files = chosen(module, mains=("cmd/b",))
    assert not files
    assert files.env == ()
    assert files.absent == (str(module / "cmd/b/kodata"),)
    assert files.tree(_BASE, read).entries == ()


def test_kodata_lies_where_ko_puts_it(module: Path) -> None:
    files = chosen(module, mains=("cmd/a", "cmd/b", "cmd/a"))
    assert paths(files.tree(_NOTHING, read)) == ["var/run/ko/one"]
    assert files.env == ("KO_DATA_PATH=/var/run/ko",)
    assert files.absent == (str(module / "cmd/b/kodata"),)


def test_an_empty_kodata_is_a_directory(module: Path) -> None:
    (module / "cmd/b/kodata").mkdir()
    files = chosen(module, mains=("cmd/b",))
    assert files
    assert files.env
    assert [entry.path for entry in files.tree(_NOTHING, read).entries][-1] == "var/run/ko"


def test_kodata_of_a_module_whose_path_looks_like_a_pattern(tmp_path: Path) -> None:
    main = tmp_path / "cmd/[x]*"
    (main / "kodata").mkdir(parents=True)
    (main / "kodata/f").write_text("f")
    (tmp_path / "go.mod").write_text("module m\n")
    files = choose_image_files((), str(tmp_path), [str(main)])
    assert paths(files.tree(_NOTHING, read)) == ["var/run/ko/f"]


def test_kodata_that_is_a_link_out_of_the_module_is_an_error(module: Path) -> None:
    (module / "cmd/b/kodata").symlink_to("/etc")
    with pytest.raises(UsageError, match="'cmd/b/kodata' leads out of the module"):
        chosen(module, mains=("cmd/b",))


def test_kodata_finds_the_repository_of_its_module(module: Path) -> None:
    (module.parent / ".git").mkdir()
    (module.parent / ".git/HEAD").write_text("ref: x")
    (module / "cmd/a/kodata/HEAD").symlink_to("../../../../.git/HEAD")
    tree = chosen(module, mains=("cmd/a",)).tree(_NOTHING, read)
    assert paths(tree) == ["var/run/ko/HEAD", "var/run/ko/one"]


def test_kodata_of_two_programs_is_one_directory_or_an_error(module: Path) -> None:
    (module / "cmd/b/kodata").mkdir()
    (module / "cmd/b/kodata/two").write_text("two")
    files = chosen(module, mains=("cmd/a", "cmd/b"))
    assert paths(files.tree(_NOTHING, read)) == ["var/run/ko/one", "var/run/ko/two"]
    (module / "cmd/b/kodata/one").write_text("other")
    with pytest.raises(UsageError) as raised:
        chosen(module, mains=("cmd/a", "cmd/b")).tree(_NOTHING, read)
    assert "cmd/a/kodata/one" in raised.value.why
    assert "cmd/b/kodata/one" in raised.value.why


def test_owners_are_the_bases(module: Path) -> None:
    files = chosen(module, FileEntry("web", "/srv", "app", 0o600))
    found = {entry.path: entry for entry in files.tree(_BASE, read).entries}
    entry = found["srv/index.html"]
    assert isinstance(entry, File)
    assert (entry.uid, entry.gid, entry.mode) == (1000, 1001, 0o600)
    with pytest.raises(UsageError, match="knows no user 'app'"):
        files.tree(_NOTHING, read)


def test_a_programs_place_is_taken(module: Path) -> None:
    files = chosen(module, FileEntry("web/run.sh", "/app/api"))
    with pytest.raises(UsageError, match="/app/api"):
        files.tree(_BASE, read, ("app/api",))
    assert paths(files.tree(_BASE, read, ("app/other",))) == ["app/api"]


def test_all_errors_come_together(module: Path) -> None:
    (module / "cmd/a/kodata/l").symlink_to("/etc/passwd")
    entries = (FileEntry("none", "/x"), FileEntry("/y", "/x"))
    with pytest.raises(SeveralErrors) as raised:
        chosen(module, *entries, mains=("cmd/a",))
    assert len(raised.value.errors) == 3


# --- the build record ---------------------------------------------------------------------------


def change(files: ImageFiles) -> str:
    """What a later build sees as changed."""
    found = files.inputs()
    record: dict[str, Any] = {name: {} for name in Inputs._fields}
    record |= {
        "files": found.files, "large": found.large, "absent": list(found.absent),
        "all_names": found.all_names, "plain": (),
    }  # fmt: skip
    return first_change(Inputs(**record), {}, Memo()) or first_turned(found.marks, found.leads)


def _edit(root: Path) -> None:
    (root / "web/index.html").write_text("new")


def _edit_kodata(root: Path) -> None:
    (root / "cmd/a/kodata/one").write_text("new")


def _add(root: Path) -> None:
    (root / "web/new").write_text("")


def _add_kodata(root: Path) -> None:
    (root / "cmd/b/kodata").mkdir()


def _remove(root: Path) -> None:
    (root / "web/index.html").unlink()


def _make_executable(root: Path) -> None:
    (root / "web/index.html").chmod(0o755)


def _make_plain(root: Path) -> None:
    (root / "web/run.sh").chmod(0o644)


def _turn(root: Path) -> None:
    (root / "web/link").unlink()
    (root / "web/link").symlink_to("run.sh")


def _turn_source(root: Path) -> None:
    (root / "current").unlink()
    (root / "current").symlink_to("cmd")


def _replace_by_link(root: Path) -> None:
    (root / "web/index.html").rename(root / "web/moved")
    (root / "web/moved").rename(root / "moved")
    (root / "web/index.html").symlink_to("../moved")


@pytest.mark.parametrize(
    "edit",
    [_edit, _edit_kodata, _add, _add_kodata, _remove, _make_executable, _make_plain, _turn,
     _turn_source, _replace_by_link],
)  # fmt: skip
def test_every_change_that_counts_voids_the_record(
    module: Path, edit: Callable[[Path], None]
) -> None:
    (module / "current").symlink_to("web")
    entries = (FileEntry("web", "/w"), FileEntry("current/run.sh", "/r"))
    files = chosen(module, *entries, mains=("cmd/a", "cmd/b"))
    assert change(files) == ""
    edit(module)
    assert change(files) != ""


def test_other_changes_leave_the_record_alone(module: Path) -> None:
    files = chosen(module, FileEntry("web", "/w"), FileEntry("go.mod", "/m"), mains=("cmd/a",))
    (module / "other").write_text("new")
    (module / "web/index.html").chmod(0o600)
    (module / "web").chmod(0o700)
    os.utime(module / "web/index.html", (1, 1))
    assert change(files) == ""


def test_a_name_that_came_after_the_look_is_no_part_of_the_record(module: Path) -> None:
    files = chosen(module, FileEntry("web", "/w"))
    _add(module)
    assert change(files) != ""


def test_names_are_told_as_the_record_tells_them(module: Path) -> None:
    os.mkfifo(module / "web/pipe")
    (module / "web/sub").mkdir()
    (module / "web/ä\nb").write_text("")
    names = [(item.name, item.lstat().st_mode) for item in (module / "web").iterdir()]
    assert names_text(names) == all_names(str(module / "web"))
    assert mark_of(str(module / "web/pipe")) == "!"
    assert mark_of(str(module / "none")) == ""


def test_files_beyond_the_limit_are_told_by_their_status(
    module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wherry.api.image_files.READ_LIMIT", 20)
    entry = FileEntry("web", "/w")
    # Just written: a later change might not show in the status.
    assert chosen(module, entry).inputs().large == {}
    for name in ("index.html", "run.sh"):
        os.utime(module / "web" / name, (1, 1))
    monkeypatch.setattr("wherry.fstree.live_tree.RACY_NS", -(10**9))
    files = chosen(module, entry)
    found = files.inputs()
    assert set(found.files) == {str(module / "web/index.html")}
    assert set(found.large) == {str(module / "web/run.sh")}
    assert change(files) == ""
    (module / "web/run.sh").write_text("web/run.sh")
    assert change(files) != ""


def test_what_was_looked_at_is_named_for_the_watch(module: Path) -> None:
    files = chosen(module, FileEntry("web", "/w"), mains=("cmd/a",))
    names = {os.path.relpath(path, module) for path in files.paths}
    assert names == {
        "web", "web/index.html", "web/run.sh", "web/link", "cmd/a/kodata", "cmd/a/kodata/one"
    }  # fmt: skip


# --- the layer ----------------------------------------------------------------------------------


def built(store: Store, tree: Tree, mtime: int = 0) -> Built:
    settings = LayerSettings(Compression(), 2, "test")
    operation = FilesOperation(FilesOp(tree_digest(tree), mtime, tree), store, settings)
    records = CacheRecords(store, settings)
    key = operation.definition(())
    assert key is not None
    known = records.lookup(key)
    if isinstance(known, Built):
        return known
    result = operation.run((), Step(1, "files", discard, CancelToken()))
    assert isinstance(result, Built)
    records.save(key, result)
    return result


def test_equal_files_are_one_layer_and_not_read_again(module: Path, tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        tree = chosen(module, FileEntry("web", "/w")).tree(_BASE, read)
        one = built(store, tree)
        assert one.unpacked == len("web/index.html") + len("web/run.sh")
        # Gone from the disk, and still known.
        again = chosen(module, FileEntry("web", "/w")).tree(_BASE, read)
        (module / "web/index.html").unlink()
        assert built(store, again).layers == one.layers


def test_another_time_is_another_layer(module: Path, tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        tree = chosen(module, FileEntry("web", "/w")).tree(_BASE, read)
        assert built(store, tree, 5).layers != built(store, tree, 6).layers


def test_a_changed_file_makes_no_layer(module: Path, tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        tree = chosen(module, FileEntry("web", "/w")).tree(_BASE, read)
        (module / "web/index.html").unlink()
        (module / "web/index.html").symlink_to("/etc/hostname")
        with pytest.raises(BuildError, match="changed"):
            built(store, tree)


# --- warnings -----------------------------------------------------------------------------------


def run(user: str, *ports: str) -> RunConfig:
    return RunConfig(user=user, exposed_ports=ports)


@pytest.mark.parametrize("user", ["65532:65532", "nonroot", "1", "app:0"])
def test_low_ports_of_a_plain_user_are_warned_of(user: str) -> None:
    text = low_ports(run(user, "443/tcp", "80/tcp", "8080/tcp", "53/udp", "53/tcp"), ())
    assert text.startswith("ports 53, 80, 443: ")
    assert user in text
    assert 'capabilities = ["net_bind_service"]' in text
    assert "above 1023" in text
    assert 'user = "root"' in text
    assert "Docker" in text


@pytest.mark.parametrize(
    ("config", "capabilities"),
    [
        (run("65532", "1024/tcp", "8080"), ()),
        (run("65532"), ()),
        (run("", "80/tcp"), ()),
        (run("root", "80/tcp"), ()),
        (run("0:65532", "80/tcp"), ()),
        (run("65532", "80/tcp"), ("chown", "net_bind_service")),
        (run("65532", "0/tcp", "x"), ()),
    ],
)
def test_where_nothing_is_wrong_nothing_is_said(
    config: RunConfig, capabilities: tuple[str, ...]
) -> None:
    assert low_ports(config, capabilities) == ""


def test_ranges_and_bare_numbers_count_too() -> None:
    assert low_ports(run("1", "1023"), ()).startswith("port 1023: ")
    assert low_ports(run("1", "80-8080/tcp"), ("net_raw",)).startswith("port 80: ")


def test_capabilities_that_containers_lack_are_warned_of() -> None:
    assert rare_capabilities(("net_bind_service", "chown")) == ""
    text = rare_capabilities(("chown", "sys_nice", "bpf"))
    assert "sys_nice, bpf" in text
    assert "--cap-add SYS_NICE --cap-add BPF" in text
