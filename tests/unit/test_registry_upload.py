# SPDX-License-Identifier: Apache-2.0
"""Blobs to registries that forget, cut, stall and refuse; and to real ones."""

import io
import socket
import threading
import traceback
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

import pytest

from fault_registry import FaultRegistry
from registry_clients import Keys, MemoryStore, Source, described, registry_client
from registry_samples import noise
from token_realm import TokenRealm
from wherry.errors import MachineError, NetworkError
from wherry.oci.digest import sha256
from wherry.oci.image import Descriptor
from wherry.process.cancel import Cancelled
from wherry.registry import upload
from wherry.registry.model import Sent

SMALL = noise(5_000)
LARGE = noise(1_000_000)
CHUNK = 256_000


@pytest.fixture(autouse=True)
def small_scale(monkeypatch) -> None:
    """The limits of megabytes, divided; and no waits."""
    monkeypatch.setattr("wherry.registry.transfer.pause", lambda seconds, cancel: cancel.check())
    monkeypatch.setattr("wherry.registry.transfer._ENOUGH", 100_000)
    monkeypatch.setattr(upload, "_MONOLITHIC", 100_000)
    monkeypatch.setattr(upload, "_CHUNK", CHUNK)


@pytest.fixture
def server() -> Iterator[FaultRegistry]:
    with FaultRegistry() as registry:
        yield registry


@pytest.fixture
def repository(server):
    with registry_client() as client:
        yield client.repository(server)


def pushed(repository, data: bytes, *repositories: str) -> tuple[Sent, int]:
    """How the blob went, and how many bytes were told."""
    told: list[int] = []
    sent = repository.push_blob(Source(data, repositories=repositories), told.append)
    assert min(told, default=1) > 0
    return sent, sum(told)


def asked(server: FaultRegistry) -> list[str]:
    """The requests' methods, the first HEAD left out."""
    methods = [seen.method for seen in server.seen()]
    assert methods[0] == "HEAD"
    return methods[1:]


def there(server: FaultRegistry, data: bytes) -> bool:
    digest = str(sha256(data))
    return digest in server.contents.repository("team/app").blobs and server.blob(digest) == data


# --- the cheapest way -----------------------------------------------------------------------------


def test_what_is_there_costs_one_request(server, repository) -> None:
    server.put_blob("team/app", SMALL)
    source = Source(SMALL, repositories=("other/app",))
    assert repository.push_blob(source) is Sent.EXISTED
    assert asked(server) == []
    assert source.opened == 0


@pytest.mark.parametrize("data", [b"", b"x", SMALL], ids=len)
def test_a_small_blob_goes_in_one_piece(server, repository, data) -> None:
    assert pushed(repository, data) == (Sent.UPLOADED, len(data))
    assert asked(server) == ["POST", "PUT"]
    assert there(server, data)


def test_a_large_blob_goes_in_chunks(server, repository) -> None:
    assert pushed(repository, LARGE) == (Sent.UPLOADED, len(LARGE))
    assert asked(server) == ["POST", "PATCH", "PATCH", "PATCH", "PATCH", "PUT"]
    assert [seen.headers["content-range"] for seen in server.seen("PATCH")] == [
        "0-255999", "256000-511999", "512000-767999", "768000-999999",
    ]  # fmt: skip
    assert there(server, LARGE)


def test_a_registry_that_wants_longer_chunks_gets_all_at_once() -> None:
    with FaultRegistry(min_chunk=CHUNK + 1) as server, registry_client() as client:
        assert pushed(client.repository(server), LARGE)[0] is Sent.UPLOADED
        assert asked(server) == ["POST", "PUT"]
        assert there(server, LARGE)
    with FaultRegistry(min_chunk=CHUNK) as server, registry_client() as client:
        assert pushed(client.repository(server), LARGE)[0] is Sent.UPLOADED
        assert server.count("PATCH") == 4


def test_a_mount_sends_no_bytes(server, repository) -> None:
    server.put_blob("other/app", LARGE)
    source = Source(LARGE, repositories=("other/app",))
    assert repository.push_blob(source) is Sent.MOUNTED
    assert asked(server) == ["POST"]
    assert source.opened == 0
    assert there(server, LARGE)


