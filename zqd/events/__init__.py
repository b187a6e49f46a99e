"""Every event that zqd and zqd-worker log: its level, what it means, and how it is told to people. Layer 0.

The core and the shells name an event by its key and give it fields; `logs` looks up the rest here, and so does whoever
publishes events. Nothing that happens once for each request is above debug while all goes well. No event has a field
named `event`, `level` or `timestamp`: every log line has these.
"""

from __future__ import annotations

from collections.abc import Mapping

from zqd.events.broker import BROKER
from zqd.events.event import Event, shown
from zqd.events.instance import INSTANCE

__all__ = ["EVENTS", "Event", "message", "shown"]

EVENTS: dict[str, Event] = BROKER | INSTANCE


def message(name: str, fields: Mapping[str, object]) -> str:
    """One line for people about the event `name`; an event that is not in the table is told by its name."""
    event = EVENTS.get(name)
    return name if event is None else event.tell(fields)
