from __future__ import annotations

import signal
from pathlib import Path

import pytest
import zmq

from tests.conftest import Connect
from tests.faults.crowd import Crowd
from tests.support.processes import Zqd, steady_endpoint, wait_for
from tests.worker.conftest import StartWorker
from tests.worker.workers import SAMPLES, WorkerProcess
from zqd.worker.broker import unit_of

CONCURRENT = ("--concurrency", "2")


def handler(name: str) -> tuple[str, str]:
    """The options for a handler of the samples."""
    return "--handler", f"{SAMPLES}:{name}"


def ask(connect: Connect, zqd: Zqd, *body: bytes) -> list[bytes]:
    """The reply to one request."""
    client = connect(zmq.REQ, zqd.frontend)
    client.send_multipart(body)
    return client.recv_multipart()


def assert_smooth(zqd: Zqd) -> None:
    """Every request was answered, at its first attempt, and nothing came that nobody had asked for."""
    queue = zqd.queue()
    assert queue["received"] == queue["replied"] > 0
    assert queue["failed"] == queue["retried"] == queue["dropped"] == queue["malformed"] == 0
    assert queue["orphaned"] == queue["late"] == 0


# What an operator sees


def test_hello(zqd: Zqd, worker: StartWorker, connect: Connect) -> None:
    """Without a handler it answers as the seed's server, says so in its log, and zqd knows who it is."""
    process = worker("7")
    assert ask(connect, zqd, b"Hello") == [b"World from server 7"]
    assert process.log("instance.default")
    (row,) = zqd.control("workers")
    assert (row["name"], row["pid"], row["handler"], row["capacity"], row["state"]) == (
        "zqd-worker@7",
        process.pid,
        "zqd.handlers:hello",
        1,
        "idle",
    )
    assert process.stop() == 0
    assert [line["event"] for line in process.log()] == [
        "instance.default",
        "instance.started",
        "worker.connected",
        "instance.ready",
        "instance.stopping",
        "worker.retired",
        "instance.stopped",
    ]
    zqd.wait_until("it to have left", lambda queue: queue["workers"] == 0)
    assert not zqd.log("worker.lost")


def test_setup_and_close(zqd: Zqd, worker: StartWorker, connect: Connect) -> None:
    """State is set up before the first request and given back after the last, and one thread sees all of it."""
    process = worker("1", *handler("Counter"))
    assert ask(connect, zqd, b"one") == [b"one"]
    assert ask(connect, zqd, b"two") == [b"two"]
    assert process.stop() == 0
    assert process.out_path.read_text() == "1 thread(s): setup one two close\n"


def test_setup_and_close_of_coroutines(zqd: Zqd, worker: StartWorker, connect: Connect) -> None:
    """The same in the thread of asyncio, where `close` need not be a coroutine."""
    process = worker("1", *handler("AsyncCounter"), *CONCURRENT)
    assert ask(connect, zqd, b"one") == [b"one"]
    assert process.stop() == 0
    assert process.out_path.read_text() == "1 thread(s): setup one close\n"


def test_setup_fails(tmp_path: Path) -> None:
    """A handler that cannot be set up ends the worker with status 69, one line, and the traceback in the log."""
    with WorkerProcess(tmp_path, "1", *handler("Unloadable")) as process:
        assert process.end() == 69
        last = process.log_path.read_text().splitlines()[-1]
        assert last == "zqd-worker: the handler's setup failed: OSError: the model is missing"
        assert "Traceback" in process.log("handler.failed")[0]["exception"]


@pytest.mark.parametrize(
    ("cgroups", "unit"),
    [
        ("0::/zqd.slice/zqd-workers.slice/zqd-worker@1.service\n", "zqd-worker@1.service"),
        ("0::/system.slice/zqd-worker@1.service/handlers\n", "zqd-worker@1.service"),
        ("0::/user.slice/user-0.slice/session-1.scope\n", ""),
        ("0::/\n", ""),
        ("", ""),
    ],
)
def test_unit(cgroups: str, unit: str) -> None:
    """The hello says which service it is, as far as its control group tells."""
    assert unit_of(cgroups) == unit


# What a handler may do wrong


