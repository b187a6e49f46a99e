"""The daemon: all of zqd in one object, which opens, runs and ends it.

`Daemon` is what tests start on port 0. Layer 4. Called by: `program`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import time
from collections.abc import Callable

from zqd import __version__
from zqd.config import Config, QueueConfig
from zqd.control.commands import COMMANDS
from zqd.control.publisher import Publisher
from zqd.control.server import ControlServer
from zqd.control.waiters import Waiters
from zqd.daemon.check import check
from zqd.daemon.desk import Desk
from zqd.daemon.service import Service
from zqd.daemon.sockets import ROLES, SIDES, Sockets
from zqd.errors import UnavailableError
from zqd.logs import EventLog
from zqd.net.device import Device
from zqd.net.loop import Loop
from zqd.net.side import Room

FD_RESERVE = 32  # descriptors kept for listeners, logs and the like, besides those of zqd's own sockets
LEAST_ROOM = 2  # connections: one client and one worker

READING = {name: row for name, row in COMMANDS.items() if row.reads}


class Daemon:
    """Devices, control sockets, event stream and loop.

    `open` binds everything or raises with nothing left behind; `run` returns when the stop is over. `load` gives the
    configuration anew, for a reload.
    """

    def __init__(
        self, config: Config, log: EventLog, sockets: Sockets, service: Service, load: Callable[[], Config]
    ) -> None:
        self.config = config
        self.load = load
        self.sockets = sockets
        self.loop = Loop(self.fault)
        self.loop.busy_poll = config.busy_poll
        self.devices: list[Device] = []
        self._leaving: list[Device] = []  # of them, those of removed queues
        self.waiters = Waiters(self.loop, self.fault)
        self.loop.parts.append(self.waiters)
        self.log = log
        log.call_at = self.loop.call_at
        self.started = time.monotonic()
        self.stopping = False
        self.desk = desk = Desk(self)
        self.limit = _raise_fd_limit()
        # Of a small limit zqd's own sockets keep a small part.
        most = max(8, min(64, self.limit // 32))
        self.room = Room(self.limit - FD_RESERVE - len(ROLES) * most)
        self.publisher = Publisher(self.loop, most, notify=self.note, on_fault=self.fault)
        control, status = (
            ControlServer(name, self.loop, desk, most, notify=self.note, on_fault=self.fault, commands=table)
            for name, table in (("control", COMMANDS), ("status", READING))
        )
        self.servers: dict[str, ControlServer | Publisher] = {
            "control": control,
            "status": status,
            "events": self.publisher,
        }
        self.service = service
        service.watch(self)
        self._numbers = itertools.count(1)
        self._boot = os.urandom(8)
        self._cleanup = contextlib.ExitStack()
        self._cleanup.callback(self.loop.close)
        self._cleanup.callback(sockets.close)

    # Life

    def open(self) -> None:
        """Listen everywhere; raises ZqdError."""
        try:
            if self.room.limit < LEAST_ROOM:
                least = self.limit - self.room.limit + LEAST_ROOM
                raise UnavailableError(
                    f"only {self.limit} files can be open (ulimit -n): at least {least} are needed"
                )
            self._cleanup.callback(self._close_devices)
            self.sockets.adopt(self.config)
            guards = check(self.config, self.sockets)
            for queue in self.config.queues:
                device = self.add(queue)
                for side in SIDES:
                    device.guard(side, guards[queue.name, side])
                    for listener in self.sockets.of_queue(queue, side):
                        device.listen(side, listener)
            for role in ROLES:
                self._cleanup.callback(self.servers[role].close)
                for listener in self.sockets.of_role(self.config, role):
                    self.servers[role].listen(listener)
        except BaseException:
            self.close()
            raise

    def run(self) -> None:
        """Turn until a stop is over."""
        known = {"queues": len(self.devices), "pid": os.getpid(), "version": __version__}
        self.note("zqd.started", {**known, "control": self.control})
        self.loop.call_soon(self.service.ready)
        while not (self.stopping and all(device.done for device in self.devices)):
            self.loop.turn()
            if self._leaving:
                self._bury()
        self.log.fold()
        self.note("zqd.stopped", {})

    def stop(self) -> None:
        """Begin to stop (rule 22); a second time means now."""
        self.service.stopping()
        for device in self.devices:
            if self.stopping:
                device.abort()
            else:
                device.stop()
        self.note("zqd.stopping", {"now": self.stopping})
        self.stopping = True

    def close(self) -> None:
        """Give everything back: connections, sockets and their files."""
        self._cleanup.close()

    # Queues that come and go

    def add(self, queue: QueueConfig) -> Device:
        """One queue more, which does not listen yet."""
        device = Device(
            self.loop,
            queue,
            boot=self._boot,
            room=self.room,
            numbers=self._numbers,
            notify=self.note,
            on_fault=self.fault,
        )
        self.loop.parts.append(device)
        self.devices.append(device)
        return device

    def device(self, name: str) -> Device:
        """The queue of this name that was not removed; StopIteration where there is none."""
        return next(device for device in self.devices if device.queue.name == name and not device.stopping)

    def remove(self, name: str) -> None:
        """One queue less: it ends like a stop (rule 23)."""
        device = self.device(name)
        for side in SIDES:
            for listener in self.sockets.adopted.get((name, side), ()):
                device.side(side).release(listener)  # it may come back
        device.stop()
        self._leaving.append(device)

    def _bury(self) -> None:
        for device in [device for device in self._leaving if device.done]:
            device.close()
            self._leaving.remove(device)
            self.devices.remove(device)
            self.note("queue.removed", {"queue": device.queue.name})

    def _close_devices(self) -> None:
        for device in self.devices:
            device.close()

    # What happens

    @property
    def control(self) -> str:
        """The control socket's endpoint, for people."""
        return " ".join(str(listener.endpoint) for listener in self.servers["control"].listeners)

    def note(self, event: str, fields: dict[str, object]) -> None:
        """Log and publish an event."""
        self.log(event, fields)
        self.publisher(event, fields)

    def fault(self, fault: BaseException) -> None:
        """A fault of ours: it ends nothing."""
        self.log.fault(fault)
        self.publisher("zqd.fault", {"reason": f"{type(fault).__name__}: {fault}"})


def _raise_fd_limit() -> int:
    """Raise the soft limit of descriptors to the hard one; returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft
