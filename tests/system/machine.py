"""A booted Debian: systemd as process 1 in namespaces of its own, with a loopback interface and no other network.

systemd-nspawn(1) boots it from a root file system that may be written to; commands enter its namespaces with nsenter(1),
which needs neither a bus nor machinectl on this side. Called by: `conftest`, tests.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.processes import wait_for

LIMIT = 120.0  # seconds that a command may take
PROGRAMS = Path(__file__).with_name("programs")
HOME = "/opt/tests"
"""Where PROGRAMS are inside."""


class Machine:
    """A booted system on `root` while the context lasts."""

    def __init__(self, release: str, root: Path) -> None:
        self.release = release
        self.root = root
        self._init = 0  # the process id of its process 1, out here
        self._started: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        self._console = self.root.parent / "console"
        with self._console.open("wb") as console:
            self._nspawn = subprocess.Popen(
                [
                    "setpriv",
                    "--pdeathsig=KILL",  # it must not outlive a run that was killed
                    "systemd-nspawn", "--quiet", f"--directory={self.root}", "--boot", "--register=no", "--keep-unit",
                    "--private-network", f"--bind-ro={PROGRAMS}:{HOME}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )  # fmt: skip
        try:
            self._init = wait_for(self._find_init, f"{self.release} to boot")
            wait_for(
                lambda: self.run("systemctl is-system-running", check=False) == "running", "its services"
            )
        except BaseException as error:
            self._end()
            raise AssertionError(f"{error}\n{self.console()}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _find_init(self) -> int | None:
        assert self._nspawn.poll() is None, f"systemd-nspawn: {self.console()}"
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
        for pid in map(int, children):
            with contextlib.suppress(OSError):  # one that nspawn needs at first only
                if Path(f"/proc/{pid}/comm").read_text() == "systemd\n":  # not nspawn itself any more
                    return pid
        return None

    def _end(self) -> None:
        for process in self._started:
            process.kill()
            process.communicate()
        if self._nspawn.poll() is None:
            # Nothing in it is worth an orderly shutdown.
            os.kill(self._init or self._nspawn.pid, signal.SIGKILL)
            self._nspawn.wait()

    def console(self) -> str:
        """The end of what the boot wrote."""
        return self._console.read_text(errors="replace")[-3000:]

    # Commands

    def _entered(self, command: str, user: str) -> list[str]:
        enter = ["nsenter", "-t", str(self._init), "-m", "-u", "-i", "-n", "-p", "-C", "--"]
        clean = [
            "env",
            "-i",
            "LANG=C.UTF-8",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "DEBIAN_FRONTEND=noninteractive",
        ]
        shell = ["sh", "-c", f"cd / && {command}"]
        become = ["runuser", "-u", user, "--"] if user != "root" else []
        return [*enter, *clean, *become, *shell]

    def attempt(
        self, command: str, *, user: str = "root", limit: float = LIMIT
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell's command inside, whatever its status."""
        return subprocess.run(
            self._entered(command, user),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )

    def run(self, command: str, *, user: str = "root", check: bool = True, limit: float = LIMIT) -> str:
        """What a command wrote, without blanks around it; AssertionError where it fails, unless `check` is false."""
        done = self.attempt(command, user=user, limit=limit)
        if check and done.returncode != 0:
            raise AssertionError(
                f"{command}: status {done.returncode}\n{done.stdout}{done.stderr}{self.last_lines()}"
            )
        return done.stdout.strip()

    def start(self, command: str, *, user: str = "root") -> subprocess.Popen[str]:
        """Start a command inside; it ends with the machine, if not before. Standard error goes to the output.

        A signal would reach nsenter only: what it starts is to end when its standard input does (`communicate`).
        """
        process = subprocess.Popen(
            self._entered(f"exec {command}", user),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._started.append(process)
        return process

    def program(self, name: str, *arguments: object, user: str = "root") -> subprocess.Popen[str]:
        """Start one of PROGRAMS inside."""
        return self.start(f"python3 {HOME}/{name}.py {shlex.join(map(str, arguments))}", user=user)

    def write(self, path: str, text: str) -> None:
        """Write a file inside, with the folders that it needs."""
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    # systemd

    def show(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.run(f"systemctl show --value --property={name} -- {shlex.quote(unit)}")

    def main_pid(self, unit: str) -> int:
        """The main process of a service, as numbered inside; 0 where there is none."""
        return int(self.show(unit, "MainPID"))

    def wait_until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for a condition; where it does not come the journal's end is in the message."""
        try:
            wait_for(lambda: bool(condition()) or None, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.last_lines()}") from None

    def journal(self, *arguments: str) -> list[dict[str, Any]]:
        """Entries of this boot's journal."""
        text = self.run(f"journalctl --sync; journalctl -b -o json --all {shlex.join(arguments)}")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def last_lines(self) -> str:
        """The journal's end, for messages of failed tests."""
        return "\n" + self.attempt("journalctl -b -n 40 --no-pager -o short-monotonic").stdout

    # zqd

    def zqctl(self, words: str, *, user: str = "root") -> Any:
        """The JSON that a zqctl command gives."""
        return json.loads(self.run(f"zqctl --json {words}", user=user))

    def ask(self, endpoint: str, text: str, *, user: str = "root") -> str:
        """The reply to one request of a REQ client; root may connect to every socket."""
        return self.run(f"python3 {HOME}/ask.py {endpoint} {shlex.quote(text)}", user=user)

    def now(self) -> str:
        """A time for `journalctl --since`."""
        return self.run("date '+%Y-%m-%d %H:%M:%S.%6N'")
