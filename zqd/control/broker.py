"""What the commands need of the daemon, and all that they know of it.

Layer 3. Filled by: `zqd.daemon`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from zqd.control.answers import Later


class Broker(Protocol):
    """What the commands need of the daemon. Every answer is a snapshot that nobody else holds.

    Times are in seconds where a key ends in `_s`, in milliseconds in `wait_ms` and `run_ms`; what was not measured is None.
    """

    def status(self) -> dict[str, Any]:
        """The daemon and its queues.

        `version, pid, state, uptime_s, queues`, the last a list of `name, state (running, paused, draining, drained, stopping
        or stopped), frontend: [endpoint], backend: [endpoint], workers, idle_workers, clients, queued, in_flight`; since the
        start `received, replied, failed, dropped, retried, orphaned, late, malformed, refused` (connections) and `since_start:
        {wait_ms, run_ms}`; over the last minute `wait_ms, run_ms` (each {p50, p90, p99, max}), `received_per_s, replied_per_s, busy` (how much of it
        the workers ran requests, 0 to 1); `oldest_wait_s`, and `saturation`, a sentence for people. Of the daemon also
        `log_level, config: [file that was read], sockets: {control, status, events: path or None}, descriptors: {limit, used
        (by clients and workers), reserve (kept from them)}`.
        """

    def workers(self) -> list[dict[str, Any]]:
        """One row a connected worker.

        `id, name, queue, address, pid, unit, handler, capacity, state (idle, busy, quarantined or draining), in_flight, replied, connected_s, oldest_s`;
        since it connected `replied_per_s` and `busy` (how much of the time it ran requests, 0 to 1).
        """

    def clients(self) -> list[dict[str, Any]]:
        """One row a connected client.

        `id, queue, address, name, state (active or paused), queued, in_flight, received, replied, connected_s, oldest_s`.
        """

    def requests(self) -> list[dict[str, Any]]:
        """One row an unanswered request, oldest first.

        `id, queue, state (queued or in flight), age_s, attempts, client, worker, size`; the attempts are those that a loss or
        a time-out has ended, the size is in bytes, client and worker are ids.
        """

    def config(self) -> list[dict[str, Any]]:
        """One row a setting: `key, value, text, default (both as TOML, "" for none), source, reloadable`."""

    def reload(self) -> dict[str, Any]:
        """Read the configuration anew: `changes: [{key, old, new, applied}], added: [queue], removed: [queue]`.

        ZqdError, with one problem a line, where it is refused: nothing has changed then.
        """

    def log_level(self, level: str | None) -> str:
        """Set the level (one that exists) unless it is None; returns the one that holds now."""

    def stop(self, *, now: bool) -> None:
        """Begin to stop, or stop at once."""

    def pause(self, queue: str) -> None:
        """Dispatch nothing from this queue until it is resumed."""

    def drain(self, queue: str) -> None:
        """Let nothing into this queue until it is resumed; finish the rest."""

    def resume(self, queue: str) -> None:
        """Undo `pause` and `drain`."""

    def drain_worker(self, worker: str) -> None:
        """Give the worker of this id nothing more."""

    def resume_worker(self, worker: str) -> None:
        """Undo `drain_worker`."""

    def kick(self, peer: str) -> None:
        """Close the connection of the client or worker of this id."""

    def cancel(self, request: str) -> None:
        """Fail the request of this id."""

    def when(self, condition: Callable[[], object], timeout: float) -> Later:
        """Answer when `condition()` is not None, or that it did not come within `timeout` seconds (0: no limit)."""
