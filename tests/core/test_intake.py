"""The short way into the queue: the outcome is that of the long one."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest

from zqd.core.check import check
from zqd.core.intake import Intake
from zqd.core.pace import set_slots
from zqd.core.peers import Client, Worker
from zqd.core.queue import Queue
from zqd.core.settings import QueueSettings
from zqd.zmtp.connection import BATCH, Message, Oversize
from zqd.zmtp.frames import EMPTY_MORE, LARGE, encode_message


def requests_the_long_way(queue: Queue, client: Client, messages: list[Message], now: float) -> int:
    """In the plainest words; how many were accepted before the queue wanted no more."""
    for accepted, message in enumerate(messages):
        if isinstance(message, Oversize):
            queue.oversize_request(client, message.envelope)
        elif not queue.request(client, message, now):
            return accepted
    return len(messages)


def replies_the_long_way(queue: Queue, worker: Worker, messages: list[Message], now: float) -> None:
    """In the plainest words."""
    for message in messages:
        if isinstance(message, Oversize):
            queue.oversize_reply(worker, message.envelope, now)
        else:
            queue.reply(worker, message, now)


def shorten(messages: list[Message], way: Callable[[bytes], int]) -> list[Message]:
    """Send the short way what it takes of the first messages that have bytes; what is left of all."""
    plain = list(itertools.takewhile(lambda message: isinstance(message, bytes), messages))
    taken = way(b"".join(plain)) if plain else 0  # type: ignore[arg-type]  # they are bytes
    rest = list(messages)
    while taken:
        message = rest.pop(0)
        assert isinstance(message, bytes)
        taken -= len(message)
        assert taken >= 0, "a message was cut"
    return rest


class World:
    """A queue with two clients and a worker, into which messages come the short way as far as it goes, or the long way."""

    def __init__(self, settings: QueueSettings, *, short: bool, capacity: int = 2) -> None:
        self.queue = Queue("q", settings, b"12345678")
        self.intake = Intake(self.queue) if short else None
        self.clients = [Client(number, f"c{number}", "", 0.0) for number in (1, 2)]
        for client in self.clients:
            self.queue.join_client(client)
        self.worker = Worker(3, "w", "", 0.0, capacity=capacity)
        self.queue.join_worker(self.worker, 0.0)

    def take_requests(self, client: Client, messages: list[Message], now: float) -> int:
        """A client has sent these at once; how many were accepted."""
        rest, intake = messages, self.intake
        while rest:
            if intake is not None:
                rest = shorten(rest, lambda data: intake.requests(client, data, now))
            if not requests_the_long_way(self.queue, client, rest[:1], now):
                break
            rest = rest[1:]
        return len(messages) - len(rest)

    def take_replies(self, messages: list[Message], now: float) -> None:
        """The worker has sent these at once."""
        rest, intake = messages, self.intake
        while rest:
            if intake is not None:
                rest = shorten(rest, lambda data: intake.replies(self.worker, data, now))
            replies_the_long_way(self.queue, self.worker, rest[:1], now)
            rest = rest[1:]

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
def test_rule_17_requests_the_short_way_fare_as_the_long_way(name: str, seed: int) -> None:
    """Plain requests and odd ones, at every limit, paused and drained, while the worker answers."""
    worlds = [World(SETTINGS[name], short=short) for short in (True, False)]
    chance = random.Random(seed)
    for step in range(120):
        count, who, odd, now = chance.randrange(12), chance.randrange(2), chance.random() < 0.4, step / 10
        messages: list[Message] = [encode_message([b"", b"x" * chance.randrange(60)]) for _ in range(count)]
        if odd:
            messages.insert(chance.randrange(len(messages) + 1), chance.choice(ODD))
        order = chance.choice(("pause", "drain", "resume", "stall", *["answer"] * 8))
        accepted = set()
        for world in worlds:
            queue, client = world.queue, world.clients[who]
            if not (client.paused or client.stalled):
                accepted.add(world.take_requests(client, messages, now))
            disturb(queue, client, order, now)
            if order == "answer":
                for key, request in list(world.worker.window.items()):
                    assert request is not None
                    queue.reply(world.worker, key + bytes(request.raw), now)
            check(queue)
        assert len(accepted) <= 1
        assert worlds[0].state() == worlds[1].state()


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
def test_rule_9_replies_the_short_way_fare_as_the_long_way(name: str, capacity: int) -> None:
    """While clients come and go, limits hold up others, and requests are cancelled, paused and drained."""
    worlds = [World(SETTINGS[name], short=short, capacity=capacity) for short in (True, False)]
    chance = random.Random(capacity)
    answered = 0
    for step in range(200):
        count, who, now = chance.randrange(12), chance.randrange(2), step / 10
        order = chance.choice(("pause", "drain", "resume", "resume", "cancel", "stall", *["answer"] * 12))
        luck = chance.random()
        for world in worlds:
            queue, client, worker = world.queue, world.clients[who], world.worker
            if not (client.paused or client.stalled):
                requests_the_long_way(queue, client, [encode_message([b"", b"x" * step])] * count, now)
            disturb(queue, client, order, now)
            match order:
                case "cancel" if worker.window:
                    held = next(iter(worker.window.values()))
                    if held is not None:
                        queue.cancel(held)
                case "answer":
                    messages = answers(world, random.Random(luck), count)
                    answered += len(messages)
                    world.take_replies(messages, now)
            check(queue)
        assert worlds[0].state() == worlds[1].state()
    assert answered > 60


def test_rule_9_a_worker_that_breaks_the_rules_among_its_replies_is_cut_off() -> None:
    """What came before is passed on."""
    world = World(QueueSettings(), short=True, capacity=4)
    queue, worker = world.queue, world.worker
    requests_the_long_way(queue, world.clients[0], [encode_message([b"", b"q"])] * 4, 0.0)
    replies: list[Message] = [key + EMPTY_MORE + b"\x00\x02ok" for key in worker.window]
    world.take_replies([*replies[:2], encode_message([b"no id"]), *replies[2:]], 1.0)
    assert queue.out.closing
    assert world.clients[0].replied >= 2
    check(queue)


BODIES = [[b""], [b"x"], [b"x" * 255], [b"x" * 256], [b"x" * 70_000], [b"a", b"", b"b" * 300, b"c"]]


@pytest.mark.parametrize("bodies", BODIES, ids=lambda bodies: "+".join(str(len(body)) for body in bodies))
def test_plain_messages_are_taken_however_they_are_framed(bodies: list[bytes]) -> None:
    """Short and long bodies, one and several: the short way takes them whole, there and back, and only whole ones."""
    world = World(QueueSettings(), short=True)
    intake, client, worker = world.intake, world.clients[0], world.worker
    assert intake is not None
    request = encode_message([b"", *bodies])
    for cut in {*range(1, min(len(request), 30)), len(request) - 1}:
        assert intake.requests(client, request[:cut], 0.0) == 0
    assert client.received == 0
    assert intake.requests(client, request + request[:-1], 0.0) == len(request)
    (key,) = worker.window
    assert worker.outbox == [key, request]
    reply = key + request
    for cut in {*range(1, min(len(reply), 50)), len(reply) - 1}:
        assert intake.replies(worker, reply[:cut], 0.0) == 0
    assert intake.replies(worker, reply + reply, 0.0) == len(reply)
    assert [bytes(raw) for raw in client.outbox] == [request]
    check(world.queue)


@pytest.mark.parametrize("short", [True, False])
def test_a_large_reply_is_not_copied_on_its_way(short: bool) -> None:
    """It is a view of what the worker's connection received."""
    world = World(QueueSettings(), short=short)
    request = encode_message([b"", b"x" * LARGE])
    world.take_requests(world.clients[0], [request], 0.0)
    (key,) = world.worker.window
    world.take_replies([key + request], 0.0)
    assert isinstance(world.clients[0].outbox[0], memoryview)


