"""Brokers that die, stop, hang, refuse or come back: what either client makes of it."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

import zqd as public
from tests.client.askers import Asker, InBackground, Outcome
from tests.client.serving import Sockets
from tests.conftest import Connect
from tests.support.processes import Zqd, steady_endpoint, wait_for
from zqd.client import carrier, session

NOBODY = "tcp://127.0.0.1:9"


def steady_zqd(folder: Path, *options: str) -> Zqd:
    """A zqd that listens at the same endpoints whenever it is started."""
    folder.mkdir(exist_ok=True)
    return Zqd(folder, *options, frontend=[steady_endpoint()], backend=[steady_endpoint()])


@pytest.fixture
def pair(tmp_path: Path, sockets: Sockets) -> Iterator[tuple[Zqd, Zqd]]:
    """Two brokers, whose workers answer `a …` and `b …`."""
    with steady_zqd(tmp_path / "a") as first, steady_zqd(tmp_path / "b") as second:
        sockets.worker(first.backend, lambda frames: [b"a " + frames[0]])
        sockets.worker(second.backend, lambda frames: [b"b " + frames[0]])
        for zqd in (first, second):
            zqd.wait_until("its worker", lambda queue: queue["workers"] == 1)
        yield first, second


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """All brokers have as long as they need for their first connections, on a loaded machine too."""
    monkeypatch.setattr(session, "GRACE", 60.0)


def wrong(outcomes: list[Outcome]) -> list[Outcome]:
    """Answers that are another's."""
    return [(body, got) for body, got in outcomes if isinstance(got, bytes) and got != body]


def unexpected(outcomes: list[Outcome], *expected: type[Exception]) -> list[Outcome]:
    """Exceptions of other kinds."""
    return [(body, got) for body, got in outcomes if not isinstance(got, (bytes, *expected))]


# One broker, again


def test_a_broker_that_is_restarted(tmp_path: Path, sockets: Sockets, asker: Asker) -> None:
    """Stopped in the usual way, with 50 requests at a time: every one is answered, rightly, and no one notices."""
    with steady_zqd(tmp_path) as zqd:
        for _ in range(2):
            sockets.worker(zqd.backend)
        crowd = InBackground(asker.crowd, zqd.frontend, 50, 200)
        for _ in range(3):
            zqd.wait_until("some replies", lambda queue: queue["replied"] >= 300)
            assert zqd.stop() == 0
            zqd.start()
        outcomes = crowd.result()
        assert len(outcomes) == 10_000
        assert wrong(outcomes) == []
        assert unexpected(outcomes) == []


def test_a_broker_that_is_killed(tmp_path: Path, sockets: Sockets, asker: Asker) -> None:
    """What it had is sent again when there is one: answers or time-outs, never another's, never none."""
    with steady_zqd(tmp_path) as zqd:
        for _ in range(2):
            sockets.worker(zqd.backend)
        crowd = InBackground(asker.crowd, zqd.frontend, 50, 200)
        for _ in range(2):
            zqd.wait_until("some replies", lambda queue: queue["replied"] >= 300)
            zqd.kill()
            zqd.start()
        outcomes = crowd.result()
        assert len(outcomes) == 10_000
        assert wrong(outcomes) == []
        assert unexpected(outcomes, public.TimedOut) == []


def test_at_most_once_through_a_kill(tmp_path: Path, sockets: Sockets, asker: Asker) -> None:
    """With attempts=1 no request runs twice; one whose broker died with it says so at once."""
    ran: list[bytes] = []
    held = threading.Event()

    def hold(frames: list[bytes]) -> list[bytes]:
        ran.append(frames[0])
        held.wait(30)
        return frames

    with steady_zqd(tmp_path) as zqd:
        sockets.worker(zqd.backend, hold)
        asked = InBackground(asker.ask, zqd.frontend, b"once", b"next", attempts=1)
        wait_for(lambda: ran, "it to run")
        zqd.kill()
        held.set()
        zqd.start()
        error, reply = asked.result()
        assert type(error) is public.BrokerLost
        assert reply == b"next"
        assert ran == [b"once", b"next"]


