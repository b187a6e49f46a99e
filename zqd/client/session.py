"""A client's requests on their way: which broker gets one, when another gets it, and whose answer a message is.

It is told facts (a request was made, a connection is up or down, a message came, time passed), each with its owner's
`now` in seconds; `outbox` of a `Broker` says what to send there, `ended` lists the calls that are over, and
`deadline` says when to call `elapse`. It does no I/O.

    submit() ─▶ a usable broker? ─▶ its outbox ─▶ sent ─▶ received() ─▶ ended: a reply, or a failure
                 └ no: waits ▲                     │ down(), silent, or "stopping": to another broker
                             └─────────────────────┘ (often enough: BrokerLost)

Laws:
  1. Whose answer a message is, is told by the call's own id alone, which no other call of any process has. What
     answers no pending call (a late reply, a stranger's) is dropped.
  2. The first answer counts. A call ends once.
  3. A call is sent at most `sends_left` times: with attempts=1 once, whatever happens.
  4. Of the brokers that are connected, the first of the list that is not silent gets a request.
  5. Every call with a timeout ends at its deadline at the latest.
  6. No call waits while every broker refuses us: that is said at once, and the next call asks them again.

Called by: `blocking`, `tasks`; its brokers' sockets are in `carrier`.
"""

from __future__ import annotations

import enum
import heapq
import itertools
import math
from collections import deque
from collections.abc import Sequence

from zqd.client.arguments import Wishes
from zqd.client.errors import BrokerLost, Busy, RequestError, TimedOut, Unreachable, failure
from zqd.core.request import PROTOCOL
from zqd.errors import FailureCode

SENDS = 3  # how often a request without `attempts` is sent at least, if its brokers are lost
GRACE = 0.25  # seconds that a preferred broker has for its first connection before others get requests
SUSPICION = 10.0  # seconds for which a silent broker is the last choice, unless it gives a sign of life
STATUS = PROTOCOL + b" status="
STOPPING = "stopping"  # how the 503 of a broker begins that is about to end (zqd.core.regime, zqd.core.queue)
MOST_MS = 10**9  # what the option `timeout_ms` can say
SWEEP = 1024  # timers; with more than that, and most of them stale, they are swept


class Link(enum.Enum):
    """How the connection to a broker is."""

    NEW = enum.auto()  # not up yet since the start
    UP = enum.auto()  # the handshake is over
    LEAVING = enum.auto()  # up, but the broker has said that it is stopping
    DOWN = enum.auto()
    REFUSED = enum.auto()  # down, and the broker has said that it does not want us


class Broker:
    """One endpoint."""

    def __init__(self, endpoint: str, opened: float) -> None:
        self.endpoint = endpoint
        self.link = Link.NEW
        self.opened = opened
        self.outbox: deque[Call] = deque()
        """To be sent, oldest first; an entry whose call has ended or moved on is passed over."""
        self.sent: dict[bytes, Call] = {}
        """Sent, and not answered yet."""
        self.heard = opened
        """When the last message came from it."""
        self.refusal = ""
        """Why its last handshake has failed, one clause for people."""
        self.suspect_until = opened

    def is_starting(self, now: float) -> bool:
        """Its first connection may still come at any moment."""
        return self.link is Link.NEW and now < self.opened + GRACE


class Call:
    """One request."""

    __slots__ = (
        "deadline",
        "error",
        "frames",
        "holders",
        "id",
        "over",
        "owner",
        "queued",
        "reply",
        "routed_at",
        "sends_left",
        "silent_at",
        "tried",
        "wishes",
    )

    def __init__(self, call_id: bytes, frames: list[bytes], wishes: Wishes, now: float, sends: int) -> None:
        self.id = call_id
        self.frames = frames
        self.wishes = wishes
        self.deadline = math.inf if wishes.timeout is None else now + wishes.timeout
        self.sends_left = sends
        self.queued: Broker | None = None
        """In whose outbox it is."""
        self.holders: list[Broker] = []
        """Who has it, and may still answer."""
        self.tried: list[Broker] = []
        """To whom it was ever sent."""
        self.routed_at = self.silent_at = math.inf
        """When a broker was last chosen for it, and when another one is without an answer."""
        self.over = False
        self.reply: list[bytes] = []
        self.error: RequestError | None = None
        self.owner: object = None
        """The shell's: who waits for it."""

    def result(self) -> list[bytes]:
        """The reply's frames; raises what the call ended with instead."""
        if self.error is not None:
            raise self.error
        return self.reply


