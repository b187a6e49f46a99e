"""The control socket's server: a pyzmq ROUTER on a listening socket that the daemon has bound or was passed.

Knows the wire and nothing of what a command does. One thread and no loop of its own: `zqd.daemon` watches `fileno()` for
reading, calls `service()` when it turns readable, and calls it again before it sleeps as long as `pending` is true. ZMQ_FD
is edge-triggered and every call into the socket may swallow the edge, so EVENTS is looked at after each.

What clients can do to the broker is bounded: their requests (64 KiB), what is read ahead of them and kept unread for
them (`HIGH_WATER` messages each, then dropped), the commands served in a turn, and the answers that are still to come. Two
things libzmq does not bound, so the socket's file mode must say who may connect at all: the frames of one message, kept
until the last has come; and the connections, where an accept() that finds no free descriptor (EMFILE) aborts the process
[measured, 4.3.4 and 4.3.5]. The daemon must keep descriptors in reserve for this socket.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping
from functools import partial

import zmq

from zqd.control.answers import Code, CommandError, Later
from zqd.control.broker import Broker
from zqd.control.commands import COMMANDS, PROTOCOL, Command, dispatch
from zqd.errors import ZqdError

MAX_REQUEST = 64 << 10
MAX_FRAMES = 8
"""A message of more frames (routing id, envelope, empty frame, JSON) comes from no client of ours and is ignored."""

HANDSHAKE_MS = 2000
"""How long a connection may take to say that it is one of ours: each costs a descriptor."""

HIGH_WATER = 16
REQUESTS_PER_TURN = 64
MAX_WAITING = 1024
"""Answers still to come (`Later`) that are kept; beyond, the one that has waited longest is given up."""


class ControlServer:
    """Answers the control requests that come by one listening AF_UNIX socket.

    `listener` must be bound to `path` and listening (libzmq aborts the process otherwise); it stays the caller's to close,
    and `path` the caller's to unlink. `commands` is what may be asked here. An exception out of a command is answered with
    `failed` and handed to `on_fault`, for the log; it goes no further.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        listener: socket.socket,
        path: str,
        broker: Broker,
        *,
        on_fault: Callable[[Exception], None],
        commands: Mapping[str, Command] = COMMANDS,
    ) -> None:
        self.pending = False
        self._broker = broker
        self._on_fault = on_fault
        self._commands = commands
        self._waiting: dict[Later, None] = {}
        # libzmq's thread accepts after a poll; on a blocking socket it would hang if the client left in between. The flag
        # belongs to the open file, so the duplicate has it too.
        listener.setblocking(False)
        self._socket = context.socket(zmq.ROUTER)
        fd = -1
        try:
            for option, value in (
                (zmq.LINGER, 0),
                (zmq.HANDSHAKE_IVL, HANDSHAKE_MS),
                (zmq.MAXMSGSIZE, MAX_REQUEST),
                (zmq.RCVHWM, HIGH_WATER),
                (zmq.SNDHWM, HIGH_WATER),
            ):
                self._socket.setsockopt(option, value)
            fd = os.dup(listener.fileno())  # libzmq closes the one that it is given
            self._socket.setsockopt(zmq.USE_FD, fd)
            self._socket.bind(f"ipc://{path}")
        except BaseException:
            self._socket.close()
            if fd >= 0:
                os.close(fd)
            raise

    def fileno(self) -> int:
        """The descriptor to watch for reading, edge-triggered (ZMQ_FD)."""
        return self._number(zmq.FD)

    def service(self) -> bool:
        """Answer what has come, at most 64 requests; return `pending`: whether to call again before sleeping."""
        for _ in range(REQUESTS_PER_TURN):
            if not self._readable():
                break
            frames, fd = self._receive()
            if len(frames) <= MAX_FRAMES:
                self._serve(frames, fd)
        self.pending = self._readable()
        return self.pending

    def close(self) -> None:
        """Close the socket; those who wait for an answer that is still to come are told that none will."""
        if self._socket.closed:
            return
        # LINGER is 0, so that nobody can delay the end; libzmq's thread still writes what was sent before it learns of the
        # close, as far as the peer's buffer takes it.
        for later in list(self._waiting):
            later.fail("zqd stopped before this was done")
        self._socket.close()

    # In -----------------------------------------------------------------------------------------------------------

    def _readable(self) -> bool:
        return bool(self._number(zmq.EVENTS) & zmq.POLLIN)

    def _number(self, option: int) -> int:
        value = self._socket.getsockopt(option)
        assert isinstance(value, int)
        return value

    def _receive(self) -> tuple[list[bytes], int]:
        """One message and the descriptor that it came by; its frames past one too many are read and forgotten."""
        first = self._socket.recv(zmq.NOBLOCK, copy=False)
        fd = first.get(zmq.SRCFD)
        assert isinstance(fd, int)
        frames = [first.bytes]
        while self._socket.getsockopt(zmq.RCVMORE):
            frame = self._socket.recv(zmq.NOBLOCK)
            if len(frames) <= MAX_FRAMES:
                frames.append(frame)
        return frames, fd

    def _serve(self, frames: list[bytes], fd: int) -> None:
        # As REP does it, everything up to the first empty frame goes back as it came: a correlating REQ needs that.
        try:
            start = frames.index(b"", 1) + 1
        except ValueError:
            self._reply(
                [frames[0], b""],
                CommandError(Code.BAD_REQUEST, "the request has no empty frame before its JSON"),
            )
            return
        envelope, body = frames[:start], frames[start:]
        outcome = self._outcome(body)
        if isinstance(outcome, Later):
            self._waiting[outcome] = None
            outcome.abandoned = _hang_up(fd)
            outcome.deliver_to(partial(self._deliver, outcome, envelope))
            if len(self._waiting) > MAX_WAITING:
                next(iter(self._waiting)).fail(
                    "too many commands are waiting for their answers; this was the oldest"
                )
        else:
            self._reply(envelope, outcome)

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

    def _deliver(self, later: Later, envelope: list[bytes], outcome: object) -> None:
        self._waiting.pop(later, None)
        if self._socket.closed:
            return
        self._reply(envelope, outcome)
        # The send may have swallowed the edge of a request, and this is not service(): the loop must look again.
        self.pending = self.pending or self._readable()

    def _reply(self, envelope: list[bytes], outcome: object) -> None:
        try:
            reply = _encode(outcome)
        except (TypeError, ValueError, RecursionError) as fault:  # a result that JSON cannot hold
            reply = _encode(self._fault(fault))
        # Past its high-water mark, or when the peer is gone, a ROUTER drops the message without a word: as it should.
        self._socket.send_multipart([*envelope, reply], zmq.NOBLOCK)


