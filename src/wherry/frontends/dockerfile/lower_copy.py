# SPDX-License-Identifier: Apache-2.0
"""COPY, ADD and WORKDIR to file ops (Dockerfile reference, the sections of the three)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.errors import UsageError
from wherry.frontends.dockerfile.building import Building
from wherry.frontends.dockerfile.instructions import Copy as CopyInstruction
from wherry.frontends.dockerfile.instructions import Workdir
from wherry.frontends.dockerfile.nodes import Heredoc
from wherry.frontends.dockerfile.paths import (
    clean,
    destination,
    source,
    source_with_parents,
    working_directory,
)
from wherry.frontends.dockerfile.refusals import BadValue
from wherry.graph.build import Lines, Vertex
from wherry.graph.ops import (
    Copy,
    FileAction,
    FileOp,
    GitOp,
    HttpOp,
    MakeDirectory,
    MergeOp,
    WriteFile,
)
from wherry.oci.digest import parse_digest

if TYPE_CHECKING:
    from wherry.vcs.git_url import GitSource

_LEADING_TABS: Final = re.compile(r"^\t+", re.MULTILINE)
_WEB: Final = ("http://", "https://")
# What a download is called whose URL ends in no name.
_UNNAMED: Final = "__unnamed__"


def lower_copy(stage: Building, instruction: CopyInstruction, context: Callable[[], int]) -> None:
    """Add the vertices of a COPY or ADD to the stage; raises `BadValue`.

    `context` gives the vertex of what local sources lie in: it is asked for only if there are any.
    """
    words = _expanded(stage, instruction)
    name = stage.step_name(instruction.source.text)
    copying = _Copying(stage, instruction, words, context, name)
    actions = copying.actions()
    place = instruction.source.range
    # BuildKit makes no layer of its own where modes are changed, or where there is no other.
    if instruction.link and not words.mode and stage.root is not None:
        layer = stage.add(FileOp(actions, alone=True), copying.inputs, name, place)
        vertex = stage.add(MergeOp(), (stage.root, layer), name, place)
    else:
        inputs = (stage.root_vertex(), *copying.inputs)
        vertex = stage.add(FileOp(actions), inputs, name, place)
    stage.change(vertex, stage.mark(_line(instruction, words)))


def lower_workdir(stage: Building, instruction: Workdir) -> None:
    """Change the directory that later instructions run in, and make it; raises `BadValue`."""
    place = instruction.source.range
    path = stage.scope.expand(instruction.path, place)
    directory = working_directory(stage.config.working_dir, path)
    stage.config.working_dir = stage.directory = directory
    line = f"WORKDIR {directory}"
    if directory == "/":
        stage.note(line)
        return
    op = FileOp((MakeDirectory(clean(directory), owner=stage.config.user),))
    # `--no-cache` has no meaning for an empty directory.
    name = stage.step_name(instruction.source.text)
    lines = Lines(*place.lines)
    stage.change(stage.vertices.add(Vertex(op, (stage.root_vertex(),), name, lines)), line)


class _Words(NamedTuple):
    """The words of a COPY or ADD, expanded."""

    paths: tuple[str, ...]
    heredocs: tuple[Heredoc, ...]
    destination: str
    owner: str
    mode: str
    checksum: str


def _expanded(stage: Building, instruction: CopyInstruction) -> _Words:
    scope, place = stage.scope, instruction.source.range
    markers = {f"<<{heredoc.name}" for heredoc in instruction.heredocs}
    return _Words(
        tuple([scope.expand(path, place) for path in instruction.sources if path not in markers]),
        instruction.heredocs,
        scope.expand(instruction.destination, place),
        scope.expand(instruction.owner, place),
        scope.expand(instruction.mode, place),
        scope.expand(instruction.checksum, place),
    )


def _line(instruction: CopyInstruction, words: _Words) -> str:
    """The line of the history: some of the flags, paths before heredocs."""
    line = ["ADD" if instruction.add else "COPY"]
    if instruction.parents:
        line.append("--parents")
    if words.owner:
        line.append(f"--chown={words.owner}")
    if words.mode:
        line.append(f"--chmod={words.mode}")
    line.extend(words.paths)
    line.extend(f"<<{heredoc.name}" for heredoc in words.heredocs)
    return " ".join([*line, words.destination])


class _Copying:
    """The actions of one instruction, and the vertices they read."""

    def __init__(
        self,
        stage: Building,
        instruction: CopyInstruction,
        words: _Words,
        context: Callable[[], int],
        name: str,
    ) -> None:
        self.inputs: list[int] = []
        self._stage = stage
        self._instruction = instruction
        self._words = words
        self._context = context
        self._name = name
        self._destination = destination(stage.directory, words.destination)

    def actions(self) -> tuple[FileAction, ...]:
        """What the op does, in order: paths, then files written in place."""
        words = self._words
        if words.mode:
            _check_mode(words.mode)
        sources = [(path, _git_source(path)) for path in words.paths]
        if words.checksum:
            self._check_checksum(sources)
        copies = [self._copy(path, git) for path, git in sources]
        return (*copies, *(self._write(heredoc) for heredoc in words.heredocs))

    def _check_checksum(self, sources: list[tuple[str, GitSource | None]]) -> None:
        if len(sources) != 1:
            raise BadValue("--checksum is for one source alone", "write an ADD for each source")
        path, git = sources[0]
        if git is None and not path.startswith(_WEB):
            raise BadValue(
                "--checksum is for sources from the web and git repositories",
                "remove it: files of the build context need none",
            )

    def _input(self, vertex: int) -> int:
        """The number of a source: 1 and up, as input 0 is the root."""
        if vertex not in self.inputs:
            self.inputs.append(vertex)
        return self.inputs.index(vertex) + 1

    def _copy(self, path: str, git: GitSource | None) -> FileAction:
        instruction = self._instruction
        if git is not None or path.startswith(_WEB):
            if not instruction.add:
                kind = "URL" if git is None else "git repository"
                raise BadValue(f"COPY takes no {kind}", "write ADD instead of COPY")
            return self._copy_git(git) if git is not None else self._copy_download(path)
        parents = instruction.parents
        unpack = instruction.add if instruction.unpack is None else instruction.unpack
        return Copy(
            self._input(self._context()),
            source_with_parents(path) if parents else source(path),
            self._destination,
            self._words.owner,
            self._words.mode,
            parents,
            instruction.excludes,
            unpack,
        )

    def _copy_git(self, git: GitSource) -> Copy:
        flag, query = self._instruction.keep_git_dir, git.keep_git_dir
        if flag is not None and query is not None and flag != query:
            raise BadValue("--keep-git-dir and keep-git-dir= of the URL differ", "remove one")
        checksum = self._words.checksum
        if checksum and git.checksum and checksum != git.checksum:
            raise BadValue("--checksum and checksum= of the URL differ", "remove one")
        op = GitOp(
            git.remote,
            git.ref,
            git.directory,
            bool(flag if query is None else query),
            git.checksum or checksum,
            git.submodules is not False,
            git.fetch_by_commit,
        )
        return self._copy_whole(op, "/", unpack=False)

    def _copy_download(self, url: str) -> Copy:
        checksum = self._words.checksum
        if checksum:
            try:
                checksum = str(parse_digest(checksum))
            except UsageError as error:
                hint = error.hint or "write it as sha256: and 64 hexadecimal digits"
                raise BadValue(f"--checksum: {error.what}", hint) from None
        name = _file_name(url)
        unpack = bool(self._instruction.unpack)
        return self._copy_whole(HttpOp(url, checksum, name), f"/{name}", unpack=unpack)

    def _copy_whole(self, op: GitOp | HttpOp, path: str, *, unpack: bool) -> Copy:
        place = self._instruction.source.range
        vertex = self._stage.vertices.add(Vertex(op, (), self._name, Lines(*place.lines)))
        return Copy(
            self._input(vertex),
            path,
            self._destination,
            self._words.owner,
            self._words.mode,
            excludes=self._instruction.excludes,
            unpack=unpack,
            literal=True,
        )

    def _write(self, heredoc: Heredoc) -> WriteFile:
        if "/" in heredoc.name:
            raise BadValue(
                f"the file of <<{heredoc.name} cannot have a name with a slash",
                "take another end marker, and say the path as the destination",
            )
        content = heredoc.content
        if heredoc.chomp:
            content = _LEADING_TABS.sub("", content)
        if heredoc.expand:
            content = self._stage.scope.expand_content(content, self._instruction.source.range)
        return WriteFile(
            heredoc.name,
            content.encode("utf-8", "surrogateescape"),
            self._destination,
            self._words.owner,
            self._words.mode,
        )


def _check_mode(mode: str) -> None:
    from wherry.fstree.modes import parse_mode  # noqa: PLC0415 - few files change modes

    try:
        parse_mode(mode)
    except UsageError as error:
        message = f"{error.what}: {error.why}" if error.why else error.what
        raise BadValue(message, error.hint or "write it as 0755 or u=rwX,go=rX") from None


def _git_source(path: str) -> GitSource | None:
    """The repository that a source names; what could be a path is one."""
    if "://" not in path and "@" not in path:
        return None
    from wherry.vcs.git_url import parse_git_url  # noqa: PLC0415 - few files ask git

    try:
        found = parse_git_url(path)
    except UsageError as error:
        message = f"{error.what}: {error.why}" if error.why else error.what
        raise BadValue(message, error.hint) from None
    return None if found is None or found.is_ambiguous else found


def _file_name(url: str) -> str:
    """The last part of a URL's path."""
    from urllib.parse import unquote, urlsplit  # noqa: PLC0415 - few files download anything

    try:
        path = unquote(urlsplit(url).path, errors="surrogateescape")
    except ValueError:
        return _UNNAMED
    name = path.rstrip("/").rpartition("/")[2]
    return _UNNAMED if name in ("", ".", "..") else name
