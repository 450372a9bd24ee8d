# SPDX-License-Identifier: Apache-2.0
"""The packages that a build is made of: `go list -deps`.

Go names, for each package, its directory, its module and its files by kind. Only the fields that
are used are asked for: Go skips the work for all others, so that a thousand packages take a fifth
of a second.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from wherry.golang.command import GoTool, messages, run_go
from wherry.process.cancel import CancelToken

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from wherry.golang.toolchain import GoCommand

# Go's JSON, typed once below.
_Json = dict[str, Any]

# The file lists of a package, in the order of Package's fields.
_FILE_FIELDS = (
    "GoFiles", "CgoFiles", "IgnoredGoFiles", "IgnoredOtherFiles", "CFiles", "CXXFiles", "MFiles",
    "HFiles", "FFiles", "SFiles", "SwigFiles", "SwigCXXFiles", "SysoFiles", "EmbedFiles",
    "EmbedPatterns",
)  # fmt: skip
_FIELDS = ",".join(
    ("ImportPath", "Name", "Dir", "Standard", "Module", "Incomplete", "Error", *_FILE_FIELDS)
)


class Module(NamedTuple):
    """The module that a package belongs to.

    `main` is true for the main module and all of a workspace; `dir` is where its files are (after
    replacement), empty with vendor/. `replace_dir` is the directory of a local replacement,
    `replace_path` and `replace_version` name the module that replaces this one.
    """

    path: str
    version: str = ""
    main: bool = False
    dir: str = ""
    gomod: str = ""
    replace_dir: str = ""
    replace_path: str = ""
    replace_version: str = ""


class Package(NamedTuple):
    """One package: where it is and which files make it; names are relative to `dir`.

    `ignored_go_files` and `ignored_other_files` are those that constraints exclude, with
    CGO_ENABLED=0 also those that import "C". `errors` are Go's words about this package itself;
    `incomplete` is also true where a dependency has errors.
    """

    import_path: str
    name: str
    dir: str
    standard: bool
    module: Module | None
    errors: tuple[str, ...]
    incomplete: bool
    go_files: tuple[str, ...]
    cgo_files: tuple[str, ...]
    ignored_go_files: tuple[str, ...]
    ignored_other_files: tuple[str, ...]
    c_files: tuple[str, ...]
    cxx_files: tuple[str, ...]
    m_files: tuple[str, ...]
    h_files: tuple[str, ...]
    f_files: tuple[str, ...]
    s_files: tuple[str, ...]
    swig_files: tuple[str, ...]
    swigcxx_files: tuple[str, ...]
    syso_files: tuple[str, ...]
    embed_files: tuple[str, ...]
    embed_patterns: tuple[str, ...]

    def files(self) -> tuple[str, ...]:
        """Every file that Go lists for the package, ignored and embedded ones too."""
        return (
            *self.go_files, *self.cgo_files, *self.ignored_go_files, *self.ignored_other_files,
            *self.c_files, *self.cxx_files, *self.m_files, *self.h_files, *self.f_files,
            *self.s_files, *self.swig_files, *self.swigcxx_files, *self.syso_files,
            *self.embed_files,
        )  # fmt: skip


def list_packages(
    go: GoCommand,
    directory: str,
    patterns: tuple[str, ...],
    flags: tuple[str, ...],
    env: Mapping[str, str],
    cancel: CancelToken,
) -> tuple[Package, ...]:
    """All packages that `patterns` need, dependencies first, broken ones with their errors.

    `flags` and `env` are those of the build. Raises what `explain_failure` makes of a failure that
    belongs to no package.
    """
    tool = GoTool(go, directory, env)
    modules: dict[str, Module] = {}
    args = ("-deps", f"-json={_FIELDS}", *flags, "--", *patterns)
    return tuple(_package(value, modules) for value in go_list(tool, args, cancel))


def list_imports(
    go: GoCommand,
    directory: str,
    patterns: tuple[str, ...],
    flags: tuple[str, ...],
    env: Mapping[str, str],
    cancel: CancelToken,
) -> tuple[tuple[Package, tuple[str, ...]], ...]:
    """As `list_packages`, each package with the import paths of those that its files name."""
    modules: dict[str, Module] = {}
    args = ("-deps", f"-json={_FIELDS},Imports", *flags, "--", *patterns)
    values = go_list(GoTool(go, directory, env), args, cancel)
    return tuple((_package(value, modules), tuple(value.get("Imports", ()))) for value in values)


def go_list(tool: GoTool, args: tuple[str, ...], cancel: CancelToken) -> Iterator[_Json]:
    """The values that `go list -e ARGS` prints; ARGS hold a `-json=FIELDS`."""
    finished = run_go(tool.command(("list", "-e", *args)), cancel)
    if finished.returncode != 0:
        from wherry.golang.diagnostics import (  # noqa: PLC0415 - only where Go fails
            Failure,
            explain_failure,
        )

        raise explain_failure(Failure(messages(finished.stderr), finished.returncode))
    return _decoded(finished.stdout.decode("utf-8", "surrogateescape"))


def error_text(value: _Json) -> str:
    """Go's words about one package, with the position in front as Go prints it; empty if none."""
    error = value.get("Error")
    if not error:
        return ""
    position = error.get("Pos", "")
    return f"{position}: {error['Err']}" if position else str(error["Err"])


def _decoded(text: str) -> Iterator[_Json]:
    decoder = json.JSONDecoder()
    position, end = 0, len(text)
    while position < end:
        value, position = decoder.raw_decode(text, position)
        yield value
        while position < end and text[position].isspace():
            position += 1


def _package(value: _Json, modules: dict[str, Module]) -> Package:
    get = value.get
    text = error_text(value)
    return Package(
        value["ImportPath"],
        get("Name", ""),
        get("Dir", ""),
        get("Standard", False),
        _module(get("Module"), modules),
        (text,) if text else (),
        get("Incomplete", False),
        *[tuple(get(field, ())) for field in _FILE_FIELDS],
    )


def _module(value: _Json | None, known: dict[str, Module]) -> Module | None:
    if value is None:
        return None
    path = value["Path"]
    # Go repeats the module in each of its packages; one value serves all.
    if path not in known:
        replace = value.get("Replace") or {}
        version = replace.get("Version", "")
        known[path] = Module(
            path,
            value.get("Version", ""),
            value.get("Main", False),
            value.get("Dir", ""),
            value.get("GoMod", ""),
            replace.get("Dir", "") if replace and not version else "",
            replace.get("Path", "") if version else "",
            version,
        )
    return known[path]
