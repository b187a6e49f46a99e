"""The event stream as a real zqd sends it to real libzmq subscribers."""

from __future__ import annotations

import datetime
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.conftest import Connect
from tests.faults.crowd import Crowd
from tests.faults.raw import RawPeer
from tests.support.processes import PATIENCE, Zqd, wait_for
from zqd.events import EVENTS, message

LEVELS = {"debug", "info", "warning", "error"}


def events_of(zqd: Zqd) -> str:
    """Where the events are published."""
    return f"ipc://{zqd.control_path.with_name('events.sock')}"


def subscribed(zqd: Zqd, connect: Connect, *topics: str, kind: int = zmq.SUB) -> zmq.Socket[bytes]:
    """A subscriber of these topics, which are known to have arrived."""
    socket = connect(kind, events_of(zqd), rcvhwm=0)
    for topic in (*topics, "log.level"):
        change(socket, topic, on=True)
    # A subscription is not answered: so cause an event until one comes.
    level = "info"

    def told() -> bool:
        nonlocal level
        level = "debug" if level == "info" else "info"
        zqd.control("log-level", level=level)
        return bool(socket.poll(50))

    wait_for(told, "an event")
    zqd.control("log-level", level="error")
    while receive(socket)[1].get("new") != "error":
        pass
    change(socket, "log.level", on=False)
    return socket


def change(socket: zmq.Socket[bytes], topic: str, *, on: bool) -> None:
    """Subscribe or cancel, as this kind of socket does it."""
    if socket.type == zmq.XSUB:
        socket.send(bytes([on]) + topic.encode())
    else:
        socket.setsockopt(zmq.SUBSCRIBE if on else zmq.UNSUBSCRIBE, topic.encode())


def receive(socket: zmq.Socket[bytes]) -> tuple[str, dict[str, Any]]:
    """The next event: topic and fields."""
    topic, body = socket.recv_multipart()
    return topic.decode(), json.loads(body)


def order(zqd: Zqd, *orders: str) -> None:
    """Orders to the queue default."""
    for name in orders:
        zqd.control(name)


@pytest.mark.parametrize("kind", [zmq.SUB, zmq.XSUB])
def test_an_event_has_two_frames(zqd: Zqd, connect: Connect, kind: int) -> None:
    """The topic is its name; the JSON says what, when, how bad, the sentence for people, and its fields."""
    socket = subscribed(zqd, connect, "queue.paused", kind=kind)
    order(zqd, "pause")
    topic, event = receive(socket)
    assert topic == event["event"] == "queue.paused"
    assert list(event)[:4] == ["event", "time", "level", "message"]
    when = datetime.datetime.fromisoformat(event["time"])
    assert event["time"].endswith("Z")
    assert abs(datetime.datetime.now(datetime.UTC) - when) < datetime.timedelta(seconds=PATIENCE)
    assert event["level"] == EVENTS["queue.paused"].level
    assert event["queue"] == "default"
    assert event["message"] == message("queue.paused", {"queue": "default"})


@pytest.mark.parametrize("kind", [zmq.SUB, zmq.XSUB])
def test_topics_are_prefixes(zqd: Zqd, connect: Connect, kind: int) -> None:
    """Each event once, however many topics it has; what nobody asked for does not come."""
    socket = subscribed(zqd, connect, "queue.", "queue.p", "worker", kind=kind)
    connect(zmq.REQ, zqd.frontend)
    zqd.wait_until("the client", lambda queue: queue["clients"] == 1)
    connect(zmq.REP, zqd.backend)
    assert receive(socket)[0] == "worker.joined"
    order(zqd, "pause", "resume")
    assert [receive(socket)[0] for _ in range(2)] == ["queue.paused", "queue.running"]
    assert not socket.poll(0)


def test_everything(zqd: Zqd, connect: Connect) -> None:
    """The empty topic: also events of debug, whatever the log's level is."""
    socket = subscribed(zqd, connect, "")
    assert zqd.status()["log_level"] == "error"
    connect(zmq.REQ, zqd.frontend)
    topic, event = receive(socket)
    assert (topic, event["level"]) == ("client.joined", "debug")


@pytest.mark.parametrize("kind", [zmq.SUB, zmq.XSUB])
def test_a_subscription_can_be_cancelled(zqd: Zqd, connect: Connect, kind: int) -> None:
    """Then its events do not come any more; others do."""
    socket = subscribed(zqd, connect, "queue.", "worker.", kind=kind)
    change(socket, "queue.", on=False)
    order(zqd, "pause", "resume")

    def ended() -> bool:
        order(zqd, "pause", "resume")
        ended = not socket.poll(50)
        while socket.poll(0):
            receive(socket)
        return ended

    wait_for(ended, "the cancellation to arrive")
    connect(zmq.REP, zqd.backend)
    assert receive(socket)[0] == "worker.joined"


def test_two_subscriptions_are_cancelled_twice(zqd: Zqd) -> None:
    """A topic that was subscribed to twice goes on after one cancellation (RFC 29)."""
    with RawPeer(events_of(zqd)) as peer:
        peer.shake_hands(b"SUB")
        for message_ in (b"\1queue.", b"\1queue.", b"\1worker.", b"\0queue.", b"\0none", b"\2odd", b""):
            peer.send_message(message_)

        def told() -> bool:
            order(zqd, "pause", "resume")
            peer.socket.settimeout(0.2)
            try:
                return bool(peer.receive_message())
            except TimeoutError:
                return False

        wait_for(told, "an event")


