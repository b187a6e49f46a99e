"""How requests end, and the account of it (law 3): received = replied + failed + dropped + queued + in flight.

Every request that enters is counted here once, and ends here once: replied, failed or dropped. Layer 1, pure.
Called by: `queue`, `intake`.
"""

from __future__ import annotations

from zqd.core.outputs import Outputs
from zqd.core.peers import Client, Worker
from zqd.core.request import Request, failure_reply
from zqd.core.settings import QueueSettings
from zqd.errors import FailureCode
from zqd.stats import Counters, Histogram
from zqd.zmtp.pieces import RawMessage


class Ledger:
    """Counters and histograms of one queue, and the only code that ends a request."""

    __slots__ = (
        "_boot",
        "_due",
        "_out",
        "_record_run",
        "_record_wait",
        "counters",
        "run",
        "settings",
        "wait",
    )

    def __init__(self, out: Outputs, settings: QueueSettings, boot: bytes) -> None:
        self._out = out
        self._boot = boot
        self.settings = settings
        self.counters = Counters()
        self.wait = Histogram()
        """From arrival to the start of the attempt that was answered, seconds."""
        self.run = Histogram()
        """Of that attempt, seconds."""
        self._record_wait, self._record_run = self.wait.record, self.run.record
        self._due = 0.0  # of both histograms

    def rising(self) -> tuple[float, ...]:
        """What rates are made of: received, replied, worker-seconds."""
        return self.counters.received, self.counters.replied, self.run.total

    def id_of(self, request: Request) -> str:
        """What people call a request in logs and in zqctl: the first 14 bytes of its ids, in hex (rule 24)."""
        return (self._boot + request.seq.to_bytes(6, "big")).hex()

    def received(self, client: Client) -> None:
        """A request with a valid envelope has come in."""
        self.counters.received += 1
        client.outstanding += 1

    def replied(self, request: Request, worker: Worker, reply: RawMessage, now: float) -> None:
        """The holder has answered; `reply` is raw, as the client gets it."""
        client = request.client
        started = request.started
        run = now - started
        if now >= self._due:
            self._settle(now)
        self._record_wait(started - request.arrived)
        self._record_run(run)
        if self.settings.slow_request and now - request.arrived >= self.settings.slow_request:
            self._note_slow(request, worker, now)
        worker.busy += run
        worker.replied += 1
        request.raw = b""
        if client.gone:
            self.dropped(request)
            return
        self.counters.replied += 1
        client.outstanding -= 1
        client.replied += 1
        client.replied_at = now
        outbox = client.outbox
        if not outbox:
            self._out.outgoing.append(client)
        outbox.append(reply)

    def _settle(self, now: float) -> None:
        self.wait.settle(now)
        self.run.settle(now)
        self._due = self.run.due

    def _note_slow(self, request: Request, worker: Worker, now: float) -> None:
        """From arrival to reply it took `slow_request` or longer."""
        self._out.note(
            "request.slow",
            request=self.id_of(request),
            client=request.client,
            worker=worker.id,
            **({"name": worker.name} if worker.name else {}),
            wait_ms=round((request.started - request.arrived) * 1000, 3),
            run_ms=round((now - request.started) * 1000, 3),
            size=len(request.raw),
            attempts=request.attempts + 1,
        )

    def failed(self, request: Request, code: FailureCode, reason: str) -> None:
        """It gets no reply; the client is told unless it has left (then the request is dropped)."""
        if request.client.gone:
            self.dropped(request)
            return
        self._out.note(
            "request.failed",
            client=request.client,
            request=self.id_of(request),
            code=int(code),
            reason=reason,
        )
        self._fail(request.client, request.envelope, code, reason)
        request.raw = b""

    def refused(self, client: Client, envelope: bytes, code: FailureCode, reason: str) -> None:
        """A message that fails as it comes in: it never waits."""
        self.received(client)
        self._out.note("request.refused", client=client, code=int(code), reason=reason)
        self._fail(client, envelope, code, reason)

    def dropped(self, request: Request) -> None:
        """Its client has left: nobody is told."""
        self.counters.dropped += 1
        request.client.outstanding -= 1
        request.client.unanswered += 1
        request.raw = b""

    def _fail(self, client: Client, envelope: bytes, code: FailureCode, reason: str) -> None:
        self.counters.failed += 1
        client.outstanding -= 1
        client.unanswered += 1
        if self.settings.on_failure == "error":
            self._out.send(client, failure_reply(envelope, code, reason))
