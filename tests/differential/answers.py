# SPDX-License-Identifier: Apache-2.0
"""Reads an image out of an OCI archive as plain data: its config, and its layers laid on another.

The applier follows the layer part of the image specification to the letter and refuses what no
builder should write: names that leave the root or run through a link, the same name twice in one
layer, hard links to nothing, parents that are nowhere. Times are read in the layers of RUN only.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import zstandard

Facts = dict[str, Any]
_OPAQUE = ".wh..wh..opq"
_XATTR = "SCHILY.xattr."


class Answer(NamedTuple):
    """What a builder made of a case: `images` by platform, or why it refused.

    An image is {"config": ..., "history": [...], "layers": number, "tree": {path: facts}, "runs":
    [{"step": ..., "names": {name: time}}]}, the last with each layer that a RUN made.
    """

    images: dict[str, Facts]
    refusal: str = ""


class BadImage(Exception):
    """An image that breaks a rule of the specification."""


# --- the archive ------------------------------------------------------------------------------


def read_images(archive: Path, names: Mapping[str, str]) -> dict[str, Facts]:
    """The images of an OCI archive by platform; the world's names are put back in texts."""
    with tarfile.open(archive) as members:
        index = json.loads(_bytes(members, "index.json"))
        return {
            _platform(config): _image(members, manifest, config, names)
            for manifest in _manifests(members, index)
            for config in [json.loads(_blob(members, manifest["config"]))]
        }


def _manifests(members: tarfile.TarFile, index: Facts) -> Iterator[Facts]:
    for descriptor in index["manifests"]:
        document = json.loads(_blob(members, descriptor))
        if "manifests" in document:
            yield from _manifests(members, document)
        elif "vnd.docker.reference.type" not in descriptor.get("annotations", {}):
            yield document


def _blob(members: tarfile.TarFile, descriptor: Facts) -> bytes:
    algorithm, _, value = descriptor["digest"].partition(":")
    data = _bytes(members, f"blobs/{algorithm}/{value}")
    if hashlib.new(algorithm, data).hexdigest() != value or len(data) != descriptor["size"]:
        raise BadImage(f"blob {descriptor['digest']} is not what its descriptor says")
    return data


def _bytes(members: tarfile.TarFile, name: str) -> bytes:
    file = members.extractfile(name)
    if file is None:
        raise BadImage(f"{name} is no file")
    return file.read()


def _platform(config: Facts) -> str:
    parts = (config.get("os"), config.get("architecture"), config.get("variant"))
    return "/".join(part for part in parts if part)


def _image(
    members: tarfile.TarFile, manifest: Facts, config: Facts, names: Mapping[str, str]
) -> Facts:
    layers = [_layer(_blob(members, layer)) for layer in manifest["layers"] or ()]
    if [layer.diff_id for layer in layers] != (config["rootfs"]["diff_ids"] or []):
        raise BadImage("the layers are not what rootfs.diff_ids says")
    history = [_history(line, names) for line in config.get("history") or ()]
    steps = _steps(history, len(layers))
    tree, runs = Tree(), []
    for number, layer in enumerate(layers):
        try:
            if steps[number].startswith("RUN "):
                runs.append({"step": steps[number], "names": tree.named(layer.entries)})
            tree.lay(layer.entries)
        except BadImage as error:
            raise BadImage(f"layer {number + 1} of {len(layers)}: {error}") from None
    return {
        "config": _config(config, names),
        "history": history,
        "layers": len(layers),
        "runs": runs,
        "tree": tree.facts(),
    }


def _steps(history: list[Facts], layers: int) -> list[str]:
    """What made each layer; a line of history without `empty_layer` is a layer's."""
    made = [line.get("created_by", "") for line in history if not line.get("empty_layer")]
    return made if len(made) == layers else [""] * layers


class Entry(NamedTuple):
    """One member of a layer; `node` is None for a hard link to `target`."""

    name: str
    node: Facts | None
    target: str
    time: int


class _Layer(NamedTuple):
    diff_id: str
    entries: tuple[Entry, ...]


