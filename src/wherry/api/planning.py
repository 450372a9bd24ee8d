# SPDX-License-Identifier: Apache-2.0
"""Which images a build of Go programs makes: from sources, settings file and `--target`.

A source that is the module's root, or a directory of it without Go files, means the images of
`wherry.toml`, all of them or those that `--target` names. Any other source means its main packages:
each its own image, with the settings of the `[image.NAME]` whose first package it is, if there is
one.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from wherry.api.asked import Asked, ask, chosen_images, targets
from wherry.api.delivery import refuse_one_name
from wherry.api.naming import repository_name
from wherry.api.pins import Pins, read_pins
from wherry.api.prepare import Toolchains
from wherry.api.project_settings import settings_of
from wherry.api.recorded import KnownMain, TemplateRecord
from wherry.api.rendering import rendered, templates_of
from wherry.api.request import DOCKERFILES, BuildRequest, ImageFailure
from wherry.api.stamp import NO_STAMP, Stamp, read_stamp
from wherry.api.template_values import inputs_of, template_facts
from wherry.errors import UsageError, WherryError
from wherry.golang.flags import STAMP_FULL
from wherry.golang.mains import MainPackage, Place, find_each, find_mains, locate
from wherry.golang.package_trees import PackageTree, package_tree
from wherry.golang.record import sealed
from wherry.graph.ops import ComposedBase
from wherry.oci.reference import parse_reference
from wherry.process.cancel import CancelToken
from wherry.settings.ko_files import KO_VARIABLES, ko_paths
from wherry.settings.lock import LOCK_NAME
from wherry.settings.model import FILE_NAME, ImageSettings, Settings
from wherry.settings.sources import told_at
from wherry.settings.user import user_settings_path

_Known = Mapping[tuple[str, str], MainPackage]

# What ext4, xfs, btrfs and tmpfs hold.
_LONGEST_NAME = 255


class Wish(NamedTuple):
    """An image to be: what was asked, where Go runs for it, its main packages, the runnable first.

    `pins` are those of its module's lock file.
    """

    pins: Pins
    directory: str
    mains: tuple[MainPackage, ...]

    @property
    def asked(self) -> Asked:
        """What was asked, with what the lock file says."""
        return self.pins.asked

    @property
    def name(self) -> str:
        """What people call the image."""
        return self.asked.name or self.mains[0].name

    @property
    def default_tag(self) -> str:
        """What it is tagged where nobody says."""
        return f"{repository_name(self.name)}:latest"


class SettingsFiles(NamedTuple):
    """Files besides the module's that say what is built, by whether they were there to be read."""

    present: tuple[str, ...]
    absent: tuple[str, ...]

    def removed(self) -> str:
        """One that is gone by now, or the empty string: a removal leaves no time behind."""
        return next((path for path in self.present if not os.path.lexists(path)), "")


class Plan(NamedTuple):
    """All images of a build, those that cannot be planned, and what the plan was made from.

    `notes` are lines for the user; `environment` are variables that the plan depends on, as
    records keep them, `templates` what templates looked at, `stamps` what git says of each module
    that wants to be stamped. `trees` are the directories below patterns, as they were;
    `open_ended`: another plan may come of other things that no build reads. `plural`: there could
    have been another number of images.
    """

    wishes: tuple[Wish, ...]
    failures: tuple[ImageFailure, ...]
    files: SettingsFiles
    mains: tuple[KnownMain, ...]
    notes: tuple[str, ...]
    environment: Mapping[str, str | None]
    templates: tuple[TemplateRecord, ...]
    stamps: Mapping[str, Stamp]
    trees: Mapping[str, PackageTree]
    open_ended: bool
    plural: bool

    @property
    def makes_several(self) -> bool:
        """Whether there are several images, those that cannot be planned among them."""
        return len(self.wishes) + len(self.failures) > 1


