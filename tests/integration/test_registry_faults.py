# SPDX-License-Identifier: Apache-2.0
"""Registries that lie, break, refuse and vanish, and commands that are killed meanwhile.

Whatever happens: the code says what kind of failure it is, stderr what to do, stdout nothing; the
store is whole and holds nothing unverified; the next call works and fetches only what is missing;
no tag of a registry names something that is not whole.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from attacks import DEFAULT_SIGNALS, assert_refused, descendants_alive, finish, spawn
from certificates import Pair
from fault_registry import FaultRegistry, free_port
from registry_samples import Sample, image, index, layer
from store_samples import faults
from token_realm import TokenRealm
from wherry.api.lazy import fetcher, note_sources
from wherry.api.pulling import pull_image
from wherry.api.pushing import push_image
from wherry.api.registries import Registries, RegistryAround
from wherry.events import discard
from wherry.oci.digest import parse_digest
from wherry.oci.image import Layer, parse_descriptor
from wherry.oci.platform import host_platform
from wherry.oci.reference import parse_reference
from wherry.process.cancel import CancelToken
from wherry.registry.pull import pull_manifests
from wherry.store.store import open_store
from wherry_fixtures import Finished

HERE = str(host_platform())
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
DRIVER = Path(__file__).parents[1] / "registry_kill_driver.py"
SECRET = "the-password-of-the-tests"
LAYERS = [layer({"etc/os": "x"}), layer(size=3_000_000), layer({"a": "b"}, size=400_000)]
IMAGE = image(LAYERS, platform=HERE)
BIG = str(IMAGE.document["layers"][1]["digest"])  # type: ignore[index]
MEBIBYTES_OF_RSS = 150


@pytest.fixture
def registry() -> Iterator[FaultRegistry]:
    with FaultRegistry() as running:
        yield running


@pytest.fixture
def other() -> Iterator[FaultRegistry]:
    with FaultRegistry() as running:
        yield running


class Place(NamedTuple):
    """A store, a directory, and an environment in which nobody has signed in anywhere."""

    store: Path
    cwd: Path
    env: Mapping[str, str]
    marker: str

    def run(self, *words: str | Path) -> Finished:
        return finish(self.start(*words))

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        return spawn(*words, cwd=self.cwd, env=self.env)

    def around(self) -> RegistryAround:
        return RegistryAround(str(self.store), self.env, str(self.cwd), (), discard, CancelToken())

    def pull(self, name: str) -> str:
        """Pull in this process, which is quicker; what the command would print."""
        return pull_image(name, self.around()).reference

    def push(self, name: str, *targets: str) -> None:
        """Push in this process."""
        push_image(name, targets, self.around())

    def blobs(self) -> set[str]:
        return {f"sha256:{path.name}" for path in self.store.glob("blobs/sha256/*")}


@pytest.fixture
def place(store: Path, home: Path, tmp_path: Path) -> Place:
    marker = uuid.uuid4().hex
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "DOCKER_CONFIG": str(home / "docker"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "WHERRY_STORE": str(store),
        "TEST_MARKER": marker,
    }
    return Place(store, tmp_path, env, marker)


def pulled(place: Place, registry: FaultRegistry, sample: Sample = IMAGE) -> str:
    """An image that is whole in the store; its name."""
    name = f"{registry.host}/team/app:1.0"
    registry.put_sample("team/app", "1.0", sample)
    place.pull(name)
    registry.forget_requests()
    return name


def lazy(place: Place, *registries: FaultRegistry, sample: Sample = IMAGE) -> str:
    """An image whose layers are in each of the registries and not here; its name."""
    with open_store(place.store) as store, Registries(place.around()) as connected:
        for registry in registries:
            registry.put_sample("base/debian", "12", sample)
            repository = connected.named(f"{registry.host}/base/debian")
            found = pull_manifests(repository, "12", host_platform(), store.blobs, CancelToken())
            one = found.images[0]
            note_sources(store, (one.image.manifest,), repository.full_name)
            store.images.tag(parse_reference("app"), one.manifest.descriptor, time.time())
            registry.forget_requests()
    return "app"


def unsound(store: Path) -> list[str]:
    """What is wrong in a store; a layer that is elsewhere may be missing."""
    if not (store / "state.db").exists():
        return [str(path) for path in store.glob("blobs/*/*")]
    found = []
    with open_store(store) as opened:
        for text in faults(store):
            missing = re.fullmatch(r"pinned blob (\S+) is missing", text)
            if missing is None or not opened.sources.of(parse_digest(missing[1])):
                found.append(text)
        if opened.prune(dry_run=True).leftovers:
            found.append("something half-written was left")
    return found


def broken_tags(registry: FaultRegistry) -> list[str]:
    """The tags that name something of which a part is missing."""
    found = []
    for name, held in registry.contents.repositories.items():
        for tag, digest in held.tags.items():
            document = json.loads(held.manifests[digest][1])
            children = [child["digest"] for child in document.get("manifests", ())]
            documents = [document]
            documents += [json.loads(held.manifests[one][1]) for one in children
                          if one in held.manifests]  # fmt: skip
            parts = [part["digest"] for one in documents if "config" in one
                     for part in (one["config"], *one["layers"])]  # fmt: skip
            gone = [*(set(parts) - held.blobs), *(set(children) - set(held.manifests))]
            found += [f"{name}:{tag} lacks {part}" for part in gone]
    return found


def assert_no_result(finished: Finished, code: int, *words: str) -> None:
    """Refused in three parts, with nothing that a terminal would act on."""
    assert_refused(finished, code, *words)
    assert all(letter.isprintable() or letter == "\n" for letter in finished.stderr)
    assert len(finished.stderr) < 3000


# --- pull: lies and breaks ----------------------------------------------------------------------

MANIFEST, ANY_BLOB, LAYER = r"/manifests/", r"/blobs/sha256", rf"/blobs/{BIG}"
WRONG_PULLS: dict[str, tuple[str, str, dict[str, object], tuple[str, ...]]] = {
    "a config of another digest": ("GET", ANY_BLOB, {"corrupt_at": 5}, ("have the digest",)),
    "a layer of another digest": ("GET", LAYER, {"corrupt_at": 2_900_000}, ("the digest", BIG)),
    "a layer that is cut short": ("GET", LAYER, {"truncate": 1000}, ("it has 1000 bytes", "3001")),
    "a layer that is too long": ("GET", LAYER, {"append": b"xx"}, ("there should be",)),
    "a length that is too short": ("GET", LAYER, {"content_length": 5}, ("it has 5 bytes",)),
    "a length that is too long": ("GET", LAYER, {"content_length": 9**9}, ("there should be",)),
    "a length below zero": ("GET", LAYER, {"headers": {"Content-Length": "-5"}}, ("HTTP",)),
    "a layer without end": ("GET", LAYER, {"endless": True}, (BIG,)),
    "a layer that is gone": ("GET", LAYER, {"status": 404}, ("there is no blob", BIG)),
    "a range of its own": ("GET", LAYER, {"status": 206}, ("answers 206",)),
    "a web page": ("GET", MANIFEST, {"headers": {"Content-Type": "text/html"}}, ("no registry",)),
    "an index that is none": (
        "GET", MANIFEST, {"headers": {"Content-Type": "application/vnd.oci.image.index.v1+json"}},
        ("calls it", "calls itself"),
    ),
    "a type of the moon": (
        "GET", MANIFEST,
        {"raw": b"HTTP/1.1 200 OK\r\nContent-Type: a/b\x1b[31m\r\nContent-Length: 2\r\n\r\n{}"},
        ("a type that wherry does not know",),
    ),
    "another manifest": (
        "GET", MANIFEST, {"headers": {"Docker-Content-Digest": f"sha256:{'0' * 64}"}},
        ("have the digest",),
    ),
    "a manifest that is no JSON": ("GET", MANIFEST, {"truncate": 100}, ("not JSON",)),
    "a way in a circle": ("GET", LAYER, {"redirect": "{path}"}, ("redirects in a loop",)),
    "a way without end": ("GET", LAYER, {"redirect": "{path}&a"}, ("more than 10 times",)),
    "a way to a file": ("GET", LAYER, {"redirect": "file:///etc/passwd"}, ("redirects",)),
    "a way that is not encrypted": (
        "GET", LAYER, {"redirect": "http://192.0.2.7/x?sig=abcdefgh"}, ("not encrypted",)),
    "no HTTP": ("GET", MANIFEST, {"raw": b"\x00\xff" * 5000}, ("does not speak HTTP",)),
    "headers without end": (
        "GET", MANIFEST, {"raw": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 400_000}, ("HTTP",)),
    "a wait of hours": (
        "GET", MANIFEST, {"status": 429, "headers": {"Retry-After": "7200"}}, ("2 h", "wait")),
    "not you": ("GET", MANIFEST, {"status": 403}, ("not allowed", "wherry login")),
    "not you, and no way to ask": ("GET", MANIFEST, {"status": 401}, ("wherry login",)),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG_PULLS)
def test_nothing_wrong_is_pulled(place: Place, registry: FaultRegistry, wrong: str) -> None:
    method, path, fault, words = WRONG_PULLS[wrong]
    registry.put_sample("team/app", "1.0", IMAGE)
    name = f"{registry.host}/team/app:1.0"
    registry.rule(method, path, **fault)
    began = time.monotonic()
    assert_no_result(place.run("pull", name), 4, registry.host, *words)
    assert time.monotonic() - began < 20
    assert unsound(place.store) == []
    with open_store(place.store) as opened:
        assert opened.images.list() == ()
    had = place.blobs()
    registry.forget_rules()
    registry.forget_requests()
    assert place.pull(name) == f"{name}@{IMAGE.digest}"
    assert unsound(place.store) == []
    asked = {seen.path.rpartition("/")[2] for seen in registry.seen("GET", ANY_BLOB)}
    assert not asked & had, "what was here already was fetched again"


@pytest.mark.parametrize("fault", [{"huge": 5 << 20}, {"endless": True}], ids=["huge", "endless"])
def test_a_manifest_of_more_than_4_mebibytes(
    place: Place, registry: FaultRegistry, fault: dict[str, object]
) -> None:
    registry.put_sample("team/app", "1.0", IMAGE)
    registry.rule("GET", MANIFEST, **fault)
    done, peak = measured(place, "pull", f"{registry.host}/team/app:1.0")
    assert (done.returncode, done.stdout) == (4, "")
    assert "more than 4194304 bytes" in done.stderr
    assert "Traceback" not in done.stderr
    assert peak < MEBIBYTES_OF_RSS
    assert registry.seen("GET", MANIFEST)[0].sent < 12 << 20
    assert unsound(place.store) == []


def test_the_server_s_words_are_told_without_what_a_terminal_would_act_on(
    place: Place, registry: FaultRegistry
) -> None:
    words = "\x1b]0;gone\x07\x1b[31m" + "far away " * 4000
    body = json.dumps({"errors": [{"code": "DENIED", "message": words}]}).encode()
    registry.rule("GET", MANIFEST, status=403, body=body)
    assert_no_result(place.run("pull", f"{registry.host}/team/app:1.0"), 4, "DENIED", "far away")


def test_a_storm_is_weathered(place: Place, registry: FaultRegistry) -> None:
    registry.put_sample("team/app", "1.0", IMAGE)
    for status, path in ((429, MANIFEST), (500, ANY_BLOB), (502, LAYER)):
        registry.rule("GET", path, status=status, times=1)
    registry.rule("GET", LAYER, cut_after=1_000_000, times=1)
    registry.rule("GET", LAYER, cut_after=1_000_000, reset=True, times=1)
    done = place.run("pull", f"{registry.host}/team/app:1.0")
    assert done.returncode == 0, done.stderr
    assert "answers 500 (internal server error); trying again in" in done.stderr
    resumed = [seen.headers["range"] for seen in registry.seen("GET", LAYER)
               if "range" in seen.headers]  # fmt: skip
    assert len(resumed) == 2
    assert resumed[0] == "bytes=1000000-"
    assert unsound(place.store) == []


def test_an_index_without_the_platform_lists_what_there_is(
    place: Place, registry: FaultRegistry
) -> None:
    parts = [image(LAYERS[:1], platform=name) for name in ("linux/s390x", "linux/arm/v7")]
    registry.put_sample("team/app", "1.0", index(parts))
    done = place.run("pull", "--platform", "linux/riscv64", f"{registry.host}/team/app:1.0")
    assert_no_result(done, 2, "no image for linux/riscv64", "linux/s390x", "linux/arm/v7")
    assert registry.count() == 1


@pytest.mark.parametrize(("wanted", "near"), [("1.10", "'1.1'"), ("nightly", "1.0, 1.1")])
def test_a_tag_that_is_not_there_is_told_with_near_ones(
    place: Place, registry: FaultRegistry, wanted: str, near: str
) -> None:
    for tag in ("1.0", "1.1"):
        registry.put_sample("team/app", tag, IMAGE)
    done = place.run("pull", f"{registry.host}/team/app:{wanted}")
    assert_no_result(done, 4, f"no tag {wanted}", near)
    assert registry.count("GET", "/tags/list") == 1


# --- nobody there -------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["pull", "push"])
def test_nobody_listens(place: Place, registry: FaultRegistry, verb: str) -> None:
    name = pulled(place, registry)
    gone = f"127.0.0.1:{free_port()}/x:1"
    done = place.run(*("push", name, gone) if verb == "push" else ("pull", gone))
    assert_no_result(done, 4, gone.partition("/")[0], "connection refused")


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A port that takes no further connection, and does not refuse it either."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(10):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_wait_for_a_host_that_swallows_everything_ends_at_once(
    place: Place, black_hole: int, number: signal.Signals
) -> None:
    process = place.start("pull", f"127.0.0.1:{black_hole}/x")
    time.sleep(1)
    assert process.poll() is None, process.communicate()
    began = time.monotonic()
    process.send_signal(number)
    done = finish(process, timeout=10)
    assert time.monotonic() - began < 1.5
    assert (done.returncode, done.stdout) == (128 + number, "")
    assert done.stderr.endswith("interrupted\n")
    assert "Traceback" not in done.stderr


@pytest.mark.soak
def test_a_host_that_swallows_everything_is_given_up(place: Place, black_hole: int) -> None:
    began = time.monotonic()
    done = place.run("pull", f"127.0.0.1:{black_hole}/x")
    assert_no_result(done, 4, "no connection in 15 s", "firewall")
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("verb", ["pull", "push"])
def test_a_certificate_of_nobody_s_names_the_option(
    place: Place, registry: FaultRegistry, server_certificate: Pair, verb: str
) -> None:
    name = pulled(place, registry)
    with FaultRegistry(tls=server_certificate) as encrypted:
        there = f"{encrypted.host}/x:1"
        done = place.run(*("push", name, there) if verb == "push" else ("pull", there))
        assert_no_result(done, 4, encrypted.host, "not trusted", "--ca")


HOSTILE_NAMES = [
    "../../etc/passwd", "a/../b", "host:99999/x", "http://x/y", "user:pw-of-mine@host/x",
    "\x1b[31mx", "a\nb", "x?y=z", "x%2f..%2fy", "x:../y", "127.0.0.1:80:90/x",
    "localhost:5000/../v2/_catalog:1", "x@sha256:beef", f"x:{'t' * 129}", "-x", "\udcff",
]  # fmt: skip


def test_hostile_names_reach_no_registry(place: Place, registry: FaultRegistry) -> None:
    name = pulled(place, registry)
    verbs = (("pull",), ("push", name), ("inspect", "--raw"), ("pull", "--full"))
    for at, hostile in enumerate(HOSTILE_NAMES):
        done = place.run(*verbs[at % len(verbs)], "--", hostile)
        assert_no_result(done, 2)
        assert "pw-of-mine" not in done.stderr
    assert registry.count() == 0
    assert unsound(place.store) == []


# --- push: lies and breaks ----------------------------------------------------------------------

UPLOAD, POST = r"/blobs/uploads/", r"/blobs/uploads/$"
WRONG_PUSHES: dict[str, tuple[str, str, dict[str, object], tuple[str, ...]]] = {
    "no place to send to": ("POST", POST, {"headers": {"Location": None}}, ("no Location",)),
    "a file to send to": (
        "POST", POST, {"headers": {"Location": "file:///etc/passwd"}},
        ("sends an upload to a URL that cannot be used", "neither https"),
    ),
    "no URL to send to": (
        "POST", POST, {"headers": {"Location": "http://[bad/"}}, ("sends an upload to a URL",)),
    "a place with a password": (
        "POST", POST, {"headers": {"Location": f"http://u:{SECRET}@127.0.0.1:1/x"}},
        ("sends an upload to a URL", "user name or password"),
    ),
    "another manifest than was sent": (
        "PUT", MANIFEST, {"headers": {"Docker-Content-Digest": f"sha256:{'1' * 64}"}},
        ("changed the manifest",),
    ),
    "a wait of hours": (
        "HEAD", MANIFEST, {"status": 429, "headers": {"Retry-After": "7200"}}, ("2 h",)),
    "no room": ("PUT", UPLOAD, {"status": 507}, ("507", "the fault is the server's")),
    "not you": ("POST", POST, {"status": 403}, ("not allowed to push to", "wherry login")),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG_PUSHES)
def test_nothing_is_pushed_to_a_registry_that_cannot_be_right(
    place: Place, registry: FaultRegistry, other: FaultRegistry, wrong: str
) -> None:
    method, path, fault, words = WRONG_PUSHES[wrong]
    name, target = pulled(place, registry), f"{other.host}/shop/api:1"
    other.rule(method, path, **fault)
    done = place.run("push", name, target)
    assert_no_result(done, 4, other.host, *words)
    assert SECRET not in done.stderr
    assert broken_tags(other) == []
    assert unsound(place.store) == []
    other.forget_rules()
    place.push(name, target)
    assert broken_tags(other) == []


def test_a_registry_that_takes_blobs_and_keeps_none_gets_no_tag(
    place: Place, registry: FaultRegistry, other: FaultRegistry
) -> None:
    name = pulled(place, registry)
    other.rule("PUT", UPLOAD, status=201)
    done = place.run("push", name, f"{other.host}/shop/api:1")
    assert (done.returncode, done.stdout) == (4, "")
    assert "MANIFEST_BLOB_UNKNOWN" in done.stderr
    assert other.tags("shop/api") == {}


@pytest.fixture
def guarded(place: Place) -> Iterator[tuple[FaultRegistry, TokenRealm]]:
    """A registry for a user who has signed in there, and its realm."""
    realm = TokenRealm({"boatman": SECRET})
    with FaultRegistry(bearer=realm) as running:
        pair = base64.b64encode(f"boatman:{SECRET}".encode()).decode()
        config = Path(place.env["DOCKER_CONFIG"], "config.json")
        config.parent.mkdir(parents=True)
        config.write_text(json.dumps({"auths": {running.host: {"auth": pair}}}))
        yield running, realm


@pytest.mark.parametrize(
    ("method", "path"), [("HEAD", ANY_BLOB), ("POST", POST), ("PUT", UPLOAD), ("PUT", MANIFEST)]
)
def test_a_token_that_ends_in_the_middle_of_a_push_is_renewed(
    place: Place, registry: FaultRegistry, guarded: tuple[FaultRegistry, TokenRealm],
    method: str, path: str,
) -> None:  # fmt: skip
    target, realm = guarded
    name = pulled(place, registry)
    target.rule(method, path, times=1, before=realm.revoke)
    done = place.run("push", name, f"{target.host}/shop/api:1")
    assert done.returncode == 0, done.stderr
    assert broken_tags(target) == []
    assert "1" in target.tags("shop/api")
    assert any(seen.status == 401 for seen in target.seen(method, path)), "no token has ended"


def test_a_password_that_ends_in_the_middle_of_a_push(
    place: Place, registry: FaultRegistry, guarded: tuple[FaultRegistry, TokenRealm]
) -> None:
    target, realm = guarded
    name = pulled(place, registry)

    def end() -> None:
        realm.revoke()
        realm.users.clear()

    target.rule("PUT", MANIFEST, times=1, before=end)
    done = place.run("push", name, f"{target.host}/shop/api:1")
    assert_no_result(done, 4, "not allowed to push to", "boatman", "wherry login")
    assert SECRET not in done.stderr
    assert target.tags("shop/api") == {}


# --- lazy layers --------------------------------------------------------------------------------

WRONG_SOURCES: dict[str, tuple[dict[str, object], str]] = {
    "collected": ({"status": 404}, "there is no blob"),
    "wrong at its end": ({"corrupt_at": 2_900_000}, "have the digest"),
    "wrong at its beginning": ({"corrupt_at": 20}, "have the digest"),
    "cut short": ({"truncate": 1000}, "it has 1000 bytes"),
    "too long": ({"append": b"xx"}, "there should be"),
    "denied": ({"status": 403}, "not allowed to pull"),
}


def test_two_threads_that_want_a_layer_fetch_it_once(place: Place, registry: FaultRegistry) -> None:
    lazy(place, registry)
    blobs = map(parse_descriptor, IMAGE.document["layers"])  # type: ignore[call-overload]
    layers = tuple(Layer(blob, blob.digest) for blob in blobs)
    # The others ask while the first is at it.
    registry.rule("GET", BIG, delay=0.5, times=1)
    with open_store(place.store) as store, Registries(place.around()) as connected:
        fetch = fetcher(store, connected)
        ends = ThreadPoolExecutor(3).map(fetch, [layers, layers[::-1], layers])
        assert sorted(map(bool, ends)) == [False, False, True]
    assert registry.count("GET", BIG) == 1


@pytest.mark.parametrize("wrong", WRONG_SOURCES)
def test_a_layer_that_is_wrong_at_its_source_goes_nowhere(
    place: Place, registry: FaultRegistry, other: FaultRegistry, wrong: str
) -> None:
    fault, word = WRONG_SOURCES[wrong]
    name = lazy(place, registry)
    before = place.blobs()
    rule = registry.rule("GET", LAYER, **fault)
    source = f"{registry.host}/base/debian"
    done = place.run("push", name, f"{other.host}/shop/api:1")
    assert_no_result(done, 4, BIG, source, word)
    # The target and the store are not to blame.
    assert other.host not in done.stderr.partition("error: ")[2]
    assert str(place.store) not in done.stderr
    assert rule.used
    assert other.tags("shop/api") == {}
    assert BIG not in other.contents.blobs
    assert place.blobs() == before
    if wrong in ("collected", "wrong at its end"):
        for words in (("pull", "--full"), ("run", name)):
            assert_no_result(place.run(*words), 4, BIG, source, word)
    assert BIG not in place.blobs()
    assert unsound(place.store) == []
    registry.forget_rules()
    place.push(name, f"{other.host}/shop/api:1")
    assert broken_tags(other) == []
    assert BIG not in place.blobs()


def test_a_wrong_layer_is_the_source_s_fault_after_a_break_of_the_target_too(
    place: Place, registry: FaultRegistry, other: FaultRegistry
) -> None:
    name = lazy(place, registry)
    registry.rule("GET", LAYER, corrupt_at=1_000_000)
    other.rule("P.*", UPLOAD, cut_upload_after=2_000_000, times=1)
    done = place.run("push", name, f"{other.host}/shop/api:1")
    assert_no_result(done, 4, f"{registry.host}/base/debian", "have the digest")
    assert other.tags("shop/api") == {}


@pytest.mark.parametrize("wrong", ["collected", "away", "denied"])
def test_a_lazy_layer_is_had_from_the_next_repository_that_is_known(
    place: Place, registry: FaultRegistry, other: FaultRegistry, wrong: str
) -> None:
    with FaultRegistry() as second:
        name = lazy(place, registry, second)
        # Which one is asked first is the store's affair; that one fails.
        with open_store(place.store) as opened:
            asked_first = opened.sources.of(parse_digest(BIG))[0]
        first, next_one = registry, second
        if not asked_first.startswith(registry.host):
            first, next_one = second, registry
        if wrong == "away":
            first.close()
        else:
            first.rule("GET", LAYER, status=404 if wrong == "collected" else 403)
        done = place.run("push", name, f"{other.host}/shop/api:1")
        assert done.returncode == 0, done.stderr
        assert broken_tags(other) == []
        assert "1" in other.tags("shop/api")
        assert next_one.count("GET", LAYER) == 1
        assert first.count("GET", LAYER) == (0 if wrong == "away" else 1)


def test_all_repositories_of_a_lazy_layer_are_told_where_none_has_it(
    place: Place, registry: FaultRegistry, other: FaultRegistry
) -> None:
    with FaultRegistry() as second:
        name = lazy(place, registry, second)
        registry.close()
        second.rule("GET", ANY_BLOB, status=404)
        done = place.run("push", name, f"{other.host}/shop/api:1")
        gone = (f"{registry.host}/base/debian: cannot reach", f"{second.host}/base/debian: there")
        assert_no_result(done, 4, "error: layer sha256:", "cannot be had", *gone)
        assert other.tags("shop/api") == {}


def test_a_source_whose_tag_was_deleted_still_serves(
    place: Place, registry: FaultRegistry, other: FaultRegistry
) -> None:
    name = lazy(place, registry)
    registry.contents.repositories["base/debian"].tags.clear()
    assert place.run("push", "-q", name, f"{other.host}/shop/api:1").returncode == 0
    assert place.run("pull", "-q", "--full").returncode == 0
    assert BIG in place.blobs()
    assert unsound(place.store) == []


@pytest.mark.parametrize("who", ["source", "target"])
def test_one_side_of_a_stream_goes_away(
    place: Place, registry: FaultRegistry, other: FaultRegistry, who: str
) -> None:
    name = lazy(place, registry)
    leaving = registry if who == "source" else other
    reached = threading.Event()
    if who == "source":
        registry.rule("GET", LAYER, cut_after=1_000_000, before=reached.set)
    else:
        other.rule("PUT", UPLOAD, cut_upload_after=1_000_000, before=reached.set)
    watching = threading.Thread(target=lambda: (reached.wait(60), leaving.close()))
    watching.start()
    done = place.run("push", name, f"{other.host}/shop/api:1")
    watching.join()
    assert_no_result(done, 4, leaving.host)
    assert other.tags("shop/api") == {}
    assert unsound(place.store) == []


def test_a_registry_that_goes_away_in_a_pull(place: Place, registry: FaultRegistry) -> None:
    registry.put_sample("team/app", "1.0", IMAGE)
    reached = threading.Event()
    registry.rule("GET", LAYER, cut_after=1_000_000, before=reached.set)
    watching = threading.Thread(target=lambda: (reached.wait(60), registry.close()))
    watching.start()
    done = place.run("pull", f"{registry.host}/team/app:1.0")
    watching.join()
    assert_no_result(done, 4, f"{registry.host}/team/app")
    assert unsound(place.store) == []
    with FaultRegistry(port=registry.port) as again:
        again.put_sample("team/app", "1.0", IMAGE)
        had = place.blobs()
        place.pull(f"{registry.host}/team/app:1.0")
        asked = {seen.path.rpartition("/")[2] for seen in again.seen("GET", ANY_BLOB)}
        assert not asked & had


def test_a_build_on_a_base_whose_layer_is_gone(
    wherry: Callable[..., Finished], module: Callable[..., Path], registry: FaultRegistry,
    other: FaultRegistry, store: Path, tmp_path: Path,
) -> None:  # fmt: skip
    registry.put_sample("base/debian", "12", IMAGE)
    registry.rule("GET", LAYER, status=404)
    base, source = f"{registry.host}/base/debian:12", module()
    assert wherry("build", "-q", "--base", base, cwd=source).returncode == 0
    push = wherry("build", "--base", base, "--push", "-t", f"{other.host}/m:1", cwd=source)
    assert_no_result(push, 4, BIG, f"{registry.host}/base/debian")
    assert other.tags("m") == {}
    archive = tmp_path / "image.tar"
    written = wherry("build", "--base", base, "-o", f"type=oci,dest={archive}", cwd=source)
    assert_no_result(written, 4, BIG, f"{registry.host}/base/debian")
    assert not archive.exists()
    assert unsound(store) == []
    missing = wherry("build", "--base", f"{registry.host}/base/debian:13", cwd=source)
    assert_no_result(missing, 4, "there is no tag 13", "it has 12")


# --- memory -------------------------------------------------------------------------------------


# A small process between this one and the command: what is started by a large one counts as large.
MEASURE = """
import resource, subprocess, sys
code = subprocess.run([sys.executable, "-m", "wherry", *sys.argv[2:]]).returncode
with open(sys.argv[1], "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""


def measured(place: Place, *words: str) -> tuple[Finished, float]:
    """The finished command, and the most memory that it had, in MiB."""
    peak = place.cwd / "peak"
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(peak), *words],
        cwd=place.cwd, env=dict(place.env), capture_output=True, text=True, timeout=240,
        check=False,
    )  # fmt: skip
    return done, int(peak.read_text()) / 1024