@pytest.mark.parametrize("name", ["misbehave", "misbehave_async"])
@pytest.mark.parametrize(
    ("body", "reply"),
    [
        (b"raise", b"ZQD-ERROR 500 the handler raised ValueError"),
        (b"exit", b"ZQD-ERROR 500 the handler raised SystemExit"),
        (b"interrupt", b"ZQD-ERROR 500 the handler raised KeyboardInterrupt"),
        (b"mute", b"ZQD-ERROR 500 the handler raised MuteError"),
        (b"text", b"ZQD-ERROR 500 the handler returned no reply"),
        (b"nothing", b"ZQD-ERROR 500 the handler returned no reply"),
        (b"list", b"ZQD-ERROR 500 the handler returned no reply"),
        (b"large", b"ZQD-ERROR 500 the reply is larger than 50000 bytes"),
    ],
)
def test_failure(
    zqd: Zqd, worker: StartWorker, connect: Connect, name: str, body: bytes, reply: bytes
) -> None:
    """The client gets 500, the log gets the request's id, and the worker lives on."""
    process = worker("1", *handler(name), "--set", "max_reply_size=50000")
    assert ask(connect, zqd, body) == [reply]
    (failed,) = process.log("handler.failed")
    told = wait_for(lambda: zqd.log("request.failed"), "zqd to log it")
    assert failed["request"] == told[0]["request"]
    assert ("Traceback" in failed.get("exception", "")) == (b"raised" in reply)
    assert ask(connect, zqd, b"harmless") == [b"harmless"]
    assert zqd.queue()["retried"] == 0
    assert process.stop() == 0


@pytest.mark.parametrize("name", ["fork", "fork_async"])
def test_fork(zqd: Zqd, worker: StartWorker, connect: Connect, name: str) -> None:
    """A child that a handler makes ends with its own status and is no second worker."""
    worker("1", *handler(name), env={"PYTHONWARNINGS": "ignore::DeprecationWarning"})
    ends = {b"0": b"0", b"3": b"3", b"259": b"3", b"text": b"1", b"raise": b"1", b"return": b"0"}
    assert {body: ask(connect, zqd, body)[0] for body in ends} == ends
    assert_smooth(zqd)


def test_tasks_that_are_left(zqd: Zqd, worker: StartWorker, connect: Connect) -> None:
    """Tasks and generators that a coroutine leaves behind are ended at the stop, and nothing is said of them."""
    process = worker("1", *handler("leave_tasks"))
    assert ask(connect, zqd, b"x") == [b"x"]
    assert process.stop() == 0
    assert process.out_path.read_text() == "the task was ended\nthe generator was ended\n"
    assert [line for line in process.log_path.read_text().splitlines() if not line.startswith("{")] == []


@pytest.mark.parametrize("closed", ["", ">&-", "<&- >&- "])
def test_print(zqd: Zqd, worker: StartWorker, connect: Connect, closed: str) -> None:
    """What a handler prints goes to standard output at once and disturbs nothing, even where that is closed."""
    process = worker("1", *handler("misbehave"), closed=closed)
    for _ in range(3):
        assert ask(connect, zqd, b"print") == [b"printed"]
    assert process.out_path.read_text() == ("" if closed else "a line of the handler's\n" * 3)
    assert_smooth(zqd)
    assert process.stop() == 0


def test_hang(zqd: Zqd, worker: StartWorker, connect: Connect) -> None:
    """A function that does not come back ends its instance with status 70; another one gets its request."""
    first = worker("first", *handler("hang_in_the_first"), "--set", "handler_timeout=300ms")
    client = connect(zmq.REQ, zqd.frontend)
    client.send(b"hang")
    zqd.wait_until("the request to run", lambda queue: queue["in_flight"] == 1)
    worker("second", *handler("hang_in_the_first"))
    assert client.recv() == b"second"
    assert first.end() == 70
    assert "hang_in_the_first" in first.wait_for("handler.timeout")["stack"]
    assert first.log("instance.retiring")[0]["reason"] == "a handler hangs"
    assert zqd.queue()["retried"] == 1


