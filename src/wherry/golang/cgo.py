# SPDX-License-Identifier: Apache-2.0
"""Which packages lose files because cgo is off.

Go lists a file that imports "C" among the ignored ones when CGO_ENABLED=0, beside those that
other constraints exclude. The text of the ignored files tells which packages may be meant; Go
itself, asked again with cgo on, says which are: so that no constraint is judged here.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from wherry.golang.command import GoTool
from wherry.golang.packages import Package, go_list

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from wherry.golang.toolchain import GoCommand
    from wherry.process.cancel import CancelToken

_IMPORT_C = re.compile(rb"^[ \t]*(?:import[ \t]*\(?[ \t]*)?\"C\"", re.MULTILINE)
_NEVER = re.compile(rb"^//go:build ignore[ \t]*\r?$", re.MULTILINE)
_OTHER_SYSTEM = re.compile(
    r"_(?:aix|darwin|dragonfly|freebsd|hurd|illumos|ios|nacl|netbsd|openbsd|plan9|solaris|wasip1"
    r"|windows|zos|js|test)(?:_[a-z0-9]+)?\.go\Z"
)


def cgo_left_out(
    packages: Iterable[Package],
    go: GoCommand,
    directory: str,
    flags: tuple[str, ...],
    env: Mapping[str, str],
    cancel: CancelToken,
) -> tuple[str, ...]:
    """Import paths of packages, the standard library aside, that cgo would add files to.

    `packages` were listed with CGO_ENABLED=0 in `directory` with the same `flags` and `env`.
    """
    maybe = [package.import_path for package in packages if _may_use_cgo(package)]
    if not maybe:
        return ()
    tool = GoTool(go, directory, {**env, "CGO_ENABLED": "1"})
    args = ("-find", "-json=ImportPath,CgoFiles,SwigFiles", *flags, "--", *maybe)
    return tuple(
        value["ImportPath"]
        for value in go_list(tool, args, cancel)
        if value.get("CgoFiles") or value.get("SwigFiles")
    )


def _may_use_cgo(package: Package) -> bool:
    if package.standard:
        return False
    if package.swig_files or package.swigcxx_files:
        return True
    return any(
        _may_import_c(os.path.join(package.dir, name))
        for name in package.ignored_go_files
        if not _OTHER_SYSTEM.search(name)
    )


def _may_import_c(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            text = file.read()
    except OSError:
        # Perhaps a file of an overlay: Go knows.
        return True
    # The plain search first: it spares nearly every file the regular expressions.
    return b'"C"' in text and not _NEVER.search(text) and _IMPORT_C.search(text) is not None
