# SPDX-License-Identifier: Apache-2.0
"""Programs with C on bases: asked whether they can run before there is an image of them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fault_registry import FaultRegistry
from loader_bases import LIBC, LOADER, MUSL_LOADER, compile_c, needs_gcc, needs_musl
from registry_samples import image, layer
from wherry.api.building import build_images
from wherry.api.request import BuildRequest
from wherry.errors import BuildError, UsageError
from wherry.events import discard
from wherry.oci.platform import host_platform
from wherry.process.cancel import CancelToken
from wherry_fixtures import Project

Make = Callable[..., Project]

pytestmark = needs_gcc

MAIN = 'package main\n\nimport "C"\n\nfunc main() { println("x") }\n'
MATHS = (
    "package main\n\n// #include <math.h>\n// #cgo LDFLAGS: -lm\n"
    'import "C"\n\nfunc main() { println(int(C.cbrt(8))) }\n'
)
PLAIN = 'package main\n\nfunc main() { println("x") }\n'
PASSWD = "root:x:0:0::/:/\nalice:x:700:700::/:/\n"
_IMAGES = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json")


@pytest.fixture
def registry() -> Iterator[FaultRegistry]:
    with FaultRegistry() as served:
        yield served


def put_base(registry: FaultRegistry, tag: str, files: dict[str, bytes | str], **asked: str) -> str:
    asked = {"platform": str(host_platform()), **asked}
    registry.put_image("base/c", tag, [layer(files)], **asked)
    return f"{registry.host}/base/c:{tag}"


def glibc(*more: str) -> dict[str, bytes | str]:
    """This machine's C library, and its others of these names."""
    places = [LOADER, LIBC, *(os.path.join(os.path.dirname(LIBC), name) for name in more)]
    return {path.lstrip("/"): Path(path).read_bytes() for path in places}


GO_NEEDS = ("libresolv.so.2", "libpthread.so.0")


def musl() -> dict[str, bytes | str]:
    return {MUSL_LOADER.lstrip("/"): Path(MUSL_LOADER).read_bytes()}


def images_in(store: Path) -> list[str]:
    """Digests of all blobs of the store that are manifests, tagged or not, or image configs."""
    found = []
    for path in (store / "blobs" / "sha256").iterdir():
        if path.stat().st_size > 1 << 20:
            continue
        try:
            document = json.loads(path.read_bytes())
        except ValueError:
            continue
        if "rootfs" in document or document.get("mediaType") in _IMAGES:
            found.append(path.name)
    return sorted(found)


def refused(made: Project, match: str, before: list[str], **asked: object) -> BuildError:
    """The build fails with `match`, and there is no image of it, not even an untagged one."""
    with pytest.raises(BuildError) as caught:
        made.build(**asked)
    assert match in caught.value.why
    assert images_in(made.store) == before
    return caught.value


def bases_of(made: Project, reference: str) -> list[str]:
    """What lies in the store once another program was built on the base."""
    other = Project(made.root.parent / "other", made.env, made.store, made._go)
    other.write("go.mod", "module example.com/other\n\ngo 1.21\n")
    other.write("main.go", PLAIN)
    other.build(base=reference)
    return images_in(made.store)


def test_a_dynamic_program_on_a_base_of_its_c_library(
    project: Make, registry: FaultRegistry
) -> None:
    base = put_base(registry, "glibc", glibc(*GO_NEEDS))
    made = project({"main.go": MAIN, "wherry.toml": "[build]\ncgo = true\n"})
    assert made.build(base=base).binaries[0].dynamic


def test_a_base_that_is_too_old_gets_no_image(
    project: Make, registry: FaultRegistry, tmp_path: Path
) -> None:
    """A libc.so.6 with no symbol version after 2.5 stands for an old distribution."""
    versions = tmp_path / "old.map"
    versions.write_text("GLIBC_2.2.5 { global: *; };\nGLIBC_2.5 { } GLIBC_2.2.5;\n")
    old = compile_c(
        tmp_path / "libc.so.6", "int old(void) { return 0; }\n", "-shared", "-nostdlib",
        "-Wl,-soname,libc.so.6", f"-Wl,--version-script={versions}",
    )  # fmt: skip
    files = {**glibc(*GO_NEEDS), LIBC.lstrip("/"): old.read_bytes()}
    base = put_base(registry, "old", files)
    made = project({"main.go": MAIN, "wherry.toml": "[build]\ncgo = true\n"})
    error = refused(made, "libc.so.6 is too old", bases_of(made, base), base=base)
    assert "GLIBC_2.5" in error.why
    assert "newer base" in error.hint


