from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import zmq

from tests.conftest import Connect
from tests.faults.crowd import Crowd
from tests.faults.raw import RawPeer
from tests.support.processes import Zqd, wait_for
from zqd.zmtp.frames import encode_message

BOTH = (signal.SIGTERM, signal.SIGINT)
SOON = 10.0  # seconds, on a loaded machine, for what takes milliseconds on an idle one


def assert_clean(zqd: Zqd, folder: Path) -> None:
    """Nothing is left of it but its log, and that tells of no fault."""
    left = {path.name for path in folder.iterdir()}
    assert left <= {"zqd.log", "board"}
    assert "Traceback" not in zqd.log_path.read_text()
    assert not zqd.log("zqd.fault")
    assert zqd.log()[-1]["event"] == "zqd.stopped"


@pytest.mark.parametrize("number", BOTH)
def test_idle(tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM and SIGINT end an idle zqd at once, with status 0 and nothing left behind."""
    endpoints = {"frontend": [f"ipc://{tmp_path}/f", "tcp://127.0.0.1:0"], "backend": [f"ipc://{tmp_path}/b"]}
    with Zqd(tmp_path, **endpoints) as zqd:
        assert zqd.stop(number, patience=SOON) == 0
        assert_clean(zqd, tmp_path)
        assert [line["event"] for line in zqd.log() if line["level"] == "info"] == [
            *["queue.listening"] * 3,
            "zqd.started",
            "zqd.stopping",
            "queue.stopping",
            "zqd.stopped",
        ]


@pytest.mark.parametrize("number", BOTH)
def test_with_idle_peers(tmp_path: Path, connect: Connect, number: signal.Signals) -> None:
    """Peers that want nothing hold up nobody, whether they have shaken hands or not."""
    with (
        Zqd(tmp_path) as zqd,
        RawPeer(zqd.frontend),
        RawPeer(zqd.backend),
        RawPeer(f"ipc://{zqd.control_path}"),
    ):
        connect(zmq.REQ, zqd.frontend)
        connect(zmq.REP, zqd.backend)
        connect(zmq.REQ, f"ipc://{zqd.control_path}")
        zqd.wait_until("both", lambda queue: queue["clients"] == queue["workers"] == 1)
        assert zqd.stop(number, patience=SOON) == 0
        assert_clean(zqd, tmp_path)


@pytest.mark.parametrize("number", BOTH)
def test_under_load(tmp_path: Path, crowd: Crowd, number: signal.Signals) -> None:
    """In the middle of traffic the stop is as clean, and takes no longer than what runs."""
    with Zqd(tmp_path) as zqd:
        for _ in range(4):
            crowd.worker(zqd.backend, seconds=0.01)
        for _ in range(20):
            crowd.client(zqd.frontend)
        crowd.goes_on()
        assert zqd.stop(number, patience=SOON) == 0
        assert_clean(zqd, tmp_path)
        assert not zqd.log("request.failed")
    assert sum(worker.done for worker in crowd.workers) == crowd.answered


def test_a_request_that_never_ends(tmp_path: Path, crowd: Crowd, connect: Connect) -> None:
    """At `drain_timeout` what runs and what waits fails with 503, and zqd ends with status 0."""
    with Zqd(tmp_path, "--set", "queues.default.drain_timeout=500ms") as zqd:
        crowd.worker(zqd.backend, seconds=3600.0)
        clients = [connect(zmq.REQ, zqd.frontend) for _ in range(3)]
        for client in clients:
            client.send(b"body")
        zqd.wait_until("them", lambda queue: (queue["in_flight"], queue["queued"]) == (1, 2))
        begun = time.monotonic()
        assert zqd.stop(patience=SOON) == 0
        assert time.monotonic() - begun >= 0.5
        assert [client.recv() for client in clients] == [b"ZQD-ERROR 503 stopping"] * 3
        assert_clean(zqd, tmp_path)


def test_a_request_that_ends_in_time(tmp_path: Path, crowd: Crowd, connect: Connect) -> None:
    """What waits and what runs at the stop is answered, and zqd waits no longer than for that."""
    with Zqd(tmp_path, "--set", "queues.default.drain_timeout=1h") as zqd:
        crowd.worker(zqd.backend, seconds=0.1)
        clients = [connect(zmq.REQ, zqd.frontend) for _ in range(5)]
        for client in clients:
            client.send(b"body")
        zqd.wait_until("them", lambda queue: (queue["in_flight"], queue["queued"]) == (1, 4))
        assert zqd.stop(patience=SOON) == 0
        assert [client.recv_multipart()[0] for client in clients] == [b"body"] * 5
        assert_clean(zqd, tmp_path)


@pytest.mark.parametrize(("first", "second"), [BOTH, BOTH[::-1], BOTH[:1] * 2, BOTH[1:] * 2])
def test_second_signal(
    tmp_path: Path, crowd: Crowd, connect: Connect, first: signal.Signals, second: signal.Signals
) -> None:
    """A second signal, of either kind, means now: status 0, and nothing left behind."""
    with Zqd(tmp_path, "--set", "queues.default.drain_timeout=1h") as zqd:
        crowd.worker(zqd.backend, seconds=3600.0)
        connect(zmq.REQ, zqd.frontend).send(b"body")
        zqd.wait_until("it", lambda queue: queue["in_flight"] == 1)
        assert zqd.process is not None
        zqd.process.send_signal(first)
        wait_for(lambda: zqd.log("zqd.stopping"), "the stop")
        assert zqd.status()["state"] == "stopping"
        assert zqd.stop(second, patience=SOON) == 0
        assert [line["now"] for line in zqd.log("zqd.stopping")] == [False, True]
        assert_clean(zqd, tmp_path)


def test_many_signals(tmp_path: Path) -> None:
    """However many signals come, and when, the status is 0 and there is no traceback, even in the process's own end."""
    for _ in range(5):
        with Zqd(tmp_path) as zqd:
            assert zqd.process is not None
            sent = 0
            while zqd.process.poll() is None:
                zqd.process.send_signal(BOTH[sent % 2])
                sent += 1
            assert zqd.process.returncode == 0
            assert_clean(zqd, tmp_path)


@pytest.mark.parametrize("number", BOTH)
@pytest.mark.parametrize("name", ["f", "b", "control.sock"])
def test_during_the_start(tmp_path: Path, name: str, number: signal.Signals) -> None:
    """A signal in the middle of the start ends zqd with status 0 as soon as it has started, and nothing is left."""
    endpoints = ["--frontend", f"ipc://{tmp_path}/f", "--backend", f"ipc://{tmp_path}/b"]
    command = [sys.executable, "-m", "zqd.daemon", *endpoints, "--control", f"ipc://{tmp_path}/control.sock"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_for((tmp_path / name).exists, f"{name}")
        process.send_signal(number)
        _, errors = process.communicate(timeout=SOON)
    assert process.returncode == 0
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_slow_reader_at_the_stop(tmp_path: Path, crowd: Crowd) -> None:
    """A client that reads its replies ever so slowly does not keep zqd from ending soon after `drain_timeout`."""
    with (
        Zqd(tmp_path, "--set", "queues.default.drain_timeout=500ms") as zqd,
        RawPeer(zqd.frontend, receive_buffer=64 << 10) as client,
    ):
        crowd.worker(zqd.backend, padding=1 << 20)
        client.shake_hands(b"DEALER")
        client.send(encode_message([b"", b"body"]) * 30)
        zqd.wait_until("the replies", lambda queue: queue["replied"] == 30)
        assert zqd.process is not None
        zqd.process.send_signal(signal.SIGTERM)
        end = time.monotonic() + SOON
        while zqd.process.poll() is None:
            assert time.monotonic() < end, "zqd does not end"
            client.socket.recv(4096)
            time.sleep(0.01)  # slowly
        assert zqd.process.returncode == 0
        assert_clean(zqd, tmp_path)


def test_reader_with_patience_at_the_stop(tmp_path: Path, crowd: Crowd) -> None:
    """A client that reads late, but within `drain_timeout`, still gets all that it was answered before the stop."""
    with Zqd(tmp_path) as zqd, RawPeer(zqd.frontend, receive_buffer=64 << 10) as client:
        crowd.worker(zqd.backend, padding=1 << 20)
        client.shake_hands(b"DEALER")
        client.send(encode_message([b"", b"body"]) * 12)
        zqd.wait_until("the replies", lambda queue: queue["replied"] == 12)
        assert zqd.process is not None
        zqd.process.send_signal(signal.SIGTERM)
        wait_for(lambda: zqd.log("queue.stopping"), "the stop")
        for _ in range(12):
            assert len(client.receive_message()[3]) == 1 << 20
        assert client.read_to_end() == b""
        assert zqd.process.wait(SOON) == 0


def test_peer_that_does_not_close(tmp_path: Path, connect: Connect) -> None:
    """A client that never closes its side after its last reply is waited for a second, no more."""
    with Zqd(tmp_path) as zqd, RawPeer(zqd.frontend) as client:
        worker = connect(zmq.REP, zqd.backend)
        client.shake_hands(b"REQ")
        client.send_message(b"", b"body")
        worker.send(worker.recv())
        assert client.receive_message() == [b"", b"body"]
        begun = time.monotonic()
        assert zqd.stop(patience=SOON) == 0
        assert time.monotonic() - begun > 0.9
        assert client.read_to_end() == b""


@pytest.mark.parametrize("name", ["f", "b", "control.sock"])
def test_replaced_file(tmp_path: Path, name: str) -> None:
    """Rule 28: at the end only the own file is removed, not one that another process has put into its place."""
    path = tmp_path / name
    with Zqd(tmp_path, frontend=[f"ipc://{tmp_path}/f"], backend=[f"ipc://{tmp_path}/b"]) as zqd:
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            inode = path.stat().st_ino
            assert zqd.stop(patience=SOON) == 0
            assert path.stat().st_ino == inode
            assert {left.name for left in tmp_path.iterdir()} == {"zqd.log", name}


def test_removed_file(tmp_path: Path) -> None:
    """Files that somebody has removed already are no trouble at the end."""
    with Zqd(tmp_path, frontend=[f"ipc://{tmp_path}/f"], backend=[f"ipc://{tmp_path}/b"]) as zqd:
        for name in ("f", "b", "control.sock"):
            (tmp_path / name).unlink()
        assert zqd.stop(patience=SOON) == 0
        assert_clean(zqd, tmp_path)


def test_log_that_nobody_reads(tmp_path: Path, crowd: Crowd) -> None:
    """A log reader that has stopped reading stops nobody else: traffic goes on, and so does the stop."""
    command = [
        sys.executable,
        "-m",
        "zqd.daemon",
        "--log-level",
        "debug",
        "--control",
        f"ipc://{tmp_path}/control.sock",
    ]
    endpoints = {side: f"ipc://{tmp_path}/{side}" for side in ("frontend", "backend")}
    for side, endpoint in endpoints.items():
        command += [f"--{side}", endpoint]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        wait_for((tmp_path / "control.sock").exists, "the start")
        crowd.worker(endpoints["backend"])
        crowd.client(endpoints["frontend"], think=0.001)
        for _ in range(1000):  # a hundred bytes of log each, and more
            with RawPeer(endpoints["frontend"]) as peer:
                peer.send_handshake(b"REQ")
        crowd.goes_on()
        process.terminate()
        assert process.wait(SOON) == 0


def test_stopped_and_continued(tmp_path: Path, connect: Connect) -> None:
    """SIGSTOP and SIGCONT, as a job control or a debugger sends them, are survived."""
    with Zqd(tmp_path) as zqd:
        client, worker = connect(zmq.REQ, zqd.frontend), connect(zmq.REP, zqd.backend)
        zqd.wait_until("both", lambda queue: queue["clients"] == queue["workers"] == 1)
        os.kill(zqd.pid, signal.SIGSTOP)
        client.send(b"body")
        os.kill(zqd.pid, signal.SIGCONT)
        worker.send(worker.recv())
        assert client.recv() == b"body"
