"""What a worker has to do: jobs that wait for a free slot, jobs that run, and how each of them ends.

    waiting ─▶ running ─▶ answered, failed
                  └─▶ hung (past `handler_timeout`) ─▶ the same, if it ever comes back

Called by: `instance`, in its thread.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any

from zqd.worker.broker import Note
from zqd.worker.handler import Handler
from zqd.worker.job import Failed, Job, Outcome
from zqd.worker.pool import Pool, Post
from zqd.worker.settings import WorkerSettings

GRACE = 5.0  # seconds that what ends itself at `handler_timeout` may take to do so


class Work:
    """The jobs and handlers of one instance. `handler` is what jobs get that start from now on."""

    def __init__(self, settings: WorkerSettings, handler: Handler, post: Post, note: Note) -> None:
        self.handler = handler
        self.answered = 0
        self.failed = 0
        self.waiting: deque[Job] = deque()
        self.running: dict[Job, Handler] = {}
        """In the order of their start."""
        self.hung: dict[Job, Handler] = {}
        """Those that have not come back in time. They keep their slots: nothing can interrupt them."""
        self.preparing = 0
        """Handlers that are being set up or closed."""
        self.pool = Pool(settings.concurrency, post)
        self._settings = settings
        self._note = note
        self._replaced: list[Handler] = []  # by a reload, with jobs that still run

    @property
    def held(self) -> int:
        """Jobs without an answer."""
        return len(self.waiting) + len(self.running) + len(self.hung)

    @property
    def abandoned(self) -> bool:
        """Some handler is still at work, `setup` and `close` included: if it is the end, its thread is left behind."""
        return bool(self.running or self.hung or self.preparing)

    def start(self) -> None:
        """Run what waits, as far as there are slots."""
        while self.waiting and len(self.running) + len(self.hung) < self._settings.concurrency:
            job = self.waiting.popleft()
            if job.wanted:
                job.started = time.monotonic()
                self.running[job] = self.handler
                self.pool.run(self.handler, job, self._settings.handler_timeout, self._finished)

    def replace(self, settings: WorkerSettings, handler: Handler) -> None:
        """Start jobs with these from now on; the handler before is closed when its last job is over."""
        self._replaced.append(self.handler)
        self._settings, self.handler = settings, handler
        self.pool.size = settings.concurrency
        self._close_replaced()

    def abort(self) -> None:
        """End what runs, as far as that can be done, and take no more."""
        for handler in {self.handler, *self._replaced}:
            handler.abort()
        self.pool.close(wait=not self.abandoned)

    # Ends

    def _finished(self, job: Job, outcome: Outcome) -> None:
        if job in self.hung:
            seconds = round(time.monotonic() - job.started, 3)
            self._note("handler.returned", {"request": job.request_id, "seconds": seconds})
        handler = self.running.pop(job, None) or self.hung.pop(job)
        if isinstance(outcome, BaseException):
            sent = job.broker.fail(job, self._reason(job, handler, outcome))
            self.failed += 1
        else:
            sent = job.broker.reply(job, outcome)
            self.answered += 1
        if not sent:
            self._note("reply.undelivered", {"request": job.request_id, "endpoint": job.broker.endpoint})
        if handler is not self.handler:
            self._close_replaced()

    def _reason(self, job: Job, handler: Handler, error: BaseException) -> str:
        """What the client is told; the log gets all that is known."""
        fields = {"request": job.request_id, "handler": handler.label}
        if isinstance(error, Failed):
            self._note("handler.failed", {**fields, "reason": error.reason, **error.details})
            return error.reason
        self._note("handler.failed", {**fields, "reason": told(error), "exc_info": error})
        return f"the handler raised {type(error).__name__}"

    def _close_replaced(self) -> None:
        busy = [*self.running.values(), *self.hung.values()]
        for handler in [handler for handler in self._replaced if handler not in busy]:
            self._replaced.remove(handler)
            self.prepare(handler, handler.close, self.closed)

    def prepare(self, handler: Handler, step: Callable[[], Any], done: Callable[[Outcome], None]) -> None:
        """Run a handler's `setup` or `close`, and call `done` with what came of it."""

        def finish(outcome: Outcome) -> None:
            self.preparing -= 1
            done(outcome)

        self.preparing += 1
        self.pool.prepare(handler, step, finish)

    def closed(self, outcome: Outcome) -> None:
        """A handler's `close` is over."""
        if isinstance(outcome, BaseException):
            self._note("handler.failed", {"step": "close", "reason": told(outcome), "exc_info": outcome})

    # Time

    @property
    def late_at(self) -> float | None:
        """When the oldest job that runs will have taken too long (monotonic seconds)."""
        timeout = self._settings.handler_timeout
        if not (timeout and self.running):
            return None
        job, handler = next(iter(self.running.items()))
        return job.started + timeout + (GRACE if handler.ends_itself else 0)

    def give_up(self, now: float) -> Job | None:
        """The oldest job, if it has taken too long: hung from now on."""
        if self.late_at is None or now < self.late_at:
            return None
        job, handler = next(iter(self.running.items()))
        self.hung[job] = self.running.pop(job)
        frame = sys._current_frames().get(job.thread or 0)
        self._note(
            "handler.timeout",
            {
                "request": job.request_id,
                "handler": handler.label,
                "seconds": round(now - job.started, 3),
                "stack": "".join(traceback.format_stack(frame)) if frame is not None else "",
            },
        )
        return job


def told(error: BaseException) -> str:
    """An exception in one line."""
    return f"{type(error).__name__}: {error}"
