from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.conftest import Connect
from tests.faults.crowd import Crowd
from tests.faults.raw import RawPeer
from tests.support.processes import Zqd, wait_for

Row = dict[str, Any]


def settings(*pairs: str) -> list[str]:
    """The options that set these of the queue."""
    return [word for pair in pairs for word in ("--set", f"queues.default.{pair}")]


def workers(zqd: Zqd, count: int) -> list[Row]:
    """The rows of so many workers, once they have joined, oldest first."""
    zqd.wait_until(f"{count} workers", lambda queue: queue["workers"] == count)
    rows = zqd.control("workers")
    assert isinstance(rows, list)
    return rows


def worker_is(zqd: Zqd, worker: str, **wanted: object) -> Row:
    """The row of a worker, once it is as wanted."""

    def met() -> Row | None:
        rows = [row for row in zqd.control("workers") if row["id"] == worker]
        return next((row for row in rows if row | wanted == row), None)

    return wait_for(met, f"{worker} to be {wanted}")


def ids(zqd: Zqd) -> list[str]:
    """The ids of the unanswered requests, oldest first."""
    return [row["id"] for row in zqd.control("requests")]


def assert_even(row: Row) -> None:
    """Law 3."""
    ended = row["replied"] + row["failed"] + row["dropped"]
    assert row["received"] == ended + row["queued"] + row["in_flight"], row


# Pause


def test_rule_23_a_pause_holds_requests_and_a_resume_lets_go(zqd: Zqd, connect: Connect) -> None:
    """Though a worker is idle; what came meanwhile is answered."""
    worker, client = connect(zmq.REP, zqd.backend), connect(zmq.REQ, zqd.frontend)
    workers(zqd, 1)
    answer = {"name": "default", "state": "paused", "workers": 1, "queued": 0, "in_flight": 0}
    assert zqd.control("pause") == answer
    client.send(b"one")
    row = zqd.wait_until("it to wait", lambda queue: queue["queued"] == 1)
    assert (row["state"], row["idle_workers"], row["in_flight"]) == ("paused", 1, 0)
    assert row["saturation"].startswith("paused: nothing is dispatched, oldest wait ")
    assert zqd.control("resume") == answer | {"state": "running", "in_flight": 1}
    assert worker.recv() == b"one"
    worker.send(b"done")
    assert client.recv() == b"done"
    assert [line["event"] for line in zqd.log() if line["event"] in {"queue.paused", "queue.running"}] == [
        "queue.paused",
        "queue.running",
    ]


def test_rule_23_what_is_in_flight_at_a_pause_is_answered(zqd: Zqd, connect: Connect) -> None:
    """Only dispatching stops."""
    worker, client = connect(zmq.REP, zqd.backend), connect(zmq.REQ, zqd.frontend)
    client.send(b"one")
    assert worker.recv() == b"one"
    zqd.control("pause")
    worker.send(b"done")
    assert client.recv() == b"done"
    assert zqd.queue()["state"] == "paused"


def test_rule_23_in_a_pause_clients_are_read_to_the_limits(tmp_path: Path, connect: Connect) -> None:
    """And not beyond; all is answered after it."""
    with Zqd(tmp_path, *settings("max_queued=3")) as zqd:
        worker, client = connect(zmq.REP, zqd.backend), connect(zmq.DEALER, zqd.frontend)
        workers(zqd, 1)
        zqd.control("pause")
        for number in range(10):
            client.send_multipart([b"", b"%d" % number])
        zqd.wait_until("the queue to be full", lambda queue: queue["queued"] == 3)
        wait_for(lambda: zqd.control("clients")[0]["state"] == "paused", "the client to be paused")
        assert zqd.queue()["received"] == 3
        zqd.control("resume")
        for number in range(10):
            worker.send(worker.recv())
            assert client.recv_multipart() == [b"", b"%d" % number]


def test_rule_23_in_a_pause_waiting_requests_time_out(tmp_path: Path, connect: Connect) -> None:
    """`queue_timeout` goes on counting."""
    with Zqd(tmp_path, *settings("queue_timeout=200ms")) as zqd:
        connect(zmq.REP, zqd.backend)
        workers(zqd, 1)
        zqd.control("pause")
        client = connect(zmq.REQ, zqd.frontend)
        client.send(b"one")
        assert client.recv() == b"ZQD-ERROR 504 waited too long"
        assert_even(zqd.queue())


def test_rule_23_in_a_pause_running_requests_time_out(tmp_path: Path, connect: Connect) -> None:
    """`request_timeout` goes on counting: the worker is quarantined."""
    with Zqd(tmp_path, *settings("request_timeout=200ms", "max_attempts=1")) as zqd:
        worker, client = connect(zmq.REP, zqd.backend), connect(zmq.REQ, zqd.frontend)
        client.send(b"one")
        assert worker.recv() == b"one"
        zqd.control("pause")
        assert client.recv() == b"ZQD-ERROR 504 ran too long"
        (row,) = zqd.control("workers")
        assert row["state"] == "quarantined"


