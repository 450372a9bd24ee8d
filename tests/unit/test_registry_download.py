# SPDX-License-Identifier: Apache-2.0
"""Blobs from registries that cut, corrupt, lie and disappear: verified, resumed, or not at all."""

import hashlib
import io
import threading
import traceback
import tracemalloc
from contextlib import contextmanager

import pytest

from fault_registry import FaultRegistry, free_port
from registry_clients import Keys, MemoryStore, described, registry_client
from registry_samples import noise
from wherry.errors import MachineError, NetworkError
from wherry.oci.digest import Digest, sha256
from wherry.oci.image import Descriptor
from wherry.process.cancel import Cancelled
from wherry.registry.model import RegistryOptions
from wherry.store.store import open_store

DATA = noise(300_000)
DESCRIPTOR = described(DATA)


@pytest.fixture(autouse=True)
def without_waits(monkeypatch) -> None:
    monkeypatch.setattr("wherry.registry.transfer.pause", lambda seconds, cancel: cancel.check())


@pytest.fixture
def server():
    with FaultRegistry() as registry:
        registry.put_blob("team/app", DATA)
        yield registry


@pytest.fixture
def repository(server):
    with registry_client() as client:
        yield client.repository(server)


def fetched(repository, descriptor: Descriptor = DESCRIPTOR) -> bytes:
    store = MemoryStore()
    told: list[int] = []
    repository.fetch_blob(descriptor, store, told.append)
    assert sum(told) == descriptor.size
    assert min(told, default=1) > 0
    return store.blobs[descriptor.digest]


def ranges(server: FaultRegistry) -> list[str]:
    return [seen.headers.get("range", "") for seen in server.seen("GET", "/blobs/")]


def test_a_blob_is_fetched_by_one_request(server, repository) -> None:
    assert fetched(repository) == DATA
    assert ranges(server) == [""]


def test_an_empty_blob_needs_no_request(server, repository) -> None:
    assert fetched(repository, described(b"")) == b""
    with repository.open_blob(described(b"")) as stream:
        assert stream.read() == b""
    with pytest.raises(NetworkError):
        repository.fetch_blob(Descriptor("a/b", sha256(b"x"), 0), MemoryStore())
    assert server.count() == 0


def test_a_sha512_blob_is_verified_by_its_own_algorithm(server, repository) -> None:
    digest = Digest("sha512", hashlib.sha512(DATA).hexdigest())
    server.rule("GET", "/blobs/sha512", redirect=f"/v2/team/app/blobs/{DESCRIPTOR.digest}")
    server.rule("GET", "/blobs/sha256", times=1)
    store = MemoryStore()
    store.writer = lambda: staged(store)
    repository.fetch_blob(described(DATA, digest), store)
    assert store.blobs[digest] == DATA
    wrong = described(DATA, Digest("sha512", f"{0:0128}"))
    with pytest.raises(NetworkError, match=digest.hex):
        repository.fetch_blob(wrong, store)


@contextmanager
def staged(store: MemoryStore):
    class Sink(io.BytesIO):
        def commit(self, digest: Digest, size: int) -> None:
            assert hashlib.new(digest.algorithm, self.getvalue()).hexdigest() == digest.hex
            store.blobs[digest] = self.getvalue()

    yield Sink()


@pytest.mark.parametrize("reset", [False, True])
def test_a_cut_download_goes_on_where_it_was(server, repository, reset) -> None:
    server.rule("GET", "/blobs/", cut_after=100_000, times=2, reset=reset)
    assert fetched(repository) == DATA
    starts = [0, *(int(one.removeprefix("bytes=").removesuffix("-")) for one in ranges(server)[1:])]
    assert len(starts) == 3
    assert starts == sorted(starts)
    # A reset may swallow what was on its way.
    assert reset or starts == [0, 100_000, 200_000]


def test_a_server_without_range_sends_all_again(server, repository) -> None:
    server.rule("GET", "/blobs/", cut_after=100_000, times=1)
    server.rule("GET", "/blobs/", cut_after=50_000, times=1, ignore_range=True)
    server.rule("GET", "/blobs/", ignore_range=True)
    assert fetched(repository) == DATA
    assert ranges(server) == ["", "bytes=100000-", "bytes=100000-"]


def test_a_download_that_never_gets_on_is_given_up(server, repository) -> None:
    rule = server.rule("GET", "/blobs/", cut_after=0)
    store = MemoryStore()
    with pytest.raises(NetworkError, match="not whole"):
        repository.fetch_blob(DESCRIPTOR, store)
    assert rule.used == 6
    assert not store.blobs


def test_a_large_download_may_break_often_as_long_as_it_gets_on(server, repository) -> None:
    data = noise(20 << 20)
    server.put_blob("team/app", data)
    server.rule("GET", "/blobs/", cut_after=2 << 20)
    assert fetched(repository, described(data)) == data
    assert server.count("GET") == 10


