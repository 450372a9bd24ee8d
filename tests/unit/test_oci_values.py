# SPDX-License-Identifier: Apache-2.0
"""Digests, platforms, and image documents: read, written, and read again."""

import hashlib
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import SeveralErrors, UsageError
from wherry.oci.digest import Digest, parse_digest, sha256
from wherry.oci.image import (
    INDEX,
    LAYER_GZIP,
    MANIFEST,
    Descriptor,
    HistoryEntry,
    ImageConfig,
    Index,
    Layer,
    Manifest,
    RunConfig,
    load_image,
    make_image,
    pairs,
    parse_config,
    parse_descriptor,
    parse_manifest,
)
from wherry.oci.platform import (
    Platform,
    host_platform,
    parse_exact,
    parse_platform,
    parse_platforms,
)

AMD64 = Platform("linux", "amd64")


# Digests


@given(st.binary())
def test_a_digest_is_what_hashlib_says_and_is_read_again(data: bytes) -> None:
    digest = sha256(data)
    assert digest.hex == hashlib.sha256(data).hexdigest()
    assert parse_digest(str(digest)) == digest
    assert digest.hex.startswith(digest.short)


def test_sha512_is_read() -> None:
    assert parse_digest("sha512:" + "a" * 128) == Digest("sha512", "a" * 128)


@pytest.mark.parametrize(
    "text",
    [
        "", "sha256", "sha256:", "sha256:" + "a" * 63, "sha256:" + "a" * 65, "sha256:" + "A" * 64,
        "sha256:" + "g" * 64, "md5:" + "a" * 32, "SHA256:" + "a" * 64, "sha512:" + "a" * 64,
        " sha256:" + "a" * 64, "sha256:" + "a" * 64 + "\n", "sha256:../" + "a" * 61,
    ],
)  # fmt: skip
def test_what_is_no_digest(text: str) -> None:
    with pytest.raises(UsageError, match="not a digest"):
        parse_digest(text)


@given(st.text())
def test_any_text_is_a_digest_or_a_usage_error(text: str) -> None:
    with suppress(UsageError):
        assert str(parse_digest(text)) == text


# Platforms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/amd64", ("linux", "amd64", "")),
        ("amd64", ("linux", "amd64", "")),
        ("x86_64", ("linux", "amd64", "")),
        ("LINUX/AARCH64", ("linux", "arm64", "")),
        ("linux/arm64/v8", ("linux", "arm64", "")),
        ("linux/arm64/v9", ("linux", "arm64", "v9")),
        ("linux/amd64/v1", ("linux", "amd64", "")),
        ("linux/amd64/v3", ("linux", "amd64", "v3")),
        ("linux/arm/v7", ("linux", "arm", "v7")),
        ("i386", ("linux", "386", "")),
    ],
)
def test_a_platform_has_one_spelling(text: str, expected: tuple[str, str, str]) -> None:
    found = parse_platform(text)
    assert found == Platform(*expected)
    assert parse_platform(str(found)) == found


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not a platform"), ("/", "not a platform"), ("linux/", "not a platform"),
        ("linux/arm/v7/x", "not a platform"), ("windows/amd64", "linux images only"),
        ("linux/amd46", "did you mean 'amd64'?"), ("linux/arm/v9", "variants of arm"),
        ("linux/386/v2", "variants of 386: sse2, softfloat"), ("linux/s390x/z13", "s390x: none"),
        ("linux/arm64/v8.10", "v8.9, v9, v9.0"), ("linux/riscv64/rva24u64", "'rva2"),
        ("linux/ppc64le/9", "power8, power9, power10"),
        ("linux/amd64,linux/arm64", "amd64,linux"),
    ],
)  # fmt: skip
def test_what_is_no_platform(text: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_platform(text)
    assert told in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "exact", "normal"),
    [
        ("linux/amd64/v1", "v1", ""),
        ("linux/amd64/v3", "v3", "v3"),
        ("linux/arm64/8", "v8", ""),
        ("linux/arm64/v8.0", "v8.0", ""),
        ("linux/arm64/v8.2", "v8.2", "v8.2"),
        ("linux/arm64/v9.0", "v9.0", "v9"),
        ("linux/arm/7", "v7", "v7"),
        ("linux/386/sse2", "sse2", ""),
        ("linux/mipsle/softfloat", "softfloat", "softfloat"),
        ("linux/ppc64le/power8", "power8", ""),
        ("linux/riscv64/rva22u64", "rva22u64", "rva22u64"),
        ("linux/riscv64/rva20u64", "rva20u64", ""),
    ],
)
def test_a_variant_that_was_said_is_kept(text: str, exact: str, normal: str) -> None:
    assert parse_exact(text).variant == exact
    assert parse_exact(text).normal.variant == parse_platform(text).variant == normal


def test_several_platforms() -> None:
    found = parse_platforms(["linux/arm64,linux/amd64/v1", "aarch64", "amd64/v1", "amd64"])
    # What the last one is, the environment may say.
    assert list(map(str, found)) == ["linux/arm64", "linux/amd64/v1", "linux/amd64"]
    with pytest.raises(UsageError, match="amd46"):
        parse_platforms(["linux/amd46,linux/arm64"])
    with pytest.raises(SeveralErrors) as caught:
        parse_platforms(["linux/amd46,windows/amd64", ""])
    assert len(caught.value.errors) == 3