def test_coroutine_that_hangs(zqd: Zqd, worker: StartWorker, connect: Connect, tmp_path: Path) -> None:
    """A coroutine is ended at `handler_timeout`: 500, and the worker lives on."""
    options = (*handler("wait_for_file_async"), "--set", "handler_timeout=100ms")
    process = worker("1", *options)
    (tmp_path / "there").touch()
    never, there = f"{tmp_path}/never".encode(), f"{tmp_path}/there".encode()
    assert ask(connect, zqd, never) == [b"ZQD-ERROR 500 the handler took too long"]
    assert ask(connect, zqd, there) == [b"released"]
    assert process.stop() == 0


def test_leak(zqd: Zqd, crowd: Crowd, tmp_path: Path) -> None:
    """After `max_requests` an instance goes in good order with status 0; started anew each time, nobody notices."""
    limits = ("--set", "max_requests=20", "--set", "max_requests_jitter=5")
    crowd.client(zqd.frontend)
    for number in range(4):
        with WorkerProcess(
            tmp_path, str(number), "--backend", zqd.backend, *handler("echo"), *limits
        ) as process:
            assert process.end() == 0
            assert process.log("instance.retiring")[0]["reason"] == "max_requests is reached"
            # One more may be on its way when it asks for leave.
            assert 20 <= process.log("instance.stopped")[0]["replied"] <= 26
    with WorkerProcess(tmp_path, "last", "--backend", zqd.backend, *handler("echo")):
        crowd.finish()
    assert_smooth(zqd)


# Concurrency


@pytest.mark.parametrize("name", ["wait_for_file", "wait_for_file_async"])
def test_concurrency(zqd: Zqd, worker: StartWorker, connect: Connect, tmp_path: Path, name: str) -> None:
    """As many requests at once as it says in its hello, and no more."""
    worker("1", *handler(name), *CONCURRENT)
    paths = [tmp_path / f"release{number}" for number in range(3)]
    clients = [connect(zmq.REQ, zqd.frontend) for _ in paths]
    for number, client in enumerate(clients):
        client.send(str(paths[number]).encode())
        zqd.wait_until("it to arrive", lambda queue: queue["received"] == number + 1)  # noqa: B023
    zqd.wait_until("two to run", lambda queue: (queue["in_flight"], queue["queued"]) == (2, 1))

    def begun() -> list[bool]:
        return [path.with_suffix(".begun").exists() for path in paths]

    wait_for(lambda: begun() == [True, True, False], "the first two to have begun")
    for path in reversed(paths):
        path.touch()
    assert [client.recv() for client in clients] == [b"released"] * 3
    assert_smooth(zqd)


def test_command(zqd: Zqd, worker: StartWorker, connect: Connect) -> None:
    """A program answers in place of a handler; its options are its own."""
    process = worker("1", "--command", "sed", "-e", "s/a/b/")
    assert ask(connect, zqd, b"an apple") == [b"bn apple"]
    assert zqd.control("workers")[0]["handler"] == "sed -e s/a/b/"
    assert process.stop() == 0


def test_command_that_fails(zqd: Zqd, worker: StartWorker, connect: Connect) -> None:
    """The client gets 500, the log the end of standard error; a missing program is no other case."""
    process = worker("1", "--set", "command=sh -c 'echo because >&2; exit 3'")
    assert ask(connect, zqd, b"") == [b"ZQD-ERROR 500 the command ended with 3"]
    assert process.log("handler.failed")[0]["stderr"] == "because"
    assert process.stop() == 0
    process = worker("2", "--command", "no-such-program")
    for _ in range(2):
        assert ask(connect, zqd, b"") == [b"ZQD-ERROR 500 the command cannot be started"]
    assert process.log("handler.failed")[1]["command"] == "no-such-program"


# Stops


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_while_busy(
    zqd: Zqd, worker: StartWorker, connect: Connect, tmp_path: Path, number: signal.Signals
) -> None:
    """What it holds is finished and answered, nothing more is taken, and the status is 0."""
    process = worker("1", *handler("wait_for_file"), *CONCURRENT)
    release = tmp_path / "release"
    clients = [connect(zmq.REQ, zqd.frontend) for _ in range(3)]
    for client in clients[:2]:
        client.send(str(release).encode())
    zqd.wait_until("them to run", lambda queue: queue["in_flight"] == 2)
    process.signal(number)
    process.wait_for("instance.stopping")
    wait_for(lambda: zqd.control("workers")[0]["state"] == "draining", "zqd to know")
    clients[2].send(str(release).encode())
    zqd.wait_until("the third to wait", lambda queue: queue["queued"] == 1)
    release.touch()
    assert [client.recv() for client in clients[:2]] == [b"released"] * 2
    assert process.end() == 0
    worker("2", *handler("wait_for_file"))
    assert clients[2].recv() == b"released"
    assert_smooth(zqd)


