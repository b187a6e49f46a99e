"""The COMMANDS table: everything that can be asked of a running zqd, one decorated function each.

A row knows all that there is to know about its command, so dispatch, `zqctl`'s sub-commands, options and help, and the
completion follow from it. Knows the broker only as the `Broker` protocol, and neither zmq nor the socket that a request came
by. Called by `zqd.control.server`, and by `zqd.ctl`, whose start-up time is a feature: keep the imports few.

To add a command, write one function that takes the broker and the checked arguments and returns something that JSON can
hold, or a `Later` if its answer comes when the work is done:

    @command(Argument("queue", positional=True, required=True, help="the queue to pause"), reads=False)
    def pause(broker: Broker, args: Arguments) -> object:
        \"\"\"Stop dispatching requests of a queue.\"\"\"
"""

from __future__ import annotations

import enum
import os
import reprlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import zqd

PROTOCOL = 1
"""The number of the control protocol, in every request ("zqctl") and every reply ("zqd")."""

_TYPE_NAMES: dict[type, str] = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


class Broker(Protocol):
    """What the commands need of the daemon. Every answer is a snapshot that nobody else holds.

    Times are in seconds where a key ends in `_s`, in milliseconds in `wait_ms` and `run_ms`; what was not measured is None.
    """

    def status(self) -> dict[str, Any]:
        """The daemon and its queues.

        `version, pid, state, uptime_s, queues`, the last a list of `name, state (running, paused, draining, drained, stopping
        or stopped), frontend: [endpoint], backend: [endpoint], workers, idle_workers, clients, queued, in_flight`; since the
        start `received, replied, failed, dropped, retried, orphaned, late, malformed, since_start: {wait_ms, run_ms}`; over
        the last minute `wait_ms, run_ms` (each {p50, p90, p99, max}), `received_per_s, replied_per_s, busy` (how much of it
        the workers ran requests, 0 to 1); `oldest_wait_s`, and `saturation`, a sentence for people.
        """

    def workers(self) -> list[dict[str, Any]]:
        """One row a connected worker.

        `id, name, queue, address, pid, state (idle, busy, quarantined or draining), in_flight, replied, connected_s, oldest_s`;
        since it connected `replied_per_s` and `busy` (how much of the time it ran requests, 0 to 1).
        """

    def clients(self) -> list[dict[str, Any]]:
        """One row a connected client.

        `id, queue, address, name, state (active or paused), queued, in_flight, received, replied, connected_s, oldest_s`.
        """

    def requests(self) -> list[dict[str, Any]]:
        """One row an unanswered request, oldest first.

        `id, queue, state (queued or in flight), age_s, attempts, client, worker, size`; the attempts are those that a loss or
        a time-out has ended, the size is in bytes, client and worker are ids.
        """

    def pause(self, queue: str) -> None:
        """Dispatch nothing from this queue until it is resumed."""

    def drain(self, queue: str) -> None:
        """Let nothing into this queue until it is resumed; finish the rest."""

    def resume(self, queue: str) -> None:
        """Undo `pause` and `drain`."""

    def drain_worker(self, worker: str) -> None:
        """Give the worker of this id nothing more."""

    def resume_worker(self, worker: str) -> None:
        """Undo `drain_worker`."""

    def kick(self, peer: str) -> None:
        """Close the connection of the client or worker of this id."""

    def cancel(self, request: str) -> None:
        """Fail the request of this id."""

    def when(self, condition: Callable[[], object], timeout: float) -> Later:
        """Answer when `condition()` is not None, or that it did not come within `timeout` seconds (0: no limit)."""


class Code(enum.StrEnum):
    """What kind of refusal an error reply is, for programs; its sentence is for people."""

    UNKNOWN_COMMAND = "unknown-command"
    BAD_REQUEST = "bad-request"
    BAD_ARGUMENT = "bad-argument"
    UNSUPPORTED_PROTOCOL = "unsupported-protocol"
    FAILED = "failed"


