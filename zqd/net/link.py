"""One peer's connection: a socket, its ZMTP connection, and the bytes between them.

    socket ─ read ─▶ the role's `hand` ─ what is not plain ─▶ Connection.receive ─▶ the role's `take` (see `role`)
    socket ◀ flush ─ Connection.outbox and the peer's outbox, one write or sendmsg a turn

A link is **open** until it is lost (the peer's doing: closed at once) or ended (ours, rule 21: flush, FIN, read and
discard to EOF, close; closing on unread input would destroy the reply that is being sent).
One class for all: what differs is in the role, and code that only ever sees one class runs faster.
Layer 3; knows sockets and the loop. Called by: `device`, `server`, and the roles.
"""

from __future__ import annotations

import enum
import os
import select
import socket

from zqd.core.peers import Client, Peer
from zqd.net.heartbeat import Heartbeat
from zqd.net.loop import Timer
from zqd.net.outflow import Outflow
from zqd.net.role import GONE, Hand, Owner, Role
from zqd.zmtp.connection import Connection, Message
from zqd.zmtp.frames import LARGE, Raw
from zqd.zmtp.opening import Phase
from zqd.zmtp.pieces import RawMessage

READ_SIZE = 512 << 10  # bytes: the most that is read of a peer in a turn (see `zqd.daemon.memory`)
LAST_READS = 64  # most reads of what a peer has sent before its link ends
LINGER = 1.0  # seconds for the peer's EOF after ours
READ, WRITE, LEFT = select.EPOLLIN, select.EPOLLOUT, select.EPOLLRDHUP


class Stage(enum.Enum):
    """Where in its life a link is."""

    OPEN = 1
    FLUSHING = 2  # ended: what is to be sent goes out, then our FIN
    LINGERING = 3  # our FIN is sent, the peer's is awaited
    CLOSED = 4


