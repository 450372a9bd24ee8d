# SPDX-License-Identifier: Apache-2.0
"""The Go caches of a Dockerfile's steps and cache places: what comes, what goes, what stays.

What is private stays, and what goes is under the name of its user.
"""

from __future__ import annotations

import hashlib
import io
import os
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wherry.api.cache_traffic import CacheTraffic
from wherry.api.go_step_facts import cache_user, private_modules
from wherry.api.registries import Registries, RegistryAround
from wherry.api.request import BuildRequest
from wherry.api.travelling_pools import TravellingPools
from wherry.engines.local.results import NOTHING_SEEN, Built, Change, Outside
from wherry.errors import NetworkError
from wherry.gocache.build_cache import BuildCache
from wherry.gocache.exporting import Offer
from wherry.gocache.spec import CacheSpec
from wherry.golang.build_entries import UNUSED_SECONDS, Action, encode_action
from wherry.golang.go_sum import hash_files
from wherry.graph.build import BuildGraph, Vertex
from wherry.graph.ops import ExecMount, ExecOp, GoCachePlace, MountKind
from wherry.oci.digest import Digest, sha256
from wherry.oci.platform import Platform
from wherry.process.cancel import CancelToken

MODULES, BUILD = "/go/pkg/mod", "/root/.cache/go-build"
SPEC = CacheSpec("./place", is_directory=True)
SECRET, OPEN = "corp.example.com/secret", "example.org/open"


class Store:
    """Stands for a store in which one step has used both of its Go caches."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.blobs = self
        self._texts: dict[Digest, bytes] = {}
        self._lines: list[str] = []
        self._keys: list[str] = []

    def scratch(self) -> str:
        return f"{self.path}/scratch"

    def read(self, digest: Digest) -> bytes:
        return self._texts[digest]

    def put_module(self, path: str) -> None:
        name, gomod = f"{path}@v1.0.0", f"module {path}\n".encode()
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            archive.writestr(f"{name}/go.mod", gomod)
        digest = hashlib.sha256(gomod).hexdigest()
        h1, mod = (hash_files([(file, digest)]) for file in (f"{name}/go.mod", "go.mod"))
        place = Path(f"{self.path}/mounts/1/fs{MODULES}/cache/download/{path}/@v")
        place.mkdir(parents=True)
        for ending, content in (
            ("zip", data.getvalue()), ("ziphash", h1.encode()), ("mod", gomod),
            ("info", b'{"Version":"v1.0.0"}'),
        ):  # fmt: skip
            (place / f"v1.0.0.{ending}").write_bytes(content)
        self._lines += [f"{path} v1.0.0 {h1}", f"{path} v1.0.0/go.mod {mod}"]

    def put_entry(self, text: str) -> str:
        data, key = text.encode(), hashlib.sha256(b"key" + text.encode()).hexdigest()
        output = hashlib.sha256(data).hexdigest()
        top = Path(f"{self.path}/mounts/2/fs{BUILD}")
        files = {
            f"{output[:2]}/{output}-d": data,
            f"{key[:2]}/{key}-a": encode_action(Action(key, output, len(data), 1)),
        }
        for name, content in files.items():
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            (top / name).write_bytes(content)
        self._keys.append(key)
        return key

    def put_index(self, path: str) -> str:
        """An index of a module, as its step used it."""
        key = self.put_entry(f"go index v2\n{path}")
        line = f"{path} v1.0.0 h1:{'A' * 43}="
        self._keys[-1] = f"{key} {line}"
        kept = Path(f"{self.path}/mounts/2/indexes")
        kept.mkdir(exist_ok=True)
        (kept / key).write_text(line)
        return key

    def result(self) -> Built:
        """The step's."""
        outside = (
            Outside("modules", MODULES, "", "1", self._blob(self._lines)),
            Outside("build", BUILD, "", "2", self._blob(self._keys)),
        )
        return Built((), 1, change=Change(sha256(b"run"), "place", 1, outside=outside))

    def _blob(self, lines: list[str]) -> str:
        data = "\n".join(lines).encode()
        self._texts[sha256(data)] = data
        return str(sha256(data))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path)
    made.put_module(SECRET)
    made.put_module(OPEN)
    return made


