# SPDX-License-Identifier: Apache-2.0
"""The recipes of `docs/ci`: calls that wherry understands, and pull requests that write nothing.

That they work is shown by `tests/integration/test_ci_recipes.py`, on fresh machines.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from ci_recipes import NAMES, RECIPES, Job, Recipe, calls, recipe
from wherry.cli.flags import BuildFlags, read_plain
from wherry.cli.verbs import verb_named

PAGES = (RECIPES / "README.md", RECIPES.parent / "go-caches.md")


@pytest.fixture(params=NAMES)
def shown(request: pytest.FixtureRequest) -> Recipe:
    return recipe(request.param)


def builds(job: Job) -> list[BuildFlags]:
    found = [read_plain(words[1:]) for words in calls(job.text) if words[0] == "build"]
    assert found
    assert None not in found
    return [flags for flags in found if flags is not None]


def test_every_file_is_in_the_table_and_nothing_else() -> None:
    files = {path.name for path in RECIPES.iterdir()} - {"README.md"}
    assert files == set(NAMES)
    assert set(re.findall(r"\]\(([\w.-]+)\) \|", PAGES[0].read_text())) == files


def test_every_call_is_understood(shown: Recipe) -> None:
    for job in (shown.main, shown.pull_request):
        verbs = [words[0] for words in calls(job.text)]
        assert "build" in verbs
        for verb, *rest in calls(job.text):
            command = verb_named(verb)
            assert command is not None, verb
            # Raises for what it does not know.
            command.make_context(verb, list(rest), resilient_parsing=False)


def test_the_main_branch_keeps_what_pull_requests_read(shown: Recipe) -> None:
    (main,) = builds(shown.main)
    assert main.push
    assert main.cache_to == main.cache_from
    (other,) = builds(shown.pull_request)
    assert other.cache_from == main.cache_to
    assert bool(other.cache_key) == bool(main.cache_key)


def test_pull_requests_write_nothing(shown: Recipe) -> None:
    (flags,) = builds(shown.pull_request)
    assert not flags.cache_to
    assert not flags.push
    assert not flags.outputs
    assert not [words for words in calls(shown.pull_request.text) if words[0] == "push"]


@pytest.mark.parametrize("name", ["github-actions.yml", "github-actions-cache.yml"])
def test_tokens_of_pull_requests_may_only_read(name: str) -> None:
    found = recipe(name)
    assert found.main.facts["if"] == "github.event_name == 'push'"
    assert found.main.facts["on"]["push"] == {"branches": ["main"]}
    assert found.main.facts["permissions"] == {"contents": "read", "packages": "write"}
    assert found.pull_request.facts["if"] == "github.event_name == 'pull_request'"
    assert set(found.pull_request.facts["permissions"].values()) == {"read"}
    # The event that gives pull requests of strangers the rights of the repository.
    assert "pull_request_target" not in (RECIPES / name).read_text()
    uses = [step.uses for step in found.pull_request.steps]
    assert not any(re.match(r"actions/cache(/save)?@", one) for one in uses)


def test_private_keys_and_writers_credentials_are_not_for_pull_requests() -> None:
    gitlab = recipe("gitlab-ci.yml")
    assert gitlab.main.facts["rules"] == [{"if": "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH"}]
    assert "$WHERRY_CACHE_KEY" in gitlab.main.text
    assert "WHERRY_CACHE_KEY" not in gitlab.pull_request.text
    assert builds(gitlab.pull_request)[0].cache_key == "cache.pub"
    jenkins = recipe("Jenkinsfile")
    assert "branch 'main'" in jenkins.main.facts["body"]
    assert "changeRequest()" in jenkins.pull_request.facts["body"]
    assert "'registry-writer'" in jenkins.main.facts["body"]
    assert "'registry-writer'" not in jenkins.pull_request.facts["body"]
    assert "'registry-reader'" in jenkins.pull_request.facts["body"]
    secrets = [
        [volume["secret"]["secretName"] for volume in job.facts["volumes"] if "secret" in volume]
        for job in (recipe("kubernetes.yaml").main, recipe("kubernetes.yaml").pull_request)
    ]
    assert secrets == [["registry-writer"], ["registry-reader"]]


def test_pods_fit_the_restricted_standard() -> None:
    for value in yaml.safe_load_all((RECIPES / "kubernetes.yaml").read_text()):
        spec = value["spec"]["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & spec.keys()
        for container in (*spec["initContainers"], *spec["containers"]):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
        kinds = {key for volume in spec["volumes"] for key in volume if key != "name"}
        assert kinds == {"emptyDir", "secret"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_calls_in_the_pages_are_understood(page: Path) -> None:
    text = page.read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`(wherry [^`]+)`", text)
    found = [words for script in (*blocks, *inline) for words in calls(script)]
    assert found
    for words in found:
        if words[0].startswith("-"):
            continue
        verb, rest = verb_named(words[0]), words[1:]
        assert verb is not None, words
        if hasattr(verb, "commands") and rest:
            verb, rest = verb.commands.get(rest[0]), rest[1:]
            assert verb is not None, words
        if rest and rest != ["--help"]:
            verb.make_context(words[0], rest, resilient_parsing=False)
