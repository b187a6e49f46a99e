from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.conftest import Connect
from tests.faults.crowd import Crowd
from tests.support.processes import Zqd, wait_for

Row = dict[str, Any]

TWO_QUEUES = """
[queues.a]
frontend = ["tcp://127.0.0.1:0"]
backend = ["tcp://127.0.0.1:0"]
{a}

[queues.b]
frontend = ["tcp://127.0.0.1:0", "ipc://{folder}/b.frontend"]
backend = ["ipc://{folder}/b.backend"]
{b}
"""


class Queues(Zqd):
    """A zqd with the queues `a` and `b` of a configuration file; `a` and `b` are further lines of their tables."""

    def __init__(self, folder: Path, a: str = "", b: str = "") -> None:
        path = folder / "zqd.toml"
        path.write_text(TWO_QUEUES.format(a=a, b=b, folder=folder))
        super().__init__(folder, "--config", str(path), frontend=(), backend=())

    def queue(self, name: str = "a") -> Row:
        """One queue's row of the status."""
        return super().queue(name)

    def frontend_of(self, name: str) -> str:
        """Where a queue's clients connect."""
        endpoint: str = self.queue(name)["frontend"][0]
        return endpoint

    def backend_of(self, name: str) -> str:
        """Where a queue's workers connect."""
        endpoint: str = self.queue(name)["backend"][0]
        return endpoint

    def has(self, name: str, **wanted: object) -> Row:
        """A queue's row, once it is as wanted."""

        def met() -> Row | None:
            row = self.queue(name)
            return row if row | wanted == row else None

        return wait_for(met, f"the queue {name} to have {wanted}")

    def assert_even(self) -> None:
        """Law 3, of each queue."""
        for row in self.status()["queues"]:
            ended = row["replied"] + row["failed"] + row["dropped"]
            assert row["received"] == ended + row["queued"] + row["in_flight"], row


@pytest.fixture
def queues(tmp_path: Path) -> Iterator[Queues]:
    """A running zqd with two queues of default settings."""
    with Queues(tmp_path) as queues:
        yield queues


def test_the_status_lists_every_queue(queues: Queues, tmp_path: Path) -> None:
    """In the order of the file, each with its own endpoints."""
    a, b = queues.status()["queues"]
    assert (a["name"], b["name"]) == ("a", "b")
    assert b["backend"] == [f"ipc://{tmp_path}/b.backend"]
    assert len({*a["frontend"], *a["backend"], *b["frontend"], *b["backend"]}) == 5
    assert [row["name"] for row in queues.control("queues", queue="b")] == ["b"]


def test_a_request_stays_in_its_queue(queues: Queues, connect: Connect) -> None:
    """However idle the workers of the other one are; the counts are each queue's own."""
    worker = connect(zmq.REP, queues.backend_of("b"))
    queues.has("b", workers=1)
    mine, other = connect(zmq.REQ, queues.frontend_of("a")), connect(zmq.REQ, queues.frontend_of("b"))
    mine.send(b"to a")
    queues.has("a", queued=1)
    other.send(b"to b")
    assert worker.recv() == b"to b"
    worker.send(b"from b")
    assert other.recv() == b"from b"
    assert not worker.poll(0)
    queues.has("a", received=1, replied=0, workers=0, clients=1)
    queues.has("b", received=1, replied=1, workers=1, clients=1)
    worker = connect(zmq.REP, queues.backend_of("a"))
    assert worker.recv() == b"to a"
    queues.assert_even()


def test_lists_can_be_of_one_queue(queues: Queues, connect: Connect) -> None:
    """Peers and requests say where they belong; ids are unique in the daemon."""
    for name in ("a", "b"):
        connect(zmq.REP, queues.backend_of(name))
        queues.has(name, workers=1)
        client = connect(zmq.DEALER, queues.frontend_of(name))
        for _ in range(2):
            client.send_multipart([b"", b"body"])
        queues.has(name, queued=1, in_flight=1)
    for command, each in (("workers", 1), ("clients", 1), ("requests", 2)):
        rows = queues.control(command)
        assert sorted(row["queue"] for row in rows) == ["a"] * each + ["b"] * each
        mine = [row["id"] for row in queues.control(command, queue="b")]
        assert mine == [row["id"] for row in rows if row["queue"] == "b"]
    ids = [row["id"] for command in ("workers", "clients") for row in queues.control(command)]
    assert len(set(ids)) == 4


@pytest.mark.parametrize(("order", "state"), [("pause", "paused"), ("drain", "drained")])
def test_an_order_is_for_one_queue(queues: Queues, crowd: Crowd, order: str, state: str) -> None:
    """The other one goes on, and so does this one after its resume."""
    first = {}
    for name in ("a", "b"):
        crowd.worker(queues.backend_of(name))
        first[name] = crowd.client(queues.frontend_of(name))
    crowd.goes_on()
    named: dict[str, Any] = {"pause": {"queue": "a"}, "drain": {"target": "a"}}[order]
    queues.control(order, **named)
    row = queues.has("a", state=state, in_flight=0)
    done = first["b"].done
    wait_for(lambda: first["b"].done >= done + 100, "the other queue to go on")
    assert queues.queue("b")["state"] == "running"
    assert queues.queue("a")["replied"] == row["replied"]
    queues.control("resume", target="a")
    crowd.goes_on()
    crowd.finish()
    queues.assert_even()
    assert sum(row["replied"] for row in queues.status()["queues"]) == crowd.answered


