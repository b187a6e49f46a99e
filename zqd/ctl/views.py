"""What zqd answers to each command, laid out for people.

Pure: takes what `--json` would print and returns text. A command without a view of its own here is laid out by the shape of its
result, so a new row of COMMANDS can be used at once. Called by `zqd.ctl.program` and `zqd.ctl.watch`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from zqd.control.inquiries import ENDING, REQUESTS_SHOWN
from zqd.ctl.tables import Column, Paper, Row, duration, latency, percent, plain, rate, size, table

QUEUE = Column("QUEUE", "name")
KEY = Column("KEY", "key")
"""Shown where somebody has one."""

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
)
WENT_WRONG = (
    Column("RETRIED", "retried", optional=True),
    Column("ORPHANED", "orphaned", optional=True),
    Column("LATE", "late", optional=True),
    Column("MALFORMED", "malformed", optional=True),
    Column("REFUSED", "refused", optional=True),
)
"""Counted since the start as well, and shown where it has happened."""
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
SAID_BY_WORKERS = (
    Column("CAPACITY", "capacity", optional=True),
    Column("UNIT", "unit", optional=True),
    Column("HANDLER", "handler", optional=True),
    KEY,
)
"""What is shown of workers where at least one has said it."""
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
CONFIG = (
    Column("KEY", "key"),
    Column("VALUE", "text", lambda toml: plain(toml or None)),
    Column("DEFAULT", "default", lambda toml: plain(toml or None)),
    Column("SOURCE", "source"),
    Column("RELOADABLE", "reloadable"),
)


def render(command: str, args: Row, result: Any, width: int | None = None, *, color: bool = False) -> str:
    """Return the text for a command's result, each line ended; `width` is the terminal's, None if there is none."""
    view = VIEWS.get(command, _by_shape)
    return view(result, args, Paper(width, color))


def heading(status: Row) -> str:
    """Who answers, in a line: `zqd 0.2.0, pid 12, running, up 2 h 5 min, log level info`."""
    parts = [
        f"zqd {plain(status['version'])}",
        f"pid {plain(status['pid'])}",
        plain(status["state"]),
        f"up {duration(status['uptime_s'])}",
    ]
    if "log_level" in status:
        parts.append(f"log level {plain(status['log_level'])}")
    return ", ".join(parts)


def saturations(queues: Sequence[Row]) -> list[str]:
    """A sentence for each queue that has one. What is ending may have a successor of its name."""
    return [
        f"{plain(row['name'])}{' (stopping)' if row['state'] in ENDING else ''}: {plain(row['saturation'])}"
        for row in queues
        if row.get("saturation")
    ]


def _status(result: Any, args: Row, paper: Paper) -> str:  # noqa: ARG001 - every view has this form
    lines = [heading(result)]
    if "config" in result:
        lines.append(f"configuration: {plain(result['config']) if result['config'] else 'all defaults'}")
    if "descriptors" in result:
        descriptors = result["descriptors"]
        lines.append(
            f"descriptors: {plain(descriptors['used'])} of {plain(descriptors['limit'])} used by clients and workers,"
            f" {plain(descriptors['reserve'])} kept for the rest"
        )
    first = "".join(f"{line}\n" for line in lines)
    return "\n".join([first, *_queue_tables((NOW,), result["queues"], paper)])


def _queues(result: Any, args: Row, paper: Paper) -> str:  # noqa: ARG001
    return "\n".join(_queue_tables((ENDPOINTS, NOW), result, paper))


def _queue_tables(first: Sequence[Sequence[Column]], queues: Sequence[Row], paper: Paper) -> list[str]:
    """Tables with a row a queue, and a sentence for each queue that has one."""
    tables = (*first, (*SINCE_START, *_known(WENT_WRONG, queues)), LATENCIES)
    sentences = "".join(f"{sentence}\n" for sentence in saturations(queues))
    return [*(table(columns, queues, *paper) for columns in tables), *([sentences] if sentences else [])]


def _workers(result: Any, args: Row, paper: Paper) -> str:
    if not result:
        return _nobody("workers", args)
    return table([*WORKERS, *_known(SAID_BY_WORKERS, result)], result, *paper)


def _clients(result: Any, args: Row, paper: Paper) -> str:
    return table([*CLIENTS, *_known((KEY,), result)], result, *paper) if result else _nobody("clients", args)


def _known(columns: Iterable[Column], rows: Sequence[Row]) -> list[Column]:
    """Those of which some row has something to say: nothing and none are not worth a column."""
    return [column for column in columns if any(column.value(row) for row in rows)]


def _requests(result: Any, args: Row, paper: Paper) -> str:
    if not result:
        queue = args.get("queue")
        return "no requests wait or are in flight" + (f" in queue {plain(queue)}" if queue else "") + "\n"
    limit = args.get("limit", REQUESTS_SHOWN)
    more = f"the oldest {limit}, there may be more: --limit N\n" if len(result) >= limit else ""
    return table(REQUESTS, result, *paper) + more


def _nobody(who: str, args: Row) -> str:
    queue = args.get("queue")
    return f"no {who} connected" + (f" to queue {plain(queue)}" if queue else "") + "\n"


def _ping(result: Any, args: Row, paper: Paper) -> str:  # noqa: ARG001
    return f"zqd answers, pid {plain(result['pid'])}\n"


def _version(result: Any, args: Row, paper: Paper) -> str:  # noqa: ARG001
    return f"zqd {plain(result['version'])}, control protocol {plain(result['protocol'])}\n"


def _state(result: Any, args: Row, paper: Paper) -> str:  # noqa: ARG001
    """What pause, drain and resume have come to: a queue's state, or a worker's."""
    return (_worker_in_words(result) if "id" in result else _queue_in_words(result)) + "\n"


def _waited(result: Any, args: Row, paper: Paper) -> str:  # noqa: ARG001
    return "".join(f"{_queue_in_words(row, workers=True)}\n" for row in result["queues"])


def _queue_in_words(row: Row, *, workers: bool = False) -> str:
    count = f", {plain(row['workers'])} worker{'s' * (row['workers'] != 1)}" if workers else ""
    work = f"{plain(row['queued'])} queued, {plain(row['in_flight'])} in flight"
    return f"queue {plain(row['name'])}: {plain(row['state'])}{count}, {work}"


def _worker_in_words(row: Row) -> str:
    name = f" ({plain(row['name'])})" if row["name"] else ""
    holds = "" if row["state"] == "gone" else f", holds {plain(row['in_flight'] or 'nothing')}"
    return f"worker {plain(row['id'])}{name}: {plain(row['state'])}{holds}"


def _kicked(result: Any, args: Row, paper: Paper) -> str:  # noqa: ARG001
    return f"kicked {plain(result['kicked'])}\n"


def _cancelled(result: Any, args: Row, paper: Paper) -> str:  # noqa: ARG001
    return f"cancelled {plain(result['cancelled'])}\n"


def _config(result: Any, args: Row, paper: Paper) -> str:  # noqa: ARG001
    return table(CONFIG, result, *paper)


def _reloaded(result: Any, args: Row, paper: Paper) -> str:  # noqa: ARG001
    lines = [
        f"{plain(change['key'])}: {plain(change['old'])} -> {plain(change['new'])}"
        + ("" if change["applied"] else " (after a restart)")
        for change in result["changes"]
    ]
    lines += [f"queue {plain(name)}: added" for name in result["added"]]
    lines += [
        f"queue {plain(name)}: removed, it ends when its requests are answered" for name in result["removed"]
    ]
    return "".join(f"{line}\n" for line in lines) or "nothing has changed\n"


def _log_level(result: Any, args: Row, paper: Paper) -> str:  # noqa: ARG001
    return f"log level {plain(result['log_level'])}\n"


def _stopping(result: Any, args: Row, paper: Paper) -> str:  # noqa: ARG001
    return f"zqd is {plain(result['state'])}\n"


def _by_shape(result: Any, args: Row, paper: Paper) -> str:  # noqa: ARG001
    """A list of objects is a table, an object a line for each key, anything else a line."""
    if isinstance(result, Mapping):
        return "".join(f"{plain(key)}: {plain(value)}\n" for key, value in result.items())
    if isinstance(result, list) and result and all(isinstance(row, Mapping) for row in result):
        keys = dict.fromkeys(key for row in result for key in row)
        return table([Column(plain(key).replace("_", " ").upper(), key) for key in keys], result, *paper)
    if isinstance(result, list):
        return "".join(f"{plain(item)}\n" for item in result) or "none\n"
    return f"{plain(result)}\n" if result is not None else ""


VIEWS: dict[str, Callable[[Any, Row, Paper], str]] = {
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
    "config": _config,
    "reload": _reloaded,
    "log-level": _log_level,
    "stop": _stopping,
}
