from __future__ import annotations

import errno
import logging
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.conftest import Connect
from tests.support.processes import PATIENCE, Zqd, wait_for
from tests.worker import samples
from zqd.errors import ConfigError, UnavailableError
from zqd.worker import Worker
from zqd.worker.instance import HungError

PROGRAM = """
import sys
from zqd.worker import Worker
Worker(sys.argv[1], lambda body: b"World, " + body, name="mine").run(signals=True)
print("left in good order")
"""


def ask(connect: Connect, zqd: Zqd, body: bytes) -> bytes:
    """The reply to one request."""
    client = connect(zmq.REQ, zqd.frontend)
    client.send(body)
    return client.recv()


def test_run_and_stop(zqd: Zqd, connect: Connect) -> None:
    """It works in the thread that calls it, until another one stops it."""
    worker = Worker(zqd.backend, samples.echo, name="mine")
    thread = threading.Thread(target=worker.run)
    thread.start()
    assert ask(connect, zqd, b"x") == b"x"
    wait_for(lambda: zqd.control("workers")[0]["name"] == "mine", "its name")
    assert zqd.control("workers")[0]["handler"] == "tests.worker.samples:echo"
    worker.stop()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert not zqd.log("worker.lost")
    worker.stop()  # once more does no harm


def test_context(zqd: Zqd, connect: Connect) -> None:
    """As a context it works in a thread of its own, and is gone at the end."""
    before = set(threading.enumerate())
    with Worker([zqd.backend], "tests.worker.samples:turn_round", concurrency=3):
        assert ask(connect, zqd, b"x") == b"x"
        wait_for(lambda: zqd.control("workers")[0]["capacity"] == 3, "its capacity")
    zqd.wait_until("it to be gone", lambda queue: queue["workers"] == 0)
    wait_for(lambda: set(threading.enumerate()) <= before, "its threads to end")


def test_signals(zqd: Zqd, connect: Connect, tmp_path: Path) -> None:
    """Where that is asked for SIGTERM lets `run` return in good order; the rest of the program follows."""
    command = [sys.executable, "-c", PROGRAM, zqd.backend]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert ask(connect, zqd, b"x") == b"World, x"
        process.terminate()
        output, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, output) == (0, "left in good order\n")
    assert not zqd.log("worker.lost")


def test_no_signals_unless_asked(zqd: Zqd) -> None:
    """Handlers of the program that uses it stay as they are."""
    before = signal.getsignal(signal.SIGTERM)
    with Worker(zqd.backend, samples.echo):
        zqd.wait_until("it", lambda queue: queue["workers"] == 1)
        assert signal.getsignal(signal.SIGTERM) is before


def test_setup_fails(zqd: Zqd) -> None:
    """That is raised, by `run` or at the end of the block."""
    with pytest.raises(UnavailableError, match="the handler's setup failed: OSError: the model is missing"):
        Worker(zqd.backend, samples.Unloadable).run()
    worker = Worker(zqd.backend, samples.Unloadable).__enter__()
    assert worker._thread is not None
    worker._thread.join(PATIENCE)
    with pytest.raises(UnavailableError):
        worker.__exit__(None, None, None)


