from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import zmq

from tests.conftest import Connect
from tests.faults.crowd import Crowd, Member
from tests.faults.raw import RawPeer
from tests.support.processes import Zqd, wait_for
from tests.zmtp.peers import pong
from zqd.config import QueueConfig
from zqd.core.settings import QueueSettings
from zqd.endpoints import bind, parse
from zqd.net.device import Device
from zqd.net.loop import Loop
from zqd.net.side import Room
from zqd.zmtp.frames import encode_message

INTERVAL, TIMEOUT = 0.3, 1.0  # seconds, of the heartbeats here
AWHILE = 15.0  # seconds: much more than those, as a busy machine may need it, and much less than TCP takes by itself
MIB = 1 << 20

# A client that asks for ever without ever reading an answer.
PUSHING_CLIENT = """
import sys, zmq
client = zmq.Context().socket(zmq.DEALER)
client.connect(sys.argv[1])
while True:
    client.send_multipart([b"", bytes(1000)])
"""

# A worker that takes a request and works on it for ever; a client that waits for ever.
BUSY_WORKER = """
import sys, time, zmq
worker = zmq.Context().socket(zmq.REP)
worker.connect(sys.argv[1])
worker.recv()
time.sleep(3600)
"""
WAITING_CLIENT = """
import sys, zmq
client = zmq.Context().socket(zmq.REQ)
client.connect(sys.argv[1])
client.send(b"unplugged")
client.recv()
"""


def settings(*pairs: str) -> list[str]:
    """The options that set these of the queue."""
    return [word for pair in pairs for word in ("--set", f"queues.default.{pair}")]


HEARTBEATS = settings(
    f"backend_heartbeat_interval={INTERVAL * 1000:.0f}ms", f"heartbeat_timeout={TIMEOUT * 1000:.0f}ms"
)


def stop(member: Member) -> float:
    """SIGSTOP a member of the crowd; when it had stopped, monotonic seconds."""
    os.kill(member.pid, signal.SIGSTOP)
    tasks = Path(f"/proc/{member.pid}/task")
    wait_for(
        lambda: {stat.read_text().rpartition(") ")[2][0] for stat in tasks.glob("*/stat")} == {"T"},
        "all of its threads to stop",
    )
    return time.monotonic()


def silence(zqd: Zqd) -> dict[str, object]:
    """Wait until zqd has found a silent peer; what it logged about it."""
    line: dict[str, object] = wait_for(lambda: zqd.log("peer.silent"), "the silence to be found", AWHILE)[0]
    return line


# Workers


def test_stopped_worker(tmp_path: Path, crowd: Crowd, connect: Connect) -> None:
    """A worker that is stopped in the middle of a request is found in about the time-out; another gets its request."""
    with Zqd(tmp_path, *HEARTBEATS) as zqd:
        stopped = crowd.worker(zqd.backend, seconds=3600.0)
        zqd.wait_until("the worker", lambda queue: queue["workers"] == 1)
        client = connect(zmq.REQ, zqd.frontend)
        client.send(b"precious")
        wait_for(lambda: zqd.queue()["in_flight"] == 1, "the request to run")
        began = stop(stopped)
        other = crowd.worker(zqd.backend)
        assert client.recv_multipart()[:2] == [b"precious", str(other.pid).encode()]
        assert TIMEOUT * 0.9 < time.monotonic() - began < AWHILE
        assert TIMEOUT <= float(str(silence(zqd)["seconds"])) < AWHILE
        queue = zqd.queue()
        assert (queue["workers"], queue["retried"], queue["replied"]) == (1, 1, 1)
        stopped.kill()


def test_stopped_idle_workers(tmp_path: Path, crowd: Crowd) -> None:
    """Stopped workers that hold nothing are found as well, and cost a client at most the time until then."""
    with Zqd(tmp_path, *HEARTBEATS, *settings("max_attempts=10")) as zqd:
        stopped = [crowd.worker(zqd.backend) for _ in range(3)]
        crowd.worker(zqd.backend)
        zqd.wait_until("the workers", lambda queue: queue["workers"] == 4)
        for worker in stopped:
            stop(worker)
        crowd.client(zqd.frontend, think=0.001)
        crowd.goes_on()
        zqd.wait_until("the stopped ones to be given up", lambda queue: queue["workers"] == 1)
        crowd.finish()
        queue = zqd.queue()
        assert queue["received"] == queue["replied"] == crowd.answered
        for worker in stopped:
            worker.kill()


