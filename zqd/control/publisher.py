"""The event stream: every event that is logged, and those of single requests and connections, as a PUB socket sends them.

Two frames a message: the topic, which is the event's name, and a JSON object. A subscriber that reads too slowly misses
events, and is told how many by `events.missed` as soon as it reads again; it never holds up the broker. Nothing is put
into words as long as nobody has subscribed to it.

Layer 3. Called by: `zqd.daemon`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from zqd.core.peers import Peer
from zqd.endpoints import Listener
from zqd.events import EVENTS, message
from zqd.net.link import Link, Stage
from zqd.net.loop import Loop
from zqd.net.server import Server
from zqd.net.side import Notify
from zqd.zmtp.connection import Message, Oversize
from zqd.zmtp.frames import decode_message, encode_message

MAX_TOPIC = 256  # bytes of a subscription
MAX_TOPICS = 64  # subscriptions of one subscriber
BACKLOG = 1 << 20  # unread bytes at which a subscriber misses what comes


class Publisher:
    """Sends events to those who subscribed to them, at most `most`; call it with an event's name and fields."""

    def __init__(
        self, loop: Loop, most: int, *, notify: Notify, on_fault: Callable[[Exception], None]
    ) -> None:
        self._loop = loop
        self._subscribers: dict[Subscriber, None] = {}
        self._flushing = False  # is arranged for
        self._server = Server(
            "events",
            loop,
            socket_type=b"PUB",
            make_role=lambda link: Subscriber(link, self._subscribers),
            max_message_size=2 * MAX_TOPIC,
            most=most,
            notify=notify,
            on_fault=on_fault,
        )

    @property
    def listeners(self) -> list[Listener]:
        """Where it listens."""
        return self._server.listeners

    def listen(self, listener: Listener) -> None:
        """Serve those who come by this one; it is the server's to close."""
        self._server.listen(listener)

    def close(self) -> None:
        """Send what is to be sent, and close every connection."""
        self._flush()
        self._server.close()

    def __call__(self, name: str, fields: dict[str, object]) -> None:
        """Publish one event."""
        if self._subscribers:
            topic = name.encode()
            wanted = [subscriber for subscriber in self._subscribers if subscriber.wants(topic)]
            if wanted:
                raw = _message(name, fields)
                for subscriber in wanted:
                    subscriber.put(raw)
                if not self._flushing:  # events come from deep inside of others' work: never send from there
                    self._flushing = True
                    self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        for subscriber in list(self._subscribers):
            subscriber.flush()


class Subscriber:
    """The role of a subscriber's link: its messages are subscriptions."""

    heartbeat_interval = 0.0
    hand = None
    reading = True

    def __init__(self, link: Link, subscribers: dict[Subscriber, None]) -> None:
        self._link = link
        self._subscribers = subscribers
        self._topics: dict[
            bytes, int
        ] = {}  # how often each was subscribed to: so often it has to be cancelled
        self._put = 0  # bytes since the last flush
        self._missed = 0

    def join(self) -> Peer:
        """It gets events from now on."""
        link = self._link
        self._peer = Peer(link.number, link.address, "", link.loop.now)
        self._subscribers[self] = None
        return self._peer

    def take(self, messages: list[Message]) -> None:
        """Subscriptions (1, then the topic) and cancellations (0); anything else is passed over (RFC 29)."""
        for raw in messages:
            if isinstance(raw, Oversize):
                continue
            body = decode_message(bytes(raw))[0]
            topic = body[1:]
            count = self._topics.get(topic, 0)
            if body[:1] == b"\1" and (count or len(self._topics) < MAX_TOPICS) and len(topic) <= MAX_TOPIC:
                self._topics[topic] = count + 1
            elif body[:1] == b"\0" and count > 1:
                self._topics[topic] = count - 1
            elif body[:1] == b"\0":
                self._topics.pop(topic, None)

    def wants(self, topic: bytes) -> bool:
        """Whether it has subscribed to it: a topic begins with what was subscribed to (RFC 29)."""
        return any(topic.startswith(prefix) for prefix in self._topics)

    def put(self, raw: bytes) -> None:
        """One message more, unless it has too much to read already."""
        if self._link.outflow.size + self._put > BACKLOG:
            self._missed += 1
            return
        if self._missed:
            self._peer.outbox.append(_message("events.missed", {"count": self._missed}))
            self._missed = 0
        self._peer.outbox.append(raw)
        self._put += len(raw)

    def flush(self) -> None:
        """Send what was put."""
        if self._put and self._link.stage is Stage.OPEN:
            self._put = 0
            self._link.flush()

    def adopt(self) -> None:
        """No setting concerns it."""

    def unsent(self, size: int) -> None:
        """It reads slowly: `put` looks at that."""

    def leave(self) -> None:
        """The connection has ended."""
        self._subscribers.pop(self, None)


def _message(name: str, fields: dict[str, object]) -> bytes:
    now = time.time()
    event = {
        "event": name,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e6):06d}Z",
        "level": EVENTS[name].level if name in EVENTS else "info",
        "message": message(name, fields),
        **fields,
    }
    return encode_message((name.encode(), json.dumps(event, separators=(",", ":"), default=str).encode()))
