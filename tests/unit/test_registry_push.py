# SPDX-License-Identifier: Apache-2.0
"""Pushing to repositories in memory: what is sent, in which order, and what fails alone."""

import threading
import time

import pytest

from fake_repository import (
    AMD64,
    ARM64,
    FakeRegistry,
    FakeRepository,
    Source,
    index_of,
    layer_bytes,
    small_image,
)
from wherry.errors import MachineError, NetworkError, SeveralErrors
from wherry.oci.digest import Digest, sha256
from wherry.oci.image import INDEX, MANIFEST
from wherry.oci.media import DOCKER_FOREIGN_GZIP
from wherry.process.cancel import Cancelled, CancelToken
from wherry.registry.model import BlobSource, Progress, RawManifest, Sent
from wherry.registry.push import Content, PartlyPushed, Pushed, Target, push


def content(seed: str = "a", layers: int = 2, repositories: tuple[str, ...] = ()) -> Content:
    image, blobs = small_image(seed, layers=layers)
    sources = tuple(Source(data, repositories=repositories) for data in blobs.values())
    return Content(RawManifest(image.descriptor, image.manifest_bytes), (), sources)


def both_platforms() -> Content:
    parts = [small_image(str(platform), platform) for platform in (AMD64, ARM64)]
    manifests = [RawManifest(image.descriptor, image.manifest_bytes) for image, _ in parts]
    sources = [Source(data) for _, blobs in parts for data in blobs.values()]
    root = index_of([manifest.descriptor for manifest in manifests])
    return Content(root, tuple(manifests), tuple(sources))


def deliver(content: Content, *targets: Target, **more: object) -> tuple[Pushed, ...]:
    return push(content, targets, CancelToken(), **more)


@pytest.fixture
def server() -> FakeRegistry:
    return FakeRegistry()


@pytest.fixture
def repository(server: FakeRegistry) -> FakeRepository:
    return server.repository()


def digest_of(content: Content) -> str:
    return str(content.root.descriptor.digest)


def test_a_first_push_asks_sends_blobs_then_the_tag(repository: FakeRepository) -> None:
    image = content()
    target = Target(repository, ("latest",))
    told: list[int] = []
    result = deliver(image, target, progress=told.append)
    size = sum(len(source.data) for source in image.blobs)
    assert result == (Pushed(target, 3, 0, 0, False, size),)
    assert sum(told) == size
    kinds = [kind for kind, _ in repository.calls]
    assert kinds == ["resolve", "resolve", *["push_blob"] * 3, "push_manifest"]
    assert repository.calls[:2] == [("resolve", "latest"), ("resolve", digest_of(image))]
    assert repository.calls[-1] == ("push_manifest", "latest")
    assert repository.manifests["latest"] == RawManifest(
        repository.manifests["latest"].descriptor, image.root.data
    )


def test_an_unchanged_image_costs_one_request_for_each_tag(repository: FakeRepository) -> None:
    image = content()
    target = Target(repository, ("1", "1.2", "latest"))
    deliver(image, target)
    repository.calls.clear()
    result = deliver(image, target)
    assert result == (Pushed(target, 0, 0, 3, True, 0),)
    assert repository.calls == [("resolve", "1"), ("resolve", "1.2"), ("resolve", "latest")]


def test_a_new_tag_of_a_known_image_is_all_that_is_put(repository: FakeRepository) -> None:
    image = content()
    deliver(image, Target(repository, ("1",)))
    repository.calls.clear()
    (result,) = deliver(image, Target(repository, ("1", "2")))
    assert repository.calls == [("resolve", "1"), ("resolve", "2"), ("push_manifest", "2")]
    assert (result.existed, result.unchanged) == (3, False)
    repository.calls.clear()
    deliver(image, Target(repository, ("3",)))
    assert repository.calls == [
        ("resolve", "3"), ("resolve", digest_of(image)), ("push_manifest", "3")
    ]  # fmt: skip


def test_a_tag_moves(repository: FakeRepository) -> None:
    deliver(content("old"), Target(repository, ("latest",)))
    new = content("new")
    (result,) = deliver(new, Target(repository, ("latest",)))
    assert str(repository.manifests["latest"].descriptor.digest) == digest_of(new)
    assert not result.unchanged


