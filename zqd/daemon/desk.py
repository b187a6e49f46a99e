"""What zqctl may ask of zqd and order: the Broker of `zqd.control`, over a daemon.

Signals are synonyms of what stands here. Layer 4. Called by: `zqd.control`'s commands, `program` (signals).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from zqd import __version__
from zqd.config import DAEMON_SETTINGS, QUEUE_SETTINGS
from zqd.control.answers import Code, CommandError, Later
from zqd.core.peers import Worker
from zqd.core.queue import Queue
from zqd.daemon.reload import reload
from zqd.daemon.sockets import path_of
from zqd.errors import ZqdError
from zqd.logs import current_level, set_level
from zqd.snapshot import client_rows, queue_row, request_rows, worker_rows

if TYPE_CHECKING:
    from zqd.daemon.daemon import Daemon


class Desk:
    """Answers for `daemon`; every answer is made anew."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._level_before_debug: str | None = None

    # Asked

    def status(self) -> dict[str, Any]:
        """As `zqctl --json status` prints it."""
        daemon = self._daemon
        return {
            "version": __version__,
            "pid": os.getpid(),
            "state": "stopping" if daemon.stopping else "running",
            "uptime_s": round(time.monotonic() - daemon.started, 3),
            "log_level": current_level(),
            "config": list(daemon.config.files),
            "sockets": {role: path_of(server.listeners) for role, server in daemon.servers.items()},
            "descriptors": {
                "limit": daemon.limit,
                "used": daemon.room.used,
                "reserve": daemon.limit - daemon.room.limit,
            },
            "queues": [
                # One that a reload has removed may have a successor of its name, which is meant by that name.
                queue_row(device)
                for device in sorted(daemon.devices, key=lambda device: device.stopping)
            ],
        }

    def workers(self) -> list[dict[str, Any]]:
        """One row for each worker."""
        return [row for device in self._daemon.devices for row in worker_rows(device)]

    def clients(self) -> list[dict[str, Any]]:
        """One row for each client."""
        return [row for device in self._daemon.devices for row in client_rows(device)]

    def requests(self) -> list[dict[str, Any]]:
        """One row for each unanswered request, oldest first."""
        rows = [row for device in self._daemon.devices for row in request_rows(device)]
        return sorted(rows, key=lambda row: -row["age_s"])

    def config(self) -> list[dict[str, Any]]:
        """One row for each setting that is in effect."""
        config = self._daemon.config
        rows = [(row.key, row, getattr(config, row.key)) for row in DAEMON_SETTINGS.values()]
        for queue in config.queues:
            rows += [(row.path(queue.name), row, queue.value(row.key)) for row in QUEUE_SETTINGS.values()]
        return [
            {
                "key": key,
                "value": list(value) if isinstance(value, tuple) else value,
                "text": "" if value is None else row.to_toml(value),
                "default": "" if row.default is None else row.to_toml(row.default),
                "source": config.sources.get(key, "default"),
                "reloadable": row.reloadable,
            }
            for key, row, value in rows
        ]

    def when(self, condition: Callable[[], object], timeout: float) -> Later:
        """Of the commands that wait."""
        return self._daemon.waiters.add(condition, timeout)

    # Ordered: the daemon

    def reload(self) -> dict[str, Any]:
        """Of `zqctl reload` and SIGHUP: files are read anew, and a log file is opened anew."""
        if self._daemon.stopping:
            raise CommandError(Code.FAILED, "zqd is stopping")
        return reload(self._daemon)

    def log_level(self, level: str | None) -> str:
        """Of `zqctl log-level`: set it, or only say it."""
        if level is not None and level != current_level():
            self._level_before_debug = None
            self._set_level(level)
        return current_level()

    def stop(self, *, now: bool) -> None:
        """Of `zqctl stop`, SIGTERM and SIGINT."""
        if now and not self._daemon.stopping:
            self._daemon.stop()
        self._daemon.stop()

    # Ordered by signals alone

    def reload_by_signal(self) -> None:
        """SIGHUP: what cannot be done is in the log."""
        with contextlib.suppress(CommandError, ZqdError):  # which `reload` has logged
            self.reload()

    def log_status(self) -> None:
        """SIGUSR1: the full status goes to the log."""
        status = self.status()
        for queue in status.pop("queues"):
            self._daemon.note("zqd.status", {"queue": queue.pop("name"), **queue})
        self._daemon.note("zqd.status", status)

    def toggle_debug(self) -> None:
        """SIGUSR2: debug logging on, or back to what it was."""
        if current_level() != "debug":
            self._level_before_debug = current_level()
            self._set_level("debug")
        else:
            back = self._level_before_debug or self._daemon.config.log_level
            self._set_level("info" if back == "debug" else back)

    def _set_level(self, level: str) -> None:
        old = current_level()
        set_level(level)
        self._daemon.note("log.level", {"old": old, "new": level})

    # Ordered: queues, workers, requests

    def pause(self, queue: str) -> None:
        """Of `zqctl pause`."""
        self._queue(queue).regime.pause()

    def drain(self, queue: str) -> None:
        """Of `zqctl drain QUEUE`."""
        self._queue(queue).regime.drain(self._daemon.loop.now)

    def resume(self, queue: str) -> None:
        """Of `zqctl resume QUEUE`."""
        self._queue(queue).regime.resume(self._daemon.loop.now)

    def drain_worker(self, worker: str) -> None:
        """Of `zqctl drain WORKER`."""
        for queue, found in self._workers_of_id(worker):
            queue.drain_worker(found, self._daemon.loop.now)

    def resume_worker(self, worker: str) -> None:
        """Of `zqctl resume WORKER`."""
        for queue, found in self._workers_of_id(worker):
            queue.resume_worker(found, self._daemon.loop.now)

    def kick(self, peer: str) -> None:
        """Of `zqctl kick`."""
        for queue in self._queues():
            for found in [client for client in queue.clients if client.id == peer]:
                queue.kick(found)
        for queue, worker in self._workers_of_id(peer):
            queue.kick(worker)

    def cancel(self, request: str) -> None:
        """Of `zqctl cancel`."""
        for queue in self._queues():
            found = queue.find(request)
            if found is not None:
                queue.cancel(found)

    def _queues(self) -> list[Queue]:
        return [device.queue for device in self._daemon.devices]

    def _queue(self, name: str) -> Queue:
        return [queue for queue in self._queues() if queue.name == name][-1]  # the last one that was added

    def _workers_of_id(self, worker: str) -> list[tuple[Queue, Worker]]:
        return [(queue, found) for queue in self._queues() for found in queue.workers if found.id == worker]
