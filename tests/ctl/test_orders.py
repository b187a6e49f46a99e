"""zqctl gives orders to a real zqd, and waits for what they come to."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

from tests.conftest import Connect
from tests.support.processes import PATIENCE, Zqd, wait_for


def command(zqd: Zqd, *arguments: str) -> list[str]:
    """The command line."""
    return [sys.executable, "-m", "zqd.ctl", "--control", f"ipc://{zqd.control_path}", *arguments]


def zqctl(zqd: Zqd, *arguments: str) -> tuple[int, str, str]:
    """Run zqctl to its end: exit status, standard output, standard error."""
    done = subprocess.run(
        command(zqd, *arguments), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    return done.returncode, done.stdout, done.stderr


@contextmanager
def started(zqd: Zqd, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A zqctl at work; it ends with the test."""
    with subprocess.Popen(
        command(zqd, *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def connections(zqd: Zqd) -> int:
    """Connections of the control socket that zqd holds (proc(5), /proc/net/unix: state 3 is connected)."""
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    return sum(line[5] == "03" and line[-1] == str(zqd.control_path) for line in lines)


def outcome(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a zqctl that is about to end."""
    out, errors = process.communicate(timeout=PATIENCE)
    return process.returncode, out, errors


def busy(zqd: Zqd, connect: Connect) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
    """A client and the worker that holds its request."""
    worker, client = connect(zmq.REP, zqd.backend), connect(zmq.REQ, zqd.frontend)
    client.send(b"body")
    assert worker.recv() == b"body"
    return client, worker


# Answers at once


def test_an_order_is_obeyed_and_answered_by_a_line(zqd: Zqd, connect: Connect) -> None:
    """Exit status 0; with --json exactly what zqd says."""
    busy(zqd, connect)
    assert zqctl(zqd, "pause") == (0, "queue default: paused, 0 queued, 1 in flight\n", "")
    status, out, errors = zqctl(zqd, "--json", "resume", "default")
    assert (status, errors) == (0, "")
    assert json.loads(out) == {
        "name": "default",
        "state": "running",
        "workers": 1,
        "queued": 0,
        "in_flight": 1,
    }
    (worker,) = zqd.control("workers")
    assert zqctl(zqd, "drain", worker["id"]) == (0, f"worker {worker['id']}: draining, holds 1\n", "")
    (request,) = zqd.control("requests")
    assert zqctl(zqd, "cancel", request["id"]) == (0, f"cancelled {request['id']}\n", "")
    assert zqctl(zqd, "kick", worker["id"]) == (0, f"kicked {worker['id']}\n", "")


def test_requests_are_a_table(zqd: Zqd, connect: Connect) -> None:
    """With the id that `cancel` takes."""
    assert zqctl(zqd, "requests") == (0, "no requests wait or are in flight\n", "")
    busy(zqd, connect)
    (request,) = zqd.control("requests")
    status, out, _ = zqctl(zqd, "requests")
    assert status == 0
    assert out.splitlines()[0].split()[:3] == ["ID", "QUEUE", "STATE"]
    assert out.splitlines()[1].startswith(request["id"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["pause", "fast"], "no queue is named 'fast'; there is default"),
        (["drain", "w99"], "no queue or worker is named 'w99'; there is default"),
        (
            ["kick", "w99"],
            "nobody has the id 'w99', and no worker that name; see zqctl workers and zqctl clients",
        ),
        (["cancel", "99"], "no unanswered request has the id '99'; see zqctl requests"),
        (["requests", "--limit", "0"], "a limit of 0 shows nothing"),
        (["wait"], "wait for what: workers, idle or drained?"),
    ],
)
def test_what_zqd_finds_no_sense_in_is_status_2(zqd: Zqd, arguments: list[str], sentence: str) -> None:
    """With zqd's own sentence on standard error."""
    assert zqctl(zqd, *arguments) == (2, "", f"zqctl: {sentence}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["kick"],
        ["cancel"],
        ["pause", "default", "x"],
        ["wait", "--workers", "two"],
        ["wait", "--workers", "-1"],
    ],
)
def test_what_makes_no_sense_is_status_2(zqd: Zqd, arguments: list[str]) -> None:
    """zqctl sees it without asking."""
    status, out, errors = zqctl(zqd, *arguments)
    assert (status, out) == (2, "")
    assert errors.startswith("usage: zqctl ")


# Answers when it is done


def test_wait_for_workers_ends_when_the_last_of_them_joins(zqd: Zqd, connect: Connect) -> None:
    """As a deployment waits for its workers to come up."""
    connect(zmq.REP, zqd.backend)
    zqd.wait_until("the first", lambda queue: queue["workers"] == 1)
    with started(zqd, "wait", "--workers", "2") as process:
        connect(zmq.REP, zqd.backend)
        assert outcome(process) == (0, "queue default: running, 2 workers, 0 queued, 0 in flight\n", "")


def test_wait_for_idle_ends_with_the_last_reply(zqd: Zqd, connect: Connect) -> None:
    """With --json it says what it has come to."""
    client, worker = busy(zqd, connect)
    with started(zqd, "wait", "--idle", "--json") as process:
        worker.send(b"done")
        assert client.recv() == b"done"
        status, out, errors = outcome(process)
    row = {"name": "default", "state": "running", "workers": 1, "queued": 0, "in_flight": 0}
    assert (status, json.loads(out), errors) == (0, {"queues": [row]}, "")


def test_wait_for_what_is_true_does_not_wait(zqd: Zqd) -> None:
    """It needs no event."""
    sentence = "queue default: running, 0 workers, 0 queued, 0 in flight\n"
    assert zqctl(zqd, "wait", "--idle", "--workers", "0") == (0, sentence, "")


def test_drain_and_wait_ends_when_the_queue_is_drained(zqd: Zqd, connect: Connect) -> None:
    """Whoever waits for a drain that somebody else has ordered is answered too."""
    client, worker = busy(zqd, connect)
    with started(zqd, "drain", "--wait") as ordering:
        zqd.wait_until("the drain", lambda queue: queue["state"] == "draining")
        with started(zqd, "wait", "--drained") as looking:
            worker.send(b"done")
            assert client.recv() == b"done"
            assert outcome(ordering) == (0, "queue default: drained, 0 queued, 0 in flight\n", "")
            assert outcome(looking) == (
                0,
                "queue default: drained, 1 worker, 0 queued, 0 in flight\n",
                "",
            )


def test_drain_and_wait_ends_when_the_worker_holds_nothing(zqd: Zqd, connect: Connect) -> None:
    """Then it can be stopped."""
    client, worker = busy(zqd, connect)
    (row,) = zqd.control("workers")
    with started(zqd, "drain", row["id"], "--wait") as process:
        wait_for(lambda: zqd.control("workers")[0]["state"] == "draining", "the drain")
        worker.send(b"done")
        assert client.recv() == b"done"
        assert outcome(process) == (0, f"worker {row['id']}: draining, holds nothing\n", "")


def test_drain_and_wait_ends_when_it_is_called_off(zqd: Zqd, connect: Connect) -> None:
    """Status 1, so that a script does not go on as if all were drained."""
    busy(zqd, connect)
    with started(zqd, "drain", "--wait") as process:
        zqd.wait_until("the drain", lambda queue: queue["state"] == "draining")
        zqd.control("resume")
        sentence = "zqctl: queue default is running now: its drain was called off\n"
        assert outcome(process) == (1, "", sentence)


@pytest.mark.parametrize("arguments", [["wait", "--workers", "1"], ["drain", "--wait"]])
def test_a_wait_that_takes_too_long_is_status_1(zqd: Zqd, connect: Connect, arguments: list[str]) -> None:
    """It is zqd that says so: it has answered, unlike one that hangs."""
    connect(zmq.REQ, zqd.frontend).send(b"body")
    zqd.wait_until("it to wait", lambda queue: queue["queued"] == 1)
    sentence = "zqctl: it has not come to that within 0.2 s\n"
    assert zqctl(zqd, *arguments, "--timeout", "0.2") == (1, "", sentence)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_waiting_zqctl_that_is_killed_leaves_nothing_behind(
    zqd: Zqd, connect: Connect, number: signal.Signals
) -> None:
    """No connection, and no trouble when that comes for which it waited."""
    client, worker = busy(zqd, connect)
    with started(zqd, "drain", "--wait") as process:
        zqd.wait_until("the drain", lambda queue: queue["state"] == "draining")
        process.send_signal(number)
        assert outcome(process) == (130 if number is signal.SIGINT else -number, "", "")
    wait_for(lambda: not connections(zqd), "its connection to end")
    worker.send(b"done")
    assert client.recv() == b"done"
    assert zqctl(zqd, "wait", "--drained")[0] == 0
    assert not zqd.log("zqd.fault")


def test_a_waiting_zqctl_learns_that_zqd_has_died(zqd: Zqd, connect: Connect) -> None:
    """It does not wait for the next one, which knows nothing of what was asked."""
    busy(zqd, connect)
    with started(zqd, "drain", "--wait") as process:
        zqd.wait_until("the drain", lambda queue: queue["state"] == "draining")
        pid = zqd.pid
        zqd.kill()
        assert outcome(process) == (1, "", f"zqctl: zqd (pid {pid}) ended before it answered\n")