def test_stopped_while_it_receives(tmp_path: Path, crowd: Crowd, connect: Connect) -> None:
    """A worker that is stopped while a large request is on its way to it, so that no PING can follow, is found too."""
    with Zqd(tmp_path, *HEARTBEATS) as zqd:
        stopped = crowd.worker(zqd.backend)
        zqd.wait_until("the worker", lambda queue: queue["workers"] == 1)
        stop(stopped)
        client = connect(zmq.REQ, zqd.frontend)
        client.send(bytes(32 * MIB))
        zqd.wait_until("the request to be sent", lambda queue: queue["in_flight"] == 1)
        other = crowd.worker(zqd.backend)
        assert client.recv_multipart()[1] == str(other.pid).encode()
        assert len(zqd.log("peer.silent")) == 1
        stopped.kill()


def test_slow_to_receive(tmp_path: Path) -> None:
    """A worker that takes a large request for longer than the time-out, but goes on taking it, is not given up."""
    size = 16 * MIB
    with Zqd(tmp_path, *HEARTBEATS) as zqd, RawPeer(zqd.backend, receive_buffer=128 << 10) as worker:
        worker.shake_hands(b"REP")
        with RawPeer(zqd.frontend) as client:
            client.shake_hands(b"REQ")
            client.send_message(b"", bytes(size))
            taken, began, end = 0, time.monotonic(), time.monotonic() + 2.5 * (TIMEOUT + INTERVAL)
            while time.monotonic() < end:
                taken += len(worker.socket.recv(1 << 14))
                time.sleep(0.01)  # slowly
            assert taken < size
            assert zqd.queue()["workers"] == 1, f"given up after {time.monotonic() - began:.1f} s"
        assert not zqd.log("peer.silent")


def test_hung_worker(tmp_path: Path, crowd: Crowd, connect: Connect) -> None:
    """Rule 11: a worker that runs too long gets nothing until its late answer has come; another answers in its place."""
    with Zqd(tmp_path, *settings("request_timeout=1s")) as zqd:
        hung = connect(zmq.REP, zqd.backend)
        client = connect(zmq.REQ, zqd.frontend)
        client.send(b"precious")
        assert hung.recv() == b"precious"
        healthy = crowd.worker(zqd.backend)
        assert client.recv_multipart()[:2] == [b"precious", str(healthy.pid).encode()]
        assert {row["state"] for row in zqd.control("workers")} == {"quarantined", "idle"}
        for number in range(10):
            client.send(b"%d" % number)
            assert client.recv_multipart()[:2] == [b"%d" % number, str(healthy.pid).encode()]
        assert zqd.queue()["late"] == 0
        hung.send(b"late")
        queue = zqd.wait_until("the late answer", lambda queue: queue["late"] == 1)
        assert (queue["idle_workers"], queue["retried"], queue["replied"]) == (2, 1, 11)
        assert len(zqd.log("worker.quarantined")) == len(zqd.log("worker.restored")) == 1
        healthy.kill()
        zqd.wait_until("the other to be gone", lambda queue: queue["workers"] == 1)
        client.send(b"again")
        assert hung.recv() == b"again"
        hung.send(b"in time")
        assert client.recv() == b"in time"


def test_all_workers_hang(tmp_path: Path, connect: Connect) -> None:
    """Rule 11: a request that no worker answers in time fails with 504 after its last attempt."""
    with Zqd(tmp_path, *settings("request_timeout=300ms", "max_attempts=2")) as zqd:
        hung = [connect(zmq.REP, zqd.backend) for _ in range(3)]
        zqd.wait_until("the workers", lambda queue: queue["workers"] == 3)
        client = connect(zmq.REQ, zqd.frontend)
        client.send(b"poison")
        assert client.recv() == b"ZQD-ERROR 504 ran too long"
        assert sum(worker.poll(0) for worker in hung) == 2
        queue = zqd.queue()
        assert (queue["retried"], queue["failed"], queue["in_flight"]) == (1, 1, 0)


# Clients


def test_client_vanishes_in_mid_message(tmp_path: Path) -> None:
    """Half of a large request takes up room only until its client is gone."""
    with Zqd(tmp_path, *settings("max_queued_bytes=1MiB")) as zqd, RawPeer(zqd.frontend) as first:
        first.shake_hands(b"DEALER")
        first.send_message(b"", b"waits")  # else the queue is empty, and admits any one message
        zqd.wait_until("it to wait", lambda queue: queue["queued"] == 1)
        with RawPeer(zqd.frontend) as victim:
            victim.shake_hands(b"DEALER")
            victim.send(encode_message([b"", bytes(MIB)])[: 900 << 10])
        zqd.wait_until("the victim to be gone", lambda queue: queue["clients"] == 1)
        first.send_message(b"", bytes(900 << 10))
        queue = zqd.wait_until("the second one to be let in", lambda queue: queue["queued"] == 2)
        assert (queue["received"], queue["dropped"], queue["malformed"]) == (2, 0, 0)


