"""`zqctl bench`: a small load from the shell, and what the clients saw of it: how fast, how late, how many failed.

It is one process with one thread, and so finds the limit of a fast queue later than its own; `tests/run bench` of the source
tree is for measuring zqd itself. Called by `zqd.ctl.local`.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Sequence
from typing import Any

import zmq

from zqd.ctl.connection import ControlError, ExitStatus
from zqd.ctl.local import Session
from zqd.ctl.request import connect, curve_keys, frontend, message, outcome_of
from zqd.ctl.tables import latency, rate, size
from zqd.keys.connection import Keys

BAR = 30  # characters
REDRAW = 0.1  # seconds between two drawings of the bar
OWN = 32  # descriptors and sockets of zqctl and libzmq, beside those of the clients


class Load:
    """`clients` connections that have one request each on the way, until `total` were sent, all answered or given up."""

    def __init__(
        self, endpoint: str, keys: Keys | None, body: bytes, *, clients: int, total: int, timeout: float
    ) -> None:
        self.latencies: list[float] = []
        """Seconds, of the requests that were answered."""
        self.failures: dict[str, int] = {}
        """How many failed, by what was said."""
        self.total = total
        self.clients = min(clients, total)
        self._endpoint = endpoint
        self._keys = keys
        self._body = body
        self._timeout = timeout
        self._sent = 0
        self._began: dict[zmq.Socket[bytes], float] = {}

    @property
    def done(self) -> int:
        """Requests that have come to an end."""
        return len(self.latencies) + sum(self.failures.values())

    def run(self, progress: Any) -> float:
        """Do it; returns how many seconds it took. `progress()` is called now and then.

        Raises `ControlError` where so many connections cannot be.
        """
        self._make_room()
        context = zmq.Context[zmq.Socket[bytes]](1)
        context.set(zmq.MAX_SOCKETS, self.clients + OWN)
        try:
            poller = zmq.Poller()
            began = time.monotonic()
            for _ in range(self.clients):
                try:
                    sock = connect(context, self._endpoint, self._keys)
                except zmq.ZMQError as fault:
                    raise self._cannot_open(fault.strerror) from None
                poller.register(sock, zmq.POLLIN)
                self._ask(sock)
            patience = round((self._timeout + 1) * 1000) if self._timeout else None
            while self._began:
                ready = poller.poll(patience)
                if not ready:
                    self._count_failure(f"no answer within {self._timeout:g} s", len(self._began))
                    if self._sent < self.total:
                        unsent = self.total - self._sent
                        self._count_failure("never sent, because no answer came any more", unsent)
                    break
                for sock, _ in ready:
                    self._take(sock)
                progress()
            return time.monotonic() - began
        finally:
            context.destroy(linger=0)

    def _make_room(self) -> None:
        """Of descriptors: without them libzmq would try to connect for ever."""
        needed = 2 * self.clients + OWN
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < needed:
            raise self._cannot_open(f"they take {needed} descriptors, and the limit is {hard} (ulimit -n)")
        if soft < needed:
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))

    def _cannot_open(self, reason: str | None) -> ControlError:
        return ControlError(ExitStatus.ERROR, f"cannot open {self.clients} connections: {reason}")

    def _ask(self, sock: zmq.Socket[bytes]) -> None:
        if self._sent < self.total:
            self._sent += 1
            self._began[sock] = time.monotonic()
            sock.send_multipart(message(self._body, self._timeout))

    def _take(self, sock: zmq.Socket[bytes]) -> None:
        failure = outcome_of(sock.recv_multipart()).failure
        seconds = time.monotonic() - self._began.pop(sock)
        if failure:
            self._count_failure(failure, 1)
        else:
            self.latencies.append(seconds)
        self._ask(sock)

    def _count_failure(self, failure: str, count: int) -> None:
        self.failures[failure] = self.failures.get(failure, 0) + count


def run(session: Session, args: dict[str, Any]) -> int:
    """Make the load and print the summary; status 1 where a request failed."""
    keys = curve_keys(args)
    endpoint = frontend(session, args["queue"], args["endpoint"])
    load = Load(
        endpoint,
        keys,
        bytes(args["size"]),
        clients=args["clients"],
        total=args["requests"],
        timeout=session.timeout,
    )
    shown = sys.stderr.isatty() and not session.json
    last = [0.0]

    def progress() -> None:
        now = time.monotonic()
        if shown and now - last[0] >= REDRAW:
            last[0] = now
            filled = BAR * load.done // load.total
            sys.stderr.write(f"\r[{'#' * filled}{' ' * (BAR - filled)}] {load.done} of {load.total}")
            sys.stderr.flush()

    try:
        seconds = load.run(progress)
    finally:
        if shown:
            sys.stderr.write(f"\r{' ' * (BAR + 30)}\r")
    summary = _summary(load, endpoint, args, seconds)
    session.write(json.dumps(summary, indent=2) + "\n" if session.json else _told(summary))
    if load.failures and not load.latencies and not session.json:
        raise ControlError(ExitStatus.ERROR, "no request was answered")
    return ExitStatus.ERROR if load.failures else ExitStatus.OK


def _summary(load: Load, endpoint: str, args: dict[str, Any], seconds: float) -> dict[str, Any]:
    ordered = sorted(load.latencies)
    quantiles = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    return {
        "endpoint": endpoint,
        "clients": load.clients,
        "size": args["size"],
        "requests": load.total,
        "replied": len(ordered),
        "failed": load.failures,
        "seconds": round(seconds, 6),
        "replied_per_s": round(len(ordered) / seconds, 3) if seconds else 0.0,
        "latency_ms": {name: _quantile(ordered, share) for name, share in quantiles.items()},
    }


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    """Milliseconds; None where nothing was answered."""
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000, 3)


def _told(summary: dict[str, Any]) -> str:
    times = ", ".join(f"{name} {latency(value)}" for name, value in summary["latency_ms"].items())
    told = f"{summary['replied']} of {summary['requests']} requests of {size(summary['size'])} answered"
    pace = f"{summary['clients']} at a time: {rate(summary['replied_per_s'])} a second"
    lines = [
        f"{told} in {summary['seconds']:.2f} s, {pace}",
        f"latency {times}",
        *(f"{count} failed: {failure}" for failure, count in summary["failed"].items()),
    ]
    return "\n".join(lines) + "\n"
