"""One broker: what either client gets from it."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import zmq

import zqd as public
from tests.client.askers import Asker, InBackground
from tests.client.serving import Sockets
from tests.conftest import Connect
from tests.support.processes import Zqd

SHAPES = [b"body", b"", [b"one"], [b"a", b"", b"b"], [b"", b""], os.urandom(3_000_000)]
"""Messages that come back as they went: bytes as bytes, lists as lists."""


def test_at_zqd(zqd: Zqd, sockets: Sockets, asker: Asker) -> None:
    """Through the broker that they are made for."""
    sockets.worker(zqd.backend)
    assert asker.ask(zqd.frontend, *SHAPES) == SHAPES
    assert zqd.queue()["malformed"] == 0


def test_at_a_unix_socket(tmp_path: Path, sockets: Sockets, asker: Asker) -> None:
    """The same, ipc://."""
    with Zqd(tmp_path, frontend=[f"ipc://{tmp_path}/clients.sock"]) as zqd:
        sockets.worker(zqd.backend)
        assert asker.ask(f"ipc://{tmp_path}/clients.sock", *SHAPES) == SHAPES


def test_at_a_plain_server(sockets: Sockets, asker: Asker) -> None:
    """A REP without any broker, as in the lesson before the seed's."""
    assert asker.ask(sockets.server(), *SHAPES) == SHAPES


def test_at_a_libzmq_proxy(sockets: Sockets, asker: Asker) -> None:
    """The seed's own device."""
    frontend, backend = sockets.proxy()
    sockets.worker(backend)
    assert asker.ask(frontend, *SHAPES) == SHAPES


def test_at_zqd_behind_a_libzmq_proxy(zqd: Zqd, sockets: Sockets, asker: Asker) -> None:
    """Then the options are not the first frame, and zqd passes them on unread."""
    frontend, _ = sockets.proxy(zqd.frontend)
    sockets.worker(zqd.backend)
    assert asker.ask(frontend, *SHAPES) == SHAPES


def test_by_a_host_name(sockets: Sockets, asker: Asker) -> None:
    """libzmq looks it up."""
    place = sockets.server().replace("127.0.0.1", "localhost")
    assert asker.ask(place, b"x") == [b"x"]


def test_many_at_a_time(zqd: Zqd, sockets: Sockets, asker: Asker) -> None:
    """10,000 requests from 50 at a time, each with its own answer."""
    for _ in range(3):
        sockets.worker(zqd.backend)
    outcomes = asker.crowd(zqd.frontend, 50, 200)
    assert len(outcomes) == 10_000
    assert [outcome for outcome in outcomes if outcome[0] != outcome[1]] == []
    row = zqd.queue()
    assert (row["received"], row["replied"], row["failed"]) == (10_000, 10_000, 0)


def test_a_multipart_answer_to_a_body(sockets: Sockets, asker: Asker) -> None:
    """Is not cut: it says how to ask, and holds all frames."""
    place = sockets.server(lambda frames: [*frames, b"more"])
    error, reply = asker.ask(place, b"x", [b"x"])
    assert isinstance(error, public.ManyFrames)
    assert error.frames == reply == [b"x", b"more"]


# Time-outs


def test_a_time_out_leaves_the_client_usable(sockets: Sockets, asker: Asker) -> None:
    """And the late answer is not taken for that of the next request, even from a server that knows nothing of ids."""

    def slow(frames: list[bytes]) -> list[bytes]:
        if frames == [b"slow"]:
            released.wait(30)
        return frames

    released = threading.Event()
    threading.Timer(0.5, released.set).start()
    error, *replies = asker.ask(sockets.server(slow), b"slow", b"1", b"2", timeout=0.3)
    assert type(error) is public.TimedOut
    assert error.endpoint is None
    assert [reply for reply in replies if not isinstance(reply, public.TimedOut)] in ([b"1", b"2"], [b"2"])


def test_zqd_is_told_what_nobody_waits_for(zqd: Zqd, sockets: Sockets, asker: Asker) -> None:
    """What waits longer than its client is dropped there, and runs nowhere."""
    ran: list[bytes] = []

    def note(frames: list[bytes]) -> list[bytes]:
        ran.append(frames[0])
        return frames

    (error,) = asker.ask(zqd.frontend, b"in vain", timeout=0.2)
    assert type(error) is public.TimedOut
    zqd.wait_until("it to be over", lambda queue: queue["received"] == 1 and queue["queued"] == 0)
    sockets.worker(zqd.backend, note)
    assert asker.ask(zqd.frontend, b"next") == [b"next"]
    assert ran == [b"next"]


def test_nobody_listens(asker: Asker) -> None:
    """It says so when the time is over, and it is a time-out."""
    (error,) = asker.ask("tcp://127.0.0.1:9", b"x", timeout=0.2)
    assert type(error) is public.Unreachable
    assert error.reason == "no connection to tcp://127.0.0.1:9 within 0.2 s"


