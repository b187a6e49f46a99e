"""What peers send, and how tests of this folder talk to a `Connection`."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from zqd.zmtp import handshake
from zqd.zmtp.connection import Connection, Message, Oversize
from zqd.zmtp.frames import COMMAND, Raw, encode_frame
from zqd.zmtp.handshake import Cipher, HandshakeError, Mechanism, Null
from zqd.zmtp.secured import SecuredConnection

LIMIT = 1 << 20  # bytes; the largest message where a test does not say otherwise

SIGNATURE = bytes.fromhex("ff 00 00 00 00 00 00 00 00 7f")
# libzmq 3's signature: for peers of ZMTP 1.0 it is the length of an anonymous identity (RFC 15).
SIGNATURE_OF_V2 = bytes.fromhex("ff 00 00 00 00 00 00 00 01 7f")

Outcome = list[bytes | tuple[bytes, int]]
"""Messages to compare: raw bytes, and envelope and announced size of an oversize one."""


def greeting(*, major: int = 3, minor: int = 1, mechanism: bytes = b"NULL", as_server: bool = False) -> bytes:
    """A 3.x peer's greeting (RFC 23 "Greeting")."""
    return SIGNATURE + bytes((major, minor)) + mechanism.ljust(20, b"\0") + bytes((as_server,)) + bytes(31)


def v2_greeting(socket_type: int, *, identity: bytes = b"", revision: int = 1) -> bytes:
    """A 2.0 peer's greeting and the identity frame that follows it (RFC 15)."""
    return SIGNATURE_OF_V2 + bytes((revision, socket_type)) + bytes((0, len(identity))) + identity


def metadata(properties: dict[bytes, bytes]) -> bytes:
    """The data of a READY command (RFC 23 "Metadata")."""
    return b"".join(
        bytes((len(name),)) + name + len(value).to_bytes(4, "big") + value
        for name, value in properties.items()
    )


def command_frame(name: bytes, data: bytes = b"") -> bytes:
    """A command as it is on the wire."""
    return encode_frame(bytes((len(name),)) + name + data, COMMAND)


def ready(socket_type: bytes = b"REQ", identity: bytes = b"") -> bytes:
    """A READY command as libzmq sends it."""
    return command_frame(b"READY", metadata({b"Socket-Type": socket_type, b"Identity": identity}))


def ping(context: bytes = b"", ttl: int = 0) -> bytes:
    """A PING command, `ttl` in tenths of a second (RFC 37)."""
    return command_frame(b"PING", ttl.to_bytes(2, "big") + context)


def pong(context: bytes = b"") -> bytes:
    """A PONG command."""
    return command_frame(b"PONG", context)


def fresh(
    socket_type: bytes = b"ROUTER", limit: int = LIMIT, mechanism: Mechanism | None = None
) -> Connection:
    """A connection that has received nothing."""
    if mechanism is None:
        return Connection(Null(socket_type), socket_type, limit)
    return SecuredConnection(mechanism, socket_type, limit)


def in_traffic(limit: int = LIMIT, minor: int = 1) -> Connection:
    """A front-end connection whose handshake with a REQ is over, its outbox taken."""
    connection = fresh(limit=limit)
    assert feed(connection, greeting(minor=minor) + ready()) == []
    take_outbox(connection)
    return connection


def v2_in_traffic() -> Connection:
    """A front-end connection with a REQ of ZMTP 2.0, its outbox taken."""
    connection = fresh()
    assert feed(connection, v2_greeting(3)) == []
    take_outbox(connection)
    return connection


def feed(connection: Connection, data: bytes, cuts: Iterable[int] = ()) -> list[Message]:
    """All messages out of `data`, received in pieces cut at these places."""
    messages: list[Message] = []
    for start, end in pairwise([0, *sorted(cuts), len(data)]):
        messages += connection.receive(data[start:end])
        while connection.more:
            messages += connection.receive(b"")
    return messages


def outcome(messages: list[Message]) -> Outcome:
    """`messages` as values that compare."""
    return [
        (message.envelope, message.announced) if isinstance(message, Oversize) else bytes(message)
        for message in messages
    ]


def take_outbox(connection: Connection) -> bytes:
    """What the connection has to say, as its owner takes it."""
    sent, connection.outbox = connection.outbox, []
    return b"".join(sent)


class Xor:
    """A cipher for tests: a mark and the flags before the body, then every byte turned over."""

    MARK = 0x5A
    overhead = 9  # mark, flags, and a header that grows
    _TABLE = bytes(byte ^ 0xA5 for byte in range(256))

    def encode(self, flags: int, body: Raw) -> bytes:
        """Secure one frame."""
        return (bytes((self.MARK, flags)) + body).translate(self._TABLE)

    def decode(self, body: Raw) -> tuple[int, bytes]:
        """Open one frame."""
        plain = bytes(body).translate(self._TABLE)
        if len(plain) < 2 or plain[0] != self.MARK:
            raise HandshakeError("forged frame")
        return plain[1], plain[2:]


class XorMechanism:
    """A mechanism for tests, in as many steps as CURVE: HELLO, WELCOME, INITIATE, READY."""

    def __init__(self, socket_type: bytes) -> None:
        self.name = b"XOR"
        self.as_server = True
        self.cipher: Cipher | None = None
        self.complete = False
        self.metadata: dict[bytes, bytes] = {}
        self.peer_key = b""
        self.peer_name = ""
        self._socket_type = socket_type
        self._greeted = False

    def receive(self, command: bytes) -> bytes:
        """One step."""
        name, data = handshake.split_command(command)
        if name == b"HELLO" and not self._greeted:
            self._greeted = True
            return handshake.command(b"WELCOME", b"key")
        if name != b"INITIATE" or not self._greeted:
            raise HandshakeError(f"unexpected {handshake.printable(name)}")
        cipher = Xor()
        self.metadata = handshake.parse_metadata(cipher.decode(data)[1])
        handshake.check_socket_type(self._socket_type, self.metadata.get(b"socket-type", b""))
        self.cipher = cipher
        self.complete = True
        return handshake.command(b"READY")
