# SPDX-License-Identifier: Apache-2.0
"""Manifests, tags and referrers of registries that are right, wrong, hostile, or none at all."""

import hashlib
import json
import threading
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certificates import Pair
from fault_registry import FaultRegistry, free_port
from registry_clients import Keys, digest_in, registry_client
from registry_samples import artifact, image, index, layer, schema1
from registry_state import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Answer
from wherry.errors import NetworkError, UsageError
from wherry.oci.digest import parse_digest, sha256
from wherry.oci.image import INDEX, MANIFEST
from wherry.registry.endpoint import check_name, parse_wanted, with_query
from wherry.registry.kinds import kind_of
from wherry.registry.model import RegistryOptions
from wherry.registry.referrers import fallback_tag
from wherry.transport.errors import ConnectionFailed, Failure

IMAGE = image([layer({"bin/app": b"program"})])


@pytest.fixture
def server():
    with FaultRegistry() as registry:
        registry.put_sample("team/app", "1.0", IMAGE)
        yield registry


@pytest.fixture
def repository(server):
    with registry_client() as client:
        yield client.repository(server)


# --- manifests ------------------------------------------------------------------------------------


def test_a_tag_and_its_digest_give_the_same_bytes(server, repository) -> None:
    by_tag = repository.manifest("1.0")
    assert by_tag.data == IMAGE.data
    assert by_tag.descriptor.digest == sha256(IMAGE.data)
    assert by_tag.descriptor.media_type == MANIFEST
    assert by_tag.descriptor.size == len(IMAGE.data)
    assert repository.manifest(str(sha256(IMAGE.data))) == by_tag


@pytest.mark.parametrize(
    "sample",
    [
        image([layer({"a": b"1"})], docker_media_types=True),
        index([IMAGE]),
        index([IMAGE], docker_media_types=True),
        artifact("application/vnd.example.sbom"),
    ],
    ids=["docker", "index", "docker list", "artifact"],
)
def test_each_kind_of_manifest_comes_with_its_media_type(server, repository, sample) -> None:
    server.put_sample("team/app", "kind", sample)
    raw = repository.manifest("kind")
    assert (raw.data, raw.descriptor.media_type) == (sample.data, sample.media_type)
    assert repository.resolve("kind") == raw.descriptor


def test_an_artifact_of_a_type_of_its_own_is_given_as_it_is(server, repository) -> None:
    kind = "application/vnd.example.thing.v1+json"
    data = json.dumps({"mediaType": kind, "blobs": []}).encode()
    server.put_manifest("team/app", "thing", data, kind)
    raw = repository.manifest("thing")
    assert (raw.data, raw.descriptor.media_type) == (data, kind)


def test_a_generic_content_type_gives_way_to_the_document(server, repository) -> None:
    server.rule("GET", "/manifests/", headers={"Content-Type": "application/json; charset=utf-8"})
    assert repository.manifest("1.0").descriptor.media_type == MANIFEST
    unnamed = {key: value for key, value in json.loads(IMAGE.data).items() if key != "mediaType"}
    server.put_manifest("team/app", "unnamed", json.dumps(unnamed).encode(), OCI_MANIFEST)
    assert repository.manifest("unnamed").descriptor.media_type == MANIFEST


def test_bytes_that_do_not_have_the_digest_are_refused(server, repository) -> None:
    digest = sha256(IMAGE.data)
    server.rule("GET", "/manifests/", corrupt_at=len(IMAGE.data) - 3)
    for wanted in ("1.0", str(digest)):
        with pytest.raises(NetworkError) as caught:
            repository.manifest(wanted)
        assert "cannot be used" in caught.value.what
    other = image([layer({"other": b"image"})])
    server.forget_rules()
    server.put_sample("team/app", "other", other)
    server.rule("GET", f"/manifests/{digest}", redirect="/v2/team/app/manifests/other")
    with pytest.raises(NetworkError, match=str(sha256(other.data))):
        repository.manifest(str(digest))


