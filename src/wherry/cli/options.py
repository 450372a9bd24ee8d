# SPDX-License-Identifier: Apache-2.0
"""Flags that several verbs share, each declared once."""

from __future__ import annotations

import re
from typing import Final

import click

from wherry.api.places import default_store
from wherry.errors import UsageError

__all__ = ["default_store", "json_option", "parse_size", "store_option"]

_UNITS: Final = {
    "": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12,
    "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40,
}  # fmt: skip

store_option = click.option(
    "--store", metavar="DIR", default=None, envvar="WHERRY_STORE",
    help="The local store.  [env: WHERRY_STORE; default: wherry/v1 in the user's cache directory]",
)  # fmt: skip

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def parse_size(text: str) -> int:
    """`10GB`, `512MiB` or plain bytes as a number of bytes; raises `UsageError`."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([kmgt]?i?)b?", text.strip().lower())
    if match is None or match[2] not in _UNITS:
        raise UsageError(f"not a size: {text!r}", hint="write it as 500MB, 10GB or 2GiB")
    return int(float(match[1]) * _UNITS[match[2]])
