"""Heartbeats between libzmq peers and a real zqd: nobody who lives is cut off."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import zmq

from tests.conftest import Connect
from tests.interop.peers import exchange, freeze, monitored
from tests.support.processes import Zqd, wait_for

HEARTBEATS = {"heartbeat_ivl": 100, "heartbeat_timeout": 800}  # milliseconds
BACKEND_HEARTBEATS = (
    "--set=queues.default.backend_heartbeat_interval=100ms",
    "--set=queues.default.heartbeat_timeout=800ms",
)
LONGER = 2.0  # seconds: than that time-out

SILENT_WORKER = """
import sys, zmq
worker = zmq.Context().socket(zmq.REP)
worker.connect(sys.argv[1])
worker.recv()
"""


def test_an_idle_client_with_heartbeats_stays(zqd: Zqd, connect: Connect) -> None:
    """A client that sends heartbeats and nothing else for longer than its time-out keeps its connection."""
    worker = connect(zmq.REP, zqd.backend)
    client = connect(zmq.REQ, **HEARTBEATS)
    with monitored(client) as monitor:
        client.connect(zqd.frontend)
        exchange(client, worker)
        assert not monitor.wait_for(zmq.Event.DISCONNECTED, patience=LONGER)
        exchange(client, worker)
        assert monitor.seen.count(zmq.Event.CONNECTED) == 1


def test_a_busy_worker_with_heartbeats_stays(zqd: Zqd, connect: Connect) -> None:
    """A worker that sends heartbeats and works for longer than its time-out keeps its connection and its request."""
    client = connect(zmq.REQ, zqd.frontend)
    worker = connect(zmq.REP, **HEARTBEATS)
    with monitored(worker) as monitor:
        worker.connect(zqd.backend)
        client.send(b"long work")
        assert worker.recv() == b"long work"
        assert not monitor.wait_for(zmq.Event.DISCONNECTED, patience=LONGER)
        worker.send(b"done")
        assert client.recv() == b"done"
    row = zqd.queue()
    assert (row["replied"], row["retried"]) == (1, 0)


def test_a_busy_worker_answers_heartbeats(tmp_path: Path, connect: Connect) -> None:
    """A worker that works for longer than `heartbeat_timeout` keeps its connection: libzmq answers for it."""
    with Zqd(tmp_path, *BACKEND_HEARTBEATS) as zqd:
        client, worker = connect(zmq.REQ, zqd.frontend), connect(zmq.REP)
        with monitored(worker) as monitor:
            worker.connect(zqd.backend)
            client.send(b"long work")
            assert worker.recv() == b"long work"
            assert not monitor.wait_for(zmq.Event.DISCONNECTED, patience=LONGER)
            worker.send(b"done")
            assert client.recv() == b"done"
        assert zqd.log("peer.silent") == []


def test_a_worker_that_does_not_answer_heartbeats_is_replaced(tmp_path: Path, connect: Connect) -> None:
    """A stopped process answers no heartbeat: its connection is closed, and another worker gets its request."""
    with Zqd(tmp_path, *BACKEND_HEARTBEATS) as zqd:
        client = connect(zmq.REQ, zqd.frontend)
        with subprocess.Popen([sys.executable, "-c", SILENT_WORKER, zqd.backend], text=True) as stopped:
            try:
                zqd.wait_until("the worker", lambda row: row["workers"] == 1)
                freeze(stopped)
                client.send(b"question")
                (silent,) = wait_for(lambda: zqd.log("peer.silent"), "it to be cut off")
            finally:
                stopped.kill()
        assert silent["seconds"] >= 0.8
        worker = connect(zmq.REP, zqd.backend)
        assert worker.recv() == b"question"
        worker.send(b"answer")
        assert client.recv() == b"answer"
        assert zqd.queue()["retried"] == 1


def test_a_paused_client_with_heartbeats_stays(tmp_path: Path, connect: Connect) -> None:
    """A client that is not read for longer than its time-out, because the queue is full, keeps its connection."""
    with Zqd(tmp_path, "--set", "queues.default.max_queued=1") as zqd:
        client = connect(zmq.DEALER, heartbeat_ivl=200, heartbeat_timeout=2000)
        with monitored(client) as monitor:
            client.connect(zqd.frontend)
            for number in range(10):
                client.send_multipart([b"", b"%d" % number])
            assert not monitor.wait_for(zmq.Event.DISCONNECTED, patience=4.0)
            assert zqd.log("client.paused")
            worker = connect(zmq.REP, zqd.backend)
            for number in range(10):
                assert worker.recv() == b"%d" % number
                worker.send(b"answer %d" % number)
            assert [client.recv_multipart()[1] for _ in range(10)] == [
                b"answer %d" % number for number in range(10)
            ]
            assert monitor.seen.count(zmq.Event.CONNECTED) == 1
