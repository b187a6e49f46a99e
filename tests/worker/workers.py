"""Processes of zqd-worker for the tests, and an ear for what they tell the service manager."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.processes import PATIENCE, logged, wait_for

SAMPLES = "tests.worker.samples"


class WorkerProcess:
    """One zqd-worker, with its log and what it prints in `folder`; leaving the context kills it if it still runs."""

    def __init__(
        self,
        folder: Path,
        instance: str,
        *options: str,
        env: dict[str, str] | None = None,
        closed: str = "",
        log_level: str = "debug",
    ) -> None:
        """`closed` is a redirection of the shell's, such as `>&-`; with an empty `log_level` no flag sets it."""
        self.log_path = folder / f"{instance}.log"
        self.out_path = folder / f"{instance}.out"
        command = [sys.executable, "-X", "dev", "-W", "error", "-m", "zqd.worker", "--instance", instance]
        command += ["--log-format", "json", *(["--log-level", log_level] if log_level else []), *options]
        if closed:
            command = ["sh", "-c", f'exec "$0" "$@" {closed}', *command]
        with self.log_path.open("ab") as log, self.out_path.open("ab") as out:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=log, env=os.environ | (env or {})
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def end(self, patience: float = PATIENCE) -> int:
        """Wait until it ends by itself; its exit status."""
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"zqd-worker did not end:\n{self.log_text()}") from None

    def stop(self) -> int:
        """SIGTERM, and its exit status."""
        self.signal(signal.SIGTERM)
        return self.end()

    def log(self, event: str | None = None) -> list[dict[str, Any]]:
        """The log's lines, all or those of one event."""
        return logged(self.log_path, event)

    def log_text(self) -> str:
        """The log as it is."""
        return self.log_path.read_text()[-4000:]

    def wait_for(self, event: str, count: int = 1) -> dict[str, Any]:
        """Wait until an event has been logged so many times; the last of these."""
        try:
            return wait_for(lambda: self.log(event)[count - 1 : count], f"{event} in the worker's log")[0]
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log_text()}") from None


class ServiceManager:
    """What listens at $NOTIFY_SOCKET (sd_notify(3))."""

    def __init__(self, folder: Path) -> None:
        path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self.env = {"NOTIFY_SOCKET": str(path)}
        self.heard: list[str] = []
        """Every line of every message so far."""

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()

    def listen(self) -> list[str]:
        """Hear what has come; everything that was heard."""
        try:
            while True:
                self.heard += self._socket.recv(65536).decode().splitlines()
        except BlockingIOError:
            return self.heard

    def wait_for(self, start: str) -> str:
        """Wait for a line that begins so."""

        def found() -> str | None:
            return next((line for line in self.listen() if line.startswith(start)), None)

        return wait_for(found, f"{start} among {self.heard}")

    def forget(self) -> None:
        """As if nothing had been heard so far."""
        self.listen()
        self.heard.clear()
