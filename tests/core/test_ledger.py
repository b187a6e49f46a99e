from __future__ import annotations

import pytest

from tests.core.harness import BOOT, Harness
from zqd.core.ledger import Ledger
from zqd.core.outputs import Outputs
from zqd.core.peers import Client, Worker
from zqd.core.request import Request
from zqd.core.settings import QueueSettings
from zqd.errors import FailureCode
from zqd.zmtp.frames import EMPTY_MORE, encode_message


@pytest.fixture
def client() -> Client:
    """A client with nothing to its name."""
    return Client(1, "a", "", 0.0)


@pytest.fixture
def request_of(client: Client) -> Request:
    """Its request, which arrived at 100."""
    return Request(1, client, encode_message([b"", b"one"]), 100.0)


@pytest.fixture
def ledger() -> Ledger:
    """A ledger of a queue with the defaults."""
    return Ledger(Outputs(), QueueSettings(), BOOT)


REPLY = encode_message([b"", b"re:one"])


def test_law_3_a_reply_is_counted_for_queue_client_and_worker(
    ledger: Ledger, client: Client, request_of: Request
) -> None:
    """Once each, and passed on without the id."""
    worker = Worker(2, "w", "", 0.0, capacity=1)
    ledger.replied(request_of, worker, REPLY, 103.0)
    assert ledger.counters.replied == client.replied == worker.replied == 1
    assert client.outbox == [REPLY]
    assert client.replied_at == 103.0


def test_law_3_a_reply_for_a_client_that_left_is_a_drop(
    ledger: Ledger, client: Client, request_of: Request
) -> None:
    """Nothing is sent; the worker has done its work all the same."""
    client.gone = True
    worker = Worker(2, "w", "", 0.0, capacity=1)
    ledger.replied(request_of, worker, REPLY, 103.0)
    assert (ledger.counters.replied, ledger.counters.dropped) == (0, 1)
    assert worker.replied == 1
    assert not client.outbox


def test_a_reply_is_timed_as_wait_and_run(ledger: Ledger, request_of: Request) -> None:
    """From arrival to the start of the attempt, and from there to the answer."""
    request_of.started = 102.0
    ledger.replied(request_of, Worker(2, "w", "", 0.0, capacity=1), REPLY, 105.0)
    assert ledger.wait.since_start()["max"] == pytest.approx(2.0)
    assert ledger.run.since_start()["max"] == pytest.approx(3.0)


def test_the_time_that_workers_were_busy_is_summed_up(ledger: Ledger, request_of: Request) -> None:
    """For the queue and for each worker: how busy they are follows by subtraction."""
    worker = Worker(2, "w", "", 0.0, capacity=1)
    for started, ended in ((102.0, 105.0), (110.0, 111.0)):
        request_of.started = started
        ledger.replied(request_of, worker, REPLY, ended)
    assert ledger.run.total == worker.busy == pytest.approx(4.0)


@pytest.mark.parametrize("end", ["replied", "failed", "dropped"])
def test_a_request_that_has_ended_holds_no_bytes(ledger: Ledger, request_of: Request, end: str) -> None:
    """Deadlines and heaps may still know it; its message is gone."""
    match end:
        case "replied":
            ledger.replied(request_of, Worker(2, "w", "", 0.0, capacity=1), REPLY, 103.0)
        case "failed":
            ledger.failed(request_of, FailureCode.TIMED_OUT, "x")
        case "dropped":
            ledger.dropped(request_of)
    assert not request_of.raw


def test_rule_24_a_request_has_one_id_for_people(ledger: Ledger, request_of: Request) -> None:
    """What all its dispatches have in common, in hex: the boot and its number."""
    assert ledger.id_of(request_of) == BOOT.hex() + "000000000001"


def test_rule_14_a_failure_is_told_counted_and_noticed(
    ledger: Ledger, client: Client, request_of: Request
) -> None:
    """With its code and its reason."""
    ledger.failed(request_of, FailureCode.TIMED_OUT, "ran too long")
    assert ledger.counters.failed == 1
    assert client.outbox == [encode_message([b"", b"ZQD-ERROR 504 ran too long"])]
    q = Harness(queue_timeout=1.0)
    q.client("a").send(b"one")
    q.wait(1)
    request = BOOT.hex() + "000000000001"
    told = {"client": "c1", "address": "a", "request": request, "code": 504, "reason": "waited too long"}
    assert q.noted("request.failed") == [told]


def test_rule_14_failures_may_be_dropped(client: Client, request_of: Request) -> None:
    """`on_failure = "drop"`: counted as failed, and nothing is sent (law 3)."""
    ledger = Ledger(Outputs(), QueueSettings(on_failure="drop"), BOOT)
    ledger.failed(request_of, FailureCode.TIMED_OUT, "ran too long")
    ledger.refused(client, EMPTY_MORE, FailureCode.TOO_LARGE, "too large")
    assert (ledger.counters.received, ledger.counters.failed) == (1, 2)
    assert not client.outbox


def test_law_3_a_refused_message_is_received_and_failed(ledger: Ledger, client: Client) -> None:
    """At once; it is noticed under a name of its own."""
    ledger.refused(client, EMPTY_MORE, FailureCode.TOO_LARGE, "too large")
    assert (ledger.counters.received, ledger.counters.failed, client.received) == (1, 1, 1)
    assert client.outbox == [encode_message([b"", b"ZQD-ERROR 413 too large"])]


def test_law_3_a_failure_of_a_client_that_left_is_a_drop(
    ledger: Ledger, client: Client, request_of: Request
) -> None:
    """Nobody is there to be told."""
    client.gone = True
    ledger.failed(request_of, FailureCode.TIMED_OUT, "ran too long")
    assert (ledger.counters.failed, ledger.counters.dropped) == (0, 1)
    assert not client.outbox


def test_a_slow_request_is_told_with_what_made_it_slow() -> None:
    """From arrival to reply `slow_request` or longer: how long it waited, how long it ran, where, for whom."""
    q = Harness(slow_request=1.0)
    a, w = q.client("a"), q.worker("w")
    a.send(b"quick", b"slow")
    q.wait(0.4)
    w.reply()
    q.wait(0.7)
    w.reply()
    (told,) = q.noted("request.slow")
    request = BOOT.hex() + "000000000002"
    assert told == {
        "request": request,
        "client": "c1",
        "address": "a",
        "worker": "w2",
        "wait_ms": 400.0,
        "run_ms": 700.0,
        "size": len(encode_message([b"", b"slow"])),
        "attempts": 1,
    }


def test_a_slow_request_is_told_with_the_name_of_its_worker() -> None:
    """So that one instance's slow requests can be found by it."""
    q = Harness(slow_request=1.0)
    a, w = q.client("a"), q.dealer("w", name="zqd-worker@2", pid=1)
    a.send(b"slow")
    q.wait(1.0)
    w.reply()
    (told,) = q.noted("request.slow")
    assert (told["name"], told["address"]) == ("zqd-worker@2", "a")
