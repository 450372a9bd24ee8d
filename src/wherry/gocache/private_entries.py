# SPDX-License-Identifier: Apache-2.0
"""Which entries of Go's build cache have private modules in them.

Nothing is known of an entry but its bytes. What is compiled of a module names the module's files,
by path and version; so do packages into which some of that was inlined. Modules that go.sum names
are looked for by their paths alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Final

from wherry.gocache.build_cache import BuildCache
from wherry.gocache.module_names import glob_expression, is_private
from wherry.gocache.module_sums import Sums, source_modules
from wherry.gocache.table import Row
from wherry.golang.module_paths import escape

_STAR: Final = "[^/]*"
# No more of a text than Go takes for a module's path: texts stand side by side in an archive.
_ELEMENT: Final = "[A-Za-z0-9!._~+-]{0,100}"
# The rest of a path, which the name of a source file ends, and a version.
_REST: Final = r"(?:/(?:(?!\.go[A-Za-z0-9])[A-Za-z0-9!._~/+-]){0,300})?@v[0-9]"


class PrivateEntries:
    """Tells entries of modules that match `patterns` (as GOPRIVATE has them), by what is in them.

    `sums` are those of the builds that made the entries.
    """

    def __init__(self, patterns: str, sums: Sums) -> None:
        names = {module.path for module in source_modules(sums)}
        self._names = tuple(
            os.fsencode(name) for name in sorted(names) if is_private(name, patterns)
        )
        self._expressions = tuple(_expressions(patterns))

    def hold(self, cache: BuildCache, row: Row) -> bool:
        """Whether an entry has a private module in it, or cannot be read."""
        if not self._names and not self._expressions:
            return False
        try:
            with cache.open_output(row) as file:
                data = file.read()
        except OSError:
            return True
        return any(name in data for name in self._names) or any(
            expression.search(data) for expression in self._expressions
        )


def _expressions(patterns: str) -> Iterator[re.Pattern[bytes]]:
    """What finds modules that match the patterns where they stand with their versions."""
    for pattern in filter(None, (text.removesuffix("/") for text in patterns.split(","))):
        # In the module cache capital letters have another form.
        for text in dict.fromkeys((pattern, escape(pattern))):
            expression = glob_expression(text)
            # A malformed pattern makes every module a private one.
            found = expression.pattern if expression is not None else _STAR
            while found.startswith(_STAR):
                found = found.removeprefix(_STAR)
            yield re.compile(os.fsencode(found.replace(_STAR, _ELEMENT) + _REST), re.DOTALL)
