# SPDX-License-Identifier: Apache-2.0
"""What `files` takes from a live directory: patterns, names in the image, modes, bad inputs."""

from __future__ import annotations

import io
import os
import shutil
import socket
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.errors import BuildError, SeveralErrors, UsageError, WherryError
from wherry.fstree.chosen import Chosen, Wanted, choose
from wherry.fstree.placed import placed
from wherry.fstree.tar import write_tar
from wherry.fstree.tree import Directory, File, Symlink, Tree, make_tree
from wherry.fstree.tree_files import TreeFiles

_EMPTY = TreeFiles(make_tree(()))
_FILES = (
    "LICENSE", "web/index.html", "web/about.html", "web/app.js", "web/img/logo.svg",
    "web/img/old/logo.svg", "web/index.htm/inner.txt", "conf/a.yaml", "conf/b.yaml",
)  # fmt: skip


def made(root: Path, *paths: str) -> Path:
    """A directory with files that hold their own paths."""
    for path in paths:
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(path)
    return root


@pytest.fixture
def module(tmp_path: Path) -> Path:
    return made(tmp_path / "module", *_FILES)


def no_owner(text: str) -> tuple[int, int]:
    raise AssertionError(f"{text!r} was looked up")


def tree_of(root: Path, *wanted: Wanted) -> Tree:
    return placed(choose(str(root), wanted), _EMPTY, no_owner)


def shown(tree: Tree) -> list[str]:
    """Paths, directories with a slash, links with their targets; without the directories above."""
    return [
        entry.path + "/" if isinstance(entry, Directory)
        else f"{entry.path}->{entry.target}" if isinstance(entry, Symlink) else entry.path
        for entry in tree.entries
    ]  # fmt: skip


def taken(root: Path, source: str, target: str) -> list[str]:
    return shown(tree_of(root, Wanted(source, target)))


def refused(root: Path, *wanted: Wanted) -> WherryError:
    with pytest.raises((UsageError, BuildError)) as raised:
        tree_of(root, *wanted)
    return raised.value


def content(tree: Tree, path: str) -> bytes:
    entry = next(entry for entry in tree.entries if entry.path == path)
    assert isinstance(entry, File)
    with entry.content.opener() as file:  # type: ignore[union-attr] # chosen contents are Opened
        return file.read()


# --- names in the image -------------------------------------------------------------------------


def test_one_file_gets_the_name_or_goes_into_the_directory(module: Path) -> None:
    assert taken(module, "LICENSE", "/srv/licence.txt") == ["srv/", "srv/licence.txt"]
    assert taken(module, "./LICENSE", "/srv/") == ["srv/", "srv/LICENSE"]
    assert taken(module, "LICENSE", "/") == ["LICENSE"]


def test_a_directory_gets_the_name_or_goes_into_the_directory(module: Path) -> None:
    inside = ["img/", "img/logo.svg", "img/old/", "img/old/logo.svg"]
    assert taken(module, "web/img", "/img") == inside
    assert taken(module, "web/img/", "/srv/") == ["srv/", *(f"srv/{path}" for path in inside)]
    whole = taken(module, ".", "/srv")
    assert whole == taken(module, ".", "/srv/")
    assert {"srv/LICENSE", "srv/web/img/old/logo.svg"} <= set(whole)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("web/*.html", ["about.html", "index.html"]),
        ("web/app.?s", ["app.js"]),
        ("web/[a-c]*", ["about.html", "app.js"]),
        ("web/[^a-i]*", []),
        ("*/*.yaml", ["conf/", "conf/a.yaml", "conf/b.yaml"]),
        ("conf/[ab].yaml", ["a.yaml", "b.yaml"]),
        ("**/*.svg", ["web/", "web/img/", "web/img/logo.svg", "web/img/old/",
                      "web/img/old/logo.svg"]),
        ("web/**/logo.svg", ["img/", "img/logo.svg", "img/old/", "img/old/logo.svg"]),
        ("web/**/**/old", ["img/", "img/old/", "img/old/logo.svg"]),
        ("web/img/**", ["logo.svg", "old/", "old/logo.svg"]),
        ("w*", ["web/", "web/about.html", "web/app.js", "web/img/", "web/img/logo.svg",
                "web/img/old/", "web/img/old/logo.svg", "web/index.htm/",
                "web/index.htm/inner.txt", "web/index.html"]),
        ("web/index.htm*", ["index.htm/", "index.htm/inner.txt", "index.html"]),
    ],
)  # fmt: skip
def test_patterns_keep_the_path_from_their_first_wildcard_on(
    module: Path, pattern: str, expected: list[str]
) -> None:
    if not expected:
        assert "matches nothing" in refused(module, Wanted(pattern, "/d/")).what
        return
    assert taken(module, pattern, "/d/") == ["d/", *(f"d/{path}" for path in expected)]


