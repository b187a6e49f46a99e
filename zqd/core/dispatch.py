"""Where requests meet workers: from the waiting line into a worker's window, and out of it again (rules 8, 9, 24).

Owns the line, the workers and the deadlines, and keeps law 2: never a dispatchable request and a free slot at once
while it is `open`. Layer 1, pure. Called by: `queue`, `intake`.
"""

from __future__ import annotations

import struct

from zqd.core import notice
from zqd.core.admission import Admission
from zqd.core.deadlines import Deadlines, Kind
from zqd.core.outputs import Outputs
from zqd.core.pace import Pace, slow
from zqd.core.peers import Client, Worker
from zqd.core.request import Request
from zqd.core.settings import QueueSettings
from zqd.core.waiting import WaitingLine
from zqd.core.workers import Workers
from zqd.zmtp.frames import LONG, MORE

ID_SIZE = 16  # bytes: 8 per boot, 6 counting requests, 2 counting dispatches
ID_HEADER = bytes((1, ID_SIZE))
# The header of an id frame may also be a long one (RFC 23 "Framing").
LONG_ID_HEADERS = tuple(bytes((flags, *bytes(7), ID_SIZE)) for flags in (LONG, LONG | MORE))
KEY_SIZE = len(ID_HEADER) + ID_SIZE
pack_key = struct.Struct("!10sQ").pack
"""The header of an id frame and 8 bytes per boot, and what differs."""


