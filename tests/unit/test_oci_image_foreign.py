# SPDX-License-Identifier: Apache-2.0
"""Image documents of strangers: Docker's are understood, hostile ones are refused in words."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wherry.errors import UsageError
from wherry.oci import media
from wherry.oci.digest import Digest, sha256
from wherry.oci.image import (
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    RunConfig,
    load_image,
    parse_config,
    parse_descriptor,
    parse_index,
    parse_manifest,
)
from wherry.oci.platform import Platform

AMD64 = Platform("linux", "amd64")
ZERO = str(sha256(b""))
PARSERS: tuple[Callable[[bytes], Any], ...] = (parse_manifest, parse_index, parse_config)
ENTRY = {
    "mediaType": media.DOCKER_LAYER_GZIP,
    "digest": ZERO,
    "size": 3,
    "annotations": {"a": "b"},
    "platform": {"os": "linux", "architecture": "arm", "variant": "v7"},
    "urls": ["https://example.com/x"],
    "artifactType": "application/x.y",
}
MANIFEST = {
    "schemaVersion": 2,
    "mediaType": media.DOCKER_MANIFEST,
    "config": {"mediaType": media.DOCKER_CONFIG, "digest": ZERO, "size": 2},
    "layers": [ENTRY],
    "annotations": {"a": "b"},
}
INDEX = {"schemaVersion": 2, "mediaType": media.DOCKER_LIST, "manifests": [ENTRY]}
CONFIG = {
    "os": "linux",
    "architecture": "amd64",
    "variant": "",
    "created": "2024-01-01T00:00:00Z",
    "author": "me",
    "rootfs": {"type": "layers", "diff_ids": [ZERO]},
    "history": [
        {"created": "2024-01-01T00:00:00Z", "created_by": "COPY", "comment": "c", "author": "a"},
        {"created": None, "created_by": None, "empty_layer": True},
        None,
    ],
    "config": {
        "User": "1",
        "Env": ["A=1"],
        "Entrypoint": ["/a"],
        "Cmd": ["b"],
        "WorkingDir": "/w",
        "ExposedPorts": {"80/tcp": {}},
        "Volumes": {"/v": {}},
        "Labels": {"l": "m"},
        "StopSignal": "SIGINT",
        "StopTimeout": 3,
        "Healthcheck": {"Test": ["CMD", "/a", "ping"], "Interval": 5_000_000_000, "Retries": 2},
        "Shell": ["/bin/sh", "-c"],
        "OnBuild": ["RUN x"],
    },
}
DOCUMENTS = ((parse_manifest, MANIFEST), (parse_index, INDEX), (parse_config, CONFIG))


def encoded(value: object) -> bytes:
    return json.dumps(value).encode()


def changed(value: dict[str, Any], path: tuple[str | int, ...], item: object) -> bytes:
    """The document with `item` at `path`."""
    copy = json.loads(json.dumps(value))
    inner = copy
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = item
    return encoded(copy)


def places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The paths of everything in a document."""
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    below = [place for key, item in items for place in places(item, (*path, key))]
    return ([path] if path else []) + below


# What Docker writes


def test_a_docker_manifest_keeps_its_type_and_is_written_as_it_was_read() -> None:
    manifest = parse_manifest(encoded(MANIFEST))
    assert manifest.media_type == media.DOCKER_MANIFEST
    assert manifest.layers[0] == Descriptor(
        media.DOCKER_LAYER_GZIP,
        sha256(b""),
        3,
        (("a", "b"),),
        Platform("linux", "arm", "v7"),
        ("https://example.com/x",),
        "application/x.y",
    )
    assert json.loads(manifest.encoded()) == MANIFEST
    assert parse_manifest(manifest.encoded()) == manifest


def test_an_image_of_docker_s_is_listed_under_docker_s_type() -> None:
    config = changed(CONFIG, ("rootfs", "diff_ids"), [])
    manifest = Manifest(
        Descriptor(media.DOCKER_CONFIG, sha256(config), len(config)), (), (), media.DOCKER_MANIFEST
    )
    image = load_image(manifest.encoded(), config)
    assert image.descriptor.media_type == media.DOCKER_MANIFEST
    assert image.descriptor.platform == AMD64


def test_an_image_of_no_known_platform_is_listed_without_one() -> None:
    config = encoded({"rootfs": {"type": "layers"}})
    manifest = Manifest(Descriptor(media.DOCKER_CONFIG, sha256(config), len(config)), ())
    assert load_image(manifest.encoded(), config).descriptor.platform is None


def test_a_manifest_list() -> None:
    index = parse_index(encoded(INDEX))
    assert index == Index((parse_descriptor(ENTRY),), (), media.DOCKER_LIST)
    assert json.loads(index.encoded()) == INDEX
    assert parse_index(index.encoded()) == index


