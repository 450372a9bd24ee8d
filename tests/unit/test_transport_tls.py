# SPDX-License-Identifier: Apache-2.0
"""Who is trusted, and what is said where trust fails."""

import shutil
import socket
import ssl
import subprocess
import sys
from io import BufferedIOBase
from pathlib import Path

import pytest

from certificates import Authority, Pair
from transport_servers import (
    FileBody,
    Reply,
    Seen,
    Served,
    Told,
    answering,
    conversing,
    transport,
)
from wherry.errors import UsageError
from wherry.transport.errors import BodyCut, ConnectionFailed, Failure
from wherry.transport.model import HostOptions, Request, TransportOptions
from wherry.transport.tls import Trust

# Nothing of this machine's store counts, so that the tests are the same everywhere.
_BARE = {"SSL_CERT_FILE": "/dev/null", "SSL_CERT_DIR": "/nonexistent"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    return authority.issue("server")


def _server(pair: Pair, clients: str = "") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    return context


def _ok(_seen: Seen) -> Reply:
    return Reply(200, (), b"ok")


def test_authority_is_trusted_only_where_given(authority: Authority, pair: Pair) -> None:
    told = Told()
    with answering(_ok, _server(pair)) as served:
        with transport(env=_BARE, ca_files=(authority.file,)) as made:
            for _ in range(2):
                with made.send(Request("GET", served.url)) as response:
                    assert response.read(10) == b"ok"
        assert served.connections == 1
        host = HostOptions(ca_files=(authority.file,))
        with transport(env=_BARE, hosts={f"localhost:{served.port}": host}) as made:
            made.send(Request("GET", served.url)).close()
        with (
            transport(told, env=_BARE, hosts={"localhost": host}) as made,
            pytest.raises(ConnectionFailed) as caught,
        ):
            made.send(Request("GET", served.url + "/?token=secret"))
    assert caught.value.failure is Failure.TLS
    assert caught.value.what == f"the certificate of localhost:{served.port} is not trusted"
    assert "--ca FILE" in caught.value.hint
    assert "[registry] ca" in caught.value.hint
    assert "secret" not in str(caught.value)
    assert told.waits == []


def test_environment_names_file_or_directory(
    authority: Authority, pair: Pair, tmp_path: Path
) -> None:
    plain, hashed = tmp_path / "plain", tmp_path / "hashed"
    for directory in (plain, hashed):
        directory.mkdir()
    (plain / "README").write_text("no certificate")
    shutil.copy(authority.file, plain / "ours.pem")
    asked = ["openssl", "x509", "-in", authority.file, "-noout", "-hash"]
    name = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    shutil.copy(authority.file, hashed / f"{name}.0")
    with answering(_ok, _server(pair)) as served:
        for env in (
            {**_BARE, "SSL_CERT_FILE": authority.file},
            {**_BARE, "SSL_CERT_DIR": str(plain)},
            {**_BARE, "SSL_CERT_DIR": f"/nonexistent:{hashed}"},
        ):
            with transport(env=env) as made:
                made.send(Request("GET", served.url)).close()
        assert len(served.seen) == 3


def test_environment_of_the_process_is_not_read(authority: Authority, pair: Pair) -> None:
    code = (
        "import sys; from wherry.process.cancel import CancelToken\n"
        "from wherry.transport.http import Transport\n"
        "from wherry.transport.model import Request, TransportOptions\n"
        "env = {'SSL_CERT_FILE': '/dev/null', 'SSL_CERT_DIR': '/nonexistent'}\n"
        "with Transport(TransportOptions(env), CancelToken()) as made:\n"
        "    try: made.send(Request('GET', sys.argv[1]))\n"
        "    except Exception as error: print(error.failure)\n"
    )
    outer = {
        "SSL_CERT_FILE": authority.file,
        "HTTPS_PROXY": "http://localhost:1",
        "ALL_PROXY": "http://localhost:1",
    }
    with answering(_ok, _server(pair)) as served:
        done = subprocess.run(
            [sys.executable, "-c", code, served.url],
            env=outer, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    assert (done.stdout, done.stderr) == ("tls\n", "")


@pytest.mark.parametrize(
    ("hosts", "days", "what"),
    [
        (("localhost",), -1, "has expired"),
        (("registry.invalid", "127.0.0.1"), 2, "is for another name"),
    ],
)
def test_certificate_that_does_not_hold(
    authority: Authority, hosts: tuple[str, ...], days: int, what: str
) -> None:
    bad = authority.issue(f"bad{days}", hosts=hosts, days=days)
    with (
        answering(_ok, _server(bad)) as served,
        transport(env=_BARE, ca_files=(authority.file,)) as made,
    ):
        with pytest.raises(ConnectionFailed) as caught:
            made.send(Request("GET", served.url))
        assert served.seen == []
    assert caught.value.failure is Failure.TLS
    assert caught.value.what == f"the certificate of localhost:{served.port} {what}"
    assert caught.value.hint


def test_addresses_are_compared_too(authority: Authority, pair: Pair) -> None:
    named = authority.issue("named", hosts=("localhost",))
    with transport(env=_BARE, ca_files=(authority.file,)) as made:
        with answering(_ok, _server(pair)) as served:
            made.send(Request("GET", f"https://127.0.0.1:{served.port}/")).close()
        with answering(_ok, _server(named)) as served, pytest.raises(ConnectionFailed) as caught:
            made.send(Request("GET", f"https://127.0.0.1:{served.port}/"))
    assert "another name" in caught.value.what


def test_own_certificate_as_authority(tmp_path: Path) -> None:
    key, file = str(tmp_path / "key"), str(tmp_path / "own.pem")
    made_by = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    made_by += ["-nodes", "-days", "2", "-subj", "/CN=own", "-keyout", key, "-out", file]
    made_by += ["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=CA:false"]
    subprocess.run(made_by, check=True, capture_output=True)
    with (
        answering(_ok, _server(Pair(file, key))) as served,
        transport(env=_BARE, ca_files=(file,)) as made,
        made.send(Request("GET", served.url)) as response,
    ):
        assert response.status == 200


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_client_certificate(authority: Authority, pair: Pair, version: ssl.TLSVersion) -> None:
    context = _server(pair, clients=authority.file)
    context.minimum_version = context.maximum_version = version
    client = authority.issue("client")
    both = Path(client.certificate + ".both")
    both.write_text(Path(client.certificate).read_text() + Path(client.key).read_text())
    with answering(_ok, context) as served:
        for shown in (
            HostOptions(client_certificate=client.certificate, client_key=client.key),
            HostOptions(client_certificate=str(both)),
        ):
            hosts = {f"localhost:{served.port}": shown}
            with transport(env=_BARE, ca_files=(authority.file,), hosts=hosts) as made:
                made.send(Request("GET", served.url)).close()
        for body in (None, FileBody(b"x" * 5_000_000)):
            with (
                transport(Told(), env=_BARE, ca_files=(authority.file,)) as made,
                pytest.raises(ConnectionFailed) as caught,
            ):
                made.send(Request("PUT", served.url, body=body))
            assert caught.value.failure in (Failure.TLS, Failure.RESET)
            if body is None and version is ssl.TLSVersion.TLSv1_3:
                assert "asks for a client certificate" in caught.value.what
        assert len(served.seen) == 2


def test_plain_server_asked_for_tls() -> None:
    def converse(sock: socket.socket, _incoming: BufferedIOBase, _served: Served) -> None:
        sock.recv(5000)
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

    told = Told()
    with (
        conversing(converse) as served,
        transport(told, env=_BARE) as made,
        pytest.raises(ConnectionFailed) as caught,
    ):
        made.send(Request("GET", f"https://localhost:{served.port}/"))
    assert caught.value.failure is Failure.TLS
    assert "does not speak TLS" in caught.value.what
    assert f'"localhost:{served.port}" to `[registry] insecure`' in caught.value.hint
    assert told.waits == []


def test_tls_server_asked_for_plain(pair: Pair) -> None:
    with (
        answering(_ok, _server(pair)) as served,
        transport(Told()) as made,
        pytest.raises(ConnectionFailed) as caught,
    ):
        made.send(Request("GET", f"http://localhost:{served.port}/"))
    assert caught.value.failure in (Failure.PROTOCOL, Failure.RESET)


def test_old_tls_is_refused(authority: Authority, pair: Pair) -> None:
    context = _server(pair)
    with pytest.warns(DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with (
        answering(_ok, context) as served,
        transport(env=_BARE, ca_files=(authority.file,)) as made,
        pytest.raises(ConnectionFailed) as caught,
    ):
        made.send(Request("GET", served.url))
    assert caught.value.failure is Failure.TLS


def test_server_that_goes_away_in_the_handshake_is_tried_again(
    authority: Authority, pair: Pair
) -> None:
    context = _server(pair)

    def converse(sock: socket.socket, _incoming: BufferedIOBase, served: Served) -> None:
        if served.connections < 2:
            return
        with context.wrap_socket(sock, server_side=True) as secure:
            secure.recv(5000)
            secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            secure.recv(1)

    told = Told()
    with (
        conversing(converse) as served,
        transport(told, env=_BARE, ca_files=(authority.file,)) as made,
        made.send(Request("GET", f"https://localhost:{served.port}/")) as response,
    ):
        assert response.read(5) == b"ok"
    assert told.waits == [0.5]


def test_bodies_through_tls(authority: Authority, pair: Pair) -> None:
    data = bytes(range(256)) * 20_000
    with answering(lambda seen: Reply(200, (), seen.body), _server(pair)) as served:
        with transport(env=_BARE, ca_files=(authority.file,)) as made:
            with made.send(Request("PUT", served.url, body=FileBody(data))) as response:
                assert response.read(len(data)) == data
            with made.send(Request("PUT", served.url, body=b"x")) as response:
                assert response.read(10) == b"x"
        assert served.connections == 1


def test_early_answer_and_cut_body_through_tls(authority: Authority, pair: Pair) -> None:
    def converse(sock: socket.socket, incoming: BufferedIOBase, served: Served) -> None:
        served.seen.append(Seen("", "", {}, incoming.read(20)))
        if served.connections == 1:
            sock.sendall(b"HTTP/1.1 413 X\r\nContent-Length: 4\r\n\r\nlong")
            incoming.read(100_000)
        else:
            sock.sendall(b"HTTP/1.1 200 X\r\nContent-Length: 4\r\n\r\nlo")

    with (
        conversing(converse, _server(pair)) as served,
        transport(env=_BARE, ca_files=(authority.file,)) as made,
    ):
        body = FileBody(b"x" * 30_000_000)
        with made.send(Request("PUT", served.url, body=body)) as response:
            assert (response.status, response.read(9)) == (413, b"long")
        with (
            made.send(Request("GET", served.url)) as response,
            pytest.raises(BodyCut, match="2 of 4 bytes"),
        ):
            response.read(9)


@pytest.mark.parametrize("content", [None, "", "no certificate", "-----BEGIN CERTIFICATE-----\nx"])
def test_ca_file_that_cannot_be_used(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    for options in (
        {"ca_files": (str(path),)},
        {"hosts": {"registry.invalid": HostOptions(ca_files=(str(path),))}},
    ):
        with transport(**options) as made, pytest.raises(UsageError) as caught:
            made.send(Request("GET", "https://registry.invalid/"))
        assert str(path) in caught.value.what
        assert caught.value.why
        assert caught.value.hint


def test_client_certificate_that_cannot_be_used(
    authority: Authority, pair: Pair, tmp_path: Path
) -> None:
    locked = str(tmp_path / "locked.key")
    lock = ["openssl", "ec", "-in", pair.key, "-aes128", "-passout", "pass:x", "-out", locked]
    subprocess.run(lock, check=True, capture_output=True)
    other = authority.issue("other")
    for certificate, key, says in (
        ("/nonexistent.pem", "", "cannot be read"),
        (pair.certificate, "/nonexistent.key", "cannot be read"),
        (pair.certificate, "", "cannot be used"),
        (pair.certificate, other.key, "cannot be used"),
        (pair.certificate, locked, "is encrypted"),
    ):
        hosts = {"registry.invalid": HostOptions(client_certificate=certificate, client_key=key)}
        with transport(hosts=hosts) as made, pytest.raises(UsageError, match=says) as caught:
            made.send(Request("GET", "https://registry.invalid/"))
        assert (key if "locked" in key else certificate) in str(caught.value)


def test_the_machine_has_some_certificates() -> None:
    context = Trust(TransportOptions({})).context(HostOptions())
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.get_ca_certs()


def test_certificates_without_a_system_store() -> None:
    context = Trust(TransportOptions(_BARE)).context(HostOptions())
    # /dev/null and a directory that is not there hold nothing, so certifi's bundle is read.
    assert len(context.get_ca_certs()) > 50
