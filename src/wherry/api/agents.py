# SPDX-License-Identifier: Apache-2.0
"""`--ssh`: the agents that RUN may speak to, the user's own or one of ours for the keys named.

The form and its meaning are those of `docker buildx build --ssh`. An agent of ours is OpenSSH's
`ssh-agent`, started when a step first asks for it and holding just the keys named; it ends with the
build, also where wherry is killed. Keys are in its memory alone.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, NamedTuple

from wherry.api.step_secrets import tilde_hint
from wherry.errors import MachineError, UsageError, WherryError
from wherry.process.cancel import CancelToken
from wherry.process.companion import Companion
from wherry.process.spawn import Command, run

_DEFAULT: Final = "default"
_VARIABLE: Final = "SSH_AUTH_SOCK"
_INSTALL: Final = "install OpenSSH's client (package openssh-client), or name an agent's socket"
# Says that the socket is there, and ends the agent with its own stdin: the agent is in a session of
# its own, and would look for its parent only every ten seconds. It holds nothing to be put away but
# its socket, which it would look for below /.
_WATCH: Final = 'echo && cat >/dev/null; kill -9 "$SSH_AGENT_PID"; rm -f "$0"'
# From stdin a key is taken whatever the mode of its file, as BuildKit takes it.
_ADD: Final = 'exec ssh-add -q - <"$0"'
_NO_KEY: Final = b"Error loading key"


class AgentSpec(NamedTuple):
    """An agent's name, and either the socket of one that runs or the files of its keys."""

    id: str
    socket: str = ""
    keys: tuple[str, ...] = ()


def read_agent(text: str, cwd: str, env: Mapping[str, str]) -> AgentSpec:
    """The agent that a `--ssh` names: `ID`, `ID=SOCKET` or `ID=KEY,KEY`; raises `UsageError`.

    Paths are seen from `cwd`. Without one it is the agent of `SSH_AUTH_SOCK`.
    """
    if not text:
        raise UsageError("an --ssh is empty", hint="write it as --ssh default")
    name, _, places = text.partition("=")
    name = name or _DEFAULT
    if not places:
        places = env.get(_VARIABLE, "")
        if not places:
            raise UsageError(
                f"--ssh {name}: no agent runs",
                why=f"{_VARIABLE} is not set",
                hint="start one and add a key to it, or name the key: "
                f"--ssh {name}=$HOME/.ssh/id_ed25519",
            )
        written = [places]
    else:
        written = places.split(",")
    found = [_socket_or_key(name, place, cwd) for place in written]
    sockets = [path for path, is_socket in found if is_socket]
    if sockets and len(found) > 1:
        raise UsageError(f"--ssh {name} names a socket and more",
                         hint="name one socket, or any number of keys")  # fmt: skip
    if sockets:
        return AgentSpec(name, socket=sockets[0])
    return AgentSpec(name, keys=tuple(path for path, _ in found))


def _socket_or_key(name: str, place: str, cwd: str) -> tuple[str, bool]:
    """The absolute path, and whether it is a socket."""
    path = os.path.join(cwd, place)
    try:
        mode = os.stat(path).st_mode if place else 0
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"--ssh {name}: {path} cannot be used", why=why,
                         hint=tilde_hint(place) or "name a private key or an agent's socket"
                         ) from None  # fmt: skip
    if not stat.S_ISSOCK(mode) and not stat.S_ISREG(mode):
        raise UsageError(f"--ssh {name}: {place!r} is neither a key nor a socket",
                         hint="name a private key or an agent's socket")  # fmt: skip
    return path, stat.S_ISSOCK(mode)


class Agents:
    """The agents of one build, ours started when first asked for. Thread-safe; `close` it.

    `directory` is made where it is missing: our agents' sockets lie there, beside those of other
    builds. `env` gives PATH. A cancelled build stops the adding of keys.
    """

    def __init__(
        self,
        specs: tuple[AgentSpec, ...],
        env: Mapping[str, str],
        directory: str,
        cancel: CancelToken,
    ) -> None:
        self._specs = {spec.id: spec for spec in specs}
        self._env = {name: env[name] for name in ("PATH", "HOME") if name in env}
        self._directory = directory
        self._cancel = cancel
        self._lock = threading.Lock()
        self._running: dict[str, _Ours] = {}

    def __enter__(self) -> Agents:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def socket(self, name: str) -> str | None:
        """Path of the agent's socket, None for one that was not given.

        Raises `MachineError` where OpenSSH is missing or a key has a passphrase, `UsageError` for
        a file that is no key.
        """
        spec = self._specs.get(name)
        if spec is None or spec.socket:
            return None if spec is None else spec.socket
        with self._lock:
            if name not in self._running:
                self._running[name] = self._start(spec)
            return self._running[name].socket

    def close(self) -> None:
        """End our agents; nothing of them is left."""
        with self._lock:
            for ours in self._running.values():
                ours.end()
            self._running.clear()

    def _start(self, spec: AgentSpec) -> _Ours:
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        # Without what an agent's own name may hold, and no other build's.
        ours = _Ours(self._directory, f"agent-{os.urandom(6).hex()}", self._env)
        try:
            for key in spec.keys:
                ours.add(key, spec.id, self._cancel)
        except BaseException:
            ours.end()
            raise
        return ours


class _Ours:
    """A running ssh-agent; sockets are named relatively, as the system takes no long paths."""

    def __init__(self, directory: str, name: str, env: dict[str, str]) -> None:
        self.socket = os.path.join(directory, name)
        self._directory = directory
        self._env = {**env, _VARIABLE: name}
        argv = ("ssh-agent", "-a", name, "sh", "-c", _WATCH, name)
        try:
            self._companion = Companion(Command(argv, directory, env))
        except MachineError as error:
            error.hint = _INSTALL
            raise
        if not self._companion.is_ready():
            why = self._companion.last_words()
            self._companion.end()
            raise MachineError("ssh-agent does not start", why=why, hint=_INSTALL)

    def add(self, key: str, agent: str, cancel: CancelToken) -> None:
        """Load one key's file."""
        # Nobody is to be asked for a passphrase: neither at a terminal nor in a window.
        env = {**self._env, "SSH_ASKPASS": "false", "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": "-"}
        finished = run(Command(("sh", "-c", _ADD, key), self._directory, env), cancel)
        if finished.returncode != 0:
            raise _refused(key, agent, finished.returncode, finished.stderr)

    def end(self) -> None:
        """End the agent, and its socket."""
        self._companion.end()
        with suppress(FileNotFoundError):
            os.unlink(self.socket)


def _refused(key: str, agent: str, code: int, said: bytes) -> WherryError:
    """Why ssh-add failed: 127 is the shell's word for a program that is not there."""
    if code == 127:
        return MachineError("cannot start ssh-add", why="it is not on PATH", hint=_INSTALL)
    if code == 1 and _NO_KEY not in said:
        return MachineError(
            f"the key {key} has a passphrase",
            hint=f"add it to your own agent with ssh-add, and give that one: --ssh {agent}",
        )
    why = said.decode("utf-8", "replace").strip().replace("(stdin)", key)
    return UsageError(f"the key {key} cannot be used", why=why,
                      hint="name a private key in OpenSSH's or PEM form")  # fmt: skip
