"""`zqd --daemonize --pidfile F`."""

from __future__ import annotations

import fcntl
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from tests.conftest import Connect
from tests.daemon.passing import wrapper
from tests.support.processes import PATIENCE, Zqd, logged, wait_for


class Detached:
    """Starts of a zqd in `folder` in the background; whatever runs at the end is stopped by its pid file."""

    def __init__(self, folder: Path) -> None:
        self.pid_file = folder / "zqd.pid"
        self.log_file = folder / "own.log"
        self.control = folder / "control.sock"
        self.options = ["--control", f"ipc://{self.control}", "--set", f"log_target={self.log_file}"]
        self.options += ["--frontend", f"ipc://{folder}/f", "--backend", f"ipc://{folder}/b"]

    def start(self, *options: str, wrapper: tuple[str, ...] = (), **popen: object) -> tuple[int, str]:
        """Status and complaints of the program that was started; it has ended when this returns."""
        command = [
            *wrapper,
            sys.executable,
            "-m",
            "zqd.daemon",
            "--daemonize",
            "--pidfile",
            str(self.pid_file),
        ]
        done = subprocess.run(  # type: ignore[call-overload]
            [*command, *self.options, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=PATIENCE,
            **popen,
        )
        return done.returncode, done.stderr

    @property
    def pid(self) -> int:
        """What stands in the file."""
        text = self.pid_file.read_text()
        assert re.fullmatch(r"\d+\n", text)
        return int(text)

    def stop(self) -> None:
        """SIGTERM by the pid in the file, as a host's script does; the end."""
        pid = self.pid
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not runs(pid), "the end")


def runs(pid: int) -> bool:
    """There is such a process, and it is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def detached(tmp_path: Path) -> Iterator[Detached]:
    """Nothing runs yet."""
    detached = Detached(tmp_path)
    yield detached
    if detached.pid_file.exists() and detached.pid_file.read_text().strip().isdigit() and runs(detached.pid):
        detached.stop()


def test_it_serves(detached: Detached, tmp_path: Path, connect: Connect) -> None:
    """The start ends with status 0 when everything listens; the stop leaves no file but the log."""
    assert detached.start() == (0, "")
    assert Zqd.ask(detached.control, "ping")["result"] == {"pid": detached.pid}
    client, worker = connect(zmq.REQ, f"ipc://{tmp_path}/f"), connect(zmq.REP, f"ipc://{tmp_path}/b")
    client.send(b"body")
    worker.send(worker.recv())
    assert client.recv() == b"body"
    detached.stop()
    assert [path.name for path in tmp_path.iterdir()] == ["own.log"]
    events = [fields["event"] for fields in logged(detached.log_file)]
    assert "zqd.fault" not in events
    assert events[-1] == "zqd.stopped"


def test_it_is_detached(detached: Detached, tmp_path: Path) -> None:
    """Another session, which it does not lead and so never gets a terminal; cwd /; nothing of the starter's is open."""
    assert detached.start(cwd=Path.cwd()) == (0, "")
    proc = Path(f"/proc/{detached.pid}")
    fields = proc.joinpath("stat").read_text().rpartition(")")[2].split()
    session, terminal = int(fields[3]), int(fields[4])
    assert session not in {os.getsid(0), detached.pid}
    assert terminal == 0
    assert os.readlink(proc / "cwd") == "/"
    assert [os.readlink(proc / "fd" / number) for number in "012"] == ["/dev/null"] * 3


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o007])
def test_the_umask_stays(detached: Detached, umask: int) -> None:
    """What the starter had holds for files that come later, such as a new log file."""
    assert detached.start(umask=umask) == (0, "")
    status = Path(f"/proc/{detached.pid}/status").read_text()
    assert f"Umask:\t{umask:04o}" in status
    detached.log_file.unlink()
    os.kill(detached.pid, signal.SIGHUP)
    wait_for(detached.log_file.exists, "the new log")
    assert detached.log_file.stat().st_mode & 0o777 == 0o640 & ~umask


