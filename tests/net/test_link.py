"""Links over a pair of connected sockets, with the loop turned by hand."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import random
import socket
from collections.abc import Iterator

import pytest

from tests.zmtp import peers
from zqd.config import load
from zqd.core.peers import Client
from zqd.net.device import Device
from zqd.net.link import LINGER, Link, Stage
from zqd.net.loop import Loop
from zqd.net.side import Room
from zqd.zmtp.frames import COMMAND, encode_frame, encode_message
from zqd.zmtp.handshake import command
from zqd.zmtp.pieces import Pieces

PING = encode_frame(command(b"PING", b"\0\0"), COMMAND)


class Bench:
    """A device without endpoints, and the other end of one connection to it."""

    def __init__(self, **settings: object) -> None:
        config = load(None, [], {}).queues[0]
        config = dataclasses.replace(config, settings=dataclasses.replace(config.settings, **settings))  # type: ignore[arg-type]
        self.faults: list[Exception] = []
        self.events: list[tuple[str, dict[str, object]]] = []
        self.loop = Loop()
        self.device = Device(
            self.loop,
            config,
            boot=b"12345678",
            room=Room(10),
            numbers=itertools.count(1),
            notify=lambda event, fields: self.events.append((event, fields)),
            on_fault=self.faults.append,
        )
        self.loop.parts.append(self.device)
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        self.peer.setblocking(False)
        self.device._client_connected(ours, "a test")
        self.link: Link = self.device._links[1]

    def close(self) -> None:
        """Give everything back."""
        self.device.close()
        self.loop.close()
        self.peer.close()
        assert self.faults == []

    def turn(self) -> None:
        """Turn the loop once, and do not wait in it."""
        self.loop.call_soon(lambda: None)
        self.loop.turn()

    def send(self, data: bytes) -> None:
        """The peer sends, and it is read."""
        self.peer.sendall(data)
        self.turn()

    def received(self) -> bytes:
        """What the peer has got since the last time; without the end of the stream."""
        try:
            return self.peer.recv(1 << 20)
        except BlockingIOError:
            return b""


@pytest.fixture
def bench() -> Iterator[Bench]:
    """An established client whose heartbeats come every hundredth of a second."""
    bench = Bench(frontend_heartbeat_interval=0.01)
    bench.send(peers.greeting() + peers.ready(b"REQ"))
    yield bench
    bench.close()


def test_no_heartbeat_after_the_end_has_begun(bench: Bench) -> None:
    """A PING after our FIN would be an error on the socket, and close it over what the peer has not read yet."""
    assert bench.link.peer is not None
    bench.link.end()
    began = bench.loop.now
    while bench.loop.now < began + 0.1:  # ten intervals
        bench.turn()
    assert bench.link.stage is Stage.LINGERING


def test_a_flood_of_pings_that_reads_no_pongs_costs_no_memory(bench: Bench) -> None:
    """Behind a backlog a PONG would tell the peer nothing: it is left out."""
    flood = PING * 1000
    sizes = []
    for _ in range(500):
        try:
            bench.peer.send(flood)
        except BlockingIOError:
            break
        bench.turn()
        sizes.append(bench.link.outflow.size)
    assert sizes[-1] > 0  # the peer's socket is full
    assert max(sizes) <= 2 * len(flood)


def test_the_last_look_takes_everything_that_was_sent(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a stop nothing that a client has sent before stays without an answer, however much it is."""
    monkeypatch.setattr("zqd.net.link.READ_SIZE", 10_000)
    assert isinstance(bench.link.peer, Client)
    bench.link.peer.replied_at -= 10  # so that it is not waited for
    bench.received()
    bench.device.queue.regime.stop(bench.loop.now, 0.0)
    request = encode_message([b"", b"x" * 100])
    count = 1500  # more than one call to the connection gives, and more than one read
    bench.peer.setblocking(True)
    bench.peer.sendall(request * count)
    bench.peer.setblocking(False)
    got = b""
    began = bench.loop.now
    while got.count(b"ZQD-ERROR 503") < count and bench.loop.now < began + 30:
        bench.turn()
        got += bench.received()
    assert got.count(b"ZQD-ERROR 503") == count


def test_a_request_that_crosses_the_end_is_told(bench: Bench) -> None:
    """Rule 22: it is lost, for the connection was ended before it was read; the log says so, once for each read."""
    bench.link.end()
    bench.send(encode_message([b"", b"too late"]) * 3)
    bench.send(PING)
    assert [(event, fields["count"]) for event, fields in bench.events if event == "request.crossed"] == [
        ("request.crossed", 3)
    ]


@pytest.mark.parametrize("said", [b"", peers.greeting()])
def test_who_only_looks_whether_somebody_listens_is_no_news(bench: Bench, said: bytes) -> None:
    """It hangs up before its handshake is over, with what we have sent unread."""
    told = len(bench.events)
    ours, other = socket.socketpair()
    ours.setblocking(False)
    bench.device._client_connected(ours, "somebody")
    link = bench.device._links[2]
    other.send(said)
    other.close()
    while link.stage is not Stage.CLOSED:
        bench.turn()
    assert bench.events[told:] == []


