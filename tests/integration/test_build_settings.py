# SPDX-License-Identifier: Apache-2.0
"""What `wherry.toml` and ko's file make of an image, and what is told before anything is built."""

import gzip
import io
import json
import subprocess
import tarfile
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from wherry.api.library import list_images
from wherry.fstree.capabilities import read
from wherry_fixtures import GO_MOD, MAIN, Finished, Project

Make = Callable[..., Project]
Wherry = Callable[..., Finished]

VERSIONED = 'package main\n\nvar version = "none"\n\nfunc main() { println(version) }\n'


def members(project: Project, digest: str) -> dict[str, tarfile.TarInfo]:
    """All entries of an image's layers by name."""
    found: dict[str, tarfile.TarInfo] = {}
    for layer in json.loads(project.blob(digest))["layers"]:
        data = gzip.decompress(project.blob(layer["digest"]))
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            found |= {member.name.rstrip("/"): member for member in archive}
    return found


def git(project: Project, *words: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=n", "-c", "user.email=n@example.com", *words],
        cwd=project.root, env=project.env, check=True, capture_output=True,
    )  # fmt: skip


FILES_TOML = """
[image.api]
packages = ["."]
ports = [80]
capabilities = ["CAP_NET_BIND_SERVICE"]
volumes = ["/data"]
files = [{ from = "web/**/*.css", to = "/srv/", owner = "7:8", mode = 0o640 }]
"""


def test_files_and_capabilities(project: Make) -> None:
    made = project({"main.go": MAIN, "wherry.toml": FILES_TOML, "web/a/x.css": "x", "web/y.js": ""})
    image = made.build()
    assert not [line for line in image.warnings if "port" in line]
    found = members(made, image.digest)
    css = found["srv/a/x.css"]
    assert (css.uid, css.gid, css.mode) == (7, 8, 0o640)
    assert "srv/y.js" not in found
    capability = found["app/m"].pax_headers["SCHILY.xattr.security.capability"]
    assert read(capability.encode("utf-8", "surrogateescape")) == ("net_bind_service",)
    config = json.loads(made.blob(image.config_digest))["config"]
    assert config["Volumes"] == {"/data": {}}
    assert config["ExposedPorts"] == {"80/tcp": {}}
    assert made.build().reused
    made.write("web/a/x.css", "y")
    assert not made.build().reused
    made.write("web/b/z.css", "z")
    again = made.build()
    assert not again.reused
    assert "srv/b/z.css" in members(made, again.digest)


def test_a_low_port_without_a_right_to_it_is_warned_of(project: Make) -> None:
    made = project({"main.go": MAIN, "wherry.toml": '[image.a]\npackages = ["."]\nports = [80]\n'})
    for image in (made.build(), made.build()):
        (warning,) = image.warnings
        assert "net_bind_service" in warning


def test_ko_data(project: Make) -> None:
    made = project({"main.go": MAIN, "kodata/page.html": "hello"})
    image = made.build()
    assert "var/run/ko/page.html" in members(made, image.digest)
    config = json.loads(made.blob(image.config_digest))["config"]
    assert "KO_DATA_PATH=/var/run/ko" in config["Env"]
    assert made.build().reused
    made.write("kodata/more.html", "more")
    assert not made.build().reused


TEMPLATES_TOML = """
[image.api]
packages = ["."]
tags = ["shop/api:{{.Version}}"]
labels = { who = "{{.Env.WHO}}" }
ldflags = ["-X main.version={{.Version}}"]
"""


def test_templates(project: Make, wherry: Wherry) -> None:
    made = project({"main.go": VERSIONED, "wherry.toml": TEMPLATES_TOML})
    git(made, "init", "-q")
    git(made, "add", "-A")
    git(made, "commit", "-qm", "one")
    git(made, "tag", "v1.2.3")
    made.env["WHO"] = "me"
    image = made.build()
    assert image.tags == ("shop/api:v1.2.3",)
    assert b"v1.2.3" in made.program(image)
    assert json.loads(made.blob(image.config_digest))["config"]["Labels"]["who"] == "me"
    assert made.build().reused
    made.env["WHO"] = "you"
    other = made.build()
    assert not other.reused
    assert json.loads(made.blob(other.config_digest))["config"]["Labels"]["who"] == "you"
    made.write("new.txt", "untracked")
    dirty = made.build()
    assert not dirty.reused
    assert dirty.tags == ("shop/api:v1.2.3-dirty",)
    assert b"v1.2.3+dirty" in made.program(dirty)
    del made.env["WHO"]
    told = wherry("build", cwd=made.root)
    assert told.returncode == 2
    assert "labels.who" in told.stderr
    assert "WHO is not set" in told.stderr


KO = """\
defaultBaseImage: scratch
builds:
- id: m
  main: .
  ldflags: ["-X main.version={{.Env.RELEASE}}"]
"""


