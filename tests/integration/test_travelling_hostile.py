# SPDX-License-Identifier: Apache-2.0
"""Travelling records from a cache that somebody else wrote to: a reason, and nothing else.

No exception, no read outside the repository, Go's own places and wherry's data, and no work without
bounds.
"""

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from travelling_machines import (
    Machine,
    copy_goroot,
    goroot_of,
    make_machine,
    make_proxy,
    make_repository,
)
from wherry.api.travelling_records import TravelledRecord
from wherry.bases.static import bundle_path, package_directory
from wherry.golang.toolchain import GoCommand

_here = threading.local()


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    """Audit hooks stay for good: this one notes only what a thread of ours asks for."""
    seen = getattr(_here, "seen", None)
    if seen is not None and event in ("open", "os.listdir", "os.scandir", "subprocess.Popen"):
        seen.append((event, arguments[0]))


sys.addaudithook(_hook)


@contextmanager
def watched() -> Iterator[list[tuple[str, Any]]]:
    """What is opened or listed meanwhile."""
    _here.seen = found = []
    try:
        yield found
    finally:
        _here.seen = None


class Scene:
    """A machine with a record that holds there."""

    def __init__(self, place: Path, go_cache: str) -> None:
        proxy = make_proxy(place / "proxy")
        base = {
            "GOPROXY": f"file://{proxy}", "GOSUMDB": "off", "GOCACHE": go_cache,
            "GOFLAGS": "-modcacherw",
        }  # fmt: skip
        goroot = goroot_of(os.environ["PATH"])
        first = make_machine(place / "first", None, base, goroot)
        repository = make_repository(place / "committed", first.env)
        first = make_machine(place / "second", repository, base, goroot)
        self.data = first.built()
        self.goroot = copy_goroot(goroot, place / "go")
        self.machine: Machine = make_machine(place / "third", repository, base, self.goroot)
        (place / "secret").write_text("secret")
        (self.machine.repository / "out").symlink_to(place)
        (self.machine.repository / "loop").symlink_to("loop")
        os.mkfifo(self.machine.repository / "pipe")
        (self.machine.repository / "null").symlink_to("/dev/zero")

    @property
    def value(self) -> Any:
        """The record as JSON."""
        return json.loads(self.data)

    def asked(self, value: object) -> TravelledRecord | str:
        """What a record says, and that only what may be read was read."""
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        with watched() as seen:
            found = self.machine.asked(data)
        allowed = (
            str(self.machine.repository), str(self.goroot), str(self.machine.place),
            package_directory("tzdata"), package_directory("certifi"), bundle_path(),
            *sys.path, str(Path(__file__).parents[2] / "src"),
        )  # fmt: skip
        for event, path in seen:
            assert event != "subprocess.Popen", "a program was started"
            if isinstance(path, int):
                continue
            text = os.path.realpath(os.fsdecode(path))
            assert any(text == one or text.startswith(f"{one}/") for one in allowed if one), text
        return found


@pytest.fixture(scope="module")
def scene(
    tmp_path_factory: pytest.TempPathFactory, go: GoCommand, go_caches: dict[str, str]
) -> Scene:
    assert not go.env, "these tests want a Go of its own on PATH"
    made = Scene(tmp_path_factory.mktemp("hostile"), go_caches["GOCACHE"])
    assert isinstance(made.asked(made.data), TravelledRecord), made.asked(made.data)
    return made


# The fields of the inputs that are keyed by names, and those that list them.
KEYED = {"workspaces": 7, "files": 8, "go_names": 10, "all_names": 11, "trees": 13, "marks": 14,
         "leads": 15, "modules": 16}  # fmt: skip
LISTED = {"absent": 9, "plain": 12}
NAMES = (
    "../../../etc/shadow", "../../../../../../../../etc/shadow", "/etc/shadow", "", ".", "..",
    "../..", "a/../../../../x", "./go.mod", "go.mod/", "cmd//api", "a\0b", "\ud800", "x" * 5000,
    "../out/secret", "../out", "../out/third/src/repository/svc/go.mod", "../loop", "../loop/x",
    "../pipe", "../null", "go.mod/x", "~/x", "x/" * 3000 + "x",
)  # fmt: skip


# These lead into the repository after all.
INSIDE = (".", "..", "../out/third/src/repository/svc/go.mod")


@pytest.mark.parametrize("field", [*KEYED, *LISTED])
def test_names_lead_nowhere_else(scene: Scene, field: str) -> None:
    for name in NAMES:
        value = scene.value
        if field in LISTED:
            value[4][LISTED[field]].append(name)
        else:
            known = value[4][KEYED[field]]
            one = next(iter(known.values()), "f" * 64)
            if field == "modules":
                one = ["", "0" * 32]
            known[name] = one
        found = scene.asked(value)
        if field not in LISTED and name not in INSIDE:
            assert isinstance(found, str), (field, name)


