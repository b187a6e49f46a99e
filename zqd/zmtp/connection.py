"""One ZMTP connection without I/O: bytes in, whole raw messages out, an outbox for what the protocol says.

    receive(bytes) ─▶ greeting ─▶ handshake ─▶ traffic ─▶ [raw message, …]
                          └───── answers ──────────┴──▶ outbox

The accepting side of ZMTP 3.0 and 3.1 (RFC 23, RFC 37) and of 2.0 (RFC 15); `opening` has the first half of the way,
`secured` is the connection of a mechanism with a cipher.

What a peer does wrong is never raised: it ends up in `error`, after the messages that came before it, and the owner
then flushes the outbox (it may hold an ERROR command) and closes. Cost is linear in the bytes, however they are cut:
what has been scanned is not scanned again, and a buffer only grows at its end (`pieces` has large messages).

Layer 1, pure; knows no socket and no clock. Called by: `zqd.net.link`.
"""

from __future__ import annotations

from zqd.zmtp import handshake
from zqd.zmtp.frames import (
    COMMAND,
    LARGE,
    LONG,
    MORE,
    Raw,
    cut_short,
    encode_frame,
    envelope_of,
    frame_bounds,
    unpack_size,
)
from zqd.zmtp.handshake import HandshakeError, Mechanism
from zqd.zmtp.opening import Opening, Phase
from zqd.zmtp.pieces import Pieces, RawMessage, flat

SHORT = 512  # bytes; up to here what is held is copied together with what comes: bytes are cut faster than a bytearray
BATCH = 1024  # most messages of one call, or one more: bounds the memory that tiny messages blow up to
MAX_COMMANDS_WITHIN = 64  # commands between frames of messages, per call: each costs a move of the rest
ANNOUNCED_FACTOR = 16  # a message announced larger than so many times the limit is the end (rule 15)


class Oversize:
    """Stands for a message that was larger than the limit and has been discarded (rule 15)."""

    __slots__ = ("announced", "envelope")

    def __init__(self, envelope: bytes, announced: int) -> None:
        self.envelope = envelope
        """The frames up to and including the first empty one, raw."""
        self.announced = announced
        """Bytes of the whole message, as far as its frames told."""


Message = bytes | bytearray | Pieces | Oversize


