# SPDX-License-Identifier: Apache-2.0
"""The sides: which command each tool is measured with, and what it keeps between builds.

Fair means: equal flags for the compiler and linker, one Go, one GOCACHE and GOMODCACHE, the same
output place each time, no work that the others do not do (so no SBOM from ko), and each tool with
all caches that it has.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench.projects import Project

GO_FLAGS = ("-trimpath", "-buildvcs=false")
LD_FLAGS = ("-s", "-w")


@dataclass(frozen=True)
class Command:
    """What to start, where, and what its environment has beyond the common one."""

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)


class Side(Protocol):
    """One tool."""

    @property
    def name(self) -> str:
        """What the table calls it."""

    def build(self, project: Project) -> Command:
        """The command that brings the result up to date."""

    def forget(self, project: Project) -> None:
        """Removes all that the tool itself has kept of this project, but no Go cache."""


class ImageSide(Side, Protocol):
    """A tool whose result is an image."""

    def export(self, project: Project) -> Command:
        """The command after which `layout` holds the image."""

    def layout(self, project: Project) -> Path:
        """An OCI image layout: a directory or a tar archive."""


@dataclass(frozen=True)
class GoBuild:
    """Bare `go build`: the measure of all others; with no flags it is what people type first."""

    go: str
    work: Path
    name: str = "go build"
    flags: tuple[str, ...] = (*GO_FLAGS, "-ldflags=" + " ".join(LD_FLAGS))

    def binary(self, project: Project) -> Path:
        """The program, or the directory of several."""
        return self.work / self.name.replace(" ", "-") / project.name

    def build(self, project: Project) -> Command:
        output = str(self.binary(project)) + "/" * project.is_plural
        argv = (self.go, "build", *self.flags, "-o", output, project.package)
        return Command(argv, project.directory)

    def forget(self, project: Project) -> None:
        binary = self.binary(project)
        if binary.is_dir():
            shutil.rmtree(binary)
        binary.unlink(missing_ok=True)


@dataclass(frozen=True)
class Ko:
    """ko with its layer cache on (KOCACHE; off by default, where it links afresh each time)."""

    program: Path
    registry: str
    work: Path
    name: str = "ko"

    def layout(self, project: Project) -> Path:
        return self._home(project) / "layout"

    def build(self, project: Project) -> Command:
        options = ("--local=false", "--push=false", f"--oci-layout-path={self.layout(project)}")
        argv = (str(self.program), "build", *options, "--sbom=none", *_packages(project))
        env = {
            "KOCACHE": str(self._home(project) / "cache"),
            "KO_CONFIG_PATH": str(self._settings(project)),
            "KO_DEFAULTBASEIMAGE": f"{self.registry}/base",
            "KO_DOCKER_REPO": f"{self.registry}/{project.name}",
        }
        return Command(argv, project.directory, env)

    def export(self, project: Project) -> Command:
        # Every ko build adds one more line to the index of its layout: begin a new one.
        shutil.rmtree(self.layout(project), ignore_errors=True)
        return self.build(project)

    def forget(self, project: Project) -> None:
        shutil.rmtree(self._home(project), ignore_errors=True)

    def _home(self, project: Project) -> Path:
        return self.work / "ko" / project.name

    def _settings(self, project: Project) -> Path:
        directory = self._home(project) / "settings"
        if not directory.exists():
            directory.mkdir(parents=True)
            flags = (("defaultFlags", GO_FLAGS), ("defaultLdflags", LD_FLAGS))
            lines = [f"{key}: [{', '.join(values)}]\n" for key, values in flags]
            (directory / ".ko.yaml").write_text("".join(lines))
        return directory


def _packages(project: Project) -> tuple[str, ...]:
    """ko takes no patterns."""
    if not project.is_plural:
        return (project.package,)
    above = project.directory / project.package.removesuffix("/...")
    return tuple(f"./{path.relative_to(project.directory)}" for path in sorted(above.iterdir()))


@dataclass(frozen=True)
class Wherry:
    """wherry, started as a user starts it: a cold process, the image in its store."""

    program: tuple[str, ...]
    work: Path
    name: str = "wherry"

    def build(self, project: Project) -> Command:
        options = ("--store", str(self._home(project) / "store"), "--progress", "plain", "-q")
        return Command((*self.program, "build", project.package, *options), project.directory)

    def export(self, project: Project) -> Command:
        build = self.build(project)
        output = f"type=oci,dest={self.layout(project)}"
        return Command((*build.argv, "-o", output), build.cwd, build.env)

    def layout(self, project: Project) -> Path:
        return self._home(project) / "image.tar"

    def forget(self, project: Project) -> None:
        shutil.rmtree(self._home(project), ignore_errors=True)
        self._home(project).mkdir(parents=True)

    def _home(self, project: Project) -> Path:
        return self.work / "wherry" / project.name
