from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest
import zmq

from tests.conftest import Connect
from tests.support.processes import PATIENCE, Zqd, steady_endpoint, wait_for
from tests.worker import samples
from tests.worker.workers import SAMPLES, WorkerProcess
from zqd.worker import Worker, broker

ECHO = ("--handler", f"{SAMPLES}:echo")
QUICK_HEARTBEATS = ("--set", "heartbeat_interval=200ms", "--set", "heartbeat_timeout=300ms")


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """A folder for each of two brokers."""
    made = [tmp_path / name for name in "ab"]
    for folder in made:
        folder.mkdir()
    return made


def ask(connect: Connect, zqd: Zqd, body: bytes) -> bytes:
    """The reply to one request."""
    client = connect(zmq.REQ, zqd.frontend)
    client.send(body)
    return client.recv()


def known(zqd: Zqd) -> bool:
    """The broker has a worker whose hello has come."""
    return any(row["handler"] for row in zqd.control("workers"))


def test_broker_that_comes_late_and_comes_back(tmp_path: Path, connect: Connect) -> None:
    """It is found whenever it comes, and gets a hello each time, as the first thing that it hears."""
    backend = steady_endpoint()
    with WorkerProcess(tmp_path, "1", "--backend", backend, *ECHO) as worker:
        worker.wait_for("worker.waiting")
        for count in (1, 2):
            with Zqd(tmp_path, backend=[backend]) as zqd:
                worker.wait_for("worker.connected", count)
                wait_for(lambda: known(zqd), "the hello")
                assert ask(connect, zqd, b"x") == b"x"
            worker.wait_for("worker.disconnected", count)
        assert worker.stop() == 0


def test_request_of_a_broker_that_died(tmp_path: Path, connect: Connect) -> None:
    """The answer is for nobody: the next broker gets no reply that it has not asked for, but learns what is still held."""
    backend = steady_endpoint()
    release = tmp_path / "release"
    options = ("--backend", backend, "--handler", f"{SAMPLES}:wait_for_file", "--concurrency", "2")
    with WorkerProcess(tmp_path, "1", *options) as worker:
        with Zqd(tmp_path, backend=[backend]) as zqd:
            client = connect(zmq.REQ, zqd.frontend)
            client.send(str(release).encode())
            wait_for(release.with_suffix(".begun").exists, "it to run")
            zqd.kill()
        worker.wait_for("worker.disconnected")
        zqd.log_path.unlink()
        with Zqd(tmp_path, backend=[backend]) as zqd:
            hello = wait_for(lambda: zqd.log("worker.hello"), "the hello")[0]
            release.touch()
            undelivered = worker.wait_for("reply.undelivered")
            assert hello["held"] == undelivered["request"]
            assert ask(connect, zqd, str(release).encode()) == b"released"
            queue = zqd.queue()
            assert (queue["received"], queue["orphaned"], queue["malformed"]) == (1, 0, 0)


def test_two_brokers(tmp_path: Path, folders: list[Path], connect: Connect) -> None:
    """Each is served by a connection of its own, and goes on without the other."""
    with Zqd(folders[0]) as first, Zqd(folders[1]) as second:
        backends = ("--backend", first.backend, "--backend", second.backend)
        with WorkerProcess(tmp_path, "1", *backends, *ECHO) as worker:
            worker.wait_for("worker.connected", 2)
            assert ask(connect, first, b"1") == b"1"
            assert ask(connect, second, b"2") == b"2"
            assert first.stop() == 0
            worker.wait_for("worker.disconnected")
            assert ask(connect, second, b"3") == b"3"
            assert worker.stop() == 0
        assert second.queue()["replied"] == 2


def test_broker_that_hangs(tmp_path: Path, connect: Connect) -> None:
    """Heartbeats find one that says nothing any more, and it is served again when it does."""
    with (
        Zqd(tmp_path) as zqd,
        WorkerProcess(tmp_path, "1", "--backend", zqd.backend, *ECHO, *QUICK_HEARTBEATS) as worker,
    ):
        worker.wait_for("worker.connected")
        os.kill(zqd.pid, signal.SIGSTOP)
        try:
            worker.wait_for("worker.disconnected")
        finally:
            os.kill(zqd.pid, signal.SIGCONT)
        worker.wait_for("worker.connected", 2)
        assert ask(connect, zqd, b"x") == b"x"
        assert worker.stop() == 0


def test_heartbeats_of_a_healthy_broker(tmp_path: Path) -> None:
    """A broker that answers them keeps its connection."""
    with (
        Zqd(tmp_path) as zqd,
        WorkerProcess(tmp_path, "1", "--backend", zqd.backend, *ECHO, *QUICK_HEARTBEATS) as worker,
    ):
        worker.wait_for("worker.connected")
        wait_for(lambda: zqd.control("workers")[0]["connected_s"] > 1.5, "some heartbeats")
        assert not worker.log("worker.disconnected")


def test_no_broker_at_all(tmp_path: Path, connect: Connect) -> None:
    """A socket that wants no worker is said so once, and tried again until a broker is there."""
    backend = steady_endpoint()
    with WorkerProcess(tmp_path, "1", "--backend", backend, *ECHO) as worker:
        stranger = connect(zmq.PUB)
        stranger.bind(backend)
        refused = worker.wait_for("worker.refused")
        assert refused["endpoint"] == backend
        stranger.close()
        with Zqd(tmp_path, backend=[backend]) as zqd:
            worker.wait_for("worker.connected")
            assert ask(connect, zqd, b"x") == b"x"
        assert len(worker.log("worker.refused")) == 1


