"""Endpoints: what `tcp://127.0.0.1:5559` and `ipc:///run/zqd/x.sock` mean, and the listening sockets behind them.

Layer 2: sockets and paths, nothing of the protocol. Called by: `config` (parse), `daemon` (bind, adopt).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import ipaddress
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from zqd.errors import UnavailableError

BACKLOG = 4096  # the kernel cuts it to net.core.somaxconn
MAX_PATH = 107  # bytes of a unix socket's path (unix(7))
LOCK_PATIENCE = 2.0  # seconds
NOBODY = 2**32 - 1  # the id that is none (chown(2)), and the first that is too large
KEEPALIVE = {
    socket.TCP_KEEPIDLE: 60,
    socket.TCP_KEEPINTVL: 15,
    socket.TCP_KEEPCNT: 4,
}  # seconds, seconds, probes


@dataclass(frozen=True, slots=True)
class TcpEndpoint:
    """`tcp://ADDRESS:PORT`; port 0 lets the kernel choose, address 0.0.0.0 or :: means every one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"tcp://[{self.host}]:{self.port}" if ":" in self.host else f"tcp://{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Only this machine reaches it."""
        address = ipaddress.ip_address(self.host)
        # A passed socket may be one of IPv6 with an IPv4 address.
        mapped = address.ipv4_mapped if address.version == 6 else None
        return (mapped or address).is_loopback


@dataclass(frozen=True, slots=True)
class IpcEndpoint:
    """`ipc://PATH`, a unix stream socket; the path is absolute."""

    path: str

    def __str__(self) -> str:
        return f"ipc://{self.path}"

    @property
    def is_loopback(self) -> bool:
        """Only this machine reaches it."""
        return True


Endpoint = TcpEndpoint | IpcEndpoint


def parse(text: str) -> Endpoint:
    """The endpoint that `text` names, as libzmq writes them; ValueError says what is wrong and what is expected."""
    scheme, separator, rest = text.partition("://")
    if separator and scheme == "tcp":
        return _parse_tcp(text, rest)
    if separator and scheme == "ipc":
        return _parse_ipc(text, rest)
    raise ValueError(f"{text!r} is no endpoint: expected tcp://ADDRESS:PORT or ipc:///PATH")


def _parse_tcp(text: str, rest: str) -> TcpEndpoint:
    host, _, port = rest.rpartition(":")
    if port == "*":
        port = "0"
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{text!r} has no port: expected tcp://ADDRESS:PORT with a port from 0 to 65535")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{text!r}: an IPv6 address stands in brackets, as in tcp://[::1]:{port}")
    host = {"*": "0.0.0.0", "localhost": "127.0.0.1"}.get(host, host)  # noqa: S104 - what the operator wrote
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(
            f"{text!r}: {host!r} is no IP address; expected one of this machine's, or *"
        ) from None
    return TcpEndpoint(str(address), int(port))


def _parse_ipc(text: str, path: str) -> IpcEndpoint:
    if not path.startswith("/") or "\0" in path or path.endswith("/"):
        raise ValueError(f"{text!r} has no absolute path: expected ipc:///PATH")
    if len(os.fsencode(path)) > MAX_PATH:
        raise ValueError(f"{text!r} is too long: the path of a unix socket has at most {MAX_PATH} bytes")
    return IpcEndpoint(os.path.normpath(path))


@dataclass(frozen=True, slots=True)
class Access:
    """Who may connect to an ipc endpoint: its file's mode, user and group. None and "" leave it to the process."""

    mode: int | None = None
    user: str = ""
    """A name or a number."""
    group: str = ""
    """A name or a number."""

    def owner(self) -> tuple[int, int]:
        """User id and group id, -1 for one that stays; ValueError where this machine has none of that name."""
        return _id_of(self.user, "user", _user_id), _id_of(self.group, "group", _group_id)


class Listener:
    """A listening, non-blocking socket and the path that it made, if it made one."""

    __slots__ = ("_inode", "asked", "endpoint", "socket")

    def __init__(self, sock: socket.socket, endpoint: Endpoint, inode: tuple[int, int] | None = None) -> None:
        self.socket = sock
        self.endpoint = endpoint
        """Where it listens, with the port that the kernel chose."""
        self.asked = endpoint
        """What `bind` was asked for: the port may be 0."""
        self._inode = inode

    def grant(self, access: Access) -> None:
        """Let others connect to a path that is still ours, as far as the system allows."""
        if self._inode is None or not isinstance(self.endpoint, IpcEndpoint):
            return
        path = self.endpoint.path
        with contextlib.suppress(OSError, ValueError):
            if _inode_of(path) == self._inode:
                if access.mode is not None:
                    os.chmod(path, access.mode)
                if access.owner() != (-1, -1):
                    os.chown(path, *access.owner(), follow_symlinks=False)

    def close(self) -> None:
        """Stop listening; the path is removed if it is still ours (rule 28)."""
        self.socket.close()
        if self._inode is not None and isinstance(self.endpoint, IpcEndpoint):
            path = self.endpoint.path
            with contextlib.suppress(OSError), _directory_locked(os.path.dirname(path)):
                if _inode_of(path) == self._inode:
                    os.unlink(path)
            self._inode = None


