from __future__ import annotations

from pathlib import Path

import pytest
import zmq

from tests.conftest import Connect
from tests.faults.raw import RawPeer
from tests.support.processes import Zqd, wait_for
from zqd.zmtp.frames import encode_message

PIPELINED = 20_000
MOST_BEFORE = 3  # the one that runs, the pipelining client's turn, and perhaps the oldest of all (law 6)


@pytest.fixture
def pipeline() -> bytes:
    """So many requests of one client, as bytes."""
    return b"".join(encode_message([b"", b"%d" % number]) for number in range(PIPELINED))


def waiting_singles(zqd: Zqd) -> int:
    """How many requests wait of all clients but the first, which is the greedy one."""
    return sum(row["queued"] for row in zqd.control("clients")[1:])


@pytest.mark.parametrize("max_queued", [2 * PIPELINED, 100], ids=["at dispatch", "at admission"])
def test_single_request_beside_a_pipeline(
    tmp_path: Path, connect: Connect, pipeline: bytes, max_queued: int
) -> None:
    """A single request waits for two or three of the 20,000 that another client has sent before, wherever those are."""
    with (
        Zqd(tmp_path, "--set", f"queues.default.max_queued={max_queued}") as zqd,
        RawPeer(zqd.frontend) as greedy,
    ):
        greedy.shake_hands(b"DEALER")
        greedy.send(pipeline)
        worker = connect(zmq.REP, zqd.backend)
        single = connect(zmq.REQ, zqd.frontend)
        sent = min(PIPELINED, max_queued)
        waiting = zqd.wait_until(
            "the pipeline to wait, or its client to be paused",
            lambda queue: queue["queued"] + queue["in_flight"] >= sent,
        )
        assert waiting["received"] <= sent + 1
        before: list[int] = []
        for number in range(20):
            single.send(b"single %d" % number)
            wait_for(
                lambda: waiting_singles(zqd) == 1, "it to wait"
            )  # the worker holds another one meanwhile
            before.append(0)
            while not (request := worker.recv()).startswith(b"single"):
                before[-1] += 1
                worker.send(request)
            worker.send(request)
            assert single.recv() == b"single %d" % number
        assert max(before) <= MOST_BEFORE, before


def test_many_single_requests_beside_a_pipeline(zqd: Zqd, connect: Connect, pipeline: bytes) -> None:
    """Of what is answered while 20 clients ask one by one, a pipelining one gets its turn and an eighth, no more."""
    with RawPeer(zqd.frontend) as greedy:
        greedy.shake_hands(b"DEALER")
        greedy.send(pipeline)
        zqd.wait_until("the queue to be full", lambda queue: queue["queued"] == 10_000)
        worker = connect(zmq.REP, zqd.backend)
        singles = [connect(zmq.REQ, zqd.frontend) for _ in range(20)]
        zqd.wait_until("all clients", lambda queue: queue["clients"] == 21)
        of_greedy = 0
        for round_ in range(5):
            for single in singles:
                single.send(b"single %d" % round_)
            wait_for(lambda: waiting_singles(zqd) == 20, "all of them to wait")
            answered = 0
            while answered < 20:
                request = worker.recv()
                answered += request.startswith(b"single")
                of_greedy += not request.startswith(b"single")
                worker.send(request)
            assert {single.recv() for single in singles} == {b"single %d" % round_}
        assert of_greedy <= 5 * (20 // 7 + MOST_BEFORE)
