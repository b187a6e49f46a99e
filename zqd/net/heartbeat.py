"""Heartbeats of one connection: finds a peer that is gone without a word (rules 18, 27).

A peer that has been quiet for an interval gets a PING; one that then gives no sign of life for the time-out is lost. Any
byte counts as life, and the clock of a PING starts when it has left. Where one would have to wait behind a backlog, taking
some of that counts as life too.

A peer that is not read for now is not judged by what it says: it gets a PING every second, which keeps one with heartbeats
of its own from cutting us off, and draws the reset of one that died. Its kernel has to acknowledge them.

Layer 3. Called by: `link`.
"""

from __future__ import annotations

from typing import Protocol

from zqd.net.loop import Loop, Timer
from zqd.net.outflow import Outflow

PAUSED_INTERVAL = 1.0  # seconds between the PINGs to a peer that is not read


class Beating(Protocol):
    """What heartbeats need of the link that they are of."""

    loop: Loop
    outflow: Outflow
    heard: float
    """When the last byte came."""

    @property
    def reading(self) -> bool:
        """The peer may be read now."""
        ...

    def look(self) -> bool:
        """Read what the peer may have sent meanwhile; True where there was something."""
        ...

    def ping(self, timeout: float) -> bool:
        """Send a PING; False if that ended the link."""
        ...

    def silent(self, seconds: float) -> None:
        """The peer gave no sign of life for so long."""
        ...


class Heartbeat:
    """The heartbeats of an established link; `interval` 0 means only while it is paused. Times in seconds."""

    __slots__ = ("_interval", "_link", "_pinged", "_timeout", "_timer")

    def __init__(self, link: Beating, interval: float, timeout: float) -> None:
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
        link, now = self._link, self._link.loop.now
        if not link.reading:
            self._beat_paused()
            return
        if not self._interval:
            return
        if self._pinged is not None and link.heard > self._pinged:
            self._pinged = None
        since = self._pinged
        if link.outflow.size and since is None:
            # A PING would have to wait its turn behind this: the peer lives if it takes some of it.
            link.outflow.look(now)
            since = max(link.heard, link.outflow.progress)
        if since is not None and self._timeout and now - since >= self._timeout:
            if not link.look():  # what came in the meantime may not have been read yet
                link.silent(now - link.heard)
                return
            self._pinged = since = None
        if since is None and now - link.heard >= self._interval:
            if not link.ping(self._timeout):
                return
            if not link.outflow.size:
                self._pinged = since = now
        due = link.heard + self._interval if since is None else since + (self._timeout or self._interval)
        self._again_in(min(self._interval, max(due - now, 0.01)))

    def _beat_paused(self) -> None:
        link, outflow = self._link, self._link.outflow
        self._pinged = None
        if self._timeout and outflow.unacknowledged_for() >= self._timeout:
            link.silent(link.loop.now - link.heard)
        elif outflow.size or link.ping(self._timeout):
            self._again_in(PAUSED_INTERVAL)
