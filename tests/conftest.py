"""Fixtures for every test."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from tests.support.processes import PATIENCE, Zqd

Connect = Callable[..., zmq.Socket[bytes]]
"""`connect(kind, endpoint, **options)`: a connected zmq socket; options by their lower-case names (`routing_id=b"w1"`)."""


def pytest_sessionstart() -> None:
    """Programs inherit what is ignored, and a shell ignores SIGINT for what it starts in the background, nohup(1) SIGHUP."""
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(
                number, lambda *_: None
            )  # as little for us, and the default for every program that we start


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Make real libzmq peers that give up what takes too long; all are closed at the end, without lingering."""
    context = zmq.Context()
    bounds = {"linger": 0, "rcvtimeo": int(PATIENCE * 1000), "sndtimeo": int(PATIENCE * 1000)}
    sockets: list[zmq.Socket[bytes]] = []

    def connect(kind: int, *endpoints: str, **options: object) -> zmq.Socket[bytes]:
        socket = context.socket(kind)
        sockets.append(socket)
        for name, value in {**bounds, **options}.items():
            setattr(socket, name, value)
        for endpoint in endpoints:
            socket.connect(endpoint)
        return socket

    yield connect
    for socket in sockets:
        socket.close()
    context.term()


@pytest.fixture
def zqd(tmp_path: Path) -> Iterator[Zqd]:
    """A running zqd with default settings, at debug level."""
    with Zqd(tmp_path) as process:
        yield process


@pytest.fixture
def activate() -> str:
    """systemd-socket-activate(1). Root can install it, and tests/run does: then its absence is a failure."""
    program = shutil.which("systemd-socket-activate")
    if program is None:
        missing = "SOCKET ACTIVATION IS NOT TESTED: no systemd-socket-activate (Debian package systemd)"
        if os.geteuid() == 0:
            pytest.fail(missing)
        pytest.skip(missing)
    return program
