"""A program that has no descriptor left: its clients end their requests in time, and go on when there are some again."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from collections.abc import Iterator
from typing import Any

import pytest
import zmq

import zqd as public
from tests.client.askers import Asker, InBackground
from tests.client.serving import Sockets
from tests.support.processes import steady_endpoint, wait_for
from zqd.client import carrier
from zqd.client.session import Broker

NOBODY, OTHER = "tcp://127.0.0.1:9", "tcp://127.0.0.1:10"


@contextlib.contextmanager
def all_descriptors_taken(but: int = 0) -> Iterator[None]:
    """Nothing in this process can open another one for a while, or only so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 10, hard))
    taken: list[int] = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(but):
            os.close(taken.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in taken:
            os.close(descriptor)


class Lines:
    """How often a client has opened a line to a broker, and how often it could not."""

    def __init__(self) -> None:
        self.opened = 0
        self.failed = 0


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Lines:
    """Of clients that open a new one soon."""
    lines = Lines()

    class Counted(carrier.Line):
        def __init__(self, *arguments: Any) -> None:
            lines.failed += 1
            super().__init__(*arguments)
            lines.failed -= 1
            lines.opened += 1

    monkeypatch.setattr(carrier, "RENEW", 0.05)
    monkeypatch.setattr(carrier, "ASK_AGAIN", 0.05)
    monkeypatch.setattr(carrier, "Line", Counted)
    return lines


@pytest.mark.parametrize("left", [0, 1, 2])
def test_a_request_ends_at_its_deadline(asker: Asker, lines: Lines, left: int) -> None:
    """Whatever cannot be opened, all of a line's sockets or the last."""
    asked = InBackground(asker.ask, NOBODY, b"x", timeout=3)
    wait_for(lambda: lines.opened, "the first line")
    with all_descriptors_taken(but=left):
        wait_for(lambda: lines.failed, "one that cannot be opened")
        (error,) = asked.result()
    assert type(error) is public.Unreachable


def test_it_goes_on_when_there_are_some_again(asker: Asker, lines: Lines, sockets: Sockets) -> None:
    """The request that waits is answered, and nothing is left of the attempts."""
    place = steady_endpoint()
    asked = InBackground(asker.ask, place, b"x", timeout=600)
    wait_for(lambda: lines.opened, "the first line")
    with all_descriptors_taken():
        wait_for(lambda: lines.failed > 2, "some that cannot be opened")
    sockets.server(endpoint=place)
    assert asked.result() == [b"x"]


def test_one_that_cannot_be_made_says_so(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an OSError, and leaves nothing behind."""

    class Single(carrier.Line):
        """The second cannot be opened: really without descriptors libzmq would abort before the first."""

        def __init__(self, context: carrier.Context, broker: Broker, *others: Any) -> None:
            if broker.endpoint != NOBODY:
                raise zmq.ZMQError(errno.EMFILE)
            super().__init__(context, broker, *others)

    monkeypatch.setattr(carrier, "Line", Single)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="cannot open the client's sockets: Too many open files") as caught:
        asker.ask([NOBODY, OTHER], b"x")
    assert caught.value.errno == errno.EMFILE
    wait_for(lambda: len(os.listdir("/proc/self/fd")) == len(before), "its descriptors to be closed")
