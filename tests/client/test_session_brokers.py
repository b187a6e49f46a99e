"""Which of several brokers gets a request, and when another gets it."""

from __future__ import annotations

from tests.client.bench import A, B, Bench, C, failed
from zqd.client.errors import Busy, TimedOut, WorkerLost
from zqd.client.session import GRACE, SUSPICION, Link

# Several brokers


def test_the_first_that_is_connected_gets_all() -> None:
    """They are no pool: the others are there for when it is not."""
    bench = Bench(A, B)
    for _ in range(4):
        bench.ask()
    assert [len(bench.send(broker)) for broker in bench.brokers] == [4, 0]


def test_the_next_takes_over_when_a_connection_breaks() -> None:
    """At once; and the preferred one has new requests again when it is back."""
    bench = Bench(A, B)
    a, b = bench.brokers
    call = bench.ask(b"moved")
    bench.send(a)
    bench.session.down(a, bench.now)
    bench.ask(b"next")
    assert bench.bodies(b) == [b"moved", b"next"]
    bench.answer(b, call)
    assert call.result() == [b"a"]
    bench.session.up(a, bench.now)
    bench.ask(b"home")
    assert bench.bodies(a) == [b"home"]


def test_a_preferred_broker_gets_a_moment_at_the_start() -> None:
    """All connect at the same time: who is up first is chance."""
    bench = Bench(A, B, up=False)
    a, b = bench.brokers
    bench.ask(b"early")
    bench.session.up(b, bench.now)
    assert bench.send(b) == []
    bench.session.up(a, bench.now)
    assert bench.bodies(a) == [b"early"]


def test_it_is_only_a_moment() -> None:
    """Then others that are up have the request."""
    bench = Bench(A, B, up=False)
    bench.ask(b"early")
    bench.session.up(bench.brokers[1], bench.now)
    bench.later(GRACE)
    assert bench.bodies(bench.brokers[1]) == [b"early"]


def test_a_refused_handshake_ends_the_moment() -> None:
    """Then it is known that the broker is no use."""
    bench = Bench(A, B, up=False)
    bench.ask(b"early")
    bench.session.down(bench.brokers[0], bench.now)
    bench.session.up(bench.brokers[1], bench.now)
    assert bench.bodies(bench.brokers[1]) == [b"early"]


def test_silence_for_a_share_of_the_time_calls_the_next() -> None:
    """Of three brokers each has a third; the first answer counts, whoever gives it."""
    bench = Bench(A, B, C)
    a, b, c = bench.brokers
    call = bench.ask(timeout=9)
    assert len(bench.send(a)) == 1
    bench.later(2.9)
    assert bench.send(b) == []
    bench.later(0.1)
    assert bench.send(b)[0][0] == b"zqd/1 timeout_ms=6000"
    bench.later(3)
    assert len(bench.send(c)) == 1
    bench.answer(a, call, b"late, but first")
    assert call.result() == [b"late, but first"]


def test_what_lies_unsent_moves_too() -> None:
    """A connection may take nothing more while its broker sleeps; that is no send."""
    bench = Bench(A, B)
    call = bench.ask(b"q", timeout=2, attempts=1)
    bench.later(1)
    assert bench.send(bench.brokers[0]) == []
    assert bench.bodies(bench.brokers[1]) == [b"q"]
    bench.answer(bench.brokers[1], call)
    assert call.result() == [b"a"]


def test_at_most_once_stays_with_a_silent_broker() -> None:
    """To its deadline."""
    bench = Bench(A, B)
    call = bench.ask(timeout=2, attempts=1)
    bench.send(bench.brokers[0])
    bench.later(2)
    assert bench.send(bench.brokers[1]) == []
    assert type(failed(call)) is TimedOut


def test_a_silent_broker_is_the_last_choice_for_a_while() -> None:
    """The next requests need not wait for their share as well."""
    bench = Bench(A, B)
    a, b = bench.brokers
    bench.ask(b"1", timeout=2)
    bench.send(a)
    bench.later(1)
    bench.ask(b"2")
    assert bench.bodies(b) == [b"1", b"2"]
    bench.later(SUSPICION)
    bench.ask(b"3")
    assert bench.bodies(a) == [b"3"]


def test_a_sign_of_life_clears_a_silent_broker() -> None:
    """Any message; it may have been one slow worker."""
    bench = Bench(A, B)
    a = bench.brokers[0]
    slow = bench.ask(b"slow", timeout=2)
    bench.send(a)
    bench.later(1)
    bench.answer(a, slow)
    bench.ask(b"next")
    assert bench.bodies(a) == [b"next"]


