# SPDX-License-Identifier: Apache-2.0
"""COPY, ADD and WORKDIR as file ops: paths, flags, sources from elsewhere, files in place."""

from __future__ import annotations

import pytest

from lowering import (
    World,
    changes_of,
    history_of,
    lowered,
    problems_of,
)
from wherry.graph.ops import (
    Copy,
    FileAction,
    FileOp,
    GitOp,
    HttpOp,
    LocalOp,
    MakeDirectory,
    MergeOp,
    WriteFile,
)
from wherry.oci.image import RunConfig

HEX = "a" * 64


def actions_of(line: str, before: str = "") -> tuple[FileAction, ...]:
    """What the last file op of a stage does."""
    return changes_of(lowered(f"FROM x\n{before}\n{line}\n"))[-1].actions


def copy_of(line: str, before: str = "") -> Copy:
    """The first copy that an instruction makes."""
    (first, *_) = actions_of(line, before)
    assert isinstance(first, Copy)
    return first


@pytest.mark.parametrize(("written", "destination"), [
    ("/a", "/a"), ("/a/", "/a/"), ("a", "/w/a"), (".", "/w/"), ("./", "/w/"), ("a/.", "/w/a/"),
    ("..", "/"), ("../b/", "/b/"), ("/a/../b", "/b"), ("//a//b//", "/a/b/"), ("/", "/"),
    ("/.", "/"), ("$D/x", "/d/x"), ("$NONE", "/w/"), ("../../..", "/"),
])  # fmt: skip
def test_destinations(written: str, destination: str) -> None:
    assert copy_of(f"COPY a {written}", "WORKDIR /w\nENV D=/d").destination == destination


@pytest.mark.parametrize(("written", "path"), [
    ("a", "/a"), ("/a", "/a"), ("./a/", "/a"), ("../../a", "/a"), (".", "/"), ("a*/?.c", "/a*/?.c"),
    ("/..//a", "/a"), ("$D/b", "/d/b"), ("a/../..", "/"),
])  # fmt: skip
def test_sources_do_not_leave_their_root(written: str, path: str) -> None:
    assert copy_of(f"COPY {written} /", "ENV D=d").path == path


@pytest.mark.parametrize(("written", "path"), [
    ("a/b", "/a/b"), ("a/./b/c", "/a/./b/c"), ("./b", "/b"), ("/a/../c/./d/../e", "/c/./e"),
    ("../x/./**/y", "/x/./**/y"), ("/./b", "/./b"), ("a/./", "/a/./"),
])  # fmt: skip
def test_the_pivot_of_parents_is_kept(written: str, path: str) -> None:
    copy = copy_of(f"COPY --parents {written} /")
    assert (copy.path, copy.parents) == (path, True)


def test_flags() -> None:
    copy = copy_of(
        "COPY --chown=$U:g --chmod=u+x --exclude=*.o --exclude=$U a /", "ENV U=me\nUSER you"
    )
    assert (copy.owner, copy.mode) == ("me:g", "u+x")
    # Patterns are not expanded, as in BuildKit; files do not become the user's own.
    assert copy.excludes == ("*.o", "$U")
    assert copy_of("COPY a /", "USER you").owner == ""


def test_only_add_unpacks() -> None:
    assert not copy_of("COPY a.tar /").unpack
    assert copy_of("ADD a.tar /").unpack
    assert not copy_of("ADD --unpack=false a.tar /").unpack


def test_several_sources_are_copied_in_order() -> None:
    assert [action.path for action in actions_of("COPY a b c /d/") if isinstance(action, Copy)] == [
        "/a", "/b", "/c",
    ]  # fmt: skip


def test_lines_of_the_history() -> None:
    result = lowered(
        "FROM x\nENV U=me\nCOPY --chown=$U --chmod=7 --exclude=z a $U ./b\nADD --link a /\n"
        "COPY --parents a <<E b /\nz\nE\n"
    )
    assert history_of(result)[2:] == [
        "+ COPY --chown=me --chmod=7 a me ./b # wherry",
        "+ ADD a / # wherry",
        "+ COPY --parents a b <<E / # wherry",
    ]


