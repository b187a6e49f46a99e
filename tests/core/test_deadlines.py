from __future__ import annotations

import pytest

from zqd.core.deadlines import Deadlines, Kind
from zqd.core.peers import Client, Worker
from zqd.core.request import Request


@pytest.fixture
def deadlines() -> Deadlines:
    """Nothing is due."""
    return Deadlines()


def waiting(seq: int = 1) -> Request:
    """A request in the line."""
    request = Request(seq, Client(1, "a", "", 0.0), b"", 0.0)
    request.waiting = True
    return request


def held(seq: int = 1) -> Request:
    """A request that a worker holds since its first dispatch."""
    request = waiting(seq)
    dispatch(request)
    return request


def dispatch(request: Request) -> None:
    """A worker gets it."""
    request.waiting = False
    request.dispatches += 1
    request.worker = Worker(2, "w", "", 0.0, capacity=1)


def finish(request: Request) -> None:
    """It is answered."""
    request.waiting = False
    request.worker = None


def test_rule_12_what_is_due_is_taken_out_soonest_first(deadlines: Deadlines) -> None:
    """And only what is due."""
    one, two, three = waiting(1), waiting(2), waiting(3)
    deadlines.set(3.0, Kind.WAIT, three)
    deadlines.set(1.0, Kind.WAIT, one)
    deadlines.set(2.0, Kind.CLIENT, two)
    assert deadlines.next == 1.0
    assert list(deadlines.due(2.0)) == [(Kind.WAIT, one), (Kind.CLIENT, two)]
    assert deadlines.next == 3.0
    assert list(deadlines.due(2.5)) == []


def test_without_deadlines_there_is_none_next(deadlines: Deadlines) -> None:
    """And nothing is due, ever."""
    assert deadlines.next is None
    assert list(deadlines.due(1e9)) == []


def test_rule_12_the_wait_ends_with_a_dispatch(deadlines: Deadlines) -> None:
    """Its deadline is stale then, also when the request comes back."""
    request = waiting()
    deadlines.set(1.0, Kind.WAIT, request)
    dispatch(request)
    finish(request)
    request.waiting = True
    assert list(deadlines.due(1.0)) == []


def test_rule_11_an_attempts_deadline_ends_with_the_attempt(deadlines: Deadlines) -> None:
    """The next attempt has its own."""
    request = held()
    deadlines.set(1.0, Kind.RUN, request)
    dispatch(request)
    deadlines.set(2.0, Kind.RUN, request)
    assert list(deadlines.due(1.0)) == []
    assert list(deadlines.due(2.0)) == [(Kind.RUN, request)]


def test_rule_12_a_clients_own_deadline_holds_wherever_the_request_is(deadlines: Deadlines) -> None:
    """Over dispatches and returns, until it ends."""
    one, two = waiting(1), waiting(2)
    deadlines.set(1.0, Kind.CLIENT, one)
    deadlines.set(1.0, Kind.CLIENT, two)
    dispatch(one)
    dispatch(one)
    finish(two)
    assert list(deadlines.due(1.0)) == [(Kind.CLIENT, one)]


def test_two_deadlines_of_one_request_at_one_time_are_no_trouble(deadlines: Deadlines) -> None:
    """Nor are the same two again."""
    request = held()
    for _ in range(2):
        deadlines.set(1.0, Kind.RUN, request)
        deadlines.set(1.0, Kind.CLIENT, request)
    assert len(list(deadlines.due(1.0))) == 4


def test_what_becomes_due_while_others_are_taken_is_taken_too(deadlines: Deadlines) -> None:
    """Ending one request may set the deadline of another."""
    one, two = waiting(1), waiting(2)
    deadlines.set(1.0, Kind.WAIT, one)
    seen = []
    for _, request in deadlines.due(2.0):
        seen.append(request)
        if request is one:
            for seq in range(3, 3000):  # so many that the heap is swept meanwhile
                deadlines.set(9.0, Kind.WAIT, waiting(seq))
            deadlines.set(1.5, Kind.WAIT, two)
    assert seen == [one, two]


def test_stale_deadlines_are_swept_out(deadlines: Deadlines) -> None:
    """A long life with many time-outs that never came keeps nothing of them; what lives is kept."""
    alive = waiting(1)
    deadlines.set(1e6, Kind.CLIENT, alive)
    for seq in range(2, 50_000):
        request = held(seq)
        deadlines.set(1000.0 + seq, Kind.RUN, request)
        finish(request)
    assert len(deadlines._heap) < 2048
    assert list(deadlines.due(1e6)) == [(Kind.CLIENT, alive)]
