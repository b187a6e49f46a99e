"""Handlers for the tests of zqd-worker, good ones and bad ones; named as `tests.worker.samples:NAME`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path


def echo(body: bytes) -> bytes:
    """The plainest handler."""
    return body


def work(body: bytes) -> bytes:
    """Takes 10 ms."""
    time.sleep(0.01)
    return body


def wait_for_file(body: bytes) -> bytes:
    """Comes back when a file of this name exists."""
    path = Path(body.decode())
    path.with_suffix(".begun").touch()
    while not path.exists():
        time.sleep(0.01)
    return b"released"


async def wait_for_file_async(body: bytes) -> bytes:
    """The same as a coroutine."""
    path = Path(body.decode())
    path.with_suffix(".begun").touch()
    while not path.exists():
        await asyncio.sleep(0.01)
    return b"released"


def hang_in_the_first(body: bytes) -> bytes:
    """Hangs where the instance is called `first`."""
    if os.environ["ZQD_INSTANCE"] == "first" and body == b"hang":
        time.sleep(3600)
    return os.environ["ZQD_INSTANCE"].encode()


class MuteError(Exception):
    """Cannot even be told."""

    def __str__(self) -> str:
        """Fails."""
        raise RuntimeError("no text")


def misbehave(body: bytes) -> object:
    """Whatever the request says."""
    match body:
        case b"raise":
            raise ValueError("a secret of the machine's")
        case b"exit":
            sys.exit(3)
        case b"interrupt":
            raise KeyboardInterrupt
        case b"mute":
            raise MuteError
        case b"print":
            print("a line of the handler's")  # noqa: T201
            return b"printed"
        case b"text":
            return "text"
        case b"nothing":
            return None
        case b"list":
            return [b"a"]
        case b"large":
            return bytes(100_000)
    return body


async def misbehave_async(body: bytes) -> object:
    """The same as a coroutine."""
    return misbehave(body)


def turn_round(frames: list[bytes]) -> list[bytes]:
    """Frames, by annotation."""
    return frames[::-1]


def fork(body: bytes) -> bytes:
    """Answers how its child has ended, which does what the request says."""
    child = os.fork()
    if not child:
        if body == b"return":
            return body
        raise ValueError if body == b"raise" else SystemExit(int(body) if body.isdigit() else "a text")
    return b"%d" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


async def fork_async(body: bytes) -> bytes:
    """The same as a coroutine."""
    return fork(body)


async def leave_tasks(body: bytes) -> bytes:
    """Leaves a task and a generator behind, which say when they are ended."""
    generator = _generator()
    await anext(generator)
    LEFT.append((generator, asyncio.create_task(_task())))
    await asyncio.sleep(0)
    return body


LEFT: list[object] = []


async def _task() -> None:
    try:
        await asyncio.sleep(3600)
    finally:
        print("the task was ended")  # noqa: T201


async def _generator() -> AsyncIterator[None]:
    try:
        yield
    finally:
        print("the generator was ended")  # noqa: T201


async def stubborn(body: bytes) -> bytes:
    """Cannot be cancelled."""
    while not Path(body.decode()).exists():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.01)
    return b"released"


class Counter:
    """Tells what has been called, in which thread, and how often."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.threads: set[str] = set()

    def setup(self) -> None:
        """Before the first request."""
        self._note("setup")

    def close(self) -> None:
        """After the last one; told on standard output."""
        self._note("close")
        print(f"{len(self.threads)} thread(s): {' '.join(self.calls)}")  # noqa: T201

    def __call__(self, body: bytes) -> bytes:
        """Echo."""
        self._note(body.decode())
        return body

    def _note(self, call: str) -> None:
        self.calls.append(call)
        self.threads.add(threading.current_thread().name)


class AsyncCounter(Counter):
    """The same with coroutines."""

    async def setup(self) -> None:  # type: ignore[override]
        """Before the first request."""
        self._note("setup")

    async def __call__(self, body: bytes) -> bytes:  # type: ignore[override]
        """Echo."""
        self._note(body.decode())
        return body


class Unloadable:
    """Cannot be set up."""

    def setup(self) -> None:
        """Fails."""
        raise OSError("the model is missing")

    def __call__(self, body: bytes) -> bytes:
        """Never comes to that."""
        return body
