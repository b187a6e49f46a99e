"""The handshake of CURVE, and every way to be refused in it (RFC 26)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.zmtp import peers
from tests.zmtp.curve_client import (
    CLIENT,
    CLIENT_SECRET,
    SERVER,
    SERVER_SECRET,
    CurveClient,
    Doorkeeper,
    accepted,
    connected,
    new_server,
    pair,
    random,
    say,
    split_frames,
)
from tests.zmtp.peers import outcome, take_outbox
from zqd.zmtp.connection import Connection
from zqd.zmtp.curve import Curve, CurveServer
from zqd.zmtp.frames import COMMAND, encode_frame, encode_message
from zqd.zmtp.handshake import Null
from zqd.zmtp.opening import Phase
from zqd.zmtp.secured import SecuredConnection

STRANGER, STRANGER_SECRET = pair("stranger")
GREETING = peers.greeting(mechanism=b"CURVE")


def refusal(connection: Connection) -> str:
    """Why the connection failed; its peer has been told in an ERROR command, which is all that it was told."""
    assert connection.phase is Phase.FAILED
    assert connection.error is not None
    ((flags, body),) = split_frames(take_outbox(connection))
    assert (flags, body[:6]) == (COMMAND, b"\5ERROR")
    assert body[7:].decode() in (connection.error, "400")
    assert len(body) == 7 + body[6]
    return connection.error


def greeted() -> tuple[CurveClient, SecuredConnection]:
    """Both ends after the greeting."""
    connection = accepted(new_server())
    connection.receive(GREETING)
    take_outbox(connection)
    return CurveClient(), connection


def welcomed() -> tuple[CurveClient, SecuredConnection]:
    """Both ends after WELCOME."""
    client, connection = greeted()
    client.take_welcome(say(connection, client.hello()))
    return client, connection


def send(connection: SecuredConnection, body: bytes) -> None:
    """Send a command of the handshake; it gives no message."""
    assert connection.receive(encode_frame(body, COMMAND)) == []


# Right


def test_the_handshake_ends_in_traffic() -> None:
    """HELLO, WELCOME, INITIATE, READY: then the peer is known by its key, and by that key's name."""
    client, connection = CurveClient(), accepted(new_server())
    assert client.connect(connection) == {b"socket-type": b"ROUTER"}
    assert (connection.phase, connection.error, connection.plain) == (Phase.TRAFFIC, None, False)
    assert (connection.peer_type, connection.identity) == (b"REQ", b"me")
    assert (connection.mechanism.peer_key, connection.mechanism.peer_name) == (CLIENT, "alice")


def test_the_greeting_announces_a_curve_server() -> None:
    """Mechanism CURVE, as-server 1 (RFC 25)."""
    connection = accepted(new_server())
    connection.receive(GREETING)
    tail = take_outbox(connection)
    assert tail[1:22] == b"CURVE".ljust(20, b"\0") + b"\1"


def test_a_worker_is_met_as_a_dealer() -> None:
    """The back end's socket type is in READY."""
    connection = accepted(new_server(), b"DEALER")
    metadata = peers.metadata({b"Socket-Type": b"REP"})
    assert CurveClient().connect(connection, metadata) == {b"socket-type": b"DEALER"}
    assert connection.peer_type == b"REP"


@pytest.mark.parametrize("piece", [1, 7, 100])
def test_the_handshake_may_come_in_any_pieces(piece: int) -> None:
    """A command is answered when its last byte has come."""
    client, connection = greeted()
    hello = encode_frame(client.hello(), COMMAND)
    peers.feed(connection, hello, range(piece, len(hello), piece))
    ((_, welcome),) = split_frames(take_outbox(connection))
    client.take_welcome(welcome)
    initiate = encode_frame(client.initiate(), COMMAND)
    peers.feed(connection, initiate, range(piece, len(initiate), piece))
    assert connection.phase is Phase.TRAFFIC


def test_the_first_message_may_come_with_initiate() -> None:
    """It is opened in the same call."""
    client, connection = welcomed()
    sent = encode_frame(client.initiate(), COMMAND) + client.messages(b"", b"hello")
    assert outcome(connection.receive(sent)) == [encode_message([b"", b"hello"])]


