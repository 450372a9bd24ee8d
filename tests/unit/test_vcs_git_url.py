# SPDX-License-Identifier: Apache-2.0
"""Git URLs of the Dockerfile language: every form, and what is none or refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import UsageError
from wherry.vcs.git_url import GitSource, check_source, is_commit, parse_git_url

COMMIT = "0123456789abcdef0123456789abcdef01234567"
IT = "https://example.com/team/it.git"
SHORT = "git@example.com:team/it.git"

PLAIN = {
    IT: GitSource(IT),
    "http://example.com/it.git": GitSource("http://example.com/it.git"),
    "HTTPS://example.com/it.git": GitSource("https://example.com/it.git"),
    "https://me:pw@example.com:8443/it.git": GitSource("https://me:pw@example.com:8443/it.git"),
    "https://[::1]:80/it.git": GitSource("https://[::1]:80/it.git"),
    "https://example.com/a b.git": GitSource("https://example.com/a%20b.git"),
    "https://example.com/it%2Egit": GitSource("https://example.com/it%2Egit"),
    "git://example.com/it": GitSource("git://example.com/it"),
    "ssh://git@example.com:2222/~/it": GitSource("ssh://git@example.com:2222/~/it"),
    SHORT: GitSource(SHORT),
    "git@example.com:it": GitSource("git@example.com:it"),
    "other_Funky-user52@example.com:/srv/odd:it.git/": GitSource(
        "other_Funky-user52@example.com:/srv/odd:it.git/"
    ),
    "github.com/team/it": GitSource("https://github.com/team/it", is_ambiguous=True),
    "github.com/team/it#v1": GitSource("https://github.com/team/it", "v1", is_ambiguous=True),
    f"{IT}#": GitSource(IT),
    f"{IT}#main": GitSource(IT, "main"),
    f"{IT}#feature/x": GitSource(IT, "feature/x"),
    f"{IT}#refs/pull/7/head": GitSource(IT, "refs/pull/7/head"),
    f"{IT}#{COMMIT}": GitSource(IT, COMMIT),
    f"{IT}#main:dir/sub": GitSource(IT, "main", "dir/sub"),
    f"{IT}#:/dir/": GitSource(IT, "", "dir"),
    f"{IT}#main:./a//b/../c/": GitSource(IT, "main", "a/c"),
    f"{IT}#a%2Fb:c%20d": GitSource(IT, "a/b", "c d"),
    f"{SHORT}#v1:hack": GitSource(SHORT, "v1", "hack"),
    f"{IT}?ref=v1&subdir=/dir": GitSource(IT, "v1", "dir"),
    f"{IT}?subdir=dir#v1": GitSource(IT, "v1", "dir"),
    f"{IT}?ref=v1#v1": GitSource(IT, "v1"),
    f"{IT}?tag=v1": GitSource(IT, "refs/tags/v1"),
    f"{IT}?tag=refs/tags/v1": GitSource(IT, "refs/tags/v1"),
    f"{IT}?branch=dev": GitSource(IT, "refs/heads/dev"),
    f"{IT}?branch=dev&ref=refs/heads/dev": GitSource(IT, "refs/heads/dev"),
    f"{IT}?checksum=abc123": GitSource(IT, checksum="abc123"),
    f"{IT}?commit=abc123": GitSource(IT, checksum="abc123"),
    f"{IT}?keep-git-dir=1&submodules=False": GitSource(IT, keep_git_dir=True, submodules=False),
    f"{IT}?keep-git-dir&submodules": GitSource(IT, keep_git_dir=True, submodules=True),
    f"{IT}?mtime=commit": GitSource(IT, times="commit"),
    f"{IT}?fetch-by-commit&checksum={COMMIT}#dev": GitSource(
        IT, "dev", checksum=COMMIT, fetch_by_commit=True
    ),
    f"{IT}?fetch-by-commit=false": GitSource(IT),
    f"{IT}?%zz=1": GitSource(IT),
    f"{SHORT}?subdir=/dir#v1": GitSource(SHORT, "v1", "dir"),
    "github.com/team/it?tag=v1": GitSource(
        "https://github.com/team/it", "refs/tags/v1", is_ambiguous=True
    ),
}


@pytest.mark.parametrize("text", PLAIN)
def test_urls_of_all_forms(text: str) -> None:
    assert parse_git_url(text) == PLAIN[text]


NONE = (
    "", ".", ".git", "./.git", "../it.git", "dir/it.git", "/srv/it.git", "https://example.com/",
    "https://example.com/it", "https://example.com/it.git/", "https://example.com/it.git.tar",
    "http://example.com/it.git:#branch", "example.com/team/it.git", "example.com:team/it.git",
    "ftp://example.com/it.git", "file:///srv/it.git", "ext::sh -c x", "--upload-pack=x",
    "https://exa mple.com/it.git", "https://example.com/%zz.git", "https://example.com/it.git#%z",
    "https://example.com\n/it.git", "git@example.com:it\n", "git+ssh://example.com/it.git",
    "bad:user@example.com:it.git", "git@example.com", "git@exa/mple:it", "git@example.com:it?a;b",
    "https://a\\b/it.git", "https://host:port/it.git",
)  # fmt: skip


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_git_url(text: str) -> None:
    assert parse_git_url(text) is None


REFUSED = {
    f"{IT}?x=1": "unknown query 'x'",
    f"{IT}?re=1": "unknown query 're'",
    f"{IT}?ref=a&ref=b": "several values for 'ref'",
    f"{IT}?ref=": "no value for 'ref'",
    f"{IT}?ref=a#b": "names two refs: 'b' and 'a'",
    f"{IT}?ref=a&tag=b": "names two refs",
    f"{IT}?tag=a&branch=b": "both a tag and a branch",
    f"{IT}?subdir=a#x:b": "names two directories",
    f"{IT}?checksum=a&commit=b": "names two commits",
    f"{IT}?keep-git-dir=maybe": "keep-git-dir=maybe",
    f"{IT}?submodules=2": "submodules=2",
    f"{IT}?fetch-by-commit=x": "fetch-by-commit=x",
    f"{IT}?mtime=now": "mtime=now",
    f"{IT}?checksum=xyz": "not the checksum",
    f"{IT}#main:../..": "leads out",
    f"{IT}?subdir=a/../../b": "leads out",
    f"{IT}#-x": "not a git branch",
    f"{IT}#--upload-pack=touch x": "not a git branch",
    f"{IT}?ref=a:b": "not a git branch",
    f"{IT}?ref=%2Bx:y": "not a git branch",
    f"{IT}?ref=a b": "not a git branch",
    f"{IT}#a..b": "not a git branch",
    "https:///it.git": "not the URL",
    "https://-x/it.git": "not the URL",
    "https://-x@host/it.git": "not the URL",
    "ssh://-oProxyCommand=x/it": "not the URL",
    "git@-x:it": "not the URL",
    "git@example.com:-x": "not the URL",
    "-x@example.com:it": "not the URL",
    "git@ext::sh": "not the URL",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_git_url(text)
    assert REFUSED[text] in caught.value.what


def test_a_near_name_is_told() -> None:
    with pytest.raises(UsageError) as caught:
        parse_git_url(f"{IT}?sub-dir=x")
    assert "'subdir'" in caught.value.hint


@pytest.mark.parametrize(
    "text", ["https://me:hidden@example.com/it.git", "https://hidden@example.com/it.git"]
)
def test_credentials_are_not_shown(text: str) -> None:
    source = parse_git_url(text)
    assert source is not None
    assert source.remote == text
    assert "hidden" not in repr(source) + source.shown
    assert source.shown == "https://example.com/it.git"
    with pytest.raises(UsageError) as caught:
        parse_git_url(f"{text}?unknown=1")
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("directory", ["/", "a/", "a//b", "./a", "../a", "a/..", "a/../b"])
def test_a_source_made_by_hand_needs_a_normal_directory(directory: str) -> None:
    with pytest.raises(UsageError):
        check_source(GitSource(IT, directory=directory))


def test_commit_ids() -> None:
    assert is_commit(COMMIT)
    assert is_commit("a" * 64)
    for text in (COMMIT.upper(), COMMIT[:-1], COMMIT + "0", "x" * 40, f"{COMMIT}\n", ""):
        assert not is_commit(text)


LETTERS = st.text(alphabet="ab/.:@#?=&%-_~[]\\ \n+2é\udcff", max_size=40)


@given(LETTERS, st.sampled_from(["", "https://h/x.git", "git@h:x", "ssh://h/x", "github.com/a"]))
def test_any_text_is_taken_or_refused(text: str, front: str) -> None:
    try:
        found = parse_git_url(front + text)
    except UsageError:
        return
    if found is not None:
        # What is given to git is of the four kinds, and cannot be an option.
        check_source(found)
        assert not found.remote.startswith("-")
        assert not found.ref.startswith("-")
        assert ".." not in found.directory.split("/")
