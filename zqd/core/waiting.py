"""The waiting line: which request is dispatched next (law 6).

    priority 9 ─ returned ─▶ turns: client c3 [r7 r9], client c1 [r4] …      every 8th pick:
    priority 5 ─ returned ─▶ turns: client c2 [r1 r2 r3] …                   the oldest of all

Highest priority first; in a priority the returned requests by arrival, then the clients in turns, one request each, a
client's own first come first served. Every eighth pick is the oldest request of all, so that none starves.

A stalled client's requests (rule 19) are set aside and count as waiting, but are not picked. Layer 1, pure.
Called by: `queue`.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from collections.abc import Iterator

from zqd.core.peers import Client
from zqd.core.request import HIGHEST_PRIORITY, Request

OLDEST_EVERY = 8


class Lane:
    """The waiting requests of one priority."""

    __slots__ = ("returned", "turns")

    def __init__(self) -> None:
        self.returned: list[tuple[int, Request]] = []
        """A heap of (seq, request): those that were dispatched before."""
        self.turns: OrderedDict[Client, deque[Request]] = OrderedDict()
        """The ring: whose turn it is first."""


class WaitingLine:
    """All waiting requests of one queue."""

    __slots__ = ("_arrivals", "_lanes", "_picks", "_spare", "_stalled", "_top", "bytes", "ready", "size")

    def __init__(self) -> None:
        self.size = 0
        """Waiting requests, those of stalled clients included."""
        self.bytes = 0
        """Their bytes."""
        self.ready = 0
        """Waiting requests that `pick` may take: those of clients that are not stalled."""
        self._lanes = [Lane() for _ in range(HIGHEST_PRIORITY + 1)]
        self._top = 0  # all lanes above this one are empty
        self._stalled: dict[Client, list[Request]] = {}
        # Those in turns, in the order of arrival; entries that are not there any more are passed over.
        self._arrivals: deque[Request] = deque()
        self._picks = 0
        self._spare: list[deque[Request]] = []  # empty ones, to be used again: a new one is costly

    def __iter__(self) -> Iterator[Request]:
        """All waiting requests, in no particular order."""
        for lane in self._lanes:
            for _, request in lane.returned:
                yield request
            for requests in lane.turns.values():
                yield from requests
        for requests_aside in self._stalled.values():
            yield from requests_aside

    def add(self, request: Request) -> None:
        """A request waits, for the first time or again after a dispatch."""
        client = request.client
        request.waiting = True
        client.waiting += 1
        self.size += 1
        self.bytes += len(request.raw)
        if client.stalled:
            self._stalled.setdefault(client, []).append(request)
            return
        self.ready += 1
        priority = request.options.priority
        if priority > self._top:
            self._top = priority
        lane = self._lanes[priority]
        if request.dispatches:
            heapq.heappush(lane.returned, (request.seq, request))
            return
        requests = lane.turns.get(client)
        if requests is None:
            lane.turns[client] = requests = self._spare.pop() if self._spare else deque()
        requests.append(request)
        self._arrivals.append(request)

    def add_all(self, client: Client, requests: list[Request]) -> None:
        """As `add` for each: new requests of one priority and of one client that is not stalled."""
        first, *others = requests
        self.add(first)
        for request in others:
            request.waiting = True
            self.bytes += len(request.raw)
        client.waiting += len(others)
        self.size += len(others)
        self.ready += len(others)
        self._lanes[first.options.priority].turns[client].extend(others)
        self._arrivals.extend(others)

    def pick(self) -> Request:
        """Take the request that is next; there must be one."""
        self._picks += 1
        if not self._picks % OLDEST_EVERY:
            oldest = self.oldest()
            assert oldest is not None
            self.remove(oldest)
            return oldest
        lane = self._lanes[self._top]
        while not (lane.turns or lane.returned):
            self._top -= 1
            lane = self._lanes[self._top]
        if lane.returned:
            request = heapq.heappop(lane.returned)[1]
            client = request.client
        else:
            client, requests = lane.turns.popitem(False)
            request = requests.popleft()
            if requests:
                lane.turns[client] = requests
            else:
                self._spare.append(requests)
        # As `_forget` does it.
        request.waiting = False
        client.waiting -= 1
        self.size -= 1
        self.ready -= 1
        self.bytes -= len(request.raw)
        return request

    def pick_some(self, most: int) -> list[Request]:
        """Take the next requests, at least one and at most `most`; as often as the line allows more in one step than `pick`."""
        lane = self._lanes[self._top]
        if len(lane.turns) == 1:
            ((client, requests),) = lane.turns.items()
            count = min(most, len(requests) - 1)
            if count > 1 and len(requests) == self.ready:  # nobody else's is next, nor older
                picked = [requests.popleft() for _ in range(count)]
                for request in picked:
                    request.waiting = False
                    self.bytes -= len(request.raw)
                client.waiting -= count
                self.size -= count
                self.ready -= count
                self._picks += count
                if len(self._arrivals) > 2 * self.size + 128:
                    self._count_arrivals()
                return picked
        return [self.pick()]

    def oldest(self) -> Request | None:
        """The request that arrived first among those that `pick` may take."""
        arrivals = self._arrivals
        while arrivals and not _takes_turns(arrivals[0]):
            arrivals.popleft()
        if len(arrivals) > 2 * self.size + 64:
            self._count_arrivals()
            arrivals = self._arrivals
        oldest = arrivals[0] if arrivals else None
        for lane in self._lanes:
            if lane.returned and (oldest is None or lane.returned[0][0] < oldest.seq):
                oldest = lane.returned[0][1]
        return oldest

    def remove(self, request: Request) -> None:
        """Take one particular request out; it must be waiting."""
        client = request.client
        if client.stalled:
            aside = self._stalled[client]
            aside.remove(request)
            if not aside:
                del self._stalled[client]
        else:
            lane = self._lanes[request.options.priority]
            if request.dispatches:
                lane.returned.remove((request.seq, request))
                heapq.heapify(lane.returned)
            else:
                requests = lane.turns[client]
                requests.remove(request)
                if not requests:
                    del lane.turns[client]
            self.ready -= 1
        self._forget(request)
        if len(self._arrivals) > 2 * self.size + 128:  # where nobody picks, `oldest` does not look after them
            self._count_arrivals()

    def of_client(self, client: Client) -> list[Request]:
        """A client's waiting requests, oldest first."""
        if not client.waiting:
            return []
        found = list(self._stalled.get(client, ()))
        if not client.stalled:
            for lane in self._lanes:
                found.extend(request for _, request in lane.returned if request.client is client)
                found.extend(lane.turns.get(client, ()))
        return sorted(found, key=_arrival)

    def stall(self, client: Client) -> None:
        """Set a client's requests aside (rule 19)."""
        requests = self.of_client(client)
        for lane in self._lanes:
            lane.turns.pop(client, None)
            kept = [entry for entry in lane.returned if entry[1].client is not client]
            if len(kept) < len(lane.returned):
                heapq.heapify(kept)
                lane.returned = kept
        client.stalled = True
        if requests:
            self._stalled[client] = requests
            self.ready -= len(requests)

    def unstall(self, client: Client) -> None:
        """Line a client's requests up again, at the end of the ring."""
        client.stalled = False
        requests = self._stalled.pop(client, [])
        for request in requests:
            self._forget(request)
            self.add(request)
        if requests:
            self._count_arrivals()

    def _forget(self, request: Request) -> None:
        """A request is not in its place any more: it does not count."""
        request.waiting = False
        request.client.waiting -= 1
        self.size -= 1
        self.bytes -= len(request.raw)

    def _count_arrivals(self) -> None:
        """Find the order of arrival anew."""
        requests = (request for lane in self._lanes for turn in lane.turns.values() for request in turn)
        self._arrivals = deque(sorted(requests, key=_arrival))


def _arrival(request: Request) -> int:
    return request.seq


def _takes_turns(request: Request) -> bool:
    return request.waiting and not request.dispatches and not request.client.stalled
