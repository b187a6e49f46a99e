"""Where log lines go: a descriptor, a file, the syslog; and `Output`, through which structlog writes to any of them.

A sink neither raises nor waits: `write` says whether the entry went through, and what did not is lost.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable
from functools import partial
from typing import Protocol

from zqd.errors import UnavailableError
from zqd.logs.levels import PRIORITIES

SYSLOG_SOCKET = "/dev/log"
FILE_MODE = 0o640  # of a log file that is made, less the umask
DAEMON = 3 << 3  # the facility of system daemons (syslog(3))
LONG_LINE = 8192  # bytes of a line that every syslog takes, where it does not take the whole


class Sink(Protocol):
    """Takes entries as a format made them: lines without the newline at their end, or an entry of the journal."""

    def write(self, priority: int, entry: bytes) -> bool:
        """Whether it went through."""

    def close(self) -> None:
        """Give back what the sink has opened; later entries are lost."""


class Output:
    """The logger that structlog's chain ends in. What a sink did not take is counted, and told before the next entry."""

    def __init__(self, sink: Sink, lost: Callable[[int], bytes]) -> None:
        self._sink = sink
        self._entry_of_lost = lost
        self._lost = 0
        self.debug = partial(self._write, PRIORITIES["debug"])
        self.info = partial(self._write, PRIORITIES["info"])
        self.warning = partial(self._write, PRIORITIES["warning"])
        self.error = partial(self._write, PRIORITIES["error"])

    def _write(self, priority: int, entry: bytes) -> None:
        if self._lost:
            if not self._sink.write(PRIORITIES["warning"], self._entry_of_lost(self._lost)):
                self._lost += 1
                return
            self._lost = 0
        if not self._sink.write(priority, entry):
            self._lost += 1


class Lines:
    """A stream of lines on a descriptor, which stays as it is: others have it too, and would be surprised by O_NONBLOCK."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._torn = False  # the last line was written in part

    def write(self, priority: int, entry: bytes) -> bool:
        """Write the whole line, or as much of it as the descriptor takes."""
        data = memoryview(b"\n" * self._torn + entry + b"\n")
        try:
            # A pipe that is ready takes PIPE_BUF bytes without waiting (pipe(7)), a socket more than that.
            while data and self._poll.poll(0):
                data = data[os.write(self._fd, data[: select.PIPE_BUF]) :]
                self._torn = bool(data)
        except OSError:
            pass
        return not data

    def close(self) -> None:
        """The descriptor is not ours."""


class LogFile:
    """A file that is appended to. UnavailableError where it cannot be opened."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = self._open()
        self._lines = Lines(self._fd)

    def write(self, priority: int, entry: bytes) -> bool:
        """Append a line."""
        return self._fd >= 0 and self._lines.write(priority, entry)

    def reopen(self) -> None:
        """Go on in the file that has the path now (logrotate(8)); UnavailableError: it goes on in the old one."""
        fd = self._open()
        self.close()
        self._fd, self._lines = fd, Lines(fd)

    def close(self) -> None:
        """Once; a number that was given back may be anybody's."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> int:
        # O_NONBLOCK is for a fifo, which else would wait for its reader.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
        try:
            return os.open(self._path, flags, FILE_MODE)
        except OSError as error:
            raise UnavailableError(f"cannot write the log file {self._path}: {error.strerror}") from None


class Datagrams:
    """A unix datagram socket that sends to a path. By its name each time: so a restart at the other end heals itself."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def send(self, data: bytes) -> None:
        """OSError where it does not go through now."""
        self._socket.sendto(data, self._path)

    def send_descriptor(self, fd: int) -> None:
        """In an empty datagram (SCM_RIGHTS of unix(7)); OSError where it does not go through now."""
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, fd.to_bytes(4, "little"))
        self._socket.sendmsg([], [rights], 0, self._path)

    def close(self) -> None:
        """Later sends are OSErrors."""
        self._socket.close()


class Syslog:
    """`<priority>identifier[pid]: line`, as syslog(3) sends it (RFC 3164); the syslog puts the time to it."""

    def __init__(self, path: str, identifier: str) -> None:
        self._datagrams = Datagrams(path)
        self._identifier = identifier

    def write(self, priority: int, entry: bytes) -> bool:
        """One datagram for each line."""
        head = f"<{DAEMON | priority}>{self._identifier}[{os.getpid()}]: ".encode()
        try:
            for line in entry.split(b"\n"):
                self._send(head + line)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """The socket."""
        self._datagrams.close()

    def _send(self, line: bytes) -> None:
        try:
            self._datagrams.send(line)
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            self._datagrams.send(line[:LONG_LINE])