def test_killed_while_paused(tmp_path: Path) -> None:
    """Rule 18: a client that is killed while it is not read, all buffers on its way full, is found within seconds."""
    with Zqd(tmp_path, *settings("max_queued=10")) as zqd:
        with subprocess.Popen([sys.executable, "-c", PUSHING_CLIENT, zqd.frontend]) as client:
            try:
                zqd.wait_until("the queue to be full", lambda queue: queue["queued"] == 10)
                wait_until_blocked(zqd)
            finally:
                client.kill()
        queue = zqd.wait_until("its end to be seen", lambda queue: queue["clients"] == 0, AWHILE)
        assert (queue["queued"], queue["dropped"]) == (0, 10)


def wait_until_blocked(zqd: Zqd) -> None:
    """Wait until the client's kernel can send nothing more: its send queue has not changed for a while."""
    port = zqd.frontend.rpartition(":")[2]
    same, last = 0, ""

    def blocked() -> bool:
        nonlocal same, last
        lines = Path("/proc/net/tcp").read_text().splitlines()
        # Where "rem_address" is zqd's port: "tx_queue:rx_queue" (proc(5)).
        queues = [line.split()[4] for line in lines if line.split()[2].endswith(f":{int(port):04X}")]
        full = any(int(sizes.partition(":")[0], 16) for sizes in queues)
        same = same + 1 if full and last == str(queues) else 0
        last = str(queues)
        return same >= 20

    wait_for(blocked, "the buffers to be full")


# Unplugged peers


@dataclass
class Cable:
    """Two network namespaces, and a cable between them that can be cut."""

    here: str
    there: str

    ADDRESS = "198.18.0.1"  # for tests between networks (RFC 2544); nobody else sees it

    def run(self, script: str, endpoint: str) -> subprocess.Popen[bytes]:
        """Run a Python program at the other end."""
        command = ["ip", "netns", "exec", self.there, sys.executable, "-c", script, endpoint]
        return subprocess.Popen(command)

    def cut(self) -> None:
        """No packet gets through from now on, either way; nobody is told."""
        network("-n", self.there, "link", "set", "veth", "down")


def network(*words: str) -> None:
    """Change something of the network, see ip(8)."""
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture
def cable() -> Iterator[Cable]:
    """A cable of this test alone."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("UNPLUGGED PEERS ARE NOT TESTED: that takes root and ip(8), of the package iproute2")
    cable = Cable(f"zqd-{os.getpid()}-a", f"zqd-{os.getpid()}-b")
    with contextlib.ExitStack() as stack:
        try:
            for namespace in cable.here, cable.there:
                network("netns", "add", namespace)
                stack.callback(network, "netns", "del", namespace)
            network(*f"-n {cable.here} link add veth type veth peer name veth netns {cable.there}".split())
        except subprocess.CalledProcessError as error:  # in a container, or where / is no mount point
            pytest.skip(f"UNPLUGGED PEERS ARE NOT TESTED: no network namespaces here: {error.stderr}")
        for namespace, address in (cable.here, cable.ADDRESS), (cable.there, "198.18.0.2"):
            network("-n", namespace, "addr", "add", f"{address}/30", "dev", "veth")
            network("-n", namespace, "link", "set", "veth", "up")
        yield cable


@contextlib.contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Kill a process at the end."""
    try:
        yield
    finally:
        process.kill()
        process.wait()


class CabledZqd(Zqd):
    """A zqd at one end of a cable; its second endpoints are for the peers beside it."""

    def __init__(self, folder: Path, cable: Cable, options: Sequence[str]) -> None:
        super().__init__(
            folder,
            "--allow-unauthenticated",
            *options,
            frontend=(f"tcp://{cable.ADDRESS}:0", f"ipc://{folder}/front"),
            backend=(f"tcp://{cable.ADDRESS}:0", f"ipc://{folder}/back"),
            wrapper=("ip", "netns", "exec", cable.here),
        )


