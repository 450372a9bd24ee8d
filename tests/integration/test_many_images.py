# SPDX-License-Identifier: Apache-2.0
"""Several images, several programs, several platforms in one build."""

import json
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from wherry.api.building import build_images
from wherry.api.library import list_images
from wherry.api.request import BuildOutcome, BuildRequest
from wherry.errors import BuildError, SeveralErrors, UsageError
from wherry.events import Event, StepStarted
from wherry.process.cancel import CancelToken
from wherry.process.clock import next_file_clock_ns
from wherry_fixtures import GO_MOD, Finished, Project

Make = Callable[..., Project]

SAYS = (
    'package main\n\nimport "example.com/m/lib"\n\nfunc main() {{ println(lib.Word, "{name}") }}\n'
)
BROKEN = "package main\n\nfunc main() { nothing() }\n"
LIB = 'package lib\n\nconst Word = "says"\n'
NAMES = ("api", "migrate", "worker")
MACHINES = {"amd64": 62, "arm64": 183, "riscv64": 243}


def commands(**others: str) -> dict[str, str]:
    files = {f"cmd/{name}/main.go": SAYS.format(name=name) for name in NAMES}
    return {"go.mod": GO_MOD, "lib/lib.go": LIB, **files, **others}


def build(project: Project, *sources: str, **asked: object) -> BuildOutcome:
    request = BuildRequest(
        sources[0] if sources else ".", str(project.root), dict(project.env), str(project.store),
        base="scratch", more_sources=sources[1:],
    )  # fmt: skip
    # What was written in the very tick of the start is built twice: other steps.
    next_file_clock_ns()
    events: list[Event] = []
    outcome = build_images(request._replace(**asked), events.append, CancelToken())  # type: ignore[arg-type]
    project.steps = [event.name for event in events if isinstance(event, StepStarted)]  # type: ignore[attr-defined]
    return outcome


def layers(project: Project, digest: str) -> list[str]:
    return [layer["digest"] for layer in json.loads(project.blob(digest))["layers"]]


def test_every_main_package_of_a_pattern_is_an_image(project: Make) -> None:
    made = project(commands())
    outcome = build(made, "./...")
    assert [image.tags for image in outcome.images] == [(f"{name}:latest",) for name in NAMES]
    assert outcome.plural
    assert not outcome.failures
    # All with one command.
    assert made.steps == ["build 3 programs for linux/amd64"] or len(made.steps) == 1  # type: ignore[attr-defined]
    for image in outcome.images:
        made.source = f"./cmd/{image.binaries[0].name}"
        assert made.program(image) == made.plain()


def test_an_image_is_the_same_alone_and_among_others(project: Make) -> None:
    made = project(commands())
    together = {image.tags: image.digest for image in build(made, "./...").images}
    for name in NAMES:
        (alone,) = build(made, f"./cmd/{name}").images
        assert together[alone.tags] == alone.digest


def test_several_sources(project: Make) -> None:
    made = project(commands())
    outcome = build(made, "./cmd/worker", "./cmd/api")
    assert [image.tags for image in outcome.images] == [("worker:latest",), ("api:latest",)]
    again = build(made, "./cmd/worker", "./cmd/api")
    assert all(image.reused for image in again.images)
    assert [image.digest for image in again.images] == [image.digest for image in outcome.images]
    made.write("lib/lib.go", LIB.replace("says", "said"))
    changed = build(made, "./cmd/worker", "./cmd/api")
    assert not any(image.reused for image in changed.images)
    for before, after in zip(outcome.images, changed.images, strict=True):
        assert before.digest != after.digest
        made.source = f"./cmd/{after.binaries[0].name}"
        assert made.program(after) == made.plain()


def settle(project: Project) -> None:
    """Make all files older than what proves nothing by its time."""
    time.sleep(2.1)
    build(project, "./...")
    assert all(image.reused for image in build(project, "./...").images)


@pytest.mark.parametrize(
    ("name", "text", "programs"),
    [
        ("cmd/extra/main.go", SAYS.format(name="extra"), 4),
        ("other/other.go", "package main\n\nfunc main() {}\n", 4),
        ("other/other.go", "package other\n\n// changed\n", 3),
        ("other/more.go", "package other\n", 3),
        ("new/go.mod", "module example.com/new\n", 3),
        ("cmd/api/new.go", "package main\n", 3),
        ("lib/lib.go", LIB.replace("says", "said"), 3),
    ],
)
def test_a_pattern_is_looked_through_again(
    project: Make, name: str, text: str, programs: int
) -> None:
    made = project(commands(**{"other/other.go": "package other\n"}))
    build(made, "./...")
    settle(made)
    made.write(name, text)
    after = build(made, "./...").images
    assert len(after) == programs
    for image in after:
        made.source = (
            "./other" if image.tags[0].startswith("other") else (f"./cmd/{image.binaries[0].name}")
        )
        assert made.program(image) == made.plain()


