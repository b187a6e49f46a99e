"""Our CURVE against libzmq's: its sockets connect to a `SecuredConnection` that a loop in the test reads and writes."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator

import pytest
import zmq

from tests.conftest import Connect
from tests.interop.peers import monitored
from tests.support.processes import PATIENCE
from zqd.keys.authorized import Authorized, Entry
from zqd.keys.pair import KeyPair
from zqd.keys.z85 import z85_decode, z85_encode
from zqd.zmtp.connection import Connection, Message, Oversize
from zqd.zmtp.curve import ENTROPY_SIZE, Curve, CurveServer
from zqd.zmtp.frames import decode_message, encode_message
from zqd.zmtp.handshake import Null
from zqd.zmtp.secured import SecuredConnection

LIMIT = 32 << 20
PONG_SIZE = 2 + 33 + len(b"\4PONG")  # bytes of a carried PONG without a context


def new_pair() -> KeyPair:
    """A pair of libzmq's making."""
    public, secret = zmq.curve_keypair()
    return KeyPair(z85_decode(public.decode()), z85_decode(secret.decode()))


OURS, ALICE, BOB = new_pair(), new_pair(), new_pair()


class Served:
    """Our end of one connection, over a blocking socket."""

    def __init__(self, accepted: socket.socket, connection: Connection) -> None:
        self.connection = connection
        self.sent: list[bytes] = []
        """Each piece that the peer was sent."""
        self._socket = accepted
        self._flush()

    def read(self) -> list[Message]:
        """The messages of one read, answers sent."""
        data = self._socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the peer has closed the connection")
        messages = self.connection.receive(data)
        while self.connection.more:
            messages += self.connection.receive(b"")
        self._flush()
        return messages

    def message(self) -> list[bytes]:
        """The bodies of the next message, which must be the only one at hand."""
        while True:
            messages = self.read()
            assert self.connection.error is None
            if messages:
                (raw,) = messages
                assert not isinstance(raw, Oversize)
                return decode_message(bytes(raw))

    def send(self, *bodies: bytes) -> None:
        """Send a message."""
        for piece in map(bytes, self.connection.wrap([encode_message(bodies)])):
            self._send(piece)

    def ping(self) -> None:
        """Send a PING."""
        self.connection.ping(30)
        self._flush()

    def read_until(self, done: Callable[[], bool]) -> None:
        """Read until `done`, or until the connection has failed; no message may come."""
        while self.connection.error is None and not done():
            assert self.read() == []

    def establish(self) -> Served:
        """Go through the handshake."""
        self.read_until(lambda: self.connection.peer_type != b"")
        assert self.connection.error is None
        return self

    def refuse(self) -> str | None:
        """Go on until the handshake fails; why it did."""
        self.read_until(lambda: False)
        return self.connection.error

    def close(self) -> None:
        """Close the socket, as the owner does after an error."""
        self._socket.close()

    def _flush(self) -> None:
        pieces, self.connection.outbox = self.connection.outbox, []
        for piece in pieces:
            self._send(piece)

    def _send(self, piece: bytes) -> None:
        self.sent.append(piece)
        self._socket.sendall(piece)


class Endpoint:
    """A listener with our key, at which ALICE may enter."""

    def __init__(self) -> None:
        self.curve = CurveServer(OURS.secret, allow(alice=ALICE), os.urandom(32))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE)
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._served: list[Served] = []

    def accept(self, socket_type: bytes = b"ROUTER", *, plain: bool = False, limit: int = LIMIT) -> Served:
        """The next connection."""
        accepted = self._listener.accept()[0]
        accepted.settimeout(PATIENCE)
        connection = (
            Connection(Null(socket_type), socket_type, limit)
            if plain
            else SecuredConnection(
                Curve(self.curve, socket_type, os.urandom(ENTROPY_SIZE)), socket_type, limit
            )
        )
        served = Served(accepted, connection)
        self._served.append(served)
        return served

    def close(self) -> None:
        """Close everything."""
        self._listener.close()
        for served in self._served:
            served.close()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """Where libzmq's sockets connect to."""
    endpoint = Endpoint()
    yield endpoint
    endpoint.close()


def allow(**pairs: KeyPair) -> Authorized:
    """Lets these in, by name."""
    return Authorized({pair.public: Entry(name, None, "here") for name, pair in pairs.items()})


