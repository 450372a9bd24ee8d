# SPDX-License-Identifier: Apache-2.0
"""The command `wherry`: verbs loaded when called, errors rendered, exit codes chosen.

This is the only place that prints errors or ends the process. stdout carries results only. A plain
`wherry build` is answered without importing click.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from contextlib import suppress
from typing import NoReturn

from wherry.cli.flags import read_plain
from wherry.cli.listening import Told
from wherry.errors import MachineError, WherryError, code_of

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


def main() -> NoReturn:
    """Run the command line of this process and end it."""
    # A build lives shortly and leaves few cycles; looking for them would only cost time.
    gc.disable()
    try:
        _open_missing_streams()
        code = _flushed(_run(sys.argv[1:]))
    except KeyboardInterrupt as error:
        from signal import SIG_IGN, SIGINT, signal  # noqa: PLC0415 - only when interrupted

        signal(SIGINT, SIG_IGN)
        code = _report(error)
    # Nothing is left to do, and tearing down the interpreter takes a tenth of a no-change build.
    os._exit(code)


def _open_missing_streams() -> None:
    """Give descriptors 0 to 2 a meaning where the caller closed them.

    A file of the store must not become what a library or a child takes for stderr.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    # Python has no stream where it found the descriptor closed.
    if sys.__stderr__ is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for the process's life


def _flushed(code: int) -> int:
    if sys.__stdout__ is None:
        return code
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader had enough, as in `wherry images | head -1`.
        return code
    except OSError as error:
        return code or _report(_unwritable(error.strerror or str(error)))
    return code


def _unwritable(reason: str) -> MachineError:
    hint = "the result goes there: send it to a file, or to /dev/null"
    return MachineError("cannot write to stdout", why=reason, hint=hint)


def _run(arguments: list[str]) -> int:
    if sys.__stdout__ is None:
        return _report(_unwritable("it is closed"))
    try:
        if arguments[:1] == ["build"]:
            flags = read_plain(arguments[1:])
            if flags is not None:
                from wherry.cli.builder import run_build  # noqa: PLC0415 - as every verb's module

                return run_build(flags)
        gc.enable()
        from wherry.cli.verbs import run_verb  # noqa: PLC0415 - click is not for every build

        return run_verb(arguments)
    except Told as told:
        return told.code
    except WherryError as error:
        return _report(error)
    except BrokenPipeError:
        return 0
    except OSError as error:
        # What the disk refuses a room, that room tells; without a file it was the result's line.
        is_stdout = error.errno in _FULL and error.filename is None
        return _report(_unwritable(error.strerror or str(error)) if is_stdout else error)
    except Exception as error:  # noqa: BLE001 - the outermost border: rendered, with traceback
        return _report(error)


def _report(error: BaseException) -> int:
    from wherry.cli.errors import render_error  # noqa: PLC0415 - only when something failed
    from wherry.cli.progress.select import use_color  # noqa: PLC0415 - as above

    # Where nobody can be told, the exit code still says it.
    with suppress(OSError):
        sys.stderr.write(render_error(error, use_color(sys.stderr, os.environ)) + "\n")
        sys.stderr.flush()
    return code_of(error)
