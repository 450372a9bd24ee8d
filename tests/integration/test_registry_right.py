# SPDX-License-Identifier: Apache-2.0
"""Is the image always the right one: bases that move, locks, tags, prunes, in every order.

A build is judged by one in a fresh store whose base is named by the digest that this store has to
take. A failure of the walk names its seed and its steps; WHERRY_SOAK_STEPS and WHERRY_SOAK_SEED
choose others.
"""

from __future__ import annotations

import io
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from fault_registry import FaultRegistry
from registry_samples import Sample, artifact, image, index, layer, write_dir
from registry_state import digest_of
from registry_tools import Crane, Skopeo, needs_skopeo, output_of, umoci_unpack
from store_samples import age
from wherry.api.content import stored_image
from wherry.api.library import list_images, prune_store, remove_images, tag_image
from wherry.api.locking import LockRequest, LockResult, write_lock
from wherry.api.pulling import complete_images, pull_image
from wherry.api.pushing import push_image
from wherry.api.registries import RegistryAround
from wherry.api.request import BuildResult
from wherry.api.resolved import meaning_of, remember
from wherry.errors import BuildError, UsageError, WherryError
from wherry.events import discard
from wherry.oci.digest import parse_digest
from wherry.oci.image import Descriptor
from wherry.oci.platform import host_platform
from wherry.oci.reference import parse_reference
from wherry.process.cancel import CancelToken
from wherry.settings.lock import load_lock
from wherry.store.store import open_store
from wherry_fixtures import Project

HERE = str(host_platform())
OTHER = "linux/arm64" if HERE != "linux/arm64" else "linux/amd64"
MAIN = "package main\n\nfunc main() {}\n"


@pytest.fixture
def registry() -> Iterator[FaultRegistry]:
    with FaultRegistry() as served:
        yield served


def base_sample(word: str, platform: str = HERE) -> Sample:
    settings = {"Labels": {"word": word}, "User": "1000"}
    layers = [layer({"etc/base": word}), layer({"etc/big": word}, size=50_000)]
    return image(layers, platform=platform, settings=settings)


def base_index(word: str) -> Sample:
    return index([base_sample(word, HERE), base_sample(word, OTHER)])


def around(project: Project, store: Path | None = None) -> RegistryAround:
    return RegistryAround(
        str(store or project.store), project.env, str(project.root), (), discard, CancelToken()
    )


def lock(project: Project, **more: object) -> LockResult:
    request = LockRequest(
        ".", str(project.root), project.env, str(project.store), False, (), (), discard,
        CancelToken(),
    )  # fmt: skip
    return write_lock(request._replace(**more))  # type: ignore[arg-type]


def manifest_of(project: Project, digest: str) -> dict[str, object]:
    return dict(json.loads(project.blob(digest)))


def blob_path(store: Path, digest: str) -> Path:
    return store / "blobs" / "sha256" / digest.removeprefix("sha256:")


# --- the walk -----------------------------------------------------------------------------------


