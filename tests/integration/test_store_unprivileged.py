# SPDX-License-Identifier: Apache-2.0
"""The store of an ordinary user: trees in mapped ids are pruned by the namespace worker."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from differential.user import NoUser, ordinary_user

# Snapshots, a cache mount and a killed step's staged tree, all with files of other ids, and
# directories that only those may read and write.
MAKE = """
import os, subprocess, sys
from wherry.store.store import open_store

def own(path):
    words = ("unshare", "--user", "--map-root-user", "--map-auto", "sh", "-ec")
    script = 'mkdir -p "$0/d/e"; echo x > "$0/d/e/f"; chown -R 1:1 "$0/d"; chmod 700 "$0/d"'
    subprocess.run([*words, script, path], check=True)

store = open_store(sys.argv[1])
for number in range(2):
    staged = store.snapshots.stage()
    os.mkdir(staged + "/fs")
    own(staged + "/fs")
    print(store.snapshots.commit("overlay-ranges/%d" % number, staged, 4096))
with store.mounts.hold("apt", prepare=own) as mount:
    print(mount.path)
if sys.argv[2:]:
    staged = store.snapshots.stage()
    own(staged)
    print(os.path.dirname(staged), flush=True)
    os.kill(os.getpid(), 9)
store.close()
"""


# As in a shell of the user: setpriv itself still has root's rights to look up what it starts.
SHELL = (shutil.which("sh") or "sh", "-c", 'exec "$@"', "sh")
PYTHONS = (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3")


class Place:
    """A store of the user, and commands as that user."""

    def __init__(self, user, directory: Path):
        directory.mkdir(mode=0o755)
        os.chown(directory, *user.owner)
        self.user, self.store = user, f"{directory}/store"

    def start(self, *words, path=os.defpath):
        env = {"PATH": path, "HOME": os.path.dirname(self.store), "WHERRY_STORE": self.store,
               "PYTHONPATH": self.user.packages}  # fmt: skip
        # Found here: `path` may hold no programs at all.
        words_before = (shutil.which(word) or word for word in self.user.words)
        return subprocess.run(
            [*words_before, *SHELL, self.user.python, "-P", *words],
            env=env, cwd="/", capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    def make(self, *more):
        made = self.start("-c", MAKE, self.store, *more)
        assert made.returncode == (-9 if more else 0), made.stderr
        return made.stdout.split()

    def cache(self, *words, path=os.defpath):
        done = self.start("-m", "wherry", "cache", *words, path=path)
        assert done.returncode == 0, done.stderr
        return done

    def left(self):
        return {name: os.listdir(f"{self.store}/{name}") for name in ("snapshots", "mounts", "tmp")}


def python_of(user):
    """A Python that the user can start."""
    ask = "import sys; sys.exit(sys.version_info < (3, 11))"
    for python in PYTHONS:
        words = (*user.words, *SHELL, python, "-c", ask)
        if subprocess.run(words, capture_output=True, check=False).returncode == 0:
            return python
    pytest.skip("no Python of 3.11 or later that an ordinary user can start")


@pytest.fixture(scope="module")
def user():
    for program in ("useradd", "setpriv", "ssh-agent", "unshare"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    if not sys.platform.startswith("linux"):
        pytest.skip("user namespaces are Linux's")
    try:
        with ordinary_user() as made:
            words = (*made.words, "unshare", "--user", "--map-root-user", "--map-auto", "true")
            tried = subprocess.run(words, capture_output=True, text=True, check=False)
            if tried.returncode:
                pytest.skip(f"no user namespaces with ranges here: {tried.stderr.strip()}")
            yield made._replace(python=python_of(made))
    except NoUser as error:
        pytest.skip(str(error))


@pytest.fixture
def place(user, tmp_path):
    for directory in (tmp_path, *tmp_path.parents):
        # Those of pytest are root's alone.
        if str(directory).startswith("/tmp/"):
            directory.chmod(directory.stat().st_mode | 0o011)
    return Place(user, tmp_path / "place")


def test_all_of_it_is_pruned(place):
    *trees, staged = place.make("killed")
    assert len(trees) == 3
    # The premise: the user cannot remove it.
    assert place.start("-c", "import shutil, sys; shutil.rmtree(sys.argv[1])", staged).returncode
    kinds = [item["kind"] for item in json.loads(place.cache("ls", "--json").stdout)]
    assert sorted(kinds) == ["cache mount", "snapshot", "snapshot"]
    told = place.cache("prune", "--all", "--dry-run").stdout
    done = place.cache("prune", "--all")
    assert "2 snapshots, 1 cache mount, 1 leftover" in told
    assert "2 snapshots, 1 cache mount, 1 leftover" in done.stdout
    assert done.stderr == ""
    assert place.left() == {"snapshots": [], "mounts": [], "tmp": []}
    sizes = json.loads(place.cache("du", "--json").stdout)
    assert sizes["snapshots"] == sizes["mounts"] == 0


def test_without_namespaces_the_trees_stay_and_one_line_tells_the_remedy(place, tmp_path):
    place.make()
    empty = tmp_path / "empty"
    empty.mkdir(mode=0o755)
    done = place.cache("prune", "--all", path=str(empty))
    assert done.stdout.startswith("freed 0 B; "), done.stdout
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "3 directories in" in done.stderr
    assert "unshare" in done.stderr
    (kept,) = place.left()["tmp"]
    assert len(os.listdir(f"{place.store}/tmp/{kept}")) == 3
    assert json.loads(place.cache("du", "--json").stdout)["tmp"] >= 0
    # With them, nothing is left.
    done = place.cache("prune")
    assert "1 leftover" in done.stdout
    assert place.left() == {"snapshots": [], "mounts": [], "tmp": []}
