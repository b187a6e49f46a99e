"""Workers at brokers with CURVE, with the right keys and with wrong ones."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import zmq

from tests.conftest import Connect
from tests.daemon.configured import ConfiguredZqd
from tests.daemon.keyring import Keyring
from tests.support.processes import Zqd, wait_for
from tests.worker import samples
from tests.worker.test_program import call
from tests.worker.workers import SAMPLES, WorkerProcess
from zqd.keys.pair import load_secret
from zqd.keys.z85 import z85_encode
from zqd.worker import Worker

UNAUTHORIZED = "this key is not authorized there"
WRONG_SERVER = "the server key is not its key, or it does not use CURVE"

Start = Callable[..., WorkerProcess]
"""`start(*options)`: a zqd-worker that echoes."""


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    """Keys of zqd, alice and bob, who may enter, and of two who may not."""
    return Keyring(tmp_path, "carol", "other")


@pytest.fixture
def zqd(tmp_path: Path, keyring: Keyring) -> Iterator[ConfiguredZqd]:
    """A zqd with CURVE for workers."""
    with ConfiguredZqd(tmp_path, keyring.settings("backend")) as zqd:
        yield zqd


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts workers; those that still run at the end are killed."""
    with ExitStack() as cleanup:

        def started(*options: str) -> WorkerProcess:
            return cleanup.enter_context(
                WorkerProcess(tmp_path, "1", "--handler", f"{SAMPLES}:echo", *options)
            )

        yield started


def keys(keyring: Keyring, name: str = "bob", server: str = "zqd") -> tuple[str, ...]:
    """A worker's options with this pair and that server's key."""
    secret = f"curve_secret={keyring.secret_path(name)}"
    return "--set", f"server_key={keyring.public(server)}", "--set", secret


def ask(connect: Connect, zqd: Zqd, body: bytes = b"x") -> bytes:
    """The reply to one request."""
    client = connect(zmq.REQ, zqd.frontend)
    client.send(body)
    return client.recv()


def named(zqd: Zqd, *names: str) -> None:
    """Wait until workers with these keys are there, whose hello has come."""

    def met() -> bool:
        rows = zqd.control("workers")
        return [row["key"] for row in rows] == list(names) and all(row["handler"] for row in rows)

    wait_for(met, f"workers with the keys {names}")


def test_the_right_key(zqd: ConfiguredZqd, keyring: Keyring, start: Start, connect: Connect) -> None:
    """It serves, zqctl shows its name, and no secret is in its log."""
    worker = start("--backend", zqd.backend, *keys(keyring))
    assert ask(connect, zqd) == b"x"
    named(zqd, "bob")
    assert "bob" in zqd.zqctl("workers")[1]
    assert worker.stop() == 0
    assert not zqd.log("worker.lost")
    assert z85_encode(load_secret(str(keyring.secret_path("bob"))).secret) not in worker.log_text()


def test_the_broker_certificate(zqd: ConfiguredZqd, keyring: Keyring, start: Start, connect: Connect) -> None:
    """Its path stands for the key in it."""
    secret = keyring.secret_path("bob")
    start(
        "--backend",
        zqd.backend,
        "--set",
        f"server_key={keyring.folder / 'zqd.key'}",
        "--set",
        f"curve_secret={secret}",
    )
    assert ask(connect, zqd) == b"x"


@pytest.mark.parametrize(
    ("name", "server", "reason"), [("carol", "zqd", UNAUTHORIZED), ("bob", "other", WRONG_SERVER)]
)
def test_a_wrong_key(
    zqd: ConfiguredZqd, keyring: Keyring, start: Start, name: str, server: str, reason: str
) -> None:
    """Is said once, of the worker and of the server; it goes on trying, and a stop ends it."""
    worker = start("--backend", zqd.backend, *keys(keyring, name, server))
    refused = worker.wait_for("worker.refused")
    assert (refused["endpoint"], refused["reason"]) == (zqd.backend, reason)
    wait_for(lambda: len(zqd.log("peer.refused")) >= 3, "some more tries")
    assert len(worker.log("worker.refused")) == 1
    assert worker.stop() == 0


