from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import zmq

from tests.conftest import Connect
from tests.faults.crowd import Crowd
from tests.faults.raw import RawPeer
from tests.support.processes import Zqd, wait_for
from zqd.zmtp.frames import encode_message

SMALL = 128 << 10  # bytes of a receive buffer; with much less TCP itself falls silent for seconds at a time
PADDING = 64 << 10  # bytes of a reply; a hundred are more than the kernel keeps for a connection


def settings(*pairs: str) -> list[str]:
    """The options that set these of the queue."""
    return [word for pair in pairs for word in ("--set", f"queues.default.{pair}")]


def ask(client: RawPeer, numbers: Iterable[int]) -> None:
    """Send so many requests at once, with the numbers as their bodies."""
    client.send(b"".join(encode_message([b"", b"%d" % number]) for number in numbers))


def answers(client: RawPeer, count: int) -> list[int]:
    """Receive so many replies; the numbers of the requests that they answer."""
    numbers = []
    for _ in range(count):
        empty, number, _, padding = client.receive_message()
        assert empty == b""
        assert padding == bytes(PADDING)
        numbers.append(int(number))
    return numbers


def test_partial_sends(zqd: Zqd, crowd: Crowd) -> None:
    """A client that reads late gets everything intact and in order, however many sends that took."""
    crowd.worker(zqd.backend, padding=PADDING)
    with RawPeer(zqd.frontend, receive_buffer=SMALL) as client:
        client.shake_hands(b"DEALER")
        ask(client, range(200))
        zqd.wait_until("all replies to be given", lambda queue: queue["replied"] == 200)
        other = crowd.client(zqd.frontend)
        crowd.goes_on()
        assert answers(client, 200) == list(range(200))
    assert other.wrong == 0


def test_stalled_client(tmp_path: Path, crowd: Crowd) -> None:
    """Rule 19: over `max_unsent` a client's waiting requests stay where they are, and others have the worker."""
    with (
        Zqd(tmp_path, *settings("max_unsent=1MiB")) as zqd,
        RawPeer(zqd.frontend, receive_buffer=SMALL) as client,
    ):
        crowd.worker(zqd.backend, padding=PADDING)
        client.shake_hands(b"DEALER")
        ask(client, range(300))
        wait_for(lambda: zqd.log("client.stalled"), "the client to be stalled")
        crowd.client(zqd.frontend, think=0.001)
        crowd.goes_on()
        queue = zqd.wait_until("what ran to end", lambda queue: queue["clients"] == 2)
        assert queue["queued"] > 100
        assert zqd.control("clients")[0]["state"] == "paused"
        assert answers(client, 300) == list(range(300))
        assert zqd.log("client.resumed")
        crowd.finish()
        queue = zqd.queue()
        assert queue["received"] == queue["replied"] == 300 + crowd.answered


def test_slow_client_timeout(tmp_path: Path, crowd: Crowd) -> None:
    """Rule 19: a stalled client that reads nothing for `slow_client_timeout` is closed, and its requests are dropped."""
    options = settings("max_unsent=1MiB", "slow_client_timeout=300ms")
    with Zqd(tmp_path, *options) as zqd, RawPeer(zqd.frontend, receive_buffer=SMALL) as client:
        crowd.worker(zqd.backend, padding=PADDING)
        client.shake_hands(b"DEALER")
        ask(client, range(300))
        crowd.client(zqd.frontend, think=0.001)
        zqd.wait_until("it to be closed", lambda queue: queue["clients"] == 1 and queue["dropped"] > 100)
        crowd.goes_on()
        assert [line["seconds"] for line in zqd.log("peer.silent")] == [0.3]
        crowd.finish()
        queue = zqd.queue()
        assert queue["received"] == queue["replied"] + queue["dropped"]


