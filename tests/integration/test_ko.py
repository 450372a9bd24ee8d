# SPDX-License-Identifier: Apache-2.0
"""The same projects built by ko and, after `wherry init --from-ko`, by wherry.

ko is the reference: its program and its kodata have to be in wherry's image to the byte, at
wherry's own place for programs, with the same user and what the program sees of them.
"""

import io
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from ko_images import Image, ko, read_images
from registry_servers import Server
from wherry.oci.platform import host_platform
from wherry_fixtures import Finished

__all__ = ["ko"]

Wherry = Callable[..., Finished]

# Minutes where Go has to build ko first.
pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]

_MAIN = """\
package main

import (
	"fmt"
	"os"
)

var version = "unknown"

func main() {
	data, err := os.ReadFile(os.Getenv("KO_DATA_PATH") + "/greeting.txt")
	fmt.Println(version, extra, string(data), err)
}
"""
_EXTRA = 'package main\n\nconst extra = "{0}"\n'
_PROGRAM = {
    "main.go": _MAIN,
    "with.go": f"//go:build special\n\n{_EXTRA.format('built with it')}",
    "without.go": f"//go:build !special\n\n{_EXTRA.format('built without it')}",
}


@pytest.fixture(scope="session")
def base(docker_registry: Server, crane: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A base with a user and a PATH of its own, in a registry."""
    directory = tmp_path_factory.mktemp("base")
    with tarfile.open(directory / "base.tar", "w") as archive:
        file = tarfile.TarInfo("etc/os-release")
        file.size = 5
        archive.addfile(file, io.BytesIO(b"ID=x\n"))
    name = f"{docker_registry.host}/ko/base:1"
    ones = []
    for platform in sorted({"linux/amd64", "linux/arm64", str(host_platform())}):
        one = name.replace(":1", f":{platform.replace('/', '-')}")
        ones += ["-m", one]
        _crane(crane, directory, "append", "-f", "base.tar", "-t", one)
        _crane(crane, directory, "mutate", "--set-platform", platform, "--user", "1234:1234",
               "--env", "PATH=/bin", "-t", one, one)  # fmt: skip
    _crane(crane, directory, "index", "append", *ones, "-t", name)
    return name


def _crane(crane: Path, directory: Path, *words: str) -> None:
    argv = [crane, *words, "--insecure"]
    subprocess.run(argv, cwd=directory, check=True, capture_output=True, timeout=60)


class Both(NamedTuple):
    """One package, as each of the two built it."""

    ko: Image
    wherry: Image
    notes: str


@pytest.fixture
def both(
    ko: Path, base: str, wherry: Wherry, go_env: dict[str, str], tmp_path: Path
) -> Callable[..., Both]:
    """`both({file: text}, ko_yaml, package, target)`: write the project, build it twice."""

    def build(
        files: dict[str, str],
        ko_yaml: str,
        package: str = ".",
        target: str = "",
        platforms: str = "",
        **env: str,
    ) -> Both:
        root = tmp_path / "project"
        for name, text in {"go.mod": "module example.com/m\n\ngo 1.21\n", **files}.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        chosen = platforms or str(host_platform())
        head = f"defaultBaseImage: {base}\ndefaultPlatforms: [{chosen}]\n"
        (root / ".ko.yaml").write_text(head + ko_yaml)
        around = {**go_env, "CGO_ENABLED": "0", "GOFLAGS": "", **env}
        layout = f"--oci-layout-path={tmp_path / 'ko'}"
        argv = [ko, "build", "--push=false", "--sbom=none", layout, package]
        done = subprocess.run(
            argv, cwd=root, env={**around, "KO_DOCKER_REPO": "localhost/ko"}, capture_output=True,
            text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        notes = wherry("init", "--from-ko", cwd=root, more=around)
        assert notes.returncode == 0, notes.stderr
        words = ("--target", target) if target else (package,)
        output = f"type=oci,tar=false,dest={tmp_path / 'wherry'}"
        built = wherry("build", *words, "-o", output, cwd=root, more=around)
        assert built.returncode == 0, built.stderr
        each = (next(iter(read_images(tmp_path / name).values())) for name in ("ko", "wherry"))
        return Both(*each, notes.stderr)

    return build


def _same(found: Both, name: str) -> None:
    """The same program at each one's place, the same kodata, the same to the program."""
    assert set(found.ko.below("/ko-app/")) == set(found.wherry.below("/app/")) == {name}
    # No comparison that pytest would print.
    is_same = found.ko.files[f"/ko-app/{name}"] == found.wherry.files[f"/app/{name}"]
    assert is_same, "another program than ko's"
    assert found.ko.below("/var/run/ko/") == found.wherry.below("/var/run/ko/")
    assert found.ko.files["/etc/os-release"] == found.wherry.files["/etc/os-release"]
    assert found.wherry.modes[f"/app/{name}"] & 0o555 == found.ko.modes[f"/ko-app/{name}"]
    ko, wherry = found.ko.config, found.wherry.config
    assert (ko["Entrypoint"], wherry["Entrypoint"]) == ([f"/ko-app/{name}"], [f"/app/{name}"])
    assert not ko.get("Cmd")
    assert not wherry.get("Cmd")
    assert ko["User"] == wherry["User"]
    assert ko.get("WorkingDir", "") == wherry.get("WorkingDir", "")
    environment = [text.replace("/ko-app", "/app") for text in ko["Env"]]
    if not found.ko.below("/var/run/ko/"):
        # ko names the directory also where there is nothing in it.
        environment = [text for text in environment if not text.startswith("KO_DATA_PATH=")]
    assert sorted(environment) == sorted(wherry["Env"])


# Without -s and -w ko keeps the symbols that wherry leaves out; Go's build ID holds all flags as
# they were written, -s twice as well.
_LDFLAGS = "defaultLdflags: [-s -w -buildid=]\n"


def test_the_root_of_a_module(both: Callable[..., Both]) -> None:
    found = both(_PROGRAM, _LDFLAGS)
    _same(found, "m")
    assert found.notes == ""


def test_builds_with_flags_templates_and_kodata(both: Callable[..., Both]) -> None:
    ko_yaml = """
builds:
- id: api
  main: ./cmd/api/main.go
  env: [CHANNEL=beta]
  flags: -tags special
  ldflags: [-s -w -buildid=, "-X 'main.version={{.Env.VERSION}} {{.Env.CHANNEL}} {{.Env.LDFLAGS}}'"]
- id: other
  main: ./cmd/other
"""
    files = {
        **{f"cmd/api/{name}": text for name, text in _PROGRAM.items()},
        **{f"cmd/other/{name}": text for name, text in _PROGRAM.items()},
        "cmd/api/kodata/greeting.txt": "hello",
        "cmd/api/kodata/deep/er/page.html": "<p>",
    }
    found = both(files, ko_yaml, "./cmd/api", "api", VERSION="v1.2.3")
    _same(found, "api")
    program = found.wherry.files["/app/api"]
    assert b"v1.2.3 beta " in program
    assert b"built with it" in program
    assert found.wherry.files["/var/run/ko/deep/er/page.html"] == b"<p>"
    assert found.notes == ""


def test_defaults_hold_for_what_an_entry_does_not_say(both: Callable[..., Both]) -> None:
    ko_yaml = """
defaultLdflags: [-s, -w, -buildid=, -X main.version=default]
defaultFlags: [-tags=special]
builds:
- id: one
  main: ./one
- id: two
  main: ./two
  ldflags: [-s -w -buildid=]
  flags: [-v]
"""
    files = {f"{place}/{name}": text for place in ("one", "two") for name, text in _PROGRAM.items()}
    found = both(files, ko_yaml, "./one", "one")
    _same(found, "one")
    assert b"built with it" in found.wherry.files["/app/one"]


def test_an_entry_that_replaces_the_defaults(both: Callable[..., Both]) -> None:
    ko_yaml = """
defaultLdflags: [-X main.version=default]
defaultFlags: [-tags=special]
builds:
- id: two
  main: ./two
  ldflags: [-s -w -buildid=]
  flags: [-v]
"""
    found = both({f"two/{name}": text for name, text in _PROGRAM.items()}, ko_yaml, "./two", "two")
    _same(found, "two")
    assert b"built without it" in found.wherry.files["/app/two"]


def test_capabilities(both: Callable[..., Both]) -> None:
    ko_yaml = """
builds:
- id: m
  ldflags: [-s -w -buildid=]
  linux_capabilities: net_bind_service,chown=ep
"""
    found = both(_PROGRAM, ko_yaml)
    _same(found, "m")
    assert list(found.ko.capabilities.values()) == list(found.wherry.capabilities.values()) != []


def test_links_in_kodata(both: Callable[..., Both], tmp_path: Path) -> None:
    """To a file, to a directory and through another link; ko 0.19 takes none that lead out."""
    data = tmp_path / "project/cmd/m/kodata"
    data.mkdir(parents=True)
    for name, target in (("HEAD", "again.txt"), ("again.txt", "greeting.txt"), ("all", "deep")):
        (data / name).symlink_to(target)
    files = {f"cmd/m/{name}": text for name, text in _PROGRAM.items()}
    files |= {"cmd/m/kodata/greeting.txt": "hello", "cmd/m/kodata/deep/er/page.html": "<p>"}
    found = both(files, _LDFLAGS, "./cmd/m")
    _same(found, "m")
    there = found.wherry.below("/var/run/ko/")
    assert there["HEAD"] == there["again.txt"] == b"hello"
    assert there["all/er/page.html"] == there["deep/er/page.html"] == b"<p>"


def test_several_platforms_make_an_index(both: Callable[..., Both], tmp_path: Path) -> None:
    both(_PROGRAM, _LDFLAGS, platforms="linux/amd64,linux/arm64")
    ko, wherry = read_images(tmp_path / "ko"), read_images(tmp_path / "wherry")
    assert set(ko) == set(wherry) == {"linux/amd64", "linux/arm64"}
    for platform, image in ko.items():
        _same(Both(image, wherry[platform], ""), "m")
    assert len({image.files["/app/m"] for image in wherry.values()}) == 2