def test_authorized_later(zqd: ConfiguredZqd, keyring: Keyring, start: Start, connect: Connect) -> None:
    """It gets in when zqd was told of its key, and reloaded."""
    worker = start("--backend", zqd.backend, *keys(keyring, "carol"))
    worker.wait_for("worker.refused")
    keyring.authorize("alice", "carol")
    zqd.control("reload")
    assert ask(connect, zqd) == b"x"
    named(zqd, "carol")
    assert worker.log("instance.ready")
    assert worker.stop() == 0


def test_revoked(zqd: ConfiguredZqd, keyring: Keyring, start: Start, connect: Connect) -> None:
    """Its connection is closed, it says why it does not get in any more, and comes back when it may."""
    worker = start("--backend", zqd.backend, *keys(keyring))
    named(zqd, "bob")
    keyring.authorize("alice")
    zqd.control("reload")
    worker.wait_for("worker.disconnected")
    assert worker.wait_for("worker.refused")["reason"] == UNAUTHORIZED
    keyring.authorize("bob")
    zqd.control("reload")
    assert ask(connect, zqd) == b"x"


def test_without_keys(zqd: ConfiguredZqd, start: Start) -> None:
    """At a broker that wants them."""
    worker = start("--backend", zqd.backend)
    assert worker.wait_for("worker.refused")["reason"] == "it may use CURVE: set server_key"


def test_with_keys_that_nobody_wants(
    tmp_path: Path, keyring: Keyring, start: Start, connect: Connect
) -> None:
    """At a broker without CURVE, until it has it."""
    with ConfiguredZqd(tmp_path) as zqd:
        worker = start("--backend", zqd.backend, *keys(keyring))
        reason = worker.wait_for("worker.refused")["reason"]
        assert reason == "it does not use CURVE, and server_key is set"
        zqd.reload(keyring.settings("backend"))
        assert ask(connect, zqd) == b"x"


def test_without_a_key_of_its_own(tmp_path: Path, keyring: Keyring, start: Start, connect: Connect) -> None:
    """It is anonymous, and gets in where everybody does."""
    with ConfiguredZqd(tmp_path, keyring.settings("backend", more="backend_anonymous = true\n")) as zqd:
        start("--backend", zqd.backend, "--set", f"server_key={keyring.public('zqd')}")
        assert ask(connect, zqd) == b"x"
        named(zqd, "anonymous")


def test_brokers_with_different_keys(tmp_path: Path, start: Start, connect: Connect) -> None:
    """Each has its own, one has none, and the wrong one of another is its own affair."""
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    rings = [Keyring(folder) for folder in folders]
    texts = [rings[0].settings("backend"), "", rings[2].settings("backend")]
    for ring in (rings[0], rings[2]):
        ring.list.write_text(f"{rings[0].public('bob')} bob\n")
    with (
        ConfiguredZqd(folders[0], texts[0]) as a,
        Zqd(folders[1]) as b,
        ConfiguredZqd(folders[2], texts[2]) as c,
    ):
        server_keys = f"{rings[0].public('zqd')},,{rings[2].public('zqd')}"
        worker = start(
            *(word for zqd in (a, b, c) for word in ("--backend", zqd.backend)),
            "--set",
            f"server_key={server_keys}",
            "--set",
            f"curve_secret={rings[0].secret_path('bob')}",
        )
        for zqd in (a, b, c):
            assert ask(connect, zqd) == b"x"
        rings[2].authorize("alice")
        c.control("reload")
        assert worker.wait_for("worker.refused")["endpoint"] == c.backend
        for zqd in (a, b):
            assert ask(connect, zqd) == b"x"
        assert worker.stop() == 0


def test_a_broker_that_is_restarted(
    zqd: ConfiguredZqd, keyring: Keyring, start: Start, connect: Connect
) -> None:
    """It is found again, and a new handshake made; a new key of it is told."""
    worker = start("--backend", zqd.backend, *keys(keyring))
    named(zqd, "bob")
    text = keyring.settings("backend")
    text = text.replace("tcp://127.0.0.1:0", zqd.frontend, 1).replace("tcp://127.0.0.1:0", zqd.backend, 1)
    zqd.kill()
    zqd.write(text)
    zqd.start()
    assert ask(connect, zqd) == b"x"
    zqd.kill()
    zqd.write(text.replace(str(keyring.secret_path("zqd")), str(keyring.secret_path("other"))))
    zqd.start()
    assert worker.wait_for("worker.refused")["reason"] == WRONG_SERVER


# Reloads of the worker


