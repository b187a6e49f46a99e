"""Where handlers run: threads for functions and commands, one thread with an asyncio loop for coroutines.

The instance's own thread is never among them, so that it answers signals and heartbeats whatever a handler does. All threads are
daemons: one that hangs keeps nobody from ending. With a size of 1 it is always the same thread that runs `setup`, every request
and `close`. Called by: `instance`, whose `post` takes what is to be done in its own thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, NoReturn

from zqd.worker.handler import Handler
from zqd.worker.job import Failed, Job, Outcome, Step

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
        self._ended = False
        self._tasks: set[asyncio.Task[None]] = set()  # asyncio itself holds them weakly

    def run(self, handler: Handler, job: Job, timeout: float, done: Callable[[Job, Outcome], None]) -> None:
        """Call the handler; `done` is posted with what came of it. `timeout` in seconds ends a coroutine (0: none)."""

        def finish(outcome: Outcome) -> None:
            self._post(partial(done, job, outcome))

        def call() -> Any:
            job.thread = threading.get_ident()
            return handler.call(job)

        self._start(handler, call, finish, timeout)

    def prepare(self, handler: Handler, step: Step, done: Callable[[Outcome], None], *, timed: bool) -> None:
        """Run the handler's `setup` or `close` where its calls run; `done` is posted with an exception, or an empty list.

        `timed`: when it begins is posted to it.
        """

        def finish(outcome: Outcome) -> None:
            self._post(partial(done, outcome if isinstance(outcome, BaseException) else []))

        def call() -> Any:
            if timed:
                self._post(partial(_begun, step, threading.get_ident()))
            return handler.setup() if step.name == "setup" else handler.close()

        self._start(handler, call, finish, 0)

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
        process = os.getpid()
        try:
            outcome = call()
        except BaseException as error:  # noqa: BLE001 - SystemExit too: whatever a handler raises, the worker lives on
            outcome = error
        if os.getpid() != process:
            _end_child(outcome)
        self._post(self._closed)
        finish(outcome)

    def _closed(self) -> None:
        self._open -= 1

    # asyncio

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        if self._loop is None:
            # A factory, so that the loop does not become that of this thread.
            runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
            self._loop = runner.get_loop()
            self._loop_thread = _begin("handlers", partial(self._run, runner))
        loop = self._loop

        def start() -> None:
            task = loop.create_task(coroutine)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        loop.call_soon_threadsafe(start)

    def _run(self, runner: asyncio.Runner) -> None:
        """The thread of asyncio; at its end the tasks and generators that handlers have left behind are ended too."""
        loop = runner.get_loop()
        while not self._ended:
            # SystemExit in a task of the handler's own comes by here, and then to whoever awaits it; anybody may call `loop.stop`.
            with contextlib.suppress(SystemExit, KeyboardInterrupt):
                loop.run_forever()
        with contextlib.suppress(SystemExit, KeyboardInterrupt):
            runner.close()

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        self._ended = True
        loop.stop()

    # The end

    def close(self, patience: float) -> bool:
        """No more work comes: threads end. False where some have not within `patience` seconds, and are left behind."""
        deadline = time.monotonic() + patience
        for _ in self._threads:
            self._work.put(None)
        threads = list(self._threads)
        if self._loop is not None and self._loop_thread is not None:
            self._loop.call_soon_threadsafe(self._end, self._loop)
            threads.append(self._loop_thread)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)


def _begin(name: str, target: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread


async def _awaited(call: Callable[[], Any], finish: Callable[[Outcome], None], timeout: float) -> None:
    outcome: Any
    process = os.getpid()
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
    if os.getpid() != process:
        _end_child(outcome)
    finish(outcome)


def _begun(step: Step, thread: int) -> None:
    step.started, step.thread = time.monotonic(), thread


def _end_child(outcome: object) -> NoReturn:
    """End a process that the handler has made by os.fork: it is no worker, and whoever waits for it wants a status."""
    code: object = 0
    if isinstance(outcome, SystemExit):
        code = outcome.code or 0
    elif isinstance(outcome, BaseException):
        code = "".join(traceback.format_exception(outcome))
    with contextlib.suppress(Exception):  # as at the end of any program
        if not isinstance(code, int):
            sys.stderr.write(f"{code}\n")
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code & 0xFF if isinstance(code, int) else 1)
