# SPDX-License-Identifier: Apache-2.0
"""The verbs about registries as commands: what they print where, and their exit codes."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from certificates import Authority, Pair
from fault_registry import FaultRegistry, free_port
from registry_samples import Sample, image, layer, schema1
from token_realm import TokenRealm
from wherry.oci.platform import host_platform
from wherry_fixtures import Finished

HERE = str(host_platform())
OTHER = "linux/s390x"
SECRET = "the password of the tests"


@pytest.fixture
def registry() -> Iterator[FaultRegistry]:
    with FaultRegistry() as running:
        yield running


@pytest.fixture
def env(go_env: dict[str, str], home: Path, store: Path) -> dict[str, str]:
    """A whole environment in which nobody has signed in anywhere."""
    return {
        **go_env,
        "WHERRY_STORE": str(store),
        "DOCKER_CONFIG": str(home / "docker"),
        "XDG_RUNTIME_DIR": str(home / "run"),
        "XDG_CONFIG_HOME": str(home / "config"),
    }


@pytest.fixture
def run(env: dict[str, str], tmp_path: Path) -> Callable[..., Finished]:
    """`run("pull", ...)`: the command in `env`, with `stdin` and in `cwd` where they are given."""

    def start(*words: str, cwd: Path = tmp_path, stdin: str = "") -> Finished:
        return subprocess.run(
            [sys.executable, "-m", "wherry", *words],
            env=env, cwd=cwd, input=stdin, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip

    return start


def sample(seed: str = "x", platform: str = HERE, size: int = 20_000) -> Sample:
    return image([layer({f"etc/{seed}": seed}, size=size)], platform=platform)


def failed(done: Finished, code: int) -> str:
    """The error text of a command that has to fail with `code`; stdout must be empty."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "hint: " in done.stderr
    return done.stderr


# --- pull ---------------------------------------------------------------------------------------


def test_pull_prints_the_reference_and_nothing_else(
    registry: FaultRegistry, run: Callable[..., Finished]
) -> None:
    digest = registry.put_sample("team/app", "1.0", sample())
    done = run("pull", f"{registry.host}/team/app:1.0")
    assert (done.returncode, done.stdout) == (0, f"{registry.host}/team/app:1.0@{digest}\n")
    assert f"look up {registry.host}/team/app:1.0 ... done" in done.stderr
    (row,) = json.loads(run("images", "--json").stdout)
    assert (row["digest"], row["missing"]) == (digest, 0)


def test_pull_as_json_and_quietly(registry: FaultRegistry, run: Callable[..., Finished]) -> None:
    first, second = sample("a"), sample("b")
    registry.put_sample("team/a", "latest", first)
    registry.put_sample("team/b", "latest", second)
    names = [f"{registry.host}/team/{name}" for name in "ab"]
    done = run("pull", "-q", "--json", *names)
    assert done.stderr == ""
    results = json.loads(done.stdout)
    assert [item["digest"] for item in results] == [first.digest, second.digest]
    assert set(results[0]) == {"reference", "digest", "named", "size", "downloaded", "seconds"}
    assert results[0]["downloaded"] == len(first.blobs[1])
    again = json.loads(run("pull", "--json", *names).stdout)
    assert [item["downloaded"] for item in again] == [0, 0]


def test_pull_takes_the_platform_that_was_asked_for(
    registry: FaultRegistry, run: Callable[..., Finished]
) -> None:
    parts = [sample("here"), sample("other", OTHER)]
    whole = registry.put_index("team/app", "multi", parts)
    name = f"{registry.host}/team/app:multi"
    assert run("pull", name).stdout == f"{name}@{parts[0].digest}\n"
    assert run("pull", "--platform", OTHER, name).stdout == f"{name}@{parts[1].digest}\n"
    assert run("pull", "--all-platforms", name).stdout == f"{name}@{whole}\n"
    text = failed(run("pull", "--platform", "linux/riscv64", name), 2)
    assert HERE in text
    assert OTHER in text


def test_what_was_pulled_before_a_failure_is_printed(
    registry: FaultRegistry, run: Callable[..., Finished]
) -> None:
    digest = registry.put_sample("team/app", "1.0", sample())
    done = run("pull", f"{registry.host}/team/app:1.0", f"{registry.host}/team/app:1.1")
    assert done.returncode == 4
    assert done.stdout == f"{registry.host}/team/app:1.0@{digest}\n"
    assert "1.1" in done.stderr
    # Tags that are near.
    assert "1.0" in done.stderr.partition("hint:")[2]


