"""Events on their way into the log: each with its level from `zqd.events`, storms folded.

More than FOLD_AFTER events of one name within a second are counted, and told in one line.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from zqd.events import EVENTS
from zqd.logs.levels import THRESHOLD

FOLD_AFTER = 20  # events of one name within a second that are logged one by one


class EventLog:
    """Takes the events of all devices; `clock` is monotonic and only measures storms."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = structlog.get_logger()
        self._clock = clock
        self._second = 0.0
        self._seen: dict[str, int] = {}
        self.call_at: Callable[[float, Callable[[], None]], object] | None = None
        """Calls back at a time of the clock: so a storm is told even if no other event follows it."""

    def __call__(self, name: str, fields: dict[str, object]) -> None:
        """Log one event with its own level."""
        level = _level(name)
        if level not in THRESHOLD.enabled:
            return
        now = self._clock()
        if now - self._second >= 1:
            self.fold()
            self._second = now
        seen = self._seen[name] = self._seen.get(name, 0) + 1
        if seen <= FOLD_AFTER or level == "debug":
            getattr(self._log, level)(name, **fields)
        elif seen == FOLD_AFTER + 1 and self.call_at is not None:
            self.call_at(now + 1, self.fold)

    def fold(self) -> None:
        """Tell what was left out since the last time."""
        seen, self._seen = self._seen, {}
        for name, count in seen.items():
            if count > FOLD_AFTER and _level(name) != "debug":
                self._log.warning("events.folded", of=name, more=count - FOLD_AFTER)

    def fault(self, fault: BaseException) -> None:
        """A fault of ours, with its traceback."""
        self._log.error("zqd.fault", reason=f"{type(fault).__name__}: {fault}", exc_info=fault)


def _level(name: str) -> str:
    event = EVENTS.get(name)
    return "info" if event is None else event.level
