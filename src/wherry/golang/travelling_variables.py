# SPDX-License-Identifier: Apache-2.0
"""Which variables decide what a Go build gives, and how a travelling record compares their values.

A value never leaves its machine: the record holds a salted digest of it. A variable that names a
place of one machine, or that only says where modules come from, stays out, each for a reason of
its own; every other one has to be the same.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence

from wherry.golang.flags import flag_name, flag_value, split_goflags
from wherry.golang.settings_file import GoSettings

_PLACE = "a place: what is read there is compared itself"
_SCRATCH = "a place of results and temporary files, which are made anew"
_ORIGIN = "says where modules come from: whatever comes is compared with go.sum"
_COMPILER = "of the C toolchain, which takes no part: a build with cgo does not travel"
_TOLD = "set on top of the environment in every build, whatever it says"

# Without a word about a variable here it is compared.
EXEMPT: Mapping[str, str] = {
    "HOME": _PLACE,  # Go's settings file and the module cache below it
    "PATH": _PLACE,  # the go on it; git is asked again; cgo's compilers take no part
    "XDG_CONFIG_HOME": _PLACE,  # Go's settings file
    "XDG_CACHE_HOME": _SCRATCH,
    "GOENV": _PLACE,  # the settings that hold are compared, wherever the file lies
    "GOPATH": _PLACE,  # the module cache; without modules nothing travels
    "GOMODCACHE": _PLACE,
    "GOROOT": _PLACE,  # the toolchain there; that it is set, or is not, is compared
    "GOCACHE": _SCRATCH,
    "GOTMPDIR": _SCRATCH,
    "TMPDIR": _SCRATCH,
    "GOBIN": _SCRATCH,  # of `go install`
    "GOTELEMETRY": _SCRATCH,
    "GOTELEMETRYDIR": _SCRATCH,
    "GOPROXY": _ORIGIN,
    "GOSUMDB": _ORIGIN,
    "GONOSUMDB": _ORIGIN,
    "GONOSUMCHECK": _ORIGIN,
    "GOPRIVATE": _ORIGIN,
    "GONOPROXY": _ORIGIN,
    "GOINSECURE": _ORIGIN,
    "GOVCS": _ORIGIN,
    "GOAUTH": _ORIGIN,
    "CGO_ENABLED": _TOLD,
    "AR": _COMPILER,
    "CC": _COMPILER,
    "CXX": _COMPILER,
    "FC": _COMPILER,
    "GCCGO": _COMPILER,
    "PKG_CONFIG": _COMPILER,
    "CGO_CFLAGS": _COMPILER,
    "CGO_CFLAGS_ALLOW": _COMPILER,
    "CGO_CFLAGS_DISALLOW": _COMPILER,
    "CGO_CPPFLAGS": _COMPILER,
    "CGO_CPPFLAGS_ALLOW": _COMPILER,
    "CGO_CPPFLAGS_DISALLOW": _COMPILER,
    "CGO_CXXFLAGS": _COMPILER,
    "CGO_CXXFLAGS_ALLOW": _COMPILER,
    "CGO_CXXFLAGS_DISALLOW": _COMPILER,
    "CGO_FFLAGS": _COMPILER,
    "CGO_FFLAGS_ALLOW": _COMPILER,
    "CGO_FFLAGS_DISALLOW": _COMPILER,
    "CGO_LDFLAGS": _COMPILER,
    "CGO_LDFLAGS_ALLOW": _COMPILER,
    "CGO_LDFLAGS_DISALLOW": _COMPILER,
}
# Flags after which the machine's linker, C library or directories may be in the program.
_UNCLEAR_FLAGS = (
    "buildmode", "linkshared", "race", "msan", "asan", "cover", "toolexec", "pkgdir", "overlay",
)  # fmt: skip
# Compiler and linker read flags from the file that follows.
_RESPONSE_FILE = re.compile(r"(?:^|[\s='\"])@")
_KO = "KO_CONFIG_PATH"
# Flags whose values are words for compiler, linker and build constraints, and no paths.
_WORDS = ("ldflags", "gcflags", "tags")


def value_digest(name: str, value: str | None, salt: str) -> str | None:
    """What a record holds of a variable's value; None where it is not set."""
    if value is None:
        return None
    return salted(f"{name}\0{value}", salt)


def salted(text: str, salt: str) -> str:
    """The digest of a text that must not be told, as hex."""
    key = bytes.fromhex(salt)
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), key=key, digest_size=16,
                           person=b"wherry record").hexdigest()  # fmt: skip


def compared(names: Iterable[str], env: Mapping[str, str], salt: str) -> dict[str, str | None]:
    """Of each variable that counts what a record holds; whether GOROOT is set counts, too."""
    found = {
        name: value_digest(name, env.get(name), salt)
        for name in sorted(names)
        if name not in EXEMPT
    }
    # Named by another word, as its value does not count.
    found["GOROOT is set"] = "yes" if env.get("GOROOT") else None
    return found


def first_other(expected: Mapping[str, str | None], env: Mapping[str, str], salt: str) -> str:
    """The first variable that has another value than a record says, or the empty string."""
    for name, digest in expected.items():
        now = value_digest(name, env.get(name), salt)
        if name == "GOROOT is set":
            now = "yes" if env.get("GOROOT") else None
        if now != digest:
            return name
    return ""


def settings_digest(settings: GoSettings, salt: str) -> str:
    """A digest of what the user's settings file says about variables that count."""
    told = sorted(
        f"{name}={value}" for name, value in settings.user.items() if value and name not in EXEMPT
    )
    return salted("\n".join(told), salt)


def unclear_setting(settings: GoSettings) -> str:
    """Why a build under these settings cannot travel; the empty string where it can."""
    for name in ("GOROOT", "GOTOOLDIR"):
        if settings.user.get(name) or (name != "GOROOT" and settings.env.get(name)):
            return f"{name} names a directory of this machine"
    if settings.value("GOWORK") not in ("", "auto", "off"):
        return "GOWORK names a file of this machine"
    if settings.value("GO111MODULE") == "off":
        return "GO111MODULE=off looks for packages in GOPATH"
    if os.path.isabs(settings.env.get(_KO, "")):
        return f"{_KO} is an absolute path"
    return _unclear_flags(split_goflags(settings.value("GOFLAGS")))


def _unclear_flags(words: Sequence[str]) -> str:
    if flag_value(words, "trimpath") not in (None, "true", "1", "t", "T", "TRUE", "True"):
        return "without -trimpath the program holds paths of this machine"
    for name in _UNCLEAR_FLAGS:
        if flag_value(words, name) not in (None, "false", "0"):
            return f"the flag -{name} may bring this machine's own programs and directories in"
    if any("trimpath" in word and not _is_trimpath(word) for word in words):
        return "GOFLAGS changes which paths the program holds"
    if any(map(reads_flags, words)):
        return "GOFLAGS reads further flags from a file"
    if any(_names_place(word) for word in words):
        # There another machine has something else, wherever its checkout lies.
        return "GOFLAGS names a file by an absolute path"
    return ""


def reads_flags(text: str) -> bool:
    """Whether flags for compiler or linker are to be read from a file (`@FILE`)."""
    return _RESPONSE_FILE.search(text) is not None


def _names_place(word: str) -> bool:
    return flag_name(word) not in _WORDS and os.path.isabs(word.partition("=")[2])


def _is_trimpath(word: str) -> bool:
    return flag_name(word) == "trimpath"
