# SPDX-License-Identifier: Apache-2.0
"""Secrets, logins and transport through the whole command, against servers that want to know more.

Every command here is started by `Person.run`, which looks for every secret of this file in what the
command printed and in all that it stored.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from certificates import Authority, Pair
from fault_registry import FaultRegistry
from registry_samples import image, layer
from registry_servers import Server
from token_realm import Grant, TokenRealm
from wherry.oci.platform import host_platform
from wherry_fixtures import Finished

USER = "boatman"
PASSWORD = 'oar & "pole"/7+ü of the tests'
IDENTITY = "identity/token+of-the-tests"
REGISTRY_TOKEN = "registry-token-of-the-tests"
SIGNATURE = "5ignature0fTheTests"
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
SECRETS = {
    *(PASSWORD, json.dumps(PASSWORD)[1:-1], quote(PASSWORD, safe=""), quote_plus(PASSWORD), BASIC),
    *(IDENTITY, quote(IDENTITY, safe=""), REGISTRY_TOKEN, SIGNATURE),
}
SAMPLE = image([layer({"etc/a": "b"}, size=60_000)], platform=str(host_platform()))
LAYER = str(SAMPLE.document["layers"][0]["digest"])  # type: ignore[index] # a manifest has layers
# No answer of a server that is to be waited out.
AT_ONCE = {"Retry-After": "600"}


class Person:
    """Somebody with a home, credentials and settings, who runs the command."""

    def __init__(self, root: Path, path: str) -> None:
        self.root = root
        self.bin = root / "bin"
        self.store = root / "store"
        self.docker = root / "docker" / "config.json"
        self.settings = root / "config" / "wherry" / "config.toml"
        for directory in (self.bin, self.docker.parent, self.settings.parent):
            directory.mkdir(parents=True)
        self.env = {
            "PATH": f"{self.bin}:{path}", "HOME": str(root), "LC_ALL": "C.UTF-8",
            "WHERRY_STORE": str(self.store), "DOCKER_CONFIG": str(self.docker.parent),
            "XDG_CONFIG_HOME": str(root / "config"), "XDG_RUNTIME_DIR": str(root / "run"),
        }  # fmt: skip

    def has(self, kind: str, *hosts: str) -> None:
        """Keep credentials of a kind for these registries."""
        entry = {
            "password": {"auth": BASIC},
            "wrong": {"auth": base64.b64encode(f"{USER}:{SIGNATURE}".encode()).decode()},
            "identity": {"auth": base64.b64encode(f"{USER}:".encode()).decode(),
                         "identitytoken": IDENTITY},
            "registry token": {"registrytoken": REGISTRY_TOKEN},
        }  # fmt: skip
        if kind == "helper":
            self.helper("x", f"cat >/dev/null; printf '%s' '{_answer()}'")
            self.keep({"credHelpers": dict.fromkeys(hosts, "x")})
        else:
            self.keep({"auths": {host: entry[kind] for host in hosts}})

    def keep(self, config: object) -> None:
        self.docker.write_text(json.dumps(config))

    def helper(self, name: str, script: str) -> None:
        """Install `docker-credential-NAME`; the script finds the verb in $1."""
        path = self.bin / f"docker-credential-{name}"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def run(
        self, *words: str, stdin: str = "", cwd: Path | None = None, program: str = "",
        **more: str,
    ) -> Finished:  # fmt: skip
        """Run the command, or a `program` with its words, and look for secrets afterwards."""
        start = ("-c", program) if program else ("-m", "wherry")
        done = subprocess.run(
            [sys.executable, *start, *words], env={**self.env, **more}, cwd=cwd or self.root,
            input=stdin, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert leaks(done.stdout + done.stderr) == []
        for path in self.store.rglob("*"):
            assert not path.is_file() or leaks(path.read_bytes().decode("latin-1")) == []
        return done

    def fails(self, code: int, *words: str, **more: str) -> str:
        """Run the command, which has to fail in good order; what it told."""
        done = self.run(*words, **more)  # type: ignore[arg-type] # environment variables only
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert "Traceback" not in done.stderr
        assert "error: " in done.stderr
        return done.stderr


def leaks(text: str) -> list[str]:
    """The secrets in a text, which may be bytes taken for Latin-1."""
    forms = {*SECRETS, *(secret.encode().decode("latin-1") for secret in SECRETS)}
    return [secret for secret in forms if secret in text]


def _answer(secret: str = PASSWORD) -> str:
    return json.dumps({"ServerURL": "", "Username": USER, "Secret": secret})


def echo(*words: str) -> bytes:
    """An error of a server that repeats what it was told."""
    message = f"you sent {' '.join(words)} as in https://a.test/b?s={SIGNATURE} and /v2/?x={SIGNATURE}&y"
    error = {"code": "ECHO", "message": message, "detail": {"sent": words}}
    return json.dumps({"errors": [error]}).encode()


def realm(**options: object) -> TokenRealm:
    made = TokenRealm({USER: PASSWORD}, identity_tokens={IDENTITY: USER}, **options)  # type: ignore[arg-type]
    rights = {(name, do) for name in ("team/app", "copy") for do in ("pull", "push")}
    made.grants[REGISTRY_TOKEN] = Grant(USER, frozenset(rights), time.time() + 600)
    return made


@pytest.fixture
def person(tmp_path: Path) -> Person:
    return Person(tmp_path / "person", os.environ["PATH"])


@pytest.fixture
def registry() -> Iterator[FaultRegistry]:
    """One that wants tokens."""
    with FaultRegistry(bearer=realm()) as running:
        running.put_sample("team/app", "1", SAMPLE)
        yield running


@pytest.fixture
def other() -> Iterator[FaultRegistry]:
    """Another one, which differs in its port."""
    with FaultRegistry() as running:
        running.put_sample("team/app", "1", SAMPLE)
        yield running


def app(registry: FaultRegistry | Server, scheme: str = "") -> str:
    return f"{scheme}{registry.host}/team/app:1"


def uninvited(registry: FaultRegistry) -> list[str]:
    """What a server got to see that it has no business with."""
    private = ("authorization", "cookie", "proxy-authorization")
    return [f"{seen.method} {seen.path}" for seen in registry.requests
            if any(name in seen.headers for name in private)]  # fmt: skip


# --- what is told ---------------------------------------------------------------------------------

SENT = {
    "password": (PASSWORD, BASIC),
    "helper": (PASSWORD, quote_plus(PASSWORD)),
    "identity": (IDENTITY, quote(IDENTITY, safe="")),
    "registry token": (REGISTRY_TOKEN,),
}


@pytest.mark.parametrize("kind", SENT)
def test_a_server_that_repeats_what_it_was_sent(
    person: Person, registry: FaultRegistry, other: FaultRegistry, kind: str
) -> None:
    person.has(kind, registry.host)
    said = {"body": echo(*SENT[kind]), "headers": AT_ONCE}
    for number, status in enumerate((400, 403, 500)):
        rule = registry.rule("GET", "/manifests/", skip=1, times=9, status=status, **said)
        progress = ("plain", "json", "plain")[number]
        told = person.fails(4, "pull", "--json", "--progress", progress, app(registry))
        assert rule.used
        assert "ECHO: you sent xxxxx" in told
        registry.forget_rules()
    if kind != "registry token":
        registry.rule("", "^/token", status=401, **said)
        assert f"asked as user {USER}" in person.fails(4, "pull", app(registry)) or kind == "identity"
        registry.forget_rules()
    person.run("pull", app(registry))
    for path in ("/uploads/", "/manifests/"):
        registry.rule("POST", "mount=", mount_refused=True)
        rule = registry.rule("PUT", path, status=400, **said)
        told = person.fails(4, "push", app(registry), f"{registry.host}/copy:1")
        assert rule.used
        assert "ECHO: you sent xxxxx" in told
        registry.forget_rules()


# --- where credentials go -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["password", "identity"])
def test_redirects_to_another_port_carry_nothing(
    person: Person, registry: FaultRegistry, other: FaultRegistry, kind: str
) -> None:
    person.has(kind, registry.host, other.host)
    cookies = {"Set-Cookie": f"session={SIGNATURE}; Path=/"}
    signed = {"redirect": f"{other.url}{{path}}?X-Amz-Signature={SIGNATURE}", "headers": cookies}
    registry.rule("GET", "/blobs/", skip=1, **signed)
    person.run("pull", app(registry), cwd=None)
    assert other.count("GET", "/blobs/.*Signature") >= 1
    # The other end fails, and says what it was asked.
    for fault in ({"status": 403}, {"status": 500}, {"status": 404}):
        for path in person.store.glob("blobs/*/*"):
            path.unlink()
        body = echo(f"GET /blob?X-Amz-Signature={SIGNATURE} {SIGNATURE}")
        other.rule("GET", "/blobs/", **{"body": body, "headers": AT_ONCE, **fault})
        person.fails(4, "pull", "--progress", "json", app(registry))
        other.forget_rules()
    registry.forget_rules()
    assert person.run("pull", app(registry)).returncode == 0
    # Uploads: redirected, or said to go on elsewhere.
    other.rule("PUT", "^/elsewhere", status=201)
    for rule in (
        {"method": "PUT", "redirect": f"{other.url}/elsewhere?sig={SIGNATURE}"},
        {"method": "POST", "headers": {"Location": f"{other.url}/elsewhere?sig={SIGNATURE}"}},
    ):
        registry.rule("POST", "mount=", mount_refused=True, headers=rule.get("headers", {}))
        registry.rule(rule.pop("method"), "/blobs/uploads/", **rule)
        # What went elsewhere is missing in the end.
        person.run("push", app(registry), f"{registry.host}/copy:1")
        assert other.count("PUT", f"^/elsewhere.*{SIGNATURE}")
        other.forget_requests()
        registry.forget_rules()
        registry.contents.repositories.pop("copy", None)
    assert uninvited(other) == []
    if kind == "password":
        registry.rule("GET", "^/token", redirect=f"{other.url}/token")
        person.fails(4, "pull", app(registry))
        assert other.count("GET", "^/token") == 1
        assert uninvited(other) == []
    if kind == "identity":
        registry.rule("POST", "^/token", redirect=f"{other.url}/token")
        person.fails(4, "pull", app(registry))
        assert other.count("", "^/token") == 0


def test_redirects_that_are_not_followed(
    person: Person, registry: FaultRegistry, other: FaultRegistry, server_certificate: Pair,
    authority: Authority,
) -> None:  # fmt: skip
    person.has("password", registry.host, other.host)
    for target in (
        f"http://{USER}:{quote(PASSWORD, safe='')}@{other.host}/{SIGNATURE}",
        f"http://{USER}@{other.host}/{SIGNATURE}",
        f"ftp://{other.host}/{SIGNATURE}",
        f"http://192.0.2.1/{SIGNATURE}?{SIGNATURE}={SIGNATURE}",
    ):
        registry.rule("GET", "/blobs/", redirect=target)
        person.fails(4, "pull", app(registry))
        registry.forget_rules()
    assert other.requests == []
    with FaultRegistry(tls=server_certificate) as secure:
        secure.put_sample("team/app", "1", SAMPLE)
        person.has("password", secure.host)
        secure.rule("GET", "/blobs/", redirect=f"{other.url}{{path}}?sig={SIGNATURE}")
        told = person.fails(4, "pull", "--ca", authority.file, app(secure))
        assert "not encrypted" in told
        secure.forget_rules()
        person.run("pull", "--ca", authority.file, app(secure))
        location = {"Location": f"http://{secure.host}/v2/copy/blobs/uploads/1?_state={SIGNATURE}"}
        secure.rule("POST", "/uploads/", status=202, headers=location)
        target = f"{secure.host}/copy:1"
        assert "https to http" in person.fails(
            4, "push", "--ca", authority.file, app(secure), target
        )
    assert other.requests == []


_CRASH = """
import sys
import wherry.registry.client, wherry.registry.credentials, wherry.registry.login
import wherry.transport.http
def crash(*args, **words):
    raise RuntimeError("a fault of the test")