def test_a_broker_that_answers_others_is_not_silent() -> None:
    """One slow request says nothing against it."""
    bench = Bench(A, B)
    a, b = bench.brokers
    bench.ask(b"slow", timeout=2)
    quick = bench.ask(b"quick", timeout=2)
    bench.send(a)
    bench.later(0.5)
    bench.answer(a, quick)
    bench.later(0.5)
    bench.ask(b"next")
    assert bench.bodies(a) == [b"next"]
    assert bench.bodies(b) == [b"slow"]


def test_a_silent_broker_alone_is_still_used() -> None:
    """There is no other."""
    bench = Bench(A, B)
    a, b = bench.brokers
    bench.session.down(b, bench.now)
    bench.ask(b"1", timeout=2)
    bench.send(a)
    bench.later(1)
    bench.ask(b"2")
    assert bench.bodies(a) == [b"2"]


def test_of_silent_brokers_the_first_is_used() -> None:
    """The order of the list holds among them too."""
    bench = Bench(A, B)
    a, b = bench.brokers
    bench.ask(b"1", timeout=4)
    bench.send(a)
    bench.later(2)
    bench.send(b)
    bench.ask(b"2", timeout=2)
    bench.send(b)
    bench.later(1)
    assert min(a.suspect_until, b.suspect_until) > bench.now
    bench.send(a)
    bench.ask(b"3")
    assert bench.bodies(a) == [b"3"]


def test_who_else_has_it_goes_on_when_a_connection_breaks() -> None:
    """It is neither sent once more nor given up."""
    bench = Bench(A, B)
    a, b = bench.brokers
    call = bench.ask(timeout=4, attempts=2)
    bench.send(a)
    bench.later(2)
    bench.send(b)
    bench.session.down(a, bench.now)
    bench.session.up(a, bench.now)
    assert not call.over
    assert bench.send(a) == []
    bench.answer(b, call)
    assert call.result() == [b"a"]


# Brokers that refuse


def test_busy_goes_to_the_next_broker() -> None:
    """Nothing is lost by asking."""
    bench = Bench(A, B)
    a, b = bench.brokers
    call = bench.ask()
    bench.send(a)
    bench.fail(a, call, 503, "the queue is full")
    assert len(bench.send(b)) == 1
    bench.fail(b, call, 503, "the queue is full")
    assert type(failed(call)) is Busy
    assert failed(call).endpoint == B


def test_busy_waits_for_one_that_is_starting() -> None:
    """It has its moment at the start."""
    bench = Bench(A, B, up=False)
    a, b = bench.brokers
    bench.session.up(a, bench.now)
    call = bench.ask()
    bench.send(a)
    bench.fail(a, call, 503, "the queue is full")
    assert bench.send(a) == []
    bench.session.up(b, bench.now)
    assert len(bench.send(b)) == 1


def test_busy_without_another_is_final() -> None:
    """One that is down may never come."""
    bench = Bench(A, B)
    a, b = bench.brokers
    bench.session.down(b, bench.now)
    call = bench.ask()
    bench.send(a)
    bench.fail(a, call, 503, "the queue is full")
    assert type(failed(call)) is Busy


def test_busy_at_most_once_is_final() -> None:
    """At the end of a stop what runs gets 503 too."""
    bench = Bench(A, B)
    call = bench.ask(attempts=1)
    bench.send(bench.brokers[0])
    bench.fail(bench.brokers[0], call, 503, "stopping")
    assert type(failed(call)) is Busy


def test_busy_waits_for_another_that_has_it() -> None:
    """A silent broker may still answer."""
    bench = Bench(A, B)
    a, b = bench.brokers
    call = bench.ask(timeout=2)
    bench.send(a)
    bench.later(1)
    bench.send(b)
    bench.fail(b, call, 503, "the queue is full")
    assert not call.over
    bench.answer(a, call)
    assert call.result() == [b"a"]


def test_a_stopping_broker_gets_nothing_more() -> None:
    """Until it is back: then it gets what it refused, and what was made meanwhile."""
    bench = Bench()
    a = bench.brokers[0]
    call = bench.ask(b"refused")
    bench.send(a)
    bench.ask(b"unsent")
    bench.fail(a, call, 503, "stopping")
    assert a.link is Link.LEAVING
    bench.ask(b"new")
    assert bench.send(a) == []
    bench.session.down(a, bench.now)
    bench.session.up(a, bench.now)
    assert sorted(bench.bodies(a)) == [b"new", b"refused", b"unsent"]


def test_other_failures_are_final() -> None:
    """They are the request's, not the broker's."""
    bench = Bench(A, B)
    call = bench.ask()
    bench.send(bench.brokers[0])
    bench.fail(bench.brokers[0], call, 502, "worker lost")
    assert type(failed(call)) is WorkerLost
    assert bench.send(bench.brokers[1]) == []