def test_a_mount_is_tried_from_three_at_most_and_never_from_nonsense(server, repository) -> None:
    server.put_blob("d/d", SMALL)
    names = ("team/app", "../x", "A", "a/a", f"{server.host}/b/b", "a/a", "c/c", "d/d")
    server.rule("POST", "mount=", status=404)
    assert pushed(repository, SMALL, *names)[0] is Sent.UPLOADED
    froms = [seen.path.partition("&from=")[2] for seen in server.seen("POST")]
    assert froms == ["a/a", "b/b", "c/c", ""]


@pytest.mark.parametrize("status", [400, 404, 405])
def test_a_mount_that_fails_is_an_upload_all_the_same(server, repository, status) -> None:
    server.rule("POST", "mount=", status=status)
    assert pushed(repository, SMALL, "gone/repository")[0] is Sent.UPLOADED
    assert there(server, SMALL)


def test_the_upload_that_a_mount_opened_is_the_only_one(server, repository) -> None:
    assert pushed(repository, SMALL, "a/a", "b/b")[0] is Sent.UPLOADED
    assert asked(server) == ["POST", "PUT"]


def test_an_upload_that_became_another_blob_is_an_error(server, repository) -> None:
    other = f"sha256:{1:064}"
    server.rule("PUT", "", headers={"Docker-Content-Digest": other})
    with pytest.raises(NetworkError, match="something else"):
        repository.push_blob(Source(SMALL))


def test_a_request_that_is_too_large_names_the_proxy(server, repository) -> None:
    server.rule("PATCH", "", status=413)
    with pytest.raises(NetworkError, match="413") as caught:
        repository.push_blob(Source(LARGE))
    assert "proxy" in caught.value.hint


def test_a_refused_mount_is_an_upload_under_way(server, repository) -> None:
    server.put_blob("other/app", SMALL)
    server.rule("POST", "mount=", mount_refused=True)
    assert pushed(repository, SMALL, "other/app")[0] is Sent.UPLOADED
    assert asked(server) == ["POST", "PUT"]


def test_a_mount_from_where_one_may_not_read_is_passed_over() -> None:
    def may(user: str, repository: str, action: str) -> bool:
        return repository == "team/app"

    realm = TokenRealm({"user": "password"}, may=may)
    with FaultRegistry(bearer=realm) as server:
        server.put_blob("secret/app", SMALL)
        keys = Keys(**{server.host: ("user", "password")})
        with registry_client(keys=keys) as client:
            assert pushed(client.repository(server), SMALL, "secret/app")[0] is Sent.UPLOADED
        assert there(server, SMALL)


def test_progress_is_not_told_for_what_was_not_sent(server, repository) -> None:
    server.put_blob("other/app", SMALL)
    assert pushed(repository, SMALL, "other/app") == (Sent.MOUNTED, 0)
    assert pushed(repository, SMALL) == (Sent.EXISTED, 0)


# --- breaks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("reset", [False, True])
def test_a_cut_upload_goes_on_where_the_registry_is(server, repository, reset) -> None:
    server.rule("PATCH", "", skip=1, times=1, cut_upload_after=100_000, reset=reset)
    assert pushed(repository, LARGE) == (Sent.UPLOADED, len(LARGE))
    assert there(server, LARGE)
    assert server.count("POST") == 1
    taken = sum(seen.received for seen in server.seen("PATCH"))
    assert taken == len(LARGE)
    assert server.seen("PATCH")[2].headers["content-range"] == "356000-611999"


def test_a_small_upload_that_is_cut_begins_anew(server, repository) -> None:
    server.rule("PUT", "", times=2, cut_upload_after=1_000)
    assert pushed(repository, SMALL) == (Sent.UPLOADED, len(SMALL))
    assert server.count("POST") == 3
    assert there(server, SMALL)


