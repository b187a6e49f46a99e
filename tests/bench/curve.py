"""zqd with CURVE beside zmq.proxy with CURVE, and both without: 200 REQ on 16 REP, libzmq's own, on the same machine.

The load is pyzmq in processes, and pays for CURVE as well: on a machine with few cores it is what bounds the requests a second.
The broker's processor time for a request tells more.

python -m tests.bench.curve [--rounds N] [--seconds S] [--size BYTES]
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from ctypes import c_uint64
from pathlib import Path
from typing import Any

import zmq

from tests.bench.contestants import BASELINE, Broker
from tests.bench.measure import Spread
from tests.support.processes import steady_endpoint, wait_for
from zqd.keys.pair import load_public, load_secret, write_pair
from zqd.keys.z85 import z85_encode

CLIENTS, WORKERS, PROCESSES = 200, 16, 2  # so many of each kind, in so many processes of each kind
WARM_UP = 0.5  # seconds
CONTESTANTS = (BASELINE, "zqd")

Keys = dict[str, bytes]
"""The options of a socket; none for one without CURVE."""

_PROXY = """
import sys, zmq, zmq.auth
context = zmq.Context()
frontend, backend = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
for sock, endpoint in ((frontend, sys.argv[1]), (backend, sys.argv[2])):
    if len(sys.argv) > 3:
        _, sock.curve_secretkey = zmq.auth.load_certificate(sys.argv[3])
        sock.curve_server = True
    sock.bind(endpoint)
zmq.proxy(frontend, backend)
"""


def clients(endpoint: str, keys: Keys, count: int, size: int, done: Any) -> None:
    """So many REQ, each with one request on the way; `done` counts their replies."""
    context = zmq.Context[zmq.Socket[bytes]]()
    poller, body = zmq.Poller(), bytes(size)
    for _ in range(count):
        sock = _socket(context, zmq.REQ, endpoint, keys)
        sock.send(body)
        poller.register(sock, zmq.POLLIN)
    while True:
        for sock, _ in poller.poll():
            sock.recv()
            sock.send(body)
            done.value += 1


def workers(endpoint: str, keys: Keys, count: int) -> None:
    """So many REP that give back what they get."""
    context = zmq.Context[zmq.Socket[bytes]]()
    poller = zmq.Poller()
    for _ in range(count):
        poller.register(_socket(context, zmq.REP, endpoint, keys), zmq.POLLIN)
    while True:
        for sock, _ in poller.poll():
            sock.send(sock.recv())


def _socket(
    context: zmq.Context[zmq.Socket[bytes]], kind: int, endpoint: str, keys: Keys
) -> zmq.Socket[bytes]:
    sock = context.socket(kind)
    for name, value in keys.items():
        setattr(sock, name, value)
    sock.connect(endpoint)
    return sock


class Ring:
    """The keys of broker and peers in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("broker", "peer"):
            write_pair(folder, name)
        pair = load_secret(f"{folder}/peer.key_secret")
        self.options = {
            "curve_publickey": z85_encode(pair.public).encode(),
            "curve_secretkey": z85_encode(pair.secret).encode(),
            "curve_serverkey": z85_encode(load_public(f"{folder}/broker.key")).encode(),
        }

    def command(self, contestant: str, frontend: str, backend: str, *, curve: bool) -> list[str]:
        """What starts a broker there."""
        secret = str(self.folder / "broker.key_secret")
        if contestant == BASELINE:
            return [sys.executable, "-c", _PROXY, frontend, backend, *([secret] if curve else [])]
        words = [sys.executable, "-m", "zqd.daemon", "--frontend", frontend, "--backend", backend]
        words += ["--control", f"ipc://{self.folder}/control.sock", "--log-level", "error"]
        if curve:
            for side in ("frontend", "backend"):
                words += ["--set", f"queues.default.{side}_curve_secret={secret}"]
                words += ["--set", f"queues.default.{side}_authorized_keys={self.folder}"]
        return words


@contextlib.contextmanager
def peers(frontend: str, backend: str, keys: Keys, size: int) -> Iterator[list[Any]]:
    """All clients and workers, in processes; yields the clients' counts."""
    spawn = multiprocessing.get_context("spawn")
    counts = [spawn.Value(c_uint64, lock=False) for _ in range(PROCESSES)]
    started = [
        *(
            spawn.Process(target=clients, args=(frontend, keys, CLIENTS // PROCESSES, size, count))
            for count in counts
        ),
        *(
            spawn.Process(target=workers, args=(backend, keys, WORKERS // PROCESSES))
            for _ in range(PROCESSES)
        ),
    ]
    for process in started:
        process.start()
    try:
        yield counts
    finally:
        for process in started:
            process.kill()
            process.join()


def measure(contestant: str, *, curve: bool, seconds: float, size: int) -> tuple[float, float]:
    """Requests a second, and the broker's processor time for a request in µs."""
    frontend, backend = steady_endpoint(), steady_endpoint()
    with tempfile.TemporaryDirectory(prefix="zqd-bench-") as folder:
        ring = Ring(Path(folder))
        command = ring.command(contestant, frontend, backend, curve=curve)
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        try:
            broker = Broker(process, 0, 0)
            with peers(frontend, backend, ring.options if curve else {}, size) as counts:
                wait_for(lambda: all(count.value > 1000 for count in counts), "the first replies")
                time.sleep(WARM_UP)
                before, spent, began = sum(count.value for count in counts), broker.cpu(), time.monotonic()
                time.sleep(seconds)
                done = sum(count.value for count in counts) - before
                return done / (time.monotonic() - began), (broker.cpu() - spent) / done * 1e6
        finally:
            process.kill()
            process.wait()


def main() -> None:
    """Measure in rounds, contestants taking turns, and print the table."""
    parser = argparse.ArgumentParser(description="zqd with CURVE beside zmq.proxy with CURVE")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--size", type=int, default=64)
    options = parser.parse_args()
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    _say(f"{machine}, libzmq {zmq.zmq_version()}; median of {options.rounds} rounds")
    _say(f"{CLIENTS} REQ on {WORKERS} REP, {options.size} B, pyzmq in {PROCESSES} processes for each kind")
    _say("in parentheses: the ratio to zmq.proxy of the same round, median [least-most]\n")
    _say(f"{'':20} {'requests/s':>28} {'CPU µs/request':>28}")
    for curve in (True, False):
        measured = [
            {
                name: measure(name, curve=curve, seconds=options.seconds, size=options.size)
                for name in CONTESTANTS
            }
            for _ in range(options.rounds)
        ]
        for name in CONTESTANTS:
            cells = []
            for figure in (0, 1):
                absolute = Spread.of([one[name][figure] for one in measured]).median
                ratio = Spread.of([one[name][figure] / one[BASELINE][figure] for one in measured])
                cells.append(f"{absolute:,.1f} ({ratio.median:.2f}) [{ratio.least:.2f}-{ratio.most:.2f}]")
            label = f"{name}, {'CURVE' if curve else 'plain'}"
            _say(f"{label:20} {cells[0]:>28} {cells[1]:>28}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
