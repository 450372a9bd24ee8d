# SPDX-License-Identifier: Apache-2.0
"""From what the user names (a directory, a package path, a pattern) to main packages."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from wherry.errors import BuildError, MachineError, NetworkError, UsageError, WherryError
from wherry.golang.command import GoTool
from wherry.golang.credentials import mask_credentials
from wherry.golang.diagnostics import Failure, explain_failure
from wherry.golang.packages import error_text, go_list
from wherry.golang.root import module_root

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from wherry.golang.toolchain import GoCommand
    from wherry.process.cancel import CancelToken

_LISTED = 12
# What stays as it is though Go also says that there is no such package.
_OUTSIDE = (NetworkError, MachineError)
# Go's words for "there is no such package": what the user named is wrong, not the code.
_NO_PACKAGE = (
    "no Go files in ", "directory not found", "no such file or directory", "is not in std",
    "matched no packages", "outside main module", "not a package in module",
    "no required module provides package", "is not a directory", "malformed import path",
    "does not contain package", "outside available modules",
)  # fmt: skip


class MainPackage(NamedTuple):
    """A program's package; `name` is the file name that `go build` gives its binary."""

    import_path: str
    name: str
    dir: str


class Place(NamedTuple):
    """Where to run go, and the pattern to give it."""

    directory: str
    pattern: str


def locate(cwd: str, source: str) -> Place:
    """Where go has to run for what the user named in `cwd`.

    In `cwd` itself as long as the named directory belongs to the same module, so that relative
    paths in GOFLAGS keep their meaning; else in that directory. A package path stays as it is.
    """
    prefix, wildcard, rest = source.partition("...")
    if wildcard and not prefix.endswith("/"):
        # `./cmd/a...` matches names that begin so: the directory is the part before them.
        prefix, _, begun = prefix.rpartition("/")
        rest = begun + wildcard + rest
    elif wildcard:
        rest = wildcard + rest
    if not _names_directory(source, os.path.join(cwd, prefix)):
        return Place(cwd, source)
    directory = os.path.normpath(os.path.join(cwd, prefix))
    if module_root(directory) != module_root(cwd) or not _is_below(directory, cwd):
        return Place(directory, f"./{rest}" if rest else ".")
    base = _relative(directory, cwd)
    return Place(cwd, f"{base}/{rest}" if rest else base)


def find_mains(
    go: GoCommand,
    directory: str,
    pattern: str,
    flags: tuple[str, ...],
    env: Mapping[str, str],
    cancel: CancelToken,
) -> tuple[MainPackage, ...]:
    """The main packages that `pattern` means in `directory`; at least one.

    Raises `UsageError` where there is no module, no such package or no main package (its hint
    names the main packages below); what Go says of a broken package is raised as for a build.
    """
    _refuse_unfit(pattern, env)
    tool = GoTool(go, directory, env)
    found = _list(tool, pattern, flags, cancel)
    mains = tuple(_main(value) for value in found if _is_sound_main(value))
    if mains:
        return mains
    text = next(filter(None, map(error_text, found)), "")
    if text:
        _refuse_cgo_only(tool, pattern, flags, text, cancel)
        error = explain_failure(Failure(text))
        if not any(words in text for words in _NO_PACKAGE) or isinstance(error, _OUTSIDE):
            raise error
    below = _mains_below(tool, pattern, flags, cancel)
    name = str(found[0].get("Name", "")) if len(found) == 1 else ""
    library = f"it is package {name}, a library" if name and not text else ""
    raise UsageError(f"no main package in {_shown(pattern)}", why=mask_credentials(text) or library,
                     hint=_choose(below))  # fmt: skip


def find_each(
    go: GoCommand,
    directory: str,
    patterns: tuple[str, ...],
    flags: tuple[str, ...],
    env: Mapping[str, str],
    cancel: CancelToken,
) -> tuple[MainPackage | WherryError, ...]:
    """The one main package that each pattern means, or why there is not exactly one.

    One question to Go for all of them; only what it does not answer is asked alone.
    """
    for pattern in patterns:
        _refuse_unfit(pattern, env)
    tool = GoTool(go, directory, env)
    try:
        found = _list_all(tool, patterns, flags, cancel)
    except WherryError:
        found = []
    mains = [_main(value) for value in found if _is_sound_main(value)]
    by_name = {main.import_path: main for main in mains} | {main.dir: main for main in mains}
    answers: list[MainPackage | WherryError] = []
    for pattern in patterns:
        name = pattern
        if pattern.startswith("."):
            name = os.path.normpath(os.path.join(directory, pattern))
        known = by_name.get(name) if "..." not in pattern else None
        try:
            answers.append(
                known or one_main(find_mains(go, directory, pattern, flags, env, cancel), pattern)
            )
        except WherryError as error:
            answers.append(error)
    return tuple(answers)


