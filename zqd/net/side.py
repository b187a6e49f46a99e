"""One side of a device, or of a server: the listeners where its peers connect, and how many may.

Layer 3. Called by: `device`, `server`.
"""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Callable
from dataclasses import dataclass

from zqd.endpoints import Listener, parse
from zqd.net.addresses import address_of
from zqd.net.loop import Loop

ACCEPTS_PER_TURN = 32  # connections that one listener accepts before the others have their turn
RETRY = 1.0  # seconds until accepting is tried again where it was not possible

Notify = Callable[[str, dict[str, object]], None]
Connected = Callable[[socket.socket, str], None]
"""Takes an accepted, non-blocking socket and the peer's address; OSError where it cannot be watched."""


@dataclass(slots=True)
class Room:
    """How many connections the process may hold, all queues together: its descriptors less a reserve."""

    limit: int
    used: int = 0


class Side:
    """The listeners of one side. `limit` 0 means as many as there is room for; `connected` gets each connection.

    `make_room` is asked where one more would be too many: whether it has ended another for it.
    """

    def __init__(
        self,
        name: str,
        loop: Loop,
        room: Room,
        limit: int,
        connected: Connected,
        notify: Notify,
        make_room: Callable[[], bool] = lambda: False,
    ) -> None:
        self.name = name
        self.listeners: list[Listener] = []
        self.limit = limit
        self.connections = 0
        self._loop = loop
        self._room = room
        self._connected = connected
        self._notify = notify
        self._make_room = make_room
        self._accepting: set[Listener] = set()

    def listen(self, listener: Listener) -> None:
        """Accept whom this one lets in, until it is dropped."""
        self.listeners.append(listener)
        self._accept_from(listener)

    def find(self, endpoint: str) -> Listener:
        """The listener that was bound for this endpoint; StopIteration where there is none."""
        asked = parse(endpoint)
        return next(listener for listener in self.listeners if listener.asked == asked)

    def release(self, listener: Listener) -> Listener:
        """Accept nobody from this one any more, and give it back; those who have come by it stay."""
        self.listeners.remove(listener)
        if listener in self._accepting:
            self._accepting.discard(listener)
            self._loop.unregister(listener.socket.fileno())
        return listener

    def drop(self, listener: Listener) -> None:
        """Accept nobody from this one any more, and close it."""
        self.release(listener).close()

    def close(self) -> None:
        """Accept nobody any more."""
        for listener in list(self.listeners):
            self.drop(listener)

    def count(self, change: int) -> None:
        """A connection has come (1) or gone (-1)."""
        self.connections += change
        self._room.used += change

    def _accept_from(self, listener: Listener) -> None:
        if listener in self.listeners:
            self._loop.register(listener.socket.fileno(), select.EPOLLIN, lambda _: self._accept(listener))
            self._accepting.add(listener)

    def _accept(self, listener: Listener) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            limit = min(self.limit or self._room.limit, self._room.limit)
            full = self._room.used >= self._room.limit or self.connections >= limit
            if full and not _somebody_waits(listener):
                return
            if full and not self._make_room():
                self._rest(listener, "accept.full", limit=limit)
                return
            try:
                sock, address = listener.socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}:
                    self._rest(listener, "accept.failed", reason=error.strerror)
                    return
                continue  # one connection's own trouble (accept(2))
            sock.setblocking(False)
            try:
                self._connected(sock, address_of(listener.endpoint, sock, address))
            except OSError as error:  # epoll_ctl(2): no memory for it, or max_user_watches reached
                sock.close()
                self._rest(listener, "accept.failed", reason=error.strerror)
                return

    def _rest(self, listener: Listener, event: str, **fields: object) -> None:
        """Do not spin on a listener whose connections cannot be accepted: look again later."""
        self._notify(event, {"side": self.name, "endpoint": str(listener.endpoint), **fields})
        self._loop.unregister(listener.socket.fileno())
        self._accepting.discard(listener)
        self._loop.call_at(self._loop.now + RETRY, lambda: self._accept_from(listener))


def _somebody_waits(listener: Listener) -> bool:
    """Whether there is a connection to accept now."""
    poll = select.poll()
    poll.register(listener.socket, select.POLLIN)
    return bool(poll.poll(0))