def test_tiny_requests_do_not_blow_up_the_memory() -> None:
    """At most so many are made at a time; the connection cuts the rest as slowly."""
    world = World(QueueSettings(), short=True)
    assert world.intake is not None
    tiny = encode_message([b"", b""])
    assert world.intake.requests(world.clients[0], tiny * (BATCH + 1), 0.0) == BATCH * len(tiny)


def test_more_than_the_limit_is_looked_at_elsewhere() -> None:
    """There it is told that it is too large."""
    world = World(QueueSettings(max_message_size=100), short=True)
    assert world.intake is not None
    assert world.intake.requests(world.clients[0], encode_message([b"", b"x" * 100]), 0.0) == 0


def test_law_5_a_reply_without_the_clients_envelope_does_not_go_the_short_way() -> None:
    """The request came with an id before its empty frame, the reply without."""
    world = World(QueueSettings(), short=True)
    assert world.intake is not None
    requests_the_long_way(world.queue, world.clients[0], [encode_message([b"id", b"", b"one"])], 0.0)
    (key,) = world.worker.window
    assert world.intake.replies(world.worker, key + encode_message([b"", b"re:one"]), 1.0) == 0
    assert not world.clients[0].outbox


def test_rule_15_a_large_reply_does_not_go_the_short_way() -> None:
    """More than the limit is looked at elsewhere."""
    world = World(QueueSettings(max_message_size=100), short=True)
    assert world.intake is not None
    requests_the_long_way(world.queue, world.clients[0], [encode_message([b"", b"one"])], 0.0)
    (key,) = world.worker.window
    assert world.intake.replies(world.worker, key + encode_message([b"", b"x" * 100]), 1.0) == 0


def test_rule_8_replies_the_short_way_tell_the_pace() -> None:
    """A worker whose slots follow its pace gets more of them while others wait."""
    world = World(QueueSettings(prefetch="auto"), short=True, capacity=1)
    assert world.intake is not None
    set_slots(world.worker, "auto")
    now = 0.0
    for _ in range(100):
        world.intake.requests(world.clients[0], encode_message([b"", b"one"]) * 4, now)
        now += 0.0001
        replies = b"".join(key + encode_message([b"", b"re"]) for key in world.worker.window)
        world.intake.replies(world.worker, replies, now)
    assert world.worker.capacity > 1
