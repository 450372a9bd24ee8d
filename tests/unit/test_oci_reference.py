# SPDX-License-Identifier: Apache-2.0
"""References as Docker reads them: what is one, what is none, and that it can be read again."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wherry.errors import UsageError
from wherry.oci.digest import Digest, sha256
from wherry.oci.reference import Reference, parse_reference

SHA = str(sha256(b""))


@pytest.mark.parametrize(
    ("text", "expected", "familiar"),
    [
        ("movies", ("docker.io", "library/movies", "latest"), "movies:latest"),
        ("movies:1.2", ("docker.io", "library/movies", "1.2"), "movies:1.2"),
        ("shop/movies", ("docker.io", "shop/movies", "latest"), "shop/movies:latest"),
        ("docker.io/movies", ("docker.io", "library/movies", "latest"), "movies:latest"),
        ("docker.io/library/movies", ("docker.io", "library/movies", "latest"), "movies:latest"),
        ("index.docker.io/a/b:c", ("docker.io", "a/b", "c"), "a/b:c"),
        ("localhost/movies", ("localhost", "movies", "latest"), "localhost/movies:latest"),
        ("localhost:5000/m:1", ("localhost:5000", "m", "1"), "localhost:5000/m:1"),
        ("reg.example.com/a/b-c__d.e:T_1", ("reg.example.com", "a/b-c__d.e", "T_1"), ""),
        ("[::1]:5000/m", ("[::1]:5000", "m", "latest"), "[::1]:5000/m:latest"),
        ("Host/m", ("Host", "m", "latest"), "Host/m:latest"),
        ("a---b", ("docker.io", "library/a---b", "latest"), "a---b:latest"),
        # The short form would be read as something else.
        ("docker.io/a.b/c:1", ("docker.io", "a.b/c", "1"), "docker.io/a.b/c:1"),
        ("docker.io/library/a/b:1", ("docker.io", "library/a/b", "1"), "library/a/b:1"),
    ],
)
def test_what_a_reference_means(text: str, expected: tuple[str, str, str], familiar: str) -> None:
    found = parse_reference(text)
    assert found == Reference(*expected)
    assert found.familiar == (familiar or text)
    assert str(found) == found.familiar


def test_with_a_digest_there_need_be_no_tag() -> None:
    plain = parse_reference(f"movies@{SHA}")
    assert (plain.tag, plain.digest) == ("", sha256(b""))
    assert (plain.familiar, str(plain)) == ("movies", f"movies@{SHA}")
    both = parse_reference(f"movies:1@{SHA}")
    assert (both.tag, str(both)) == ("1", f"movies:1@{SHA}")


@pytest.mark.parametrize(
    "text",
    [
        "", " ", ":", "@", "/", "a b", "a:", "a@", "a@sha256:", f"a@{SHA}0", "a@md5:00", "A", "a/B",
        "-a", "a-", "a..b", "a___b", "a//b", "/a", "a/", "a:b:c", "a:b/c", "reg.example.com/",
        "a:" + "x" * 129, "a" * 256, "a:-x", "a:.x", "ä", "a:ä", "a\n", "a:1\n", "a\x00b",
        "localhost:/a", "localhost:port/a", "\ud800", "http://a.example/b", "\uff11",
    ],
)  # fmt: skip
def test_what_is_no_reference_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_reference(text)
    assert caught.value.hint


@pytest.mark.parametrize("text", ["a:" + "x" * 128, "b" * 247])
def test_the_longest_that_is_one(text: str) -> None:
    assert parse_reference(text).familiar.startswith(text)


def test_upper_case_is_told_apart_from_nonsense() -> None:
    with pytest.raises(UsageError) as caught:
        parse_reference("shop/Movies")
    assert caught.value.why == "a repository name is lower case"


@given(st.text())
@example("a@sha256:" + "0" * 64)
def test_any_text_is_a_reference_or_a_usage_error(text: str) -> None:
    try:
        found = parse_reference(text)
    except UsageError:
        return
    assert parse_reference(str(found)) == found


names = st.from_regex(r"[a-z0-9]+([._-][a-z0-9]+){0,2}", fullmatch=True)
tags = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True)
hosts = st.sampled_from(["docker.io", "localhost", "localhost:5000", "r.example.com", "[::1]:1"])
digests = st.none() | st.binary(max_size=3).map(sha256)


@given(hosts, st.lists(names, min_size=1, max_size=3), tags | st.just(""), digests)
def test_what_is_written_is_read_again(
    host: str, path: list[str], tag: str, digest: Digest | None
) -> None:
    repository = "/".join(path)
    text = f"{host}/{repository}{':' if tag else ''}{tag}{f'@{digest}' if digest else ''}"
    found = parse_reference(text)
    assert found.registry == host
    assert found.repository.removeprefix("library/") == repository.removeprefix("library/")
    assert (found.tag, found.digest) == (tag or ("" if digest else "latest"), digest)
    assert parse_reference(str(found)) == found
