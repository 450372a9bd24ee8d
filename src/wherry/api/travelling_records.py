# SPDX-License-Identifier: Apache-2.0
"""Build records that hold on another machine: made after a build, asked before one.

`travel` turns the record of this machine into bytes without its paths and values; `holds` says on
another one whether they answer the same request there. Both give a line of words where they do not.
Asking starts no Go, and git only for an image that has facts of git in it. Where `holds` answers,
every module that the module cache lacks would be fetched and compared with go.sum by Go itself, and
that file is part of the record.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from wherry.api.base_data import base_data_digest
from wherry.api.project_settings import settings_of
from wherry.api.recorded import BuildRecord, Output
from wherry.api.request import BuildRequest
from wherry.api.travelling_key import travelling_key, travelling_root
from wherry.api.travelling_names import misnamed
from wherry.api.travelling_text import Letter, Told, decode_letter, encode_letter
from wherry.bases.data import data_files
from wherry.errors import WherryError
from wherry.golang.arrival import first_difference
from wherry.golang.enclosure import Enclosure, OutsideError
from wherry.golang.record import file_digest
from wherry.golang.travelling import DoesNotTravelError, Origin, travelling_inputs
from wherry.golang.travelling_variables import reads_flags, salted
from wherry.oci.digest import parse_digest, sha256
from wherry.oci.image import Image, load_image, parse_index, parse_manifest
from wherry.oci.reference import parse_reference
from wherry.process.cancel import CancelToken
from wherry.settings.model import ImageSettings, Settings
from wherry.settings.user import user_settings_path

ReadBlob = Callable[[str], bytes]
"""The bytes of a small blob of the store, by its digest; raises `WherryError`."""


class TravelledRecord(NamedTuple):
    """A record that holds here, as long as `bases` mean what they say.

    `outputs` are the images as they were built. `documents` are the bytes of their manifests,
    indexes and configs, by digest; the layers (`Output.blobs`, `lazy`) are to be had elsewhere.
    """

    outputs: tuple[Output, ...]
    plural: bool
    documents: Mapping[str, bytes]

    @property
    def bases(self) -> dict[str, str]:
        """What names of bases have to mean now: full references, and the digests they had."""
        return {base.name: base.resolved for output in self.outputs for base in output.bases}

    @property
    def images(self) -> tuple[Image, ...]:
        """Every image of the record, each platform by itself."""
        return tuple(image for output in self.outputs for image in _images(output, self.documents))


def travel(
    record: BuildRecord,
    request: BuildRequest,
    read_blob: ReadBlob,
    module_caches: Iterable[str] = (),
    proven: Iterable[str] = (),
) -> bytes | str:
    """The record of a build as bytes for other machines, or why it has to stay.

    `module_caches` are directories that served as GOMODCACHE besides the user's; those in `proven`
    hold what wherry itself placed there, compared with go.sum. Reads what the build read of the
    module cache, once.
    """
    try:
        data = encode_letter(_letter(record, request, read_blob, module_caches, proven))
    except DoesNotTravelError as error:
        return str(error)
    except (WherryError, OSError, UnicodeError) as error:
        return str(error).partition("\n")[0]
    return data if decode_letter(data) is not None else "the record is too large"


def holds(data: bytes, request: BuildRequest, cancel: CancelToken) -> TravelledRecord | str:
    """The record in `data` if it answers the request here, or why it does not.

    Raises `Cancelled` only.
    """
    letter = decode_letter(data)
    if letter is None:
        return "the record cannot be read"
    try:
        record = TravelledRecord(letter.outputs, letter.plural, letter.documents)
        return _first_difference(letter, record, request, cancel) or record
    except OutsideError:
        return "the record names what is not in this repository"
    except DoesNotTravelError as error:
        return str(error)
    except (WherryError, OSError, UnicodeError) as error:
        return str(error).partition("\n")[0]


def _first_difference(
    letter: Letter, record: TravelledRecord, request: BuildRequest, cancel: CancelToken
) -> str:
    key = travelling_key(request)
    if not key or letter.key != key:
        return "the record is of another request"
    for output in letter.outputs:
        _check_output(output, letter.documents)
    root = travelling_root(request)
    change = first_difference(letter.inputs, root, request.env)
    cancel.check()
    change = change or misnamed(letter.outputs, request, cancel)
    if change:
        return change
    if letter.data != base_data_digest():
        return "the data of composed bases is another"
    if letter.zstd != _compressor(record.images):
        return "another compressor"
    return _told_otherwise(letter, Enclosure(root), request, cancel)


def _letter(
    record: BuildRecord,
    request: BuildRequest,
    read_blob: ReadBlob,
    module_caches: Iterable[str],
    proven: Iterable[str],
) -> Letter:
    key, root = travelling_key(request), travelling_root(request)
    if not key:
        raise DoesNotTravelError("there is no module")
    if not record.inputs.files or not record.outputs:
        raise DoesNotTravelError("what the build depends on is not clear")
    documents = _documents(record.outputs, read_blob)
    for output in record.outputs:
        _refuse_output(output, root, request.env)
        _check_output(output, documents)
    directories = {root, *(main.directory for main in record.mains), *_run_directories(request)}
    for directory in directories:
        _refuse_settings(directory, record, request.env)
    others = {*data_files(), user_settings_path(request.env)} - {""}
    checked = tuple(path.rstrip("/") for path in proven)
    origin = Origin(
        request.env, root, tuple(sorted(directories)), (*module_caches, *checked), checked, others
    )
    inputs = travelling_inputs(record.inputs, origin)
    name = Enclosure(root).relative
    stamps = tuple(Told(name(one.root), salted(one.words, inputs.salt)) for one in record.stamps)
    templates = tuple(
        Told(name(one.root), salted(one.words, inputs.salt), one.facts, one.env, one.salt)
        for one in record.templates
    )
    images = [image for output in record.outputs for image in _images(output, documents)]
    return Letter(key, base_data_digest(), _compressor(images), inputs, stamps, templates,
                  record.outputs, record.plural, documents)  # fmt: skip


def _run_directories(request: BuildRequest) -> Iterator[str]:
    """Where Go runs for each source."""
    from wherry.golang.mains import locate  # noqa: PLC0415 - it can start Go, which asking does not

    for source in (request.source, *request.more_sources):
        yield locate(request.cwd, source).directory


def _refuse_output(output: Output, root: str, env: Mapping[str, str]) -> None:
    """Raise for an image that is as it is by this machine's own things."""
    if any(binary.dynamic for binary in output.binaries):
        raise DoesNotTravelError("a dynamically linked program depends on more than its sources")
    for base in output.bases:
        if base.tagged not in ("", base.resolved):
            raise DoesNotTravelError(f"the base {base.name} is an image of this machine's store")
    places = [place for place in (root, env.get("HOME", "")) if place]
    if any(f"{place}/" in line for line in output.warnings for place in places):
        raise DoesNotTravelError("a warning of the build names places of this machine")


