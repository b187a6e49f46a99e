from __future__ import annotations

import signal
from pathlib import Path

import pytest
import zmq

from tests.conftest import Connect
from tests.support.processes import Zqd, wait_for
from tests.worker.workers import ServiceManager, WorkerProcess


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

    def code(self, word: str) -> None:
        """A handler that answers this word, and tells when it is closed."""
        self.module.write_text(
            "class Handler:\n"
            "    def __call__(self, body):\n"
            "        import pathlib, time\n"
            "        while body and not pathlib.Path(body.decode()).exists():\n"
            "            time.sleep(0.01)\n"
            f"        return b'{word}'\n"
            "    def close(self):\n"
            f"        print('closed {word}')\n"
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

    def start(self) -> WorkerProcess:
        """The worker, ready."""
        process = WorkerProcess(
            self._folder,
            "1",
            "--config",
            str(self.config),
            env={**self.manager.env, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        process.wait_for("instance.ready")
        return process


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


@pytest.mark.parametrize("outcome", ["pass", "1 / 0"])
def test_stop_in_a_reload(
    zqd: Zqd, deployment: Deployment, connect: Connect, tmp_path: Path, outcome: str
) -> None:
    """The end of a reload that a stop has overtaken is no news for the manager: this service is not ready any more."""
    deployment.settings("concurrency = 2", "drain_timeout = '0s'")
    release, set_up, more = (tmp_path / name for name in ("release", "set_up", "more"))
    with deployment.start() as process:
        client = connect(zmq.REQ, zqd.frontend)
        client.send(str(release).encode())
        zqd.wait_until("it to run", lambda queue: queue["in_flight"] == 1)
        deployment.module.write_text(
            "import pathlib, time\n"
            "class Handler:\n"
            "    def setup(self):\n"
            f"        pathlib.Path('{set_up}').touch()\n"
            f"        while not pathlib.Path('{more}').exists():\n"
            "            time.sleep(0.01)\n"
            f"        {outcome}\n"
            "    def __call__(self, body):\n"
            "        return b'two'\n"
        )
        process.signal(signal.SIGHUP)
        wait_for(set_up.exists, "its setup to begin")
        process.signal(signal.SIGTERM)
        deployment.manager.wait_for("STOPPING=1")
        more.touch()
        process.wait_for("handler.reloaded" if outcome == "pass" else "config.rejected")
        release.touch()
        assert client.recv() == b"one"
        assert process.end() == 0
    heard = deployment.manager.listen()
    assert "READY=1" not in heard[heard.index("STOPPING=1") :]


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
