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
    made: dict[tuple[str, str], Gate] = {}
    problems: list[str] = []
    for queue in queues:
        for side in SIDES:
            try:
                made[queue.name, side] = _gate(queue, side)
            except ConfigError as error:
                where = f"queues.{queue.name}.{side}_curve_secret, {side}_authorized_keys"
                problems += [f"{where}: {problem}" for problem in error.problems]
    if problems:
        raise ConfigError(problems)
    return made


def _gate(queue: QueueConfig, side: str) -> Gate:
    allow, deny = (
        [ipaddress.ip_network(text) for text in getattr(queue, f"{side}_{key}")] for key in ("allow", "deny")
    )
    secret: str = getattr(queue, f"{side}_curve_secret")
    if not secret:
        return Gate(allow, deny, queue.settings.handshake_rate)
    # python3-nacl takes 35 ms to import, and hardly anybody needs it.
    from zqd.keys import load_authorized, load_secret
    from zqd.zmtp.curve import CurveServer

    authorized: str = getattr(queue, f"{side}_authorized_keys")
    guard = load_authorized(authorized or None, anonymous=getattr(queue, f"{side}_anonymous"))
    curve = CurveServer(load_secret(secret).secret, guard, os.urandom(32))
    return Gate(allow, deny, queue.settings.handshake_rate, curve)
