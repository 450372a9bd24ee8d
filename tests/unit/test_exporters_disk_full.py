# SPDX-License-Identifier: Apache-2.0
"""A disk that fills up while an output is written: exit 3, its name, and nothing left."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Runs in a mount namespace of its own, on a file system of 200 kB.
SCRIPT = """
import os, sys
from exporter_samples import sample_export
from wherry.errors import WherryError, code_of
from wherry.exporters.archive import write_oci_archive
from wherry.exporters.local import write_local
from wherry.exporters.oci_layout import write_oci_directory
from wherry.process.cancel import CancelToken

kind, disk = sys.argv[1:]
exported, dest = sample_export(os.urandom(300_000)), f"{disk}/out"
try:
    match kind:
        case "archive":
            write_oci_archive(exported, dest, 0, CancelToken())
        case "directory":
            write_oci_directory(exported, dest, CancelToken())
        case "local":
            write_local(exported, dest, CancelToken())
except WherryError as error:
    print(code_of(error), error.what.startswith(f"cannot write {dest}"), error.why)
print(os.listdir(disk))
"""
NAMESPACE = ["unshare", "--map-root-user", "--mount"]


def _has_namespaces() -> bool:
    probe = [*NAMESPACE, "mount", "-t", "tmpfs", "none", "/mnt"]
    try:
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.parametrize("kind", ["archive", "directory", "local"])
def test_full_disk_is_told_and_left_empty(kind: str, tmp_path: Path):
    if not _has_namespaces():
        pytest.skip("this machine refuses user namespaces")
    mounted = 'mount -t tmpfs -o size=200k none "$1" && exec "$2" -c "$3" "$4" "$1"'
    shown = subprocess.run(
        [*NAMESPACE, "sh", "-c", mounted, "sh", str(tmp_path), sys.executable, SCRIPT, kind],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.splitlines() == ["3 True No space left on device", "[]"]
