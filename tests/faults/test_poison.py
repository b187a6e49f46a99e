from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from tests.conftest import Connect
from tests.faults.crowd import Crowd
from tests.support.processes import Zqd

# A REP that dies of a request that begins with "poison" after `sys.argv[2]` seconds, and is started again by a parent that
# has no ZeroMQ of its own, as systemd would. A prctl(2) lets no child outlive its parent.
MORTAL_WORKER = """
import ctypes, os, signal, sys, time
import zmq
while True:
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        continue
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    worker = zmq.Context().socket(zmq.REP)
    worker.connect(sys.argv[1])
    while True:
        request = worker.recv()
        if request.startswith(b"poison"):
            time.sleep(float(sys.argv[2]))
            os.kill(os.getpid(), signal.SIGKILL)
        worker.send(request)
"""

INNOCENTS = 15
LOST = b"ZQD-ERROR 502 worker lost"


@contextlib.contextmanager
def mortal_worker(zqd: Zqd, seconds: float = 0.0) -> Iterator[None]:
    """A worker that poison kills after so many seconds, and that comes again each time."""
    command = [sys.executable, "-c", MORTAL_WORKER, zqd.backend, str(seconds)]
    with subprocess.Popen(command) as process:
        try:
            yield
        finally:
            process.kill()


def settings(*pairs: str) -> list[str]:
    """The options that set these of the queue."""
    return [word for pair in pairs for word in ("--set", f"queues.default.{pair}")]


@pytest.mark.parametrize("max_attempts", [1, 3])
def test_innocents_behind_poison(tmp_path: Path, connect: Connect, max_attempts: int) -> None:
    """Rule 9: a request that kills its worker is the only one to fail, though 15 others were behind it every time."""
    with Zqd(tmp_path, *settings("prefetch=16", f"max_attempts={max_attempts}")) as zqd:
        client = connect(zmq.DEALER, zqd.frontend)
        client.send_multipart([b"poison", b"", b"poison"])
        for number in range(INNOCENTS):
            client.send_multipart([b"%d" % number, b"", b"innocent %d" % number])
        zqd.wait_until("all to wait", lambda queue: queue["queued"] == 1 + INNOCENTS)
        with mortal_worker(zqd):
            replies = {tag: body for tag, _, body in (client.recv_multipart() for _ in range(1 + INNOCENTS))}
        assert replies.pop(b"poison") == LOST
        assert replies == {b"%d" % number: b"innocent %d" % number for number in range(INNOCENTS)}
        assert [line["in_flight"] for line in zqd.log("worker.lost")] == [1 + INNOCENTS] * max_attempts
        queue = zqd.queue()
        assert (queue["received"], queue["replied"], queue["failed"]) == (1 + INNOCENTS, INNOCENTS, 1)
        assert queue["retried"] == max_attempts - 1


def test_poison_in_the_middle(tmp_path: Path, connect: Connect) -> None:
    """What was answered before the poison stays answered, what is behind it is not charged for it."""
    with Zqd(tmp_path, *settings("prefetch=16", "max_attempts=1")) as zqd:
        client = connect(zmq.DEALER, zqd.frontend)
        bodies = [b"innocent %d" % number for number in range(INNOCENTS)]
        bodies.insert(INNOCENTS // 2, b"poison")
        for body in bodies:
            client.send_multipart([body, b"", body])
        zqd.wait_until("all to wait", lambda queue: queue["queued"] == len(bodies))
        with mortal_worker(zqd, seconds=0.3):  # so that the answers before it have left
            replies = {tag: body for tag, _, body in (client.recv_multipart() for _ in bodies)}
        assert replies == {body: LOST if body == b"poison" else body for body in bodies}
        assert [line["in_flight"] for line in zqd.log("worker.lost")] == [1 + INNOCENTS - INNOCENTS // 2]


def test_poison_among_others(tmp_path: Path, crowd: Crowd, connect: Connect) -> None:
    """While poison kills one worker after the other, every other client gets its own answers, and the account is even."""
    with Zqd(tmp_path, *settings("prefetch=16", "max_attempts=3")) as zqd:
        for _ in range(8):
            crowd.client(zqd.frontend)
        crowd.worker(zqd.backend)  # it cannot die of poison, but answers with it
        poisoner = connect(zmq.DEALER, zqd.frontend)
        with mortal_worker(zqd, seconds=0.05), mortal_worker(zqd, seconds=0.05):
            crowd.goes_on()
            outcomes = []
            for number in range(20):
                poisoner.send_multipart([b"", b"poison %d" % number])
                outcomes.append(poisoner.recv_multipart()[1])
                crowd.goes_on(1)
            crowd.finish()
        assert set(outcomes) <= {LOST, *(b"poison %d" % number for number in range(20))}
        queue = zqd.queue()
        assert len(zqd.log("worker.lost")) > 0
        assert queue["received"] == queue["replied"] + queue["failed"] == crowd.answered + 20
        assert queue["failed"] == outcomes.count(LOST)