def test_ko_s_file_counts_where_there_is_no_other(project: Make) -> None:
    made = project({"main.go": VERSIONED, ".ko.yaml": KO})
    made.env |= {"RELEASE": "seven", "KO_DOCKER_REPO": "registry.example.com/team"}
    image = made.build(base="scratch")
    assert b"seven" in made.program(image)
    assert made.build(base="scratch").reused
    made.write(".ko.yaml", KO.replace("main.version=", "main.version=x"))
    assert b"xseven" in made.program(made.build(base="scratch"))
    made.write("wherry.toml", "[build]\n")
    assert b"seven" not in made.program(made.build(base="scratch"))


@pytest.mark.parametrize(
    ("compression", "media_type"),
    [("gzip", "tar+gzip"), ("zstd", "tar+zstd"), ("uncompressed", "tar")],
)
def test_compression(project: Make, compression: str, media_type: str) -> None:
    made = project({"main.go": MAIN, "wherry.toml": f'[build]\ncompression = "{compression}"\n'})
    image = made.build()
    (layer,) = json.loads(made.blob(image.digest))["layers"]
    assert layer["mediaType"] == f"application/vnd.oci.image.layer.v1.{media_type}"


def test_settings_are_told_with_their_sources(project: Make, wherry: Wherry) -> None:
    text = '[build]\nbase = "scratch"\n\n[image.api]\npackages = ["."]\nuser = "7"\n'
    made = project({"main.go": MAIN, "wherry.toml": text})
    told = wherry("build", "--print-settings", "--stamp", "labels", cwd=made.root)
    assert told.returncode == 0, told.stderr
    value = tomllib.loads(told.stdout)
    assert value["image"]["api"] == {**value["image"]["api"], "base": "scratch", "user": "7"}
    lines = {line.partition(" ")[0]: line.partition("# ")[2] for line in told.stdout.splitlines()}
    assert lines["base"] == "wherry.toml:2"
    assert lines["user"] == "wherry.toml:6"
    assert lines["stamp"] == "--stamp"
    assert lines["cgo"] == "default"
    # Nothing was built.
    assert "api" not in wherry("images").stdout


def test_templates_without_values_are_told_together_with_their_lines(
    project: Make, wherry: Wherry
) -> None:
    text = (
        '[build]\nlabels = { a = "{{.Env.ONE}}", b = "x" }\n\n[image.api]\npackages = ["."]\n'
        'tags = [\n  "api:1",\n  "api:{{.Env.TWO}}",\n]\nlabels = { b = "{{.Env.THREE}}" }\n'
        'env = { A = "{{.Env.HERE}}" }\n'
    )
    made = project({"main.go": MAIN, "wherry.toml": text})
    told = wherry("build", cwd=made.root, more={"HERE": "here"})
    assert told.returncode == 2
    places = ("wherry.toml:8: image.api.tags: {{.Env.TWO}} has no value",
              "wherry.toml:2: build.labels.a: {{.Env.ONE}} has no value",
              "wherry.toml:10: image.api.labels.b: {{.Env.THREE}} has no value")  # fmt: skip
    assert all(place in told.stderr for place in places), told.stderr
    assert told.stderr.count("has no value") == 3


TWO_IMAGES = (
    '[build]\ngo = "1.26.8"\n\n[image.api]\npackages = ["./cmd/api"]\n\n[image.web]\n'
    'packages = ["example.com/m/cmd/web", "./cmd/api"]\n'
)


@pytest.mark.parametrize(
    ("source", "images"),
    [
        (".", {"api": ["./cmd/api"], "web": ["example.com/m/cmd/web", "./cmd/api"]}),
        ("./cmd", {"api": ["./cmd/api"], "web": ["example.com/m/cmd/web", "./cmd/api"]}),
        ("./cmd/api", {"api": ["./cmd/api"]}),
        ("./cmd/web/", {"web": ["example.com/m/cmd/web", "./cmd/api"]}),
        ("example.com/m/cmd/web", {"web": ["example.com/m/cmd/web", "./cmd/api"]}),
        ("./cmd/other", {"other": ["./cmd/other"]}),
    ],
)
def test_the_settings_told_are_those_of_what_is_built(
    project: Make, wherry: Wherry, source: str, images: dict[str, list[str]]
) -> None:
    programs = {f"cmd/{name}/main.go": MAIN for name in ("api", "web", "other")}
    made = project({**programs, "wherry.toml": TWO_IMAGES})
    told = wherry("build", "--print-settings", source, cwd=made.root)
    assert told.returncode == 0, told.stderr
    # One table for each, as a file has it.
    value = tomllib.loads(told.stdout)
    assert value["build"] == {"go": "1.26.8"}
    assert {name: image["packages"] for name, image in value["image"].items()} == images


