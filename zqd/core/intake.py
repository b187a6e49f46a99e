"""Messages of one peer that came together.

A client that pipelines sends many at a time, and most of its requests have to wait: these go into the line in one step, which
costs a fraction of as many single ones. So it is with the replies of a worker that holds many. The outcome is the same as that of
`Queue.request` and `Queue.reply` for each (tests compare them).

Layer 1, pure. Called by: `zqd.net.client_role`, `zqd.net.worker_role`.
"""

from __future__ import annotations

import struct

from zqd.core.deadlines import Kind
from zqd.core.dispatch import KEY_SIZE, split_reply
from zqd.core.peers import Client, Worker
from zqd.core.queue import Queue
from zqd.core.request import NO_OPTIONS, Request
from zqd.zmtp.connection import Message, Oversize
from zqd.zmtp.frames import EMPTY_MORE


def take_in(queue: Queue, client: Client, messages: list[Message], now: float) -> int:
    """Offer messages to the queue in their order; returns how many it accepted before it wanted no more."""
    accepted, several = 0, True
    while accepted < len(messages):
        if several and queue.line.ready and len(messages) - accepted > 1:
            count = _line_up(queue, client, messages[accepted:], now)
            several = count > 0
            accepted += count
            continue
        message = messages[accepted]
        if isinstance(message, Oversize):
            queue.oversize_request(client, message.envelope)
        elif not queue.request(client, message, now):
            break
        accepted += 1
    return accepted


def _line_up(queue: Queue, client: Client, messages: list[Message], now: float) -> int:
    """Let plain requests that have to wait into the line, and return how many; 0 where each needs a look of its own."""
    requests: list[Request] = []
    size, seq = 0, queue.seq
    for raw in messages:
        if isinstance(raw, Oversize) or raw[:2] != EMPTY_MORE:
            break
        seq += 1
        size += len(raw)
        requests.append(Request(seq, client, raw, EMPTY_MORE, NO_OPTIONS, now))
    count = len(requests)
    regular = queue.regime.regular and not client.stalled
    if not (requests and regular and queue.admission.admits_all(client, count, size)):
        return 0
    queue.seq = seq
    queue.ledger.counters.received += count
    client.received += count
    queue.line.add_all(client, requests, size)
    if queue.settings.queue_timeout:
        for request in requests:
            queue.dispatcher.deadlines.set(now + queue.settings.queue_timeout, Kind.WAIT, request)
    return count


def take_back(queue: Queue, worker: Worker, messages: list[Message], now: float) -> None:
    """Give the queue what a worker has sent."""
    taken, several = 0, True
    while taken < len(messages):
        if several and len(messages) - taken > 1:
            count = _account(queue, worker, messages[taken:], now)
            several = count > 0
            taken += count
            continue
        message = messages[taken]
        if isinstance(message, Oversize):
            queue.oversize_reply(worker, message.envelope, now)
        else:
            queue.reply(worker, message, now)
        taken += 1


def _account(queue: Queue, worker: Worker, messages: list[Message], now: float) -> int:
    """Pass on plain replies, and return how many; 0 where each needs a look of its own."""
    if not queue.regime.regular:
        return 0
    window, replied = worker.window, queue.ledger.replied
    run = -1.0
    count = 0
    for raw in messages:
        if isinstance(raw, Oversize):
            break
        try:
            key, opening = split_reply(raw)
        except struct.error:
            break
        request = window.get(key)
        if request is None or opening != request.envelope:
            break
        del window[key]
        request.worker = None
        request.client.in_flight -= 1
        if not count:
            run = now - request.started
        elif not worker.concurrent:
            request.started = now  # when the one before it was seen to end
        replied(request, worker, raw, KEY_SIZE, now)
        count += 1
    if count:
        if worker.auto:
            queue.dispatcher.keep_pace(worker, run, count, now)
        queue.dispatcher.freed(worker, now)
    return count
