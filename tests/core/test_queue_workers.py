from __future__ import annotations

import pytest

from tests.core.harness import Harness
from zqd.zmtp.frames import encode_message

# Lost workers


def test_rule_9_only_the_head_of_a_window_is_charged() -> None:
    """What was behind it goes back without having lost an attempt."""
    q = Harness(prefetch=3, max_attempts=1)
    a, w = q.client("a"), q.worker("w")
    a.send(b"one", b"two", b"three")
    w.die()
    assert a.answers == [b"ZQD-ERROR 502 worker lost"]
    v = q.worker("v")
    assert v.bodies == [b"two", b"three"]


def test_rule_9_with_a_declared_capacity_all_are_charged() -> None:
    """A worker that runs all that it holds at once may have been killed by any of them."""
    q = Harness(max_attempts=1)
    a, d = q.client("a"), q.dealer("d", capacity=2)
    a.send(b"one", b"two")
    d.die()
    assert a.answers == [b"ZQD-ERROR 502 worker lost"] * 2


def test_rule_9_what_is_behind_a_debt_is_not_charged() -> None:
    """The head of the window was a request that had ended before: nobody is charged when its worker dies."""
    q = Harness(prefetch=2, max_attempts=1)
    a, w = q.client("a"), q.worker("w")
    a.send(b"one", options="timeout_ms=100")
    a.send(b"two")
    q.wait(1)
    w.die()
    v = q.worker("v")
    assert v.bodies == [b"two"]


def test_rule_10_a_request_fails_when_its_attempts_are_spent() -> None:
    """At most `max_attempts` workers may be lost over it, then it fails by 502."""
    q = Harness(max_attempts=3)
    a = q.client("a")
    a.send(b"one")
    for name in ("u", "v", "w"):
        assert not a.answers
        q.worker(name).die()
    assert a.answers == [b"ZQD-ERROR 502 worker lost"]
    assert q.counts == {"received": 1, "failed": 1, "retried": 2}


def test_rule_10_the_last_attempts_cause_is_told() -> None:
    """A loss and then a time-out is a time-out: 504."""
    q = Harness(max_attempts=2, request_timeout=1.0)
    a = q.client("a")
    a.send(b"one")
    q.worker("v").die()
    q.worker("w")
    q.wait(1)
    assert a.answers == [b"ZQD-ERROR 504 ran too long"]


def test_a_worker_that_goes_with_nothing_in_flight_has_left() -> None:
    """It is not called lost, even when it owed an answer."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    a.send(b"one", options="timeout_ms=100")
    q.wait(1)
    w.die()
    assert w.peer.gone
    assert q.noted("worker.left") == [{"worker": "w2", "address": "w", "in_flight": 0}]
    assert not q.noted("worker.lost")


# Hello, leave, fail


def test_rule_26_a_hello_says_who_a_worker_is() -> None:
    """Its name, pid, unit and handler are kept for people."""
    q = Harness()
    d = q.dealer("d", name="resizer", pid=4711, unit="zqd-worker@1.service", handler="img:resize", held="")
    assert (d.peer.name, d.peer.pid, d.peer.unit) == ("resizer", 4711, "zqd-worker@1.service")
    assert d.peer.handler == "img:resize"
    assert q.noted("worker.hello")[0]["name"] == "resizer"


def test_rule_26_a_hello_without_a_capacity_changes_no_slots() -> None:
    """A DEALER has one slot, and runs in order, until it declares another number."""
    q = Harness()
    d = q.dealer("d", name="resizer")
    assert d.peer.capacity == 1
    assert not d.peer.concurrent


def test_rule_26_a_declared_capacity_is_filled_at_once() -> None:
    """Waiting requests go out with the hello."""
    q = Harness()
    a, d = q.client("a"), q.dealer("d")
    a.send(b"one", b"two", b"three", b"four")
    d.hello(capacity=3)
    assert d.bodies == [b"one", b"two", b"three"]


@pytest.mark.parametrize(("most", "slots"), [(2, 2), (0, 5)])
def test_rule_8_a_capacity_is_bounded_by_max_capacity(most: int, slots: int) -> None:
    """At most that; 0 is no bound."""
    q = Harness(max_capacity=most)
    assert q.dealer("d", capacity=5).peer.capacity == slots


def test_law_7_a_smaller_capacity_does_not_take_back_slots_that_are_taken() -> None:
    """A second hello with less than what the worker holds leaves it that, and gives it no more until it is below."""
    q = Harness()
    a, d = q.client("a"), q.dealer("d", capacity=3)
    a.send(b"one", b"two", b"three", b"four", b"five")
    d.hello(capacity=1)
    assert len(d.tasks) == 3
    d.reply()
    d.reply()
    assert len(d.tasks) == 1
    d.reply()
    assert [task.body for task in d.tasks] == [b"four"]


def test_rule_10_a_client_may_only_lower_the_attempts() -> None:
    """What the operator has set as the most stays the most."""
    q = Harness(max_attempts=1)
    a, w = q.client("a"), q.worker("w")
    q.worker("v")
    a.send(b"one", options="attempts=5")
    w.die()
    assert a.answers == [b"ZQD-ERROR 502 worker lost"]


def test_law_5_an_id_frame_may_have_a_long_header() -> None:
    """RFC 23 allows it for a short frame; the reply is passed on like any other."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    a.send(b"one")
    task = w.done()
    raw = encode_message([task.id, b"", b"reply"])
    w.send_raw(b"\x03" + (16).to_bytes(8, "big") + raw[2:])
    assert a.answers == [b"reply"]


