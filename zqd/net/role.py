"""What a link asks of its role: what its messages mean, and when its peer may be read.

Layer 3. Filled by: `client_role`, `worker_role`, and those of the servers in `zqd.control`; called by: `link`.
"""

from __future__ import annotations

from typing import Protocol

from zqd.core.peers import Peer
from zqd.zmtp.connection import Message


class Role(Protocol):
    """What a link is to the queue, or to a server."""

    heartbeat_interval: float
    """Seconds; 0 for none."""

    def join(self) -> Peer:
        """The handshake is over: tell the queue, and return the peer that it knows from now on."""
        ...

    def take(self, messages: list[Message]) -> None:
        """Whole messages, possibly none."""
        ...

    def leave(self) -> None:
        """Tell the queue that the peer is gone."""
        ...

    def adopt(self) -> None:
        """The settings have changed."""
        ...

    @property
    def reading(self) -> bool:
        """The peer may be read now."""
        ...

    def unsent(self, size: int) -> None:
        """`size` bytes wait for the peer to read them; 0 once all have gone."""
        ...


class Gone:
    """The role of a closed link.

    A link and its role know each other: without this change of roles all that an ended connection held would lie about
    until the garbage collector comes, and `daemon` makes it come seldom.
    """

    heartbeat_interval = 0.0
    reading = False

    def join(self) -> Peer:
        """Never asked: a closed link makes no handshake."""
        raise AssertionError

    def take(self, messages: list[Message]) -> None:
        """Too late."""

    def leave(self) -> None:
        """The queue has been told."""

    def adopt(self) -> None:
        """They are nothing to it any more."""

    def unsent(self, size: int) -> None:
        """Nobody will read it."""


GONE = Gone()
