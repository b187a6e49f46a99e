"""Everything at once, for a while: in the test command a short one, longer with ZQD_SOAK_SECONDS=600 tests/run tests/soak."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from tests.faults.crowd import Crowd, Member
from tests.faults.raw import RawPeer
from tests.support.processes import PATIENCE, Zqd, wait_for

SECONDS = float(os.environ.get("ZQD_SOAK_SECONDS", "20"))
WARM_UP = SECONDS / 3
CHANGE_EVERY = 0.25  # seconds: someone dies, someone leaves, others come
PROBE_EVERY = 0.1  # seconds: memory and account
MIB = 1 << 20

SHAPES = 1 << 21  # bytes of random data from which all bodies are cut

Record = Callable[[str, object], None]


class Dealer:
    """A DEALER that has several requests of all sizes under way, and knows each answer."""

    OUTSTANDING = 6

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, seed: int) -> None:
        self._dice = random.Random(seed)
        self._shapes = self._dice.randbytes(SHAPES)
        self.socket = context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.connect(endpoint)
        self.answered = 0
        self.awaited: dict[bytes, list[bytes]] = {}
        self._number = 0

    def ask(self) -> None:
        """As many requests as may be under way."""
        while len(self.awaited) < self.OUTSTANDING:
            size = self._dice.choice((0, 1, 255, 256, int(2 ** self._dice.uniform(0, 20)), MIB))
            start = self._dice.randrange(SHAPES - size)
            tag = b"%d" % self._number
            self._number += 1
            options = self._dice.choice(((), (), (b"zqd/1 priority=%d" % self._dice.randrange(10),)))
            message = [*options, tag, b"", self._shapes[start : start + size]]
            self.awaited[tag] = message
            self.socket.send_multipart(message)

    def take(self) -> None:
        """What has been answered; each is the right answer to one request that was not answered yet."""
        while self.socket.poll(0):
            reply = self.socket.recv_multipart()
            tag = reply[reply.index(b"") - 1]
            sent = self.awaited.pop(tag)
            assert reply[: len(sent)] == sent
            self.answered += 1

    def finish(self) -> None:
        """Wait for the rest, and leave."""
        while self.awaited:
            assert self.socket.poll(int(PATIENCE * 1000)), f"no answer to {len(self.awaited)} requests"
            self.take()
        self.socket.close()

    def leave(self) -> None:
        """Leave at once, whatever is under way."""
        self.socket.close()


class Load:
    """Who is there, and who comes and goes."""

    def __init__(self, zqd: Zqd, crowd: Crowd, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self._zqd, self._crowd, self._context = zqd, crowd, context
        self._dice = random.Random(11)
        self._workers: list[Member] = []
        self._clients: list[Member] = []
        self.dealers: list[Dealer] = []
        self.killed = 0
        for _ in range(3):
            self._new_worker()
        for _ in range(4):
            self._new_client()
            self._new_dealer()

    def _new_worker(self) -> None:
        self._workers.append(self._crowd.worker(self._zqd.backend, seconds=0.0005))

    def _new_client(self) -> None:
        self._clients.append(self._crowd.client(self._zqd.frontend, think=0.001))

    def _new_dealer(self) -> None:
        self.dealers.append(Dealer(self._context, self._zqd.frontend, self._dice.randrange(1 << 30)))

    def change(self) -> None:
        """Somebody dies or leaves, and somebody comes."""
        self.killed += 1
        match self._dice.randrange(5):
            case 0:
                self._clients.pop(0).kill()
                self._new_client()
            case 1:
                self.dealers.pop(0).leave()
                self._new_dealer()
            case 2:
                with RawPeer(self._dice.choice((self._zqd.frontend, self._zqd.backend))) as stranger:
                    stranger.send(self._dice.randbytes(self._dice.randrange(1, 500)))
            case _:
                self._workers.pop(0).kill()
                self._new_worker()

    def finish(self) -> None:
        """Every client gets its answers and leaves; then the workers die."""
        for dealer in self.dealers:
            dealer.finish()
        self._crowd.finish()
        for worker in self._workers:
            worker.kill()


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    """Of the DEALERs; whatever a failed test leaves open is closed."""
    context = zmq.Context()
    yield context
    context.destroy(linger=0)


@pytest.mark.slow
@pytest.mark.timeout(3 * SECONDS + 2 * PATIENCE)
def test_soak(
    tmp_path: Path, crowd: Crowd, context: zmq.Context[zmq.Socket[bytes]], record_property: Record
) -> None:
    """Under mixed load, while workers die and clients leave, nothing is lost, memory stays flat, descriptors come back."""
    options = ("--set", "queues.default.max_attempts=1000", "--log-level", "warning")
    with Zqd(tmp_path, *options, wrapper=("env", "PYTHONMALLOC=pymalloc")) as zqd:
        fds = zqd.fds()
        load = Load(zqd, crowd, context)
        began = now = time.monotonic()
        change, probe = began + CHANGE_EVERY, began
        memory: list[tuple[float, int]] = []
        while now < began + SECONDS:
            for dealer in load.dealers:
                dealer.ask()
            zmq.select([dealer.socket for dealer in load.dealers], [], [], 0.05)
            for dealer in load.dealers:
                dealer.take()
            now = time.monotonic()
            if now >= change:
                change = now + CHANGE_EVERY
                load.change()
            if now >= probe:
                probe = now + PROBE_EVERY
                memory.append((now - began, zqd.resident()))
                queue = zqd.queue()
                ended = queue["replied"] + queue["failed"] + queue["dropped"]
                assert queue["received"] == ended + queue["queued"] + queue["in_flight"]
        load.finish()
        queue = zqd.wait_until("all to be gone", lambda queue: queue["clients"] == queue["workers"] == 0)
        assert queue["received"] == queue["replied"] + queue["dropped"]
        assert (queue["failed"], queue["queued"], queue["in_flight"]) == (0, 0, 0)
        assert queue["replied"] >= crowd.answered + sum(dealer.answered for dealer in load.dealers)
        assert not zqd.log("zqd.fault")
        wait_for(lambda: zqd.fds() <= fds, "the descriptors to be given back")
        early, late = level(memory, WARM_UP, 2 * WARM_UP), level(memory, 2 * WARM_UP, SECONDS)
        record_property("soak: requests answered", queue["replied"])
        record_property("soak: deaths and departures", load.killed)
        record_property(
            "soak: MiB resident after warm-up, at the end, when all have gone",
            [early, late, round(zqd.resident() / MIB, 1)],
        )
        assert late < early * 1.2 + 8
        assert zqd.resident() / MIB < early * 1.2 + 8


def level(memory: list[tuple[float, int]], start: float, end: float) -> float:
    """The median of what was resident in a span of time, MiB."""
    return round(statistics.median(size for when, size in memory if start <= when < end) / MIB, 1)