class Connection:
    """The protocol state of one accepted connection; plain data.

    `mechanism` decides about security, `socket_type` is ours (ROUTER or DEALER), `max_message_size` counts a
    message's bytes with its frame headers.
    """

    __slots__ = (
        "_announced",
        "_buffer",
        "_commands_within",
        "_opening",
        "_oversize",
        "_pieces",
        "_scan",
        "_skip",
        "_skip_more",
        "buffered",
        "clear",
        "error",
        "identity",
        "max_message_size",
        "mechanism",
        "more",
        "outbox",
        "peer_type",
        "phase",
        "plain",
        "socket_type",
        "stirred",
        "version",
    )

    def __init__(self, mechanism: Mechanism, socket_type: bytes, max_message_size: int) -> None:
        self.mechanism = mechanism
        self.socket_type = socket_type
        self.max_message_size = max_message_size
        self.phase = Phase.GREETING
        self._opening = Opening(mechanism, socket_type)
        self.outbox, self._opening.outbox = self._opening.outbox, []
        """Bytes for the peer; the owner takes them and puts a new list there."""
        self.error: str | None = None
        """Why the connection has failed; the owner closes it."""
        self.version = (0, 0)
        """The ZMTP version that both speak, known after the peer's greeting."""
        self.peer_type = b""
        """The peer's socket type, known in traffic."""
        self.identity = b""
        """The peer's routing id, where it has one."""
        self.stirred = True
        """Something but messages: `outbox`, `more` or `error` wants to be looked at. The owner sets it back."""
        self.plain = False
        """In traffic that no cipher secures: `wrap` would change nothing."""
        self.clear = False
        """Plain traffic, and little is held, from the start of a message or a command on: `reclaim` gives it back."""
        self.buffered = 0
        """Bytes held of messages that are not whole yet, or not taken yet."""
        self.more = False
        """Another whole message may be at hand: call `receive(b"")` before reading on."""
        self._buffer = bytearray()  # of a message that is not whole yet, from its start
        self._pieces: Pieces | None = None  # instead, where only its last frame is not whole, and large
        self._scan = 0  # where in the buffer the first frame header lies that was not looked at
        self._commands_within = 0  # commands that the running call has cut out of messages
        self._oversize: Oversize | None = None  # the message that is being discarded
        self._announced = 0  # its bytes so far, as its frame headers tell
        self._skip = 0  # bytes of its current frame still to come
        self._skip_more = False  # more of its frames follow

    # Receiving

    def receive(self, data: bytes) -> list[Message]:
        """Take what the peer sent and return the messages that are whole now, about BATCH at most (see `more`)."""
        buffer = self._buffer
        if self._pieces is not None:
            messages = self._go_on_with(self._pieces, data)
        elif self.phase is Phase.TRAFFIC:
            if len(buffer) > SHORT:
                buffer += data
                messages = self._parse(buffer)
            else:
                messages = self._parse(b"".join((buffer, data)) if buffer else data)
        elif self.phase is Phase.FAILED:
            return []
        else:
            self.stirred = True
            buffer += data
            in_traffic = self._open()
            self.buffered = len(self._buffer)
            if not in_traffic:
                return []
            messages = self._parse(buffer)
        return messages

    def _go_on_with(self, pieces: Pieces, data: bytes) -> list[Message]:
        """More of a large message, and perhaps more than that."""
        missing = pieces.missing
        if len(data) < missing:
            pieces.add(data)
            self.buffered += len(data)
            return []
        pieces.add(data[:missing])
        self._pieces = None
        if len(pieces) > self.max_message_size:  # which has shrunk meanwhile
            return self._parse(bytes(pieces) + data[missing:])
        self._scan = 0
        return [pieces, *self._parse(data[missing:])]

    def reclaim(self) -> bytes:
        """Give back what is held, as if it had not come; only when `clear`. It begins where a message does, or a command."""
        held = bytes(self._buffer)
        self._buffer.clear()
        self._scan = self.buffered = 0
        return held

    # Overridden where traffic is secured, as are `wrap` and `_send_command`.
    def _parse(self, data: bytes | bytearray) -> list[Message]:
        """Cut traffic into messages. `data` is the buffer itself, or bytes that begin with what it holds."""
        messages: list[Message] = []
        limit = self.max_message_size
        start = 0 if self._oversize is None else self._discard(data, 0, messages)
        at = start + self._scan
        size = len(data)
        missing = 0  # bytes of the message's last frame, where that is large
        self._commands_within = 0
        if isinstance(data, bytes) and size <= limit:  # then nothing that is whole passes the limit
            start, at = cut_short(data, start, at, messages, BATCH)
        while size - at >= 2 and len(messages) < BATCH:
            flags = data[at]
            if flags & LONG:
                if size - at < 9:
                    break
                end = at + 9 + unpack_size(data, at + 1)[0]
            else:
                end = at + 2 + data[at + 1]
            if flags > LONG + MORE:
                if not self._traffic_command(flags, data, at, end):
                    break
                if at == start:
                    start = at = end
                else:
                    data = self._cut_out(data, at, end)
                    size = len(data)
                continue
            if end - start > limit:
                start = at = self._start_discarding(data, start, at, end, messages)
                continue  # where that failed, nothing is left: the loop ends
            if end > size:
                if end - at >= LARGE and not flags & MORE:
                    missing = end - size
                break
            at = end
            if not flags & MORE:
                if at - start == size >= LARGE:
                    messages.append(data)  # the buffer itself, or the bytes as they came
                    data = b""
                    start = at = size = 0
                    break
                messages.append(bytes(memoryview(data)[start:at]) if data is self._buffer else data[start:at])
                start = at
        if start < size or self._buffer or self.buffered:
            self._keep(data, start, at, missing)
        self.clear = self.plain and len(self._buffer) <= SHORT and not missing and self._oversize is None
        if len(messages) == BATCH or self.more:
            self.more = len(messages) == BATCH and size > start
            self.stirred = True
        return messages

    def _cut_out(self, data: bytes | bytearray, at: int, end: int) -> bytearray:
        """Take a command out from between two frames of a message, where libzmq may put its PINGs."""
        self._commands_within += 1
        if self._commands_within > MAX_COMMANDS_WITHIN:
            self._fail("too many commands within one message")
            return bytearray()
        if isinstance(data, bytes):
            self._buffer = data = bytearray(data)
        del data[at:end]
        return data

    def _keep(self, data: bytes | bytearray, start: int, at: int, missing: int) -> None:
        """Remember what is left of `data` from `start` on, whose frames before `at` have been looked at."""
        if self.error is not None:
            return
        self._scan = at - start
        self.buffered = len(data) - start
        if missing:
            first = data[start:] if isinstance(data, bytes) else bytes(memoryview(data)[start:])
            self._pieces = Pieces(first, missing)
            self._buffer = bytearray()
        elif data is self._buffer:
            del data[:start]
        else:
            self._buffer = bytearray(memoryview(data)[start:])

    def _traffic_command(self, flags: int, data: bytes | bytearray, at: int, end: int) -> bool:
        """Take the frame at `at`, which is no message's. False: it has yet to come whole, or it was the end."""
        if flags & ~(COMMAND | LONG) or self.version < (3, 0):
            self._fail(f"frame with reserved flags 0x{flags:02x}")
        elif end - at > handshake.MAX_HANDSHAKE_COMMAND:
            self._fail(f"command of {end - at} bytes")
        elif end <= len(data):
            return self._command(bytes(data[frame_bounds(data, at)[0] : end]))
        return False

    def _command(self, body: bytes) -> bool:
        """Answer a command in traffic; those that do not concern us are passed over (RFC 37). False: it was the end."""
        try:
            name, data = handshake.split_command(body)
        except HandshakeError as error:
            self._fail(str(error))
            return False
        if name == b"PING":
            context = data[2:]
            if len(data) < 2 or len(context) > handshake.MAX_PING_CONTEXT:
                self._fail("malformed PING")
                return False
            self._send_command(handshake.command(b"PONG", context))
        elif name == b"ERROR":
            self._fail(f"peer gave up: {handshake.error_reason(data)}")
            return False
        return True

    # Messages over the limit

    def _start_discarding(
        self, data: bytes | bytearray, start: int, at: int, end: int, messages: list[Message]
    ) -> int:
        """The message that began at `start` passes the limit with the frame at `at`: keep its envelope only."""
        envelope = envelope_of(memoryview(data)[start:at])
        self._announced = end - start
        if envelope is None:
            self._fail(
                f"message of at least {end - start} bytes (limit {self.max_message_size}) without an envelope"
            )
            return len(data)
        if not self._announcement_bearable():
            return len(data)
        self._oversize = Oversize(envelope, self._announced)
        body, _ = frame_bounds(data, at)
        self._skip, self._skip_more = end - body, bool(data[at] & MORE)
        return self._discard(data, body, messages)

    def _discard(self, data: bytes | bytearray, at: int, messages: list[Message]) -> int:
        """Pass over the rest of an oversize message as far as it is there; where to go on from."""
        size = len(data)
        while True:
            passed = min(self._skip, size - at)
            at += passed
            self._skip -= passed
            if self._skip:
                return at
            if not self._skip_more:
                assert self._oversize is not None
                self._oversize.announced = self._announced
                messages.append(self._oversize)
                self._oversize = None
                return at
            if size - at < 2 or (data[at] & LONG and size - at < 9):
                return at
            flags = data[at]
            body, end = frame_bounds(data, at)
            if flags > LONG + MORE:
                if not self._traffic_command(flags, data, at, end):
                    return at if self.error is None else size
                at = end
                continue
            self._announced += end - at
            if not self._announcement_bearable():
                return size
            self._skip, self._skip_more = end - body, bool(flags & MORE)
            at = body

    def _announcement_bearable(self) -> bool:
        if self._announced <= ANNOUNCED_FACTOR * self.max_message_size:
            return True
        self._fail(f"message of {self._announced} bytes announced (limit {self.max_message_size})")
        return False

    # Sending

    def wrap(self, outbox: list[RawMessage]) -> list[Raw]:
        """The bytes that carry what is in an outbox: whole messages, or parts of them that together are whole."""
        return flat(outbox)

    @property
    def answers_pings(self) -> bool:
        """Heartbeats may be sent: the peer speaks ZMTP 3.1 (rule 27)."""
        return self.version >= (3, 1) and self.phase is Phase.TRAFFIC

    def ping(self, ttl: float) -> None:
        """Put a PING into the outbox; `ttl` in seconds is how long the peer should wait for more (RFC 37)."""
        self._send_command(handshake.command(b"PING", min(round(ttl * 10), 0xFFFF).to_bytes(2, "big")))

    def _send_command(self, body: bytes) -> None:
        self.stirred = True
        self.outbox.append(encode_frame(body, COMMAND))

    # Opening and failing

    def _open(self) -> bool:
        """Go on with the opening; True once in traffic."""
        opening = self._opening
        try:
            opening.advance(self._buffer)
        except HandshakeError as error:
            opening.refuse(error)
            self._fail(str(error))
        self.outbox += opening.outbox
        opening.outbox = []
        self.phase, self.version = opening.phase, opening.version
        self.peer_type, self.identity = opening.peer_type, opening.identity
        if self.phase is not Phase.TRAFFIC:
            return False
        self._begin_traffic()
        return True

    def _begin_traffic(self) -> None:
        if self.mechanism.cipher is not None:
            raise RuntimeError("a mechanism with a cipher needs a SecuredConnection")
        self.plain = True

    def _fail(self, reason: str) -> None:
        self.error = self.error or reason
        self.phase = Phase.FAILED
        self.stirred = True
        self.plain = self.clear = False
        self.more = False
        self.buffered = 0
        self._buffer = bytearray()
        self._pieces = None
