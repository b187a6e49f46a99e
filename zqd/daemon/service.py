"""What systemd is told of zqd, and when: sd_notify(3).

READY=1 once everything listens and the loop has turned; STATUS= now and then while it changes; WATCHDOG=1 by a timer of the
loop, so that it fails to come exactly when the loop or its timers do; STOPPING=1 and more time while a stop goes on. Without a
manager that listens there is no timer at all. Layer 4. Called by: `daemon`, `reload`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zqd.snapshot import queue_row, worker_rows
from zqd.systemd.notify import Notifier

if TYPE_CHECKING:
    from zqd.daemon.daemon import Daemon

STATUS_PERIOD = 5.0  # seconds between two looks at what STATUS= says
DRAIN_PERIOD = 1.0  # seconds between two pleas for more time
DRAIN_EXTENSION = 15.0  # seconds that each of them asks for
LATE = 1.0  # seconds: a timer that is later than that tells of a loop that was held up


class Service:
    """Speaks for one daemon, which it gets by `watch`."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._daemon: Daemon
        self._due = 0.0

    def watch(self, daemon: Daemon) -> None:
        """Speak for this daemon from now on."""
        self._daemon = daemon

    def ready(self) -> None:
        """Everything listens, and the loop turns; or a reload is over."""
        if not self._notifier.enabled or self._daemon.stopping:
            return
        self._notifier.ready(self._status())
        self._daemon.loop.call_at(self._daemon.loop.now + STATUS_PERIOD, self._refresh)
        if self._notifier.watchdog is not None:
            self._alive()

    def reloading(self) -> None:
        """A reload begins."""
        self._notifier.reloading()

    def reloaded(self) -> None:
        """It is over, whatever came of it."""
        self._notifier.ready(self._status() if self._notifier.enabled else "")

    def stopping(self) -> None:
        """A stop is about to begin; or to go on at once, which changes nothing here."""
        if self._notifier.enabled and not self._daemon.stopping:
            self._notifier.stopping(self._drain_status())
            self._ask_for_time()

    def close(self) -> None:
        """Say nothing any more."""
        self._notifier.close()

    def _refresh(self) -> None:
        if not self._daemon.stopping:
            self._notifier.status(self._status())
            self._daemon.loop.call_at(self._daemon.loop.now + STATUS_PERIOD, self._refresh)

    def _alive(self) -> None:
        """The watchdog's ping, three in the time that it allows."""
        assert self._notifier.watchdog is not None
        loop = self._daemon.loop
        late = loop.now - self._due if self._due else 0.0
        if late > LATE:
            self._daemon.note("zqd.stalled", {"seconds": round(late, 1)})
        self._notifier.alive()
        self._due = loop.now + self._notifier.watchdog / 3
        loop.call_at(self._due, self._alive)

    def _ask_for_time(self) -> None:
        loop = self._daemon.loop
        self._notifier.extend(DRAIN_EXTENSION, self._drain_status())
        loop.call_at(loop.now + DRAIN_PERIOD, self._ask_for_time)

    def _status(self) -> str:
        """`3 of 4 workers idle, 12 queued, 840 req/s`, and what is not as usual."""
        rows = [queue_row(device) for device in self._daemon.devices]
        workers, idle = sum(row["workers"] for row in rows), sum(row["idle_workers"] for row in rows)
        queued, rate = sum(row["queued"] for row in rows), sum(row["received_per_s"] for row in rows)
        text = f"{idle} of {workers} workers idle, {queued} queued, {rate:.0f} req/s"
        unusual = [f"queue {row['name']} is {row['state']}" for row in rows if row["state"] != "running"]
        return "; ".join([text, *unusual])

    def _drain_status(self) -> str:
        """`draining: 3 in flight, oldest 2.1 s (zqd-worker@2)`."""
        devices = self._daemon.devices
        in_flight = sum(device.queue.dispatcher.in_flight for device in devices)
        queued = sum(device.queue.line.size for device in devices)
        text = f"draining: {in_flight} in flight" + (f", {queued} queued" if queued else "")
        rows = [row for device in devices for row in worker_rows(device) if row["oldest_s"] is not None]
        if rows:
            oldest = max(rows, key=lambda row: row["oldest_s"])
            text += f", oldest {oldest['oldest_s']:.1f} s ({oldest['name'] or oldest['id']})"
        return text
