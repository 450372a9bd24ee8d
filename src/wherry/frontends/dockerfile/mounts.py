# SPDX-License-Identifier: Apache-2.0
"""`RUN --mount=type=...,key=value,...` (Dockerfile reference, "RUN --mount").

Variables are expanded in each value, after the text is split at its commas: a comma that comes out
of a variable splits nothing. Keys are read from left to right, and some (`size`, `required`) are
allowed only after the `type=` that they belong to. The last of equal keys counts. Refused beyond
what BuildKit refuses are an empty `env=`, which has no meaning, and sizes in hexadecimal or of 2^63
bytes and more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.frontends.dockerfile.fields import split_fields
from wherry.frontends.dockerfile.instructions import Mount
from wherry.frontends.dockerfile.numbers import parse_size, parse_truth, parse_unsigned
from wherry.frontends.dockerfile.refusals import BadValue, choices, lower_case
from wherry.frontends.dockerfile.source import Position, Problems, Range

if TYPE_CHECKING:
    from collections.abc import Callable

TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
SHARING = ("shared", "private", "locked")

_NOWHERE = Range(Position(0, 0), Position(0, 0))
_TEXTS = {
    "from": "from_",
    "source": "source",
    "src": "source",
    "target": "target",
    "dst": "target",
    "destination": "target",
    "id": "id",
    "env": "env",
}
_READ_ONLY = {"readonly": True, "ro": True, "readwrite": False, "rw": False}
_CLOSED = {"type": TYPES, "sharing": SHARING}
_NUMBERS = {"mode": 8, "uid": 10, "gid": 10}
_KEYS = (
    *("type", "target", "dst", "destination", "source", "src", "from", "id"),
    *("ro", "readonly", "rw", "readwrite", "sharing", "required", "mode", "uid", "gid"),
    *("size", "env"),
)
# Keys that may stand without a value.
_BARE = frozenset({*_READ_ONLY, "required"})
# The types that a key belongs to, for keys that do not suit all.
_ONLY_FOR = {"required": ("secret", "ssh"), "size": ("tmpfs",)}
_WITH_OWNER = frozenset({"secret", "ssh", "cache"})


def parse_mount(
    text: str, expand: Callable[[str], str] | None = None, *, where: Range = _NOWHERE
) -> Mount:
    """What follows `--mount=`, checked; `expand` makes each value's text, None keeps it as it is.

    Raises `Problems` with one problem at `where`. What `expand` raises passes through.
    """
    draft = _Draft()
    try:
        for field in split_fields(text):
            _read_field(draft, field, expand)
        mount = draft.mount()
        _check(mount)
    except BadValue as wrong:
        raise Problems((_named(text, wrong).at(where),)) from None
    return mount


def check_unexpanded(text: str, *, where: Range) -> None:
    """Check of a mount what no variable can change: its fields, its keys and `from`."""
    try:
        for field in split_fields(text):
            key, equals, value = _split(field)
            if key == "from" and equals:
                _check_from(value)
    except BadValue as wrong:
        raise Problems((_named(text, wrong).at(where),)) from None


def needs_expansion(text: str, escape: str) -> bool:
    """Whether a value of a mount may change when variables, quotes and escapes are worked in."""
    return any(sign in text for sign in ("$", "'", '"', escape))


def _named(text: str, wrong: BadValue) -> BadValue:
    return BadValue(f"--mount={text}: {wrong.message}", wrong.hint)


def _split(field: str) -> tuple[str, str, str]:
    name, equals, value = field.partition("=")
    key = lower_case(name)
    if not equals and key not in _BARE:
        known = f"write {key}=VALUE" if key in _KEYS else choices(key, _KEYS, "the keys are")
        raise BadValue(f"{field!r} is not key=value", known)
    if key not in _KEYS:
        raise BadValue(f"there is no key {name!r}", choices(key, _KEYS, "the keys are"))
    return key, equals, value


class _Draft:
    """The keys of a mount that were read so far, by the names of `Mount`."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.truths: dict[str, bool] = {}
        self.numbers: dict[str, int] = {}

    @property
    def type(self) -> str:
        """The type, which is bind until another is told."""
        return self.texts.get("type", "bind")

    def mount(self) -> Mount:
        """The mount as far as it was read."""
        return Mount(
            self.type,
            target=self.texts.get("target", ""),
            source=self.texts.get("source", ""),
            from_=self.texts.get("from_", ""),
            id=self.texts.get("id", ""),
            read_only=self.truths.get("read_only"),
            sharing=self.texts.get("sharing", ""),
            required=self.truths.get("required", False),
            mode=self.numbers.get("mode"),
            uid=self.numbers.get("uid"),
            gid=self.numbers.get("gid"),
            size=self.numbers.get("size"),
            env=self.texts.get("env", ""),
        )


def _read_field(draft: _Draft, field: str, expand: Callable[[str], str] | None) -> None:
    key, equals, value = _split(field)
    if key in _ONLY_FOR and draft.type not in _ONLY_FOR[key]:
        kinds = " and ".join(_ONLY_FOR[key])
        raise BadValue(
            f"{key} is for mounts of type {kinds}, not {draft.type}",
            f"write type={_ONLY_FOR[key][0]} before {key}, or remove {key}",
        )
    if not equals:
        value = "true"
    elif expand is not None:
        value = expand(value)
    elif key == "from":
        _check_from(value)
    if key in _TEXTS:
        _read_text(draft, key, value)
    elif key in _CLOSED:
        if lower_case(value) not in _CLOSED[key]:
            raise BadValue(f"there is no {key} {value!r}", choices(value, _CLOSED[key]))
        draft.texts[key] = lower_case(value)
    else:
        _read_number(draft, key, value)


def _check_from(value: str) -> None:
    if "$" in value[:-1]:
        raise BadValue(
            "variables are not expanded in from",
            "give the stage or image a name of its own (FROM ... AS NAME), and write from=NAME",
        )


def _read_text(draft: _Draft, key: str, value: str) -> None:
    if key == "env" and not value:
        raise BadValue("env is empty", "write env=NAME, the variable that the secret goes to")
    draft.texts[_TEXTS[key]] = value


def _read_number(draft: _Draft, key: str, value: str) -> None:
    try:
        if key in _NUMBERS:
            draft.numbers[key] = parse_unsigned(value, _NUMBERS[key])
        elif key == "size":
            draft.numbers[key] = parse_size(value)
        elif key in _READ_ONLY:
            draft.truths["read_only"] = parse_truth(value) is _READ_ONLY[key]
        else:
            draft.truths[key] = parse_truth(value)
    except BadValue as wrong:
        raise BadValue(f"{key}: {wrong.message}", wrong.hint) from None


def _check(mount: Mount) -> None:
    if mount.type not in _WITH_OWNER:
        for key in ("mode", "uid", "gid"):
            if getattr(mount, key) is not None:
                raise BadValue(
                    f"{key} is for mounts of type cache, secret and ssh, not {mount.type}",
                    f"remove {key}",
                )
    if mount.type == "secret":
        _check_secret(mount)
    if mount.sharing and mount.type != "cache":
        raise BadValue(f"sharing is for mounts of type cache, not {mount.type}", "remove sharing")


def _check_secret(mount: Mount) -> None:
    if mount.from_:
        raise BadValue(
            "a secret does not come from a stage or image", "remove from, and name it by id=NAME"
        )
    if not (mount.source or mount.target or mount.id):
        raise BadValue("the secret has no name", "write id=NAME")
    if mount.source and mount.id:
        raise BadValue("source and id both name the secret", "remove source")