class CommandError(Exception):
    """A request that is refused with `code` and one sentence; raised by dispatch, and by commands for their operator."""

    def __init__(self, code: Code, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


class Later:
    """An answer that comes when its work is done; a command returns it in place of a result.

    The broker keeps it and calls `finish` or `fail` once; whatever comes after the first is ignored, as the server gives up
    those that outlive it. `done` tells the broker that nobody waits any more.
    """

    __slots__ = ("_deliver", "_outcome", "abandoned", "done")

    def __init__(self) -> None:
        self.done = False
        self.abandoned: Callable[[], bool] = lambda: False
        """Whether who asked has hung up, where the server can tell; then the broker had better fail it."""
        self._outcome: object = None
        self._deliver: Callable[[object], None] | None = None

    def finish(self, result: object) -> None:
        """Answer with `result`."""
        self._complete(result)

    def fail(self, sentence: str, code: Code = Code.FAILED) -> None:
        """Answer that it went wrong."""
        self._complete(CommandError(code, sentence))

    def deliver_to(self, deliver: Callable[[object], None]) -> None:
        """Hand the outcome, a result or a `CommandError`, to `deliver`: now if it is there, else when it comes."""
        if self.done:
            deliver(self._outcome)
        else:
            self._deliver = deliver

    def _complete(self, outcome: object) -> None:
        if self.done:
            return
        self.done = True
        if self._deliver is None:
            self._outcome = outcome
        else:
            self._deliver(outcome)


Arguments = Mapping[str, Any]
"""The arguments of one call: every one that the row declares, checked, with the defaults filled in."""


class Argument(NamedTuple):
    """One argument of a command: `--name VALUE` in zqctl (`--name` alone for a bool), or `NAME` if positional."""

    name: str
    help: str
    type: type[str | int | float | bool] = str
    required: bool = False
    default: Any = None
    positional: bool = False
    metavar: str | None = None


TIMEOUT = Argument(
    "timeout", "give up after so many seconds (default: never)", type=float, default=0.0, metavar="S"
)
"""The argument of a command that may answer late."""


class Command(NamedTuple):
    """A row of the table."""

    name: str
    run: Callable[[Broker, Arguments], object]
    help: str
    arguments: tuple[Argument, ...]
    reads: bool
    """Whether it only reads, and so may be asked by those who may not change anything."""

    def answers_late(self, given: Mapping[str, object]) -> bool:
        """Whether a call with these arguments waits for something to become true."""
        return TIMEOUT in self.arguments and (
            bool(given.get("wait")) or not any(a.name == "wait" for a in self.arguments)
        )


COMMANDS: dict[str, Command] = {}


def command(
    *arguments: Argument, reads: bool, table: dict[str, Command] = COMMANDS
) -> Callable[[Callable[[Broker, Arguments], object]], Callable[[Broker, Arguments], object]]:
    """Enter the decorated function in the table, under its own name with dashes, and with its docstring's first line as help."""

    def enter(run: Callable[[Broker, Arguments], object]) -> Callable[[Broker, Arguments], object]:
        name = run.__name__.replace("_", "-")
        if name in table or not run.__doc__:
            raise ValueError(
                f"the command {name} is in the table already, or has no docstring to be its help"
            )
        table[name] = Command(name, run, run.__doc__.strip().splitlines()[0], arguments, reads)
        return run

    return enter


def dispatch(
    broker: Broker, name: str, given: Mapping[str, object], table: Mapping[str, Command] = COMMANDS
) -> object:
    """Check the arguments and run the command: its result, or a `Later`.

    Raises `CommandError` for what the caller did wrong; an exception of any other kind is a fault of ours.
    """
    row = table.get(name)
    if row is None:
        raise CommandError(
            Code.UNKNOWN_COMMAND,
            f"unknown command {_shown(name)}; zqd {zqd.__version__} knows {', '.join(sorted(table))}",
        )
    return row.run(broker, _checked(row, given))


def _checked(row: Command, given: Mapping[str, object]) -> dict[str, Any]:
    known = {argument.name for argument in row.arguments}
    for name in given:
        if name not in known:
            raise CommandError(Code.BAD_ARGUMENT, f"{row.name} takes no argument {_shown(name)}")
    args: dict[str, Any] = {}
    for argument in row.arguments:
        value = given.get(argument.name)
        if value is None:
            if argument.required:
                raise CommandError(Code.BAD_ARGUMENT, f"{row.name} needs the argument {argument.name!r}")
            value = argument.default
        elif not _fits(value, argument.type):
            raise CommandError(
                Code.BAD_ARGUMENT,
                f"the argument {argument.name!r} of {row.name} must be {_TYPE_NAMES[argument.type]}, not {_shown(value)}",
            )
        args[argument.name] = value
    return args


def _fits(value: object, kind: type) -> bool:
    """Whether a value out of JSON is of `kind`; true and false are no numbers, and a whole number is a number."""
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    if kind is float:
        return (
            isinstance(value, int | float) and -1e300 < value < 1e300
        )  # neither NaN nor past a float's range
    return isinstance(value, kind)


def _shown(value: object) -> str:
    """What a peer sent, for a sentence: quoted, and neither all of 64 KiB of it nor a thousand brackets deep."""
    shown = reprlib.Repr()
    shown.maxstring = 60
    return shown.repr(value)


# The commands -------------------------------------------------------------------------------------------------------

REQUESTS_SHOWN = 100
ONLY_QUEUE = Argument("queue", "only what belongs to this queue", metavar="NAME")


def _queue_rows(broker: Broker, queue: str | None) -> list[dict[str, Any]]:
    """All queues, or the one of this name. That there is none is an error."""
    rows: list[dict[str, Any]] = broker.status()["queues"]
    found = [row for row in rows if queue in {None, row["name"]}]
    if not found:
        names = ", ".join(row["name"] for row in rows)
        raise CommandError(Code.BAD_ARGUMENT, f"no queue is named {_shown(queue)}; there is {names}")
    return found


def _only(broker: Broker, rows: list[dict[str, Any]], queue: str | None) -> list[dict[str, Any]]:
    """Those of `rows` that belong to `queue`; all of them if it is None. That there is no such queue is an error."""
    _queue_rows(broker, queue)
    return [row for row in rows if queue in {None, row["queue"]}]


@command(reads=True)
def status(broker: Broker, args: Arguments) -> object:  # noqa: ARG001 - every command has this form
    """Show the daemon and its queues, with counts and latencies."""
    return broker.status()


@command(ONLY_QUEUE, reads=True)
def queues(broker: Broker, args: Arguments) -> object:
    """Show the queues, with their endpoints, counts and latencies."""
    return _queue_rows(broker, args["queue"])


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
        raise CommandError(Code.BAD_ARGUMENT, f"a limit of {_shown(args['limit'])} shows nothing")
    return _only(broker, broker.requests(), args["queue"])[: args["limit"]]


A_QUEUE = Argument("queue", "the queue; may be left out where there is only one", positional=True)
A_TARGET = Argument(
    "target",
    "a queue's name, or a worker's id or name; may be left out where there is one queue",
    positional=True,
)
WAIT = Argument("wait", "answer only when it is drained", type=bool, default=False)


@command(A_QUEUE, reads=False)
def pause(broker: Broker, args: Arguments) -> object:
    """Dispatch nothing from a queue until it is resumed; reading goes on to the limits."""
    name = _queue(broker, args["queue"])
    broker.pause(name)
    return _queue_state(broker, name)


@command(A_TARGET, WAIT, TIMEOUT, reads=False)
def drain(broker: Broker, args: Arguments) -> object:
    """Let nothing into a queue, or give nothing to a worker, until resumed; what is there finishes."""
    worker = _worker(broker, args["target"])
    if worker is None:
        name = _queue(broker, args["target"], "queue or worker")
        broker.drain(name)
        if args["wait"]:
            return broker.when(lambda: _queue_drained(broker, name), args["timeout"])
        return _queue_state(broker, name)
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
        return _queue_state(broker, name)
    broker.resume_worker(worker)
    return _worker_state(broker, worker)


@command(
    Argument("peer", "a client's or a worker's id (c12, w3)", required=True, positional=True), reads=False
)
def kick(broker: Broker, args: Arguments) -> object:
    """Close a client's or a worker's connection; what a worker holds goes to others, and it may come back."""
    peer = args["peer"]
    if all(row["id"] != peer for row in (*broker.workers(), *broker.clients())):
        raise CommandError(
            Code.BAD_ARGUMENT, f"nobody has the id {_shown(peer)}; see zqctl workers and zqctl clients"
        )
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
            Code.BAD_ARGUMENT, f"no unanswered request has the id {_shown(request)}; see zqctl requests"
        )
    broker.cancel(request)
    return {"cancelled": request}


