from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import NoReturn

import pytest
import zmq

from tests.conftest import Connect
from tests.support.processes import PATIENCE, Zqd, wait_for
from tests.worker import samples
from tests.worker.workers import ServiceManager, WorkerProcess
from zqd.worker.handler import PythonHandler
from zqd.worker.instance import Instance
from zqd.worker.settings import WorkerSettings


class Deployment:
    """A worker with a handler and a configuration that the test may write anew."""

    def __init__(self, folder: Path, zqd: Zqd, manager: ServiceManager) -> None:
        self.module = folder / "deployed.py"
        self.config = folder / "worker.toml"
        self.manager = manager
        self._folder = folder
        self._backend = zqd.backend
        self.code("one")
        self.settings()

    def code(self, word: str, setup: str = "pass", close: str = "pass") -> None:
        """A handler that answers this word, and tells when it is closed."""
        self.module.write_text(
            "class Handler:\n"
            "    def setup(self):\n"
            f"        {setup}\n"
            "    def __call__(self, body):\n"
            "        import pathlib, time\n"
            "        while body and not pathlib.Path(body.decode()).exists():\n"
            "            time.sleep(0.01)\n"
            f"        return b'{word}'\n"
            "    def close(self):\n"
            f"        print('closed {word}')\n"
            f"        {close}\n"
        )

    def settings(self, *lines: str, backend: str = "") -> None:
        """The configuration: the handler, the broker, and more lines."""
        all_lines = [
            f"backend = ['{backend or self._backend}']",
            "handler = 'deployed:Handler'",
            f"python_path = ['{self._folder}']",
            *lines,
        ]
        self.config.write_text("\n".join(all_lines) + "\n")

    def begin(self, log_level: str = "debug") -> WorkerProcess:
        """The worker, just started; with an empty `log_level` it takes that of the configuration."""
        return WorkerProcess(
            self._folder,
            "1",
            "--config",
            str(self.config),
            env={**self.manager.env, "PYTHONDONTWRITEBYTECODE": "1"},
            log_level=log_level,
        )

    def start(self) -> WorkerProcess:
        """The worker, ready."""
        process = self.begin()
        process.wait_for("instance.ready")
        return process


class Gate:
    """A statement of a handler that waits until the test opens it."""

    def __init__(self, folder: Path, name: str = "gate") -> None:
        self._open, self._reached = folder / f"{name}.open", folder / f"{name}.reached"
        self.code = (
            f"import pathlib, time; pathlib.Path('{self._reached}').touch(); "
            f"[time.sleep(0.01) for _ in iter(pathlib.Path('{self._open}').exists, True)]"
        )

    def wait(self) -> None:
        """Until the handler has come to it."""
        wait_for(self._reached.exists, f"{self._reached} to be reached")

    def open(self) -> None:
        """Let it go on."""
        self._open.touch()


@pytest.fixture
def deployment(tmp_path: Path, zqd: Zqd, manager: ServiceManager) -> Deployment:
    """A handler and a configuration."""
    return Deployment(tmp_path, zqd, manager)


def ask(connect: Connect, zqd: Zqd, body: bytes = b"") -> bytes:
    """The reply to one request."""
    client = connect(zmq.REQ, zqd.frontend)
    client.send(body)
    return client.recv()


def test_new_code(zqd: Zqd, deployment: Deployment, connect: Connect) -> None:
    """SIGHUP takes the module as it is now, the handler before is closed, and the manager is told."""
    with deployment.start() as process:
        assert ask(connect, zqd) == b"one"
        deployment.code("two")
        process.signal(signal.SIGHUP)
        process.wait_for("handler.reloaded")
        assert ask(connect, zqd) == b"two"
        deployment.manager.wait_for("RELOADING=1")
        wait_for(lambda: deployment.manager.listen().count("READY=1") == 2, "the end of the reload")
        wait_for(lambda: process.out_path.read_text() == "closed one\n", "the old one to be closed")
        assert process.stop() == 0
        assert process.out_path.read_text() == "closed one\nclosed two\n"