def test_an_answer_that_is_lost_at_the_end_is_no_second_upload(server, repository) -> None:
    server.rule("PUT", "", times=1, hang_up=True)
    assert pushed(repository, LARGE) == (Sent.UPLOADED, len(LARGE))
    assert server.count("PUT") == 1
    assert server.count("HEAD") == 2


@pytest.mark.parametrize("status", [404, 416])
def test_a_forgotten_upload_begins_anew(server, repository, status) -> None:
    server.rule("PATCH", "", skip=2, times=1, status=status)
    assert pushed(repository, LARGE) == (Sent.UPLOADED, len(LARGE))
    assert server.count("POST") == 2
    assert there(server, LARGE)


def test_an_upload_whose_state_is_lost_with_its_connection_begins_anew(server, repository) -> None:
    server.rule("PATCH", "", skip=1, times=1, cut_upload_after=100)
    server.rule("GET", "/uploads/", status=404)
    assert pushed(repository, LARGE) == (Sent.UPLOADED, len(LARGE))
    assert server.count("POST") == 2


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_registry_is_asked_again(server, repository, status) -> None:
    server.rule("PATCH", "", skip=1, times=2, status=status, headers={"Retry-After": "1"})
    server.rule("PUT", "", times=1, status=status)
    assert pushed(repository, LARGE) == (Sent.UPLOADED, len(LARGE))
    assert there(server, LARGE)


def test_retry_after_is_kept_to(server, repository, monkeypatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(
        "wherry.registry.transfer.pause", lambda seconds, cancel: waits.append(seconds)
    )
    server.rule("PATCH", "", times=1, status=429, headers={"Retry-After": "7"})
    assert pushed(repository, LARGE)[0] is Sent.UPLOADED
    assert waits == [7.0]
    server.rule("PUT", "", times=1, status=429, headers={"Retry-After": "3600"})
    with pytest.raises(NetworkError, match="429"):
        pushed(repository, SMALL)
    assert waits == [7.0]


@pytest.mark.parametrize("fault", [{"cut_upload_after": 0}, {"status": 500}, {"status": 416}])
def test_an_upload_that_never_gets_on_is_given_up(server, repository, fault) -> None:
    rule = server.rule("PATCH", "", **fault)
    with pytest.raises(NetworkError):
        pushed(repository, LARGE)
    assert rule.used <= 12
    assert not there(server, LARGE)


def test_a_registry_that_goes_away_in_the_middle_is_a_clear_error() -> None:
    server = FaultRegistry().start()
    with registry_client() as client:
        server.rule("PATCH", "", before=lambda: threading.Thread(target=server.close).start())
        with pytest.raises(NetworkError, match=server.host):
            pushed(client.repository(server), LARGE)
    server.close()


@pytest.mark.parametrize("status", [401, 403, 400, 413, 418])
def test_a_refusal_is_final(server, repository, status) -> None:
    rule = server.rule("PATCH", "", status=status)
    with pytest.raises(NetworkError) as caught:
        pushed(repository, LARGE)
    assert str(status) in str(caught.value)
    assert rule.used == 1


def test_a_refusal_in_the_middle_of_a_body_is_read(server, repository) -> None:
    body = b'{"errors":[{"code":"DENIED","message":"over quota"}]}'
    server.rule("PATCH", "", status=413, early=True, body=body)
    with pytest.raises(NetworkError, match="over quota"):
        pushed(repository, LARGE)


@pytest.mark.parametrize("header", ["0-99", "0-255998", "0-900000"])
def test_what_the_registry_says_it_has_counts(server, repository, header) -> None:
    """The first two say that a part is missing, which this registry then refuses to get twice."""
    server.rule("PATCH", "", times=1, headers={"Range": header})
    assert pushed(repository, LARGE)[0] is Sent.UPLOADED
    assert there(server, LARGE)


def test_an_expired_token_is_renewed_in_the_middle() -> None:
    now = [1000.0]
    realm = TokenRealm({"user": "password"}, lifetime=60, clock=lambda: now[0])
    with FaultRegistry(bearer=realm) as server:
        keys = Keys(**{server.host: ("user", "password")})

        def later() -> None:
            now[0] += 100

        server.rule("PATCH", "", skip=2, times=1, before=later)
        with registry_client(keys=keys) as client:
            assert pushed(client.repository(server), LARGE) == (Sent.UPLOADED, len(LARGE))
        assert there(server, LARGE)


# --- the source -----------------------------------------------------------------------------------


class Changed(Source):
    """Its bytes are not those that its descriptor tells of."""

    def open(self, offset: int) -> BinaryIO:
        return io.BytesIO((b"?" + self.data[1:])[offset:])


class Short(Source):
    def open(self, offset: int) -> BinaryIO:
        return io.BytesIO(self.data[offset:-1])


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=len)
def test_a_changed_source_is_named_as_the_fault(server, repository, data) -> None:
    with pytest.raises(MachineError) as caught:
        repository.push_blob(Changed(data))
    assert str(sha256(data)) in caught.value.what
    assert "damaged or was changed" in caught.value.what
    assert str(sha256(b"?" + data[1:])) in caught.value.why
    assert not server.contents.repository("team/app").blobs