def test_a_full_queue_without_workers_holds_up_no_other(
    tmp_path: Path, connect: Connect, crowd: Crowd
) -> None:
    """Its client is not read any more; the other queue's are served as ever."""
    with Queues(tmp_path, a='max_queued = 10\ndrain_timeout = "100ms"') as queues:
        flood = connect(zmq.DEALER, queues.frontend_of("a"))
        for _ in range(500):
            flood.send_multipart([b"", bytes(1000)])
        wait_for(
            lambda: [row["state"] for row in queues.control("clients")] == ["paused"], "the queue to be full"
        )
        crowd.worker(queues.backend_of("b"))
        crowd.client(queues.frontend_of("b"))
        crowd.goes_on(100)
        queues.has("a", queued=10, received=10)
        crowd.finish()
        queues.has("b", received=crowd.answered, replied=crowd.answered)
        queues.assert_even()


def test_limits_are_each_queues_own(tmp_path: Path, connect: Connect) -> None:
    """One refuses what the other takes."""
    with Queues(tmp_path, a='max_queued = 1\noverload = "reject"') as queues:
        for name in ("a", "b"):
            client = connect(zmq.DEALER, queues.frontend_of(name))
            for body in (b"one", b"two", b"three"):
                client.send_multipart([b"", body])
            if name == "a":
                for _ in range(2):
                    assert client.recv_multipart() == [b"", b"ZQD-ERROR 503 the queue is full"]
        queues.has("a", queued=1, failed=2)
        queues.has("b", queued=3, failed=0)
        queues.assert_even()


def test_time_outs_are_each_queues_own(tmp_path: Path, connect: Connect) -> None:
    """What is over for one waits on in the other."""
    with Queues(tmp_path, a='queue_timeout = "200ms"', b='queue_timeout = "1h"') as queues:
        patient, hasty = connect(zmq.REQ, queues.frontend_of("b")), connect(zmq.REQ, queues.frontend_of("a"))
        patient.send(b"body")
        queues.has("b", queued=1)
        hasty.send(b"body")
        assert hasty.recv() == b"ZQD-ERROR 504 waited too long"
        queues.has("b", queued=1, failed=0)
        queues.assert_even()


def test_workers_lost_in_one_queue_are_nothing_to_the_other(queues: Queues, crowd: Crowd) -> None:
    """Under load each client gets its own replies, and each account is even."""
    doomed = [crowd.worker(queues.backend_of("a"), seconds=0.005) for _ in range(3)]
    crowd.worker(queues.backend_of("b"))
    for name in ("a", "a", "a", "a", "b"):
        crowd.client(queues.frontend_of(name))
    crowd.goes_on()
    for worker in doomed:
        crowd.worker(queues.backend_of("a"), seconds=0.005)
        worker.kill()
        crowd.goes_on()
    queues.has("a", workers=3)
    crowd.finish()
    queues.assert_even()
    a, b = queues.status()["queues"]
    assert a["retried"] > 0
    assert b["retried"] == 0
    assert a["replied"] + b["replied"] == crowd.answered
    assert a["failed"] + a["dropped"] + b["failed"] + b["dropped"] == 0


def test_a_kick_is_of_one_queue(queues: Queues, connect: Connect) -> None:
    """Ids name a connection of the daemon, whichever queue it belongs to."""
    client, other = connect(zmq.REQ, queues.frontend_of("b")), connect(zmq.REP, queues.backend_of("a"))
    connect(zmq.REP, queues.backend_of("b"), reconnect_ivl=-1)
    queues.has("a", workers=1)
    queues.has("b", workers=1)
    client.send(b"one")
    queues.has("b", in_flight=1)
    (row,) = queues.control("workers", queue="b")
    queues.control("kick", peer=row["id"])
    queues.has("b", workers=0, queued=1)
    queues.has("a", workers=1, received=0)
    assert not other.poll(0)


def test_a_stop_ends_every_queue(queues: Queues, connect: Connect, tmp_path: Path) -> None:
    """What each of them has read is answered, and what it has made is removed."""
    workers, clients = [], []
    for name in ("a", "b"):
        workers.append(connect(zmq.REP, queues.backend_of(name)))
        clients.append(connect(zmq.REQ, queues.frontend_of(name)))
        clients[-1].send(name.encode())
        queues.has(name, in_flight=1)
    bodies = [worker.recv() for worker in workers]
    assert queues.process is not None
    queues.process.terminate()
    wait_for(lambda: len(queues.log("queue.stopping")) == 2, "both to stop")
    for worker, body in zip(workers, bodies, strict=True):
        worker.send(body)
    assert [client.recv() for client in clients] == [b"a", b"b"]
    assert queues.process.wait(60) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["zqd.log", "zqd.toml"]
