# SPDX-License-Identifier: Apache-2.0
"""Cache keys: every field of every op counts, and the encoder tells all values apart."""

import dataclasses
import json
import typing
from enum import Enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import InternalError
from wherry.graph.build import BuildGraph, ImageOutput, LayerOutput, Vertex
from wherry.graph.keys import content_key, definition_key, encode
from wherry.graph.ops import (
    ComposedBase,
    Copy,
    ExecMount,
    ExecOp,
    FileOp,
    FilesOp,
    GitOp,
    GoBuildOp,
    GoCachePlace,
    HttpOp,
    ImageOp,
    LocalOp,
    MakeDirectory,
    MergeOp,
    MountKind,
    Op,
    WriteFile,
)
from wherry.oci.canonical import canonical_json
from wherry.oci.digest import Digest, sha256
from wherry.oci.image import RunConfig
from wherry.oci.platform import Platform

AMD64 = Platform("linux", "amd64")
OPS: tuple[Op, ...] = (
    ImageOp(ComposedBase.STATIC, (("certifi", "1"), ("tzdata", "2")), AMD64),
    GoBuildOp(
        directory="/src",
        packages=("example.com/a", "example.com/b"),
        names=("a", "b"),
        platform=AMD64,
        flags=("-trimpath", "-ldflags=-s -w"),
        environment=(("CGO_ENABLED", "0"), ("GOOS", "linux")),
        dynamic_allowed=False,
        image_directory="app",
        capabilities=(("net_bind_service",), ()),
        progress_name="a",
        mtime=7,
    ),
    FilesOp(sha256(b"tree"), 7, "a tree"),
    LocalOp("context", ("*.log", "!keep"), "/srv/project"),
    FileOp(
        (
            Copy(1, "/a*", "/to/", "app:staff", "u+x", True, ("*.txt",), True, True),
            WriteFile("EOF", b"text", "/f", "1:2", "600"),
            MakeDirectory("/w", 0o700, "app"),
        ),
        alone=True,
    ),
    MergeOp(),
    HttpOp("https://example.com/a.tar", "sha256:00", "a.tar"),
    GitOp("https://example.com/a.git", "main", "sub", True, "abc", False),
    ExecOp(
        args=("/bin/sh", "-c", "x"),
        env=("A=1", "B=2"),
        cwd="/w",
        user="app",
        mounts=(
            ExecMount(MountKind.CACHE, "/c", 1, "sub", "id", True, "locked", True, 1, 2, 3, 4, "E"),
        ),
        network="none",
        security="sandbox",
        platform=AMD64,
        heredocs=(("EOF", "text"),),
        hostname="h",
        shm_size=1,
        ulimits=(("nofile", 1, 2),),
        host_names=("db",),
        go_caches=(GoCachePlace("build", "/root/.cache/go-build", "/root"),),
        hosts=(("db", "10.0.0.7"),),
        proxy=(("HTTP_PROXY", "http://proxy"),),
    ),
)  # fmt: skip
INPUT, OTHER = sha256(b"input"), sha256(b"other")


def mutations(value: object) -> list[object]:
    """Values of the same type that differ from `value` in one place each."""
    match value:
        case bool():
            return [not value]
        case ComposedBase():
            return [item for item in ComposedBase if item is not value]
        case MountKind():
            return [MountKind.BIND, MountKind.TMPFS]
        case Enum():
            raise AssertionError(f"say how {type(value).__name__} is mutated")
        case str():
            return [f"{value}x", value[:-1], ""]
        case bytes():
            return [value + b"x", b""]
        case None:
            return [0]
        case Copy() | WriteFile() | MakeDirectory() | ExecMount() | GoCachePlace():
            return [
                dataclasses.replace(value, **{field.name: item})
                for field in dataclasses.fields(value)
                for item in mutations(getattr(value, field.name))
                if item != getattr(value, field.name)
            ]
        case int():
            return [value + 1, -value - 1]
        case Platform():
            return [
                value._replace(**{name: item})
                for name in Platform._fields
                for item in mutations(getattr(value, name))
                if item != getattr(value, name)
            ]
        case ():
            return [("x",)]
        case tuple():
            changed: list[object] = [value[1:], value[::-1], (*value, value[0]), ()]
            for number, item in enumerate(value):
                changed += [
                    (*value[:number], other, *value[number + 1 :]) for other in mutations(item)
                ]
            return [item for item in changed if item != value]
        case _:
            raise AssertionError(f"say how {type(value).__name__} is mutated")


def test_these_are_all_ops() -> None:
    assert {type(op) for op in OPS} == set(typing.get_args(Op))


@pytest.mark.parametrize("op", OPS, ids=lambda op: type(op).__name__)
def test_every_field_of_every_op_is_in_its_keys_unless_it_says_why_not(op: Op) -> None:
    definition, content = definition_key(op, (INPUT,)), content_key(op, (INPUT,))
    for item in dataclasses.fields(op):
        value = getattr(op, item.name)
        changed = mutations(value)
        assert changed, f"{item.name}: nothing to mutate"
        for other in changed:
            mutated = dataclasses.replace(op, **{item.name: other})
            outside = "outside_key" in item.metadata
            assert (definition_key(mutated, (INPUT,)) == definition) is outside, (item.name, other)
            assert (content_key(mutated, (INPUT,)) == content) is outside, (item.name, other)


