# SPDX-License-Identifier: Apache-2.0
"""Build `examples/movies` with wherry, look into the image, start it and ask it for its movies.

Started by `make demo`. It calls the `wherry` command as a user would, and reads the image with the
standard library alone.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MOVIES = Path(__file__).resolve().parent / "movies"
WHERRY = Path(sys.executable).with_name("wherry")
MACHINE_LACKS = 3
ANSWER_SECONDS = 30.0
STOP_SECONDS = 15.0


class DemoError(Exception):
    """The demonstration cannot go on; the message says why."""


# --- What is printed ----------------------------------------------------------------------------


def say(label: str, text: str = "") -> None:
    """Print one line of the story, the label in a column of its own."""
    bold = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    shown = f"\033[1m{label:<9}\033[0m" if bold else f"{label:<9}"
    print(f"  {shown} {text}".rstrip(), flush=True)


def size(count: int) -> str:
    """Return a number of bytes as people read it."""
    if count < 1_000_000:
        return f"{count / 1000:.1f} kB"
    return f"{count / 1_000_000:.1f} MB"


# --- The wherry command -------------------------------------------------------------------------


def shown(*arguments: str) -> str:
    """Return a wherry command as it would be typed."""
    return shlex.join(["wherry", *arguments])


def wherry(*arguments: str) -> tuple[str, float]:
    """Run wherry to its end; return what it put on stdout, and the seconds it took."""
    start = time.monotonic()
    done = subprocess.run(
        [WHERRY, *arguments], cwd=MOVIES, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        raise DemoError(f"`{shown(*arguments)}` ended with exit code {done.returncode}")
    return done.stdout.strip(), time.monotonic() - start


# --- What the image holds -----------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    """One layer of an image: what made it, its bytes as shipped, and its regular files."""

    origin: str
    shipped: int
    files: tuple[tuple[str, int], ...]
    programs: tuple[str, ...]

    @property
    def unpacked(self) -> int:
        """The bytes of its files."""
        return sum(count for _, count in self.files)


@dataclass(frozen=True)
class Image:
    """An image as read from an OCI layout on disk."""

    user: str
    command: tuple[str, ...]
    layers: tuple[Layer, ...]


def read_image(layout: Path) -> Image:
    """Read the one image of an OCI layout directory."""
    index = json.loads((layout / "index.json").read_bytes())
    manifest = read_json(layout, index["manifests"][0])
    while "manifests" in manifest:
        manifest = read_json(layout, manifest["manifests"][0])
    document = read_json(layout, manifest["config"])
    history = [entry for entry in document.get("history", []) if not entry.get("empty_layer")]
    origins = [entry.get("created_by", "") for entry in history]
    config = document["config"]
    return Image(
        user=config.get("User") or "root",
        command=(*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())),
        layers=tuple(
            read_layer(blob(layout, descriptor), origins[number] if number < len(origins) else "")
            for number, descriptor in enumerate(manifest["layers"])
        ),
    )


def read_layer(path: Path, origin: str) -> Layer:
    """List the regular files of a layer; a hard link weighs nothing."""
    files, programs = [], []
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isfile():
                name = "/" + member.name.removeprefix("./").lstrip("/")
                files.append((name, member.size))
                if member.mode & 0o111:
                    programs.append(name)
    return Layer(origin, path.stat().st_size, tuple(files), tuple(programs))


def blob(layout: Path, descriptor: dict[str, str]) -> Path:
    """Return the file of a descriptor's blob."""
    algorithm, _, value = descriptor["digest"].partition(":")
    return layout / "blobs" / algorithm / value


def read_json(layout: Path, descriptor: dict[str, str]) -> Any:  # whatever JSON holds
    """Read a descriptor's blob as JSON."""
    return json.loads(blob(layout, descriptor).read_bytes())


def tell_image(image: Image) -> None:
    """Say what the image holds and weighs."""
    shipped = sum(layer.shipped for layer in image.layers)
    unpacked = sum(layer.unpacked for layer in image.layers)
    say("image", f"{size(shipped)} to ship, {size(unpacked)} unpacked, of these:")
    for layer in image.layers:
        say("", f"{size(layer.unpacked):>9}  {tell_files(layer)}")
    programs = [name for layer in image.layers for name in layer.programs]
    say("", f"{len(programs)} program{'' if len(programs) == 1 else 's'}: {', '.join(programs)}")
    say("", f"starts {shlex.join(image.command)} as user {image.user}")


def tell_files(layer: Layer) -> str:
    """Name the files of a small layer, count those of a large one."""
    if len(layer.files) <= 3:
        return ", ".join(name for name, _ in layer.files) or "directories only"
    tops = sorted({"/" + name.split("/")[1] for name, _ in layer.files})
    return f"{len(layer.files)} files below {' '.join(tops)}"


