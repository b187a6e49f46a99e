"""From a queue's configuration to the gates of its two sides: address lists, and keys out of their files.

Layer 4. Called by: `daemon`, `reload`, and `program` for --check-config.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable

from zqd.config import QueueConfig
from zqd.daemon.sockets import SIDES
from zqd.errors import ConfigError
from zqd.net.gate import Gate


def gates(queues: Iterable[QueueConfig]) -> dict[tuple[str, str], Gate]:
    """The gate of each (queue, side). ConfigError has all that is wrong with key files, a line each."""
    problems: list[str] = []
    made = {(queue.name, side): _gate(queue, side, problems) for queue in queues for side in SIDES}
    if problems:
        raise ConfigError(problems)
    return made


def _gate(queue: QueueConfig, side: str, problems: list[str]) -> Gate:
    """One that lets nobody in, who has no keys, where there are problems."""
    allow, deny = (
        [ipaddress.ip_network(text) for text in getattr(queue, f"{side}_{key}")] for key in ("allow", "deny")
    )
    name: str = getattr(queue, f"{side}_curve_secret")
    if not name:
        return Gate(allow, deny, queue.settings.handshake_rate)
    # python3-nacl takes 35 ms to import, and hardly anybody needs it.
    from zqd.keys import Authorized, load_authorized, load_secret
    from zqd.zmtp.curve import KEY_SIZE, CurveServer

    secret, guard = bytes(KEY_SIZE), Authorized({})
    try:
        secret = load_secret(name).secret
    except ConfigError as error:
        problems += _placed(queue, f"{side}_curve_secret", error)
    try:
        listed: str = getattr(queue, f"{side}_authorized_keys")
        guard = load_authorized(listed or None, anonymous=getattr(queue, f"{side}_anonymous"))
    except ConfigError as error:
        problems += _placed(queue, f"{side}_authorized_keys", error)
    return Gate(allow, deny, queue.settings.handshake_rate, CurveServer(secret, guard, os.urandom(KEY_SIZE)))


def _placed(queue: QueueConfig, key: str, error: ConfigError) -> list[str]:
    return [f"queues.{queue.name}.{key}: {problem}" for problem in error.problems]