# Drain a queue


def test_rule_23_a_drained_queue_reads_no_client_and_finishes_what_is_there(
    zqd: Zqd, connect: Connect
) -> None:
    """What is waiting and in flight is answered, then it is `drained`; what came meanwhile is read after the resume."""
    worker, early = connect(zmq.REP, zqd.backend), connect(zmq.DEALER, zqd.frontend)
    workers(zqd, 1)
    for body in (b"one", b"two", b"three"):
        early.send_multipart([b"", body])
    zqd.wait_until("all three", lambda queue: (queue["in_flight"], queue["queued"]) == (1, 2))
    assert zqd.control("drain")["state"] == "draining"
    late = connect(zmq.REQ, zqd.frontend)
    late.send(b"late")
    wait_for(
        lambda: [row["state"] for row in zqd.control("clients")] == ["active", "paused"],
        "the late client to be held",
    )
    for body in (b"one", b"two", b"three"):
        assert zqd.queue()["state"] == "draining"
        assert worker.recv() == body
        worker.send(body)
        assert early.recv_multipart() == [b"", body]
    row = zqd.wait_until("the drain to be over", lambda queue: queue["state"] == "drained")
    assert (row["received"], row["replied"], row["queued"], row["in_flight"]) == (3, 3, 0, 0)
    assert zqd.control("resume")["state"] == "running"
    assert worker.recv() == b"late"
    worker.send(b"served")
    assert late.recv() == b"served"
    assert_even(zqd.queue())


def test_rule_23_a_drain_and_a_resume_under_load_lose_nothing(zqd: Zqd, crowd: Crowd) -> None:
    """Every client goes on with its own answers."""
    for _ in range(2):
        crowd.worker(zqd.backend)
    for _ in range(5):
        crowd.client(zqd.frontend)
    for _ in range(5):
        crowd.goes_on()
        answer = zqd.control("drain", wait=True)
        assert (answer["state"], answer["queued"], answer["in_flight"]) == ("drained", 0, 0)
        row = zqd.queue()
        assert row["received"] == row["replied"]
        zqd.control("resume")
    crowd.goes_on()
    crowd.finish()
    row = zqd.queue()
    assert row["received"] == row["replied"] == crowd.answered
    assert row["retried"] == row["failed"] == row["dropped"] == row["orphaned"] == row["late"] == 0


def test_rule_23_a_drain_of_a_paused_queue_ends_the_pause(zqd: Zqd, connect: Connect) -> None:
    """Or what waits would never be finished."""
    worker, client = connect(zmq.REP, zqd.backend), connect(zmq.REQ, zqd.frontend)
    zqd.control("pause")
    client.send(b"one")
    zqd.wait_until("it to wait", lambda queue: queue["queued"] == 1)
    zqd.control("drain")
    worker.send(worker.recv())
    assert client.recv() == b"one"
    zqd.wait_until("the drain to be over", lambda queue: queue["state"] == "drained")


def test_rule_23_a_queue_that_drains_cannot_be_paused(zqd: Zqd) -> None:
    """It is said, with what the queue is; an order that did nothing must not look like one that did."""
    zqd.control("drain")
    with pytest.raises(AssertionError, match="queue default is drained, so this cannot be done now"):
        zqd.control("pause")
    assert zqd.queue()["state"] == "drained"


def test_rule_22_a_drained_queue_stops_like_any_other(zqd: Zqd, connect: Connect) -> None:
    """Its clients are ended, and the exit status is 0."""
    client = connect(zmq.REQ, zqd.frontend)
    zqd.wait_until("the client", lambda queue: queue["clients"] == 1)
    zqd.control("drain")
    client.send(b"late")
    wait_for(lambda: zqd.control("clients")[0]["state"] == "paused", "it to be held")
    assert zqd.stop() == 0


# Drain a worker


def test_rule_23_a_drained_worker_gets_nothing_more(zqd: Zqd, connect: Connect) -> None:
    """It finishes what it holds, others get the rest, and a resume gives it work again."""
    first = connect(zmq.DEALER, zqd.backend, routing_id=b"first")
    (row,) = workers(zqd, 1)
    second = connect(zmq.REP, zqd.backend)
    workers(zqd, 2)
    clients = [connect(zmq.REQ, zqd.frontend) for _ in range(3)]
    clients[0].send(b"one")
    envelope = first.recv_multipart()[:-1]
    answer = {"id": row["id"], "name": "first", "state": "draining", "in_flight": 1}
    assert zqd.control("drain", target="first") == answer
    clients[1].send(b"two")
    assert second.recv() == b"two"
    first.send_multipart([*envelope, b"by first"])
    assert clients[0].recv() == b"by first"
    assert zqd.control("drain", target=row["id"], wait=True) == answer | {"in_flight": 0}
    clients[2].send(b"three")
    zqd.wait_until("it to wait", lambda queue: queue["queued"] == 1)
    assert zqd.control("resume", target="first") == answer | {"state": "busy"}
    assert first.recv_multipart()[-1] == b"three"


