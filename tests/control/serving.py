"""A ControlServer that serves a broker of paper: in a thread of the test, or as a process that a test can stop.

python -m tests.control.serving PATH      prints "ready" when it listens
"""

from __future__ import annotations

import os
import select
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from zqd.control.answers import Later
from zqd.control.commands import COMMANDS, Command
from zqd.control.server import ControlServer
from zqd.endpoints import IpcEndpoint, Listener, bind
from zqd.net.loop import Loop


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A directory that everybody may search, with a path short enough for a socket in it."""
    place = Path(tempfile.mkdtemp(prefix="zqd-test-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


class PaperBroker:
    """Says what it was told to say; an order changes the state that it says, and nothing else."""

    def __init__(self) -> None:
        self.queue_rows = [queue("default", measured=True), queue("slow", measured=False)]
        self.request_rows = [
            request("7a6f6f0000000000000000000001", state="in flight", worker="w1", age_s=75.0, size=1536),
            request("7a6f6f0000000000000000000002", age_s=1.25, size=12),
            request("7a6f6f0000000000000000000003", queue="slow", attempts=1, size=3 << 20),
        ]
        self.orders: list[tuple[str, str]] = []
        """What it was told to do, and with whom."""
        self.waiting: list[tuple[Later, Callable[[], object], float]] = []
        """What has not come true yet, with its time-out."""
        self.worker_rows: list[dict[str, Any]] = [
            worker(
                "w1",
                queue="default",
                name="mill\x1b[31m",
                pid=4711,
                state="busy",
                in_flight=1,
                oldest_s=0.25,
                replied=42,
                replied_per_s=0.712,
                busy=0.93,
            ),
            worker("w2", queue="slow", address="tcp://127.0.0.1:40002"),
        ]
        self.client_rows: list[dict[str, Any]] = [
            {
                "id": "c1",
                "queue": "default",
                "address": "tcp://127.0.0.1:50001",
                "name": None,
                "state": "active",
                "queued": 2,
                "in_flight": 1,
                "received": 12,
                "replied": 9,
                "connected_s": 7500.0,
                "oldest_s": 1.25,
            }
        ]

    def status(self) -> dict[str, Any]:
        """Two queues: one at work, one that has measured nothing yet."""
        return {
            "version": "0.1.0",
            "pid": os.getpid(),
            "state": "running",
            "uptime_s": 7500.4,
            "queues": self.queue_rows,
        }

    def workers(self) -> list[dict[str, Any]]:
        """The rows that the test has put there."""
        return self.worker_rows

    def clients(self) -> list[dict[str, Any]]:
        """The rows that the test has put there."""
        return self.client_rows

    def requests(self) -> list[dict[str, Any]]:
        """The rows that the test has put there."""
        return self.request_rows

    def config(self) -> list[dict[str, Any]]:
        """Two settings."""
        row = {"source": "default", "reloadable": True}
        return [
            {"key": "log_level", "value": "info", "text": '"info"', "default": '"info"', **row},
            {"key": "queues.default.prefetch", "value": 2, "text": "2", "default": "1", **row},
        ]

    def reload(self) -> dict[str, Any]:
        """Nothing has changed."""
        self.orders.append(("reload", ""))
        return {"changes": [], "added": [], "removed": []}

    def log_level(self, level: str | None) -> str:
        """Whatever is asked for."""
        self.orders.append(("log_level", level or ""))
        return level or "info"

    def stop(self, *, now: bool) -> None:
        """Only note it."""
        self.orders.append(("stop", "now" if now else ""))

    def pause(self, queue: str) -> None:
        """Be paused."""
        self._obey("pause", self.queue_rows, "name", queue, "paused")

    def drain(self, queue: str) -> None:
        """Be draining."""
        self._obey("drain", self.queue_rows, "name", queue, "draining")

    def resume(self, queue: str) -> None:
        """Run again."""
        self._obey("resume", self.queue_rows, "name", queue, "running")

    def drain_worker(self, worker: str) -> None:
        """Let a worker be draining."""
        self._obey("drain_worker", self.worker_rows, "id", worker, "draining")

    def resume_worker(self, worker: str) -> None:
        """Let a worker be idle again."""
        self._obey("resume_worker", self.worker_rows, "id", worker, "idle")

    def kick(self, peer: str) -> None:
        """Only note it."""
        self.orders.append(("kick", peer))

    def cancel(self, request: str) -> None:
        """Only note it."""
        self.orders.append(("cancel", request))

    def when(self, condition: Callable[[], object], timeout: float) -> Later:
        """What is true already is answered; the rest waits for the test."""
        later = Later()
        result = condition()
        if result is None:
            self.waiting.append((later, condition, timeout))
        else:
            later.finish(result)
        return later

    def _obey(self, order: str, rows: list[dict[str, Any]], key: str, name: str, state: str) -> None:
        (row,) = [row for row in rows if row[key] == name]
        row["state"] = state
        self.orders.append((order, name))


def worker(name_of_row: str, **known: Any) -> dict[str, Any]:
    """A row of an idle worker that has said nothing about itself, but for what is `known`."""
    row: dict[str, Any] = dict.fromkeys(("name", "pid", "oldest_s"))
    row |= {"id": name_of_row, "queue": "default", "address": "tcp://127.0.0.1:40001", "state": "idle"}
    row |= {"in_flight": 0, "replied": 0, "replied_per_s": 0.0, "busy": 0.0, "connected_s": 59.0}
    return row | known


def request(id_of_row: str, **known: Any) -> dict[str, Any]:
    """A row of a request that has just begun to wait, but for what is `known`."""
    row: dict[str, Any] = {
        "id": id_of_row,
        "queue": "default",
        "state": "queued",
        "age_s": 0.0,
        "attempts": 0,
    }
    return row | {"client": "c1", "worker": None, "size": 0} | known


def queue(name: str, *, measured: bool) -> dict[str, Any]:
    """A queue's entry in the status."""
    numbers = (
        *("workers", "idle_workers", "clients", "queued", "in_flight", "received", "replied", "failed"),
        *("dropped", "retried", "orphaned", "late", "malformed", "refused"),
    )
    keys = ("p50", "p90", "p99", "max")
    measures = dict(zip(keys, (0.034, 0.25, 1.23, 2500.0), strict=True)) if measured else dict.fromkeys(keys)
    return {
        "name": name,
        "state": "running",
        "frontend": ["tcp://127.0.0.1:5559"],
        "backend": ["tcp://127.0.0.1:5560", f"ipc:///run/zqd/{name}.sock"],
        **{number: at * 1000 if measured else 0 for at, number in enumerate(numbers, 1)},
        "oldest_wait_s": 3.2 if measured else None,
        "wait_ms": measures,
        "run_ms": measures,
        "since_start": {"wait_ms": measures, "run_ms": measures},
        "received_per_s": 123.4 if measured else 0.0,
        "replied_per_s": 0.034 if measured else 0.0,
        "busy": 0.97 if measured else 0.0,
        "saturation": "4 of 4 workers busy, 97 % over the last minute, oldest wait 3.2 s: add workers"
        if measured
        else "no workers",
    }


def listen(path: Path) -> Listener:
    """A listener at `path`, as the daemon makes it."""
    return bind(IpcEndpoint(str(path)))


@contextmanager
def served(
    path: Path, broker: PaperBroker, commands: Mapping[str, Command] = COMMANDS
) -> Iterator[list[Exception]]:
    """Serve `broker` at `path` from a thread of its own; yields the faults that commands come to."""
    faults: list[Exception] = []
    leave, told_to_leave = socket.socketpair()
    loop = Loop(faults.append)
    server = ControlServer(
        "control", loop, broker, 64, notify=lambda *_: None, on_fault=faults.append, commands=commands
    )
    server.listen(listen(path))
    left: list[int] = []
    loop.register(told_to_leave.fileno(), select.EPOLLIN, left.append)

    def turn() -> None:
        while not left:
            loop.turn()
        server.close()
        loop.close()

    thread = threading.Thread(target=turn)
    thread.start()
    try:
        yield faults
    finally:
        leave.send(b".")
        thread.join()
        leave.close()
        told_to_leave.close()


if __name__ == "__main__":
    with served(Path(sys.argv[1]), PaperBroker()):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.read()
