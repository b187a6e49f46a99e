"""Random stimuli for a `World`: what clients, workers and the clock may do, and in which proportion."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.core.fakes import FakeClient, FakeWorker
from tests.core.world import World

MOST_CLIENTS = 6
MOST_WORKERS = 5


MOVES: dict[str, float] = {
    "client_joins": 3,
    "worker_joins": 2,
    "dealer_joins": 2,
    "client_asks": 60,
    "client_asks_with_options": 6,
    "client_asks_often": 6,
    "client_errs": 2,
    "client_holds": 4,
    "client_leaves": 2,
    "client_stops_reading": 3,
    "client_reads": 8,
    "worker_replies": 90,
    "worker_errs": 5,
    "worker_speaks": 2,
    "worker_dies": 4,
    "worker_comes_back": 3,
    "time_passes": 12,
    "order_about_the_queue": 2,
    "order_to_resume": 4,
    "order_about_a_worker": 2,
    "order_to_kick": 1,
    "order_to_cancel": 2,
    "broker_restarts": 0.05,
}
"""Each method of `Walk` that is a move, and its weight."""


class Walk:
    """A walk of random stimuli through a world."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self.world = world
        self.random = chance
        self._names = 0

    def go(self, steps: int) -> None:
        """So many moves."""
        for name in self.random.choices(list(MOVES), list(MOVES.values()), k=steps):
            self.move(name)

    def move(self, name: str) -> None:
        """One move by its name."""
        make: Callable[[], None] = getattr(self, name)
        make()

    # Whom

    def name(self, prefix: str) -> str:
        """A name that nobody has had."""
        self._names += 1
        return f"{prefix}{self._names}"

    def a_client(self) -> FakeClient:
        """One of the clients; a new one where there is none."""
        clients = self.world.live_clients
        return self.random.choice(clients) if clients else self.world.client(self.name("c"))

    def a_worker(self) -> FakeWorker:
        """One of the workers; a new one where there is none."""
        workers = self.world.live_workers
        return self.random.choice(workers) if workers else self.world.worker(self.name("w"))

    # What

    def client_joins(self) -> None:
        """Unless there are enough."""
        if len(self.world.live_clients) < MOST_CLIENTS:
            self.world.client(self.name("c"))

    def worker_joins(self) -> None:
        """A REP, unless there are enough workers."""
        if len(self.world.live_workers) < MOST_WORKERS:
            self.world.worker(self.name("w"))

    def dealer_joins(self) -> None:
        """A DEALER, mostly with a capacity, unless there are enough workers."""
        if len(self.world.live_workers) < MOST_WORKERS:
            worker = self.world.dealer(self.name("d"))
            if self.random.random() < 0.8:
                self.world.declare(worker, self.random.randint(1, 6))

    def client_asks(self) -> None:
        """One request, small or large, in its own envelope or a plain one."""
        size = self.random.choice((0, 0, 40, 100, 300, 700))
        self.world.ask(self.a_client(), known=self.random.random() < 0.5, size=size)

    def client_asks_with_options(self) -> None:
        """One request with some of the options."""
        self.world.ask(
            self.a_client(),
            priority=self.random.choice((None, 0, 3, 9)),
            attempts=self.random.choice((None, None, 1, 4)),
            timeout_ms=self.random.choice((None, 200, 1000, 6000)),
        )

    def client_asks_often(self) -> None:
        """A client pipelines."""
        client = self.a_client()
        for _ in range(self.random.randint(2, 12)):
            self.world.ask(client, known=False)

    def client_errs(self) -> None:
        """Something that is no proper request."""
        client = self.a_client()
        match self.random.randrange(4):
            case 0:
                self.world.ask_badly(client)
            case 1:
                self.world.ask_too_much(client)
            case 2:
                client.send_frames(b"no", b"empty", b"frame")
            case 3:
                client.send_frames(b"nothing after it", b"")

    def client_holds(self) -> None:
        """A part of a message, or more of it; the next request of that client is the rest."""
        client = self.a_client()
        if client.is_read and not client.unread:
            client.hold(client.peer.unfinished + self.random.choice((10, 100, 400)))

    def client_leaves(self) -> None:
        """Whatever it still had out."""
        self.a_client().leave()

    def client_stops_reading(self) -> None:
        """Its answers pile up."""
        client = self.a_client()
        if client.unsent is None:
            client.stop_reading()

    def client_reads(self) -> None:
        """All that has piled up, or a little."""
        client = self.a_client()
        if client.unsent is not None:
            client.read(self.random.choice((None, None, 10, 50)))

    def worker_replies(self) -> None:
        """To the first it holds, or any where all of them run; a REP that came back owes old answers first."""
        worker = self.a_worker()
        if worker.old_tasks:
            worker.reply_old()
        elif worker.tasks:
            worker.reply(place=0 if worker.in_order else self.random.randrange(len(worker.tasks)))

    def worker_errs(self) -> None:
        """A bad reply, a failure, an orphan, or something that breaks the protocol."""
        worker = self.a_worker()
        place = 0 if worker.in_order else self.random.randrange(max(1, len(worker.tasks)))
        match self.random.randrange(8):
            case 0 | 1 if worker.tasks:
                worker.reply(envelope=(b"another", b""), place=place)
            case 2 if worker.tasks:
                worker.send_frames(worker.done(place).id)
            case 3 if worker.tasks:
                worker.reply_too_much(place=place)
            case 4 if worker.tasks:
                worker.fail(self.random.choice((500, 504, 777)), "no such page", place=place)
            case 5:
                worker.send_frames(self.random.randbytes(16), b"", b"re:nothing")
            case 6:
                self.breaks_off(worker, b"garbage")
            case 7:
                self.breaks_off(worker, b"zqd/1", b"hullo")

    def breaks_off(self, worker: FakeWorker, *frames: bytes) -> None:
        """A worker is going to be closed for this: as if it died."""
        self.world.charge(worker)
        worker.send_frames(*frames)

    def worker_speaks(self) -> None:
        """A leave, or a hello with another capacity."""
        worker = self.a_worker()
        if worker.in_order:
            return
        if self.random.random() < 0.5:
            self.world.ask_to_leave(worker)
        else:
            self.world.declare(worker, self.random.randint(1, 6))

    def worker_dies(self) -> None:
        """In the midst of what it does."""
        self.world.kill(self.a_worker())

    def worker_comes_back(self) -> None:
        """One that died not long ago, with what it had."""
        gone = [worker for worker in self.world.workers.values() if worker.gone]
        if gone and len(self.world.live_workers) < MOST_WORKERS:
            self.world.reconnect(self.random.choice(gone[-3:]))

    def time_passes(self) -> None:
        """Up to 2.5 seconds."""
        self.world.wait(self.random.choice((0.01, 0.1, 0.5, 1.0, 2.5)))

    def broker_restarts(self) -> None:
        """All clients are gone."""
        self.world.start_again()

    def order_about_the_queue(self) -> None:
        """Pause or drain."""
        self.random.choice((self.world.pause, self.world.drain))()

    def order_to_resume(self) -> None:
        """Whatever was ordered before."""
        self.world.resume()

    def order_about_a_worker(self) -> None:
        """Drain it, or undo that."""
        self.random.choice((self.world.drain_worker, self.world.resume_worker))(self.a_worker())

    def order_to_kick(self) -> None:
        """A client or a worker."""
        self.world.kick(self.random.choice((self.a_client, self.a_worker))())

    def order_to_cancel(self) -> None:
        """A request wherever it is, or one that is not there."""
        queue = self.world.queue
        ids = [queue.ledger.id_of(request) for request in queue.unanswered()]
        self.world.cancel(self.random.choice(sorted(ids)) if ids else "00")