def test_progress_is_enough(tmp_path: Path, crowd: Crowd) -> None:
    """Rule 19: a stalled client that reads something now and then is not closed."""
    options = settings("max_unsent=1MiB", "slow_client_timeout=300ms")
    with Zqd(tmp_path, *options) as zqd, RawPeer(zqd.frontend, receive_buffer=SMALL) as client:
        crowd.worker(zqd.backend, padding=PADDING)
        client.shake_hands(b"DEALER")
        ask(client, range(300))
        wait_for(lambda: zqd.log("client.stalled"), "the client to be stalled")
        end = time.monotonic() + 1.2  # four times what silence is allowed
        read = 0
        while time.monotonic() < end:
            read += len(answers(client, 1))
            time.sleep(0.02)  # slowly
        assert answers(client, 300 - read)[-1] == 299
        assert not zqd.log("peer.silent")


def test_pipelining_at_the_bound(tmp_path: Path, crowd: Crowd) -> None:
    """A client whose unread replies go over `max_unsent` and below it again and again loses none and stays connected."""
    with (
        Zqd(tmp_path, *settings("max_unsent=128KiB")) as zqd,
        RawPeer(zqd.frontend, receive_buffer=SMALL) as client,
    ):
        for _ in range(3):
            crowd.worker(zqd.backend, padding=PADDING)
        client.shake_hands(b"DEALER")
        asked = 0
        seen: list[int] = []
        for _ in range(300):
            ask(client, range(asked, asked + 3))
            asked += 3
            seen += answers(client, min(2, asked - len(seen)))
        seen += answers(client, asked - len(seen))
        assert sorted(seen) == list(range(asked))
        assert not zqd.log("peer.lost")


def test_slow_worker_connection(zqd: Zqd, crowd: Crowd, connect: Connect) -> None:
    """A worker that reads a large request slowly gets it intact, while another serves everybody else."""
    large = bytes(range(256)) * (4 << 12)
    with RawPeer(zqd.backend, receive_buffer=SMALL) as worker:
        worker.shake_hands(b"REP")
        client = connect(zmq.REQ, zqd.frontend)
        client.send(large)
        zqd.wait_until("the request to be sent", lambda queue: queue["in_flight"] == 1)
        crowd.worker(zqd.backend)
        crowd.client(zqd.frontend, think=0.001)
        crowd.goes_on()
        dispatch, empty, body = worker.receive_message()
        assert (empty, body) == (b"", large)
        worker.send_message(dispatch, b"", b"read it")
        assert client.recv() == b"read it"


def test_idle_without_a_worker(zqd: Zqd, connect: Connect) -> None:
    """Rule 20: while requests wait and there is no worker, zqd sleeps."""
    for number in range(10):
        connect(zmq.REQ, zqd.frontend).send(b"%d" % number)
    zqd.wait_until("the requests to wait", lambda queue: queue["queued"] == 10)
    assert cpu_of_a_second(zqd) < 0.2  # spinning costs 1.0


def test_idle_at_the_limits(tmp_path: Path, crowd: Crowd) -> None:
    """Rule 20: while a client is paused at `max_queued` and has sent more, zqd sleeps; with a worker it goes on."""
    with Zqd(tmp_path, *settings("max_queued=10")) as zqd, RawPeer(zqd.frontend) as client:
        client.shake_hands(b"DEALER")
        ask(client, range(5000))
        zqd.wait_until("the queue to be full", lambda queue: queue["queued"] == 10)
        assert cpu_of_a_second(zqd) < 0.2  # spinning costs 1.0
        crowd.worker(zqd.backend, padding=PADDING)
        assert answers(client, 500) == list(range(500))


def test_paused_client_leaves(tmp_path: Path) -> None:
    """Rule 18: a client that leaves while it is paused is seen to leave."""
    with Zqd(tmp_path, *settings("max_queued=10")) as zqd:
        with RawPeer(zqd.frontend) as client:
            client.shake_hands(b"DEALER")
            ask(client, range(5000))
            zqd.wait_until("the queue to be full", lambda queue: queue["queued"] == 10)
        queue = zqd.wait_until("it to be gone", lambda queue: queue["clients"] == 0)
        assert (queue["queued"], queue["received"]) == (0, queue["dropped"])


def cpu_of_a_second(zqd: Zqd) -> float:
    """CPU seconds that zqd uses while a second passes."""
    before = zqd.cpu()
    time.sleep(1.0)  # the time that is measured
    return zqd.cpu() - before
