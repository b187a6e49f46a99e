"""What ends by the clock: each request's deadlines, soonest first (rules 11, 12).

An entry is not taken back when its request moves on; it carries the request's dispatch number as a stamp, and its
reader finds out that it is stale. Layer 1, pure. Called by: `queue`.
"""

from __future__ import annotations

import enum
import heapq
from collections.abc import Iterator

from zqd.core.request import Request


class Kind(enum.IntEnum):
    """What a deadline ends."""

    WAIT = 1  # queue_timeout: the wait
    RUN = 2  # request_timeout: the running attempt
    CLIENT = 3  # the client's own timeout_ms: the request, wherever it is


class Deadlines:
    """A heap of deadlines; stale ones are swept out when they outnumber the living."""

    __slots__ = ("_heap", "_sweep_at")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Kind, int, Request]] = []
        self._sweep_at = 1024

    def set(self, when: float, kind: Kind, request: Request) -> None:
        """End the wait, the running attempt or the whole request at `when` unless it moves on before."""
        heapq.heappush(self._heap, (when, request.seq, kind, request.dispatches, request))
        if len(self._heap) > self._sweep_at:
            self._heap = [entry for entry in self._heap if _alive(entry[2], entry[3], entry[4])]
            heapq.heapify(self._heap)
            self._sweep_at = max(1024, 2 * len(self._heap))

    @property
    def next(self) -> float | None:
        """When to look again; may be early."""
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Iterator[tuple[Kind, Request]]:
        """Take out what has come due."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            _, _, kind, stamp, request = heapq.heappop(heap)
            if _alive(kind, stamp, request):
                yield kind, request
            heap = self._heap


def _alive(kind: Kind, stamp: int, request: Request) -> bool:
    if kind is Kind.CLIENT:
        return not request.ended
    if request.dispatches != stamp:
        return False
    if kind is Kind.WAIT:
        return request.waiting
    debtor = request.debtor  # the clock of a run goes on for a debt
    return request.worker is not None or (debtor is not None and request.key in debtor.window)
