"""Logging: the way of every event from its source to a line, or to an entry of the journal.

`setup` is the one place that configures structlog. It joins a format (`formats`, `journal`) to where the lines go (`sinks`)
by an `Output`, which counts what could not be written. `EventLog` looks up each event's level and folds storms.

Nothing here raises or waits once `configure` has returned: a full disk, a closed pipe, a journal that is gone or does not
read costs log lines, never the broker. Layer 4. Called by: `daemon`, and zqd-worker's program.
"""

from __future__ import annotations

from zqd.logs.event_log import FOLD_AFTER, EventLog
from zqd.logs.levels import LEVELS
from zqd.logs.setup import configure, current_level, reopen, set_level

__all__ = [
    "FOLD_AFTER",
    "LEVELS",
    "EventLog",
    "configure",
    "current_level",
    "reopen",
    "set_level",
]