def keys(pair: KeyPair = ALICE, server: KeyPair = OURS) -> dict[str, bytes]:
    """The options of a socket with this pair that expects this server."""
    return {
        "curve_publickey": z85_encode(pair.public).encode(),
        "curve_secretkey": z85_encode(pair.secret).encode(),
        "curve_serverkey": z85_encode(server.public).encode(),
    }


# The right key


@pytest.mark.parametrize("kind", [zmq.REQ, zmq.DEALER])
def test_a_client_is_served(endpoint: Endpoint, connect: Connect, kind: int) -> None:
    """REQ and DEALER come in by their key, ask and get their answer."""
    client = connect(kind, endpoint.address, **keys())
    served = endpoint.accept()
    delimiter = [] if kind == zmq.REQ else [b""]
    client.send_multipart([*delimiter, b"question"])
    assert served.message() == [b"", b"question"]
    mechanism = served.connection.mechanism
    assert (mechanism.peer_name, mechanism.peer_key) == ("alice", ALICE.public)
    served.send(b"", b"answer")
    assert client.recv_multipart() == [*delimiter, b"answer"]


def test_a_router_is_served(endpoint: Endpoint, connect: Connect) -> None:
    """A ROUTER that connects needs a name for whom it connects to."""
    client = connect(zmq.ROUTER)
    for name, value in {**keys(), "connect_routing_id": b"broker", "router_mandatory": True}.items():
        setattr(client, name, value)
    client.connect(endpoint.address)
    served = endpoint.accept().establish()
    client.send_multipart([b"broker", b"", b"question"])
    assert served.message() == [b"", b"question"]
    served.send(b"", b"answer")
    assert client.recv_multipart() == [b"broker", b"", b"answer"]


@pytest.mark.parametrize("kind", [zmq.REP, zmq.DEALER])
def test_a_worker_serves(endpoint: Endpoint, connect: Connect, kind: int) -> None:
    """REP and DEALER come in by their key at a back end, are asked and answer."""
    worker = connect(kind, endpoint.address, **keys())
    served = endpoint.accept(b"DEALER").establish()
    served.send(b"envelope", b"", b"question")
    envelope = [] if kind == zmq.REP else [b"envelope", b""]
    assert worker.recv_multipart() == [*envelope, b"question"]
    worker.send_multipart([*envelope, b"answer"])
    assert served.message() == [b"envelope", b"", b"answer"]


def test_anybody_may_be_let_in(endpoint: Endpoint, connect: Connect) -> None:
    """Where the list says so, with the name that all of them share."""
    endpoint.curve.guard = Authorized({}, anonymous=True)
    connect(zmq.REQ, endpoint.address, **keys(BOB))
    assert endpoint.accept().establish().connection.mechanism.peer_name == "anonymous"


@pytest.mark.parametrize("size", [0, 1, 222, 223, 255, 256, 4096, 65_536, 1 << 20, 16 << 20])
def test_a_body_of_any_size_comes_through(endpoint: Endpoint, connect: Connect, size: int) -> None:
    """Both ways."""
    client = connect(zmq.REQ, endpoint.address, **keys())
    body = os.urandom(size)
    served = endpoint.accept().establish()
    client.send(body, copy=False)
    assert served.message() == [b"", body]
    served.send(b"", body)
    assert client.recv() == body


def test_many_messages_in_both_directions(endpoint: Endpoint, connect: Connect) -> None:
    """The nonces go on rising beyond what a byte holds."""
    client = connect(zmq.DEALER, endpoint.address, **keys())
    served = endpoint.accept().establish()
    for number in range(1000):
        client.send_multipart([b"", b"%d" % number])
        assert served.message() == [b"", b"%d" % number]
        served.send(b"", b"%d" % number)
    for number in range(1000):
        assert client.recv_multipart() == [b"", b"%d" % number]


# Heartbeats


def test_its_heartbeats_are_answered(endpoint: Endpoint, connect: Connect) -> None:
    """libzmq carries PING in MESSAGE, and so expects PONG: the peer stays, and still asks."""
    client = connect(
        zmq.REQ, endpoint.address, **keys(), heartbeat_ivl=10, heartbeat_timeout=int(PATIENCE * 1000)
    )
    served = endpoint.accept().establish()
    served.read_until(lambda: sum(len(piece) == PONG_SIZE for piece in served.sent) >= 3)
    client.send(b"still here")
    assert served.message() == [b"", b"still here"]


