"""One broker; several: `test_session_brokers.py`."""

from __future__ import annotations

import pytest

from tests.client.bench import PREFIX, A, B, Bench, failed
from zqd.client.errors import (
    BrokerLost,
    Busy,
    ClosedError,
    HandlerFailed,
    RequestError,
    TimedOut,
    Unreachable,
    WorkerLost,
)
from zqd.client.session import SENDS, SWEEP

# What goes over the wire


def test_the_message_of_a_request() -> None:
    """Options, the call's id, an empty frame, the body (rule 25)."""
    bench = Bench()
    call = bench.ask(b"q", timeout=1.5, attempts=2, priority=0)
    assert bench.send(bench.brokers[0]) == [
        [b"zqd/1 timeout_ms=1500 priority=0 attempts=2", call.id, b"", b"q"]
    ]
    assert call.id.startswith(PREFIX)


def test_the_options_frame_is_always_there() -> None:
    """Also with nothing to say, for only in it a failure shows as one."""
    bench = Bench()
    bench.ask(timeout=None)
    assert bench.send(bench.brokers[0])[0][0] == b"zqd/1"


def test_the_broker_is_told_the_time_that_is_left() -> None:
    """Not what the request was given at first: it may have waited for a connection."""
    bench = Bench(up=False)
    bench.ask(timeout=10)
    bench.later(4)
    bench.session.up(bench.brokers[0], bench.now)
    assert bench.send(bench.brokers[0])[0][0] == b"zqd/1 timeout_ms=6000"


def test_the_time_stays_what_zqd_accepts() -> None:
    """From 1 to 10^9 milliseconds, however the clock rounds and whenever it is sent."""
    bench = Bench()
    bench.now = 94527.12
    assert (bench.now + 1e6) - bench.now > 1e6
    bench.ask(timeout=1e6)
    assert bench.send(bench.brokers[0])[0][0] == b"zqd/1 timeout_ms=1000000000"
    bench.ask(timeout=1)
    bench.now += 2
    assert bench.send(bench.brokers[0])[0][0] == b"zqd/1 timeout_ms=1"


# Answers


def test_answers_find_their_calls_in_any_order() -> None:
    """By the id."""
    bench = Bench()
    calls = [bench.ask() for _ in range(3)]
    bench.send(bench.brokers[0])
    for call in reversed(calls):
        bench.answer(bench.brokers[0], call, call.id)
    assert [call.result() for call in calls] == [[call.id] for call in calls]
    assert bench.session.take_ended() == calls[::-1]
    assert bench.session.take_ended() == []


def test_empty_frames_in_a_reply_stay() -> None:
    """Only the envelope ends at the first empty frame."""
    bench = Bench()
    call = bench.ask()
    bench.send(bench.brokers[0])
    bench.answer(bench.brokers[0], call, b"", b"x", b"")
    assert call.result() == [b"", b"x", b""]


@pytest.mark.parametrize(
    "message",
    [
        [],
        [b""],
        [b"zqd/1"],
        [b"zqd/1", b"stranger", b"", b"a"],
        [b"zqd/1", PREFIX + bytes(7) + b"\1", b""],
        [b"zqd/1", PREFIX + bytes(7) + b"\1", b"not empty", b"a"],
        [PREFIX + bytes(7) + b"\1", b"", b"a"],
    ],
)
def test_what_answers_no_call_is_dropped(message: list[bytes]) -> None:
    """Nothing that a peer sends raises."""
    bench = Bench()
    call = bench.ask()
    bench.send(bench.brokers[0])
    bench.session.received(bench.brokers[0], message, bench.now)
    assert not call.over
    bench.answer(bench.brokers[0], call)
    assert call.result() == [b"a"]


def test_a_second_answer_is_dropped() -> None:
    """A call ends once."""
    bench = Bench()
    call = bench.ask()
    bench.send(bench.brokers[0])
    bench.answer(bench.brokers[0], call, b"first")
    bench.answer(bench.brokers[0], call, b"second")
    assert bench.session.take_ended() == [call]
    assert call.result() == [b"first"]


def test_a_reply_that_looks_like_a_failure_is_a_reply() -> None:
    """A worker may say what it likes; a failure shows in the options frame."""
    bench = Bench()
    call = bench.ask()
    bench.send(bench.brokers[0])
    bench.answer(bench.brokers[0], call, b"ZQD-ERROR 504 not really")
    assert call.result() == [b"ZQD-ERROR 504 not really"]


@pytest.mark.parametrize(
    ("code", "kind"),
    [(500, HandlerFailed), (502, WorkerLost), (503, Busy), (504, TimedOut), (599, RequestError)],
)
def test_a_failure_is_an_exception(code: int, kind: type[RequestError]) -> None:
    """With its code, its reason, and who said so; a code of a later version too."""
    bench = Bench()
    call = bench.ask()
    bench.send(bench.brokers[0])
    bench.fail(bench.brokers[0], call, code, "no luck, today")
    error = failed(call)
    assert type(error) is kind
    assert (error.code, error.reason, error.endpoint) == (code, "no luck, today", A)


@pytest.mark.parametrize("status", [b"", b"5x4", b"9" * 5000, "٥٠٤".encode()])
def test_a_status_that_is_none_is_still_a_failure(status: bytes) -> None:
    """With code 0 and all that was said."""
    bench = Bench()
    call = bench.ask()
    bench.send(bench.brokers[0])
    bench.session.received(bench.brokers[0], [b"zqd/1 status=" + status, call.id, b"", b"\xff?"], bench.now)
    assert (failed(call).code, failed(call).reason) == (0, "\ufffd?")


