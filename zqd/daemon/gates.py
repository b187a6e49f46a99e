"""From a queue's configuration to the gates of its two sides: address lists, and keys out of their files.

Layer 4. Called by: `check`, and `reload` to tell what has changed.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from zqd.config import QueueConfig
from zqd.daemon.sockets import SIDES, Place
from zqd.errors import ConfigError
from zqd.net.gate import Gate

if TYPE_CHECKING:
    from zqd.zmtp.curve import CurveServer


def gates(queues: Iterable[QueueConfig], problems: list[str]) -> dict[Place, Gate]:
    """The gate of each side; all that is wrong with key files is added to `problems`, a line each."""
    return {(queue.name, side): _gate(queue, side, problems) for queue in queues for side in SIDES}


def _gate(queue: QueueConfig, side: str, problems: list[str]) -> Gate:
    """One that lets nobody in, who has no keys, where there are problems."""
    allow, deny = (
        [ipaddress.ip_network(text) for text in getattr(queue, f"{side}_{key}")] for key in ("allow", "deny")
    )
    name: str = getattr(queue, f"{side}_curve_secret")
    if not name:
        return Gate(allow, deny, queue.settings.handshake_rate)
    # python3-nacl takes 35 ms to import, and hardly anybody needs it.
    from zqd.keys.authorized import Authorized, load_authorized
    from zqd.keys.pair import load_secret
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


def key_changes(old: Gate, new: Gate, closed: int) -> Iterator[tuple[str, str, str]]:
    """What the files of a side's keys say otherwise: for each setting the end of its key, what was and what is, in short.

    `closed` connections of those who may not stay have been closed. Nothing where CURVE came or went: that is a change of
    the settings themselves.
    """
    if old.curve is None or new.curve is None:
        return
    from zqd.keys.z85 import z85_encode

    if old.curve.public != new.curve.public:
        yield "curve_secret", f"key {z85_encode(old.curve.public)}", f"key {z85_encode(new.curve.public)}"
    before, after = _entries(old.curve), _entries(new.curve)
    if before != after:
        counts = {
            "removed": len(before.keys() - after.keys()),
            "added": len(after.keys() - before.keys()),
            "changed": sum(before[key] != after[key] for key in before.keys() & after.keys()),
        }
        told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        if closed:
            told += f"; {_counted(closed, 'connection')} closed"
        yield "authorized_keys", _counted(len(before), "key"), f"{_counted(len(after), 'key')} ({told})"


def _entries(curve: CurveServer) -> dict[bytes, tuple[str, float | None]]:
    """Name and expiry of each key that may enter; where it stands makes no difference."""
    from zqd.keys.authorized import Authorized

    assert isinstance(curve.guard, Authorized)
    return {key: (entry.name, entry.expires) for key, entry in curve.guard.entries.items()}


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
