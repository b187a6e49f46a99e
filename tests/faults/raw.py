"""A peer without a library: a socket, and ZMTP by hand, right or wrong as a test wants it."""

from __future__ import annotations

import re
import select
import socket
import time
from types import TracebackType
from typing import Self

from tests.support.processes import PATIENCE
from tests.zmtp.peers import greeting, ready
from zqd.zmtp.frames import COMMAND, MORE, encode_message, frame_bounds


class RawPeer:
    """A connection to `endpoint` that has sent nothing yet. `receive_buffer` (bytes) makes it small."""

    def __init__(self, endpoint: str, receive_buffer: int | None = None) -> None:
        if endpoint.startswith("ipc://"):
            self.socket = socket.socket(socket.AF_UNIX)
            address: str | tuple[str, int] = endpoint.removeprefix("ipc://")
        else:
            host, port = re.fullmatch(r"tcp://(.*):(\d+)", endpoint).groups()  # type: ignore[union-attr]  # zqd's own
            self.socket = socket.socket()
            address = (host, int(port))
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(address)
        self._buffer = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """These bytes, whatever they mean."""
        self.socket.sendall(data)

    def send_message(self, *frames: bytes) -> None:
        """One whole message."""
        self.send(encode_message(frames))

    def shake_hands(self, socket_type: bytes) -> Self:
        """Greeting and READY, both ways."""
        self.send_handshake(socket_type)
        self.skip_handshake()
        return self

    def send_handshake(self, socket_type: bytes) -> None:
        """Our greeting and READY."""
        self.send(greeting() + ready(socket_type))

    def skip_handshake(self) -> None:
        """Receive zqd's greeting and READY."""
        self._fill(64)
        del self._buffer[:64]
        flags, body = self.receive_frame()
        assert flags == COMMAND
        assert body.startswith(b"\5READY")

    def receive_message(self) -> list[bytes]:
        """The frames of the next message; PINGs are passed over, unanswered."""
        frames: list[bytes] = []
        while True:
            flags, body = self.receive_frame()
            if flags & COMMAND:
                continue
            frames.append(body)
            if not flags & MORE:
                return frames

    def receive_frame(self) -> tuple[int, bytes]:
        """Flags and body of the next frame, message or command."""
        self._fill(2)
        self._fill(9 if self._buffer[0] & 2 else 2)
        start, end = frame_bounds(self._buffer, 0)
        self._fill(end)
        flags, body = self._buffer[0], bytes(self._buffer[start:end])
        del self._buffer[:end]
        return flags, body

    def _fill(self, size: int) -> None:
        while len(self._buffer) < size:
            data = self.socket.recv(1 << 16)
            assert data, "zqd has closed the connection"
            self._buffer += data

    def read_to_end(self, patience: float = PATIENCE) -> bytes:
        """All that zqd still sends until it closes; a reset is an end too."""
        deadline = time.monotonic() + patience
        while True:
            readable, _, _ = select.select([self.socket], [], [], max(0.0, deadline - time.monotonic()))
            assert readable, "zqd does not close the connection"
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                whole, self._buffer = bytes(self._buffer), bytearray()
                return whole
            self._buffer += data


def half(message: bytes) -> bytes:
    """The first half of it."""
    return message[: len(message) // 2]
