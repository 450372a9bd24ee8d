# SPDX-License-Identifier: Apache-2.0
"""What every cache place promises, and what registries do to one: sharing, faults, strangers."""

import json
import time
from contextlib import ExitStack

import pytest

from fault_registry import FaultRegistry
from gocache_places import (
    QUICK,
    adding,
    contents,
    directory_place,
    document,
    export,
    export_at_once,
    keeping,
    pack,
    packs_of,
    registry_place,
)
from registry_clients import Keys
from registry_samples import artifact, image, index, layer
from registry_state import OCI_MANIFEST
from token_realm import TokenRealm
from wherry.errors import NetworkError, UsageError, WherryError
from wherry.gocache.agreeing import Pace
from wherry.gocache.manifest import ARTIFACT_TYPE, INDEX_TYPE
from wherry.gocache.places import INDEX_LIMIT, Damaged, Document, Published
from wherry.oci.digest import sha256
from wherry.oci.image import Descriptor
from wherry.process.cancel import Cancelled

APP = "team/app"
TAG = r"/manifests/go$"


@pytest.fixture
def server():
    with FaultRegistry() as registry:
        yield registry


@pytest.fixture
def place(server):
    with registry_place(server.host, APP) as made:
        yield made


@pytest.fixture(params=["directory", "docker-registry", "ggcr", "strict registry"])
def places(request, tmp_path, repository_name):
    """Makes places of one kind, all at the same one."""
    with ExitStack() as stack:
        if request.param == "directory":
            yield lambda pace=QUICK: directory_place(tmp_path / "cache", pace)
            return
        if request.param == "strict registry":
            host = stack.enter_context(FaultRegistry()).host
        else:
            name = {"docker-registry": "docker_registry", "ggcr": "ggcr_registry"}[request.param]
            host = request.getfixturevalue(name).host
        yield lambda pace=QUICK: stack.enter_context(registry_place(host, repository_name, pace))


# --- every kind -----------------------------------------------------------------------------------


def test_what_was_published_is_found(places) -> None:
    place, one, two = places(), pack("one"), pack("two" * 1000)
    assert place.current() is None
    assert not place.has(one.descriptor)
    assert [place.put(source) for source in (one, two, one)] == [3, 3000, 0]
    published = place.publish(adding(one, two))
    other = places()
    found = other.current()
    assert published == Published(1, found)
    assert set(packs_of(found)) == {str(one.descriptor.digest), str(two.descriptor.digest)}
    assert contents(other) == {b"one", b"two" * 1000}
    assert other.has(one.descriptor)
    assert other.put(one) == 0


def test_where_nothing_is_missing_nothing_is_written(places) -> None:
    first = export(places(), pack("one")).found
    assert places().publish(adding(pack("one"))) == Published(1, first)
    assert places().publish(lambda found: None) == Published(1, first)
    # The same document again is the same manifest.
    assert places().publish(keeping(pack("one"))) == Published(1, first)
    assert places().current() == first


def test_a_place_where_nothing_is_to_be_written_stays_empty(places) -> None:
    assert places().publish(lambda found: None) == Published(1, None)
    assert places().current() is None


def test_the_signature_goes_with_the_index(places) -> None:
    signature = "ed25519:0123:ABC+/="
    place = places()
    place.publish(lambda found: document({}, signature))
    found = places().current()
    assert (found.index, found.signature) == (b"{}", signature)
    assert places().publish(adding(pack_in(places()))).found.signature == ""


def pack_in(place):
    source = pack("put by somebody else")
    place.put(source)
    # In a directory only what its own exporter puts is kept for it.
    place.publish(keeping(source))
    return pack("put by somebody else")


def test_a_compaction_drops_what_it_does_not_name(places) -> None:
    old, new = pack("old"), pack("new")
    export(places(), old)
    place = places()
    place.put(new)
    place.publish(keeping(new))
    assert contents(places()) == {b"new"}


def test_exporters_at_once_lose_nothing(places, request) -> None:
    is_quick = request.node.callspec.params["places"] in ("directory", "docker-registry")
    count = 8 if is_quick else 4
    # The window is wider than real exports need: this machine may be busy with other tests.
    made = [places(Pace(least=0.5)) for _ in range(count)]
    results = export_at_once(made)
    assert [one for one in results if isinstance(one, Exception)] == []
    assert contents(places()) == {f"pack {number}".encode() for number in range(count)}


def test_an_index_or_a_number_of_blobs_beyond_the_limit_is_not_written(places) -> None:
    place = places()
    with pytest.raises(UsageError, match="too large") as caught:
        place.publish(lambda found: Document(b" " * (INDEX_LIMIT + 1), ()))
    assert "max-size=" in caught.value.hint
    many = {f"sha256:{number:064x}": 1 for number in range(1001)}
    with pytest.raises(UsageError, match="too large"):
        place.publish(lambda found: document(many))
    assert place.current() is None


