"""Answers laid out for people: tables that line up, times with their units, nothing that could upset a terminal.

Pure: takes what `--json` would print and returns text. A command without a view of its own here is laid out by the shape of its
result, so a new row of COMMANDS can be used at once. Called by `zqd.ctl.program`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from zqd.control.inquiries import REQUESTS_SHOWN

Row = Mapping[str, Any]

GAP = 2
NARROWEST = 8
"""A column of text is never clipped to less than this, however narrow the terminal is."""


# Values ---------------------------------------------------------------------------------------------------------------


def plain(value: object) -> str:
    """Return `value` as text of one line. Names come from peers: whatever does not print is escaped, and None is a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(map(plain, value)) or "-"
    text = str(value)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def duration(seconds: Any) -> str:
    """Seconds in the two units that matter: `1.2 s`, `42 s`, `2 h 5 min`."""
    if not _is_number(seconds):
        return plain(seconds)
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return _two_units(minutes, "min", rest, "s")
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return _two_units(hours, "h", minutes, "min")
    return _two_units(hours // 24, "d", hours % 24, "h")


def latency(milliseconds: Any) -> str:
    """Milliseconds to about two digits: `0.03 ms`, `1.2 ms`, `250 ms`; from a second on as a duration."""
    if not _is_number(milliseconds):
        return plain(milliseconds)
    if milliseconds >= 999.5:
        return duration(milliseconds / 1000)
    if milliseconds >= 9.95:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds:.1f} ms" if milliseconds >= 0.095 else f"{milliseconds:.2f} ms"


def rate(per_second: Any) -> str:
    """How often a second, to about two digits: `0`, `0.02`, `1.2`, `250`."""
    if not _is_number(per_second):
        return plain(per_second)
    if per_second >= 9.95 or not per_second:
        return f"{per_second:.0f}"
    return f"{per_second:.1f}" if per_second >= 0.095 else f"{per_second:.2f}"


def percent(share: Any) -> str:
    """A share of 0 to 1: `97 %`."""
    return f"{share * 100:.0f} %" if _is_number(share) else plain(share)


def size(octets: Any) -> str:
    """Bytes in the unit that fits: `0 B`, `1023 B`, `1.5 KiB`, `64 KiB`, `100 MiB`."""
    if not _is_number(octets) or octets < 1024:
        return f"{octets} B" if _is_number(octets) else plain(octets)
    number, unit = octets / 1024, "KiB"
    if number >= 999.5:
        number, unit = number / 1024, "MiB"
    return f"{number:.1f} {unit}" if number < 9.95 else f"{number:.0f} {unit}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _two_units(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large} {large_unit} {small} {small_unit}" if small else f"{large} {large_unit}"


# Tables ---------------------------------------------------------------------------------------------------------------


class Column(NamedTuple):
    """A column: its heading, and the row's key (`wait_ms.p50` for a nested one) with how to show what stands there."""

    heading: str
    key: str
    show: Callable[[Any], str] = plain
    optional: bool = False
    """It is left out where the line would not fit the terminal."""

    def value(self, row: Row) -> Any:
        """What stands in the row; a key that it lacks is a None."""
        value: Any = row
        for part in self.key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

    def is_quantity(self, values: Sequence[Any]) -> bool:
        """Whether a column of `values` is aligned to the right and never clipped."""
        known = [value for value in values if value is not None]
        return all(map(_is_number, known)) if known else self.show is not plain


def table(columns: Sequence[Column], rows: Sequence[Row], width: int | None = None) -> str:
    """Lay `rows` out under the headings.

    To fit a terminal of `width` columns first the optional columns go, from the last one on, then the longest texts are
    clipped, never the numbers.
    """
    columns = list(columns)
    columns_of_values = [[column.value(row) for row in rows] for column in columns]
    texts = [
        [column.heading, *map(column.show, values)]
        for column, values in zip(columns, columns_of_values, strict=True)
    ]
    widths = [max(map(_width, column)) for column in texts]
    if width is not None:
        for at in reversed([at for at, column in enumerate(columns) if column.optional]):
            if _excess(widths, width) > 0:
                del columns[at], columns_of_values[at], texts[at], widths[at]
    right = [column.is_quantity(values) for column, values in zip(columns, columns_of_values, strict=True)]
    if width is not None:
        _shrink(widths, [at for at, is_right in enumerate(right) if not is_right], width)
    return "".join(
        (" " * GAP).join(map(_fit, line, widths, right)).rstrip() + "\n" for line in zip(*texts, strict=True)
    )


