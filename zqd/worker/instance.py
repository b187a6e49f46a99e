"""One worker from its start to its end: the loop that takes jobs from brokers, has them run, and sends what came of them.

    starting ─▶ working ─▶ stopping ─▶ closing ─▶ over
    setup       connected   leave sent:  the handler's
                            what it holds  `close`
                            is finished

All of it happens in the thread that calls `run`; handlers run in the pool's, which hand their outcomes over by `post`. So do
signals and other threads: `stop`, `abort` and `reload` may be called from anywhere. Called by: `program`, `library`.
"""

from __future__ import annotations

import contextlib
import enum
import os
import random
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import zmq

from zqd import __version__
from zqd.errors import UnavailableError, ZqdError
from zqd.keys.connection import Keys
from zqd.systemd.notify import Notifier
from zqd.worker.broker import Broker, Heartbeats, Note
from zqd.worker.handler import Handler
from zqd.worker.job import Outcome, told
from zqd.worker.settings import WorkerSettings, taken_over
from zqd.worker.work import Work

STATUS_PERIOD = 1.0  # seconds between two STATUS=, at the least
UNCONNECTED_AFTER = 5.0  # seconds without any broker until that is said
_TOO_LATE = "this instance is stopping"


class HungError(ZqdError):
    """A handler has not come back within `handler_timeout`, and nobody else will end this process (status 70)."""


class Phase(enum.Enum):
    """Of an instance's life; see the module."""

    STARTING = "starting"
    WORKING = "working"
    STOPPING = "stopping"
    CLOSING = "closing"
    OVER = "over"


