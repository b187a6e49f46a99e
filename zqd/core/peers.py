"""Clients and workers as the queue sees them: plain data, one object for each connection.

Layer 1, pure. The queue writes raw messages into an `outbox`; the shell (`zqd.net.device`) takes them from there. Nothing
else of a peer belongs to the shell, and no socket is known here.
"""

from __future__ import annotations

from collections.abc import MutableMapping

from zqd.core.request import Request
from zqd.zmtp.pieces import RawMessage


class Peer:
    """What clients and workers have in common."""

    __slots__ = ("address", "gone", "joined", "key", "name", "number", "outbox", "replied")

    prefix = ""

    def __init__(self, number: int, address: str, name: str, joined: float) -> None:
        self.number = number
        """Unique in the daemon's life."""
        self.address = address
        self.name = name
        """Its routing id where it has one, else empty."""
        self.joined = joined
        self.key = ""
        """The name of the key by which it was let in, empty without CURVE."""
        self.gone = False
        """Its connection has ended, or is being ended: nothing more is sent to it."""
        self.replied = 0
        """Replies that it received (client) or gave (worker)."""
        self.outbox: list[RawMessage] = []
        """Raw bytes, whole messages in sum; non-empty exactly while the peer is in the queue's `outgoing`."""

    @property
    def id(self) -> str:
        """What people call it in logs and in zqctl: `c12`, `w3`."""
        return f"{self.prefix}{self.number}"

    def __str__(self) -> str:
        return f"{self.id} ({self.name or self.address})"


class Client(Peer):
    """One client connection."""

    __slots__ = (
        "ended",
        "outstanding",
        "paused",
        "replied_at",
        "stalled",
        "unanswered",
        "unfinished",
        "waiting",
    )

    prefix = "c"

    def __init__(self, number: int, address: str, name: str, joined: float) -> None:
        super().__init__(number, address, name, joined)
        self.outstanding = 0
        """Its requests that have not ended."""
        self.waiting = 0
        """Its requests in the waiting line."""
        self.unanswered = 0
        """Its requests that ended without a reply: failed or dropped."""
        self.replied_at = joined
        self.unfinished = 0
        """Bytes held of its message that is not whole yet (rule 17)."""
        self.paused = False
        """It is not read: a limit is reached (rule 17) or the queue is drained (rule 23)."""
        self.stalled = False
        """It does not read its replies: not read, and its waiting requests are not dispatched (rule 19)."""
        self.ended = False
        """Its connection is being ended after its last reply (rule 22)."""

    @property
    def received(self) -> int:
        """All its requests."""
        return self.outstanding + self.replied + self.unanswered

    @property
    def in_flight(self) -> int:
        """Its requests that workers hold."""
        return self.outstanding - self.waiting


class Worker(Peer):
    """One worker connection; `core.workers` keeps it in exactly one collection (law 1)."""

    __slots__ = (
        "answered_at",
        "auto",
        "brief_runs",
        "busy",
        "capacity",
        "concurrent",
        "debts",
        "draining",
        "handler",
        "home",
        "judged_at",
        "leaving",
        "left",
        "owed",
        "pid",
        "quarantined",
        "unit",
        "window",
    )

    prefix = "w"

    def __init__(self, number: int, address: str, name: str, joined: float, *, capacity: int) -> None:
        super().__init__(number, address, name, joined)
        self.capacity = capacity
        """Its slots: most dispatches that it holds at once."""
        self.auto = False
        """Its slots are as many as it is fast: those of a REP with `prefetch = "auto"` (`core.pace`)."""
        self.answered_at = joined
        self.brief_runs = 0
        """Brief runs in a row, from the one on with which its pace was judged at `judged_at` (`core.pace`)."""
        self.judged_at = joined
        self.concurrent = False
        """It has declared its capacity: all its dispatches run; otherwise only the first one does (rule 9)."""
        self.window: dict[bytes, Request | None] = {}
        """What it holds by id, in the order sent; None is a debt: a request that ended meanwhile (law 7)."""
        self.debts = 0
        """Places in its window that are debts."""
        self.owed: dict[bytes, Request] = {}
        """What the debts were, by id."""
        self.busy = 0.0
        """Sum of the run times of what it answered, seconds."""
        self.quarantined = False
        """It let a request time out and gets nothing until its debts are paid (rule 11)."""
        self.draining = False
        """It gets nothing more (rule 23)."""
        self.leaving = False
        """It asked to leave (rule 26)."""
        self.left = False
        """It was told `left`: it holds nothing and will go."""
        self.home: MutableMapping[Worker, None] = {}
        """The collection that it is in."""
        # What its hello told (rule 26)
        self.pid: int | None = None
        self.unit = ""
        self.handler = ""

    @property
    def in_flight(self) -> int:
        """Requests that it holds, debts not counted."""
        return len(self.window) - self.debts

    @property
    def state(self) -> str:
        """In the words of zqctl."""
        if self.draining:
            return "draining"
        if self.quarantined:
            return "quarantined"
        return "busy" if self.window else "idle"
