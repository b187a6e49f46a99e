"""The picture that `zqctl top` shows, and what keys make of it.

Pure: `layout` makes lines out of what zqd said, how the user looks at it and the size of the terminal; `press` makes another
look out of a key. Called by `zqd.ctl.top`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from textwrap import wrap
from typing import Any, NamedTuple

from zqd.control.inquiries import REQUESTS_SHOWN
from zqd.ctl.check import Level, Limits, find_problems
from zqd.ctl.tables import GAP, Column, Row, duration, fit, latency, percent, plain, rate, size, table
from zqd.ctl.views import heading, saturations

SMALLEST = (30, 8)
"""Columns and lines without which nothing can be shown."""

FIXED = 7
"""Lines that are neither a queue's nor a row's: the daemon, the headings, what stands between them, the keys."""

KEYS = "q quit  Tab {next}  < > sort  r reverse  p {pause}  h help"
HELP = (
    "",
    "Tab             the next of workers, clients, requests and queues",
    "< >             sort by the column to the left, to the right",
    "r               sort the other way round",
    "Up Down j k     scroll by a line",
    "PgUp PgDn Home  scroll by ten lines, to the first",
    "p               stand still, and go on",
    "h ?             this help, and back",
    "q               quit",
)

QUEUES = (
    Column("QUEUE", "name"),
    Column("STATE", "state"),
    Column("QUEUED", "queued", optional=True),
    Column("IN FLIGHT", "in_flight", optional=True),
    Column("IDLE", "idle_workers", optional=True),
    Column("WORKERS", "workers", optional=True),
    Column("BUSY", "busy", percent, optional=True),
    Column("OLDEST", "oldest_wait_s", duration, optional=True),
    Column("REPLIED/S", "replied_per_s", rate, optional=True),
    Column("RECEIVED/S", "received_per_s", rate, optional=True),
    Column("CLIENTS", "clients", optional=True),
    Column("WAIT P50", "wait_ms.p50", latency, optional=True),
    Column("P99", "wait_ms.p99", latency, optional=True),
    Column("RUN P50", "run_ms.p50", latency, optional=True),
    Column("P99", "run_ms.p99", latency, optional=True),
)
PANES: dict[str, tuple[Column, ...]] = {
    "workers": (
        Column("ID", "id"),
        Column("NAME", "name", optional=True),
        Column("STATE", "state", optional=True),
        Column("IN FLIGHT", "in_flight", optional=True),
        Column("REPLIES/S", "replied_per_s", rate, optional=True),
        Column("BUSY", "busy", percent, optional=True),
        Column("OLDEST", "oldest_s", duration, optional=True),
        Column("QUEUE", "queue", optional=True),
        Column("CONNECTED", "connected_s", duration, optional=True),
        Column("PID", "pid", optional=True),
        Column("ADDRESS", "address", optional=True),
    ),
    "clients": (
        Column("ID", "id"),
        Column("NAME", "name", optional=True),
        Column("STATE", "state", optional=True),
        Column("QUEUED", "queued", optional=True),
        Column("IN FLIGHT", "in_flight", optional=True),
        Column("OLDEST", "oldest_s", duration, optional=True),
        Column("REPLIED", "replied", optional=True),
        Column("QUEUE", "queue", optional=True),
        Column("CONNECTED", "connected_s", duration, optional=True),
        Column("ADDRESS", "address", optional=True),
    ),
    "requests": (
        Column("ID", "id"),
        Column("STATE", "state", optional=True),
        Column("AGE", "age_s", duration, optional=True),
        Column("ATTEMPTS", "attempts", optional=True),
        Column("CLIENT", "client", optional=True),
        Column("WORKER", "worker", optional=True),
        Column("QUEUE", "queue", optional=True),
        Column("SIZE", "size", size, optional=True),
    ),
    "queues": QUEUES,
}
"""What the lower half can show: the name of the command that is asked, and the columns, those that can go first last."""

OLDEST_WAIT, AGE = 7, 2
"""Columns by which queues and requests are sorted at first."""

WORDS = frozenset({"id", "name", "state", "queue", "pid", "address", "client", "worker"})
"""Keys that are sorted from the least; all others are quantities, of which the greatest is of interest."""


class Snapshot(NamedTuple):
    """What zqd said, or why it said nothing."""

    at: str
    """The time, as it is shown."""
    status: Row | None = None
    rows: Sequence[Row] = ()
    trouble: str = ""


class Order(NamedTuple):
    """By which of a pane's columns its rows are sorted."""

    column: int = 0
    greatest_first: bool = False


def _orders() -> dict[str, Order]:
    greatest_first = {"requests": Order(AGE, True), "queues": Order(OLDEST_WAIT, True)}
    return dict.fromkeys(PANES, Order()) | greatest_first


@dataclass(frozen=True, slots=True)
class Look:
    """How the user looks at it."""

    pane: str = "workers"
    orders: Mapping[str, Order] = field(default_factory=_orders)
    scrolled: int = 0
    """Rows above the first one that is shown."""
    paused: bool = False
    help: bool = False


# Keys -----------------------------------------------------------------------------------------------------------------


def press(look: Look, key: str, rows: int) -> Look:
    """Return the look after `key`, a letter or a name of blessed's; `rows` is how many there are to scroll through."""
    act = _KEYS.get(key)
    look = act(look) if act else look
    return replace(look, scrolled=max(0, min(look.scrolled, rows - 1)))


