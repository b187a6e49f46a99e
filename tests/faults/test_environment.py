from __future__ import annotations

import datetime
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import zmq

from tests.conftest import Connect
from tests.faults.crowd import Crowd
from tests.faults.raw import RawPeer
from tests.support.processes import Zqd, wait_for

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)

# What becomes of stderr before zqd runs in the same process.
FULL_DISK = "os.dup2(os.open('/dev/full', os.O_WRONLY), 2)"
CLOSED_PIPE = "r, w = os.pipe(); os.dup2(w, 2); os.close(r)"
STALLED_PIPE = "r, w = os.pipe(); os.dup2(w, 2); os.set_inheritable(r, True)"  # nobody ever reads it


def with_stderr(change: str) -> Sequence[str]:
    """A wrapper that runs a program with another stderr."""
    program = f"import os, sys; {change}; os.execvp(sys.argv[1], sys.argv[1:])"
    return (sys.executable, "-c", program)


@pytest.mark.parametrize(
    "stderr", [FULL_DISK, CLOSED_PIPE, STALLED_PIPE], ids=["full disk", "closed pipe", "stalled pipe"]
)
def test_log_that_cannot_be_written(tmp_path: Path, crowd: Crowd, stderr: str) -> None:
    """While no line of the log can be written, zqd goes on serving, and ends as it should."""
    with Zqd(tmp_path, wrapper=with_stderr(stderr)) as zqd:
        crowd.worker(zqd.backend)
        crowd.client(zqd.frontend, think=0.001)
        crowd.goes_on()
        for _ in range(500):  # each gives two or three lines of a hundred bytes and more
            with RawPeer(zqd.frontend) as peer:
                peer.send_handshake(b"REQ")
        crowd.goes_on()
        crowd.finish()
        queue = zqd.queue()
        assert queue["received"] == queue["replied"] == crowd.answered
        assert zqd.stop() == 0
    assert zqd.log_text() == ""


class Clock:
    """The wall clock of one zqd, which libfaketime reads from a file; its monotonic clock is the kernel's."""

    def __init__(self, folder: Path) -> None:
        if FAKETIME is None:
            pytest.skip("A CLOCK THAT JUMPS IS NOT TESTED: that takes the package libfaketime")
        self._path = folder / "clock"
        self.jump("+0")
        self.wrapper = (
            "env",
            f"LD_PRELOAD={FAKETIME}",
            f"FAKETIME_TIMESTAMP_FILE={self._path}",
            "FAKETIME_NO_CACHE=1",
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
        )

    def jump(self, offset: str) -> None:
        """Be so far from the truth from now on, as libfaketime writes it (`+10d`)."""
        self._path.write_text(offset)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    """A clock that is right so far."""
    return Clock(tmp_path)


def days_off(zqd: Zqd) -> int:
    """By how many days zqd's newest line of the log is off, made by a client that comes for that."""
    lines = len(zqd.log("client.joined"))
    with RawPeer(zqd.frontend) as peer:
        peer.shake_hands(b"REQ")
        stamp = wait_for(lambda: zqd.log("client.joined")[lines:], "its line in the log")[0]["timestamp"]
    return (datetime.datetime.fromisoformat(stamp) - datetime.datetime.now(datetime.UTC)).days


LONG = 3600.0  # seconds: of every time-out here


def test_clock_that_jumps(tmp_path: Path, clock: Clock, connect: Connect, crowd: Crowd) -> None:
    """The wall clock may jump by days, forth and back: nothing times out, no age is wrong, traffic goes on."""
    names = (
        "request_timeout",
        "queue_timeout",
        "handshake_timeout",
        "heartbeat_timeout",
        "slow_client_timeout",
    )
    options = [word for name in names for word in ("--set", f"queues.default.{name}={LONG:.0f}s")]
    options += ["--set", "queues.default.backend_heartbeat_interval=200ms"]
    with Zqd(tmp_path, *options, wrapper=clock.wrapper) as zqd, RawPeer(zqd.frontend) as late:
        worker = connect(zmq.REP, zqd.backend)
        first, second = (connect(zmq.REQ, zqd.frontend) for _ in range(2))
        first.send(b"first")
        assert worker.recv() == b"first"
        second.send(b"second")
        zqd.wait_until("the second one to wait", lambda queue: queue["queued"] == 1)
        for offset, days in ("+10d", 9), ("-10d", -11), ("+0", -1):
            clock.jump(offset)
            assert days_off(zqd) in {days, days + 1}
            queue = zqd.queue()
            assert (queue["queued"], queue["in_flight"]) == (1, 1)
            assert 0 <= queue["oldest_wait_s"] < LONG
            assert 0 <= zqd.status()["uptime_s"] < LONG
        worker.send(b"answer to first")
        assert first.recv() == b"answer to first"
        assert worker.recv() == b"second"
        worker.send(b"answer to second")
        assert second.recv() == b"answer to second"
        late.shake_hands(b"REQ")  # connected since before the jumps
        worker.close()
        zqd.wait_until("it to be gone", lambda queue: queue["workers"] == 0)
        crowd.worker(zqd.backend)
        crowd.client(zqd.frontend)
        for offset in "+1d", "-1d", "+100d", "+0":
            clock.jump(offset)
            crowd.goes_on()
        crowd.finish()
        queue = zqd.queue()
        assert (queue["retried"], queue["failed"], queue["dropped"], queue["late"]) == (0, 0, 0, 0)
        assert not zqd.log("peer.silent") + zqd.log("peer.refused") + zqd.log("worker.quarantined")


def test_timeouts_beside_a_clock_that_jumps(tmp_path: Path, clock: Clock, connect: Connect) -> None:
    """A time-out comes when it is due, though the wall clock has jumped back by days meanwhile."""
    with Zqd(tmp_path, "--set", "queues.default.queue_timeout=500ms", wrapper=clock.wrapper) as zqd:
        client = connect(zmq.REQ, zqd.frontend)
        client.send(b"in vain")
        clock.jump("-10d")
        assert client.recv() == b"ZQD-ERROR 504 waited too long"
        assert days_off(zqd) < -8