@pytest.mark.soak
def test_500_megabytes_go_through_150_of_memory(
    place: Place, registry: FaultRegistry, other: FaultRegistry
) -> None:
    large = image([bytes(500_000_000)], platform=HERE, compression="none")
    name, target = lazy(place, registry, sample=large), f"{other.host}/shop/api"
    done, streaming = measured(place, "push", name, f"{target}:1")
    assert done.returncode == 0, done.stderr
    other.contents.repositories.clear()
    done, pulling = measured(place, "pull", "--full")
    assert done.returncode == 0, done.stderr
    done, pushing = measured(place, "push", name, f"{target}:2")
    assert done.returncode == 0, done.stderr
    assert max(streaming, pulling, pushing) < MEBIBYTES_OF_RSS, (streaming, pulling, pushing)


# --- a full disk --------------------------------------------------------------------------------

NAMESPACE = ("unshare", "--map-root-user", "--mount")
# The store on a file system of its own, which is small at first and large enough later.
FULL = """
mount -t tmpfs -o size="$1" none "$2"
"$3" -m wherry pull --store "$2/s" "$4"; echo "code $?"
"$3" -c "$5" "$2/s"
mount -o remount,size=64m "$2"
"$3" -m wherry pull -q --store "$2/s" "$4"; echo "code $?"
"$3" -c "$5" "$2/s"
"""
LOOK = """
import shutil, sys, tempfile
from pathlib import Path
from store_samples import faults
store = Path(sys.argv[1])
with tempfile.TemporaryDirectory() as copy:
    # On the full disk SQLite has no room to look.
    shutil.copytree(store, copy, dirs_exist_ok=True)
    found = faults(Path(copy)) if (store / "state.db").stat().st_size else []
print(found, sorted(path.name for path in store.glob("tmp/*/*")))
"""


