from __future__ import annotations

import pytest

from tests.core.fakes import FakeClient, FakeWorker
from tests.core.harness import BOOT, Harness
from zqd.core.regime import State

FIRST = BOOT.hex() + "000000000001"  # the id of the first request


def state(q: Harness) -> State:
    """What the queue does."""
    return q.queue.regime.state


# Pause


def test_rule_23_in_a_pause_nothing_is_dispatched() -> None:
    """What is in flight is answered, and reading goes on (law 2)."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    a.send(b"one", b"two")
    q.pause()
    w.reply()
    a.send(b"three")
    assert a.answers == [b"re:one"]
    assert not w.tasks
    assert q.counts["queued"] == 2
    assert state(q) is State.PAUSED


def test_rule_23_a_pause_ends_with_a_resume() -> None:
    """What waited is dispatched at once."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    q.pause()
    a.send(b"one")
    assert not w.tasks
    q.resume()
    assert w.bodies == [b"one"]
    assert state(q) is State.RUNNING


def test_rule_23_in_a_pause_the_limits_hold() -> None:
    """Clients are read until they are reached."""
    q = Harness(max_queued=2)
    a, w = q.client("a"), q.worker("w")
    q.pause()
    a.send(b"one", b"two", b"three")
    assert a.peer.paused
    q.resume()
    w.reply()
    w.reply()
    w.reply()
    assert len(a.answers) == 3


def test_rule_23_in_a_pause_time_outs_run() -> None:
    """A waiting request fails, a hung worker is found."""
    q = Harness(queue_timeout=2.0, request_timeout=1.0, max_attempts=1)
    a, w = q.client("a"), q.worker("w")
    a.send(b"one")
    q.pause()
    a.send(b"two")
    q.wait(2)
    assert a.answers == [b"ZQD-ERROR 504 ran too long", b"ZQD-ERROR 504 waited too long"]
    assert w.peer.state == "quarantined"


def test_rule_23_in_a_pause_a_lost_workers_requests_wait() -> None:
    """They are dispatched again after it."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    a.send(b"one")
    q.pause()
    w.die()
    v = q.worker("v")
    assert not v.tasks
    q.resume()
    assert v.bodies == [b"one"]


# Drain


def test_rule_23_a_drained_queue_lets_nothing_in_and_finishes_the_rest() -> None:
    """Clients are not read; when all is answered it is `drained`."""
    q = Harness()
    a, b, w = q.client("a"), q.client("b"), q.worker("w")
    a.send(b"one", b"two")
    q.drain()
    b.send(b"three")
    assert b.peer.paused
    assert state(q) is State.DRAINING
    w.reply()
    w.reply()
    assert a.answers == [b"re:one", b"re:two"]
    assert state(q) is State.DRAINED
    assert q.counts == {"received": 2, "replied": 2}


def test_rule_23_an_empty_queue_is_drained_at_once() -> None:
    """There is nothing to wait for."""
    q = Harness()
    q.client("a")
    q.drain()
    assert state(q) is State.DRAINED
    assert [event for event, _ in q.notices if event.startswith("queue.")] == [
        "queue.draining",
        "queue.drained",
    ]


def test_rule_23_a_drain_ends_with_a_resume() -> None:
    """Its clients are read again, and served."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    q.drain()
    a.send(b"one")
    q.resume()
    assert not a.peer.paused
    assert w.bodies == [b"one"]


def test_rule_23_in_a_drain_no_limit_resumes_a_client() -> None:
    """One that was held up by a limit stays so until the resume."""
    q = Harness(max_queued=1)
    a, w = q.client("a"), q.worker("w")
    a.send(b"one", b"two", b"three")
    q.drain()
    w.reply()
    w.reply()
    assert state(q) is State.DRAINED
    assert a.peer.paused
    q.resume()
    assert w.bodies == [b"three"]


def test_rule_23_a_drain_ends_a_pause() -> None:
    """What waits has to be finished, so it is dispatched."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    q.pause()
    a.send(b"one")
    q.drain()
    assert w.bodies == [b"one"]


@pytest.mark.parametrize(
    "end", ["failed", "too large", "dropped", "left", "timed out", "cancelled", "dropped with its worker"]
)
def test_rule_23_the_last_request_drains_a_queue_however_it_ends(end: str) -> None:
    """Not only by a reply."""
    q = Harness(max_attempts=1, on_client_left="run")
    a, w = q.client("a"), q.worker("w")
    a.send(b"one", options="timeout_ms=1000")
    q.drain()
    assert state(q) is State.DRAINING
    match end:
        case "failed":
            w.reply(envelope=(b"another", b""))
        case "too large":
            w.reply_too_much()
        case "dropped":
            a.leave()
            w.reply()
        case "left":
            w.die()
        case "timed out":
            q.wait(1)
        case "cancelled":
            q.cancel(FIRST)
        case "dropped with its worker":
            a.leave()
            w.die()
    assert state(q) is State.DRAINED


def test_rule_23_waiting_requests_of_a_client_that_leaves_drain_a_queue() -> None:
    """They are dropped, and nothing is left."""
    q = Harness()
    a = q.client("a")
    a.send(b"one")
    q.drain()
    a.leave()
    assert state(q) is State.DRAINED


def test_rule_23_retries_are_finished_in_a_drain() -> None:
    """A queue with a request that has to be tried again is not drained."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    a.send(b"one")
    q.drain()
    w.die()
    assert state(q) is State.DRAINING
    q.worker("v").reply()
    assert a.answers == [b"re:one"]
    assert state(q) is State.DRAINED


