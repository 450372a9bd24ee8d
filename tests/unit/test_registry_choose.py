# SPDX-License-Identifier: Apache-2.0
"""Which manifest of an index a platform gets."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_repository import AMD64, ARM64, index_of
from wherry.errors import NetworkError, UsageError
from wherry.oci.digest import sha256
from wherry.oci.image import INDEX, MANIFEST, Descriptor
from wherry.oci.media import DOCKER_LIST, DOCKER_MANIFEST
from wherry.oci.platform import Platform, parse_platform
from wherry.registry.choose import DEEPEST, can_run, choose, is_attestation


def entry(
    platform: str | None, seed: str = "", media_type: str = MANIFEST, attests: bool = False
) -> Descriptor:
    """An index's entry; two for one platform differ by `seed`."""
    parts = Platform(*platform.split("/")) if platform else None
    annotations = (("vnd.docker.reference.type", "attestation-manifest"),) if attests else ()
    digest = sha256(f"{platform}{seed}{attests}{media_type}".encode())
    return Descriptor(media_type, digest, 500, annotations, parts)


def chosen(wanted: str, *platforms: str) -> str:
    found = choose([entry(platform) for platform in platforms], Platform(*wanted.split("/")))
    return str(found.platform)


@pytest.mark.parametrize(
    ("wanted", "there", "expected"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64"], "linux/amd64"),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6", "linux/arm/v7"], "linux/arm/v7"),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6", "linux/arm/v8"], "linux/arm/v6"),
        ("linux/arm/v7", ["linux/arm/v5"], "linux/arm/v5"),
        ("linux/arm", ["linux/arm/v6", "linux/arm/v7"], "linux/arm/v7"),
        ("linux/arm/v7", ["linux/arm/v6", "linux/arm"], "linux/arm"),
        ("linux/arm/v7", ["linux/arm", "linux/arm/v7"], "linux/arm/v7"),
        ("linux/riscv64/a", ["linux/riscv64", "linux/riscv64/a"], "linux/riscv64/a"),
        ("linux/arm64", ["linux/arm/v8", "linux/arm64/v8"], "linux/arm64/v8"),
        ("linux/arm64/v9", ["linux/arm64", "linux/arm64/v8"], "linux/arm64"),
        ("linux/arm64/v9", ["linux/arm64/v8.6", "linux/arm64/v8.5"], "linux/arm64/v8.5"),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v4", "linux/amd64/v2"], "linux/amd64/v2"),
        ("linux/amd64/v3", ["linux/amd64/v1"], "linux/amd64/v1"),
        ("linux/amd64", ["linux/amd64/v2", "linux/amd64/v1"], "linux/amd64/v1"),
        ("linux/riscv64", ["linux/riscv64/rva22u64", "linux/riscv64"], "linux/riscv64"),
        ("linux/amd64", ["windows/amd64", "linux/amd64"], "linux/amd64"),
        ("linux/386", ["linux/amd64", "linux/386"], "linux/386"),
    ],
)
def test_the_best_image_that_runs_is_chosen(wanted: str, there: list[str], expected: str) -> None:
    assert chosen(wanted, *there) == expected


@pytest.mark.parametrize(
    ("wanted", "there"),
    [
        ("linux/arm/v6", "linux/arm/v7"),
        ("linux/arm/v6", "linux/arm"),
        ("linux/amd64", "linux/amd64/v2"),
        ("linux/arm64", "linux/arm64/v9"),
        ("linux/arm64", "linux/arm/v7"),
        ("linux/amd64", "linux/386"),
        ("linux/amd64", "windows/amd64"),
        ("linux/amd64", "linux/amd64/v3x"),
        ("linux/riscv64", "linux/riscv64/rva22u64"),
    ],
)
def test_what_does_not_run_is_not_chosen(wanted: str, there: str) -> None:
    with pytest.raises(UsageError) as caught:
        chosen(wanted, there, "linux/s390x")
    assert caught.value.why == f"it has {there}, linux/s390x"
    assert "--platform" in caught.value.hint