@pytest.mark.parametrize("size", ["100k", "240k", "2m"])
def test_a_disk_that_fills_up_while_it_is_pulled(
    place: Place, registry: FaultRegistry, size: str
) -> None:
    disk = place.cwd / "disk"
    disk.mkdir()
    probe = [*NAMESPACE, "mount", "-t", "tmpfs", "none", disk]
    mounts = shutil.which("unshare") and subprocess.run(probe, capture_output=True, check=False)
    if not mounts or mounts.returncode:
        pytest.skip("this machine refuses mounts")
    registry.put_sample("team/app", "1.0", IMAGE)
    name = f"{registry.host}/team/app:1.0"
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        [*NAMESPACE, "sh", "-c", FULL, "sh", size, disk, sys.executable, name, LOOK],
        env={**place.env, "PYTHONPATH": str(tests)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "code 3", "[] []", f"{name}@{IMAGE.digest}", "code 0", "[] []"
    ], done.stderr  # fmt: skip
    assert f"{disk}/s" in done.stderr
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\nhint: ") == 1
    assert "Traceback" not in done.stderr


# --- killed -------------------------------------------------------------------------------------


def gone(marker: str, seconds: float = 1.0) -> bool:
    """Whether no process of this test is alive; the kernel may take a moment to bury one."""
    end = time.monotonic() + seconds
    while descendants_alive(marker):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def judge_killed(place: Place, done: Finished, number: signal.Signals) -> None:
    """What holds after any signal at any time, also where it came too late."""
    assert "in main" not in done.stderr, done.stderr
    # While Python itself is still starting, nothing of ours has run: its traceback is not ours.
    if not (number == signal.SIGINT and "Traceback" in done.stderr):
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode in (0, -number, 128 + number), done.stderr
    assert done.returncode == 0 or not done.stdout
    assert gone(place.marker), descendants_alive(place.marker)
    if number == signal.SIGKILL:
        assert not (place.store / "state.db").exists() or faults(place.store) == []
    else:
        assert unsound(place.store) == []