def test_what_runs_ends_with_the_old_code(
    zqd: Zqd, deployment: Deployment, connect: Connect, tmp_path: Path
) -> None:
    """A request in the middle of a reload is answered by the handler that it was given to, which is closed after it."""
    deployment.settings("concurrency = 2")
    release = tmp_path / "release"
    with deployment.start() as process:
        client = connect(zmq.REQ, zqd.frontend)
        client.send(str(release).encode())
        zqd.wait_until("it to run", lambda queue: queue["in_flight"] == 1)
        deployment.code("two")
        process.signal(signal.SIGHUP)
        process.wait_for("handler.reloaded")
        assert ask(connect, zqd) == b"two"
        assert process.out_path.read_text() == ""
        release.touch()
        assert client.recv() == b"one"
        wait_for(lambda: process.out_path.read_text() == "closed one\n", "the old one to be closed")


@pytest.mark.parametrize(
    ("code", "settings", "told"),
    [
        ("class Handler:", [], "handler: deployed:Handler cannot be had (IndentationError"),
        (
            "class Handler:\n def setup(self): 1 / 0\n def __call__(self, _): ...",
            [],
            "setup failed: ZeroDivision",
        ),
        ("", ["concurrency = 0"], "concurrency: 0 is too small"),
        ("", ["concurency = 2"], "did you mean concurrency?"),
        ("", ["="], "not valid TOML"),
    ],
)
def test_bad_reload(
    zqd: Zqd, deployment: Deployment, connect: Connect, code: str, settings: list[str], told: str
) -> None:
    """What is wrong is logged, the old handler and settings go on, and a better reload is taken."""
    with deployment.start() as process:
        if code:
            deployment.module.write_text(code)
        deployment.settings(*settings)
        process.signal(signal.SIGHUP)
        assert told in process.wait_for("config.rejected")["reason"]
        assert ask(connect, zqd) == b"one"
        deployment.code("two")
        deployment.settings()
        process.signal(signal.SIGHUP)
        process.wait_for("handler.reloaded")
        assert ask(connect, zqd) == b"two"
        assert process.stop() == 0


def test_new_settings(zqd: Zqd, deployment: Deployment) -> None:
    """The broker hears of a new capacity; what needs a restart is named and stays."""
    with deployment.start() as process:
        deployment.settings("concurrency = 3", "heartbeat_interval = '1s'")
        process.signal(signal.SIGHUP)
        wait_for(lambda: [row["capacity"] for row in zqd.control("workers")] == [3], "the new capacity")
        reloaded = process.wait_for("config.reloaded")
        assert (reloaded["changed"], reloaded["pending"]) == (["concurrency"], ["heartbeat_interval"])
        assert process.stop() == 0


def test_another_broker(zqd: Zqd, deployment: Deployment, connect: Connect, tmp_path: Path) -> None:
    """A broker that is no longer named is left in good order; a new one is served."""
    folder = tmp_path / "other"
    folder.mkdir()
    with Zqd(folder) as other, deployment.start() as process:
        deployment.settings(backend=other.backend)
        process.signal(signal.SIGHUP)
        process.wait_for("worker.retired")
        assert ask(connect, other) == b"one"
        zqd.wait_until("it to have left", lambda queue: queue["workers"] == 0)
        assert not zqd.log("worker.lost")
        assert process.stop() == 0


