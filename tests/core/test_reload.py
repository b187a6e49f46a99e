from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.core.harness import Harness
from zqd.core.reload import adopt


class Reloaded(Harness):
    """A harness whose settings change."""

    def adopt(self, **changed: Any) -> None:
        """Other settings from now on."""
        self.settings = replace(self.settings, **changed)
        self.step(f"adopt {changed}", lambda: adopt(self.queue, self.settings, self.now))


def test_the_settings_are_the_new_ones_everywhere() -> None:
    """Each part of the queue goes on with the same object."""
    q = Reloaded()
    q.adopt(max_attempts=7)
    parts = (q.queue, q.queue.ledger, q.queue.dispatcher, q.queue.admission)
    assert all(part.settings is q.settings for part in parts)


def test_a_wider_count_resumes_the_paused() -> None:
    """At once: nothing else might ever happen."""
    q = Reloaded(max_queued=2)
    a = q.client("a")
    for number in range(5):
        a.send(b"%d" % number)
    assert a.peer.paused
    q.adopt(max_queued=10)
    assert not a.peer.paused
    assert q.queue.line.size == 5


def test_no_bound_resumes_the_paused() -> None:
    """0 is wider than any other."""
    q = Reloaded(max_queued_bytes=1000)
    a, b = q.client("a"), q.client("b")
    for client in (a, b):
        for _ in range(5):
            client.send(bytes(400))
    assert a.peer.paused or b.peer.paused
    q.adopt(max_queued_bytes=0)
    assert [client.peer.paused for client in (a, b)] == [False, False]
    assert q.queue.line.size == 10


def test_a_wider_bound_of_each_client() -> None:
    """Resumes those whom it held up."""
    q = Reloaded(max_per_client=1)
    a = q.client("a")
    for _ in range(3):
        a.send(b"body")
    assert a.peer.paused
    q.adopt(max_per_client=3)
    assert not a.peer.paused
    assert q.queue.line.size == 3


def test_a_narrower_bound_drops_nothing() -> None:
    """What waits stays, in its order; the next one waits outside."""
    q = Reloaded()
    a = q.client("a")
    for number in range(5):
        a.send(b"%d" % number)
    q.adopt(max_queued=2)
    a.send(b"late")
    assert q.queue.line.size == 5
    w = q.worker("w")
    for _ in range(6):
        w.reply()
    assert a.answers == [b"re:%d" % number for number in range(5)] + [b"re:late"]


def test_reject_instead_of_wait() -> None:
    """Who was paused before stays so until there is room, or is refused: never both, and nobody hangs."""
    q = Reloaded(max_queued=1)
    a = q.client("a")
    for _ in range(3):
        a.send(b"body")
    q.adopt(overload="reject")
    w = q.worker("w")
    for _ in range(3):
        if w.bodies:
            w.reply()
    assert len(a.answers) == 3


def test_a_new_time_limit_is_for_what_begins() -> None:
    """A request that waits was promised to wait for ever."""
    q = Reloaded()
    a = q.client("a")
    a.send(b"old")
    q.adopt(queue_timeout=5.0)
    a.send(b"new")
    q.wait(10.0)
    assert q.queue.line.size == 1
    assert len(a.answers) == 1


def test_an_old_time_limit_stays_with_what_has_begun() -> None:
    """A request that waits under a limit still ends by it."""
    q = Reloaded(queue_timeout=5.0)
    a = q.client("a")
    a.send(b"old")
    q.adopt(queue_timeout=0.0)
    a.send(b"new")
    q.wait(10.0)
    assert q.queue.line.size == 1
    assert len(a.answers) == 1


def test_an_attempt_keeps_its_time() -> None:
    """The one that runs when the limit comes may run on; the worker's next one has it."""
    q = Reloaded(max_attempts=1)
    a, w = q.client("a"), q.worker("w")
    a.send(b"one")
    q.adopt(request_timeout=2.0)
    q.wait(10.0)
    assert a.answers == []
    w.reply()
    a.send(b"two")
    q.wait(2.0)
    assert len(a.answers) == 2
    assert a.answers[0] == b"re:one"


@pytest.mark.parametrize("before", [1, 3])
@pytest.mark.parametrize("after", [1, 2, 5])
def test_attempts_are_counted_by_the_present_bound(before: int, after: int) -> None:
    """A request that was dispatched under another one fails, or goes on, by the new one."""
    q = Reloaded(max_attempts=before)
    a = q.client("a")
    w = q.worker("w")
    a.send(b"one")
    q.adopt(max_attempts=after)
    for attempt in range(after):
        assert a.answers == [], attempt
        w.die()
        if attempt + 1 < after:
            w = q.worker("w")
    assert len(a.answers) == 1


def test_while_paused_nothing_is_dispatched() -> None:
    """A reload is no resume."""
    q = Reloaded()
    a, w = q.client("a"), q.worker("w")
    q.pause()
    a.send(b"one")
    q.adopt(prefetch=4)
    assert q.queue.dispatcher.in_flight == 0
    q.resume()
    w.reply()
    assert a.answers == [b"re:one"]
