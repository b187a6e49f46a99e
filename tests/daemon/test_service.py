"""What systemd is told of zqd, by real processes."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import zmq

from tests.conftest import Connect
from tests.daemon.notified import Message, NotifiedZqd, NotifySocket
from tests.faults.crowd import Crowd
from tests.support.processes import Zqd, steady_endpoint, wait_for
from zqd.daemon.service import STATUS_PERIOD
from zqd.net.loop import HOUSEKEEPING

WATCHDOG = 1.5  # seconds


def keys(messages: list[Message]) -> list[list[str]]:
    """What each says."""
    return [list(message) for message in messages]


def test_ready_when_everything_listens(tmp_path: Path, notify: NotifySocket) -> None:
    """At READY=1 a connect to every endpoint and socket works; the first STATUS comes with it."""
    port = steady_endpoint()
    command = [sys.executable, "-m", "zqd.daemon", "--control", f"ipc://{tmp_path}/control.sock"]
    command += ["--frontend", port, "--frontend", f"ipc://{tmp_path}/f", "--backend", f"ipc://{tmp_path}/b"]
    with subprocess.Popen(
        ["env", f"NOTIFY_SOCKET={notify.path}", *command], stderr=subprocess.DEVNULL
    ) as process:
        wait_for(lambda: notify.messages, "the first message")
        try:
            host, number = port.removeprefix("tcp://").split(":")
            socket.create_connection((host, int(number))).close()
            for name in ("f", "b", "control.sock", "status.sock", "events.sock"):
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(str(tmp_path / name))
        finally:
            process.terminate()
        assert process.wait(60) == 0
    assert notify.messages[0] == {
        "READY": "1",
        "STATUS": "0 of 0 workers idle, 0 queued, 0 req/s",
    }


def test_not_ready_when_the_start_fails(tmp_path: Path, notify: NotifySocket) -> None:
    """An endpoint that cannot be had: systemd learns that from the exit status, and was told nothing."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        command = [sys.executable, "-m", "zqd.daemon", "--control", f"ipc://{tmp_path}/control.sock"]
        command += ["--frontend", "tcp://127.0.0.1:0", "--backend", endpoint]
        done = subprocess.run(
            ["env", f"NOTIFY_SOCKET={notify.path}", *command], capture_output=True, check=False, timeout=60
        )
    assert done.returncode == 69
    assert notify.messages == []


def test_the_course_of_a_life(tmp_path: Path, notify: NotifySocket) -> None:
    """READY, then STOPPING together with the state of the drain, then a plea for time; nothing after that."""
    with NotifiedZqd(tmp_path, notify) as zqd:
        assert zqd.stop() == 0
    assert keys(notify.messages) == [["READY", "STATUS"], ["STOPPING", "STATUS"], ["EXTEND_TIMEOUT_USEC"]]
    assert notify.messages[1]["STATUS"] == "draining: 0 in flight"
    assert int(notify.messages[2]["EXTEND_TIMEOUT_USEC"]) > 10_000_000  # the default drain_timeout


def test_status_follows_the_load(
    tmp_path: Path, notify: NotifySocket, crowd: Crowd, connect: Connect
) -> None:
    """STATUS tells of workers, of what waits, of the rate, and of what is not as usual."""
    with NotifiedZqd(tmp_path, notify, "--set", "queues.default.drain_timeout=100ms") as zqd:
        crowd.worker(zqd.backend)
        crowd.client(zqd.frontend)
        crowd.goes_on(100)
        zqd.control("pause")
        idle = [connect(zmq.REP, zqd.backend) for _ in range(2)]
        client = connect(zmq.DEALER, zqd.frontend)
        for _ in range(11):
            client.send_multipart([b"", b"body"])
        zqd.wait_until("it all", lambda queue: queue["queued"] == 12 and queue["idle_workers"] == 3)
        form = r"3 of 3 workers idle, 12 queued, [1-9]\d* req/s; queue default is paused"
        notify.next("the status", lambda message: re.fullmatch(form, message.get("STATUS", "")) is not None)
        assert len(idle) == 2
    assert all(list(message) == ["STATUS"] for message in notify.messages[1:-2])


def test_status_is_sent_only_when_it_changes(tmp_path: Path, notify: NotifySocket) -> None:
    """Nothing happens: nothing is said, however long that takes (here: until a second zqd has refreshed its own)."""
    (tmp_path / "other").mkdir()
    with (
        NotifySocket(tmp_path / "other.notify") as other,
        NotifiedZqd(tmp_path, notify),
        NotifiedZqd(tmp_path / "other", other) as busy,
    ):
        busy.control("pause")
        other.next("its refresh", lambda message: "paused" in message.get("STATUS", ""))
        busy.control("resume")
        other.next("the next one", lambda message: "paused" not in message.get("STATUS", "paused"), 2)
        assert keys(notify.messages) == [["READY", "STATUS"]]


