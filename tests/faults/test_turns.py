"""What can only be made to happen by turning the loop by hand: a device in the test's own process."""

from __future__ import annotations

import contextlib
import errno
import itertools
import select
from collections.abc import Callable, Iterator

import pytest

from tests.faults.raw import RawPeer
from zqd.config import QueueConfig
from zqd.core.settings import QueueSettings
from zqd.endpoints import bind, parse
from zqd.net.device import Device
from zqd.net.link import Stage
from zqd.net.loop import Loop
from zqd.net.side import Room
from zqd.zmtp.frames import encode_message

ANY_PORT = ("tcp://127.0.0.1:0",)


class Bench:
    """A device with small limits, its loop, and what it told."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.events: list[tuple[str, dict[str, object]]] = []
        self.faults: list[Exception] = []
        self.device = Device(
            self.loop,
            QueueConfig("default", ANY_PORT, ANY_PORT, QueueSettings(max_unsent=64 << 10, max_queued=10)),
            boot=bytes(8),
            room=Room(100),
            numbers=itertools.count(1),
            notify=lambda event, fields: self.events.append((event, fields)),
            on_fault=self.faults.append,
        )
        self.loop.parts.append(self.device)
        for side in ("frontend", "backend"):
            self.device.listen(side, bind(parse(ANY_PORT[0])))

    @property
    def frontend(self) -> str:
        """Where clients connect."""
        return str(self.device.frontend.listeners[0].endpoint)

    def turn_until(self, condition: Callable[[], object]) -> None:
        """Turn the loop until the condition holds, or for a while."""
        timer = self.loop.call_at(self.loop.now + 10, lambda: pytest.fail("waited in vain"))
        while not condition():
            self.loop.call_soon(lambda: None)  # the other end is in this thread: never wait for it
            self.loop.turn()
        timer.cancel()

    def told(self, event: str) -> list[dict[str, object]]:
        """The fields of each such event."""
        return [fields for name, fields in self.events if name == event]


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A device at work, without faults at the end."""
    bench = Bench()
    yield bench
    bench.device.close()
    bench.loop.close()
    assert bench.faults == []


def test_stalled_in_the_turn_of_its_request(bench: Bench) -> None:
    """A client that is stalled by a reply in the same turn in which its next request comes is not taken for gone."""
    reply = encode_message([b"", bytes(16 << 20)])
    with RawPeer(bench.frontend) as peer:
        peer.send_handshake(b"DEALER")
        bench.turn_until(lambda: bench.device.queue.clients)
        (client,) = bench.device.queue.clients
        link = bench.device._links[client.number]
        bench.device.queue.out.send(client, reply)
        peer.send(encode_message([b"", b"next"]))
        link._ready(select.EPOLLIN | select.EPOLLOUT)
        assert client.stalled
        assert link.stage is Stage.OPEN
        peer.skip_handshake()
        peer.socket.setblocking(False)

        def request_is_read() -> bool:
            with contextlib.suppress(BlockingIOError):
                peer.socket.recv(1 << 20)
            return client.waiting == 1

        bench.turn_until(request_is_read)


def test_epoll_is_full(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection for which epoll has no room is given up; that is reported, and survived."""

    def no_room(fd: int, events: int, handler: Callable[[int], None]) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with RawPeer(bench.frontend) as peer:
        monkeypatch.setattr(bench.loop, "register", no_room)
        bench.turn_until(lambda: bench.told("accept.failed"))
        monkeypatch.undo()
        peer.read_to_end()
    assert bench.told("accept.failed")[0]["reason"] == "No space left on device"
    with RawPeer(bench.frontend) as peer:
        peer.send_handshake(b"REQ")
        bench.turn_until(lambda: bench.device.queue.clients)


def test_what_was_kept_comes_first(bench: Bench) -> None:
    """Rule 6: what a client has sent behind the message that it was paused with does not overtake it.

    Also where it is relieved in the turn in which the next messages of the same read would be taken.
    """
    with RawPeer(bench.frontend) as peer:
        peer.send_handshake(b"DEALER")
        bench.turn_until(lambda: bench.device.queue.clients)
        (client,) = bench.device.queue.clients
        link = bench.device._links[client.number]
        peer.send(b"".join(encode_message([b"", b"%d" % number]) for number in range(1200)))
        bench.turn_until(lambda: client.paused and link.connection.more)
        for request in bench.device.queue.unanswered():
            bench.device.queue.cancel(request)
        assert not client.paused
        link.go_on()  # as was put off when it was read
        bench.turn_until(lambda: client.waiting == 10)
        waiting = sorted(bench.device.queue.unanswered(), key=lambda request: request.seq)
        assert [bytes(request.raw)[4:] for request in waiting] == [b"%d" % number for number in range(10, 20)]
