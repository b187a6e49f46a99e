"""What logs are sent to in these tests: a pipe, a journal, a syslog; and a clock that stands still."""

from __future__ import annotations

import os
import socket
from pathlib import Path

Entry = dict[str, str]


class Pipe:
    """Where the log goes, and what came there."""

    def __init__(self) -> None:
        self.reading, self.fd = os.pipe()
        os.set_blocking(self.reading, False)

    def lines(self) -> list[str]:
        """The lines since the last time."""
        try:
            return os.read(self.reading, 1 << 20).decode().splitlines()
        except BlockingIOError:
            return []

    def close(self) -> None:
        """Both ends."""
        os.close(self.reading)
        os.close(self.fd)


class Receiver:
    """A unix datagram socket at `path`, as a journal or a syslog has it; it may go and come back."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.start()

    def start(self) -> None:
        """Listen."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(self.path)

    def stop(self, *, unlink: bool = True) -> None:
        """Go; what had come and was not read is gone too."""
        self._socket.close()
        if unlink:
            os.unlink(self.path)

    def datagrams(self) -> list[tuple[bytes, list[int]]]:
        """What has come since the last time: bytes, and descriptors."""
        got: list[tuple[bytes, list[int]]] = []
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(self._socket, 1 << 20, 4)
            except BlockingIOError:
                return got
            got.append((data, list(fds)))

    def entries(self) -> list[Entry]:
        """The journal's entries."""
        entries = []
        for data, fds in self.datagrams():
            files = b"".join(_content(fd) for fd in fds)
            entries.append(parse(data + files))
        return entries


class Clock:
    """The time is what the test says."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Monotonic seconds."""
        return self.now


def _content(fd: int) -> bytes:
    with open(fd, "rb") as file:
        file.seek(0)
        return file.read()


def parse(data: bytes) -> Entry:
    """The fields of an entry in the journal's native protocol; ValueError where it is none."""
    fields = {}
    while data:
        head, newline, rest = data.partition(b"\n")
        if not newline:
            raise ValueError(f"no newline after {head!r}")
        name, equals, value = head.partition(b"=")
        if equals:
            data = rest
        else:
            size = int.from_bytes(rest[:8], "little")
            value, end, data = rest[8 : 8 + size], rest[8 + size : 9 + size], rest[9 + size :]
            if len(value) != size or end != b"\n":
                raise ValueError(f"{name!r} is torn")
        fields[name.decode()] = value.decode()
    return fields