_LARGE = 10 << 20
_KNOWN: dict[bytes, _Layer] = {}  # large layers are those of bases: read once


def _layer(data: bytes) -> _Layer:
    if len(data) < _LARGE:
        return _read_layer(data)
    digest = hashlib.sha256(data).digest()
    if digest not in _KNOWN:
        _KNOWN[digest] = _read_layer(data)
    return _KNOWN[digest]


def _read_layer(data: bytes) -> _Layer:
    tar = _uncompressed(data)
    return _Layer("sha256:" + hashlib.sha256(tar).hexdigest(), read_entries(tar))


def read_entries(tar: bytes) -> tuple[Entry, ...]:
    """The members of an uncompressed layer, in order."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        return tuple(
            Entry(
                _clean(member.name),
                None if member.islnk() else _node(archive, member),
                _clean(member.linkname) if member.islnk() else "",
                int(member.mtime),
            )
            for member in archive
        )


_RECENT = 1_700_000_000  # what is later is a time of this very build


def _uncompressed(data: bytes) -> bytes:
    if data[:2] == b"\x1f\x8b":
        return gzip.decompress(data)
    if data[:4] == b"\x28\xb5\x2f\xfd":
        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)) as stream:
            return stream.read()
    return data


def _config(config: Facts, names: Mapping[str, str]) -> Facts:
    """Everything a config says but times, layers and history; empty values are absent ones."""
    kept = {key: value for key, value in config.items() if key not in _NOT_COMPARED}
    inner = {
        key: value for key, value in (kept.pop("config", None) or {}).items() if _is_told(value)
    }
    return dict(json.loads(with_tokens(json.dumps({**kept, "config": inner}), names)))


_NOT_COMPARED = {
    "created",
    "history",
    "rootfs",
    "moby.buildkit.cache.v0",
    "moby.buildkit.buildinfo.v1",
}


def _is_told(value: object) -> bool:
    return value is not None and value not in ("", [], {})


def _history(line: Facts, names: Mapping[str, str]) -> Facts:
    told = {key: value for key, value in line.items() if key != "created" and _is_told(value)}
    text = json.dumps(told)
    text = text.replace("# wherry", "# buildkit").replace("wherry.dockerfile", _FRONTEND)
    return dict(json.loads(with_tokens(text, names)))


_FRONTEND = "buildkit.dockerfile.v0"


def with_tokens(text: str, names: Mapping[str, str]) -> str:
    """The text with `%NAME%` for what the world has under that name."""
    for name, value in names.items():
        text = text.replace(value, f"%{name}%")
    return text


# --- the layers -------------------------------------------------------------------------------


class Tree:
    """A file tree to which layers are applied; hard links are one dictionary under two names."""

    def __init__(self) -> None:
        self._nodes: dict[str, Facts] = {"": {"type": "dir", "mode": "755", "owner": "0:0"}}

    def apply(self, layer: bytes) -> None:
        """Lay one uncompressed layer on top."""
        self.lay(read_entries(layer))

    def lay(self, entries: tuple[Entry, ...]) -> None:
        """Lay the members of a layer on top."""
        seen: set[str] = set()
        for entry in entries:
            if entry.name in seen:
                raise BadImage(f"{entry.name} is there twice")
            seen.add(entry.name)
        for entry in entries:
            self._whiteout(entry.name)
        for entry in entries:
            if not entry.name.rpartition("/")[2].startswith(".wh."):
                self._put(entry)

    def named(self, entries: tuple[Entry, ...]) -> Facts:
        """What a layer that is laid on this tree names, with times; directories end with /.

        Opaque directories are told as what they take away, as if it were by one whiteout each.
        """
        found: Facts = {}
        present = {entry.name for entry in entries}
        for entry in entries:
            parent, _, last = entry.name.rpartition("/")
            if last == _OPAQUE:
                found |= {
                    f"/{parent}/.wh.{child}": 0
                    for child in self._children(parent)
                    if f"{parent}/{child}".lstrip("/") not in present
                }
                continue
            is_directory = entry.node is not None and entry.node["type"] == "dir"
            name = f"/{entry.name}/" if is_directory and entry.name else f"/{entry.name}"
            found[name] = "now" if entry.time > _RECENT else entry.time
        return found

    def _children(self, path: str) -> set[str]:
        below = f"{path}/" if path else ""
        return {
            name.removeprefix(below)
            for name in self._nodes
            if name.startswith(below) and name and "/" not in name.removeprefix(below)
        }

    def facts(self) -> dict[str, Facts]:
        """Path to facts, with the names of all hard links of a file."""
        names: dict[int, list[str]] = {}
        for path, node in self._nodes.items():
            names.setdefault(id(node), []).append(path)
        return {
            "/" + path: {**node, "links": sorted(names[id(node)])}
            if len(names[id(node)]) > 1 else dict(node)
            for path, node in sorted(self._nodes.items())
        }  # fmt: skip

    def _whiteout(self, name: str) -> None:
        parent, _, last = name.rpartition("/")
        if last == _OPAQUE:
            self._remove(parent, keep=True)
        elif last.startswith(".wh..wh."):
            raise BadImage(f"{name} is none of the whiteouts of the specification")
        elif last.startswith(".wh."):
            self._remove(f"{parent}/{last[4:]}".lstrip("/"))

    def _remove(self, path: str, *, keep: bool = False) -> None:
        below = f"{path}/" if path else ""
        for name in [name for name in self._nodes if name.startswith(below) and name != ""]:
            del self._nodes[name]
        if not keep:
            self._nodes.pop(path, None)

    def _put(self, entry: Entry) -> None:
        name = entry.name
        parent = name.rpartition("/")[0]
        if name and self._nodes.get(parent, {}).get("type") != "dir":
            raise BadImage(f"{name} has no directory above it")
        old = self._nodes.get(name)
        if entry.node is None:
            target = self._nodes.get(entry.target)
            if target is None or target["type"] == "dir":
                raise BadImage(f"{name} is a hard link to {entry.target}, which is no file here")
            node = target
        else:
            node = dict(entry.node)
        if old is not None and not (old["type"] == "dir" and node["type"] == "dir"):
            self._remove(name)
        elif old is not None and "xattrs" in old:  # these are set, but never removed
            node["xattrs"] = {**old["xattrs"], **node.get("xattrs", {})}
        self._nodes[name] = node


_KINDS = {tarfile.DIRTYPE: "dir", tarfile.SYMTYPE: "symlink", tarfile.FIFOTYPE: "fifo",
          tarfile.CHRTYPE: "char", tarfile.BLKTYPE: "block"}  # fmt: skip


def _node(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Facts:
    kind = "file" if member.isreg() else _KINDS.get(member.type)
    if kind is None:
        raise BadImage(f"{member.name} is of the unknown type {member.type!r}")
    node: Facts = {"type": kind, "owner": f"{member.uid}:{member.gid}"}
    if kind != "symlink":  # Linux has no modes of links
        node["mode"] = f"{member.mode & 0o7777:o}"
    else:
        node["target"] = member.linkname
    if kind in ("char", "block"):
        node["device"] = f"{member.devmajor}:{member.devminor}"
    if kind == "file":
        file = archive.extractfile(member)
        node["content"] = _short(file.read() if file else b"")
    xattrs = {
        key.removeprefix(_XATTR): value.encode("utf-8", "surrogateescape").hex()
        for key, value in member.pax_headers.items() if key.startswith(_XATTR)
    }  # fmt: skip
    return {**node, **({"xattrs": xattrs} if xattrs else {})}


def _short(content: bytes) -> str:
    """A short text as it is, for readers of a difference; else size and digest."""
    if len(content) <= 400 and content.isascii():
        return repr(content.decode())
    return f"{len(content)} bytes, sha256:{hashlib.sha256(content).hexdigest()}"


def _clean(name: str) -> str:
    """A member's name from the root, without slashes at its ends; the root is empty."""
    parts = name.strip("/").split("/")
    if ".." in parts or name.startswith("/") or "" in parts[:-1]:
        raise BadImage(f"the name {name!r} is not one from the root")
    return "/".join(part for part in parts if part != ".")