def test_bytes_that_were_changed_on_their_way_are_not_the_sources_fault(server, repository) -> None:
    body = b'{"errors":[{"code":"DIGEST_INVALID","message":"no"}]}'
    rule = server.rule("PUT", "", status=400, body=body)
    with pytest.raises(NetworkError, match="right bytes"):
        repository.push_blob(Source(SMALL))
    assert rule.used == 1


def test_a_resumed_upload_that_went_wrong_begins_anew(server, repository) -> None:
    """Docker's registry may still write the cut request's bytes when it is asked what it has."""
    body = b'{"errors":[{"code":"DIGEST_INVALID","message":"no"}]}'
    server.rule("PATCH", "", skip=1, times=1, cut_upload_after=1_000)
    server.rule("PUT", "", status=400, body=body, times=1)
    assert pushed(repository, LARGE) == (Sent.UPLOADED, len(LARGE))
    assert server.count("POST") == 2


def test_a_source_that_ends_early_is_an_error(server, repository) -> None:
    with pytest.raises(MachineError, match="cannot read what is to be sent"):
        repository.push_blob(Short(SMALL))


@pytest.mark.parametrize("error", [MachineError("disk"), NetworkError("base"), Cancelled()])
def test_a_sources_own_error_is_what_is_told(server, repository, error) -> None:
    class Failing(Source):
        def open(self, offset: int) -> BinaryIO:
            raise error

    with pytest.raises(type(error)) as caught:
        repository.push_blob(Failing(LARGE))
    assert caught.value is error
    assert server.count("PATCH") <= 1


class Remote(Source):
    """A blob of another repository, straight from there."""

    def __init__(self, repository, data: bytes) -> None:
        super().__init__(data)
        self._repository = repository

    def open(self, offset: int) -> BinaryIO:
        return self._repository.open_blob(self.descriptor, offset)


def test_a_blob_streams_from_one_registry_to_another(server) -> None:
    with FaultRegistry() as origin, registry_client() as client:
        origin.put_blob("team/app", LARGE)
        origin.rule("GET", "/blobs/", cut_after=300_000, times=2)
        server.rule("PATCH", "", skip=2, times=1, cut_upload_after=10_000)
        source = Remote(client.repository(origin), LARGE)
        assert client.repository(server).push_blob(source) is Sent.UPLOADED
        assert there(server, LARGE)


def test_a_source_is_opened_once_where_nothing_breaks(server, repository) -> None:
    source = Source(LARGE)
    assert repository.push_blob(source) is Sent.UPLOADED
    assert (source.opened, server.count("PATCH")) == (1, 4)


def test_within_one_registry_as_many_streams_as_connections_do_not_wait_for_each_other(
    server,
) -> None:
    datas = [noise(200_000, seed) for seed in range(6)]
    server.rule("POST", "mount=", mount_refused=True)
    for data in datas:
        server.put_blob("from/here", data)
    with registry_client() as client:
        origin, target = client.repository(server, "from/here"), client.repository(server)
        found: list[Sent] = []
        works = [
            threading.Thread(target=lambda d=d: found.append(target.push_blob(Remote(origin, d))))
            for d in datas
        ]
        for work in works:
            work.start()
        for work in works:
            work.join(60)
        assert found == [Sent.UPLOADED] * len(datas)


