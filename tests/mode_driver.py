# SPDX-License-Identifier: Apache-2.0
"""`mode_driver.py STORE BUSYBOX SCRIPT...`: runs scripts as RUN steps would and prints how.

One JSON object: the place, the mode and what holds the steps, and for each script its exit code and
output. A script is `USER:SHELL LINE`, or `USER:exec WORDS` without a shell; its root is what the
one before left. Started in the machine that a test made.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
import tempfile
from pathlib import Path

from wherry.errors import MachineError
from wherry.oci.digest import sha256
from wherry.oci.image import LAYER_TAR, Descriptor, Layer
from wherry.process.cancel import CancelToken
from wherry.sandbox.foreign_programs import least_program
from wherry.sandbox.modes import Mode, lacks, owners_hint
from wherry.sandbox.namespace import Namespace, NamespaceOptions
from wherry.sandbox.rundir import Workplace, leftovers, run_directory
from wherry.sandbox.step_spec import StepSpec

PASSWD = "root:x:0:0:root:/root:/bin/sh\nada:x:1000:1000::/home:/bin/sh\n"


def main(store: str, busybox: str, scripts: list[str]) -> None:
    place = Workplace(os.path.join(store, "tmp"), os.path.join(store, "locks"))
    told: list[str] = []
    with run_directory(place) as directory:
        options = NamespaceOptions(
            os.environ["PATH"], directory.path, directory.lock, say=told.append
        )
        with leftovers(place) as stale, Namespace(options) as namespace:
            try:
                # What a killed build left may belong to mapped ids.
                namespace.remove(stale)
                answer = ask(namespace, store, base(busybox), scripts)
            except MachineError as error:
                answer = {"what": error.what, "why": error.why, "hint": error.hint}
    names = (*os.listdir(place.directory), *os.listdir(place.locks))
    left = [name for name in names if "run-" in name]
    json.dump({**answer, "told": told, "left": left}, sys.stdout)


def ask(namespace: Namespace, store: str, base: bytes, scripts: list[str]) -> dict[str, object]:
    mode = Mode(namespace.place.mapping, namespace.own_proc)
    problems = "\n".join(namespace.problems)
    layer = Layer(Descriptor(LAYER_TAR, sha256(base), len(base)), sha256(base))
    snapshots = [snapshot(store)]
    namespace.unpack((), snapshots[0], layer, io.BytesIO(base), CancelToken())
    steps = []
    for script in scripts:
        user, _, words = script.partition(":")
        snapshots.append(snapshot(store))
        args = ("/bin/sh", "-c", words)
        if words.startswith("exec "):
            args = tuple(words.split()[1:])
        spec = StepSpec(args=args, env=("PATH=/bin",), user=user)
        with tempfile.TemporaryFile() as output, open(os.devnull, "rb") as empty:
            streams = (empty.fileno(), output.fileno(), output.fileno())
            executed = namespace.execute(
                tuple(snapshots[:-1]), snapshots[-1], spec, streams, CancelToken()
            )
            output.seek(0)
            steps.append([executed.code, output.read().decode()])
    namespace.remove(tuple(snapshots))
    return {
        "place": namespace.place.name,
        "mode": str(mode),
        "runtime": namespace.runtime,
        "seccomp": namespace.seccomp,
        "problems": problems,
        "lacks": [lack.what for lack in lacks(mode, namespace.facts, problems)],
        "owners": owners_hint(namespace.facts, problems),
        "steps": steps,
        "snapshots": [path for path in snapshots if Path(path).exists()],
    }


def snapshot(store: str) -> str:
    path = tempfile.mkdtemp(dir=store)
    Path(path).chmod(0o700)
    return path


def base(busybox: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("bin", "etc", "home", "proc", "tmp"):
            add(archive, name, None)
        add(archive, "bin/busybox", Path(busybox).read_bytes(), 0o755)
        for name in ("sh", "id", "cat", "ls", "grep", "chown", "mkdir", "stat", "touch", "echo"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
        add(archive, "bin/foreign", least_program("s390x"), 0o755)
        add(archive, "etc/passwd", PASSWD.encode())
        add(archive, "home/ada", b"hers", 0o600, 1000)
    return buffer.getvalue()


def add(
    archive: tarfile.TarFile, name: str, data: bytes | None, mode: int = 0o644, owner: int = 0
) -> None:
    info = tarfile.TarInfo(name)
    info.uid = info.gid = owner
    if data is None:
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(info)
        return
    info.size, info.mode = len(data), mode
    archive.addfile(info, io.BytesIO(data))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