def test_a_broker_that_comes_later(tmp_path: Path, sockets: Sockets, asker: Asker) -> None:
    """A request waits for it."""
    place = f"ipc://{tmp_path}/server.sock"
    asked = InBackground(asker.ask, place, b"early")
    time.sleep(0.2)
    sockets.server(endpoint=place)
    assert asked.result() == [b"early"]


# zqd's failures


def failing(folder: Path, *settings: str) -> Zqd:
    """A zqd with these settings of its queue."""
    return Zqd(folder, *(word for setting in settings for word in ("--set", f"queues.default.{setting}")))


def test_too_large(tmp_path: Path, sockets: Sockets, asker: Asker) -> None:
    """413, and the client goes on."""
    with failing(tmp_path, "max_message_size=1KiB") as zqd:
        sockets.worker(zqd.backend)
        error, reply = asker.ask(zqd.frontend, bytes(2000), b"x")
        assert type(error) is public.TooLarge
        assert (error.code, error.endpoint) == (413, zqd.frontend)
        assert reply == b"x"


def test_far_too_large(tmp_path: Path, sockets: Sockets, asker: Asker) -> None:
    """More than 16 times the limit ends the connection (rule 15), whose other requests find their way again."""
    with failing(tmp_path, "max_message_size=1KiB") as zqd:
        sockets.worker(zqd.backend)
        error, reply = asker.ask(zqd.frontend, bytes(17_000), b"x")
        assert type(error) is public.BrokerLost
        assert reply == b"x"


def test_cancelled(zqd: Zqd, asker: Asker) -> None:
    """499, by an operator."""
    asked = InBackground(asker.ask, zqd.frontend, b"x")
    zqd.wait_until("the request", lambda queue: queue["queued"] == 1)
    zqd.control("cancel", request=zqd.control("requests")[0]["id"])
    (error,) = asked.result()
    assert type(error) is public.Cancelled


def test_handler_failed(zqd: Zqd, connect: Connect, asker: Asker) -> None:
    """500, with the worker's own reason."""
    asked = InBackground(asker.ask, zqd.frontend, b"x")
    worker = connect(zmq.DEALER, zqd.backend, routing_id=b"w")
    request_id = worker.recv_multipart()[0]
    worker.send_multipart([b"zqd/1", b"fail", request_id, b"500", b"division by zero"])
    (error,) = asked.result()
    assert type(error) is public.HandlerFailed
    assert error.reason == "division by zero"


def test_worker_lost(zqd: Zqd, connect: Connect, asker: Asker) -> None:
    """502: attempts=1 arrives at zqd, so that the first loss is the last."""
    asked = InBackground(asker.ask, zqd.frontend, b"x", attempts=1)
    with connect(zmq.REP, zqd.backend) as worker:
        worker.recv()
    (error,) = asked.result()
    assert type(error) is public.WorkerLost


def test_busy(tmp_path: Path, connect: Connect, asker: Asker) -> None:
    """503, of a queue that is full."""
    with failing(tmp_path, "max_queued_bytes=1KiB", "overload=reject") as zqd:
        connect(zmq.DEALER, zqd.frontend).send_multipart([b"", bytes(2000)])
        zqd.wait_until("it to be full", lambda queue: queue["queued"] == 1)
        (error,) = asker.ask(zqd.frontend, b"x")
        assert type(error) is public.Busy
        assert error.reason == "the queue is full"


def test_timed_out_there(tmp_path: Path, asker: Asker) -> None:
    """504 of zqd tells whose it is, unlike the client's own."""
    with failing(tmp_path, "queue_timeout=100ms") as zqd:
        (error,) = asker.ask(zqd.frontend, b"x")
        assert type(error) is public.TimedOut
        assert (error.reason, error.endpoint) == ("waited too long", zqd.frontend)


def test_a_reply_that_looks_like_a_failure(zqd: Zqd, sockets: Sockets, asker: Asker) -> None:
    """Is the worker's, and a reply."""
    sockets.worker(zqd.backend, lambda _: [b"ZQD-ERROR 504 just kidding"])
    assert asker.ask(zqd.frontend, b"x") == [b"ZQD-ERROR 504 just kidding"]


def test_priorities(zqd: Zqd, sockets: Sockets, asker: Asker) -> None:
    """The highest goes first."""
    ran: list[bytes] = []

    def note(frames: list[bytes]) -> list[bytes]:
        ran.append(frames[0])
        return frames

    asked = []
    for number, priority in enumerate((0, None, 9)):
        asked.append(InBackground(asker.ask, zqd.frontend, b"%s" % str(priority).encode(), priority=priority))
        zqd.wait_until("it", lambda queue, number=number: queue["queued"] == number + 1)  # type: ignore[misc]
    sockets.worker(zqd.backend, note)
    for ask in asked:
        ask.result()
    assert ran == [b"9", b"None", b"0"]
