"""What a socket did not take at once: kept in pieces, sent on when it is writable, without copying what is large.

Layer 3. Called by: `link`.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
import termios

from zqd.zmtp.frames import Raw

MOST_PIECES = 1024  # that one sendmsg takes (IOV_MAX)

# Of struct tcp_info (linux/tcp.h), tcpi_unacked (segments) and tcpi_last_ack_recv (milliseconds ago).
_TCP_INFO = struct.Struct("=24xI28xI")


class Outflow:
    """The backlog of one connection's bytes."""

    __slots__ = ("_held", "_looked", "_pieces", "_sock", "progress", "size")

    def __init__(self, sock: socket.socket, now: float) -> None:
        self.size = 0
        """Bytes in the backlog."""
        self.progress = now
        """When the socket last took something, or the peer was seen to read."""
        self._sock = sock
        self._pieces: list[Raw] = []
        self._held = 0  # bytes that the kernel had for the peer when that was last looked at,
        self._looked = now  # and when that was

    def send(self, pieces: list[Raw], flags: int, now: float) -> None:
        """Put more behind what is there and send as much as the socket takes; OSError where the peer is gone."""
        if not self.size:
            self.progress = now
        self._pieces += pieces
        self.size += sum(map(len, pieces))
        while self._pieces:
            some = self._pieces if len(self._pieces) <= MOST_PIECES else self._pieces[:MOST_PIECES]
            try:
                sent = self._sock.sendmsg(some, (), flags)
            except BlockingIOError:
                return
            self.progress = now
            if sent == self.size:
                self.clear()
            else:
                self._forget(sent)
                if some is self._pieces:  # it took a part: it is full
                    return

    def clear(self) -> None:
        """Give everything up."""
        self._pieces = []
        self.size = 0

    def look(self, now: float) -> None:
        """See whether the peer has read since the last look: the socket takes more only when much is free in it."""
        held = int.from_bytes(fcntl.ioctl(self._sock.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        if held < self._held or self.progress > self._looked:
            self.progress = now
        self._held, self._looked = held, now

    def unacknowledged_for(self) -> float:
        """How long the peer's kernel has acknowledged nothing of what is on its way to it, seconds; 0 where nothing is.

        A peer that does not read leaves nothing on the way, and so is not meant here; one that was unplugged is.
        """
        if self._sock.family == socket.AF_UNIX:
            return 0.0
        info = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        unacknowledged, milliseconds = _TCP_INFO.unpack(info)
        return milliseconds / 1000 if unacknowledged else 0.0

    def _forget(self, sent: int) -> None:
        self.size -= sent
        pieces = self._pieces
        done = 0
        while done < len(pieces) and sent >= len(pieces[done]):
            sent -= len(pieces[done])
            done += 1
        del pieces[:done]
        if sent:
            pieces[0] = memoryview(pieces[0])[sent:]