def test_a_lying_digest_header_is_refused_and_a_malformed_one_ignored(server, repository) -> None:
    server.rule("GET", "/manifests/", times=1, headers={"Docker-Content-Digest": f"sha256:{0:064}"})
    with pytest.raises(NetworkError, match="not sha256:000"):
        repository.manifest("1.0")
    server.rule("GET", "/manifests/", headers={"Docker-Content-Digest": "sha256:nonsense"})
    assert repository.manifest("1.0").descriptor.digest == sha256(IMAGE.data)


def test_a_sha512_digest_is_verified_by_its_own_algorithm(server, repository) -> None:
    wanted = f"sha512:{hashlib.sha512(IMAGE.data).hexdigest()}"
    server.rule("GET", "/manifests/sha512", redirect="/v2/team/app/manifests/1.0", times=1)
    assert str(repository.manifest(wanted).descriptor.digest) == wanted
    server.rule("GET", "/manifests/sha512", redirect="/v2/team/app/manifests/1.0")
    with pytest.raises(NetworkError, match="sha512:"):
        repository.manifest(f"sha512:{0:0128}")


@pytest.mark.parametrize("fault", [{"huge": 5 << 20}, {"endless": True}])
def test_a_manifest_over_4_mib_is_not_read(server, repository, fault) -> None:
    rule = server.rule("GET", "/manifests/", **fault)
    with pytest.raises(NetworkError) as caught:
        repository.manifest("1.0")
    assert "4194304 bytes" in caught.value.why
    assert "team/app:1.0" in caught.value.what
    assert rule.used == 1


def test_a_manifest_whose_answer_breaks_off_is_asked_for_again(server, repository) -> None:
    server.rule("GET", "/manifests/", cut_after=20, times=2)
    assert repository.manifest("1.0").data == IMAGE.data
    assert server.count("GET", "/manifests/") == 3


def test_a_manifest_that_always_breaks_off_is_given_up(server, repository) -> None:
    server.rule("GET", "/manifests/", cut_after=20)
    with pytest.raises(NetworkError, match="not whole"):
        repository.manifest("1.0")
    assert server.count("GET", "/manifests/") == 4


def test_schema_1_is_refused_by_name(server, repository) -> None:
    sample = schema1()
    server.put_sample("team/app", "old", sample)
    for ask in (repository.manifest, repository.resolve):
        with pytest.raises(NetworkError, match="schema 1") as caught:
            ask("old")
        assert caught.value.hint
    server.rule("", "/manifests/old", headers={"Content-Type": "application/json"})
    with pytest.raises(NetworkError, match="schema 1"):
        repository.manifest("old")


def test_media_types_that_disagree_are_refused(server, repository) -> None:
    server.put_manifest("team/app", "1.0", IMAGE.data, DOCKER_MANIFEST)
    with pytest.raises(NetworkError, match="calls itself"):
        repository.manifest("1.0")
    both = {**json.loads(IMAGE.data), "manifests": []}
    server.put_manifest("team/app", "both", json.dumps(both).encode(), OCI_MANIFEST)
    with pytest.raises(NetworkError, match="something else"):
        repository.manifest("both")
    del both["mediaType"]
    server.put_manifest("team/app", "both", json.dumps(both).encode(), OCI_INDEX)
    with pytest.raises(NetworkError, match="something else"):
        repository.manifest("both")


def test_a_web_server_that_is_no_registry_is_recognised(server, repository) -> None:
    server.rule("", "", status=200, body=b"<!DOCTYPE html><p>Welcome")
    for ask in (repository.manifest, repository.resolve):
        with pytest.raises(NetworkError, match="no registry"):
            ask("1.0")


def test_a_missing_tag_is_told_with_near_ones(server, repository) -> None:
    for tag in ("1.26", "1.26-alpine", "latest"):
        server.put_sample("team/app", tag, IMAGE)
    with pytest.raises(NetworkError) as caught:
        repository.manifest("1.26-alpin")
    assert caught.value.what == f"there is no tag 1.26-alpin in {server.host}/team/app"
    assert caught.value.hint == "did you mean '1.26-alpine'?"
    with pytest.raises(NetworkError) as caught:
        repository.manifest("zzz")
    assert "1.26-alpine" in caught.value.hint


