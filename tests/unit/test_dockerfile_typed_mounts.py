# SPDX-License-Identifier: Apache-2.0
"""Mounts of RUN: every key, what it may be, and what is refused."""

from __future__ import annotations

import pytest

from wherry.frontends.dockerfile.instructions import Mount
from wherry.frontends.dockerfile.source import Position, Problems, Range
from wherry.frontends.dockerfile.typed import parse_mount


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("target=/a", Mount("bind", target="/a")),
        ("type=bind,source=/s,dst=/a,from=b", Mount("bind", "/a", "/s", "b")),
        ("TYPE=Bind,Src=s,destination=/a,rw", Mount("bind", "/a", "s", read_only=False)),
        ("target=/a,target=/b", Mount("bind", "/b")),
        ("target=/a,ro", Mount("bind", "/a", read_only=True)),
        ("target=/a,readonly=false", Mount("bind", "/a", read_only=False)),
        ("target=/a,readwrite=t", Mount("bind", "/a", read_only=False)),
        ("target=/a,rw=0", Mount("bind", "/a", read_only=True)),
        ("target=", Mount("bind")),
        ("target=/a=b", Mount("bind", "/a=b")),
        ('"target=/a,b"', Mount("bind", "/a,b")),
        ('"target=/a""b",ro', Mount("bind", '/a"b', read_only=True)),
        ("from=x$,target=/a", Mount("bind", "/a", from_="x$")),
        ("type=cache,target=/a,id=x,sharing=LOCKED",
         Mount("cache", "/a", id="x", sharing="locked")),
        ("type=cache,mode=0755,uid=1,gid=4294967295",
         Mount("cache", mode=0o755, uid=1, gid=4294967295)),
        ("type=tmpfs,target=/a,size=1.5k", Mount("tmpfs", "/a", size=1536)),
        ("type=secret,id=x", Mount("secret", id="x")),
        ("type=secret,source=x,env=Y,required,mode=0400",
         Mount("secret", source="x", env="Y", required=True, mode=0o400)),
        ("type=secret,target=/x,required=false", Mount("secret", "/x")),
        ("type=ssh", Mount("ssh")),
        ("type=ssh,id=k,target=/s,required=true", Mount("ssh", "/s", id="k", required=True)),
        # The order counts: what is refused for bind was asked of a secret.
        ("type=secret,required,type=bind,target=/a", Mount("bind", "/a", required=True)),
    ],
)  # fmt: skip
def test_right_mounts(text: str, mount: Mount) -> None:
    assert parse_mount(text) == mount


_KEYS = (
    "the keys are: type, target, dst, destination, source, src, from, id, ro, readonly, rw,"
    " readwrite, sharing, required, mode, uid, gid, size, env"
)
_FROM = "give the stage or image a name of its own (FROM ... AS NAME), and write from=NAME"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "it is empty", "write key=value pairs, joined by commas"),
        ("type=volume", "there is no type 'volume'",
         "choose from: bind, cache, tmpfs, secret, ssh"),
        ("type=cach", "there is no type 'cach'",
         "did you mean 'cache'? choose from: bind, cache, tmpfs, secret, ssh"),
        ("target", "'target' is not key=value", "write target=VALUE"),
        ("nonsense", "'nonsense' is not key=value", _KEYS),
        ("target=/a,", "'' is not key=value", _KEYS),
        ("soruce=/a", "there is no key 'soruce'", f"did you mean 'source'? {_KEYS}"),
        (" target=/a", "there is no key ' target'", f"did you mean 'target'? {_KEYS}"),
        ("from=$X,target=/a", "variables are not expanded in from", _FROM),
        ("from=${X},target=/a", "variables are not expanded in from", _FROM),
        ("target=/a,ro=maybe", "ro: 'maybe' is neither true nor false", ""),
        ("type=ssh,required=yes", "required: 'yes' is neither true nor false", ""),
        ("target=/a,required", "required is for mounts of type secret and ssh, not bind",
         "write type=secret before required, or remove required"),
        ("required,type=ssh", "required is for mounts of type secret and ssh, not bind",
         "write type=secret before required, or remove required"),
        ("type=cache,target=/a,size=1", "size is for mounts of type tmpfs, not cache",
         "write type=tmpfs before size, or remove size"),
        ("type=tmpfs,size=big", "size: 'big' is not a size", "write a size such as 64m or 1.5g"),
        ("type=cache,sharing=none", "there is no sharing 'none'",
         "choose from: shared, private, locked"),
        ("target=/a,sharing=locked", "sharing is for mounts of type cache, not bind",
         "remove sharing"),
        ("type=secret,id=x,sharing=shared", "sharing is for mounts of type cache, not secret",
         "remove sharing"),
        ("target=/a,mode=0755", "mode is for mounts of type cache, secret and ssh, not bind",
         "remove mode"),
        ("type=tmpfs,uid=1", "uid is for mounts of type cache, secret and ssh, not tmpfs",
         "remove uid"),
        ("target=/a,gid=1", "gid is for mounts of type cache, secret and ssh, not bind",
         "remove gid"),
        ("type=ssh,mode=0888", "mode: '0888' is not an octal number from 0 to 37777777777", ""),
        ("type=ssh,uid=-1", "uid: '-1' is not a number from 0 to 4294967295", ""),
        ("type=ssh,gid=4294967296", "gid: '4294967296' is not a number from 0 to 4294967295", ""),
        ("type=secret", "the secret has no name", "write id=NAME"),
        ("type=secret,env=A", "the secret has no name", "write id=NAME"),
        ("type=secret,id=x,env=", "env is empty",
         "write env=NAME, the variable that the secret goes to"),
        ("type=secret,id=x,source=y", "source and id both name the secret", "remove source"),
        ("type=secret,id=x,from=y", "a secret does not come from a stage or image",
         "remove from, and name it by id=NAME"),
        ('target="/a"', "the quotes in 'target=\"/a\"' do not pair",
         'quote whole fields ("target=/a,b"), and write a quote inside one twice'),
        ('"target=/a', "the quotes in '\"target=/a' do not pair",
         'quote whole fields ("target=/a,b"), and write a quote inside one twice'),
    ],
)  # fmt: skip
def test_wrong_mounts(text: str, message: str, hint: str) -> None:
    where = Range(Position(3, 4), Position(3, 9))
    with pytest.raises(Problems) as caught:
        parse_mount(text, where=where)
    (problem,) = caught.value.problems
    assert problem.message == f"--mount={text}: {message}"
    assert (problem.hint, problem.range) == (hint, where)


def test_values_are_expanded_after_the_fields_are_split() -> None:
    values = {"$T": "cache", "$P": "/a,b", "$R": "true"}
    mount = parse_mount("type=$T,target=$P,ro=$R,ro", lambda value: values.get(value, value))
    assert mount == Mount("cache", "/a,b", read_only=True)


def test_keys_are_not_expanded() -> None:
    with pytest.raises(Problems, match="there is no key"):
        parse_mount("$T=cache", lambda _: "type")


def test_what_the_expander_raises_passes_through() -> None:
    def expand(value: str) -> str:
        raise LookupError(value)

    with pytest.raises(LookupError, match=r"\$P"):
        parse_mount("target=$P", expand)
