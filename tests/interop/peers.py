"""What real peers do in the tests of this folder."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import zmq
from zmq.utils.monitor import parse_monitor_message

from tests.support.processes import PATIENCE, wait_for

Socket = zmq.Socket[bytes]


def exchange(client: Socket, worker: Socket, count: int = 1) -> None:
    """`count` requests of a REQ, each answered by a REP that is the only one free."""
    for number in range(count):
        client.send(b"question %d" % number)
        assert worker.recv() == b"question %d" % number
        worker.send(b"answer %d" % number)
        assert client.recv() == b"answer %d" % number


def freeze(process: subprocess.Popen[str]) -> None:
    """SIGSTOP a process, and return when the last of its threads has stopped: one may still run for milliseconds."""

    def stopped() -> bool:
        try:
            states = [
                status.read_text().rpartition(") ")[2][0] for status in threads.glob("*/stat")
            ]  # proc(5)
        except OSError:  # one has ended meanwhile
            return False
        return set(states) == {"T"}

    threads = Path(f"/proc/{process.pid}/task")
    process.send_signal(signal.SIGSTOP)
    wait_for(stopped, "a process to stop")


class Monitor:
    """What libzmq tells about a socket's connections (zmq_socket_monitor(3))."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._events: zmq.Socket[bytes] = socket.get_monitor_socket()
        self.seen: list[zmq.Event] = []
        """All events so far, in order."""

    def wait_for(self, *events: zmq.Event, patience: float = PATIENCE) -> bool:
        """Read on until one of these comes; False if none does within `patience` seconds."""
        while self._events.poll(int(patience * 1000)):
            message = parse_monitor_message(self._events.recv_multipart())
            self.seen.append(zmq.Event(message["event"]))
            if self.seen[-1] in events:
                return True
        return False

    def close(self) -> None:
        """Stop watching."""
        self._socket.disable_monitor()
        self._events.close(linger=0)


@contextmanager
def monitored(socket: Socket) -> Iterator[Monitor]:
    """Watch a socket's connections; begin before it connects."""
    monitor = Monitor(socket)
    try:
        yield monitor
    finally:
        monitor.close()