class Session:
    """All calls of one client. `prefix` is 8 bytes, random for each client."""

    def __init__(self, endpoints: Sequence[str], prefix: bytes, now: float) -> None:
        self.brokers = [Broker(endpoint, now) for endpoint in endpoints]
        self._prefix = prefix
        self._counter = itertools.count(1)
        self._calls: dict[bytes, Call] = {}
        self._waiting: dict[Call, None] = {}
        """Those for which no broker is usable."""
        self._ended: list[Call] = []
        self._timers: list[tuple[float, int, Call | None]] = []
        self._timer_count = itertools.count()
        self._sweep_at = SWEEP
        if len(self.brokers) > 1:
            self._set_timer(now + GRACE, None)

    @property
    def pending(self) -> int:
        """Calls that have not ended."""
        return len(self._calls)

    # Facts

    def submit(self, frames: list[bytes], wishes: Wishes, now: float) -> Call:
        """A request is made."""
        call_id = self._prefix + next(self._counter).to_bytes(8, "big")
        sends = wishes.attempts or max(SENDS, len(self.brokers))
        call = self._calls[call_id] = Call(call_id, frames, wishes, now, sends)
        if wishes.timeout is not None:
            self._set_timer(call.deadline, call)
        self._route(call, now)
        return call

    def forget(self, call: Call) -> None:
        """Nobody waits for it any more; a broker that has it goes on until its `timeout_ms`."""
        if not call.over:
            self._remove(call)

    def up(self, broker: Broker, now: float) -> None:
        """A connection's handshake is over."""
        broker.link = Link.UP
        broker.refusal = ""
        broker.heard = broker.suspect_until = now
        self._route_waiting(now)

    def down(self, broker: Broker, now: float) -> None:
        """A connection is broken: nothing more comes from it."""
        broker.link = Link.DOWN
        lost, broker.sent = broker.sent, {}
        for call in lost.values():
            call.holders.remove(broker)
            if call.queued or call.holders:
                continue
            if call.sends_left:
                self._route(call, now)
            else:
                reason = "the connection broke after the request was sent"
                self._end(call, BrokerLost(FailureCode.WORKER_LOST, reason, broker.endpoint))
        self._empty_outbox(broker, now)

    def refused(self, broker: Broker, reason: str, now: float, *, final: bool) -> None:
        """A handshake has failed; `final`: a broker is there and does not want us, so that waiting is no use."""
        broker.refusal = reason
        self.down(broker, now)
        if final:
            broker.link = Link.REFUSED
        self._route_waiting(now)
        if all(broker.link is Link.REFUSED for broker in self.brokers):
            for call in list(self._waiting):
                self._end(call, self._nowhere(call))

    def received(self, broker: Broker, message: list[bytes], now: float) -> None:
        """A message came from a broker."""
        broker.heard = broker.suspect_until = now
        if len(message) < 4 or message[2]:
            return
        options, call_id, _, *body = message
        call = self._calls.get(call_id)
        if call is None:
            return
        if not options.startswith(STATUS):
            call.reply = body
            self._end(call)
            return
        status = options[len(STATUS) :]
        code = int(status) if status.isdigit() and len(status) == 3 else 0
        reason = body[0].decode("utf-8", "replace").removeprefix(f"ZQD-ERROR {code} ")
        self._failed(call, broker, failure(code, reason, broker.endpoint), now)

    def sent(self, broker: Broker, now: float) -> None:
        """The message that `next_message` told was taken by the connection."""
        call = broker.outbox.popleft()
        call.queued = None
        call.holders.append(broker)
        call.tried.append(broker)
        call.sends_left -= 1
        broker.sent[call.id] = call

    def elapse(self, now: float) -> None:
        """Time has passed: end or move what has come due."""
        while self._timers and self._timers[0][0] <= now:
            _, _, call = heapq.heappop(self._timers)
            if call is None:
                self._route_waiting(now)
            elif call.over:
                continue
            elif call.deadline <= now:
                self._time_out(call)
            elif call.silent_at <= now:
                self._silent(call, now)

    def close(self, error: RequestError) -> None:
        """The client is closed: all calls end with `error`."""
        for call in list(self._calls.values()):
            self._end(call, error)

    # What to do

    def next_message(self, broker: Broker, now: float) -> list[bytes] | None:
        """The next message to send to a broker; its owner says `sent` if the connection takes it."""
        outbox = broker.outbox
        while outbox:
            call = outbox[0]
            if not call.over and call.queued is broker:
                return [_options(call, now), call.id, b"", *call.frames]
            outbox.popleft()
        return None

    def take_ended(self) -> list[Call]:
        """The calls that have ended since the last time."""
        ended, self._ended = self._ended, []
        return ended

    @property
    def deadline(self) -> float | None:
        """When `elapse` should be called; may be early."""
        return self._timers[0][0] if self._timers else None

    # Ways

    def _route(self, call: Call, now: float) -> None:
        """Into a broker's outbox, or among the waiting."""
        broker = self._choose(call, now)
        if broker is None:
            self._waiting[call] = None
        else:
            self._enqueue(call, broker, now)

    def _choose(self, call: Call, now: float) -> Broker | None:
        """The first usable broker; those that were silent, or had the call before, only if there is no other."""
        second: Broker | None = None
        for broker in self.brokers:
            if broker.is_starting(now):
                return None
            if broker.link is not Link.UP or broker is call.queued or broker in call.holders:
                continue
            if now >= broker.suspect_until and broker not in call.tried:
                return broker
            second = second or broker
        return second

    def _enqueue(self, call: Call, broker: Broker, now: float) -> None:
        call.queued = broker
        broker.outbox.append(call)
        self._listen(call, now)

    def _listen(self, call: Call, now: float) -> None:
        """From now on it has its share of the time to be answered before another broker gets it."""
        call.routed_at = now
        if len(self.brokers) > 1 and call.wishes.timeout is not None:
            call.silent_at = now + call.wishes.timeout / len(self.brokers)
            if call.silent_at < call.deadline:
                self._set_timer(call.silent_at, call)

    def _route_waiting(self, now: float) -> None:
        waiting, self._waiting = self._waiting, {}
        for call in waiting:
            self._route(call, now)

    def _empty_outbox(self, broker: Broker, now: float) -> None:
        """What was not sent yet finds another way."""
        outbox, broker.outbox = broker.outbox, deque()
        for call in outbox:
            if not call.over and call.queued is broker:
                call.queued = None
                self._route(call, now)

    def _silent(self, call: Call, now: float) -> None:
        """Its share of the time is over without an answer: another broker gets it too."""
        for broker in (*call.holders, call.queued):
            if broker is not None and broker.heard <= call.routed_at:
                broker.suspect_until = now + SUSPICION
        other = self._choose(call, now) if call.sends_left else None
        if other is None:
            self._listen(call, now)
        else:
            self._waiting.pop(call, None)
            self._enqueue(call, other, now)

    # Ends

    def _failed(self, call: Call, broker: Broker, error: RequestError, now: float) -> None:
        """A broker said that it has no answer. 503 goes to another if one is left; all else is final."""
        if broker.sent.pop(call.id, None):
            call.holders.remove(broker)
        if isinstance(error, Busy):
            stopping = error.reason.startswith(STOPPING)
            if stopping and broker.link is Link.UP:
                broker.link = Link.LEAVING
                self._empty_outbox(broker, now)
            if call.holders or call.queued or call in self._waiting:
                return
            untried = (other for other in self.brokers if other not in call.tried)
            elsewhere = any(other.link is Link.UP or other.is_starting(now) for other in untried)
            if call.sends_left and (stopping or elsewhere):
                self._route(call, now)
                return
        self._end(call, error)

    def _time_out(self, call: Call) -> None:
        connected = any(broker.link in {Link.UP, Link.LEAVING} for broker in self.brokers)
        if call.tried or connected:
            reason = f"no answer within {call.wishes.timeout:g} s"
            self._end(call, TimedOut(FailureCode.TIMED_OUT, reason))
        else:
            reason = f"no connection to {self._places()} within {call.wishes.timeout:g} s"
            self._end(call, Unreachable(FailureCode.TIMED_OUT, reason))

    def _nowhere(self, call: Call) -> RequestError:
        """Why a call ends when every broker refuses us."""
        reason = f"no connection to {self._places()}"
        if not call.tried:
            return Unreachable(FailureCode.TIMED_OUT, reason)
        reason = f"the connection broke after the request was sent; now {reason}"
        return BrokerLost(FailureCode.WORKER_LOST, reason, call.tried[-1].endpoint)

    def _places(self) -> str:
        refusals = [f" ({broker.refusal})" if broker.refusal else "" for broker in self.brokers]
        return " or ".join(broker.endpoint + why for broker, why in zip(self.brokers, refusals, strict=True))

    def _end(self, call: Call, error: RequestError | None = None) -> None:
        call.error = error
        self._remove(call)
        self._ended.append(call)

    def _remove(self, call: Call) -> None:
        call.over = True
        call.frames = []
        del self._calls[call.id]
        self._waiting.pop(call, None)
        for broker in call.holders:
            del broker.sent[call.id]

    # Timers

    def _set_timer(self, when: float, call: Call | None) -> None:
        heapq.heappush(self._timers, (when, next(self._timer_count), call))
        if len(self._timers) > self._sweep_at:
            self._timers = [timer for timer in self._timers if timer[2] is None or not timer[2].over]
            heapq.heapify(self._timers)
            self._sweep_at = max(SWEEP, 2 * len(self._timers))


def _options(call: Call, now: float) -> bytes:
    """The options frame (rule 25). It is there even if it says nothing: only in it a failure shows as one."""
    wishes = call.wishes
    words = [PROTOCOL]
    if wishes.timeout is not None:
        left = math.ceil((call.deadline - now) * 1000)
        words.append(b"timeout_ms=%d" % min(max(left, 1), MOST_MS))
    if wishes.priority is not None:
        words.append(b"priority=%d" % wishes.priority)
    if wishes.attempts is not None:
        words.append(b"attempts=%d" % wishes.attempts)
    return b" ".join(words)
