# SPDX-License-Identifier: Apache-2.0
"""The test registry without rules tells the truth, and with a rule tells just that lie."""

import base64
import http.client
import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from certificates import Pair
from fault_registry import FaultRegistry, TokenRealm, digest_of, free_port
from registry_samples import OCI_INDEX, artifact, image, index, layer, noise, schema1
from registry_servers import Server
from registry_tools import Crane, Skopeo, needs_skopeo

ANY = {"Accept": "*/*"}


class Told(NamedTuple):
    """What came back; `headers` by lower-case name."""

    status: int
    headers: dict[str, str]
    body: bytes


@pytest.fixture
def registry() -> Iterator[FaultRegistry]:
    with FaultRegistry() as running:
        yield running


def ask(
    registry: FaultRegistry,
    method: str,
    path: str,
    body: bytes | Iterator[bytes] | None = None,
    headers: Mapping[str, str] = ANY,
) -> Told:
    """One request on a connection of its own."""
    with closing(http.client.HTTPConnection(registry.host, timeout=10)) as connection:
        return on(connection, method, path, body, headers)


def on(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | Iterator[bytes] | None = None,
    headers: Mapping[str, str] = ANY,
) -> Told:
    connection.request(method, path, body, dict(headers))
    with connection.getresponse() as answer:
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Told(answer.status, found, answer.read())


def codes(told: Told) -> list[str]:
    return [one["code"] for one in json.loads(told.body)["errors"]]


# --- the truth, as others see it ----------------------------------------------------------------


@pytest.fixture
def server(registry: FaultRegistry) -> Server:
    return Server(registry.host)


@needs_skopeo
def test_skopeo_pushes_and_pulls(registry: FaultRegistry, server: Server, tmp_path: Path) -> None:
    digest = registry.put_image("team/app", "1", [layer({"a": "b"}), layer(size=200_000)])
    skopeo = Skopeo(server, tmp_path)
    skopeo.pull("team/app:1", f"oci:{tmp_path / 'layout'}:1")
    with FaultRegistry() as other:
        skopeo = Skopeo(Server(other.host), tmp_path)
        skopeo.push(f"oci:{tmp_path / 'layout'}:1", "other/app:2", "--preserve-digests")
        assert other.tags("other/app") == {"2": digest}
        assert skopeo.inspect("other/app:2")["Digest"] == digest
        assert other.manifest("other/app", "2") == registry.manifest("team/app", digest)
        assert sum(one.received for one in other.seen("PATCH")) > 200_000


def test_crane_pushes_pulls_mounts_and_validates(
    registry: FaultRegistry, server: Server, crane: Path, tmp_path: Path
) -> None:
    platforms = ("linux/amd64", "linux/arm64/v8")
    made = [image([layer({"p": one}), layer(size=5000)], platform=one) for one in platforms]
    digest = registry.put_index("team/multi", "1", made)
    tool = Crane(crane, server, tmp_path)
    tool.validate("team/multi:1")
    tool.copy("team/multi:1", "other/multi:1")
    assert registry.tags("other/multi") == {"1": digest}
    assert {one.status for one in registry.seen("POST")} == {201}  # all mounted
    tool.pull("other/multi:1", tmp_path / "layout", "--format=oci")
    tool.push(tmp_path / "layout", "third/multi:1", "--index")
    tool.validate("third/multi:1")


@needs_skopeo
def test_skopeo_gets_a_token_and_signs_in(tmp_path: Path) -> None:
    realm = TokenRealm({"boatman": "secret"})
    with FaultRegistry(bearer=realm) as registry:
        registry.put_image("team/app", "1", [layer({"a": "b"})])
        Skopeo(Server(registry.host, "", "boatman", "secret"), tmp_path / "a").raw("team/app:1")
        assert registry.seen("GET", "^/token")[0].authorized
        with pytest.raises(AssertionError, match=r"incorrect user or password|unauthorized"):
            Skopeo(Server(registry.host, "", "boatman", "wrong"), tmp_path / "b").raw("team/app:1")
    with FaultRegistry(basic=("boatman", "secret")) as registry:
        registry.put_image("team/app", "1", [layer({"a": "b"})])
        Skopeo(Server(registry.host, "", "boatman", "secret"), tmp_path / "c").raw("team/app:1")


# --- the truth, by the specification ------------------------------------------------------------


