# SPDX-License-Identifier: Apache-2.0
"""What may be asked of a benchmark on its command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench import (
    checks,
    dockerfiles,
    go_programs,
    go_steps,
    measure,
    pushes,
    steps,
    transfers,
    travel,
)

REPOSITORY = Path(__file__).resolve().parent.parent
SIDES = ("ko", "skopeo", "crane", "buildkit", "wherry")
PROJECTS = ("movies", "twenty", "caddy")

_REGISTRY_ROWS = (*transfers.ROWS, *pushes.ROWS)
ROWS = (
    *_REGISTRY_ROWS, *measure.ROWS, *dockerfiles.ROWS, *steps.ROWS, *travel.ROWS, *go_steps.ROWS,
    *checks.ROWS,
)  # fmt: skip
_GROUPS = {
    "registry": _REGISTRY_ROWS,
    "build": measure.ROWS,
    "dockerfile": dockerfiles.ROWS,
    "run": steps.ROWS,
    "travel": travel.ROWS,
    "gosteps": go_steps.ROWS,
    "check": checks.ROWS,
}


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> argparse.Namespace:
    """The options; exits where they are wrong, as argparse does."""
    options = _parser(environ).parse_args(argv)
    options.cache = options.cache.absolute()
    if options.skip_cold:
        options.only = tuple(name for name in options.only if name != measure.COLD)
    return options


def _parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures wherry.")
    home = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser.add_argument("--rounds", type=_positive, default=5, help="default: 5")
    parser.add_argument("--cold-rounds", type=_positive, default=3, help="default: 3")
    parser.add_argument("--skip-cold", action="store_true", help=f"all rows but '{measure.COLD}'")
    parser.add_argument(
        "--only",
        type=_some_of(ROWS, _GROUPS),
        default=ROWS,
        help=f"rows, with commas: {', '.join(ROWS)}; or all of one kind: {', '.join(_GROUPS)}",
    )
    parser.add_argument(
        "--projects", type=_some_of(PROJECTS), default=PROJECTS, help=", ".join(PROJECTS)
    )
    parser.add_argument(
        "--programs",
        type=_some_of(go_programs.NAMES),
        default=go_programs.LARGE,
        help=f"of the rows gosteps: {', '.join(go_programs.NAMES)}; default: all but the first",
    )
    parser.add_argument(
        "--sides", type=_some_of(SIDES), default=SIDES, help="beside go build: " + ", ".join(SIDES)
    )
    parser.add_argument("--cache", type=Path, default=home / "wherry-bench", metavar="DIR")
    parser.add_argument(
        "--results", type=Path, default=REPOSITORY / "bench" / "results", metavar="DIR"
    )
    parser.add_argument("--strict", action="store_true", help="exit 1 where a target is missed")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("1 at least")
    return number


def _some_of(
    known: Sequence[str], groups: Mapping[str, Sequence[str]] | None = None
) -> Callable[[str], tuple[str, ...]]:
    def parse_names(text: str) -> tuple[str, ...]:
        chosen = {word.strip().replace("-", " ") for word in text.split(",")}
        for group in chosen & set(groups or ()):
            chosen = (chosen - {group}) | set((groups or {})[group])
        unknown = chosen - set(known)
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(known)}")
        return tuple(name for name in known if name in chosen)

    return parse_names