# --- The running program ------------------------------------------------------------------------


class Running:
    """A started movie server on a port of its own."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, words: Path) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}/movies"
        self._words = words

    def movies(self) -> list[object] | None:
        """Ask for the movies until they come; None where the program ended instead."""
        # A proxy named in the environment must not stand between this machine and itself.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + ANSWER_SECONDS
        while self.process.poll() is None:
            try:
                with opener.open(self.url, timeout=5) as answer:
                    movies: list[object] = json.load(answer)
                    return movies
            except OSError:
                if time.monotonic() > deadline:
                    raise DemoError(f"no answer from {self.url}\n{self.words()}") from None
                time.sleep(0.05)
        return None

    def words(self) -> str:
        """Return what the program has written, set apart from our own words."""
        lines = self._words.read_text(errors="replace").splitlines()
        return "\n".join(f"            | {line}" for line in lines)

    def stop(self) -> int:
        """End the program the polite way, and wait until it is gone."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise DemoError("the program did not stop when asked to") from None


@contextmanager
def started(command: list[str], port: int, scratch: Path, **extra: str) -> Iterator[Running]:
    """Start a command whose words go to a file; it never outlives the block."""
    words = scratch / "words"
    with words.open("wb") as log:
        process = subprocess.Popen(
            command,
            env={**os.environ, **extra},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Running(process, port, words)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    """Return a TCP port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def user_namespaces_refused() -> bool:
    """Try, as wherry does, whether this user may make a user namespace of its own."""
    if os.geteuid() == 0 or shutil.which("unshare") is None:
        return False
    trial = subprocess.run(
        ["unshare", "--user", "--map-root-user", "true"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return trial.returncode != 0


def converse(running: Running) -> bool:
    """Ask for the movies and stop the program; False where it never listened."""
    movies = running.movies()
    if movies is None:
        return False
    say("ask", f"GET {running.url}")
    for movie in movies:
        say("", json.dumps(movie, ensure_ascii=False))
    code = running.stop()
    if code != 0:
        raise DemoError(f"stopped with SIGTERM, the program gave exit code {code}")
    say("stop", "SIGTERM, exit code 0")
    return True


def run_image(reference: str, scratch: Path) -> bool:
    """Show the image running; False where this machine has no way to run it."""
    port = free_port()
    arguments = ["run", "-e", f"PORT={port}", reference]
    say("run", shown(*arguments))
    with started([str(WHERRY), *arguments], port, scratch) as running:
        if converse(running):
            return True
        code = running.process.wait()
        if code != MACHINE_LACKS:
            raise DemoError(f"the program ended with exit code {code}\n{running.words()}")
        if user_namespaces_refused():
            say("", "User namespaces are refused on this machine. wherry says:")
        else:
            say("", "This machine cannot run images. wherry says:")
        print(running.words())
    return False


def run_binary(scratch: Path) -> None:
    """Show the image's program running without its image."""
    target = scratch / "files"
    arguments = ["build", "--quiet", "-o", f"type=local,dest={target}", "."]
    say("instead", shown(*arguments))
    wherry(*arguments)
    port = free_port()
    binary = target / "app" / "movies"
    say("", f"PORT={port} {binary}")
    with started([str(binary)], port, scratch, PORT=str(port)) as running:
        if not converse(running):
            raise DemoError(f"the program ended by itself\n{running.words()}")


# --- The story ----------------------------------------------------------------------------------


def tell(scratch: Path) -> None:
    """Tell the whole story, from sources to an answer."""
    say("build", f"{shown('build', '.')}   (in examples/movies)")
    reference, seconds = wherry("build", ".")
    say("", f"{reference}   {seconds:.1f} s")

    layout = scratch / "layout"
    again = ["build", "--quiet", "-o", f"type=oci,dest={layout},tar=false", "."]
    _, seconds = wherry(*again)
    say("again", f"nothing changed: {seconds:.2f} s, written as an OCI layout too")
    tell_image(read_image(layout))

    if not run_image(reference, scratch):
        run_binary(scratch)


def main() -> int:
    """Tell the story; return the exit code."""
    print("\nwherry: a Go module becomes a small image\n", flush=True)
    try:
        with tempfile.TemporaryDirectory(prefix="wherry-demo-") as scratch:
            tell(Path(scratch))
    except DemoError as error:
        print(f"\nThe demo stopped: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    command = os.path.relpath(WHERRY)
    print(f"\nNext: `{command} images`, or `{command} build` in a Go module of yours.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
