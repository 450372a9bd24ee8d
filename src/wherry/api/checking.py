# SPDX-License-Identifier: Apache-2.0
"""Advice on Dockerfiles: paths and options to what was found, and to what mends it.

Nothing is printed or written. What is wrong with one file is kept beside what was found in the
others.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from wherry.advice.context import Context, Walked
from wherry.advice.model import Severity, rank
from wherry.advice.reading.base_facts import facts_of
from wherry.advice.reading.go_module import GoModule
from wherry.advice.reports.report import FileReport, Report
from wherry.advice.run import Advice, Choice, advise
from wherry.advice.search import context_directory, find_dockerfiles, read_dockerfile
from wherry.advice.subject import Subject
from wherry.api.check_bases import Bases
from wherry.api.check_choices import Choices
from wherry.api.check_store import CheckStore
from wherry.errors import UsageError, WherryError
from wherry.oci.platform import host_platform

if TYPE_CHECKING:
    from wherry.api.registries import RegistryAround


class CheckRequest(NamedTuple):
    """What is asked, and of what.

    `paths` are files and folders as the user writes them, seen from `cwd`; none means `cwd` itself.
    `text` is a Dockerfile's bytes instead, which messages call `name`. `context` is the directory
    that all are built from, empty where each has its own. `ignore` and `only` hold rules by id or
    name; None leaves them to the settings, as an empty `fail_on` does. A build argument that is
    None has the value of the environment. `around` says where wherry's store is, None for none;
    registries are asked with `pull` alone.
    """

    cwd: str
    env: Mapping[str, str]
    paths: tuple[str, ...] = ()
    text: bytes | None = None
    name: str = ""
    context: str = ""
    build_args: tuple[tuple[str, str | None], ...] = ()
    ignore: tuple[str, ...] | None = None
    only: tuple[str, ...] | None = None
    fail_on: str = ""
    around: RegistryAround | None = None
    pull: bool = False


class CheckedFile(NamedTuple):
    """One Dockerfile with what was found in it.

    `path` is what the user calls it, `place` where it is, empty for a text without a file.
    `fail_on` is a severity, or `never`. `choice` are the rules that were asked of it.
    """

    path: str
    place: str
    data: bytes
    subject: Subject
    advice: Advice
    choice: Choice
    fail_on: str

    @property
    def fails(self) -> bool:
        """Whether something in it is bad enough."""
        if self.fail_on == "never":
            return False
        least = rank(Severity(self.fail_on))
        return any(rank(finding.rule.severity) >= least for finding in self.advice.findings)


class Checked(NamedTuple):
    """All that was found; `errors` are files that could not be read, and settings that are wrong,
    each with its path.

    `empty` are the folders, as the user calls them, in which there is no Dockerfile.
    """

    files: tuple[CheckedFile, ...]
    errors: tuple[tuple[str, WherryError], ...] = ()
    empty: tuple[str, ...] = ()

    @property
    def fails(self) -> bool:
        """Whether a file does."""
        return any(file.fails for file in self.files)

    def report(self) -> Report:
        """What reports are written from."""
        files = (
            FileReport(file.path, file.subject.text, file.advice.findings, file.advice.skipped)
            for file in self.files
        )
        errors = ((path, _told(error)) for path, error in self.errors)
        return Report(tuple(files), tuple(errors))


class Checker:
    """Looks at Dockerfiles; what several of them share (modules, settings, bases) is read once.

    A context manager, for the store that it may open.

    Raises `UsageError` for rules that there are not, and for a build context that is none.
    """

    def __init__(self, request: CheckRequest) -> None:
        self._request = request
        self._modules: dict[str, GoModule | None] = {}
        self._walked: Walked = {}
        self._choices = Choices(request.cwd, request.ignore, request.only)
        given = ((name, request.env.get(name) if value is None else value)
                 for name, value in request.build_args)  # fmt: skip
        self._build_args = {name: value for name, value in given if value is not None}
        self._errors: list[tuple[str, WherryError]] = []
        self._store: CheckStore | None = None
        self._bases: Bases | None = None
        if request.around is not None:
            around, pull = request.around, request.pull
            # A text comes from an editor, which asks again and again and does not wait.
            hasty = request.text is not None
            self._store = CheckStore(around.store, around if pull else None, refusals=hasty)
            self._bases = Bases(self._store, around, host_platform(), pull=pull)
        if request.context and not os.path.isdir(os.path.join(request.cwd, request.context)):
            raise UsageError(f"{request.context} is no directory",
                             hint="name the build context: --context DIR")  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._store is not None:
            self._store.__exit__(kind, error, trace)

    @property
    def cwd(self) -> str:
        """The directory that paths are told from."""
        return self._request.cwd

    def check(self) -> Checked:
        """Ask the chosen rules about all files; what goes wrong is in `Checked.errors`."""
        request = self._request
        self._errors = []
        empty: list[str] = []
        if request.text is not None:
            files = [self._check_text(request.text, request.name or "Dockerfile")]
        else:
            files = list(self._check_paths(empty))
        more = self._bases.errors if self._bases is not None else ()
        return Checked(tuple(files), (*self._errors, *self._choices.errors, *more), tuple(empty))

    def subject(self, data: bytes, shown: str, context: Context | None) -> Subject:
        """A text as rules see it, in a build context."""
        module = None if context is None else self._module(context.directory)
        facts = facts_of if self._bases is None else self._bases.facts_of
        return Subject(shown, data, context, module, self._build_args, facts)

    def _module(self, directory: str) -> GoModule | None:
        if directory not in self._modules:
            self._modules[directory] = GoModule.found(directory, self._request.env, self._store)
        return self._modules[directory]

    def _check_paths(self, empty: list[str]) -> Iterator[CheckedFile]:
        """All files, each once; folders without any are added to `empty`."""
        seen: set[str] = set()
        for path in self._request.paths or (".",):
            errors, found = len(self._errors), tuple(self._found(path))
            if not found and errors == len(self._errors):
                empty.append(path)
            for place, shown, top in found:
                real = os.path.realpath(place)
                if real not in seen:
                    seen.add(real)
                    yield from self._check_file(place, shown, top)

    def _found(self, path: str) -> Iterator[tuple[str, str, str]]:
        """Files at or below a path: where each is, its name for the user, the topmost context."""
        whole = os.path.normpath(os.path.join(self.cwd, path))
        if not os.path.isdir(whole):
            yield whole, os.path.normpath(path), self._top(whole)
            return
        found = find_dockerfiles(whole, self._request.env)
        for place in found.paths:
            yield place, _below(path, place, whole), whole
        for error in found.unreadable:
            shown = _below(path, os.fsdecode(error.filename), whole)
            told = UsageError(f"cannot read {shown}", why=error.strerror or str(error),
                              hint="make it a directory that you may read")  # fmt: skip
            self._errors.append((shown, told))

    def _top(self, place: str) -> str:
        """How far up a file that was named may be built from: where the user is, if above."""
        own = os.path.dirname(place)
        return self.cwd if os.path.commonpath((own, self.cwd)) == self.cwd else own

    def _check_file(self, place: str, shown: str, top: str) -> Iterator[CheckedFile]:
        try:
            data = read_dockerfile(place, shown)
        except UsageError as error:
            self._errors.append((shown, error))
            return
        yield self._checked(data, shown, place, top)

    def _check_text(self, data: bytes, name: str) -> CheckedFile:
        place = os.path.normpath(os.path.join(self.cwd, name))
        return self._checked(data, name, place, self._top(place))._replace(place="")

    def _checked(self, data: bytes, shown: str, place: str, top: str) -> CheckedFile:
        named = self._request.context
        if named:
            directory = os.path.normpath(os.path.join(self.cwd, named))
        else:
            directory = context_directory(place, top, data)
        choice, said = self._choices.of(directory)
        fail_on = self._request.fail_on or said or Severity.WARNING
        subject = self.subject(data, shown, Context(directory, place, self._walked))
        return CheckedFile(shown, place, data, subject, advise(subject, choice), choice, fail_on)


def _below(path: str, place: str, whole: str) -> str:
    """What the user, who called a folder `path`, calls something in it."""
    return os.path.normpath(os.path.join(path, os.path.relpath(place, whole)))


def _told(error: WherryError) -> str:
    return f"{error.what}: {error.why}" if error.why else error.what
