"""What a worker runs: a request, which came from somewhere, or a step of a handler's life; and what became of it.

Knows the frames of a dispatch (zqd(7), rule 24) and no socket. Called by: every module of `zqd.worker`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zqd.worker.broker import Broker

ID_SIZE = 16  # bytes of a dispatch's id
REQUEST_ID_SIZE = 14  # of these name the request, whichever attempt it is


class Job:
    """One dispatch from its arrival to its answer."""

    __slots__ = ("body", "broker", "connection", "envelope", "id", "started", "thread")

    def __init__(self, frames: Sequence[bytes], broker: Broker) -> None:
        """`frames` as they came from the broker just now; ValueError where they are no dispatch."""
        if not frames or len(frames[0]) != ID_SIZE or b"" not in frames[1:]:
            raise ValueError("expected a 16-byte id, an envelope with an empty frame, and a body")
        end = frames.index(b"", 1) + 1
        self.id = frames[0]
        self.envelope = list(frames[1:end])
        """What goes back with the answer, the empty frame included."""
        self.body = list(frames[end:])
        self.broker = broker
        self.connection = broker.connection
        """An answer is worth nothing on another connection, even to the same broker."""
        self.started = 0.0
        """When its handler was called, monotonic seconds."""
        self.thread = 0
        """The thread in which its handler runs, as `threading.get_ident` names it."""

    @property
    def request_id(self) -> str:
        """The request's id in zqd's log and in zqctl."""
        return self.id[:REQUEST_ID_SIZE].hex()

    @property
    def wanted(self) -> bool:
        """The connection that it came by still stands; otherwise the broker has given it to another worker."""
        return self.connection is self.broker.connection


class Step:
    """A handler's `setup` or `close`, which is called `name`, from when it is asked for to its end."""

    __slots__ = ("name", "started", "thread")

    def __init__(self, name: str) -> None:
        self.name = name
        self.started: float | None = None
        """When it began, monotonic seconds; None before that, and where nobody asks how long it takes."""
        self.thread = 0
        """As a job's."""


class Failed(Exception):  # noqa: N818 - an outcome, not a fault of ours
    """A request that gets no reply: `reason` is for the client (500), `details` are for the log."""

    def __init__(self, reason: str, **details: object) -> None:
        super().__init__(reason)
        self.reason = reason
        self.details = details


Outcome = list[bytes] | BaseException
"""The frames of a reply, or why there is none."""


def told(error: BaseException) -> str:
    """An exception in one line, whatever its class makes of that."""
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - a handler's class may raise anything, SystemExit too
        text = "(its text cannot be had)"
    return f"{type(error).__name__}: {text}".replace("\n", " ").removesuffix(": ")
