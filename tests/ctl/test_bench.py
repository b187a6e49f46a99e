from __future__ import annotations

import errno
import json
from contextlib import closing
from pathlib import Path

import pytest
import zmq

from tests.ctl.echo import worker
from tests.ctl.running import ZQCTL, listen, said, zqctl
from tests.support.processes import Zqd
from zqd.ctl import bench
from zqd.ctl.connection import ControlError

MANY = (
    1100  # more sockets than a context of libzmq has by itself, and more than a shell's limit of descriptors
)


def test_more_clients_than_libzmqs_own_bound(zqd: Zqd) -> None:
    """Each has its connection."""
    number = str(MANY)
    with worker(zqd.backend):
        options = ("--control", f"ipc://{zqd.control_path}", "--clients", number, "--requests", number)
        done = zqctl("bench", "--json", *options, program=["prlimit", "--nofile=1024:", *ZQCTL])
    summary = json.loads(done.stdout)
    assert (done.returncode, summary["replied"], summary["clients"]) == (0, MANY, MANY)


def test_more_clients_than_descriptors() -> None:
    """One sentence, and no request: libzmq would try to connect for ever."""
    program = ["prlimit", "--nofile=100:100", *ZQCTL]
    with worker("tcp://127.0.0.1:*", bind=True) as server:
        done = zqctl("bench", "--endpoint", server, "--clients", "40", program=program)
    sentence = (
        "zqctl: cannot open 40 connections: they take 112 descriptors, and the limit is 100 (ulimit -n)\n"
    )
    assert said(done) == (1, sentence)


def test_a_socket_that_cannot_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the reason, it is told."""

    def connect(*_: object) -> None:
        raise zmq.ZMQError(errno.ENFILE)

    monkeypatch.setattr(bench, "connect", connect)
    load = bench.Load("tcp://127.0.0.1:9", None, b"", clients=3, total=5, timeout=1)
    with pytest.raises(ControlError, match="cannot open 3 connections: Too many open files in system"):
        load.run(lambda: None)


@pytest.mark.parametrize(("requests", "told"), [("1", ", 1 at a time: "), ("20", ", 10 at a time: ")])
def test_how_many_at_a_time(zqd: Zqd, requests: str, told: str) -> None:
    """No more than there are requests."""
    with worker(zqd.backend):
        done = zqctl("bench", "--control", f"ipc://{zqd.control_path}", "--requests", requests)
    assert done.returncode == 0
    assert told in done.stdout


def test_silence(tmp_path: Path) -> None:
    """When it gives up, those that it has not sent yet have failed too: the numbers make up the whole."""
    with closing(listen(tmp_path / "silent")):
        options = ("--requests", "25", "--timeout", "0.1")
        done = zqctl("bench", "--json", "--endpoint", f"ipc://{tmp_path}/silent", *options)
    summary = json.loads(done.stdout)
    assert (done.returncode, summary["requests"], summary["replied"]) == (1, 25, 0)
    assert summary["failed"] == {
        "no answer within 0.1 s": 10,
        "never sent, because no answer came any more": 15,
    }