def test_a_second_start_is_refused(detached: Detached) -> None:
    """With the pid of the first, status 69; the first goes on."""
    assert detached.start() == (0, "")
    pid = detached.pid
    assert detached.start() == (
        69,
        f"zqd: zqd is running already: pid {pid} has locked {detached.pid_file}\n",
    )
    assert Zqd.ask(detached.control, "ping")["result"] == {"pid": pid}
    assert detached.pid == pid


@pytest.mark.parametrize("left", ["4194304\n", f"{os.getpid()}\n", "", "\n", "  12"])
def test_a_stale_file_is_replaced(detached: Detached, left: str) -> None:
    """Whoever's pid stands in it, another living process's too: only the lock says that a zqd lives."""
    detached.pid_file.write_text(left)
    assert detached.start() == (0, "")
    assert runs(detached.pid)
    assert detached.pid != os.getpid()


@pytest.mark.parametrize("content", ["nonsense", "-1\n", "1\n2\n" * 50, "[queues.default]\n", "\0" * 20])
def test_a_file_that_is_something_else_stays(detached: Detached, content: str) -> None:
    """A mistyped path costs nobody his file: it is neither written over nor removed."""
    detached.pid_file.write_text(content)
    sentence = (
        f"zqd: the pid file {detached.pid_file} has something else in it; "
        "expected one that is empty or has a process id, or none yet\n"
    )
    assert detached.start() == (69, sentence)
    assert detached.pid_file.read_text() == content


def test_a_pid_file_that_is_no_file(detached: Detached) -> None:
    """Such as a FIFO."""
    os.mkfifo(detached.pid_file)
    status, errors = detached.start()
    assert (status, errors.count("\n")) == (69, 1)
    assert f"the pid file {detached.pid_file} is no regular file" in errors
    assert detached.pid_file.is_fifo()
    detached.pid_file.unlink()


def test_nothing_of_the_starter_stays_open(detached: Detached, tmp_path: Path) -> None:
    """A lock that it held is free when it gives it up, and the reader of a pipe that it had sees its end."""
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    reading, writing = os.pipe()
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert detached.start(pass_fds=(lock, writing)) == (0, "")
    os.close(lock)
    os.close(writing)
    other = os.open(tmp_path / "lock", os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert select.select([reading], [], [], PATIENCE)[0]
    assert os.read(reading, 1) == b""
    os.close(other)
    os.close(reading)


def test_passed_sockets_stay(detached: Detached, connect: Connect) -> None:
    """They are not the starter's; what else it had open beside them goes."""
    reading, writing = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as frontend:
        fds = [frontend.fileno()]
        started = detached.start(wrapper=wrapper(["frontend"], fds), pass_fds=(*fds, writing))
        endpoint = "tcp://{}:{}".format(*frontend.getsockname())
    assert started == (0, "")
    os.close(writing)
    assert os.read(reading, 1) == b""
    os.close(reading)
    client, worker = connect(zmq.REQ, endpoint), connect(zmq.REP, detached.options[-1])
    client.send(b"body")
    worker.send(worker.recv())
    assert client.recv() == b"body"


def test_after_a_kill(detached: Detached) -> None:
    """SIGKILL leaves the file, and the next start takes it."""
    assert detached.start() == (0, "")
    first = detached.pid
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: not runs(first), "the end")
    assert detached.pid_file.exists()
    assert detached.start() == (0, "")
    assert detached.pid != first


