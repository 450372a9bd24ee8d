# SPDX-License-Identifier: Apache-2.0
"""Go caches from machine to machine: what is compiled, what travels, what is never trusted."""

import itertools
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import wherry
from fault_registry import FaultRegistry
from registry_samples import layer
from registry_servers import Server
from travelling import Built, Machine
from wherry.api import building
from wherry.api.building import build_images
from wherry.api.caching import TravellingCaches
from wherry.api.registries import Registries
from wherry.errors import NetworkError, UsageError, WherryError
from wherry.events import Event, Level, Message
from wherry.gocache.build_cache import BuildCache
from wherry.gocache.pack_index import read_index
from wherry.gocache.pack_set import PackSet
from wherry.gocache.table import read_table
from wherry.oci.digest import parse_digest, sha256
from wherry.oci.platform import host_platform
from wherry.process.cancel import CancelToken
from wherry.registry.client import Repository
from wherry.store.store import open_store
from wherry_fixtures import GO_MOD, write_module

FILES = {
    "main.go": 'package main\n\nimport "example.com/m/lib"\n\nfunc main() { println(lib.Word) }\n',
    "lib/lib.go": 'package lib\n\nimport "example.com/m/deep"\n\nvar Word = deep.Word + "!"\n',
    "deep/deep.go": 'package deep\n\nconst Word = "deep"\n',
}
MODULE = "example.com/m"

Machines = Callable[[], Machine]


@pytest.fixture(scope="session")
def warm(go_caches: dict[str, str]) -> dict[str, str]:
    """The user's own build cache, which has the standard library."""
    return {"GOCACHE": go_caches["GOCACHE"]}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_module(tmp_path / "source", FILES)


@pytest.fixture
def machines(tmp_path: Path, go_env: dict[str, str], source: Path) -> Machines:
    """Each call gives a fresh machine with a checkout of the module."""
    numbers = itertools.count()
    env = {**go_env, "GOPROXY": "off"}
    return lambda: Machine(tmp_path / f"machine-{next(numbers)}", env).clone(source)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def filled(machines: Machines, warm: dict[str, str], place: Path) -> Built:
    """What a machine with the standard library at hand has given to `place`."""
    first = machines()
    first.env |= warm
    return first.build(place)


def held(place: Path) -> PackSet:
    """What a directory holds."""
    return read_index(_blob(place, _manifest(place)["config"]["digest"]).read_bytes())


def _manifest(place: Path) -> dict[str, dict[str, str]]:
    (entry,) = json.loads((place / "index.json").read_text())["manifests"]
    return dict(json.loads(_blob(place, entry["digest"]).read_text()))


def _blob(place: Path, digest: str) -> Path:
    return place / "blobs" / digest.replace(":", "/")


def test_a_fresh_machine_compiles_what_changed(
    filled: Built, machines: Machines, place: Path
) -> None:
    fresh = machines()
    fresh.write("lib/lib.go", FILES["lib/lib.go"].replace("!", "?"))
    built = fresh.build(place)
    assert built.compiled == {MODULE, f"{MODULE}/lib"}
    # The same image as without caches.
    plain = machines()
    plain.write("lib/lib.go", FILES["lib/lib.go"].replace("!", "?"))
    plain.env["GOCACHE"] = fresh.env["GOCACHE"]
    assert plain.build().image.digest == built.image.digest
    assert built.image.digest != filled.image.digest
    # Only what is new was given back.
    packs = [pack for pack in held(place).packs if pack.kind == "build"]
    assert packs[1].rows < 8 < packs[0].rows


def test_a_base_that_is_out_of_reach_is_no_fault_of_the_cache(
    machines: Machines, warm: dict[str, str], place: Path
) -> None:
    first, fresh = machines(), machines()
    first.env |= warm
    with FaultRegistry() as registry:
        layers = [layer({"etc/os-release": "ID=x\n"})]
        registry.put_image("base/x", "1", layers, platform=str(host_platform()))
        base = f"{registry.host}/base/x:1"
        first.build(place, base=base)
        registry.rule("", "/manifests/", status=403)
        request = fresh.request(place, base=base)
        events: list[Event] = []
        with pytest.raises(WherryError) as caught:
            build_images(request, events.append, CancelToken())
    assert "base/x" in str(caught.value)
    told = [event for event in events if isinstance(event, Message)]
    assert not [event for event in told if event.level is Level.WARNING]
    assert any("the base" in event.text and "looked up" in event.text for event in told)