def judge_next_pull(place: Place, registry: FaultRegistry, name: str) -> None:
    had = place.blobs()
    registry.forget_rules()
    registry.forget_requests()
    assert place.pull(name) == f"{name}@{IMAGE.digest}"
    asked = {seen.path.rpartition("/")[2] for seen in registry.seen("GET", ANY_BLOB)}
    assert not asked & had, "what was committed was fetched again"
    with open_store(place.store) as opened:
        opened.prune()
    assert faults(place.store) == []
    assert not list(place.store.glob("tmp/*"))


def judge_next_push(place: Place, target: FaultRegistry, words: tuple[str, ...]) -> None:
    assert broken_tags(target) == []
    had = {name: set(held.blobs) for name, held in target.contents.repositories.items()}
    target.forget_rules()
    target.forget_requests()
    place.push(*words)
    assert broken_tags(target) == []
    assert target.tags("shop/a") == {"1": IMAGE.digest}
    assert target.tags("shop/b") == {"1": IMAGE.digest, "2": IMAGE.digest}
    for seen in target.seen("PUT", UPLOAD):
        name = seen.path.removeprefix("/v2/").partition("/blobs/")[0]
        sent = seen.path.partition("digest=")[2].replace("%3A", ":")
        assert sent not in had.get(name, ()), "what was there was sent again"