def _excess(widths: Sequence[int], width: int) -> int:
    return sum(widths) + GAP * (len(widths) - 1) - width


def _shrink(widths: list[int], texts: list[int], width: int) -> None:
    """Take from the widest columns of text until the line fits, or none has anything left to give."""
    excess = _excess(widths, width)
    while excess > 0 and texts:
        widest = max(texts, key=widths.__getitem__)
        if widths[widest] <= NARROWEST:
            return
        widths[widest] -= 1
        excess -= 1


def _fit(text: str, width: int, right: bool) -> str:
    if _width(text) > width:
        while _width(text) > width - 1:
            text = text[:-1]
        text += "…"
    padding = " " * (width - _width(text))
    return padding + text if right else text + padding


def _width(text: str) -> int:
    """How many columns of a terminal `text` takes: East Asian wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


# Views ----------------------------------------------------------------------------------------------------------------

QUEUE = Column("QUEUE", "name")

NOW = (
    QUEUE,
    Column("STATE", "state"),
    Column("WORKERS", "workers"),
    Column("IDLE", "idle_workers"),
    Column("CLIENTS", "clients"),
    Column("QUEUED", "queued"),
    Column("IN FLIGHT", "in_flight"),
    Column("OLDEST WAIT", "oldest_wait_s", duration),
    Column("RECEIVED/S", "received_per_s", rate, optional=True),
    Column("REPLIED/S", "replied_per_s", rate, optional=True),
)
SINCE_START = (
    QUEUE,
    Column("RECEIVED", "received"),
    Column("REPLIED", "replied"),
    Column("FAILED", "failed"),
    Column("DROPPED", "dropped"),
    Column("RETRIED", "retried"),
    Column("ORPHANED", "orphaned"),
    Column("LATE", "late"),
    Column("MALFORMED", "malformed"),
)
LATENCIES = (
    QUEUE,
    *(
        Column(f"{heading} {quantile.upper()}", f"{key}.{quantile}", latency, quantile == "p90")
        for heading, key in (("WAIT", "wait_ms"), ("RUN", "run_ms"))
        for quantile in ("p50", "p90", "p99", "max")
    ),
)
ENDPOINTS = (QUEUE, Column("FRONTEND", "frontend"), Column("BACKEND", "backend"))
WORKERS = (
    Column("ID", "id"),
    Column("NAME", "name"),
    Column("QUEUE", "queue"),
    Column("ADDRESS", "address"),
    Column("PID", "pid"),
    Column("STATE", "state"),
    Column("IN FLIGHT", "in_flight"),
    Column("OLDEST", "oldest_s", duration),
    Column("REPLIED", "replied"),
    Column("REPLIES/S", "replied_per_s", rate, optional=True),
    Column("BUSY", "busy", percent, optional=True),
    Column("CONNECTED", "connected_s", duration),
)
CLIENTS = (
    Column("ID", "id"),
    Column("NAME", "name"),
    Column("QUEUE", "queue"),
    Column("ADDRESS", "address"),
    Column("STATE", "state"),
    Column("QUEUED", "queued"),
    Column("IN FLIGHT", "in_flight"),
    Column("OLDEST", "oldest_s", duration),
    Column("RECEIVED", "received"),
    Column("REPLIED", "replied"),
    Column("CONNECTED", "connected_s", duration),
)

REQUESTS = (
    Column("ID", "id"),
    Column("QUEUE", "queue"),
    Column("STATE", "state"),
    Column("AGE", "age_s", duration),
    Column("ATTEMPTS", "attempts"),
    Column("CLIENT", "client"),
    Column("WORKER", "worker"),
    Column("SIZE", "size", size),
)


def render(command: str, args: Row, result: Any, width: int | None = None) -> str:
    """Return the text for a command's result, each line ended; `width` is the terminal's, None if there is none."""
    view = VIEWS.get(command, _by_shape)
    return view(result, args, width)


def _status(result: Any, args: Row, width: int | None) -> str:  # noqa: ARG001 - every view has this form
    heading = (
        f"zqd {plain(result['version'])}, pid {plain(result['pid'])}, {plain(result['state'])},"
        f" up {duration(result['uptime_s'])}\n"
    )
    return "\n".join([heading, *_queue_tables((NOW, SINCE_START, LATENCIES), result["queues"], width)])


def _queues(result: Any, args: Row, width: int | None) -> str:  # noqa: ARG001
    return "\n".join(_queue_tables((ENDPOINTS, NOW, SINCE_START, LATENCIES), result, width))


def _queue_tables(tables: Sequence[Sequence[Column]], queues: Sequence[Row], width: int | None) -> list[str]:
    """Tables with a row a queue, and a sentence for each queue that has one."""
    sentences = [
        f"{plain(row['name'])}: {plain(row['saturation'])}\n" for row in queues if row.get("saturation")
    ]
    return [
        *(table(columns, queues, width) for columns in tables),
        *(["".join(sentences)] if sentences else []),
    ]


def _workers(result: Any, args: Row, width: int | None) -> str:
    return table(WORKERS, result, width) if result else _nobody("workers", args)


def _clients(result: Any, args: Row, width: int | None) -> str:
    return table(CLIENTS, result, width) if result else _nobody("clients", args)


def _requests(result: Any, args: Row, width: int | None) -> str:
    if not result:
        queue = args.get("queue")
        return "no requests wait or are in flight" + (f" in queue {plain(queue)}" if queue else "") + "\n"
    limit = args.get("limit", REQUESTS_SHOWN)
    more = f"the oldest {limit}, there may be more: --limit N\n" if len(result) >= limit else ""
    return table(REQUESTS, result, width) + more


def _nobody(who: str, args: Row) -> str:
    queue = args.get("queue")
    return f"no {who} connected" + (f" to queue {plain(queue)}" if queue else "") + "\n"


def _ping(result: Any, args: Row, width: int | None) -> str:  # noqa: ARG001
    return f"zqd answers, pid {plain(result['pid'])}\n"


def _version(result: Any, args: Row, width: int | None) -> str:  # noqa: ARG001
    return f"zqd {plain(result['version'])}, control protocol {plain(result['protocol'])}\n"


def _state(result: Any, args: Row, width: int | None) -> str:  # noqa: ARG001
    """What pause, drain and resume have come to: a queue's state, or a worker's."""
    return (_worker_in_words(result) if "id" in result else _queue_in_words(result)) + "\n"


def _waited(result: Any, args: Row, width: int | None) -> str:  # noqa: ARG001
    return "".join(f"{_queue_in_words(row, workers=True)}\n" for row in result["queues"])


def _queue_in_words(row: Row, *, workers: bool = False) -> str:
    count = f", {plain(row['workers'])} worker{'s' * (row['workers'] != 1)}" if workers else ""
    work = f"{plain(row['queued'])} queued, {plain(row['in_flight'])} in flight"
    return f"queue {plain(row['name'])}: {plain(row['state'])}{count}, {work}"


def _worker_in_words(row: Row) -> str:
    name = f" ({plain(row['name'])})" if row["name"] else ""
    holds = "" if row["state"] == "gone" else f", holds {plain(row['in_flight'] or 'nothing')}"
    return f"worker {plain(row['id'])}{name}: {plain(row['state'])}{holds}"


def _kicked(result: Any, args: Row, width: int | None) -> str:  # noqa: ARG001
    return f"kicked {plain(result['kicked'])}\n"


def _cancelled(result: Any, args: Row, width: int | None) -> str:  # noqa: ARG001
    return f"cancelled {plain(result['cancelled'])}\n"


def _by_shape(result: Any, args: Row, width: int | None) -> str:  # noqa: ARG001
    """A list of objects is a table, an object a line for each key, anything else a line."""
    if isinstance(result, Mapping):
        return "".join(f"{plain(key)}: {plain(value)}\n" for key, value in result.items())
    if isinstance(result, list) and result and all(isinstance(row, Mapping) for row in result):
        keys = dict.fromkeys(key for row in result for key in row)
        return table([Column(plain(key).replace("_", " ").upper(), key) for key in keys], result, width)
    if isinstance(result, list):
        return "".join(f"{plain(item)}\n" for item in result) or "none\n"
    return f"{plain(result)}\n" if result is not None else ""


VIEWS: dict[str, Callable[[Any, Row, int | None], str]] = {
    "status": _status,
    "queues": _queues,
    "workers": _workers,
    "clients": _clients,
    "ping": _ping,
    "version": _version,
    "requests": _requests,
    "pause": _state,
    "drain": _state,
    "resume": _state,
    "kick": _kicked,
    "cancel": _cancelled,
    "wait": _waited,
}
