# SPDX-License-Identifier: Apache-2.0
"""Build flags: wherry's defaults beside the user's GOFLAGS.

Go lets a flag on the command line replace the one in GOFLAGS without a word, so that passing a
default would lose what the user set (GOFLAGS=-ldflags=... above all). Therefore each default is
left out where GOFLAGS sets that flag; what the user told wherry itself beats GOFLAGS.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from wherry.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

_BLANKS = " \t\n\r"
_STRIP = "-s -w"
# `-d` may be followed by a word such as `checkptr=1`.
_FOR_PACKAGES = re.compile(r"[^-=\s'\"][^=\s]*=-")
STAMP_FULL = "full"


class FlagSettings(NamedTuple):
    """What the user asked wherry for, beyond GOFLAGS.

    `stamp` is `off`, `labels` or `full`; `ldflags` and `gcflags` are flags for linker and compiler,
    joined by blanks as written, those of the compiler up to the next package pattern (`all=-N`);
    `tags` are build tags.
    """

    stamp: str = "off"
    ldflags: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    gcflags: tuple[str, ...] = ()


def build_flags(goflags: str, settings: FlagSettings) -> tuple[str, ...]:
    """The flags to pass to `go build` (and `go list`), in Go's spelling.

    `goflags` is what `go env GOFLAGS` says, which includes `go env -w`. Settings for the linker
    come after `-s -w`, so that `-s=false` keeps the symbols. `full` passes -buildvcs whatever
    GOFLAGS says, as it is never a default. Raises `UsageError` for flags that Go cannot read.
    """
    user = {flag_name(word) for word in split_goflags(goflags)}
    flags = [] if "trimpath" in user else ["-trimpath"]
    linker = " ".join([_STRIP, *settings.ldflags])
    if settings.ldflags:
        _check_quotes(linker, "ldflags")
    if settings.ldflags or "ldflags" not in user:
        flags.append(f"-ldflags={linker}")
    if settings.stamp == STAMP_FULL:
        flags.append("-buildvcs=true")
    elif "buildvcs" not in user:
        flags.append("-buildvcs=false")
    if settings.tags:
        flags.append(f"-tags={','.join(settings.tags)}")
    for compiler in _by_packages(settings.gcflags):
        _check_quotes(compiler, "gcflags")
        flags.append(f"-gcflags={compiler}")
    # These two would make `go build` print commands or JSON and no program or message.
    flags.extend(f"-{name}=false" for name in ("json", "n") if name in user)
    return tuple(flags)


def split_goflags(text: str) -> tuple[str, ...]:
    """The words of GOFLAGS, as Go splits them.

    Quotes count only at the beginning of a word, and nothing inside them is unescaped:
    `'-ldflags=-s -w'` is one word, `-ldflags='-s -w'` is two. Raises `UsageError` where Go would.
    """
    words = _split_quoted(text, "GOFLAGS")
    for word in words:
        if flag_name(word) == "":
            raise UsageError(f"GOFLAGS holds {word!r}, which is no flag",
                             hint="write it as -flag=value, and check: go env GOFLAGS")  # fmt: skip
    return words


def flag_name(word: str) -> str:
    """`ldflags` of `-ldflags=-s` or `--ldflags=-s`; empty for a word that is no flag."""
    if not word.startswith("-"):
        return ""
    bare = word[2:] if word.startswith("--") else word[1:]
    name = bare.partition("=")[0]
    return "" if name.startswith("-") else name


def flag_value(words: Sequence[str], name: str) -> str | None:
    """The last value that `words` give a flag (`true` for a bare one), None where they do not."""
    found = None
    for word in words:
        if flag_name(word) == name:
            found = word.partition("=")[2] if "=" in word else "true"
    return found


def _by_packages(words: Sequence[str]) -> list[str]:
    """One text for each package pattern (`all=-N -l`), whose flags go up to the next one.

    Go takes one pattern for each `-gcflags` (`go help build`).
    """
    found: list[str] = []
    for word in words:
        if not found or _FOR_PACKAGES.match(word):
            found.append(word)
        else:
            found[-1] += f" {word}"
    return found


def _check_quotes(text: str, name: str) -> None:
    _split_quoted(text, name)


def _split_quoted(text: str, name: str) -> tuple[str, ...]:
    words: list[str] = []
    rest = text.lstrip(_BLANKS)
    while rest:
        if rest[0] in "'\"":
            word, quote, rest = rest[1:].partition(rest[0])
            if not quote:
                raise UsageError(f"{name}: a quote is not closed", why=text,
                                 hint="close it, or leave it out")  # fmt: skip
        else:
            end = min((i for i in map(rest.find, _BLANKS) if i >= 0), default=len(rest))
            word, rest = rest[:end], rest[end:]
        words.append(word)
        rest = rest.lstrip(_BLANKS)
    return tuple(words)
