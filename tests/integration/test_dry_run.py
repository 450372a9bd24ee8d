# SPDX-License-Identifier: Apache-2.0
"""`--dry-run`: what it says of each step is what the build that follows does; it downloads nothing.

Each change is planned first and built then. `reused` has to be told as cached, `runs` as done;
`may run` is for steps that only the run of an earlier one decides on, and those are named here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fault_registry import FaultRegistry
from loader_bases import compile_c, needs_gcc
from registry_samples import layer
from wherry.api.building import build_images
from wherry.api.dry_run import BuildPlan, plan_build
from wherry.api.request import BuildRequest
from wherry.errors import MachineError
from wherry.events import Event, Outcome, StepEnded, StepStarted, discard
from wherry.oci.platform import host_platform
from wherry.process.cancel import CancelToken
from wherry.process.clock import next_file_clock_ns
from wherry_fixtures import MAIN, Finished, Project

Make = Callable[..., Project]
Wherry = Callable[..., Finished]

_BLOBS = r"/blobs/"
_SAYS = {"runs": {Outcome.DONE}, "is read": {Outcome.DONE}, "is fetched": {Outcome.DONE},
         "reused": {Outcome.CACHED}, "may run": {Outcome.DONE, Outcome.CACHED}}  # fmt: skip


@pytest.fixture
def registry() -> Iterator[FaultRegistry]:
    with FaultRegistry() as served:
        yield served


class Planner:
    """Plans and builds one project, and compares."""

    def __init__(self, made: Project, frontend: str = "gomodule") -> None:
        self.made = made
        self.frontend = frontend

    def request(self, **asked: object) -> BuildRequest:
        made = self.made
        plain = BuildRequest(".", str(made.root), dict(made.env), str(made.store))
        if self.frontend == "dockerfile":
            plain = plain._replace(file="Dockerfile")
        return plain._replace(**asked)  # type: ignore[arg-type]

    def plan(self, **asked: object) -> BuildPlan:
        """The plan, which leaves the store's records, layers and work as they were."""
        before = self.layers()
        plan = plan_build(self.request(**asked), discard, CancelToken())
        assert self.layers() == before
        return plan

    def layers(self) -> list[str]:
        """Everything in the store but its database, locks, and documents of bases."""
        store = self.made.store
        found = []
        for path in sorted(store.rglob("*")) if store.exists() else []:
            name = str(path.relative_to(store))
            if path.is_file() and not name.startswith(("state.db", "locks", "version", "CACHE")):
                try:
                    json.loads(path.read_bytes())
                except ValueError:
                    found.append(name)
        return found

    def check(self, **asked: object) -> dict[str, str]:
        """Plan, build, compare; the fates by step."""
        plan = self.plan(**asked)
        # What was written in the very tick of the start is built twice: other steps.
        next_file_clock_ns()
        events: list[Event] = []
        outcome = build_images(self.request(**asked), events.append, CancelToken())
        names = {event.id: event.name for event in events if isinstance(event, StepStarted)}
        steps = set(names.values()) & {step.name for step in plan.steps}
        # An instruction may be several vertices, such as a download and a copy.
        ended: dict[str, set[Outcome]] = {}
        for event in events:
            if isinstance(event, StepEnded) and names[event.id] in steps:
                ended.setdefault(names[event.id], set()).add(event.outcome)
        fates = {step.name: step.fate for step in plan.steps}
        assert len(fates) == len(plan.steps), "two steps of one name"
        for name, fate in fates.items():
            if fate == "not needed":
                assert name not in ended, f"{name} was not needed, and ran"
            else:
                told = ended.get(name, set())
                assert told & _SAYS[fate], (name, fate, told, plan.steps)
                assert len(told) == 1 or "ADD" in name, (name, told)
        for step in plan.steps:
            assert bool(step.why) == (step.fate in ("runs", "may run")), step
        if not plan.steps:
            assert all(image.reused for image in outcome.images)
            assert ended == {}
            assert not names
        assert [image.tags for image in outcome.images] == [image.tags for image in plan.images]
        platforms = [image.platform for image in outcome.images]
        assert platforms == [",".join(image.platforms) for image in plan.images]
        return fates


