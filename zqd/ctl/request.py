"""`zqctl request`: send one request, as any client does, and print its reply and how long it took.

The reply goes to standard output as it is, the time to standard error. Knows the wire as a client knows it (zqd(7), rules
14 and 25), and from zqd only where the queue's clients connect. Called by `zqd.ctl.local`.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import sys
import time
from typing import Any, NamedTuple

import zmq
from zmq.utils.monitor import recv_monitor_message

from zqd.control.inquiries import by_name
from zqd.ctl.connection import ControlError, ExitStatus, probe
from zqd.ctl.local import Session
from zqd.endpoints import MAX_PATH
from zqd.errors import ConfigError
from zqd.keys.connection import Keys, connection_keys
from zqd.standard import note

PROTOCOL = b"zqd/1"
MARK = b"status="
LOOK = 0.5  # seconds in which a new connection shows what is wrong with it

_DECISIVE = {
    zmq.EVENT_HANDSHAKE_SUCCEEDED,
    zmq.EVENT_HANDSHAKE_FAILED_AUTH,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
    zmq.EVENT_DISCONNECTED,
    zmq.EVENT_CONNECT_RETRIED,
}


class Outcome(NamedTuple):
    """What came of one request: the reply's frames, or why there is none."""

    frames: list[bytes]
    failure: str


def run(session: Session, args: dict[str, Any]) -> int:
    """Send it, wait, print; status 1 where it failed."""
    body = _standard_input() if args["body"] == "-" else os.fsencode(args["body"])
    keys = curve_keys(args)
    endpoint = frontend(session, args["queue"], args["endpoint"])
    context = zmq.Context[zmq.Socket[bytes]](1)
    try:
        began = time.monotonic()
        outcome = _ask(connect(context, endpoint, keys), endpoint, body, session.timeout)
        seconds = time.monotonic() - began
    finally:
        context.destroy(linger=0)
    if session.json:
        session.write(json.dumps(_row(endpoint, outcome, seconds), indent=2) + "\n")
    elif not outcome.failure:
        session.write(_shown(b"\n".join(outcome.frames)))
        note(f"{sum(map(len, outcome.frames))} bytes in {seconds * 1000:.1f} ms from {endpoint}\n")
    if outcome.failure and not session.json:
        raise ControlError(ExitStatus.ERROR, f"{outcome.failure} (after {seconds * 1000:.1f} ms)")
    return ExitStatus.ERROR if outcome.failure else ExitStatus.OK


def frontend(session: Session, queue: str | None, endpoint: str | None) -> str:
    """Where to send requests: `endpoint`, or where zqd says that clients of `queue` connect.

    Raises `ControlError`, also where nobody listens there, or nobody may connect.
    """
    chosen = _asked(session, queue, endpoint)
    _reach(chosen, session.timeout)
    return chosen


def _asked(session: Session, queue: str | None, endpoint: str | None) -> str:
    if endpoint is not None:
        if queue is not None:
            raise ControlError(
                ExitStatus.USAGE, "--queue and --endpoint name the same thing: give one of them"
            )
        return endpoint
    queues = by_name(session.ask("queues", **({} if queue is None else {"queue": queue})))
    if len(queues) > 1:
        raise ControlError(ExitStatus.USAGE, f"which queue? --queue is one of {', '.join(queues)}")
    (row,) = queues.values()
    if not row["frontend"]:
        raise ControlError(ExitStatus.ERROR, f"queue {row['name']} has no frontend: it is stopping")
    chosen: str = row["frontend"][0]
    return chosen.replace("tcp://0.0.0.0:", "tcp://127.0.0.1:").replace("tcp://[::]:", "tcp://[::1]:")


def _reach(endpoint: str, timeout: float) -> None:
    """Connect and hang up, for libzmq would try until the time is over, and not say why.

    Raises `ControlError` where that cannot be. What is no endpoint for a plain socket is left to libzmq.
    """
    scheme, _, place = endpoint.partition("://")
    if scheme == "ipc" and place and place[0] not in "@*" and len(os.fsencode(place)) <= MAX_PATH:
        probe(place, timeout)
    host, _, port = place.rpartition(":")
    if scheme != "tcp" or not (host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout or None).close()
    except ConnectionRefusedError:
        raise ControlError(ExitStatus.NOT_RUNNING, f"nobody listens at {endpoint}") from None
    except TimeoutError:
        sentence = f"no answer from {endpoint} within {timeout:g} s"
        raise ControlError(ExitStatus.ERROR, sentence) from None
    except OSError as fault:
        raise ControlError(ExitStatus.ERROR, f"cannot connect to {endpoint}: {fault.strerror}") from None
    except UnicodeError:  # no name of a host can be so
        return


