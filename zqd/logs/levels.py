"""The four levels, their priorities, and which of them are logged just now."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import structlog

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3}
"""Of syslog(3), which sd-daemon(3) and the journal share."""


class Threshold:
    """The least severe level that is logged; it may change at any time.

    `enabled` is asked for every event, logged or not: a set, so that the answer costs next to nothing.
    """

    def __init__(self, level: str) -> None:
        self.set(level)

    def set(self, level: str) -> None:
        """ValueError where there is no such level."""
        if level not in LEVELS:
            raise ValueError(f"log level {level!r}: expected {', '.join(LEVELS)}")
        self.level = level
        self.enabled = frozenset(name for name, number in LEVELS.items() if number >= LEVELS[level])


THRESHOLD = Threshold("info")
"""Of the whole process."""


def only_enabled(_: Any, level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """As the first processor, so that the level can be switched for loggers that exist already, bound or not."""
    if level not in THRESHOLD.enabled:
        raise structlog.DropEvent
    return event