@pytest.mark.parametrize("op", OPS, ids=lambda op: type(op).__name__)
def test_a_field_outside_of_keys_says_why(op: Op) -> None:
    for item in dataclasses.fields(op):
        if "outside_key" in item.metadata:
            assert len(item.metadata["outside_key"]) > 10


def test_definition_content_and_inputs_are_told_apart() -> None:
    op = OPS[0]
    keys = [
        definition_key(op, ()),
        definition_key(op, (INPUT,)),
        definition_key(op, (OTHER,)),
        definition_key(op, (INPUT, OTHER)),
        definition_key(op, (OTHER, INPUT)),
        definition_key(op, (INPUT, INPUT)),
        content_key(op, ()),
        content_key(op, (INPUT,)),
        definition_key(OPS[1], ()),
    ]
    assert len({key.digest for key in keys}) == len(keys)


@pytest.mark.parametrize("op", OPS, ids=lambda op: type(op).__name__)
def test_the_preimage_begins_with_kind_and_version_and_gives_the_digest(op: Op) -> None:
    key = definition_key(op, (INPUT,))
    sort, kind, fields, inputs = json.loads(key.preimage)
    assert (sort, kind, inputs) == ("definition", op.KIND, [str(INPUT)])
    assert set(fields) == {
        item.name for item in dataclasses.fields(op) if "outside_key" not in item.metadata
    }
    assert sha256(key.preimage) == key.digest
    name, _, version = op.KIND.partition("/")
    assert name
    assert int(version) >= 1


def test_keys_are_what_they_were() -> None:
    """Golden: a key that changes by accident throws every cache away."""
    assert [definition_key(op, (INPUT,)).digest.short for op in OPS] == GOLDEN


GOLDEN = [
    "57e05c7cd965", "cb9bbfe5c92a", "3715bea14fe2", "a3d922ad87f6", "344fb5da56f7", "c49f156d985c",
    "056926bb3799", "7c255d0a18ea", "4e25f6dc3cf4",
]  # fmt: skip

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4).map(tuple),
    max_leaves=8,
)


def typed(value: object) -> object:
    """A value with its types, so that True is not 1."""
    if isinstance(value, tuple):
        return tuple(typed(item) for item in value)
    return type(value).__name__, value


@given(values, values)
def test_distinct_values_have_distinct_encodings(one: object, other: object) -> None:
    same = canonical_json(encode(one)) == canonical_json(encode(other))
    if _looks_like_bytes(one) or _looks_like_bytes(other):
        return
    assert same == (typed(one) == typed(other))


def _looks_like_bytes(value: object) -> bool:
    """A tuple ("bytes", hex) is written as bytes are; no field of an op may be either."""
    if not isinstance(value, tuple):
        return False
    return value[:1] == ("bytes",) or any(_looks_like_bytes(item) for item in value)


@given(st.text(), st.text(), st.text(), st.text())
def test_neighbouring_texts_do_not_run_together(a: str, b: str, c: str, d: str) -> None:
    same = canonical_json(encode((a, b))) == canonical_json(encode((c, d)))
    assert same == ((a, b) == (c, d))


@given(st.dictionaries(st.text(), st.integers() | st.text()))
def test_canonical_json_is_one_text_for_one_value(value: dict[str, int | str]) -> None:
    backwards = dict(reversed(value.items()))
    assert canonical_json(value) == canonical_json(backwards)
    assert json.loads(canonical_json(value)) == value
    assert b"\n" not in canonical_json(value).replace(b"\\n", b"")


@pytest.mark.parametrize("value", [1.5, float("nan"), {"a": [0.0]}, [{"b": (1.0,)}]])
def test_canonical_json_refuses_floats(value: object) -> None:
    with pytest.raises(TypeError, match="floats"):
        canonical_json(value)  # type: ignore[arg-type] # what it must refuse


@pytest.mark.parametrize("value", [{1}, object(), 1.5, {"a": 1}])
def test_the_encoder_refuses_what_has_no_canonical_form(value: object) -> None:
    with pytest.raises(TypeError, match="no canonical form"):
        encode(value)


def _output(*layers: int) -> ImageOutput:
    named = tuple(LayerOutput(number, "made") for number in layers)
    return ImageOutput(AMD64, named, RunConfig(), (), "1970-01-01T00:00:00Z")


def test_a_graph_whose_vertices_point_backwards_is_sound() -> None:
    base, go = OPS[:2]
    BuildGraph((Vertex(base, (), "a"), Vertex(go, (0,), "b")), (_output(0, 1),)).validate()


@pytest.mark.parametrize(
    ("inputs", "layers"), [((1,), (0,)), ((2,), (0,)), ((-1,), (0,)), ((0,), (2,)), ((0,), (-1,))]
)
def test_a_graph_that_cannot_be_run_is_a_fault(
    inputs: tuple[int, ...], layers: tuple[int, ...]
) -> None:
    graph = BuildGraph((Vertex(OPS[0], (), "a"), Vertex(OPS[1], inputs, "b")), (_output(*layers),))
    with pytest.raises(InternalError):
        graph.validate()


def test_ops_are_values() -> None:
    for op in OPS:
        assert hash(op) == hash(dataclasses.replace(op))
        for field in dataclasses.fields(op):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(op, field.name, None)
    assert isinstance(INPUT, Digest)
