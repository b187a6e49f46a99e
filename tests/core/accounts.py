"""What a `World` keeps in its books: each request as its client sees it, and each client's account."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.core.fakes import FakeClient, FakeWorker


@dataclass(slots=True)
class Asked:
    """One request as its client sees it."""

    client: FakeClient
    number: int
    message: bytes
    priority: int
    attempts: int
    timeout: float | None
    """Seconds that the client gives it, from the moment that the queue takes it."""
    known: bool
    """Its envelope tells it from others: a failure is known to be its own."""
    due: float | None = None
    answered: bool = False
    cancelled: bool = False
    charged: int = 0
    holder: FakeWorker | None = None
    key: bytes = b""
    """Of the dispatch that counts, if one does."""
    dispatches: int = 0


@dataclass(slots=True)
class Account:
    """What one client has asked for and got."""

    asked: dict[bytes, Asked] = field(default_factory=dict)
    unknown_failures: int = 0
    """Failures of requests with a plain envelope."""
    refusals: int = 0
    """Failures due for messages that were no proper requests (400, 413)."""
    last_of: dict[int, int] = field(default_factory=dict)
    """Priority to the number of its last request that was dispatched for the first time."""
