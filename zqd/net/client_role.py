"""A client's link: its messages are requests, and it is read while the queue wants more of it.

Layer 3. Called by: `link`, `device` (resume).
"""

from __future__ import annotations

from zqd.core.peers import Client
from zqd.core.queue import Queue
from zqd.net.addresses import name_of
from zqd.net.link import Link, Stage
from zqd.net.loop import Timer
from zqd.net.role import Hand
from zqd.zmtp.connection import Message, Oversize


class ClientRole:
    """A client is read while the queue wants more of it; what it refuses is kept here until then."""

    __slots__ = ("_kept", "_link", "_queue", "_stall_timer", "client", "hand", "heartbeat_interval")

    def __init__(self, link: Link, queue: Queue, hand: Hand) -> None:
        self.heartbeat_interval = queue.settings.frontend_heartbeat_interval
        self.hand = hand
        self.client: Client
        self._link = link
        self._queue = queue
        self._kept: list[Message] = []  # from a refused message on
        self._stall_timer: Timer | None = None

    def join(self) -> Client:
        """The queue knows it from now on."""
        link = self._link
        self.client = Client(link.number, link.address, name_of(link.connection.identity), link.loop.now)
        self.client.key = link.connection.mechanism.peer_name
        self._queue.join_client(self.client)
        return self.client

    @property
    def reading(self) -> bool:
        """Neither held up by a limit nor by its own unread replies, and nothing is kept that comes first."""
        return not (self.client.paused or self.client.stalled or self._kept)

    def take(self, messages: list[Message]) -> None:
        """Requests."""
        queue, client, link = self._queue, self.client, self._link
        for place, message in enumerate(messages):
            if isinstance(message, Oversize):
                queue.oversize_request(client, message.envelope)
            elif not queue.request(client, message, link.loop.now):
                self._kept += messages[place:]
                break
        unfinished = link.connection.buffered
        if unfinished != client.unfinished:
            queue.unfinished(client, unfinished)
        if client.paused:
            link.paused()

    def resume(self) -> None:
        """The queue wants more: what was kept first, then what lies in the socket."""
        link, client = self._link, self.client
        if link.stage is Stage.OPEN and not (client.paused or client.stalled):
            kept, self._kept = self._kept, []
            link.watch()
            link.deliver(kept)
            link.go_on()

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

    def adopt(self) -> None:
        """Judge what it has not read by the present bound."""
        self.unsent(self._link.outflow.size)

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
