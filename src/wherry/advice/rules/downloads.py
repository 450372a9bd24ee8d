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
from wherry.advice.views import POSIX_SHELLS
from wherry.frontends.dockerfile.instructions import Copy

if TYPE_CHECKING:
    from wherry.advice.reading.shell_words import Command
    from wherry.advice.subject import Subject
    from wherry.advice.views import Line

_URL: Final = re.compile(r"https?://", re.IGNORECASE)
# What BuildKit takes for a repository: its commit is the checksum.
_GIT: Final = re.compile(r"(?:git@|git://|ssh://)|https?://[^#?]*\.git(?:[#?].*)?\Z", re.IGNORECASE)
# Its answer changes with the branch: added so that what is below is not taken from the cache.
_STAMP: Final = re.compile(r"https?://api\.github\.com/repos/[^/]+/[^/]+/(?:branches|commits|git)/")
_ARCHIVE: Final = re.compile(r"\.(?:tar|t[gbx]z2?|gz|bz2|xz|zst|lz4|lzma|Z|zip)(?:\.|\Z)", re.I)
_WILD: Final = frozenset("*?[")
_FETCHERS: Final = frozenset(("curl", "wget"))

_INTERPRETERS: Final = frozenset(("python", "python3", "perl", "ruby", "node"))
_OUTPUT: Final = {"curl": "o", "wget": "O"}
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
            if _is_checked_later(line) or all(_is_stamp(line, typed.sources[at]) for at in fetched):
                continue
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


def _is_stamp(line: Line, source: str) -> bool:
    return _STAMP.match(line.expand(source)) is not None


def _is_checked_later(line: Line) -> bool:
    """Whether a RUN below asks a program that compares what was fetched with what it should be."""
    lines = line.stage.lines
    return any(
        command.program in _CHECKERS
        for later in lines[lines.index(line) + 1 :]
        for command in later.commands
    )


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
        yield from _saved(line, rule)
        for command, following in pairwise(commands):
            does = _does(line, command, following)
            if does:
                yield rule.find(
                    line.place(command.start, following.end),
                    f"what is downloaded here is {does} unseen",
                    "save it to a file, check it with sha256sum -c, and then use it; or fetch it"
                    " with ADD --checksum=sha256:...",
                )


def _saved(line: Line, rule: Rule) -> Iterator[Finding]:
    """Downloads into a file that the same RUN then starts, unpacks or installs."""
    commands = line.commands
    for number, command in enumerate(commands):
        name = _file_of(command)
        if not name or any(_LOCAL.match(argument) for argument in command.arguments):
            continue
        for later in commands[number + 1 :]:
            does = _use_of(later, name)
            if does:
                yield rule.find(
                    line.place(command.start, command.end),
                    f"what is downloaded here is {does} unseen",
                    "compare it first: echo 'SHA256  FILE' | sha256sum -c -; or fetch it with"
                    " ADD --checksum=sha256:...",
                )  # fmt: skip
                break


def _file_of(command: Command) -> str:
    """The last part of the path that a download is saved to; empty where it is not known."""
    words = command.arguments
    urls = [word for word in words if _URL.match(word)]
    if command.program not in _FETCHERS or len(urls) != 1:
        return ""
    named = [item.target.value for item in command.redirects if item.operator == ">"]
    for word, following in pairwise((*words, "")):
        is_short = re.fullmatch(rf"-[A-Za-z]*{_OUTPUT[command.program]}", word) is not None
        if is_short or word in ("--output", "--output-document"):
            named.append(following)
        elif word.startswith(("--output=", "--output-document=")):
            named.append(word.partition("=")[2])
    remote = any(re.fullmatch(r"-[A-Za-z]*O|--remote-name", word) for word in words)
    if not named and (command.program == "wget" or remote):
        named = [re.split(r"[?#]", urls[0])[0]]
    name = posixpath.basename(named[0]) if len(named) == 1 else ""
    # A dash is where a pipe goes on.
    return "" if name == "-" else name


def _use_of(command: Command, name: str) -> str:
    """What a command does with a file of that name: `run`, `unpacked`, `installed`, or nothing."""
    used = [word for word in command.arguments if posixpath.basename(word) == name]
    if posixpath.basename(command.words[0].value if command.words else "") == name:
        return "run"
    if not used:
        return ""
    if command.program in _UNPACKERS | {"unzip"}:
        return "unpacked"
    if command.program == "chmod":
        mode = command.arguments[0]
        return "run" if re.search(r"x|[1357]", mode) and "=" not in mode else ""
    if command.program in POSIX_SHELLS | _INTERPRETERS:
        return "run" if command.arguments[0] == used[0] else ""
    return "installed" if command.program in ("dpkg", "rpm", "install") else ""


def _does(line: Line, command: Command, following: Command) -> str:
    """What becomes of a download: `run` or `unpacked`; empty where it is none."""
    if _runs_substitution(command, following):
        return "run"
    if command.program not in _FETCHERS or not _goes_into(line, command, following):
        return ""
    if any(_LOCAL.match(argument) for argument in command.arguments):
        return ""
    if following.program in POSIX_SHELLS | _INTERPRETERS:
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
    """`sh -c "$(curl ...)"` and `bash <(curl ...)`."""
    if command.program not in POSIX_SHELLS or inner.program not in _FETCHERS or not inner.nested:
        return False
    script = command.words[-1] if command.words else None
    if script is None or not script.start <= inner.start < script.end:
        return False
    begins = ("$(", "`") if "-c" in command.arguments else ("<(",)
    return script.value.lstrip().startswith(begins)


RULES: Final = (
    Rule("GO309", "add-of-url", Severity.WARNING,
         "ADD of a URL without checksum, or where COPY serves", _added, mends=True),
    Rule("GO310", "download-unverified", Severity.INFO,
         "a download that is run or unpacked unseen", _unverified),
)  # fmt: skip
"""In the order of their ids."""
