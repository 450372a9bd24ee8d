# SPDX-License-Identifier: Apache-2.0
"""Finds the user's credentials where Docker and podman keep them.

Docker's file is asked first, then podman's. In each file a helper program that is named for the
registry goes before what the file itself holds. Nothing is read before a registry has asked for
credentials, and each file and helper is asked once in a `Keyring`'s life, also if that fails.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping

from wherry.errors import MachineError
from wherry.process.cancel import CancelToken
from wherry.registry.authfile import AuthFile, key_for, read_auth_file
from wherry.registry.credential import Credential
from wherry.registry.keychain import HELPER_SECONDS, Helper

__all__ = ["Credential", "Keyring", "docker_config_path"]


class Keyring:
    """The credentials of the user whose environment `env` is; thread-safe.

    `helper_seconds` is how long a helper program may take.
    """

    def __init__(
        self,
        env: Mapping[str, str],
        cancel: CancelToken,
        *,
        helper_seconds: float = HELPER_SECONDS,
    ) -> None:
        self._env = env
        self._cancel = cancel
        self._helper_seconds = helper_seconds
        self._lock = threading.Lock()
        self._files: tuple[AuthFile, ...] | None = None
        self._helped: dict[tuple[str, str], Credential | MachineError | None] = {}

    def find(self, registry: str, repository: str) -> Credential | None:
        """The credentials for a repository of `registry` (a reference's: `docker.io`), or None.

        Raises `UsageError` for a file that makes no sense, `MachineError` for a helper that is
        missing or fails where no other place has credentials, `Cancelled`.
        """
        failure: MachineError | None = None
        with self._lock:
            if self._files is None:
                read = (read_auth_file(path) for path in auth_file_paths(self._env))
                self._files = tuple(file for file in read if file is not None)
            for file in self._files:
                helped = self._from_helper(file, registry)
                if isinstance(helped, Credential):
                    return helped
                failure = failure or helped
                found = file.credential(registry, repository)
                if found is not None:
                    return found
        if failure is not None:
            raise failure
        return None

    def _from_helper(self, file: AuthFile, registry: str) -> Credential | MachineError | None:
        name = file.helper(registry)
        if not name:
            return None
        key = (name, registry)
        if key not in self._helped:
            try:
                self._helped[key] = self._ask(Helper(name, file.path, self._env, self._cancel,
                                                     self._helper_seconds), registry)  # fmt: skip
            except MachineError as error:
                self._helped[key] = error
        return self._helped[key]

    def _ask(self, helper: Helper, registry: str) -> Credential | None:
        kept = helper.get(key_for(registry))
        if kept is None:
            return None
        if kept.username == "<token>":
            return Credential(identity_token=kept.secret)
        return Credential(kept.username, kept.secret)


def docker_config_path(env: Mapping[str, str]) -> str:
    """Docker's config.json: in DOCKER_CONFIG, else in ~/.docker; empty where HOME is unset."""
    if env.get("DOCKER_CONFIG"):
        return os.path.abspath(os.path.join(env["DOCKER_CONFIG"], "config.json"))
    return os.path.join(env["HOME"], ".docker", "config.json") if env.get("HOME") else ""


def auth_file_paths(env: Mapping[str, str]) -> tuple[str, ...]:
    """The files that may hold credentials, in the order they are asked."""
    return tuple(filter(None, (docker_config_path(env), *_podman_paths(env))))


def _podman_paths(env: Mapping[str, str]) -> tuple[str, ...]:
    """containers-auth.json(5): REGISTRY_AUTH_FILE alone, else the run-time and config places."""
    if env.get("REGISTRY_AUTH_FILE"):
        return (os.path.abspath(env["REGISTRY_AUTH_FILE"]),)
    home = env.get("HOME")
    config = env.get("XDG_CONFIG_HOME") or (os.path.join(home, ".config") if home else "")
    places = filter(None, (env.get("XDG_RUNTIME_DIR"), config))
    return tuple(os.path.join(place, "containers", "auth.json") for place in places)
