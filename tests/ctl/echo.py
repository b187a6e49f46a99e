"""A plain REP program in a thread of the test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import zmq


@contextmanager
def worker(endpoint: str, *, bind: bool = False) -> Iterator[str]:
    """A REP that gives back what it gets, connected to a backend, or (bind) a server itself; yields its endpoint."""
    context = zmq.Context[zmq.Socket[bytes]]()
    ready = threading.Event()
    place: list[str] = []

    def serve() -> None:
        with context.socket(zmq.REP) as sock:
            sock.setsockopt(zmq.LINGER, 0)
            (sock.bind if bind else sock.connect)(endpoint)
            place.append(sock.getsockopt_string(zmq.LAST_ENDPOINT))
            ready.set()
            try:
                while True:
                    sock.send_multipart(sock.recv_multipart())
            except zmq.ContextTerminated:
                pass

    thread = threading.Thread(target=serve)
    thread.start()
    ready.wait()
    try:
        yield place[0]
    finally:
        context.term()
        thread.join()