def given(store: Store, spec: CacheSpec, private: str) -> dict[str, set[str]]:
    """The keys of what a place is given, by kind."""
    around: Any = SimpleNamespace(cancel=CancelToken())
    traffic: Any = SimpleNamespace(registries=SimpleNamespace(around=around), places=())
    stored: Any = store
    found = TravellingPools(traffic, stored).used([store.result()], private)
    assert found is not None
    return {kind: {row.key for row in one.rows} for kind, one in found.of(spec).items()}


def zips(found: dict[str, set[str]]) -> set[str]:
    return {key.removeprefix("cache/download/").partition("/@v/")[0] for key in found["zips"]}


def test_private_modules_stay(store: Store) -> None:
    assert zips(given(store, SPEC, "")) == {SECRET, OPEN}
    assert zips(given(store, SPEC, "corp.example.com")) == {OPEN}


def test_private_modules_travel_where_the_place_says_so(store: Store) -> None:
    assert zips(given(store, SPEC._replace(private=True), "corp.example.com")) == {SECRET, OPEN}


def test_modules_can_be_left_out(store: Store) -> None:
    assert given(store, SPEC._replace(modules="off"), "").keys() == {"build"}


def test_indexes_travel_but_those_of_private_modules(store: Store) -> None:
    entry, own, foreign = store.put_entry("x"), store.put_index(OPEN), store.put_index(SECRET)
    assert given(store, SPEC, "")["indexes"] == {own, foreign}
    found = given(store, SPEC, "corp.example.com")
    assert (found["indexes"], found["build"]) == ({own}, {entry})


def test_an_index_that_was_used_without_a_line_stays(store: Store) -> None:
    """It names nothing that would tell whose it is."""
    entry, index = store.put_entry("x"), store.put_entry("go index v2\nsecrets")
    for private in ("", "corp.example.com"):
        for spec in (SPEC, SPEC._replace(private=True)):
            found = given(store, spec, private)
            assert (found["build"], found["indexes"]) == ({entry}, set())
            assert index not in found["build"]


def test_go_mods_travel_with_the_zips(store: Store) -> None:
    endings = {key.rpartition(".")[2] for key in given(store, SPEC, "")["zips"]}
    assert endings == {"zip", "mod", "info"}


def test_what_is_compiled_of_private_modules_stays(store: Store) -> None:
    own = store.put_entry("corp.example.com/shop/main.go imports example.org/open")
    foreign = store.put_entry("example.org/open@v1.0.0/a.go")
    kept = store.put_entry("corp.example.com/tool@v1.0.0/a.go")
    named = store.put_entry("/src/vendor/corp.example.com/secret/a.go")
    assert given(store, SPEC, "corp.example.com")["build"] == {own, foreign}
    spec = SPEC._replace(private=True)
    assert given(store, spec, "corp.example.com")["build"] == {own, foreign, kept, named}


def test_paths_of_a_container_are_no_machines(store: Store) -> None:
    key = store.put_entry("/src/main.go /go/pkg/mod/example.org/open@v1.0.0/a.go /root/x")
    assert given(store, SPEC, "corp.example.com")["build"] == {key}


def test_one_object_serves_several_places(store: Store) -> None:
    around: Any = SimpleNamespace(cancel=CancelToken())
    traffic: Any = SimpleNamespace(registries=SimpleNamespace(around=around), places=())
    stored: Any = store
    found = TravellingPools(traffic, stored).used([store.result()], "corp.example.com")
    assert found is not None
    shy, open_ = found.of(SPEC), found.of(SPEC._replace(private=True))
    assert len(shy["zips"].rows) < len(open_["zips"].rows)
    assert found.of(SPEC)["zips"] is shy["zips"]


def test_what_another_machine_used_is_known_where_that_was_nothing(store: Store) -> None:
    traffic: Any = SimpleNamespace(
        registries=SimpleNamespace(around=SimpleNamespace(cancel=CancelToken())), places=()
    )
    stored: Any = store
    there = Outside("modules", MODULES, "")
    for seen, known in (("", False), (NOTHING_SEEN, True)):
        change = Change(sha256(b"other"), "", 1, outside=(there._replace(seen=seen),))
        results = [Built((), 1, change=change), store.result()]
        found = TravellingPools(traffic, stored).used(results, "")
        assert (found is not None) == known
    assert found is not None
    assert zips({kind: {row.key for row in one.rows} for kind, one in found.of(SPEC).items()}) == {
        SECRET, OPEN,
    }  # fmt: skip


