# SPDX-License-Identifier: Apache-2.0
"""Rules about what a build fetches without looking at it, and about ADD where COPY serves."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from wherry.advice.model import Edit, Finding, Fix, Position, Range, Rule, Severity
from wherry.advice.reading.word_places import word_places
from wherry.frontends.dockerfile.instructions import Copy

if TYPE_CHECKING:
    from wherry.advice.reading.shell import Command
    from wherry.advice.subject import Line, Subject

_URL: Final = re.compile(r"https?://", re.IGNORECASE)
# What BuildKit takes for a repository: its commit is the checksum.
_GIT: Final = re.compile(r"(?:git@|git://|ssh://)|https?://[^#?]*\.git(?:[#?].*)?\Z", re.IGNORECASE)
_ARCHIVE: Final = re.compile(r"\.(?:tar|t[gbx]z2?|gz|bz2|xz|zst|lz4|lzma|Z|zip)(?:\.|\Z)", re.I)
_WILD: Final = frozenset("*?[")
_FETCHERS: Final = frozenset(("curl", "wget"))
_SHELLS: Final = frozenset(("sh", "bash", "ash", "dash", "zsh"))
_INTERPRETERS: Final = frozenset(("python", "python3", "perl", "ruby", "node"))
_UNPACKERS: Final = frozenset(("tar", "bsdtar", "gunzip", "gzip", "zcat", "xz", "bunzip2", "cpio"))
_CHECKERS: Final = frozenset(
    ("sha256sum", "sha512sum", "sha1sum", "shasum", "sha384sum", "gpg", "gpgv", "cosign",
     "minisign", "openssl", "slsa-verifier", "sq", "apt-key", "rhash", "md5sum", "b2sum")
)  # fmt: skip
_LOCAL: Final = re.compile(r"(?:https?://)?(?:localhost|127\.0\.0\.1|\[::1\])(?:[:/]|\Z)|file:")


def _added(subject: Subject, rule: Rule) -> Iterator[Finding]:
    for line in subject.lines:
        typed = line.instruction
        if not isinstance(typed, Copy) or not typed.add:
            continue
        fetched = [index for index, source in enumerate(typed.sources) if _is_url(line, source)]
        if fetched and not typed.checksum:
            places = word_places(subject, line.node)
            yield rule.find(
                places[fetched[0]] if fetched[0] < len(places) else line.head,
                "whatever the address gives on the day goes into the image",
                "write ADD --checksum=sha256:... URL DESTINATION",
            )
        elif not fetched and _is_plain(line, typed):
            start = line.range.start
            word = Range(start, Position(start.line, start.column + 3))
            new = "copy" if subject.text.slice(word).islower() else "COPY"
            fix = Fix("COPY instead of ADD", (Edit(word, new),), safe=_is_sure(line, typed))
            yield rule._replace(severity=Severity.INFO).find(
                word, "ADD does no more than COPY here",
                "write COPY, which never unpacks or fetches", fix,
            )  # fmt: skip


def _is_url(line: Line, source: str) -> bool:
    value = line.expand(source)
    return _URL.match(value) is not None and not _GIT.match(value)


def _is_plain(line: Line, typed: Copy) -> bool:
    """Whether all that an ADD does is to copy, as far as can be told by names."""
    if typed.checksum or typed.keep_git_dir is not None or typed.unpack is not None:
        return False
    for source in typed.sources:
        value = line.expand(source)
        # A variable without a value may be anything.
        if "$" in source or "://" in value or _GIT.match(value) or _ARCHIVE.search(value):
            return False
        if any(mark in value for mark in _WILD):
            return False
    return bool(typed.sources)


def _is_sure(line: Line, typed: Copy) -> bool:
    """Whether no source can be an archive, which ADD tells by content."""
    return all(_is_no_archive(line, source) for source in typed.sources)


def _is_no_archive(line: Line, source: str) -> bool:
    value = line.expand(source)
    if value.startswith("<<") or value in (".", "/") or value.endswith("/"):
        return True
    context = line.subject.context
    if context is not None and context.is_directory(value.lstrip("/")):
        return True
    return "." in posixpath.basename(value).lstrip(".")


def _unverified(subject: Subject, rule: Rule) -> Iterator[Finding]:
    for line in subject.lines:
        commands = line.commands
        if any(command.program in _CHECKERS for command in commands):
            continue
        for command, following in pairwise(commands):
            does = _does(line, command, following)
            if does:
                yield rule.find(
                    line.place(command.start, following.end),
                    f"what is downloaded here is {does} unseen",
                    "save it to a file, check it with sha256sum -c, and then use it; or fetch it"
                    " with ADD --checksum=sha256:...",
                )


def _does(line: Line, command: Command, following: Command) -> str:
    """What becomes of a download: `run` or `unpacked`; empty where it is none."""
    if _runs_substitution(command, following):
        return "run"
    if command.program not in _FETCHERS or not _goes_into(line, command, following):
        return ""
    if any(_LOCAL.match(argument) for argument in command.arguments):
        return ""
    if following.program in _SHELLS | _INTERPRETERS:
        return "run" if _reads_program(following) else ""
    return "unpacked" if following.program in _UNPACKERS else ""


def _goes_into(line: Line, command: Command, following: Command) -> bool:
    """Whether a pipe, and nothing else, stands between two commands."""
    if command.shell != following.shell or command.end >= following.start:
        return False
    between = line.subject.text.slice(line.place(command.end, following.start))
    between = between.replace("\\\n", " ").replace("\\\r\n", " ").replace("2>&1", "").strip()
    return between.removesuffix("&").endswith("|") and not re.search(r"\|\||;|&&|\n", between)


def _reads_program(command: Command) -> bool:
    """Whether a shell or interpreter takes its program from its input."""
    for word in command.words[1:]:
        if word.value in ("-", "-s", "/dev/stdin") or word.value.startswith("-s"):
            return True
        if word.value in ("-c", "-e", "-m") or not word.value.startswith("-"):
            return False
    return True


def _runs_substitution(command: Command, inner: Command) -> bool:
    """`sh -c "$(curl ...)"`."""
    if command.program not in _SHELLS or inner.program not in _FETCHERS or not inner.nested:
        return False
    script = command.words[-1] if command.words else None
    return (
        "-c" in command.arguments
        and script is not None
        and script.start <= inner.start < script.end
        and script.value.lstrip().startswith(("$(", "`"))
    )


RULES: Final = (
    Rule("GO309", "add-of-url", Severity.WARNING,
         "ADD of a URL without checksum, or where COPY serves", _added, mends=True),
    Rule("GO310", "download-unverified", Severity.INFO,
         "a download that is run or unpacked unseen", _unverified),
)  # fmt: skip
"""In the order of their ids."""
