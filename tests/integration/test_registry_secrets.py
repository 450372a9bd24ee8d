# SPDX-License-Identifier: Apache-2.0
"""Secrets, logins and transport through the whole command, against servers that want to know more.

Every command here is started by `Person.run`, which looks for every secret of this file in what the
command printed and in all that it stored.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from attacks import descendants_alive
from certificates import Authority, Pair
from fault_registry import FaultRegistry, free_port
from registry_samples import image, layer
from registry_servers import Server, docker_registry_server, running
from registry_tools import needs_skopeo, output_of
from token_realm import Grant, TokenRealm
from transport_servers import saying
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
        assert "error: " in done.stderr or '"event":"error"' in done.stderr
        return done.stderr


def leaks(text: str) -> list[str]:
    """The secrets in a text, which may be bytes taken for Latin-1."""
    forms = {*SECRETS, *(secret.encode().decode("latin-1") for secret in SECRETS)}
    return [secret for secret in forms if secret in text]


def _answer(secret: str = PASSWORD) -> str:
    return json.dumps({"ServerURL": "", "Username": USER, "Secret": secret})


def echo(*words: str) -> bytes:
    """An error of a server that repeats what it was told."""
    message = (
        f"you sent {' '.join(words)} as in https://a.test/b?s={SIGNATURE} and /v2/?x={SIGNATURE}&y"
    )
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
        assert (
            f"asked as user {USER}" in person.fails(4, "pull", app(registry)) or kind == "identity"
        )
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
    for fault in ({"status": 403}, {"status": 500}):
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


class _Abroad:
    """The servers of this machine under its address that is not loopback."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> _Abroad:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def lead_to(self, registry: FaultRegistry) -> str:
        """Listen there for `registry`; gives `host:port`."""
        listener = socket.create_server((self._address, 0))
        threading.Thread(target=self._accept, args=(listener, registry.port), daemon=True).start()
        self._closing.callback(listener.close)
        self._closing.callback(listener.shutdown, socket.SHUT_RDWR)
        return f"{self._address}:{listener.getsockname()[1]}"

    def _accept(self, listener: socket.socket, port: int) -> None:
        with contextlib.suppress(OSError):
            while True:
                near = listener.accept()[0]
                far = socket.create_connection(("127.0.0.1", port))
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=_pass_on, args=pair, daemon=True).start()
                self._closing.callback(near.close)
                self._closing.callback(far.close)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def abroad() -> Iterator[_Abroad]:
    """Skipped where the machine has no address but loopback's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
            address = probe.getsockname()[0]
        except OSError as error:
            pytest.skip(f"this machine has no address but loopback's: {error}")
    with _Abroad(address) as found:
        yield found


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
def test_passwords_go_over_plain_http_where_the_user_says_so_and_nobody_else(
    person: Person, abroad: _Abroad, other: FaultRegistry, scheme: str
) -> None:
    tokens = realm()
    wants = {"basic": (USER, PASSWORD)} if scheme == "basic" else {"bearer": tokens}
    with FaultRegistry(**wants) as registry:  # type: ignore[arg-type] # one of the two
        registry.put_sample("team/app", "1", SAMPLE)
        private, public = abroad.lead_to(registry), abroad.lead_to(other)
        tokens.realm = f"http://{private}/token"
        person.has("password", private)
        login = ("login", "-u", USER, "--password-stdin", private)
        person.fails(4, "pull", f"{public}/team/app:1")
        assert other.requests == registry.requests == []
        settings = f'[registry]\ninsecure = ["{private}", "{public}"]\n'
        (person.root / "go.mod").write_text("module m\n")
        (person.root / "wherry.toml").write_text(settings)
        assert person.run("pull", f"{public}/team/app:1").returncode == 0
        for words in (("pull", f"{private}/team/app:1"),
                      ("push", f"{public}/team/app:1", f"{private}/copy:1")):  # fmt: skip
            assert "in your own config.toml" in person.fails(4, *words)
        person.fails(4, *login, stdin=PASSWORD)
        assert registry.requests != []
        assert uninvited(registry) == []
        (person.root / "wherry.toml").unlink()
        person.settings.write_text(settings)
        assert person.run("pull", f"{private}/team/app:1").returncode == 0
        assert person.run(*login, stdin=PASSWORD).returncode == 0
        assert uninvited(registry) != []


# --- certificates ---------------------------------------------------------------------------------


def test_trust_comes_from_the_flag_the_settings_or_the_environment(
    person: Person, authority: Authority, tmp_path: Path
) -> None:
    pair = authority.issue("one", hosts=("one.localhost",))
    strange = Authority(tmp_path / "strange")
    with FaultRegistry(tls=pair) as server:
        server.put_sample("team/app", "1", SAMPLE)
        name = f"one.localhost:{server.port}/team/app:1"
        assert "--ca FILE" in person.fails(4, "pull", name)
        assert person.run("pull", "--ca", authority.file, name).returncode == 0
        assert person.run("pull", name, SSL_CERT_FILE=authority.file).returncode == 0
        person.fails(4, "pull", name, SSL_CERT_FILE=strange.file)
        (person.root / "go.mod").write_text("module m\n")
        (person.root / "ca.pem").write_bytes(Path(authority.file).read_bytes())
        (person.root / "wherry.toml").write_text('[registry]\nca = ["ca.pem"]\n')
        below = person.root / "below"
        below.mkdir()
        assert person.run("pull", name, cwd=below).returncode == 0
        another = name.replace("one.", "two.")
        assert "another name" in person.fails(4, "pull", another)


def test_a_server_on_this_machine_with_bad_tls_is_told_at_once(
    person: Person, authority: Authority, server_certificate: Pair, tmp_path: Path
) -> None:
    """It must not be taken for one that speaks plain HTTP after all, and be waited for."""
    mine = authority.issue("client", hosts=("client.test",))
    stranger = Authority(tmp_path / "strange").issue("client", hosts=("client.test",))
    with FaultRegistry(tls=server_certificate, client_ca=authority.file) as server:
        server.put_sample("team/app", "1", SAMPLE)

        def told(pair: Pair | None, code: int = 4) -> str:
            lines = f'"{server.host}" = {{ cert = "{pair[0]}", key = "{pair[1]}" }}' if pair else ""
            person.settings.write_text(f"[registry.client-certificates]\n{lines}\n")
            done = person.run("pull", "--ca", authority.file, app(server))
            assert done.returncode == code, done.stderr
            assert "trying again" not in done.stderr
            return done.stderr

        for pair in (None, stranger):
            assert "[registry.client-certificates]" in told(pair)
        told(mine, 0)
        # It is for this server only, not for where that leads.
        with FaultRegistry(tls=server_certificate, client_ca=authority.file) as second:
            for path in person.store.glob("blobs/*/*"):
                path.unlink()
            server.rule("GET", "/blobs/", redirect=f"{second.url}{{path}}")
            assert second.host in told(mine)
            assert second.requests == []
    words = ["openssl", "s_server", "-accept", "127.0.0.1:0", "-tls1", "-www", "-cipher",
             "ALL:@SECLEVEL=0", "-cert", server_certificate.certificate,
             "-key", server_certificate.key]  # fmt: skip
    with running(words, tmp_path / "log", r"ACCEPT 127\.0\.0\.1:(\d+)") as port:
        done = person.run("pull", "--ca", authority.file, f"127.0.0.1:{port}/team/app:1")
        assert (done.returncode, "TLS 1.2 or later" in done.stderr) == (4, True), done.stderr
        assert "trying again" not in done.stderr


def test_a_plain_server_that_speaks_of_https_is_no_tls_server(
    person: Person, other: FaultRegistry
) -> None:
    body = json.dumps({"errors": [{"code": "BAD", "message": "see https://docs.test/"}]}).encode()
    other.rule("", "", status=400, body=body)
    assert "BAD: see https://docs.test/" in person.fails(4, "pull", app(other))


# --- tokens ---------------------------------------------------------------------------------------


def test_tokens_end_in_the_middle_of_a_push(person: Person) -> None:
    tokens = realm()
    layers = [layer({f"etc/{number}": "x"}, size=30_000 + number) for number in range(12)]
    many = image(layers, platform=str(host_platform()))
    with FaultRegistry(bearer=tokens) as registry:
        registry.put_sample("team/app", "1", many)
        person.has("password", registry.host)
        person.settings.write_text("[registry]\nconcurrency = 16\n")
        assert person.run("pull", app(registry)).returncode == 0
        registry.forget_requests()
        registry.rule("POST", "mount=", mount_refused=True)
        registry.rule("PUT", "/blobs/uploads/", before=tokens.revoke, skip=5, times=1)
        targets = [f"{registry.host}/{name}" for name in ("a/a:1", "b/b:1", "b/b:2")]
        done = person.run("push", app(registry), *targets)
        assert done.returncode == 0, done.stderr
        assert registry.tags("a/a") == {"1": many.digest}
        assert registry.tags("b/b") == {"1": many.digest, "2": many.digest}
        asked = [seen.path for seen in registry.seen("GET", "^/token")]
        assert len(asked) <= 2 * len(set(asked)), "equal scopes share a token"
        assert registry.most_at_once <= 16
        person.settings.write_text("[registry]\nconcurrency = 2\n")
        registry.forget_requests()
        assert person.run("push", app(registry), f"{registry.host}/c/c:1").returncode == 0
        assert registry.most_at_once <= 2


@pytest.mark.parametrize("kind", ["password", "identity"])
@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_mount_without_the_right_to_read_becomes_an_upload(
    person: Person, registry: FaultRegistry, kind: str, status: int
) -> None:
    person.has(kind, registry.host)
    assert person.run("pull", app(registry)).returncode == 0
    error = json.dumps({"error": "invalid_scope"}).encode()
    # The first token is for the target alone; of the two scopes after it the server wants neither.
    path = "scope=.*&scope=" if kind == "password" else "^/token"
    options = {} if kind == "password" else {"skip": 1, "times": 1}
    rule = registry.rule("", path, status=status, body=error, **options)  # type: ignore[arg-type]
    done = person.run("push", app(registry), f"{registry.host}/copy:1")
    assert (done.returncode, registry.tags("copy")) == (0, {"1": SAMPLE.digest}), done.stderr
    # A server without the POST flow is asked by GET; nothing else may be taken for that.
    assert rule.used


# --- proxies --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n", "wants a user name and password"),
        (b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", "refuses to connect: it answers 403"),
    ],
)
def test_a_proxy_that_refuses_is_named_without_its_password(
    person: Person, answer: bytes, words: str
) -> None:
    with saying(answer) as proxy:
        address = f"http://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{proxy.port}"
        told = person.fails(4, "pull", "registry.test/app", HTTPS_PROXY=address)
        assert f"the proxy 127.0.0.1:{proxy.port} {words}" in told
        assert [seen.method for seen in proxy.seen] == ["CONNECT"]
        assert proxy.seen[0].headers["proxy-authorization"] == f"Basic {BASIC}"
    told = person.fails(2, "pull", "registry.test/app",
                        HTTPS_PROXY=f"socks5://{USER}:{PASSWORD}@127.0.0.1:1")  # fmt: skip
    assert "HTTPS_PROXY" in told


# --- helpers --------------------------------------------------------------------------------------


def test_a_helper_that_fails_is_told_without_what_it_knows(
    person: Person, registry: FaultRegistry
) -> None:
    person.has("helper", registry.host)
    (person.root / "answer").write_text(_answer())
    script = f"cat {person.root}/answer; echo the secret is '{PASSWORD}' >&2; exit 1"
    login = ("login", "-u", USER, "--password-stdin", registry.host)
    person.helper("x", f"case $1 in store) cat >&2; exit 1;; esac; {script}")
    told = person.fails(3, *login, stdin=PASSWORD)
    assert "docker-credential-x store failed" in told
    person.helper("x", script)
    told = person.fails(3, "logout", registry.host)
    assert "exit status 1: the secret is xxxxx" in told


def test_nothing_of_a_slow_helper_outlives_the_command(
    person: Person, registry: FaultRegistry
) -> None:
    person.has("helper", registry.host)
    started = person.root / "started"
    person.helper("x", f"(trap '' TERM INT; exec sleep 60) & touch {started}; sleep 60")
    mark = f"MARK={person.root}"
    process = subprocess.Popen(
        [sys.executable, "-m", "wherry", "login", "-u", USER, "--password-stdin", registry.host],
        env={**person.env, "MARK": str(person.root)}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    with process:
        assert process.stdin is not None
        process.stdin.write(PASSWORD)
        process.stdin.close()
        process.stdin = None
        end = time.monotonic() + 60
        while not started.exists():
            assert time.monotonic() < end
            time.sleep(0.02)
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                environ = (entry / "environ").read_bytes()
                if mark.encode() in environ:
                    seen = environ + (entry / "cmdline").read_bytes()
                    assert leaks(seen.decode("latin-1")) == []
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=60)[1]
    assert (process.returncode, told) == (130, "interrupted\n")
    end = time.monotonic() + 5
    while descendants_alive(mark):
        assert time.monotonic() < end, descendants_alive(mark)
        time.sleep(0.02)


# --- login and logout -----------------------------------------------------------------------------


def test_what_is_no_registry_gets_no_login_kept(
    person: Person, other: FaultRegistry, registry: FaultRegistry
) -> None:
    def told(code: int = 4, name: str = other.host) -> str:
        text = person.fails(code, "login", "-u", USER, "--password-stdin", name, stdin=PASSWORD)
        assert not person.docker.exists()
        other.forget_rules()
        return text

    page = {"body": b"<html>", "headers": {"Content-Type": "text/html; charset=utf-8"}}
    other.rule("", "^/v2/", status=200, **page)
    assert "a page for people" in told()
    other.rule("", "^/v2/", redirect="/login", status=302)
    other.rule("", "^/login", status=200, **page)
    assert "a page for people" in told()
    with FaultRegistry() as third:
        other.rule("", "^/v2/", redirect=f"{third.url}/v2/")
        assert f"sends clients to {third.host}" in told()
        assert uninvited(third) == []
    for challenge, words in (
        ('Digest realm="x", nonce="y"', f"cannot log in to {other.host}"),
        (f'Bearer realm="http://{USER}:{SIGNATURE}@a.test/"', "a user name or password"),
        (f'Bearer realm="http://a.test/?key={SIGNATURE}"', "http://a.test is not encrypted"),
    ):
        other.rule("", "^/v2/", status=401, headers={"WWW-Authenticate": challenge})
        assert words in told()
    # `wherry login "https://$HOST"` where HOST is unset must not mean Docker Hub.
    for name in ("https://", "//", "/", ""):
        assert "the registry's name is empty" in told(2, name)


def test_logins_and_logouts_at_once_lose_nothing(person: Person) -> None:
    with FaultRegistry(basic=(USER, PASSWORD)) as registry:
        hosts = [f"{letter}.localhost:{registry.port}" for letter in "abcdefgh"]
        person.has("password", *hosts[:4])
        login = ("login", "-u", USER, "--password-stdin")
        commands = [("logout", host) for host in hosts[:4]]
        commands += [(*login, host) for host in hosts[4:]]
        processes = [
            subprocess.Popen([sys.executable, "-m", "wherry", *words], env=person.env, text=True,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            for words in commands
        ]  # fmt: skip
        ends = [(process.communicate(PASSWORD)[1], process.returncode) for process in processes]
        assert [code for _, code in ends] == [0] * len(commands), ends
        kept = json.loads(person.docker.read_text())["auths"]
        assert kept == {host: {"auth": BASIC} for host in hosts[4:]}
        assert [path.name for path in person.docker.parent.iterdir()] == ["config.json"]


@needs_skopeo
def test_logins_of_wherry_skopeo_and_crane_are_each_others(
    person: Person, other: FaultRegistry, crane: Path, tmp_path: Path
) -> None:
    with docker_registry_server(tmp_path / "registry", with_password=True) as server:
        login = ("login", "-u", server.user, "--password-stdin", server.host)
        person.run("pull", app(other))
        assert person.run(*login, stdin=server.password).returncode == 0
        assert person.run("push", app(other), app(server)).returncode == 0
        inspect = ("skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}",
                   app(server, "docker://"))  # fmt: skip
        assert output_of(*inspect, env=person.env).strip() == SAMPLE.digest
        digest = (crane, "digest", app(server))
        assert output_of(*digest, env=person.env).strip() == SAMPLE.digest
        assert person.run("logout", server.host).returncode == 0
        person.fails(4, "inspect", "--raw", app(server))
        for auth_file, words in ((person.root / "auth.json", ()),
                                 (person.root / "one.json", ("/team/app",))):  # fmt: skip
            place = f"{server.host}{''.join(words)}"
            subprocess.run(
                ["skopeo", *login[:-1], "--tls-verify=false", "--authfile", auth_file, place],
                env=person.env, input=server.password, text=True, check=True, capture_output=True,
            )  # fmt: skip
            done = person.run("inspect", "--raw", app(server), REGISTRY_AUTH_FILE=str(auth_file))
            assert done.stdout.encode() == SAMPLE.data


# --- settings -------------------------------------------------------------------------------------


def test_mirrors_are_asked_in_order_and_never_believed(
    person: Person, registry: FaultRegistry, other: FaultRegistry
) -> None:
    person.has("password", registry.host)
    wrong = image([layer({"etc/else": "x"})], platform=str(host_platform()))
    with FaultRegistry() as first:
        first.put_sample("hub/team/app", "1", wrong)
        gone = f"127.0.0.1:{free_port()}"

        def pull(name: str, *mirrors: str) -> Finished:
            for path in person.store.glob("blobs/*/*"):
                path.unlink()
            listed = json.dumps([*mirrors])
            person.settings.write_text(
                f'[registry]\nmirrors = {{ "{registry.host}" = {listed} }}\n'
            )
            return person.run("pull", name)

        done = pull(app(registry), gone, f"http://{first.host}/hub", other.host)
        assert done.stdout.endswith(f"@{wrong.digest}\n"), done.stderr
        assert done.stderr.count(f"the mirror {gone}") == 1
        assert registry.requests == other.requests == []
        # By digest: whatever it says, it has something else.
        first.rule("", f"/manifests/{SAMPLE.digest}", redirect="/v2/hub/team/app/manifests/1",
                   headers={"Docker-Content-Digest": SAMPLE.digest})  # fmt: skip
        exact = f"{app(registry).removesuffix(':1')}@{SAMPLE.digest}"
        done = pull(exact, f"{first.host}/hub")
        assert done.stdout == f"{exact}\n", done.stderr
        assert f"the mirror {first.host} of {registry.host} is passed over" in done.stderr
        assert uninvited(first) == uninvited(other) == []


def test_a_password_in_the_settings_is_not_told(person: Person) -> None:
    for text in (
        f'mirrors = {{ "a.test" = ["https://{USER}:{SIGNATURE}@b.test/x"] }}',
        f'mirrors = {{ "a.test" = "{USER}:{SIGNATURE}@b.test" }}',
        f'default = "{USER}:{SIGNATURE}@a.test"',
        f'insecure = ["http://{USER}:{SIGNATURE}@a.test"]',
        f'mirrors = {{ "a.test" = ["https://{USER}:{SIGNATURE}@b.test/x" }}',
    ):
        person.settings.write_text(f"[registry]\n{text}\n")
        assert "config.toml:" in person.fails(2, "pull", "127.0.0.1:1/a")