def test_no_match_lists_what_there_is_once_and_without_attestations() -> None:
    entries = [
        entry("linux/amd64"),
        entry("linux/arm64"),
        entry("linux/amd64", "again"),
        entry("unknown/unknown"),
        entry("linux/ppc64le", attests=True),
    ]
    with pytest.raises(UsageError) as caught:
        choose(entries, Platform("linux", "riscv64"), name="golang:1.26")
    assert caught.value.what == "golang:1.26 has no image for linux/riscv64"
    assert caught.value.why == "it has linux/amd64, linux/arm64"


def test_a_long_and_hostile_list_stays_short_and_printable() -> None:
    entries = [entry(f"linux/\x1b[31mx{number}") for number in range(900)]
    with pytest.raises(UsageError) as caught:
        choose(entries, AMD64)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert caught.value.why.endswith(", ...")


def test_the_first_of_equal_ones_is_taken() -> None:
    first, second = entry("linux/amd64", "1"), entry("linux/amd64", "2")
    assert choose([first, second], AMD64) == first
    assert choose([second, first], AMD64) == second


def test_attestations_are_never_chosen_even_if_they_name_a_platform() -> None:
    attestation = entry("linux/amd64", attests=True)
    assert is_attestation(attestation)
    assert choose([attestation, entry("linux/amd64")], AMD64) == entry("linux/amd64")
    with pytest.raises(UsageError):
        choose([attestation], AMD64)
    with pytest.raises(UsageError):
        choose([entry("unknown/unknown")], AMD64)


def test_without_a_platform_only_a_lonely_entry_is_taken() -> None:
    bare = entry(None)
    assert choose([bare], AMD64) == bare
    assert choose([bare, entry("unknown/unknown")], AMD64) == bare
    with pytest.raises(UsageError) as caught:
        choose([bare, entry(None, "2")], AMD64)
    assert "does not say" in caught.value.why
    with pytest.raises(UsageError):
        choose([bare, entry("linux/s390x")], AMD64)
    with pytest.raises(UsageError):
        choose([], AMD64)


def test_bytes_of_an_index_and_of_a_manifest_list_are_read() -> None:
    oci = index_of([entry("linux/arm64"), entry("linux/amd64")])
    assert choose(oci.data, AMD64) == entry("linux/amd64")
    docker = index_of([entry("linux/amd64", media_type=DOCKER_MANIFEST)], DOCKER_LIST)
    assert choose(docker.data, AMD64).media_type == DOCKER_MANIFEST
    silent = json.loads(oci.data)
    del silent["mediaType"]
    assert choose(json.dumps(silent).encode(), ARM64) == entry("linux/arm64")


def test_bytes_that_are_no_index_are_refused() -> None:
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": {}, "layers": []}
    with pytest.raises(NetworkError, match="team/app"):
        choose(json.dumps(manifest).encode(), AMD64, name="team/app")


class Nested:
    """Indexes by digest; counts what is opened."""

    def __init__(self) -> None:
        self.inner: dict[Descriptor, list[Descriptor]] = {}
        self.opened: list[Descriptor] = []

    def index(self, *entries: Descriptor, platform: str | None = None) -> Descriptor:
        made = entry(platform, f"index{len(self.inner)}", INDEX)
        self.inner[made] = list(entries)
        return made

    def open(self, wanted: Descriptor) -> list[Descriptor]:
        self.opened.append(wanted)
        return self.inner[wanted]


def test_indexes_within_an_index_are_opened_where_their_platform_allows() -> None:
    nested = Nested()
    deep = nested.index(entry("linux/amd64"))
    middle = nested.index(entry("linux/s390x"), deep)
    other = nested.index(entry("linux/amd64", "other"), platform="linux/arm64")
    found = choose([other, middle], AMD64, open_index=nested.open)
    assert found == entry("linux/amd64")
    assert nested.opened == [middle, deep]
    with pytest.raises(UsageError):
        choose([other, middle], AMD64)