def test_without_tags_it_is_there_by_digest(repository: FakeRepository) -> None:
    image = content()
    target = Target(repository, ())
    deliver(image, target)
    digest = digest_of(image)
    assert set(repository.manifests) == {digest}
    repository.calls.clear()
    assert deliver(image, target)[0].unchanged
    assert repository.calls == [("resolve", digest)]


def test_children_come_before_the_index_and_every_type_is_kept(
    repository: FakeRepository,
) -> None:
    image = both_platforms()
    deliver(image, Target(repository, ("1", "2")))
    put = [subject for kind, subject in repository.kinds("push_manifest")]
    assert put == [*(str(child.descriptor.digest) for child in image.children), "1", "2"]
    assert repository.manifests["1"].descriptor.media_type == INDEX
    assert repository.manifests[put[0]].descriptor.media_type == MANIFEST
    last_blob = max(n for n, call in enumerate(repository.calls) if call[0] == "push_blob")
    first_manifest = repository.calls.index(("push_manifest", put[0]))
    assert last_blob < first_manifest


def test_blobs_go_once_for_each_repository_the_largest_first(
    repository: FakeRepository,
) -> None:
    image = content(layers=3)
    image = image._replace(blobs=image.blobs * 2)
    deliver(image, Target(repository, ("latest",)), workers=1)
    pushed = [subject for _, subject in repository.kinds("push_blob")]
    by_size = sorted(set(image.blobs), key=lambda source: -len(source.data))
    assert sorted(pushed) == sorted(str(source.descriptor.digest) for source in by_size)
    sizes = {str(source.descriptor.digest): len(source.data) for source in by_size}
    assert [sizes[digest] for digest in pushed] == [len(source.data) for source in by_size]


def test_foreign_layers_stay_where_they_are(repository: FakeRepository) -> None:
    image = content()
    foreign = Source(b"windows", DOCKER_FOREIGN_GZIP)
    deliver(image._replace(blobs=(*image.blobs, foreign)), Target(repository, ("latest",)))
    assert foreign.opened == 0
    assert foreign.descriptor.digest not in repository.blobs
    assert "latest" in repository.manifests


def test_what_the_repository_has_counts_as_existing(repository: FakeRepository) -> None:
    image = content()
    known = image.blobs[0]
    repository.blobs[known.descriptor.digest] = known.data
    (result,) = deliver(image, Target(repository, ("latest",)))
    assert (result.uploaded, result.existed) == (2, 1)
    assert result.bytes == sum(len(source.data) for source in image.blobs[1:])


def test_repositories_of_one_registry_get_one_upload_and_mounts(server: FakeRegistry) -> None:
    image = content()
    targets = [Target(server.repository(name), ("latest",)) for name in ("a", "b", "c")]
    first, *others = deliver(image, *targets)
    assert (first.uploaded, first.mounted) == (3, 0)
    assert [(item.uploaded, item.mounted, item.bytes) for item in others] == [(0, 3, 0)] * 2
    assert all(source.opened == 1 for source in image.blobs)


def test_blobs_are_mounted_from_their_sources_in_the_same_registry_only(
    server: FakeRegistry,
) -> None:
    image = content(repositories=("other.test/secret/base", "r.test/base", "r.testing/base"))
    base = server.repository("base")
    base.blobs.update({source.descriptor.digest: source.data for source in image.blobs})
    elsewhere = FakeRegistry("far.test").repository()
    # The fake refuses to hear of another registry's repositories.
    near, far = deliver(image, Target(server.repository(), ("1",)), Target(elsewhere, ("1",)))
    assert (near.mounted, near.uploaded) == (3, 0)
    assert (far.mounted, far.uploaded) == (0, 3)


def test_a_mirror_is_not_asked_whether_the_registry_has_it(server: FakeRegistry) -> None:
    image = content()

    class Mirrored(FakeRepository):
        """Reads from a mirror that has the image, unlike the registry."""

        def for_pushing(self) -> FakeRepository:
            return itself

    itself, mirrored = server.repository("app"), Mirrored(FakeRegistry("r.test"), "app")
    mirrored.add(image.root, "1")
    (result,) = deliver(image, Target(mirrored, ("1",)))
    assert (result.uploaded, result.unchanged) == (3, False)
    assert result.target.repository is mirrored
    assert mirrored.calls == []
    assert "1" in itself.manifests