def test_manifests_are_put_got_and_deleted(registry: FaultRegistry) -> None:
    sample = image([layer({"a": "b"})])
    path = "/v2/team/app/manifests"
    typed = {"Content-Type": sample.media_type}
    refused = ask(registry, "PUT", f"{path}/1", sample.data, typed)
    assert (refused.status, codes(refused)) == (400, ["MANIFEST_BLOB_UNKNOWN"])
    for blob in sample.blobs:
        registry.put_blob("team/app", blob)
    wrong = ask(registry, "PUT", f"{path}/{digest_of(b'')}", sample.data, typed)
    assert (wrong.status, codes(wrong)) == (400, ["DIGEST_INVALID"])
    put = ask(registry, "PUT", f"{path}/1", sample.data, typed)
    assert (put.status, put.headers["docker-content-digest"]) == (201, sample.digest)
    for name in ("1", sample.digest):
        head = ask(registry, "HEAD", f"{path}/{name}")
        assert (head.status, head.body) == (200, b"")
        assert head.headers["content-length"] == str(len(sample.data))
        got = ask(registry, "GET", f"{path}/{name}")
        assert (got.body, got.headers["content-type"]) == (sample.data, sample.media_type)
    hidden = ask(registry, "GET", f"{path}/1", headers={"Accept": OCI_INDEX})
    assert (hidden.status, codes(hidden)) == (404, ["MANIFEST_UNKNOWN"])
    assert ask(registry, "DELETE", f"{path}/1").status == 202
    assert ask(registry, "GET", f"{path}/1").status == 404
    assert ask(registry, "DELETE", f"{path}/{sample.digest}").status == 202
    assert ask(registry, "GET", f"{path}/{sample.digest}").status == 404


def test_ranges_of_blobs(registry: FaultRegistry) -> None:
    path = f"/v2/team/app/blobs/{registry.put_blob('team/app', b'0123456789')}"
    for asked, span, body in (
        ("3-5", "3-5", b"345"), ("7-", "7-9", b"789"), ("-2", "8-9", b"89"), ("0-99", "0-9", None),
    ):  # fmt: skip
        told = ask(registry, "GET", path, headers={"Range": f"bytes={asked}"})
        assert (told.status, told.headers["content-range"]) == (206, f"bytes {span}/10")
        assert told.body == (body or b"0123456789")
    beyond = ask(registry, "GET", path, headers={"Range": "bytes=10-"})
    assert (beyond.status, beyond.headers["content-range"]) == (416, "bytes */10")
    assert ask(registry, "GET", path.replace("team", "other")).status == 404


def test_a_blob_is_uploaded_in_chunks_that_fit(registry: FaultRegistry) -> None:
    data = noise(1000)
    started = ask(registry, "POST", "/v2/team/app/blobs/uploads/")
    assert started.status == 202
    place = started.headers["location"]
    first = ask(registry, "PATCH", place, data[:600], {"Content-Range": "0-599"})
    assert (first.status, first.headers["range"]) == (202, "0-599")
    gap = ask(registry, "PATCH", first.headers["location"], b"x", {"Content-Range": "700-700"})
    assert (gap.status, gap.headers["range"]) == (416, "0-599")
    asked = ask(registry, "GET", first.headers["location"])
    assert (asked.status, asked.headers["range"]) == (204, "0-599")
    assert ask(registry, "GET", place.partition("?")[0]).status == 400  # the location's query
    last = ask(registry, "PATCH", first.headers["location"], data[600:])
    done = ask(registry, "PUT", f"{last.headers['location']}&digest={digest_of(data)}")
    assert done.status == 201
    assert registry.blob(digest_of(data)) == data
    assert ask(registry, "GET", last.headers["location"]).status == 404


def test_a_blob_is_uploaded_at_once_or_refused(registry: FaultRegistry) -> None:
    digest = digest_of(b"content")
    path = f"/v2/team/app/blobs/uploads/?digest={digest}"
    wrong = ask(registry, "POST", path, b"other")
    assert (wrong.status, codes(wrong)) == (400, ["DIGEST_INVALID"])
    assert ask(registry, "HEAD", f"/v2/team/app/blobs/{digest}").status == 404
    made = ask(registry, "POST", path, b"content")
    assert (made.status, made.headers["location"]) == (201, f"/v2/team/app/blobs/{digest}")
    mount = f"/v2/other/app/blobs/uploads/?mount={digest}&from=team/app"
    assert ask(registry, "POST", mount).status == 201
    assert ask(registry, "HEAD", f"/v2/other/app/blobs/{digest}").status == 200
    unknown = ask(registry, "POST", mount.replace("team", "none"))
    assert (unknown.status, "_state=" in unknown.headers["location"]) == (202, True)
    assert ask(registry, "DELETE", unknown.headers["location"]).status == 204