def bind(endpoint: Endpoint, access: Access = Access()) -> Listener:
    """Listen there; UnavailableError says in one line why that cannot be. `access` is for ipc endpoints."""
    try:
        listener = _bind_tcp(endpoint) if isinstance(endpoint, TcpEndpoint) else _bind_ipc(endpoint, access)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            reason = "something else listens there already"
        raise UnavailableError(f"cannot listen at {endpoint}: {reason}") from error
    listener.asked = endpoint
    return listener


def adopt(sock: socket.socket) -> Listener:
    """A listener of a stream socket that listens already, as systemd passes it; its path is not ours to remove."""
    sock.setblocking(False)
    address = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        path = os.fsdecode(address)
        return Listener(sock, IpcEndpoint("@" + path[1:] if path.startswith("\0") else path))
    with contextlib.suppress(OSError):  # inherited by accepted sockets, like those of _bind_tcp
        _set_tcp_options(sock)
    return Listener(sock, TcpEndpoint(*address[:2]))


def _bind_tcp(endpoint: TcpEndpoint) -> Listener:
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _set_tcp_options(sock)
        sock.bind((endpoint.host, endpoint.port))
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return Listener(sock, TcpEndpoint(endpoint.host, sock.getsockname()[1]))


def _set_tcp_options(sock: socket.socket) -> None:
    """Accepted sockets inherit these, which saves system calls for each of them."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE.items():
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _bind_ipc(endpoint: IpcEndpoint, access: Access) -> Listener:
    owner = access.owner()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        with _directory_locked(os.path.dirname(endpoint.path)):
            _clear_way(endpoint.path)
            with _file_mode(access.mode):
                sock.bind(endpoint.path)
            inode = _inode_of(endpoint.path)
            try:
                if owner != (-1, -1):
                    _give(endpoint.path, owner, access)
            except BaseException:
                os.unlink(endpoint.path)
                raise
            sock.listen(BACKLOG)  # until then it would look dead
    except BaseException:
        sock.close()
        raise
    return Listener(sock, endpoint, inode)


def _give(path: str, owner: tuple[int, int], access: Access) -> None:
    """Make the file theirs; the OSError says that it was this."""
    try:
        os.chown(path, *owner, follow_symlinks=False)
    except OSError as error:
        whose = {"user": access.user, "group": access.group}
        taker = " and ".join(f"{what} {name}" for what, name in whose.items() if name)
        raise OSError(error.errno, f"its file cannot be given to {taker}: {error.strerror}") from error


def _clear_way(path: str) -> None:
    """Remove a dead socket file; raise OSError where somebody listens, or where the file is something else."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.EEXIST, "a file is in the way that is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:  # its backlog is full: it lives
            pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


@contextlib.contextmanager
def _file_mode(mode: int | None) -> Iterator[None]:
    """Give a file that is made meanwhile just this mode, from the start; None leaves it to the process's umask."""
    if mode is None:
        yield
        return
    before = os.umask(0o777 & ~mode)
    try:
        yield
    finally:
        os.umask(before)


@contextlib.contextmanager
def _directory_locked(path: str) -> Iterator[None]:
    """Keep two daemons that start or end from taking each other's fresh socket for a dead one, or for their own."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    deadline = time.monotonic() + LOCK_PATIENCE
    try:
        while True:
            try:
                fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:  # whoever may read the directory may lock it
                if time.monotonic() > deadline:
                    raise OSError(error.errno, "another process has locked its directory") from None
                time.sleep(0.01)
        yield
    finally:
        os.close(directory)


def _inode_of(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino


def _id_of(name: str, what: str, look_up: Callable[[str], int]) -> int:
    if not name:
        return -1
    try:
        number = int(name) if name.isdecimal() else look_up(name)
    except (KeyError, ValueError):  # ValueError: thousands of digits
        number = NOBODY
    if number >= NOBODY:
        raise ValueError(f"there is no {what} {name:.60}")
    return number


def _user_id(name: str) -> int:
    import pwd

    return pwd.getpwnam(name).pw_uid


def _group_id(name: str) -> int:
    import grp

    return grp.getgrnam(name).gr_gid