def test_metadata_may_be_long() -> None:
    """A few kilobytes of properties are more than libzmq sends, and no reason to refuse."""
    properties = {b"Socket-Type": b"DEALER", b"X-Note": b"n" * 5000}
    _, connection = CurveClient(), accepted(new_server())
    CurveClient().connect(connection, peers.metadata(properties))
    assert connection.mechanism.metadata[b"x-note"] == b"n" * 5000


def test_nonces_may_leap() -> None:
    """They have to rise, not to be consecutive."""
    client, connection = greeted()
    client.nonce = 1 << 40
    client.take_welcome(say(connection, client.hello()))
    client.nonce = (1 << 64) - 9
    client.take_ready(say(connection, client.initiate()))
    assert connection.phase is Phase.TRAFFIC


def test_nothing_that_opens_the_session_is_kept_between_welcome_and_initiate() -> None:
    """The secret transient key exists in the cookie only."""
    entropy = random("entropy", 64)
    mechanism = Curve(new_server(), b"ROUTER", entropy)
    mechanism.receive(CurveClient().hello())
    kept = [getattr(mechanism, name) for name in Curve.__slots__]
    assert [value for value in kept if isinstance(value, bytes) and entropy[:32] in value] == []


def test_two_connections_have_keys_of_their_own() -> None:
    """What one carries does not open in the other, whose client has the same transient key."""
    (one, _), (_, other) = connected(), connected()
    fresh = accepted(new_server(), entropy="other")
    CurveClient().connect(fresh)
    sent = one.messages(b"", b"hello")
    assert outcome(other.receive(sent)) == [
        encode_message([b"", b"hello"])
    ]  # the same entropy: the same keys
    assert fresh.receive(sent) == []
    assert fresh.error == "MESSAGE 3 is forged"


# The cookie key


def test_a_cookie_outlives_one_rotation() -> None:
    """A handshake that began just before a rotation goes on."""
    server = new_server()
    client, connection = CurveClient(), accepted(server)
    connection.receive(GREETING)
    take_outbox(connection)
    client.take_welcome(say(connection, client.hello()))
    server.rotate(random("second", 32))
    client.take_ready(say(connection, client.initiate()))
    assert connection.phase is Phase.TRAFFIC


def test_a_cookie_does_not_outlive_two() -> None:
    """Then nobody can open it any more."""
    server = new_server()
    client, connection = CurveClient(), accepted(server)
    connection.receive(GREETING)
    take_outbox(connection)
    client.take_welcome(say(connection, client.hello()))
    server.rotate(random("second", 32))
    server.rotate(random("third", 32))
    send(connection, client.initiate())
    assert refusal(connection) == "INITIATE has a cookie that is forged, or too old"


# The greeting


def test_a_plain_peer_is_refused() -> None:
    """And told apart by its greeting."""
    connection = accepted(new_server())
    connection.receive(peers.greeting() + peers.ready())
    assert connection.error == "peer uses NULL, this endpoint CURVE"


def test_a_secured_peer_is_refused_by_a_plain_endpoint() -> None:
    """The reverse."""
    connection = Connection(Null(b"ROUTER"), b"ROUTER", peers.LIMIT)
    connection.receive(GREETING + encode_frame(CurveClient().hello(), COMMAND))
    assert connection.error == "peer uses CURVE, this endpoint NULL"


def test_a_peer_of_2_is_refused() -> None:
    """ZMTP 2.0 has no mechanisms."""
    connection = accepted(new_server())
    connection.receive(peers.v2_greeting(3))
    assert connection.error == "ZMTP 2.0 has no CURVE"


def test_another_server_is_refused() -> None:
    """Two servers would wait for each other's HELLO for ever."""
    connection = accepted(new_server())
    connection.receive(peers.greeting(mechanism=b"CURVE", as_server=True))
    assert connection.error == "peer is a CURVE server, as this endpoint is: it has to be a client"


