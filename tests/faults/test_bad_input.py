from __future__ import annotations

import contextlib
import random
import struct
from pathlib import Path

import pytest
import zmq

from tests.conftest import Connect
from tests.faults.crowd import Crowd
from tests.faults.raw import RawPeer, half
from tests.support.processes import Zqd, wait_for
from tests.zmtp.peers import greeting, ready
from zqd.zmtp.frames import encode_message

REQUEST = encode_message([b"", b"body"])
SIDES = ("frontend", "backend")


def endpoint_of(zqd: Zqd, side: str) -> str:
    """Where `side` listens."""
    endpoint = getattr(zqd, side)
    assert isinstance(endpoint, str)
    return endpoint


@pytest.fixture
def impatient(tmp_path: Path) -> Zqd:
    """A zqd, not yet started, that gives a handshake half a second."""
    return Zqd(tmp_path, "--set", "queues.default.handshake_timeout=500ms")


def refusals(zqd: Zqd) -> list[str]:
    """Why zqd has refused peers."""
    return [line["reason"] for line in zqd.log("peer.refused")]


@pytest.mark.parametrize("side", SIDES)
def test_random_bytes(impatient: Zqd, crowd: Crowd, side: str) -> None:
    """Random bytes end their own connection, which is logged, one by one or in sum, and disturb nobody."""
    dice = random.Random(5)
    with impatient as zqd:
        crowd.worker(zqd.backend)
        crowd.client(zqd.frontend, think=0.001)
        crowd.goes_on()
        fds = zqd.fds()
        for _ in range(100):
            with RawPeer(endpoint_of(zqd, side)) as peer:
                peer.send(dice.randbytes(dice.randrange(1, 4000)))
                peer.read_to_end()
        crowd.goes_on()
        wait_for(lambda: zqd.fds() <= fds, "the descriptors to be given back")
        assert not zqd.log("zqd.fault")
        crowd.finish()
        zqd.stop()
        folded = sum(line["more"] for line in zqd.log("events.folded") if line["of"] == "peer.refused")
        assert len(refusals(zqd)) + folded == 100


@pytest.mark.parametrize("side", SIDES)
def test_random_bytes_after_a_good_handshake(zqd: Zqd, bystanders: Crowd, side: str) -> None:
    """Random traffic of an established peer, whatever it happens to mean, disturbs nobody; the account stays even."""
    dice = random.Random(6)
    for _ in range(100):
        with RawPeer(endpoint_of(zqd, side)) as peer:
            peer.shake_hands(b"DEALER")
            peer.send(dice.randbytes(dice.randrange(1, 4000)))
            if dice.random() < 0.5:
                peer.socket.settimeout(0.01)
                with contextlib.suppress(TimeoutError, ConnectionResetError):
                    peer.socket.recv(65536)
    bystanders.goes_on()
    bystanders.finish()
    queue = zqd.wait_until(
        "the strangers to be gone", lambda queue: (queue["clients"], queue["workers"]) == (0, 1)
    )
    assert queue["received"] == queue["replied"] + queue["failed"] + queue["dropped"]
    assert queue["queued"] == queue["in_flight"] == 0
    assert not zqd.log("zqd.fault")


@pytest.mark.parametrize("side", SIDES)
def test_mutated_conversations(zqd: Zqd, bystanders: Crowd, side: str) -> None:
    """Bytes flipped, left out or repeated in a good conversation disturb nobody."""
    dice = random.Random(7)
    good = greeting() + ready(b"DEALER", b"id") + REQUEST * 3
    for _ in range(200):
        bad = bytearray(good)
        for _ in range(dice.randrange(1, 4)):
            place = dice.randrange(len(bad))
            match dice.randrange(3):
                case 0:
                    bad[place] = dice.randrange(256)
                case 1:
                    del bad[place : place + dice.randrange(1, 9)]
                case _:
                    bad[place:place] = bad[place : place + dice.randrange(1, 9)]
        with RawPeer(endpoint_of(zqd, side)) as peer:
            peer.send(bytes(bad))
    bystanders.goes_on()
    assert not zqd.log("zqd.fault")


