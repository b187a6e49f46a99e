"""The same `Connection` against what libzmq really sends, over a plain socket on loopback."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest
import zmq

from tests.zmtp import peers
from tests.zmtp.peers import outcome
from zqd.zmtp.connection import Connection, Message
from zqd.zmtp.frames import decode_message, encode_message
from zqd.zmtp.handshake import Null

PATIENCE = 10  # seconds; how long a peer may take where it must do something
Peer = zmq.Socket[bytes]
MakePeer = Callable[[int], Peer]


class Wire:
    """Our end of a connection: a socket, and the `Connection` that its bytes go through."""

    def __init__(self, accepted: socket.socket, connection: Connection) -> None:
        self.connection = connection
        self.received = b""
        """All that the peer has sent."""
        self.sent = b""
        """All that it was sent."""
        self._socket = accepted

    def send(self, data: bytes = b"") -> None:
        """Send what the connection has to say, then `data`."""
        data = peers.take_outbox(self.connection) + data
        self.sent += data
        self._socket.sendall(data)

    def read(self) -> list[Message]:
        """The messages of one read, answers sent; the peer must still be there."""
        data = self._socket.recv(1 << 16)
        assert data, "the peer has closed the connection"
        self.received += data
        messages = peers.feed(self.connection, data)
        self.send()
        return messages

    def message(self) -> bytes:
        """The next message, which must be the only one at hand."""
        while True:
            messages = self.read()
            assert self.connection.error is None
            if messages:
                (raw,) = outcome(messages)
                assert isinstance(raw, bytes)
                return raw

    def read_until(self, done: Callable[[], bool]) -> None:
        """Read until `done`; no message may come."""
        while not done():
            assert self.read() == []

    def wait_for_close(self) -> None:
        """Return when the peer has closed the connection."""
        while self._socket.recv(1 << 16):
            pass


Connect = Callable[..., Wire]


@pytest.fixture
def make_peer() -> Iterator[MakePeer]:
    """Makes zmq sockets that are bounded in all they do, and closed afterwards."""
    with zmq.Context[Peer]() as context:
        context.setsockopt(zmq.LINGER, 0)
        context.setsockopt(zmq.RCVTIMEO, PATIENCE * 1000)
        context.setsockopt(zmq.SNDTIMEO, PATIENCE * 1000)
        made: list[Peer] = []

        def make_peer(kind: int) -> Peer:
            made.append(context.socket(kind))
            return made[-1]

        yield make_peer
        for each in made:
            each.close()


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Connects a zmq socket to a socket of ours and returns our end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        accepted: list[socket.socket] = []

        def connect(peer: Peer, socket_type: bytes = b"ROUTER") -> Wire:
            peer.connect(f"tcp://127.0.0.1:{listener.getsockname()[1]}")
            accepted.append(listener.accept()[0])
            accepted[-1].settimeout(PATIENCE)
            wire = Wire(accepted[-1], Connection(Null(socket_type), socket_type, 1 << 24))
            wire.send()
            return wire

        yield connect
        for each in accepted:
            each.close()


def test_a_req_is_served(make_peer: MakePeer, connect: Connect) -> None:
    """A REQ's request comes out as its frames, and takes its answer."""
    req = make_peer(zmq.REQ)
    wire = connect(req)
    for body in (b"", b"x", b"x" * 255, b"x" * 256, b"x" * (1 << 16), bytes(1 << 20)):
        req.send(body)
        raw = wire.message()
        assert raw == encode_message([b"", body])
        wire.send(raw)
        assert req.recv() == body
    assert (wire.connection.version, wire.connection.peer_type) == ((3, 1), b"REQ")


def test_a_correlating_req_is_served(make_peer: MakePeer, connect: Connect) -> None:
    """With ZMQ_REQ_CORRELATE the envelope begins with an id of four bytes."""
    req = make_peer(zmq.REQ)
    req.setsockopt(zmq.REQ_CORRELATE, 1)
    wire = connect(req)
    req.send_multipart([b"a", b"", b"b"])
    raw = wire.message()
    number, *rest = decode_message(raw)
    assert (len(number), rest) == (4, [b"", b"a", b"", b"b"])
    wire.send(encode_message([number, b"", b"done"]))
    assert req.recv() == b"done"