@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize("outcome", ["pass", "1 / 0"])
def test_stop_in_a_reload(
    zqd: Zqd, deployment: Deployment, connect: Connect, tmp_path: Path, outcome: str, concurrency: int
) -> None:
    """A stop overtakes a reload: the old handler answers and is closed once, the new one is closed if it was set up.

    The end of that reload is no news for the manager: this service is not ready any more.
    """
    deployment.settings(f"concurrency = {concurrency}", "drain_timeout = '0s'")
    gate = Gate(tmp_path)
    with deployment.start() as process:
        deployment.code("two", setup=f"{gate.code}; {outcome}")
        process.signal(signal.SIGHUP)
        gate.wait()
        client = connect(zmq.REQ, zqd.frontend)
        client.send(b"")
        zqd.wait_until("it to be taken", lambda queue: queue["received"] == 1 and not queue["queued"])
        process.signal(signal.SIGTERM)
        deployment.manager.wait_for("STOPPING=1")
        process.signal(signal.SIGHUP)
        process.wait_for("config.rejected")
        gate.open()
        reasons = [process.wait_for("config.rejected", count)["reason"] for count in (1, 2)]
        assert client.recv() == b"one"
        assert process.end() == 0
    assert reasons[0] == "this instance is stopping"
    assert (reasons[1] == reasons[0]) == (outcome == "pass")
    closed = process.out_path.read_text().splitlines()
    assert sorted(closed) == (["closed one", "closed two"] if outcome == "pass" else ["closed one"])
    heard = deployment.manager.listen()
    assert "READY=1" not in heard[heard.index("STOPPING=1") :]


def test_stop_while_the_old_one_is_closed(deployment: Deployment, tmp_path: Path) -> None:
    """A stop waits for the `close` of the handler before, too."""
    deployment.settings("concurrency = 2", "drain_timeout = '0s'")
    gate = Gate(tmp_path)
    deployment.code("one", close=f"{gate.code}; print('and free')")
    with deployment.start() as process:
        deployment.code("two")
        process.signal(signal.SIGHUP)
        gate.wait()
        process.signal(signal.SIGTERM)
        wait_for(lambda: "closed two" in process.out_path.read_text(), "the new one to be closed")
        gate.open()
        assert process.end() == 0
        assert process.out_path.read_text() == "closed one\nclosed two\nand free\n"


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize("step", ["setup", "close"])
def test_slow_steps(
    zqd: Zqd, deployment: Deployment, connect: Connect, tmp_path: Path, step: str, kind: str
) -> None:
    """A reload whose steps take longer than a request may holds up requests, and says so; it is no hang."""
    deployment.settings("handler_timeout = '200ms'")
    gate = Gate(tmp_path)
    deployment.code("one", close=gate.code if step == "close" else "pass")
    deployment.module.write_text(deployment.module.read_text().replace("def __call__", f"{kind} __call__"))
    with deployment.start() as process:
        deployment.code("two", setup=gate.code if step == "setup" else "pass")
        process.signal(signal.SIGHUP)
        gate.wait()
        client = connect(zmq.REQ, zqd.frontend)
        client.send(b"")
        late = process.wait_for("handler.timeout")
        assert (late["step"], late["handler"]) == (step, "deployed:Handler")
        assert "deployed.py" in late["stack"]
        if step == "setup":
            deployment.manager.wait_for("STATUS=reloading: ")
        gate.open()
        assert client.recv() == b"two"
        assert len(process.log("handler.timeout")) == 1
        assert process.stop() == 0


@pytest.mark.parametrize("concurrency", [1, 2])
def test_two_reloads(
    zqd: Zqd, deployment: Deployment, connect: Connect, tmp_path: Path, concurrency: int
) -> None:
    """The last one wins, however long the one before takes; each handler is closed once."""
    deployment.settings(f"concurrency = {concurrency}")
    gate = Gate(tmp_path)
    with deployment.start() as process:
        deployment.code("two", setup=gate.code)
        process.signal(signal.SIGHUP)
        gate.wait()
        deployment.code("three")
        for _ in range(3):
            process.signal(signal.SIGHUP)
        if concurrency > 1:
            assert ask(connect, zqd) == b"one"  # and so whatever the signals have begun has had its turn
        gate.open()
        process.wait_for("handler.reloaded", 2)
        assert ask(connect, zqd) == b"three"
        assert process.stop() == 0
        assert sorted(process.out_path.read_text().splitlines()) == [
            "closed one",
            "closed three",
            "closed two",
        ]


