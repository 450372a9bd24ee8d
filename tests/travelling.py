# SPDX-License-Identifier: Apache-2.0
"""Machines for tests of travelling caches: each with its own home, caches, store and checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from wherry.api.building import build_images
from wherry.api.request import BuildOutcome, BuildRequest, BuildResult
from wherry.events import Event, Message, StepEnded, StepProgress, StepStarted
from wherry.process.cancel import CancelToken
from wherry.process.clock import next_file_clock_ns


class Built(NamedTuple):
    """What a build gave and told."""

    outcome: BuildOutcome
    events: list[Event]

    @property
    def image(self) -> BuildResult:
        (image,) = self.outcome.images
        return image

    @property
    def compiled(self) -> set[str]:
        """The packages that Go compiled."""
        return {event.detail for event in self.events
                if isinstance(event, StepProgress) and event.unit == "packages"}  # fmt: skip

    @property
    def said(self) -> list[str]:
        """The messages."""
        return [event.text for event in self.events if isinstance(event, Message)]

    @property
    def traffic(self) -> str:
        """The line about caches."""
        (line,) = [text for text in self.said if text.startswith("Go caches: ")]
        return line

    def step(self, start: str) -> str:
        """The remark of the step whose name begins so; empty where there was none."""
        names = {event.id: event.name for event in self.events if isinstance(event, StepStarted)}
        ended = [event for event in self.events if isinstance(event, StepEnded)]
        return next((one.detail for one in ended if names[one.id].startswith(start)), "")


class Machine:
    """One machine below `root`; `env` may be changed. Its caches are empty unless it is given."""

    def __init__(self, root: Path, env: Mapping[str, str]) -> None:
        self.root = root
        self.checkout = root / "src"
        self.store = root / "store"
        home = root / "home"
        telemetry = home / ".config" / "go" / "telemetry"
        telemetry.mkdir(parents=True)
        (telemetry / "mode").write_text("off")
        self.env = {**env, "HOME": str(home), "GOPATH": str(home / "go"),
                    "GOCACHE": str(root / "gocache"), "GOMODCACHE": str(root / "mod")}  # fmt: skip

    def clone(self, source: Path) -> Machine:
        """Check out what is at `source`."""
        shutil.copytree(source, self.checkout, symlinks=True, dirs_exist_ok=True)
        return self

    def write(self, name: str, text: str) -> None:
        path = self.checkout / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def request(self, place: object = None, **asked: object) -> BuildRequest:
        """A build with `place` to begin from and to write to."""
        cwd = str(self.checkout)
        request = BuildRequest(".", cwd, dict(self.env), str(self.store), base="scratch")
        if place is not None:
            request = request._replace(cache_from=(str(place),), cache_to=(str(place),))
        return request._replace(**asked)  # type: ignore[arg-type]

    def build(self, place: object = None, **asked: object) -> Built:
        """Build with `place` to begin from and to write to."""
        next_file_clock_ns()
        events: list[Event] = []
        outcome = build_images(self.request(place, **asked), events.append, CancelToken())
        return Built(outcome, events)

    def go(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run go as the user would."""
        return subprocess.run(
            ["go", *words], cwd=self.checkout, env={**os.environ, **self.env},
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
