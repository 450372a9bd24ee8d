# SPDX-License-Identifier: Apache-2.0
"""The command `wherry`: verbs loaded when called, errors rendered, exit codes chosen.

This is the only place that prints errors or ends the process. stdout carries results only. A plain
`wherry build` is answered without importing click.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import NoReturn

from wherry.cli.flags import read_plain
from wherry.errors import WherryError, code_of


def main() -> NoReturn:
    """Run the command line of this process and end it."""
    # A command lives shortly; collecting cycles while it starts would only cost time. Making an
    # image turns the collector on again.
    gc.disable()
    code = _run(sys.argv[1:])
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        # The reader went away, as in `wherry images | head -1`, or the disk behind it is full.
        code = code or 3
    # Nothing is left to do, and tearing down the interpreter takes a tenth of a no-change build.
    os._exit(code)


def _run(arguments: list[str]) -> int:
    try:
        if arguments[:1] == ["build"]:
            flags = read_plain(arguments[1:])
            if flags is not None:
                from wherry.cli.builder import run_build  # noqa: PLC0415 - as every verb's module

                return run_build(flags)
        from wherry.cli.verbs import run_verb  # noqa: PLC0415 - click is not for every build

        return run_verb(arguments)
    except (WherryError, KeyboardInterrupt) as error:
        return _report(error)
    except BrokenPipeError:
        return 0
    except Exception as error:  # noqa: BLE001 - the outermost border: rendered, with traceback
        return _report(error)


def _report(error: BaseException) -> int:
    from wherry.cli.errors import render_error  # noqa: PLC0415 - only when something failed
    from wherry.cli.progress.select import use_color  # noqa: PLC0415 - as above

    sys.stderr.write(render_error(error, use_color(sys.stderr, os.environ)) + "\n")
    return code_of(error)