def test_chunks_below_the_least_length_end_an_upload() -> None:
    with FaultRegistry(min_chunk=100, monolithic=False, mounts=False) as registry:
        started = ask(registry, "POST", f"/v2/a/blobs/uploads/?digest={digest_of(b'x')}", b"x")
        assert (started.status, started.headers["oci-chunk-min-length"]) == (202, "100")
        short = ask(registry, "PATCH", started.headers["location"], b"x" * 99)
        assert short.status == 202
        assert ask(registry, "PATCH", short.headers["location"], b"x" * 100).status == 416
        digest = digest_of(b"x" * 99)
        assert ask(registry, "PUT", f"{short.headers['location']}&digest={digest}").status == 201
        mount = ask(registry, "POST", f"/v2/b/blobs/uploads/?mount={digest}&from=a")
        assert mount.status == 202


def test_tags_come_in_pages(registry: FaultRegistry) -> None:
    for tag in ("c", "a", "b"):
        registry.put_image("team/app", tag)
    first = ask(registry, "GET", "/v2/team/app/tags/list?n=2")
    assert json.loads(first.body) == {"name": "team/app", "tags": ["a", "b"]}
    following = first.headers["link"]
    assert following == '</v2/team/app/tags/list?n=2&last=b>; rel="next"'
    second = ask(registry, "GET", following.partition("<")[2].partition(">")[0])
    assert (json.loads(second.body)["tags"], "link" in second.headers) == (["c"], False)
    assert ask(registry, "GET", "/v2/none/tags/list").status == 404


def test_referrers_are_listed_or_not_there(registry: FaultRegistry) -> None:
    subject = image([layer({"a": "b"})])
    registry.put_sample("team/app", "1", subject)
    sbom = artifact("application/x-sbom", subject=subject, annotations={"made": "here"})
    for blob in sbom.blobs:
        registry.put_blob("team/app", blob)
    path = f"/v2/team/app/manifests/{sbom.digest}"
    put = ask(registry, "PUT", path, sbom.data, {"Content-Type": sbom.media_type})
    assert put.headers["oci-subject"] == subject.digest
    registry.put_sample("team/app", "", artifact("application/x-other", subject=subject))
    listed = f"/v2/team/app/referrers/{subject.digest}"
    assert len(json.loads(ask(registry, "GET", listed).body)["manifests"]) == 2
    one = ask(registry, "GET", f"{listed}?artifactType=application/x-sbom")
    assert one.headers["oci-filters-applied"] == "artifactType"
    assert json.loads(one.body)["manifests"] == [
        {**sbom.descriptor, "artifactType": "application/x-sbom", "annotations": {"made": "here"}}
    ]
    registry.contents.referrers = False
    assert ask(registry, "GET", listed).status == 404
    put = ask(registry, "PUT", path, sbom.data, {"Content-Type": sbom.media_type})
    assert (put.status, "oci-subject" in put.headers) == (201, False)


def test_one_connection_serves_many_requests(registry: FaultRegistry) -> None:
    digest = registry.put_blob("a", b"content")
    with closing(http.client.HTTPConnection(registry.host, timeout=10)) as connection:
        for _ in range(3):
            assert on(connection, "GET", f"/v2/a/blobs/{digest}").body == b"content"
        pieces = iter([b"con", b"tent"])
        at_once = f"/v2/b/blobs/uploads/?digest={digest}"
        assert on(connection, "POST", at_once, pieces).status == 201  # chunked
        assert on(connection, "GET", "/v2/none/manifests/1").status == 404
    assert registry.connections == 1
    assert [(one.received, one.sent) for one in registry.seen("POST|GET", "/[ab]/")] == [
        *[(0, 7)] * 3,
        (7, 0),
    ]


def test_https_and_client_certificates(server_certificate: Pair, authority: object) -> None:
    trusted = authority.file  # type: ignore[attr-defined]
    with FaultRegistry(tls=server_certificate, client_ca=trusted) as registry:
        for certificate in (server_certificate, None):
            context = ssl.create_default_context(cafile=trusted)
            if certificate:
                context.load_cert_chain(*certificate)
            connection = http.client.HTTPSConnection(registry.host, timeout=10, context=context)
            with closing(connection):
                if certificate:
                    assert on(connection, "GET", "/v2/").status == 200
                else:
                    with pytest.raises(OSError):
                        on(connection, "GET", "/v2/")


