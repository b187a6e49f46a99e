from __future__ import annotations

from tests.core.harness import Harness
from zqd.zmtp.frames import encode_message


def test_rule_11_a_hung_worker_is_quarantined_until_its_debts_are_paid() -> None:
    """Its attempt ends at `request_timeout`; it gets nothing before it has answered, and then it is served again."""
    q = Harness(request_timeout=1.0)
    a, w = q.client("a"), q.worker("w")
    a.send(b"one")
    q.wait(1)
    assert w.peer.state == "quarantined"
    assert w.bodies == [b"one"]
    w.reply()
    assert q.counts == {"received": 1, "retried": 1, "late": 1, "in_flight": 1}
    assert w.peer.state == "busy"
    w.reply()
    assert a.answers == [b"re:one"]


def test_rule_11_the_run_clock_of_a_rep_starts_when_its_predecessor_is_answered() -> None:
    """What waits behind the head of a window does not time out by it (rule 9)."""
    q = Harness(request_timeout=1.0, prefetch=2)
    a, w = q.client("a"), q.worker("w")
    a.send(b"one", b"two")
    q.wait(0.75)
    w.reply()
    q.wait(0.75)
    assert w.peer.state == "busy"
    q.wait(0.25)
    assert w.peer.state == "quarantined"


def test_rule_11_what_is_behind_a_hung_head_goes_to_others_uncharged() -> None:
    """Only the head was running, so the others lose no attempt."""
    q = Harness(request_timeout=1.0, prefetch=2, max_attempts=1)
    a, w = q.client("a"), q.worker("w")
    a.send(b"one", b"two")
    q.wait(0.5)
    v = q.worker("v")
    q.wait(0.5)
    assert a.answers == [b"ZQD-ERROR 504 ran too long"]
    assert v.bodies == [b"two"]
    assert w.peer.debts == 2


def test_rule_11_with_a_declared_capacity_the_others_run_on() -> None:
    """A concurrent worker keeps its other requests, and may answer them in its quarantine."""
    q = Harness(request_timeout=1.0)
    a, d = q.client("a"), q.dealer("d", capacity=3)
    a.send(b"one")
    q.wait(0.5)
    a.send(b"two")
    q.wait(0.5)
    assert d.peer.state == "quarantined"
    assert d.peer.in_flight == 1
    a.send(b"three")
    assert d.bodies == [b"one", b"two"]
    d.reply(place=1)
    assert a.answers == [b"re:two"]
    assert d.peer.state == "quarantined"


def test_rule_11_a_second_time_out_needs_a_second_answer() -> None:
    """Quarantine ends with the last debt."""
    q = Harness(request_timeout=1.0, max_attempts=1)
    a, d = q.client("a"), q.dealer("d", capacity=2)
    a.send(b"one", b"two")
    q.wait(1)
    d.reply()
    assert d.peer.state == "quarantined"
    d.reply()
    assert d.peer.state == "idle"
    assert q.counts == {"received": 2, "failed": 2, "late": 2}


def test_rule_12_a_waiting_request_fails_after_queue_timeout() -> None:
    """It gets 504; one that a worker holds is not concerned."""
    q = Harness(queue_timeout=2.0)
    a, w = q.client("a"), q.worker("w")
    a.send(b"one", b"two")
    q.wait(2)
    assert a.answers == [b"ZQD-ERROR 504 waited too long"]
    w.reply()
    assert a.answers[1] == b"re:one"


def test_rule_12_a_returned_request_waits_anew() -> None:
    """The wait that `queue_timeout` bounds begins when a request comes back from a lost worker."""
    q = Harness(queue_timeout=2.0)
    a, w = q.client("a"), q.worker("w")
    a.send(b"one")
    q.wait(5)
    w.die()
    q.wait(1.5)
    assert not a.answers
    q.wait(0.5)
    assert a.answers == [b"ZQD-ERROR 504 waited too long"]


def test_rule_12_a_clients_own_time_out_ends_its_request_in_the_line() -> None:
    """It counts from the arrival; the options come back as a status (rule 25)."""
    q = Harness()
    a = q.client("a")
    a.send(b"one", options="timeout_ms=1500")
    q.wait(1)
    assert not a.answers
    q.wait(0.5)
    assert a.received == [[b"zqd/1 status=504", b"", b"ZQD-ERROR 504 the client's own time-out"]]
    assert q.queue.line.size == 0


def test_rule_12_a_clients_own_time_out_leaves_a_debt_and_no_quarantine() -> None:
    """Its worker's slot is taken until it answers, and that answer is late (law 7); then the next one comes."""
    q = Harness()
    a, b, w = q.client("a"), q.client("b"), q.worker("w")
    a.send(b"one", options="timeout_ms=100")
    b.send(b"two")
    q.wait(1)
    assert w.peer.state == "busy"
    assert w.bodies == [b"one"]
    w.reply()
    assert w.bodies == [b"two"]
    assert len(a.answers) == 1
    assert q.counts["late"] == 1


def test_rule_12_a_clients_own_time_out_is_not_retried() -> None:
    """The request fails with its first attempt still running."""
    q = Harness(request_timeout=5.0)
    a = q.client("a")
    q.worker("v")
    w = q.worker("w")
    a.send(b"one", options="timeout_ms=100")
    q.wait(9)
    assert q.counts == {"received": 1, "failed": 1}
    assert not w.tasks


def test_rule_12_a_clients_own_time_out_outlives_a_sweep_of_the_deadlines() -> None:
    """However many deadlines are set with it, none is lost."""
    q = Harness()
    a = q.client("a")
    for number in range(1500):
        q.queue.request(a.peer, encode_message([b"zqd/1 timeout_ms=1000", b"", b"%d" % number]), q.now)
    q.wait(1)
    assert q.counts == {"received": 1500, "failed": 1500}


def test_rule_12_a_request_that_was_answered_does_not_time_out() -> None:
    """Deadlines of the past concern nobody."""
    q = Harness(request_timeout=1.0, queue_timeout=1.0)
    a, w = q.client("a"), q.worker("w")
    a.send(b"one", options="timeout_ms=1000")
    w.reply()
    q.wait(5)
    assert a.answers == [b"re:one"]
    assert w.peer.state == "idle"


def test_rule_20_without_a_time_out_there_is_nothing_to_wake_up_for() -> None:
    """A queue in which nothing can be done has no deadline."""
    q = Harness()
    a = q.client("a")
    a.send(b"one")
    assert q.queue.deadline is None


def test_rule_20_time_may_pass_without_effect() -> None:
    """`elapse` may be called early, as often as one likes."""
    q = Harness(queue_timeout=5.0)
    a = q.client("a")
    a.send(b"one")
    for _ in range(3):
        q.step("too early", lambda: q.queue.elapse(q.now))
    assert not a.answers


def test_rule_11_the_run_clock_goes_on_for_a_request_that_its_client_gave_up() -> None:
    """A worker that hangs on a debt is quarantined like any other, and what waits behind it goes elsewhere."""
    q = Harness(prefetch=4, request_timeout=10.0)
    a, b = q.client("a"), q.client("b")
    w = q.worker("w")
    a.send_frames(b"zqd/1 timeout_ms=2000", b"", b"given up")
    b.send(b"behind")
    q.wait(2)
    assert w.peer.state == "busy"
    q.wait(8)
    assert w.peer.state == "quarantined"
    v = q.worker("v")
    v.reply()
    assert b.answers == [b"re:behind"]