# Time


def test_a_call_ends_at_its_deadline() -> None:
    """And its late answer reaches nobody."""
    bench = Bench()
    call = bench.ask(timeout=2)
    bench.send(bench.brokers[0])
    bench.later(1.9)
    assert not call.over
    bench.later(0.1)
    error = failed(call)
    assert type(error) is TimedOut
    assert (error.code, error.reason, error.endpoint) == (504, "no answer within 2 s", None)
    bench.answer(bench.brokers[0], call)
    assert bench.session.take_ended() == [call]


def test_without_a_connection_it_was_unreachable() -> None:
    """Which says that it was not sent, and where there was nobody."""
    bench = Bench(A, B, up=False)
    call = bench.ask(timeout=2)
    bench.later(2)
    assert type(failed(call)) is Unreachable
    assert failed(call).reason == f"no connection to {A} or {B} within 2 s"


def test_without_a_timeout_there_is_no_deadline() -> None:
    """It waits for ever."""
    bench = Bench()
    call = bench.ask(timeout=None)
    assert bench.session.deadline is None
    bench.later(1e9)
    assert not call.over


def test_what_was_not_sent_in_time_is_not_sent() -> None:
    """It is passed over in the outbox."""
    bench = Bench()
    bench.ask(b"short", timeout=1)
    bench.ask(b"long", timeout=9)
    bench.later(2)
    assert bench.bodies(bench.brokers[0]) == [b"long"]


def test_a_forgotten_call_leaves_nothing() -> None:
    """Neither in the outbox, nor where it was sent; its answer is dropped."""
    bench = Bench()
    sent = bench.ask(b"sent")
    bench.send(bench.brokers[0])
    unsent = bench.ask(b"unsent")
    bench.session.forget(sent)
    bench.session.forget(unsent)
    bench.session.forget(unsent)
    assert bench.send(bench.brokers[0]) == []
    bench.answer(bench.brokers[0], sent)
    bench.session.down(bench.brokers[0], bench.now)
    assert bench.session.take_ended() == []
    assert bench.session.pending == 0


def test_timers_of_ended_calls_do_not_pile_up() -> None:
    """They are swept when they outnumber the others."""
    bench = Bench()
    for _ in range(5 * SWEEP):
        bench.session.forget(bench.ask(timeout=1000))
    assert len(bench.session._timers) <= SWEEP + 1


def test_a_closed_session_ends_all() -> None:
    """Waiting, unsent or sent."""
    bench = Bench(up=False)
    calls = [bench.ask()]
    bench.session.up(bench.brokers[0], bench.now)
    bench.send(bench.brokers[0])
    calls.append(bench.ask())
    bench.session.down(bench.brokers[0], bench.now)
    calls.append(bench.ask())
    bench.session.close(ClosedError(499, "closed"))
    assert [type(failed(call)) for call in calls] == [ClosedError] * 3


# Connections that break


def test_a_request_waits_for_a_connection() -> None:
    """And goes out when there is one, the oldest first."""
    bench = Bench(up=False)
    bench.ask(b"1")
    bench.ask(b"2")
    assert bench.send(bench.brokers[0]) == []
    bench.session.up(bench.brokers[0], bench.now)
    assert bench.bodies(bench.brokers[0]) == [b"1", b"2"]


def test_it_is_sent_again_when_the_connection_comes_back() -> None:
    """What was sent may be lost, what was not sent is: both go out again, in order."""
    bench = Bench()
    bench.ask(b"sent")
    bench.send(bench.brokers[0])
    bench.ask(b"unsent")
    bench.session.down(bench.brokers[0], bench.now)
    assert bench.send(bench.brokers[0]) == []
    bench.session.up(bench.brokers[0], bench.now)
    assert bench.bodies(bench.brokers[0]) == [b"sent", b"unsent"]


def test_at_most_once_is_never_sent_twice() -> None:
    """attempts=1: its fate is unknown, and that is what it says; one that was not sent yet still is."""
    bench = Bench(A, B)
    sent = bench.ask(b"sent", attempts=1)
    bench.send(bench.brokers[0])
    bench.ask(b"unsent", attempts=1)
    bench.session.down(bench.brokers[0], bench.now)
    assert type(failed(sent)) is BrokerLost
    assert failed(sent).endpoint == A
    assert bench.bodies(bench.brokers[1]) == [b"unsent"]


def test_a_request_that_breaks_every_connection_ends() -> None:
    """It may be the reason."""
    bench = Bench()
    call = bench.ask(timeout=None)
    for _ in range(SENDS):
        assert not call.over
        assert len(bench.send(bench.brokers[0])) == 1
        bench.session.down(bench.brokers[0], bench.now)
        bench.session.up(bench.brokers[0], bench.now)
    assert type(failed(call)) is BrokerLost


def test_an_answer_over_a_connection_that_was_given_up_counts() -> None:
    """The monitor's news and the messages come on two ways."""
    bench = Bench()
    call = bench.ask()
    bench.send(bench.brokers[0])
    bench.session.down(bench.brokers[0], bench.now)
    bench.answer(bench.brokers[0], call)
    assert call.result() == [b"a"]
    bench.session.up(bench.brokers[0], bench.now)
    assert bench.send(bench.brokers[0]) == []
