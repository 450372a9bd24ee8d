# SPDX-License-Identifier: Apache-2.0
"""`--cache-to` and `--cache-from`: what is a directory, what is a reference, what is neither."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import UsageError
from wherry.gocache.spec import CacheSpec, parse_cache_spec


def to(text: str) -> CacheSpec:
    return parse_cache_spec(text, "--cache-to", "/work/dir")


def origin(text: str) -> CacheSpec:
    return parse_cache_spec(text, "--cache-from", "/work/dir")


def refused(parse, text: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        parse(text)
    return caught.value


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/abs/cache", "/abs/cache"),
        ("./cache", "/work/dir/cache"),
        ("../cache", "/work/cache"),
        ("./", "/work/dir"),
        ("./a=b", "/work/dir/a=b"),
        ("./a:b@c", "/work/dir/a:b@c"),
        ("/x/./y/../z", "/x/z"),
        ('"./with, comma"', "/work/dir/with, comma"),
    ],
)
def test_a_directory_begins_with_a_slash_or_dots_and_a_slash(text, path) -> None:
    for parse in (to, origin):
        spec = parse(text)
        assert (spec.is_directory, spec.path) == (True, path)
    assert spec == CacheSpec(text.strip('"'), is_directory=True, path=path)


@pytest.mark.parametrize(
    "text",
    ["cache", "cache/go", "registry.example.com/team/app:gocache", "localhost:5000/a", "a.b/c"],
)
def test_all_else_is_a_reference(text) -> None:
    for parse in (to, origin):
        assert parse(text) == CacheSpec(text, is_directory=False)


def test_a_digest_can_be_read_but_not_written() -> None:
    text = "registry.example.com/app@sha256:" + "0" * 64
    assert origin(text).place == text
    assert "digest" in refused(to, text).why


@pytest.mark.parametrize("text", [".", "..", "~", "~/cache", ""])
def test_what_is_neither(text) -> None:
    for parse in (to, origin):
        assert refused(parse, text).hint != ""


def test_dots_alone_are_told_what_to_write() -> None:
    for text in (".", "..", "type=wherry,ref=."):
        assert "./NAME" in refused(to, text).hint
    assert "/, ./ or ../" in refused(to, "Not A Reference").hint
    assert "$HOME" in refused(to, "~/cache").hint
    assert "$HOME" in refused(to, "type=wherry,dest=~/cache").hint


def test_fields_say_the_rest() -> None:
    text = (
        "type=wherry,ref=r.example.com/a:b,ignore-error=false,private=1,max-size=1.5GB,"
        "modules=off,layers=false,paths=true"
    )
    assert to(text) == CacheSpec(
        "r.example.com/a:b",
        is_directory=False,
        ignore_error=False,
        private=True,
        max_size=1_500_000_000,
        modules="off",
        layers=False,
        paths=True,
    )
    assert origin("type=wherry,ref=a,ignore-error=false").ignore_error is False


def test_the_defaults() -> None:
    spec = to("type=wherry,ref=a")
    assert spec == to("a") == to("ref=a") == to(" TYPE=Wherry , Ref = a ")
    assert spec.ignore_error
    assert not spec.private
    assert spec.max_size == 2 << 30


def test_directories_of_fields_need_no_dots() -> None:
    assert to("type=wherry,dest=cache") == CacheSpec(
        "cache", is_directory=True, path="/work/dir/cache"
    )
    assert origin("type=wherry,src=/a/b").path == "/a/b"
    assert to('type=wherry,"dest=./a,b",max-size=1GB').path == "/work/dir/a,b"
    assert to("type=wherry,dest=.").path == "/work/dir"


@pytest.mark.parametrize("kind", ["registry", "local", "inline", "gha", "s3", "azblob"])
def test_buildkits_own_types_are_refused_by_name(kind) -> None:
    for parse in (to, origin):
        error = refused(parse, f"type={kind},ref=a,max-size=1GB")
        assert "BuildKit's own" in error.why
        assert kind in error.why
        assert "wherry" in error.hint or "reference" in error.hint


def test_a_hint_of_a_type_leads_to_what_does_the_same() -> None:
    assert "actions/cache" in refused(to, "type=gha").hint
    assert "dest=" in refused(to, "type=local,dest=a").hint
    assert "src=" in refused(origin, "type=local,src=a").hint


@pytest.mark.parametrize(
    ("text", "why", "hint"),
    [
        ("type=wherrry,ref=a", "not known", "did you mean 'wherry'?"),
        ("type=,ref=a", "empty", "type=wherry"),
        ("type=wherry", "no place", "ref="),
        ("type=wherry,ref=", "no place", "ref="),
        ("type=wherry,ref=a,dest=b", "two places", "one of"),
        ("type=wherry,ref=a,ref=b", "twice", ""),
        ("type=wherry,reff=a", "not known", "did you mean 'ref'?"),
        ("type=wherry,ref=a,ignore-errors=1", "not known", "did you mean 'ignore-error'?"),
        ("type=wherry,ref=a,compression=zstd", "BuildKit's", "leave it out"),
        ("type=wherry,ref=./a", "references", "dest=./a"),
        ("type=wherry,src=a", "written to", "dest="),
        ("type=wherry,ref=a,private=yes", "neither true nor false", ""),
        ("type=wherry,ref=a,private=", "neither true nor false", ""),
        ("type=wherry,ref=a,modules=al", "not known", ""),
        ("type=wherry,ref=a,modules=of", "not known", "did you mean 'off'?"),
        ("type=wherry,ref=a,max-size=2", "no size", "20GB"),
        ("type=wherry,ref=a,max-size=1MB", "too little", "100MB"),
        ("type=wherry,ref=UPPER", "lower case", ""),
        ("a,private=true", "not key=value", "type=wherry,ref="),
        ("./a,private=true", "not key=value", "dest="),
        ('type=wherry,"ref=a', "CSV", ""),
        ("a\0b", "NUL", ""),
        ("a\nb", "", ""),
        ("https://r.example.com/a", "", "scheme"),
    ],
)
def test_mistakes_are_told_with_what_to_write(text, why, hint) -> None:
    error = refused(to, text)
    assert why in error.why
    assert hint in error.hint
    assert error.hint
    assert error.what.startswith("--cache-to: ")


def test_what_only_exports_know() -> None:
    for field in ("private=true", "max-size=1GB", "modules=off", "layers=true", "paths=true"):
        assert "--cache-to only" in refused(origin, f"type=wherry,ref=a,{field}").why
    assert "read from" in refused(origin, "type=wherry,dest=a").why
    assert parse_cache_spec("private=1,ref=a", "[cache] to", "/").private


def test_a_password_is_not_told_again() -> None:
    place = "me:hunter2@r.example.com/a"
    for text in (f"https://{place}", place, f"type=wherry,ref={place}", f"a,{place}"):
        assert "hunter2" not in str(refused(to, text))


@given(st.text(max_size=60) | st.from_regex(r"[a-z=,./~\"@:-]{1,40}", fullmatch=True))
def test_any_text_is_a_place_or_a_usage_error(text) -> None:
    try:
        spec = to(text)
    except UsageError as error:
        assert error.hint
    else:
        assert spec.place
        assert spec.is_directory == bool(spec.path)
        assert spec.path == "" or spec.path.startswith("/")
