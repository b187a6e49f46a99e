from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest
import zmq

from tests.conftest import Connect
from tests.faults.crowd import Crowd
from tests.support.processes import Zqd, steady_endpoint, wait_for


def steady_zqd(folder: Path, *options: str) -> Zqd:
    """A zqd that listens at the same endpoints whenever it is started."""
    return Zqd(folder, *options, frontend=[steady_endpoint()], backend=[steady_endpoint()])


def test_stale_reply(tmp_path: Path, crowd: Crowd, connect: Connect) -> None:
    """The reply to a request of a killed broker is an orphan for its successor, and reaches nobody."""
    with steady_zqd(tmp_path) as zqd:
        worker = crowd.worker(zqd.backend, seconds=0.5)
        connect(zmq.REQ, zqd.frontend).send(b"of the first broker")
        zqd.wait_until("the request to run", lambda queue: queue["in_flight"] == 1)
        zqd.kill()
        zqd.start()
        client = connect(zmq.REQ, zqd.frontend)
        client.send(b"of the second")
        assert client.recv_multipart()[:2] == [b"of the second", str(worker.pid).encode()]
        queue = zqd.queue()
        assert (queue["orphaned"], queue["replied"]) == (1, 1)
        assert len(zqd.log("reply.orphaned")) == 1


def test_no_cross_talk(tmp_path: Path, crowd: Crowd) -> None:
    """However often the broker is killed while workers hold requests, no client gets another's answer."""
    orphaned = 0
    with steady_zqd(tmp_path) as zqd:
        for _ in range(4):
            crowd.worker(zqd.backend, seconds=0.02)
        for _ in range(20):
            crowd.correlating_client(zqd.frontend, patience=0.3)
        for _ in range(8):
            crowd.goes_on()
            orphaned += zqd.queue()["orphaned"]
            zqd.kill()
            zqd.start()
        crowd.goes_on()
        orphaned += zqd.queue()["orphaned"]
        crowd.finish()
    assert orphaned > 8


@pytest.mark.slow
def test_a_stop_strands_nobody(tmp_path: Path, crowd: Crowd) -> None:
    """While zqd is stopped and started ten times, 50 REQ clients in a loop have every request answered exactly once."""
    with steady_zqd(tmp_path) as zqd:
        for _ in range(4):
            crowd.worker(zqd.backend)
        for _ in range(50):
            crowd.client(zqd.frontend)
        for _ in range(10):
            crowd.goes_on()
            assert zqd.stop() == 0
            zqd.start()
        crowd.goes_on()
        crowd.finish()
        assert sum(worker.done for worker in crowd.workers) == crowd.answered
        assert not zqd.log("request.failed")
        assert not zqd.log("request.refused")
        assert len(zqd.log("zqd.stopped")) == 10


def test_busy_workers_at_a_stop(tmp_path: Path, crowd: Crowd) -> None:
    """A stop waits for what is running and waiting, and then every client goes on with the successor."""
    with steady_zqd(tmp_path) as zqd:
        for _ in range(2):
            crowd.worker(zqd.backend, seconds=0.02)
        for _ in range(10):
            crowd.client(zqd.frontend)
        for _ in range(3):
            crowd.goes_on()
            assert zqd.stop() == 0
            zqd.start()
        crowd.goes_on()
        crowd.finish()
        assert sum(worker.done for worker in crowd.workers) == crowd.answered


@pytest.mark.parametrize("drain_timeout", ["10s", "200ms"])
def test_pipelining_client_at_a_stop(
    tmp_path: Path, crowd: Crowd, connect: Connect, drain_timeout: str
) -> None:
    """A stop answers each request of a pipelining client once at most: its reply, or 503."""
    sent = 500
    with Zqd(tmp_path, "--set", f"queues.default.drain_timeout={drain_timeout}") as zqd:
        worker = crowd.worker(zqd.backend, seconds=0.002)
        client = connect(zmq.DEALER, zqd.frontend, sndhwm=0, rcvhwm=0)
        for number in range(sent):
            client.send_multipart([b"%d" % number, b"", b"body"])
        zqd.wait_until("some replies", lambda queue: queue["replied"] >= 10)
        assert zqd.process is not None
        zqd.process.send_signal(signal.SIGTERM)
        answers: dict[bytes, list[bytes]] = {}
        times: Counter[bytes] = Counter()
        while client.poll(100) or zqd.process.poll() is None:
            if client.poll(0):
                name, empty, body, *_ = client.recv_multipart()
                assert empty == b""
                times[name] += 1
                answers.setdefault(body, []).append(name)
        assert zqd.process.wait() == 0
        failed = answers.pop(b"ZQD-ERROR 503 stopping", [])
        replied = answers.pop(b"body")
        assert not answers
        assert set(times.values()) == {1}
        assert len(replied) == worker.done if drain_timeout == "10s" else len(replied) <= worker.done
        assert bool(failed) == (drain_timeout == "200ms")
        assert len(replied) + len(failed) <= sent


def test_endpoints_are_free_at_once(tmp_path: Path, connect: Connect) -> None:
    """A zqd that follows on a killed one has the same endpoints at once, whatever is left of the old connections."""
    with steady_zqd(tmp_path) as zqd:
        client = connect(zmq.REQ, zqd.frontend)
        worker = connect(zmq.REP, zqd.backend)
        for body in (b"first", b"second"):
            client.send(body)
            worker.send(worker.recv())
            assert client.recv() == body
            zqd.kill()
            zqd.start()
            wait_for(lambda: zqd.queue()["clients"] == zqd.queue()["workers"] == 1, "the peers to come back")
