# SPDX-License-Identifier: Apache-2.0
"""The files that a Go project begins with: read its code, decide, and write what is not there yet.

Nothing is replaced unasked: a file with other content stays, and its difference is told. Each file
is written beside its place and renamed, so that none is ever half there.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.advice.mending import write_file
from wherry.advice.reading.go_module import GoModule
from wherry.advice.search import find_dockerfiles
from wherry.advice.writing.dockerfile import dockerfile
from wherry.advice.writing.found import Found, read_project
from wherry.advice.writing.ignore_file import ignore_file
from wherry.advice.writing.notes import notes_of
from wherry.advice.writing.plan import Plan, base_of, make_plan
from wherry.advice.writing.recipes import GITHUB, GITLAB, GITLAB_BESIDE, recipe
from wherry.advice.writing.settings_file import settings_file
from wherry.api.starting_facts import go_here, hosts_named, pin_of
from wherry.errors import MachineError, UsageError
from wherry.settings.files import read_text
from wherry.settings.load import load_settings
from wherry.settings.lock import load_lock
from wherry.settings.model import FILE_NAME, Settings

if TYPE_CHECKING:
    from wherry.api.registries import RegistryAround

CI: Final = ("github", "gitlab", "none")
"""What `--ci` takes."""

DOCKERFILE: Final = "Dockerfile"
IGNORE_FILE: Final = ".dockerignore"
OWN_IGNORE_FILE: Final = f"{DOCKERFILE}{IGNORE_FILE}"
"""What counts for one Dockerfile alone, and then instead of the other."""

_PLAIN: Final = re.compile(r"[\w.@+/~-]+")


class StartRequest(NamedTuple):
    """What to write for the module in `directory`, seen from the directory of `around`.

    `base` is a word of `BASES` and `ci` one of `CI`, empty where nobody said. With `pin`,
    registries are asked for the digests of bases; without it nobody is.
    """

    directory: str
    around: RegistryAround
    base: str = ""
    ci: str = ""
    pin: bool = False


class StartFile(NamedTuple):
    """A file to write: its name below the directory, what is there (None: nothing), its text."""

    name: str
    place: str
    before: bytes | None
    after: bytes

    @property
    def differs(self) -> bool:
        """Whether something else stands there."""
        return self.before is not None and self.before != self.after


class Start(NamedTuple):
    """Texts by the names of files, the decisions behind them, and lines for people."""

    plan: Plan
    texts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def plan_start(request: StartRequest) -> Start:
    """Read and decide; nothing is written.

    Raises `UsageError` for a directory that is none, has no module or no program, or a base that
    does not fit; what `load_settings` and `load_lock` raise for files that are wrong; with `pin`
    `NetworkError`.
    """
    around = request.around
    directory = os.path.normpath(os.path.join(around.cwd, request.directory))
    module = _module(directory, request.directory, around.env)
    settings, lock = load_settings(directory), load_lock(directory)
    here = go_here(around.env, around.cancel)
    private = here.all.get("GOPRIVATE", "") if here is not None else ""
    known = {**around.env, "GOPRIVATE": private} if private else around.env
    found = read_project(module, known, hosts_named(settings))
    _refuse_names(found)
    go = {
        "exact": settings.build.go or (lock.go if lock is not None else ""),
        "installed": here.version.removeprefix("go") if here is not None else "",
    }
    base = request.base or _said_base(settings)
    plan = make_plan(found, base, go, pin_of(directory, lock, around, ask=request.pin))
    texts = {DOCKERFILE: dockerfile(plan), _ignore_name(directory, around.env): ignore_file(found)}
    if text := settings_file(plan, read_text(os.path.join(directory, FILE_NAME), FILE_NAME) or ""):
        texts[FILE_NAME] = text
    goflags = around.env.get("GOFLAGS") or (here.goflags if here is not None else "")
    settings_notes = _settings_notes(settings, plan, goflags)
    name, ci_notes = _ci(request.ci, directory)
    if name:
        kind = "github" if name == GITHUB else "gitlab"
        texts[name] = recipe(kind, tested=bool(found.tested))
    if name and found.private:
        ci_notes += (f"{name} has no login for private modules: add --secret id=netrc,src=FILE to"
                     " its builds",)  # fmt: skip
    return Start(plan, tuple(texts.items()), (*notes_of(plan), *settings_notes, *ci_notes))


def files_of(start: Start) -> tuple[StartFile, ...]:
    """The files with what stands in their places.

    Raises `UsageError` for a place where no file can be, or whose file cannot be read.
    """
    return tuple(_file(start.plan.found.directory, name, text) for name, text in start.texts)


def write_files(files: tuple[StartFile, ...], *, force: bool) -> tuple[StartFile, ...]:
    """Write the files that are not there, with `force` also those that differ; which were written.

    Beside a Dockerfile that stays there is no new .dockerignore: it might hide what that copies.
    Raises `MachineError` where one cannot be; those before it are there, whole.
    """
    written = []
    stays = any(file.name == DOCKERFILE and file.differs for file in files) and not force
    for file in files:
        if file.before == file.after or (file.differs and not force):
            continue
        if stays and file.name in (IGNORE_FILE, OWN_IGNORE_FILE):
            continue
        try:
            os.makedirs(os.path.dirname(file.place), exist_ok=True)
        except OSError as error:
            raise MachineError(f"cannot write {file.name}", why=error.strerror or str(error),
                               hint="make the directory writable") from error  # fmt: skip
        write_file(file.place, file.name, file.before, file.after)
        written.append(file)
    return tuple(written)


def _ignore_name(directory: str, env: Mapping[str, str]) -> str:
    """Where the rules go: with other Dockerfiles here, to a file that hides nothing from those."""
    if os.path.lexists(os.path.join(directory, OWN_IGNORE_FILE)):
        return OWN_IGNORE_FILE
    if _is_ours(os.path.join(directory, IGNORE_FILE)):
        return IGNORE_FILE
    own = os.path.realpath(os.path.join(directory, DOCKERFILE))
    found = find_dockerfiles(directory, env).paths
    return OWN_IGNORE_FILE if any(os.path.realpath(path) != own for path in found) else IGNORE_FILE


def _said_base(settings: Settings) -> str:
    """The base that wherry.toml says, where it is one of those that are written here."""
    build = settings.build
    return base_of(build.base or (build.libc_base if build.cgo else "") or "")


def _settings_notes(settings: Settings, plan: Plan, goflags: str) -> Iterator[str]:
    """What a build without the Dockerfile does, and its go build does not."""
    build = settings.build
    said = (
        ("base", build.base and not base_of(build.base)), ("cgo", build.cgo and not plan.cgo),
        ("build-tags", build.build_tags), ("capabilities", build.capabilities),
        ("ldflags", build.ldflags), ("gcflags", build.gcflags), ("files", build.files),
        ("env", build.env), ("user", build.user), ("workdir", build.workdir), ("args", build.args),
        ("volumes", build.volumes), ("labels", build.labels),
        ("stamp", build.stamp not in (None, "off")),
    )  # fmt: skip
    if names := [name for name, value in said if value]:
        be = "is" if len(names) == 1 else "are"
        yield f"{', '.join(names)} of {FILE_NAME} {be} not in the Dockerfile: add by hand"
    if goflags:
        yield "GOFLAGS of this machine is not in the Dockerfile: its go build does without"


def _module(directory: str, shown: str, env: Mapping[str, str]) -> GoModule:
    if not os.path.isdir(directory):
        raise UsageError(f"{shown} is no directory", hint="name the one with the go.mod")
    module = GoModule.found(directory, env)
    if module is not None and module.root == ".":
        return module
    if module is not None:
        raise UsageError(f"there is no go.mod in {shown}",
                         hint=f"say: wherry init {os.path.join(shown, module.root)}")  # fmt: skip
    raise UsageError(f"there is no go.mod in {shown}",
                     why="wherry init reads a Go module, or a workspace with a go.work",
                     hint="make one: go mod init NAME; or name the directory with it")  # fmt: skip


def _refuse_names(found: Found) -> None:
    """Names that a Dockerfile would read as something else."""
    names = [name for item in found.programs for name in (item.package, item.name)]
    names += [place for place, _ in found.early]
    names += [unit.path for unit in found.units]
    for name in names:
        if not _PLAIN.fullmatch(name):
            raise UsageError(f"the name {name!r} is not one that a Dockerfile can have plainly",
                             hint="rename it with letters, digits, dots and dashes")  # fmt: skip


def _ci(asked: str, directory: str) -> tuple[str, tuple[str, ...]]:
    """The recipe's file, empty for none, and what is to say of it."""
    github = os.path.isdir(os.path.join(directory, ".github"))
    gitlab = os.path.lexists(os.path.join(directory, GITLAB))
    if not asked and not github and not gitlab:
        return "", ("no recipe for CI: --ci github or --ci gitlab writes one",)
    if not asked and github and gitlab:
        return "", ("no recipe for CI: both GitHub's and GitLab's are here; --ci says which",)
    if asked == "none":
        return "", ()
    above = _repository_above(directory)
    if above:
        return "", (f"no recipe for CI: it has to lie at the top of the repository, {above}",)
    if asked == "github" or (not asked and github):
        return GITHUB, ()
    if gitlab and not _is_ours(os.path.join(directory, GITLAB)):
        return GITLAB_BESIDE, (f"add to {GITLAB}: include: [{{local: {GITLAB_BESIDE}}}]",)
    return GITLAB, ()