# --- what comes ---------------------------------------------------------------------------------


@pytest.fixture
def registries(tmp_path: Path) -> Iterator[Registries]:
    around = RegistryAround(
        str(tmp_path), {}, str(tmp_path), (), lambda _event: None, CancelToken()
    )
    with Registries(around) as made:
        yield made


def test_indexes_come_with_the_lines_that_vouch_for_them(
    store: Store, tmp_path: Path, registries: Registries
) -> None:
    entry, index = store.put_entry("x"), store.put_index(OPEN)
    spec = CacheSpec("./place", is_directory=True, path=str(tmp_path / "place"))
    sending: Any = store
    traffic = CacheTraffic([], [spec], "", registries)
    used = TravellingPools(traffic, sending).used([store.result()], "")
    assert used is not None
    os.mkdir(store.scratch())
    assert traffic.export(spec, Offer("user", used.of(spec), 1 << 30), store.scratch())

    taking: Any = SimpleNamespace(path=str(tmp_path / "other"))
    pool = tmp_path / "other/mounts/7"
    cache = BuildCache(f"{pool}/fs{BUILD}")
    os.makedirs(cache.path)
    traffic = CacheTraffic([spec], [], "", registries)
    traffic.load()
    TravellingPools(traffic, taking).fill(Outside("build", BUILD, "", "7"), cache.path, tuple)
    assert cache.row(entry) is not None
    found = cache.row(index)
    assert found is not None
    with cache.open_output(found) as file:
        assert file.read() == f"go index v2\n{OPEN}".encode()
    assert (pool / "indexes" / index).read_text() == f"{OPEN} v1.0.0 h1:{'A' * 43}="


class Broken:
    """Stands for the traffic with a place that fails for good once some of it has come."""

    def __init__(self) -> None:
        self.places = (SimpleNamespace(packs=lambda _kind: ("pack",)),)
        self.asked = 0

    def restore_builds(self, directory: str) -> None:
        place = Path(directory, "ab")
        place.mkdir(parents=True)
        (place / f"{'ab' * 32}-a").write_text("entry")
        self._fail()

    def restore_zips(self, directory: str, *_wanted: object) -> None:
        place = Path(directory, "cache/download")
        place.mkdir(parents=True)
        place.chmod(0o700)
        self._fail()

    def _fail(self) -> None:
        self.asked += 1
        raise NetworkError("the place is gone")


@pytest.mark.parametrize("kind", ["build", "modules"])
def test_a_failure_ahead_is_told_by_the_step_itself(
    tmp_path: Path, store: Store, kind: str
) -> None:
    traffic: Any = Broken()
    stored: Any = store
    pools = TravellingPools(traffic, stored)
    cache, directory = Outside(kind, BUILD, "", "7"), str(tmp_path / "cache")

    def ahead() -> None:
        with pytest.raises(NetworkError):
            pools.fill(cache, directory, tuple)

    thread = threading.Thread(target=ahead)
    thread.start()
    thread.join()
    for _step in range(2):
        with pytest.raises(NetworkError, match="the place is gone"):
            pools.fill(cache, directory, tuple)
    assert traffic.asked == 1
    # What has come stays for later builds, as they need it.
    if kind == "build":
        entry = tmp_path / "cache/ab" / f"{'ab' * 32}-a"
        assert entry.stat().st_mtime <= time.time() - UNUSED_SECONDS
    else:
        assert (tmp_path / "cache/cache/download").stat().st_mode & 0o777 == 0o755


def test_sums_that_could_not_be_read_ahead_are_read_again(tmp_path: Path, store: Store) -> None:
    traffic: Any = Broken()
    stored: Any = store
    pools = TravellingPools(traffic, stored)
    cache, directory = Outside("modules", MODULES, "", "7"), str(tmp_path / "cache")

    def failing() -> tuple[str, ...]:
        raise NetworkError("the base is not reached")

    with pytest.raises(NetworkError, match="the base is not reached"):
        pools.fill(cache, directory, failing)
    with pytest.raises(NetworkError, match="the place is gone"):
        pools.fill(cache, directory, tuple)


