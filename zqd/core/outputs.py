"""What the queue wants done: plain data that its owner takes once a turn.

Layer 1, pure. Written by: `queue` and its parts; taken by: `zqd.net.device`.
"""

from __future__ import annotations

import enum

from zqd.core.peers import Client, Peer
from zqd.zmtp.pieces import RawMessage


class Ending(enum.Enum):
    """How a connection is to end."""

    GRACEFUL = "after what is to be sent"  # rule 21
    NOW = "at once"


class Outputs:
    """The queue's outputs since they were last taken."""

    __slots__ = ("closing", "notices", "outgoing", "resumed")

    def __init__(self) -> None:
        self.outgoing: list[Peer] = []
        """Peers with something in their outbox, each once."""
        self.resumed: list[Client] = []
        """Clients to read again, a refused message first."""
        self.closing: list[tuple[Peer, Ending]] = []
        """Peers whose connection is to end, after what is in their outbox."""
        self.notices: list[tuple[str, dict[str, object]]] = []
        """(event, fields) to log; events as in `zqd.events`."""

    def send(self, peer: Peer, raw: RawMessage) -> None:
        """One whole message for a peer."""
        if not peer.outbox:
            self.outgoing.append(peer)
        peer.outbox.append(raw)

    def close(self, peer: Peer, ending: Ending) -> None:
        """End a peer's connection."""
        self.closing.append((peer, ending))

    def note(self, event: str, **fields: object) -> None:
        """Say that something has happened; peers are told by their id, address and name."""
        told: dict[str, object] = {}
        for key, value in fields.items():
            if isinstance(value, Peer):
                told[key] = value.id
                told["address"] = value.address
                if value.name:
                    told["name"] = value.name
                if value.key:
                    told["key"] = value.key
            else:
                told[key] = value
        self.notices.append((event, told))
