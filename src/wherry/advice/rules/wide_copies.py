# SPDX-License-Identifier: Apache-2.0
"""A rule about build contexts that hold more than Go reads: whatever changes there builds again."""

from __future__ import annotations

import os
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from wherry.advice.model import Finding, Fix, Need, Rule, Severity
from wherry.advice.reading.copied_files import Placed, mounts_of, placed_by, within
from wherry.advice.reading.go_commands import go_commands
from wherry.advice.reading.paths import meets, normal
from wherry.advice.reading.run_programs import is_apart
from wherry.advice.reading.whole_lines import added_lines
from wherry.frontends.dockerfile.instructions import Copy, Run

if TYPE_CHECKING:
    from wherry.advice.context import Context
    from wherry.advice.reading.go_commands import GoCommand
    from wherry.advice.reading.go_module import GoModule
    from wherry.advice.subject import Subject
    from wherry.advice.views import Line, StageView

# A directory with fewer files and bytes is not worth a word.
_FEW: Final = 20
_SMALL: Final = 1_000_000
_SHOWN: Final = 4
_DOCKERFILE: Final = re.compile(
    r"(?:\A|/)(?:(?:Dockerfile|Containerfile)(?:\.[^/]+)?|[^/]+\.(?:Dockerfile|Containerfile))\Z",
    re.IGNORECASE,
)
_PLAIN: Final = re.compile(r"[\w.+-]+")
# Go commands that read no more than the closure of what they name.
_READ_CLOSURE: Final = frozenset(
    ("build", "install", "mod download", "mod verify", "env", "version")
)
# Where they stand, other programs than this build read them.
_FILES_OF_OTHERS: Final = frozenset((".git", "vendor", ".github"))


def _wide(subject: Subject, rule: Rule) -> Iterator[Finding]:
    context, module = subject.context, subject.module
    if context is None or module is None:
        return
    copies = [
        (line, item) for line in subject.lines if isinstance(line.instruction, Copy)
        for item in placed_by(line) or () if item.directory and not item.source
    ]  # fmt: skip
    if not copies or _uses_history(context) or not _is_understood(subject):
        return
    commands = [command for line in subject.lines for command in go_commands(line)]
    needed = _needed(context, module, commands)
    if not needed or any(not _reads_little(line, item) for line, item in copies):
        return
    unused = [
        name for name in _large(context)
        if name not in needed | _FILES_OF_OTHERS and not _is_named(subject, name, copies)
    ]  # fmt: skip
    if not unused:
        return
    lines = " ".join(f"/{name}" for name in unused)
    shown = ", ".join(f"{name}/" for name in unused[:_SHOWN])
    more = f" and {len(unused) - _SHOWN} more" if len(unused) > _SHOWN else ""
    file = context.ignore_file or ".dockerignore"
    fix: Fix | None = _fix(context, unused)
    if file.startswith(".") and _serves_others(subject, context):
        # What the file hides is hidden from them too.
        kept = f", which then counts instead of {file}" if context.ignore_file else ""
        own = f"{posixpath.basename(subject.path)}.dockerignore"
        file, fix = f"a file of its own, {own}{kept}", None
    yield rule.find(
        copies[0][0].head,
        f"all of the build context is copied, but Go reads nothing in {shown}{more}:"
        " a change there builds all again",
        f"write into {file}: {lines}",
        fix,
    )


def _serves_others(subject: Subject, context: Context) -> bool:
    """Whether other Dockerfiles may be built from the same directory."""
    own = posixpath.basename(subject.path)
    found = [name for name in context.names if _DOCKERFILE.search(name)]
    return len(found) > 1 or any(posixpath.basename(name) != own for name in found)


def _uses_history(context: Context) -> bool:
    """Whether git looks at the sources: it would take what is left out for removed."""
    return context.has(".git") and not context.hides(".git")


def _is_understood(subject: Subject) -> bool:
    """Whether all RUNs of stages with sources are go commands, or others that need no sources."""
    for line in subject.lines:
        if isinstance(line.instruction, Run) and _has_sources(line):
            known = {command.command for command in go_commands(line)
                     if command.verb in _READ_CLOSURE}  # fmt: skip
            if not line.commands:
                return False
            if not all(command in known or is_apart(command) for command in line.commands):
                return False
    return True


def _has_sources(line: Line) -> bool:
    if mounts_of(line) is None or placed_by(line):
        return True
    lines = line.stage.all_lines
    return any(
        isinstance(before.instruction, Copy) and placed_by(before) != ()
        for before in lines[: lines.index(line)]
    )


