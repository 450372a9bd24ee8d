# SPDX-License-Identifier: Apache-2.0
"""wherry as a library: what docs/library.md promises, and its own examples."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import wherry
from wherry.errors import BuildError, MachineError, SeveralErrors, UsageError
from wherry.events import Event, Outcome, StepEnded, StepProgress, StepStarted
from wherry.process.cancel import Cancelled, CancelToken

Module = Callable[..., Path]

DOCUMENT = Path(__file__).parents[2] / "docs" / "library.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
BROKEN = "package main\n\nfunc main() { nothing() }\n"


@pytest.fixture
def around(go_env: dict[str, str], module: Module) -> wherry.Surroundings:
    """A tiny module, and an environment of its own."""
    return wherry.Surroundings(cwd=str(module()), env=go_env)


def test_a_build_gives_what_it_made(around: wherry.Surroundings, store: Path) -> None:
    result = wherry.build(tags=["shop/m:1", "shop/m:2"], store=store, surroundings=around)
    assert result.reference == f"shop/m:1@{result.digest}"
    assert result.tags == ("shop/m:1", "shop/m:2")
    assert [binary.path for binary in result.binaries] == ["/app/m"]
    assert result.binaries[0].go_version.startswith("go1.")
    assert result.unpacked > result.binaries[0].size > 0
    assert (result.reused, result.reason) == (False, "first build")
    again = wherry.build(store=store, surroundings=around)
    assert (again.reused, again.reason, again.digest) == (True, "", result.digest)
    Path(around.cwd, "main.go").write_text("package main\n\nfunc main() { println(2) }\n")
    changed = wherry.build(store=store, surroundings=around)
    assert not changed.reused
    assert "main.go" in changed.reason
    assert changed.digest != result.digest


def test_options_are_the_flags(around: wherry.Surroundings, store: Path, tmp_path: Path) -> None:
    result = wherry.build(
        outputs=[f"type=oci,tar=false,dest={tmp_path / 'layout'}"],
        store=store,
        surroundings=around,
        platform="linux/arm64",
        base="scratch",
        labels=(("team", "shop"),),
        annotations=(("note", "here"),),
        metadata_file=str(tmp_path / "metadata.json"),
        iidfile=str(tmp_path / "iid"),
    )
    assert result.platform == "linux/arm64"
    assert result.outputs == (str(tmp_path / "layout"),)
    assert (tmp_path / "iid").read_text() == result.digest
    metadata = json.loads((tmp_path / "metadata.json").read_text())
    assert metadata["containerimage.digest"] == result.digest

    def blob(digest: str) -> dict:
        path = tmp_path / "layout" / "blobs" / digest.replace(":", "/")
        return json.loads(path.read_bytes())

    manifest = blob(result.digest)
    assert len(manifest["layers"]) == 1
    assert manifest["annotations"]["note"] == "here"
    assert blob(result.config_digest)["config"]["Labels"]["team"] == "shop"


def test_one_tag_may_come_without_a_list(around: wherry.Surroundings, store: Path) -> None:
    assert wherry.build(".", "shop/m:1", store=store, surroundings=around).tags == ("shop/m:1",)


def test_a_relative_directory_is_seen_from_the_current_one(
    around: wherry.Surroundings, store: Path
) -> None:
    expected = wherry.build(store=store, surroundings=around).digest
    relative = around._replace(cwd=os.path.relpath(around.cwd))
    result = wherry.build(store=store, surroundings=relative)
    assert (result.digest, result.reused) == (expected, True)


def test_a_misspelt_argument_is_a_type_error(around: wherry.Surroundings, store: Path) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'platfrom'"):
        wherry.build(store=store, surroundings=around, platfrom="linux/amd64")  # type: ignore[call-arg]


def test_nothing_is_printed_and_nothing_process_wide_changes(
    around: wherry.Surroundings, store: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = (os.getcwd(), dict(os.environ), threading.active_count())
    wherry.build(store=store, surroundings=around)
    assert capfd.readouterr() == ("", "")
    assert (os.getcwd(), dict(os.environ), threading.active_count()) == before


def test_events_tell_each_step_from_its_beginning_to_its_end(
    around: wherry.Surroundings, store: Path
) -> None:
    events: list[Event] = []
    wherry.build(store=store, surroundings=around._replace(on_event=events.append))
    started = {event.id: event.name for event in events if isinstance(event, StepStarted)}
    ended = {event.id: event.outcome for event in events if isinstance(event, StepEnded)}
    assert started.keys() == ended.keys()
    assert sorted(name.split(" ")[0] for name in started.values()) == ["base", "build"]
    assert set(ended.values()) == {Outcome.DONE}
    hash(tuple(events))
    events.clear()
    wherry.build(store=store, surroundings=around._replace(on_event=events.append))
    assert events == []


def test_a_failure_of_the_program_is_a_build_error(
    around: wherry.Surroundings, store: Path
) -> None:
    Path(around.cwd, "main.go").write_text(BROKEN)
    events: list[Event] = []
    with pytest.raises(BuildError) as raised:
        wherry.build(store=store, surroundings=around._replace(on_event=events.append))
    error = raised.value
    assert isinstance(error, wherry.WherryError)
    assert error.exit_code == 1
    assert error.where == "main.go:3"
    assert "undefined: nothing" in error.what + error.why
    assert Outcome.FAILED in {event.outcome for event in events if isinstance(event, StepEnded)}


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (("nowhere",), {}),
        ((".", ["UPPER CASE"]), {}),
        ((".", [], ["type=nonsense"]), {}),
        ((), {"platform": "linux"}),
        ((), {"base": "UPPER CASE"}),
        ((), {"target": "nonsense"}),
        ((), {"stamp": "nonsense"}),
        ((), {"frontend": "nonsense"}),
        ((), {"frontend": "dockerfile"}),
    ],
)
def test_a_wrong_argument_is_a_usage_error(
    around: wherry.Surroundings, store: Path, arguments: tuple, options: dict
) -> None:
    with pytest.raises(UsageError) as raised:
        wherry.build(*arguments, store=store, surroundings=around, **options)
    assert raised.value.what
    assert raised.value.exit_code == 2


def test_all_mistakes_of_the_settings_are_told_at_once(
    around: wherry.Surroundings, store: Path
) -> None:
    Path(around.cwd, "wherry.toml").write_text("[build]\nbse = 'static'\nstamp = 'never'\n")
    with pytest.raises(SeveralErrors) as raised:
        wherry.build(store=store, surroundings=around)
    assert len(raised.value.errors) == 2
    assert isinstance(raised.value, wherry.WherryError)


def test_a_store_that_cannot_be_made_is_a_machine_error(
    around: wherry.Surroundings, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MachineError):
        wherry.build(store=tmp_path / "file" / "store", surroundings=around)


def test_cancel_from_another_thread_ends_go_and_its_children(
    around: wherry.Surroundings, store: Path, tmp_path: Path
) -> None:
    # An empty cache: Go has minutes of work where it is not stopped.
    cache = str(tmp_path / "cold")
    env = {**(around.env or {}), "GOCACHE": cache}
    program = 'package main\n\nimport _ "net/http"\n\nfunc main() {}\n'
    Path(around.cwd, "main.go").write_text(program)
    token = CancelToken()
    compiling = threading.Event()

    def listen(event: Event) -> None:
        if isinstance(event, StepProgress) and event.unit == "packages":
            compiling.set()

    def stop() -> None:
        compiling.wait(60)
        token.cancel()

    thread = threading.Thread(target=stop)
    thread.start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        wherry.build(
            store=store,
            surroundings=around._replace(env=env, cancel=token, on_event=listen),
        )
    thread.join()
    assert compiling.is_set()
    assert time.monotonic() - began < 30
    assert processes_with(f"GOCACHE={cache}") == []
    # The store is as good as before: the same build, not cancelled, on a warm cache.
    Path(around.cwd, "main.go").write_text("package main\n\nfunc main() {}\n")
    assert not wherry.build(store=store, surroundings=around).reused


def test_a_token_that_is_cancelled_before_stops_a_build_that_would_start_go(
    around: wherry.Surroundings, store: Path
) -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        wherry.build(store=store, surroundings=around._replace(cancel=token))


def processes_with(variable: str) -> list[str]:
    """Command lines of living processes whose environment holds `variable`."""
    found = []
    for directory in Path("/proc").iterdir():
        try:
            if variable.encode() in (directory / "environ").read_bytes().split(b"\0"):
                words = (directory / "cmdline").read_bytes().replace(b"\0", b" ")
                found.append(words.decode(errors="replace"))
        except OSError:
            continue
    return found


def test_threads_share_a_process_and_a_store(
    go_env: dict[str, str], module: Module, store: Path
) -> None:
    for name in ("one", "two"):
        module({"main.go": f'package main\n\nfunc main() {{ println("{name}") }}\n'}, name)
    root = module(None, "one").parent
    module({"main.go": 'package main\n\nfunc main() { println("one") }\n'}, "one")

    def build(name: str) -> tuple[str, str]:
        around = wherry.Surroundings(cwd=str(root / name), env=go_env)
        return name, wherry.build(".", [f"{name}:1"], store=store, surroundings=around).digest

    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(build, ("one", "two") * 3))
    digests = dict(found)
    assert len(found) == 2
    assert digests["one"] != digests["two"]


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_examples_of_the_document_run(
    go_env: dict[str, str], module: Module, store: Path, tmp_path: Path, number: int
) -> None:
    directory = module()
    (directory / "broken").mkdir()
    (directory / "broken" / "main.go").write_text(BROKEN)
    example = tmp_path / "example.py"
    example.write_text(EXAMPLES[number], encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", example],
        cwd=directory,
        env={**go_env, "WHERRY_STORE": str(store)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert ("undefined: nothing" in done.stdout) == ("./broken" in EXAMPLES[number])


def test_the_document_has_its_examples() -> None:
    assert len(EXAMPLES) == 5


@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="mypy is not installed")
def test_the_examples_of_the_document_are_well_typed(tmp_path: Path) -> None:
    for number, text in enumerate(EXAMPLES):
        (tmp_path / f"example{number}.py").write_text(text, encoding="utf-8")
    wrong = 'import wherry\n\nwherry.build(".", platfrom="linux/amd64")\nwherry.build(jobs="2")\n'
    (tmp_path / "wrong.py").write_text(wrong)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    lines = done.stdout.splitlines()
    # Only what is wrong on purpose is found: the types are there, and they are checked.
    assert {line.partition(":")[0] for line in lines if ": error:" in line} == {"wrong.py"}, lines
    assert sum(": error:" in line for line in lines) == 2, lines