@pytest.mark.parametrize("how", ["signal", "order"])
@pytest.mark.parametrize("good", [True, False])
def test_reload_is_told(tmp_path: Path, notify: NotifySocket, how: str, *, good: bool) -> None:
    """RELOADING=1 with the monotonic time, then READY=1: whoever asked, and also when the reload is refused."""
    config = tmp_path / "zqd.toml"
    config.write_text("")
    with NotifiedZqd(tmp_path, notify, "--config", str(config)) as zqd:
        config.write_text("" if good else "wrong = 1")
        before = time.monotonic_ns() // 1000
        if how == "signal":
            assert zqd.process is not None
            zqd.process.send_signal(signal.SIGHUP)
        else:
            assert zqd.ask(zqd.control_path, "reload")["ok"] is good
        notify.next("the end of it", lambda message: "READY" in message, 2)
        reloading, ready = notify.messages[1:3]
        assert list(reloading) == ["RELOADING", "MONOTONIC_USEC"]
        assert reloading["RELOADING"] == ready["READY"] == "1"
        assert before <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
        assert len(zqd.log("config.reloaded" if good else "config.rejected")) == 1


def test_a_drain_asks_for_time_again_and_again(
    tmp_path: Path, notify: NotifySocket, connect: Connect
) -> None:
    """With what is in flight, for how long, and with whom; it is not called stopped before."""
    with NotifiedZqd(tmp_path, notify, "--set", "queues.default.drain_timeout=1h") as zqd:
        worker = connect(zmq.DEALER, zqd.backend, routing_id=b"mill@2")
        worker.send_multipart([b"zqd/1", b"hello", b'{"name": "mill@2", "pid": 1, "capacity": 3}'])
        clients = [connect(zmq.REQ, zqd.frontend) for _ in range(4)]
        for client in clients:
            client.send(b"body")
        zqd.wait_until("them", lambda queue: (queue["in_flight"], queue["queued"]) == (3, 1))
        assert zqd.process is not None
        zqd.process.terminate()
        wait_for(lambda: len(notify.having("EXTEND_TIMEOUT_USEC", "STATUS")) >= 2, "two pleas")
        begun = notify.next("the stop", lambda message: "STOPPING" in message)
        ages = []
        for message in notify.messages[begun:]:
            if "STATUS" in message:
                form = r"draining: 3 in flight, 1 queued, oldest (\d+\.\d) s \(mill@2\)"
                found = re.fullmatch(form, message["STATUS"])
                assert found is not None, message
                ages.append(float(found[1]))
        assert ages == sorted(set(ages))
        assert all(int(message["EXTEND_TIMEOUT_USEC"]) >= 2e6 for message in notify.messages[begun + 1 :])
        for _ in range(4):
            worker.send_multipart(worker.recv_multipart())
        assert [client.recv() for client in clients] == [b"body"] * 4
        assert zqd.process.wait(60) == 0
    assert "READY" not in {key for message in notify.messages[begun:] for key in message}


def test_the_watchdog_is_fed(tmp_path: Path, notify: NotifySocket) -> None:
    """At most half of WATCHDOG_USEC apart, from READY on."""
    with NotifiedZqd(tmp_path, notify, watchdog=WATCHDOG):
        wait_for(lambda: len(notify.having("WATCHDOG")) >= 4, "the pings")
    assert keys(notify.messages)[:5] == [["READY", "STATUS"], *[["WATCHDOG"]] * 4]


def test_the_watchdog_is_fed_while_it_drains(tmp_path: Path, notify: NotifySocket, connect: Connect) -> None:
    """systemd's watchdog goes on until the process has ended."""
    with NotifiedZqd(tmp_path, notify, watchdog=WATCHDOG) as zqd:
        worker, client = connect(zmq.REP, zqd.backend), connect(zmq.REQ, zqd.frontend)
        client.send(b"body")
        worker.recv()
        assert zqd.process is not None
        zqd.process.terminate()
        begun = notify.next("the stop", lambda message: "STOPPING" in message)
        wait_for(lambda: sum("WATCHDOG" in message for message in notify.messages[begun:]) >= 3, "pings")
        worker.send(b"done")
        assert client.recv() == b"done"
        assert zqd.process.wait(60) == 0


