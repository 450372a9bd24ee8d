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

from differential.answers import Answer, read_images, with_tokens
from differential.model import Case, put_names, write_files
from differential.world import World

_CONTEXT = "context"
_LAYOUT = "oci-layout://"


class CannotTell(Exception):
    """The builder itself broke: neither an image nor a refusal of the case."""


def lay_out(case: Case, work: Path, world: World) -> None:
    """The context, its Dockerfile and the named directories of a case, below `work`."""
    text = put_names(case.dockerfile, world.names)
    write_files(work / _CONTEXT, {case.file: text, **case.files}, world.names, case.time)
    for number, (_, value) in enumerate(sorted(case.contexts.items())):
        if not isinstance(value, str):
            write_files(work / f"named-{number}", value, world.names, case.time)


def by_buildkit(case: Case, work: Path, world: World) -> Answer:
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
    done = world.buildkit.build(words, _ENV)
    if done.returncode == 0:
        return Answer(read_images(archive, world.names))
    message = _first_error(done.stderr, r"^error: failed to (?:solve|run Build function): (.*)")
    if "rpc error: code = Unavailable" in done.stderr or not message:
        raise CannotTell(done.stderr)
    for pattern, word in _OF_ITS_OWN.items():
        message = re.sub(pattern, word, message)
    return Answer({}, with_tokens(message, world.names))


# What is another at each run in BuildKit's words.
_OF_ITS_OWN = {r"ref \w+::\w+": "ref ...", r"/\S*/cachemounts/buildkit\d+": "ROOT"}
_ENV = {"SOURCE_DATE_EPOCH": ""}


def _buildctl_options(case: Case, work: Path, world: World) -> Iterator[str]:
    options = {f"build-arg:{key}": value for key, value in _arguments(case, world)}
    options |= {f"label:{key}": value for key, value in case.labels.items()}
    options |= {"target": case.target} if case.target else {}
    options |= {"platform": case.platform} if case.platform else {}
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


def by_wherry(case: Case, work: Path, world: World, store: Path) -> Answer:
    """What the command `wherry build` makes of the case laid out below `work`."""
    archive = work / "wherry.tar"
    words = [
        *_without_rights(), sys.executable, "-m", "wherry", "build",
        "-f", str(work / _CONTEXT / case.file), str(work / _CONTEXT),
        "-o", f"type=oci,dest={archive}", "--store", str(store), "--progress", "plain",
        *_wherry_options(case, work, world),
    ]  # fmt: skip
    done = subprocess.run(
        words, env=_plain(os.environ, work), stdin=subprocess.DEVNULL, capture_output=True,
        text=True, check=False, timeout=120, cwd=work, errors="replace",
    )  # fmt: skip
    if done.returncode == 0:
        return Answer(read_images(archive, world.names))
    if "Traceback (most recent call last)" in done.stderr or done.returncode not in (1, 2, 3, 4):
        raise CannotTell(f"exit {done.returncode}: {done.stderr}")
    message = _first_error(done.stderr, r"^error: (.*)") or done.stderr.strip()[-500:]
    return Answer({}, with_tokens(message, world.names).replace(str(work), "DIR"))


def _without_rights() -> list[str]:
    """Words before a command that take from root what a plain user has not.

    One right stays, to read every file of a context: here they belong to root.
    """
    setpriv = shutil.which("setpriv")
    if os.getuid() != 0 or setpriv is None:
        return []
    return [setpriv, "--bounding-set=-all,+dac_read_search", "--no-new-privs", "--"]


def _plain(env: Mapping[str, str], work: Path) -> dict[str, str]:
    """The environment of a user with nothing of his own."""
    kept = {key: env[key] for key in ("PATH", "TMPDIR", "LANG") if key in env}
    (work / "home").mkdir(exist_ok=True)
    return {**kept, "HOME": str(work / "home")}


def _wherry_options(case: Case, work: Path, world: World) -> Iterator[str]:
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


def _first_error(text: str, pattern: str) -> str:
    found = re.findall(pattern, text, re.MULTILINE)
    return found[0].strip() if found else ""
