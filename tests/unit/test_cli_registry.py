# SPDX-License-Identifier: Apache-2.0
"""The verbs about registries: their help, their refusals, and how a password is taken."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from wherry.cli import verbs
from wherry.cli.options import Common
from wherry.errors import UsageError

SECRET = "hunter2-of-the-tests"
VERBS = ("pull", "push", "login", "logout", "inspect", "lock")
# A port of this machine that nobody listens at: reserved, and never given out.
NOBODY = "127.0.0.1:1"


def call(*words: str, stdin: str | bytes = "") -> Result:
    return CliRunner().invoke(verbs._cli, list(words), input=stdin, prog_name="wherry")


def refused(*words: str, stdin: str | bytes = "") -> UsageError:
    result = call(*words, stdin=stdin)
    assert isinstance(result.exception, UsageError), result.output
    assert result.stdout == ""
    return result.exception


@pytest.fixture(autouse=True)
def _nobody_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings, credentials or store of the user who runs the tests."""
    for name in ("HOME", "DOCKER_CONFIG", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "WHERRY_STORE"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    monkeypatch.chdir(tmp_path)


# --- help -----------------------------------------------------------------------------------------


def test_the_list_of_verbs_has_them_all():
    text = call("--help").stdout
    assert set(VERBS) <= set(re.findall(r"^  (\w+) ", text, re.MULTILINE))


@pytest.mark.parametrize("verb", verbs.VERBS)
def test_every_verb_explains_itself_within_a_terminals_width(verb: str):
    result = call(verb, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: wherry {verb} ")
    short = verbs.VERBS[verb]
    assert short == verbs._cli.get_command(None, verb).short_help
    assert max(len(line) for line in result.stdout.splitlines()) <= 80


@pytest.mark.parametrize(
    ("verb", "flags"),
    [
        ("pull", "--platform --all-platforms --full --ca --progress --json --quiet --store"),
        ("push", "--ca --progress --json --quiet --store"),
        ("login", "--username --password-stdin --ca --quiet"),
        ("logout", "--quiet"),
        ("inspect", "--raw --platform --ca --quiet --store"),
        ("lock", "--update --ca --progress --json --quiet --store"),
        ("build", "--push --pull --locked --ca"),
    ],
)
def test_flags_are_in_the_help_each_once(verb: str, flags: str):
    found = re.findall(r"^  (?:-\w, )?(--[a-z-]+)", call(verb, "--help").stdout, re.MULTILINE)
    assert len(found) == len(set(found))
    wanted = {*flags.split(), "--help"}
    assert wanted <= set(found)
    if verb != "build":
        assert wanted == set(found)


def test_the_help_of_login_does_not_offer_a_password_argument():
    assert not re.search(r"--password\b(?!-stdin)", call("login", "--help").stdout)


def test_common_flags_say_how_progress_is_told():
    assert Common().mode == "auto"
    assert Common().tells
    assert Common(progress="plain").tells
    assert not Common(progress="json").tells
    assert not Common(quiet=True, progress="plain").tells
    assert Common(quiet=True, progress="plain").mode == "quiet"


# --- wrong usage ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("pull",), "no image is named"),
        (("pull", "--platform", "linux/arm64", "--all-platforms", "a"), "exclude each other"),
        (("pull", "--full", "--platform", "linux/arm64", "a"), "as they are in the store"),
        (("pull", "--full", "--all-platforms"), "as they are in the store"),
        (("pull", f"{NOBODY}/a", "Upper"), "not an image reference: 'Upper'"),
        (("push",), "Missing argument 'IMAGE'"),
        (("push", "a", f"{NOBODY}/a@sha256:{'0' * 64}"), "a target has no digest"),
        (("push", "a", f"{NOBODY}/a", "Upper"), "not an image reference: 'Upper'"),
        (("push", "a", f"{NOBODY}/a"), "no image 'a'"),
        (("pull", "--full", "a"), "no image 'a'"),
        (("inspect", "a"), "nothing but --raw in this release"),
        (("inspect", "--raw"), "Missing argument 'REF'"),
        (("inspect", "--raw", "Upper"), "not an image reference"),
        (("lock", "a", "b"), "lock takes one SOURCE"),
        (("logout", "a", "b"), "logout takes one registry"),
        (("login", "-u", "me", "--password-stdin", "no host"), "not a registry"),
        (("login", "--password-stdin", NOBODY), "--password-stdin needs a user"),
        (("login", "-u", "me", NOBODY), "no terminal to ask for the password"),
        (("login", NOBODY), "no terminal to ask for the password"),
    ],
)
def test_wrong_usage_is_told_with_what_to_do(words: tuple[str, ...], what: str):
    result = call(*words, stdin=SECRET)
    error = result.exception
    text = f"{result.output}{error}"
    assert what in text
    assert SECRET not in text
    assert result.stdout == ""
    if isinstance(error, UsageError):
        assert error.hint
    else:
        # click's own words; `run_verb` makes them a UsageError.
        assert result.exit_code == 2


def test_nothing_is_asked_of_a_registry_before_all_names_are_read(tmp_path: Path):
    refused("pull", f"{NOBODY}/a:1", f"{NOBODY}/b:1", "Wrong")
    assert not (tmp_path / "wherry_store").exists()


