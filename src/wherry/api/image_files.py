# SPDX-License-Identifier: Apache-2.0
"""The files of an image besides its programs: `files` of wherry.toml, and ko's `kodata`.

They are looked at once for all platforms (`choose_image_files`), put on each platform's base
(`ImageFiles.tree`), and what was looked at goes into the build record (`ImageFiles.inputs`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from wherry.errors import SeveralErrors, UsageError
from wherry.fstree.chosen import Chosen, Read, Wanted, choose, joined
from wherry.fstree.files import Files
from wherry.fstree.named_owners import owner_ids
from wherry.fstree.placed import placed
from wherry.fstree.resolve import resolve
from wherry.fstree.tree import File, Tree
from wherry.golang.closure import READ_LIMIT
from wherry.golang.marks import mark, names_text
from wherry.golang.root import module_root
from wherry.golang.signature import signature

KO_DATA: Final = "kodata"
"""The directory beside a main package whose files go into the image."""
KO_DATA_PATH: Final = "/var/run/ko"
"""Where they lie in the image."""

ReadSmall = Callable[[File], bytes]
"""The content of a small file of the base, such as /etc/passwd."""


class FileEntry(Protocol):
    """An entry of `files`, as `wherry.settings.model.FileEntry`."""

    @property
    def source(self) -> str:
        """`from`: a path or pattern in the module."""

    @property
    def target(self) -> str:
        """`to`: an absolute path in the image."""

    @property
    def owner(self) -> str:
        """`user` or `user:group`, empty for root."""

    @property
    def mode(self) -> int | None:
        """The files' mode; None for the usual."""


class FileInputs(NamedTuple):
    """What files add to a build record's inputs (`wherry.golang.record.Inputs`).

    `marks` are what `wherry.golang.marks.mark_of` says of paths, `leads` what `real_path` does.
    """

    files: Mapping[str, str]
    large: Mapping[str, str]
    absent: tuple[str, ...]
    all_names: Mapping[str, str]
    marks: Mapping[str, str]
    leads: Mapping[str, str]


class ImageFiles(NamedTuple):
    """The files of one image; empty ones make no layer.

    `absent` are directories that would count if they were there.
    """

    chosen: Chosen = Chosen()
    absent: tuple[str, ...] = ()
    has_ko_data: bool = False

    def __bool__(self) -> bool:
        """Whether there is anything to put into the image."""
        return bool(self.chosen.taken)

    @property
    def env(self) -> tuple[str, ...]:
        """Variables for the program; what the user sets comes after them."""
        return (f"KO_DATA_PATH={KO_DATA_PATH}",) if self.has_ko_data else ()

    @property
    def paths(self) -> tuple[str, ...]:
        """What was read before Go began, for `wherry.golang.closure.touched_since`."""
        return self.chosen.paths()

    def tree(self, base: Files, read: ReadSmall, programs: Iterable[str] = ()) -> Tree:
        """The layer's tree on `base`, whose small files `read` reads.

        `programs` are the binaries' paths in the image (`app/NAME`). Raises `UsageError` where two
        things would lie at one path, and for an owner that the base does not know.
        """

        def read_path(path: str) -> bytes | None:
            found = base.entry(resolve(base, path))
            return read(found) if isinstance(found, File) else None

        tree = placed(self.chosen, base, lambda text: owner_ids(text, read_path))
        for program in programs:
            # Also a directory there, which the layer of the program would hide.
            if any(entry.path == program for entry in tree.entries):
                raise UsageError(
                    f"`files` writes /{program}",
                    why="that is where the program lies",
                    hint="choose another `to`",
                )
        return tree

    def inputs(self) -> FileInputs:
        """What the record has to hold so that any change of these files voids it."""
        chosen = self.chosen
        files, large = _split(chosen.read)
        kept = {path: f"@{target}" for path, target in chosen.links}
        return FileInputs(
            files=files,
            large=large,
            absent=self.absent,
            all_names={item.path: names_text(item.names) for item in chosen.listed},
            marks={**{item.path: mark(item.status.st_mode) for item in chosen.read}, **kept},
            leads=dict(chosen.leads),
        )


def choose_image_files(
    entries: Sequence[FileEntry],
    root: str,
    mains: Iterable[str],
    check: Callable[[], None] = lambda: None,
) -> ImageFiles:
    """Choose `entries` from the module at `root`, and `kodata` beside each main package.

    `mains` are the packages' directories. Raises what `wherry.fstree.chosen.choose` raises;
    `UsageError` and `SeveralErrors` only after all were looked at.
    """
    found: list[Chosen] = []
    errors: list[UsageError] = []
    absent: list[str] = []
    wanted = [Wanted(item.source, item.target, item.owner, item.mode) for item in entries]
    asked = [(root, wanted)] if wanted else []
    for main in dict.fromkeys(mains):
        directory = os.path.join(main, KO_DATA)
        if os.path.isdir(directory):
            asked.append(_ko_data(main))
        else:
            absent.append(directory)
    for place, items in asked:
        try:
            found.append(choose(place, items, check, _git_directory(place)))
        except UsageError as error:
            errors.append(error)
        except SeveralErrors as error:
            errors += [item for item in error.errors if isinstance(item, UsageError)]
    if errors:
        raise errors[0] if len(errors) == 1 else SeveralErrors(tuple(errors))
    has_ko_data = len(asked) > bool(wanted)
    return ImageFiles(joined(found), tuple(absent), has_ko_data)


def _ko_data(main: str) -> tuple[str, list[Wanted]]:
    """The module's root and what to take from there."""
    root = module_root(main) or main
    source = os.path.join(os.path.relpath(main, root), KO_DATA)
    return root, [Wanted(os.path.normpath(source), KO_DATA_PATH, follow=True)]


def _git_directory(directory: str) -> str:
    """The git directory of the repository that holds `directory`; empty without one."""
    while True:
        found = os.path.join(directory, ".git")
        if os.path.isdir(found):
            return found
        above = os.path.dirname(directory)
        if above == directory:
            return ""
        directory = above


def _split(read: Sequence[Read]) -> tuple[dict[str, str], dict[str, str]]:
    """By content up to the record's limit; what is beyond by status, where that proves a thing."""
    files: dict[str, str] = {}
    large: dict[str, str] = {}
    budget = READ_LIMIT
    for item in sorted(read, key=lambda item: item.path):
        size = item.status.st_size
        if size <= budget or not item.settled:
            files[item.path] = item.digest.hex
            budget -= min(size, budget)
        else:
            large[item.path] = signature(item.status)
    return files, large