class Walk:
    """One project on a store that another project, tags, prunes and a moving registry disturb."""

    def __init__(self, project: Project, registry: FaultRegistry, chance: random.Random) -> None:
        self.here = project
        self.registry = registry
        self.chance = chance
        self.known: dict[tuple[str, str], str] = {}
        self.text = f"{registry.host}/base/os:1"
        self.reference = parse_reference(self.text)
        self.steps: list[str] = []
        self.other = Project(project.root.parent / "other", project.env, project.store, project._go)
        shutil.copytree(project.root, self.other.root)
        self.move()
        self.settle()
        self.actions: list[Callable[[], object]] = [
            self.move, self.move, self.move, self.other_pulls, self.other_pulls, self.pull_tag,
            self.pull_other_platform, self.pull_index, self.tag_local, self.build_local,
            self.untag, self.untag, self.lock, self.lock_again, self.unlock, self.unlock,
            self.conflict, self.settle, self.settle, self.prune, self.prune_everything,
            self.lose_blobs, self.lose_blobs, self.nothing, self.nothing, self.small_cap,
        ]  # fmt: skip

    # What may happen between two builds

    def move(self) -> str:
        word = self.chance.choice(("red", "tan", "sky"))
        made = self.chance.choice((base_index, base_sample))(word)
        self.registry.put_sample("base/os", "1", made)
        return f"the tag means {made.digest[7:13]} now"

    def other_pulls(self) -> None:
        self.other.build(base=self.text, pull=True)

    def pull_tag(self) -> None:
        pull_image(self.text, around(self.here))

    def pull_other_platform(self) -> None:
        with suppress(UsageError):
            pull_image(self.text, around(self.here), platform=OTHER)

    def pull_index(self) -> None:
        pull_image(self.text, around(self.here), all_platforms=True)

    def tag_local(self) -> None:
        names = [row.name for row in list_images(str(self.here.store)) if row.size is not None]
        if names:
            tag_image(str(self.here.store), self.chance.choice(names), self.text)
            self.publish()

    def build_local(self) -> None:
        self.other.build(tags=(self.text,), labels=(("local", self.chance.choice("ab")),))
        self.publish()

    def publish(self) -> None:
        """Push what the store has under the base's name, so that a fresh store can stand on it."""
        push_image(self.text, (f"{self.registry.host}/base/os:local",), around(self.here))

    def untag(self) -> None:
        with suppress(UsageError):
            remove_images(str(self.here.store), (self.text,))

    def lock(self) -> None:
        (self.here.root / "wherry.lock").unlink(missing_ok=True)
        lock(self.here)

    def lock_again(self) -> None:
        with suppress(UsageError):
            lock(self.here, update=True, names=self.chance.choice(((), ("go",), (self.text,))))

    def unlock(self) -> None:
        (self.here.root / "wherry.lock").unlink(missing_ok=True)

    def conflict(self) -> None:
        path = self.here.root / "wherry.lock"
        path.write_text("<<<<<<< ours\nversion = 1\n=======\nversion = 1\n>>>>>>> theirs\n")

    def settle(self) -> str:
        """Write the same base in another way, or another way around to it."""
        host = self.registry.host
        text = self.chance.choice((
            f'[build]\nbase = "{host}/base/os:1"\n',
            f'[build]\nbase = "os:1"\n[registry]\ndefault = "{host}/base"\n',
            f'[build]\nbase = "{host}/base/os:1"\n[registry]\nmirrors = {{ "{host}" = '
            f'["{host}"] }}\n',
        ))  # fmt: skip
        self.here.write("wherry.toml", text)
        return text

    def prune(self) -> None:
        prune_store(str(self.here.store), {})

    def prune_everything(self) -> None:
        prune_store(str(self.here.store), {}, everything=True)

    def small_cap(self) -> None:
        prune_store(str(self.here.store), {}, target=self.chance.choice((10_000, 1_000_000)))

    def lose_blobs(self) -> str:
        found = sorted((self.here.store / "blobs" / "sha256").iterdir())
        lost = self.chance.sample(found, min(len(found), self.chance.randint(1, 3)))
        for path in lost:
            path.unlink()
        return " ".join(path.name[:6] for path in lost)

    def nothing(self) -> None:
        return

    # The judgement

    def step(self) -> None:
        action = self.chance.choice(self.actions)
        said = action()
        self.steps.append(f"{action.__name__} {said or ''}")
        asked: dict[str, object] = {
            "base": self.chance.choice(("", "", self.text)),
            "platform": self.chance.choice(("", "", HERE, OTHER)),
            "pull": self.chance.random() < 0.2,
            "locked": self.chance.random() < 0.2,
            "no_cache": self.chance.random() < 0.1,
            "tags": self.chance.choice(((), (), ("app:1",))),
        }
        self.steps.append(str(asked))
        self.judge(asked)

    def judge(self, asked: dict[str, object]) -> None:
        platform = str(asked["platform"]) or HERE
        try:
            wanted = self.wanted(asked, platform)
        except (BuildError, UsageError) as error:
            with pytest.raises(type(error)):
                self.here.build(**asked)
            return
        if wanted is None:
            with pytest.raises(UsageError):
                self.here.build(**asked)
            return
        result = self.here.build(**asked)
        assert result.digest == self.fresh(wanted, platform), "another image than a fresh build's"
        for item in ("digest", "config_digest"):
            digest = getattr(result, item)
            assert blob_path(self.here.store, digest).is_file(), f"the {item}'s blob is gone"
        own = manifest_of(self.here, result.digest)["layers"][-1]  # type: ignore[index]
        assert blob_path(self.here.store, own["digest"]).is_file(), "the program is gone"

    def wanted(self, asked: dict[str, object], platform: str) -> str | None:
        """The digest that the base has to have; None where it has nothing for the platform."""
        held = load_lock(str(self.here.root))
        if held is None and asked["locked"]:
            raise BuildError("no lock")
        served = self.registry.tags("base/os")["1"]
        if held is not None:
            entry = held.base(self.reference)
            if entry is None and asked["locked"]:
                raise BuildError("not in the lock")
            if entry is not None:
                return self.fitting(str(entry.digest), platform)
        with open_store(self.here.store) as store:
            meaning = meaning_of(store, self.reference)
        if asked["pull"]:
            return self.fitting(served, platform)
        return self.fitting(meaning.tagged, platform) or self.fitting(
            meaning.resolved or served, platform
        )

    def fitting(self, digest: str, platform: str) -> str | None:
        """The manifest for the platform below `digest`, wherever it is to be had."""
        if not digest:
            return None
        value = self.document(digest)
        for entry in value.get("manifests", ()):
            place = entry["platform"]
            if f"{place['os']}/{place['architecture']}" == platform:
                return str(entry["digest"])
        if "manifests" in value:
            return None
        config = self.document(value["config"]["digest"])
        return digest if f"{config['os']}/{config['architecture']}" == platform else None

    def document(self, digest: str) -> dict[str, Any]:
        held = self.registry.contents.repositories["base/os"]
        if digest in held.manifests:
            return dict(json.loads(held.manifests[digest][1]))
        return dict(json.loads(self.registry.blob(digest)))

    def fresh(self, base: str, platform: str) -> str:
        """What a store that knows nothing gives on that very base."""
        if (base, platform) not in self.known:
            root = self.here.root.parent
            store = root / f"fresh-{len(self.known)}"
            project = Project(root / "fresh", self.here.env, store, self.here._go)
            if not project.root.exists():
                project.write("go.mod", (self.here.root / "go.mod").read_bytes())
                project.write("main.go", (self.here.root / "main.go").read_bytes())
            asked = {"base": f"{self.text}@{base}", "platform": platform}
            self.known[base, platform] = project.build(**asked).digest
        return self.known[base, platform]


