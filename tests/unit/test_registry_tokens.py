# SPDX-License-Identifier: Apache-2.0
"""Requests that prove who the user is: tokens in both flows, Basic, and servers that misbehave."""

import io
import json
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from token_server import Asked, Guard, Raw, TokenServer, error_body
from wherry.errors import MachineError, NetworkError, UsageError, WherryError
from wherry.process.cancel import CancelToken
from wherry.registry.auth import Authorizer
from wherry.registry.credential import Credential
from wherry.registry.denial import Denied
from wherry.registry.model import Scope
from wherry.registry.problems import Refused, printable, refused
from wherry.registry.tokens import BearerService, get_request, post_request, scopes_of
from wherry.transport.http import Response, Transport
from wherry.transport.model import HostOptions, Request, TransportOptions

SECRET = "hunter2-s3cr3t"
BOB = Credential("bob", SECRET)


class Keys:
    """A keyring of the test's: credentials by registry, or an error."""

    def __init__(self, found: Credential | WherryError | None = None) -> None:
        self.found = found
        self.asked: list[tuple[str, str]] = []

    def find(self, registry: str, repository: str) -> Credential | None:
        self.asked.append((registry, repository))
        if isinstance(self.found, WherryError):
            raise self.found
        return self.found


class Clock:
    """A wall clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def transport() -> Iterator[Transport]:
    with Transport(TransportOptions({}, retries=0), CancelToken()) as made:
        yield made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(clock: Clock) -> Iterator[TokenServer]:
    with TokenServer({"bob": SECRET}, clock=clock) as server:
        yield server


@pytest.fixture
def guard(tokens: TokenServer) -> Iterator[Guard]:
    with Guard(tokens) as registry:
        yield registry


Ask = Callable[..., Response]


class Client:
    """An authorizer for one guarded registry."""

    def __init__(self, transport: Transport, guard: Guard, clock: Clock, keys: Keys) -> None:
        self.authorizer = Authorizer(transport, keys, clock)
        self.guard = guard
        self.keys = keys

    def scope(self, *actions: str, name: str = "team/app", mounted_from: str = "") -> Scope:
        return Scope(self.guard.origin, self.guard.host, name, actions or ("pull",), mounted_from)

    def get(self, *actions: str, name: str = "team/app", mounted_from: str = "") -> int:
        request = Request("GET", f"{self.guard.origin}/v2/{name}/manifests/1")
        scope = self.scope(*actions, name=name, mounted_from=mounted_from)
        with self.authorizer.send(request, scope) as response:
            return response.status

    def put(self, body: object = b"{}", name: str = "team/app", mounted_from: str = "") -> int:
        request = Request("PUT", f"{self.guard.origin}/v2/{name}/manifests/1", body=body)  # type: ignore[arg-type]
        scope = self.scope("pull", "push", name=name, mounted_from=mounted_from)
        with self.authorizer.send(request, scope) as response:
            return response.status

    def refusal(self, kind: type[WherryError], do: Callable[[], int]) -> str:
        """The text of the error, and nothing secret in it or in what a traceback shows."""
        with pytest.raises(kind) as caught:
            do()
        shown = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
        tokens = self.guard.tokens.tokens if self.guard.tokens else ()
        for secret in (*BOB.secrets, *tokens):
            assert secret not in shown
        return str(caught.value)


@pytest.fixture
def client(transport: Transport, guard: Guard, clock: Clock) -> Callable[..., Client]:
    def make(found: Credential | WherryError | None = None) -> Client:
        return Client(transport, guard, clock, Keys(found))

    return make


Make = Callable[..., Client]


# The flows


def test_an_anonymous_pull_gets_a_token_without_credentials(
    client: Make, tokens: TokenServer, guard: Guard
) -> None:
    assert client().get() == 200
    (asked,) = tokens.asked
    assert asked[:6] == ("GET", "", ("repository:team/app:pull",), "tokens.test", "", "")
    assert [seen.scheme for seen in guard.seen] == ["", "Bearer"]


def test_a_user_gets_a_token_by_basic(client: Make, tokens: TokenServer) -> None:
    assert client(BOB).put() == 200
    (asked,) = tokens.asked
    assert asked[:5] == ("GET", "bob", ("repository:team/app:pull,push",), "tokens.test", "bob")
    assert SECRET not in asked.path


def test_an_identity_token_is_posted(client: Make, tokens: TokenServer) -> None:
    tokens.identity_tokens[SECRET] = "bob"
    tokens.field = "access_token"
    assert client(Credential(identity_token=SECRET)).put(mounted_from="team/base") == 200
    (asked,) = tokens.asked
    scopes = ("repository:team/app:pull,push", "repository:team/base:pull")
    assert asked == Asked("POST", "bob", scopes, "tokens.test", "", "refresh_token", "/token")


def test_a_server_without_the_post_flow_is_asked_by_get(client: Make, tokens: TokenServer) -> None:
    tokens.post = False
    tokens.users["<token>"] = SECRET
    assert client(Credential(identity_token=SECRET)).put() == 200
    assert [(asked.method, asked.user) for asked in tokens.asked] == [("GET", "<token>")]


def test_a_registry_token_goes_to_the_registry_itself(
    client: Make, tokens: TokenServer, guard: Guard
) -> None:
    bob = client(BOB)
    bob.get()
    (granted,) = tokens.tokens
    tokens.asked.clear()
    assert client(Credential(registry_token=granted)).get() == 200
    assert tokens.asked == []


def test_basic_is_answered_with_the_password(transport: Transport, clock: Clock) -> None:
    with Guard(users={"bob": SECRET}) as guard:
        bob = Client(transport, guard, clock, Keys(BOB))
        assert (bob.get(), bob.put()) == (200, 200)
        assert [seen.scheme for seen in guard.seen] == ["", "Basic", "Basic"]
        anonymous = Client(transport, guard, clock, Keys())
        assert "anonymously" in anonymous.refusal(Denied, anonymous.get)
        wrong = Client(transport, guard, clock, Keys(Credential("eve", "wrong")))
        assert "asked as user eve" in wrong.refusal(Denied, wrong.get)


def test_of_basic_and_bearer_the_token_is_taken(
    client: Make, tokens: TokenServer, guard: Guard
) -> None:
    guard.challenge = f'Basic realm="x", {tokens.challenge}'
    assert client(BOB).get() == 200
    assert [seen.scheme for seen in guard.seen] == ["", "Bearer"]


def test_a_registry_that_wants_nothing_gets_nothing(transport: Transport, clock: Clock) -> None:
    with Guard(users={}) as guard:
        guard._problem = lambda handler, value: ""  # type: ignore[method-assign]
        bob = Client(transport, guard, clock, Keys(BOB))
        assert bob.get() == 200
        assert bob.keys.asked == []
        assert [seen.scheme for seen in guard.seen] == [""]


def test_statuses_other_than_401_and_403_are_the_callers(client: Make, guard: Guard) -> None:
    guard.raw = Raw(404, error_body("MANIFEST_UNKNOWN", "unknown"))
    assert client().get() == 404
    guard.raw = Raw(500, b"")
    assert client().get() == 500


class Pieces:
    """A body that counts how often it was opened."""

    size = 5

    def __init__(self) -> None:
        self.opened = 0

    def open(self, offset: int) -> BinaryIO:
        self.opened += 1
        return io.BytesIO(b"bytes"[offset:])


def test_a_body_is_sent_again_whole(client: Make, guard: Guard) -> None:
    body = Pieces()
    assert client(BOB).put(body) == 200
    assert guard.bodies == [b"bytes", b"bytes"]
    assert body.opened == 2


# The cache


def test_a_second_request_carries_the_token_at_once(
    client: Make, tokens: TokenServer, guard: Guard
) -> None:
    bob = client(BOB)
    assert [bob.get("pull", "push"), bob.get(), bob.put(), bob.get("push", "pull")] == [200] * 4
    assert len(tokens.asked) == 1
    assert [seen.scheme for seen in guard.seen] == ["", *["Bearer"] * 4]


def test_another_scope_is_asked_for_without_another_401(
    client: Make, tokens: TokenServer, guard: Guard
) -> None:
    bob = client(BOB)
    bob.get()
    bob.put()
    bob.get(name="team/other")
    assert [asked.scopes for asked in tokens.asked] == [
        ("repository:team/app:pull",),
        ("repository:team/app:pull,push",),
        ("repository:team/other:pull",),
    ]
    assert [seen.scheme for seen in guard.seen] == ["", "Bearer", "Bearer", "Bearer"]


def test_a_token_for_a_mount_serves_what_needs_none(client: Make, tokens: TokenServer) -> None:
    bob = client(BOB)
    bob.put(mounted_from="team/base")
    bob.put()
    bob.get()
    bob.put(mounted_from="team/base")
    assert len(tokens.asked) == 1
    bob.put(mounted_from="team/other")
    assert len(tokens.asked) == 2


@pytest.mark.parametrize(("expires_in", "good", "renewed"), [
    (300, 289, 291), (None, 49, 51), (4, 2, 3.5), (0, 49, 51), (-5, 49, 51), ("300", 49, 51),
    (True, 49, 51), (10**30, 80_000, 8 * 86400)])  # fmt: skip
def test_a_token_is_renewed_before_it_expires(
    client: Make, tokens: TokenServer, guard: Guard, clock: Clock, expires_in: object,
    good: float, renewed: float,
) -> None:  # fmt: skip
    tokens.expires_in, tokens.life = expires_in, 1e9
    bob, began = client(BOB), clock.now
    bob.get()
    clock.now = began + good
    bob.get()
    assert len(tokens.asked) == 1
    clock.now = began + renewed
    bob.get()
    assert len(tokens.asked) == 2
    assert [seen.scheme for seen in guard.seen] == ["", *["Bearer"] * 3]


@pytest.mark.parametrize(("issued", "good"), [
    ("-200", 80), ("+500", 280), ("-5000", 280), ("rubbish", 280), ("", 280)])  # fmt: skip
def test_issued_at_counts_where_it_makes_sense(
    client: Make, tokens: TokenServer, clock: Clock, issued: str, good: float
) -> None:
    tokens.expires_in, tokens.life = 300, 1e9
    # The server's own clock is what its Date header shows: the real time.
    when = time.time() + int(issued) if issued[:1] in ("+", "-") else 0
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S.123456789Z", time.gmtime(when))
    tokens.issued_at = stamp if when else issued
    bob = client(BOB)
    bob.get()
    clock.now += good
    bob.get()
    assert len(tokens.asked) == 1
    clock.now += 20
    bob.get()
    assert len(tokens.asked) == 2


def test_a_token_that_the_registry_no_longer_takes_is_replaced_once(
    client: Make, tokens: TokenServer, guard: Guard
) -> None:
    bob = client(BOB)
    bob.get()
    tokens.revoke()
    assert bob.get() == 200
    assert len(tokens.asked) == 2
    assert [seen.scheme for seen in guard.seen] == ["", "Bearer", "Bearer", "Bearer"]
    tokens.life = 0
    tokens.revoke()
    assert "not allowed to pull" in bob.refusal(Denied, bob.get)
    assert len(tokens.asked) == 3


def test_tokens_that_end_together_are_all_replaced(client: Make, tokens: TokenServer) -> None:
    # One for each mount: whichever is tried, the others are void, too.
    bob = client(BOB)
    for other in ("team/base", "team/other", "team/third"):
        assert bob.put(mounted_from=other) == 200
    assert len(tokens.asked) == 3
    tokens.revoke()
    assert bob.put() == 200
    assert len(tokens.asked) == 4


def test_who_asks_at_once_shares_one_token(client: Make, tokens: TokenServer) -> None:
    bob = client(BOB)
    tokens.before = lambda: time.sleep(0.2)
    together = threading.Barrier(8)
    statuses: list[int] = []

    def ask() -> None:
        together.wait()
        statuses.append(bob.get())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 8
    assert len(tokens.asked) == 1


def test_a_failure_reaches_all_who_wait_and_is_not_kept(
    client: Make, tokens: TokenServer, guard: Guard
) -> None:
    bob = client(BOB)
    tokens.raw = Raw(500, b"")

    def hold() -> None:
        end = time.monotonic() + 20
        while len(guard.seen) < 4 and time.monotonic() < end:
            time.sleep(0.01)
        # All have their 401 now, and are about to ask for a token.
        time.sleep(0.5)

    tokens.before = hold
    failures: list[str] = []

    def ask() -> None:
        with pytest.raises(Refused) as caught:
            bob.get()
        failures.append(str(caught.value))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failures) == 4
    assert len(tokens.asked) == 1
    tokens.before, tokens.raw = lambda: None, None
    assert bob.get() == 200


# Denied


def test_a_denial_says_what_who_why_and_what_next(client: Make, tokens: TokenServer) -> None:
    tokens.allowed = lambda user, name, action: user == "bob" and action == "pull"
    anonymous = client()
    text = anonymous.refusal(Denied, anonymous.get)
    host = anonymous.guard.host
    assert text.startswith(f"not allowed to pull {host}/team/app\nasked anonymously\n")
    assert f"{host} answers 401 (unauthorized): UNAUTHORIZED: insufficient scope" in text
    assert f"`wherry login {host}`" in text
    assert "what does not exist" in text
    bob = client(BOB)
    text = bob.refusal(Denied, bob.put)
    assert text.startswith(f"not allowed to push to {host}/team/app\nasked as user bob\n")


def test_a_403_is_a_denial(client: Make, guard: Guard) -> None:
    guard.raw = Raw(403, error_body("DENIED", "requested access is denied"))
    bob = client(BOB)
    text = bob.refusal(Denied, bob.put)
    assert "403 (forbidden): DENIED: requested access is denied" in text
    assert [seen.scheme for seen in guard.seen] == ["", "Bearer"]


def test_a_token_server_that_denies_is_quoted(client: Make, tokens: TokenServer) -> None:
    wrong = client(Credential("bob", "old-password"))
    text = wrong.refusal(Denied, wrong.get)
    assert f"{tokens.host} answers 401 (unauthorized): incorrect username or password" in text
    assert "old-password" not in text
    token = client(Credential(identity_token="old-identity"))
    text = token.refusal(Denied, token.get)
    assert "asked with a stored token" in text
    assert "invalid_grant: unknown identity token" in text


def test_a_server_that_repeats_secrets_is_not_quoted_with_them(
    client: Make, tokens: TokenServer, guard: Guard
) -> None:
    bob = client(BOB)
    echo = f"user bob, password {SECRET}, Basic {BOB.basic()}, https://bob:{SECRET}@x/y"
    tokens.raw = Raw(403, json.dumps({"details": echo}).encode())
    assert "password xxxxx" in bob.refusal(Denied, bob.get)
    tokens.raw = None
    bob.get()
    guard.raw = Raw(403, error_body("DENIED", f"{tokens.tokens[0]} and {BOB.basic()} and {SECRET}"))
    assert "xxxxx and" in bob.refusal(Denied, bob.get)


def test_words_of_strangers_are_one_bounded_line() -> None:
    assert printable("a\x1b[31m\r\nb\u202ec\0") == "a [31m b c"
    assert len(printable("x" * 100_000)) == 300
    assert printable("see https://cdn.example/x?sig=abc&y=1 now") == (
        "see https://cdn.example/x?xxxxx now")  # fmt: skip
    assert printable("Authorization: Bearer abcdefghijkl.mnop") == "Authorization: Bearer xxxxx"
    assert printable("Basic authentication") == "Basic xxxxx"
    assert printable("got eyJhbGciOiJFUzI1NiIs.eyJhY2Nlc3Mi.abc") == "got xxxxx"


def test_a_rate_limit_says_how_long_and_that_a_login_helps(client: Make, guard: Guard) -> None:
    anonymous = client()
    anonymous.get()
    guard.raw = Raw(
        429,
        error_body("TOOMANYREQUESTS", "You have reached your pull rate limit."),
        (("Retry-After", "3600"), ("RateLimit-Limit", "100;w=21600"),
         ("RateLimit-Remaining", "0;w=21600")),
    )  # fmt: skip
    request = Request("GET", f"{guard.origin}/v2/team/app/manifests/1", retry=False)
    response = anonymous.authorizer.send(request, anonymous.scope())
    error = refused("cannot pull it", response)
    assert (error.status, error.codes) == (429, ("TOOMANYREQUESTS",))
    text = str(error)
    assert "429 (too many requests): TOOMANYREQUESTS: You have reached" in text
    assert "it allows 100 requests in 6 h; it says to wait 60 min" in text
    assert f"`wherry login {guard.host}`" in text


@pytest.mark.parametrize(("body", "words"), [
    (b"", ""), (b"<html>no</html>", ""), (b"[]", ""), (b"null", ""), (b"[" * 60_000, ""),
    (b'{"errors": 5}', ""), (b'{"errors": [5, null, {}]}', ""), (b'{"errors": [{"code": 5}]}', ""),
    (b'{"errors": [{"code": "A"}, {"message": "b"}, {"code": "C", "message": "d", "detail": "e"}]}',
     ": A; b; C: d (e)"),
    (b'{"message": "m"}', ": m"), (b'{"x": 1' + b"0" * 5000 + b"}", ""),
    (b'{"errors": [' + b",".join([b'{"code": "A"}'] * 50) + b"]}", ": A; A; A; A; A"),
])  # fmt: skip
def test_any_error_body_gives_an_error(client: Make, guard: Guard, body: bytes, words: str) -> None:
    anonymous = client()
    guard.raw = Raw(418, body)
    request = Request("GET", f"{guard.origin}/v2/team/app/manifests/1")
    error = refused("it", anonymous.authorizer.send(request, anonymous.scope()))
    assert error.why == f"{guard.host} answers 418 (i'm a teapot){words}"


def test_a_huge_error_body_is_not_read_whole(client: Make, guard: Guard) -> None:
    anonymous = client()
    guard.raw = Raw(400, b'{"errors": "' + b"x" * 5_000_000)
    request = Request("GET", f"{guard.origin}/v2/team/app/manifests/1")
    error = refused("it", anonymous.authorizer.send(request, anonymous.scope()))
    assert len(str(error)) < 200


# Answers of token servers


USELESS = {
    "no JSON": (Raw(200, f"<{SECRET}>".encode()), "not JSON"),
    "a list": (Raw(200, b"[]"), "no JSON object"),
    "no token": (Raw(200, b'{"expires_in": 300}'), "holds no token"),
    "an empty token": (Raw(200, b'{"token": ""}'), "holds no token"),
    "a number": (Raw(200, b'{"token": 5}'), "holds no token"),
    "another header in it": (Raw(200, b'{"token": "a\\r\\nX-Evil: 1"}'), "cannot stand"),
    "a letter no header takes": (Raw(200, '{"token": "ä"}'.encode()), "cannot stand"),
    "a token without end": (Raw(200, b'{"token": "%s"}' % (b"a" * 70_000)), "cannot stand"),
    "a huge answer": (Raw(200, b'{"token": "%s"}' % (b"a" * 2_000_000)), "longer than 1 MiB"),
    "deeply nested": (Raw(200, b"[" * 500_000), "not JSON"),
    "nothing": (Raw(200, b""), "not JSON"),
    "another success": (Raw(204, b""), "answers 204"),
    "an error": (Raw(503, b"busy", (("Content-Type", "text/plain"),)), "answers 503 "),
    "not there": (Raw(404, b""), "answers 404"),
    "too many": (Raw(429, error_body("TOOMANYREQUESTS", "slow")), "TOOMANYREQUESTS: slow"),
}


@pytest.mark.parametrize("name", USELESS)
def test_a_useless_answer_of_a_token_server_is_an_error(
    client: Make, tokens: TokenServer, name: str
) -> None:
    tokens.raw, expected = USELESS[name]
    bob = client(BOB)
    text = bob.refusal(NetworkError, bob.get)
    assert expected in text
    assert tokens.host in text


def test_a_token_server_that_is_not_there_is_named(client: Make, guard: Guard) -> None:
    with TokenServer() as gone:
        guard.challenge = f'Bearer realm="{gone.realm}"'
    bob = client(BOB)
    assert gone.host in bob.refusal(NetworkError, bob.get)


@pytest.mark.parametrize(("credential", "code"), [
    (BOB, 302), (BOB, 307), (Credential(identity_token=SECRET), 302),
    (Credential(identity_token=SECRET), 307), (Credential(identity_token=SECRET), 308),
])  # fmt: skip
def test_a_redirect_of_the_token_server_carries_no_secret(
    client: Make, tokens: TokenServer, credential: Credential, code: int
) -> None:
    with Guard(users={"nobody": "x"}) as thief:
        tokens.raw = Raw(code, b"", (("Location", f"{thief.origin}/v2/x"),))
        bob = client(credential)
        bob.refusal(NetworkError, bob.get)
        assert all(seen.scheme == "" for seen in thief.seen)
        assert all(SECRET.encode() not in body for body in thief.bodies)


# Challenges that must not be followed


BAD_CHALLENGES = {
    "none": ("", "not allowed to pull"),
    "an unknown scheme": ("Negotiate, Digest realm=x", "a login by negotiate, digest"),
    "no realm": ('Bearer service="x"', "no realm"),
    "plain HTTP elsewhere": ('Bearer realm="http://tokens.example.com/t"', "not encrypted"),
    "a file": ('Bearer realm="file:///etc/passwd"', "neither https"),
    "no URL": ('Bearer realm="tokens"', "neither https"),
    "a user in it": ('Bearer realm="https://a:b@tokens.example.com/t"', "user name or password"),
    "a line break": ('Bearer realm="https://tokens.example.com/ X"', "characters"),
    "a bad port": ('Bearer realm="https://tokens.example.com:99999/"', "malformed"),
}


@pytest.mark.parametrize("name", BAD_CHALLENGES)
def test_a_bad_challenge_gets_no_credentials(client: Make, guard: Guard, name: str) -> None:
    guard.challenge, expected = BAD_CHALLENGES[name]
    bob = client(BOB)
    assert expected in bob.refusal(NetworkError, bob.get)
    assert [seen.scheme for seen in guard.seen] == [""]


def test_where_the_token_server_cannot_be_used_basic_is(transport: Transport, clock: Clock) -> None:
    with Guard(users={"bob": SECRET}) as guard:
        guard.challenge = 'Bearer realm="http://tokens.example.com/t", Basic realm="x"'
        assert Client(transport, guard, clock, Keys(BOB)).get() == 200


class Recorded:
    """A sender that answers from a list, and keeps what it was asked."""

    def __init__(self, *answers: "Canned") -> None:
        self.answers = list(answers)
        self.requests: list[Request] = []

    def send(self, request: Request) -> Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        answer.url = answer.url or request.url
        return answer  # type: ignore[return-value] # as much of one as is needed here


class Canned:
    """An answer without a server."""

    def __init__(self, status: int, body: bytes = b"", url: str = "", **headers: str) -> None:
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.url = url
        self._body = io.BytesIO(body)

    def __enter__(self) -> "Canned":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        pass

    def read(self, limit: int) -> bytes:
        return self._body.read(limit)

    def readinto(self, buffer: memoryview) -> int:
        return self._body.readinto(buffer)


def authorization(request: Request) -> str:
    return next((value for name, value in request.headers if name == "Authorization"), "")


def ask(sender: Recorded, keys: Keys, url: str, plain: frozenset[str] = frozenset()) -> int:
    origin = "/".join(url.split("/")[:3])
    authorizer = Authorizer(sender, keys, Clock(), plain)
    scope = Scope(origin, origin.partition("://")[2], "team/app", ("pull",))
    return authorizer.send(Request("GET", url), scope).status


def test_credentials_do_not_go_over_plain_http_unless_the_settings_say_so() -> None:
    url = "http://reg.test:5000/v2/team/app/manifests/1"
    for challenge in ("Basic", 'Bearer realm="http://reg.test:5000/t"'):
        sender = Recorded(Canned(401, www_authenticate=challenge))
        with pytest.raises(NetworkError, match=r"not sent to http://reg\.test:5000"):
            ask(sender, Keys(BOB), url)
        assert len(sender.requests) == 1
    sender = Recorded(Canned(401, www_authenticate="Basic"), Canned(200))
    assert ask(sender, Keys(BOB), url, frozenset({"reg.test:5000"})) == 200
    assert authorization(sender.requests[1]).startswith("Basic ")


def test_a_registry_elsewhere_cannot_send_credentials_to_this_machine() -> None:
    challenge = 'Bearer realm="http://localhost:8080/t"'
    sender = Recorded(Canned(401, www_authenticate=challenge))
    with pytest.raises(NetworkError, match="token server that cannot be used"):
        ask(sender, Keys(BOB), "https://reg.test/v2/team/app/manifests/1")
    assert len(sender.requests) == 1


def test_credentials_are_those_of_the_registry_that_asks_whatever_realm_it_names() -> None:
    keys = Keys()
    challenge = 'Bearer realm="https://auth.docker.io/token",service="registry.docker.io"'
    answers = (Canned(401, www_authenticate=challenge), Canned(200, b'{"token": "t"}'), Canned(200))
    sender = Recorded(*answers)
    assert ask(sender, keys, "https://evil.test/v2/team/app/manifests/1") == 200
    assert set(keys.asked) == {("evil.test", "team/app")}
    assert authorization(sender.requests[1]) == ""


def test_another_origin_gets_no_credentials_and_its_challenge_no_answer() -> None:
    scope = Scope("https://reg.test", "reg.test", "team/app", ("pull",))
    elsewhere = "https://cdn.test/blob?sig=abc"
    sender = Recorded(Canned(401, www_authenticate="Basic"))
    with pytest.raises(Refused) as caught:
        Authorizer(sender, Keys(BOB)).send(Request("GET", elsewhere), scope)
    assert authorization(sender.requests[0]) == ""
    assert "cdn.test answers 401" in str(caught.value)
    assert "sig" not in str(caught.value)
    sender = Recorded(Canned(401, url=elsewhere, www_authenticate="Basic"))
    with pytest.raises(Refused):
        Authorizer(sender, Keys(BOB)).send(Request("GET", "https://reg.test/v2/x"), scope)
    assert len(sender.requests) == 1


def test_a_request_does_not_show_what_it_carries() -> None:
    service = BearerService("https://t.test/t?a=b", "s")
    scope = Scope("https://reg.test", "reg.test", "team/app", ("push", "pull"), "team/base")
    asked = get_request(service, scope, BOB)
    assert asked.url.startswith(
        "https://t.test/t?a=b&service=s&scope=repository%3Ateam%2Fapp%3Apull"
    )
    posted = post_request(service, scope, Credential(identity_token=SECRET))
    assert SECRET.encode() in posted.body  # type: ignore[operator]
    for request in (asked, posted):
        assert SECRET not in repr(request)
        assert BOB.basic() not in repr(request)


def test_scopes_are_written_as_token_servers_read_them() -> None:
    scope = Scope("o", "r", "team/app", ("push", "pull"), "team/app")
    assert scopes_of(scope) == ("repository:team/app:pull,push",)
    assert scopes_of(scope._replace(repository="", actions=())) == ()


# Credentials that cannot be read


def test_a_pull_goes_on_anonymously_where_a_helper_fails(client: Make, tokens: TokenServer) -> None:
    failure = MachineError("cannot start docker-credential-x", hint="install it")
    broken = client(failure)
    assert broken.get() == 200
    assert tokens.asked[0].user == ""
    assert "docker-credential-x" in broken.refusal(MachineError, broken.put)
    tokens.allowed = lambda user, name, action: False
    assert "docker-credential-x" in broken.refusal(MachineError, lambda: broken.get(name="private"))
    tokens.anonymous = False
    assert "docker-credential-x" in broken.refusal(
        MachineError, lambda: broken.get(name="private2")
    )


def test_a_broken_config_is_told(client: Make) -> None:
    broken = client(UsageError("config.json cannot be used"))
    assert "config.json" in broken.refusal(UsageError, broken.get)


def test_plain_http_by_name_goes_through_a_real_transport(
    tokens: TokenServer, guard: Guard, clock: Clock
) -> None:
    """The machine's own name for itself is not loopback by its text."""
    host = f"0.0.0.0:{guard.port}"
    realm = f"0.0.0.0:{tokens.port}"
    guard.challenge = f'Bearer realm="http://{realm}/token"'
    hosts = {name: HostOptions(plain_http=True) for name in (host, realm)}
    scope = Scope(f"http://{host}", host, "team/app", ("pull",))
    request = Request("GET", f"http://{host}/v2/team/app/manifests/1")
    with Transport(TransportOptions({}, hosts=hosts, retries=0), CancelToken()) as transport:
        with pytest.raises(NetworkError, match="not encrypted"):
            Authorizer(transport, Keys(BOB), clock, frozenset({host})).send(request, scope)
        allowed = Authorizer(transport, Keys(BOB), clock, frozenset({host, realm}))
        with allowed.send(request, scope) as response:
            assert response.status == 200
    assert tokens.asked[-1].user == "bob"


@given(
    st.fixed_dictionaries({}, optional={
        "token": st.none() | st.integers() | st.text(max_size=20) | st.just("good"),
        "access_token": st.text(max_size=10) | st.just("good"),
        "expires_in": st.none() | st.floats() | st.integers() | st.text(max_size=5),
        "issued_at": st.none() | st.text(max_size=30) | st.datetimes().map(str) | st.integers(),
    })
)  # fmt: skip
def test_any_token_answer_is_used_or_refused(answer: dict[str, object]) -> None:
    body = json.dumps(answer).encode()
    challenge = 'Bearer realm="https://t.test"'
    sender = Recorded(Canned(401, www_authenticate=challenge), Canned(200, body), Canned(200))
    try:
        assert ask(sender, Keys(), "https://reg.test/v2/team/app/manifests/1") == 200
    except NetworkError as error:
        assert "t.test gives no usable token" in str(error)
    else:
        assert authorization(sender.requests[2]).isprintable()