*place, name = sys.argv.pop(1).split(".")
at = sys.modules[".".join(place)] if ".".join(place) in sys.modules else None
at = at or getattr(sys.modules[".".join(place[:-1])], place[-1])
assert hasattr(at, name)
setattr(at, name, crash)
from wherry.cli.main import main
main()
"""
_GONE = {"method": "GET", "path": "/blobs/", "redirect": f"http://127.0.0.1:1/?sig={SIGNATURE}"}
_ECHO = {"method": "GET", "path": "/manifests/", "skip": 1, "status": 400,
         "body": echo(PASSWORD, BASIC)}  # fmt: skip


@pytest.mark.parametrize(
    ("where", "rule"),
    [
        ("wherry.transport.http.Transport._urlopen", {}),
        ("wherry.transport.framing.Answer.receive", {}),
        ("wherry.transport.wire.not_connected", _GONE),
        ("wherry.transport.http.unanswered", {**_GONE, "redirect": "", "hang_up": True}),
        ("wherry.transport.redirects.check_plain", _GONE),
        ("wherry.registry.problems.read_answer", _ECHO),
        ("wherry.registry.problems._problem", _ECHO),
        ("wherry.registry.auth.get_request", {}),
        ("wherry.registry.auth.read_token", {}),
        ("wherry.registry.tokens._useless", {"method": "GET", "path": "^/token", "status": 200,
                                             "body": echo(PASSWORD)[:-3]}),
        ("wherry.registry.keychain.Kept.__new__", {}),
    ],
)  # fmt: skip
def test_a_fault_of_its_own_shows_no_secret(
    person: Person, registry: FaultRegistry, where: str, rule: Mapping[str, object]
) -> None:
    """A traceback comes with the texts of all errors that were on their way."""
    person.has("helper", registry.host)
    if rule:
        registry.rule(**rule)  # type: ignore[arg-type] # as they stand above
    done = person.run(where, "pull", "--progress", "json", "--json", app(registry), program=_CRASH)
    assert (done.returncode, done.stdout) == (5, "")
    assert "RuntimeError: a fault of the test" in done.stderr
    assert "Traceback" in done.stderr
