"""The CURVE keys of a client's connections, and what a handshake that has failed says about them.

What a program hands over is checked at once: TypeError, or ValueError with a line for each fault, in which no secret is.
Called by: `blocking`, `tasks`, and `carrier`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import zmq

from zqd.errors import ConfigError
from zqd.keys.connection import Keys, connection_keys

ServerKeys = str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None
"""A public key in 40 characters, or the path of its certificate: for all brokers, or one for each."""

OwnSecret = str | os.PathLike[str] | None
"""The path of a `.key_secret` certificate."""


def keys_of(count: int, server_key: ServerKeys, curve_secret: OwnSecret) -> tuple[Keys | None, ...]:
    """The keys for each of `count` brokers, None for one without CURVE."""
    servers = _servers(server_key)
    secret = None if curve_secret is None else _text("curve_secret", curve_secret)
    try:
        return connection_keys(servers, secret, count)
    except ConfigError as error:
        raise ValueError(str(error)) from None


def _servers(server_key: object) -> list[str | None]:
    """Nothing, in whatever way it is said, is None."""
    if server_key is None:
        return []
    if isinstance(server_key, str | os.PathLike | bytes) or not isinstance(server_key, Iterable):
        server_key = [server_key]
    return [_text("server_key", server) or None for server in server_key]


def _text(name: str, value: object) -> str:
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str):
        raise TypeError(f"{name} is a str or a path, not {type(value).__name__}")
    return text


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
