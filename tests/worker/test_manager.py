"""What zqd-worker tells systemd: a fake NOTIFY_SOCKET (sd_notify(3))."""

from __future__ import annotations

from pathlib import Path

import zmq

from tests.conftest import Connect
from tests.support.processes import Zqd, steady_endpoint, wait_for
from tests.worker.conftest import StartWorker
from tests.worker.workers import SAMPLES, ServiceManager, WorkerProcess

WAIT = ("--handler", f"{SAMPLES}:wait_for_file")


def test_life(zqd: Zqd, worker: StartWorker, manager: ServiceManager, connect: Connect) -> None:
    """Ready once connected, then counts, then stopping."""
    process = worker("1", env=manager.env)
    assert manager.wait_for("READY=1")
    client = connect(zmq.REQ, zqd.frontend)
    client.send(b"x")
    client.recv()
    manager.wait_for("STATUS=working: 1 of 1 brokers connected, 0 running, 1 answered, 0 failed")
    assert process.stop() == 0
    heard = manager.listen()
    assert heard.index("READY=1") < heard.index("STOPPING=1")
    assert not any(line.startswith("WATCHDOG") for line in heard)  # which nobody has asked for


def test_not_ready_without_a_broker(tmp_path: Path, manager: ServiceManager) -> None:
    """Until it is connected it says only that."""
    backend = steady_endpoint()
    with WorkerProcess(tmp_path, "1", "--backend", backend, env=manager.env) as process:
        manager.wait_for("STATUS=working: 0 of 1 brokers connected")
        process.wait_for("worker.waiting")
        assert "READY=1" not in manager.listen()
        with Zqd(tmp_path, backend=[backend]):
            manager.wait_for("READY=1")


def test_watchdog(
    zqd: Zqd, worker: StartWorker, manager: ServiceManager, connect: Connect, tmp_path: Path
) -> None:
    """Its pings stop while a handler hangs, so that this instance is started anew, and the others of it go on meanwhile."""
    watchdog = {"WATCHDOG_USEC": "300000"}
    options = (*WAIT, "--concurrency", "2", "--set", "handler_timeout=500ms")
    process = worker("1", *options, env=manager.env | watchdog)
    manager.wait_for("WATCHDOG=1")
    release, there = tmp_path / "release", tmp_path / "there"
    there.touch()
    hanging = connect(zmq.REQ, zqd.frontend)
    hanging.send(str(release).encode())
    process.wait_for("handler.timeout")
    manager.wait_for("STATUS=working: 1 of 1 brokers connected, 0 running, 1 hung")
    manager.forget()
    other = connect(zmq.REQ, zqd.frontend)
    for answered in (1, 2, 3):  # a status a second, several of the watchdog's intervals
        other.send(str(there).encode())
        assert other.recv() == b"released"
        manager.wait_for(f"STATUS=working: 1 of 1 brokers connected, 0 running, 1 hung, {answered} answered")
    assert "WATCHDOG=1" not in manager.heard
    release.touch()
    assert hanging.recv() == b"released"  # better late than never
    manager.wait_for("WATCHDOG=1")
    assert process.wait_for("handler.returned")["request"]
    assert process.stop() == 0


def test_slow_stop(
    zqd: Zqd, worker: StartWorker, manager: ServiceManager, connect: Connect, tmp_path: Path
) -> None:
    """While it finishes what it holds it asks for more time: `drain_timeout` is the limit, not systemd's."""
    process = worker("1", *WAIT, "--set", "drain_timeout=0", env=manager.env)
    release = tmp_path / "release"
    client = connect(zmq.REQ, zqd.frontend)
    client.send(str(release).encode())
    wait_for(release.with_suffix(".begun").exists, "it to run")
    process.process.terminate()
    manager.wait_for("STOPPING=1")
    manager.wait_for("EXTEND_TIMEOUT_USEC=")
    release.touch()
    assert process.end() == 0


def test_commands_are_not_the_service(
    zqd: Zqd, worker: StartWorker, manager: ServiceManager, connect: Connect
) -> None:
    """Nothing of it is in the environment of a command."""
    worker("1", "--command", "env", env=manager.env | {"WATCHDOG_USEC": "10000000"})
    client = connect(zmq.REQ, zqd.frontend)
    client.send(b"")
    environment = client.recv().decode()
    assert "ZQD_INSTANCE=1\n" in environment
    assert "NOTIFY_SOCKET" not in environment
    assert "WATCHDOG" not in environment
