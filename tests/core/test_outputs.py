from __future__ import annotations

from zqd.core.outputs import Ending, Outputs
from zqd.core.peers import Client, Worker


def test_a_peer_with_something_to_send_is_outgoing_once() -> None:
    """However many messages lie in its outbox."""
    out, client = Outputs(), Client(1, "a", "", 0.0)
    out.send(client, b"one")
    out.send(client, b"two")
    assert out.outgoing == [client]
    assert client.outbox == [b"one", b"two"]


def test_a_peer_that_is_to_be_closed_is_told_with_how() -> None:
    """In the order in which it was decided."""
    out, client, worker = Outputs(), Client(1, "a", "", 0.0), Worker(2, "w", "", 0.0, capacity=1)
    out.close(client, Ending.GRACEFUL)
    out.close(worker, Ending.NOW)
    assert out.closing == [(client, Ending.GRACEFUL), (worker, Ending.NOW)]


def test_a_notice_tells_peers_by_their_ids() -> None:
    """And by their address, and their name where they have one."""
    out = Outputs()
    out.note("client.joined", client=Client(1, "10.0.0.1:4711", "", 0.0))
    out.note("worker.hello", worker=Worker(2, "ipc:pid=7", "resizer", 0.0, capacity=1), pid=7)
    assert out.notices == [
        ("client.joined", {"client": "c1", "address": "10.0.0.1:4711"}),
        ("worker.hello", {"worker": "w2", "address": "ipc:pid=7", "name": "resizer", "pid": 7}),
    ]


def test_peers_are_shown_to_people_by_id_and_name() -> None:
    """The address stands in for a name."""
    assert str(Client(1, "10.0.0.1:4711", "", 0.0)) == "c1 (10.0.0.1:4711)"
    assert str(Worker(2, "ipc:pid=7", "resizer", 0.0, capacity=1)) == "w2 (resizer)"
