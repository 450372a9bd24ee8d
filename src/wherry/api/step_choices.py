# SPDX-License-Identifier: Apache-2.0
"""What the user gives to RUN steps, as the engine asks for it."""

from __future__ import annotations

from typing import NamedTuple

from wherry.api.agents import Agents
from wherry.api.step_options import StepOptions
from wherry.errors import BuildError


class StepChoices(NamedTuple):
    """Options and agents of one build; implements `wherry.engines.local.running.Choices`."""

    options: StepOptions
    agents: Agents

    @property
    def certificates(self) -> bytes:
        """Those of `--ca`, in PEM."""
        return self.options.certificates

    def secret(self, name: str) -> bytes | None:
        """The value of a secret, None for one that was not given; raises `MachineError`."""
        return self.options.secret(name)

    def agent(self, name: str) -> str | None:
        """The path of an agent's socket, None for one that was not given; raises as `Agents`."""
        return self.agents.socket(name)

    def no_secret(self, name: str) -> BuildError:
        """The error of a step that needs a secret which was not given."""
        return self.options.no_secret(name)

    def no_agent(self, name: str) -> BuildError:
        """The error of a step that needs an agent which was not given."""
        return self.options.no_agent(name)
