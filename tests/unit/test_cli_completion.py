# SPDX-License-Identifier: Apache-2.0
"""Completion: what is answered, and what bash, zsh and fish make of it when TAB is pressed."""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest

from wherry.cli import completion, completion_fields, completion_values
from wherry.cli.completion import answer
from wherry.cli.verbs import VERBS, verb_named
from wherry.exporters import spec
from wherry.gocache import spec as cache_spec

TOML = """
[build]
base = "static"

[image.api]
packages = ["./cmd/api"]
env = { A = "1" }

[image.api.labels]
a = "b"

 [ image . "web" ]
packages = ["./cmd/web"]
"""
DOCKERFILE = (
    "ARG GO=1.26\nFROM golang:$GO AS build\nARG MODE NAME=x\nRUN go build\n"
    "RUN --mount=type=cache,id=npm,target=/n --mount=id=$ID,type=cache,target=/t \\\n"
    "    --mount=type=cache,dst=/go/pkg --mount=type=bind,id=no make\nfrom scratch as final\n"
    "COPY --from=build /a /a\n"
)
AUTHS = '{"auths": {"registry.test:5000": {}, "https://index.docker.io/v1/": {}}}'


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "project"
    (root / "cmd" / "api").mkdir(parents=True)
    (root / "some dir").mkdir()
    (root / "wherry.toml").write_text(TOML)
    (root / "cert.pem").write_text("")
    (root / "plain").mkdir()
    (root / "plain" / "Dockerfile").write_text(DOCKERFILE)
    monkeypatch.chdir(root)
    monkeypatch.setenv("PWD", str(root))
    monkeypatch.setenv("WHERRY_STORE", str(tmp_path / "store"))
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "config.json").write_text(AUTHS)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return root


def offered(*words: str) -> list[str]:
    return [word.text for word in answer(words).words]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([""], list(VERBS)),
        (["bu"], ["build"]),
        (["-"], ["--version", "--help"]),
        (["nope", ""], []),
        (["cache", ""], ["inspect", "run", "du", "ls", "prune"]),
        (["cache", "nope", ""], []),
        (["cache", "prune", "--k"], ["--keep-storage"]),
        (["build", "--targ"], ["--target"]),
        (["build", "--progress", ""], ["auto", "tty", "plain", "json"]),
        (["build", "--progress=p"], ["--progress=plain"]),
        (["build", "--target", ""], ["api", "web"]),
        (["build", "--target=w"], ["--target=web"]),
        (["build", "./plain", "--target", ""], ["build", "final"]),
        (["build", "-f", "plain/Dockerfile", "--no-cache-filter", "f"], ["final"]),
        (["build", "--target", "--q"], []),
        (["build", "--quiet", "--q"], []),
        (["build", "--tag", "a", "--tag"], ["--tag"]),
        (["build", "--base", "s"], ["static", "scratch"]),
        (["build", "--platform", "linux/amd64,linux/arm/"],
         ["linux/amd64,linux/arm/v7", "linux/amd64,linux/arm/v6"]),
        (["build", "-o", "type=o"], ["type=oci"]),
        (["build", "-o", "type=oci,t"], ["type=oci,tar="]),
        (["build", "-o", "type=oci,tar="], ["type=oci,tar=true", "type=oci,tar=false"]),
        (["build", "-o", "type=local,dest=x,"], ["type=local,dest=x,platform-split="]),
        (["build", "-o", "dest=x,typ"], []),
        (["build", "--target", "api,"], ["api,web"]),
        (["build", "plain", "--build-arg", ""], ["GO=", "MODE=", "NAME="]),
        (["build", "--ulimit", "nof"], ["nofile="]),
        (["build", "--secret", "id=k,"], ["id=k,src=", "id=k,env=", "id=k,type="]),
        (["build", "--secret", "id=k,env=WHERRY_ST"], ["id=k,env=WHERRY_STORE"]),
        (["run", "-e", "WHERRY_ST"], ["WHERRY_STORE"]),
        (["cache", "--h"], ["--help"]),
        (["login", ""], ["registry.test:5000", "docker.io"]),
        (["logout", "r"], ["registry.test:5000"]),
        (["logout", "docker.io", ""], []),
        (["build", "--output=type=oci,compression=z"], ["--output=type=oci,compression=zstd"]),
        (["build", "--nope=x"], []),
        (["build", "--cache-from", "ty"], ["type=wherry,"]),
        (["build", "--cache-from", "type=wherry,s"], ["type=wherry,src="]),
        (["build", "--cache-to=type=wherry,dest=x,mo"],
         ["--cache-to=type=wherry,dest=x,modules=", "--cache-to=type=wherry,dest=x,mode="]),
        (["build", "--cache-to", "type=wherry,ref=a,de"], []),
        (["build", "plain", "--cache-mounts", ""], ["npm", "/go/pkg"]),
        (["build", "plain", "--cache-mounts=npm,/"], ["--cache-mounts=npm,/go/pkg"]),
        (["build", "--cache-to", "type=wherry,private="],
         ["type=wherry,private=true", "type=wherry,private=false"]),
        (["build", "--label", "--"], []),
        (["pull", "--progress", "t"], ["tty"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["run", ""], []),
        (["kaniko", "--destin"], ["--destination"]),
        (["kaniko", "--single"], []),
        (["kaniko", "-f", "plain/Dockerfile", "--target="], ["--target=build", "--target=final"]),
        (["kaniko", "--dockerfile=plain/Dockerfile", "--build-arg", "M"], ["MODE="]),
        (["kaniko", "--cache", "--log-format=j"], ["--log-format=json"]),
        (["kaniko", "--custom-platform", "linux/s"], ["linux/s390x"]),
        (["kaniko", "--git", "b"], ["branch="]),
        (["kaniko", "--insecure-registry", "reg"], ["registry.test:5000"]),
    ],
)  # fmt: skip
def test_words_that_may_follow(project: Path, words: list[str], wanted: list[str]) -> None:
    assert offered(*words) == wanted