class Dispatcher:
    """The line, the workers, and what goes on between them. `boot` is 8 bytes, random for each start."""

    __slots__ = (
        "_admission",
        "_id_prefix",
        "_out",
        "deadlines",
        "line",
        "open",
        "pace",
        "settings",
        "workers",
    )

    def __init__(
        self, line: WaitingLine, admission: Admission, out: Outputs, settings: QueueSettings, boot: bytes
    ) -> None:
        self.line = line
        self.workers = Workers()
        self.deadlines = Deadlines()
        self.pace = Pace()
        self.settings = settings
        self.open = True
        """False while the queue is paused: nothing is dispatched."""
        self._admission = admission
        self._out = out
        self._id_prefix = ID_HEADER + boot

    def enter(self, request: Request, now: float) -> None:
        """A new request: to a worker at once if one is free, otherwise into the line."""
        if (
            not self.line.ready
            and self.open
            and (worker := self._free(now)) is not None
            and not request.client.stalled
        ):
            self._give(worker, request, now)
            self.workers.filled(worker)
            if self._admission.for_bytes:
                self._admission.relieve(request.client)
            return
        self.line_up(request, now)

    def line_up(self, request: Request, now: float) -> None:
        """A request waits; whoever calls this for a returned one calls `dispatch` afterwards."""
        self.line.add(request)
        if self.settings.queue_timeout:
            self.deadlines.set(now + self.settings.queue_timeout, Kind.WAIT, request)

    def line_up_all(self, client: Client, requests: list[Request], now: float) -> None:
        """As `line_up` for each, as `WaitingLine.add_all` takes them."""
        self.line.add_all(client, requests)
        if self.settings.queue_timeout:
            for request in requests:
                self.deadlines.set(now + self.settings.queue_timeout, Kind.WAIT, request)

    def dispatch(self, now: float) -> None:
        """As long as there are a request and a free slot."""
        while self.line.ready and self.open:
            worker = self._free(now)
            if worker is None:
                return
            request = self.line.pick()
            self._give(worker, request, now)
            self.workers.filled(worker)
            self._admission.relieve(request.client)

    def _free(self, now: float) -> Worker | None:
        """The worker that is next; one whose slots follow its pace loses those that it does not deserve any more."""
        worker = self.workers.free()
        while worker is not None and worker.auto and worker.window and not self.pace.keeps_up(worker, now):
            slow(worker)
            self.workers.place(worker)
            worker = self.workers.free()
        return worker

    def freed(self, worker: Worker, now: float) -> None:
        """Slots of a worker are free again: the next in its window runs, and other requests may come."""
        window = worker.window
        if window and not worker.concurrent:
            key, head = next(iter(window.items()))
            if head is not None:
                self._started(head, now)
            elif self.settings.request_timeout and (debt := worker.owed[key]).ended:
                self._time(debt, now)  # those behind it shall not wait for ever
        line, admission = self.line, self._admission
        if line.ready and self.open and worker.home is self.workers.full:
            room = worker.capacity - len(window)
            # As others wait, nobody else has a free slot (law 2).
            while room > 1 and line.ready and not (admission.for_count or admission.for_bytes):
                requests = line.pick_some(room)
                for request in requests:
                    self._give(worker, request, now)
                room -= len(requests)
            while room > 0 and line.ready:
                request = line.pick()
                self._give(worker, request, now)
                if admission.for_count or admission.for_bytes:
                    admission.relieve(request.client)
                room -= 1
            if not room:
                return  # it is full again
        self.workers.place(worker)
        if worker.leaving or self.line.ready:
            self.settle(worker, now)

    def keep_pace(self, worker: Worker, run: float, count: int, now: float) -> None:
        """A worker whose slots follow its pace has answered `count` requests, the first after `run` seconds."""
        self.pace.answered(worker, run, count, now, others_wait=self.line.ready > 0)

    def settle(self, worker: Worker, now: float) -> None:
        """A worker's state or capacity has changed: put it where it belongs, and use what is free now."""
        self.workers.place(worker)
        if worker.leaving and not worker.window and not worker.left:
            worker.left = True
            self._out.send(worker, notice.LEFT)
        self.dispatch(now)

    def run_all(self, worker: Worker, now: float) -> None:
        """A worker has declared its capacity: what it holds behind the first request runs as well (rule 9)."""
        if not worker.concurrent:
            worker.concurrent = True
            for request in [*worker.window.values()][1:]:
                if request is not None:
                    self._started(request, now)

    @property
    def in_flight(self) -> int:
        """How many requests workers hold."""
        return sum(worker.in_flight for worker in self.workers)

    def held(self) -> list[Request]:
        """The requests that workers hold."""
        windows = (worker.window.values() for worker in self.workers)
        return [request for window in windows for request in window if request is not None]

    def become_debt(self, request: Request) -> None:
        """A held request ends before its worker has answered: the slot stays taken until then (law 7)."""
        worker = request.worker
        assert worker is not None
        worker.window[request.key] = None
        worker.debts += 1
        worker.owed[request.key] = request
        request.debtor = worker
        request.worker = None

    def debt_paid(self, worker: Worker, key: bytes) -> None:
        """A worker has answered a debt, which was taken out of its window; quarantine ends with the last one."""
        worker.debts -= 1
        del worker.owed[key]
        if worker.quarantined and not worker.debts:
            worker.quarantined = False
            self._out.note("worker.restored", worker=worker)

    def _give(self, worker: Worker, request: Request, now: float) -> None:
        """Send a request to a worker under a new id (rule 24)."""
        request.dispatches = dispatches = request.dispatches + 1
        request.key = key = pack_key(self._id_prefix, request.seq << 16 | dispatches & 0xFFFF)
        request.worker = worker
        request.started = now  # until what is before it in the window is answered
        if self.settings.request_timeout and (worker.concurrent or not worker.window):
            self._time(request, now)
        worker.window[key] = request
        outbox = worker.outbox
        if not outbox:
            self._out.outgoing.append(worker)
        outbox += (key, request.raw)

    def _started(self, request: Request, now: float) -> None:
        request.started = now
        if self.settings.request_timeout:
            self._time(request, now)

    def _time(self, request: Request, now: float) -> None:
        self.deadlines.set(now + self.settings.request_timeout, Kind.RUN, request)
