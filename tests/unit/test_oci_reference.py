# SPDX-License-Identifier: Apache-2.0
"""References as Docker reads them: what is one, what is none, and that it can be read again."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wherry.errors import UsageError
from wherry.oci.digest import Digest, sha256
from wherry.oci.reference import (
    Reference,
    is_host,
    is_repository,
    parse_reference,
    parse_registry,
)

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


@pytest.mark.parametrize(
    ("text", "default", "full"),
    [
        ("movies", "docker.io", "docker.io/library/movies:latest"),
        ("shop/movies:1", "docker.io", "docker.io/shop/movies:1"),
        ("movies", "index.docker.io", "docker.io/library/movies:latest"),
        ("movies", "docker.io/team", "docker.io/team/movies:latest"),
        ("shop/movies", "docker.io/team", "docker.io/team/shop/movies:latest"),
        ("movies", "r.example.com", "r.example.com/movies:latest"),
        ("movies:1", "r.example.com/team", "r.example.com/team/movies:1"),
        ("a/b:1", "r.example.com:5000/x/y", "r.example.com:5000/x/y/a/b:1"),
        ("a:1", "[::1]:5000/x", "[::1]:5000/x/a:1"),
        ("a", "Reg.Example.com", "Reg.Example.com/a:latest"),
        # What names a registry does not ask for the default.
        ("docker.io/x", "r.example.com/team", "docker.io/library/x:latest"),
        ("index.docker.io/library/x", "r.example.com/team", "docker.io/library/x:latest"),
        ("localhost/x", "r.example.com/team", "localhost/x:latest"),
        ("localhost:5000/x:1", "r.example.com/team", "localhost:5000/x:1"),
        ("[::1]/x:1", "r.example.com/team", "[::1]/x:1"),
        ("HOST/x:1", "r.example.com/team", "HOST/x:1"),
        # What looks like a port is a tag where no slash follows.
        ("localhost:5000", "r.example.com/team", "r.example.com/team/localhost:5000"),
        (f"x@{SHA}", "r.example.com/team", f"r.example.com/team/x@{SHA}"),
        (f"x:1@{SHA}", "r.example.com/team", f"r.example.com/team/x:1@{SHA}"),
        (f"x:1@{SHA}", "docker.io", f"docker.io/library/x:1@{SHA}"),
    ],
)
def test_names_without_a_registry_are_below_the_default(text: str, default: str, full: str) -> None:
    found = parse_reference(text, default)
    assert found.full == full
    assert parse_reference(found.full, default) == found
    assert parse_reference(found.full) == found
    assert parse_reference(str(found)) == found


@pytest.mark.parametrize("text", ["", ":1", f"@{SHA}", "/x", "x/", "X", "a:b:c", "x" * 251])
def test_a_default_makes_no_reference_of_what_is_none(text: str) -> None:
    with pytest.raises(UsageError):
        parse_reference(text, "r.example.com/team")


@pytest.mark.parametrize(
    "text",
    [
        "https://me:hunter2@r.example.com/x", "me:hunter2@r.example.com/x", "me:hunter2@r/x:1",
        "http://me:pass@hunter2@r.example.com/x", f"me:hunter2@r.example.com/x@{SHA}",
        "me:hunter2@@x",
    ],
)  # fmt: skip
def test_an_address_is_refused_without_telling_its_password(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_reference(text)
    assert caught.value.why == "it is an address"
    assert "hunter2" not in str(caught.value) + repr(caught.value.__context__)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("r.example.com", ("r.example.com", "")),
        ("r.example.com:5000/a/b", ("r.example.com:5000", "a/b")),
        ("localhost", ("localhost", "")),
        ("index.docker.io/team", ("docker.io", "team")),
        ("[::1]", ("[::1]", "")),
    ],
)
def test_a_registry_with_a_path(text: str, expected: tuple[str, str]) -> None:
    assert parse_registry(text) == expected


@pytest.mark.parametrize("text", ["", "team", "team/x", "r.example.com/", "/x", "a.b/X", "a.b/c:1",
                                  "a.b:0", "a.b:70000", "-.b", "a..b", "[::g]"])  # fmt: skip
def test_what_is_no_registry(text: str) -> None:
    with pytest.raises(UsageError):
        parse_registry(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", True), ("a.b:1", True), ("127.0.0.1", True), ("[::1]", True), ("[::1]:65535", True),
        ("[::ffff:1.2.3.4]", True), ("a-b.C", True), ("a" * 255, True),
        ("", False), ("a:", False), ("a:0", False), ("a:65536", False), ("a:999999", False),
        ("::1", False), ("[]", False), ("[:::]", False), ("[1.2.3.4]", False), ("a_b", False),
        ("a/b", False), (".a", False), ("a.", False), ("a" * 256, False), ("a\n", False),
        ("a:\uff11", False), ("a" * 100000 + "!", False), ("a." * 50000, False),
    ],
)  # fmt: skip
def test_what_is_a_host(text: str, expected: bool) -> None:
    assert is_host(text) is expected


@given(st.text("aA0.:/@-_[]l", max_size=30), st.sampled_from(["docker.io", "r.example.com:1/t"]))
def test_hostile_names_are_references_that_last_or_usage_errors(text: str, default: str) -> None:
    try:
        found = parse_reference(text, default)
    except UsageError:
        return
    assert parse_reference(found.full, default) == found
    assert parse_reference(found.full) == found
    assert parse_reference(str(found)) == found
    assert is_host(found.registry)
    assert is_repository(found.repository)


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
