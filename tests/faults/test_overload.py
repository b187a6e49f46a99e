from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.conftest import Connect
from tests.faults.crowd import Crowd
from tests.faults.raw import RawPeer
from tests.interop.peers import Monitor
from tests.support.processes import Zqd, wait_for
from zqd.zmtp.frames import encode_message

KIB, MIB = 1 << 10, 1 << 20
SLACK = 8 * MIB  # of resident memory, for what is not the queue's: one read of each client, the allocator
LEAN = ("env", "PYTHONMALLOC=pymalloc")  # -X dev would keep more of what is freed

# A client that asks faster than anybody answers, for ever, and reads what answers there are.
PUSHING_CLIENT = """
import sys, zmq
client = zmq.Context().socket(zmq.DEALER)
client.connect(sys.argv[1])
body = bytes(10_000)
while True:
    client.send_multipart([b"", body])
    while client.poll(0):
        client.recv_multipart()
"""


def settings(*pairs: str) -> list[str]:
    """The options that set these of the queue."""
    return [word for pair in pairs for word in ("--set", f"queues.default.{pair}")]


def requests(count: int, size: int = 0) -> bytes:
    """So many requests, as bytes; their bodies begin with their numbers and have at least so many bytes."""
    return b"".join(encode_message([b"", (b"%d " % number).ljust(size)]) for number in range(count))


def numbers(peer: RawPeer, count: int) -> list[int]:
    """The numbers of the requests that the next replies of the crowd answer."""
    return [int(peer.receive_message()[1]) for _ in range(count)]


@contextlib.contextmanager
def pushing_client(zqd: Zqd) -> Iterator[None]:
    """A process that pushes."""
    with subprocess.Popen([sys.executable, "-c", PUSHING_CLIENT, zqd.frontend]) as process:
        try:
            yield
        finally:
            process.kill()


def even(queue: dict[str, Any]) -> bool:
    """Law 3."""
    ended = queue["replied"] + queue["failed"] + queue["dropped"]
    return bool(queue["received"] == ended + queue["queued"] + queue["in_flight"])


def full(queue: dict[str, Any]) -> bool:
    """As many requests wait as the clients here may have."""
    return bool(queue["queued"] == 200)


# A client that pushes for ever


def test_pushed_without_a_worker(tmp_path: Path) -> None:
    """A client that pushes for ever, with no worker there, costs bounded memory and, once it is held back, no CPU time."""
    options = settings("max_queued=200")
    with Zqd(tmp_path, *options, wrapper=LEAN) as zqd:
        before = zqd.resident()
        with pushing_client(zqd):
            zqd.wait_until("the queue to be full", full)
            assert cpu_of_a_second(zqd) < 0.2  # spinning costs 1.0
            assert full(zqd.queue())
            assert zqd.resident() - before < 200 * 10_000 + SLACK
        queue = zqd.wait_until("the client to be gone", lambda queue: queue["clients"] == 0)
        assert queue["dropped"] == queue["received"] == 200


def test_pushed_with_a_slow_worker(tmp_path: Path, crowd: Crowd, connect: Connect) -> None:
    """The same with a worker that is too slow: memory stays where it is, and another client is served meanwhile."""
    options = settings("max_queued_bytes=2MiB")
    with Zqd(tmp_path, *options, wrapper=LEAN) as zqd:
        before = zqd.resident()
        crowd.worker(zqd.backend, seconds=0.002)
        with pushing_client(zqd):
            zqd.wait_until("it to be held back", lambda queue: queue["queued"] > 190)
            crowd.client(zqd.frontend)
            most = queued = 0
            while crowd.answered < 100:
                queue = zqd.queue()
                assert even(queue)
                most = max(most, zqd.resident() - before)
                queued = max(queued, queue["queued"])
            assert most < 2 * MIB + SLACK
            assert queued <= 2 * MIB // 10_000 + 1  # and the other client's
            crowd.finish()
        queue = zqd.wait_until("the rest to end", lambda queue: queue["clients"] == queue["in_flight"] == 0)
        assert even(queue)
        assert (queue["queued"], queue["failed"]) == (0, 0)


