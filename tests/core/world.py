"""A harness that keeps an account of its own: who asked what, who holds it, who got which answer.

It knows nothing of the queue's inside where it can do without, and asserts what clients and workers can see:

* an answer goes to the client that asked, under its own envelope, once (laws 5, rules 14, 25);
* a dispatch carries a new id and the client's message untouched (rule 24), to a worker with a free slot that neither
  leaves nor is overdue (laws 7, rules 11, 26), in each client's own order (law 6), and never beyond its attempts
  (rules 9, 10);
* no limit is passed, and nobody is held up by a limit for room that cannot come (rule 17).

`finish` lets everything come to its end, and says whether everybody got what they asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

from tests.core.accounts import Account, Asked
from tests.core.fakes import FakeClient, FakeWorker, Task, padded
from tests.core.harness import Harness, oversize
from zqd.core.pace import MOST
from zqd.core.regime import State
from zqd.zmtp.frames import decode_message, encode_message

T = TypeVar("T")

CLOSE = 1e-9  # seconds; what arithmetic may be off


class World(Harness):
    """The harness and the account; keyword arguments are the queue's settings."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.accounts: dict[FakeClient, Account] = {}
        self.requests: dict[bytes, Asked] = {}
        self.slots: dict[FakeWorker, int] = {}
        self.going: set[FakeWorker] = set()
        self.drained: set[FakeWorker] = set()
        self.stopping = False
        self._keys: set[bytes] = set()
        self._dispatched: dict[str, Asked] = {}  # by the id that people see
        self._count = 0
        self._largest = 0  # bytes of a message, or of an unfinished one
        self._boot = 0

    @property
    def live_clients(self) -> list[FakeClient]:
        """Clients that are connected."""
        return [client for client in self.clients.values() if not client.gone]

    @property
    def live_workers(self) -> list[FakeWorker]:
        """Workers that are connected."""
        return [worker for worker in self.workers.values() if not worker.gone]

    # Stimuli that the account has to know of

    def ask(
        self,
        client: FakeClient,
        *,
        known: bool = True,
        size: int = 0,
        priority: int | None = None,
        attempts: int | None = None,
        timeout_ms: int | None = None,
    ) -> None:
        """A request; with options it has an envelope that tells it from others."""
        self._count += 1
        token = b"%s-%d" % (client.name.encode(), self._count)
        options = {"priority": priority, "attempts": attempts, "timeout_ms": timeout_ms}
        given = " ".join(f"{key}={value}" for key, value in options.items() if value is not None)
        body = token
        envelope: tuple[bytes, ...] = ()
        if given or known:
            envelope = (b"#" + token,)
        elif size > len(token) + 4:
            body = padded(token, size)
        if given:
            envelope = (b"zqd/1 " + given.encode(), *envelope)
        message = encode_message([*envelope, b"", body])
        asked = Asked(
            client,
            self._count,
            message,
            5 if priority is None else priority,
            min(attempts or self.settings.max_attempts, self.settings.max_attempts),
            None if timeout_ms is None else timeout_ms / 1000,
            bool(envelope),
        )
        self.accounts.setdefault(client, Account()).asked[token] = self.requests[token] = asked
        self._largest = max(self._largest, len(message))
        client.send_raw(message)

    def ask_badly(self, client: FakeClient) -> None:
        """A request with options that make no sense: 400."""
        self.accounts.setdefault(client, Account()).refusals += 1
        client.send_frames(b"zqd/1 priority=10", b"", b"x")

    def ask_too_much(self, client: FakeClient) -> None:
        """A request over the size limit: 413."""
        self.accounts.setdefault(client, Account()).refusals += 1
        client.send_raw(oversize())

    def declare(self, worker: FakeWorker, capacity: int) -> None:
        """A hello with a capacity."""
        bound = self.settings.max_capacity or capacity
        self.slots[worker] = max(self.slots.get(worker, 1), min(capacity, bound))
        worker.hello(capacity=capacity)

    def ask_to_leave(self, worker: FakeWorker) -> None:
        """A worker wants to go."""
        self.going.add(worker)
        worker.ask_to_leave()

    def kill(self, worker: FakeWorker) -> None:
        """A worker dies."""
        self.charge(worker)
        worker.die()

    def charge(self, worker: FakeWorker) -> None:
        """A worker is going to be lost: what it runs is charged an attempt (rule 9)."""
        for place, task in enumerate(worker.tasks):
            asked = self.held(worker, task)
            if asked is not None and (place == 0 or not worker.in_order):
                asked.charged += 1

    def reconnect(self, worker: FakeWorker) -> None:
        """A worker comes back on another connection."""
        self.slots.pop(worker, None)
        self.going.discard(worker)
        self.drained.discard(worker)
        worker.reconnect()

    def start_again(self) -> None:
        """The broker dies and starts again: all clients are gone, the workers come back with what they had."""
        workers = self.live_workers
        self._boot += 1
        self.restart(self._boot.to_bytes(8, "big"))
        for worker in workers:
            self.reconnect(worker)

    # Orders that the account has to know of

    def drain_worker(self, worker: FakeWorker) -> None:
        """From now on it gets nothing."""
        self.drained.add(worker)
        super().drain_worker(worker)

    def resume_worker(self, worker: FakeWorker) -> None:
        """It is served again, unless it wants to leave."""
        self.drained.discard(worker)
        super().resume_worker(worker)

    def kick(self, peer: FakeClient | FakeWorker) -> None:
        """To a worker it is like a death."""
        if isinstance(peer, FakeWorker):
            self.charge(peer)
        super().kick(peer)

    def cancel(self, request_id: str) -> bool:
        """A worker that runs it is not overdue by it."""
        asked = self._dispatched.get(request_id)
        if asked is not None:
            asked.cancelled = True
        return super().cancel(request_id)

    # The account

    def saw_taken(self, client: FakeClient, raw: bytes) -> None:
        """From now on the client's own time-out counts (rule 12)."""
        asked = self.requests.get(_token(decode_message(raw)[-1]))
        draining = self.queue.regime.state in {State.DRAINING, State.DRAINED}
        assert asked is None or not draining, "rule 23: a request is let in while the queue is drained"
        if asked is not None and asked.timeout is not None and not asked.answered:
            asked.due = self.now + asked.timeout

    def saw_dispatch(self, worker: FakeWorker, task: Task) -> None:
        """Rules 24, 7, 11, 26, law 6, rules 9 and 10, in this order."""
        asked = self.requests[_token(task.body)]
        assert task.key not in self._keys, "rule 24: an id is used twice"
        self._keys.add(task.key)
        assert task.message == asked.message, "rule 24: the message has changed"

        prefetch = self.settings.prefetch if worker.in_order else 1
        slots = prefetch if isinstance(prefetch, int) else MOST
        slots = max(slots, self.slots.get(worker, 1))
        assert len(worker.tasks) <= slots, (
            f"law 7: {worker.name} holds {len(worker.tasks)}, has {slots} slots"
        )
        assert worker not in self.going, "rule 26: a request for a worker that wants to leave"
        assert worker not in self.drained, "rule 23: a request for a worker that is drained"
        assert self.queue.regime.state is not State.PAUSED, "rule 23: a dispatch in a pause"
        if self.settings.request_timeout:
            running = worker.tasks[:1] if worker.in_order else worker.tasks
            before = self.now - self.settings.request_timeout - CLOSE
            overdue = [t for t in running if t.since <= before and not self._let_go(t)]
            assert not overdue, "rule 11: a request for a worker that is overdue"

        client = asked.client
        assert not asked.answered, "law 1: an answered request is dispatched"
        if client.gone and self.clients.get(client.peer) is client:
            assert self.settings.on_client_left == "run", "rule 16: a departed client's request is dispatched"
        if asked.dispatches:
            self._dispatched_again(asked)
        else:
            last_of = self.accounts[client].last_of
            assert last_of.get(asked.priority, 0) < asked.number, (
                "law 6: a client's requests are out of order"
            )
            last_of[asked.priority] = asked.number
        assert asked.charged < asked.attempts, "rule 10: an attempt too many"
        asked.holder, asked.key = worker, task.key
        asked.dispatches += 1
        self._dispatched[task.id[:14].hex()] = asked

    def _dispatched_again(self, asked: Asked) -> None:
        """Its last holder is gone, or has let it time out (rules 9, 11)."""
        holder = asked.holder
        if holder is not None and not holder.gone and any(task.key == asked.key for task in holder.tasks):
            assert holder.peer.quarantined, "law 1: two workers hold one request"

    def saw_notice(self, event: str, fields: dict[str, object]) -> None:
        """A time-out is charged to the request that ran (rule 9)."""
        if event != "worker.quarantined":
            return
        ran = self._dispatched[str(fields["request"])]
        ran.charged += 1
        worker = next(worker for worker in self.workers.values() if worker.peer.id == fields["worker"])
        for task in worker.tasks:
            asked = self.held(worker, task)
            if asked is not None and (worker.in_order or asked is ran):
                asked.key = b""

    def saw_answer(self, client: FakeClient, frames: list[bytes]) -> None:
        """Law 5, rules 14 and 25."""
        account = self.accounts[client]
        cut = frames.index(b"") + 1
        envelope, body = frames[:cut], frames[cut:]
        assert len(body) == 1, "an answer of one frame becomes another one"
        if body[0].startswith(b"ZQD-ERROR "):
            self._failed(account, envelope, body[0])
            return
        token = _token(body[0].removeprefix(b"re:"))
        asked = account.asked.get(token)
        assert asked is not None, f"law 5: {client.name} gets {body[0]!r}, which it has not asked for"
        assert not asked.answered, f"law 5: {client.name} gets {body[0]!r} a second time"
        assert decode_message(asked.message)[:cut] == envelope, "law 5: another envelope"
        asked.answered = True

    def _failed(self, account: Account, envelope: list[bytes], body: bytes) -> None:
        code = int(body.split(b" ")[1])
        known = next((frame[1:] for frame in envelope if frame.startswith(b"#")), None)
        if known is None:
            if code in {400, 413}:
                account.refusals -= 1
                assert account.refusals >= 0, f"rule 14: {body!r} without a cause"
            else:
                account.unknown_failures += 1
            return
        asked = account.asked[known]
        assert not asked.answered, f"law 5: {known!r} fails after its answer"
        sent = decode_message(asked.message)[:-1]
        if sent[0].startswith(b"zqd/1"):
            sent[0] = b"zqd/1 status=%d" % code
        assert envelope == sent, "rule 14: another envelope"
        if body.endswith(b" worker lost"):
            assert asked.charged >= asked.attempts, "rule 10: not all attempts are spent"
        asked.answered = True

    def _let_go(self, task: Task) -> bool:
        """The broker waits for this task no more, but not because it took too long (law 7)."""
        asked = self.requests[_token(task.body)]
        timed_out = asked.due is not None and asked.due <= self.now
        return asked.answered or asked.cancelled or timed_out

    def held(self, worker: FakeWorker, task: Task) -> Asked | None:
        """The request of a task, if that dispatch still counts."""
        asked = self.requests[_token(task.body)]
        return asked if asked.key == task.key and not asked.answered else None

    # After every step

    def step(self, told: str, act: Callable[[], T]) -> T:
        """As in the harness, and what holds between any two steps."""
        outermost = not self._settling
        result = super().step(told, act)
        if outermost and not self.stopping:
            try:
                self._assert_limits()
                self._assert_nobody_is_forgotten()
            except AssertionError as error:
                self.explain(error)
                raise
        return result

    def _assert_limits(self) -> None:
        settings, line = self.settings, self.queue.line
        fresh = [request for request in line if not request.dispatches]
        self._largest = max(self._largest, 0, *(peer.unfinished for peer in self.queue.clients))
        if settings.max_queued:
            # One beyond it for each client, those included that have left something behind them.
            clients = {*self.queue.clients, *(request.client for request in fresh)}
            assert len(fresh) <= settings.max_queued + len(clients), "rule 17: max_queued"
        if settings.max_queued_bytes:
            # Beyond the limit: one message that came to an empty line, one that was let grow over an empty line, and
            # what a last read brought of a message that was not.
            held = sum(len(request.raw) for request in fresh)
            held += sum(peer.unfinished for peer in self.queue.clients if not peer.paused)
            assert held <= settings.max_queued_bytes + 2 * self._largest, "rule 17: max_queued_bytes"
        if settings.max_per_client:
            for client, count in Counter(request.client for request in fresh).items():
                assert count <= settings.max_per_client, f"rule 17: max_per_client of {client}"

    def _assert_nobody_is_forgotten(self) -> None:
        queue = self.queue
        if queue.admission.frozen:
            return
        if not queue.line.size:
            for peer in queue.clients:
                assert not peer.paused or peer.unfinished, f"rule 17: {peer} waits for room that cannot come"
        if not queue.admission.unfinished and not queue.line.size:
            assert not any(peer.paused for peer in queue.clients), "rule 17: paused for nothing"
        if not queue.admission.for_bytes and self.settings.max_queued:
            for peer in queue.admission.for_count:
                assert peer.waiting, f"rule 17: {peer} is held up with nothing waiting"

    def wait(self, seconds: float) -> None:
        """Time passes, and no request outlives its client's time-out (rule 12)."""
        super().wait(seconds)
        if self.settings.on_failure == "drop":
            return
        for asked in self.requests.values():
            if asked.due is not None and not asked.answered and not asked.client.gone:
                assert asked.due > self.now - CLOSE, "rule 12: the client's own time-out has passed"

    # The end

    def finish(self) -> None:
        """Good workers take the place of all others, clients read and finish what they began: everything is answered."""
        self.resume()
        for worker in self.live_workers:
            self.kill(worker)
        for client in self.live_clients:
            if client.unsent is not None:
                client.read()
        good = [self.worker(f"good{number}") for number in range(2)]
        rounds = 0
        while any(worker.tasks for worker in good) or any(c.peer.unfinished for c in self.live_clients):
            rounds += 1
            assert rounds < 1000, "it does not come to an end"
            for worker in good:
                while worker.tasks:
                    worker.reply()
            for client in self.live_clients:
                if client.peer.unfinished and client.is_read:
                    self.ask(client)
        assert self.queue.line.size == 0, "something still waits"
        self.settled()

    def finish_by_stop(self, *, answering: bool) -> None:
        """A stop: workers answer, or time runs out; every client is answered and closed (rule 22)."""
        self.stopping = True
        for client in self.live_clients:
            if client.unsent is not None:
                client.read()
        self.stop()
        while answering and any(worker.tasks for worker in self.live_workers):
            for worker in self.live_workers:
                while worker.tasks:
                    worker.reply()
        self.wait(self.settings.drain_timeout)
        assert not self.queue.clients, "rule 22: a client is still there"
        self.settled()

    def settled(self) -> None:
        """Everything has come to its end: the sums are right, and everybody has got one answer for each request."""
        counts = self.counts
        assert "queued" not in counts
        assert "in_flight" not in counts
        ended = sum(counts.get(name, 0) for name in ("replied", "failed", "dropped"))
        assert counts.get("received", 0) == ended, f"law 3: {counts}"
        for client, account in self.accounts.items():
            if client.peer not in self.clients or (client.gone and not client.peer.ended):
                continue  # it left on its own, or by a restart
            assert not client.unread, f"{client.name} was not read to the end"
            missing = [asked for asked in account.asked.values() if not asked.answered]
            owed = len(missing) - account.unknown_failures + account.refusals
            if self.settings.on_failure == "drop":
                assert owed >= 0, f"{client.name} got more answers than it asked for"
                continue
            assert owed == 0, f"{client.name} misses {owed} answers"
            assert not any(asked.known for asked in missing), f"{client.name} misses an answer"


def _token(body: bytes) -> bytes:
    return body.rstrip(b".")
