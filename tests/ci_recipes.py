# SPDX-License-Identifier: Apache-2.0
"""The recipes of `docs/ci` as data: which shell commands each job runs, and with what around them.

Nothing of a recipe is changed: what its CI system would put in, `${{ … }}` and variables, comes
from the caller.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

RECIPES = Path(__file__).resolve().parents[1] / "docs" / "ci"
OF_MODULES = ("github-actions.yml", "github-actions-cache.yml", "gitlab-ci.yml", "kubernetes.yaml",
              "Jenkinsfile")  # fmt: skip
OF_DOCKERFILES = ("github-actions-dockerfile.yml", "gitlab-ci-dockerfile.yml",
                  "gitlab-ci-kaniko.yml", "kubernetes-dockerfile.yaml", "kubernetes-kaniko.yaml",
                  "Jenkinsfile.dockerfile")  # fmt: skip
NAMES = (*OF_MODULES, *OF_DOCKERFILES)


class Step(NamedTuple):
    """A script for `shell` with variables of its own; `uses` names an action instead."""

    script: str
    shell: tuple[str, ...] = ("sh", "-e")
    env: Mapping[str, str] = {}
    uses: str = ""


class Job(NamedTuple):
    """What runs on one machine. `python`: it has Python's programs on PATH, for its user to add to.

    `facts` is what the file says about the job besides.
    """

    steps: tuple[Step, ...]
    python: bool
    facts: Mapping[str, Any]

    @property
    def text(self) -> str:
        """All scripts."""
        return "\n".join(step.script for step in self.steps)


class Recipe(NamedTuple):
    """The job of the main branch, and that of a pull request."""

    name: str
    main: Job
    pull_request: Job


def recipe(name: str) -> Recipe:
    """A recipe, read from its file."""
    text = (RECIPES / name).read_text()
    if name.startswith("github"):
        return Recipe(name, *(_github(text, job) for job in ("image", "pull-request")))
    if name.startswith("gitlab"):
        return Recipe(name, *(_gitlab(text, job) for job in ("build-image", "merge-request")))
    if name.startswith("kubernetes"):
        return Recipe(name, *map(_pod, yaml.safe_load_all(text)))
    return Recipe(name, *(_jenkins(text, stage) for stage in ("Image", "Pull request")))


def _github(text: str, name: str) -> Job:
    value = yaml.safe_load(text)
    job = value["jobs"][name]
    common = {**value.get("env", {}), **job.get("env", {})}
    # The shell of a step that names none.
    steps = (
        Step(step.get("run", ""), ("bash", "-e"), {**common, **step.get("env", {})},
             step.get("uses", ""))
        for step in job["steps"]
    )  # fmt: skip
    # YAML 1.1 reads the key `on` as a boolean.
    return Job(tuple(steps), python=True, facts={**job, "on": value.get("on", value.get(True))})


def _gitlab(text: str, name: str) -> Job:
    value = yaml.safe_load(text)
    job = {**value[value[name]["extends"]], **value[name]}
    # What stands behind is a shell of its own, which knows nothing of the first one's variables.
    scripts = ([*job["before_script"], *job["script"]], job.get("after_script", []))
    shell = ("bash", "-e", "-o", "pipefail")
    steps = tuple(Step("\n".join(lines), shell) for lines in scripts if lines)
    return Job(steps, python=True, facts=job)


def _pod(value: Mapping[str, Any]) -> Job:
    spec = value["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    env = {item["name"]: item["value"] for item in container["env"]}
    (script,) = container["args"]
    return Job((Step(script, tuple(container["command"]), env),), python=True, facts=spec)


def _jenkins(text: str, stage: str) -> Job:
    environment = dict(re.findall(r"^ +(\w+) = ['\"](.+)['\"]$", text, re.MULTILINE))
    found = re.split(r"^ +stage\('(.+)'\) \{$", text, flags=re.MULTILINE)
    bodies = dict(zip(found[1::2], found[2::2], strict=True))
    steps = []
    for name in (next(iter(bodies)), stage):
        (script,) = re.findall(r"sh '''(.*?)'''", bodies[name], re.DOTALL)
        # A backslash at the end of a line is Groovy's to take.
        steps.append(Step(re.sub(r"\\\n", "", script), ("sh", "-xe"), environment))
    return Job(tuple(steps), python=False, facts={"body": bodies[stage]})


def calls(script: str) -> Iterator[list[str]]:
    """The words after `wherry` of each call in a script, variables as they stand there."""
    for line in re.sub(r"\\\n", "", script).splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&()")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in (*lexer, "|"):
            if set(word) <= set("|;&()"):
                if words[:1] == ["wherry"]:
                    yield words[1:]
                words = []
            else:
                words.append(word)
