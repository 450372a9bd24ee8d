# SPDX-License-Identifier: Apache-2.0
"""What this machine can do, what is missing and how to get it: `wherry doctor` as a function.

RUN is proved by starting what a build starts. Nothing is changed, but that the store and its
directory are made where they are not there. What may hang (networks, engines, programs of others)
has its own time, and is asked side by side.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from wherry._version import __version__
from wherry.api.checks import Check, State
from wherry.api.engine_checks import engine_checks
from wherry.api.go_checks import (
    GoHere,
    ask_go,
    cgo_check,
    git_check,
    go_check,
    no_go,
    reset_of,
    why_no_builds,
)
from wherry.api.network_checks import network_checks
from wherry.api.private_checks import netrc_hosts, private_check
from wherry.api.proxy_checks import proxy_check
from wherry.api.store_checks import StoreFinding, no_store, store_checks
from wherry.api.store_limit import StoreLimit
from wherry.errors import WherryError
from wherry.golang.requirements import (
    Requirements,
    is_matched,
    read_requirements,
    version_order,
)
from wherry.golang.root import module_root
from wherry.process.cancel import CancelToken
from wherry.settings.load import load_settings
from wherry.settings.model import FILE_NAME, Settings

__all__ = ["Check", "Diagnosis", "State", "diagnose"]

_FORMAT = 1


class Diagnosis(NamedTuple):
    """All findings, and whether Go builds and RUN steps work.

    `mode` names how RUN works ("none" where it does not), `store_size` and `store_free` are bytes,
    -1 where the store cannot be used.
    """

    checks: tuple[Check, ...]
    go_builds: bool
    run_steps: bool
    mode: str
    store_size: int
    store_free: int

    @property
    def exit_code(self) -> int:
        """0 where both work, else 3."""
        return 0 if self.go_builds and self.run_steps else 3

    def as_json(self) -> dict[str, object]:
        """For `--json`; docs/doctor.md says what stays as it is."""
        return {
            "format": _FORMAT,
            "wherry": __version__,
            **self._asdict(),
            "checks": [check.as_json() for check in self.checks],
        }


def diagnose(
    store: str | WherryError, env: Mapping[str, str], cancel: CancelToken, directory: str = "/"
) -> Diagnosis:
    """Look at the machine of the user whose environment `env` is, and at the module around.

    `store` is the store's directory, or why there is none; `directory` is where the user is.
    Raises `Cancelled`.
    """
    with ThreadPoolExecutor(4) as threads:
        go = threads.submit(_go_checks, env, directory, cancel)
        git = threads.submit(git_check, env, cancel)
        engines = threads.submit(engine_checks, env, cancel)
        ways = threads.submit(network_checks, env)
        place, (mode, steps) = _store_and_steps(store, env, directory)
        checks = (
            _versions(),
            *steps,
            *go.result(),
            git.result(),
            *place.checks,
            *engines.result(),
            *ways.result(),
        )
    # A Go that is only old for the module here builds nothing here.
    go_builds = go.result()[0].state is not State.MISSING and place.size >= 0
    return Diagnosis(checks, go_builds, mode != "none", mode, place.size, place.free)


def _go_checks(env: Mapping[str, str], directory: str, cancel: CancelToken) -> tuple[Check, ...]:
    """The toolchain first, then what builds need beside it."""
    try:
        here = ask_go(env, cancel)
    except WherryError as error:
        return (no_go(error),)
    root = module_root(directory) if os.path.isabs(directory) else ""
    settings = _settings(root)
    asked = _asked(root, directory, env, settings.build.go or "")
    with ThreadPoolExecutor(4) as threads:
        cgo_on = bool(settings.build.cgo)
        broken = threads.submit(why_no_builds, here, env, cancel, cgo=cgo_on)
        cgo = threads.submit(cgo_check, here, env, cancel)
        private = threads.submit(private_check, here, asked, env, cancel)
        proxy = threads.submit(_proxy_check, here, asked, env, cancel)
        found, way = private.result(), proxy.result()
        unfetched = "" if way.state is State.OK else way.found
        return (
            go_check(here, env, asked, unfetched, broken.result()),
            cgo.result(),
            way,
            *([found] if found is not None else []),
        )


def _settings(root: str) -> Settings:
    """The module's wherry.toml; what is wrong with one the build says."""
    try:
        return load_settings(root) if root else Settings()
    except WherryError:
        return Settings()


def _asked(root: str, directory: str, env: Mapping[str, str], exact: str) -> Requirements:
    """What the module at `root` asks for: its go.mod, a go.work above, `exact` of wherry.toml."""
    if not root:
        return Requirements()
    asked = read_requirements(os.path.join(root, "go.mod"))
    workspace = _workspace(directory, env)
    if workspace:
        theirs = read_requirements(workspace)
        if version_order(theirs.newest) > version_order(asked.newest):
            asked = asked._replace(go=theirs.go, toolchain=theirs.toolchain, source="go.work")
    return asked._replace(exact=exact, source=FILE_NAME) if exact else asked


def _workspace(directory: str, env: Mapping[str, str]) -> str:
    """The go.work that Go uses in `directory`; empty without one."""
    named = env.get("GOWORK", "")
    if named not in ("", "auto"):
        return named if named != "off" else ""
    while True:
        path = os.path.join(directory, "go.work")
        if os.path.isfile(path):
            return path
        if directory == os.path.dirname(directory):
            return ""
        directory = os.path.dirname(directory)


def _proxy_check(
    here: GoHere, asked: Requirements, env: Mapping[str, str], cancel: CancelToken
) -> Check:
    # The name of a private module is told to nobody who is not to know it.
    names = ("GOPRIVATE", "GONOPROXY", "GONOSUMDB")
    private = ",".join(here.facts.all.get(name, "") for name in names)
    public = [path for path, _ in asked.modules if not is_matched(private, path)]
    module = public[0] if public else ""
    reset = reset_of("GOPROXY", here, env)
    return proxy_check(here.facts.goproxy, module, env, netrc_hosts(env), cancel, reset)


def _store_and_steps(
    store: str | WherryError, env: Mapping[str, str], directory: str
) -> tuple[StoreFinding, tuple[str, tuple[Check, ...]]]:
    untried = Check("RUN", State.MISSING, "not tried: there is no store")
    if isinstance(store, WherryError):
        return StoreFinding((no_store(store),), -1, -1), ("none", (untried,))
    place = store_checks(store, StoreLimit(directory, env))
    return place, _steps(store, env) if place.size >= 0 else ("none", (untried,))


def _steps(store: str, env: Mapping[str, str]) -> tuple[str, tuple[Check, ...]]:
    from wherry.api.proving import prove  # noqa: PLC0415 - Linux only
    from wherry.api.run_checks import not_here, run_checks  # noqa: PLC0415 - as above

    try:
        proof = prove(store, env)
    except WherryError as error:
        return "none", (not_here(error),)
    return str(proof.mode), run_checks(proof)


def _versions() -> Check:
    python = ".".join(map(str, sys.version_info[:3]))
    system = os.uname()
    found = f"{__version__}, Python {python}, {system.sysname} {system.release} {system.machine}"
    return Check("wherry", State.NOTE, found, (_distribution(),) if _distribution() else ())


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""