def _hang_up(fd: int) -> Callable[[], bool]:
    """A function that tells whether the connection that `fd` is now has ended.

    libzmq closes it then, and the number may become another connection's; the inode does not.
    """
    inode = _inode(fd)
    return lambda: _inode(fd) != inode


def _inode(fd: int) -> int | None:
    try:
        return os.fstat(fd).st_ino
    except OSError:
        return None


def _parse(body: list[bytes]) -> tuple[str, dict[str, object]]:
    """The command and the arguments of a request; raises `CommandError`."""
    if len(body) != 1:
        raise CommandError(
            Code.BAD_REQUEST, f"one frame of JSON is wanted after the empty frame, not {len(body)}"
        )
    try:
        request = json.loads(body[0])
    except (ValueError, RecursionError) as fault:
        raise CommandError(Code.BAD_REQUEST, f"the request is not JSON: {fault}") from None
    if not isinstance(request, dict):
        raise CommandError(Code.BAD_REQUEST, "the request is not a JSON object")
    protocol = request.get("zqctl")
    if not isinstance(protocol, int) or isinstance(protocol, bool):
        raise CommandError(Code.BAD_REQUEST, f'the request does not say its protocol ("zqctl": {PROTOCOL})')
    if protocol != PROTOCOL:
        raise CommandError(
            Code.UNSUPPORTED_PROTOCOL,
            f"the request is in control protocol {protocol!s:.20}, zqd speaks {PROTOCOL}",
        )
    name, args = request.get("command"), request.get("args", {})
    if not isinstance(name, str):
        raise CommandError(Code.BAD_REQUEST, "the request's command is not a string")
    if not isinstance(args, dict):
        raise CommandError(Code.BAD_REQUEST, "the request's args are not an object")
    return name, args


def _encode(outcome: object) -> bytes:
    reply: dict[str, object]
    if isinstance(outcome, CommandError):
        reply = {"zqd": PROTOCOL, "ok": False, "code": outcome.code, "error": outcome.sentence}
    else:
        reply = {"zqd": PROTOCOL, "ok": True, "result": outcome}
    return json.dumps(reply, separators=(",", ":"), allow_nan=False).encode()