def walked(project: Project, registry: FaultRegistry, seed: int, steps: int) -> None:
    walk = Walk(project, registry, random.Random(seed))
    try:
        for _ in range(steps):
            walk.step()
    except BaseException:
        print(f"seed {seed}, step {len(walk.steps) // 2}:", *walk.steps[-16:], sep="\n")
        raise


@pytest.mark.parametrize("seed", [1, 2])
def test_every_answer_is_what_a_fresh_store_gives(project, registry, seed):
    walked(project({"main.go": MAIN}), registry, seed, 14)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_every_answer_is_what_a_fresh_store_gives_for_long(project, registry):
    steps = int(os.environ.get("WHERRY_SOAK_STEPS", "400"))
    walked(project({"main.go": MAIN}), registry, soak_seed(), steps)


def soak_seed() -> int:
    """The seed of the day, or the one that is asked for."""
    return int(os.environ.get("WHERRY_SOAK_SEED", time.strftime("%Y%m%d")))


# --- what a record must not answer --------------------------------------------------------------


def word_of(project: Project, result: BuildResult) -> str:
    """The word of the base that the image stands on."""
    return str(json.loads(project.blob(result.config_digest))["config"]["Labels"]["word"])


def test_what_another_build_learns_meanwhile_is_not_taken_for_what_was_used(project, registry):
    old, new = base_sample("red"), base_sample("tan")
    registry.put_sample("base/os", "1", old)
    here, text = project({"main.go": MAIN}), f"{registry.host}/base/os:1"
    here.build(base=text)
    # The documents of the base are fetched again, and just then somebody asks where the tag is.
    config = old.document["config"]["digest"]  # type: ignore[index]
    for digest in (old.digest, config):
        blob_path(here.store, digest).unlink()

    def meanwhile() -> None:
        registry.put_sample("base/os", "1", new)
        with open_store(here.store) as store:
            store.blobs.put(new.data)
            root = Descriptor(new.media_type, parse_digest(new.digest), len(new.data))
            remember(store, parse_reference(text), root, (root.digest,))

    registry.rule("GET", f"/blobs/{config}", times=1, before=meanwhile)
    here.write("main.go", f"{MAIN}\n// more\n")
    here.build(base=text)
    assert word_of(here, here.build(base=text)) == "tan"


def test_a_pushed_image_whose_parts_are_lost_is_built_again(project, registry, tmp_path):
    registry.put_sample("base/os", "1", base_sample("red"))
    here = project({"main.go": MAIN})
    asked = {"base": f"{registry.host}/base/os:1", "iidfile": str(tmp_path / "iid")}
    first = here.build(**asked, tags=(f"{registry.host}/shop/app:1",), push=True)
    own = manifest_of(here, first.digest)["layers"][-1]["digest"]  # type: ignore[index]
    for lost in (first.digest, first.config_digest, own):
        # That a registry could give it back is no reason to need that registry.
        blob_path(here.store, lost).unlink()
        assert here.build(**asked).digest == first.digest
        assert blob_path(here.store, lost).is_file()


def change_default(here: Project, registry: FaultRegistry) -> None:
    text = f'[build]\nbase = "os:1"\n[registry]\ndefault = "{registry.host}/other"\n'
    here.write("wherry.toml", text)


def remove_lock(here: Project, _registry: FaultRegistry) -> None:
    (here.root / "wherry.lock").unlink()


def remove_settings(here: Project, _registry: FaultRegistry) -> None:
    (here.root / "wherry.toml").unlink()


@pytest.mark.parametrize("point", ["go-asked", "main-found", "go-built", "image-stored"])
@pytest.mark.parametrize("edit", [change_default, remove_lock, remove_settings])
def test_settings_that_change_while_go_runs_are_read_again(project, registry, edit, point):
    registry.put_sample("base/os", "1", base_sample("red"))
    registry.put_sample("other/os", "1", base_sample("tan"))
    here = project({"main.go": MAIN})
    text = f'[build]\nbase = "{registry.host}/base/os:1"\n'
    if edit is change_default:
        text = f'[build]\nbase = "os:1"\n[registry]\ndefault = "{registry.host}/base"\n'
    here.write("wherry.toml", text)
    lock(here)
    registry.put_sample("base/os", "1", base_sample("sky"))
    begun = time.time_ns()
    while here.write("tick").stat().st_ctime_ns <= begun:
        pass
    done = []

    def hook(reached: str) -> None:
        if reached == point and not done:
            done.append(reached)
            edit(here, registry)

    first = here.build(base="", trace=hook)
    assert done
    second = here.build(base="")
    assert second.digest == first.digest
    store = here.root.parent / "fresh"
    fresh = Project(here.root, here.env, store, here._go).build(base="")
    assert second.digest == fresh.digest


