# SPDX-License-Identifier: Apache-2.0
"""The reference pages of the files of settings, written from the declarations of their keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import Field, fields
from typing import Any

from wherry.oci.digest import sha256
from wherry.settings.cache import CacheSettings, UserCacheSettings
from wherry.settings.check import CheckSettings
from wherry.settings.declaration import declared, key_of
from wherry.settings.lock import LockedBase, LockFile, render_lock
from wherry.settings.model import BuildSettings, ImageDefaults, ImageSettings
from wherry.settings.registry import RegistrySettings
from wherry.settings.store import StoreSettings

_HEAD = """\
# wherry.toml

`wherry.toml` lies at the root of a Go module and holds what flags would repeat. It may be left
out, and so may every key except `packages`. Flags on the command line win over it, and it wins
over GOFLAGS. An unknown key is an error, and all errors are told at once with their lines.
`wherry build --print-settings` shows what holds for an image, and where each value comes from.

Editors find the keys, their meanings and most mistakes by `wherry.schema.json`, a JSON schema
(draft 2020-12) that lies in the package beside `wherry/settings`. It takes every file that wherry
takes.

This page is written from the declarations in `src/wherry/settings/model.py`.
"""
_BUILD = """\
## `[build]`

How Go builds, and what holds for every image.
"""
_IMAGE = """\
## `[image.NAME]`

One image; NAME is what `--target` takes. Of the keys that `[build]` knows too, tables (`env`,
`labels`, `annotations`) are merged, the image's own value winning; the others replace the common
value, an empty list too.

Names hold letters, digits, `.`, `_` and `-`; two that differ only in case are an error.
"""
_DETAILS = """\
## `files`

Each entry is `{ from, to, owner, mode }`; `from` and `to` are needed. A long list reads better as
tables, each below a header `[[image.api.files]]`. [Files](../files.md) says what patterns match.

| key | value | meaning |
|---|---|---|
| `from` | path or pattern | What lies below the module's root; patterns as in `.dockerignore` |
| `to` | absolute path | Where it lies in the image; with a slash at its end it is a directory |
| `owner` | `user` or `user:group` | Numbers, or names that the base knows; without it root |
| `mode` | `0o640` or `"0640"` | Of files; without it 0755 for executables, else 0644 |

## Templates

`tags`, `args`, `ldflags`, `gcflags` and the values of `env`, `labels` and `annotations` may hold
templates, such as `{{.Version}}`, `{{.Git.ShortCommit}}` or `{{.Env.CI_JOB}}`: what they stand for
is put in when the image is built. A name that is not known is an error.

## What contradicts

| together | why |
|---|---|
| `cgo = true` and `base = "static"` or `"scratch"` | they hold no C library: name `libc-base` |
| `compression-level` and `compression = "uncompressed"` | there is nothing to compress |
| `compression-level` that the compression has not | gzip has 0 to 9, zstd 1 to 22 |
| one tag twice, in one image or two | a tag means one image |
| one package twice in an image | each binary is there once |
| one entry of `files` twice | one of them would be lost |

"""
_REGISTRY = """\
## `[registry]`

Where images come from and go to. The user's own [config.toml](config-toml.md) knows the same
table: this file wins, entry by entry in `mirrors`, and its `insecure` and `ca` are added to the
user's. Client certificates are for the user's file only.
"""
_STORE = """\
## `[store]`

The local store. The user's own [config.toml](config-toml.md) knows the same table, and wins.
"""
_CACHE = """\
## `[cache]`

[Go caches that travel](../go-caches.md) between machines. Directories and the key are relative to
this file's directory. A flag replaces what the file says, and `--cache-from=` or `--cache-to=`
without a value leaves it out.

Whoever may write to a cache can put code into what is built with it, and into your Go build cache.
So they are used only where the user's own [config.toml](config-toml.md) trusts the place, or where
the environment has `CI` set (and not to `false` or 0); otherwise one line says so. Flags are
always heeded.
"""
_CHECK = """\
## `[check]`

What [`wherry check`](../check.md) asks. Rules are written by id or by name; flags replace what the
file says.
"""
_USER_CACHE = """\
## `[cache]`