@pytest.mark.parametrize("side", SIDES)
def test_truncated_handshake(zqd: Zqd, bystanders: Crowd, side: str) -> None:
    """A handshake that breaks off, wherever that is, leaves nothing behind."""
    handshake = greeting() + ready(b"DEALER")
    fds = zqd.fds()
    for size in range(len(handshake)):
        with RawPeer(endpoint_of(zqd, side)) as peer:
            peer.send(handshake[:size])
    bystanders.goes_on()
    wait_for(lambda: zqd.fds() <= fds, "the descriptors to be given back")
    assert not zqd.log("zqd.fault")


@pytest.mark.parametrize("side", SIDES)
def test_silence(impatient: Zqd, crowd: Crowd, side: str) -> None:
    """A connection that falls silent in its handshake is closed after `handshake_timeout`, and that is logged."""
    handshake = greeting() + ready(b"DEALER")
    with impatient as zqd, contextlib.ExitStack() as stack:
        crowd.worker(zqd.backend)
        crowd.client(zqd.frontend, think=0.001)
        peers = [stack.enter_context(RawPeer(endpoint_of(zqd, side))) for _ in range(4)]
        for peer, size in zip(peers, (0, 5, 40, 70), strict=True):
            peer.send(handshake[:size])
        for peer in peers:
            peer.read_to_end()
        crowd.goes_on()
        assert refusals(zqd) == ["no handshake within 0.5 s"] * 4


def test_patience_ends_with_the_handshake(impatient: Zqd, crowd: Crowd) -> None:
    """A peer whose handshake is over may be silent for as long as it likes."""
    with impatient as zqd, RawPeer(zqd.frontend) as peer, RawPeer(zqd.frontend) as silent:
        peer.shake_hands(b"REQ")
        silent.read_to_end()  # later than the other's time would have been up
        crowd.worker(zqd.backend)
        peer.send(REQUEST)
        assert peer.receive_message()[:2] == [b"", b"body"]


def test_half_a_request_then_silence(zqd: Zqd, bystanders: Crowd) -> None:
    """Half a request waits for its other half, at nobody's expense."""
    message = encode_message([b"", bytes(100_000)])
    with RawPeer(zqd.frontend) as peer:
        peer.shake_hands(b"REQ")
        peer.send(half(message))
        bystanders.goes_on()
        queue = zqd.queue()
        assert (queue["clients"], queue["malformed"]) == (2, 0)
        peer.send(message[len(half(message)) :])
        assert peer.receive_message()[:2] == [b"", bytes(100_000)]


def test_half_a_reply_then_silence(tmp_path: Path, crowd: Crowd, connect: Connect) -> None:
    """A worker that falls silent in the middle of a reply is given up at the next heartbeat; another gets its request."""
    beats = ["backend_heartbeat_interval=200ms", "heartbeat_timeout=300ms"]
    options = [word for beat in beats for word in ("--set", f"queues.default.{beat}")]
    with Zqd(tmp_path, *options) as zqd, RawPeer(zqd.backend) as worker:
        worker.shake_hands(b"REP")
        client = connect(zmq.REQ, zqd.frontend)
        client.send(b"body")
        worker.send(half(encode_message([*worker.receive_message(), bytes(1000)])))
        other = crowd.worker(zqd.backend)
        assert client.recv_multipart()[:2] == [b"body", str(other.pid).encode()]
        assert len(zqd.log("peer.silent")) == 1
        assert zqd.queue()["retried"] == 1


def test_a_client_leaves_in_mid_message(zqd: Zqd, bystanders: Crowd) -> None:
    """Half a message whose client has left was never a request."""
    for _ in range(20):
        with RawPeer(zqd.frontend) as peer:
            peer.shake_hands(b"REQ")
            peer.send(half(encode_message([b"", bytes(50_000)])))
    bystanders.goes_on()
    bystanders.finish()
    queue = zqd.wait_until("them to be gone", lambda queue: queue["clients"] == 0)
    assert queue["received"] == queue["replied"] == bystanders.answered
    assert queue["malformed"] == 0


