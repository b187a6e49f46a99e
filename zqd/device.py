"""A device: one queue with its listening endpoints and its links, the QUEUE device of the seed.

It tells the queue what its peers send, and carries out the queue's outputs once a turn. Layer 3.
Called by: `daemon`, one device for each configured queue.
"""

from __future__ import annotations

import errno
import itertools
import select
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from zqd.config import QueueConfig
from zqd.core.outputs import Ending
from zqd.core.peers import Client, Peer, Worker
from zqd.core.queue import Queue
from zqd.endpoints import IpcEndpoint, Listener, bind, parse
from zqd.link import LINGER, Link, Stage
from zqd.loop import Loop
from zqd.zmtp.connection import Message, Oversize

ACCEPTS_PER_TURN = 64  # connections that one listener accepts before the others have their turn
RETRY_ACCEPT = 1.0  # seconds until accepting is tried again when the machine had no descriptor left
_UCRED = struct.Struct("3i")

Notify = Callable[[str, dict[str, object]], None]


@dataclass(slots=True)
class Room:
    """How many connections the process may hold, all queues together: its descriptors less a reserve."""

    limit: int
    used: int = 0


class ClientLink(Link):
    """A client's connection: its messages are requests; it is read while the queue wants more of it."""

    __slots__ = ("_kept", "client")

    socket_type: ClassVar[bytes] = b"ROUTER"

    def __init__(self, device: Device, sock: socket.socket, address: str, number: int) -> None:
        self.client: Client | None = None
        self._kept: list[Message] = []  # from a refused message on
        super().__init__(device, sock, address, number)

    @property
    def reading(self) -> bool:
        """Neither held up by a limit nor by its own unread replies."""
        return self.client is None or not (self.client.paused or self.client.stalled)

    def _join(self) -> Peer:
        name = _name(self.connection.identity)
        self.client = Client(self.number, self.address, name, self._device.loop.now)
        self._device.queue.join_client(self.client)
        return self.client

    def _take(self, messages: list[Message]) -> None:
        queue, client, now = self._device.queue, self.client, self._device.loop.now
        assert client is not None
        rest = iter(messages)
        for raw in rest:
            if isinstance(raw, Oversize):
                queue.oversize_request(client, raw.envelope)
            elif not queue.request(client, raw, now):
                self._kept = [raw, *rest]
                break
        unfinished = self.connection.buffered
        if unfinished != client.unfinished:
            queue.unfinished(client, unfinished)
        if client.paused:
            self._watch()
            self.keep_alive_while_paused()

    def resume(self) -> None:
        """The queue wants more: what was kept first, then what lies in the socket."""
        if self.stage is Stage.OPEN and self.reading:
            self._watch()
            kept, self._kept = self._kept, []
            self._deliver(kept)

    def last_look(self) -> None:
        """Read what has come before the link ends for good."""
        if self.stage is Stage.OPEN and self.reading:
            self.read()

    def _unsent(self, size: int) -> None:
        client, queue = self.client, self._device.queue
        if client is None or client.gone:
            return
        if client.stalled or size > queue.settings.max_unsent > 0:
            was_stalled = client.stalled
            queue.unsent(client, size, self._device.loop.now)
            if client.stalled != was_stalled:
                self._watch()
                if client.stalled:
                    self.keep_alive_while_paused()
                    self._judge_in(queue.settings.slow_client_timeout)

    def _judge_in(self, seconds: float) -> None:
        if seconds and self._timer is None:
            self._look_for_progress()
            self._timer = self._device.loop.call_at(self._progress + seconds, self._judge)

    def _judge(self) -> None:
        """Close a stalled client that has read nothing for `slow_client_timeout` (rule 19)."""
        self._timer = None
        seconds = self._device.queue.settings.slow_client_timeout
        if self.stage is not Stage.OPEN or self.client is None or not self.client.stalled:
            return
        self._look_for_progress()
        if self._device.loop.now - self._progress >= seconds:
            self._device.note("peer.silent", link=self, seconds=seconds)
            self.lost("read no replies")
        else:
            self._judge_in(seconds)

    def _leave(self) -> None:
        assert self.client is not None
        self._device.queue.client_left(self.client, self._device.loop.now)

    def _heartbeat_interval(self) -> float:
        return self._device.queue.settings.frontend_heartbeat_interval


