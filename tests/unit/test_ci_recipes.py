# SPDX-License-Identifier: Apache-2.0
"""The recipes of `docs/ci`: calls that wherry understands, and pull requests that write nothing.

That they work is shown by `tests/integration/test_ci_recipes.py`, on fresh machines.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from string import Template

import pytest
import yaml

from ci_recipes import NAMES, OF_DOCKERFILES, OF_MODULES, RECIPES, Job, Recipe, calls, recipe
from wherry.api.request import BuildRequest
from wherry.cli.flags import BuildFlags, read_plain
from wherry.cli.kaniko_request import Translation, translate
from wherry.cli.kaniko_words import read_words
from wherry.cli.verbs import verb_named
from wherry.settings.reading import parse_settings

PAGES = (RECIPES / "README.md", RECIPES.parent / "go-caches.md")


@pytest.fixture(params=NAMES)
def shown(request: pytest.FixtureRequest) -> Recipe:
    return recipe(request.param)


def builds(job: Job) -> list[BuildFlags | BuildRequest]:
    """What each build of a job asks for; a call of kaniko's is translated."""
    found: list[BuildFlags | BuildRequest] = [call.request for call in kaniko_calls(job)]
    for words in calls(job.text):
        if words[0] == "build":
            flags = read_plain(words[1:])
            assert flags is not None
            found.append(flags)
    assert found
    return found


def kaniko_calls(job: Job) -> list[Translation]:
    """The calls of kaniko's in a job, with names for its variables."""
    names = {
        "CI_REGISTRY_IMAGE": "registry.example.com/shop/api", "CI_COMMIT_SHA": "1",
        "CI_PROJECT_DIR": "/builds/api", "IMAGE": "registry.example.com/shop/api:latest",
        "CACHE": "registry.example.com/shop/api/cache",
    }  # fmt: skip
    found = [rest for verb, *rest in calls(job.text) if verb == "kaniko"]
    words = ([Template(word).substitute(names) for word in rest] for rest in found)
    return [translate(read_words(one), {}, "/builds/api") for one in words]


def test_every_file_is_in_the_table_and_nothing_else() -> None:
    files = {path.name for path in RECIPES.iterdir()} - {"README.md"}
    assert files == set(NAMES)
    assert set(re.findall(r"\]\(([\w.-]+)\) \|", PAGES[0].read_text())) == files


@pytest.mark.parametrize(
    ("names", "asked"), [(OF_MODULES, '"wherry[go]"'), (OF_DOCKERFILES, "wherry")]
)
def test_only_builds_of_modules_bring_a_go(names: tuple[str, ...], asked: str) -> None:
    for found in map(recipe, names):
        for job in (found.main, found.pull_request):
            installed = re.findall(r"\bpip\"? install(?: --quiet)? (\S+)$", job.text, re.MULTILINE)
            assert installed == [asked], found.name


def test_every_call_is_understood(shown: Recipe) -> None:
    for job in (shown.main, shown.pull_request):
        verbs = [words[0] for words in calls(job.text)]
        assert {"build", "kaniko"} & {*verbs}
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
    assert any(flags.cache_from)
    # An empty text means none, whatever wherry.toml says.
    assert not any(flags.cache_to)
    assert not flags.push
    assert not flags.outputs
    assert not [words for words in calls(shown.pull_request.text) if words[0] == "push"]


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("github")])
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


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("gitlab")])
def test_private_keys_are_not_for_merge_requests(name: str) -> None:
    found = recipe(name)
    assert found.main.facts["rules"] == [{"if": "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH"}]
    assert found.pull_request.facts["rules"] == [
        {"if": '$CI_PIPELINE_SOURCE == "merge_request_event"'}
    ]
    assert "$WHERRY_CACHE_KEY" in found.main.text
    assert "WHERRY_CACHE_KEY" not in found.pull_request.text
    # wherry warns of a key that others can read, as GitLab leaves the files of variables.
    before, after = found.main.steps
    assert 'install -m 600 "$WHERRY_CACHE_KEY" /tmp/cache.key' in before.script.splitlines()
    assert re.search(r"^rm .*/tmp/cache\.key$", after.script)
    if "kaniko" not in name:
        assert builds(found.main)[0].cache_key == "/tmp/cache.key"
        assert builds(found.pull_request)[0].cache_key == "cache.pub"


def test_a_kaniko_job_without_a_key_builds_nothing() -> None:
    """Its flags cannot name one: the file that it asks wherry.toml for is what it copies to."""
    found = recipe("gitlab-ci-kaniko.yml")
    shown = re.search(r"^#   \[cache\]\n#   (key = .*)$", (RECIPES / found.name).read_text(),
                      re.MULTILINE)  # fmt: skip
    assert shown
    key = parse_settings(f"[cache]\n{shown[1]}\n", "/builds/api/wherry.toml").cache.key
    for job, source in ((found.main, '"$WHERRY_CACHE_KEY"'), (found.pull_request, "cache.pub")):
        lines = job.text.splitlines()
        (check,) = [number for number, line in enumerate(lines) if line.startswith("grep ")]
        assert lines[check] == f"grep -x '{shown[1]}' wherry.toml"
        copied = lines.index(f"install -m 600 {source} {key}")
        (call,) = [number for number, line in enumerate(lines) if line.startswith("wherry kaniko")]
        assert check < copied < call
        assert lines[-1].startswith("rm -rf ")
        assert lines[-1].endswith(f" {key}")