def test_the_user_s_other_settings_are_another_question(project, registry, tmp_path):
    for word in ("red", "tan"):
        registry.put_sample(f"{word}/os", "1", base_sample(word))
        path = tmp_path / word / "wherry" / "config.toml"
        path.parent.mkdir(parents=True)
        path.write_text(f'[registry]\ndefault = "{registry.host}/{word}"\n')
    here = project({"main.go": MAIN})
    for word in ("red", "tan", "red"):
        here.env["XDG_CONFIG_HOME"] = str(tmp_path / word)
        assert word_of(here, here.build(base="os:1")) == word
    path.write_text(f'[registry]\ndefault = "{registry.host}/red"\n')
    here.env["XDG_CONFIG_HOME"] = str(tmp_path / "tan")
    assert word_of(here, here.build(base="os:1")) == "red"
    path.unlink()
    del here.env["XDG_CONFIG_HOME"]
    here.write("home", "")
    own = Path(here.env["HOME"]) / ".config" / "wherry" / "config.toml"
    own.parent.mkdir(parents=True)
    own.write_text(f'[registry]\ndefault = "{registry.host}/tan"\n')
    assert word_of(here, here.build(base="os:1")) == "tan"
    here.write("wherry.toml", f'[registry]\ndefault = "{registry.host}/red"\n')
    assert word_of(here, here.build(base="os:1")) == "red"


# --- numbers, and indexes with everything that others list in them ------------------------------


def full_index() -> Sample:
    """Two images that share a layer, an attestation, an artifact, an index within the index."""
    shared = layer({"etc/shared": "x"}, size=100_000)
    images = [image([shared, layer({"bin/app": name})], platform=name) for name in (HERE, OTHER)]
    statement = image([layer({"statement": "{}"})], platform="unknown/unknown")
    inner = index([image([layer({"bin/app": "old"})], platform="linux/s390x")])
    outer = index([*images, statement, artifact("application/vnd.example.sbom")])
    document = outer.document
    listed = document["manifests"]
    assert isinstance(listed, list)
    listed[2]["annotations"] = {
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": images[0].digest,
    }
    del listed[3]["platform"]
    listed.append(inner.descriptor)
    return Sample(outer.media_type, json.dumps(document).encode(), (), (*outer.children, inner))


def everything(sample: Sample) -> set[bytes]:
    below = {data for child in sample.children for data in everything(child)}
    return {sample.data, *sample.blobs, *below}


def test_an_index_comes_whole_counts_once_and_goes_as_it_came(project, registry):
    here, sample, name = project({"main.go": MAIN}), full_index(), f"{registry.host}/m:1"
    registry.put_sample("m", "1", sample)
    size = sum(map(len, everything(sample)))
    # The artifact's config is one of the specification, and so is every other blob.
    pulled = pull_image(name, around(here), all_platforms=True)
    assert (pulled.digest, pulled.size) == (sample.digest, size)
    (row,) = list_images(str(here.store))
    assert row.platforms == (HERE, OTHER, "linux/s390x")
    assert (row.size, row.missing) == (size, 0)
    for data in everything(sample):
        assert here.blob(digest_of(data)) == data
    with FaultRegistry() as other:
        push_image(name, (f"{other.host}/copy:1",), around(here))
        assert other.manifest("copy", "1") == sample.data
        for data in everything(sample):
            digest = digest_of(data)
            kept = other.contents.repositories["copy"].manifests.get(digest)
            assert (kept[1] if kept else other.blob(digest)) == data


def test_numbers_of_a_lazy_index_count_a_layer_once(project, registry):
    here, sample, name = project({"main.go": MAIN}), full_index(), f"{registry.host}/m:1"
    registry.put_sample("m", "1", sample)
    pull_image(name, around(here), all_platforms=True)
    shared = json.loads(sample.children[0].data)["layers"][0]
    blob_path(here.store, shared["digest"]).unlink()
    (row,) = list_images(str(here.store))
    assert row.missing == shared["size"]
    (result,) = complete_images((name,), around(here))
    assert result.downloaded == shared["size"]


def test_a_foreign_layer_is_nothing_that_could_be_fetched(project, registry):
    sample = image([layer({"a": "b"})], foreign=[layer({"c": "d"})], platform=HERE)
    registry.put_sample("windows", "1", sample)
    here = project({"main.go": MAIN})
    pull_image(f"{registry.host}/windows:1", around(here))
    assert list_images(str(here.store))[0].missing == 0
    assert complete_images((), around(here)) == ()


def test_an_index_with_a_type_of_its_own_is_still_an_image(project, registry):
    sample = base_index("red")
    document = sample.document
    odd = {"mediaType": "application/vnd.example", "digest": f"sha256:{0:064}", "size": 5}
    document["manifests"].append(odd)  # type: ignore[attr-defined]
    registry.put_sample("m", "2", sample)
    registry.put_manifest("m", "1", json.dumps(document).encode())
    here = project({"main.go": MAIN})
    pull_image(f"{registry.host}/m:1", around(here), all_platforms=True)
    (row,) = list_images(str(here.store))
    assert row.platforms == (HERE, OTHER)
    assert row.size is not None


# --- a store that others use --------------------------------------------------------------------


def assert_images_whole(store: Path) -> None:
    """Blobs are their digests; of a tagged image all is here, or a layer that can be fetched."""
    for path in (store / "blobs" / "sha256").iterdir():
        assert digest_of(path.read_bytes()) == f"sha256:{path.name}", "a damaged blob"
    with open_store(store) as opened:
        for row in opened.images.list():
            held = stored_image(opened, row.descriptor)
            for manifest in held.manifests:
                assert opened.blobs.has(manifest.config.digest, manifest.config.size)
                for item in manifest.layers:
                    assert opened.blobs.known(item.digest, item.size), f"{row.reference} lost it"