class WorkerLink(Link):
    """A worker's connection: its messages are replies, and it is always read to EOF (rule 18)."""

    __slots__ = ("worker",)

    socket_type: ClassVar[bytes] = b"DEALER"

    def __init__(self, device: Device, sock: socket.socket, address: str, number: int) -> None:
        self.worker: Worker | None = None
        super().__init__(device, sock, address, number)

    def _join(self) -> Peer:
        queue, now = self._device.queue, self._device.loop.now
        capacity = queue.settings.prefetch if self.connection.peer_type == b"REP" else 1
        worker = Worker(self.number, self.address, _name(self.connection.identity), now, capacity=capacity)
        if self.sock.family == socket.AF_UNIX:
            worker.pid = _peer_pid(self.sock)
        self.worker = worker
        queue.join_worker(worker, now)
        return worker

    def _take(self, messages: list[Message]) -> None:
        queue, worker, now = self._device.queue, self.worker, self._device.loop.now
        assert worker is not None
        for raw in messages:
            if isinstance(raw, Oversize):
                queue.oversize_reply(worker, raw.envelope, now)
            else:
                queue.reply(worker, raw, now)

    def _leave(self) -> None:
        assert self.worker is not None
        self._device.queue.worker_left(self.worker, self._device.loop.now)

    def _heartbeat_interval(self) -> float:
        return self._device.queue.settings.backend_heartbeat_interval


