"""What a daemon shows of itself: plain values made from its devices, for zqctl, logs and metrics.

One function for each kind of row; nobody else holds what they return. Layer 3. Called by: `daemon`.
"""

from __future__ import annotations

from typing import Any

from zqd.core.peers import Client, Worker
from zqd.core.queue import Queue
from zqd.core.regime import State
from zqd.core.request import Request
from zqd.net.device import Device

ADD_WORKERS_FROM = 0.9  # share of the last minute that the workers were busy

_QUANTILES = (0.5, 0.9, 0.99)


def queue_row(device: Device) -> dict[str, Any]:
    """One queue, with the keys of `control.commands.Broker.status`; latencies and rates are of the last minute."""
    queue, now = device.queue, device.loop.now
    ledger, workers = queue.ledger, queue.workers
    received, replied, busy_workers = device.rates.per_second(now, ledger.rising())
    # A run counts when it ends. Where all are longer than the minute, those that are running tell how busy it was.
    span = device.rates.span(now)
    running = sum(min(_runs(worker, now), span) for worker in workers) / span
    busy = min(1.0, max(busy_workers, running) / len(workers)) if len(workers) else 0.0
    oldest_wait = _oldest_wait(queue, now)
    return {
        "name": queue.name,
        "state": queue.regime.state.value,
        "frontend": [str(listener.endpoint) for listener in device.frontend.listeners],
        "backend": [str(listener.endpoint) for listener in device.backend.listeners],
        "workers": len(workers),
        "idle_workers": workers.idle,
        "clients": len(queue.clients),
        "queued": queue.line.size,
        "in_flight": queue.dispatcher.in_flight,
        **ledger.counters.as_dict(),
        "oldest_wait_s": oldest_wait,
        "wait_ms": _milliseconds(ledger.wait.last_minute(now, *_QUANTILES)),
        "run_ms": _milliseconds(ledger.run.last_minute(now, *_QUANTILES)),
        "since_start": {
            "wait_ms": _milliseconds(ledger.wait.since_start(*_QUANTILES)),
            "run_ms": _milliseconds(ledger.run.since_start(*_QUANTILES)),
        },
        "received_per_s": round(received, 3),
        "replied_per_s": round(replied, 3),
        "busy": round(busy, 3),
        "refused": device.refused,
        "saturation": saturation(queue, busy, oldest_wait),
    }


def saturation(queue: Queue, busy: float, oldest_wait: float | None) -> str:
    """What an operator should know of a queue's load, in words; `busy` is the share of the last minute (0 to 1)."""
    workers, waits = queue.workers, queue.line.ready > 0
    wait = _wait_in_words(oldest_wait, stalled=not waits)
    if queue.regime.state is State.PAUSED:
        return f"paused: nothing is dispatched, {wait}"
    if queue.regime.state is State.DRAINED:
        return "drained: nothing is let in"
    if not len(workers):
        return f"no workers, {wait}: start workers" if waits else "no workers"
    aside = {"draining": len(workers.draining), "quarantined": len(workers.quarantined)}
    able = len(workers) - sum(aside.values())
    parts = [f"{able - workers.idle} of {len(workers)} workers busy"]
    parts += [f"{count} {state}" for state, count in aside.items() if count]
    if not able:
        return ", ".join([*parts, wait]) + (": start workers" if waits else "")
    text = ", ".join([*parts, f"{busy * 100:.0f} % over the last minute", wait])
    return text + ": add workers" if waits and not workers.idle and busy >= ADD_WORKERS_FROM else text


def _wait_in_words(oldest_wait: float | None, *, stalled: bool) -> str:
    if oldest_wait is None:
        return "nothing waits"
    text = f"oldest wait {oldest_wait:.{1 if oldest_wait < 100 else 0}f} s"
    return text + ", of clients that do not read their replies" if stalled else text


def worker_rows(device: Device) -> list[dict[str, Any]]:
    """One row for each connected worker, in the order in which they came."""
    now = device.loop.now
    return [
        {
            "id": worker.id,
            "name": worker.name,
            "queue": device.queue.name,
            "address": worker.address,
            "key": worker.key,
            "pid": worker.pid,
            "unit": worker.unit,
            "handler": worker.handler,
            "capacity": worker.capacity,
            "state": worker.state,
            "in_flight": worker.in_flight,
            "replied": worker.replied,
            "replied_per_s": round(worker.replied / max(now - worker.joined, 1.0), 3),
            "busy": round(min(1.0, (worker.busy + _runs(worker, now)) / max(now - worker.joined, 1e-3)), 3),
            "connected_s": round(now - worker.joined, 3),
            "oldest_s": _oldest([request for request in worker.window.values() if request is not None], now),
        }
        for worker in sorted(device.queue.workers, key=lambda worker: worker.number)
    ]


def request_rows(device: Device) -> list[dict[str, Any]]:
    """One row for each unanswered request, oldest first."""
    queue, now = device.queue, device.loop.now
    return [
        {
            "id": queue.ledger.id_of(request),
            "queue": queue.name,
            "state": "queued" if request.worker is None else "in flight",
            "age_s": round(now - request.arrived, 3),
            "attempts": request.attempts,
            "client": request.client.id,
            "worker": request.worker.id if request.worker is not None else None,
            "size": len(request.raw),
        }
        for request in sorted(queue.unanswered(), key=lambda request: request.seq)
    ]


def client_rows(device: Device) -> list[dict[str, Any]]:
    """One row for each connected client, in the order in which they came."""
    now = device.loop.now
    requests: dict[Client, list[Request]] = {}
    for request in device.queue.unanswered():
        requests.setdefault(request.client, []).append(request)
    return [
        {
            "id": client.id,
            "queue": device.queue.name,
            "address": client.address,
            "key": client.key,
            "name": client.name,
            "state": "paused" if client.paused or client.stalled else "active",
            "queued": client.waiting,
            "in_flight": client.in_flight,
            "received": client.received,
            "replied": client.replied,
            "connected_s": round(now - client.joined, 3),
            "oldest_s": _oldest(requests.get(client, []), now),
        }
        for client in device.queue.clients
    ]


def _oldest_wait(queue: Queue, now: float) -> float | None:
    """Seconds since the first of the waiting requests arrived. There may be very many, of a few stalled clients too."""
    heads = [queue.line.oldest()]
    heads += [
        queue.line.of_client(client)[0] for client in queue.clients if client.stalled and client.waiting
    ]
    return _oldest([request for request in heads if request is not None], now)


def _runs(worker: Worker, now: float) -> float:
    """Seconds that what it runs now has been running."""
    started = [request.started for request in worker.window.values() if request is not None]
    return now - min(started) if started else 0.0


def _oldest(requests: list[Request], now: float) -> float | None:
    """Seconds since the first of these arrived."""
    return round(now - min(request.arrived for request in requests), 3) if requests else None


def _milliseconds(summary: dict[str, float | None]) -> dict[str, float | None]:
    return {key: None if value is None else round(value * 1000, 3) for key, value in summary.items()}
