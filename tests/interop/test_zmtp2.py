"""Peers of ZMTP 2.0 (RFC 15) that share no code with libzmq: JeroMQ 0.3.6 as Debian packages it, through a real zqd."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import zmq

from tests.conftest import Connect
from tests.interop.peers import freeze
from tests.support.processes import PATIENCE, Zqd, wait_for

JAR = Path("/usr/share/java/jeromq.jar")
SOURCE = Path(__file__).with_name("Peer.java")

SIGNATURE = bytes.fromhex("ff 00 00 00 00 00 00 00 01 7f")
SIGNATURE_AND_MAJOR = bytes.fromhex("ff 00 00 00 00 00 00 00 00 7f 03")  # zqd's
SIZES = [[0], [1], [255], [256], [1 << 16], [1 << 20], [0, 0], [3, 0, 255], [256, 0, 1 << 16, 0]]
"""Of the frames of each request."""

Java = Callable[..., "subprocess.Popen[str]"]
"""`java(what, endpoint, …)`: a process of Peer.java; its standard output is a pipe."""


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where Peer.java's classes are."""
    if not (JAR.exists() and shutil.which("java") and shutil.which("javac")):
        pytest.skip(
            "NO JAVA, OR NO JEROMQ: IT IS NOT TESTED (apt-get install libjeromq-java default-jdk-headless)"
        )
    folder = tmp_path_factory.mktemp("classes")
    subprocess.run(["javac", "-cp", JAR, "-d", folder, SOURCE], check=True, timeout=2 * PATIENCE)
    return folder


@pytest.fixture
def java(classes: Path) -> Iterator[Java]:
    """Starts Java peers; what still runs at the end is killed."""
    with ExitStack() as cleanup:

        def java(*arguments: str) -> subprocess.Popen[str]:
            command = ["java", "-XX:TieredStopAtLevel=1", "-cp", f"{JAR}:{classes}", "Peer", *arguments]
            process = cleanup.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            cleanup.callback(process.kill)
            return process

        yield java


def pattern(size: int) -> bytes:
    """A frame's content, as in Peer.java."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def text(sizes: list[int]) -> str:
    """The sizes of one request's frames, as Peer.java takes and prints them."""
    return ",".join(map(str, sizes))


def lines(process: subprocess.Popen[str]) -> list[str]:
    """What a Java peer has printed when it has ended well."""
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    return output.splitlines()


