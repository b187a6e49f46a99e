"""The CURVE keys of a program's connections to brokers, as its settings say.

No secret is in a repr, or in an error's text. What reads files is imported when there are keys to be read: most programs
have none. Layer 2. Called by: `zqd.client`, `zqd.worker`, `zqd.ctl` (request, bench).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from zqd.errors import ConfigError

if TYPE_CHECKING:
    import zmq

    from zqd.keys.pair import KeyPair


@dataclass(frozen=True, slots=True)
class Keys:
    """Those of one connection, 32 bytes each."""

    server: bytes
    public: bytes
    secret: bytes = field(repr=False)

    def apply(self, socket: zmq.Socket[bytes]) -> None:
        """Have a socket use them from its next connection on."""
        socket.curve_serverkey = self.server
        socket.curve_publickey = self.public
        socket.curve_secretkey = self.secret


def own_pair(path: str | None) -> KeyPair:
    """Ours: that in the `.key_secret` certificate at `path`, or a new one, without a name, where that is None.

    A bare name is that of a file in this folder. ConfigError with one line where it cannot be had.
    """
    from zqd.keys.pair import load_secret, new_pair
    from zqd.keys.z85 import looks_like_key

    if path is None:
        return new_pair()
    if looks_like_key(path) and not os.path.exists(path):
        wrong = (
            "it is a key itself and not the file that has it; expected the path of a .key_secret certificate"
        )
        raise ConfigError([wrong])
    return load_secret(os.path.abspath(path))  # a bare name would be a credential's


def connection_keys(
    servers: Sequence[str | None],
    secret: str | None,
    count: int,
    own: Callable[[str | None], KeyPair] = own_pair,
    *,
    names: tuple[str, str] = ("server_key", "curve_secret"),
) -> tuple[Keys | None, ...]:
    """The keys for each of `count` brokers, None for one without CURVE.

    `servers` are the brokers' keys, or the paths of their certificates: one for all or one for each, None for one without
    CURVE. `own` finds our pair for `secret`. ConfigError names all that is wrong, by the `names` of the two settings.
    """
    server_key, curve_secret = names
    if all(server is None for server in servers):
        if secret is not None:
            raise ConfigError(
                [f"{curve_secret}: means nothing without the key of a broker; expected {server_key} as well"]
            )
        return (None,) * count
    if len(servers) not in {1, count}:
        raise ConfigError(
            [f"{server_key}: {len(servers)} keys for {count} brokers; expected one for all, or one for each"]
        )
    from zqd.keys.pair import load_public

    problems: list[str] = []
    theirs: list[bytes | None] = []
    for server in servers:
        try:
            theirs.append(None if server is None else load_public(server))
        except ConfigError as error:
            problems += [f"{server_key}: {problem}" for problem in error.problems]
    try:
        ours = own(secret)
    except ConfigError as error:
        problems += [f"{curve_secret}: {problem}" for problem in error.problems]
        raise ConfigError(problems) from None
    if problems:
        raise ConfigError(problems)
    keys = [None if key is None else Keys(key, ours.public, ours.secret) for key in theirs]
    return tuple(keys if len(keys) == count else keys * count)
