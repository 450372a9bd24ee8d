# SPDX-License-Identifier: Apache-2.0
"""`wherry.lock`: written one way, read strictly, and the same after both."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import SeveralErrors, UsageError, WherryError
from wherry.oci.digest import sha256
from wherry.oci.platform import Platform
from wherry.oci.reference import parse_reference
from wherry.settings.lock import LockedBase, LockFile, load_lock, parse_lock, render_lock

INDEX = "application/vnd.oci.image.index.v1+json"
SHA = str(sha256(b""))
DEBIAN = LockedBase(
    "docker.io/library/debian:12-slim",
    sha256(b"debian"),
    INDEX,
    1024,
    (("linux/amd64", sha256(b"1")), ("linux/arm/v7", sha256(b"2"))),
)
LOCK = LockFile("1.26.8", (("certifi", "2026.1.4"),), (DEBIAN,))
# Lines 7 to 13 of what is written for LOCK.
BASE = f"""
[[base]]
reference = "docker.io/library/debian:12-slim"
digest = "{DEBIAN.digest}"
media-type = "{INDEX}"
size = 1024

[base.platforms]
"linux/amd64" = "{sha256(b"1")}"
"linux/arm/v7" = "{sha256(b"2")}"
"""
HEAD = 'version = 1\ngo = "1.26.8"\n[data]\n'


def parse(text: str) -> LockFile:
    return parse_lock(text, "/src/shop/wherry.lock")


def errors_of(text: str) -> list[WherryError]:
    with pytest.raises(WherryError) as caught:
        parse(text)
    error = caught.value
    return list(error.errors) if isinstance(error, SeveralErrors) else [error]


def test_what_is_written():
    assert render_lock(LOCK) == (
        "# Written by `wherry lock`; commit it, and change it with that command only.\n"
        'version = 1\ngo = "1.26.8"\n\n[data]\ncertifi = "2026.1.4"\n' + BASE
    )
    assert parse(render_lock(LOCK)) == LOCK
    assert parse(HEAD) == LockFile("1.26.8", ())


def test_order_does_not_count():
    other = replace(DEBIAN, reference="docker.io/library/alpine:3")
    shuffled = LockFile(
        "1.26.8",
        (("tzdata", "1"), ("certifi", "2")),
        (DEBIAN, replace(other, platforms=other.platforms[::-1])),
    )
    ordered = LockFile("1.26.8", (("certifi", "2"), ("tzdata", "1")), (other, DEBIAN))
    assert render_lock(shuffled) == render_lock(ordered)
    assert parse(render_lock(shuffled)) == ordered


def test_what_an_index_lists_is_written_as_builds_would_take_it():
    listed = (
        ("windows/amd64", sha256(b"2")),
        ("linux/amd64", sha256(b"3")),
        ("windows/amd64", sha256(b"1")),
        ('a"\n/b', sha256(b"4")),
        ("linux", sha256(b"5")),
    )
    base = replace(DEBIAN, platforms=listed)
    (found,) = parse(render_lock(replace(LOCK, bases=(base,)))).bases
    assert found.platforms == (("linux/amd64", sha256(b"3")), ("windows/amd64", sha256(b"2")))
    assert base.digest_for(Platform("windows", "amd64")) == sha256(b"2")


def test_what_is_locked_for_a_name():
    assert LOCK.base(parse_reference("debian:12-slim")) == DEBIAN
    assert LOCK.base(parse_reference("docker.io/library/debian:12-slim", "r.example.com")) == DEBIAN
    assert LOCK.base(parse_reference("debian:12-slim", "r.example.com")) is None
    assert LOCK.base(parse_reference("debian:12")) is None
    assert LOCK.base(parse_reference(f"debian:12-slim@{SHA}")) is None
    assert DEBIAN.digest_for(Platform("linux", "arm", "v7")) == sha256(b"2")
    assert DEBIAN.digest_for(Platform("linux", "arm64")) is None


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
digests = st.binary(max_size=2).map(sha256)
platforms = st.sampled_from(["linux/amd64", "linux/arm64/v8", "windows/amd64"])
names = st.from_regex(
    r"[a-z]{1,3}(/[a-z]{1,3})?(:[A-Za-z0-9_][A-Za-z0-9._-]{0,3})?", fullmatch=True
)
hosts = st.sampled_from(["docker.io", "localhost:5000", "[::1]", "Reg.example.com"])


@st.composite
def bases(draw: st.DrawFn) -> LockedBase:
    digest = draw(digests)
    pin = f"@{digest}" if draw(st.booleans()) else ""
    name = parse_reference(f"{draw(hosts)}/{draw(names)}{pin}").full
    size = draw(st.integers(1, 1 << 62))
    found = draw(st.dictionaries(platforms, digests, max_size=3))
    return LockedBase(name, digest, INDEX, size, tuple(sorted(found.items())))


locks = st.builds(
    LockFile,
    go=st.sampled_from(["1.20", "1.26.8", "1.27rc1", "1.26.8-X:nodwarf5"]),
    data=st.dictionaries(texts, texts.filter(lambda text: "\0" not in text), max_size=3).map(
        lambda table: tuple(table.items())
    ),
    bases=st.lists(bases(), max_size=3, unique_by=lambda base: base.reference).map(tuple),
)


@given(locks)
def test_what_is_written_is_read_again(lock: LockFile):
    text = render_lock(lock)
    found = parse(text)
    assert render_lock(found) == text
    assert set(found.bases) == set(lock.bases)
    assert dict(found.data) == dict(lock.data)
    # A value on a line: nothing in a text breaks it.
    lines = 5 + len(lock.data) + sum(8 + len(base.platforms) for base in lock.bases)
    assert text.count("\n") == lines
    assert all(ord(char) >= 32 or char == "\n" for char in text)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "names no version"),
        ('version = "1"', 1, "names no version"),
        ("version = true", 1, "names no version"),
        ("version = 0", 1, "names no version"),
        ('\nversion = 2\nnew = 1\n[[base]]\ncolour = "red"', 2, "update wherry"),
        ("version = 1\n[data]", 1, "go is missing"),
        ('version = 1\ngo = "1.26.8"', 1, "data is missing"),
        ('version = 1\ngo = "go1.26.8"\n[data]', 2, 'write it as "1.26.8"'),
        ("version = 1\ngo = 1.26\n[data]", 2, "wants a string"),
        (HEAD + "certifi = 1", 4, "wants a string"),
        ("vresion = 1\n" + HEAD, 1, "did you mean 'version'?"),
        (HEAD + "[bsae]", 4, "did you mean 'base'?"),
        (HEAD + "[base]", 4, "write [[base]]"),
        ("base = [1]\n" + HEAD, 1, "base is no table"),
        (HEAD + BASE.replace("size", "sise"), 9, "did you mean 'size'?"),
        (HEAD + BASE.replace("docker.io/library/", ""), 6, "docker.io/library/debian:12-slim"),
        (HEAD + BASE.replace(":12-slim", ""), 6, "leaves something to guess"),
        (HEAD + BASE.replace(":12-slim", ":A B"), 6, "is not a tag"),
        (HEAD + BASE.replace(":12-slim", f":1@{SHA}"), 7, "locked to another digest"),
        (HEAD + BASE.replace(str(DEBIAN.digest), "sha256:00"), 7, "not a digest"),
        (HEAD + BASE.replace(INDEX, "json"), 8, "is no media type"),
        (HEAD + BASE.replace("1024", "0"), 9, "wants a number of bytes"),
        (HEAD + BASE.replace("1024", "true"), 9, "wants a number of bytes"),
        (HEAD + BASE.replace("linux/amd64", "amd64"), 12, "is no platform"),
        (HEAD + BASE.replace(str(sha256(b"2")), "x"), 13, "not a digest"),
        (HEAD + BASE + BASE, 16, "locked twice"),
        (HEAD + BASE + BASE.replace("debian", "x").replace("1024", "-1"), 19, "number of bytes"),
    ],
)
def test_each_mistake_has_its_line(text: str, line: int, words: str):
    found = errors_of(text)
    at_line = [error for error in found if error.where == f"wherry.lock:{line}"]
    assert any(words in str(error) for error in at_line), [str(error) for error in found]
    assert all(isinstance(error, UsageError) for error in found)


def test_a_newer_format_is_one_error_only():
    (error,) = errors_of("version = 2\nnew = 1")
    assert error.what == "is of version 2"


def test_all_mistakes_are_told_at_once():
    text = 'version = 1\ngo = 1\n[[base]]\nsize = 0\n[base.platforms]\nx = "y"\n"a/b" = "c"'
    assert [(error.where, error.what) for error in errors_of(text)] == [
        ("wherry.lock:1", "data is missing"),
        ("wherry.lock:2", "go: wants a string, not a number"),
        ("wherry.lock:3", "base.reference is missing"),
        ("wherry.lock:3", "base.digest is missing"),
        ("wherry.lock:3", "base.media-type is missing"),
        ("wherry.lock:4", "base.size: wants a number of bytes, not 0"),
        ("wherry.lock:6", "base.platforms.x: 'x' is no platform"),
        ("wherry.lock:7", "base.platforms.a/b: not a digest: 'c'"),
    ]


def test_a_merge_conflict_is_told_as_one():
    lines = render_lock(LOCK).splitlines()
    lines[2:3] = ["<<<<<<< HEAD", lines[2], "=======", 'go = "1.27.0"', ">>>>>>> other"]
    (error,) = errors_of("\n".join(lines))
    assert error.where == "wherry.lock:3"
    assert error.what == "holds a merge conflict"
    assert "`wherry lock`" in error.hint
    half_mended = [line for line in lines if not line.startswith("<")]
    (error,) = errors_of("\n".join(half_mended))
    assert (error.where, error.what) == ("wherry.lock:4", "holds a merge conflict")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_a_lock_or_a_usage_error(text: str):
    for head in ("", HEAD):
        try:
            parse(head + text)
        except WherryError as error:
            assert "wherry.lock:" in str(error)


def test_the_file_is_found_or_not(tmp_path: Path):
    assert load_lock(str(tmp_path)) is None
    (tmp_path / "wherry.lock").write_text(render_lock(LOCK))
    assert load_lock(str(tmp_path)) == LOCK
    (tmp_path / "wherry.lock").write_bytes(b"version = 1\n# \xff")
    with pytest.raises(UsageError, match="not UTF-8") as caught:
        load_lock(str(tmp_path))
    assert caught.value.where == "wherry.lock:2"


def test_no_file_costs_no_tomllib(tmp_path: Path):
    script = (
        "import sys; from wherry.settings.lock import load_lock;"
        f"load_lock({str(tmp_path)!r}); print('tomllib' in sys.modules)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert shown.stdout == "False\n"
