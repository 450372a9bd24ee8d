# SPDX-License-Identifier: Apache-2.0
"""What `wherry doctor` says about Go builds: toolchains, the compiler for cgo, git."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from wherry.api.checks import Check, State
from wherry.api.limited import within
from wherry.errors import MachineError, WherryError
from wherry.golang.command import GoTool, messages, run_go
from wherry.golang.compilers import find_compiler, why_broken
from wherry.golang.diagnostics import Failure, explain_failure
from wherry.golang.environment import build_environment, overlay
from wherry.golang.facts import query_go
from wherry.golang.requirements import Requirements, version_order
from wherry.golang.toolchain import GoCommand, GoFacts, find_go
from wherry.oci.platform import host_platform
from wherry.process.cancel import CancelToken
from wherry.process.spawn import Command, run

# Where Go keeps the toolchains that go.mod files asked for (go.dev/doc/toolchain).
_FETCHED = re.compile(r"toolchain@v0\.0\.1-go([0-9][0-9a-z.]*)\.")
_GO_SECONDS = 4.0
_SECONDS = 5.0
# Flags that name files of the module, or as seen from it: they say nothing elsewhere.
_OF_MODULES = ("-modfile", "-overlay", "-pgo", "--modfile", "--overlay", "--pgo")
_ONLY_CGO = "builds with cgo = true fail, others do not need it"


class GoHere(NamedTuple):
    """The Go that builds use, with its answers and the environment that it was asked in."""

    command: GoCommand
    facts: GoFacts
    env: Mapping[str, str]


def ask_go(env: Mapping[str, str], cancel: CancelToken) -> GoHere:
    """Find Go and ask it, where no go.mod has a say: nothing is fetched.

    Raises `MachineError` where there is none, or none that answers, and `Cancelled`.
    """
    command = find_go(env)
    own = (*command.env, ("GOTOOLCHAIN", "local"))
    asked = build_environment(env, own, "/")
    facts = within(_GO_SECONDS, cancel, lambda token: query_go(command, "/", asked, token))
    if facts is None:
        raise MachineError(
            f"{command.path} does not answer",
            why=f"go env did not end within {_GO_SECONDS:.0f} seconds",
            hint="check which program go on PATH is",
        )
    return GoHere(command, facts, asked)


def no_go(error: WherryError) -> Check:
    """The finding where there is no Go."""
    return Check("Go", State.MISSING, error.what, tuple(error.why.splitlines()), error.hint)


def why_no_builds(
    here: GoHere, env: Mapping[str, str], cancel: CancelToken, *, cgo: bool = False
) -> WherryError | None:
    """Why Go builds nothing at all under the user's settings; None where it does.

    Go is asked to build what costs nothing: the package unsafe. It looks at GOFLAGS, GOWORK, its
    caches and the like for that, which `go env` does not.
    """
    if any(flag in here.facts.goflags for flag in _OF_MODULES):
        return None
    on_top = (*overlay(here.command, host_platform(), cgo=cgo), ("GOTOOLCHAIN", "local"))
    tool = GoTool(here.command, "/", build_environment(env, on_top, "/"))
    command = tool.command(("build", "-o", os.devnull, "unsafe"))
    try:
        done = within(_SECONDS, cancel, lambda token: run_go(command, token))
    except MachineError as error:
        return error
    if done is None:
        return MachineError("Go does not end", why="go build unsafe", hint="check: go env")
    if not done.returncode:
        return None
    text = messages(done.stderr)
    found = explain_failure(Failure(text, done.returncode, here.command.path, compiling=False))
    known = "does not answer as Go does" not in found.what
    return found if known else MachineError("Go refuses to build", why=text, hint="check: go env")


def go_check(
    here: GoHere,
    env: Mapping[str, str],
    asked: Requirements,
    unfetched: str = "",
    broken: WherryError | None = None,
) -> Check:
    """The Go that builds use, what the module asks for, and which others are here.

    `unfetched` says why Go could fetch no other now, `broken` why it builds nothing.
    """
    check = _go_check(here, env, asked, unfetched)
    if broken is None:
        return check
    found = f"{here.facts.version} ({here.command.path}): {broken.what}"
    lines = (*broken.why.splitlines(), *check.details)
    remedies = dict.fromkeys(filter(None, (broken.hint, check.remedy)))
    return Check("Go", State.MISSING, found, lines, "; ".join(remedies))


def _go_check(here: GoHere, env: Mapping[str, str], asked: Requirements, unfetched: str) -> Check:
    facts = here.facts
    found = f"{facts.version} ({here.command.path})"
    setting = user_setting("GOTOOLCHAIN", here, env) or "auto"
    fetched = _fetched(os.path.join(facts.gomodcache, "golang.org")) if facts.gomodcache else ()
    details = [f"GOTOOLCHAIN={setting}", *_others(env, here.command)]
    if fetched:
        details.append(f"fetched by Go before: {', '.join(fetched)}")
    # Go as it is told to be takes no notice of the toolchain line.
    wanted = asked.exact or (asked.go if setting == "local" else asked.newest)
    if not wanted:
        return Check("Go", State.OK, found, tuple(details))
    who = f"{asked.source} here asks for Go {wanted}"
    is_right = version_order(wanted) <= version_order(facts.version)
    if asked.exact:
        is_right = facts.version.removeprefix("go").split()[0] == wanted
    if is_right:
        return Check("Go", State.OK, found, (who, *details))
    if not asked.exact and setting.partition("+")[0] in ("local", "path"):
        line = f"{who}, and GOTOOLCHAIN={setting} lets Go fetch none"
        remedy = f"set GOTOOLCHAIN=auto, or install Go {wanted}"
        return Check("Go", State.MISSING, found, (line, *details[1:]), remedy)
    there = wanted in fetched
    if not asked.exact:
        there = there or any(version.startswith(f"{wanted}.") for version in fetched)
    if unfetched and not there:
        lines = (f"{who}, which is not here", f"Go cannot fetch it: {unfetched}", *details)
        remedy = f"mend the way to the module proxy (below), or install Go {wanted}"
        return Check("Go", State.MISSING, found, lines, remedy)
    line = f"{who}, which Go {'fetched' if there else 'will fetch'}"
    return Check("Go", State.OK, found, (line, *details))


def user_setting(name: str, here: GoHere, env: Mapping[str, str]) -> str:
    """A variable as Go has it from the environment, `go env -w` or its own go.env, in this order.

    For those that `ask_go` overrides.
    """
    if env.get(name):
        return env[name]
    root = os.path.join(here.facts.goroot, "go.env")
    for path in (here.facts.goenv, root):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                lines = file.read().splitlines()
        except OSError:
            continue
        values = [line.partition("=")[2] for line in lines if line.startswith(f"{name}=")]
        if values and values[-1]:
            return values[-1]
    return ""


def reset_of(name: str, here: GoHere, env: Mapping[str, str]) -> str:
    """The command that takes a user's setting of a variable back; empty where there is none."""
    if env.get(name):
        return f"unset {name}"
    try:
        with open(here.facts.goenv, encoding="utf-8", errors="replace") as file:
            is_set = any(line.startswith(f"{name}=") for line in file)
    except OSError:
        return ""
    return f"go env -u {name}" if is_set else ""


