from __future__ import annotations

import zmq

from tests.conftest import Connect
from tests.faults.crowd import Crowd
from tests.support.processes import Zqd


def test_a_slow_worker_holds_up_nobody(zqd: Zqd, crowd: Crowd, connect: Connect) -> None:
    """Of 20 requests a worker of 1 s answers one or two and one of 10 ms the rest, where `zmq.proxy` deals ten each."""
    slow = crowd.worker(zqd.backend, seconds=1.0)
    fast = crowd.worker(zqd.backend, seconds=0.01)
    zqd.wait_until("both workers", lambda queue: queue["workers"] == 2)
    clients = [connect(zmq.REQ, zqd.frontend) for _ in range(20)]
    for number, client in enumerate(clients):
        client.send(b"%d" % number)
    answers = [client.recv_multipart() for client in clients]
    assert [body for body, *_ in answers] == [b"%d" % number for number in range(20)]
    by_slow = sum(int(pid) == slow.pid for _, pid, *_ in answers)
    assert by_slow in {1, 2}
    assert sum(int(pid) == fast.pid for _, pid, *_ in answers) == 20 - by_slow


def test_a_pipelining_client_too(zqd: Zqd, crowd: Crowd, connect: Connect) -> None:
    """The same holds for 20 requests that one DEALER sends at once."""
    slow = crowd.worker(zqd.backend, seconds=1.0)
    crowd.worker(zqd.backend, seconds=0.01)
    zqd.wait_until("both workers", lambda queue: queue["workers"] == 2)
    client = connect(zmq.DEALER, zqd.frontend)
    for number in range(20):
        client.send_multipart([b"", b"%d" % number])
    answers = [client.recv_multipart() for _ in range(20)]
    assert {body for _, body, *_ in answers} == {b"%d" % number for number in range(20)}
    assert sum(int(pid) == slow.pid for _, _, pid, *_ in answers) in {1, 2}
