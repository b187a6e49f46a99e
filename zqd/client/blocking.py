"""`Client`: requests from threads.

A thread of the client's own has the sockets; those that make requests put them into its inbox and wait, each on a lock
of its own. Called by programs, as `zqd.Client`.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
import weakref
from collections import deque
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
from zqd.client.session import Call, Session
from zqd.errors import FailureCode
from zqd.keys.connection import Keys

CLOSE_PATIENCE = 5.0  # seconds that `close` waits for the client's own thread
CLOSED = "the client is closed"


class Client:
    """Sends requests and returns their answers; any number of threads may use one client at a time.

    `endpoints`: `tcp://HOST:PORT` or `ipc:///PATH`, one or several. Of several brokers the first that is connected gets
    the requests, and the others those that it cannot serve: when its connection breaks, when it answers 503, or when a
    request has had no answer for its share of the timeout (of two brokers: half). Broken connections are made again.

    So a request may run more than once: **at least once**, as in zqd itself. Where twice would be wrong say
    `attempts=1`: then it is sent once and started once, and what becomes of it in a crash cannot be known.

    `timeout`: seconds that a request may take, None for ever. zqd is told, and drops what nobody waits for any more.
    `attempts`: how often a broker may start it, and how often the client may send it. `priority`: 0 to 9, 5 unless said.
    These hold for each request that does not say otherwise. `heartbeat`: within so many seconds a broker that gives no
    sign of life counts as lost; None for peers that do not know ZMTP's PING.

    A broker that uses CURVE needs `server_key`: its public key, of 40 characters, or the path of its certificate; for
    several brokers that differ a list of them, one for each endpoint, "" for one without CURVE. `curve_secret` is the path
    of this client's own `.key_secret` certificate (`zqctl keygen`); without it the client has a new key, which only a broker
    knows that lets in everybody. While every broker refuses the connection a request does not wait for its timeout: it ends
    at once with `Unreachable`, which says why, and the next one tries again (at most once a second).

    A context manager; `close` otherwise. A client does not work in a child after os.fork(): make one there.
    Raises TypeError or ValueError for arguments that make no sense, OSError where its sockets cannot be opened.
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
        places = endpoints_of(endpoints)
        keys = keys_of(len(places), server_key, curve_secret)
        self._engine = _Engine(places, keys, heartbeat_of(heartbeat))
        # Nobody has to close it: its thread knows the engine only, and ends it when the client is no more.
        self._close = weakref.finalize(self, self._engine.close)

    @overload
    def request(
        self,
        message: bytes | bytearray | memoryview,
        *,
        timeout: float | Own | None = OWN,
        attempts: int | None = None,
        priority: int | None = None,
    ) -> bytes: ...
    @overload
    def request(
        self,
        message: Sequence[bytes],
        *,
        timeout: float | Own | None = OWN,
        attempts: int | None = None,
        priority: int | None = None,
    ) -> list[bytes]: ...
    def request(
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
        reply = self._engine.request(frames_of(message), wishes)
        return single_frame(reply) if isinstance(message, BODY) else reply

    def close(self) -> None:
        """End all requests with `ClosedError` and the connections at once. Returns within seconds; may be called again."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Waiter:
    """A thread's request: what it asks, and the lock that it waits for."""

    __slots__ = ("answered", "call", "error", "forgotten", "frames", "wishes")

    def __init__(self, frames: list[bytes], wishes: Wishes) -> None:
        self.frames = frames
        self.wishes = wishes
        self.call: Call | None = None
        self.forgotten = False
        self.answered = threading.Lock()
        self.answered.acquire()


class _Engine:
    """The thread that owns the session and its sockets, and the inbox through which it is told everything.

    No lock guards anything, so that a KeyboardInterrupt in a program's thread finds nothing half done: appending to a
    deque and taking from it are single steps.
    """

    def __init__(
        self, endpoints: tuple[str, ...], keys: tuple[Keys | None, ...], heartbeat: float | None
    ) -> None:
        self._pid = os.getpid()
        self._inbox: deque[_Waiter] = deque()
        self._awake = False
        """The thread has been woken since it last looked into the inbox."""
        self._closing = self._closed = False
        self._session = Session(endpoints, os.urandom(8), time.monotonic())
        with contextlib.ExitStack() as opened:
            self._ready = opened.enter_context(select.epoll())
            self._waker, self._wakes = map(opened.enter_context, socket.socketpair())
            self._ready.register(self._wakes, select.EPOLLIN)
            self._carrier = Carrier(self._session, keys, heartbeat, self._watch, self._ready.unregister)
            opened.callback(self._carrier.close)
            self._thread = threading.Thread(target=self._run, name="zqd-client", daemon=True)
            self._opened = opened.pop_all()
            self._thread.start()

    # Threads of the program

    def request(self, frames: list[bytes], wishes: Wishes) -> list[bytes]:
        """The frames of the answer."""
        if os.getpid() != self._pid:
            reason = f"the client was made by process {self._pid} before a fork: make one in each process"
            raise ClosedError(FailureCode.CANCELLED, reason)
        waiter = _Waiter(frames, wishes)
        try:
            self._tell(waiter)
            if self._closed:  # before the waiter was there, or after: then it may have been seen or not
                raise ClosedError(FailureCode.CANCELLED, CLOSED)
            waiter.answered.acquire()
        except BaseException:  # KeyboardInterrupt, or what another signal handler raises
            waiter.forgotten = True
            self._tell(waiter)
            raise
        assert waiter.call is not None
        return waiter.call.result()

    def _tell(self, waiter: _Waiter) -> None:
        self._inbox.append(waiter)
        if not self._awake:
            self._awake = True
            self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # closed
            self._waker.send(b"!")

    def close(self) -> None:
        """End the thread, and wait for that unless this is it: the garbage collector runs anywhere."""
        if os.getpid() != self._pid:
            return
        self._closing = True
        self._wake()
        if threading.current_thread() is not self._thread:
            self._thread.join(CLOSE_PATIENCE)

    # The client's own thread

    def _run(self) -> None:
        try:
            while not self._closing:
                self._turn()
        finally:
            self._closed = True
            self._read_inbox()
            self._session.close(ClosedError(FailureCode.CANCELLED, CLOSED))
            self._release_ended()
            self._opened.close()

    def _turn(self) -> None:
        deadline = self._carrier.deadline
        for descriptor, _ in self._ready.poll(
            None if deadline is None else max(0.0, deadline - time.monotonic())
        ):
            if descriptor == self._wakes.fileno():
                self._wakes.recv(4096)
        self._read_inbox()
        self._carrier.turn(time.monotonic())
        self._release_ended()

    def _read_inbox(self) -> None:
        self._awake = False  # whoever appends after this wakes again
        while self._inbox:
            waiter = self._inbox.popleft()
            if waiter.call is None and not waiter.forgotten:
                waiter.call = self._session.submit(waiter.frames, waiter.wishes, time.monotonic())
                waiter.call.owner = waiter
            elif waiter.call is not None and waiter.forgotten:
                self._session.forget(waiter.call)

    def _release_ended(self) -> None:
        for call in self._session.take_ended():
            assert isinstance(call.owner, _Waiter)
            call.owner.answered.release()

    def _watch(self, descriptor: int) -> None:
        self._ready.register(descriptor, select.EPOLLIN)