def test_rule_23_the_last_workers_drain_leaves_requests_waiting(zqd: Zqd, connect: Connect) -> None:
    """They are not failed; the status says what is needed."""
    connect(zmq.REP, zqd.backend)
    (row,) = workers(zqd, 1)
    zqd.control("drain", target=row["id"])
    connect(zmq.REQ, zqd.frontend).send(b"one")
    queue = zqd.wait_until("it to wait", lambda queue: queue["queued"] == 1)
    assert queue["saturation"].startswith("0 of 1 workers busy, 1 draining, oldest wait ")
    assert queue["saturation"].endswith(": start workers")


# Kick


def test_rule_23_the_request_of_a_kicked_worker_goes_to_another(zqd: Zqd, connect: Connect) -> None:
    """The client does not notice; the worker may come back, as another one."""
    connect(zmq.REP, zqd.backend)
    (kicked,) = workers(zqd, 1)
    client = connect(zmq.REQ, zqd.frontend)
    client.send(b"one")
    worker_is(zqd, kicked["id"], state="busy")
    other = connect(zmq.REP, zqd.backend)
    workers(zqd, 2)
    assert zqd.control("kick", peer=kicked["id"]) == {"kicked": kicked["id"]}
    assert other.recv() == b"one"
    other.send(b"by another")
    assert client.recv() == b"by another"
    assert kicked["id"] not in [row["id"] for row in workers(zqd, 2)]
    row = zqd.queue()
    assert (row["retried"], row["replied"]) == (1, 1)
    assert len(zqd.log("peer.kicked")) == len(zqd.log("worker.lost")) == 1


def test_rule_23_a_kicked_clients_requests_are_dropped(zqd: Zqd, connect: Connect) -> None:
    """The waiting ones at once, the one that runs when its worker answers, who then gets the next client's."""
    worker = connect(zmq.REP, zqd.backend)
    workers(zqd, 1)
    with RawPeer(zqd.frontend) as client:
        client.shake_hands(b"DEALER")
        for body in (b"one", b"two", b"three"):
            client.send_message(b"", body)
        zqd.wait_until("all three", lambda queue: (queue["in_flight"], queue["queued"]) == (1, 2))
        (row,) = zqd.control("clients")
        zqd.control("kick", peer=row["id"])
        assert client.read_to_end() == b""
    row = zqd.wait_until("it to be gone", lambda queue: queue["clients"] == 0)
    assert (row["dropped"], row["queued"], row["in_flight"]) == (2, 0, 1)
    worker.send(worker.recv())
    zqd.wait_until("the last one to be dropped", lambda queue: queue["dropped"] == 3)
    other = connect(zmq.REQ, zqd.frontend)
    other.send(b"four")
    assert worker.recv() == b"four"
    assert_even(zqd.queue())


# Cancel


def test_rule_23_a_waiting_request_is_cancelled(zqd: Zqd, connect: Connect) -> None:
    """Its client is told at once, and no worker ever sees it."""
    clients = [connect(zmq.REQ, zqd.frontend) for _ in range(2)]
    for number, client in enumerate(clients):
        client.send(b"%d" % number)
        zqd.wait_until("it to wait", lambda queue: queue["queued"] == number + 1)  # noqa: B023 - called at once
    first = ids(zqd)[0]
    assert zqd.control("cancel", request=first) == {"cancelled": first}
    assert clients[0].recv() == b"ZQD-ERROR 499 cancelled"
    worker = connect(zmq.REP, zqd.backend)
    assert worker.recv() == b"1"
    (failed,) = zqd.log("request.failed")
    assert (failed["code"], failed["request"]) == (499, first)
    assert_even(zqd.queue())


def test_rule_23_the_late_reply_to_a_cancelled_request_is_counted(zqd: Zqd, connect: Connect) -> None:
    """The client was told before, and gets the answer to its next request, not that one; the worker stays."""
    worker, client = connect(zmq.REP, zqd.backend), connect(zmq.REQ, zqd.frontend)
    client.send(b"one")
    assert worker.recv() == b"one"
    zqd.control("cancel", request=ids(zqd)[0])
    assert client.recv() == b"ZQD-ERROR 499 cancelled"
    assert ids(zqd) == []
    client.send(b"two")
    zqd.wait_until("it to wait", lambda queue: queue["queued"] == 1)  # law 7: the slot is taken
    worker.send(b"too late")
    assert worker.recv() == b"two"
    worker.send(b"in time")
    assert client.recv() == b"in time"
    row = zqd.queue()
    assert (row["received"], row["failed"], row["replied"], row["late"]) == (2, 1, 1, 1)
    assert_even(row)


