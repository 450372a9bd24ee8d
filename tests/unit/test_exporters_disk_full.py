# SPDX-License-Identifier: Apache-2.0
"""A disk that fills up, or takes nothing, while an output is written: exit 3, its name, no rest."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("oci", "docker", "tar", "directory", "local", "metadata", "stdout")
# Runs in a mount namespace of its own, on a file system of 200 kB: all kinds, one after the other.
SCRIPT = """
import json, os, sys
from contextlib import suppress
from exporter_samples import sample_export
from wherry.errors import WherryError, code_of
from wherry.exporters.archive import write_oci_archive
from wherry.exporters.docker_archive import write_docker_archive
from wherry.exporters.local import write_local
from wherry.exporters.metadata import write_metadata_file
from wherry.exporters.oci_layout import write_oci_directory
from wherry.exporters.root_tar import write_root_tar
from wherry.exporters.staging import staged_file, stream_output
from wherry.process.cancel import CancelToken

disk, told = sys.argv[1], {}
exported, dest, token = sample_export(os.urandom(300_000)), f"{disk}/out", CancelToken()

def metadata():
    with suppress(OSError), open(f"{disk}/full", "wb", buffering=0) as file:
        for _ in range(100):
            file.write(bytes(4096))
    try:
        write_metadata_file((exported,), dest)
    finally:
        with suppress(OSError):
            os.unlink(f"{disk}/full")

def stdout():
    with open(dest, "wb", buffering=0) as stream, stream_output(stream) as write:
        write_docker_archive((exported,), write, token)

def file(writer, what):
    with staged_file(dest) as opened:
        writer(what, opened.write, token)

writers = {
    "oci": lambda: file(write_oci_archive, (exported,)),
    "docker": lambda: file(write_docker_archive, (exported,)),
    "tar": lambda: file(write_root_tar, exported),
    "directory": lambda: write_oci_directory((exported,), dest, token),
    "local": lambda: write_local(exported, dest, token),
    "metadata": metadata,
    "stdout": stdout,
}
for kind, write in writers.items():
    try:
        write()
    except WherryError as error:
        named = error.what.startswith(f"cannot write {dest}")
        told[kind] = [code_of(error), named, error.why, os.listdir(disk)]
    except OSError as error:
        told[kind] = ["OSError", error.strerror]
    with suppress(OSError):
        os.unlink(dest)
print(json.dumps(told))
"""
NAMESPACE = ["unshare", "--map-root-user", "--mount"]
FULL, READ_ONLY = "No space left on device", "Read-only file system"


def on_a_disk(options: str, tmp_path: Path, script: str = SCRIPT) -> dict[str, list[object]]:
    probe = [*NAMESPACE, "mount", "-t", "tmpfs", "none", "/mnt"]
    try:
        refused = subprocess.run(probe, capture_output=True, check=False).returncode
    except OSError:
        refused = 1
    if refused:
        pytest.skip("this machine refuses user namespaces")
    mounted = f'mount -t tmpfs -o {options} none "$1" && exec "$2" -c "$3" "$1"'
    shown = subprocess.run(
        [*NAMESPACE, "sh", "-c", mounted, "sh", str(tmp_path), sys.executable, script],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(shown.stdout))


def test_a_full_disk_is_told_and_left_empty(tmp_path: Path):
    told = on_a_disk("size=200k", tmp_path)
    # A part of what went to stdout is there; the exit code says what it is worth.
    assert told.pop("stdout") == [3, False, FULL, ["out"]]
    assert told == {kind: [3, True, FULL, []] for kind in KINDS if kind != "stdout"}


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path):
    told = on_a_disk("ro", tmp_path)
    assert told.pop("stdout") == ["OSError", READ_ONLY]
    assert told == {kind: [3, True, READ_ONLY, []] for kind in KINDS if kind != "stdout"}


# The same image over an older one, with room for a few more files each time.
INODES = """
import json, os, subprocess, sys
from exporter_samples import sample_export
from wherry.errors import WherryError, code_of
from wherry.exporters.local import write_local
from wherry.process.cancel import CancelToken

disk, told = sys.argv[1], {}
exported, dest, token = sample_export(), f"{disk}/out", CancelToken()

def names():
    walk = os.walk(disk)
    return sorted(f"{top}/{name}" for top, below, files in walk for name in (*below, *files))

for is_new in (True, False):
    for room in range(2, 40):
        os.mkdir(dest)
        if not is_new:
            os.mkdir(f"{dest}/etc")
            with open(f"{dest}/etc/passwd", "w") as file:
                file.write("old")
        before = names()
        count = room if is_new else room + 2
        subprocess.run(["mount", "-o", f"remount,nr_inodes={count + 1}", disk], check=True)
        try:
            write_local(exported, dest, token)
            outcome = "written"
        except WherryError as error:
            outcome = [code_of(error), error.why, names() == before]
            if not is_new:
                outcome.append(open(f"{dest}/etc/passwd").read())
        told[f"{is_new} {room}"] = outcome
        subprocess.run(["mount", "-o", "remount,nr_inodes=1000", disk], check=True)
        subprocess.run(["rm", "-r", dest], check=True)
print(json.dumps(told))
"""


def test_a_disk_without_room_for_names_leaves_a_tree_as_it_was(tmp_path: Path):
    told = on_a_disk("nr_inodes=1000", tmp_path, INODES)
    assert "written" in told.values()
    refused = [value for value in told.values() if value != "written"]
    assert [3, FULL, True] in refused
    assert [3, FULL, True, "old"] in refused
    assert all(value[:3] == [3, FULL, True] and value[3:] in ([], ["old"]) for value in refused)