def test_a_document_may_leave_its_type_to_who_names_it() -> None:
    without = [{key: value for key, value in item.items() if key != "mediaType"}
               for item in (MANIFEST, INDEX)]  # fmt: skip
    assert parse_manifest(encoded(without[0])).media_type == media.MANIFEST
    assert parse_index(encoded(without[1])).media_type == media.INDEX


def test_what_docker_puts_beside_the_specification_is_kept() -> None:
    config = parse_config(encoded(CONFIG))
    run = config.run
    assert json.loads(run.healthcheck) == CONFIG["config"]["Healthcheck"]
    assert (run.stop_timeout, run.shell, run.on_build) == (3, ("/bin/sh", "-c"), ("RUN x",))
    assert run.as_json() == CONFIG["config"]
    assert parse_config(config.encoded()) == config


@pytest.mark.parametrize("seconds", [0, -1])
def test_a_stop_timeout_of_nothing_is_not_docker_s_default(seconds: int) -> None:
    config = parse_config(changed(CONFIG, ("config", "StopTimeout"), seconds))
    assert config.run.as_json()["StopTimeout"] == seconds
    assert "StopTimeout" not in RunConfig().as_json()


def test_null_is_nothing() -> None:
    value = json.loads(json.dumps(CONFIG))
    value["config"] = dict.fromkeys(CONFIG["config"])
    value |= {"history": None, "created": None, "author": None, "variant": None}
    value["rootfs"]["diff_ids"] = None
    config = parse_config(encoded(value))
    assert config == ImageConfig(AMD64, "", RunConfig(), (), ())
    # An empty date would be refused by Go's readers.
    assert "created" not in json.loads(config.encoded())
    assert parse_manifest(changed(MANIFEST, ("layers",), None)).layers == ()


def test_history_without_dates_gains_none() -> None:
    entries = parse_config(encoded(CONFIG)).history
    assert [entry.as_json() for entry in entries] == [
        CONFIG["history"][0], {"empty_layer": True}, {}
    ]  # fmt: skip


def test_a_command_may_be_one_word() -> None:
    config = parse_config(changed(CONFIG, ("config", "Entrypoint"), "/a b"))
    assert config.run.entrypoint == ("/a b",)


def test_an_image_of_docker_s_without_layers_has_no_diff_ids() -> None:
    assert parse_config(b'{"rootfs":{"type":"layers"}}').diff_ids == ()
    with pytest.raises(UsageError, match="lacks rootfs"):
        parse_config(b"{}")


def test_a_config_is_checked_with_its_manifest_s_algorithm_and_size() -> None:
    config = encoded({"rootfs": {"diff_ids": []}})
    right = Digest("sha512", hashlib.sha512(config).hexdigest())
    wrong = Digest("sha512", hashlib.sha512(b"other").hexdigest())

    def manifest(digest: Digest, size: int) -> bytes:
        return Manifest(Descriptor(media.CONFIG, digest, size), ()).encoded()

    assert load_image(manifest(right, len(config)), config).manifest.config.digest == right
    with pytest.raises(UsageError, match="digest"):
        load_image(manifest(wrong, len(config)), config)
    with pytest.raises(UsageError, match="size"):
        load_image(manifest(right, len(config) + 1), config)