Which [Go caches](../go-caches.md#trust) of projects you trust.
"""
_USER_STORE = """\
## `[store]`

The local store. This file wins over a project's.
"""
_USER = """\
# config.toml

`$XDG_CONFIG_HOME/wherry/config.toml`, by default `~/.config/wherry/config.toml`, holds what is so
for every project on your machine. It may be left out, and so may every key. A project's
[wherry.toml](wherry-toml.md) knows the same tables. Its `[registry]` wins, entry by entry in
`mirrors`, and its `insecure` and `ca` are added to yours. Passwords do not belong here:
`wherry login` keeps them. An unknown key is an error, and all errors are told at once with their
lines.

This page is written from the declarations in `src/wherry/settings/registry.py`, `store.py` and
`cache.py`.

## `[registry]`

Where images come from and go to. In paths, `~/` is your home directory.
"""
_LOCK = """\
# wherry.lock

`wherry lock` writes `wherry.lock` beside `wherry.toml`; commit it. It holds what a build takes
from elsewhere besides Go modules, which `go.sum` holds: with `--locked`, a build that would take
anything else fails. `wherry lock --update` looks for newer ones. Equal contents always give equal
bytes, with one value on a line, so that a merge seldom conflicts; where it does, take either side,
or remove the file, and run `wherry lock`.

This page is written from the declarations in `src/wherry/settings/lock.py`.

## The file

`version` is 1: the format described here. A wherry that knows only older formats refuses the file.
"""
_LOCKED_BASE = """\
## `[[base]]`

One image that a build starts from, for all its platforms.
"""


def render_reference() -> str:
    """The page on `wherry.toml`, as `docs/reference/wherry-toml.md` holds it."""
    tables = [
        *(_BUILD, _table(_own_first(BuildSettings))),
        *(_IMAGE, _table(_own_first(ImageSettings))),
        *(_REGISTRY, _table(_of_projects())),
        *(_STORE, _table(declared(StoreSettings))),
        *(_CACHE, _table(declared(CacheSettings))),
        *(_CHECK, _table(declared(CheckSettings))),
        _DETAILS.rstrip("\n") + "\n",
    ]
    return "\n".join([_HEAD, *tables, _every_key(render_example())])


def render_user_reference() -> str:
    """The page on `config.toml`, as `docs/reference/config-toml.md` holds it."""
    tables = [
        _table(declared(RegistrySettings)),
        *(_USER_STORE, _table(declared(StoreSettings))),
        *(_USER_CACHE, _table(declared(UserCacheSettings))),
    ]
    return "\n".join([_USER, *tables, _every_key(render_user_example())])


def render_lock_reference() -> str:
    """The page on `wherry.lock`, as `docs/reference/wherry-lock.md` holds it."""
    tables = [_table(declared(LockFile)), _LOCKED_BASE, _table(declared(LockedBase))]
    return "\n".join([_LOCK, *tables, _toml("## An example", render_lock(example_lock()))])


def render_example() -> str:
    """A file with every key, each once in each table that knows it."""
    build, image = _lines(_own_first(BuildSettings)), _lines(_own_first(ImageSettings))
    lines = [
        "[build]",
        *build,
        "",
        "[image.api]",
        *image,
        "",
        "[registry]",
        *_lines(_of_projects()),
        "",
        "[store]",
        *_lines(declared(StoreSettings)),
        "",
        "[cache]",
        *_lines(declared(CacheSettings)),
        "",
        "[check]",
        *_lines(declared(CheckSettings)),
    ]
    return "\n".join(lines) + "\n"


def render_user_example() -> str:
    """A user's file with every key."""
    registry, store = _lines(declared(RegistrySettings)), _lines(declared(StoreSettings))
    cache = _lines(declared(UserCacheSettings))
    lines = ["[registry]", *registry, "", "[store]", *store, "", "[cache]", *cache]
    return "\n".join(lines) + "\n"


def example_lock() -> LockFile:
    """What `wherry.lock` holds, as an example."""
    platforms = (("linux/amd64", sha256(b"amd64")), ("linux/arm64", sha256(b"arm64")))
    base = LockedBase(
        reference="docker.io/library/debian:12-slim",
        digest=sha256(b"index"),
        media_type="application/vnd.oci.image.index.v1+json",
        size=6794,
        platforms=platforms,
    )
    return LockFile(
        go="1.26.8", data=(("certifi", "2026.1.4"), ("tzdata", "2026.1")), bases=(base,)
    )


def _every_key(example: str) -> str:
    return _toml("## Every key", example)


def _toml(heading: str, text: str) -> str:
    return f"{heading}\n\n```toml\n{text}```\n"


def _table(keys: Sequence[Field[Any]]) -> str:
    rows = [
        f"| `{key_of(item.name)}` | {item.metadata['kind'].name} | {_meaning(item)} |"
        for item in keys
    ]
    return "\n".join(["| key | value | meaning |", "|---|---|---|", *rows, ""])


def _meaning(item: Field[Any]) -> str:
    doc, flag = item.metadata["doc"], item.metadata["flag"]
    return f"{doc}; flag `{flag}`" if flag else str(doc)


def _lines(keys: Sequence[Field[Any]]) -> list[str]:
    return [f"{key_of(item.name)} = {item.metadata['kind'].example}" for item in keys]


def _own_first(owner: type[ImageDefaults]) -> list[Field[Any]]:
    common = {item.name for item in fields(ImageDefaults)}
    return sorted(declared(owner), key=lambda item: item.name in common)


def _of_projects() -> list[Field[Any]]:
    return [item for item in declared(RegistrySettings) if not item.metadata["users"]]
