"""The opening of a connection: from the first byte until traffic may flow (RFC 23, RFC 37, RFC 15).

ZMTP 3.0, 3.1 and 2.0 are told apart as RFC 23 "Backwards interoperability" says: signature and major version go out at
once, the rest when the peer's major version is known, because a 2.0 peer would take the rest of a 3.x greeting for frames.

Layer 1, pure. Called by: `connection`.
"""

from __future__ import annotations

import enum

from zqd.zmtp import handshake
from zqd.zmtp.frames import COMMAND, LONG, encode_frame, frame_bounds
from zqd.zmtp.handshake import HandshakeError, Mechanism

OUR_MINOR = 1
MINOR_OF = {b"PUB": 0}
"""A PUB speaks ZMTP 3.0, in which subscriptions come as messages and not as commands (RFC 23 "The Publish-Subscribe Pattern")."""


class Phase(enum.Enum):
    """How far a connection is; it only moves forward."""

    GREETING = 1
    HANDSHAKE = 2
    TRAFFIC = 3
    FAILED = 4


class Opening:
    """Greeting and handshake of the accepting side; plain data. `outbox` is what it sends, first of all its signature."""

    __slots__ = (
        "_mechanism",
        "_minor",
        "_socket_type",
        "identity",
        "outbox",
        "peer_type",
        "phase",
        "version",
    )

    def __init__(self, mechanism: Mechanism, socket_type: bytes) -> None:
        self._mechanism = mechanism
        self._socket_type = socket_type
        self._minor = MINOR_OF.get(socket_type, OUR_MINOR)
        self.outbox = [handshake.SIGNATURE + handshake.MAJOR]
        self.phase = Phase.GREETING
        self.version = (0, 0)
        """That both speak, as far as it is known."""
        self.peer_type = b""
        self.identity = b""

    def advance(self, buffer: bytearray) -> None:
        """Consume as much of what the peer sent as belongs to the opening; raises HandshakeError to refuse it."""
        if self.phase is Phase.GREETING:
            self._greet(buffer)
        while self.phase is Phase.HANDSHAKE and len(buffer) >= 2:
            if buffer[0] & LONG and len(buffer) < 9:
                return
            start, end = frame_bounds(buffer, 0)
            if end > handshake.MAX_HANDSHAKE_COMMAND:
                raise HandshakeError(f"handshake frame of {end} bytes")
            if end > len(buffer):
                return
            flags, body = buffer[0], bytes(buffer[start:end])
            del buffer[:end]
            if self.version < (3, 0):  # the identity, as a frame
                self.identity = body
                self.phase = Phase.TRAFFIC
            else:
                self._handshake_command(flags, body)

    def refuse(self, error: HandshakeError) -> None:
        """Tell the peer why, where its version has a command for it."""
        if self.phase is Phase.HANDSHAKE and self.version >= (3, 0):
            self.outbox.append(encode_frame(handshake.error_command(error.told), COMMAND))
        self.phase = Phase.FAILED

    def _greet(self, buffer: bytearray) -> None:
        if len(buffer) >= 2 and buffer[0] != 0xFF:
            raise HandshakeError("not a ZMTP peer" if buffer[1] else "ZMTP 1.0 is not supported")
        if len(buffer) < 10:
            return
        if not buffer[9] & 1:
            raise HandshakeError("ZMTP 1.0 is not supported")
        if len(buffer) < 11:
            return
        major = buffer[10]
        if major == 0:
            raise HandshakeError("ZMTP 1.0 is not supported")
        if major < 3:
            self._greet_v2(buffer)
        else:
            self._greet_v3(buffer, major)

    def _greet_v3(self, buffer: bytearray, major: int) -> None:
        mechanism = self._mechanism
        if self.version == (0, 0):
            self.version = (3, 0)
            self.outbox.append(
                handshake.greeting_tail(self._minor, mechanism.name, as_server=mechanism.as_server)
            )
        if len(buffer) < handshake.GREETING_SIZE:
            return
        # A later peer comes down to ours.
        self.version = (3, min(buffer[11], self._minor)) if major == 3 else (3, self._minor)
        theirs = bytes(buffer[12:32]).rstrip(b"\0")
        as_server = buffer[32] & 1
        del buffer[: handshake.GREETING_SIZE]
        if theirs != mechanism.name:
            raise HandshakeError(
                f"peer uses {handshake.printable(theirs)}, this endpoint {mechanism.name.decode()}"
            )
        if mechanism.as_server and as_server:
            raise HandshakeError(
                f"peer is a {mechanism.name.decode()} server, as this endpoint is: it has to be a client"
            )
        self.phase = Phase.HANDSHAKE

    def _greet_v2(self, buffer: bytearray) -> None:
        """RFC 15: after the revision comes the socket type, then the identity as a frame; no commands, ever."""
        if self._mechanism.name != b"NULL":
            raise HandshakeError(f"ZMTP 2.0 has no {self._mechanism.name.decode()}")
        if self.version == (0, 0):
            self.version = (2, 0)
            number = handshake.V2_SOCKET_TYPES.index(self._socket_type)
            self.outbox.append(bytes((number, 0, 0)))  # our type, then our identity: an empty frame
        if len(buffer) < handshake.V2_GREETING_SIZE:
            return
        number = buffer[11]
        if number >= len(handshake.V2_SOCKET_TYPES):
            raise HandshakeError(f"unknown ZMTP 2.0 socket type {number}")
        self.peer_type = handshake.V2_SOCKET_TYPES[number]
        handshake.check_socket_type(self._socket_type, self.peer_type)
        del buffer[: handshake.V2_GREETING_SIZE]
        self.phase = Phase.HANDSHAKE

    def _handshake_command(self, flags: int, body: bytes) -> None:
        if flags & ~LONG != COMMAND:
            raise HandshakeError("message before the handshake was over")
        mechanism = self._mechanism
        self.outbox.append(encode_frame(mechanism.receive(body), COMMAND))
        if mechanism.complete:
            self.peer_type = mechanism.metadata.get(b"socket-type", b"")
            self.identity = mechanism.metadata.get(b"identity", b"")
            self.phase = Phase.TRAFFIC
