from __future__ import annotations

import random
from pathlib import Path

import pytest
import zmq

from tests.conftest import Connect
from tests.faults.crowd import Crowd
from tests.support.processes import Zqd, wait_for

REQUESTS = 3000


@pytest.mark.slow
def test_killed_under_load(tmp_path: Path, crowd: Crowd) -> None:
    """While workers are killed and others come, every client gets its own reply exactly once, and the account is even."""
    dice = random.Random(2)
    with Zqd(tmp_path, "--set", "queues.default.max_attempts=1000") as zqd:
        alive = [crowd.worker(zqd.backend, seconds=0.004) for _ in range(8)]
        for _ in range(24):
            crowd.client(zqd.frontend)
        kills = 0
        while crowd.answered < REQUESTS:
            before = crowd.answered
            victim = alive.pop(dice.randrange(len(alive)))
            victim.kill()
            kills += 1
            alive.append(crowd.worker(zqd.backend, seconds=0.004))
            wait_for(lambda: crowd.answered > before + 10, "requests to be answered")  # noqa: B023 - called at once
        crowd.finish()
        queue = zqd.queue()
        assert kills > 50
        assert queue["retried"] > kills // 2
        assert queue["received"] == queue["replied"] == crowd.answered
        assert queue["failed"] == queue["dropped"] == queue["queued"] == queue["in_flight"] == 0
        assert queue["orphaned"] == queue["late"] == queue["malformed"] == 0


def test_killed_in_mid_request(zqd: Zqd, crowd: Crowd, connect: Connect) -> None:
    """The request of a worker that is killed in the middle of it is answered by another."""
    victim = crowd.worker(zqd.backend, seconds=3600.0)
    zqd.wait_until("the worker", lambda queue: queue["workers"] == 1)
    client = connect(zmq.REQ, zqd.frontend)
    client.send(b"precious")
    zqd.wait_until("the request to run", lambda queue: queue["in_flight"] == 1)
    other = crowd.worker(zqd.backend)
    victim.kill()
    assert client.recv_multipart()[:2] == [b"precious", str(other.pid).encode()]
    assert zqd.queue()["retried"] == 1
    (lost,) = zqd.log("worker.lost")
    assert lost["in_flight"] == 1


def test_last_attempt(zqd: Zqd, crowd: Crowd, connect: Connect) -> None:
    """A request that kills every worker fails with 502 after its third attempt, and the next one is answered."""
    client = connect(zmq.REQ, zqd.frontend)
    client.send(b"poison")
    for attempt in range(3):
        victim = crowd.worker(zqd.backend, seconds=3600.0)
        zqd.wait_until("the request to run", lambda queue: queue["in_flight"] == 1)
        victim.kill()
        zqd.wait_until("the loss to be seen", lambda queue: queue["workers"] == 0)
        assert zqd.queue()["retried"] == min(attempt + 1, 2)
    assert client.recv() == b"ZQD-ERROR 502 worker lost"
    crowd.worker(zqd.backend)
    client.send(b"harmless")
    assert client.recv_multipart()[0] == b"harmless"
    queue = zqd.queue()
    assert (queue["received"], queue["replied"], queue["failed"]) == (2, 1, 1)
