# SPDX-License-Identifier: Apache-2.0
"""What tests of the store run as processes of their own: `python store_worker.py MODE DIR ...`."""

import os
import random
import signal
import subprocess
import sys
import time

from store_samples import age, blobs_of, put_image, put_modules, put_snapshot
from wherry.errors import WherryError
from wherry.oci.digest import Digest
from wherry.oci.reference import parse_reference
from wherry.store.store import open_store

# An hour passes in 100 ms, so that things become old while others use them.
_RATE = 36_000


def fast_clock(began):
    """A clock on which all processes of a test agree; file systems end in the year 2446."""
    return lambda: 1e6 + (time.time() - float(began)) * _RATE


def kill_at(root, point):
    """Go through every kind of write and be killed at `point`."""

    def hook(reached):
        if reached == point:
            os.kill(os.getpid(), signal.SIGKILL)

    with open_store(root, hook=hook) as store:
        image = put_image(store, "new")
        store.records.put("gobuild", "new", b"v", blobs_of(image))
        store.images.tag(parse_reference("movies"), image.descriptor, 1.0)
        with store.work("new"):
            pass
        put_snapshot(store, "place/new")
        with store.mounts.hold("new", prepare=lambda path: os.chmod(path, 0o755)):
            pass
        put_modules(store, "a")
        age(store, 100_000)
        store.prune(everything=True)


def build(root, began, seed, rounds):
    """Write and read as builds do; whatever was found must stay readable until closing."""
    choice = random.Random(seed)
    for _ in range(int(rounds)):
        with open_store(root, clock=fast_clock(began)) as store:
            found, snapshots = [], []
            for _ in range(choice.randrange(1, 5)):
                key = str(choice.randrange(12))
                value = store.records.get("layer", key)
                if value is None:
                    image = put_image(store, key)
                    store.records.put("layer", key, image.digest.hex.encode(), blobs_of(image))
                    found += blobs_of(image)
                    if key == "0":
                        store.images.tag(parse_reference("zero"), image.descriptor, 1.0)
                else:
                    found.append(Digest("sha256", value.decode()))
                    assert store.blobs.has(found[-1]), f"record {key} without its blob"
                if choice.random() < 0.3:
                    store.records.delete("layer", key)
                snapshots.append(use_snapshot(store, choice))
                time.sleep(choice.random() * 0.02)
            for digest in found:
                store.blobs.read(digest)
            for path, key in snapshots:
                with open(f"{path}/fs/name") as file:
                    assert file.read() == key, "a snapshot in use was replaced"
            use_mount(store, choice, seed)
            with store.work(f"w{choice.randrange(3)}") as work:
                path = os.path.join(work.path, "file")
                with open(path, "w") as file:
                    file.write(str(seed))
                time.sleep(0.002)
                with open(path) as file:
                    assert file.read() == str(seed), "a work directory held by two"


def use_snapshot(store, choice):
    """Find a snapshot or make it; its path and key."""
    key = f"place/{choice.randrange(12)}"
    return store.snapshots.find(key) or put_snapshot(store, key), key


def use_mount(store, choice, seed):
    """Hold a cache mount alone or with others; nobody removes it meanwhile."""
    sharing = choice.choice(("shared", "private", "locked"))
    with store.mounts.hold(f"m{choice.randrange(2)}", sharing) as mount:
        path = os.path.join(mount.path, "file" if sharing != "shared" else f"file-{seed}")
        with open(path, "w") as file:
            file.write(str(seed))
        time.sleep(0.002)
        with open(path) as file:
            assert file.read() == str(seed), "a cache mount held alone by two"


def commit(root, key, count):
    """Make the same snapshots as others do at the same time; the paths that count."""
    with open_store(root) as store:
        print(*(put_snapshot(store, f"{key}/{number}") for number in range(int(count))))


def prune(root, began, seconds):
    """Prune again and again."""
    end = time.monotonic() + float(seconds)
    removed = 0
    while time.monotonic() < end:
        with open_store(root, clock=fast_clock(began)) as store:
            pruned = store.prune(everything=True)
            removed += pruned.blobs
        time.sleep(0.01)
    print(removed)


def orphan(root):
    """Hold a work directory, give its lock to a child, and die."""
    with open_store(root) as store, store.work("w") as work:
        child = subprocess.Popen(
            ["sleep", "60"],
            pass_fds=(work.fd,),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        print(child.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)


def staging(root):
    """Stage a snapshot, give the lock of what is staged to a child, and die."""
    store = open_store(root)
    print(store.snapshots.stage(), flush=True)
    child = subprocess.Popen(
        ["sleep", "60"],
        pass_fds=(store.staging_lock(),),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    print(child.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def full(root):
    """Fill the disk; then make room and go on."""
    with open_store(root) as store:
        put_image(store, "fits", 64_000)
        try:
            with store.blobs.writer() as writer:
                for _ in range(1000):
                    writer.write(os.urandom(65536))
                writer.commit(Digest("sha256", "0" * 64), 65536 * 1000)
        except WherryError as error:
            print(error.exit_code, error)
        left = [name for _, _, files in os.walk(os.path.join(root, "tmp")) for name in files]
        print("staged", left)
        staged = store.snapshots.stage()
        os.mkdir(os.path.join(staged, "fs"))
        ballast = os.path.join(os.path.dirname(root), "ballast")
        with open(ballast, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                pass
        try:
            store.records.put("k", "big", b"x" * 300_000, [])
            print("stored on a full disk")
        except WherryError as error:
            print(error.exit_code, error.why)
        print("record", store.records.get("k", "big"), store.enforce_limit())
        key = "place/" + "f" * 100_000
        try:
            store.snapshots.commit(key, staged, 5000)
        except WherryError as error:
            print("commit", error.exit_code, "No space" in str(error))
        print("found", store.snapshots.find(key))
        try:
            with store.mounts.hold("m" * 100_000):
                print("held on a full disk")
        except WherryError as error:
            print("hold", error.exit_code, "No space" in str(error))
        try:
            print("staged", store.snapshots.stage())
        except WherryError as error:
            print("stage", error.exit_code, "No space" in str(error))
        os.unlink(ballast)
        store.records.put("k", "big", b"y", [])
        path = put_snapshot(store, key)
        print("again", path == store.snapshots.find(key))
        with store.mounts.hold("m" * 100_000) as mount:
            print("held", os.listdir(mount.path) == [])
        print("record", store.records.get("k", "big"))
        print("freed", store.prune(everything=True).freed > 60_000)


def full_at_opening(root):
    """Open a store, existing or not, where nothing fits."""
    with open(os.path.join(os.path.dirname(root), "ballast"), "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
    try:
        open_store(root).close()
        print("opened")
    except WherryError as error:
        print(error.exit_code, error)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
