"""Commands that answer when something has become true: `zqctl wait`, `zqctl drain --wait`.

A part of the loop that looks PERIOD seconds apart, and only while somebody waits. Layer 3. Called by: `daemon`.
"""

from __future__ import annotations

from collections.abc import Callable

from zqd.control.commands import Later
from zqd.net.loop import Loop

PERIOD = 0.05  # seconds


class Waiters:
    """All commands that wait."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._waiting: list[tuple[Later, Callable[[], object], float | None]] = []
        self._next = 0.0

    def add(self, condition: Callable[[], object], timeout: float) -> Later:
        """An answer that comes when `condition()` is not None, with what it then is; or not within `timeout` seconds."""
        later = Later()
        give_up = self._loop.now + timeout if timeout else None
        self._waiting.append((later, condition, give_up))
        self._next = self._loop.now
        return later

    @property
    def deadline(self) -> float | None:
        """When to look again."""
        return self._next if self._waiting else None

    def settle(self) -> None:
        """Answer those whose time has come."""
        now = self._loop.now
        if not self._waiting or now < self._next:
            return
        self._next = now + PERIOD
        still = []
        for waiter in self._waiting:
            later, condition, give_up = waiter
            if later.done:  # given up by the server
                continue
            result = condition()
            if result is not None:
                later.finish(result)
            elif give_up is not None and now >= give_up:
                later.fail("it has not come to that in time")
            else:
                still.append(waiter)
        self._waiting = still
