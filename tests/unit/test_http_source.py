# SPDX-License-Identifier: Apache-2.0
"""Downloads for ADD: contents, names, times, checksums, limits, and when nothing is sent again."""

import base64
import gzip
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from transport_servers import Reply, Seen, answering, saying
from wherry.engines.local.http import Fetched, HttpSource, Wanted
from wherry.engines.local.http_names import name_in_url
from wherry.errors import BuildError, MachineError, NetworkError, UsageError
from wherry.oci.digest import Digest, sha256
from wherry.process.cancel import Cancelled, CancelToken
from wherry.transport.errors import ConnectionFailed
from wherry.transport.model import TransportOptions

DATA = b"what is sent " * 5000
MODIFIED = ("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
DATE = ("Date", "Wed, 21 Oct 2025 07:28:00 GMT")
MTIME = 1445412480


class Fetcher:
    """A source with a memo in memory, that keeps what it got."""

    def __init__(self, directory: Path, limit: int = 1 << 30) -> None:
        self.directory = directory
        self.kept: dict[str, bytes] = {}
        self.held: set[Digest] = set()
        self.cancel = CancelToken()
        options = TransportOptions(env={}, connect_timeout=5, read_timeout=10, retries=0)
        self.source = HttpSource(
            options, self, self.held.__contains__, limit, "--limit", self.cancel
        )

    def load(self, key: str) -> bytes | None:
        return self.kept.get(key)

    def save(self, key: str, data: bytes) -> None:
        self.kept[key] = data

    def get(self, url: str, checksum: str = "", name: str = "") -> Fetched:
        found = self.source.fetch(Wanted(url, checksum, name), str(self.directory))
        self.held.add(found.digest)
        return found


@pytest.fixture
def fetcher(tmp_path: Path) -> Fetcher:
    return Fetcher(tmp_path)


def always(
    *headers: tuple[str, str], body: bytes = DATA, status: int = 200
) -> Callable[..., Reply]:
    return lambda _seen: Reply(status, headers, body)


def test_a_file_and_its_facts(fetcher: Fetcher) -> None:
    with answering(always(MODIFIED)) as served:
        found = fetcher.get(f"{served.url}/dir/file.bin?x=1#part", name="file.bin")
    assert found[:4] == (sha256(DATA), len(DATA), "file.bin", MTIME)
    assert found.path is not None
    assert Path(found.path).read_bytes() == DATA
    assert os.stat(found.path).st_mode & 0o777 == 0o600
    assert served.seen[0].target == "/dir/file.bin?x=1"
    assert served.seen[0].headers["accept-encoding"] == "identity"


def test_a_time_that_is_none_is_1970(fetcher: Fetcher) -> None:
    with answering(always(("Last-Modified", "yesterday"))) as served:
        assert fetcher.get(served.url).mtime == 0
    with answering(always(("Last-Modified", "Wed, 21 Oct 1960 07:28:00 GMT"))) as served:
        assert fetcher.get(served.url).mtime == 0


@pytest.mark.parametrize(
    ("path", "header", "wanted", "name"),
    [
        ("/a/b.txt", "", "", "b.txt"),
        ("/a/b%20c/", "", "", "b c"),
        ("/", "", "", "__unnamed__"),
        ("", "", "", "__unnamed__"),
        ("?x=/y", "", "", "__unnamed__"),
        ("/a%2Fb", "", "", "b"),
        ("/%2e%2e", "", "", "download"),
        ("/a%0Ab", "", "", "download"),
        ("/x", 'attachment; filename="y.txt"', "", "y.txt"),
        ("/x", "attachment; filename=y.txt", "", "y.txt"),
        ("/x", "attachment; filename*=UTF-8''%e2%82%ac.txt", "", "€.txt"),
        ("/x", 'attachment; filename="/etc/passwd"', "", "passwd"),
        ("/x", 'attachment; filename="../../y"', "", "y"),
        ("/x", 'attachment; filename=".."', "", "download"),
        ("/x", 'attachment; filename="dir/"', "", "x"),
        ("/x", "attachment", "", "x"),
        ("/x", 'attachment; filename="y"', "z", "z"),
        ("/x", "", "a/../z", "z"),
    ],
)
def test_names(fetcher: Fetcher, path: str, header: str, wanted: str, name: str) -> None:
    headers = (("Content-Disposition", header),) if header else ()
    with answering(always(*headers)) as served:
        assert fetcher.get(served.url + path, name=wanted).name == name


def test_names_for_add() -> None:
    assert name_in_url("https://example.com/a/b.tgz?x#y") == "b.tgz"
    assert name_in_url("https://example.com") == "__unnamed__"
    assert name_in_url("https://[broken/x") == "__unnamed__"


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_checksums(fetcher: Fetcher, tmp_path: Path, algorithm: str) -> None:
    good = f"{algorithm}:{hashlib.new(algorithm, DATA).hexdigest()}"
    bad = f"{algorithm}:{hashlib.new(algorithm, b'x').hexdigest()}"
    with answering(always()) as served:
        assert fetcher.get(f"{served.url}/x", good).digest == sha256(DATA)
        before = sorted(tmp_path.iterdir())
        with pytest.raises(BuildError, match="does not have the content") as caught:
            fetcher.get(f"{served.url}/x?token=hidden", bad)
    assert bad in caught.value.why
    assert good in caught.value.why
    assert "hidden" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


def test_a_checksum_that_is_none(fetcher: Fetcher) -> None:
    with pytest.raises(UsageError, match="not a digest"):
        fetcher.get("https://example.invalid/x", "md5:0")


def test_a_known_file_of_the_right_checksum_is_not_asked_for(fetcher: Fetcher) -> None:
    with answering(always(MODIFIED)) as served:
        fetcher.get(f"{served.url}/x")
        found = fetcher.get(f"{served.url}/x", str(sha256(DATA)))
        assert found == (sha256(DATA), len(DATA), "x", MTIME, None)
        assert len(served.seen) == 1


def test_a_strong_etag_spares_the_download(fetcher: Fetcher) -> None:
    def answer(seen: Seen) -> Reply:
        if seen.headers.get("if-none-match") == '"one"':
            return Reply(304, (("ETag", '"one"'),))
        return Reply(200, (("ETag", '"one"'), MODIFIED), DATA)

    with answering(answer) as served:
        first = fetcher.get(f"{served.url}/x")
        again = fetcher.get(f"{served.url}/x")
        assert first.path is not None
        assert again == first._replace(path=None)
        # The bytes are gone: no condition, all is sent.
        fetcher.held.clear()
        assert fetcher.get(f"{served.url}/x").path is not None
        assert "if-none-match" not in served.seen[2].headers


def test_a_server_that_sends_the_same_etag_again_is_cut_short(fetcher: Fetcher) -> None:
    with answering(always(("ETag", '"one"'))) as served:
        fetcher.get(f"{served.url}/x")
        assert fetcher.get(f"{served.url}/x").path is None


def test_another_etag_brings_the_new_content(fetcher: Fetcher) -> None:
    replies = iter((Reply(200, (("ETag", '"1"'),), b"old"), Reply(200, (("ETag", '"2"'),), b"new")))
    with answering(lambda _: next(replies)) as served:
        assert fetcher.get(f"{served.url}/x").digest == sha256(b"old")
        found = fetcher.get(f"{served.url}/x")
    assert found.digest == sha256(b"new")
    assert found.path is not None


@pytest.mark.parametrize("etag", ['W/"one"', "one", '"a", "b"', ""])
def test_weak_etags_prove_nothing(fetcher: Fetcher, etag: str) -> None:
    with answering(always(*((("ETag", etag),) if etag else ()))) as served:
        for _ in range(2):
            assert fetcher.get(f"{served.url}/x").path is not None
        assert "if-none-match" not in served.seen[1].headers


@pytest.mark.parametrize("date", [DATE, ("Date", "Wed, 21 Oct 2015 07:28:30 GMT"), None])
def test_an_old_date_is_a_validator(fetcher: Fetcher, date: tuple[str, str] | None) -> None:
    def answer(seen: Seen) -> Reply:
        if "if-modified-since" in seen.headers:
            return Reply(304)
        return Reply(200, (MODIFIED, *((date,) if date else ())), DATA)

    with answering(answer) as served:
        fetcher.get(f"{served.url}/x")
        # Only where the file was old when it was sent.
        assert (fetcher.get(f"{served.url}/x").path is None) is (date is DATE)


def test_not_modified_elsewhere_proves_nothing(fetcher: Fetcher) -> None:
    """The redirect leads to another file, which happens to have the same tag."""
    goal = ["/one"]

    def answer(seen: Seen) -> Reply:
        if seen.target == "/x":
            return Reply(302, (("Location", goal[0]),))
        if "if-none-match" in seen.headers:
            return Reply(304, (("ETag", '"1"'),))
        return Reply(200, (("ETag", '"1"'),), seen.target.encode())

    with answering(answer) as served:
        assert fetcher.get(f"{served.url}/x").digest == sha256(b"/one")
        goal[0] = "/one?signature=2"
        assert fetcher.get(f"{served.url}/x").path is None
        goal[0] = "/two"
        assert fetcher.get(f"{served.url}/x").digest == sha256(b"/two")


def test_a_damaged_memo_is_as_none(fetcher: Fetcher) -> None:
    with answering(always(("ETag", '"one"'))) as served:
        fetcher.get(f"{served.url}/x")
        (key,) = fetcher.kept
        for data in (b"", b"{}", b"[1]", b'["sha256:x", 1, "", "", false, "", ""]', b"\xff"):
            fetcher.kept[key] = data
            assert fetcher.get(f"{served.url}/x").path is not None


def test_the_memo_tells_nothing_of_the_url(fetcher: Fetcher) -> None:
    with answering(always(("ETag", '"one"'))) as served:
        url = served.url.replace("http://", "http://me:hidden@")
        fetcher.get(f"{url}/secret-path?token=hidden")
        ((key, data),) = fetcher.kept.items()
    for secret in ("hidden", "secret-path", "me:"):
        assert secret not in key
        assert secret.encode() not in data


@pytest.mark.parametrize("status", [404, 410, 403, 500, 418])
def test_refusals_name_the_url_without_secrets(
    fetcher: Fetcher, status: int, tmp_path: Path
) -> None:
    with answering(always(status=status)) as served:
        url = served.url.replace("http://", "http://me:hidden@") + "/x?token=hidden"
        with pytest.raises(NetworkError) as caught:
            fetcher.get(url)
    assert f"http://localhost:{served.port}/x" in caught.value.what
    assert str(status) in caught.value.why
    assert "hidden" not in str(caught.value)
    assert ("there is nothing" in caught.value.what) is (status in (404, 410))
    assert list(tmp_path.iterdir()) == []
    assert fetcher.kept == {}


def test_user_and_password_go_as_a_header_to_their_host_only(fetcher: Fetcher) -> None:
    with answering(always()) as other:
        redirect = always(("Location", f"{other.url}/y"), status=302)
        with answering(redirect) as served:
            url = served.url.replace("http://", "http://me:p%40ss@")
            fetcher.get(f"{url}/x")
    expected = "Basic " + base64.b64encode(b"me:p@ss").decode()
    assert served.seen[0].headers["authorization"] == expected
    assert "authorization" not in other.seen[0].headers


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://example.com/x", "gopher://x/", "//[broken"]
)
def test_redirects_lead_to_no_other_protocol(fetcher: Fetcher, location: str) -> None:
    redirect = always(("Location", location), status=302)
    with answering(redirect) as served, pytest.raises(ConnectionFailed):
        fetcher.get(f"{served.url}/x")


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "/etc/passwd", "ftp://h/x", "http:x", "http://h/\n", "x"]
)
def test_other_urls_are_refused(fetcher: Fetcher, url: str) -> None:
    with pytest.raises(UsageError):
        fetcher.get(url)


