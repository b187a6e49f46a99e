"""Heartbeats of one connection: finds a peer that is gone without a word (rules 18, 27).

A peer that has been quiet for an interval gets a PING; one that then gives no sign of life for the time-out is lost. Any
byte counts as life, and the clock of a PING starts when it has left. A peer that is not read for now is not judged: it gets
a PING every second, which keeps one with heartbeats of its own from cutting us off, and draws the reset of one that died.

Layer 3. Called by: `link`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zqd.net.link import Link
    from zqd.net.loop import Timer

PAUSED_INTERVAL = 1.0  # seconds between the PINGs to a peer that is not read


class Heartbeat:
    """The heartbeats of an established link; `interval` 0 means only while it is paused. Times in seconds."""

    __slots__ = ("_interval", "_link", "_pinged", "_timeout", "_timer")

    def __init__(self, link: Link, interval: float, timeout: float) -> None:
        self._link = link
        self._interval = interval
        self._timeout = timeout
        self._pinged: float | None = None  # when a PING has left
        self._timer: Timer | None = None
        if interval:
            self._again_in(interval)

    def paused(self) -> None:
        """The link is not read from now on."""
        self._again_in(PAUSED_INTERVAL)

    def stop(self) -> None:
        """The link has ended."""
        if self._timer is not None:
            self._timer.cancel()

    def _again_in(self, seconds: float) -> None:
        self.stop()
        self._timer = self._link.loop.call_at(self._link.loop.now + seconds, self._beat)

    def _beat(self) -> None:
        link, now, interval, timeout = self._link, self._link.loop.now, self._interval, self._timeout
        if not link.reading:
            self._pinged = None
            if link.outflow.size or link.ping(timeout):
                self._again_in(PAUSED_INTERVAL)
            return
        if not interval:
            return
        if self._pinged is not None and link.heard > self._pinged:
            self._pinged = None
        if self._pinged is not None and timeout and now - self._pinged >= timeout:
            link.silent(now - link.heard)
            return
        if self._pinged is None and now - link.heard >= interval and not link.outflow.size:
            if not link.ping(timeout):
                return
            if not link.outflow.size:
                self._pinged = now
        due = link.heard + interval if self._pinged is None else self._pinged + (timeout or interval)
        self._again_in(min(interval, max(due - now, 0.01)))
