# SPDX-License-Identifier: Apache-2.0
"""Credentials where Docker, podman and their helper programs keep them, and broken ones."""

import base64
import json
import os
import threading
import time
import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from process_table import command_lines
from wherry.errors import MachineError, UsageError, WherryError
from wherry.process.cancel import Cancelled, CancelToken
from wherry.registry.authfile import AuthFile
from wherry.registry.credentials import Credential, Keyring, docker_config_path

SECRET = "hunter2-s3cr3t"


def encoded(user: str, password: str = SECRET) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


class Home:
    """A user's home directory and environment."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bin = root / "bin"
        self.bin.mkdir(parents=True)
        self.env = {"HOME": str(root), "PATH": f"{self.bin}:{os.environ['PATH']}"}

    def write(self, path: str, content: object) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return file

    def docker(self, content: object) -> Path:
        return self.write(".docker/config.json", content)

    def helper(self, name: str, script: str) -> None:
        file = self.bin / f"docker-credential-{name}"
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    def keyring(self, cancel: CancelToken | None = None, seconds: float = 20) -> Keyring:
        return Keyring(self.env, cancel or CancelToken(), helper_seconds=seconds)

    def find(self, registry: str, repository: str = "team/app") -> Credential | None:
        return self.keyring().find(registry, repository)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def user(found: Credential | None) -> str:
    return found.username if found else ""


# What `docker login` of Docker 27 writes for three registries, and what lies beside it.
DOCKER_LOGIN = {
    "auths": {
        "https://index.docker.io/v1/": {"auth": encoded("hub")},
        "ghcr.io": {"auth": encoded("octo")},
        "localhost:5000": {"auth": encoded("local")},
    },
    "HttpHeaders": {"User-Agent": "Docker-Client/27.3.1 (linux)"},
    "currentContext": "default",
    "plugins": {"-x-cli-hints": {"enabled": "true"}},
}
# What `podman login` of podman 5 writes, also with a namespace.
PODMAN_LOGIN = {
    "auths": {
        "docker.io": {"auth": encoded("pod-hub")},
        "quay.io": {"auth": encoded("quay")},
        "quay.io/team": {"auth": encoded("quay-team")},
        "quay.io/team/app": {"auth": encoded("quay-app")},
    }
}


@pytest.mark.parametrize(
    ("registry", "expected"),
    [("docker.io", "hub"), ("ghcr.io", "octo"), ("GHCR.io", "octo"), ("localhost:5000", "local"),
     ("localhost:5001", ""), ("localhost", ""), ("io", ""), ("x.ghcr.io", "")],
)  # fmt: skip
def test_a_docker_login_is_found(home: Home, registry: str, expected: str) -> None:
    home.docker(DOCKER_LOGIN)
    found = home.find(registry)
    assert user(found) == expected
    assert found is None or found.password == SECRET


@pytest.mark.parametrize(
    ("registry", "repository", "expected"),
    [("docker.io", "library/alpine", "pod-hub"), ("quay.io", "other/app", "quay"),
     ("quay.io", "team/other", "quay-team"), ("quay.io", "team/app", "quay-app"),
     ("quay.io", "team/app/sub", "quay-app"), ("quay.io", "team/apple", "quay-team"),
     ("quay.io", "teams", "quay"), ("quay.io", "", "quay")],
)  # fmt: skip
def test_a_podman_login_is_found_the_longest_path_wins(
    home: Home, registry: str, repository: str, expected: str
) -> None:
    home.write(".config/containers/auth.json", PODMAN_LOGIN)
    assert user(home.find(registry, repository)) == expected


@pytest.mark.parametrize(
    "key",
    ["example.com", "https://example.com", "http://example.com", "https://example.com/",
     "https://example.com/v1/", "https://example.com/v2", "example.com/v2/", "example.com/",
     "https://EXAMPLE.com/some/path"],
)  # fmt: skip
def test_a_key_may_have_scheme_and_path(home: Home, key: str) -> None:
    home.docker({"auths": {key: {"auth": encoded("bob")}, "example.com:5000": {"auth": "?"}}})
    assert user(home.find("example.com")) == "bob"
    assert home.find("example.org") is None


@pytest.mark.parametrize("key", ["docker.io", "index.docker.io", "https://registry-1.docker.io/v2/",
                                 "https://index.docker.io/v1/"])  # fmt: skip
def test_docker_hub_has_many_names(home: Home, key: str) -> None:
    home.docker({"auths": {key: {"auth": encoded("hub")}}})
    assert user(home.find("docker.io")) == "hub"


def test_dockers_own_key_goes_first_and_docker_desktops_tokens_are_no_login(home: Home) -> None:
    desktop = {f"https://index.docker.io/v1/{name}": {"auth": encoded("desktop")}
               for name in ("access-token", "refresh-token")}  # fmt: skip
    home.docker({"auths": desktop})
    assert home.find("docker.io") is None
    both = {"docker.io": {"auth": encoded("plain")},
            "https://index.docker.io/v1/": {"auth": encoded("own")}}  # fmt: skip
    home.docker({"auths": {**desktop, **both}})
    assert user(home.find("docker.io")) == "own"


def test_all_forms_of_an_entry(home: Home) -> None:
    home.docker(
        {
            "auths": {
                "a.test": {"username": "bob", "password": SECRET},
                "b.test": {"auth": encoded("bob", "a:b:c\0\0")},
                "c.test": {"auth": encoded("00000000-0000", ""), "identitytoken": SECRET},
                "d.test": {"registrytoken": SECRET},
                "e.test": {},
                "f.test": {"auth": "", "email": "x"},
            }
        }
    )
    assert home.find("a.test") == Credential("bob", SECRET)
    assert home.find("b.test") == Credential("bob", "a:b:c")
    assert home.find("c.test") == Credential("00000000-0000", identity_token=SECRET)
    assert home.find("d.test") == Credential(registry_token=SECRET)
    assert home.find("e.test") is home.find("f.test") is None


def test_docker_is_asked_before_podman_and_an_empty_entry_does_not_count(home: Home) -> None:
    runtime = home.root / "run"
    home.env["XDG_RUNTIME_DIR"] = str(runtime)
    home.write("run/containers/auth.json", {"auths": {"a.test": {"auth": encoded("runtime")}}})
    config = {"auth": encoded("config")}
    home.write(".config/containers/auth.json", {"auths": {"a.test": config, "b.test": config}})
    assert (user(home.find("a.test")), user(home.find("b.test"))) == ("runtime", "config")
    home.docker({"auths": {"a.test": {}, "b.test": {"auth": encoded("docker")}}})
    assert (user(home.find("a.test")), user(home.find("b.test"))) == ("runtime", "docker")


def test_the_environment_names_other_places(home: Home) -> None:
    home.docker({"auths": {"a.test": {"auth": encoded("home")}}})
    home.write("elsewhere/config.json", {"auths": {"a.test": {"auth": encoded("elsewhere")}}})
    home.env["DOCKER_CONFIG"] = str(home.root / "elsewhere")
    assert user(home.find("a.test")) == "elsewhere"
    home.env["DOCKER_CONFIG"] = str(home.root / "nowhere")
    assert home.find("a.test") is None
    home.write(".config/containers/auth.json", {"auths": {"a.test": {"auth": encoded("config")}}})
    home.write("xdg/containers/auth.json", {"auths": {"a.test": {"auth": encoded("xdg")}}})
    home.env["XDG_CONFIG_HOME"] = str(home.root / "xdg")
    assert user(home.find("a.test")) == "xdg"
    alone = home.write("alone.json", {"auths": {"b.test": {"auth": encoded("alone")}}})
    home.env["REGISTRY_AUTH_FILE"] = str(alone)
    assert home.find("a.test") is None
    assert user(home.find("b.test")) == "alone"


def test_without_home_there_is_nothing_to_find() -> None:
    assert Keyring({}, CancelToken()).find("docker.io", "library/alpine") is None
    assert docker_config_path({}) == ""


# Helper programs


def test_a_helper_is_asked_with_the_server_on_stdin_and_once(home: Home) -> None:
    log = home.root / "log"
    script = f'read server || true; echo "$1 $# $server" >> {log}\n'
    home.helper("vault", f"""{script}echo '{{"Username": "bob", "Secret": "{SECRET}"}}'""")
    home.docker({"credsStore": "vault"})
    keyring = home.keyring()
    assert keyring.find("docker.io", "library/a") == Credential("bob", SECRET)
    assert keyring.find("docker.io", "library/b") == Credential("bob", SECRET)
    assert keyring.find("ghcr.io", "x") == Credential("bob", SECRET)
    assert log.read_text().splitlines() == ["get 1 https://index.docker.io/v1/", "get 1 ghcr.io"]


def test_helpers_by_registry_go_before_the_store_and_an_empty_name_means_the_file(
    home: Home,
) -> None:
    for name in ("gcloud", "vault"):
        home.helper(name, f"""echo '{{"Username": "{name}", "Secret": "{SECRET}"}}'""")
    home.docker(
        {
            "credsStore": "vault",
            "credHelpers": {"gcr.io": "gcloud", "plain.test": ""},
            "auths": {"plain.test": {"auth": encoded("file")}},
        }
    )
    assert user(home.find("gcr.io")) == "gcloud"
    assert user(home.find("eu.gcr.io")) == "vault"
    assert user(home.find("plain.test")) == "file"


def test_a_token_of_a_helper_is_an_identity_token(home: Home) -> None:
    home.helper("vault", f"""echo '{{"Username": "<token>", "Secret": "{SECRET}"}}'""")
    home.docker({"credHelpers": {"a.test": "vault"}})
    assert home.find("a.test") == Credential(identity_token=SECRET)


@pytest.mark.parametrize("stream", ["1", "2"])
def test_a_helper_without_credentials_leaves_the_question_to_the_files(
    home: Home, stream: str
) -> None:
    home.helper("vault", f"echo 'credentials not found in native keychain' >&{stream}; exit 1")
    home.docker({"credsStore": "vault", "auths": {"a.test": {"auth": encoded("file")}}})
    assert user(home.find("a.test")) == "file"
    assert home.find("b.test") is None


FAILING = {
    "crashes": ("echo no gpg >&2; exit 2", "exit status 2: no gpg"),
    "tells its error on stdout": ("echo pass not initialized; exit 1", "pass not initialized"),
    "is killed": ("kill -9 $$", "killed by signal 9"),
    "prints no JSON": (f"echo {SECRET}", "not the JSON"),
    "prints half of it": (f"""printf '{{"Username": "bob", "Secret": "{SECRET}'""", "not the JSON"),
    "prints a list": (f"""echo '["{SECRET}"]'""", "not the JSON"),
    "leaves out the secret": ("""echo '{"Username": "bob"}'""", "not the JSON"),
    "gives numbers": ("""echo '{"Username": "bob", "Secret": 5}'""", "not the JSON"),
    "crashes after it answered": (
        f"""echo '{{"Username": "bob", "Secret": "{SECRET}"}}'; exit 1""", "exit status 1"),
    "prints control characters": (r"printf 'a\033[31mb\000c\n' >&2; exit 1", "a [31mb c"),
    "never stops printing": ("yes", "more than 1 MiB"),
    "sleeps": ("sleep 60", "does not answer"),
    "sleeps and does not want to go": ("trap '' TERM; sleep 60 & wait; sleep 60",
                                       "does not answer"),
    "closes its outputs and sleeps": ("exec >&- 2>&-; sleep 60", "does not end"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILING)
def test_a_helper_that_fails_is_named_with_its_file(home: Home, name: str) -> None:
    script, expected = FAILING[name]
    home.helper("vault", script)
    config = home.docker({"credsStore": "vault"})
    keyring = home.keyring(seconds=0.5 if "sleep" in name else 20)
    began = time.monotonic()
    with pytest.raises(MachineError) as caught:
        keyring.find("a.test", "app")
    assert time.monotonic() - began < 15
    text = str(caught.value)
    assert expected in text
    assert "docker-credential-vault" in text
    assert str(config) in text
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert SECRET not in shown
    assert "\x1b" not in shown
    # It is not asked again: it would be missing now.
    (home.bin / "docker-credential-vault").unlink()
    with pytest.raises(MachineError) as again:
        keyring.find("a.test", "other")
    assert str(again.value) == text


def test_a_missing_helper_is_named_and_another_place_is_good_enough(home: Home) -> None:
    home.docker({"credsStore": "desktop.exe"})
    with pytest.raises(MachineError, match=r"cannot start docker-credential-desktop\.exe"):
        home.find("a.test")
    home.write(".config/containers/auth.json", {"auths": {"a.test": {"auth": encoded("podman")}}})
    assert user(home.find("a.test")) == "podman"


def test_a_helper_is_looked_for_on_the_path_that_was_given(home: Home) -> None:
    home.helper("vault", f"""echo '{{"Username": "bob", "Secret": "{SECRET}"}}'""")
    home.docker({"credsStore": "vault"})
    home.env["PATH"] = str(home.root)
    with pytest.raises(MachineError, match="cannot start"):
        home.find("a.test")


def test_a_helper_that_leaves_an_agent_behind_has_answered(home: Home) -> None:
    home.helper("vault", f"""echo '{{"Username": "bob", "Secret": "{SECRET}"}}'; sleep 5 &""")
    home.docker({"credsStore": "vault"})
    began = time.monotonic()
    assert user(home.find("a.test")) == "bob"
    assert time.monotonic() - began < 3


def test_a_helper_that_does_not_read_is_fine(home: Home) -> None:
    home.helper("vault", f"""exec <&-; echo '{{"Username": "bob", "Secret": "{SECRET}"}}'""")
    home.docker({"credsStore": "vault"})
    assert user(home.find("a.test")) == "bob"


def test_cancelling_ends_a_helper_and_its_children(home: Home) -> None:
    mark = home.root / "mark"
    pause = f"3{os.getpid()}.25"
    home.helper("vault", f"touch {mark}; sleep {pause}")
    home.docker({"credsStore": "vault"})
    token = CancelToken()

    def cancel() -> None:
        while not mark.exists():
            time.sleep(0.01)
        assert not any(SECRET in line for line in command_lines())
        token.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        home.keyring(token).find("a.test", "app")
    thread.join()
    assert time.monotonic() - began < 10
    end = time.monotonic() + 5
    while any(pause in line for line in command_lines()):
        assert time.monotonic() < end, "the helper's child lives on"
        time.sleep(0.02)


# Files that make no sense


BROKEN = {
    "no JSON": f'{{"auths": {SECRET}'.encode(),
    "a list": json.dumps([SECRET]).encode(),
    "a text": json.dumps(SECRET).encode(),
    "no UTF-8": b'{"auths": "\xff' + SECRET.encode(),
    "deeply nested": b"[" * 200_000,
    "a huge number": b'{"auths": 1' + b"0" * 5000 + b"}",
    "auths is a list": json.dumps({"auths": [SECRET]}).encode(),
    "auths is a text": json.dumps({"auths": SECRET}).encode(),
    "the entry is a text": json.dumps({"auths": {"a.test": SECRET}}).encode(),
    "auth is a number": json.dumps({"auths": {"a.test": {"auth": 7}}}).encode(),
    "auth is no base64": json.dumps({"auths": {"a.test": {"auth": f"{SECRET}!"}}}).encode(),
    "auth is no UTF-8": json.dumps({"auths": {"a.test": {"auth": "/////w=="}}}).encode(),
    "auth has no colon": json.dumps(
        {"auths": {"a.test": {"auth": base64.b64encode(SECRET.encode()).decode()}}}).encode(),
    "the password is a list": json.dumps({"auths": {"a.test": {"password": [SECRET]}}}).encode(),
    "the store is a number": b'{"credsStore": 7}',
    "the store is a path": b'{"credsStore": "../../tmp/x"}',
    "the store has a NUL": b'{"credsStore": "a\\u0000b"}',
    "helpers are a text": json.dumps({"credHelpers": SECRET}).encode(),
    "a helper is a list": json.dumps({"credHelpers": {"a.test": [SECRET]}}).encode(),
    "too large": b'{"x": "' + b"x" * (8 << 20) + b'"}',
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_named_and_not_shown(home: Home, name: str) -> None:
    config = home.docker(BROKEN[name])
    with pytest.raises(UsageError) as caught:
        home.find("a.test")
    assert str(config) in str(caught.value)
    assert caught.value.hint
    shown = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
    assert SECRET not in shown
    assert len(shown) < 5000


def test_a_broken_entry_of_another_registry_does_not_matter(home: Home) -> None:
    home.docker({"auths": {"b.test": {"auth": 7}, "a.test": {"auth": encoded("bob")}}})
    assert user(home.find("a.test")) == "bob"


def test_an_empty_file_holds_nothing(home: Home) -> None:
    home.docker(b" \n")
    assert home.find("a.test") is None


def test_what_is_no_file_is_refused_without_waiting(home: Home) -> None:
    path = home.root / ".docker"
    path.mkdir()
    os.mkfifo(path / "config.json")
    with pytest.raises(UsageError, match="not a regular file"):
        home.find("a.test")
    (path / "config.json").unlink()
    (path / "config.json").mkdir()
    with pytest.raises(UsageError, match=r"cannot (read|be used)"):
        home.find("a.test")


def test_a_file_that_links_to_itself_is_unreadable(home: Home) -> None:
    (home.root / ".docker").mkdir()
    (home.root / ".docker" / "config.json").symlink_to("config.json")
    with pytest.raises(UsageError, match="cannot read"):
        home.find("a.test")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10)
    | st.just(encoded("bob")),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["auths", "credHelpers", "a.test", "https://a.test/v2/", "a.test/team",
                         "auth", "username", "password", "identitytoken"]) | st.text(max_size=5),
        inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["auths", "credHelpers", "credsStore"]), JSON, max_size=3))
def test_any_content_gives_credentials_or_a_clear_error(content: dict[str, object]) -> None:
    file = AuthFile("/home/bob/.docker/config.json", json.loads(json.dumps(content)))
    for ask in (lambda: file.credential("a.test", "team/app"), lambda: file.helper("a.test")):
        try:
            found = ask()
        except WherryError as error:
            assert "/home/bob/.docker/config.json" in str(error)
            assert error.hint
        else:
            assert found is None or isinstance(found, str) or found.usable


def test_credentials_do_not_show_themselves() -> None:
    credential = Credential("bob", SECRET, f"{SECRET}-identity", f"{SECRET}-registry")
    assert SECRET not in f"{credential!r} {credential} {[credential]}"
    assert "bob" in repr(credential)
    assert credential.basic() in credential.secrets
