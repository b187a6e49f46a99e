"""Brokers that do not let us in: which requests wait, and which end at once."""

from __future__ import annotations

import pytest

from tests.client.bench import A, B, Bench, failed
from zqd.client.errors import BrokerLost, Unreachable
from zqd.client.session import Link

WHY = "this key is not authorized there"


def test_the_only_broker_refuses() -> None:
    """No request waits for its time-out, not even one that has none; what is made later waits for the next answer."""
    bench = Bench(up=False)
    calls = [bench.ask(timeout=5), bench.ask(timeout=None)]
    bench.session.refused(bench.brokers[0], WHY, bench.now, final=True)
    for call in calls:
        assert type(failed(call)) is Unreachable
        assert str(failed(call)) == f"504 no connection to {A} ({WHY})"
    assert bench.session.take_ended() == calls
    assert not bench.ask().over


def test_the_next_request_gets_in() -> None:
    """When the broker takes us after all, and the refusal is forgotten."""
    bench = Bench(up=False)
    a = bench.brokers[0]
    bench.session.refused(a, WHY, bench.now, final=True)
    bench.ask(b"later")
    bench.session.down(a, bench.now)  # the socket is replaced
    assert a.link is Link.DOWN
    bench.session.up(a, bench.now)
    assert bench.bodies(a) == [b"later"]
    bench.session.down(a, bench.now)
    call = bench.ask(timeout=1)
    bench.later(1)
    assert failed(call).reason == f"no connection to {A} within 1 s"


def test_a_doubt_waits() -> None:
    """What may pass does not end a request; its time-out says what was seen."""
    bench = Bench(up=False)
    call = bench.ask(timeout=2)
    bench.session.refused(bench.brokers[0], "it has closed the connection", bench.now, final=False)
    assert not call.over
    bench.later(2)
    assert type(failed(call)) is Unreachable
    assert failed(call).reason == f"no connection to {A} (it has closed the connection) within 2 s"


def test_one_of_two_refuses() -> None:
    """The other has the requests, at once: the first gets no moment at the start any more."""
    bench = Bench(A, B, up=False)
    a, b = bench.brokers
    bench.ask(b"q")
    bench.session.up(b, bench.now)
    bench.session.refused(a, WHY, bench.now, final=True)
    assert bench.bodies(b) == [b"q"]


def test_one_refuses_and_the_other_is_away() -> None:
    """It may come: the request waits for it, and its time-out says what is wrong with the first."""
    bench = Bench(A, B, up=False)
    call = bench.ask(timeout=2)
    bench.session.refused(bench.brokers[0], WHY, bench.now, final=True)
    bench.later(2)
    assert failed(call).reason == f"no connection to {A} ({WHY}) or {B} within 2 s"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_both_refuse(order: tuple[int, int]) -> None:
    """With the reason of each, in the order of the list."""
    bench = Bench(A, B, up=False)
    call = bench.ask()
    for place in order:
        assert not call.over
        bench.session.refused(bench.brokers[place], f"reason {place}", bench.now, final=True)
    assert failed(call).reason == f"no connection to {A} (reason 0) or {B} (reason 1)"


def test_a_request_that_was_sent() -> None:
    """A key that is revoked ends the connection: nobody can say that it was not done."""
    bench = Bench()
    a = bench.brokers[0]
    call = bench.ask()
    bench.send(a)
    bench.session.down(a, bench.now)
    bench.session.refused(a, WHY, bench.now, final=True)
    assert type(failed(call)) is BrokerLost
    assert failed(call).endpoint == A
    assert WHY in failed(call).reason
