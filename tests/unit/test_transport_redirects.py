# SPDX-License-Identifier: Apache-2.0
"""Which redirects are followed, and what goes along."""

import pytest

from transport_servers import FileBody, Reply, Seen, answering, transport
from wherry.transport.errors import ConnectionFailed, Failure
from wherry.transport.model import HostOptions, Request, TransportOptions
from wherry.transport.redirects import Route

_SECRET = (("Authorization", "Bearer secret"), ("Cookie", "secret"), ("Accept", "a/b"))


def _to(location: str, status: int = 307) -> Reply:
    return Reply(status, (("Location", location),), b"moved")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_reading_follows_every_redirect(status: int, method: str) -> None:
    def answer(seen: Seen) -> Reply:
        return _to("../there?x=1#part", status) if seen.target == "/a/b" else Reply(200, (), b"ok")

    with answering(answer) as served, transport() as made:
        with made.send(Request(method, served.url + "/a/b", _SECRET)) as response:
            assert response.status == 200
            assert response.url == served.url + "/there?x=1"
            assert response.read(10) == (b"ok" if method == "GET" else b"")
        assert served.connections == 1
    assert [seen.method for seen in served.seen] == [method, method]
    assert served.seen[1].headers["authorization"] == "Bearer secret"


@pytest.mark.parametrize("status", [301, 302, 303])
def test_writing_does_not_follow_what_changes_methods(status: int) -> None:
    with answering(lambda _: _to("/there", status)) as served, transport() as made:
        with made.send(Request("POST", served.url)) as response:
            assert response.status == status
            assert response.read(5) == b"moved"
        assert len(served.seen) == 1


@pytest.mark.parametrize("status", [307, 308])
def test_writing_sends_the_body_again(status: int) -> None:
    body = FileBody(b"x" * 1000)
    with (
        answering(lambda seen: _to("/b", status) if seen.target == "/a" else Reply(201)) as served,
        transport() as made,
        made.send(Request("PUT", served.url + "/a", body=body)) as response,
    ):
        assert response.status == 201
    assert [(seen.method, len(seen.body)) for seen in served.seen] == [("PUT", 1000)] * 2
    assert len(body.opened) == 2
    assert body.all_closed


def test_credentials_stay_with_their_origin() -> None:
    with (
        answering(lambda _: Reply()) as other,
        transport() as made,
        answering(lambda _: _to(other.url + "/blob?signature=x")) as served,
    ):
        made.send(Request("GET", served.url, _SECRET)).close()
    assert served.seen[0].headers["authorization"] == "Bearer secret"
    assert {"authorization", "cookie"}.isdisjoint(other.seen[0].headers)
    assert other.seen[0].headers["accept"] == "a/b"


def test_credentials_do_not_come_back_after_a_detour() -> None:
    with (
        transport() as made,
        answering(lambda seen: _to(f"http://localhost:{seen.target[1:]}/home")) as other,
    ):

        def answer(seen: Seen) -> Reply:
            return Reply() if seen.target == "/home" else _to(f"{other.url}/{served.port}")

        with answering(answer) as served:
            made.send(Request("GET", served.url, _SECRET)).close()
    assert served.seen[1].target == "/home"
    assert "authorization" not in served.seen[1].headers


def test_another_name_of_the_same_server_is_another_origin() -> None:
    def answer(seen: Seen) -> Reply:
        if seen.target == "/there":
            return Reply()
        return _to(f"http://127.0.0.1:{served.port}/there")

    with answering(answer) as served, transport() as made:
        made.send(Request("GET", served.url, _SECRET)).close()
    assert "authorization" not in served.seen[1].headers


def test_redirects_that_are_not_wanted_or_lead_nowhere() -> None:
    with (
        answering(lambda _: _to("/b")) as served,
        transport() as made,
        made.send(Request("GET", served.url, follow=False)) as response,
    ):
        assert response.status == 307
    with (
        answering(lambda _: Reply(302)) as served,
        transport() as made,
        made.send(Request("GET", served.url)) as response,
    ):
        assert response.status == 302


def test_loops_and_long_ways_end() -> None:
    def around(seen: Seen) -> Reply:
        return _to("/a?secret" if seen.target == "/b?secret" else "/b?secret")

    with answering(around) as served, transport() as made:
        with pytest.raises(ConnectionFailed, match="redirects in a loop") as caught:
            made.send(Request("GET", served.url + "/a?secret"))
        assert caught.value.failure is Failure.PROTOCOL
        assert "secret" not in str(caught.value)

    def onward(seen: Seen) -> Reply:
        return _to(f"/{int(seen.target[1:]) + 1}")

    with answering(onward) as served, transport() as made:
        with pytest.raises(ConnectionFailed, match="redirects more than 10 times"):
            made.send(Request("GET", served.url + "/1"))
        assert len(served.seen) == 11


@pytest.mark.parametrize(
    "location",
    [
        "http://user:secret@localhost/",
        "ftp://localhost/secret",
        "file:///etc/passwd",
        "http://[::1/secret",
        "http://registry.invalid/secret",
        "//registry.invalid:80/secret",
        "http:///secret",
        "http://a b/secret",
    ],
)
def test_targets_that_are_refused(location: str) -> None:
    with (
        answering(lambda _: _to(location)) as served,
        transport() as made,
        pytest.raises(ConnectionFailed) as caught,
    ):
        made.send(Request("GET", served.url))
    assert caught.value.failure is Failure.PROTOCOL
    assert "secret" not in str(caught.value)


def test_target_with_octets_that_are_not_ascii() -> None:
    def answer(seen: Seen) -> Reply:
        return _to("/\xc3\xa9 x?%41=%2f") if seen.target == "/a" else Reply()

    with (
        answering(answer) as served,
        transport() as made,
        made.send(Request("GET", served.url + "/a")) as response,
    ):
        assert response.status == 200
    assert served.seen[1].target.lower() == "/%c3%a9%20x?%41=%2f"


def test_never_from_https_to_http() -> None:
    start = Request("GET", "https://registry.invalid/a?secret")
    options = TransportOptions({}, hosts={"files.invalid": HostOptions(plain_http=True)})
    for target in ("http://other.invalid/", "http://registry.invalid/"):
        with pytest.raises(ConnectionFailed, match="not encrypted") as caught:
            Route(start, options).following(start, 302, target)
        assert "secret" not in str(caught.value)
    for target in ("https://localhost:8443/", "https://127.0.0.1/", "//[::1]/"):
        with pytest.raises(ConnectionFailed, match="this machine itself") as caught:
            Route(start, options).following(start, 302, target)
        assert "secret" not in str(caught.value)
    allowed = Route(start, options).following(start, 302, "http://files.invalid/b")
    assert allowed == start._replace(url="http://files.invalid/b")