def test_a_missing_repository_is_told_apart_from_a_missing_tag(server, repository) -> None:
    with registry_client() as client, pytest.raises(NetworkError) as caught:
        client.repository(server, "no/such").manifest("1.0")
    assert caught.value.what == f"{server.host} has no repository no/such"
    server.rule("GET", "/tags/list", status=500)
    with pytest.raises(NetworkError, match="there is no tag gone"):
        repository.manifest("gone")
    with pytest.raises(NetworkError, match="there is no manifest sha256:"):
        repository.manifest(f"sha256:{0:064}")


def test_resolve_asks_by_head_alone(server, repository) -> None:
    found = repository.resolve("1.0")
    assert found is not None
    assert (found.digest, found.size) == (sha256(IMAGE.data), len(IMAGE.data))
    assert repository.resolve(str(found.digest)) == found
    assert repository.resolve("missing") is None
    assert server.count("GET") == 0


@pytest.mark.parametrize(
    "fault",
    [
        {"headers": {"Docker-Content-Digest": None}},
        {"headers": {"Docker-Content-Digest": "sha256:short"}},
        {"headers": {"Content-Type": None}},
        {"headers": {"Content-Type": "application/json"}},
        {"headers": {"Content-Length": None}},
        {"status": 405},
        {"status": 400},
    ],
)
def test_resolve_gets_what_head_leaves_open(server, repository, fault) -> None:
    server.rule("HEAD", "/manifests/", **fault)
    found = repository.resolve("1.0")
    assert found is not None
    assert (found.digest, found.media_type) == (sha256(IMAGE.data), MANIFEST)
    assert server.count("GET", "/manifests/") == 1


def test_resolve_of_a_digest_does_not_believe_another(server, repository) -> None:
    server.rule("HEAD", "/manifests/", headers={"Docker-Content-Digest": f"sha256:{0:064}"})
    found = repository.resolve(str(sha256(IMAGE.data)))
    assert found is not None
    assert found.digest == sha256(IMAGE.data)


@pytest.mark.parametrize("status", [429, 503])
def test_resolve_tells_of_limits_and_outages(server, repository, status) -> None:
    server.rule("HEAD", "/manifests/", status=status)
    with pytest.raises(NetworkError, match=str(status)):
        repository.resolve("1.0")


@pytest.mark.parametrize(
    "wanted",
    ["", "a/b", "../../token", "a b", "a?n=1", "a#b", "x" * 129, "sha256:12", "md5:aa", "é", "a\n",
     "a%2fb", "-a", "@sha256:12"],
)  # fmt: skip
def test_what_is_neither_tag_nor_digest_never_gets_into_a_url(server, repository, wanted) -> None:
    for ask in (repository.manifest, repository.resolve):
        with pytest.raises(UsageError):
            ask(wanted)
    assert server.count() == 0


@pytest.mark.parametrize(
    "name", ["", "/a", "a/", "a//b", "../a", "A", "a:b", "a@b", "a?b", "a b", "a\n", "a/../b"]
)
def test_what_is_no_repository_name_is_refused(server, name) -> None:
    with registry_client() as client, pytest.raises(UsageError):
        client.repository(server, name)
    with pytest.raises(UsageError):
        check_name(name)


@pytest.mark.parametrize(
    "registry",
    ["", "a b", "a/b", "user@host", "host:port", "h?x", "h#x", "a..b", "index.docker.io"],
)
def test_what_is_no_host_is_refused(registry) -> None:
    with registry_client() as client, pytest.raises(UsageError):
        client.repository(registry, "team/app")


@given(st.text(max_size=40))
def test_whatever_passes_for_a_tag_is_safe_in_a_path(text: str) -> None:
    try:
        wanted = parse_wanted(text)
    except UsageError:
        return
    assert wanted.text == text
    assert not set(text) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:")


@given(st.binary(max_size=200), st.sampled_from(["", "application/json", MANIFEST, INDEX, "x/y"]))
def test_any_bytes_are_a_kind_or_a_network_error(data: bytes, stated: str) -> None:
    try:
        kind = kind_of(data, stated, "some/name:tag")
    except NetworkError as error:
        assert "some/name:tag" in error.what
    else:
        assert kind


def test_deep_json_is_refused() -> None:
    with pytest.raises(NetworkError, match="nested"):
        kind_of(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, MANIFEST, "name")


