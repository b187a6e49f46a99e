"""Clients and workers with CURVE are served as those without: libzmq's own sockets at the daemon itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from tests.conftest import Connect
from tests.daemon.configured import ConfiguredZqd
from tests.daemon.keyring import CurvePeer, Keyring, assert_no_fault, both_there
from tests.interop.peers import exchange, monitored
from tests.support.processes import PATIENCE, wait_for
from tests.zmtp.curve_client import CARRIED_COMMAND

# A worker that takes a request and works on it for ever.
BUSY_WORKER = """
import sys, time, zmq, zmq.auth
worker = zmq.Context().socket(zmq.REP)
endpoint, mine, server = sys.argv[1:]
worker.curve_publickey, worker.curve_secretkey = zmq.auth.load_certificate(mine)
worker.curve_serverkey, _ = zmq.auth.load_certificate(server)
worker.connect(endpoint)
worker.recv()
time.sleep(3600)
"""


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    """Keys of zqd, alice and bob."""
    return Keyring(tmp_path)


@pytest.fixture
def zqd(tmp_path: Path, keyring: Keyring) -> Iterator[ConfiguredZqd]:
    """One with CURVE on both sides; it ends without a fault."""
    with ConfiguredZqd(tmp_path, keyring.settings()) as zqd:
        yield zqd
        assert_no_fault(zqd)


@pytest.mark.parametrize("worker_kind", [zmq.REP, zmq.DEALER])
@pytest.mark.parametrize("client_kind", [zmq.REQ, zmq.DEALER])
def test_a_client_is_served(
    zqd: ConfiguredZqd, keyring: Keyring, connect: Connect, client_kind: int, worker_kind: int
) -> None:
    """Each kind of client by each kind of worker."""
    client = connect(client_kind, zqd.frontend, **keyring.options("alice"))
    worker = connect(worker_kind, zqd.backend, **keyring.options("bob"))
    delimiter = [] if client_kind == zmq.REQ else [b""]
    for number in range(50):
        client.send_multipart([*delimiter, b"question %d" % number, b"and more"])
        *envelope, question, more = worker.recv_multipart()
        assert more == b"and more"
        worker.send_multipart([*envelope, b"answer to " + question, more])
        assert client.recv_multipart() == [*delimiter, b"answer to question %d" % number, more]


def test_a_router_is_served(zqd: ConfiguredZqd, keyring: Keyring, connect: Connect) -> None:
    """A ROUTER that connects needs a name for whom it connects to."""
    client = connect(zmq.ROUTER, **keyring.options(), connect_routing_id=b"broker", router_mandatory=True)
    client.connect(zqd.frontend)
    worker = connect(zmq.REP, zqd.backend, **keyring.options("bob"))
    both_there(zqd)
    client.send_multipart([b"broker", b"", b"question"])
    worker.send(worker.recv())
    assert client.recv_multipart() == [b"broker", b"", b"question"]


@pytest.mark.parametrize("size", [0, 1, 221, 222, 255, 256, 4096, 65_536, 1 << 20, 16 << 20])
def test_a_body_of_any_size(zqd: ConfiguredZqd, keyring: Keyring, connect: Connect, size: int) -> None:
    """Both ways, through both sides."""
    client = connect(zmq.REQ, zqd.frontend, **keyring.options())
    worker = connect(zmq.REP, zqd.backend, **keyring.options("bob"))
    body = os.urandom(size)
    client.send(body)
    received = worker.recv()
    assert received == body
    worker.send(received[::-1])
    assert client.recv() == body[::-1]


def test_many_in_flight(zqd: ConfiguredZqd, keyring: Keyring, connect: Connect) -> None:
    """A client that pipelines gets every answer, each once."""
    client = connect(zmq.DEALER, zqd.frontend, **keyring.options(), sndhwm=0, rcvhwm=0)
    worker = connect(zmq.REP, zqd.backend, **keyring.options("bob"))
    sent = {b"%d" % number + bytes(number) for number in range(2000)}
    for body in sent:
        client.send_multipart([b"", body])
    for _ in sent:
        worker.send(worker.recv())
    assert {client.recv_multipart()[1] for _ in sent} == sent


def test_one_side_alone(tmp_path: Path, keyring: Keyring, connect: Connect) -> None:
    """Clients with CURVE and workers without, of one queue."""
    with ConfiguredZqd(tmp_path, keyring.settings("frontend")) as zqd:
        exchange(connect(zmq.REQ, zqd.frontend, **keyring.options()), connect(zmq.REP, zqd.backend), count=3)


def test_anybody_may_be_let_in(tmp_path: Path, keyring: Keyring, connect: Connect) -> None:
    """Where the configuration says so; those with a name keep it."""
    keyring.make("stranger")
    more = "frontend_anonymous = true\n"
    with ConfiguredZqd(tmp_path, keyring.settings("frontend", more=more)) as zqd:
        worker = connect(zmq.REP, zqd.backend)
        for name in ("stranger", "alice"):
            exchange(connect(zmq.REQ, zqd.frontend, **keyring.options(name)), worker)
        assert [row["key"] for row in zqd.control("clients")] == ["anonymous", "alice"]


def test_over_ipc(tmp_path: Path, keyring: Keyring, connect: Connect) -> None:
    """A unix socket may have keys, too."""
    text = keyring.settings().replace("tcp://127.0.0.1:0", f"ipc://{tmp_path}/f", 1)
    with ConfiguredZqd(tmp_path, text) as zqd:
        client = connect(zmq.REQ, zqd.frontend, **keyring.options())
        exchange(client, connect(zmq.REP, zqd.backend, **keyring.options("bob")))


# Who is there


def test_names_are_shown(zqd: ConfiguredZqd, keyring: Keyring, connect: Connect) -> None:
    """The name of a peer's key in zqctl, for people and for programs."""
    exchange(
        connect(zmq.REQ, zqd.frontend, **keyring.options("alice")),
        connect(zmq.REP, zqd.backend, **keyring.options("bob")),
    )
    for command, name in (("clients", "alice"), ("workers", "bob")):
        status, table, errors = zqd.zqctl(command)
        assert (status, errors) == (0, "")
        assert name in table
        assert [row["key"] for row in json.loads(zqd.zqctl("--json", command)[1])] == [name]