def test_strange_messages(tmp_path: Path, connect: Connect) -> None:
    """What is no dispatch is logged and dropped, and the next one is served."""
    broker = connect(zmq.ROUTER)
    port = broker.bind_to_random_port("tcp://127.0.0.1")
    with WorkerProcess(tmp_path, "1", "--backend", f"tcp://127.0.0.1:{port}", *ECHO) as worker:
        name, protocol, verb, _ = broker.recv_multipart()
        assert (name, protocol, verb) == (b"zqd-worker@1", b"zqd/1", b"hello")
        for strange in ([b"x"], [b""], [bytes(16)], [bytes(16), b"no empty frame"], [b"zqd/1", b"what"]):
            broker.send_multipart([name, *strange])
        broker.send_multipart([name, bytes(16), b"client", b"", b"body"])
        assert broker.recv_multipart() == [name, bytes(16), b"client", b"", b"body"]
        worker.wait_for("message.malformed", 5)
        assert "Traceback" not in worker.log_path.read_text()


def test_dispatch_without_a_body(tmp_path: Path, connect: Connect) -> None:
    """Fails like any that the handler does not take."""
    broker = connect(zmq.ROUTER)
    port = broker.bind_to_random_port("tcp://127.0.0.1")
    with WorkerProcess(tmp_path, "1", "--backend", f"tcp://127.0.0.1:{port}", *ECHO):
        name = broker.recv_multipart()[0]
        broker.send_multipart([name, bytes(16), b""])
        _, *notice = broker.recv_multipart()
        assert notice[:4] == [b"zqd/1", b"fail", bytes(16), b"500"]


def handshake(connection: socket.socket) -> None:
    """What a broker without CURVE says until there is a connection (RFC 23), and the hello of the worker."""
    connection.sendall(b"\xff" + bytes(8) + b"\x7f\3\0NULL" + bytes(48))
    ready = b"\5READY\x0bSocket-Type\0\0\0\6DEALER"
    connection.sendall(bytes((4, len(ready))) + ready)
    heard = b""
    while b"hello" not in heard:
        heard += connection.recv(65536)


def test_broker_that_breaks_the_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of a connection: libzmq gives it up for good then, and the worker does not."""
    monkeypatch.setattr(broker, "LOST_PAUSE", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        with Worker(f"tcp://127.0.0.1:{listener.getsockname()[1]}", samples.echo):
            for _ in range(3):
                connection, _ = listener.accept()
                with connection:
                    handshake(connection)
                    connection.sendall(b"\xff" * 100)
                    while connection.recv(65536):
                        pass


def test_broker_that_closes_a_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again by libzmq; the connection that comes of it is left alone."""
    monkeypatch.setattr(broker, "REFUSED_PAUSE", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        with Worker(f"tcp://127.0.0.1:{listener.getsockname()[1]}", samples.echo):
            listener.accept()[0].close()
            connection, _ = listener.accept()
            with connection:
                handshake(connection)
                connection.settimeout(1)
                with pytest.raises(TimeoutError):
                    connection.recv(1)


def test_broker_that_says_nothing(tmp_path: Path) -> None:
    """A listener that is no ZeroMQ at all neither ends the worker nor keeps it from stopping."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        backend = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        with WorkerProcess(tmp_path, "1", "--backend", backend, *ECHO) as worker:
            connection, _ = listener.accept()
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            worker.wait_for("worker.waiting")
            assert worker.stop() == 0
            connection.close()


def test_a_request_that_comes_together_with_its_connection() -> None:
    """It is taken, though the news of the connection have not been looked at yet when it is there."""
    context = zmq.Context[zmq.Socket[bytes]]()
    with context.socket(zmq.ROUTER) as router:
        router.router_mandatory = True
        endpoint = f"tcp://127.0.0.1:{router.bind_to_random_port('tcp://127.0.0.1')}"
        beats = broker.Heartbeats(0.0, 0.0, 0.0)
        ours = broker.Broker(context, endpoint, None, "w", beats, lambda *_: None)

        def sent() -> bool:
            try:
                router.send_multipart([b"w", bytes(16), b"", b"body"])
            except zmq.ZMQError:  # it is not connected yet
                return False
            return True

        wait_for(sent, "the connection")
        assert ours.socket.poll(int(PATIENCE * 1000))
        (job,) = ours.jobs(0.0)
        assert job.wanted
        ours.close(0)
    context.term()


def test_frontend_instead_of_a_backend(tmp_path: Path, connect: Connect) -> None:
    """The worker is told, and says so; a request whose body looks like that answer is a request."""
    with Zqd(tmp_path) as zqd:
        with WorkerProcess(tmp_path, "1", "--backend", zqd.frontend, *ECHO) as worker:
            assert worker.wait_for("worker.refused")["reason"].endswith("workers connect to the backend")
            assert worker.stop() == 0
        with WorkerProcess(tmp_path, "2", "--backend", zqd.backend, *ECHO):
            assert ask(connect, zqd, b"ZQD-ERROR 400 no") == b"ZQD-ERROR 400 no"
