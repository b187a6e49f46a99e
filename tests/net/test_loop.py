from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Iterator
from functools import partial

import pytest

from zqd.net.loop import EVENTS_PER_TURN, LONGEST, Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A loop with nothing in it."""
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


class Counting:
    """A part that counts its turns; `deadline` is the test's."""

    def __init__(self, deadline: float | None = None) -> None:
        self.turns = 0
        self.deadline = deadline

    def settle(self) -> None:
        """Count."""
        self.turns += 1


def test_ready_descriptor(loop: Loop, pair: tuple[socket.socket, socket.socket]) -> None:
    """A handler is called with the events of its descriptor, and again while they last."""
    seen: list[int] = []
    loop.register(pair[0].fileno(), select.EPOLLIN, seen.append)
    pair[1].send(b"x")
    loop.turn()
    loop.turn()
    assert seen == [select.EPOLLIN] * 2


def test_modify(loop: Loop, pair: tuple[socket.socket, socket.socket]) -> None:
    """Other events can be waited for from the next turn on."""
    seen: list[int] = []
    loop.register(pair[0].fileno(), select.EPOLLIN, seen.append)
    loop.modify(pair[0].fileno(), select.EPOLLOUT)
    pair[1].send(b"x")
    loop.turn()
    assert seen == [select.EPOLLOUT]


def test_hangup_always_counts(loop: Loop, pair: tuple[socket.socket, socket.socket]) -> None:
    """Nothing but a hangup is waited for, and it comes."""
    seen: list[int] = []
    loop.register(pair[0].fileno(), 0, seen.append)
    pair[1].close()
    loop.turn()
    assert seen == [select.EPOLLHUP]


def test_unregistered(loop: Loop, pair: tuple[socket.socket, socket.socket]) -> None:
    """A descriptor that has been unregistered is heard of no more."""
    seen: list[int] = []
    loop.register(pair[0].fileno(), select.EPOLLIN, seen.append)
    loop.unregister(pair[0].fileno())
    pair[1].send(b"x")
    loop.call_soon(lambda: None)
    loop.turn()
    assert seen == []


def test_unregistered_in_the_same_turn(loop: Loop) -> None:
    """Of two that are ready, the one that the other closes is not called."""
    called: list[int] = []
    pairs = [socket.socketpair() for _ in range(2)]

    def close_the_other(mine: int, _: int) -> None:
        called.append(mine)
        other = pairs[1 - mine][0]
        loop.unregister(other.fileno())
        other.close()

    for number, (ours, theirs) in enumerate(pairs):
        theirs.send(b"x")
        loop.register(ours.fileno(), select.EPOLLIN, partial(close_the_other, number))
    loop.turn()
    assert len(called) == 1
    for both in pairs:
        for end in both:
            end.close()


def test_more_ready_than_fit_into_a_turn(loop: Loop) -> None:
    """With more ready descriptors than a turn takes, all have theirs within a few turns."""
    seen: set[int] = set()
    reading, writing = os.pipe()
    os.write(writing, b"x")

    def mark(copy: int, _: int) -> None:
        seen.add(copy)

    copies = [os.dup(reading) for _ in range(EVENTS_PER_TURN + 100)]
    for copy in copies:
        loop.register(copy, select.EPOLLIN, partial(mark, copy))
    for _ in range(3):
        loop.turn()
    assert seen == set(copies)
    for fd in (reading, writing, *copies):
        os.close(fd)


def test_timers(loop: Loop) -> None:
    """Timers are called in the order of their times, those of one time in the order in which they were set."""
    called: list[str] = []
    now = loop.now
    for name, when in (("third", now + 2e-3), ("first", now), ("fourth", now + 2e-3), ("second", now + 1e-3)):
        loop.call_at(when, partial(called.append, name))
    while len(called) < 4:
        loop.turn()
    assert called == ["first", "second", "third", "fourth"]
    assert loop.now >= now + 2e-3


def test_cancelled_timer(loop: Loop) -> None:
    """A cancelled timer is not called, not even when its time has come in the same turn."""
    called: list[str] = []

    def first() -> None:
        called.append("first")
        second.cancel()

    loop.call_at(loop.now, first)
    second = loop.call_at(loop.now, lambda: called.append("second"))
    third = loop.call_at(loop.now, lambda: called.append("third"))
    third.cancel()
    third.cancel()
    loop.call_soon(lambda: None)
    loop.turn()
    assert called == ["first"]


