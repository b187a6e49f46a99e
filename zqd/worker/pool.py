"""Where handlers run: threads for functions and commands, one thread with an asyncio loop for coroutines.

The instance's own thread is never among them, so that it answers signals and heartbeats whatever a handler does. All threads are
daemons: one that hangs keeps nobody from ending. With a size of 1 it is always the same thread that runs `setup`, every request
and `close`. Called by: `instance`, whose `post` takes what is to be done in its own thread.
"""

from __future__ import annotations

import asyncio
import inspect
import queue
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from zqd.worker.handler import Handler
from zqd.worker.job import Failed, Job, Outcome

Post = Callable[[Callable[[], None]], None]
"""Has something done in the instance's thread; may be called from any."""


class Pool:
    """Runs handlers, at most `size` functions at once; what the instance gives it beyond that waits."""

    def __init__(self, size: int, post: Post) -> None:
        self.size = size
        self._post = post
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._open = 0  # pieces of work that are not over: while there are as many as threads, none is free
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread: threading.Thread | None = None
        self._tasks: set[asyncio.Task[None]] = set()  # asyncio itself holds them weakly

    def run(self, handler: Handler, job: Job, timeout: float, done: Callable[[Job, Outcome], None]) -> None:
        """Call the handler; `done` is posted with what came of it. `timeout` in seconds ends a coroutine (0: none)."""

        def finish(outcome: Outcome) -> None:
            self._post(partial(done, job, outcome))

        def call() -> Any:
            job.thread = threading.get_ident()
            return handler.call(job)

        self._start(handler, call, finish, timeout)

    def prepare(self, handler: Handler, step: Callable[[], Any], done: Callable[[Outcome], None]) -> None:
        """Run the handler's `setup` or `close` where its calls run; `done` is posted with an exception, or an empty list."""

        def finish(outcome: Outcome) -> None:
            self._post(partial(done, outcome if isinstance(outcome, BaseException) else []))

        self._start(handler, step, finish, 0)

    def _start(
        self, handler: Handler, call: Callable[[], Any], finish: Callable[[Outcome], None], timeout: float
    ) -> None:
        if handler.is_async:
            self._spawn(_awaited(call, finish, timeout))
        else:
            self._submit(partial(self._called, call, finish))

    # Threads

    def _submit(self, work: Callable[[], None]) -> None:
        self._open += 1
        if self._open > len(self._threads) < self.size:
            self._threads.append(_begin(f"handler-{len(self._threads) + 1}", self._serve))
        self._work.put(work)

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()

    def _called(self, call: Callable[[], Any], finish: Callable[[Outcome], None]) -> None:
        try:
            outcome = call()
        except BaseException as error:  # noqa: BLE001 - SystemExit too: whatever a handler raises, the worker lives on
            outcome = error
        self._post(self._closed)
        finish(outcome)

    def _closed(self) -> None:
        self._open -= 1

    # asyncio

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._loop_thread = _begin("handlers", self._loop.run_forever)
        loop = self._loop

        def start() -> None:
            task = loop.create_task(coroutine)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        loop.call_soon_threadsafe(start)

    # The end

    def close(self, *, wait: bool) -> None:
        """No more work comes: threads end. Without `wait` those that hang are left behind."""
        for _ in self._threads:
            self._work.put(None)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
        if wait:
            for thread in self._threads:
                thread.join()
            if self._loop is not None and self._loop_thread is not None:
                self._loop_thread.join()
                self._loop.close()


def _begin(name: str, target: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread


async def _awaited(call: Callable[[], Any], finish: Callable[[Outcome], None], timeout: float) -> None:
    outcome: Any
    limit = asyncio.timeout(timeout or None)
    try:
        async with limit:
            outcome = call()
            if inspect.isawaitable(outcome):  # a plain `setup` of an async handler is none
                outcome = await outcome
    except TimeoutError as error:
        outcome = Failed("the handler took too long") if limit.expired() else error
    except BaseException as error:  # noqa: BLE001 - as above; nobody but the time-out cancels it
        outcome = error
    finish(outcome)
