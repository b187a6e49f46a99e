"""Sockets passed as a service manager passes them: `passed` makes the wrapper of a command, this program is it.

python -m tests.daemon.passing NAMES DESCRIPTORS COMMAND…     both with colons between
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.processes import Zqd
from zqd.systemd.passed import FIRST

Named = tuple[str, socket.socket]


class PassedZqd(Zqd):
    """A zqd that is started with these sockets; its configuration names ports that it must not bind."""

    def __init__(
        self,
        folder: Path,
        *passed: Named,
        options: Sequence[str] = (),
        frontend: Sequence[str] = ("tcp://127.0.0.1:0",),
        backend: Sequence[str] = ("tcp://127.0.0.1:0",),
    ) -> None:
        fds = [sock.fileno() for _, sock in passed]
        super().__init__(
            folder,
            *options,
            frontend=frontend,
            backend=backend,
            wrapper=wrapper([name for name, _ in passed], fds),
        )
        self.pass_fds = fds


def wrapper(names: Sequence[str], fds: Sequence[int]) -> tuple[str, ...]:
    """What to put before a command that shall get these, of a parent that leaves them open."""
    return (
        *(sys.executable, "-m", "tests.daemon.passing"),
        ":".join(names),
        ":".join(map(str, fds)),
    )


def main(names: str, descriptors: str, *command: str) -> None:
    """Become the command."""
    fds = [int(fd) for fd in descriptors.split(":") if fd]
    # Out of the way first: one's place may be another's number.
    high = [os.dup2(fd, 100 + place) for place, fd in enumerate(fds)]
    for place, fd in enumerate(high):
        os.dup2(fd, FIRST + place)
        os.close(fd)
    variables = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(fds)), "LISTEN_FDNAMES": names}
    os.execve(command[0], command, os.environ | variables)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(*sys.argv[1:])