class Instance:
    """One worker. `keys` are those for each of `settings.backend`.

    `reloader` gives all three anew, or raises; without it `reload` does nothing. `reloaded` is told of the settings that
    a reload has come to.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        handler: Handler,
        keys: Sequence[Keys | None],
        *,
        name: str,
        note: Note,
        notifier: Notifier | None = None,
        reloader: Callable[[], tuple[WorkerSettings, Handler, Sequence[Keys | None]]] | None = None,
        reloaded: Callable[[WorkerSettings], None] = lambda _: None,
    ) -> None:
        self.phase = Phase.STARTING
        self._settings = settings
        self._keys = keys
        self._work = Work(settings, handler, self._post, note)
        self._name = name
        self._note = note
        self._notifier = notifier or Notifier(None)
        self._reloader = reloader
        self._told_of_reload = reloaded
        self._reload_asked = False  # since the last one began
        self._reloading = False  # one at a time: it is the last one that has to be in force
        self._brokers: list[Broker] = []
        self._most_requests = _limit(settings)
        self._ready = False
        self._hung = ""  # the request of which the handler hangs, where that ends the instance
        self._setup_fault: BaseException | None = None
        self._stop_at: float | None = None  # when a stop has to be over
        self._said_unconnected = False
        self._started = time.monotonic()
        self._next_status = self._next_ping = 0.0
        self._told = ""  # the last STATUS=
        self._posted: deque[Callable[[], None]] = deque()
        self._wake, self.waker = socket.socketpair()
        """`waker`: a byte sent to it wakes the loop (signal.set_wakeup_fd)."""
        self._wake.setblocking(False)
        self.waker.setblocking(False)

    # From anywhere

    def stop(self) -> None:
        """Leave every broker, finish what is held within `drain_timeout`, and let `run` return."""
        self._post(self._stop)

    def abort(self) -> None:
        """Let `run` return at once; what is held goes to other workers."""
        self._post(self._abort)

    def reload(self) -> None:
        """Take new settings and a new handler, as soon as `setup` is over; what runs already ends with the old one."""
        self._post(self._ask_for_reload)

    @property
    def abandoned(self) -> bool:
        """Handlers were still running when `run` returned: their threads may never end."""
        return self._work.abandoned

    def _post(self, action: Callable[[], None]) -> None:
        self._posted.append(action)
        with contextlib.suppress(OSError):  # full: it will wake; closed: nobody is left to be woken
            self.waker.send(b"\0")

    # The loop

    def run(self) -> None:
        """Work until stopped. Raises UnavailableError where the handler's `setup` fails, HungError where a handler hangs."""
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        work = self._work
        work.set_up(work.handler, self._set_up, timed=False)  # the manager knows how long a start may take
        try:
            while self.phase is not Phase.OVER:
                self._turn()
        finally:
            self._close()
        if self._setup_fault is not None:
            raise UnavailableError(
                f"the handler's setup failed: {told(self._setup_fault)}"
            ) from self._setup_fault
        if self._hung:
            raise HungError(f"the handler of request {self._hung} hangs")
        self._note("instance.stopped", {"replied": work.answered, "failed": work.failed})

    def _turn(self) -> None:
        sockets: list[tuple[Any, int]] = [(self._wake, zmq.POLLIN)]
        for broker in self._brokers:
            flags = zmq.POLLIN | (zmq.POLLOUT if broker.wants_to_send else 0)
            sockets += [(broker.monitor, zmq.POLLIN), (broker.socket, flags)]
        zmq.zmq_poll(sockets, self._patience())
        with contextlib.suppress(BlockingIOError):
            self._wake.recv(4096)
        while self._posted:
            self._posted.popleft()()
        if self._reload_asked and self.phase is Phase.WORKING and not self._reloading:
            self._reload()
        now = time.monotonic()
        for broker in self._brokers:
            broker.look(now)
            if broker.wants_to_send:
                self._hello(broker)
            self._work.waiting.extend(broker.jobs(now))
        self._brokers = [broker for broker in self._brokers if not broker.closed]
        self._work.start()
        self._elapse(now)

    def _patience(self) -> int:
        """Milliseconds until something is due."""
        now = time.monotonic()
        due = self._work.due if self._stop_at is None else [*self._work.due, self._stop_at]
        due += [broker.retry_at for broker in self._brokers if broker.retry_at is not None]
        if self._has_news:
            due.append(self._next_status)
        if self._notifier.watchdog is not None and not self._work.hung:
            due.append(self._next_ping)
        if self._waits:
            due.append(self._started + UNCONNECTED_AFTER)
        return max(0, int((min(due) - now) * 1000) + 1) if due else -1

    def _elapse(self, now: float) -> None:
        """Do what has come due."""
        for broker in self._brokers:
            if broker.retry_at is not None and now >= broker.retry_at:
                broker.retry()
        hung = self._work.give_up(now)
        if hung is not None and self._notifier.watchdog is None:  # otherwise the service manager ends us
            self._hung = hung.request_id
            self._stop("a handler hangs")
        self._work.tell_long_steps(now)
        if self._most_requests and self._work.answered + self._work.failed >= self._most_requests:
            self._stop("max_requests is reached")
        if self._waits and now >= self._started + UNCONNECTED_AFTER:
            self._said_unconnected = True
            self._note("worker.waiting", {"backend": list(self._settings.backend)})
        self._go_on_stopping(now)
        self._tell_manager(now)

    @property
    def _waits(self) -> bool:
        """No broker has been reached yet, which has not been said."""
        return self.phase is Phase.WORKING and not (self._ready or self._said_unconnected)

    def _tell_manager(self, now: float) -> None:
        notifier = self._notifier
        if self._has_news and now >= self._next_status:
            self._next_status = now + STATUS_PERIOD
            self._told = self.status
            notifier.status(self._told)
            if self._is_ending:
                notifier.extend(10 * STATUS_PERIOD)  # the limit is `drain_timeout`
        # A handler that hangs: the manager shall find that this service is ill, and start it anew.
        if notifier.watchdog is not None and not self._work.hung and now >= self._next_ping:
            self._next_ping = now + notifier.watchdog / 3
            notifier.alive()

    @property
    def _has_news(self) -> bool:
        """There is something to tell the manager, now or when STATUS_PERIOD is over."""
        return self._notifier.enabled and (self._is_ending or self.status != self._told)

    @property
    def _is_ending(self) -> bool:
        return self.phase in {Phase.STOPPING, Phase.CLOSING}

    @property
    def status(self) -> str:
        """What `systemctl status` shows."""
        connected = sum(broker.connection is not None for broker in self._brokers)
        work = self._work
        hung = f", {len(work.hung)} hung" if work.hung else ""
        doing = "reloading" if self._reloading and self.phase is Phase.WORKING else self.phase.value
        return (
            f"{doing}: {connected} of {len(self._brokers)} brokers connected, {len(work.running)} running{hung}, "
            f"{work.answered} answered, {work.failed} failed"
        )

    # Brokers

    def _set_up(self, outcome: Outcome) -> None:
        if self.phase is not Phase.STARTING:
            return
        if isinstance(outcome, BaseException):
            self._setup_fault = outcome
            self._note("handler.failed", {"step": "setup", "reason": told(outcome), "exc_info": outcome})
            self.phase = Phase.OVER
            return
        self.phase = Phase.WORKING
        self._started = time.monotonic()
        self._note(
            "instance.started",
            {
                "version": __version__,
                "name": self._name,
                "pid": os.getpid(),
                "handler": self._work.handler.label,
                "backend": list(self._settings.backend),
            },
        )
        self._connect()

    def _connect(self) -> None:
        """Have a connection to each broker of the settings, with its keys, and to no other."""
        settings = self._settings
        beats = Heartbeats(settings.heartbeat_interval, settings.heartbeat_timeout, settings.heartbeat_ttl)
        wanted = dict(zip(settings.backend, self._keys, strict=True))
        known = {(broker.endpoint, broker.keys): broker for broker in self._brokers if not broker.leaving}
        for way, broker in known.items():
            if way not in wanted.items():
                broker.leave()
        for endpoint, keys in wanted.items():
            if (endpoint, keys) not in known:
                self._brokers.append(Broker(self._context, endpoint, keys, self._name, beats, self._note))

    def _hello(self, broker: Broker) -> None:
        held = [job.request_id for job in (*self._work.running, *self._work.hung) if job.broker is broker]
        broker.hello(self._work.handler.label, self._settings.concurrency, held)
        if broker.greeted and not self._ready:
            self._ready = True
            self._note("instance.ready", {"handler": self._work.handler.label})
            self._notifier.ready(self.status)

    # Reload

    def _ask_for_reload(self) -> None:
        self._reload_asked = self._reloader is not None
        if self._reload_asked and self._is_ending:
            self._rejected(_TOO_LATE)

    def _reload(self) -> None:
        assert self._reloader is not None
        self._reload_asked = False
        if self._ready:
            self._notifier.reloading()
        try:
            settings, handler, keys = self._reloader()
        except ZqdError as error:
            self._rejected(str(error), error.__cause__)
        except Exception as fault:  # noqa: BLE001 - whatever it is: what works goes on working
            self._rejected(told(fault), fault)
        else:
            self._reloading = True
            self._work.set_up(handler, partial(self._reloaded, settings, handler, keys))

    def _reloaded(
        self, settings: WorkerSettings, handler: Handler, keys: Sequence[Keys | None], outcome: Outcome
    ) -> None:
        self._reloading = False
        if isinstance(outcome, BaseException):
            self._rejected(f"the handler's setup failed: {told(outcome)}", outcome)
            return
        if self.phase is not Phase.WORKING:
            self._rejected(_TOO_LATE)
            self._work.close(handler)
            return
        self._settings, changed, pending = taken_over(self._settings, settings)
        self._keys = keys
        self._work.replace(self._settings, handler)
        self._most_requests = _limit(settings)
        self._told_of_reload(self._settings)
        self._note("config.reloaded", {"changed": changed, "pending": pending})
        self._note("handler.reloaded", {"handler": handler.label})
        self._connect()
        for broker in self._brokers:
            broker.greeted = False  # handler and capacity may be others
        self._reload_is_over()

    def _rejected(self, reason: str, cause: BaseException | None = None) -> None:
        self._note(
            "config.rejected", {"reason": reason, **({"exc_info": cause} if cause is not None else {})}
        )
        self._reload_is_over()

    def _reload_is_over(self) -> None:
        if self._ready and self.phase is Phase.WORKING:  # or the manager has been told of a stop since
            self._notifier.ready(self.status)

    # The end

    def _stop(self, reason: str = "") -> None:
        """By a signal or an order, or for a reason of our own, which is retiring."""
        if self.phase is Phase.STARTING:
            self.phase = Phase.OVER
        if self.phase is not Phase.WORKING:
            return
        self.phase = Phase.STOPPING
        name = "instance.retiring" if reason else "instance.stopping"
        self._note(name, {**({"reason": reason} if reason else {}), "held": self._work.held})
        self._notifier.stopping(self.status)
        if self._settings.drain_timeout:
            self._stop_at = time.monotonic() + self._settings.drain_timeout
        for broker in self._brokers:
            broker.leave()

    def _abort(self) -> None:
        self._note("instance.stopping", {"now": True, "held": self._work.held})
        for broker in self._brokers:
            broker.close(0)
        self.phase = Phase.OVER

    def _go_on_stopping(self, now: float) -> None:
        work = self._work
        if self._stop_at is not None and now >= self._stop_at:
            self.phase = Phase.OVER
        elif self.phase is Phase.STOPPING and not (work.running or work.waiting):
            if self._hung:
                self.phase = Phase.OVER
            elif not (self._brokers or work.hung):
                self.phase = Phase.CLOSING
                work.close(work.handler)
        elif self.phase is Phase.CLOSING and not work.steps:
            self.phase = Phase.OVER

    def close(self) -> None:
        """After `run`, and after whoever wakes it by `waker`: give the rest back."""
        self._wake.close()
        self.waker.close()

    def _close(self) -> None:
        """Give everything back but the threads of handlers that run still."""
        self._work.abort()
        for broker in self._brokers:
            broker.close()
        self._context.term()  # waits for what was sent last, as long as LINGER allows


def _limit(settings: WorkerSettings) -> int:
    """After how many requests to retire; 0: never."""
    jitter = random.randint(0, settings.max_requests_jitter)  # noqa: S311 - no secret
    return settings.max_requests and settings.max_requests + jitter
