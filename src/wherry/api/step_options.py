# SPDX-License-Identifier: Apache-2.0
"""What the command line gives to RUN: secrets, agents, network, rights, hosts, limits.

`read_step_options` reads all of it at once and tells all that is wrong together, before anything
is built. The flags' meaning is that of `docker buildx build`. Of all this only what BuildKit's keys
hold reaches cache keys, by way of the front end's request; secrets, agents and certificates never.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

from wherry.api.agents import AgentSpec, read_agent
from wherry.api.request import BuildRequest
from wherry.api.step_limits import read_host, read_shm_size, read_ulimit
from wherry.api.step_secrets import Secret, read_secret
from wherry.errors import BuildError, SeveralErrors, UsageError, WherryError, near
from wherry.oci.image import Pairs

NETWORKS: Final = ("default", "none", "host")
RIGHTS: Final = ("network.host", "security.insecure")
ON_ERROR: Final = ("shell",)
# Rights that buildx knows besides.
_OTHER_RIGHTS: Final = ("device", "buildx.local.delete")
_BEGIN: Final = b"-----BEGIN "

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class StepOptions:
    """The options of RUN, read and checked; `repr` shows no value of a secret.

    `network` is `default`, `none` or `host`; `allowed` are the rights that a step may ask for.
    `hosts` are names and addresses, `shm_size` is in bytes (0: the default), `ulimits` are name,
    soft and hard limit (-1: none), by name. `certificates` are those of `--ca` in PEM. `on_error`
    is `shell` or empty. `warnings` are lines for the user.
    """

    secrets: tuple[Secret, ...] = ()
    agents: tuple[AgentSpec, ...] = ()
    network: str = "default"
    allowed: frozenset[str] = frozenset()
    hosts: Pairs = ()
    shm_size: int = 0
    ulimits: tuple[tuple[str, int, int], ...] = ()
    certificates: bytes = b""
    on_error: str = ""
    warnings: tuple[str, ...] = ()

    def secret(self, name: str) -> bytes | None:
        """The value of a secret, None for one that was not given; raises as `Secret.value`."""
        found = next((secret for secret in self.secrets if secret.id == name), None)
        return None if found is None else found.value()

    def no_secret(self, name: str) -> BuildError:
        """The error of a step that needs a secret which was not given."""
        names = tuple(secret.id for secret in self.secrets)
        hint = f"give it: --secret id={name},src=FILE"
        return BuildError(f"there is no secret {name}", hint=near(name, names) or hint)

    def no_agent(self, name: str) -> BuildError:
        """The error of a step that needs an agent which was not given."""
        names = tuple(agent.id for agent in self.agents)
        return BuildError(f"there is no ssh agent {name}",
                          hint=near(name, names) or f"give it: --ssh {name}")  # fmt: skip


def read_step_options(request: BuildRequest) -> StepOptions:
    """Read what a request says about RUN; raises `UsageError`, or `SeveralErrors` for several."""
    reading = _Reading(request)
    options = StepOptions(
        secrets=reading.secrets(),
        agents=reading.agents(),
        network=reading.word("network", request.network, NETWORKS) or "default",
        allowed=reading.allowed(),
        hosts=tuple(reading.each(read_host, _comma_separated(request.add_hosts))),
        shm_size=sum(reading.each(read_shm_size, filter(None, (request.shm_size,)))),
        # As docker: of several of a name the last counts.
        ulimits=_by_name(reading.each(read_ulimit, request.ulimits)),
        certificates=b"".join(reading.each(reading.certificates_of, request.ca)),
        on_error=reading.word("on-error", request.on_error, ON_ERROR),
        warnings=tuple(reading.warnings),
    )
    errors = tuple(reading.errors)
    if errors:
        raise errors[0] if len(errors) == 1 else SeveralErrors(errors)
    return options


class _Reading:
    """Reads one request; what is wrong is collected."""

    def __init__(self, request: BuildRequest) -> None:
        self._request = request
        self.errors: list[WherryError] = []
        self.warnings: list[str] = []

    def each(self, read: Callable[[str], _T], texts: Iterable[str]) -> list[_T]:
        """What `read` makes of each text that it takes."""
        found = []
        for text in texts:
            try:
                found.append(read(text))
            except UsageError as error:
                self.errors.append(error)
        return found

    def word(self, flag: str, word: str, known: tuple[str, ...]) -> str:
        """The word, if it is one of those known or empty."""
        if word and word not in known:
            hint = near(word, known) or f"one of: {', '.join(known)}"
            self.errors.append(UsageError(f"--{flag} does not know {word!r}", hint=hint))
        return word

    def secrets(self) -> tuple[Secret, ...]:
        """The secrets; of several of a name the last counts."""
        found: dict[str, Secret] = {}
        for secret, warning in self.each(self._secret, self._request.secrets):
            found[secret.id] = secret
            if warning:
                self.warnings.append(warning)
        return tuple(found.values())

    def agents(self) -> tuple[AgentSpec, ...]:
        """The agents, each name once."""
        found: dict[str, AgentSpec] = {}
        for agent in self.each(self._agent, self._request.ssh):
            if agent.id in found:
                self.errors.append(UsageError(f"--ssh {agent.id} is there twice",
                                              hint="give each its own name"))  # fmt: skip
            found[agent.id] = agent
        return tuple(found.values())

    def allowed(self) -> frozenset[str]:
        """The rights; who asks for the host's network for all steps gives that right, too."""
        rights = self.each(_right, self._request.allow)
        return frozenset((*rights, *(RIGHTS[:1] if self._request.network == "host" else ())))

    def certificates_of(self, file: str) -> bytes:
        """The certificates of a `--ca`."""
        path = os.path.join(self._request.cwd, file)
        hint = "a CA file holds certificates in PEM form (-----BEGIN CERTIFICATE-----)"
        try:
            with open(path, "rb") as opened:
                data = opened.read()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise UsageError(f"the CA file {path} cannot be read", why=why, hint=hint) from None
        if _BEGIN not in data:
            raise UsageError(f"the CA file {path} cannot be used",
                             why="it holds no PEM certificate", hint=hint)  # fmt: skip
        return data if data.endswith(b"\n") else data + b"\n"

    def _secret(self, text: str) -> tuple[Secret, str]:
        return read_secret(text, self._request.cwd, self._request.env)

    def _agent(self, text: str) -> AgentSpec:
        return read_agent(text, self._request.cwd, self._request.env)


def _right(text: str) -> str:
    if text in _OTHER_RIGHTS or text.startswith("device="):
        raise UsageError(f"--allow {text} is not in this release",
                         hint=f"allow {' or '.join(RIGHTS)}")  # fmt: skip
    if text not in RIGHTS:
        hint = near(text, RIGHTS) or f"one of: {', '.join(RIGHTS)}"
        raise UsageError(f"--allow does not know {text!r}", hint=hint)
    return text


def _comma_separated(texts: tuple[str, ...]) -> Iterable[str]:
    """buildx takes several hosts in one flag, too."""
    return (part for text in texts for part in text.split(","))


def _by_name(limits: list[tuple[str, int, int]]) -> tuple[tuple[str, int, int], ...]:
    return tuple(sorted({limit[0]: limit for limit in limits}.values()))
