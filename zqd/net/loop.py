"""The loop: one thread waits for descriptors and timers, and calls who asked for them.

    turn:  wait ─▶ ready descriptors ─▶ what was put off ─▶ timers ─▶ every part settles (its queue's outputs)

Layer 3; knows epoll and the clock, nothing of queues or protocols. Called by: `daemon`; used by all shells.
"""

from __future__ import annotations

import heapq
import os
import select
import time
from collections.abc import Callable
from typing import Protocol

EVENTS_PER_TURN = 1024
LONGEST = 86400.0  # seconds that one turn waits at most: epoll_wait(2) counts milliseconds in an int

# To sleep and to be woken takes longer than the next message of a quick peer. So where waits are short the loop looks again and
# again before it sleeps, as long as that pays.
BUSY_POLL = 50e-6  # seconds for which it looks
SHORT = 100e-6  # seconds; each wait that was shorter than that raises the hope by one, a longer one ends it
ENOUGH_HOPE = 2
MOST_HOPE = 16
IN_VAIN = 3  # what a busy poll that finds nothing takes from the hope
NO_HOPE = -1000  # after one that took far too long: others want this processor; to be woken gets it sooner

HOUSEKEEPING = 5.0  # seconds between two times


class Part(Protocol):
    """What takes part in every turn: a device, or those who wait for something to become true."""

    def settle(self) -> None:
        """Do what the turn has left to do."""
        ...

    @property
    def deadline(self) -> float | None:
        """When `settle` should be called even if nothing happens (monotonic seconds)."""
        ...


class Timer:
    """One call at a time to come; `cancel` takes it back."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Never call it (its place is freed later)."""
        self.callback = None


class Loop:
    """Descriptors, timers and parts. All state of the daemon belongs to this one thread."""

    def __init__(self, on_fault: Callable[[Exception], None] | None = None) -> None:
        self.on_fault = on_fault
        """Is told of exceptions out of callbacks and timers, which then end nothing; without it they are raised."""
        self.now = time.monotonic()
        """The time of this turn, monotonic seconds; read once a turn."""
        self.parts: list[Part] = []
        self._epoll = select.epoll()
        self._handlers: list[Callable[[int], None] | None] = []  # by descriptor
        self._timers: list[tuple[float, int, Timer]] = []
        self._timer_number = 0
        self._cancelled_allowed = 1024
        self._put_off: list[Callable[[], None]] = []
        self.busy_poll = True
        """Look for more before sleeping, where what comes next comes at once."""
        self.housekeeping: Callable[[], None] | None = None
        """Is called now and then while there is something to do, and once after that."""
        self._hope = 0  # that the next wait is short
        self._worked = False  # the last turn had something to do
        self._housekeeper: Timer | None = None

    def close(self) -> None:
        """Give back the epoll descriptor."""
        self._epoll.close()

    def register(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        """Call `handler(events)` whenever `fd` is ready; EPOLLHUP and EPOLLERR always count."""
        self._epoll.register(fd, events)
        if fd >= len(self._handlers):
            self._handlers += [None] * (fd + 1 - len(self._handlers))
        self._handlers[fd] = handler

    def modify(self, fd: int, events: int) -> None:
        """Wait for other events of a registered descriptor."""
        self._epoll.modify(fd, events)

    def handle(self, fd: int, handler: Callable[[int], None]) -> None:
        """Call another handler from now on for a registered descriptor."""
        self._handlers[fd] = handler

    def unregister(self, fd: int) -> None:
        """Forget a descriptor, before it is closed."""
        self._handlers[fd] = None
        self._epoll.unregister(fd)

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call back once at `when` (monotonic seconds) or soon after."""
        timer = Timer(when, callback)
        self._timer_number += 1
        heapq.heappush(self._timers, (when, self._timer_number, timer))
        if len(self._timers) > self._cancelled_allowed:
            self._timers = [entry for entry in self._timers if entry[2].callback is not None]
            heapq.heapify(self._timers)
            self._cancelled_allowed = max(1024, 2 * len(self._timers))
        return timer

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call back in the next turn, which then does not wait."""
        self._put_off.append(callback)

    def turn(self) -> None:
        """Wait until there is something to do, and do it."""
        ready = self._wait()
        handlers = self._handlers
        for fd, events in ready:
            handler = handlers[fd]
            if handler is not None:  # else closed by one before it
                handler(events)
        if self._put_off:
            callbacks, self._put_off = self._put_off, []
            for callback in callbacks:
                self._run(callback)
        timers = self._timers
        while timers and timers[0][0] <= self.now:
            timer = heapq.heappop(timers)[2]
            if timer.callback is not None:
                self._run(timer.callback)
            timers = self._timers
        for part in self.parts:
            part.settle()

    def _keep_house(self) -> None:
        self._housekeeper = None
        if self.housekeeping is not None:
            self.housekeeping()

    def _run(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception as fault:
            if self.on_fault is None:
                raise
            self.on_fault(fault)

    def _wait(self) -> list[tuple[int, int]]:
        """The ready descriptors and their events; none where something else is to be done, or has become due."""
        poll = self._epoll.poll
        ready = poll(0, EVENTS_PER_TURN)
        self.now = began = time.monotonic()
        if ready or self._put_off:
            self._worked = True
            return ready
        if self.busy_poll and self._hope >= ENOUGH_HOPE:
            ready = self._look_again(began)
        if not ready:
            if self._worked and self.housekeeping and self._housekeeper is None:
                self._housekeeper = self.call_at(self.now + HOUSEKEEPING, self._keep_house)
            ready = poll(self._patience(), EVENTS_PER_TURN)
            self.now = time.monotonic()
        self._worked = bool(ready)
        if not ready or self.now > began + SHORT:
            self._hope = min(self._hope, 0)
        elif self._hope < MOST_HOPE:
            self._hope += 1
        return ready

    def _look_again(self, began: float) -> list[tuple[int, int]]:
        """A busy poll: what becomes ready soon after `began`, or nothing."""
        ready: list[tuple[int, int]] = []
        while not ready and self.now < began + BUSY_POLL:
            os.sched_yield()  # who shares this processor goes first: it may be who sends the next message
            ready = self._epoll.poll(0, EVENTS_PER_TURN)
            self.now = time.monotonic()
        if self.now > began + 2 * SHORT:
            self._hope = NO_HOPE
        elif not ready:
            self._hope -= IN_VAIN
        return ready

    def _patience(self) -> float | None:
        """How long to sleep, seconds; None for ever."""
        timers = self._timers
        while timers and timers[0][2].callback is None:
            heapq.heappop(timers)
        wake = timers[0][0] if timers else None
        for part in self.parts:
            deadline = part.deadline
            if deadline is not None and (wake is None or deadline < wake):
                wake = deadline
        return None if wake is None else min(max(0.0, wake - self.now), LONGEST)