def test_a_tagged_image_keeps_what_it_needs_through_every_prune(project, registry):
    registry.put_sample("base/os", "1", base_index("red"))
    here, text = project({"main.go": MAIN}), f"{registry.host}/base/os:1"
    made = here.build(base=text, tags=("lazy",))
    registry.put_sample("base/os", "2", base_index("tan"))
    pulled = f"{registry.host}/base/os:2"
    pull_image(pulled, around(here), platform=OTHER)
    here.build(base=text, tags=("gone",), labels=(("a", "b"),))
    remove_images(str(here.store), ("gone",))
    for asked in ({}, {"target": 0}, {"everything": True}, {"everything": True}):
        with open_store(here.store) as store:
            age(store, 10_000)
        with open_store(here.store, size_limit=1000) as store:
            store.prune(**asked)  # type: ignore[arg-type]
            store.enforce_limit()
        assert_images_whole(here.store)
    assert {row.name for row in list_images(str(here.store))} == {"lazy:latest", pulled}
    (result,) = complete_images((), around(here))
    assert result.digest == made.digest
    remove_images(str(here.store), ("lazy", pulled))
    prune_store(str(here.store), {}, everything=True)
    assert not any((here.store / "blobs" / "sha256").iterdir())
    with closing(sqlite3.connect(here.store / "state.db")) as database:
        assert database.execute("SELECT count(*) FROM sources").fetchone() == (0,)


