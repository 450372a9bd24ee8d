# SPDX-License-Identifier: Apache-2.0
"""GO105: what package managers leave in a layer when nothing takes it away in the same RUN.

Only layers of images are looked at. A mount over the place, any removal that names it, and anything
that cannot be read (a script for cleaning, a variable) count as taken care of.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from wherry.advice.model import Edit, Finding, Fix, Range, Rule
from wherry.advice.reading.layer_mounts import is_on_mount
from wherry.advice.reading.run_edits import append_command, insert_after, is_script
from wherry.advice.reading.shipped_images import shipped
from wherry.frontends.dockerfile.instructions import Run

if TYPE_CHECKING:
    from wherry.advice.reading.shell_words import Command, Word
    from wherry.advice.subject import Subject
    from wherry.advice.views import Line

_APT: Final = frozenset(("apt-get", "apt"))
_YUM: Final = frozenset(("yum", "dnf", "microdnf", "dnf5", "tdnf"))
_YUM_MAKES: Final = frozenset(("install", "update", "upgrade", "groupinstall", "reinstall",
                               "localinstall", "makecache"))  # fmt: skip
_YUM_CACHES: Final = ("yum", "dnf", "libdnf5")
_APK_VERBS: Final = frozenset(("add", "update", "upgrade", "del", "fetch", "fix"))
_PIP: Final = frozenset(("pip", "pip3", "pip2"))


def package_lists(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """GO105: package lists and caches that a RUN leaves in its layer."""
    numbers = shipped(subject)
    for stage in subject.stages:
        if stage.number not in numbers:
            continue
        for line in stage.lines:
            if isinstance(line.instruction, Run):
                for look in (_of_apt, _of_apk, _of_yum, _of_pip):
                    yield from look(line, rule)


def verb_of(command: Command, verbs: frozenset[str]) -> Word | None:
    """The first word of a command that is one of these verbs."""
    return next((word for word in command.words[1:] if word.value in verbs), None)


def _of_apt(line: Line, rule: Rule) -> Iterator[Finding]:
    own = [command for command in line.commands if command.program in _APT]
    updates = [item for item in own if verb_of(item, frozenset(("update",)))]
    if (
        not updates
        or is_on_mount(line, "/var/lib/apt/lists")
        or is_on_mount(line, "/var/cache/apt")
    ):
        return
    first = updates[0]
    if _is_cleaned(line, first, "/var/lib/apt") or any("distclean" in c.arguments for c in own):
        return
    fix = None
    last = "&& rm -rf /var/lib/apt/lists/*"
    hint = f"end the same RUN with {last}: a later RUN makes no layer smaller"
    if _is_needed_later(line, _APT, "install"):
        hint = f"install all in one RUN with the update, and end it with {last}"
    elif own[-1] is not updates[-1]:
        remove = _as_root(own[-1], "rm -rf /var/lib/apt/lists/*")
        fix = _append(line, own[-1], remove, "remove the package lists in the same RUN")
    yield rule.find(
        _place(line, first),
        f"{first.program} update leaves its package lists in the layer",
        hint,
        fix,
    )


def _of_apk(line: Line, rule: Rule) -> Iterator[Finding]:
    own = [command for command in line.commands if command.program == "apk"]
    adds: list[tuple[Command, Word]] = []
    updates: list[Command] = []
    for command in own:
        verb = verb_of(command, _APK_VERBS)
        if verb is None or "--no-cache" in command.arguments or _may_hold_flags(command, verb):
            continue
        if verb.value in ("add", "upgrade"):
            adds.append((command, verb))
        elif verb.value == "update":
            updates.append(command)
    if not adds and not updates:
        return
    first = min([*updates, *(command for command, _ in adds)], key=lambda item: item.start)
    if is_on_mount(line, "/var/cache/apk") or is_on_mount(line, "/etc/apk/cache"):
        return
    if _is_cleaned(line, first, "/var/cache/apk"):
        return
    told = adds[0][0] if adds else updates[0]
    verb = verb_of(told, _APK_VERBS)
    yield rule.find(
        _place(line, told),
        f"apk {verb.value if verb else ''} leaves the package index in the layer",
        "write apk add --no-cache, which needs no apk update either",
        _apk_fix(line, own, adds, updates),
    )


def _may_hold_flags(command: Command, verb: Word) -> bool:
    """Whether a variable stands where options do, before the first package."""
    for word in command.words[1:]:
        if word is verb or word.value.startswith("-"):
            continue
        return word.start < verb.start and not word.fixed
    return False


def _apk_fix(
    line: Line, own: list[Command], adds: list[tuple[Command, Word]], updates: list[Command]
) -> Fix | None:
    if not is_script(line):
        return None
    edits = [insert_after(line, verb, " --no-cache") for _, verb in adds]
    if not updates:
        return Fix("keep no package index", tuple(edits))
    if _is_needed_later(line, frozenset(("apk",)), "add"):
        return None
    removals = [_without(line, command) for command in updates]
    installs = any(verb_of(item, frozenset(("add",))) for item in own)
    if installs and all(removals):
        found = [edit for edit in removals if edit is not None]
        return Fix("keep no package index, which --no-cache fetches by itself", (*found, *edits))
    if own[-1] is updates[-1]:
        return None
    remove = _as_root(own[-1], "rm -rf /var/cache/apk/*")
    return _append(line, own[-1], remove, "remove the package index in the same RUN")


def _without(line: Line, command: Command) -> Edit | None:
    """Take a command and the `&&` behind it out; None where more than that would go."""
    following = next((item for item in line.commands if item.start >= command.end), None)
    if following is None or line.node.heredocs or command.wrapped or command.redirects:
        return None
    if following.shell != command.shell or following.depth != command.depth or command.either:
        return None
    place = Range(
        line.place(command.start, command.end).start,
        line.place(following.start, following.end).start,
    )
    text = line.subject.text.slice(Range(line.place(command.start, command.end).end, place.end))
    if text.replace(line.subject.parsed.escape, "").strip() != "&&":
        return None
    return Edit(place, "")


def _of_yum(line: Line, rule: Rule) -> Iterator[Finding]:
    own = [command for command in line.commands if command.program in _YUM]
    makes = [item for item in own if verb_of(item, _YUM_MAKES) and "clean" not in item.arguments]
    if not makes or any(is_on_mount(line, f"/var/cache/{name}") for name in _YUM_CACHES):
        return
    if any("clean" in item.arguments and item.start > makes[0].start for item in own):
        return
    if any(_is_cleaned(line, makes[0], f"/var/cache/{name}") for name in _YUM_CACHES):
        return
    program = makes[-1].program
    clean = _as_root(own[-1], f"{program} clean all")
    yield rule.find(
        _place(line, makes[0]),
        f"{program} leaves its caches in the layer",
        f"end the same RUN with && {program} clean all",
        _append(line, own[-1], clean, "remove the caches in the same RUN"),
    )


def _of_pip(line: Line, rule: Rule) -> Iterator[Finding]:
    off = line.state.variables.get("PIP_NO_CACHE_DIR", "").lower()
    if off in ("1", "true", "on", "yes", "off", "0", "no", "false"):
        # Versions of pip differ in what they take a "no" for.
        return
    first: Command | None = None
    edits: list[Edit] = []
    for command in line.commands:
        verb = _pip_verb(command)
        if verb is None or any(
            word.startswith(("--no-cache", "--cache-dir", "-r$")) for word in command.arguments
        ):
            continue
        if "PIP_NO_CACHE_DIR" in command.environment() or is_on_mount(line, "/root/.cache/pip"):
            continue
        if _is_cleaned(line, command, ".cache") or _purges(line):
            continue
        first = first or command
        if is_script(line):
            edits.append(insert_after(line, verb, " --no-cache-dir"))
    if first is not None:
        yield rule.find(
            _place(line, first),
            "pip leaves what it downloaded in the layer",
            "write pip install --no-cache-dir",
            Fix("keep no downloads", tuple(edits)) if edits else None,
        )


def _pip_verb(command: Command) -> Word | None:
    if command.program.startswith("python"):
        if command.arguments[:2] != ("-m", "pip"):
            return None
    elif command.program not in _PIP:
        return None
    return verb_of(command, frozenset(("install",)))


def _purges(line: Line) -> bool:
    return any(command.arguments[-2:] == ("cache", "purge") for command in line.commands)


def _is_cleaned(line: Line, first: Command, path: str) -> bool:
    """Whether a later command of the RUN removes a path, or may do so."""
    for command in line.commands:
        if command.start <= first.start:
            continue
        if "clean" in command.program or (command.words and not command.program):
            return True
        if command.program in ("rm", "find", "cd", "pushd", "rmdir") and any(
            _may_name(word.value, path) for word in command.words[1:]
        ):
            return True
    return False


def _may_name(text: str, path: str) -> bool:
    """Whether a word may mean a path, something in it or a directory around it."""
    if path in text or text.startswith("$") or (text.startswith("/var/") and "{" in text):
        return True
    above = text.rstrip("*").rstrip("/")
    return above.startswith("/") and path.startswith(f"{above}/")


def _is_needed_later(line: Line, programs: frozenset[str], verb: str) -> bool:
    """Whether a RUN above this layer installs by the lists that this one leaves."""
    for stage in line.subject.stages:
        if all(below is not line.stage for below in stage.chain()):
            continue
        lines = stage.lines
        if stage is line.stage:
            lines = lines[lines.index(line) + 1 :]
        for other in lines:
            for command in other.commands:
                if command.program not in programs:
                    continue
                if verb_of(command, frozenset(("update",))):
                    break
                if verb in command.arguments and "--no-cache" not in command.arguments:
                    return True
    return False


def _as_root(command: Command, text: str) -> str:
    return f"sudo {text}" if any(word.value == "sudo" for word in command.wrapped) else text


def _append(line: Line, after: Command, text: str, title: str) -> Fix | None:
    edit = append_command(line, after, text)
    return None if edit is None else Fix(title, (edit,))


def _place(line: Line, command: Command) -> Range:
    """The program and its verb, or the instruction's head where words have no places."""
    if not is_script(line):
        return line.head
    verbs = _APK_VERBS | _YUM_MAKES
    end = verb_of(command, verbs) or command.words[0]
    return line.place(command.words[0].start, end.end)
