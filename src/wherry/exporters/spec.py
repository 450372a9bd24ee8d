# SPDX-License-Identifier: Apache-2.0
"""`-o/--output` as `docker buildx build` writes it: one CSV record of `key=value` fields.

A bare `DIR` means `type=local,dest=DIR`, a bare `-` `type=tar,dest=-`; `type=registry` is short for
`type=image,push=true`, and `type=docker` without `dest` is `--load`. Words of buildx that this
release does not bring are known and refused as such, never taken for a spelling mistake.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from wherry.errors import UsageError, near
from wherry.exporters.spec_fields import Attributes, fields_of
from wherry.fstree.compression import Compression, CompressionKind, compression
from wherry.oci.reference import parse_reference

STDOUT = "-"

_COMPRESSION = ("compression", "compression-level", "force-compression")
_ATTRIBUTES = {
    "oci": ("type", "dest", "tar", "name", "oci-mediatypes", *_COMPRESSION),
    "docker": ("type", "dest", "tar", "name", "context", "oci-mediatypes", *_COMPRESSION),
    "tar": ("type", "dest", "platform-split"),
    "local": ("type", "dest", "platform-split"),
    "registry": ("type", "name", "oci-mediatypes", *_COMPRESSION),
    "image": ("type", "name", "push", "oci-mediatypes", *_COMPRESSION),
}
_LATER_TYPES = ("cacheonly",)
_LATER_ATTRIBUTES = (
    "attestation-prefix", "buildinfo", "compression", "compression-level", "context",
    "dangling-name-prefix", "force-compression", "mode", "name-canonical", "oci-mediatypes",
    "platform-split", "push-by-digest", "rewrite-timestamp", "store", "unpack",
)  # fmt: skip
# Ours is a setting of the host, for every use of it.
_INSECURE = ("insecure", "registry.insecure")


class OutputKind(StrEnum):
    """Where an image can be exported to; `IMAGE` is the local store alone."""

    OCI = "oci"
    DOCKER = "docker"
    TAR = "tar"
    LOCAL = "local"
    REGISTRY = "registry"
    IMAGE = "image"


@dataclass(frozen=True, slots=True)
class Recompression:
    """How an output's layers are to be compressed.

    That is for layers of the build; a base's are converted with `force` only. A layer that is
    compressed in this way already stays as it is, unless `is_level_said`.
    """

    compression: Compression
    is_level_said: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One output: `dest` is an absolute path, or `-` for an archive on stdout.

    `tar` is False where an OCI layout is wanted as a directory; `names` are references that the
    output alone carries, beside the image's tags. For `REGISTRY` and `IMAGE`, `dest` is empty and
    `names` replace the image's tags where there are any. For `DOCKER` an empty `dest` means to
    load the image into an engine: the one of the docker context `context`, where that is named.
    `recompression` is None where layers stay as they are. `split` is what `platform-split=` says of
    directories for platforms, None where it says nothing.
    """

    kind: OutputKind
    dest: str
    tar: bool = True
    names: tuple[str, ...] = ()
    recompression: Recompression | None = None
    context: str = ""
    split: bool | None = None

    @property
    def is_load(self) -> bool:
        """Whether the image goes into an engine."""
        return self.kind is OutputKind.DOCKER and not self.dest


LOAD = OutputSpec(OutputKind.DOCKER, "")
"""What `--load` means."""


def parse_outputs(texts: Iterable[str], cwd: str, *, load: bool = False) -> tuple[OutputSpec, ...]:
    """All outputs of a build; raises `UsageError`.

    `load` adds `--load`, unless an output says so already.
    """
    specs = tuple(parse_output(text, cwd) for text in texts)
    if load and not any(spec.is_load for spec in specs):
        specs = (*specs, LOAD)
    return specs


def check_outputs(specs: Iterable[OutputSpec], images: tuple[tuple[str, int], ...]) -> None:
    """Raise `UsageError` where an output cannot take these images: (name, number of platforms).

    To be asked before the build, when what is built is known.
    """
    names = ", ".join(name for name, _ in images)
    for spec in specs:
        if len(images) > 1 and spec.kind in (OutputKind.TAR, OutputKind.LOCAL):
            raise UsageError(
                f"type={spec.kind} takes the files of one image, and these are {len(images)}",
                why=f"{names} would write to the same paths",
                hint="choose one with --target or its package, or write type=oci",
            )
        if len(images) > 1 and spec.names:
            raise UsageError(f"name= of an output is for one image, and these are {len(images)}",
                             why=f"all of {names} would be called {', '.join(spec.names)}",
                             hint="choose one, or set tags in [image.NAME]")  # fmt: skip
        for name, platforms in images:
            if spec.split is False and platforms > 1:
                raise UsageError(
                    f"platform-split=false cannot be for the {platforms} platforms of {name}",
                    why="they would write to the same paths",
                    hint="leave it out: each platform gets a directory",
                )
            if spec.kind is OutputKind.DOCKER and spec.dest and platforms > 1:
                raise UsageError(
                    f"a docker archive cannot hold the {platforms} platforms of {name}",
                    why="the format has one image for a name",
                    hint="use type=oci, or build for one with --platform",
                )


