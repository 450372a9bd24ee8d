# SPDX-License-Identifier: Apache-2.0
"""Whether a package's assembly includes files that are none of the package's.

`go list` does not name them, and Go's own cache does not look at them either; only a fresh build
does. The assembler looks for a name in the package's directory, then in the toolchain's (`go doc
cmd/asm`). Without cgo nothing else includes files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

_SOURCES = (".s", ".S", ".sx")
# Whatever may be an inclusion: a comment may stand between `#` and the word.
_INCLUDE = re.compile(rb"^[ \t]*#[^\n]*?\binclude\b[ \t]*([^\n]*)", re.MULTILINE)
_PLAIN = re.compile(rb'"([A-Za-z0-9_+-][A-Za-z0-9_.+-]*)"[ \t\r]*(?:/[/*].*)?')


def includes_others(
    names: Collection[str], read: Callable[[str], bytes | None], exists: Callable[[str], bool]
) -> bool:
    """Whether files beyond `names`, a package's, may be included by one of them.

    `read` gives the content of one of them, None where it cannot be read; `exists` says whether a
    name is there beside them. What cannot be told counts as an inclusion.
    """
    waiting = [name for name in names if name.endswith(_SOURCES)]
    seen = set(waiting)
    while waiting:
        data = read(waiting.pop())
        if data is None:
            return True
        for text in _INCLUDE.findall(data):
            match = _PLAIN.fullmatch(text)
            if match is None:
                return True
            name = match[1].decode("ascii")
            if name not in names:
                # Not of the toolchain, and not among the files that Go lists.
                if exists(name):
                    return True
            elif name not in seen:
                seen.add(name)
                waiting.append(name)
    return False