def test_a_source_that_is_cut_off_for_good_is_not_the_targets_fault(server) -> None:
    with FaultRegistry() as origin, registry_client() as client:
        origin.put_blob("team/app", LARGE)
        origin.rule("GET", "/blobs/", hang_up=True)
        with pytest.raises(NetworkError, match=origin.host):
            client.repository(server).push_blob(Remote(client.repository(origin), LARGE))
        assert server.count("PATCH") <= 1


def test_a_source_with_wrong_bytes_never_arrives(server) -> None:
    with FaultRegistry() as origin, registry_client() as client:
        origin.put_blob("team/app", LARGE)
        origin.rule("GET", "/blobs/", corrupt_at=999_999)
        with pytest.raises(NetworkError, match="have the digest"):
            client.repository(server).push_blob(Remote(client.repository(origin), LARGE))
        assert not server.contents.repository("team/app").blobs


# --- locations ------------------------------------------------------------------------------------


@pytest.mark.parametrize("location", ["{location}", "http://{host}{location}"])
def test_locations_are_relative_or_absolute(server, repository, location) -> None:
    server.rule("POST|PATCH", "", headers={"Location": location})
    assert pushed(repository, LARGE)[0] is Sent.UPLOADED


@pytest.mark.parametrize(
    "location", [None, "", "ftp://x/", "http://user:pw@127.0.0.1/", "http://["]
)
def test_a_useless_location_is_a_clear_error(server, repository, location) -> None:
    server.rule("POST", "", headers={"Location": location})
    with pytest.raises(NetworkError) as caught:
        pushed(repository, SMALL)
    assert "pw" not in str(caught.value)


def test_an_upload_elsewhere_goes_without_credentials(server) -> None:
    with FaultRegistry(basic=("user", "a-password")) as front:
        key = server.contents.answer(asked_for_upload()).headers["Location"]
        secret = "X-Signature=abcdef0123456789"
        front.rule("POST", "", headers={"Location": f"{server.url}{key}&{secret}"})
        keys = Keys(**{front.host: ("user", "a-password")})
        with registry_client(keys=keys) as client:
            repository = client.repository(front)
            assert pushed(repository, SMALL)[0] is Sent.UPLOADED
            assert not any(seen.authorized for seen in server.seen())
            assert secret in server.seen("PUT")[0].path
            assert "_state=" in server.seen("PUT")[0].path
            server.rule("PUT", "", status=418)
            with pytest.raises(NetworkError) as caught:
                pushed(repository, b"another")
        text = "".join(traceback.format_exception(caught.value))
        assert "abcdef0123456789" not in text
        assert "a-password" not in text


def asked_for_upload():
    from registry_state import Asked

    return Asked("POST", "/v2/team/app/blobs/uploads/", {})


def test_an_upload_never_leaves_tls(authority, server_certificate, server) -> None:
    pair = (str(server_certificate.certificate), str(server_certificate.key))
    with FaultRegistry(tls=pair) as front, registry_client(ca_files=(authority.file,)) as client:
        front.rule("POST", "", headers={"Location": f"http://{server.host}/x"})
        with pytest.raises(NetworkError, match="from https to http"):
            pushed(client.repository(front), SMALL)
        assert server.count() == 0


# --- at its limits --------------------------------------------------------------------------------


def test_cancelling_ends_an_upload_at_once(server) -> None:
    with registry_client() as client:
        server.rule("PATCH", "", delay=30.0)
        threading.Timer(0.2, client.cancel.cancel).start()
        with pytest.raises(Cancelled):
            client.repository(server).push_blob(Source(LARGE))
    assert server.count("PATCH") == 1


class Zeros:
    """A large blob that is nowhere."""

    repositories = ()

    def __init__(self, descriptor: Descriptor) -> None:
        self.descriptor = descriptor

    def open(self, offset: int) -> BinaryIO:
        class Stream(io.RawIOBase):
            def read(self, size: int = -1) -> bytes:
                return bytes(size)

        return Stream()  # type: ignore[return-value]


