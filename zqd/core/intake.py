"""The short way into a queue, for what nearly all peers send nearly always: plain requests of a REQ, and the replies to them.

What was read of a connection is cut, judged and counted in one go, many messages at a time, which costs a fraction of `Queue.request`
and `Queue.reply` for each. It takes the plain messages with which the bytes begin, and leaves all else for the long way: other
envelopes, options, notices, limits that are near, states that are not regular. The outcome is the same (tests compare them), but
that replies that come together are one step for `core.pace`.

    bytes ─ requests, replies ─▶ taken                     the rest ─ Connection.receive ─▶ Queue.request, Queue.reply

Layer 1, pure. Called by: `zqd.net.link`, through its role.
"""

from __future__ import annotations

import struct

from zqd.core.dispatch import KEY_SIZE
from zqd.core.peers import Client, Worker
from zqd.core.queue import Queue
from zqd.core.request import Request
from zqd.zmtp.connection import BATCH
from zqd.zmtp.frames import EMPTY_MORE, LARGE, message_end

# What a message begins with, and the size of its body where that is one short frame (RFC 23 "Framing"); for a reply behind its id.
_request_head = struct.Struct("3sB").unpack_from
_reply_head = struct.Struct(f"{KEY_SIZE}s3sB").unpack_from
_HEAD = 4  # bytes
_PLAIN = EMPTY_MORE + b"\0"


class Intake:
    """The short way into one queue. `data` begins where a message does, or something else that is whole, like a command."""

    __slots__ = ("_queue",)

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def requests(self, client: Client, data: bytes, now: float) -> int:
        """Let in what a client has sent; returns how many bytes of it are done with."""
        queue, size = self._queue, len(data)
        if not queue.regime.regular or client.paused or client.stalled:
            return 0
        if size > queue.settings.max_message_size:
            return 0
        try:
            head, length = _request_head(data)
        except struct.error:  # it is not even a header
            return 0
        line, admission = queue.line, queue.admission
        end = _HEAD + length if head == _PLAIN else message_end(data, 0)
        if end == size and head[:2] == EMPTY_MORE:  # one request, more than which a REQ never sends at a time
            # An empty line admits any single request.
            if line.size and not admission.admits_all(client, 1, size):
                return 0
            queue.seq = seq = queue.seq + 1
            queue.ledger.counters.received += 1
            client.outstanding += 1
            queue.dispatcher.enter(Request(seq, client, data, now), now)
            return size
        messages, at = _cut(data)
        if not messages or not admission.admits_all(client, len(messages), at):
            return 0
        requests = [Request(seq, client, raw, now) for seq, raw in enumerate(messages, queue.seq + 1)]
        queue.seq += len(requests)
        queue.ledger.counters.received += len(requests)
        client.outstanding += len(requests)
        entered = 0
        while entered < len(requests) and not line.ready:
            queue.dispatcher.enter(requests[entered], now)
            entered += 1
        if entered < len(requests):
            queue.dispatcher.line_up_all(client, requests[entered:], now)
        return at

    def replies(self, worker: Worker, data: bytes, now: float) -> int:
        """Pass on what a worker has answered; returns how many bytes of it are done with."""
        queue, size = self._queue, len(data)
        if not queue.regime.regular or size > queue.settings.max_message_size:
            return 0
        window, replied = worker.window, queue.ledger.replied
        at = answered = 0
        run = 0.0
        try:
            while at < size:
                key, head, length = _reply_head(data, at)
                request = window.get(key)
                if request is None or request.envelope != EMPTY_MORE:
                    break
                start = at + KEY_SIZE
                if head == _PLAIN:
                    end = start + _HEAD + length
                elif head[:2] == EMPTY_MORE:
                    end = message_end(data, start + len(EMPTY_MORE))
                else:
                    break
                if end > size:
                    break
                del window[key]
                request.worker = None
                if not answered:
                    run = now - request.started
                elif not worker.concurrent:
                    request.started = now  # when the one before it was seen to end
                answered += 1
                replied(
                    request, worker, data[start:end] if end - at < LARGE else memoryview(data)[start:end], now
                )
                at = end
        except struct.error:  # the data ends in the header
            pass
        if answered:
            if worker.auto:
                queue.dispatcher.keep_pace(worker, run, answered, now)
            queue.dispatcher.freed(worker, now)
        return at


def _cut(data: bytes) -> tuple[list[bytes], int]:
    """The plain requests that `data` begins with, at most BATCH, and where they end."""
    messages: list[bytes] = []
    at, size = 0, len(data)
    try:
        while at < size and len(messages) < BATCH:
            head, length = _request_head(data, at)
            if head == _PLAIN:
                end = at + _HEAD + length
            elif head[:2] == EMPTY_MORE:
                end = message_end(data, at + len(EMPTY_MORE))
            else:
                break
            if end > size:
                break
            messages.append(data[at:end])
            at = end
    except struct.error:  # the data ends in a header
        pass
    return messages, at
