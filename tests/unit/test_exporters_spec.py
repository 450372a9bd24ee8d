# SPDX-License-Identifier: Apache-2.0
"""`--output` in buildx's form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import UsageError
from wherry.exporters.places import places_of, refuse_same
from wherry.exporters.spec import (
    LOAD,
    OutputKind,
    OutputSpec,
    Recompression,
    check_outputs,
    parse_output,
    parse_outputs,
)
from wherry.fstree.compression import Compression, CompressionKind

OCI, LOCAL = OutputKind.OCI, OutputKind.LOCAL
REGISTRY, IMAGE = OutputKind.REGISTRY, OutputKind.IMAGE
DOCKER, TAR = OutputKind.DOCKER, OutputKind.TAR
GZIP, ZSTD = CompressionKind.GZIP, CompressionKind.ZSTD
PLAIN = Compression(CompressionKind.UNCOMPRESSED, 0)


def packed(kind: CompressionKind, level: int, said: bool = False, force: bool = False):
    return Recompression(Compression(kind, level), said, force)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("out", OutputSpec(LOCAL, "/w/out")),
        ("/abs", OutputSpec(LOCAL, "/abs")),
        ("type=local,dest=out", OutputSpec(LOCAL, "/w/out")),
        ("type=oci,dest=m.tar", OutputSpec(OCI, "/w/m.tar")),
        ("dest=m.tar,type=oci", OutputSpec(OCI, "/w/m.tar")),
        ("TYPE=OCI,Dest=m.tar", OutputSpec(OCI, "/w/m.tar")),
        ("type=oci,dest=dir,tar=false", OutputSpec(OCI, "/w/dir", tar=False)),
        ("type=oci,dest=m.tar,tar=true", OutputSpec(OCI, "/w/m.tar")),
        ("type=oci,dest=-", OutputSpec(OCI, "-")),
        ("type=oci", OutputSpec(OCI, "-")),
        ('type=oci,"dest=a,b.tar"', OutputSpec(OCI, "/w/a,b.tar")),
        ("type=oci,dest=a=b.tar", OutputSpec(OCI, "/w/a=b.tar")),
        (
            'type=oci,dest=m.tar,"name=a:1,b:2"',
            OutputSpec(OCI, "/w/m.tar", names=("a:1", "b:2")),
        ),
        ("type=registry", OutputSpec(REGISTRY, "")),
        (
            "type=registry,name=localhost:5000/a:1",
            OutputSpec(REGISTRY, "", names=("localhost:5000/a:1",)),
        ),
        ('type=registry,"name=a/b, c/d:2"', OutputSpec(REGISTRY, "", names=("a/b", "c/d:2"))),
        ("type=image", OutputSpec(IMAGE, "")),
        ("type=image,push=false,name=x", OutputSpec(IMAGE, "", names=("x",))),
        ("type=image,push=true", OutputSpec(REGISTRY, "")),
        ("Type=Image,PUSH=1,name=x:2", OutputSpec(REGISTRY, "", names=("x:2",))),
        ("-", OutputSpec(TAR, "-")),
        ("type=tar", OutputSpec(TAR, "-")),
        ("type=tar,dest=x.tar", OutputSpec(TAR, "/w/x.tar")),
        ("type=tar,dest=x.tar,platform-split=true", OutputSpec(TAR, "/w/x.tar", split=True)),
        ("type=local,dest=x,platform-split=false", OutputSpec(LOCAL, "/w/x", split=False)),
        ("type=docker", LOAD),
        ("type=docker,context=rootless", OutputSpec(DOCKER, "", context="rootless")),
        ("type=docker,dest=-", OutputSpec(DOCKER, "-")),
        ("type=docker,dest=x.tar,name=a:1", OutputSpec(DOCKER, "/w/x.tar", names=("a:1",))),
        ("type=oci,dest=x,oci-mediatypes=true", OutputSpec(OCI, "/w/x")),
        ("type=oci,compression=zstd", OutputSpec(OCI, "-", recompression=packed(ZSTD, 3))),
        (
            "type=oci,compression=ZSTD,compression-level=19,force-compression=true",
            OutputSpec(OCI, "-", recompression=packed(ZSTD, 19, True, True)),
        ),
        (
            "type=docker,dest=x,compression=uncompressed",
            OutputSpec(DOCKER, "/w/x", recompression=Recompression(PLAIN)),
        ),
        (
            "type=registry,force-compression=1",
            OutputSpec(REGISTRY, "", recompression=packed(GZIP, 1, False, True)),
        ),
        (
            "type=image,compression-level=9",
            OutputSpec(IMAGE, "", recompression=packed(GZIP, 9, True)),
        ),
    ],
)
def test_what_buildx_users_write_is_understood(text: str, wanted: OutputSpec):
    assert parse_output(text, "/w") == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("type=cacheonly", "type=cacheonly is not in this release"),
        ("type=docker,dest=x,tar=false", "a docker archive is a file"),
        ("type=docker,dest=x/", "is a directory, not a file"),
        ("type=docker,dest=x,context=c", "context= names an engine, and dest= a file"),
        ("type=oci,context=c", "context= is not in this release for type=oci"),
        ("type=tar,name=x", "type=tar does not know 'name'"),
        ("type=tar,compression=zstd", "holds files, not layers"),
        ("type=local,dest=x,force-compression=true", "holds files, not layers"),
        ("type=local,dest=x,platform-split=both", "neither true nor false"),
        ("type=oci,oci-mediatypes=false", "writes the OCI's media types only"),
        ("type=oci,compression=zst", "did you mean 'zstd'?"),
        ("type=oci,compression=estargz", "compression=estargz is not in this release"),
        ("type=oci,compression=zstd,compression-level=23", "use 0 to 22; 3 is the default"),
        ("type=oci,compression-level=10", "use 0 to 9; 1 is the default"),
        ("type=oci,compression-level=-1", "is no whole number"),
        ("type=oci,compression-level=high", "is no whole number"),
        ("type=oci,compression-level=", "is no whole number"),
        ("type=oci,compression=uncompressed,compression-level=1", "means nothing without"),
        ("type=oci,force-compression=maybe", "neither true nor false"),
        ("type=registry,dest=x", "type=registry does not know 'dest'"),
        ("type=registry,push=false", "type=registry does not know 'push'"),
        ("type=registry,nam=x", "did you mean 'name'?"),
        ("type=registry,name=Upper", "a repository name is lower case"),
        ("type=registry,name=a@sha256:" + "0" * 64, "a tag has no digest"),
        ("type=registry,registry.insecure=true", "a setting of the host"),
        ("type=registri,name=x", "did you mean 'registry'?"),
        ("type=image,push=maybe", "push=maybe is neither true nor false"),
        ("type=image,push-by-digest=true", "push-by-digest= is not in this release"),
        ("type=image,name-canonical=true", "name-canonical= is not in this release"),
        ("type=oci,dest=x,push=true", "type=oci does not know 'push'"),
        ("type=oci,dest=x,annotation.a=b", "annotation.a= is not in this release"),
        ("type=ocii,dest=x", "did you mean 'oci'?"),
        ("type=oci,dst=x", "did you mean 'dest'?"),
        ("type=local,dest=x,tar=false", "does not know 'tar'"),
        ("dest=x", "it has no type"),
        ("type=oci,dest", "'dest' is not key=value"),
        ("type=oci,dest=a,dest=b", "'dest' is there twice"),
        ("type=oci,dest=x,tar=maybe", "neither true nor false"),
        ("type=oci,dest=x/", "is a directory, not a file"),
        ("type=oci,dest=x,name=Upper", "a repository name is lower case"),
        ("type=oci,tar=false", "needs a directory"),
        ("type=oci,dest=-,tar=false", "needs a directory"),
        ("type=local", "needs a directory"),
        ("type=local,dest=-", "needs a directory"),
        ("", "nothing is in it"),
        ('type=oci,"dest=x', "not one CSV record"),
        ("type=oci\ndest=x", "not one CSV record"),
    ],
)
def test_anything_else_is_refused_with_its_reason(text: str, words: str):
    with pytest.raises(UsageError) as caught:
        parse_output(text, "/w")
    assert words in str(caught.value)
    assert caught.value.hint


@given(st.text())
def test_any_text_is_an_output_or_a_usage_error(text: str):
    try:
        spec = parse_output(text, "/w")
    except UsageError:
        return
    to_place = spec.kind not in (REGISTRY, IMAGE) and not spec.is_load
    assert (spec.dest == "-" or spec.dest.startswith("/")) if to_place else spec.dest == ""


@given(
    st.dictionaries(
        st.sampled_from(
            ("type", "dest", "tar", "name", "context", "compression", "compression-level",
             "force-compression", "platform-split", "push", "oci-mediatypes")
        ),
        st.sampled_from(
            ("oci", "docker", "tar", "local", "registry", "image", "true", "false", "x", "-", "",
             "zstd", "gzip", "uncompressed", "9", "22", "a/b:1")
        ),
    )
)  # fmt: skip
def test_any_combination_is_an_output_or_a_usage_error(attributes: dict[str, str]):
    text = ",".join(f"{key}={value}" for key, value in attributes.items())
    try:
        spec = parse_output(text, "/w")
    except UsageError as error:
        assert error.why
        assert error.hint
        return
    assert spec.kind == attributes["type"] or attributes["type"] == "image"
    assert (spec.recompression is None) == (not any("compression" in key for key in attributes))


def test_load_is_one_more_output_unless_it_is_there():
    assert parse_outputs(("out",), "/w", load=True)[1:] == (LOAD,)
    assert parse_outputs(("type=docker,context=x",), "/w", load=True) == (
        OutputSpec(DOCKER, "", context="x"),
    )
    assert parse_outputs((), "/w") == ()


@pytest.mark.parametrize(
    ("texts", "place"),
    [
        (("type=oci,dest=a", "type=docker,dest=./a"), "/w/./a"),
        (("type=oci", "-"), "stdout"),
        (("out", "type=local,dest=/w/out"), "/w/out"),
        (("out", "type=oci,tar=false,dest=/w/out"), "/w/out"),
    ],
)
def test_two_outputs_for_one_place_are_refused(texts: tuple[str, ...], place: str):
    with pytest.raises(UsageError) as caught:
        refuse_same(places_of(parse_outputs(texts, "/w")))
    assert caught.value.what == f"two outputs want {place}"


def test_a_link_is_the_place_it_leads_to(tmp_path):
    (tmp_path / "link").symlink_to("real")
    texts = ("type=oci,dest=link", "type=oci,dest=real")
    with pytest.raises(UsageError, match="two outputs want"):
        refuse_same(places_of(parse_outputs(texts, str(tmp_path))))


def test_what_is_no_place_and_a_layout_may_come_twice():
    layouts = ("type=oci,tar=false,dest=l", "type=oci,tar=false,dest=l,compression=zstd")
    names = ("type=registry,name=a", "type=registry,name=b")
    texts = (*layouts, *names, "type=docker", "type=docker,context=x")
    refuse_same(places_of(parse_outputs(texts, "/w")))


ONE, SPLIT, TWO = (("api", 1),), (("api", 2),), (("api", 1), ("web", 1))


@pytest.mark.parametrize(
    ("text", "images", "words"),
    [
        ("type=tar,platform-split=false", SPLIT, "write to the same paths"),
        ("out", TWO, "api, web would write to the same paths"),
        ("type=tar,dest=x", TWO, "type=tar takes the files of one image, and these are 2"),
        ("type=oci,dest=x,name=n:1", TWO, "all of api, web would be called n:1"),
        ("type=docker,dest=x", SPLIT, "cannot hold the 2 platforms of api"),
    ],
)
def test_an_output_that_cannot_take_the_images_is_told(text: str, images, words: str):
    with pytest.raises(UsageError) as caught:
        check_outputs(parse_outputs((text,), "/w"), images)
    assert words in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "images"),
    [
        ("out", SPLIT),
        ("type=local,dest=x,platform-split=false", ONE),
        ("type=tar", SPLIT),
        ("type=oci", TWO),
        ("type=docker,dest=x", TWO),
        ("type=docker", SPLIT),
        ("type=docker,dest=x,name=n:1", ONE),
        ("type=registry,name=n:1", SPLIT),
    ],
)
def test_an_output_that_can_take_them_is_not(text: str, images):
    check_outputs(parse_outputs((text,), "/w"), images)