# --- the password ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("-p", SECRET),
        (f"-p{SECRET}",),
        ("-u", "me", "-p", SECRET, NOBODY),
        (NOBODY, "--password", SECRET),
        (f"--password={SECRET}", NOBODY),
        ("--password-stdin", "-p", SECRET),
        ("-p",),
    ],
)
def test_a_password_among_the_arguments_is_refused_and_not_repeated(words: tuple[str, ...]):
    error = refused("login", *words)
    assert error.what == "--password is not taken"
    assert "every user of this machine" in error.why
    assert "--password-stdin" in error.hint
    assert SECRET not in str(error)


@pytest.mark.parametrize(
    "words",
    [
        (NOBODY, SECRET),
        ("-u", "me", NOBODY, SECRET),
        (f"me:{SECRET}@{NOBODY}",),
        (f"https://me:{SECRET}@{NOBODY}/v2/",),
        ("-u", "me", f"--pasword={SECRET}", NOBODY),
    ],
)
@pytest.mark.parametrize("verb", ["login", "logout"])
def test_a_password_in_the_wrong_place_is_not_repeated(verb: str, words: tuple[str, ...]):
    result = call(verb, *words)
    assert result.exit_code != 0
    assert result.exception is not None
    assert SECRET not in f"{result.output}{result.exception}{result.exception.__cause__}"


@pytest.mark.parametrize("data", [b"", b"\n", b"\r\n"])
def test_an_empty_password_is_refused(data: bytes):
    error = refused("login", "-u", "me", "--password-stdin", NOBODY, stdin=data)
    assert error.what == "the password is empty"
    assert error.hint


def test_what_is_no_password_is_refused_without_being_shown():
    error = refused("login", "-u", "me", "--password-stdin", NOBODY, stdin=b"secret\xff")
    assert error.what == "the password is not UTF-8"
    assert error.__cause__ is None
    assert error.__suppress_context__
    error = refused("login", "-u", "me", "--password-stdin", NOBODY, stdin=b"x" * 70_000)
    assert "no password is longer" in error.what


def test_the_whole_command_keeps_a_password_from_both_streams(tmp_path: Path):
    ran = subprocess.run(
        [sys.executable, "-m", "wherry", "login", "-u", "me", "--password-stdin", NOBODY],
        input=SECRET + "\n", capture_output=True, text=True, timeout=120, check=False,
        cwd=tmp_path,
    )  # fmt: skip
    assert ran.returncode == 4
    assert ran.stdout == ""
    assert NOBODY in ran.stderr
    assert SECRET not in ran.stderr
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(SECRET.encode() in path.read_bytes() for path in kept)


# Gives the program below it the terminal on its stdin, as a shell would.
_ON_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "os.execv(sys.executable, [sys.executable, '-m', 'wherry', *sys.argv[1:]])"
)


class Typist:
    """A user at a terminal: reads what is shown there, types answers."""

    def __init__(self, master: int, slave: int, process: subprocess.Popen[bytes]) -> None:
        self.master = master
        self.slave = slave
        self.process = process
        self.shown = ""

    def wait_for(self, words: str) -> None:
        deadline = time.monotonic() + 60
        while words not in self.shown:
            assert time.monotonic() < deadline, f"{words!r} never came: {self.shown!r}"
            if select.select([self.master], [], [], 0.1)[0]:
                self.shown += os.read(self.master, 4096).decode()

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    @property
    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self.slave)[3] & termios.ECHO)

    def end(self) -> int:
        code = self.process.wait(60)
        while select.select([self.master], [], [], 0.1)[0]:
            self.shown += os.read(self.master, 4096).decode()
        return code


@contextlib.contextmanager
def at_terminal(*words: str) -> Iterator[Typist]:
    master, slave = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _ON_TERMINAL, *words],
        stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
    )  # fmt: skip
    try:
        yield Typist(master, slave, process)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(slave)
        os.close(master)


def test_user_and_password_are_asked_at_the_terminal_the_password_without_echo():
    with at_terminal("login", NOBODY) as typist:
        typist.wait_for("user: ")
        assert typist.echoes
        typist.type("boatman\n")
        typist.wait_for("password: ")
        assert not typist.echoes
        typist.type(f"{SECRET}\n")
        assert typist.end() == 4
        assert typist.echoes
        assert "boatman" in typist.shown
        assert NOBODY in typist.shown
        assert SECRET not in typist.shown


def test_an_empty_answer_at_the_terminal_is_refused():
    with at_terminal("login", "-u", "me", NOBODY) as typist:
        typist.wait_for("password: ")
        typist.type("\n")
        assert typist.end() == 2
        assert "the password is empty" in typist.shown
    with at_terminal("login", NOBODY) as typist:
        typist.wait_for("user: ")
        typist.type("\x04")
        assert typist.end() == 2
        assert "no user was given" in typist.shown


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_at_the_prompt_leaves_the_terminal_as_it_was(number: signal.Signals, code: int):
    with at_terminal("login", "-u", "me", NOBODY) as typist:
        typist.wait_for("password: ")
        typist.type(SECRET)
        if number == signal.SIGINT:
            typist.type("\x03")
        else:
            typist.process.send_signal(number)
        assert typist.end() == code
        assert typist.echoes
        assert SECRET not in typist.shown


def test_password_stdin_at_a_terminal_does_not_echo_either():
    with at_terminal("login", "-u", "me", "--password-stdin", NOBODY) as typist:
        typist.wait_for("password: ")
        assert not typist.echoes
        typist.type(f"{SECRET}\n")
        assert typist.end() == 4
        assert SECRET not in typist.shown
