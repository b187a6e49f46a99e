"""Reloads that are refused change nothing, and say everything; reloads under load lose nothing."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from tests.conftest import Connect
from tests.daemon.configured import DEFAULT, ConfiguredZqd
from tests.faults.crowd import Crowd
from tests.support.processes import logged, steady_endpoint, wait_for

RELOADS = 100


@pytest.fixture
def zqd(tmp_path: Path) -> Iterator[ConfiguredZqd]:
    """A running one with defaults but for its ports."""
    with ConfiguredZqd(tmp_path) as zqd:
        yield zqd


def known(zqd: ConfiguredZqd) -> object:
    """All that a reload can change."""
    status = zqd.status()
    rows = [{key: row[key] for key in ("name", "state", "frontend", "backend")} for row in status["queues"]]
    return zqd.control("config"), rows, status["sockets"], status["log_level"]


def check_refused(zqd: ConfiguredZqd, text: str) -> str:
    """Neither by zqctl nor by SIGHUP anything changes; what zqctl says, with status 1."""
    before, fds = known(zqd), zqd.fds()
    zqd.write(text)
    status, out, errors = zqd.zqctl("reload")
    assert (status, out) == (1, "")
    zqd.hang_up()
    for _ in range(5):  # more than the connections of zqctl that may still end
        zqd.hang_up()
    assert known(zqd) == before
    wait_for(lambda: zqd.fds() <= fds, "the descriptors to be as before")
    rejected = zqd.log("config.rejected")
    assert len(rejected) == 7
    assert {event["level"] for event in rejected} == {"error"}
    assert len({str(event["problems"]) for event in rejected}) == 1
    assert not zqd.log("zqd.fault")
    return errors


def test_every_problem_is_said(zqd: ConfiguredZqd) -> None:
    """An unknown key with what was probably meant, a wrong value, a wrong type: all in one answer."""
    errors = check_refused(zqd, DEFAULT + 'prefech = 2\nmax_attempts = "many"\nmax_queued = -1\n')
    assert "prefech" in errors
    assert "did you mean prefetch?" in errors
    assert "max_attempts" in errors
    assert "max_queued" in errors


@pytest.mark.parametrize("text", ["[queues.default", "\udcff", "[queues]\ndefault = 1\n"])
def test_no_toml(zqd: ConfiguredZqd, text: str) -> None:
    """A file that is half written, or no text, or of another shape: said with its path."""
    zqd.config_path.write_bytes(text.encode(errors="surrogateescape"))
    before = known(zqd)
    reply = zqd.ask(zqd.control_path, "reload")
    assert (reply["ok"], reply["code"]) == (False, "failed")
    assert str(zqd.config_path) in reply["error"]
    assert known(zqd) == before


def test_no_file(zqd: ConfiguredZqd) -> None:
    """A file that is gone is no empty one."""
    before = known(zqd)
    zqd.config_path.unlink()
    reply = zqd.ask(zqd.control_path, "reload")
    assert reply["error"] == (
        f"{zqd.config_path}: cannot be read (No such file or directory); expected a readable file"
    )
    assert known(zqd) == before


def test_an_endpoint_that_cannot_be_had(zqd: ConfiguredZqd, tmp_path: Path) -> None:
    """What was bound before it is given back, and the settings beside it are not taken either."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = DEFAULT + "prefetch = 7\n"
        text += f'[queues.new]\nfrontend = ["ipc://{tmp_path}/f"]\nbackend = ["tcp://127.0.0.1:{port}"]\n'
        errors = check_refused(zqd, text)
        assert (
            errors
            == f"zqctl: cannot listen at tcp://127.0.0.1:{port}: something else listens there already\n"
        )
    assert not (tmp_path / "f").exists()
    assert zqd.reload(text)["added"] == ["new"]  # now that the port is free


@pytest.mark.parametrize("user", ["4294967295", "9" * 20, "9" * 5000])
def test_a_user_that_cannot_exist(zqd: ConfiguredZqd, user: str) -> None:
    """A number that no user can have is refused like a name that nobody has."""
    sentence = zqd.refused(DEFAULT + f'socket_user = "{user}"\n')
    assert f"queues.default.socket_user: there is no user {user[:60]}; expected" in sentence
    assert not zqd.log("zqd.fault")


