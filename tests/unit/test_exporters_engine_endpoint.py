# SPDX-License-Identifier: Apache-2.0
"""Where engines are looked for."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from wherry.errors import UsageError
from wherry.exporters.engine_endpoint import Endpoint, Material, endpoints


def write_context(
    home: Path, name: str, host: str, *, tls: bool = False, current: bool = False
) -> None:
    digest = hashlib.sha256(name.encode()).hexdigest()
    meta = home / ".docker" / "contexts" / "meta" / digest
    meta.mkdir(parents=True)
    value = {"Name": name, "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": False}}}
    (meta / "meta.json").write_text(json.dumps(value))
    if tls:
        files = home / ".docker" / "contexts" / "tls" / digest / "docker"
        files.mkdir(parents=True)
        for file in ("ca.pem", "cert.pem", "key.pem"):
            (files / file).touch()
    if current:
        (home / ".docker" / "config.json").write_text(json.dumps({"currentContext": name}))


def only(env: dict[str, str], context: str = "") -> Endpoint:
    (found,) = endpoints(env, 1000, context)
    return found


def test_the_usual_sockets_docker_s_first(tmp_path: Path) -> None:
    found = endpoints({"HOME": str(tmp_path)}, 1000)
    assert [item.path for item in found] == [
        "/var/run/docker.sock",
        "/run/user/1000/docker.sock",
        f"{tmp_path}/.docker/run/docker.sock",
        f"{tmp_path}/.docker/desktop/docker.sock",
        "/run/user/1000/podman/podman.sock",
        "/run/podman/podman.sock",
    ]
    assert {item.named_by for item in found} == {""}


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("unix:///a/b.sock", Endpoint(path="/a/b.sock", named_by="DOCKER_HOST")),
        ("tcp://engine.example.com:9", Endpoint("", "engine.example.com", 9, None, "DOCKER_HOST")),
        ("tcp://10.0.0.1", Endpoint("", "10.0.0.1", 2375, None, "DOCKER_HOST")),
        ("tcp://[::1]:7", Endpoint("", "::1", 7, None, "DOCKER_HOST")),
        ("https://e", Endpoint("", "e", 2376, Material(), "DOCKER_HOST")),
    ],
)
def test_addresses_as_docker_writes_them(address: str, wanted: Endpoint) -> None:
    assert only({"HOME": "/none", "DOCKER_HOST": address}) == wanted


def test_tls_from_the_environment(tmp_path: Path) -> None:
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (tmp_path / name).touch()
    env = {"DOCKER_HOST": "tcp://e", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(tmp_path)}
    found = only(env)
    assert found.port == 2376
    assert found.material == Material(*(f"{tmp_path}/{n}.pem" for n in ("ca", "cert", "key")))


def test_who_names_an_engine_first_counts(tmp_path: Path) -> None:
    write_context(tmp_path, "remote", "tcp://r:1", tls=True, current=True)
    write_context(tmp_path, "other", "unix:///other.sock")
    env = {"HOME": str(tmp_path)}
    assert only(env).host == "r"
    assert only(env).material is not None
    env["CONTAINER_HOST"] = "unix:///podman.sock"
    assert only(env).path == "/podman.sock"
    env["DOCKER_CONTEXT"] = "other"
    assert only(env).path == "/other.sock"
    env["DOCKER_HOST"] = "unix:///host.sock"
    assert only(env).path == "/host.sock"
    assert only(env, "remote").host == "r"


def test_the_default_context_is_the_usual_socket(tmp_path: Path) -> None:
    assert only({"HOME": str(tmp_path)}, "default").path == "/var/run/docker.sock"


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"DOCKER_HOST": "/var/run/docker.sock"}, "it has no scheme"),
        ({"DOCKER_HOST": "npipe:////./pipe/x"}, "not an engine's address"),
        ({"DOCKER_HOST": "tcp://host:port"}, "not an engine's address"),
        ({"DOCKER_HOST": "tcp://h/path"}, "more than a host and a port"),
        ({"DOCKER_HOST": "ssh://root@h"}, "through ssh"),
        ({"DOCKER_CONTEXT": "remot"}, "did you mean 'remote'?"),
    ],
)
def test_what_cannot_be_used_is_told(tmp_path: Path, env: dict[str, str], words: str) -> None:
    write_context(tmp_path, "remote", "tcp://r:1")
    with pytest.raises(UsageError) as caught:
        endpoints({"HOME": str(tmp_path), **env}, 1000)
    assert words in str(caught.value)
    assert caught.value.hint


def test_a_password_in_an_address_is_not_told() -> None:
    with pytest.raises(UsageError) as caught:
        endpoints({"DOCKER_HOST": "tcp://user:secret@host:1"}, 1000)
    assert "secret" not in str(caught.value)


def test_a_damaged_configuration_of_docker_is_none(tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text("{")
    assert len(endpoints({"HOME": str(tmp_path)}, 1000)) == 6
