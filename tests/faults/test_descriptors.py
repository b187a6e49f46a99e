from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from tests.conftest import Connect
from tests.faults.crowd import Crowd
from tests.faults.raw import RawPeer
from tests.support.processes import Zqd, wait_for

FEW = ("prlimit", "--nofile=100:100")  # 56 are zqd's reserve (zqd/daemon/daemon.py, FD_RESERVE)
ROOM = 44


@contextlib.contextmanager
def all_descriptors_taken(zqd: Zqd) -> Iterator[None]:
    """Let zqd open no other descriptor for a while."""
    before = resource.prlimit(zqd.pid, resource.RLIMIT_NOFILE)
    highest = max(int(fd) for fd in os.listdir(f"/proc/{zqd.pid}/fd"))
    resource.prlimit(zqd.pid, resource.RLIMIT_NOFILE, (highest + 1, before[1]))
    yield
    resource.prlimit(zqd.pid, resource.RLIMIT_NOFILE, before)


def reported_while(zqd: Zqd, event: str, seconds: float) -> tuple[int, float]:
    """How many lines of `event` zqd logs, and how much CPU time it uses, while so many seconds pass."""
    lines, cpu = len(zqd.log(event)), zqd.cpu()
    time.sleep(seconds)  # the time that is measured
    return len(zqd.log(event)) - lines, zqd.cpu() - cpu


def test_out_of_descriptors(zqd: Zqd, connect: Connect) -> None:
    """Connections that cannot be accepted are reported once a second, and who is connected is served as before."""
    client = connect(zmq.REQ, zqd.frontend)
    worker = connect(zmq.REP, zqd.backend)
    zqd.wait_until("both", lambda queue: queue["clients"] == queue["workers"] == 1)
    with all_descriptors_taken(zqd), contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(RawPeer(zqd.frontend))
        wait_for(lambda: zqd.log("accept.failed"), "the report")
        lines, cpu = reported_while(zqd, "accept.failed", 2.0)
        assert lines <= 3
        assert cpu < 0.5  # a spinning loop would use all of the two seconds
        client.send(b"body")
        worker.send(worker.recv())
        assert client.recv() == b"body"
    (line, *_) = zqd.log("accept.failed")
    assert (line["level"], line["endpoint"], line["reason"]) == ("error", zqd.frontend, "Too many open files")


def test_descriptors_come_back(zqd: Zqd, connect: Connect) -> None:
    """As soon as connections leave, those that had to wait are accepted, at no expense of theirs."""
    early = [RawPeer(zqd.frontend) for _ in range(5)]
    for peer in early:
        peer.shake_hands(b"REQ")
    zqd.wait_until("them", lambda queue: queue["clients"] == 5)
    with all_descriptors_taken(zqd), RawPeer(zqd.frontend) as late:
        wait_for(lambda: zqd.log("accept.failed"), "the report")
        for peer in early:
            peer.socket.close()
        late.shake_hands(b"REQ")


def test_room(tmp_path: Path) -> None:
    """Connections never take zqd's reserve: the control socket answers, and those beyond the room wait for theirs."""
    with Zqd(tmp_path, wrapper=FEW) as zqd, contextlib.ExitStack() as stack:
        peers = [stack.enter_context(RawPeer(zqd.frontend)) for _ in range(ROOM)]
        for peer in peers:
            peer.shake_hands(b"REQ")
        late = stack.enter_context(RawPeer(zqd.backend))
        wait_for(lambda: zqd.log("accept.full"), "the report")
        assert zqd.queue()["clients"] == ROOM
        lines, cpu = reported_while(zqd, "accept.full", 2.0)
        assert lines <= 3
        assert cpu < 0.5  # a spinning loop would use all of the two seconds
        peers[0].socket.close()
        late.shake_hands(b"REP")
        assert next(line["limit"] for line in zqd.log("accept.full")) == ROOM


@pytest.mark.parametrize(
    ("setting", "side", "kind", "count"),
    [("max_clients", "frontend", b"REQ", "clients"), ("max_workers", "backend", b"REP", "workers")],
)
def test_own_limits(tmp_path: Path, setting: str, side: str, kind: bytes, count: str) -> None:
    """`max_clients` and `max_workers` hold up those beyond them until one leaves."""
    with Zqd(tmp_path, "--set", f"queues.default.{setting}=2") as zqd, contextlib.ExitStack() as stack:
        first, _, late = peers = [stack.enter_context(RawPeer(getattr(zqd, side))) for _ in range(3)]
        for peer in peers[:2]:
            peer.shake_hands(kind)
        wait_for(lambda: zqd.log("accept.full"), "the report")
        assert zqd.queue()[count] == 2
        first.socket.close()
        late.shake_hands(kind)


def test_storm_at_the_limit(tmp_path: Path, crowd: Crowd) -> None:
    """While strangers take all the room again and again, who is connected is served, and newcomers get in between."""
    with Zqd(tmp_path, wrapper=FEW) as zqd:
        crowd.worker(zqd.backend)
        crowd.client(zqd.frontend, think=0.001)
        crowd.goes_on()
        for _ in range(3):
            with contextlib.ExitStack() as stack:
                for _ in range(2 * ROOM):
                    stack.enter_context(RawPeer(zqd.frontend))
                crowd.goes_on()
        with RawPeer(zqd.frontend) as peer:
            peer.shake_hands(b"REQ")
