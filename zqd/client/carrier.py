"""The sockets of a client: a DEALER for each broker and its monitor, which tells when the connection is up or down.

One DEALER for all would deal the requests round robin and hide which connection broke. `turn` does all there is to do
without waiting; it may be called by one thread at a time. Called by: `blocking`, `tasks`.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

import zmq

from zqd.client.keys import refusal
from zqd.client.session import Broker, Link, Session
from zqd.keys.connection import Keys

RENEW = 10.0  # seconds without a connection after which a socket is replaced: libzmq gives some failures up for good
ASK_AGAIN = 1.0  # seconds likewise, of a broker that has refused us, or if no new socket could be opened
UP: Final = int(zmq.EVENT_HANDSHAKE_SUCCEEDED)
DOWN: Final = int(zmq.EVENT_DISCONNECTED)
FAILED: Final = int(
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
READABLE: Final = int(zmq.POLLIN)  # as plain numbers: an operation on enums costs microseconds

Socket = zmq.Socket[bytes]
Context = zmq.Context[Socket]
Watch = Callable[[int], object]


class Line:
    """The connection to one broker, made again by libzmq as often as it breaks. Raises zmq.ZMQError, as for EMFILE."""

    def __init__(self, context: Context, broker: Broker, keys: Keys | None, heartbeat: float | None) -> None:
        self.broker = broker
        self.keys = keys
        self.failed = False
        """A handshake has failed, which was told; the end of its connection is still to come."""
        self.renewal = time.monotonic() + RENEW
        """When another is to take its place, if there is no connection until then and somebody waits for it."""
        with contextlib.ExitStack() as opened:
            self.dealer = opened.enter_context(context.socket(zmq.DEALER))
            self._prepare(heartbeat)
            self.monitor = opened.enter_context(self.dealer.get_monitor_socket(UP | DOWN | FAILED))
            self.monitor.linger = 0
            self.dealer.connect(broker.endpoint)
            opened.pop_all()

    def _prepare(self, heartbeat: float | None) -> None:
        self.dealer.linger = 0
        # Only with a connection: what is sent is then either on it or lost with it, and never sent on the next one.
        self.dealer.immediate = 1
        # Not for names: of `localhost` libzmq would then try ::1 alone, where hardly any broker listens.
        self.dealer.ipv6 = int("[" in self.broker.endpoint)
        if heartbeat is not None:  # half of the time passes until a PING, half without its PONG
            self.dealer.heartbeat_ivl = self.dealer.heartbeat_timeout = max(1, round(heartbeat * 500))
        if self.keys is not None:
            self.keys.apply(self.dealer)

    def descriptors(self) -> list[int]:
        """What is readable when there is something to do: edge-triggered, see zmq_getsockopt(3), ZMQ_FD."""
        return [int(socket.getsockopt(zmq.FD)) for socket in (self.dealer, self.monitor)]

    def close(self) -> None:
        """At once; what was not sent is lost."""
        self.dealer.disable_monitor()
        self.monitor.close()
        self.dealer.close()


class Carrier:
    """Carries a session's messages. `keys` are those for each of its brokers.

    `watch` and `unwatch` are told which descriptors to wait for, readable. Raises OSError where its sockets cannot be opened.
    """

    def __init__(
        self,
        session: Session,
        keys: Sequence[Keys | None],
        heartbeat: float | None,
        watch: Watch,
        unwatch: Watch,
    ) -> None:
        self._session = session
        self._heartbeat = heartbeat
        self._watch = watch
        self._unwatch = unwatch
        self._context: Context = zmq.Context()
        self._lines: list[Line] = []
        try:
            for broker, own in zip(session.brokers, keys, strict=True):
                self._lines.append(self._open(broker, own))
        except zmq.ZMQError as fault:
            self.close()
            raise OSError(fault.errno, f"cannot open the client's sockets: {fault.strerror}") from None

    def _open(self, broker: Broker, keys: Keys | None) -> Line:
        line = Line(self._context, broker, keys, self._heartbeat)
        for descriptor in line.descriptors():
            self._watch(descriptor)
        return line

    def turn(self, now: float) -> None:
        """Do all that can be done without waiting; afterwards look at `deadline` and at the session's ended calls."""
        session = self._session
        session.elapse(now)
        for place, line in enumerate(self._lines):
            self._read_events(line, now)
            if session.pending and now >= _renewal(line):
                self._lines[place] = self._renewed(line, now)
        # A send takes edges of the descriptor, so that after the last one everything has to be looked at.
        # What is received may be a reason to send.
        progress = True
        while progress:
            progress = False
            for line in self._lines:
                progress |= self._send(line, now)
            for line in self._lines:
                progress |= self._receive(line, now)

    @property
    def deadline(self) -> float | None:
        """When to call `turn`, if no descriptor is readable before."""
        times = [_renewal(line) for line in self._lines] if self._session.pending else []
        if self._session.deadline is not None:
            times.append(self._session.deadline)
        first = min(times, default=math.inf)
        return first if first < math.inf else None

    def close(self) -> None:
        """Close all sockets at once."""
        for line in self._lines:
            self._close(line)
        self._lines = []
        self._context.term()

    def _close(self, line: Line) -> None:
        for descriptor in line.descriptors():
            self._unwatch(descriptor)
        line.close()

    def _renewed(self, line: Line, now: float) -> Line:
        """Another in its place; itself where that cannot be opened yet."""
        try:
            other = self._open(line.broker, line.keys)
        except zmq.ZMQError:
            line.renewal = now + ASK_AGAIN
            return line
        self._session.down(line.broker, now)
        self._close(line)
        return other

    def _read_events(self, line: Line, now: float) -> None:
        while _readable(line.monitor):
            # 16 bits of event, 32 of a value: zmq_socket_monitor(3). pyzmq's own parser would import asyncio.
            news = line.monitor.recv_multipart(zmq.NOBLOCK)[0]
            event = int.from_bytes(news[:2], sys.byteorder)
            if event == UP:
                self._session.up(line.broker, now)
            elif event == DOWN and line.failed:
                line.failed = False
            elif event == DOWN and line.broker.link in {Link.UP, Link.LEAVING}:
                self._receive(line, now)  # what came before the end
                line.renewal = now + RENEW
                self._session.down(line.broker, now)
            else:
                line.failed = event != DOWN
                reason, final = refusal(
                    event, int.from_bytes(news[2:6], sys.byteorder), curve=line.keys is not None
                )
                line.renewal = now + (ASK_AGAIN if final else RENEW)
                self._session.refused(line.broker, reason, now, final=final)

    def _send(self, line: Line, now: float) -> bool:
        """Whether something was sent."""
        sent = False
        while (message := self._session.next_message(line.broker, now)) is not None:
            try:
                line.dealer.send_multipart(message, zmq.NOBLOCK)
            except zmq.Again:  # no room; or no connection, and its monitor tells in a moment
                break
            self._session.sent(line.broker, now)
            sent = True
        return sent

    def _receive(self, line: Line, now: float) -> bool:
        """Whether something came."""
        came = False
        while _readable(line.dealer):
            self._session.received(line.broker, line.dealer.recv_multipart(zmq.NOBLOCK), now)
            came = True
        return came


def _renewal(line: Line) -> float:
    return math.inf if line.broker.link in {Link.UP, Link.LEAVING} else line.renewal


def _readable(socket: Socket) -> bool:
    return int(socket.getsockopt(zmq.EVENTS)) & READABLE != 0
