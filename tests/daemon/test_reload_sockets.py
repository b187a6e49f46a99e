"""Reloads that change where queues listen, and which queues there are."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from tests.conftest import Connect
from tests.daemon.configured import DEFAULT, ConfiguredZqd
from tests.faults.crowd import Crowd
from tests.support.processes import steady_endpoint, wait_for

FRONTEND = "queues.default.frontend"


@pytest.fixture
def zqd(tmp_path: Path) -> Iterator[ConfiguredZqd]:
    """A running one with defaults but for its ports."""
    with ConfiguredZqd(tmp_path) as zqd:
        yield zqd


def queue(name: str, frontend: list[str], backend: list[str], *lines: str) -> str:
    """A table of the configuration."""
    listed = [f"{side} = {ends!r}" for side, ends in (("frontend", frontend), ("backend", backend))]
    return "\n".join([f"[queues.{name}]", *listed, *lines, ""])


def exchange(zqd: ConfiguredZqd, connect: Connect, name: str = "default") -> None:
    """A request of a new client to a new worker."""
    row = zqd.queue(name)
    client, worker = connect(zmq.REQ, row["frontend"][0]), connect(zmq.REP, row["backend"][0])
    client.send(name.encode())
    assert worker.recv() == name.encode()
    worker.send(b"reply")
    assert client.recv() == b"reply"


def refuses(endpoint: str) -> bool:
    """Whether nobody listens there."""
    host, port = endpoint.removeprefix("tcp://").split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) != 0


# Endpoints


def test_one_more_endpoint(zqd: ConfiguredZqd, connect: Connect, tmp_path: Path) -> None:
    """It listens when the reload answers, and the port that the kernel chose for the other one stays."""
    before = zqd.frontend
    text = DEFAULT.replace('"tcp://127.0.0.1:0"]', f'"tcp://127.0.0.1:0", "ipc://{tmp_path}/f"]', 1)
    (row,) = zqd.reload(text)["changes"]
    assert (row["key"], row["applied"]) == (FRONTEND, True)
    assert zqd.queue()["frontend"] == [before, f"ipc://{tmp_path}/f"]
    client, worker = connect(zmq.REQ, f"ipc://{tmp_path}/f"), connect(zmq.REP, zqd.backend)
    client.send(b"body")
    worker.send(worker.recv())
    assert client.recv() == b"body"


def test_one_endpoint_less(tmp_path: Path, connect: Connect) -> None:
    """Nobody can connect there any more, its file is gone, and who has come by it is served on."""
    port = steady_endpoint()
    with ConfiguredZqd(
        tmp_path, queue("default", [port, f"ipc://{tmp_path}/f"], [f"ipc://{tmp_path}/b"])
    ) as zqd:
        clients = [connect(zmq.REQ, port), connect(zmq.REQ, f"ipc://{tmp_path}/f")]
        zqd.wait_until("both", lambda queue: queue["clients"] == 2)
        zqd.reload(queue("default", [f"ipc://{tmp_path}/other"], [f"ipc://{tmp_path}/b"]))
        assert refuses(port)
        assert not (tmp_path / "f").exists()
        worker = connect(zmq.REP, f"ipc://{tmp_path}/b")
        for client in clients:
            client.send(b"body")
            worker.send(worker.recv())
            assert client.recv() == b"body"
        assert zqd.queue()["clients"] == 2


def test_an_endpoint_that_is_written_otherwise(tmp_path: Path) -> None:
    """The same place by another name is no change of the socket, and is not in its own way."""
    port = steady_endpoint()
    backend = [f"ipc://{tmp_path}/b"]
    with ConfiguredZqd(tmp_path, queue("default", [port], backend)) as zqd:
        zqd.reload(queue("default", [port.replace("127.0.0.1", "localhost")], [f"ipc://{tmp_path}//b"]))
        assert zqd.queue()["frontend"] == [port]
        assert zqd.queue()["backend"] == backend
        assert not refuses(port)


def test_an_endpoint_moves_to_another_queue(tmp_path: Path, connect: Connect) -> None:
    """Without a moment in which a connect is refused: a connection that waits in its backlog is taken over."""
    shared, other = steady_endpoint(), steady_endpoint()
    paths = [f"ipc://{tmp_path}/{name}" for name in "ab"]
    before = queue("a", [shared], paths[:1]) + queue("b", [other], paths[1:])
    after = queue("a", [other], paths[:1]) + queue("b", [shared], paths[1:])
    with ConfiguredZqd(tmp_path, before) as zqd:
        old = connect(zmq.REQ, shared)
        wait_for(lambda: zqd.queue("a")["clients"] == 1, "the client")
        workers = {name: connect(zmq.REP, path) for name, path in zip("ab", paths, strict=True)}
        inodes = socket_inodes(shared, other)
        result = zqd.reload(after)
        assert socket_inodes(shared, other) == inodes
        assert [row["key"] for row in result["changes"]] == ["queues.a.frontend", "queues.b.frontend"]
        assert (zqd.queue("a")["frontend"], zqd.queue("b")["frontend"]) == ([other], [shared])
        new = connect(zmq.REQ, shared)
        for client, name in ((new, "b"), (old, "a")):
            client.send(name.encode())
            assert workers[name].recv() == name.encode()
            workers[name].send(b"reply")
            assert client.recv() == b"reply"


def socket_inodes(*endpoints: str) -> list[str]:
    """Which listening sockets these are (proc(5), /proc/net/tcp: state 0A)."""
    ports = [f"{int(endpoint.rpartition(':')[2]):04X}" for endpoint in endpoints]
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    found = {line[1].partition(":")[2]: line[9] for line in lines if line[3] == "0A"}
    return [found[port] for port in ports]


def test_endpoints_that_change_places_under_load(tmp_path: Path, connect: Connect) -> None:
    """Connects at a moving endpoint are never refused, however often it moves."""
    shared, other = steady_endpoint(), steady_endpoint()
    paths = [f"ipc://{tmp_path}/{name}" for name in "ab"]
    texts = [
        queue("a", [first], paths[:1]) + queue("b", [second], paths[1:])
        for first, second in ((shared, other), (other, shared))
    ]
    with ConfiguredZqd(tmp_path, texts[0]) as zqd:
        for turn in range(20):
            zqd.write(texts[(turn + 1) % 2])
            control = connect(zmq.REQ, f"ipc://{zqd.control_path}")
            control.send_json({"zqctl": 1, "command": "reload"})
            while not control.poll(0):
                assert not refuses(shared)
            reply = control.recv_json()
            assert isinstance(reply, dict)
            assert reply["ok"]
            assert not refuses(other)
        assert len(zqd.log("config.reloaded")) == 20


# Queues


def test_a_queue_more(zqd: ConfiguredZqd, connect: Connect, tmp_path: Path) -> None:
    """It is served when the reload answers; the others do not notice."""
    before = zqd.queue()
    text = DEFAULT + queue("new", [f"ipc://{tmp_path}/f"], [f"ipc://{tmp_path}/b"], "prefetch = 3")
    assert zqd.reload(text) == {"changes": [], "added": ["new"], "removed": []}
    exchange(zqd, connect, "new")
    exchange(zqd, connect)
    assert zqd.queue()["frontend"] == before["frontend"]
    assert [event["queue"] for event in zqd.log("queue.added")] == ["new"]
    (worker,) = zqd.control("workers", queue="new")
    assert worker["capacity"] == 3


def test_a_queue_less(tmp_path: Path, connect: Connect) -> None:
    """What it has read is answered, then its connections end and it is gone; nobody can connect meanwhile."""
    port = steady_endpoint()
    with ConfiguredZqd(tmp_path, DEFAULT + queue("old", [port], [f"ipc://{tmp_path}/b"])) as zqd:
        worker, client = connect(zmq.REP, f"ipc://{tmp_path}/b"), connect(zmq.REQ, port)
        client.send(b"one")
        assert worker.recv() == b"one"
        assert zqd.reload(DEFAULT) == {"changes": [], "added": [], "removed": ["old"]}
        assert refuses(port)
        assert zqd.queue("old")["in_flight"] == 1
        exchange(zqd, connect)
        worker.send(b"reply")
        assert client.recv() == b"reply"
        wait_for(lambda: zqd.log("queue.removed"), "its end")
        assert [row["name"] for row in zqd.status()["queues"]] == ["default"]
        assert not (tmp_path / "b").exists()


def test_a_queue_that_does_not_end(tmp_path: Path, connect: Connect) -> None:
    """Its drain_timeout holds: then what is in flight fails with 503, and the queue is gone."""
    old = queue("old", [f"ipc://{tmp_path}/f"], [f"ipc://{tmp_path}/b"], 'drain_timeout = "200ms"')
    with ConfiguredZqd(tmp_path, DEFAULT + old) as zqd:
        connect(zmq.REP, f"ipc://{tmp_path}/b")
        client = connect(zmq.REQ, f"ipc://{tmp_path}/f")
        client.send(b"one")
        wait_for(lambda: zqd.queue("old")["in_flight"] == 1, "it")
        zqd.reload(DEFAULT)
        assert client.recv() == b"ZQD-ERROR 503 stopping"
        wait_for(lambda: zqd.log("queue.removed"), "its end")


def test_a_queue_that_comes_back_while_it_ends(tmp_path: Path, connect: Connect) -> None:
    """The new one of that name listens at the same places at once; the old one finishes beside it."""
    ends = ([steady_endpoint()], [f"ipc://{tmp_path}/b"])
    both = DEFAULT + queue("twice", *ends, 'drain_timeout = "30s"')
    with ConfiguredZqd(tmp_path, both) as zqd:
        worker, client = connect(zmq.REP, ends[1][0]), connect(zmq.REQ, ends[0][0])
        client.send(b"one")
        assert worker.recv() == b"one"
        assert zqd.reload(DEFAULT)["removed"] == ["twice"]
        assert zqd.reload(both)["added"] == ["twice"]
        rows = [row for row in zqd.status()["queues"] if row["name"] == "twice"]
        assert sorted(row["state"] for row in rows) == ["running", "stopping"]
        other, another = connect(zmq.REP, ends[1][0]), connect(zmq.REQ, ends[0][0])
        another.send(b"two")
        assert other.recv() == b"two"
        other.send(b"two")
        assert another.recv() == b"two"
        assert zqd.control("pause", queue="twice")["state"] == "paused"
        assert zqd.control("resume", target="twice")["state"] == "running"
        assert zqd.reload(both + "prefetch = 2\n")["changes"][0]["key"] == "queues.twice.prefetch"
        worker.send(b"one")
        assert client.recv() == b"one"
        wait_for(lambda: zqd.log("queue.removed"), "the end of the old one")
        (row,) = [row for row in zqd.status()["queues"] if row["name"] == "twice"]
        assert (row["state"], row["replied"]) == ("running", 1)


def test_orders_to_a_queue_that_ends(tmp_path: Path, connect: Connect) -> None:
    """It is refused by a sentence, not by a fault."""
    old = queue("old", [f"ipc://{tmp_path}/f"], [f"ipc://{tmp_path}/b"])
    with ConfiguredZqd(tmp_path, DEFAULT + old) as zqd:
        worker, client = connect(zmq.REP, f"ipc://{tmp_path}/b"), connect(zmq.REQ, f"ipc://{tmp_path}/f")
        client.send(b"one")
        assert worker.recv() == b"one"
        zqd.reload(DEFAULT)
        sentence = "queue old is stopping, so this cannot be done now"
        assert zqd.ask(zqd.control_path, "pause", queue="old")["error"] == sentence
        assert zqd.ask(zqd.control_path, "drain", target="old")["error"] == sentence
        assert not zqd.log("zqd.fault")
        worker.send(b"one")
        assert client.recv() == b"one"


def test_a_stop_while_a_removed_queue_ends(tmp_path: Path, connect: Connect) -> None:
    """The stop waits for it as for the others."""
    old = queue("old", [f"ipc://{tmp_path}/f"], [f"ipc://{tmp_path}/b"])
    with ConfiguredZqd(tmp_path, DEFAULT + old) as zqd:
        worker, client = connect(zmq.REP, f"ipc://{tmp_path}/b"), connect(zmq.REQ, f"ipc://{tmp_path}/f")
        client.send(b"one")
        assert worker.recv() == b"one"
        zqd.reload(DEFAULT)
        assert zqd.process is not None
        zqd.process.terminate()
        wait_for(lambda: zqd.log("zqd.stopping"), "the stop")
        worker.send(b"reply")
        assert client.recv() == b"reply"
        assert zqd.process.wait(60) == 0


def test_all_queues_replaced_under_load(tmp_path: Path, crowd: Crowd) -> None:
    """A queue gives its endpoints to another name: clients and workers that reconnect go on, none gets a wrong answer."""
    ends = ([steady_endpoint()], [steady_endpoint()])
    with ConfiguredZqd(tmp_path, queue("one", *ends)) as zqd:
        crowd.worker(ends[1][0])
        for _ in range(3):
            crowd.client(ends[0][0], think=0.001)
        crowd.goes_on()
        for name in ("two", "one", "two"):
            result = zqd.reload(queue(name, *ends))
            assert result["added"] == [name]
            crowd.goes_on()
        crowd.finish()
        wait_for(lambda: len(zqd.log("queue.removed")) == 3, "the ends of the old ones")
        assert not zqd.log("zqd.fault")