def test_a_registry_that_is_not_there_is_a_network_error(run: Callable[..., Finished]) -> None:
    host = f"127.0.0.1:{free_port()}"
    assert host in failed(run("pull", f"{host}/a"), 4)


def test_schema_1_is_refused_by_name(registry: FaultRegistry, run: Callable[..., Finished]) -> None:
    registry.put_sample("team/app", "old", schema1())
    assert "schema 1" in failed(run("pull", f"{registry.host}/team/app:old"), 4)


def test_a_pull_that_is_stopped_says_so_with_its_code(
    registry: FaultRegistry, run: Callable[..., Finished], env: dict[str, str]
) -> None:
    registry.put_sample("team/app", "1.0", sample(size=200_000))
    held = threading.Event()
    registry.rule("GET", "/blobs/", hold=held)
    process = subprocess.Popen(
        [sys.executable, "-m", "wherry", "pull", f"{registry.host}/team/app:1.0"],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            deadline = time.monotonic() + 60
            while not registry.count("GET", "/blobs/"):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            out, told = process.communicate(timeout=30)
        finally:
            held.set()
            process.kill()
    assert (process.returncode, out) == (130, "")
    assert told.endswith("interrupted\n")
    registry.forget_rules()
    assert run("pull", "-q", f"{registry.host}/team/app:1.0").returncode == 0


# --- push ---------------------------------------------------------------------------------------


def test_push_sends_to_several_targets_and_knows_what_is_there(
    registry: FaultRegistry, run: Callable[..., Finished]
) -> None:
    digest = registry.put_sample("team/app", "1.0", sample())
    source = f"{registry.host}/team/app:1.0"
    run("pull", source)
    with FaultRegistry() as second:
        targets = [f"{second.host}/a/b:1", f"{second.host}/a/b:2", f"{registry.host}/copy:1"]
        done = run("push", source, *targets)
        assert done.stdout.splitlines() == [f"{target}@{digest}" for target in targets]
        told = done.stderr.splitlines()[-2:]
        assert re.fullmatch(
            rf"pushed to {targets[0]}, {targets[1]} \(2\d\.\d kB sent\)", told[0]
        )  # fmt: skip
        assert re.fullmatch(
            rf"pushed to {targets[2]} \(\d+ B sent, 2 blobs mounted\)", told[1]
        )  # fmt: skip
        assert second.tags("a/b") == {"1": digest, "2": digest}
        assert registry.tags("copy") == {"1": digest}
        again = run("push", "--json", "--progress", "json", source, *targets)
        assert [item["unchanged"] for item in json.loads(again.stdout)] == [True] * 3
        assert [item["reference"] for item in json.loads(again.stdout)] == [
            f"{target}@{digest}" for target in targets
        ]
        assert all(json.loads(line)["event"] for line in again.stderr.splitlines())
        assert run("push", "-q", source, targets[0]).stderr == ""


def test_push_without_a_target_goes_to_the_images_own_name(
    registry: FaultRegistry, run: Callable[..., Finished]
) -> None:
    digest = registry.put_sample("team/app", "1.0", sample())
    run("pull", f"{registry.host}/team/app:1.0")
    with FaultRegistry() as second:
        name = f"{second.host}/team/app:1.0"
        run("tag", f"{registry.host}/team/app:1.0", name)
        assert run("push", name).stdout == f"{name}@{digest}\n"
        assert second.tags("team/app") == {"1.0": digest}
    assert name.partition("/")[0] in failed(run("push", name), 4)


# --- inspect ------------------------------------------------------------------------------------


def test_inspect_prints_the_manifest_to_the_byte(
    registry: FaultRegistry, env: dict[str, str]
) -> None:
    parts = [sample("here"), sample("other", OTHER)]
    for part in parts:
        registry.put_sample("team/app", "", part)
    entries = [
        {**part.descriptor, "platform": dict(zip(("os", "architecture"), place.split("/"),
                                                 strict=False))}
        for part, place in zip(parts, (HERE, OTHER), strict=True)
    ]  # fmt: skip
    kind = "application/vnd.oci.image.index.v1+json"
    text = json.dumps({"manifests": entries, "schemaVersion": 2, "mediaType": kind}, indent=1)
    data = f"\r\n{text}\r\n \n".encode()
    digest = registry.put_manifest("team/app", "odd", data, kind)

    def inspect(*words: str) -> bytes:
        done = subprocess.run(
            [sys.executable, "-m", "wherry", "inspect", "--raw", *words],
            env=env,
            capture_output=True, timeout=120, check=True,
        )  # fmt: skip
        assert done.stderr == b""
        return done.stdout

    name = f"{registry.host}/team/app:odd"
    assert inspect(name) == data
    assert inspect(f"{registry.host}/team/app@{digest}") == data
    assert inspect("--platform", OTHER, name) == parts[1].data


# --- login and logout ---------------------------------------------------------------------------


def test_login_is_tried_before_it_is_kept_and_then_holds(
    run: Callable[..., Finished], home: Path
) -> None:
    with FaultRegistry(bearer=TokenRealm({"boatman": SECRET})) as registry:
        digest = registry.put_sample("team/app", "1.0", sample())
        name = f"{registry.host}/team/app:1.0"
        words = ("login", "-u", "boatman", "--password-stdin", registry.host)
        assert f"wherry login {registry.host}" in failed(run("pull", name), 4)

        wrong = run(*words, stdin="wrong-secret\n")
        assert "wrong-secret" not in failed(wrong, 4)
        assert not (home / "docker" / "config.json").exists()

        right = run(*words, stdin=f"{SECRET}\n")
        assert (right.returncode, right.stdout) == (0, "")
        assert f"signed in to {registry.host} as boatman; kept in {home}" in right.stderr
        assert SECRET not in right.stderr
        assert run("pull", "-q", name).stdout == f"{name}@{digest}\n"

        assert run("logout", registry.host).stderr == f"signed out of {registry.host}\n"
        assert run("logout", registry.host).stderr == f"was not signed in to {registry.host}\n"
        assert run("logout", "-q", registry.host).stderr == ""
        failed(run("pull", name), 4)


def test_the_end_of_the_line_is_no_part_of_a_password(run: Callable[..., Finished]) -> None:
    with FaultRegistry(basic=("boatman", SECRET)) as registry:
        words = ("login", "-q", "-u", "boatman", "--password-stdin", f"{registry.url}/v2/")
        for end in ("", "\n", "\r\n"):
            done = run(*words, stdin=SECRET + end)
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        # A key file for a password has lines of its own: only the last line's end is taken off.
        assert SECRET not in failed(run(*words, stdin=f"{SECRET}\n\n"), 4)


# --- certificates -------------------------------------------------------------------------------


def test_a_project_s_certificates_are_good_for_what_is_asked_anonymously(
    authority: Authority,
    server_certificate: Pair,
    run: Callable[..., Finished],
    home: Path,
    tmp_path: Path,
) -> None:
    """Else a cloned repository could have passwords sent to whoever sits on the network."""
    (tmp_path / "wherry.toml").write_text(f'[registry]\nca = ["{authority.file}"]\n')
    with FaultRegistry(tls=server_certificate) as open_to_all:
        digest = open_to_all.put_sample("team/app", "1.0", sample())
        name = f"{open_to_all.host}/team/app:1.0"
        assert run("pull", "-q", name).stdout == f"{name}@{digest}\n"
    with FaultRegistry(tls=server_certificate, basic=("boatman", SECRET)) as registry:
        registry.put_sample("team/app", "1.0", sample())
        name = f"{registry.host}/team/app:1.0"
        words = ("login", "-q", "-u", "boatman", "--password-stdin", registry.host)
        assert "--ca" in failed(run(*words, stdin=SECRET), 4)
        assert run(*words, "--ca", authority.file, stdin=SECRET).returncode == 0
        registry.forget_requests()
        told = failed(run("pull", name), 4)
        assert "--ca" in told
        assert not any(seen.authorized for seen in registry.requests)
        assert run("pull", "-q", name, "--ca", authority.file).returncode == 0


def test_a_private_authority_is_trusted_by_its_file(
    authority: Authority,
    server_certificate: Pair,
    run: Callable[..., Finished],
    tmp_path: Path,
) -> None:
    with FaultRegistry(tls=server_certificate) as registry:
        digest = registry.put_sample("team/app", "1.0", sample())
        name = f"{registry.host}/team/app:1.0"
        text = failed(run("pull", name), 4)
        assert "--ca" in text
        (tmp_path / "ca.pem").write_bytes(Path(authority.file).read_bytes())
        assert run("pull", "--ca", "ca.pem", name, cwd=tmp_path).stdout == f"{name}@{digest}\n"
        assert "none.pem" in failed(run("inspect", "--raw", "--ca", "none.pem", name), 2)


# --- build and lock -----------------------------------------------------------------------------


def test_a_build_on_a_base_of_a_registry_is_pushed_lazily_and_completed(
    registry: FaultRegistry, run: Callable[..., Finished], module: Callable[..., Path]
) -> None:
    base = sample("base", size=300_000)
    registry.put_sample("base", "12", base)
    registry.forget_requests()
    source, name = module(), f"{registry.host}/shop/m:1"
    done = run("build", "--base", f"{registry.host}/base:12", "--push", "-t", name, cwd=source)
    assert done.returncode == 0, done.stderr
    digest = done.stdout.strip().partition("@")[2]
    assert done.stdout == f"{name}@{digest}\n"
    assert registry.tags("shop/m") == {"1": digest}
    first, _, last = done.stderr.splitlines()[-3:]
    assert re.match(rf"{name}  \d+\.\d [kM]B compressed, m \d\.\d MB unpacked; built in ", first)
    assert re.fullmatch(rf"pushed to {name} \(.* sent, 1 blob mounted\)", last)
    layer_path = f"/blobs/{base.document['layers'][0]['digest']}"  # type: ignore[index]
    assert registry.count("GET", layer_path) == 0

    again = run("build", "--base", f"{registry.host}/base:12", "--push", "-t", name, "--json",
                cwd=source)  # fmt: skip
    result = json.loads(again.stdout)
    assert (result["digest"], result["unpacked"]) == (digest, None)
    assert [item["unchanged"] for item in result["pushed"]] == [True]
    assert result["reused"]

    assert re.search(r"lazy: 30\d\.\d kB elsewhere", run("images").stdout)
    full = run("pull", "--full")
    assert full.stdout == f"{name}@{digest}\n"
    assert registry.count("GET", layer_path) == 1
    assert "lazy" not in run("images").stdout
    assert run("pull", "--full").stdout == ""


def test_an_output_of_type_registry_pushes_to_its_own_names(
    registry: FaultRegistry, run: Callable[..., Finished], module: Callable[..., Path]
) -> None:
    source, host = module(), registry.host
    spec = f'type=registry,"name={host}/a:1,{host}/b:2"'
    done = run("build", "--base", "scratch", "-t", "m", "-o", spec, cwd=source)
    assert done.returncode == 0, done.stderr
    digest = done.stdout.strip().partition("@")[2]
    assert (registry.tags("a"), registry.tags("b")) == ({"1": digest}, {"2": digest})
    assert [row["name"] for row in json.loads(run("images", "--json").stdout)] == ["m:latest"]
    stays = run("build", "--base", "scratch", "-t", "m", "-o", "type=image", cwd=source)
    assert stays.returncode == 0, stays.stderr
    assert "written to" not in stays.stderr
    refused = run("build", "--base", "scratch", "--push", cwd=source)
    assert "-t " in failed(refused, 2)


def test_lock_writes_what_a_locked_build_goes_by(
    registry: FaultRegistry, run: Callable[..., Finished], module: Callable[..., Path]
) -> None:
    old = registry.put_sample("base", "12", sample("old"))
    source = module()
    (source / "wherry.toml").write_text(f'[build]\nbase = "{registry.host}/base:12"\n')
    assert "wherry lock" in failed(run("build", "--locked", cwd=source), 1)

    done = run("lock", cwd=source)
    assert (done.returncode, done.stdout) == (0, f"{source}/wherry.lock\n"), done.stderr
    assert f"{registry.host}/base:12: sha256:{old[7:19]}" in done.stderr
    assert old in (source / "wherry.lock").read_text()
    assert "nothing changed" in run("lock", cwd=source).stderr

    new = registry.put_sample("base", "12", sample("new"))
    assert run("build", "--locked", "-q", cwd=source).returncode == 0
    assert old in (source / "wherry.lock").read_text()
    value = json.loads(run("lock", "--update", f"{registry.host}/base:12", "--json",
                           cwd=source).stdout)  # fmt: skip
    assert value["path"] == f"{source}/wherry.lock"
    assert len(value["changed"]) == 1
    assert new in (source / "wherry.lock").read_text()
    assert "did you mean" in failed(
        run("lock", "--update", f"{registry.host}/bas:12", cwd=source), 2
    )
