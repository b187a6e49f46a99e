"""A program that takes what a service manager passes, and prints what it got: `python -m tests.systemd.receiver PLAN`.

PLAN is JSON: `make` (how many listening sockets to put at descriptors 3, 4, …, for tests without a manager; LISTEN_PID then
becomes this process's unless it is set), `claim` (names), `expected` (names to check
against; absent: no check), `greet` (a name: accept one connection there and send it `hello`). Prints JSON: `names`, `claimed` (name: one row a socket), `environment` (the
variables that are left), `inherited` (the descriptors from 3 on that a child would get), `error` and `status`.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import zqd
from zqd.errors import ZqdError
from zqd.systemd.passed import FIRST, PassedSockets

ROOT = Path(zqd.__file__).parent.parent
"""The folder from which it is started."""


def command(plan: dict[str, Any]) -> list[str]:
    """Its command line."""
    return [sys.executable, "-X", "dev", "-W", "error", "-m", "tests.systemd.receiver", json.dumps(plan)]


def make(count: int) -> None:
    """Put that many listening sockets where a service manager would; they stay open."""
    for descriptor in range(FIRST, FIRST + count):
        sock = socket.create_server(("127.0.0.1", 0))
        made = sock.detach()
        if made != descriptor:
            os.dup2(made, descriptor)
            os.close(made)
        os.set_inheritable(descriptor, True)


def row(sock: socket.socket) -> dict[str, Any]:
    """What a test asks of a claimed socket."""
    flags = fcntl.fcntl(sock.fileno(), fcntl.F_GETFD)
    return {
        "descriptor": sock.fileno(),
        "family": sock.family.name,
        "address": sock.getsockname(),
        "blocking": os.get_blocking(sock.fileno()),
        "close_on_exec": bool(flags & fcntl.FD_CLOEXEC),
    }


def inherited() -> list[int]:
    """The descriptors from 3 on that a child would get."""
    found = []
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        try:
            if descriptor >= FIRST and os.get_inheritable(descriptor):
                found.append(descriptor)
        except OSError:  # the one with which the directory was read
            continue
    return sorted(found)


def main(plan: dict[str, Any]) -> dict[str, Any]:
    """Do as planned and tell what came of it."""
    if "make" in plan:
        make(plan["make"])
        os.environ.setdefault("LISTEN_PID", str(os.getpid()))
    answer: dict[str, Any] = {"names": [], "claimed": {}, "error": None, "status": 0}
    try:
        passed = PassedSockets.from_environment()
        answer["names"] = passed.names
        claimed = {name: passed.claim(name) for name in plan.get("claim", [])}
        answer["claimed"] = {name: [row(sock) for sock in sockets] for name, sockets in claimed.items()}
        if "expected" in plan:
            passed.check_all_claimed(plan["expected"])
        if "greet" in plan:
            connection, _ = claimed[plan["greet"]][0].accept()
            connection.sendall(b"hello")
            connection.close()
        answer["inherited"] = inherited()
        for sock in itertools.chain(*claimed.values()):
            sock.close()
        passed.close()
    except ZqdError as error:
        answer["error"], answer["status"] = str(error), error.status
    answer["environment"] = [name for name in os.environ if name.startswith("LISTEN_")]
    return answer


if __name__ == "__main__":
    json.dump(main(json.loads(sys.argv[1])), sys.stdout)