# What nobody may write


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe{\0}\0", "UTF-8"),
        (encoded({}).decode().encode("utf-16"), "UTF-8"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'{"a": "\xed\xa0\x80"}', "UTF-8"),
        (rb'{"a": "\ud800"}', "UTF-8"),
        (rb'{"\uDFFF": 1}', "UTF-8"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "'c' stands twice"),
        (b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "nested too deeply"),
        (b'{"a": ' * 200_000 + b"1" + b"}" * 200_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
        (b"{} {}", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'"manifest"', "not a JSON object"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_is_no_document(data: bytes, told: str) -> None:
    for parse in PARSERS:
        with pytest.raises(UsageError) as caught:
            parse(data)
        assert told in str(caught.value)


def test_an_escaped_pair_of_surrogates_is_one_character() -> None:
    data = changed(MANIFEST, ("annotations", "a"), "\U0001f6f6")
    assert rb"\ud83d\udef6" in data
    assert parse_manifest(data).annotations == (("a", "\U0001f6f6"),)


@pytest.mark.parametrize(
    "size", [-1, 1 << 63, 10**100, True, False, 1.0, 1e300, "1", None, [], {}], ids=str
)
def test_what_is_no_size(size: object) -> None:
    with pytest.raises(UsageError, match="size"):
        parse_descriptor(ENTRY | {"size": size})


@pytest.mark.parametrize(
    "digest",
    ["", "md5:" + "0" * 32, "sha384:" + "0" * 96, "sha256:" + "0" * 63, "sha256:" + "A" * 64,
     "sha256:../" + "0" * 61, 5, None, []],
    ids=str,
)  # fmt: skip
def test_what_is_no_digest(digest: object) -> None:
    with pytest.raises(UsageError):
        parse_descriptor(ENTRY | {"digest": digest})


@pytest.mark.parametrize(
    "media_type",
    ["a/b\r\nX-Header: y", "a/b\n", "a/\x1b[31m", " a/b", "a/b ", "a/\xe4", "a/\u2028b", "a/\x7f",
     "a/" + "b" * 254, "a/" + "/" * 100_000],
)  # fmt: skip
def test_a_media_type_that_could_be_a_header_line_is_refused(media_type: str) -> None:
    with pytest.raises(UsageError, match="media type") as caught:
        parse_descriptor(ENTRY | {"mediaType": media_type})
    assert str(caught.value).isascii()
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "key", ["annotations", "platform", "urls", "artifactType", "mediaType", "digest", "size"]
)
@pytest.mark.parametrize("item", [True, -1, 1.5, [1], [None], {"os": 1}, {"os": []}], ids=str)
def test_a_field_of_a_wrong_type_is_refused(key: str, item: object) -> None:
    with pytest.raises(UsageError):
        parse_descriptor(ENTRY | {key: item})


def test_schema_1_is_refused_by_name() -> None:
    for value in (
        {"schemaVersion": 1, "name": "a", "fsLayers": []},
        {"schemaVersion": 2, "mediaType": media.SCHEMA1[1]},
    ):
        for parse in (parse_manifest, parse_index):
            with pytest.raises(UsageError, match="schema 1"):
                parse(encoded(value))


def test_a_document_of_another_kind_or_of_two_kinds_is_refused() -> None:
    with pytest.raises(UsageError, match="not an image manifest"):
        parse_manifest(encoded(INDEX))
    with pytest.raises(UsageError, match="not an image index"):
        parse_index(encoded(MANIFEST))
    both = INDEX | MANIFEST
    for name, parse in (("MANIFEST", parse_manifest), ("INDEX", parse_index)):
        for media_type in (getattr(media, name), None):
            with pytest.raises(UsageError, match="not an image"):
                parse(encoded(both | {"mediaType": media_type}))
    for version in (3, "2", 2.0, None):
        with pytest.raises(UsageError, match="schemaVersion"):
            parse_manifest(encoded(MANIFEST | {"schemaVersion": version}))


@pytest.mark.parametrize(
    "item",
    [{"Test": "CMD"}, {"Interval": 1.5}, {"Interval": -1}, {"Other": 0.5}, {"Other": [1e9]}, [], 7],
    ids=str,
)
def test_what_is_no_health_check(item: object) -> None:
    with pytest.raises(UsageError, match=r"Healthcheck|Test|Interval"):
        parse_config(changed(CONFIG, ("config", "Healthcheck"), item))


def test_a_deep_health_check_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(700):
        deep = [deep]
    with pytest.raises(UsageError):
        parse_config(changed(CONFIG, ("config", "Healthcheck"), {"Other": deep, "Test": 1}))


# Whatever comes: a value or a `UsageError`

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None, exclude_categories=()), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3) | st.just("a"), inner, max_size=3)
    ),
    max_leaves=8,
)


def _survives(parse: Callable[[bytes], Any], data: bytes) -> None:
    """`parse` gives a `UsageError`, or a value that can be written and read again."""
    try:
        value = parse(data)
    except UsageError as error:
        str(error).encode()
        return
    again = value.encoded()
    assert parse(again) == value


@given(st.data())
def test_documents_with_anything_anywhere(data: st.DataObject) -> None:
    parse, document = data.draw(st.sampled_from(DOCUMENTS))
    place = data.draw(st.sampled_from(places(document)))
    _survives(parse, changed(document, place, data.draw(anything)))


@given(anything)
@example({"schemaVersion": 2, "layers": [], "config": None})
def test_anything_for_a_document(value: object) -> None:
    for parse in PARSERS:
        _survives(parse, encoded(value))


@given(st.data())
def test_documents_with_bytes_changed(data: st.DataObject) -> None:
    parse, document = data.draw(st.sampled_from(DOCUMENTS))
    text = bytearray(encoded(document))
    for _ in range(data.draw(st.integers(1, 3))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    _survives(parse, bytes(text[: data.draw(st.integers(1, len(text)))]))


@given(anything)
def test_anything_for_a_descriptor(value: object) -> None:
    for item in (value, *(ENTRY | {key: value} for key in ENTRY)):
        try:
            found = parse_descriptor(item)
        except UsageError:
            continue
        assert parse_descriptor(found.as_json()) == found