def test_a_query_is_kept() -> None:
    assert with_query("http://h/p", "digest=d") == "http://h/p?digest=d"
    assert with_query("http://h/p?a=%2F", "digest=d") == "http://h/p?a=%2F&digest=d"


# --- pushing manifests ----------------------------------------------------------------------------


def pushable(server, sample) -> None:
    for blob in sample.blobs:
        server.put_blob("team/app", blob)


def test_a_manifest_is_put_by_its_exact_bytes(server, repository) -> None:
    sample = image([layer({"x": b"y"})])
    pushable(server, sample)
    digest = repository.push_manifest(sample.data, sample.media_type, "2.0")
    assert digest == sha256(sample.data)
    assert server.manifest("team/app", "2.0") == sample.data
    assert repository.push_manifest(sample.data, sample.media_type, str(digest)) == digest


def test_a_registry_that_changes_a_manifest_is_caught(server, repository) -> None:
    server.rule("PUT", "/manifests/", headers={"Docker-Content-Digest": f"sha256:{0:064}"})
    with pytest.raises(NetworkError, match="changed the manifest"):
        repository.push_manifest(IMAGE.data, IMAGE.media_type, "2.0")


def test_a_refused_manifest_is_told_in_the_registrys_words(server, repository) -> None:
    sample = image([layer({"not": b"there"})])
    with pytest.raises(NetworkError) as caught:
        repository.push_manifest(sample.data, sample.media_type, "2.0")
    assert "MANIFEST_BLOB_UNKNOWN" in caught.value.why
    assert caught.value.what == f"cannot push the manifest {server.host}/team/app:2.0"


def test_a_manifest_goes_under_no_digest_but_its_own(server, repository) -> None:
    with pytest.raises(UsageError):
        repository.push_manifest(IMAGE.data, IMAGE.media_type, f"sha256:{0:064}")
    assert server.count("PUT") == 0


# --- referrers ------------------------------------------------------------------------------------


def push_artifact(server, repository, sample) -> str:
    pushable(server, sample)
    digest = sha256(sample.data)
    repository.push_manifest(sample.data, sample.media_type, str(digest))
    return str(digest)


def sbom(number: int = 0, kind: str = "application/vnd.example.sbom"):
    return artifact(kind, [b"%d" % number], subject=IMAGE, annotations={"n": str(number)})


@pytest.mark.parametrize("api", [True, False], ids=["api", "tag"])
def test_referrers_are_found_by_the_api_or_by_the_tag(api: bool) -> None:
    with FaultRegistry(referrers=api) as server, registry_client() as client:
        server.put_sample("team/app", "1.0", IMAGE)
        repository = client.repository(server)
        subject = sha256(IMAGE.data)
        assert repository.referrers(subject) == ()
        pushed = {push_artifact(server, repository, sbom(number)) for number in range(3)}
        other = push_artifact(server, repository, sbom(9, "application/vnd.example.other"))
        found = repository.referrers(subject)
        assert {str(one.digest) for one in found} == pushed | {other}
        assert {dict(one.annotations)["n"] for one in found} == {"0", "1", "2", "9"}
        wanted = repository.referrers(subject, "application/vnd.example.other")
        assert [str(one.digest) for one in wanted] == [other]
        assert (fallback_tag(subject) in server.tags("team/app")) is not api


def test_the_same_artifact_is_entered_once() -> None:
    with FaultRegistry(referrers=False) as server, registry_client() as client:
        server.put_sample("team/app", "1.0", IMAGE)
        repository = client.repository(server)
        push_artifact(server, repository, sbom())
        push_artifact(server, repository, sbom())
        assert len(repository.referrers(sha256(IMAGE.data))) == 1
        assert server.count("PUT", "/manifests/sha256-") == 1


def test_entries_of_others_stay_as_they_are() -> None:
    with FaultRegistry(referrers=False) as server, registry_client() as client:
        server.put_sample("team/app", "1.0", IMAGE)
        repository = client.repository(server)
        theirs = sbom(7)
        server.put_sample("team/app", "", theirs)
        entry = {**theirs.descriptor, "artifactType": "x/y", "data": "e30=", "weight": 1.5}
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry],
                    "annotations": {"by": "them"}}  # fmt: skip
        tag = fallback_tag(sha256(IMAGE.data))
        server.put_manifest("team/app", tag, json.dumps(document).encode())
        push_artifact(server, repository, sbom())
        now = json.loads(server.manifest("team/app", tag))
        assert now["manifests"][0] == entry
        assert now["annotations"] == {"by": "them"}
        assert now["manifests"][1]["artifactType"] == "application/vnd.example.sbom"