def _of(fates: dict[str, str], pattern: str) -> str:
    (found,) = {fate for name, fate in fates.items() if re.search(pattern, name)}
    return found


TOML = """
[build]
base = "static"

[image.api]
packages = ["./cmd/api"]
files = [{ from = "web", to = "/srv/www" }]

[image.tool]
packages = ["./cmd/tool"]
"""


def test_go_images(project: Make, registry: FaultRegistry) -> None:
    """A dozen changes of a module with two images."""
    made = project({"cmd/api/main.go": MAIN, "cmd/tool/main.go": MAIN, "web/a.txt": "a",
                    "wherry.toml": TOML})  # fmt: skip
    planner = Planner(made)
    fates = planner.check()
    assert set(fates.values()) == {"runs"}
    assert planner.check() == {}

    made.write("cmd/api/main.go", MAIN.replace('"x"', '"y"'))
    fates = planner.check()
    assert (_of(fates, "^base static"), _of(fates, "^files"), _of(fates, "^build")) == (
        "reused", "reused", "runs",
    )  # fmt: skip
    assert "main.go" in planner_reason(planner, made)

    made.write("web/b.txt", "b")
    fates = planner.check()
    assert (_of(fates, "^base static"), _of(fates, "^files")) == ("reused", "runs")

    made.write("README", "nothing that is read")
    assert planner.check() == {}
    # Names alone make nothing new.
    planner.check(labels=(("team", "shop"),))
    fates = planner.check(target="tool")
    assert _of(fates, "^base static") == "reused"
    other = "linux/arm64" if host_platform().architecture != "arm64" else "linux/amd64"
    fates = planner.check(platform=f"{host_platform()},{other}")
    assert len([name for name in fates if name.startswith("build ")]) == 2
    assert planner.check(platform=f"{host_platform()},{other}") == {}
    assert set(planner.check(no_cache=True).values()) == {"runs"}
    fates = planner.check(base="scratch")
    assert "base static" not in fates
    registry.put_image("base/os", "1", [layer({"etc/x": "x"})], platform=str(host_platform()))
    base = f"{registry.host}/base/os:1"
    fates = planner.check(base=base, target="tool")
    assert _of(fates, "^base") == "is read"
    assert planner.check(base=base, target="tool") == {}
    planner.check(base=base, target="tool", pull=True)
    assert planner.check(base=base, target="tool", pull=True) == {}
    registry.put_image("base/os", "1", [layer({"etc/x": "y"})], platform=str(host_platform()))
    # What a tag means is asked once, and again with --pull.
    assert planner.check(base=base, target="tool") == {}
    assert "moved" in planner.plan(base=base, target="tool", pull=True).reason
    planner.check(base=base, target="tool", pull=True)
    made.write("wherry.toml", TOML.replace("[build]", '[build]\ncompression = "zstd"'))
    assert set(planner.check().values()) == {"runs"}


def planner_reason(planner: Planner, made: Project) -> str:
    """Why Go would run after one more change."""
    made.write("cmd/api/main.go", MAIN.replace('"x"', '"z"'))
    reason = planner.plan().reason
    planner.check()
    return reason


def test_files_on_a_base_that_is_not_here(project: Make, registry: FaultRegistry) -> None:
    """They depend on the base's layers, which a plan does not fetch."""
    registry.put_image(
        "base/os", "1", [layer({"etc/passwd": "alice:x:7:7::/:/\n"})],
        platform=str(host_platform()),
    )  # fmt: skip
    made = project({
        "main.go": MAIN, "web/a.txt": "a",
        "wherry.toml": f'[build]\nbase = "{registry.host}/base/os:1"\n[image.m]\n'
                       'packages = ["."]\n'
                       'files = [{ from = "web", to = "/srv", owner = "alice" }]\n',
    })  # fmt: skip
    planner = Planner(made)
    plan = planner.plan()
    assert registry.count("GET", _BLOBS) == 1, "more than the config was fetched"
    (files,) = (step for step in plan.steps if step.name.startswith("files"))
    assert files.fate == "may run"
    assert "would have to be fetched" in files.why
    build_images(planner.request(), discard, CancelToken())
    made.write("main.go", MAIN.replace('"x"', '"y"'))
    # Now the layers are here.
    assert _of(planner.check(), "^files") == "reused"


