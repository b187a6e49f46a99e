"""The CURVE keys of a client's connections, and what a handshake that has failed says about them.

What a program hands over is checked at once: TypeError or ValueError, one sentence, in which no secret is; neither is one
in a repr. Called by: `blocking`, `tasks`, and `carrier`, which gives the keys to its sockets.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

import zmq

from zqd.errors import ConfigError

ServerKeys = str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None
"""A public key in 40 characters, or the path of its certificate: for all brokers, or one for each."""

OwnSecret = str | os.PathLike[str] | None
"""The path of a `.key_secret` certificate."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Those of one connection, 32 bytes each."""

    server: bytes
    public: bytes
    secret: bytes = field(repr=False)

    def apply(self, socket: zmq.Socket[bytes]) -> None:
        """Have a socket use them from its next connection on."""
        socket.setsockopt(zmq.CURVE_SERVERKEY, self.server)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self.secret)


def keys_of(count: int, server_key: ServerKeys, curve_secret: OwnSecret) -> tuple[Keys | None, ...]:
    """The keys for each of `count` brokers, None for one without CURVE."""
    servers = _servers(server_key)
    if not any(servers):
        if curve_secret is not None:
            raise ValueError("curve_secret means nothing without server_key, the key of the broker")
        return (None,) * count
    if len(servers) not in {1, count}:
        raise ValueError(
            f"{len(servers)} keys in server_key for {count} brokers: expected one for all, or one for each"
        )
    ours = _own_pair(curve_secret)
    keys = tuple(Keys(_public(server), *ours) if server else None for server in servers)
    return keys * count if len(keys) < count else keys


def _servers(server_key: object) -> list[str]:
    if server_key is None:
        return []
    if isinstance(server_key, str | os.PathLike | bytes) or not isinstance(server_key, Iterable):
        server_key = [server_key]
    return [_text("server_key", server) for server in server_key]


def _text(name: str, value: object) -> str:
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str):
        raise TypeError(f"{name} is a str or a path, not {type(value).__name__}")
    return text


def _public(server: str) -> bytes:
    from zqd.keys import load_public

    try:
        return load_public(server)
    except ConfigError as error:
        raise ValueError(f"server_key: {error}") from None


def _own_pair(curve_secret: object) -> tuple[bytes, bytes]:
    """Public and secret half; without a certificate a pair for this client alone."""
    from zqd.keys import load_secret, looks_like_key, z85_decode

    if curve_secret is None:
        public, secret = zmq.curve_keypair()
        return z85_decode(public.decode()), z85_decode(secret.decode())
    path = _text("curve_secret", curve_secret)
    if looks_like_key(path):
        raise ValueError(
            "curve_secret: it is a key itself and not the file that has it; "
            "expected the path of a .key_secret certificate"
        )
    try:
        pair = load_secret(os.path.abspath(path))  # a bare name would be a credential's
    except ConfigError as error:
        raise ValueError(f"curve_secret: {error}") from None
    return pair.public, pair.secret


def refusal(event: int, value: int, *, curve: bool) -> tuple[str, bool]:
    """Why a broker does not let us in, from the monitor's event and its value; and whether that is beyond doubt.

    `curve`: we have used keys. zmq_socket_monitor(3); what libzmq tells of each case was tried.
    """
    if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
        return "this key is not authorized there" if curve else "we are not authorized there", True
    if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL and value == zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH:
        return (
            "it does not use CURVE, and server_key is given" if curve else "it may use CURVE: give server_key"
        ), True
    if event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        more = ": the server key may not be its key" if curve else ""
        return f"it has closed the connection during the handshake{more}", False
    if curve:
        return "the server key is not its key, or it does not use CURVE", True
    return "it refuses the handshake, or is no broker", False
