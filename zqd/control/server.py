"""The control server: answers the requests of `zqctl`, as a ROUTER, on a listener that the daemon has bound or was passed.

Knows the wire and nothing of what a command does. What its clients can do to the broker is bounded: their requests
(64 KiB), their connections (`most`), what is read ahead of them (one read each), what is kept unread for them (one answer,
for PATIENCE seconds), the answers that are still to come, and the share of the loop's time that their commands take. They are
served in turns, one request each.

Layer 3. Called by: `zqd.daemon`.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial

from zqd.control.answers import Code, CommandError, Later
from zqd.control.broker import Broker
from zqd.control.commands import COMMANDS, PROTOCOL, Command, dispatch
from zqd.core.peers import Peer
from zqd.endpoints import Listener
from zqd.errors import ZqdError
from zqd.net.link import Link, Stage
from zqd.net.loop import Loop, Timer
from zqd.net.server import Server
from zqd.net.side import Notify
from zqd.zmtp.connection import Message, Oversize
from zqd.zmtp.frames import EMPTY_MORE, decode_message, encode_frame, envelope_of

MAX_REQUEST = 64 << 10
MAX_FRAMING = 1024  # bytes: envelope and frame headers of a request of the full size
MAX_WAITING = 256
"""Answers still to come (`Later`) that are kept; beyond, the one that has waited longest is given up."""

PATIENCE = 10.0  # seconds for a client to read its answer
SHARE = 0.2  # of the loop's time, for commands,
BURST = 0.05  # beyond which they may take so many seconds at a time


class ControlServer:
    """Answers the control requests that come by its listeners. `commands` is what may be asked here.

    An exception out of a command is answered with `failed` and handed to `on_fault`, for the log; it goes no further.
    """

    def __init__(
        self,
        name: str,
        loop: Loop,
        broker: Broker,
        most: int,
        *,
        notify: Notify,
        on_fault: Callable[[Exception], None],
        commands: Mapping[str, Command] = COMMANDS,
    ) -> None:
        self._server = Server(
            name,
            loop,
            socket_type=b"ROUTER",
            make_role=lambda link: Caller(link, self),
            max_message_size=MAX_REQUEST + MAX_FRAMING,
            most=most,
            notify=notify,
            on_fault=on_fault,
        )
        self._loop = loop
        self._broker = broker
        self._on_fault = on_fault
        self._commands = commands
        self._waiting: dict[Later, None] = {}
        self._callers: dict[Caller, None] = {}  # who has asked something that was not looked at yet, in turns
        self._called = False  # the next turn is arranged for
        self._credit, self._since = BURST, loop.now  # seconds of the loop that commands may take, as of when

    @property
    def listeners(self) -> list[Listener]:
        """Where it listens."""
        return self._server.listeners

    def listen(self, listener: Listener) -> None:
        """Answer those who come by this one; it is the server's to close."""
        self._server.listen(listener)

    def close(self) -> None:
        """Tell those who wait for an answer that is still to come that none will, and close every connection."""
        for later in list(self._waiting):
            later.fail("zqd stopped before this was done")
        self._callers.clear()
        self._server.close()

    # In -----------------------------------------------------------------------------------------------------------

    def asked(self, caller: Caller) -> None:
        """A client has asked something that can be answered now."""
        self._callers[caller] = None
        self._call()

    def _call(self) -> None:
        if self._called or not self._callers:
            return
        self._called = True
        now = self._loop.now
        self._credit = min(BURST, self._credit + (now - self._since) * SHARE)
        self._since = now
        if self._credit > 0:
            self._loop.call_soon(self._serve_next)
        else:
            self._loop.call_at(now - self._credit / SHARE, self._serve_next)

    def _serve_next(self) -> None:
        """Answer one request of the client whose turn it is."""
        self._called = False
        if self._callers:
            caller = next(iter(self._callers))
            del self._callers[caller]
            began = time.thread_time()  # what a busy machine takes away does not count
            message = caller.next()
            if message is not None:
                self._serve(caller, message)
            self._credit -= time.thread_time() - began
            if caller.has_more():
                self._callers[caller] = None
            self._call()

    def _serve(self, caller: Caller, message: Message) -> None:
        if isinstance(message, Oversize):
            caller.answer(
                message.envelope, _encode(_bad(f"the request is larger than {MAX_REQUEST >> 10} KiB"))
            )
            return
        request = bytes(message)
        envelope = envelope_of(request)
        if envelope is None:
            caller.answer(EMPTY_MORE, _encode(_bad("the request has no empty frame before its JSON")))
            return
        outcome = self._outcome(decode_message(request[len(envelope) :]))
        if isinstance(outcome, Later):
            self._waiting[outcome] = None
            outcome.abandoned = caller.has_gone
            outcome.deliver_to(partial(self._deliver, outcome, caller, envelope))
            if len(self._waiting) > MAX_WAITING:
                next(iter(self._waiting)).fail(
                    "too many commands are waiting for their answers; this was the oldest"
                )
        else:
            caller.answer(envelope, self._encoded(outcome))

    def _outcome(self, body: list[bytes]) -> object:
        """The result, the `Later` or the `CommandError` that a request comes to. Nothing is raised out of here."""
        try:
            name, args = _parse(body)
            return dispatch(self._broker, name, args, self._commands)
        except CommandError as refusal:
            return refusal
        except ZqdError as refusal:
            return CommandError(Code.FAILED, str(refusal))
        except Exception as fault:  # noqa: BLE001 - whatever is wrong in a command, the broker goes on
            return self._fault(fault)

    def _fault(self, fault: Exception) -> CommandError:
        self._on_fault(fault)
        return CommandError(Code.FAILED, f"the command failed inside zqd: {type(fault).__name__}: {fault}")

    # Out ----------------------------------------------------------------------------------------------------------

    def _deliver(self, later: Later, caller: Caller, envelope: bytes, outcome: object) -> None:
        self._waiting.pop(later, None)
        caller.answer(envelope, self._encoded(outcome))

    def _encoded(self, outcome: object) -> bytes:
        try:
            return _encode(outcome)
        except (TypeError, ValueError, RecursionError) as fault:  # a result that JSON cannot hold
            return _encode(self._fault(fault))


