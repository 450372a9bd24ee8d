# SPDX-License-Identifier: Apache-2.0
"""`--output` in buildx's form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import UsageError
from wherry.exporters.spec import OutputKind, OutputSpec, parse_output

OCI, LOCAL = OutputKind.OCI, OutputKind.LOCAL
REGISTRY, IMAGE = OutputKind.REGISTRY, OutputKind.IMAGE


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
    ],
)
def test_what_buildx_users_write_is_understood(text: str, wanted: OutputSpec):
    assert parse_output(text, "/w") == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("type=docker", "type=docker is not in this release"),
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
        ("type=image,compression=zstd", "compression= is not in this release"),
        ("type=oci,dest=x,push=true", "type=oci does not know 'push'"),
        ("type=tar,dest=x", "type=tar is not in this release"),
        ("-", "type=tar, which is not in this release"),
        ("type=oci,dest=x,compression=zstd", "compression= is not in this release"),
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
    to_place = spec.kind in (OCI, LOCAL)
    assert (spec.dest == "-" or spec.dest.startswith("/")) if to_place else spec.dest == ""