@pytest.mark.parametrize(
    "name",
    ["README.md", "testdata/x/main.go", "_old/main.go", ".hidden/main.go", "lib/lib_test.go"],
)
def test_what_a_pattern_passes_by_changes_nothing(project: Make, name: str) -> None:
    made = project(commands())
    build(made, "./...")
    settle(made)
    made.write(name, "package lib\n")
    images = build(made, "./...").images
    assert all(image.reused for image in images) == (name != "lib/lib_test.go")


def test_one_failing_image_does_not_stop_the_others(project: Make) -> None:
    made = project(commands(**{"cmd/migrate/main.go": BROKEN}))
    outcome = build(made, "./...")
    assert [image.tags[0] for image in outcome.images] == ["api:latest", "worker:latest"]
    (failure,) = outcome.failures
    assert failure.name == "migrate"
    assert "cmd/migrate/main.go:3:15: undefined: nothing" in str(failure.error)
    for image in outcome.images:
        made.source = f"./cmd/{image.binaries[0].name}"
        assert made.program(image) == made.plain()
    made.write("cmd/migrate/main.go", SAYS.format(name="migrate"))
    mended = build(made, "./...")
    assert not mended.failures
    assert len(mended.images) == 3


def test_what_all_need_and_is_broken_is_one_error(project: Make) -> None:
    made = project(commands(**{"lib/lib.go": "package lib\n\nconst Word = nothing\n"}))
    with pytest.raises(BuildError, match=r"lib\.go:3:14"):
        build(made, "./...")


def test_all_failing_in_their_own_ways_are_told_together(project: Make) -> None:
    broken = {f"cmd/{name}/main.go": BROKEN.replace("nothing", f"no_{name}") for name in NAMES}
    made = project(commands(**broken))
    with pytest.raises(SeveralErrors) as caught:
        build(made, "./...")
    assert caught.value.code == 1
    assert [name for name in NAMES if f"no_{name}" not in str(caught.value)] == []


TOML = """
[build]
labels = { team = "shop" }

[image.shop]
packages = ["./cmd/api", "./cmd/migrate"]
tags = ["shop/api:1", "shop/api:latest"]

[image.worker]
packages = ["example.com/m/cmd/worker"]
env = { MODE = "work" }
"""


def test_images_of_the_settings_file(project: Make) -> None:
    made = project(commands(**{"wherry.toml": TOML}))
    shop, worker = build(made).images
    assert shop.tags == ("shop/api:1", "shop/api:latest")
    assert [binary.path for binary in shop.binaries] == ["/app/api", "/app/migrate"]
    config = json.loads(made.blob(shop.config_digest))
    assert config["config"]["Entrypoint"] == ["/app/api"]
    assert config["config"]["Labels"]["team"] == "shop"
    # One layer for each program, and nothing else on an empty base.
    assert len(layers(made, shop.digest)) == 2
    assert worker.tags == ("worker:latest",)
    assert "MODE=work" in json.loads(made.blob(worker.config_digest))["config"]["Env"]
    assert all(image.reused for image in build(made).images)


@pytest.mark.parametrize(
    ("target", "expected"),
    [("worker", ["worker:latest"]), ("worker,shop", ["worker:latest", "shop/api:1"])],
)
def test_targets(project: Make, target: str, expected: list[str]) -> None:
    made = project(commands(**{"wherry.toml": TOML}))
    assert [image.tags[0] for image in build(made, target=target).images] == expected
    with pytest.raises(UsageError, match="no image 'work'"):
        build(made, target="work")


def test_a_package_gets_the_settings_of_its_image(project: Make) -> None:
    made = project(commands(**{"wherry.toml": TOML}))
    (shop,) = build(made, "./cmd/api").images
    assert shop.tags[0] == "shop/api:1"
    names = [image.tags[0] for image in build(made, "./...").images]
    assert sorted(names) == ["shop/api:1", "worker:latest"]


def test_one_broken_program_of_an_image_fails_that_image(project: Make) -> None:
    made = project(commands(**{"wherry.toml": TOML, "cmd/migrate/main.go": BROKEN}))
    outcome = build(made)
    assert [image.tags[0] for image in outcome.images] == ["worker:latest"]
    assert [failure.name for failure in outcome.failures] == ["shop"]


def test_an_image_whose_package_is_missing(project: Make) -> None:
    text = TOML.replace("./cmd/migrate", "./cmd/nowhere")
    made = project(commands(**{"wherry.toml": text}))
    outcome = build(made)
    assert [image.tags[0] for image in outcome.images] == ["worker:latest"]
    (failure,) = outcome.failures
    assert "./cmd/nowhere" in str(failure.error)


def test_an_image_whose_template_has_no_value_does_not_stop_the_others(project: Make) -> None:
    text = (
        '[image.api]\npackages = ["./cmd/api"]\nlabels = { a = "{{.Env.NOWHERE}}" }\n'
        '[image.worker]\npackages = ["./cmd/worker"]\n'
    )
    made = project(commands(**{"wherry.toml": text}))
    outcome = build(made)
    assert [image.tags[0] for image in outcome.images] == ["worker:latest"]
    (failure,) = outcome.failures
    assert failure.name == "api"
    assert "NOWHERE" in str(failure.error)
    with pytest.raises(UsageError, match="NOWHERE"):
        build(made, target="api")


