"""What a worker has to do: jobs that wait for a free slot, jobs that run, and how each of them ends.

    waiting ─▶ running ─▶ answered, failed
                  └─▶ hung (past `handler_timeout`) ─▶ the same, if it ever comes back

A handler's `setup` and `close` take a slot as a job does: a job that started behind one would seem to hang in its stead.
Called by: `instance`, in its thread.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections import deque
from collections.abc import Callable

from zqd.worker.broker import Note
from zqd.worker.handler import Handler
from zqd.worker.job import Failed, Job, Outcome, Step, told
from zqd.worker.pool import Pool, Post
from zqd.worker.settings import WorkerSettings

GRACE = 5.0  # seconds that what ends itself, at `handler_timeout` or when all ends, may take to do so
LONG_STEP = 30.0  # seconds after which a `setup` or `close` is said to take long, without `handler_timeout`


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
        self.steps: dict[Step, Handler] = {}
        """Handlers that are being set up or closed."""
        self.abandoned = False
        """After `abort`: some handler was still at work, `setup` and `close` included, and its thread is left behind."""
        self.pool = Pool(settings.concurrency, post)
        self._settings = settings
        self._note = note
        self._replaced: list[Handler] = []  # by a reload, with jobs that still run

    @property
    def held(self) -> int:
        """Jobs without an answer."""
        return len(self.waiting) + len(self.running) + len(self.hung)

    def start(self) -> None:
        """Run what waits, as far as there are slots."""
        while (
            self.waiting and len(self.running) + len(self.hung) + len(self.steps) < self._settings.concurrency
        ):
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
        busy = self.running or self.hung or self.steps
        self.abandoned = not self.pool.close(0 if busy else GRACE)

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
            self.close(handler)

    def set_up(self, handler: Handler, done: Callable[[Outcome], None], *, timed: bool = True) -> None:
        """Run a handler's `setup`, and call `done` with what came of it; where it is `timed` the log tells that it takes long."""
        self._prepare(handler, Step("setup"), done, timed=timed)

    def close(self, handler: Handler) -> None:
        """Run a handler's `close`, after its last job."""
        self._prepare(handler, Step("close"), self._closed, timed=True)

    def _prepare(self, handler: Handler, step: Step, done: Callable[[Outcome], None], *, timed: bool) -> None:
        def finish(outcome: Outcome) -> None:
            del self.steps[step]
            done(outcome)

        self.steps[step] = handler
        self.pool.prepare(handler, step, finish, timed=timed)

    def _closed(self, outcome: Outcome) -> None:
        if isinstance(outcome, BaseException):
            self._note("handler.failed", {"step": "close", "reason": told(outcome), "exc_info": outcome})

    # Time

    @property
    def due(self) -> list[float]:
        """When to look for what takes too long (monotonic seconds)."""
        steps = [step.started + self._step_limit for step in self.steps if step.started is not None]
        return steps if self._late_at is None else [*steps, self._late_at]

    @property
    def _step_limit(self) -> float:
        return self._settings.handler_timeout or LONG_STEP

    @property
    def _late_at(self) -> float | None:
        """When the oldest job that runs will have taken too long."""
        timeout = self._settings.handler_timeout
        if not (timeout and self.running):
            return None
        job, handler = next(iter(self.running.items()))
        return job.started + timeout + (GRACE if handler.ends_itself else 0)

    def give_up(self, now: float) -> Job | None:
        """The oldest job, if it has taken too long: hung from now on."""
        if self._late_at is None or now < self._late_at:
            return None
        job, handler = next(iter(self.running.items()))
        self.hung[job] = self.running.pop(job)
        self._tell_late({"request": job.request_id}, handler, now - job.started, job.thread)
        return job

    def tell_long_steps(self, now: float) -> None:
        """Say once of a `setup` or `close` that it takes long. It may: but what waits for its slot should not go unexplained."""
        for step, handler in self.steps.items():
            if step.started is not None and now >= step.started + self._step_limit:
                self._tell_late({"step": step.name}, handler, now - step.started, step.thread)
                step.started = None

    def _tell_late(self, what: dict[str, object], handler: Handler, seconds: float, thread: int) -> None:
        frame = sys._current_frames().get(thread)
        stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
        fields = {**what, "handler": handler.label, "seconds": round(seconds, 3), "stack": stack}
        self._note("handler.timeout", fields)
