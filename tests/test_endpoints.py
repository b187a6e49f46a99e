from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import socket
import threading
from pathlib import Path

import pytest

from zqd import endpoints
from zqd.endpoints import Access, IpcEndpoint, Listener, TcpEndpoint, bind, parse
from zqd.errors import UnavailableError


@pytest.mark.parametrize(
    ("text", "endpoint", "written"),
    [
        ("tcp://127.0.0.1:5559", TcpEndpoint("127.0.0.1", 5559), None),
        ("tcp://127.0.0.1:0", TcpEndpoint("127.0.0.1", 0), None),
        ("tcp://127.0.0.1:*", TcpEndpoint("127.0.0.1", 0), "tcp://127.0.0.1:0"),
        ("tcp://127.0.0.1:65535", TcpEndpoint("127.0.0.1", 65535), None),
        ("tcp://localhost:1", TcpEndpoint("127.0.0.1", 1), "tcp://127.0.0.1:1"),
        ("tcp://*:1", TcpEndpoint("0.0.0.0", 1), "tcp://0.0.0.0:1"),  # noqa: S104 - only parsed
        ("tcp://[::1]:1", TcpEndpoint("::1", 1), None),
        ("tcp://[0:0::0:1]:1", TcpEndpoint("::1", 1), "tcp://[::1]:1"),
        ("tcp://[::]:1", TcpEndpoint("::", 1), None),
        ("ipc:///run/zqd/x.sock", IpcEndpoint("/run/zqd/x.sock"), None),
        ("ipc:///run//zqd/./x.sock", IpcEndpoint("/run/zqd/x.sock"), "ipc:///run/zqd/x.sock"),
        ("ipc:///run/with space/ä", IpcEndpoint("/run/with space/ä"), None),
    ],
)
def test_parse(text: str, endpoint: TcpEndpoint | IpcEndpoint, written: str | None) -> None:
    """An endpoint is read as libzmq writes it, and written back in one way only."""
    assert parse(text) == endpoint
    assert str(endpoint) == (written or text)
    assert parse(str(endpoint)) == endpoint


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is no endpoint"),
        ("127.0.0.1:5559", "is no endpoint"),
        ("udp://127.0.0.1:5559", "is no endpoint"),
        ("tcp:/127.0.0.1:5559", "is no endpoint"),
        ("TCP://127.0.0.1:5559", "is no endpoint"),
        ("tcp://", "has no port"),
        ("tcp://127.0.0.1", "has no port"),
        ("tcp://127.0.0.1:", "has no port"),
        ("tcp://:5559", "has no port"),
        ("tcp://127.0.0.1:65536", "with a port from 0 to 65535"),
        ("tcp://127.0.0.1:-1", "with a port from 0 to 65535"),
        ("tcp://127.0.0.1:٣", "with a port from 0 to 65535"),
        ("tcp://127.0.0.1:55x", "with a port from 0 to 65535"),
        ("tcp://::1:5559", "an IPv6 address stands in brackets"),
        ("tcp://example.org:5559", "'example.org' is no IP address"),
        ("tcp://eth0:5559", "'eth0' is no IP address"),
        ("tcp://127.0.0.1;127.0.0.2:5559", "is no IP address"),
        ("ipc://", "has no absolute path"),
        ("ipc://relative", "has no absolute path"),
        ("ipc://@abstract", "has no absolute path"),
        ("ipc:///", "has no absolute path"),
        ("ipc:///run/", "has no absolute path"),
        ("ipc:///run/\0", "has no absolute path"),
        ("ipc:///" + "x" * 107, "at most 107 bytes"),
        ("ipc:///" + "ä" * 54, "at most 107 bytes"),
    ],
)
def test_no_endpoint(text: str, complaint: str) -> None:
    """What is no endpoint is refused with the text itself and what is expected."""
    with pytest.raises(ValueError, match=complaint) as caught:
        parse(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("tcp://127.0.0.1:1", True),
        ("tcp://127.9.9.9:1", True),
        ("tcp://[::1]:1", True),
        ("tcp://[::ffff:127.0.0.1]:1", True),
        ("ipc:///run/x", True),
        ("tcp://*:1", False),
        ("tcp://[::]:1", False),
        ("tcp://192.0.2.1:1", False),
        ("tcp://[::ffff:192.0.2.1]:1", False),
        ("tcp://[2001:db8::1]:1", False),
    ],
)
def test_who_reaches_it(text: str, loopback: bool) -> None:
    """Loopback addresses and paths are for this machine only."""
    assert parse(text).is_loopback == loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_tcp(host: str) -> None:
    """A TCP listener tells the port that the kernel chose, and what it accepts has the options that cost a call each."""
    listener = bind(TcpEndpoint(host, 0))
    endpoint = listener.endpoint
    assert isinstance(endpoint, TcpEndpoint)
    assert (endpoint.host, endpoint.port > 0) == (host, True)
    assert listener.socket.getblocking() is False
    with socket.create_connection((host, endpoint.port)):
        select.select([listener.socket], [], [], 10)
        accepted, _ = listener.socket.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
    listener.close()


def test_taken_port() -> None:
    """A port where somebody listens is refused in one line."""
    listener = bind(TcpEndpoint("127.0.0.1", 0))
    with pytest.raises(UnavailableError) as caught:
        bind(listener.endpoint)
    assert str(caught.value) == f"cannot listen at {listener.endpoint}: something else listens there already"
    listener.close()
    bind(listener.endpoint).close()


def test_path(tmp_path: Path) -> None:
    """A path is there while it is listened at, and no longer; closing twice is one closing."""
    listener = bind(IpcEndpoint(f"{tmp_path}/x"))
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(f"{tmp_path}/x")
    listener.close()
    listener.close()
    assert list(tmp_path.iterdir()) == []


