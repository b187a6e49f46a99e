"""The CURVE mechanism as a server (RFC 25, RFC 26): who may enter, and keys that only this connection has.

    peer  HELLO ─▶     ─▶ INITIATE ─▶
    we           WELCOME            READY, and from then on a `CurveCipher` for the traffic

The cryptography is libsodium's, through PyNaCl. Keys have the names of RFC 26: C and S are the permanent ones of client
and server, C' and S' those of the connection, small letters their secret halves.

Between WELCOME and INITIATE s' exists in the cookie alone, which only the server's cookie key opens. What is kept here is
that cookie's nonce, no secret: a cookie is good for the connection that it was given to, once. Otherwise a recorded
session could be played again on a new connection.

No secret is in an error's text, in a repr, or kept longer than it is needed. Layer 1, pure: random bytes are handed in.
Called by: `opening`, through `Mechanism`; made by the owner of an endpoint that has a key, which alone imports this.
"""

from __future__ import annotations

import struct
from typing import Protocol

from nacl.bindings import (
    crypto_box_afternm,
    crypto_box_beforenm,
    crypto_box_open,
    crypto_box_open_afternm,
    crypto_scalarmult_base,
    crypto_secretbox,
    crypto_secretbox_open,
)
from nacl.exceptions import CryptoError

from zqd.zmtp.frames import COMMAND, MORE, Raw
from zqd.zmtp.handshake import (
    Cipher,
    HandshakeError,
    check_socket_type,
    command,
    error_reason,
    parse_metadata,
    printable,
    ready_metadata,
    split_command,
)

KEY_SIZE = 32  # bytes of every key
ENTROPY_SIZE = 64  # random bytes for one connection: s', then the nonces of WELCOME and of the cookie
COOKIE_LIFETIME = 60.0  # seconds after which the owner gives a new cookie key (RFC 26, "The WELCOME Command")

HELLO_SIZE = 200  # bytes of the whole command, its name included; so are the other two
INITIATE_SIZE = 257  # at least
MESSAGE_SIZE = 33  # at least

_HELLO_DATA = b"\1\0" + bytes(72)  # version 1.0, and the padding against amplification
_SIGNED = bytes(64)  # what the box of a HELLO holds
_MESSAGE = command(b"MESSAGE")
_FROM_SERVER = b"CurveZMQMESSAGES"
_FROM_CLIENT = b"CurveZMQMESSAGEC"

# The flags of a MESSAGE's payload. RFC 26 has only MORE; libzmq carries the commands of ZMTP 3.1 so (PING, PONG).
_CARRIED_COMMAND = 2
_FLAGS = {0: 0, 1: MORE, _CARRIED_COMMAND: COMMAND}
_PAYLOAD_FLAGS = {flags: bytes((carried,)) for carried, flags in _FLAGS.items()}

_NONCE = struct.Struct("!Q")


class Guard(Protocol):
    """Decides who may enter by the client's permanent public key."""

    def admit(self, key: bytes) -> str:
        """The name of the client with this key; raises NotAuthorizedError where it may not enter."""
        ...

    def next_expiry(self) -> float | None:
        """Seconds until a key that may enter now no longer may; None where there is none."""
        ...


class CurveServer:
    """What the connections of an endpoint share: the server's keys, who may enter, the cookie key."""

    __slots__ = ("_cookie_keys", "_secret", "guard", "public")

    def __init__(self, secret: bytes, guard: Guard, cookie_key: bytes) -> None:
        self.public = crypto_scalarmult_base(secret)
        """S, 32 bytes: what clients have to know."""
        self.guard = guard
        """May be replaced: it is asked once in each handshake."""
        self._secret = secret
        self._cookie_keys = (cookie_key, cookie_key)  # the present one, and the one before

    def rotate(self, cookie_key: bytes) -> None:
        """Take 32 new random bytes as cookie key; due every COOKIE_LIFETIME. Cookies of the last but one are void."""
        self._cookie_keys = (cookie_key, self._cookie_keys[0])

    def precompute(self, client: bytes) -> bytes:
        """What boxes between C' and S share; raises CryptoError where `client` is no key."""
        return crypto_box_beforenm(client, self._secret)

    def bake(self, client: bytes, secret: bytes, nonce: bytes) -> bytes:
        """A cookie, 96 bytes, that holds C' and s'."""
        return nonce + crypto_secretbox(client + secret, b"COOKIE--" + nonce, self._cookie_keys[0])

    def open_cookie(self, cookie: bytes) -> tuple[bytes, bytes]:
        """C' and s' out of a cookie; HandshakeError where it is forged, or too old."""
        for key in self._cookie_keys:
            try:
                content = crypto_secretbox_open(cookie[16:], b"COOKIE--" + cookie[:16], key)
            except CryptoError:
                continue
            return content[:KEY_SIZE], content[KEY_SIZE:]
        raise HandshakeError("INITIATE has a cookie that is forged, or too old")


