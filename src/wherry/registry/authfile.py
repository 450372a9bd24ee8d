# SPDX-License-Identifier: Apache-2.0
"""Files that hold registry credentials: Docker's config.json and podman's auth.json.

Both are JSON with `auths` (credentials by registry) and `credHelpers` (programs by registry);
Docker's also has `credsStore` (a program for all others). The keys under `auths` come in many
forms: `host`, `host:port`, `https://host/v2/`, `https://index.docker.io/v1/` for docker.io, and
podman's `host/team/repository`, which is for what lies below that path only. See docker-login(1)
and containers-auth.json(5). Errors name the file and never show what is in it.
"""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from wherry.errors import UsageError
from wherry.registry.credential import Credential
from wherry.registry.problems import printable

FILE_LIMIT = 8 << 20
HUB = "docker.io"
HUB_KEY = "https://index.docker.io/v1/"
_HUB_HOSTS = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
# Docker Desktop keeps tokens for its own use beside docker.io's entry.
_FOREIGN = ("/access-token", "/refresh-token")
_HOST_WIDE = ("", "v1", "v2")

Entries = Mapping[str, object]


class AuthFile(NamedTuple):
    """A file's content as it was read; its parts are judged only once they are needed."""

    path: str
    content: Entries

    def credential(self, registry: str, repository: str) -> Credential | None:
        """What `auths` has for a repository: the longest path wins, then the plain host.

        An empty entry, as Docker leaves beside a helper's, is none. Raises `UsageError` if the
        entry cannot be read; other entries do not matter.
        """
        auths = self._table("auths")
        for key in sorted(auths, key=lambda key: _rank(key, registry), reverse=True):
            if _covers(key, registry, repository):
                found = _credential(self.path, key, auths[key])
                if found is not None:
                    return found
        return None

    def helper(self, registry: str) -> str:
        """The name of the helper program for a registry; empty where there is none."""
        helpers = self._table("credHelpers")
        for key in sorted(helpers, key=lambda key: _rank(key, registry), reverse=True):
            if _covers(key, registry, ""):
                return self._helper_name(helpers[key])
        return self._helper_name(self.content.get("credsStore") or "")

    def keys(self, registry: str) -> tuple[str, ...]:
        """The keys under `auths` that stand for all of a registry."""
        return tuple(key for key in self._table("auths") if _covers(key, registry, ""))

    def registries(self) -> tuple[str, ...]:
        """The hosts that the file has something for, each once."""
        tables = (self._table("auths"), self._table("credHelpers"))
        return tuple(dict.fromkeys(_split(key)[0] for table in tables for key in table))

    def _table(self, name: str) -> Entries:
        found = self.content.get(name)
        if found is None:
            return {}
        if not isinstance(found, dict):
            raise broken(self.path, f'"{name}" is no object')
        return found

    def _helper_name(self, value: object) -> str:
        if not isinstance(value, str):
            raise broken(self.path, "a credential helper's name is no string")
        if "/" in value or "\0" in value:
            raise broken(self.path, "a credential helper's name has a slash in it")
        return value


def read_auth_file(path: str) -> AuthFile | None:
    """Read a file; None where there is none. Raises `UsageError`."""
    try:
        data = _content(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(
            f"cannot read {path}",
            why=f"registry credentials are looked for there: {error.strerror}",
            hint="make it a file that you may read, or remove it",
        ) from None
    return AuthFile(path, _parsed(path, data))


def _content(path: str) -> bytes:
    # A pipe without a writer must not be waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise broken(path, "it is not a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(FILE_LIMIT + 1)
    finally:
        os.close(descriptor)


def broken(path: str, why: str) -> UsageError:
    """The error for a file that is there and makes no sense."""
    return UsageError(
        f"{path} cannot be used",
        why=f"registry credentials are looked for there: {why}",
        hint="mend the file, or move it away and log in again",
    )


def key_for(registry: str) -> str:
    """The key that Docker keeps a registry's credentials under."""
    return HUB_KEY if registry.lower() in _HUB_HOSTS else registry


def _parsed(path: str, data: bytes) -> Entries:
    if len(data) > FILE_LIMIT:
        raise broken(path, f"it is larger than {FILE_LIMIT >> 20} MiB")
    # Docker takes an empty file for one without entries.
    if not data.strip():
        return {}
    try:
        # Not from the decoder's errors: they carry the whole text with them.
        content = json.loads(data.decode("utf-8"))
    except json.JSONDecodeError as error:
        raise broken(path, f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except UnicodeDecodeError:
        raise broken(path, "it is not UTF-8") from None
    except (ValueError, RecursionError):
        raise broken(path, "it is not JSON of any sensible size") from None
    if not isinstance(content, dict):
        raise broken(path, "it is no JSON object")
    return content


def _split(key: str) -> tuple[str, str]:
    """A key's host in lower case, docker.io by its one name, and the path it is limited to."""
    scheme, separator, rest = key.rpartition("://")
    host, _, path = (rest if separator else key).partition("/")
    host = host.lower()
    path = path.strip("/")
    # With a scheme, a path is an API's address and not a repository's.
    if path in _HOST_WIDE or (scheme and not key.endswith(_FOREIGN)):
        path = ""
    return HUB if host in _HUB_HOSTS else host, path


def _covers(key: str, registry: str, repository: str) -> bool:
    host, path = _split(key)
    if host != _split(registry)[0]:
        return False
    return not path or repository == path or repository.startswith(f"{path}/")


def _rank(key: str, registry: str) -> tuple[int, bool, bool]:
    """How near a key is: its path's length, then Docker's own spelling, then the bare host."""
    return len(_split(key)[1]), key == key_for(registry), key.lower() == registry.lower()


def _credential(path: str, key: str, entry: object) -> Credential | None:
    shown = printable(key, most=100)
    if not isinstance(entry, dict):
        raise broken(path, f"the entry of {shown} is no object")
    values = dict(_strings(path, shown, entry))
    username, password = values["username"], values["password"]
    if values["auth"]:
        username, password = _decoded(path, shown, values["auth"])
    found = Credential(username, password, values["identitytoken"], values["registrytoken"])
    return found if found.usable else None


def _strings(path: str, shown: str, entry: Entries) -> Iterator[tuple[str, str]]:
    for name in ("auth", "username", "password", "identitytoken", "registrytoken"):
        value = entry.get(name) or ""
        if not isinstance(value, str):
            raise broken(path, f'"{name}" of {shown} is no string')
        yield name, value


def _decoded(path: str, shown: str, auth: str) -> tuple[str, str]:
    """User and password of an `auth` value: base64 of `user:password` (RFC 7617's form)."""
    try:
        text = base64.b64decode("".join(auth.split()), validate=True).decode("utf-8")
    except ValueError:
        raise broken(path, f'"auth" of {shown} is no base64 of UTF-8 text') from None
    username, colon, password = text.partition(":")
    if not colon:
        raise broken(path, f'"auth" of {shown} holds no user and password')
    # Docker pads with NUL.
    return username, password.strip("\0")