def test_reload_in_the_first_setup(
    zqd: Zqd, deployment: Deployment, connect: Connect, tmp_path: Path
) -> None:
    """It is begun when the worker is set up; the manager hears of a reload only once it knows that this service is ready."""
    gate = Gate(tmp_path)
    deployment.code("one", setup=gate.code)
    with deployment.begin() as process:
        gate.wait()
        deployment.code("two")
        process.signal(signal.SIGHUP)
        gate.open()
        process.wait_for("handler.reloaded")
        assert ask(connect, zqd) == b"two"
        assert process.stop() == 0
    heard = deployment.manager.listen()
    assert next(line for line in heard if line in {"READY=1", "RELOADING=1"}) == "READY=1"


def test_log_file_that_was_moved(deployment: Deployment, tmp_path: Path) -> None:
    """A reload opens the log's file anew, as logrotate expects; where that cannot be it goes on in the old one."""
    log, moved = tmp_path / "worker.log", tmp_path / "worker.log.1"
    deployment.settings(f"log_target = '{log}'")
    with deployment.begin() as process:
        wait_for(lambda: log.exists() and "instance.ready" in log.read_text(), "it to be ready")
        log.rename(moved)
        log.mkdir()
        process.signal(signal.SIGHUP)
        wait_for(lambda: "config.rejected" in moved.read_text(), "the refusal")
        assert f"cannot write the log file {log}" in moved.read_text()
        log.rmdir()
        process.signal(signal.SIGHUP)
        wait_for(lambda: log.exists() and "config.reloaded" in log.read_text(), "the new file")
        assert "config.reloaded" not in moved.read_text()
        assert process.stop() == 0


@pytest.mark.parametrize(("setup", "last"), [("pass", "instance.ready"), ("1 / 0", "instance.stopped")])
def test_log_level(deployment: Deployment, setup: str, last: str) -> None:
    """A reload that is taken sets it, one that is refused does not."""
    with deployment.begin(log_level="") as process:
        process.wait_for("instance.ready")
        deployment.settings("log_level = 'error'")
        deployment.code("two", setup)
        process.signal(signal.SIGHUP)
        wait_for(lambda: deployment.manager.listen().count("READY=1") == 2, "the end of the reload")
        assert process.stop() == 0
        assert process.log()[-1]["event"] == last


def test_fault_in_a_reload(zqd: Zqd, connect: Connect) -> None:
    """Whatever a reload fails with, it is refused with its traceback, and the instance goes on."""
    rejected: list[dict[str, object]] = []

    def note(name: str, fields: dict[str, object]) -> None:
        if name == "config.rejected":
            rejected.append(fields)

    def reloader() -> NoReturn:
        raise LookupError("something unforeseen")

    handler = PythonHandler(samples.echo, "echo", frames=False, max_reply_size=0)
    settings = WorkerSettings(backend=(zqd.backend,))
    instance = Instance(settings, handler, [None], name="mine", note=note, reloader=reloader)
    thread = threading.Thread(target=instance.run)
    thread.start()
    try:
        assert ask(connect, zqd, b"x") == b"x"
        instance.reload()
        (fields,) = wait_for(lambda: rejected, "the refusal")
        assert fields["reason"] == "LookupError: something unforeseen"
        assert isinstance(fields["exc_info"], LookupError)
        assert ask(connect, zqd, b"x") == b"x"
    finally:
        instance.stop()
        thread.join(PATIENCE)
        instance.close()


def test_from_coroutines_to_functions_and_back(zqd: Zqd, deployment: Deployment, connect: Connect) -> None:
    """What runs in asyncio's thread and what runs in others may replace each other, at a concurrency of 1 too."""
    with deployment.start() as process:
        for count, word in enumerate(["async", "plain", "async", "plain"], 1):
            function = "async def" if word == "async" else "def"
            deployment.module.write_text(f"{function} Handler(body):\n    return b'{word}{count}'\n")
            process.signal(signal.SIGHUP)
            process.wait_for("handler.reloaded", count)
            assert ask(connect, zqd) == b"%s%d" % (word.encode(), count)
        assert process.stop() == 0