def test_where_mounts_are_refused_blobs_are_uploaded_again(server: FakeRegistry) -> None:
    image = content()
    one, two = server.repository("a"), server.repository("b")
    two.mountable = False
    _, second = deliver(image, Target(one, ("1",)), Target(two, ("1",)))
    assert (second.uploaded, second.mounted) == (3, 0)


def test_registries_are_served_side_by_side_without_mounts_between_them() -> None:
    image = content(layers=1)
    repositories = [FakeRegistry(f"{name}.test").repository() for name in "ab"]
    meeting = threading.Barrier(2)

    def before(kind: str, subject: str) -> None:
        if kind == "push_blob":
            meeting.wait(10)

    for repository in repositories:
        repository.before = before
    results = deliver(image, *(Target(item, ("1",)) for item in repositories), workers=2)
    assert [item.uploaded for item in results] == [2, 2]


def test_targets_of_one_repository_are_one(repository: FakeRepository) -> None:
    twin = repository.server.repository()
    (result,) = deliver(content(), Target(repository, ("1", "2", "1")), Target(twin, ("2", "3")))
    assert result.target == Target(repository, ("1", "2", "3"))
    assert result.uploaded == 3
    assert twin.calls == []
    assert {"1", "2", "3"} < set(repository.manifests)


def test_no_more_transfers_at_once_than_asked_over_all_targets() -> None:
    image = content(layers=4)
    repositories = [FakeRegistry(f"{name}.test").repository() for name in "abc"]
    lock, running, most = threading.Lock(), [0], [0]
    pause = threading.Event()

    def before(kind: str, subject: str) -> None:
        if kind == "push_blob":
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
            pause.wait(0.01)
            with lock:
                running[0] -= 1

    for repository in repositories:
        repository.before = before
    deliver(image, *(Target(item, ("1",)) for item in repositories), workers=3)
    assert 1 < most[0] <= 3


@pytest.mark.parametrize("failing", ["blob", "child", "tag", "look"])
def test_a_failing_target_gets_no_tag_and_leaves_the_others_alone(failing: str) -> None:
    image = both_platforms()
    good, bad, other = (FakeRegistry(f"{name}.test").repository() for name in ("a", "b", "c"))
    subject_of = {
        "blob": ("push_blob", str(image.blobs[-1].descriptor.digest)),
        "child": ("push_manifest", str(image.children[1].descriptor.digest)),
        "tag": ("push_manifest", "1"),
        "look": ("resolve", "1"),
    }

    def before(kind: str, subject: str) -> None:
        if (kind, subject) == subject_of[failing]:
            raise NetworkError("denied", hint="wherry login b.test")

    bad.before = before
    targets = [Target(item, ("1", "2")) for item in (good, bad, other)]
    with pytest.raises(PartlyPushed) as caught:
        deliver(image, *targets)
    assert isinstance(caught.value, SeveralErrors)
    assert [error.what for error in caught.value.errors] == ["denied"]
    assert caught.value.code == 4
    assert [item.target for item in caught.value.pushed] == [targets[0], targets[2]]
    assert {"1", "2"} < set(good.manifests) and {"1", "2"} < set(other.manifests)
    assert not {"1", "2"} & set(bad.manifests)


def test_two_failing_targets_are_two_errors_and_the_source_may_be_at_fault(
    server: FakeRegistry,
) -> None:
    image = content(layers=1)

    class Damaged(Source):
        def open(self, offset: int):
            raise MachineError("the blob is damaged", hint="build again")

    image = image._replace(blobs=(*image.blobs, Damaged(b"damaged")))
    targets = [Target(server.repository(name), ("1",)) for name in "ab"]
    with pytest.raises(PartlyPushed) as caught:
        deliver(image, *targets)
    assert [error.what for error in caught.value.errors] == ["the blob is damaged"] * 2
    assert caught.value.pushed == ()
    assert caught.value.code == 4 or caught.value.code == 3
    with pytest.raises(MachineError, match="damaged"):
        deliver(image, targets[0])
    assert "1" not in server.manifests["a"]


