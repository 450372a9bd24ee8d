# SPDX-License-Identifier: Apache-2.0
"""Rules about cache mounts: what Go fetched and compiled is kept for the next build by them.

wherry keeps both by itself for steps without such mounts; BuildKit and buildah do not. So these
rules only say that others gain by them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.advice.model import Edit, Finding, Fix, Rule, Severity
from wherry.advice.reading.copied_files import mounts_of, placed_by
from wherry.advice.reading.fetching import (
    fetches,
    has_modules_to_fetch,
    is_vendored,
    module_above,
)
from wherry.advice.reading.go_commands import go_commands
from wherry.advice.reading.paths import meets
from wherry.advice.reading.run_programs import (
    build_cache,
    has_cache_mount,
    is_root,
    module_cache,
    reads_named_only,
)
from wherry.advice.reading.word_places import rest_at
from wherry.frontends.dockerfile.instructions import Copy, Run
from wherry.frontends.dockerfile.source import Range

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.advice.reading.go_commands import GoCommand
    from wherry.advice.subject import Subject
    from wherry.advice.views import Line, StageView, State

_GAIN: Final = "(wherry keeps it without; BuildKit and buildah do not)"
# Who names a cache has plans of their own for it.
_MODULE_WORDS: Final = re.compile(r"pkg/mod|GOMODCACHE|go clean|modcacherw|GOPROXY=.?off")
_BUILD_WORDS: Final = re.compile(r"go-build|GOCACHE|go clean|\.cache\b|toolexec|-a\s")
_REMOTE: Final = re.compile(r"://|\Agit@")
_COMPILED: Final = frozenset(("build", "install", "test"))


class _Kind(NamedTuple):
    """One of Go's two caches: where it is, which commands fill it, words that speak of it."""

    place: Callable[[State], str]
    fills: Callable[[GoCommand], bool]
    words: re.Pattern[str]
    title: str


def _compiles(command: GoCommand) -> bool:
    """Whether it compiles what changes; tools of others are compiled once."""
    arguments = [word.value for word in command.arguments]
    return command.verb in _COMPILED and not any("@" in argument for argument in arguments)


def _fetches(command: GoCommand) -> bool:
    return fetches(command) or command.verb == "get"


_MODULES: Final = _Kind(
    module_cache, _fetches, _MODULE_WORDS, "keep fetched modules in a cache mount"
)
_BUILD: Final = _Kind(
    build_cache, _compiles, _BUILD_WORDS, "keep compiled packages in a cache mount"
)


def _fetched_anew(subject: Subject, rule: Rule) -> Iterator[Finding]:
    for stage in _inner_stages(subject):
        found = _first(stage, _MODULES)
        if found is None or not _has_modules(found):
            continue
        if any(_fills_below(below) for below in stage.chain() if below is not stage):
            # The stage below has them in its files, or is told of itself.
            continue
        cache = module_cache(found.line.state)
        yield rule.find(
            found.line.place(found.command.start, found.command.end),
            f"go {found.verb} fetches the modules without a cache mount, all of them again once"
            f" one changes {_GAIN}",
            f"write RUN --mount=type=cache,target={cache}",
            _fix(stage, _MODULES, cache) if _are_known(stage) else None,
        )


def _compiled_anew(subject: Subject, rule: Rule) -> Iterator[Finding]:
    for stage in _inner_stages(subject):
        found = _first(stage, _BUILD)
        if found is None:
            continue
        cache = build_cache(found.line.state)
        yield rule.find(
            found.line.place(found.command.start, found.command.end),
            f"go {found.verb} compiles without a cache mount, every package again after any change"
            f" {_GAIN}",
            f"write RUN --mount=type=cache,target={cache}",
            _fix(stage, _BUILD, cache),
        )


def _inner_stages(subject: Subject) -> Iterator[StageView]:
    """The stages whose layers are in no image."""
    return (stage for stage in subject.stages if stage.number not in subject.exported)


def _first(stage: StageView, kind: _Kind) -> GoCommand | None:
    """The first command of a stage that fills a cache for which its RUN has no mount."""
    found: GoCommand | None = None
    for line in stage.lines:
        if kind.words.search(_text(line)):
            return None
        for command in go_commands(line):
            if found is not None or not kind.fills(command) or not _is_of_context(command):
                continue
            cache = kind.place(line.state)
            # Another environment of the command alone would have another place.
            if not cache.startswith("/") or "$" in cache or kind.place(_own(command)) != cache:
                return None
            if not has_cache_mount(line, cache):
                found = command
    if found is None or _is_read(stage, kind.place(found.line.state)):
        return None
    return found


def _is_of_context(command: GoCommand) -> bool:
    """Whether a command may read what the build context brings.

    What is cloned or installed for the build alone is fetched and compiled once.
    """
    line = command.line
    before = line.commands[: line.commands.index(command.command)]
    if any(item.program == "git" and "clone" in item.arguments for item in before):
        return False
    return placed_by(line) != () or any(
        _brings_context(other) for other in line.stage.all_lines if other.range < line.range
    )