def test_many_and_long_subscriptions_cost_little(zqd: Zqd, connect: Connect) -> None:
    """What is beyond the bounds is passed over; the connection stays, and so does zqd."""
    with RawPeer(events_of(zqd)) as peer:
        peer.shake_hands(b"SUB")
        before = zqd.resident()
        for number in range(20_000):
            peer.send_message(b"\1" + b"%d" % number * 40)
        peer.send_message(b"\1" + bytes(1 << 20))
        socket = subscribed(zqd, connect, "queue.")
        order(zqd, "pause")
        assert receive(socket)[0] == "queue.paused"
        assert zqd.resident() - before < 16 << 20
        assert not zqd.log("zqd.fault")


@pytest.mark.parametrize("kind", [zmq.REQ, zmq.DEALER, zmq.PUSH, zmq.PUB])
def test_other_sockets_are_refused(zqd: Zqd, connect: Connect, kind: int) -> None:
    """By the handshake, with a line in the log that says what is expected; subscribers go on."""
    connect(kind, events_of(zqd))
    (refused,) = wait_for(lambda: zqd.log("peer.refused")[:1], "the refusal")
    assert refused["side"] == "events"
    socket = subscribed(zqd, connect, "queue.")
    order(zqd, "pause")
    assert receive(socket)[0] == "queue.paused"


def test_events_are_complete_and_in_order(zqd: Zqd, connect: Connect) -> None:
    """Who reads gets each, as it happened."""
    socket = subscribed(zqd, connect, "queue.")
    for _ in range(200):
        order(zqd, "pause", "resume")
    assert [receive(socket)[0] for _ in range(400)] == ["queue.paused", "queue.running"] * 200
    assert not socket.poll(0)


def test_what_is_logged_is_published(zqd: Zqd, connect: Connect) -> None:
    """A request that failed, with its fields; and the last words of a stop."""
    socket = subscribed(zqd, connect, "request.failed", "zqd.")
    client = connect(zmq.REQ, zqd.frontend)
    client.send(b"body")
    zqd.wait_until("it", lambda queue: queue["queued"] == 1)
    (row,) = zqd.control("requests")
    zqd.control("cancel", request=row["id"])
    topic, event = receive(socket)
    assert (topic, event["request"], event["code"]) == ("request.failed", row["id"], 499)
    assert zqd.stop() == 0
    assert [receive(socket)[0] for _ in range(2)] == ["zqd.stopping", "zqd.stopped"]


SLOW = """
import sys, zmq
socket = zmq.Context().socket(zmq.SUB)
socket.rcvhwm = 10
socket.rcvbuf = 4096
socket.subscribe(b"")
socket.connect(sys.argv[1])
socket.recv_multipart()
sys.stdout.write("ready\\n")
sys.stdout.flush()
for line in sys.stdin:
    while True:
        topic, body = socket.recv_multipart()
        if topic == b"events.missed":
            sys.stdout.write(body.decode() + "\\n")
            sys.stdout.flush()
            break
"""


def test_a_subscriber_that_is_stopped(zqd: Zqd, crowd: Crowd) -> None:
    """SIGSTOP: the load goes on, zqd's memory stays bounded; when it reads again it is told how many it has missed."""
    crowd.worker(zqd.backend)
    crowd.client(zqd.frontend)
    command = [sys.executable, "-c", SLOW, events_of(zqd)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert next_line(zqd, process) == "ready\n"
            os.kill(process.pid, signal.SIGSTOP)
            before = zqd.resident()
            flood(zqd, 12_000)
            crowd.goes_on()
            assert zqd.resident() - before < 32 << 20
            os.kill(process.pid, signal.SIGCONT)
            process.stdin.write("\n")
            process.stdin.flush()
            event = json.loads(next_line(zqd, process))
            assert event["event"] == "events.missed"
            assert event["count"] > 0
            assert event["level"] in LEVELS
        finally:
            process.kill()
    crowd.goes_on()
    assert not zqd.log("zqd.fault")


def flood(zqd: Zqd, count: int) -> None:
    """So many connections that break the protocol: two events or more each."""
    for _ in range(count):
        with RawPeer(zqd.frontend) as peer:
            peer.send_handshake(b"REQ")


def next_line(zqd: Zqd, process: subprocess.Popen[str]) -> str:
    """What it says, as soon as anything happens."""
    output = process.stdout
    assert output is not None

    def line() -> str:
        order(zqd, "pause", "resume")
        readable, _, _ = select.select([output], [], [], 0.05)
        return output.readline() if readable else ""

    return wait_for(line, "the subscriber to say something")


def test_nobody_listens(zqd: Zqd, connect: Connect, tmp_path: Path) -> None:
    """A subscriber without a subscription gets nothing, and one that leaves is forgotten."""
    socket = connect(zmq.SUB, events_of(zqd))
    order(zqd, "pause", "resume")
    assert not socket.poll(100)
    fds = zqd.fds()
    socket.close()
    wait_for(lambda: zqd.fds() < fds, "it to be forgotten")
    order(zqd, "pause", "resume")
    assert not zqd.log("zqd.fault")