def cpu_of_a_second(zqd: Zqd) -> float:
    """CPU seconds that zqd uses while a second passes."""
    before = zqd.cpu()
    time.sleep(1.0)  # the time that is measured
    return zqd.cpu() - before


@pytest.mark.slow
def test_heartbeats_under_overload(tmp_path: Path, connect: Connect) -> None:
    """Clients with heartbeats, their buffers full, are not cut off while they are held back; all they sent is answered."""
    with Zqd(tmp_path, *settings("max_queued=10")) as zqd, contextlib.ExitStack() as stack:
        sent: list[int] = []
        clients: list[tuple[zmq.Socket[bytes], Monitor]] = []
        for _ in range(3):
            client = connect(zmq.DEALER, heartbeat_ivl=1200, sndhwm=10, sndtimeo=500)
            monitor = Monitor(client)
            stack.callback(monitor.close)
            client.connect(zqd.frontend)
            clients.append((client, monitor))
            number = 0
            with contextlib.suppress(zmq.Again):  # no room in any buffer for half a second
                while True:
                    client.send_multipart([b"", b"%d %d" % (len(sent), number), bytes(100 * KIB)])
                    number += 1
            assert number > 30  # more than the queue and libzmq hold
            sent.append(number)
        end = time.monotonic() + 6.0  # five times what their patience is
        while time.monotonic() < end:
            for _, monitor in clients:
                assert not monitor.wait_for(zmq.Event.DISCONNECTED, patience=0.2)
        worker = connect(zmq.REP, zqd.backend)
        seen: list[list[bytes]] = [[] for _ in clients]
        for _ in range(sum(sent)):
            worker.send(worker.recv_multipart()[0])
            for (client, _), answers in zip(clients, seen, strict=True):
                while client.poll(0):
                    answers.append(client.recv_multipart()[1])
        for place, (client, monitor) in enumerate(clients):
            while len(seen[place]) < sent[place]:
                seen[place].append(client.recv_multipart()[1])
            assert seen[place] == [b"%d %d" % (place, number) for number in range(sent[place])]
            monitor.wait_for(patience=0.0)
            assert monitor.seen.count(zmq.Event.CONNECTED) == 1
        queue = zqd.queue()
        assert queue["received"] == queue["replied"] == sum(sent)


