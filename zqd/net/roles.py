"""What a link is to the queue: a client's, whose messages are requests, or a worker's, whose messages are replies.

Layer 3. Called by: `link` (take, unsent, leave, …), `device` (resume, last_look).
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

from zqd.core.peers import Client, Worker
from zqd.net.link import Link, Stage
from zqd.net.loop import Timer
from zqd.zmtp.connection import Message, Oversize

if TYPE_CHECKING:
    from zqd.core.queue import Queue

_UCRED = struct.Struct("3i")


class ClientRole:
    """A client is read while the queue wants more of it; what it refuses is kept here until then."""

    __slots__ = ("_kept", "_link", "_queue", "_stall_timer", "client", "heartbeat_interval")

    def __init__(self, link: Link, queue: Queue) -> None:
        self.heartbeat_interval = queue.settings.frontend_heartbeat_interval
        self.client: Client
        self._link = link
        self._queue = queue
        self._kept: list[Message] = []  # from a refused message on
        self._stall_timer: Timer | None = None

    def join(self) -> Client:
        """The queue knows it from now on."""
        link = self._link
        self.client = Client(link.number, link.address, name_of(link.connection.identity), link.loop.now)
        self._queue.join_client(self.client)
        return self.client

    @property
    def reading(self) -> bool:
        """Neither held up by a limit nor by its own unread replies."""
        return not (self.client.paused or self.client.stalled)

    def take(self, messages: list[Message]) -> None:
        """Requests."""
        queue, client, link = self._queue, self.client, self._link
        now = link.loop.now
        rest = iter(messages)
        for raw in rest:
            if isinstance(raw, Oversize):
                queue.oversize_request(client, raw.envelope)
            elif not queue.request(client, raw, now):
                self._kept = [raw, *rest]
                break
        unfinished = link.connection.buffered
        if unfinished != client.unfinished:
            queue.unfinished(client, unfinished)
        if client.paused:
            link.paused()

    def resume(self) -> None:
        """The queue wants more: what was kept first, then what lies in the socket."""
        link = self._link
        if link.stage is Stage.OPEN and self.reading:
            link.watch()
            kept, self._kept = self._kept, []
            link.deliver(kept)
            link.go_on()

    def last_look(self) -> None:
        """Read what has come before the link ends for good."""
        if self._link.stage is Stage.OPEN and self.reading:
            self._link.read()

    def unsent(self, size: int) -> None:
        """Tell the queue when a client begins or ceases to read too little (rule 19)."""
        client, queue, link = self.client, self._queue, self._link
        if client.stalled or size > queue.settings.max_unsent > 0:
            was_stalled = client.stalled
            queue.unsent(client, size, link.loop.now)
            if client.stalled and not was_stalled:
                link.paused()
                self._judge_later()
            elif was_stalled and not client.stalled:
                link.watch()

    def leave(self) -> None:
        """The connection has ended."""
        if self._stall_timer is not None:
            self._stall_timer.cancel()
        self._queue.client_left(self.client, self._link.loop.now)

    def _judge_later(self) -> None:
        patience = self._queue.settings.slow_client_timeout
        if patience and self._stall_timer is None:
            outflow, loop = self._link.outflow, self._link.loop
            outflow.look(loop.now)
            self._stall_timer = loop.call_at(outflow.progress + patience, self._judge)

    def _judge(self) -> None:
        """Close a stalled client that has read nothing for `slow_client_timeout`."""
        self._stall_timer = None
        link, patience = self._link, self._queue.settings.slow_client_timeout
        if link.stage is not Stage.OPEN or not self.client.stalled:
            return
        link.outflow.look(link.loop.now)
        if link.loop.now - link.outflow.progress >= patience:
            link.silent(patience)
        else:
            self._judge_later()


class WorkerRole:
    """A worker is always read, to EOF: its last reply may be just before it (rule 18)."""

    __slots__ = ("_link", "_queue", "heartbeat_interval", "worker")

    reading = True

    def __init__(self, link: Link, queue: Queue) -> None:
        self.heartbeat_interval = queue.settings.backend_heartbeat_interval
        self.worker: Worker
        self._link = link
        self._queue = queue

    def join(self) -> Worker:
        """The queue knows it from now on; a REP has `prefetch` slots, others one until their hello (rule 8)."""
        link, queue, now = self._link, self._queue, self._link.loop.now
        capacity = queue.settings.prefetch if link.connection.peer_type == b"REP" else 1
        self.worker = Worker(
            link.number, link.address, name_of(link.connection.identity), now, capacity=capacity
        )
        if link.sock.family == socket.AF_UNIX:
            self.worker.pid = peer_pid(link.sock)
        queue.join_worker(self.worker, now)
        return self.worker

    def take(self, messages: list[Message]) -> None:
        """Replies and notices."""
        queue, worker, now = self._queue, self.worker, self._link.loop.now
        for raw in messages:
            if isinstance(raw, Oversize):
                queue.oversize_reply(worker, raw.envelope, now)
            else:
                queue.reply(worker, raw, now)

    def unsent(self, size: int) -> None:
        """A worker gets no more than its window: there is nothing to bound."""

    def leave(self) -> None:
        """The connection has ended."""
        self._queue.worker_left(self.worker, self._link.loop.now)


def name_of(identity: bytes) -> str:
    """A routing id for people: text where it is text, hex where it is not, as libzmq's generated ones."""
    try:
        text = identity.decode("ascii")
    except UnicodeDecodeError:
        return identity.hex()
    return text if text.isprintable() else identity.hex()


def peer_pid(sock: socket.socket) -> int:
    """The process that connected a unix socket (SO_PEERCRED, unix(7))."""
    pid, _, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return int(pid)