def at_request(process: subprocess.Popen[str], number: int) -> Callable[[], None]:
    """What a registry does to the process before it answers."""
    done = threading.Event()

    def send() -> None:
        if not done.is_set():
            done.set()
            process.send_signal(number)
            # Its thread that takes signals needs a moment.
            time.sleep(0.05)

    return send


class Late:
    """A function that is known only when the process has been started."""

    def __init__(self) -> None:
        self.ready = threading.Event()
        self.function: Callable[[], None] = lambda: None

    def __call__(self) -> None:
        self.ready.wait(10)
        self.function()


def killed_at(
    place: Place, server: FaultRegistry, where: tuple[str, str, int], number: signal.Signals,
    words: tuple[str, ...],
) -> Finished:  # fmt: skip
    """Run the command and send it the signal when the request comes; AssertionError if none."""
    method, path, skip = where
    late = Late()
    rule = server.rule(method, path, skip=skip, times=1, before=late)
    process = place.start(*words)
    late.function = at_request(process, number)
    late.ready.set()
    done = finish(process, timeout=30)
    assert rule.used == 1, "never reached"
    return done


PULL_REQUESTS = [
    ("GET", MANIFEST, 0),
    ("GET", ANY_BLOB, 0),
    ("GET", LAYER, 0),
    ("GET", ANY_BLOB, 3),
]
PUSH_REQUESTS = [
    ("HEAD", MANIFEST, 0), ("HEAD", ANY_BLOB, 2), ("POST", UPLOAD, 0), ("PUT", UPLOAD, 1),
    ("POST", "mount=", 1), ("PUT", MANIFEST, 0), ("PUT", MANIFEST, 1), ("PUT", MANIFEST, 2),
]  # fmt: skip


