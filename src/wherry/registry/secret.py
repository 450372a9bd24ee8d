# SPDX-License-Identifier: Apache-2.0
"""Text and bytes that do not show themselves: a request's repr must not hold its Authorization.

They are what they hold for whoever sends them; only `repr`, which reaches tracebacks, debuggers
and failed assertions, hides it.
"""

from __future__ import annotations

_HIDDEN = "'xxxxx'"


class SecretText(str):
    """A string that its repr hides."""

    __slots__ = ()

    def __repr__(self) -> str:
        return _HIDDEN


class SecretBytes(bytes):
    """Bytes that their repr hides."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"b{_HIDDEN}"
