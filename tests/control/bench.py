"""A ControlServer on a bench: served by hand, with commands that no zqd has, and clients to ask for them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.control.serving import PaperBroker, listen
from tests.support.processes import PATIENCE
from zqd.control.answers import Later
from zqd.control.broker import Broker
from zqd.control.commands import PROTOCOL, Arguments, Command, command
from zqd.control.server import ControlServer
from zqd.errors import ConfigError
from zqd.net.loop import Loop

MOST = 64  # connections

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
    """A server whose loop the test turns by hand, so that it sees each turn."""

    def __init__(self, path: Path, commands: dict[str, Command], broker: PaperBroker | None = None) -> None:
        self.faults: list[Exception] = []
        self.events: list[str] = []
        self.loop = Loop()
        self.server = ControlServer(
            "control",
            self.loop,
            broker or PaperBroker(),
            MOST,
            notify=lambda event, _: self.events.append(event),
            on_fault=self.faults.append,
            commands=commands,
        )
        self.server.listen(listen(path))

    def close(self) -> None:
        """Give everything back."""
        self.server.close()
        self.loop.close()

    def turn(self) -> None:
        """Turn the loop once; the peers are other threads and this test, so it does not wait for long."""
        timer = self.loop.call_at(self.loop.now + 0.01, lambda: None)
        self.loop.turn()
        timer.cancel()

    def turn_until(self, condition: Callable[[], object], what: str) -> None:
        """Turn the loop until the condition holds."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain for {what}"
            self.turn()

    def until_answered(self, client: zmq.Socket[bytes]) -> Any:
        """Serve until the client has a reply, and return it."""
        self.turn_until(lambda: client.poll(0), "a reply")
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
    bench.close()


def request(name: str, **args: object) -> bytes:
    """A well-formed request's JSON."""
    return json.dumps({"zqctl": PROTOCOL, "command": name, "args": args}).encode()


def answer(client: zmq.Socket[bytes]) -> Any:
    """The next reply's object."""
    assert client.poll(int(PATIENCE * 1000)), "no reply"
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
    bench.turn_until(lambda: len(waiting) >= count, f"{count} commands that wait")
