# SPDX-License-Identifier: Apache-2.0
"""Which proxy is used, what it is told, and what is said where it fails."""

import base64
import select
import socket
from io import BufferedIOBase
from ssl import PROTOCOL_TLS_SERVER, SSLContext, SSLSocket

import pytest

from certificates import Authority, Pair
from transport_servers import (
    Conversation,
    Reply,
    Seen,
    Served,
    Told,
    answering,
    conversing,
    read_head,
    reply,
    transport,
)
from wherry.errors import UsageError
from wherry.transport.errors import ConnectionFailed, Failure
from wherry.transport.model import HostOptions, Request
from wherry.transport.origins import parse_origin
from wherry.transport.proxies import proxy_for

_PLAIN = {"registry.invalid": HostOptions(plain_http=True)}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    return authority.issue("server", hosts=("registry.invalid", "localhost"))


def _tls(pair: Pair) -> SSLContext:
    context = SSLContext(PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    return context


def _tunnel(port: int) -> Conversation:
    """A proxy that knows CONNECT, and leads every name to `port` of this machine."""

    def converse(sock: socket.socket, incoming: BufferedIOBase, served: Served) -> None:
        head = read_head(incoming)
        if head is None:
            return
        served.seen.append(Seen(*head, b""))
        with socket.create_connection(("127.0.0.1", port)) as target:
            sock.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            while _relay(sock, target):
                pass

    return converse


def _relay(one: socket.socket, other: socket.socket) -> bool:
    """Pass on what has come, in one thread: sockets with TLS cannot be used by two at once."""
    held = isinstance(one, SSLSocket) and one.pending()
    ready = [one] if held else select.select([one, other], [], [], 10)[0]
    for source, target in ((one, other), (other, one)):
        if source in ready:
            data = source.recv(65536)
            target.sendall(data)
            if not data:
                return False
    return bool(ready)


def _ok(_seen: Seen) -> Reply:
    return Reply(200, (), b"ok")


def test_plain_http_is_asked_of_the_proxy() -> None:
    with answering(_ok) as proxy:
        env = {"http_proxy": f"http://us%40er:pass%3Aword@localhost:{proxy.port}"}
        with transport(env=env, hosts=_PLAIN) as made:
            for _ in range(2):
                headers = (("Accept", "a/b"),)
                request = Request("GET", "http://registry.invalid/v2/?n=1", headers)
                with made.send(request) as response:
                    assert response.read(10) == b"ok"
                    assert response.url == "http://registry.invalid/v2/?n=1"
        assert proxy.connections == 1
    seen = proxy.seen[0]
    assert seen.target == "http://registry.invalid/v2/?n=1"
    assert seen.headers["host"] == "registry.invalid"
    assert seen.headers["accept"] == "a/b"
    scheme, _, encoded = seen.headers["proxy-authorization"].partition(" ")
    assert (scheme, base64.b64decode(encoded)) == ("Basic", b"us@er:pass:word")


def test_https_goes_through_a_tunnel(authority: Authority, pair: Pair) -> None:
    with answering(_ok, _tls(pair)) as served, conversing(_tunnel(served.port)) as proxy:
        env = {"HTTPS_PROXY": f"http://user:secret@localhost:{proxy.port}"}
        with transport(env=env, ca_files=(authority.file,)) as made:
            for _ in range(2):
                with made.send(Request("GET", "https://registry.invalid/v2/")) as response:
                    assert response.read(10) == b"ok"
        assert proxy.connections == 1
    assert (proxy.seen[0].method, proxy.seen[0].target) == ("CONNECT", "registry.invalid:443")
    assert proxy.seen[0].headers["proxy-authorization"].startswith("Basic ")
    assert [seen.target for seen in served.seen] == ["/v2/", "/v2/"]
    assert "proxy-authorization" not in served.seen[0].headers


def test_tunnel_does_not_lower_trust(pair: Pair) -> None:
    with answering(_ok, _tls(pair)) as served, conversing(_tunnel(served.port)) as proxy:
        env = {"https_proxy": f"localhost:{proxy.port}"}
        with transport(env=env) as made, pytest.raises(ConnectionFailed) as caught:
            made.send(Request("GET", "https://registry.invalid/"))
    assert caught.value.failure is Failure.TLS
    assert caught.value.what == "the certificate of registry.invalid is not trusted"


def test_proxy_that_speaks_tls_itself(authority: Authority, pair: Pair) -> None:
    with answering(_ok, _tls(pair)) as proxy:
        env = {"http_proxy": f"https://localhost:{proxy.port}"}
        with (
            transport(env=env, hosts=_PLAIN, ca_files=(authority.file,)) as made,
            made.send(Request("GET", "http://registry.invalid/x")) as response,
        ):
            assert response.read(10) == b"ok"
        with (
            transport(Told(), env=env, hosts=_PLAIN) as made,
            pytest.raises(ConnectionFailed) as caught,
        ):
            made.send(Request("GET", "http://registry.invalid/x"))
    assert caught.value.failure is Failure.TLS
    assert caught.value.what.startswith(f"the certificate of the proxy localhost:{proxy.port}")
    assert [seen.target for seen in proxy.seen] == ["http://registry.invalid/x"]


def test_tls_inside_a_proxy_that_speaks_tls(authority: Authority, pair: Pair) -> None:
    data = bytes(range(256)) * 2000
    with (
        answering(lambda seen: Reply(200, (), seen.body), _tls(pair)) as served,
        conversing(_tunnel(served.port), _tls(pair)) as proxy,
    ):
        env = {"https_proxy": f"https://localhost:{proxy.port}"}
        with (
            transport(env=env, ca_files=(authority.file,)) as made,
            made.send(Request("PUT", "https://registry.invalid/", body=data)) as response,
        ):
            assert response.read(len(data)) == data


@pytest.mark.parametrize(
    ("answer", "failure", "says", "waits"),
    [
        (Reply(407), Failure.PROXY, "wants a user name and password", 0),
        (Reply(403), Failure.PROXY, "refuses to connect: it answers 403", 0),
        (Reply(502), Failure.PROXY, "refuses to connect: it answers 502", 2),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxy_that_refuses(
    answer: Reply, failure: Failure, says: str, waits: int, scheme: str
) -> None:
    def converse(sock: socket.socket, incoming: BufferedIOBase, _served: Served) -> None:
        read_head(incoming)
        reply(sock, answer)

    told = Told()
    with conversing(converse) as proxy:
        env = {"all_proxy": f"http://user:secret@localhost:{proxy.port}"}
        with transport(told, env=env, hosts=_PLAIN) as made:
            request = Request("GET", f"{scheme}://registry.invalid/?token=secret")
            if scheme == "http" and answer.status != 407:
                # As any answer of a host: a proxy does not tell them apart.
                made.send(request).close()
                return
            with pytest.raises(ConnectionFailed) as caught:
                made.send(request)
    assert caught.value.failure is failure
    assert caught.value.what == f"the proxy localhost:{proxy.port} {says}"
    assert "secret" not in str(caught.value) + "".join(told.texts)
    assert len(told.waits) == waits


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxy_that_is_not_there(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    told = Told()
    env = {f"{scheme}_proxy": f"http://user:secret@127.0.0.1:{port}"}
    with transport(told, env=env, hosts=_PLAIN) as made, pytest.raises(ConnectionFailed) as caught:
        made.send(Request("GET", f"{scheme}://registry.invalid/"))
    assert caught.value.failure is Failure.PROXY
    assert caught.value.what == f"cannot reach the proxy 127.0.0.1:{port}: connection refused"
    assert "NO_PROXY" in caught.value.hint
    assert "secret" not in str(caught.value) + "".join(told.texts)


def test_proxy_that_hangs_up_or_talks_nonsense() -> None:
    def converse(sock: socket.socket, incoming: BufferedIOBase, served: Served) -> None:
        read_head(incoming)
        if served.connections > 1:
            sock.sendall(b"nonsense\r\n\r\n")

    with conversing(converse) as proxy:
        env = {"https_proxy": f"http://localhost:{proxy.port}"}
        with transport(Told(), env=env) as made, pytest.raises(ConnectionFailed) as caught:
            made.send(Request("GET", "https://registry.invalid/"))
    assert proxy.connections == 2
    assert f"localhost:{proxy.port}" in caught.value.what


def test_this_machine_is_reached_without_a_proxy() -> None:
    env = {"http_proxy": "http://registry.invalid:1", "all_proxy": "http://registry.invalid:1"}
    with answering(_ok) as served, transport(env=env) as made:
        for host in ("localhost", "127.0.0.1", "a.localhost"):
            made.send(Request("GET", f"http://{host}:{served.port}/")).close()
        assert len(served.seen) == 3


_P = "http://p.invalid:80"


@pytest.mark.parametrize(
    ("url", "env", "proxy"),
    [
        ("https://r.invalid/", {}, None),
        ("https://r.invalid/", {"HTTPS_PROXY": "p.invalid"}, _P),
        ("https://r.invalid/", {"https_proxy": "https://P.invalid"}, "https://p.invalid:443"),
        ("https://r.invalid/", {"https_proxy": "p.invalid", "HTTPS_PROXY": "q.invalid"}, _P),
        ("https://r.invalid/", {"https_proxy": "", "HTTPS_PROXY": "q.invalid"}, None),
        ("https://r.invalid/", {"https_proxy": "", "all_proxy": "q.invalid"}, None),
        ("https://r.invalid/", {"http_proxy": "p.invalid"}, None),
        ("https://r.invalid/", {"ALL_PROXY": "http://u:p@p.invalid:3128"}, "http://p.invalid:3128"),
        ("https://r.invalid/", {"all_proxy": "http://[::2]:8"}, "http://[::2]:8"),
        ("http://r.invalid/", {"HTTP_PROXY": "p.invalid"}, _P),
        ("http://r.invalid/", {"HTTP_PROXY": "p.invalid", "REQUEST_METHOD": "GET"}, None),
        ("http://r.invalid/", {"http_proxy": "p.invalid", "REQUEST_METHOD": "GET"}, _P),
        ("https://r.invalid/", {"HTTPS_PROXY": "p.invalid", "REQUEST_METHOD": "GET"}, _P),
        ("https://localhost:5000/", {"https_proxy": "p.invalid"}, None),
        ("https://127.8.9.1/", {"https_proxy": "p.invalid"}, None),
        ("https://[::1]/", {"https_proxy": "p.invalid"}, None),
    ],
)
def test_choice_of_the_proxy(url: str, env: dict[str, str], proxy: str | None) -> None:
    found = proxy_for(parse_origin(url), env)
    assert (found.url if found else None) == proxy


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("*", "https://r.invalid/", True),
        ("invalid", "https://r.invalid/", True),
        ("r.invalid", "https://r.invalid/", True),
        ("r.invalid", "https://a.r.invalid/", True),
        ("r.invalid", "https://ar.invalid/", False),
        (".r.invalid", "https://a.r.invalid/", True),
        (".r.invalid", "https://r.invalid/", False),
        ("*.r.invalid", "https://a.r.invalid/", True),
        ("R.Invalid.", "https://r.invalid/", True),
        ("x.invalid, r.invalid", "https://r.invalid/", True),
        ("x.invalid r.invalid", "https://r.invalid/", True),
        ("r.invalid:443", "https://r.invalid/", True),
        ("r.invalid:5000", "https://r.invalid/", False),
        ("r.invalid:5000", "https://r.invalid:5000/", True),
        ("10.1.2.3", "https://10.1.2.3/", True),
        ("10.1.2.3:5000", "https://10.1.2.3/", False),
        ("10.1.2.3", "https://10.1.2.33/", False),
        ("10.0.0.0/8", "https://10.9.9.9:5000/", True),
        ("10.0.0.0/8", "https://11.9.9.9/", False),
        ("10.0.0.0/8", "https://r.invalid/", False),
        ("10.0.0.0/99", "https://10.9.9.9/", False),
        ("fd00::/8", "https://[fd00::5]/", True),
        ("[fd00::5]:443", "https://[fd00::5]/", True),
        ("fd00:0::5", "https://[fd00::5]/", True),
        ("", "https://r.invalid/", False),
        (" , ,", "https://r.invalid/", False),
        (".", "https://r.invalid/", False),
    ],
)
def test_exceptions(no_proxy: str, url: str, direct: bool) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        found = proxy_for(parse_origin(url), {"https_proxy": "p.invalid", name: no_proxy})
        assert (found is None) == direct


@pytest.mark.parametrize(
    "value",
    [
        "socks5://user:secret@p.invalid",
        "http://user:secret@",
        "http://user:secret@p.invalid:x",
        "http://user:secret@p.invalid:99999",
        "http://user:secret@[::1",
        "http://user:secret@p .invalid",
        "http://user:secret@p\N{EURO SIGN}.invalid",
    ],
)
def test_proxies_that_cannot_be_used(value: str) -> None:
    with pytest.raises(UsageError, match="the proxy in HTTPS_PROXY") as caught:
        proxy_for(parse_origin("https://r.invalid/"), {"HTTPS_PROXY": value})
    assert "secret" not in str(caught.value)


def test_credentials_do_not_show() -> None:
    env = {"https_proxy": "http://user:secret@p.invalid"}
    found = proxy_for(parse_origin("https://r.invalid/"), env)
    assert found is not None
    assert repr(found) == "Proxy('http://p.invalid:80')"
    assert base64.b64encode(b"user:secret").decode() in found.authorization