@pytest.mark.parametrize(
    "name",
    [
        "../../x@v1", "/etc@v1", "x@v1/../../..", "x@v1/\0", "..@v1/..", "x", "", "cache/download",
        "example.com/!cached@v1.2.0/../../../../../x", "\ud800@v1",
    ],
)  # fmt: skip
def test_modules_lie_in_the_module_cache(scene: Scene, name: str) -> None:
    value = scene.value
    value[4][16] = {name: ["passwd", "0" * 32]}
    with watched() as seen:
        found = scene.machine.asked(json.dumps(value).encode())
    if isinstance(found, TravelledRecord):
        # A module that is not there needs no look.
        assert "@" in name
    assert not [path for _, path in seen if "passwd" in str(path) or str(path) == "/etc"]


def test_files_of_modules_are_names(scene: Scene) -> None:
    root = scene.machine.module_cache / "evil@v1"
    root.mkdir(parents=True)
    for names in ("../../x", "a/b", "a\0a", "b\0a", "..", "\0", "a\0" * 100_000):
        value = scene.value
        value[4][16] = {"evil@v1": [names, "0" * 32]}
        assert isinstance(scene.asked(value), str)


@pytest.mark.parametrize(
    "name", ["../x", "golang.org/toolchain@v0/../../../../..", "golang.org/toolchain@x/bin", "/etc"]
)
def test_toolchains_lie_in_the_module_cache(scene: Scene, name: str) -> None:
    value = scene.value
    value[4][3] = {name: "0" * 64}
    assert isinstance(scene.asked(value), str)


@pytest.mark.parametrize(
    ("field", "count"),
    [(8, 250_000), (9, 250_000), (3, 300), (4, 300), (7, 300), (13, 300), (17, 300)],
)
def test_asking_has_an_end(scene: Scene, field: int, count: int) -> None:
    """However many names a record has, each of which costs a look at the disk, or more."""
    value = scene.value
    some = value[4][field]
    if isinstance(some, list):
        some += ["x"] * count
    else:
        some |= {f"x{number}@v": "0" for number in range(count)}
    assert scene.asked(value) == "the record cannot be read"


@pytest.mark.parametrize("field", [5, 6])
def test_git_is_not_asked_for_long(scene: Scene, field: int) -> None:
    value = scene.value
    value[field] = [[".", "0", [], [], ""]] * 1000
    assert scene.asked(value) == "the record cannot be read"


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{}", b"[]", b"null", b"\xff\xfe", b"[" * 1_000_000, b'{"a":' * 200_000,
        b"1" * 10_000, b"[" + b"1," * 100 + b"1]", b" " * ((8 << 20) + 1), b"\0" * 100,
    ],
    ids=range(11),
)  # fmt: skip
def test_what_is_no_record_is_none(scene: Scene, data: bytes) -> None:
    assert scene.asked(data) == "the record cannot be read"


def places(value: Any, path: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    yield path
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from places(item, (*path, number))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*path, key))


def test_every_value_of_another_type_is_refused(scene: Scene) -> None:
    """Nothing of another type gets past the door, whatever it would have done behind it."""
    others: tuple[object, ...] = (None, True, 2**80, "\ud800", [[]], {"a": 1})
    for number, path in enumerate(places(scene.value)):
        # Each of them meets every kind of place many times.
        for other in (others[number % 6], others[(number + 2) % 6]):
            value = scene.value
            at: Any = [value]
            for key in (0, *path[:-1]):
                at = at[key]
            if path:
                at[path[-1]] = other
            else:
                value = other
            found = scene.asked(value)
            current = at[path[-1]] if path else None
            if path and type(kept(scene.value, path)) is type(current):
                # Another text or list, which may well say the same.
                continue
            if path != UNPACKED:
                assert isinstance(found, str), (path, other)


# The only null that an image may have: nobody looked into the layers of its base.
UNPACKED = (7, 0, 10)


def kept(value: Any, path: tuple[object, ...]) -> object:
    """The value at a place of a record."""
    for key in path:
        value = value[key]
    return value


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_bytes_never_raise(scene: Scene, data: st.DataObject) -> None:
    damaged = bytearray(scene.data)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        kind = data.draw(st.sampled_from(["flip", "set", "cut", "insert"]))
        if kind == "flip":
            damaged[at] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "set":
            damaged[at] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del damaged[at : at + data.draw(st.integers(1, 50))]
        else:
            damaged[at:at] = data.draw(st.binary(max_size=20))
        if not damaged:
            break
    scene.asked(bytes(damaged))


def test_documents_are_what_their_digests_say(scene: Scene) -> None:
    for digest in scene.value[9]:
        value = scene.value
        value[9][digest] += " "
        assert scene.asked(value) == "the record cannot be read"
        value = scene.value
        del value[9][digest]
        assert isinstance(scene.asked(value), str)


@pytest.mark.parametrize("named", [
    {0: "other"},
    {1: ["registry.example/victim/app:latest"]},
    {2: "registry.example/victim/api:latest"},
    {2: "other:latest"},
    {3: [["internal.example:8080/x:latest", "", f"sha256:{'0' * 64}"]]},
], ids=lambda named: str(*named))  # fmt: skip
def test_names_of_images_and_bases_are_those_of_the_settings(
    scene: Scene, named: dict[int, Any]
) -> None:
    """Tags say where `--push` goes, with the user's credentials, and bases whom wherry asks."""
    value = scene.value
    for field, said in named.items():
        value[7][0][field] = said
    found = scene.asked(value)
    assert found == "the record names its images otherwise than the settings here"
