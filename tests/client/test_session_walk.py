"""A client's session against brokers that do anything: whatever happens, a call ends once, and never with another's answer."""

from __future__ import annotations

import random

import pytest

from zqd.client.arguments import Wishes
from zqd.client.errors import ClosedError
from zqd.client.session import Call, Link, Session

STEPS = 2000


class Walk:
    """A session, the messages that its brokers have, and what became of each call."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.session = Session(["tcp://a:1", "tcp://b:1", "tcp://c:1"][: 1 + seed % 3], b"prefix8b", self.now)
        self.calls: list[Call] = []
        self.sends: dict[bytes, int] = {}
        self.held: list[list[list[bytes]]] = [[] for _ in self.session.brokers]
        self.ended: list[Call] = []
        self.forgotten: set[bytes] = set()

    def step(self) -> None:
        """One thing happens."""
        action = self.random.choices(
            [self.ask, self.send, self.answer, self.fail, self.flip, self.refuse, self.forget, self.wait],
            [6, 8, 8, 2, 1, 1, 1, 4],
        )[0]
        action()
        self.ended += self.session.take_ended()

    def ask(self) -> None:
        """A request is made."""
        timeout = self.random.choice([None, 0.5, 2.0, 10.0])
        attempts = self.random.choice([None, None, 1, 2])
        name = b"%d" % len(self.calls)
        self.calls.append(self.session.submit([name], Wishes(timeout, attempts), self.now))

    def send(self) -> None:
        """Each connection takes a message."""
        for broker, held in zip(self.session.brokers, self.held, strict=True):
            if broker.link is Link.UP and (message := self.session.next_message(broker, self.now)):
                self.session.sent(broker, self.now)
                held.append(message)
                self.sends[message[1]] = self.sends.get(message[1], 0) + 1

    def _pick(self) -> tuple[int, list[bytes]] | None:
        place = self.random.randrange(len(self.held))
        held = self.held[place]
        if not held:
            return None
        which = self.random.randrange(len(held))
        # Now and then it stays, and is answered twice.
        return place, held[which] if self.random.random() < 0.2 else held.pop(which)

    def answer(self) -> None:
        """A broker answers, or answers once more."""
        if picked := self._pick():
            place, message = picked
            self.session.received(self.session.brokers[place], message, self.now)

    def fail(self) -> None:
        """A broker says that it has no answer."""
        if picked := self._pick():
            place, (_, call_id, _, _) = picked
            code, reason = self.random.choice(
                [(503, b"stopping"), (503, b"the queue is full"), (502, b"lost"), (504, b"late")]
            )
            message = [b"zqd/1 status=%d" % code, call_id, b"", b"ZQD-ERROR %d %s" % (code, reason)]
            self.session.received(self.session.brokers[place], message, self.now)

    def flip(self) -> None:
        """A connection breaks, or comes back."""
        broker = self.random.choice(self.session.brokers)
        if broker.link in {Link.UP, Link.LEAVING}:
            self.session.down(broker, self.now)
        else:
            self.session.up(broker, self.now)

    def refuse(self) -> None:
        """A broker that is not connected does not let us in."""
        broker = self.random.choice(self.session.brokers)
        if broker.link not in {Link.UP, Link.LEAVING}:
            self.session.refused(broker, "no", self.now, final=self.random.random() < 0.5)
            if all(other.link is Link.REFUSED for other in self.session.brokers):
                assert not self.session._waiting

    def forget(self) -> None:
        """Nobody waits for a request any more."""
        pending = [call for call in self.calls if not call.over]
        if pending:
            call = self.random.choice(pending)
            self.session.forget(call)
            self.forgotten.add(call.id)

    def wait(self) -> None:
        """Time passes."""
        self.now += self.random.random()
        self.session.elapse(self.now)
        assert self.session.deadline is None or self.session.deadline > self.now

    def check(self) -> None:
        """What must hold after every step."""
        pending = [call for call in self.calls if not call.over]
        assert self.session.pending == len(pending)
        for broker in self.session.brokers:
            assert all(not call.over and broker in call.holders for call in broker.sent.values())
        for call in pending:
            assert call.deadline > self.now
            assert all(broker.sent[call.id] is call for broker in call.holders)
            assert call.holders or call.queued or call in self.session._waiting
            assert call.queued is None or call in call.queued.outbox


@pytest.mark.parametrize("seed", range(12))
def test_random_walk(seed: int) -> None:
    """Every call ends once, with its own answer or a failure, and is sent as often as it may be at most."""
    walk = Walk(seed)
    for _ in range(STEPS):
        walk.step()
        walk.check()
    walk.session.close(ClosedError(499, "closed"))
    walk.ended += walk.session.take_ended()
    ids = [call.id for call in walk.ended]
    assert len(ids) == len(set(ids))
    assert set(ids) | walk.forgotten == {call.id for call in walk.calls}
    assert not set(ids) & walk.forgotten
    for number, call in enumerate(walk.calls):
        if not call.error and call.id not in walk.forgotten:
            assert call.reply == [b"%d" % number]
        assert walk.sends.get(call.id, 0) <= (call.wishes.attempts or 3)
    assert sum(not call.error for call in walk.ended) > STEPS / 40