@command(
    ONLY_QUEUE,
    Argument("workers", "until so many workers are connected", type=int, metavar="N"),
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
        rows = _queue_rows(broker, args["queue"])
        good = all(
            (args["workers"] is None or row["workers"] >= args["workers"])
            and (not args["idle"] or not (row["queued"] or row["in_flight"]))
            and (not args["drained"] or row["state"] == "drained")
            for row in rows
        )
        return {"queues": [_short(row) for row in rows]} if good else None

    return broker.when(met, args["timeout"])


def _queue(broker: Broker, name: str | None, wanted: str = "queue") -> str:
    """The queue that is meant: the only one where none is named. `wanted` is what might have been named."""
    names: list[str] = [row["name"] for row in broker.status()["queues"]]
    if name is None and len(names) == 1:
        return names[0]
    if name not in names:
        wrong = "which queue?" if name is None else f"no {wanted} is named {_shown(name)};"
        raise CommandError(Code.BAD_ARGUMENT, f"{wrong} there is {', '.join(names)}")
    return name


def _worker(broker: Broker, target: str | None) -> str | None:
    """The id of the worker that is meant, by its id or else its name; None where a queue is, or nothing that is known.

    Workers choose their names, which must hide neither a queue nor another worker's id; and most have none.
    """
    if not target or any(row["name"] == target for row in broker.status()["queues"]):
        return None
    rows = broker.workers()
    found: list[str] = [row["id"] for row in rows if row["id"] == target]
    found = found or [row["id"] for row in rows if row["name"] == target]
    if len(found) > 1:
        some = ", ".join(found[:8]) + (", …" if len(found) > 8 else "")
        raise CommandError(Code.BAD_ARGUMENT, f"several workers are named {_shown(target)}: {some}")
    return found[0] if found else None


def _short(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("name", "state", "workers", "queued", "in_flight")}


def _queue_state(broker: Broker, queue: str) -> dict[str, Any]:
    return _short(_queue_rows(broker, queue)[0])


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
