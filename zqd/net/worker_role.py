"""A worker's link: its messages are replies and notices, and it is always read, to EOF.

Layer 3. Called by: `link`.
"""

from __future__ import annotations

import socket

from zqd.core.pace import set_slots
from zqd.core.peers import Worker
from zqd.core.queue import Queue
from zqd.net.addresses import name_of, peer_pid
from zqd.net.link import Link
from zqd.net.role import Hand
from zqd.zmtp.connection import Message, Oversize


class WorkerRole:
    """A worker is always read, to EOF: its last reply may be just before it (rule 18)."""

    __slots__ = ("_link", "_queue", "hand", "heartbeat_interval", "worker")

    reading = True

    def __init__(self, link: Link, queue: Queue, hand: Hand) -> None:
        self.heartbeat_interval = queue.settings.backend_heartbeat_interval
        self.hand = hand
        self.worker: Worker
        self._link = link
        self._queue = queue

    def join(self) -> Worker:
        """The queue knows it from now on; a REP has `prefetch` slots, others one until their hello (rule 8)."""
        link, queue, now = self._link, self._queue, self._link.loop.now
        self.worker = Worker(link.number, link.address, name_of(link.connection.identity), now, capacity=1)
        if self._is_rep:
            set_slots(self.worker, queue.settings.prefetch)
        if link.sock.family == socket.AF_UNIX:
            self.worker.pid = peer_pid(link.sock)
        self.worker.key = link.connection.mechanism.peer_name
        queue.join_worker(self.worker, now)
        return self.worker

    def take(self, messages: list[Message]) -> None:
        """Replies and notices."""
        queue, worker, now = self._queue, self.worker, self._link.loop.now
        for message in messages:
            if isinstance(message, Oversize):
                queue.oversize_reply(worker, message.envelope, now)
            else:
                queue.reply(worker, message, now)

    def adopt(self) -> None:
        """A REP has other slots now; what it holds beyond them it may finish."""
        if self._is_rep:
            set_slots(self.worker, self._queue.settings.prefetch)
            self._queue.dispatcher.settle(self.worker, self._link.loop.now)

    @property
    def _is_rep(self) -> bool:
        return self._link.connection.peer_type == b"REP"

    def unsent(self, size: int) -> None:
        """A worker gets no more than its window: there is nothing to bound."""

    def leave(self) -> None:
        """The connection has ended."""
        self._queue.worker_left(self.worker, self._link.loop.now)
