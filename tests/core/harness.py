"""Drives a `Queue` as a device does, on a clock of its own, and asserts the laws after every step.

    q = Harness(max_attempts=2)
    a, w = q.client("a"), q.worker("w")
    a.send(b"one")
    w.reply()
    assert a.answers == [b"re:one"]

Every stimulus is one step: `check()` runs after it, then the outputs are carried out as `zqd.net.device` does it (refused
messages are kept and offered again, connections end), which may be further steps. A step that fails shows those before
it. Subclasses look on through the methods whose names begin with `saw_`.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from tests.core.fakes import FakeClient, FakeWorker, Outbox, Task, split_messages
from zqd.core.check import check
from zqd.core.dispatch import KEY_SIZE
from zqd.core.notice import LEFT
from zqd.core.outputs import Ending
from zqd.core.pace import set_slots
from zqd.core.peers import Client, Peer, Worker
from zqd.core.queue import Queue
from zqd.core.settings import QueueSettings
from zqd.zmtp.connection import Oversize
from zqd.zmtp.frames import decode_message, encode_message
from zqd.zmtp.pieces import flat

T = TypeVar("T")

START = 1000.0  # seconds; what the clock shows at first
BOOT = b"boot-one"
HISTORY = 30  # steps that are shown when one fails


class Harness:
    """One queue with its clients and workers; keyword arguments are its settings."""

    def __init__(self, boot: bytes = BOOT, **settings: Any) -> None:
        self.now = START
        self.settings = QueueSettings(**settings)
        self.queue = Queue("default", self.settings, boot)
        self.clients: dict[Client, FakeClient] = {}
        self.workers: dict[Worker, FakeWorker] = {}
        self.notices: list[tuple[str, dict[str, object]]] = []
        self.steps = 0
        self._history: deque[str] = deque(maxlen=HISTORY)
        self._numbers = itertools.count(1)
        self._settling = False

    # Peers

    def client(self, name: str) -> FakeClient:
        """A client joins."""
        peer = Client(next(self._numbers), name, "", self.now)
        client = self.clients[peer] = FakeClient(self, peer)
        peer.outbox = Outbox(lambda message: self._answered(client, message))
        self.step(f"client {name} joins", lambda: self.queue.join_client(peer))
        return client

    def worker(self, name: str) -> FakeWorker:
        """A REP worker joins: `prefetch` slots, and it runs one request after the other."""
        worker = FakeWorker(self, name, in_order=True)
        self.join(worker)
        return worker

    def dealer(self, name: str, /, **hello: object) -> FakeWorker:
        """A DEALER worker joins: one slot, or what its hello says if there is one."""
        worker = FakeWorker(self, name, in_order=False)
        self.join(worker)
        if hello:
            worker.hello(**hello)
        return worker

    def join(self, worker: FakeWorker) -> None:
        """A worker's handshake is over: for the first time, or again."""
        worker.peer = Worker(next(self._numbers), worker.name, "", self.now, capacity=1)
        if worker.in_order:
            set_slots(worker.peer, self.settings.prefetch)
        worker.peer.outbox = Outbox(lambda message: self._given(worker, message))
        self.workers[worker.peer] = worker
        self.step(f"worker {worker.name} joins", lambda: self.queue.join_worker(worker.peer, self.now))

    # Time and orders

    def wait(self, seconds: float) -> None:
        """Time passes; `elapse` is called whenever `deadline` says so."""
        end = self.now + seconds
        while (deadline := self.queue.deadline) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self._elapse()
        self.now = end

    def stop(self) -> None:
        """The order to stop (rule 22)."""
        self.step("stop", lambda: self.queue.regime.stop(self.now, self.queue.settings.drain_timeout))

    def pause(self) -> None:
        """The order to dispatch nothing (rule 23)."""
        self.step("pause", self.queue.regime.pause)

    def drain(self) -> None:
        """The order to let nothing in and finish the rest (rule 23)."""
        self.step("drain", lambda: self.queue.regime.drain(self.now))

    def resume(self) -> None:
        """The order that undoes these two (rule 23)."""
        self.step("resume", lambda: self.queue.regime.resume(self.now))

    def drain_worker(self, worker: FakeWorker) -> None:
        """The order to give a worker nothing more (rule 23)."""
        self.step(f"drain {worker.name}", lambda: self.queue.drain_worker(worker.peer, self.now))

    def resume_worker(self, worker: FakeWorker) -> None:
        """The order that undoes it."""
        self.step(f"resume {worker.name}", lambda: self.queue.resume_worker(worker.peer, self.now))

    def kick(self, peer: FakeClient | FakeWorker) -> None:
        """The order to close a connection (rule 23)."""
        self.step(f"kick {peer.name}", lambda: self.queue.kick(peer.peer))

    def cancel(self, request_id: str) -> bool:
        """The order to fail a request with 499 (rule 23); False if there is none of this id."""
        request = self.queue.find(request_id)
        if request is None:
            return False
        self.step(f"cancel {request_id}", lambda: self.queue.cancel(request))
        return True

    def restart(self, boot: bytes) -> None:
        """The broker dies without a word and another one starts: its peers have lost their connections."""
        self._history.append("restart")
        for client in self.clients.values():
            client.gone = True
        for worker in self.workers.values():
            worker.gone = True
        self.clients.clear()
        self.workers.clear()
        self.queue = Queue("default", self.settings, boot)

    # What tests look at

    @property
    def counts(self) -> dict[str, int]:
        """The queue's counters that are not 0, with `queued` and `in_flight`."""
        counts = self.queue.ledger.counters.as_dict()
        counts |= {"queued": self.queue.line.size, "in_flight": self.queue.dispatcher.in_flight}
        return {name: count for name, count in counts.items() if count}

    def noted(self, event: str) -> list[dict[str, object]]:
        """The fields of all notices of this event, oldest first."""
        return [fields for name, fields in self.notices if name == event]

    # Steps

    def step(self, told: str, act: Callable[[], T]) -> T:
        """One stimulus: then the laws, then what the queue wants done."""
        self.steps += 1
        self._history.append(f"{self.now - START:9.3f}  {told}")
        try:
            result = act()
            check(self.queue)
            if not self._settling:
                self._settle()
        except Exception as error:
            self.explain(error)
            raise
        return result

    def explain(self, error: Exception) -> None:
        """Let an error show the last steps."""
        if not hasattr(error, "__notes__"):
            error.add_note("the last steps were\n  " + "\n  ".join(self._history))

    def _elapse(self) -> None:
        self.step("time passes", lambda: self.queue.elapse(self.now))
        assert self.queue.deadline is None or self.queue.deadline > self.now, "rule 20: the loop would spin"

    def _settle(self) -> None:
        """Carry out the outputs until there are none, as `zqd.net.device` does at the end of a turn."""
        self._settling = True
        try:
            queue, out = self.queue, self.queue.out
            if queue.deadline is not None and queue.deadline <= self.now:
                self._elapse()
            self._take_notices()
            while out.outgoing or out.resumed or out.closing:
                closing, out.closing = out.closing, []
                for peer, ending in closing:
                    self._close(peer, ending)
                resumed, out.resumed = out.resumed, []
                for client in resumed:
                    self._resume(client)
                while out.outgoing:
                    self._deliver(out.outgoing.pop(0))
                self._take_notices()
        finally:
            self._settling = False

    def _take_notices(self) -> None:
        out = self.queue.out
        notices, out.notices = out.notices, []
        self.notices += notices
        for event, fields in notices:
            self.saw_notice(event, fields)

    def _close(self, peer: Peer, ending: Ending) -> None:
        if isinstance(peer, Client):
            client = self.clients[peer]
            if ending is Ending.GRACEFUL:
                assert not peer.outstanding, f"rule 22: {client.name} is ended before its last reply"
                client.push()  # a last look at what it has sent
                if peer.outstanding:
                    peer.ended = False
                    return
            self.saw_close(client, ending)
            client.gone = True
            self.step(f"{client.name} is closed", lambda: self.queue.client_left(peer, self.now))
        elif isinstance(peer, Worker) and not peer.gone:
            worker = self.workers[peer]
            self.saw_close(worker, ending)
            worker.die()

    def _resume(self, peer: Client) -> None:
        client = self.clients[peer]
        if client.is_read:
            self.saw_resumed(client)
            client.push()

    def _deliver(self, peer: Peer) -> None:
        """Send what is in a peer's outbox: whole messages, which it was seen to get as they were written."""
        raw = b"".join(flat(peer.outbox))
        peer.outbox.clear()
        for _ in split_messages(raw):
            pass
        if isinstance(peer, Client):
            self.clients[peer].pile_up(len(raw))

    def _answered(self, client: FakeClient, message: bytes) -> None:
        frames = decode_message(message)
        client.receive(frames)
        self.saw_answer(client, frames)

    def _given(self, worker: FakeWorker, message: bytes) -> None:
        if message == LEFT:
            worker.told_left = True
            self.saw_left(worker)
        else:
            task = Task(message[:KEY_SIZE], message[KEY_SIZE:], self.now)
            worker.take(task)
            self.saw_dispatch(worker, task)

    # What subclasses look at

    def saw_dispatch(self, worker: FakeWorker, task: Task) -> None:
        """A worker got a request."""

    def saw_taken(self, client: FakeClient, raw: bytes) -> None:
        """The queue has taken a client's message, and its outputs are carried out."""

    def saw_answer(self, client: FakeClient, frames: list[bytes]) -> None:
        """A client got a reply, or was told of a failure."""

    def saw_left(self, worker: FakeWorker) -> None:
        """A worker was told `left`."""

    def saw_close(self, peer: FakeClient | FakeWorker, ending: Ending) -> None:
        """The queue wants a connection ended."""

    def saw_resumed(self, client: FakeClient) -> None:
        """The queue wants a client read again."""

    def saw_notice(self, event: str, fields: dict[str, object]) -> None:
        """The queue says that something has happened."""


def oversize(*envelope: bytes) -> Oversize:
    """What is left of a message over the limit: the frames of its envelope, the empty one last."""
    return Oversize(encode_message([*envelope, b"", b"-"])[:-3], 1 << 30)
