# SPDX-License-Identifier: Apache-2.0
"""The git command, kept from everything that could make it do something else than fetch.

It sees no configuration but what is given here, runs no hooks, never asks for a password, starts
nothing that outlives it, and speaks https, http, ssh and git only. Credentials of an http(s) URL go
to it as a header in the environment: other users can read neither its arguments nor its messages.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from wherry.errors import MachineError, NetworkError, UsageError
from wherry.process.cancel import CancelToken
from wherry.process.spawn import Command, run

_PROTOCOLS: Final = "https:http:ssh:git"
# What of the caller's environment git, ssh and their libraries may see.
_KEPT: Final = (
    "PATH", "HOME", "TMPDIR", "SSH_AUTH_SOCK",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
    "http_proxy", "https_proxy", "all_proxy", "no_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH",
)  # fmt: skip
_SSH: Final = "ssh -o BatchMode=yes -o ConnectTimeout=15 -o ServerAliveInterval=15"
_FIXED: Final = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    # Set and empty: no program is asked for a password, and the terminal is not either.
    "GIT_ASKPASS": "",
    "SSH_ASKPASS_REQUIRE": "never",
    "GIT_SSH_COMMAND": _SSH,
    "GIT_SSH_VARIANT": "ssh",
    "GIT_PROTOCOL_FROM_USER": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GCM_INTERACTIVE": "never",
    "LC_ALL": "C",
    "LANGUAGE": "",
}
_SETTINGS: Final = (
    "core.hooksPath=/dev/null", "core.fsmonitor=false", "gc.auto=0", "maintenance.auto=false",
    "init.defaultBranch=master", "advice.detachedHead=false", "protocol.file.allow=user",
    "http.lowSpeedLimit=100", "http.lowSpeedTime=60", "credential.helper=",
)  # fmt: skip
_CREDENTIALS: Final = re.compile(r"(https?://)([^/]*)@(.*)", re.DOTALL)
_LINES: Final = 12


@dataclass(frozen=True, slots=True)
class GitAccess:
    """How git is run: the caller's environment, and what it may do.

    `authorization` is the value of an Authorization header for the remote's host, over https and
    http. `allow_local` adds repositories of this machine, for submodules never.
    """

    env: Mapping[str, str] = field(repr=False)
    cancel: CancelToken
    allow_local: bool = False
    authorization: str = field(default="", repr=False)


class Refused(Exception):
    """git ended with an error; the text is its own, without credentials."""


class GitCommand:
    """Runs git for one remote, in `directory`."""

    def __init__(self, remote: str, directory: str, access: GitAccess) -> None:
        self._directory = directory
        self._access = access
        self.url, user = split_credentials(remote)
        header = access.authorization
        if user and not header:
            name, _, password = user.partition(":")
            pair = f"{unquote(name)}:{unquote(password)}".encode("utf-8", "surrogateescape")
            header = f"Basic {base64.b64encode(pair).decode()}"
        self._header = header
        name, _, password = user.partition(":")
        # A user's name alone is a token; beside a password it is none, and may be a common word.
        words = {password or name, unquote(password or name), header.rpartition(" ")[2]}
        self._secrets = sorted(words - {""}, key=len, reverse=True)

    def run(self, *arguments: str, place: Mapping[str, str], local: bool = False) -> str:
        """git's output; `place` says which repository. Raises `Refused`, `Cancelled`.

        `local`: the only remote is a repository that wherry made.
        """
        argv = ["git"]
        for setting in _SETTINGS:
            argv += ("-c", setting)
        protocols = "file" if local else _PROTOCOLS
        if self._access.allow_local and arguments[0] != "submodule":
            protocols += ":file"
        env = {**self._environment(), "GIT_ALLOW_PROTOCOL": protocols, **place}
        command = Command((*argv, *arguments), self._directory, env)
        try:
            finished = run(command, self._access.cancel)
        except MachineError as error:
            raise MachineError(
                "cannot start git",
                why=error.why,
                hint="git sources are fetched by the git command: install it",
            ) from None
        if finished.returncode:
            raise Refused(self._clean(finished.stderr.decode("utf-8", "replace")))
        return finished.stdout.decode("utf-8", "surrogateescape")

    def _environment(self) -> dict[str, str]:
        env = {name: self._access.env[name] for name in _KEPT if name in self._access.env}
        if "SSL_CERT_FILE" in env:
            env.setdefault("GIT_SSL_CAINFO", env["SSL_CERT_FILE"])
        return {**env, **_FIXED, **self._secret_settings()}

    def _secret_settings(self) -> dict[str, str]:
        origin = re.match(r"https?://[^/]*", self.url)
        if not self._header or origin is None:
            return {}
        return {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"http.{origin[0]}/.extraHeader",
            "GIT_CONFIG_VALUE_0": f"Authorization: {self._header}",
        }

    def _clean(self, text: str) -> str:
        """The last lines of what git says, without anything that was a secret."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        text = re.sub(r"://[^/@\s]*@", "://", text)
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return "\n".join(lines[-_LINES:])


def split_credentials(remote: str) -> tuple[str, str]:
    """A remote without the credentials that it holds, and these: `USER:PASSWORD` or empty.

    ssh needs the user's name; a password is of no use there.
    """
    web = _CREDENTIALS.fullmatch(remote)
    if web:
        return web[1] + web[3], web[2]
    if remote.startswith("ssh://"):
        return re.sub(r"^(ssh://[^/@:]*):[^/@]*@", r"\1@", remote), ""
    return remote, ""


def explained(refused: Refused, shown: str) -> NetworkError | UsageError:
    """What went wrong when git spoke to the remote that people know as `shown`."""
    text = str(refused)
    if "not allowed" in text and "transport" in text:
        return UsageError(
            f"{shown} leads to a repository that is not fetched",
            why=text,
            hint="only https, http, ssh and git are spoken, in submodules as well",
        )
    hint = "check the URL and the network"
    if re.search(
        r"could not read (Username|Password)|Authentication failed|Permission denied \(|"
        r"error: 40[13]|Host key verification failed",
        text,
    ):
        hint = (
            "the repository is private or not there; over ssh, a key that needs no password and a "
            "known host are needed"
        )
    return NetworkError(f"cannot fetch {shown}", why=text, hint=hint)
