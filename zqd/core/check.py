"""The laws as code: `check(queue)` recounts everything and raises AssertionError at the first that does not hold.

Tests call it after every step. It costs the whole queue, so it is never called in the data path.
Layer 1, pure.
"""

from __future__ import annotations

from collections import Counter

from zqd.core.peers import Client, Worker
from zqd.core.queue import Queue
from zqd.core.regime import State
from zqd.core.workers import Home, Workers


def check(queue: Queue) -> None:
    """Raise AssertionError, saying which law and how, unless all of them hold."""
    _places(queue)
    _no_idleness(queue)
    _conservation(queue)
    _outputs(queue)


def _places(queue: Queue) -> None:
    """Law 1 and law 7: requests, workers, debts."""
    line, dispatcher = queue.line, queue.dispatcher
    waiting = list(line)
    held = dispatcher.held()
    assert len(set(waiting)) == len(waiting) == line.size, f"law 1: {len(waiting)} wait, {line.size} counted"
    assert len(set(held)) == len(held), "law 1: a request is held twice"
    assert not set(waiting) & set(held), "law 1: a request waits and is held"
    assert all(r.waiting and r.worker is None for r in waiting), "law 1: a waiting request has a worker"
    assert all(not r.waiting and r.worker is not None for r in held), "law 1: a held request has no worker"
    assert sum(len(r.raw) for r in waiting) == line.bytes, "law 1: waiting bytes miscounted"
    assert line.ready == sum(not r.client.stalled for r in waiting), "law 1: dispatchable requests miscounted"

    workers = list(queue.workers)
    assert len(set(workers)) == len(workers), "law 1: a worker is in two collections"
    for home in queue.workers.homes():
        assert all(worker.home is home for worker in home), "law 1: a worker thinks that it is elsewhere"
    for worker in workers:
        assert worker.home is _home_of(worker, queue.workers), f"law 1: {worker} is not where it belongs"
        debts = sum(request is None for request in worker.window.values())
        assert {key for key, request in worker.window.items() if request is None} == set(worker.owed), (
            f"law 7: {worker} owes other debts"
        )
        assert debts == worker.debts, f"law 7: {worker} owes {debts}, counted {worker.debts}"
        assert debts or not worker.quarantined, f"law 7: {worker} is quarantined without a debt"
        for key, request in worker.window.items():
            assert request is None or (request.worker is worker and request.key == key), (
                "law 1: window and request"
            )


def _home_of(worker: Worker, workers: Workers) -> Home | None:
    """Where a worker belongs by what it holds."""
    held = len(worker.window)
    if worker.draining:
        return workers.draining
    if worker.quarantined:
        return workers.quarantined
    if held >= worker.capacity:
        return workers.full
    return workers.ready[held] if held < len(workers.ready) else None


def _no_idleness(queue: Queue) -> None:
    """Law 2."""
    free = queue.workers.free()
    assert queue.regime.state is State.PAUSED or not queue.line.ready or free is None, (
        f"law 2: {free} is free, requests wait"
    )
    if free is not None:
        fewest = min(len(w.window) for w in queue.workers if _takes(w))
        assert len(free.window) == fewest, "rule 8: not the worker with the fewest"


def _takes(worker: Worker) -> bool:
    return not worker.draining and not worker.quarantined and len(worker.window) < worker.capacity


def _conservation(queue: Queue) -> None:
    """Law 3, and each client's share of it."""
    counters, line, held = queue.ledger.counters, queue.line, queue.dispatcher.held()
    ended = counters.replied + counters.failed + counters.dropped
    assert counters.received == ended + line.size + len(held), (
        f"law 3: {counters}, {line.size} wait, {len(held)} held"
    )
    waiting_of: Counter[Client] = Counter(request.client for request in line)
    held_of: Counter[Client] = Counter(request.client for request in held)
    for client in {*queue.clients, *waiting_of, *held_of}:
        assert client.waiting == waiting_of[client], f"law 3: {client} has {waiting_of[client]} waiting"
        assert client.in_flight == held_of[client], f"law 3: {client} has {held_of[client]} in flight"
    unfinished = sum(client.unfinished for client in queue.clients)
    assert queue.admission.unfinished == unfinished, "rule 17: unfinished bytes miscounted"


def _outputs(queue: Queue) -> None:
    """Every peer with something to send is in `outgoing`, once; paused clients have a reason."""
    outgoing = queue.out.outgoing
    assert len(set(outgoing)) == len(outgoing), "a peer is twice in outgoing"
    assert all(peer.outbox for peer in outgoing), "a peer in outgoing has nothing to send"
    for peer in (*queue.clients, *queue.workers):
        assert not peer.outbox or peer in outgoing, f"{peer} has something to send and is not in outgoing"
    held_up = {*queue.admission.for_count, *queue.admission.for_bytes}
    assert {client for client in queue.clients if client.paused} == held_up, (
        "a client is paused without a reason"
    )
