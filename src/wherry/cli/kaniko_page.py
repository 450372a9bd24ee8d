# SPDX-License-Identifier: Apache-2.0
"""The table of docs/kaniko.md, written from `wherry.cli.kaniko_flags`.

`python -m wherry.cli.kaniko_page docs/kaniko.md` writes it between its two marks; a test compares
it with what stands there.
"""

from __future__ import annotations

import re
import sys
from typing import Final

from wherry.cli.kaniko_flags import FLAGS, Fate, KanikoFlag

BEGIN: Final = "<!-- flags: python -m wherry.cli.kaniko_page docs/kaniko.md -->"
END: Final = "<!-- end of flags -->"
_HEADS: Final = {
    Fate.USED: "### Used\n\n| flag | here |\n|---|---|",
    Fate.IGNORED: "### Passed over\n\nOne line names those that were given.\n\n"
    "| flag | nothing to do, for |\n|---|---|",
    Fate.REFUSED: "### Refused\n\nAll of a call together, with exit code 2; a switch only where it "
    "is on.\n\n| flag | why | instead |\n|---|---|---|",
}


def flag_tables() -> str:
    """Three tables, of flags that are used, passed over and refused."""
    parts = []
    for fate, head in _HEADS.items():
        rows = [_row(flag) for flag in FLAGS if flag.fate is fate]
        parts.append("\n".join([head, *rows]))
    return "\n\n".join(parts)


def written(page: str) -> str:
    """`page` with the tables of today between its marks."""
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n\n{flag_tables()}\n\n{END}{after}"


def _row(flag: KanikoFlag) -> str:
    cells = [_names(flag)]
    if flag.fate is Fate.REFUSED:
        beside = f"; beside `--{flag.beside}` it changes nothing" if flag.beside else ""
        cells += [f"{flag.why}{beside}", flag.hint]
    else:
        cells.append(re.sub(r"\.  \[(.+)\]$", r" (\1)", flag.told).rstrip("."))
        for value in flag.refuses:
            cells[-1] += f"; `={value}` is refused: {flag.hint}"
    return f"| {' | '.join(_escaped(cell) for cell in cells)} |"


def _names(flag: KanikoFlag) -> str:
    names = [f"`-{flag.short}`"] if flag.short else []
    takes = "|".join(flag.choices) or flag.metavar
    names.append(f"`--{flag.name}{f' {takes}' if takes else ''}`")
    names += (f"`--{name}`" for name in flag.older)
    return ", ".join(names) + (f" ({flag.fork})" if flag.fork else "")


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def main(arguments: list[str]) -> int:
    """Write the tables into the page that is named."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m wherry.cli.kaniko_page PAGE\n")
        return 2
    with open(arguments[0], "r+", encoding="utf-8") as file:
        page = written(file.read())
        file.seek(0)
        file.write(page)
        file.truncate()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
