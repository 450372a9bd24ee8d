# SPDX-License-Identifier: Apache-2.0
"""An ordinary user made for one run of the suite, as whom wherry builds: with ranges of ids.

The user's Python has copies of wherry and of what it imports, for root's own are not for others.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

_PYTHONS = (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3")


class User(NamedTuple):
    """Words before a command, the interpreter, its packages, an agent of ssh with one key."""

    uid: int
    gid: int
    words: tuple[str, ...]
    python: str
    packages: str
    agent: str

    @property
    def owner(self) -> tuple[int, int]:
        return self.uid, self.gid


class NoUser(Exception):
    """No such user can be made here; the text says why."""


@contextmanager
def ordinary_user() -> Iterator[User]:
    """A user for the time of the block."""
    if os.geteuid() != 0:
        raise NoUser("only root can make users to run as")
    if shutil.which("newuidmap") is None:
        raise NoUser("newuidmap is missing: no user has id ranges")
    home = Path(tempfile.mkdtemp(prefix="wherry-user-"))
    home.chmod(0o755)
    name = re.sub("[^a-z0-9]", "", home.name.lower())
    _accounts("useradd", "-M", "-d", str(home), "-s", "/bin/sh", name)
    process = None
    try:
        account = pwd.getpwnam(name)
        os.chown(home, account.pw_uid, account.pw_gid)
        # setpriv itself still executes with root's rights; what `env` starts does not.
        words = ("setpriv", f"--reuid={name}", f"--regid={name}", "--clear-groups", "--", "env")
        process, agent = _agent(words, home)
        packages = _packages(home)
        yield User(account.pw_uid, account.pw_gid, words, _interpreter(words), packages, str(agent))
    finally:
        if process is not None:
            process.terminate()
            process.wait(10)
        _accounts("userdel", name)
        shutil.rmtree(home, ignore_errors=True)


def _accounts(*words: str) -> None:
    """These programs refuse to run twice at once."""
    with (Path(tempfile.gettempdir()) / "wherry-test-accounts.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        subprocess.run(words, check=True, capture_output=True)


def _agent(words: tuple[str, ...], home: Path) -> tuple[subprocess.Popen[bytes], Path]:
    """An agent answers its own user only, so it is one of this user."""
    key, socket = home / "key", home / "agent"
    make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "the tests' key", "-f", str(key)]
    subprocess.run([*words, *make], check=True, stdin=subprocess.DEVNULL)
    process = subprocess.Popen(
        [*words, "ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL
    )
    while not socket.exists():
        assert process.poll() is None, "the agent of ssh does not start"
        time.sleep(0.02)
    env = {**os.environ, "SSH_AUTH_SOCK": str(socket)}
    subprocess.run([*words, "ssh-add", "-q", str(key)], check=True, env=env)
    return process, socket


def _interpreter(words: tuple[str, ...]) -> str:
    for python in _PYTHONS:
        check = [*words, python, "-P", "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        if subprocess.run(check, capture_output=True, check=False).returncode == 0:
            return python
    raise NoUser("no Python of 3.11 or later that an ordinary user can start")


def _packages(home: Path) -> str:
    """wherry and all that it needs, where any user can read them."""
    target = home / "packages"
    target.mkdir(mode=0o755)
    for name in _needed("wherry", set()):
        files = importlib.metadata.files(name) or []
        for top in {file.parts[0] for file in files if file.parts[0] not in ("..", "__pycache__")}:
            _copy(Path(str(importlib.metadata.distribution(name).locate_file(top))), target)
    import wherry

    _copy(Path(wherry.__file__).parent, target)
    return str(target)


def _needed(name: str, known: set[str]) -> set[str]:
    known.add(name)
    for line in importlib.metadata.requires(name) or []:
        wanted = re.match(r"[\w.-]+", line)
        if wanted and "extra ==" not in line and wanted[0] not in known:
            try:
                _needed(wanted[0], known)
            except importlib.metadata.PackageNotFoundError:
                continue  # for another platform or Python
    return known


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, target / source.name, ignore=ignored, dirs_exist_ok=True)
    elif source.is_file():
        shutil.copy(source, target)