def test_a_pattern_with_one_match_may_rename_it(module: Path) -> None:
    assert taken(module, "web/*.js", "/app.js") == ["app.js"]
    assert taken(module, "w*", "/www")[:2] == ["www/", "www/about.html"]
    error = refused(module, Wanted("web/*.html", "/page"))
    assert "2 things" in error.what
    assert '"/page/"' in error.hint
    assert "web/about.html" in error.why


def test_wildcard_characters_in_names_can_be_escaped(tmp_path: Path) -> None:
    made(tmp_path, "a[1].txt", "a1.txt", "b*", "bb")
    assert taken(tmp_path, r"a\[1\].txt", "/x/") == ["x/", "x/a[1].txt"]
    assert taken(tmp_path, "a[1].txt", "/x/") == ["x/", "x/a1.txt"]
    assert taken(tmp_path, r"b\*", "/x/") == ["x/", "x/b*"]


def test_version_controls_directories_are_left_out_unless_named(tmp_path: Path) -> None:
    made(tmp_path, "a", ".env", ".git/HEAD", "sub/.git/config", "sub/b", ".hg/x", "sub/.gitignore")
    everything = ["x/", "x/.env", "x/a", "x/sub/", "x/sub/.gitignore", "x/sub/b"]
    assert taken(tmp_path, ".", "/x") == everything
    assert taken(tmp_path, "**", "/x/") == everything
    assert "matches nothing" in refused(tmp_path, Wanted("**/HEAD", "/x/")).what
    assert "matches nothing" in refused(tmp_path, Wanted(".g*", "/x/")).what
    assert taken(tmp_path, ".git/HEAD", "/x/") == ["x/", "x/HEAD"]
    assert taken(tmp_path, ".git/H*", "/x/") == ["x/", "x/HEAD"]


def test_names_with_newlines_and_other_bytes_come_through(tmp_path: Path) -> None:
    root = tmp_path / "m"
    made(root / "d", "line\nbreak", "leerzeichen und ä", "emoji 🚢", "-rf", "*")
    (Path(os.fsdecode(os.fsencode(root / "d") + b"/caf\xe9"))).write_text("latin")
    tree = tree_of(root, Wanted("d", "/d"))
    out = io.BytesIO()
    write_tar(tree, out.write, 0)
    out.seek(0)
    with tarfile.open(fileobj=out, encoding="utf-8", errors="surrogateescape") as archive:
        names = {os.fsencode(member.name) for member in archive}
    assert names == {b"d"} | {b"d/" + os.fsencode(path.name) for path in (root / "d").iterdir()}
    assert b"d/caf\xe9" in names
    assert len(str(tree.digest)) > 64
    assert taken(root, "d/*\udce9", "/x/") == ["x/", "x/caf\udce9"]
    assert taken(root, "d/line?break", "/x/") == ["x/", "x/line\nbreak"]


# --- modes --------------------------------------------------------------------------------------


def modes(tree: Tree) -> dict[str, int]:
    return {entry.path: entry.mode for entry in tree.entries if not isinstance(entry, Symlink)}  # type: ignore[union-attr] # no hard links here


