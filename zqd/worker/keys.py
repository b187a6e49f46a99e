"""The CURVE keys of a worker's connections, and what a handshake that has failed says about them.

Secrets are in no repr and in no error's text. Called by: `program`, `library`, and `broker`, which gives them to its socket.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import zmq

from zqd.errors import ConfigError
from zqd.keys import KeyPair, load_public, load_secret, z85_decode
from zqd.worker.settings import WorkerSettings


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


def load_keys(settings: WorkerSettings) -> tuple[Keys | None, ...]:
    """The keys for each broker of `settings.backend`, None where it has no CURVE. ConfigError names all that is wrong."""
    servers, count = settings.server_key, len(settings.backend)
    if not any(servers):
        if settings.curve_secret:
            raise ConfigError(
                ["curve_secret: means nothing without the key of a broker; expected server_key as well"]
            )
        return (None,) * count
    if len(servers) not in {1, count}:
        raise ConfigError(
            [f"server_key: {len(servers)} keys for {count} brokers; expected one for all, or one for each"]
        )
    problems: list[str] = []
    ours = _nameless()
    theirs: list[bytes | None] = []
    for server in servers:
        try:
            theirs.append(load_public(server) if server else None)
        except ConfigError as error:
            problems += [f"server_key: {problem}" for problem in error.problems]
    try:
        if settings.curve_secret:
            ours = load_secret(settings.curve_secret)
    except ConfigError as error:
        problems += [f"curve_secret: {problem}" for problem in error.problems]
    if problems:
        raise ConfigError(problems)
    keys = [None if server is None else Keys(server, ours.public, ours.secret) for server in theirs]
    return tuple(keys * count if len(keys) < count else keys)


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


@functools.cache
def _nameless() -> KeyPair:
    """A pair for this process alone: a reload must not change it, and with it the connections."""
    public, secret = map(z85_decode, (key.decode() for key in zmq.curve_keypair()))
    return KeyPair(public, secret)