class Caller:
    """The role of one client's link: what it has asked waits here for its turn, and it is not read meanwhile."""

    heartbeat_interval = 0.0
    hand = None

    def __init__(self, link: Link, server: ControlServer) -> None:
        self._link = link
        self._server = server
        self._asked: deque[Message] = deque()
        self._unsent = 0
        self._patience: Timer | None = None

    def join(self) -> Peer:
        """It may ask now."""
        link = self._link
        self._peer = Peer(link.number, link.address, "", link.loop.now)
        return self._peer

    @property
    def reading(self) -> bool:
        """It has nothing to be answered, and has read its answers."""
        return not (self._asked or self._unsent)

    def take(self, messages: list[Message]) -> None:
        """Requests."""
        if messages:
            waits = bool(self._asked)
            self._asked += messages
            if not waits:
                self._server.asked(self)
                self._link.watch()

    def next(self) -> Message | None:
        """The request whose turn it is; None where the client has not read its answers yet, or is gone."""
        return self._asked.popleft() if self._asked and not self._unsent else None

    def has_more(self) -> bool:
        """Whether there is a request that could be answered now; where there is none, the client is read again."""
        if self._link.stage is not Stage.OPEN:
            self._asked.clear()
        elif self.reading:
            self._link.watch()
            self._link.go_on()
            return False  # or it has asked anew, and stands in the line
        return bool(self._asked) and not self._unsent

    def answer(self, envelope: bytes, reply: bytes) -> None:
        """Send one reply; who has gone gets none."""
        if not self.has_gone():
            self._peer.outbox.append(envelope + encode_frame(reply))
            self._link.flush()

    def has_gone(self) -> bool:
        """Nobody is there any more."""
        return self._link.stage is not Stage.OPEN

    def adopt(self) -> None:
        """No setting concerns it."""

    def unsent(self, size: int) -> None:
        """The client reads its answers late, for a while."""
        waited, self._unsent = self._unsent, size
        if size and self._patience is None:
            self._patience = self._link.loop.call_at(self._link.loop.now + PATIENCE, self._give_up)
        elif not size:
            self._end_patience()
            if waited and self._asked:
                self._server.asked(self)
        self._link.watch()

    def leave(self) -> None:
        """The connection has ended."""
        self._asked.clear()
        self._end_patience()

    def _end_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _give_up(self) -> None:
        self._patience = None
        self._link.silent(PATIENCE)


def _bad(sentence: str) -> CommandError:
    return CommandError(Code.BAD_REQUEST, sentence)


def _parse(body: list[bytes]) -> tuple[str, dict[str, object]]:
    """The command and the arguments of a request; raises `CommandError`."""
    if len(body) != 1:
        raise _bad(f"one frame of JSON is wanted after the empty frame, not {len(body)}")
    try:
        request = json.loads(body[0])
    except (ValueError, RecursionError) as fault:
        raise _bad(f"the request is not JSON: {fault}") from None
    if not isinstance(request, dict):
        raise _bad("the request is not a JSON object")
    protocol = request.get("zqctl")
    if not isinstance(protocol, int) or isinstance(protocol, bool):
        raise _bad(f'the request does not say its protocol ("zqctl": {PROTOCOL})')
    if protocol != PROTOCOL:
        raise CommandError(
            Code.UNSUPPORTED_PROTOCOL,
            f"the request is in control protocol {protocol!s:.20}, zqd speaks {PROTOCOL}",
        )
    name, args = request.get("command"), request.get("args", {})
    if not isinstance(name, str):
        raise _bad("the request's command is not a string")
    if not isinstance(args, dict):
        raise _bad("the request's args are not an object")
    return name, args


def _encode(outcome: object) -> bytes:
    reply: dict[str, object]
    if isinstance(outcome, CommandError):
        reply = {"zqd": PROTOCOL, "ok": False, "code": outcome.code, "error": outcome.sentence}
    else:
        reply = {"zqd": PROTOCOL, "ok": True, "result": outcome}
    return json.dumps(reply, separators=(",", ":"), allow_nan=False).encode()