def test_jeromq_speaks_zmtp_2(java: Java) -> None:
    """The greeting of these peers, in answer to one like zqd's, is that of ZMTP 2.0: revision 1, then the type."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        java("req", f"tcp://127.0.0.1:{listener.getsockname()[1]}", "0")
        accepted, _ = listener.accept()
        with accepted, accepted.makefile("rb") as stream:
            accepted.settimeout(PATIENCE)
            accepted.sendall(SIGNATURE_AND_MAJOR)
            greeting = stream.read(12)
    assert (greeting[0], greeting[9], greeting[10], greeting[11]) == (0xFF, 0x7F, 1, 3)


def test_an_identity_may_come_later(zqd: Zqd) -> None:
    """A peer of ZMTP 2.0 is a client only when its identity, a frame of its own, has come."""
    where = urlsplit(zqd.frontend)
    with (
        socket.create_connection((where.hostname, where.port), PATIENCE) as peer,
        peer.makefile("rb") as stream,
    ):
        peer.sendall(SIGNATURE + b"\x01\x05")  # revision, DEALER
        assert stream.read(14) == SIGNATURE_AND_MAJOR + b"\x06\x00\x00"  # ROUTER, no identity
        assert zqd.queue()["clients"] == 0
        peer.sendall(b"\x00\x04late")
        zqd.wait_until("the client", lambda row: row["clients"] == 1)
        assert [row["name"] for row in zqd.control("clients")] == ["late"]


def test_a_java_req_is_served_by_a_rep(zqd: Zqd, connect: Connect, java: Java) -> None:
    """A REQ of ZMTP 2.0 and a REP of ZMTP 3.1 understand each other: every size, several frames, empty ones."""
    client = java("req", zqd.frontend, *map(text, SIZES))
    worker = connect(zmq.REP, zqd.backend)
    for sizes in SIZES:
        frames = worker.recv_multipart()
        assert frames == [pattern(size) for size in sizes]
        worker.send_multipart([b"python", *frames])
    assert lines(client) == [f"{text(sizes)} answered by python" for sizes in SIZES]


@pytest.mark.parametrize("kind", ["rep", "dealer-worker"])
def test_a_java_worker_serves_a_req(zqd: Zqd, connect: Connect, java: Java, kind: str) -> None:
    """A REQ of ZMTP 3.1 and a REP or DEALER of ZMTP 2.0 understand each other likewise."""
    java(kind, zqd.backend, "jeromq")
    client = connect(zmq.REQ, zqd.frontend)
    for sizes in SIZES:
        frames = [pattern(size) for size in sizes]
        client.send_multipart(frames)
        assert client.recv_multipart() == [b"jeromq", *frames]
    assert [row["name"] for row in zqd.control("workers")] == ["" if kind == "rep" else "jeromq"]


def test_java_serves_java(zqd: Zqd, java: Java) -> None:
    """A REQ and a REP of ZMTP 2.0 understand each other through zqd."""
    java("rep", zqd.backend, "jeromq")
    client = java("req", zqd.frontend, *map(text, SIZES))
    assert lines(client) == [f"{text(sizes)} answered by jeromq" for sizes in SIZES]
    row = zqd.queue()
    assert (row["received"], row["replied"], row["failed"]) == (len(SIZES), len(SIZES), 0)


def test_a_java_dealer_has_many_requests_in_flight(zqd: Zqd, connect: Connect, java: Java) -> None:
    """A DEALER of ZMTP 2.0 is known by its identity, and gets its replies in order under its envelope."""
    client = java("dealer", zqd.frontend, "impatient", "100")
    zqd.wait_until("all to wait", lambda row: row["queued"] == 100)
    assert [row["name"] for row in zqd.control("clients")] == ["impatient"]
    worker = connect(zmq.REP, zqd.backend)
    for number in range(100):
        assert worker.recv() == b"%d" % number
        worker.send_multipart([b"python", b"%d" % number])
    assert lines(client) == [f"hop||python|{number}" for number in range(100)]


def test_heartbeats_are_not_sent_to_java(tmp_path: Path, connect: Connect, java: Java) -> None:
    """A worker of ZMTP 2.0, which has no heartbeats, stays though it is quiet for longer than `heartbeat_timeout`."""
    options = (
        "--set",
        "queues.default.backend_heartbeat_interval=10ms",
        "--set",
        "queues.default.heartbeat_timeout=20ms",
    )
    with Zqd(tmp_path, *options) as zqd:
        java("rep", zqd.backend, "jeromq")
        wait_for(lambda: any(row["connected_s"] > 0.5 for row in zqd.control("workers")), "it to have stayed")
        client = connect(zmq.REQ, zqd.frontend)
        client.send(b"still there?")
        assert client.recv_multipart() == [b"jeromq", b"still there?"]
        assert len(zqd.log("worker.joined")) == 1


def test_what_a_lost_java_worker_held_is_not_lost(zqd: Zqd, connect: Connect, java: Java) -> None:
    """The request that a worker of ZMTP 2.0 holds when it is killed goes to the next one."""
    client = connect(zmq.REQ, zqd.frontend)
    worker = java("rep", zqd.backend, "jeromq")
    zqd.wait_until("the worker", lambda row: row["workers"] == 1)
    freeze(worker)
    client.send(b"question")
    zqd.wait_until("it to hold the request", lambda row: row["in_flight"] == 1)
    worker.kill()
    java("rep", zqd.backend, "next")
    assert client.recv_multipart() == [b"next", b"question"]
    assert zqd.queue()["retried"] == 1
