# SPDX-License-Identifier: Apache-2.0
"""The image configuration of a stage while its instructions change it.

Dockerfile reference, the sections of CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, MAINTAINER,
ONBUILD, SHELL, STOPSIGNAL, USER and VOLUME. What the reference leaves open is as BuildKit has it.
"""

from __future__ import annotations

from typing import Final

from wherry.frontends.dockerfile.instructions import Command, Healthcheck
from wherry.frontends.dockerfile.request import BaseImage
from wherry.oci.canonical import Json, canonical_json
from wherry.oci.image import RunConfig, pairs
from wherry.oci.platform import Platform

DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SHELL: Final = ("/bin/sh", "-c")


class Config:
    """What becomes an image's `RunConfig`, author and platform.

    `env` holds `NAME=value` texts by name, in the order in which they came up.
    """

    __slots__ = (
        "args_escaped", "author", "cmd", "entrypoint", "env", "healthcheck", "labels", "on_build",
        "platform", "ports", "shell", "stop_signal", "user", "volumes", "working_dir",
    )  # fmt: skip

    def __init__(self, platform: Platform, run: RunConfig, author: str = "") -> None:
        self.platform = platform
        self.author = author
        self.user = run.user
        self.env = {item.partition("=")[0]: item for item in run.env}
        self.entrypoint = run.entrypoint
        self.cmd = run.cmd
        self.working_dir = run.working_dir
        self.ports = set(run.exposed_ports)
        self.volumes = set(run.volumes)
        self.labels = dict(run.labels)
        self.stop_signal = run.stop_signal
        self.healthcheck = run.healthcheck
        self.args_escaped = run.args_escaped
        self.shell = run.shell
        self.on_build = list(run.on_build)

    def frozen(self) -> RunConfig:
        """The value. A base's stop timeout is not in it: BuildKit drops that."""
        return RunConfig(
            user=self.user,
            env=tuple(self.env.values()),
            entrypoint=self.entrypoint,
            cmd=self.cmd,
            working_dir=self.working_dir,
            exposed_ports=tuple(sorted(self.ports)),
            volumes=tuple(sorted(self.volumes)),
            labels=pairs(self.labels),
            stop_signal=self.stop_signal,
            healthcheck=self.healthcheck,
            shell=self.shell,
            on_build=tuple(self.on_build),
            args_escaped=self.args_escaped,
        )

    def child(self) -> Config:
        """What a stage on this one begins with: everything but the triggers."""
        child = Config(self.platform, self.frozen(), self.author)
        child.on_build.clear()
        return child

    def command_words(self, command: Command) -> tuple[str, ...]:
        """The words of a command, those of the shell form after the shell's own."""
        return self.shell_words(command.words) if command.shell else command.words

    def shell_words(self, words: tuple[str, ...]) -> tuple[str, ...]:
        """Words of the shell form, as one text after the shell's own words."""
        return (*(self.shell or _SHELL), " ".join(words))


def from_scratch(platform: Platform) -> Config:
    """The configuration of a stage without a base."""
    return Config(platform, RunConfig(env=(f"PATH={DEFAULT_PATH}",), working_dir="/"))


def of_image(image: BaseImage) -> Config:
    """The configuration that an image hands down."""
    return Config(image.platform, image.run, image.author)


def health_words(check: Healthcheck) -> tuple[str, ...]:
    """A health check's test: `CMD` and words, `CMD-SHELL` and a text for the shell, or `NONE`."""
    if check.command is None:
        return ("NONE",)
    return ("CMD-SHELL" if check.command.shell else "CMD", *check.command.words)


def health_json(check: Healthcheck) -> str:
    """A health check as the image config has it; what was not given is left out."""
    numbers = {
        "Interval": check.interval,
        "Timeout": check.timeout,
        "StartPeriod": check.start_period,
        "StartInterval": check.start_interval,
        "Retries": check.retries,
    }
    value: dict[str, Json] = {"Test": list[Json](health_words(check))}
    value.update((name, number) for name, number in numbers.items() if number)
    return canonical_json(value).decode()