def test_timer_that_sets_a_timer(loop: Loop) -> None:
    """A timer may set the next one."""
    called: list[float] = []

    def beat() -> None:
        called.append(loop.now)
        loop.call_at(loop.now + 1e-3, beat)

    loop.call_at(loop.now, beat)
    while len(called) < 3:
        loop.turn()
    assert called == sorted(set(called))


def test_cancelled_timers_cost_nothing(loop: Loop) -> None:
    """However many timers have been set and cancelled, few are kept, and the living ones are called."""
    called: list[str] = []
    loop.call_at(loop.now, lambda: called.append("early"))
    for _ in range(50_000):
        loop.call_at(loop.now + 3600, lambda: None).cancel()
    loop.call_at(loop.now, lambda: called.append("late"))
    assert len(loop._timers) < 5000
    loop.turn()
    assert called == ["early", "late"]


def test_put_off(loop: Loop) -> None:
    """What is put off comes in the next turn, which does not wait; what it puts off comes in the one after."""
    called: list[str] = []

    def first() -> None:
        called.append("first")
        loop.call_soon(lambda: called.append("second"))

    loop.call_soon(first)
    loop.turn()
    assert called == ["first"]
    loop.turn()
    assert called == ["first", "second"]


def test_order_within_a_turn(loop: Loop, pair: tuple[socket.socket, socket.socket]) -> None:
    """Descriptors first, then what was put off, then timers, then the parts."""
    called: list[str] = []

    class Part(Counting):
        def settle(self) -> None:
            called.append("part")

    pair[1].send(b"x")
    loop.parts.append(Part())
    loop.call_at(loop.now, lambda: called.append("timer"))
    loop.call_soon(lambda: called.append("put off"))
    loop.register(pair[0].fileno(), select.EPOLLIN, lambda _: called.append("descriptor"))
    loop.turn()
    assert called == ["descriptor", "put off", "timer", "part"]


def test_parts(loop: Loop) -> None:
    """Every part settles once a turn."""
    parts = [Counting(), Counting()]
    loop.parts += parts
    for _ in range(3):
        loop.call_soon(lambda: None)
        loop.turn()
    assert [part.turns for part in parts] == [3, 3]


@pytest.mark.parametrize("by", ["part", "timer"])
def test_sleeps_until_the_first_deadline(loop: Loop, by: str) -> None:
    """A turn waits for the first deadline of parts and timers, without using the CPU."""
    now = time.monotonic()
    early, late = now + 0.05, now + 3600
    loop.parts += [Counting(early if by == "part" else late), Counting(None)]
    loop.call_at(early if by == "timer" else late, lambda: None)
    cpu = time.thread_time()
    loop.turn()
    assert early <= loop.now < early + 10
    assert time.thread_time() - cpu < 0.2


def test_deadline_in_the_past(loop: Loop) -> None:
    """A deadline that has passed makes the turn not wait."""
    loop.parts.append(Counting(loop.now - 1))
    loop.turn()
    assert loop.now < time.monotonic() + 1


def test_time_of_a_turn(loop: Loop) -> None:
    """The time is read once a turn."""
    seen: list[float] = []
    loop.call_soon(lambda: seen.append(loop.now))
    loop.call_soon(lambda: seen.append(loop.now))
    loop.turn()
    assert seen[0] == seen[1] == loop.now <= time.monotonic()


def test_a_time_that_never_comes() -> None:
    """However far away the next timer is, the loop can wait for it: epoll_wait(2) counts milliseconds in an int."""
    loop = Loop()
    loop.call_at(loop.now + 1e200, lambda: None)
    loop.call_at(loop.now, lambda: None)
    loop.turn()
    loop.call_soon(lambda: None)
    loop.turn()
    assert loop._patience() == LONGEST
    loop.close()


def test_housekeeping_comes_once_after_work(
    loop: Loop, pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some time after the loop has had something to do; where only timers are due, and where nothing is, it does not come."""
    monkeypatch.setattr("zqd.net.loop.HOUSEKEEPING", 0.01)
    kept: list[float] = []
    loop.housekeeping = lambda: kept.append(loop.now)

    def read(_: int) -> None:
        pair[0].recv(10)

    loop.register(pair[0].fileno(), select.EPOLLIN, read)
    for expected in (1, 2):
        pair[1].send(b"x")
        loop.turn()
        worked = loop.now
        loop.turn()  # sleeps until it is due
        assert len(kept) == expected
        assert kept[-1] >= worked + 0.01
    loop.call_at(loop.now + 0.05, lambda: None)
    loop.turn()
    assert len(kept) == 2
    assert loop._patience() is None
