# SPDX-License-Identifier: Apache-2.0
"""What a real terminal shows, captured through tmux, and in which state it is left.

The screens in `tests/screens` were looked at. `SCREENS=write` writes them anew: look at them.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
SCREENS = TESTS / "screens"
WIDTHS = (40, 80, 120, 200)
HEIGHT = 20

pytestmark = pytest.mark.skipif(
    shutil.which("tmux") is None, reason="no tmux here: apt-get install tmux"
)


class Tmux:
    """A tmux server of this test's own."""

    def __init__(self, socket: Path) -> None:
        self._command = ["tmux", "-S", str(socket), "-f", "/dev/null"]
        source = Path(sys.modules["wherry"].__file__ or "").parent.parent
        self._env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(source),
            "LC_ALL": "C.UTF-8",
            "HOME": "/nonexistent",
        }

    def run(self, *words: str) -> str:
        return subprocess.run(
            [*self._command, *words],
            env=self._env, capture_output=True, text=True, check=True, timeout=30,
        ).stdout  # fmt: skip

    def play(self, name: str, scene: str, width: int, *env: str) -> None:
        """Play a scene; its exit code is shown once it ends, and the screen stays."""
        program = f"{sys.executable} {TESTS / 'screen_scenes.py'} {scene}"
        env_words = " ".join(("TERM=tmux-256color", *env))
        line = f"env {env_words} {program} 2>&1; echo code $?; sleep 60"
        self.run("new-session", "-d", "-s", name, "-x", str(width), "-y", str(HEIGHT), line)

    def program(self, name: str) -> int:
        """The process id of what plays."""
        shell = self.run("display", "-t", name, "-p", "#{pane_pid}").strip()
        return int(Path(f"/proc/{shell}/task/{shell}/children").read_text().split()[0])

    def screen(self, name: str) -> list[str]:
        """The lines of the screen and of what scrolled away, without the empty ones."""
        shown = self.run("capture-pane", "-t", name, "-p", "-S", "-")
        return [line.rstrip() for line in shown.splitlines() if line.strip()]

    def shows_cursor(self, name: str) -> bool:
        return self.run("display", "-t", name, "-p", "#{cursor_flag}").strip() == "1"

    def wait(self, name: str, is_there: Callable[[list[str]], bool]) -> list[str]:
        deadline = time.monotonic() + 20
        while not is_there(screen := self.screen(name)):
            assert time.monotonic() < deadline, "\n".join(screen)
            time.sleep(0.05)
        return screen


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Tmux]:
    server = Tmux(tmp_path / "tmux")
    yield server
    server.run("kill-server")


def settled(screen: list[str]) -> str:
    """A screen without what changes by the second."""
    lines = (re.sub("^[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏]( +)[0-9.]+s", "⠋\\1#.#s", line) for line in screen)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("scene", ["one", "several", "crowd", "summary"])
def test_screens_are_those_that_were_looked_at(tmux: Tmux, scene: str) -> None:
    for width in WIDTHS:
        tmux.play(f"w{width}", scene, width)
    for width in WIDTHS:
        golden = SCREENS / f"{scene}-{width}.txt"
        if os.environ.get("SCREENS") == "write":
            time.sleep(2)
            golden.write_text(settled(tmux.screen(f"w{width}")))
        wanted = golden.read_text()
        tmux.wait(f"w{width}", lambda screen, wanted=wanted: settled(screen) == wanted)
        if scene != "summary":
            assert not tmux.shows_cursor(f"w{width}")


def test_the_view_finds_its_place_when_the_terminal_is_resized(tmux: Tmux) -> None:
    tmux.play("r", "one", 120)
    lasting = ["building the Go module", "✓ cached  base static  0.4 MB"]

    def rows(screen: list[str]) -> list[str]:
        return [line for line in screen if line.startswith(tuple("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"))]

    tmux.wait("r", lambda screen: len(rows(screen)) == 3)
    for width, words in ((45, "35%"), (160, "net/http/httputil")):
        tmux.run("resize-window", "-t", "r", "-x", str(width), "-y", str(HEIGHT))
        screen = tmux.wait(
            "r", lambda screen, words=words: len(rows(screen)) == 3 and words in "".join(screen)
        )
        assert screen[:2] == lasting
        # tmux tells programs a quarter of a second late, where sizes follow on each other.
        time.sleep(0.6)
    assert rows(tmux.screen("r")) == tmux.screen("r")[-3:]


@pytest.mark.parametrize("stop", ["Ctrl-C", "SIGTERM", "a fault"])
def test_the_cursor_comes_back_whatever_ends_the_build(tmux: Tmux, stop: str) -> None:
    tmux.play("s", "fault" if stop == "a fault" else "one", 80)
    if stop != "a fault":
        tmux.wait("s", lambda screen: any("list sources" in line for line in screen))
        assert not tmux.shows_cursor("s")
    if stop == "Ctrl-C":
        tmux.run("send-keys", "-t", "s", "C-c")
    elif stop == "SIGTERM":
        os.kill(tmux.program("s"), signal.SIGTERM)
    screen = tmux.wait("s", lambda screen: screen[-1:] == ["code 1"])
    assert tmux.shows_cursor("s")
    # The rows are gone, the lines have stayed.
    assert not [line for line in screen if "list sources" in line]
    assert "✓ cached  base static  0.4 MB" in screen


def test_the_cursor_comes_back_where_a_second_signal_does_not_wait(tmux: Tmux) -> None:
    tmux.play("s", "stubborn", 80)
    tmux.wait("s", lambda screen: any("list sources" in line for line in screen))
    program = tmux.program("s")
    os.kill(program, signal.SIGTERM)
    # Two at once are one: `timeout` and shells send it to the process and to its group.
    time.sleep(0.5)
    os.kill(program, signal.SIGTERM)
    tmux.wait("s", lambda screen: screen[-1:] == ["code 143"])
    assert tmux.shows_cursor("s")


@pytest.mark.parametrize("setting", ["TERM=dumb", "CI=true"])
def test_a_terminal_that_is_a_log_gets_plain_lines(tmux: Tmux, setting: str) -> None:
    tmux.play("p", "one", 80, setting)
    screen = tmux.wait("p", lambda screen: any("#4 list" in line for line in screen))
    assert screen == [
        "building the Go module",
        "#1 base static ... cached (0.4 MB)",
        "#2 compile movies ...",
        "#2 | go: downloading example.com/some/module v1.0.0",
        # What says nothing is named once it has run for a moment.
        "#3 pull debian:12-slim ...",
        "#4 list sources ...",
    ]
    assert tmux.shows_cursor("p")


def test_without_colours_the_rest_is_the_same(tmux: Tmux) -> None:
    for name, env in (("plain", "NO_COLOR=1"), ("painted", "NO_COLOR=")):
        tmux.play(name, "several", 80, env)
        tmux.wait(name, lambda screen: any("waiting: " in line for line in screen))
    assert settled(tmux.screen("plain")) == settled(tmux.screen("painted"))
    colours = {
        name: "\x1b[3" in tmux.run("capture-pane", "-t", name, "-p", "-e")
        for name in ("plain", "painted")
    }
    assert colours == {"plain": False, "painted": True}