class TestLink:
    def test_it_is_a_layer_of_its_own(self) -> None:
        result = lowered("FROM x\nCOPY --link a b /\n")
        layer, merge = result.graph.vertices[-2:]
        assert isinstance(layer.op, FileOp)
        assert layer.op.alone
        assert [action.source for action in layer.op.actions if isinstance(action, Copy)] == [1, 1]
        assert [type(result.graph.vertices[i].op) for i in layer.inputs] == [LocalOp]
        assert isinstance(merge.op, MergeOp)
        assert merge.inputs == (0, len(result.graph.vertices) - 2)
        assert result.graph.image.layers[-1].vertex == len(result.graph.vertices) - 1

    @pytest.mark.parametrize("text", [
        "FROM x\nCOPY --link --chmod=644 a /\n", "FROM x\nCOPY --link=false a /\n",
        "FROM scratch\nCOPY --link a /\n",
    ])  # fmt: skip
    def test_where_it_makes_no_difference(self, text: str) -> None:
        (op,) = changes_of(lowered(text))
        assert not op.alone


class TestDownloads:
    def test_a_file(self) -> None:
        result = lowered(f"FROM x\nADD --checksum=sha256:{HEX} https://h/d/a%20b?c=d#e /t/\n")
        url = "https://h/d/a%20b?c=d#e"
        source, change = result.graph.vertices[-2:]
        assert source.op == HttpOp(url, f"sha256:{HEX}", "a b")
        assert change.inputs == (0, 1)
        (copy,) = changes_of(result)[0].actions
        assert copy == Copy(1, "/a b", "/t/", literal=True)

    @pytest.mark.parametrize(("url", "name"), [
        ("http://h", "__unnamed__"), ("http://h/", "__unnamed__"), ("http://h/a/b/", "b"),
        ("http://h/a/..", "__unnamed__"), ("http://h/[x", "[x"), ("http://[h/x", "__unnamed__"),
    ])  # fmt: skip
    def test_its_name(self, url: str, name: str) -> None:
        copy = copy_of(f"ADD {url} /")
        assert copy.path == f"/{name}"

    def test_it_is_unpacked_only_where_that_is_said(self) -> None:
        assert not copy_of("ADD http://h/a.tar /").unpack
        assert copy_of("ADD --unpack http://h/a.tar /").unpack

    @pytest.mark.parametrize(("flags", "message"), [
        ("--checksum=sha256:zz", "--checksum: "), ("--checksum=abc", "--checksum: "),
    ])  # fmt: skip
    def test_checksums_that_are_none(self, flags: str, message: str) -> None:
        (problem,) = problems_of(f"FROM x\nADD {flags} http://h/a /\n")
        assert problem.message.startswith(message)
        assert problem.hint

    def test_a_checksum_may_be_a_variable(self) -> None:
        result = lowered(f"FROM x\nARG S=sha256:{HEX}\nADD --checksum=$S http://h/a /\n")
        assert [v.op.checksum for v in result.graph.vertices if isinstance(v.op, HttpOp)] == [
            f"sha256:{HEX}"
        ]


