"""The commands that only read: whoever may see may ask them.

Layer 3. Called by: `commands.dispatch`, through the table.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import zqd
from zqd.control.answers import Code, CommandError
from zqd.control.broker import Broker
from zqd.control.commands import MOST, PROTOCOL, TIMEOUT, Argument, Arguments, command, shown

REQUESTS_SHOWN = 100
ONLY_QUEUE = Argument("queue", "only what belongs to this queue", metavar="NAME")
ENDING = frozenset({"stopping", "stopped"})
"""The states of a queue that will not be there much longer."""

Row = Mapping[str, Any]


def by_name(rows: Iterable[Row]) -> dict[str, Row]:
    """The queue that each name means: one that a reload has removed may still end beside its successor of the same name."""
    named: dict[str, Row] = {}
    for row in rows:
        rival = named.get(row["name"])
        if rival is None or rival["state"] in ENDING:
            named[row["name"]] = row
    return named


def queue_rows(broker: Broker, queue: str | None) -> list[dict[str, Any]]:
    """All queues, or those of this name. That there is none is an error."""
    rows: list[dict[str, Any]] = broker.status()["queues"]
    found = [row for row in rows if queue in {None, row["name"]}]
    if not found:
        names = ", ".join(by_name(rows))
        raise CommandError(Code.BAD_ARGUMENT, f"no queue is named {shown(queue)}; there is {names}")
    return found


def _only(broker: Broker, rows: list[dict[str, Any]], queue: str | None) -> list[dict[str, Any]]:
    """Those of `rows` that belong to `queue`; all of them if it is None. That there is no such queue is an error."""
    queue_rows(broker, queue)
    return [row for row in rows if queue in {None, row["queue"]}]


@command(reads=True)
def status(broker: Broker, args: Arguments) -> object:  # noqa: ARG001 - every command has this form
    """Show the daemon and its queues, with counts and latencies."""
    return broker.status()


@command(ONLY_QUEUE, reads=True)
def queues(broker: Broker, args: Arguments) -> object:
    """Show the queues, with their endpoints, counts and latencies."""
    return queue_rows(broker, args["queue"])


@command(ONLY_QUEUE, reads=True)
def workers(broker: Broker, args: Arguments) -> object:
    """List the connected workers."""
    return _only(broker, broker.workers(), args["queue"])


@command(ONLY_QUEUE, reads=True)
def clients(broker: Broker, args: Arguments) -> object:
    """List the connected clients."""
    return _only(broker, broker.clients(), args["queue"])


@command(reads=True)
def ping(broker: Broker, args: Arguments) -> object:  # noqa: ARG001
    """Ask zqd whether it answers."""
    return {"pid": os.getpid()}


@command(reads=True)
def version(broker: Broker, args: Arguments) -> object:  # noqa: ARG001
    """Show the version of the running zqd."""
    return {"version": zqd.__version__, "protocol": PROTOCOL}


@command(
    Argument("key", "only keys that begin with it, such as queues.default", positional=True),
    reads=True,
)
def config(broker: Broker, args: Arguments) -> object:
    """Show the settings that are in effect, and where each comes from."""
    prefix = args["key"] or ""
    rows = [row for row in broker.config() if row["key"].startswith(prefix)]
    if not rows:
        raise CommandError(Code.BAD_ARGUMENT, f"no setting begins with {shown(prefix)}; see zqctl config")
    return rows


@command(
    ONLY_QUEUE,
    Argument(
        "limit",
        f"show at most so many (default {REQUESTS_SHOWN})",
        type=int,
        default=REQUESTS_SHOWN,
        metavar="N",
    ),
    reads=True,
)
def requests(broker: Broker, args: Arguments) -> object:
    """List the requests that wait or are in flight, oldest first."""
    if args["limit"] < 1:
        raise CommandError(Code.BAD_ARGUMENT, f"a limit of {shown(args['limit'])} shows nothing")
    return _only(broker, broker.requests(), args["queue"])[: args["limit"]]


@command(
    ONLY_QUEUE,
    Argument("workers", "until so many workers are connected", type=int, metavar="N", most=MOST),
    Argument("idle", "until nothing waits and nothing is in flight", type=bool, default=False),
    Argument("drained", "until a drain is over", type=bool, default=False),
    TIMEOUT,
    reads=True,
)
def wait(broker: Broker, args: Arguments) -> object:
    """Wait until every queue (or one) is as asked: for scripts and deployments."""
    if args["workers"] is None and not args["idle"] and not args["drained"]:
        raise CommandError(Code.BAD_ARGUMENT, "wait for what: workers, idle or drained?")

    def met() -> object:
        rows = queue_rows(broker, args["queue"])
        meant = by_name(rows).values()
        good = all(
            (args["workers"] is None or row["workers"] >= args["workers"])
            and (not args["drained"] or row["state"] == "drained")
            for row in meant
        )
        if not good or (args["idle"] and any(row["queued"] or row["in_flight"] for row in rows)):
            return None
        return {"queues": [in_short(row) for row in meant]}

    return broker.when(met, args["timeout"])


def in_short(row: Row) -> dict[str, Any]:
    """What an order answers of a queue."""
    return {key: row[key] for key in ("name", "state", "workers", "queued", "in_flight")}
