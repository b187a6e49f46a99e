"""`zqd`: the command line, the signals, and the composition of all parts.

`Daemon` is the object that tests start on port 0; `main` is the thin program round it. Layer 4.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import itertools
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from zqd import __version__
from zqd.config import Config, load
from zqd.control.answers import Later
from zqd.control.waiters import Waiters
from zqd.core.peers import Worker
from zqd.core.queue import Queue
from zqd.endpoints import IpcEndpoint, bind, parse
from zqd.errors import ExitStatus, UnavailableError, UsageError, ZqdError
from zqd.logs import EventLog, configure
from zqd.net.device import Device
from zqd.net.loop import Loop
from zqd.net.side import Room
from zqd.rundir import CONTROL_SOCKET, run_directory
from zqd.snapshot import client_rows, queue_row, request_rows, worker_rows

FD_RESERVE = 64  # descriptors kept for listeners, logs, control clients and the like
LEAST_ROOM = 2  # connections: one client and one worker
CONTROL_MODE = 0o660  # who may give commands: the owner and the group


class Daemon:
    """All of zqd in one object: its devices, its control socket, its loop. Implements `control.commands.Broker`.

    `open` binds everything or raises with nothing left behind; `run` returns when the stop is over.
    """

    def __init__(self, config: Config, log: EventLog) -> None:
        self.config = config
        self.loop = Loop(log.fault)
        self.devices: list[Device] = []
        self._waiters = Waiters(self.loop, log.fault)
        self.loop.parts.append(self._waiters)
        self._log = log
        log.call_at = self.loop.call_at
        self._started = time.monotonic()
        self._stopping = False
        self._cleanup = contextlib.ExitStack()
        self._cleanup.callback(self.loop.close)

    # Life

    def open(self) -> None:
        """Bind every endpoint and the control socket; raises ZqdError."""
        try:
            room = Room(_raise_fd_limit() - FD_RESERVE)
            if room.limit < LEAST_ROOM:
                raise UnavailableError(
                    f"only {room.limit + FD_RESERVE} files can be open (ulimit -n): at least {LEAST_ROOM + FD_RESERVE} are needed"
                )
            boot, numbers = os.urandom(8), itertools.count(1)
            for queue in self.config.queues:
                device = Device(
                    self.loop,
                    queue,
                    boot=boot,
                    room=room,
                    numbers=numbers,
                    notify=self._log,
                    on_fault=self._log.fault,
                )
                self.devices.append(device)
                self._cleanup.callback(device.close)
                device.open()
            self._open_control()
        except BaseException:
            self.close()
            raise
        endpoints = {"queues": len(self.devices), "pid": os.getpid(), "version": __version__}
        self._log("zqd.started", {**endpoints, "control": self.control})

    def run(self) -> None:
        """Turn until a stop is over."""
        while not (self._stopping and all(device.done for device in self.devices)):
            self.loop.turn()
        self._log.fold()
        self._log("zqd.stopped", {})

    def stop(self) -> None:
        """Begin to stop (rule 22); a second time means now."""
        for device in self.devices:
            if self._stopping:
                device.abort()
            else:
                device.stop()
        self._log("zqd.stopping", {"now": self._stopping})
        self._stopping = True

    def close(self) -> None:
        """Give everything back: connections, sockets and their files, the zmq context."""
        self._cleanup.close()

    # Control (the Broker of zqd.control.commands)

    def status(self) -> dict[str, Any]:
        """As `zqctl --json status` prints it."""
        return {
            "version": __version__,
            "pid": os.getpid(),
            "state": "stopping" if self._stopping else "running",
            "uptime_s": round(time.monotonic() - self._started, 3),
            "queues": [queue_row(device) for device in self.devices],
        }

    def workers(self) -> list[dict[str, Any]]:
        """One row for each worker."""
        return [row for device in self.devices for row in worker_rows(device)]

    def clients(self) -> list[dict[str, Any]]:
        """One row for each client."""
        return [row for device in self.devices for row in client_rows(device)]

    def requests(self) -> list[dict[str, Any]]:
        """One row for each unanswered request, oldest first."""
        rows = [row for device in self.devices for row in request_rows(device)]
        return sorted(rows, key=lambda row: -row["age_s"])

    def pause(self, queue: str) -> None:
        """Of `zqctl pause`."""
        self._queue(queue).regime.pause()

    def drain(self, queue: str) -> None:
        """Of `zqctl drain QUEUE`."""
        self._queue(queue).regime.drain(self.loop.now)

    def resume(self, queue: str) -> None:
        """Of `zqctl resume QUEUE`."""
        self._queue(queue).regime.resume(self.loop.now)

    def drain_worker(self, worker: str) -> None:
        """Of `zqctl drain WORKER`."""
        for queue, found in self._workers_of_id(worker):
            queue.drain_worker(found, self.loop.now)

    def resume_worker(self, worker: str) -> None:
        """Of `zqctl resume WORKER`."""
        for queue, found in self._workers_of_id(worker):
            queue.resume_worker(found, self.loop.now)

    def kick(self, peer: str) -> None:
        """Of `zqctl kick`."""
        for queue in self._queues():
            for found in [client for client in queue.clients if client.id == peer]:
                queue.kick(found)
        for queue, worker in self._workers_of_id(peer):
            queue.kick(worker)

    def cancel(self, request: str) -> None:
        """Of `zqctl cancel`."""
        for queue in self._queues():
            found = queue.find(request)
            if found is not None:
                queue.cancel(found)

    def when(self, condition: Callable[[], object], timeout: float) -> Later:
        """Of the commands that wait."""
        return self._waiters.add(condition, timeout)

    def _queues(self) -> list[Queue]:
        return [device.queue for device in self.devices]

    def _queue(self, name: str) -> Queue:
        return next(queue for queue in self._queues() if queue.name == name)

    def _workers_of_id(self, worker: str) -> list[tuple[Queue, Worker]]:
        return [(queue, found) for queue in self._queues() for found in queue.workers if found.id == worker]

    def _open_control(self) -> None:
        import zmq  # here, so that --version and a bad configuration cost no time

        from zqd.control.server import ControlServer

        self.control = self.config.control or f"ipc://{run_directory() / CONTROL_SOCKET}"
        endpoint = parse(self.control)
        assert isinstance(endpoint, IpcEndpoint)  # the configuration lets nothing else pass
        listener = bind(endpoint, mode=CONTROL_MODE)
        self._cleanup.callback(listener.close)
        context = zmq.Context(1)
        self._cleanup.callback(context.term)
        server = ControlServer(context, listener.socket, endpoint.path, self, on_fault=self._log.fault)
        self._cleanup.callback(server.close)

        def service(_: int = 0) -> None:
            server.service()
            if server.pending:
                self.loop.call_soon(service)

        self._waiters.answered = service
        self.loop.register(server.fileno(), select.EPOLLIN | select.EPOLLET, service)
        self._cleanup.callback(self.loop.unregister, server.fileno())
        self.loop.call_soon(service)


@contextlib.contextmanager
def signals_to(loop: Loop, actions: dict[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    """Run an action in the loop for each signal; the handler itself does nothing but wake the loop (signal(7)).

    At the end the signals are blocked, not given back: what is left of the process then is its exit, which a second
    Ctrl-C would turn into a traceback, and a second SIGTERM into a failure. (Ignoring them instead makes Python complain
    of one that has just come.)
    """
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)

    def act(_: int) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in ours.recv(64):
                action = actions.get(signal.Signals(number))
                if action is not None:
                    action()

    loop.register(ours.fileno(), select.EPOLLIN, act)
    signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)  # first: else a signal might wake nobody
    for number in actions:
        signal.signal(number, lambda *_: None)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, actions)
        signal.set_wakeup_fd(-1)
        ours.close()  # which also takes it out of the loop, closed or not
        theirs.close()


def main(argv: list[str] | None = None) -> int:
    """The program `zqd`; returns the exit status."""
    _hold_standard_descriptors()
    try:
        arguments = _parser().parse_args(argv)
        flags = {key: getattr(arguments, key) for key in _FLAGS}
        config = load(arguments.config, arguments.set, flags)
        if arguments.check_config:
            print("the configuration is good")
            return ExitStatus.OK
        configure(config.log_level, config.log_format)
        serve(config)
    except ZqdError as error:
        for line in str(error).splitlines():
            print(f"zqd: {line}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:  # before there was anything to stop
        return 128 + signal.SIGINT
    except Exception as fault:  # noqa: BLE001 - the log has it, with its traceback
        EventLog().fault(fault)
        return ExitStatus.SOFTWARE
    return ExitStatus.OK


def serve(config: Config) -> None:
    """Run a daemon until a signal has stopped it; raises ZqdError where it cannot start."""
    daemon = Daemon(config, EventLog())
    with signals_to(daemon.loop, dict.fromkeys((signal.SIGTERM, signal.SIGINT), daemon.stop)):
        daemon.open()
        try:
            # What exists now lives until the end; and traffic makes no cycles, so that collecting rarely is enough.
            gc.collect()
            gc.freeze()
            gc.set_threshold(50_000, 20, 100)
            daemon.run()
        finally:
            daemon.close()


_FLAGS = ("frontend", "backend", "control", "log_level", "log_format", "allow_unauthenticated")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}\ntry zqd --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="zqd",
        description="The ZeroMQ QUEUE device: a broker between REQ clients and REP workers.",
        allow_abbrev=False,
    )
    option = parser.add_argument
    option(
        "--config", type=Path, metavar="FILE", help="configuration (default: /etc/zqd/zqd.toml, if it exists)"
    )
    option(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="one setting, e.g. queues.default.prefetch=2",
    )
    option("--frontend", action="append", metavar="ENDPOINT", help="where clients connect; may be repeated")
    option("--backend", action="append", metavar="ENDPOINT", help="where workers connect; may be repeated")
    option("--control", metavar="ENDPOINT", help="where zqctl connects (ipc://)")
    option("--log-level", metavar="LEVEL", help="debug, info, warning or error")
    option("--log-format", metavar="FORMAT", help="auto, journal, json or console")
    option("--allow-unauthenticated", action="store_true", help="allow endpoints that other machines reach")
    option("--check-config", action="store_true", help="check the configuration and exit")
    option("--version", action="version", version=f"zqd {__version__}")
    return parser


def _hold_standard_descriptors() -> None:
    """Fill those of 0, 1 and 2 that are closed: a connection must never get the number to which log lines go."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:  # open(2) gives the lowest that is free
        pass
    os.close(fd)


def _raise_fd_limit() -> int:
    """Raise the soft limit of descriptors to the hard one; returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft


if __name__ == "__main__":
    sys.exit(main())
