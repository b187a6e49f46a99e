"""A request from arrival to end, the options its client may give, and the reply that says it failed.

Layer 1, pure. Called by: `queue` and its parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from zqd.errors import FailureCode
from zqd.zmtp.frames import EMPTY_MORE, MORE, encode_frame, frame_bounds
from zqd.zmtp.pieces import RawMessage

if TYPE_CHECKING:
    from zqd.core.peers import Client, Worker

PROTOCOL = b"zqd/1"  # first word of an options frame (rule 25), first frame of a worker's notice (rule 26)
LOWEST_PRIORITY, HIGHEST_PRIORITY = 0, 9
MAX_ATTEMPTS = 1000  # the dispatch number travels in two bytes


@dataclass(frozen=True, slots=True)
class Options:
    """What one request asked for (rule 25); None means the queue's own setting."""

    timeout: float | None = None  # seconds from arrival
    priority: int = 5
    attempts: int | None = None


NO_OPTIONS = Options()


class Request:
    """One client's request while it is in the queue; `core.waiting` or a worker's window holds it (law 1)."""

    __slots__ = (
        "arrived",
        "attempts",
        "client",
        "debtor",
        "dispatches",
        "envelope",
        "key",
        "options",
        "raw",
        "seq",
        "started",
        "waiting",
        "worker",
    )

    def __init__(self, seq: int, client: Client, raw: RawMessage, arrived: float) -> None:
        self.seq = seq
        """Counts the queue's requests from 1: the order of arrival."""
        self.client = client
        self.raw: RawMessage = raw
        """The client's message as it came; empty once the request has ended."""
        self.arrived = arrived
        self.envelope = EMPTY_MORE
        """The frames that its reply begins with."""
        self.options = NO_OPTIONS
        self.waiting = False
        """It is in the waiting line."""
        self.worker: Worker | None = None
        """Who holds it."""
        self.debtor: Worker | None = None
        """Who held it when it ended, and owes the answer (law 7)."""
        self.dispatches = 0
        """Times it was sent to a worker: stamps ids and deadlines."""
        self.attempts = 0
        """Attempts charged to it: those that ended in a loss or a time-out."""
        self.key = b""
        """The header and id frame of its last dispatch, as the worker's window knows it."""
        self.started = 0.0
        """When the last attempt began to run; a REP's window runs one after the other (rule 9)."""

    @property
    def ended(self) -> bool:
        """Answered, failed or dropped."""
        return not self.waiting and self.worker is None


def parse_options(envelope: bytes) -> Options:
    """The options in the first frame of an envelope, if it is one of ours; ValueError says what is wrong in it."""
    start, end = frame_bounds(envelope, 0)
    if not envelope.startswith(PROTOCOL, start):
        return NO_OPTIONS
    word, *pairs = envelope[start:end].split(b" ")
    if word != PROTOCOL:
        return NO_OPTIONS
    timeout: float | None = None
    priority = NO_OPTIONS.priority
    attempts: int | None = None
    for pair in pairs:
        key, _, value = pair.partition(b"=")
        if key == b"timeout_ms":
            timeout = _number(key, value, 1, 10**9) / 1000
        elif key == b"priority":
            priority = _number(key, value, LOWEST_PRIORITY, HIGHEST_PRIORITY)
        elif key == b"attempts":
            attempts = _number(key, value, 1, MAX_ATTEMPTS)
        elif pair:
            raise ValueError(f"unknown option {_shown(key)}: expected timeout_ms, priority or attempts")
    return Options(timeout, priority, attempts)


def failure_reply(envelope: bytes, code: FailureCode, reason: str) -> bytes:
    """The raw reply `ZQD-ERROR <code> <reason>` under the client's own envelope (rules 14, 25).

    An options frame becomes `zqd/1 status=<code>`; everything else comes back as it was sent, so that a REQ, a
    correlating REQ and a DEALER know which request is meant.
    """
    if envelope != EMPTY_MORE:
        start, end = frame_bounds(envelope, 0)
        if envelope[start:end].split(b" ")[0] == PROTOCOL:
            envelope = encode_frame(b"%s status=%d" % (PROTOCOL, code), MORE) + envelope[end:]
    return envelope + encode_frame(f"ZQD-ERROR {code:d} {reason}".encode("utf-8", "replace"))


def _number(key: bytes, value: bytes, least: int, most: int) -> int:
    if value.isdigit() and len(value) <= 10 and least <= int(value) <= most:
        return int(value)
    raise ValueError(f"{key.decode()}={_shown(value)}: expected a whole number from {least} to {most}")


def _shown(text: bytes) -> str:
    return text[:32].decode("ascii", "backslashreplace")