def test_modes_are_usual_ones_whatever_the_disk_says(module: Path) -> None:
    (module / "web/app.js").chmod(0o4711)
    (module / "web/index.html").chmod(0o600)
    (module / "web/about.html").chmod(0o466)
    (module / "web/img").chmod(0o2700)
    found = modes(tree_of(module, Wanted("web", "/srv/www")))
    assert found["srv/www/app.js"] == 0o755
    assert {found[f"srv/www/{name}.html"] for name in ("index", "about")} == {0o644}
    assert {found[path] for path in ("srv", "srv/www", "srv/www/img")} == {0o755}


@pytest.mark.parametrize(
    ("mode", "directory"),
    [(0o640, 0o750), (0o600, 0o700), (0o444, 0o555), (0o755, 0o755), (0o4755, 0o755),
     (0o2644, 0o2755), (0o1666, 0o1777), (0, 0)],
)  # fmt: skip
def test_a_mode_is_the_files_and_directories_can_be_entered(
    module: Path, mode: int, directory: int
) -> None:
    found = modes(tree_of(module, Wanted("web/img", "/srv/img", mode=mode)))
    assert found == {
        "srv": 0o755, "srv/img": directory, "srv/img/logo.svg": mode, "srv/img/old": directory,
        "srv/img/old/logo.svg": mode,
    }  # fmt: skip


# --- nothing there, or not allowed --------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "why", "hint"),
    [
        ("LICENCE", "'LICENCE' is not there", "did you mean 'LICENSE'?"),
        ("wb/index.html", "'wb' is not there", "did you mean 'web'?"),
        ("web/indx.html", "'web/indx.html' is not there", "did you mean 'index.html'?"),
        ("web/index.html/x", "'web/index.html' is a file", ""),
        ("web/index.html/*", "'web/index.html' is a file", ""),
        ("wbe/*.html", "'wbe' is not there", "did you mean 'web'?"),
        ("conf/[x-z]*", "nothing in 'conf' matches '[x-z]*'", "it holds 'a.yaml', 'b.yaml'"),
        ("web/**/*.png", "nothing in 'web' matches '**/*.png'", "it holds 'about.html'"),
        ("zzz", "'zzz' is not there", "it holds 'LICENSE', 'conf', 'web'"),
    ],
)
def test_what_matches_nothing_is_an_error_with_near_names(
    module: Path, source: str, why: str, hint: str
) -> None:
    error = refused(module, Wanted(source, "/x/"))
    assert error.what == f"`files` takes {source!r}, which matches nothing"
    assert error.why == why
    assert hint in error.hint
    assert error.exit_code == 2


@pytest.mark.parametrize("source", ["", "/etc/passwd", "../other", "web/../../x", "a\0b"])
def test_sources_are_patterns_inside_the_module(module: Path, source: str) -> None:
    assert refused(module, Wanted(source, "/x/")).exit_code == 2


@pytest.mark.parametrize("source", ["web/[", "[", "*/a[b-", "web/[]", "web\\/*.html", "[a/b]*"])
def test_what_is_no_pattern_is_refused(module: Path, source: str) -> None:
    error = refused(module, Wanted(source, "/x/"))
    assert error.what == f"`files` takes {source!r}, which is no pattern"
    assert error.why


@pytest.mark.parametrize("target", ["", "srv", "../x", "/srv/../etc", "/a\0b", "./x"])
def test_targets_are_absolute_paths(module: Path, target: str) -> None:
    assert "cannot write to" in refused(module, Wanted("LICENSE", target)).what


def test_a_file_cannot_be_the_images_root(module: Path) -> None:
    assert taken(module, "web/*.js", "/./") == ["app.js"]
    for source in ("web/*.js", "LICENSE"):
        assert "the image's root, a directory" in refused(module, Wanted(source, "/.")).why


def test_a_directory_can_be_the_images_root(module: Path) -> None:
    assert taken(module, "conf", "/") == taken(module, "conf", "/.") == ["a.yaml", "b.yaml"]
    assert taken(module, "con*", "/") == ["conf/", "conf/a.yaml", "conf/b.yaml"]


