# SPDX-License-Identifier: Apache-2.0
"""What `wherry doctor` says about private modules: those that go.mod requires, host by host.

Go itself is asked for one module of each host, as a build would ask: with the user's GOPRIVATE, git
settings, ssh keys and netrc; without prompts, into a module cache that is thrown away. What netrc
and git know of a host is told by its name alone.
"""

from __future__ import annotations

import itertools
import os
import re
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

from wherry.api.checks import Check, State
from wherry.api.go_checks import GoHere
from wherry.api.limited import within
from wherry.errors import MachineError, WherryError
from wherry.golang.command import GoTool, messages, run_go
from wherry.golang.credentials import mask_credentials
from wherry.golang.diagnostics import Failure, explain_failure
from wherry.golang.requirements import Requirements, is_matched
from wherry.process.cancel import CancelToken
from wherry.process.spawn import Command, run

_NAME: Final = "private modules"
_SECONDS: Final = 6.0
_MOST_HOSTS: Final = 4
_MOST_NETRC: Final = 1 << 20
_LINES: Final = 4
# Neither a terminal nor a window may be asked.
_NO_PROMPTS: Final = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "",
    "SSH_ASKPASS_REQUIRE": "never",
    "GCM_INTERACTIVE": "never",
    "LC_ALL": "C",
}
# Go's words where git got no answer by any of https and ssh.
_NO_SECURE: Final = "no secure protocol found"
_NO_GIT: Final = "there is no git to fetch it with"
# What git says after each failure of ssh.
_EMPTY_WORDS: Final = (
    "fatal: Could not read from remote repository.",
    "Please make sure you have the correct access rights",
    "and the repository exists.",
)
_LOGIN_WANTED: Final = re.compile(
    r"could not read (?:Username|Password)|Authentication failed|terminal prompts disabled"
    r"|\b40[13] |error: 40[13]"
)
_KEY_REFUSED: Final = re.compile(r"Permission denied \(|Host key verification failed")
_PLACE: Final = re.compile(r"(?:for|access) '\w+://(?:[^/@']*@)?([^/']+)")
_SSH: Final = "-o BatchMode=yes -o ConnectTimeout=5"


class _Module(NamedTuple):
    """A module that stands for its host; `by_proxy`: only its checksums are private."""

    path: str
    version: str
    by_proxy: bool

    @property
    def host(self) -> str:
        return self.path.partition("/")[0]


def private_check(
    here: GoHere, asked: Requirements, env: Mapping[str, str], cancel: CancelToken
) -> Check | None:
    """Whether the private modules that go.mod requires can be had; None where there are none."""
    chosen = _chosen(here.facts.all, asked)
    if not chosen:
        return None
    some = list(chosen.values())[:_MOST_HOSTS]
    rewritten = _rewritten(env, cancel)
    logins = netrc_hosts(env)

    def look(module: _Module) -> Check:
        knows = _knows(module.host, rewritten, logins)
        return _look(here, module, knows, env, cancel)

    with ThreadPoolExecutor(len(some)) as threads:
        found = list(threads.map(look, some))
    bad = [check for check in found if check.state is not State.OK]
    lines = [line for check in found for line in (check.found, *check.details)]
    if len(chosen) > _MOST_HOSTS:
        lines.append(f"{len(chosen) - _MOST_HOSTS} more hosts were not asked")
    if not bad:
        return Check(_NAME, State.OK, lines[0], tuple(lines[1:]))
    remedies = dict.fromkeys(check.remedy for check in bad if check.remedy)
    return Check(_NAME, State.LIMITED, lines[0], tuple(lines[1:]), "; ".join(remedies))


def netrc_hosts(env: Mapping[str, str]) -> frozenset[str]:
    """The hosts that the user's netrc has logins for; it is read for nothing else."""
    home = env.get("HOME", "")
    path = env.get("NETRC", "") or (os.path.join(home, ".netrc") if home else "")
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            words = file.read(_MOST_NETRC).split()
    except (OSError, ValueError):
        return frozenset()
    return frozenset(host for word, host in itertools.pairwise(words) if word == "machine")


def _chosen(variables: Mapping[str, str], asked: Requirements) -> dict[str, _Module]:
    """One private module of each host."""
    private = variables.get("GOPRIVATE", "")
    direct = variables.get("GONOPROXY", "") or private
    unsummed = variables.get("GONOSUMDB", "") or private
    found: dict[str, _Module] = {}
    for path, version in asked.modules:
        is_direct = is_matched(direct, path)
        if is_direct or is_matched(f"{private},{unsummed}", path):
            module = _Module(path, version, not is_direct)
            found.setdefault(module.host, module)
    return found


def _look(
    here: GoHere, module: _Module, knows: str, env: Mapping[str, str], cancel: CancelToken
) -> Check:
    way = "by the module proxy" if module.by_proxy else "by git or https"
    name = f"{module.host} ({module.path})"
    try:
        done = within(_SECONDS, cancel, lambda token: _ask(here, module, env, token))
    except WherryError as error:
        text = mask_credentials(error.why)
        if _NO_SECURE in text:
            # Go asked git, and tells nothing of the answer.
            text = mask_credentials(_git_says(module, env, cancel)) or text
        lines = [line.strip() for line in text.splitlines()]
        lines = [line for line in lines if line and line not in _EMPTY_WORDS][-_LINES:]
        remedy = _remedy(text, error, module)
        return Check("", State.LIMITED, f"{name} cannot be had {way}", (*lines, knows), remedy)
    if done is None:
        remedy = f"check the network, and: git ls-remote https://{module.path}"
        found = f"{name}: no answer within {_SECONDS:.0f} seconds"
        return Check("", State.LIMITED, found, (knows,), remedy)
    return Check("", State.OK, f"{name} can be had {way}")


