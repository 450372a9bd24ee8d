# SPDX-License-Identifier: Apache-2.0
"""Writing images' outputs and the files about them: exporters put together with the store.

Images that are built together go to an output together where its format holds several.
"""

from __future__ import annotations

from dataclasses import replace

from wherry.api.content import stored_image
from wherry.api.converting import Choose, as_it_is, chosen, converted, without_zstd
from wherry.api.delivery import Delivered, described
from wherry.api.engine_image import Loadable
from wherry.api.lazy import complete, fetch_missing
from wherry.api.output_places import absolute
from wherry.api.recorded import Output
from wherry.api.registries import Registries
from wherry.api.request import BuildRequest
from wherry.errors import UsageError
from wherry.exporters.archive import write_oci_archive
from wherry.exporters.archive_writer import Write
from wherry.exporters.blobs import Document, ExportedImage, exported_image, exported_index
from wherry.exporters.docker_archive import write_docker_archive
from wherry.exporters.local import write_local
from wherry.exporters.metadata import write_iidfile, write_metadata_file
from wherry.exporters.oci_layout import write_oci_directory
from wherry.exporters.root_tar import write_root_tar
from wherry.exporters.spec import STDOUT, OutputKind, OutputSpec, check_outputs, parse_outputs
from wherry.exporters.staging import staged_file, stream_output
from wherry.oci.digest import Digest, parse_digest
from wherry.oci.image import Descriptor, load_image, parse_manifest
from wherry.oci.media import is_index, is_manifest
from wherry.oci.reference import Reference, parse_reference
from wherry.process.cancel import CancelToken
from wherry.store.store import Store

Item = tuple[Output, tuple[Reference, ...]]


def export_all(
    request: BuildRequest, items: tuple[Item, ...], store: Store, registries: Registries
) -> tuple[Delivered, ...]:
    """Write every output that is no registry's, for all images; what became of each, in order.

    Layers of a base that are not here are fetched where an output holds their bytes. Raises
    `UsageError` where an output cannot take these images, `MachineError` where it cannot be
    written or an engine does not take it, `NetworkError`, `Cancelled`.
    """
    specs = parse_outputs(request.outputs, request.cwd, load=request.load)
    images = tuple((output.name, output.platform.count(",") + 1) for output, _ in items)
    check_outputs(specs, images)
    exports = [_Export(item, store, registries) for item in items]
    for spec in specs:
        if spec.kind in (OutputKind.REGISTRY, OutputKind.IMAGE):
            continue
        if spec.is_load:
            from wherry.api.loading import load_images  # noqa: PLC0415 - HTTP is imported here

            wanted = tuple(export.loadable(spec) for export in exports)
            for export, loaded in zip(exports, load_images(wanted, spec, registries), strict=True):
                export.note_loaded(loaded.names, loaded.digest)
            continue
        ready = tuple(export.ready(spec) for export in exports)
        _write(request, spec, ready, registries.around.cancel)
        for export, image in zip(exports, ready, strict=True):
            export.note(spec, image)
    return tuple(export.delivered for export in exports)


def write_facts(
    request: BuildRequest,
    items: tuple[tuple[Output, Delivered], ...],
    store: Store,
    cancel: CancelToken,
) -> None:
    """Write the files about the images, which are for scripts: of the images where they are now.

    Raises `UsageError` where several images would share one ID, `MachineError` where a file cannot
    be written, `Cancelled`.
    """
    built = [_exported(output, delivered.references, store) for output, delivered in items]
    images = tuple(
        replace(image, root=delivered.only or image.root)
        for image, (_, delivered) in zip(built, items, strict=True)
    )
    if request.iidfile and len(images) > 1:
        names = ", ".join(image.title for image in images)
        raise UsageError(f"--iidfile holds one image's ID, and these are {len(images)}",
                         why=names, hint="use --metadata-file, which holds all")  # fmt: skip
    if request.metadata_file:
        write_metadata_file(images, absolute(request, request.metadata_file), cancel)
    if request.iidfile:
        digest = items[0][1].engine_id or images[0].root.digest
        write_iidfile(digest, absolute(request, request.iidfile), cancel)