def test_settings_of_several_sources_are_told_each_once(project: Make, wherry: Wherry) -> None:
    programs = {f"cmd/{name}/main.go": MAIN for name in ("api", "web", "other")}
    made = project({**programs, "wherry.toml": TWO_IMAGES})
    told = wherry("build", "--print-settings", "./cmd/other", "./cmd/api", "./cmd/api",
                  cwd=made.root)  # fmt: skip
    assert list(tomllib.loads(told.stdout)["image"]) == ["other", "api"]


def test_settings_of_ko_are_told_as_its(project: Make, wherry: Wherry) -> None:
    ko = "builds:\n- main: .\n  ldflags: [-X main.word=one]\n"
    made = project({"main.go": MAIN, ".ko.yaml": ko})
    told = wherry("build", "--print-settings", cwd=made.root)
    (row,) = [line for line in told.stdout.splitlines() if line.startswith("ldflags")]
    assert row.endswith("# .ko.yaml"), told.stdout


@pytest.mark.parametrize(
    "flags",
    [("--platform", "linux/bogus"), ("--platform", "linux/amd64,,"), ("--base", "Debian")],
)
def test_settings_are_not_told_of_what_a_build_refuses(
    project: Make, wherry: Wherry, flags: tuple[str, ...]
) -> None:
    made = project({"main.go": MAIN})
    built = wherry("build", *flags, cwd=made.root)
    told = wherry("build", "--print-settings", *flags, cwd=made.root)
    assert built.returncode == told.returncode == 2
    assert told.stdout == ""
    assert told.stderr == built.stderr


def test_a_dockerfile_has_no_settings_of_go_images(project: Make, wherry: Wherry) -> None:
    made = project({"main.go": MAIN, "Dockerfile": "FROM scratch\n"})
    told = wherry("build", "--print-settings", cwd=made.root)
    assert told.returncode == 0, told.stderr
    assert "Dockerfile" in told.stdout
    assert not {"build", "image"} & tomllib.loads(told.stdout).keys()


def test_a_dry_run_builds_nothing(project: Make, wherry: Wherry, store: Path) -> None:
    made = project({"main.go": MAIN})
    first = wherry("build", "--dry-run", cwd=made.root)
    assert first.returncode == 0, first.stderr
    assert "image m:latest for linux/" in first.stdout
    assert "runs  build m for linux/" in first.stdout
    assert "(first build)" in first.stdout
    assert len(list((store / "blobs").glob("sha256/*"))) == 0
    assert wherry("build", cwd=made.root).returncode == 0
    assert "no step runs" in wherry("build", "--dry-run", cwd=made.root).stdout
    made.write("main.go", MAIN.replace('"x"', '"y"'))
    changed = json.loads(wherry("build", "--dry-run", "--json", cwd=made.root).stdout)
    fates = {step["name"].split()[0]: step["fate"] for step in changed["steps"]}
    assert fates == {"base": "reused", "build": "runs"}
    assert "main.go" in changed["reason"]


def test_a_dry_run_of_a_dockerfile(project: Make, wherry: Wherry) -> None:
    made = project({"a.txt": "a", "b.txt": "b"})
    made.write("Dockerfile", "FROM scratch AS one\nCOPY a.txt /\n\nFROM scratch\nCOPY b.txt /\n"
                             "COPY --from=one /a.txt /\n")  # fmt: skip
    assert wherry("build", "-f", "Dockerfile", ".", cwd=made.root).returncode == 0
    made.write("b.txt", "c")
    told = json.loads(
        wherry("build", "--dry-run", "--json", "-f", "Dockerfile", ".", cwd=made.root).stdout
    )
    fates = {step["name"].rpartition("] ")[2]: step["fate"] for step in told["steps"]}
    assert fates["COPY a.txt /"] == "reused"
    assert fates["COPY b.txt /"] == "runs"
    assert fates["COPY --from=one /a.txt /"] == "may run"


def test_what_a_dry_run_cannot_plan(project: Make, wherry: Wherry) -> None:
    made = project({"go.mod": GO_MOD, "lib/lib.go": "package lib\n"})
    assert wherry("build", "--dry-run", cwd=made.root).returncode == 2


def test_an_image_is_kept_in_the_compression_that_its_output_names(project: Make) -> None:
    made = project({"main.go": MAIN})
    plain = made.build()
    packed = made.build(outputs=("type=image,name=packed:1,compression=zstd",))
    assert packed.digest != plain.digest
    assert packed.reference == f"packed:1@{packed.digest}"
    (layer,) = json.loads(made.blob(packed.digest))["layers"]
    assert layer["mediaType"].endswith("tar+zstd")
    names = {image.name: image.digest for image in list_images(str(made.store))}
    assert names["packed:1"] == packed.digest
