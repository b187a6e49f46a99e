"""`prefetch = "auto"`: how many requests a REP worker may hold, by how fast it answers (rule 8).

    1 ─ 8 brief runs ─▶ 2 ─ 8 brief runs ─▶ 4 ─▶ 8 ─▶ 16        any longer one, or a moment without an answer ─▶ 1

A REP works in order: what it holds behind a long run has to wait, while others may be idle. So it gets something behind its
first request only while others wait and it answers at once: its last runs were BRIEF each, as the broker sees them, the way
there and back included, and the last one ended no longer ago than that. Then the requests behind the first wait for some BRIEF runs, and the
worker need not wait for the broker between them.

Layer 1, pure. Called by: `queue` after a reply, `dispatch` before it gives a busy worker more, `zqd.net.worker_role`.
"""

from __future__ import annotations

from zqd.core.peers import Worker

AUTO = "auto"

BRIEF = 0.001  # seconds; what a request may wait behind another one, many times over, is hardly noticed
RUNS = 8  # brief ones in a row until a worker may hold twice as many
MOST = 16  # requests; more would not make it any busier, but the wait behind a run that is not brief after all longer


def set_slots(worker: Worker, prefetch: int | str) -> None:
    """Give a REP worker the slots that the settings say."""
    worker.auto = prefetch == AUTO
    worker.capacity = prefetch if isinstance(prefetch, int) else 1


def answered(worker: Worker, run: float, now: float) -> bool:
    """A worker has answered after `run` seconds, and requests wait; True where it may hold another number of requests from now on."""
    worker.answered_at = now
    if run > BRIEF:
        return slow(worker)
    worker.brief_runs += 1
    if worker.brief_runs < RUNS or worker.capacity >= MOST:
        return False
    worker.brief_runs = 0
    worker.capacity *= 2
    return True


def keeps_up(worker: Worker, now: float) -> bool:
    """A worker that holds something may get more behind it."""
    return now - worker.answered_at <= BRIEF


def slow(worker: Worker) -> bool:
    """A worker may hold one request; True where it might have held more."""
    changed = worker.capacity > 1
    worker.capacity, worker.brief_runs = 1, 0
    return changed