def test_memory_does_not_grow_with_the_blob(server, repository, monkeypatch) -> None:
    monkeypatch.setattr(upload, "_CHUNK", 16 << 20)
    data = bytes(64 << 20)
    source = Zeros(described(data))
    del data

    # The registry of the tests would keep the blob in memory: it is made to forget every chunk.
    def forget(asked, key, session) -> None:
        for _ in asked.body:
            pass

    server.contents._append = forget
    server.contents._finish = lambda digest, key, session: server.contents._accepted(
        key, session, 201
    )
    server.rule("PATCH", "", headers={"Range": None})
    tracemalloc.start()
    try:
        assert repository.push_blob(source) is Sent.UPLOADED
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(seen.received for seen in server.seen("PATCH")) == 64 << 20
    assert peak < 4 << 20


# --- real registries ------------------------------------------------------------------------------


@pytest.fixture(params=["docker_registry", "ggcr_registry"])
def real(request, repository_name):
    server = request.getfixturevalue(request.param)
    with registry_client() as client:
        yield client, server.host, repository_name


@pytest.mark.parametrize("data", [b"", SMALL, LARGE], ids=len)
def test_real_registries_take_and_give_every_size(real, data) -> None:
    client, host, name = real
    data = data and name.encode() + data
    repository = client.repository(host, name)
    sent = repository.push_blob(Source(data))
    # The empty blob is the same for all tests.
    assert sent is Sent.UPLOADED or not data
    assert repository.push_blob(Source(data)) is Sent.EXISTED
    store = MemoryStore()
    repository.fetch_blob(described(data), store)
    assert store.blobs[sha256(data)] == data


def test_docker_registry_mounts(docker_registry, repository_name) -> None:
    with registry_client() as client:
        first = client.repository(docker_registry.host, repository_name)
        assert first.push_blob(Source(LARGE)) is Sent.UPLOADED
        second = client.repository(docker_registry.host, f"{repository_name}-2")
        source = Source(LARGE, repositories=(repository_name,))
        assert second.push_blob(source) is Sent.MOUNTED
        with second.open_blob(described(LARGE), 999_990) as stream:
            assert stream.read() == LARGE[-10:]


def test_uploads_to_real_registries_survive_cuts(real) -> None:
    client, host, name = real
    data = name.encode() + LARGE  # one of them shares blobs between its repositories
    with CuttingProxy(host, after=(400_000, 300_000)) as proxy:
        repository = client.repository(proxy.host, name)
        assert repository.push_blob(Source(data)) is Sent.UPLOADED
        assert proxy.cuts == 2
    with client.repository(host, name).open_blob(described(data)) as stream:
        assert stream.read() == data


class CuttingProxy:
    """Passes bytes on; ends one connection after another once they sent so many (`after`)."""

    def __init__(self, target: str, after: tuple[int, ...]) -> None:
        host, _, port = target.partition(":")
        self._target = (host, int(port))
        self._after = list(after)
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.cuts = 0

    def __enter__(self) -> "CuttingProxy":
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)

    def _start(self, work, *args) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                inner, _ = self._listener.accept()
                outer = socket.create_connection(self._target)
                self._sockets += [inner, outer]
                self._start(self._serve, inner, outer)

    def _serve(self, inner: socket.socket, outer: socket.socket) -> None:
        with inner, outer:
            back = threading.Thread(target=self._back, args=(outer, inner), daemon=True)
            back.start()
            count = 0
            with suppress(OSError):
                while piece := inner.recv(1 << 16):
                    outer.sendall(piece)
                    count += len(piece)
                    if self._after and count >= self._after[0]:
                        self._after.pop(0)
                        self.cuts += 1
                        break
            for one in (inner, outer):
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            back.join(10)

    def _back(self, outer: socket.socket, inner: socket.socket) -> None:
        with suppress(OSError):
            while piece := outer.recv(1 << 16):
                inner.sendall(piece)
            inner.shutdown(socket.SHUT_RDWR)
