"""`zqctl check`: one line and an exit status, as the plugins of Nagios, Icinga and the like give them.

    OK - 4 workers, nothing waits | workers=4;;1: idle=3 …
    CRITICAL - queue jobs: 2 workers, fewer than 4; queue mail: paused: nothing is dispatched | …

The worst that is found is the status. CRITICAL: a limit is exceeded (without --min-workers that is one worker a queue), or zqd does not
run or does not answer. WARNING: a queue is paused, drained or stopping, or zqd's own sentence about it asks for workers. UNKNOWN: the question could not be put,
for want of permission or sense. What is wrong is said before the bar, the numbers behind it, with the limits in the plugins' notation
(`;;1:` is "critical below 1", `;;100` "critical above 100"); with several queues each number is `QUEUE.NAME`.

Knows the rows of `status`. Called by `zqd.ctl.local`, by `program` where the command line makes no sense, and by `board`, which
shows the worst queues first.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from zqd.control.inquiries import by_name
from zqd.ctl.connection import ControlError, ExitStatus
from zqd.ctl.local import Session
from zqd.ctl.tables import Row, duration, plain


class Level(enum.IntEnum):
    """The exit statuses of a monitoring plugin."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


class Limits(NamedTuple):
    """What each queue is held to; None is no limit."""

    max_wait: float | None = None  # seconds
    min_workers: int = 1
    min_idle: int | None = None
    max_queued: int | None = None


class Verdict(NamedTuple):
    """What the check has come to. `problems` is in the order of the queues; `numbers` is what monitoring systems call perfdata."""

    level: Level
    sentence: str
    problems: list[tuple[Level, str]]
    numbers: list[str]

    def line(self) -> str:
        """The one line of a plugin; a bar in the sentence would begin the numbers too early."""
        text = f"{self.level.name} - {plain(self.sentence).replace('|', '/')}"
        return f"{text} | {' '.join(self.numbers)}" if self.numbers else text


def run(session: Session, args: dict[str, Any]) -> int:
    """Print the verdict; its level is the exit status, also where zqd cannot be asked."""
    limits = Limits(args["max_wait"], args["min_workers"], args["min_idle"], args["max_queued"])
    try:
        verdict = judge(session.ask("status"), args["queue"], limits)
    except ControlError as error:
        return unanswered(session, error)
    return _print(session, verdict)


def unanswered(session: Session, error: ControlError) -> int:
    """Print the verdict where there is no answer. If that is for want of permission or sense, zqd may still be well."""
    ours = error.status in {ExitStatus.NO_PERMISSION, ExitStatus.USAGE}
    level = Level.UNKNOWN if ours else Level.CRITICAL
    return _print(session, Verdict(level, error.sentence, [(level, error.sentence)], []))


def _print(session: Session, verdict: Verdict) -> int:
    if session.json:
        session.write(json.dumps(_as_object(verdict), indent=2) + "\n")
    else:
        session.write(verdict.line() + "\n")
    return verdict.level


def judge(status: Row, queue: str | None, limits: Limits) -> Verdict:
    """Hold every queue, or the one of this name, to the limits. Raises `ControlError` where there is no such queue."""
    queues = by_name(status["queues"])
    chosen = [row for name, row in queues.items() if queue in {None, name}]
    if not chosen:
        raise ControlError(ExitStatus.USAGE, f"no queue is named {queue!r}; there is {', '.join(queues)}")
    problems = [
        (level, f"queue {row['name']}: {text}")
        for row in chosen
        for level, text in find_problems(row, limits)
    ]
    if status["state"] != "running":
        problems.insert(0, (Level.WARNING, f"zqd is {status['state']}"))
    problems.sort(key=lambda problem: -problem[0])
    sentence = "; ".join(text for _, text in problems) or _all_well(chosen)
    level = max((level for level, _ in problems), default=Level.OK)
    return Verdict(level, sentence, problems, _numbers(chosen, limits))


def find_problems(row: Row, limits: Limits) -> Iterator[tuple[Level, str]]:
    """What is wrong with one queue, and how bad that is."""
    workers, idle, queued, wait = row["workers"], row["idle_workers"], row["queued"], row["oldest_wait_s"]
    if workers < limits.min_workers:
        yield Level.CRITICAL, f"{_count(workers)}, fewer than {limits.min_workers}"
    if limits.min_idle is not None and idle < limits.min_idle:
        yield Level.CRITICAL, f"{idle} idle, fewer than {limits.min_idle}"
    if limits.max_queued is not None and queued > limits.max_queued:
        yield Level.CRITICAL, f"{queued} queued, more than {limits.max_queued}"
    if limits.max_wait is not None and (wait or 0) > limits.max_wait:
        yield (
            Level.CRITICAL,
            f"the oldest request has waited {duration(wait)}, longer than {limits.max_wait:g} s",
        )
    if row["state"] != "running":
        yield Level.WARNING, row["state"]
    elif row["saturation"].endswith((": add workers", ": start workers")):
        yield Level.WARNING, row["saturation"]


def _all_well(rows: Sequence[Row]) -> str:
    workers, queued = sum(row["workers"] for row in rows), sum(row["queued"] for row in rows)
    where = f" of {len(rows)} queues" if len(rows) > 1 else ""
    waits = [row["oldest_wait_s"] for row in rows if row["oldest_wait_s"] is not None]
    oldest = f"{queued} queued, oldest wait {duration(max(waits))}" if waits else "nothing waits"
    return f"{_count(workers)}{where}, {oldest}"


def _count(workers: int) -> str:
    return "no workers" if not workers else f"{workers} worker{'s' * (workers != 1)}"


def _numbers(rows: Sequence[Row], limits: Limits) -> list[str]:
    """`LABEL=VALUE[UNIT][;;CRITICAL]`: seconds are `s`, and what only rises is `c`."""
    numbers = []
    for row in rows:
        prefix = f"{row['name']}." if len(rows) > 1 else ""
        values = (
            ("workers", row["workers"], _below(limits.min_workers)),
            ("idle", row["idle_workers"], _below(limits.min_idle)),
            ("clients", row["clients"], ""),
            ("queued", row["queued"], _above(limits.max_queued)),
            ("in_flight", row["in_flight"], ""),
            ("oldest_wait", f"{row['oldest_wait_s'] or 0:g}s", _above(limits.max_wait)),
            ("busy", f"{row['busy'] * 100:.0f}%", ""),
            ("received", f"{row['received']}c", ""),
            ("failed", f"{row['failed']}c", ""),
        )
        numbers += [f"{prefix}{label}={value}{limit}" for label, value, limit in values]
    return numbers


def _below(limit: int | None) -> str:
    return "" if limit is None else f";;{limit}:"


def _above(limit: float | None) -> str:
    return "" if limit is None else f";;{limit:g}"


def _as_object(verdict: Verdict) -> dict[str, Any]:
    problems = [{"level": level.name, "text": text} for level, text in verdict.problems]
    return {"level": verdict.level.name, "text": verdict.sentence, "problems": problems}
