# SPDX-License-Identifier: Apache-2.0
"""Builds a case by BuildKit and by wherry, each as its users do, and reads what came out."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from differential.answers import Answer, Facts, read_images, with_tokens
from differential.model import Case, File, put_names, write_files
from differential.user import User
from differential.world import World

_CONTEXT = "context"
_SECRETS = "secrets"
_LAYOUT = "oci-layout://"


class CannotTell(Exception):
    """The builder itself broke: neither an image nor a refusal of the case."""


class Built(NamedTuple):
    """An answer, and the instructions that ran and were not taken from a cache, sorted."""

    answer: Answer
    ran: tuple[str, ...] = ()


class Place(NamedTuple):
    """Where wherry builds: its store, and as whom, root itself where `user` is None."""

    store: Path
    user: User | None = None


def lay_out(case: Case, work: Path, world: World, user: User | None = None) -> None:
    """The context, its Dockerfile, the named directories and secrets of a case, below `work`."""
    owner = user.owner if user else None
    text = put_names(case.dockerfile, world.names)
    files = {case.file: text, **case.files}
    write_files(work / _CONTEXT, files, world.names, case.time, owner)
    for number, (_, value) in enumerate(sorted(case.contexts.items())):
        if not isinstance(value, str):
            write_files(work / f"named-{number}", value, world.names, case.time, owner)
    secrets = {name: File(put_names(data, world.names), 0o600)
               for name, data in case.around.secrets.items()}  # fmt: skip
    write_files(work / _SECRETS, secrets, world.names, case.time, owner)


def by_buildkit(case: Case, work: Path, world: World) -> Built:
    """What BuildKit makes of the case laid out below `work`."""
    assert world.buildkit is not None
    archive = work / "buildkit.tar"
    words = [
        "--local", f"context={work / _CONTEXT}",
        "--local", f"dockerfile={(work / _CONTEXT / case.file).parent}",
        "--opt", f"filename={Path(case.file).name}",
        "--opt", "cmdline=dockerfile.v0",  # a `syntax` line is to fetch no other front end
        "--output", f"type=oci,dest={archive}",
        *_buildctl_options(case, work, world),
    ]  # fmt: skip
    done = world.buildkit.build(words, {**_ENV, **case.around.secret_env}, progress="rawjson")
    if done.returncode == 0:
        return Built(Answer(read_images(archive, world.names)), _ran_by_buildkit(done, world))
    message = _first_error(
        done.stderr, r"^error: (?:failed to (?:solve|run Build function): )?(.*)"
    )
    if "rpc error: code = Unavailable" in done.stderr or not message:
        raise CannotTell(done.stderr)
    for pattern, word in _OF_ITS_OWN.items():
        message = re.sub(pattern, word, message)
    return Built(Answer({}, with_tokens(message, world.names)), _ran_by_buildkit(done, world))


_STEP = re.compile(r"\[[^]]*\d+/\d+\] (?:ONBUILD )?((?:RUN|COPY|ADD|WORKDIR)\b.*)", re.DOTALL)


def _ran_by_buildkit(done: subprocess.CompletedProcess[str], world: World) -> tuple[str, ...]:
    """Read from the lines of `--progress rawjson`: started, and not said to be cached."""
    found: dict[str, Facts] = {}
    for line in (done.stderr + done.stdout).splitlines():
        if line.startswith("{"):
            for vertex in json.loads(line).get("vertexes") or ():
                found.setdefault(vertex["digest"], {}).update(vertex)
    return tuple(sorted(
        with_tokens(" ".join(match[1].split()), world.names)
        for vertex in found.values()
        if vertex.get("started") and not vertex.get("cached")
        for match in [_STEP.fullmatch(vertex["name"])] if match
    ))  # fmt: skip


# What is another at each run in BuildKit's words.
_OF_ITS_OWN = {r"ref \w+::\w+": "ref ...", r"/\S*/cachemounts/buildkit\d+": "ROOT"}
_ENV = {"SOURCE_DATE_EPOCH": ""}


def _buildctl_options(case: Case, work: Path, world: World) -> Iterator[str]:
    options = {f"build-arg:{key}": value for key, value in _arguments(case, world)}
    options |= {f"label:{key}": value for key, value in case.labels.items()}
    options |= {"target": case.target} if case.target else {}
    options |= {"platform": case.platform} if case.platform else {}
    options |= dict(_options_of_runs(case))
    yield from _given_to_buildkit(case, work, world)
    for name, kind, value in _contexts(case, work, world):
        if kind == "directory":
            yield from ("--local", f"{name.replace(':', '-')}={value}")
            options[f"context:{name}"] = f"local:{name.replace(':', '-')}"
        elif kind == "layout":
            yield from ("--oci-layout", f"{name}={value}")
            index = json.loads((Path(value) / "index.json").read_text())
            digest = index["manifests"][0]["digest"]
            options[f"context:{name}"] = f"{_LAYOUT}{name}@{digest}"
        else:
            options[f"context:{name}"] = value
    for key, value in options.items():
        yield from ("--opt", f"{key}={value}")


def _arguments(case: Case, world: World) -> Iterator[tuple[str, str]]:
    for key, value in case.args.items():
        yield key, put_names(value, world.names).decode()


def _contexts(case: Case, work: Path, world: World) -> Iterator[tuple[str, str, str]]:
    for number, (name, value) in enumerate(sorted(case.contexts.items())):
        if not isinstance(value, str):
            yield name, "directory", str(work / f"named-{number}")
        elif value.startswith(_LAYOUT):
            yield name, "layout", f"{world.layouts}/{value.removeprefix(_LAYOUT)}"
        else:
            yield name, "other", put_names(value, world.names).decode()


def _options_of_runs(case: Case) -> Iterator[tuple[str, str]]:
    around = case.around
    if around.network:
        yield "force-network-mode", around.network
    if around.hosts:
        yield "add-hosts", ",".join(f"{name}={ip}" for name, ip in around.hosts.items())
    if around.shm:
        yield "shm-size", str(around.shm)
    if around.ulimits:
        yield "ulimit", ",".join(around.ulimits)
    if around.no_cache is not None:
        yield "no-cache", around.no_cache


def _given_to_buildkit(case: Case, work: Path, world: World) -> Iterator[str]:
    around = case.around
    for name in around.secrets:
        yield from ("--secret", f"id={name},src={work / _SECRETS / name}")
    for name in around.secret_env:
        yield from ("--secret", f"id={name},env={name}")
    for name in around.ssh:
        yield from ("--ssh", f"{name}={world.agent}")
    # As buildx does: who wants this network for all steps allows it.
    for right in {*around.allow, *(["network.host"] if around.network == "host" else [])}:
        yield from ("--allow", right)
    if around.ca:
        yield from ("--secret", f"id=ca,src={world.ca}")


def by_wherry(case: Case, work: Path, world: World, place: Place, progress: str = "plain") -> Built:
    """What the command `wherry build` makes of the case laid out below `work`."""
    archive = work / "wherry.tar"
    archive.unlink(missing_ok=True)
    user = place.user
    python = [*user.words, user.python, "-P"] if user else [
        *([] if case.runs else _without_rights()), sys.executable
    ]  # fmt: skip
    words = [
        *python, "-m", "wherry", "build",
        "-f", str(work / _CONTEXT / case.file), str(work / _CONTEXT),
        "-o", f"type=oci,dest={archive}", "--store", str(place.store), "--progress", progress,
        *_wherry_options(case, work, world, user.agent if user else world.agent),
    ]  # fmt: skip
    done = subprocess.run(
        words, env=_plain(os.environ, work, user) | case.around.secret_env,
        stdin=subprocess.DEVNULL, capture_output=True,
        text=True, check=False, timeout=300, cwd=work, errors="replace",
    )  # fmt: skip
    if "Traceback (most recent call last)" in done.stderr or done.returncode not in range(5):
        raise CannotTell(f"wherry exits with {done.returncode}: {done.stderr}")
    ran = _ran_by_wherry(done.stderr, world) if progress == "json" else ()
    if done.returncode == 0:
        return Built(Answer(read_images(archive, world.names)), ran)
    message = _first_error(done.stderr, r"^error: (.*)") or done.stderr.strip()[-500:]
    told = with_tokens(message, world.names).replace(str(work), "DIR")
    return Built(Answer({}, f"{told} (exit {done.returncode})"), ran)


def _ran_by_wherry(events: str, world: World) -> tuple[str, ...]:
    """Read from the lines of `--progress json`: the steps that ended, and not as cached ones.

    `COPY --link` is told twice by one name, as copying and as laying the copy on the stage's root;
    the latter, which BuildKit calls LINK, does not count.
    """
    names: dict[str, str] = {}
    outcomes: dict[str, set[str]] = {}
    for line in events.splitlines():
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("event") == "step_started":
            names[event["id"]] = event["name"]
        elif event.get("event") == "step_ended":
            outcomes.setdefault(names[event["id"]], set()).add(event["outcome"])
    return tuple(sorted(
        with_tokens(" ".join(match[1].split()), world.names)
        for name, ended in outcomes.items() if "cached" not in ended
        for match in [_STEP.fullmatch(name)] if match
    ))  # fmt: skip


def _without_rights() -> list[str]:
    """Words before a command that take from root what a plain user has not.

    One right stays, to read every file of a context: here they belong to root.
    """
    setpriv = shutil.which("setpriv")
    if os.getuid() != 0 or setpriv is None:
        return []
    return [setpriv, "--bounding-set=-all,+dac_read_search", "--no-new-privs", "--"]


def _plain(env: Mapping[str, str], work: Path, user: User | None) -> dict[str, str]:
    """The environment of a user with nothing of his own."""
    kept = {key: env[key] for key in ("PATH", "TMPDIR", "LANG") if key in env}
    home = work / "home"
    home.mkdir(exist_ok=True)
    if user:
        os.chown(home, *user.owner)
        kept |= {"PYTHONPATH": user.packages, "PYTHONDONTWRITEBYTECODE": "1"}
    return {**kept, "HOME": str(home)}


def _wherry_options(case: Case, work: Path, world: World, agent: str) -> Iterator[str]:
    for key, value in _arguments(case, world):
        yield from ("--build-arg", f"{key}={value}")
    for key, value in case.labels.items():
        yield from ("--label", f"{key}={value}")
    if case.target:
        yield from ("--target", case.target)
    if case.platform:
        yield from ("--platform", case.platform)
    for name, kind, value in _contexts(case, work, world):
        if kind == "layout":
            yield from ("--build-context", f"{name}={_LAYOUT}{value}:latest")
        else:
            yield from ("--build-context", f"{name}={value}")
    yield from _given_to_wherry(case, work, world, agent)


def _given_to_wherry(case: Case, work: Path, world: World, agent: str) -> Iterator[str]:
    around = case.around
    for name in around.secrets:
        yield from ("--secret", f"id={name},src={work / _SECRETS / name}")
    for name in around.secret_env:
        yield from ("--secret", f"id={name},env={name}")
    for name in around.ssh:
        yield from ("--ssh", f"{name}={agent}")
    for right in around.allow:
        yield from ("--allow", right)
    for name, address in around.hosts.items():
        yield from ("--add-host", f"{name}={address}")
    for limit in around.ulimits:
        yield from ("--ulimit", limit)
    if around.network:
        yield from ("--network", around.network)
    if around.shm:
        yield from ("--shm-size", str(around.shm))
    if around.ca:
        yield from ("--ca", world.ca)
    if around.no_cache == "":
        yield "--no-cache"
    elif around.no_cache:
        yield from ("--no-cache-filter", around.no_cache)


def _first_error(text: str, pattern: str) -> str:
    found = re.findall(pattern, text, re.MULTILINE)
    return found[0].strip() if found else ""
