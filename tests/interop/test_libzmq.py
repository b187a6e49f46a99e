"""Every kind of client and worker that libzmq has, through a real zqd."""

from __future__ import annotations

import random
import socket
from pathlib import Path

import pytest
import zmq

from tests.conftest import Connect
from tests.interop.peers import exchange
from tests.support.processes import PATIENCE, Zqd

KIB = 1 << 10
MIB = 1 << 20
SIZES = [0, 255, 256, 64 * KIB, MIB, 100 * MIB]
BODIES = [[b""], [b"", b""], [b"one", b"two"], [b"", b"one", b""], [b"%d" % number for number in range(300)]]


def body_of(size: int, seed: int) -> bytes:
    """A body of this size that repeats itself at a distance of no use to whoever loses or swaps pieces of it."""
    period = min(size, 1_000_003)  # a prime
    return (random.Random(seed).randbytes(period) * (size // max(period, 1) + 1))[:size]


# Clients


def test_a_req_is_served(zqd: Zqd, connect: Connect) -> None:
    """A REQ gets the answer to each of its requests."""
    exchange(connect(zmq.REQ, zqd.frontend), connect(zmq.REP, zqd.backend), count=100)
    row = zqd.queue()
    assert (row["received"], row["replied"], row["queued"], row["in_flight"]) == (100, 100, 0, 0)


def test_a_correlating_req_is_served(zqd: Zqd, connect: Connect) -> None:
    """A REQ with RELAXED and CORRELATE gets the answer to each of its requests."""
    client = connect(zmq.REQ, zqd.frontend, req_relaxed=1, req_correlate=1)
    exchange(client, connect(zmq.REP, zqd.backend), count=100)


def test_a_relaxed_req_may_ask_again(zqd: Zqd, connect: Connect) -> None:
    """A REQ with RELAXED and CORRELATE that asks again after its time-out gets the answer to its last request only."""
    client = connect(zmq.REQ, zqd.frontend, req_relaxed=1, req_correlate=1)
    worker = connect(zmq.REP, zqd.backend)
    for number in range(10):
        client.send(b"too slow")
        assert worker.recv() == b"too slow"
        assert not client.poll(10)
        client.send(b"again %d" % number)
        worker.send(b"too late")
        assert worker.recv() == b"again %d" % number
        worker.send(b"answer %d" % number)
        assert client.recv() == b"answer %d" % number
    exchange(client, worker)


def test_a_dealer_has_many_requests_in_flight(zqd: Zqd, connect: Connect) -> None:
    """A DEALER need not wait for an answer before it asks again, and one worker answers it in order."""
    client = connect(zmq.DEALER, zqd.frontend, routing_id=b"impatient")
    for number in range(1000):
        client.send_multipart([b"", b"%d" % number])
    zqd.wait_until("all to wait", lambda row: row["queued"] == 1000)
    assert [row["name"] for row in zqd.control("clients")] == ["impatient"]
    worker = connect(zmq.REP, zqd.backend)
    for number in range(1000):
        assert worker.recv() == b"%d" % number
        worker.send(b"answer %d" % number)
    for number in range(1000):
        assert client.recv_multipart() == [b"", b"answer %d" % number]


@pytest.mark.parametrize(
    "envelope",
    [[], [b"hop"], [b"first", b"second", b"third"], [b"\0" * 5, b"x" * 255, b"y" * 256]],
    ids=["none", "one hop", "three hops", "long ones"],
)
def test_an_envelope_comes_back(zqd: Zqd, connect: Connect, envelope: list[bytes]) -> None:
    """What a DEALER puts before the empty frame comes back before the answer, and the worker does not see it."""
    client, worker = connect(zmq.DEALER, zqd.frontend), connect(zmq.REP, zqd.backend)
    client.send_multipart([*envelope, b"", b"question", b"", b"more"])
    assert worker.recv_multipart() == [b"question", b"", b"more"]
    worker.send_multipart([b"answer", b"", b"more"])
    assert client.recv_multipart() == [*envelope, b"", b"answer", b"", b"more"]


def test_a_router_is_a_client(zqd: Zqd, connect: Connect) -> None:
    """A ROUTER that gives its peer a name asks under that name and is answered under it."""
    client = connect(zmq.ROUTER, zqd.frontend, connect_routing_id=b"zqd", router_mandatory=1)
    worker = connect(zmq.REP, zqd.backend)
    for number in range(10):
        client.send_multipart([b"zqd", b"hop", b"", b"%d" % number])
    for number in range(10):
        assert worker.recv() == b"%d" % number
        worker.send(b"answer")
    for _ in range(10):
        assert client.recv_multipart() == [b"zqd", b"hop", b"", b"answer"]


# Workers


def test_a_dealer_is_a_worker(zqd: Zqd, connect: Connect) -> None:
    """A DEALER gets the id of the dispatch and the client's whole message, and answers under that id."""
    client = connect(zmq.DEALER, zqd.frontend)
    worker = connect(zmq.DEALER, zqd.backend, routing_id=b"worker-1")
    ids = set()
    for number in range(10):
        client.send_multipart([b"hop", b"", b"question", b"%d" % number])
        id_, *rest = worker.recv_multipart()
        assert rest == [b"hop", b"", b"question", b"%d" % number]
        worker.send_multipart([id_, b"hop", b"", b"answer", b"%d" % number])
        assert client.recv_multipart() == [b"hop", b"", b"answer", b"%d" % number]
        ids.add(id_)
    assert {len(id_) for id_ in ids} == {16}
    assert len(ids) == 10
    assert [(row["name"], row["replied"]) for row in zqd.control("workers")] == [("worker-1", 10)]


def test_a_dealer_may_answer_out_of_order(zqd: Zqd, connect: Connect) -> None:
    """A DEALER that says its capacity holds as many requests at once, and each answer finds its client."""
    worker = connect(zmq.DEALER, zqd.backend)
    worker.send_multipart([b"zqd/1", b"hello", b'{"name": "wide", "capacity": 5}'])
    clients = [connect(zmq.REQ, zqd.frontend) for _ in range(5)]
    for number, client in enumerate(clients):
        client.send(b"%d" % number)
    held = [worker.recv_multipart() for _ in clients]
    assert {body for *_, body in held} == {b"0", b"1", b"2", b"3", b"4"}
    for *envelope, body in reversed(held):
        worker.send_multipart([*envelope, b"answer %s" % body])
    assert [client.recv() for client in clients] == [b"answer %d" % number for number in range(5)]


@pytest.mark.parametrize("options", [{}, {"connect_routing_id": b"zqd"}], ids=["unnamed", "named"])
def test_a_router_is_a_worker(zqd: Zqd, connect: Connect, options: dict[str, bytes]) -> None:
    """A ROUTER answers to the peer, and under the id, from which the request came."""
    client = connect(zmq.REQ, zqd.frontend)
    worker = connect(zmq.ROUTER, zqd.backend, router_mandatory=1, **options)
    for number in range(10):
        client.send(b"%d" % number)
        *envelope, body = worker.recv_multipart()
        assert (envelope[0] == b"zqd", len(envelope[1]), envelope[2:], body) == (
            bool(options),
            16,
            [b""],
            b"%d" % number,
        )
        worker.send_multipart([*envelope, b"answer", body])
        assert client.recv_multipart() == [b"answer", b"%d" % number]


# Bodies


@pytest.mark.parametrize("body", BODIES, ids=["empty", "two empty", "two", "around empty", "300"])
def test_frames_of_a_body_are_kept(zqd: Zqd, connect: Connect, body: list[bytes]) -> None:
    """A body of several frames, and of empty ones, arrives as it was sent, there and back."""
    client, worker = connect(zmq.REQ, zqd.frontend), connect(zmq.REP, zqd.backend)
    client.send_multipart(body)
    assert worker.recv_multipart() == body
    worker.send_multipart(body[::-1])
    assert client.recv_multipart() == body[::-1]


@pytest.mark.parametrize("size", SIZES)
def test_a_body_of_any_size_is_passed_on(zqd: Zqd, connect: Connect, size: int) -> None:
    """Every size arrives unchanged, there and back."""
    client, worker = connect(zmq.REQ, zqd.frontend), connect(zmq.REP, zqd.backend)
    for number in range(2):
        question, answer = body_of(size, number), body_of(size, number + 2)
        client.send(question)
        assert worker.recv() == question
        worker.send(answer)
        assert client.recv() == answer


# Many


def test_each_of_many_clients_gets_its_own_replies(zqd: Zqd, connect: Connect) -> None:
    """200 REQ clients ask 16 REP workers at the same time, and each receives the answers to its own questions."""
    rounds = 10
    workers = [connect(zmq.REP, zqd.backend) for _ in range(16)]
    clients = {connect(zmq.REQ, zqd.frontend): number for number in range(200)}
    zqd.wait_until("everybody", lambda row: (row["workers"], row["clients"]) == (16, 200))
    poller = zmq.Poller()
    for peer in (*workers, *clients):
        poller.register(peer, zmq.POLLIN)
    asked = dict.fromkeys(clients, 0)
    for client, number in clients.items():
        client.send(b"%d asks 0" % number)
    while any(count < rounds for count in asked.values()):
        ready = poller.poll(int(PATIENCE * 1000))
        assert ready, f"nothing happens any more: {zqd.queue()}"
        for peer, _ in ready:
            if peer not in clients:
                peer.send(peer.recv() + b", answered")
                continue
            assert peer.recv() == b"%d asks %d, answered" % (clients[peer], asked[peer])
            asked[peer] += 1
            if asked[peer] < rounds:
                peer.send(b"%d asks %d" % (clients[peer], asked[peer]))
    row = zqd.queue()
    assert (row["received"], row["replied"], row["failed"], row["retried"]) == (2000, 2000, 0, 0)
    assert all(worker["replied"] for worker in zqd.control("workers"))


# Endpoints


def has_ipv6() -> bool:
    """Whether this machine can listen at ::1."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(
    not has_ipv6(), reason="NO IPv6 LOOPBACK HERE: endpoints at [::1] are NOT TESTED"
)
EVERY_KIND = [
    "tcp://127.0.0.1:0",
    pytest.param("tcp://[::1]:0", marks=needs_ipv6),
    "ipc://{folder}/{side}.sock",
]


@pytest.mark.parametrize("endpoint", EVERY_KIND, ids=["IPv4", "IPv6", "ipc"])
def test_an_endpoint_of_any_kind_is_served(tmp_path: Path, connect: Connect, endpoint: str) -> None:
    """Clients and workers connect by IPv4, by IPv6 and by a path."""
    frontend, backend = (endpoint.format(folder=tmp_path, side=side) for side in ("frontend", "backend"))
    with Zqd(tmp_path, frontend=[frontend], backend=[backend]) as zqd:
        client, worker = connect(zmq.REQ, zqd.frontend, ipv6=1), connect(zmq.REP, zqd.backend, ipv6=1)
        exchange(client, worker, count=10)


@needs_ipv6
def test_endpoints_of_one_side_are_one_queue(tmp_path: Path, connect: Connect) -> None:
    """With several endpoints on each side, requests from any of them go to workers at any of them."""
    sides = [
        ["tcp://127.0.0.1:0", "tcp://127.0.0.1:0", "tcp://[::1]:0", f"ipc://{tmp_path}/{side}.sock"]
        for side in ("frontend", "backend")
    ]
    with Zqd(tmp_path, frontend=sides[0], backend=sides[1]) as zqd:
        workers = [connect(zmq.REP, endpoint, ipv6=1) for endpoint in zqd.backends]
        clients = [connect(zmq.REQ, endpoint, ipv6=1) for endpoint in zqd.frontends]
        zqd.wait_until("all workers", lambda row: row["workers"] == 4)
        for _ in range(4):
            for number, client in enumerate(clients):
                client.send(b"question %d" % number)
            for worker in workers:  # each has one: none may hold two while another is free
                worker.send(worker.recv().replace(b"question", b"answer"))
            assert [client.recv() for client in clients] == [b"answer %d" % number for number in range(4)]
        assert [row["replied"] for row in zqd.control("workers")] == [4, 4, 4, 4]