@pytest.mark.parametrize(
    ("words", "places", "is_open"),
    [
        (["build", ""], "directories", False),
        (["build", "--", "-"], "directories", False),
        (["build", "--file", ""], "files", False),
        (["build", "--store="], "directories", False),
        (["build", "-o", "type=oci,dest=x"], "files", False),
        (["build", "-o", ""], "", True),
        (["build", "--secret", "id=a,src="], "files", False),
        (["build", "--secret", "id=a,"], "", True),
        (["build", "--build-arg", "GO"], "", True),
        (["build", "--build-context", "li"], "", False),
        (["build", "--build-context", "lib=./"], "directories", False),
        (["run", "-v", "./"], "directories", False),
        (["run", "-v", ".:/"], "", False),
        (["run", "-w", "/"], "", False),
        (["run", "image", "-"], "files", False),
        (["build", "--push", "--"], "", False),
        (["build", "--cache-from", "./go"], "directories", False),
        (["build", "--cache-to", "type=wherry,dest=./"], "directories", False),
        (["build", "--cache-to", "registry"], "", True),
        (["build", "--cache-key", ""], "files", False),
        (["cache", "inspect", ""], "directories", False),
    ],
)
def test_what_is_left_to_the_shell(
    project: Path, words: list[str], places: str, is_open: bool
) -> None:
    found = answer(words)
    assert (found.places, found.is_open) == (places, is_open)