@pytest.mark.parametrize("name", ["wait_for_file", "wait_for_file_async"])
def test_drain_timeout(zqd: Zqd, worker: StartWorker, connect: Connect, tmp_path: Path, name: str) -> None:
    """What is not finished within `drain_timeout` goes to another worker; the status is 0 all the same."""
    process = worker("1", *handler(name), "--set", "drain_timeout=300ms")
    client = connect(zmq.REQ, zqd.frontend)
    client.send(str(tmp_path / "release").encode())
    wait_for((tmp_path / "release.begun").exists, "it to run")
    assert process.stop() == 0
    (tmp_path / "release").touch()
    worker("2", *handler("wait_for_file"))
    assert client.recv() == b"released"
    assert zqd.queue()["retried"] == 1


@pytest.mark.parametrize(
    "options", [handler("wait_for_file"), handler("wait_for_file_async"), ("--command", "sleep", "3600")]
)
def test_second_signal(
    zqd: Zqd, worker: StartWorker, connect: Connect, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """The second one ends it at once, with status 0."""
    process = worker("1", "--set", "drain_timeout=1h", *options)
    client = connect(zmq.REQ, zqd.frontend)
    client.send(str(tmp_path / "release").encode())
    zqd.wait_until("it to run", lambda queue: queue["in_flight"] == 1)
    process.signal(signal.SIGTERM)
    process.wait_for("instance.stopping")
    process.signal(signal.SIGTERM)
    assert process.end() == 0
    assert process.log("instance.stopping")[1]["now"]


def test_many_signals(zqd: Zqd, worker: StartWorker) -> None:
    """However many come, and when, the status is 0 and there is no traceback."""
    for number in range(5):
        process = worker(str(number))
        while process.process.poll() is None:
            process.signal(signal.SIGTERM)
        assert process.process.returncode == 0, process.log_text()
        assert "Traceback" not in process.log_path.read_text()


def test_stop_while_alone(tmp_path: Path) -> None:
    """Without a broker it says so after a while, and a stop ends it at once."""
    with WorkerProcess(tmp_path, "1", "--backend", steady_endpoint()) as process:
        process.wait_for("worker.waiting")
        assert process.stop() == 0


# Many instances


@pytest.mark.slow
def test_rolling_restart(zqd: Zqd, worker: StartWorker, crowd: Crowd) -> None:
    """Ten instances are restarted under load, one after another: no request fails, none is retried."""
    options = (*handler("work"), *CONCURRENT)
    processes = [worker(str(number), *options) for number in range(10)]
    for _ in range(30):
        crowd.client(zqd.frontend)
    crowd.goes_on()
    for number, process in enumerate(processes):
        assert process.stop() == 0
        worker(str(number), *options)
        crowd.goes_on()
    crowd.finish()
    assert_smooth(zqd)
    assert not zqd.log("worker.lost")


@pytest.mark.slow
def test_killed_instances(zqd: Zqd, worker: StartWorker, crowd: Crowd) -> None:
    """Instances are killed under load: no request fails, and those that they held are retried."""
    options = handler("work")
    processes = [worker(str(number), *options) for number in range(10)]
    for _ in range(30):
        crowd.client(zqd.frontend)
    crowd.goes_on()
    for number, process in enumerate(processes):
        process.process.kill()
        worker(str(number), *options)
        crowd.goes_on()
    crowd.finish()
    queue = zqd.queue()
    assert queue["received"] == queue["replied"] > 0
    assert queue["failed"] == queue["dropped"] == 0
    lost = zqd.log("worker.lost")
    assert queue["retried"] == sum(line["in_flight"] for line in lost) > 0
