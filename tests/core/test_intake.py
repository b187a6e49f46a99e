"""Messages that come together: the outcome is that of one by one."""

from __future__ import annotations

import random

import pytest

from zqd.core.check import check
from zqd.core.intake import take_back, take_in
from zqd.core.peers import Client, Worker
from zqd.core.queue import Queue
from zqd.core.settings import QueueSettings
from zqd.zmtp.connection import Message, Oversize
from zqd.zmtp.frames import EMPTY_MORE, encode_message


def back_one_by_one(queue: Queue, worker: Worker, messages: list[Message], now: float) -> None:
    """What `take_back` has to do, in the plainest words."""
    for message in messages:
        if isinstance(message, Oversize):
            queue.oversize_reply(worker, message.envelope, now)
        else:
            queue.reply(worker, message, now)


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

    def __init__(self, settings: QueueSettings, together: bool, *, capacity: int = 2) -> None:
        self.queue = Queue("q", settings, b"12345678")
        self.clients = [Client(number, f"c{number}", "", 0.0) for number in (1, 2)]
        for client in self.clients:
            self.queue.join_client(client)
        self.worker = Worker(3, "w", "", 0.0, capacity=capacity)
        self.queue.join_worker(self.worker, 0.0)
        self.take = take_in if together else one_by_one
        self.take_back = take_back if together else back_one_by_one

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
            [*self.worker.window],
            (self.worker.replied, self.worker.debts, self.worker.state, self.worker.busy),
            [histogram.since_start(0.5, 0.99) for histogram in (queue.ledger.wait, queue.ledger.run)],
            out.notices,
            [client.number for client in out.resumed],
        )


def disturb(queue: Queue, client: Client, order: str, now: float) -> None:
    """What may happen between messages; other orders are the tests' own."""
    match order:
        case "pause":
            queue.regime.pause()
        case "drain":
            queue.regime.drain(now)
        case "resume":
            queue.regime.resume(now)
        case "stall":
            queue.unsent(client, 0 if client.stalled else 1 << 40, now)


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
            disturb(queue, client, order, now)
            if order == "answer":
                for key, request in list(world.worker.window.items()):
                    assert request is not None
                    queue.reply(world.worker, key + bytes(request.raw), now)
            check(queue)
        assert len(accepted) <= 1
        assert together.state() == single.state()


def answers(world: World, chance: random.Random, count: int) -> list[Message]:
    """What a worker may send: replies to the oldest that it holds, and among them what is no such thing."""
    messages: list[Message] = []
    for key, request in [*world.worker.window.items()][:count]:
        envelope = EMPTY_MORE if request is None else request.envelope
        reply = key + envelope + b"\x00\x02ok"
        odd = chance.random()
        if odd < 0.02:
            reply = key + encode_message([b"other", b"", b"ok"])
        elif odd < 0.04:
            reply = b"\x00" + key[1:]  # the id alone
        elif odd < 0.06:
            messages.append(encode_message([bytes(16), b"", b"nobody's"]))
        elif odd < 0.08:
            messages.append(Oversize(key + EMPTY_MORE, 1 << 30))
            continue
        messages.append(reply)
    return messages


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("capacity", [1, 5, 30])
def test_rule_9_replies_together_are_as_one_by_one(name: str, capacity: int) -> None:
    """While clients come and go, limits hold up others, and requests are cancelled, paused and drained."""
    together, single = (World(SETTINGS[name], together, capacity=capacity) for together in (True, False))
    chance = random.Random(capacity)
    answered = 0
    for step in range(200):
        count, who, now = chance.randrange(12), chance.randrange(2), step / 10
        order = chance.choice(("pause", "drain", "resume", "resume", "cancel", "stall", *["answer"] * 12))
        luck = chance.random()
        for world in (together, single):
            queue, client, worker = world.queue, world.clients[who], world.worker
            if not (client.paused or client.stalled):
                one_by_one(queue, client, [encode_message([b"", b"x" * step])] * count, now)
            disturb(queue, client, order, now)
            match order:
                case "cancel" if worker.window:
                    held = next(iter(worker.window.values()))
                    if held is not None:
                        queue.cancel(held)
                case "answer":
                    messages = answers(world, random.Random(luck), count)
                    answered += len(messages)
                    world.take_back(queue, worker, messages, now)
            check(queue)
        assert together.state() == single.state()
    assert answered > 60


def test_rule_9_a_worker_that_breaks_the_rules_among_its_replies_is_cut_off() -> None:
    """What came before is passed on."""
    world = World(QueueSettings(), True, capacity=4)
    queue, worker = world.queue, world.worker
    one_by_one(queue, world.clients[0], [encode_message([b"", b"q"])] * 4, 0.0)
    replies: list[Message] = [key + EMPTY_MORE + b"\x00\x02ok" for key in worker.window]
    take_back(queue, worker, [*replies[:2], encode_message([b"no id"]), *replies[2:]], 1.0)
    assert queue.out.closing
    assert world.clients[0].replied >= 2
    check(queue)
