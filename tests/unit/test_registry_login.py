# SPDX-License-Identifier: Apache-2.0
"""Logging in and out: what is written where, what stays as it was, and nothing secret shown."""

import base64
import json
import os
import stat
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from process_table import command_lines
from token_server import Guard, Raw, TokenServer
from wherry.errors import MachineError, NetworkError, UsageError, WherryError
from wherry.process.cancel import Cancelled, CancelToken
from wherry.registry import authfile_edit
from wherry.registry.auth import Authorizer
from wherry.registry.authfile_edit import edit_auth_file
from wherry.registry.credentials import Credential, Keyring
from wherry.registry.denial import Denied
from wherry.registry.login import log_in, log_out, verify_login, verify_login_by_name
from wherry.registry.model import Scope
from wherry.transport.http import Transport
from wherry.transport.model import Request, TransportOptions

SECRET = "hunter2-s3cr3t"
ENCODED = base64.b64encode(f"bob:{SECRET}".encode()).decode()


class Home:
    """A user's home directory and environment, with helper programs that keep files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / ".docker" / "config.json"
        self.bin = root / "bin"
        self.bin.mkdir(parents=True)
        self.env = {"HOME": str(root), "PATH": f"{self.bin}:{os.environ['PATH']}"}

    def write(self, content: object, mode: int = 0o600) -> bytes:
        self.config.parent.mkdir(exist_ok=True)
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.config.write_bytes(data)
        self.config.chmod(mode)
        return data

    def read(self) -> dict[str, object]:
        found = json.loads(self.config.read_bytes())
        assert isinstance(found, dict)
        return found

    def helper(self, name: str, script: str) -> None:
        file = self.bin / f"docker-credential-{name}"
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    def log_in(self, registry: str = "reg.test", user: str = "bob", password: str = SECRET) -> str:
        return log_in(registry, user, password, env=self.env, check=accepts)

    def find(self, registry: str = "reg.test") -> Credential | None:
        return Keyring(self.env, CancelToken()).find(registry, "other/app")

    def files(self) -> list[str]:
        return sorted(path.name for path in self.config.parent.iterdir())


def accepts(_credential: Credential) -> None:
    """The check of a registry that takes anybody."""


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_a_first_login_makes_the_file_for_the_user_alone(home: Home) -> None:
    checked: list[Credential] = []
    where = log_in("reg.test", "bob", SECRET, env=home.env, check=checked.append)
    assert where == str(home.config)
    assert checked == [Credential("bob", SECRET)]
    assert home.read() == {"auths": {"reg.test": {"auth": ENCODED}}}
    assert (mode_of(home.config), mode_of(home.config.parent)) == (0o600, 0o700)
    assert home.files() == ["config.json"]
    assert home.find() == Credential("bob", SECRET)


def test_docker_hub_is_kept_under_dockers_key(home: Home) -> None:
    home.write({"auths": {"docker.io": {"auth": "b2xkOm9sZA=="}}})
    home.log_in("docker.io")
    assert home.read() == {"auths": {"https://index.docker.io/v1/": {"auth": ENCODED}}}
    assert home.find("docker.io") == Credential("bob", SECRET)
    assert log_out("docker.io", env=home.env)
    assert home.read() == {"auths": {}}


def test_nothing_else_in_the_file_changes(home: Home) -> None:
    before = {
        "HttpHeaders": {"User-Agent": "Docker-Client/27.3.1 (linux)"},
        "auths": {
            "ghcr.io": {"auth": "b2N0bzp4", "email": "octo@example.com"},
            "reg.test/team": {"auth": "dGVhbTp4"},
            "reg.test:5000": {"auth": "eDp5"},
            "https://index.docker.io/v1/access-token": {"auth": "eDp5"},
        },
        "detachKeys": "ctrl-e,e",
        "psFormat": "table {{.ID}}\t{{.Image}} ü \ud800",
        "unknown": [1, 1.5, None, {"deep": 12345678901234567890}],
    }
    home.write(before)
    home.log_in()
    after = home.read()
    assert list(after) == list(before)
    auths = before["auths"]
    assert isinstance(auths, dict)
    assert after == {**before, "auths": {**auths, "reg.test": {"auth": ENCODED}}}
    assert log_out("reg.test", env=home.env)
    assert home.read() == before


def test_an_older_login_is_replaced_whole_under_whatever_name(home: Home) -> None:
    old = {"auth": "b2xkOm9sZA==", "identitytoken": "old"}
    home.write({"auths": {"https://reg.test/v2/": old, "reg.test": old}})
    home.log_in()
    assert home.read() == {"auths": {"reg.test": {"auth": ENCODED}}}


@pytest.mark.parametrize(("before", "after"), [(0o644, 0o600), (0o600, 0o600), (0o400, 0o400),
                                               (0o777, 0o600)])  # fmt: skip
def test_the_files_mode_gets_no_wider(home: Home, before: int, after: int) -> None:
    home.write({}, before)
    home.log_in()
    assert mode_of(home.config) == after


def test_a_link_stays_a_link(home: Home) -> None:
    real = home.root / "dotfiles" / "docker.json"
    real.parent.mkdir()
    real.write_text('{"kept": 1}')
    home.config.parent.mkdir()
    home.config.symlink_to("../dotfiles/docker.json")
    home.log_in()
    assert home.config.is_symlink()
    assert json.loads(real.read_text()) == {"kept": 1, "auths": {"reg.test": {"auth": ENCODED}}}
    assert [path.name for path in real.parent.iterdir()] == ["docker.json"]
    real.unlink()
    home.log_in()
    assert home.config.is_symlink()
    assert mode_of(real) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can log in for another user")
def test_the_file_stays_its_owners(home: Home) -> None:
    home.write({})
    os.chown(home.config, 4711, 4712)
    home.log_in()
    assert (home.config.stat().st_uid, home.config.stat().st_gid) == (4711, 4712)


def test_docker_config_may_be_elsewhere_or_nowhere(home: Home) -> None:
    home.env["DOCKER_CONFIG"] = str(home.root / "else" / "where")
    assert home.log_in() == str(home.root / "else" / "where" / "config.json")
    assert not home.config.exists()
    with pytest.raises(UsageError, match="no place for credentials"):
        log_in("reg.test", "bob", SECRET, env={}, check=accepts)


def test_a_refused_login_writes_nothing(home: Home) -> None:
    def refuses(_credential: Credential) -> None:
        raise NetworkError("no")

    with pytest.raises(NetworkError, match="no"):
        log_in("reg.test", "bob", SECRET, env=home.env, check=refuses)
    assert not home.config.parent.exists()
    data = home.write({"auths": {"reg.test": {"auth": "b2xkOm9sZA=="}}})
    with pytest.raises(NetworkError, match="no"):
        log_in("reg.test", "bob", SECRET, env=home.env, check=refuses)
    assert home.config.read_bytes() == data


@pytest.mark.parametrize(("user", "password"), [
    ("", SECRET), ("bob", ""), ("bo:b", SECRET), ("bob\r", SECRET),
    ("bob", f"{SECRET}\0"), ("bob", f"{SECRET}\udcff")])  # fmt: skip
def test_what_cannot_be_a_login_is_refused_unseen(home: Home, user: str, password: str) -> None:
    with pytest.raises(UsageError) as caught:
        home.log_in(user=user, password=password)
    assert caught.value.hint
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert not home.config.exists()


def test_any_other_text_is_kept_exactly(home: Home) -> None:
    for password in ("ü€\U0001f6a2", "a:b:c", ' "\\ ', "\u00a0\u202e", "{\n  1\n}\n"):
        home.log_in(password=password)
        assert home.find() == Credential("bob", password)


def test_logging_out_says_whether_there_was_anything(home: Home) -> None:
    assert not log_out("reg.test", env=home.env)
    assert not home.config.parent.exists()
    data = home.write({"auths": {"other.test": {"auth": ENCODED}}})
    assert not log_out("reg.test", env=home.env)
    assert home.config.read_bytes() == data
    home.log_in()
    assert log_out("reg.test", env=home.env)
    assert home.find() is None
    assert home.find("other.test") == Credential("bob", SECRET)


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"auths": 5}', b'{"auths": [], "x": 1}', b"\xff"])
def test_a_broken_file_is_left_alone(home: Home, data: bytes) -> None:
    home.write(data)
    for do in (home.log_in, lambda: log_out("reg.test", env=home.env)):
        with pytest.raises(UsageError, match=r"config\.json"):
            do()
    assert home.config.read_bytes() == data
    assert home.files() == ["config.json"]


# Helper programs

# Keeps each login as a file, in the protocol's JSON; `erase` of nothing says nothing.
VAULT = """
read_all() { cat; }
dir=$HOME/vault; mkdir -p "$dir"
case $1 in
store) read_all > "$dir/new"
  name=$(sed 's/.*"ServerURL": "\\([^"]*\\)".*/\\1/' "$dir/new" | tr / _)
  mv "$dir/new" "$dir/$name" ;;