def test_entries_of_an_inner_index_have_its_platform_where_they_have_none() -> None:
    nested = Nested()
    inner = nested.index(entry(None), platform="linux/amd64")
    found = choose([inner, entry("linux/arm64")], AMD64, open_index=nested.open)
    assert found.digest == entry(None).digest


def test_indexes_end_at_a_depth() -> None:
    nested = Nested()
    entries = [entry("linux/amd64")]
    for _ in range(DEEPEST - 1):
        entries = [nested.index(*entries)]
    assert choose(entries, AMD64, open_index=nested.open) == entry("linux/amd64")
    with pytest.raises(NetworkError, match="indexes within indexes"):
        choose([nested.index(*entries)], AMD64, open_index=nested.open)


VARIANTS = {
    "amd64": ["", "v1", "v2", "v3", "v4"],
    "arm": ["", "v5", "v6", "v7"],
    "arm64": ["", "v8", "v9"],
    "riscv64": ["", "rva20u64"],
}
# Independent of the code: how much each variant demands.
DEMAND = {
    ("amd64", ""): 1, ("amd64", "v1"): 1, ("amd64", "v2"): 2, ("amd64", "v3"): 3,
    ("amd64", "v4"): 4,
    ("arm", "v5"): 5, ("arm", "v6"): 6, ("arm", "v7"): 7, ("arm", ""): 7,
    ("arm64", ""): 8, ("arm64", "v8"): 8, ("arm64", "v9"): 9,
    ("riscv64", ""): 0, ("riscv64", "rva20u64"): 1,
}  # fmt: skip


@st.composite
def platforms(draw: st.DrawFn) -> Platform:
    architecture = draw(st.sampled_from(sorted(VARIANTS)))
    system = draw(st.sampled_from(["linux", "linux", "linux", "windows"]))
    return Platform(system, architecture, draw(st.sampled_from(VARIANTS[architecture])))


entries = st.builds(
    lambda platform, seed, attests: Descriptor(
        MANIFEST,
        sha256(f"{platform}{seed}".encode()),
        1,
        (("vnd.docker.reference.type", "attestation-manifest"),) if attests else (),
        platform,
    ),
    st.none() | platforms() | st.just(Platform("unknown", "unknown")),
    st.integers(0, 9),
    st.sampled_from([False, False, False, True]),
)


@given(st.lists(entries, max_size=12), platforms())
def test_whatever_is_chosen_runs_and_is_the_most_demanding_that_does(
    index: list[Descriptor], wanted: Platform
) -> None:
    def demand(platform: Platform) -> int:
        return DEMAND[platform.architecture, platform.variant]

    images = [item for item in index if not is_attestation(item)]
    runnable = [
        item
        for item in images
        if item.platform
        and item.platform[:2] == wanted[:2]
        and demand(item.platform) <= demand(wanted)
    ]
    try:
        found = choose(index, wanted)
    except UsageError:
        assert not runnable
        assert len(images) != 1 or images[0].platform is not None
        return
    assert not is_attestation(found)
    if found.platform is None:
        assert images == [found]
        return
    assert found in runnable
    assert can_run(found.platform, wanted)
    assert demand(found.platform) == max(demand(item.platform) for item in runnable)
    if wanted in [item.platform for item in runnable]:
        assert found.platform == wanted


@given(platforms())
def test_a_machine_runs_its_own_images(platform: Platform) -> None:
    assert can_run(platform, platform)


def test_the_platforms_that_people_write_find_what_registries_say() -> None:
    there = ["linux/arm64/v8", "linux/amd64", "linux/arm/v7"]
    for text in ("aarch64", "linux/arm64/v8", "linux/amd64/v1", "linux/arm/v7"):
        assert choose([entry(name) for name in there], parse_platform(text)).platform is not None
