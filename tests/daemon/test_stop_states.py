"""SIGTERM and SIGINT in every state of zqd: status 0 in time, and no file left behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq

from tests.conftest import Connect
from tests.daemon.configured import DEFAULT, ConfiguredZqd
from tests.faults.crowd import Crowd
from tests.support.processes import PATIENCE, Zqd, wait_for
from zqd.net.loop import Loop

STARTS = 12
SOON = 10.0  # seconds, on a loaded machine, for what takes milliseconds on an idle one
BOTH = (signal.SIGTERM, signal.SIGINT)


def check_ended(zqd: Zqd, folder: Path, number: signal.Signals = signal.SIGTERM) -> None:
    """The end comes soon, with status 0, without a fault, and with nothing left but what the test has made."""
    assert zqd.stop(number, patience=SOON) == 0
    assert not zqd.log("zqd.fault")
    assert "Traceback" not in zqd.log_path.read_text()
    assert {path.name for path in folder.iterdir()} <= {"zqd.log", "zqd.toml", "board"}


def endpoints(folder: Path) -> dict[str, list[str]]:
    """Both sides as files, which would be left behind."""
    return {side: [f"ipc://{folder}/{side}"] for side in ("frontend", "backend")}


@pytest.mark.parametrize("number", [*BOTH, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_as_soon_as_it_lives(tmp_path: Path, number: signal.Signals) -> None:
    """At any moment of the start, the first of the interpreter's own included, in which nobody can answer for status 0.

    What dies of the signal has not begun: the kernel's or the interpreter's answer is that signal's. From zqd's first line
    on it is an order, obeyed when the loop is there.
    """
    command = [sys.executable, "-m", "zqd.daemon", "--control", f"ipc://{tmp_path}/control.sock"]
    for side, ends in endpoints(tmp_path).items():
        command += [f"--{side}", *ends]
    moment = random.Random(4711)
    longest = 0.4  # seconds
    outcomes = set()
    for _ in range(STARTS):
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            time.sleep(moment.uniform(0, longest))  # no condition: the moment is what is tried
            process.send_signal(number)
            if number not in BOTH:
                time.sleep(moment.uniform(0, longest / 4))
                process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=SOON)
        outcomes.add(process.returncode)
        if process.returncode == 0:
            assert "Traceback" not in errors
        assert list(tmp_path.iterdir()) == []
    # Python answers SIGINT by a traceback and a status of its own as long as nobody else does.
    assert outcomes <= {0, -number, -signal.SIGTERM, 130, 1}


@pytest.mark.parametrize("number", BOTH)
def test_signals_count_from_the_first_line(tmp_path: Path, number: signal.Signals) -> None:
    """A signal that comes before anything was imported ends zqd as a stop does, with status 0 and nothing left."""
    program = (
        "import os, sys\n"
        "import zqd.daemon.signals as signals\n"
        "expect = signals.expect_signals\n"
        "def early():\n"
        "    expect()\n"
        f"    os.kill(os.getpid(), {number.value})\n"
        "signals.expect_signals = early\n"
        "from zqd.daemon import main\n"
        "sys.exit(main())\n"
    )
    command = [sys.executable, "-c", program, "--control", f"ipc://{tmp_path}/control.sock"]
    for side, ends in endpoints(tmp_path).items():
        command += [f"--{side}", *ends]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SOON)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", BOTH)
def test_a_start_that_hangs_can_be_ended(tmp_path: Path, number: signal.Signals) -> None:
    """A configuration that cannot be read to its end (a pipe, a dead file server) keeps nobody from stopping zqd."""
    pipe = tmp_path / "zqd.toml"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "zqd.daemon", "--check-config", "--config", str(pipe)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        waits = Path(f"/proc/{process.pid}/wchan")
        wait_for(lambda: "fifo" in waits.read_text() or "wait_for_partner" in waits.read_text(), "it to wait")
        process.send_signal(number)
        assert process.wait(SOON) == 0


@pytest.mark.parametrize("number", BOTH)
@pytest.mark.parametrize("order", ["pause", "drain"])
def test_paused_or_drained(tmp_path: Path, connect: Connect, order: str, number: signal.Signals) -> None:
    """What was read is dispatched and answered after all."""
    with Zqd(tmp_path, **endpoints(tmp_path)) as zqd:
        worker, client = connect(zmq.REP, zqd.backend), connect(zmq.REQ, zqd.frontend)
        zqd.wait_until("both", lambda queue: queue["clients"] == queue["workers"] == 1)
        zqd.control("pause")
        client.send(b"body")
        zqd.wait_until("it", lambda queue: queue["queued"] == 1)
        if order == "drain":
            zqd.control("drain")
        assert zqd.process is not None
        zqd.process.send_signal(number)
        assert worker.recv() == b"body"
        worker.send(b"reply")
        assert client.recv() == b"reply"
        assert zqd.process.wait(SOON) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"zqd.log"}


@pytest.mark.parametrize("number", BOTH)
def test_with_all_kinds_of_peers(
    tmp_path: Path, crowd: Crowd, connect: Connect, number: signal.Signals
) -> None:
    """Load, subscribers, clients of the control socket and commands that wait: no one of them holds it up."""
    with Zqd(tmp_path, **endpoints(tmp_path)) as zqd:
        for _ in range(2):
            crowd.worker(zqd.backend, seconds=0.005)
        for _ in range(8):
            crowd.client(zqd.frontend)
        connect(zmq.SUB, f"ipc://{tmp_path}/events.sock", subscribe=b"")
        waiting = connect(zmq.REQ, f"ipc://{tmp_path}/status.sock")
        waiting.send_json({"zqctl": 1, "command": "wait", "args": {"workers": 99, "timeout": 0}})
        crowd.goes_on()
        check_ended(zqd, tmp_path, number)
        reply = waiting.recv_json()
        assert isinstance(reply, dict)
        assert reply["error"] == "zqd stopped before this was done"


@pytest.mark.parametrize("times", [1, 2])
def test_by_order(tmp_path: Path, connect: Connect, times: int) -> None:
    """`zqctl stop` is SIGTERM: once it waits for what runs, a second time means now."""
    with Zqd(tmp_path, "--set", "queues.default.drain_timeout=1h", **endpoints(tmp_path)) as zqd:
        worker, client = connect(zmq.REP, zqd.backend), connect(zmq.REQ, zqd.frontend)
        client.send(b"body")
        assert worker.recv() == b"body"
        for _ in range(times):
            assert zqd.control("stop") == {"state": "stopping"}
        if times == 1:
            assert zqd.status()["state"] == "stopping"
            worker.send(b"reply")
            assert client.recv() == b"reply"
        assert zqd.process is not None
        assert zqd.process.wait(SOON) == 0


def test_now_by_order(tmp_path: Path, connect: Connect) -> None:
    """`zqctl stop --now` waits for nothing."""
    with Zqd(tmp_path, "--set", "queues.default.drain_timeout=1h", **endpoints(tmp_path)) as zqd:
        worker, client = connect(zmq.REP, zqd.backend), connect(zmq.REQ, zqd.frontend)
        client.send(b"body")
        assert worker.recv() == b"body"
        assert zqd.control("stop", now=True) == {"state": "stopping"}
        assert zqd.process is not None
        assert zqd.process.wait(SOON) == 0


def test_while_it_reloads(tmp_path: Path, connect: Connect) -> None:
    """A SIGTERM right behind many a SIGHUP: each reload is whole, and then it stops."""
    with ConfiguredZqd(tmp_path) as zqd:
        connect(zmq.REQ, zqd.frontend)
        for number in range(20):
            zqd.write(DEFAULT + f"max_queued = {number + 1}\n")
            assert zqd.process is not None
            zqd.process.send_signal(signal.SIGHUP)
        check_ended(zqd, tmp_path)


Orders = dict[signal.Signals, Callable[[], None]]


def test_a_storm_loses_no_order(tmp_path: Path) -> None:
    """However many signals have come while the loop was busy, the one behind them is obeyed."""
    from zqd.daemon.signals import hold_signals, signals_to

    done: list[str] = []
    loop = Loop()
    actions: Orders = {
        signal.SIGUSR2: lambda: done.append("debug"),
        signal.SIGUSR1: lambda: done.append("stop"),
    }
    before = {number: signal.getsignal(number) for number in actions}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        hold_signals()
        with signals_to(loop, actions):
            for _ in range(10_000):
                signal.raise_signal(signal.SIGUSR2)
            signal.raise_signal(signal.SIGUSR1)
            deadline = time.monotonic() + PATIENCE
            while "stop" not in done:
                assert time.monotonic() < deadline, "the last signal was lost"
                loop.call_soon(lambda: None)
                loop.turn()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        loop.close()


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGHUP, signal.SIGUSR1])
def test_a_storm_does_no_harm(tmp_path: Path, crowd: Crowd, number: signal.Signals) -> None:
    """A thousand of them under load: traffic goes on, and it stops as ever."""
    with ConfiguredZqd(tmp_path) as zqd:
        crowd.worker(zqd.backend)
        crowd.client(zqd.frontend, think=0.001)
        crowd.goes_on()
        fds = zqd.fds()
        assert zqd.process is not None
        for _ in range(1000):
            zqd.process.send_signal(number)
        crowd.goes_on()
        crowd.finish()
        row = zqd.wait_until("the client to have gone", lambda queue: queue["clients"] == 0)
        assert row["received"] == row["replied"] == crowd.answered
        wait_for(lambda: zqd.fds() <= fds, "the descriptors to be as before")
        check_ended(zqd, tmp_path)