def test_every_wrong_entry_is_told(module: Path) -> None:
    with pytest.raises(SeveralErrors) as raised:
        tree_of(module, Wanted("a", "/x"), Wanted("web", "/y"), Wanted("/b", "/z"))
    assert len(raised.value.errors) == 2


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made_socket:
        made_socket.bind(os.path.relpath(path))


def _device(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root makes device nodes")
    os.mknod(path, 0o020600, os.makedev(1, 3))


@pytest.mark.parametrize(
    ("make", "noun"), [(_fifo, "a named pipe"), (_socket, "a socket"), (_device, "a device")]
)
@pytest.mark.parametrize("source", ["d", "d/special", "d/*", "**"])
def test_special_files_are_refused_by_name(
    tmp_path: Path, make: Callable[[Path], None], noun: str, source: str
) -> None:
    (tmp_path / "d").mkdir()
    make(tmp_path / "d/special")
    error = refused(tmp_path, Wanted(source, "/x/"))
    assert "'d/special'" in error.what
    assert noun in error.why


def test_a_whiteouts_name_is_refused(tmp_path: Path) -> None:
    made(tmp_path, "d/.wh.x")
    assert ".wh." in str(refused(tmp_path, Wanted("d", "/d")))


def test_what_cannot_be_read_is_an_error_of_the_build(module: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    (module / "web/app.js").chmod(0)
    error = refused(module, Wanted("web", "/x"))
    assert isinstance(error, BuildError)
    assert "web/app.js" in error.what


# --- links --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target", ["index.html", "./img/../index.html", "img", "missing", "img/none", "self"]
)
def test_links_that_stay_are_kept_as_they_are(module: Path, target: str) -> None:
    (module / "web/self").symlink_to(target)
    assert f"www/self->{target}" in taken(module, "web", "/www")


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("web/l", "/etc/passwd"),
        ("web/l", "/www/index.html"),
        ("web/l", "../LICENSE"),
        ("web/l", "../web/index.html"),
        ("web/img/l", "../../conf/a.yaml"),
        ("web/img/l", "old/../../../LICENSE"),
        ("web/l", "up/../../.."),
    ],
)
def test_links_that_leave_are_errors_with_path_and_target(
    module: Path, link: str, target: str
) -> None:
    (module / "web/up").symlink_to("img/old")
    (module / link).symlink_to(target)
    error = refused(module, Wanted("web", "/www"))
    assert repr(link) in error.what
    assert repr(target) in error.what
    assert error.exit_code == 2


def test_a_way_through_other_links_counts(module: Path) -> None:
    (module / "web/deep").symlink_to("img/old")
    # deep/../.. is web itself, though the text alone would lead above it.
    (module / "web/l").symlink_to("deep/../../index.html")
    assert "www/l->deep/../../index.html" in taken(module, "web", "/www")
    (module / "web/far").symlink_to("deep/../../../LICENSE")
    assert "'web/far'" in refused(module, Wanted("web", "/www")).what


def test_links_that_match_lead_only_to_what_matches(tmp_path: Path) -> None:
    made(tmp_path, "lib/x.so.1.2", "lib/readme", "lib/d/f")
    (tmp_path / "lib/x.so").symlink_to("x.so.1.2")
    (tmp_path / "lib/r.so").symlink_to("readme")
    assert taken(tmp_path, "lib/x*", "/l/") == ["l/", "l/x.so->x.so.1.2", "l/x.so.1.2"]
    error = refused(tmp_path, Wanted("lib/*.so", "/l/"))
    assert "'lib/r.so'" in error.what
    assert "is not taken with it" in error.why
    # Under another name a link cannot take along what it leads to.
    assert "'lib/r.so'" in refused(tmp_path, Wanted("lib/r*.so", "/l")).what