def test_an_unchanged_fresh_machine_starts_nothing(
    filled: Built, machines: Machines, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = machines()

    def refuse(*_args: object, **_named: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    built = fresh.build(place)
    assert built.image.digest == filled.image.digest
    assert built.image.reused
    assert not Path(fresh.env["GOCACHE"]).exists()
    # The image is whole: its layer has come along.
    assert built.image.size == filled.image.size
    again = fresh.build(place, outputs=(f"type=oci,dest={fresh.root}/out.tar",))
    assert again.image.digest == filled.image.digest


def test_a_record_sends_nobody_to_registries_of_its_own(
    machines: Machines, warm: dict[str, str], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = machines()
    first.env |= warm
    before = first.build()
    with open_store(str(first.store)) as store:
        manifest = json.loads(store.blobs.read(parse_digest(before.image.digest)))
        for layer in manifest["layers"]:
            store.sources.add(parse_digest(layer["digest"]), "internal.example:8080/x")
    first.build(place)
    asked: list[str] = []
    named = Registries.named

    def noted(registries: Registries, name: str) -> Repository:
        asked.append(name)
        return named(registries, name)

    monkeypatch.setattr(Registries, "named", noted)
    built = machines().build(place)
    assert built.image.reused
    assert not asked


def test_one_word_for_two_directories_means_both(
    machines: Machines, warm: dict[str, str], place: Path
) -> None:
    """What a flag names is seen from the current directory, what the file names from the file's."""
    first = machines()
    first.env |= {**warm, "CI": "true"}
    first.write("wherry.toml", '[cache]\nto = ["./cache"]\n')
    first.build(cwd=str(place.parent), source=str(first.checkout), cache_from=("./cache",))
    assert held(first.checkout / "cache").packs
    assert not place.exists()


def test_a_delivery_that_fails_lets_go_of_the_caches(
    machines: Machines, warm: dict[str, str], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = machines()
    first.env |= warm
    closed: list[TravellingCaches] = []
    monkeypatch.setattr(TravellingCaches, "close", lambda caches: closed.append(caches))

    def refuse(*_args: object) -> None:
        raise NetworkError("the registry refuses")

    monkeypatch.setattr(building, "deliver", refuse)
    with pytest.raises(NetworkError, match="refuses"):
        first.build(place)
    assert closed


def test_a_branch_that_is_built_again_is_known(
    filled: Built, machines: Machines, place: Path
) -> None:
    other = machines()
    other.write("deep/deep.go", FILES["deep/deep.go"].replace('deep"', 'other"'))
    assert not other.build(place).image.reused
    assert machines().build(place).image.digest == filled.image.digest


def test_a_second_program_finds_what_the_first_one_left(
    filled: Built, machines: Machines, place: Path, source: Path
) -> None:
    write_module(source, {**FILES, "other/main.go": FILES["main.go"].replace("Word)", "Word, 2)")})
    fresh = machines()
    built = fresh.build(place, source="./other")
    assert built.compiled == {f"{MODULE}/other"}
    current = held(place)
    assert sorted(current.users) == ["example.com/m linux/amd64", "example.com/m/other linux/amd64"]


def test_nothing_of_the_machine_travels(filled: Built, machines: Machines, place: Path) -> None:
    import zstandard

    first = machines()
    texts = [str(first.root.parent), "machine-0", "/home", first.env["PATH"]]
    for path in (place / "blobs" / "sha256").iterdir():
        data = path.read_bytes()
        if data[:4] == b"\x28\xb5\x2f\xfd":
            with zstandard.ZstdDecompressor().stream_reader(
                data, read_across_frames=True
            ) as reader:
                data = reader.read()
        for text in texts:
            assert text.encode() not in data, (path, text)


def test_a_warm_machine_gives_what_the_place_lacks(
    machines: Machines, warm: dict[str, str], place: Path
) -> None:
    first = machines()
    first.env |= warm
    first.build()
    assert first.build().image.reused
    built = first.build(place)
    assert not built.image.reused
    assert held(place).packs
    # And once only.
    assert first.build(place).image.reused
    assert machines().build(place).image.reused
    # Nor where it is only written to.
    assert first.build(cache_to=(str(place),)).image.reused


# --- what is broken or hostile ------------------------------------------------------------------


def _spoil(place: Path, kind: str) -> None:
    blobs = place / "blobs" / "sha256"
    largest = max(blobs.iterdir(), key=lambda path: path.stat().st_size)
    data = largest.read_bytes()
    match kind:
        case "flipped":
            middle = len(data) // 2
            largest.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
        case "truncated":
            largest.write_bytes(data[: len(data) // 2])
        case "gone":
            largest.unlink()
        case "index":
            _blob(place, _manifest(place)["config"]["digest"]).write_text("{}")
        case "layout":
            (place / "index.json").write_text("[")
        case "tables":
            for pack in held(place).packs:
                _blob(place, str(pack.table.digest)).write_bytes(b"nonsense")


@pytest.mark.parametrize("kind", ["flipped", "truncated", "gone", "index", "layout", "tables"])
def test_a_broken_cache_is_told_in_a_line_and_begun_anew(
    filled: Built, machines: Machines, warm: dict[str, str], place: Path, kind: str
) -> None:
    _spoil(place, kind)
    fresh = machines()
    fresh.env |= warm
    fresh.write("deep/deep.go", FILES["deep/deep.go"].replace('deep"', 'spoilt"'))
    built = fresh.build(place)
    assert built.image.digest
    lines = [text for text in built.said if "is not used" in text]
    # With the standard library at hand no pack is needed, and none is looked at.
    assert len(lines) == (1 if kind in ("index", "layout", "tables") else 0)
    # It was mended, or begun anew: the next fresh machine needs no compiler for this.
    if kind in ("index", "layout", "tables"):
        assert machines().build(place).image.digest == filled.image.digest


@pytest.mark.parametrize("kind", ["flipped", "gone"])
def test_a_broken_pack_leaves_nothing_wrong_behind(
    filled: Built, machines: Machines, place: Path, kind: str
) -> None:
    whole = place.with_name("whole")
    shutil.copytree(place, whole)
    _spoil(place, kind)
    fresh = machines()
    fresh.write("deep/deep.go", FILES["deep/deep.go"].replace('deep"', 'spoilt"'))
    # The next place has what the broken one has not.
    built = fresh.build(cache_from=(str(place), str(whole)), cache_to=(str(place),))
    assert built.compiled == {MODULE, f"{MODULE}/lib", f"{MODULE}/deep"}
    (line,) = [text for text in built.said if "is not used" in text]
    assert str(place) in line
    for path in Path(fresh.env["GOCACHE"]).glob("??/*-d"):
        assert sha256(path.read_bytes()).hex == path.name[:-2]
    # It has been mended by the way.
    again = machines()
    again.write("deep/deep.go", FILES["deep/deep.go"].replace('deep"', 'other"'))
    assert again.build(place).compiled == {MODULE, f"{MODULE}/lib", f"{MODULE}/deep"}


def test_a_failure_may_be_asked_for(machines: Machines, warm: dict[str, str], place: Path) -> None:
    place.mkdir()
    (place / "precious").write_text("mine")
    first = machines()
    first.env |= warm
    with pytest.raises(UsageError):
        first.build(cache_from=(f"type=wherry,src={place},ignore-error=false",))
    # By default the build goes on, and what is there stays.
    built = first.build(place)
    assert len([text for text in built.said if str(place) in text and "is not" in text]) == 2
    assert [path.name for path in place.iterdir()] == ["precious"]


# --- keys ---------------------------------------------------------------------------------------


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """A private key and its public one."""
    private, public = tmp_path / "cache.key", tmp_path / "cache.pub"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", private], check=True)
    private.chmod(0o600)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True)
    return private, public


def test_only_what_the_key_has_signed_is_used(
    machines: Machines, warm: dict[str, str], place: Path, keys: tuple[Path, Path]
) -> None:
    private, public = map(str, keys)
    first = machines()
    first.env |= warm
    first.build(place)
    refused = machines()
    refused.env |= warm
    built = refused.build(cache_from=(str(place),), cache_key=public)
    assert f"the Go cache {place} is not used: it is not signed" in built.said
    assert not built.image.reused
    # Who signs begins anew rather than vouch for what others wrote.
    signer = machines()
    signer.env |= warm
    assert not signer.build(place, cache_key=private).image.reused
    reader = machines()
    assert reader.build(cache_from=(str(place),), cache_key=public).image.reused
    # A change after signing is seen.
    index = _blob(place, _manifest(place)["config"]["digest"])
    assert index.exists()


def test_a_public_key_signs_nothing(
    machines: Machines, warm: dict[str, str], place: Path, keys: tuple[Path, Path]
) -> None:
    first = machines()
    first.env |= warm
    built = first.build(place, cache_key=str(keys[1]))
    assert any("a public key cannot sign" in text for text in built.said)
    assert not place.exists() or not held(place).packs


# --- settings of Go -----------------------------------------------------------------------------


def test_entries_that_name_directories_stay_here(
    machines: Machines, warm: dict[str, str], place: Path
) -> None:
    first = machines()
    first.env |= {**warm, "GOFLAGS": "-trimpath=false"}
    built = first.build(place)
    assert any("name directories of this machine and stay here" in text for text in built.said)
    own = str(first.checkout).encode()
    import zstandard

    for pack in held(place).packs:
        with zstandard.ZstdDecompressor().stream_reader(
            _blob(place, str(pack.digest)).read_bytes(), read_across_frames=True
        ) as reader:
            assert own not in reader.read()
    # The standard library travels all the same.
    second = machines()
    second.env["GOFLAGS"] = "-trimpath=false"
    assert second.build(place).compiled == {MODULE, f"{MODULE}/lib", f"{MODULE}/deep"}


def test_assembly_that_reads_beside_itself_is_compiled_anew(
    machines: Machines, warm: dict[str, str], place: Path, source: Path
) -> None:
    # Go's key does not know the header in another directory.
    write_module(source, {
        "main.go": FILES["main.go"].replace("m/lib", "m/asm").replace("lib.Word", "asm.N()"),
        "asm/n.go": "package asm\n\nfunc N() int\n",
        "asm/n.s": '#include "textflag.h"\n#include "../inc/n.h"\n\n'
                   "TEXT ·N(SB),NOSPLIT,$0-8\n\tMOVQ $NUMBER, ret+0(FP)\n\tRET\n",
        "inc/n.h": "#define NUMBER 1111\n",
    })  # fmt: skip
    if os.uname().machine != "x86_64":
        pytest.skip("the assembly is for amd64")
    first = machines()
    first.env |= warm
    first.build(place)
    other = machines()
    other.write("inc/n.h", "#define NUMBER 2222\n")
    built = other.build(place, outputs=(f"type=local,dest={other.root}/out",))
    assert not built.image.reused
    assert f"{MODULE}/asm" in built.compiled
    done = subprocess.run([other.root / "out" / "app" / "m"], capture_output=True, check=True)
    assert done.stderr == b"2222\n"


@pytest.mark.parametrize("platforms", ["linux/amd64,linux/arm64", "linux/arm64,linux/amd64"])
def test_what_one_platform_compiles_of_headers_stays_though_another_has_none(
    machines: Machines, warm: dict[str, str], place: Path, source: Path, platforms: str
) -> None:
    if os.uname().machine != "x86_64":
        pytest.skip("the assembly is for amd64")
    write_module(source, {
        "main.go": FILES["main.go"].replace("m/lib", "m/asm").replace("lib.Word", "asm.N()"),
        "asm/numbered_amd64.go": "package asm\n\nfunc N() int\n",
        "asm/numbered_amd64.s": '#include "textflag.h"\n#include "../inc/n.h"\n\n'
                         "TEXT ·N(SB),NOSPLIT,$0-8\n\tMOVQ $NUMBER, ret+0(FP)\n\tRET\n",
        "asm/numbered_other.go": "//go:build !amd64\n\npackage asm\n\nfunc N() int { return 1 }\n",
        "inc/n.h": "#define NUMBER 1111\n",
    })  # fmt: skip
    first = machines()
    first.env |= warm
    cache = BuildCache(warm["GOCACHE"])
    first.build(place, platform=platforms)
    tables = [read_table(_blob(place, str(pack.table.digest)).read_bytes())
              for pack in held(place).packs if pack.kind == "build"]  # fmt: skip
    rows = [row for table in tables for row in table.rows]
    assert rows
    # Only the archive of the one package has it.
    assert not [row for row in rows if cache.holds_any(row, (b"numbered_amd64.s",))]


def test_what_another_program_compiles_does_not_travel(
    machines: Machines, warm: dict[str, str], place: Path, tmp_path: Path
) -> None:
    """Go's key names the compiler, and not what `-toolexec` puts around it."""
    program = tmp_path / "around"
    program.write_text('#!/bin/sh\nexec "$@"\n')
    program.chmod(0o755)
    first = machines()
    first.env |= {**warm, "GOFLAGS": f"-toolexec={program}"}
    built = first.build(place)
    assert any("-toolexec" in text for text in built.said)
    assert not place.exists() or not held(place).packs


@pytest.mark.soak
def test_a_cache_program_is_left_alone(
    machines: Machines, warm: dict[str, str], place: Path, tmp_path: Path
) -> None:
    first = machines()
    program = tmp_path / "prog"
    # Speaks the protocol, and keeps nothing.
    program.write_text(
        "#!/usr/bin/env python3\nimport json, sys\n"
        'print(json.dumps({"ID": 0, "KnownCommands": ["close"]}), flush=True)\n'
        "for line in sys.stdin:\n"
        "    if line.strip():\n"
        '        print(json.dumps({"ID": json.loads(line)["ID"]}), flush=True)\n'
    )
    program.chmod(0o755)
    first.env |= {**warm, "GOCACHEPROG": str(program), "GOEXPERIMENT": ""}
    try:
        built = first.build(place)
    except WherryError:
        pytest.skip("this Go does not take a program that keeps nothing")
    assert any("GOCACHEPROG is set" in text for text in built.said)
    assert not place.exists() or not held(place).packs


def test_two_exporters_at_once_lose_nothing(
    machines: Machines, warm: dict[str, str], place: Path, source: Path
) -> None:
    names = ["a", "b", "c"]
    write_module(source, {f"{name}/main.go": FILES["main.go"].replace("Word)", f'Word, "{name}")')
                          for name in names})  # fmt: skip
    made = [machines() for _ in names]
    failures: list[BaseException] = []

    def build(machine: Machine, name: str) -> None:
        try:
            machine.env |= warm
            machine.build(place, source=f"./{name}")
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=build, args=pair) for pair in zip(made, names, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []
    assert sorted(held(place).users) == [f"{MODULE}/{name} linux/amd64" for name in names]
    for name in names:
        assert machines().build(place, source=f"./{name}").image.reused


# --- registries ---------------------------------------------------------------------------------


def test_through_a_registry(
    machines: Machines, warm: dict[str, str], docker_registry: Server, repository_name: str
) -> None:
    cache, app = (
        f"{docker_registry.host}/{repository_name}/cache",
        f"{docker_registry.host}/{repository_name}/app:1",
    )
    first = machines()
    first.env |= warm
    filled = first.build(cache, tags=(app,), push=True)
    assert " uploaded" in filled.traffic
    fresh = machines()
    built = fresh.build(cache, tags=(app,), push=True)
    assert built.image.reused
    assert built.image.digest == filled.image.digest
    assert built.image.pushed[0].unchanged
    changed = machines()
    changed.write("main.go", FILES["main.go"].replace("Word)", 'Word, "more")'))
    third = changed.build(cache, tags=(app,), push=True)
    assert third.compiled == {MODULE}
    # The image's layer is in its own repository: the cache takes the new entries only.
    uploaded = float(third.traffic.partition("downloaded, ")[2].partition(" MB")[0])
    assert uploaded < 0.1


def test_a_registry_that_is_down_stops_nothing(machines: Machines, warm: dict[str, str]) -> None:
    first = machines()
    first.env |= warm
    built = first.build("localhost:1/team/cache")
    lines = [text for text in built.said if "localhost:1/team/cache" in text and "is not" in text]
    assert len(lines) == 2
    assert built.image.digest
    with pytest.raises(NetworkError):
        machines().build(cache_from=("type=wherry,ref=localhost:1/team/cache,ignore-error=false",))


def test_an_image_under_the_tag_is_never_overwritten(
    machines: Machines, warm: dict[str, str], docker_registry: Server, repository_name: str
) -> None:
    app = f"{docker_registry.host}/{repository_name}/app:1"
    first = machines()
    first.env |= warm
    first.build(tags=(app,), push=True)
    second = machines()
    second.env |= warm
    built = second.build(app)
    assert any("is not" in text and app in text for text in built.said)
    assert first.build(tags=(app,), push=True).image.pushed[0].unchanged


def test_from_the_library(machines: Machines, warm: dict[str, str], place: Path) -> None:
    for reused in (False, True):
        machine = machines()
        machine.env |= warm
        around = wherry.Surroundings(str(machine.checkout), machine.env)
        made = wherry.build(store=machine.store, surroundings=around, base="scratch",
                            cache_from=(str(place),), cache_to=(str(place),))  # fmt: skip
        assert made.reused == reused


def test_the_go_mod_of_the_tests_is_plain() -> None:
    # The users' names above are made of it.
    assert GO_MOD.startswith(f"module {MODULE}\n")