class Device:
    """One queue at work. `open` binds its endpoints, `stop` begins the end, `done` says that it is over."""

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
        self.loop = loop
        self.config = config
        self.queue = Queue(config.name, config.settings, boot)
        self.fault = on_fault
        self.frontend: list[Listener] = []
        self.backend: list[Listener] = []
        self._room = room
        self._numbers = numbers
        self._notify = notify
        self._links: dict[int, Link] = {}
        self._clients = 0
        self._workers = 0
        self._accepting: set[Listener] = set()
        self._stopping = False

    # Listening

    def open(self) -> None:
        """Bind every endpoint; UnavailableError says which one cannot be had (and close() then gives back the rest)."""
        for texts, listeners, kind in (
            (self.config.frontend, self.frontend, ClientLink),
            (self.config.backend, self.backend, WorkerLink),
        ):
            for text in texts:
                listener = bind(parse(text))
                listeners.append(listener)
                self._accept_from(listener, kind)
                side = "frontend" if kind is ClientLink else "backend"
                self._notify("queue.listening", {"queue": self.queue.name, "side": side, "endpoint": str(listener.endpoint)})
        self.loop.parts.append(self)

    def _accept_from(self, listener: Listener, kind: type[ClientLink] | type[WorkerLink]) -> None:
        self.loop.register(listener.socket.fileno(), select.EPOLLIN, lambda _: self._accept(listener, kind))
        self._accepting.add(listener)

    def _accept(self, listener: Listener, kind: type[ClientLink] | type[WorkerLink]) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            if self._full(kind):
                self._rest(listener, kind, "accept.full", {"limit": self._limit(kind)})
                return
            try:
                sock, address = listener.socket.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}:
                    self._rest(listener, kind, "accept.failed", {"reason": error.strerror})
                    return
                continue  # one connection's own trouble (accept(2))
            sock.setblocking(False)
            if isinstance(listener.endpoint, IpcEndpoint):
                where = f"ipc:pid={_peer_pid(sock)}"
            else:
                where = f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"
            try:
                link = kind(self, sock, where, next(self._numbers))
            except OSError as error:  # epoll_ctl(2): no memory for it, or max_user_watches reached
                sock.close()
                self._rest(listener, kind, "accept.failed", {"reason": error.strerror})
                return
            if link.stage is Stage.CLOSED:
                continue
            self._links[link.number] = link
            self._room.used += 1
            self._count(link, 1)

    def _rest(
        self, listener: Listener, kind: type[ClientLink] | type[WorkerLink], event: str, fields: dict[str, object]
    ) -> None:
        """Do not spin on a listener whose connections cannot be accepted: look again in a second."""
        self._notify(event, {"queue": self.queue.name, "endpoint": str(listener.endpoint), **fields})
        self.loop.unregister(listener.socket.fileno())
        self._accepting.discard(listener)
        self.loop.call_at(self.loop.now + RETRY_ACCEPT, lambda: self._accept_again(listener, kind))

    def _accept_again(self, listener: Listener, kind: type[ClientLink] | type[WorkerLink]) -> None:
        if not self._stopping:
            self._accept_from(listener, kind)

    def _full(self, kind: type[ClientLink] | type[WorkerLink]) -> bool:
        count = self._clients if kind is ClientLink else self._workers
        own = self.queue.settings.max_clients if kind is ClientLink else self.queue.settings.max_workers
        return self._room.used >= self._room.limit or (own > 0 and count >= own)

    def _limit(self, kind: type[ClientLink] | type[WorkerLink]) -> int:
        own = self.queue.settings.max_clients if kind is ClientLink else self.queue.settings.max_workers
        return min(own or self._room.limit, self._room.limit)

    def _count(self, link: Link, change: int) -> None:
        if isinstance(link, ClientLink):
            self._clients += change
        else:
            self._workers += change

    # Links

    def note(self, event: str, *, link: Link, **fields: object) -> None:
        """Say that something happened on a link."""
        told: dict[str, object] = {"queue": self.queue.name, "address": link.address}
        if link.peer is not None:
            told["peer"] = link.peer.id
        self._notify(event, told | fields)

    def forget(self, link: Link) -> None:
        """A link is closed."""
        if self._links.pop(link.number, None) is not None:
            self._room.used -= 1
            self._count(link, -1)

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
                    client_link = links.get(client.number)
                    if isinstance(client_link, ClientLink):
                        client_link.resume()
            outgoing, out.outgoing = out.outgoing, []
            for peer in outgoing:
                link = links.get(peer.number)
                if link is not None:
                    link.flush()
                else:
                    peer.outbox.clear()
        if out.notices:
            notices, out.notices = out.notices, []
            for event, fields in notices:
                self._notify(event, {"queue": queue.name, **fields})
        if self._stopping:
            self._go_on_stopping()

    def _close(self, peer: Peer, ending: Ending) -> None:
        link = self._links.get(peer.number)
        if link is None:
            return
        if ending is Ending.NOW:
            link.lost("protocol broken")
            return
        if isinstance(link, ClientLink) and isinstance(peer, Client):
            link.last_look()
            if peer.outstanding:  # a request was still there: it is answered first
                peer.ended = False
                return
        link.end()

    # Stopping

    def stop(self) -> None:
        """Begin to end as rule 22 says; `done` turns true."""
        if self._stopping:
            return
        self._stopping = True
        self._stop_listening()
        self.queue.stop(self.loop.now)
        if self.queue.settings.drain_timeout:
            # By then all is answered; a peer that reads slowly has had its time to flush and to close (rule 21).
            self.loop.call_at(self.loop.now + self.queue.settings.drain_timeout + 2 * LINGER, self.abort)
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
        return self._stopping and not self._links

    def close(self) -> None:
        """Give back what `open` took, connections and all."""
        self.abort()
        if self in self.loop.parts:
            self.loop.parts.remove(self)

    def _stop_listening(self) -> None:
        for listener in (*self.frontend, *self.backend):
            if listener in self._accepting:
                self.loop.unregister(listener.socket.fileno())
                self._accepting.discard(listener)
            listener.close()

    def _go_on_stopping(self) -> None:
        """When the clients have gone, the workers may go."""
        if not self.queue.clients:
            for link in list(self._links.values()):
                if isinstance(link, WorkerLink):
                    link.end()


def connection_numbers() -> Iterator[int]:
    """Numbers for the connections of all devices, from 1."""
    return itertools.count(1)


def _name(identity: bytes) -> str:
    """A routing id for people: text where it is text, hex where it is not, as libzmq's generated ones."""
    try:
        text = identity.decode("ascii")
    except UnicodeDecodeError:
        return identity.hex()
    return text if text.isprintable() else identity.hex()


def _peer_pid(sock: socket.socket) -> int:
    """The process that connected a unix socket (SO_PEERCRED, unix(7))."""
    pid, _, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return int(pid)
