# SPDX-License-Identifier: Apache-2.0
"""`wherry cache inspect`: packs, users, dead weight and signatures of a Go cache in a directory."""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from wherry.cli import cache
from wherry.cli.cache_inspect import _percent, _time
from wherry.errors import BuildError, NetworkError, UsageError
from wherry.gocache.directory_place import DirectoryPlace
from wherry.gocache.exporting import Exporter, Material, Offer
from wherry.gocache.importing import Holding
from wherry.gocache.pack_set import RECORD_TYPE, RecordBlob
from wherry.gocache.places import BytesBlob
from wherry.gocache.signing import CacheKey, load_cache_key
from wherry.gocache.table import Row
from wherry.oci.digest import sha256
from wherry.oci.image import Descriptor
from wherry.process.cancel import CancelToken

# Sizes of contents, which no compression makes smaller.
SIZES = {"a": 1000, "b": 3000, "c": 4000}
CONTENTS = {
    name: b"".join(hashlib.sha256(f"{name}{n}".encode()).digest() for n in range(size // 32 + 1))[
        :size
    ]
    for name, size in SIZES.items()
}


def row(name: str) -> Row:
    data = CONTENTS[name]
    key = hashlib.sha256(f"action {name}".encode()).hexdigest()
    return Row(key, hashlib.sha256(data).hexdigest(), len(data), 1)


ROWS = {name: row(name) for name in CONTENTS}
BY_CONTENT = {row.content: CONTENTS[name] for name, row in ROWS.items()}


class Keys(NamedTuple):
    private: str
    public: str
    other: str


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    place = tmp_path_factory.mktemp("keys")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=place, check=True, capture_output=True, timeout=30)

    for name in ("mine", "other"):
        openssl("genpkey", "-algorithm", "ed25519", "-out", f"{name}.key")
    openssl("pkey", "-in", "mine.key", "-pubout", "-out", "mine.pub")
    return Keys(*(str(place / name) for name in ("mine.key", "mine.pub", "other.key")))


def export(
    path: Path, user: str, names: Iterable[str], key: CacheKey | None = None, record: bytes = b""
) -> None:
    cancel = CancelToken()
    material = Material(
        [ROWS[name] for name in names],
        lambda one: io.BytesIO(BY_CONTENT[one.content]),
        lambda _row: False,
    )
    records, blobs = {}, ()
    if record:
        blob = BytesBlob(Descriptor(RECORD_TYPE, sha256(record), len(record)), record)
        records, blobs = {"0123456789abcdef": RecordBlob(blob.descriptor, 1_000_000_000)}, (blob,)
    scratch = path.parent / f"scratch-{len(list(path.parent.iterdir()))}"
    scratch.mkdir()
    offer = Offer(user, {"build": material}, 1 << 30, records, blobs)
    holding = Holding(DirectoryPlace(str(path), str(path), cancel), None, cancel)
    Exporter(holding, offer, str(scratch), cancel, key).run()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "go-cache"
    export(path, "example.com/api linux/amd64", "ab")
    export(path, "example.com/web linux/amd64", "bc")
    # Now nobody uses a.
    export(path, "example.com/api linux/amd64", "b", record=b"a record")
    return path