def make_plan(
    request: BuildRequest, toolchains: Toolchains, known: _Known, cancel: CancelToken
) -> Plan:
    """Plan; raises `WherryError` where nothing can be, or where the whole does not fit together."""
    planning = _Planning(request, toolchains, known, cancel)
    sources = (request.source, *request.more_sources)
    for source in sources:
        planning.add(source)
    plan = planning.finished()
    _refuse_what_clashes(request, plan)
    return plan


def whole_module(place: Place, root: str) -> Mapping[str, PackageTree] | None:
    """Whether a source means the module: its root, or a directory of it without Go files.

    None where it means packages; else the directories that could come to be one, by their top.
    """
    path = path_of(place)
    if "..." in place.pattern or not os.path.isdir(path):
        return None
    if _same(path, root):
        return {}
    # A Go file there would make it a package.
    tree = package_tree(path)
    return None if tree.get(path) else {path: tree}


class _Planning:
    def __init__(
        self, request: BuildRequest, toolchains: Toolchains, known: _Known, cancel: CancelToken
    ) -> None:
        self._request = request
        self._toolchains = toolchains
        self._known = known
        self._cancel = cancel
        self._wishes: list[Wish] = []
        self._failures: list[ImageFailure] = []
        self._mains: list[KnownMain] = []
        self._files: dict[str, bool] = {}
        self._trees: dict[str, PackageTree] = {}
        self._open_ended = False
        self._plural = bool(request.more_sources)
        self._told: dict[str, None] = {}
        self._environment: dict[str, str | None] = {}
        self._salt = secrets.token_hex(8)
        self._templates: dict[str, TemplateRecord] = {}
        self._stamps: dict[str, Stamp] = {}

    def add(self, source: str) -> None:
        """Plan the images that one source means."""
        place = locate(self._request.cwd, source)
        settings, root, notes = settings_of(place.directory, self._request.env)
        for note in notes:
            self._told[note] = None
        names = targets(self._request)
        images = chosen_images(settings, names)
        if not images and settings.images:
            below = whole_module(place, root)
            if below is not None:
                images = settings.images
                self._trees |= below
        self._note_files(source, place.directory, root, settings)
        if images:
            self._plural = self._plural or len(settings.images) > 1
            self._add_named(settings, root, images)
        else:
            self._add_mains(place, settings, root)

    def finished(self) -> Plan:
        """The plan."""
        if len(self._failures) == 1 and not self._wishes:
            raise self._failures[0].error
        present = tuple(path for path, is_there in self._files.items() if is_there)
        absent = tuple(path for path, is_there in self._files.items() if not is_there)
        return Plan(
            tuple(self._wishes),
            tuple(self._failures),
            SettingsFiles(present, absent),
            tuple(self._mains),
            tuple(self._told),
            self._environment,
            tuple(self._templates.values()),
            self._stamps,
            self._trees,
            self._open_ended,
            self._plural,
        )

    def _note_files(self, source: str, directory: str, root: str, settings: Settings) -> None:
        """Note what the plan depends on, before the lock file and the user's settings are read."""
        files, request = self._files, self._request
        own = os.path.join(root, FILE_NAME)
        files[own] = settings.path == own
        if not files[own]:
            for path in ko_paths(root, request.env):
                files[path] = os.path.isfile(path)
            if settings.path is not None:
                files[settings.path] = True
            self._environment |= {
                name: sealed(name, request.env.get(name), self._salt) for name in KO_VARIABLES
            }
        # The lock file pins bases and Go; the user's own settings say what a base's name means.
        others = [os.path.join(root, LOCK_NAME)]
        bases = [request.base, *(image.base or "" for image in (settings.build, *settings.images))]
        libc = [image.libc_base for image in (settings.build, *settings.images)]
        if any(base not in ("", *ComposedBase) for base in bases) or any(libc):
            others.append(user_settings_path(request.env))
        for path in filter(None, others):
            files[path] = os.path.exists(path)
        # The settings are those of the nearest module: one that begins in between has its own.
        path = directory
        while path != root and path != os.path.dirname(path):
            files[os.path.join(path, "go.mod")] = False
            path = os.path.dirname(path)
        named = os.path.normpath(os.path.join(request.cwd, source))
        if request.frontend == "auto" and os.path.isdir(named):
            for name in DOCKERFILES:
                dockerfile = os.path.join(named, name)
                files[dockerfile] = os.path.isfile(dockerfile)

    def _add_named(self, settings: Settings, root: str, images: Sequence[ImageSettings]) -> None:
        """Images of the settings file."""
        pinned: list[Pins] = []
        for image in images:
            try:
                pinned.append(self._pinned(settings, root, image))
            except WherryError as error:
                # A template without a value, or a lock file that lacks this image's base.
                self._failures.append(ImageFailure(image.name, error))
        if not pinned:
            return
        patterns = tuple(dict.fromkeys(name for pins in pinned for name in pins.asked.packages))
        mains = self._found(pinned[0].asked, root, patterns)
        for pins in pinned:
            self._add_wish(pins, root, [mains[name] for name in pins.asked.packages])

    def _add_wish(
        self, pins: Pins, directory: str, mains: Sequence[MainPackage | WherryError]
    ) -> None:
        good = tuple(main for main in mains if not isinstance(main, WherryError))
        for main in mains:
            if isinstance(main, WherryError):
                self._failures.append(ImageFailure(pins.asked.name, main))
                return
        wish = Wish(pins, directory, good)
        names = [main.name for main in good]
        if any(len(os.fsencode(name)) > _LONGEST_NAME for name in names):
            error = UsageError(
                f"the name of a program of {wish.name[:40]}… is too long",
                why=f"file systems hold names of {_LONGEST_NAME} bytes",
                hint="shorten the last part of its import path",
            )
            self._failures.append(ImageFailure(wish.name, error))
            return
        twice = next((name for name in names if names.count(name) > 1), "")
        if twice:
            error = UsageError(
                f"two programs of the image {wish.name} are called {twice}",
                why="\n".join(main.import_path for main in good if main.name == twice),
                hint="put them into images of their own, or rename a package",
            )
            self._failures.append(ImageFailure(wish.name, error))
            return
        if not any(one.name == wish.name and one.mains == wish.mains for one in self._wishes):
            self._wishes.append(wish)

    def _found(
        self, asked: Asked, directory: str, patterns: tuple[str, ...]
    ) -> dict[str, MainPackage | WherryError]:
        """The one main package of each pattern."""
        known = {name: self._known.get((directory, name)) for name in patterns}
        if all(known.values()):
            found: Sequence[MainPackage | WherryError | None] = tuple(known.values())
        else:
            go = self._toolchains.of(asked, asked.platforms[0], directory)
            found = find_each(go.tool.go, directory, patterns, go.flags, go.tool.env, self._cancel)
        answers: dict[str, MainPackage | WherryError] = {}
        for name, main in zip(patterns, found, strict=True):
            assert main is not None  # noqa: S101 - either all are known or none is asked for
            answers[name] = main
            if isinstance(main, MainPackage):
                self._mains.append(KnownMain(directory, name, *main))
        self._request.trace("main-found")
        return answers

    def _add_mains(self, place: Place, settings: Settings, root: str) -> None:
        """The main packages that a pattern means."""
        pins = self._pinned(settings, root, None)
        directory, pattern = place
        if "..." not in pattern and pattern != "all" and not settings.images:
            answer = self._found(pins.asked, directory, (pattern,))[pattern]
            self._add_wish(pins, directory, [answer])
            return
        if "..." in pattern or pattern == "all":
            self._plural = True
            self._note_pattern(directory, pattern)
        go = self._toolchains.of(pins.asked, pins.asked.platforms[0], directory)
        mains = find_mains(go.tool.go, directory, pattern, go.flags, go.tool.env, self._cancel)
        self._request.trace("main-found")
        named: list[ImageSettings] = []
        covered: set[str] = set()
        for image in settings.images:
            parts = [meant(package, root, mains) for package in image.packages]
            if parts[0] is not None:
                named.append(image)
                covered.update(main.import_path for main in parts if main is not None)
        if named:
            self._add_named(settings, root, named)
        for main in mains:
            if main.import_path not in covered:
                self._add_wish(pins, directory, [main])

    def _note_pattern(self, directory: str, pattern: str) -> None:
        """Note what decides which packages a pattern means, before Go is asked."""
        prefix, _, rest = pattern.partition("...")
        if prefix.startswith(".") and prefix.endswith("/") and not rest:
            root = os.path.normpath(os.path.join(directory, prefix))
            self._trees.setdefault(root, package_tree(root))
        else:
            # Names of packages, which may lie anywhere.
            self._open_ended = True

    def _pinned(self, settings: Settings, root: str, image: ImageSettings | None) -> Pins:
        """What is asked for one image, its templates rendered."""
        resolved = settings.resolved(image or ImageSettings(name=""))
        templates = templates_of(resolved)
        asked = ask(self._request, settings, root, resolved)
        stamp = self._stamp(root) if asked.stamp != "off" else NO_STAMP
        if templates:
            inputs = inputs_of(templates, self._salt)
            if asked.stamp == STAMP_FULL:
                go = self._toolchains.of(asked, asked.platforms[0], root)
                stamp = stamp.for_binary(go.facts.version)
            found = template_facts(inputs, root, self._request.env, self._cancel, stamp)
            record = TemplateRecord(root, *inputs, found.words)
            self._templates[str(record[:-1])] = record
            place = partial(told_at, settings, resolved.name)
            resolved = rendered(resolved, found.values, place)
            asked = ask(self._request, settings, root, resolved)
        return read_pins(self._request, asked)

    def _stamp(self, root: str) -> Stamp:
        if root not in self._stamps:
            self._stamps[root] = read_stamp(root, self._request.env, self._cancel)
        return self._stamps[root]