# --- what the Dockerfile says -------------------------------------------------------------------


def step(
    text: str = "go build .",
    *,
    env: tuple[str, ...] = (),
    cwd: str = "/src",
    mounts: tuple[ExecMount, ...] = (),
    heredocs: tuple[tuple[str, str], ...] = (),
) -> BuildGraph:
    op = ExecOp(
        ("/bin/sh", "-c", text), env, cwd, "", mounts, "", "", Platform("linux", "amd64"),
        heredocs=heredocs, go_caches=(GoCachePlace("build", BUILD),),
    )  # fmt: skip
    return BuildGraph((Vertex(op, (), "RUN"),), ())


@pytest.mark.parametrize(
    ("graph", "patterns"),
    [
        (step(), ""),
        (step(env=("GOPRIVATE=a.org,b.org", "GONOSUMDB=c.org", "GOPROXY=x")), "a.org,b.org,c.org"),
        (step(env=("GONOPROXY=",)), ""),
        (step("GOPRIVATE=a.org/* go mod download"), "a.org/*"),
        (step("go env -w GOPRIVATE='a.org' && go build"), "a.org"),
        (step('go env -w "GOPRIVATE=a.org"'), "a.org"),
        (step("export GONOSUMDB=a.org; go build"), "a.org"),
        (step("GOPRIVATE=$HOST go build"), "*"),
        (step("GOPRIVATE=`cat host` go build"), "*"),
        (step("sh", heredocs=(("", "GOPRIVATE=a.org\n"),)), "a.org"),
        (step(mounts=(ExecMount(MountKind.SECRET, "", env="GOPRIVATE"),)), "*"),
        (step(mounts=(ExecMount(MountKind.SECRET, "", env="TOKEN"),)), ""),
    ],
)
def test_what_a_dockerfile_calls_private(graph: BuildGraph, patterns: str) -> None:
    assert private_modules(graph) == patterns


def asked(**changes: Any) -> BuildRequest:
    return BuildRequest(source=".", cwd="/work/shop", env={}, store="/store")._replace(**changes)


USER = cache_user(asked(), step())


@pytest.mark.parametrize(
    ("request_", "graph"),
    [
        (asked(cwd="/work/other"), step()),
        (asked(source="services/a"), step()),
        (asked(source="https://example.com/team/shop.git#main:a"), step()),
        (asked(tags=("registry.example.com/shop/api",)), step()),
        (asked(file="services/a/Dockerfile"), step()),
        (asked(target="test"), step()),
        (asked(platform="linux/arm64"), step()),
        (asked(), step("go build ./cmd/other")),
        (asked(), step(cwd="/other")),
        (asked(), step(env=("GOARCH=arm64",))),
        (asked(), step(heredocs=(("", "go build"),))),
    ],
)
def test_another_project_is_another_user(request_: BuildRequest, graph: BuildGraph) -> None:
    assert cache_user(request_, graph) != USER


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (asked(), asked(cwd="/home/runner/shop", store="/elsewhere", no_cache=True)),
        (asked(tags=("x/shop:1", "x/shop:2")), asked(tags=("y.org/x/shop:3",), cwd="/pr-17")),
        (asked(source="https://a@x.org/t/s.git#main:a"), asked(source="ssh://x.org/s.git#dev:a")),
        (asked(source="/tmp/1", foreign=True), asked(source="/tmp/2", foreign=True)),
        (asked(file="/work/shop/x/Dockerfile"), asked(file="x/Dockerfile")),
    ],
)
def test_another_build_of_a_project_is_the_same_user(
    one: BuildRequest, other: BuildRequest
) -> None:
    assert cache_user(one, step()) == cache_user(other, step(env=("VERSION=2",)))


def test_a_user_is_told_by_the_files_name_and_no_place() -> None:
    name = cache_user(asked(file="a/Dockerfile.ci", target="t", platform="linux/arm64"), step())
    assert name.startswith("dockerfile Dockerfile.ci t linux/arm64 ")
    assert "shop" not in name
    assert len(cache_user(asked(target="t" * 500), step())) < 256
