"""One peer's connection: a socket, its ZMTP connection, and the bytes between them.

    socket ─ read ─▶ Connection.receive ─▶ `_take` (a client's or a worker's, see `device`)
    socket ◀ flush ─ Connection.outbox and the peer's outbox, joined into one send a turn

A link is **open** until it is lost (the peer's doing: closed at once) or ended (ours, rule 21: flush, FIN, read and
discard to EOF, close; closing on unread input would destroy the reply that is being sent).

Layer 3; knows sockets and the loop. Called by: `device`.
"""

from __future__ import annotations

import enum
import fcntl
import select
import socket
import sys
import termios
from typing import TYPE_CHECKING, ClassVar

from zqd.core.peers import Peer
from zqd.loop import Timer
from zqd.zmtp.connection import LARGE, Connection, Message
from zqd.zmtp.frames import Raw
from zqd.zmtp.handshake import Null
from zqd.zmtp.opening import Phase

if TYPE_CHECKING:
    from zqd.device import Device

READ_SIZE = 256 << 10  # bytes: the most that one call reads; a peer has at most two in a turn
SMALL_READ = 16 << 10  # bytes: of the first one, whose memory is cheap to get and needs no second copy
MOST_PIECES = 1024  # that one sendmsg takes (IOV_MAX)
LINGER = 1.0  # seconds for the peer's EOF after ours
PAUSED_PING = 1.0  # seconds between the PINGs to a peer that is not read (rule 18)

# One buffer for all large reads: recv() would map and unmap READ_SIZE at every call, at 3 to 5 times the cost.
_BUFFER = bytearray(READ_SIZE)
_VIEW = memoryview(_BUFFER)

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
LEFT = select.EPOLLRDHUP


class Stage(enum.Enum):
    """Where in its life a link is."""

    OPEN = 1
    FLUSHING = 2  # ended: what is to be sent goes out, then our FIN
    LINGERING = 3  # our FIN is sent, the peer's is awaited
    CLOSED = 4


