"""Every event that zqd logs: its level and what it means, for people. Layer 0.

The core and the shells name an event by its key and give it fields; `logs` looks up the level here.
Nothing that happens once for each request is above debug while all goes well.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """`level` as in `--log-level`; `meaning` is one sentence for the manual."""

    level: str
    meaning: str


EVENTS: dict[str, Event] = {
    "zqd.started": Event("info", "Every endpoint listens."),
    "zqd.stopping": Event("info", "A signal has ordered the stop."),
    "zqd.stopped": Event("info", "All connections have ended; the process exits."),
    "zqd.fault": Event("error", "A fault in zqd itself; it went on."),
    "queue.listening": Event("info", "An endpoint of a queue listens."),
    "queue.running": Event("info", "The queue was resumed."),
    "queue.paused": Event("info", "The queue dispatches nothing until it is resumed."),
    "queue.draining": Event("info", "The queue lets nothing in and finishes the rest."),
    "queue.drained": Event("info", "The queue lets nothing in and holds nothing."),
    "queue.stopping": Event("info", "The queue answers what it has read and ends its clients."),
    "client.joined": Event("debug", "A client has connected."),
    "client.left": Event("debug", "A client's connection has ended."),
    "client.paused": Event(
        "debug", "A client is not read for now: a limit is reached, or the queue is drained."
    ),
    "client.stalled": Event("warning", "A client does not read its replies."),
    "client.resumed": Event("info", "A stalled client reads its replies again."),
    "worker.joined": Event("info", "A worker has connected."),
    "worker.hello": Event("info", "A worker has said who it is."),
    "worker.left": Event("info", "A worker's connection has ended while it held nothing."),
    "worker.lost": Event(
        "warning", "A worker's connection has ended while it held requests; others get them."
    ),
    "worker.draining": Event("info", "A worker gets nothing more, by order."),
    "worker.resumed": Event("info", "A drained worker gets requests again, by order."),
    "peer.kicked": Event("info", "A connection is closed by order."),
    "worker.quarantined": Event(
        "warning", "A worker let a request time out and gets nothing until it has answered."
    ),
    "worker.restored": Event("info", "A quarantined worker has answered and gets requests again."),
    "request.retried": Event("info", "A request goes to another worker after a loss or a time-out."),
    "request.slow": Event(
        "warning", "A request took `slow_request` or longer from its arrival to its reply."
    ),
    "request.failed": Event("warning", "A request has failed; its client is told why."),
    "request.refused": Event("warning", "A message failed as it came in."),
    "reply.orphaned": Event(
        "warning", "A worker answered a dispatch that it does not hold; the answer is dropped."
    ),
    "message.malformed": Event("warning", "A peer sent a message that breaks the protocol."),
    "peer.refused": Event("warning", "A connection was ended in its handshake, or broke the wire protocol."),
    "peer.lost": Event("debug", "A connection has broken."),
    "peer.silent": Event("warning", "A peer gave no sign of life in time; its connection was closed."),
    "accept.failed": Event("error", "Connections cannot be accepted for now; tried again every second."),
    "accept.full": Event("warning", "As many connections as allowed: new ones wait until one ends."),
    "events.folded": Event("warning", "So many more events like this one were not logged."),
}
