"""Commands that answer when something has become true: `zqctl wait`, `zqctl drain --wait`.

A part of the loop, the last one, so that it sees what the others have done in a turn. It looks after turns only: while
nothing happens nothing becomes true, and the process sleeps (rule 20). Every look of everyone who waits costs the state of
every queue, so the looks are PERIOD apart, and more, up to LONGEST, where they would take over SHARE of the time.
Layer 3. Called by: `daemon`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from zqd.control.answers import CommandError, Later
from zqd.net.loop import Loop

PERIOD, LONGEST = 0.05, 1.0  # seconds between two looks
SHARE = 0.02  # of the time, for looking

Condition = Callable[[], object]
"""What there is to answer, None as long as it has not come to that; CommandError when it never will."""


class _Waiter(NamedTuple):
    later: Later
    condition: Condition
    timeout: float
    give_up: float | None


class Waiters:
    """All commands that wait. `on_fault` is told of an exception that a condition should not have raised."""

    def __init__(self, loop: Loop, on_fault: Callable[[Exception], None] = lambda _: None) -> None:
        self._loop = loop
        self._on_fault = on_fault
        self._waiting: list[_Waiter] = []
        self._next = 0.0  # when to look again at the earliest
        self._stirred = False  # there was a turn since the last look

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, condition: Condition, timeout: float) -> Later:
        """An answer that comes when `condition()` is not None, with what it then is; or not within `timeout` seconds (0: no limit)."""
        later = Later()
        result = condition()
        if result is not None:
            later.finish(result)
            return later
        self._waiting.append(
            _Waiter(later, condition, timeout, self._loop.now + timeout if timeout else None)
        )
        self._loop.parts.sort(key=lambda part: part is self)  # to the end
        return later

    @property
    def deadline(self) -> float | None:
        """When to look again, or to give up."""
        if not self._waiting:
            return None
        if self._stirred:
            return self._next
        times = [waiter.give_up for waiter in self._waiting if waiter.give_up is not None]
        return max(min(times), self._next) if times else None

    def settle(self) -> None:
        """Answer those whose time has come."""
        if not self._waiting:
            return
        now = self._loop.now
        self._stirred = now < self._next
        if self._stirred:
            return
        began = time.thread_time()  # what a busy machine takes away does not count
        self._waiting = [waiter for waiter in self._waiting if not self._is_over(waiter, now)]
        self._next = now + max(PERIOD, min((time.thread_time() - began) / SHARE, LONGEST))

    def _is_over(self, waiter: _Waiter, now: float) -> bool:
        """Whether it has been answered, now or before."""
        later = waiter.later
        if later.done:  # given up by the server
            return True
        if later.abandoned():
            later.fail("nobody waits for this any more")
            return True
        try:
            result = waiter.condition()
        except CommandError as refusal:
            later.fail(refusal.sentence, refusal.code)
        except Exception as fault:  # noqa: BLE001 - as in the server: whatever is wrong in a command, the broker goes on
            self._on_fault(fault)
            later.fail(f"the command failed inside zqd: {type(fault).__name__}: {fault}")
        else:
            if result is not None:
                later.finish(result)
            elif waiter.give_up is not None and now >= waiter.give_up:
                later.fail(f"it has not come to that within {waiter.timeout:g} s")
        return later.done