def one_main(mains: tuple[MainPackage, ...], pattern: str) -> MainPackage:
    """The only main package; raises `UsageError` that lists them where there are several."""
    if len(mains) == 1:
        return mains[0]
    raise UsageError(
        f"{_shown(pattern)} holds {len(mains)} main packages",
        why=_listed(main.import_path for main in mains),
        hint=f"name one of them, such as: wherry build {mains[0].import_path}",
    )


def binary_name(import_path: str) -> str:
    """The name that `go build` gives a program: the last element, or the one before `/v2`."""
    rest, _, last = import_path.rpartition("/")
    if rest and _is_major_version(last):
        return rest.rpartition("/")[2]
    return last


def _is_major_version(element: str) -> bool:
    digits = element[1:]
    return (
        element.startswith("v")
        and digits.isascii()
        and digits.isdigit()
        and not digits.startswith("0")
        and digits != "1"
    )


def _names_directory(source: str, path: str) -> bool:
    """Whether go would read `source` as a directory, or it is one and no package path could be."""
    if source in (".", "..") or source.startswith(("./", "../", "/")):
        return os.path.isdir(path)
    # `cmd/api` without `./` is a package path for go; who names an existing directory means it.
    return "..." not in source and os.path.isdir(path)


def _is_below(directory: str, parent: str) -> bool:
    return os.path.commonpath([directory, parent]) == os.path.normpath(parent)


def _refuse_unfit(pattern: str, env: Mapping[str, str]) -> None:
    if env.get("GO111MODULE") == "off":
        raise UsageError("GO111MODULE=off: wherry builds Go modules",
                         hint="unset GO111MODULE")  # fmt: skip
    if pattern.endswith(".go"):
        raise UsageError(f"{pattern} is a file, and wherry builds packages",
                         hint=f"name its directory: {os.path.dirname(pattern) or '.'}")  # fmt: skip


def _list(
    tool: GoTool, pattern: str, flags: tuple[str, ...], cancel: CancelToken
) -> list[dict[str, Any]]:
    return _list_all(tool, (pattern,), flags, cancel)


def _list_all(
    tool: GoTool, patterns: tuple[str, ...], flags: tuple[str, ...], cancel: CancelToken
) -> list[dict[str, Any]]:
    # -find leaves dependencies alone: nothing is downloaded for a question about names.
    args = ("-find", "-json=ImportPath,Name,Dir,Error", *flags, "--", *patterns)
    return list(go_list(tool, args, cancel))


def _refuse_cgo_only(
    tool: GoTool, pattern: str, flags: tuple[str, ...], text: str, cancel: CancelToken
) -> None:
    """Say so where a main package is one with cgo only: Go's words do not name the reason."""
    if "build constraints exclude all Go files" not in text or tool.env.get("CGO_ENABLED") == "1":
        return
    found = _list(tool._replace(env={**tool.env, "CGO_ENABLED": "1"}), pattern, flags, cancel)
    for value in found:
        if _is_sound_main(value):
            raise BuildError(
                f"{value['ImportPath']} has only cgo files, and CGO_ENABLED=0 leaves them out",
                why=mask_credentials(text),
                hint="set cgo = true below [build] in wherry.toml",
            )


def _mains_below(
    tool: GoTool, pattern: str, flags: tuple[str, ...], cancel: CancelToken
) -> list[str]:
    """Main packages below the directory that `pattern` names, else in all of the module."""
    for start in (pattern, ".") if pattern.startswith("./") else (".",):
        try:
            found = _list(tool, f"{start}/...", flags, cancel)
        except WherryError:
            return []
        below = [_main(value).dir for value in found if _is_sound_main(value)]
        if below:
            return [_relative(path, tool.directory) for path in below]
    return []


def _shown(pattern: str) -> str:
    """What the user named, on one line."""
    return pattern if pattern.isprintable() else repr(pattern)


def _relative(path: str, directory: str) -> str:
    if not _is_below(path, directory):
        directory = os.path.realpath(directory)
    relative = os.path.relpath(path, directory)
    return relative if relative == "." else f"./{relative}"


def _choose(below: list[str]) -> str:
    if not below:
        return "name a directory or package that holds `package main`"
    more = f" and {len(below) - _LISTED} more" if len(below) > _LISTED else ""
    return f"main packages here: {', '.join(below[:_LISTED])}{more}; try: wherry build {below[0]}"


def _listed(paths: Iterable[str]) -> str:
    """One a line, cut where there are too many to read."""
    lines = list(paths)
    if len(lines) > _LISTED:
        lines[_LISTED:] = [f"and {len(lines) - _LISTED} more"]
    return "\n".join(lines)


def _is_sound_main(value: dict[str, Any]) -> bool:
    return value.get("Name") == "main" and not value.get("Error")


def _main(value: dict[str, Any]) -> MainPackage:
    path = str(value["ImportPath"])
    return MainPackage(path, binary_name(path), str(value.get("Dir", "")))