class Link:
    """One connection. `number` is unique in the daemon's life; `role` is set right after."""

    __slots__ = (
        "_direct",
        "_fd",
        "_hand",
        "_heartbeat",
        "_outbox",
        "_owner",
        "_timer",
        "_watched",
        "address",
        "connection",
        "heard",
        "loop",
        "number",
        "outflow",
        "peer",
        "role",
        "sock",
        "stage",
    )

    def __init__(
        self, owner: Owner, sock: socket.socket, address: str, number: int, connection: Connection
    ) -> None:
        self.loop = owner.loop
        self.sock = sock
        self.address = address
        self.number = number
        self.connection = connection
        self.peer: Peer | None = None
        """Known to the queue once the handshake is over."""
        self.role: Role
        self.stage = Stage.OPEN
        self.heard = owner.loop.now
        """When the last byte came."""
        self.outflow = Outflow(sock, owner.loop.now)
        self._owner = owner
        self._fd = sock.fileno()
        # The role's, while the next byte begins a message of a known peer: then nothing else is needed.
        self._hand: Hand | None = None
        self._outbox: list[RawMessage] = []  # the peer's, once it is known
        self._direct = False  # what the peer is to get goes out as it is: no cipher, nothing before it
        self._watched = READ
        self._heartbeat: Heartbeat | None = None
        self._timer: Timer | None = None  # of the handshake, then of the ending

    def start(self, role: Role) -> None:
        """Begin the handshake; OSError where the kernel cannot watch one more descriptor."""
        self.role = role
        self.loop.register(self._fd, READ, self._readable)
        if timeout := self._owner.timeouts[0]:
            self._timer = self.loop.call_at(self.heard + timeout, self._handshake_timed_out)
        self._flush_all()

    @property
    def reading(self) -> bool:
        """The peer may be read now."""
        return self.peer is None or self.role.reading

    # Reading

    def _readable(self, _: int) -> None:
        """The handler of an open link that waits for nothing but input: by far the most events."""
        try:
            if self._hand or not self.connection.more:  # what has been read before comes first
                self.read()
        except Exception as fault:  # noqa: BLE001 - a fault of ours costs one connection, never the broker
            self._owner.fault(fault)
            self.lost("a fault in zqd")

    def _ready(self, events: int) -> None:
        """The handler in all other cases."""
        try:
            if events & WRITE:
                self._flush_all()
            if events != WRITE and self.stage is not Stage.CLOSED:
                if self.stage is not Stage.OPEN:
                    self._discard()
                elif self._watched & READ:
                    if not self.connection.more:
                        self.read()
                elif events & ~(READ | WRITE):
                    self.lost("closed while it was not read")
                # Else it was paused in this turn, with something to read: that waits in the socket.
        except Exception as fault:  # noqa: BLE001 - a fault of ours costs one connection, never the broker
            self._owner.fault(fault)
            self.lost("a fault in zqd")

    def read(self) -> int:
        """Read once and deliver; returns how many bytes there were."""
        try:
            data = os.read(self._fd, READ_SIZE)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._broken(error)
            return 0
        self.heard = now = self.loop.now
        taken = self._hand(self.peer, data, now) if self._hand is not None else 0
        if taken < len(data):
            self._receive(data[taken:])
        elif not data:
            self.lost("")
        return len(data)

    def read_out(self) -> None:
        """Read what has come, before the link ends for good."""
        for _ in range(LAST_READS):
            if self.stage is not Stage.OPEN or not self.reading:
                return
            self.go_on()
            if not self.connection.more and not self.read():
                return

    def _receive(self, data: bytes) -> None:
        """The long way of what was read."""
        connection, hand = self.connection, self.role.hand
        self._hand = None
        if connection.clear and connection.buffered and hand is not None:
            data = connection.reclaim() + data
            data = data[hand(self.peer, data, self.heard) :]
        self.deliver(connection.receive(data))
        self._hand = self.role.hand if connection.clear and not connection.buffered else None

    def deliver(self, messages: list[Message]) -> None:
        """Whole messages go to the role, after the handshake."""
        connection = self.connection
        if self.peer is None and connection.phase is Phase.TRAFFIC:
            self._established()
        if self.peer is not None:
            self.role.take(messages)
        if connection.stirred:
            self._attend()

    def _attend(self) -> None:
        """The connection has failed, wants to answer, or has more messages."""
        connection = self.connection
        connection.stirred = False
        if self.stage is not Stage.OPEN:
            return
        if connection.error is not None:
            self._refuse(connection.error)
            return
        if connection.outbox and self.outflow.size and self.peer is not None:
            connection.outbox.clear()  # a PONG behind a backlog tells nothing, and a flood of PINGs shall not make it grow
        elif connection.outbox:
            self._flush_all()
        if connection.more:
            self.loop.call_soon(self.go_on)

    def go_on(self) -> None:
        """Take the messages that one call to the connection left over, unless the peer is paused."""
        if self.stage is Stage.OPEN and self.connection.more and self.reading:
            self.deliver(self.connection.receive(b""))

    def _established(self) -> None:
        self._set_timer(None)
        self.peer = self.role.join()
        self._outbox = self.peer.outbox
        if self.connection.answers_pings:
            self._heartbeat = Heartbeat(self, self.role.heartbeat_interval, self._owner.timeouts[1])

    def _handshake_timed_out(self) -> None:
        self._refuse(f"no handshake within {self._owner.timeouts[0]:g} s")

    def _refuse(self, reason: str) -> None:
        """The peer broke the protocol, or cannot be served."""
        self._owner.note("peer.refused", link=self, reason=reason)
        self.end()

    # Sending

    def flush(self) -> None:
        """Send what there is for the peer."""
        outbox = self._outbox
        try:
            # By far the most: small messages and nothing before them, for which joining is cheaper than sendmsg.
            data = b"".join(outbox) if self._direct and len(outbox[-1]) < LARGE else b""  # type: ignore[arg-type]
        except (IndexError, TypeError):  # there is nothing, or one of them is in pieces
            data = b""
        if not data:
            self._flush_all()
            return
        outbox.clear()
        try:
            sent = os.write(self._fd, data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._send_failed(error)
            return
        if sent < len(data):
            self._send([memoryview(data)[sent:]])

    def _flush_all(self, flags: int = 0) -> None:
        """Send what there is for the peer, and what the protocol says before it; `flags` as in send(2)."""
        pieces = [*self.connection.outbox, *self.connection.wrap(self._outbox)]
        self.connection.outbox = []
        self._outbox.clear()
        self._send(pieces, flags)

    def _send(self, pieces: list[Raw], flags: int = 0) -> None:
        """In one call if the socket takes it."""
        had_backlog = self.outflow.size > 0
        try:
            self.outflow.send(pieces, flags, self.loop.now)
        except OSError as error:
            self._send_failed(error)
            return
        self._direct = self.connection.plain and not self.outflow.size
        if not (self.outflow.size or had_backlog):
            return
        if not self.outflow.size and self.stage is Stage.FLUSHING:
            self._shut()
        self.watch()
        if self.peer is not None and self.stage is Stage.OPEN:
            self.role.unsent(self.outflow.size)

    def ping(self, timeout: float) -> bool:
        """Send a PING that tells the peer to wait for the next one `timeout` seconds; False if that ended the link."""
        self.connection.ping(timeout)
        self._flush_all()
        return self.stage is not Stage.CLOSED

    def _send_failed(self, error: OSError) -> None:
        """The peer is gone for what we send; a worker's last reply may still be in its socket."""
        self.outflow.clear()

        def read_it() -> None:
            self.read_out()
            self._broken(error)

        self.loop.call_soon(read_it)

    # Waiting

    def watch(self) -> None:
        """Wait for what matters now: after a change of `reading` or of the backlog."""
        if self.stage is Stage.CLOSED:
            return
        wanted = WRITE if self.outflow.size else 0
        wanted |= READ if self.stage is not Stage.OPEN or self.reading else LEFT
        handler = self._readable if wanted == READ and self.stage is Stage.OPEN else self._ready
        if wanted != self._watched:
            self._watched = wanted
            self.loop.modify(self._fd, wanted)
        self.loop.handle(self._fd, handler)

    def paused(self) -> None:
        """The role does not read for now."""
        self.watch()
        if self._heartbeat is not None:
            self._heartbeat.paused()

    def look(self) -> bool:
        """Read what the peer may have sent meanwhile; True where there was something."""
        return self.connection.more or self.read() > 0

    def silent(self, seconds: float) -> None:
        """The peer gave no sign of life for so long."""
        if self.stage is Stage.OPEN:
            self._owner.note("peer.silent", link=self, seconds=round(seconds, 1))
            self.lost("gave no sign of life")

    # Ending

    def end(self) -> None:
        """End the connection as rule 21 says; the queue is told at once that the peer is gone."""
        if self.stage is not Stage.OPEN:
            return
        self._tell_queue()
        self._stop_heartbeat()  # a PING after our FIN would cost the peer what it has not read yet
        self.stage = Stage.FLUSHING
        self._set_timer(self.loop.call_at(self.loop.now + LINGER, self._linger_over))
        # With MSG_MORE the last reply waits for the FIN: both share a segment, and a REQ that sends its next request
        # after that reply already knows that this connection is closed (rule 22).
        self._flush_all(socket.MSG_MORE)
        if self.outflow.size:
            self.outflow.look(self.loop.now)  # only now: what we have just sent is no sign of a reader
        elif self.stage is Stage.FLUSHING:
            self._shut()
        self.watch()

    def _shut(self) -> None:
        self.stage = Stage.LINGERING
        self._set_timer(self.loop.call_at(self.loop.now + LINGER, self._linger_over))
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.lost("")

    def _discard(self) -> None:
        try:
            data = os.read(self._fd, READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._notice_crossing(data)
        else:
            self.lost("")

    def _notice_crossing(self, data: bytes) -> None:
        """A client's request that crossed our FIN is lost: that has to be known, if it cannot be helped."""
        if isinstance(self.peer, Client) and self.connection.phase is Phase.TRAFFIC:
            messages = self.connection.receive(data)
            if messages:
                self._owner.note("request.crossed", link=self, count=len(messages))

    def _linger_over(self) -> None:
        self.outflow.look(self.loop.now)
        if self.stage is Stage.FLUSHING and self.loop.now - self.outflow.progress < LINGER:
            self._timer = self.loop.call_at(self.outflow.progress + LINGER, self._linger_over)
        else:
            self.lost("")

    def _broken(self, error: OSError) -> None:
        """The kernel says that the peer is gone: of interest only where somebody was there, who did not just look for a listener."""
        self.lost("" if self.peer is None else error.strerror or "broken")

    def lost(self, reason: str) -> None:
        """Close at once."""
        if self.stage is Stage.CLOSED:
            return
        if reason:
            self._owner.note("peer.lost", link=self, reason=reason)
        was_open = self.stage is Stage.OPEN
        self.stage = Stage.CLOSED
        self._set_timer(None)
        self._stop_heartbeat()
        self.loop.unregister(self._fd)
        self.sock.close()
        self._fd = -1  # the number may soon be that of another connection
        self.outflow.clear()
        if was_open:
            self._tell_queue()
        self._owner.forget(self)
        self.role = GONE
        self._hand = None

    def _set_timer(self, timer: Timer | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = timer

    def _stop_heartbeat(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None

    def _tell_queue(self) -> None:
        if self.peer is not None and not self.peer.gone:
            self.role.leave()
