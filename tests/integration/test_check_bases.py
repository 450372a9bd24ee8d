# SPDX-License-Identifier: Apache-2.0
"""What `wherry check` knows of bases that no table has: from the store, and with --pull."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fault_registry import FaultRegistry
from registry_samples import image, layer
from wherry.api.bases import BasePolicy, find_base
from wherry.api.check_bases import Bases
from wherry.api.check_store import CheckStore
from wherry.api.checking import Checked, Checker, CheckRequest
from wherry.api.pulling import pull_image
from wherry.api.registries import Registries, RegistryAround
from wherry.cli.verbs import run_verb
from wherry.errors import NetworkError
from wherry.events import discard
from wherry.oci.platform import host_platform
from wherry.process.cancel import CancelToken
from wherry.store.store import open_store

USERS = "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532::/home/nonroot:/sbin/nologin\n"
FILES = {
    "etc/passwd": USERS,
    "lib64/ld-linux-x86-64.so.2": "loader",
    "etc/os-release": 'ID=debian\nVERSION_CODENAME="buster"\n',
    "usr/share/zoneinfo/UTC": "zone",
    "usr/bin/wget": "#!",
}
SETTINGS = {
    "User": "nonroot", "WorkingDir": "/srv", "Env": ["PATH=/usr/bin:/bin", "TEAM=core"],
}  # fmt: skip
DOCKERFILE = """FROM {base}
COPY api /api
HEALTHCHECK CMD ["/usr/bin/curl", "localhost:8080"]
USER app
CMD /api --port 8080
"""
# What only the base's own files say: no shell for CMD, no curl, no user `app`, an old Debian.
KNOWN = {"GO224", "GO225", "GO226", "GO308"}


@pytest.fixture
def registry() -> Iterator[FaultRegistry]:
    with FaultRegistry() as served:
        yield served


def put_base(registry: FaultRegistry, **asked: object) -> str:
    files = asked.pop("files", FILES)
    settings = {**SETTINGS, **asked}
    layers = [layer(files)]  # type: ignore[arg-type]
    platform = str(host_platform())
    registry.put_image("team/base", "1", layers, settings=settings, platform=platform)
    return f"{registry.host}/team/base:1"


def around_of(tmp_path: Path) -> RegistryAround:
    env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    return RegistryAround(str(tmp_path / "store"), env, str(tmp_path), (), discard, CancelToken())


def checked(tmp_path: Path, base: str, *, pull: bool = False, text: str = DOCKERFILE) -> Checked:
    around = around_of(tmp_path)
    request = CheckRequest(
        str(tmp_path), around.env, text=text.format(base=base).encode(), around=around, pull=pull
    )
    with Checker(request) as checker:
        return checker.check()


def rules(found: Checked) -> set[str]:
    (file,) = found.files
    return {finding.rule.id for finding in file.advice.findings}


def test_nothing_is_said_of_a_base_that_nobody_knows(tmp_path, registry):
    found = checked(tmp_path, put_base(registry))
    assert not KNOWN & rules(found)
    assert registry.requests == []
    assert not (tmp_path / "store").exists()


def test_pull_fetches_the_base_and_looks_into_it(tmp_path, registry):
    base = put_base(registry)
    assert rules(checked(tmp_path, base, pull=True)) >= KNOWN
    registry.forget_requests()
    # What was fetched stays known without asking.
    assert rules(checked(tmp_path, base)) >= KNOWN
    assert registry.requests == []


def test_an_image_of_the_store_is_looked_into(tmp_path, registry):
    base = put_base(registry)
    pull_image(base, around_of(tmp_path))
    registry.forget_requests()
    assert rules(checked(tmp_path, base)) >= KNOWN
    assert registry.requests == []


def test_the_config_counts_where_the_layers_were_never_fetched(tmp_path, registry):
    base = put_base(registry)
    around = around_of(tmp_path)
    # As a build does that needs no file of it.
    with Registries(around) as registries, open_store(around.store) as store:
        policy = BasePolicy(None, locked=False, pull=False)
        find_base(store, registries, policy, base, host_platform())
    registry.forget_requests()
    text = "FROM {base}\nRUN echo ${{TEAM}}\n"
    (file,) = checked(tmp_path, base, text=text).files
    (stage,) = file.subject.stages
    assert (stage.begins.user, stage.begins.directory) == ("nonroot", "/srv")
    assert stage.begins.environment["TEAM"] == "core"
    assert (stage.facts.shell, stage.facts.users) == (None, None)
    assert registry.requests == []


def test_facts_of_files_and_config(tmp_path, registry):
    base = put_base(registry, Shell=["/bin/ash", "-c"], Entrypoint=["/tini", "--"])
    around = around_of(tmp_path)
    pull_image(base, around)
    with CheckStore(around.store) as store:
        found = Bases(store, around, host_platform()).facts_of(base)
        again = Bases(store, around, host_platform()).facts_of(base)
    assert again == found
    assert (found.family, found.libc, found.shell, found.packages) == ("", "glibc", False, "none")
    assert found.programs == {"wget"}
    assert found.users == {"root", "nonroot"}
    assert (found.ca, found.zones, found.tmp, found.has_go) == (False, True, False, False)
    assert (found.user, found.directory, found.release) == ("nonroot", "/srv", "debian buster")
    assert found.environment == (("PATH", "/usr/bin:/bin"), ("TEAM", "core"))
    assert (found.shell_form, found.entrypoint) == (("/bin/ash", "-c"), ("/tini", "--"))


def test_layers_are_read_once(tmp_path, registry, monkeypatch):
    base = put_base(registry)
    around = around_of(tmp_path)
    pull_image(base, around)
    first = rules(checked(tmp_path, base))

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("the layers were read again")

    monkeypatch.setattr("wherry.api.check_bases._read_layers", refuse)
    assert rules(checked(tmp_path, base)) == first


def test_a_cmd_is_no_program_where_the_base_has_an_entrypoint(tmp_path, registry):
    base = put_base(registry, Entrypoint=["/tini", "--"])
    pull_image(base, around_of(tmp_path))
    assert KNOWN - rules(checked(tmp_path, base)) == {"GO224"}


def test_an_image_with_triggers_is_not_known(tmp_path, registry):
    base = put_base(registry, OnBuild=["USER app"])
    pull_image(base, around_of(tmp_path))
    assert not KNOWN & rules(checked(tmp_path, base))


def test_a_registry_that_does_not_answer_is_told_with_pull_alone(tmp_path, registry):
    missing = f"{registry.host}/team/missing:1"
    found = checked(tmp_path, missing, pull=True)
    ((name, error),) = found.errors
    assert name == missing
    assert isinstance(error, NetworkError)
    assert not KNOWN & rules(found)
    assert checked(tmp_path, missing).errors == ()


@pytest.mark.parametrize("damage", ["state.db", "blobs"])
def test_a_damaged_store_means_the_table(tmp_path, registry, damage):
    base = put_base(registry)
    around = around_of(tmp_path)
    pull_image(base, around)
    if damage == "blobs":
        for path in (tmp_path / "store" / "blobs").rglob("*"):
            if path.is_file():
                path.chmod(0o600)
                path.write_bytes(b"x" * path.stat().st_size)
    else:
        (tmp_path / "store" / "state.db").write_bytes(b"no database")
    found = checked(tmp_path, base)
    assert not KNOWN & rules(found)
    assert found.errors == ()


def test_an_index_gives_the_image_for_this_machine(tmp_path, registry):
    files = {**FILES, "bin/sh": "#!"}
    samples = [
        image([layer(FILES)], settings=SETTINGS, platform=str(host_platform())),
        image([layer(files)], settings=SETTINGS, platform="linux/s390x"),
    ]
    registry.put_index("team/base", "1", samples)
    base = f"{registry.host}/team/base:1"
    assert rules(checked(tmp_path, base, pull=True)) >= KNOWN
    assert rules(checked(tmp_path, base)) >= KNOWN


def test_the_flag(tmp_path, registry, monkeypatch, capsys):
    base = put_base(registry)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WHERRY_STORE", str(tmp_path / "store"))
    Path("Dockerfile").write_text(DOCKERFILE.format(base=base))
    run_verb(["check", "--format", "json"])
    before = json.loads(capsys.readouterr().out)
    run_verb(["check", "--pull", "--format", "json"])
    after = json.loads(capsys.readouterr().out)
    told = [{item["rule"] for item in said["files"][0]["findings"]} for said in (before, after)]
    assert told[1] - told[0] == KNOWN