def _refuse_settings(directory: str, record: BuildRecord, env: Mapping[str, str]) -> None:
    """Raise where settings of a module have its programs depend on this machine."""
    settings, _, _ = settings_of(directory, env)
    path = settings.path
    if path and file_digest(path) != record.inputs.files.get(path):
        raise DoesNotTravelError(f"{path} changed since the build")
    for image in _resolved(settings, {output.name for output in record.outputs}):
        if image.cgo:
            raise DoesNotTravelError("with cgo the machine's compiler and headers take part")
        named = (*image.packages, *(file.source for file in image.files or ()))
        if any(map(os.path.isabs, named)):
            raise DoesNotTravelError("the settings name something by an absolute path")
        flags = (*(image.ldflags or ()), *(image.gcflags or ()))
        if any(word in flag for flag in flags for word in ("trimpath", "linkmode")):
            raise DoesNotTravelError("flags may put paths of this machine into the program")
        if any(map(reads_flags, flags)):
            raise DoesNotTravelError("flags are read from a file")


def _resolved(settings: Settings, names: Collection[str]) -> Iterator[ImageSettings]:
    """What holds for the images of these names; what `[build]` says for those of other ones."""
    own = {image.name: image for image in settings.images}
    for name in names:
        yield settings.resolved(own.get(name) or ImageSettings(name=name))


