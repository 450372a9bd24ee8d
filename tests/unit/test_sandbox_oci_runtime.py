# SPDX-License-Identifier: Apache-2.0
"""What an OCI runtime says, does not say, or leaves behind; a script stands for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from wherry.sandbox import oci_runtime
from wherry.sandbox.request import CannotExecute, ProgramNotFound, RunError

CAUSE = "runc run failed: unable to start container process: "
LATE = """
import os, sys
from wherry.sandbox import oci_runtime, syscalls
from wherry.sandbox.request import RunError
syscalls.adopt_orphans()
oci_runtime._TIMEOUT_SECONDS = 0.5
null = os.open(os.devnull, os.O_RDWR)
try:
    oci_runtime.run(sys.argv[1], sys.argv[2], (null, null, null))
except RunError as error:
    print(error.what)
with open(f"{sys.argv[2]}/pid") as file:
    print(os.path.exists(f"/proc/{file.read().strip()}"))
"""


def runtime(place: Path, script: str) -> str:
    path = place / "runc"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (f'{CAUSE}exec: "x": executable file not found in $PATH', ProgramNotFound),
        (f'{CAUSE}exec: "/x": stat /x: no such file or directory', ProgramNotFound),
        (f"{CAUSE}exec /x: no such file or directory", ProgramNotFound),
        ("executable file `x` not found in $PATH: No such file or directory", ProgramNotFound),
        (f'{CAUSE}exec: "/x": permission denied', CannotExecute),
        (f"{CAUSE}exec /x: exec format error", CannotExecute),
        (f'{CAUSE}error mounting "/a" to rootfs at "/b": no such file or directory', RunError),
        (f"{CAUSE}error mounting /noexec/a at /libexec/b: no such file or directory", RunError),
        (f"{CAUSE}chdir to cwd failed: permission denied", RunError),
        ("", RunError),
    ],
)
def test_only_failures_of_exec_are_the_programs(tmp_path: Path, words: str, kind: type) -> None:
    log = json.dumps({"level": "error", "msg": words})
    (tmp_path / "runtime.log").write_text(log + "\n")
    path = runtime(tmp_path, "exit 1")
    with pytest.raises(RunError) as refused:
        oci_runtime.run(path, str(tmp_path), (0, 1, 2))
    assert type(refused.value) is kind
    assert refused.value.why == words or not words


def test_what_a_late_runtime_began_is_ended(tmp_path: Path) -> None:
    path = runtime(tmp_path, "sleep 300 &\necho $! > pid\nwait")
    source = str(Path(oci_runtime.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", LATE, path, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    # Killed and reaped: not even its number is left.
    assert done.stdout == "the OCI runtime does not answer\nFalse\n", done.stderr
