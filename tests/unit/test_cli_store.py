# SPDX-License-Identifier: Apache-2.0
"""The verbs that show and change the local store: images, tag, rmi, cache."""

import json
import os
import re

import pytest
from click.testing import CliRunner

from store_samples import put_image, put_modules, put_snapshot, stored
from wherry.api.library import prune_store
from wherry.cli import cache, images, rmi, tag
from wherry.cli.images import format_age
from wherry.cli.options import parse_size
from wherry.errors import SeveralErrors, UsageError
from wherry.oci.image import INDEX, Descriptor, Index
from wherry.oci.reference import parse_reference
from wherry.store.store import open_store


@pytest.fixture
def root(tmp_path):
    return str(tmp_path / "store")


@pytest.fixture
def movies(root):
    with open_store(root) as store:
        image = put_image(store, "movies")
        store.images.tag(parse_reference("movies"), image.descriptor, 86400.0)
    return image


def call(command, root, *arguments):
    result = CliRunner().invoke(command, [*arguments, "--store", root], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def test_images_of_an_empty_store(root):
    assert call(images.command, root) == ["NAME   DIGEST   PLATFORM   SIZE   CREATED"]
    assert call(images.command, root, "--json") == ["[]"]
    assert call(images.command, root, "-q") == []


def test_images_tells_name_digest_platform_size_and_age(root, movies):
    header, row = call(images.command, root)
    assert header.split() == ["NAME", "DIGEST", "PLATFORM", "SIZE", "CREATED"]
    assert row.split()[:3] == ["movies:latest", movies.digest.short, "linux/amd64"]
    assert re.search(r"  5\.\d kB   \d+ years ago$", row)
    assert row.index("linux") == header.index("PLATFORM")


def test_images_as_json(root, movies):
    (line,) = call(images.command, root, "--json")
    size = len(movies.manifest_bytes) + len(movies.config_bytes)
    assert json.loads(line) == [
        {
            "name": "movies:latest",
            "digest": str(movies.digest),
            "platforms": ["linux/amd64"],
            "size": size + sum(layer.descriptor.size for layer in movies.layers),
            "missing": 0,
            "created": "1970-01-02T00:00:00Z",
        }
    ]


def test_images_marks_those_whose_layers_are_elsewhere(root, movies):
    with open_store(root) as store:
        lazy = put_image(store, "lazy")
        (layer,) = (item.descriptor for item in lazy.layers)
        store.sources.add(layer.digest, "localhost:5000/base")
        os.unlink(store.blobs.path(layer.digest))
        store.images.tag(parse_reference("lazy"), lazy.descriptor, 1.0)
    rows = {row.split()[0]: row for row in call(images.command, root)[1:]}
    assert re.search(
        r"linux/amd64   5\.\d kB, lazy: 5\.\d kB elsewhere   \d+ years ago$", rows["lazy:latest"]
    )
    assert "lazy" not in rows["movies:latest"]
    assert len({row.index("linux") for row in rows.values()}) == 1
    by_name = {item["name"]: item for item in json.loads(call(images.command, root, "--json")[0])}
    assert by_name["lazy:latest"]["missing"] == layer.size
    assert by_name["movies:latest"]["missing"] == 0


def test_images_quiet_prints_each_digest_once(root, movies):
    call(tag.command, root, "movies", "films")
    assert call(images.command, root, "-q") == [str(movies.digest)]


def test_images_of_several_platforms_are_summed(root):
    with open_store(root) as store:
        parts = [put_image(store, seed) for seed in "ab"]
        data = Index(tuple(part.descriptor for part in parts)).encoded()
        descriptor = Descriptor(INDEX, store.blobs.put(data), len(data))
        store.images.tag(parse_reference("multi"), descriptor, 1.0)
    (image,) = json.loads(call(images.command, root, "--json")[0])
    assert image["platforms"] == ["linux/amd64"]
    layers = [layer.descriptor.size for part in parts for layer in part.layers]
    rest = [len(part.manifest_bytes) + len(part.config_bytes) for part in parts]
    assert image["size"] == len(data) + sum(layers) + sum(rest)


def test_a_damaged_image_does_not_hide_the_others(root, movies):
    with open_store(root) as store:
        other = put_image(store, "other")
        store.images.tag(parse_reference("other"), other.descriptor, 1.0)
        os.unlink(store.blobs.path(movies.digest))
    rows = call(images.command, root)[1:]
    assert rows[0].split()[2:4] == ["?", "damaged"]
    assert rows[1].split()[2] == "linux/amd64"


def test_tag_prints_the_new_reference(root, movies):
    assert call(tag.command, root, movies.digest.short, "shop/films:v1") == [
        f"shop/films:v1@{movies.digest}"
    ]
    with open_store(root) as store:
        assert store.images.resolve("shop/films:v1") == stored(movies)


def test_tag_refuses_a_digest_and_an_unknown_image(root, movies):
    with pytest.raises(UsageError, match="no digest"):
        call(tag.command, root, "movies", f"x@{movies.digest}")
    with pytest.raises(UsageError, match="no image 'movie'") as caught:
        call(tag.command, root, "movie", "x")
    assert "'movies'" in caught.value.hint


def test_rmi_removes_the_name_that_was_said(root, movies):
    call(tag.command, root, "movies", "films")
    assert call(rmi.command, root, f"movies@{movies.digest}") == [f"movies:latest@{movies.digest}"]
    assert [row.split()[0] for row in call(images.command, root)[1:]] == ["films:latest"]


def test_rmi_of_a_digest_with_several_names_wants_force(root, movies):
    call(tag.command, root, "movies", "films")
    with pytest.raises(UsageError, match="several names") as caught:
        call(rmi.command, root, movies.digest.short)
    assert "films:latest, movies:latest" in caught.value.why
    assert call(rmi.command, root, "--force", movies.digest.short) == [
        f"films:latest@{movies.digest}",
        f"movies:latest@{movies.digest}",
    ]
    assert len(call(images.command, root)) == 1


def test_rmi_of_an_image_without_a_name(root, movies):
    with open_store(root) as store:
        other = put_image(store, "other")
        store.images.tag(parse_reference("movies"), other.descriptor, 1.0)
    assert call(rmi.command, root, str(movies.digest)) == [str(movies.digest)]
    with pytest.raises(UsageError, match="no image"):
        call(rmi.command, root, str(movies.digest))


def test_rmi_removes_all_or_nothing(root, movies):
    with pytest.raises(SeveralErrors) as caught:
        call(rmi.command, root, "movies", "nope", "none")
    assert len(caught.value.errors) == 2
    assert caught.value.code == 2
    assert len(call(images.command, root)) == 2
    assert call(rmi.command, root, "movies", "movies", movies.digest.short) == [
        f"movies:latest@{movies.digest}"
    ]


def test_du_tells_kinds_and_total(root, movies):
    value = json.loads(call(cache.command.commands["du"], root, "--json")[0])
    kinds = ["blobs", "snapshots", "mounts", "modules", "work", "tmp", "records"]
    assert list(value) == [*kinds, "total"]
    assert value["total"] == sum(value[kind] for kind in kinds)
    lines = call(cache.command.commands["du"], root)
    assert [line.split()[0] for line in lines] == list(value)


def test_ls_tells_what_there_is_in_the_order_of_pruning(root):
    with open_store(root) as store:
        put_snapshot(store, "overlay-root/abc", 12_345)
        with store.mounts.hold("/root/.cache"), store.work("w"):
            digest = store.blobs.put(b"x" * 5000)
            header, *rows = call(cache.command.commands["ls"], root)
            told = json.loads(call(cache.command.commands["ls"], root, "--json")[0])
    assert header.split() == ["KIND", "SIZE", "USED", "NAME"]
    assert re.fullmatch(r"snapshot +12\.3 kB   just now +overlay-root/abc", rows[0])
    assert re.fullmatch(r"blob +8\.2 kB   just now +" + str(digest), rows[1])
    assert re.fullmatch(r"cache mount +0 B   in use +/root/\.cache", rows[2])
    assert [item["kind"] for item in told] == ["snapshot", "blob", "cache mount", "work directory"]
    assert [item["used"] is None for item in told] == [False, False, True, True]
    assert told[0]["size"] == 12_345


def test_prune_tells_snapshots_cache_mounts_and_what_stays(root, monkeypatch):
    with open_store(root) as store:
        for number in range(2):
            put_snapshot(store, f"place/{number}")
        with store.mounts.hold("go"):
            pass
    prune = cache.command.commands["prune"]
    kinds = re.escape("(2 snapshots, 1 cache mount)")
    assert re.match(rf"would free 10\.0 kB {kinds}; ", call(prune, root, "-a", "--dry-run")[0])
    assert re.match(rf"freed 10\.0 kB {kinds}; ", call(prune, root, "-a")[0])
    pruned = prune_store(root, {}, everything=True)._replace(refused="they stay (do this)")
    monkeypatch.setattr(cache, "prune_store", lambda *_args, **_options: pruned)
    result = CliRunner().invoke(prune, ["--store", root], catch_exceptions=False)
    assert result.stdout.startswith("freed 0 B; ")
    assert result.stderr == "they stay (do this)\n"


def test_go_modules_are_told_like_all_else(root):
    with open_store(root) as store:
        put_modules(store, "a", 16_000)
        os.makedirs(f"{store.path}/gocache/listings")
    du, ls, prune = (cache.command.commands[name] for name in ("du", "ls", "prune"))
    assert json.loads(call(du, root, "--json")[0])["modules"] == 16_384
    rows = {row.split()[-1]: row for row in call(ls, root)[1:]}
    assert re.fullmatch(r"Go modules +16\.4 kB   just now +a{64}", rows["a" * 64])
    assert re.fullmatch(r"Go modules +0 B   just now +listings", rows["listings"])
    told = json.loads(call(prune, root, "-a", "--dry-run", "--json")[0])
    assert (told["modules"], told["freed"]) == (2, 16_384)
    assert re.match(r"freed 16\.4 kB \(2 directories of Go modules\); ", call(prune, root, "-a")[0])
    assert call(ls, root)[1:] == []


def test_prune_gives_room_back_after_rmi(root, movies):
    prune = cache.command.commands["prune"]
    assert call(prune, root, "--all")[0].startswith("freed 0 B; ")
    call(rmi.command, root, "movies")
    assert re.match(r"would free \d.* \(3 blobs\); ", call(prune, root, "--dry-run")[0])
    assert re.match(r"freed \d.* \(3 blobs\); ", call(prune, root)[0])
    assert json.loads(call(cache.command.commands["du"], root, "--json")[0])["blobs"] == 0


def test_prune_keeps_as_much_as_was_said(root):
    with open_store(root) as store:
        for number in range(4):
            digest = store.blobs.put(bytes([number]) * 200_000)
            store.records.put("layer", str(number), b"v", [digest])
    prune = cache.command.commands["prune"]
    (line,) = call(prune, root, "--keep-storage", "500KB", "--json")
    pruned = json.loads(line)
    assert pruned["remaining"] <= 500_000
    assert pruned["records"] == pruned["blobs"] == 2
    with pytest.raises(UsageError, match="not a size"):
        call(prune, root, "--keep-storage", "lots")


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("1500", 1500), ("10kB", 10_000), ("1.5 MB", 1_500_000), ("2GiB", 2 << 30),
     ("3g", 3 * 10**9), ("1Ti", 1 << 40)],
)  # fmt: skip
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "-1", "GB", "1XB", "1 0", "nan", "1i", "1e3", "٣GB"])
def test_texts_that_are_no_sizes(text):
    with pytest.raises(UsageError):
        parse_size(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-50, "just now"), (0.4, "just now"), (1, "1 second ago"), (59.9, "59 seconds ago"),
     (60, "1 minute ago"), (7200, "2 hours ago"), (86400 * 13, "1 week ago"),
     (86400 * 800, "2 years ago")],
)  # fmt: skip
def test_ages(seconds, text):
    assert format_age(seconds) == text