def test_names_are_in_events_and_log(zqd: ConfiguredZqd, keyring: Keyring, connect: Connect) -> None:
    """As the field `key`, for subscribers as for the log."""
    subscriber = connect(zmq.SUB, f"ipc://{zqd.control_path.with_name('events.sock')}", subscribe=b"client.")
    while not subscriber.poll(50):  # a subscription takes effect some time after it was made
        joined = len(zqd.log("client.joined"))
        connect(zmq.DEALER, zqd.frontend, **keyring.options("alice"))
        wait_for(lambda joined=joined: len(zqd.log("client.joined")) > joined, "another event")  # type: ignore[misc]
    topic, event = subscriber.recv_multipart()
    assert topic.startswith(b"client.")
    assert json.loads(event)["key"] == "alice"
    exchange(
        connect(zmq.REQ, zqd.frontend, **keyring.options("alice")),
        connect(zmq.REP, zqd.backend, **keyring.options("bob")),
    )
    assert {line["key"] for line in zqd.log("client.joined")} == {"alice"}
    assert {line["key"] for line in zqd.log("worker.joined")} == {"bob"}


# Heartbeats


def test_heartbeats_of_both(tmp_path: Path, keyring: Keyring, connect: Connect) -> None:
    """zqd and libzmq ask one another, many times, and neither finds the other dead."""
    more = 'frontend_heartbeat_interval = "50ms"\nbackend_heartbeat_interval = "50ms"\nheartbeat_timeout = "3s"\n'
    with ConfiguredZqd(tmp_path, keyring.settings(more=more)) as zqd:
        beats = {"heartbeat_ivl": 50, "heartbeat_timeout": 3000}
        client, worker = connect(zmq.REQ), connect(zmq.REP)
        with monitored(client) as monitor:
            for sock, name, endpoint in ((client, "alice", zqd.frontend), (worker, "bob", zqd.backend)):
                for option, value in {**keyring.options(name), **beats}.items():
                    setattr(sock, option, value)
                sock.connect(endpoint)
            wait_for(lambda: [row for row in zqd.control("clients") if row["connected_s"] > 5], "some time")
            exchange(client, worker)
            assert not monitor.wait_for(zmq.Event.DISCONNECTED, patience=0)
        assert zqd.log("peer.silent") == []
        assert len(zqd.log("worker.joined")) == 1


def test_our_heartbeat_is_a_carried_ping(tmp_path: Path, keyring: Keyring) -> None:
    """A client that answers stays; when it no longer does it is silent."""
    more = 'frontend_heartbeat_interval = "50ms"\nheartbeat_timeout = "1s"\n'
    with (
        ConfiguredZqd(tmp_path, keyring.settings("frontend", more=more)) as zqd,
        CurvePeer(zqd.frontend, keyring.client()) as peer,
    ):
        peer.establish()
        for _ in range(5):
            flags, ping = peer.carried()
            assert (flags, ping[:5]) == (CARRIED_COMMAND, b"\4PING")
            assert zqd.log("peer.silent") == []
            peer.send(peer.client.command(b"PONG", ping[7:]))
        wait_for(lambda: zqd.log("peer.silent"), "its silence")


def test_a_heartbeat_of_theirs_is_answered(zqd: ConfiguredZqd, keyring: Keyring) -> None:
    """With the context of the PING (RFC 37)."""
    with CurvePeer(zqd.frontend, keyring.client()) as peer:
        peer.establish()
        peer.send(peer.client.command(b"PING", b"\0\x0a" + b"context"))
        assert peer.carried() == (CARRIED_COMMAND, b"\4PONGcontext")


# What may go wrong


