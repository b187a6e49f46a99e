"""The queue: **the** state machine of zqd, and the file to read first.

It is told facts (a request arrived, a worker is lost, time passed) and orders (pause, stop), each with the loop's
`now` in seconds, and decides as man/zqd.7 says, which has the rules by number. It does no I/O: what is to be done lies
in `out` (`core.outputs`), which its owner takes once a turn, and `deadline` says when to call `elapse`.

    request() ─▶ admitted? ─▶ waiting line ─▶ a worker's window ─▶ reply() ─▶ replied
                  └ no: client paused  ▲           └ lost, timed out ─▶ attempts left? no ─▶ failed
                                       └─────────────────── returned ◀───────┘ yes

Laws (`core.check` asserts them after every step of the tests):
  1. A request is in exactly one place: waiting, or held by one worker. A worker is in exactly one collection.
  2. Never a waiting request and a free slot at once, unless the queue is paused or the client is stalled.
  3. received = replied + failed + dropped + queued + in flight.
  4. Nothing that a peer sends raises: it is counted and noticed.
  5. Only the holder of a dispatch answers it, under its id and the client's own envelope.
  6. The order is that of `core.waiting`.
  7. A slot is taken until that dispatch is answered or the worker is gone; a request that ended meanwhile is a debt.

Layer 1, pure: no socket, no clock, no logger. Called by: `zqd.net.device` and its links, `intake`.
"""

from __future__ import annotations

from zqd.core import notice
from zqd.core.admission import Admission
from zqd.core.deadlines import Kind
from zqd.core.dispatch import ID_HEADER, ID_SIZE, KEY_SIZE, LONG_ID_HEADERS, Dispatcher
from zqd.core.ledger import Ledger
from zqd.core.outputs import Ending, Outputs
from zqd.core.peers import Client, Worker
from zqd.core.regime import Regime, State, Verdict
from zqd.core.request import MAX_ATTEMPTS, NO_OPTIONS, Request, parse_options
from zqd.core.settings import QueueSettings
from zqd.core.waiting import WaitingLine
from zqd.errors import FailureCode
from zqd.zmtp.frames import EMPTY_MORE, MORE, envelope_of, same_envelope
from zqd.zmtp.pieces import RawMessage, behind, head_of

AT_FRONTEND = "this is the frontend; workers connect to the backend"
NO_ID = "a reply must begin with the 16-byte frame that the request began with"