def configuration(zqd: Zqd, keyring: Keyring, name: str, server: str = "zqd") -> str:
    """A configuration with this pair and that server's key."""
    return (
        f'backend = ["{zqd.backend}"]\nserver_key = "{keyring.folder / server}.key"\n'
        f'curve_secret = "{keyring.secret_path(name)}"\n'
    )


def test_a_reload_takes_other_keys(
    zqd: ConfiguredZqd, keyring: Keyring, start: Start, connect: Connect, tmp_path: Path
) -> None:
    """The connection is left in good order, and made anew; what did not change leaves it as it is."""
    config = tmp_path / "worker.toml"
    config.write_text(configuration(zqd, keyring, "bob"))
    worker = start("--config", str(config))
    named(zqd, "bob")
    worker.signal(signal.SIGHUP)
    worker.wait_for("config.reloaded")
    config.write_text(configuration(zqd, keyring, "alice"))
    worker.signal(signal.SIGHUP)
    assert worker.wait_for("config.reloaded", 2)["changed"] == ["curve_secret"]
    named(zqd, "alice")
    assert ask(connect, zqd) == b"x"
    assert len(worker.log("worker.retired")) == 1
    assert not zqd.log("worker.lost")


def test_a_reload_mends_a_wrong_key(
    zqd: ConfiguredZqd, keyring: Keyring, start: Start, connect: Connect, tmp_path: Path
) -> None:
    """Also in a file whose name stays the same."""
    config = tmp_path / "worker.toml"
    config.write_text(configuration(zqd, keyring, "bob", "other"))
    worker = start("--config", str(config))
    worker.wait_for("worker.refused")
    (keyring.folder / "zqd.key").replace(keyring.folder / "other.key")
    worker.signal(signal.SIGHUP)
    assert worker.wait_for("config.reloaded")["changed"] == []
    assert ask(connect, zqd) == b"x"


def test_a_reload_without_the_key(
    zqd: ConfiguredZqd, keyring: Keyring, start: Start, connect: Connect, tmp_path: Path
) -> None:
    """Is rejected, and the connection stays."""
    config = tmp_path / "worker.toml"
    config.write_text(configuration(zqd, keyring, "bob"))
    worker = start("--config", str(config))
    named(zqd, "bob")
    keyring.secret_path("bob").unlink()
    worker.signal(signal.SIGHUP)
    rejected = worker.wait_for("config.rejected")["reason"]
    assert rejected.startswith(f"curve_secret: {keyring.secret_path('bob')}: cannot be read")
    assert ask(connect, zqd) == b"x"


# The command line, and the library


def test_check_config(keyring: Keyring) -> None:
    """Tells of key files that cannot be read, with status 78, and is content with those that can."""
    assert call("--check-config", *keys(keyring)).returncode == 0
    os.chmod(keyring.secret_path("carol"), 0o640)
    (keyring.folder / "bob.key").unlink()
    options = ("--set", f"server_key={keyring.folder / 'bob.key'}")
    for check in ([], ["--check-config"]):
        done = call(*check, *keys(keyring, "carol"), *options)
        assert (done.returncode, done.stdout) == (78, "")
        first, second = done.stderr.splitlines()
        assert first.startswith(
            f"zqd-worker: server_key: {keyring.folder}/bob.key: cannot be read (No such file"
        )
        assert second.startswith(
            f"zqd-worker: curve_secret: {keyring.secret_path('carol')}: can be read by others (mode 0640)"
        )


def test_print_config(keyring: Keyring) -> None:
    """Has the path and nothing of what is in it."""
    done = call("--print-config", *keys(keyring))
    assert f'curve_secret = "{keyring.secret_path("bob")}"' in done.stdout
    assert z85_encode(load_secret(str(keyring.secret_path("bob"))).secret) not in done.stdout


def test_library(
    zqd: ConfiguredZqd, keyring: Keyring, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`Worker` takes the same, and a bare name is a file of this folder."""
    monkeypatch.chdir(keyring.folder)
    for secret in ("bob.key_secret", keyring.secret_path("bob")):
        with Worker(zqd.backend, samples.echo, server_key=keyring.public("zqd"), curve_secret=secret):
            assert ask(connect, zqd) == b"x"
            named(zqd, "bob")
        zqd.wait_until("it to be gone", lambda queue: queue["workers"] == 0)
