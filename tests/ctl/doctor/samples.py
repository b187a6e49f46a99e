"""Rows and files that the tests of the doctor look at."""

from __future__ import annotations

from typing import Any

import zqd
from tests.control.serving import queue
from zqd.ctl.doctor.sockets import File
from zqd.endpoints import IpcEndpoint, TcpEndpoint

TCP = TcpEndpoint("127.0.0.1", 5560)
IPC = IpcEndpoint("/run/zqd/q.sock")


def row_of(**known: Any) -> dict[str, Any]:
    """A queue's row with a busy worker."""
    return queue("default", measured=True) | known


def status(**known: Any) -> dict[str, Any]:
    """A status."""
    return {"version": zqd.__version__, "pid": 1, "state": "running", "queues": [row_of()]} | known


def file(mode: int, directory_mode: int = 0o755) -> File:
    """A socket's file."""
    return File("/run/zqd/x.sock", mode, "zqd", "operators", directory_mode)