@pytest.mark.parametrize(
    "header",
    ["bytes 0-299999/300000", "bytes 100000-299999/400000", "bytes 100001-299999/300000",
     "garbage", "", "bytes 100000-299999/99999999999999999999999"],
)  # fmt: skip
def test_a_wrong_content_range_is_not_believed(server, repository, header) -> None:
    server.rule("GET", "/blobs/", cut_after=100_000, times=1)
    server.rule("GET", "/blobs/", headers={"Content-Range": header})
    stream = repository.open_blob(DESCRIPTOR)
    with stream, pytest.raises(NetworkError, match="asked for the bytes from 100000 of 300000 on"):
        stream.read()


def test_206_unasked_is_refused(server, repository) -> None:
    server.rule("GET", "/blobs/", status=206, body=DATA)
    with pytest.raises(NetworkError, match="it answers 206"):
        repository.fetch_blob(DESCRIPTOR, MemoryStore())


def test_wrong_bytes_are_asked_for_once_more(server, repository) -> None:
    rule = server.rule("GET", "/blobs/", corrupt_at=299_999, times=1)
    assert fetched(repository) == DATA
    assert (rule.used, server.count("GET")) == (1, 2)


def test_wrong_bytes_are_never_stored(server, repository) -> None:
    server.rule("GET", "/blobs/", corrupt_at=0)
    store = MemoryStore()
    with pytest.raises(NetworkError) as caught:
        repository.fetch_blob(DESCRIPTOR, store)
    found = sha256(bytes([DATA[0] ^ 0xFF]) + DATA[1:])
    assert str(DESCRIPTOR.digest) in caught.value.what
    assert repository.full_name in caught.value.what
    assert str(found) in caught.value.why
    assert caught.value.hint
    assert not store.blobs
    assert server.count("GET") == 2


@pytest.mark.parametrize(
    "fault",
    [{"truncate": 299_999}, {"append": b"x"}, {"content_length": 1 << 40}, {"content_length": 0}],
)
def test_another_length_is_refused_before_the_body(server, repository, fault) -> None:
    server.rule("GET", "/blobs/", **fault)
    with pytest.raises(NetworkError, match="there should be 300000"):
        repository.fetch_blob(DESCRIPTOR, MemoryStore())


def test_an_endless_body_stops_at_the_size(server, repository) -> None:
    server.rule("GET", "/blobs/", endless=True)
    with pytest.raises(NetworkError, match="more than the 300000 bytes"):
        repository.fetch_blob(DESCRIPTOR, MemoryStore())
    assert all(seen.sent < 10_000_000 for seen in server.seen())


def test_a_body_without_length_that_ends_early_is_not_taken(server, repository) -> None:
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
    server.rule("GET", "/blobs/", raw=head + DATA[:1000])
    with pytest.raises(NetworkError, match="ends after 1000 bytes"):
        repository.fetch_blob(DESCRIPTOR, MemoryStore())


def test_a_missing_blob_is_named(server, repository) -> None:
    missing = described(b"missing")
    with pytest.raises(NetworkError) as caught:
        repository.fetch_blob(missing, MemoryStore())
    assert caught.value.what == f"there is no blob {missing.digest} in {repository.full_name}"


def test_a_refused_blob_is_told_in_the_servers_words(server, repository) -> None:
    server.rule("GET", "/blobs/", status=418)
    with pytest.raises(NetworkError, match="a fault of the test"):
        repository.fetch_blob(DESCRIPTOR, MemoryStore())


def test_a_full_disk_is_not_the_registrys_fault(server, repository) -> None:
    store = MemoryStore()

    class Full:
        def write(self, data: object) -> None:
            raise MachineError("the disk is full")

    @contextmanager
    def writer():
        yield Full()

    store.writer = writer
    with pytest.raises(MachineError, match="full"):
        repository.fetch_blob(DESCRIPTOR, store)
    assert server.count("GET") == 1


def test_the_real_store_takes_it(server, repository, tmp_path) -> None:
    with open_store(tmp_path / "store") as store:
        repository.fetch_blob(DESCRIPTOR, store.blobs)
        assert store.blobs.read(DESCRIPTOR.digest) == DATA


# --- as a stream ----------------------------------------------------------------------------------


def test_a_stream_is_the_blob(server, repository) -> None:
    with repository.open_blob(DESCRIPTOR) as stream:
        assert stream.read(10) == DATA[:10]
        assert stream.read() == DATA[10:]
        assert stream.read(1) == b""
    with repository.open_blob(DESCRIPTOR, 299_000) as stream:
        assert stream.read() == DATA[299_000:]
    with repository.open_blob(DESCRIPTOR, 300_000) as stream:
        assert stream.read() == b""
    assert ranges(server) == ["", "bytes=299000-"]


def test_a_stream_resumes(server, repository) -> None:
    server.rule("GET", "/blobs/", cut_after=70_000, times=3)
    with repository.open_blob(DESCRIPTOR, 5) as stream:
        assert stream.read() == DATA[5:]


