"""A server whose loop is turned by hand, with raw sockets as its peers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.zmtp.peers import greeting, ready
from zqd.core.peers import Peer
from zqd.endpoints import IpcEndpoint, bind
from zqd.net.link import Link
from zqd.net.loop import Loop
from zqd.net.server import HANDSHAKE_TIMEOUT, Server
from zqd.zmtp.connection import Message
from zqd.zmtp.frames import encode_message

MOST = 3  # connections


class Listening:
    """A role that keeps what it is told."""

    heartbeat_interval = 0.0
    reading = True
    hand = None

    def __init__(self, link: Link, bench: Bench) -> None:
        self.link = link
        self.bench = bench
        self.left = False
        bench.roles.append(self)

    def join(self) -> Peer:
        """Known from now on."""
        self.peer = Peer(self.link.number, self.link.address, "", self.link.loop.now)
        return self.peer

    def take(self, messages: list[Message]) -> None:
        """Kept."""
        self.bench.messages += messages

    def leave(self) -> None:
        """Noted."""
        self.left = True

    def adopt(self) -> None:
        """Never asked."""

    def unsent(self, size: int) -> None:
        """Of no interest."""


class Bench:
    """A ROUTER server at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now = 1000.0
        self.events: list[tuple[str, dict[str, object]]] = []
        self.faults: list[Exception] = []
        self.messages: list[Message] = []
        self.roles: list[Listening] = []
        self.peers: list[socket.socket] = []
        self.loop = Loop()
        self.server = Server(
            "control",
            self.loop,
            socket_type=b"ROUTER",
            make_role=lambda link: Listening(link, self),
            max_message_size=1000,
            most=MOST,
            notify=lambda event, fields: self.events.append((event, fields)),
            on_fault=self.faults.append,
        )
        self.server.listen(bind(IpcEndpoint(str(path))))

    def close(self) -> None:
        """Give everything back."""
        self.server.close()
        self.loop.close()
        for peer in self.peers:
            peer.close()

    def turn(self, turns: int = 3) -> None:
        """Turn the loop, and do not wait in it."""
        for _ in range(turns):
            self.loop.call_soon(lambda: None)
            self.loop.turn()

    def connect(self, data: bytes = b"") -> socket.socket:
        """A peer that has connected, and has sent this."""
        peer = socket.socket(socket.AF_UNIX)
        self.peers.append(peer)
        peer.connect(str(self.path))
        peer.setblocking(False)
        peer.send(data)
        self.turn()
        return peer


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A server without peers."""
    bench = Bench(tmp_path / "s")
    yield bench
    bench.close()


HELLO = greeting() + ready(b"DEALER")


def closed(peer: socket.socket) -> bool:
    """The server has hung up."""
    try:
        while peer.recv(1 << 16):
            pass
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    return True


def test_a_peer_is_served(bench: Bench) -> None:
    """Its messages reach its role, and its end does."""
    peer = bench.connect(HELLO + encode_message([b"", b"body"]))
    assert bench.messages == [encode_message([b"", b"body"])]
    peer.close()
    bench.turn()
    assert [role.left for role in bench.roles] == [True]


def test_the_quietest_makes_room(bench: Bench) -> None:
    """The one that was heard the longest ago, handshake or not; the others stay, and it is told."""
    peers = [bench.connect(HELLO) for _ in range(MOST)]
    peers[0].send(encode_message([b"", b"I am here"]))
    bench.turn()
    last = bench.connect(HELLO)
    assert [closed(peer) for peer in (*peers, last)] == [False, True, False, False]
    assert [event for event, _ in bench.events] == ["accept.evicted"]
    assert bench.events[0][1]["side"] == "control"
    bench.connect()
    assert [closed(peer) for peer in (*peers, last)] == [False, True, True, False]


def test_however_many_come(bench: Bench) -> None:
    """Never more than that many are kept."""
    peers = [bench.connect() for _ in range(50)]
    assert [closed(peer) for peer in peers] == [True] * (50 - MOST) + [False] * MOST


def test_a_peer_that_says_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is ended when its time for the handshake is over."""
    peer = bench.connect()
    assert not closed(peer)
    later = bench.loop.now + HANDSHAKE_TIMEOUT + 0.1
    monkeypatch.setattr("zqd.net.loop.time.monotonic", lambda: later)
    bench.turn()
    assert closed(peer)
    (event,) = bench.events
    assert event[0] == "peer.refused"
    assert event[1]["reason"] == f"no handshake within {HANDSHAKE_TIMEOUT:g} s"


@pytest.mark.parametrize("kind", [b"SUB", b"PUB", b"PULL", b"REP"])
def test_a_peer_of_another_kind(bench: Bench, kind: bytes) -> None:
    """Is refused, and its role never gets a peer."""
    peer = bench.connect(greeting() + ready(kind) + encode_message([b"", b"body"]))
    assert [event for event, _ in bench.events] == ["peer.refused"]
    assert bench.messages == []
    peer.close()


def test_garbage(bench: Bench) -> None:
    """Is refused and told; nothing is raised."""
    bench.connect(b"\0" * 100)
    assert [event for event, _ in bench.events] == ["peer.refused"]
    assert bench.faults == []


def test_a_role_that_fails(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours costs that connection, and is told."""
    peer = bench.connect(HELLO)

    def fail(_: list[Message]) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(bench.roles[0], "take", fail)
    peer.send(encode_message([b"", b"body"]))
    bench.turn()
    assert [type(fault) for fault in bench.faults] == [ZeroDivisionError]
    assert closed(peer)
    other = bench.connect(HELLO)
    assert not closed(other)


def test_the_end(bench: Bench) -> None:
    """Every connection and the listener's file are gone; roles are told; twice is once."""
    peers = [bench.connect(HELLO), bench.connect()]
    bench.server.close()
    assert [closed(peer) for peer in peers] == [True, True]
    assert [role.left for role in bench.roles] == [True, False]
    assert not bench.path.exists()
    assert bench.server.listeners == []
    bench.server.close()
