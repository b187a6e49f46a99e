"""Reloads of settings: what they change at once, what they say, and what only a restart can change."""

from __future__ import annotations

import resource
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.conftest import Connect
from tests.daemon.configured import DEFAULT, ConfiguredZqd
from tests.faults.raw import RawPeer
from tests.support.processes import wait_for
from zqd.config import Config, load
from zqd.daemon.daemon import Daemon
from zqd.daemon.reload import reload
from zqd.daemon.service import Service
from zqd.daemon.sockets import Sockets
from zqd.logs import EventLog
from zqd.systemd.notify import Notifier
from zqd.systemd.passed import PassedSockets
from zqd.zmtp.frames import encode_message


@pytest.fixture
def zqd(tmp_path: Path) -> Iterator[ConfiguredZqd]:
    """A running one with defaults but for its ports."""
    with ConfiguredZqd(tmp_path) as zqd:
        yield zqd


def change(key: str, old: object, new: object, *, applied: bool = True) -> dict[str, Any]:
    """A row of what a reload answers."""
    return {"key": key, "old": old, "new": new, "applied": applied}


def mine(key: str, old: object, new: object) -> dict[str, Any]:
    """The same for a setting of the queue default."""
    return change(f"queues.default.{key}", old, new)


def test_nothing_has_changed(zqd: ConfiguredZqd) -> None:
    """The answer is empty; peers and sockets are as they were."""
    before = zqd.queue()
    assert zqd.reload(DEFAULT) == {"changes": [], "added": [], "removed": []}
    assert {side: zqd.queue()[side] for side in ("frontend", "backend")} == {
        side: before[side] for side in ("frontend", "backend")
    }


def test_every_change_is_named(zqd: ConfiguredZqd) -> None:
    """By its dotted path, as TOML, in the order of the table; and what zqctl config shows is the new value."""
    text = DEFAULT + 'prefetch = 4\nrequest_timeout = "1m"\nmax_queued = 7\noverload = "reject"\n'
    assert zqd.reload(text)["changes"] == [
        mine("prefetch", "1", "4"),
        mine("request_timeout", '"0s"', '"1m"'),
        mine("max_queued", "10000", "7"),
        mine("overload", '"wait"', '"reject"'),
    ]
    (row,) = zqd.control("config", key="queues.default.prefetch")
    assert (row["value"], row["text"], row["default"]) == (4, "4", "1")
    assert row["source"] == str(zqd.config_path)
    (event,) = zqd.log("config.reloaded")
    assert event["level"] == "info"


def test_a_drop_in_is_read_too(zqd: ConfiguredZqd) -> None:
    """A file that came into zqd.toml.d since the start counts, and the status lists it."""
    folder = zqd.config_path.with_name("zqd.toml.d")
    folder.mkdir()
    (folder / "10-mine.toml").write_text("[queues.default]\nprefetch = 2\n")
    assert zqd.reload(DEFAULT)["changes"] == [mine("prefetch", "1", "2")]
    assert zqd.status()["config"] == [str(zqd.config_path), str(folder / "10-mine.toml")]


def test_flags_stay_in_force(tmp_path: Path) -> None:
    """What the command line says precedes the file after a reload as before."""
    config = tmp_path / "zqd.toml"
    config.write_text("")
    zqd = ConfiguredZqd(tmp_path)
    zqd._command += ["--set", "queues.default.prefetch=3"]
    with zqd:
        assert zqd.reload(DEFAULT + "prefetch = 9\n")["changes"] == []


def test_zqctl_says_it(zqd: ConfiguredZqd) -> None:
    """As a line a change, with status 0."""
    zqd.write(DEFAULT + "prefetch = 4\n")
    status, out, errors = zqd.zqctl("reload")
    assert (status, errors) == (0, "")
    assert "queues.default.prefetch" in out


# What it does at once


def test_prefetch_of_connected_workers(zqd: ConfiguredZqd, connect: Connect) -> None:
    """A REP that is there gets more, or from then on less; a DEALER stays with what its hello said."""
    connect(zmq.REP, zqd.backend)
    zqd.wait_until("it", lambda queue: queue["workers"] == 1)
    client = connect(zmq.DEALER, zqd.frontend)
    for _ in range(6):
        client.send_multipart([b"", b"body"])
    zqd.wait_until("them", lambda queue: (queue["in_flight"], queue["queued"]) == (1, 5))
    zqd.reload(DEFAULT + 'prefetch = 4\ndrain_timeout = "100ms"\n')
    zqd.wait_until("more", lambda queue: (queue["in_flight"], queue["queued"]) == (4, 2))
    (worker,) = zqd.control("workers")
    assert worker["capacity"] == 4
    zqd.reload(DEFAULT + 'prefetch = 2\ndrain_timeout = "100ms"\n')
    zqd.wait_until("the same", lambda queue: (queue["in_flight"], queue["queued"]) == (4, 2))