def test_a_lost_entry_is_written_again() -> None:
    with FaultRegistry(referrers=False) as server, registry_client() as client:
        server.put_sample("team/app", "1.0", IMAGE)
        repository = client.repository(server)
        tag = fallback_tag(sha256(IMAGE.data))
        empty = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).encode()

        def overwrite() -> None:
            server.put_manifest("team/app", tag, empty)

        server.rule("GET", f"/manifests/{tag}", skip=1, times=1, before=overwrite)
        push_artifact(server, repository, sbom())
        assert len(json.loads(server.manifest("team/app", tag))["manifests"]) == 1
        server.forget_rules()
        server.rule("GET", f"/manifests/{tag}", before=overwrite)
        with pytest.raises(NetworkError, match="cannot enter"):
            push_artifact(server, repository, sbom(1))


def test_artifacts_pushed_at_once_are_all_entered() -> None:
    with FaultRegistry(referrers=False) as server, registry_client() as client:
        server.put_sample("team/app", "1.0", IMAGE)
        repository = client.repository(server)
        works = [
            threading.Thread(target=push_artifact, args=(server, repository, sbom(number)))
            for number in range(6)
        ]
        for work in works:
            work.start()
        for work in works:
            work.join()
        assert len(repository.referrers(sha256(IMAGE.data))) == 6


def answer_pages(server, pages: dict[str, tuple[list[object], str]]) -> None:
    """Referrers in pages: query: (entries, Link)."""

    def listed(asked, name, key) -> Answer:
        entries, more = pages[asked.path.partition("?")[2]]
        body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
        headers = {"Content-Type": OCI_INDEX, **({"Link": more} if more else {})}
        return Answer(200, headers, json.dumps(body).encode())

    server.contents._referrers = listed


def entry(number: int) -> dict[str, object]:
    return {"mediaType": MANIFEST, "digest": f"sha256:{number:064}", "size": 3,
            "artifactType": "a/b" if number % 2 else "c/d"}  # fmt: skip


def test_pages_are_followed_and_filtered(server, repository) -> None:
    path = f"/v2/team/app/referrers/sha256:{0:064}"
    answer_pages(
        server,
        {
            "artifactType=a%2Fb": ([entry(1), entry(2)], f'<{path}?p=2>; rel="next"'),
            "p=2": ([entry(3), entry(4)], "<?p=3>; rel=next"),
            "p=3": ([entry(5)], ""),
        },
    )
    found = repository.referrers(digest_in(f"sha256:{0:064}"), "a/b")
    assert [int(one.digest.hex) for one in found] == [1, 3, 5]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("<?p=1>; rel=next", "circle"),
        ("<https://elsewhere.example/v2/>; rel=next", "another server"),
        ("<ftp://elsewhere.example/>; rel=next", "cannot be used"),
        ("<http://[/>; rel=next", "malformed"),
    ],
)
def test_a_list_that_does_not_end_well_is_refused(server, repository, more, words) -> None:
    answer_pages(server, {"": ([], "<?p=1>; rel=next"), "p=1": ([], more)})
    with pytest.raises(NetworkError) as caught:
        repository.referrers(digest_in(f"sha256:{0:064}"))
    assert words in str(caught.value)


def test_endless_pages_end(server, repository) -> None:
    class Pages(dict):
        def __missing__(self, query: str):
            number = int(query.removeprefix("p=") or 0)
            return [entry(number)], f"<?p={number + 1}>; rel=next"

    answer_pages(server, Pages())
    with pytest.raises(NetworkError, match="100 pages"):
        repository.referrers(digest_in(f"sha256:{0:064}"))


@pytest.mark.parametrize("entries", [[1], ["x"], {}, [{"digest": "sha256:1"}], [{}], "no"])
def test_malformed_referrers_are_a_clear_error(server, repository, entries) -> None:
    answer_pages(server, {"": (entries, "")})
    with pytest.raises(NetworkError, match="cannot be used"):
        repository.referrers(digest_in(f"sha256:{0:064}"))


