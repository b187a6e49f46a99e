"""Who may put another request into the waiting line (rule 17): limits that hold for each message.

A refused client is paused: its connection keeps the message and is not read. It is resumed

* at the count limits when the line has shrunk by an eighth (hysteresis), or when it has nothing waiting itself:
  at `max_queued` only clients that already have a request waiting are held up;
* at the byte limit in the order in which clients were paused, as soon as the first one's message fits. An empty line
  admits any single message, so the first one may always go on there: nobody waits for room that cannot come.

Layer 1, pure. Called by: `queue`, `intake`.
"""

from __future__ import annotations

import math

from zqd.core.outputs import Outputs
from zqd.core.peers import Client
from zqd.core.settings import QueueSettings
from zqd.core.waiting import WaitingLine


class Admission:
    """The paused clients of one queue and the reasons for their pause."""

    __slots__ = (
        "_bearer",
        "_invited",
        "_line",
        "_most",
        "_most_bytes",
        "_most_each",
        "_out",
        "for_bytes",
        "for_count",
        "frozen",
        "settings",
        "unfinished",
    )

    def __init__(self, line: WaitingLine, out: Outputs, settings: QueueSettings) -> None:
        self._line = line
        self._out = out
        self.adopt(settings)
        self.for_count: dict[Client, None] = {}
        """Clients that are paused at a count limit, or because the queue is drained."""
        self.for_bytes: dict[Client, int] = {}
        """Clients that are paused at the byte limit, with the bytes that they need room for; in order."""
        self._bearer: Client | None = None  # may go beyond the byte limit with one message
        # Those who were resumed for bytes: who still waits for room comes after them.
        self._invited: set[Client] = set()
        self.unfinished = 0
        """Bytes held of messages that are not whole yet, over all clients."""
        self.frozen = False
        """The queue is drained: no client is resumed."""

    def adopt(self, settings: QueueSettings) -> None:
        """These limits hold from now on."""
        self.settings = settings
        self._most = settings.max_queued or math.inf
        self._most_each = settings.max_per_client or math.inf
        self._most_bytes = settings.max_queued_bytes or math.inf

    def admits(self, client: Client, size: int) -> bool:
        """Whether a whole message of `size` bytes may be added to the line now."""
        settings, line = self.settings, self._line
        waiting = client.waiting
        if waiting and (line.size >= settings.max_queued > 0 or waiting >= settings.max_per_client > 0):
            return False
        if client is self._bearer:
            self._bearer = None
            return True
        room = settings.max_queued_bytes
        if not line.size or not room:
            return True
        if self.for_bytes:  # nobody overtakes those who were there before
            if client not in self._invited:
                return False
            self._invited.discard(client)
        return line.bytes + self.unfinished - client.unfinished + size <= room

    def admits_all(self, client: Client, count: int, size: int) -> bool:
        """Whether so many messages of a client, of `size` bytes together, are far from every limit; False is no refusal."""
        line = self._line
        return (
            line.size + count <= self._most
            and line.bytes + self.unfinished + size <= self._most_bytes
            and client.waiting + count <= self._most_each
            and not self.for_bytes
            and self._bearer is None
        )

    def hold(self, client: Client, size: int) -> None:
        """Pause a client that was not admitted with a message of `size` bytes."""
        self._pause(client, None if self._fits(client, size) and not self.for_bytes else size)

    def grown(self, client: Client, unfinished: int) -> bool:
        """A client's unfinished message is now this large; False if it is paused and must not be read on."""
        shrunk = unfinished < client.unfinished
        self.unfinished += unfinished - client.unfinished
        client.unfinished = unfinished
        if shrunk:  # its message is whole, or was discarded
            if self._bearer is client:
                self._bearer = None
            self.relieve(client)
        if not unfinished or client is self._bearer or self._fits(client, unfinished):
            return True
        if not self._line.size and self._bearer is None:
            self._bearer = client
            return True
        self._pause(client, unfinished)
        return False

    def forget(self, client: Client) -> None:
        """The client is gone."""
        self.unfinished -= client.unfinished
        client.unfinished = 0
        self.for_count.pop(client, None)
        self.for_bytes.pop(client, None)
        self._invited.discard(client)
        if self._bearer is client:
            self._bearer = None

    def relieve(self, relieved: Client | None) -> None:
        """The line has shrunk, by a request of `relieved` where it is one client's: resume who may go on."""
        if (self.for_count or self.for_bytes) and not self.frozen:
            self._relieve_count(relieved)
            self._relieve_bytes()

    def lift(self) -> None:
        """Resume everybody."""
        self.frozen = False
        for client in [*self.for_count, *self.for_bytes]:
            self._resume(client)

    def _relieve_count(self, relieved: Client | None) -> None:
        """All whom the queue's limit held up when the line is down to its mark, otherwise the one whose share shrank."""
        most, own, size = self.settings.max_queued, self.settings.max_per_client, self._line.size
        low = _low(most) if most else size
        if relieved is None or (most and size == low):
            candidates = [*self.for_count]
        else:
            candidates = [relieved] if relieved in self.for_count else []
        for client in candidates:
            if not client.waiting or (size <= low and (not own or client.waiting <= _low(own))):
                self._resume(client)

    def _relieve_bytes(self) -> None:
        """As many as there is room for together; an empty line admits any single message beyond that."""
        room = self.settings.max_queued_bytes - self._line.bytes - self.unfinished
        alone = not self._line.size
        resumed = []
        for client, size in self.for_bytes.items():
            more = size - client.unfinished
            if self.settings.max_queued_bytes and more > room:
                if not alone:
                    break
                if not client.unfinished:
                    alone = client.stalled  # which is not going to send it now
                elif self._bearer is None:
                    self._bearer = client
                else:
                    continue  # only one at a time may go on until its message is whole
            room -= more
            resumed.append(client)
        for client in resumed:
            self._invited.add(client)
            self._resume(client)

    def _pause(self, client: Client, size: int | None) -> None:
        """For the room of `size` bytes, or for a count where None."""
        if size is None:
            self.for_count[client] = None
        else:
            self.for_bytes[client] = size
        client.paused = True
        self._out.note("client.paused", client=client)

    def _resume(self, client: Client) -> None:
        self.for_count.pop(client, None)
        self.for_bytes.pop(client, None)
        client.paused = False
        if not client.stalled:
            self._out.resumed.append(client)

    def _fits(self, client: Client, size: int) -> bool:
        """Room for `size` bytes of this client, which may be those of its unfinished message."""
        room = self.settings.max_queued_bytes
        return not room or self._line.bytes + self.unfinished - client.unfinished + size <= room


def _low(limit: int) -> int:
    """How far the count has to go down before the paused are resumed."""
    return limit - max(1, limit // 8)
