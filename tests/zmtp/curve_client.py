"""A CURVE client for tests, written from RFC 26 alone: each step's bytes, well made or as badly as a test wants them."""

from __future__ import annotations

from hashlib import sha256

from nacl.bindings import crypto_box, crypto_box_open, crypto_scalarmult_base

from tests.zmtp import peers
from zqd.zmtp import handshake
from zqd.zmtp.curve import ENTROPY_SIZE, Curve, CurveServer
from zqd.zmtp.frames import MORE, encode_frame
from zqd.zmtp.handshake import NotAuthorizedError
from zqd.zmtp.secured import SecuredConnection

CARRIED_COMMAND = 2


def pair(seed: str) -> tuple[bytes, bytes]:
    """The same pair, public and secret, for the same word."""
    secret = sha256(seed.encode()).digest()
    return crypto_scalarmult_base(secret), secret


def random(seed: str, size: int) -> bytes:
    """The same bytes for the same word, in place of random ones."""
    return b"".join(sha256(f"{seed}{number}".encode()).digest() for number in range(size // 32 + 1))[:size]


SERVER, SERVER_SECRET = pair("server")
CLIENT, CLIENT_SECRET = pair("client")


class Doorkeeper:
    """Lets one key in."""

    def __init__(self, key: bytes = CLIENT) -> None:
        self.key = key

    def admit(self, key: bytes) -> str:
        """`alice`, or nobody."""
        if key != self.key:
            raise NotAuthorizedError("nobody we know")
        return "alice"

    def next_expiry(self) -> float | None:
        """Never."""
        return None


def new_server() -> CurveServer:
    """An endpoint with SERVER's key that lets CLIENT in."""
    return CurveServer(SERVER_SECRET, Doorkeeper(), random("cookie key", 32))


def accepted(
    server: CurveServer, socket_type: bytes = b"ROUTER", *, limit: int = peers.LIMIT, entropy: str = "entropy"
) -> SecuredConnection:
    """Our end of a new connection, its signature taken."""
    mechanism = Curve(server, socket_type, random(entropy, ENTROPY_SIZE))
    connection = SecuredConnection(mechanism, socket_type, limit)
    peers.take_outbox(connection)
    return connection


class CurveClient:
    """The client's end: a method for each thing that it sends, with what a test wants to be wrong as arguments."""

    def __init__(
        self,
        *,
        keys: tuple[bytes, bytes] = (CLIENT, CLIENT_SECRET),
        server_key: bytes = SERVER,
        seed: str = "transient",
    ) -> None:
        self.public, self.secret = keys
        self.server_key = server_key
        self.transient, self.transient_secret = pair(seed)
        self.server_transient = b""
        self.cookie = b""
        self.nonce = 0
        """The last short nonce."""
        self.heard = 0
        """The last short nonce of the server."""

    def next_nonce(self) -> bytes:
        """The next short nonce."""
        self.nonce += 1
        return self.nonce.to_bytes(8, "big")

    # The handshake: bodies of commands

    def hello(
        self,
        *,
        version: bytes = b"\1\0",
        padding: bytes = bytes(72),
        signed: bytes = bytes(64),
        transient: bytes | None = None,
    ) -> bytes:
        """HELLO."""
        nonce = self.next_nonce()
        box = crypto_box(signed, b"CurveZMQHELLO---" + nonce, self.server_key, self.transient_secret)
        return b"\5HELLO" + version + padding + (transient or self.transient) + nonce + box

    def take_welcome(self, welcome: bytes) -> None:
        """Open WELCOME."""
        assert len(welcome) == 168
        assert welcome[:8] == b"\7WELCOME"
        nonce = b"WELCOME-" + welcome[8:24]
        content = crypto_box_open(welcome[24:], nonce, self.server_key, self.transient_secret)
        self.server_transient, self.cookie = content[:32], content[32:]
        assert len(self.cookie) == 96

    def initiate(
        self,
        *,
        metadata: bytes | None = None,
        cookie: bytes | None = None,
        vouched: bytes | None = None,
        voucher: bytes | None = None,
        claimed: bytes | None = None,
        nonce: int | None = None,
    ) -> bytes:
        """INITIATE; `vouched` is what the vouch holds, `voucher` the secret key that makes it, `claimed` is C."""
        if metadata is None:
            metadata = peers.metadata({b"Socket-Type": b"REQ", b"Identity": b"me"})
        vouch_nonce = random("vouch", 16)
        vouch = crypto_box(
            self.transient + self.server_key if vouched is None else vouched,
            b"VOUCH---" + vouch_nonce,
            self.server_transient,
            voucher or self.secret,
        )
        content = (claimed or self.public) + vouch_nonce + vouch + metadata
        short = self.next_nonce() if nonce is None else nonce.to_bytes(8, "big")
        box = crypto_box(content, b"CurveZMQINITIATE" + short, self.server_transient, self.transient_secret)
        return b"\x08INITIATE" + (cookie or self.cookie) + short + box

    def take_ready(self, ready: bytes) -> dict[bytes, bytes]:
        """Open READY; the server's metadata."""
        assert ready[:6] == b"\5READY"
        return handshake.parse_metadata(self._open(b"CurveZMQREADY---", ready[6:]))

    # Traffic: frames as they are on the wire

    def message(self, flags: int, body: bytes, *, nonce: int | None = None) -> bytes:
        """The frame that carries a frame; `flags` are MESSAGE's own."""
        short = self.next_nonce() if nonce is None else nonce.to_bytes(8, "big")
        payload = bytes((flags,)) + body
        box = crypto_box(payload, b"CurveZMQMESSAGEC" + short, self.server_transient, self.transient_secret)
        return encode_frame(b"\7MESSAGE" + short + box)

    def messages(self, *bodies: bytes) -> bytes:
        """The frames that carry a message."""
        return b"".join(self.message(MORE, body) for body in bodies[:-1]) + self.message(0, bodies[-1])

    def command(self, name: bytes, data: bytes = b"") -> bytes:
        """The frame that carries a command."""
        return self.message(CARRIED_COMMAND, handshake.command(name, data))

    def take(self, sent: bytes) -> list[tuple[int, bytes]]:
        """What the server's frames carry: MESSAGE's flags, and bodies."""
        payloads = [
            self._open(b"CurveZMQMESSAGES", body[8:])
            for flags, body in split_frames(sent)
            if flags == 0 and body[:8] == b"\7MESSAGE"
        ]
        assert len(payloads) == len(split_frames(sent))
        return [(payload[0], payload[1:]) for payload in payloads]

    def _open(self, prefix: bytes, data: bytes) -> bytes:
        number = int.from_bytes(data[:8], "big")
        assert number > self.heard, "the server's nonces do not rise"
        self.heard = number
        return crypto_box_open(data[8:], prefix + data[:8], self.server_transient, self.transient_secret)

    # Both

    def connect(self, connection: SecuredConnection, metadata: bytes | None = None) -> dict[bytes, bytes]:
        """Go through the whole handshake; the server's metadata."""
        connection.receive(peers.greeting(mechanism=b"CURVE"))
        peers.take_outbox(connection)
        self.take_welcome(say(connection, self.hello()))
        return self.take_ready(say(connection, self.initiate(metadata=metadata)))


def say(connection: SecuredConnection, body: bytes) -> bytes:
    """Send a command of the handshake; the body of the one that answers it."""
    assert connection.receive(encode_frame(body, 4)) == []
    ((flags, answer),) = split_frames(peers.take_outbox(connection))
    assert flags == 4
    return answer


def split_frames(sent: bytes) -> list[tuple[int, bytes]]:
    """The frames of some traffic: flags without LONG, and bodies."""
    frames = []
    while sent:
        if sent[0] & 2:
            end = 9 + int.from_bytes(sent[1:9], "big")
            frames.append((sent[0] & ~2, sent[9:end]))
        else:
            end = 2 + sent[1]
            frames.append((sent[0], sent[2:end]))
        sent = sent[end:]
    return frames


def connected(limit: int = peers.LIMIT) -> tuple[CurveClient, SecuredConnection]:
    """Both ends of a connection in traffic."""
    client, connection = CurveClient(), accepted(new_server(), limit=limit)
    client.connect(connection)
    return client, connection