# Requests


def test_requests_are_listed_oldest_first(zqd: Zqd, connect: Connect) -> None:
    """With who sent them and who has them; as many as asked for."""
    connect(zmq.REP, zqd.backend)
    workers(zqd, 1)
    client = connect(zmq.DEALER, zqd.frontend)
    for size in (0, 10, 100_000):
        client.send_multipart([b"", bytes(size)])
    zqd.wait_until("all three", lambda queue: (queue["in_flight"], queue["queued"]) == (1, 2))
    rows = zqd.control("requests")
    assert [row["state"] for row in rows] == ["in flight", "queued", "queued"]
    assert [row["size"] for row in rows] == [4, 14, 100_011]  # the message as it is on the wire
    assert [row["worker"] for row in rows] == [zqd.control("workers")[0]["id"], None, None]
    assert {row["client"] for row in rows} == {zqd.control("clients")[0]["id"]}
    assert [row["attempts"] for row in rows] == [0, 0, 0]
    assert rows[0]["age_s"] >= rows[1]["age_s"] >= rows[2]["age_s"] >= 0
    assert [row["id"] for row in zqd.control("requests", limit=2)] == [row["id"] for row in rows[:2]]


@pytest.mark.parametrize("order", ["pause", "drain"])
def test_verbs_and_a_lost_worker_mix(zqd: Zqd, connect: Connect, order: str) -> None:
    """A request that was in flight when its worker was kicked waits in a pause, and is finished in a drain."""
    worker = connect(zmq.REP, zqd.backend, reconnect_ivl=-1)
    client = connect(zmq.REQ, zqd.frontend)
    client.send(b"one")
    assert worker.recv() == b"one"
    row = next(row for row in zqd.control("workers") if row["state"] == "busy")
    zqd.control(order)
    zqd.control("kick", peer=row["id"])
    zqd.wait_until("it to wait", lambda queue: (queue["workers"], queue["queued"]) == (0, 1))
    other = connect(zmq.REP, zqd.backend)
    workers(zqd, 1)
    if order == "pause":
        assert zqd.queue()["queued"] == 1
        zqd.control("resume")
    other.send(other.recv())
    assert client.recv() == b"one"
    assert_even(zqd.queue())


# Commands that wait


def ask(control: zmq.Socket[bytes], command: str, **args: object) -> None:
    """Send a DEALER's request to the control socket; its answers come in the order in which they are given."""
    request = {"zqctl": 1, "command": command, "args": args}
    control.send_multipart([b"", json.dumps(request).encode()])


def answer(control: zmq.Socket[bytes]) -> Row:
    """The next answer."""
    reply = json.loads(control.recv_multipart()[-1])
    assert isinstance(reply, dict)
    return reply


def test_who_waits_is_told_of_the_end(zqd: Zqd, connect: Connect) -> None:
    """A zqd that stops answers everybody before it goes."""
    control = connect(zmq.DEALER, f"ipc://{zqd.control_path}")
    ask(control, "wait", workers=1)
    ask(control, "ping")
    assert answer(control)["result"] == {"pid": zqd.pid}
    assert zqd.stop() == 0
    assert answer(control)["error"] == "zqd stopped before this was done"


def test_rule_20_zqd_sleeps_while_somebody_waits(zqd: Zqd, connect: Connect) -> None:
    """What has not come true does so by an event, and not of itself."""
    control = connect(zmq.DEALER, f"ipc://{zqd.control_path}")
    for _ in range(100):
        ask(control, "wait", workers=1)
    ask(control, "ping")
    assert answer(control)["result"] == {"pid": zqd.pid}
    before = zqd.cpu()
    assert not control.poll(1000)  # the time that is measured
    assert zqd.cpu() - before < 0.3
    connect(zmq.REP, zqd.backend)
    for _ in range(16):  # as many as zqd keeps for one client at once
        assert answer(control)["ok"]


def test_a_late_answer_does_not_swallow_a_request(zqd: Zqd, connect: Connect) -> None:
    """Requests that come while answers go out are all answered, though the socket's descriptor is edge-triggered."""
    patient = [connect(zmq.DEALER, f"ipc://{zqd.control_path}") for _ in range(10)]
    other = connect(zmq.DEALER, f"ipc://{zqd.control_path}")
    for _ in range(50):
        for control in patient:
            ask(control, "wait", workers=1, timeout=0.001)
        for control in patient:
            assert answer(control)["error"] == "it has not come to that within 0.001 s"
            ask(other, "ping")
        for _ in patient:
            assert answer(other)["ok"]