@needs_musl
def test_a_program_for_musl_on_glibc_gets_no_image(project: Make, registry: FaultRegistry) -> None:
    base = put_base(registry, "glibc", glibc(*GO_NEEDS))
    made = project({"main.go": MAIN, "wherry.toml": "[build]\ncgo = true\n"})
    made.env["CC"] = "musl-gcc"
    error = refused(made, "musl", bases_of(made, base), base=base)
    assert "alpine" in error.hint
    # On its own kind of base it is one.
    assert made.build(base=put_base(registry, "musl", musl())).binaries[0].dynamic


def test_a_missing_library_is_named(project: Make, registry: FaultRegistry) -> None:
    base = put_base(registry, "glibc", glibc(*GO_NEEDS))
    made = project({"main.go": MATHS, "wherry.toml": "[build]\ncgo = true\n"})
    refused(made, "libm.so.6 is not there", bases_of(made, base), base=base)
    assert made.build(base=put_base(registry, "maths", glibc(*GO_NEEDS, "libm.so.6")))


def test_a_static_program_with_c_needs_no_base(project: Make) -> None:
    flags = 'ldflags = ["-linkmode external", "-extldflags=-static"]\n'
    made = project({"main.go": MATHS, "wherry.toml": f"[build]\ncgo = true\n{flags}"})
    built = made.build()
    assert not built.binaries[0].dynamic
    program = made.root.parent / "program"
    program.write_bytes(made.program(built))
    program.chmod(0o755)
    ran = subprocess.run([program], capture_output=True, text=True, check=False, timeout=20)
    assert (ran.returncode, ran.stderr.strip()) == (0, "2")


def test_one_of_several_images_that_cannot_run_is_none(
    project: Make, registry: FaultRegistry
) -> None:
    """A static program, one that moves to `libc-base`, and one that cannot run there."""
    base = put_base(registry, "glibc", glibc(*GO_NEEDS))
    toml = f'[build]\ncgo = true\nlibc-base = "{base}"\n'
    for name in ("plain", "moves", "maths"):
        toml += f'[image.{name}]\npackages = ["./cmd/{name}"]\n'
    files = {"cmd/plain/main.go": PLAIN, "cmd/moves/main.go": MAIN, "cmd/maths/main.go": MATHS}
    made = project({**files, "wherry.toml": toml})
    before = bases_of(made, base)
    request = BuildRequest(".", str(made.root), dict(made.env), str(made.store))
    outcome = build_images(request, discard, CancelToken())
    assert [one.tags[0] for one in outcome.images] == ["plain:latest", "moves:latest"]
    ((name, error),) = outcome.failures
    assert name == "maths"
    assert "libm.so.6 is not there" in error.why
    # Two images, each a manifest and a config.
    assert len(images_in(made.store)) == len(before) + 4


def test_a_platform_that_cannot_run_is_no_image_for_the_others_either(
    project: Make, registry: FaultRegistry
) -> None:
    """The program is the same kind on both; the base of one platform lacks the C library."""
    here = str(host_platform())
    variants = {here: glibc(*GO_NEEDS), f"{here}/v2": {"etc/x": "x"}}
    images = [image([layer(files)], platform=platform) for platform, files in variants.items()]
    registry.put_index("base/c", "both", images)
    made = project({"main.go": MAIN, "wherry.toml": "[build]\ncgo = true\n"})
    base = f"{registry.host}/base/c:both"
    before = bases_of(made, base)
    platforms = f"{here},{here}/v2"
    with pytest.raises(BuildError, match="cannot run on"):
        made.build(base=base, platform=platforms)
    added = len(images_in(made.store)) - len(before)
    # What the registry says of the second platform's base, and nothing of ours.
    assert added == 2


class TestOwners:
    """Owners of `files` are those of the base that the image stands on in the end."""

    def made(self, project: Make, registry: FaultRegistry, program: str) -> Project:
        base = put_base(registry, "users", {**glibc(*GO_NEEDS), "etc/passwd": PASSWD})
        toml = (
            f'[build]\ncgo = true\nlibc-base = "{base}"\n'
            '[image.m]\npackages = ["."]\n'
            'files = [{ from = "note.txt", to = "/srv/note.txt", owner = "alice" }]\n'
        )
        return project({"main.go": program, "wherry.toml": toml, "note.txt": "hello\n"})

    def test_a_name_that_only_libc_base_knows(
        self, project: Make, registry: FaultRegistry, tmp_path: Path
    ) -> None:
        made = self.made(project, registry, MAIN)
        made.build(base="", outputs=(f"type=tar,dest={tmp_path / 'root.tar'}",))
        listed = subprocess.run(
            ["tar", "--numeric-owner", "-tvf", tmp_path / "root.tar"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        (line,) = (line for line in listed.splitlines() if line.endswith("srv/note.txt"))
        assert "700/700" in line

    def test_a_program_that_stays_does_not_know_it(
        self, project: Make, registry: FaultRegistry
    ) -> None:
        made = self.made(project, registry, PLAIN)
        with pytest.raises(UsageError, match="alice"):
            made.build(base="")
