"""A client's session on the bench: its brokers as a test plays them, and a clock."""

from __future__ import annotations

import pytest

from zqd.client.arguments import Wishes
from zqd.client.errors import RequestError
from zqd.client.session import Broker, Call, Session

A, B, C = "tcp://a:1", "tcp://b:1", "tcp://c:1"
PREFIX = b"prefix8b"


class Bench:
    """A session, its brokers as a test plays them, and the clock."""

    def __init__(self, *endpoints: str, up: bool = True) -> None:
        self.now = 100.0
        self.session = Session(endpoints or (A,), PREFIX, self.now)
        self.brokers = self.session.brokers
        if up:
            for broker in self.brokers:
                self.session.up(broker, self.now)

    def ask(self, body: bytes = b"q", **wishes: float | None) -> Call:
        """A request is made."""
        return self.session.submit([body], Wishes(**wishes), self.now)  # type: ignore[arg-type]

    def send(self, broker: Broker) -> list[list[bytes]]:
        """All that there is to send to a broker, taken by its connection."""
        messages = []
        while (message := self.session.next_message(broker, self.now)) is not None:
            self.session.sent(broker, self.now)
            messages.append(message)
        return messages

    def bodies(self, broker: Broker) -> list[bytes]:
        """The bodies of these."""
        return [message[-1] for message in self.send(broker)]

    def answer(self, broker: Broker, call: Call, *body: bytes) -> None:
        """The broker sends the reply of a worker."""
        self.session.received(broker, [b"zqd/1 timeout_ms=1", call.id, b"", *(body or (b"a",))], self.now)

    def fail(self, broker: Broker, call: Call, code: int, reason: str) -> None:
        """The broker says that it has none."""
        text = b"ZQD-ERROR %d %s" % (code, reason.encode())
        self.session.received(broker, [b"zqd/1 status=%d" % code, call.id, b"", text], self.now)

    def later(self, seconds: float) -> None:
        """Time passes, and the session is told at each of its deadlines on the way, as it asks."""
        end = self.now + seconds
        while (deadline := self.session.deadline) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.session.elapse(self.now)
        self.now = end
        self.session.elapse(self.now)


def failed(call: Call) -> RequestError:
    """What a call has ended with."""
    with pytest.raises(RequestError) as caught:
        call.result()
    return caught.value