def _documents(outputs: Iterable[Output], read_blob: ReadBlob) -> dict[str, bytes]:
    """Manifests, indexes and configs of all images."""
    found: dict[str, bytes] = {}
    for output in outputs:
        found[output.manifest] = root = read_blob(output.manifest)
        manifests = [output.manifest]
        if not output.config:
            manifests = [str(item.digest) for item in parse_index(root).manifests]
        for digest in manifests:
            found[digest] = read_blob(digest)
            config = str(parse_manifest(found[digest]).config.digest)
            found[config] = read_blob(config)
    return found


def _images(output: Output, documents: Mapping[str, bytes]) -> Iterator[Image]:
    """The image of each platform; raises `WherryError` where documents are missing or misfit."""
    manifests = [output.manifest]
    if not output.config:
        root = _document(output.manifest, documents)
        manifests = [str(item.digest) for item in parse_index(root).manifests]
    for digest in manifests:
        manifest = _document(digest, documents)
        config = str(parse_manifest(manifest).config.digest)
        yield load_image(manifest, _document(config, documents))


def _document(digest: str, documents: Mapping[str, bytes]) -> bytes:
    if digest not in documents:
        raise DoesNotTravelError("the record lacks a manifest or config")
    return documents[digest]


def _check_output(output: Output, documents: Mapping[str, bytes]) -> None:
    """Raise `WherryError` or `DoesNotTravelError` where an output and its documents disagree."""
    root = _document(output.manifest, documents)
    known = {parse_digest(digest): size for digest, size in (*output.blobs, *output.lazy)}
    if known.get(sha256(root)) != output.manifest_size or len(root) != output.manifest_size:
        raise DoesNotTravelError("the record contradicts its manifest")
    for image in _images(output, documents):
        parts = (image.manifest.config, *image.manifest.layers)
        if any(known.get(part.digest) != part.size for part in parts):
            raise DoesNotTravelError("the record contradicts its manifest")
    for name in (*output.tags, output.default_tag, *(base.name for base in output.bases)):
        parse_reference(name)


def _compressor(images: Iterable[Image]) -> str:
    """The zstd that wrote layers of these images, if one did: its bytes differ by version."""
    layers = (layer for image in images for layer in image.manifest.layers)
    if not any(layer.media_type.endswith("zstd") for layer in layers):
        return ""
    from wherry.fstree.zstd_writer import library  # noqa: PLC0415 - few images have such layers

    return library()


def _told_otherwise(
    letter: Letter, enclosure: Enclosure, request: BuildRequest, cancel: CancelToken
) -> str:
    """What version control or templates say otherwise here; as `wherry.api.unchanged.moved_on`."""
    salt = letter.inputs.salt
    if letter.stamps:
        from wherry.api.stamp import read_stamp  # noqa: PLC0415 - git runs only for these

        for stamp in letter.stamps:
            words = read_stamp(enclosure.place(stamp.root), request.env, cancel).words
            if salted(words, salt) != stamp.digest:
                return "version control says otherwise"
    if letter.templates:
        from wherry.api.template_values import (  # noqa: PLC0415 - as above
            TemplateInputs,
            template_facts,
        )

        for told in letter.templates:
            asked = TemplateInputs(told.facts, told.env, told.salt)
            place = enclosure.place(told.root)
            words = template_facts(asked, place, request.env, cancel).words
            if salted(words, salt) != told.digest:
                return "what the templates look at is another"
    return ""
