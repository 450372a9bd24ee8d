# SPDX-License-Identifier: Apache-2.0
"""Go caches that travel, and all that can go wrong on the way: the build is right all the same."""

import base64
import ctypes
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fault_registry import FaultRegistry, free_port
from module_samples import Proxy
from registry_servers import Server
from travelling import Machine
from travelling_faults import (
    CHANGED,
    FILES,
    MODULE,
    RECOMPILED,
    layers,
    lines_about,
    on_tmpfs,
    spoilt,
    start,
    stored,
    texts_of,
)
from wherry.api import cache_patience, cache_traffic
from wherry.api.registries import Registries, RegistryAround
from wherry.errors import NetworkError, WherryError
from wherry.events import Event, Message
from wherry.gocache import build_cache
from wherry.gocache.pack_index import encode_index, read_index
from wherry.gocache.spec import parse_cache_spec
from wherry.oci.digest import sha256
from wherry.process.cancel import CancelToken
from wherry_fixtures import write_module

Machines = Callable[..., Machine]


@pytest.fixture(scope="module")
def base_env(go_caches: dict[str, str]) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    return {**kept, **go_caches, "LC_ALL": "C.UTF-8", "GOPROXY": "off", "GOTOOLCHAIN": "local"}


@pytest.fixture(scope="module")
def origin(
    tmp_path_factory: pytest.TempPathFactory, base_env: dict[str, str], go_caches: dict[str, str]
) -> tuple[Path, str]:
    """A cache directory that a machine with the standard library has filled, and the image."""
    root = tmp_path_factory.mktemp("origin")
    machine = Machine(root / "machine", base_env)
    machine.clone(write_module(root / "source", FILES))
    machine.env["GOCACHE"] = go_caches["GOCACHE"]
    return root / "cache", machine.build(root / "cache").image.digest


@pytest.fixture
def place(origin: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(origin[0], tmp_path / "cache"))


@pytest.fixture
def machines(tmp_path: Path, base_env: dict[str, str]) -> Machines:
    """Each call gives a fresh machine with a checkout; `changed` has one line edited."""
    numbers = itertools.count()
    source = write_module(tmp_path / "source", FILES)

    def make(*, changed: bool = False, files: dict[str, str] | None = None) -> Machine:
        machine = Machine(tmp_path / f"machine-{next(numbers)}", base_env).clone(source)
        if changed:
            machine.write("lib/lib.go", CHANGED)
        for name, text in (files or {}).items():
            machine.write(name, text)
        return machine

    return make


@pytest.fixture
def warm(machines: Machines, go_caches: dict[str, str]) -> Machines:
    """Machines whose GOCACHE is the user's, with the standard library."""

    def make(**asked: object) -> Machine:
        machine = machines(**asked)
        machine.env["GOCACHE"] = go_caches["GOCACHE"]
        return machine

    return make


@pytest.fixture
def registry() -> Iterator[FaultRegistry]:
    with FaultRegistry() as served:
        yield served


def fill(registry: FaultRegistry, place: Path, name: str = "team/cache") -> str:
    """Give a registry what a directory holds; its reference."""
    (entry,) = json.loads((place / "index.json").read_text())["manifests"]
    for path in (place / "blobs" / "sha256").iterdir():
        registry.put_blob(name, path.read_bytes())
    manifest = (place / "blobs" / "sha256" / entry["digest"].partition(":")[2]).read_bytes()
    registry.put_manifest(name, "main", manifest, entry["mediaType"])
    return f"{registry.host}/{name}:main"


def restored(machine: Machine, place: str) -> list[str]:
    """Fill a machine's GOCACHE from a place as a build does; what was warned of."""
    told: list[Event] = []
    around = RegistryAround(
        str(machine.store), machine.env, str(machine.checkout), (), told.append, CancelToken()
    )
    with Registries(around) as registries:
        spec = parse_cache_spec(place, "--cache-from", around.cwd)
        traffic = cache_traffic.CacheTraffic([spec], [], "", registries)
        traffic.load()
        traffic.restore_builds(machine.env["GOCACHE"])
    return [one.text for one in told if isinstance(one, Message)]


# --- registries that do not do what they should --------------------------------------------------


@pytest.mark.parametrize("status", [401, 403, 405, 500])
def test_a_registry_that_refuses_to_be_read(
    registry: FaultRegistry, place: Path, warm: Machines, status: int
) -> None:
    reference = fill(registry, place)
    registry.rule("GET|HEAD", r"/v2/team/cache/", status=status)
    built = warm().build(cache_from=(reference,))
    (line,) = lines_about(built, reference)
    assert "is not used" in line
    assert built.image.digest