def path_of(place: Place) -> str:
    """The directory that a source names, where it names one."""
    return os.path.normpath(os.path.join(place.directory, place.pattern))


def _same(one: str, other: str) -> bool:
    return one == other or os.path.realpath(one) == os.path.realpath(other)


def meant(package: str, root: str, mains: Sequence[MainPackage]) -> MainPackage | None:
    """Which of `mains` the settings' word for a package means."""
    for main in mains:
        if package.startswith("."):
            if _same(os.path.normpath(os.path.join(root, package)), main.dir):
                return main
        elif package == main.import_path:
            return main
    return None


def _refuse_what_clashes(request: BuildRequest, plan: Plan) -> None:
    """Two images must not write one thing; raises `UsageError`."""
    if request.outputs or request.load:
        from wherry.exporters.spec import (  # noqa: PLC0415 - only where an output asks
            check_outputs,
            parse_outputs,
        )

        specs = parse_outputs(request.outputs, request.cwd, load=request.load)
        sizes = tuple((wish.name, len(wish.asked.platforms)) for wish in plan.wishes)
        check_outputs(specs, sizes)
    if len(plan.wishes) < 2:
        return
    if request.iidfile:
        raise UsageError(
            f"--iidfile takes one image's digest, and these are {len(plan.wishes)}",
            why=", ".join(wish.name for wish in plan.wishes),
            hint="use --metadata-file or --json, which tell of all",
        )
    refuse_one_name(request, [wish.name for wish in plan.wishes])
    # A name may be written in several ways, and is known only once its templates are rendered.
    named: dict[str, Wish] = {}
    for wish in plan.wishes:
        for tag in wish.asked.tags or (wish.default_tag,):
            if named.setdefault(parse_reference(tag).full, wish) is not wish:
                raise _same_tag(tag, wish, plan)


def _same_tag(tag: str, wish: Wish, plan: Plan) -> UsageError:
    packages = [main.import_path for one in plan.wishes for main in one.mains[:1]]
    return UsageError(
        f"two images would be named {tag}",
        why="\n".join(packages),
        hint=f"give {wish.name} its own tags below [image.NAME] of wherry.toml",
    )