@pytest.mark.parametrize("where", PULL_REQUESTS, ids=str)
def test_a_pull_killed_at_a_request(
    place: Place, registry: FaultRegistry, where: tuple[str, str, int]
) -> None:
    pull_killed(place, registry, where, SIGNALS[PULL_REQUESTS.index(where) % 3])


def pull_killed(
    place: Place, registry: FaultRegistry, where: tuple[str, str, int], number: signal.Signals
) -> None:
    registry.put_sample("team/app", "1.0", IMAGE)
    name = f"{registry.host}/team/app:1.0"
    done = killed_at(place, registry, where, number, ("pull", name))
    judge_killed(place, done, number)
    assert done.returncode in (-number, 128 + number)
    judge_next_pull(place, registry, name)


@pytest.mark.parametrize("where", PUSH_REQUESTS, ids=str)
def test_a_push_killed_at_a_request(
    place: Place, registry: FaultRegistry, other: FaultRegistry, where: tuple[str, str, int]
) -> None:
    number = SIGNALS[PUSH_REQUESTS.index(where) % 3]
    push_killed(place, registry, other, where, number)


def push_words(name: str, other: FaultRegistry) -> tuple[str, ...]:
    return (name, *(f"{other.host}/shop/{target}" for target in ("a:1", "b:1", "b:2")))


