"""The greeting, the commands and the mechanisms that open a ZMTP connection (RFC 23, RFC 37).

A mechanism is the one thing that differs between plain and secured connections. It is told the handshake's
commands in turn and says what to answer; afterwards every frame passes through its `cipher`, if it has one. Nothing
outside this folder knows which mechanism a connection has.

Layer 1, pure. Called by: `connection`.
"""

from __future__ import annotations

from typing import Protocol

from zqd.zmtp.frames import Raw

SIGNATURE = b"\xff" + bytes(8) + b"\x7f"
MAJOR = b"\x03"
GREETING_SIZE = 64
V2_GREETING_SIZE = 12
MAX_HANDSHAKE_COMMAND = 8192  # bytes; libzmq's largest (READY with every property) are a few hundred
MAX_PING_CONTEXT = 16  # bytes (RFC 37)

# Socket types by their number in a ZMTP 2.0 greeting (RFC 15), and who may talk to whom (RFC 23, RFC 28).
V2_SOCKET_TYPES = (b"PAIR", b"PUB", b"SUB", b"REQ", b"REP", b"DEALER", b"ROUTER", b"PULL", b"PUSH")
ACCEPTED_PEERS = {
    b"ROUTER": frozenset({b"REQ", b"DEALER", b"ROUTER"}),
    b"DEALER": frozenset({b"REP", b"DEALER", b"ROUTER"}),
    b"PUB": frozenset({b"SUB", b"XSUB"}),
}


class HandshakeError(Exception):
    """The peer cannot be served; the text says why, fit for an ERROR command and for the log."""

    @property
    def told(self) -> str:
        """What an ERROR command says to the peer."""
        return str(self)


class NotAuthorizedError(HandshakeError):
    """The peer's key may not enter. The text is for the log; the peer is told a status code, which libzmq reports (RFC 27)."""

    told = "400"


class Cipher(Protocol):
    """What a secured connection's frames pass through once its handshake is over."""

    overhead: int
    """Bytes by which a frame that carries another is larger than that one, at most, headers included."""

    def encode(self, flags: int, body: Raw) -> bytes:
        """The body of the frame that carries a frame with these flags (0, MORE or COMMAND) and body.

        Frames have to be sent in the order in which they were encoded.
        """
        ...

    def decode(self, body: Raw) -> tuple[int, Raw]:
        """Flags and body that a received frame carries; raises HandshakeError where it is forged."""
        ...


class Mechanism(Protocol):
    """One connection's security mechanism, from the accepting side. State is plain data."""

    name: bytes
    """As in the greeting, unpadded (`NULL`, `CURVE`)."""
    as_server: bool
    """The greeting's as-server flag."""
    complete: bool
    """The handshake is over and `metadata` is the peer's."""
    metadata: dict[bytes, bytes]
    """The peer's properties, names in lower case."""
    cipher: Cipher | None
    """For the traffic; None leaves it as it is."""
    peer_key: bytes
    """The key that the peer proved to have, once complete; empty without security."""
    peer_name: str
    """The name that the operator gave to that key."""

    def receive(self, command: bytes) -> bytes:
        """Take the body of one handshake command and return the body of the command that answers it.

        Raises HandshakeError where the peer must be refused.
        """
        ...


class Null:
    """The NULL mechanism (RFC 23): both sides send READY, nothing is secured.

    Ours is sent in answer to the peer's, so that a peer of the wrong type gets an ERROR instead: libzmq then gives
    up instead of trying for ever.
    """

    def __init__(self, socket_type: bytes) -> None:
        self.name = b"NULL"
        self.as_server = False
        self.cipher: Cipher | None = None
        self.complete = False
        self.metadata: dict[bytes, bytes] = {}
        self.peer_key = b""
        self.peer_name = ""
        self._socket_type = socket_type

    def receive(self, command: bytes) -> bytes:
        """READY in answer to READY; anything else is refused."""
        name, rest = split_command(command)
        if name == b"ERROR":
            raise HandshakeError(f"peer refused us: {error_reason(rest)}")
        if name != b"READY":
            raise HandshakeError(f"expected READY, got {printable(name)}")
        self.metadata = parse_metadata(rest)
        check_socket_type(self._socket_type, self.metadata.get(b"socket-type", b""))
        self.complete = True
        return ready_command(self._socket_type)


def greeting_tail(minor: int, mechanism: bytes, *, as_server: bool) -> bytes:
    """What follows signature and major version in a 3.x greeting (53 bytes)."""
    return bytes((minor,)) + mechanism.ljust(20, b"\0") + bytes((as_server,)) + bytes(31)


def check_socket_type(ours: bytes, theirs: bytes) -> None:
    """Raise HandshakeError unless a peer of type `theirs` may talk to `ours` (RFC 23, "Socket-Type")."""
    accepted = ACCEPTED_PEERS[ours]
    if theirs not in accepted:
        wanted = ", ".join(sorted(kind.decode() for kind in accepted))
        raise HandshakeError(
            f"socket type {printable(theirs) or 'missing'} cannot talk to {ours.decode()}: use {wanted}"
        )


def split_command(body: bytes) -> tuple[bytes, bytes]:
    """Name and data of a command's body (RFC 23: a short string, then what that command carries)."""
    if not body or len(body) < 1 + body[0]:
        raise HandshakeError("command without a name")
    return body[1 : 1 + body[0]], body[1 + body[0] :]


def command(name: bytes, data: bytes = b"") -> bytes:
    """The body of a command frame."""
    return bytes((len(name),)) + name + data


def ready_command(socket_type: bytes) -> bytes:
    """READY with our metadata."""
    return command(b"READY", ready_metadata(socket_type))


def ready_metadata(socket_type: bytes) -> bytes:
    """Our socket type; no Identity, as ROUTER and DEALER have none of their own here."""
    return _property(b"Socket-Type", socket_type)


def error_command(reason: str) -> bytes:
    """ERROR with a reason of at most 255 bytes (RFC 23)."""
    text = reason.encode("ascii", "replace")[:255]
    return command(b"ERROR", bytes((len(text),)) + text)


def error_reason(data: bytes) -> str:
    """The reason that an ERROR command carries, printable."""
    return printable(data[1 : 1 + data[0]]) if data else "no reason given"


def parse_metadata(data: bytes) -> dict[bytes, bytes]:
    """Properties of a READY command: 1-byte name length, name, 4-byte value length, value (RFC 23)."""
    properties: dict[bytes, bytes] = {}
    at, size = 0, len(data)
    while at < size:
        value_at = at + 1 + data[at] + 4
        if value_at > size or not data[at]:
            raise HandshakeError("malformed metadata")
        end = value_at + int.from_bytes(data[value_at - 4 : value_at], "big")
        if end > size:
            raise HandshakeError("malformed metadata")
        properties[data[at + 1 : value_at - 4].lower()] = data[value_at:end]
        at = end
    return properties


def printable(data: bytes, limit: int = 64) -> str:
    """Peer-sent bytes for a message to people: ASCII, escaped, at most `limit` characters."""
    text = data[:limit].decode("ascii", "backslashreplace")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)[:limit]


def _property(name: bytes, value: bytes) -> bytes:
    return bytes((len(name),)) + name + len(value).to_bytes(4, "big") + value