def test_odd_characters_are_encoded(fetcher: Fetcher) -> None:
    with answering(always()) as served:
        assert fetcher.get(f"{served.url}/a b/é\udcff?q=ü x").name == "é\udcff"
        assert served.seen[0].target == "/a%20b/%C3%A9%FF?q=%C3%BC%20x"
        fetcher.get(f"{served.url}?only=query")
        assert served.seen[1].target == "/?only=query"


def test_the_limit(tmp_path: Path) -> None:
    with answering(always()) as served:
        with pytest.raises(UsageError, match="has more than the 100 bytes") as caught:
            Fetcher(tmp_path, limit=100).get(f"{served.url}/x")
        assert "--limit=SIZE" in caught.value.hint
        assert list(tmp_path.iterdir()) == []
        Fetcher(tmp_path, limit=len(DATA)).get(f"{served.url}/x")


GZIP = ("Content-Encoding", "gzip")


@pytest.mark.parametrize("zipped", [gzip.compress(DATA), gzip.compress(b"") + gzip.compress(DATA)])
def test_a_server_that_compresses_all_the_same(fetcher: Fetcher, zipped: bytes) -> None:
    with answering(always(GZIP, body=zipped)) as served:
        assert fetcher.get(f"{served.url}/x").digest == sha256(DATA)