def test_an_index_of_the_most_bytes_is_read_back(places) -> None:
    index = b" " * INDEX_LIMIT
    places().publish(lambda found: Document(index, ()))
    assert places().current().index == index


def test_what_fails_in_merge_leaves_the_place_alone(places) -> None:
    first = export(places(), pack("one")).found

    def merge(found):
        raise Damaged("the packs do not fit")

    with pytest.raises(Damaged, match="do not fit"):
        places().publish(merge)
    assert places().current() == first


# --- a tag that others move -----------------------------------------------------------------------


class Around:
    """A repository that calls `before` with the name of each method; `for_pushing` keeps it."""

    def __init__(self, repository, before) -> None:
        self._repository, self._before = repository, before

    def for_pushing(self):
        return Around(self._repository.for_pushing(), self._before)

    def __getattr__(self, name):
        def call(*given):
            self._before(name)
            return getattr(self._repository, name)(*given)

        found = getattr(self._repository, name)
        return call if callable(found) else found


def slow_before_put(seconds):
    def before(name):
        if name == "push_manifest":
            time.sleep(seconds)

    return lambda repository: Around(repository, before)


def test_exporters_that_are_slow_between_question_and_write_lose_nothing(server) -> None:
    with ExitStack() as stack:
        made = [
            stack.enter_context(
                registry_place(server.host, APP, Pace(least=0.01), around=slow_before_put(seconds))
            )
            for seconds in (0.1, 0.1, 0.15, 0.2)
        ]
        results = export_at_once(made)
        assert [one for one in results if isinstance(one, Exception)] == []
        assert contents(made[0]) == {f"pack {number}".encode() for number in range(4)}


def test_a_tag_that_moves_before_the_write_is_merged_again(server, place) -> None:
    export(place, pack("first"))
    moved = []

    def move(name):
        if name == "resolve" and len(asked) == 2 and not moved:
            moved.append(export(place, pack("theirs")))
        asked.append(name) if name == "resolve" else None

    asked = []
    with registry_place(server.host, APP, around=lambda one: Around(one, move)) as ours:
        published = export(ours, pack("ours"))
    assert published.tries == 2
    assert contents(place) == {b"first", b"theirs", b"ours"}


def test_a_tag_that_is_overwritten_after_the_write_is_written_again(server, place) -> None:
    stale = []

    def overwrite(name):
        # Somebody who has asked before our write writes after it.
        if name == "push_manifest":
            stale.append(None)
        elif name == "resolve" and len(stale) == 1:
            stale.append(place.publish(keeping(theirs)))

    theirs = pack("theirs")
    place.put(theirs)
    with registry_place(server.host, APP, around=lambda one: Around(one, overwrite)) as ours:
        published = export(ours, pack("ours"))
    assert published.tries == 2
    assert contents(place) == {b"theirs", b"ours"}


def test_who_finds_its_pack_kept_by_the_next_one_is_done(server, place) -> None:
    """The other exporter has merged with what we wrote: nothing is missing, nothing is written."""
    stale = []

    def go_on(name):
        if name == "push_manifest":
            stale.append(None)
        elif name == "resolve" and len(stale) == 1:
            stale.append(export(place, pack("theirs")))

    with registry_place(server.host, APP, around=lambda one: Around(one, go_on)) as ours:
        published = export(ours, pack("ours"))
    assert published == Published(2, place.current())
    assert server.count("PUT", TAG) == 2
    assert contents(place) == {b"theirs", b"ours"}


def test_an_exporter_gives_up_where_others_are_faster_every_time(server, place) -> None:
    count = []

    def always(name):
        if name == "push_manifest":
            count.append(name)
        if name == "resolve" and count:
            place.publish(keeping())
            place.publish(lambda found: document({}, f"signed {len(count)}"))

    with (
        registry_place(
            server.host, APP, Pace(0.0, 0.0, 3, 0.0), around=lambda one: Around(one, always)
        ) as ours,
        pytest.raises(NetworkError, match="not written") as caught,
    ):
        export(ours, pack("ours"))
    assert "3 times" in caught.value.why
    assert 1 <= len(count) <= 3


def test_a_cancelled_export_ends_at_once(server) -> None:
    with registry_place(server.host, APP, Pace(least=60.0)) as ours:
        server.rule("PUT", TAG, before=ours._cancel.cancel)
        began = time.monotonic()
        with pytest.raises(Cancelled):
            export(ours, pack("ours"))
        assert time.monotonic() - began < 30


# --- what is at the tag ---------------------------------------------------------------------------

