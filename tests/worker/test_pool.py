from __future__ import annotations

import asyncio
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support.processes import PATIENCE, wait_for
from tests.worker import samples
from zqd.worker.handler import PythonHandler
from zqd.worker.job import Job, Outcome, Step
from zqd.worker.pool import Pool


class Desk:
    """A pool, and the thread that its posts come to, which is the test's."""

    def __init__(self) -> None:
        self._posts: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.pool = Pool(1, self._posts.put)
        self._outcomes: list[Outcome] = []

    def call(self, target: Callable[..., Any], body: bytes = b"", timeout: float = 0) -> Outcome:
        """What comes of a call."""
        self.pool.run(
            _handler(target), _job(body), timeout, lambda _, outcome: self._outcomes.append(outcome)
        )
        return self._outcome()

    def prepare(self, target: Callable[..., Any], step: Step, *, timed: bool = False) -> Outcome:
        """What comes of a step."""
        self.pool.prepare(_handler(target), step, self._outcomes.append, timed=timed)
        return self._outcome()

    def _outcome(self) -> Outcome:
        while not self._outcomes:
            self._posts.get(timeout=PATIENCE)()
        return self._outcomes.pop()


def _handler(target: Callable[..., Any]) -> PythonHandler:
    return PythonHandler(target, "test", frames=False, max_reply_size=0)


def _job(body: bytes) -> Job:
    class Nobody:
        connection = None

    return Job([bytes(16), b"client", b"", body], cast("Any", Nobody))


@pytest.fixture
def desk() -> Iterator[Desk]:
    """A pool of one thread."""
    made = Desk()
    yield made
    made.pool.close(PATIENCE)


async def _leave() -> None:
    sys.exit(3)


async def by_wait_for(body: bytes) -> bytes:
    """With a limit of its own."""
    await asyncio.wait_for(_leave(), 5) if body else None
    return b"ok"


async def by_gather(body: bytes) -> bytes:
    """With another one."""
    await asyncio.gather(_leave(), asyncio.sleep(0)) if body else None
    return b"ok"


async def by_task_group(body: bytes) -> bytes:
    """In a group."""
    async with asyncio.TaskGroup() as group:
        if body:
            group.create_task(_leave())
    return b"ok"


async def by_create_task(body: bytes) -> bytes:
    """As a task."""
    await asyncio.create_task(_leave()) if body else None
    return b"ok"


@pytest.mark.parametrize("target", [by_wait_for, by_gather, by_task_group, by_create_task])
def test_exit_in_a_task(desk: Desk, target: Callable[..., Any]) -> None:
    """A task that a coroutine awaits may end by sys.exit: that is the call's end, and the next one is answered."""
    assert isinstance(desk.call(target, b"exit"), SystemExit)
    assert desk.call(target) == [b"ok"]


async def stop_the_loop(_: bytes) -> bytes:
    """What no handler should do."""
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0)
    return b"ok"


def test_loop_that_is_stopped(desk: Desk) -> None:
    """The loop is ours to end, whoever stops it."""
    assert [desk.call(stop_the_loop) for _ in range(3)] == [[b"ok"]] * 3


def test_end() -> None:
    """At the end the threads of functions and that of coroutines are gone."""
    desk = Desk()
    before = set(threading.enumerate())
    desk.call(samples.echo)
    desk.call(by_gather)
    assert len(set(threading.enumerate()) - before) == 2
    assert desk.pool.close(PATIENCE)
    assert set(threading.enumerate()) <= before


def test_end_without_patience(tmp_path: Path) -> None:
    """What cannot be cancelled does not hold up the end, and is said to be left behind."""
    desk = Desk()
    path = tmp_path / "release"

    async def leave(body: bytes) -> bytes:
        tasks.append(asyncio.create_task(samples.stubborn(body)))
        await asyncio.sleep(0)
        return body

    tasks: list[asyncio.Task[bytes]] = []
    desk.call(leave, str(path).encode())
    assert not desk.pool.close(0.1)
    path.touch()
    wait_for(tasks[0].done, "the task to end")


def test_beginning_of_a_step(desk: Desk) -> None:
    """Where it is asked for, a step knows when and in which thread it began."""
    timed, untimed = Step("setup"), Step("setup")
    desk.prepare(samples.Counter, timed, timed=True)
    desk.prepare(samples.Counter, untimed)
    assert timed.started is not None
    assert timed.thread
    assert untimed.started is None
    assert isinstance(desk.prepare(samples.Unloadable, Step("setup")), OSError)
    assert desk.prepare(samples.Unloadable, Step("close")) == []
