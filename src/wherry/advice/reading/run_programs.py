# SPDX-License-Identifier: Apache-2.0
"""What RUNs do, as far as their programs tell: whether one is known to need or make no sources."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from wherry.advice.reading.copied_files import mounts_of
from wherry.advice.reading.paths import meets

if TYPE_CHECKING:
    from wherry.advice.reading.shell_words import Command
    from wherry.advice.views import Line, State

_INSTALLERS: Final = frozenset(("apk", "apt-get", "apt", "yum", "dnf", "microdnf"))
_INSTALL: Final = frozenset(("add", "install"))
# They read nothing of what was copied, and make nothing that Go reads of a module.
_APART: Final = _INSTALLERS | frozenset(
    ("cd", "set", "export", "echo", "printf", "true", ":", "test", "[", "mkdir", "adduser",
     "addgroup", "useradd", "groupadd", "update-ca-certificates", "date", "uname", "env")
)  # fmt: skip
# They do what their words say, whatever the environment.
_TOOLS: Final = frozenset(
    ("rm", "cp", "mv", "ln", "touch", "cat", "sed", "grep", "ls", "chmod", "chown", "curl", "wget",
     "tar", "unzip", "git", "strip", "upx", "sha256sum", "file", "find", "install", "ldd", "id",
     "pwd", "sleep", "which", "xargs", "head", "tail", "cut", "tr", "awk", "apt-key", "apt-mark")
)  # fmt: skip
_BRANCH: Final = re.compile(r"(?:\A|[\s;&|({])(?:if|case|while|until)\s")
_GO_APART: Final = frozenset(("env", "version", "clean", "telemetry"))


def installs(command: Command) -> bool:
    """Whether it installs packages of a distribution."""
    return command.program in _INSTALLERS and not _INSTALL.isdisjoint(command.arguments[:4])


def stands_apart(line: Line) -> bool:
    """Whether a RUN is known to read no file of the sources and to make none for Go."""
    return bool(line.commands) and all(is_apart(command) for command in line.commands)


def is_apart(command: Command) -> bool:
    """As `stands_apart`, of one command."""
    if not command.words:
        return True
    words = command.arguments
    if command.program == "git":
        return words[:1] == ("config",)
    if command.program == "go":
        if words[:1] in (("install",), ("get",)):
            return any("@" in word for word in words[1:])
        return bool(words) and words[0] in _GO_APART
    return command.program in _APART


def may_be_skipped(line: Line, command: Command) -> bool:
    """Whether a RUN's command stands in a branch, which a condition may leave out."""
    text = line.node.rest + "".join(item.content for item in line.node.heredocs)
    return command.depth > 0 and _BRANCH.search(text) is not None


def reads_named_only(command: Command) -> bool:
    """Whether it is known to look at no variable of the build that its text does not name."""
    if command.program == "go":
        return bool(command.arguments) and command.arguments[0] not in ("run", "generate", "tool")
    return is_apart(command) or command.program in _TOOLS


def module_cache(state: State) -> str:
    """Where Go keeps fetched modules; empty where that is not known."""
    values = state.variables
    if values.get("GOMODCACHE"):
        return values["GOMODCACHE"].rstrip("/")
    path = values.get("GOPATH", "").partition(":")[0]
    if not path and _home(state):
        path = f"{_home(state)}/go"
    return f"{path.rstrip('/')}/pkg/mod" if path else ""


def build_cache(state: State) -> str:
    """Where Go keeps what it compiled; empty where that is not known."""
    values = state.variables
    if values.get("GOCACHE"):
        return "" if values["GOCACHE"] == "off" else values["GOCACHE"].rstrip("/")
    if values.get("XDG_CACHE_HOME"):
        return f"{values['XDG_CACHE_HOME'].rstrip('/')}/go-build"
    home = _home(state)
    return f"{home}/.cache/go-build" if home else ""


def _home(state: State) -> str:
    home = state.variables.get("HOME", "")
    if home:
        return home.rstrip("/")
    return "/root" if is_root(state) else ""


def is_root(state: State) -> bool:
    """Whether commands are known to run as root."""
    return state.user.partition(":")[0] in ("root", "0")


def has_cache_mount(line: Line, path: str) -> bool:
    """Whether a RUN has a cache mount at, above or below a path, or may have one."""
    mounts = mounts_of(line)
    if mounts is None:
        return True
    targets = [line.state.path(mount.target) for mount in mounts if mount.type == "cache"]
    return any(meets(target, path) for target in targets)