def _repository_above(directory: str) -> str:
    """The top of the repository that a directory lies in, empty where it is the top, or none is."""
    here = directory
    while not os.path.lexists(os.path.join(here, ".git")):
        above = os.path.dirname(here)
        if above == here:
            return ""
        here = above
    return "" if here == directory else here


def _is_ours(path: str) -> bool:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return "Written by `wherry init`" in file.read(4096)
    except OSError:
        return False


def _file(directory: str, name: str, text: str) -> StartFile:
    """What stands at a file's place; refused where no file of the project could."""
    place = os.path.join(directory, name)
    top = os.path.realpath(directory)
    if os.path.commonpath((os.path.realpath(place), top)) != top:
        raise UsageError(f"{name} is a link that leads out of the directory",
                         hint="remove it, or say --print")  # fmt: skip
    try:
        if not stat.S_ISREG(os.stat(place).st_mode):
            raise UsageError(f"{name} is there, and is no file", hint="move it, or say --print")
        with open(place, "rb") as file:
            before: bytes | None = file.read()
    except FileNotFoundError:
        before = None
    except OSError as error:
        raise UsageError(f"cannot read {name}", why=error.strerror or str(error),
                         hint="make it readable, or say --print") from error  # fmt: skip
    return StartFile(name, place, before, text.encode())
