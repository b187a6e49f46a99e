"""A device: one queue with its two sides and its links, the QUEUE device of the seed.

It makes a link of each connection, and carries out the queue's outputs once a turn. Layer 3.
Called by: `daemon`, one device for each configured queue.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from zqd.config import QueueConfig
from zqd.core.intake import Intake
from zqd.core.outputs import Ending
from zqd.core.pace import AUTO
from zqd.core.peers import Client, Peer
from zqd.core.queue import Queue
from zqd.core.reload import adopt
from zqd.endpoints import Listener
from zqd.net.client_role import ClientRole
from zqd.net.gate import Gate, is_loopback
from zqd.net.link import LINGER, Link, Stage
from zqd.net.loop import Loop
from zqd.net.side import Notify, Room, Side
from zqd.net.worker_role import WorkerRole
from zqd.stats import Rates

if TYPE_CHECKING:
    from zqd.zmtp.curve import CurveServer

COOKIE_LIFETIME = 60.0  # seconds, as in `zqd.zmtp.curve`, which is not imported for those who do without
LONGEST_WAIT = 600.0  # seconds until keys are looked at again: the clock that they expire by may be set


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
        intake = Intake(self.queue)
        self._take_requests, self._take_replies = intake.requests, intake.replies
        self.fault = on_fault
        self.gates = {"frontend": Gate(), "backend": Gate()}
        self.refused = 0
        """Connections that were ended in their handshake, or before it, or because they broke the protocol."""
        self.frontend = Side("frontend", loop, room, settings.max_clients, self._client_connected, self._tell)
        self.backend = Side("backend", loop, room, settings.max_workers, self._worker_connected, self._tell)
        self._numbers = numbers
        self._notify = notify
        self.rates = Rates(loop.now, self.queue.ledger.rising())
        self._links: dict[int, Link] = {}
        self._handshakes: deque[Link] = deque()  # from beyond loopback, oldest first; the first may be over
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
            if link.peer is not None and link.stage is Stage.OPEN:
                link.role.adopt()

    def guard(self, side: str, gate: Gate) -> None:
        """Let peers in by this gate from now on; whom it would not let in has to go."""
        self.gates[side] = gate
        for link in self._links_of(side):
            if link.peer is None and (
                gate.curve is not None or gate.still_admits(link.address, link.connection.mechanism)
            ):
                link.lost("who may come in has changed during the handshake")
        self._examine(side)
        if gate.curve is not None:
            self._rotate_later(gate.curve)

    def _examine(self, side: str) -> None:
        """Close the connections of those who may not stay, now and whenever a key expires."""
        gate = self.gates[side]
        for link in self._links_of(side):
            reason = None if link.peer is None else gate.still_admits(link.address, link.connection.mechanism)
            if reason is not None:
                self.note("peer.refused", link=link, reason=reason)
                link.lost("it may not stay")
        expiry = None if gate.curve is None else gate.curve.guard.next_expiry()
        if expiry is not None:
            self.loop.call_at(
                self.loop.now + min(expiry + 0.01, LONGEST_WAIT), lambda: self._examine_again(side, gate)
            )

    def _examine_again(self, side: str, gate: Gate) -> None:
        if self.gates[side] is gate and not self.done:
            self._examine(side)

    def _rotate_later(self, curve: CurveServer) -> None:
        """A cookie is good for a while only (RFC 26)."""

        def rotate() -> None:
            if not self.done and any(gate.curve is curve for gate in self.gates.values()):
                curve.rotate(os.urandom(32))
                self._rotate_later(curve)

        self.loop.call_at(self.loop.now + COOKIE_LIFETIME, rotate)

    def _links_of(self, side: str) -> list[Link]:
        role = ClientRole if side == "frontend" else WorkerRole
        return [link for link in self._links.values() if isinstance(link.role, role)]

    def _client_connected(self, sock: socket.socket, address: str) -> None:
        link = self._link(self.frontend, sock, address, b"ROUTER")
        if link is not None:
            self._begin(link, ClientRole(link, self.queue, self._take_requests), self.frontend)

    def _worker_connected(self, sock: socket.socket, address: str) -> None:
        link = self._link(self.backend, sock, address, b"DEALER")
        if link is not None:
            self._begin(link, WorkerRole(link, self.queue, self._take_replies), self.backend)

    def _link(self, side: Side, sock: socket.socket, address: str, socket_type: bytes) -> Link | None:
        """A link for a peer that the side's gate lets in; one that it does not is closed."""
        gate = self.gates[side.name]
        reason = gate.refusal(address, self.loop.now)
        if reason is not None:
            sock.close()
            self.refused += 1
            self._tell("peer.refused", {"side": side.name, "address": address, "reason": reason})
            return None
        self._make_room_for_handshake(address)
        connection = gate.connection(socket_type, self.queue.settings.max_message_size)
        return Link(self, sock, address, next(self._numbers), connection)

    def _make_room_for_handshake(self, address: str) -> None:
        """At `max_handshakes` the one that has taken the longest goes: a handshake that is meant takes no time."""
        most = self.queue.settings.max_handshakes
        if not most or is_loopback(address):
            return
        links = self._handshakes
        while links and (links[0].peer is not None or links[0].stage is not Stage.OPEN):
            links.popleft()
        if len(links) >= most:
            self._handshakes = links = deque(
                link for link in links if link.peer is None and link.stage is Stage.OPEN
            )
        if len(links) >= most:
            slowest = links.popleft()
            self.note("peer.refused", link=slowest, reason=f"over {most} handshakes at once")
            slowest.lost("took too long in its handshake")

    def _begin(self, link: Link, role: ClientRole | WorkerRole, side: Side) -> None:
        self._links[link.number] = link
        if self.queue.settings.max_handshakes and not is_loopback(link.address):
            self._handshakes.append(link)
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
        if event == "peer.refused":
            self.refused += 1
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
        if queue.settings.prefetch == AUTO:
            queue.dispatcher.pace.turn_took(time.monotonic() - self.loop.now)

    def _close(self, peer: Peer, ending: Ending) -> None:
        link = self._links.get(peer.number)
        if link is None:
            return
        if ending is Ending.NOW:
            link.lost("closed by zqd")
            return
        if isinstance(peer, Client) and isinstance(link.role, ClientRole):
            link.read_out()
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
