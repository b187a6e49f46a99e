"""A device: one queue with its two sides and its links, the QUEUE device of the seed.

It makes a link of each connection, and carries out the queue's outputs once a turn. Layer 3.
Called by: `daemon`, one device for each configured queue.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

from zqd.config import QueueConfig
from zqd.core.outputs import Ending
from zqd.core.peers import Client, Peer
from zqd.core.queue import Queue
from zqd.core.reload import adopt
from zqd.endpoints import Listener
from zqd.net.client_role import ClientRole
from zqd.net.link import LINGER, Link, Stage
from zqd.net.loop import Loop
from zqd.net.side import Notify, Room, Side
from zqd.net.worker_role import WorkerRole
from zqd.stats import Rates
from zqd.zmtp.connection import Connection
from zqd.zmtp.handshake import Null


class Device:
    """One queue at work, as a part of the loop. `listen` lets peers in, `stop` begins the end, `done` says that it is over."""

    def __init__(
        self,
        loop: Loop,
        config: QueueConfig,
        *,
        boot: bytes,
        room: Room,
        numbers: Iterator[int],
        notify: Notify,
        on_fault: Callable[[Exception], None],
    ) -> None:
        settings = config.settings
        self.loop = loop
        self.config = config
        self.queue = Queue(config.name, settings, boot)
        self.fault = on_fault
        self.frontend = Side("frontend", loop, room, settings.max_clients, self._client_connected, self._tell)
        self.backend = Side("backend", loop, room, settings.max_workers, self._worker_connected, self._tell)
        self._numbers = numbers
        self._notify = notify
        self.rates = Rates(loop.now, self.queue.ledger.rising())
        self._links: dict[int, Link] = {}
        self.stopping = False
        """`stop` was called."""

    def listen(self, side: str, listener: Listener) -> None:
        """Accept clients (`frontend`) or workers (`backend`) from one listener more."""
        self.side(side).listen(listener)
        self._tell("queue.listening", {"side": side, "endpoint": str(listener.endpoint)})

    def side(self, name: str) -> Side:
        """The side of this name, `frontend` or `backend`."""
        return self.frontend if name == "frontend" else self.backend

    # Links

    @property
    def timeouts(self) -> tuple[float, float]:
        """Of a handshake, and of the answer to a heartbeat, seconds."""
        settings = self.queue.settings
        return settings.handshake_timeout, settings.heartbeat_timeout

    def adopt(self, config: QueueConfig) -> None:
        """Go on with other settings. What is in flight keeps its time limits, and connections keep their heartbeats."""
        settings = config.settings
        self.config = config
        adopt(self.queue, settings, self.loop.now)
        self.frontend.limit, self.backend.limit = settings.max_clients, settings.max_workers
        for link in self._links.values():
            link.connection.max_message_size = settings.max_message_size
            if link.peer is not None:
                link.role.adopt()

    def _client_connected(self, sock: socket.socket, address: str) -> None:
        link = self._link(sock, address, b"ROUTER")
        self._begin(link, ClientRole(link, self.queue), self.frontend)

    def _worker_connected(self, sock: socket.socket, address: str) -> None:
        link = self._link(sock, address, b"DEALER")
        self._begin(link, WorkerRole(link, self.queue), self.backend)

    def _link(self, sock: socket.socket, address: str, socket_type: bytes) -> Link:
        connection = Connection(Null(socket_type), socket_type, self.queue.settings.max_message_size)
        return Link(self, sock, address, next(self._numbers), connection)

    def _begin(self, link: Link, role: ClientRole | WorkerRole, side: Side) -> None:
        self._links[link.number] = link
        side.count(1)
        try:
            link.start(role)
        except OSError:
            self.forget(link)
            raise

    def forget(self, link: Link) -> None:
        """A link is closed."""
        if self._links.pop(link.number, None) is not None:
            (self.frontend if isinstance(link.role, ClientRole) else self.backend).count(-1)

    def note(self, event: str, *, link: Link, **fields: object) -> None:
        """Say that something happened on a link."""
        peer = {} if link.peer is None else {"peer": link.peer.id}
        self._tell(event, {"address": link.address, **peer, **fields})

    def _tell(self, event: str, fields: dict[str, object]) -> None:
        self._notify(event, {"queue": self.queue.name, **fields})

    # Every turn

    @property
    def deadline(self) -> float | None:
        """The queue's."""
        return self.queue.deadline

    def settle(self) -> None:
        """Carry out the queue's outputs until there are none."""
        queue, out, links = self.queue, self.queue.out, self._links
        deadline = queue.deadline
        if deadline is not None and deadline <= self.loop.now:
            queue.elapse(self.loop.now)
        while out.outgoing or out.resumed or out.closing:
            if out.closing:
                closing, out.closing = out.closing, []
                for peer, ending in closing:
                    self._close(peer, ending)
            if out.resumed:
                resumed, out.resumed = out.resumed, []
                for client in resumed:
                    link = links.get(client.number)
                    if link is not None and isinstance(link.role, ClientRole):
                        link.role.resume()
            outgoing, out.outgoing = out.outgoing, []
            for peer in outgoing:
                link = links.get(peer.number)
                if link is not None:
                    link.flush()
                else:
                    peer.outbox.clear()
        if self.loop.now >= self.rates.next:
            self.rates.roll(self.loop.now, queue.ledger.rising())
        if out.notices:
            notices, out.notices = out.notices, []
            for event, fields in notices:
                self._tell(event, fields)
        if self.stopping:
            self._go_on_stopping()

    def _close(self, peer: Peer, ending: Ending) -> None:
        link = self._links.get(peer.number)
        if link is None:
            return
        if ending is Ending.NOW:
            link.lost("closed by zqd")
            return
        if isinstance(peer, Client) and isinstance(link.role, ClientRole):
            link.role.last_look()
            if peer.outstanding:  # a request was still there: it is answered first
                peer.ended = False
                return
        link.end()

    # Stopping

    def stop(self) -> None:
        """Begin to end as rule 22 says; `done` turns true."""
        if self.stopping:
            return
        self.stopping = True
        self.frontend.close()
        self.backend.close()
        patience = self.queue.settings.drain_timeout
        self.queue.regime.stop(self.loop.now, patience)
        if patience:
            # By then all is answered; a peer that reads slowly has had its time to flush and to close (rule 21).
            self.loop.call_at(self.loop.now + patience + 2 * LINGER, self.abort)
        for link in list(self._links.values()):
            if link.peer is None:
                link.end()

    def abort(self) -> None:
        """End now: every connection is closed as it is."""
        self.stop()
        for link in list(self._links.values()):
            link.lost("zqd stops now")

    @property
    def done(self) -> bool:
        """The stop is over: no connection is left."""
        return self.stopping and not self._links

    def close(self) -> None:
        """Give back what `listen` was given, and every connection."""
        self.abort()
        if self in self.loop.parts:
            self.loop.parts.remove(self)

    def _go_on_stopping(self) -> None:
        """When the clients have gone, the workers may go."""
        if not self.queue.clients:
            for link in list(self._links.values()):
                if link.stage is Stage.OPEN and isinstance(link.role, WorkerRole):
                    link.end()