STRANGERS = {
    "an image": image([layer({"bin/app": b"program"})]),
    "an image of Docker's": image([layer({"a": b"1"})], docker_media_types=True),
    "several platforms": index([image([layer({"a": b"1"})])]),
    "an artifact": artifact("application/vnd.example.sbom"),
    "a newer cache": artifact("application/vnd.wherry.gocache.v2"),
}


@pytest.mark.parametrize("kind", STRANGERS)
def test_something_else_under_the_tag_is_never_overwritten(server, place, kind) -> None:
    digest = server.put_sample(APP, "go", STRANGERS[kind])
    with pytest.raises(UsageError) as caught:
        place.current()
    error = caught.value
    assert "another" in error.hint
    assert ("newer" in error.what) == (kind == "a newer cache")
    with pytest.raises(UsageError):
        export(place, pack("ours"))
    assert server.tags(APP) == {"go": digest}
    assert server.count("PUT", TAG) == 0


def named(server, index_bytes=b"{}", **changes):
    """Put a pack set's manifest under the tag as it is; `changes` replace its fields."""
    config = {"mediaType": INDEX_TYPE, "digest": str(sha256(index_bytes)), "size": len(index_bytes)}
    value = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": ARTIFACT_TYPE,
        "config": config,
        "layers": [],
        **changes,
    }
    server.put_manifest(APP, "go", json.dumps(value).encode(), OCI_MANIFEST)
    return config


