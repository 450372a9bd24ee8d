# SPDX-License-Identifier: Apache-2.0
"""Errors as text for people: what failed and where, why, and what to do next.

The words of a tool that failed stand at the left margin exactly as the tool wrote them, so that an
editor finds their file names and a search finds their text. A fault in wherry itself comes with
its traceback, for it is the one error that the user cannot mend.
"""

from __future__ import annotations

from wherry._version import __version__
from wherry.api.request import ImagesFailed
from wherry.cli.progress.output import printable
from wherry.errors import InternalError, Interrupted, SeveralErrors, WherryError

_RED, _CYAN, _BOLD, _RESET = "\x1b[1;31m", "\x1b[36m", "\x1b[1m", "\x1b[0m"


def render_error(error: BaseException, color: bool) -> str:
    """The text for stderr, without a last newline; `color` allows ANSI colours.

    All errors of a `SeveralErrors` are told, in their order, with an empty line between them.
    """
    match error:
        case ImagesFailed():
            from wherry.cli.failures import render_failures  # noqa: PLC0415 - several images only

            return render_failures(error.failures, color)
        case SeveralErrors():
            return "\n\n".join(render_error(item, color) for item in error.errors)
        case Interrupted() | KeyboardInterrupt():
            return _label("interrupted", _BOLD, color)
        case InternalError():
            return _fault(error, _three_parts(error, color), color)
        case WherryError():
            return _three_parts(error, color)
        case _:
            text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            return _fault(error, f"{_label('error:', _RED, color)} {text}", color)


def _three_parts(error: WherryError, color: bool) -> str:
    what = _clean(error.headline)
    lines = [f"{_label('error:', _RED, color)} {_label(what, _BOLD, color)}"]
    if error.why:
        lines.append(_clean(error.why.rstrip("\n")))
    if error.hint:
        # Lines after the first stand under the hint's own text.
        hint = _clean(error.hint).replace("\n", "\n      ")
        lines.append(f"{_label('hint:', _CYAN, color)} {hint}")
    return "\n".join(lines)


def _clean(text: str) -> str:
    """`text` without terminal controls: names of files and words of programs may hold any."""
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))


def _fault(error: BaseException, head: str, color: bool) -> str:
    # Only needed once wherry itself has failed.
    import platform  # noqa: PLC0415 - see above
    import traceback  # noqa: PLC0415 - see above

    trace = "".join(traceback.format_exception(error)).rstrip("\n")
    system = f"{platform.system()} {platform.machine()}"
    return "\n".join(
        (
            head,
            trace,
            f"wherry {__version__}, Python {platform.python_version()}, {system}",
            f"{_label('hint:', _CYAN, color)} this is a fault in wherry; report it with this text",
        )
    )


def _label(text: str, style: str, color: bool) -> str:
    return f"{style}{text}{_RESET}" if color else text