def test_kaniko_calls_hold_what_kaniko_is_usually_asked() -> None:
    for name in ("gitlab-ci-kaniko.yml", "kubernetes-kaniko.yaml"):
        found = recipe(name)
        for job in (found.main, found.pull_request):
            (call,) = kaniko_calls(job)
            assert not call.ignored
            (words,) = [words for words in calls(job.text) if words[0] == "kaniko"]
            flags = {word.partition("=")[0] for word in words if word.startswith("--")}
            usual = {"--context", "--dockerfile", "--cache", "--cache-repo"}
            reading = {"--no-push", "--no-push-cache"}
            assert flags == usual | ({"--destination"} if job is found.main else reading)


@pytest.mark.parametrize("name", ["Jenkinsfile", "Jenkinsfile.dockerfile"])
def test_writers_credentials_are_not_for_pull_requests(name: str) -> None:
    jenkins = recipe(name)
    assert "branch 'main'" in jenkins.main.facts["body"]
    assert "changeRequest()" in jenkins.pull_request.facts["body"]
    assert "'registry-writer'" in jenkins.main.facts["body"]
    assert "'registry-writer'" not in jenkins.pull_request.facts["body"]
    assert "'registry-reader'" in jenkins.pull_request.facts["body"]


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("kubernetes")])
def test_writers_secrets_are_not_for_pull_requests(name: str) -> None:
    secrets = [
        [volume["secret"]["secretName"] for volume in job.facts["volumes"] if "secret" in volume]
        for job in (recipe(name).main, recipe(name).pull_request)
    ]
    assert secrets == [["registry-writer"], ["registry-reader"]]


def test_no_steps_of_others_reach_the_main_branchs_store() -> None:
    """Machines that live on: who runs steps with a store decides what later builds find there."""
    (flags,) = builds(recipe("Jenkinsfile.dockerfile").pull_request)
    assert isinstance(flags, BuildFlags)
    assert flags.store == "$WORKSPACE_TMP/store"
    for name in ("gitlab-ci-dockerfile.yml", "gitlab-ci-kaniko.yml"):
        for job in (recipe(name).main, recipe(name).pull_request):
            before, after = job.steps
            store = re.search(r'^export WHERRY_STORE=("\$CI_BUILDS_DIR/\S*\$CI_JOB_ID")$',
                              before.script, re.MULTILINE)  # fmt: skip
            assert store
            assert after.script.startswith(f"rm -rf {store[1]}")


@pytest.mark.parametrize("name", OF_DOCKERFILES)
def test_run_steps_get_what_they_need(name: str) -> None:
    for job in (recipe(name).main, recipe(name).pull_request):
        if name.startswith("github"):
            assert "sudo sysctl -e -w kernel.apparmor_restrict_unprivileged_userns=0" in job.text
        elif name.startswith(("gitlab", "kubernetes")):
            assert re.search(r"apt-get .*install .* runc uidmap", job.text)
            # A pod with a user namespace has 65536 ids.
            ids = "1:65535" if name.startswith("kubernetes") else "100000:65536"
            assert f"echo root:{ids} | tee -a /etc/subuid /etc/subgid" in job.text
            assert ("/proc/self/uid_map" in job.text) == name.startswith("kubernetes")
        else:
            assert "`wherry doctor`" in (RECIPES / name).read_text()


@pytest.mark.parametrize("name", [name for name in OF_DOCKERFILES if name.startswith("kubernetes")])
def test_root_of_pods_that_run_steps_is_nobody_on_the_node(name: str) -> None:
    for value in yaml.safe_load_all((RECIPES / name).read_text()):
        spec = value["spec"]["template"]["spec"]
        assert spec["hostUsers"] is False
        assert spec["automountServiceAccountToken"] is False
        (checkout,), (image,) = spec["initContainers"], spec["containers"]
        assert checkout["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        # Neither privileged nor with capabilities beyond the usual ones.
        assert image["securityContext"] == {
            "seccompProfile": {"type": "Unconfined"},
            "appArmorProfile": {"type": "Unconfined"},
            "procMount": "Unmasked",
        }
        kinds = {key for volume in spec["volumes"] for key in volume if key != "name"}
        assert kinds == {"emptyDir", "secret"}
        # On a container's own root overlayfs would be refused to steps.
        (store,) = [one["value"] for one in image["env"] if one["name"] == "WHERRY_STORE"]
        (work,) = [one["mountPath"] for one in image["volumeMounts"] if one["name"] == "work"]
        assert store.startswith(f"{work}/")


@pytest.mark.parametrize(
    ("ids", "code"), [("0 300000 65536", 0), ("0 0 4294967295", 1), ("0 0 1\n1 100000 65535", 1)]
)
def test_pods_without_a_user_namespace_stop(ids: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "uid_map").write_text(f"{ids}\n")
    for name in ("kubernetes-dockerfile.yaml", "kubernetes-kaniko.yaml"):
        for job in (recipe(name).main, recipe(name).pull_request):
            (line,) = [line for line in job.text.splitlines() if line.startswith("awk ")]
            script = line.replace("/proc/self/uid_map", str(tmp_path / "uid_map"))
            assert subprocess.run(["sh", "-euc", script], check=False).returncode == code


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
