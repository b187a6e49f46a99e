from __future__ import annotations

from tests.core.fakes import FakeWorker, padded
from tests.core.harness import Harness

# Clients that leave


def test_rule_16_a_departed_clients_waiting_requests_are_dropped() -> None:
    """At once, by default; what is in flight is dropped when it is answered (law 3)."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    a.send(b"one", b"two", b"three")
    a.leave()
    assert q.counts == {"received": 3, "dropped": 2, "in_flight": 1}
    w.reply()
    assert q.counts == {"received": 3, "dropped": 3}


def test_rule_16_a_departed_clients_requests_may_run() -> None:
    """`on_client_left = "run"`: they are dispatched for their effect, and dropped with their replies."""
    q = Harness(on_client_left="run")
    a, w = q.client("a"), q.worker("w")
    a.send(b"one", b"two")
    a.leave()
    w.reply()
    assert w.bodies == [b"two"]
    w.reply()
    assert q.counts == {"received": 2, "dropped": 2}


def test_rule_16_a_departed_clients_request_is_not_retried() -> None:
    """Its worker is lost: it is dropped, whatever `on_client_left` says (law 3)."""
    q = Harness(on_client_left="run")
    a, w = q.client("a"), q.worker("w")
    a.send(b"one")
    a.leave()
    w.die()
    assert q.counts == {"received": 1, "dropped": 1}


def test_rule_16_a_departed_clients_failure_is_a_drop() -> None:
    """A time-out in the line of a request whose client has left counts as dropped, not as failed."""
    q = Harness(on_client_left="run", queue_timeout=1.0)
    a = q.client("a")
    a.send(b"one")
    a.leave()
    q.wait(1)
    assert q.counts == {"received": 1, "dropped": 1}


def test_rule_16_a_stalled_client_that_leaves_holds_nothing_up() -> None:
    """Its requests that were set aside run if they are to run."""
    q = Harness(on_client_left="run", max_unsent=10)
    a, w = q.client("a"), q.worker("w")
    a.stop_reading()
    a.send(b"one", b"two", b"three")
    w.reply(b"long enough")
    w.reply(b"long enough")
    assert a.peer.stalled
    assert not w.tasks
    a.leave()
    assert w.bodies == [b"three"]


def test_rule_16_a_stalled_client_that_leaves_takes_its_requests_along() -> None:
    """Those that were set aside are dropped like all that wait."""
    q = Harness(max_unsent=10)
    a, w = q.client("a"), q.worker("w")
    a.stop_reading()
    a.send(b"one", b"two", b"three")
    w.reply(b"long enough")
    w.reply(b"long enough")
    a.leave()
    assert q.counts == {"received": 3, "replied": 2, "dropped": 1}


def test_replies_follow_the_connection() -> None:
    """The same client on another connection gets nothing of what it asked before (rule 16)."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    a.send(b"one")
    a.leave()
    again = q.client("a")
    w.reply()
    assert not again.received


# Slow clients


def _stall(q: Harness) -> tuple[FakeWorker, FakeWorker]:
    """Client a is over its bound of 50 bytes, with one request waiting and one in flight."""
    a, v, w = q.client("a"), q.worker("v"), q.worker("w")
    a.stop_reading()
    a.send(b"one", b"two", b"three", b"four")
    v.reply(padded(b"r", 60)[:56])
    return v, w


def test_rule_19_a_stalled_clients_waiting_requests_are_not_dispatched() -> None:
    """Over `max_unsent` they are set aside, and law 2 lets a free worker stand by."""
    q = Harness(max_unsent=50)
    v, w = _stall(q)
    v.reply()
    w.reply()
    assert v.peer.state == w.peer.state == "idle"
    assert q.counts["queued"] == 1


def test_rule_19_others_are_served_while_a_client_is_stalled() -> None:
    """Their requests go past those that are set aside."""
    q = Harness(max_unsent=50)
    v, w = _stall(q)
    v.reply()
    w.reply()
    b = q.client("b")
    b.send(b"quick")
    assert v.bodies + w.bodies == [b"quick"]


def test_rule_19_a_stalled_client_is_served_again_at_half_the_bound() -> None:
    """Hysteresis: reading a little is not enough."""
    q = Harness(max_unsent=50)
    v, w = _stall(q)
    a = next(iter(q.clients.values()))
    v.reply()
    w.reply()
    assert a.unsent is not None
    a.read(a.unsent - 26)
    assert a.peer.stalled
    a.read(1)
    assert not a.peer.stalled
    assert v.bodies + w.bodies == [b"four"]


def test_rule_19_a_bound_of_0_is_none() -> None:
    """Without `max_unsent` no client is ever stalled."""
    q = Harness(max_unsent=0)
    a, w = q.client("a"), q.worker("w")
    a.stop_reading()
    a.send(b"one")
    w.reply(b"x" * 100_000)
    assert not a.peer.stalled


def test_rule_19_a_client_that_is_paused_and_stalled_is_read_when_neither() -> None:
    """It is in `resumed` once, when the second reason has gone."""
    q = Harness(max_unsent=10, max_per_client=1)
    a, w = q.client("a"), q.worker("w")
    a.stop_reading()
    a.send(b"one", b"two", b"three")
    assert a.peer.paused
    w.reply(b"long enough")
    assert a.peer.stalled
    assert len(a.unread) == 0
    w.reply(b"long enough")
    a.send(b"four", b"five")
    assert len(a.unread) == 2
    a.read()
    assert w.bodies == [b"three"]
    w.reply()
    w.reply()
    w.reply()
    assert a.answers[2:] == [b"re:three", b"re:four", b"re:five"]