def test_where_the_first_of_a_registry_fails_the_second_uploads(server: FakeRegistry) -> None:
    image = content()
    bad, good = server.repository("a"), server.repository("b")

    def before(kind: str, subject: str) -> None:
        if kind == "push_blob":
            raise NetworkError("read-only")

    bad.before = before
    with pytest.raises(PartlyPushed) as caught:
        deliver(image, Target(bad, ("1",)), Target(good, ("1",)))
    (pushed,) = caught.value.pushed
    assert (pushed.target.repository, pushed.uploaded) == (good, 3)
    # After its first failure no more is tried there.
    assert len(bad.kinds("push_blob")) <= 3


def test_a_targets_failure_ends_its_other_transfers_and_nobody_elses() -> None:
    image = content(layers=1)
    first, second = (str(source.descriptor.digest) for source in image.blobs)
    started, stopped = threading.Event(), []

    class Slow(FakeRepository):
        """Takes one blob for as long as nothing stops it, and refuses the other meanwhile."""

        def push_blob(self, source: BlobSource, progress: Progress) -> Sent:
            if str(source.descriptor.digest) == first:
                assert started.wait(10)
                raise NetworkError("denied")
            started.set()
            try:
                for _ in range(1000):
                    time.sleep(0.01)
                    progress(1)
            except Cancelled:
                stopped.append(str(source.descriptor.digest))
                raise
            return Sent.UPLOADED

    good = FakeRegistry("good.test").repository()
    targets = [Target(Slow(FakeRegistry(), "app"), ("1",)), Target(good, ("1",))]
    with pytest.raises(PartlyPushed, match="denied") as caught:
        deliver(image, *targets)
    assert stopped == [second]
    assert [item.target for item in caught.value.pushed] == targets[1:]


def test_a_registry_that_changes_manifests_is_found_out(repository: FakeRepository) -> None:
    class Rewriting(FakeRepository):
        def push_manifest(self, data: bytes, media_type: str, wanted: str) -> Digest:
            super().push_manifest(data, media_type, wanted)
            return sha256(b"another")

    with pytest.raises(NetworkError, match="changed the image"):
        deliver(content(), Target(Rewriting(repository.server, "app"), ("1",)))


@pytest.mark.parametrize("kind", ["resolve", "push_blob"])
@pytest.mark.parametrize("workers", [1, 4])
def test_cancelling_sets_no_tag(server: FakeRegistry, kind: str, workers: int) -> None:
    token = CancelToken()
    repositories = [server.repository("a"), FakeRegistry("other.test").repository()]

    def before(found: str, subject: str) -> None:
        if found == kind:
            token.cancel()

    for repository in repositories:
        repository.before = before
    targets = [Target(item, ("1",)) for item in repositories]
    with pytest.raises(Cancelled):
        push(content(), targets, token, workers=workers)
    assert [dict(item.manifests) for item in repositories] == [{}, {}]


def test_cancelling_between_two_tags(repository: FakeRepository) -> None:
    token = CancelToken()
    repository.before = lambda kind, subject: token.cancel() if subject == "1" else None
    deliver(content(), Target(repository, ()))
    repository.before = lambda kind, subject: (
        token.cancel() if (kind, subject) == ("push_manifest", "1") else None
    )
    with pytest.raises(Cancelled):
        push(content(), [Target(repository, ("1", "2"))], token)
    assert "2" not in repository.manifests


def test_a_fault_is_not_taken_for_a_targets_failure(repository: FakeRepository) -> None:
    def broken(count: int) -> None:
        raise ZeroDivisionError

    other = FakeRegistry("other.test").repository()
    with pytest.raises(ZeroDivisionError):
        deliver(content(), Target(repository, ("1",)), Target(other, ("1",)), progress=broken)
    assert "1" not in repository.manifests


def test_progress_is_told_by_one_thread_at_a_time(server: FakeRegistry) -> None:
    inside, total = threading.Lock(), [0]

    def progress(count: int) -> None:
        assert inside.acquire(blocking=False)
        time.sleep(0.0005)
        total[0] += count
        inside.release()

    data = [Source(layer_bytes(str(number), 5000 + number)) for number in range(10)]
    image = content()
    image = image._replace(blobs=(*image.blobs, *data))
    other = FakeRegistry("other.test").repository()
    results = deliver(
        image,
        Target(server.repository(), ("1",)),
        Target(other, ("1",)),
        workers=8,
        progress=progress,
    )
    assert total[0] == sum(item.bytes for item in results)


def test_nothing_to_push_to_is_nothing_done() -> None:
    assert deliver(content()) == ()