# --- lies ---------------------------------------------------------------------------------------


@pytest.fixture
def blob(registry: FaultRegistry) -> str:
    """The path of a blob of 1000 bytes."""
    return f"/v2/team/app/blobs/{registry.put_blob('team/app', noise(1000))}"


def test_a_rule_holds_so_often_and_then_no_more(registry: FaultRegistry, blob: str) -> None:
    rule = registry.rule(
        "GET", "/blobs/", skip=1, times=2, status=429, headers={"Retry-After": "3"}
    )
    told = [ask(registry, "GET", blob) for _ in range(4)]
    assert [one.status for one in told] == [200, 429, 429, 200]
    assert told[1].headers["retry-after"] == "3"
    assert rule.used == 2
    assert ask(registry, "HEAD", blob).status == 200
    registry.rule("GET", "/blobs/", status=500)
    registry.forget_rules()
    assert ask(registry, "GET", blob).status == 200


@pytest.mark.parametrize("reset", [False, True])
def test_an_answer_is_cut(registry: FaultRegistry, blob: str, reset: bool) -> None:
    registry.rule("GET", "/blobs/", cut_after=400, reset=reset, times=1)
    registry.rule("GET", "/blobs/", hang_up=True, reset=reset, times=1)
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        ask(registry, "GET", blob)
    assert registry.requests[0].sent == 400
    with pytest.raises(ConnectionError):
        ask(registry, "GET", blob)
    assert registry.requests[1].status == 0
    assert ask(registry, "GET", blob).body == noise(1000)


def test_an_upload_is_cut_and_what_came_is_kept(registry: FaultRegistry) -> None:
    registry.rule("PATCH", "", cut_upload_after=300, times=1)
    place = ask(registry, "POST", "/v2/team/app/blobs/uploads/").headers["location"]
    with pytest.raises(ConnectionError):
        ask(registry, "PATCH", place, noise(1000))
    assert registry.seen("PATCH")[0].received == 300
    assert ask(registry, "GET", place).headers["range"] == "0-299"


def test_bytes_and_lengths_are_wrong(registry: FaultRegistry, blob: str) -> None:
    right = noise(1000)
    for fault, wanted in (
        ({"corrupt_at": 500}, right[:500] + bytes([right[500] ^ 255]) + right[501:]),
        ({"truncate": 10}, right[:10]),
        ({"append": b"more"}, right + b"more"),
        ({"huge": 100_000}, b" " * 100_000),
        ({"content_length": 20}, right[:20]),
        ({"trickle": (300, 0.01)}, right),
    ):
        registry.rule("GET", "/blobs/", times=1, **fault)
        told = ask(registry, "GET", blob)
        assert told.body == wanted, fault
        assert told.headers["content-length"] == str(len(wanted)), fault
    registry.rule("GET", "/blobs/", times=1, content_length=2000)
    with pytest.raises(http.client.IncompleteRead):
        ask(registry, "GET", blob)


def test_headers_lie_or_are_missing(registry: FaultRegistry) -> None:
    registry.put_image("team/app", "1")
    registry.rule(
        "", "/manifests/",
        headers={"docker-content-digest": None, "Content-Type": "text/html", "X-Huge": "x" * 9000},
    )  # fmt: skip
    told = ask(registry, "GET", "/v2/team/app/manifests/1")
    assert "docker-content-digest" not in told.headers
    assert (told.headers["content-type"], len(told.headers["x-huge"])) == ("text/html", 9000)
    registry.rule("POST", "", headers={"Location": "http://other.invalid:1{location}"})
    told = ask(registry, "POST", "/v2/team/app/blobs/uploads/")
    assert told.headers["location"].startswith("http://other.invalid:1/v2/team/app/blobs/uploads/")


def test_ranges_are_ignored_or_wrong(registry: FaultRegistry, blob: str) -> None:
    registry.rule("GET", "/blobs/", times=1, ignore_range=True)
    registry.rule("GET", "/blobs/", times=1, headers={"Content-Range": "bytes 0-99/1000"})
    part = {"Range": "bytes=900-"}
    assert ask(registry, "GET", blob, headers=part)[::2] == (200, noise(1000))
    told = ask(registry, "GET", blob, headers=part)
    assert (told.headers["content-range"], told.body) == ("bytes 0-99/1000", noise(1000)[900:])
    assert ask(registry, "GET", blob, headers=part).headers["content-range"] == "bytes 900-999/1000"