def test_unplugged_worker(tmp_path: Path, cable: Cable, connect: Connect) -> None:
    """A busy worker that is unplugged is found in about the time-out, and another gets its request."""
    with (
        CabledZqd(tmp_path, cable, HEARTBEATS) as zqd,
        ended(cable.run(BUSY_WORKER, zqd.backend)),
    ):
        client = connect(zmq.REQ, zqd.frontends[1])
        client.send(b"precious")
        zqd.wait_until("the request to run", lambda queue: queue["in_flight"] == 1)
        cable.cut()
        began = time.monotonic()
        worker = connect(zmq.REP, zqd.backends[1])
        worker.send(worker.recv())
        assert TIMEOUT * 0.9 < time.monotonic() - began < AWHILE
        assert client.recv() == b"precious"
        assert len(zqd.log("peer.silent")) == 1
        assert zqd.queue()["workers"] == 1


def test_unplugged_client(tmp_path: Path, cable: Cable) -> None:
    """Where clients are sent heartbeats, one that is unplugged is found in about the time-out; its request is dropped."""
    options = [*HEARTBEATS, *settings(f"frontend_heartbeat_interval={INTERVAL * 1000:.0f}ms")]
    with (
        CabledZqd(tmp_path, cable, options) as zqd,
        ended(cable.run(WAITING_CLIENT, zqd.frontend)),
    ):
        zqd.wait_until("its request to wait", lambda queue: queue["queued"] == 1)
        cable.cut()
        queue = zqd.wait_until("it to be given up", lambda queue: queue["clients"] == 0, AWHILE)
        assert (queue["queued"], queue["dropped"]) == (0, 1)
        assert len(zqd.log("peer.silent")) == 1


def test_unplugged_while_paused(tmp_path: Path, cable: Cable) -> None:
    """Rule 18: a client that is unplugged while it is not read is found in about the time-out too."""
    options = [*HEARTBEATS, *settings("max_queued=10")]
    with (
        CabledZqd(tmp_path, cable, options) as zqd,
        ended(cable.run(PUSHING_CLIENT, zqd.frontend)),
    ):
        zqd.wait_until("the queue to be full", lambda queue: queue["queued"] == 10)
        cable.cut()
        queue = zqd.wait_until("it to be given up", lambda queue: queue["clients"] == 0, AWHILE)
        assert (queue["queued"], queue["dropped"]) == (0, 10)


def test_keepalive(zqd: Zqd) -> None:
    """TCP keepalive watches over accepted connections of both sides, for peers without heartbeats."""
    if shutil.which("ss") is None:
        pytest.skip("TCP KEEPALIVE IS NOT TESTED: that takes ss(8), of the package iproute2")
    for endpoint, kind in (zqd.frontend, b"REQ"), (zqd.backend, b"REP"):
        with RawPeer(endpoint) as peer:
            peer.shake_hands(kind)
            port = endpoint.rpartition(":")[2]
            command = ["ss", "-tnoH", "state", "established", f"sport = :{port}"]
            wait_for(
                lambda: "timer:(keepalive," in subprocess.check_output(command, text=True),  # noqa: B023 - called at once
                f"the timer of the connection at {endpoint}",
            )


# In the test's own process: turns of the loop that come too late


def test_heartbeats_after_a_pause_of_zqd_itself() -> None:
    """A PONG that came while zqd itself stood still counts, even if its time is up before it has been read."""
    loop = Loop()
    told: list[str] = []
    device = Device(
        loop,
        QueueConfig(
            "default",
            ("tcp://127.0.0.1:0",),
            ("tcp://127.0.0.1:0",),
            QueueSettings(backend_heartbeat_interval=0.05, heartbeat_timeout=10.0),
        ),
        boot=bytes(8),
        room=Room(100),
        numbers=itertools.count(1),
        notify=lambda event, _: told.append(event),
        on_fault=lambda fault: told.append(str(fault)),
    )
    loop.parts.append(device)
    for side in ("frontend", "backend"):
        device.listen(side, bind(parse("tcp://127.0.0.1:0")))
    endpoint = str(device.backend.listeners[0].endpoint)
    with contextlib.closing(loop), contextlib.closing(device), RawPeer(endpoint) as peer:
        peer.send_handshake(b"REP")
        while not device.queue.workers:
            loop.turn()
        (link,) = device._links.values()
        heartbeat = link._heartbeat
        assert heartbeat is not None

        def stand_still() -> None:
            """As in a turn whose wait was over just before everything stood still for eleven seconds."""
            loop.now += 11.0
            heartbeat._beat()

        for _ in range(3):
            stand_still()  # a PING is due
            peer.send(pong())
            stand_still()
            assert told.count("peer.silent") == 0
        stand_still()
        stand_still()
        assert told.count("peer.silent") == 1
        assert not device.queue.workers