def test_a_stream_keeps_its_last_bytes_back_where_they_are_wrong(server, repository) -> None:
    server.rule("GET", "/blobs/", corrupt_at=10)
    with repository.open_blob(DESCRIPTOR) as stream:
        got = b""
        with pytest.raises(NetworkError, match="have the digest"):
            while piece := stream.read(1000):
                got += piece
    assert len(got) < len(DATA)


def test_reading_exactly_as_much_as_there_is_verifies_too(server, repository) -> None:
    server.rule("GET", "/blobs/", corrupt_at=10)
    with repository.open_blob(DESCRIPTOR) as stream, pytest.raises(NetworkError):
        stream.read(len(DATA))


def test_a_stream_that_is_left_gives_its_connection_back(server, repository) -> None:
    for _ in range(6):  # more than there are connections to one host
        with repository.open_blob(DESCRIPTOR) as stream:
            stream.read(1)
    assert fetched(repository) == DATA


# --- elsewhere ------------------------------------------------------------------------------------


def test_a_redirected_blob_gets_no_credentials(server) -> None:
    with FaultRegistry(basic=("user", "a-password")) as front:
        secret = "X-Signature=abcdef0123456789"
        front.rule("GET", "/blobs/", skip=1, redirect=f"{server.url}{{path}}?{secret}")
        front.put_blob("team/app", DATA)
        keys = Keys(**{front.host: ("user", "a-password")})
        with registry_client(keys=keys) as client:
            server.rule("GET", "/blobs/", cut_after=1000, times=1)
            assert fetched(client.repository(front)) == DATA
            assert not any(seen.authorized for seen in server.seen())
            assert "bytes=1000-" in ranges(server)
            server.rule("GET", "/blobs/", cut_after=0)
            with pytest.raises(NetworkError) as caught:
                client.repository(front).fetch_blob(DESCRIPTOR, MemoryStore())
        text = "".join(traceback.format_exception(caught.value))
        assert "abcdef0123456789" not in text
        assert "a-password" not in text


def mirrored(server: FaultRegistry, *mirrors: str) -> RegistryOptions:
    return RegistryOptions(mirrors=((server.host, mirrors),))


def test_a_mirror_gives_the_blob(server) -> None:
    with FaultRegistry() as mirror, registry_client(mirrored(server, mirror.host)) as client:
        mirror.put_blob("team/app", DATA)
        assert fetched(client.repository(server)) == DATA
        assert server.count() == 0


@pytest.mark.parametrize(
    "fault",
    [{"status": 404}, {"status": 500}, {"corrupt_at": 5}, {"cut_after": 1000}, {"truncate": 7},
     {"endless": True}, {"hang_up": True}],
)  # fmt: skip
def test_the_registry_stands_in_for_a_failing_mirror(server, fault) -> None:
    with FaultRegistry() as mirror, registry_client(mirrored(server, mirror.host)) as client:
        mirror.put_blob("team/app", DATA)
        mirror.rule("GET", "/blobs/", **fault)
        assert fetched(client.repository(server)) == DATA
        assert len([text for text in client.told if "mirror" in text]) == 1


def test_what_a_mirror_sent_before_it_failed_is_kept(server) -> None:
    with FaultRegistry() as mirror, registry_client(mirrored(server, mirror.host)) as client:
        mirror.put_blob("team/app", DATA)
        mirror.rule("GET", "/blobs/", cut_after=100_000, times=1)
        mirror.rule("GET", "/blobs/", status=500)
        assert fetched(client.repository(server)) == DATA
        assert ranges(server) == ["bytes=100000-"]


def test_a_mirror_that_is_gone_costs_one_try(server) -> None:
    gone = f"127.0.0.1:{free_port()}"
    with registry_client(mirrored(server, gone)) as client:
        for _ in range(2):
            assert fetched(client.repository(server)) == DATA
        assert len(client.told) == 1


# --- at its limits --------------------------------------------------------------------------------


def test_cancelling_ends_a_download_at_once(server) -> None:
    server.rule("GET", "/blobs/", trickle=(1000, 30.0))
    with registry_client() as client:
        store = MemoryStore()
        threading.Timer(0.2, client.cancel.cancel).start()
        with pytest.raises(Cancelled):
            client.repository(server).fetch_blob(DESCRIPTOR, store)
        assert not store.blobs


def test_memory_does_not_grow_with_the_blob(server, repository, tmp_path) -> None:
    data = bytes(48 << 20)
    server.put_blob("team/app", data)
    descriptor = described(data)
    with open_store(tmp_path / "store") as store:
        tracemalloc.start()
        try:
            repository.fetch_blob(descriptor, store.blobs)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert store.blobs.has(descriptor.digest, len(data))
    # The server of the tests shares this process; it cuts the blob into pieces of 64 KiB.
    assert peak < 8 << 20
