"""Plain REQ clients and REP workers as processes of their own, which a test may kill.

One process has imported all they need and forks them, so that each costs milliseconds. They count what they do on a
board, a file in shared memory that the test reads at any moment.

python -m tests.faults.crowd BOARD      obeys lines of JSON on stdin, answers each with a process id
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import zmq

from tests.support.processes import wait_for

SLOTS = 4096
_SLOT = struct.Struct("QQ")  # one writer each, and aligned: never torn
PR_SET_PDEATHSIG = 1  # prctl(2)


class Board:
    """Two counts for each member of the crowd, `done` and `wrong`, and the word to finish (slot 0)."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), SLOTS * _SLOT.size)

    @staticmethod
    def make(path: Path) -> Board:
        """A board on which nothing stands."""
        path.write_bytes(bytes(SLOTS * _SLOT.size))
        return Board(path)

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()

    def read(self, slot: int) -> tuple[int, int]:
        """What a member has done: (done, wrong)."""
        done, wrong = _SLOT.unpack_from(self._memory, slot * _SLOT.size)
        return done, wrong

    def write(self, slot: int, done: int, wrong: int) -> None:
        """Tell it; a member writes its own slot only."""
        _SLOT.pack_into(self._memory, slot * _SLOT.size, done, wrong)

    @property
    def finishing(self) -> bool:
        """Clients send nothing more, and end when what they have sent is answered."""
        return self.read(0) != (0, 0)


class Member:
    """One process of the crowd."""

    def __init__(self, board: Board, pid: int, slot: int) -> None:
        self._board = board
        self.pid = pid
        self.slot = slot

    @property
    def done(self) -> int:
        """Right answers received (a client), answers given (a worker)."""
        return self._board.read(self.slot)[0]

    @property
    def wrong(self) -> int:
        """Answers that were not the client's own."""
        return self._board.read(self.slot)[1]

    @property
    def ended(self) -> bool:
        """The process is gone."""
        return not Path(f"/proc/{self.pid}").exists()

    def kill(self) -> None:
        """SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)


class Crowd:
    """Starts members; a context manager that leaves none behind."""

    def __init__(self, folder: Path) -> None:
        path = folder / "board"
        self.board = Board.make(path)
        self.clients: list[Member] = []
        self.workers: list[Member] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.crowd", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()  # EOF ends it, and its end ends its children
        self.board.close()

    def client(self, endpoint: str, *, think: float = 0.0) -> Member:
        """A plain REQ that sends request after request, each with its own body, thinking for so many seconds before each."""
        member = self._start("req", endpoint, think)
        self.clients.append(member)
        return member

    def correlating_client(self, endpoint: str, *, patience: float) -> Member:
        """A REQ with RELAXED and CORRELATE that sends another request when no answer has come for so many seconds."""
        member = self._start("correlating", endpoint, patience)
        self.clients.append(member)
        return member

    def worker(self, endpoint: str, *, seconds: float = 0.0, padding: int = 0) -> Member:
        """A plain REP that answers `[body, its pid, so many zeros]` after so many seconds."""
        member = self._start("rep", endpoint, seconds, padding)
        self.workers.append(member)
        return member

    def _start(self, kind: str, endpoint: str, *numbers: float) -> Member:
        slot = len(self.clients) + len(self.workers) + 1
        assert slot < SLOTS
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([kind, slot, endpoint, *numbers]).encode() + b"\n")
        self._process.stdin.flush()
        return Member(self.board, int(self._process.stdout.readline()), slot)

    @property
    def answered(self) -> int:
        """Right answers that all clients have received."""
        return sum(client.done for client in self.clients)

    def goes_on(self, rounds: int = 3) -> None:
        """Every client gets so many more answers from now on, and never a wrong one."""
        goals = [(client, client.done + rounds) for client in self.clients]

        def behind() -> list[str]:
            return [f"client {client.pid} at {client.done}" for client, goal in goals if client.done < goal]

        try:
            wait_for(lambda: not behind(), "every client to go on")
        except AssertionError as error:
            raise AssertionError(f"{error}: {behind()}") from None
        assert [client.wrong for client in self.clients] == [0] * len(self.clients)

    def finish(self) -> None:
        """Every client gets the answer that it waits for, and ends."""
        self.board.write(0, 1, 1)
        wait_for(lambda: all(client.ended for client in self.clients), "every client to have its last answer")
        assert [client.wrong for client in self.clients] == [0] * len(self.clients)


def _req(board: Board, slot: int, endpoint: str, think: float) -> None:
    done = wrong = 0
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.linger = 0
        socket.connect(endpoint)
        while not board.finishing:
            if think:
                time.sleep(think)
            body = b"%d: %d" % (os.getpid(), done + wrong)
            socket.send(body)
            if socket.recv_multipart()[0] == body:
                done += 1
            else:
                wrong += 1
            board.write(slot, done, wrong)


def _correlating(board: Board, slot: int, endpoint: str, patience: float) -> None:
    sent = done = wrong = 0
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.linger = 0
        socket.req_relaxed = socket.req_correlate = 1
        socket.connect(endpoint)
        while not board.finishing:
            body = b"%d: %d" % (os.getpid(), sent)
            sent += 1
            socket.send(body)
            if not socket.poll(int(patience * 1000)):
                continue
            if socket.recv_multipart()[0] == body:
                done += 1
            else:
                wrong += 1
            board.write(slot, done, wrong)


def _rep(board: Board, slot: int, endpoint: str, seconds: float, padding: int) -> None:
    done = 0
    name = str(os.getpid()).encode()
    with zmq.Context() as context, context.socket(zmq.REP) as socket:
        socket.linger = 0
        socket.connect(endpoint)
        while True:
            body = socket.recv()
            if seconds:
                time.sleep(seconds)
            done += 1
            board.write(slot, done, 0)
            socket.send_multipart([body, name, bytes(padding)])


def _serve(board: Board) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries the children
    prctl = ctypes.CDLL(None).prctl
    programs: dict[str, Callable[..., None]] = {"req": _req, "correlating": _correlating, "rep": _rep}
    for line in sys.stdin:
        kind, slot, endpoint, *numbers = json.loads(line)
        pid = os.fork()
        if not pid:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            programs[kind](board, slot, endpoint, *numbers)
            os._exit(0)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve(Board(Path(sys.argv[1])))