def test_redirects_lead_where_they_are_told_to(registry: FaultRegistry, blob: str) -> None:
    registry.rule("GET", "/blobs/", times=1, redirect="http://other.invalid{path}?signed=x")
    registry.rule("GET", "/blobs/", times=1, redirect="{path}", status=302)
    told = ask(registry, "GET", blob)
    assert (told.status, told.headers["location"]) == (
        307,
        f"http://other.invalid{blob}?signed=x",
    )
    told = ask(registry, "GET", blob)
    assert (told.status, told.headers["location"]) == (302, blob)


def test_garbage_and_endless_answers(registry: FaultRegistry, blob: str) -> None:
    registry.rule("GET", "/blobs/", times=1, raw=b"SSH-2.0-no\r\n")
    registry.rule("GET", "/blobs/", times=1, endless=True)
    with pytest.raises(http.client.BadStatusLine):
        ask(registry, "GET", blob)
    with closing(http.client.HTTPConnection(registry.host, timeout=10)) as connection:
        connection.request("GET", blob)
        with connection.getresponse() as answer:
            assert len(answer.read(1_000_000)) == 1_000_000


def test_answers_wait(registry: FaultRegistry, blob: str) -> None:
    gate, called = threading.Event(), []
    registry.rule("GET", "/blobs/", hold=gate, before=lambda: called.append(1))
    told: list[Told] = []
    asking = [
        threading.Thread(target=lambda: told.append(ask(registry, "GET", blob))) for _ in range(2)
    ]
    for thread in asking:
        thread.start()
    while registry.most_at_once < 2:
        asking[0].join(0.01)
    assert not told
    gate.set()
    for thread in asking:
        thread.join()
    assert ([one.status for one in told], called) == ([200, 200], [1, 1])


def test_an_answer_may_come_before_the_body(registry: FaultRegistry) -> None:
    registry.rule("PUT", "/manifests/", status=403, early=True)
    assert ask(registry, "PUT", "/v2/a/manifests/1", b"x").status == 403
    assert registry.requests[0].received == 0


def test_mounts_are_refused_by_a_rule(registry: FaultRegistry) -> None:
    digest = registry.put_blob("a", b"content")
    registry.rule("POST", "mount=", mount_refused=True, times=1)
    path = f"/v2/b/blobs/uploads/?mount={digest}&from=a"
    assert [ask(registry, "POST", path).status for _ in range(2)] == [202, 201]


def test_closing_ends_what_hangs() -> None:
    with FaultRegistry() as registry:
        registry.rule("GET", "", delay=60)
        thread = threading.Thread(target=_ask_in_vain, args=(registry,))
        thread.start()
        while not registry.requests:
            thread.join(0.01)
    thread.join(10)
    assert not thread.is_alive()
    with pytest.raises(ConnectionRefusedError):
        ask(registry, "GET", "/v2/")
    with FaultRegistry(port=registry.port) as again:
        assert ask(again, "GET", "/v2/").status == 200


def _ask_in_vain(registry: FaultRegistry) -> None:
    with pytest.raises(OSError):
        ask(registry, "GET", "/v2/")


def test_a_bug_of_the_server_fails_the_test() -> None:
    with pytest.raises(ZeroDivisionError), FaultRegistry() as registry:
        registry.rule("GET", "", before=lambda: 1 / 0)
        _ask_in_vain(registry)


def test_nothing_listens_on_a_free_port() -> None:
    connection = http.client.HTTPConnection("127.0.0.1", free_port())
    with closing(connection), pytest.raises(ConnectionRefusedError):
        connection.connect()


# --- samples ------------------------------------------------------------------------------------


def test_samples_hold_together(registry: FaultRegistry) -> None:
    docker = image([layer({"a": "b"})], docker_media_types=True, foreign=[layer({"c": "d"})])
    zstd = image([layer({"a": "b"})], compression="zstd", platform="linux/arm64/v8")
    registry.put_index("team/app", "1", [docker, zstd])
    listed = index([docker, zstd]).document["manifests"]
    assert [one["platform"]["architecture"] for one in listed] == ["amd64", "arm64"]  # type: ignore[index,attr-defined]
    types = [one["mediaType"] for one in docker.document["layers"]]  # type: ignore[index,attr-defined]
    assert types == [
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ]
    assert zstd.blobs[1].startswith(b"\x28\xb5\x2f\xfd")
    assert schema1().document["schemaVersion"] == 1


