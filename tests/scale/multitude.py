"""Thousands of light peers in one process: sockets, ZMTP encoded beforehand, and one epoll.

python -m tests.scale.multitude ENDPOINT REQ|REP      obeys the lines of stdin, answers each with a line of JSON

    connect N        N more peers, handshake included
    ask N ROUNDS     (REQ) the first N peers send so many requests each, the next one when the last is answered
    leave            all connections are closed

PINGs are answered at any time, and so are the requests that come to a REP: with what they are.
"""

from __future__ import annotations

import json
import re
import resource
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tests.support.processes import PATIENCE
from tests.zmtp.peers import greeting, pong, ready
from zqd.zmtp.frames import COMMAND, MORE, encode_message
from zqd.zmtp.handshake import GREETING_SIZE

AT_ONCE = 1000  # connections whose handshake is under way
ANSWERING = {"REQ": b"ROUTER", "REP": b"DEALER"}


class Multitude:
    """The process, for a test: a context manager that leaves nothing behind."""

    def __init__(self, endpoint: str, kind: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.scale.multitude", endpoint, kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()  # EOF ends it

    def connect(self, count: int) -> float:
        """Connect so many more; how long that took, seconds."""
        return self._obey("connect", count)["seconds"]

    def ask(self, count: int, rounds: int = 1) -> None:
        """The first `count` peers get the right answers to so many requests each, one after the other."""
        told = self._obey("ask", count, rounds)
        assert (told["right"], told["wrong"]) == (count * rounds, 0)

    def leave(self) -> None:
        """Close all connections."""
        self._obey("leave")

    def _obey(self, *words: object) -> dict[str, float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"%s\n" % " ".join(map(str, words)).encode())
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the multitude has ended"
        told: dict[str, float] = json.loads(line)
        return told


class LightPeer:
    """One connection."""

    __slots__ = ("asked", "buffer", "opening", "rounds", "sock")

    def __init__(self, sock: socket.socket, opening: int) -> None:
        self.sock = sock
        self.opening = opening
        """Bytes of zqd's greeting and READY that are still to come."""
        self.buffer = b""
        self.asked = b""
        """The request that waits for its answer."""
        self.rounds = 0
        """Requests still to be sent after that."""


class Peers:
    """All connections of the process."""

    def __init__(self, endpoint: str, kind: str) -> None:
        host, port = re.fullmatch(r"tcp://(.*):(\d+)", endpoint).groups()  # type: ignore[union-attr]  # zqd's own
        self._address = (host, int(port))
        self._echoes = kind == "REP"
        self._hello = greeting() + ready(kind.encode())
        self._opening = GREETING_SIZE + len(ready(ANSWERING[kind])) - len(b"\x08Identity\0\0\0\0")
        self._epoll = select.epoll()
        self._epoll.register(0, select.EPOLLIN)
        self._peers: dict[int, LightPeer] = {}
        self._connecting = 0
        self.right = self.wrong = self.asking = 0

    def connect(self, count: int) -> None:
        """As many more, all handshakes over at the end."""
        for _ in range(count):
            sock = socket.create_connection(self._address, timeout=PATIENCE)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(self._hello)
            sock.setblocking(False)
            self._peers[sock.fileno()] = LightPeer(sock, self._opening)
            self._epoll.register(sock.fileno(), select.EPOLLIN)
            self._connecting += 1
            if self._connecting >= AT_ONCE:
                self.serve_until(lambda: self._connecting < AT_ONCE)
        self.serve_until(lambda: not self._connecting)

    def ask(self, count: int, rounds: int) -> None:
        """Requests from the first so many, each with a body of its own."""
        self.right = self.wrong = 0
        self.asking = count
        for peer in list(self._peers.values())[:count]:
            peer.rounds = rounds
            self._ask_next(peer)
        self.serve_until(lambda: not self.asking)

    def leave(self) -> None:
        """Close everything."""
        for peer in self._peers.values():
            peer.sock.close()
        self._peers.clear()

    def serve_until(self, condition: Callable[[], bool]) -> None:
        """Handle what comes until the condition holds."""
        end = time.monotonic() + 2 * PATIENCE
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError("zqd does not answer")
            self.turn()

    def turn(self) -> bool:
        """Handle what has come; True when a command waits."""
        command = False
        for fd, _ in self._epoll.poll(1.0, 1024):
            if fd == 0:
                command = True
            else:
                self._receive(self._peers[fd])
        return command

    def _receive(self, peer: LightPeer) -> None:
        data = peer.sock.recv(1 << 16)
        if not data:
            raise ConnectionError("zqd has closed a connection")
        if peer.opening:
            opening = min(peer.opening, len(data))
            peer.opening -= opening
            self._connecting -= not peer.opening
            data = data[opening:]
        data = peer.buffer + data
        start = at = 0
        while len(data) - at >= 2 and at + 2 + data[at + 1] <= len(data):  # all frames are short
            flags, end = data[at], at + 2 + data[at + 1]
            if flags & COMMAND:
                assert start == at
                peer.sock.sendall(pong(data[at + 9 : end]))  # after \4PING and the TTL
                start = end
            elif not flags & MORE:
                self._message(peer, data[start:end])
                start = end
            at = end
        peer.buffer = data[start:]

    def _message(self, peer: LightPeer, message: bytes) -> None:
        if self._echoes:
            peer.sock.sendall(message)
            return
        if message == peer.asked:
            self.right += 1
        else:
            self.wrong += 1
        self._ask_next(peer)

    def _ask_next(self, peer: LightPeer) -> None:
        if not peer.rounds:
            self.asking -= 1
            return
        peer.rounds -= 1
        peer.asked = encode_message([b"", b"%d of %d" % (peer.rounds, peer.sock.fileno())])
        peer.sock.sendall(peer.asked)


def _serve(endpoint: str, kind: str) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    peers = Peers(endpoint, kind)
    commands: dict[bytes, Callable[..., None]] = {
        b"connect": peers.connect,
        b"ask": peers.ask,
        b"leave": peers.leave,
    }
    stdin = open(0, "rb", buffering=0, closefd=False)  # unbuffered: epoll must see each line  # noqa: SIM115
    while True:
        while not peers.turn():
            pass
        words = stdin.readline().split()
        if not words:
            return
        name, *numbers = words
        began = time.monotonic()
        commands[name](*map(int, numbers))
        told = {"seconds": time.monotonic() - began, "right": peers.right, "wrong": peers.wrong}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve(*sys.argv[1:])