def test_a_directory_that_is_renamed_keeps_its_links_inside(tmp_path: Path) -> None:
    made(tmp_path, "dist-1/f")
    (tmp_path / "dist-1/l").symlink_to("../dist-1/f")
    assert taken(tmp_path, "dist-*", "/d/") == [
        "d/", "d/dist-1/", "d/dist-1/f", "d/dist-1/l->../dist-1/f"
    ]  # fmt: skip
    assert "'dist-1/l'" in refused(tmp_path, Wanted("dist-*", "/d")).what


def test_a_link_that_from_names_is_followed_inside_the_module(module: Path) -> None:
    (module / "current").symlink_to("web/img")
    (module / "logo").symlink_to("current/logo.svg")
    assert taken(module, "current", "/i") == taken(module, "web/img", "/i")
    assert taken(module, "current/*.svg", "/i/") == ["i/", "i/logo.svg"]
    tree = tree_of(module, Wanted("logo", "/i/"))
    assert shown(tree) == ["i/", "i/logo"]
    assert content(tree, "i/logo") == b"web/img/logo.svg"


@pytest.mark.parametrize("target", ["/etc", "../outside", "../outside/secret"])
@pytest.mark.parametrize("below", ["", "/*", "/secret"])
def test_a_link_that_from_names_must_not_leave_the_module(
    module: Path, target: str, below: str
) -> None:
    made(module.parent / "outside", "secret")
    (module / "out").symlink_to(target)
    error = refused(module, Wanted(f"out{below}", "/x/"))
    assert "out" in error.what
    assert "secret" not in (error.hint if below != "/secret" else "")


def test_links_to_nothing_and_in_circles_are_errors(module: Path) -> None:
    (module / "gone").symlink_to("nothing")
    (module / "a").symlink_to("b")
    (module / "b").symlink_to("a")
    assert "'gone' is a link to 'nothing'" in refused(module, Wanted("gone", "/x")).why
    assert "circle" in refused(module, Wanted("a", "/x")).why