def test_mode(tmp_path: Path) -> None:
    """A file has the mode that is wanted, whatever the umask."""
    before = os.umask(0o077)
    listener = bind(IpcEndpoint(f"{tmp_path}/x"), Access(mode=0o660))
    assert os.umask(before) == 0o077
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o660
    listener.close()


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_dead_file(tmp_path: Path, kind: socket.SocketKind) -> None:
    """Rule 28: a socket file without a socket is replaced."""
    with socket.socket(socket.AF_UNIX, kind) as dead:
        dead.bind(f"{tmp_path}/x")
    bind(IpcEndpoint(f"{tmp_path}/x")).close()
    assert list(tmp_path.iterdir()) == []


def test_path_in_use(tmp_path: Path) -> None:
    """Rule 28: a path on which a connect succeeds is refused."""
    listener = bind(IpcEndpoint(f"{tmp_path}/x"))
    with pytest.raises(UnavailableError, match="something else listens there already"):
        bind(IpcEndpoint(f"{tmp_path}/x"))
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(f"{tmp_path}/x")
    listener.close()


def test_path_of_a_datagram_socket(tmp_path: Path) -> None:
    """A live socket of another kind keeps its path."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(f"{tmp_path}/x")
        with pytest.raises(UnavailableError, match="Protocol wrong type for socket"):
            bind(IpcEndpoint(f"{tmp_path}/x"))
        assert (tmp_path / "x").is_socket()


def test_symbolic_link(tmp_path: Path) -> None:
    """A symbolic link is no socket of ours, wherever it leads."""
    (tmp_path / "x").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnavailableError, match="a file is in the way that is no socket"):
        bind(IpcEndpoint(f"{tmp_path}/x"))
    assert (tmp_path / "x").is_symlink()


@pytest.mark.parametrize(
    ("path", "reason"), [("missing/x", "No such file or directory"), ("file/x", "Not a directory")]
)
def test_path_that_cannot_be_made(tmp_path: Path, path: str, reason: str) -> None:
    """The system's reason is told."""
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match=reason):
        bind(IpcEndpoint(f"{tmp_path}/{path}"))


def test_another_file_in_its_place(tmp_path: Path) -> None:
    """Rule 28: only the own inode is removed."""
    listener = bind(IpcEndpoint(f"{tmp_path}/x"))
    (tmp_path / "x").unlink()
    (tmp_path / "x").touch()
    listener.close()
    assert (tmp_path / "x").is_file()


def test_one_of_many(tmp_path: Path) -> None:
    """Of those that want a path at the same time, on which a dead file lies, one gets it."""
    path = tmp_path / "x"
    for _ in range(30):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        listeners: list[Listener] = []
        together = threading.Barrier(8)

        def try_it(together: threading.Barrier, listeners: list[Listener]) -> None:
            together.wait()
            with contextlib.suppress(UnavailableError):
                listeners.append(bind(IpcEndpoint(str(path))))

        threads = [threading.Thread(target=try_it, args=(together, listeners)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (listener,) = listeners
        assert path.is_socket()
        listener.close()


def test_locked_until_it_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its directory is locked until the socket listens: before that it would look dead to another."""
    locked = []
    directory = os.open(tmp_path, os.O_RDONLY)

    def listen(sock: socket.socket, backlog: int) -> None:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            locked.append(True)

    monkeypatch.setattr(socket.socket, "listen", listen)
    bind(IpcEndpoint(f"{tmp_path}/x")).close()
    os.close(directory)
    assert locked == [True]


def test_directory_that_stays_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that another process keeps is not waited for for ever, neither at the start nor at the end."""
    monkeypatch.setattr(endpoints, "LOCK_PATIENCE", 0.05)
    listener = bind(IpcEndpoint(f"{tmp_path}/y"))
    directory = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)
    with pytest.raises(UnavailableError, match="another process has locked its directory"):
        bind(IpcEndpoint(f"{tmp_path}/x"))
    listener.close()
    os.close(directory)
    assert [path.name for path in tmp_path.iterdir()] == ["y"]  # dead: the next one replaces it


def test_nothing_is_left_of_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that cannot listen is closed, on either kind of endpoint."""
    before = len(os.listdir("/proc/self/fd"))

    def listen(sock: socket.socket, backlog: int) -> None:
        raise OSError(errno.EADDRINUSE, "Address already in use")

    monkeypatch.setattr(socket.socket, "listen", listen)
    for endpoint in (TcpEndpoint("127.0.0.1", 0), IpcEndpoint(f"{tmp_path}/x")):
        with pytest.raises(UnavailableError):
            bind(endpoint)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("access", "taker"),
    [
        (Access(group="12"), "group 12"),
        (Access(user="11"), "user 11"),
        (Access(user="11", group="12"), "user 11 and group 12"),
    ],
)
def test_an_owner_that_cannot_be_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, access: Access, taker: str
) -> None:
    """It is said that this was refused, and not the listening; no file stays."""

    def chown(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chown", chown)
    with pytest.raises(UnavailableError) as caught:
        bind(IpcEndpoint(f"{tmp_path}/x"), access)
    assert str(caught.value) == (
        f"cannot listen at ipc://{tmp_path}/x: its file cannot be given to {taker}: Operation not permitted"
    )
    assert list(tmp_path.iterdir()) == []


def test_an_owner_that_does_not_exist(tmp_path: Path) -> None:
    """One line, and no file."""
    with pytest.raises(UnavailableError, match=r"^cannot listen at ipc://.*/x: there is no group no-such$"):
        bind(IpcEndpoint(f"{tmp_path}/x"), Access(group="no-such"))
    assert list(tmp_path.iterdir()) == []