STAGES = """\
FROM scratch AS one
COPY a.txt c.txt /
COPY b.txt /b

FROM scratch AS other
COPY c.txt /

FROM scratch
ARG WORD=x
LABEL word=$WORD
COPY --from=one /a.txt /
COPY --from=one /b /b
"""


def _nothing_runs(fates: dict[str, str]) -> bool:
    """No step runs; while files are new to the clock they are looked at once more."""
    return set(fates.values()) <= {"reused", "is read", "not needed"}


def test_dockerfile_without_run(project: Make, registry: FaultRegistry) -> None:
    """A dozen changes of a Dockerfile and its context."""
    made = project({"a.txt": "a", "b.txt": "b", "c.txt": "c", "Dockerfile": STAGES})
    planner = Planner(made, "dockerfile")
    fates = planner.check()
    assert _of(fates, r"COPY a.txt c.txt") == "runs"
    # Behind steps that run, and with contents that nobody can know before.
    assert _of(fates, r"COPY --from=one /a.txt") == "may run"
    assert not any("COPY c.txt /" in name and fate == "runs" for name, fate in fates.items())
    assert _nothing_runs(planner.check())
    made.write("d.txt", "not copied")
    assert _nothing_runs(planner.check())
    made.write("c.txt", "new, and not in the image")
    fates = planner.check()
    assert _of(fates, r"COPY a.txt c.txt") == "runs"
    assert _of(fates, r"COPY --from=one /a.txt") == "may run"
    made.write("b.txt", "new")
    fates = planner.check()
    assert _of(fates, r"COPY a.txt c.txt") == "reused"
    assert _of(fates, r"COPY b.txt") == "runs"
    planner.check(build_args=(("WORD", "y"),))
    fates = planner.check(target="one")
    assert set(fates.values()) <= {"reused", "is read", "not needed"}
    fates = planner.check(no_cache=True)
    assert {fate for name, fate in fates.items() if "COPY" in name} == {"runs"}
    planner.check(no_cache_filter=("one",))
    made.write("Dockerfile", STAGES.replace("COPY b.txt /b", "COPY b.txt /b\nCOPY d.txt /d"))
    fates = planner.check()
    assert _of(fates, r"COPY b.txt") == "reused"
    assert _of(fates, r"COPY d.txt") == "runs"
    made.write("Dockerfile", STAGES.replace("FROM scratch\nARG", "FROM static\nARG"))
    registry.put_image("base/os", "1", [layer({"etc/x": "x"})], platform=str(host_platform()))
    made.write("Dockerfile", STAGES.replace("FROM scratch\nARG",
                                            f"FROM {registry.host}/base/os:1\nARG"))  # fmt: skip
    fates = planner.check()
    assert _of(fates, rf"FROM {registry.host}") == "is read"
    registry.put_image("base/os", "1", [layer({"etc/x": "y"})], platform=str(host_platform()))
    planner.check(pull=True)
    other = "linux/arm64" if host_platform().architecture != "arm64" else "linux/amd64"
    made.write("Dockerfile", STAGES)
    planner.check(platform=other)
    planner.check(labels=(("a", "b"),))


def test_what_would_be_fetched_is_not(project: Make, registry: FaultRegistry) -> None:
    registry.put_image("base/os", "1", [layer({"etc/x": "x"})], platform=str(host_platform()))
    blob = registry.put_blob("base/files", b"a file" * 1000)
    url = f"{registry.url}/v2/base/files/blobs/{blob}"
    made = project({
        "Dockerfile": f"FROM scratch\nADD {url} /file\n"
                      f"COPY --from={registry.host}/base/os:1 /etc/x /x\n"
    })  # fmt: skip
    planner = Planner(made, "dockerfile")
    registry.forget_requests()
    plan = planner.plan()
    assert not [seen for seen in registry.seen("GET", "base/files") if seen.sent > 1000]
    assert registry.count("GET", _BLOBS) == 1, "more than the base's config was fetched"
    fates = {step.name: step.fate for step in plan.steps}
    assert {fate for name, fate in fates.items() if "ADD" in name} == {"may run"}
    assert {fate for name, fate in fates.items() if "COPY --from" in name} == {"may run"}
    planner.check()
    planner.check()