def test_circles_inside_a_directory_are_kept(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a").symlink_to("b")
    (tmp_path / "d/b").symlink_to("a")
    assert taken(tmp_path, "d", "/d") == ["d/", "d/a->b", "d/b->a"]


# --- changes while it is read -------------------------------------------------------------------


def written(tree: Tree) -> bytes:
    out = io.BytesIO()
    write_tar(tree, out.write, 0)
    return out.getvalue()


def test_a_file_that_becomes_a_link_gives_no_other_content(module: Path) -> None:
    secret = module.parent / "secret"
    secret.write_text("LICENSE"[::-1])
    tree = tree_of(module, Wanted("LICENSE", "/x"))
    (module / "LICENSE").unlink()
    (module / "LICENSE").symlink_to(secret)
    with pytest.raises(BuildError, match="changed"):
        written(tree)


def test_a_directory_that_becomes_a_link_gives_no_other_content(module: Path) -> None:
    other = made(module.parent / "other", "app.js")
    tree = tree_of(module, Wanted("web", "/x"))
    shutil.rmtree(module / "web")
    (module / "web").symlink_to(other)
    with pytest.raises(BuildError, match="changed"):
        written(tree)


def test_other_content_of_the_same_size_is_an_error(module: Path) -> None:
    tree = tree_of(module, Wanted("LICENSE", "/x"))
    (module / "LICENSE").write_text("ESNECIL")
    with pytest.raises(BuildError, match="changed"):
        written(tree)


def test_a_link_is_not_read_through_between_two_looks(module: Path) -> None:
    """A file is turned into a link after its directory was listed and before it is read."""
    secret = module.parent / "secret"
    secret.write_text("secret")
    calls = 0

    def turn() -> None:
        nonlocal calls
        calls += 1
        victim = module / "web/app.js"
        if calls == 3:
            victim.unlink()
            victim.symlink_to(secret)

    with pytest.raises(BuildError, match=r"web/app\.js"):
        choose(str(module), (Wanted("web", "/x"),), turn)
    assert calls == 3


def test_a_pipe_in_a_files_place_does_not_block(module: Path) -> None:
    tree = tree_of(module, Wanted("LICENSE", "/x"))
    (module / "LICENSE").unlink()
    os.mkfifo(module / "LICENSE")
    with pytest.raises(BuildError):
        written(tree)


# --- what was looked at -------------------------------------------------------------------------


def relative(chosen: Chosen, root: Path) -> tuple[list[str], list[str]]:
    return (
        [os.path.relpath(item.path, root) for item in chosen.read],
        [os.path.relpath(item.path, root) for item in chosen.listed],
    )


def test_what_was_looked_at_is_told(module: Path) -> None:
    wanted = (Wanted("web/img", "/i"), Wanted("conf/*.yaml", "/c/"), Wanted("LICENSE", "/l"))
    read, listed = relative(choose(str(module), wanted), module)
    assert read == [
        "LICENSE", "conf/a.yaml", "conf/b.yaml", "web/img/logo.svg", "web/img/old/logo.svg"
    ]  # fmt: skip
    assert listed == ["conf", "web/img", "web/img/old"]


def test_links_and_where_they_lead_are_told(module: Path) -> None:
    (module / "current").symlink_to("web/img")
    (module / "web/img/l").symlink_to("logo.svg")
    chosen = choose(str(module), (Wanted("current", "/i"),))
    assert chosen.links == ((str(module / "web/img/l"), "logo.svg"),)
    assert chosen.leads == ((str(module / "current"), str(module / "web/img")),)
    assert set(chosen.paths()) >= {str(module / "current"), str(module / "web/img/l")}


def test_the_order_is_the_trees_not_the_disks(tmp_path: Path) -> None:
    names = [f"d/{number:03}" for number in range(50)]
    one = tree_of(made(tmp_path / "1", *names), Wanted("d", "/d"))
    other = tree_of(made(tmp_path / "2", *reversed(names)), Wanted("d", "/d"))
    assert one.digest == other.digest
    assert written(one) == written(other)


def test_ten_thousand_files_are_quick(tmp_path: Path) -> None:
    for directory in range(100):
        place = tmp_path / f"d/{directory:02}/inner"
        place.mkdir(parents=True)
        for number in range(100):
            (place / f"{number}").write_bytes(b"%d" % number)
    began = time.process_time()
    tree = tree_of(tmp_path, Wanted("d", "/d"))
    digest = tree.digest
    took = time.process_time() - began
    assert len(tree.entries) == 10_201
    assert len(digest.hex) == 64
    # About 0.7 s by itself; the machine may be busy.
    assert took < 4


# --- links, against the file system -------------------------------------------------------------

_NAMES = st.sampled_from(["a", "b", "c", "d/e", "d/f", "d/g/h"])
_PARTS = st.lists(st.sampled_from(["..", "a", "b", "c", "d", "e", "f", "g", "h", "."]), min_size=1)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(_NAMES, _PARTS, min_size=1))
def test_no_link_that_is_taken_leads_out_of_the_tree(links: dict[str, list[str]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place).resolve()
        (root / "t/d/g").mkdir(parents=True)
        for name, parts in links.items():
            (root / "t" / name).symlink_to("/".join(parts))
        leaves = [name for name in links if not _stays(root / "t", root / "t" / name)]
        try:
            found = taken(root, "t", "/t")
        except UsageError as error:
            # Refused: some link leaves the tree, or climbs above it on its way.
            assert "symbolic link" in error.what
            assert leaves or any(".." in parts for parts in links.values())
        else:
            assert leaves == []
            assert sum("->" in line for line in found) == len(links)


def _stays(top: Path, link: Path) -> bool:
    """Whether the link ends below `top`, or nowhere, as it leads to itself."""
    place, todo, links = Path("/"), list(link.parts[1:]), 0
    while todo:
        part = todo.pop(0)
        if part == "..":
            place = place.parent
        elif (place / part).is_symlink():
            todo = [*(place / part).readlink().parts, *todo]
            links += 1
            if links > 40:
                return True
        else:
            # What is not there is a name like others: it may be there in the image.
            place /= part
    return place.is_relative_to(top)