# --- authentication -----------------------------------------------------------------------------


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


def test_basic_is_wanted_everywhere() -> None:
    with FaultRegistry(basic=("boatman", "secret")) as registry:
        refused = ask(registry, "GET", "/v2/", headers=basic("boatman", "wrong"))
        assert (refused.status, codes(refused)) == (401, ["UNAUTHORIZED"])
        assert refused.headers["www-authenticate"].startswith("Basic realm=")
        assert ask(registry, "GET", "/v2/", headers=basic("boatman", "secret")).status == 200


def test_tokens_are_for_a_scope_and_a_time() -> None:
    now = [1000.0]
    realm = TokenRealm(
        {"boatman": "secret"},
        anonymous=("pull",),
        may=lambda user, name, action: name != "closed" or user == "boatman",
        lifetime=60,
        clock=lambda: now[0],
    )
    with FaultRegistry(bearer=realm) as registry:
        digest = registry.put_blob("open", b"content")
        path = f"/v2/open/blobs/{digest}"
        refused = ask(registry, "GET", path)
        assert refused.headers["www-authenticate"] == (
            f'Bearer realm="{registry.url}/token",service="registry.test",'
            'scope="repository:open:pull"'
        )
        query = "/token?service=registry.test&scope=repository:open:pull,push"
        given = json.loads(ask(registry, "GET", query).body)
        assert given["expires_in"] == 60
        bearer = {"Authorization": f"Bearer {given['token']}"}
        assert ask(registry, "GET", path, headers=bearer).status == 200
        denied = ask(registry, "POST", "/v2/open/blobs/uploads/", headers=bearer)
        assert 'error="insufficient_scope"' in denied.headers["www-authenticate"]
        now[0] += 61
        late = ask(registry, "GET", path, headers=bearer)
        assert 'error="invalid_token"' in late.headers["www-authenticate"]
        assert ask(registry, "GET", query, headers=basic("boatman", "wrong")).status == 401
        signed = ask(registry, "GET", query, headers=basic("boatman", "secret"))
        bearer = {"Authorization": f"Bearer {json.loads(signed.body)['token']}"}
        assert ask(registry, "POST", "/v2/open/blobs/uploads/", headers=bearer).status == 202
        mount = f"/v2/open/blobs/uploads/?mount={digest}&from=closed"
        wanted = ask(registry, "POST", mount, headers=bearer).headers["www-authenticate"]
        assert 'scope="repository:open:pull,push repository:closed:pull"' in wanted
        realm.revoke()
        assert ask(registry, "GET", path, headers=bearer).status == 401


def test_tokens_by_post() -> None:
    realm = TokenRealm(
        {"boatman": "secret"}, identity_tokens={"idt": "boatman"}, field_name="access_token",
        tell=False, issues="fresh",
    )  # fmt: skip
    with FaultRegistry(bearer=realm) as registry:
        about = "service=registry.test&client_id=wherry&scope=repository:a:pull"
        by_token = f"grant_type=refresh_token&refresh_token=idt&{about}".encode()
        given = json.loads(ask(registry, "POST", "/token", by_token).body)
        assert list(given) == ["access_token"]
        bearer = {"Authorization": f"Bearer {given['access_token']}"}
        assert ask(registry, "GET", "/v2/a/tags/list", headers=bearer).status == 404
        password = "grant_type=password&username=boatman&password=secret&access_type=offline"
        told = ask(registry, "POST", "/token", f"{password}&{about}".encode())
        assert json.loads(told.body)["refresh_token"] == "fresh"
        wrong = by_token.replace(b"=idt", b"=other")
        assert ask(registry, "POST", "/token", wrong).status == 401
    with FaultRegistry(bearer=TokenRealm(post=False)) as registry:
        assert ask(registry, "POST", "/token", by_token).status == 404


def test_a_realm_may_be_elsewhere() -> None:
    realm = TokenRealm({"boatman": "secret"})
    with FaultRegistry(bearer=realm) as tokens, FaultRegistry(bearer=realm) as registry:
        realm.realm = f"{tokens.url}/token"
        assert tokens.url in ask(registry, "GET", "/v2/").headers["www-authenticate"]
        token = ask(tokens, "GET", "/token", headers=basic("boatman", "secret"))
        bearer = {"Authorization": f"Bearer {json.loads(token.body)['token']}"}
        assert ask(registry, "GET", "/v2/", headers=bearer).status == 200