def test_many_pipelines_through_small_limits(tmp_path: Path, crowd: Crowd) -> None:
    """Forty clients that pipeline through a queue of ten all get every answer, and nobody another's."""
    with (
        Zqd(tmp_path, *settings("max_queued=10", "max_queued_bytes=64KiB")) as zqd,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(3):
            crowd.worker(zqd.backend)
        peers = [stack.enter_context(RawPeer(zqd.frontend)) for _ in range(40)]
        for place, peer in enumerate(peers):
            peer.shake_hands(b"DEALER")
            peer.send(
                b"".join(
                    encode_message([b"", (b"%d %d" % (place, number)).ljust(3000)]) for number in range(30)
                )
            )
        for place, peer in enumerate(peers):
            answers = [peer.receive_message()[1].rstrip() for _ in range(30)]
            assert sorted(answers) == sorted(b"%d %d" % (place, number) for number in range(30))
        queue = zqd.queue()
        assert queue["received"] == queue["replied"] == 40 * 30
        assert queue["queued"] == queue["in_flight"] == 0


# Limits, exact for each message


def test_max_queued_is_exact(tmp_path: Path, crowd: Crowd) -> None:
    """Rule 17: of one client that pipelines never more than `max_queued` requests wait."""
    with Zqd(tmp_path, *settings("max_queued=10")) as zqd, RawPeer(zqd.frontend) as peer:
        peer.shake_hands(b"DEALER")
        peer.send(requests(400))
        zqd.wait_until("the queue to be full", lambda queue: queue["queued"] == 10)
        assert zqd.queue()["received"] == 10
        crowd.worker(zqd.backend, seconds=0.001)
        while (queue := zqd.queue())["replied"] < 400:
            assert queue["queued"] <= 10
            assert even(queue)
        assert numbers(peer, 400) == list(range(400))


def test_max_queued_lets_newcomers_add_one(tmp_path: Path) -> None:
    """Rule 17: at `max_queued` a client that has nothing waiting may still add one request, and only one."""
    with Zqd(tmp_path, *settings("max_queued=10")) as zqd, contextlib.ExitStack() as stack:
        for place in range(4):
            peer = stack.enter_context(RawPeer(zqd.frontend))
            peer.shake_hands(b"DEALER")
            peer.send(requests(50))
            zqd.wait_until(
                "all that may come in",
                lambda queue: queue["queued"] == 10 + place,  # noqa: B023 - called at once
            )
        assert [row["queued"] for row in zqd.control("clients")] == [10, 1, 1, 1]


def test_max_per_client_is_exact(tmp_path: Path, crowd: Crowd) -> None:
    """Rule 17: no client has more than `max_per_client` requests waiting, whatever it has sent."""
    with Zqd(tmp_path, *settings("max_per_client=5")) as zqd, contextlib.ExitStack() as stack:
        peers = [stack.enter_context(RawPeer(zqd.frontend)) for _ in range(3)]
        for peer in peers:
            peer.shake_hands(b"DEALER")
            peer.send(requests(100))
        zqd.wait_until("all that may come in", lambda queue: queue["queued"] == 15)
        crowd.worker(zqd.backend, seconds=0.001)
        while (queue := zqd.queue())["replied"] < 300:
            assert all(row["queued"] <= 5 for row in zqd.control("clients"))
            assert even(queue)
        for peer in peers:
            assert numbers(peer, 100) == list(range(100))


def test_max_queued_bytes_is_hard(tmp_path: Path, crowd: Crowd) -> None:
    """Rule 17: requests of 30 KB from several clients never wait in more than `max_queued_bytes`."""
    with (
        Zqd(tmp_path, *settings("max_queued_bytes=100KiB")) as zqd,
        contextlib.ExitStack() as stack,
    ):
        peers = [stack.enter_context(RawPeer(zqd.frontend)) for _ in range(4)]
        for peer in peers:
            peer.shake_hands(b"DEALER")
            peer.send(requests(20, 30_000))
        zqd.wait_until("the queue to be full", lambda queue: queue["queued"] == 3)
        crowd.worker(zqd.backend, seconds=0.001)
        while (queue := zqd.queue())["replied"] < 80:
            assert queue["queued"] <= 3
            assert even(queue)
        for peer in peers:
            assert numbers(peer, 20) == list(range(20))


def test_larger_than_all_room(tmp_path: Path, crowd: Crowd) -> None:
    """Rule 17: an empty queue admits one request that is larger than `max_queued_bytes`; the next one waits for it."""
    with (
        Zqd(tmp_path, *settings("max_queued_bytes=100KiB")) as zqd,
        RawPeer(zqd.frontend) as large,
        RawPeer(zqd.frontend) as small,
    ):
        large.shake_hands(b"REQ")
        small.shake_hands(b"REQ")
        large.send(requests(1, MIB))
        zqd.wait_until("the large one to be let in", lambda queue: queue["queued"] == 1)
        small.send(requests(1))
        wait_for(lambda: zqd.control("clients")[1]["state"] == "paused", "the small one to be held back")
        assert zqd.queue()["queued"] == 1
        crowd.worker(zqd.backend)
        assert (numbers(large, 1), numbers(small, 1)) == ([0], [0])


def test_reject(tmp_path: Path, crowd: Crowd) -> None:
    """`overload = "reject"`: what a full queue cannot take fails with 503 at once, what it took is answered later."""
    options = settings("max_queued=10", "overload=reject")
    with Zqd(tmp_path, *options) as zqd, RawPeer(zqd.frontend) as peer:
        peer.shake_hands(b"DEALER")
        peer.send(requests(100))
        refusals = [peer.receive_message() for _ in range(90)]
        assert refusals == [[b"", b"ZQD-ERROR 503 the queue is full"]] * 90
        queue = zqd.queue()
        assert (queue["received"], queue["failed"], queue["queued"]) == (100, 90, 10)
        crowd.worker(zqd.backend)
        assert numbers(peer, 10) == list(range(10))
        peer.send(requests(1))
        assert numbers(peer, 1) == [0]