def call(*words: str) -> str:
    done = CliRunner().invoke(cache.command, ["inspect", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def told(*words: str) -> dict[str, object]:
    value: dict[str, object] = json.loads(call(*words, "--json"))
    return value


def test_json_tells_packs_users_records_and_dead_weight(place: Path) -> None:
    found = told(str(place))
    one, two = found["packs"]
    assert (one["content"], one["entries"], one["used"]) == (4000, 2, 0.75)
    assert (two["content"], two["entries"], two["used"]) == (4000, 1, 1.0)
    assert one["size"] >= 4000
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", one["made"])
    users = {user["name"].split()[0]: user for user in found["users"]}
    api, web = users["example.com/api"], users["example.com/web"]
    assert (api["used"], web["used"]) == (3000, 7000)
    assert (api["share"], web["share"]) == (3000 / 8000, 7000 / 8000)
    assert api["shares"] == {one["digest"]: 0.75, two["digest"]: 0.0}
    assert web["shares"] == {one["digest"]: 0.75, two["digest"]: 1.0}
    (record,) = found["records"]
    assert (record["key"], record["size"], record["layers"]) == ("0123456789abcdef", 8, 0)
    assert record["time"] == "2001-09-09T01:46:40Z"
    assert found["content"] == 8000
    assert found["dead"] == round(one["size"] * 0.25)
    on_disk = sum(path.stat().st_size for path in (place / "blobs" / "sha256").iterdir())
    # All but the manifest.
    assert 0 < on_disk - found["size"] < 5000
    assert (found["signed_by"], found["checked"], found["distrust"]) == ("", False, "")


def test_tables_tell_the_same(place: Path) -> None:
    lines = call(str(place)).splitlines()
    assert re.fullmatch(rf"{place}@sha256:[0-9a-f]{{64}}", lines[0])
    number = next(n for n, line in enumerate(lines) if line.startswith("PACK "))
    assert lines[number].split() == [
        "PACK", "KIND", "SIZE", "CONTENT", "ENTRIES", "MADE", "IN", "USE",
    ]  # fmt: skip
    first = lines[number + 1]
    assert re.match(r"sha256:[0-9a-f]{12}   build   4\.\d kB    4\.0 kB         2   ", first)
    assert first.endswith("75 %")
    web = next(line for line in lines if line.startswith("example.com/web"))
    assert web.endswith("7.0 kB    88 %   75 %, 100 %")
    assert any(re.match(r"0123456789ab +8 B   none +\d+ years ago$", line) for line in lines)
    assert re.match(
        r"in all \d+\.\d kB, 8\.0 kB unpacked; dead weight 1\.\d kB \(1\d %\)$", lines[-2]
    )
    assert lines[-1] == "not signed"


def test_a_signature_is_told_and_checked(tmp_path: Path, keys: Keys) -> None:
    path = tmp_path / "go-cache"
    key = load_cache_key(keys.private)
    export(path, "api", "a", key)
    assert call(str(path)).splitlines()[-1] == (
        f"signed by the key {key.id}, not checked: name its file with --cache-key"
    )
    for file in (keys.public, keys.private):
        shown = call(str(path), "--cache-key", file)
        assert shown.splitlines()[-1] == f"signed by the key {key.id}, checked"
    assert told(str(path), "--cache-key", keys.public)["checked"] is True
    with pytest.raises(BuildError) as caught:
        call(str(path), "--cache-key", keys.other)
    assert "another key" in caught.value.why


def test_an_unsigned_cache_is_shown_and_then_refused(place: Path, keys: Keys) -> None:
    done = CliRunner().invoke(
        cache.command, ["inspect", str(place), "--cache-key", keys.public, "--json"]
    )
    assert isinstance(done.exception, BuildError)
    assert done.exception.exit_code == 1
    assert json.loads(done.stdout)["distrust"] == "it is not signed"


def test_a_broken_table_hides_no_other_pack(place: Path) -> None:
    sizes = {pack["digest"]: pack for pack in told(str(place))["packs"]}
    blobs = place / "blobs" / "sha256"
    index = json.loads((place / "index.json").read_text())
    manifest = json.loads((blobs / index["manifests"][0]["digest"][7:]).read_text())
    tables = [layer for layer in manifest["layers"] if ".table." in layer["mediaType"]]
    assert len(tables) == len(sizes) == 2
    broken = blobs / tables[0]["digest"][7:]
    broken.chmod(0o644)
    broken.write_bytes(b"x" * tables[0]["size"])
    one, two = told(str(place))["packs"]
    assert (one["used"], two["used"]) == (None, 1.0)
    assert one["damaged"]
    lines = call(str(place)).splitlines()
    assert sum(line.endswith(" damaged") for line in lines) == 1
    assert any(line.endswith("?, 100 %") for line in lines)


def test_what_is_no_cache_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no cache"):
        call(str(tmp_path / "nothing"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("")
    with pytest.raises((UsageError, NetworkError)) as caught:
        call(str(tmp_path / "other"))
    assert caught.value.hint
    with pytest.raises(UsageError, match="not a cache"):
        call("type=registry,ref=a")
    with pytest.raises(UsageError, match="no key for caches"):
        call(str(tmp_path / "nothing"), "--cache-key", str(tmp_path / "none.key"))


def test_names_that_strangers_chose_move_no_cursor(tmp_path: Path) -> None:
    path = tmp_path / "go-cache"
    export(path, "\x1b[2Jevil\n" + "x" * 300, "a")
    shown = call(str(path))
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) < 200


@pytest.mark.parametrize(
    ("share", "words"), [(0, "0 %"), (0.001, "<1 %"), (0.5, "50 %"), (0.999, "99 %"), (1, "100 %")]
)
def test_a_share_is_never_told_as_all_or_nothing_where_it_is_not(share: float, words: str) -> None:
    assert _percent(share) == words


def test_times_beyond_calendars_are_no_reason_to_fail() -> None:
    assert _time(1 << 50) == ""
