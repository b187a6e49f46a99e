"""What a daemon shows of itself: plain values made from its devices, for zqctl, logs and metrics.

One function for each kind of row; nobody else holds what they return. Layer 3. Called by: `daemon`.
"""

from __future__ import annotations

from typing import Any

from zqd.core.peers import Client
from zqd.core.request import Request
from zqd.net.device import Device

_QUANTILES = (0.5, 0.99)


def queue_row(device: Device) -> dict[str, Any]:
    """One queue: state, endpoints, counts, counters, `oldest_wait_s`, `wait_ms` and `run_ms` over the last minute."""
    queue, now = device.queue, device.loop.now
    return {
        "name": queue.name,
        "state": queue.regime.state.value,
        "frontend": [str(listener.endpoint) for listener in device.frontend.listeners],
        "backend": [str(listener.endpoint) for listener in device.backend.listeners],
        "workers": len(queue.workers),
        "idle_workers": queue.workers.idle,
        "clients": len(queue.clients),
        "queued": queue.line.size,
        "in_flight": queue.dispatcher.in_flight,
        **queue.ledger.counters.as_dict(),
        "oldest_wait_s": _oldest(list(queue.line), now),
        "wait_ms": _milliseconds(queue.ledger.wait.last_minute(now, *_QUANTILES)),
        "run_ms": _milliseconds(queue.ledger.run.last_minute(now, *_QUANTILES)),
    }


def worker_rows(device: Device) -> list[dict[str, Any]]:
    """One row for each connected worker, in the order in which they came."""
    now = device.loop.now
    return [
        {
            "id": worker.id,
            "name": worker.name,
            "queue": device.queue.name,
            "address": worker.address,
            "pid": worker.pid,
            "state": worker.state,
            "in_flight": worker.in_flight,
            "replied": worker.replied,
            "connected_s": round(now - worker.joined, 3),
            "oldest_s": _oldest([request for request in worker.window.values() if request is not None], now),
        }
        for worker in sorted(device.queue.workers, key=lambda worker: worker.number)
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


def _oldest(requests: list[Request], now: float) -> float | None:
    """Seconds since the first of these arrived."""
    return round(now - min(request.arrived for request in requests), 3) if requests else None


def _milliseconds(summary: dict[str, float | None]) -> dict[str, float | None]:
    return {key: None if value is None else round(value * 1000, 3) for key, value in summary.items()}