def test_byte_at_a_time(zqd: Zqd, crowd: Crowd, connect: Connect) -> None:
    """Peers that send one byte at a time are served like others."""
    worker = connect(zmq.REP, zqd.backend)
    with RawPeer(zqd.frontend) as peer:
        peer.socket.setsockopt(6, 1, 1)  # IPPROTO_TCP, TCP_NODELAY
        for byte in greeting() + ready(b"REQ") + REQUEST:
            peer.send(bytes((byte,)))
        worker.send(worker.recv() + b" came")
        peer.skip_handshake()
        assert peer.receive_message() == [b"", b"body came"]


@pytest.mark.parametrize("side", SIDES)
def test_announced_size(zqd: Zqd, bystanders: Crowd, side: str) -> None:
    """A frame that is announced with 2^63 bytes ends its connection at once, and costs no memory."""
    resident = zqd.resident()
    with RawPeer(endpoint_of(zqd, side)) as peer:
        peer.shake_hands(b"DEALER")
        peer.send(b"\x01\x00" + b"\x02" + struct.pack("!Q", 1 << 63) + b"and a few bytes")
        peer.read_to_end()
    (reason,) = refusals(zqd)
    assert f"message of {(1 << 63) + 11} bytes announced" in reason
    assert zqd.resident() - resident < 8 << 20
    bystanders.goes_on()


def test_announced_size_without_an_envelope(zqd: Zqd, bystanders: Crowd) -> None:
    """The same in the first frame, where nobody could be told."""
    with RawPeer(zqd.frontend) as peer:
        peer.shake_hands(b"DEALER")
        peer.send(b"\x02" + struct.pack("!Q", 1 << 63))
        peer.read_to_end()
    assert "without an envelope" in refusals(zqd)[0]
    bystanders.goes_on()


def test_too_large_request(tmp_path: Path, crowd: Crowd, connect: Connect) -> None:
    """Rule 15: a request over the limit fails with 413, and its client's next one is answered."""
    with Zqd(tmp_path, "--set", "queues.default.max_message_size=64KiB") as zqd:
        crowd.worker(zqd.backend)
        client = connect(zmq.REQ, zqd.frontend)
        client.send(bytes(70_000))
        assert client.recv() == b"ZQD-ERROR 413 larger than 65536 bytes"
        client.send(b"small")
        assert client.recv_multipart()[0] == b"small"
        queue = zqd.queue()
        assert (queue["received"], queue["replied"], queue["failed"]) == (2, 1, 1)


def test_message_without_an_empty_frame(zqd: Zqd, bystanders: Crowd) -> None:
    """A message without an empty frame, or with nothing after it, counts as malformed; its connection goes on."""
    with RawPeer(zqd.frontend) as peer:
        peer.shake_hands(b"DEALER")
        peer.send_message(b"body")
        peer.send_message(b"envelope", b"body")
        peer.send_message(b"envelope", b"")
        peer.send_message(b"")
        peer.send(REQUEST)
        assert peer.receive_message()[:2] == [b"", b"body"]
    assert zqd.queue()["malformed"] == 4
    assert [line["level"] for line in zqd.log("message.malformed")] == ["warning"] * 4
    bystanders.goes_on()


def test_a_worker_that_answers_without_an_id(zqd: Zqd, crowd: Crowd, connect: Connect) -> None:
    """Law 5: a worker whose frame is no id is closed, and its request goes to another."""
    with RawPeer(zqd.backend) as worker:
        worker.shake_hands(b"REP")
        client = connect(zmq.REQ, zqd.frontend)
        client.send(b"body")
        dispatch, *rest = worker.receive_message()
        assert (len(dispatch), rest) == (16, [b"", b"body"])
        worker.send_message(b"no id", b"", b"answer")
        worker.read_to_end()
    other = crowd.worker(zqd.backend)
    assert client.recv_multipart()[:2] == [b"body", str(other.pid).encode()]
    queue = zqd.queue()
    assert (queue["malformed"], queue["retried"], queue["replied"]) == (1, 1, 1)
    assert len(zqd.log("message.malformed")) == 1