def test_the_watchdog_of_another_process_is_not_ours(tmp_path: Path, notify: NotifySocket) -> None:
    """WATCHDOG_PID names somebody else: no ping ever comes."""
    wrapper = ("env", "WATCHDOG_PID=1")
    with NotifiedZqd(tmp_path, notify, watchdog=0.1, wrapper=wrapper) as zqd:
        zqd.control("pause")
        notify.next("a refreshed status", lambda message: "paused" in message.get("STATUS", ""))
        assert not notify.having("WATCHDOG")


def test_a_process_that_is_stopped_feeds_no_watchdog(tmp_path: Path, notify: NotifySocket) -> None:
    """While it does not run nothing comes; afterwards the log tells how long it was held up."""
    with NotifiedZqd(tmp_path, notify, watchdog=WATCHDOG) as zqd:
        wait_for(lambda: notify.having("WATCHDOG"), "a ping")
        assert zqd.process is not None
        zqd.process.send_signal(signal.SIGSTOP)
        stat = Path(f"/proc/{zqd.pid}/stat")
        wait_for(lambda: stat.read_text().rsplit(")", 1)[1].split()[0] == "T", "it to be stopped")
        count = len(notify.messages)
        with pytest.raises(AssertionError, match="in vain"):
            wait_for(lambda: len(notify.messages) > count, "a message", patience=2 * WATCHDOG)
        zqd.process.send_signal(signal.SIGCONT)
        wait_for(lambda: len(notify.messages) > count, "the pings to go on")
        (stalled,) = wait_for(lambda: zqd.log("zqd.stalled"), "it to be told")
        assert stalled["seconds"] >= WATCHDOG


HANGING = """
import sys
from zqd.control.commands import command
@command(reads=True)
def hang(broker, args):
    "Never end."
    while True:
        pass
from zqd.daemon import main
sys.exit(main())
"""


def test_a_loop_that_hangs_feeds_no_watchdog(tmp_path: Path, notify: NotifySocket) -> None:
    """Something inside zqd never returns: the process runs on, and the pings end."""
    path = tmp_path / "control.sock"
    command = ["env", f"NOTIFY_SOCKET={notify.path}", f"WATCHDOG_USEC={int(WATCHDOG * 1e6)}"]
    command += [sys.executable, "-c", HANGING, "--control", f"ipc://{path}"]
    for side in ("frontend", "backend"):
        command += [f"--{side}", f"ipc://{tmp_path}/{side}"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: notify.having("WATCHDOG"), "a ping")
            with pytest.raises(TimeoutError):
                Zqd.ask(path, "hang", patience=WATCHDOG)
            count = len(notify.messages)
            with pytest.raises(AssertionError, match="in vain"):
                wait_for(lambda: len(notify.messages) > count, "a message", patience=2 * WATCHDOG)
            assert process.poll() is None
        finally:
            process.kill()


def test_no_manager_no_timers(zqd: Zqd, tmp_path: Path, notify: NotifySocket) -> None:
    """Without NOTIFY_SOCKET an idle zqd sleeps: it does not wake once while one that is watched refreshes its status."""
    (tmp_path / "other").mkdir()

    def wakes(process: Zqd) -> int:
        status = Path(f"/proc/{process.pid}/status").read_text()
        found = re.search(r"^voluntary_ctxt_switches:\s*(\d+)$", status, re.MULTILINE)
        assert found is not None
        return int(found[1])

    with NotifiedZqd(tmp_path / "other", notify) as other:
        other.control("pause")
        at = notify.next("a refreshed status", lambda message: "paused" in message.get("STATUS", ""))
        other.control("resume")
        at = notify.next("the next one", lambda message: "paused" not in message.get("STATUS", "paused"), at)
        # By now the housekeeping after the start is over: it comes once, and as late as that.
        assert HOUSEKEEPING <= STATUS_PERIOD
        before, theirs = wakes(zqd), wakes(other)
        other.control("pause")
        notify.next("the last one", lambda message: "paused" in message.get("STATUS", ""), at)
        assert wakes(other) > theirs
        assert wakes(zqd) == before


def test_a_manager_that_is_gone_is_no_trouble(tmp_path: Path, connect: Connect) -> None:
    """NOTIFY_SOCKET names a path where nobody is, and the watchdog is on: zqd works and stops as ever."""
    wrapper = ("env", f"NOTIFY_SOCKET={tmp_path}/nobody", "WATCHDOG_USEC=1000")
    with Zqd(tmp_path, wrapper=wrapper) as zqd:
        worker, client = connect(zmq.REP, zqd.backend), connect(zmq.REQ, zqd.frontend)
        client.send(b"body")
        worker.send(worker.recv())
        assert client.recv() == b"body"
        assert zqd.stop() == 0
        assert not zqd.log("zqd.fault")
