# SPDX-License-Identifier: Apache-2.0
"""The reference pages of the command line, one a verb, written from the verbs' declarations.

`python -m wherry.cli.reference docs/reference` writes them, and those of the files of settings; a
test compares them with what lies there. Loading this module imports every verb.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Iterator
from typing import Final

import click

from wherry.cli.help_page import grouped
from wherry.cli.verbs import VERBS, verb_named
from wherry.settings.reference import (
    render_lock_reference,
    render_reference,
    render_user_reference,
)

_INDEX_HEAD: Final = """\
# Command line

`wherry VERB --help` shows the same as these pages. They are written from the declarations in
`src/wherry/cli`, by `python -m wherry.cli.reference docs/reference`.

| verb | does |
|---|---|
"""
_INDEX_TAIL: Final = """
Files: [wherry.toml](wherry-toml.md), [wherry.lock](wherry-lock.md), [config.toml](config-toml.md).
What is told on the way: [progress](../progress.md).

## Exit codes

| code | means |
|---|---|
| 0 | done |
| 1 | the build failed: a compile error, a RUN that failed, a checksum that does not fit |
| 2 | wrong usage, or a bad input file |
| 3 | this machine lacks something: a tool, a right, room on a disk |
| 4 | network or registry |
| 5 | a fault in wherry itself |
| 130, 143 | interrupted |

[`wherry run`](run.md) has docker's instead.
"""


def reference_pages() -> dict[str, str]:
    """All pages by file name."""
    verbs = {name: verb for name in VERBS if (verb := verb_named(name)) is not None}
    pages = {f"{name}.md": _page(name, verb) for name, verb in verbs.items()}
    rows = (f"| [`wherry {name}`]({name}.md) | {what} |" for name, what in VERBS.items())
    pages["README.md"] = _INDEX_HEAD + "\n".join(rows) + "\n" + _INDEX_TAIL
    pages["wherry-toml.md"] = render_reference()
    pages["config-toml.md"] = render_user_reference()
    pages["wherry-lock.md"] = render_lock_reference()
    return pages


def _page(name: str, verb: click.Command) -> str:
    sections = [*_sections(verb, name, "#")]
    if isinstance(verb, click.Group):
        for inner, command in verb.commands.items():
            sections += _sections(command, f"{name} {inner}", "##")
    return "\n\n".join(sections) + "\n"


def _sections(command: click.Command, path: str, level: str) -> Iterator[str]:
    """The parts of a page, or of a verb below a verb: heading, usage, words, options, examples."""
    yield f"{level} wherry {path}"
    with click.Context(command, info_name=f"wherry {path}") as context:
        usage = " ".join(command.collect_usage_pieces(context)).strip()
    yield f"```\nwherry {path} {usage}\n```"
    if command.help:
        yield inspect.cleandoc(command.help).replace("\b\n", "").strip()
    options = {
        option.opts[-1] if option.opts[-1].startswith("--") else option.opts[0]: option
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden
    }
    for heading, members in grouped(path, options).items():
        rows = "\n".join(f"| {_spelt(option)} | {_escaped(_told(option))} |" for option in members)
        yield f"{level}# {heading}\n\n| flag | meaning |\n|---|---|\n{rows}"
    yield from _epilog(command.epilog or "", level)


def _spelt(option: click.Option) -> str:
    """`-f`, `--file FILE`: the names, the last with what it takes."""
    takes = ""
    if isinstance(option.type, click.Choice):
        takes = "|".join(map(str, option.type.choices))
    elif not option.is_flag:
        takes = option.metavar or "TEXT"
    names = sorted(option.opts, key=len)
    names[-1] = f"{names[-1]} {takes}".rstrip()
    return ", ".join(f"`{_escaped(name)}`" for name in names)


def _told(option: click.Option) -> str:
    """The help text, with the defaults that click itself would add."""
    text = re.sub(r"\s+", " ", option.help or "").replace(". [", " [")
    return re.sub(r" \[([^\[\]]+)\]$", r" (\1).", text)


def _epilog(text: str, level: str) -> Iterator[str]:
    """Examples as a block, other paragraphs as they are."""
    for part in re.split(r"\n\s*\n", text.replace("\b\n", "").strip()):
        if part.startswith("Examples:"):
            lines = inspect.cleandoc(part.removeprefix("Examples:").strip("\n"))
            yield f"{level}# Examples\n\n```sh\n{lines}\n```"
        elif part:
            yield part


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def main(arguments: list[str]) -> int:
    """Write all pages into the directory that is named."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m wherry.cli.reference DIRECTORY\n")
        return 2
    for name, page in reference_pages().items():
        with open(os.path.join(arguments[0], name), "w", encoding="utf-8") as file:
            file.write(page)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