def disturbed(here: Project, registry: FaultRegistry, seed: int, rounds: int) -> None:
    """Commands at once on one store, some of them killed; the store has to be whole after each."""
    chance = random.Random(seed)
    text = f"{registry.host}/base/os:1"
    env = {**here.env, "WHERRY_STORE": str(here.store)}
    commands = (
        ("pull", text), ("pull", "--all-platforms", text), ("pull", "--full"),
        ("build", ".", "--base", text, "-t", "app"),
        ("build", ".", "--base", text, "-t", "other", "--pull", "--label", "a=b"),
        ("build", ".", "--base", text, "-t", "app", "-o", "type=oci,dest=/dev/null"),
        ("push", "app", f"{registry.host}/copy:{chance.randrange(100)}"),
        ("cache", "prune", "--all"), ("cache", "prune"), ("rmi", text), ("rmi", "app"),
        ("tag", text, "app"),
    )  # fmt: skip
    for _ in range(rounds):
        if chance.random() < 0.5:
            registry.put_sample("base/os", "1", base_index(chance.choice(("red", "tan", "sky"))))
        chosen = chance.choices(commands, k=4)
        started = [
            subprocess.Popen([sys.executable, "-m", "wherry", *words], cwd=here.root, env=env,
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            for words in chosen
        ]  # fmt: skip
        for process in started:
            if chance.random() < 0.3:
                time.sleep(chance.random() * 0.4)
                process.kill()
        for words, process in zip(chosen, started, strict=True):
            told = process.communicate(timeout=120)[1]
            # 2: an image that another command removed, or has not made yet.
            assert process.returncode in (0, -signal.SIGKILL, 2), f"seed {seed}: {words}: {told}"
        assert_images_whole(here.store)


@pytest.mark.parametrize("seed", [1])
def test_commands_at_once_leave_every_image_whole(project, registry, seed):
    registry.put_sample("base/os", "1", base_index("red"))
    here = project({"main.go": MAIN})
    here.build(base=f"{registry.host}/base/os:1", tags=("app",))
    disturbed(here, registry, seed, 4)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_commands_at_once_leave_every_image_whole_for_long(project, registry):
    registry.put_sample("base/os", "1", base_index("red"))
    here = project({"main.go": MAIN})
    here.build(base=f"{registry.host}/base/os:1", tags=("app",))
    disturbed(here, registry, soak_seed(), int(os.environ.get("WHERRY_SOAK_STEPS", "60")))


# --- what runs, and what others say of it -------------------------------------------------------

SETTINGS = {
    "Env": ["PATH=/bin", "LANG=C.UTF-8", "EMPTY="],
    "User": "1000:1000",
    "WorkingDir": "/srv",
    "Entrypoint": ["/bin/sh"],
    "Cmd": ["-i"],
    "Labels": {"maintainer": "somebody"},
    "Volumes": {"/data": {}},
    "ExposedPorts": {"53/udp": {}, "80/tcp": {}},
    "StopSignal": "SIGQUIT",
    "Healthcheck": {"Test": ["CMD", "/bin/true"], "Interval": 3_000_000_000},
    "Shell": ["/bin/sh", "-e", "-c"],
    "StopTimeout": 7,
    "OnBuild": ["RUN exit 1"],
}
INHERITED = {
    **{key: SETTINGS[key] for key in SETTINGS if key not in ("Cmd", "OnBuild")},
    "Env": ["PATH=/bin:/app", "LANG=C.UTF-8", "EMPTY="],
    "Entrypoint": ["/app/m"],
    "Labels": {"maintainer": "somebody", "org.opencontainers.image.title": "m"},
}
SPEAKING = """package main

import (
	"fmt"
	"os"
)

func main() {
	here, _ := os.Getwd()
	fmt.Println(os.Getuid(), here, os.Getenv("LANG"), os.Getenv("PATH"))
}
"""
# cgo, and so a C library: the same words from C.
DYNAMIC = """package main

// #include <stdio.h>
// static void say(void) { puts("from C"); fflush(stdout); }
import "C"

func main() { C.say() }
"""


@pytest.fixture(scope="session")
def libc_layer() -> bytes:
    """The C library, its loader, a shell and `true` of this machine, as a base would have them."""
    files: dict[str, bytes] = {"etc/passwd": b"u:x:1000:1000::/srv:/bin/sh\n", "srv/x": b"x"}
    for name in ("sh", "true"):
        path = shutil.which(name)
        assert path is not None
        files[f"bin/{name}"] = Path(path).read_bytes()
        needed = subprocess.run(["ldd", path], capture_output=True, text=True, check=False)
        if needed.returncode != 0:
            pytest.skip(f"{path} is no dynamically linked program here: {needed.stderr}")
        for library in re.findall(r"(/\S+) \(0x", needed.stdout):
            files[library.lstrip("/")] = Path(library).read_bytes()
    return layer(files)


@needs_skopeo
@pytest.mark.parametrize("kind", ["docker", "zstd", "plain"])
def test_others_read_and_run_what_stands_on_a_base(
    project, docker_registry, repository_name, libc_layer, tmp_path, crane, wherry, kind
):
    more = {
        "docker": {"docker_media_types": True},
        "zstd": {"compression": "zstd"},
        "plain": {"compression": "none"},
    }[kind]
    base = image([libc_layer, layer({"srv/y": "y"})], platform=HERE, settings=SETTINGS, **more)
    skopeo = Skopeo(docker_registry, tmp_path)
    source = f"dir:{write_dir(base, tmp_path / 'base')}"
    skopeo.push(source, f"{repository_name}:base", "--preserve-digests")
    name = f"{docker_registry.host}/{repository_name}:app"
    here = project({"main.go": SPEAKING})
    asked = {"base": f"{docker_registry.host}/{repository_name}:base", "tags": (name,)}
    here.build(**asked, push=True)

    config = json.loads(output_of("skopeo", "inspect", "--tls-verify=false", "--raw", "--config",
                                  skopeo.name(f"{repository_name}:app")))  # fmt: skip
    assert config["config"] == INHERITED
    assert (config["architecture"], config["os"]) == tuple(reversed(HERE.split("/")))
    manifest = json.loads(skopeo.raw(f"{repository_name}:app"))
    layers = [line for line in config["history"] if not line.get("empty_layer")]
    assert len(layers) == len(manifest["layers"]) == len(config["rootfs"]["diff_ids"]) == 3
    Crane(crane, docker_registry, tmp_path).validate(
        f"{repository_name}:app", fast=kind != "docker"
    )

    ran = wherry("run", name)
    assert ran.stdout == "1000 /srv C.UTF-8 /bin:/app\n", ran.stderr
    shell = wherry("run", "--entrypoint", "sh", name, "-c", "echo $0 $LANG; m; true")
    assert shell.stdout == "sh C.UTF-8\n1000 /srv C.UTF-8 /bin:/app\n", shell.stderr

    here.build(**asked, outputs=(f"type=local,dest={tmp_path / 'local'}",))
    if kind == "docker" and shutil.which("umoci"):
        # umoci knows gzip only.
        skopeo.pull(f"{repository_name}:app", f"oci:{tmp_path / 'layout'}:1")
        root = umoci_unpack(tmp_path / "layout", "1", tmp_path / "bundle")
        assert output_of("diff", "-r", "--no-dereference", root, tmp_path / "local") == ""
    assert (tmp_path / "local" / "srv" / "y").read_text() == "y"


@pytest.mark.parametrize("shape", ["no layer", "no history", "twice", "empty lines"])
def test_odd_bases_keep_layers_and_history_in_step(project, registry, shape):
    one = layer({"a": "b"})
    sample = image([] if shape == "no layer" else [one, one], platform=HERE)
    config = json.loads(sample.blobs[0])
    if shape == "no history":
        del config["history"]
    if shape == "empty lines":
        config["history"].insert(1, {"created_by": "ENV A=b", "empty_layer": True})
    data = json.dumps(config).encode()
    document = {**sample.document, "config": {**sample.document["config"],  # type: ignore[dict-item]
                "digest": digest_of(data), "size": len(data)}}  # fmt: skip
    made = Sample(sample.media_type, json.dumps(document).encode(), (data, *sample.blobs[1:]))
    registry.put_sample("base/os", "1", made)
    here = project({"main.go": MAIN})
    result = here.build(
        base=f"{registry.host}/base/os:1", tags=(f"{registry.host}/a:1",), push=True
    )
    assert here.build(base=f"{registry.host}/base/os:1").reused
    written = json.loads(here.blob(result.config_digest))
    layers = manifest_of(here, result.digest)["layers"]
    lines = [line for line in written["history"] if not line.get("empty_layer")]
    assert len(lines) == len(layers) == len(written["rootfs"]["diff_ids"])  # type: ignore[arg-type]
    assert len(written["history"]) - len(lines) == (shape == "empty lines")
    assert complete_images((), around(here)) or shape == "no layer"


def test_docker_s_own_name_for_zstd_becomes_the_oci_s(project, registry):
    settings = {"docker_media_types": True, "compression": "zstd", "platform": HERE}
    registry.put_image("base/os", "1", [layer({"a": "b"})], **settings)
    here = project({"main.go": MAIN})
    result = here.build(base=f"{registry.host}/base/os:1")
    first = manifest_of(here, result.digest)["layers"][0]  # type: ignore[index]
    assert first["mediaType"] == "application/vnd.oci.image.layer.v1.tar+zstd"


def test_a_base_without_a_path_keeps_the_usual_one(project, registry, libc_layer, wherry):
    registry.put_image("base/os", "1", [libc_layer], platform=HERE, settings={"Env": ["A=b"]})
    here = project({"main.go": SPEAKING})
    here.build(base=f"{registry.host}/base/os:1", tags=("app",))
    ran = wherry("run", "--entrypoint", "sh", "app", "-c", "true; m")
    assert ran.stdout.endswith(
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/app\n"
    ), ran.stderr


def test_a_program_in_c_runs_on_the_base_for_it(project, registry, libc_layer, wherry):
    registry.put_image("base/os", "1", [libc_layer], platform=HERE, settings={"Env": ["PATH=/bin"]})
    text = f'[build]\ncgo = true\nlibc-base = "{registry.host}/base/os:1"\n'
    here = project({"main.go": DYNAMIC, "wherry.toml": text})
    made = here.build(base="", tags=("app",))
    assert made.binaries[0].dynamic
    ran = wherry("run", "app")
    assert ran.stdout == "from C\n", ran.stderr
    assert here.build(base="", tags=("app",)).digest == made.digest
    for explicit in ("static", "scratch"):
        with pytest.raises(BuildError, match="dynamically linked"):
            here.build(base=explicit)
    registry.put_image("base/os", "1", [libc_layer, layer({"new": ""})], platform=HERE)
    moved = here.build(base="", pull=True)
    assert moved.digest != made.digest
    assert here.build(base="").digest == moved.digest
    here.write("main.go", MAIN)
    static = here.build(base="", tags=("app",))
    assert not static.binaries[0].dynamic
    assert "wherry.base" in manifest_of(here, static.digest)["annotations"]  # type: ignore[operator]
    assert wherry("run", "app").returncode == 0


def test_an_index_of_the_store_runs_the_image_for_this_machine(
    project, registry, libc_layer, wherry
):
    variant = {"linux/amd64": "linux/amd64/v1", "linux/arm64": "linux/arm64/v8"}.get(HERE, HERE)
    own = image([libc_layer], platform=variant, settings={"Cmd": ["/bin/true"]})
    foreign = image([layer({"x": "y"})], platform=OTHER)
    inner = index([own, foreign])
    nested = json.dumps({"schemaVersion": 2, "mediaType": inner.media_type,
                         "manifests": [inner.descriptor]}).encode()  # fmt: skip
    registry.put_sample("m", "flat", inner)
    registry.put_manifest("m", "nested", nested)
    here = project({"main.go": MAIN})
    for tag in ("flat", "nested"):
        name = f"{registry.host}/m:{tag}"
        pull_image(name, around(here), all_platforms=True)
        ran = wherry("run", name)
        assert ran.returncode == 0, ran.stderr
    registry.put_index("m", "other", [foreign])
    name = f"{registry.host}/m:other"
    pull_image(name, around(here), all_platforms=True)
    refused = wherry("run", name)
    assert refused.returncode == 125
    assert OTHER in refused.stderr


# --- the same on every machine ------------------------------------------------------------------


def test_lazy_or_whole_and_in_any_order_it_is_one_image(project, registry, tmp_path):
    registry.put_sample("base/os", "1", base_index("red"))
    text, digests = f"{registry.host}/base/os:1", set()
    here = project({"main.go": MAIN})
    for order in ("build", "pull build", "pull-all build", "build full build", "other build"):
        store = tmp_path / order.replace(" ", "-")
        machine = Project(here.root, here.env, store, here._go)
        for word in order.split():
            if word == "build":
                outputs = (f"type=oci,dest={tmp_path / 'image.tar'}",)
                digests.add(machine.build(base=text, tags=("app",)).digest)
                digests.add(machine.build(base=text, no_cache=True, outputs=outputs).digest)
            elif word == "full":
                assert complete_images(("app",), around(here, store))
            elif word == "other":
                machine.build(base=text, platform=OTHER)
            else:
                pull_image(text, around(here, store), all_platforms=word == "pull-all")
    assert len(digests) == 1


# --- wherry.lock --------------------------------------------------------------------------------


def test_a_lock_holds_every_platform_and_updates_what_is_named(project, registry):
    one, other = full_index(), base_sample("red")
    registry.put_sample("base/one", "1", one)
    registry.put_sample("base/other", "1", other)
    names = [f"{registry.host}/base/{name}:1" for name in ("one", "other")]
    here = project({"main.go": MAIN})
    here.write("wherry.toml", f'[build]\nbase = "{names[0]}"\nlibc-base = "{names[1]}"\n')
    lock(here)
    held = load_lock(str(here.root))
    assert held is not None
    assert [base.reference for base in held.bases] == names
    assert dict(held.bases[0].platforms).keys() >= {HERE, OTHER}
    assert "unknown/unknown" not in dict(held.bases[0].platforms)
    assert [(name, str(digest)) for name, digest in held.bases[1].platforms] == [
        (HERE, other.digest)
    ]
    for name in ("one", "other"):
        registry.put_sample(f"base/{name}", "1", base_sample("tan"))
    assert lock(here).changed == ()
    assert lock(here, update=True, names=("go",)).changed == ()
    assert [
        line.partition(": sha")[0] for line in lock(here, update=True, names=names[1:]).changed
    ] == names[1:]
    assert [line.partition(": sha")[0] for line in lock(here, update=True).changed] == names[:1]
    assert lock(here, update=True).changed == ()
    here.write("wherry.toml", "")
    assert sorted(lock(here).changed) == [f"{name}: not needed any more" for name in names]
    assert here.build(base="static", locked=True).digest


def test_a_locked_go_that_is_not_here_is_said(project, registry):
    here = project({"main.go": MAIN})
    lock(here)
    path = here.root / "wherry.lock"
    text = path.read_text()
    version = re.search(r'^go = "(.*)"$', text, re.MULTILINE)
    assert version is not None
    path.write_text(text.replace(f'go = "{version[1]}"', 'go = "1.21.99"'))
    here.env["GOTOOLCHAIN"] = "local"
    with pytest.raises(WherryError) as caught:
        here.build(locked=True)
    assert "1.21.99" in caught.value.what
    assert "GOTOOLCHAIN" in f"{caught.value.why} {caught.value.hint}"
    here.write("wherry.toml", f'[build]\ngo = "{version[1]}"\n')
    with pytest.raises(BuildError, match=r"1\.21\.99") as differs:
        here.build(locked=True)
    assert differs.value.exit_code == 1
    # What the settings say goes before the lock, which is out of date then.
    assert here.build().digest
    assert any("1.21.99 -> " in line for line in lock(here).changed)
    assert here.build(locked=True).digest


def test_what_differs_from_the_lock_is_said_every_time(project, registry):
    here = project({"main.go": MAIN})
    lock(here)
    path = here.root / "wherry.lock"
    path.write_text(path.read_text().replace('certifi = "', 'certifi = "0'))
    told = [here.build(base="static").warnings for _ in range(2)]
    assert told[0] == told[1]
    assert "certifi" in told[0][0]


def test_a_broken_lock_is_an_error_with_and_without_locked(project, registry):
    here = project({"main.go": MAIN})
    lock(here)
    first = here.build()
    path = here.root / "wherry.lock"
    whole = path.read_text()
    for text in ("<<<<<<< HEAD\n" + whole, whole.replace("version = 1", "version = 2"), "x"):
        path.write_text(text)
        for locked in (False, True):
            with pytest.raises(WherryError) as caught:
                here.build(locked=locked)
            assert caught.value.exit_code == 2
    path.write_text(whole)
    assert here.build().digest == first.digest


# --- files and lines for scripts ----------------------------------------------------------------


def test_files_about_an_image_name_where_it_was_pushed(project, registry, tmp_path):
    here = project({"main.go": MAIN})
    here.write("wherry.toml", f'[registry]\ndefault = "{registry.host}/team"\n')
    paths = {"metadata_file": tmp_path / "meta.json", "iidfile": tmp_path / "iid"}
    asked = {name: str(path) for name, path in paths.items()}
    registry.rule("PUT", "/manifests/", status=403)
    with pytest.raises(WherryError):
        here.build(**asked, tags=("app:1",), push=True)
    assert not any(path.exists() for path in paths.values()), "told of what was not pushed"
    assert list_images(str(here.store)) == ()
    registry.forget_rules()
    with FaultRegistry() as other:
        tags = ("app:1", f"{other.host}/x/app:2", f"{other.host}/y:3")
        result = here.build(**asked, tags=tags, push=True)
        assert other.tags("x/app") == {"2": result.digest}
        assert other.tags("y") == {"3": result.digest}
        told = json.loads(paths["metadata_file"].read_text())
        pushed = [f"{registry.host}/team/app:1", *tags[1:]]
        assert told["image.name"].split(",") == pushed
    assert registry.tags("team/app") == {"1": result.digest}
    assert told["containerimage.digest"] == result.digest == paths["iidfile"].read_text()
    assert [item.reference for item in result.pushed] == [f"{n}@{result.digest}" for n in pushed]
    assert {row.name for row in list_images(str(here.store))} == {"app:1", *tags[1:]}


def test_stdout_is_one_line_whatever_is_pushed_and_written(project, registry, wherry, tmp_path):
    here, name = project({"main.go": MAIN}), f"{registry.host}/shop/app:1"
    scratch = ("build", ".", "--base", "scratch", "--push", "-t", name)
    words = (
        *scratch, "-t", f"{registry.host}/b:2", "--iidfile", tmp_path / "iid",
        "-o", f"type=registry,name={registry.host}/c:3", "-o", f"type=local,dest={tmp_path / 'o'}",
    )  # fmt: skip
    done = wherry(*words, cwd=here.root)
    digest = (tmp_path / "iid").read_text()
    assert done.stdout == f"{name}@{digest}\n", done.stderr
    value = json.loads(wherry(*words, "--json", cwd=here.root).stdout)
    assert (value["digest"], value["reused"]) == (digest, True)
    assert [item["unchanged"] for item in value["pushed"]] == [True] * 3
    # An archive has stdout to itself.
    archived = subprocess.run(
        [sys.executable, "-m", "wherry", *scratch, "-o", "type=oci,dest=-"],
        cwd=here.root, env={**here.env, "WHERRY_STORE": str(here.store)}, capture_output=True,
        check=True,
    )  # fmt: skip
    with tarfile.open(fileobj=io.BytesIO(archived.stdout)) as archive:
        file = archive.extractfile("index.json")
        assert file is not None
        assert digest in file.read().decode()
    assert digest in archived.stderr.decode()
    assert wherry("push", name, f"{registry.host}/d:4").stdout == f"{registry.host}/d:4@{digest}\n"
