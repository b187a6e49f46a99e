"""Messages that come together: the outcome is that of one by one."""

from __future__ import annotations

import random

import pytest

from zqd.core.check import check
from zqd.core.intake import take_in
from zqd.core.peers import Client, Worker
from zqd.core.queue import Queue
from zqd.core.settings import QueueSettings
from zqd.zmtp.connection import Message, Oversize
from zqd.zmtp.frames import EMPTY_MORE, encode_message


def one_by_one(queue: Queue, client: Client, messages: list[Message], now: float) -> int:
    """What `take_in` has to do, in the plainest words."""
    for accepted, message in enumerate(messages):
        if isinstance(message, Oversize):
            queue.oversize_request(client, message.envelope)
        elif not queue.request(client, message, now):
            return accepted
    return len(messages)


class World:
    """A queue with two clients and a worker; `take` puts messages into it."""

    def __init__(self, settings: QueueSettings, together: bool) -> None:
        self.queue = Queue("q", settings, b"12345678")
        self.clients = [Client(number, f"c{number}", "", 0.0) for number in (1, 2)]
        for client in self.clients:
            self.queue.join_client(client)
        self.worker = Worker(3, "w", "", 0.0, capacity=2)
        self.queue.join_worker(self.worker, 0.0)
        self.take = take_in if together else one_by_one

    def state(self) -> object:
        """All that can be told from outside."""
        queue, out = self.queue, self.queue.out
        return (
            [
                (r.seq, r.client.number, bytes(r.raw), r.waiting)
                for r in sorted(queue.unanswered(), key=lambda r: r.seq)
            ],
            queue.ledger.counters.as_dict(),
            queue.line.bytes,
            queue.deadline,
            [(c.received, c.waiting, c.in_flight, c.paused, c.outbox) for c in self.clients],
            self.worker.outbox,
            out.notices,
            [client.number for client in out.resumed],
        )


ODD: list[Message] = [
    encode_message([b"id", b"", b"with an id"]),
    encode_message([b"zqd/1 priority=9", b"", b"urgent"]),
    encode_message([b"zqd/1 nonsense", b"", b"bad"]),
    encode_message([b"no envelope"]),
    Oversize(EMPTY_MORE, 1 << 30),
]
SETTINGS = {
    "defaults": QueueSettings(),
    "little room": QueueSettings(max_queued=20),
    "few bytes": QueueSettings(max_queued_bytes=600),
    "few each": QueueSettings(max_per_client=9),
    "rejecting": QueueSettings(max_queued=20, overload="reject"),
    "impatient": QueueSettings(queue_timeout=5.0),
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("seed", range(4))
def test_rule_17_together_is_as_one_by_one(name: str, seed: int) -> None:
    """Plain requests and odd ones, at every limit, paused and drained, while the worker answers."""
    together, single = (World(SETTINGS[name], together) for together in (True, False))
    chance = random.Random(seed)
    for step in range(120):
        count, who, odd, now = chance.randrange(12), chance.randrange(2), chance.random() < 0.4, step / 10
        messages: list[Message] = [encode_message([b"", b"x" * chance.randrange(60)]) for _ in range(count)]
        if odd:
            messages.insert(chance.randrange(len(messages) + 1), chance.choice(ODD))
        order = chance.choice(("pause", "drain", "resume", "stall", *["answer"] * 8))
        accepted = set()
        for world in (together, single):
            queue, client = world.queue, world.clients[who]
            if not (client.paused or client.stalled):
                accepted.add(world.take(queue, client, messages, now))
            match order:
                case "pause":
                    queue.regime.pause()
                case "drain":
                    queue.regime.drain(now)
                case "resume":
                    queue.regime.resume(now)
                case "stall":
                    queue.unsent(client, 0 if client.stalled else 1 << 40, now)
                case "answer":
                    for key, request in list(world.worker.window.items()):
                        assert request is not None
                        queue.reply(world.worker, key + bytes(request.raw), now)
            check(queue)
        assert len(accepted) <= 1
        assert together.state() == single.state()
