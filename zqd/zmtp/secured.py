"""A connection whose mechanism has a cipher: each frame of its traffic carries one frame of a message, or a command.

    bytes ─▶ carrying frames ─▶ Cipher.decode ─▶ frames of messages ─▶ [raw message, …]
                                             └─▶ commands, answered into the outbox

Frames are opened one by one, in order, so what came before a forged one still counts. What a frame announces is judged by
its header, before any of it is kept: no peer makes the buffer grow past the limit.

A message over the limit gets its Oversize as in plain traffic. But where one frame alone is too large to be kept, it can
not be opened either, and so nobody knows whether the message goes on behind it: the connection ends with that Oversize.

Layer 1, pure. Called by: `zqd.net.link`, for endpoints that have a key.
"""

from __future__ import annotations

from zqd.zmtp.connection import ANNOUNCED_FACTOR, BATCH, Connection, Message, Oversize
from zqd.zmtp.frames import (
    COMMAND,
    LARGE,
    LONG,
    MORE,
    Raw,
    encode_frame,
    envelope_of,
    frame_bounds,
    frame_header,
)
from zqd.zmtp.handshake import Cipher, HandshakeError, Mechanism
from zqd.zmtp.pieces import RawMessage, flat


class SecuredConnection(Connection):
    """The protocol state of one accepted connection that is secured. `max_message_size` counts what is carried."""

    __slots__ = ("_cipher", "_envelope", "_frames", "_taken")

    def __init__(self, mechanism: Mechanism, socket_type: bytes, max_message_size: int) -> None:
        super().__init__(mechanism, socket_type, max_message_size)
        self._cipher: Cipher  # from the end of the handshake on
        self._frames = bytearray()  # of a message: those that have been opened
        self._taken = 0  # their bytes, discarded ones included
        self._envelope: bytes | None = None  # of a message that is being discarded

    def _begin_traffic(self) -> None:
        cipher = self.mechanism.cipher
        if cipher is None:
            raise RuntimeError("a SecuredConnection needs a mechanism with a cipher")
        self._cipher = cipher

    def _parse(self, data: bytes | bytearray) -> list[Message]:
        """Open the frames that are whole. `data` is the buffer itself, or bytes that begin with what it holds."""
        messages: list[Message] = []
        view = memoryview(data)
        at, size = 0, len(data)
        while size - at >= 2 and len(messages) < BATCH:
            flags = data[at]
            if flags & ~LONG:
                self._fail(f"unsecured frame (flags 0x{flags:02x}) in secured traffic")
                break
            if flags & LONG and size - at < 9:
                break
            start, end = frame_bounds(data, at)
            if end - at > self.max_message_size + self._cipher.overhead:
                self._frame_too_large(end - at, messages)
                break
            if end > size:
                break
            try:
                flags, body = self._cipher.decode(view[start:end])
            except HandshakeError as error:
                self._fail(str(error))
                break
            at = end
            if not flags & COMMAND:
                self._take_frame(flags, body, messages)
            elif self._command(bytes(body)):
                continue
            if self.error is not None:
                break
        if self.error is not None:
            self._frames = bytearray()
            return messages
        if at or data is not self._buffer:
            self._buffer = bytearray(view[at:])  # a new one, as the old one cannot shrink under a view
        self.buffered = len(self._buffer) + len(self._frames)
        if len(messages) == BATCH or self.more:
            self.more = len(messages) == BATCH and size > at
            self.stirred = True
        return messages

    def _take_frame(self, flags: int, body: Raw, messages: list[Message]) -> None:
        """A frame of a message has been opened."""
        header = frame_header(len(body), flags)
        self._taken += len(header) + len(body)
        if self._envelope is None and self._taken > self.max_message_size:
            self._envelope = envelope_of(self._frames)
            self._frames = bytearray()
            if self._envelope is None:
                self._fail(
                    f"message of at least {self._taken} bytes (limit {self.max_message_size}) without an envelope"
                )
                return
        if self._envelope is None:
            self._frames += header
            self._frames += body
        elif self._taken > ANNOUNCED_FACTOR * self.max_message_size:
            self._fail(f"message of {self._taken} bytes announced (limit {self.max_message_size})")
            return
        if flags & MORE:
            return
        if self._envelope is not None:
            messages.append(Oversize(self._envelope, self._taken))
            self._envelope = None
        elif len(self._frames) >= LARGE:
            messages.append(self._frames)
            self._frames = bytearray()
        else:
            messages.append(bytes(self._frames))
            self._frames.clear()
        self._taken = 0

    def _frame_too_large(self, announced: int, messages: list[Message]) -> None:
        """A frame that is too large to be kept, and so to be opened, is announced."""
        size = self._taken + announced - self._cipher.overhead
        envelope = envelope_of(self._frames) if self._envelope is None else self._envelope
        if envelope is not None and size <= ANNOUNCED_FACTOR * self.max_message_size:
            messages.append(Oversize(envelope, size))
        self._fail(f"message of at least {size} bytes (limit {self.max_message_size}) in secured traffic")

    def wrap(self, outbox: list[RawMessage]) -> list[Raw]:
        """The frames that carry what is in an outbox: whole messages, or parts of them that together are whole."""
        raw = b"".join(flat(outbox))
        wrapped: list[Raw] = []
        view = memoryview(raw)
        at = 0
        while at < len(raw):
            start, end = frame_bounds(raw, at)
            carrying = self._cipher.encode(raw[at] & MORE, view[start:end])
            if len(carrying) < LARGE:
                wrapped.append(encode_frame(carrying))
            else:
                wrapped += (frame_header(len(carrying)), carrying)
            at = end
        return wrapped

    def _send_command(self, body: bytes) -> None:
        self.stirred = True
        self.outbox.append(encode_frame(self._cipher.encode(COMMAND, body)))
