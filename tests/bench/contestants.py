"""The brokers that are measured, each started as a process of its own between two loopback ports."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.cases import Case

BASELINE = "zmq.proxy"

_BIND = """
import sys, zmq
context = zmq.Context()
frontend, backend = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
frontend.bind(sys.argv[1])
backend.bind(sys.argv[2])
"""
_PROXY = _BIND + "zmq.proxy(frontend, backend)\n"
# What most people write.
_POLL_LOOP = (
    _BIND
    + """
poller = zmq.Poller()
poller.register(frontend, zmq.POLLIN)
poller.register(backend, zmq.POLLIN)
while True:
    for ready, _ in poller.poll():
        (backend if ready is frontend else frontend).send_multipart(ready.recv_multipart())
"""
)

DIRECT = "no broker"  # each client connected to a worker of its own: the limit, where it can be had
CONTESTANTS = (BASELINE, "pyzmq loop", "zqd", DIRECT)
PATIENCE = 20.0  # seconds for a broker to listen, or to end


class Broker:
    """One running contestant."""

    def __init__(self, process: subprocess.Popen[bytes], frontend: int, backend: int) -> None:
        self.pid = process.pid
        self.frontend = frontend
        self.backend = backend

    def cpu(self) -> float:
        """Seconds of processor time so far, user and system, all threads (proc(5))."""
        return self._ticks(11) + self._ticks(12)

    def kernel(self) -> float:
        """Of these the seconds in the kernel."""
        return self._ticks(12)

    def _ticks(self, field: int) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return int(fields[field]) / os.sysconf("SC_CLK_TCK")

    def resident(self) -> int:
        """Resident memory, bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class NoBroker:
    """Where peers need none."""

    frontend = backend = 0

    def cpu(self) -> float:
        """It takes no time."""
        return 0.0

    kernel = cpu

    def resident(self) -> int:
        """Nor memory."""
        return 0


def contestants(case: Case) -> tuple[str, ...]:
    """Those that can do it."""
    direct = case.clients == case.workers and not case.idle
    return CONTESTANTS if direct else CONTESTANTS[:-1]


@contextlib.contextmanager
def running(name: str, case: Case) -> Iterator[Broker | NoBroker]:
    """Start a contestant for a case; it is ended afterwards."""
    if name == DIRECT:
        yield NoBroker()
        return
    frontend, backend = _free_ports()
    with tempfile.TemporaryDirectory(prefix="zqd-bench-") as folder:
        process = subprocess.Popen(_command(name, case, frontend, backend, folder), stdin=subprocess.DEVNULL)
        try:
            for port in (frontend, backend):
                _wait_for(process, port)
            yield Broker(process, frontend, backend)
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _command(name: str, case: Case, frontend: int, backend: int, folder: str) -> list[str]:
    endpoints = [f"tcp://127.0.0.1:{frontend}", f"tcp://127.0.0.1:{backend}"]
    if name == "zqd":
        options = [
            "--frontend",
            endpoints[0],
            "--backend",
            endpoints[1],
            "--control",
            f"ipc://{folder}/control.sock",
        ]
        options += ["--set", f"queues.default.prefetch={case.prefetch}", "--log-level", "error"]
        return [sys.executable, "-m", "zqd.daemon", *options]
    return [sys.executable, "-c", _PROXY if name == BASELINE else _POLL_LOOP, *endpoints]


def _free_ports() -> tuple[int, int]:
    """Two different ones: both are held until both are known."""
    with socket.socket() as one, socket.socket() as other:
        for sock in (one, other):
            sock.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"a contestant did not start: {process.args!r}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
