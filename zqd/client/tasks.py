"""`AsyncClient`: requests from asyncio tasks, in the loop that runs them. Called by programs, as `zqd.AsyncClient`."""

from __future__ import annotations

import asyncio
import math
import os
import time
import weakref
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self, overload

from zqd.client.arguments import (
    BODY,
    DEFAULT_HEARTBEAT,
    DEFAULT_TIMEOUT,
    OWN,
    Message,
    Own,
    Wishes,
    endpoints_of,
    frames_of,
    heartbeat_of,
    single_frame,
)
from zqd.client.carrier import Carrier
from zqd.client.errors import ClosedError
from zqd.client.keys import OwnSecret, ServerKeys, keys_of
from zqd.client.session import Session
from zqd.errors import FailureCode
from zqd.keys.connection import Keys

CLOSED = "the client is closed"
ELSEWHERE = "the client belongs to another event loop: make one in each"


class AsyncClient:
    """`zqd.Client` for asyncio: `await client.request(...)`, as many tasks at a time as you like.

    Arguments, answers, failures and promises are those of `zqd.Client`. It connects in the loop of its first request (or
    `async with`), and belongs to that loop. A task that is cancelled takes its request back: the answer is dropped; a
    broker that has it may still run it, until its time is over.
    """

    def __init__(
        self,
        endpoints: str | Iterable[str],
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        attempts: int | None = None,
        priority: int | None = None,
        heartbeat: float | None = DEFAULT_HEARTBEAT,
        server_key: ServerKeys = None,
        curve_secret: OwnSecret = None,
    ) -> None:
        self._wishes = Wishes().changed(timeout, attempts, priority)
        self._endpoints = endpoints_of(endpoints)
        self._keys = keys_of(len(self._endpoints), server_key, curve_secret)
        self._heartbeat = heartbeat_of(heartbeat)
        self._driver: _Driver | None = None
        self._closed = False

    @overload
    async def request(
        self,
        message: bytes | bytearray | memoryview,
        *,
        timeout: float | Own | None = OWN,
        attempts: int | None = None,
        priority: int | None = None,
    ) -> bytes: ...
    @overload
    async def request(
        self,
        message: Sequence[bytes],
        *,
        timeout: float | Own | None = OWN,
        attempts: int | None = None,
        priority: int | None = None,
    ) -> list[bytes]: ...
    async def request(
        self,
        message: Message,
        *,
        timeout: float | Own | None = OWN,
        attempts: int | None = None,
        priority: int | None = None,
    ) -> bytes | list[bytes]:
        """Send a request and return its answer: bytes for bytes, a list of frames for a list of frames.

        Raises `RequestError`: `TimedOut`, `WorkerLost`, `Busy`, … (`zqd.client.errors`). The client stays usable.
        """
        wishes = self._wishes.changed(timeout, attempts, priority)
        reply = await self._connected().request(frames_of(message), wishes)
        return single_frame(reply) if isinstance(message, BODY) else reply

    def _connected(self) -> _Driver:
        if self._closed or (self._driver is not None and self._driver.closed):
            raise ClosedError(FailureCode.CANCELLED, CLOSED)
        loop = asyncio.get_running_loop()
        if self._driver is None:
            self._driver = _Driver(loop, self._endpoints, self._keys, self._heartbeat)
            weakref.finalize(self, self._driver.abandon)
        elif self._driver.loop is not loop:
            raise RuntimeError(ELSEWHERE)
        return self._driver

    async def close(self) -> None:
        """End all requests with `ClosedError` and the connections at once; may be called again.

        Raises RuntimeError in another loop than the client's; when that has been closed any other will do.
        """
        driver = self._driver
        if driver is not None and not driver.closed:
            if driver.loop is not asyncio.get_running_loop() and not driver.loop.is_closed():
                raise RuntimeError(ELSEWHERE)
            driver.close()
        self._closed = True

    async def __aenter__(self) -> Self:
        self._connected()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class _Driver:
    """The session and its sockets in a loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        endpoints: tuple[str, ...],
        keys: tuple[Keys | None, ...],
        heartbeat: float | None,
    ) -> None:
        self.loop = loop
        self.closed = False
        self._scheduled = False
        """A turn comes in the loop's next round."""
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf
        """When the timer goes off, time.monotonic()."""
        self._session = Session(endpoints, os.urandom(8), time.monotonic())
        self._carrier = Carrier(self._session, keys, heartbeat, self._watch, loop.remove_reader)

    def _watch(self, descriptor: int) -> None:
        self.loop.add_reader(descriptor, self._turn)

    async def request(self, frames: list[bytes], wishes: Wishes) -> list[bytes]:
        """The frames of the answer."""
        call = self._session.submit(frames, wishes, time.monotonic())
        call.owner = ended = self.loop.create_future()
        if not self._scheduled:  # one turn for all requests that are made until then
            self._scheduled = True
            self.loop.call_soon(self._turn)
        try:
            await ended
        finally:
            self._session.forget(call)
        return call.result()

    def _turn(self) -> None:
        if self.closed:
            return
        self._scheduled = False
        try:
            self._carrier.turn(time.monotonic())
        except Exception:  # a fault of ours: nobody is to wait for ever
            self.close()
            raise
        self._wake_ended()
        deadline = self._carrier.deadline
        if deadline is not None and deadline < self._due:
            if self._timer is not None:
                self._timer.cancel()
            self._due = deadline
            self._timer = self.loop.call_later(max(0.0, deadline - time.monotonic()), self._time_has_come)

    def _time_has_come(self) -> None:
        self._timer, self._due = None, math.inf
        self._turn()

    def _wake_ended(self) -> None:
        for call in self._session.take_ended():
            assert isinstance(call.owner, asyncio.Future)
            if not call.owner.done():  # cancelled in this very round
                call.owner.set_result(None)

    def close(self) -> None:
        """End everything at once."""
        if self.closed:
            return
        self.closed = True
        self._session.close(ClosedError(FailureCode.CANCELLED, CLOSED))
        if not self.loop.is_closed():  # else nothing in it can wake any more
            self._wake_ended()
        if self._timer is not None:
            self._timer.cancel()
        self._carrier.close()

    def abandon(self) -> None:
        """Nobody has closed the client, and it is no more: the garbage collector says so, in whatever thread."""
        try:
            self.loop.call_soon_threadsafe(self.close)
        except RuntimeError:  # the loop is closed
            self.close()
