# SPDX-License-Identifier: Apache-2.0
"""What stops a benchmark, and how a command that failed is told."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import DEVNULL, run


class BenchError(Exception):
    """The benchmark cannot go on; the text says why and, where known, what to do."""


def command_failed(argv: Sequence[str], code: int, output: bytes) -> BenchError:
    """The error for a command that ended with `code`, with the end of what it wrote."""
    tail = output.decode(errors="replace").strip().splitlines()[-20:]
    return BenchError("\n  | ".join([f"exit code {code}: {shlex.join(argv)}", *tail]))


def read_output(argv: Sequence[str], cwd: Path, env: Mapping[str, str]) -> str:
    """Runs a command for its standard output; a BenchError where it fails or is not there."""
    try:
        done = run(argv, cwd=cwd, env=env, stdin=DEVNULL, capture_output=True, check=False)
    except OSError as error:
        raise BenchError(f"{argv[0]}: {error.strerror}") from error
    if done.returncode != 0:
        raise command_failed(argv, done.returncode, done.stderr + done.stdout)
    return done.stdout.decode()
