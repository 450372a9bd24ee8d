# SPDX-License-Identifier: Apache-2.0
"""What a COPY takes, what it says of missing sources, and the digest of what it would write."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tree_samples import MemoryFiles, directory, file, link, tree
from wherry.errors import UsageError
from wherry.fstree.copying import CopySpec, Target
from wherry.fstree.missing import NotFound
from wherry.fstree.selection import Selection, selection_digest
from wherry.fstree.tree import Directory, Entry, File, Inline, Special
from wherry.oci.digest import Digest

_TREE = tree(
    "a.txt",
    "b.txt",
    "c.md",
    "d/one",
    "d/sub/two",
    "d/sub/deep/three",
    "e/sub/two",
    link("al", "a.txt"),
    link("dl", "d"),
    link("broken", "/nowhere"),
    link("d/up", "../a.txt"),
    "[x]/f",
)


def _taken(path: str, source: MemoryFiles = _TREE, **how: object) -> list[str]:
    """The sources as NAME=PATH, each with what is taken below it; parents end with a slash."""
    selection = Selection(path, **how)  # type: ignore[arg-type] # the tests name fields
    found: list[str] = []
    for top in selection.sources(source):
        found.append(f"{top.name}={top.path}")
        steps = list(selection.steps(source, top))[1:]
        found += [step.below + "/" * step.is_parent for step in steps]
    return found


@pytest.mark.parametrize(
    "path", ["a.txt", "/a.txt", "./a.txt", "a.txt/", "/../d/.././a.txt", "//a.txt"]
)
def test_paths_begin_at_the_root_and_stay_below_it(path: str) -> None:
    assert _taken(path) == ["a.txt=a.txt"]


def test_links_on_the_way_and_in_the_last_place_are_followed() -> None:
    assert _taken("/al") == ["al=a.txt"]
    assert _taken("/dl/one") == ["one=d/one"]
    assert _taken("/dl")[:2] == ["dl=d", "one"]


def test_links_below_a_source_are_not_followed() -> None:
    assert "up" in _taken("/d")


def test_a_literal_path_has_no_wildcards_and_is_not_followed() -> None:
    assert _taken("/[x]", literal=True) == ["[x]=[x]", "f"]
    assert _taken("/al", literal=True) == ["al=al"]


@pytest.mark.parametrize(
    ("path", "sources"),
    [
        ("/*.txt", ["a.txt", "b.txt"]),
        ("/?.*", ["a.txt", "b.txt", "c.md"]),
        ("/[a-b].txt", ["a.txt", "b.txt"]),
        ("/a[l]", ["a.txt"]),
        ("/*/sub", ["d/sub", "e/sub"]),
        ("/d/*/two", ["d/sub/two"]),
        ("/dl/s*", ["d/sub"]),
        ("/**/two", []),
        ("/z*", []),
        ("/d/one?", []),
    ],
)
def test_wildcards_stay_within_a_name_and_may_match_nothing(path: str, sources: list[str]) -> None:
    found = Selection(path).sources(_TREE)
    assert [source.path for source in found] == sources


def test_below_what_matches_nothing_matches_again() -> None:
    nested = tree("a/a/a", "a/b")
    # A class may stand for a slash: then a name of any depth could match.
    assert [source.path for source in Selection("/a*").sources(nested)] == ["a"]
    assert [source.path for source in Selection("/a[^x]*").sources(nested)] == ["a/a", "a/b"]


@pytest.mark.parametrize("path", ["/[a", "/a[", "/d/[", "/*[]x]"])
def test_a_bad_pattern_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="not a pattern"):
        _taken(path)


def test_excludes_count_below_a_source_only() -> None:
    assert _taken("/*.txt", excludes=("*.txt",)) == ["a.txt=a.txt", "b.txt=b.txt"]
    assert _taken("/d", excludes=("sub",)) == ["d=d", "one", "up"]
    assert _taken("/d", excludes=("d/sub", "*/two")) == [
        "d=d", "one", "sub", "sub/deep", "sub/deep/three", "up",
    ]  # fmt: skip


def test_directories_on_the_way_to_an_exception_come_as_parents() -> None:
    assert _taken("/d", excludes=("*", "!sub/deep")) == [
        "d=d", "sub/", "sub/deep", "sub/deep/three",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "taken"),
    [
        ("/d/sub/two", ["=", "d/", "d/sub/", "d/sub/two"]),
        ("/d/./sub/two", ["d=d", "sub/", "sub/two"]),
        ("/./d/one", ["=", "d/", "d/one"]),
        ("/d/sub/./", None),
        ("/*/sub/two", ["=", "d/", "d/sub/", "d/sub/two", "e/", "e/sub/", "e/sub/two"]),
        ("/**/two", ["=", "d/", "d/sub/", "d/sub/two", "e/", "e/sub/", "e/sub/two"]),
        ("/[de]/./sub/two", ["d=d", "sub/", "sub/two", "e=e", "sub/", "sub/two"]),
        ("/a.*/./x", []),
        ("/dl", ["=", "dl"]),
        ("/d/sub", ["=", "d/", "d/sub", "d/sub/deep", "d/sub/deep/three", "d/sub/two"]),
    ],
)
def test_parents(path: str, taken: list[str] | None) -> None:
    if taken is None:
        with pytest.raises(NotFound):
            selection_digest(_TREE, path, parents=True)
        return
    assert _taken(path, parents=True) == taken


@pytest.mark.parametrize(
    ("path", "parents", "why", "hint"),
    [
        ("/a.tx", False, "", "did you mean 'a.txt'?"),
        ("/d/sub/too", False, "", "did you mean 'two'?"),
        ("/dd/sub/two", False, "/dd is not there", "did you mean 'd'?"),
        ("/a.txt/b", False, "/a.txt is a file", ""),
        ("/a.txt/*", False, "/a.txt is a file", ""),
        ("/zz/*", False, "", ""),
        ("/broken", False, "it is a link to /nowhere, which is not there", ""),
        ("/broken/x", False, "/broken is a link to /nowhere, which is not there", ""),
        ("/d/zz", True, "", ""),
        ("/a.txt/./b", True, "/a.txt is a file", ""),
        ("/dl/one", True, "with --parents links on the way are not followed: /dl is one", ""),
        (
            "/",
            True,
            "with --parents a source is something in the directory, not all of it",
            "write /./* for everything in it",
        ),
    ],
)
def test_a_missing_source_is_told_with_what_is_there(
    path: str, parents: bool, why: str, hint: str
) -> None:
    with pytest.raises(NotFound, match="is not there to be copied") as caught:
        selection_digest(_TREE, path, parents=parents)
    assert (caught.value.why, caught.value.hint) == (why, hint)
    with pytest.raises(NotFound) as copied:
        Target(tree(), lambda _: b"").copy(_TREE, CopySpec(path, "/x", parents=parents))
    assert str(copied.value) == str(caught.value)


def test_a_missing_source_in_an_empty_directory() -> None:
    empty = tree("d/")
    with pytest.raises(NotFound, match="/d/x is not there") as caught:
        selection_digest(empty, "/d/x")
    assert caught.value.why == "/d is empty"
    with pytest.raises(NotFound) as caught:
        selection_digest(tree(), "/x")
    assert caught.value.why == "the tree is empty"


def test_a_required_path_that_is_excluded() -> None:
    with pytest.raises(NotFound) as caught:
        selection_digest(_TREE, "/d/one", parents=True, excludes=("**/one",))
    assert caught.value.why == "--exclude leaves it out"


def test_an_ignore_rule_can_be_blamed() -> None:
    with pytest.raises(NotFound) as caught:
        selection_digest(_TREE, "/d/notes.md")
    error = caught.value.hidden_by("**/*.md", ".dockerignore")
    assert error.path == "/d/notes.md"
    assert error.why == "the rule '**/*.md' of .dockerignore leaves it out"
    assert error.hint == "add !d/notes.md to .dockerignore"
    assert error.exit_code == 2
    error = caught.value.hidden_by("it is a secret", "")
    assert (error.path, error.why, error.hint) == ("/d/notes.md", "it is a secret", "")


def test_links_in_a_circle_are_refused() -> None:
    with pytest.raises(UsageError, match="links"):
        selection_digest(tree(link("a", "b"), link("b", "a")), "/a")


def _digest(*entries: Entry | str, path: str = "/d", **how: object) -> Digest | None:
    return selection_digest(tree(*entries), path, **how)  # type: ignore[arg-type] # the tests name fields


def test_the_digest_is_none_where_wildcards_match_nothing() -> None:
    assert _digest("d/f", path="/z*") is None
    assert _digest("d/f", path="/d*") is not None


_BASE = file("d/f", "data", 0o644, uid=1, gid=2, mtime=5)


@pytest.mark.parametrize(
    "other",
    [
        file("d/g", "data", 0o644, uid=1, gid=2),
        file("d/f", "date", 0o644, uid=1, gid=2),
        file("d/f", "data", 0o600, uid=1, gid=2),
        file("d/f", "data", 0o644, uid=3, gid=2),
        file("d/f", "data", 0o644, uid=1, gid=3),
        file("d/f", "data", 0o644, uid=1, gid=2, xattrs=(("security.capability", b"x"),)),
        link("d/f", "data", uid=1, gid=2),
        directory("d/f", 0o644, uid=1, gid=2),
        Special("d/f", "fifo", 0, 0, 0o644, 1, 2),
    ],
)
def test_whatever_a_copy_would_write_changes_the_digest(other: Entry) -> None:
    assert _digest(_BASE) != _digest(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Special("d/f", "char", 1, 2), Special("d/f", "char", 1, 3)),
        (Special("d/f", "char", 1, 2), Special("d/f", "block", 1, 2)),
        (link("d/f", "a"), link("d/f", "b")),
        (directory("d/f", 0o700), directory("d/f", 0o711)),
    ],
)
def test_the_facts_of_other_entries_change_the_digest(one: Entry, other: Entry) -> None:
    assert _digest(one) != _digest(other)


@pytest.mark.parametrize(
    "other",
    [
        replace(_BASE, mtime=6),
        replace(_BASE, mtime=None),
        replace(_BASE, inode=7),
        # No layer takes other attributes.
        replace(_BASE, xattrs=(("user.note", b"x"),)),
    ],
)
def test_what_no_copy_writes_does_not_change_the_digest(other: Entry) -> None:
    assert _digest(_BASE) == _digest(other)


def test_files_outside_the_selection_and_the_source_itself_do_not_count() -> None:
    assert _digest("d/f") == _digest("d/f", "e", directory("d", 0o700))
    assert _digest("d/f", "d/x.md", excludes=("*.md",)) == _digest("d/f")
    # Of a directory the contents are copied: its name is nowhere.
    assert _digest("d/f") == selection_digest(tree(file("e/f", "d/f")), "/e")
    assert _digest("d/f") == _digest("d/f", path="/d*")
    assert _digest(file("f", "x"), path="/f") != _digest(file("g", "x"), path="/g")
    # A literal path is copied with the directory itself.
    assert _digest("d/f", literal=True) != _digest("d/f", directory("d", 0o700), literal=True)


def test_a_followed_link_counts_as_its_target_under_its_own_name() -> None:
    assert _digest(link("l", "f"), file("f", "x"), path="/l") == _digest(file("l", "x"), path="/l")


def test_names_of_one_file_are_told_from_copies() -> None:
    copies = _digest(file("d/a", "x"), file("d/b", "x"), file("d/c", "x"))
    first_two = _digest(file("d/a", "x", inode=1), file("d/b", "x", inode=1), file("d/c", "x"))
    last_two = _digest(file("d/a", "x"), file("d/b", "x", inode=9), file("d/c", "x", inode=9))
    assert len({copies, first_two, last_two}) == 3
    # A number that is met once in a source says nothing, and which number it is neither.
    assert copies == _digest(file("d/a", "x", inode=4), file("d/b", "x"), file("d/c", "x"))
    assert last_two == _digest(
        file("d/a", "x"), file("d/b", "x", inode=2), file("d/c", "x", inode=2)
    )


def test_parents_that_are_made_count_with_their_mode() -> None:
    def digest(mode: int) -> Digest | None:
        return _digest(directory("d", mode), "d/f", "d/g", path="/d/f", parents=True)

    assert digest(0o755) != digest(0o700)


_NAMES = st.sampled_from(["a", "b", "c", "a\nb", "\udc80"])
_ENTRIES = st.lists(
    st.builds(
        lambda parts, kind, data: {
            "f": file("/".join(parts), data),
            "d": directory("/".join(parts), 0o700 if data else 0o755),
            "l": link("/".join(parts), data or "x"),
        }[kind],
        st.lists(_NAMES, min_size=1, max_size=3),
        st.sampled_from("fdl"),
        st.sampled_from(["", "a", "a\nb"]),
    ),
    max_size=6,
)


@given(_ENTRIES, _ENTRIES)
def test_digests_are_equal_exactly_where_copies_are(one: list[Entry], other: list[Entry]) -> None:
    results = []
    for entries in (one, other):
        source = _possible(entries)
        target = Target(tree(), lambda _: b"")
        target.copy(source, CopySpec("/", "/x"))
        written = frozenset(target.changes())
        results.append((written, selection_digest(source, "/")))
    assert (results[0][0] == results[1][0]) == (results[0][1] == results[1][1])


def _possible(entries: list[Entry]) -> MemoryFiles:
    """Those of the entries that can be in one tree; the first one at a path counts."""
    kept: dict[str, Entry] = {}
    for entry in entries:
        parents = [entry.path[:at] for at, letter in enumerate(entry.path) if letter == "/"]
        if entry.path in kept or any(not _is_free(kept, parent) for parent in parents):
            continue
        if not isinstance(entry, Directory) and any(
            path.startswith(f"{entry.path}/") for path in kept
        ):
            continue
        kept[entry.path] = entry
    return MemoryFiles(kept.values())


def _is_free(kept: dict[str, Entry], path: str) -> bool:
    return isinstance(kept.get(path, Directory(path)), Directory)


def test_a_large_tree_is_digested_without_reading_it() -> None:
    class Known(MemoryFiles):
        def digest(self, file: File) -> Digest:
            return Digest("sha256", f"{file.content.size:064x}")

    files = [File(f"s/{n % 100}/{n}", Inline(b"")) for n in range(2_000)]
    assert selection_digest(Known(files), "/s") == selection_digest(Known(files[::-1]), "/s")
