"""The commands that change something: queues, workers and requests (rule 23), and zqd itself.

Layer 3. Called by: `commands.dispatch`, through the table.
"""

from __future__ import annotations

from typing import Any

from zqd.control.answers import Code, CommandError
from zqd.control.broker import Broker
from zqd.control.commands import TIMEOUT, Argument, Arguments, command, shown
from zqd.control.inquiries import by_name, in_short, queue_rows

A_QUEUE = Argument("queue", "the queue; may be left out where there is only one", positional=True)
A_TARGET = Argument(
    "target",
    "a queue's name, or a worker's id or name; may be left out where there is one queue",
    positional=True,
)
LOG_LEVELS = ("debug", "info", "warning", "error")
WAIT = Argument("wait", "answer only when it is drained", type=bool, default=False)


@command(A_QUEUE, reads=False)
def pause(broker: Broker, args: Arguments) -> object:
    """Dispatch nothing from a queue until it is resumed; reading goes on to the limits."""
    name = _queue(broker, args["queue"])
    broker.pause(name)
    return _now(broker, name, "paused")


@command(A_TARGET, WAIT, TIMEOUT, reads=False)
def drain(broker: Broker, args: Arguments) -> object:
    """Let nothing into a queue, or give nothing to a worker, until resumed; what is there finishes."""
    worker = _worker(broker, args["target"])
    if worker is None:
        name = _queue(broker, args["target"], "queue or worker")
        broker.drain(name)
        row = _now(broker, name, "draining", "drained")
        if args["wait"]:
            return broker.when(lambda: _queue_drained(broker, name), args["timeout"])
        return row
    broker.drain_worker(worker)
    if args["wait"]:
        return broker.when(lambda: _worker_drained(broker, worker), args["timeout"])
    return _worker_state(broker, worker)


@command(A_TARGET, reads=False)
def resume(broker: Broker, args: Arguments) -> object:
    """Undo pause and drain, of a queue or a worker."""
    worker = _worker(broker, args["target"])
    if worker is None:
        name = _queue(broker, args["target"], "queue or worker")
        broker.resume(name)
        return _now(broker, name, "running")
    broker.resume_worker(worker)
    return _worker_state(broker, worker)


@command(
    Argument("peer", "a client's id (c12), or a worker's id (w3) or name", required=True, positional=True),
    reads=False,
)
def kick(broker: Broker, args: Arguments) -> object:
    """Close a client's or a worker's connection; what a worker holds goes to others, and it may come back."""
    peer, workers = args["peer"], broker.workers()
    if all(row["id"] != peer for row in (*workers, *broker.clients())):
        worker = _named(workers, peer)
        if worker is None:
            sentence = f"nobody has the id {shown(peer)}, and no worker that name; see zqctl workers and zqctl clients"
            raise CommandError(Code.BAD_ARGUMENT, sentence)
        peer = worker
    broker.kick(peer)
    return {"kicked": peer}


@command(
    Argument("request", "its id, as zqctl requests shows it", required=True, positional=True), reads=False
)
def cancel(broker: Broker, args: Arguments) -> object:
    """Fail an unanswered request with 499; a worker that runs it is not interrupted."""
    request = args["request"]
    if all(row["id"] != request for row in broker.requests()):
        raise CommandError(
            Code.BAD_ARGUMENT, f"no unanswered request has the id {shown(request)}; see zqctl requests"
        )
    broker.cancel(request)
    return {"cancelled": request}


@command(reads=False)
def reload(broker: Broker, args: Arguments) -> object:  # noqa: ARG001 - every command has this form
    """Read the configuration anew and go on with it, or refuse it whole; every change is named."""
    return broker.reload()


@command(
    Argument("level", "debug, info, warning or error; without it the level is only shown", positional=True),
    reads=False,
)
def log_level(broker: Broker, args: Arguments) -> object:
    """Show or set the least severe level that is logged, until the next start."""
    level = args["level"]
    if level is not None and level not in LOG_LEVELS:
        raise CommandError(
            Code.BAD_ARGUMENT, f"there is no log level {shown(level)}; {', '.join(LOG_LEVELS)}"
        )
    return {"log_level": broker.log_level(level)}


@command(
    Argument("now", "close everything at once instead of answering what was read", type=bool, default=False),
    reads=False,
)
def stop(broker: Broker, args: Arguments) -> object:
    """Stop zqd as SIGTERM does: what was read is answered, at most for drain_timeout; a second time means now."""
    broker.stop(now=args["now"])
    return {"state": "stopping"}


def _queue(broker: Broker, name: str | None, wanted: str = "queue") -> str:
    """The queue that is meant: the only one where none is named. `wanted` is what might have been named."""
    names = list(by_name(broker.status()["queues"]))
    if name is None and len(names) == 1:
        return names[0]
    if name not in names:
        wrong = "which queue?" if name is None else f"no {wanted} is named {shown(name)};"
        raise CommandError(Code.BAD_ARGUMENT, f"{wrong} there is {', '.join(names)}")
    return name


def _worker(broker: Broker, target: str | None) -> str | None:
    """The id of the worker that is meant, by its id or else its name; None where a queue is, or nothing that is known.

    Workers choose their names, which must not hide a queue.
    """
    if not target or any(row["name"] == target for row in broker.status()["queues"]):
        return None
    rows = broker.workers()
    return target if any(row["id"] == target for row in rows) else _named(rows, target)


def _named(workers: list[dict[str, Any]], name: str) -> str | None:
    """The id of the worker of this name, None where there is none. Names need not be unique, and most workers have none."""
    found: list[str] = [row["id"] for row in workers if name and row["name"] == name]
    if len(found) > 1:
        some = ", ".join(found[:8]) + (", …" if len(found) > 8 else "")
        raise CommandError(Code.BAD_ARGUMENT, f"several workers are named {shown(name)}: {some}")
    return found[0] if found else None


def _queue_state(broker: Broker, queue: str) -> dict[str, Any]:
    return in_short(by_name(queue_rows(broker, queue))[queue])


def _now(broker: Broker, queue: str, *states: str) -> dict[str, Any]:
    """The queue's state after an order, which must be one of these."""
    row = _queue_state(broker, queue)
    if row["state"] not in states:
        raise CommandError(Code.FAILED, f"queue {queue} is {row['state']}, so this cannot be done now")
    return row


def _queue_drained(broker: Broker, queue: str) -> dict[str, Any] | None:
    """Its state once it is drained; an error if it is not being drained any more."""
    row = _queue_state(broker, queue)
    if row["state"] not in {"draining", "drained"}:
        raise CommandError(Code.FAILED, f"queue {queue} is {row['state']} now: its drain was called off")
    return row if row["state"] == "drained" else None


def _worker_state(broker: Broker, worker: str) -> dict[str, Any]:
    """The worker's state; it may have gone meanwhile."""
    for row in broker.workers():
        if row["id"] == worker:
            return {key: row[key] for key in ("id", "name", "state", "in_flight")}
    return {"id": worker, "name": "", "state": "gone", "in_flight": 0}


def _worker_drained(broker: Broker, worker: str) -> dict[str, Any] | None:
    """Its state once it holds nothing or is gone; an error if it is not being drained any more."""
    row = _worker_state(broker, worker)
    if row["state"] not in {"draining", "gone"}:
        raise CommandError(Code.FAILED, f"worker {worker} is {row['state']} now: its drain was called off")
    return None if row["in_flight"] else row
