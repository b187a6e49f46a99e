"""SIGUSR1, which puts the status into the log, and SIGUSR2, which switches debug logging."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.conftest import Connect
from tests.support.processes import Zqd, wait_for


def quiet(folder: Path) -> Zqd:
    """A zqd at level info, as it is by default."""
    zqd = Zqd(folder)
    place = zqd._command.index("--log-level")
    del zqd._command[place : place + 2]
    return zqd


def signalled(zqd: Zqd, number: signal.Signals, event: str) -> list[dict[str, Any]]:
    """Send it, and wait until one more such event is in the log; all of them."""
    count = len(zqd.log(event))
    assert zqd.process is not None
    zqd.process.send_signal(number)
    return wait_for(lambda: lines if len(lines := zqd.log(event)) > count else None, event)


def test_the_status_in_the_log(zqd: Zqd, connect: Connect) -> None:
    """The queue's numbers as zqctl has them, and the daemon's."""
    worker, client = connect(zmq.REP, zqd.backend), connect(zmq.REQ, zqd.frontend)
    for _ in range(3):
        client.send(b"body")
        worker.send(worker.recv())
        client.recv()
    assert zqd.process is not None
    zqd.process.send_signal(signal.SIGUSR1)
    lines = wait_for(lambda: found if len(found := zqd.log("zqd.status")) == 2 else None, "both lines")
    (queue,) = [line for line in lines if "queue" in line]
    (whole,) = [line for line in lines if "queue" not in line]
    row = zqd.queue()
    same = ("state", "frontend", "backend", "workers", "clients", "received", "replied", "failed", "queued")
    assert (queue["queue"], queue["replied"]) == ("default", 3)
    assert {key: queue[key] for key in same} == {key: row[key] for key in same}
    assert (whole["pid"], whole["state"], whole["level"]) == (zqd.pid, "running", "info")


def test_debug_logging_on_and_off(tmp_path: Path, connect: Connect) -> None:
    """On, one request at a time is in the log; off, it is as it was. Both are told."""
    with quiet(tmp_path) as zqd:
        connect(zmq.REQ, zqd.frontend)
        zqd.wait_until("the first", lambda queue: queue["clients"] == 1)
        assert not zqd.log("client.joined")
        on = signalled(zqd, signal.SIGUSR2, "log.level")
        assert zqd.status()["log_level"] == "debug"
        connect(zmq.REQ, zqd.frontend)
        wait_for(lambda: zqd.log("client.joined"), "a debug line")
        off = signalled(zqd, signal.SIGUSR2, "log.level")
        assert zqd.status()["log_level"] == "info"
        connect(zmq.REQ, zqd.frontend)
        zqd.wait_until("the third", lambda queue: queue["clients"] == 3)
        assert len(zqd.log("client.joined")) == 1
        assert (len(on), len(off)) == (1, 2)


@pytest.mark.parametrize("level", ["warning", "error"])
def test_off_is_what_it_was(tmp_path: Path, level: str) -> None:
    """Also another level than the default."""
    with Zqd(tmp_path) as zqd:
        zqd.control("log-level", level=level)
        assert zqd.process is not None
        for now in ("debug", level, "debug", level):
            zqd.process.send_signal(signal.SIGUSR2)
            wait_for(lambda now=now: zqd.status()["log_level"] == now, now)  # type: ignore[misc]


def test_off_where_it_was_on_from_the_start(zqd: Zqd) -> None:
    """`--log-level debug`: then off is info, and on is debug again."""
    assert zqd.process is not None
    for now in ("info", "debug", "info"):
        zqd.process.send_signal(signal.SIGUSR2)
        wait_for(lambda now=now: zqd.status()["log_level"] == now, now)  # type: ignore[misc]


def test_the_level_by_order(zqd: Zqd) -> None:
    """`zqctl log-level` sets and shows it; a level that does not exist is refused."""
    assert zqd.control("log-level") == {"log_level": "debug"}
    assert zqd.control("log-level", level="warning") == {"log_level": "warning"}
    assert zqd.status()["log_level"] == "warning"
    assert zqd.ask(zqd.control_path, "log-level", level="loud")["code"] == "bad-argument"