# HELLO


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda c: c.hello()[:-1], "HELLO of 199 bytes, expected 200"),
        (lambda c: c.hello() + b"\0", "HELLO of 201 bytes, expected 200"),
        (lambda _: b"\5HELLO", "HELLO of 6 bytes, expected 200"),
        (lambda c: c.hello(version=b"\2\0"), "CurveZMQ 2.0 is not supported, expected 1.0"),
        (lambda c: c.hello(version=b"\1\1"), "CurveZMQ 1.1 is not supported, expected 1.0"),
        (lambda c: c.hello(padding=bytes(71) + b"\1"), "HELLO whose padding is not zero"),
        (lambda c: c.hello(signed=bytes(63) + b"\1"), "HELLO with a wrong signature"),
        (
            lambda c: c.hello(transient=STRANGER),
            "HELLO is not for our key: the peer has another server key",
        ),
        (
            lambda c: c.hello(transient=bytes(31) + b"\0"),
            "HELLO is not for our key: the peer has another server key",
        ),
        (
            lambda _: CurveClient(server_key=STRANGER).hello(),
            "HELLO is not for our key: the peer has another server key",
        ),
        (lambda _: peers.ready()[2:], "expected HELLO, got READY"),
        (lambda _: b"\x08INITIATE" + bytes(300), "expected HELLO, got INITIATE"),
        (lambda c: b"\5hello" + c.hello()[6:], "expected HELLO, got hello"),
        (lambda _: b"\5ERROR\4gone", "peer refused us: gone"),
        (lambda _: b"", "command without a name"),
        (lambda _: b"\xffHELLO", "command without a name"),
    ],
)
def test_a_bad_hello_is_refused(make: Callable[[CurveClient], bytes], error: str) -> None:
    """With what is wrong with it; also a key of zeros, with which nothing can be shared."""
    client, connection = greeted()
    send(connection, make(client))
    assert refusal(connection) == error


def test_a_second_hello_is_refused() -> None:
    """One connection has one handshake."""
    client, connection = welcomed()
    send(connection, client.hello())
    assert refusal(connection) == "expected INITIATE, got HELLO"


# INITIATE


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda c: c.initiate(metadata=b"")[:256], "INITIATE of 256 bytes, expected at least 257"),
        (lambda _: b"\x08INITIATE", "INITIATE of 9 bytes, expected at least 257"),
        (lambda c: c.initiate()[:-1], "INITIATE is forged"),
        (lambda c: c.initiate() + b"\0", "INITIATE is forged"),
        (lambda c: c.initiate(cookie=bytes(96)), "INITIATE has the cookie of another connection"),
        (
            lambda c: c.initiate(cookie=c.cookie[:95] + bytes((c.cookie[95] ^ 1,))),
            "INITIATE has a cookie that is forged, or too old",
        ),
        (lambda c: c.initiate(nonce=c.nonce), "INITIATE has nonce 1 after 1"),
        (lambda c: c.initiate(nonce=0), "INITIATE has nonce 0 after 1"),
        (lambda c: c.initiate(voucher=STRANGER_SECRET), "INITIATE with a forged vouch"),
        (lambda c: c.initiate(claimed=STRANGER), "INITIATE with a forged vouch"),
        (lambda c: c.initiate(claimed=bytes(32) + b""), "INITIATE with a forged vouch"),
        (
            lambda c: c.initiate(vouched=STRANGER + SERVER),
            "INITIATE whose vouch is for another connection or server",
        ),
        (
            lambda c: c.initiate(vouched=c.transient + STRANGER),
            "INITIATE whose vouch is for another connection or server",
        ),
        (lambda c: c.initiate(metadata=b"\0"), "malformed metadata"),
        (lambda c: c.initiate(metadata=b"\1a\0\0\0\2x"), "malformed metadata"),
        (
            lambda c: c.initiate(metadata=b""),
            "socket type missing cannot talk to ROUTER: use DEALER, REQ, ROUTER",
        ),
        (
            lambda c: c.initiate(metadata=peers.metadata({b"Socket-Type": b"SUB"})),
            "socket type SUB cannot talk to ROUTER: use DEALER, REQ, ROUTER",
        ),
        (lambda _: peers.ready()[2:], "expected INITIATE, got READY"),
        (lambda _: b"\7MESSAGE" + bytes(100), "expected INITIATE, got MESSAGE"),
        (lambda _: b"\5ERROR", "peer refused us: no reason given"),
    ],
)
def test_a_bad_initiate_is_refused(make: Callable[[CurveClient], bytes], error: str) -> None:
    """With what is wrong with it; the peer never gets in."""
    client, connection = welcomed()
    send(connection, make(client))
    assert refusal(connection) == error
    assert connection.mechanism.cipher is None