@pytest.mark.parametrize("seed", range(6))
def test_what_comes_in_pieces_is_taken_whole_and_in_order(bench: Bench, seed: int) -> None:
    """Plain requests and others, PINGs among them, of all sizes: however a stream is cut, the queue gets the same of it."""
    chance = random.Random(seed)
    sizes = (0, 1, 60, 255, 256, 5000) if seed % 2 else (0, 1, 60, 400, 20_000, 70_000)
    messages = [
        encode_message([*[b"id"] * (chance.random() < 0.1), b"", chance.randbytes(chance.choice(sizes))])
        for _ in range(200)
    ]
    stream = b"".join(message + PING * (chance.random() < 0.1) for message in messages)
    most = chance.choice((3000, 40_000, 200_000))
    at = 0
    while at < len(stream):
        piece = stream[at : at + chance.randrange(1, most)]
        with contextlib.suppress(BlockingIOError):
            at += bench.peer.send(piece)
        bench.turn()
        bench.received()
    began = bench.loop.now
    while bench.device.queue.seq < len(messages) and bench.loop.now < began + 30:
        bench.turn()
    waiting = sorted(bench.device.queue.unanswered(), key=lambda request: request.seq)
    assert [bytes(request.raw) for request in waiting] == messages
    assert bench.device.queue.admission.unfinished == 0
    assert bench.events[-1][0] == "client.joined"


def test_a_paused_client_goes_on_where_it_was_held_up() -> None:
    """The queue is full in the middle of a read: what follows is kept and taken later, each once, in order."""
    bench = Bench(max_queued=10)
    bench.send(peers.greeting() + peers.ready(b"REQ"))
    messages = [encode_message([b"", b"%d" % number]) for number in range(50)]
    queue = bench.device.queue
    bench.send(b"".join(messages[:30]))
    bench.send(b"".join(messages[30:]))
    taken: list[bytes] = []
    began = bench.loop.now
    while len(taken) < len(messages) and bench.loop.now < began + 30:
        assert queue.line.size <= 10
        for request in sorted(queue.unanswered(), key=lambda request: request.seq):
            taken.append(bytes(request.raw))
            queue.cancel(request)
        bench.turn()
        bench.received()
    bench.close()
    assert taken == messages


def test_a_closed_link_does_not_touch_whoever_has_its_descriptor_now(bench: Bench) -> None:
    """The number is given to the next connection: what is read and sent there is none of ours."""
    link = bench.link
    link.lost("")
    other, far = socket.socketpair()
    far.sendall(b"not for you")
    link.read()
    link._outbox.append(b"not from me")
    link.flush()
    assert other.recv(100) == b"not for you"
    other.close()
    assert far.recv(100) == b""
    far.close()


def test_what_was_sent_before_a_peer_stopped_reading_is_taken(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A PONG cannot be sent any more, in the middle of a request: the rest of that still comes, and nothing is made up."""
    bench.device.queue.settings = dataclasses.replace(bench.device.queue.settings, on_client_left="run")
    inner = encode_message([b"", b"smuggled"])
    plain, request = encode_message([b"", b"plain"]), encode_message([b"", b"A" * 20 + inner + b"B" * 20])
    monkeypatch.setattr("zqd.net.link.READ_SIZE", len(plain + PING) + request.index(inner))
    bench.peer.shutdown(socket.SHUT_RD)
    bench.send(plain + PING + request)
    while bench.link.stage is not Stage.CLOSED:
        bench.turn()
    waiting = sorted(bench.device.queue.unanswered(), key=lambda request: request.seq)
    assert [bytes(request.raw) for request in waiting] == [plain, request]


def test_a_flood_of_pings_that_cannot_be_answered_is_no_fault(bench: Bench) -> None:
    """The peer has stopped reading: it is read for a while, and let go."""
    bench.peer.shutdown(socket.SHUT_RD)
    began = bench.loop.now
    while bench.link.stage is not Stage.CLOSED and bench.loop.now < began + 30:
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            bench.peer.send(PING * 1000)
        bench.turn()
    assert bench.link.stage is Stage.CLOSED


def test_a_reload_does_not_bring_back_who_is_going() -> None:
    """A worker that was refused lingers for a while: it stays out of the queue."""
    bench = Bench()
    ours, worker = socket.socketpair()
    ours.setblocking(False)
    bench.device._worker_connected(ours, "a worker")
    worker.sendall(peers.greeting() + peers.ready(b"REP"))
    bench.turn()
    assert len(bench.device.queue.workers) == 1
    worker.sendall(b"\x08\x00")  # reserved flags
    bench.turn()
    assert bench.device._links[2].stage is Stage.LINGERING
    bench.device.adopt(bench.device.config)
    assert len(bench.device.queue.workers) == 0
    worker.close()
    bench.close()


@pytest.mark.parametrize("last", [b"small", b"x" * 100_000])
def test_messages_in_one_piece_and_in_several_go_out_in_order(bench: Bench, last: bytes) -> None:
    """A reply that came in pieces, before and behind others."""
    bench.received()
    assert bench.link.peer is not None
    parts = [b"a" * 70_000, b"b" * 300_000, b"c"]
    pieces = Pieces(parts[0], sum(map(len, parts[1:])))
    for part in parts[1:]:
        pieces.add(part)
    bench.link.peer.outbox += [b"first", pieces, last]
    bench.link.flush()
    expected = b"first" + b"".join(parts) + last
    got = b""
    began = bench.loop.now
    while len(got) < len(expected) and bench.loop.now < began + 30:
        got += bench.received()
        bench.turn()
    assert got.replace(PING, b"") == expected


def test_who_still_reads_gets_all_of_it_at_the_end(bench: Bench) -> None:
    """Rule 21: however slowly, and though the socket takes nothing new while only a little of it is free."""
    assert bench.link.peer is not None
    bench.received()
    body = bytes(1 << 20)
    bench.link.peer.outbox.append(body)
    bench.link.end()
    got = 0
    began = bench.loop.now
    while got < len(body) and bench.link.stage is not Stage.CLOSED:
        reads = bench.loop.now > began + (LINGER / 2 if not got else LINGER * 3 / 2)
        if reads:
            with contextlib.suppress(BlockingIOError):
                got += len(bench.peer.recv(100_000))
        bench.turn()
    assert got == len(body)
