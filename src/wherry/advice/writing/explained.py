# SPDX-License-Identifier: Apache-2.0
"""`wherry init --explain`: each line of the files with its reason, and which base when.

Lines and reasons come from the same plan as the files (`Block.reason`), so that no line is without
one; the words are in explained.en.toml and explained.zh.toml beside this. Each reason is told where
it is first of use.
"""

from __future__ import annotations

import os
import textwrap
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from wherry.advice.writing.dockerfile import blocks
from wherry.advice.writing.ignore_file import parts
from wherry.advice.writing.settings_file import entries

if TYPE_CHECKING:
    from wherry.advice.writing.plan import Plan

LANGUAGES: Final = ("en", "zh")
"""What `--lang` takes."""

_WIDTH: Final = 88
_INDENT: Final = "    "


def words_of(language: str) -> dict[str, Any]:
    """The words in one language: `reasons`, `chosen` and `bases` by key, and some texts."""
    path = os.path.join(os.path.dirname(__file__), f"explained.{language}.toml")
    with open(path, "rb") as file:
        return tomllib.load(file)


def explained(plan: Plan, language: str) -> str:
    """The whole text; `language` is one of `LANGUAGES`."""
    words = words_of(language)
    fill = _filled if language == "en" else _as_written
    files: tuple[tuple[str, Iterable[tuple[str, str]]], ...] = (
        ("Dockerfile", ((block.reason, block.text) for block in blocks(plan))),
        (".dockerignore", ((part.reason, "\n".join(part.lines)) for part in parts(plan.found))),
        ("wherry.toml", ((entry.reason, entry.line) for entry in entries(plan))),
    )
    reasons = {name: fill(text) for name, text in words["reasons"].items()}
    found = [_section(name, "\n".join(_told(lines, reasons))) for name, lines in files]
    chosen = words["chosen"][plan.reason].format(base=plan.base, image=plan.image)
    bases = [f"{name}\n{_indented(fill(text))}" for name, text in words["bases"].items()]
    found.append(_section(words["which-base"], "\n".join([fill(chosen), "", *bases])))
    found.append(_section(words["one-stage"], fill(words["when-one"])))
    return "\n".join(filter(None, found))


def _section(title: str, text: str) -> str:
    return f"# {title}\n\n{text}\n" if text else ""


def _told(lines: Iterable[tuple[str, str]], reasons: Mapping[str, str]) -> Iterator[str]:
    seen: set[str] = set()
    for reason, text in lines:
        yield text
        if reason not in seen:
            seen.add(reason)
            yield _indented(reasons[reason])


def _indented(text: str) -> str:
    return textwrap.indent(text, _INDENT)


def _filled(text: str) -> str:
    return textwrap.fill(text.strip(), _WIDTH, break_long_words=False, break_on_hyphens=False)


def _as_written(text: str) -> str:
    """Chinese has no blanks to break lines at."""
    return text.strip()