def test_another_address_at_the_same_port(tmp_path: Path) -> None:
    """It is said that zqd itself is in the way."""
    old, new = (endpoint.rpartition(":") for endpoint in (steady_endpoint(), "tcp://127.0.0.2:0"))
    first, second = "".join(old), new[0] + ":" + old[2]
    text = '[queues.default]\nfrontend = ["{}"]\nbackend = ["tcp://127.0.0.1:0"]\n'
    anywhere = first.replace("127.0.0.1", "0.0.0.0")  # noqa: S104 - in a text that is refused
    with ConfiguredZqd(tmp_path, text.format(first)) as zqd:
        zqd.reload(text.format(second))  # another address alone is not in the way
        sentence = zqd.refused("allow_unauthenticated = true\n" + text.format(anywhere))
    assert sentence == (
        f"cannot listen at {anywhere} while zqd itself listens at {second}, which has the same port; "
        "expected another port, or a restart"
    )


def test_a_refused_reload_can_be_mended(zqd: ConfiguredZqd) -> None:
    """The next one is compared with what is in effect, not with what was refused."""
    zqd.refused(DEFAULT + "prefetch = 2\nwrong = 1\n")
    (change,) = zqd.reload(DEFAULT + "prefetch = 2\n")["changes"]
    assert (change["key"], change["old"], change["new"]) == ("queues.default.prefetch", "1", "2")


def test_a_reload_while_it_stops(zqd: ConfiguredZqd, connect: Connect) -> None:
    """Is refused by a sentence; the stop goes on."""
    worker, client = connect(zmq.REP, zqd.backend), connect(zmq.REQ, zqd.frontend)
    client.send(b"body")
    body = worker.recv()
    assert zqd.process is not None
    zqd.process.terminate()
    wait_for(lambda: zqd.log("zqd.stopping"), "the stop")
    assert zqd.refused(DEFAULT) == "zqd is stopping"
    worker.send(body)
    assert client.recv() == b"body"
    assert zqd.process.wait(60) == 0
    assert not zqd.log("zqd.fault")


@pytest.mark.parametrize("order", ["pause", "drain", "resume"])
def test_orders_while_it_stops(zqd: ConfiguredZqd, connect: Connect, order: str) -> None:
    """They are refused by a sentence, not by a fault."""
    worker, client = connect(zmq.REP, zqd.backend), connect(zmq.REQ, zqd.frontend)
    client.send(b"body")
    body = worker.recv()
    assert zqd.process is not None
    zqd.process.terminate()
    wait_for(lambda: zqd.log("zqd.stopping"), "the stop")
    reply = zqd.ask(zqd.control_path, order)
    assert reply["error"] == "queue default is stopping, so this cannot be done now"
    assert not zqd.log("zqd.fault")
    worker.send(body)
    assert client.recv() == b"body"


# Under load


def load(zqd: ConfiguredZqd, crowd: Crowd) -> None:
    """Clients and workers at work."""
    for _ in range(2):
        crowd.worker(zqd.backend)
    for _ in range(4):
        crowd.client(zqd.frontend, think=0.001)
    crowd.goes_on()


def check_accounts(zqd: ConfiguredZqd, crowd: Crowd) -> None:
    """Every request was answered by a worker, once."""
    crowd.finish()
    row = zqd.wait_until("the clients to have gone", lambda queue: queue["clients"] == 0)
    assert row["received"] == row["replied"] == crowd.answered
    assert row["failed"] == row["dropped"] == row["retried"] == 0
    assert not zqd.log("zqd.fault")


def test_bad_reloads_under_load(zqd: ConfiguredZqd, crowd: Crowd) -> None:
    """They change nothing and lose nothing."""
    load(zqd, crowd)
    before = known(zqd)
    for _ in range(20):
        assert "did you mean prefetch?" in zqd.refused(DEFAULT + "prefech = 2\n")
        crowd.goes_on(1)
    assert known(zqd) == before
    check_accounts(zqd, crowd)