def test_fewer_slots_are_kept_to(zqd: ConfiguredZqd, connect: Connect) -> None:
    """After prefetch went down a worker gets nothing more until it holds less than that."""
    zqd.reload(DEFAULT + "prefetch = 3\n")
    worker, client = connect(zmq.REP, zqd.backend), connect(zmq.DEALER, zqd.frontend)
    zqd.wait_until("it", lambda queue: queue["workers"] == 1)
    for _ in range(5):
        client.send_multipart([b"", b"body"])
    zqd.wait_until("them", lambda queue: (queue["in_flight"], queue["queued"]) == (3, 2))
    zqd.reload(DEFAULT + "prefetch = 1\n")
    for held in ((2, 2), (1, 2), (1, 1), (1, 0), (0, 0)):
        worker.send(worker.recv())
        zqd.wait_until(str(held), lambda queue, held=held: (queue["in_flight"], queue["queued"]) == held)  # type: ignore[misc]


def test_a_wider_limit_resumes_clients(zqd: ConfiguredZqd, connect: Connect) -> None:
    """A client that was paused for max_queued is read again, though no request has ended."""
    zqd.reload(DEFAULT + "max_queued = 3\n")
    client = connect(zmq.DEALER, zqd.frontend)
    for _ in range(20):
        client.send_multipart([b"", b"body"])
    wait_for(lambda: [row["state"] for row in zqd.control("clients")] == ["paused"], "the pause")
    assert zqd.queue()["queued"] == 3
    zqd.reload(DEFAULT + "max_queued = 100\n")
    zqd.wait_until("the rest", lambda queue: queue["queued"] == 20)
    zqd.reload(DEFAULT + 'max_queued = 1\ndrain_timeout = "100ms"\n')
    assert zqd.queue()["queued"] == 20


def test_a_narrower_limit_holds_for_what_comes(zqd: ConfiguredZqd, connect: Connect) -> None:
    """What waits already stays; what comes is refused."""
    client = connect(zmq.DEALER, zqd.frontend)
    for _ in range(5):
        client.send_multipart([b"", b"body"])
    zqd.wait_until("them", lambda queue: queue["queued"] == 5)
    zqd.reload(DEFAULT + 'max_queued = 2\noverload = "reject"\ndrain_timeout = "100ms"\n')
    client.send_multipart([b"", b"late"])
    assert client.recv_multipart() == [b"", b"ZQD-ERROR 503 the queue is full"]
    assert zqd.queue()["queued"] == 5


def test_max_message_size_of_connections_that_exist(zqd: ConfiguredZqd, connect: Connect) -> None:
    """A client that is connected is held to the new bound, down and up."""
    client, worker = connect(zmq.REQ, zqd.frontend), connect(zmq.REP, zqd.backend)
    large = bytes(100_000)
    client.send(large)
    worker.send(worker.recv()[:10])
    assert client.recv() == bytes(10)
    zqd.reload(DEFAULT + 'max_message_size = "16KiB"\n')
    client.send(large)
    assert client.recv() == b"ZQD-ERROR 413 larger than 16384 bytes"
    zqd.reload(DEFAULT)
    client.send(large)
    worker.send(worker.recv()[:10])
    assert client.recv() == bytes(10)


def test_max_message_size_in_the_middle_of_a_message(zqd: ConfiguredZqd) -> None:
    """A message that has begun to come is taken or refused whole, and the connection goes on."""
    body = bytes(10_000)
    message = encode_message([b"", body])
    with RawPeer(zqd.frontend) as client:
        client.shake_hands(b"DEALER")
        client.send(message[:5000])
        zqd.wait_until("it", lambda queue: queue["clients"] == 1)
        zqd.reload(DEFAULT + 'max_message_size = "1KiB"\ndrain_timeout = "100ms"\n')
        client.send(message[5000:])
        client.send_message(b"", b"small")
        row = zqd.wait_until("the small one", lambda queue: queue["received"] == 2)
        assert row["queued"] + row["failed"] == 2
        assert row["malformed"] == 0


def test_a_new_queue_timeout_is_for_what_comes(zqd: ConfiguredZqd, connect: Connect) -> None:
    """What waits already was promised more time, or none."""
    old, new = connect(zmq.REQ, zqd.frontend), connect(zmq.REQ, zqd.frontend)
    old.send(b"old")
    zqd.wait_until("it", lambda queue: queue["queued"] == 1)
    zqd.reload(DEFAULT + 'queue_timeout = "200ms"\ndrain_timeout = "100ms"\n')
    new.send(b"new")
    assert new.recv() == b"ZQD-ERROR 504 waited too long"
    assert zqd.queue()["queued"] == 1


def test_a_new_request_timeout(zqd: ConfiguredZqd, connect: Connect) -> None:
    """The next attempt has it; the one that runs has none, as it began."""
    worker, client = connect(zmq.REP, zqd.backend), connect(zmq.REQ, zqd.frontend)
    client.send(b"body")
    body = worker.recv()
    zqd.reload(DEFAULT + 'request_timeout = "200ms"\nmax_attempts = 1\n')
    connect(zmq.REP, zqd.backend)
    zqd.wait_until("the other", lambda queue: queue["workers"] == 2)
    other = connect(zmq.REQ, zqd.frontend)
    other.send(b"other")
    assert other.recv().startswith(b"ZQD-ERROR 504")
    worker.send(body)
    assert client.recv() == b"body"