@pytest.mark.parametrize("status", [400, 404, 405, 501])
def test_a_server_without_the_api_has_the_tag(server, repository, status) -> None:
    server.rule("GET", "/referrers/", status=status)
    assert repository.referrers(sha256(IMAGE.data)) == ()
    assert server.count("GET", "/manifests/sha256-") == 1


# --- tags -----------------------------------------------------------------------------------------


def test_one_page_of_tags(server, repository) -> None:
    for number in range(5):
        server.put_sample("team/app", f"2.{number}", IMAGE)
    assert repository.tags() == ("1.0", "2.0", "2.1", "2.2", "2.3", "2.4")
    assert repository.tags(2) == ("1.0", "2.0")
    assert server.count("GET", "/tags/list") == 2


def test_hostile_tag_lists(server, repository) -> None:
    listed = ["ok", 1, None, "a/b", "\x1b[31m", "x" * 200, "fine-1"]
    server.rule(
        "GET", "/tags/list", times=1, status=200, body=json.dumps({"tags": listed}).encode()
    )
    assert repository.tags() == ("ok", "fine-1")
    server.rule("GET", "/tags/list", times=1, status=200, body=b'{"tags": null}')
    assert repository.tags() == ()
    server.rule("GET", "/tags/list", times=1, status=200, body=b'{"tags": {}}')
    with pytest.raises(NetworkError):
        repository.tags()
    server.rule("GET", "/tags/list", times=1, endless=True)
    with pytest.raises(NetworkError, match="more than"):
        repository.tags()


# --- where requests go ----------------------------------------------------------------------------


class Recorder:
    """An authorizer that goes nowhere."""

    def __init__(self) -> None:
        self.asked = []

    def send(self, request, scope):
        self.asked.append((request, scope))
        raise ConnectionFailed(Failure.REFUSED, "nobody is there")


def requests_of(registry: str, name: str, options: RegistryOptions):
    from wherry.process.cancel import CancelToken
    from wherry.registry.client import Registry

    recorder = Recorder()
    client = Registry(recorder, options, CancelToken())
    with pytest.raises(ConnectionFailed):
        client.repository(registry, name).manifest("1")
    return [(request.url, scope) for request, scope in recorder.asked]


def test_docker_hub_has_a_host_of_its_own() -> None:
    [(url, scope)] = requests_of("docker.io", "library/alpine", RegistryOptions())
    assert url == "https://registry-1.docker.io/v2/library/alpine/manifests/1"
    assert (scope.origin, scope.registry) == ("https://registry-1.docker.io", "docker.io")
    assert (scope.repository, scope.actions) == ("library/alpine", ("pull",))


@pytest.mark.parametrize(
    ("registry", "insecure", "origin"),
    [
        ("r.example.com", (), "https://r.example.com"),
        ("r.example.com:5000", (), "https://r.example.com:5000"),
        ("r.example.com:5000", ("r.example.com:5000",), "http://r.example.com:5000"),
        ("r.example.com", ("r.example.com:5000",), "https://r.example.com"),
        ("10.0.0.1:5000", (), "https://10.0.0.1:5000"),
        ("localhost", (), "http://localhost"),
        ("registry.localhost:80", (), "http://registry.localhost:80"),
        ("127.1.2.3:5000", (), "http://127.1.2.3:5000"),
        ("[::1]:5000", (), "http://[::1]:5000"),
        ("localhost.example.com", (), "https://localhost.example.com"),
    ],
)
def test_https_except_on_this_machine_and_where_settings_say_so(registry, insecure, origin) -> None:
    [(url, scope)] = requests_of(registry, "a/b", RegistryOptions(insecure=insecure))
    assert url == f"{origin}/v2/a/b/manifests/1"
    assert scope.origin == origin