def _remedy(text: str, error: WherryError, module: _Module) -> str:
    """What to do about Go's or git's words `text`."""
    if _KEY_REFUSED.search(text):
        return (
            f"let ssh in: ssh -T git@{module.host} says what it lacks, a key that the host knows "
            "(ssh-add) or a host that you trust"
        )
    if _NO_GIT in text:
        return "apt-get install git"
    place = _PLACE.search(text)
    if _LOGIN_WANTED.search(text) and place is not None:
        # Not the module's host where git replaces URLs.
        host = place[1].partition(":")[0]
        return f"give git a login: in ~/.netrc, machine {host} login USER password TOKEN"
    if _LOGIN_WANTED.search(text) or "credentials" in error.hint:
        return (
            f"give git or ~/.netrc a login for {module.host}: git config --global "
            f"url.ssh://git@{module.host}/.insteadOf https://{module.host}/"
        )
    if "not found" in text or "unknown revision" in text:
        return f"check the version and the name, and that your login may read {module.path}"
    return f"check the network to {module.host}, and: git ls-remote https://{_root(module)}"


def _root(module: _Module) -> str:
    """The repository: what stands before a module path's `.git`, else its first three parts."""
    parts = module.path.split("/")
    for number, part in enumerate(parts, 1):
        if part.endswith(".git"):
            return "/".join(parts[:number])
    return "/".join(parts[:3])


def _git_says(module: _Module, env: Mapping[str, str], cancel: CancelToken) -> str:
    """What git says of the repository itself; empty where it has it, or says nothing in time."""
    words = ("git", "ls-remote", "--quiet", f"https://{_root(module)}", "HEAD")
    command = Command(words, "/", {**env, **_NO_PROMPTS, **_ssh(env)})
    try:
        done = within(_SECONDS, cancel, lambda token: run(command, token))
    except MachineError:
        return _NO_GIT
    return done.stderr.decode("utf-8", "replace") if done is not None and done.returncode else ""


def _ask(here: GoHere, module: _Module, env: Mapping[str, str], token: CancelToken) -> bool:
    """Let Go find the module's version; raises `WherryError` where it cannot."""
    try:
        with tempfile.TemporaryDirectory(
            prefix="wherry-doctor-", dir=env.get("TMPDIR") or None, ignore_cleanup_errors=True
        ) as directory:
            tool = GoTool(here.command, directory, _environment(here, env, directory))
            wanted = f"{module.path}@{module.version}"
            done = run_go(tool.command(("list", "-m", "-json", wanted)), token)
    except OSError as error:
        raise MachineError("there is no place for temporary files", why=str(error)) from error
    if done.returncode:
        # Where Go has put git for the moment tells nobody anything.
        text = re.sub(rf" in {re.escape(directory)}\S*(?=:)", "", messages(done.stderr))
        raise explain_failure(Failure(text, done.returncode, module.path, compiling=False))
    return True


def _environment(here: GoHere, env: Mapping[str, str], directory: str) -> dict[str, str]:
    return {
        **here.env,
        **_NO_PROMPTS,
        **_ssh(env),
        "GOMODCACHE": os.path.join(directory, "mod"),
        "GOPATH": directory,
        "GOCACHE": os.path.join(directory, "build"),
        # Else what is thrown away could not be removed.
        "GOFLAGS": "-modcacherw",
        "GOWORK": "off",
        "PWD": directory,
    }


def _ssh(env: Mapping[str, str]) -> dict[str, str]:
    """ssh without prompts, and not for long."""
    ssh = env.get("GIT_SSH_COMMAND", "") or "ssh"
    # Another program of the user's may not know ssh's options.
    is_ssh = os.path.basename(ssh.split(" ")[0]) == "ssh"
    return {"GIT_SSH_COMMAND": f"{ssh} {_SSH}"} if is_ssh and not env.get("GIT_SSH") else {}


def _rewritten(env: Mapping[str, str], cancel: CancelToken) -> tuple[str, ...]:
    """The beginnings of URLs that git replaces (`url.….insteadOf`)."""
    command = Command(
        ("git", "config", "--get-regexp", r"^url\..*\.insteadof$"), "/", {**env, "LC_ALL": "C"}
    )
    try:
        done = within(_SECONDS, cancel, lambda token: run(command, token))
    except MachineError:
        return ()
    lines = done.stdout.decode("utf-8", "replace").splitlines() if done is not None else []
    return tuple(line.rpartition(" ")[2] for line in lines)


def _knows(host: str, rewritten: tuple[str, ...], logins: frozenset[str]) -> str:
    named = re.compile(rf"(?:^|[/@]){re.escape(host)}(?:[/:]|$)")
    places = [
        *(["git's insteadOf"] if any(named.search(start) for start in rewritten) else []),
        *(["netrc"] if host in logins else []),
    ]
    if not places:
        return f"neither git's insteadOf nor netrc names {host}"
    return f"{' and '.join(places)} name{'s' if len(places) == 1 else ''} {host}"