def push_killed(
    place: Place, registry: FaultRegistry, other: FaultRegistry, where: tuple[str, str, int],
    number: signal.Signals,
) -> None:  # fmt: skip
    words = push_words(pulled(place, registry), other)
    done = killed_at(place, other, where, number, ("push", *words))
    judge_killed(place, done, number)
    judge_next_push(place, other, words)


POINTS = (
    ("blob-staged", 1), ("blob-synced", 2), ("blob-renamed", 3), ("blob-renamed", 5),
    ("record-before", 1), ("record-after", 1), ("tag-before", 1), ("tag-after", 1),
)  # fmt: skip


@pytest.mark.parametrize(("point", "occurrence"), POINTS)
def test_a_pull_killed_at_a_step_of_the_store(
    place: Place, registry: FaultRegistry, point: str, occurrence: int
) -> None:
    number = (signal.SIGKILL, signal.SIGTERM)[POINTS.index((point, occurrence)) % 2]
    killed_in_store(place, registry, point, occurrence, number)


@pytest.mark.soak
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    ("point", "occurrence"),
    [*((f"blob-{step}", at) for step in ("staged", "synced", "renamed") for at in range(1, 6)),
     ("record-before", 1), ("record-after", 1), ("tag-before", 1), ("tag-after", 1)],
)  # fmt: skip
def test_a_pull_killed_at_every_step_of_the_store_by_every_signal(
    place: Place, registry: FaultRegistry, point: str, occurrence: int, number: signal.Signals
) -> None:
    killed_in_store(place, registry, point, occurrence, number)