def _next(pane: str) -> str:
    names = list(PANES)
    return names[(names.index(pane) + 1) % len(names)]


def _sort(look: Look, step: int) -> Look:
    columns = PANES[look.pane]
    at = (look.orders[look.pane].column + step) % len(columns)
    return _ordered(look, Order(at, columns[at].key not in WORDS))


def _reverse(look: Look) -> Look:
    order = look.orders[look.pane]
    return _ordered(look, order._replace(greatest_first=not order.greatest_first))


def _ordered(look: Look, order: Order) -> Look:
    return replace(look, orders={**look.orders, look.pane: order}, scrolled=0)


def _scroll(by: int) -> Callable[[Look], Look]:
    return lambda look: replace(look, scrolled=look.scrolled + by)


_KEYS: dict[str, Callable[[Look], Look]] = {
    "KEY_TAB": lambda look: replace(look, pane=_next(look.pane), scrolled=0),
    "<": lambda look: _sort(look, -1),
    ">": lambda look: _sort(look, 1),
    "r": _reverse,
    "p": lambda look: replace(look, paused=not look.paused),
    "h": lambda look: replace(look, help=not look.help),
    "k": _scroll(-1),
    "j": _scroll(1),
    "KEY_PGUP": _scroll(-10),
    "KEY_PGDOWN": _scroll(10),
    "KEY_HOME": lambda look: replace(look, scrolled=0),
}
_KEYS |= {"?": _KEYS["h"], "KEY_UP": _KEYS["k"], "KEY_DOWN": _KEYS["j"]}


# The picture ----------------------------------------------------------------------------------------------------------


def layout(snapshot: Snapshot, look: Look, width: int, height: int, *, color: bool = False) -> list[str]:
    """Return the lines, at most `height`, none wider than `width` (escape sequences of colours apart)."""
    if width < SMALLEST[0] or height < SMALLEST[1]:
        return [fit("too small for zqctl top", width)][:height]
    status = snapshot.status
    lines = [_first(snapshot, look, width)]
    if look.help:
        lines += HELP
    elif status is None:
        lines += ["", *wrap(plain(snapshot.trouble), width), "", "trying again"]
    else:
        if look.pane != "queues":
            lines += _queues(status["queues"], max(1, (height - FIXED) // 4), width, color)
        lines += _pane(snapshot.rows, look, width, height - len(lines) - 1, color)
    keys = KEYS.format(next=_next(look.pane), pause="go on" if look.paused else "pause")
    above = [*lines, *[""] * height][: height - 1]
    return [*above, fit(keys, width).rstrip()]


def _first(snapshot: Snapshot, look: Look, width: int) -> str:
    what = "zqctl top" if snapshot.status is None else heading(snapshot.status)
    when = ("paused at " if look.paused else "") + snapshot.at
    return f"{fit(what, width - len(when) - GAP)}{' ' * GAP}{when}"


def _queues(rows: Sequence[Row], most: int, width: int, color: bool) -> list[str]:
    """The table of the `most` queues that are worst off, and what is to be said of each."""
    shown = sorted(rows, key=_trouble, reverse=True)[:most]
    lines = ["", *table(QUEUES, shown, width, color).splitlines()]
    if len(rows) > most:
        lines.append(f"and {len(rows) - most} more")
    return [*lines, *(fit(sentence, width).rstrip() for sentence in saturations(shown))]


def _trouble(row: Row) -> tuple[Level, float]:
    """How bad it is with a queue: whether it runs and needs no more workers, then how long its oldest request waits."""
    problems = find_problems(row, Limits(min_workers=0))  # one that nobody uses may have none
    return max((level for level, _ in problems), default=Level.OK), row["oldest_wait_s"] or 0.0


def _pane(rows: Sequence[Row], look: Look, width: int, height: int, color: bool) -> list[str]:
    """The rows of the lower half that there is room for, in `height` lines, from where the user has scrolled to."""
    order, columns = look.orders[look.pane], list(PANES[look.pane])
    by = columns[order.column]
    room = max(1, height - 3)
    start = max(0, min(look.scrolled, len(rows) - room))
    shown = _sorted(rows, by, order.greatest_first)[start : start + room]
    which = "the oldest " if look.pane == "requests" and len(rows) >= REQUESTS_SHOWN else ""
    count = (
        f"{start + 1} to {start + len(shown)} of {which}{len(rows)} {look.pane}"
        if rows
        else f"no {look.pane}"
    )
    columns[order.column] = by._replace(heading=by.heading + ("▼" if order.greatest_first else "▲"))
    return ["", count, *(table(columns, shown, width, color).splitlines() if rows else [])]


def _sorted(rows: Sequence[Row], by: Column, greatest_first: bool) -> list[Row]:
    """The rows in order; those without a value last, either way."""
    known = [row for row in rows if by.value(row) is not None]
    known.sort(key=lambda row: _rank(by.value(row)), reverse=greatest_first)
    return known + [row for row in rows if by.value(row) is None]


def _rank(value: Any) -> tuple[float, list[str | int]]:
    """What a value is sorted by: numbers by size, texts with the numbers in them by size too (w9 before w10)."""
    if isinstance(value, int | float):
        return value, []
    parts = re.split("([0-9]{1,18})", plain(value))
    return 0, [int(part) if at % 2 else part for at, part in enumerate(parts)]