def test_coroutine_that_cannot_be_ended(
    zqd: Zqd, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that swallows its cancellation is a hang, like a function."""
    monkeypatch.setattr("zqd.worker.work.GRACE", 0.1)
    worker = Worker(zqd.backend, samples.stubborn, handler_timeout=0.1)
    thread = threading.Thread(target=worker._run)
    thread.start()
    release = tmp_path / "release"
    client = connect(zmq.REQ, zqd.frontend)
    client.send(str(release).encode())
    thread.join(PATIENCE)
    assert isinstance(worker._fault, HungError)
    release.touch()


def test_close_that_takes_long(
    zqd: Zqd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """That is said after a while, without a `handler_timeout` too."""
    monkeypatch.setattr("zqd.worker.work.LONG_STEP", 0.1)

    class Slow:
        def __call__(self, body: bytes) -> bytes:
            return body

        def close(self) -> None:
            wait_for(lambda: "has not returned" in caplog.text, "the log to say so")

    with Worker(zqd.backend, Slow):
        zqd.wait_until("it", lambda queue: queue["workers"] == 1)
    assert "has not returned" in caplog.text
    assert "has failed" not in caplog.text


def test_log(zqd: Zqd, connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    """Python's own logging gets what happens, with its level and traceback."""
    caplog.set_level(logging.INFO, "zqd.worker")
    with Worker(zqd.backend, samples.misbehave):
        assert ask(connect, zqd, b"raise").startswith(b"ZQD-ERROR 500")
    (failed,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "a secret of the machine's" in failed.getMessage()
    assert failed.exc_info is not None


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"backend": "127.0.0.1:5560"}, "backend: "),
        ({"backend": []}, "backend: the list is empty"),
        ({"concurrency": 0}, "concurrency: 0 is too small"),
        ({"drain": 3}, "drain: no setting of a Worker; expected one of backend, "),
        ({"drain_timeout": "soon"}, 'drain_timeout: "soon" is not a duration'),
        ({"log_level": "debug"}, "log_level: no setting of a Worker"),
    ],
)
def test_bad_setting(settings: dict[str, object], told: str) -> None:
    """Which one, what is wrong, what is expected."""
    arguments: dict[str, object] = {"backend": "tcp://127.0.0.1:5560", "handler": samples.echo, **settings}
    with pytest.raises(ValueError, match="^" + told.replace("[", r"\[")):
        Worker(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        (5, TypeError, "a name is str, not int"),
        (b"mine", TypeError, "a name is str, not bytes"),
        ("", ValueError, "name: 0 bytes; expected 1 to 255"),
        ("n" * 256, ValueError, "name: 256 bytes; expected 1 to 255"),
        ("ä" * 128, ValueError, "name: 256 bytes; expected 1 to 255"),
        ("\ud800", ValueError, r"name: '\ud800' cannot be written as UTF-8"),
    ],
)
def test_bad_name(name: Any, kind: type[Exception], told: str) -> None:
    """Said at once; a worker that could not take it would never come back."""
    with pytest.raises(kind, match=f"^{re.escape(told)}$"):
        Worker("tcp://127.0.0.1:5560", samples.echo, name=name)


def test_long_name(zqd: Zqd) -> None:
    """The longest that there is."""
    with Worker(zqd.backend, samples.echo, name="n" * 255):
        wait_for(lambda: [row["name"] for row in zqd.control("workers")] == ["n" * 255], "its name")


@pytest.mark.parametrize("call", ["setsockopt", "get_monitor_socket", "connect"])
def test_socket_that_cannot_be_made(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine refuses is raised: nothing that is half made keeps `run` from returning."""
    real = getattr(zmq.Socket, call)

    def refuse(sock: object, *args: object) -> object:
        if str(args[0]).startswith("inproc://"):  # the monitor's own, within libzmq
            return real(sock, *args)
        raise zmq.ZMQError(errno.EMFILE)

    monkeypatch.setattr(zmq.Socket, call, refuse)
    worker = Worker("tcp://127.0.0.1:5560", samples.echo).__enter__()
    assert worker._thread is not None
    worker._thread.join(PATIENCE)
    assert not worker._thread.is_alive()
    with pytest.raises(zmq.ZMQError, match="Too many open files"):
        worker.__exit__(None, None, None)


def test_once(zqd: Zqd) -> None:
    """A worker that has run is over, and says so instead of doing nothing."""
    worker = Worker(zqd.backend, samples.echo)
    with worker:
        zqd.wait_until("it", lambda queue: queue["workers"] == 1)
        with pytest.raises(RuntimeError, match="a Worker runs once"):
            worker.run()
        assert zqd.queue()["workers"] == 1
    with pytest.raises(RuntimeError, match="a Worker runs once"):
        worker.run()
    with pytest.raises(RuntimeError, match="a Worker runs once"):
        worker.__enter__()


def test_bad_handler() -> None:
    """One that cannot be found, or called."""
    with pytest.raises(ConfigError, match="cannot be had"):
        Worker("tcp://127.0.0.1:5560", "nowhere:nothing")
    with pytest.raises(TypeError, match="cannot be called"):
        Worker("tcp://127.0.0.1:5560", 3)  # type: ignore[arg-type]