def curve_keys(args: dict[str, Any]) -> Keys | None:
    """As --server-key and --curve-secret say, None for a connection without. Raises `ControlError`."""
    options = ("--server-key", "--curve-secret")
    try:
        (keys,) = connection_keys([args["server_key"]], args["curve_secret"], 1, names=options)
    except ConfigError as error:
        raise ControlError(ExitStatus.USAGE, "; ".join(error.problems)) from None
    return keys


def connect(context: zmq.Context[zmq.Socket[bytes]], endpoint: str, keys: Keys | None) -> zmq.Socket[bytes]:
    """A DEALER that is connecting. Raises `ControlError` where that is no endpoint."""
    sock = context.socket(zmq.DEALER)
    sock.setsockopt(zmq.LINGER, 0)
    sock.setsockopt(zmq.IPV6, 1)
    if keys is not None:
        keys.apply(sock)
    try:
        sock.connect(endpoint)
    except zmq.ZMQError as fault:
        raise ControlError(
            ExitStatus.USAGE,
            f"{endpoint} is no endpoint ({fault.strerror}): expected tcp://HOST:PORT or ipc://PATH",
        ) from None
    return sock


def message(body: bytes, timeout: float) -> list[bytes]:
    """The frames of one request. zqd gives it up when we do; whatever else answers gives the frame back."""
    options = [PROTOCOL + b" timeout_ms=%d" % max(1, round(timeout * 1000))] if timeout else [PROTOCOL]
    return [*options, b"", body]


def outcome_of(frames: list[bytes]) -> Outcome:
    """What a reply to a `message` says."""
    if b"" not in frames:
        return Outcome([], "the reply has no empty frame: whoever answered is no REP and no zqd")
    at = frames.index(b"")
    head, body = frames[:at], frames[at + 1 :]
    if head and head[0].startswith(PROTOCOL + b" " + MARK):
        return Outcome([], b" ".join(body).decode("utf-8", "backslashreplace"))
    return Outcome(body, "")


def _ask(sock: zmq.Socket[bytes], endpoint: str, body: bytes, timeout: float) -> Outcome:
    sock.send_multipart(message(body, timeout))
    # A little longer than zqd waits: its own words are better than ours.
    if sock.poll(round((timeout + 1) * 1000) if timeout else None):
        return outcome_of(sock.recv_multipart())
    return Outcome([], f"no answer from {endpoint} within {timeout:g} s: {_diagnosis(sock)}")


def _diagnosis(sock: zmq.Socket[bytes]) -> str:
    """Why there is no answer, as far as a connection that is made now can tell (zmq_socket_monitor(3))."""
    endpoint = sock.getsockopt(zmq.LAST_ENDPOINT)
    assert isinstance(endpoint, bytes)
    monitor = sock.get_monitor_socket()
    sock.disconnect(endpoint)
    sock.connect(endpoint.rstrip(b"\0").decode())
    seen: set[int] = set()
    while not seen & _DECISIVE and monitor.poll(int(LOOK * 1000)):
        seen.add(recv_monitor_message(monitor)["event"])
    if zmq.EVENT_HANDSHAKE_SUCCEEDED in seen:
        return "it is connected, and nobody answers"
    if zmq.EVENT_HANDSHAKE_FAILED_AUTH in seen:
        return "this key is not authorized there"
    if zmq.EVENT_CONNECTED not in seen:
        return "nobody listens there"
    if sock.getsockopt(zmq.MECHANISM) == zmq.CURVE:
        return "the server key is not its key, or it does not use CURVE"
    return "it refuses the handshake: it may use CURVE, which needs --server-key"


def _row(endpoint: str, outcome: Outcome, seconds: float) -> dict[str, Any]:
    reply = [_text(frame) for frame in outcome.frames]
    return {
        "endpoint": endpoint,
        "ok": not outcome.failure,
        "reply": reply if not outcome.failure else None,
        "error": outcome.failure or None,
        "bytes": sum(map(len, outcome.frames)),
        "seconds": round(seconds, 6),
    }


def _text(frame: bytes) -> str | dict[str, str]:
    """A frame in JSON: text where it is text, else its base64."""
    try:
        return frame.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(frame).decode()}


def _standard_input() -> bytes:
    try:
        return sys.stdin.buffer.read()
    except OSError as fault:
        raise ControlError(ExitStatus.ERROR, f"cannot read standard input: {fault.strerror}") from None


def _shown(reply: bytes) -> bytes:
    """The reply's own bytes, and a line's end where a person reads them."""
    return reply + (b"\n" if sys.stdout.isatty() and not reply.endswith(b"\n") else b"")
