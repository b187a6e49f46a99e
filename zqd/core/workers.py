"""The workers of a queue, one collection for each state; membership is the state (law 1).

    ready[k]      holds k dispatches and has a free slot, longest there first
    full          has no free slot
    quarantined   owes answers after a time-out (rule 11)
    draining      gets nothing more (rule 23)

`place` and `filled` are the functions that move a worker. Layer 1, pure. Called by: `queue`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, MutableMapping

from zqd.core.peers import Worker

Home = MutableMapping[Worker, None]


class Workers:
    """All joined workers of one queue."""

    __slots__ = ("draining", "full", "quarantined", "ready")

    def __init__(self) -> None:
        self.ready: list[OrderedDict[Worker, None]] = [OrderedDict()]
        self.full: dict[Worker, None] = {}
        self.quarantined: dict[Worker, None] = {}
        self.draining: dict[Worker, None] = {}

    def __len__(self) -> int:
        return sum(len(home) for home in self.homes())

    def __iter__(self) -> Iterator[Worker]:
        for home in self.homes():
            yield from home

    def homes(self) -> Iterator[Home]:
        """Every collection."""
        yield from self.ready
        yield self.full
        yield self.quarantined
        yield self.draining

    @property
    def idle(self) -> int:
        """Workers that could take a request and hold none."""
        return len(self.ready[0])

    def free(self) -> Worker | None:
        """The worker that is next (rule 8): a free slot, fewest held, longest idle; None where no slot is free."""
        for home in self.ready:
            if home:
                return next(iter(home))
        return None

    def place(self, worker: Worker) -> None:
        """Put a worker into the collection where it belongs now."""
        held = len(worker.window)
        home: Home
        if worker.draining:
            home = self.draining
        elif worker.quarantined:
            home = self.quarantined
        elif held >= worker.capacity:
            home = self.full
        else:
            while held >= len(self.ready):
                self.ready.append(OrderedDict())
            home = self.ready[held]
        if home is not worker.home:
            worker.home.pop(worker, None)
            home[worker] = None
            worker.home = home

    def filled(self, worker: Worker) -> None:
        """As `place`, quicker, for the one that was `free` and has got one request more."""
        held = len(worker.window)
        home: Home
        if held >= worker.capacity:
            home = self.full
        else:
            if held == len(self.ready):
                self.ready.append(OrderedDict())
            home = self.ready[held]
        del worker.home[worker]
        home[worker] = None
        worker.home = home

    def remove(self, worker: Worker) -> None:
        """Forget a worker that is gone."""
        del worker.home[worker]
        worker.home = {}