class _Export:
    """One image on its way to all its outputs."""

    def __init__(self, item: Item, store: Store, registries: Registries) -> None:
        self._output, references = item
        self._store = store
        self._registries = registries
        self._base = frozenset(parse_digest(digest) for digest, _ in self._output.lazy)
        self._image = _exported(self._output, references, store)
        self.delivered = Delivered(references)

    def ready(self, spec: OutputSpec) -> ExportedImage:
        """The image as an output wants it, under all names, with its layers here."""
        image = self._converted(self._named(spec), self._choice(spec))
        manifests = tuple(item.manifest for item in image.images)
        complete(self._store, manifests, self._registries, image.title)
        return image

    def loadable(self, spec: OutputSpec) -> Loadable:
        """The image for an engine, which may need only some of its layers."""
        choice = self._choice(spec)

        def ready(image: ExportedImage, needed: frozenset[Digest]) -> ExportedImage:
            image = self._converted(
                image, lambda layer: choice(layer) if layer.diff_id in needed else None
            )
            layers = (layer for item in image.images for layer in item.layers)
            here = tuple(layer for layer in layers if layer.diff_id in needed)
            fetch_missing(self._store, here, self._registries)
            return image

        return Loadable(self._named(spec), ready)

    def note(self, spec: OutputSpec, image: ExportedImage) -> None:
        """It was written."""
        found = self.delivered
        self.delivered = found._replace(outputs=(*found.outputs, spec.dest))
        if image.root.digest != self._image.root.digest:
            self._note_converted(spec.dest, image.root)

    def note_loaded(self, names: tuple[str, ...], digest: Digest) -> None:
        """An engine has it under these names, and this ID."""
        known = (*self.delivered.loaded, *names)
        self.delivered = self.delivered._replace(
            loaded=tuple(dict.fromkeys(known)), engine_id=digest
        )

    def _named(self, spec: OutputSpec) -> ExportedImage:
        named = tuple(parse_reference(name) for name in spec.names)
        references = tuple(dict.fromkeys((*self._image.references, *named)))
        return replace(self._image, references=references)

    def _choice(self, spec: OutputSpec) -> Choose:
        if spec.recompression is not None:
            return chosen(spec.recompression, self._base)
        # Docker before version 23, and tools of its time, know no zstd.
        return without_zstd if spec.kind is OutputKind.DOCKER else as_it_is

    def _converted(self, image: ExportedImage, choice: Choose) -> ExportedImage:
        return converted(image, choice, self._store, self._registries)

    def _note_converted(self, dest: str, root: Descriptor) -> None:
        converted_to = (*self.delivered.converted, (dest, root))
        self.delivered = self.delivered._replace(converted=converted_to)


def recompressed(
    output: Output, spec: OutputSpec, store: Store, registries: Registries
) -> Descriptor:
    """The image that an output with `compression=` means, by its root, which is in the store.

    For images that are pushed or kept: `described(output)` where nothing is to be converted.
    """
    image = _exported(output, (), store)
    if spec.recompression is None:
        return image.root
    base = frozenset(parse_digest(digest) for digest, _ in output.lazy)
    return converted(image, chosen(spec.recompression, base), store, registries).root


def _exported(output: Output, references: tuple[Reference, ...], store: Store) -> ExportedImage:
    """The image of the store as exporters take it."""
    stored = stored_image(store, described(output))
    found = [
        load_image(raw.data, store.blobs.read(parse_manifest(raw.data).config.digest))
        for raw in (stored.root, *stored.children)
        if is_manifest(raw.descriptor.media_type)
    ]
    name = output.name
    if is_index(stored.root.descriptor.media_type):
        root = Document(stored.root.descriptor, stored.root.data)
        return exported_index(root, tuple(found), store.blobs, references, name)
    return exported_image(found[0], store.blobs, references, name)


def _write(
    request: BuildRequest,
    spec: OutputSpec,
    images: tuple[ExportedImage, ...],
    cancel: CancelToken,
) -> None:
    if spec.kind is OutputKind.LOCAL:
        write_local(images[0], spec.dest, cancel, split=spec.split is True)
    elif not spec.tar:
        write_oci_directory(images, spec.dest, cancel)
    elif spec.dest != STDOUT:
        with staged_file(spec.dest, cancel) as file:
            _write_tar(spec, images, file.write, cancel)
    elif request.stdout is None:
        raise UsageError("dest=- needs a stream to write to",
                         hint="name a file, or set BuildRequest.stdout")  # fmt: skip
    else:
        with stream_output(request.stdout, cancel) as write:
            _write_tar(spec, images, write, cancel)


def _write_tar(
    spec: OutputSpec, images: tuple[ExportedImage, ...], write: Write, cancel: CancelToken
) -> None:
    match spec.kind:
        case OutputKind.TAR:
            write_root_tar(images[0], write, cancel)
        case OutputKind.DOCKER:
            write_docker_archive(images, write, cancel)
        case _:
            write_oci_archive(images, write, cancel)
