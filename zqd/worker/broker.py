"""One broker: a DEALER of its own, and the notices of zqd(7), rule 26.

`hello` goes first on every connection, `leave` asks to be let go and `left` says that nothing more comes; a job is answered by
its reply or by `fail`. Called by: `instance`, in its thread.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import zmq
from zmq.utils.monitor import recv_monitor_message

from zqd.errors import FailureCode
from zqd.keys.connection import Keys
from zqd.worker.job import Job
from zqd.worker.keys import refusal

PROTOCOL = b"zqd/1"
FAILURE = b"ZQD-ERROR "
RECONNECT, RECONNECT_MOST = 100, 2000  # milliseconds between two tries to connect
REFUSED_PAUSE = 1.0  # seconds until the next try after a handshake for which libzmq would not try again
LOST_PAUSE = 10.0  # seconds likewise after a connection that was lost; libzmq mostly tries again by itself
LINGER = 1000  # milliseconds for what is still to be sent at the end
SHOWN = 32  # characters of a strange message
HELD_SHOWN = 8  # ids of requests in a hello, whose texts have at most 256 characters

_EVENTS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_DISCONNECTED
)

Note = Callable[[str, dict[str, object]], None]
"""Takes an event by its name, with its fields."""


@dataclass(frozen=True, slots=True)
class Heartbeats:
    """Seconds: between two, until an unanswered one ends the connection, and what the broker is told to wait (0: nothing)."""

    interval: float
    timeout: float
    ttl: float


class Broker:
    """A connection to one broker, made again whenever it is lost, until it is closed."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        keys: Keys | None,
        name: str,
        beats: Heartbeats,
        note: Note,
    ) -> None:
        self.endpoint = endpoint
        self.keys = keys
        self._name = name
        self.connection: object | None = None
        """Another one after each handshake, None while there is none; a job's answer goes only where it came from."""
        self.greeted = False
        """This connection's hello has been sent."""
        self.leaving = False
        """It gets nothing more from the broker soon, and is closed at `left` or at the next disconnection."""
        self.closed = False
        self.retry_at: float | None = None
        """When to connect again where libzmq may not do so by itself (monotonic seconds)."""
        self._note = note
        self._explained = False  # a failed handshake was told of, the end of its connection is still to come
        self._refusal = ""  # the reason that was logged last, since the last handshake that was none
        self.socket = context.socket(zmq.DEALER)
        # Where it fails nothing stays open: the context would wait for a socket for ever.
        with contextlib.ExitStack() as undo:
            undo.callback(self.socket.close, 0)
            self._set_options(name, beats)
            if keys is not None:
                keys.apply(self.socket)
            self.monitor = self.socket.get_monitor_socket(_EVENTS)
            undo.callback(self.close, 0)
            self.socket.connect(endpoint)
            undo.pop_all()

    def _set_options(self, name: str, beats: Heartbeats) -> None:
        option = self.socket.setsockopt
        option(zmq.ROUTING_ID, name.encode())
        option(zmq.IMMEDIATE, 1)  # what is sent belongs to a connection: it must not wait for the next
        option(zmq.SNDHWM, 0)  # the broker's window is the bound
        option(zmq.RCVHWM, 0)
        option(zmq.LINGER, LINGER)
        option(zmq.RECONNECT_IVL, RECONNECT)
        option(zmq.RECONNECT_IVL_MAX, RECONNECT_MOST)
        option(zmq.IPV6, 1)
        if beats.interval:
            option(zmq.HEARTBEAT_IVL, _milliseconds(beats.interval))
            option(zmq.HEARTBEAT_TIMEOUT, _milliseconds(beats.timeout or beats.interval))
            option(zmq.HEARTBEAT_TTL, _milliseconds(beats.ttl))

    # What comes

    def look(self, now: float) -> None:
        """Take the news about the connection."""
        while not self.closed:
            try:
                news = recv_monitor_message(self.monitor, zmq.DONTWAIT)
            except zmq.Again:
                return
            if news["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.connection, self.greeted = object(), False
                self.retry_at, self._refusal = None, ""
                self._note("worker.connected", {"endpoint": self.endpoint})
            elif news["event"] == zmq.EVENT_DISCONNECTED:
                self._disconnected(now)
            else:
                self._explained = True
                self._refused(news["event"], news["value"], now)

    def _disconnected(self, now: float) -> None:
        if self.connection is not None:
            self.connection = None
            self.retry_at = now + LOST_PAUSE
            self._note("worker.disconnected", {"endpoint": self.endpoint})
        elif self._explained:
            self._explained = False
        else:
            self._refused(zmq.EVENT_DISCONNECTED, 0, now)
        if self.leaving:
            self.close()

    def _refused(self, event: int, value: int, now: float) -> None:
        """The handshake has failed. A reason is said once, as long as it stays the same."""
        if event != zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:  # after that one libzmq does
            self.retry_at = now + REFUSED_PAUSE
        reason = refusal(event, value, curve=self.keys is not None)
        if reason != self._refusal:
            self._refusal = reason
            self._note("worker.refused", {"endpoint": self.endpoint, "reason": reason})

    def _turned_away(self, failure: bytes, now: float) -> None:
        """The answer to a hello at a frontend: no request can come by this connection."""
        self.connection, self._explained = None, True
        self.retry_at = now + LOST_PAUSE
        reason = failure.split(b" ", 2)[-1].decode("utf-8", "replace")
        self._note("worker.refused", {"endpoint": self.endpoint, "reason": reason})

    def retry(self) -> None:
        """Connect once more."""
        self.retry_at = None
        with contextlib.suppress(zmq.ZMQError):  # libzmq has given it up by itself
            self.socket.disconnect(self.endpoint)
        self.socket.connect(self.endpoint)

    def jobs(self, now: float) -> Iterator[Job]:
        """What the broker has sent; notices are dealt with."""
        while not self.closed:
            try:
                frames = self.socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            # The news of a connection come before what comes by it, but perhaps only just: a request that was taken for one
            # of a connection before would never be answered.
            self.look(now)
            if self.connection is None:
                continue  # from a connection that has ended: the broker has given it to another
            if frames == [PROTOCOL, b"left"]:
                self._note("worker.retired", {"endpoint": self.endpoint})
                self.close(0)  # it is the last message, and comes after our answers were read
                return
            if frames[0] == b"" and frames[-1].startswith(FAILURE):  # no dispatch begins so
                self._turned_away(frames[-1], now)
                return
            try:
                yield Job(frames, self)
            except ValueError as error:
                shown = [frame[:SHOWN].decode("ascii", "backslashreplace") for frame in frames[:3]]
                self._note(
                    "message.malformed", {"peer": self.endpoint, "reason": str(error), "message": shown}
                )

    # What goes

    @property
    def wants_to_send(self) -> bool:
        """The hello is due."""
        return self.connection is not None and not self.greeted and not self.leaving

    def hello(self, handler: str, capacity: int, held: Sequence[str]) -> None:
        """Say who we are, as soon as the connection takes it. `held`: the requests of its own that we hold."""
        who = {"name": self._name, "pid": os.getpid(), "unit": _unit()}
        what = {"handler": handler, "capacity": capacity, "held": " ".join(held[:HELD_SHOWN])}
        self.greeted = self._send([PROTOCOL, b"hello", json.dumps(who | what).encode()])

    def leave(self) -> None:
        """Ask to be let go; where nobody is connected that is the end."""
        self.leaving = True
        if self.connection is None or not self._send([PROTOCOL, b"leave"]):
            self.close()

    def reply(self, job: Job, body: list[bytes]) -> bool:
        """Answer a job; False where its connection has ended."""
        return job.wanted and self._send([job.id, *job.envelope, *body])

    def fail(self, job: Job, reason: str) -> bool:
        """Say that a job has failed; False where its connection has ended."""
        code = b"%d" % FailureCode.HANDLER_FAILED
        return job.wanted and self._send([PROTOCOL, b"fail", job.id, code, reason.encode()])

    def _send(self, frames: list[bytes]) -> bool:
        if self.closed:
            return False
        events = self.socket.getsockopt(zmq.EVENTS)  # which takes note of a connection that is just there
        assert isinstance(events, int)
        if not events & zmq.POLLOUT:
            return False
        self.socket.send_multipart(frames, zmq.DONTWAIT)
        return True

    def close(self, linger: int = LINGER) -> None:
        """End it; `linger` in milliseconds is for what was sent last."""
        if not self.closed:
            self.closed, self.connection = True, None
            self.socket.disable_monitor()
            self.monitor.close(0)
            self.socket.close(linger)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _unit() -> str:
    """The systemd unit of this process; empty where there is none."""
    try:
        return unit_of(Path("/proc/self/cgroup").read_text())
    except OSError:
        return ""


def unit_of(cgroups: str) -> str:
    """The service in what /proc/PID/cgroup says (cgroups(7)); empty where there is none."""
    parts = cgroups.strip().split("/")
    return next((part for part in reversed(parts) if part.endswith(".service")), "")