def test_a_worker_that_makes_up_an_id(zqd: Zqd, bystanders: Crowd) -> None:
    """Law 5: a well-formed id that the worker does not hold is an orphan; the worker stays."""
    with RawPeer(zqd.backend) as worker:
        worker.shake_hands(b"REP")
        zqd.wait_until("both workers", lambda queue: queue["workers"] == 2)
        worker.send_message(bytes(16), b"", b"answer")
        zqd.wait_until("the orphan", lambda queue: queue["orphaned"] == 1)
        assert zqd.queue()["workers"] == 2


def test_a_worker_that_answers_under_another_envelope(zqd: Zqd, connect: Connect) -> None:
    """Law 5: a reply that does not start with the request's envelope fails the request with 502."""
    with RawPeer(zqd.backend) as worker:
        worker.shake_hands(b"REP")
        client = connect(zmq.REQ, zqd.frontend)
        client.send(b"body")
        dispatch, *_ = worker.receive_message()
        worker.send_message(dispatch, b"another", b"", b"answer")
        assert client.recv() == b"ZQD-ERROR 502 the worker's reply has another envelope"
        client.send(b"again")
        dispatch, *_ = worker.receive_message()
        worker.send_message(dispatch, b"", b"answer")
        assert client.recv() == b"answer"


@pytest.mark.parametrize(
    ("side", "kind", "wanted"), [("frontend", zmq.REP, "ROUTER"), ("backend", zmq.REQ, "DEALER")]
)
def test_wrong_socket_type(
    zqd: Zqd, bystanders: Crowd, connect: Connect, side: str, kind: int, wanted: str
) -> None:
    """A peer at the wrong side is refused, the log says why, and libzmq does not try again."""
    connect(kind, endpoint_of(zqd, side))
    wait_for(lambda: refusals(zqd), "the refusal")
    bystanders.goes_on()
    (reason,) = refusals(zqd)
    assert f"cannot talk to {wanted}" in reason


def test_http(zqd: Zqd, bystanders: Crowd) -> None:
    """A browser that strays here is refused with a line that says what it is not."""
    with RawPeer(zqd.frontend) as peer:
        peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        peer.read_to_end()
    assert refusals(zqd) == ["not a ZMTP peer"]
    bystanders.goes_on()


def test_storm_of_connections(zqd: Zqd, bystanders: Crowd) -> None:
    """A thousand connections that come and go at once leave nothing behind, and not a line each."""
    fds = zqd.fds()
    for _ in range(1000):
        with RawPeer(zqd.frontend) as peer:
            peer.send(b"\x00\x00")
    bystanders.goes_on()
    wait_for(lambda: zqd.fds() <= fds, "the descriptors to be given back")
    assert not zqd.log("zqd.fault")
    assert len(zqd.log("peer.refused")) < 500


def test_commands_in_traffic(zqd: Zqd, bystanders: Crowd) -> None:
    """A PING is answered with its context, an unknown command is passed over, and an ERROR ends the connection."""
    with RawPeer(zqd.frontend) as peer:
        peer.shake_hands(b"REQ")
        peer.send(b"\x04\x09\x04PING\x00\x0aab" + b"\x04\x06\x05BREAK")
        assert peer.receive_frame() == (4, b"\x04PONGab")
        peer.send(REQUEST)
        assert peer.receive_message()[:2] == [b"", b"body"]
        peer.send(b"\x04\x0a\x05ERROR\x03bye")
        peer.read_to_end()
    assert refusals(zqd) == ["peer gave up: bye"]
    bystanders.goes_on()