def test_what_is_no_broker_is_tried_again(
    sockets: Sockets, asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libzmq never comes back to a peer that breaks the protocol; the client does."""
    monkeypatch.setattr(carrier, "RENEW", 0.2)
    place = steady_endpoint()
    host, port = place.removeprefix("tcp://").split(":")
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, int(port)))
    listener.listen()
    with listener:
        asked = InBackground(asker.ask, place, b"x")
        peer, _ = listener.accept()
        with peer:
            peer.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" * 4)
    sockets.server(endpoint=place)
    assert asked.result() == [b"x"]


# Several brokers


def test_the_first_is_preferred(pair: tuple[Zqd, Zqd], asker: Asker, patience: None) -> None:
    """The second has nothing to do."""
    first, second = pair
    outcomes = asker.crowd([first.frontend, second.frontend], 5, 20)
    assert {got[:2] for _, got in outcomes if isinstance(got, bytes)} == {b"a "}
    assert second.queue()["received"] == 0


def test_nobody_at_the_first(pair: tuple[Zqd, Zqd], asker: Asker) -> None:
    """Then the second has the requests, at once: they do not wait for their share of a minute."""
    _, second = pair
    asked = InBackground(asker.ask, [NOBODY, second.frontend], b"1", b"2", timeout=600)
    assert asked.result() == [b"b 1", b"b 2"]


def test_the_first_dies(pair: tuple[Zqd, Zqd], asker: Asker, patience: None) -> None:
    """While requests go on: all are answered, first by the one, then by the other."""
    first, second = pair
    crowd = InBackground(asker.crowd, [first.frontend, second.frontend], 20, 100, timeout=600)
    first.wait_until("some replies", lambda queue: queue["replied"] >= 100)
    first.kill()
    outcomes = crowd.result()
    assert len(outcomes) == 2000
    assert [(body, got) for body, got in outcomes if got not in (b"a " + body, b"b " + body)] == []
    assert {got[:2] for _, got in outcomes if isinstance(got, bytes)} == {b"a ", b"b "}


def test_the_first_stops(pair: tuple[Zqd, Zqd], asker: Asker, patience: None) -> None:
    """In the usual way: the same."""
    first, second = pair
    crowd = InBackground(asker.crowd, [first.frontend, second.frontend], 20, 100, timeout=600)
    first.wait_until("some replies", lambda queue: queue["replied"] >= 100)
    assert first.stop() == 0
    outcomes = crowd.result()
    assert len(outcomes) == 2000
    assert [(body, got) for body, got in outcomes if got not in (b"a " + body, b"b " + body)] == []


@pytest.mark.parametrize("options", [{"timeout": 4.0}, {"timeout": None, "heartbeat": 1.0}])
def test_the_first_hangs(
    pair: tuple[Zqd, Zqd], asker: Asker, patience: None, options: dict[str, float | None]
) -> None:
    """A stopped process keeps its connections: its silence tells, of a request or, without a timeout, of the heartbeat."""
    first, second = pair
    crowd = InBackground(asker.crowd, [first.frontend, second.frontend], 10, 100, **options)
    first.wait_until("some replies", lambda queue: queue["replied"] >= 100)
    assert first.process is not None
    first.process.send_signal(signal.SIGSTOP)
    try:
        outcomes = crowd.result()
    finally:
        first.process.send_signal(signal.SIGCONT)
    assert len(outcomes) == 1000
    assert [(body, got) for body, got in outcomes if got not in (b"a " + body, b"b " + body)] == []


def test_the_first_answers_nothing(sockets: Sockets, asker: Asker) -> None:
    """It takes the requests, and that is all."""
    outcomes = asker.crowd([sockets.silent_router(), sockets.server()], 10, 3, timeout=2)
    assert [(body, got) for body, got in outcomes if got != body] == []


def test_the_first_is_full(
    tmp_path: Path, sockets: Sockets, connect: Connect, asker: Asker, patience: None
) -> None:
    """503 is no answer as long as there is another broker, which is asked at once."""
    settings = ("--set", "queues.default.max_queued_bytes=1KiB", "--set", "queues.default.overload=reject")
    with Zqd(tmp_path, *settings) as zqd:
        connect(zmq.DEALER, zqd.frontend).send_multipart([b"", bytes(2000)])
        zqd.wait_until("it to be full", lambda queue: queue["queued"] == 1)
        outcomes = InBackground(
            asker.crowd, [zqd.frontend, sockets.server()], 10, 3, timeout=600, attempts=2
        ).result()
        assert [(body, got) for body, got in outcomes if got != body] == []
        assert zqd.queue()["failed"] == 30