def test_a_request_that_is_too_large(tmp_path: Path, keyring: Keyring, connect: Connect) -> None:
    """The client is told, and goes on at its next connection; nobody else notices."""
    with ConfiguredZqd(
        tmp_path, keyring.settings(more='max_message_size = "1KiB"\nheartbeat_timeout = "3s"\n')
    ) as zqd:
        client = connect(zmq.REQ, zqd.frontend, **keyring.options())
        worker = connect(zmq.REP, zqd.backend, **keyring.options("bob"))
        for size in (5000, 15_000):
            client.send(bytes(size))
            assert client.recv() == b"ZQD-ERROR 413 larger than 1024 bytes"
            exchange(client, worker)
        assert_no_fault(zqd)


def test_a_worker_that_is_killed(zqd: ConfiguredZqd, keyring: Keyring, connect: Connect) -> None:
    """Its request goes to another."""
    busy = subprocess.Popen(
        [
            sys.executable,
            "-c",
            BUSY_WORKER,
            zqd.backend,
            str(keyring.secret_path("bob")),
            str(keyring.folder / "zqd.key"),
        ]
    )
    try:
        client = connect(zmq.REQ, zqd.frontend, **keyring.options())
        client.send(b"precious")
        zqd.wait_until("it to run", lambda queue: queue["in_flight"] == 1)
        spare = connect(zmq.REP, zqd.backend, **keyring.options("alice"))
        zqd.wait_until("another", lambda queue: queue["workers"] == 2)
    finally:
        busy.kill()
        busy.wait()
    spare.send(spare.recv())
    assert client.recv() == b"precious"
    (lost,) = zqd.log("worker.lost")
    assert (lost["key"], lost["in_flight"]) == ("bob", 1)


def test_a_stop_answers_everything(zqd: ConfiguredZqd, keyring: Keyring, connect: Connect) -> None:
    """What was read is answered before the end, which is clean."""
    clients = [connect(zmq.REQ, zqd.frontend, **keyring.options()) for _ in range(20)]
    worker = connect(zmq.REP, zqd.backend, **keyring.options("bob"))
    for number, client in enumerate(clients):
        client.send(b"%d" % number + bytes(50_000))
    zqd.wait_until("them", lambda queue: queue["received"] == 20)
    assert zqd.process is not None
    zqd.process.send_signal(signal.SIGTERM)
    wait_for(lambda: zqd.log("zqd.stopping"), "the stop")
    for _ in clients:
        worker.send(worker.recv())
    for number, client in enumerate(clients):
        assert client.recv() == b"%d" % number + bytes(50_000)
    assert zqd.process.wait(PATIENCE) == 0


def test_a_drain_answers_everything(zqd: ConfiguredZqd, keyring: Keyring, connect: Connect) -> None:
    """A queue is drained when all that it held is answered."""
    client = connect(zmq.DEALER, zqd.frontend, **keyring.options())
    worker = connect(zmq.REP, zqd.backend, **keyring.options("bob"))
    for _ in range(20):
        client.send_multipart([b"", b"body"])
    zqd.wait_until("them", lambda queue: queue["received"] == 20)
    zqd.control("drain", target="default")
    for _ in range(20):
        worker.send(worker.recv())
        assert client.recv_multipart() == [b"", b"body"]
    zqd.wait_until("the end of it", lambda queue: queue["state"] == "drained")


def test_the_next_zqd_at_the_same_place(zqd: ConfiguredZqd, keyring: Keyring, connect: Connect) -> None:
    """Peers come back to a zqd that was started again, with a new handshake."""
    text = keyring.settings()
    for endpoint in (zqd.frontend, zqd.backend):
        text = text.replace("tcp://127.0.0.1:0", endpoint, 1)
    client = connect(zmq.REQ, zqd.frontend, **keyring.options())
    worker = connect(zmq.REP, zqd.backend, **keyring.options("bob"))
    exchange(client, worker)
    assert zqd.stop() == 0
    zqd.write(text)
    zqd.start()
    both_there(zqd)
    exchange(client, worker, count=3)


def test_two_thousand_connections_one_after_another(
    zqd: ConfiguredZqd, keyring: Keyring, connect: Connect
) -> None:
    """Each makes a handshake and is served; nothing of them stays."""
    worker = connect(zmq.REP, zqd.backend, **keyring.options("bob"))
    client = connect(zmq.DEALER, **keyring.options())
    zqd.wait_until("the worker", lambda queue: queue["workers"] == 1)
    descriptors = zqd.fds()
    for number in range(2000):
        client.connect(zqd.frontend)
        client.send_multipart([b"", b"%d" % number])
        worker.send(worker.recv())
        assert client.recv_multipart() == [b"", b"%d" % number]
        client.disconnect(zqd.frontend)
    client.close()
    row = zqd.wait_until("their end", lambda queue: queue["clients"] == 0)
    assert (row["received"], row["replied"], row["refused"]) == (2000, 2000, 0)
    wait_for(lambda: zqd.fds() <= descriptors, "their descriptors")