class CurveCipher:
    """The traffic of one connection: MESSAGE commands, their nonces strictly rising in each direction."""

    __slots__ = ("_key", "_received", "_sent")

    overhead = 40
    """MESSAGE with nonce, tag and flags is 33 bytes; and a frame's header grows by 7 where it becomes a long one."""

    def __init__(self, key: bytes, sent: int, received: int) -> None:
        self._key = key
        self._sent = sent
        self._received = received

    def encode(self, flags: int, body: Raw) -> bytes:
        """The MESSAGE that carries a frame."""
        self._sent += 1
        nonce = _NONCE.pack(self._sent)
        box = crypto_box_afternm(_PAYLOAD_FLAGS[flags] + body, _FROM_SERVER + nonce, self._key)
        return b"%b%b%b" % (_MESSAGE, nonce, box)

    def decode(self, body: Raw) -> tuple[int, Raw]:
        """What a MESSAGE carries; HandshakeError where it is none, forged, or not behind the one before it."""
        if body[:8] != _MESSAGE:
            raise HandshakeError("frame in secured traffic that is no MESSAGE")
        if len(body) < MESSAGE_SIZE:
            raise HandshakeError(f"MESSAGE of {len(body)} bytes, expected at least {MESSAGE_SIZE}")
        nonce = body[8:16]
        (number,) = _NONCE.unpack(nonce)
        if number <= self._received:
            raise HandshakeError(f"MESSAGE {number} after {self._received}: replayed, or out of order")
        try:
            payload = crypto_box_open_afternm(bytes(body[16:]), _FROM_CLIENT + nonce, self._key)
        except CryptoError:
            raise HandshakeError(f"MESSAGE {number} is forged") from None
        self._received = number
        flags = _FLAGS.get(payload[0])
        if flags is None:
            raise HandshakeError(f"MESSAGE {number} with reserved flags 0x{payload[0]:02x}")
        return flags, memoryview(payload)[1:]


class Curve:
    """One connection's handshake. `entropy` is ENTROPY_SIZE random bytes that nothing else is made of."""

    __slots__ = (
        "_cookie_nonce",
        "_entropy",
        "_received",
        "_server",
        "_socket_type",
        "as_server",
        "cipher",
        "complete",
        "metadata",
        "name",
        "peer_key",
        "peer_name",
    )

    def __init__(self, server: CurveServer, socket_type: bytes, entropy: bytes) -> None:
        self.name = b"CURVE"
        self.as_server = True
        self.cipher: Cipher | None = None
        self.complete = False
        self.metadata: dict[bytes, bytes] = {}
        self.peer_key = b""
        self.peer_name = ""
        self._server = server
        self._socket_type = socket_type
        self._entropy = entropy  # until WELCOME
        self._cookie_nonce = b""  # from then on
        self._received = 0  # the last short nonce

    def receive(self, body: bytes) -> bytes:
        """WELCOME in answer to HELLO, then READY in answer to INITIATE; anything else is refused."""
        name, data = split_command(body)
        expected = b"INITIATE" if self._cookie_nonce else b"HELLO"
        if name == b"ERROR":
            raise HandshakeError(f"peer refused us: {error_reason(data)}")
        if name != expected:
            raise HandshakeError(f"expected {expected.decode()}, got {printable(name)}")
        return self._initiate(body) if self._cookie_nonce else self._hello(body)

    def _hello(self, hello: bytes) -> bytes:
        if len(hello) != HELLO_SIZE:
            raise HandshakeError(f"HELLO of {len(hello)} bytes, expected {HELLO_SIZE}")
        if hello[6:8] != _HELLO_DATA[:2]:
            raise HandshakeError(f"CurveZMQ {hello[6]}.{hello[7]} is not supported, expected 1.0")
        if hello[6:80] != _HELLO_DATA:
            raise HandshakeError("HELLO whose padding is not zero")
        client, nonce = hello[80:112], hello[112:120]
        try:
            shared = self._server.precompute(client)
            signed = crypto_box_open_afternm(hello[120:], b"CurveZMQHELLO---" + nonce, shared)
        except CryptoError:
            raise HandshakeError("HELLO is not for our key: the peer has another server key") from None
        if signed != _SIGNED:
            raise HandshakeError("HELLO with a wrong signature")
        (self._received,) = _NONCE.unpack(nonce)
        secret, ours, self._cookie_nonce = self._entropy[:32], self._entropy[32:48], self._entropy[48:]
        self._entropy = b""
        cookie = self._server.bake(client, secret, self._cookie_nonce)
        box = crypto_box_afternm(crypto_scalarmult_base(secret) + cookie, b"WELCOME-" + ours, shared)
        return command(b"WELCOME", ours + box)

    def _initiate(self, initiate: bytes) -> bytes:
        if len(initiate) < INITIATE_SIZE:
            raise HandshakeError(f"INITIATE of {len(initiate)} bytes, expected at least {INITIATE_SIZE}")
        cookie, nonce = initiate[9:105], initiate[105:113]
        if cookie[:16] != self._cookie_nonce:
            raise HandshakeError("INITIATE has the cookie of another connection")
        (number,) = _NONCE.unpack(nonce)
        if number <= self._received:
            raise HandshakeError(f"INITIATE has nonce {number} after {self._received}")
        client, secret = self._server.open_cookie(cookie)
        shared = crypto_box_beforenm(client, secret)
        try:
            content = crypto_box_open_afternm(initiate[113:], b"CurveZMQINITIATE" + nonce, shared)
        except CryptoError:
            raise HandshakeError("INITIATE is forged") from None
        key = content[:KEY_SIZE]
        try:
            vouch = crypto_box_open(content[48:128], b"VOUCH---" + content[32:48], key, secret)
        except CryptoError:
            raise HandshakeError("INITIATE with a forged vouch") from None
        if vouch != client + self._server.public:
            raise HandshakeError("INITIATE whose vouch is for another connection or server")
        self.peer_name = self._server.guard.admit(key)
        self.peer_key = key
        self.metadata = parse_metadata(content[128:])
        check_socket_type(self._socket_type, self.metadata.get(b"socket-type", b""))
        self.complete = True
        self.cipher = CurveCipher(shared, sent=1, received=number)  # 1 is READY's
        first = _NONCE.pack(1)
        box = crypto_box_afternm(ready_metadata(self._socket_type), b"CurveZMQREADY---" + first, shared)
        return command(b"READY", first + box)
