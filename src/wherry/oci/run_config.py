# SPDX-License-Identifier: Apache-2.0
"""What a container of an image runs (OCI image specification 1.1, config.md, `config`).

Beside the specification's own fields stand those that Docker's tools put there and read back:
health check, stop timeout, shell and triggers. An image built on a base inherits them from here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from wherry.errors import UsageError
from wherry.oci.canonical import Json, canonical_json
from wherry.oci.fields import (
    Object,
    Pairs,
    number_of,
    object_of,
    pairs_of,
    text_of,
    texts_of,
)

_NOUN = "an image's run configuration"


@dataclass(frozen=True, slots=True)
class RunConfig:
    """What a container of the image runs: the `config` object of config.md.

    `env` keeps its order; `exposed_ports` are `8000/tcp`. `healthcheck` is the object's canonical
    JSON text; `stop_timeout` counts seconds. `args_escaped` is what Docker's tools say of every
    `cmd` that they set; only Windows heeds it. Fields that are empty are left out of the JSON, as
    Docker's tools do.
    """

    user: str = ""
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    working_dir: str = ""
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    labels: Pairs = ()
    stop_signal: str = ""
    healthcheck: str = ""
    stop_timeout: int | None = None
    shell: tuple[str, ...] = ()
    on_build: tuple[str, ...] = ()
    args_escaped: bool = False

    def as_json(self) -> dict[str, Json]:
        """The object as the specification writes it."""
        value: dict[str, Json] = {
            "User": self.user,
            "Env": list(self.env),
            "Entrypoint": list(self.entrypoint),
            "Cmd": list(self.cmd),
            "WorkingDir": self.working_dir,
            "ExposedPorts": {port: {} for port in self.exposed_ports},
            "Volumes": {path: {} for path in self.volumes},
            "Labels": dict(self.labels),
            "StopSignal": self.stop_signal,
            "Healthcheck": json.loads(self.healthcheck) if self.healthcheck else None,
            "Shell": list(self.shell),
            "OnBuild": list(self.on_build),
            "ArgsEscaped": self.args_escaped,
        }
        value = {key: item for key, item in value.items() if item}
        if self.stop_timeout is not None:
            # No time at all is something else than Docker's default.
            value["StopTimeout"] = self.stop_timeout
        return value


def parse_run_config(value: Object) -> RunConfig:
    """The run configuration in an image config; unknown fields are dropped. Raises `UsageError`."""
    return RunConfig(
        user=text_of(value, "User", _NOUN),
        env=texts_of(value, "Env", _NOUN),
        entrypoint=_words(value, "Entrypoint"),
        cmd=_words(value, "Cmd"),
        working_dir=text_of(value, "WorkingDir", _NOUN),
        exposed_ports=tuple(sorted(object_of(value, "ExposedPorts", _NOUN))),
        volumes=tuple(sorted(object_of(value, "Volumes", _NOUN))),
        labels=pairs_of(value, "Labels", _NOUN),
        stop_signal=text_of(value, "StopSignal", _NOUN),
        healthcheck=_healthcheck(value),
        # Docker's -1 waits for ever.
        stop_timeout=number_of(value, "StopTimeout", _NOUN, least=-1),
        shell=_words(value, "Shell"),
        on_build=texts_of(value, "OnBuild", _NOUN),
        # Not worth refusing an image for: Linux never reads it.
        args_escaped=value.get("ArgsEscaped") is True,
    )


def _words(value: Object, key: str) -> tuple[str, ...]:
    """A command; early versions of Docker wrote one of a single word as a text."""
    word = value.get(key)
    return (word,) if isinstance(word, str) else texts_of(value, key, _NOUN)


def _healthcheck(value: Object) -> str:
    check = object_of(value, "Healthcheck", _NOUN)
    if not check:
        return ""
    texts_of(check, "Test", _NOUN)
    for key in ("Interval", "Timeout", "StartPeriod", "StartInterval", "Retries"):
        number_of(check, key, _NOUN)
    try:
        # What came from JSON is JSON, floats apart, which have no one text.
        return canonical_json(check).decode()  # type: ignore[arg-type] # see above
    except (TypeError, RecursionError) as error:
        raise UsageError(f"Healthcheck of {_NOUN} holds what no health check does") from error
