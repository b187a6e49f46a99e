"""The CURVE keys of a worker's connections, and what a handshake that has failed says about them.

Called by: `program`, `library`, and `broker`.
"""

from __future__ import annotations

import functools

import zmq

from zqd.keys.connection import Keys, connection_keys
from zqd.keys.pair import KeyPair, load_secret, new_pair
from zqd.worker.settings import WorkerSettings


def load_keys(settings: WorkerSettings) -> tuple[Keys | None, ...]:
    """The keys for each broker of `settings.backend`, None where it has no CURVE. ConfigError names all that is wrong."""
    servers = [server or None for server in settings.server_key]
    return connection_keys(servers, settings.curve_secret or None, len(settings.backend), _own)


def _own(secret: str | None) -> KeyPair:
    """A bare name is a credential's."""
    return _nameless() if secret is None else load_secret(secret)


@functools.cache
def _nameless() -> KeyPair:
    """A pair for this process alone: a reload must not change it, and with it the connections."""
    return new_pair()


def refusal(event: int, value: int, *, curve: bool) -> str:
    """Why a broker does not let us in, in the words of an operator, from the monitor's event and its value.

    `curve`: we have used keys. zmq_socket_monitor(3); what libzmq tells of each case was tried.
    """
    if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
        return "this key is not authorized there" if curve else "we are not authorized there"
    if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL and value == zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH:
        return "it does not use CURVE, and server_key is set" if curve else "it may use CURVE: set server_key"
    if event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        more = ": the server key may not be its key" if curve else ""
        return f"it has closed the connection during the handshake{more}"
    if curve:
        return "the server key is not its key, or it does not use CURVE"
    return "it refuses the handshake, or is no broker"