@pytest.mark.parametrize("body", [gzip.compress(DATA)[:-9], b"no gzip", b""])
def test_damaged_compression(fetcher: Fetcher, body: bytes, tmp_path: Path) -> None:
    answer = always(GZIP, body=body)
    with answering(answer) as served, pytest.raises(NetworkError, match="cannot get"):
        fetcher.get(f"{served.url}/x")
    assert list(tmp_path.iterdir()) == []


def test_a_decompression_bomb_is_cut(tmp_path: Path) -> None:
    bomb = always(GZIP, body=gzip.compress(bytes(50_000_000)))
    with answering(bomb) as served, pytest.raises(UsageError, match="has more than"):
        Fetcher(tmp_path, limit=1_000_000).get(f"{served.url}/x")


def test_a_body_that_breaks_off_is_asked_for_again(fetcher: Fetcher, tmp_path: Path) -> None:
    cut = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345"
    whole = cut + b"67890"
    with saying(cut, cut, whole) as served:
        assert fetcher.get(f"{served.url}/x").digest == sha256(b"1234567890")
    assert len(list(tmp_path.iterdir())) == 1
    with saying(cut) as served, pytest.raises(NetworkError, match="not whole"):
        fetcher.get(f"{served.url}/x")
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk(fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with answering(always()) as served:
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(MachineError, match="cannot keep") as caught:
            fetcher.get(f"{served.url}/x")
    assert "No space" in caught.value.why


def test_a_cancelled_download_ends(fetcher: Fetcher, tmp_path: Path) -> None:
    def answer(_seen: Seen) -> Reply:
        fetcher.cancel.cancel()
        return Reply(200, (), DATA)

    with answering(answer) as served, pytest.raises(Cancelled):
        fetcher.get(f"{served.url}/x")
    assert list(tmp_path.iterdir()) == []


def test_an_unreachable_server_is_told(fetcher: Fetcher) -> None:
    with answering(always()) as served:
        pass
    with pytest.raises(ConnectionFailed, match=f"localhost:{served.port}"):
        fetcher.get(f"{served.url}/x?token=hidden")