@given(st.text())
def test_any_text_is_a_platform_or_a_usage_error(text: str) -> None:
    try:
        found = parse_platform(text)
    except UsageError:
        return
    assert parse_platform(str(found)) == found


def test_the_host_s_platform_is_one_that_can_be_asked_for() -> None:
    assert parse_platform(str(host_platform())) == host_platform()


# Images

words = st.text(max_size=8)
some = st.lists(words.filter(bool), max_size=3).map(tuple)
unique = st.lists(words.filter(bool), max_size=3, unique=True).map(
    lambda found: tuple(sorted(found))
)
named = st.dictionaries(words, words, max_size=3).map(pairs)
runs = st.builds(
    RunConfig,
    user=words,
    env=some,
    entrypoint=some,
    cmd=some,
    working_dir=words,
    exposed_ports=unique,
    volumes=unique,
    labels=named,
    stop_signal=words,
)
history = st.lists(
    st.builds(HistoryEntry, words, words, words, words, st.booleans()), max_size=3
).map(tuple)


@given(runs, history, words, words, named, st.lists(st.binary(max_size=3), max_size=3))
def test_an_image_is_read_as_it_was_written(
    run: RunConfig,
    lines: tuple[HistoryEntry, ...],
    created: str,
    author: str,
    annotations: tuple[tuple[str, str], ...],
    contents: list[bytes],
) -> None:
    layers = tuple(
        Layer(Descriptor(LAYER_GZIP, sha256(data), len(data)), sha256(data + b"plain"))
        for data in contents
    )
    config = ImageConfig(AMD64, created, run, (), lines, author)
    image = make_image(layers, config, annotations)
    again = load_image(image.manifest_bytes, image.config_bytes)
    assert again == image
    assert again.layers == layers
    assert again.manifest.encoded() == image.manifest_bytes
    assert again.config.encoded() == image.config_bytes
    assert image.descriptor == Descriptor(
        MANIFEST, image.digest, len(image.manifest_bytes), platform=AMD64
    )


def test_an_image_without_layers_and_words_says_no_more_than_it_must() -> None:
    image = make_image((), ImageConfig(AMD64, "1970-01-01T00:00:00Z", RunConfig(), (), ()))
    assert json.loads(image.config_bytes) == {
        "architecture": "amd64",
        "config": {},
        "created": "1970-01-01T00:00:00Z",
        "history": [],
        "os": "linux",
        "rootfs": {"diff_ids": [], "type": "layers"},
    }
    assert json.loads(image.manifest_bytes)["schemaVersion"] == 2


def test_documents_that_do_not_fit_each_other() -> None:
    config = ImageConfig(AMD64, "", RunConfig(), (), ())
    layer = Layer(Descriptor(LAYER_GZIP, sha256(b"a"), 1), sha256(b"b"))
    one, other = make_image((), config), make_image((layer,), config)
    with pytest.raises(UsageError, match="does not have the digest"):
        load_image(one.manifest_bytes, other.config_bytes)
    uneven = Manifest(one.manifest.config, other.manifest.layers).encoded()
    with pytest.raises(UsageError, match="number of layers"):
        load_image(uneven, one.config_bytes)


def test_a_foreign_manifest_keeps_its_bytes_and_digest() -> None:
    config = ImageConfig(AMD64, "", RunConfig(), (), ()).encoded()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "config": Descriptor("application/json", sha256(config), len(config)).as_json(),
            "layers": [],
            "unknown": {"kept": 1.5},
        },
        indent=3,
    ).encode()
    image = load_image(manifest, config)
    assert image.manifest_bytes == manifest
    assert image.digest == sha256(manifest)


@pytest.mark.parametrize(
    "value",
    [
        None, [], "x", {}, {"mediaType": "a", "digest": str(sha256(b""))},
        {"mediaType": "a", "digest": str(sha256(b"")), "size": "1"},
        {"mediaType": "a", "digest": str(sha256(b"")), "size": True},
        {"mediaType": 1, "digest": str(sha256(b"")), "size": 1},
        {"mediaType": "a", "digest": "sha256:../../etc/passwd", "size": 1},
    ],
)  # fmt: skip
def test_what_is_no_descriptor(value: object) -> None:
    with pytest.raises(UsageError):
        parse_descriptor(value)


@given(
    named, st.sampled_from([None, AMD64, Platform("linux", "arm", "v7")]), st.integers(0, 2**63 - 1)
)
def test_a_descriptor_is_read_as_it_was_written(
    annotations: tuple[tuple[str, str], ...], platform: Platform | None, size: int
) -> None:
    descriptor = Descriptor("a/b", sha256(b""), size, annotations, platform)
    assert parse_descriptor(json.loads(json.dumps(descriptor.as_json()))) == descriptor


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(
            ["config", "layers", "rootfs", "diff_ids", "history", "os", "Env", "Labels", "digest"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=10,
)  # fmt: skip


@given(json_values.map(lambda value: json.dumps(value).encode()) | st.binary())
def test_any_bytes_are_a_document_or_a_usage_error(data: bytes) -> None:
    for parse in (parse_manifest, parse_config):
        with suppress(UsageError):
            parse(data)


def test_an_index_lists_manifests_with_their_platforms() -> None:
    entry = Descriptor(MANIFEST, sha256(b"m"), 1, platform=AMD64)
    value = json.loads(Index((entry,), (("a", "b"),)).encoded())
    assert value["mediaType"] == INDEX
    assert value["annotations"] == {"a": "b"}
    assert [parse_descriptor(item) for item in value["manifests"]] == [entry]