def killed_in_store(
    place: Place, registry: FaultRegistry, point: str, occurrence: int, number: signal.Signals
) -> None:
    registry.put_sample("team/app", "1.0", IMAGE)
    name = f"{registry.host}/team/app:1.0"
    words = (place.store, point, occurrence, int(number), "pull", name)
    done = subprocess.run(
        [*DEFAULT_SIGNALS, sys.executable, str(DRIVER), *map(str, words)],
        cwd=place.cwd, env=dict(place.env), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "never reached" not in done.stdout
    if number == signal.SIGKILL:
        assert done.returncode == -number, done.stderr
        assert faults(place.store) == []
    else:
        assert done.returncode in (0, 128 + number), done.stderr
        assert unsound(place.store) == []
    assert "Traceback" not in done.stderr
    judge_next_pull(place, registry, name)


@pytest.mark.soak
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("skip", range(5))
def test_a_pull_killed_at_every_request(
    place: Place, registry: FaultRegistry, skip: int, number: signal.Signals
) -> None:
    pull_killed(place, registry, ("", "", skip), number)


@pytest.mark.soak
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("skip", range(22))
def test_a_push_killed_at_every_request(
    place: Place, registry: FaultRegistry, other: FaultRegistry, skip: int, number: signal.Signals
) -> None:
    push_killed(place, registry, other, ("", "", skip), number)


def killed_at_random(place: Place, registry: FaultRegistry, seed: int) -> None:
    """A pull and a push killed at random moments, with everything checked after each."""
    choice = random.Random(seed)
    shutil.rmtree(place.store, ignore_errors=True)
    registry.put_sample("team/app", "1.0", IMAGE)
    name = f"{registry.host}/team/app:1.0"
    registry.rule("GET", ANY_BLOB, trickle=(200_000, choice.choice((0, 0.01, 0.03))))
    number = choice.choice(SIGNALS)
    process = place.start("pull", name)
    time.sleep(choice.random() * 0.8)
    process.send_signal(number)
    judge_killed(place, finish(process, timeout=30), number)
    judge_next_pull(place, registry, name)
    with FaultRegistry() as target:
        target.rule("P.*", "", delay=choice.choice((0, 0.02, 0.05)))
        number = choice.choice(SIGNALS)
        words = push_words(name, target)
        process = place.start("push", *words)
        time.sleep(choice.random() * 0.9)
        process.send_signal(number)
        judge_killed(place, finish(process, timeout=30), number)
        judge_next_push(place, target, words)


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_time(place: Place, registry: FaultRegistry, seed: int) -> None:
    killed_at_random(place, registry, seed)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_killed_at_any_time_very_often(place: Place, registry: FaultRegistry) -> None:
    for seed in range(int(os.environ.get("WHERRY_SOAK_KILLS", "200"))):
        killed_at_random(place, registry, 1000 + seed)


# --- storms -------------------------------------------------------------------------------------


@pytest.mark.soak
@pytest.mark.parametrize("status", [429, 500, 502])
@pytest.mark.parametrize("verb", ["pull", "push"])
def test_a_storm_without_end_is_given_up(
    place: Place, registry: FaultRegistry, other: FaultRegistry, status: int, verb: str
) -> None:
    other.rule("PUT|GET", UPLOAD if verb == "push" else LAYER, status=status)
    if verb == "push":
        words = ("push", pulled(place, registry), f"{other.host}/shop/api:1")
    else:
        other.put_sample("team/app", "1.0", IMAGE)
        words = ("pull", f"{other.host}/team/app:1.0")
    began = time.monotonic()
    done = place.run(*words)
    assert_no_result(done, 4, str(status), other.host)
    assert time.monotonic() - began < 60
    assert other.tags("shop/api") == {}