def test_a_hundred_good_reloads_under_load(zqd: ConfiguredZqd, crowd: Crowd, tmp_path: Path) -> None:
    """Settings, endpoints and a queue change each time: no request is lost, no descriptor and no file is left."""
    load(zqd, crowd)

    def text(number: int) -> str:
        listed = f'["tcp://127.0.0.1:0", "ipc://{tmp_path}/f{number % 2}"]'
        more = f'[queues.more]\nfrontend = ["ipc://{tmp_path}/m"]\nbackend = ["ipc://{tmp_path}/n"]\n'
        changed = DEFAULT.replace('["tcp://127.0.0.1:0"]', listed, 1)
        return changed + f"prefetch = {1 + number % 3}\nmax_queued = {100 + number}\n" + more * (number % 2)

    zqd.reload(text(0))
    zqd.reload(text(1))
    crowd.goes_on(1)
    zqd.reload(text(2))
    wait_for(lambda: len(zqd.log("queue.removed")) == 1, "the queue to be gone")
    fds = zqd.fds()
    for number in range(3, RELOADS + 3):
        result = zqd.reload(text(number))
        assert (len(result["added"]), len(result["removed"])) == (number % 2, 1 - number % 2)
        assert len(result["changes"]) == 3
        assert all(row["applied"] for row in result["changes"])
        crowd.goes_on(1)
    wait_for(lambda: len(zqd.status()["queues"]) == 1, "the queue to be gone")
    # One for each reload would be a hundred; a control connection that has just ended may have been among the first count.
    wait_for(lambda: zqd.fds() <= fds, "the descriptors to be as before")
    assert {path.name for path in tmp_path.glob("[fmn]*")} == {"f0"}
    check_accounts(zqd, crowd)


# The log file


def test_the_log_file_is_opened_anew(tmp_path: Path, connect: Connect) -> None:
    """logrotate(8) renames it and sends SIGHUP: what comes is in a new file, and no line is lost."""
    log, old = tmp_path / "own.log", tmp_path / "own.log.1"
    with ConfiguredZqd(tmp_path, f'log_target = "{log}"\n' + DEFAULT) as zqd:
        connect(zmq.REQ, zqd.frontend)
        wait_for(lambda: "client.joined" in log.read_text(), "a line")
        log.rename(old)
        connect(zmq.REQ, zqd.frontend)
        wait_for(lambda: old.read_text().count("client.joined") == 2, "a line in the old one")
        assert zqd.process is not None
        zqd.process.send_signal(1)
        wait_for(lambda: log.exists() and "config.reloaded" in log.read_text(), "the new one")
        connect(zmq.REP, zqd.backend)
        wait_for(lambda: "worker.joined" in log.read_text(), "a line in the new one")
        assert "worker.joined" not in old.read_text()
        opened = [os.readlink(fd) for fd in Path(f"/proc/{zqd.pid}/fd").iterdir()]
        assert [path for path in opened if "own.log" in path] == [str(log)]
    events = [fields["event"] for fields in logged(old) + logged(log)]
    assert (events.count("zqd.started"), events.count("zqd.stopped")) == (1, 1)


def test_a_log_file_that_cannot_be_opened_anew(tmp_path: Path) -> None:
    """The reload is refused, the old file is written on, and the status says it to zqctl."""
    folder = tmp_path / "logs"
    folder.mkdir()
    log = folder / "own.log"
    with ConfiguredZqd(tmp_path, f'log_target = "{log}"\n' + DEFAULT) as zqd:
        log.rename(tmp_path / "moved.log")
        log.mkdir()
        sentence = zqd.refused(f'log_target = "{log}"\n' + DEFAULT + "prefetch = 2\n")
        assert sentence == f"cannot write the log file {log}: Is a directory"
        assert "config.rejected" in (tmp_path / "moved.log").read_text()
        assert zqd.control("config", key="queues.default.prefetch")[0]["value"] == 1