@pytest.mark.parametrize("order", ["pause", "drain"])
def test_rule_22_a_stop_goes_on_from_a_pause_and_from_a_drain(order: str) -> None:
    """What was read is answered, what was kept too."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    if order == "pause":
        q.pause()
    else:
        q.drain()
    a.send(b"one")
    q.stop()
    w.reply()
    assert a.answers == [b"re:one"]
    assert a.gone


def test_rule_23_after_a_stop_no_order_takes_it_back() -> None:
    """Pause, drain and resume are for a queue that goes on."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    a.send(b"one")
    q.stop()
    q.pause()
    q.drain()
    q.resume()
    assert state(q) is State.STOPPING
    w.reply()
    assert a.gone


# Workers


def test_rule_23_a_drained_worker_gets_nothing_more() -> None:
    """It finishes what it holds and stays connected."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    a.send(b"one", b"two")
    q.drain_worker(w)
    w.reply()
    assert a.answers == [b"re:one"]
    assert not w.tasks
    assert w.peer.state == "draining"
    assert not w.gone
    assert not w.told_left


def test_rule_23_a_drained_worker_may_be_resumed() -> None:
    """It gets what waits."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    q.drain_worker(w)
    a.send(b"one")
    q.resume_worker(w)
    assert w.bodies == [b"one"]


def test_rule_26_a_worker_that_wants_to_leave_is_not_resumed() -> None:
    """Its own wish counts."""
    q = Harness()
    a, d = q.client("a"), q.dealer("d")
    a.send(b"one")
    d.ask_to_leave()
    q.resume_worker(d)
    a.send(b"two")
    d.reply()
    assert d.told_left
    assert not d.tasks


def test_rule_11_a_quarantined_worker_that_was_drained_is_still_quarantined() -> None:
    """After the resume it still owes its answer."""
    q = Harness(request_timeout=1.0)
    a, w = q.client("a"), q.worker("w")
    a.send(b"one")
    q.wait(1)
    q.drain_worker(w)
    q.resume_worker(w)
    assert w.peer.state == "quarantined"


# Kick


def test_rule_23_a_kicked_worker_is_closed_and_its_requests_are_retried() -> None:
    """It may come back."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    a.send(b"one")
    q.kick(w)
    assert w.gone
    assert q.counts == {"received": 1, "retried": 1, "queued": 1}
    w.reconnect()
    w.reply()
    assert a.answers == [b"re:one"]


def test_rule_23_a_worker_that_is_being_kicked_gets_nothing() -> None:
    """A request that arrives in the same turn is not charged an attempt for it."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    q.queue.kick(w.peer)
    a.send(b"one")
    assert w.gone
    assert q.counts == {"received": 1, "queued": 1}


def test_rule_23_a_kicked_client_is_gone() -> None:
    """Its requests go the way of any departed client's (rule 16)."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    a.send(b"one", b"two")
    q.kick(a)
    assert a.gone
    w.reply()
    assert q.counts == {"received": 2, "dropped": 2}


# Cancel


def _asked(q: Harness) -> tuple[FakeClient, FakeWorker]:
    a, w = q.client("a"), q.worker("w")
    a.send(b"one", b"two")
    return a, w


def test_rule_23_a_waiting_request_can_be_cancelled() -> None:
    """It fails by 499 and never runs."""
    q = Harness()
    a, w = _asked(q)
    assert q.cancel(BOOT.hex() + "000000000002")
    assert a.answers == [b"ZQD-ERROR 499 cancelled"]
    w.reply()
    assert not w.tasks


def test_law_7_a_cancelled_request_in_flight_leaves_a_debt() -> None:
    """Its worker goes on, its slot is taken, its answer is late."""
    q = Harness()
    a, w = _asked(q)
    assert q.cancel(FIRST)
    assert a.answers == [b"ZQD-ERROR 499 cancelled"]
    assert w.bodies == [b"one"]
    w.reply()
    assert w.bodies == [b"two"]
    assert q.counts == {"received": 2, "failed": 1, "late": 1, "in_flight": 1}


def test_rule_23_what_is_not_there_cannot_be_cancelled() -> None:
    """Nor what has been answered."""
    q = Harness()
    a, w = _asked(q)
    w.reply()
    assert not q.cancel(FIRST)
    assert not q.cancel("nonsense")
    assert a.answers == [b"re:one"]


def test_rule_23_a_cancelled_request_makes_room() -> None:
    """For a client that was held up (rule 17)."""
    q = Harness(max_queued=1)
    a, w = q.client("a"), q.worker("w")
    a.send(b"one", b"two", b"three")
    assert a.peer.paused
    q.cancel(BOOT.hex() + "000000000002")
    assert not a.unread
    w.reply()
    assert w.bodies == [b"three"]