@pytest.mark.parametrize("status", [401, 403, 405, 500, 507])
def test_a_registry_that_refuses_to_be_written(
    registry: FaultRegistry, warm: Machines, status: int
) -> None:
    reference = f"{registry.host}/team/cache:main"
    registry.rule("POST|PUT|PATCH", r"/v2/", status=status)
    began = time.monotonic()
    built = warm().build(reference)
    (line,) = lines_about(built, reference)
    assert "is not written" in line
    assert registry.tags("team/cache") == {}
    assert time.monotonic() - began < 60


def test_a_registry_that_becomes_full_on_the_way(
    registry: FaultRegistry, place: Path, machines: Machines
) -> None:
    reference = fill(registry, place)
    before = registry.tags("team/cache")
    registry.rule("PUT", r"/uploads/", skip=1, status=507)
    built = machines(changed=True).build(reference)
    assert built.compiled == RECOMPILED
    assert "is not written" in lines_about(built, reference)[0]
    # What was there before still is, and is used.
    assert registry.tags("team/cache") == before
    assert machines().build(cache_from=(reference,)).image.reused


def test_an_error_where_it_was_asked_for(registry: FaultRegistry, warm: Machines) -> None:
    registry.rule("POST|PUT|PATCH", r"/v2/", status=403)
    delivered: list[object] = []
    with pytest.raises(NetworkError):
        warm().build(cache_to=(f"type=wherry,ref={registry.host}/a/b:c,ignore-error=false",),
                     delivered=delivered.append)  # fmt: skip
    # Not before the result was there.
    assert len(delivered) == 1


@pytest.mark.parametrize("stalled", ["manifests", "blobs", "headers"])
def test_a_registry_that_stalls_is_given_up(
    registry: FaultRegistry, place: Path, warm: Machines, monkeypatch: pytest.MonkeyPatch,
    stalled: str,
) -> None:  # fmt: skip
    reference = fill(registry, place)
    monkeypatch.setattr(cache_traffic, "ASKING", 0.5)
    if stalled == "headers":
        registry.rule("", r"/v2/", trickle=(1, 0.2))
    else:
        registry.rule("GET|HEAD", rf"/{stalled}/", hold=threading.Event())
    began = time.monotonic()
    built = warm().build(reference)
    assert time.monotonic() - began < 25
    # It is not asked again for the export.
    lines = lines_about(built, reference)
    assert ["too slow" in line for line in lines] == [True, True]
    assert registry.count("POST") == 0
    assert built.image.digest


def test_nothing_that_waits_for_a_place_does_so_for_minutes() -> None:
    assert cache_patience.ASKING <= 20
    assert cache_patience.fetching(()) <= 30
    assert cache_patience.sending(0) <= 120


