"""What the doctor looks at on the machine: the kernel's backlog, the clock.

Each check is a function of plain values; what reads those values stands beside it. Called by `zqd.ctl.doctor`.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from pathlib import Path

import zqd
from zqd.ctl.doctor.finding import Finding, ok, skip, warn
from zqd.endpoints import BACKLOG

SOMAXCONN = Path("/proc/sys/net/core/somaxconn")
DAY = 86400.0
TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
TIMEX_SIZE = 512  # bytes, more than any architecture's struct timex; all zero asks and sets nothing


def examine() -> Iterator[Finding]:
    """Every check of this module."""
    yield backlog(_somaxconn())
    yield synchronised(_clock_state())
    yield clock(time.time(), Path(zqd.__file__).stat().st_mtime)


def backlog(somaxconn: int | None) -> Finding:
    """listen(2): the kernel cuts zqd's backlog to net.core.somaxconn, which a crowd that reconnects can overrun."""
    if somaxconn is None:
        return skip("backlog", f"{SOMAXCONN} cannot be read")
    if somaxconn < BACKLOG:
        return warn(
            "backlog",
            f"net.core.somaxconn is {somaxconn}, zqd asks for {BACKLOG}",
            f"write net.core.somaxconn={BACKLOG} to a file in /etc/sysctl.d, run sysctl --system, restart zqd",
        )
    return ok("backlog", f"net.core.somaxconn is {somaxconn}")


def synchronised(state: int | None) -> Finding:
    """Whether the kernel takes its clock for right; `state` is what adjtimex(2) returned. zqd's own time-outs use another clock."""
    if state is None:
        return skip("clock", "the kernel does not say whether it is synchronised (adjtimex)")
    if state == TIME_ERROR:
        return warn(
            "clock",
            "not synchronised, so the times of logs and events may be wrong (zqd's time-outs are not)",
            "timedatectl set-ntp true, or run another NTP client",
        )
    return ok("clock", "synchronised")


def clock(now: float, installed: float) -> Finding:
    """The clock cannot be right where it stands before the date of zqd's own files; both in seconds since 1970."""
    if now < installed - DAY:
        days = round((installed - now) / DAY)
        return warn(
            "date", f"the clock stands {days} days before the date of zqd's own files", "set the clock"
        )
    return ok("date", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now)))


def _somaxconn() -> int | None:
    try:
        return int(SOMAXCONN.read_text())
    except (OSError, ValueError):
        return None


def _clock_state() -> int | None:
    try:
        state: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(TIMEX_SIZE))
    except (OSError, AttributeError):
        return None
    return state if state >= 0 else None