@needs_gcc
def test_dockerfile_with_run(project: Make, tmp_path: Path) -> None:
    """RUN steps: what they gave is a new root each time, unless it was found."""
    program = compile_c(
        tmp_path / "t",
        '#include <stdio.h>\nint main(int c, char **v)'
        '{ FILE *f = fopen(v[1], "w"); fputs(v[2], f); return fclose(f); }\n',
        "-static",
    )  # fmt: skip
    made = project({"b.txt": "b", "c.txt": "c"})
    (made.root / "t").write_bytes(program.read_bytes())
    (made.root / "t").chmod(0o755)
    text = (
        'FROM scratch\nCOPY t /t\nRUN ["/t", "/one", "1"]\nCOPY b.txt /\nRUN ["/t", "/two", "2"]\n'
    )
    made.write("Dockerfile", text)
    planner = Planner(made, "dockerfile")
    try:
        fates = planner.check()
    except MachineError as error:
        pytest.skip(f"no RUN here: {error}")
    assert _of(fates, r"COPY t /t") == "runs"
    assert _nothing_runs(planner.check())
    made.write("b.txt", "new")
    fates = planner.check()
    assert _of(fates, r'RUN \["/t", "/one"') == "reused"
    assert _of(fates, r"COPY b.txt") == "runs"
    assert _of(fates, r'RUN \["/t", "/two"') == "may run"
    made.write("Dockerfile", text + "COPY c.txt /\n")
    fates = planner.check()
    assert _of(fates, r'RUN \["/t", "/two"') == "reused"
    assert _of(fates, r"COPY c.txt") == "runs"
    made.write("Dockerfile", text.replace('"1"', '"3"'))
    fates = planner.check()
    assert _of(fates, r'RUN \["/t", "/one"') == "runs"
    assert _of(fates, r'RUN \["/t", "/two"') == "may run"
    fates = planner.check(no_cache=True)
    assert {fate for name, fate in fates.items() if "RUN" in name} == {"runs"}


def test_text_and_json(project: Make, wherry: Wherry) -> None:
    made = project({"cmd/api/main.go": MAIN, "cmd/tool/main.go": MAIN, "web/a.txt": "a",
                    "wherry.toml": TOML})  # fmt: skip
    told = wherry("build", "--dry-run", "--push", "-t", "x.invalid/a:1", "--target", "api",
                  cwd=made.root)  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert re.search(r"^image x.invalid/a:1 for linux/\S+ -> --push$", told.stdout, re.MULTILINE)
    assert re.search(r"^  runs +build api .*\(first build\)$", told.stdout, re.MULTILINE)
    several = json.loads(wherry("build", "--dry-run", "--json", cwd=made.root).stdout)
    assert set(several) == {"images", "steps", "reason", "failures"}
    assert [image["name"] for image in several["images"]] == ["api", "tool"]
    assert all(set(step) == {"name", "fate", "why", "image"} for step in several["steps"])
    (files,) = (step for step in several["steps"] if step["name"].startswith("files"))
    assert files["image"] == "api"


def test_what_cannot_be_is_told_as_a_build_tells_it(project: Make, wherry: Wherry) -> None:
    """The same words on stderr and the same exit code, whatever of the plan there is."""
    files = {"cmd/api/main.go": MAIN, "cmd/tool/main.go": MAIN, "wherry.toml": TOML}
    made = project(files)
    for words, planned in ((("build",), "image tool:latest"), (("build", "--target", "api"), ""),
                           (("build", "--push"), ""), (("build", "./nowhere"), "")):  # fmt: skip
        dry = wherry(*words, "--dry-run", "-q", cwd=made.root)
        built = wherry(*words, "-q", cwd=made.root)
        assert dry.returncode == built.returncode == 2, (words, dry.stderr, built.stderr)
        assert dry.stderr == built.stderr
        assert planned in dry.stdout
        assert "image api" not in dry.stdout