def test_names_of_images_come_from_the_store(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def images(store: str) -> tuple[str, ...]:
        asked.append(store)
        return ("api:latest", "web:1.2")

    monkeypatch.setattr(completion, "images", images)
    assert offered("run", "a") == ["api:latest"]
    assert offered("push", "--store", "/s", "") == ["api:latest", "web:1.2"]
    assert offered("inspect", "w") == offered("pull", "w") == ["web:1.2"]
    assert asked == ["", "/s", "", ""]


def test_images_of_the_store_are_bases_and_tags(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion_values, "images", lambda _store: ("debian:12", "scratchy:1"))
    assert offered("build", "--base", "") == ["static", "scratch", "debian:12", "scratchy:1"]
    assert offered("build", "-t", "scr") == ["scratchy:1"]


def test_outputs_have_the_keys_that_the_build_takes() -> None:
    taken = {
        kind: {key for key in keys if key != "type"} for kind, keys in spec._ATTRIBUTES.items()
    }
    assert {kind: set(keys) for kind, keys in completion_fields.OUTPUT_KEYS.items()} == taken


def test_caches_have_the_keys_that_the_build_takes() -> None:
    keys = completion_fields.CACHE_KEYS
    assert {"type", *keys["--cache-from"]} == set(cache_spec._IMPORT_KEYS)
    assert {"type", *keys["--cache-to"]} == set(cache_spec._EXPORT_KEYS)
    words = completion_fields._CACHE_VALUES
    assert words["modules"] == cache_spec._MODULES


def test_every_flag_with_a_value_offers_something_or_cannot(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new flag is either completed, or named here as one that only its user can fill."""
    monkeypatch.setattr(completion_values, "images", lambda _store: ("debian:12",))
    own_words = {
        "--label", "--annotation", "--add-host", "--shm-size", "--unpack-limit", "--jobs",
        "--build-context", "--publish", "--user", "--username", "--workdir",
        "--entrypoint", "--keep-storage", "--cache-repo", "--compression-level",
        "--registry-certificate", "--registry-client-cert", "--registry-map", "--registry-mirror",
    }  # fmt: skip
    sources = {
        "build": ["plain"], "check": ["plain"], "kaniko": ["--dockerfile", "plain/Dockerfile"]
    }  # fmt: skip
    silent = set()
    for name in VERBS:
        verb = verb_named(name)
        inner = verb.commands if isinstance(verb, click.Group) else {"": verb}
        for word, command in inner.items():
            for option in command.params:
                if isinstance(option, click.Option) and not (option.is_flag or option.hidden):
                    long = next(text for text in option.opts if text.startswith("--"))
                    path = [name, *filter(None, [word]), *sources.get(name, [])]
                    found = answer([*path, long, ""])
                    if not found.words and not found.places:
                        silent.add(long)
    assert silent == own_words


def test_a_store_that_is_not_there_is_not_made(project: Path) -> None:
    assert offered("rmi", "") == []
    assert not (project.parent / "store").exists()


def test_mistakes_are_silent(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project.parent / "store").write_text("no directory")
    (project / "wherry.toml").write_bytes(b"[image.\xff\xfe]\n[[[")
    for words in (["run", ""], ["build", "--target", ""], ["build", "--nope", "x", "-"]):
        completion.command.main(["words", "--", *words], standalone_mode=False)
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.splitlines()[0] in ("none", "")


# A terminal of its own for a shell: this process has threads, that one may fork.
_IN_TERMINAL = "import pty, sys; pty.spawn(sys.argv[1:])"


@contextmanager
def typing(command: list[str], env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A shell at a terminal, whose keys and screen are this process's pipes."""
    with subprocess.Popen(
        [sys.executable, "-c", _IN_TERMINAL, *command],
        env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
    ) as shell:  # fmt: skip
        try:
            yield shell
        finally:
            # The terminal goes, and the shell with it.
            shell.kill()


def press(shell: subprocess.Popen[bytes], keys: str) -> None:
    assert shell.stdin is not None
    shell.stdin.write(keys.encode())


def read_until(shell: subprocess.Popen[bytes], words: str) -> str:
    """What the shell shows until `words` are there, without its escape sequences."""
    assert shell.stdout is not None
    screen = shell.stdout.fileno()
    text, deadline = "", time.monotonic() + 20
    while words not in text:
        left = deadline - time.monotonic()
        assert left > 0, f"{words!r} never came: {text!r}"
        if select.select([screen], [], [], left)[0]:
            shown = os.read(screen, 1 << 16).decode(errors="replace")
            text += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    return text


@pytest.fixture
def shell_env(project: Path, tmp_path: Path) -> dict[str, str]:
    """An environment in which `wherry` is this one."""
    programs, home = tmp_path / "bin", tmp_path / "home"
    programs.mkdir()
    home.mkdir()
    program = programs / "wherry"
    source = Path(sys.modules["wherry"].__file__ or "").parent.parent
    program.write_text(f'#!/bin/sh\nPYTHONPATH={source} exec {sys.executable} -m wherry "$@"\n')
    program.chmod(0o755)
    return {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(home),
        "TERM": "xterm",
        "PS1": "$ ",
        "LC_ALL": "C.UTF-8",
        "WHERRY_STORE": str(tmp_path / "store"),
        "DOCKER_CONFIG": str(tmp_path / "docker"),
    }


# What is typed before TAB, and what then stands in the line.
TYPED = [
    ("wherry comple", "wherry completion "),
    ("wherry build --tar", "wherry build --target "),
    ("wherry build --target=w", "wherry build --target=web "),
    ("wherry build --progress pl", "wherry build --progress plain "),
    ("wherry build ./cm", "wherry build ./cmd/"),
    ("wherry build --ca=cer", "wherry build --ca=cert.pem"),
    ("wherry build -o type=oci,dest=cer", "wherry build -o type=oci,dest=cert.pem"),
    ("wherry build som", "wherry build some\\ dir/"),
    ("wherry build -o type=oc", "wherry build -o type=oci"),
    ("wherry build --target api,w", "wherry build --target api,web "),
    ("wherry build ./plain --build-arg GO", "wherry build ./plain --build-arg GO="),
    ("wherry logout registry.test", "wherry logout registry.test:5000 "),
]


@pytest.mark.parametrize(
    "command", [["bash", "--norc", "--noprofile", "-i"], ["zsh", "-f", "-i"]], ids=["bash", "zsh"]
)
def test_tab_in_a_shell(command: list[str], shell_env: dict[str, str]) -> None:
    name = command[0]
    if shutil.which(name) is None:
        pytest.skip(f"no {name} here: apt-get install {name}")
    with typing(command, shell_env) as shell:
        read_until(shell, "$ ")
        press(shell, f"source <(wherry completion {name}) && echo rea''dy\n")
        read_until(shell, "ready")
        for typed, wanted in TYPED:
            # Ctrl-U takes away what was there.
            press(shell, f"\x15{typed}\t")
            shown = read_until(shell, wanted[len(typed) :])
            assert wanted[len(typed) :] in shown


def test_fish_is_told_the_same(shell_env: dict[str, str]) -> None:
    if shutil.which("fish") is None:
        pytest.skip("no fish here: apt-get install fish")
    asking = "; ".join(
        f"echo '>{typed}'; complete -C '{typed}'" for typed, _ in [*TYPED, ("wherry cache p", "")]
    )
    finished = subprocess.run(
        ["fish", "--no-config", "-c", f"wherry completion fish | source; {asking}"],
        env=shell_env, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert finished.stderr == ""
    found = dict(part.split("\n", 1) for part in finished.stdout.split(">")[1:])
    assert found["wherry cache p"] == "prune\tmake the store smaller\n"
    for typed, wanted in TYPED:
        last = re.split(r"(?<!\\) ", wanted.rstrip())[-1].replace("\\", "")
        assert last in [line.partition("\t")[0] for line in found[typed].splitlines()]


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_a_script_is_one_that_its_shell_can_read(name: str, shell_env: dict[str, str]) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"no {name} here: apt-get install {name}")
    script = subprocess.run(
        [sys.executable, "-m", "wherry", "completion", name], capture_output=True, check=True
    ).stdout
    subprocess.run([name, "-n"], input=script, env=shell_env, check=True, timeout=20)