def test_our_ping_is_answered(endpoint: Endpoint, connect: Connect) -> None:
    """libzmq opens the PING that we carry; its PONG comes back, which is no message."""
    client = connect(zmq.REQ, endpoint.address, **keys())
    served = endpoint.accept().establish()
    served.ping()
    assert served.read() == []
    client.send(b"still here")
    assert served.message() == [b"", b"still here"]


# Refused


def test_an_unknown_key_is_refused(endpoint: Endpoint, connect: Connect) -> None:
    """The log can name the key, and the client's monitor tells of an authentication failure."""
    client = connect(zmq.REQ)
    with monitored(client) as monitor:
        for name, value in keys(BOB).items():
            setattr(client, name, value)
        client.connect(endpoint.address)
        served = endpoint.accept()
        assert served.refuse() == f"key {z85_encode(BOB.public)} is not authorized"
        assert monitor.wait_for(zmq.Event.HANDSHAKE_FAILED_AUTH)


def test_a_revoked_key_is_refused(endpoint: Endpoint, connect: Connect) -> None:
    """A client that was let in once is not let in again."""
    connect(zmq.REQ, endpoint.address, **keys())
    first = endpoint.accept().establish()
    endpoint.curve.guard = allow(bob=BOB)
    first.close()
    assert endpoint.accept().refuse() == f"key {z85_encode(ALICE.public)} is not authorized"


@pytest.mark.parametrize(
    ("options", "plain", "error"),
    [
        (keys(server=BOB), False, "HELLO is not for our key: the peer has another server key"),
        ({}, False, "peer uses NULL, this endpoint CURVE"),
        ({"plain_username": b"u", "plain_password": b"p"}, False, "peer uses PLAIN, this endpoint CURVE"),
        (keys(), True, "peer uses CURVE, this endpoint NULL"),
    ],
    ids=["wrong server key", "NULL peer", "PLAIN peer", "CURVE peer, NULL endpoint"],
)
def test_a_peer_of_another_kind_is_refused(
    endpoint: Endpoint, connect: Connect, options: dict[str, bytes], plain: bool, error: str
) -> None:
    """Each with what is wrong, and libzmq takes it for final."""
    client = connect(zmq.REQ)
    with monitored(client) as monitor:
        for name, value in options.items():
            setattr(client, name, value)
        client.connect(endpoint.address)
        served = endpoint.accept(plain=plain)
        assert served.refuse() == error
        served.close()
        assert monitor.wait_for(zmq.Event.DISCONNECTED)
        assert not monitor.wait_for(zmq.Event.CONNECT_RETRIED, patience=0.3)


def test_a_socket_of_the_wrong_type_is_refused(endpoint: Endpoint, connect: Connect) -> None:
    """With the right key too."""
    connect(zmq.SUB, endpoint.address, **keys())
    assert endpoint.accept().refuse() == "socket type SUB cannot talk to ROUTER: use DEALER, REQ, ROUTER"


# Over the limit


def test_a_request_that_is_too_large_can_be_answered(endpoint: Endpoint, connect: Connect) -> None:
    """Its envelope has come in a frame of its own; then the connection ends, as its end cannot be told."""
    client = connect(zmq.REQ, endpoint.address, **keys())
    served = endpoint.accept(limit=1000).establish()
    client.send(bytes(1000))
    (message,) = served.read()
    assert isinstance(message, Oversize)
    assert message.envelope == b"\x01\x00"
    assert served.connection.error == "message of at least 1004 bytes (limit 1000) in secured traffic"


# Again and again


def test_two_thousand_reconnects(endpoint: Endpoint, connect: Connect) -> None:
    """Each with new keys, over rotations of the cookie key."""
    connect(zmq.DEALER, endpoint.address, **keys(), reconnect_ivl=1)
    seen = set()
    for number in range(2000):
        if number % 100 == 0:
            endpoint.curve.rotate(os.urandom(32))
        served = endpoint.accept().establish()
        seen.add(served.sent[-1])
        served.close()
    assert len(seen) == 2000
