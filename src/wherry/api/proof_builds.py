# SPDX-License-Identifier: Apache-2.0
"""The builds that prove what mending does to one Dockerfile: as it was, as it will be, and both
again after a change of a line, in a copy of the build context.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.api.edited_context import EditedContext
from wherry.api.request import BuildRequest, BuildResult
from wherry.errors import (
    BuildError,
    MachineError,
    NetworkError,
    SeveralErrors,
    UsageError,
    WherryError,
)
from wherry.fstree.ignore import IgnoreRules, read_rules
from wherry.process.cancel import CancelToken

if TYPE_CHECKING:
    from wherry.advice.context import Context
    from wherry.api.check_mending import Change
    from wherry.api.checking import CheckedFile, CheckRequest
    from wherry.store.store import Store

REPOSITORY: Final = "wherry-proof"
"""What the images of proofs are called while they are looked at."""

_LINE: Final = re.compile(r":(\d+)\Z")
# In what a failure says: the Dockerfile's own lines, and the names that go puts above errors.
_PASSED_BY: Final = re.compile(r"\d* *\||# ")


class Ways(NamedTuple):
    """How proofs build: `build` is `wherry.api.building.build_image` with somebody listening.

    `store` is the store's directory; `contexts` are named ones, as in `BuildRequest`.
    """

    build: Callable[[BuildRequest], BuildResult]
    store: str
    contexts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Side:
    """A Dockerfile as it was, or as it will be: its image, or why there is none.

    `size` and `unpacked` are bytes, as in `BuildResult`. `seconds` is how long the build took with
    what was cached, `rebuild` how long one after a change of a line; None where it was not tried.
    `line` is the Dockerfile's line that `problem` is about, 0 where there is none.
    """

    digest: str = ""
    size: int = 0
    unpacked: int = 0
    seconds: float = 0.0
    rebuild: float | None = None
    problem: str = ""
    line: int = 0


class Text(NamedTuple):
    """A Dockerfile and the rules that hide files from it, both as bytes."""

    dockerfile: bytes
    ignore: bytes


class Texts(NamedTuple):
    """What is built before and after, and from where."""

    before: Text
    after: Text
    context: Context


class Rebuilds(NamedTuple):
    """Seconds of the rebuilds (None where there is no image) after a change of the file `edited`.

    `unmeasured` says why there were none.
    """

    before: float | None = None
    after: float | None = None
    edited: str = ""
    unmeasured: str = ""


class ProofBuilds:
    """The builds of one Dockerfile, whose texts lie in a directory of their own.

    `tags` are the names that images got, for the caller to take away.
    """

    def __init__(self, request: CheckRequest, ways: Ways, store: Store, file: CheckedFile) -> None:
        self.tags: list[str] = []
        self._request = request
        self._ways = ways
        self._file = file
        self._store = store
        self._place = os.path.join(store.scratch(), "Dockerfile")

    def build(self, text: Text, context: Context, *, past: bool = False) -> Side:
        """Build from the user's context; what is the text's own fault is the side's problem.

        Of a text of the `past` that includes a base that cannot be had. Raises other errors.
        """
        try:
            result = self._run(text, context.directory)
        except (BuildError, UsageError, SeveralErrors) as error:
            return self._failed(error)
        except NetworkError as error:
            if not past:
                # No user has the file that was built.
                error.where = error.where.replace(self._place, self._file.path)
                raise
            return self._failed(error)
        return Side(result.digest, result.size, seconds=result.seconds)

    def rebuild(self, texts: Texts, before: Side, after: Side) -> Rebuilds:
        """Build what could be built once more, each after a change of a line."""
        # Most often it is the same rules.
        rules = dict.fromkeys(text.ignore for text in (texts.before, texts.after))
        try:
            hiding = [IgnoreRules(read_rules(text)) for text in rules]
            directory = os.path.join(self._store.scratch(), "context")
            copy = EditedContext(texts.context.directory, directory, hiding, CancelToken())
            name = copy.source_of(self._file.subject)
            if not name:
                return Rebuilds(unmeasured="no Go file of the program can be told")
            seconds = [
                None if side.problem else self._edited(copy, name, text)
                for side, text in ((before, texts.before), (after, texts.after))
            ]
            return Rebuilds(seconds[0], seconds[1], name)
        except WherryError as error:
            return Rebuilds(unmeasured=self._failed(error).problem)
        except OSError as error:
            return Rebuilds(unmeasured=error.strerror or str(error))

    def _edited(self, copy: EditedContext, name: str, text: Text) -> float:
        # Another line each time: what one of them compiled is no help to the other.
        copy.edit(name, secrets.token_hex(8))
        return self._run(text, copy.directory).seconds

    def _run(self, text: Text, context: str) -> BuildResult:
        for path, data in ((self._place, text.dockerfile),
                           (f"{self._place}.dockerignore", text.ignore)):  # fmt: skip
            with open(path, "wb") as file:
                file.write(data)
        request = self._request
        tag = f"{REPOSITORY}:{secrets.token_hex(8)}"
        self.tags.append(tag)
        return self._ways.build(
            BuildRequest(
                source=context,
                cwd=request.cwd,
                env=request.env,
                store=self._ways.store,
                frontend="dockerfile",
                file=self._place,
                tags=(tag,),
                build_args=request.build_args,
                build_contexts=self._ways.contexts,
            )
        )

    def _failed(self, error: WherryError) -> Side:
        """Why a build failed: the first words of it, with the Dockerfile's own name."""
        if isinstance(error, SeveralErrors):
            error = error.errors[0]
        lines = (line.strip() for line in error.why.splitlines())
        why = next((line for line in lines if line and not _PASSED_BY.match(line)), "")
        text = f"{error.what}{f': {why}' if why else ''}".replace(self._place, self._file.path)
        line = _LINE.search(error.where)
        return Side(problem=text, line=int(line[1]) if line else 0)


def texts_of(old: CheckedFile, new: CheckedFile, changes: tuple[Change, ...]) -> Texts | None:
    """What is built before and after; None where mending changes nothing that a build sees."""
    context = old.subject.context
    if context is None:
        return None
    place = os.path.join(context.directory, context.ignore_file or ".dockerignore")
    ignore = after = _ignore(context, place)
    for change in changes:
        if change.place and os.path.realpath(change.place) == os.path.realpath(place):
            after = change.after
    if old.data == new.data and ignore == after:
        return None
    return Texts(Text(old.data, ignore), Text(new.data, after), context)


def _ignore(context: Context, place: str) -> bytes:
    if not context.ignore_file:
        return b""
    try:
        with open(place, "rb") as file:
            return file.read()
    except OSError as error:
        raise MachineError(f"cannot read {context.ignore_file}", why=error.strerror or str(error),
                           hint="say the same again") from error  # fmt: skip
