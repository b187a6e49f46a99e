"""What the doctor looks at where clients and workers connect: whether zqd answers there, who may come, and how a request fares.

A plain socket speaks just enough ZMTP. At a frontend the handshake goes to its end, as that of a REQ. **At a backend it ends with zqd's
greeting**: a peer that sends READY there is a worker, and would be given a request. Called by `zqd.ctl.doctor`.
"""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Iterator
from typing import NamedTuple

from zqd.ctl.doctor.finding import Finding, fail, ok, skip, warn
from zqd.ctl.doctor.sockets import File, look
from zqd.endpoints import Endpoint, IpcEndpoint, TcpEndpoint
from zqd.zmtp import handshake
from zqd.zmtp.frames import COMMAND, LONG, encode_frame, frame_bounds
from zqd.zmtp.handshake import HandshakeError

LOCAL_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to reach what listens at every address
SIDES = ("frontend", "backend")
MAY = {"frontend": "send requests", "backend": "connect as a worker and be given requests"}
DROP_IN = "/etc/zqd/zqd.toml.d"
EXAMPLES = "/usr/share/doc/zqd/examples"


class Greeting(NamedTuple):
    """How an endpoint has answered."""

    mechanism: str
    """As in the greeting: NULL, CURVE."""
    seconds: float
    serves_as: str | None = None
    """The socket type of its READY; None where the handshake was not taken to its end."""


def examine(side: str, queue: str, endpoint: Endpoint, timeout: float) -> Iterator[Finding]:
    """One endpoint of a side (frontend, backend): whether it answers within `timeout` seconds, and who may connect."""
    mechanism = None
    try:
        greeting = greet(side, endpoint, timeout)
    except PermissionError:
        yield skip(f"{side} {endpoint}", "this user may not connect", "run this as root")
    except (HandshakeError, OSError) as fault:
        yield silent(side, endpoint, fault)
    else:
        mechanism = greeting.mechanism
        yield answers(side, endpoint, greeting)
    if isinstance(endpoint, TcpEndpoint):
        yield tcp_exposure(side, queue, endpoint, mechanism)
    else:
        yield from _ipc_exposure(side, queue, endpoint, mechanism)


# Does it answer? ------------------------------------------------------------------------------------------------------


def answers(side: str, endpoint: Endpoint, greeting: Greeting) -> Finding:
    """The handshake went as far as it should."""
    about = f"{side} {endpoint}"
    if greeting.serves_as not in {None, "ROUTER"}:
        text = f"a {greeting.serves_as or 'socket of no type'} listens there, zqd's frontend is a ROUTER"
        return fail(about, text, "find it with ss -lp, and end it")
    what = "handshake" if greeting.serves_as else "greeting"
    return ok(about, f"{what} ({greeting.mechanism}) in {greeting.seconds * 1000:.1f} ms")


def silent(side: str, endpoint: Endpoint, fault: Exception) -> Finding:
    """There was no handshake, though zqd says that it listens there."""
    about = f"{side} {endpoint}"
    if isinstance(fault, TimeoutError):
        advice = "if zqd has as many connections as it may, raise max_clients, max_workers or LimitNOFILE="
        return fail(about, "no greeting came in time", f"look for accept.full in its log; {advice}")
    if isinstance(fault, ConnectionRefusedError | FileNotFoundError):
        return fail(
            about,
            "nothing listens there, though zqd says that it does",
            "if zqd has a network or a /tmp of its own (systemd's sandbox, a container), pass it the sockets",
        )
    reason = (fault.strerror if isinstance(fault, OSError) else None) or str(fault)
    return fail(about, f"no handshake: {reason}", "find what listens there with ss -lp")


def greet(side: str, endpoint: Endpoint, timeout: float) -> Greeting:
    """Shake hands, as far as a visitor may. Raises OSError, or HandshakeError where it is no zqd that answers."""
    began = time.monotonic()
    with connected(endpoint, timeout) as sock:
        sock.sendall(handshake.SIGNATURE + handshake.MAJOR)
        greeting = _receive(sock, handshake.GREETING_SIZE)
        if greeting[0] != 0xFF or not greeting[9] & 1 or greeting[10] < 3:
            raise HandshakeError("what listens there speaks no ZMTP 3")
        mechanism = greeting[12:32].rstrip(b"\0")
        serves_as = None
        if side == "frontend" and mechanism == b"NULL":
            sock.sendall(
                handshake.greeting_tail(1, mechanism, as_server=False)
                + encode_frame(handshake.ready_command(b"REQ"), COMMAND)
            )
            serves_as = _ready(sock)
        return Greeting(handshake.printable(mechanism), time.monotonic() - began, serves_as)


def reachable(endpoint: Endpoint) -> Endpoint:
    """Where this machine itself reaches an endpoint that listens at every address."""
    if isinstance(endpoint, TcpEndpoint):
        return TcpEndpoint(LOCAL_ADDRESS.get(endpoint.host, endpoint.host), endpoint.port)
    return endpoint


def connected(endpoint: Endpoint, timeout: float) -> socket.socket:
    """A connected plain socket. Raises OSError."""
    where = reachable(endpoint)
    address: str | tuple[str, int]
    if isinstance(where, TcpEndpoint):
        family, address = socket.AF_INET6 if ":" in where.host else socket.AF_INET, (where.host, where.port)
    else:
        family, address = socket.AF_UNIX, where.path
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.connect(address)
    except BlockingIOError:
        sock.close()
        raise TimeoutError from None  # its backlog is full
    except BaseException:
        sock.close()
        raise
    return sock


