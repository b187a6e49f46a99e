"""An attacker: connections without end that never finish their handshake, as a process that may run on another machine.

Its HELLO is made once, and is good for zqd's key: nobody could be cheaper. Counts what it has begun in a file, and
how much processor that took.

python -m tests.faults.flood KIND HOST PORT KEY FILE [RATE]     KEY is zqd's public key in hex, empty for an endpoint without;
                                                                RATE attempts a second are the most, instead of no bound
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Callable

from tests.zmtp import peers
from tests.zmtp.curve_client import CurveClient
from zqd.zmtp.frames import COMMAND, encode_frame

KEPT = 500  # connections that are kept open, where the kind is one of keeping them
PATIENCE = 1.0  # seconds for an answer


class Flood:
    """Makes connections of one kind."""

    def __init__(self, host: str, port: int, key: bytes) -> None:
        self._place = (host, port)
        client = CurveClient(server_key=key, seed="flood") if key else None
        self._hello = (
            peers.greeting(mechanism=b"CURVE") + encode_frame(client.hello(), COMMAND) if client else b""
        )
        self._kept: deque[socket.socket] = deque()
        self.answered = 0
        """WELCOMEs that came."""

    def half_open(self) -> None:
        """A connection that says nothing, and stays as long as it may."""
        self._keep(self._connected())

    def greeted(self) -> None:
        """One that has said HELLO, and stays as long as it may."""
        sock = self._connected()
        sock.send(self._hello)
        self._keep(sock)

    def hello(self) -> None:
        """One that says HELLO, waits for what it costs zqd, and goes."""
        with self._connected() as sock:
            sock.send(self._hello)
            size = 0
            while select.select([sock], [], [], PATIENCE)[0] and (data := sock.recv(1000)):
                size += len(data)
                if size > 64 + 100:  # zqd's greeting, and most of WELCOME
                    self.answered += 1
                    break

    def garbage(self) -> None:
        """One that says what nobody understands, and goes when zqd does."""
        with self._connected() as sock:
            sock.send(b"GET / HTTP/1.1\r\n\r\n")
            while select.select([sock], [], [], PATIENCE)[0] and sock.recv(1000):
                pass

    def _connected(self) -> socket.socket:
        return socket.create_connection(self._place, timeout=PATIENCE)

    def _keep(self, sock: socket.socket) -> None:
        self._kept.append(sock)
        if len(self._kept) > KEPT:
            self._kept.popleft().close()


def main(kind: str, host: str, port: str, key: str, path: str, rate: str = "inf") -> None:
    """Go on until killed."""
    flood = Flood(host, int(port), bytes.fromhex(key))
    pause = 1 / float(rate)
    once: Callable[[], None] = getattr(flood, kind)
    begun = failed = 0
    told = 0.0
    while True:
        try:
            once()
        except OSError:  # turned away, or too many of us: again
            failed += 1
        begun += 1
        time.sleep(pause)
        if time.monotonic() - told > 0.05:
            told = time.monotonic()
            counts = {
                "begun": begun,
                "failed": failed,
                "answered": flood.answered,
                "cpu": time.process_time(),
            }
            with open(f"{path}.new", "w", encoding="ascii") as file:
                json.dump(counts, file)
            os.replace(f"{path}.new", path)


if __name__ == "__main__":
    main(*sys.argv[1:])
