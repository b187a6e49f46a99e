"""What a link asks of its role, what its messages mean and when its peer may be read; and of its owner.

Layer 3. Filled by: `client_role`, `worker_role`, and those of the servers in `zqd.control`; called by: `link`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from zqd.core.peers import Peer
from zqd.net.loop import Loop
from zqd.zmtp.connection import Message

if TYPE_CHECKING:
    from zqd.net.link import Link


Hand = Callable[[Any, bytes, float], int]
"""Takes a peer, bytes of it that begin with a message, and the time; returns how many it is done with (`core.intake`)."""


class Role(Protocol):
    """What a link is to the queue, or to a server."""

    heartbeat_interval: float
    """Seconds; 0 for none."""

    @property
    def hand(self) -> Hand | None:
        """The short way of plain messages, where there is one."""
        ...

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


class Owner(Protocol):
    """What a link needs of the device, or the server, that it belongs to."""

    loop: Loop
    fault: Callable[[Exception], None]

    @property
    def timeouts(self) -> tuple[float, float]:
        """Of the handshake, and of the answer to a heartbeat: seconds, 0 for ever."""

    def note(self, event: str, *, link: Link, **fields: object) -> None:
        """Say that something happened on a link."""

    def forget(self, link: Link) -> None:
        """A link is closed."""


class Gone:
    """The role of a closed link.

    A link and its role know each other: without this change of roles all that an ended connection held would lie about
    until the garbage collector comes, and `daemon` makes it come seldom.
    """

    heartbeat_interval = 0.0
    hand = None
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
