# SPDX-License-Identifier: Apache-2.0
"""Programs: which main packages are some, what they are called, which of them is the main one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.golang.mains import binary_name

if TYPE_CHECKING:
    from wherry.advice.reading.go_needs import Needs
    from wherry.advice.writing.ports import Listening

# Programs in such directories help those who develop, and are no services.
_ASIDE: Final = frozenset(
    ("example", "examples", "sample", "samples", "demo", "demos", "test", "tests", "testing",
     "testutil", "e2e", "integration", "tool", "tools", "hack", "script", "scripts", "internal",
     "contrib", "misc", "doc", "docs", "build", "bench", "benchmark", "benchmarks", "gen",
     "codegen", "generate", "generator", "magefiles", "mage", "dev", "ci", "plugins", "tutorial")
)  # fmt: skip
# Where programs lie that are meant for others.
_PLACES: Final = frozenset(("cmd", "apps", "app", "services", "service"))
# What the Dockerfile calls its other stages, and what no stage may be called.
_STAGES: Final = ("source", "test", "build", "scratch", "context")
_NO_STAGE: Final = re.compile(r"[^a-z0-9_.-]")


class Program(NamedTuple):
    """A main package: `package` as Go is told of it (`./cmd/api`), `name` of its binary.

    `stage` is what `--target` calls its image. `cgo` are the packages that need a C compiler; `cxx`
    says that one of them is C++. `needs` is None where the closure is not known.
    """

    package: str
    name: str
    listening: Listening
    needs: Needs | None
    cgo: tuple[str, ...] = ()
    cxx: bool = False
    stage: str = ""


def choose(mains: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The main packages that are programs of their own, and those that seem to help with them.

    Where some lie in the usual places, those that lie deep among the code are no programs.
    """
    chosen = tuple(path for path in mains if _ASIDE.isdisjoint(path.split("/")))
    usual = tuple(path for path in chosen if "/" not in path or path.split("/")[0] in _PLACES)
    chosen = usual or chosen or mains
    return chosen, tuple(path for path in mains if path not in chosen)


def with_main_last(programs: list[Program], module: str) -> tuple[Program, ...]:
    """The program that an image is made of unless another is asked for comes last.

    It is that of the top, of the module's name, or of one like it; else one that listens.
    """
    name = binary_name(module)

    def rank(item: Program) -> tuple[bool, bool, bool, bool, str]:
        like = bool(name) and item.name.startswith(name)
        ports = bool(item.listening.ports)
        return item.package == ".", item.name == name, like, ports, item.package

    return tuple(sorted(_named_apart(programs), key=rank))


def _named_apart(programs: list[Program]) -> list[Program]:
    """Two programs of one name are called by their paths; each has a stage of its own."""
    names = [program.name for program in programs]
    taken = set(_STAGES)
    found = []
    for program in programs:
        name = program.name
        if names.count(name) > 1 and program.package != ".":
            name = program.package.removeprefix("./").replace("/", "-")
        # Stages have small letters, and begin with one.
        stage = _NO_STAGE.sub("-", name.lower()).strip("-.") or "app"
        stage = stage if stage[0].isalpha() else f"app-{stage}"
        while not taken.isdisjoint((stage, f"build-{stage}")):
            stage = f"app-{stage}"
        taken |= {stage, f"build-{stage}"}
        found.append(program._replace(name=name, stage=stage))
    return found