class Link:
    """What client and worker links have in common; `ClientLink` and `WorkerLink` say what messages mean."""

    __slots__ = (
        "_beat_timer",
        "_bulk",
        "_device",
        "_loop",
        "_recv",
        "_send",
        "_held",
        "_looked",
        "_pending",
        "_pending_bytes",
        "_pinged",
        "_progress",
        "_timer",
        "_watched",
        "address",
        "connection",
        "heard",
        "number",
        "peer",
        "sock",
        "stage",
    )

    socket_type: ClassVar[bytes]
    """Ours, in the handshake."""

    def __init__(self, device: Device, sock: socket.socket, address: str, number: int) -> None:
        settings = device.queue.settings
        self.sock = sock
        self._recv = sock.recv
        self._send = sock.send
        self._loop = device.loop
        self.address = address
        self.number = number
        """Unique in the daemon's life."""
        self.connection = Connection(Null(self.socket_type), self.socket_type, settings.max_message_size)
        self.peer: Peer | None = None
        """Known to the queue once the handshake is over."""
        self.stage = Stage.OPEN
        self.heard = device.loop.now
        """When the last byte came."""
        self._device = device
        self._pending: list[Raw] = []  # what the socket did not take yet
        self._pending_bytes = 0
        self._progress = device.loop.now  # when the socket last took something, or the peer was seen to read
        self._held = 0  # bytes that the kernel had for the peer when that was last looked at,
        self._looked = self._progress  # and when that was
        self._pinged: float | None = None  # when a PING has left that is not answered by any byte
        self._watched = READ
        self._bulk = False  # the last read was large: so the next one may be
        self._beat_timer: Timer | None = None
        self._timer: Timer | None = None  # of the handshake, then of the ending
        device.loop.register(sock.fileno(), READ, self._ready)
        if settings.handshake_timeout:
            self._timer = device.loop.call_at(self.heard + settings.handshake_timeout, self._handshake_timed_out)
        self.flush()

    # What a subclass adds

    def _join(self) -> Peer:
        """The handshake is over: tell the queue, and return the peer that it knows from now on."""
        raise NotImplementedError

    def _take(self, messages: list[Message]) -> None:
        """Whole messages of an established peer, possibly none."""
        raise NotImplementedError

    def _leave(self) -> None:
        """Tell the queue that the peer is gone."""
        raise NotImplementedError

    def _heartbeat_interval(self) -> float:
        """Seconds between heartbeats to this peer; 0 for none."""
        raise NotImplementedError

    @property
    def reading(self) -> bool:
        """The peer may be read now."""
        return True

    def _unsent(self, size: int) -> None:
        """`size` bytes wait for the peer to read them; 0 once all have gone."""

    # Reading

    def _ready(self, events: int) -> None:
        try:
            if events & WRITE:
                self.flush()
            if events != WRITE and self.stage is not Stage.CLOSED:
                if self.stage is not Stage.OPEN:
                    self._discard()
                elif self._watched & READ:
                    # What has been read before comes first. After a full small read there is more.
                    if not self.connection.more and self.read() and self._bulk and self.reading:
                        self.read()
                elif events & ~(READ | WRITE):
                    self.lost("closed while it was not read")
                # Else it was paused in this turn, with something to read: that waits in the socket.
        except Exception as fault:  # noqa: BLE001 - a fault of ours costs one connection, never the broker
            self._device.fault(fault)
            self.lost("a fault in zqd")

    def read(self) -> bool:
        """Read once and deliver; False where there was nothing."""
        data: bytes | memoryview
        try:
            if self._bulk:
                data = _VIEW[: self.sock.recv_into(_BUFFER)]
                self._bulk = len(data) > SMALL_READ
            else:
                data = self._recv(SMALL_READ)
                if len(data) == SMALL_READ:
                    self._bulk = True
        except BlockingIOError:
            self._bulk = False
            return False
        except OSError as error:
            self.lost(error.strerror or "read error")
            return False
        if not data:
            self.lost("")
            return False
        self.heard = self._loop.now
        self._pinged = None
        connection = self.connection
        messages = connection.receive(data)
        if self.peer is None:
            self._deliver(messages)
            return True
        self._take(messages)
        if connection.stirred:
            self._attend()
        return True

    def _deliver(self, messages: list[Message]) -> None:
        connection = self.connection
        if self.peer is None and connection.phase is Phase.TRAFFIC:
            self._established()
        if self.peer is not None:
            self._take(messages)
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
        if connection.outbox:
            self.flush()
        if connection.more and self.reading:
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Take the messages that one call to the connection left over."""
        if self.stage is Stage.OPEN and self.connection.more and self.reading:
            self._deliver(self.connection.receive(b""))

    def _established(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.peer = self._join()
        interval = self._heartbeat_interval()
        if interval and self.connection.answers_pings:
            self._beat_in(interval)

    def _handshake_timed_out(self) -> None:
        self._refuse(f"no handshake within {self._device.queue.settings.handshake_timeout:g} s")

    def _refuse(self, reason: str) -> None:
        """The peer broke the protocol, or cannot be served."""
        self._device.note("peer.refused", link=self, reason=reason)
        self.end()

    # Sending

    def flush(self, flags: int = 0) -> None:
        """Send what there is to send, in one call if the socket takes it; `flags` as in send(2)."""
        connection, peer = self.connection, self.peer
        pieces: list[Raw] = []
        if peer is not None and peer.outbox:
            pieces, peer.outbox = peer.outbox, []
            if not connection.plain:
                pieces = connection.wrap(pieces)
        if connection.outbox:
            pieces, connection.outbox = [*connection.outbox, *pieces], []
        if self._pending:
            self._pending += pieces
            self._pending_bytes += sum(map(len, pieces))
        elif not pieces:
            return
        elif len(pieces[-1]) < LARGE:  # joining small pieces is cheaper than sendmsg; large ones are not copied
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            try:
                sent = self._send(data, flags)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                self._send_failed(error)
                return
            if sent == len(data):
                return
            self._pending = [memoryview(data)[sent:]]
            self._pending_bytes = len(data) - sent
            self._progress = self._loop.now
        else:
            self._pending = pieces
            self._pending_bytes = sum(map(len, pieces))
            self._progress = self._loop.now
        self._flush_pending(flags)

    def _flush_pending(self, flags: int) -> None:
        """Send what the socket did not take before; what is left then waits for it to be writable."""
        try:
            while self._pending:
                self._sent(self.sock.sendmsg(self._pending[:MOST_PIECES], (), flags))
        except BlockingIOError:
            pass
        except OSError as error:
            self._send_failed(error)
            return
        if not self._pending and self.stage is Stage.FLUSHING:
            self._shut()
        self._watch()
        self._unsent(self._pending_bytes)

    def _sent(self, size: int) -> None:
        """The socket took `size` bytes of what is pending."""
        if not size:
            return
        self._progress = self._loop.now
        self._pending_bytes -= size
        pending = self._pending
        done = 0
        while done < len(pending) and size >= len(pending[done]):
            size -= len(pending[done])
            done += 1
        del pending[:done]
        if size:
            pending[0] = memoryview(pending[0])[size:]

    def _look_for_progress(self) -> None:
        """See whether the peer has read since the last look: the socket takes more only when megabytes are free in it."""
        now = self._loop.now
        held = int.from_bytes(fcntl.ioctl(self.sock.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        if held < self._held or self._progress > self._looked:
            self._progress = now
        self._held, self._looked = held, now

    def _send_failed(self, error: OSError) -> None:
        """The peer is gone for what we send; a worker's last reply may still be in its socket: read to EOF."""
        self._pending = []
        self._pending_bytes = 0
        while self.stage is Stage.OPEN and self.peer is not None and self.read():
            pass
        self.lost(error.strerror or "write error")

    def watch(self) -> None:
        """Wait for what matters now: `reading` has changed."""
        self._watch()

    def _watch(self) -> None:
        if self.stage is Stage.CLOSED:
            return
        wanted = WRITE if self._pending else 0
        wanted |= READ if self.stage is not Stage.OPEN or self.reading else LEFT
        if wanted != self._watched:
            self._watched = wanted
            self._loop.modify(self.sock.fileno(), wanted)

    # Heartbeats

    def _beat_in(self, seconds: float) -> None:
        if self._beat_timer is not None:
            self._beat_timer.cancel()
        self._beat_timer = self._loop.call_at(self._loop.now + seconds, self._beat)

    def keep_alive_while_paused(self) -> None:
        """The peer is not read for now: PING it every second (rule 18)."""
        if self.connection.answers_pings:
            self._beat_in(PAUSED_PING)

    def _beat(self) -> None:
        """PING a peer that has been quiet for an interval; give up one that does not answer in time (rules 18, 27)."""
        if self.stage is not Stage.OPEN:
            return
        now, interval = self._loop.now, self._heartbeat_interval()
        timeout = self._device.queue.settings.heartbeat_timeout
        if not self.reading:
            if not self._pending:
                self._ping(timeout)
            self._beat_in(PAUSED_PING)
            return
        if not interval:
            return
        if self._pinged is not None and timeout and now - self._pinged >= timeout:
            self._device.note("peer.silent", link=self, seconds=round(now - self.heard, 1))
            self.lost("gave no sign of life")
            return
        if self._pinged is None and now - self.heard >= interval and not self._pending:
            self._ping(timeout)
            if not self._pending:  # its clock starts when it has left
                self._pinged = now
        due = self.heard + interval if self._pinged is None else self._pinged + (timeout or interval)
        self._beat_in(min(interval, max(due - now, 0.01)))

    def _ping(self, timeout: float) -> None:
        self.connection.ping(timeout)
        self.flush()

    # Ending

    def end(self) -> None:
        """End the connection as rule 21 says; the queue is told at once that the peer is gone."""
        if self.stage is not Stage.OPEN:
            return
        self._tell_queue()
        self.stage = Stage.FLUSHING
        if self._timer is not None:
            self._timer.cancel()
        loop = self._loop
        self._timer = loop.call_at(loop.now + LINGER, self._linger_over)
        self._look_for_progress()
        # With MSG_MORE the last reply waits for the FIN: both share a segment, and a REQ that sends its next request
        # after that reply already knows that this connection is closed (rule 22).
        self.flush(socket.MSG_MORE)
        if self.stage is Stage.FLUSHING and not self._pending:
            self._shut()
        self._watch()

    def _shut(self) -> None:
        self.stage = Stage.LINGERING
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.lost("")

    def _discard(self) -> None:
        try:
            if self.sock.recv_into(_BUFFER):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self.lost("")

    def _linger_over(self) -> None:
        loop = self._loop
        self._look_for_progress()
        if self.stage is Stage.FLUSHING and loop.now - self._progress < LINGER:
            self._timer = loop.call_at(self._progress + LINGER, self._linger_over)
        else:
            self.lost("")

    def lost(self, reason: str) -> None:
        """Close at once."""
        if self.stage is Stage.CLOSED:
            return
        if reason:
            self._device.note("peer.lost", link=self, reason=reason)
        was_open = self.stage is Stage.OPEN
        self.stage = Stage.CLOSED
        for timer in (self._timer, self._beat_timer):
            if timer is not None:
                timer.cancel()
        self._loop.unregister(self.sock.fileno())
        self.sock.close()
        self._pending = []
        if was_open:
            self._tell_queue()
        self._device.forget(self)

    def _tell_queue(self) -> None:
        if self.peer is not None and not self.peer.gone:
            self._leave()