def _needed(context: Context, module: GoModule, commands: list[GoCommand]) -> frozenset[str]:
    """The names at the context's top that what is built needs; none where that is not known."""
    patterns = {_pattern(command) for command in commands if command.builds}
    patterns.discard("")
    if not patterns or None in patterns:
        return frozenset()
    found = {posixpath.normpath(path).split("/")[0] for path in module.local_directories}
    found.add(module.root.split("/")[0])
    for pattern in sorted(filter(None, patterns)):
        if module.problem(pattern):
            return frozenset()
        for package in module.other_packages(pattern):
            if package.cgo_files:
                # A C compiler reads what its flags name.
                return frozenset()
            path = os.path.relpath(package.dir, context.directory)
            files = (os.path.normpath(os.path.join(path, name)) for name in package.embed_files)
            found.update(name.split("/")[0] for name in (path, *files))
    return frozenset(found)


def _pattern(command: GoCommand) -> str | None:
    """What a command builds, relative to its module; empty for tools, None where not known."""
    values = [word.value for word in command.arguments]
    if any("@" in value for value in values):
        return ""
    if len(values) > 1 or not all(word.fixed for word in command.arguments):
        return None
    if not command.directory or any(map(command.flag, ("tags", "mod", "modfile"))):
        return None
    value = values[0] if values else "."
    if value.endswith(".go"):
        value = posixpath.dirname(value) or "."
    roots = [
        item.target for line in command.line.stage.all_lines
        for item in (placed_by(line) or () if isinstance(line.instruction, Copy) else ())
        if item.directory and not item.source
    ]  # fmt: skip
    module = command.line.subject.module
    if module is None or module.root != "." or not roots or not value.startswith("."):
        return None
    inside = within(posixpath.normpath(posixpath.join(command.directory, value)), roots[0])
    return None if inside is None else f"./{inside}" if inside else "."


def _reads_little(line: Line, item: Placed) -> bool:
    """Whether only Go reads what a COPY of the whole context brings."""
    stage, subject = line.stage, line.subject
    if stage.number in subject.exported:
        return False
    family = [other for other in subject.stages if stage in other.chain()]
    if not any(command.builds for other in family for following in other.lines
               for command in go_commands(following)):  # fmt: skip
        return False
    return not any(_takes(other, family, item.target) for other in subject.lines)


def _takes(line: Line, family: list[StageView], target: str) -> bool:
    """Whether an instruction reads the copied directory as a whole, or may."""
    return any(path is None or within(target, path) is not None for path in _read(line, family))


def _read(line: Line, family: list[StageView]) -> Iterator[str | None]:
    """The paths of these stages that an instruction copies or mounts; None for an unknown one."""
    subject, typed = line.subject, line.instruction
    if isinstance(typed, Copy) and subject.source_stage(line) in family:
        for source in typed.sources:
            path = line.expand(source)
            yield None if "$" in path or "*" in path else normal(path)
    elif isinstance(typed, Run) and any(item in family for item in subject.mounted_stages(line)):
        for mount in mounts_of(line) or ():
            if mount.from_:
                yield normal(mount.source)


def _is_named(subject: Subject, name: str, copies: list[tuple[Line, Placed]]) -> bool:
    """Whether an instruction speaks of a directory at the context's top."""
    stages = [line.stage for line, _ in copies]
    family = [other for other in subject.stages if any(stage in other.chain() for stage in stages)]
    targets = [posixpath.join(item.target, name) for _, item in copies]
    word = re.compile(rf"(?<![\w.-]){re.escape(name)}(?![\w-])")
    for line in subject.lines:
        if any(path is not None and meets(path, target)
               for path in _read(line, family) for target in targets):  # fmt: skip
            return True
        if not isinstance(line.instruction, Copy | Run) or line in (copy for copy, _ in copies):
            continue
        if word.search(line.node.original) or placed_by(line) is None:
            return True
    return False


def _large(context: Context) -> list[str]:
    """The directories at the context's top with many files or bytes, sorted."""
    counts: dict[str, int] = defaultdict(int)
    sizes: dict[str, int] = defaultdict(int)
    for path in context.names:
        top, slash, _ = path.partition("/")
        if slash:
            counts[top] += 1
            sizes[top] += _size(os.path.join(context.directory, path))
    return sorted(
        name for name in counts
        if (counts[name] > _FEW or sizes[name] > _SMALL) and _PLAIN.fullmatch(name)
    )  # fmt: skip


def _size(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


def _fix(context: Context, unused: list[str]) -> Fix:
    """Lines for the ignore file: other Dockerfiles of the context may need what they hide."""
    edit = added_lines((f"/{name}" for name in unused), context.ignore_file or ".dockerignore")
    return Fix("leave out what Go does not read", (edit,), safe=False)


RULES: Final = (
    Rule("GO003", "whole-context-copied", Severity.INFO,
         "the whole build context is copied, though Go reads much less of it", _wide,
         frozenset((Need.CLOSURE,)), mends=True),
)  # fmt: skip
