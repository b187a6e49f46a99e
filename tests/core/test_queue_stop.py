from __future__ import annotations

import pytest

from tests.core.harness import Harness
from zqd.core.regime import GRACE, State
from zqd.zmtp.frames import encode_message


def test_rule_22_a_client_with_nothing_outstanding_is_closed_at_once() -> None:
    """Nobody waits for it to ask again."""
    q = Harness()
    a = q.client("a")
    q.wait(1)
    q.stop()
    assert a.gone


def test_rule_22_a_client_is_closed_together_with_its_last_reply() -> None:
    """And not before, when it has several requests out."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    a.send(b"one", b"two")
    q.stop()
    w.reply()
    assert not a.gone
    w.reply()
    assert a.gone
    assert a.answers == [b"re:one", b"re:two"]


def test_rule_22_a_client_that_was_just_answered_may_ask_once_more() -> None:
    """A REQ in a loop is about to send; it is answered and then closed."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    a.send(b"one")
    w.reply()
    q.stop()
    q.wait(GRACE / 2)
    assert not a.gone
    a.send(b"two")
    q.wait(1)
    assert not a.gone
    w.reply()
    assert a.gone
    assert a.answers == [b"re:one", b"re:two"]


@pytest.mark.parametrize("before", [0.0, 0.03, GRACE / 2, 0.07])
def test_rule_22_the_grace_of_a_client_that_stays_silent_is_over_soon(before: float) -> None:
    """It is closed after GRACE, exactly when `deadline` says so, however the numbers are rounded."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    a.send(b"one")
    w.reply()
    q.wait(before)
    q.stop()
    assert not a.gone
    q.wait(GRACE)
    assert a.gone


def test_rule_22_what_was_read_is_still_dispatched() -> None:
    """Waiting requests are answered, retries included."""
    q = Harness()
    a, w, v = q.client("a"), q.worker("w"), q.worker("v")
    a.send(b"one", b"two", b"three")
    q.stop()
    w.die()
    v.reply()
    v.reply()
    v.reply()
    assert sorted(a.answers) == [b"re:one", b"re:three", b"re:two"]
    assert a.gone


def test_rule_22_what_waits_fails_at_once_when_no_worker_is_left() -> None:
    """Nobody listens any more, so none can come: waiting for `drain_timeout` would help nobody."""
    q = Harness()
    a, w = q.client("a"), q.worker("w")
    a.send(b"one", b"two")
    q.stop()
    w.die()
    assert a.answers == [b"ZQD-ERROR 503 stopping, and no worker is left"] * 2
    assert a.gone


def test_rule_22_what_comes_when_no_worker_is_left_fails_at_once() -> None:
    """A client that was just answered may ask once more, but nobody would ever answer."""
    q = Harness(drain_timeout=0.0)
    a, w = q.client("a"), q.worker("w")
    a.send(b"one")
    w.reply()
    q.stop()
    w.die()
    a.send(b"two")
    assert a.answers == [b"re:one", b"ZQD-ERROR 503 stopping"]


def test_rule_22_without_a_worker_a_stop_is_over_at_once() -> None:
    """What waits when the stop begins fails as well."""
    q = Harness()
    a = q.client("a")
    a.send(b"one")
    q.stop()
    q.wait(0)
    assert a.answers == [b"ZQD-ERROR 503 stopping, and no worker is left"]
    assert a.gone


def test_rule_22_at_drain_timeout_everything_unanswered_gets_503() -> None:
    """What waits and what is held, and then the clients are closed."""
    q = Harness(drain_timeout=3.0)
    a, w = q.client("a"), q.worker("w")
    a.send(b"one", b"two")
    q.stop()
    q.wait(2.5)
    assert not a.gone
    q.wait(0.5)
    assert a.answers == [b"ZQD-ERROR 503 stopping"] * 2
    assert a.gone
    assert q.queue.regime.state is State.STOPPED
    w.reply()
    assert q.counts == {"received": 2, "failed": 2, "late": 1}


def test_rule_22_a_drain_timeout_of_0_is_none() -> None:
    """The stop then waits for the last reply, however long that takes."""
    q = Harness(drain_timeout=0.0)
    a, w = q.client("a"), q.worker("w")
    a.send(b"one")
    q.stop()
    q.wait(86_400)
    assert not a.gone
    w.reply()
    assert a.answers == [b"re:one"]
    assert a.gone


def test_rule_22_after_the_time_is_up_nothing_is_admitted() -> None:
    """What a client's buffer still held gets 503."""
    q = Harness(drain_timeout=1.0)
    a, _ = q.client("a"), q.worker("w")
    a.send(b"one")
    q.stop()
    a.unread.append(encode_message([b"", b"two"]))  # lies in its buffer until the device has a last look
    q.wait(1)
    assert a.answers == [b"ZQD-ERROR 503 stopping"] * 2
    assert q.counts == {"received": 2, "failed": 2}


def test_rule_22_a_stop_lifts_the_limits() -> None:
    """Clients that were held up are read again, and their requests are dispatched."""
    q = Harness(max_queued=1)
    a, w = q.client("a"), q.worker("w")
    a.send(b"one", b"two", b"three")
    assert len(a.unread) == 1
    q.stop()
    assert not a.unread
    for _ in range(3):
        w.reply()
    assert a.answers == [b"re:one", b"re:two", b"re:three"]
    assert a.gone


def test_rule_22_the_last_failure_closes_a_client_too() -> None:
    """A request that fails in a stop is its client's last answer like a reply."""
    q = Harness(max_attempts=1)
    a, w = q.client("a"), q.worker("w")
    a.send(b"one")
    q.stop()
    w.die()
    assert a.answers == [b"ZQD-ERROR 502 worker lost"]
    assert a.gone
