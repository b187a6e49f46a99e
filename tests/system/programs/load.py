"""Unmodified REQ clients that ask an echo without a pause: load.py ENDPOINT CLIENTS [PATIENCE].

Each has a context of its own, as programs have. They go on until standard input ends, and then wait for the last replies. With PATIENCE a client that has waited so many
seconds begins anew on another socket, as one must whose broker was killed. Prints one line of JSON: `replies`; `failures`
and `wrong`, the replies that tell of a failure and those that are somebody else's; `given_up`.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter

import zmq

ENDPOINT, CLIENTS, *REST = sys.argv[1:]
PATIENCE = float(REST[0]) if REST else 60.0
over = threading.Event()
counts: Counter[str] = Counter({"replies": 0, "given_up": 0})
failures: list[str] = []
wrong: list[str] = []


def connected() -> zmq.Socket[bytes]:
    """A new client."""
    socket = zmq.Context().socket(zmq.REQ)
    socket.linger = 0
    socket.rcvtimeo = int(PATIENCE * 1000)
    socket.connect(ENDPOINT)
    return socket


def client(number: int) -> None:
    """Ask and ask again, each time something that nobody else asks."""
    socket, turn = connected(), 0
    while not over.is_set():
        turn += 1
        body = f"{number}/{turn}".encode()
        socket.send(body)
        try:
            reply = socket.recv()
        except zmq.Again:
            counts["given_up"] += 1
            socket.close()
            socket = connected()
            continue
        if reply == body:
            counts["replies"] += 1
        elif reply.startswith(b"ZQD-ERROR"):
            failures.append(reply.decode())
        else:
            wrong.append(f"{body!r}: {reply!r}")
    socket.close()


threads = [threading.Thread(target=client, args=(number,)) for number in range(int(CLIENTS))]
for thread in threads:
    thread.start()
sys.stdin.read()
over.set()
for thread in threads:
    thread.join()
json.dump({**counts, "failures": failures, "wrong": wrong}, sys.stdout)