def _ready(sock: socket.socket) -> str:
    """The socket type of the READY that comes next."""
    head = _receive(sock, 2)
    if head[0] & LONG:
        head += _receive(sock, 7)
    start, end = frame_bounds(head, 0)
    if not head[0] & COMMAND or end > handshake.MAX_HANDSHAKE_COMMAND:
        raise HandshakeError("what listens there speaks no ZMTP 3")
    name, data = handshake.split_command(_receive(sock, end - start))
    if name == b"ERROR":
        raise HandshakeError(f"refused: {handshake.error_reason(data)}")
    return handshake.printable(handshake.parse_metadata(data).get(b"socket-type", b""))


def _receive(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise HandshakeError("the connection was closed")
        data += more
    return data


# Who may connect? -----------------------------------------------------------------------------------------------------


def tcp_exposure(side: str, queue: str, endpoint: TcpEndpoint, mechanism: str | None) -> Finding:
    """A port has no owner: whoever reaches it may connect, unless a mechanism asks for keys."""
    about = f"{side} {endpoint}"
    if mechanism not in {None, "NULL"}:
        return ok(about, f"{mechanism} decides who may {MAY[side]}")
    if not endpoint.is_loopback:
        return warn(
            about,
            f"ANYBODY who reaches this address may {MAY[side]}, and reads along on the way",
            f"set queues.{queue}.{side}_curve_secret (zqctl keygen), or listen at 127.0.0.1 or at {_ipc_example(side, queue)}",
        )
    text = f"every user of this machine may {MAY[side]}"
    if side == "frontend":
        return ok(about, text)
    own = f'queues.{queue}.{side} = ["{_ipc_example(side, queue)}"] with socket_mode = "0660"'
    units = f"with zqd-{side}.socket use {EXAMPLES}/zqd-{side}.socket.d/unix-only.conf"
    bound = f"(under systemd with {EXAMPLES}/zqd.service.d/bind-ports.conf)"
    return warn(about, text, f"set {own} and a socket_group in a file of {DROP_IN} {bound}; {units}")


def ipc_exposure(side: str, queue: str, endpoint: IpcEndpoint, mechanism: str | None, file: File) -> Finding:
    """The file's mode says who may connect."""
    about = f"{side} {endpoint}"
    if file.replaceable:
        directory = os.path.dirname(endpoint.path)
        return fail(
            about, "every user of this machine may put a socket in its place", f"chmod o-w {directory}"
        )
    if not file.for_everybody:
        who = "its owner and its group" if file.mode & stat.S_IWGRP else "only its owner"
        return ok(about, f"{who} may {MAY[side]} (mode {file.mode:04o}, {file.owner}:{file.group})")
    text = f"every user of this machine may {MAY[side]} (mode {file.mode:04o})"
    if side == "frontend" or mechanism not in {None, "NULL"}:
        return ok(about, text)
    return warn(
        about, text, f'set queues.{queue}.socket_mode = "0660" and a socket_group in a file of {DROP_IN}'
    )


def _ipc_exposure(side: str, queue: str, endpoint: IpcEndpoint, mechanism: str | None) -> Iterator[Finding]:
    try:
        file = look(endpoint.path)
    except OSError:
        return  # that this user cannot see it has been said
    if file is not None:
        yield ipc_exposure(side, queue, endpoint, mechanism, file)


def _ipc_example(side: str, queue: str) -> str:
    return f"ipc:///run/zqd/queues/{queue}-{side}.sock"


# How does a request fare? ---------------------------------------------------------------------------------------------


def probe(queue: str, endpoint: Endpoint, body: bytes, timeout: float) -> Finding:
    """Send a real request, as a REQ, and await its reply for `timeout` seconds."""
    about = f"probe of queue {queue}"
    try:
        mechanism = greet("frontend", endpoint, timeout).mechanism
    except (HandshakeError, OSError):
        return skip(about, f"there is no way in at {endpoint}")
    if mechanism != "NULL":
        return skip(about, f"{endpoint} asks for keys ({mechanism}) that the doctor does not have")
    import zmq

    began = time.monotonic()
    with zmq.Context() as context, context.socket(zmq.REQ) as client:
        client.setsockopt(zmq.LINGER, 0)
        client.connect(str(reachable(endpoint)))
        client.send(body)
        reply = client.recv_multipart() if client.poll(round(timeout * 1000)) else None
    return reply_finding(about, reply, time.monotonic() - began)


def reply_finding(about: str, reply: list[bytes] | None, seconds: float) -> Finding:
    """What the reply to a probe tells; None is none in time."""
    if reply is None:
        text = f"no reply within {seconds:.1f} s; the request was taken back"
        return fail(about, text, "zqctl requests, zqctl workers; --timeout S waits longer")
    if reply[0].startswith(b"ZQD-ERROR "):
        return fail(about, handshake.printable(reply[0], 200), "zqctl status; the log has the reason")
    size = sum(map(len, reply))
    return ok(about, f"a reply of {size} bytes in {seconds * 1000:.1f} ms")