class Queue:
    """One queue between its clients and its workers. `boot` is 8 bytes, random for each start of the process."""

    def __init__(self, name: str, settings: QueueSettings, boot: bytes) -> None:
        self.name = name
        self.settings = settings
        self.out = Outputs()
        self.ledger = Ledger(self.out, settings, boot)
        self.clients: dict[Client, None] = {}
        self.line = WaitingLine()
        self.admission = Admission(self.line, self.out, settings)
        self.dispatcher = Dispatcher(self.line, self.admission, self.out, settings, boot)
        self.workers = self.dispatcher.workers
        self.regime = Regime(self.dispatcher, self.admission, self.out, self.clients)
        self.seq = 0  # of the last request

    # Facts about clients

    def join_client(self, client: Client) -> None:
        """A client's handshake is over."""
        self.clients[client] = None
        self.out.note("client.joined", client=client)

    def request(self, client: Client, raw: RawMessage, now: float) -> bool:
        """A client's message arrived. False: not now; offer it again when the client is in `out.resumed`."""
        envelope, options = EMPTY_MORE, NO_OPTIONS
        head = head_of(raw)
        if head[:2] != EMPTY_MORE:  # not a plain REQ's
            found = envelope_of(head)
            if found is None:
                if head[: len(notice.PREFIX)] == notice.PREFIX:  # it would wait here for ever
                    self.ledger.refused(client, EMPTY_MORE, FailureCode.BAD_OPTIONS, AT_FRONTEND)
                else:
                    self._malformed(client, "a request needs an empty frame and something after it")
                return True
            envelope = found
            try:
                options = parse_options(envelope)
            except ValueError as error:
                self.ledger.refused(client, envelope, FailureCode.BAD_OPTIONS, str(error))
                return True
        if self.regime.regular:
            if self.line.size and not self.admission.admits(client, len(raw)):
                return self._overloaded(client, envelope, len(raw))
        elif (turned_away := self._turn_away(client, envelope, now)) is not None:
            return turned_away
        self.seq += 1
        self.ledger.received(client)
        request = Request(self.seq, client, raw, now)
        request.envelope, request.options = envelope, options
        self.dispatcher.enter(request, now)
        if options.timeout is not None:  # only now that it is in its place: a sweep takes others for ended
            self.dispatcher.deadlines.set(now + options.timeout, Kind.CLIENT, request)
        return True

    def oversize_request(self, client: Client, envelope: bytes) -> None:
        """A client's message passed `max_message_size` and was discarded (rule 15)."""
        reason = f"larger than {self.settings.max_message_size} bytes"
        self.ledger.refused(client, envelope, FailureCode.TOO_LARGE, reason)

    def unfinished(self, client: Client, size: int) -> bool:
        """`size` bytes are held of a client's unfinished message. False: do not read on until it is resumed."""
        return self.admission.grown(client, size)

    def unsent(self, client: Client, size: int, now: float) -> None:
        """`size` bytes of replies wait until the client reads them (rule 19)."""
        bound = self.settings.max_unsent
        if client.stalled:
            if not bound or size <= bound // 2:
                self.line.unstall(client)
                self.out.note("client.resumed", client=client)
                if not client.paused:
                    self.out.resumed.append(client)
                self.dispatcher.dispatch(now)
        elif bound and size > bound:
            self.line.stall(client)
            self.out.note("client.stalled", client=client, unsent=size)

    def client_left(self, client: Client, now: float) -> None:
        """A client's connection has ended, whoever ended it (rule 16)."""
        client.gone = True
        del self.clients[client]
        self.admission.forget(client)
        if self.settings.on_client_left == "drop":
            for request in self.line.of_client(client):
                self.line.remove(request)
                self.ledger.dropped(request)
        elif client.stalled:
            self.line.unstall(client)
            self.dispatcher.dispatch(now)
        self.out.note("client.left", client=client)
        self.admission.relieve(None)
        self.regime.request_ended(client)

    # Facts about workers

    def join_worker(self, worker: Worker, now: float) -> None:
        """A worker's handshake is over."""
        self.out.note("worker.joined", worker=worker)
        self.dispatcher.settle(worker, now)

    def reply(self, worker: Worker, raw: RawMessage, now: float) -> None:
        """A worker's message arrived."""
        head = head_of(raw)
        key = bytes(head[:KEY_SIZE])
        if key not in worker.window:
            self._other_message(worker, bytes(raw), now)
            return
        request = worker.window.pop(key)
        if request is None:
            self.ledger.counters.late += 1
            self.dispatcher.debt_paid(worker, key)
        else:
            request.worker = None
            if worker.auto:
                self.dispatcher.keep_pace(worker, now - request.started, 1, now)
            envelope = request.envelope
            if same_envelope(envelope, memoryview(head)[KEY_SIZE:]):
                self.ledger.replied(request, worker, behind(raw, KEY_SIZE), now)
            else:
                self.ledger.failed(
                    request, FailureCode.WORKER_LOST, "the worker's reply has another envelope"
                )
            if not self.regime.regular:
                self.regime.request_ended(request.client)
        self.dispatcher.freed(worker, now)

    def oversize_reply(self, worker: Worker, envelope: bytes, now: float) -> None:
        """A worker's message passed `max_message_size` and was discarded (rule 15)."""
        if not envelope.startswith(ID_HEADER):
            self._break_off(worker, NO_ID)
            return
        reason = f"the reply is larger than {self.settings.max_message_size} bytes"
        self._answer_with_failure(worker, envelope[:KEY_SIZE], FailureCode.WORKER_LOST, reason, now)

    def worker_left(self, worker: Worker, now: float) -> None:
        """A worker's connection has ended, whoever ended it: what it held goes to others (rules 9, 10)."""
        worker.gone = True
        self.workers.remove(worker)
        held = list(worker.window.values())
        worker.window.clear()
        worker.debts = 0
        worker.owed.clear()
        requests = [request for request in held if request is not None]
        self.out.note("worker.lost" if requests else "worker.left", worker=worker, in_flight=len(requests))
        for place, request in enumerate(held):
            if request is not None:
                request.worker = None
                charged = place == 0 or worker.concurrent
                self._return(request, FailureCode.WORKER_LOST, "worker lost", now, charged=charged)
        self.dispatcher.dispatch(now)
        self._give_up_without_workers()

    # Time

    @property
    def deadline(self) -> float | None:
        """When `elapse` should be called, if nothing else happens; may be early."""
        due, stop = self.dispatcher.deadlines.next, self.regime.deadline
        if due is None or stop is None:
            return stop if due is None else due
        return min(due, stop)

    def elapse(self, now: float) -> None:
        """Time has passed: end what has come due."""
        for kind, request in self.dispatcher.deadlines.due(now):
            if kind is Kind.RUN:
                self._run_timed_out(request, now)
            else:
                reason = "waited too long" if kind is Kind.WAIT else "the client's own time-out"
                self._fail_in_place(request, FailureCode.TIMED_OUT, reason)
        if self.regime.elapse(now):
            self._fail_all("stopping")
            self.regime.end_all()
        self._give_up_without_workers()

    # Orders about one worker or one request (those about the whole queue: `regime`)

    def drain_worker(self, worker: Worker, now: float) -> None:
        """Give a worker nothing more; what it holds finishes (rule 23)."""
        worker.draining = True
        self.out.note("worker.draining", worker=worker)
        self.dispatcher.settle(worker, now)

    def resume_worker(self, worker: Worker, now: float) -> None:
        """Undo `drain_worker`, unless the worker itself wants to leave."""
        worker.draining = worker.leaving
        self.out.note("worker.resumed", worker=worker)
        self.dispatcher.settle(worker, now)

    def kick(self, peer: Client | Worker) -> None:
        """Close a peer's connection at once; it may come back (rule 23)."""
        self.out.note("peer.kicked", peer=peer)
        self._cut_off(peer)

    def unanswered(self) -> list[Request]:
        """All requests that wait or are in flight, in no particular order."""
        return [*self.line, *self.dispatcher.held()]

    def find(self, request_id: str) -> Request | None:
        """The unanswered request of this id."""
        return next((one for one in self.unanswered() if self.ledger.id_of(one) == request_id), None)

    def cancel(self, request: Request) -> None:
        """Fail an unanswered request with 499; a worker that runs it goes on, and owes the answer (law 7)."""
        self._fail_in_place(request, FailureCode.CANCELLED, "cancelled")

    def _give_up_without_workers(self) -> None:
        """At a stop no worker can come any more: what waits when the last one has gone fails at once."""
        if self.regime.state is State.STOPPING and self.line.size and not len(self.workers):
            self._fail_all("stopping, and no worker is left")

    def _fail_all(self, reason: str) -> None:
        for request in self.unanswered():
            self._fail_in_place(request, FailureCode.NO_CAPACITY, reason)

    # Requests that are not let in

    def _overloaded(self, client: Client, envelope: bytes, size: int) -> bool:
        """A limit is reached (rule 17)."""
        if self.settings.overload == "reject":
            self.ledger.refused(client, envelope, FailureCode.NO_CAPACITY, "the queue is full")
            return True
        self.admission.hold(client, size)
        return False

    def _turn_away(self, client: Client, envelope: bytes, now: float) -> bool | None:
        """While draining or stopping: what `request` returns, or None for a request that is still let in."""
        verdict = self.regime.verdict(client, now)
        if verdict is Verdict.HOLD:
            self.admission.hold(client, 0)
            return False
        if verdict is Verdict.REFUSE:
            self.ledger.refused(client, envelope, FailureCode.NO_CAPACITY, "stopping")
            return True
        return None

    # Returns and failures

    def _return(self, request: Request, code: FailureCode, reason: str, now: float, *, charged: bool) -> None:
        """An attempt is over without an answer: back into the line, or failed when all attempts are spent."""
        request.attempts += charged
        if request.client.gone:
            self.ledger.dropped(request)
            self.regime.request_ended(request.client)
            return
        if request.attempts >= min(request.options.attempts or MAX_ATTEMPTS, self.settings.max_attempts):
            self.ledger.failed(request, code, reason)
            self.regime.request_ended(request.client)
            return
        if charged:
            self.ledger.counters.retried += 1
            self.out.note(
                "request.retried",
                client=request.client,
                request=self.ledger.id_of(request),
                attempts=request.attempts,
            )
        self.dispatcher.line_up(request, now)

    def _run_timed_out(self, request: Request, now: float) -> None:
        """The running attempt took too long: its worker is quarantined, and what is behind it goes to others (rule 11)."""
        worker = request.worker or request.debtor
        assert worker is not None
        worker.quarantined = True
        self.out.note("worker.quarantined", worker=worker, request=self.ledger.id_of(request))
        for held in [request] if worker.concurrent else list(worker.window.values()):
            if held is not None and held.worker is worker:
                self.dispatcher.become_debt(held)
                self._return(held, FailureCode.TIMED_OUT, "ran too long", now, charged=held is request)
        self.dispatcher.settle(worker, now)

    def _fail_in_place(self, request: Request, code: FailureCode, reason: str) -> None:
        """Fail a request wherever it is; a worker that holds it owes a debt."""
        if request.waiting:
            self.line.remove(request)
        else:
            self.dispatcher.become_debt(request)
        self.ledger.failed(request, code, reason)
        self.admission.relieve(request.client)
        self.regime.request_ended(request.client)

    def _answer_with_failure(
        self, worker: Worker, key: bytes, code: FailureCode, reason: str, now: float
    ) -> None:
        """A worker has answered the dispatch `key`, but not with a reply; it is not retried."""
        if key not in worker.window:
            self._orphan(worker, key)
            return
        request = worker.window.pop(key)
        if request is None:
            self.ledger.counters.late += 1
            self.dispatcher.debt_paid(worker, key)
        else:
            request.worker = None
            self.ledger.failed(request, code, reason)
            self.regime.request_ended(request.client)
        self.dispatcher.freed(worker, now)

    # What else a worker may send

    def _other_message(self, worker: Worker, raw: bytes, now: float) -> None:
        """A message that does not begin with the id of a dispatch that the worker holds (law 5, rule 26)."""
        if raw.startswith(notice.PREFIX):
            try:
                told = notice.parse(raw)
            except ValueError as error:
                self._break_off(worker, str(error))
                return
            if isinstance(told, notice.Hello):
                self._hello(worker, told, now)
            elif isinstance(told, notice.Fail):
                self._answer_with_failure(worker, ID_HEADER + told.id, told.code, told.reason, now)
            else:
                worker.leaving = worker.draining = True
                self.dispatcher.settle(worker, now)
        elif raw.startswith(LONG_ID_HEADERS):
            self.reply(worker, bytes((raw[0] & MORE, ID_SIZE)) + raw[len(LONG_ID_HEADERS[0]) :], now)
        elif raw[1] == ID_SIZE and raw[0] <= 1:
            # The id as the last frame: an answer without the envelope.
            reason = "the worker's reply has no envelope"
            self._answer_with_failure(
                worker, ID_HEADER + bytes(raw[2:KEY_SIZE]), FailureCode.WORKER_LOST, reason, now
            )
        else:
            self._break_off(worker, NO_ID)

    def _hello(self, worker: Worker, hello: notice.Hello, now: float) -> None:
        worker.name = hello.name or worker.name
        worker.pid, worker.unit, worker.handler = hello.pid, hello.unit, hello.handler
        if hello.capacity is not None:
            worker.auto = False
            worker.capacity = min(hello.capacity, self.settings.max_capacity or hello.capacity)
            self.dispatcher.run_all(worker, now)
        self.out.note("worker.hello", worker=worker, pid=hello.pid, capacity=worker.capacity, held=hello.held)
        self.dispatcher.settle(worker, now)

    def _orphan(self, worker: Worker, key: bytes) -> None:
        self.ledger.counters.orphaned += 1
        self.out.note("reply.orphaned", worker=worker, request=key[2:16].hex())

    def _break_off(self, worker: Worker, reason: str) -> None:
        self._malformed(worker, reason)
        self._cut_off(worker)

    def _cut_off(self, peer: Client | Worker) -> None:
        """Close a connection; until it has ended a worker gets nothing that would be charged to it."""
        if isinstance(peer, Worker):
            peer.draining = True
            self.workers.place(peer)
        self.out.close(peer, Ending.NOW)

    def _malformed(self, peer: Client | Worker, reason: str) -> None:
        self.ledger.counters.malformed += 1
        self.out.note("message.malformed", peer=peer, reason=reason)