def test_rule_11_the_run_clock_runs_for_a_debt_that_comes_to_the_head() -> None:
    """A worker that hangs on a cancelled request is quarantined, and what waits behind it goes elsewhere."""
    q = Harness(prefetch=2, request_timeout=1.0)
    a, b = q.client("a"), q.client("b")
    w = q.worker("w")
    a.send(b"one", b"two")
    q.queue.cancel(next(r for r in q.queue.unanswered() if bytes(r.raw).endswith(b"two")))
    w.reply()
    b.send(b"behind")
    q.wait(1.0)
    assert w.peer.state == "quarantined"
    q.worker("v").reply()
    assert b.answers == [b"re:behind"]


def test_rule_9_what_a_worker_holds_behind_the_first_runs_from_its_hello_on() -> None:
    """With the capacity declared late, the run clocks of all begin (rule 11)."""
    q = Harness(prefetch=2, request_timeout=1.0, max_attempts=1)
    a, w = q.client("a"), q.worker("w")
    a.send(b"one", b"two")
    q.wait(0.5)
    w.hello(capacity=2)
    q.wait(0.5)
    assert len(a.answers) == 1
    q.wait(0.5)
    assert a.answers == [b"ZQD-ERROR 504 ran too long"] * 2


def test_rule_26_a_leave_is_answered_when_all_that_came_before_it_is_answered() -> None:
    """`left` is the last message, and nothing is dispatched after the leave."""
    q = Harness()
    a, d = q.client("a"), q.dealer("d", capacity=2)
    a.send(b"one")
    d.ask_to_leave()
    a.send(b"two")
    assert not d.told_left
    d.reply()
    assert d.told_left
    assert not d.tasks
    assert q.counts["queued"] == 1


def test_rule_26_a_leave_waits_for_debts_too() -> None:
    """A worker that owes an answer has not yet answered what came before its leave."""
    q = Harness(request_timeout=1.0, max_attempts=1)
    a, d = q.client("a"), q.dealer("d")
    a.send(b"one")
    q.wait(1)
    d.ask_to_leave()
    assert not d.told_left
    d.reply()
    assert d.told_left


def test_rule_26_a_second_leave_is_not_answered_again() -> None:
    """`left` is said once."""
    q = Harness()
    d = q.dealer("d")
    d.ask_to_leave()
    assert d.told_left
    d.ask_to_leave()
    assert d.peer.state == "draining"


def test_rule_26_a_fail_ends_a_request_without_a_retry() -> None:
    """Its client is told the worker's code and reason; the worker gets the next one."""
    q = Harness()
    a, d = q.client("a"), q.dealer("d")
    a.send(b"one", b"two")
    d.fail(500, "no such page")
    assert a.answers == [b"ZQD-ERROR 500 no such page"]
    assert d.bodies == [b"two"]
    assert q.counts == {"received": 2, "failed": 1, "in_flight": 1}


def test_rule_26_a_late_fail_pays_a_debt() -> None:
    """It counts as the late answer that it is."""
    q = Harness(request_timeout=1.0, max_attempts=1)
    a, d = q.client("a"), q.dealer("d")
    a.send(b"one")
    q.wait(1)
    d.fail(500, "at last")
    assert len(a.answers) == 1
    assert d.peer.state == "idle"
    assert q.counts["late"] == 1


def test_rule_26_a_fail_of_an_unknown_dispatch_is_an_orphan() -> None:
    """The worker stays."""
    q = Harness()
    d = q.dealer("d")
    d.send_frames(b"zqd/1", b"fail", b"sixteen bytes id", b"500", b"x")
    assert q.counts == {"orphaned": 1}
    assert not d.gone


def test_rule_26_a_worker_at_the_frontend_is_told() -> None:
    """It would wait there for ever for requests that cannot come; this answer it gets to its hello."""
    q = Harness()
    c = q.client("c")
    c.send_frames(b"zqd/1", b"hello", b"name=w")
    reason = "this is the frontend; workers connect to the backend"
    assert c.answers == [f"ZQD-ERROR 400 {reason}".encode()]
    assert [told["reason"] for told in q.noted("request.refused")] == [reason]
