# SPDX-License-Identifier: Apache-2.0
"""Whether a step may have compiled a module from elsewhere than the module cache.

With `-trimpath` Go calls the sources of a module `PATH@VERSION/...` wherever they lie: in the
module cache, in a directory that a `replace` names, in `vendor`. Only where neither of the latter
is in reach do these names mean what go.sum vouches for. What cannot be told counts as a copy.
Source: the Go Modules Reference, sections "replace directive" and "Vendoring".
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from wherry.sandbox.go_modules import directories_around
from wherry.sandbox.rootpath import read_bytes, resolve
from wherry.sandbox.step_spec import StepSpec

_FILES: Final = ("go.mod", "go.work")
_VENDORED: Final = "modules.txt"
_LARGEST: Final = 16 << 20
_REPLACED: Final = re.compile(rb"=>\s*[\"`]?(?:\.{1,2}/|/)")
# Words with which a command builds something else than what lies where it begins.
_ELSEWHERE: Final = re.compile(
    r"(?<![\w-])(?:cd|pushd)\s+(?:[^\w.\s]|\.\.)|\s-C[\s=]*(?:[^\w.\s]|\.\.)"
    r"|-modfile|-overlay|-mod[= ]+vendor|GOWORK=(?!off\b)"
)

_SHELLS: Final = ("/bin/sh", "/bin/bash", "/bin/ash", "sh", "bash")
# Flags with which Go starts programs that others have made.
_STARTS: Final = re.compile(r"-vettool|-toolexec|-exec\b")
_COMMANDS: Final = re.compile(r"&&|\|\||[;|&\n]")
# Commands that start no others, after variables for them.
_PLAIN: Final = re.compile(
    r"\s*(?:[A-Za-z_]\w*=[^\s$`(]*\s+)*"
    r"(?:go\s+(?:build|install|mod|vet|env|list|version|clean|get)|set|echo|true|mkdir|cp|mv|rm|ls|cat)"
    r"(?:\s[^$`(]*)?$"
)


def has_copies(spec: StepSpec, root: str, upper: str, caches: Iterable[str]) -> bool:
    """Whether modules may lie in other places than `caches`.

    `root` is the step's root as it was, `upper` holds what the step has changed. Raises `OSError`.
    """
    if spec.cwd.strip("/") == "" or any(mount.kind == "bind" for mount in spec.mounts):
        return True
    words = (*spec.args, *(text for _, text in spec.pipes), *spec.env)
    if any(_ELSEWHERE.search(word) for word in words):
        return True
    if _brings_modules(upper, frozenset(caches)):
        return True
    top = resolve(root, spec.cwd)
    own: list[str] = []
    inner: list[str] = []
    for directory, _, files in directories_around(root, top):
        names = [f"{directory}/{name}" for name in _FILES if name in files]
        # What is above, and here, is what Go takes for the main module or the workspace.
        (own if f"{top}/".startswith(f"{directory}/") else inner).extend(names)
        if _VENDORED in files and os.path.basename(directory) == "vendor":
            return True
    is_workspace = any(path.endswith("/go.work") for path in own) and not _is_off(spec)
    looked_at = [*own, *inner] if is_workspace or not only_builds(spec) else own
    return any(_replaces(root, path.removeprefix(root)) for path in looked_at)


def _is_off(spec: StepSpec) -> bool:
    """Whether workspaces count for nothing."""
    return "GOWORK=off" in spec.env


def only_builds(spec: StepSpec) -> bool:
    """Whether a step by its words builds the module in which it begins, and changes none.

    Whether `go` is Go's own program is for others to say.
    """
    is_script = spec.args[1:2] == ("-c",)
    if spec.pipes or (is_script and spec.args[0] not in _SHELLS):
        return False
    script = " ".join(spec.args[2:] if is_script else spec.args)
    return not _STARTS.search(script) and all(
        _PLAIN.match(command) for command in _COMMANDS.split(script) if command.strip()
    )


def _replaces(root: str, path: str) -> bool:
    with suppress(OSError):
        return _REPLACED.search(read_bytes(root, path, _LARGEST)) is not None
    return True


def _brings_modules(upper: str, caches: frozenset[str]) -> bool:
    """Whether the step has made modules beside the caches."""
    for directory, names, files in os.walk(upper):
        if directory.removeprefix(upper) in caches:
            names.clear()
        elif not {*_FILES, _VENDORED}.isdisjoint(files):
            return True
    return False