def test_a_key_that_is_not_authorized_is_refused() -> None:
    """The log gets the reason, the peer ZAP's 400, which libzmq tells its user as an authentication failure."""
    connection = accepted(new_server())
    connection.receive(GREETING)
    client = CurveClient(keys=(STRANGER, STRANGER_SECRET))
    take_outbox(connection)
    client.take_welcome(say(connection, client.hello()))
    send(connection, client.initiate())
    assert take_outbox(connection) == encode_frame(b"\5ERROR\x03400", COMMAND)
    assert (connection.error, connection.mechanism.peer_key) == ("nobody we know", b"")


def test_the_guard_may_change() -> None:
    """A new one judges the next handshake."""
    server = new_server()
    CurveClient().connect(accepted(server))
    server.guard = Doorkeeper(STRANGER)
    connection = accepted(server)
    connection.receive(GREETING)
    take_outbox(connection)
    client = CurveClient()
    client.take_welcome(say(connection, client.hello()))
    send(connection, client.initiate())
    assert refusal(connection) == "nobody we know"


# Replayed


def recorded() -> tuple[CurveServer, bytes, bytes, bytes]:
    """A server, and what a client of it sent on one connection: HELLO, INITIATE and a message, as frames."""
    server, client = new_server(), CurveClient()
    connection = accepted(server)
    connection.receive(GREETING)
    take_outbox(connection)
    hello = client.hello()
    client.take_welcome(say(connection, hello))
    initiate = client.initiate()
    client.take_ready(say(connection, initiate))
    message = client.messages(b"", b"pay")
    assert outcome(connection.receive(message)) == [encode_message([b"", b"pay"])]
    return server, encode_frame(hello, COMMAND), encode_frame(initiate, COMMAND), message


def test_a_session_cannot_be_played_again() -> None:
    """The cookie of one connection is no good on another, not even behind the same HELLO."""
    server, hello, initiate, message = recorded()
    connection = accepted(server, entropy="another connection")
    assert connection.receive(GREETING + hello + initiate + message) == []
    assert connection.error == "INITIATE has the cookie of another connection"
    assert take_outbox(connection).endswith(
        peers.command_frame(b"ERROR", b"\x2d" + connection.error.encode())
    )


def test_a_cookie_cannot_be_taken_to_another_connection() -> None:
    """Nor by the client that it was given to."""
    server, client = new_server(), CurveClient()
    first, second = accepted(server), accepted(server, entropy="second")
    for connection in (first, second):
        connection.receive(GREETING)
        take_outbox(connection)
    client.take_welcome(say(first, client.hello()))
    say(second, client.hello())
    send(second, client.initiate())
    assert refusal(second) == "INITIATE has the cookie of another connection"


# Secrets


def test_no_secret_is_in_a_repr_or_an_error() -> None:
    """Neither of the server's, nor of the connection's."""
    server = new_server()
    entropy = random("entropy", 64)
    mechanism = Curve(server, b"ROUTER", entropy)
    texts = [repr(server), repr(mechanism)]
    client = CurveClient()
    connection = SecuredConnection(mechanism, b"ROUTER", peers.LIMIT)
    client.connect(connection)
    connection.receive(encode_frame(b"\7MESSAGE" + bytes(100)))
    texts += [repr(mechanism.cipher), repr(connection), str(connection.error)]
    for secret in (SERVER_SECRET, CLIENT_SECRET, entropy[:32], random("cookie key", 32)):
        assert not any(repr(secret)[2:-1] in text or secret.hex() in text for text in texts)


def test_a_cipher_wants_a_secured_connection() -> None:
    """A mechanism that secures never ends in plain traffic by mistake, nor the other way about."""
    client = CurveClient()
    connection = Connection(Curve(new_server(), b"ROUTER", random("entropy", 64)), b"ROUTER", peers.LIMIT)
    take_outbox(connection)
    connection.receive(GREETING)
    take_outbox(connection)
    connection.receive(encode_frame(client.hello(), COMMAND))
    ((_, welcome),) = split_frames(take_outbox(connection))
    client.take_welcome(welcome)
    with pytest.raises(RuntimeError, match="needs a SecuredConnection"):
        connection.receive(encode_frame(client.initiate(), COMMAND))
    with pytest.raises(RuntimeError, match="needs a mechanism with a cipher"):
        SecuredConnection(Null(b"ROUTER"), b"ROUTER", peers.LIMIT).receive(peers.greeting() + peers.ready())
