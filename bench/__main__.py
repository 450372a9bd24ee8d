# SPDX-License-Identifier: Apache-2.0
"""`python -m bench`: see docs/benchmarks.md."""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench import peers, projects, report
from bench.failure import BenchError, read_output
from bench.measure import COLD, ROWS, Bench, Row
from bench.sides import GoBuild, ImageSide, Ko, Wherry
from bench.targets import judge

REPOSITORY = Path(__file__).resolve().parent.parent
SIDES = ("ko", "wherry")
PROJECTS = ("movies", "caddy")

# What would change one side alone, or the meaning of a row. PYTHONDONTWRITEBYTECODE would make
# every start of wherry compile its sources, which an installed wherry never does.
_UNWANTED = ("GOFLAGS", "GOOS", "GOARCH", "SOURCE_DATE_EPOCH", "PYTHONDONTWRITEBYTECODE")
_UNWANTED_PREFIXES = ("KO_", "KOCACHE", "WHERRY_")


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    options = _parser(environ).parse_args(argv)
    options.cache = options.cache.absolute()
    try:
        with ExitStack() as stack:
            stack.enter_context(_alone(options.cache))
            return _run(options, environ, stack)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace, environ: Mapping[str, str], stack: ExitStack) -> int:
    work = options.cache / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    go, env = _go(environ, options.cache)
    facts = report.machine_facts()
    facts["go"] = read_output((go, "env", "GOVERSION"), work, env).strip()
    images: list[ImageSide] = []
    if "ko" in options.sides:
        images += _optional("ko", lambda: _ko(go, options.cache, env, facts, stack))
    if "wherry" in options.sides:
        images += _optional("wherry", lambda: _wherry(work, env, facts))
    wanted = [name for name in options.only if not (options.skip_cold and name == COLD)]
    bench = Bench(GoBuild(go, work), images, env, work, options.rounds, options.cold_rounds)
    rows: list[Row] = []
    titles: dict[str, str] = {}
    for name in options.projects:
        project = (
            projects.movies(REPOSITORY, work) if name == "movies" else projects.caddy(go, work, env)
        )
        titles[name] = project.title
        rows += bench.measure(project, wanted)
    print(report.table(facts, rows, titles))
    path = options.results / (facts["date"].replace(":", "") + ".json")
    report.write_json(path, facts, rows)
    print(f"\nevery sample: {path}", file=sys.stderr)
    return 1 if options.strict and not _all_reached(rows) else 0


def _go(environ: Mapping[str, str], cache: Path) -> tuple[str, dict[str, str]]:
    """The go command itself, and an environment in which all sides find it first.

    The `go` on PATH may be a script that starts the real one, which would cost bare `go build`.
    """
    env = {
        key: value
        for key, value in environ.items()
        if key not in _UNWANTED and not key.startswith(_UNWANTED_PREFIXES)
    }
    env |= {"CGO_ENABLED": "0", "GOCACHE": str(cache / "gocache")}
    directory = Path(read_output(("go", "env", "GOROOT"), cache, env).strip()) / "bin"
    env["PATH"] = f"{directory}{os.pathsep}{env['PATH']}"
    return str(directory / "go"), env


def _ko(
    go: str, cache: Path, env: Mapping[str, str], facts: dict[str, str], stack: ExitStack
) -> Ko:
    installed = peers.install(go, cache / "bin", env)
    facts["ko"] = installed.ko_version
    work = cache / "work"
    platform = "/".join(read_output((go, "env", "GOOS", "GOARCH"), work, env).split())
    registry = peers.registry(installed.crane, platform, work, env)
    return Ko(installed.ko, stack.enter_context(registry), work)


def _wherry(work: Path, env: Mapping[str, str], facts: dict[str, str]) -> Wherry:
    script = Path(sys.executable).with_name("wherry")
    program = (str(script),) if script.exists() else (sys.executable, "-m", "wherry")
    facts["wherry"] = read_output((*program, "--version"), work, env).split()[-1]
    return Wherry(program, work)


def _optional(name: str, make: Callable[[], ImageSide]) -> list[ImageSide]:
    try:
        return [make()]
    except BenchError as error:
        print(f"bench: goes on without {name}: {error}", file=sys.stderr)
        return []


def _all_reached(rows: Sequence[Row]) -> bool:
    verdicts = [verdict for row in rows for verdict in judge(row)]
    return bool(verdicts) and all(verdict.reached for verdict in verdicts)


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """Two benchmarks at once would measure each other, and share a work directory."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BenchError(f"another benchmark runs in {cache}") from None
        yield


def _parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures wherry.")
    home = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser.add_argument("--rounds", type=_positive, default=5, help="default: 5")
    parser.add_argument("--cold-rounds", type=_positive, default=3, help="default: 3")
    parser.add_argument("--skip-cold", action="store_true", help=f"all rows but '{COLD}'")
    parser.add_argument(
        "--only", type=_some_of(ROWS), default=ROWS, help="rows, with commas: " + ", ".join(ROWS)
    )
    parser.add_argument(
        "--projects", type=_some_of(PROJECTS), default=PROJECTS, help=", ".join(PROJECTS)
    )
    parser.add_argument(
        "--sides", type=_some_of(SIDES), default=SIDES, help="beside go build: " + ", ".join(SIDES)
    )
    parser.add_argument("--cache", type=Path, default=home / "wherry-bench", metavar="DIR")
    parser.add_argument(
        "--results", type=Path, default=REPOSITORY / "bench" / "results", metavar="DIR"
    )
    parser.add_argument("--strict", action="store_true", help="exit 1 where a target is missed")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("1 at least")
    return number


def _some_of(known: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        chosen = {word.strip().replace("-", " ") for word in text.split(",")}
        unknown = chosen - set(known)
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(known)}")
        return tuple(name for name in known if name in chosen)

    return parse


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