def test_a_new_drain_timeout(zqd: ConfiguredZqd, connect: Connect) -> None:
    """The next stop keeps to it."""
    client = connect(zmq.REQ, zqd.frontend)
    connect(zmq.REP, zqd.backend)
    client.send(b"body")
    zqd.reload(DEFAULT + 'drain_timeout = "1h"\n')
    zqd.reload(DEFAULT + 'drain_timeout = "200ms"\n')
    zqd.wait_until("it", lambda queue: queue["in_flight"] == 1)
    begun = time.monotonic()
    assert zqd.stop() == 0
    assert time.monotonic() - begun >= 0.2
    assert client.recv() == b"ZQD-ERROR 503 stopping"


def test_max_clients(zqd: ConfiguredZqd, connect: Connect) -> None:
    """More may come as soon as more may; those that are there stay though fewer may."""
    zqd.reload(DEFAULT + "max_clients = 1\n")
    clients = [connect(zmq.REQ, zqd.frontend) for _ in range(2)]
    for client in clients:
        client.send(b"body")
    wait_for(lambda: zqd.log("accept.full"), "it to be full")
    assert zqd.queue()["clients"] == 1
    zqd.reload(DEFAULT + "max_clients = 2\n")
    zqd.wait_until("both", lambda queue: queue["clients"] == 2)
    zqd.reload(DEFAULT + 'max_clients = 1\ndrain_timeout = "100ms"\n')
    assert zqd.queue()["clients"] == 2


def test_log_level(zqd: ConfiguredZqd, connect: Connect) -> None:
    """The flag of the test's command line precedes; without it the file's level holds from the reload on."""
    zqd._command = [word for word in zqd._command if word not in {"--log-level", "debug"}]
    assert zqd.stop() == 0
    zqd.start()
    before = len(zqd.log("client.joined"))
    assert zqd.reload('log_level = "debug"\n' + DEFAULT)["changes"] == [
        change("log_level", '"info"', '"debug"')
    ]
    connect(zmq.REQ, zqd.frontend)
    wait_for(lambda: len(zqd.log("client.joined")) > before, "a debug line")
    assert zqd.status()["log_level"] == "debug"


def test_busy_poll(tmp_path: Path) -> None:
    """The start and every reload tell the loop whether it may."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = iter([True, False, True])

    def configuration() -> Config:
        ports = ["tcp://127.0.0.1:0"]
        flags = {"control": f"ipc://{tmp_path}/control.sock", "frontend": ports, "backend": ports}
        return load(None, [f"busy_poll={str(next(wanted)).lower()}"], flags)

    daemon = Daemon(
        configuration(), EventLog(), Sockets(PassedSockets([])), Service(Notifier(None)), configuration
    )
    try:
        daemon.open()
        seen = [daemon.loop.busy_poll]
        for _ in range(2):
            assert [row["key"] for row in reload(daemon)["changes"]] == ["busy_poll"]
            seen.append(daemon.loop.busy_poll)
    finally:
        daemon.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert seen == [True, False, True]


def test_socket_mode(tmp_path: Path, connect: Connect) -> None:
    """The files of a queue that listens already get another mode, and lose nobody."""
    text = f'[queues.default]\nfrontend = ["ipc://{tmp_path}/f"]\nbackend = ["ipc://{tmp_path}/b"]\n'
    with ConfiguredZqd(tmp_path, text + 'socket_mode = "0600"\n') as zqd:
        client, worker = connect(zmq.REQ, zqd.frontend), connect(zmq.REP, zqd.backend)
        zqd.wait_until("both", lambda queue: queue["clients"] == queue["workers"] == 1)
        inode = (tmp_path / "f").stat().st_ino
        assert zqd.reload(text + 'socket_mode = "0666"\n')["changes"] == [
            mine("socket_mode", '"0600"', '"0666"')
        ]
        for name in "fb":
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o666
        assert (tmp_path / "f").stat().st_ino == inode
        client.send(b"body")
        worker.send(worker.recv())
        assert client.recv() == b"body"
        assert zqd.queue()["clients"] == 1


# What it cannot do


def test_what_needs_a_restart_is_said_each_time(zqd: ConfiguredZqd, tmp_path: Path) -> None:
    """`applied` false, now and at the next reload; what is in effect stays, and zqctl says that a restart is needed."""
    text = f'log_target = "{tmp_path}/other.log"\n' + DEFAULT
    told = change("log_target", '"stderr"', f'"{tmp_path}/other.log"', applied=False)
    assert zqd.reload(text)["changes"] == [told]
    assert zqd.reload(text + "prefetch = 2\n")["changes"] == [told, mine("prefetch", "1", "2")]
    (row,) = zqd.control("config", key="log_target")
    assert (row["value"], row["reloadable"]) == ("stderr", False)
    assert not (tmp_path / "other.log").exists()
    status, out, _ = zqd.zqctl("reload")
    assert status == 0
    assert "restart" in out
    assert zqd.reload(DEFAULT)["changes"] == [mine("prefetch", "2", "1")]