class TestGit:
    def op_of(self, line: str) -> GitOp:
        (op,) = [
            vertex.op
            for vertex in lowered(f"FROM x\n{line}\n").graph.vertices
            if isinstance(vertex.op, GitOp)
        ]
        return op

    def test_a_tree(self) -> None:
        line = "ADD https://h/a.git#main:docs /d"
        assert self.op_of(line) == GitOp("https://h/a.git", "main", "docs", keep_git_dir=False)
        assert copy_of(line) == Copy(1, "/", "/d", literal=True)

    @pytest.mark.parametrize(
        "url", ["git@h.example:a/b.git", "git://h/a", "ssh://git@h/a", "http://h/a.git"]
    )
    def test_forms_of_urls(self, url: str) -> None:
        assert self.op_of(f"ADD {url} /d").remote == url

    def test_flags_and_queries(self) -> None:
        assert self.op_of("ADD --keep-git-dir https://h/a.git /d").keep_git_dir
        op = self.op_of("ADD https://h/a.git?keep-git-dir=1&submodules=0&ref=v1&checksum=abc /d")
        assert (op.keep_git_dir, op.submodules, op.ref, op.checksum) == (True, False, "v1", "abc")
        assert self.op_of("ADD --checksum=abc https://h/a.git /d").checksum == "abc"

    @pytest.mark.parametrize(("line", "message"), [
        ("ADD --keep-git-dir=false https://h/a.git?keep-git-dir=1 /", "--keep-git-dir and"),
        ("ADD --checksum=abc https://h/a.git?checksum=abd /", "--checksum and checksum="),
        ("ADD https://h/a.git?what=1 /", "the git URL has the unknown query 'what'"),
        ("COPY https://h/a.git /", "COPY takes no git repository"),
        ("COPY git@h:a.git /", "COPY takes no git repository"),
        ("COPY http://h/a /", "COPY takes no URL"),
    ])  # fmt: skip
    def test_refused(self, line: str, message: str) -> None:
        (problem,) = problems_of(f"FROM x\n\n{line}\n")
        assert problem.message.startswith(message)
        assert problem.range.start.line == 3

    @pytest.mark.parametrize("path", ["github.com/a/b", "a@b", "./git@h:a", "x://y"])
    def test_what_could_be_a_path_is_one(self, path: str) -> None:
        assert copy_of(f"ADD {path} /d").path == "/" + path.removeprefix("./").replace("//", "/")


class TestInPlace:
    def test_files_come_after_paths(self) -> None:
        text = "ENV A=1\nCOPY <<one a <<'two' /d/\n$A \"$B\" \\$A\none\n$A\ntwo"
        assert actions_of(text) == (
            Copy(1, "/a", "/d/"),
            WriteFile("one", b'1 "" $A\n', "/d/"),
            WriteFile("two", b"$A\n", "/d/"),
        )

    def test_tabs_and_flags(self) -> None:
        text = "COPY --chown=1 --chmod=600 <<-E /f\n\t\ta\n\tb\n c\n\tE"
        assert actions_of(text) == (WriteFile("E", b"a\nb\n c\n", "/f", "1", "600"),)

    def test_bytes_stay_what_they_were(self) -> None:
        (write,) = actions_of("COPY <<E /f\n\udcff\nE")
        assert isinstance(write, WriteFile)
        assert write.data == b"\xff\n"


class TestWorkdir:
    def test_it_makes_the_directory_for_the_user(self) -> None:
        assert actions_of("USER a:b\nWORKDIR /x//y/../z/") == (MakeDirectory("/x/z", 0o755, "a:b"),)

    def test_the_directory_of_a_base_is_not_made(self) -> None:
        world = World({"x": RunConfig(working_dir="/w")})
        result = lowered("FROM x\nCOPY a b\n", world=world)
        (op,) = changes_of(result)
        assert op.actions == (Copy(1, "/a", "/w/b"),)


@pytest.mark.parametrize(("line", "message"), [
    ("COPY --chmod=888 a /", "--chmod=888 is no mode"),
    ("COPY --chmod=10000 a /", "--chmod=10000 is no mode"),
    ("COPY --chmod=$NONE! a /", "--chmod=! is no mode"),
    (f"ADD --checksum=sha256:{HEX} a /", "--checksum is for sources from the web and git"),
    (f"ADD --checksum=sha256:{HEX} http://h/a http://h/b /", "--checksum is for one source"),
])  # fmt: skip
def test_refused(line: str, message: str) -> None:
    (problem,) = problems_of(f"FROM x\n{line}\n")
    assert problem.message.startswith(message)
    assert problem.hint
    assert problem.range.start.line == 2


def test_one_bad_instruction_does_not_hide_the_next() -> None:
    text = "FROM x\nCOPY --chmod=9 a /\nCOPY http://h/a /\nSTOPSIGNAL 0\nEXPOSE x\n"
    assert [problem.range.start.line for problem in problems_of(text)] == [2, 3, 4, 5]
