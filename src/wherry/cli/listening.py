# SPDX-License-Identifier: Apache-2.0
"""What surrounds a verb that works: signals that stop it, and what tells how it goes.

With `--progress=json` what fails is told once, as an event: stderr then holds nothing but events.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from wherry.api.request import ImageFailure, ImagesFailed
from wherry.cli.progress.select import Mode, Renderer, make_sink
from wherry.cli.stopping import SignalToken, stopping
from wherry.errors import InternalError, WherryError, code_of


class Told(Exception):
    """A failure that the user has been told of; `code` is the exit code that is left to give."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def raise_failures(failures: tuple[ImageFailure, ...]) -> None:
    """Raise `ImagesFailed` where some of several images failed, for who listens to be told."""
    if failures:
        raise ImagesFailed(failures)


@contextmanager
def listening(mode: Mode, verb: str = "build") -> Iterator[tuple[Renderer, SignalToken]]:
    """A renderer on stderr, and the token that Ctrl-C cancels; outside it interrupts as usual.

    What leaves the block as an error is the renderer's to tell, `Cancelled` with its signal. Raises
    it again, or `Told` where nothing is left to say. `verb` is as in `make_sink`.
    """
    try:
        with (
            stopping() as token,
            make_sink(mode, sys.stderr, os.environ, verb) as sink,
            token.interrupting(),
        ):
            yield sink, token
    except WherryError as error:
        # A fault of wherry's own comes with its traceback, whatever stderr is for.
        if mode != "json" or isinstance(error, InternalError):
            raise
        raise Told(code_of(error)) from error
