"""`prefetch = "auto"`: how many requests a REP worker may hold, by how fast it answers (rule 8).

    1 ─ 8 brief runs ─▶ 2 ─▶ 4 ─ … ─▶ 64, and not more than it answers in 16 ms         any longer run, or none for a moment ─▶ 1

A REP works in order: what it holds behind a long run has to wait, while others may be idle. So it gets something behind its
first request only while others wait and it answers at once: its last runs were brief, as the broker sees them, the way
there and back included, and the last one ended no longer ago than that. Then the worker need not wait for the broker
between them, and the broker can send and read many at a time.

A busy broker sees an answer late: so what is brief is measured by its own turns as well.

Layer 1, pure. Called by: `queue` and `intake` after replies, `dispatch` before it gives a busy worker more, `zqd.net.worker_role`;
`zqd.net.device` tells it how long a turn took.
"""

from __future__ import annotations

from zqd.core.peers import Worker

AUTO = "auto"

BRIEF = 0.001  # seconds; what a request may wait behind another one, some times over, is hardly noticed
TURNS = 2  # of the loop, in which the broker may look elsewhere: one when it has sent, one when there is an answer
RUNS = 8  # brief ones in a row until a worker may hold twice as many
HORIZON = 0.016  # seconds in which a worker should have answered all that it holds
MOST = 64  # requests; more would not make broker or worker any quicker


def set_slots(worker: Worker, prefetch: int | str) -> None:
    """Give a REP worker the slots that the settings say."""
    worker.auto = prefetch == AUTO
    worker.capacity = prefetch if isinstance(prefetch, int) else 1


class Pace:
    """What is brief in one queue, and so which of its workers keep up."""

    __slots__ = ("_brief",)

    def __init__(self) -> None:
        self._brief = BRIEF

    def turn_took(self, seconds: float) -> None:
        """The broker has worked for so long in its last turn."""
        self._brief = BRIEF + TURNS * seconds

    def answered(self, worker: Worker, run: float, count: int, now: float, *, others_wait: bool) -> None:
        """A worker has answered `count` requests at once, the first after `run` seconds: this tells how many it may hold."""
        worker.answered_at = now
        if run > self._brief:
            slow(worker)
        elif worker.brief_runs:
            worker.brief_runs += count
            if worker.brief_runs > RUNS and others_wait:
                _judge(worker, now)
        else:
            worker.brief_runs, worker.judged_at = 1, now

    def keeps_up(self, worker: Worker, now: float) -> bool:
        """A worker that holds something may get more behind it."""
        return now - worker.answered_at <= self._brief


def _judge(worker: Worker, now: float) -> None:
    """Twice as many where it would answer them all by the horizon, half where it does not answer those that it may hold."""
    interval = (now - worker.judged_at) / (worker.brief_runs - 1)
    if worker.capacity * interval > HORIZON:
        worker.capacity = max(1, worker.capacity // 2)
    elif 2 * worker.capacity * interval <= HORIZON and worker.capacity < MOST:
        worker.capacity *= 2
    worker.brief_runs, worker.judged_at = 1, now


def slow(worker: Worker) -> None:
    """A worker may hold one request only."""
    worker.capacity, worker.brief_runs = 1, 0