def cgo_check(here: GoHere, env: Mapping[str, str], cancel: CancelToken) -> Check:
    """The C compiler: there, and able to make a program."""

    def look(token: CancelToken) -> Check:
        compiler = find_compiler(here.facts.all, env, token)
        problem = why_broken(compiler, env, token)
        found = f"{compiler.path} for {compiler.machine or 'an unknown machine'}"
        if not problem:
            return Check("cgo", State.OK, found)
        lines = (*problem.splitlines(), _ONLY_CGO)
        remedy = "install the C library's headers (Debian: apt-get install libc6-dev)"
        return Check("cgo", State.LIMITED, f"{found}, which makes no programs", lines, remedy)

    try:
        done = within(_SECONDS, cancel, look)
    except WherryError as error:
        return Check("cgo", State.LIMITED, error.what, (error.why, _ONLY_CGO), error.hint)
    if done is not None:
        return done
    remedy = "check: go env CC"
    return Check("cgo", State.LIMITED, "the C compiler does not end", (_ONLY_CGO,), remedy)


def git_check(env: Mapping[str, str], cancel: CancelToken) -> Check:
    """Git, which only stamps, sources from git and private modules need."""
    command = Command(("git", "--version"), "/", {**env, "LC_ALL": "C"})
    try:
        done = within(_SECONDS, cancel, lambda token: run(command, token))
    except MachineError:
        done = None
    if done is None or done.returncode:
        return Check("git", State.LIMITED, "not found: no --stamp, no git URLs as sources",
                     remedy="apt-get install git")  # fmt: skip
    version = done.stdout.decode("utf-8", "replace").strip()
    return Check("git", State.OK, version.removeprefix("git version "))


def _others(env: Mapping[str, str], used: GoCommand) -> tuple[str, ...]:
    """Other Go programs on PATH."""
    found = []
    for directory in dict.fromkeys(env.get("PATH", "").split(os.pathsep)):
        path = os.path.join(directory, "go")
        other = os.path.isabs(directory) and path not in (used.path, used.found)
        if other and os.path.isfile(path) and os.access(path, os.X_OK):
            found.append(f"also on PATH: {path}")
    return tuple(found)


def _fetched(directory: str) -> tuple[str, ...]:
    try:
        names = os.listdir(directory)
    except OSError:
        return ()
    matches = (_FETCHED.match(name) for name in names)
    return tuple(sorted({match[1] for match in matches if match}, key=version_order))
