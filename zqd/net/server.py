"""A server: listeners where programs connect to talk with zqd itself, and their links.

Other than a device it has no queue: what its peers send and get is its roles' own (`zqd.control`). However many connect, it
keeps at most `most`: the one that has been quiet the longest makes room, so that nobody can shut others out by holding
connections, and they take nothing from the room of clients and workers.

Layer 3. Called by: `zqd.control.server`, `zqd.control.publisher`.
"""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable

from zqd.endpoints import Listener
from zqd.net.link import Link
from zqd.net.loop import Loop
from zqd.net.role import Role
from zqd.net.side import Notify, Room, Side
from zqd.zmtp.connection import Connection
from zqd.zmtp.handshake import Null

HANDSHAKE_TIMEOUT = 2.0  # seconds that a connection may take to say that it is one of ours


class Server:
    """Accepts peers of one kind at its listeners. `make_role` gives each link what its messages mean."""

    timeouts = (HANDSHAKE_TIMEOUT, 0.0)

    def __init__(
        self,
        name: str,
        loop: Loop,
        *,
        socket_type: bytes,
        make_role: Callable[[Link], Role],
        max_message_size: int,
        most: int,
        notify: Notify,
        on_fault: Callable[[Exception], None],
    ) -> None:
        self.name = name
        self.loop = loop
        self.fault = on_fault
        self._side = Side(name, loop, Room(most), most, self._connected, notify, self._make_room)
        self._socket_type = socket_type
        self._make_role = make_role
        self._max_message_size = max_message_size
        self._notify = notify
        self._numbers = itertools.count(1)
        self._links: dict[int, Link] = {}

    @property
    def listeners(self) -> list[Listener]:
        """Where it listens."""
        return self._side.listeners

    def listen(self, listener: Listener) -> None:
        """Accept whom this one lets in; it is the server's to close."""
        self._side.listen(listener)

    def close(self) -> None:
        """Stop listening and close every connection; what was sent is on its way already."""
        self._side.close()
        for link in list(self._links.values()):
            link.lost("")

    def note(self, event: str, *, link: Link, **fields: object) -> None:
        """Say that something happened on a link."""
        self._notify(event, {"side": self.name, "address": link.address, **fields})

    def forget(self, link: Link) -> None:
        """A link is closed."""
        if self._links.pop(link.number, None) is not None:
            self._side.count(-1)

    def _connected(self, sock: socket.socket, address: str) -> None:
        connection = Connection(Null(self._socket_type), self._socket_type, self._max_message_size)
        link = Link(self, sock, address, next(self._numbers), connection)
        self._links[link.number] = link
        self._side.count(1)
        try:
            link.start(self._make_role(link))
        except OSError:
            self.forget(link)
            raise

    def _make_room(self) -> bool:
        quietest = min(self._links.values(), key=lambda link: link.heard, default=None)
        if quietest is None:
            return False
        self.note("accept.evicted", link=quietest)
        quietest.lost("")
        return True
