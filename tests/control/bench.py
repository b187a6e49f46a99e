"""A ControlServer on a bench: served by hand, with commands that no zqd has, and clients to ask for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.control.serving import PaperBroker, listen
from zqd.control.answers import Later
from zqd.control.broker import Broker
from zqd.control.commands import PROTOCOL, Arguments, Command, command
from zqd.control.server import ControlServer
from zqd.errors import ConfigError

PATIENCE_MS = 10_000

Connect = Callable[[int], zmq.Socket[bytes]]


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    """The context of the test's own sockets."""
    context = zmq.Context[zmq.Socket[bytes]]()
    yield context
    context.destroy(linger=0)


@pytest.fixture
def path(sockets: Path) -> Path:
    """Where the control socket lies."""
    return sockets / "control.sock"


@pytest.fixture
def connect(context: zmq.Context[zmq.Socket[bytes]], path: Path) -> Iterator[Connect]:
    """A function that makes a socket of a type, connected to the server."""
    sockets: list[zmq.Socket[bytes]] = []

    def connect(kind: int) -> zmq.Socket[bytes]:
        sockets.append(context.socket(kind))
        sockets[-1].connect(f"ipc://{path}")
        return sockets[-1]

    yield connect
    for sock in sockets:
        sock.close(linger=0)


class Bench:
    """A server without a loop: the test is the loop, and sees each call."""

    def __init__(self, path: Path, commands: dict[str, Command]) -> None:
        self.faults: list[Exception] = []
        self.listener = listen(path)
        self.commands = commands
        self.serve()

    def serve(self) -> None:
        """Start serving on the listener."""
        self.context = zmq.Context[zmq.Socket[bytes]]()
        self.server = ControlServer(
            self.context,
            self.listener,
            self.listener.getsockname(),
            PaperBroker(),
            on_fault=self.faults.append,
            commands=self.commands,
        )

    def close_for_good(self) -> None:
        """Close the server, and wait until libzmq's threads have done so too."""
        self.server.close()
        self.context.term()

    def turn(self, *clients: zmq.Socket[bytes]) -> None:
        """Sleep as the daemon's loop does until a client has a reply or the server is to be served; then serve it."""
        poller = zmq.Poller()
        for readable in (self.server.fileno(), *clients):
            poller.register(readable, zmq.POLLIN)
        assert poller.poll(0 if self.server.pending else PATIENCE_MS) or self.server.pending, "stuck"
        self.server.service()

    def until_answered(self, client: zmq.Socket[bytes]) -> Any:
        """Serve until the client has a reply, and return it."""
        while not client.poll(0):
            self.turn(client)
        return answer(client)


@pytest.fixture
def waiting() -> list[Later]:
    """The answers to `wait` that are still to come."""
    return []


@pytest.fixture
def commands(waiting: list[Later]) -> dict[str, Command]:
    """Commands that no zqd has: that fail, that answer later, that answer at length."""
    table: dict[str, Command] = {}

    @command(reads=True, table=table)
    def ping(broker: Broker, args: Arguments) -> object:
        """Answer."""
        return "pong"

    @command(reads=True, table=table)
    def wait(broker: Broker, args: Arguments) -> object:
        """Answer when told."""
        waiting.append(Later())
        return waiting[-1]

    @command(reads=False, table=table)
    def tell(broker: Broker, args: Arguments) -> object:
        """Let the first that waits be answered."""
        waiting.pop(0).finish("it is time")
        return "told"

    @command(reads=True, table=table)
    def at_length(broker: Broker, args: Arguments) -> object:
        """Answer with a megabyte."""
        return "x" * (1 << 20)

    @command(reads=True, table=table)
    def crash(broker: Broker, args: Arguments) -> object:
        """Come to grief."""
        raise ZeroDivisionError("by nothing")

    @command(reads=True, table=table)
    def unspeakable(broker: Broker, args: Arguments) -> object:
        """Return what JSON cannot hold."""
        return {"socket": object()}

    @command(reads=True, table=table)
    def refuse(broker: Broker, args: Arguments) -> object:
        """Refuse with one of zqd's own errors."""
        raise ConfigError(["queues.default.prefetch: too large"])

    return table


@pytest.fixture
def bench(path: Path, commands: dict[str, Command]) -> Iterator[Bench]:
    """A server that the test serves by hand."""
    bench = Bench(path, commands)
    yield bench
    bench.close_for_good()
    bench.listener.close()


def request(name: str, **args: object) -> bytes:
    """A well-formed request's JSON."""
    return json.dumps({"zqctl": PROTOCOL, "command": name, "args": args}).encode()


def answer(client: zmq.Socket[bytes]) -> Any:
    """The next reply's object."""
    assert client.poll(PATIENCE_MS), "no reply"
    return json.loads(client.recv_multipart()[-1])


def fill(connect: Connect, clients: int, each: int, name: str = "ping") -> list[zmq.Socket[bytes]]:
    """Connected clients that have sent all their requests; nobody has read any."""
    sockets = [connect(zmq.DEALER) for _ in range(clients)]
    for client in sockets:
        for _ in range(each):
            client.send_multipart([b"", request(name)])
    return sockets


def wait_for(bench: Bench, waiting: list[Later], count: int) -> None:
    """Serve until `count` commands wait."""
    while len(waiting) < count:
        bench.turn()