def test_a_start_that_cannot_bind(detached: Detached, tmp_path: Path) -> None:
    """Fails before it detaches: with its sentence and status 69, and leaves no pid file."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        status, errors = detached.start("--backend", endpoint)
    assert (status, errors) == (
        69,
        f"zqd: cannot listen at {endpoint}: something else listens there already\n",
    )
    assert {path.name for path in tmp_path.iterdir()} <= {"own.log"}


def test_a_bad_configuration(detached: Detached) -> None:
    """Status 78, and nothing was made."""
    status, errors = detached.start("--set", "queues.default.prefetch=0")
    assert status == 78
    assert "prefetch" in errors
    assert not detached.pid_file.exists()


def test_a_pid_file_that_cannot_be_had(detached: Detached, tmp_path: Path) -> None:
    """In a directory that does not exist, or where a symbolic link lies: one line, status 69."""
    detached.pid_file = tmp_path / "none" / "zqd.pid"
    sentence = f"zqd: cannot have the pid file {detached.pid_file}: No such file or directory\n"
    assert detached.start() == (69, sentence)
    target = tmp_path / "precious"
    target.write_text("precious")
    detached.pid_file = tmp_path / "link.pid"
    detached.pid_file.symlink_to(target)
    status, errors = detached.start()
    assert (status, errors.count("\n")) == (69, 1)
    assert target.read_text() == "precious"


def test_a_relative_path(detached: Detached, tmp_path: Path) -> None:
    """Is meant from where it was started, also at the end, from /."""
    whole = detached.pid_file
    detached.pid_file = Path("zqd.pid")
    root = Path.cwd()
    wrapper = ("env", f"PYTHONPATH={root}")
    assert detached.start(wrapper=wrapper, cwd=tmp_path) == (0, "")
    detached.pid_file = whole
    detached.stop()
    assert not whole.exists()


def test_a_relative_configuration(detached: Detached, tmp_path: Path) -> None:
    """Is found again at a reload, though zqd is in / by then."""
    (tmp_path / "zqd.toml").write_text("[queues.default]\n")
    wrapper = ("env", f"PYTHONPATH={Path.cwd()}")
    assert detached.start("--config", "zqd.toml", wrapper=wrapper, cwd=tmp_path) == (0, "")
    os.kill(detached.pid, signal.SIGHUP)
    wait_for(lambda: "config.re" in detached.log_file.read_text(), "the reload")
    assert "config.rejected" not in detached.log_file.read_text()


def test_a_file_that_another_has_replaced_stays(detached: Detached) -> None:
    """Only the own file is removed at the end."""
    assert detached.start() == (0, "")
    pid = detached.pid
    detached.pid_file.unlink()
    detached.pid_file.write_text("another's\n")
    os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not runs(pid), "the end")
    assert detached.pid_file.read_text() == "another's\n"


def test_stderr_becomes_syslog(detached: Detached, tmp_path: Path) -> None:
    """A detached zqd has no stderr: its log goes to /dev/log, here one in a mount namespace."""
    if os.geteuid() or shutil.which("unshare") is None:
        pytest.skip("NO MOUNT NAMESPACE HERE: the log of a detached zqd in the syslog is NOT TESTED")
    detached.options[3] = "log_target=stderr"
    dev = tmp_path / "dev"
    dev.mkdir()
    (dev / "null").touch()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(str(dev / "log"))
        syslog.settimeout(PATIENCE)
        script = f'mount --bind /dev/null {dev}/null && mount --rbind {dev} /dev && exec "$@"'
        namespace = ("unshare", "--mount", "sh", "-c", script, "sh")
        if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
            pytest.skip("NO MOUNT NAMESPACE HERE: the log of a detached zqd in the syslog is NOT TESTED")
        assert detached.start(wrapper=namespace) == (0, "")
        line = syslog.recv(65536).decode()
        while "zqd.started" not in line:
            line = syslog.recv(65536).decode()
        assert re.match(rf"<30>zqd\[{detached.pid}\]: ", line)
        detached.stop()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--daemonize"], "--daemonize needs --pidfile FILE, by which zqd is found again"),
        (["--pidfile", "/tmp/x"], "--pidfile goes with --daemonize only"),
    ],
)
def test_one_without_the_other(options: list[str], sentence: str) -> None:
    """Is a mistake of the command line, status 64."""
    command = [sys.executable, "-m", "zqd.daemon", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (64, f"zqd: {sentence}\nzqd: try zqd --help\n")