def parse_output(text: str, cwd: str) -> OutputSpec:
    """Parse one `--output`; a relative `dest` is seen from `cwd`. Raises `UsageError`."""
    fields = fields_of(text)
    if len(fields) == 1 and "=" not in fields[0]:
        if fields[0] == STDOUT:
            return OutputSpec(OutputKind.TAR, STDOUT)
        return OutputSpec(OutputKind.LOCAL, os.path.join(cwd, fields[0]))
    found = Attributes.parse(text, fields)
    kind = _kind(found)
    _check_known(found, kind)
    match kind:
        case OutputKind.LOCAL:
            return OutputSpec(kind, _directory(found, cwd), split=_split(found))
        case OutputKind.TAR:
            return OutputSpec(kind, _file(found, cwd) or STDOUT, split=_split(found))
        case OutputKind.OCI | OutputKind.DOCKER:
            return _archive(found, kind, cwd)
        case OutputKind.REGISTRY | OutputKind.IMAGE:
            return _named(found, kind)
        case _:
            assert_never(kind)


def _kind(found: Attributes) -> OutputKind:
    word = found.text("type").lower()
    if not word:
        raise found.wrong("it has no type", "begin it with type=oci, type=docker or type=registry")
    if word in _LATER_TYPES:
        raise found.wrong(f"type={word} is not in this release", "leave --output out")
    if word not in _ATTRIBUTES:
        hint = near(word, (*_ATTRIBUTES, *_LATER_TYPES)) or f"use one of: {', '.join(_ATTRIBUTES)}"
        raise found.wrong(f"type={word} is not known", hint)
    return OutputKind(word)


def _check_known(found: Attributes, kind: OutputKind) -> None:
    known = _ATTRIBUTES[kind]
    for key in found.keys:
        if key in known:
            continue
        if key in _INSECURE:
            raise found.wrong(
                f"{key}= is a setting of the host here, not of an output",
                "name the host under insecure in [registry] of the settings",
            )
        if key in _COMPRESSION:
            raise found.wrong(f"type={kind} holds files, not layers: it has no {key}",
                              "leave it out, or write type=oci")  # fmt: skip
        if key in _LATER_ATTRIBUTES or key.startswith("annotation"):
            hint = "use --annotation" if key.startswith("annotation") else "leave it out"
            raise found.wrong(f"{key}= is not in this release for type={kind}", hint)
        hint = near(key, known) or f"type={kind} knows {', '.join(known)}"
        raise found.wrong(f"type={kind} does not know {key!r}", hint)
    if not found.boolean("oci-mediatypes", default=True):
        raise found.wrong("oci-mediatypes=false: wherry writes the OCI's media types only",
                          "leave it out: Docker reads them since version 17.10")  # fmt: skip


def _split(found: Attributes) -> bool | None:
    is_said = "platform-split" in found.keys
    return found.boolean("platform-split", default=True) if is_said else None


def _archive(found: Attributes, kind: OutputKind, cwd: str) -> OutputSpec:
    is_tar = found.boolean("tar", default=True)
    names, recompression = _names(found), _recompression(found)
    if not is_tar:
        if kind is OutputKind.DOCKER:
            raise found.wrong("a docker archive is a file", "use type=oci,tar=false for a layout")
        return OutputSpec(kind, _directory(found, cwd), False, names, recompression)
    dest, context = _file(found, cwd), found.text("context")
    if kind is OutputKind.OCI:
        dest = dest or STDOUT
    elif dest and context:
        raise found.wrong("context= names an engine, and dest= a file", "leave one of them out")
    return OutputSpec(kind, dest, True, names, recompression, context)


def _named(found: Attributes, kind: OutputKind) -> OutputSpec:
    names = _names(found)
    for name in names:
        if parse_reference(name).digest is not None:
            raise found.wrong(f"a tag has no digest: {name!r}", "leave out @sha256:...")
    if kind is OutputKind.IMAGE and found.boolean("push", default=False):
        kind = OutputKind.REGISTRY
    return OutputSpec(kind, "", names=names, recompression=_recompression(found))


def _names(found: Attributes) -> tuple[str, ...]:
    names = tuple(name.strip() for name in found.text("name").split(",") if name.strip())
    for name in names:
        # A wrong name is told now, not after the build.
        parse_reference(name)
    return names


def _recompression(found: Attributes) -> Recompression | None:
    if not any(key in _COMPRESSION for key in found.keys):
        return None
    word = found.text("compression").lower() or CompressionKind.GZIP
    kinds = tuple(CompressionKind)
    if word == "estargz":
        raise found.wrong("compression=estargz is not in this release", "use zstd or gzip")
    if word not in kinds:
        hint = near(word, kinds) or f"use one of: {', '.join(kinds)}"
        raise found.wrong(f"compression={word} is not known", hint)
    kind, level = CompressionKind(word), found.number("compression-level")
    if kind is CompressionKind.UNCOMPRESSED and level is not None:
        raise found.wrong("compression-level= means nothing without compression", "leave it out")
    try:
        chosen = compression(kind, level)
    except UsageError as error:
        raise found.wrong(f"compression-level={level}: {error.what}", error.hint) from error
    force = found.boolean("force-compression", default=False)
    return Recompression(chosen, level is not None, force)


def _file(found: Attributes, cwd: str) -> str:
    dest = found.raw("dest")
    if dest in ("", STDOUT):
        return dest
    if dest.endswith("/"):
        is_oci = found.text("type").lower() == OutputKind.OCI
        raise found.wrong(f"{dest!r} is a directory, not a file",
                          "add tar=false, or name a file" if is_oci else "name a file")  # fmt: skip
    return os.path.join(cwd, dest)


def _directory(found: Attributes, cwd: str) -> str:
    dest = found.raw("dest")
    if dest in ("", STDOUT):
        raise found.wrong("it needs a directory", "add dest=DIRECTORY")
    return os.path.join(cwd, dest)