def test_mirrors_are_asked_in_order_under_their_own_names() -> None:
    options = RegistryOptions(
        mirrors=(("docker.io", ("m1.example.com/hub", "https://m2.example.com:8443", "m3")),)
    )
    asked = requests_of("docker.io", "library/alpine", options)
    assert [(url, scope.registry, scope.repository) for url, scope in asked] == [
        ("https://m1.example.com/v2/hub/library/alpine/manifests/1", "m1.example.com",
         "hub/library/alpine"),
        ("https://m2.example.com:8443/v2/library/alpine/manifests/1", "m2.example.com:8443",
         "library/alpine"),
        ("https://m3/v2/library/alpine/manifests/1", "m3", "library/alpine"),
        ("https://registry-1.docker.io/v2/library/alpine/manifests/1", "docker.io",
         "library/alpine"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "mirror",
    ["", "ftp://m.example.com", "user:secret@m.example.com", "m.example.com/UPPER", "m ",
     "http://m.example.com", "m.example.com?x=1", "m.example.com/a?x", "://m"],
)  # fmt: skip
def test_a_malformed_or_unencrypted_mirror_is_refused(mirror) -> None:
    options = RegistryOptions(mirrors=(("docker.io", (mirror,)),))
    with registry_client(options) as client, pytest.raises(UsageError):
        client.repository("docker.io", "library/alpine")


def mirrored(server: FaultRegistry, *mirrors: str) -> RegistryOptions:
    return RegistryOptions(mirrors=((server.host, mirrors),))


def test_a_mirror_answers_in_the_registrys_place(server) -> None:
    with FaultRegistry() as mirror:
        mirror.put_sample("hub/team/app", "1.0", IMAGE)
        with registry_client(mirrored(server, f"http://{mirror.host}/hub")) as client:
            assert client.repository(server).manifest("1.0").data == IMAGE.data
            assert client.told == []
        assert server.count() == 0


def test_a_mirror_without_the_image_is_passed_over_and_asked_again(server) -> None:
    with FaultRegistry() as mirror, registry_client(mirrored(server, mirror.host)) as client:
        for _ in range(2):
            assert client.repository(server).manifest("1.0").data == IMAGE.data
        assert mirror.count("GET") == 2
        assert len(client.told) == 1
        assert mirror.host in client.told[0]


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_a_failing_mirror_is_passed_over_and_told_once(server, status) -> None:
    with FaultRegistry() as mirror, registry_client(mirrored(server, mirror.host)) as client:
        mirror.rule("", "", status=status)
        for _ in range(2):
            assert client.repository(server).manifest("1.0").data == IMAGE.data
        assert len(client.told) == 1
        # The first request to a host on this machine may be repeated once, to settle the scheme.
        assert mirror.count() <= 3


def test_a_mirror_that_cannot_be_reached_is_left_out(server) -> None:
    gone = f"127.0.0.1:{free_port()}"
    with registry_client(mirrored(server, gone)) as client:
        assert client.repository(server).manifest("1.0").data == IMAGE.data
        assert client.repository(server).resolve("1.0") is not None
        assert [text for text in client.told if "mirror" in text] == [
            f"the mirror {gone} of {server.host} is passed over: cannot reach {gone}: connection "
            "refused; it is not asked again"
        ]


def test_a_mirror_that_comes_back_is_not_asked_by_this_process(server) -> None:
    port = free_port()
    with registry_client(mirrored(server, f"127.0.0.1:{port}")) as client:
        assert client.repository(server).resolve("1.0") is not None
        with FaultRegistry(port=port) as mirror:
            assert client.repository(server).resolve("1.0") is not None
            assert mirror.count() == 0


def test_a_mirror_that_sends_something_wrong_is_passed_over(server) -> None:
    with FaultRegistry() as mirror, registry_client(mirrored(server, mirror.host)) as client:
        mirror.put_sample("team/app", "1.0", IMAGE)
        mirror.rule("GET", "/manifests/", corrupt_at=30)
        assert client.repository(server).manifest("1.0").data == IMAGE.data


def test_pushing_does_not_ask_mirrors(server) -> None:
    with FaultRegistry() as mirror, registry_client(mirrored(server, mirror.host)) as client:
        mirror.put_sample("team/app", "only-there", IMAGE)
        repository = client.repository(server).for_pushing()
        assert repository.resolve("only-there") is None
        repository.push_manifest(IMAGE.data, IMAGE.media_type, "new")
        assert mirror.count() == 0


# --- http or https on this machine ----------------------------------------------------------------


def tls_registry(pair: Pair) -> FaultRegistry:
    return FaultRegistry(tls=(str(pair.certificate), str(pair.key)))


def test_a_tls_server_on_this_machine_is_found_out(authority, server_certificate) -> None:
    with tls_registry(server_certificate) as server:
        server.put_sample("team/app", "1.0", IMAGE)
        with registry_client(ca_files=(authority.file,)) as client:
            for _ in range(2):
                assert client.repository(server).manifest("1.0").data == IMAGE.data
        assert server.count() == 2


def test_its_untrusted_certificate_is_what_is_told(server_certificate) -> None:
    with tls_registry(server_certificate) as server, registry_client() as client:
        with pytest.raises(ConnectionFailed, match="certificate") as caught:
            client.repository(server).manifest("1.0")
        assert "--ca" in caught.value.hint


def test_the_words_of_a_tls_server_are_understood(server) -> None:
    """As Go's and nginx's servers answer plain HTTP; this one then speaks no TLS after all."""
    server.rule("", "", times=1, raw=b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request "
                b"to an HTTPS server.\n")  # fmt: skip
    with registry_client() as client, pytest.raises(ConnectionFailed, match="TLS"):
        client.repository(server).manifest("1.0")


def test_a_plain_server_whose_first_answer_is_lost_stays_plain(server) -> None:
    server.rule("GET", "/manifests/", times=1, hang_up=True)
    with registry_client() as client:
        assert client.repository(server).manifest("1.0").data == IMAGE.data


@pytest.mark.parametrize("status", [400, 503])
def test_a_plain_server_whose_first_answer_is_an_error_stays_plain(server, status) -> None:
    server.rule("GET", "/manifests/", times=1, status=status)
    with registry_client() as client:
        assert client.repository(server).manifest("1.0").data == IMAGE.data


def test_nobody_there_is_told_at_once() -> None:
    gone = f"127.0.0.1:{free_port()}"
    with registry_client() as client, pytest.raises(ConnectionFailed, match="refused") as caught:
        client.repository(gone).manifest("1.0")
    assert gone in caught.value.what


def test_one_thread_finds_out_and_the_others_wait(authority, server_certificate) -> None:
    with tls_registry(server_certificate) as server:
        server.put_sample("team/app", "1.0", IMAGE)
        with registry_client(ca_files=(authority.file,)) as client:
            repository, found = client.repository(server), []
            works = [
                threading.Thread(target=lambda: found.append(repository.resolve("1.0")))
                for _ in range(6)
            ]
            for work in works:
                work.start()
            for work in works:
                work.join()
        assert [one.digest for one in found if one] == [sha256(IMAGE.data)] * 6
        assert server.count() == 6


def test_a_change_is_not_what_finds_out(authority, server_certificate) -> None:
    with tls_registry(server_certificate) as server:
        pushable(server, IMAGE)
        with registry_client(ca_files=(authority.file,)) as client:
            client.repository(server).push_manifest(IMAGE.data, IMAGE.media_type, "1.0")
        assert [(seen.method, seen.path) for seen in server.seen()] == [
            ("GET", "/v2/"), ("PUT", "/v2/team/app/manifests/1.0"),
        ]  # fmt: skip


# --- secrets --------------------------------------------------------------------------------------


def test_no_credentials_in_the_first_request_nor_in_an_error() -> None:
    with FaultRegistry(basic=("user", "hunter2hunter2")) as server:
        keys = Keys(**{server.host: ("user", "wrong-hunter2")})
        with registry_client(keys=keys) as client, pytest.raises(NetworkError) as caught:
            client.repository(server).manifest("1.0")
        assert not server.seen()[0].authorized
        text = "".join(traceback.format_exception(caught.value))
        assert "hunter2" not in text


def test_digests_of_descriptors_are_checked_before_use(server, repository) -> None:
    from wherry.oci.digest import Digest

    for digest in (Digest("sha256", "../../../x"), Digest("sha256", "")):
        with pytest.raises(UsageError):
            repository.blob_exists(digest)
        with pytest.raises(UsageError):
            repository.referrers(digest)
    assert server.count() == 0
    assert repository.blob_exists(parse_digest(f"sha256:{0:064}")) is False