def test_a_dealer_is_known_by_its_routing_id(make_peer: MakePeer, connect: Connect) -> None:
    """ZMQ_ROUTING_ID arrives in the READY command's Identity."""
    dealer = make_peer(zmq.DEALER)
    dealer.setsockopt(zmq.ROUTING_ID, b"worker-1")
    wire = connect(dealer, b"DEALER")
    dealer.send_multipart([b"zqd/1", b"leave"])
    assert decode_message(wire.message()) == [b"zqd/1", b"leave"]
    assert (wire.connection.identity, wire.connection.peer_type) == (b"worker-1", b"DEALER")


def test_a_rep_echoes_the_envelope(make_peer: MakePeer, connect: Connect) -> None:
    """A REP accepts our DEALER end, and its reply begins with the frames of the request up to the empty one."""
    rep = make_peer(zmq.REP)
    wire = connect(rep, b"DEALER")
    wire.read_until(lambda: wire.connection.peer_type == b"REP")
    wire.send(encode_message([b"i" * 16, b"hop", b"", b"hello"]))
    assert rep.recv() == b"hello"
    rep.send_multipart([b"", b"world"])
    assert decode_message(wire.message()) == [b"i" * 16, b"hop", b"", b"", b"world"]


@pytest.mark.parametrize(("kind", "ours"), [(zmq.SUB, b"ROUTER"), (zmq.REP, b"ROUTER"), (zmq.REQ, b"DEALER")])
def test_a_wrong_socket_type_is_refused(
    make_peer: MakePeer, connect: Connect, kind: int, ours: bytes
) -> None:
    """libzmq takes our ERROR command for the end of the handshake, and closes."""
    wire = connect(make_peer(kind), ours)
    wire.read_until(lambda: wire.connection.error is not None)
    wire.wait_for_close()


def test_another_mechanism_is_refused(make_peer: MakePeer, connect: Connect) -> None:
    """A PLAIN client is told apart by its greeting."""
    req = make_peer(zmq.REQ)
    req.plain_username = b"user"
    req.plain_password = b"secret"
    wire = connect(req)
    wire.read_until(lambda: wire.connection.error is not None)
    assert wire.connection.error == "peer uses PLAIN, this endpoint NULL"


def test_heartbeats_are_answered(make_peer: MakePeer, connect: Connect) -> None:
    """A peer with ZMQ_HEARTBEAT_IVL gets its PONGs and stays."""
    req = make_peer(zmq.REQ)
    req.setsockopt(zmq.HEARTBEAT_IVL, 10)
    req.setsockopt(zmq.HEARTBEAT_TIMEOUT, PATIENCE * 1000)
    wire = connect(req)
    wire.read_until(lambda: wire.sent.count(peers.pong()) >= 3)
    req.send(b"still here")
    assert wire.message() == encode_message([b"", b"still here"])


def test_our_ping_is_answered(make_peer: MakePeer, connect: Connect) -> None:
    """libzmq answers our PING, and its PONG is passed over."""
    wire = connect(make_peer(zmq.REQ))
    wire.read_until(lambda: wire.connection.answers_pings)
    wire.connection.ping(30)
    wire.send()
    wire.read_until(lambda: wire.received.endswith(peers.pong()))
    assert wire.connection.error is None


def test_what_it_sent_is_the_same_in_every_cut(make_peer: MakePeer, connect: Connect) -> None:
    """A real session, cut in each place, gives the same messages and answers."""
    dealer = make_peer(zmq.DEALER)
    dealer.setsockopt(zmq.ROUTING_ID, b"me")
    wire = connect(dealer)
    sent = [[b"", b"one"], [b"", b"x" * 300, b""], [b"hop", b"", b"three"]]
    raws = []
    for bodies in sent:
        dealer.send_multipart(bodies)
        raws.append(wire.message())
    assert [decode_message(raw) for raw in raws] == sent
    for cut in range(len(wire.received)):
        connection = peers.fresh()
        assert peers.feed(connection, wire.received, [cut]) == raws
        assert peers.take_outbox(connection) == wire.sent
