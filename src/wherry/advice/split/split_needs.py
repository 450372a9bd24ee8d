# SPDX-License-Identifier: Apache-2.0
"""What decides whether a single-stage Dockerfile can be split: packages, later commands, cgo."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

from wherry.advice.reading.file_contents import read_file
from wherry.advice.reading.main_packages import main_of, tags_of
from wherry.frontends.dockerfile.instructions import Run

if TYPE_CHECKING:
    from wherry.advice.reading.go_commands import GoCommand
    from wherry.advice.reading.shell_words import Command
    from wherry.advice.views import Line, StageView

_MANAGERS: Final = {
    "apt-get": "install", "apt": "install", "apk": "add", "yum": "install", "dnf": "install",
    "microdnf": "install",
}  # fmt: skip
# What is installed to build, or is in the new base as well.
_FOR_BUILDS: Final = frozenset(
    ("git", "gcc", "g++", "make", "build-base", "build-essential", "musl-dev", "libc-dev",
     "libc6-dev", "linux-headers", "ca-certificates", "tzdata", "curl", "wget", "unzip", "zip",
     "tar", "gzip", "bzip2", "xz", "xz-utils", "bash", "openssh", "openssh-client", "mercurial",
     "bzr", "subversion", "protobuf", "protobuf-dev", "protobuf-compiler", "protoc", "upx",
     "upx-ucl", "binutils", "binutils-gold", "pkg-config", "pkgconf", "pkgconfig", "gnupg",
     "autoconf", "automake", "libtool", "cmake", "patch", "file", "jq", "go", "golang",
     "golang-go", "gcc-go", "clang", "gettext", "apt-transport-https", "software-properties-common")
)  # fmt: skip
_MOST_BYTES: Final = 1 << 20
_COMPILERS: Final = frozenset(
    ("gcc", "g++", "build-base", "build-essential", "musl-dev", "clang", "gcc-go")
)
_HARMLESS: Final = frozenset(
    ("chmod", "chown", "rm", "ls", "echo", "file", "strip", "upx", "true", "cd", "set", "adduser",
     "addgroup", "useradd", "groupadd", "du", "pwd", "stat", "test", "[")
)  # fmt: skip
# Modules whose packages compile without cgo, and then fail or are empty.
_CGO_MODULES: Final = re.compile(
    rb"\b(?:github\.com/(?:mattn/go-sqlite3|confluentinc/confluent-kafka-go|h2non/bimg|"
    rb"davidbyttow/govips|libgit2/git2go|google/gopacket|tecbot/gorocksdb|godror/godror|"
    rb"DataDog/zstd|pebbe/zmq4)|gopkg\.in/(?:gographics/imagick|confluentinc/confluent-kafka-go)|"
    rb"gocv\.io/x/gocv)\b"
)


def only_builds(stage: StageView, builder: Line) -> bool:
    """Whether no RUN of the stage does anything that the image itself is known to need."""
    after = False
    for line in stage.lines:
        if isinstance(line.instruction, Run):
            if not line.commands or not all(map(_installs_for_build, line.commands)):
                return False
            if after and not all(map(_is_harmless, line.commands)):
                return False
        after = after or line is builder
    return True


def needs_cgo(command: GoCommand) -> bool:
    """Whether a program is to be built with cgo: said, meant by a compiler, or by its packages."""
    if command.cgo is not None:
        return command.cgo
    if any(_installs_compiler(other) for line in command.line.stage.lines
           for other in line.commands):  # fmt: skip
        return True
    module, main = command.line.subject.module, main_of(command)
    if module is not None and main is not None and not module.problem(main, tags_of(command)):
        return bool(module.uses_cgo(main, on=False, tags=tags_of(command)))
    context = command.line.subject.context
    if context is None:
        return False
    gomod = read_file(os.path.join(context.directory, "go.mod"), _MOST_BYTES)
    return gomod is not None and _CGO_MODULES.search(gomod) is not None


def _packages(command: Command) -> list[str] | None:
    """What a command installs, without versions; None where it cannot be told."""
    verb = _MANAGERS.get(command.program)
    words = command.words[1:]
    at = next((at for at, word in enumerate(words) if word.value == verb), None)
    if verb is None or at is None:
        return []
    found: list[str] = []
    for word in words[at + 1 :]:
        if not word.fixed:
            return None
        if not word.value.startswith(("-", ".")):
            found.append(re.split(r"[=<>~@]", word.value)[0])
    return found


def _installs_for_build(command: Command) -> bool:
    packages = _packages(command)
    return packages is not None and all(name in _FOR_BUILDS for name in packages)


def _installs_compiler(command: Command) -> bool:
    return any(name in _COMPILERS for name in _packages(command) or ())


def _is_harmless(command: Command) -> bool:
    if not command.words:
        return True
    if command.program == "go":
        return command.arguments[:1] in (("clean",), ("version",), ("env",), ("vet",), ("test",))
    return command.program in _HARMLESS and not command.redirects