DAMAGED = {
    "no index there": {},
    "an index of another type": {"config": {"mediaType": "x/y", "digest": str(sha256(b"")),
                                            "size": 0}},
    "an index beyond the limit": {"config": {"mediaType": INDEX_TYPE, "digest": str(sha256(b"")),
                                             "size": INDEX_LIMIT + 1}},
    "no layers": {"layers": None},
    "layers of a wrong type": {"layers": [{"mediaType": "x/y", "digest": "../../x", "size": 1}]},
    "too many layers": {"layers": [{"mediaType": "x/y", "digest": str(sha256(b"")), "size": 0}]
                        * 1001},
    "a size below nothing": {"config": {"mediaType": INDEX_TYPE, "digest": str(sha256(b"")),
                                        "size": -1}},
    "annotations that are no texts": {"annotations": {"a": 1}},
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_pack_set_is_an_error_and_replaced_by_the_next_export(
    server, place, kind
) -> None:
    named(server, **DAMAGED[kind])
    with pytest.raises(Damaged) as caught:
        place.current()
    assert place.name in caught.value.what
    assert caught.value.why
    # Nothing beyond the limit is even asked for.
    assert kind != "an index beyond the limit" or server.count("GET", "/blobs/") == 0
    assert export(place, pack("ours")).tries == 1
    assert contents(place) == {b"ours"}


def test_what_others_write_in_place_of_a_damaged_pack_set_is_merged_with(server, place) -> None:
    named(server)
    theirs = []

    def mend(name):
        if name == "blob_exists" and not theirs:
            theirs.append(export(place, pack("theirs")))

    with registry_place(server.host, APP, around=lambda one: Around(one, mend)) as ours:
        assert export(ours, pack("ours")).tries == 2
    assert contents(place) == {b"theirs", b"ours"}


@pytest.mark.parametrize("fault", [{"truncate": 5}, {"corrupt_at": 3}, {"append": b"x"}])
def test_an_index_whose_bytes_are_wrong_is_damaged(server, place, fault) -> None:
    export(place, pack("one"))
    server.rule("GET", "/blobs/", **fault)
    with pytest.raises(Damaged):
        place.current()


@pytest.mark.parametrize("fault", [{"truncate": 5}, {"corrupt_at": 3}, {"append": b"x"}])
def test_a_pack_whose_bytes_are_wrong_never_ends_well(server, place, fault) -> None:
    source = pack(bytes(range(256)) * 100)
    export(place, source)
    server.rule("GET", "/blobs/", **fault)
    with place.open(source.descriptor) as stream, pytest.raises(NetworkError):
        stream.read()


@pytest.mark.parametrize("body", [b"{", b"[]", b"", b"\xff\xfe", b"[" * 100_000, b'{"a":NaN}'])
def test_a_manifest_that_is_none_is_an_error_and_not_overwritten(server, place, body) -> None:
    server.put_manifest(APP, "go", body, OCI_MANIFEST)
    for act in (place.current, lambda: export(place, pack("ours"))):
        with pytest.raises(WherryError) as caught:
            act()
        assert not isinstance(caught.value, Damaged)
    assert server.count("PUT", TAG) == 0


def test_a_signature_beyond_all_measure_is_cut(server, place) -> None:
    server.put_blob(APP, b"{}")
    named(server, annotations={"vnd.wherry.gocache.signature": "A" * 100_000})
    assert len(place.current().signature) == 1000


def test_a_pack_that_the_registry_has_lost_is_an_error(server, place) -> None:
    lost = Descriptor("x/y", sha256(b"lost"), 4)
    assert not place.has(lost)
    with place.open(lost) as stream, pytest.raises(NetworkError, match="no blob"):
        stream.read()


# --- servers that fail ----------------------------------------------------------------------------


def test_errors_in_between_are_asked_through(server, place) -> None:
    for method, path in (("HEAD", TAG), ("GET", "/manifests/"), ("PUT", TAG), ("HEAD", "/blobs/")):
        server.rule(method, path, times=1, status=500)
        server.rule(method, path, times=1, skip=1, status=503)
    export(place, pack("one"))
    assert contents(place) == {b"one"}


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
@pytest.mark.parametrize("method", ["HEAD", "GET", "PUT"])
def test_a_server_that_refuses_is_an_error_and_nothing_is_lost(
    server, place, status, method
) -> None:
    first = export(place, pack("one")).found
    server.rule(method, "/manifests/", status=status)
    with pytest.raises(NetworkError):
        export(place, pack("two"))
    if method != "PUT":
        with pytest.raises(NetworkError):
            place.current()
    server.forget_rules()
    assert place.current() == first


def test_a_transient_failure_of_the_index_is_not_taken_for_damage(server, place) -> None:
    """Else the whole cache would be thrown away."""
    first = export(place, pack("one")).found
    server.rule("GET", "/blobs/", status=500)
    with pytest.raises(NetworkError) as caught:
        export(place, pack("two"))
    assert not isinstance(caught.value, Damaged)
    server.forget_rules()
    assert place.current() == first


def test_a_registry_that_is_down(server, place) -> None:
    server.close()
    for act in (place.current, lambda: export(place, pack("one"))):
        with pytest.raises(NetworkError):
            act()


def test_a_manifest_that_goes_away_between_two_questions(server, place) -> None:
    """The tag moved, and the registry has removed what it pointed to."""
    export(place, pack("one"))

    def remove(name):
        if name == "manifest" and not removed:
            removed.append(server.tags(APP)["go"])
            export(place, pack("two"))
            del server.contents.repositories[APP].manifests[removed[0]]

    removed = []
    with registry_place(server.host, APP, around=lambda one: Around(one, remove)) as other:
        assert len(packs_of(other.current())) == 2
    assert removed


def test_nothing_is_sent_that_is_there(server, place) -> None:
    export(place, pack("one"))
    server.forget_requests()
    export(place, pack("one"), pack("two"))
    # The second pack and the index.
    assert server.count("PUT", "/blobs/uploads/") + server.count("POST", "digest=") == 2


# --- mirrors, rights and names --------------------------------------------------------------------


def test_a_mirror_gives_blobs_and_never_says_what_the_tag_is(server, place) -> None:
    source = pack("one")
    with FaultRegistry() as mirror:
        mirror.put_blob(APP, b"one")
        with registry_place(mirror.host, APP) as stale:
            export(stale, pack("an old one"))
        mirror.forget_requests()
        with registry_place(server.host, APP, mirror=mirror.host) as ours:
            export(ours, source)
            assert contents(ours) == {b"one"}
        assert mirror.count("", "/manifests/") == 0
        assert mirror.count("GET", f"/blobs/{source.descriptor.digest}") == 1
    assert server.count("GET", f"/blobs/{source.descriptor.digest}") == 0


def test_importing_asks_for_the_right_to_read_only() -> None:
    realm = TokenRealm(users={"reader": "word"})
    with FaultRegistry(bearer=realm) as server:
        keys = Keys(**{server.host: ("reader", "word")})
        with registry_place(server.host, APP, keys=keys) as place:
            export(place, pack("one"))
        server.forget_requests()
        with registry_place(server.host, APP, keys=keys) as place:
            contents(place)
            assert place.has(pack("one").descriptor)
        asked = [one.path for one in server.seen("GET", "/token")]
        assert asked
        assert not any("push" in path for path in asked)


def test_a_pack_of_another_repository_is_mounted(server, place) -> None:
    server.put_blob("team/other", b"one")
    source = pack("one")
    source.repositories = (f"{server.host}/team/other", "elsewhere.example.com/secret/name")
    assert place.put(source) == 0
    place.publish(adding(source))
    assert contents(place) == {b"one"}
    # Names of other registries are nobody else's business.
    assert not any("secret" in one.path for one in server.requests)


def test_a_digest_can_be_read_and_not_written(server, place) -> None:
    from wherry.gocache.registry_place import RegistryPlace

    found = export(place, pack("one")).found
    pinned = RegistryPlace("x", (place._itself, place._reading), str(found.digest), place._cancel)
    assert pinned.current() == found
    with pytest.raises(UsageError, match="cannot write"):
        pinned.publish(adding(pack("two")))