get) name=$(read_all | tr / _)
  cat "$dir/$name" 2>/dev/null || { echo credentials not found in native keychain; exit 1; } ;;
erase) rm -f "$dir/$(read_all | tr / _)" ;;
esac
"""


def test_a_helper_keeps_the_login_and_the_file_does_not(home: Home) -> None:
    home.helper("vault", VAULT)
    home.write({"credsStore": "vault", "auths": {"docker.io": {"auth": "b2xkOm9sZA=="}}})
    assert home.log_in("docker.io") == "docker-credential-vault"
    assert home.read() == {"credsStore": "vault", "auths": {"https://index.docker.io/v1/": {}}}
    assert (home.root / "vault" / "https:__index.docker.io_v1_").exists()
    assert home.find("docker.io") == Credential("bob", SECRET)
    assert log_out("docker.io", env=home.env)
    assert home.read() == {"credsStore": "vault", "auths": {}}
    assert home.find("docker.io") is None
    assert not log_out("docker.io", env=home.env)


def test_a_helper_for_the_registry_goes_first(home: Home) -> None:
    home.helper("vault", VAULT)
    home.write({"credsStore": "missing", "credHelpers": {"reg.test": "vault"}})
    assert home.log_in() == "docker-credential-vault"
    with pytest.raises(MachineError, match="docker-credential-missing"):
        home.log_in("other.test")
    assert home.read()["auths"] == {"reg.test": {}}


@pytest.mark.parametrize("script", [
    "cat >&2; exit 1", "cat; exit 1", "read line; echo $line; exit 3", "exit 1",
    "cat > /dev/null; kill -9 $$"])  # fmt: skip
def test_a_helper_that_cannot_store_is_told_without_the_password(home: Home, script: str) -> None:
    home.helper("vault", script)
    data = home.write({"credsStore": "vault"})
    with pytest.raises(MachineError, match="docker-credential-vault store failed") as caught:
        home.log_in(password=f'{SECRET}"\\ü')
    shown = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
    assert SECRET not in shown
    assert home.config.read_bytes() == data


def test_the_password_is_on_no_command_line_or_environment(home: Home) -> None:
    mark, go = home.root / "mark", home.root / "go"
    home.helper("slow", f"touch {mark}; while ! test -e {go}; do sleep 0.02; done; cat > /dev/null")
    home.write({"credsStore": "slow"})
    thread = threading.Thread(target=home.log_in)
    thread.start()
    try:
        end = time.monotonic() + 20
        while not mark.exists():
            assert time.monotonic() < end
            time.sleep(0.01)
        lines = command_lines()
        assert any("docker-credential-slow store" in line for line in lines)
        assert not any(SECRET in line or ENCODED in line for line in lines)
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                assert SECRET.encode() not in environ.read_bytes()
            except OSError:
                continue
    finally:
        go.touch()
        thread.join()


def test_cancelling_ends_a_login(home: Home) -> None:
    home.helper("slow", "sleep 60")
    home.write({"credsStore": "slow"})
    token = CancelToken()
    timer = threading.Timer(0.2, token.cancel)
    timer.start()
    with pytest.raises(Cancelled):
        log_in("reg.test", "bob", SECRET, env=home.env, check=accepts, cancel=token)
    timer.join()
    with pytest.raises(Cancelled):
        log_out("reg.test", env=home.env, cancel=token)


# Several at once, and disks that refuse


def test_two_logins_at_once_lose_nothing(home: Home) -> None:
    threads = [
        threading.Thread(target=home.log_in, args=(f"r{number}.test",)) for number in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    auths = home.read()["auths"]
    assert isinstance(auths, dict)
    assert sorted(auths) == sorted(f"r{number}.test" for number in range(12))
    assert home.files() == ["config.json"]


def test_logins_of_several_processes_lose_nothing(home: Home) -> None:
    program = (
        "import sys\n"
        "from wherry.registry.login import log_in\n"
        "for n in range(10):\n"
        "    log_in(f'{sys.argv[2]}{n}.test', 'bob', 'x', env={'HOME': sys.argv[1]},"
        " check=lambda c: None)\n"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", program, str(home.root), name]) for name in "abc"
    ]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    auths = home.read()["auths"]
    assert isinstance(auths, dict)
    assert len(auths) == 30


def test_a_lock_that_is_never_given_back_is_told(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authfile_edit, "_LOCK_SECONDS", 0.2)
    failures: list[WherryError] = []

    def nested(_content: dict[str, object]) -> bool:
        with pytest.raises(MachineError, match=r"config\.json\.lock stays locked") as caught:
            home.log_in()
        failures.append(caught.value)
        return False

    assert not edit_auth_file(str(home.config), nested)
    assert len(failures) == 1
    home.log_in()
    assert home.files() == ["config.json"]


def test_a_killed_process_leaves_no_lock_behind(home: Home) -> None:
    home.config.parent.mkdir()
    Path(f"{home.config}.lock").touch()
    home.log_in()
    assert home.files() == ["config.json"]


def test_a_full_disk_leaves_the_old_file(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    data = home.write({"auths": {}, "kept": 1})

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(authfile_edit.os, "fsync", full)
    with pytest.raises(MachineError, match="No space left") as caught:
        home.log_in()
    assert str(home.config) in str(caught.value)
    assert home.config.read_bytes() == data
    assert home.files() == ["config.json"]


def test_a_directory_in_the_way_is_told(home: Home) -> None:
    home.config.parent.write_text("a file")
    with pytest.raises(MachineError, match="cannot write") as caught:
        home.log_in()
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert ENCODED not in "".join(traceback.format_exception(caught.value))


ENTRY = st.dictionaries(st.sampled_from(["auth", "email", "x"]), st.text(max_size=8), max_size=2)
KEY = st.sampled_from(["reg.test", "https://reg.test/v2/", "reg.test/team", "reg.test:5000", "a"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    st.dictionaries(st.text(max_size=6).filter(lambda key: key not in ("auths", "credsStore",
                                                                       "credHelpers")),
                    st.none() | st.integers() | st.text() | st.lists(st.floats(allow_nan=False)),
                    max_size=3),
    st.dictionaries(KEY, ENTRY, max_size=4),
)  # fmt: skip
def test_in_and_out_again_leaves_what_was_not_ours(
    home: Home, rest: dict[str, object], auths: dict[str, object]
) -> None:
    home.write({**rest, "auths": auths})
    home.log_in()
    assert home.find("reg.test") is not None
    log_out("reg.test", env=home.env)
    others = {key: entry for key, entry in auths.items()
              if key not in ("reg.test", "https://reg.test/v2/")}  # fmt: skip
    assert home.read() == {**rest, "auths": others}


# With a registry


@pytest.fixture
def transport() -> Iterator[Transport]:
    with Transport(TransportOptions({}, retries=0), CancelToken()) as made:
        yield made


def test_a_login_is_verified_with_the_token_server(home: Home, transport: Transport) -> None:
    with TokenServer({"bob": SECRET}) as tokens, Guard(tokens) as guard:

        def check(credential: Credential) -> None:
            verify_login(transport, guard.origin, guard.host, credential)

        wrong = f"not-{SECRET}"
        with pytest.raises(Denied, match="does not accept the login") as caught:
            log_in(guard.host, "bob", wrong, env=home.env, check=check)
        assert "incorrect username or password" in str(caught.value)
        assert wrong not in "".join(traceback.format_exception(caught.value))
        assert not home.config.exists()
        log_in(guard.host, "bob", SECRET, env=home.env, check=check)
        assert [seen.path for seen in guard.seen] == ["/v2/"] * 3
        # And what was kept is what a pull finds.
        authorizer = Authorizer(transport, Keyring(home.env, CancelToken()))
        request = Request("PUT", f"{guard.origin}/v2/team/app/manifests/1", body=b"{}")
        scope = Scope(guard.origin, guard.host, "team/app", ("pull", "push"))
        with authorizer.send(request, scope) as response:
            assert response.status == 200
        assert tokens.asked[-1].user == "bob"


def test_a_login_is_verified_by_basic(transport: Transport) -> None:
    with Guard(users={"bob": SECRET}) as guard:
        verify_login(transport, guard.origin, guard.host, Credential("bob", SECRET))
        with pytest.raises(Denied, match="as user bob"):
            verify_login(transport, guard.origin, guard.host, Credential("bob", "wrong"))
        guard.raw = Raw(404, b"nothing here")
        with pytest.raises(NetworkError, match="does not answer as a registry"):
            verify_login(transport, guard.origin, guard.host, Credential("bob", SECRET))


def test_a_login_is_verified_by_the_registrys_name_alone(transport: Transport) -> None:
    with TokenServer({"bob": SECRET}) as tokens, Guard(tokens) as guard:
        verify_login_by_name(transport, guard.host, Credential("bob", SECRET))
        assert [(asked.user, asked.scopes) for asked in tokens.asked] == [("bob", ())]
        with pytest.raises(Denied, match="incorrect username or password"):
            verify_login_by_name(transport, guard.host, Credential("bob", "wrong"))