def test_two_images_of_one_name_are_refused(project: Make) -> None:
    made = project(commands(**{"other/api/main.go": SAYS.format(name="other")}))
    with pytest.raises(UsageError, match="two images would be named api:latest"):
        build(made, "./...")
    with pytest.raises(UsageError, match="cannot all be named one"):
        build(made, "./cmd/...", tags=("one",))


def test_unchanged_images_are_not_given_one_name_either(project: Make) -> None:
    made = project(commands())
    settle(made)
    with pytest.raises(UsageError, match="cannot all be named one"):
        build(made, "./...", tags=("one",))
    assert not [image for image in list_images(str(made.store)) if "one" in str(image)]


def test_programs_of_one_name_in_one_image_are_refused(project: Make) -> None:
    text = '[image.both]\npackages = ["./cmd/api", "./other/api"]\n'
    files = {"other/api/main.go": SAYS.format(name="other"), "wherry.toml": text}
    made = project(commands(**files))
    with pytest.raises(UsageError, match="two programs of the image both are called api"):
        build(made)


def test_platforms_make_an_index(project: Make) -> None:
    made = project(commands())
    (image,) = build(made, "./cmd/api", platform="linux/amd64,linux/arm64,linux/riscv64").images
    index = json.loads(made.blob(image.digest))
    assert index["mediaType"] == "application/vnd.oci.image.index.v1+json"
    assert image.platform == "linux/amd64,linux/arm64,linux/riscv64"
    for entry in index["manifests"]:
        architecture = entry["platform"]["architecture"]
        assert entry["platform"]["os"] == "linux"
        manifest = json.loads(made.blob(entry["digest"]))
        config = json.loads(made.blob(manifest["config"]["digest"]))
        assert config["architecture"] == architecture
        (binary,) = [item for item in image.binaries if architecture in item.platform]
        single = image._replace(digest=entry["digest"], binaries=(binary,))
        machine = struct.unpack_from("<H", made.program(single), 18)[0]
        assert machine == MACHINES[architecture]
    (again,) = build(made, "./cmd/api", platform="linux/amd64,linux/arm64,linux/riscv64").images
    assert again.reused
    # The manifests are those of builds for one platform.
    (alone,) = build(made, "./cmd/api", platform="linux/arm64").images
    assert alone.digest == index["manifests"][1]["digest"]


def test_one_platform_named_twice_is_no_index(project: Make) -> None:
    made = project(commands())
    (image,) = build(made, "./cmd/api", platform="linux/amd64,linux/amd64").images
    assert json.loads(made.blob(image.digest))["mediaType"].endswith("manifest.v1+json")


@pytest.mark.parametrize(
    "platforms",
    ["linux/386/sse2,linux/386/softfloat", "linux/mipsle/softfloat,linux/mipsle"],
)
def test_variants_that_images_have_no_name_for_make_no_index(project: Make, platforms: str) -> None:
    made = project(commands())
    with pytest.raises(UsageError, match="one platform") as caught:
        build(made, "./cmd/api", platform=platforms)
    assert all(text in f"{caught.value.what} {caught.value.why}" for text in platforms.split(","))
    assert caught.value.hint


def test_a_variant_of_the_environment_stands_beside_a_named_one(project: Make) -> None:
    made = project(commands())
    made.env["GOAMD64"] = "v3"
    (image,) = build(made, "./cmd/api", platform="linux/amd64,linux/amd64/v1").images
    assert image.platform == "linux/amd64/v3,linux/amd64"
    (image,) = build(made, "./cmd/api", platform="linux/amd64,linux/amd64/v3").images
    assert image.platform == "linux/amd64/v3"


def test_the_command_line(project: Make, wherry: Callable[..., Finished], store: Path) -> None:
    made = project(commands(**{"cmd/migrate/main.go": BROKEN}))
    done = wherry("build", "--base", "scratch", "./...", cwd=made.root)
    assert done.returncode == 1
    assert [line.partition("@")[0] for line in done.stdout.splitlines()] == [
        "api:latest", "worker:latest",
    ]  # fmt: skip
    assert done.stderr.count("undefined: nothing") == 1
    assert "migrate: not built" in done.stderr
    assert "2 of 3 images built in" in done.stderr
    told = wherry("build", "--base", "scratch", "--json", "./...", cwd=made.root)
    value = json.loads(told.stdout)
    assert [image["tags"] for image in value["images"]] == [["api:latest"], ["worker:latest"]]
    assert [(item["name"], item["code"]) for item in value["failures"]] == [("migrate", 1)]
    alone = wherry("build", "--base", "scratch", "--json", "./cmd/api", cwd=made.root)
    assert json.loads(alone.stdout)["tags"] == ["api:latest"]
    assert os.path.isdir(store)
