from __future__ import annotations

import fcntl
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import zmq

from tests.conftest import Connect
from tests.faults.crowd import Crowd
from tests.support.processes import Zqd

NAMES = ("f", "b", "control.sock")


def ipc_zqd(folder: Path, *options: str) -> Zqd:
    """A zqd that has no endpoints but `f`, `b` and `control.sock` in `folder`."""
    return Zqd(folder, *options, frontend=[f"ipc://{folder}/f"], backend=[f"ipc://{folder}/b"])


def refusal(folder: Path) -> str:
    """The last line of a zqd that must not start there."""
    command = [
        sys.executable,
        "-m",
        "zqd.daemon",
        "--frontend",
        f"ipc://{folder}/f",
        "--backend",
        f"ipc://{folder}/b",
    ]
    command += ["--control", f"ipc://{folder}/control.sock"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 69  # sysexits.h: EX_UNAVAILABLE
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


def dead_socket(path: Path) -> None:
    """A file whose owner was killed."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def test_traffic(tmp_path: Path, connect: Connect) -> None:
    """Requests and replies travel over ipc endpoints, and workers there are known by their process."""
    with ipc_zqd(tmp_path) as zqd:
        client, worker = connect(zmq.REQ, zqd.frontend), connect(zmq.REP, zqd.backend)
        client.send(b"body")
        worker.send(worker.recv())
        assert client.recv() == b"body"
        (row,) = zqd.control("workers")
        assert (row["pid"], row["address"]) == (os.getpid(), f"ipc:pid={os.getpid()}")


@pytest.mark.parametrize("name", NAMES)
def test_path_in_use(tmp_path: Path, name: str) -> None:
    """Rule 28: a path on which a connect succeeds is refused, status 69, and its owner keeps it."""
    with socket.socket(socket.AF_UNIX) as owner:
        owner.bind(str(tmp_path / name))
        owner.listen()
        inode = (tmp_path / name).stat().st_ino
        wanted = f"zqd: cannot listen at ipc://{tmp_path}/{name}: something else listens there already"
        assert refusal(tmp_path) == wanted
        assert (tmp_path / name).stat().st_ino == inode
        assert {path.name for path in tmp_path.iterdir()} == {name}


def test_a_second_zqd(tmp_path: Path, connect: Connect) -> None:
    """Rule 28: a second zqd with the same endpoints is refused, and the first one's traffic goes on."""
    with ipc_zqd(tmp_path) as zqd:
        assert "something else listens there already" in refusal(tmp_path)
        client, worker = connect(zmq.REQ, zqd.frontend), connect(zmq.REP, zqd.backend)
        client.send(b"body")
        worker.send(worker.recv())
        assert client.recv() == b"body"
        assert zqd.status()["pid"] == zqd.pid


def test_full_backlog(tmp_path: Path) -> None:
    """Rule 28: a path whose owner is too busy to accept is in use."""
    with socket.socket(socket.AF_UNIX) as owner, socket.socket(socket.AF_UNIX) as waiting:
        owner.bind(str(tmp_path / "f"))
        owner.listen(0)
        waiting.connect(str(tmp_path / "f"))
        assert "something else listens there already" in refusal(tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_dead_file(tmp_path: Path, name: str) -> None:
    """Rule 28: a file on which nobody listens is replaced."""
    dead_socket(tmp_path / name)
    with ipc_zqd(tmp_path) as zqd:
        assert zqd.status()["state"] == "running"
    assert {path.name for path in tmp_path.iterdir()} == {"zqd.log"}


def test_after_a_kill(tmp_path: Path, crowd: Crowd) -> None:
    """A killed zqd leaves its files, its successor replaces them, and the peers come back."""
    with ipc_zqd(tmp_path) as zqd:
        crowd.worker(zqd.backend)
        crowd.correlating_client(zqd.frontend, patience=0.3)
        crowd.goes_on()
        zqd.stop(signal.SIGKILL)
        assert {path.name for path in tmp_path.iterdir()} >= set(NAMES)
        zqd.start()
        crowd.goes_on()


def test_modes(tmp_path: Path) -> None:
    """The control socket is for its owner and group, whatever the umask; the others are as that says."""
    with ipc_zqd(tmp_path):
        modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in NAMES}
    umask = os.umask(0)
    os.umask(umask)
    assert modes == {"f": 0o777 & ~umask, "b": 0o777 & ~umask, "control.sock": 0o660}


def test_locked_directory(tmp_path: Path) -> None:
    """A directory that another process keeps locked is reported, and not waited for for ever."""
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        assert (
            refusal(tmp_path)
            == f"zqd: cannot listen at ipc://{tmp_path}/f: another process has locked its directory"
        )
    finally:
        os.close(directory)
