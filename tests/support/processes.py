"""Real processes for the tests: zqd itself, and whatever else a test starts; all of them end with the test."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import zmq

T = TypeVar("T")

PATIENCE = 60.0  # seconds that a condition may take on a loaded machine before the test fails


def wait_for(condition: Callable[[], T | None], what: str, patience: float = PATIENCE) -> T:
    """Poll until `condition()` is true and return it; AssertionError names `what` did not come."""
    deadline = time.monotonic() + patience
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {patience:g} s in vain for {what}"
        time.sleep(0.01)
    return value


def logged(path: Path, event: str | None = None) -> list[dict[str, Any]]:
    """The events in a log of JSON lines, all or those of one name; a line that is still being written is not one yet."""
    whole, _, _ = path.read_text().rpartition("\n")
    events = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
    return [fields for fields in events if event is None or fields["event"] == event]


def steady_endpoint() -> str:
    """A free loopback endpoint outside of the range from which the kernel picks, so that it stays free while zqd is down.

    A client that tries again and again to connect to a port of that range gets it as its own port some day, and then
    talks to itself.
    """
    while True:
        port = random.SystemRandom().randrange(10_000, 30_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return f"tcp://127.0.0.1:{port}"


class Zqd:
    """One `zqd` process on loopback ports that the kernel chose (or the ones given), its control socket in `folder`.

    A context manager: entering starts it and waits until it answers; leaving stops it and asserts a clean end unless
    the test has ended it before.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        frontend: Sequence[str] = ("tcp://127.0.0.1:0",),
        backend: Sequence[str] = ("tcp://127.0.0.1:0",),
        wrapper: Sequence[str] = (),
    ) -> None:
        self.pass_fds: Sequence[int] = ()
        """Descriptors of the test that the process shall have too."""
        self.control_path = folder / "control.sock"
        self.log_path = folder / "zqd.log"
        self._command = [*wrapper, sys.executable, "-X", "dev", "-W", "error", "-m", "zqd.daemon"]
        for endpoint in frontend:
            self._command += ["--frontend", endpoint]
        for endpoint in backend:
            self._command += ["--backend", endpoint]
        self._command += [
            "--control",
            f"ipc://{self.control_path}",
            "--log-format",
            "json",
            "--log-level",
            "debug",
        ]
        self._command += options
        self.process: subprocess.Popen[bytes] | None = None
        self.frontends: list[str] = []
        self.backends: list[str] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            status = self.stop()
            assert kind is not None or status == 0, f"zqd ended with {status}:\n{self.log_text()}"

    def start(self) -> None:
        """Start it, or start it again, and wait until it answers."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=self.pass_fds
            )
        wait_for(self._answers, "zqd to answer")
        queue = self.queue()
        self.frontends, self.backends = queue["frontend"], queue["backend"]

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"zqd did not start:\n{self.log_text()}"
        if not self.control_path.exists():
            return False
        try:
            return bool(self.control("ping", patience=1.0))
        except TimeoutError:
            return False

    @property
    def frontend(self) -> str:
        """Where clients connect."""
        return self.frontends[0]

    @property
    def backend(self) -> str:
        """Where workers connect."""
        return self.backends[0]

    @property
    def pid(self) -> int:
        """The process id."""
        assert self.process is not None
        return self.process.pid

    def stop(self, number: signal.Signals = signal.SIGTERM, patience: float = PATIENCE) -> int:
        """Send a signal, wait for the end and return the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(
                f"zqd did not end within {patience:g} s of {number.name}:\n{self.log_text()}"
            ) from None

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def control(self, command: str, patience: float = PATIENCE, **args: object) -> Any:
        """The result of one control command."""
        reply = self.ask(self.control_path, command, patience, **args)
        assert reply["ok"], reply
        return reply["result"]

    @staticmethod
    def ask(path: Path, command: str, patience: float = PATIENCE, **args: object) -> dict[str, Any]:
        """The whole reply, good or bad, to one command at the control or status socket `path`."""
        with zmq.Context() as context, context.socket(zmq.REQ) as socket:
            socket.linger = 0
            socket.connect(f"ipc://{path}")
            socket.send_json({"zqctl": 1, "command": command, "args": args})
            if not socket.poll(int(patience * 1000)):
                raise TimeoutError(f"zqd did not answer {command}")
            reply = socket.recv_json()
        assert isinstance(reply, dict)
        return reply

    def status(self) -> dict[str, Any]:
        """As `zqctl --json status`."""
        result = self.control("status")
        assert isinstance(result, dict)
        return result

    def queue(self, name: str = "default") -> dict[str, Any]:
        """One queue's row of the status."""
        return next(row for row in self.status()["queues"] if row["name"] == name)

    def wait_until(
        self, what: str, condition: Callable[[dict[str, Any]], bool], patience: float = PATIENCE
    ) -> dict[str, Any]:
        """Wait for a condition of the default queue's row and return the row."""

        def met() -> dict[str, Any] | None:
            row = self.queue()
            return row if condition(row) else None

        return wait_for(met, what, patience)

    def log(self, event: str | None = None) -> list[dict[str, Any]]:
        """The log's lines, all or those of one event."""
        return logged(self.log_path, event)

    def log_text(self) -> str:
        """The log as it is, for a failed test's message."""
        return self.log_path.read_text()[-4000:] if self.log_path.exists() else ""

    def fds(self) -> int:
        """Its open descriptors."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def resident(self) -> int:
        """Its resident memory, bytes (proc(5), statm)."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def cpu(self) -> float:
        """The CPU time that it has used, seconds (clock_getcpuclockid(3))."""
        return time.clock_gettime((~self.pid << 3) | 2)