def _brings_context(line: Line) -> bool:
    """Whether a COPY brings anything of the build context, itself or through other stages."""
    waiting, seen = [line], set[int]()
    while waiting:
        copy = waiting.pop()
        typed = copy.instruction
        if not isinstance(typed, Copy):
            continue
        if typed.from_:
            source = copy.subject.source_stage(copy)
            if source is not None and source.number not in seen:
                seen.add(source.number)
                waiting.extend(source.all_lines)
        # What ADD fetches is pinned by whoever wrote its address.
        elif not all(_REMOTE.search(name) for name in typed.sources):
            return True
    return False


def _own(command: GoCommand) -> State:
    return command.line.state._replace(variables=command.environment)


def _text(line: Line) -> str:
    """What a RUN or an ENV says, without its mounts."""
    node = line.node
    if node.keyword not in ("RUN", "ENV", "ARG"):
        return ""
    return f"{node.rest} {' '.join(heredoc.content for heredoc in node.heredocs)} "


def _is_read(stage: StageView, cache: str) -> bool:
    """Whether another stage copies or mounts the cache of this one, or may."""
    subject = stage.subject
    for line in subject.lines:
        typed = line.instruction
        if isinstance(typed, Copy):
            source = subject.source_stage(line)
            if source is None or stage not in source.chain():
                continue
            paths = [line.expand(path) for path in typed.sources]
            if any("$" in path or meets(f"/{path.lstrip('/')}", cache) for path in paths):
                return True
        elif isinstance(typed, Run) and stage in (
            below for mounted in subject.mounted_stages(line) for below in mounted.chain()
        ):
            mounts = mounts_of(line)
            if mounts is None or any(
                mount.from_ and meets(f"/{mount.source.lstrip('/')}", cache) for mount in mounts
            ):
                return True
    return False


def _has_modules(command: GoCommand) -> bool:
    """Whether there are modules to fetch, as far as the build context tells."""
    context = command.line.subject.context
    if context is None:
        return command.verb == "mod download"
    module = command.line.subject.module
    place = "" if module is None or module.root == "." else module.root
    found = module_above(context, place)
    if found is None or not has_modules_to_fetch(context, found):
        return False
    return not is_vendored(context, found)


def _fills_below(stage: StageView) -> bool:
    return any(fetches(command) for line in stage.lines for command in go_commands(line))


def _family(stage: StageView) -> list[StageView]:
    """The stage, and those that stand on it."""
    return [other for other in stage.subject.stages if stage in other.chain()]


def _are_known(stage: StageView) -> bool:
    """Whether all RUNs that may need the modules are known: they need the same mount."""
    for other in _family(stage):
        for line in other.lines:
            if isinstance(line.instruction, Run) and not (
                line.commands and all(map(reads_named_only, line.commands))
            ):
                return False
    return True


def _fix(stage: StageView, kind: _Kind, cache: str) -> Fix | None:
    """Mounts for all RUNs with go commands of a stage; for modules, of those above it too."""
    edits: list[Edit] = []
    for other in _family(stage) if kind is _MODULES else [stage]:
        for line in other.lines:
            commands = [item for item in go_commands(line) if _needs(kind, item)]
            if not commands or has_cache_mount(line, cache):
                continue
            if not is_root(line.state) or kind.place(line.state) != cache:
                # A mount is root's unless it says otherwise.
                return None
            edit = _mount(line, cache)
            if edit is None:
                return None
            edits.append(edit)
    return Fix(kind.title, tuple(edits)) if edits else None


def _needs(kind: _Kind, command: GoCommand) -> bool:
    return command.verb not in ("version", "env") if kind is _MODULES else kind.fills(command)


def _mount(line: Line, cache: str) -> Edit | None:
    """The mount before the command, which goes on in the next line."""
    subject, node = line.subject, line.node
    logical = subject.text.logical(node.range)
    if logical is None or not node.rest:
        return None
    offset = rest_at(node)
    at = logical.range(offset, offset).start
    first = subject.text.lines[at.line - 1]
    indent = subject.text.indent(node.range) + "    "
    if at.line != node.range.start.line and not first[: at.column].strip():
        indent = first[: at.column]
    new = f"--mount=type=cache,target={cache} {subject.parsed.escape}\n{indent}"
    return Edit(Range(at, at), new)


RULES: Final = (
    Rule("GO005", "download-without-cache-mount", Severity.INFO,
         "modules are fetched without a cache mount", _fetched_anew, mends=True),
    Rule("GO006", "build-without-cache-mount", Severity.INFO,
         "a go build, install or test runs without a cache mount for what it compiles",
         _compiled_anew, mends=True),
)  # fmt: skip