def test_a_pack_that_trickles_is_left_where_it_is(
    registry: FaultRegistry, place: Path, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = fill(registry, place)
    packs = [path for path in (place / "blobs/sha256").iterdir() if path.stat().st_size > 500_000]
    assert packs
    for path in packs:
        # The first frames come, the rest one byte at a time.
        registry.rule("GET", f"/blobs/sha256:{path.name}", trickle=(64 << 10, 0.2))
    monkeypatch.setattr(cache_traffic, "fetching", lambda _packs: 1.0)
    fresh = machines()
    began = time.monotonic()
    (line,) = restored(fresh, reference)
    assert f"the Go cache {reference} is not used" in line
    assert "too slow" in line
    assert time.monotonic() - began < 10
    assert not spoilt(fresh.env["GOCACHE"])


def test_an_upload_that_stalls_is_given_up(
    registry: FaultRegistry, warm: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.rule("PUT|PATCH|POST", r"/v2/", hold=threading.Event())
    monkeypatch.setattr(cache_traffic, "sending", lambda _content: 1.0)
    delivered: list[float] = []
    built = warm().build(
        cache_to=(f"{registry.host}/a/b:c",),
        delivered=lambda _outcome: delivered.append(time.monotonic()),
    )
    assert time.monotonic() - delivered[0] < 15
    assert any("too slow" in text for text in built.said)


def test_wrong_credentials_are_not_told(
    docker_registry_htpasswd: Server, warm: Machines, tmp_path: Path, repository_name: str
) -> None:
    server = docker_registry_htpasswd._replace(password="this-is-the-wrong-password")
    machine = warm()
    machine.env["DOCKER_CONFIG"] = str(server.docker_config(tmp_path / "docker"))
    reference = f"{server.host}/{repository_name}:cache"
    built = machine.build(reference)
    assert len(lines_about(built, reference)) == 2
    assert "this-is-the-wrong-password" not in repr(built.events)


def test_secrets_of_the_environment_stay_here(
    docker_registry_htpasswd: Server, warm: Machines, tmp_path: Path, repository_name: str
) -> None:
    server, first = docker_registry_htpasswd, warm()
    secret = f"secret-{uuid.uuid4().hex}"
    first.env |= {
        "GOPROXY": f"https://user:{secret}@proxy.invalid", "GONOSUMDB": f"{secret}.example.com",
        "TOKEN": secret, "GOAUTH": "off",
        "DOCKER_CONFIG": str(server.docker_config(tmp_path / "docker")),
    }  # fmt: skip
    place, reference = tmp_path / "cache", f"{server.host}/{repository_name}:cache"
    built = first.build(cache_to=(reference, str(place)), cache_from=(reference,))
    assert lines_about(built, place) == lines_about(built, reference) == []
    texts = texts_of(place)
    assert texts
    # What Go keeps of the modules' network settings is digests at most.
    pair = base64.b64encode(f"{server.user}:{server.password}".encode()).decode()
    for word in (secret, server.password, pair):
        assert word not in repr(built.events)
        assert not any(word.encode() in text for text in (*texts, *stored(first)))
    assert first.env["HOME"].encode() not in b"".join(texts)


# --- several at once, and killed ones ------------------------------------------------------------


@pytest.mark.parametrize("kind", ["directory", "registry"])
def test_exporters_in_processes_of_their_own_lose_nothing(
    kind: str, warm: Machines, machines: Machines, tmp_path: Path, docker_registry: Server,
    repository_name: str,
) -> None:  # fmt: skip
    names = ("a", "b", "c")
    files = {f"{name}/main.go": FILES["main.go"].replace("Word)", f'Word, "{name}")')
             for name in names}  # fmt: skip
    place = str(tmp_path / "cache") if kind == "directory" else (
        f"{docker_registry.host}/{repository_name}:cache"
    )  # fmt: skip
    made = [warm(files=files) for _ in names]
    started = [start(machine, "--cache-to", place, source=f"./{name}")
               for machine, name in zip(made, names, strict=True)]  # fmt: skip
    for process in started:
        _, told = process.communicate(timeout=120)
        assert process.returncode == 0, told
        assert "is not written" not in told
    fresh = machines(files=files)
    for name in names:
        built = fresh.build(source=f"./{name}", cache_from=(place,), no_cache=True)
        assert lines_about(built, place) == []
        assert built.compiled == set()


def test_ctrl_c_ends_an_import_at_once(
    registry: FaultRegistry, place: Path, machines: Machines
) -> None:
    reference = fill(registry, place)
    held = threading.Event()
    packs = [path.name for path in (place / "blobs/sha256").iterdir()
             if path.stat().st_size > 500_000]  # fmt: skip
    registry.rule("GET", "|".join(packs), hold=held)
    machine = machines(changed=True)
    process = start(machine, "--cache-from", reference)
    _until(lambda: registry.count("GET", "|".join(packs)) > 0, process)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - began < 10
    assert not spoilt(machine.env["GOCACHE"])


def test_ctrl_c_ends_an_export_at_once(registry: FaultRegistry, warm: Machines) -> None:
    registry.rule("POST|PUT|PATCH", r"/v2/", hold=threading.Event())
    process = start(warm(), "--cache-to", f"{registry.host}/team/cache:main")
    _until(lambda: registry.count("POST|PUT|PATCH") > 0, process)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    result, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - began < 10
    # The result had been delivered before.
    assert "sha256:" in result


def _until(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    while not happened():
        if process.poll() is not None:
            raise AssertionError(process.communicate()[1])
        assert time.monotonic() < end, "it did not come so far"
        time.sleep(0.02)


# --- GOCACHE in every form -----------------------------------------------------------------------


def test_a_build_cache_behind_a_link_on_another_device(
    place: Path, machines: Machines, tmp_path: Path
) -> None:
    other = on_tmpfs(f"wherry-test-{uuid.uuid4().hex}")
    if other is None:
        pytest.skip("there is no other device at /dev/shm")
    try:
        fresh = machines(changed=True)
        (tmp_path / "link").symlink_to(other)
        fresh.env["GOCACHE"] = str(tmp_path / "link")
        assert fresh.build(place).compiled == RECOMPILED
        assert not spoilt(other)
    finally:
        shutil.rmtree(other)


def test_two_builds_that_share_a_build_cache(place: Path, machines: Machines) -> None:
    one, two = machines(changed=True), machines(changed=True)
    two.env["GOCACHE"] = one.env["GOCACHE"]
    two.write("main.go", FILES["main.go"].replace("Word)", "Word, 2)"))
    built: dict[int, set[str]] = {}

    def build(number: int, machine: Machine) -> None:
        built[number] = machine.build(place).compiled

    threads = [threading.Thread(target=build, args=(number, machine))
               for number, machine in enumerate((one, two))]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    # Either one of them may find what the other has compiled.
    assert MODULE in built[0] <= RECOMPILED
    assert MODULE in built[1] <= RECOMPILED
    assert not spoilt(one.env["GOCACHE"])


@pytest.mark.parametrize("room", [0, 300_000, 3_000_000])
def test_a_disk_that_becomes_full_keeps_nothing_of_the_cache(
    place: Path, machines: Machines, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    import errno

    right, left = build_cache.write_all, [room]
    lock = threading.Lock()

    def full(fd: int, data: bytes) -> None:
        with lock:
            left[0] -= len(data)
            over = left[0] < 0
        right(fd, data[: len(data) // 2] if over else data)
        if over:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(build_cache, "write_all", full)
    fresh = machines()
    (line,) = restored(fresh, str(place))
    assert "No space left on device" in line
    # Go has all the room that there was.
    assert [one for one in Path(fresh.env["GOCACHE"]).rglob("*") if one.is_file()] == []


def test_a_cache_that_is_larger_than_the_disk_is_left_where_it_is(
    place: Path, warm: Machines, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = machines()
    cache = build_cache.BuildCache(fresh.env["GOCACHE"])
    cache.prepare()
    status = os.statvfs(cache.path)
    free = status.f_bavail * status.f_frsize
    cache.check_room(0)
    for size in (free, 64 << 30 << 10):
        with pytest.raises(build_cache.NoRoom, match="not enough room"):
            cache.check_room(size)


@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare (util-linux) is not there")
def test_a_build_cache_that_cannot_be_written(place: Path, machines: Machines) -> None:
    fresh = machines()
    fresh.build(cache_from=(str(place),), no_cache=True)
    before = sorted(Path(fresh.env["GOCACHE"]).rglob("*"))
    fresh.write("lib/lib.go", CHANGED)
    # Go itself fails where it cannot write its index of directories, which it need not.
    fresh.env["GODEBUG"] = "goindex=0"
    cache = fresh.env["GOCACHE"]
    script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    prefix = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, cache)
    plain = start(fresh, "--no-cache", prefix=prefix)
    plain_result, plain_told = plain.communicate(timeout=120)
    if "unshare failed" in plain_told or "mount:" in plain_told:
        pytest.skip(f"no mounts here: {plain_told.strip()}")
    cached = start(fresh, "--cache-from", str(place), "--no-cache", prefix=prefix)
    result, told = cached.communicate(timeout=120)
    assert cached.returncode == plain.returncode, told
    assert plain.returncode == 0, plain_told
    assert result == plain_result
    assert sorted(Path(cache).rglob("*")) == before


def test_without_a_build_cache_go_says_the_same(place: Path, machines: Machines) -> None:
    said = []
    for asked in ({}, {"place": place}):
        machine = machines(changed=True)
        machine.env["GOCACHE"] = "off"
        with pytest.raises(WherryError) as raised:
            machine.build(**asked)
        said.append(str(raised.value))
    assert said[0] == said[1]


# --- clocks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [-400 * 86400.0, 2 * 86400.0, "whole seconds"])
def test_file_times_of_another_clock(
    place: Path, machines: Machines, origin: tuple[Path, str], tmp_path: Path, shift: float | str
) -> None:
    fresh = machines(changed=True)
    # Restored, and then as after a change of the clock; Go's daily trimming is not due.
    fresh.build(cache_from=(str(place),))
    cache = Path(fresh.env["GOCACHE"])
    (cache / "trim.txt").write_text(f"{time.time():.0f}")
    for root in (cache, fresh.checkout):
        for path in root.rglob("*"):
            moment = path.stat().st_mtime
            moment = int(moment) if isinstance(shift, str) else moment + shift
            if path.name != "trim.txt":
                os.utime(path, (moment, moment))
    fresh.write("main.go", FILES["main.go"].replace("Word)", "Word, 2)"))
    target = tmp_path / "another"
    built = fresh.build(cache_to=(str(target),))
    assert built.compiled == {MODULE}
    # All that it used was given away, whatever its times.
    after = machines(changed=True)
    assert after.build(cache_from=(str(target),)).compiled == {MODULE}


# --- packs of others -----------------------------------------------------------------------------


def test_a_cache_of_another_module_serves_what_both_use(place: Path, machines: Machines) -> None:
    other = machines()
    for name in ("go.mod", "main.go", "lib/lib.go", "deep/deep.go"):
        text = (other.checkout / name).read_text().replace(MODULE, "example.com/other")
        other.write(name, text)
    built = other.build(place)
    assert built.compiled == {f"example.com/other{path}" for path in ("", "/lib", "/deep")}
    # Both users stay.
    assert sorted(_held(place).users) == [f"{name} linux/amd64" for name in
                                          (MODULE, "example.com/other")]  # fmt: skip


def _held(place: Path):
    return read_index(_blob(place, _manifest(place)["config"]["digest"]).read_bytes())


def _manifest(place: Path) -> dict[str, dict[str, str]]:
    (entry,) = json.loads((place / "index.json").read_text())["manifests"]
    return dict(json.loads(_blob(place, entry["digest"]).read_text()))


def _blob(place: Path, digest: str) -> Path:
    return place / "blobs" / digest.replace(":", "/")


def _with_index(place: Path, data: bytes) -> None:
    """Have a directory hold this index, under a manifest that names it."""
    (place / "blobs" / "sha256" / sha256(data).hex).write_bytes(data)
    layout = json.loads((place / "index.json").read_text())
    manifest = json.loads(_blob(place, layout["manifests"][0]["digest"]).read_text())
    manifest["config"] |= {"digest": str(sha256(data)), "size": len(data)}
    text = json.dumps(manifest).encode()
    (place / "blobs" / "sha256" / sha256(text).hex).write_bytes(text)
    layout["manifests"][0] |= {"digest": str(sha256(text)), "size": len(text)}
    (place / "index.json").write_text(json.dumps(layout))


def test_a_cache_of_a_later_release_is_left_alone(place: Path, warm: Machines) -> None:
    value = json.loads(encode_index(_held(place)))
    _with_index(place, json.dumps({**value, "v": 99}).encode())
    before = (place / "index.json").read_bytes()
    built = warm(changed=True).build(place)
    lines = lines_about(built, place)
    assert len(lines) == 2
    assert all("another release" in line for line in lines)
    assert (place / "index.json").read_bytes() == before


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 200_000,
        b'{"v":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"v":1,"packs":[],"users":{"a":{"time":1' + b"0" * 5000 + b',"rows":{}}},"records":{}}',
        b'{"v":1,"packs":[],"users":{},"records":{}}' + b" " * ((16 << 20) - 50),
    ],
    ids=["open", "deep", "number", "16 MiB"],
)
def test_a_hostile_index_costs_a_line_at_most(place: Path, warm: Machines, data: bytes) -> None:
    _with_index(place, data)
    began = time.monotonic()
    built = warm().build(cache_from=(str(place),))
    assert time.monotonic() - began < 30
    assert len(lines_about(built, place)) == (0 if data.startswith(b'{"v":1,"packs":[],"users":{}')
                                              else 1)  # fmt: skip


def test_a_short_index_does_not_stand_for_gigabytes() -> None:
    packs = [
        {"kind": "build", "pack": [str(sha256(b"%d" % number)), 9], "content": 9, "made": 1,
         "table": [str(sha256(b"t%d" % number)), 9], "rows": 10_000}
        for number in range(100)
    ]  # fmt: skip
    users = {str(number): {"time": 1, "rows": {pack["pack"][0]: "*" for pack in packs}}
             for number in range(20)}  # fmt: skip
    index = {"v": 1, "packs": packs, "users": users, "records": {}}
    read = read_index(json.dumps(index).encode())
    # What "*" stands for is there once for each pack, and all packs together are bounded.
    wholes = {id(rows.bits) for user in read.users.values() for rows in user.rows.values()}
    assert len(wholes) <= 100
    packs[0]["rows"] = 1_000_000
    with pytest.raises(WherryError, match="rows"):
        read_index(json.dumps(index).encode())


# --- modules, vendor, workspaces -----------------------------------------------------------------

LIB = "example.com/lib"


@pytest.fixture
def proxy(tmp_path: Path) -> Proxy:
    found = Proxy(tmp_path / "proxy")
    found.add(LIB, "v1.0.0", {
        "used/used.go": 'package used\n\nfunc Word() string { return "used" }\n',
        "unused/unused.go": 'package unused\n\nfunc Word() string { return "unused" }\n',
    })  # fmt: skip
    return found


def _with_lib(machine: Machine, proxy: Proxy, name: str = "used") -> Machine:
    machine.write("go.mod", f"module {MODULE}\n\ngo 1.21\n\nrequire {LIB} v1.0.0\n")
    machine.write("go.sum", proxy.go_sum())
    machine.write("main.go", f'package main\n\nimport "{LIB}/{name}"\n\n'
                  f"func main() {{ println({name}.Word()) }}\n")  # fmt: skip
    machine.env |= {"GOPROXY": proxy.url, "GOSUMDB": "off", "GOFLAGS": "-modcacherw"}
    return machine


@pytest.mark.parametrize(
    "commands",
    [
        # With the flags of the cache, so that the standard library need not be compiled.
        [("build", "-trimpath", "-o", "/dev/null", "."), ("mod", "verify")],
        pytest.param([("vet", "./..."), ("test", "./..."), ("build", "./..."), ("mod", "verify")],
                     marks=pytest.mark.soak),
    ],
    ids=["build", "all"],
)  # fmt: skip
def test_a_new_import_of_a_module_of_which_parts_came(
    proxy: Proxy, warm: Machines, machines: Machines, tmp_path: Path,
    commands: list[tuple[str, ...]],
) -> None:  # fmt: skip
    place = tmp_path / "cache"
    _with_lib(warm(), proxy).build(place)
    # The same sources, offline: no module but what came.
    same = _with_lib(machines(), proxy)
    same.env["GOPROXY"] = "off"
    same.write("main.go", (same.checkout / "main.go").read_text() + "// edited\n")
    assert same.build(place).compiled <= {MODULE, f"{LIB}/used"}
    # A package that did not come: from the network where there is one.
    offline = _with_lib(machines(), proxy, "unused")
    offline.env["GOPROXY"] = "off"
    with pytest.raises(WherryError) as raised:
        offline.build(cache_from=(str(place),))
    assert "GOPROXY=off" in str(raised.value)
    more = _with_lib(machines(), proxy, "unused")
    built = more.build(place)
    assert {MODULE, f"{LIB}/unused"} == built.compiled
    # Then the user's own commands, with the user's own caches.
    for machine in (same, more):
        machine.env["GOPROXY"] = proxy.url
        machine.write("main.go", f'package main\n\nimport (\n\t"{LIB}/used"\n\t"{LIB}/unused"\n)'
                      "\n\nfunc main() { _, _ = used.Word(), unused.Word() }\n")  # fmt: skip
        for words in commands:
            done = machine.go(*words)
            assert done.returncode == 0, (words, done.stderr)
        listed = machine.go("list", f"{LIB}/...")
        assert listed.stdout.split() == [f"{LIB}/unused", f"{LIB}/used"]
        own = str(machine.store).encode()
        for path in Path(machine.env["GOCACHE"]).glob("??/*-d"):
            assert not path.is_file() or own not in path.read_bytes(), path


def test_vendored_modules_stay_in_the_sources(
    proxy: Proxy, warm: Machines, machines: Machines, tmp_path: Path
) -> None:
    place = tmp_path / "cache"
    first = _with_lib(warm(), proxy)
    assert first.go("mod", "vendor").returncode == 0
    fresh = machines()
    shutil.copytree(first.checkout, fresh.checkout, dirs_exist_ok=True)
    for machine in (first, fresh):
        machine.env |= {"GOFLAGS": "-mod=vendor", "GOPROXY": "off",
                        "GOMODCACHE": str(machine.root / "never")}  # fmt: skip
    first.build(place)
    assert {pack.kind for pack in _held(place).packs} == {"build"}
    fresh.write("main.go", (fresh.checkout / "main.go").read_text() + "\nvar _ = 1\n")
    assert fresh.build(place).compiled == {MODULE}
    assert not (fresh.root / "never").exists()


def test_a_workspace_with_a_replaced_directory(
    warm: Machines, machines: Machines, tmp_path: Path
) -> None:
    place = tmp_path / "cache"

    def lay_out(machine: Machine) -> Machine:
        machine.write("go.work", "go 1.21\n\nuse (\n\t.\n\t./other\n)\n")
        machine.write("go.mod", f"module {MODULE}\n\ngo 1.21\n\nrequire example.com/third v1.0.0\n"
                      "\nreplace example.com/third v1.0.0 => ./third\n")  # fmt: skip
        machine.write("other/go.mod", "module example.com/w\n\ngo 1.21\n")
        machine.write("other/w.go", 'package w\n\nconst Word = "w"\n')
        machine.write("third/go.mod", "module example.com/third\n\ngo 1.21\n")
        machine.write("third/t.go", 'package third\n\nvar Word = "t"\n')
        machine.write("main.go", 'package main\n\nimport (\n\t"example.com/third"\n\t'
                      '"example.com/w"\n)\n\n'
                      "func main() { println(w.Word, third.Word) }\n")  # fmt: skip
        return machine

    lay_out(warm()).build(place)
    fresh = lay_out(machines())
    fresh.write("third/t.go", 'package third\n\nvar Word = "T"\n')
    built = fresh.build(place)
    assert built.compiled == {MODULE, "example.com/third"}
    plain = lay_out(machines())
    plain.env["GOCACHE"] = fresh.env["GOCACHE"]
    plain.write("third/t.go", 'package third\n\nvar Word = "T"\n')
    assert plain.build().image.digest == built.image.digest


ADD = {
    "main.go": f'package main\n\nimport "{MODULE}/asm"\n\nfunc main() {{ println(asm.Add()) }}\n',
    "asm/add.go": "package asm\n\nfunc Add() int64\n",
    "asm/add_amd64.s": '#include "textflag.h"\n#include "../inc/value.h"\n\n'
    "TEXT ·Add(SB), NOSPLIT, $0-8\n\tMOVQ $VALUE, AX\n\tMOVQ AX, ret+0(FP)\n\tRET\n",
    "inc/value.h": "#define VALUE 11111\n",
}


def test_a_header_beside_assembly_is_never_an_old_one(
    warm: Machines, machines: Machines, tmp_path: Path
) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("the assembly of this test is for x86-64")
    place = tmp_path / "cache"
    warm(files=ADD).build(place)
    changed = {**ADD, "inc/value.h": "#define VALUE 22222\n"}
    fresh = machines(files=changed)
    fresh.build(place)
    programs = b"".join(layers(fresh))
    # As the instructions have it: MOVQ $VALUE, AX.
    assert b"\x48\xc7\xc0" + (22222).to_bytes(4, "little") in programs
    assert b"\x48\xc7\xc0" + (11111).to_bytes(4, "little") not in programs


# --- soak ----------------------------------------------------------------------------------------


@pytest.mark.soak
@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not there")
def test_a_header_beside_c_code_is_never_an_old_one(machines: Machines, tmp_path: Path) -> None:
    place = tmp_path / "cache"
    files = {
        "main.go": f'package main\n\nimport "{MODULE}/c"\n\nfunc main() {{ println(c.Value()) }}\n',
        "c/c.go": 'package c\n\n// #include "../inc/value.h"\nimport "C"\n\n'
        "func Value() int { return C.VALUE }\n",
        "inc/value.h": "#define VALUE 11111\n",
        "wherry.toml": '[build]\ncgo = true\nldflags = ["-linkmode external", '
        '"-extldflags=-static"]\n',
    }
    machines(files=files).build(place)
    changed = {**files, "inc/value.h": "#define VALUE 22222\n"}
    fresh = machines(files=changed)
    built = fresh.build(place)
    assert f"{MODULE}/c" in built.compiled
    plain = machines(files=changed)
    assert plain.build().image.digest == built.image.digest
    for text in texts_of(place):
        assert b"_cgo_" not in text or b"11111" not in text


@pytest.mark.soak
def test_another_architecture_begins_anew_and_both_stay(place: Path, machines: Machines) -> None:
    fresh = machines()
    fresh.build(place, platform="linux/arm64")
    again = machines(changed=True)
    assert again.build(place, platform="linux/arm64").compiled == RECOMPILED
    assert machines(changed=True).build(place).compiled == RECOMPILED


@pytest.mark.soak
def test_a_small_disk_for_the_build_cache(place: Path, machines: Machines, tmp_path: Path) -> None:
    """A real one: what does not fit is left out, and the build has the room that there is."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts a file system")
    cache = tmp_path / "small"
    cache.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", os.fsencode(cache), b"tmpfs", 0, b"size=60m") != 0:
        pytest.skip(f"no tmpfs: {os.strerror(ctypes.get_errno())}")
    try:
        fresh = machines()
        fresh.env["GOCACHE"] = str(cache)
        built = fresh.build(cache_from=(str(place),), no_cache=True)
        assert "not enough room" in lines_about(built, place)[0]
        assert not spoilt(cache)
    finally:
        libc.umount2(os.fsencode(cache), 2)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(12))
def test_a_build_that_is_killed_leaves_what_serves(
    place: Path, machines: Machines, origin: tuple[Path, str], seed: int
) -> None:
    machine = machines(changed=True)
    process = start(machine, "--cache-from", str(place), "--cache-to", str(place))
    time.sleep(0.3 + 0.35 * seed)
    # wherry itself and what it started: the machine goes down.
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    wrong = [text for text in spoilt(machine.env["GOCACHE"]) if not text.startswith("trim")]
    # Go itself leaves outputs that are cut short where it is killed; none may be taken for whole.
    assert [text for text in wrong if "names nothing" in text or "left over" in text] == []
    fresh = machines()
    assert fresh.build(place).image.digest == origin[1]
    after = machine.build(place)
    assert after.compiled <= RECOMPILED | {f"{MODULE}/deep"}
    assert not [name for name in os.listdir(place) if name.startswith(".staging")]


VERSIONS = ("go1.21.13", "go1.22.12", "go1.23.12", "go1.24.13", "go1.25.7", "go1.26.8", "go1.27.4")


@pytest.mark.soak
@pytest.mark.parametrize("version", VERSIONS)
def test_every_go_since_1_21(
    version: str, place: Path, machines: Machines, go_caches: dict[str, str]
) -> None:
    asked = subprocess.run(
        ["go", "env", "GOPROXY"], env=os.environ, capture_output=True, text=True, check=True
    )

    def machine(*, changed: bool = False) -> Machine:
        made = machines(changed=changed)
        made.env |= {"GOTOOLCHAIN": version, "GOPROXY": asked.stdout.strip(),
                     "GOMODCACHE": go_caches["GOMODCACHE"]}  # fmt: skip
        return made

    first = machine()
    got = first.go("version")
    if version not in got.stdout:
        pytest.skip(f"{version} cannot be had: {got.stderr.strip()[-200:]}")
    first.build(place)
    fresh = machine(changed=True)
    built = fresh.build(place)
    assert built.compiled == RECOMPILED
    plain = machine(changed=True)
    plain.env["GOCACHE"] = first.env["GOCACHE"]
    assert plain.build().image.digest == built.image.digest


def test_ports_that_nobody_listens_on(warm: Machines) -> None:
    reference = f"127.0.0.1:{free_port()}/team/cache:main"
    built = warm().build(reference)
    used, written = lines_about(built, reference)
    assert "is not used" in used
    assert "is not written" in written


def test_a_build_that_fails_ends_what_it_began(
    registry: FaultRegistry, place: Path, machines: Machines
) -> None:
    reference = fill(registry, place)
    for path in (place / "blobs/sha256").iterdir():
        if path.stat().st_size > 500_000:
            registry.rule("GET", path.name, hold=threading.Event())
    machine = machines(files={"main.go": "package nomain\n"})
    began = time.monotonic()
    with pytest.raises(WherryError):
        machine.build(cache_from=(reference,))
    assert time.monotonic() - began < 15
    assert [one for one in threading.enumerate() if "restore" in one.name] == []
    assert not spoilt(machine.env["GOCACHE"])


@pytest.mark.parametrize("names", [(), ("named",)], ids=["unnamed", "named"])
def test_an_import_that_is_killed_anywhere(tmp_path: Path, names: tuple[str, ...]) -> None:
    driver = Path(__file__).parents[1] / "travelling_kill_driver.py"
    done = subprocess.run(
        [sys.executable, driver, tmp_path, *names], capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    killed = [json.loads(line) for line in done.stdout.splitlines()]
    assert {"open", "write"} < {one["call"] for one in killed}
    for one in killed:
        assert one["wrong"] == [], one
        assert one["again"], one
        # What the kernel does not drop has a name that Go's own trimming looks for.
        assert all(name[-2:] in ("-a", "-d") for name in one["left"]), one
        if not names:
            assert [name for name in one["left"] if name.endswith("-d")] == [], one
